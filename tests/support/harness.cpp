#include "harness.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <sstream>
#include <stdexcept>
#include <thread>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HARNESS_SANITIZED 1
#endif
#if __has_feature(thread_sanitizer)
#define HARNESS_THREAD_SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define HARNESS_SANITIZED 1
#endif
#if defined(__SANITIZE_THREAD__)
#define HARNESS_THREAD_SANITIZED 1
#endif

namespace harness {

namespace {

// How the runner's children ended, by PID: a status can be had from the kernel only once.
std::map<pid_t, int>& endings() {
    static std::map<pid_t, int> all;
    return all;
}

int code_of(int wait_status) {
    return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

void reap_all() {
    int status = 0;
    for (pid_t pid = waitpid(-1, &status, WNOHANG); pid > 0; pid = waitpid(-1, &status, WNOHANG))
        endings()[pid] = code_of(status);
}

[[noreturn]] void fail(const std::string& what) {
    throw std::runtime_error(what + ": " + std::strerror(errno));
}

// The fields of /proc/PID/stat behind the name, which may hold blanks and parentheses itself.
Strings stat_fields(pid_t pid) {
    const std::string text = slurp("/proc/" + std::to_string(pid) + "/stat");
    const std::size_t end = text.rfind(')');
    Strings fields;
    if (end == std::string::npos) return fields;
    std::istringstream rest(text.substr(end + 1));
    for (std::string word; rest >> word;) fields.push_back(word);
    return fields;
}

std::vector<pid_t> all_processes() {
    std::vector<pid_t> all;
    for (const std::string& name : Scratch::names("/proc"))
        if (to_long(name) > 0) all.push_back(static_cast<pid_t>(to_long(name)));
    return all;
}

void remove_tree(const std::string& path) {
    const struct stat at = stat_of(path);
    if (S_ISDIR(at.st_mode)) {
        chmod(path.c_str(), 0700);
        for (const std::string& name : Scratch::names(path)) remove_tree(path + "/" + name);
        rmdir(path.c_str());
    } else {
        unlink(path.c_str());
    }
}

void set_nonblocking(int number) { fcntl(number, F_SETFL, fcntl(number, F_GETFL) | O_NONBLOCK); }

}  // namespace

// ---- How this suite was built, and where it runs ------------------------------------------------

bool is_root() { return geteuid() == 0; }

bool generic() {
#if defined(DAEMONIZE_GENERIC_POSIX)
    return true;
#else
    return false;
#endif
}

bool thread_sanitized() {
#if defined(HARNESS_THREAD_SANITIZED)
    return true;
#else
    return false;
#endif
}

bool sanitized() {
#if defined(HARNESS_SANITIZED)
    return true;
#else
    return thread_sanitized();
#endif
}

bool can_mount() {
    static const bool can = [] {
        Launch launch({"unshare", "-m", "sh", "-c", "mount -t tmpfs none /mnt"});
        return has_tool("unshare") && run(launch).status == 0;
    }();
    return can;
}

bool has_tool(const char* name) {
    const char* const path = std::getenv("PATH");
    std::istringstream places(path ? path : "/usr/sbin:/usr/bin:/sbin:/bin");
    for (std::string place; std::getline(places, place, ':');)
        if (access((place + "/" + name).c_str(), X_OK) == 0) return true;
    return false;
}

std::string program(const std::string& name) {
    static const std::string build = [] {
        const char* const given = std::getenv("DAEMONIZE_BUILD");
        char* const real = realpath(given && *given ? given : "build", nullptr);
        const std::string path = real ? real : "build";
        std::free(real);
        return path;
    }();
    return build + "/" + name;
}

bool has_program(const std::string& name) { return access(program(name).c_str(), X_OK) == 0; }

Millis patience() { return std::chrono::seconds(sanitized() ? 60 : 25); }

bool eventually(const std::function<bool()>& condition, Millis limit) {
    const Clock::time_point end = Clock::now() + limit;
    std::chrono::microseconds pause(200);
    for (;;) {
        if (condition()) return true;
        if (Clock::now() >= end) return false;
        std::this_thread::sleep_for(pause);
        pause = std::min(pause * 2, std::chrono::microseconds(10000));
    }
}

// ---- Files --------------------------------------------------------------------------------------

Scratch::Scratch() {
    const char* const place = std::getenv("TMPDIR");
    std::string name = std::string(place && *place ? place : "/tmp") + "/daemonize-test-XXXXXX";
    std::vector<char> text(name.begin(), name.end());
    text.push_back('\0');
    if (!mkdtemp(text.data())) fail("mkdtemp " + name);
    // By its real path: a test compares it with what /proc shows.
    char* const real = realpath(text.data(), nullptr);
    path_ = real ? real : text.data();
    std::free(real);
    chmod(path_.c_str(), 0755);
}

Scratch::~Scratch() {
    kill_all();  // a daemon that still lives would write into the directory while it is removed
    remove_tree(path_);
}

std::string Scratch::directory(const std::string& name, mode_t mode) const {
    const std::string made = *this / name;
    if (mkdir(made.c_str(), 0700) != 0 || chmod(made.c_str(), mode) != 0) fail("mkdir " + made);
    return made;
}

std::string Scratch::file(const std::string& name, const std::string& text, mode_t mode) const {
    const std::string made = *this / name;
    const Descriptor out = open_file(made, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (write(out.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
        fail("write " + made);
    if (fchmod(out.get(), mode) != 0) fail("chmod " + made);
    return made;
}

Strings Scratch::names(const std::string& directory) {
    Strings all;
    DIR* const listing = opendir(directory.c_str());
    if (!listing) return all;
    while (const dirent* entry = readdir(listing)) {
        const std::string name = entry->d_name;
        if (name != "." && name != "..") all.push_back(name);
    }
    closedir(listing);
    std::sort(all.begin(), all.end());
    return all;
}

std::string slurp(const std::string& path) {
    std::string text;
    const Descriptor in(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    char piece[4096];
    for (ssize_t n; in.get() >= 0 && (n = read(in.get(), piece, sizeof piece)) > 0;)
        text.append(piece, static_cast<std::size_t>(n));
    return text;
}

bool exists(const std::string& path) { return stat_of(path).st_nlink != 0; }

struct stat stat_of(const std::string& path) {
    struct stat at;
    std::memset(&at, 0, sizeof at);
    if (lstat(path.c_str(), &at) != 0) std::memset(&at, 0, sizeof at);
    return at;
}

bool same_file_state(const struct stat& a, const struct stat& b) {
    return a.st_dev == b.st_dev && a.st_ino == b.st_ino && a.st_mode == b.st_mode &&
           a.st_nlink == b.st_nlink && a.st_uid == b.st_uid && a.st_gid == b.st_gid &&
           a.st_size == b.st_size && a.st_mtim.tv_sec == b.st_mtim.tv_sec &&
           a.st_mtim.tv_nsec == b.st_mtim.tv_nsec && a.st_ctim.tv_sec == b.st_ctim.tv_sec &&
           a.st_ctim.tv_nsec == b.st_ctim.tv_nsec;
}

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

int count(const std::string& text, const std::string& part) {
    int n = 0;
    for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1))
        ++n;
    return n;
}

Strings lines(const std::string& text) {
    Strings all;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) all.push_back(line);
    return all;
}

std::string join(const Strings& words, const char* between) {
    std::string text;
    for (const std::string& word : words) text += (text.empty() ? "" : between) + word;
    return text;
}

long to_long(const std::string& text) {
    char* end = nullptr;
    const long value = std::strtol(text.c_str(), &end, 10);
    if (text.empty() || end == text.c_str() || (*end != '\0' && *end != '\n')) return -1;
    return value;
}

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
}

void Descriptor::reset() {
    if (number_ >= 0) ::close(number_);
    number_ = -1;
}

Descriptor open_file(const std::string& path, int flags, mode_t mode) {
    Descriptor opened(::open(path.c_str(), flags | O_CLOEXEC, mode));
    if (opened.get() < 0) fail("open " + path);
    return opened;
}

bool lock(const Descriptor& file, bool shared) {
    return flock(file.get(), (shared ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0;
}

bool is_locked(const std::string& path) {
    const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    return file.get() >= 0 && !lock(file, true);
}

pid_t record_owner(const std::string& path) {
    const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    struct flock asked;
    std::memset(&asked, 0, sizeof asked);
    asked.l_type = F_RDLCK;
    asked.l_whence = SEEK_SET;
    if (file.get() < 0 || fcntl(file.get(), F_GETLK, &asked) != 0) return 0;
    return asked.l_type == F_UNLCK ? 0 : asked.l_pid;
}

// ---- Programs -----------------------------------------------------------------------------------

std::string Outcome::text() const {
    return "pid " + std::to_string(pid) + ", status " + std::to_string(status) +
           (timed_out ? ", timed out" : "") + ", " + std::to_string(took.count()) +
           " ms\nstdout: " + out + "\nstderr: " + err;
}

namespace {

[[noreturn]] void become_program(const Launch& launch, int out, int err) {
    const int input = launch.input >= 0 ? launch.input : ::open("/dev/null", O_RDONLY);
    dup2(input, 0);
    dup2(out, 1);
    dup2(err, 2);
    for (int number = 0; number < 3; ++number)
        if (launch.closed & (1u << number)) ::close(number);
    if (input > 2) ::close(input);
    if (!launch.directory.empty() && chdir(launch.directory.c_str()) != 0) _exit(125);
    if (launch.empty_environment) clearenv();
    for (const auto& variable : launch.environment) {
        if (variable.second == "-")
            unsetenv(variable.first.c_str());
        else
            setenv(variable.first.c_str(), variable.second.c_str(), 1);
    }
    ::signal(SIGPIPE, SIG_DFL);  // the runner ignores it, a caller usually does not
    if (launch.before_exec) launch.before_exec();
    std::vector<char*> words;
    for (const std::string& word : launch.argv) words.push_back(const_cast<char*>(word.c_str()));
    words.push_back(nullptr);
    execvp(words[0], words.data());
    dprintf(2, "harness: cannot execute '%s': %s\n", words[0], std::strerror(errno));
    _exit(127);
}

struct Pipe {
    Pipe() {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) != 0) fail("pipe2");
        read_end = Descriptor(ends[0]);
        write_end = Descriptor(ends[1]);
    }
    Descriptor read_end, write_end;
};

}  // namespace

Running::Running(const Launch& launch) : launch_(launch), began_(Clock::now()) {
    Pipe out, err;
    std::fflush(nullptr);  // else the child's exit text and ours could be written twice
    const pid_t pid = fork();
    if (pid < 0) fail("fork");
    if (pid == 0) {
        // An exception must not carry a copy of the runner back into the test.
        try {
            become_program(launch_, out.write_end.get(), err.write_end.get());
        } catch (...) {
            _exit(126);
        }
    }
    outcome_.pid = pid;
    endings().erase(pid);
    out_ = std::move(out.read_end);
    err_ = std::move(err.read_end);
    set_nonblocking(out_.get());
    set_nonblocking(err_.get());
}

Running::~Running() {
    if (!finished()) {
        send_signal(pid(), SIGKILL);
        ended(pid());
    }
}

void Running::read_pipes() {
    char piece[4096];
    Descriptor* const ends[] = {&out_, &err_};
    std::string* const texts[] = {&outcome_.out, &outcome_.err};
    for (int i = 0; i < 2; ++i) {
        while (ends[i]->get() >= 0) {
            const ssize_t n = read(ends[i]->get(), piece, sizeof piece);
            if (n > 0) texts[i]->append(piece, static_cast<std::size_t>(n));
            if (n == 0) ends[i]->reset();
            if (n < 0) break;
        }
    }
    outcome_.end_of_file = out_.get() < 0 && err_.get() < 0;
}

bool Running::finished() {
    if (!ended_) {
        const int code = ended(pid(), Millis(0));
        ended_ = code != not_ended;
        if (ended_) outcome_.took = std::chrono::duration_cast<Millis>(Clock::now() - began_);
        if (ended_) outcome_.status = code;
    }
    read_pipes();  // after the end was seen: then everything that it wrote is there
    return ended_;
}

const std::string& Running::out() {
    finished();
    return outcome_.out;
}

const std::string& Running::err() {
    finished();
    return outcome_.err;
}

bool Running::says(const std::string& part, Millis limit) {
    return eventually([&] { return contains(out(), part) || finished(); }, limit) &&
           contains(out(), part);
}

void Running::signal(int signum) const { send_signal(pid(), signum); }

Outcome Running::finish() {
    // The pipes must be read meanwhile: a program that has filled one would never end.
    if (!eventually([this] { return finished(); }, launch_.limit)) {
        outcome_.timed_out = true;
        send_signal(pid(), SIGKILL);
        eventually([this] { return finished(); });
    }
    if (launch_.to_end_of_file && !outcome_.timed_out)
        eventually(
            [this] {
                read_pipes();
                return outcome_.end_of_file;
            },
            Millis(1500));
    return outcome_;
}

Outcome run(const Launch& launch) {
    Running running(launch);
    return running.finish();
}

// ---- Processes ----------------------------------------------------------------------------------

bool alive(pid_t pid) {
    const Strings fields = stat_fields(pid);
    if (fields.empty()) return false;
    // Its first thread alone may have ended: the others (an emulator has one) keep its files open.
    const bool has_others = fields.size() > 17 && to_long(fields[17]) > 1;
    return (fields[0] != "Z" && fields[0] != "X") || has_others;
}

bool gone(pid_t pid, Millis limit) {
    return eventually([pid] { return !alive(pid); }, limit);
}

int ended(pid_t pid, Millis limit) {
    int result = not_ended;
    eventually(
        [&] {
            reap_all();
            // Another's child is looked for before the second look at our own: it may end between.
            const bool here = alive(pid) || facts(pid).parent == getpid();
            if (!here) reap_all();
            const auto known = endings().find(pid);
            if (known != endings().end())
                result = known->second;
            else if (!here)
                result = not_ours;  // its parent alone learns the status
            return result != not_ended;
        },
        limit);
    return result;
}

std::vector<pid_t> descendants() {
    reap_all();
    std::map<pid_t, pid_t> parents;
    for (const pid_t pid : all_processes()) {
        const Strings fields = stat_fields(pid);
        if (fields.size() > 2 && fields[0] != "X")
            parents[pid] = static_cast<pid_t>(to_long(fields[1]));
    }
    std::vector<pid_t> found;
    for (const auto& entry : parents) {
        pid_t ancestor = entry.second;
        for (int depth = 0; ancestor > 1 && ancestor != getpid() && depth < 100; ++depth)
            ancestor = parents.count(ancestor) ? parents[ancestor] : 0;
        if (ancestor == getpid() && alive(entry.first)) found.push_back(entry.first);
    }
    return found;
}

void kill_all() {
    eventually([] {
        const std::vector<pid_t> left = descendants();
        for (const pid_t pid : left) send_signal(pid, SIGKILL);
        return left.empty();
    });
}

void send_signal(pid_t pid, int signum) {
    if (pid > 1 && pid != getpid()) ::kill(pid, signum);
}

Facts facts(pid_t pid) {
    Facts found;
    const Strings fields = stat_fields(pid);
    if (fields.size() < 6) return found;
    found.state = fields[0][0];
    found.parent = static_cast<pid_t>(to_long(fields[1]));
    found.group = static_cast<pid_t>(to_long(fields[2]));
    found.session = static_cast<pid_t>(to_long(fields[3]));
    found.terminal = static_cast<int>(to_long(fields[4]));
    const std::string directory = "/proc/" + std::to_string(pid);
    for (const std::string& line : lines(slurp(directory + "/status"))) {
        const std::size_t colon = line.find(':');
        if (colon == std::string::npos) continue;
        const std::string name = line.substr(0, colon), value = line.substr(colon + 1);
        std::istringstream in(value);
        if (name == "Uid" || name == "Gid" || name == "Groups") {
            auto& list = name == "Uid" ? found.uids : name == "Gid" ? found.gids : found.groups;
            for (long id; in >> id;) list.push_back(id);
        }
        if (name == "Umask") in >> std::oct >> found.umask;
        if (name == "Threads") in >> found.threads;
        if (name == "NoNewPrivs") in >> found.no_new_privs;
        if (name == "SigBlk") in >> std::hex >> found.blocked;
        if (name == "SigIgn") in >> std::hex >> found.ignored;
        if (name == "SigCgt") in >> std::hex >> found.caught;
    }
    // 32 and 33 are the C library's own: who was started with them ignored cannot change it.
    found.ignored &= ~(3ULL << 31);
    return found;
}

bool has(std::uint64_t set, int signum) { return (set >> (signum - 1)) & 1u; }

std::uint64_t set_of(const std::vector<int>& signals) {
    std::uint64_t set = 0;
    for (const int signum : signals) set |= std::uint64_t(1) << (signum - 1);
    return set;
}

std::map<int, std::string> descriptors(pid_t pid) {
    std::map<int, std::string> found;
    for (const std::string& name : Scratch::names("/proc/" + std::to_string(pid) + "/fd"))
        found[static_cast<int>(to_long(name))] = link_of(pid, ("fd/" + name).c_str());
    return found;
}

std::string link_of(pid_t pid, const char* name) {
    char target[4096];
    const std::string path = "/proc/" + std::to_string(pid) + "/" + name;
    const ssize_t length = readlink(path.c_str(), target, sizeof target);
    return length < 0 ? "" : std::string(target, static_cast<std::size_t>(length));
}

std::string limit_of(pid_t pid, const std::string& name) {
    for (const std::string& line : lines(slurp("/proc/" + std::to_string(pid) + "/limits"))) {
        if (line.compare(0, name.size(), name) != 0) continue;
        std::istringstream in(line.substr(name.size()));
        std::string soft, hard;
        in >> soft >> hard;
        return soft + " " + hard;
    }
    return "";
}

// ---- Helpers for before_exec --------------------------------------------------------------------

void become(uid_t uid, gid_t gid) {
    if (setgroups(0, nullptr) != 0 || setgid(gid) != 0 || setuid(uid) != 0) _exit(124);
}

void become_nobody() { become(nobody, nobody); }

void place(const Descriptor& from, int to) {
    // dup2() of a descriptor onto itself would leave it close-on-exec.
    const int copy = fcntl(from.get(), F_DUPFD, 100);
    if (copy < 0 || dup2(copy, to) != to) _exit(122);
    ::close(copy);
}

void ignore(int signum) { ::signal(signum, SIG_IGN); }

void block(int signum) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signum);
    sigprocmask(SIG_BLOCK, &set, nullptr);
}

}  // namespace harness
