// daemon: runs any program as a daemon, with the options of FreeBSD's daemon(8).
//
//     daemon [options] command [arguments ...]; daemon --help lists them
//
// Beyond the original: the shell that typed it is told if the user is unknown or the command cannot
// be run; a command that keeps ending soon after its start is restarted at growing intervals, up to
// five minutes; -C implies -r and goes beyond 128; -o and -p name files of the present directory
// also with -c; -M is exact, whatever the umask; --help prints on standard output; the command's
// standard error stays one without -o and -S; the supervisor ends with the command's status.
// Without a twin here: login classes, and the mark that keeps FreeBSD from killing the supervisor
// when memory is short.
//
// Exit status: 2 a PID file, 3 already running, 4 to 6 a bad -s, -l, number, 7 the output file, 127
// the command cannot be run, 1 anything else that keeps it from starting.
#define DAEMONIZE_IMPLEMENTATION
#include "daemonize.hpp"

#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#define SYSLOG_NAMES  // the system's own tables: prioritynames, facilitynames
#include <syslog.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

using daemonize::DaemonContext;
using daemonize::Duration;
using daemonize::errc;
using Clock = std::chrono::steady_clock;

constexpr Duration longest_delay = std::chrono::minutes(5);
constexpr Duration steady_run = std::chrono::seconds(10);  // who lives longer does not crash-loop

struct Settings {
    bool to_root = false, to_null = false, rotates = false, restarts = false, to_syslog = false;
    std::string child_pidfile, supervisor_pidfile, title, user, output;
    std::string tag = "daemon";
    int priority = LOG_NOTICE, facility = LOG_DAEMON;
    long mask = 3, output_mode = -1;             // -1: 0600, less the umask
    long restart_delay = 1, restart_count = -1;  // -1: as often as needed
    std::vector<std::string> command;

    bool collects() const { return to_syslog || !output.empty(); }
    bool supervises() const {
        return collects() || restarts || !child_pidfile.empty() || !supervisor_pidfile.empty();
    }
};

Settings settings;

// ---- Command line -------------------------------------------------------------------------------

using S = Settings;
const struct {
    char letter;
    const char *word, *argument, *help;
    bool S::*flag;         // becomes true
    std::string S::*text;  // becomes the argument
} options[] = {
    {'c', "change-dir", nullptr, "run in the root directory", &S::to_root, nullptr},
    {'f', "close-fds", nullptr, "standard streams to /dev/null", &S::to_null, nullptr},
    {'p', "child-pidfile", "file", "the command's PID, locked", nullptr, &S::child_pidfile},
    {'P', "supervisor-pidfile", "file", "the supervisor's, too", nullptr, &S::supervisor_pidfile},
    {'r', "restart", nullptr, "run the command again when it ends", &S::restarts, nullptr},
    {'R', "restart-delay", "sec", "as -r, after so long (1)", &S::restarts, nullptr},
    {'C', "restart-count", "times", "as -r, so often at most", &S::restarts, nullptr},
    {'o', "output-file", "file", "append the output to it", nullptr, &S::output},
    {'M', "output-file-mode", "mode", "create it with this mode (600)", nullptr, nullptr},
    {'m', "output-mask", "mask", "collect 1: stdout, 2: stderr, 3: both", nullptr, nullptr},
    {'H', "sighup", nullptr, "reopen it on SIGHUP, after a rotation", &S::rotates, nullptr},
    {'S', "syslog", nullptr, "send the output to syslog", &S::to_syslog, nullptr},
    {'s', "syslog-priority", "name", "as -S, with it (notice)", &S::to_syslog, nullptr},
    {'l', "syslog-facility", "name", "as -S, to it (daemon)", &S::to_syslog, nullptr},
    {'T', "syslog-tag", "tag", "as -S, tagged (daemon)", &S::to_syslog, &S::tag},
    {'t', "title", "title", "what ps shows of the supervisor", nullptr, &S::title},
    {'u', "user", "name", "run the command as this user", nullptr, &S::user},
    {'h', "help", nullptr, "print this", nullptr, nullptr},
};

[[noreturn]] void refuse(int status, const std::string& text) {
    std::fprintf(stderr, "daemon: %s\n", text.c_str());
    std::exit(status);
}

[[noreturn]] void usage(int status) {
    std::fprintf(status ? stderr : stdout, "usage: daemon [options] command [arguments ...]%s\n",
                 status ? "; daemon --help lists them" : "");
    for (const auto& one : options)
        if (!status)
            std::printf("  -%c, --%-18s %-6s %s\n", one.letter, one.word,
                        one.argument != nullptr ? one.argument : "", one.help);
    std::exit(status);
}

int named(const CODE* table, int status, const char* what) {
    for (; table->c_name != nullptr; ++table)
        if (std::strcmp(table->c_name, optarg) == 0) return table->c_val;
    refuse(status, std::string("unrecognized syslog ") + what + ": '" + optarg + "'");
}

long number(int base, long least, long most, const char* what) {
    char *end = nullptr, range[64];
    const long value = std::strtol(optarg, &end, base);
    if (*optarg != '\0' && *end == '\0' && value >= least && value <= most) return value;
    std::snprintf(range, sizeof range, base == 8 ? "%lo to %lo" : "%ld to %ld", least, most);
    refuse(6, std::string(what) + ": '" + optarg + "' is not " + range);
}

void take_option(int letter) {
    S& s = settings;
    for (const auto& one : options) {
        if (one.letter == letter && one.flag != nullptr) s.*one.flag = true;
        if (one.letter == letter && one.text != nullptr) s.*one.text = optarg;
    }
    if (letter == 'm') s.mask = number(10, 0, 3, "unrecognized listening mask");
    if (letter == 'M') s.output_mode = number(8, 0, 0777, "invalid output file mode");
    if (letter == 'R') s.restart_delay = number(10, 1, 31536000, "invalid restart delay");
    if (letter == 'C') s.restart_count = number(10, 0, 1000000, "invalid restart count");
    if (letter == 's') s.priority = named(prioritynames, 4, "priority");
    if (letter == 'l') s.facility = named(facilitynames, 5, "facility");
    if (letter == 'h') usage(0);
    if (letter == '?') usage(1);
}

// What ps shows. The words of the command line stand one behind the other and are ours to write.
char* title_room = nullptr;
std::size_t title_size = 0;

void show_title(pid_t child) {
    const std::string name = "daemon: " + settings.title, pid = "[" + std::to_string(child) + "]";
    std::memset(title_room, 0, title_size);
    (name.size() + pid.size() <= title_size ? name + pid : name).copy(title_room, title_size);
}

void parse(int argc, char** argv) {
    S& s = settings;
    std::string letters = "+";  // what follows the command is the command's own, also with GNU's
    std::vector<option> words = {{"output_file_mode", required_argument, nullptr, 'M'}};
    for (const auto& one : options) {
        letters += std::string(1, one.letter) + (one.argument != nullptr ? ":" : "");
        words.push_back({one.word, one.argument != nullptr, nullptr, one.letter});
    }
    words.push_back({nullptr, 0, nullptr, 0});
    int letter;
    while ((letter = getopt_long(argc, argv, letters.c_str(), words.data(), nullptr)) != -1)
        take_option(letter);
    s.command.assign(argv + optind, argv + argc);
    if (s.command.empty()) usage(1);
    if (s.title.empty()) s.title = s.command[0];
    title_room = argv[0];
    title_size = static_cast<std::size_t>(argv[argc - 1] + std::strlen(argv[argc - 1]) - argv[0]);
    if (!s.user.empty() && getpwnam(s.user.c_str()) == nullptr)
        refuse(1, "unknown user: " + s.user);
    for (std::string* path : {&s.child_pidfile, &s.output}) {  // meant from here, not from -c
        char here[4096];
        if (!path->empty() && (*path)[0] != '/' && getcwd(here, sizeof here) != nullptr)
            *path = std::string(here) + "/" + *path;
    }
}

// ---- The command --------------------------------------------------------------------------------

// Ends in the command, or returns why not.
std::string execute() {
    // Ignored for the daemon's own sake; the command begins with what it knows.
    for (const int signum : {SIGHUP, SIGTTIN, SIGTTOU, SIGTSTP, SIGPIPE}) signal(signum, SIG_DFL);
    const passwd* const who = settings.user.empty() ? nullptr : getpwuid(getuid());
    if (who != nullptr) setenv("SHELL", *who->pw_shell != '\0' ? who->pw_shell : "/bin/sh", 1);
    std::vector<char*> words;
    for (std::string& word : settings.command) words.push_back(&word[0]);
    words.push_back(nullptr);
    execvp(words[0], words.data());
    return "cannot run '" + settings.command[0] + "': " + std::strerror(errno);
}

// The supervisor stays who it is; only the command drops. In the child, which says nothing to a
// manager and has no PID file: a start in the foreground, for its drop with the proof.
bool drop(daemonize::Error& error) {
    if (settings.user.empty()) return true;
    DaemonContext own;
    own.detach_process = daemonize::Detach::no;
    own.uid = settings.user;
    own.umask = static_cast<int>(umask(022));
    own.prevent_core = false;
    own.ready_by_hand = true;
    own.start(error);
    return !error;
}

// The child's file names the child, and only the supervisor has it locked. Written by the child
// itself: closing the file here would take the supervisor's record lock along.
bool write_pid() {
    if (settings.child_pidfile.empty()) return true;
    const int fd = open(settings.child_pidfile.c_str(), O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return false;
    const std::string text = std::to_string(getpid()) + "\n";
    return pwrite(fd, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()) &&
           ftruncate(fd, static_cast<off_t>(text.size())) == 0 && close(fd) == 0;
}

// While it is still locked; release() leaves it, for the number in it is the child's.
void remove_child_pidfile() {
    if (!settings.child_pidfile.empty()) unlink(settings.child_pidfile.c_str());
}

[[noreturn]] void be_command(int output, int verdict) {
    const int elsewhere = settings.to_null ? 0 : 2;  // -f: descriptor 0 is /dev/null
    if (settings.collects()) {
        dup2((settings.mask & 1) != 0 ? output : elsewhere, 1);
        dup2((settings.mask & 2) != 0 ? output : elsewhere, 2);
    } else if (settings.to_null) {
        dup2(0, 2);  // until ready it is the launcher's
    }
    daemonize::Error error;
    const bool written = write_pid();
    error.text = "cannot write '" + settings.child_pidfile + "': " + std::strerror(errno);
    const bool dropped = written && drop(error);
    const std::string text = dropped ? execute() : error.text;
    const ssize_t told = write(verdict, text.data(), text.size());
    _exit(dropped && told >= 0 ? 127 : written ? 1 : 2);
}

// ---- The supervisor -----------------------------------------------------------------------------

// With 0600 or -M; what it leads to is looked at when it is opened.
bool make_output() {
    const int how = O_WRONLY | O_APPEND | O_NOCTTY | O_NONBLOCK | O_CLOEXEC;
    int fd = open(settings.output.c_str(), how | O_CREAT | O_EXCL, 0600);
    const bool made = fd >= 0;
    if (!made && errno == EEXIST) fd = open(settings.output.c_str(), how);
    const long mode = made ? settings.output_mode : -1;
    return fd >= 0 && (mode < 0 || fchmod(fd, static_cast<mode_t>(mode)) == 0) && close(fd) == 0;
}

class Supervisor {
public:
    Supervisor(DaemonContext& daemon, daemonize::SignalHandler& signals,
               const daemonize::PidFile& child_pidfile)
        : daemon_(daemon), signals_(signals), child_pidfile_(child_pidfile) {}

    int run() {
        signals_.on(SIGCHLD, [](int) {});  // wakes the loops below, which ask waitpid()
        signals_.reload = [this](int) {
            daemonize::Error error;
            if (!settings.rotates || settings.output.empty()) return;
            make_output();
            if (!daemon_.reopen_streams(error)) emit("daemon: " + error.text + "\n");
        };
        signals_.start();
        Duration delay = std::chrono::seconds(settings.restart_delay);
        for (long restarts = 0;; ++restarts) {
            const Clock::time_point began = Clock::now();
            const int code = run_once();
            if (ending_ || !settings.restarts || restarts == settings.restart_count) return code;
            if (Clock::now() - began >= steady_run)
                delay = std::chrono::seconds(settings.restart_delay);
            // Whoever reads the file in the pause shall not signal a number that is nobody's.
            if (child_pidfile_.is_held() &&
                ftruncate(static_cast<int>(child_pidfile_.native_handle()), 0) != 0)
                emit("daemon: cannot empty '" + child_pidfile_.path() + "'\n");
            if (signals_.wait_for(delay) != daemonize::no_signal) return 0;
            delay = std::max(delay, std::min(delay * 2, longest_delay));
        }
    }

private:
    // Runs the command once. Its exit code, 128 + n for signal n.
    int run_once() {
        int verdict[2] = {-1, -1}, output[2] = {-1, -1};
        if (!make_pipe(verdict) || (settings.collects() && !make_pipe(output)))
            give_up(std::string("cannot make a pipe: ") + std::strerror(errno), 1);
        const pid_t child = fork();
        if (child < 0) give_up(std::string("cannot fork: ") + std::strerror(errno), 1);
        if (child == 0) be_command(output[1], verdict[1]);
        close(verdict[1]);
        if (output[1] >= 0) close(output[1]);
        show_title(child);
        const std::string text = read_verdict(verdict[0]);
        close(verdict[0]);
        int code = text.empty() ? 0 : attend(child, -1);
        if (!text.empty()) {
            if (!is_ready_) give_up(text, code);
            emit("daemon: " + text + "\n");  // it could be run once: it may come back
        }
        daemon_.ready();  // after the first time it does nothing
        is_ready_ = true;
        // Without an option that needs a supervisor there is none: the command goes on alone.
        if (text.empty() && settings.supervises()) code = attend(child, output[0]);
        if (output[0] >= 0) close(output[0]);
        return code;
    }

    [[noreturn]] void give_up(const std::string& text, int code) {
        remove_child_pidfile();
        daemon_.fail(text, code);
    }

    static bool make_pipe(int (&ends)[2]) {
        return pipe(ends) == 0 && fcntl(ends[0], F_SETFD, FD_CLOEXEC) == 0 &&
               fcntl(ends[1], F_SETFD, FD_CLOEXEC) == 0;
    }

    // The end of file comes with the exec; before it, the reason why there was none.
    static std::string read_verdict(int fd) {
        char piece[4096];
        ssize_t n;
        while ((n = read(fd, piece, sizeof piece)) < 0 && errno == EINTR) continue;
        return std::string(piece, n > 0 ? static_cast<std::size_t>(n) : 0);
    }

    int attend(pid_t child, int output) {
        if (output >= 0) fcntl(output, F_SETFL, O_NONBLOCK);
        for (int status = 0;;) {
            const pid_t ended = waitpid(child, &status, WNOHANG);
            if (ended == child || (ended < 0 && errno != EINTR)) {
                collect(output);
                finish_line();
                return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            }
            pollfd sources[] = {{static_cast<int>(signals_.native_handle()), POLLIN, 0},
                                {output, POLLIN, 0}};
            ::poll(sources, 2, -1);
            const int signum = signals_.poll();
            if (signum != daemonize::no_signal) {
                ending_ = true;
                kill(child, signum);
            }
            // Its last writer may be gone before the child is: then there is nothing to poll.
            if (sources[1].revents != 0 && !collect(output)) output = -1;
        }
    }

    // Takes what is there; false at the end of file.
    bool collect(int output) {
        char piece[8192];
        for (;;) {
            const ssize_t n = output < 0 ? 0 : read(output, piece, sizeof piece);
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) return n < 0;
            emit(std::string(piece, static_cast<std::size_t>(n)));
        }
    }

    void emit(const std::string& text) {
        if (!settings.output.empty() || !settings.to_syslog) {
            std::fwrite(text.data(), 1, text.size(), stdout);
            std::fflush(stdout);  // a full disk loses output, never the command
        }
        for (const char c : settings.to_syslog ? text : std::string()) {
            if (c != '\n') line_ += c;
            if (c == '\n' || line_.size() >= 1024) finish_line();
        }
    }

    void finish_line() {
        if (!line_.empty()) syslog(settings.priority, "%s", line_.c_str());
        line_.clear();
    }

    DaemonContext& daemon_;
    daemonize::SignalHandler& signals_;
    const daemonize::PidFile& child_pidfile_;
    std::string line_;
    bool ending_ = false, is_ready_ = false;
};

int status_of(const daemonize::Error& error) {
    return error.code == errc::already_running || error.code == errc::unproven_holder ? 3 : 2;
}

// The words of daemon(8). The file of another supervisor's child is locked by one process and names
// another, which proves no holder; during the pause of a restart it names none.
std::string reason(const daemonize::Error& error, const daemonize::PidFile& file) {
    daemonize::Error unread;
    const long pid = file.read(unread);
    if (status_of(error) != 3) return error.text;
    return "process already running" + (pid > 0 ? ", pid: " + std::to_string(pid) : "");
}

int supervise(DaemonContext& daemon) {
    daemonize::PidFile child_pidfile(settings.child_pidfile, 0600);
    daemonize::Error error;
    if (!settings.child_pidfile.empty() && !child_pidfile.acquire(Duration(0), error))
        daemon.fail(reason(error, child_pidfile), status_of(error));
    if (settings.to_syslog) openlog(settings.tag.c_str(), LOG_PID | LOG_NDELAY, settings.facility);
    daemonize::SignalHandler signals(daemon);
    const int code = Supervisor(daemon, signals, child_pidfile).run();
    remove_child_pidfile();
    return code;
}

}  // namespace

int main(int argc, char** argv) {
    parse(argc, argv);
    const mode_t mask = umask(022);
    umask(mask);
    DaemonContext context;
    context.program_name = "daemon";
    context.pidfile = settings.supervisor_pidfile;
    context.pidfile_mode = 0600;
    context.detach_process = daemonize::Detach::yes;
    context.working_directory = settings.to_root ? "/" : ".";
    context.umask = static_cast<int>(mask);
    context.prevent_core = false;  // the command's own business, as is its directory
    context.ready_by_hand = true;
    if (!settings.to_null)
        context.standard_input = context.standard_output = context.standard_error =
            daemonize::keep_stream;
    if (!settings.output.empty()) context.standard_output = settings.output;

    // What open() would refuse with 1 and daemon(8) has statuses for.
    daemonize::Error error;
    daemonize::PidFile trial(settings.supervisor_pidfile, 0600);
    if (!settings.supervisor_pidfile.empty() && !trial.acquire(Duration(0), error))
        refuse(status_of(error), reason(error, trial));
    trial.release();
    if (!settings.output.empty() && !make_output())
        refuse(7, "cannot open '" + settings.output + "': " + std::strerror(errno));
    context.open();
    return supervise(context);
}
