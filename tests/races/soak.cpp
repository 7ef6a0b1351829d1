// soak [--cycles N]: start, signal, reload, stop, again and again, by one process that never leaves:
// a kept launcher. A second daemon lives all the time and gets the same signals. At the end nothing
// may have grown: no memory, no descriptors, no processes, no files. Linux.
#define DAEMONIZE_IMPLEMENTATION
#include "daemonize.hpp"

#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "tests/races/judge.hpp"
#include "tests/support/harness.hpp"

namespace {

using judge::holds;
const char* const cycle_works = "each start, signal, reload and stop succeeds";

// ---- The daemon of a cycle ----------------------------------------------------------------------

[[noreturn]] void serve(daemonize::DaemonContext& context, int answers) {
    {
        const auto answer = [answers](char byte) {
            if (write(answers, &byte, 1) != 1) _exit(98);
        };
        daemonize::SignalHandler signals(context);
        signals.on(SIGUSR1, [&](int) { answer('u'); });
        signals.reload = [&](int) { answer('h'); };
        signals.start();
        context.ready();
        signals.wait();
    }
    context.close();
    _exit(0);
}

// ---- The kept launcher --------------------------------------------------------------------------

class Soak {
public:
    explicit Soak(const std::string& directory)
        : pidfile_(directory + "/pid"), lasting_(directory + "/lasting"), log_(directory + "/log") {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) != 0) std::abort();
        reader_ = harness::Descriptor(ends[0]);
        writer_ = harness::Descriptor(ends[1]);
        good("start of the lasting daemon", by_program("start", lasting_) == 0);
        lasting_pid_ = static_cast<pid_t>(harness::to_long(harness::slurp(lasting_)));
    }

    void cycle(long number) {
        start();
        signal_both(SIGUSR1, 'u', "usr1\n");
        signal_both(daemonize::signal_reload, 'h', "hup\n");
        daemonize::Error error;
        daemonize::stop(pidfile_, std::chrono::seconds(10), error);
        good("stop", !error, error);
        reap();
        if (number % 20 != 0) return;
        // The same by programs, as a shell does it.
        for (const char* const verb : {"start", "status", "reload", "stop"})
            good(verb, by_program(verb, pidfile_) == 0);
        reap();
    }

    void stop_lasting() {
        good("stop of the lasting daemon", by_program("stop", lasting_) == 0);
        reap();
        const std::string text = harness::slurp(log_);
        holds("the lasting daemon lost no signal",
              harness::count(text, "usr1\n") == sent_ / 2 &&
                  harness::count(text, "hup\n") == sent_ / 2,
              std::to_string(sent_) + " signals, but " + std::to_string(expected_) +
                  " bytes were to be in its log of " + std::to_string(text.size()));
    }

    pid_t lasting_pid() const { return lasting_pid_; }

private:
    static void good(const char* what, bool condition,
                     const daemonize::Error& error = daemonize::Error()) {
        holds(cycle_works, condition, std::string(what) + ": " + error.text);
    }

    void start() {
        daemonize::DaemonContext context;
        context.pidfile = pidfile_;
        context.detach_process = daemonize::Detach::yes;
        context.ready_by_hand = true;
        context.files_preserve.push_back(writer_.get());
        context.payload = "so much that a string of its own is needed for it";
        daemonize::Error error;
        const daemonize::Role role = context.start(error);
        if (role == daemonize::Role::daemon) serve(context, writer_.get());
        good("start", role == daemonize::Role::launcher && !error, error);
    }

    void signal_both(int signum, char answer, const char* line) {
        daemonize::Error error;
        daemonize::send(pidfile_, signum, error);
        good("send", !error, error);
        pollfd watch = {reader_.get(), POLLIN, 0};
        char byte = 0;
        const int limit = static_cast<int>(harness::patience().count());
        good("answer",
             poll(&watch, 1, limit) == 1 && read(reader_.get(), &byte, 1) == 1 && byte == answer);
        daemonize::Error second;
        daemonize::send(lasting_, signum, second);
        good("send to the lasting daemon", !second, second);
        ++sent_;
        expected_ += static_cast<long>(std::string(line).size());
        good("answer of the lasting daemon",
             harness::eventually([&] { return harness::stat_of(log_).st_size >= expected_; }));
    }

    // Not by the harness, which remembers each process that it has collected.
    int by_program(const char* verb, const std::string& pidfile) const {
        const std::string subject = harness::program("subject");
        const pid_t pid = fork();
        if (pid < 0) return -1;
        if (pid == 0) {
            const int null = open("/dev/null", O_RDWR);
            for (int number = 0; number < 2; ++number) dup2(null, number);
            execl(subject.c_str(), "subject", verb, "--pidfile", pidfile.c_str(), "--stdout",
                  pidfile == lasting_ ? log_.c_str() : "/dev/null", static_cast<char*>(nullptr));
            _exit(127);
        }
        int status = -1;
        if (!harness::eventually([&] { return waitpid(pid, &status, WNOHANG) == pid; })) {
            kill(pid, SIGKILL);
            waitpid(pid, nullptr, 0);
            return -1;
        }
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }

    // Daemons come to us when their leader has left. The lasting one stays.
    static void reap() {
        while (waitpid(-1, nullptr, WNOHANG) > 0) {
        }
    }

    const std::string pidfile_, lasting_, log_;
    harness::Descriptor reader_, writer_;
    pid_t lasting_pid_ = 0;
    long sent_ = 0, expected_ = 0;
};

// ---- What could have grown ----------------------------------------------------------------------

struct Seen {
    long heap, descriptors, lasting_memory, lasting_descriptors, processes, files;
};

// Of this process: what malloc() has given out, to the byte, where it can be asked for.
long heap_in_use() {
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)
    if (!harness::sanitized()) return static_cast<long>(mallinfo2().uordblks);
#endif
    return -1;
}

long private_kib(pid_t pid) {
    for (const std::string& line :
         harness::lines(harness::slurp("/proc/" + std::to_string(pid) + "/smaps_rollup")))
        if (line.compare(0, 14, "Private_Dirty:") == 0) return std::atol(line.c_str() + 14);
    return -1;
}

Seen look(const Soak& soak, const std::string& directory) {
    Seen seen;
    seen.descriptors = static_cast<long>(harness::descriptors(getpid()).size());
    seen.lasting_memory = private_kib(soak.lasting_pid());
    const std::size_t of_lasting = harness::descriptors(soak.lasting_pid()).size();
    seen.lasting_descriptors = of_lasting == 0 ? -1 : static_cast<long>(of_lasting);
    seen.processes = static_cast<long>(harness::descendants().size());
    seen.files = static_cast<long>(harness::Scratch::names(directory).size());
    seen.heap = heap_in_use();
    return seen;
}

void no_growth(const char* sentence, long before, long after, long allowed) {
    if (before < 0 || after < 0) return judge::skip(sentence, "it cannot be asked for here");
    std::printf("%s: %ld, at the end %ld\n", sentence, before, after);
    holds(sentence, after <= before + allowed,
          std::to_string(before) + " has become " + std::to_string(after));
}

}  // namespace

int main(int argc, char** argv) {
    judge::prepare();
    const long cycles = judge::option(argc, argv, "--cycles", 10000);
    const harness::Scratch scratch;
    setenv("TMPDIR", scratch.path().c_str(), 1);  // a temporary file would be seen
    Soak soak(scratch.path());
    const long first = cycles / 10 + 1;  // until then caches may fill
    Seen before = {};
    for (long number = 0; number < cycles; ++number) {
        if (number == first) before = look(soak, scratch.path());
        soak.cycle(number);
        if ((number + 1) % (cycles / 10 + 1) == 0) {
            std::printf("%ld cycles\n", number + 1);
            std::fflush(stdout);
        }
    }
    const Seen after = look(soak, scratch.path());
    no_growth("no bytes of the heap are lost", before.heap, after.heap, 1024);
    no_growth("no descriptor is lost", before.descriptors, after.descriptors, 0);
    no_growth("a daemon that lives long needs no more memory, KiB", before.lasting_memory,
              after.lasting_memory, 8);
    no_growth("a daemon that lives long needs no more descriptors", before.lasting_descriptors,
              after.lasting_descriptors, 0);
    no_growth("no process is left", before.processes, after.processes, 0);
    no_growth("no file is left", before.files, after.files, 0);
    soak.stop_lasting();
    std::printf("%ld cycles\n", cycles);
    return judge::sum_up();
}
