// daemon: runs any program as a daemon, with the options of FreeBSD's daemon(8).
//
//     daemon [options] command [arguments ...]
//
// Beyond the original: the shell that typed it is told if the command cannot be run; a command that
// keeps ending soon after its start is restarted at growing intervals, up to five minutes.
// Exit status: 2 usage or a PID file, 3 already running, 4 to 6 a bad -s, -l, -m, 7 the output
// file, 127 the command cannot be run, 1 anything else that keeps it from starting.
#define DAEMONIZE_IMPLEMENTATION
#include "daemonize.hpp"

#include <fcntl.h>
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
    int mask = 3, priority = LOG_NOTICE, facility = LOG_DAEMON;
    long restart_delay = 1, restart_count = -1;  // -1: as often as needed
    std::vector<std::string> command;

    bool collects() const { return to_syslog || !output.empty(); }
    bool supervises() const {
        return collects() || restarts || !child_pidfile.empty() || !supervisor_pidfile.empty();
    }
};

Settings settings;

// ---- Command line -------------------------------------------------------------------------------

const char* const usage =
    "usage: daemon [-cfHrS] [-p child_pidfile] [-P supervisor_pidfile] [-t title] [-u user]\n"
    "              [-o output_file] [-m output_mask] [-s priority] [-l facility] [-T tag]\n"
    "              [-R restart_delay] [-C restart_count] command [arguments ...]";

[[noreturn]] void refuse(int status, const std::string& text) {
    std::fprintf(stderr, "%s%s\n", text == usage ? "" : "daemon: ", text.c_str());
    std::exit(status);
}

int named(const CODE* table, const char* name, int status) {
    for (; table->c_name != nullptr; ++table)
        if (std::strcmp(table->c_name, name) == 0) return table->c_val;
    refuse(status, std::string("unknown name '") + name + "'");
}

long number(const char* text, long least, long most, int status) {
    char* end = nullptr;
    const long value = std::strtol(text, &end, 10);
    if (*text == '\0' || *end != '\0' || value < least || value > most)
        refuse(status, "'" + std::string(text) + "' is no number from " + std::to_string(least) +
                           " to " + std::to_string(most));
    return value;
}

const struct {
    int letter;
    bool Settings::*flag;
} flags[] = {{'c', &Settings::to_root},   {'f', &Settings::to_null},   {'H', &Settings::rotates},
             {'r', &Settings::restarts},  {'R', &Settings::restarts},  {'C', &Settings::restarts},
             {'S', &Settings::to_syslog}, {'s', &Settings::to_syslog}, {'l', &Settings::to_syslog},
             {'T', &Settings::to_syslog}};
const struct {
    int letter;
    std::string Settings::*text;
} texts[] = {{'p', &Settings::child_pidfile}, {'P', &Settings::supervisor_pidfile},
             {'o', &Settings::output},        {'t', &Settings::title},
             {'u', &Settings::user},          {'T', &Settings::tag}};

void parse(int argc, char** argv) {
    Settings& s = settings;
    // '+': what follows the command is the command's own, also with GNU's getopt().
    for (int letter; (letter = getopt(argc, argv, "+cfHrSp:P:R:C:o:m:l:s:T:t:u:")) != -1;) {
        if (letter == '?') refuse(2, usage);
        for (const auto& one : flags)
            if (one.letter == letter) s.*one.flag = true;
        for (const auto& one : texts)
            if (one.letter == letter) s.*one.text = optarg;
        if (letter == 'm') s.mask = static_cast<int>(number(optarg, 0, 3, 6));
        if (letter == 'R') s.restart_delay = number(optarg, 1, 31536000, 2);
        if (letter == 'C') s.restart_count = number(optarg, 0, 1000000, 2);
        if (letter == 's') s.priority = named(prioritynames, optarg, 4);
        if (letter == 'l') s.facility = named(facilitynames, optarg, 5);
    }
    s.command.assign(argv + optind, argv + argc);
    if (s.command.empty()) refuse(2, usage);
    for (std::string* path : {&s.child_pidfile, &s.output}) {  // meant from here, not from -c
        char here[4096];
        if (!path->empty() && (*path)[0] != '/' && getcwd(here, sizeof here) != nullptr)
            *path = std::string(here) + "/" + *path;
    }
}

// What ps shows. The words of the command line stand one behind the other and are ours to write.
void set_title(int argc, char** argv) {
    if (settings.title.empty()) return;
    const char* const end = argv[argc - 1] + std::strlen(argv[argc - 1]);
    const std::size_t room = static_cast<std::size_t>(end - argv[0]);
    std::memset(argv[0], 0, room);
    settings.title.copy(argv[0], room - 1);
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

// As daemon(8) does, with 0600; what it leads to is looked at when it is opened.
bool make_output() {
    const int how = O_WRONLY | O_APPEND | O_NOCTTY | O_NONBLOCK | O_CLOEXEC;
    int fd = open(settings.output.c_str(), how | O_CREAT | O_EXCL, 0600);
    if (fd < 0 && errno == EEXIST) fd = open(settings.output.c_str(), how);
    return fd >= 0 && close(fd) == 0;
}

class Supervisor {
public:
    Supervisor(DaemonContext& daemon, daemonize::SignalHandler& signals)
        : daemon_(daemon), signals_(signals) {}

    int run() {
        signals_.on(SIGCHLD, [](int) {});  // wakes the loops below, which ask waitpid()
        signals_.reload = [this](int) {
            daemonize::Error error;
            if (!settings.rotates) return;
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
        std::string text;
        char piece[256];
        for (;;) {
            const ssize_t n = read(fd, piece, sizeof piece);
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) return text;
            text.append(piece, static_cast<std::size_t>(n));
        }
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
    std::string line_;
    bool ending_ = false, is_ready_ = false;
};

int status_of(const daemonize::Error& error) {
    return error.code == errc::already_running || error.code == errc::unproven_holder ? 3 : 2;
}

int supervise(DaemonContext& daemon) {
    daemonize::PidFile child_pidfile(settings.child_pidfile);
    daemonize::Error error, unread;
    if (!settings.child_pidfile.empty() && !child_pidfile.acquire(Duration(0), error)) {
        // Another supervisor's file is locked by it and names its child: no proven holder.
        const std::string child = std::to_string(child_pidfile.read(unread));
        if (error.code == errc::unproven_holder)
            error.text =
                "cannot lock '" + child_pidfile.path() + "': already running as process " + child;
        daemon.fail(error.text, status_of(error));
    }
    if (settings.to_syslog) openlog(settings.tag.c_str(), LOG_NDELAY, settings.facility);
    daemonize::SignalHandler signals(daemon);
    const int code = Supervisor(daemon, signals).run();
    remove_child_pidfile();
    return code;
}

}  // namespace

int main(int argc, char** argv) {
    parse(argc, argv);
    set_title(argc, argv);
    const mode_t mask = umask(022);
    umask(mask);
    DaemonContext context;
    context.program_name = "daemon";
    context.pidfile = settings.supervisor_pidfile;
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
    daemonize::PidFile trial(settings.supervisor_pidfile);
    if (!settings.supervisor_pidfile.empty() && !trial.acquire(Duration(0), error))
        refuse(status_of(error), error.text);
    trial.release();
    if (!settings.output.empty() && !make_output())
        refuse(7, "cannot open '" + settings.output + "': " + std::strerror(errno));
    context.open();
    return supervise(context);
}
