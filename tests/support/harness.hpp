// What the tests judge a real daemon with, all from outside: /proc, wait status, pipes, locks.
//
// The runner is a child subreaper: whatever a test has started comes back to it as its own child,
// so it sees at once how a daemon ended, and can end by PID what is left when the test is over.
// Every wait has a deadline. Nothing here sleeps instead of waiting.
#ifndef DAEMONIZE_TESTS_HARNESS_HPP
#define DAEMONIZE_TESTS_HARNESS_HPP

#include <sys/stat.h>
#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace harness {

using Millis = std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;
using Strings = std::vector<std::string>;

// ---- How this suite was built, and where it runs ------------------------------------------------

bool is_root();
bool generic();    // DAEMONIZE_GENERIC_POSIX: no record lock, no subreaper, no pidfd
bool sanitized();  // slower, and with descriptors, handlers or threads of the sanitizer's own
bool thread_sanitized();
bool can_mount();                              // a mount namespace of one's own may be had
bool has_tool(const char* name);               // in PATH
std::string program(const std::string& name);  // of the build directory, $DAEMONIZE_BUILD
bool has_program(const std::string& name);

// Longer than anything healthy takes on a loaded machine; what is quick is asserted as such.
Millis patience();
bool eventually(const std::function<bool()>& condition, Millis limit = patience());

// ---- Files --------------------------------------------------------------------------------------

// A directory of one test, reachable for other users, removed at the end whatever happens.
class Scratch {
public:
    Scratch();
    ~Scratch();
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    const std::string& path() const { return path_; }
    std::string operator/(const std::string& name) const { return path_ + "/" + name; }
    std::string directory(const std::string& name, mode_t mode = 0755) const;
    std::string file(const std::string& name, const std::string& text, mode_t mode = 0644) const;
    Strings names() const { return names(path_); }
    static Strings names(const std::string& directory);

private:
    std::string path_;
};

std::string slurp(const std::string& path);    // "" where there is none
bool exists(const std::string& path);          // also a dangling symlink
struct stat stat_of(const std::string& path);  // lstat; all zero where there is none
bool same_file_state(const struct stat& a, const struct stat& b);  // all but the access time
bool contains(const std::string& text, const std::string& part);
int count(const std::string& text, const std::string& part);
Strings lines(const std::string& text);
std::string join(const Strings& words, const char* between = " ");
long to_long(const std::string& text);  // -1 where it is no number

// An open descriptor of the test's own, close-on-exec.
class Descriptor {
public:
    explicit Descriptor(int number = -1) : number_(number) {}
    ~Descriptor() { reset(); }
    Descriptor(Descriptor&& other) noexcept : number_(other.number_) { other.number_ = -1; }
    Descriptor& operator=(Descriptor&& other) noexcept;
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    int get() const { return number_; }
    void reset();

private:
    int number_;
};
Descriptor open_file(const std::string& path, int flags, mode_t mode = 0644);
bool lock(const Descriptor& file, bool shared = false);  // flock, without waiting
bool is_locked(const std::string& path);      // by flock; only asked by a try of an instant
pid_t record_owner(const std::string& path);  // F_GETLK with F_RDLCK; 0: nobody has entered himself

// ---- Programs -----------------------------------------------------------------------------------

struct Launch {
    Launch() {}
    Launch(const Strings& words) : argv(words) {}
    Strings argv;           // argv[0] with a path, or found in PATH
    std::string directory;  // "": the runner's
    bool empty_environment = false;
    std::vector<std::pair<std::string, std::string>> environment;  // set; value "-": removed
    unsigned closed = 0;                // bit n: descriptor n (0, 1, 2) is closed
    int input = -1;                     // becomes 0; else /dev/null
    std::function<void()> before_exec;  // in the child, with the environment set
    bool to_end_of_file = true;  // after the end also wait (for an instant) for the pipes' end
    Millis limit = patience();
};

struct Outcome {
    pid_t pid = 0;
    int status = -1;  // exit code, or 128 + number of the signal
    bool timed_out = false;
    bool end_of_file = false;  // of both pipes, when (or right after) the program ended
    std::string out, err;
    Millis took{0};
    std::string text() const;  // for messages
};

class Running {
public:
    explicit Running(const Launch& launch);
    ~Running();
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
    pid_t pid() const { return outcome_.pid; }
    bool finished();           // reads what is there
    const std::string& out();  // so far
    const std::string& err();
    bool says(const std::string& part, Millis limit = patience());  // on stdout
    void signal(int signum) const;
    Outcome finish();  // waits until launch.limit, then kills

private:
    void read_pipes();
    Launch launch_;
    Outcome outcome_;
    Descriptor out_, err_;
    Clock::time_point began_;
    bool ended_ = false;
};

Outcome run(const Launch& launch);

// ---- Processes ----------------------------------------------------------------------------------

bool alive(pid_t pid);  // a zombie counts as gone
bool gone(pid_t pid, Millis limit = patience());
constexpr int not_ended = -2, not_ours = -1;
int ended(pid_t pid, Millis limit = patience());  // its exit code or 128 + n, not_ours, not_ended
std::vector<pid_t> descendants();                 // of the runner, without zombies
void kill_all();                                  // by PID, until none is left
void send_signal(pid_t pid, int signum);          // refuses anything but one process

struct Facts {
    char state = '?';
    pid_t parent = 0, group = 0, session = 0;
    int terminal = 0, threads = 0;
    std::vector<long> uids, gids, groups;  // real, effective, saved, file system
    unsigned umask = 0;
    std::uint64_t blocked = 0, ignored = 0, caught = 0;
    bool no_new_privs = false;
};
Facts facts(pid_t pid);
bool has(std::uint64_t set, int signum);
std::uint64_t set_of(const std::vector<int>& signals);
std::map<int, std::string> descriptors(pid_t pid);  // number, target; empty where not allowed
std::string link_of(pid_t pid, const char* name);   // cwd, root, exe, fd/1
std::string limit_of(pid_t pid, const std::string& name);  // "0 0" of /proc/PID/limits

// ---- Helpers for before_exec --------------------------------------------------------------------

void become_nobody();  // uid and gid 65534, no groups
void become(uid_t uid, gid_t gid);
void place(const Descriptor& from, int to);  // as number `to`, inherited by the program
void ignore(int signum);
void block(int signum);
constexpr unsigned nobody = 65534;

// ---- Skipping, and the guard of the runner ------------------------------------------------------

void skip(const std::string& reason);  // of the running test: counted, and said aloud
struct Counts {
    int passed, failed, skipped;
};
Counts counts();

}  // namespace harness

#define SKIP_UNLESS(condition, reason) \
    do {                               \
        if (!(condition)) {            \
            harness::skip(reason);     \
            return;                    \
        }                              \
    } while (false)
#define NEEDS_ROOT() SKIP_UNLESS(harness::is_root(), "needs root")
#define NEEDS_MOUNTS() \
    SKIP_UNLESS(harness::is_root() && harness::can_mount(), "needs root and a mount namespace")

#endif
