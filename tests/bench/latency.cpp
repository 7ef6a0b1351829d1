// How long from kill() to the callback of a SignalHandler, beside a byte through a pipe and beside
// the least that a signal can cost, sigwait(): in all cases another process waits for it and
// answers with a byte through a pipe. Prints the medians of the round trip in nanoseconds: "signal
// pipe sigwait".
#define DAEMONIZE_IMPLEMENTATION
#include "daemonize.hpp"

#include <signal.h>
#include <sys/wait.h>

#include <algorithm>

#include "tests/bench/common.hpp"

namespace {

struct Partner {
    pid_t pid;
    int to, from;  // we write, we read
};

[[noreturn]] void answer_signals(int, int out) {
    daemonize::SignalHandler signals;
    signals.on(SIGUSR1, [out](int) {
        if (write(out, "s", 1) != 1) _exit(1);
    });
    signals.start();
    if (write(out, "b", 1) != 1) _exit(1);
    signals.wait();
    _exit(0);
}

[[noreturn]] void answer_sigwait(int, int out) {
    sigset_t awaited;
    sigemptyset(&awaited);
    sigaddset(&awaited, SIGUSR1);
    sigprocmask(SIG_BLOCK, &awaited, nullptr);
    if (write(out, "b", 1) != 1) _exit(1);
    for (int signum = 0; sigwait(&awaited, &signum) == 0;)
        if (write(out, "s", 1) != 1) _exit(1);
    _exit(0);
}

[[noreturn]] void answer_bytes(int in, int out) {
    if (write(out, "b", 1) != 1) _exit(1);
    for (char byte; read(in, &byte, 1) == 1;)
        if (write(out, &byte, 1) != 1) _exit(1);
    _exit(0);
}

Partner begin(void (*answer)(int in, int out)) {
    int there[2], back[2];
    if (pipe2(there, O_CLOEXEC) != 0 || pipe2(back, O_CLOEXEC) != 0) std::exit(1);
    const pid_t pid = fork();
    if (pid < 0) std::exit(1);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(there[1]);
        close(back[0]);
        answer(there[0], back[1]);
    }
    close(there[0]);
    close(back[1]);
    char byte;
    if (read(back[0], &byte, 1) != 1) std::exit(1);
    return Partner{pid, there[1], back[0]};
}

long long round_trip(const Partner& partner, bool by_signal) {
    const long long begin = bench::now_ns();
    const bool sent = by_signal ? kill(partner.pid, SIGUSR1) == 0 : write(partner.to, "p", 1) == 1;
    char byte;
    if (!sent || read(partner.from, &byte, 1) != 1) std::exit(1);
    return bench::now_ns() - begin;
}

long long median(std::vector<long long>& values) {
    std::nth_element(values.begin(), values.begin() + static_cast<long>(values.size() / 2),
                     values.end());
    return values[values.size() / 2];
}

}  // namespace

int main() {
    const Partner signalled = begin(answer_signals);
    const Partner written = begin(answer_bytes);
    const Partner waiting = begin(answer_sigwait);
    std::vector<long long> by_signal, by_pipe, by_sigwait;
    for (int i = 0; i < 20000; ++i) {
        by_signal.push_back(round_trip(signalled, true));
        by_pipe.push_back(round_trip(written, false));
        by_sigwait.push_back(round_trip(waiting, true));
    }
    kill(signalled.pid, SIGTERM);
    kill(waiting.pid, SIGTERM);
    close(written.to);
    for (const Partner& partner : {signalled, written, waiting}) waitpid(partner.pid, nullptr, 0);
    std::printf("%lld %lld %lld\n", median(by_signal), median(by_pipe), median(by_sigwait));
    return 0;
}
