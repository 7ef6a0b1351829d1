// What the victims share: words to print, facts of themselves, written at once and unbuffered.
#ifndef DAEMONIZE_TESTS_REPORT_HPP
#define DAEMONIZE_TESTS_REPORT_HPP

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "daemonize.hpp"

#if defined(__cpp_exceptions) || defined(__EXCEPTIONS)
#define VICTIM_EXCEPTIONS 1
#else
#define VICTIM_EXCEPTIONS 0
#endif

namespace report {

// One write: lines of several processes on one pipe stay whole.
inline void say_to(int where, const std::string& text) {
    const std::string line = text + "\n";
    if (write(where, line.data(), line.size()) < 0) _exit(98);
}
inline void say(const std::string& text) { say_to(1, text); }

inline long number(const std::string& text, int base = 10) {
    return std::strtol(text.c_str(), nullptr, base);
}

inline std::vector<std::string> split(const std::string& text, char at) {
    std::vector<std::string> parts(1);
    for (const char c : text) {
        if (c == at)
            parts.emplace_back();
        else
            parts.back() += c;
    }
    return parts;
}

inline std::string name_of(const std::error_code& code) {
    using daemonize::errc;
    static const struct {
        errc value;
        const char* name;
    } ours[] = {{errc::already_running, "already_running"},
                {errc::not_running, "not_running"},
                {errc::untrusted_pid_file, "untrusted_pid_file"},
                {errc::invalid_pid_file, "invalid_pid_file"},
                {errc::unproven_holder, "unproven_holder"},
                {errc::invalid_option, "invalid_option"},
                {errc::unsupported, "unsupported"},
                {errc::unknown_account, "unknown_account"},
                {errc::unknown_signal, "unknown_signal"},
                {errc::threads_running, "threads_running"},
                {errc::start_failed, "start_failed"},
                {errc::timed_out, "timed_out"},
                {errc::drop_incomplete, "drop_incomplete"}};
    if (!code) return "none";
    for (const auto& one : ours)
        if (code == one.value) return one.name;
    return "errno:" + std::to_string(code.value());
}

inline std::string describe(const daemonize::Error& error) {
    return "error=" + name_of(error.code) + " text=" + error.text;
}

inline std::string hex(const std::string& bytes) {
    std::string text;
    for (const char c : bytes) {
        char two[3];
        std::snprintf(two, sizeof two, "%02x",
                      static_cast<unsigned>(static_cast<unsigned char>(c)));
        text += two;
    }
    return text;
}

// Number and target of each open descriptor: "0=/dev/null 3=/tmp/x".
inline std::string open_descriptors() {
    std::string text;
    for (int number = 0; number < 1024; ++number) {
        if (fcntl(number, F_GETFD) < 0) continue;
        char target[512];
        const ssize_t n =
            readlink(("/proc/self/fd/" + std::to_string(number)).c_str(), target, sizeof target);
        text += (text.empty() ? "" : " ") + std::to_string(number) + "=" +
                (n < 0 ? "?" : std::string(target, static_cast<std::size_t>(n)));
    }
    return text;
}

inline std::string handler_name(const struct sigaction& action) {
    if (action.sa_handler == SIG_DFL) return "default";
    if (action.sa_handler == SIG_IGN) return "ignored";
    char text[32];
    std::snprintf(text, sizeof text, "%p/%x", reinterpret_cast<void*>(action.sa_handler),
                  static_cast<unsigned>(action.sa_flags));
    return text;
}

inline std::string disposition(int signum) {
    struct sigaction now;
    std::memset(&now, 0, sizeof now);
    return sigaction(signum, nullptr, &now) == 0 ? handler_name(now) : "none";
}

inline std::string dispositions() {
    std::string text;
    for (int signum = 1; signum < 32; ++signum)
        text += std::to_string(signum) + ":" + disposition(signum) + " ";
    return text;
}

inline std::string mask() {
    sigset_t set;
    sigprocmask(SIG_SETMASK, nullptr, &set);
    std::string text;
    for (int signum = 1; signum < 32; ++signum)
        if (sigismember(&set, signum)) text += std::to_string(signum) + " ";
    return text;
}

inline std::string umask_of_self() {
    const mode_t now = umask(0);
    umask(now);
    char text[16];
    std::snprintf(text, sizeof text, "%03o", static_cast<unsigned>(now));
    return text;
}

inline std::string directory() {
    char text[4096];
    return getcwd(text, sizeof text) ? text : "?";
}

// From now on no descriptor of that number or above can be had.
inline void limit_descriptors(long most) {
    rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = static_cast<rlim_t>(most);
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) _exit(92);
}

inline std::string slurp(const std::string& path) {
    std::string text;
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    char piece[512];
    for (ssize_t n; file >= 0 && (n = read(file, piece, sizeof piece)) > 0;)
        text.append(piece, static_cast<std::size_t>(n));
    if (file >= 0) close(file);
    return text;
}

// Of a child that is waited for: its exit code, or 128 + the number of the signal.
inline int wait_code(pid_t child) {
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

inline long long now_ms() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<long long>(now.tv_sec) * 1000 + now.tv_nsec / 1000000;
}

}  // namespace report

#endif
