// One vocabulary for the tests that run on both systems, on top of harness.hpp and of
// windows_harness.hpp: how a program is started, a file locked, a process asked. What differs
// stands here, so that no test has to ask where it runs. For test files only.
#ifndef DAEMONIZE_TESTS_EITHER_HPP
#define DAEMONIZE_TESTS_EITHER_HPP

#include <csignal>
#include <cstdint>
#include <cstdio>

#include <chrono>
#include <string>
#include <vector>

#ifdef _WIN32
#include "../windows/windows_harness.hpp"
#else
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "harness.hpp"
#endif

namespace either {

using harness::contains;
using harness::count;
using harness::eventually;
using harness::exists;
using harness::is_locked;
using harness::kill_all;
using harness::lines;
using harness::program;
using harness::Scratch;
using harness::slurp;
using Words = std::vector<std::string>;
using std::chrono::milliseconds;

struct Launch {
    Launch(const Words& argv) : words(argv) {}
    Words words;
    std::string directory;  // "": the suite's
    bool captured = false;  // as $(...) does it; else its output may also go to a file
};

struct Outcome {
    long pid = 0;
    int status = -1;
    bool timed_out = false, end_of_file = false;  // of what was captured
    std::string out, err;
    milliseconds took{0};
    std::string text;  // all of it, for messages
};

// The line ends that people see, whatever the C library makes of them.
inline std::string without_returns(const std::string& text) {
    std::string out;
    for (const char c : text)
        if (c != '\r') out += c;
    return out;
}

template <class Native>
Outcome plain(const Native& native) {
    Outcome outcome;
    outcome.pid = static_cast<long>(native.pid);
    outcome.status = static_cast<int>(native.status);
    outcome.timed_out = native.timed_out;
    outcome.end_of_file = native.end_of_file;
    outcome.out = without_returns(native.out);
    outcome.err = without_returns(native.err);
    outcome.took = milliseconds(native.took);
    outcome.text = native.text();
    return outcome;
}

// ---- Windows ------------------------------------------------------------------------------------
#ifdef _WIN32

const int user_signal = 30;  // at which the subject says "usr1"

// The rule by which the C runtime takes a command line apart: backslashes count before a quote.
inline std::string quoted(const std::string& word) {
    std::string out = "\"";
    std::size_t backslashes = 0;
    for (const char c : word) {
        if (c == '"') out.append(backslashes + 1, '\\');
        backslashes = c == '\\' ? backslashes + 1 : 0;
        out += c;
    }
    return out.append(backslashes, '\\') + "\"";
}

inline harness::Launch native(const Launch& launch) {
    harness::Launch made;
    for (const std::string& word : launch.words) made.command += quoted(word) + " ";
    made.directory = launch.directory;
    made.pipe = launch.captured;
    return made;
}

inline void kill(long pid) { harness::end(static_cast<DWORD>(pid), 99); }
inline bool alive(long pid) { return harness::alive(static_cast<DWORD>(pid)); }
inline bool gone(long pid) { return harness::gone(static_cast<DWORD>(pid)); }
inline long own_pid() { return static_cast<long>(GetCurrentProcessId()); }

// The number is that of a child which takes the signals of the process.
inline bool names(long number, long pid) {
    return number > 1 && harness::parent_of(static_cast<DWORD>(number)) == static_cast<DWORD>(pid);
}
inline bool is_whole(const std::string& text) { return text.size() == 11 && text.back() == '\n'; }

// Nobody's child any more: who started it has ended.
inline bool is_detached(long pid) {
    return !harness::alive(harness::parent_of(static_cast<DWORD>(pid)));
}

// A process of which one has seen the end stays in the list for a moment.
inline bool nobody_left() {
    return eventually([] { return harness::processes("subject.exe").empty(); });
}
inline bool one_daemon_left() {  // itself, the child that takes its signals, and the next one
    return eventually([] {
        const std::size_t all = harness::processes("subject.exe").size();
        return all > 0 && all <= 3;
    });
}

struct FileState {
    WIN32_FILE_ATTRIBUTE_DATA data;
    bool operator==(const FileState& other) const {
        const auto same = [](const FILETIME& a, const FILETIME& b) {
            return CompareFileTime(&a, &b) == 0;
        };
        return same(data.ftCreationTime, other.data.ftCreationTime) &&
               same(data.ftLastWriteTime, other.data.ftLastWriteTime) &&
               data.nFileSizeLow == other.data.nFileSizeLow &&
               data.dwFileAttributes == other.data.dwFileAttributes;
    }
};
inline FileState state_of(const std::string& path) {
    FileState state = {};
    GetFileAttributesExW(harness::wide(path).c_str(), GetFileExInfoStandard, &state.data);
    return state;
}

inline bool write_file(const std::string& path, const std::string& text) {
    return harness::write_file(path, text);
}

// A program that is no daemon of ours keeps the file: with it open, nobody else may write.
class ForeignLock {
public:
    explicit ForeignLock(const std::string& path)
        : file_(CreateFileW(harness::wide(path).c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr,
                            OPEN_EXISTING, 0, nullptr)) {}
    ~ForeignLock() { release(); }
    ForeignLock(const ForeignLock&) = delete;
    ForeignLock& operator=(const ForeignLock&) = delete;
    void release() {
        if (file_ != INVALID_HANDLE_VALUE) CloseHandle(file_);
        file_ = INVALID_HANDLE_VALUE;
    }

private:
    HANDLE file_;
};

inline bool is_ready(std::intptr_t handle) {
    return WaitForSingleObject(reinterpret_cast<HANDLE>(handle), 0) == WAIT_OBJECT_0;
}

// ---- Unix ---------------------------------------------------------------------------------------
#else

const int user_signal = SIGUSR1;

inline harness::Launch native(const Launch& launch) {
    harness::Launch made(launch.words);
    made.directory = launch.directory;
    return made;
}

inline void kill(long pid) { harness::send_signal(static_cast<pid_t>(pid), SIGKILL); }
inline bool alive(long pid) { return harness::alive(static_cast<pid_t>(pid)); }
inline bool gone(long pid) { return harness::gone(static_cast<pid_t>(pid)); }
inline long own_pid() { return getpid(); }

inline bool names(long number, long pid) { return number == pid; }
inline bool is_whole(const std::string& text) {
    return text == std::to_string(harness::to_long(text)) + "\n";
}

// Of a session of its own that it does not lead: it can never get a terminal.
inline bool is_detached(long pid) {
    const harness::Facts seen = harness::facts(static_cast<pid_t>(pid));
    return seen.session > 0 && seen.session != getsid(0) && seen.session != pid &&
           seen.terminal == 0;
}

inline bool nobody_left() { return harness::descendants().empty(); }
inline bool one_daemon_left() { return harness::descendants().size() == 1; }

struct FileState {
    struct stat data;
    bool operator==(const FileState& other) const {
        return harness::same_file_state(data, other.data);
    }
};
inline FileState state_of(const std::string& path) { return FileState{harness::stat_of(path)}; }

inline bool write_file(const std::string& path, const std::string& text) {
    const harness::Descriptor file = harness::open_file(path, O_WRONLY | O_CREAT | O_TRUNC);
    return write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

class ForeignLock {
public:
    explicit ForeignLock(const std::string& path) : file_(harness::open_file(path, O_RDWR)) {
        harness::lock(file_);
    }
    void release() { file_.reset(); }

private:
    harness::Descriptor file_;
};

inline bool is_ready(std::intptr_t handle) {
    struct pollfd asked = {static_cast<int>(handle), POLLIN, 0};
    return ::poll(&asked, 1, 0) == 1;
}

#endif

// ---- Both ---------------------------------------------------------------------------------------

class Running {
public:
    explicit Running(const Launch& launch) : running_(native(launch)) {}
    long pid() const { return static_cast<long>(running_.pid()); }
    std::string out() { return without_returns(running_.out()); }  // so far
    Outcome finish() { return plain(running_.finish()); }

private:
    harness::Running running_;
};

inline Outcome run(const Launch& launch) { return Running(launch).finish(); }

}  // namespace either

#endif
