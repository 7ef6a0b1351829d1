// >>version ---------------------------------------------------------------------------------------
#ifndef DAEMONIZE_HPP
#define DAEMONIZE_HPP

#define DAEMONIZE_VERSION_MAJOR 1
#define DAEMONIZE_VERSION_MINOR 0
#define DAEMONIZE_VERSION_PATCH 0
#define DAEMONIZE_VERSION 10000  // MAJOR * 10000 + MINOR * 100 + PATCH

#include <chrono>        // time limits
#include <cstddef>       // nullptr_t: a null pointer is no path and no name
#include <cstdint>       // intptr_t: a descriptor or a HANDLE
#include <functional>    // callbacks
#include <string>        // paths, texts and payload, always UTF-8
#include <system_error>  // error_code, and the base of DaemonError
#include <utility>       // pair
#include <vector>        // lists among the options

// >>api -------------------------------------------------------------------------------------------
namespace daemonize {

// ---- Values -------------------------------------------------------------------------------------

using Duration = std::chrono::milliseconds;     // a limit; negative counts as zero
constexpr Duration no_limit = Duration::max();  // wait for ever

enum class Role {
    launcher,    // typed `start`: waits for the daemon, reports, leaves
    daemon,      // goes on, detached
    foreground,  // goes on where it was: asked for, or under a manager that would lose a fork
};

// Whether to detach. automatic: by evidence of where the program was started from; see explain().
enum class Detach { automatic, yes, no };

enum StreamChoice { null_stream, keep_stream };

// Where a standard stream of the daemon leads: to a file (appended), to an open descriptor, to
// nothing, or where it led before. Applied only when detached: in the foreground the streams stay
// as they are. Source: PEP 3143 (stdin, stdout, stderr).
class Stream {
public:
    Stream(StreamChoice choice = null_stream) : choice_(choice) {}
    Stream(const char* path) : path_(path), choice_(path_choice) {}         // "": invalid_option
    Stream(const std::string& path) : path_(path), choice_(path_choice) {}  // made absolute
    Stream(std::nullptr_t) = delete;                                        // say null_stream
    static Stream descriptor(int open_descriptor);     // [unix] duplicated by the start
    static Stream truncated(const std::string& path);  // emptied, once the start has the lock

    enum Choice { null_choice = null_stream, keep_choice = keep_stream, path_choice, number_choice };
    Choice choice() const noexcept { return static_cast<Choice>(choice_); }
    const std::string& path() const noexcept { return path_; }
    int descriptor() const noexcept { return descriptor_; }
    bool truncates() const noexcept { return truncates_; }

private:
    std::string path_;
    int choice_ = null_choice, descriptor_ = -1;
    bool truncates_ = false;
};

// A user or a group: unset, a number (0 is one), or a name; digits that name nobody are a number.
class Account {
public:
    Account() {}
    Account(int id) : id_(id), is_set_(true) {}       // negative: refused by the start, invalid_option
    Account(unsigned id) : id_(id), is_set_(true) {}  // uid_t, gid_t
    Account(const char* name) : name_(name), is_set_(true) {}  // resolved by the start, or
    Account(const std::string& name) : name_(name), is_set_(true) {}  // unknown_account
    Account(std::nullptr_t) = delete;

    bool is_set() const noexcept { return is_set_; }
    const std::string& name() const noexcept { return name_; }
    std::int64_t id() const noexcept { return id_; }

private:
    std::string name_;
    std::int64_t id_ = -1;
    bool is_set_ = false;
};

// ---- Errors -------------------------------------------------------------------------------------
// A call that can fail has two forms: f(..., Error&) does the work and throws nothing; f(...)
// throws DaemonError (without exceptions: prints it and ends the program with status 1).

enum class errc {
    already_running = 1,  // another process holds the PID file; the text names it
    not_running,          // nobody holds the PID file
    untrusted_pid_file,   // a symlink, a FIFO, a second link, or others could write it
    invalid_pid_file,     // held, but what stands in it is no PID
    unproven_holder,      // locked, but not provably by a daemon whose PID stands in it
    invalid_option,       // a value that cannot be meant, or two options that exclude each other
    unsupported,          // this system has no such thing; the text names the option
    unknown_account,      // no such user or group
    unknown_signal,       // no such number, or one that cannot be caught or sent
    threads_running,      // forking would lose the other threads; see allow_threads
    start_failed,         // the daemon said fail(), or ended before ready(); the text has its words
    timed_out,            // not ready, not acquired, not ended in time
    drop_incomplete,      // privileges could still be regained: the daemon refused to go on
};
const std::error_category& category() noexcept;
std::error_code make_error_code(errc condition) noexcept;

// What went wrong: a code to compare, and a line to print (step, object, cause).
struct Error {
    std::error_code code;  // ours, or the system's own errno / GetLastError value
    std::string text;      // "cannot lock '/run/a.pid': already running as process 4711"
    explicit operator bool() const noexcept { return static_cast<bool>(code); }
};

// An Error as an exception; what() is its text.
class DaemonError : public std::system_error {
public:
    explicit DaemonError(const Error& error);
    const char* what() const noexcept override { return text_.what(); }

private:
    std::runtime_error text_;  // copied without throwing, unlike a string
};

// ---- PID file -----------------------------------------------------------------------------------

namespace detail {
struct Held;
struct Session;
struct Watch;
}  // namespace detail

// A PID file by itself, for a program that only wants to be alone (DaemonContext has its own).
// What counts is the lock, which ends with the process however that ends; the number is for
// people. One object from one thread. Source: pidfile(3), flock(2).
class PidFile {
public:
    explicit PidFile(const std::string& path, int mode = 0644);  // touches nothing
    PidFile(PidFile&& other) noexcept;
    PidFile& operator=(PidFile&& other) noexcept;
    PidFile(const PidFile&) = delete;
    PidFile& operator=(const PidFile&) = delete;
    ~PidFile();  // release(), in the process that acquired it

    // Locks, then writes "PID\n". A lock of a proven daemon is waited for until `limit`; zero is one
    // try. already_running, untrusted_pid_file, unproven_holder, timed_out, or the system's.
    void acquire(Duration limit = Duration(0));
    bool acquire(Duration limit, Error& error) noexcept;
    void release() noexcept;          // removes it if it is still ours, then unlocks
    bool is_held() const noexcept;    // by this object, in this process
    long read() const;                // the number inside, whoever wrote it: invalid_pid_file
    long read(Error& error) const noexcept;             // 0: failed
    const std::string& path() const noexcept;           // absolute, as of the constructor

    // Where the PID file of `program` belongs: /run (else /var/run) for root, else the user's own
    // place ($XDG_STATE_HOME, ~/.local/state, %LOCALAPPDATA%), made with mode 0700 and refused
    // unless it is the user's own. Never /tmp. Also for the field DaemonContext::pidfile.
    static std::string default_path(const std::string& program);
    static std::string default_path(const std::string& program, Error& error) noexcept;

private:
    detail::Held* held_;
};

// ---- Signals ------------------------------------------------------------------------------------

constexpr int no_signal = 0;
extern const int signal_reload;  // SIGHUP; 12 on Windows, which has none

enum SignalAction {
    report_signal,     // wait(), wait_for(), poll() return its number
    ignore_signal,     // dropped
    default_signal,    // left to the system
    terminate_signal,  // the PID file is removed, then the system's default ends the process
};

// What a signal does: an action, or a callback that runs in the waiting thread.
class Handler {
public:
    Handler(SignalAction action = report_signal) : action_(action) {}
    template <class F>
    Handler(F callback) : callback_(callback) {}
    Handler(std::nullptr_t) = delete;

    SignalAction action() const noexcept { return action_; }
    const std::function<void(int signum)>& callback() const noexcept { return callback_; }

private:
    SignalAction action_ = report_signal;
    std::function<void(int signum)> callback_;
};

// What throw_received() throws. No std::exception: who catches those to log a failed request must
// not swallow the order to end (as BaseException in Python's daemoniker). control() takes it for an
// orderly end with status 128+n.
class ReceivedSignal {
public:
    explicit ReceivedSignal(int signum) noexcept : signum_(signum) {}
    virtual ~ReceivedSignal();
    operator int() const noexcept { return signum_; }

private:
    int signum_;
};
struct ReceivedSIGINT : ReceivedSignal { ReceivedSIGINT() noexcept; };
struct ReceivedSIGTERM : ReceivedSignal { ReceivedSIGTERM() noexcept; };
struct ReceivedSIGABRT : ReceivedSignal { ReceivedSIGABRT() noexcept; };

class DaemonContext;

// Brings signals into normal context: the asynchronous part counts and writes one byte; callbacks
// run inside wait...(), poll(), throw_received(), in the thread that calls them. Made before or
// after the start of a daemon. No thread of its own on Unix. Equal signals may be counted together
// while they are pending; the last one is never lost. Source: daemoniker's SignalHandler1.
class SignalHandler {
public:
    SignalHandler();                        // of a program without a context
    explicit SignalHandler(DaemonContext& context);  // also runs the callbacks of its signal_map
    SignalHandler(const SignalHandler&) = delete;
    SignalHandler& operator=(const SignalHandler&) = delete;
    ~SignalHandler();                       // stop()

    Handler sigint, sigterm, sigabrt;       // assignable at any time by the waiting thread
    Handler reload;                         // of signal_reload: default_signal; under control()
                                            // reopen_streams()

    // Any other signal. unknown_signal: SIGKILL, SIGSTOP, a program error (SIGSEGV, SIGBUS, SIGFPE,
    // SIGILL, SIGTRAP, SIGSYS), one of the C library's own, or no such number.
    void on(int signum, Handler handler);
    bool on(int signum, Handler handler, Error& error) noexcept;

    void start();                           // idempotent. invalid_option: another SignalHandler has it
    bool start(Error& error) noexcept;
    void stop() noexcept;                   // idempotent; restores what was there, if it is still ours

    int wait();                             // until a signal with report_signal comes: its number
    int wait_for(Duration limit);           // or no_signal; a callback does not end the wait
    template <class Clock, class D>
    int wait_until(std::chrono::time_point<Clock, D> time) {
        // Looked at again after each round: a clock that was set meanwhile counts as it stands.
        for (;;) {
            const auto left = std::chrono::duration_cast<Duration>(time - Clock::now());
            const Duration round = left < Duration(0) ? Duration(0) : left + Duration(1);
            const int signum = wait_for(round < Duration(1000) ? round : Duration(1000));
            if (signum != no_signal || Clock::now() >= time) return signum;
        }
    }
    // Until a signal comes, or no_signal: the handle has input (or an end of file), or time is over.
    // No gap, unlike poll() before a blocking call. A descriptor; on Windows a waitable HANDLE.
    int wait_for_input(std::intptr_t handle, Duration limit = no_limit);
    int poll();                             // wait_for() of zero
    void throw_received(Duration limit = Duration(0));  // wait_for() that throws ReceivedSignal
    std::intptr_t native_handle() const noexcept;  // descriptor or HANDLE; when it is ready, poll()

private:
    detail::Watch* watch_;
};

// ---- The daemon ---------------------------------------------------------------------------------

// How this program becomes a daemon: set the fields, start it. Names and meaning as in PEP 3143
// where it has them. Relative paths are meant from the caller's directory. [unix], [windows]: set
// elsewhere it is errc::unsupported. One object from one thread; one daemon in a process.
class DaemonContext {
public:
    std::string pidfile;                // "": none, thus no single instance, send() or stop()
    int pidfile_mode = 0644;            // [unix] of a file that the start creates, whatever the umask
    std::string working_directory;      // "": "/", on Windows %SystemRoot%; ".": stay
    std::string chroot_directory;       // [unix] working_directory is then inside it
    Stream standard_input, standard_output, standard_error;
    int umask = -1;                     // [unix] -1: 027
    Account uid, gid;                   // [unix] uid alone: with the primary group of that user
    bool initgroups = true;             // [unix] with the supplementary groups of uid; false: none
    bool no_new_privs = false;          // [linux] exec of a set-uid program gains nothing
    bool prevent_core = true;           // no core files; on Windows no error boxes
    Detach detach_process = Detach::automatic;
    std::vector<int> files_preserve;    // [unix] every other descriptor is closed
    std::vector<std::pair<int, Handler>> signal_map;  // = {{SIGUSR1, ignore_signal}}; beside the
                                        // built-in: SIGTTIN, SIGTTOU, SIGTSTP, SIGHUP ignored, SIGTERM
                                        // and SIGINT terminate_signal. Callbacks: by a SignalHandler
    bool clear_environment = false;     // but for environment_keep
    std::vector<std::string> environment_keep;
    std::function<void(DaemonContext&)> privileged;  // last act as root: bind ports, they stay open
    std::string payload;                // bytes; in the daemon those that the launcher had
    std::string program_name;           // in messages; "": as the system knows it
    bool replace_arguments = false;     // [windows] the relaunch gets `arguments`, not our own
    std::vector<std::string> arguments;
    bool ready_by_hand = false;         // started only when ready() is said; control() implies it
    Duration ready_timeout = std::chrono::seconds(30);  // no_limit or 0: none
    Duration stop_timeout = std::chrono::seconds(10);   // of control(): then SIGKILL
    bool allow_threads = false;         // [unix] other threads vanish; else threads_running

    DaemonContext();
    DaemonContext(DaemonContext&& other) noexcept;  // before the start only
    DaemonContext(const DaemonContext&) = delete;
    DaemonContext& operator=(const DaemonContext&) = delete;
    ~DaemonContext();                   // close()

    // Returns in the daemon only (or the foreground). The launcher leaves by _exit: with 0 when the
    // daemon is ready, else with one line on stderr and the daemon's status. Open already: nothing
    // happens (PEP 3143). Where it cannot even begin it prints its line and leaves with status 1.
    void open();
    // Returns in the launcher as well, with the daemon ready or with the error, and prints nothing.
    // Look at the role! With an error the role is the launcher's, and the caller is as it was.
    Role start();
    Role start(Error& error) noexcept;

    void ready() noexcept;              // ends the start. Does not return if the launcher is gone
    // Ends a start that failed: text and status become the launcher's. Later: text into the log.
    [[noreturn]] void fail(const std::string& message, int exit_code = 1) noexcept;
    void close() noexcept;              // removes the PID file and nothing else (PEP 3143)
    // For sigaction(): removes the PID file, then the default action of the signal ends the process.
    // Async-signal-safe. Source: PEP 3143 (terminate).
    static void terminate(int signum) noexcept;

    bool is_open() const noexcept;      // in this process, not in a fork of it
    bool is_parent() const noexcept;    // the kept launcher, after a start (daemoniker)
    Role role() const noexcept;         // launcher before the start
    long pid() const noexcept;          // the daemon's, in launcher and daemon; 0 before the start
    void reopen_streams();              // after a rotation, by path; each is swapped in one step
    bool reopen_streams(Error& error) noexcept;  // the first that failed; it keeps its old file
    std::string explain() const;        // detach or not, by which evidence; ids, paths, fallbacks

private:
    detail::Session* session_;
    friend struct detail::Session;
};

// Is this before the start? On Windows main() runs again in the daemon: ask before one-time work.
bool is_setup() noexcept;

// ---- From any process, any thread -----------------------------------------------------------------

// To the proven holder of the PID file, never to a stranger. not_running, unknown_signal (also 0:
// ask status()), invalid_pid_file, unproven_holder, untrusted_pid_file, or the system's, such as
// std::errc::operation_not_permitted. On Windows 2 to 31.
void send(const std::string& pidfile, int signum);
bool send(const std::string& pidfile, int signum, Error& error) noexcept;

// Of a daemon, with the numbers of LSB. dead: it left its file behind.
enum class State { running = 0, dead = 1, not_running = 3, unknown = 4 };
struct Status {
    State state;
    long pid;          // 0 unless running
    Duration uptime;   // since the process began; 0 where the system does not tell
    std::string text;  // one line; for unknown the reason
};
Status status(const std::string& pidfile) noexcept;  // changes nothing

// What stop() did. It sends SIGTERM and returns when the process is gone and its lock is free; after
// `limit` it sends SIGKILL (no_limit: never). The daemon's children are not touched.
enum class Stopped { not_running, ended, killed, failed };
Stopped stop(const std::string& pidfile, Duration limit = std::chrono::seconds(10));
Stopped stop(const std::string& pidfile, Duration limit, Error& error) noexcept;

// The main() of a service. argv[1]: start, stop, restart, reload, status, run, --help; the rest is
// the program's. `body` runs in the daemon and calls ready(), else the start fails. Prints; returns
// the exit status: start 0, the daemon's own, 1 refused, 124 not ready in time; stop 0 also when not
// running, 1, 4 not permitted; reload 0, 4, 7 not running; status as State; 2 usage, 3 unsupported.
int control(int argc, char** argv, DaemonContext& context,
            const std::function<int(DaemonContext&)>& body);

// ---- Service manager: sd_notify(3); without a manager nothing happens ---------------------------

bool notify(const std::string& assignments) noexcept;  // "STATUS=..."; false: nobody was told
Duration watchdog_interval() noexcept;                 // half of what it allows; no_limit: none

}  // namespace daemonize

namespace std {
template <>
struct is_error_code_enum<daemonize::errc> : true_type {};
}  // namespace std

#endif  // DAEMONIZE_HPP: end of the declarations
