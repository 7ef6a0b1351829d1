// The rules that are the same on Unix and on Windows, in one text for both: this file is a part of
// both suites. It judges the portable program (support/subject.cpp) from outside, and the functions
// that any process may call from in here. R: the requirement of issue 4. What only one system has,
// or only one can look into, stands in the other files.
#include <doctest/doctest.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

#include <memory>
#include <ostream>
#include <string>
#include <thread>
#include <vector>

#include "daemonize.hpp"
#include "support/either.hpp"

using namespace either;
using daemonize::errc;
using daemonize::Error;
using daemonize::PidFile;
using daemonize::SignalHandler;
using daemonize::State;
using daemonize::Stopped;
using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

namespace {

const std::string german =  // any text that is not ASCII
    "gr\xc3\xbc\xc3\x9f"
    "e";
const seconds long_enough(20);  // a wait that ends sooner unless something is broken

// A directory, a PID file and a log in it, and the subject that is started with them.
struct Daemon {
    ~Daemon() { kill_all(); }
    Daemon() {}
    Daemon(const Daemon&) = delete;
    Daemon& operator=(const Daemon&) = delete;

    Launch launch(const std::string& verb, const Words& more = {}) const {
        Words words = {program("subject"), verb, "--pidfile", pidfile,
                       "--stdout",         log,  "--stderr",  log};
        words.insert(words.end(), more.begin(), more.end());
        return Launch(words);
    }
    Outcome verb(const std::string& word, const Words& more = {}) const {
        return run(launch(word, more));
    }
    Outcome start(const Words& more = {}) const { return verb("start", more); }
    long pid() const { return daemonize::status(pidfile).pid; }
    State state() const { return daemonize::status(pidfile).state; }
    bool logs(const std::string& part) const {
        return eventually([&] { return contains(slurp(log), part); });
    }

    Scratch dir;
    std::string pidfile = dir / "d.pid", log = dir / "d.log";
};

// S1, as far as both systems show it.
void check_started(const Daemon& daemon, const Outcome& launcher) {
    INFO(launcher.text);
    REQUIRE(launcher.status == 0);
    CHECK(launcher.err == "");
    const long pid = daemon.pid();
    REQUIRE(pid > 1);
    CHECK(contains(launcher.out, "started as process " + std::to_string(pid) + "\n"));
    CHECK(pid != launcher.pid);
    CHECK(alive(pid));
    CHECK(is_detached(pid));
    CHECK(is_locked(daemon.pidfile));
    const std::string text = slurp(daemon.pidfile);
    CHECK(is_whole(text));
    CHECK(names(std::strtol(text.c_str(), nullptr, 10), pid));
}

// A status, one line of the program's that says it all, and nobody new.
void check_told(const Outcome& said, int status, const std::string& text) {
    INFO(said.text);
    CHECK(said.status == status);
    CHECK_FALSE(said.timed_out);
    CHECK(lines(said.err).size() == 1);
    CHECK(said.err.compare(0, 9, "subject: ") == 0);
    CHECK(contains(said.err, text));
}

void check_failed(const Daemon& daemon, const Outcome& launcher, int status,
                  const std::string& text) {
    check_told(launcher, status, text);
    CHECK_FALSE(exists(daemon.pidfile));
    CHECK(nobody_left());
}

void check_stops(const Daemon& daemon) {
    const long pid = daemon.pid();
    const Outcome said = daemon.verb("stop");
    INFO(said.text);
    CHECK(said.status == 0);
    CHECK(contains(said.out, "ended"));
    CHECK_FALSE(alive(pid));  // now, not soon
    CHECK_FALSE(exists(daemon.pidfile));
}

std::string running_as(long pid) { return "already running as process " + std::to_string(pid); }

// This process, which has a PID file as a daemon has it: so signals can be sent to it on both
// systems. Nothing but the library may open the file meanwhile (a rule of record locks).
struct Addressee {
    Addressee() {
        Error error;
        held = file.acquire(milliseconds(0), error);
        INFO(error.text);
        CHECK(held);
    }
    // Sent, and there: a Windows signal comes by way of a thread.
    bool send(int signum, const SignalHandler& signals) const {
        Error error;
        const bool sent = daemonize::send(path, signum, error);
        INFO(error.text);
        CHECK(sent);
        return sent && eventually([&] { return is_ready(signals.native_handle()); });
    }

    Scratch dir;
    std::string path = dir / "own.pid";
    PidFile file{path};
    bool held = false;
};

milliseconds since(Clock::time_point began) {
    return std::chrono::duration_cast<milliseconds>(Clock::now() - began);
}

}  // namespace

// ---- Start --------------------------------------------------------------------------------------

TEST_CASE("S1 status 0 means: running, detached, locked, the file complete") {
    const Daemon daemon;
    check_started(daemon, daemon.start());
    const daemonize::Status status = daemonize::status(daemon.pidfile);
    CHECK(status.state == State::running);
    check_stops(daemon);
    CHECK(nobody_left());
}

TEST_CASE("S1 the launcher does not come back before ready()") {
    const Daemon daemon;
    const Outcome launcher = daemon.start({"--ready-delay-ms", "700"});
    check_started(daemon, launcher);
    CHECK(launcher.took >= milliseconds(700));
    check_stops(daemon);
}

TEST_CASE("S1 P2 a refused start says in one line who runs") {
    const Daemon daemon;
    check_started(daemon, daemon.start());
    const long pid = daemon.pid();
    const Outcome refused = daemon.start();
    check_told(refused, 1, "cannot lock '" + daemon.pidfile + "': " + running_as(pid));
    CHECK(refused.out == "");
    CHECK(daemon.pid() == pid);
    check_stops(daemon);
}

TEST_CASE("R6 S2 an early end is told at once, with its code; 0 is no success") {
    const Daemon daemon;
    const Outcome launcher = daemon.start({"--exit-init", "42"});
    check_failed(daemon, launcher, 42, "it ended with status 42 before it was ready");
    CHECK(launcher.took < seconds(15));  // the time limit is 30 s
    check_failed(daemon, daemon.start({"--exit-init", "0"}), 1,
                 "it ended with status 0 before it was ready");
}

TEST_CASE("S2 a start that aborts is a failed one, and nothing of it is left") {
    const Daemon daemon;
    const Outcome launcher = daemon.start({"--abort-init"});
    INFO(launcher.text);
    CHECK(launcher.status > 0);
    CHECK_FALSE(launcher.timed_out);
    CHECK(launcher.took < seconds(15));
    CHECK(contains(launcher.err, "subject: cannot start process "));
    CHECK_FALSE(exists(daemon.pidfile));
    CHECK(nobody_left());
    check_started(daemon, daemon.start());
    check_stops(daemon);
}

TEST_CASE("R6 S3 the text of fail() arrives in full, on stderr and in the log") {
    const Daemon daemon;
    const std::string text = "no " + german + ": " + std::string(3000, 'x') + " (the end)";
    check_failed(daemon, daemon.start({"--fail-init", text}), 1, "subject: " + text + "\n");
    CHECK(contains(without_returns(slurp(daemon.log)), text + "\n"));
}

TEST_CASE("R6 S4 the time limit: status 124, the limit is named, nobody is left") {
    const Daemon daemon;
    const Outcome launcher = daemon.start({"--ready-delay-ms", "100000", "--ready-timeout", "1"});
    check_failed(daemon, launcher, 124, "has not called ready() within 1 s");
    CHECK(launcher.took >= milliseconds(1000));
    CHECK(launcher.took < seconds(10));
}

TEST_CASE("S5 relative paths are meant from the caller's directory") {
    const Daemon daemon;
    const auto in_its_directory = [&](const std::string& verb) {
        Launch launch({program("subject"), verb, "--pidfile", "d.pid", "--stdout", "d.log",
                       "--payload", "x"});
        launch.directory = daemon.dir.path();
        return run(launch);
    };
    check_started(daemon, in_its_directory("start"));
    CHECK(daemon.logs("payload=x\n"));
    CHECK(in_its_directory("reload").status == 0);
    CHECK(daemon.logs("hup\n"));
    const long pid = daemon.pid();
    daemonize::send(daemon.pidfile, SIGTERM);  // stop would remove what the daemon had to
    CHECK(gone(pid));
    CHECK_FALSE(exists(daemon.pidfile));
    CHECK(in_its_directory("stop").status == 0);
}

TEST_CASE("S6 buffered text appears once, exit handlers run once, at the daemon's end") {
    const Daemon daemon;
    const std::string file = daemon.dir / "at-exit";
    const Outcome launcher = daemon.start({"--say", "waiting text", "--atexit-file", file});
    check_started(daemon, launcher);
    CHECK(count(launcher.out, "waiting text") == 1);
    CHECK_FALSE(exists(file));
    check_stops(daemon);
    CHECK(slurp(file) == "A\n");
    CHECK_FALSE(contains(slurp(daemon.log), "waiting text"));
}

TEST_CASE("S6 a failing start runs no exit handler and repeats no text") {
    const Daemon daemon;
    const std::string file = daemon.dir / "at-exit";
    const Outcome launcher =
        daemon.start({"--say", "waiting text", "--atexit-file", file, "--fail-init", "no"});
    check_failed(daemon, launcher, 1, "subject: no\n");
    CHECK(count(launcher.out, "waiting text") == 1);
    CHECK_FALSE(exists(file));
    CHECK_FALSE(contains(slurp(daemon.log), "waiting text"));
}

TEST_CASE("S7 D2 start() that is refused: role, error, the options and the caller as before") {
    const Daemon daemon;
    check_started(daemon, daemon.start());
    const std::string before = slurp(daemon.log);
    daemonize::DaemonContext context;
    context.pidfile = daemon.pidfile;
    context.standard_output = daemon.log;
    context.detach_process = daemonize::Detach::yes;
    context.ready_timeout = seconds(3);
    Error error;
    const daemonize::Role role = context.start(error);
    if (role != daemonize::Role::launcher) std::_Exit(99);  // never a second suite
    INFO(error.text);
    CHECK((error.code == errc::already_running));
    CHECK(contains(error.text, running_as(daemon.pid())));
    CHECK_FALSE(context.is_open());
    CHECK_FALSE(context.is_parent());
    CHECK(context.pid() == 0);
    CHECK(context.pidfile == daemon.pidfile);
    CHECK(context.standard_output.path() == daemon.log);
    CHECK(context.working_directory == "");
    CHECK(context.umask == -1);
    CHECK(daemonize::is_setup());
    CHECK(slurp(daemon.log) == before);
    context.close();  // of nothing
    CHECK(exists(daemon.pidfile));
    check_stops(daemon);
}

TEST_CASE("S8 a payload given before the start is there in the daemon") {
    const Daemon daemon;
    const std::string payload = "a \"b\" \\ " + german + " " + std::string(2000, 'p');
    check_started(daemon, daemon.start({"--payload", payload}));
    CHECK(daemon.logs("payload=" + payload + "\n"));
    check_stops(daemon);
}

TEST_CASE("R1 S9 who captures the launcher's output gets its end while the daemon lives") {
    const Daemon daemon;
    Launch launch = daemon.launch("start");
    launch.captured = true;
    const Outcome launcher = run(launch);
    check_started(daemon, launcher);
    CHECK(launcher.end_of_file);
    CHECK(alive(daemon.pid()));
    check_stops(daemon);
}

TEST_CASE("R24 S13 a launcher killed while it waits leaves neither daemon nor lock") {
    const Daemon daemon;
    {
        Running launcher(daemon.launch("start", {"--ready-delay-ms", "1500"}));
        // It is there, and not ready: it has written its number.
        REQUIRE(eventually([&] { return is_whole(slurp(daemon.pidfile)); }));
        kill(launcher.pid());
        launcher.finish();
    }
    CHECK(eventually([] { return nobody_left(); }));
    CHECK_FALSE(is_locked(daemon.pidfile));
    check_started(daemon, daemon.start());
    check_stops(daemon);
}

// ---- The PID file -------------------------------------------------------------------------------

TEST_CASE("R8 P1 no content of a file that nobody holds blocks a start") {
    const std::string living = std::to_string(own_pid());
    for (const std::string& left : {std::string(), std::string("garbage"), std::string("\n"),
                                    std::string("0\n"), std::string("1\n"), living + "\n",
                                    std::string("4711"), std::string("99999999999999999999\n"),
                                    std::string(5000, '7'), std::string("12\0 34", 6)}) {
        const Daemon daemon;
        INFO("in the file: '", left, "'");
        REQUIRE(write_file(daemon.pidfile, left));
        check_started(daemon, daemon.start());
        check_stops(daemon);
    }
}

TEST_CASE("P1 the file of a daemon that was killed blocks nobody") {
    const Daemon daemon;
    check_started(daemon, daemon.start());
    const long pid = daemon.pid();
    kill(pid);
    REQUIRE(gone(pid));
    CHECK(exists(daemon.pidfile));
    CHECK_FALSE(is_locked(daemon.pidfile));
    CHECK(daemon.state() == State::dead);
    check_started(daemon, daemon.start());
    CHECK(daemon.pid() != pid);
    check_stops(daemon);
}

TEST_CASE("R7 P2 of starts at once exactly one succeeds, the others name it") {
    const Daemon daemon;
    const int starts = 8;
    std::vector<std::unique_ptr<Running>> running;
    for (int i = 0; i < starts; ++i)
        running.emplace_back(new Running(daemon.launch("start", {"--ready-delay-ms", "100"})));
    std::vector<Outcome> outcomes;
    for (const std::unique_ptr<Running>& each : running) outcomes.push_back(each->finish());
    const long pid = daemon.pid();
    int succeeded = 0;
    for (const Outcome& outcome : outcomes) {
        if (outcome.status == 0)
            ++succeeded;
        else
            check_told(outcome, 1, running_as(pid));
    }
    CHECK(succeeded == 1);
    CHECK(one_daemon_left());
    check_stops(daemon);
}

TEST_CASE("P2 a refused start changes nothing of the file, and touches no log") {
    const Daemon daemon;
    check_started(daemon, daemon.start());
    const FileState before = state_of(daemon.pidfile);
    const std::string text = slurp(daemon.pidfile), log = slurp(daemon.log);
    CHECK(daemon.start({"--payload", "x"}).status == 1);
    CHECK((state_of(daemon.pidfile) == before));
    CHECK(slurp(daemon.pidfile) == text);
    CHECK(slurp(daemon.log) == log);
    CHECK(is_locked(daemon.pidfile));
    check_stops(daemon);
}

TEST_CASE("P2 a foreign program that keeps the file is told from a daemon") {
    const Daemon daemon;
    REQUIRE(write_file(daemon.pidfile, ""));
    const FileState before = state_of(daemon.pidfile);
    ForeignLock foreign(daemon.pidfile);
    const Outcome refused = daemon.start();
    check_told(refused, 1, "cannot lock '" + daemon.pidfile + "'");
    CHECK_FALSE(contains(refused.err, "already running"));
    CHECK(nobody_left());
    CHECK((state_of(daemon.pidfile) == before));
    foreign.release();
    check_started(daemon, daemon.start());
    check_stops(daemon);
}

TEST_CASE("R11 P4 an orderly end removes the file, and the next start works at once") {
    const Daemon daemon;
    for (const int signum : {SIGTERM, SIGINT, SIGABRT}) {
        check_started(daemon, daemon.start());
        const long pid = daemon.pid();
        Error error;
        INFO(signum, " ", error.text);
        CHECK(daemonize::send(daemon.pidfile, signum, error));
        CHECK(gone(pid));
        CHECK_FALSE(exists(daemon.pidfile));
    }
    check_started(daemon, daemon.start());
    check_stops(daemon);
    CHECK(nobody_left());
}

TEST_CASE("P8 questions create nothing, and change nothing of what was left") {
    const Daemon daemon;
    Error error;
    const auto ask_all = [&] {
        daemonize::status(daemon.pidfile);
        CHECK_FALSE(daemonize::send(daemon.pidfile, SIGTERM, error));
        PidFile(daemon.pidfile).read(error);
        for (const char* verb : {"status", "reload"}) daemon.verb(verb);
    };
    const auto stop_both = [&] {
        CHECK(daemonize::stop(daemon.pidfile, milliseconds(100), error) == Stopped::not_running);
        CHECK(daemon.verb("stop").status == 0);
    };
    ask_all();
    stop_both();
    CHECK_FALSE(exists(daemon.pidfile));
    CHECK_FALSE(exists(daemon.log));
    // What a dead daemon left is for `stop` to remove; what no daemon writes is not.
    for (const char* left : {"", "no number\n", "4711\n"}) {
        REQUIRE(write_file(daemon.pidfile, left));
        const FileState before = state_of(daemon.pidfile);
        ask_all();
        if (contains(left, "no number")) stop_both();
        CHECK((state_of(daemon.pidfile) == before));
        CHECK(slurp(daemon.pidfile) == left);
    }
}

TEST_CASE("C2 stop removes what a dead daemon left, whoever has its number now") {
    const Daemon daemon;
    Error error;
    // Emptied, where the directory did not let it remove the file.
    for (const std::string& left : {std::to_string(own_pid()) + "\n", std::string()}) {
        for (const bool by_verb : {false, true}) {
            REQUIRE(write_file(daemon.pidfile, left));
            CHECK(daemonize::status(daemon.pidfile).state ==
                  (left.empty() ? State::not_running : State::dead));
            if (by_verb)
                CHECK(daemon.verb("stop").status == 0);
            else
                CHECK(daemonize::stop(daemon.pidfile, milliseconds(100), error) ==
                      Stopped::not_running);
            CHECK_FALSE(exists(daemon.pidfile));
            CHECK(daemonize::status(daemon.pidfile).state == State::not_running);
            CHECK(daemon.verb("status").status == 3);
        }
    }
}

TEST_CASE("P1 G7 C2 a PID file by itself: held, shown, signalled, never stopped by itself") {
    const Scratch dir;
    const std::string path = dir / (german + ".pid");
    PidFile file(path), second(path);
    Error error;
    REQUIRE(file.acquire(milliseconds(0), error));
    CHECK(file.is_held());
    CHECK(file.acquire(milliseconds(0), error));  // it has it
    CHECK(names(file.read(error), own_pid()));
    CHECK(daemonize::status(path).state == State::running);
    CHECK(daemonize::status(path).pid == own_pid());
    CHECK_FALSE(second.acquire(milliseconds(300), error));
    CHECK((error.code == errc::already_running || error.code == errc::timed_out));
    CHECK_FALSE(second.is_held());
    check_told(run(Launch({program("subject"), "start", "--pidfile", path})), 1,
               running_as(own_pid()));
    // It would wait for its own end.
    CHECK(daemonize::stop(path, milliseconds(100), error) == Stopped::failed);
    CHECK((error.code == errc::invalid_option));
    CHECK(file.is_held());
    file.release();
    file.release();
    CHECK_FALSE(file.is_held());
    CHECK_FALSE(exists(path));
    CHECK(second.acquire(milliseconds(0), error));
    second.release();
    CHECK_FALSE(exists(path));
}

// ---- Signals ------------------------------------------------------------------------------------

TEST_CASE("R13 G7 send() reaches the daemon, each of the signals that it handles") {
    const Daemon daemon;
    check_started(daemon, daemon.start());
    daemonize::send(daemon.pidfile, user_signal);
    CHECK(daemon.logs("usr1\n"));
    daemonize::send(daemon.pidfile, daemonize::signal_reload);
    CHECK(daemon.logs("hup\n"));
    CHECK(count(slurp(daemon.log), "usr1") == 1);
    CHECK(count(slurp(daemon.log), "hup") == 1);
    check_stops(daemon);
}

TEST_CASE("R13 G7 send() of what is no signal is refused by its number") {
    const Daemon daemon;
    check_started(daemon, daemon.start());
    const long pid = daemon.pid();
    for (const int signum : {-1, 0, 4711}) {
        Error error;
        CHECK_FALSE(daemonize::send(daemon.pidfile, signum, error));
        CHECK((error.code == errc::unknown_signal));
        INFO(error.text);
        CHECK(contains(error.text, std::to_string(signum)));
    }
    CHECK(daemon.pid() == pid);
    check_stops(daemon);
}

TEST_CASE("G7 a file without its holder names nobody: the stranger is not signalled") {
    const Daemon stranger, daemon;
    check_started(stranger, stranger.start());
    REQUIRE(write_file(daemon.pidfile, slurp(stranger.pidfile)));  // a stale, recycled number
    Error error;
    CHECK_FALSE(daemonize::send(daemon.pidfile, SIGTERM, error));
    INFO(error.text);
    CHECK((error.code == errc::not_running));
    CHECK(daemon.state() == State::dead);
    CHECK(daemon.verb("reload").status == 7);
    CHECK(daemon.verb("stop").status == 0);
    CHECK(contains(daemon.verb("stop").out, "not running"));
    // The stranger has heard of none: what it is sent now is the first that it says.
    daemonize::send(stranger.pidfile, user_signal);
    CHECK(stranger.logs("usr1\n"));
    CHECK(slurp(stranger.log) == "usr1\n");
    check_stops(stranger);
}

TEST_CASE("G1 what no program can handle is an error that names it") {
    SignalHandler signals;
    for (const int signum : {-1, 0, 4, 8, 9, 11, 4711}) {
        Error error;
        CHECK_FALSE(signals.on(signum, daemonize::report_signal, error));
        INFO(signum, ": ", error.text);
        CHECK((error.code == errc::unknown_signal));
        CHECK(contains(error.text, "cannot handle"));
    }
}

TEST_CASE("G1 G2 G3 handlers run inside the wait, in its thread, and do not end it") {
    const Addressee self;
    SignalHandler signals;
    int called = 0;
    std::thread::id ran_in;
    const auto callback = [&](int signum) {
        called += signum == user_signal ? 1 : 100;
        ran_in = std::this_thread::get_id();
    };
    signals.on(user_signal, callback);
    signals.start();
    REQUIRE(self.send(user_signal, signals));
    CHECK(called == 0);
    const Clock::time_point began = Clock::now();
    CHECK(signals.wait_for(milliseconds(200)) == daemonize::no_signal);
    CHECK(since(began) >= milliseconds(200));
    CHECK(called == 1);
    CHECK((ran_in == std::this_thread::get_id()));
    signals.on(user_signal, daemonize::ignore_signal);  // also while it runs
    Error error;
    CHECK(daemonize::send(self.path, user_signal, error));
    signals.sigterm = [&](int) { called += 10; };
    CHECK(signals.poll() == daemonize::no_signal);
    REQUIRE(self.send(SIGTERM, signals));
    CHECK(signals.poll() == daemonize::no_signal);
    CHECK(called == 11);
}

TEST_CASE("G2 any one thread may wait, also one that has not made the handler") {
    const Addressee self;
    SignalHandler signals;
    std::thread::id ran_in;
    signals.on(user_signal, [&](int) { ran_in = std::this_thread::get_id(); });
    signals.start();
    int told = user_signal;
    std::thread::id waited_in;
    const auto wait_elsewhere = [&](milliseconds limit) {
        std::thread other([&] {
            waited_in = std::this_thread::get_id();
            told = signals.wait_for(limit);
        });
        other.join();
    };
    REQUIRE(self.send(user_signal, signals));
    wait_elsewhere(milliseconds(100));
    CHECK(told == daemonize::no_signal);
    CHECK((ran_in == waited_in));
    CHECK((ran_in != std::this_thread::get_id()));
    REQUIRE(self.send(SIGTERM, signals));
    wait_elsewhere(long_enough);
    CHECK(told == SIGTERM);
    REQUIRE(self.send(SIGTERM, signals));  // and then this one again
    CHECK(signals.wait_for(long_enough) == SIGTERM);
}

TEST_CASE("G3 G4 the waits return a reported signal, and native_handle() tells of it") {
    const Addressee self;
    SignalHandler signals;
    signals.reload = daemonize::report_signal;
    signals.on(user_signal, daemonize::report_signal);
    signals.start();
    CHECK_FALSE(is_ready(signals.native_handle()));
    CHECK(signals.poll() == daemonize::no_signal);
    for (const int signum : {SIGTERM, SIGINT, SIGABRT, daemonize::signal_reload, user_signal}) {
        REQUIRE(self.send(signum, signals));
        const Clock::time_point began = Clock::now();
        CHECK(signals.wait_for(long_enough) == signum);
        CHECK(since(began) < seconds(10));
        CHECK(signals.poll() == daemonize::no_signal);
        CHECK_FALSE(is_ready(signals.native_handle()));
    }
    // By another process, as anybody sends it.
    CHECK(run(Launch({program("subject"), "reload", "--pidfile", self.path})).status == 0);
    CHECK(signals.wait_until(Clock::now() + long_enough) == daemonize::signal_reload);
}

TEST_CASE("G6 two kinds that are pending together are both told") {
    const Addressee self;
    SignalHandler signals;
    signals.on(user_signal, daemonize::report_signal);
    signals.start();
    REQUIRE(self.send(user_signal, signals));
    REQUIRE(self.send(SIGTERM, signals));
    const int first = signals.wait_for(long_enough);
    CHECK(eventually([&] { return is_ready(signals.native_handle()); }));  // of the other
    const int other = signals.wait_for(long_enough);
    CHECK(first + other == user_signal + SIGTERM);
    CHECK((first == SIGTERM || other == SIGTERM));
    CHECK(signals.poll() == daemonize::no_signal);
}

TEST_CASE("G3 throw_received() throws the signal, by its own type and as its number") {
    const Addressee self;
    SignalHandler signals;
    signals.on(user_signal, daemonize::report_signal);
    signals.start();
    signals.throw_received();  // nothing has come
    const auto thrown = [&](int signum) {
        REQUIRE(self.send(signum, signals));
        std::string kind = "nothing";
        try {
            signals.throw_received(long_enough);
        } catch (const daemonize::ReceivedSIGINT& received) {
            kind = "int " + std::to_string(received);
        } catch (const daemonize::ReceivedSIGTERM& received) {
            kind = "term " + std::to_string(received);
        } catch (const daemonize::ReceivedSIGABRT& received) {
            kind = "abrt " + std::to_string(received);
        } catch (const daemonize::ReceivedSignal& received) {
            kind = "other " + std::to_string(received);
        }
        return kind;
    };
    CHECK(thrown(SIGINT) == "int " + std::to_string(SIGINT));
    CHECK(thrown(SIGTERM) == "term " + std::to_string(SIGTERM));
    CHECK(thrown(SIGABRT) == "abrt " + std::to_string(SIGABRT));
    CHECK(thrown(user_signal) == "other " + std::to_string(user_signal));
}

TEST_CASE("G5 one owner for a signal; stop() is idempotent and drops what nobody waited for") {
    const Addressee self;
    SignalHandler first, second;
    Error error;
    for (SignalHandler* each : {&first, &second}) each->on(user_signal, daemonize::report_signal);
    CHECK(first.start(error));
    CHECK(first.start(error));
    CHECK_FALSE(second.start(error));
    CHECK((error.code == errc::invalid_option));
    REQUIRE(self.send(user_signal, first));
    first.stop();
    first.stop();
    REQUIRE(second.start(error));
    CHECK(second.poll() == daemonize::no_signal);
    REQUIRE(self.send(user_signal, second));
    CHECK(second.poll() == user_signal);
}

// ---- Control ------------------------------------------------------------------------------------

TEST_CASE("C1 an unknown or missing word: usage on stderr, status 2; --help: on stdout, 0") {
    for (const Words& words : {Words{}, Words{"begin"}, Words{"START"}, Words{""}}) {
        Words all = {program("subject")};
        all.insert(all.end(), words.begin(), words.end());
        const Outcome said = run(Launch(all));
        INFO(said.text);
        CHECK(said.status == 2);
        CHECK(said.out == "");
        for (const char* word : {"subject", "start", "stop", "restart", "reload", "status", "run"})
            CHECK(contains(said.err, word));
    }
    const Outcome help = run(Launch({program("subject"), "--help"}));
    INFO(help.text);
    CHECK(help.status == 0);
    CHECK(help.err == "");
    for (const char* word : {"subject", "start", "stop", "restart", "reload", "status", "run"})
        CHECK(contains(help.out, word));
}

TEST_CASE("C1 C3 C6 the verbs, from the start to the end, and what they say") {
    const Daemon daemon;
    const auto said = [&](const char* verb, int status, const char* out) {
        const Outcome outcome = daemon.verb(verb);
        INFO(verb, ": ", outcome.text);
        CHECK(outcome.status == status);
        CHECK(contains(outcome.out, out));
        CHECK(outcome.err == "");
    };
    said("status", 3, "not running");
    said("stop", 0, "not running");
    check_told(daemon.verb("reload"), 7, "not running");
    said("start", 0, "started as process ");
    const long pid = daemon.pid();
    said("status", 0, ("running as process " + std::to_string(pid)).c_str());
    said("reload", 0, "told to reload");
    CHECK(daemon.logs("hup\n"));
    CHECK(daemon.pid() == pid);
    said("stop", 0, "ended after ");
    said("status", 3, "not running");
    said("stop", 0, "not running");
    CHECK_FALSE(exists(daemon.pidfile));
}

TEST_CASE("C3 status: 1 where a number was left, 3 where nothing was") {
    const Daemon daemon;
    check_started(daemon, daemon.start());
    const long pid = daemon.pid();
    kill(pid);
    REQUIRE(gone(pid));
    const Outcome dead = daemon.verb("status");
    INFO(dead.text);
    CHECK(dead.status == 1);
    CHECK(contains(dead.out, "dead"));
    REQUIRE(write_file(daemon.pidfile, ""));
    CHECK(daemon.verb("status").status == 3);
    std::remove(daemon.pidfile.c_str());
    CHECK(daemon.verb("status").status == 3);
}

TEST_CASE("C1 V2 run stays in the foreground, keeps its output, ends when it is told to") {
    const Daemon daemon;
    Running front(daemon.launch("run", {"--payload", "here"}));
    // An answer to a signal: from here on SIGTERM is an order to end, and not yet its own end.
    REQUIRE(eventually([&] {
        Error not_yet;
        daemonize::send(daemon.pidfile, daemonize::signal_reload, not_yet);
        return contains(front.out(), "hup\n");
    }));
    CHECK(daemon.pid() == front.pid());
    CHECK(daemon.start().status == 1);
    CHECK(daemon.verb("stop").status == 0);
    const Outcome outcome = front.finish();
    INFO(outcome.text);
    CHECK(outcome.status == 0);
    CHECK(outcome.out.compare(0, 13, "payload=here\n") == 0);
    CHECK_FALSE(exists(daemon.pidfile));
    CHECK_FALSE(exists(daemon.log));
}

TEST_CASE("R19 C2 stop waits for a slow end") {
    const Daemon daemon;
    check_started(daemon, daemon.start({"--term-delay-ms", "800"}));
    const Clock::time_point began = Clock::now();
    check_stops(daemon);
    CHECK(since(began) >= milliseconds(800));
    CHECK(nobody_left());
}

TEST_CASE("R19 C2 stop kills at its limit what does not listen, and removes its file") {
    const Daemon daemon;
    check_started(daemon, daemon.start({"--ignore-term"}));
    const long pid = daemon.pid();
    const Outcome said = daemon.verb("stop", {"--timeout", "0.7"});
    INFO(said.text);
    CHECK(said.status == 0);
    CHECK(contains(said.out, "killed"));
    CHECK(said.took >= milliseconds(700));
    CHECK_FALSE(alive(pid));
    CHECK_FALSE(exists(daemon.pidfile));
    CHECK(nobody_left());
}

TEST_CASE("C2 stop during a start: no success before nobody is left") {
    const Daemon daemon;
    Running launcher(daemon.launch("start", {"--ready-delay-ms", "500"}));
    // The lock, not the file: until it is taken there is nothing that could be stopped.
    REQUIRE(eventually([&] { return is_locked(daemon.pidfile); }));
    const Outcome stop = daemon.verb("stop");
    INFO(stop.text);
    CHECK(stop.status == 0);
    CHECK_FALSE(contains(stop.out, "not running"));
    const Outcome start = launcher.finish();
    INFO(start.text);
    CHECK_FALSE(start.timed_out);
    CHECK_FALSE(exists(daemon.pidfile));
    CHECK(nobody_left());
}

TEST_CASE("C2 P7 the daemon's child lives on, and keeps no lock") {
    const Daemon daemon;
    int children = 0;
    const auto started_with_child = [&] {
        check_started(daemon, daemon.start({"--child"}));
        ++children;
        REQUIRE(eventually([&] { return count(slurp(daemon.log), "child=") == children; }));
        const std::string text = slurp(daemon.log);
        return std::strtol(text.c_str() + text.rfind("child=") + 6, nullptr, 10);
    };
    const long stopped = started_with_child();
    REQUIRE(stopped > 1);
    check_stops(daemon);
    CHECK(alive(stopped));
    const long killed = started_with_child();
    REQUIRE(killed > 1);
    REQUIRE(killed != stopped);
    const long pid = daemon.pid();
    kill(pid);
    REQUIRE(gone(pid));
    // Between its fork and its exec the child is a copy of the daemon.
    CHECK(eventually([&] { return !is_locked(daemon.pidfile); }));
    check_started(daemon, daemon.start());
    check_stops(daemon);
    for (const long child : {stopped, killed}) {
        CHECK(alive(child));
        kill(child);
        CHECK(gone(child));
    }
}

TEST_CASE("C4 restart is stop, then start; from nothing it is a start") {
    const Daemon daemon;
    REQUIRE(write_file(daemon.pidfile, "garbage\n"));
    check_started(daemon, daemon.verb("restart"));
    const long before = daemon.pid();
    check_started(daemon, daemon.verb("restart"));
    CHECK(daemon.pid() != before);
    CHECK_FALSE(alive(before));
    CHECK(one_daemon_left());
    check_stops(daemon);
}

TEST_CASE("C4 restart with a new one that cannot start: says so, and none is left") {
    const Daemon daemon;
    check_started(daemon, daemon.start());
    check_failed(daemon, daemon.verb("restart", {"--fail-init", "bad configuration"}), 1,
                 "bad configuration");
}

TEST_CASE("C5 L4 reload re-opens a log that was renamed; until then it is written") {
    const Daemon daemon;
    const std::string renamed = daemon.log + ".1";
    check_started(daemon, daemon.start());
    const long pid = daemon.pid();
    REQUIRE(std::rename(daemon.log.c_str(), renamed.c_str()) == 0);
    daemonize::send(daemon.pidfile, user_signal);
    CHECK(eventually([&] { return contains(slurp(renamed), "usr1\n"); }));
    CHECK_FALSE(exists(daemon.log));
    CHECK(daemon.verb("reload").status == 0);
    CHECK(daemon.logs("hup\n"));
    CHECK_FALSE(contains(slurp(renamed), "hup"));
    CHECK(daemon.pid() == pid);
    check_stops(daemon);
}

// ---- Errors and values --------------------------------------------------------------------------

TEST_CASE("E4 a PID file that cannot be: one clear line, no success, nobody left") {
    const Daemon daemon;
    const std::string missing = daemon.dir / "missing/d.pid";
    const struct {
        std::string path, text;
    } bad[] = {{missing, "cannot create '"}, {daemon.dir.path(), "'" + daemon.dir.path() + "'"}};
    for (const auto& each : bad) {
        const Outcome said = run(Launch({program("subject"), "start", "--pidfile", each.path}));
        check_told(said, 1, each.text);
        CHECK_FALSE(contains(said.err, "Success"));
        CHECK(nobody_left());
    }
    CHECK(exists(daemon.dir.path()));
    CHECK_FALSE(exists(daemon.dir / "missing"));
    for (const char* verb : {"stop", "status", "reload", "restart"}) {
        const Outcome said = run(Launch({program("subject"), verb}));
        INFO(verb, ": ", said.text);
        CHECK(said.status == 2);
        CHECK(lines(said.err).size() == 1);
        CHECK(said.out == "");
    }
}

TEST_CASE("E4 a working directory or a log that cannot be: one line, no daemon, no file") {
    const Daemon daemon;
    const std::string missing = daemon.dir / "missing";
    check_failed(daemon, daemon.start({"--chdir", missing}), 1, missing);
    Launch launch({program("subject"), "start", "--pidfile", daemon.pidfile, "--stdout",
                   daemon.dir / "missing/d.log"});
    check_failed(daemon, run(launch), 1, "d.log");
    check_failed(daemon,
                 run(Launch({program("subject"), "start", "--pidfile", daemon.pidfile, "--stdout",
                             daemon.pidfile})),
                 1, "it is the PID file");
}

TEST_CASE("E1 E4 named conditions: the same code and text, returned or thrown") {
    const Scratch dir;
    const std::string zero("a\0b", 3), nobody = dir / "nobody.pid";
    Error error;
    CHECK_FALSE(PidFile("").acquire(milliseconds(0), error));
    CHECK((error.code == errc::invalid_option));
    CHECK(contains(error.text, "it is empty"));
    CHECK_FALSE(PidFile(zero).acquire(milliseconds(0), error));
    CHECK((error.code == errc::invalid_option));
    CHECK(contains(error.text, "zero byte"));
    CHECK_FALSE(daemonize::send(zero, SIGTERM, error));
    CHECK((error.code == errc::invalid_option));
    CHECK(daemonize::stop("", milliseconds(0), error) == Stopped::failed);
    CHECK((error.code == errc::invalid_option));
    CHECK(daemonize::status(zero).state == State::unknown);

    daemonize::DaemonContext context;
    context.pidfile = zero;
    if (context.start(error) != daemonize::Role::launcher) std::_Exit(99);
    CHECK((error.code == errc::invalid_option));

    CHECK_FALSE(PidFile(dir / "missing/x.pid").acquire(milliseconds(0), error));
    CHECK((error.code == std::errc::no_such_file_or_directory));
    CHECK_FALSE(PidFile(dir.path()).acquire(milliseconds(0), error));
    CHECK(contains(error.text, dir.path()));
    CHECK(PidFile(nobody).read(error) == 0);
    CHECK((error.code == std::errc::no_such_file_or_directory));
    REQUIRE(write_file(dir / "garbage.pid", "no number\n"));
    CHECK(PidFile(dir / "garbage.pid").read(error) == 0);
    CHECK((error.code == errc::invalid_pid_file));

    CHECK_FALSE(daemonize::send(nobody, SIGTERM, error));
    CHECK((error.code == errc::not_running));
    CHECK((error.code != errc::already_running));
    CHECK(&error.code.category() == &daemonize::category());
    std::string thrown;
    try {
        daemonize::send(nobody, SIGTERM);
    } catch (const daemonize::DaemonError& caught) {
        thrown = caught.what();
        CHECK((caught.code() == errc::not_running));
    }
    CHECK(thrown == error.text);
    CHECK(contains(thrown, nobody));
}

TEST_CASE("D1 D3 the defaults; what was not started can be closed as often as one likes") {
    daemonize::DaemonContext context;
    CHECK(context.pidfile == "");
    CHECK(context.umask == -1);
    CHECK(context.prevent_core);
    CHECK(context.initgroups);
    CHECK((context.detach_process == daemonize::Detach::automatic));
    CHECK(context.ready_timeout == seconds(30));
    CHECK(context.stop_timeout == seconds(10));
    CHECK_FALSE(context.uid.is_set());
    for (const daemonize::Stream* each :
         {&context.standard_input, &context.standard_output, &context.standard_error})
        CHECK(each->choice() == daemonize::Stream::null_choice);
    context.pidfile = "kept.pid";
    daemonize::DaemonContext moved(std::move(context));
    moved.close();
    moved.close();
    CHECK_FALSE(moved.is_open());
    CHECK(moved.pidfile == "kept.pid");
    CHECK(moved.pid() == 0);
    CHECK((moved.role() == daemonize::Role::launcher));
}
