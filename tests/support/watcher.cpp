// A program that handles signals: made, as victim.cpp, of its arguments, done in the order given.
// Descriptor 1 is a pipe that the test holds, or a daemon's log; each thing that happens is a line.
#define DAEMONIZE_IMPLEMENTATION
#include "daemonize.hpp"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "report.hpp"

namespace {

using daemonize::Error;
using daemonize::Handler;
using daemonize::SignalHandler;
using report::now_ms;
using report::number;
using report::say;
using report::split;
using report::wait_code;
using std::chrono::milliseconds;
using Words = std::vector<std::string>;

pthread_t main_thread;
void plain_function(int signum) { say("function=" + std::to_string(signum)); }
int counted[65];

std::string where() { return pthread_equal(pthread_self(), main_thread) ? "main" : "other"; }

struct Watcher {
    daemonize::DaemonContext context;
    SignalHandler* signals = nullptr;

    ~Watcher() { delete signals; }

    SignalHandler& handler(bool with_context = false) {
        if (!signals) signals = with_context ? new SignalHandler(context) : new SignalHandler;
        return *signals;
    }

    Handler made(const std::string& text) {
        if (text == "ignore") return daemonize::ignore_signal;
        if (text == "default") return daemonize::default_signal;
        if (text == "terminate") return daemonize::terminate_signal;
        if (text == "report") return daemonize::report_signal;
        if (text == "sig-ign") return SIG_IGN;  // as a user of <csignal> would write it
        if (text == "sig-dfl") return SIG_DFL;
        if (text == "function") return plain_function;
        if (text == "stop") return [this](int) { signals->stop(); };
        if (text == "count") return [](int signum) { ++counted[signum]; };
        if (text == "again") return [](int signum) { raise(signum); };
        if (text == "allocate")  // what no asynchronous handler may do
            return [](int signum) {
                std::vector<std::string> many(1000, std::string(100, 'x'));
                say("called=" + std::to_string(signum) + " size=" + std::to_string(many.size()));
            };
        if (text == "replace-self")
            return [this](int signum) {
                say("first=" + std::to_string(signum));
                assign(signum, [](int n) { say("second=" + std::to_string(n)); });
            };
        if (text == "set-reload")
            return [this](int) {
                signals->reload = daemonize::report_signal;
                say("assigned");
            };
        if (text == "default-term")
            return [this](int) {
                signals->sigterm = daemonize::default_signal;
                say("assigned");
            };
        if (text == "slow")
            return [](int signum) {
                say("begin=" + std::to_string(signum));
                std::this_thread::sleep_for(milliseconds(300));
                say("end=" + std::to_string(signum));
            };
        if (text == "throw") return [](int) { fail_in_callback(); };
        return [](int signum) {
            say("called=" + std::to_string(signum) + " thread=" + where() + " mask=[" +
                report::mask() + "]");
        };
    }

    static void fail_in_callback() {
#if VICTIM_EXCEPTIONS
        throw std::runtime_error("from the callback");
#endif
    }

    void assign(int signum, Handler what) {
        if (signum == SIGINT)
            signals->sigint = what;
        else if (signum == SIGTERM)
            signals->sigterm = what;
        else if (signum == SIGABRT)
            signals->sigabrt = what;
        else if (signum == SIGHUP)
            signals->reload = what;
        else
            signals->on(signum, what);
    }
};

// ---- Acts ---------------------------------------------------------------------------------------

// The number that a wait returned, and how long it took.
void say_got(int signum, long long began, const std::string& more = "") {
    say("got=" + std::to_string(signum) + more + " ms=" + std::to_string(now_ms() - began));
}

bool act_of_waiting(Watcher& w, const std::string& act, const std::string& value) {
    static const char* const acts[] = {"wait",       "wait-for", "wait-until", "poll",
                                       "wait-input", "native",   "until-term"};
    if (std::find(std::begin(acts), std::end(acts), act) == std::end(acts)) return false;
    const long long began = now_ms();
    const milliseconds limit(number(value));
    SignalHandler& signals = w.handler();
    if (act == "wait") {
        say("got=" + std::to_string(signals.wait()));
    } else if (act == "wait-for") {
        const int signum = signals.wait_for(limit);
        say_got(signum, began);
    } else if (act == "wait-until") {
        const int signum = signals.wait_until(std::chrono::steady_clock::now() + limit);
        say_got(signum, began);
    } else if (act == "poll") {
        const int signum = signals.poll();
        say_got(signum, began);
    } else if (act == "wait-input") {
        const int signum = signals.wait_for_input(0, value.empty() ? daemonize::no_limit : limit);
        pollfd input = {0, POLLIN, 0};
        say_got(signum, began, ::poll(&input, 1, 0) > 0 ? " input=1" : " input=0");
    } else if (act == "native") {
        pollfd ready = {static_cast<int>(signals.native_handle()), POLLIN, 0};
        int n = 0;
        do n = ::poll(&ready, 1, static_cast<int>(limit.count()));
        while (n < 0 && errno == EINTR);
        say("ready=" + std::to_string(n));
    } else {
        for (int signum = 0; signum != SIGTERM;) {
            signum = signals.wait();
            say("got=" + std::to_string(signum));
        }
    }
    return true;
}

bool act_of_throwing(Watcher& w, const std::string& act, const std::string& value) {
    if (act != "throw-received" && act != "throw-in-loop" && act != "poll-caught") return false;
#if VICTIM_EXCEPTIONS
    try {
        if (act == "poll-caught") {
            try {
                say("got=" + std::to_string(w.handler().poll()));
            } catch (const std::exception& error) {
                say(std::string("caught=") + error.what());
            }
            return true;
        }
        for (;;) {
            try {
                w.handler().throw_received(value.empty() ? daemonize::Duration(0)
                                                         : milliseconds(number(value)));
                if (act == "throw-received") break;
            } catch (const std::exception& error) {  // a work loop that logs and goes on
                say(std::string("swallowed=") + error.what());
            }
        }
        say("thrown=nothing");
    } catch (const daemonize::ReceivedSIGTERM& signal) {
        say("thrown=SIGTERM int=" + std::to_string(signal));
    } catch (const daemonize::ReceivedSIGINT& signal) {
        say("thrown=SIGINT int=" + std::to_string(signal));
    } catch (const daemonize::ReceivedSIGABRT& signal) {
        say("thrown=SIGABRT int=" + std::to_string(signal));
    } catch (const daemonize::ReceivedSignal& signal) {
        say("thrown=other int=" + std::to_string(signal));
    }
#else
    w.handler().wait_for(milliseconds(number(value)));
#endif
    return true;
}

void block_in_read() {
    say("reading");
    char byte;
    const ssize_t n = read(0, &byte, 1);
    say(n < 0 ? "read=error:" + std::to_string(errno) : "read=" + std::to_string(n));
}

bool act_of_process(Watcher& w, const std::string& act, const std::string& value) {
    if (act == "say")
        say(value);
    else if (act == "raise")
        raise(static_cast<int>(number(value)));
    else if (act == "abort")
        std::abort();
    else if (act == "return")
        std::exit(static_cast<int>(number(value)));
    else if (act == "read")
        block_in_read();
    else if (act == "sleep")
        std::this_thread::sleep_for(milliseconds(number(value)));
    else if (act == "disposition")
        say("disposition=" + report::disposition(static_cast<int>(number(value))));
    else if (act == "dispositions")
        say("dispositions: " + report::dispositions());
    else if (act == "own-handler")
        signal(static_cast<int>(number(value)), [](int) {});
    else if (act == "ignore-now")
        signal(static_cast<int>(number(value)), SIG_IGN);
    else if (act == "nofile")
        report::limit_descriptors(number(value));
    else if (act == "counted")
        say("counted=" + std::to_string(counted[number(value)]));
    else if (act == "threads-of-self") {
        const std::string status = report::slurp("/proc/self/status");
        const std::size_t at = status.find("Threads:");
        say("threads=" + std::to_string(number(status.substr(at + 8))));
    } else if (act == "fork-signal") {
        // The child has the handler, but is not who called start().
        const pid_t child = fork();
        if (child == 0) {
            raise(static_cast<int>(number(value)));
            _exit(0);
        }
        say("child-code=" + std::to_string(wait_code(child)));
    } else if (act == "worker") {  // a child that takes signals itself
        const pid_t child = fork();
        if (child == 0) {
            SignalHandler own;
            Error error;
            if (!own.start(error)) _exit(99);
            raise(static_cast<int>(number(value)));
            _exit(own.poll());
        }
        say("child-code=" + std::to_string(wait_code(child)));
    } else if (act == "fill") {
        // More than a pipe holds, by the sender that cannot be too slow: ourselves.
        for (long i = number(value); i > 0; --i) kill(getpid(), SIGUSR1);
    } else if (act == "open")
        w.context.open();
    else if (act == "ready")
        w.context.ready();
    else
        return false;
    return true;
}

bool act_of_notifying(const std::string& act, const std::string& value) {
    if (act == "notify")
        say("told=" + std::to_string(daemonize::notify(value)));
    else if (act == "watchdog") {
        const daemonize::Duration every = daemonize::watchdog_interval();
        say("watchdog=" + (every == daemonize::no_limit ? "none" : std::to_string(every.count())));
    } else if (act == "environment") {
        const char* const found = std::getenv(value.c_str());
        say(value + "=" + (found ? found : "unset"));
    } else
        return false;
    return true;
}

bool act_of_setup(Watcher& w, const std::string& act, const std::string& value) {
    if (act == "with-context")
        w.handler(true);
    else if (act == "make")
        w.handler();
    else if (act == "destroy") {
        delete w.signals;
        w.signals = nullptr;
    } else if (act == "start") {
        Error error;
        const bool done = w.handler().start(error);
        if (!done) say("start=0 " + report::describe(error));
    } else if (act == "stop")
        w.handler().stop();
    else if (act == "second") {
        SignalHandler other;
        Error error;
        const bool done = other.start(error);
        say("second=" + std::to_string(done) + " " + report::describe(error));
    } else if (act == "on") {  // on=10:callback
        const Words parts = split(value, ':');
        const int signum = static_cast<int>(number(parts[0]));
        w.handler();
        if (signum == SIGINT || signum == SIGTERM || signum == SIGABRT || signum == SIGHUP) {
            w.assign(signum, w.made(parts[1]));
        } else {
            Error error;
            if (!w.handler().on(signum, w.made(parts[1]), error))
                say("on=0 " + report::describe(error));
        }
    } else if (act == "on-itself") {  // by on(), also where there is a field for it
        const Words parts = split(value, ':');
        Error error;
        const Handler what = (w.handler(), w.made(parts[1]));
        if (!w.handler().on(static_cast<int>(number(parts[0])), what, error))
            say("on=0 " + report::describe(error));
    } else if (act == "try-on") {
        Error error;
        const bool done =
            w.handler().on(static_cast<int>(number(value)), daemonize::report_signal, error);
        say("on=" + std::to_string(done) + " " + report::describe(error));
    } else if (act == "map") {
        const Words parts = split(value, ':');
        w.context.signal_map.emplace_back(static_cast<int>(number(parts[0])), w.made(parts[1]));
    } else if (act == "pidfile")
        w.context.pidfile = value;
    else if (act == "stdout")
        w.context.standard_output = w.context.standard_error = value;
    else if (act == "by-hand")
        w.context.ready_by_hand = true;
    else if (act == "detach")
        w.context.detach_process = value == "no" ? daemonize::Detach::no : daemonize::Detach::yes;
    else
        return false;
    return true;
}

int run(Watcher& w, const Words& words, std::size_t from);

int control(Watcher& w, const std::string& verb, const Words& words, std::size_t rest) {
    std::string name = "watcher", word = verb;
    char* argv[] = {&name[0], &word[0], nullptr};
    return daemonize::control(2, argv, w.context,
                              [&](daemonize::DaemonContext&) { return run(w, words, rest); });
}

int run(Watcher& w, const Words& words, std::size_t from) {
    for (std::size_t i = from; i < words.size(); ++i) {
        const std::size_t equals = words[i].find('=');
        const std::string act = words[i].substr(0, equals);
        const std::string value = equals == std::string::npos ? "" : words[i].substr(equals + 1);
        if (act == "control") return control(w, value, words, i + 1);
        if (act == "throw-out") {
            // Not caught here: control() turns it into an orderly end.
            w.handler().throw_received(daemonize::no_limit);
            continue;
        }
        if (act == "repeat") {  // the rest, so often
            for (long n = number(value); n > 0; --n)
                if (run(w, words, i + 1) != 0) return 1;
            return 0;
        }
        if (!act_of_setup(w, act, value) && !act_of_waiting(w, act, value) &&
            !act_of_throwing(w, act, value) && !act_of_process(w, act, value) &&
            !act_of_notifying(act, value)) {
            std::fprintf(stderr, "watcher: no such word: %s\n", words[i].c_str());
            return 94;
        }
    }
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    main_thread = pthread_self();
    Watcher watcher;
    return run(watcher, Words(argv + 1, argv + argc), 0);
}
