// The floor: the least that a correct daemon can do, in the manner of C. It trusts its caller in
// everything; no error texts, no log, no options. Same command line as the candidate.
//
//     bench-floor --pidfile P --ready-fifo F [--mem-mib N --thp off|on] [--close range|proc]
//     bench-floor --pidfile P --ready-fifo F --plain yes    for a command that makes daemons
//     bench-floor --stop P
//
// With LEADER_STAYS (bench-floor-stays) the first child is there until the daemon is ready, as the
// header's is: what that form costs at the least.
#include "tests/bench/common.hpp"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#ifndef LEADER_STAYS
#define LEADER_STAYS 0
#endif

namespace {

long pidfd_open(pid_t pid) { return syscall(SYS_pidfd_open, pid, 0); }

// SIGTERM through a pidfd, then poll until the process is gone: the floor of `stop`.
int stop(const char* pidfile) {
    char text[32] = "";
    const int file = open(pidfile, O_RDONLY | O_CLOEXEC);
    if (file < 0 || read(file, text, sizeof text - 1) <= 0) return 1;
    const pid_t pid = static_cast<pid_t>(std::atol(text));
    if (pid <= 1) return 1;
    const int process = static_cast<int>(pidfd_open(pid));
    if (process < 0) return 1;
    if (syscall(SYS_pidfd_send_signal, process, SIGTERM, nullptr, 0) != 0) return 1;
    pollfd watch = {process, POLLIN, 0};
    return poll(&watch, 1, 10000) == 1 ? 0 : 1;
}

// The walk that a system without close_range leaves.
void close_by_proc(int kept_a, int kept_b) {
    DIR* const dir = opendir("/proc/self/fd");
    if (dir == nullptr) return;
    while (const dirent* entry = readdir(dir)) {
        const int fd = std::atoi(entry->d_name);
        if (fd > 2 && fd != dirfd(dir) && fd != kept_a && fd != kept_b) close(fd);
    }
    closedir(dir);
}

// Everything from 3 up but these two, in at most three calls.
void close_by_range(int kept_a, int kept_b) {
    const unsigned low = static_cast<unsigned>(kept_a < kept_b ? kept_a : kept_b);
    const unsigned high = static_cast<unsigned>(kept_a < kept_b ? kept_b : kept_a);
    if (low > 3) syscall(SYS_close_range, 3, low - 1, 0);
    if (high > low + 1) syscall(SYS_close_range, low + 1, high - 1, 0);
    syscall(SYS_close_range, high + 1, ~0U, 0);
}

// The launcher: one byte says that the daemon is ready, an end of file that there is none.
[[noreturn]] void launch(int channel, pid_t child) {
    char byte = 0;
    const bool ready = read(channel, &byte, 1) == 1;
    waitpid(child, nullptr, 0);
    _exit(ready ? 0 : 1);
}

// The leader that stays: it hears the daemon, and hands what it heard on.
[[noreturn]] void lead(int from_daemon, int to_launcher) {
    char byte = 0;
    const bool ready = read(from_daemon, &byte, 1) == 1;
    _exit(ready && write(to_launcher, &byte, 1) == 1 ? 0 : 1);
}

// A daemon's life: until SIGTERM.
int serve(const bench::Options& options, long long t0) {
    sigset_t term;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_BLOCK, &term, nullptr);
    if (!bench::say_ready(options, t0)) return 1;
    int signum = 0;
    sigwait(&term, &signum);
    unlink(options.pidfile);
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    const bench::Options options = bench::parse(argc, argv);
    if (options.stop != nullptr) return stop(options.stop);
    bool walk = false, plain = false;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (std::strcmp(argv[i], "--close") == 0) walk = std::strcmp(argv[i + 1], "proc") == 0;
        plain = plain || std::strcmp(argv[i], "--plain") == 0;
    }
    if (!bench::take_memory(options)) return 1;

    const long long t0 = bench::now_ns();
    if (plain) return serve(options, t0);
    const int lock = open(options.pidfile, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB) != 0) return 1;
    int channel[2];
    if (pipe2(channel, O_CLOEXEC) != 0) return 1;
    std::fflush(nullptr);
    const pid_t child = fork();
    if (child < 0) return 1;
    if (child > 0) {
        close(channel[1]);
        launch(channel[0], child);
    }
    setsid();
    int inner[2] = {-1, -1};
    if (LEADER_STAYS && pipe2(inner, O_CLOEXEC) != 0) _exit(1);
    const pid_t daemon = fork();
    if (daemon > 0 && LEADER_STAYS) {
        close(inner[1]);
        lead(inner[0], channel[1]);
    }
    if (daemon != 0) _exit(daemon < 0);
    if (LEADER_STAYS) {
        close(channel[1]);
        close(inner[0]);
        channel[1] = inner[1];
    }

    sigset_t term;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_BLOCK, &term, nullptr);
    if (walk)
        close_by_proc(lock, channel[1]);
    else
        close_by_range(lock, channel[1]);
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd < 3; ++fd) dup2(null, fd);
    close(null);
    umask(027);
    if (chdir("/") != 0) return 1;
    char text[24];
    const int length = std::snprintf(text, sizeof text, "%ld\n", static_cast<long>(getpid()));
    if (ftruncate(lock, 0) != 0 || write(lock, text, static_cast<std::size_t>(length)) != length)
        return 1;
    if (write(channel[1], "R", 1) != 1) return 1;
    close(channel[1]);
    return serve(options, t0);
}
