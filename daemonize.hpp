// daemonize.hpp 1.0.0: turns any program into a well-behaved daemon, on Unix and on Windows.
// One C++11 header; needs nothing but the standard library. MIT licence: its text is at the end.
//
// QUICK START
//
//     #define DAEMONIZE_IMPLEMENTATION           // in exactly one .cpp
//     #include "daemonize.hpp"
//
//     int main(int argc, char** argv) {          // ticker start | stop | reload | ...
//         daemonize::DaemonContext context;
//         context.pidfile = "/run/ticker.pid";
//         context.standard_output = "/var/log/ticker.log";
//         return daemonize::control(argc, argv, context, [](daemonize::DaemonContext& daemon) {
//             daemonize::SignalHandler signals(daemon);
//             signals.start();
//             daemon.ready();                    // only now does `start` return 0
//             while (signals.wait_for(std::chrono::seconds(1)) == daemonize::no_signal) tick();
//             return 0;
//         });
//     }
//
// MAP (search for the mark)
//
//     >>version         numbers, includes
//     >>api             what you use: all that there is to read
//     >>implementation  only where DAEMONIZE_IMPLEMENTATION is defined
//     >>os              what the core asks of an operating system
//     >>pure            texts and rules without any system call
//     >>core            the public classes, in those terms
//     >>posix           Linux, macOS, the BSDs
//     >>windows         Windows
//     >>end             changelog, licence
//
// OPTIONS (none changes a class or a declaration)
//
//     DAEMONIZE_IMPLEMENTATION    in exactly one .cpp, before the #include: the functions' bodies.
//     The rest count in that file only; each has a default that fits the system:
//     DAEMONIZE_GENERIC_POSIX     defined: no Linux-only call is used, as on any other Unix.
//     DAEMONIZE_HAVE_x 0          does without x: PIDFD, CLOSE_RANGE, PRCTL (subreaper, dumpable,
//                                 no_new_privs), VFORK, RECORD_LOCK, PROCFS, KINFO, SETRESUID,
//                                 PIPE2, CLOSEFROM, GETPROGNAME. A kernel that refuses one at run
//                                 time is served without any of this.
//
// GUARANTEES
//
//  1. Status 0 of the launcher: at the moment of ready() the daemon ran, detached, held its PID
//     file and had written it completely. Anything else is not 0, with one line on stderr:
//     program, step, object, cause.
//  2. A daemon that ends before ready() is noticed at once; its status becomes the launcher's
//     (its code; 128+n for signal n; 1 where that was 0; 124 at ready_timeout). Nothing of a
//     failed start is left: no process of its group, no PID file, no temporary file.
//  3. What counts is the lock on the PID file, never the number in it: a file left by a crash
//     blocks nobody, and of any number of starts at once exactly one succeeds. A refused start
//     changes nothing, not even a time stamp.
//  4. Nobody is signalled but the process that provably holds the file: never a stranger that has
//     its number now, never PID 1 or 0, never a group.
//  5. Handlers run in normal context, in the thread that waits. No signal that was asked for is
//     lost; equal ones may be counted together while they are pending. Order between different
//     ones is not promised.
//  6. Paths are meant from where the caller stood. Buffered text appears once. Destructors and
//     atexit handlers run once, in the daemon.
//  7. Pipes and terminals of the caller get their end of file when the launcher ends.
//  8. A drop of privileges is complete (groups, real, effective and saved ids) or the start
//     fails.
//  9. stop() returns when the process is gone and the lock is free, and says what it did.
//
// What it cannot promise:
//
//  a. Whoever deletes the PID file of a living daemon opens the way to a second one.
//  b. Any user who may read the PID file can delay a start by up to a second with a lock of his
//     own (pidfile_mode 0600 closes that).
//  c. Code in the daemon that opens and closes the daemon's own PID file drops the proof that
//     send() and stop() ask for (a POSIX rule of record locks). ready(), wait(), wait_for() and
//     poll() renew it; until then they refuse, and say so.
//  d. Without Linux's record locks (macOS, BSD) the proof is weaker: the lock is held and the
//     number was read twice the same. A process that is not the daemon could hold the lock. On
//     Windows one could that has the file open to write and lets nobody else write.
//  e. A child that the daemon starts before ready() inherits the launcher's stderr, and one that
//     moves to a group or session of its own before ready() is not found when the start fails.
//  f. Ctrl-C ends a waiting launcher; a daemon whose ready() then finds nobody ends itself, and
//     until its initialisation is over it keeps lock and file. A launcher killed between the
//     daemon's ready and its own end leaves a running daemon.
//  g. The session's cgroup is kept: logind with KillUserProcesses ends the daemon at logout (use
//     lingering, or a user unit). Under a service manager or in a container the answer is `run`.
//  h. macOS: fork without exec is unsafe once Foundation or libdispatch was used: open() first
//     in main(). epoll and kqueue descriptors made before the start are dead or shared after it.
//  i. Type=forking WITHOUT PIDFile= cannot be told from Type=simple: name PIDFile= in the unit,
//     or set detach_process to Detach::yes.
//  j. Memory that runs out ends the program.
//  k. The PID file goes when the context is closed or destroyed, the process a little later: what
//     runs in between (static destructors, atexit) can meet a daemon that somebody else starts.
//     stop() and restart wait for the process itself.
//
// WHAT DIFFERS
//
// |                      | Linux              | macOS, BSD, other Unix | Windows                |
// |----------------------|--------------------|------------------------|------------------------|
// | the daemon is        | a fork of a fork   | the same               | itself, started again  |
// | code before start    | runs once          | runs once              | runs in both           |
// | the PID file names   | the daemon         | the daemon             | one that stands for it |
// | holder is proven by  | record lock, pidfd | flock, number          | share mode, parent     |
// | SIGHUP               | SIGHUP             | SIGHUP                 | none: 12 is reload     |
// | umask, ids, chroot   | yes                | yes                    | error: unsupported     |
// | signals come by      | sigaction          | sigaction              | the end of that one    |
// | other threads        | refused            | refused where told (1) | no matter              |
// | helper processes     | none               | none                   | two, which never run   |
// | uptime in status()   | yes                | where told (1)         | yes                    |
// | tried                | yes                | compiled; generic path | under wine only        |
// |                      |                    | tried on Linux         |                        |
//
// (1) macOS and FreeBSD tell it.

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

using Duration = std::chrono::milliseconds;       // a limit; negative counts as zero
constexpr Duration no_limit = (Duration::max)();  // wait for ever; (max): it may be a macro

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

    enum Choice {
        null_choice = null_stream,
        keep_choice = keep_stream,
        path_choice,
        number_choice
    };
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
    Account(int id) : id_(id), is_set_(true) {}  // negative: refused by the start, invalid_option
    Account(unsigned id) : id_(id), is_set_(true) {}                  // uid_t, gid_t
    Account(const char* name) : name_(name), is_set_(true) {}         // resolved by the start, or
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

    // Locks, then writes "PID\n". A lock of a proven daemon is waited for until `limit`, zero: not
    // at all; one that nobody proves (a query's, a reader's, a start's) for at least a second.
    // Held already: true. already_running, untrusted_pid_file, unproven_holder, timed_out,
    // invalid_option (a path or mode that cannot be meant), or the system's: the file cannot be
    // made or written (no such directory, disk full), or its file system knows no locks.
    void acquire(Duration limit = Duration(0));
    bool acquire(Duration limit, Error& error) noexcept;
    // Removes it if it is still ours, then unlocks. Not held, or a fork of the process that holds
    // it: nothing happens.
    void release() noexcept;
    bool is_held() const noexcept;  // by this object, in this process
    // The number inside, whoever wrote it, locked or not: for people, never to be signalled (see
    // send()). Changes nothing, never blocks. invalid_pid_file, untrusted_pid_file, or the
    // system's: std::errc::no_such_file_or_directory, ... The form with Error&: 0 for these.
    long read() const;
    long read(Error& error) const noexcept;
    const std::string& path() const noexcept;  // absolute, as of the constructor

    // Where the PID file of `program` belongs: /run (else /var/run) for root, else the user's own
    // place ($XDG_STATE_HOME, ~/.local/state, %LOCALAPPDATA%), made with mode 0700 and refused
    // unless it is the user's own. Never /tmp. Also for the field DaemonContext::pidfile.
    // invalid_option (`program` is no file name), untrusted_pid_file (others may write there),
    // unknown_account (no home directory). Source: FHS 3.0, XDG Base Directory Specification.
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
    Handler(void (*function)(int signum));  // also SIG_IGN and SIG_DFL
    template <class F>
    Handler(F function) : callback_(function) {}
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
struct ReceivedSIGINT : ReceivedSignal {
    ReceivedSIGINT() noexcept;
};
struct ReceivedSIGTERM : ReceivedSignal {
    ReceivedSIGTERM() noexcept;
};
struct ReceivedSIGABRT : ReceivedSignal {
    ReceivedSIGABRT() noexcept;
};

class DaemonContext;

// Brings signals into normal context: the asynchronous part counts and writes one byte; callbacks
// run inside wait...(), poll(), throw_received(), in the thread that calls them. Made before or
// after the start of a daemon. No thread of its own on Unix. Equal signals may be counted together
// while they are pending; the last one is never lost. Source: daemoniker's SignalHandler1.
class SignalHandler {
public:
    SignalHandler();                                 // of a program without a context
    explicit SignalHandler(DaemonContext& context);  // also runs the callbacks of its signal_map
    SignalHandler(const SignalHandler&) = delete;
    SignalHandler& operator=(const SignalHandler&) = delete;
    ~SignalHandler();  // stop()

    Handler sigint, sigterm, sigabrt;  // assignable at any time by the waiting thread
    Handler reload;                    // of signal_reload: default_signal; under control()
                                       // reopen_streams()

    // Any other signal (of the four above it sets the field). At any time, also from a callback; it
    // counts from the next wait on, with start() done at once. unknown_signal: SIGKILL, SIGSTOP, a
    // program error (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS), one of the C library's own,
    // or no such number.
    void on(int signum, Handler handler);
    bool on(int signum, Handler handler, Error& error) noexcept;

    // From here on the signals are ours. Idempotent. invalid_option: another SignalHandler has one
    // of them; or the system's (no descriptors left): then nothing is taken.
    void start();
    bool start(Error& error) noexcept;
    // Idempotent; restores what was there, if it is still ours. Drops what was not waited for, but
    // for signal_map's callbacks, which the next SignalHandler runs. Also from a callback: the wait
    // that runs it then returns.
    void stop() noexcept;

    // The waits run the callbacks of what has come, and return the number of a signal that is to
    // be reported; wait_for() and those below return no_signal when the limit is over. A callback
    // does not end a wait; its exception leaves it, and the next wait goes on with what is left.
    // DaemonError, invalid_option: start() was not called. They also renew the proof on the
    // daemon's PID file (see the guarantees) and feed the service manager's watchdog.
    int wait();
    int wait_for(Duration limit);
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
    // Until a signal comes, or no_signal: the handle has input (or an end of file), or time is
    // over. No gap, unlike poll() before a blocking call. A descriptor; on Windows a waitable
    // HANDLE.
    int wait_for_input(std::intptr_t handle, Duration limit = no_limit);
    int poll();  // wait_for() of zero
    // wait_for() that throws a signal instead of returning it: ReceivedSIGINT, ReceivedSIGTERM,
    // ReceivedSIGABRT or ReceivedSignal. Without exceptions it ends the program with 128+n.
    void throw_received(Duration limit = Duration(0));
    // For an event loop of your own: a descriptor to poll for input, on Windows a HANDLE to wait
    // for. When it is ready call poll(), and nothing else with it. -1 unless started.
    std::intptr_t native_handle() const noexcept;

private:
    detail::Watch* watch_;
};

// ---- The daemon ---------------------------------------------------------------------------------

// The options: names and meaning as in PEP 3143 where it has them. Relative paths are meant from
// the caller's directory. [unix], [windows]: set elsewhere it is errc::unsupported.
struct DaemonOptions {
    // "": none, thus no single instance, send() or stop(). See PidFile::default_path().
    std::string pidfile;
    int pidfile_mode = 0644;  // [unix] of a file that the start creates, whatever the umask

    // "": "/", on Windows %SystemRoot%; ".": stay. In the foreground "" is to stay, too.
    std::string working_directory;
    std::string chroot_directory;  // [unix] working_directory is then inside it. Needs root

    // In the foreground they stay as they are. standard_error is the launcher's until ready().
    Stream standard_input, standard_output, standard_error;

    int umask = -1;  // [unix] -1: 027

    // [unix] Who the daemon is in the end. uid alone: with the primary group of that user, who must
    // then have a passwd entry; gid alone drops the supplementary groups. Needs root, unless this
    // process is that user already.
    Account uid, gid;
    bool initgroups = true;     // with the supplementary groups of uid; false: none
    bool no_new_privs = false;  // [linux] exec of a set-uid program gains nothing
    bool prevent_core = true;   // no core files, no ptrace; on Windows no error boxes

    Detach detach_process = Detach::automatic;  // "run" of control() is always Detach::no
    std::vector<int> files_preserve;            // [unix] every other descriptor is closed

    // = {{SIGUSR1, ignore_signal}}. Beside the built-in: SIGTTIN, SIGTTOU, SIGTSTP and SIGHUP are
    // ignored, SIGTERM and SIGINT are terminate_signal. Callbacks run in a SignalHandler's waits.
    std::vector<std::pair<int, Handler>> signal_map;

    bool clear_environment = false;  // but for environment_keep
    std::vector<std::string> environment_keep;

    // The last act as root: bind ports; what it opens stays open. An exception of it, or fail(),
    // ends the start. Runs in the daemon, whose standard error is still the launcher's.
    std::function<void(DaemonContext&)> privileged;

    std::string payload;       // bytes; in the daemon those that the launcher had
    std::string program_name;  // in messages; "": as the system knows it

    // [windows] The daemon leaves the job that its caller is in (a terminal's, an IDE's, a CI's), if
    // that lets go; else it ends with the job, which the launcher says. true: such a start is
    // refused.
    bool must_leave_job = false;
    bool replace_arguments = false;  // [windows] the relaunch gets `arguments`, not our own
    std::vector<std::string> arguments;

    bool ready_by_hand = false;  // started only when ready() is said; control() implies it
    Duration ready_timeout = std::chrono::seconds(30);  // no_limit or 0: none. Then SIGKILL, 124
    Duration stop_timeout = std::chrono::seconds(10);   // of control(): then SIGKILL

    // [unix] A fork has only the thread that made it: what others held locked stays locked, so
    // that nothing but async-signal-safe functions is safe in the daemon. Else threads_running.
    bool allow_threads = false;
};

// How this program becomes a daemon: set the fields, start it. The start changes none of them. One
// object from one thread; one daemon in a process.
class DaemonContext : public DaemonOptions {
public:
    DaemonContext();
    DaemonContext(DaemonContext&& other) noexcept;  // before the start only
    DaemonContext(const DaemonContext&) = delete;
    DaemonContext& operator=(const DaemonContext&) = delete;
    ~DaemonContext();  // close()

    // For main(), before other threads and before one-time work of its own (see is_setup()).
    // Returns in the daemon only (or the foreground). The launcher leaves by _exit: with 0 when the
    // daemon is ready, else with one line on stderr and the daemon's status. Open already: nothing
    // happens (PEP 3143). Where it cannot even begin it prints its line and leaves with status 1.
    void open();
    // Returns in the launcher as well, with the daemon ready or with the error, and prints nothing.
    // Look at the role! With an error the role is the launcher's, and the caller is as it was; but
    // in the foreground, where there is no other process, what was changed by then stays changed.
    // Before anything is done: invalid_option, unsupported, unknown_account, threads_running. The
    // PID file: those of PidFile::acquire(). The daemon: start_failed, timed_out, drop_incomplete.
    // Or the system's, where a step of it failed; the text names step and object.
    Role start();
    Role start(Error& error) noexcept;

    // In the daemon: ends the start, puts the log in the place of the launcher's standard error and
    // tells the launcher, or the service manager. Does not return if the launcher is gone: a daemon
    // that nobody knows of ends itself. Once; before and after that nothing happens.
    void ready() noexcept;
    // Ends a start that failed: text and status become the launcher's, the text also the log's if
    // that is open by then (a drop opens some logs only after the privileged hook). Later: the text
    // goes into the log, and the program ends by exit(). A status of 0 (mod 256) becomes 1.
    [[noreturn]] void fail(const std::string& message, int exit_code = 1) noexcept;
    // Removes the PID file and nothing else; the destructor does it too. Descriptors, streams and
    // ids stay (PEP 3143). In a fork of the daemon nothing is removed. Any number of times.
    void close() noexcept;
    // For sigaction(): removes the PID file, then the default action of the signal ends the
    // process. Async-signal-safe. Source: PEP 3143 (terminate).
    static void terminate(int signum) noexcept;

    bool is_open() const noexcept;    // in this process, not in a fork of it
    bool is_parent() const noexcept;  // the kept launcher, after a start (daemoniker)
    Role role() const noexcept;       // launcher before the start
    long pid() const noexcept;        // the daemon's, in launcher and daemon; 0 before the start
    // After a rotation: opens both logs anew by path, as the user that the daemon is now, each
    // swapped in one step. A stream that fails keeps its old file: the system's error of the first,
    // or unsupported (its path is outside the jail). Streams that are no paths, and those of the
    // foreground, are left alone.
    void reopen_streams();
    bool reopen_streams(Error& error) noexcept;
    // At any time, one "what: value" a line: detach or not, by which evidence; ids, paths, and
    // which fallbacks were taken.
    std::string explain() const;

private:
    detail::Session* session_;
    friend struct detail::Session;
};

// Is this before the start? On Windows main() runs again in the daemon: ask before one-time work.
bool is_setup() noexcept;

// ---- From any process, any thread ---------------------------------------------------------------

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

// What stop() did. It sends SIGTERM and returns when the process is gone and its lock is free;
// after `limit` it sends SIGKILL (no_limit: never). The daemon's children are not touched. Errors
// as of send(), but not_running is a result; invalid_option: it is this process, or an ancestor of
// it; timed_out: it does not even end by SIGKILL.
enum class Stopped { not_running, ended, killed, failed };
Stopped stop(const std::string& pidfile, Duration limit = std::chrono::seconds(10));
Stopped stop(const std::string& pidfile, Duration limit, Error& error) noexcept;

// The main() of a service. argv[1]: start, stop, restart, reload, status, run, --help; the rest is
// the program's. `body` runs in the daemon and calls ready(), else the start fails. Prints; returns
// the exit status: start 0, the daemon's own, 1 refused, 124 not ready in time; stop 0 also when
// not running, 1, 4 not permitted; reload 0, 4, 7 not running; status as State; 2 usage, 3
// unsupported.
int control(int argc, const char* const* argv, DaemonContext& context,
            const std::function<int(DaemonContext&)>& body);

// The words of main() in UTF-8. On Windows argv has them in the code page of the system, with '?'
// for what that cannot spell: they are taken from the command line. Elsewhere they are as they are.
std::vector<std::string> utf8_arguments(int argc, const char* const* argv);

// ---- Service manager: sd_notify(3); without a manager nothing happens ---------------------------

// READY, STOPPING, RELOADING, MAINPID and WATCHDOG are said by ready() (if it detaches by the
// launcher), close() and the waits. A manager that does not read is waited for, a second each time.
bool notify(const std::string& assignments) noexcept;  // "STATUS=..."; false: nobody was told
// How often an event loop of your own has to say notify("WATCHDOG=1"): half of what the manager
// allows; no_limit: it does not ask for it.
Duration watchdog_interval() noexcept;

}  // namespace daemonize

namespace std {
template <>
struct is_error_code_enum<daemonize::errc> : true_type {};
}  // namespace std

#endif  // DAEMONIZE_HPP: end of the declarations

// >>implementation --------------------------------------------------------------------------------
#if defined(DAEMONIZE_IMPLEMENTATION) && !defined(DAEMONIZE_IMPLEMENTED)
#define DAEMONIZE_IMPLEMENTED

#include <atomic>  // what an asynchronous handler may touch
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdio>  // fflush: buffered text must appear once
#include <cstdlib>
#include <cstring>
#include <exception>
#include <initializer_list>
#include <memory>
#include <new>
#include <stdexcept>

#if defined(_WIN32)
#define DAEMONIZE_WINDOWS 1
#if defined(_WIN32_WINNT) && _WIN32_WINNT < 0x0600
#error "daemonize.hpp needs _WIN32_WINNT 0x0600 (Windows Vista) or later"
#endif
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#define DAEMONIZE_UNDEF_LEAN
#endif
#ifndef NOMINMAX
#define NOMINMAX
#define DAEMONIZE_UNDEF_NOMINMAX
#endif
#include <windows.h>
#include <tlhelp32.h>
#include <cwchar>
#include <fcntl.h>
#include <io.h>
#include <process.h>
#ifdef DAEMONIZE_UNDEF_LEAN
#undef DAEMONIZE_UNDEF_LEAN
#undef WIN32_LEAN_AND_MEAN
#endif
#ifdef DAEMONIZE_UNDEF_NOMINMAX
#undef DAEMONIZE_UNDEF_NOMINMAX
#undef NOMINMAX
#endif
#else
#define DAEMONIZE_WINDOWS 0
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <pwd.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
extern char** environ;
#endif

#if defined(__cpp_exceptions) || defined(__EXCEPTIONS) || defined(_CPPUNWIND)
#define DAEMONIZE_EXCEPTIONS 1
#else
#define DAEMONIZE_EXCEPTIONS 0
#endif

// Where a start fails nothing is in a hurry: such a place is to be small.
#if defined(__GNUC__)
#define DAEMONIZE_COLD __attribute__((cold, noinline))
#else
#define DAEMONIZE_COLD
#endif

namespace daemonize {
namespace detail {

// >>os --------------------------------------------------------------------------------------------
// What the core asks of an operating system; >>posix and >>windows each implement all of it, in
// this order. Nothing here prints, exits or waits unless it says so. `Error&` is filled where the
// result is a failure.
namespace os {

// The one owner of a descriptor or HANDLE; closing it keeps errno.
class Handle {
public:
    explicit Handle(std::intptr_t value = -1) noexcept : value_(value) {}
    Handle(Handle&& other) noexcept : value_(other.release()) {}
    Handle& operator=(Handle&& other) noexcept {
        if (this != &other) {
            close();
            value_ = other.release();
        }
        return *this;
    }
    ~Handle() { close(); }
    explicit operator bool() const noexcept { return value_ != -1; }
    std::intptr_t get() const noexcept { return value_; }
    int fd() const noexcept { return static_cast<int>(value_); }
    std::intptr_t release() noexcept {
        const std::intptr_t value = value_;
        value_ = -1;
        return value;
    }
    void close() noexcept;

private:
    std::intptr_t value_;
};

// A moment, not a span: nested waits cannot add up.
class Deadline {
public:
    using Clock = std::chrono::steady_clock;
    explicit Deadline(Duration limit) noexcept  // a century is for ever: a sum must not overflow
        : never_(limit > std::chrono::hours(24 * 36500)),
          end_(never_ ? Clock::now() : Clock::now() + (limit < Duration(0) ? Duration(0) : limit)) {
    }
    bool over() const noexcept { return !never_ && Clock::now() >= end_; }
    bool never() const noexcept { return never_; }
    Duration left() const noexcept {  // rounded up: a wait for it does not spin at the end
        if (never_) return no_limit;
        const Clock::duration left = end_ - Clock::now();
        if (left <= Clock::duration(0)) return Duration(0);
        return std::chrono::duration_cast<Duration>(left) + Duration(1);
    }

private:
    bool never_;
    Clock::time_point end_;
};

// A process that cannot be mistaken for a later one with its number.
struct Identity {
    long pid = 0;
    Handle handle;                // pidfd or process handle, where there is one
    unsigned long long born = 0;  // start time in the system's own unit; 0: not known
};

// A PID file that this process has locked. Its address stays: fork handlers and `terminate` find
// it.
struct Receiver;
struct Lock {
    std::string path;          // absolute
    std::string path_here;     // the same file as this process reaches it; "": out of the jail
    int mode = 0644;           // of a file that is created
    std::int64_t target = -1;  // the user that root drops to: the file may be his already
    Handle file;
    unsigned long long device = 0, inode = 0;
    std::atomic<long> owner{0};  // the process whose PID is in it; 0: not written yet
    Lock* next = nullptr;
    Receiver* receiver = nullptr;  // of signals, where they come by way of the file
};

// What can be seen of a PID file from outside.
struct Found {
    bool exists = false;
    bool locked = false;
    bool trusted = true;  // P6: nobody else could have written it
    bool proves = false;  // this system names the owner of a lock
    long owner = 0;       // the process that holds the record lock; 0 none, -1 not nameable
    long reader = 0;      // one that keeps a daemon from taking it, likewise
    std::int64_t file_user = 0;
    bool remote = false;  // on another machine's disk: the number may be that machine's
    std::string text;
    unsigned long long device = 0, inode = 0;
};

// Where the program was started from: facts for pure::decide().
struct Evidence {
    long pid = 0, parent = 0;
    std::string init_name;  // of process 1, where that is the parent
    bool pidfile_set = false, notify_socket = false, invocation_id = false, launchd = false;
    long systemd_exec_pid = 0;  // 0: not set
    bool stdin_internet = false, stdin_listening = false;
};

enum Option {
    umask_option,
    account_option,
    chroot_option,
    preserve_option,
    descriptor_option,
    no_new_privs_option,
    arguments_option,
    threads_option,
    mode_option,
    job_option,
};

// The validated copy of the options (absolute paths, defaults in their places), and what it takes
// to keep them.
struct Plan : DaemonOptions {
    std::string program;
    bool drops = false, sets_uid = false;
    std::int64_t new_uid = -1, new_gid = -1;  // of a drop, with `groups`
    std::vector<unsigned> groups;
    std::string user, home;  // for the environment; "" where nobody has that number
    Stream streams[3];
    Handle targets[3], null_device;        // open streams
    bool late[3] = {false, false, false};  // opened with the target's identity
    bool detach = true, kept = false, inetd = false;
    Duration watchdog = no_limit;   // the manager's, if it means this process
    int inherited_sockets = 0;      // LISTEN_FDS that are ours
    std::string notes;              // for explain()
    const char* warning = nullptr;  // of a start that succeeds
};

// One message on the readiness channel, or what became of the daemon.
struct Report {
    enum Word { born = 1, ready, failed, ended };
    int word = 0;
    long pid = 0;            // the daemon's
    int exit_code = 0;       // the launcher's is to be
    bool is_system = false;  // number: the system's, else an errc
    int number = 0;
    std::string text;  // failed: the whole line but for the program's name
};

struct Channel;  // the daemon's end of the readiness channel
struct Launch;   // a start under way, seen from its launcher
enum class Attempt { got, held, failed };
enum class Purpose { start, removal };
enum class Removal { keep, own, any };
enum class Heard { report, died, timed_out };
enum class Sent { sent, gone, denied, lost, failed };
enum class Route { count, ignore, standard, terminate };

// Keeps signals from the thread between two states of a start; gives the mask back as it was.
class SignalHold {
public:
    SignalHold() noexcept {}
    SignalHold(const SignalHold&) = delete;
    SignalHold& operator=(const SignalHold&) = delete;
    ~SignalHold() { give(); }
    void take() noexcept;
    void only_children() noexcept;  // back to the caller's mask, but for SIGCHLD
    void give() noexcept;           // back to the caller's mask
    void forget() noexcept;         // the mask has become another's business

private:
    struct Saved;
    Saved* saved_ = nullptr;
};

// Who this process was born as; asked once, before anything else.
struct Birth {
    bool is_daemon = false;
    std::string payload, notes;  // those of the launcher
    Channel* channel = nullptr;
};
Birth birth(Lock& lock) noexcept;
bool was_relaunched() noexcept;  // is_setup() is false from the first line of main

std::error_code last_error() noexcept;
bool supports(Option option) noexcept;
long self() noexcept;
std::string program_name();
bool is_file_name(const std::string& name);  // not empty, no slash in it
std::string state_directory(Error& error);   // of default_path()
std::string root_directory();                // where a daemon stands in nobody's way
Evidence evidence();
bool absolute(std::string& path, Error& error);

// Steps 1 and 3: accounts into ids, descriptors that must be open, other threads.
bool resolve(Plan& plan, Error& error);
bool check_threads(Plan& plan, Error& error);

// The PID file. lock: no waiting; `start` creates and empties, `removal` neither. enter: from here
// on the process proves itself, complete or not at all for a reader. renew: the proof that user
// code dropped by opening the file. look: never blocks, follows, creates or changes.
Attempt lock(Lock& lock, Purpose purpose, Error& error);
Attempt enter(Lock& lock, Error& error);
void renew(Lock& lock) noexcept;
void discard(Lock& lock, Removal removal) noexcept;  // the file, not the lock; async-signal-safe
void unlock(Lock& lock, Removal removal) noexcept;   // both
bool look(const std::string& path, Found& found, Error& error);

// The start. detach is the one asymmetric step: on Unix it returns twice, launcher and daemon, on
// Windows once. hear waits; say is the daemon's answer (false: the launcher has given up or is
// gone). settle ends a start; not accepted, nothing of it is left and the caller is as it was
// (false: the daemon could not be killed; it finds out at its ready()).
bool open_streams(Plan& plan, Error& error);
Role detach(Plan& plan, Lock& lock, SignalHold& hold, Channel*& channel, Launch*& launch,
            Error& error);
bool say(Channel*& channel, const Report& report) noexcept;
Heard hear(Launch& launch, const Deadline& deadline, Report& report);
bool settle(Launch*& launch, bool& accepted) noexcept;

// The daemon: steps 9-11, 14-15, 16 and the log of step 17. built_in_routes: what signals do that
// nobody asked for; from here on terminate() knows the lock. let_signals_in: those that came during
// the start are delivered now.
bool move_in(Plan& plan, const Lock& lock, const Channel* channel, Error& error);
bool change_identity(Plan& plan, Lock& lock, Error& error);
std::vector<std::pair<int, Route>> built_in_routes(const Plan& plan, Lock& lock);
void let_signals_in() noexcept;
bool put_stream(const Handle& file, int which, Error& error);  // in one step
bool reopen(int which, const std::string& path, Error& error);
void append_line(const Handle& log, const std::string& line) noexcept;

// Processes. await_end: false when the deadline comes first.
bool open_process(long pid, Identity& identity, Error& error);
bool daemon_of(const Identity& in_file, Identity& daemon, Error& error);
bool may_signal(const Identity& identity, const Found& found, Error& error);
Sent signal(const Identity& identity, int signum) noexcept;
Sent ask_to_end(const Identity& identity) noexcept;  // SIGTERM, also to a stopped process
bool end_process(const Identity& identity) noexcept;
bool await_end(const Identity& identity, const Deadline& deadline) noexcept;
Duration age(const Identity& identity) noexcept;
bool is_ancestor(long pid) noexcept;
void pause(Duration span) noexcept;

// Signals into counters: one owner for a signal, told by one byte on its wake.
struct Wake {
    Handle readable, writable;
};
bool open_wake(Wake& wake, Error& error);
void close_wake(Wake& wake) noexcept;
bool capture(int signum, const Wake& wake, Error& error);
void release(int signum, const Wake& wake) noexcept;
bool route(int signum, Route route, Error& error);        // now
bool route_below(int signum, Route route, Error& error);  // once no SignalHandler has it
bool take(int signum) noexcept;                           // one of those counted
int pending(int signum) noexcept;                         // how many of those
void drain(const Wake& wake) noexcept;
void ring(const Wake& wake) noexcept;
// The index of one that is ready, or:
enum { time_over = -1, interrupted = -2 };
int wait_any(const std::intptr_t* handles, int count, const Deadline& deadline) noexcept;
bool is_catchable(int signum) noexcept;
bool is_sendable(int signum) noexcept;
const std::vector<std::pair<int, const char*>>& signal_names();
bool terminal_is_gone() noexcept;
[[noreturn]] void terminate(int signum) noexcept;

// The process.
std::string environment(const char* name);
bool tell_manager(const std::string& assignments) noexcept;
Duration watchdog() noexcept;
void print(int stream, const std::string& line) noexcept;
std::vector<std::string> words_of(int argc, const char* const* argv);  // in UTF-8
[[noreturn]] void leave(int status) noexcept;

}  // namespace os

// >>pure ------------------------------------------------------------------------------------------
// Text and rules without any call to the system: the same, and tested, on every platform.
namespace pure {
namespace {

// A part of a message: referred to, and made into text only where the message is made. So a place
// that may have to fail costs two words a part, and no string that would have to be cleaned up.
// What a part refers to lives until the end of the full expression, as the part itself does.
class Piece {
public:
    enum Kind { characters, string, shown_path, quoted, integer, process_number, signal, duration };
    Piece(const char* text) noexcept : kind_(characters), characters_(text) {}
    Piece(const std::string& text) noexcept : kind_(string), string_(&text) {}
    Piece(Kind kind, const std::string& text) noexcept : kind_(kind), string_(&text) {}
    Piece(Kind kind, long long value) noexcept : kind_(kind), value_(value) {}
    void append_to(std::string& out) const;

private:
    Kind kind_;
    union {
        const char* characters_;
        const std::string* string_;
        long long value_;
    };
};
using Pieces = std::initializer_list<Piece>;

// Text from outside, fit for one line: in quotes, the odd characters as \xNN, the first 60 of them.
inline Piece quote(const std::string& text) { return Piece(Piece::quoted, text); }
// A path as it is, but for what would make a second line of a message.
inline Piece path(const std::string& name) { return Piece(Piece::shown_path, name); }
inline Piece number(long long value) { return Piece(Piece::integer, value); }
inline Piece process(long pid) { return Piece(Piece::process_number, pid); }  // of 0: nothing
// "SIGTERM", or the number where it has no name here.
inline Piece signal_name(int signum) { return Piece(Piece::signal, signum); }
// "40 ms", "2.4 s", "12 s", "1 h 3 min": for people.
inline Piece span(Duration limit) { return Piece(Piece::duration, limit.count()); }

DAEMONIZE_COLD std::string join(Pieces pieces) {
    std::string text;
    for (const Piece& piece : pieces) piece.append_to(text);
    return text;
}

void append_quoted(std::string& out, const std::string& text) {
    static const char digits[] = "0123456789abcdef";
    const std::size_t shown = 60;
    out += '\'';
    for (std::size_t i = 0; i < text.size() && i < shown; ++i) {
        const unsigned char c = static_cast<unsigned char>(text[i]);
        if (c >= 0x20 && c != 0x7f && c != '\\' && c != '\'') {
            out += text[i];
        } else {
            out += "\\x";
            out += digits[c >> 4];
            out += digits[c & 15];
        }
    }
    out += text.size() > shown ? "'..." : "'";
}

void append_path(std::string& out, const std::string& name) {
    out += '\'';
    for (const char c : name) {
        const bool control = static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
        out += control ? '?' : c;
    }
    out += '\'';
}

void append_signal(std::string& out, int signum) {
    for (const std::pair<int, const char*>& known : os::signal_names()) {
        if (known.first != signum) continue;
        out += known.second;
        return;
    }
    out += join({"signal ", number(signum)});
}

std::string span_text(long long ms) {
    if (ms < 0) ms = 0;
    const long long s = ms / 1000;
    if (ms < 1000) return join({number(ms), " ms"});
    if (s < 10 && ms % 1000 >= 50) return join({number(s), ".", number(ms / 100 % 10), " s"});
    if (s < 120) return join({number(s), " s"});
    if (s < 7200) return join({number(s / 60), " min ", number(s % 60), " s"});
    if (s < 172800) return join({number(s / 3600), " h ", number(s / 60 % 60), " min"});
    return join({number(s / 86400), " d ", number(s / 3600 % 24), " h"});
}

void Piece::append_to(std::string& out) const {
    switch (kind_) {
        case characters:
            out += characters_;
            break;
        case string:
            out += *string_;
            break;
        case shown_path:
            append_path(out, *string_);
            break;
        case quoted:
            append_quoted(out, *string_);
            break;
        case integer:
            out += std::to_string(value_);
            break;
        case process_number:
            if (value_ != 0) out += join({"process ", number(value_)});
            break;
        case signal:
            append_signal(out, static_cast<int>(value_));
            break;
        case duration:
            out += span_text(value_);
            break;
    }
}

// Every text of an Error is made here: step, object, cause; without a cause what the code means.
DAEMONIZE_COLD bool fail(Error& error, std::error_code code, Piece step, Piece object,
                         Pieces cause = {}) {
    const std::string what = join({object}), why = join(cause);
    error.text = join({step, what.empty() ? "" : " ", what, ": ", why});
    if (why.empty()) error.text += code.message();
    error.code = code;
    return false;
}

DAEMONIZE_COLD bool fail(Error& error, errc condition, Piece step, Piece object,
                         Pieces cause = {}) {
    return fail(error, make_error_code(condition), step, object, cause);
}

inline std::string pid_text(long pid) { return join({number(pid), "\n"}); }

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

// The number on the first line, with blanks, leading zeros, CRLF or more lines allowed; 0 and `why`
// for what can be nobody's: nothing, no number, negative, larger than a PID.
long parse_number(const std::string& text, std::string& why) {
    std::size_t i = 0, end = text.find('\n');
    if (end == std::string::npos) end = text.size();
    while (i < end && is_blank(text[i])) ++i;
    while (end > i && is_blank(text[end - 1])) --end;
    const std::string line = text.substr(i, end - i);
    why.clear();
    if (line.empty()) {
        why = text.empty() ? "it is empty" : "its first line is empty";
        return 0;
    }
    long long value = 0;
    for (const char c : line) {
        if (c < '0' || c > '9') {
            why = join({"it holds ", quote(line), ", no PID"});
            return 0;
        }
        value = value * 10 + (c - '0');
        if (value > INT_MAX) {
            why = join({"it holds ", quote(line), ", larger than any PID"});
            return 0;
        }
    }
    if (value == 0) why = "it holds 0, no PID";
    return static_cast<long>(value);
}

// The same for a process that may be signalled: never 1.
long parse_pid(const std::string& text, std::string& why) {
    const long number = parse_number(text, why);
    if (number != 1) return number;
    why = "it holds 1, no PID of a daemon";
    return 0;
}

// What a PID file says of its daemon.
enum class Verdict { missing, empty, dead, garbage, starting, invalid, elsewhere, proven };

Verdict judge(const os::Found& found, long& pid, std::string& why) {
    pid = parse_pid(found.text, why);
    if (!found.exists) return Verdict::missing;
    if (!found.locked) {
        if (found.text.empty()) return Verdict::empty;
        return pid ? Verdict::dead : Verdict::garbage;
    }
    if (found.remote && pid) return Verdict::elsewhere;
    if (found.proves && found.owner == 0) return Verdict::starting;
    std::string ignored;
    const long number = parse_number(found.text, ignored);
    if (number && found.proves && found.owner != number) {  // also 1, of another container
        pid = number;
        return Verdict::elsewhere;
    }
    if (!pid) return found.text.empty() ? Verdict::starting : Verdict::invalid;
    return Verdict::proven;
}

// Why a lock that proves nobody is there: one text for start, status, send and stop.
std::string unproven_text(Verdict verdict, const os::Found& found, long pid,
                          const std::string& why) {
    const std::string holds = pid                  ? join({"it holds ", number(pid)})
                              : found.text.empty() ? std::string("it is empty")
                                                   : why;
    switch (verdict) {
        case Verdict::starting:
            return join({"locked, but no daemon has entered itself (", holds,
                         "): a start under way, a reader that holds the lock, or a daemon that "
                         "opened and closed its own PID file; see who has it open, and end that by "
                         "hand"});
        case Verdict::elsewhere:
            if (found.remote)
                return join({holds,
                             ", but the file is on a remote file system: its daemon may be "
                             "another machine's"});
            if (found.owner <= 0)
                return join({holds, ", but its daemon lives in another PID namespace"});
            return join({holds, ", but ", process(found.owner),
                         " has entered itself: another PID namespace, or somebody wrote to it"});
        case Verdict::invalid: {
            std::string ignored;
            const bool first = parse_number(found.text, ignored) == 1;
            return join({"locked, but ", why,
                         first ? ": process 1 is never signalled; end its container" : ""});
        }
        default:
            return why;
    }
}

// A lock that others may share: no daemon has it, and none can take it.
std::string reader_text(const os::Found& found) {
    if (found.reader > 0) return join({"a reader, ", process(found.reader), ", holds the lock"});
    return "a reader (another program that has it open) holds the lock";
}

// ---- Where the program was started from (the table of detach_process) ----

struct Decision {
    bool detach;
    bool inetd;
    const char* why;
};

bool is_container_init(const std::string& name) {
    static const char* const shims[] = {"docker-init", "tini", "dumb-init", "catatonit"};
    for (const char* shim : shims)
        if (name == shim) return true;
    return false;
}

// The first row that fits. Parent 1 alone is none: a daemon's parent, ssh's, or a shell in a
// container may be 1 too.
Decision decide(Detach wish, const os::Evidence& seen) {
    const bool exec_pid_fits = seen.systemd_exec_pid == seen.pid;
    const struct Row {
        bool fits;
        Decision decision;
    } rows[] = {
        {wish == Detach::yes, {true, false, "detach_process is yes"}},
        {wish == Detach::no, {false, false, "detach_process is no"}},
        {seen.pid == 1, {false, false, "this is process 1: the container ends with it"}},
        {seen.parent == 1 && is_container_init(seen.init_name),
         {false, false, "the parent is a container's init: the container ends with this process"}},
        {seen.pidfile_set, {true, false, "PIDFILE is set: systemd, Type=forking with PIDFile="}},
        {seen.notify_socket && (seen.systemd_exec_pid == 0 || exec_pid_fits),
         {false, false, "NOTIFY_SOCKET is set: systemd, Type=notify"}},
        {seen.systemd_exec_pid != 0 && (exec_pid_fits || seen.systemd_exec_pid == seen.parent),
         {false, false,
          "SYSTEMD_EXEC_PID is this process or its parent: systemd, Type=simple or exec"}},
        {seen.systemd_exec_pid == 0 && seen.invocation_id && seen.parent == 1,
         {false, false, "INVOCATION_ID is set and the parent is process 1: systemd before 248"}},
        {seen.stdin_internet || seen.stdin_listening,
         {false, true, "standard input is a network socket: inetd, or socket activation"}},
        {seen.launchd && seen.parent == 1,
         {false, false, "XPC_SERVICE_NAME is set and the parent is process 1: launchd"}},
    };
    for (const Row& row : rows)
        if (row.fits) return row.decision;
    return {true, false, "no evidence of a service manager, a container or inetd"};
}

// ---- Paths, signals, reports ----

// `path` as it is called inside `jail`; "" where it cannot be reached from there.
std::string inside(const std::string& path, const std::string& jail) {
    std::string root = jail;
    while (!root.empty() && root.back() == '/') root.pop_back();
    if (root.empty()) return path;
    if (path.compare(0, root.size(), root) != 0) return std::string();
    if ((path + "/").find("/../") != std::string::npos) return std::string();  // who knows where
    if (path.size() == root.size()) return "/";
    return path[root.size()] == '/' ? path.substr(root.size()) : std::string();
}

// What signal_map asks for, until a SignalHandler takes it.
os::Route route_of(const Handler& handler) {
    if (handler.callback()) return os::Route::count;
    switch (handler.action()) {
        case ignore_signal:
            return os::Route::ignore;
        case default_signal:
            return os::Route::standard;
        case terminate_signal:
            return os::Route::terminate;
        default:
            return os::Route::count;
    }
}

// The launcher's status for that of a daemon which ended before it was ready: never one that a
// shell, which sees eight bits, would take for success.
int failure_code(int exit_code) { return (exit_code & 0xff) == 0 ? 1 : exit_code; }

// A report on the wire: six numbers of 32 bits in the machine's order, then the text.
const std::size_t report_header = 6 * sizeof(std::int32_t);

inline std::string pack(const os::Report& report) {
    const std::int32_t fields[6] = {
        report.word,      static_cast<std::int32_t>(report.pid),
        report.exit_code, report.is_system,
        report.number,    static_cast<std::int32_t>(report.text.size())};
    return std::string(reinterpret_cast<const char*>(fields), sizeof fields) + report.text;
}

// Takes one report off the front of `bytes`; false: not yet complete.
inline bool unpack(std::string& bytes, os::Report& report) {
    std::int32_t fields[6];
    if (bytes.size() < report_header) return false;
    std::memcpy(fields, bytes.data(), sizeof fields);
    const std::size_t length = static_cast<std::size_t>(fields[5]);
    if (bytes.size() - report_header < length) return false;
    report.word = fields[0];
    report.pid = fields[1];
    report.exit_code = fields[2];
    report.is_system = fields[3] != 0;
    report.number = fields[4];
    report.text = bytes.substr(report_header, length);
    bytes.erase(0, report_header + length);
    return true;
}

// Half of what WATCHDOG_USEC allows, if WATCHDOG_PID (where set) means this process.
inline Duration watchdog_interval(const std::string& usec, const std::string& pid, long self) {
    if (usec.empty() || usec.find_first_not_of("0123456789") != std::string::npos) return no_limit;
    if (!pid.empty() && pid != std::to_string(self)) return no_limit;
    const unsigned long long value = std::strtoull(usec.c_str(), nullptr, 10);
    if (value == 0 || value > 0x7fffffffffffffULL) return no_limit;
    const Duration half(static_cast<Duration::rep>(value / 2000));
    return half < Duration(1) ? Duration(1) : half;
}

// ---- What Windows asks of text; pure, so that every platform tests it ----

// One argument as CommandLineToArgvW and the C runtimes read it back. Backslashes mean themselves
// but before a quote: there they are doubled, and so are those before the closing one.
inline std::string quote_argument(const std::string& argument) {
    if (!argument.empty() && argument.find_first_of(" \t\n\v\"") == std::string::npos)
        return argument;
    std::string out = "\"";
    std::size_t backslashes = 0;
    for (const char c : argument) {
        if (c == '\\') {
            ++backslashes;
            continue;
        }
        out.append(c == '"' ? 2 * backslashes + 1 : backslashes, '\\');
        out += c;
        backslashes = 0;
    }
    out.append(2 * backslashes, '\\');
    return out + '"';
}

inline std::string hex(std::uint64_t value) {
    std::string out;
    do {
        out.insert(out.begin(), "0123456789abcdef"[value & 15]);
        value >>= 4;
    } while (value != 0);
    return out;
}

// The variable by which a launcher finds its relaunched self: "1:HANDLE:NONCE", both in hex.
inline std::string switch_text(std::uint64_t handle, std::uint64_t nonce) {
    return join({"1:", hex(handle), ":", hex(nonce)});
}

// False: not written by switch_text(). Whether it is true is for shared memory to say.
inline bool parse_switch(const std::string& text, std::uint64_t& handle, std::uint64_t& nonce) {
    std::uint64_t* const fields[2] = {&handle, &nonce};
    std::size_t at = 2;
    if (text.compare(0, 2, "1:") != 0) return false;
    for (std::uint64_t* field : fields) {
        std::size_t end = text.find(':', at);
        if (end == std::string::npos) end = text.size();
        if (at >= end || end - at > 16) return false;
        *field = 0;
        for (; at < end; ++at) {
            const std::size_t digit = std::string("0123456789abcdef").find(text[at]);
            if (digit == std::string::npos) return false;
            *field = *field << 4 | digit;
        }
        ++at;
    }
    return at == text.size() + 1;
}

// What it means that the process in the PID file ended with `code`. 0 and 1 are what Task Manager,
// taskkill and a careless script give, -1 Stop-Process of PowerShell: an order to end. Cygwin's kill
// gives n << 8, that of Git for Windows 128 + n; of these 1 is SIGHUP, a reload. 6 is SIGABRT
// elsewhere. 0: nobody is meant.
inline int signal_of_exit_code(unsigned long code) {
    const unsigned long control_c_exit = 0xC000013AUL, minus_one = 0xFFFFFFFFUL;
    const int reload = 12;
    if (code <= 1 || code == control_c_exit || code == minus_one) return 2;
    const bool shell = code > 128 && code < 160, shifted = code % 256 == 0;
    const unsigned long number = shell ? code - 128 : shifted ? code / 256 : code;
    if (number == 1) return reload;
    if (number == 6) return 22;
    return number <= 31 ? static_cast<int>(number) : no_signal;
}

// Always 11 bytes: rewritten by one write it is never seen torn, short or empty. int() in Python,
// strtoul() and `set /p` tolerate the blanks.
inline std::string padded_pid_text(long pid) {
    std::string text = std::to_string(pid);
    text.resize(10, ' ');
    return text + "\n";
}

// What a daemon that was in the file as `pid` may have left there. A text of fixed length is a
// daemon's whatever the number: each signal changes that.
bool is_left_by(const std::string& text, long pid) {
    std::string why;
    const long number = parse_pid(text, why);
    return text.empty() || number == pid || (number != 0 && text == padded_pid_text(number));
}

}  // namespace
}  // namespace pure

// >>core ------------------------------------------------------------------------------------------
// The public classes in terms of os:: and pure::. No operating system is named here.
namespace {

// For a lock that nobody proves: a query's, or a start's first moments.
constexpr Duration patience(1000);
constexpr Duration after_kill(5000);
constexpr Duration signal_patience(5000);  // for a signal that others overtake

// A wait that is tried again: 1 ms, then longer, at most 20 ms and never past the deadline.
class Backoff {
public:
    explicit Backoff(const os::Deadline& deadline) : deadline_(deadline) {}
    void pause() {
        const Duration left = deadline_.left();
        os::pause(span_ < left ? span_ : left);
        span_ = span_ * 2 < Duration(20) ? span_ * 2 : Duration(20);
    }

private:
    const os::Deadline& deadline_;
    Duration span_ = Duration(1);
};

// One line for people; 1: standard output, 2: standard error.
void say(int stream, const std::string& program, pure::Pieces text) {
    os::print(stream, pure::join({program, ": ", pure::join(text)}));
}

// The throwing forms: without exceptions the text is printed and the program ended (E2).
[[noreturn]] void raise_error(const Error& error) {
#if DAEMONIZE_EXCEPTIONS
    throw DaemonError(error);
#else
    say(2, os::program_name(), {error.text});
    std::exit(EXIT_FAILURE);
#endif
}

[[noreturn]] void raise_received(int signum) {
#if DAEMONIZE_EXCEPTIONS
    if (signum == SIGINT) throw ReceivedSIGINT();
    if (signum == SIGTERM) throw ReceivedSIGTERM();
    if (signum == SIGABRT) throw ReceivedSIGABRT();
    throw ReceivedSignal(signum);
#else
    std::exit(128 + signum);
#endif
}

// Runs user code. An order to end comes back as its signal, any other exception as its text.
struct Outcome {
    bool threw = false;
    int signum = no_signal;
    std::string text;
};

template <class F>
Outcome guarded(F function) {
    Outcome outcome;
#if DAEMONIZE_EXCEPTIONS
    try {
        function();
    } catch (const ReceivedSignal& received) {
        outcome.signum = received;
    } catch (const std::exception& exception) {
        outcome.threw = true;
        outcome.text = exception.what();
    } catch (...) {
        outcome.threw = true;
        outcome.text = "an exception that is no std::exception";
    }
#else
    function();
#endif
    return outcome;
}

DAEMONIZE_COLD bool invalid(Error& error, pure::Piece option, pure::Pieces cause) {
    return pure::fail(error, errc::invalid_option, "cannot use option", option, cause);
}

// ---- The PID file: taking it ----

long shown_pid(long in_file) {
    os::Identity entry, daemon;
    Error ignored;
    const bool known =
        os::open_process(in_file, entry, ignored) && os::daemon_of(entry, daemon, ignored);
    return known ? daemon.pid : in_file;
}

// Why the lock was refused: a daemon that proves itself, or what else can be said.
bool refuse(const os::Found& found, pure::Verdict verdict, long pid, const std::string& why,
            const std::string& path, Error& error) {
    if (verdict == pure::Verdict::proven)
        return pure::fail(error, errc::already_running, "cannot lock", pure::path(path),
                          {"already running as ", pure::process(shown_pid(pid))});
    const std::string cause =
        found.locked ? pure::unproven_text(verdict, found, pid, why) : pure::reader_text(found);
    return pure::fail(error, errc::unproven_holder, "cannot lock", pure::path(path), {cause});
}

// Waits for the end of a proven holder until `wait` is over, for an unproven lock until `patience`
// is. With the lock got, signals stay held: a Ctrl-C before the fork would leave an empty file.
bool acquire(os::Lock& lock, Duration wait, os::SignalHold& hold, Error& error) {
    const os::Deadline holder_deadline(wait);
    const os::Deadline patience_deadline(wait < patience ? patience : wait);
    Backoff backoff(patience_deadline);
    bool last_try = false;
    for (;;) {
        hold.take();
        const os::Attempt attempt = os::lock(lock, os::Purpose::start, error);
        if (attempt == os::Attempt::got) return true;
        hold.give();
        os::Found found;
        long pid = 0;
        std::string why;
        Error unseen;
        if (attempt == os::Attempt::failed) {
            // Whoever may not write the file may still be told whose it is.
            return error.code == std::errc::permission_denied &&
                   os::look(lock.path, found, unseen) &&
                   pure::judge(found, pid, why) == pure::Verdict::proven &&
                   refuse(found, pure::Verdict::proven, pid, why, lock.path, error);
        }
        if (!os::look(lock.path, found, error)) return false;
        const pure::Verdict verdict = pure::judge(found, pid, why);
        if (verdict == pure::Verdict::proven) {
            os::Identity entry, daemon;
            Error gone;
            if (wait <= Duration(0) || pid == os::self())
                return refuse(found, verdict, pid, why, lock.path, error);
            // In slices: a holder may release the lock and live on.
            const Duration left = holder_deadline.left();
            const os::Deadline slice(left < Duration(50) ? left : Duration(50));
            const bool open =
                os::open_process(pid, entry, gone) && os::daemon_of(entry, daemon, gone);
            // Where a lock proves nobody, the number may be one that was left behind.
            if (!open && patience_deadline.over())
                return refuse(found, verdict, pid, why, lock.path, error);
            if (open && !os::await_end(daemon, slice) && holder_deadline.over())
                return pure::fail(
                    error, errc::timed_out, "cannot lock", pure::path(lock.path),
                    {pure::process(daemon.pid), " still holds it after ", pure::span(wait)});
        } else if (patience_deadline.over() && (found.locked || last_try)) {
            return refuse(found, verdict, pid, why, lock.path, error);
        }
        last_try = patience_deadline.over();  // it may have been freed since
        backoff.pause();
    }
}

// Step 12, and what F_SETLK's EAGAIN there asks for.
bool enter_itself(os::Lock& lock, Error& error) {
    const os::Deadline deadline(patience);
    Backoff backoff(deadline);
    for (;;) {
        const os::Attempt attempt = os::enter(lock, error);
        if (attempt == os::Attempt::got) return true;
        if (attempt == os::Attempt::failed || deadline.over()) return false;
        backoff.pause();
    }
}

// ---- The PID file: who holds it ----

// The process that provably holds `path`: asked, opened, asked again (G7). A start under way is
// waited for.
struct Holder {
    os::Found found;
    pure::Verdict verdict = pure::Verdict::missing;
    long pid = 0;  // in the file
    std::string why;
    os::Identity entry;   // the process that the file names
    os::Identity daemon;  // the process whose end is the daemon's
};

// A signal goes to the process that the file names; who waits for an end needs the daemon's.
enum class Wanted { entry, daemon };

bool same_holder(const os::Found& a, const os::Found& b) {
    return a.device == b.device && a.inode == b.inode && a.owner == b.owner && a.locked == b.locked;
}

bool find_holder(const std::string& path, Wanted wanted, Holder& holder, Error& error) {
    const os::Deadline deadline(patience);
    Backoff backoff(deadline);
    for (;;) {
        const bool late = deadline.over();  // before the look, as wherever something is awaited
        if (!os::look(path, holder.found, error)) return false;
        holder.verdict = pure::judge(holder.found, holder.pid, holder.why);
        if (holder.verdict == pure::Verdict::proven) {
            os::Found again;
            std::string why;
            long pid = 0;
            Error gone;
            const bool open =
                os::open_process(holder.pid, holder.entry, gone) &&
                (wanted == Wanted::entry || os::daemon_of(holder.entry, holder.daemon, gone));
            if (open && os::look(path, again, error) && same_holder(holder.found, again) &&
                pure::judge(again, pid, why) == pure::Verdict::proven && pid == holder.pid)
                return true;
            if (!open && gone && late) {
                error = gone;
                return false;
            }
        } else if (holder.verdict != pure::Verdict::starting) {
            return true;
        }
        if (late)
            return holder.verdict != pure::Verdict::proven ||
                   pure::fail(error, errc::unproven_holder, "cannot find the daemon of",
                              pure::path(path), {"the file changed each time it was asked"});
        backoff.pause();
    }
}

// not_running, or why nobody may be signalled through this file; true: `holder` is the daemon.
bool require_holder(const std::string& path, Wanted wanted, const char* step, Holder& holder,
                    Error& error) {
    if (!find_holder(path, wanted, holder, error)) return false;
    switch (holder.verdict) {
        case pure::Verdict::proven:
            break;
        case pure::Verdict::garbage:  // nobody holds it: what stands in it is only said
            return pure::fail(error, errc::not_running, step, pure::path(path),
                              {"not running (", holder.why, ")"});
        case pure::Verdict::invalid:
        case pure::Verdict::starting:
        case pure::Verdict::elsewhere:
            return pure::fail(
                error,
                holder.verdict == pure::Verdict::invalid ? errc::invalid_pid_file
                                                         : errc::unproven_holder,
                step, pure::path(path),
                {pure::unproven_text(holder.verdict, holder.found, holder.pid, holder.why)});
        default:
            return pure::fail(error, errc::not_running, step, pure::path(path), {"not running"});
    }
    if (!holder.found.trusted)
        return pure::fail(error, errc::untrusted_pid_file, step, pure::path(path),
                          {"others could have written it"});
    return os::may_signal(holder.entry, holder.found, error);
}

bool absolute_copy(const std::string& path, std::string& out, Error& error) {
    out = path;
    if (out.empty()) return invalid(error, "pidfile", {"it is empty"});
    if (out.find('\0') != std::string::npos)
        return invalid(error, "pidfile", {"it holds a zero byte"});
    return os::absolute(out, error);
}

bool send_signal(const std::string& file, int signum, Error& error) {
    std::string path;
    if (!absolute_copy(file, path, error)) return false;
    // Asked again after the same short while each time: who is overtaken must not fall behind.
    const os::Deadline deadline(signal_patience);
    for (; !deadline.over(); os::pause(Duration(1))) {
        Holder holder;
        if (!require_holder(path, Wanted::entry, "cannot signal the daemon of", holder, error))
            return false;
        switch (os::signal(holder.entry, signum)) {
            case os::Sent::sent:
                return true;
            case os::Sent::lost:  // the daemon is busy with another, and will take the next
                continue;
            case os::Sent::gone:
                return pure::fail(error, errc::not_running, "cannot signal the daemon of",
                                  pure::path(path), {"not running"});
            default:
                return pure::fail(error, os::last_error(), "cannot signal",
                                  pure::process(holder.pid));
        }
    }
    return pure::fail(error, errc::timed_out, "cannot signal the daemon of", pure::path(path),
                      {"another signal won each time"});
}

}  // namespace

struct Held {
    os::Lock lock;
    Error path_error;
};

// ---- Start: options into a plan ----

// One start, and the daemon that came of it.
struct Session {
    os::Plan plan;
    os::Lock lock;
    os::Channel* channel = nullptr;
    std::string program;  // as control() was called; "": as the system knows it
    Role role = Role::launcher;
    long process = 0;  // where it is open; in a fork of that process it is not
    long daemon = 0;
    int exit_code = 1;  // of a launcher whose start failed
    bool by_hand = false, starting = false, controlled = false, after_start = false, closed = false;

    bool open() const noexcept { return process != 0 && process == os::self(); }
    static Session& of(DaemonContext& context) { return *context.session_; }
};

namespace {

bool setup_is_over = false;     // a start was made in this process
Session* the_daemon = nullptr;  // for the end of the process

// "option that is set here and cannot be honoured" is never silence (E4).
bool check_supported(const DaemonContext& c, Error& error) {
    bool descriptors = false;
    for (const Stream* s : {&c.standard_input, &c.standard_output, &c.standard_error})
        descriptors = descriptors || s->choice() == Stream::number_choice;
    const struct {
        const char* name;
        bool is_set;
        os::Option option;
    } table[] = {
        {"umask", c.umask != -1, os::umask_option},
        {"uid", c.uid.is_set(), os::account_option},
        {"gid", c.gid.is_set(), os::account_option},
        {"initgroups", !c.initgroups, os::account_option},
        {"chroot_directory", !c.chroot_directory.empty(), os::chroot_option},
        {"files_preserve", !c.files_preserve.empty(), os::preserve_option},
        {"standard streams as descriptors", descriptors, os::descriptor_option},
        {"no_new_privs", c.no_new_privs, os::no_new_privs_option},
        {"replace_arguments", c.replace_arguments || !c.arguments.empty(), os::arguments_option},
        {"allow_threads", c.allow_threads, os::threads_option},
        {"pidfile_mode", c.pidfile_mode != 0644, os::mode_option},
        {"must_leave_job", c.must_leave_job, os::job_option},
    };
    for (const auto& row : table)
        if (row.is_set && !os::supports(row.option))
            return pure::fail(error, errc::unsupported, "cannot use option", row.name);
    return true;
}

// A value that cannot be meant is refused before anything is touched: one that is silently mended
// (umask 1777, a path that ends at a zero byte) would be found out when it is too late.
bool check_paths(const DaemonContext& c, Error& error) {
    const std::pair<const char*, const std::string*> paths[] = {
        {"pidfile", &c.pidfile},
        {"working_directory", &c.working_directory},
        {"chroot_directory", &c.chroot_directory},
        {"standard_input", &c.standard_input.path()},
        {"standard_output", &c.standard_output.path()},
        {"standard_error", &c.standard_error.path()},
    };
    for (const auto& row : paths)
        if (row.second->find('\0') != std::string::npos)
            return invalid(error, row.first, {"it holds a zero byte"});
    for (const auto& row : {std::make_pair("standard_input", &c.standard_input),
                            std::make_pair("standard_output", &c.standard_output),
                            std::make_pair("standard_error", &c.standard_error)}) {
        if (row.second->choice() == Stream::path_choice && row.second->path().empty())
            return invalid(error, row.first, {"the path is empty; say null_stream"});
    }
    if (c.standard_input.truncates())
        return invalid(error, "standard_input", {"it is read: there is nothing to truncate"});
    const Stream &out = c.standard_output, &err = c.standard_error;
    if (!out.path().empty() && out.path() == err.path() && out.truncates() != err.truncates())
        return invalid(error, "standard_error", {"the same file is truncated as standard_output"});
    return true;
}

bool check_values(const DaemonContext& c, Error& error) {
    if (c.umask < -1 || c.umask > 0777)
        return invalid(error, "umask", {"no file mode: not 0 to 0777"});
    if (c.pidfile_mode < 0400 || c.pidfile_mode > 0777 || (c.pidfile_mode & 022))
        return invalid(error, "pidfile_mode", {"not readable by us, or others could write it"});
    for (const auto& account : {std::make_pair("uid", &c.uid), std::make_pair("gid", &c.gid)})
        if (account.second->is_set() && account.second->name().empty() &&
            (account.second->id() < 0 || account.second->id() >= 0xffffffffLL))
            return invalid(error, account.first, {"it is empty, or no number of a user or group"});
    if (!c.clear_environment && !c.environment_keep.empty())
        return invalid(error, "environment_keep", {"clear_environment is not set"});
    if (!c.replace_arguments && !c.arguments.empty())
        return invalid(error, "arguments", {"replace_arguments is not set"});
    for (const std::pair<int, Handler>& entry : c.signal_map)
        if (!os::is_catchable(entry.first))
            return pure::fail(error, errc::unknown_signal, "cannot use option", "signal_map",
                              {pure::signal_name(entry.first), " cannot be handled"});
    return true;
}

// Step 2. A directory inside the jail is no path of the caller's.
bool make_absolute(os::Plan& plan, Error& error) {
    if (!plan.pidfile.empty() && !os::absolute(plan.pidfile, error)) return false;
    if (!plan.chroot_directory.empty()) {
        if (!os::absolute(plan.chroot_directory, error)) return false;
        if (plan.working_directory.empty()) plan.working_directory = "/";
        if (plan.working_directory[0] != '/') plan.working_directory.insert(0, "/");
    } else if (!plan.working_directory.empty() && !os::absolute(plan.working_directory, error)) {
        return false;
    }
    for (Stream& stream : plan.streams) {
        if (stream.choice() != Stream::path_choice) continue;
        std::string path = stream.path();
        if (!os::absolute(path, error)) return false;
        if (path == plan.pidfile) return invalid(error, "standard stream", {"it is the PID file"});
        stream = stream.truncates() ? Stream::truncated(path) : Stream(path);
    }
    return true;
}

void note(os::Plan& plan, const char* what, pure::Pieces value) {
    plan.notes += pure::join({what, ": ", pure::join(value), "\n"});
}

std::string stream_text(const Stream& stream) {
    switch (stream.choice()) {
        case Stream::keep_choice:
            return "kept";
        case Stream::path_choice:
            return pure::join({pure::path(stream.path())});
        case Stream::number_choice:
            return pure::join({"descriptor ", pure::number(stream.descriptor())});
        default:
            return "nothing";
    }
}

void explain_plan(os::Plan& plan) {
    note(plan, "PID file", {plan.pidfile.empty() ? "none" : pure::path(plan.pidfile)});
    if (plan.detach) {
        note(plan, "standard_input", {stream_text(plan.streams[0])});
        note(plan, "standard_output", {stream_text(plan.streams[1])});
        note(plan, "standard_error", {stream_text(plan.streams[2])});
    } else {
        note(plan, "standard streams", {"as they were"});
    }
    if (plan.sets_uid) note(plan, "uid", {pure::number(plan.new_uid), " ", plan.user});
    if (plan.drops) {
        note(plan, "gid", {pure::number(plan.new_gid)});
        std::string list;
        for (const unsigned group : plan.groups) list += pure::join({" ", pure::number(group)});
        note(plan, "supplementary groups", {list.empty() ? "none" : list.c_str() + 1});
    }
    if (!plan.chroot_directory.empty()) note(plan, "root", {pure::path(plan.chroot_directory)});
    note(plan, "working directory",
         {plan.working_directory.empty() ? "unchanged" : pure::path(plan.working_directory)});
}

std::string decision_text(const pure::Decision& decision) {
    return pure::join({decision.detach ? "detached" : "in the foreground", ", for ", decision.why});
}

// Steps 1 to 3: nothing is changed yet.
bool make_plan(const DaemonContext& c, Detach wish, bool kept, os::Plan& plan, Error& error) {
    const pure::Decision decision = pure::decide(wish, os::evidence());
    plan.detach = decision.detach;
    plan.inetd = decision.inetd;
    if (!check_supported(c, error) || !check_paths(c, error) || !check_values(c, error))
        return false;
    static_cast<DaemonOptions&>(plan) = c;
    plan.privileged = nullptr;  // the caller's runs; what it holds is not to be kept alive here
    if (plan.umask == -1) plan.umask = 027;
    plan.streams[0] = c.standard_input;
    plan.streams[1] = c.standard_output;
    plan.streams[2] = c.standard_error;
    plan.kept = kept;
    if (!os::resolve(plan, error) || !make_absolute(plan, error)) return false;
    if (plan.inetd) plan.pidfile.clear();  // each connection is a process
    if (plan.detach && plan.working_directory.empty())
        plan.working_directory = os::root_directory();
    note(plan, "started", {decision_text(decision)});
    explain_plan(plan);
    return !plan.detach || os::check_threads(plan, error);
}

// ---- Start: the launcher's half ----

// S2: what the launcher ends with. The daemon's own words go first; without any, how it ended.
void describe_failure(os::Heard heard, const os::Report& report, Duration limit, Error& error,
                      int& exit_code) {
    if (heard == os::Heard::timed_out) {
        exit_code = 124;
        pure::fail(error, errc::timed_out, "cannot start", pure::process(report.pid),
                   {"it has not called ready() within ", pure::span(limit)});
        return;
    }
    exit_code = pure::failure_code(report.exit_code);
    if (heard == os::Heard::report) {
        error.code = report.is_system ? std::error_code(report.number, os::last_error().category())
                                      : make_error_code(static_cast<errc>(report.number));
        error.text = report.text;
        return;
    }
    pure::fail(error, errc::start_failed, "cannot start", pure::process(report.pid), {report.text});
}

// Waits for the verdict, then leaves no trace but a running daemon, or none at all.
bool watch_over(Session& s, os::Launch* launch, Duration limit, Error& error) {
    const os::Deadline deadline(limit <= Duration(0) ? no_limit : limit);
    os::Report report;
    const os::Heard heard = os::hear(*launch, deadline, report);
    const bool said_ready = heard == os::Heard::report && report.word == os::Report::ready;
    bool accepted = said_ready;
    s.daemon = report.pid;
    const bool settled = os::settle(launch, accepted);
    if (accepted) os::tell_manager(pure::join({"MAINPID=", pure::number(report.pid), "\nREADY=1"}));
    // The file of a daemon that lives on is still its own.
    os::unlock(s.lock, accepted || !settled ? os::Removal::keep : os::Removal::any);
    if (said_ready && !accepted)
        pure::fail(error, errc::start_failed, "cannot start", pure::process(report.pid),
                   {"it could not leave its launcher's job"});
    else if (!accepted)
        describe_failure(heard, report, limit, error, s.exit_code);
    if (!settled) error.text += ", and could not be killed";
    return accepted;
}

// ---- Start: the daemon's half (also the foreground's) ----

bool run_privileged(DaemonContext& context, Error& error) {
    if (!context.privileged) return true;
    Outcome outcome = guarded([&] { context.privileged(context); });
    if (!outcome.threw && outcome.signum == no_signal) return true;
    if (!outcome.threw) outcome.text = pure::join({pure::signal_name(outcome.signum), " came"});
    return pure::fail(error, errc::start_failed, "cannot run", "the privileged step",
                      {outcome.text});
}

void clean_up() {
    if (the_daemon && the_daemon->open()) os::discard(the_daemon->lock, os::Removal::own);
}

// Step 16. A SignalHandler that was started before goes first (G5).
bool set_signals(os::Plan& plan, os::Lock& lock, Error& error) {
    for (const std::pair<int, os::Route>& entry : os::built_in_routes(plan, lock))
        if (!os::route_below(entry.first, entry.second, error)) return false;
    for (const std::pair<int, Handler>& entry : plan.signal_map)
        if (!os::route_below(entry.first, pure::route_of(entry.second), error)) return false;
    os::let_signals_in();
    return true;
}

bool become(Session& s, DaemonContext& context, Error& error) {
    os::Plan& plan = s.plan;
    if (!os::move_in(plan, s.lock, s.channel, error)) return false;  // 9, 10, 11
    the_daemon = &s;
    static const bool registered = std::atexit(clean_up) == 0;
    static_cast<void>(
        registered);  // without it an end by exit() leaves the file: stale, in nobody's way
    if (!plan.pidfile.empty() && !enter_itself(s.lock, error)) return false;  // 12
    if (!run_privileged(context, error)) return false;                        // 13
    if (!os::change_identity(plan, s.lock, error)) return false;              // 14, 15
    return set_signals(plan, s.lock, error);                                  // 16
}

// What stdio holds, before an end by _exit. Not where other threads may hold a stream for ever.
void flush(const os::Plan& plan) {
    if (!plan.allow_threads) std::fflush(nullptr);
}

// Says that the start failed, to whoever waits for it: the launcher, or the terminal.
[[noreturn]] void give_up(Session& s, const Error& error, int exit_code) {
    bool heard = false;
    flush(s.plan);
    if (s.channel) {
        os::append_line(s.plan.targets[2], pure::join({s.plan.program, ": ", error.text}));
        os::Report report;
        report.word = os::Report::failed;
        report.pid = os::self();
        report.exit_code = exit_code;
        report.is_system = error.code.category() != category();
        report.number = error.code.value();
        report.text = error.text;
        heard = os::say(s.channel, report);
    } else if (!s.plan.inetd) {
        say(2, s.plan.program, {error.text});
    }
    // A launcher that heard of it removes the file: it is neither jailed nor dropped.
    os::unlock(s.lock, heard ? os::Removal::keep : os::Removal::own);
    os::leave(pure::failure_code(exit_code));
}

// There is no other process to fail in: the error goes to the caller, and what was changed by then
// (umask, ids, directory) stays changed.
bool start_foreground(Session& s, DaemonContext& context, Error& error) {
    if (become(s, context, error)) return true;
    os::unlock(s.lock, os::Removal::any);
    s.process = 0;
    s.role = Role::launcher;
    return false;
}

// From the fork on nothing is thrown and nothing returned to the caller but a daemon that runs: a
// failure goes over the channel, and the process with it.
void start_daemon(Session& s, DaemonContext& context) {
    Error error;
    if (!become(s, context, error)) give_up(s, error, 1);
    if (!s.by_hand) context.ready();
}

void close_targets(os::Plan& plan) {
    for (os::Handle& target : plan.targets) target.close();
    plan.null_device.close();
}

// Step 17: until here descriptor 2 was the launcher's.
bool take_stderr(os::Plan& plan, Error& error) {
    const os::Handle& log = plan.targets[2] ? plan.targets[2] : plan.null_device;
    const bool kept = plan.streams[2].choice() == Stream::keep_choice;
    if (!kept && !os::put_stream(log, 2, error)) return false;
    close_targets(plan);
    return true;
}

// Bound to this process: a fork of the daemon has the object, but is not open (D3).
void mark_open(Session& s, Role role) {
    s.role = role;
    s.process = os::self();
    s.daemon = s.process;
    s.starting = true;
    setup_is_over = true;
}

// A program that is started again may come by other options (another clock, other arguments): a
// daemon without the file that its launcher has locked could never be found.
void check_birth(Session& s) {
    Error error;
    if (s.plan.pidfile == s.lock.path) return;
    invalid(error, "pidfile",
            {"it is ", pure::path(s.plan.pidfile), " in the daemon, but was ",
             pure::path(s.lock.path), " in its launcher"});
    give_up(s, error, 1);
}

// The numbered steps of DESIGN-ordered start: options, lock, logs, detach, then one half each.
bool try_start(Session& s, DaemonContext& context, bool kept, Error& error) {
    s.exit_code = 1;
    s.by_hand = context.ready_by_hand || s.controlled;
    s.plan = os::Plan();
    s.plan.program = !context.program_name.empty() ? context.program_name
                     : !s.program.empty()          ? s.program
                                                   : os::program_name();
    os::Birth born = os::birth(s.lock);
    const Detach wish = born.is_daemon ? Detach::yes : context.detach_process;
    if (!make_plan(context, wish, kept, s.plan, error)) {  // 1, 2, 3
        if (!born.is_daemon) return false;
        s.channel = born.channel;
        give_up(s, error, 1);
    }
    if (born.is_daemon) {
        s.channel = born.channel;
        context.payload = born.payload;
        if (!born.notes.empty()) s.plan.notes = born.notes;
        mark_open(s, Role::daemon);
        check_birth(s);
        start_daemon(s, context);
        return true;
    }
    os::SignalHold hold;
    s.lock.path = s.lock.path_here = s.plan.pidfile;
    s.lock.mode = s.plan.pidfile_mode;
    s.lock.target = s.plan.new_uid;
    if (!s.plan.pidfile.empty() && !acquire(s.lock, Duration(0), hold, error)) return false;  // 4
    hold.take();
    if (!os::open_streams(s.plan, error)) {  // 5
        os::unlock(s.lock, os::Removal::any);
        close_targets(s.plan);
        return false;
    }
    os::Launch* launch = nullptr;
    Error failure;
    const Role role = s.plan.detach ? os::detach(s.plan, s.lock, hold, s.channel, launch, failure)
                                    : Role::foreground;  // 6, 7, 8
    if (role == Role::launcher) {
        setup_is_over = setup_is_over || launch != nullptr;
        const bool accepted = launch && watch_over(s, launch, context.ready_timeout, failure);
        if (!launch) os::unlock(s.lock, os::Removal::any);
        close_targets(s.plan);

        s.after_start = accepted;
        error = failure;
        return accepted;
    }
    mark_open(s, role);
    if (role == Role::daemon) {
        hold.forget();
        start_daemon(s, context);
        return true;
    }
    if (!start_foreground(s, context, error)) return false;
    hold.forget();
    if (!s.by_hand) context.ready();
    return true;
}

// What a try that was repeated left in `error` is none of the caller's.
bool start_session(Session& s, DaemonContext& context, bool kept, Error& error) {
    const bool started = try_start(s, context, kept, error);
    if (started) error = Error();
    return started;
}

}  // namespace

// ---- Signals ----

// One SignalHandler: what each signal does, as wished and as it stands.
struct Watch {
    struct Entry {
        int signum;
        Handler* field;    // sigint, sigterm, sigabrt, reload: read anew each round
        Handler handler;   // of on() and signal_map
        SignalAction set;  // of our disposition, where is_set
        bool is_set;
        const Handler& wish() const { return field ? *field : handler; }
    };
    os::Wake wake;
    std::vector<Entry> entries;
    bool started = false;
    Session* session = nullptr;
    os::Deadline watchdog_due{no_limit};

    Entry* find(int signum) {
        for (Entry& entry : entries)
            if (entry.signum == signum) return &entry;
        return nullptr;
    }
    bool sync(Error& error);
    bool sync_one(Entry& entry, Error& error);
    void undo(Entry& entry);
    int dispatch(Entry& entry);
    int serve(std::size_t index);
    int next();
    void settle();
    bool any_pending() const;
    void keep_alive(Duration interval);
    int wait(const os::Deadline& deadline, std::intptr_t input);
};

// What stood there before comes back, unless somebody else has it by now (G5).
void Watch::undo(Entry& entry) {
    if (entry.is_set) os::release(entry.signum, wake);
    entry.is_set = false;
}

// Brings one disposition to what is wished. default_signal: whatever stood there before.
bool Watch::sync_one(Entry& entry, Error& error) {
    const Handler& wish = entry.wish();
    const SignalAction action = wish.callback() ? report_signal : wish.action();
    if (action == default_signal) {
        undo(entry);
        return true;
    }
    if (entry.is_set && entry.set == action) return true;
    if (!entry.is_set && !os::capture(entry.signum, wake, error)) return false;
    entry.is_set = true;
    entry.set = action;
    return os::route(entry.signum, pure::route_of(wish), error);
}

bool Watch::sync(Error& error) {
    for (Entry& entry : entries)
        if (!sync_one(entry, error)) return false;
    return true;
}

// Of ours: a signal of another SignalHandler, or of none, is not for this one's wake.
bool Watch::any_pending() const {
    for (const Entry& entry : entries)
        if (entry.is_set && os::pending(entry.signum) > 0) return true;
    return false;
}

// Runs the callback; returns the number of a signal that is to be reported.
int Watch::dispatch(Entry& entry) {
    const int signum = entry.signum;
    const Handler handler = entry.wish();  // a copy: the callback may replace itself
    if (!handler.callback()) return handler.action() == report_signal ? signum : no_signal;
    // The wake stays rung for what is left, also when the callback throws.
    struct Reminder {
        Watch& watch;
        bool reloads;
        ~Reminder() {
            if (reloads) os::tell_manager("READY=1");
            if (watch.any_pending()) os::ring(watch.wake);
        }
    };
    // READY=1 for the end of a reload must not be taken for the end of a start.
    const bool reloads = signum == signal_reload && !(session && session->starting);
    if (reloads)
        os::tell_manager(
            pure::join({"RELOADING=1\nMONOTONIC_USEC=",
                        pure::number(std::chrono::duration_cast<std::chrono::microseconds>(
                                         os::Deadline::Clock::now().time_since_epoch())
                                         .count())}));
    const Reminder reminder{*this, reloads};
    handler.callback()(signum);
    return no_signal;
}

// Callbacks of one signal: those counted, and those that came while these ran. Not without end: a
// flood must not keep an order to end waiting.
int Watch::serve(std::size_t index) {
    for (int round = 0; round < 2 && entries[index].is_set; ++round) {
        for (int left = os::pending(entries[index].signum); left > 0; --left) {
            if (!entries[index].is_set || !os::take(entries[index].signum)) break;
            const int signum = dispatch(entries[index]);
            if (signum != no_signal) return signum;
        }
    }
    return no_signal;
}

int Watch::next() {
    for (std::size_t i = 0; i < entries.size() && started; ++i) {  // by index: on() in a callback
        const int signum = serve(i);
        if (signum != no_signal) return signum;
    }
    return no_signal;
}

// The wake is rung exactly for what is left. In this order: who is counted after the look has rung.
void Watch::settle() {
    os::drain(wake);
    if (any_pending()) os::ring(wake);
}

// A loop that is heard of: the manager is told when half of its limit has passed.
void Watch::keep_alive(Duration interval) {
    if (session && session->open()) os::renew(session->lock);
    if (interval == no_limit) return;
    if (!watchdog_due.never() && !watchdog_due.over()) return;
    os::tell_manager("WATCHDOG=1");
    watchdog_due = os::Deadline(interval);
}

int Watch::wait(const os::Deadline& deadline, std::intptr_t input) {
    Error error;
    if (!started) {
        pure::fail(error, errc::invalid_option, "cannot wait for", "signals",
                   {"start() was not called"});
        raise_error(error);
    }
    const Duration interval = os::watchdog();
    for (;;) {
        const bool late = deadline.over();  // asked first: who comes in time is still served
        if (!sync(error)) raise_error(error);
        const int signum = next();    // before the wake is read: nothing stands in its way
        if (!started) return signum;  // a callback may call stop()
        settle();
        if (signum != no_signal) return signum;
        if (!sync(error)) raise_error(error);  // a callback may have replaced a handler
        keep_alive(interval);
        const bool watched = !watchdog_due.never() && watchdog_due.left() < deadline.left();
        const std::intptr_t handles[2] = {wake.readable.get(), input};
        const int count = input == -1 ? 1 : 2;
        const int ready = os::wait_any(handles, count, watched ? watchdog_due : deadline);
        if (ready == -1 && deadline.over()) return no_signal;
        if (ready == 1 && !any_pending()) return no_signal;
        if (late) return no_signal;  // also where a callback keeps its own signal pending
    }
}

namespace {

// "start": what each verb of control() does is one row.
enum class Verb { start, stop, restart, reload, status, run, help, none };

struct VerbName {
    const char* word;
    Verb verb;
};
const VerbName verbs[] = {{"start", Verb::start},     {"stop", Verb::stop},
                          {"restart", Verb::restart}, {"reload", Verb::reload},
                          {"status", Verb::status},   {"run", Verb::run},
                          {"--help", Verb::help},     {"-h", Verb::help}};

std::string base_name(const std::string& path) {
    const std::size_t slash = path.find_last_of("/\\");
    std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
    const std::size_t stem = name.size() < 4 ? 0 : name.size() - 4;
    if (stem > 0 && (name.substr(stem) == ".exe" || name.substr(stem) == ".EXE")) name.resize(stem);
    for (char& c : name)
        if (static_cast<unsigned char>(c) < 0x20) c = '?';  // one line a message
    return name;
}

// What control() knows while it works.
struct Control {
    DaemonContext& context;
    const std::function<int(DaemonContext&)>& body;
    std::string program;

    void say(pure::Pieces text) const { detail::say(1, program, text); }
    void complain(const std::string& text) const { detail::say(2, program, {text}); }
    int usage(int stream) const {
        os::print(stream, pure::join({"usage: ", program,
                                      " start|stop|restart|reload|status|run|--help [...]"}));
        return stream == 1 ? 0 : 2;
    }
    int start(Detach detach) const;
    int live() const;
    int stop() const;
    int restart() const;
    int reload() const;
    int status() const;
    int perform(Verb verb) const;
};

// C6: 4 not permitted, 3 not available here.
int exit_code_of(const Error& error, int otherwise) {
    if (error.code == std::errc::operation_not_permitted ||
        error.code == std::errc::permission_denied)
        return 4;
    if (error.code == errc::unsupported) return 3;
    return otherwise;
}

// The daemon's life: the body, and an end that is orderly whatever ended it.
int Control::live() const {
    Session& s = Session::of(context);
    int status = 0;
    const Outcome outcome = guarded([&] { status = body(context); });
    if (s.starting && s.channel) {
        Error error;
        error.code = make_error_code(errc::start_failed);
        error.text =
            outcome.threw ? outcome.text
            : outcome.signum != no_signal
                ? pure::join(
                      {"ended by ", pure::signal_name(outcome.signum), " before it was ready"})
                : pure::join({"ended with status ", pure::number(status), " before it was ready"});
        give_up(s, error,
                outcome.signum != no_signal ? 128 + outcome.signum
                : outcome.threw             ? 1
                                            : status);
    }
    if (outcome.threw && !s.plan.inetd) complain(outcome.text);
    context.close();
    return outcome.threw ? 1 : outcome.signum != no_signal ? 128 + outcome.signum : status;
}

// Prints, where open() would: with the line that a person wants ("started as process 4711"). The
// option is the caller's again as soon as it was read (D2).
int Control::start(Detach detach) const {
    Session& s = Session::of(context);
    Error error;
    if (s.open()) return live();
    const Detach wish = context.detach_process;
    context.detach_process = detach;
    s.controlled = true;
    const bool started = start_session(s, context, false, error);
    context.detach_process = wish;
    if (!started) {
        if (!s.plan.inetd) complain(error.text);

        flush(s.plan);
        if (error.code == errc::unsupported && s.exit_code == 1) os::leave(3);
        os::leave(s.exit_code);
    }
    if (s.role != Role::launcher) return live();
    say({"started as ", pure::process(s.daemon)});
    if (s.plan.warning) complain(s.plan.warning);
    os::leave(0);
}

// What stands in a file that nobody holds, if it is no PID: " (it holds 'garbage', no PID)".
std::string leftover_text(const std::string& file) {
    std::string path, why;
    os::Found found;
    Error ignored;
    long pid = 0;
    if (!absolute_copy(file, path, ignored) || !os::look(path, found, ignored) ||
        pure::judge(found, pid, why) != pure::Verdict::garbage)
        return std::string();
    return pure::join({" (", why, ")"});
}

int Control::stop() const {
    Error error;
    const os::Deadline::Clock::time_point begin = os::Deadline::Clock::now();
    const Stopped stopped = daemonize::stop(context.pidfile, context.stop_timeout, error);
    const pure::Piece after =
        pure::span(std::chrono::duration_cast<Duration>(os::Deadline::Clock::now() - begin));
    switch (stopped) {
        case Stopped::not_running:
            say({"not running", leftover_text(context.pidfile)});
            return 0;
        case Stopped::ended:
            say({"ended after ", after});
            return 0;
        case Stopped::killed:
            say({"did not end; killed after ", after});
            return 0;
        default:
            complain(error.text);
            return exit_code_of(error, 1);
    }
}

// A file that nobody has locked is in nobody's way, whatever it holds (P1).
int Control::restart() const {
    Error error;
    std::string path;
    os::Found found;
    const bool is_free = absolute_copy(context.pidfile, path, error) &&
                         os::look(path, found, error) && !found.locked;
    if (is_free) say({"not running", leftover_text(path)});
    os::Plan trial;  // what cannot even begin is no reason to end what runs
    if (!is_free && !make_plan(context, context.detach_process, false, trial, error)) {
        complain(error.text);
        return error.code == errc::unsupported ? 3 : 1;  // as start would
    }
    const int stopped = is_free ? 0 : stop();
    return stopped == 0 ? start(context.detach_process) : stopped;
}

int Control::reload() const {
    Error error;
    if (send(context.pidfile, signal_reload, error)) {
        say({"told to reload"});
        return 0;
    }
    complain(error.text);
    return error.code == errc::not_running ? 7 : exit_code_of(error, 1);
}

int Control::status() const {
    const Status status = daemonize::status(context.pidfile);
    say({status.text});
    return static_cast<int>(status.state);
}

int Control::perform(Verb verb) const {
    switch (verb) {
        case Verb::start:
            return start(context.detach_process);
        case Verb::run:
            return start(Detach::no);
        case Verb::stop:
            return stop();
        case Verb::reload:
            return reload();
        case Verb::status:
            return status();
        case Verb::help:
            return usage(1);
        case Verb::restart:
            return restart();
        default:
            return usage(2);
    }
}

const char* condition_text(errc condition) {
    switch (condition) {
        case errc::already_running:
            return "already running";
        case errc::not_running:
            return "not running";
        case errc::untrusted_pid_file:
            return "untrusted PID file";
        case errc::invalid_pid_file:
            return "invalid PID file";
        case errc::unproven_holder:
            return "locked by no proven daemon";
        case errc::invalid_option:
            return "invalid option";
        case errc::unsupported:
            return "not supported by this system";
        case errc::unknown_account:
            return "no such user or group";
        case errc::unknown_signal:
            return "no such signal, or none that can be used";
        case errc::threads_running:
            return "other threads are running";
        case errc::start_failed:
            return "the start failed";
        case errc::timed_out:
            return "timed out";
        case errc::drop_incomplete:
            return "privileges could be regained";
    }
    return "unknown condition";
}

class Category : public std::error_category {
public:
    const char* name() const noexcept override { return "daemonize"; }
    std::string message(int value) const override {
        return condition_text(static_cast<errc>(value));
    }
};

}  // namespace
}  // namespace detail

// ---- The public face ----

Stream Stream::descriptor(int open_descriptor) {
    Stream stream;
    stream.choice_ = number_choice;
    stream.descriptor_ = open_descriptor;
    return stream;
}

Stream Stream::truncated(const std::string& path) {
    Stream stream(path);
    stream.truncates_ = true;
    return stream;
}

const std::error_category& category() noexcept {
    static const detail::Category* const instance = new detail::Category;  // outlives every static
    return *instance;
}

std::error_code make_error_code(errc condition) noexcept {
    return std::error_code(static_cast<int>(condition), category());
}

DaemonError::DaemonError(const Error& error) : std::system_error(error.code), text_(error.text) {}

PidFile::PidFile(const std::string& path, int mode) : held_(new detail::Held) {
    using namespace detail;
    if (mode < 0400 || mode > 0777 || (mode & 022))
        invalid(held_->path_error, "mode", {"not readable by us, or others could write the file"});
    else
        absolute_copy(path, held_->lock.path, held_->path_error);
    held_->lock.path_here = held_->lock.path;
    held_->lock.mode = mode;
}

PidFile::PidFile(PidFile&& other) noexcept : held_(other.held_) { other.held_ = nullptr; }

PidFile& PidFile::operator=(PidFile&& other) noexcept {
    std::swap(held_, other.held_);
    return *this;
}

PidFile::~PidFile() {
    release();
    delete held_;
}

bool PidFile::acquire(Duration limit, Error& error) noexcept {
    using namespace detail;
    if (is_held()) return true;
    if (!held_ || held_->path_error) {
        error = held_ ? held_->path_error : Error();
        return held_ ? false : invalid(error, "pidfile", {"the object was moved from"});
    }
    os::SignalHold hold;
    if (!detail::acquire(held_->lock, limit, hold, error)) return false;
    if (enter_itself(held_->lock, error)) {
        error = Error();  // of a try that was repeated
        return true;
    }
    os::unlock(held_->lock, os::Removal::any);
    return false;
}

void PidFile::acquire(Duration limit) {
    Error error;
    if (!acquire(limit, error)) detail::raise_error(error);
}

void PidFile::release() noexcept {
    if (held_) detail::os::unlock(held_->lock, detail::os::Removal::own);
}

bool PidFile::is_held() const noexcept {
    return held_ && held_->lock.file && held_->lock.owner == detail::os::self();
}

long PidFile::read(Error& error) const noexcept {
    using namespace detail;
    os::Found found;
    std::string why;
    if (!held_ || held_->path_error) {
        error = held_ ? held_->path_error : Error();
        if (!held_) invalid(error, "pidfile", {"the object was moved from"});
        return 0;
    }
    if (!os::look(held_->lock.path, found, error)) return 0;
    if (!found.exists) {
        pure::fail(error, std::make_error_code(std::errc::no_such_file_or_directory), "cannot read",
                   pure::path(held_->lock.path));
        return 0;
    }
    const long pid = pure::parse_pid(found.text, why);
    if (!pid)
        pure::fail(error, errc::invalid_pid_file, "cannot read", pure::path(held_->lock.path),
                   {why});
    return pid;
}

long PidFile::read() const {
    Error error;
    const long pid = read(error);
    if (!pid) detail::raise_error(error);
    return pid;
}

const std::string& PidFile::path() const noexcept {
    static const std::string* const none = new std::string;
    return held_ ? held_->lock.path : *none;
}

std::string PidFile::default_path(const std::string& program, Error& error) noexcept {
    if (program.empty() || program == "." || program == ".." ||
        !detail::os::is_file_name(program)) {
        detail::invalid(error, "program", {"not a file name: ", detail::pure::quote(program)});
        return std::string();
    }
    const std::string directory = detail::os::state_directory(error);
    return directory.empty() ? directory : detail::pure::join({directory, "/", program, ".pid"});
}

std::string PidFile::default_path(const std::string& program) {
    Error error;
    std::string path = default_path(program, error);
    if (path.empty()) detail::raise_error(error);
    return path;
}

Handler::Handler(void (*function)(int signum)) {
    if (function == SIG_IGN)
        action_ = ignore_signal;
    else if (function == SIG_DFL)
        action_ = default_signal;
    else
        callback_ = function;
}

ReceivedSignal::~ReceivedSignal() {}
ReceivedSIGINT::ReceivedSIGINT() noexcept : ReceivedSignal(SIGINT) {}
ReceivedSIGTERM::ReceivedSIGTERM() noexcept : ReceivedSignal(SIGTERM) {}
ReceivedSIGABRT::ReceivedSIGABRT() noexcept : ReceivedSignal(SIGABRT) {}

SignalHandler::SignalHandler() : reload(default_signal), watch_(new detail::Watch) {
    for (const std::pair<int, Handler*>& field :
         {std::make_pair(SIGINT, &sigint), std::make_pair(SIGTERM, &sigterm),
          std::make_pair(SIGABRT, &sigabrt), std::make_pair(signal_reload, &reload)}) {
        watch_->entries.push_back({field.first, field.second, Handler(), default_signal, false});
    }
}

SignalHandler::SignalHandler(DaemonContext& context) : SignalHandler() {
    detail::Session& session = detail::Session::of(context);
    watch_->session = &session;
    if (session.controlled) {
        reload = [&context](int) {
            // Of a terminal that was closed it means the end, as for any program in the foreground.
            if (context.role() == Role::foreground && detail::os::terminal_is_gone()) {
                std::raise(SIGTERM);
                return;
            }
            Error error;  // a stream that could not be re-opened keeps its old file, which is told
            if (!context.reopen_streams(error))
                detail::say(2, detail::os::program_name(), {error.text});
        };
    }
    for (const std::pair<int, Handler>& mapped : context.signal_map) {
        if (detail::pure::route_of(mapped.second) != detail::os::Route::count) continue;
        detail::Watch::Entry* const known = watch_->find(mapped.first);
        if (known)
            (known->field ? *known->field : known->handler) = mapped.second;
        else
            watch_->entries.push_back(
                {mapped.first, nullptr, mapped.second, default_signal, false});
    }
}

SignalHandler::~SignalHandler() {
    stop();
    delete watch_;
}

bool SignalHandler::on(int signum, Handler handler, Error& error) noexcept {
    using namespace detail;
    if (!os::is_catchable(signum))
        return pure::fail(error, errc::unknown_signal, "cannot handle", pure::signal_name(signum));
    Watch::Entry* entry = watch_->find(signum);
    if (!entry) {
        watch_->entries.push_back({signum, nullptr, Handler(), default_signal, false});
        entry = &watch_->entries.back();
    }
    (entry->field ? *entry->field : entry->handler) = handler;
    return !watch_->started || watch_->sync_one(*entry, error);
}

void SignalHandler::on(int signum, Handler handler) {
    Error error;
    if (!on(signum, handler, error)) detail::raise_error(error);
}

bool SignalHandler::start(Error& error) noexcept {
    if (watch_->started) return true;
    if (!detail::os::open_wake(watch_->wake, error)) return false;
    watch_->started = true;
    if (watch_->sync(error)) return true;
    stop();
    return false;
}

void SignalHandler::start() {
    Error error;
    if (!start(error)) detail::raise_error(error);
}

void SignalHandler::stop() noexcept {
    if (!watch_->started) return;
    for (detail::Watch::Entry& entry : watch_->entries) watch_->undo(entry);
    watch_->started = false;
    detail::os::close_wake(watch_->wake);
}

int SignalHandler::wait() { return wait_for(no_limit); }
int SignalHandler::wait_for(Duration limit) {
    return watch_->wait(detail::os::Deadline(limit), -1);
}
int SignalHandler::poll() { return wait_for(Duration(0)); }

int SignalHandler::wait_for_input(std::intptr_t handle, Duration limit) {
    return watch_->wait(detail::os::Deadline(limit), handle);
}

void SignalHandler::throw_received(Duration limit) {
    const int signum = wait_for(limit);
    if (signum != no_signal) detail::raise_received(signum);
}

std::intptr_t SignalHandler::native_handle() const noexcept { return watch_->wake.readable.get(); }

DaemonContext::DaemonContext() : session_(new detail::Session) {}

// Before the start only: a session is found by its address (fork handlers, terminate).
DaemonContext::DaemonContext(DaemonContext&& other) noexcept
    : DaemonOptions(std::move(other)), session_(new detail::Session) {}

DaemonContext::~DaemonContext() {
    close();
    // What was started is the process's until its end: `terminate` and the lock refer to it.
    if (session_->process == 0) delete session_;
}

Role DaemonContext::start(Error& error) noexcept {
    error = Error();
    if (is_open()) return session_->role;
    if (!detail::start_session(*session_, *this, true, error)) return Role::launcher;
    return session_->role;
}

Role DaemonContext::start() {
    Error error;
    const Role role = start(error);
    if (error) detail::raise_error(error);
    return role;
}

void DaemonContext::open() {
    using namespace detail;
    Error error;
    if (is_open()) return;
    const bool started = start_session(*session_, *this, false, error);
    if (started && session_->role != Role::launcher) return;
    flush(session_->plan);
    if (!started && !session_->plan.inetd) say(2, session_->plan.program, {error.text});
    if (started && session_->plan.warning)
        say(2, session_->plan.program, {"started, but ", session_->plan.warning});
    os::leave(started ? 0 : session_->exit_code);
}

void DaemonContext::ready() noexcept {
    using namespace detail;
    Session& s = *session_;
    if (!s.open() || !s.starting) return;
    os::renew(s.lock);
    if (s.role == Role::foreground) {
        s.starting = false;
        os::tell_manager("READY=1");
        return;
    }
    Error error;
    if (!take_stderr(s.plan, error)) give_up(s, error, 1);
    os::Report report;
    report.word = os::Report::ready;
    report.pid = s.daemon;
    s.starting = false;
    if (os::say(s.channel, report)) return;
    os::unlock(s.lock, os::Removal::own);  // nobody knows of this daemon: it must not live on
    os::leave(1);
}

void DaemonContext::fail(const std::string& message, int exit_code) noexcept {
    using namespace detail;
    Session& s = *session_;
    Error error;
    error.code = make_error_code(errc::start_failed);
    error.text = message;
    while (!error.text.empty() && error.text.back() == '\n') error.text.pop_back();
    if (s.open() && s.starting) give_up(s, error, exit_code);
    if (!s.plan.inetd) say(2, s.open() ? s.plan.program : os::program_name(), {error.text});
    flush(s.plan);
    if (!s.open()) os::leave(pure::failure_code(exit_code));
    close();
    std::exit(pure::failure_code(exit_code));
}

void DaemonContext::close() noexcept {
    using namespace detail;
    Session& s = *session_;
    if (!s.open()) {
        os::unlock(s.lock,
                   os::Removal::keep);  // in a fork of the daemon: the descriptor, nothing else
        return;
    }
    if (!s.closed) os::tell_manager("STOPPING=1");
    s.closed = true;
    os::discard(s.lock, os::Removal::own);  // the lock stays until the process ends
}

void DaemonContext::terminate(int signum) noexcept { detail::os::terminate(signum); }

bool DaemonContext::is_open() const noexcept { return session_->open(); }
bool DaemonContext::is_parent() const noexcept { return session_->after_start; }
Role DaemonContext::role() const noexcept { return session_->role; }
long DaemonContext::pid() const noexcept { return session_->daemon; }

bool DaemonContext::reopen_streams(Error& error) noexcept {
    using namespace detail;
    const Session& s = *session_;
    bool done = true;
    if (!s.open() || s.role != Role::daemon) return true;  // the foreground's streams are not ours
    for (int which = 1; which <= 2; ++which) {
        const Stream& stream = s.plan.streams[which];
        if (stream.choice() != Stream::path_choice) continue;
        if (which == 2 && s.starting) continue;  // still the launcher's
        Error failure;
        const std::string here = pure::inside(stream.path(), s.plan.chroot_directory);
        const bool swapped =
            here.empty() ? pure::fail(failure, errc::unsupported, "cannot re-open",
                                      pure::path(stream.path()), {"it is outside chroot_directory"})
                         : os::reopen(which, here, failure);
        if (!swapped && done) error = failure;
        done = done && swapped;
    }
    return done;
}

void DaemonContext::reopen_streams() {
    Error error;
    if (!reopen_streams(error)) detail::raise_error(error);
}

std::string DaemonContext::explain() const {
    using namespace detail;
    if (!session_->plan.notes.empty()) return session_->plan.notes;
    const pure::Decision decision = pure::decide(detach_process, os::evidence());
    return pure::join({"would start: ", decision_text(decision), "\n"});
}

bool is_setup() noexcept { return !detail::setup_is_over && !detail::os::was_relaunched(); }

bool send(const std::string& pidfile, int signum, Error& error) noexcept {
    using namespace detail;
    if (!os::is_sendable(signum))
        return pure::fail(error, errc::unknown_signal, "cannot send", pure::signal_name(signum));
    return send_signal(pidfile, signum, error);
}

void send(const std::string& pidfile, int signum) {
    Error error;
    if (!send(pidfile, signum, error)) detail::raise_error(error);
}

Status status(const std::string& pidfile) noexcept {
    using namespace detail;
    Status status{State::unknown, 0, Duration(0), std::string()};
    Error error;
    Holder holder;
    std::string path;
    if (!absolute_copy(pidfile, path, error) || !find_holder(path, Wanted::daemon, holder, error)) {
        status.text = error.text;
        return status;
    }
    switch (holder.verdict) {
        case pure::Verdict::proven:
            status.state = State::running;
            status.pid = holder.daemon.pid;
            status.uptime = os::age(holder.daemon);
            status.text = pure::join({"running as ", pure::process(status.pid)});
            if (status.uptime > Duration(0))
                status.text += pure::join({" for ", pure::span(status.uptime)});
            break;
        case pure::Verdict::dead:
            status.state = State::dead;
            status.text = pure::join(
                {"dead: ", pure::process(holder.pid), " left ", pure::path(path), " behind"});
            break;
        case pure::Verdict::missing:
        case pure::Verdict::empty:
            status.state = State::not_running;
            status.text = "not running";
            break;
        default:
            status.text = pure::join(
                {"cannot tell from ", pure::path(path), ": ",
                 pure::unproven_text(holder.verdict, holder.found, holder.pid, holder.why)});
    }
    return status;
}

namespace detail {
namespace {

// The path names another file by now, or none, or nobody has it locked.
bool is_free(const os::Found& now, const Holder& holder) {
    return !now.exists || now.device != holder.found.device || now.inode != holder.found.inode ||
           !now.locked;
}

bool is_free(const std::string& path, const Holder& holder) {
    os::Found now;
    Error ignored;
    return os::look(path, now, ignored) && is_free(now, holder);
}

// The lock of a process that has ended may live on in a launcher that Ctrl-Z stopped.
bool await_unlocked(const std::string& path, const Holder& holder, const os::Deadline& deadline,
                    Error& error) {
    Backoff backoff(deadline);
    for (;;) {
        const bool late = deadline.over();
        os::Found now;
        if (!os::look(path, now, error)) return false;
        if (is_free(now, holder)) return true;
        if (late || (now.owner > 0 && now.owner != holder.found.owner)) {
            const pure::Piece who =
                now.owner > 0 ? pure::process(now.owner) : pure::Piece("another process");
            return pure::fail(
                error, errc::unproven_holder, "cannot stop the daemon of", pure::path(path),
                {pure::process(holder.daemon.pid), " is gone, but ", who, " holds the lock"});
        }
        backoff.pause();
    }
}

// What a killed daemon could not do: under a lock of our own, and only if nobody else came.
void remove_leftover(const std::string& path, const Holder& holder) {
    os::Lock lock;
    Error ignored;  // someone else has it now, or it is gone: both are fine
    os::Found found;
    lock.path = lock.path_here = path;
    if (os::lock(lock, os::Purpose::removal, ignored) != os::Attempt::got) return;
    const bool same = os::look(path, found, ignored) && found.device == holder.found.device &&
                      found.inode == holder.found.inode && pure::is_left_by(found.text, holder.pid);
    os::unlock(lock, same ? os::Removal::any : os::Removal::keep);
}

// SIGTERM, also where other signals overtake it: then another process stands in for the daemon.
os::Sent ask_holder(const std::string& path, Holder& holder) {
    const os::Deadline deadline(signal_patience);
    for (;;) {
        const os::Sent sent = os::ask_to_end(holder.entry);
        if (sent != os::Sent::lost || deadline.over()) return sent;
        os::pause(Duration(1));
        Holder next;
        Error ignored;
        if (!find_holder(path, Wanted::entry, next, ignored) ||
            next.verdict != pure::Verdict::proven || !same_holder(holder.found, next.found) ||
            os::await_end(holder.daemon, os::Deadline(Duration(0))))
            return os::Sent::gone;
        holder.entry = std::move(next.entry);
        holder.pid = next.pid;
    }
}

// The number in the file of a daemon that is about to be killed, by which its file is known.
void look_again(const std::string& path, Holder& holder) {
    os::Found now;
    Error ignored;
    std::string why;
    if (!os::look(path, now, ignored) || !same_holder(holder.found, now)) return;
    const long pid = pure::parse_pid(now.text, why);
    if (pid) holder.pid = pid;
}

Stopped stop_holder(const std::string& path, Holder& holder, Duration limit, Error& error) {
    const os::Deadline deadline(limit);
    const pure::Piece process = pure::process(holder.daemon.pid);
    if (holder.daemon.pid == os::self() || os::is_ancestor(holder.daemon.pid)) {
        pure::fail(error, errc::invalid_option, "cannot stop", process,
                   {"it is this process, or an ancestor of it"});
        return Stopped::failed;
    }
    const os::Sent sent = ask_holder(path, holder);
    if (sent == os::Sent::denied || sent == os::Sent::failed) {
        pure::fail(error, os::last_error(), "cannot stop", process);
        return Stopped::failed;
    }
    bool killed = false;
    if (!os::await_end(holder.daemon, deadline)) {
        look_again(path, holder);
        killed = os::end_process(holder.daemon);
        // A corpse that nobody collects has no lock; where nothing else tells, that does.
        const bool told = holder.daemon.handle || holder.daemon.born != 0;
        if (!os::await_end(holder.daemon, os::Deadline(after_kill)) &&
            (told || !is_free(path, holder))) {
            pure::fail(error, errc::timed_out, "cannot stop", process,
                       {"it has not ended ", pure::span(after_kill), " after it was killed"});
            return Stopped::failed;
        }
    }
    const Duration left = deadline.left();
    if (!await_unlocked(path, holder, os::Deadline(left < patience ? patience : left), error))
        return Stopped::failed;
    remove_leftover(path, holder);
    return killed ? Stopped::killed : Stopped::ended;
}

}  // namespace
}  // namespace detail

Stopped stop(const std::string& pidfile, Duration limit, Error& error) noexcept {
    using namespace detail;
    Holder holder;
    std::string path;
    error = Error();
    if (!absolute_copy(pidfile, path, error)) return Stopped::failed;
    if (!require_holder(path, Wanted::daemon, "cannot stop the daemon of", holder, error)) {
        if (error.code != errc::not_running) return Stopped::failed;
        error = Error();
        return Stopped::not_running;
    }
    return stop_holder(path, holder, limit, error);
}

Stopped stop(const std::string& pidfile, Duration limit) {
    Error error;
    const Stopped stopped = stop(pidfile, limit, error);
    if (stopped == Stopped::failed) detail::raise_error(error);
    return stopped;
}

int control(int argc, const char* const* argv, DaemonContext& context,
            const std::function<int(DaemonContext&)>& body) {
    using namespace detail;
    const std::vector<std::string> words = os::words_of(argc, argv);
    const std::string program = !context.program_name.empty() ? context.program_name
                                : !words.empty()              ? base_name(words[0])
                                                              : os::program_name();
    const Control control{context, body, program};
    Session::of(context).program = program;
    if (os::was_relaunched()) return control.start(Detach::yes);  // whatever the verb was
    Verb verb = Verb::none;
    for (const VerbName& known : verbs)
        if (words.size() > 1 && words[1] == known.word) verb = known.verb;
    const bool asks =
        verb == Verb::stop || verb == Verb::restart || verb == Verb::reload || verb == Verb::status;
    if (asks && context.pidfile.empty()) {
        control.complain("no PID file is named");
        return 2;
    }
    return control.perform(verb);
}

std::vector<std::string> utf8_arguments(int argc, const char* const* argv) {
    return detail::os::words_of(argc, argv);
}

bool notify(const std::string& assignments) noexcept {
    return detail::os::tell_manager(assignments);
}
Duration watchdog_interval() noexcept { return detail::os::watchdog(); }

}  // namespace daemonize

// >>posix -----------------------------------------------------------------------------------------
#if !DAEMONIZE_WINDOWS

// Features: decided here once; each may be set to 0. A call that is there but refused (an old
// kernel, a seccomp filter) takes the same way as one that is not.
#if defined(__linux__) && !defined(DAEMONIZE_GENERIC_POSIX)
#define DAEMONIZE_ON_LINUX 1
#else
#define DAEMONIZE_ON_LINUX 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define DAEMONIZE_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define DAEMONIZE_SANITIZED 1
#endif
#endif
#ifndef DAEMONIZE_SANITIZED
#define DAEMONIZE_SANITIZED 0
#endif
#if defined(__SANITIZE_THREAD__)
#define DAEMONIZE_UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define DAEMONIZE_UNDER_TSAN 1
#endif
#endif
#ifndef DAEMONIZE_UNDER_TSAN
#define DAEMONIZE_UNDER_TSAN 0
#endif
#ifndef DAEMONIZE_HAVE_PIDFD
#define DAEMONIZE_HAVE_PIDFD DAEMONIZE_ON_LINUX
#endif
#ifndef DAEMONIZE_HAVE_CLOSE_RANGE
#define DAEMONIZE_HAVE_CLOSE_RANGE DAEMONIZE_ON_LINUX
#endif
#ifndef DAEMONIZE_HAVE_PRCTL  // subreaper, dumpable, no_new_privs
#define DAEMONIZE_HAVE_PRCTL DAEMONIZE_ON_LINUX
#endif
#ifndef DAEMONIZE_HAVE_VFORK
#define DAEMONIZE_HAVE_VFORK (DAEMONIZE_ON_LINUX && !DAEMONIZE_SANITIZED)
#endif
#ifndef DAEMONIZE_HAVE_RECORD_LOCK  // fcntl locks that do not see flock's
#define DAEMONIZE_HAVE_RECORD_LOCK DAEMONIZE_ON_LINUX
#endif
#ifndef DAEMONIZE_HAVE_PROCFS
#define DAEMONIZE_HAVE_PROCFS DAEMONIZE_ON_LINUX
#endif
#ifndef DAEMONIZE_HAVE_KINFO  // sysctl(KERN_PROC_PID): what PROCFS tells elsewhere
#if (defined(__APPLE__) || defined(__FreeBSD__)) && !defined(DAEMONIZE_GENERIC_POSIX)
#define DAEMONIZE_HAVE_KINFO 1
#else
#define DAEMONIZE_HAVE_KINFO 0
#endif
#endif
#ifndef DAEMONIZE_HAVE_SETRESUID  // and getresuid
#define DAEMONIZE_HAVE_SETRESUID DAEMONIZE_ON_LINUX
#endif
#ifndef DAEMONIZE_HAVE_PIPE2  // and SOCK_CLOEXEC
#define DAEMONIZE_HAVE_PIPE2 DAEMONIZE_ON_LINUX
#endif
#ifndef DAEMONIZE_HAVE_CLOSEFROM
#if defined(__FreeBSD__) || defined(__OpenBSD__) || defined(__NetBSD__) || \
    defined(__DragonFly__) || defined(__sun)
#define DAEMONIZE_HAVE_CLOSEFROM 1
#else
#define DAEMONIZE_HAVE_CLOSEFROM 0
#endif
#endif
#ifndef DAEMONIZE_HAVE_GETPROGNAME
#if defined(__APPLE__) || defined(__FreeBSD__) || defined(__OpenBSD__) || defined(__NetBSD__) || \
    defined(__DragonFly__)
#define DAEMONIZE_HAVE_GETPROGNAME 1
#else
#define DAEMONIZE_HAVE_GETPROGNAME 0
#endif
#endif

#if DAEMONIZE_HAVE_PRCTL
#include <sys/prctl.h>
#endif
#if DAEMONIZE_HAVE_PIDFD || DAEMONIZE_HAVE_CLOSE_RANGE
#include <sys/syscall.h>
#endif
#if DAEMONIZE_HAVE_KINFO
#include <sys/param.h>
#include <sys/sysctl.h>
#include <sys/proc.h>
#if defined(__APPLE__)
#include <libproc.h>
#else
#include <sys/user.h>
#endif
#endif

namespace daemonize {

extern const int signal_reload = SIGHUP;

namespace detail {
namespace os {
namespace {

// ---- Features, each with the form that it takes where it is not there ----

#if DAEMONIZE_HAVE_PIDFD
// The numbers are the same on every architecture but Alpha; the kernel may know what
// <sys/syscall.h> does not yet.
#ifndef SYS_pidfd_open
#define DAEMONIZE_SYS_PIDFD_OPEN 434
#else
#define DAEMONIZE_SYS_PIDFD_OPEN SYS_pidfd_open
#endif
#ifndef SYS_pidfd_send_signal
#define DAEMONIZE_SYS_PIDFD_SEND_SIGNAL 424
#else
#define DAEMONIZE_SYS_PIDFD_SEND_SIGNAL SYS_pidfd_send_signal
#endif
int open_pidfd(long pid) {
    return static_cast<int>(::syscall(DAEMONIZE_SYS_PIDFD_OPEN, static_cast<pid_t>(pid), 0U));
}
int signal_pidfd(int fd, int signum) {
    return static_cast<int>(
        ::syscall(DAEMONIZE_SYS_PIDFD_SEND_SIGNAL, fd, signum, static_cast<void*>(nullptr), 0U));
}
#else
int open_pidfd(long) {
    errno = ENOSYS;
    return -1;
}
int signal_pidfd(int, int) {
    errno = ENOSYS;
    return -1;
}
#endif

#if DAEMONIZE_HAVE_CLOSE_RANGE
#ifndef SYS_close_range
#define DAEMONIZE_SYS_CLOSE_RANGE 436
#else
#define DAEMONIZE_SYS_CLOSE_RANGE SYS_close_range
#endif
bool close_gap(int first, int last) {
    return ::syscall(DAEMONIZE_SYS_CLOSE_RANGE, static_cast<unsigned>(first),
                     static_cast<unsigned>(last), 0U) == 0;
}
const char* const close_gap_name = "close_range";
#elif DAEMONIZE_HAVE_CLOSEFROM
bool close_gap(int first, int last) {
    if (last == INT_MAX) {
        ::closefrom(first);
    } else {
        for (int fd = first; fd <= last; ++fd) ::close(fd);
    }
    return true;
}
const char* const close_gap_name = "closefrom";
#else
bool close_gap(int, int) { return false; }
const char* const close_gap_name = "";
#endif

#if DAEMONIZE_HAVE_PRCTL
bool set_subreaper(bool on) {
    return ::prctl(PR_SET_CHILD_SUBREAPER, on ? 1L : 0L, 0L, 0L, 0L) == 0;
}
bool is_subreaper() {
    int on = 0;
    return ::prctl(PR_GET_CHILD_SUBREAPER, &on, 0L, 0L, 0L) == 0 && on != 0;
}
bool set_undumpable() { return ::prctl(PR_SET_DUMPABLE, 0L, 0L, 0L, 0L) == 0; }
bool set_no_new_privs() { return ::prctl(PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L) == 0; }
#else
bool set_subreaper(bool) { return false; }
bool is_subreaper() { return false; }
bool set_undumpable() { return true; }  // the core limit is all there is
bool set_no_new_privs() {
    errno = ENOSYS;
    return false;
}
#endif

#if DAEMONIZE_HAVE_SETRESUID
bool set_gids(gid_t gid) { return ::setresgid(gid, gid, gid) == 0; }
bool set_uids(uid_t uid) { return ::setresuid(uid, uid, uid) == 0; }
bool all_ids_are(uid_t uid, gid_t gid) {
    uid_t u[3];
    gid_t g[3];
    return ::getresuid(u, u + 1, u + 2) == 0 && ::getresgid(g, g + 1, g + 2) == 0 && u[0] == uid &&
           u[1] == uid && u[2] == uid && g[0] == gid && g[1] == gid && g[2] == gid;
}
#else
// For root these set real, effective and saved id alike; the proof of the drop finds out.
bool set_gids(gid_t gid) { return ::setgid(gid) == 0; }
bool set_uids(uid_t uid) { return ::setuid(uid) == 0; }
bool all_ids_are(uid_t uid, gid_t gid) {
    return ::getuid() == uid && ::geteuid() == uid && ::getgid() == gid && ::getegid() == gid;
}
#endif

void set_cloexec(int fd) {
    const int flags = ::fcntl(fd, F_GETFD);
    if (flags != -1) ::fcntl(fd, F_SETFD, flags | FD_CLOEXEC);
}

#if DAEMONIZE_HAVE_PIPE2
int make_pipe(int fds[2]) { return ::pipe2(fds, O_CLOEXEC); }
int make_socketpair(int fds[2]) {
    return ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds);
}
int make_socket() { return ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0); }
#else
int make_pipe(int fds[2]) {
    if (::pipe(fds) != 0) return -1;
    set_cloexec(fds[0]);
    set_cloexec(fds[1]);
    return 0;
}
int make_socketpair(int fds[2]) {
    if (::socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0) return -1;
    set_cloexec(fds[0]);
    set_cloexec(fds[1]);
    return 0;
}
int make_socket() {
    const int fd = ::socket(AF_UNIX, SOCK_DGRAM, 0);
    if (fd != -1) set_cloexec(fd);
    return fd;
}
#endif

// A peer that has gone is an error of send(), never a SIGPIPE.
#if defined(MSG_NOSIGNAL)
const int send_flags = MSG_NOSIGNAL;
void without_sigpipe(int) {}
#else
const int send_flags = 0;
void without_sigpipe(int fd) {
    const int on = 1;
    ::setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
}
#endif

#if DAEMONIZE_HAVE_VFORK
// The intermediate only forks and leaves: it need not be a copy of a process that may be large.
#define DAEMONIZE_LIGHT_FORK ::vfork
#else
#define DAEMONIZE_LIGHT_FORK ::fork
#endif

#if DAEMONIZE_HAVE_GETPROGNAME
std::string own_name() { return ::getprogname(); }
#elif DAEMONIZE_ON_LINUX && defined(_GNU_SOURCE)
std::string own_name() { return program_invocation_short_name; }
#else
std::string own_name();
#endif

// macOS declares int where others have gid_t: the type is taken from the function.
template <class T>
int list_groups(int (*call)(const char*, T, T*, int*), const std::string& user, std::int64_t gid,
                std::vector<unsigned>& out) {
    static_assert(sizeof(T) == sizeof(unsigned) && sizeof(gid_t) == sizeof(unsigned), "32 bits");
    int count = 32;
    for (;;) {
        out.resize(static_cast<std::size_t>(count) * 2);
        count = static_cast<int>(out.size());
        if (call(user.c_str(), static_cast<T>(gid), reinterpret_cast<T*>(out.data()), &count) != -1)
            break;
        count = static_cast<int>(out.size());
        if (count >= 65536) return -1;  // no kernel takes more
    }
    out.resize(static_cast<std::size_t>(count));
    return 0;
}

template <class Count>
int call_setgroups(int (*call)(Count, const gid_t*), const std::vector<unsigned>& groups) {
    return call(static_cast<Count>(groups.size()), reinterpret_cast<const gid_t*>(groups.data()));
}

// ---- Small tools ----

DAEMONIZE_COLD bool refused(Error& error, pure::Piece step, pure::Piece object) {
    return pure::fail(error, last_error(), step, object);
}

// Ours never stand on 0, 1 or 2, which may be closed: a log would end up there.
int lift(int fd) {
    if (fd < 0 || fd > 2) return fd;
    const int lifted = ::fcntl(fd, F_DUPFD_CLOEXEC, 3);
    Handle low(fd);
    return lifted;
}

std::string read_small(const char* path) {
    std::string text;
    const Handle file(::open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY));
    char buffer[1024];
    for (ssize_t n; file && (n = ::read(file.fd(), buffer, sizeof buffer)) > 0;)
        text.append(buffer, static_cast<std::size_t>(n));
    return text;
}

#if !DAEMONIZE_HAVE_GETPROGNAME && !(DAEMONIZE_ON_LINUX && defined(_GNU_SOURCE))
// POSIX does not tell it; where there is a /proc like Linux's, that does.
std::string own_name() {
    std::string name = read_small("/proc/self/comm");
    while (!name.empty() && name.back() == '\n') name.pop_back();
    return name.empty() ? "daemon" : name;
}
#endif

// The value of "Name:" in /proc/.../status; "" without it.
std::string status_field(const std::string& text, const char* name) {
    const std::string key = pure::join({"\n", name, ":"});
    const std::size_t at = text.find(key);
    if (at == std::string::npos) return std::string();
    const std::size_t begin = at + key.size();
    return text.substr(begin, text.find('\n', begin) - begin);
}

// What the system tells of a process; `born` is 0 where it tells nothing.
struct Stat {
    bool there = false, is_zombie = false;
    long parent = 0, threads = 0;
    unsigned long long born = 0;  // in the system's own unit, see age_of()
    // Of the leader alone: others of its threads may live on.
    bool is_corpse() const noexcept { return is_zombie && threads <= 1; }
};

#if DAEMONIZE_HAVE_PROCFS
// /proc/PID/stat: after the name, which may hold anything, state, parent, threads and start time.
Stat read_stat(long pid) {
    Stat stat;
    const std::string text = read_small(pure::join({"/proc/", pure::number(pid), "/stat"}).c_str());
    const std::size_t name_end = text.rfind(')');
    if (name_end == std::string::npos || name_end + 2 >= text.size()) return stat;
    stat.is_zombie = text[name_end + 2] == 'Z' || text[name_end + 2] == 'X';
    std::size_t at = name_end + 2;
    for (int field = 3; field <= 22 && at != std::string::npos; ++field) {
        if (field == 4) stat.parent = std::strtol(text.c_str() + at, nullptr, 10);
        if (field == 20) stat.threads = std::strtol(text.c_str() + at, nullptr, 10);
        if (field == 22) stat.born = std::strtoull(text.c_str() + at, nullptr, 10);
        at = text.find(' ', at);
        if (at != std::string::npos) ++at;
    }
    stat.there = stat.born != 0;
    return stat;
}

// Clock ticks since the system was booted.
long long age_of(unsigned long long born) {
    const unsigned long long ticks = static_cast<unsigned long long>(::sysconf(_SC_CLK_TCK));
    struct timespec now;
    if (ticks == 0 || ::clock_gettime(CLOCK_BOOTTIME, &now) != 0) return 0;
    const long long since_boot = static_cast<long long>(now.tv_sec) * 1000 + now.tv_nsec / 1000000;
    return since_boot - static_cast<long long>(born * 1000 / ticks);
}

// One stat() tells it: a directory of as many directories. 0: not to be had.
long count_threads() {
    struct stat st;
    return ::stat("/proc/self/task", &st) == 0 && st.st_nlink >= 3
               ? static_cast<long>(st.st_nlink) - 2
               : 0;
}
#elif DAEMONIZE_HAVE_KINFO
bool read_kinfo(long pid, struct kinfo_proc& info) {
    int name[4] = {CTL_KERN, KERN_PROC, KERN_PROC_PID, static_cast<int>(pid)};
    std::size_t size = sizeof info;
    std::memset(&info, 0, sizeof info);
    return ::sysctl(name, 4, &info, &size, nullptr, 0) == 0 && size == sizeof info;
}

unsigned long long as_microseconds(const struct timeval& time) {
    return static_cast<unsigned long long>(time.tv_sec) * 1000000U +
           static_cast<unsigned long long>(time.tv_usec);
}

#if defined(__APPLE__)
// Microseconds of the wall clock, as it was when the process began.
Stat read_stat(long pid) {
    Stat stat;
    struct kinfo_proc info;
    if (!read_kinfo(pid, info)) return stat;
    stat.there = true;
    stat.is_zombie = info.kp_proc.p_stat == SZOMB;
    stat.parent = static_cast<long>(info.kp_eproc.e_ppid);
    stat.born = as_microseconds(info.kp_proc.p_starttime);
    return stat;
}

long long age_of(unsigned long long born) {
    struct timeval now;
    if (::gettimeofday(&now, nullptr) != 0) return 0;
    return (static_cast<long long>(as_microseconds(now)) - static_cast<long long>(born)) / 1000;
}

long count_threads() {
    struct proc_taskinfo info;
    const int size = static_cast<int>(sizeof info);
    return ::proc_pidinfo(::getpid(), PROC_PIDTASKINFO, 0, &info, size) == size
               ? static_cast<long>(info.pti_threadnum)
               : 0;
}
#else
// Microseconds since the system was booted: the kernel adds the time of the boot, which changes
// whenever the clock is set, and would make another process of the same one.
Stat read_stat(long pid) {
    Stat stat;
    struct kinfo_proc info;
    struct timeval boot;
    int name[2] = {CTL_KERN, KERN_BOOTTIME};
    std::size_t size = sizeof boot;
    if (!read_kinfo(pid, info) || ::sysctl(name, 2, &boot, &size, nullptr, 0) != 0) return stat;
    stat.there = true;
    stat.is_zombie = info.ki_stat == SZOMB;
    stat.parent = static_cast<long>(info.ki_ppid);
    stat.born = as_microseconds(info.ki_start) - as_microseconds(boot);
    return stat;
}

long long age_of(unsigned long long born) {
    struct timespec now;
    if (::clock_gettime(CLOCK_MONOTONIC, &now) != 0) return 0;
    const long long since_boot = static_cast<long long>(now.tv_sec) * 1000 + now.tv_nsec / 1000000;
    return since_boot - static_cast<long long>(born / 1000);
}

long count_threads() {
    struct kinfo_proc info;
    return read_kinfo(static_cast<long>(::getpid()), info) ? static_cast<long>(info.ki_numthreads)
                                                           : 0;
}
#endif
#else
Stat read_stat(long) { return Stat(); }
long long age_of(unsigned long long) { return 0; }
long count_threads() { return 0; }
#endif

bool write_all(int fd, const char* bytes, std::size_t size) {
    while (size > 0) {
        const ssize_t n = ::write(fd, bytes, size);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        bytes += n;
        size -= static_cast<std::size_t>(n);
    }
    return true;
}

// A write that fails says so by its result; the signal that it also made is taken away.
class WithoutSignal {
public:
    explicit WithoutSignal(int signum) noexcept : signum_(signum) {
        sigemptyset(&set_);
        sigaddset(&set_, signum);
        ::pthread_sigmask(SIG_BLOCK, &set_, &before_);
        was_pending_ = is_pending_now();
    }
    ~WithoutSignal() {
        const int saved = errno;
        int consumed = 0;
        if (!was_pending_ && is_pending_now()) ::sigwait(&set_, &consumed);
        ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
        errno = saved;
    }
    WithoutSignal(const WithoutSignal&) = delete;
    WithoutSignal& operator=(const WithoutSignal&) = delete;

private:
    bool is_pending_now() const noexcept {
        sigset_t pending;
        ::sigpending(&pending);
        return sigismember(&pending, signum_) == 1;
    }
    int signum_;
    bool was_pending_ = false;
    sigset_t set_, before_;
};

sigset_t every_signal() {
    sigset_t set;
    sigfillset(&set);
    return set;
}

int poll_timeout(Duration left) {
    if (left == no_limit) return -1;
    return left.count() > INT_MAX ? INT_MAX : static_cast<int>(left.count());
}

// ---- Locks that this process holds ----
// A child of fork() must not keep the daemon's lock alive (P7); a query in this process must not
// open the file that this process has locked (closing it would drop the record lock, G7).

Lock* held_locks = nullptr;
std::atomic_flag held_locks_busy = ATOMIC_FLAG_INIT;
thread_local bool own_fork = false;  // the start hands the lock on

struct HeldLocks {
    HeldLocks() noexcept {
        while (held_locks_busy.test_and_set(std::memory_order_acquire)) {
        }
    }
    ~HeldLocks() { held_locks_busy.clear(std::memory_order_release); }
    HeldLocks(const HeldLocks&) = delete;
    HeldLocks& operator=(const HeldLocks&) = delete;
};

pid_t catcher = 0;                // the process that handles signals: a fork of it is another (G8)
Channel* open_channel = nullptr;  // the daemon's, until ready
void close_channel_in_child() noexcept;

extern "C" {
static void daemonize_before_fork() {
    while (held_locks_busy.test_and_set(std::memory_order_acquire)) {
    }
}
static void daemonize_after_fork() { held_locks_busy.clear(std::memory_order_release); }
static void daemonize_in_child() {
    if (!own_fork) {
        for (Lock* lock = held_locks; lock; lock = lock->next) lock->file.close();
        held_locks = nullptr;
        close_channel_in_child();
    }
    held_locks_busy.clear(std::memory_order_release);
}
}

void remember(Lock& lock) noexcept {
    static const int registered =
        ::pthread_atfork(daemonize_before_fork, daemonize_after_fork, daemonize_in_child);
    static_cast<void>(registered);
    const HeldLocks guard;
    lock.next = held_locks;
    held_locks = &lock;
}

void forget(Lock& lock) noexcept {
    const HeldLocks guard;
    for (Lock** link = &held_locks; *link; link = &(*link)->next) {
        if (*link == &lock) {
            *link = lock.next;
            return;
        }
    }
}

#if DAEMONIZE_HAVE_RECORD_LOCK
// One byte far behind the text: a lock there shows its owner's PID to anyone who asks.
struct flock entry_lock(short type) {
    struct flock lock;
    std::memset(&lock, 0, sizeof lock);
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_start = 0x40000000;
    lock.l_len = 1;
    return lock;
}

bool set_entry_lock(int fd) {
    struct flock lock = entry_lock(F_WRLCK);
    return ::fcntl(fd, F_SETLK, &lock) == 0;
}
// Who has it, or would keep a daemon from it: 0 nobody, -1 a process that has no number here.
long entry_owner(int fd, short type) {
    struct flock lock = entry_lock(type);
    if (::fcntl(fd, F_GETLK, &lock) != 0 || lock.l_type == F_UNLCK) return 0;
    return lock.l_pid > 0 ? lock.l_pid : -1;
}
#else
bool set_entry_lock(int) { return true; }
long entry_owner(int, short) { return 0; }
#endif

// No allocation, no errno: `terminate` calls it from an asynchronous handler.
bool holds_number(int fd, long pid) noexcept {
    char text[24];
    const ssize_t n = ::pread(fd, text, sizeof text, 0);
    long value = 0;
    ssize_t i = 0;
    for (; i < n && text[i] >= '0' && text[i] <= '9' && value < LONG_MAX / 16; ++i)
        value = value * 10 + (text[i] - '0');
    return i > 0 && value == pid;
}

bool same_file(const struct stat& a, const struct stat& b) {
    return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

unsigned long long as_number(dev_t device) { return static_cast<unsigned long long>(device); }

// P6, the part that open() does not answer.
bool is_trusted(const struct stat& st) {
    return S_ISREG(st.st_mode) && st.st_nlink == 1 && (st.st_mode & 022) == 0;
}

const char* distrust(const struct stat& st) {
    if (S_ISDIR(st.st_mode)) return "it is a directory";
    if (S_ISFIFO(st.st_mode)) return "it is a FIFO";
    if (!S_ISREG(st.st_mode)) return "it is no regular file";
    if (st.st_nlink != 1) return "it has a second link";
    return "group or others may write it";
}

DAEMONIZE_COLD bool untrusted(Error& error, const char* step, const std::string& path,
                              pure::Piece why) {
    return pure::fail(error, errc::untrusted_pid_file, step, pure::path(path), {why});
}

}  // namespace

void Handle::close() noexcept {
    if (value_ == -1) return;
    const int saved = errno;
    ::close(fd());
    errno = saved;
    value_ = -1;
}

struct SignalHold::Saved {
    sigset_t mask;
};

void SignalHold::take() noexcept {
    const sigset_t all = every_signal();
    if (!saved_) {
        saved_ = new Saved;
        ::pthread_sigmask(SIG_SETMASK, &all, &saved_->mask);
    }
}

void SignalHold::only_children() noexcept {
    if (!saved_) return;
    sigset_t mask = saved_->mask;
    sigaddset(&mask, SIGCHLD);
    ::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
}

void SignalHold::give() noexcept {
    const int saved_errno = errno;
    if (saved_) ::pthread_sigmask(SIG_SETMASK, &saved_->mask, nullptr);
    forget();
    errno = saved_errno;
}

void SignalHold::forget() noexcept {
    delete saved_;
    saved_ = nullptr;
}

Birth birth(Lock&) noexcept { return Birth(); }
bool was_relaunched() noexcept { return false; }

std::error_code last_error() noexcept { return std::error_code(errno, std::system_category()); }

bool supports(Option option) noexcept {
    if (option == no_new_privs_option) return DAEMONIZE_HAVE_PRCTL;
    return option != arguments_option && option != job_option;
}

long self() noexcept { return static_cast<long>(::getpid()); }
std::string program_name() { return own_name(); }

bool is_file_name(const std::string& name) {
    return name.find_first_of("/\\") == std::string::npos;
}

namespace {

// getpwnam_r and its three sisters want a buffer of unknown size.
template <class Record, class Key, class Call>
int look_up(Call call, Key key, Record& record, std::vector<char>& buffer, bool& found) {
    buffer.resize(1024);
    for (;;) {
        Record* result = nullptr;
        const int rc = call(key, &record, buffer.data(), buffer.size(), &result);
        found = result != nullptr;
        if (rc != ERANGE || buffer.size() > (1U << 22)) {
            // "Not found" has many names; what is no such name is a fault of the database.
            return found || rc == ENOENT || rc == ESRCH || rc == EBADF || rc == EPERM ? 0 : rc;
        }
        buffer.resize(buffer.size() * 2);
    }
}

// An id of a user or group; -1: not digits alone, or one that would wrap.
std::int64_t parse_id(const std::string& text) {
    if (text.empty() || text.size() > 10 ||
        text.find_first_not_of("0123456789") != std::string::npos)
        return -1;
    const unsigned long long id = std::strtoull(text.c_str(), nullptr, 10);
    return id < 0xffffffffULL ? static_cast<std::int64_t>(id) : -1;
}

struct User {
    bool named = false;
    std::int64_t uid = -1, gid = -1;
    std::string name, home;
};

bool find_user(const Account& account, User& user, Error& error) {
    struct passwd record;
    std::vector<char> buffer;
    bool found = false;
    const std::string& name = account.name();
    int rc = 0;
    user.uid = account.id();
    if (!name.empty()) rc = look_up(::getpwnam_r, name.c_str(), record, buffer, found);
    if (!found && !name.empty()) user.uid = parse_id(name);
    if (!found && user.uid >= 0)
        rc = look_up(::getpwuid_r, static_cast<uid_t>(user.uid), record, buffer, found);
    if (found) {
        user.named = true;
        user.uid = record.pw_uid;
        user.gid = record.pw_gid;
        user.name = record.pw_name;
        user.home = record.pw_dir ? record.pw_dir : "/";
        return true;
    }
    if (rc != 0)
        return pure::fail(error, std::error_code(rc, std::system_category()), "cannot look up user",
                          pure::quote(name));
    return user.uid >= 0 || pure::fail(error, errc::unknown_account, "cannot find user",
                                       pure::quote(name), {"no such user"});
}

bool find_group(const Account& account, std::int64_t& gid, Error& error) {
    struct group record;
    std::vector<char> buffer;
    bool found = false;
    const std::string& name = account.name();
    gid = account.id();
    if (name.empty()) return true;
    const int rc = look_up(::getgrnam_r, name.c_str(), record, buffer, found);
    if (found) {
        gid = record.gr_gid;
    } else if (parse_id(name) != -1) {
        gid = parse_id(name);
    } else if (rc != 0) {
        return pure::fail(error, std::error_code(rc, std::system_category()),
                          "cannot look up group", pure::quote(name));
    } else {
        return pure::fail(error, errc::unknown_account, "cannot find group", pure::quote(name),
                          {"no such group"});
    }
    return true;
}

// A descriptor that is not open now would be one of the daemon's own files later.
bool check_open(int fd, const char* option, Error& error) {
    if (fd >= 0 && ::fcntl(fd, F_GETFD) != -1) return true;
    errno = EBADF;
    return refused(error, pure::join({"cannot use option ", option, " with descriptor"}),
                   pure::number(fd));
}

// All of the way, 0700. A part that may not be made is no error yet: it may be there, behind a
// read-only mount or a directory that is closed to us.
bool make_directory(const std::string& path, Error& error) {
    for (std::size_t at = path.find('/', 1);; at = path.find('/', at + 1)) {
        const std::string part = path.substr(0, at);
        if (::mkdir(part.c_str(), 0700) != 0 && errno != EEXIST && errno != EROFS &&
            errno != EACCES)
            return refused(error, "cannot make directory", pure::path(part));
        if (at == std::string::npos) return true;
    }
}

std::string home_directory() {
    Error ignored;
    User user;
    find_user(Account(static_cast<unsigned>(::geteuid())), user, ignored);
    return user.home;
}

}  // namespace

// Not XDG_RUNTIME_DIR, which is emptied when the user's last session ends; not /tmp, where anyone
// can be first.
std::string state_directory(Error& error) {
    struct stat st;
    if (::geteuid() == 0)
        return ::stat("/run", &st) == 0 && S_ISDIR(st.st_mode) ? "/run" : "/var/run";
    std::string directory = environment("XDG_STATE_HOME");
    if (directory.empty() || directory[0] != '/') {
        directory = home_directory();
        if (directory.empty() || directory[0] != '/') {
            pure::fail(error, errc::unknown_account, "cannot find", "the home directory",
                       {"this user has no passwd entry; set XDG_STATE_HOME"});
            return std::string();
        }
        directory += "/.local/state";
    }
    if (!make_directory(directory, error)) return std::string();
    if (::stat(directory.c_str(), &st) != 0) {
        refused(error, "cannot use directory", pure::path(directory));
        return std::string();
    }
    if (!S_ISDIR(st.st_mode) || st.st_uid != ::geteuid() || (st.st_mode & 022) != 0) {
        pure::fail(error, errc::untrusted_pid_file, "cannot use directory", pure::path(directory),
                   {"it is not this user's alone"});
        return std::string();
    }
    return directory;
}

std::string root_directory() { return "/"; }

Evidence evidence() {
    Evidence seen;
    seen.pid = self();
    seen.parent = static_cast<long>(::getppid());
    if (seen.parent == 1 && DAEMONIZE_HAVE_PROCFS) {
        seen.init_name = read_small("/proc/1/comm");
        while (!seen.init_name.empty() && seen.init_name.back() == '\n') seen.init_name.pop_back();
    }
    seen.pidfile_set = !environment("PIDFILE").empty();
    seen.notify_socket = !environment("NOTIFY_SOCKET").empty();
    seen.invocation_id = !environment("INVOCATION_ID").empty();
    seen.launchd =
        !environment("XPC_SERVICE_NAME").empty() && environment("XPC_SERVICE_NAME") != "0";
    seen.systemd_exec_pid = std::strtol(environment("SYSTEMD_EXEC_PID").c_str(), nullptr, 10);
    struct sockaddr_storage address;
    std::memset(&address, 0, sizeof address);
    socklen_t size = sizeof address;
    if (::getsockname(0, reinterpret_cast<struct sockaddr*>(&address), &size) == 0) {
        seen.stdin_internet = address.ss_family == AF_INET || address.ss_family == AF_INET6;
        int listening = 0;
        size = sizeof listening;
        seen.stdin_listening =
            ::getsockopt(0, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 && listening != 0;
    }
    return seen;
}

bool absolute(std::string& path, Error& error) {
    if (!path.empty() && path[0] == '/') return true;
    std::vector<char> buffer(1024);
    while (!::getcwd(buffer.data(), buffer.size())) {
        if (errno != ERANGE) return refused(error, "cannot make absolute", pure::path(path));
        buffer.resize(buffer.size() * 2);
    }
    const std::string directory = buffer.data();
    path = path == "." ? directory : pure::join({directory, directory == "/" ? "" : "/", path});
    return true;
}

bool resolve(Plan& plan, Error& error) {
    const Account &uid = plan.uid, &gid = plan.gid;
    User user;
    if (uid.is_set() && !find_user(uid, user, error)) return false;
    std::int64_t group = user.gid;
    if (gid.is_set() && !find_group(gid, group, error)) return false;
    if (uid.is_set() && group < 0)
        return pure::fail(
            error, errc::invalid_option, "cannot use option", "uid",
            {"user ", pure::number(user.uid), " has no passwd entry: name a gid as well"});
    // Asked for what we are: nothing to do, and nothing that would need root.
    const bool changes_uid =
        uid.is_set() && !(all_ids_are(static_cast<uid_t>(user.uid), ::getgid()));
    const bool changes_gid = group >= 0 && !(all_ids_are(::getuid(), static_cast<gid_t>(group)));
    plan.drops = changes_uid || changes_gid || ((uid.is_set() || gid.is_set()) && ::geteuid() == 0);
    if (plan.drops) {
        plan.sets_uid = uid.is_set();
        if (plan.sets_uid) plan.new_uid = user.uid;
        plan.new_gid = group;
        plan.user = user.name;
        plan.home = user.home.empty() ? "/" : user.home;
        if (user.named && plan.initgroups &&
            list_groups(::getgrouplist, user.name, group, plan.groups) != 0)
            return pure::fail(error, errc::unknown_account, "cannot list groups of user",
                              pure::quote(user.name), {"too many"});
    }
    for (const int fd : plan.files_preserve)
        if (!check_open(fd, "files_preserve", error)) return false;
    for (const Stream& stream : plan.streams)
        if (stream.choice() == Stream::number_choice &&
            !check_open(stream.descriptor(), "standard stream", error))
            return false;
    plan.watchdog = watchdog();  // WATCHDOG_PID is the caller's; so is LISTEN_PID
    const long sockets = std::strtol(environment("LISTEN_FDS").c_str(), nullptr, 10);
    if (environment("LISTEN_PID") != std::to_string(self())) return true;
    int& open = plan.inherited_sockets;  // as many as there are, whatever was claimed
    while (open < sockets && ::fcntl(3 + open, F_GETFD) != -1) ++open;
    return true;
}

// Other threads would not come along, nor would what their locks protect. (ThreadSanitizer has one
// of its own.)
bool check_threads(Plan& plan, Error& error) {
    const long threads = DAEMONIZE_UNDER_TSAN ? 0 : count_threads();
    if (threads == 0) note(plan, "other threads", {"this system does not tell"});
    if (threads <= 1 || plan.allow_threads) return true;
    return pure::fail(error, errc::threads_running, "cannot fork", "",
                      {pure::number(threads - 1), threads == 2 ? " other thread" : " other threads",
                       " would be lost; set allow_threads if that is meant"});
}

namespace {

// A file that this process has locked is known without opening it.
bool look_at_own(const struct stat& st, Found& found) {
    const HeldLocks guard;
    for (const Lock* lock = held_locks; lock; lock = lock->next) {
        if (lock->device != as_number(st.st_dev) ||
            lock->inode != static_cast<unsigned long long>(st.st_ino))
            continue;
        found.locked = true;
        found.owner = lock->owner;
        char text[24];
        const ssize_t n = ::pread(lock->file.fd(), text, sizeof text, 0);
        if (n > 0) found.text.assign(text, static_cast<std::size_t>(n));
        return true;
    }
    return false;
}

// The way to a file as root walks it, symlinks and what they lead to included.
struct Way {
    bool is_roots = true;       // each step is root's, and nobody else can replace it
    bool foreign_link = false;  // somebody else's symlink is on it
};

bool others_may_write(const struct stat& st) { return (st.st_mode & 022) != 0; }

// In a sticky directory on the way nobody can replace what is root's; the last one must not be
// sticky, for there a name may be planted that is not there yet.
Way walk(const std::string& path) {
    Way way;
    std::string done = "/", rest = path.substr(0, path.rfind('/') + 1);
    struct stat st;
    for (int links = 0; !rest.empty();) {
        const std::size_t slash = rest.find('/');
        const std::string name = rest.substr(0, slash);
        rest.erase(0, slash == std::string::npos ? slash : slash + 1);
        if (name.empty() || name == ".") continue;
        const std::string next = done + name;  // "..": whatever it leads to is looked at as well
        const bool there = ::lstat(next.c_str(), &st) == 0;
        if (!there || st.st_uid != 0) way.is_roots = false;
        if (!there) return way;
        if (!S_ISLNK(st.st_mode)) {
            if (others_may_write(st) && !(st.st_mode & S_ISVTX)) way.is_roots = false;
            done = next + "/";
            continue;
        }
        way.foreign_link = way.foreign_link || st.st_uid != 0;
        std::string target(4096, '\0');  // not on the stack: its pages would stay the daemon's
        const ssize_t n = ::readlink(next.c_str(), &target[0], target.size());
        if (n <= 0 || n == static_cast<ssize_t>(target.size()) || ++links > 40) {
            way.is_roots = false;
            return way;
        }
        target.resize(static_cast<std::size_t>(n));
        rest.insert(0, target + "/");
        if (rest[0] == '/') done = "/";
    }
    if (::lstat(done.c_str(), &st) != 0 || st.st_uid != 0 || others_may_write(st))
        way.is_roots = false;
    return way;
}

// Opened where it is, made where it is not: never both in one call, which would follow a race.
Handle open_pid_file(const Lock& lock, Purpose purpose, bool& created) {
    const mode_t mode = static_cast<mode_t>(lock.mode);
    const int flags = O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    Handle file(lift(::open(lock.path.c_str(), flags)));
    created = false;
    if (file || errno != ENOENT || purpose != Purpose::start) return file;
    file = Handle(lift(::open(lock.path.c_str(), flags | O_CREAT | O_EXCL, mode)));
    created = static_cast<bool>(file);
    if (created && ::fchmod(file.fd(), mode) != 0) {  // whatever the umask
        const int cause = errno;
        ::unlink(lock.path.c_str());
        errno = cause;
        return Handle();
    }
    return file;
}

// P6: who else could have put it there, or write into it.
bool check_trust(const Lock& lock, Purpose purpose, const struct stat& st, Error& error) {
    if (!is_trusted(st)) return untrusted(error, "cannot lock", lock.path, distrust(st));
    if (::geteuid() == 0 && walk(lock.path).foreign_link)
        return untrusted(error, "cannot lock", lock.path,
                         "somebody else's symbolic link leads there");
    const bool targets = lock.target == static_cast<std::int64_t>(st.st_uid);
    if (::geteuid() != 0 || st.st_uid == 0 || targets || purpose != Purpose::start) return true;
    return untrusted(error, "cannot lock", lock.path,
                     pure::join({"it belongs to user ", pure::number(st.st_uid)}));
}

// One try at the file that the path names now; `again` where it was replaced meanwhile.
Attempt lock_once(Lock& lock, Purpose purpose, bool& again, Error& error) {
    const char* const name = lock.path.c_str();
    struct stat st, named;
    bool created = false;
    Found ours;
    again = false;
    // Not to be opened a second time in the process that has it: closing would drop its proof.
    if (::lstat(name, &named) == 0 && look_at_own(named, ours)) return Attempt::held;
    Handle file = open_pid_file(lock, purpose, created);
    const bool opened = file && ::fstat(file.fd(), &st) == 0;
    again = opened ? st.st_nlink == 0 : errno == EEXIST;
    if (!opened && errno == ELOOP)
        untrusted(error, "cannot lock", lock.path, "it is a symbolic link");
    else if (!opened)
        refused(error, errno == ENOENT ? "cannot create" : "cannot open", pure::path(lock.path));
    if (!opened || again) return Attempt::failed;
    if (!check_trust(lock, purpose, st, error)) {
        if (created) ::unlink(name);
        return Attempt::failed;
    }
    while (::flock(file.fd(), LOCK_EX | LOCK_NB) != 0) {
        if (errno == EINTR) continue;
        if (errno == EWOULDBLOCK) return Attempt::held;
        refused(error, "cannot lock", pure::path(lock.path));
        if (created) ::unlink(name);
        return Attempt::failed;
    }
    again = ::lstat(name, &named) != 0 || !same_file(st, named);
    if (again) return Attempt::failed;
    // Locked and empty is a start: a number from before must not be taken for the new holder's.
    if (purpose == Purpose::start && !created && ::ftruncate(file.fd(), 0) != 0) {
        refused(error, "cannot empty", pure::path(lock.path));
        return Attempt::failed;
    }
    lock.device = as_number(st.st_dev);
    lock.inode = static_cast<unsigned long long>(st.st_ino);
    lock.file = std::move(file);
    lock.owner = 0;
    remember(lock);
    return Attempt::got;
}

}  // namespace

Attempt lock(Lock& lock, Purpose purpose, Error& error) {
    for (int round = 0; round < 100; ++round) {
        bool again = false;
        const Attempt attempt = lock_once(lock, purpose, again, error);
        if (!again) return attempt;
    }
    pure::fail(error, errc::timed_out, "cannot lock", pure::path(lock.path),
               {"it was replaced a hundred times"});
    return Attempt::failed;
}

Attempt enter(Lock& lock, Error& error) {
    if (!set_entry_lock(lock.file.fd())) {
        const bool busy = errno == EAGAIN || errno == EACCES;
        refused(error, "cannot enter", pure::path(lock.path));
        const long reader = entry_owner(lock.file.fd(), F_WRLCK);
        if (busy && reader > 0)
            error.text += pure::join({" (", pure::process(reader), " holds a lock on it)"});
        return busy ? Attempt::held : Attempt::failed;
    }
    const WithoutSignal muffled(SIGXFSZ);  // RLIMIT_FSIZE is an error, not the end
    const std::string text = pure::pid_text(self());
    ssize_t written;
    do written = ::pwrite(lock.file.fd(), text.data(), text.size(), 0);
    while (written < 0 && errno == EINTR);
    if (written != static_cast<ssize_t>(text.size())) {
        if (written >= 0) errno = ENOSPC;
        refused(error, "cannot write", pure::path(lock.path));
        return Attempt::failed;
    }
    if (::ftruncate(lock.file.fd(), static_cast<off_t>(text.size())) != 0) {
        refused(error, "cannot write", pure::path(lock.path));
        return Attempt::failed;
    }
    lock.owner = self();
    return Attempt::got;
}

void renew(Lock& lock) noexcept {
    if (lock.file && lock.owner == self()) set_entry_lock(lock.file.fd());
}

// Async-signal-safe. Only the holder, only its own file; where the directory does not allow it
// (after a drop, in a jail) nothing but an empty, unlocked file is left, which means "not running".
void discard(Lock& lock, Removal removal) noexcept {
    if (!lock.file || removal == Removal::keep) return;
    const long me = static_cast<long>(::getpid());
    const int fd = lock.file.fd();
    if (removal == Removal::own && (lock.owner != me || !holds_number(fd, me))) return;
    struct stat st, named;
    const int saved = errno;
    const bool ours = ::fstat(fd, &st) == 0 && ::lstat(lock.path_here.c_str(), &named) == 0 &&
                      same_file(st, named);
    if (!ours || ::unlink(lock.path_here.c_str()) != 0) {
        if (::ftruncate(fd, 0) != 0) errno = saved;  // nothing more can be done at the end
    }
    lock.owner = 0;
    errno = saved;
}

void unlock(Lock& lock, Removal removal) noexcept {
    if (!lock.file) return;
    discard(lock, removal);
    forget(lock);
    lock.file.close();
    lock.owner = 0;
}

namespace {

void describe(const struct stat& st, Found& found) {
    found.exists = true;
    found.proves = DAEMONIZE_HAVE_RECORD_LOCK;
    found.trusted = is_trusted(st);
    found.file_user = st.st_uid;
    found.device = as_number(st.st_dev);
    found.inode = static_cast<unsigned long long>(st.st_ino);
}

}  // namespace

bool look(const std::string& path, Found& found, Error& error) {
    found = Found();
    struct stat st;
    if (::lstat(path.c_str(), &st) != 0)
        return errno == ENOENT || refused(error, "cannot read", pure::path(path));
    if (S_ISLNK(st.st_mode)) return untrusted(error, "cannot read", path, "it is a symbolic link");
    if (!S_ISREG(st.st_mode)) return untrusted(error, "cannot read", path, distrust(st));
    describe(st, found);
    if (look_at_own(st, found)) return true;
    const Handle file(
        lift(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)));
    if (!file && errno == ENOENT) {
        found = Found();
        return true;
    }
    if (!file && errno == ELOOP)
        return untrusted(error, "cannot read", path, "it is a symbolic link");
    if (!file || ::fstat(file.fd(), &st) != 0)
        return refused(error, "cannot read", pure::path(path));
    if (!S_ISREG(st.st_mode)) return untrusted(error, "cannot read", path, distrust(st));
    describe(st, found);
    // Asked first: a lock of ours, however short, would make a start fail that comes meanwhile.
    found.owner = entry_owner(file.fd(), F_RDLCK);
    found.locked = found.owner != 0;
    if (!found.locked) found.reader = entry_owner(file.fd(), F_WRLCK);
    if (!found.locked) {
        if (::flock(file.fd(), LOCK_SH | LOCK_NB) != 0)
            found.locked = true;
        else
            ::flock(file.fd(), LOCK_UN);
    }
    char text[4096];
    const ssize_t n = ::pread(file.fd(), text, sizeof text, 0);
    if (n < 0) return refused(error, "cannot read", pure::path(path));
    found.text.assign(text, static_cast<std::size_t>(n));
    return true;
}

// ---- Start ----

struct Channel {
    Handle end;
};

struct Launch {
    Handle channel, watch;  // watch: the daemon's pidfd
    pid_t leader = 0, daemon = 0;
    bool stays = false;  // the intermediate, until the verdict
    bool was_subreaper = false, made_subreaper = false, changed_sigchld = false;
    bool end_of_file = false, ended = false;  // nothing more, or no daemon any more
    struct sigaction sigchld;
    std::string received;
};

namespace {

void close_channel_in_child() noexcept {
    if (open_channel) open_channel->end.close();
}

// A log, never blocking. For root neither a symlink nor a second name, which another could have put
// there. `owner`: who shall be able to rotate a log that is new.
bool open_log(const Stream& stream, int which, const Plan* owner, Handle& out, Error& error) {
    const std::string& path = stream.path();
    const bool root = ::geteuid() == 0;
    const int access = which == 0 ? O_RDONLY : O_WRONLY | O_APPEND;
    const int flags = access | O_NOCTTY | O_CLOEXEC | O_NONBLOCK | (root ? O_NOFOLLOW : 0);
    bool created = false;
    Handle file(lift(::open(path.c_str(), flags)));
    for (int round = 0; !file && errno == ENOENT && which != 0 && round < 3; ++round) {
        file =
            Handle(lift(::open(path.c_str(), flags | O_CREAT | O_EXCL, static_cast<mode_t>(0640))));
        created = static_cast<bool>(file);
        // Somebody else made it, or it is a symlink that leads nowhere.
        if (!file && errno == EEXIST) file = Handle(lift(::open(path.c_str(), flags)));
    }
    struct stat st;
    if (!file || ::fstat(file.fd(), &st) != 0) {
        const bool link = root && errno == ELOOP, fifo = errno == ENXIO;
        return pure::fail(
            error, last_error(), "cannot open", pure::path(path),
            {link   ? "it is a symbolic link, which root does not follow"
             : fifo ? "it is a socket, a FIFO that nobody reads, or a device that is not there"
                    : ""});
    }
    if (root && !S_ISCHR(st.st_mode) && !(S_ISREG(st.st_mode) && st.st_nlink == 1))
        return pure::fail(error, std::make_error_code(std::errc::permission_denied), "cannot open",
                          pure::path(path),
                          {"root writes to a regular file with one name, or a device"});
    if (S_ISDIR(st.st_mode)) {
        errno = EISDIR;
        return refused(error, "cannot open", pure::path(path));
    }
    const bool given = owner && root && owner->drops;
    const uid_t uid =
        given && owner->sets_uid ? static_cast<uid_t>(owner->new_uid) : static_cast<uid_t>(-1);
    const bool has_mode = !created || ::fchmod(file.fd(), 0640) == 0;
    if (!has_mode ||
        (created && given && ::fchown(file.fd(), uid, static_cast<gid_t>(owner->new_gid)) != 0)) {
        const int cause = errno;
        ::unlink(path.c_str());  // else the next start would take it for somebody's, as it is
        errno = cause;
        return refused(error, has_mode ? "cannot give away" : "cannot set the mode of",
                       pure::path(path));
    }
    if (stream.truncates() && S_ISREG(st.st_mode) && which != 0 && ::ftruncate(file.fd(), 0) != 0)
        return refused(error, "cannot empty", pure::path(path));
    const int status = ::fcntl(file.fd(), F_GETFL);
    if (status != -1) ::fcntl(file.fd(), F_SETFL, status & ~O_NONBLOCK);
    out = std::move(file);
    return true;
}

bool copy_descriptor(int fd, Handle& out, const char* what, Error& error) {
    out = Handle(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
    return out || refused(error, what, pure::number(fd));
}

// One file under both names is one open file: nothing overwrites, nothing is emptied twice.
bool open_target(Plan& plan, int which, Error& error) {
    const Stream& stream = plan.streams[which];
    if (which == 2 && plan.targets[1] && plan.streams[1].choice() == Stream::path_choice) {
        struct stat st, named;
        const bool same = stream.path() == plan.streams[1].path() ||
                          (::fstat(plan.targets[1].fd(), &st) == 0 &&
                           ::stat(stream.path().c_str(), &named) == 0 && same_file(st, named));
        if (same)
            return copy_descriptor(plan.targets[1].fd(), plan.targets[2], "cannot copy descriptor",
                                   error);
    }
    return open_log(stream, which, &plan, plan.targets[which], error);
}

bool put(const Handle& file, int where) {
    int rc;
    do rc = ::dup2(file.fd(), where);
    while (rc == -1 && (errno == EINTR || errno == EBUSY));
    return rc != -1;
}

}  // namespace

bool open_streams(Plan& plan, Error& error) {
    if (!plan.detach) return true;
    plan.null_device = Handle(lift(::open("/dev/null", O_RDWR | O_CLOEXEC | O_NOCTTY)));
    if (!plan.null_device) return refused(error, "cannot open", "'/dev/null'");
    for (int which = 0; which < 3; ++which) {
        const Stream& stream = plan.streams[which];
        if (stream.choice() == Stream::number_choice) {
            if (!copy_descriptor(stream.descriptor(), plan.targets[which], "cannot copy descriptor",
                                 error))
                return false;
        } else if (stream.choice() == Stream::path_choice) {
            plan.late[which] =
                plan.drops && plan.sets_uid && ::geteuid() == 0 && !walk(stream.path()).is_roots;
            if (!plan.late[which] && !open_target(plan, which, error)) return false;
        }
    }
    return true;
}

namespace {

// A peer that has gone is an error, never a SIGPIPE: see without_sigpipe().
bool send_report(int fd, const Report& report) {
    const std::string bytes = pure::pack(report);
    std::size_t sent = 0;
    while (sent < bytes.size()) {
        const ssize_t n = ::send(fd, bytes.data() + sent, bytes.size() - sent, send_flags);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        sent += static_cast<std::size_t>(n);
    }
    return true;
}

// 0 still runs, 1 ended (its status, or minus the signal), -1 is no child of ours. The corpse
// stays: its number is nobody else's until the verdict.
int has_ended(pid_t pid, bool block, int& code) {
    siginfo_t info;
    int rc;
    do {
        std::memset(&info, 0, sizeof info);
        rc = ::waitid(P_PID, static_cast<id_t>(pid), &info,
                      WEXITED | WNOWAIT | (block ? 0 : WNOHANG));
    } while (rc != 0 && errno == EINTR);
    if (rc != 0) return -1;
    if (info.si_pid == 0) return 0;
    code = info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
    return 1;
}

extern "C" {
static void daemonize_wake(int) {}  // its only use is to end a pselect()
}

// The intermediate that stays (no subreaper, or a launcher that is kept) is the daemon's parent: it
// tells the daemon's status and leaves when the launcher has closed its end.
[[noreturn]] void attend(int channel, pid_t daemon) {
    struct sigaction action;
    std::memset(&action, 0, sizeof action);
    action.sa_handler = daemonize_wake;
    ::sigaction(SIGCHLD, &action, nullptr);
    // On 0, where pselect() can always watch it. SIGCHLD is blocked but within pselect().
    ::dup2(channel, 0);
    sigset_t mask = every_signal();
    sigdelset(&mask, SIGCHLD);
    bool told = false;
    for (;;) {
        Report report;
        int code = 0;
        if (!told && has_ended(daemon, false, code) == 1) {
            report.word = Report::ended;
            report.pid = static_cast<long>(daemon);
            report.exit_code = code;
            send_report(0, report);
            told = true;
        }
        fd_set readable;
        FD_ZERO(&readable);
        FD_SET(0, &readable);
        char byte;
        if (::pselect(1, &readable, nullptr, nullptr, nullptr, &mask) == 1 &&
            ::read(0, &byte, 1) <= 0)
            ::_exit(0);
    }
}

// Step 8. Returns in the daemon only.
void be_intermediate(int channel, int launchers_end, bool stays, Lock& lock) {
    Report report;
    report.word = Report::failed;
    report.exit_code = 1;
    report.is_system = true;
    const char* step = "setsid";
    pid_t daemon = -1;
    if (::setsid() != -1) {
        step = "fork";
        daemon = ::fork();
    }
    if (daemon == 0) return;
    if (daemon < 0) {
        report.number = errno;
        report.text = pure::join({"cannot ", step, ": ", last_error().message()});
        send_report(channel, report);
        ::_exit(1);
    }
    report.word = Report::born;
    report.pid = static_cast<long>(daemon);
    send_report(channel, report);
    if (!stays) ::_exit(0);
    lock.file.close();
    { const Handle copy(launchers_end); }  // else the launcher's end would never be an end of file
    attend(channel, daemon);
}

// S7, S14: the caller is as it was. Only what was changed: a reaper of the caller's own stays one.
void restore_caller(Launch& launch) {
    if (launch.made_subreaper) set_subreaper(launch.was_subreaper);
    if (launch.changed_sigchld) ::sigaction(SIGCHLD, &launch.sigchld, nullptr);
}

// A child whose end the system collects by itself has no status for us.
void keep_corpses(Launch& launch) {
    ::sigaction(SIGCHLD, nullptr, &launch.sigchld);
    const bool ignored =
        !(launch.sigchld.sa_flags & SA_SIGINFO) && launch.sigchld.sa_handler == SIG_IGN;
    if (!ignored && !(launch.sigchld.sa_flags & SA_NOCLDWAIT)) return;
    struct sigaction action;
    std::memset(&action, 0, sizeof action);
    action.sa_handler = SIG_DFL;
    launch.changed_sigchld = ::sigaction(SIGCHLD, &action, nullptr) == 0;
}

}  // namespace

// The fork stands in this function and no other: a vfork child must not return from the function
// that made it. The daemon, a copy made by the intermediate's own fork(), may.
Role detach(Plan& plan, Lock& lock, SignalHold& hold, Channel*& channel, Launch*& launch,
            Error& error) {
    int ends[2] = {-1, -1};
    if (make_socketpair(ends) != 0) {
        refused(error, "cannot make", "the readiness channel");
        return Role::launcher;
    }
    Launch* const mine = launch = new Launch;
    channel = new Channel;
    mine->channel = Handle(lift(ends[0]));
    channel->end = Handle(lift(ends[1]));
    without_sigpipe(channel->end.fd());
    if (!plan.allow_threads) std::fflush(nullptr);  // with threads it could wait for one for ever
    keep_corpses(*mine);
    mine->was_subreaper = is_subreaper();
    // A manager that is told of the daemon wants it for its own child, not for the launcher's.
    const bool manager_waits = !environment("NOTIFY_SOCKET").empty();
    mine->made_subreaper = !plan.kept && !manager_waits && set_subreaper(true);
    mine->stays = !mine->made_subreaper;
    own_fork = true;
    const pid_t caller = ::getpid();
    pid_t leader = mine->stays ? ::fork() : DAEMONIZE_LIGHT_FORK();
    if (leader < 0 && !mine->stays) leader = ::fork();  // a filter may know only one of them
    if (leader == 0) {
        be_intermediate(channel->end.fd(), mine->channel.fd(), mine->stays, lock);
        own_fork = false;
        if (catcher == caller) catcher = ::getpid();
        open_channel = channel;
        note(plan, "intermediate process", {mine->stays ? "stayed until ready" : "left at once"});
        delete mine;
        launch = nullptr;
        return Role::daemon;
    }
    own_fork = false;
    const int cause = errno;
    delete channel;
    channel = nullptr;
    if (leader < 0) {
        restore_caller(*mine);
        delete mine;
        launch = nullptr;
        errno = cause;
        refused(error, "cannot fork", "");
        return Role::launcher;
    }
    mine->leader = leader;
    hold.only_children();
    return Role::launcher;
}

bool say(Channel*& channel, const Report& report) noexcept {
    if (!channel) return false;
    open_channel = nullptr;
    const bool said = send_report(channel->end.fd(), report);
    delete channel;
    channel = nullptr;
    return said;
}

namespace {

// Reads what is there; true: a report that ends the wait.
bool next_report(Launch& launch, Report& report) {
    for (;;) {
        while (pure::unpack(launch.received, report)) {
            if (report.pid) launch.daemon = static_cast<pid_t>(report.pid);
            launch.ended = launch.ended || report.word == Report::ended;
            if (report.word != Report::born) return true;

            launch.watch = launch.stays ? Handle() : Handle(open_pidfd(report.pid));
        }
        char buffer[4096];
        const ssize_t n = ::recv(launch.channel.fd(), buffer, sizeof buffer, MSG_DONTWAIT);
        if (n > 0) {
            launch.received.append(buffer, static_cast<std::size_t>(n));
            continue;
        }
        if (n < 0 && errno == EINTR) continue;
        launch.end_of_file = n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
        return false;
    }
}

// Has the daemon ended without a word? A body that closes descriptors is alive after end of file.
bool has_died(Launch& launch, int& code) {
    const pid_t leader = launch.leader;
    if (launch.stays || !launch.daemon)
        return launch.end_of_file && has_ended(leader, true, code) != 0;
    int ignored = 0;
    has_ended(leader, true, ignored);  // it leaves at once, and leaves the daemon to us
    return has_ended(launch.daemon, false, code) != 0;
}

std::string death_text(int code) {
    if (code >= 0)
        return pure::join({"it ended with status ", pure::number(code), " before it was ready"});
    return pure::join({"it was ended by ", pure::signal_name(-code), " before it was ready"});
}

}  // namespace

Heard hear(Launch& launch, const Deadline& deadline, Report& report) {
    for (;;) {
        // Asked before the channel is looked at: who is stopped in between, as by a laptop that
        // sleeps, must not find the time over and what came meanwhile unread.
        const bool late = deadline.over();
        int code = 1;
        bool heard = next_report(launch, report);
        const bool died = !heard && has_died(launch, code);
        if (died) heard = next_report(launch, report);  // its last word may have come in between
        if (heard && report.word != Report::ended) return Heard::report;
        if (heard) code = report.exit_code;
        if (heard || died) {
            report.pid = launch.daemon;
            report.exit_code = code < 0 ? 128 - code : code;
            report.text = death_text(code);
            return Heard::died;
        }
        if (late) {
            report = Report();
            report.pid = launch.daemon;
            return Heard::timed_out;
        }
        struct pollfd fds[2] = {{launch.channel.fd(), POLLIN, 0}, {launch.watch.fd(), POLLIN, 0}};
        if (launch.end_of_file) fds[0].fd = -1;
        // Without a pidfd end of file is the sign, and a look now and then for one that does not
        // come.
        const bool sure = launch.stays || launch.watch;
        const int most = sure ? INT_MAX : 50;
        const int left = poll_timeout(deadline.left());
        ::poll(fds, 2, left < 0 || left > most ? (sure ? left : most) : left);
    }
}

namespace {

void reap(pid_t pid) {
    while (::waitpid(pid, nullptr, 0) == -1 && errno == EINTR) {
    }
}

// Children of ours, `pid` as waitpid() takes it; false: not all of them have ended in time (one
// that this process may not signal, or that is stuck in the kernel).
bool reap_within(pid_t pid, const Deadline& deadline, bool& leader_left, pid_t leader) {
    Backoff backoff(deadline);
    for (;;) {
        const pid_t ended = ::waitpid(pid, nullptr, WNOHANG);
        if (ended == leader) leader_left = false;
        if (ended > 0 && pid > 0) return true;
        if (ended < 0 && errno != EINTR) return true;
        if (ended != 0) continue;
        if (deadline.over()) return false;
        backoff.pause();
    }
}

void await_input(const Handle& handle, const Deadline& deadline) {
    struct pollfd fd = {handle.fd(), POLLIN, 0};
    ::poll(&fd, 1, poll_timeout(deadline.left()));
}

// The intermediate is the daemon's parent: it tells when that has ended.
bool await_attended(Launch& launch, const Deadline& deadline) {
    while (!launch.ended && !launch.end_of_file && !deadline.over()) {
        Report report;
        if (!next_report(launch, report) && !launch.end_of_file)
            await_input(launch.channel, deadline);
    }
    return launch.ended || launch.end_of_file;
}

// Nothing of the start is left. The leader is not reaped before its group is dead, the daemon's
// number is held by its corpse (or by its parent, the leader): nobody else can be hit.
bool destroy(Launch& launch) {
    int code = 0;
    const bool attended =
        launch.stays && !launch.ended && has_ended(launch.leader, false, code) == 0;
    // A launcher without CAP_KILL may not end a daemon that has dropped to another user.
    const bool spared = launch.daemon && (attended || !launch.stays) &&
                        ::kill(launch.daemon, SIGKILL) != 0 && errno == EPERM;
    // A daemon that has said that it failed is ending by itself.
    const Deadline deadline{spared ? patience : after_kill};
    bool gone = !attended || !launch.daemon || await_attended(launch, deadline);
    ::kill(launch.leader, SIGKILL);
    ::kill(-launch.leader, SIGKILL);
    has_ended(launch.leader, true, code);
    bool leader_left = true;  // it may have failed before it led a group
    if (!launch.stays && launch.daemon) {
        if (launch.watch) await_input(launch.watch, deadline);
        gone = reap_within(launch.daemon, deadline, leader_left, launch.leader);
    }
    reap_within(-launch.leader, deadline, leader_left, launch.leader);
    if (leader_left) reap(launch.leader);
    return gone;
}

}  // namespace

bool settle(Launch*& launch, bool& accepted) noexcept {
    bool settled = true;
    if (accepted) {
        ::shutdown(launch->channel.fd(), SHUT_RDWR);  // also of a copy that a child of ours has
        reap(launch->leader);
    } else {
        settled = destroy(*launch);
    }
    restore_caller(*launch);
    delete launch;
    launch = nullptr;
    return settled;
}

// ---- The daemon ----

namespace {

// A SignalHandler that was started before the daemon goes on in it. Its pipe is made anew, under
// the same numbers: the one of the launcher would bring each the other's bytes.
std::vector<Wake*>& open_wakes() {
    static std::vector<Wake*>& all = *new std::vector<Wake*>;
    return all;
}

bool make_wake(Wake& wake, Error& error) {
    int ends[2] = {-1, -1};
    if (make_pipe(ends) != 0) return refused(error, "cannot make", "a pipe for signals");
    wake.readable = Handle(lift(ends[0]));
    wake.writable = Handle(lift(ends[1]));
    for (const Handle* end : {&wake.readable, &wake.writable})
        if (::fcntl(end->fd(), F_SETFL, O_NONBLOCK) != 0)
            return refused(error, "cannot set up", "a pipe for signals");
    return true;
}

// What else this process had locked stays behind, with the numbers of its descriptors: they are
// about to be closed, and will soon be somebody else's.
void leave_other_locks(const Lock& ours) {
    const HeldLocks guard;
    for (Lock** link = &held_locks; *link;) {
        Lock* const lock = *link;
        if (lock == &ours) {
            link = &lock->next;
            continue;
        }
        *link = lock->next;
        lock->file.close();
        lock->owner = 0;
    }
}

bool renew_wakes(Error& error) {
    for (const Wake* wake : open_wakes()) {
        Wake fresh;
        if (!make_wake(fresh, error)) return false;
        if (!put(fresh.readable, wake->readable.fd()) || !put(fresh.writable, wake->writable.fd()))
            return refused(error, "cannot set up", "a pipe for signals");
        set_cloexec(wake->readable.fd());
        set_cloexec(wake->writable.fd());
    }
    return true;
}

std::vector<int> kept_descriptors(const Plan& plan, const Lock& lock, const Channel* channel) {
    std::vector<int> keep = plan.files_preserve;
    for (const Wake* wake : open_wakes()) {
        keep.push_back(wake->readable.fd());
        keep.push_back(wake->writable.fd());
    }
    keep.push_back(lock.file.fd());
    if (channel) keep.push_back(channel->end.fd());
    keep.push_back(plan.null_device.fd());
    for (const Handle& target : plan.targets) keep.push_back(target.fd());
    for (int i = 0; i < plan.inherited_sockets; ++i) keep.push_back(3 + i);
    // Insertion: the list is short, and <algorithm> is not needed elsewhere.
    for (std::size_t i = 1; i < keep.size(); ++i)
        for (std::size_t k = i; k > 0 && keep[k] < keep[k - 1]; --k)
            std::swap(keep[k], keep[k - 1]);
    return keep;
}

bool is_kept(const std::vector<int>& keep, int fd) {
    for (const int kept : keep)
        if (kept == fd) return true;
    return false;
}

// The table of open files ends there. Its size follows the highest descriptor that was ever open,
// not the limit, which may be 2^30.
int table_size() {
    if (!DAEMONIZE_HAVE_PROCFS) return 0;
    const std::string value = status_field(read_small("/proc/self/status"), "FDSize");
    return static_cast<int>(std::strtol(value.c_str(), nullptr, 10));
}

// The listing, if it is one of ours: some systems show 0, 1 and 2 alone, others nothing.
bool list_descriptors(std::vector<int>& open) {
    DIR* const directory = ::opendir("/dev/fd");
    if (!directory) return false;
    const int own = ::dirfd(directory);
    bool complete = false;
    while (const struct dirent* entry = ::readdir(directory)) {
        if (entry->d_name[0] < '0' || entry->d_name[0] > '9') continue;
        const int fd = static_cast<int>(std::strtol(entry->d_name, nullptr, 10));
        complete = complete || fd == own;
        if (fd != own) open.push_back(fd);
    }
    ::closedir(directory);
    return complete;
}

void close_up_to(int end, const std::vector<int>& keep) {
    std::size_t next = 0;
    for (int fd = 3; fd < end; ++fd) {
        while (next < keep.size() && keep[next] < fd) ++next;
        if (next < keep.size() && keep[next] == fd) continue;
        ::close(fd);
    }
}

const char* close_without_range(const std::vector<int>& keep) {
    const int size = table_size();
    if (size > 0) {
        close_up_to(size, keep);
        return "one by one, as far as /proc says";
    }
    std::vector<int> open;
    if (list_descriptors(open)) {
        for (const int fd : open)
            if (fd > 2 && !is_kept(keep, fd)) ::close(fd);
        return "one by one, as /dev/fd lists them";
    }
    struct rlimit limit;
    const rlim_t most = 65536;
    const bool low = ::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < most;
    close_up_to(static_cast<int>(low ? limit.rlim_cur : most), keep);
    return "those below min(limit, 65536): this system does not tell which are open";
}

// At a cost that grows with the open ones, not with the limit: the gaps between those kept.
const char* close_others(const std::vector<int>& keep) {
    int first = 3;
    for (const int fd : keep) {
        if (fd < first) continue;
        if (fd > first && !close_gap(first, fd - 1)) return close_without_range(keep);
        first = fd + 1;
    }
    return close_gap(first, INT_MAX) ? close_gap_name : close_without_range(keep);
}

// A kernel that refuses the second leaves the first, which is what most go by.
bool without_core(Plan& plan) {
    struct rlimit none = {0, 0};
    if (!set_undumpable()) note(plan, "dumpable", {last_error().message()});
    return ::setrlimit(RLIMIT_CORE, &none) == 0;
}

}  // namespace

bool move_in(Plan& plan, const Lock& lock, const Channel* channel, Error& error) {
    if (plan.detach) {
        for (int fd = 0; fd < 3; ++fd) {
            const bool closed = ::fcntl(fd, F_GETFD) == -1;
            const bool keeps = fd == 2 || plan.streams[fd].choice() == Stream::keep_choice;
            const Handle& target = plan.targets[fd] ? plan.targets[fd] : plan.null_device;
            if (closed ? !put(fd == 2 ? plan.null_device : target, fd) : !keeps && !put(target, fd))
                return refused(error, "cannot set up descriptor", pure::number(fd));
        }
        leave_other_locks(lock);
        note(plan, "other descriptors closed",
             {close_others(kept_descriptors(plan, lock, channel))});
        if (!renew_wakes(error)) return false;
    }
    ::umask(static_cast<mode_t>(plan.umask));
    return !plan.prevent_core || without_core(plan) ||
           refused(error, "cannot prevent", "core files");
}

namespace {

std::string identity_text(const Plan& plan) {
    if (!plan.sets_uid) return pure::join({"group ", pure::number(plan.new_gid)});
    return pure::join(
        {"user ", plan.user.empty() ? pure::number(plan.new_uid) : pure::quote(plan.user)});
}

// Logs in a directory that is not root's alone are opened as the user who will write them.
bool open_late_streams(Plan& plan, Error& error) {
    if (!plan.late[0] && !plan.late[1] && !plan.late[2]) return true;
    const uid_t root = ::geteuid();
    if (::seteuid(static_cast<uid_t>(plan.new_uid)) != 0)
        return refused(error, "cannot change to user", pure::number(plan.new_uid));
    bool done = true;
    for (int which = 0; done && which < 3; ++which)
        if (plan.late[which]) done = open_target(plan, which, error);
    if (!done)
        error.text += pure::join(
            {" (opened as ", identity_text(plan), ", for the way to it is not root's alone)"});
    const int cause = errno;
    if (::seteuid(root) != 0)
        return refused(error, "cannot change back to user", pure::number(root));
    errno = cause;
    for (int which = 0; done && which < 2; ++which)
        if (plan.late[which] && !put(plan.targets[which], which))
            done = refused(error, "cannot set up descriptor", pure::number(which));
    return done;
}

// chroot(".") after the chdir: with the path given twice, who owns a directory on the way could let
// them name two places. The PID file is reached by another name from here on, if at all.
bool enter_directories(const Plan& plan, Lock& lock, Error& error) {
    if (!plan.chroot_directory.empty()) {
        if (::chdir(plan.chroot_directory.c_str()) != 0 || ::chroot(".") != 0)
            return refused(error, "cannot change root to", pure::path(plan.chroot_directory));
        lock.path_here = pure::inside(lock.path, plan.chroot_directory);
    }
    if (plan.working_directory.empty() || ::chdir(plan.working_directory.c_str()) == 0) return true;
    return refused(error, "cannot change directory to", pure::path(plan.working_directory));
}

// After a drop nothing may lead back: not the saved ids, not a capability that was kept.
bool prove_drop(const Plan& plan, Error& error) {
    const uid_t uid = plan.sets_uid ? static_cast<uid_t>(plan.new_uid) : ::getuid();
    bool back = !all_ids_are(uid, static_cast<gid_t>(plan.new_gid));
    if (plan.sets_uid && plan.new_uid != 0)
        back = back || ::setuid(0) == 0 || ::seteuid(0) == 0 ||
               (plan.new_gid != 0 && ::setegid(0) == 0);
    return !back || pure::fail(error, errc::drop_incomplete, "cannot drop privileges", "",
                               {"they could be regained"});
}

// Groups first and the user last: with another uid neither would be allowed. The logs of
// directories that are the user's come in between, while their paths still mean what they meant
// (before the jail) and root can still take his own identity back.
bool drop(Plan& plan, Lock& lock, Error& error) {
    if (!plan.drops) return enter_directories(plan, lock, error);
    if (call_setgroups(::setgroups, plan.groups) != 0)
        return refused(error, "cannot set the groups of", identity_text(plan));
    if (!set_gids(static_cast<gid_t>(plan.new_gid)))
        return refused(error, "cannot change to group", pure::number(plan.new_gid));
    if (!open_late_streams(plan, error) || !enter_directories(plan, lock, error)) return false;
    if (plan.sets_uid && !set_uids(static_cast<uid_t>(plan.new_uid)))
        return refused(error, "cannot change to user", pure::number(plan.new_uid));
    return prove_drop(plan, error);
}

bool is_named(const std::vector<std::string>& names, const std::string& name) {
    for (const std::string& kept : names)
        if (kept == name) return true;
    return false;
}

void clear_environment(const Plan& plan) {
    std::vector<std::string> names;
    for (char** entry = environ; entry && *entry; ++entry) {
        const std::string text = *entry;
        const std::string name = text.substr(0, text.find('='));
        const bool socket = plan.inherited_sockets > 0 && name.compare(0, 7, "LISTEN_") == 0;
        if (!socket && !is_named(plan.environment_keep, name)) names.push_back(name);
    }
    for (const std::string& name : names) ::unsetenv(name.c_str());
}

void set_or_clear(const char* name, const std::string& value) {
    if (value.empty())
        ::unsetenv(name);
    else
        ::setenv(name, value.c_str(), 1);
}

void adopt_manager(const Plan& plan) noexcept;
void forget_manager() noexcept;  // in the environment

void set_environment(const Plan& plan) {
    forget_manager();
    if (plan.clear_environment) clear_environment(plan);
    if (plan.drops && plan.sets_uid) {
        set_or_clear("USER", plan.user);
        set_or_clear("LOGNAME", plan.user);
        ::setenv("HOME", plan.home.c_str(), 1);
    }
    if (plan.inherited_sockets > 0) ::setenv("LISTEN_PID", std::to_string(self()).c_str(), 1);
}

}  // namespace

bool change_identity(Plan& plan, Lock& lock, Error& error) {
    adopt_manager(plan);
    if (!drop(plan, lock, error)) return false;
    // A change of ids sets "dumpable" anew.
    if (plan.prevent_core && !without_core(plan))
        return refused(error, "cannot prevent", "core files");
    if (plan.no_new_privs && !set_no_new_privs())
        return refused(error, "cannot set", "no_new_privs");
    set_environment(plan);
    return true;
}

namespace {

Lock* terminable = nullptr;  // of the daemon, for `terminate`

bool is_handled(int signum) noexcept;  // by a SignalHandler

// The program's own, or a sanitizer's.
bool is_foreign_function(int signum) {
    struct sigaction action;
    if (is_handled(signum) || ::sigaction(signum, nullptr, &action) != 0) return false;
    return (action.sa_flags & SA_SIGINFO) ||
           (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN);
}

// An ignored signal survives exec: what the starter (nohup, a shell's background job) ignored would
// be ignored by every program that the daemon runs. Functions do not survive, and are left alone.
void unignore_all() {
    for (int signum = 1; signum < NSIG; ++signum) {
        struct sigaction action;
        if (is_handled(signum) || ::sigaction(signum, nullptr, &action) != 0 ||
            (action.sa_flags & SA_SIGINFO) || action.sa_handler != SIG_IGN)
            continue;
        action.sa_handler = SIG_DFL;
        ::sigaction(signum, &action, nullptr);
    }
}

bool has_terminal() { return ::isatty(0) || ::isatty(1) || ::isatty(2); }

}  // namespace

std::vector<std::pair<int, Route>> built_in_routes(const Plan& plan, Lock& lock) {
    terminable = &lock;
    catcher = ::getpid();
    unignore_all();
    std::vector<std::pair<int, Route>> routes;
    const auto add = [&routes](int signum, Route route) {
        if (!is_foreign_function(signum)) routes.emplace_back(signum, route);
    };
    add(SIGTERM, Route::terminate);
    add(SIGINT, Route::terminate);
    // In the foreground the terminal keeps its say: Ctrl-Z stops, closing it ends the program.
    add(SIGHUP, !plan.detach && has_terminal() ? Route::terminate : Route::ignore);
    for (const int signum : {SIGTTIN, SIGTTOU, SIGTSTP})
        if (plan.detach) add(signum, Route::ignore);
    return routes;
}

void let_signals_in() noexcept {
    sigset_t none;
    sigemptyset(&none);
    ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
}

bool put_stream(const Handle& file, int which, Error& error) {
    return put(file, which) || refused(error, "cannot set up descriptor", pure::number(which));
}

bool reopen(int which, const std::string& path, Error& error) {
    Handle file;
    if (!open_log(Stream(path), which, nullptr, file, error)) return false;
    return put_stream(file, which, error);
}

void append_line(const Handle& log, const std::string& line) noexcept {
    const std::string text = line + "\n";
    if (log) write_all(log.fd(), text.data(), text.size());
}

// ---- Processes ----

// The pidfd first, then what /proc says: the other way round the two could be of two processes.
bool open_process(long pid, Identity& identity, Error& error) {
    identity = Identity();
    identity.pid = pid;
    identity.handle = Handle(lift(open_pidfd(pid)));
    const bool gone = !identity.handle && errno == ESRCH;
    const Stat stat = read_stat(pid);
    identity.born = stat.born;
    const bool alive = !gone && (identity.handle || stat.there ||
                                 ::kill(static_cast<pid_t>(pid), 0) == 0 || errno == EPERM);
    if (alive && !stat.is_corpse()) return true;
    return pure::fail(error, errc::not_running, "cannot open", pure::process(pid), {"not running"});
}

bool daemon_of(const Identity& in_file, Identity& daemon, Error& error) {
    daemon = Identity();
    daemon.pid = in_file.pid;
    daemon.born = in_file.born;
    if (!in_file.handle) return true;
    daemon.handle = Handle(::fcntl(in_file.handle.fd(), F_DUPFD_CLOEXEC, 3));
    return daemon.handle || refused(error, "cannot copy", "a process descriptor");
}

// Through a file that user U could have written, root signals nobody but U's own processes.
bool may_signal(const Identity& identity, const Found& found, Error& error) {
    if (::geteuid() != 0 || found.file_user == 0) return true;
    const std::string status =
        DAEMONIZE_HAVE_PROCFS
            ? read_small(pure::join({"/proc/", pure::number(identity.pid), "/status"}).c_str())
            : std::string();
    if (status.empty())
        return pure::fail(error, errc::untrusted_pid_file, "cannot signal",
                          pure::process(identity.pid),
                          {"the PID file belongs to another user, and without /proc nothing tells "
                           "whether the process does"});
    const std::string uids = status_field(status, "Uid");
    const pure::Piece user = pure::number(found.file_user);
    const std::string all_three = pure::join({"\t", user, "\t", user, "\t", user, "\t"});
    if (uids.compare(0, all_three.size(), all_three) == 0) return true;
    return pure::fail(error, errc::untrusted_pid_file, "cannot signal", pure::process(identity.pid),
                      {"the PID file belongs to user ", user, ", the process does not"});
}

namespace {

// Asked right before a signal by number: what is left open is the instant between the two.
bool is_same_process(const Identity& identity) {
    if (identity.born == 0)
        return true;  // not known: what that leaves open stands in the guarantees
    const Stat stat = read_stat(identity.pid);
    return !stat.there || stat.born == identity.born;
}

}  // namespace

// Through the pidfd: a number that was recycled since cannot be hit. By number only where that call
// is missing or denied (an old kernel, a filter), and the start time still fits.
Sent signal(const Identity& identity, int signum) noexcept {
    if (identity.pid <= 1) return Sent::gone;
    int rc = -1;
    if (identity.handle) {
        rc = signal_pidfd(identity.handle.fd(), signum);
    } else {
        errno = ENOSYS;
    }
    if (rc != 0 && (errno == ENOSYS || errno == EPERM)) {  // EPERM: a filter's, or the real one
        if (!is_same_process(identity)) return Sent::gone;
        rc = ::kill(static_cast<pid_t>(identity.pid), signum);
    }
    if (rc == 0) return Sent::sent;
    if (errno == ESRCH) return Sent::gone;
    return errno == EPERM ? Sent::denied : Sent::failed;
}

// A stopped process would not see it. Only a daemon is continued that the signal has reached.
Sent ask_to_end(const Identity& identity) noexcept {
    const Sent sent = signal(identity, SIGTERM);
    if (sent == Sent::sent) signal(identity, SIGCONT);
    return sent;
}

bool end_process(const Identity& identity) noexcept {
    return signal(identity, SIGKILL) == Sent::sent;
}

namespace {

// A zombie counts as gone: it holds nothing, and its parent may take its time.
bool is_gone(const Identity& identity) {
    const Stat stat = read_stat(identity.pid);
    if (stat.there) return stat.born != identity.born || stat.is_corpse();
    return ::kill(static_cast<pid_t>(identity.pid), 0) != 0 && errno == ESRCH;
}

}  // namespace

// A pidfd is ready at the end of the process, zombie or not. Without one there is nothing to wait
// for, only to look at again.
bool await_end(const Identity& identity, const Deadline& deadline) noexcept {
    if (identity.handle) {
        const std::intptr_t handle = identity.handle.get();
        int ready = interrupted;
        while (ready == interrupted) ready = wait_any(&handle, 1, deadline);
        return ready == 0;
    }
    Backoff backoff(deadline);
    for (;;) {
        if (is_gone(identity)) return true;
        if (deadline.over()) return false;
        backoff.pause();
    }
}

Duration age(const Identity& identity) noexcept {
    const long long age = identity.born == 0 ? 0 : age_of(identity.born);
    return identity.born == 0 ? Duration(0) : Duration(age > 0 ? age : 1);
}

// Without /proc the session tells: a daemon's is its own, and who led it has left.
bool is_ancestor(long pid) noexcept {
    long parent = static_cast<long>(::getppid());
    for (int depth = 0; depth < 1000 && parent > 1; ++depth) {
        if (parent == pid) return true;
        const Stat stat = read_stat(parent);
        if (!stat.there) break;
        parent = stat.parent;
    }
    const pid_t session = ::getsid(0);
    return parent > 1 && session == ::getsid(static_cast<pid_t>(pid)) && ::kill(session, 0) != 0 &&
           errno == ESRCH;
}

void pause(Duration span) noexcept {
    struct timespec time;
    time.tv_sec = static_cast<time_t>(span.count() / 1000);
    time.tv_nsec = static_cast<long>(span.count() % 1000) * 1000000L;
    ::nanosleep(&time, nullptr);
}

// ---- Signals ----

namespace {

std::atomic<int> counts[NSIG];
std::atomic<int> wakes[NSIG];  // descriptor + 1 of the SignalHandler that has it; 0: nobody
// In any thread: stop() waits for them before it closes the wake.
std::atomic<int> handlers_running;
bool ignored_by_us[NSIG];  // SIG_IGN that is not the user's

// What capture() found, or signal_map put below it. Of the few that were captured: a table of all
// would be ten kilobytes of every daemon.
struct sigaction& before(int signum) {
    static auto& all = *new std::vector<std::pair<int, struct sigaction>>;
    for (std::pair<int, struct sigaction>& entry : all)
        if (entry.first == signum) return entry.second;
    all.emplace_back();
    all.back().first = signum;
    return all.back().second;
}

extern "C" {
// The asynchronous half: counts, and writes one byte (G2). In a forked child (G8) the signal is not
// the parent's business: it is raised again with its default action.
static void daemonize_count(int signum) {
    const int saved = errno;
    if (::getpid() != catcher) {
        struct sigaction action;
        std::memset(&action, 0, sizeof action);
        action.sa_handler = SIG_DFL;
        ::sigaction(signum, &action, nullptr);
        ::raise(signum);  // delivered when this handler returns
        errno = saved;
        return;
    }
    handlers_running.fetch_add(1);
    counts[signum].fetch_add(1);
    const int wake = wakes[signum].load();
    const char byte = 0;
    if (wake > 0 && ::write(wake - 1, &byte, 1) < 0) errno = saved;  // full: it is rung already
    handlers_running.fetch_sub(1);
    errno = saved;
}
static void daemonize_terminate(int signum) { os::terminate(signum); }
}

// All signals are blocked while one of ours is handled: `terminate` must not be interrupted by a
// second one between its look at the file and its unlink().
void own(struct sigaction& action, int signum, Route wanted) {
    std::memset(&action, 0, sizeof action);
    sigfillset(&action.sa_mask);
    switch (wanted) {
        case Route::ignore:
            action.sa_handler = SIG_IGN;
            break;
        case Route::standard:
            action.sa_handler = SIG_DFL;
            break;
        case Route::terminate:
            action.sa_handler = daemonize_terminate;
            break;
        case Route::count:
            action.sa_handler = daemonize_count;
            // Orders to end interrupt a blocking call; others must not make stdio lose data (G3).
            action.sa_flags =
                signum == SIGINT || signum == SIGTERM || signum == SIGABRT ? 0 : SA_RESTART;
            break;
    }
}

bool is_handled(int signum) noexcept { return wakes[signum].load() != 0; }

bool is_ours(const struct sigaction& action) {
    return !(action.sa_flags & SA_SIGINFO) &&
           (action.sa_handler == daemonize_count || action.sa_handler == daemonize_terminate);
}

// A child of fork() that takes signals itself: what its parent had is not its own (G8).
void disown_signals() {
    catcher = ::getpid();
    for (int signum = 1; signum < NSIG; ++signum) {
        struct sigaction action;
        wakes[signum].store(0);
        counts[signum].store(0);
        if (::sigaction(signum, nullptr, &action) != 0 || !is_ours(action)) continue;
        own(action, signum, Route::standard);
        ::sigaction(signum, &action, nullptr);
    }
}

}  // namespace

bool open_wake(Wake& wake, Error& error) {
    if (!make_wake(wake, error)) return false;
    open_wakes().push_back(&wake);
    return true;
}

void close_wake(Wake& wake) noexcept {
    std::vector<Wake*>& all = open_wakes();
    for (std::size_t i = 0; i < all.size(); ++i) {
        if (all[i] != &wake) continue;
        all[i] = all.back();
        all.pop_back();
        break;
    }
    wake = Wake();
}

bool capture(int signum, const Wake& wake, Error& error) {
    if (catcher != ::getpid()) disown_signals();
    if (wakes[signum].load() != 0)
        return pure::fail(error, errc::invalid_option, "cannot handle", pure::signal_name(signum),
                          {"another SignalHandler has it"});
    struct sigaction& found = before(signum);
    if (::sigaction(signum, nullptr, &found) != 0)
        return refused(error, "cannot handle", pure::signal_name(signum));
    // What was counted for signal_map before is still to be handled; anything else is not.
    if (!is_ours(found)) counts[signum].store(0);
    wakes[signum].store(wake.writable.fd() + 1);
    return true;
}

void release(int signum, const Wake& wake) noexcept {
    if (wakes[signum].load() != wake.writable.fd() + 1) return;
    struct sigaction now;
    const bool known = ::sigaction(signum, nullptr, &now) == 0;
    const bool ignored =
        ignored_by_us[signum] && !(now.sa_flags & SA_SIGINFO) && now.sa_handler == SIG_IGN;
    if (known && (is_ours(now) || ignored)) ::sigaction(signum, &before(signum), nullptr);
    wakes[signum].store(0);
    while (handlers_running.load() != 0) {  // in another thread, for the time of one write()
    }
    const struct sigaction& below = before(signum);  // signal_map's count is for the next handler
    const bool still_counted =
        !(below.sa_flags & SA_SIGINFO) && below.sa_handler == daemonize_count;
    if (!still_counted) counts[signum].store(0);
}

bool route(int signum, Route wanted, Error& error) {
    struct sigaction action;
    own(action, signum, wanted);
    catcher = ::getpid();
    ignored_by_us[signum] = wanted == Route::ignore;
    return ::sigaction(signum, &action, nullptr) == 0 ||
           refused(error, "cannot handle", pure::signal_name(signum));
}

bool route_below(int signum, Route wanted, Error& error) {
    if (!is_handled(signum)) return route(signum, wanted, error);
    own(before(signum), signum, wanted);
    return true;
}

bool take(int signum) noexcept {
    int count = counts[signum].load();
    while (count > 0)
        if (counts[signum].compare_exchange_weak(count, count - 1)) return true;
    return false;
}

int pending(int signum) noexcept { return counts[signum].load(); }

void drain(const Wake& wake) noexcept {
    char bytes[256];
    while (::read(wake.readable.fd(), bytes, sizeof bytes) == static_cast<ssize_t>(sizeof bytes)) {
    }
}

void ring(const Wake& wake) noexcept {
    const char byte = 0;
    while (::write(wake.writable.fd(), &byte, 1) < 0 && errno == EINTR) {
    }
}

int wait_any(const std::intptr_t* handles, int count, const Deadline& deadline) noexcept {
    struct pollfd fds[4];
    for (int i = 0; i < count && i < 4; ++i) {
        fds[i].fd = static_cast<int>(handles[i]);
        fds[i].events = POLLIN;
        fds[i].revents = 0;
    }
    const int ready = ::poll(fds, static_cast<nfds_t>(count), poll_timeout(deadline.left()));
    for (int i = 0; ready > 0 && i < count; ++i)
        if (fds[i].revents != 0) return i;
    return deadline.over() ? time_over : interrupted;
}

const std::vector<std::pair<int, const char*>>& signal_names() {
    static const auto& names = *new std::vector<std::pair<int, const char*>>{
        {SIGHUP, "SIGHUP"},   {SIGINT, "SIGINT"},       {SIGQUIT, "SIGQUIT"}, {SIGILL, "SIGILL"},
        {SIGTRAP, "SIGTRAP"}, {SIGABRT, "SIGABRT"},     {SIGBUS, "SIGBUS"},   {SIGFPE, "SIGFPE"},
        {SIGKILL, "SIGKILL"}, {SIGUSR1, "SIGUSR1"},     {SIGSEGV, "SIGSEGV"}, {SIGUSR2, "SIGUSR2"},
        {SIGPIPE, "SIGPIPE"}, {SIGALRM, "SIGALRM"},     {SIGTERM, "SIGTERM"}, {SIGCHLD, "SIGCHLD"},
        {SIGCONT, "SIGCONT"}, {SIGSTOP, "SIGSTOP"},     {SIGTSTP, "SIGTSTP"}, {SIGTTIN, "SIGTTIN"},
        {SIGTTOU, "SIGTTOU"}, {SIGURG, "SIGURG"},       {SIGXCPU, "SIGXCPU"}, {SIGXFSZ, "SIGXFSZ"},
        {SIGSYS, "SIGSYS"},   {SIGVTALRM, "SIGVTALRM"}, {SIGPROF, "SIGPROF"}};
    return names;
}

// The C library keeps some real-time signals to itself; it refuses them, as it does what is no
// number.
bool is_sendable(int signum) noexcept {
    struct sigaction action;
    return signum > 0 && signum < NSIG && ::sigaction(signum, nullptr, &action) == 0;
}

bool is_catchable(int signum) noexcept {
    for (const int never : {SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS})
        if (signum == never) return false;
    return is_sendable(signum);
}

// A terminal that was closed hangs up; a look at the descriptor tells it from a SIGHUP to reload.
bool terminal_is_gone() noexcept {
    struct pollfd fds[3] = {{0, 0, 0}, {1, 0, 0}, {2, 0, 0}};
    if (::poll(fds, 3, 0) <= 0) return false;
    for (const struct pollfd& fd : fds)
        if ((fd.revents & POLLHUP) && ::tcgetpgrp(fd.fd) == -1 && errno == EIO) return true;
    return false;
}

// Async-signal-safe: the file of the process whose PID is in it, then the default action (S15).
void terminate(int signum) noexcept {
    if (terminable) discard(*terminable, Removal::own);
    struct sigaction action;
    std::memset(&action, 0, sizeof action);
    action.sa_handler = SIG_DFL;
    ::sigaction(signum, &action, nullptr);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signum);
    ::raise(signum);
    ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
    ::_exit(128 + signum);  // a signal whose default is not to end
}

// ---- The process ----

namespace {

// What the service manager said, read once: the variables are gone before a child could take them
// for its own.
struct Manager {
    bool adopted = false;
    std::string address;
    Duration watchdog = no_limit;
    Handle socket;  // connected before a jail hides the address
};

Manager& manager() {
    static Manager& instance = *new Manager;  // outlives every destructor that says STOPPING=1
    return instance;
}

// Abstract ("@...", Linux) and path sockets, as sd_notify(3) has them; of another kind, or too long
// for an address: as if there were no manager.
Handle connect_manager(const std::string& address) {
    struct sockaddr_un name;
    const bool abstract = address[0] == '@';  // Linux
    const std::size_t length = address.size() + (abstract ? 0 : 1);
    if ((!abstract && address[0] != '/') || length > sizeof name.sun_path) return Handle();
    std::memset(&name, 0, sizeof name);
    name.sun_family = AF_UNIX;
    std::memcpy(name.sun_path, address.data(), address.size());
    if (abstract) name.sun_path[0] = '\0';
    Handle socket(lift(make_socket()));
    if (!socket) return socket;
    without_sigpipe(socket.fd());
    const struct timeval limit = {1, 0};  // a manager that hangs does not hang the daemon
    ::setsockopt(socket.fd(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    const socklen_t size = static_cast<socklen_t>(offsetof(struct sockaddr_un, sun_path) + length);
    const auto* to = reinterpret_cast<const struct sockaddr*>(&name);
    return ::connect(socket.fd(), to, size) == 0 ? std::move(socket) : Handle();
}

// Before the jail, from where the address of the manager cannot be reached.
void adopt_manager(const Plan& plan) noexcept {
    Manager& m = manager();
    if (!m.adopted) {
        m.address = environment("NOTIFY_SOCKET");
        m.watchdog = plan.watchdog;
        m.adopted = true;
    }
    if (!plan.chroot_directory.empty() && !m.address.empty()) m.socket = connect_manager(m.address);
}

void forget_manager() noexcept {
    for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) ::unsetenv(name);
}

}  // namespace

std::string environment(const char* name) {
    const char* const value = std::getenv(name);
    return value ? value : "";
}

bool tell_manager(const std::string& assignments) noexcept {
    const Manager& m = manager();
    const std::string address = m.adopted ? m.address : environment("NOTIFY_SOCKET");
    const auto sent_by = [&](const Handle& socket) {
        return socket && ::send(socket.fd(), assignments.data(), assignments.size(), send_flags) ==
                             static_cast<ssize_t>(assignments.size());
    };
    if (sent_by(m.socket)) return true;
    return !address.empty() && sent_by(connect_manager(address));
}

Duration watchdog() noexcept {
    if (manager().adopted) return manager().watchdog;
    return pure::watchdog_interval(environment("WATCHDOG_USEC"), environment("WATCHDOG_PID"),
                                   self());
}

// A reader that has gone (`start | true`) must not turn the status into 141.
void print(int stream, const std::string& line) noexcept {
    const WithoutSignal muffled(SIGPIPE);
    std::fflush(stdout);  // after what stdio holds
    const std::string text = line + "\n";
    write_all(stream, text.data(), text.size());
}

void leave(int status) noexcept { ::_exit(status); }

std::vector<std::string> words_of(int argc, const char* const* argv) {
    std::vector<std::string> words;
    for (int i = 0; i < argc && argv[i]; ++i) words.push_back(argv[i]);
    return words;
}

}  // namespace os
}  // namespace detail
}  // namespace daemonize

#endif  // !DAEMONIZE_WINDOWS

// >>windows ---------------------------------------------------------------------------------------
// A start makes another run of this program, born suspended and windowless; shared memory tells it
// what its launcher knows, and the launcher what became of it. The PID file is an open handle that
// lets nobody else write. It names the daughter, a process of ours that never runs: whoever ends
// it with code N has sent signal N. Only the core calls in here.
#if DAEMONIZE_WINDOWS

namespace daemonize {

extern const int signal_reload = 12;

namespace detail {
namespace os {

// What launcher and daemon have in common until the verdict. Besides NUL a handle that can only
// read it is all that the daemon inherits: a foreign child that inherits it, too, learns nothing
// but numbers. Everything else is fetched out of the launcher, so that a suspended or orphaned
// daemon holds no lock; the payload (a password?) is a section of its own for the same reason.
struct Page {
    char magic[16];
    std::uint64_t nonce;
    std::uint32_t daemon, launcher;  // process numbers
    std::uint64_t launcher_process;  // a handle in the daemon, all others in the launcher
    std::uint64_t page, payload, told, lock, streams[3];
    std::uint64_t payload_size, path_size, notes_size;
    volatile LONG verdict;  // changed by compare-and-swap alone: both cannot win
    std::uint32_t exit_code, is_system, number, text_size;  // the daemon's words
    char path[98304];                                       // of the PID file: 32,768 units
    char notes[16384];                                      // of the launcher's explain()
    char text[65536];
};

struct Child {
    Handle process, thread;
    DWORD pid = 0;
};

// The listener's: it waits for the daughter's end, puts the next one into the file, then tells.
struct Receiver {
    Lock* lock = nullptr;
    Handle job, stop, thread;
    Child daughter, spare;  // the spare is made when there is nothing else to do
    DWORD thread_id = 0;
    SRWLOCK writing = SRWLOCK_INIT;
    bool closed = false;  // the file has been given up
};

namespace {

// ---- The edge: HANDLE, UTF-16, GetLastError ----

// nullptr where there is none: the value -1 of a Handle without one means "this process" to half
// of the functions that take a HANDLE.
HANDLE raw(const Handle& handle) noexcept {
    return handle ? reinterpret_cast<HANDLE>(handle.get()) : nullptr;
}

// Both INVALID_HANDLE_VALUE and nullptr are none: which of them depends on the function.
Handle owned(HANDLE handle) noexcept {
    return Handle(handle ? reinterpret_cast<std::intptr_t>(handle) : -1);
}

HANDLE as_handle(std::uint64_t value) noexcept {
    return reinterpret_cast<HANDLE>(static_cast<std::uintptr_t>(value));
}

std::uint64_t as_number(HANDLE handle) noexcept {
    return static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(handle));
}

int length(std::size_t size) noexcept { return size > INT_MAX ? INT_MAX : static_cast<int>(size); }

// Text for the system, always ended by a zero. (std::wstring would bring 39 KB into a program.)
class Wide {
public:
    Wide() noexcept {}
    Wide(const wchar_t* text) { append(text); }
    Wide(Wide&& other) noexcept
        : text_(std::move(other.text_)), size_(other.size_), room_(other.room_) {
        other.size_ = other.room_ = 0;
    }
    Wide& operator=(Wide&& other) noexcept {
        std::swap(text_, other.text_);
        std::swap(size_, other.size_);
        std::swap(room_, other.room_);
        return *this;
    }
    Wide& append(const wchar_t* text, std::size_t size) {
        if (size > 0) std::memcpy(more(size), text, size * sizeof(wchar_t));
        return *this;
    }
    Wide& append(const wchar_t* text) { return append(text, std::wcslen(text)); }
    // Room for `size` units behind what is there, zeros.
    wchar_t* more(std::size_t size) {
        if (size_ + size >= room_) {
            const std::size_t room = (size_ + size) * 2 + 16;
            std::unique_ptr<wchar_t[]> larger(new wchar_t[room]());
            if (size_ > 0) std::memcpy(larger.get(), text_.get(), size_ * sizeof(wchar_t));
            text_ = std::move(larger);
            room_ = room;
        }
        size_ += size;
        return text_.get() + size_ - size;
    }
    void cut(std::size_t size) noexcept {
        for (; size_ > size; --size_) text_[size_ - 1] = L'\0';
    }
    const wchar_t* get() const noexcept { return text_ ? text_.get() : L""; }
    wchar_t* data() noexcept { return text_.get(); }
    std::size_t size() const noexcept { return size_; }

private:
    std::unique_ptr<wchar_t[]> text_;
    std::size_t size_ = 0, room_ = 0;
};

// flags: MB_ERR_INVALID_CHARS, or 0 for what people are to read: what is no UTF-8 in it shows as
// such then, and does not take the rest of the line along. False: not UTF-8.
bool widen(const std::string& text, Wide& out, DWORD flags = MB_ERR_INVALID_CHARS) {
    out.cut(0);
    if (text.empty()) return true;
    wchar_t* const room = out.more(text.size());  // never more units than bytes
    const int size = ::MultiByteToWideChar(CP_UTF8, flags, text.data(), length(text.size()), room,
                                           length(text.size()));
    out.cut(size > 0 ? static_cast<std::size_t>(size) : 0);
    return size > 0;
}

Wide wide(const std::string& text) {
    Wide out;
    widen(text, out);
    return out;
}

std::string narrow(const wchar_t* text, std::size_t size) {
    std::string out(size * 3, '\0');  // never more bytes than three a unit
    const int bytes = size == 0 ? 0
                                : ::WideCharToMultiByte(CP_UTF8, 0, text, length(size), &out[0],
                                                        length(out.size()), nullptr, nullptr);
    out.resize(bytes > 0 ? static_cast<std::size_t>(bytes) : 0);
    return out;
}

std::string narrow(const Wide& text) { return narrow(text.get(), text.size()); }

// Of an absolute path: beyond MAX_PATH (248 for a directory) only this form is understood.
Wide wide_path(const std::string& path) {
    Wide name = wide(path), out;
    const bool plain = std::wcsncmp(name.get(), L"\\\\?\\", 4) != 0 &&
                       std::wcsncmp(name.get(), L"\\\\.\\", 4) != 0;
    if (name.size() < 248 || !plain) return name;
    const bool share = std::wcsncmp(name.get(), L"\\\\", 2) == 0;
    out.append(share ? L"\\\\?\\UNC" : L"\\\\?\\").append(name.get() + (share ? 1 : 0));
    return out;
}

// Calls a function of the kind "fills a buffer, returns the length, or what it would need".
template <class F>
Wide grown(F call) {
    for (DWORD room = 260; room < 131072; room *= 2) {
        Wide out;
        const DWORD size = call(out.more(room), room);
        out.cut(size < room ? size : 0);
        if (size < room) return out;
    }
    return Wide();
}

Wide own_path() {
    return grown([](wchar_t* out, DWORD size) { return ::GetModuleFileNameW(nullptr, out, size); });
}

Wide variable(const wchar_t* name) {
    return grown(
        [name](wchar_t* out, DWORD size) { return ::GetEnvironmentVariableW(name, out, size); });
}

// Upper or lower case alike, as for the system: by no language's rules (a Turkish i).
bool same_name(const wchar_t* name, std::size_t size, const wchar_t* other) noexcept {
    return ::CompareStringOrdinal(name, length(size), other, -1, TRUE) == CSTR_EQUAL;
}

// Calls `visit(entry, size of the name)` for each variable; "=C:=..." has a name, too.
template <class F>
void each_variable(F visit) {
    wchar_t* const block = ::GetEnvironmentStringsW();  // a copy: the visitor may change them
    for (const wchar_t* entry = block; entry && *entry; entry += std::wcslen(entry) + 1) {
        const wchar_t* const end = std::wcschr(entry + 1, L'=');
        visit(entry, end ? static_cast<std::size_t>(end - entry) : std::wcslen(entry));
    }
    if (block) ::FreeEnvironmentStringsW(block);
}

// The values of GetLastError, their texts in UTF-8, and what they are among std::errc. (Not
// std::system_category(): some libraries take the number for an errno.)
class SystemCategory : public std::error_category {
public:
    const char* name() const noexcept override { return "windows"; }
    std::string message(int value) const override {
        wchar_t text[512];
        DWORD size = ::FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS,
                                      nullptr, static_cast<DWORD>(value), 0, text, 512, nullptr);
        while (size > 0 && (text[size - 1] <= L' ' || text[size - 1] == L'.')) --size;
        return size > 0 ? narrow(text, size) : pure::join({"Windows error ", pure::number(value)});
    }
    std::error_condition default_error_condition(int value) const noexcept override;
};

std::error_condition SystemCategory::default_error_condition(int value) const noexcept {
    static const struct {
        DWORD value;
        std::errc condition;
    } table[] = {
        {ERROR_FILE_NOT_FOUND, std::errc::no_such_file_or_directory},
        {ERROR_PATH_NOT_FOUND, std::errc::no_such_file_or_directory},
        {ERROR_INVALID_DRIVE, std::errc::no_such_file_or_directory},
        {ERROR_BAD_NETPATH, std::errc::no_such_file_or_directory},
        {ERROR_ACCESS_DENIED, std::errc::permission_denied},
        {ERROR_SHARING_VIOLATION, std::errc::permission_denied},
        {ERROR_INVALID_HANDLE, std::errc::bad_file_descriptor},
        {ERROR_NOT_ENOUGH_MEMORY, std::errc::not_enough_memory},
        {ERROR_OUTOFMEMORY, std::errc::not_enough_memory},
        {ERROR_DISK_FULL, std::errc::no_space_on_device},
        {ERROR_HANDLE_DISK_FULL, std::errc::no_space_on_device},
        {ERROR_FILE_EXISTS, std::errc::file_exists},
        {ERROR_ALREADY_EXISTS, std::errc::file_exists},
        {ERROR_INVALID_PARAMETER, std::errc::invalid_argument},
        {ERROR_INVALID_NAME, std::errc::invalid_argument},
        {ERROR_NO_UNICODE_TRANSLATION, std::errc::illegal_byte_sequence},
        {ERROR_FILENAME_EXCED_RANGE, std::errc::filename_too_long},
        {ERROR_TOO_MANY_OPEN_FILES, std::errc::too_many_files_open},
        {ERROR_DIRECTORY, std::errc::not_a_directory},
        {ERROR_WRITE_PROTECT, std::errc::read_only_file_system},
        {ERROR_NOT_SUPPORTED, std::errc::not_supported},
    };
    for (const auto& row : table)
        if (row.value == static_cast<DWORD>(value)) return std::make_error_condition(row.condition);
    return std::error_condition(value, *this);
}

std::error_code system_error(DWORD value) noexcept {
    static const SystemCategory* const category = new SystemCategory;  // outlives every static
    return std::error_code(static_cast<int>(value), *category);
}

DAEMONIZE_COLD bool refused(Error& error, pure::Piece step, pure::Piece object) {
    return pure::fail(error, last_error(), step, object);
}

DAEMONIZE_COLD bool untrusted(Error& error, const char* step, const std::string& path,
                              pure::Piece why) {
    return pure::fail(error, errc::untrusted_pid_file, step, pure::path(path), {why});
}

DWORD milliseconds(Duration left) noexcept {
    if (left == no_limit) return INFINITE;  // else in rounds: each caller looks at its deadline
    return left.count() > INT_MAX ? INT_MAX : static_cast<DWORD>(left.count());
}

bool has_ended(HANDLE process) noexcept {
    return process && ::WaitForSingleObject(process, 0) == WAIT_OBJECT_0;
}

// A pause between tries, in milliseconds: it doubles, up to a second.
DWORD longer(DWORD pause) noexcept { return pause < 10 ? 10 : pause < 500 ? pause * 2 : 1000; }

// ---- Files ----

const DWORD share_all = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;

// The one way to open what must exist. It follows no link, and a directory opens like a file, so
// that it can be told what it is.
Handle open_existing(const wchar_t* name, DWORD access, DWORD share) noexcept {
    return owned(::CreateFileW(name, access, share, nullptr, OPEN_EXISTING,
                               FILE_FLAG_OPEN_REPARSE_POINT | FILE_FLAG_BACKUP_SEMANTICS, nullptr));
}

// Why it is no PID file of ours; nullptr: nothing speaks against it.
const char* judge_file(const Handle& file, BY_HANDLE_FILE_INFORMATION& info) noexcept {
    if (::GetFileType(raw(file)) != FILE_TYPE_DISK ||
        !::GetFileInformationByHandle(raw(file), &info))
        return "it is no regular file";
    if (info.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) return "it is a directory";
    if (info.dwFileAttributes & FILE_ATTRIBUTE_REPARSE_POINT) return "it is a symbolic link";
    return info.nNumberOfLinks > 1 ? "it has a second link" : nullptr;
}

// On another machine's disk: the number in it may be that machine's. Local files have no such
// information. The structure has grown with Windows; its size is checked from below only.
bool is_remote(const Handle& file) noexcept {
    const FILE_INFO_BY_HANDLE_CLASS remote_protocol = static_cast<FILE_INFO_BY_HANDLE_CLASS>(13);
    std::uint64_t room[64];
    return ::GetFileInformationByHandleEx(raw(file), remote_protocol, room, sizeof room) != 0;
}

unsigned long long index_of(const BY_HANDLE_FILE_INFORMATION& info) noexcept {
    return static_cast<unsigned long long>(info.nFileIndexHigh) << 32 | info.nFileIndexLow;
}

bool is_missing(DWORD cause) noexcept {
    return cause == ERROR_FILE_NOT_FOUND || cause == ERROR_PATH_NOT_FOUND;
}

// The name of a deleted file lives on for as long as a reader has it open. Access is denied to it
// then; but so it is to a file of another user's, whose directory does not even list it.
bool is_being_deleted(const wchar_t* name) noexcept {
    if (::GetFileAttributesW(name) != INVALID_FILE_ATTRIBUTES ||
        ::GetLastError() != ERROR_ACCESS_DENIED)
        return false;
    WIN32_FIND_DATAW entry;
    const HANDLE search = ::FindFirstFileW(name, &entry);
    if (search != INVALID_HANDLE_VALUE) ::FindClose(search);
    return search != INVALID_HANDLE_VALUE;
}

DWORD standard_handle(int which) noexcept {
    return which == 0 ? STD_INPUT_HANDLE : which == 1 ? STD_OUTPUT_HANDLE : STD_ERROR_HANDLE;
}

bool is_console(HANDLE stream) noexcept {
    DWORD mode = 0;
    return stream && stream != INVALID_HANDLE_VALUE && ::GetConsoleMode(stream, &mode) != 0;
}

bool write_all(HANDLE file, const char* text, std::size_t size) noexcept {
    while (size > 0) {
        DWORD written = 0;
        if (!::WriteFile(file, text, static_cast<DWORD>(length(size)), &written, nullptr) ||
            written == 0)
            return false;
        text += written;
        size -= written;
    }
    return true;
}

// Text for people, to a console as UTF-16: in its own code page UTF-8 would be garbled.
void print_text(int stream, const std::string& text) noexcept {
    const HANDLE out = ::GetStdHandle(standard_handle(stream));
    DWORD written = 0;
    Wide shown;
    if (!is_console(out)) {
        if (out && out != INVALID_HANDLE_VALUE) write_all(out, text.data(), text.size());
    } else if (widen(text, shown, 0)) {
        ::WriteConsoleW(out, shown.get(), static_cast<DWORD>(shown.size()), &written, nullptr);
    }
}

// ---- Before main: who are we, and where ----

const LONG awaited = 0, said_ready = 1, said_failed = 2, given_up = 3;
const char page_magic[16] = "daemonize page2";
const wchar_t* const switch_name = L"DAEMONIZE_RELAUNCH";

// Raw memory: what a constructor of a global does this early, that global's own would undo.
struct Early {
    bool asked, daemon, lost, taken;
    LONG answered;
    Page* page;
    HANDLE launcher, told, lock;
    DWORD directory_size;
    wchar_t* directory;  // on the heap: 64 KiB of zeros would stand in the program's file
} early;

// A DLL that holds this header stays from here on: threads and handlers of ours run in it.
void pin_module() noexcept {
    HMODULE ignored = nullptr;
    const void* const inside = &early;
    ::GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN,
                         static_cast<const wchar_t*>(inside), &ignored);
}

// A handle of the launcher's, for this process alone.
HANDLE fetch(std::uint64_t value) noexcept {
    HANDLE mine = nullptr;
    if (value == 0 || !::DuplicateHandle(early.launcher, as_handle(value), ::GetCurrentProcess(),
                                         &mine, 0, FALSE, DUPLICATE_SAME_ACCESS))
        return nullptr;
    return mine;
}

Page* map_page(HANDLE section, DWORD access) noexcept {
    return static_cast<Page*>(::MapViewOfFile(section, access, 0, 0, sizeof(Page)));
}

// Gone from getenv(), from the Win32 environment and so from every child: the C runtime has a copy
// of its own, which SetEnvironmentVariable does not reach.
void remove_variable(const wchar_t* name, std::size_t size) {
    Wide assignment;
    assignment.append(name, size).append(L"=");
    ::_wputenv(assignment.get());
    assignment.cut(size);
    ::SetEnvironmentVariableW(assignment.get(), nullptr);
}

// Anything may stand in the environment: a handle that is no section, one of another program, one
// of another start.
bool find_launcher(const std::string& text) {
    std::uint64_t handle = 0, nonce = 0;
    if (!pure::parse_switch(text, handle, nonce)) return false;
    Page* const page = map_page(as_handle(handle), FILE_MAP_READ);
    const bool ours = page && std::memcmp(page->magic, page_magic, sizeof page_magic) == 0 &&
                      page->nonce == nonce && page->daemon == ::GetCurrentProcessId();
    if (ours) {
        early.launcher = as_handle(page->launcher_process);
        if (::GetProcessId(early.launcher) == page->launcher) {
            const HANDLE writable = fetch(page->page);
            early.page = map_page(writable, FILE_MAP_READ | FILE_MAP_WRITE);
            if (writable) ::CloseHandle(writable);
        }
        ::CloseHandle(as_handle(handle));
    }
    if (page) ::UnmapViewOfFile(page);
    return ours;
}

// A launcher that is gone has nothing to fetch from: then this process ends without a word.
void adopt_launcher() noexcept {
    if (early.page) {
        early.told = fetch(early.page->told);
        early.lock = fetch(early.page->lock);
    }
    if (!early.page || !early.told || (early.page->lock != 0 && !early.lock))
        ::TerminateProcess(::GetCurrentProcess(), 1);
    early.daemon = true;
}

// Who was started as a daemon and does not know its launcher (a constructor that ran before
// spoiled the environment) must not start once more: each generation would start the next. That
// it was started so stands in its title, too, which no child inherits.
void remember_birth() noexcept {
    if (early.asked) return;
    early.asked = true;
    const DWORD room = ::GetCurrentDirectoryW(0, nullptr);
    early.directory = new (std::nothrow) wchar_t[room + 1];
    if (early.directory) early.directory_size = ::GetCurrentDirectoryW(room, early.directory);
    if (early.directory_size >= room) early.directory_size = 0;
    STARTUPINFOW info;
    ::GetStartupInfoW(&info);
    early.lost = info.lpTitle && std::wcscmp(info.lpTitle, switch_name) == 0;
    wchar_t text[64];
    ::SetLastError(ERROR_SUCCESS);
    const DWORD size = ::GetEnvironmentVariableW(switch_name, text, 64);
    if (size == 0 && ::GetLastError() == ERROR_ENVVAR_NOT_FOUND) return;
    remove_variable(switch_name, std::wcslen(switch_name));
    if (size > 0 && size < 64 && find_launcher(narrow(text, size))) adopt_launcher();
    early.lost = early.lost && !early.daemon;
}

// A program that is the daemon to be may ask its own PID file before its start (C4): the lock on it
// is its launcher's, and waiting for it would be waiting for itself.
bool is_own_start(const std::string& path) noexcept {
    return early.daemon && !early.answered && path.size() == early.page->path_size &&
           std::memcmp(path.data(), early.page->path, path.size()) == 0;
}

// ---- Processes, born suspended ----

// What the SDK names only from Windows 10 on.
const DWORD_PTR handle_list_attribute = 0x00020002;
const DWORD_PTR job_list_attribute = 0x0002000D;

class Attributes {
public:
    Attributes() noexcept {}
    ~Attributes() {
        if (made_) ::DeleteProcThreadAttributeList(get());
    }
    Attributes(const Attributes&) = delete;
    Attributes& operator=(const Attributes&) = delete;
    bool make(DWORD count) {
        SIZE_T size = 0;
        ::InitializeProcThreadAttributeList(nullptr, count, 0, &size);
        storage_.reset(new char[size]);
        made_ = ::InitializeProcThreadAttributeList(get(), count, 0, &size) != 0;
        return made_;
    }
    bool set(DWORD_PTR which, void* value, std::size_t size) noexcept {
        return ::UpdateProcThreadAttribute(get(), 0, which, value, size, nullptr, nullptr) != 0;
    }
    LPPROC_THREAD_ATTRIBUTE_LIST get() noexcept {
        return reinterpret_cast<LPPROC_THREAD_ATTRIBUTE_LIST>(storage_.get());
    }

private:
    std::unique_ptr<char[]> storage_;
    bool made_ = false;
};

struct Birthplace {
    Wide program, command;  // the command is written to by CreateProcess
    wchar_t* environment = nullptr;
    const wchar_t* directory = nullptr;
    DWORD flags = 0;
    // From the first moment on: assigned later, the child would outlive a creator that is killed
    // in between.
    HANDLE job = nullptr;
    bool needs_job = true;
    HANDLE inherited[4] = {nullptr, nullptr, nullptr, nullptr};  // three streams, the page
    DWORD inherits = 0;
};

// Standard handles are always named: unnamed ones leak, list or not.
bool create_suspended(Birthplace& place, Child& child) {
    Attributes attributes;
    STARTUPINFOEXW info;
    std::memset(&info, 0, sizeof info);
    info.StartupInfo.cb = sizeof info;
    info.StartupInfo.dwFlags = STARTF_USESTDHANDLES;
    info.StartupInfo.hStdInput = place.inherited[0];
    info.StartupInfo.hStdOutput = place.inherited[1];
    info.StartupInfo.hStdError = place.inherited[2];
    Wide title(switch_name);
    if (place.inherits) info.StartupInfo.lpTitle = title.data();
    if (!attributes.make(2) ||
        (place.inherits &&
         !attributes.set(handle_list_attribute, place.inherited, place.inherits * sizeof(HANDLE))))
        return false;
    const bool in_job =
        place.job && attributes.set(job_list_attribute, &place.job, sizeof place.job);
    info.lpAttributeList = attributes.get();
    PROCESS_INFORMATION made;
    if (!::CreateProcessW(place.program.get(), place.command.data(), nullptr, nullptr,
                          place.inherits ? TRUE : FALSE,
                          place.flags | CREATE_SUSPENDED | EXTENDED_STARTUPINFO_PRESENT |
                              CREATE_UNICODE_ENVIRONMENT | CREATE_NEW_PROCESS_GROUP,
                          place.environment, place.directory, &info.StartupInfo, &made))
        return false;
    child.process = owned(made.hProcess);
    child.thread = owned(made.hThread);
    child.pid = made.dwProcessId;
    // Before Windows 8 a process has one job: what holds the child there is not ours.
    if (!place.job || in_job || ::AssignProcessToJobObject(place.job, made.hProcess) ||
        !place.needs_job)
        return true;
    const DWORD cause = ::GetLastError();
    ::TerminateProcess(made.hProcess, 1);
    ::SetLastError(cause);
    return false;
}

bool limit_job(HANDLE job, DWORD flags) noexcept {
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits;
    std::memset(&limits, 0, sizeof limits);
    limits.BasicLimitInformation.LimitFlags = flags;
    return ::SetInformationJobObject(job, JobObjectExtendedLimitInformation, &limits,
                                     sizeof limits) != 0;
}

// A job whose members end with the last handle to it: with this process, however that ends.
Handle deadly_job() noexcept {
    Handle job = owned(::CreateJobObjectW(nullptr, nullptr));
    if (job && !limit_job(raw(job), JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE)) job.close();
    return job;
}

Wide quoted_program(const Wide& path) {
    Wide out(L"\"");
    out.append(path.get(), path.size()).append(L"\"");
    return out;
}

// ---- Signals: a process that is ended is a signal that is received ----

void receive(int signum) noexcept;
// Of a start under way: its signals are counted until it has been said what they do.
std::atomic<const Lock*> signals_held;

// The program itself; where it cannot be started (it was renamed) a system program in its place.
bool new_daughter(Receiver& receiver, Child& child) {
    Birthplace place;
    place.job = raw(receiver.job);
    place.flags = DETACHED_PROCESS;  // no console: Ctrl-C of a foreground program is not for it
    place.program = own_path();
    place.command = quoted_program(place.program);
    if (create_suspended(place, child)) return true;
    place.program =
        grown([](wchar_t* out, DWORD size) { return ::GetSystemDirectoryW(out, size); });
    place.program.append(L"\\cmd.exe");
    place.command = quoted_program(place.program);
    return create_suspended(place, child);
}

// One write at a fixed place and, of a daughter, of fixed length: no reader ever sees the file
// empty or torn.
bool write_pid(const Lock& lock, const std::string& text) noexcept {
    OVERLAPPED start;
    std::memset(&start, 0, sizeof start);
    DWORD written = 0;
    if (!::WriteFile(raw(lock.file), text.data(), static_cast<DWORD>(text.size()), &written,
                     &start))
        return false;
    if (written == text.size()) return true;
    ::SetLastError(ERROR_DISK_FULL);
    return false;
}

// The old daughter's handles are closed last, and by the caller when he has told of the signal: as
// long as the file names it, its number is nobody else's. A file that cannot be written now (its
// share is gone, a reader has locked its bytes) costs no process: the next one is kept for then.
bool replace_daughter(Receiver& receiver, Child& old) {
    Child next = std::move(receiver.spare);
    if ((!next.process || has_ended(raw(next.process))) && !new_daughter(receiver, next))
        return false;
    ::AcquireSRWLockExclusive(&receiver.writing);
    const bool written =
        receiver.closed ||
        write_pid(*receiver.lock, pure::padded_pid_text(static_cast<long>(next.pid)));
    ::ReleaseSRWLockExclusive(&receiver.writing);
    if (written) old = std::move(receiver.daughter);
    (written ? receiver.daughter : receiver.spare) = std::move(next);
    return written;
}

// The next that ends; false: this process does. A spare so ready is in the file within a
// millisecond; the making of a process, which takes ten or more, is nobody's wait.
bool await_signal(Receiver& receiver, DWORD& code) {
    const HANDLE both[2] = {raw(receiver.stop), raw(receiver.daughter.process)};
    for (DWORD idle = 50;; idle = 1000) {
        const DWORD limit = receiver.spare.process ? INFINITE : idle;
        const DWORD ready = ::WaitForMultipleObjects(2, both, FALSE, limit);
        if (ready == WAIT_OBJECT_0 + 1) return ::GetExitCodeProcess(both[1], &code) != 0;
        if (ready != WAIT_TIMEOUT) return false;
        new_daughter(receiver, receiver.spare);
    }
}

std::string status_text(DWORD code) {
    return code > 0xffff ? "0x" + pure::hex(code) : std::to_string(code);
}

// Who ends daughters again and again (a virus scanner?) is told of while the pause grows, no more.
void complain(const Receiver& receiver, DWORD code, DWORD pause) {
    const std::string line = pure::join(
        {program_name(), ": the process that takes this daemon's signals was ended with code ",
         status_text(code), ", which is none; ",
         pure::process(static_cast<long>(receiver.daughter.pid)), " takes them now\n"});
    const HANDLE log = ::GetStdHandle(STD_ERROR_HANDLE);  // not by stdio: another thread may have
    if (pause < 1000) write_all(log, line.data(), line.size());  // its stream for ever
}

// A signal that has come is told even if no next daughter can be named yet.
unsigned __stdcall listen(void* argument) {
    Receiver& receiver = *static_cast<Receiver*>(argument);
    DWORD code = 0, pause = 0;
    while (await_signal(receiver, code)) {
        const int signum = pure::signal_of_exit_code(code);
        pause = signum != no_signal ? 0 : longer(pause);
        bool told = signum == no_signal;
        Child old;
        for (DWORD wait = pause;; wait = longer(wait)) {
            if (wait > 0 && ::WaitForSingleObject(raw(receiver.stop), wait) == WAIT_OBJECT_0)
                return 0;
            if (replace_daughter(receiver, old)) break;
            if (!told) receive(signum);
            told = true;
        }
        if (!told) receive(signum);
        if (signum == no_signal) complain(receiver, code, pause);
    }
    return 0;
}

// Joined before the file is emptied: it would write a number into it again.
void stop_listening(Receiver& receiver) noexcept {
    ::SetEvent(raw(receiver.stop));
    if (receiver.thread && receiver.thread_id != ::GetCurrentThreadId())
        ::WaitForSingleObject(raw(receiver.thread), INFINITE);
}

// Emptied first: who cannot delete it (a reader has it open) leaves a file that says "not running".
// A successor that has locked it meanwhile cannot be hurt: its own handle forbids the deletion.
void empty_and_remove(Lock& lock) noexcept {
    LARGE_INTEGER start;
    start.QuadPart = 0;
    if (::SetFilePointerEx(raw(lock.file), start, nullptr, FILE_BEGIN))
        ::SetEndOfFile(raw(lock.file));
    lock.file.close();
    const Wide name = wide_path(lock.path);
    for (int round = 0; round < 10 && !::DeleteFileW(name.get()); ++round) {
        const DWORD cause = ::GetLastError();
        if (cause != ERROR_SHARING_VIOLATION && cause != ERROR_ACCESS_DENIED) return;
        ::Sleep(10);
    }
}

}  // namespace

// Before the constructors of the program's globals: they may look at the environment, or start
// children, too. Where a compiler knows neither way, birth() and was_relaunched() do it. (__cdecl:
// /Gz makes another convention the default, and the hook's caller is the C runtime.)
#if defined(__GNUC__)
__attribute__((constructor(101), used)) static void before_globals() { remember_birth(); }
#elif defined(_MSC_VER)
static void __cdecl before_globals() { remember_birth(); }
#pragma section(".CRT$XCB", long, read)
extern "C" __declspec(allocate(".CRT$XCB")) void(__cdecl* const daemonize_before_globals)() =
    before_globals;
#if defined(_M_IX86)
#pragma comment(linker, "/include:_daemonize_before_globals")
#else
#pragma comment(linker, "/include:daemonize_before_globals")
#endif
#endif

void Handle::close() noexcept {
    if (value_ == -1) return;
    const int saved_errno = errno;
    const DWORD saved = ::GetLastError();
    ::CloseHandle(reinterpret_cast<HANDLE>(value_));
    ::SetLastError(saved);
    errno = saved_errno;
    value_ = -1;
}

// Nothing interrupts a thread here.
void SignalHold::take() noexcept {}
void SignalHold::only_children() noexcept {}
void SignalHold::give() noexcept { forget(); }
void SignalHold::forget() noexcept { saved_ = nullptr; }

struct Channel {
    Channel() noexcept {}
    Channel(const Channel&) = delete;
    Channel& operator=(const Channel&) = delete;
    ~Channel() {
        ::InterlockedExchange(&early.answered, 1);
        ::UnmapViewOfFile(early.page);
        for (const HANDLE handle : {early.launcher, early.told}) ::CloseHandle(handle);
    }
};

namespace {

// The payload of the launcher, of which nothing is left here once it has been copied.
std::string fetch_payload() {
    const std::size_t size = static_cast<std::size_t>(early.page->payload_size);
    const Handle section = owned(fetch(early.page->payload));
    const void* const view =
        section ? ::MapViewOfFile(raw(section), FILE_MAP_READ, 0, 0, size) : nullptr;
    std::string payload;
    if (view) payload.assign(static_cast<const char*>(view), size);
    if (view) ::UnmapViewOfFile(view);
    return payload;
}

}  // namespace

Birth birth(Lock& lock) noexcept {
    Birth born;
    remember_birth();
    if (!early.daemon || early.taken) return born;
    early.taken = true;
    born.is_daemon = true;
    born.payload = fetch_payload();
    born.notes.assign(early.page->notes, static_cast<std::size_t>(early.page->notes_size));
    born.channel = new Channel;
    lock.path.assign(early.page->path, static_cast<std::size_t>(early.page->path_size));
    lock.path_here = lock.path;
    lock.file = owned(early.lock);
    return born;
}

bool was_relaunched() noexcept {
    remember_birth();
    return early.daemon || early.lost;
}

// Never success: where a function failed without a cause, there is an error all the same.
std::error_code last_error() noexcept {
    const DWORD cause = ::GetLastError();
    return system_error(cause != ERROR_SUCCESS ? cause : ERROR_GEN_FAILURE);
}

bool supports(Option option) noexcept { return option == arguments_option || option == job_option; }

long self() noexcept { return static_cast<long>(::GetCurrentProcessId()); }

std::string program_name() { return base_name(narrow(own_path())); }

// Neither a device, nor a stream of a file, nor what the system would cut off.
bool is_file_name(const std::string& name) {
    static const char* const devices[] = {"CON", "PRN", "AUX", "NUL", "COM", "LPT"};
    if (name.find_first_of("<>:\"|?*/\\") != std::string::npos || name.back() == ' ') return false;
    const std::size_t stem = name.find('.') == std::string::npos ? name.size() : name.find('.');
    for (int i = 0; i < 6; ++i) {
        const bool numbered = i >= 4 && stem == 4 && name[3] >= '0' && name[3] <= '9';
        if ((i < 4 && stem == 3) || numbered)
            if (::_strnicmp(name.c_str(), devices[i], 3) == 0) return false;
    }
    return true;
}

std::string state_directory(Error& error) {
    const Wide directory = variable(L"LOCALAPPDATA");
    if (directory.size() == 0) {
        pure::fail(error, std::make_error_code(std::errc::no_such_file_or_directory), "cannot find",
                   "the directory of this user", {"LOCALAPPDATA is not set"});
        return std::string();
    }
    if (!::CreateDirectoryW(directory.get(), nullptr) && ::GetLastError() != ERROR_ALREADY_EXISTS) {
        refused(error, "cannot make directory", pure::path(narrow(directory)));
        return std::string();
    }
    return narrow(directory);
}

// A directory that is some process's own cannot be removed: not one of the user's.
std::string root_directory() {
    return narrow(
        grown([](wchar_t* out, DWORD size) { return ::GetSystemWindowsDirectoryW(out, size); }));
}

Evidence evidence() {
    Evidence seen;
    seen.pid = self();
    return seen;
}

bool absolute(std::string& path, Error& error) {
    Wide name;
    if (!widen(path, name))
        return pure::fail(error, system_error(ERROR_NO_UNICODE_TRANSLATION), "cannot use path",
                          pure::path(path), {"it is not UTF-8"});
    const Wide full = grown([&name](wchar_t* out, DWORD size) {
        return ::GetFullPathNameW(name.get(), size, out, nullptr);
    });
    if (full.size() == 0) return refused(error, "cannot make absolute", pure::path(path));
    path = narrow(full);
    return true;
}

namespace {

// A console is one session's: the daemon has another, hidden one, and no way to the caller's.
bool check_kept(const Plan& plan, Error& error) {
    static const char* const names[3] = {"standard_input", "standard_output", "standard_error"};
    for (int which = 0; which < 3 && plan.detach; ++which)
        if (plan.streams[which].choice() == Stream::keep_choice &&
            is_console(::GetStdHandle(standard_handle(which))))
            return pure::fail(error, errc::unsupported, "cannot use option", names[which],
                              {"keep_stream: it is a console, which a daemon cannot keep"});
    return true;
}

}  // namespace

bool resolve(Plan& plan, Error& error) {
    Wide ignored;
    remember_birth();
    if (early.lost)
        return pure::fail(error, errc::start_failed, "cannot start", "again",
                          {"this process was started as a daemon, but its environment does not say "
                           "so any more"});
    for (const std::string& argument : plan.arguments)
        if (argument.find('\0') != std::string::npos || !widen(argument, ignored))
            return invalid(error, "arguments", {pure::path(argument), " is no UTF-8 text"});
    return check_kept(plan, error);
}

// Other threads stay where they are: the daemon is another run of the program.
bool check_threads(Plan&, Error&) { return true; }

// ---- The PID file ----

// The open handle is the lock: nobody else can write, rename or delete the file, everybody can read
// it, and whatever ends this process frees it. CREATE_ALWAYS empties it in the same call: locked
// with a number is a daemon, locked and empty a start. It refuses a hidden file unless it is told
// that it is one.
Attempt lock(Lock& lock, Purpose purpose, Error& error) {
    const Wide name = wide_path(lock.path);
    const Deadline deadline(patience);
    BY_HANDLE_FILE_INFORMATION info;
    std::memset(&info, 0, sizeof info);
    const Handle there = open_existing(name.get(), FILE_READ_ATTRIBUTES, share_all);
    if (const char* const distrust = there ? judge_file(there, info) : nullptr) {
        untrusted(error, "cannot lock", lock.path, distrust);
        return Attempt::failed;
    }
    const DWORD hidden = info.dwFileAttributes & (FILE_ATTRIBUTE_HIDDEN | FILE_ATTRIBUTE_SYSTEM);
    for (;;) {
        Handle file =
            owned(::CreateFileW(name.get(), GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ, nullptr,
                                purpose == Purpose::start ? CREATE_ALWAYS : OPEN_EXISTING,
                                hidden ? hidden : FILE_ATTRIBUTE_NORMAL, nullptr));
        if (file && ::GetFileInformationByHandle(raw(file), &info)) {
            lock.device = info.dwVolumeSerialNumber;
            lock.inode = index_of(info);
            lock.file = std::move(file);
            lock.owner = 0;
            return Attempt::got;
        }
        const DWORD cause = ::GetLastError();
        if (cause == ERROR_SHARING_VIOLATION) return Attempt::held;
        if (cause != ERROR_ACCESS_DENIED || deadline.over() || !is_being_deleted(name.get())) {
            ::SetLastError(cause);
            refused(error, there ? "cannot open" : "cannot create", pure::path(lock.path));
            return Attempt::failed;
        }
        ::Sleep(5);
    }
}

// The first daughter stands in the file before anybody is told of the daemon: a number of its own
// there, even for an instant, would be ended by the first signal.
Attempt enter(Lock& lock, Error& error) {
    pin_module();
    std::unique_ptr<Receiver> receiver(new Receiver);  // its job ends the daughter with it
    receiver->lock = &lock;
    receiver->job = deadly_job();
    receiver->stop = owned(::CreateEventW(nullptr, TRUE, FALSE, nullptr));
    unsigned id = 0;
    if (!receiver->job || !receiver->stop || !new_daughter(*receiver, receiver->daughter)) {
        pure::fail(error, errc::unsupported, "cannot receive signals", "",
                   {last_error().message()});
        return Attempt::failed;
    }
    const long daughter = static_cast<long>(receiver->daughter.pid);
    if (!write_pid(lock, pure::padded_pid_text(daughter))) {
        refused(error, "cannot write", pure::path(lock.path));
        return Attempt::failed;
    }
    const std::uintptr_t thread =
        ::_beginthreadex(nullptr, 256 * 1024, listen, receiver.get(),
                         CREATE_SUSPENDED | STACK_SIZE_PARAM_IS_A_RESERVATION, &id);
    receiver->thread = Handle(thread == 0 ? -1 : static_cast<std::intptr_t>(thread));
    if (!receiver->thread) {
        refused(error, "cannot start", "a thread for signals");
        return Attempt::failed;
    }
    receiver->thread_id = id;
    lock.receiver = receiver.release();
    lock.owner = self();
    ::ResumeThread(raw(lock.receiver->thread));
    return Attempt::got;
}

void renew(Lock&) noexcept {}

void discard(Lock& lock, Removal removal) noexcept {
    if (!lock.file || removal == Removal::keep) return;
    if (removal == Removal::own && lock.owner != self()) return;
    if (lock.receiver) stop_listening(*lock.receiver);
    empty_and_remove(lock);
    delete lock.receiver;  // now that nothing names it, the daughter may end
    lock.receiver = nullptr;
    lock.owner = 0;
}

void unlock(Lock& lock, Removal removal) noexcept {
    const Lock* failed = &lock;  // the lock of a start that failed
    signals_held.compare_exchange_strong(failed, nullptr);
    if (!lock.file) return;
    discard(lock, removal);
    if (lock.receiver) stop_listening(*lock.receiver);
    lock.file.close();
    delete lock.receiver;
    lock.receiver = nullptr;
    lock.owner = 0;
}

// Opened as if nobody could write: that fails exactly where somebody has it open for writing, and
// two queries do not take each other for a daemon. What else has it open to write (an editor, a
// copier) lets others write, too; a lock of ours does not.
bool look(const std::string& path, Found& found, Error& error) {
    found = Found();
    if (is_own_start(path)) return true;
    const Wide name = wide_path(path);
    Handle file = open_existing(name.get(), GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_DELETE);
    if (!file && ::GetLastError() == ERROR_SHARING_VIOLATION) {
        found.locked = !open_existing(name.get(), FILE_WRITE_DATA, share_all);
        file = open_existing(name.get(), GENERIC_READ, share_all);
    }
    if (!file) {
        const DWORD cause = ::GetLastError();
        found.locked = false;
        if (is_missing(cause) || is_being_deleted(name.get())) return true;
        ::SetLastError(cause);
        return refused(error, "cannot read", pure::path(path));
    }
    BY_HANDLE_FILE_INFORMATION info;
    if (const char* const distrust = judge_file(file, info))
        return untrusted(error, "cannot read", path, distrust);
    char text[4096];
    DWORD size = 0;
    if (!::ReadFile(raw(file), text, sizeof text, &size, nullptr))
        return refused(error, "cannot read", pure::path(path));
    found.exists = true;
    found.device = info.dwVolumeSerialNumber;
    found.inode = index_of(info);
    found.text.assign(text, size);
    found.remote = is_remote(file);
    return true;
}

// ---- Start ----

struct Launch {
    Launch() noexcept {}
    Launch(const Launch&) = delete;
    Launch& operator=(const Launch&) = delete;
    ~Launch() {
        if (page) ::UnmapViewOfFile(page);
    }
    Handle job, section, payload, told;
    Handle words, mouth;  // of the daemon, on a console of the launcher's: both ends of a pipe
    Child daemon;
    Page* page = nullptr;
};

namespace {

bool open_log(const Stream& stream, int which, Handle& out, Error& error) {
    const Wide name = wide_path(stream.path());
    if (stream.truncates() && which != 0) {
        const Handle emptied(owned(::CreateFileW(name.get(), GENERIC_WRITE, share_all, nullptr,
                                                 CREATE_ALWAYS, FILE_ATTRIBUTE_NORMAL, nullptr)));
        if (!emptied) return refused(error, "cannot empty", pure::path(stream.path()));
    }
    // Append access alone: every write goes to the end, whoever else writes. Shared for deletion:
    // a log can be renamed while it is open.
    const DWORD access = which == 0 ? GENERIC_READ : FILE_APPEND_DATA | SYNCHRONIZE;
    out = owned(::CreateFileW(name.get(), access, share_all, nullptr,
                              which == 0 ? OPEN_EXISTING : OPEN_ALWAYS, FILE_ATTRIBUTE_NORMAL,
                              nullptr));
    return out || refused(error, "cannot open", pure::path(stream.path()));
}

// The C runtime's descriptor and the system's standard handle: printf() looks at the one,
// WriteFile(GetStdHandle()) and children at the other.
bool put(const Handle& file, int where) {
    HANDLE copy = nullptr;
    if (!::DuplicateHandle(::GetCurrentProcess(), raw(file), ::GetCurrentProcess(), &copy, 0, FALSE,
                           DUPLICATE_SAME_ACCESS))
        return false;
    Handle keeper = owned(copy);
    const int fd = ::_open_osfhandle(keeper.get(), _O_BINARY);
    if (fd != -1) keeper.release();  // the descriptor's from here on
    const bool done = fd != -1 && ::_dup2(fd, where) == 0;
    if (fd != -1) ::_close(fd);
    if (!done) {
        ::SetLastError(ERROR_TOO_MANY_OPEN_FILES);
        return false;
    }
    return ::SetStdHandle(standard_handle(where),
                          reinterpret_cast<HANDLE>(::_get_osfhandle(where))) != 0;
}

}  // namespace

// The daemon opens its own: it is no copy of this process.
bool open_streams(Plan&, Error&) { return true; }

namespace {

std::uint64_t make_nonce() noexcept {
    LARGE_INTEGER counter;
    ::QueryPerformanceCounter(&counter);
    FILETIME time;
    ::GetSystemTimeAsFileTime(&time);
    std::uint64_t x = static_cast<std::uint64_t>(counter.QuadPart) ^
                      static_cast<std::uint64_t>(::GetCurrentProcessId()) << 32 ^
                      static_cast<std::uint64_t>(time.dwLowDateTime) << 20 ^
                      as_number(static_cast<void*>(&counter));
    for (int round = 0; round < 3; ++round) {  // spread: neighbours in time look nothing alike
        x ^= x >> 31;
        x *= 0x9e3779b97f4a7c15ULL;
    }
    return x ^ x >> 29;
}

Handle make_section(std::uint64_t size) noexcept {
    return owned(::CreateFileMappingW(INVALID_HANDLE_VALUE, nullptr, PAGE_READWRITE,
                                      static_cast<DWORD>(size >> 32),
                                      static_cast<DWORD>(size & 0xffffffffU), nullptr));
}

bool copy_payload(Launch& launch, const std::string& payload) noexcept {
    if (payload.empty()) return true;
    launch.payload = make_section(payload.size());
    void* const view =
        launch.payload ? ::MapViewOfFile(raw(launch.payload), FILE_MAP_WRITE, 0, 0, payload.size())
                       : nullptr;
    if (!view) return false;
    std::memcpy(view, payload.data(), payload.size());
    ::UnmapViewOfFile(view);
    launch.page->payload_size = payload.size();
    launch.page->payload = as_number(raw(launch.payload));
    return true;
}

// A usable stream is one that another process can write to. On a console the launcher prints what
// the daemon says until its ready(), and a pipe brings it.
void show_streams(Launch& launch) noexcept {
    for (int which = 0; which < 3; ++which) {
        const HANDLE stream = ::GetStdHandle(standard_handle(which));
        const DWORD type = stream ? ::GetFileType(stream) : FILE_TYPE_UNKNOWN;
        if (type == FILE_TYPE_DISK || type == FILE_TYPE_PIPE)
            launch.page->streams[which] = as_number(stream);
    }
    HANDLE words = nullptr, mouth = nullptr;
    if (!is_console(::GetStdHandle(STD_ERROR_HANDLE)) ||
        !::CreatePipe(&words, &mouth, nullptr, 65536))
        return;
    launch.words = owned(words);
    launch.mouth = owned(mouth);
    launch.page->streams[2] = as_number(mouth);
}

// Whatever does not fit is the launcher's to know: a path of the system's always does.
bool write_page(Launch& launch, const Plan& plan, const Lock& lock) noexcept {
    launch.section = make_section(sizeof(Page));
    launch.page =
        launch.section ? map_page(raw(launch.section), FILE_MAP_READ | FILE_MAP_WRITE) : nullptr;
    launch.told = owned(::CreateEventW(nullptr, TRUE, FALSE, nullptr));
    if (!launch.page || !launch.told) return false;
    Page& page = *launch.page;
    const std::size_t path_size = lock.file ? lock.path.size() : 0;
    if (path_size > sizeof page.path) {
        ::SetLastError(ERROR_FILENAME_EXCED_RANGE);
        return false;
    }
    std::memcpy(page.magic, page_magic, sizeof page_magic);
    std::memcpy(page.path, lock.path.data(), path_size);
    page.path_size = path_size;
    page.nonce = make_nonce();
    page.launcher = ::GetCurrentProcessId();
    page.page = as_number(raw(launch.section));
    page.told = as_number(raw(launch.told));
    page.lock = as_number(raw(lock.file));
    show_streams(launch);
    return copy_payload(launch, plan.payload);
}

// This program's variables, with the switch for the daemon alone; in whatever case somebody else
// has set a variable of its name: the system would find that one first.
Wide environment_with(const std::string& value) {
    Wide block;
    each_variable([&block](const wchar_t* entry, std::size_t size) {
        if (!same_name(entry, size, switch_name)) block.append(entry, std::wcslen(entry) + 1);
    });
    block.append(switch_name).append(L"=").append(wide(value).get()).more(2);
    return block;
}

Wide command_line(const Plan& plan, const Wide& program) {
    if (!plan.replace_arguments) return Wide(::GetCommandLineW());
    Wide line = quoted_program(program);
    for (const std::string& argument : plan.arguments)
        line.append(L" ").append(wide(pure::quote_argument(argument)).get());
    return line;
}

Handle inheritable_null() noexcept {
    SECURITY_ATTRIBUTES inherit = {sizeof inherit, nullptr, TRUE};
    return owned(::CreateFileW(L"NUL", GENERIC_READ | GENERIC_WRITE,
                               FILE_SHARE_READ | FILE_SHARE_WRITE, &inherit, OPEN_EXISTING, 0,
                               nullptr));
}

bool is_in_job(HANDLE process) noexcept {
    BOOL inside = FALSE;
    return ::IsProcessInJob(process, nullptr, &inside) && inside;
}

// Out of the caller's job, if that lets go, and into ours. Jobs nest: where an inner one lets go,
// an outer one may not, and only the process itself tells. So, of a launcher in a job, it is asked
// before it is put into ours; of any other it is born there.
bool create_daemon(Birthplace& place, HANDLE job, Child& child, bool& stays) {
    const bool asks = is_in_job(::GetCurrentProcess());
    place.flags = CREATE_NO_WINDOW | CREATE_BREAKAWAY_FROM_JOB;
    place.job = asks ? nullptr : job;
    place.needs_job = false;
    stays = false;
    bool made = create_suspended(place, child);
    if (!made && ::GetLastError() == ERROR_DIRECTORY && place.directory) {
        place.directory = nullptr;  // where the launcher was started is gone: where it is now
        made = create_suspended(place, child);
    }
    if (made) {
        stays = asks && is_in_job(raw(child.process));
        if (asks && job) ::AssignProcessToJobObject(job, raw(child.process));
        return true;
    }
    if (::GetLastError() != ERROR_ACCESS_DENIED) return false;
    place.flags = CREATE_NO_WINDOW;
    place.job = job;
    stays = true;
    return create_suspended(place, child);
}

// The daemon may fetch from this process, and see whether it lives; no more.
bool hand_over(Page& page, const Child& child) noexcept {
    HANDLE there = nullptr;
    const DWORD access = PROCESS_DUP_HANDLE | PROCESS_QUERY_LIMITED_INFORMATION | SYNCHRONIZE;
    if (!::DuplicateHandle(::GetCurrentProcess(), ::GetCurrentProcess(), raw(child.process), &there,
                           access, FALSE, 0))
        return false;
    page.daemon = child.pid;
    page.launcher_process = as_number(there);
    return ::ResumeThread(raw(child.thread)) != static_cast<DWORD>(-1);
}

// What explain() says of the start goes with the daemon: by itself it would find other evidence.
void tell_start(Plan& plan, Page& page, bool stays) {
    if (stays) {
        plan.warning = "it is inside a job of the caller's, and ends with that";
        note(plan, "job", {"the caller's does not let go: the daemon ends when that is closed"});
    }
    page.notes_size = plan.notes.size() < sizeof page.notes ? plan.notes.size() : sizeof page.notes;
    std::memcpy(page.notes, plan.notes.data(), static_cast<std::size_t>(page.notes_size));
}

// The program once more. False: nothing of it is left.
bool relaunch(Plan& plan, Launch& launch, Error& error) {
    Birthplace place;
    place.program = own_path();
    place.command = command_line(plan, place.program);
    place.directory = early.directory_size > 0 ? early.directory : nullptr;
    // One for each stream: a C runtime that replaces descriptor 0 closes what 1 and 2 had shared.
    const Handle nulls[3] = {inheritable_null(), inheritable_null(), inheritable_null()};
    HANDLE shown = nullptr;
    ::DuplicateHandle(::GetCurrentProcess(), raw(launch.section), ::GetCurrentProcess(), &shown,
                      SECTION_MAP_READ, TRUE, 0);
    const Handle closes = owned(shown);
    Wide environment = environment_with(pure::switch_text(as_number(shown), launch.page->nonce));
    place.environment = environment.data();
    place.inherits = 4;
    for (int which = 0; which < 3; ++which) place.inherited[which] = raw(nulls[which]);
    place.inherited[3] = shown;
    bool stays = false;
    const bool made = create_daemon(place, raw(launch.job), launch.daemon, stays);
    const bool refuses = made && stays && plan.must_leave_job;
    if (made) tell_start(plan, *launch.page, stays);
    if (made && !refuses && hand_over(*launch.page, launch.daemon)) return true;
    refused(error, "cannot start again", pure::path(narrow(place.program)));
    if (made) ::TerminateProcess(raw(launch.daemon.process), 1);
    if (refuses)
        pure::fail(error, errc::unsupported, "cannot use option", "must_leave_job",
                   {"the caller's job does not let go"});
    return false;
}

}  // namespace

// Returns once, in the launcher: the daemon is a new process, and birth() tells it so. Nothing is
// flushed: nothing is copied, and another thread may sit in getchar() for ever.
Role detach(Plan& plan, Lock& lock, SignalHold&, Channel*&, Launch*& launch, Error& error) {
    remember_birth();
    std::unique_ptr<Launch> mine(new Launch);
    mine->job = deadly_job();  // this process killed before the verdict: the daemon with it
    if (!write_page(*mine, plan, lock))
        refused(error, "cannot make", "the readiness channel");
    else if (relaunch(plan, *mine, error))
        launch = mine.release();
    return Role::launcher;
}

bool say(Channel*& channel, const Report& report) noexcept {
    if (!channel) return false;
    Page& page = *early.page;
    const std::size_t size =
        report.text.size() < sizeof page.text ? report.text.size() : sizeof page.text;
    page.exit_code = static_cast<std::uint32_t>(report.exit_code);
    page.is_system = report.is_system;
    page.number = static_cast<std::uint32_t>(report.number);
    page.text_size = static_cast<std::uint32_t>(size);
    std::memcpy(page.text, report.text.data(), size);
    const LONG word = report.word == Report::ready ? said_ready : said_failed;
    const bool said = !has_ended(early.launcher) &&
                      ::InterlockedCompareExchange(&page.verdict, word, awaited) == awaited &&
                      ::SetEvent(early.told) != 0;
    delete channel;
    channel = nullptr;
    return said;
}

namespace {

// What the daemon has said on its standard error, to the launcher's console.
void pass_words(const Launch& launch) noexcept {
    char text[4096];
    DWORD waiting = 0, size = 0;
    const HANDLE words = raw(launch.words);
    while (words && ::PeekNamedPipe(words, nullptr, 0, nullptr, &waiting, nullptr) && waiting > 0 &&
           ::ReadFile(words, text, sizeof text, &size, nullptr) && size > 0)
        print_text(2, std::string(text, size));
}

// Numbers from the other side are looked at: the daemon may have scribbled over its memory.
void read_report(const Page& page, LONG verdict, Report& report) {
    report.word = verdict == said_ready ? Report::ready : Report::failed;
    report.exit_code = static_cast<int>(page.exit_code);
    report.is_system = page.is_system != 0;
    report.number = static_cast<int>(page.number);
    const std::size_t size = page.text_size;
    report.text.assign(page.text, size < sizeof page.text ? size : sizeof page.text);
}

}  // namespace

// The swap settles what a time limit and an answer in the same moment would leave open.
Heard hear(Launch& launch, const Deadline& deadline, Report& report) {
    const std::intptr_t handles[2] = {launch.told.get(), launch.daemon.process.get()};
    for (;;) {
        const Duration left = deadline.left(), slice(50);  // no wait is for a pipe, too
        const bool pumps = launch.words && left > slice;
        const int ready = wait_any(handles, 2, pumps ? Deadline(slice) : deadline);
        pass_words(launch);
        if (ready >= 0 || deadline.over()) break;
    }
    const LONG verdict = ::InterlockedCompareExchange(&launch.page->verdict, given_up, awaited);
    report = Report();
    report.pid = static_cast<long>(launch.daemon.pid);
    if (verdict != awaited) {
        read_report(*launch.page, verdict, report);
        return Heard::report;
    }
    if (!has_ended(raw(launch.daemon.process))) return Heard::timed_out;
    DWORD code = 1;
    ::GetExitCodeProcess(raw(launch.daemon.process), &code);
    report.exit_code = static_cast<int>(code);
    report.text = pure::join({"it ended with status ", status_text(code), " before it was ready"});
    return Heard::died;
}

// Accepted, the daemon leaves the launcher's deadly job; one that cannot is as good as dead, and
// so is its start. Its end is waited for: as long as it lives, the file that it has locked cannot
// be removed.
bool settle(Launch*& launch, bool& accepted) noexcept {
    bool settled = true;
    if (accepted && launch->job && !limit_job(raw(launch->job), JOB_OBJECT_LIMIT_BREAKAWAY_OK))
        accepted = false;
    if (!accepted) {
        if (launch->job) ::TerminateJobObject(raw(launch->job), 1);
        ::TerminateProcess(raw(launch->daemon.process), 1);
        settled = ::WaitForSingleObject(raw(launch->daemon.process), milliseconds(after_kill)) ==
                  WAIT_OBJECT_0;
    }
    delete launch;
    launch = nullptr;
    return settled;
}

// ---- The daemon ----

namespace {

// Until ready, 2 is the launcher's: its file, its pipe, or the pipe to its console.
bool set_up_stream(Plan& plan, int which, Error& error) {
    const Stream& stream = plan.streams[which];
    if (stream.choice() == Stream::path_choice &&
        !open_log(stream, which, plan.targets[which], error))
        return false;
    Handle launchers;
    if (which == 2 || stream.choice() == Stream::keep_choice)
        launchers = owned(fetch(early.page->streams[which]));
    const Handle& target = launchers             ? launchers
                           : plan.targets[which] ? plan.targets[which]
                                                 : plan.null_device;
    return put(target, which) || refused(error, "cannot set up descriptor", pure::number(which));
}

// No box that waits for a click: not the system's, nor the C runtime's for abort() and assert().
void show_no_boxes() noexcept {
    ::SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX | SEM_NOOPENFILEERRORBOX);
    ::_set_error_mode(_OUT_TO_STDERR);
#if defined(_MSC_VER)
    ::_set_abort_behavior(0, _CALL_REPORTFAULT);
#endif
}

}  // namespace

bool move_in(Plan& plan, const Lock& lock, const Channel*, Error& error) {
    signals_held.store(&lock);
    if (plan.prevent_core) show_no_boxes();
    if (!plan.detach) return true;
    std::fflush(stdout);  // said before the start, and by the launcher already: into NUL
    std::fflush(stderr);
    plan.null_device = inheritable_null();
    if (!plan.null_device) return refused(error, "cannot open", "'NUL'");
    for (int which = 0; which < 3; ++which)
        if (!set_up_stream(plan, which, error)) return false;
    return true;
}

namespace {

bool is_kept(const Plan& plan, const wchar_t* name, std::size_t size) {
    if (same_name(name, size, L"SystemRoot")) return true;  // no sockets without it, nor some DLLs
    for (const std::string& kept : plan.environment_keep)
        if (same_name(name, size, wide(kept).get())) return true;
    return *name == L'=';  // "=C:=...": the directories of the drives
}

}  // namespace

bool change_identity(Plan& plan, Lock&, Error& error) {
    if (!plan.working_directory.empty() &&
        !::SetCurrentDirectoryW(wide(plan.working_directory).get()))
        return refused(error, "cannot change directory to", pure::path(plan.working_directory));
    if (plan.clear_environment)
        each_variable([&plan](const wchar_t* entry, std::size_t size) {
            if (!is_kept(plan, entry, size)) remove_variable(entry, size);
        });
    return true;
}

namespace {

const int signal_limit = 32;
const int kill_signal = 9, break_signal = 21;

// Of a signal: how often it is still to be handled, who is told, and what it does. The lock is for
// the wake: an event that is closed may be another's a moment later.
struct Disposition {
    int count;
    HANDLE wake;
    bool is_set;  // else: standard
    Route route;
    bool was_set;
    Route before;
};
Disposition dispositions[signal_limit];
SRWLOCK dispositions_guard = SRWLOCK_INIT;
Lock* terminable = nullptr;  // of the daemon, for `terminate`

struct Dispositions {
    Dispositions() noexcept { ::AcquireSRWLockExclusive(&dispositions_guard); }
    ~Dispositions() { ::ReleaseSRWLockExclusive(&dispositions_guard); }
    Dispositions(const Dispositions&) = delete;
    Dispositions& operator=(const Dispositions&) = delete;
    Disposition& operator[](int signum) const noexcept { return dispositions[signum]; }
};

Route route_of(const Disposition& disposition) noexcept {
    if (signals_held.load() != nullptr) return Route::count;
    return disposition.is_set ? disposition.route : Route::standard;
}

bool ends_by_default(int signum) noexcept {
    for (const int fatal : {SIGINT, SIGTERM, SIGABRT, break_signal, kill_signal})
        if (signum == fatal) return true;
    return false;
}

// As the system ends a program at Ctrl-C, so that a batch file sees what happened.
[[noreturn]] void end_by(int signum) noexcept {
    const UINT control_c_exit = 0xC000013AU;
    ::TerminateProcess(::GetCurrentProcess(),
                       signum == SIGINT ? control_c_exit : static_cast<UINT>(signum));
    for (;;) ::Sleep(INFINITE);
}

// A handler that the program gave to std::signal() goes before what the daemon does by itself.
// Asked for by setting another: not every C runtime can be asked only.
bool run_c_handler(int signum) noexcept {
    if (!ends_by_default(signum) || signum == kill_signal) return false;
    const auto handler = std::signal(signum, SIG_IGN);
    if (handler == SIG_IGN) return true;
    if (handler == SIG_ERR) return false;
    std::signal(signum, SIG_DFL);  // as C has it: before the handler runs, which may set it again
    if (handler == SIG_DFL) return false;
    handler(signum);
    return true;
}

// In the listener, or in a thread that the system made for a console event. False: nobody wants it.
bool deliver(int signum) noexcept {
    Route route;
    {
        const Dispositions table;
        Disposition& mine = table[signum];
        route = signum == kill_signal ? Route::standard : route_of(mine);
        if (route == Route::count) {
            ++mine.count;
            if (mine.wake) ::SetEvent(mine.wake);
        }
    }
    if (route == Route::count || route == Route::ignore || run_c_handler(signum)) return true;
    if (route == Route::terminate) terminate(signum);
    return false;
}

// Of a signal that was sent, not typed: nobody else ends the program then.
void receive(int signum) noexcept {
    if (!deliver(signum) && ends_by_default(signum)) end_by(signum);
}

// Services, in session 0, are told of anybody's log-off: no reason to end.
bool is_service_session() noexcept {
    DWORD session = 1;
    return ::ProcessIdToSessionId(::GetCurrentProcessId(), &session) && session == 0;
}

// Closing the window, logging off and shutting down end the process when this returns: the time
// that Windows grants is the program's.
BOOL WINAPI on_console_event(DWORD event) {
    const bool interrupt = event == CTRL_C_EVENT || event == CTRL_BREAK_EVENT;
    if (event == CTRL_LOGOFF_EVENT && is_service_session()) return TRUE;
    if (!deliver(interrupt ? SIGINT : SIGTERM)) return FALSE;
    if (!interrupt) ::Sleep(60000);
    return TRUE;
}

void watch_console() noexcept {
    static const BOOL watched = ::SetConsoleCtrlHandler(on_console_event, TRUE);
    if (watched) pin_module();
}

}  // namespace

std::vector<std::pair<int, Route>> built_in_routes(const Plan&, Lock& lock) {
    terminable = &lock;
    return {{SIGTERM, Route::terminate},
            {SIGINT, Route::terminate},
            {break_signal, Route::terminate},
            {signal_reload, Route::ignore}};
}

// What came while nobody could say what it does.
void let_signals_in() noexcept {
    signals_held.store(nullptr);
    for (int signum = 1; signum < signal_limit; ++signum) {
        bool held = false;
        {
            const Dispositions table;
            held = table[signum].count > 0 && route_of(table[signum]) != Route::count;
            if (held) table[signum].count = 0;
        }
        if (held) receive(signum);
    }
}

bool put_stream(const Handle& file, int which, Error& error) {
    return put(file, which) || refused(error, "cannot set up descriptor", pure::number(which));
}

bool reopen(int which, const std::string& path, Error& error) {
    Handle file;
    return open_log(Stream(path), which, file, error) && put_stream(file, which, error);
}

void append_line(const Handle& log, const std::string& line) noexcept {
    const std::string text = line + "\n";
    if (log) write_all(raw(log), text.data(), text.size());
}

// ---- Processes ----

namespace {

unsigned long long as_number(const FILETIME& time) noexcept {
    return static_cast<unsigned long long>(time.dwHighDateTime) << 32 | time.dwLowDateTime;
}

unsigned long long creation_time(HANDLE process) noexcept {
    FILETIME born, ignored[3];
    return ::GetProcessTimes(process, &born, ignored, ignored + 1, ignored + 2) ? as_number(born)
                                                                                : 0;
}

// False: not to be found.
bool find_entry(long pid, PROCESSENTRY32W& entry) noexcept {
    const Handle snapshot(owned(::CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0)));
    std::memset(&entry, 0, sizeof entry);
    entry.dwSize = sizeof entry;
    BOOL more = snapshot && ::Process32FirstW(raw(snapshot), &entry);
    while (more && static_cast<long>(entry.th32ProcessID) != pid)
        more = ::Process32NextW(raw(snapshot), &entry);
    return more != FALSE;
}

long parent_of(long pid) noexcept {  // 0: not to be found
    PROCESSENTRY32W entry;
    return find_entry(pid, entry) ? static_cast<long>(entry.th32ParentProcessID) : 0;
}

}  // namespace

// A process that has ended but is still named by a PID file is not gone: its daemon has its handle,
// and is about to name the next one.
bool open_process(long pid, Identity& identity, Error& error) {
    identity = Identity();
    identity.pid = pid;
    const DWORD access = PROCESS_QUERY_LIMITED_INFORMATION | SYNCHRONIZE;
    const DWORD id = static_cast<DWORD>(pid);
    identity.handle = owned(::OpenProcess(access | PROCESS_TERMINATE, FALSE, id));
    if (!identity.handle && ::GetLastError() == ERROR_ACCESS_DENIED)
        identity.handle = owned(::OpenProcess(access, FALSE, id));  // another user's: alive
    if (identity.handle) {
        identity.born = creation_time(raw(identity.handle));
        return true;
    }
    if (::GetLastError() == ERROR_ACCESS_DENIED) return true;
    return pure::fail(error, errc::not_running, "cannot open", pure::process(pid), {"not running"});
}

// The daughter's parent, if that is alive and was there before her: her number in the file proves
// that she is meant, her handle that she is still the same.
bool daemon_of(const Identity& in_file, Identity& daemon, Error& error) {
    const long holder = parent_of(in_file.pid);
    if (holder > 0 && open_process(holder, daemon, error) && !has_ended(raw(daemon.handle)) &&
        (daemon.born == 0 || in_file.born == 0 || daemon.born <= in_file.born))
        return true;
    return pure::fail(error, errc::not_running, "cannot find the daemon of",
                      pure::process(in_file.pid), {"not running"});
}

bool may_signal(const Identity&, const Found&, Error&) { return true; }

// The exit code tells whose signal it was: of two that end the same process one is lost, and is
// sent again to the next daughter. (Of two equal ones each takes it for its own, as on Unix.)
Sent signal(const Identity& identity, int signum) noexcept {
    const HANDLE process = raw(identity.handle);
    if (process && has_ended(process)) return Sent::lost;
    if (!process || !::TerminateProcess(process, static_cast<UINT>(signum))) {
        const DWORD cause = process ? ::GetLastError() : ERROR_ACCESS_DENIED;
        // Refused also while another's signal is ending it: then its end comes a moment later.
        if (process && ::WaitForSingleObject(process, 100) == WAIT_OBJECT_0) return Sent::lost;
        ::SetLastError(cause);
        return cause == ERROR_ACCESS_DENIED ? Sent::denied : Sent::failed;
    }
    DWORD code = 0;
    if (::WaitForSingleObject(process, 5000) != WAIT_OBJECT_0) {
        ::SetLastError(ERROR_TIMEOUT);
        return Sent::failed;
    }
    if (!::GetExitCodeProcess(process, &code)) return Sent::failed;
    return code == static_cast<DWORD>(signum) ? Sent::sent : Sent::lost;
}

Sent ask_to_end(const Identity& identity) noexcept { return os::signal(identity, SIGTERM); }

bool end_process(const Identity& identity) noexcept {
    return identity.handle && ::TerminateProcess(raw(identity.handle), 9) != 0;
}

bool await_end(const Identity& identity, const Deadline& deadline) noexcept {
    const HANDLE process = raw(identity.handle);
    for (;;) {
        Identity now;
        Error gone;
        if (process ? ::WaitForSingleObject(process, milliseconds(deadline.left())) != WAIT_TIMEOUT
                    : !open_process(identity.pid, now, gone))
            return true;
        if (deadline.over()) return false;
        if (!process) ::Sleep(20);  // another user's, which can only be asked for
    }
}

Duration age(const Identity& identity) noexcept {
    FILETIME time;
    ::GetSystemTimeAsFileTime(&time);
    const unsigned long long now = as_number(time), unit = 10000;  // of 100 ns in a millisecond
    if (identity.born == 0) return Duration(0);
    if (now < identity.born + unit) return Duration(1);
    return Duration(static_cast<Duration::rep>((now - identity.born) / unit));
}

bool is_ancestor(long pid) noexcept {
    Identity child, parent;
    Error ignored;
    long number = self();
    if (!open_process(number, child, ignored)) return false;
    for (int depth = 0; depth < 100; ++depth) {
        number = parent_of(number);
        // A number that was used again since belongs to someone younger.
        if (number <= 0 || !open_process(number, parent, ignored) || parent.born > child.born)
            return false;
        if (number == pid) return true;
        child = std::move(parent);
    }
    return false;
}

void pause(Duration span) noexcept { ::Sleep(milliseconds(span)); }

// ---- Signals ----

bool open_wake(Wake& wake, Error& error) {
    wake.readable = owned(::CreateEventW(nullptr, TRUE, FALSE, nullptr));
    return wake.readable || refused(error, "cannot make", "an event for signals");
}

void close_wake(Wake& wake) noexcept { wake = Wake(); }

bool capture(int signum, const Wake& wake, Error& error) {
    const Dispositions table;
    Disposition& mine = table[signum];
    if (mine.wake)
        return pure::fail(error, errc::invalid_option, "cannot handle", pure::signal_name(signum),
                          {"another SignalHandler has it"});
    mine.was_set = mine.is_set;
    mine.before = mine.route;
    // What was counted for signal_map before is still to be handled; anything else is not.
    if (!mine.is_set || mine.route == Route::ignore) mine.count = 0;
    mine.wake = raw(wake.readable);
    return true;
}

void release(int signum, const Wake& wake) noexcept {
    const Dispositions table;
    Disposition& mine = table[signum];
    if (mine.wake != raw(wake.readable)) return;
    mine.wake = nullptr;
    mine.is_set = mine.was_set;
    mine.route = mine.before;
    if (route_of(mine) != Route::count) mine.count = 0;  // what was not waited for is dropped
}

bool route(int signum, Route route, Error&) {
    watch_console();
    const Dispositions table;
    table[signum].is_set = route != Route::standard;
    table[signum].route = route;
    return true;
}

bool route_below(int signum, Route wanted, Error& error) {
    {
        const Dispositions table;
        Disposition& mine = table[signum];
        if (mine.wake) {
            mine.was_set = wanted != Route::standard;
            mine.before = wanted;
            return true;
        }
    }
    return route(signum, wanted, error);
}

bool take(int signum) noexcept {
    const Dispositions table;
    if (table[signum].count == 0) return false;
    --table[signum].count;
    return true;
}

int pending(int signum) noexcept {
    const Dispositions table;
    return static_cast<int>(table[signum].count);
}

void drain(const Wake& wake) noexcept { ::ResetEvent(raw(wake.readable)); }
void ring(const Wake& wake) noexcept { ::SetEvent(raw(wake.readable)); }

int wait_any(const std::intptr_t* handles, int count, const Deadline& deadline) noexcept {
    HANDLE list[4];
    DWORD size = 0;
    for (; size < 4 && static_cast<int>(size) < count; ++size)
        list[size] = reinterpret_cast<HANDLE>(handles[size]);
    for (;;) {
        const DWORD ready =
            ::WaitForMultipleObjects(size, list, FALSE, milliseconds(deadline.left()));
        if (ready < size) return static_cast<int>(ready);
        if (ready == WAIT_FAILED) return count - 1;  // no HANDLE to wait for: as if it were ready
        if (deadline.over()) return -1;
    }
}

const std::vector<std::pair<int, const char*>>& signal_names() {
    static const auto& names = *new std::vector<std::pair<int, const char*>>{
        {SIGINT, "SIGINT"},   {SIGILL, "SIGILL"},         {6, "signal 6"},
        {SIGFPE, "SIGFPE"},   {kill_signal, "SIGKILL"},   {SIGSEGV, "SIGSEGV"},
        {SIGTERM, "SIGTERM"}, {break_signal, "SIGBREAK"}, {SIGABRT, "SIGABRT"}};
    return names;
}

// 0 and 1 are what a process ends with by itself: they cannot be told from an order to end.
bool is_sendable(int signum) noexcept { return signum >= 2 && signum < signal_limit; }

// 6 arrives as SIGABRT.
bool is_catchable(int signum) noexcept {
    for (const int never : {SIGILL, 6, SIGFPE, kill_signal, SIGSEGV})
        if (signum == never) return false;
    return is_sendable(signum);
}

bool terminal_is_gone() noexcept { return false; }  // Windows says so by a console event

void terminate(int signum) noexcept {
    Lock* const lock = terminable;
    if (lock && lock->file && lock->owner == self()) {
        if (lock->receiver) {
            ::AcquireSRWLockExclusive(&lock->receiver->writing);
            lock->receiver->closed = true;  // no number is written any more
            ::ReleaseSRWLockExclusive(&lock->receiver->writing);
        }
        empty_and_remove(*lock);
    }
    end_by(signum);
}

// ---- The process ----

std::string environment(const char* name) { return narrow(variable(wide(name).get())); }

bool tell_manager(const std::string&) noexcept { return false; }
Duration watchdog() noexcept { return no_limit; }

void print(int stream, const std::string& line) noexcept {
    std::fflush(stdout);  // after what stdio holds
    const bool console = is_console(::GetStdHandle(standard_handle(stream)));
    print_text(stream, line + (console ? "\r\n" : "\n"));
}

void leave(int status) noexcept { ::_exit(status); }

namespace {

// One word off a command line, as the C runtimes and CommandLineToArgvW take it: backslashes mean
// themselves but before a quote, which two of them leave as it is and one turns into text; two
// quotes inside quotes are one. The program's name is simpler: a quote is a quote.
bool next_word(const wchar_t*& at, Wide& word, bool is_program) {
    const auto is_blank = [](wchar_t c) { return c == L' ' || c == L'\t'; };
    word.cut(0);
    while (!is_program && is_blank(*at)) ++at;
    if (*at == L'\0' && !is_program) return false;
    for (bool quoted = false; *at != L'\0' && (quoted || !is_blank(*at));) {
        std::size_t backslashes = 0;
        for (; !is_program && *at == L'\\'; ++at) ++backslashes;
        const bool quote = *at == L'"';
        const std::size_t kept = quote ? backslashes / 2 : backslashes;
        for (std::size_t i = 0; i < kept; ++i) word.append(L"\\", 1);
        if (quote && backslashes % 2 == 0) {
            const bool doubled = quoted && !is_program && at[1] == L'"';
            if (doubled)
                word.append(at++, 1);
            else
                quoted = !quoted;
            ++at;
        } else if (*at != L'\0' && (quoted || !is_blank(*at))) {
            word.append(at++, 1);
        }
    }
    return true;
}

Wide from_code_page(const char* text) {
    Wide out;
    const int size = ::MultiByteToWideChar(CP_ACP, 0, text, -1, nullptr, 0);
    if (size > 1)
        ::MultiByteToWideChar(CP_ACP, 0, text, -1, out.more(static_cast<std::size_t>(size)), size);
    out.cut(size > 1 ? static_cast<std::size_t>(size - 1) : 0);
    return out;
}

// Whether `given` is what the C runtime made of `word` in the code page of the system, in which
// what it cannot spell is a '?'.
bool is_same_word(const Wide& word, const char* given) {
    const int size = ::WideCharToMultiByte(CP_ACP, 0, word.get(), -1, nullptr, 0, nullptr, nullptr);
    std::string spelled(size > 0 ? static_cast<std::size_t>(size) : 1, '\0');
    ::WideCharToMultiByte(CP_ACP, 0, word.get(), -1, &spelled[0], size, nullptr, nullptr);
    return spelled.compare(0, spelled.size() - 1, given) == 0;
}

}  // namespace

// Each word that main() was given is looked up in the command line, which loses nothing. One that
// is not there (the program's own, a pattern that the C runtime expanded) is taken for UTF-8 where
// it can be, else for the system's code page.
std::vector<std::string> words_of(int argc, const char* const* argv) {
    std::vector<std::string> words;
    const wchar_t* at = ::GetCommandLineW();
    Wide word, ignored;
    bool more = next_word(at, word, true);
    for (int i = 0; i < argc && argv[i]; ++i) {
        if (more && is_same_word(word, argv[i]))
            words.push_back(narrow(word));
        else if (widen(argv[i], ignored))
            words.push_back(argv[i]);
        else
            words.push_back(narrow(from_code_page(argv[i])));
        more = more && next_word(at, word, false);
    }
    return words;
}

}  // namespace os
}  // namespace detail
}  // namespace daemonize

#endif  // DAEMONIZE_WINDOWS

// >>end -------------------------------------------------------------------------------------------
#undef DAEMONIZE_COLD
#undef DAEMONIZE_EXCEPTIONS
#undef DAEMONIZE_LIGHT_FORK
#undef DAEMONIZE_ON_LINUX
#undef DAEMONIZE_SANITIZED
#undef DAEMONIZE_SYS_CLOSE_RANGE
#undef DAEMONIZE_SYS_PIDFD_OPEN
#undef DAEMONIZE_SYS_PIDFD_SEND_SIGNAL
#undef DAEMONIZE_UNDER_TSAN
#undef DAEMONIZE_WINDOWS
#endif  // DAEMONIZE_IMPLEMENTATION

// CHANGELOG
//
//     1.0.0  2026-11-29  The first.
//
// LICENCE
//
// MIT License
//
// Copyright (c) 2026 the daemonize authors
//
// Permission is hereby granted, free of charge, to any person obtaining a copy
// of this software and associated documentation files (the "Software"), to deal
// in the Software without restriction, including without limitation the rights
// to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
// copies of the Software, and to permit persons to whom the Software is
// furnished to do so, subject to the following conditions:
//
// The above copyright notice and this permission notice shall be included in all
// copies or substantial portions of the Software.
//
// THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
// IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
// FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
// AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
// LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
// OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
// SOFTWARE.
