// What many tests ask of a start, said once. For test files only: it uses doctest's assertions.
#ifndef DAEMONIZE_TESTS_EXPECT_HPP
#define DAEMONIZE_TESTS_EXPECT_HPP

#include <doctest/doctest.h>

#include <signal.h>
#include <unistd.h>

#include <ostream>
#include <string>

#include "harness.hpp"

namespace expect {

using namespace harness;

inline Strings operator+(Strings left, const Strings& right) {
    left.insert(left.end(), right.begin(), right.end());
    return left;
}

// A directory, a PID file and a log in it, and a program that is started with them.
struct Daemon {
    explicit Daemon(const std::string& program_name = "subject") : name(program_name) {}

    Strings words(const std::string& verb, const Strings& more = {}) const {
        if (name == "subject")
            return Strings{program(name), verb, "--pidfile", pidfile, "--stdout", log} + more;
        return Strings{program(name), "pidfile=" + pidfile, "stdout=" + log, "stderr=" + log} +
               more;
    }
    Launch launch(const Strings& more = {}) const { return Launch(words("start", more)); }
    Outcome start(const Strings& more = {}) const { return run(launch(more)); }
    Outcome verb(const std::string& word, const Strings& more = {}) const {
        return run(Launch(words(word, more)));
    }
    std::string written() const { return slurp(pidfile); }
    pid_t pid() const { return static_cast<pid_t>(to_long(written())); }
    bool logs(const std::string& part) const {
        return eventually([&] { return contains(slurp(log), part); });
    }
    // The value of key=value, up to the next blank or line, once it is in the log.
    std::string logged(const std::string& key) const {
        logs(key + "=");
        const std::string text = slurp(log);
        const std::size_t at = text.rfind(key + "=");
        if (at == std::string::npos) return "";
        const std::size_t from = at + key.size() + 1;
        return text.substr(from, text.find_first_of(" \n", from) - from);
    }

    Scratch dir;
    std::string name, pidfile = dir / "d.pid", log = dir / "d.log";
};

struct Victim : Daemon {
    Victim() : Daemon("victim") {}
    // A word at which it waits until the test lets it go on.
    std::string gate(const std::string& number = "") const {
        return "await=" + (dir / "go") + number;
    }
    void let_go(const std::string& number = "") const { dir.file("go" + number, ""); }
};

inline std::string value_in(const std::string& text, const std::string& key) {
    const std::size_t at = text.find(key + "=");
    if (at == std::string::npos) return "";
    const std::size_t from = at + key.size() + 1;
    return text.substr(from, text.find_first_of(" \n", from) - from);
}

// S1, the whole sentence.
inline void check_started(const Daemon& daemon, const Outcome& launcher) {
    INFO(launcher.text());
    CHECK(launcher.status == 0);
    CHECK(launcher.err == "");
    CHECK(launcher.end_of_file);
    const pid_t pid = daemon.pid();
    REQUIRE(pid > 1);
    CHECK(daemon.written() == std::to_string(pid) + "\n");
    CHECK(alive(pid));
    CHECK(pid != launcher.pid);
    CHECK(is_locked(daemon.pidfile));
    if (!generic()) CHECK(record_owner(daemon.pidfile) == pid);
    const Facts seen = facts(pid);
    CHECK(seen.session != getsid(0));
    CHECK(seen.session != pid);  // no session leader: it can never get a terminal again
    CHECK(seen.terminal == 0);
}

// One line of text that names what it must, a status that is no success, and nobody left.
inline void check_refused(const Outcome& launcher, const Strings& words,
                          const std::string& program_name = "subject") {
    INFO(launcher.text());
    CHECK(launcher.status > 0);
    CHECK_FALSE(launcher.timed_out);
    CHECK(launcher.end_of_file);
    CHECK(lines(launcher.err).size() == 1);
    // The generic path has no system that knows a program's name; control() has argv[0].
    const std::string name = generic() && program_name == "victim" ? "daemon" : program_name;
    CHECK((launcher.err.compare(0, name.size() + 2, name + ": ") == 0 ||
           launcher.err.compare(0, program_name.size() + 2, program_name + ": ") == 0));
    for (const std::string& word : words) {
        INFO("the line should name: ", word);
        CHECK(contains(launcher.err, word));
    }
    CHECK(descendants().empty());
}

inline void check_failed(const Daemon& daemon, const Outcome& launcher, int status,
                         const Strings& words) {
    check_refused(launcher, words, daemon.name);
    CHECK(launcher.status == status);
    CHECK_FALSE(exists(daemon.pidfile));
}

// Ends it as its owner would, and sees that nothing of it stays.
inline void check_ends(const Daemon& daemon, int status = 0) {
    const pid_t pid = daemon.pid();
    REQUIRE(pid > 1);
    // Before its SignalHandler has taken over SIGTERM would end it too, but not with 0.
    if (status == 0) REQUIRE(eventually([pid] { return has(facts(pid).caught, SIGABRT); }));
    send_signal(pid, SIGTERM);
    CHECK(ended(pid) == status);
    CHECK_FALSE(exists(daemon.pidfile));
}

// Where the leak sanitizer cannot do its work (no /proc, no clone) its despair is not the daemon's.
inline void without_leak_check(Launch& launch) {
    launch.environment.push_back({"ASAN_OPTIONS", "detect_leaks=0"});
    launch.environment.push_back({"LSAN_OPTIONS", "detect_leaks=0"});
}

// The subject's SignalHandler has taken over and waits: from here on SIGTERM is an orderly end.
inline bool waits_for_signals(pid_t pid) {
    const std::uint64_t taken = set_of({SIGHUP, SIGINT, SIGABRT, SIGUSR1, SIGTERM});
    return eventually([&] {
        const Facts seen = facts(pid);
        return (seen.caught & taken) == taken && seen.state == 'S';
    });
}

// As on a kernel without these calls; see deny.cpp.
inline Strings denied(const Strings& calls, const Strings& command) {
    return Strings{program("deny")} + calls + Strings{"--"} + command;
}

// The launcher alone, one of its system calls held up: what lies between two steps can be seen.
inline Strings delayed(const std::string& call, const Strings& command) {
    return Strings{"strace", "-qq",           "-o", "/dev/null",
                   "-e",     "trace=" + call, "-e", "inject=" + call + ":delay_enter=400000"} +
           command;
}

}  // namespace expect

#define NEEDS_STRACE() \
    SKIP_UNLESS(run(expect::delayed("flock", {"true"})).status == 0, "needs strace")
#define NEEDS_DENY() SKIP_UNLESS(harness::has_program("deny"), "needs libseccomp")

#endif
