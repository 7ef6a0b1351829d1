// The program that most of the tests under Windows start, and what they ask of its start.
#ifndef DAEMONIZE_TESTS_WINDOWS_VICTIM_HPP
#define DAEMONIZE_TESTS_WINDOWS_VICTIM_HPP

#include <doctest/doctest.h>

#include <cstdlib>

#include "daemonize.hpp"
#include "windows_harness.hpp"

namespace harness {

// A directory, a PID file and a log in it, and the victim that is started with them.
struct Victim {
    ~Victim() { kill_all(); }
    std::string words(const std::string& more = std::string()) const {
        return program("victim") + " pidfile=" + pidfile + " log=" + log + " " + more;
    }
    Launch launch(const std::string& more = std::string()) const { return Launch(words(more)); }
    Outcome start(const std::string& more = std::string()) const { return run(launch(more)); }
    long daughter() const { return std::strtol(slurp(pidfile).c_str(), nullptr, 10); }
    DWORD daemon() const { return static_cast<DWORD>(daemonize::status(pidfile).pid); }
    bool logs(const std::string& part) const {
        return eventually([&] { return contains(slurp(log), part); });
    }
    std::string logged(const std::string& key) const {
        logs(key + "=");
        return value_in(slurp(log), key);
    }
    Scratch dir;
    std::string pidfile = dir / "d.pid", log = dir / "d.log";
};

inline void check_started(const Victim& victim, const Outcome& launcher) {
    INFO(launcher.text());
    REQUIRE(launcher.status == 0);
    CHECK(is_locked(victim.pidfile));
    const daemonize::Status status = daemonize::status(victim.pidfile);
    INFO(status.text);
    CHECK(status.state == daemonize::State::running);
    CHECK(status.pid != static_cast<long>(launcher.pid));
    CHECK(alive(static_cast<DWORD>(status.pid)));
    CHECK(slurp(victim.pidfile).size() == 11);
    CHECK(victim.daughter() != status.pid);
}

// Non-zero, what it says, and nothing left: no process, no PID file.
inline void check_failed(const Victim& victim, const Outcome& launcher, DWORD status,
                         const std::string& says) {
    INFO(launcher.text());
    CHECK(launcher.status == status);
    CHECK(contains(launcher.err, says));
    CHECK(lines(launcher.err).size() == 1);
    CHECK_FALSE(exists(victim.pidfile));
    CHECK(eventually([] { return processes("victim.exe").empty(); }));
}

inline void stop_it(const Victim& victim) {
    daemonize::Error error;
    const daemonize::Stopped stopped =
        daemonize::stop(victim.pidfile, std::chrono::milliseconds(10000), error);
    INFO(error.text);
    CHECK(stopped == daemonize::Stopped::ended);
    CHECK_FALSE(exists(victim.pidfile));
}

inline bool send(const Victim& victim, int signum) {
    daemonize::Error error;
    const bool sent = daemonize::send(victim.pidfile, signum, error);
    if (!sent) MESSAGE(error.text);
    return sent;
}

struct Job {
    explicit Job(DWORD flags) : handle(CreateJobObjectW(nullptr, nullptr)) {
        JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits = {};
        limits.BasicLimitInformation.LimitFlags = flags;
        SetInformationJobObject(handle, JobObjectExtendedLimitInformation, &limits, sizeof limits);
    }
    ~Job() { close(); }
    Job(const Job&) = delete;
    Job& operator=(const Job&) = delete;
    void close() {
        if (handle) CloseHandle(handle);
        handle = nullptr;
    }
    HANDLE handle;
};

struct Sender {
    const Victim* victim;
    int signum, times, sent;
};

inline DWORD WINAPI send_often(void* argument) {
    Sender& sender = *static_cast<Sender*>(argument);
    for (int i = 0; i < sender.times; ++i) {
        daemonize::Error error;
        if (daemonize::send(sender.victim->pidfile, sender.signum, error)) ++sender.sent;
    }
    return 0;
}

}  // namespace harness

#endif
