// daemonize.hpp 1.1.0: turns a program into a daemon, on Unix and on Windows.
// One C++11 header without dependencies. MIT licence (at the end, with the changelog).
//
// QUICK START: ticker start | stop | restart | reload | status | run
//
//     #define DAEMONIZE_IMPLEMENTATION           // in exactly one .cpp file of the program
//     #include "daemonize.hpp"
//
//     int main(int argc, char** argv) {
//         daemonize::DaemonContext context;
//         context.pidfile = "/run/ticker.pid";
//         context.standard_output = "/var/log/ticker.log";
//         context.standard_error = context.standard_output;
//         return daemonize::control(argc, argv, context, [](daemonize::DaemonContext& daemon) {
//             daemonize::SignalHandler signals(daemon);  // SIGINT and SIGTERM end the loop below
//             signals.start();
//             daemon.ready();                            // now `ticker start` exits with 0
//             while (signals.wait_for(std::chrono::seconds(1)) == daemonize::no_signal) tick();
//             return 0;
//         });
//     }
//
// MAP (search for the mark)
//
//     >>version         version numbers      >>types    what the rooms below share
//     >>api             the declarations     >>unix     Linux, macOS, the BSDs
//     >>implementation  the functions:       >>windows  Windows
//     >>text            texts and rules      >>core     the public classes
//                                            >>end      changelog, licence
//
// MACROS (none of them changes a class or a declaration)
//
//     DAEMONIZE_IMPLEMENTATION    Define it in exactly one .cpp file, before the #include. That is
//                                 where the functions are. The other macros count there only.
//     DAEMONIZE_GENERIC_POSIX     Define it to compile without any Linux-only call. A kernel that
//                                 refuses a newer call needs no macro: it is served at run time.
//
// VOCABULARY
//
//     launcher   the process that the user started. It waits for the outcome, prints it and exits.
//     leader     Unix: the child between launcher and daemon. It judges the start, then exits.
//     daemon     the process that goes on in the background and runs the program.
//     ready      the daemon has called ready(): its initialisation is finished.
//     lock       the exclusive lock on the PID file. Its owner is the only instance.
//     holder     the process that has the lock.
//     proof      evidence that the holder is the daemon: on Linux a record lock names its owner.
//     to drop    to change from root to another user, for good.
//
// THE LIFE OF A START ON UNIX
//
//     shell                         waits for the launcher, as for any command
//      `-- launcher                 steps 1 to 7, 18
//           `-- leader              step 8: leads the new session, judges the start, exits
//                `-- daemon         steps 9 to 17, 19: its parent is process 1 in the end
//
//   launcher   1  checks the options; looks up user, group and supplementary groups
//              2  makes all paths absolute
//              3  decides whether to detach; refuses a program with several threads
//              4  blocks signals; creates and locks the PID file (still empty)
//              5  opens the logs that need no other user; makes the readiness channel
//              6  flushes the stdio buffers
//              7  forks the leader; waits for the leader's report, with a time limit
//   leader     8  calls setsid(); forks the daemon; waits for what comes first: the daemon's word,
//                 the daemon's end, the launcher's end, the time limit. If the start has failed it
//                 kills the daemon, removes the PID file and reports why
//   daemon     9  puts 0 and 1 onto their targets; 2 is still the launcher's standard error
//             10  closes the descriptors that it is not meant to keep (`close_fds`)
//             11  sets umask and core limit
//             12  takes the record lock; writes its PID into the PID file
//             13  calls `privileged`: still root; then gives the PID file to the new user
//             14  changes groups, gid; opens the other logs; chroot, chdir; changes uid; checks it
//             15  sets the environment: USER, LOGNAME and HOME of the new user
//             16  sets the signals; open() and start() return here, control() calls the body
//             17  ready(): standard error goes to the log, the leader is told
//   launcher  18  collects the leader; exits with 0, or prints one line and exits with the code
//   daemon    19  at its end: removes the PID file while it still has the lock
//
// In the foreground (`run`, or under a manager that expects no fork) the steps are 1 to 5, 11 to 17
// and 19, in one process; standard streams, descriptors, signal mask and working directory stay.
//
// THE LIFE OF A START ON WINDOWS
//
//     shell                         waits for the launcher
//      `-- launcher                 checks options, locks the PID file, starts the program again
//           `-- daemon              the same program: main() runs again, up to the start; there it
//                |                  takes over the lock, goes on, and tells the launcher
//                `-- signal process suspended; its PID is in the PID file. To end it with exit code
//                                   N is to send signal N. The daemon then starts another one
//
// GUARANTEES
//
//  1. If the launcher exits with 0, then at the moment of ready() the daemon was running, detached,
//     and held its PID file, completely written. Otherwise one line on standard error says why.
//  2. A daemon that ends before ready() is noticed at once. Its status becomes the launcher's: its
//     exit code; 128+n for signal n; 1 if the code was 0; 124 if it was not ready in time. If a
//     start fails, everything that it made is removed: processes, PID file, temporary files.
//  3. The lock on the PID file decides whether an instance runs, never the number in it. A file
//     that a crash has left blocks no start. Of many starts at the same time exactly one succeeds.
//     A refused start changes nothing, not even the file's modification time.
//  4. Only the proven holder of the PID file is signalled: never another process that has got its
//     number, never a process group. Process 1 only where it is the proven holder (a container).
//  5. Signal callbacks are ordinary code: they run inside wait(), wait_for() or poll(). No signal
//     is lost; equal ones that are pending may be reported as one, different ones in any order.
//  6. Relative paths are relative to the directory in which the program was started. Text in stdio
//     buffers is written exactly once. Destructors and atexit handlers run once, in the daemon.
//  7. The daemon keeps none of the caller's pipes or terminals, so that `x=$(prog start)` and
//     `ssh host prog start` return as soon as the launcher exits.
//  8. Dropping root is complete (groups, real, effective, saved ids), or the start fails.
//  9. stop() returns when the process is gone and its lock is free, and says what it did.
//
// WHAT IT CANNOT PROMISE
//
//  a. If somebody deletes the PID file of a running daemon, a second instance can start.
//  b. A user who may read the PID file can lock it, and so prevent starts while this lock lasts.
//     `pidfile_mode = 0600` allows this to the owner alone.
//  c. If code in the daemon opens and closes the daemon's own PID file, the proof is lost: POSIX
//     drops a process's record locks then. ready(), wait(), wait_for() and poll() take it again;
//     until then send() and stop() refuse and say so. Use native_handle() of the PID file instead.
//  d. Without Linux's record locks (macOS, BSD) the proof is weaker: the file is locked, and the
//     same number was read twice. On Windows any process that has it open for writing passes; on a
//     remote file system nobody is proven, and send(), stop() and status() say so.
//  e. A child that the daemon starts before ready() inherits the launcher's standard error. If it
//     moves to a session of its own, a failed start does not find and end it.
//  f. Ctrl-C ends a waiting launcher; the leader then ends the daemon. A launcher that is killed
//     after the daemon's ready() and before its own exit leaves a running daemon.
//  g. The daemon stays in the cgroup of its session: logind with KillUserProcesses=yes ends it at
//     logout. Use lingering, a user unit, or `run` under a service manager.
//  h. macOS: a fork without exec is unsafe after Foundation or libdispatch was used. Call open()
//     first in main(). Epoll and kqueue descriptors from before the start do not work after it.
//  i. A unit with Type=forking and without PIDFile= looks like Type=simple. open() and start() then
//     stay in the foreground. Name PIDFile= in the unit, or set detach_process to Detach::yes.
//  j. If memory runs out the program ends.
//  k. close() removes the PID file a little before the process ends: static destructors and atexit
//     handlers may meet a new instance. stop() and `restart` wait for the process itself.
//  l. Code in the daemon that closes all descriptors frees the lock: spare pidfile_handle(). A
//     child made by _Fork() runs no fork handlers and keeps the lock until it calls exec or ends.
//  m. The descriptors and signals that the program inherited are noted before main(). In a library
//     that is loaded late they are noted as late: what was opened until then counts as inherited.
//
// WHAT DIFFERS
//
// |                           | Linux              | macOS, BSD, other    | Windows               |
// |---------------------------|--------------------|----------------------|-----------------------|
// | the daemon is             | a fork of a fork   | a fork of a fork     | the program, again    |
// | code before the start     | runs once          | runs once            | runs in both          |
// | the PID in the file is    | the daemon's       | the daemon's         | the signal process's  |
// | proof of the holder       | record lock, pidfd | flock, number        | share mode, parent    |
// | `reload` sends            | SIGHUP             | SIGHUP               | 12 (it has no SIGHUP) |
// | umask, ids, chroot        | yes                | yes                  | errc::unsupported     |
// | start with more threads   | refused            | refused if told (1)  | allowed               |
// | processes beside it       | none               | none                 | two, suspended        |
// | service manager           | sd_notify          | none                 | `run` is a service    |
// | inside a caller's job     | there is none      | there is none        | ends with it, says so |
// | std::signal() handlers    | kept               | kept                 | run in another thread |
// | a log-off                 | logind's setting   | goes on              | SIGTERM, if told (2)  |
// (1) by the system: macOS and the BSDs tell it. (2) Windows ends most programs without a word
// then; their PID file blocks nobody. A service is told
//     of everybody's log-off and takes no notice.

// >>version ---------------------------------------------------------------------------------------
#ifndef DAEMONIZE_HPP
#define DAEMONIZE_HPP

#define DAEMONIZE_VERSION_MAJOR 1
#define DAEMONIZE_VERSION_MINOR 1
#define DAEMONIZE_VERSION_PATCH 0
#define DAEMONIZE_VERSION 10100  // MAJOR * 10000 + MINOR * 100 + PATCH

#include <chrono>        // time limits
#include <cstddef>       // nullptr_t: a null pointer is no path and no name
#include <cstdint>       // intptr_t: a descriptor or a HANDLE
#include <functional>    // callbacks
#include <string>        // paths, texts and payload, always UTF-8
#include <system_error>  // error_code, and the base of DaemonError
#include <utility>       // pair
#include <vector>        // lists among the options

// C++17: with external linkage, so that a module can export it.
#if defined(__cpp_inline_variables)
#define DAEMONIZE_CONSTANT inline constexpr
#else
#define DAEMONIZE_CONSTANT constexpr
#endif
#pragma push_macro("Status")  // X11 defines it as int: its headers may come before this one
#undef Status

// >>api -------------------------------------------------------------------------------------------
namespace daemonize {

// ---- Values -------------------------------------------------------------------------------------

using Duration = std::chrono::milliseconds;  // a time limit; a negative one counts as zero
// Wait without a limit. (max): it may be a macro.
DAEMONIZE_CONSTANT Duration no_limit = (Duration::max)();

enum class Role {
    launcher,    // the process that the user started; the daemon is another one
    daemon,      // the new process, detached
    foreground,  // the process that the user started is the service itself: nothing was forked
};

// Whether to detach. automatic: by how the program was started; explain() tells what was found.
enum class Detach { automatic, yes, no };

// Which descriptors above 2 the daemon closes: those that were open when the program was executed
// (what it has opened itself stays), all (PEP 3143), or none. files_preserve and systemd's sockets
// (LISTEN_FDS) always stay open.
enum class CloseFds { inherited, all, none };

enum StreamChoice { null_stream, keep_stream };  // /dev/null; where it led before the start

// Where a standard stream of the daemon leads. Two streams may name the same file. In the
// foreground this has no effect: the streams stay as they are. On Windows keep_stream of a console
// is errc::unsupported. Source: PEP 3143 (stdin, ...).
class Stream {
public:
    Stream(StreamChoice choice = null_stream) : choice_(choice) {}
    // A file: created with mode 0640 if it is missing, else appended to. It belongs to the user who
    // the daemon becomes. An empty path is an error (invalid_option).
    Stream(const char* path);
    Stream(const std::string& path);
    Stream(std::nullptr_t) = delete;                   // write null_stream
    static Stream descriptor(int open_descriptor);     // [unix] the start duplicates it
    static Stream truncated(const std::string& path);  // a file, emptied after the lock was taken

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

// A user or a group: not set, a number (0 is root), or a name. A string of digits is first looked
// up as a name, then taken as a number.
class Account {
public:
    Account() {}
    Account(int id);            // negative: invalid_option
    Account(unsigned id);       // uid_t, gid_t
    Account(const char* name);  // no such name: unknown_account
    Account(const std::string& name);
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
// A function that can fail has two forms. The form with an Error& reports there and throws nothing.
// The other form throws DaemonError; without exceptions it prints the text and exits with 1.

enum class errc {
    already_running = 1,  // another process holds the PID file; the text names it
    not_running,          // no process holds the PID file
    untrusted_pid_file,   // a symlink, a FIFO or a hard link, or other users could change it
    invalid_pid_file,     // the file is locked, but its content is not a PID
    unproven_holder,      // the file is locked, but there is no proof that a daemon of ours did it
    invalid_option,       // a value out of range, or two options that exclude each other
    unsupported,          // this system has no such feature; the text names the option
    unknown_account,      // no such user or group
    unknown_signal,       // no such signal number, or one that cannot be caught or sent
    threads_running,      // a fork would lose the other threads; see allow_threads
    start_failed,         // the daemon called fail() or ended before ready(); the text says why
    timed_out,            // not ready, not acquired or not ended within the time limit
    drop_incomplete,      // root could be regained, so the daemon refused to go on
};
const std::error_category& category() noexcept;
std::error_code make_error_code(errc condition) noexcept;

// What went wrong: a code to compare and a line to print (step, object, cause).
struct Error {
    std::error_code code;  // an errc, or the system's errno or GetLastError() value
    std::string text;      // "cannot lock '/run/a.pid': already running as process 4711"
    int exit_code = 0;     // the status with which a launcher should exit; 0: no start has failed
    explicit operator bool() const noexcept { return static_cast<bool>(code); }
};

// An Error as an exception; what() is its text.
class DaemonError : public std::system_error {
public:
    explicit DaemonError(const Error& error);
    const char* what() const noexcept override { return text_.what(); }

private:
    std::runtime_error text_;  // unlike a std::string it is copied without throwing
};

// ---- PID file -----------------------------------------------------------------------------------

namespace detail {
struct Held;
struct Session;
struct Watch;
}  // namespace detail

// A PID file without a daemon, for a program of which one instance may run. The lock ends with the
// process, however that ends. Use an object from one thread only. On Windows the file names a
// suspended process that stands for this one, as a daemon's does. Source: pidfile(3), flock(2).
class PidFile {
public:
    explicit PidFile(const std::string& path, int mode = 0644);  // opens nothing yet
    PidFile(PidFile&& other) noexcept;
    PidFile& operator=(PidFile&& other) noexcept;
    PidFile(const PidFile&) = delete;
    PidFile& operator=(const PidFile&) = delete;
    ~PidFile();  // release(), in the process that called acquire()

    // Locks the file and writes "PID\n" into it; already held by this object: does nothing. If a
    // daemon holds the lock, waits up to `limit` (0: does not wait). If something else holds it for
    // a moment (a status query, another start), waits at least one second. Fails with
    // already_running, untrusted_pid_file, unproven_holder, timed_out, invalid_option (a path or
    // mode out of range), or the system's error: no such directory, disk full, no locks there.
    void acquire(Duration limit = Duration(0));
    bool acquire(Duration limit, Error& error) noexcept;
    // Removes the file if it is still ours, then unlocks it. Does nothing if it is not held, or in
    // a forked child of the holder.
    void release() noexcept;
    bool is_held() const noexcept;  // by this object, in this process
    // The number in the file, whoever wrote it, locked or not: for display only. To signal a daemon
    // use send(). Changes nothing, never blocks. Fails with invalid_pid_file, untrusted_pid_file or
    // the system's error (no such file, ...); the form with Error& then returns 0.
    long read() const;
    long read(Error& error) const noexcept;
    const std::string& path() const noexcept;  // made absolute by the constructor
    // The open, locked descriptor (HANDLE on Windows) of the file; -1 if it is not held. Read or
    // fstat() through it: opening and closing the file by name would drop the proof (see c above).
    std::intptr_t native_handle() const noexcept;

    // The usual place for the PID file of `program`, also for DaemonContext::pidfile: the service
    // manager's $RUNTIME_DIRECTORY; root's /run (/var/run); for other users a directory of mode
    // 0700 in $XDG_STATE_HOME or ~/.local/state; on Windows in %LOCALAPPDATA%. Never /tmp. Fails
    // with invalid_option (not a file name), untrusted_pid_file (others may write there),
    // unknown_account (no home directory). Source: FHS 3.0, XDG Base Directory Specification.
    static std::string default_path(const std::string& program);
    static std::string default_path(const std::string& program, Error& error) noexcept;

private:
    std::string path_;
    detail::Held* held_;
};

// ---- Signals ------------------------------------------------------------------------------------

DAEMONIZE_CONSTANT int no_signal = 0;  // what a wait returns when its time is over
extern const int signal_reload;        // SIGHUP; 12 on Windows, which has no SIGHUP

enum SignalAction {
    report_signal,     // wait(), wait_for() and poll() return its number
    ignore_signal,     // nothing happens
    default_signal,    // what it did before this handler was started
    terminate_signal,  // removes the PID file, then the system's default action ends the process
};

// What a signal does: an action, or a callback that runs inside the waits.
class Handler {
public:
    Handler(SignalAction action = report_signal) : action_(action) {}
    Handler(void (*function)(int signum));  // SIG_IGN and SIG_DFL are understood, too
    template <class F>
    Handler(F function) : callback_(function) {}
    Handler(std::nullptr_t) = delete;

    SignalAction action() const noexcept { return action_; }
    const std::function<void(int signum)>& callback() const noexcept { return callback_; }

private:
    SignalAction action_ = report_signal;
    std::function<void(int signum)> callback_;
};

// What throw_received() throws. It is no std::exception, so that a loop which catches those does
// not catch the order to end. control() turns it into an orderly end with status 128+n.
class ReceivedSignal {
public:
    explicit ReceivedSignal(int signum) noexcept : signum_(signum) {}
    ReceivedSignal(const ReceivedSignal&) = default;
    ReceivedSignal& operator=(const ReceivedSignal&) = default;
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

// Receives signals in ordinary code. The real signal handler only counts and writes one byte to a
// pipe. Callbacks run inside the waits and poll() and may allocate, lock and log. Any one thread
// may wait, also one that did not create the object. It may be created before or after the start of
// a daemon. It starts no thread on Unix. Source: daemoniker's SignalHandler1.
class SignalHandler {
public:
    SignalHandler();                                 // for a program without a DaemonContext
    explicit SignalHandler(DaemonContext& context);  // also runs the callbacks of its signal_map
    SignalHandler(const SignalHandler&) = delete;
    SignalHandler& operator=(const SignalHandler&) = delete;
    ~SignalHandler();  // stop()

    // The waiting thread may assign these at any time; the next wait uses the new value.
    Handler sigint, sigterm, sigabrt;
    // Of signal_reload. Without an assignment: default_signal; under control() reopen_streams().
    Handler reload;

    // Sets the handler of any other signal (for the four above it sets the field), at any time,
    // also from a callback; after start() at once. Fails with unknown_signal for SIGKILL, SIGSTOP,
    // SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, a signal of the C library, or no such
    // number.
    void on(int signum, Handler handler);
    bool on(int signum, Handler handler, Error& error) noexcept;

    // Installs the handlers, all or none. A second call does nothing. Fails with invalid_option if
    // another SignalHandler has one of the signals, or with the system's error.
    void start();
    bool start(Error& error) noexcept;
    // Restores the handlers from before start(), where ours are still installed. A second call does
    // nothing. Signals that have come but were not yet reported are discarded. Exception: callbacks
    // in signal_map are kept for the next SignalHandler. If a callback calls it, the wait returns.
    void stop() noexcept;

    // The waits run callbacks and return the number of a report_signal signal, or no_signal when
    // the time is over. After a callback the wait continues. If a callback throws, the exception
    // propagates and the next wait handles the remaining signals. Without start() they throw
    // DaemonError. They also renew the proof of the PID file and feed the manager's watchdog.
    int wait();
    int wait_for(Duration limit);
    template <class Clock, class D>
    int wait_until(std::chrono::time_point<Clock, D> time) {
        for (;;) {  // the clock is read at least every second, in case somebody sets it
            const auto now = Clock::now();
            const Duration left =
                time <= now ? Duration(0) : std::chrono::duration_cast<Duration>(time - now);
            const Duration round = time <= now ? left : left + Duration(1);
            const int signum = wait_for(round < Duration(1000) ? round : Duration(1000));
            if (signum != no_signal || time <= Clock::now()) return signum;
        }
    }
    // Waits for a signal, or for input or end of file on one descriptor (Windows: a waitable
    // HANDLE); a signal that comes just before is not missed. For several descriptors see
    // native_handle().
    int wait_for_input(std::intptr_t handle, Duration limit = no_limit);
    int poll();  // wait_for() of zero: does not wait
    // As wait_for(), but throws the signal: ReceivedSIGINT, ReceivedSIGTERM, ReceivedSIGABRT or
    // ReceivedSignal. Without exceptions it ends the program with status 128+n.
    void throw_received(Duration limit = Duration(0));
    // For your own event loop: a descriptor (on Windows a HANDLE) that becomes ready when a signal
    // has come. Call poll() then, and do not read from it. -1 before start().
    std::intptr_t native_handle() const noexcept;

private:
    detail::Watch* watch_;
};

// ---- The daemon ---------------------------------------------------------------------------------

// The options. Names and meaning are those of PEP 3143 where it has them. Relative paths are
// relative to the directory in which the program was started. [unix], [linux], [windows]: elsewhere
// setting it is errc::unsupported. [detached]: it has no effect in the foreground.
struct DaemonOptions {
    std::string pidfile;          // empty: none, and then no single instance, send() or stop()
    bool make_directory = false;  // create its directory: 0755, owned by the daemon's user
    int pidfile_mode = 0644;      // [unix] whatever the umask

    // Empty: "/" (Windows: %SystemRoot%), in the foreground "."; a path inside chroot_directory.
    std::string working_directory;
    std::string chroot_directory;  // [unix] needs root

    // [detached] One log for both: standard_output = standard_error = "/var/log/ticker.log".
    // Standard error is the launcher's until ready(), so that the user sees an early failure.
    Stream standard_input, standard_output, standard_error;
    int umask = -1;  // [unix] -1: 027, so that other users can read nothing of what is created

    // [unix] The user and group of the daemon; needs root. Only uid: with that user's primary group
    // (a number must then be in the passwd database). Only gid: no supplementary groups are kept.
    Account uid, gid;
    bool initgroups = true;     // with the supplementary groups of uid; false: with none
    bool no_new_privs = false;  // [linux] a set-uid program that the daemon executes gains nothing
    bool prevent_core = true;   // no core files (they may contain secrets); Windows: no error boxes

    Detach detach_process = Detach::automatic;  // `run` of control() is always Detach::no
    CloseFds close_fds = CloseFds::inherited;   // [detached] which descriptors to close
    std::vector<int> files_preserve;            // [unix] [detached] these stay open

    // For the daemon's whole life: {{SIGUSR1, ignore_signal}}; callbacks run in a SignalHandler's
    // waits. Without an entry SIGTERM and SIGINT are terminate_signal; SIGTTIN, SIGTTOU, SIGTSTP,
    // SIGHUP do nothing, unless the program has set them. SIGPIPE stays as it was.
    std::vector<std::pair<int, Handler>> signal_map;
    bool clear_environment = false;  // remove all variables but those in environment_keep
    std::vector<std::string> environment_keep;

    // Called in the daemon as the last act as root: bind a port below 1024, read a key. What it
    // opens stays open. Standard error is the launcher's. If it throws or calls fail() the start
    // has failed. On Unix it may use variables of the launcher; on Windows main() has run again.
    std::function<void(DaemonContext&)> privileged;

    // control() calls it for `restart` and `reload` before it touches the running daemon: check the
    // configuration. If it returns false the daemon is left alone and error.text is printed.
    std::function<bool(Error& error)> check;
    std::string help;          // the program's own part of the text of --help
    std::string payload;       // bytes that the daemon gets from the launcher, also on Windows
    std::string program_name;  // for messages. Empty: the name of the executable

    // [windows] If the daemon cannot leave the caller's job (of a terminal, an IDE, a CI) it ends
    // with that job. true: the start is refused (unsupported); false: the launcher says so.
    bool must_leave_job = false;
    bool replace_arguments = false;  // [windows] the daemon gets `arguments` instead of argv
    std::vector<std::string> arguments;

    // false: ready when open() or start() returns. true, as always under control(): by ready().
    bool ready_by_hand = false;
    // A daemon that is not ready by then is killed; the start fails with 124. 0, no_limit: none.
    Duration ready_timeout = std::chrono::seconds(30);
    Duration stop_timeout = std::chrono::seconds(10);  // of `stop` and `restart` of control()
    int stop_signal = 15;                              // the first signal of `stop`: SIGTERM
    bool kill_after_stop_timeout = true;  // then SIGKILL; false: report the failure, let it live
    bool running_is_success = false;      // `start` of a running service exits with 0 (LSB), not 1

    // [unix] Start although there are other threads. They do not exist in the daemon, and what they
    // had locked stays locked there: only async-signal-safe functions are safe.
    bool allow_threads = false;
};

// How the program becomes a daemon: set the fields, then start it once. The start does not change
// the fields. Use an object from one thread only.
class DaemonContext : public DaemonOptions {
public:
    DaemonContext();
    DaemonContext(DaemonContext&& other) noexcept;  // a context may be moved at any time
    DaemonContext(const DaemonContext&) = delete;
    DaemonContext& operator=(const DaemonContext&) = delete;
    ~DaemonContext();  // close()

    // The simplest form, for main(): call it before the program starts threads. It returns only in
    // the daemon (or in the foreground). The launcher exits inside: with 0 when the daemon is
    // ready, else with one line on standard error and the status of guarantee 2, or 1. If the
    // context is open already it does nothing (PEP 3143).
    void open();
    // Prints nothing and returns in the launcher, too: look at the role! After an error the caller
    // is in the launcher, where nothing has changed; in the foreground what was done stays done.
    // Fails with invalid_option, unsupported, unknown_account, threads_running, start_failed,
    // timed_out, drop_incomplete, as PidFile::acquire(), or with the system's error of a step.
    Role start();
    Role start(Error& error) noexcept;

    // Call it once in the daemon, when initialisation is done. From here on standard error goes to
    // the log, and the launcher exits with 0. Further calls do nothing. If the launcher is gone
    // (the user pressed Ctrl-C) it removes the PID file and ends the process.
    void ready() noexcept;
    // Ends the process. Before ready(): the start has failed; the launcher prints `message`, the
    // log gets it too, and `exit_code` is the launcher's status. After ready(): the message goes to
    // the log, then exit(exit_code). An exit code of 0 becomes 1.
    [[noreturn]] void fail(const std::string& message, int exit_code = 1) noexcept;
    // Removes the PID file, and changes nothing else (PEP 3143). A second call does nothing, nor
    // does a call in a forked child. The destructor calls it.
    void close() noexcept;
    // For sigaction(): removes the PID file, then the signal's default action. Async-signal-safe.
    static void terminate(int signum) noexcept;

    bool is_open() const noexcept;    // the start is done, in this process (not in a fork of it)
    bool is_parent() const noexcept;  // this is the launcher, after start() (daemoniker)
    Role role() const noexcept;       // before the start: launcher
    long pid() const noexcept;        // the daemon's, in launcher and daemon; 0 before the start
    // After a rotation: opens both logs again by their paths, as the present user. A stream that
    // cannot be opened keeps its old file; the error is the system's, or unsupported for a path
    // outside the jail. Streams that are no files, and those of the foreground, stay as they are.
    void reopen_streams();
    bool reopen_streams(Error& error) noexcept;
    std::string explain() const;  // a line for each decision: detached or not and why, ids, paths
    std::intptr_t pidfile_handle() const noexcept;  // as PidFile::native_handle()

private:
    detail::Session* session_;
    friend struct detail::Session;
};

// True before the start, false in the daemon. On Windows main() runs again in the daemon: ask
// before one-time work that comes before open(), start() or control().
bool is_setup() noexcept;

// ---- From any process, from any thread ----------------------------------------------------------

// Sends a signal (Windows: 2 to 31) to the proven holder of the PID file, to no other process.
// Fails with not_running, unknown_signal (also for 0: use status()), invalid_pid_file,
// unproven_holder, untrusted_pid_file, or the system's error, such as EPERM.
void send(const std::string& pidfile, int signum);
bool send(const std::string& pidfile, int signum, Error& error) noexcept;

// The state of a daemon, with the numbers of the LSB. dead: it ended without removing its PID file.
enum class State { running = 0, dead = 1, not_running = 3, unknown = 4 };
struct Status {
    State state;
    long pid;          // the daemon's; 0 unless it runs
    Duration uptime;   // since the process began; 0 if the system does not tell
    std::string text;  // one line for people, such as "starting as process 4711"
};
Status status(const std::string& pidfile) noexcept;  // changes nothing

// Sends SIGTERM, after `limit` SIGKILL (no_limit: never), and returns when the process is gone and
// its lock is free. Its children are not signalled. Fails as send() does, but not_running is a
// result; invalid_option: it is this process; timed_out: SIGKILL did not end it.
enum class Stopped { not_running, ended, killed, failed };
Stopped stop(const std::string& pidfile, Duration limit = std::chrono::seconds(10));
Stopped stop(const std::string& pidfile, Duration limit, Error& error) noexcept;

// The main() of a service. argv[1] is the verb; the program itself checks the words that follow.
// `body` runs in the daemon and has to call ready(). Prints results to standard output and errors
// to standard error; returns the exit status for main().
//   start         0 ready; the daemon's own; 1 already running or refused; 124 not ready in time
//   run           the same service in the foreground; the status of body
//   stop          0 ended, or was not running; 1 failed; 4 no permission
//   restart       as stop, then as start; never two at once. try-restart: only if it is running
//   reload        0 signal sent; 1 `check` failed; 4 no permission; 7 not running
//   force-reload  as reload; what cannot be told so is restarted
//   status        0 running; 1 dead, PID file left; 3 not running; 4 starting, or cannot be told;
//                 with --json in one line for programs
//   --help, -h    0; prints the verbs, the exit codes, the PID file, `help`; also behind a verb
//   else          2 no or unknown verb; 3 the system does not support it
int control(int argc, const char* const* argv, DaemonContext& context,
            const std::function<int(DaemonContext&)>& body);
// argv in UTF-8. On Windows argv has '?' where the code page lacks a character; this has not.
std::vector<std::string> utf8_arguments(int argc, const char* const* argv);

// ---- Service manager: sd_notify(3); without a service manager nothing happens -------------------

// ready(), close() and the waits say READY, STOPPING, RELOADING and WATCHDOG by themselves. This is
// for anything else: notify("STATUS=12 clients"). false: no manager was told. It waits for at most
// one second if the manager does not read.
bool notify(const std::string& assignments) noexcept;
// How often your own event loop has to call poll() or notify("WATCHDOG=1"): half of the manager's
// limit. no_limit: the manager has set no watchdog.
Duration watchdog_interval() noexcept;

}  // namespace daemonize

namespace std {
template <>
struct is_error_code_enum<daemonize::errc> : true_type {};
}  // namespace std

#pragma pop_macro("Status")
#undef DAEMONIZE_CONSTANT
#endif  // DAEMONIZE_HPP: end of the declarations
// >>implementation --------------------------------------------------------------------------------
#if defined(DAEMONIZE_IMPLEMENTATION) && !defined(DAEMONIZE_IMPLEMENTED)
#define DAEMONIZE_IMPLEMENTED
#pragma push_macro("Status")
#undef Status

#include <atomic>  // what an asynchronous handler may touch
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdio>  // fflush: buffered text must appear once
#include <cstdlib>
#include <cstring>
#include <exception>
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
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
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
// Three families, decided here once: Linux, the systems whose sysctl() tells of a process, and the
// rest. A call that is there but refused (an old kernel, a filter) takes the way of the rest.
#if defined(__linux__) && !defined(DAEMONIZE_GENERIC_POSIX)
#define DAEMONIZE_LINUX 1
#include <sys/prctl.h>
#include <sys/syscall.h>
#else
#define DAEMONIZE_LINUX 0
#endif
#if !defined(DAEMONIZE_GENERIC_POSIX) && \
    (defined(__APPLE__) || defined(__FreeBSD__) || defined(__NetBSD__) || defined(__OpenBSD__))
#define DAEMONIZE_KINFO 1
#if !defined(__APPLE__)
#include <sys/param.h>  // what <sys/sysctl.h> and <sys/user.h> take for granted
#endif
#include <sys/sysctl.h>
#include <sys/time.h>
#if defined(__APPLE__)
#include <libproc.h>
#else
#include <sys/proc.h>
#if defined(__FreeBSD__)
#include <sys/procctl.h>
#include <sys/user.h>
#endif
#endif
#else
#define DAEMONIZE_KINFO 0
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
extern char** environ;
#endif

#if defined(__cpp_exceptions) || defined(__EXCEPTIONS) || defined(_CPPUNWIND)
#define DAEMONIZE_EXCEPTIONS 1
#else
#define DAEMONIZE_EXCEPTIONS 0
#endif

// Nothing in here is in a hurry: each function is compiled to be small.
// APART: what is called from many places, and would be copied into each.
#if defined(__clang__)
#define DAEMONIZE_SMALL __attribute__((minsize))
#define DAEMONIZE_APART __attribute__((minsize, noinline))
#elif defined(__GNUC__)
#define DAEMONIZE_SMALL __attribute__((cold))
#define DAEMONIZE_APART __attribute__((cold, noinline))
#else
#define DAEMONIZE_SMALL
#define DAEMONIZE_APART
#endif
#define DAEMONIZE_LOCAL static DAEMONIZE_SMALL

namespace daemonize {
namespace detail {

// >>text ------------------------------------------------------------------------------------------
// Texts, and the rules that decide on text and numbers alone. No call to the system: the same on
// every platform, and tested there. Everything below may call this room.

// One line for people, in a room of its own: nothing is allocated where something has failed. What
// does not fit is cut: names first (see put_path()), so that the cause at the end is kept.
class Text {
public:
    Text() noexcept { clear(); }
    void clear() noexcept { size_ = 0, bytes_[0] = '\0'; }
    const char* c_str() const noexcept { return bytes_; }
    std::size_t size() const noexcept { return size_; }
    bool is_empty() const noexcept { return size_ == 0; }
    DAEMONIZE_SMALL void put(char c) noexcept {
        if (size_ + 1 >= sizeof bytes_) return;
        bytes_[size_++] = c;
        bytes_[size_] = '\0';
    }
    DAEMONIZE_SMALL void put(const char* text) noexcept {
        while (*text) put(*text++);
    }

private:
    std::size_t size_;
    char bytes_[1000];
};

// What a letter of a format stands for (see format()).
union Arg {
    const char* text;
    long long number;
    Arg() noexcept : number(0) {}
    Arg(const char* value) noexcept : text(value) {}
    Arg(const std::string& value) noexcept : text(value.c_str()) {}
    Arg(const Text& value) noexcept : text(value.c_str()) {}
    Arg(long long value) noexcept : number(value) {}
    Arg(long value) noexcept : number(value) {}
    Arg(int value) noexcept : number(value) {}
    Arg(unsigned value) noexcept : number(static_cast<long long>(value)) {}
};

// A control character would make a second line of a message, or move a terminal's cursor: it is
// shown as \x0a.
static const char hex_digits[] = "0123456789abcdef";
DAEMONIZE_LOCAL void put_shown(Text& out, char c, bool quoted = false) noexcept {
    const unsigned char byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f && !(quoted && (c == '\\' || c == '\''))) return out.put(c);
    out.put("\\x");
    out.put(hex_digits[byte >> 4]);
    out.put(hex_digits[byte & 15]);
}

// Text from outside: no more than its first 60 bytes.
DAEMONIZE_LOCAL void put_quoted(Text& out, const char* text) noexcept {
    out.put('\'');
    int left = 60;
    for (; *text && left > 0; --left) put_shown(out, *text++, true);
    out.put(*text ? "'..." : "'");
}

// A path is shown as it is, so that it can be copied. Of a very long one the middle is left out.
DAEMONIZE_LOCAL void put_path(Text& out, const char* path) noexcept {
    const std::size_t size = std::strlen(path), most = 360, head = 120;
    out.put('\'');
    for (std::size_t i = 0; i < size; ++i) {
        if (size > most && i == head) {
            out.put("...");
            i = size - (most - head);
        }
        const char c = path[i];
        out.put(static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c);
    }
    out.put('\'');
}

DAEMONIZE_LOCAL void put_number(Text& out, long long value) noexcept {
    char digits[24];
    int count = 0;
    const bool negative = value < 0;
    unsigned long long rest = static_cast<unsigned long long>(value);
    if (negative) rest = 0 - rest;
    do digits[count++] = static_cast<char>('0' + rest % 10);
    while ((rest /= 10) != 0);
    if (negative) out.put('-');
    while (count > 0) out.put(digits[--count]);
}

// In place, not pointed at: a pointer costs a position-independent program a relocation each.
static const struct SignalName {
    short number;
    char name[10];
} signal_names[] = {
#if defined(_WIN32)
    {SIGINT, "SIGINT"},   {SIGILL, "SIGILL"},   {SIGFPE, "SIGFPE"},     {9, "SIGKILL"},
    {SIGSEGV, "SIGSEGV"}, {SIGTERM, "SIGTERM"}, {SIGBREAK, "SIGBREAK"}, {SIGABRT, "SIGABRT"},
#else
    {SIGHUP, "SIGHUP"},   {SIGINT, "SIGINT"},       {SIGQUIT, "SIGQUIT"}, {SIGILL, "SIGILL"},
    {SIGTRAP, "SIGTRAP"}, {SIGABRT, "SIGABRT"},     {SIGBUS, "SIGBUS"},   {SIGFPE, "SIGFPE"},
    {SIGKILL, "SIGKILL"}, {SIGUSR1, "SIGUSR1"},     {SIGSEGV, "SIGSEGV"}, {SIGUSR2, "SIGUSR2"},
    {SIGPIPE, "SIGPIPE"}, {SIGALRM, "SIGALRM"},     {SIGTERM, "SIGTERM"}, {SIGCHLD, "SIGCHLD"},
    {SIGCONT, "SIGCONT"}, {SIGSTOP, "SIGSTOP"},     {SIGTSTP, "SIGTSTP"}, {SIGTTIN, "SIGTTIN"},
    {SIGTTOU, "SIGTTOU"}, {SIGURG, "SIGURG"},       {SIGXCPU, "SIGXCPU"}, {SIGXFSZ, "SIGXFSZ"},
    {SIGSYS, "SIGSYS"},   {SIGVTALRM, "SIGVTALRM"}, {SIGPROF, "SIGPROF"},
#endif
};

DAEMONIZE_LOCAL void put_signal(Text& out, long long signum) noexcept {
    for (const SignalName& known : signal_names)
        if (known.number == signum) return out.put(known.name);
    out.put("signal ");
    put_number(out, signum);
}

// "40 ms", "2.4 s", "12 s", "1 h 3 min": for people.
DAEMONIZE_LOCAL void put_span(Text& out, long long ms) noexcept {
    if (ms < 0) ms = 0;
    const long long s = ms / 1000;
    if (ms < 1000 || (s < 10 && ms % 1000 >= 50)) {
        put_number(out, ms < 1000 ? ms : s);
        if (ms >= 1000) out.put('.'), put_number(out, ms / 100 % 10);
        return out.put(ms < 1000 ? " ms" : " s");
    }
    const struct Row {
        long long below, large, small;
        const char *large_unit, *small_unit;
    } rows[] = {{120, 1, 0, " s", ""},
                {7200, 60, 1, " min ", " s"},
                {172800, 3600, 60, " h ", " min"},
                {LLONG_MAX, 86400, 3600, " d ", " h"}};
    const Row* row = rows;
    while (s >= row->below) ++row;
    put_number(out, s / row->large);
    out.put(row->large_unit);
    if (row->small) put_number(out, s % row->large / row->small);
    out.put(row->small_unit);
}

// The one formatter. %s text, %p a path, %q text from outside, %d a number, %P "process 4711" (of 0
// nothing), %S a signal's name, %t milliseconds for people.
DAEMONIZE_LOCAL void format(Text& out, const char* form, Arg a = Arg(), Arg b = Arg(),
                            Arg c = Arg(), Arg d = Arg()) noexcept {
    const Arg args[] = {a, b, c, d};
    const Arg* next = args;
    for (; *form; ++form) {
        if (*form != '%') {
            out.put(*form);
            continue;
        }
        const Arg arg = *next++;
        const char kind = *++form;
        if (kind == 's') out.put(arg.text);
        if (kind == 'p') put_path(out, arg.text);
        if (kind == 'q') put_quoted(out, arg.text);
        if (kind == 'P' && arg.number != 0) out.put("process ");
        if (kind == 'd' || (kind == 'P' && arg.number != 0)) put_number(out, arg.number);
        if (kind == 'S') put_signal(out, arg.number);
        if (kind == 't') put_span(out, arg.number);
    }
}

// What went wrong inside; an Error at the face. Positive: an errc, negative: the system's number.
struct Fault {
    int code = 0;
    Text text;
};

// Always false, so that a step that fails ends with `return fail(...)`. The text is made anew: an
// argument must not be a part of the old one.
DAEMONIZE_LOCAL bool fail(Fault& fault, int code, const char* form, Arg a = Arg(), Arg b = Arg(),
                          Arg c = Arg()) noexcept {
    fault.code = code;
    fault.text.clear();
    format(fault.text, form, a, b, c);
    return false;
}

DAEMONIZE_LOCAL bool fail(Fault& fault, errc condition, const char* form, Arg a = Arg(),
                          Arg b = Arg(), Arg c = Arg()) noexcept {
    return fail(fault, static_cast<int>(condition), form, a, b, c);
}

DAEMONIZE_LOCAL bool invalid(Fault& fault, const char* option, const char* form, Arg a = Arg(),
                             Arg b = Arg()) noexcept {
    fail(fault, errc::invalid_option, "cannot use option %s: ", option);
    format(fault.text, form, a, b);
    return false;
}

// In the order of errc, one after the other in one text: no pointers, as with signal_names.
DAEMONIZE_LOCAL const char* condition_text(errc condition) noexcept {
    static const char texts[] =
        "unknown condition\0already running\0not running\0untrusted PID file\0invalid PID file\0"
        "locked by no proven daemon\0invalid option\0not supported by this system\0"
        "no such user or group\0no such signal, or none that can be used\0"
        "other threads are running\0the start failed\0timed out\0privileges could be regained";
    const char* text = texts;
    int left = static_cast<int>(condition);
    if (left < 0 || left > static_cast<int>(errc::drop_incomplete)) left = 0;
    for (; left > 0; --left) text += std::strlen(text) + 1;
    return text;
}

// ---- What stands in a PID file ----

// What can be seen of a PID file from outside, and nothing that was concluded from it.
struct PidFileView {
    bool exists = false;
    bool locked = false;
    bool trusted = true;       // nobody but its owner could have written it
    bool proves = false;       // the system names the process that holds a record lock
    bool ready = false;        // the holder has said so, by its second record lock
    bool tells_ready = false;  // whether `ready` could be seen at all
    long owner = 0;            // of the record lock: a process, 0 nobody, -1 none that has a
    long reader = 0;           // number here; `reader` keeps a daemon from taking it, likewise
    long long user = 0;        // whose file it is
    unsigned long long device = 0, inode = 0;
    long number = 0;  // on its first line; 0: none, and `line` says what there is
    bool has_text = false, is_padded = false;
    bool is_remote = false;  // on another machine's disk: the number may be that machine's
    char line[64];
    DAEMONIZE_APART PidFileView() noexcept { line[0] = '\0'; }
};

DAEMONIZE_LOCAL bool is_blank(char c) noexcept { return c == ' ' || c == '\t' || c == '\r'; }

// The number on the first line. Blanks, leading zeros, CRLF and more lines are allowed; 0 for what
// can be nobody's: nothing, no number, negative, larger than a PID.
DAEMONIZE_LOCAL void read_content(PidFileView& view, const char* text, std::size_t size) noexcept {
    std::size_t begin = 0, end = 0;
    while (end < size && text[end] != '\n') ++end;
    view.is_padded = size == 11 && end == 10;  // as Windows writes it
    while (begin < end && is_blank(text[begin])) ++begin;
    while (end > begin && is_blank(text[end - 1])) --end;
    view.has_text = size > 0;
    long long value = 0;
    for (std::size_t i = begin; i < end; ++i) {
        const bool digit = text[i] >= '0' && text[i] <= '9';
        // Once -1, always -1: of "4711x" and "47 11" the beginning must not be taken for a PID.
        value = digit && value >= 0 && value <= INT_MAX ? value * 10 + (text[i] - '0') : -1;
    }
    view.number = value > 0 && value <= INT_MAX ? static_cast<long>(value) : 0;
    std::size_t shown = end - begin < sizeof view.line - 1 ? end - begin : sizeof view.line - 1;
    std::memcpy(view.line, text + begin, shown);
    view.line[shown] = '\0';
    for (; shown > 0; --shown)  // a zero byte would hide the rest from who reads it
        if (view.line[shown - 1] == '\0') view.line[shown - 1] = '\x01';
}

// What a PID file says of its daemon.
enum class Verdict {
    missing,    // no file
    empty,      // unlocked, nothing in it: an end, or a start that was given up
    dead,       // unlocked, something in it: a crash
    starting,   // locked, but its holder does not prove that it is the daemon
    invalid,    // locked, but what stands in it is nobody that may be signalled
    elsewhere,  // locked by a process that has another number than the file says
    unready,    // a proven daemon that has not called ready() yet
    proven,     // a daemon, and the file names it
};

DAEMONIZE_LOCAL Verdict judge(const PidFileView& view) noexcept {
    if (!view.exists) return Verdict::missing;
    if (!view.locked) return view.has_text ? Verdict::dead : Verdict::empty;
    // Anybody who can open the file can hold flock(): without the record lock it says nothing about
    // who does, whatever number stands there. So that is asked before the number.
    if (view.proves && view.owner == 0) return Verdict::starting;
    if (view.number && view.proves && view.owner != view.number) return Verdict::elsewhere;
    if (!view.number) return view.has_text ? Verdict::invalid : Verdict::starting;
    // Process 1 is the entry of a container; but where no lock names it, the number alone is none.
    if (view.number == 1 && !view.proves) return Verdict::invalid;
    return view.tells_ready && !view.ready ? Verdict::unready : Verdict::proven;
}

DAEMONIZE_LOCAL bool is_daemon(Verdict verdict) noexcept {
    return verdict == Verdict::proven || verdict == Verdict::unready;
}

// "it holds 'garbage', no PID"
DAEMONIZE_LOCAL void describe_content(const PidFileView& view, Text& out) noexcept {
    if (!view.has_text) return out.put("it is empty");
    if (view.number) return format(out, "it holds %d", view.number);
    if (view.line[0] == '\0') return out.put("its first line is empty");
    const std::size_t digits = std::strspn(view.line, "0123456789");
    const bool zero = view.line[std::strspn(view.line, "0")] == '\0';
    if (zero) return out.put("it holds 0, no PID");
    format(out, "it holds %q, %s", view.line,
           view.line[digits] == '\0' ? "larger than any PID" : "no PID");
}

// Of a file that nobody holds: what stands there instead of a number is said, and in nobody's way.
DAEMONIZE_LOCAL void note_content(const PidFileView& view, Text& out) noexcept {
    if (!view.has_text || view.number) return;
    out.put(" (");
    describe_content(view, out);
    out.put(')');
}

// Why a lock that proves nobody is there: one text for start, status, send and stop.
DAEMONIZE_LOCAL void describe_unproven(const PidFileView& view, Text& out) noexcept {
    const Verdict verdict = judge(view);
    if (verdict == Verdict::starting) {
        out.put("locked, but its holder does not prove that it is the daemon (");
        describe_content(view, out);
        return out.put(
            "): a start under way, a reader that holds the lock, or a daemon that opened and "
            "closed its own PID file; see who has it open, and end that by hand");
    }
    if (verdict == Verdict::elsewhere) {
        describe_content(view, out);
        return format(
            out,
            view.is_remote
                ? ", but the file is on a remote file system: its daemon may be another machine's"
            : view.owner <= 0 ? ", but its daemon lives in another PID namespace"
                              : ", but %P has the record lock: another PID namespace, or somebody "
                                "wrote to it",
            view.owner);
    }
    if (verdict == Verdict::invalid) {
        out.put("locked, but ");
        describe_content(view, out);
        if (view.number == 1)
            out.put(", no PID of a daemon: process 1 is never signalled; end its container");
        return;
    }
    // Shared by others: no daemon has it, and none can take it.
    format(out, view.reader > 0 ? "a reader, %P," : "a reader (another program that has it open)",
           view.reader);
    out.put(" holds the lock");
}

// What a daemon that stood in the file as `pid` may have left there. A text of fixed length is a
// daemon's on Windows whatever the number: each signal changes it.
DAEMONIZE_LOCAL bool is_left_by(const PidFileView& view, long pid) noexcept {
    return !view.has_text || view.number == pid || (view.number != 0 && view.is_padded);
}

// ---- Where the program was started from ----

struct Evidence {
    long pid = 0, parent = 0;
    bool parent_is_shim = false;     // process 1, and a container's init
    bool parent_is_manager = false;  // process 1, or a `systemd --user`
    bool pidfile_set = false, notify_socket = false, invocation_id = false, launchd = false;
    long systemd_exec_pid = 0;  // 0: not set
    bool stdin_is_network = false;
};

struct Decision {
    bool detach, inetd, by_wish;
    const char* why;
};

inline DAEMONIZE_SMALL bool is_container_init(const char* name) noexcept {
    static const char* const shims[] = {"docker-init", "tini", "dumb-init", "catatonit"};
    for (const char* shim : shims)
        if (std::strcmp(name, shim) == 0) return true;
    return false;
}

// The first row that fits. Only what is known of THIS process counts: a variable can have been
// inherited from anywhere, and the parent is process 1 for every orphan. `comes_back`: the verb
// `start` says that the caller waits for it to return.
DAEMONIZE_LOCAL Decision decide(Detach wish, bool comes_back, const Evidence& seen) noexcept {
    const bool is_service =
        seen.systemd_exec_pid != 0 ? seen.systemd_exec_pid == seen.pid : seen.parent_is_manager;
    const bool is_unit = is_service && (seen.systemd_exec_pid != 0 || seen.invocation_id);
    if (wish == Detach::yes) return {true, false, true, "detach_process is yes"};
    if (seen.stdin_is_network)
        return {false, true, false,
                "standard input is a network socket: inetd, or socket activation"};
    if (wish == Detach::no) return {false, false, true, "detach_process is no"};
    if (seen.pid == 1)
        return {false, false, false, "this is process 1: the container ends with it"};
    if (seen.parent_is_shim)
        return {false, false, false,
                "the parent is a container's init: the container ends with this process"};
    // Only units with PIDFile= have this variable (seen with systemd 252); all have INVOCATION_ID
    // and SYSTEMD_EXEC_PID. So this row comes before theirs.
    if (seen.pidfile_set)
        return {true, false, false, "PIDFILE is set: systemd, Type=forking with PIDFile="};
    if (seen.notify_socket && is_service)
        return {false, false, false, "NOTIFY_SOCKET is set: systemd, Type=notify"};
    if (is_unit && comes_back)
        return {true, false, false, "`start` is to return: systemd, Type=oneshot or forking"};
    if (is_unit)
        return {false, false, false, "this is the process of a systemd unit: Type=simple or exec"};
    if (seen.launchd && seen.parent == 1)
        return {false, false, false,
                "XPC_SERVICE_NAME is set and the parent is process 1: launchd"};
    return {true, false, false, "no evidence of a service manager, a container or inetd"};
}

// ---- Numbers and reports ----

// A number of digits alone, not larger than `most`; -1: anything else.
DAEMONIZE_LOCAL long long parse_number(const char* text, long long most) noexcept {
    long long value = 0;
    if (*text == '\0') return -1;
    for (; *text; ++text) {
        if (*text < '0' || *text > '9' || value > (most - (*text - '0')) / 10) return -1;
        value = value * 10 + (*text - '0');
    }
    return value;
}

// Half of what WATCHDOG_USEC allows, if WATCHDOG_PID (where set) means this process.
inline DAEMONIZE_SMALL Duration watchdog_half(const char* usec, const char* pid,
                                              long self) noexcept {
    const long long value = parse_number(usec, 0x7fffffffffffffLL);
    if (value <= 0 || (*pid && parse_number(pid, LONG_MAX) != self)) return no_limit;
    return Duration(value < 2000 ? 1 : value / 2000);
}

// The launcher's status for that of a daemon which ended before it was ready: never one that a
// shell, which sees eight bits, would take for success.
DAEMONIZE_LOCAL int failure_code(int exit_code) noexcept {
    return (exit_code & 0xff) == 0 ? 1 : exit_code;
}

// A report on the wire: this, then `size` bytes of text. Both ends are one program on one machine.
struct Report {
    enum Word { none = 0, ready = 0x64796561, failed = 0x66616964 };
    std::int32_t word = none;
    std::int32_t code = 0;       // as in Fault
    std::int32_t exit_code = 0;  // what the launcher is to end with
    std::int32_t pid = 0;        // told by the leader alone, as the next; what a daemon says in
    std::int32_t lives = 0;  // them is not read. lives: it could not be killed, and has its file
    std::uint32_t size = 0;
};
const std::size_t report_room = 32000;  // of its text: what is longer is cut, and marked

// A report comes from a process that may have fewer rights than its reader. INT_MIN is refused
// since a negative code is negated by whoever shows it.
DAEMONIZE_LOCAL bool is_plausible(const Report& report) noexcept {
    return (report.word == Report::ready && report.size == 0) ||
           (report.word == Report::failed && report.size <= report_room && report.code > INT_MIN &&
            report.code <= static_cast<int>(errc::drop_incomplete));
}

// ---- Paths ----

// Where `path` goes on inside `jail` ("/log/a" of "/jail/log/a"); nullptr: not reached from there.
inline DAEMONIZE_SMALL const char* inside(const char* path, const char* jail) noexcept {
    std::size_t size = std::strlen(jail);
    while (size > 0 && jail[size - 1] == '/') --size;
    const char* const rest = path + size;
    // "/jailer/log" is not inside "/jail": what follows must be a slash, or nothing.
    if (std::strncmp(path, jail, size) != 0 || (*rest != '/' && *rest != '\0')) return nullptr;
    if (size == 0) return path;
    for (const char* at = path; (at = std::strstr(at, "/..")) != nullptr; at += 3)
        if (at[3] == '/' || at[3] == '\0') return nullptr;  // who knows where
    return *rest ? rest : "/";
}

// The last part of a program's path, as messages begin with it.
DAEMONIZE_LOCAL const char* base_name(const char* path) noexcept {
    const char* name = path;
    for (; *path; ++path)
        if (*path == '/' || (DAEMONIZE_WINDOWS && *path == '\\')) name = path + 1;
    return name;
}

// >>types -----------------------------------------------------------------------------------------
// What core and system rooms hand to each other. No call to the system but by Handle and Deadline,
// whose bodies each system room has.

// malloc() and realloc(); memory that runs out ends the program.
DAEMONIZE_LOCAL void* resized(void* old, std::size_t size) noexcept {
    void* const room = std::realloc(old, size);
    if (!room) std::abort();
    return room;
}

// Text that is owned: for what must outlive the caller's options. Its address stays when it moves.
class Str {
public:
    Str() noexcept : text_(nothing()) {}
    Str(Str&& other) noexcept : text_(other.text_) { other.text_ = nothing(); }
    DAEMONIZE_APART Str& operator=(Str&& other) noexcept {
        std::swap(text_, other.text_);
        return *this;
    }
    DAEMONIZE_APART ~Str() {
        if (text_ != nothing()) std::free(text_);
    }
    const char* c_str() const noexcept { return text_; }
    char* edit() noexcept { return text_; }  // what set() has made
    bool is_empty() const noexcept { return !*text_; }
    DAEMONIZE_SMALL void set(const char* a, const char* b = "", const char* c = "") noexcept {
        const char* const parts[] = {a, b, c};
        std::size_t size = 1;
        for (const char* part : parts) size += std::strlen(part);
        char* const text = static_cast<char*>(resized(nullptr, size));
        char* end = text;
        for (const char* part : parts)
            while (*part) *end++ = *part++;
        *end = '\0';
        // The old text goes last: the parts may lie in it (walk() does that).
        if (text_ != nothing()) std::free(text_);
        text_ = text;
    }

private:
    static char* nothing() noexcept { return &empty; }  // never written to
    static char empty;
    char* text_;
};
char Str::empty = '\0';

// The one owner of a descriptor or HANDLE; closing it keeps errno, so that a step may clean up
// before it says why it failed. An assignment swaps: what stood here is closed with
// the other one.
class Handle {
public:
    explicit Handle(std::intptr_t value = -1) noexcept : value_(value) {}
    Handle(Handle&& other) noexcept : value_(other.release()) {}
    DAEMONIZE_APART Handle& operator=(Handle&& other) noexcept {
        std::swap(value_, other.value_);
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

// A moment of the monotonic clock, not a span: nested waits cannot add up.
class Deadline {
public:
    explicit Deadline(Duration limit) noexcept;  // a limit of a century and more: never
    bool over() const noexcept;
    bool never() const noexcept { return end_ == LLONG_MAX; }
    long long left() const noexcept;  // ms, rounded up: a wait for it does not spin
    int left_to_poll(int most = INT_MAX) const noexcept;  // -1: never
    static long long now() noexcept;                      // microseconds

private:
    long long end_;
};

// A process that cannot be mistaken for a later one with its number.
struct Process {
    long pid = 0;
    Handle handle;                // pidfd or process handle, where there is one
    unsigned long long born = 0;  // start time in the system's own unit; 0: not known
    long long sender = -1;        // the user as whom it is signalled; -1: as who asks
};

// Who the daemon is to be, resolved before the start: the files that tell it may not be in the
// jail.
struct Identity {
    bool drops = false, sets_uid = false;
    long long uid = -1, gid = -1;
    int group_count = 0;
    unsigned* groups = nullptr;  // freed with the session, or before the next start
    Str user, home;              // "": nobody has that number
};

// A standard stream of the daemon.
struct Target {
    Str path;     // absolute; "": not a path
    Handle file;  // open from the start until it is put in its place
    Stream::Choice choice = Stream::null_choice;
    int descriptor = -1;
    bool truncates = false;
    bool late = false;  // opened with the identity of the user whom the daemon becomes
};

enum class Attempt { got, held, failed, again };  // again: somebody else did the same just now
enum class Sent { sent, gone, denied, lost, failed };

// What a signal does that nobody waits for.
enum class Route { count, ignore, nothing, standard, terminate };

constexpr Duration patience(1000);         // for a lock that nobody proves: a query's, or a start's
constexpr Duration after_kill(5000);       // for the end of a process that was killed
constexpr Duration signal_patience(5000);  // for a signal that others overtake

struct PidLock;  // a PID file that this process has locked: the system room has it

// One start, and the daemon that came of it. On the heap: a context that is moved hands it on.
struct Session {
    DaemonContext* context = nullptr;  // during the start: its options are referred to, not copied
    PidLock* lock = nullptr;
    Str called;                             // the program's name as control() was called; ""
    Str program, pidfile, root, directory;  // root, directory: of the daemon; "": as they are
    Decision decision{true, false, false, ""};
    Identity who;
    Target targets[3];
    Handle null_device;
    Handle channel;                 // the daemon's end of the readiness channel
    Duration watchdog = no_limit;   // the manager's, if it means this process
    int inherited_sockets = 0;      // LISTEN_FDS that are ours
    const char* closing = nullptr;  // how descriptors were closed, for explain()
    Role role = Role::launcher;
    long process = 0;  // where it is open; in a fork of that process it is not
    long daemon = 0;
    int exit_code = 1;  // of a launcher whose start failed
    bool by_hand = false, starting = false, controlled = false, kept = false;
    long parent = 0;  // the launcher after a start
    bool closed = false, in_job = false, tells_wait = false;

    ~Session() { std::free(who.groups); }
    static Session& of(DaemonContext& context) noexcept { return *context.session_; }
};

// A program pays for what it names: the constructors of Account and of a Stream with a path set
// these, and so link what serves them.
struct Features {
    bool (*resolve_accounts)(Session&, Fault&);
    bool (*set_groups)(const Identity&);
    bool (*open_target)(Session&, int which, Fault&);
    bool (*open_late)(Session&, Fault&);
    bool (*reopen)(const Session&, int which, Fault&);
    void (*reload)(Session&);  // control() sets it
};
static Features features;
// >>unix ------------------------------------------------------------------------------------------
// Linux, macOS, the BSDs and other Unix. >>windows has functions of the same names, for the core.
#if !DAEMONIZE_WINDOWS

static const int reload_signal = SIGHUP, termination_signal = SIGTERM;

// One more than the highest signal. FreeBSD's NSIG is an old one; its signals reach to 126.
#if defined(_SIG_MAXSIG)
static const int signal_end = _SIG_MAXSIG + 1;
#else
static const int signal_end = NSIG;
#endif

// ---- Small tools ----

static const std::error_category& native_category() noexcept { return std::system_category(); }

// Adds the system's cause to a text of step and object.
DAEMONIZE_LOCAL bool refused(Fault& fault, const char* form, Arg a = Arg(),
                             Arg b = Arg()) noexcept {
    const int cause = errno;
    fail(fault, -cause, form, a, b);
    fault.text.put(": ");
    fault.text.put(std::strerror(cause));
    return false;
}

// Not tried again after EINTR: Linux and FreeBSD have closed it by then, and the number may already
// be a file of another thread.
DAEMONIZE_SMALL void Handle::close() noexcept {
    if (value_ == -1) return;
    const int saved = errno;
    ::close(fd());
    errno = saved;
    value_ = -1;
}

DAEMONIZE_SMALL long long Deadline::now() noexcept {
    struct timespec time;
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<long long>(time.tv_sec) * 1000000 + time.tv_nsec / 1000;
}

DAEMONIZE_LOCAL void pause_for(long long ms) noexcept { ::poll(nullptr, 0, static_cast<int>(ms)); }

DAEMONIZE_LOCAL long self() noexcept { return static_cast<long>(::getpid()); }
[[noreturn]] DAEMONIZE_LOCAL void leave(int status) noexcept { ::_exit(status); }

// A descriptor of ours never stands on 0, 1 or 2, which may be closed: a log would end up there.
DAEMONIZE_LOCAL Handle lifted(int fd) noexcept {
    Handle low(fd);
    return fd < 0 || fd > 2 ? std::move(low) : Handle(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
}

// The open of everything here: close-on-exec, off 0 to 2, and not given up for a signal.
DAEMONIZE_LOCAL Handle open_at(int directory, const char* name, int flags,
                               mode_t mode = 0) noexcept {
    int fd;
    do fd = ::openat(directory, name, flags | O_CLOEXEC, mode);
    while (fd < 0 && errno == EINTR);
    return lifted(fd);
}

#if defined(SOCK_CLOEXEC) && !defined(DAEMONIZE_GENERIC_POSIX)
static const int socket_flags = SOCK_CLOEXEC;
#else
static const int socket_flags = 0;  // another thread's exec may come before prepare_socket()
#endif

// A peer that has gone is an error of send(), never a SIGPIPE.
#if defined(MSG_NOSIGNAL)
static const int send_flags = MSG_NOSIGNAL;
#else
static const int send_flags = 0;
#endif

DAEMONIZE_LOCAL void prepare_socket(int fd) noexcept {
    if (socket_flags == 0) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
#if defined(SO_NOSIGPIPE)  // also beside MSG_NOSIGNAL: an older macOS takes no notice of that
    const int on = 1;
    ::setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
}

// Sockets, not a pipe: send() and recv() can do without SIGPIPE and without waiting, whatever flags
// the descriptor has.
DAEMONIZE_LOCAL bool make_socket_pair(Handle& a, Handle& b) noexcept {
    int ends[2] = {-1, -1};
    if (::socketpair(AF_UNIX, SOCK_STREAM | socket_flags, 0, ends) != 0) return false;
    a = lifted(ends[0]);
    b = lifted(ends[1]);
    if (!a || !b) return false;
    prepare_socket(a.fd());
    prepare_socket(b.fd());
    return true;
}

DAEMONIZE_LOCAL bool stat_path(const char* path, struct stat& st) noexcept {
    return ::fstatat(AT_FDCWD, path, &st, 0) == 0;
}

// The beginning of a small file, as text; its size, or -1.
DAEMONIZE_LOCAL ssize_t read_small(const char* path, char* out, std::size_t room) noexcept {
    const Handle file = open_at(AT_FDCWD, path, O_RDONLY | O_NOCTTY);
    std::size_t size = 0;
    while (file && size + 1 < room) {
        const ssize_t n = ::read(file.fd(), out + size, room - 1 - size);
        if (n == 0 || (n < 0 && errno != EINTR)) break;
        if (n > 0) size += static_cast<std::size_t>(n);
    }
    out[size] = '\0';
    return file ? static_cast<ssize_t>(size) : -1;
}

// The value of "Name:" in a text like /proc/self/status; nullptr without it.
DAEMONIZE_LOCAL const char* field_of(const char* text, const char* name) noexcept {
    const char* const at = std::strstr(text, name);
    return at ? at + std::strlen(name) : nullptr;
}

// A set-uid program's environment is its caller's: not to be believed.
DAEMONIZE_LOCAL const char* environment(const char* name) noexcept {
#if defined(__GLIBC__) && defined(_GNU_SOURCE) && !defined(DAEMONIZE_GENERIC_POSIX)
    const char* const value = ::secure_getenv(name);
#else
    const bool trusted = ::getuid() == ::geteuid() && ::getgid() == ::getegid();
    const char* const value = trusted ? std::getenv(name) : nullptr;
#endif
    return value ? value : "";
}

DAEMONIZE_LOCAL Duration told_watchdog() noexcept {
    return watchdog_half(environment("WATCHDOG_USEC"), environment("WATCHDOG_PID"), self());
}

#if defined(__APPLE__) || defined(__FreeBSD__) || defined(__OpenBSD__) || defined(__NetBSD__)
static const char* own_name() noexcept { return ::getprogname(); }
#elif defined(__GLIBC__) && defined(_GNU_SOURCE)
static const char* own_name() noexcept { return program_invocation_short_name; }
#else
// POSIX does not tell it; where there is a /proc like Linux's, that does.
DAEMONIZE_LOCAL const char* own_name() noexcept {
    static char name[64];
    if (read_small("/proc/self/comm", name, sizeof name) <= 1) return "daemon";
    name[std::strcspn(name, "\n")] = '\0';
    return name;
}
#endif

// The signal mask of this thread, kept and given back as it was. A start holds all from the lock
// on: a Ctrl-C before the fork would leave an empty PID file, and in the daemon the program's own
// handler would run before the daemon is set up.
class SignalHold {
public:
    SignalHold() noexcept {}
    SignalHold(const SignalHold&) = delete;
    SignalHold& operator=(const SignalHold&) = delete;
    ~SignalHold() { give(); }
    DAEMONIZE_SMALL void take() noexcept {
        sigset_t all;
        sigfillset(&all);
        if (!held_) ::pthread_sigmask(SIG_SETMASK, &all, &mask_);
        held_ = true;
    }
    DAEMONIZE_SMALL void give() noexcept {
        const int saved = errno;
        if (held_) ::pthread_sigmask(SIG_SETMASK, &mask_, nullptr);
        held_ = false;
        errno = saved;
    }
    sigset_t& mask() noexcept { return mask_; }

private:
    bool held_ = false;
    sigset_t mask_;
};

// Not where other threads may hold a stream for ever.
DAEMONIZE_LOCAL void flush_streams(bool other_threads) noexcept {
    if (!other_threads) std::fflush(nullptr);
}

// One line and one write, whatever the program is called: lines of two processes do not mix. A log
// that may be full (`waits` is false) gets slices, for of a pipe poll() promises no more room, and
// what finds none for a second is lost.
DAEMONIZE_LOCAL void write_line(int fd, const char* program, const char* text,
                                bool waits = true) noexcept {
    Text shown;
    Str line;
    for (; *program; ++program) put_shown(shown, *program);
    if (!shown.is_empty()) shown.put(": ");
    line.set(shown.c_str(), text, "\n");
    const char* at = line.c_str();
    const Deadline deadline(patience);
    struct pollfd room = {fd, POLLOUT, 0};
    while (*at) {
        const int ms = at == line.c_str() ? 0 : deadline.left_to_poll();
        if (!waits && ::poll(&room, 1, ms) <= 0) return;
        const std::size_t left = std::strlen(at), slice = _POSIX_PIPE_BUF;
        const ssize_t n = ::write(fd, at, waits || left < slice ? left : slice);
        if (n > 0) at += n;
        if (n == 0 || (n < 0 && errno != EINTR)) return;
    }
}

// A reader that has gone (`start | true`) must not turn the status into 141: the SIGPIPE that the
// write makes beside its error is taken away, and one that was pending before is left.
DAEMONIZE_LOCAL void print(int stream, const char* program, const char* text) noexcept {
    const int saved = errno;
    sigset_t pipe, before, pending;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &pipe, &before);
    ::sigpending(&pending);
    const bool was_pending = sigismember(&pending, SIGPIPE) == 1;
    std::fflush(stdout);  // after what stdio holds
    write_line(stream, program, text);
    ::sigpending(&pending);
    int taken = 0;
    if (!was_pending && sigismember(&pending, SIGPIPE) == 1) ::sigwait(&pipe, &taken);
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    errno = saved;
}

// ---- Facts about processes ----

struct ProcessFacts {
    bool there = false, is_zombie = false;
    long parent = 0, threads = 0;
    unsigned long long born = 0;  // in the system's own unit, see age_of()
    // Of the first thread alone: others may live on.
    bool is_corpse() const noexcept { return is_zombie && threads <= 1; }
};

#if DAEMONIZE_LINUX
DAEMONIZE_LOCAL ssize_t read_proc(long pid, const char* file, char* out,
                                  std::size_t room) noexcept {
    Text path;
    format(path, "/proc/%d/%s", pid, file);
    return read_small(path.c_str(), out, room);
}

// /proc/PID/stat: after the name, which may hold anything, state, parent, threads, start time.
DAEMONIZE_LOCAL ProcessFacts facts_of(long pid) noexcept {
    ProcessFacts facts;
    char text[512];
    const char* at =
        read_proc(pid, "stat", text, sizeof text) > 0 ? std::strrchr(text, ')') : nullptr;
    if (!at || !at[1]) return facts;
    at += 2;
    facts.is_zombie = *at == 'Z' || *at == 'X';
    for (int field = 3; field <= 22 && *at; ++field) {
        const unsigned long long value = std::strtoull(at, nullptr, 10);
        if (field == 4) facts.parent = static_cast<long>(value);
        if (field == 20) facts.threads = static_cast<long>(value);
        if (field == 22) facts.born = value;
        at += std::strcspn(at, " ");
        at += *at == ' ';
    }
    facts.there = facts.born != 0;
    return facts;
}

// Clock ticks since the system was booted.
DAEMONIZE_LOCAL long long age_of(unsigned long long born) noexcept {
    // CLOCK_MONOTONIC stands still while the machine sleeps; start times do not.
    const unsigned long long ticks = static_cast<unsigned long long>(::sysconf(_SC_CLK_TCK));
    struct timespec now;
    if (ticks == 0 || ::clock_gettime(CLOCK_BOOTTIME, &now) != 0) return 0;
    return static_cast<long long>(now.tv_sec) * 1000 + now.tv_nsec / 1000000 -
           static_cast<long long>(born * 1000 / ticks);
}

// One stat() tells it: a directory of as many directories. 0: not to be had.
DAEMONIZE_LOCAL long count_threads() noexcept {
    struct stat st;
    return stat_path("/proc/self/task", st) && st.st_nlink >= 3 ? static_cast<long>(st.st_nlink) - 2
                                                                : 0;
}

// Real, effective and saved user of a process: 1 all are `uid`, 0 not, -1 not to be had (a /proc
// with hidepid). All three: a set-uid program has its caller's number in one of them.
DAEMONIZE_LOCAL int is_users(long pid, long long uid) noexcept {
    char text[2048];
    const char* at =
        read_proc(pid, "status", text, sizeof text) > 0 ? field_of(text, "\nUid:") : nullptr;
    if (!at) return -1;
    for (int i = 0; i < 3; ++i) {
        char* end = nullptr;
        if (std::strtoull(at, &end, 10) != static_cast<unsigned long long>(uid)) return 0;
        at = end;
    }
    return 1;
}
#elif DAEMONIZE_KINFO
#if defined(__NetBSD__)
typedef struct kinfo_proc2 Kinfo;
static const int kinfo_node = KERN_PROC2;
#else
typedef struct kinfo_proc Kinfo;
static const int kinfo_node = KERN_PROC;
#endif

// A process that is not there is no error: the answer has length 0. NetBSD and OpenBSD ask for the
// size of an element, and for how many.
DAEMONIZE_LOCAL bool read_kinfo(long pid, Kinfo& info) noexcept {
    int name[6] = {
        CTL_KERN, kinfo_node, KERN_PROC_PID, static_cast<int>(pid), static_cast<int>(sizeof info),
        1};
    std::size_t size = sizeof info;
    std::memset(&info, 0, sizeof info);
#if defined(__NetBSD__) || defined(__OpenBSD__)
    return ::sysctl(name, 6, &info, &size, nullptr, 0) == 0 && size == sizeof info;
#else
    return ::sysctl(name, 4, &info, &size, nullptr, 0) == 0 && size == sizeof info;
#endif
}

DAEMONIZE_LOCAL unsigned long long microseconds(long long seconds, long long rest) noexcept {
    return static_cast<unsigned long long>(seconds * 1000000 + rest);
}

// FreeBSD and OpenBSD keep the time since the boot, and add the time of the boot when asked, which
// changes whenever the clock is set: it is taken off again. The others keep the wall clock's time.
inline unsigned long long boot_time() noexcept {
#if defined(__FreeBSD__) || defined(__OpenBSD__)
    struct timeval boot;
    int name[2] = {CTL_KERN, KERN_BOOTTIME};
    std::size_t size = sizeof boot;
    if (::sysctl(name, 2, &boot, &size, nullptr, 0) == 0)
        return microseconds(boot.tv_sec, boot.tv_usec);
#endif
    return 0;
}

#if defined(__FreeBSD__)
DAEMONIZE_LOCAL void translate(const Kinfo& info, ProcessFacts& facts, long long* uids) noexcept {
    facts.is_zombie = info.ki_stat == SZOMB;
    facts.parent = info.ki_ppid;
    facts.threads = info.ki_numthreads;
    facts.born = microseconds(info.ki_start.tv_sec, info.ki_start.tv_usec) - boot_time();
    uids[0] = info.ki_ruid, uids[1] = info.ki_uid, uids[2] = info.ki_svuid;
}
#elif defined(__APPLE__)
DAEMONIZE_LOCAL void translate(const Kinfo& info, ProcessFacts& facts, long long* uids) noexcept {
    facts.is_zombie = info.kp_proc.p_stat == SZOMB;
    facts.parent = info.kp_eproc.e_ppid;
    facts.born = microseconds(info.kp_proc.p_starttime.tv_sec, info.kp_proc.p_starttime.tv_usec);
    uids[0] = info.kp_eproc.e_pcred.p_ruid, uids[1] = info.kp_eproc.e_ucred.cr_uid;
    uids[2] = info.kp_eproc.e_pcred.p_svuid;
}
#else
// NetBSD and OpenBSD name the fields alike, but p_stat is a thread's state on the one, and SZOMB is
// not used on the other. A zombie has no start time.
DAEMONIZE_LOCAL void translate(const Kinfo& info, ProcessFacts& facts, long long* uids) noexcept {
#if defined(__NetBSD__)
    const int state = static_cast<int>(info.p_realstat);
    facts.is_zombie = state == SZOMB || state == SDYING || state == SDEAD;
    facts.threads = static_cast<long>(info.p_nlwps);
#else
    facts.is_zombie = info.p_stat == SDEAD;
#endif
    facts.parent = info.p_ppid;
    if (info.p_uvalid != 0)
        facts.born = microseconds(static_cast<long long>(info.p_ustart_sec), info.p_ustart_usec) -
                     boot_time();
    uids[0] = info.p_ruid, uids[1] = info.p_uid, uids[2] = info.p_svuid;
}
#endif

DAEMONIZE_LOCAL ProcessFacts facts_of(long pid) noexcept {
    ProcessFacts facts;
    Kinfo info;
    long long uids[3];
    if (!read_kinfo(pid, info)) return facts;
    translate(info, facts, uids);
    facts.there = true;
    return facts;
}

DAEMONIZE_LOCAL int is_users(long pid, long long uid) noexcept {
    ProcessFacts facts;
    Kinfo info;
    long long uids[3];
    if (!read_kinfo(pid, info)) return -1;
    translate(info, facts, uids);
    return uids[0] == uid && uids[1] == uid && uids[2] == uid;
}

DAEMONIZE_LOCAL long long age_of(unsigned long long born) noexcept {
    struct timespec now;
#if defined(__FreeBSD__)
    const clockid_t clock = CLOCK_MONOTONIC;  // since the boot, there
#elif defined(__OpenBSD__)
    const clockid_t clock = CLOCK_BOOTTIME;
#else
    const clockid_t clock = CLOCK_REALTIME;
#endif
    if (::clock_gettime(clock, &now) != 0) return 0;
    return static_cast<long long>(microseconds(now.tv_sec, now.tv_nsec / 1000) - born) / 1000;
}

// Of this process; 0: not told.
DAEMONIZE_LOCAL long count_threads() noexcept {
#if defined(__APPLE__)
    struct proc_taskinfo info;
    const int size = static_cast<int>(sizeof info);
    const bool told = ::proc_pidinfo(::getpid(), PROC_PIDTASKINFO, 0, &info, size) == size;
    return told ? static_cast<long>(info.pti_threadnum) : 0;
#elif defined(__OpenBSD__)
    // One element for the process, one for each thread. With room for two the third is an ENOMEM.
    struct kinfo_proc info[2];
    int name[6] = {CTL_KERN,
                   KERN_PROC,
                   KERN_PROC_PID | KERN_PROC_SHOW_THREADS,
                   static_cast<int>(::getpid()),
                   static_cast<int>(sizeof info[0]),
                   2};
    std::size_t size = sizeof info;
    if (::sysctl(name, 6, info, &size, nullptr, 0) == 0) return size == sizeof info ? 1 : 0;
    return errno == ENOMEM ? 2 : 0;
#else
    return facts_of(self()).threads;
#endif
}
#else
DAEMONIZE_LOCAL ProcessFacts facts_of(long) noexcept { return ProcessFacts(); }
DAEMONIZE_LOCAL long long age_of(unsigned long long) noexcept { return 0; }
DAEMONIZE_LOCAL long count_threads() noexcept { return 0; }
DAEMONIZE_LOCAL int is_users(long, long long) noexcept { return -1; }
#endif

// A process by its descriptor: the kernel may know what <sys/syscall.h> does not yet. The numbers
// are the same on every architecture but Alpha.
#if DAEMONIZE_LINUX
#ifdef SYS_pidfd_open
static const long pidfd_open_call = SYS_pidfd_open, pidfd_signal_call = SYS_pidfd_send_signal;
#else
static const long pidfd_open_call = 434, pidfd_signal_call = 424;
#endif
DAEMONIZE_LOCAL Handle open_pidfd(long pid) noexcept {
    return lifted(static_cast<int>(::syscall(pidfd_open_call, static_cast<pid_t>(pid), 0U)));
}
DAEMONIZE_LOCAL int signal_pidfd(const Handle& process, int signum) noexcept {
    return static_cast<int>(
        ::syscall(pidfd_signal_call, process.fd(), signum, static_cast<void*>(nullptr), 0U));
}
#else
DAEMONIZE_LOCAL Handle open_pidfd(long) noexcept {
    errno = ENOSYS;
    return Handle();
}
DAEMONIZE_LOCAL int signal_pidfd(const Handle&, int) noexcept {
    errno = ENOSYS;
    return -1;
}
#endif

// A process by its number, once. The pidfd first, then what the system tells: the other way round
// the two could be of two processes.
DAEMONIZE_LOCAL bool open_process(long pid, Process& process) noexcept {
    process.pid = pid;
    process.handle = open_pidfd(pid);
    const bool gone = !process.handle && errno == ESRCH;
    const ProcessFacts facts = facts_of(pid);
    process.born = facts.born;
    return !gone && !facts.is_corpse() &&
           (process.handle || facts.there || ::kill(static_cast<pid_t>(pid), 0) == 0 ||
            errno == EPERM);
}

// The process that the file names is the daemon itself.
DAEMONIZE_LOCAL bool find_daemon(const Process& named, Process& daemon) noexcept {
    daemon.pid = named.pid;
    daemon.born = named.born;
    daemon.handle = Handle(named.handle ? ::fcntl(named.handle.fd(), F_DUPFD_CLOEXEC, 3) : -1);
    return !named.handle || daemon.handle;
}

// Through a file that user U could have written nobody is signalled but U's own processes: a record
// lock outlives the exec of a set-uid program, and one that a CLONE_FILES child made outlives its
// number.
DAEMONIZE_LOCAL bool may_signal(Process& process, const PidFileView& view, Fault& fault) noexcept {
    if (view.user == 0) return true;
    const int is_his = is_users(process.pid, view.user);
    if (is_his == 0)
        return fail(fault, errc::untrusted_pid_file,
                    "cannot signal %P: the PID file belongs to user %d, the process does not",
                    process.pid, view.user);
    // Where the system never tells whose a process is, whoever the file belongs to signals it, and
    // the kernel lets him signal his own alone. On Linux it tells, but for a hidden /proc.
    const bool as_owner = !DAEMONIZE_LINUX && ::geteuid() == 0;
    if (is_his < 0 && as_owner) process.sender = view.user;
    return is_his == 1 || as_owner || view.user == static_cast<long long>(::geteuid()) ||
           fail(fault, errc::untrusted_pid_file,
                "cannot signal %P: the PID file belongs to another user, and without /proc nothing "
                "tells whether the process does",
                process.pid);
}

// kill() by root as another user, in a child: ids belong to all threads of a process. The child is
// that user's: he may stop it, so the answer is waited for with a limit; and it is asked for its
// answer, not for its status, which a caller that ignores SIGCHLD has not.
DAEMONIZE_LOCAL int kill_as(long long user, pid_t pid, int signum) noexcept {
    Handle hears, tells;
    if (!make_socket_pair(hears, tells)) return -1;
    const pid_t child = ::fork();
    if (child == 0) {
        const bool sent = ::setuid(static_cast<uid_t>(user)) == 0 && ::kill(pid, signum) == 0;
        const int answer = sent ? 0 : errno;
        ::_exit(::send(tells.fd(), &answer, sizeof answer, send_flags) == sizeof answer ? 0 : 1);
    }
    if (child < 0) return -1;
    tells.close();
    int cause = 0, status = 0;
    struct pollfd told = {hears.fd(), POLLIN, 0};
    const Deadline deadline(patience);
    while (::poll(&told, 1, deadline.left_to_poll()) < 0 && errno == EINTR) {
    }
    if (::recv(hears.fd(), &cause, sizeof cause, MSG_DONTWAIT) != sizeof cause) cause = EPERM;
    if (::waitpid(child, &status, WNOHANG) == 0) ::kill(child, SIGKILL);  // there, so still ours
    while (::waitpid(child, &status, 0) == -1 && errno == EINTR) {
    }
    errno = cause;
    return cause == 0 ? 0 : -1;
}

// Through the pidfd: a number that was recycled since cannot be hit. By number only where that call
// is missing or denied (an old kernel, a filter), and the start time still fits.
DAEMONIZE_LOCAL Sent send_signal(const Process& process, int signum) noexcept {
    int rc = -1;
    errno = ENOSYS;
    if (process.handle && process.sender < 0) rc = signal_pidfd(process.handle, signum);
    if (rc != 0 && (errno == ENOSYS || errno == EPERM)) {  // EPERM: a filter's, or the real one
        // The look and kill() are two calls: without a pidfd a number that is recycled between them
        // is hit.
        if (process.born != 0) {
            const ProcessFacts facts = facts_of(process.pid);
            if (facts.there && facts.born != process.born) return Sent::gone;
        }
        const pid_t pid = static_cast<pid_t>(process.pid);
        rc = process.sender < 0 ? ::kill(pid, signum) : kill_as(process.sender, pid, signum);
    }
    if (rc == 0) return Sent::sent;
    if (errno == ESRCH) return Sent::gone;
    return errno == EPERM ? Sent::denied : Sent::failed;
}

// A stopped process would not see it. Only a daemon is continued that the signal has reached.
DAEMONIZE_LOCAL Sent ask_to_end(const Process& process, int signum) noexcept {
    const Sent sent = send_signal(process, signum);
    if (sent == Sent::sent) send_signal(process, SIGCONT);
    return sent;
}

DAEMONIZE_LOCAL bool end_process(const Process& process) noexcept {
    return send_signal(process, SIGKILL) == Sent::sent;
}

// A pidfd is ready at the end of the process, zombie or not. Without one there is nothing to wait
// for, only to look at again, after 1 ms to 20 ms. A zombie counts as gone: it holds nothing.
DAEMONIZE_LOCAL bool await_end(const Process& process, const Deadline& deadline) noexcept {
    for (int pause = 1;; pause = pause < 10 ? pause * 2 : 20) {
        // The clock before the process: one that has ended while this one slept is seen to have
        // ended.
        const bool late = deadline.over();
        if (process.handle) {
            struct pollfd watch = {process.handle.fd(), POLLIN, 0};
            if (::poll(&watch, 1, deadline.left_to_poll()) > 0) return true;
        } else {
            const ProcessFacts facts = facts_of(process.pid);
            if (facts.there ? facts.born != process.born || facts.is_corpse()
                            : ::kill(static_cast<pid_t>(process.pid), 0) != 0 && errno == ESRCH)
                return true;
        }
        if (late) return false;
        if (!process.handle) pause_for(deadline.left() < pause ? deadline.left() : pause);
    }
}

DAEMONIZE_LOCAL Duration age(const Process& process) noexcept {
    if (process.born == 0) return Duration(0);
    const long long age = age_of(process.born);
    return Duration(age > 0 ? age : 1);
}

// Without facts the session tells: a daemon's is its own, and who led it has left. The depth is
// limited, for numbers that are recycled during the walk could lead round in a ring.
DAEMONIZE_LOCAL bool is_ancestor(long pid) noexcept {
    long parent = static_cast<long>(::getppid());
    for (int depth = 0; depth < 1000 && parent > 0; ++depth) {
        if (parent == pid) return true;
        const ProcessFacts facts = facts_of(parent);
        if (!facts.there) break;
        parent = facts.parent;
    }
    const pid_t session = ::getsid(0);
    return parent > 1 && session == ::getsid(static_cast<pid_t>(pid)) && ::kill(session, 0) != 0 &&
           errno == ESRCH;
}

// ---- A look before main() ----
// What came through exec is the starter's and is undone by the start; what the program did since is
// kept. A start that came later could not tell the two apart: a descriptor 7 may be the pipe of a
// shell that waits for its end, or the program's own database; SIGHUP is ignored by nohup, or by
// the program. So one look is taken before any constructor of the program has run, and the start
// compares: a descriptor is the starter's still if it shows the same file; an ignored signal is, if
// it was ignored then. A thread that exists already is an emulator's, not the program's.
// In a library that is loaded late the look is as late: what is open by then is taken for the
// starter's.

static const int compared = 64;  // inherited descriptors below are known by file, not by number
static const unsigned char by_number = 2;  // nor where the file was not told

static struct Inheritance {
    bool taken;
    unsigned long long ignored, blocked;  // bit n - 1: signal n
    long threads;                         // more than 1: those of an emulator
    bool told_end;                        // the system tells where its table of files ends
    int end;                              // descriptors below were looked at
    unsigned char* open;                  // one for each
    unsigned char few[256];
    struct {
        dev_t device;
        ino_t inode;
    } files[compared];
} inheritance;

DAEMONIZE_LOCAL bool has_signal(unsigned long long set, int signum) noexcept {
    return signum >= 1 && signum <= 64 && (set >> (signum - 1) & 1) != 0;
}

// Where the table of open files ends: on Linux its size follows the highest descriptor that was
// ever open, not the limit, which may be 2^30. Else the limit, or 65,536.
DAEMONIZE_LOCAL int descriptor_end(const char* status) noexcept {
    const char* const size = field_of(status, "\nFDSize:");
    const unsigned long long told = size ? std::strtoull(size, nullptr, 10) : 0;
    if (told > 0 && told < INT_MAX) return static_cast<int>(told);
#if defined(F_MAXFD)
    const int highest = ::fcntl(0, F_MAXFD);  // NetBSD
    if (highest >= 0) return highest + 1;
#endif
    struct rlimit limit;
    const rlim_t most = 65536;
    const bool low = ::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < most;
    return static_cast<int>(low ? limit.rlim_cur : most);
}

// How many descriptors are open, so that a look at each may stop at the last; -1: not told.
DAEMONIZE_LOCAL int count_open() noexcept {
#if DAEMONIZE_KINFO && defined(__FreeBSD__)
    int name[4] = {CTL_KERN, KERN_PROC, KERN_PROC_NFDS, 0}, count = 0;
    std::size_t size = sizeof count;
    return ::sysctl(name, 4, &count, &size, nullptr, 0) == 0 ? count : -1;
#elif DAEMONIZE_KINFO && defined(__OpenBSD__)
    return ::getdtablecount();
#else
    return -1;
#endif
}

// Sets marks[fd] for each open descriptor from 3 on. fcntl() sees every kind but needs a call for
// each; poll() does not see those of O_PATH, but takes 0.26 ms for 19,000 where fcntl() takes 2.9.
DAEMONIZE_LOCAL void mark_open(unsigned char* marks, int end) noexcept {
    struct pollfd fds[128];
    int left = count_open();
    for (int fd = 0; fd < end && fd < compared; ++fd) {
        const bool open = ::fcntl(fd, F_GETFD) != -1;
        if (fd > 2) marks[fd] = open;
        left -= open;
    }
    for (int first = compared; first < end && left != 0; first += 128) {
        const int count = end - first < 128 ? end - first : 128;
        for (int i = 0; i < count; ++i) {
            fds[i].fd = first + i;
            fds[i].events = 0;
            fds[i].revents = POLLNVAL;
        }
        const bool told = ::poll(fds, static_cast<nfds_t>(count), 0) >= 0;
        for (int i = 0; i < count; ++i)
            left -= marks[first + i] =
                told ? (fds[i].revents & POLLNVAL) == 0 : ::fcntl(first + i, F_GETFD) != -1;
    }
}

// Linux tells both sets in one file; elsewhere each signal is asked for. A handler cannot have come
// through exec: a signal that is not ignored has its default.
DAEMONIZE_LOCAL void look_at_signals(const char* status) noexcept {
    Inheritance& in = inheritance;
    const char* const ignored = field_of(status, "\nSigIgn:");
    const char* const blocked = field_of(status, "\nSigBlk:");
    if (ignored && blocked) {
        in.ignored = std::strtoull(ignored, nullptr, 16);
        in.blocked = std::strtoull(blocked, nullptr, 16);
        return;
    }
    sigset_t mask;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    for (int signum = 1; signum < signal_end && signum <= 64; ++signum) {
        struct sigaction action;
        const unsigned long long bit = 1ULL << (signum - 1);
        if (::sigaction(signum, nullptr, &action) == 0 && !(action.sa_flags & SA_SIGINFO) &&
            action.sa_handler == SIG_IGN)
            in.ignored |= bit;
        if (sigismember(&mask, signum) == 1) in.blocked |= bit;
    }
}

// Of the first descriptors the file is kept, too, for the program may close one and get its number
// for a file of its own; that happens to the lowest free number. For the others the number must do:
// a look at the file behind each of thousands would cost every program that has them.
DAEMONIZE_LOCAL void look_at_inheritance() noexcept {
    Inheritance& in = inheritance;
    if (in.taken) return;
    in.taken = true;
    const int saved = errno;
    char status[4096] = "";
    if (DAEMONIZE_LINUX) read_small("/proc/self/status", status, sizeof status);
    look_at_signals(status);
    in.threads = count_threads();
    in.told_end = *status != '\0';
    in.end = descriptor_end(status);
    const std::size_t size = static_cast<std::size_t>(in.end);
    in.open = size <= sizeof in.few ? in.few : static_cast<unsigned char*>(std::calloc(size, 1));
    if (!in.open) in.open = in.few, in.end = static_cast<int>(sizeof in.few);
    mark_open(in.open, in.end);
    for (int fd = 3; fd < in.end && fd < compared; ++fd) {
        struct stat st;
        if (!in.open[fd]) continue;
        if (::fstat(fd, &st) != 0) {
            in.open[fd] = by_number;
            continue;
        }
        in.files[fd].device = st.st_dev;
        in.files[fd].inode = st.st_ino;
    }
    errno = saved;
}

// Before the constructors of the program's globals; priorities up to 100 are the system's own.
#if defined(__GNUC__)
__attribute__((constructor(101))) DAEMONIZE_LOCAL void look_before_main() { look_at_inheritance(); }
#else
static const bool looked_before_main = (look_at_inheritance(), true);
#endif

DAEMONIZE_LOCAL bool is_still_inherited(int fd) noexcept {
    const Inheritance& in = inheritance;
    if (fd < 3 || fd >= in.end || !in.open[fd]) return false;
    struct stat st;
    if (fd >= compared || in.open[fd] == by_number || ::fstat(fd, &st) != 0) return true;
    if (st.st_dev != in.files[fd].device || st.st_ino != in.files[fd].inode) return false;
    // All of epoll, eventfd, timerfd are one inode, without a type. One that is close-on-exec has
    // come through no exec.
    return (st.st_mode & S_IFMT) != 0 || (::fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0;
}

// ---- Directories on the way to a file ----

// The rule. Root often works on a path that leads through a directory of the user whom the daemon
// becomes, and whoever may write to a directory can put another file, or a link, in the place of
// the next part: between a check by name and the open by name he has all the time that he needs.
// So nothing is checked by name. Each directory is opened, judged as it is open, and the next name
// taken relative to it; a directory that anybody may write is passed only if it is sticky, a link
// only if it is root's or this user's own. In the end every act on the file (open, link count,
// unlink) is relative to the directory that is open.
struct Way {
    Handle directory;
    char leaf[256];      // the last name
    bool alone = true;   // nobody but root and this user can replace a part of the way
    bool magic = false;  // the last name is a link that only the system can follow
};

#if defined(O_PATH) && DAEMONIZE_LINUX
static const int search_flags = O_PATH;  // needs no right to list the directory
#elif defined(O_SEARCH)
static const int search_flags = O_SEARCH;
#else
static const int search_flags = O_RDONLY;
#endif
static const int directory_flags = search_flags | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

// What `name` in `directory` links to, and whose link it is. With O_PATH the link itself is open:
// it cannot be exchanged between the two questions. Else it is asked twice.
DAEMONIZE_LOCAL bool read_link(int directory, const char* name, Str& target,
                               uid_t& owner) noexcept {
    struct stat st, again;
    char text[4096];
    ssize_t size = -1;
#if defined(O_PATH) && DAEMONIZE_LINUX
    const Handle link = open_at(directory, name, O_PATH | O_NOFOLLOW);
    if (!link || ::fstat(link.fd(), &st) != 0) return false;
    if (S_ISLNK(st.st_mode)) size = ::readlinkat(link.fd(), "", text, sizeof text - 1);
    again = st;
#else
    if (::fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) != 0) return false;
    if (S_ISLNK(st.st_mode)) size = ::readlinkat(directory, name, text, sizeof text - 1);
    if (::fstatat(directory, name, &again, AT_SYMLINK_NOFOLLOW) != 0) return false;
#endif
    const bool stayed = again.st_ino == st.st_ino && again.st_ctime == st.st_ctime;
    if (size <= 0 || size == static_cast<ssize_t>(sizeof text) - 1 || !stayed) {
        errno = S_ISLNK(st.st_mode) ? ELOOP : ENOTDIR;
        return false;
    }
    text[size] = '\0';
    target.set(text);
    owner = st.st_uid;
    return true;
}

// What O_NOFOLLOW | O_DIRECTORY says of a link differs: ELOOP or ENOTDIR, EMLINK on FreeBSD, EFTYPE
// on NetBSD.
DAEMONIZE_LOCAL bool may_be_link(int error) noexcept {
#if defined(EFTYPE)
    if (error == EFTYPE) return true;
#endif
    return error == ELOOP || error == ENOTDIR || error == EMLINK;
}

// "pipe:[4711]": the name of something that is open, below /proc/self/fd. Only the system can
// follow that.
DAEMONIZE_LOCAL bool is_magic_link(const char* target) noexcept {
    return target[0] != '/' && std::strstr(target, ":[") != nullptr;
}

DAEMONIZE_LOCAL bool refused_way(Fault& fault, const char* step, const char* path,
                                 const char* why) noexcept {
    return fail(fault, errc::untrusted_pid_file, "%s %p: %s", step, path, why);
}

// A directory that anybody may write is passed only if it is sticky: there nobody can replace what
// is not his. As the last one it is left to the caller, who creates with O_EXCL or looks at owners.
DAEMONIZE_LOCAL const char* distrust_directory(const struct stat& st, bool is_last,
                                               Way& way) noexcept {
    const bool sticky = (st.st_mode & S_ISVTX) != 0;
    // What a group may write is passed (a home directory of Ubuntu's is 0775), but who is in it can
    // exchange a part of the way: the callers that act as root ask `alone`.
    const bool others_write = (st.st_mode & 022) != 0 && (is_last || !sticky);
    if (others_write || (st.st_uid != 0 && st.st_uid != ::geteuid())) way.alone = false;
    return is_last || sticky || (st.st_mode & S_IWOTH) == 0
               ? nullptr
               : "other users may write to a directory of this path";
}

// Goes down to the directory of the last name, part by part, each opened relative to the one before
// and never through a link: a link is read, judged by its owner and walked like the rest. Whoever
// exchanges a part afterwards changes nothing for what is open. `follow`: the last name may be a
// link, too (of root or of this user). nullptr: `way` is open; "": errno tells why not; else the
// reason why nobody should trust that way.
DAEMONIZE_LOCAL const char* walk(const char* path, bool follow, Way& way) noexcept {
    Str linked, target;  // linked: the rest of the way, once a link has been met
    const char* rest = path;
    way.alone = true;
    way.magic = false;
    errno = ENAMETOOLONG;
    if (std::strlen(path) < PATH_MAX) way.directory = open_at(AT_FDCWD, "/", directory_flags);
    for (int links = 0;;) {
        rest += std::strspn(rest, "/");
        const std::size_t size = std::strcspn(rest, "/");
        const bool is_last = rest[size + std::strspn(rest + size, "/")] == '\0';
        const int directory = way.directory.fd();
        struct stat st;
        if (!way.directory || ::fstat(directory, &st) != 0) return "";
        errno = ENAMETOOLONG;
        if (size >= sizeof way.leaf) return "";
        std::memcpy(way.leaf, size == 0 ? "." : rest, size == 0 ? 1 : size);
        way.leaf[size == 0 ? 1 : size] = '\0';
        const char* const why = distrust_directory(st, is_last, way);
        if (why) return why;
        if (is_last) {
            if (!follow || ::fstatat(directory, way.leaf, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
                !S_ISLNK(st.st_mode))
                return nullptr;
        } else if (Handle next = open_at(directory, way.leaf, directory_flags)) {
            way.directory = std::move(next);
            rest += size;
            continue;
        } else if (!may_be_link(errno)) {
            return "";
        }
        uid_t owner = 0;
        errno = ELOOP;
        // As many links as Linux follows; a ring of them ends here.
        if (++links > 40 || !read_link(directory, way.leaf, target, owner)) return "";
        if (owner != 0 && owner != ::geteuid())
            return "a symbolic link of another user leads there";
        // The caller follows it by name: not where somebody else could put another link there.
        way.magic = is_last && way.alone && is_magic_link(target.c_str());
        if (way.magic) return nullptr;
        // What is left of the way follows what the link says; `rest` may lie in `linked` itself.
        linked.set(target.c_str(), "/", rest + size);
        rest = linked.c_str();
        if (*rest == '/') way.directory = open_at(AT_FDCWD, "/", directory_flags);
    }
}

// The one way to a file: PID file, query, signal, log and jail take it.
DAEMONIZE_LOCAL bool open_way(const char* step, const char* path, bool follow, Way& way,
                              Fault& fault) noexcept {
    const char* const why = walk(path, follow, way);
    if (!why) return true;
    if (!*why) return refused(fault, "%s %p", step, path);
    refused_way(fault, step, path, why);
    if (follow) fault.code = -EACCES;  // no PID file: a log, or a jail
    return false;
}

// ---- PID files that this process has locked ----
// Why two locks. flock() belongs to the open file: the launcher takes it, it goes through both
// forks to the daemon without a gap, and the system frees it whatever ends its last owner. But it
// does not tell who has it: a child that was forked without care keeps it, too. The record lock
// belongs to a process, and F_GETLK tells its number: what the daemon has locked proves that it is
// the daemon, not a reader and not a heir. But no fork hands it on, and the process loses it when
// it closes any descriptor of that file. So flock() keeps others out from the first step to the
// last, and the record lock is taken when the daemon enters itself, on a second byte when it is
// ready, and again whenever it waits for signals, in case that the program has closed the file by
// another name.
//
// A child of fork() must not keep the daemon's lock alive; a query in this process must not open
// the file that this process has locked, for closing it would drop the record lock. The fork
// handler and `terminate`, which may interrupt anything, find what is held in here without a lock
// of their own: a slot is taken by one exchange, and a fork between any two instructions sees it
// taken or free. Threads keep out of each other's way by `Alone`.

struct HeldLock {
    std::atomic<int> file;       // descriptor + 1; 0: free
    std::atomic<long> owner;     // the process whose number is in it; 0: none yet
    std::atomic<int> bytes;      // of the record lock: 0 none, 1 entered, 2 ready
    std::atomic<unsigned> turn;  // how often the slot was taken
};
static HeldLock held_locks[32];
static thread_local bool own_fork = false;  // the start hands the lock on

struct PidLock {
    Str path;               // absolute
    const char* leaf = "";  // the last name in it
    int mode = 0644;
    Handle directory;   // closed where it would lead out of the jail
    int slot = -1;      // in held_locks; -1: not locked
    unsigned turn = 0;  // of the slot; another one: a fork has freed it, another lock has it
    unsigned long long device = 0, inode = 0;
    bool is_weak = false;  // without a record lock, which this file system refuses
};

static std::atomic<int> open_channel(0);  // descriptor + 1 of the daemon's, until ready()
static std::atomic<bool> someone_looks(false);

// One thread at a time, from its question whether this process holds a PID file until it has closed
// what it opened of it, or has put it into a slot. Else a thread asks, another one takes the file,
// and the close of the first drops the record lock of the second. Nothing in between waits; on a
// file system that hangs, the others go on after a second, and the next wait for signals takes the
// record lock again.
class Alone {
public:
    DAEMONIZE_SMALL Alone() noexcept;
    ~Alone() {
        if (has_) someone_looks.store(false);
    }
    Alone(const Alone&) = delete;
    Alone& operator=(const Alone&) = delete;

private:
    bool has_ = false;
};

// Never LOCK_UN: a duplicate of the descriptor may be another process's lock.
DAEMONIZE_LOCAL void free_slot(HeldLock& held) noexcept {
    held.owner.store(0);
    const Handle closes(held.file.exchange(0) - 1);
}

extern "C" {
// In the child of a program with threads any lock may be held for ever by a thread that is not
// there: atomics and close() only.
DAEMONIZE_LOCAL void daemonize_in_child() {
    someone_looks.store(false);  // a thread that is not in here
    if (own_fork) return;
    for (HeldLock& held : held_locks) free_slot(held);
    const Handle closes(open_channel.exchange(0) - 1);
}
}

DAEMONIZE_SMALL Alone::Alone() noexcept {
    // At the first look, not before main(): a program that has none does not pay for its forks.
    static const int registered = ::pthread_atfork(nullptr, nullptr, daemonize_in_child);
    static_cast<void>(registered);
    for (int ms = 0; ms < 1000 && !has_; ++ms) {
        bool nobody = false;
        has_ = someone_looks.compare_exchange_strong(nobody, true);
        if (!has_) ::poll(nullptr, 0, 1);
    }
}

DAEMONIZE_LOCAL int lock_file(const PidLock& lock) noexcept {
    if (lock.slot < 0 || held_locks[lock.slot].turn.load() != lock.turn) return -1;
    return held_locks[lock.slot].file.load() - 1;
}

DAEMONIZE_LOCAL bool is_entered(const PidLock& lock) noexcept {
    return lock_file(lock) >= 0 && held_locks[lock.slot].owner.load() == self();
}

DAEMONIZE_LOCAL std::intptr_t lock_handle(const PidLock& lock) noexcept { return lock_file(lock); }

static const long no_such_lock = -2;  // of record_owner()

#if DAEMONIZE_LINUX
// Bytes far behind the text: a record lock there shows its owner's number to anyone who asks. The
// first says "a daemon", the second "ready".
DAEMONIZE_LOCAL struct flock record_lock(short type, int byte, int count) noexcept {
    struct flock lock;
    std::memset(&lock, 0, sizeof lock);
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_start = 0x40000000 + byte;
    lock.l_len = count;
    return lock;
}

DAEMONIZE_LOCAL bool set_record_lock(int fd, int count) noexcept {
    struct flock lock = record_lock(F_WRLCK, 0, count);
    return ::fcntl(fd, F_SETLK, &lock) == 0;
}

// Who has it, or would keep a daemon from it: 0 nobody, -1 one of another PID namespace,
// no_such_lock a lock of another kind (of an open file, or of a server that maps flock() onto it).
DAEMONIZE_LOCAL long record_owner(int fd, short type, int byte) noexcept {
    struct flock lock;
    int rc;  // F_GETLK writes its answer over the question: that is made anew
    do lock = record_lock(type, byte, 1), rc = ::fcntl(fd, F_GETLK, &lock);
    while (rc != 0 && errno == EINTR);
    if (rc != 0 || lock.l_type == F_UNLCK) return 0;
    return lock.l_pid > 0 ? lock.l_pid : lock.l_pid < 0 ? no_such_lock : -1;
}
#else
// flock() and fcntl() see each other's locks on the systems with kinfo: a second lock would be
// refused, but F_GETLK shows the first without disturbing a start.
DAEMONIZE_LOCAL bool set_record_lock(int, int) noexcept { return true; }
DAEMONIZE_LOCAL long record_owner(int fd, short type, int) noexcept {
    struct flock lock;
    std::memset(&lock, 0, sizeof lock);
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    const bool tells = DAEMONIZE_KINFO && ::fcntl(fd, F_GETLK, &lock) == 0;
    return tells && lock.l_type != F_UNLCK ? no_such_lock : 0;
}
#endif

// A lock without waiting; got or held, or failed with errno.
DAEMONIZE_LOCAL Attempt lock_now(int fd, int kind) noexcept {
    int rc;
    do rc = ::flock(fd, kind | LOCK_NB);
    while (rc != 0 && errno == EINTR);
    return rc == 0 ? Attempt::got : errno == EWOULDBLOCK ? Attempt::held : Attempt::failed;
}

DAEMONIZE_LOCAL bool same_file(const struct stat& a, const struct stat& b) noexcept {
    return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

// Does the name still stand for this open file? No allocation: `terminate` asks it, too.
DAEMONIZE_LOCAL bool is_named(const PidLock& lock, int fd, struct stat& st) noexcept {
    struct stat named;
    return lock.directory && fd >= 0 && ::fstat(fd, &st) == 0 &&
           ::fstatat(lock.directory.fd(), lock.leaf, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           same_file(st, named);
}

// Only the name that still stands for this open file goes; another's file is left.
DAEMONIZE_LOCAL bool unlink_named(const PidLock& lock, int fd) noexcept {
    struct stat st;
    return is_named(lock, fd, st) && ::unlinkat(lock.directory.fd(), lock.leaf, 0) == 0;
}

DAEMONIZE_LOCAL const char* distrust(const struct stat& st) noexcept {
    if (S_ISLNK(st.st_mode)) return "it is a symbolic link";
    if (S_ISDIR(st.st_mode)) return "it is a directory";
    if (S_ISFIFO(st.st_mode)) return "it is a FIFO";
    if (!S_ISREG(st.st_mode)) return "it is no regular file";
    // Anybody can link a file of root's to a name in /tmp, where the system does not forbid it.
    if (st.st_nlink != 1) return "it has a hard link";
    return (st.st_mode & 022) != 0 ? "group or others may write it" : nullptr;
}

// Both end a take for good; `held` and `again` do not.
DAEMONIZE_LOCAL Attempt lock_fault(Fault& fault, const char* form, const PidLock& lock) noexcept {
    refused(fault, form, lock.path.c_str());
    return Attempt::failed;
}

DAEMONIZE_LOCAL Attempt lock_untrusted(Fault& fault, const PidLock& lock,
                                       const char* why) noexcept {
    refused_way(fault, "cannot lock", lock.path.c_str(), why);
    return Attempt::failed;
}

// A file that this process has locked; what is known of it is told without opening it.
DAEMONIZE_LOCAL const HeldLock* held_as(const struct stat& named) noexcept {
    struct stat st;
    for (const HeldLock& held : held_locks) {
        const int fd = held.file.load() - 1;
        if (fd >= 0 && ::fstat(fd, &st) == 0 && same_file(st, named)) return &held;
    }
    return nullptr;
}

// Async-signal-safe.
DAEMONIZE_LOCAL bool read_file(int fd, PidFileView& view) noexcept {
    char text[1024];
    const ssize_t size = ::pread(fd, text, sizeof text, 0);
    read_content(view, text, size > 0 ? static_cast<std::size_t>(size) : 0);
    return size >= 0;
}

// What stands there, never waited for (a FIFO). `writes`: as far as it may be written; a lock can
// be had on what is open for reading, too; on NFS alone LOCK_EX needs the other.
DAEMONIZE_LOCAL Handle open_existing(const Handle& directory, const char* leaf,
                                     bool writes) noexcept {
    const int flags = O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    Handle file = writes ? open_at(directory.fd(), leaf, flags | O_RDWR) : Handle();
    if (!file && (!writes || errno == EACCES))
        file = open_at(directory.fd(), leaf, flags | O_RDONLY);
    return file;
}

// Where the directory does not let us unlink, an administrator has made the file for this user: it
// is used as it is, if it can be nobody else's.
DAEMONIZE_LOCAL Attempt adopt_file(PidLock& lock, const Handle& file, const struct stat& st,
                                   Fault& fault) noexcept {
    const char* const why = distrust(st);
    if (why) return lock_untrusted(fault, lock, why);
    if (st.st_uid != ::geteuid()) {
        fail(fault, errc::untrusted_pid_file, "cannot lock %p: it belongs to user %d",
             lock.path.c_str(), static_cast<long long>(st.st_uid));
        return Attempt::failed;
    }
    struct stat now;
    // Locked and empty is a start: a number from before must not be taken for the new holder's.
    if (!is_named(lock, file.fd(), now) || ::ftruncate(file.fd(), 0) != 0)
        return lock_fault(fault, "cannot empty %p", lock);
    return Attempt::got;
}

// The name was free a moment ago; O_EXCL decides who gets it. A start that fails later removes what
// it has made here, if the name still stands for it.
DAEMONIZE_LOCAL Attempt create_file(PidLock& lock, Handle& file, struct stat& st,
                                    Fault& fault) noexcept {
    const mode_t mode = static_cast<mode_t>(lock.mode);
    file = open_at(lock.directory.fd(), lock.leaf,
                   O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CREAT | O_EXCL, mode);
    if (!file && errno == EEXIST) return Attempt::again;
    if (!file) return lock_fault(fault, "cannot create %p", lock);
    // Whatever the umask; where that took nothing, a write to the disk is saved.
    const bool has_mode = (::fstat(file.fd(), &st) == 0 && (st.st_mode & 07777) == mode) ||
                          ::fchmod(file.fd(), mode) == 0;
    const Attempt attempt = has_mode ? lock_now(file.fd(), LOCK_EX) : Attempt::failed;
    const bool named = attempt != Attempt::failed && is_named(lock, file.fd(), st);
    // Held: a query, or another start that takes it for an old file, was there first. It is left,
    // and the next round meets it as an old one.
    if (attempt != Attempt::failed)
        return attempt == Attempt::got && named ? Attempt::got : Attempt::again;
    lock_fault(fault, has_mode ? "cannot lock %p" : "cannot set the mode of %p", lock);
    unlink_named(lock, file.fd());
    return Attempt::failed;
}

// One round of the take. Each start has an inode of its own: the old file is locked first, so that
// its holder is met, then unlinked, and the new one is made with O_EXCL. Between any two of these
// calls another start, a stop or a dying daemon may do the same; so each step asks whether the name
// still stands for what is open, and `again` says that it did not. The old lock is kept until the
// new one is had: who waits for the old file then finds it without a name, and looks again.
DAEMONIZE_LOCAL Attempt take_once(PidLock& lock, Handle& taken, struct stat& st,
                                  Fault& fault) noexcept {
    const int directory = lock.directory.fd();
    Handle old;
    if (::fstatat(directory, lock.leaf, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        if (!S_ISREG(st.st_mode)) return lock_untrusted(fault, lock, distrust(st));
        if (held_as(st)) return Attempt::held;
        old = open_existing(lock.directory, lock.leaf, true);
    }
    // Of the look or of the open: a file that went in between is as good as none.
    if (!old && errno != ENOENT) return lock_fault(fault, "cannot open %p", lock);
    if (old) {
        const Attempt attempt = lock_now(old.fd(), LOCK_EX);
        if (attempt == Attempt::failed) return lock_fault(fault, "cannot lock %p", lock);
        if (attempt == Attempt::held) return attempt;
        if (!is_named(lock, old.fd(), st)) return Attempt::again;
        if (::unlinkat(directory, lock.leaf, 0) != 0) {
            if (errno == ENOENT) return Attempt::again;
            taken = std::move(old);
            return adopt_file(lock, taken, st, fault);
        }
    }
    return create_file(lock, taken, st, fault);
}

// Into a free slot, from where a fork and `terminate` find it.
DAEMONIZE_LOCAL Attempt keep_file(PidLock& lock, Handle file, const struct stat& st,
                                  Fault& fault) noexcept {
    for (HeldLock& held : held_locks) {
        int none = 0;
        if (!held.file.compare_exchange_strong(none, file.fd() + 1)) continue;
        file.release();
        held.owner.store(0);
        held.bytes.store(0);
        lock.slot = static_cast<int>(&held - held_locks);
        lock.turn = ++held.turn;
        lock.device = static_cast<unsigned long long>(st.st_dev);
        lock.inode = static_cast<unsigned long long>(st.st_ino);
        return Attempt::got;
    }
    unlink_named(lock, file.fd());
    errno = EMFILE;
    return lock_fault(fault, "cannot hold as many PID files as with %p", lock);
}

// Takes the lock on `lock.path`, without waiting. Got: the file is new and empty, and this process
// may write to it. Refused: nothing was made, changed or removed.
DAEMONIZE_LOCAL Attempt take_lock(PidLock& lock, Fault& fault) noexcept {
    const char* const path = lock.path.c_str();
    const char* const slash = std::strrchr(path, '/');
    Way way;
    if (!open_way("cannot lock", path, false, way, fault)) {
        if (fault.code == -ENOENT) {
            Str directory;
            directory.set(path);
            directory.edit()[slash - path] = '\0';
            fail(fault, -ENOENT, "cannot create %p: no directory %p for the PID file", path,
                 directory.c_str());
        }
        return Attempt::failed;
    }
    lock.directory = std::move(way.directory);
    lock.leaf = slash[1] ? slash + 1 : ".";
    for (int round = 0; round < 100; ++round) {
        const Alone alone;
        Handle file;
        struct stat st;
        const Attempt attempt = take_once(lock, file, st, fault);
        if (attempt == Attempt::got) return keep_file(lock, std::move(file), st, fault);
        if (attempt != Attempt::again) return attempt;
    }
    fail(fault, errc::timed_out, "cannot lock %p: it was replaced a hundred times", path);
    return Attempt::failed;
}

// One write, so that a reader sees all of it or nothing, and only then the length: whatever is
// still behind it is on a line of its own. 24 bytes are room for any number.
DAEMONIZE_LOCAL bool write_number(int fd) noexcept {
    Text text;
    format(text, "%d\n", self());
    const ssize_t size = static_cast<ssize_t>(text.size());
    struct rlimit limit;  // beyond it a write is a SIGXFSZ, which would end the process
    errno = EFBIG;
    if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < 24) return false;
    ssize_t written;
    do written = ::pwrite(fd, text.c_str(), text.size(), 0);
    while (written < 0 && errno == EINTR);
    if (written >= 0 && written != size) errno = ENOSPC;
    return written == size && ::ftruncate(fd, size) == 0;
}

// From here on the process proves itself; complete, or not at all, for a reader. held: a reader has
// a lock on those bytes; it can be tried again.
DAEMONIZE_LOCAL Attempt enter_lock(PidLock& lock, Fault& fault) noexcept {
    const int fd = lock_file(lock);
    if (!set_record_lock(fd, 1)) {
        const bool busy = errno == EAGAIN || errno == EACCES;
        lock_fault(fault, "cannot enter %p", lock);
        const long reader = record_owner(fd, F_WRLCK, 0);
        if (!busy) return Attempt::failed;
        if (reader != no_such_lock) {
            if (reader > 0) format(fault.text, " (%P holds a lock on it)", reader);
            return Attempt::held;
        }
        lock.is_weak = true;  // flock() and this lock are one here (NFS), and flock() is ours
    }
    struct stat st;
    if (!is_named(lock, fd, st)) {
        fail(fault, errc::untrusted_pid_file, "cannot write %p: it was replaced",
             lock.path.c_str());
        return Attempt::failed;
    }
    if (!write_number(fd)) return lock_fault(fault, "cannot write %p", lock);
    // The owner last: who finds this process there (`terminate`, a thread that asks) finds the rest
    // done.
    held_locks[lock.slot].bytes.store(1);
    held_locks[lock.slot].owner.store(self());
    return Attempt::got;
}

// The proof, taken again: user code that opened and closed the file has dropped it. `ready`: from
// here on also what says that the daemon is ready.
DAEMONIZE_LOCAL void renew_lock(PidLock& lock, bool ready) noexcept {
    if (!is_entered(lock) || lock.is_weak) return;
    HeldLock& held = held_locks[lock.slot];
    // Noted first: another thread that closes the file from here on locks both bytes again.
    if (ready) held.bytes.store(2);
    set_record_lock(held.file.load() - 1, held.bytes.load());
}

// Removes the file, not the lock; async-signal-safe. `own`: only if this process has entered
// itself; else the caller is the launcher or the leader of a start that failed. Where the directory
// does not allow it (after a drop, in a jail) an empty file is left, which means "not running".
DAEMONIZE_LOCAL void discard_file(PidLock& lock, bool own) noexcept {
    const int fd = lock_file(lock), saved = errno;
    if (fd < 0 || (own && !is_entered(lock))) return;
    PidFileView view;
    if (!own || (read_file(fd, view) && view.number == self()))
        if (!unlink_named(lock, fd) && ::ftruncate(fd, 0) != 0)
            errno = saved;  // nothing more can be done at the end
    // The lock stays, but this process is in it no more: neither `terminate` nor a destructor does
    // this a second time.
    held_locks[lock.slot].owner.store(0);
    errno = saved;
}

DAEMONIZE_LOCAL void drop_lock(PidLock& lock) noexcept {
    const Alone alone;  // a thread that asks may be about to read from it
    if (lock_file(lock) >= 0) free_slot(held_locks[lock.slot]);
    lock.slot = -1;
    lock.directory.close();
}

DAEMONIZE_LOCAL void describe_file(const struct stat& st, PidFileView& view) noexcept {
    view.exists = true;
    view.proves = DAEMONIZE_LINUX;
    view.tells_ready = DAEMONIZE_LINUX;
    view.trusted = distrust(st) == nullptr;
    view.user = static_cast<long long>(st.st_uid);
    view.device = static_cast<unsigned long long>(st.st_dev);
    view.inode = static_cast<unsigned long long>(st.st_ino);
}

// Who holds the file that `view` was opened from.
DAEMONIZE_LOCAL void view_lock(int fd, PidFileView& view) noexcept {
    // Asked first: a lock of ours, however short, would make a start fail that comes meanwhile.
    view.owner = record_owner(fd, F_RDLCK, 0);
    view.locked = view.owner != 0;
    if (view.locked) {
        errno = 0;
        view.ready = record_owner(fd, F_RDLCK, 1) == view.owner;
        if (errno != 0) view.tells_ready = false;  // a question that failed says nothing
    }
    if (view.owner == no_such_lock) {  // a file system without record locks of its own
        view.owner = 0;
        view.proves = view.tells_ready = false;
    }
    if (view.locked) return;
    view.reader = record_owner(fd, F_WRLCK, 0);
    if (DAEMONIZE_KINFO) return;
    // Nobody answered. flock() cannot be asked, only tried, and for that moment this query is
    // in a start's way, which tries again. LOCK_UN: nobody has a duplicate of this descriptor.
    view.locked = lock_now(fd, LOCK_SH) != Attempt::got;
    if (!view.locked) ::flock(fd, LOCK_UN);
}

// What the file shows. It is never created, changed or followed, and nothing is waited for.
DAEMONIZE_LOCAL bool view_file(const char* path, PidFileView& view, Fault& fault) noexcept {
    view = PidFileView();
    Way way;
    struct stat st;
    if (!open_way("cannot read", path, false, way, fault)) return fault.code == -ENOENT;
    const int directory = way.directory.fd();
    const Alone alone;
    if (::fstatat(directory, way.leaf, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT || refused(fault, "cannot read %p", path);
    // By name first, and what is open once more below: the open of a device may do something, and
    // between the two anything can be put there.
    if (!S_ISREG(st.st_mode)) return refused_way(fault, "cannot read", path, distrust(st));
    if (const HeldLock* const held = held_as(st)) {
        describe_file(st, view);
        read_file(held->file.load() - 1, view);
        view.locked = true;
        view.owner = held->owner.load();
        view.ready = held->bytes.load() == 2;
        return true;
    }
    const Handle file = open_existing(way.directory, way.leaf, false);
    struct stat opened;
    if (!file || ::fstat(file.fd(), &opened) != 0) {
        if (errno == ELOOP) return refused_way(fault, "cannot read", path, "it is a symbolic link");
        return errno == ENOENT || refused(fault, "cannot read %p", path);
    }
    if (!S_ISREG(opened.st_mode)) return refused_way(fault, "cannot read", path, distrust(opened));
    describe_file(opened, view);
    view_lock(file.fd(), view);
    if (!read_file(file.fd(), view)) return refused(fault, "cannot read %p", path);
    // Asked by name and last: a link that came and went shows a count that is not 1, or no name.
    view.trusted = ::fstatat(directory, way.leaf, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                   same_file(st, opened) && distrust(st) == nullptr;
    return true;
}

// False: errno tells why it is there still, and not emptied. A start may come between the daemon's
// end and this: what it has locked, or made anew, is its own and left alone.
DAEMONIZE_LOCAL bool remove_seen(const PidLock& lock, const PidFileView& seen, long pid) noexcept {
    struct stat st;
    PidFileView now;
    const Alone alone;
    if (::fstatat(lock.directory.fd(), lock.leaf, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT;
    if (held_as(st)) return true;  // taken by a thread of ours by now
    const Handle file = open_existing(lock.directory, lock.leaf, true);
    if (!file) return errno == ENOENT;
    const Attempt attempt = lock_now(file.fd(), LOCK_EX);
    if (attempt != Attempt::got) return attempt == Attempt::held;  // somebody else's by now
    if (!read_file(file.fd(), now) || ::fstat(file.fd(), &st) != 0) return false;
    describe_file(st, now);
    if (now.device != seen.device || now.inode != seen.inode || !is_left_by(now, pid)) return true;
    errno = ENOENT;  // of another file with that name: nothing of the daemon's is there any more
    if (!is_named(lock, file.fd(), st)) return errno == ENOENT;
    return ::unlinkat(lock.directory.fd(), lock.leaf, 0) == 0 || errno == ENOENT ||
           ::ftruncate(file.fd(), 0) == 0;
}

// What a daemon that is gone has left: removed under a lock of our own, and only if it is still
// that file and still that daemon's.
DAEMONIZE_LOCAL bool remove_leftover(const char* path, const PidFileView& seen, long pid,
                                     Fault& fault) noexcept {
    PidLock lock;
    Way way;
    if (!open_way("cannot remove", path, false, way, fault)) return fault.code == -ENOENT;
    lock.leaf = way.leaf;
    lock.directory = std::move(way.directory);
    return remove_seen(lock, seen, pid) || refused(fault, "cannot remove %p", path);
}

// ---- Who the daemon is to be ----

#if DAEMONIZE_LINUX || defined(__FreeBSD__) || defined(__OpenBSD__)
DAEMONIZE_LOCAL bool set_gids(gid_t gid) noexcept { return ::setresgid(gid, gid, gid) == 0; }
DAEMONIZE_LOCAL bool set_uids(uid_t uid) noexcept { return ::setresuid(uid, uid, uid) == 0; }
DAEMONIZE_LOCAL bool all_ids_are(long long uid, long long gid) noexcept {
    uid_t u[3];
    gid_t g[3];
    if (::getresuid(u, u + 1, u + 2) != 0 || ::getresgid(g, g + 1, g + 2) != 0) return false;
    for (int i = 0; i < 3; ++i)
        if (u[i] != static_cast<uid_t>(uid) || g[i] != static_cast<gid_t>(gid)) return false;
    return true;
}
#else
// The same number twice sets the saved id, too; setuid() does that for root alone.
DAEMONIZE_LOCAL bool set_gids(gid_t gid) noexcept { return ::setregid(gid, gid) == 0; }
DAEMONIZE_LOCAL bool set_uids(uid_t uid) noexcept { return ::setreuid(uid, uid) == 0; }
DAEMONIZE_LOCAL bool all_ids_are(long long uid, long long gid) noexcept {
    return static_cast<long long>(::getuid()) == uid &&
           static_cast<long long>(::geteuid()) == uid &&
           static_cast<long long>(::getgid()) == gid &&
           static_cast<long long>(::getegid()) == gid &&
           is_users(self(), uid) != 0;  // the saved one, where the system tells
}
#endif

// getpwnam_r() and its sisters want a buffer of unknown size; the record points into it.
struct Buffer {
    char* bytes = nullptr;
    ~Buffer() { std::free(bytes); }
};

// False with errno 0: nobody has that name. "Not found" has many numbers; what is none of them is a
// fault of the database.
template <class Record, class Key, class Call>
DAEMONIZE_SMALL bool look_up(Call call, Key key, Record& record, Buffer& buffer) noexcept {
    for (std::size_t size = 1024;; size *= 2) {
        buffer.bytes = static_cast<char*>(resized(buffer.bytes, size));
        Record* result = nullptr;
        const int rc = call(key, &record, buffer.bytes, size, &result);
        if (rc == ERANGE && size <= (1U << 22)) continue;
        errno = rc == ENOENT || rc == ESRCH || rc == EBADF || rc == EPERM ? 0 : rc;
        return result != nullptr;
    }
}

const long long largest_id = 0xfffffffeLL;  // the next one is -1, "unchanged"

// A name first, also where it is a number; then that number, with or without an entry.
DAEMONIZE_LOCAL bool find_user(const Account& account, Identity& who, long long& gid,
                               Fault& fault) noexcept {
    struct passwd record;
    Buffer buffer;
    const char* const name = account.name().c_str();
    bool found = *name && look_up(::getpwnam_r, name, record, buffer);
    who.uid = *name && !found ? parse_number(name, largest_id) : account.id();
    if (!found && who.uid >= 0)
        found = look_up(::getpwuid_r, static_cast<uid_t>(who.uid), record, buffer);
    if (!found && errno != 0) return refused(fault, "cannot look up user %q", name);
    who.home.set("/");
    if (!found)
        return who.uid >= 0 ||
               fail(fault, errc::unknown_account, "cannot find user %q: no such user", name);
    who.uid = static_cast<long long>(record.pw_uid);
    gid = static_cast<long long>(record.pw_gid);
    who.user.set(record.pw_name);
    if (record.pw_dir && *record.pw_dir) who.home.set(record.pw_dir);
    return true;
}

DAEMONIZE_LOCAL bool find_group(const Account& account, long long& gid, Fault& fault) noexcept {
    struct group record;
    Buffer buffer;
    const char* const name = account.name().c_str();
    gid = account.id();
    if (*name == '\0') return true;
    const bool found = look_up(::getgrnam_r, name, record, buffer);
    gid = found ? static_cast<long long>(record.gr_gid) : parse_number(name, largest_id);
    if (gid < 0 && errno != 0) return refused(fault, "cannot look up group %q", name);
    return gid >= 0 ||
           fail(fault, errc::unknown_account, "cannot find group %q: no such group", name);
}

// macOS declares int where others have gid_t: the type is taken from the function.
template <class T>
bool list_groups(int (*call)(const char*, T, T*, int*), long long gid, Identity& who) noexcept {
    static_assert(sizeof(T) == sizeof(unsigned) && sizeof(gid_t) == sizeof(unsigned), "32 bits");
    for (int room = 64; room <= 65536; room *= 2) {
        who.groups =
            static_cast<unsigned*>(resized(who.groups, static_cast<std::size_t>(room) * 4));
        who.group_count = room;
        if (call(who.user.c_str(), static_cast<T>(gid), reinterpret_cast<T*>(who.groups),
                 &who.group_count) != -1)
            break;
        if (room == 65536) return false;  // no kernel takes more
    }
    const long most = ::sysconf(_SC_NGROUPS_MAX);  // 16 on some systems: the rest is cut, as there
    if (most > 0 && who.group_count > most) who.group_count = static_cast<int>(most);
    return true;
}

// The type of the count differs, too.
template <class Count>
int call_setgroups(int (*call)(Count, const gid_t*), const Identity& who) noexcept {
    return call(static_cast<Count>(who.group_count), reinterpret_cast<const gid_t*>(who.groups));
}

DAEMONIZE_LOCAL bool set_groups(const Identity& who) noexcept {
    return call_setgroups(::setgroups, who) == 0;
}

// Accounts into numbers, before the start: the files that tell them may not be in the jail.
DAEMONIZE_LOCAL bool resolve_accounts(Session& s, Fault& fault) noexcept {
    const Account &uid = s.context->uid, &gid = s.context->gid;
    Identity& who = s.who;
    long long group = -1;
    if (uid.is_set() && !find_user(uid, who, group, fault)) return false;
    const long long user = who.uid;
    if (gid.is_set() && !find_group(gid, group, fault)) return false;
    if (uid.is_set() && group < 0)
        return invalid(fault, "uid", "user %d has no passwd entry: name a gid as well", user);
    if (!uid.is_set() && !gid.is_set()) return true;
    // Asked for what this process is already: nothing to do, and nothing that would need root.
    const bool same = all_ids_are(uid.is_set() ? user : static_cast<long long>(::getuid()), group);
    gid_t other[2];
    const int others = ::getgroups(2, other);
    const bool alone = others == 0 || (others == 1 && static_cast<long long>(other[0]) == group);
    who.drops = !same || ::geteuid() == 0 || (!s.context->initgroups && !alone);
    who.sets_uid = uid.is_set();
    who.gid = group;
    if (who.drops) features.set_groups = set_groups;
    if (!who.drops || !s.context->initgroups || who.user.is_empty()) return true;
    return list_groups(::getgrouplist, group, who) ||
           fail(fault, errc::unknown_account, "cannot list groups of user %q: too many",
                who.user.c_str());
}

// A set-uid program that names no user goes back to its caller.
DAEMONIZE_LOCAL bool resolve_identity(Session& s, Fault& fault) noexcept {
    std::free(s.who.groups);
    s.who = Identity();
    if (features.resolve_accounts && !features.resolve_accounts(s, fault)) return false;
    if (s.who.drops || (::getuid() == ::geteuid() && ::getgid() == ::getegid())) return true;
    if (s.context->uid.is_set() || s.context->gid.is_set()) return true;
    s.who.drops = s.who.sets_uid = true;
    s.who.uid = static_cast<long long>(::getuid());
    s.who.gid = static_cast<long long>(::getgid());
    s.who.group_count = -1;  // its caller's, which they are already
    return true;
}

#if DAEMONIZE_LINUX
// What the daemon could take up again although its ids are another's (PR_SET_KEEPCAPS).
DAEMONIZE_LOCAL bool has_capabilities() noexcept {
    struct {
        std::uint32_t version;
        int pid;
    } header = {0x20080522, 0};
    struct {
        std::uint32_t effective, permitted, inheritable;
    } data[2] = {{0, 0, 0}, {0, 0, 0}};
    // What is not told (a filter denies the call) is not proven.
    return ::syscall(SYS_capget, &header, data) != 0 ||
           (data[0].permitted | data[1].permitted) != 0;
}
DAEMONIZE_LOCAL void set_dumpable() noexcept { ::prctl(PR_SET_DUMPABLE, 1L, 0L, 0L, 0L); }
DAEMONIZE_LOCAL bool set_no_new_privs() noexcept {
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L) == 0;
}
static const bool has_no_new_privs = true;
#else
DAEMONIZE_LOCAL bool has_capabilities() noexcept { return false; }
DAEMONIZE_LOCAL void set_dumpable() noexcept {}
#if DAEMONIZE_KINFO && defined(PROC_NO_NEW_PRIVS_CTL)
DAEMONIZE_LOCAL bool set_no_new_privs() noexcept {
    int on = PROC_NO_NEW_PRIVS_ENABLE;
    return ::procctl(P_PID, 0, PROC_NO_NEW_PRIVS_CTL, &on) == 0;
}
static const bool has_no_new_privs = true;
#else
inline bool set_no_new_privs() noexcept { return false; }
static const bool has_no_new_privs = false;
#endif
#endif

// No core in a file, and on Linux none through a pipe: of a limit of 0 a pipe takes no notice, but
// the kernel takes 1 for "none" there.
DAEMONIZE_LOCAL bool limit_core() noexcept {
    struct rlimit limit = {DAEMONIZE_LINUX, DAEMONIZE_LINUX};
    if (::setrlimit(RLIMIT_CORE, &limit) == 0) return true;
    limit.rlim_cur = limit.rlim_max = 0;  // it was 0 already, and may not be raised
    return ::setrlimit(RLIMIT_CORE, &limit) == 0;
}

// ---- Options that this system cannot honour, and what must be known before the fork ----

DAEMONIZE_LOCAL const char* unsupported_option(const DaemonOptions& o) noexcept {
    if (o.replace_arguments || !o.arguments.empty()) return "replace_arguments";
    if (o.must_leave_job) return "must_leave_job";
    return o.no_new_privs && !has_no_new_privs ? "no_new_privs" : nullptr;
}

// A descriptor that is not open now would be one of the daemon's own files later.
DAEMONIZE_LOCAL bool check_open(int fd, const char* option, Fault& fault) noexcept {
    if (fd >= 0 && ::fcntl(fd, F_GETFD) != -1) return true;
    errno = EBADF;
    return refused(fault, "cannot use option %s with descriptor %d", option, fd);
}

// What can be asked only here and now: accounts and descriptors of the caller, and variables that
// name this process. In the daemon the number is another, and in the jail the files are not there.
DAEMONIZE_LOCAL bool resolve(Session& s, Fault& fault) noexcept {
    look_at_inheritance();
    if (!resolve_identity(s, fault)) return false;
    for (const int fd : s.context->files_preserve)
        if (!check_open(fd, "files_preserve", fault)) return false;
    for (const Target& target : s.targets)
        if (target.choice == Stream::number_choice &&
            !check_open(target.descriptor, "standard stream", fault))
            return false;
    // WATCHDOG_PID and LISTEN_PID are the caller's number.
    s.watchdog = told_watchdog();
    s.inherited_sockets = 0;
    if (parse_number(environment("LISTEN_PID"), INT_MAX) != self()) return true;
    const long long sockets = parse_number(environment("LISTEN_FDS"), 65536);
    int& open = s.inherited_sockets;  // as many as there are, whatever was claimed
    while (open < sockets && ::fcntl(3 + open, F_GETFD) != -1) ++open;
    return true;
}

// Other threads would not come along, nor would what their locks protect. One that was just joined
// is still counted for a moment. (ThreadSanitizer has one of its own in each forked process.)
DAEMONIZE_LOCAL bool check_threads(const Session& s, Fault& fault) noexcept {
    if (s.context->allow_threads || DAEMONIZE_UNDER_TSAN) return true;
    const long emulators = inheritance.threads > 1 ? inheritance.threads - 1 : 0;
    long others = 0;
    for (int look = 0; look < 10; ++look) {
        others = count_threads() - emulators - 1;
        if (others <= 0) return true;
        pause_for(2);
    }
    return fail(fault, errc::threads_running,
                "cannot fork: %d other thread%s would be lost; start before threads are made",
                others, others == 1 ? "" : "s");
}

DAEMONIZE_LOCAL bool make_absolute(const char* path, Str& out, Fault& fault) noexcept {
    // In a directory that was deleted getcwd() fails: only a relative path needs it.
    if (*path == '/') return out.set(path), true;
    char* const directory = ::getcwd(nullptr, 0);
    if (!directory) return refused(fault, "cannot make absolute %p", path);
    const bool is_dot = std::strcmp(path, ".") == 0, is_root = directory[1] == '\0';
    out.set(is_root ? "" : directory, is_dot && !is_root ? "" : "/", is_dot ? "" : path);
    std::free(directory);
    return true;
}

// The entry of a container, a unit, a socket: facts for decide().
DAEMONIZE_LOCAL bool name_of(long pid, const char* wanted) noexcept {
    char name[64] = "";
#if DAEMONIZE_LINUX
    if (read_proc(pid, "comm", name, sizeof name) <= 0) return false;
    name[std::strcspn(name, "\n")] = '\0';
#else
    static_cast<void>(pid);
#endif
    return wanted ? std::strcmp(name, wanted) == 0 : is_container_init(name);
}

// A path of a socket that is not there is nobody who waits for a word.
DAEMONIZE_LOCAL bool has_notify_socket() noexcept {
    const char* const address = environment("NOTIFY_SOCKET");
    struct stat st;
    return *address == '@' || (*address == '/' && stat_path(address, st));
}

// Facts about this process and its parent, for decide(). The parent's name is asked for only where
// a variable makes it matter: it costs an open file.
DAEMONIZE_LOCAL Evidence evidence() noexcept {
    Evidence seen;
    seen.pid = self();
    seen.parent = static_cast<long>(::getppid());
    seen.pidfile_set = *environment("PIDFILE") != '\0';
    seen.notify_socket = has_notify_socket();
    seen.invocation_id = *environment("INVOCATION_ID") != '\0';
    const char* const xpc = environment("XPC_SERVICE_NAME");
    seen.launchd = *xpc && std::strcmp(xpc, "0") != 0;
    const long long exec_pid = parse_number(environment("SYSTEMD_EXEC_PID"), INT_MAX);
    seen.systemd_exec_pid = exec_pid > 0 ? static_cast<long>(exec_pid) : 0;
    seen.parent_is_shim = seen.parent == 1 && name_of(1, nullptr);
    if ((seen.notify_socket || seen.invocation_id) && seen.systemd_exec_pid == 0)
        seen.parent_is_manager =
            name_of(seen.parent, "systemd") || (!DAEMONIZE_LINUX && seen.parent == 1);
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    // A socket of the Unix family counts only if it listens: sshd gives a command one of a pair.
    if (::getsockname(0, reinterpret_cast<struct sockaddr*>(&address), &size) == 0) {
        int listening = 0;
        socklen_t length = sizeof listening;
        seen.stdin_is_network =
            address.ss_family == AF_INET || address.ss_family == AF_INET6 ||
            (::getsockopt(0, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) == 0 &&
             listening != 0);
    }
    return seen;
}

// ---- Directories that are made ----

// As `mkdir -p` does it, for default_path() alone: below what the user has named as his own, where
// nobody else can exchange a part of the way.
DAEMONIZE_LOCAL bool make_directories(const char* path, mode_t mode, Fault& fault) noexcept {
    Str part;
    for (const char* at = std::strchr(path + 1, '/');; at = std::strchr(at + 1, '/')) {
        part.set(path);
        if (at) part.edit()[at - path] = '\0';
        struct stat st;
        // A part that may not be made may be there all the same, behind a read-only mount.
        if (::mkdir(part.c_str(), mode) != 0) {
            const int cause = errno;
            const bool there = stat_path(part.c_str(), st);
            errno = cause;
            if (!there) return refused(fault, "cannot make directory %p", part.c_str());
        }
        if (!at) return true;
    }
}

// The directory of default_path(). Not XDG_RUNTIME_DIR, which is emptied when the user's last
// session ends; not /tmp, where anyone can be first.
DAEMONIZE_LOCAL bool state_directory(const char* program, Str& out, Fault& fault) noexcept {
    const char* const runtime = environment("RUNTIME_DIRECTORY");  // systemd: one, or a:b
    if (*runtime == '/') {
        out.set(runtime);
        out.edit()[std::strcspn(runtime, ":")] = '\0';
        return true;
    }
    struct stat st;
    if (::geteuid() == 0) {
        out.set(stat_path("/run", st) && S_ISDIR(st.st_mode) ? "/run" : "/var/run");
        return true;
    }
    Str base;
    base.set(environment("XDG_STATE_HOME"));
    if (*base.c_str() != '/') {
        Str home;
        home.set(environment("HOME"));
        if (*home.c_str() != '/') {
            Identity who;
            Fault ignored;
            long long gid = -1;
            find_user(Account(static_cast<unsigned>(::geteuid())), who, gid, ignored);
            if (who.user.is_empty() || *who.home.c_str() != '/')
                return fail(fault, errc::unknown_account,
                            "cannot find the home directory: HOME is not set and this user has no "
                            "passwd entry; set XDG_STATE_HOME");
            home.set(who.home.c_str());
        }
        base.set(home.c_str(), "/.local/state");
    }
    if (!make_directories(base.c_str(), 0700, fault)) return false;
    out.set(base.c_str(), "/", program);
    if (::mkdir(out.c_str(), 0700) != 0 && errno != EEXIST)
        return refused(fault, "cannot make directory %p", out.c_str());
    if (::lstat(out.c_str(), &st) != 0)
        return refused(fault, "cannot use directory %p", out.c_str());
    return (S_ISDIR(st.st_mode) && st.st_uid == ::geteuid() && (st.st_mode & 022) == 0) ||
           fail(fault, errc::untrusted_pid_file,
                "cannot use directory %p: it is not this user's alone", out.c_str());
}

// `make_directory`: the last directory of the PID file, for the user whom the daemon becomes.
DAEMONIZE_LOCAL bool make_pid_directory(Session& s, Fault& fault) noexcept {
    Str path;
    Way way;
    path.set(s.pidfile.c_str());
    char* const slash = std::strrchr(path.edit(), '/');
    if (!slash || slash == path.c_str()) return true;
    *slash = '\0';
    if (!open_way("cannot make directory", path.c_str(), false, way, fault)) return false;
    struct stat st;
    const bool seen = ::fstat(way.directory.fd(), &st) == 0;
    const char* const why = seen ? distrust_directory(st, false, way) : nullptr;
    if (why) return refused_way(fault, "cannot make directory", path.c_str(), why);
    // What somebody else could put in its place would be given away.
    if (!way.alone && ::geteuid() == 0 &&
        ::fstatat(way.directory.fd(), way.leaf, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return refused_way(fault, "cannot make directory", path.c_str(),
                           "root makes none where others can write");
    if (::mkdirat(way.directory.fd(), way.leaf, 0755) != 0)
        return errno == EEXIST || refused(fault, "cannot make directory %p", path.c_str());
    // Whatever the umask. By descriptor: the name could be another's by now.
    const Handle made =
        open_at(way.directory.fd(), way.leaf, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    const bool given =
        made && ::fchmod(made.fd(), 0755) == 0 &&
        (!s.who.drops || !s.who.sets_uid || ::geteuid() != 0 ||
         ::fchown(made.fd(), static_cast<uid_t>(s.who.uid), static_cast<gid_t>(s.who.gid)) == 0);
    return given || refused(fault, "cannot give away %p", path.c_str());
}

// ---- Standard streams ----

// In a program of 32 bits a log of 2 GiB needs all four.
#if defined(O_LARGEFILE) && defined(__USE_LARGEFILE64)
static const int large_file = O_LARGEFILE;
typedef struct stat64 FileStat;
static int (*const stat_open)(int, FileStat*) = ::fstat64;
static int (*const stat_at)(int, const char*, FileStat*, int) = ::fstatat64;
#else
static const int large_file = 0;
typedef struct stat FileStat;
static int (*const stat_open)(int, FileStat*) = ::fstat;
static int (*const stat_at)(int, const char*, FileStat*, int) = ::fstatat;
#endif

DAEMONIZE_LOCAL bool put_onto(const Handle& file, int where) noexcept {
    int rc;
    do rc = ::dup2(file.fd(), where);
    while (rc == -1 && (errno == EINTR || errno == EBUSY));
    return rc != -1;
}

DAEMONIZE_LOCAL bool put_stream(const Handle& file, int which, Fault& fault) noexcept {
    return put_onto(file, which) || refused(fault, "cannot set up descriptor %d", which);
}

// Why root does not write to what it has opened: in a directory that is not root's alone another
// user may have put anything there. Asked by name, and after the opening: a link that came and went
// shows two names, or another file.
DAEMONIZE_LOCAL const char* distrust_log(const Way& way, const FileStat& st) noexcept {
    FileStat named;
    const bool one_name = stat_at(way.directory.fd(), way.leaf, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
                          named.st_nlink == 1 && named.st_dev == st.st_dev &&
                          named.st_ino == st.st_ino;
    if (!S_ISREG(st.st_mode) || !one_name)
        return "root appends only to a regular file without hard links, or to a device";
    return way.alone || st.st_uid == 0
               ? nullptr
               : "other users may write to its directory, and root has not created the file";
}

// A log that is new: whoever the daemon becomes shall be able to rotate it.
DAEMONIZE_LOCAL bool give_log(const Session& s, const Handle& file, const Way& way,
                              const char* path, Fault& fault) noexcept {
    const uid_t owner = s.who.sets_uid ? static_cast<uid_t>(s.who.uid) : static_cast<uid_t>(-1);
    const bool gives = ::geteuid() == 0 && s.who.drops && s.who.gid >= 0;
    const bool has_mode = ::fchmod(file.fd(), 0640) == 0;
    if (has_mode && (!gives || ::fchown(file.fd(), owner, static_cast<gid_t>(s.who.gid)) == 0))
        return true;
    refused(fault, has_mode ? "cannot give away %p" : "cannot set the mode of %p", path);
    ::unlinkat(way.directory.fd(), way.leaf, 0);  // else the next start would take it as it is
    return false;
}

// What is there, or for writing a new file; three rounds, for it may come and go in between.
DAEMONIZE_LOCAL Handle open_or_create(const Way& way, int flags, bool& created) noexcept {
    const int directory = way.directory.fd();
    Handle file = open_at(directory, way.leaf, flags);
    for (int round = 0; !file && errno == ENOENT && (flags & O_APPEND) && round < 3; ++round) {
        file = open_at(directory, way.leaf, flags | O_CREAT | O_EXCL, 0640);
        created = static_cast<bool>(file);
        if (!file && errno == EEXIST) file = open_at(directory, way.leaf, flags);
    }
    return file;
}

// A log, opened relative to a checked directory, and never waited for: a FIFO without a reader is
// refused. What may be emptied or given away is decided on the open file, not on its name.
DAEMONIZE_LOCAL bool open_log(const Session& s, const char* path, int which, bool truncates,
                              Handle& out, Fault& fault) noexcept {
    const bool reads = which == 0;
    Way way;
    if (!open_way("cannot open", path, true, way, fault)) return false;
    FileStat st;
    const bool magic = way.magic;  // as the walk found it: a look of our own could find another
    bool created = false;
    Handle file = open_or_create(way,
                                 (reads ? O_RDONLY : O_WRONLY | O_APPEND) | O_NOCTTY | O_NONBLOCK |
                                     large_file | (magic ? 0 : O_NOFOLLOW),
                                 created);
    if (!file && errno == ENXIO)
        return fail(fault, -ENXIO,
                    "cannot open %p: it is a socket, a FIFO that nobody reads, or a device that is "
                    "not there",
                    path);
    if (!file || stat_open(file.fd(), &st) != 0) return refused(fault, "cannot open %p", path);
    errno = EISDIR;
    if (S_ISDIR(st.st_mode)) return refused(fault, "cannot open %p", path);
    if (s.lock && !s.pidfile.is_empty() &&
        static_cast<unsigned long long>(st.st_dev) == s.lock->device &&
        static_cast<unsigned long long>(st.st_ino) == s.lock->inode)
        return invalid(fault, "standard stream", "it is the PID file");
    const bool judged = ::geteuid() == 0 && !reads && !magic && !S_ISCHR(st.st_mode);
    const char* const why = judged ? distrust_log(way, st) : nullptr;
    if (why) return fail(fault, -EACCES, "cannot open %p: %s", path, why);
    if (created && !give_log(s, file, way, path, fault)) return false;
    if (truncates && !reads && S_ISREG(st.st_mode) && ::ftruncate(file.fd(), 0) != 0)
        return refused(fault, "cannot empty %p", path);
    const int status = ::fcntl(file.fd(), F_GETFL);
    if (status == -1 || ::fcntl(file.fd(), F_SETFL, status & ~O_NONBLOCK) != 0)
        return refused(fault, "cannot set up %p", path);
    out = std::move(file);
    return true;
}

// A number that the program gave may be closed or used for something else by the time that the
// stream is put in its place: a copy is the start's own.
DAEMONIZE_LOCAL bool copy_descriptor(int fd, Handle& out, Fault& fault) noexcept {
    out = Handle(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
    return out || refused(fault, "cannot copy descriptor %d", fd);
}

// Logs in a directory that others can write to, with the identity of the user who will write them.
DAEMONIZE_LOCAL bool open_late_streams(Session& s, Fault& fault) noexcept {
    bool late = false;
    for (const Target& target : s.targets) late = late || target.late;
    if (!late) return true;
    const uid_t root = ::geteuid();
    const gid_t group = ::getegid();  // before a reload still root's own
    if (::setegid(static_cast<gid_t>(s.who.gid)) != 0 ||
        ::seteuid(static_cast<uid_t>(s.who.uid)) != 0)
        return refused(fault, "cannot change to user %d", s.who.uid);
    bool done = true;
    for (int which = 0; done && which < 3; ++which)
        if (s.targets[which].late) done = features.open_target(s, which, fault);
    if (!done)
        format(fault.text, " (opened as user %d, for others can write to a directory on the way)",
               s.who.uid);
    if (::seteuid(root) != 0 || ::setegid(group) != 0)
        return refused(fault, "cannot change back to user %d", static_cast<long long>(root));
    return done;
}

// One file under both names is one open file: nothing overwrites, nothing is emptied twice.
DAEMONIZE_LOCAL bool open_target(Session& s, int which, Fault& fault) noexcept {
    Target& target = s.targets[which];
    const Target& output = s.targets[1];
    if (which == 2 && output.file && output.choice == Stream::path_choice) {
        FileStat st;
        struct stat named;
        if (std::strcmp(target.path.c_str(), output.path.c_str()) == 0 ||
            (stat_open(output.file.fd(), &st) == 0 && stat_path(target.path.c_str(), named) &&
             st.st_dev == named.st_dev && st.st_ino == named.st_ino))
            return copy_descriptor(output.file.fd(), target.file, fault);
    }
    // In a directory that is not root's alone: as the user who will write it, once that is
    // possible.
    const bool can_wait = s.who.drops && s.who.sets_uid && s.who.uid != 0 && ::geteuid() == 0;
    if (can_wait && !target.late) {
        Way way;
        if (!open_way("cannot open", target.path.c_str(), true, way, fault)) return false;
        target.late = !way.alone;
        if (target.late) features.open_late = open_late_streams;
        if (target.late) return true;
    }
    return open_log(s, target.path.c_str(), which, target.truncates, target.file, fault);
}

// Step 5. Only after the lock: a refused start touches no log.
DAEMONIZE_LOCAL bool open_streams(Session& s, Fault& fault) noexcept {
    if (!s.decision.detach) return true;
    s.null_device = open_at(AT_FDCWD, "/dev/null", O_RDWR | O_NOCTTY);
    if (!s.null_device) return refused(fault, "cannot open '/dev/null'");
    for (int which = 0; which < 3; ++which) {
        Target& target = s.targets[which];
        if (target.choice == Stream::number_choice &&
            !copy_descriptor(target.descriptor, target.file, fault))
            return false;
        if (target.choice == Stream::path_choice && !features.open_target(s, which, fault))
            return false;
    }
    return true;
}

// Step 9. Descriptor 2 stays the launcher's until ready(): what the program prints while it starts
// is seen by who started it.
DAEMONIZE_LOCAL bool set_up_streams(Session& s, Fault& fault) noexcept {
    for (int fd = 0; fd < 3; ++fd) {
        const bool closed = ::fcntl(fd, F_GETFD) == -1;
        const bool keeps = fd == 2 || s.targets[fd].choice == Stream::keep_choice;
        const Handle& target = s.targets[fd].file && fd != 2 ? s.targets[fd].file : s.null_device;
        if ((closed || !keeps) && !put_stream(target, fd, fault)) return false;
    }
    return true;
}

DAEMONIZE_LOCAL bool reopen(const Session& s, int which, Fault& fault) noexcept {
    const char* const path = inside(s.targets[which].path.c_str(), s.root.c_str());
    Handle file;
    if (!path)
        return fail(fault, errc::unsupported, "cannot re-open %p: it is outside chroot_directory",
                    s.targets[which].path.c_str());
    return open_log(s, path, which, false, file, fault) && put_stream(file, which, fault);
}

// Before a reload: a log that was moved away is made anew, as a start would make it. A daemon that
// has dropped its rights could not.
DAEMONIZE_LOCAL bool make_moved_logs(Session& s, Fault& fault) noexcept {
    struct stat st;
    for (int which = 1; which < 3; ++which) {
        Target& target = s.targets[which];
        if (target.choice != Stream::path_choice || stat_path(target.path.c_str(), st)) continue;
        target.truncates = false;
        if (!features.open_target(s, which, fault)) return false;
    }
    return !features.open_late || features.open_late(s, fault);
}

// A pipe that nobody empties must not keep the word from the leader.
DAEMONIZE_LOCAL void append_line(const Handle& log, const char* program,
                                 const char* text) noexcept {
    FileStat st;
    if (log && stat_open(log.fd(), &st) == 0)
        write_line(log.fd(), program, text, S_ISREG(st.st_mode));
}

// ---- Descriptors that the daemon does not keep ----

#if DAEMONIZE_LINUX
#ifdef SYS_close_range
static const long close_range_call = SYS_close_range;
#else
static const long close_range_call = 436;
#endif
DAEMONIZE_LOCAL bool close_gap(int first, int last) noexcept {
    return ::syscall(close_range_call, static_cast<unsigned>(first), static_cast<unsigned>(last),
                     0U) == 0;
}
#elif DAEMONIZE_KINFO && defined(__FreeBSD__)
DAEMONIZE_LOCAL bool close_gap(int first, int last) noexcept {
    return ::close_range(static_cast<unsigned>(first), static_cast<unsigned>(last), 0) == 0;
}
#elif DAEMONIZE_KINFO && !defined(__APPLE__)
DAEMONIZE_LOCAL bool close_gap(int first, int last) noexcept {
    if (last == INT_MAX) ::closefrom(first);
    for (int fd = first; last != INT_MAX && fd <= last; ++fd) ::close(fd);
    return true;
}
#else
DAEMONIZE_LOCAL bool close_gap(int, int) noexcept { return false; }
#endif

// From `first` to `last`, of which those with a mark are open.
DAEMONIZE_LOCAL void close_run(int first, int last) noexcept {
    if (first == last || !close_gap(first, last))
        for (int fd = first; fd <= last; ++fd) ::close(fd);
}

struct KeptDescriptors {
    int* list;
    int count;
    DAEMONIZE_SMALL void add(int fd) noexcept {  // sorted: the list is short
        int at = count++;
        for (; at > 0 && list[at - 1] > fd; --at) list[at] = list[at - 1];
        list[at] = fd;
    }
    DAEMONIZE_SMALL bool has(int fd) const noexcept {
        for (int i = 0; i < count; ++i)
            if (list[i] == fd) return true;
        return false;
    }
};

// What the starter left open: neighbours in one call.
DAEMONIZE_LOCAL const char* close_inherited(const KeptDescriptors& keep) noexcept {
    int first = -1;
    for (int fd = 3; fd <= inheritance.end; ++fd) {
        const bool closes = is_still_inherited(fd) && !keep.has(fd);
        if (closes && first < 0) first = fd;
        if (!closes && first >= 0) {
            close_run(first, fd - 1);
            first = -1;
        }
    }
    return inheritance.told_end
               ? "those that were open when the program began"
               : "those below min(limit, 65536) that were open when the program began";
}

// The gaps between those kept, at a cost that grows with what is open, not with the limit.
DAEMONIZE_LOCAL const char* close_all(const KeptDescriptors& keep) noexcept {
    int first = 3;
    bool done = true;
    for (int i = 0; i < keep.count && done; ++i) {
        if (keep.list[i] < first) continue;
        done = keep.list[i] == first || close_gap(first, keep.list[i] - 1);
        first = keep.list[i] + 1;
    }
    if (done && close_gap(first, INT_MAX)) return "all but files_preserve";
    char status[4096] = "";
    if (DAEMONIZE_LINUX) read_small("/proc/self/status", status, sizeof status);
    const int end = descriptor_end(status);
    unsigned char* const marks =
        static_cast<unsigned char*>(std::calloc(static_cast<std::size_t>(end) + 1, 1));
    if (!marks) std::abort();
    mark_open(marks, end);
    for (int fd = 3; fd < end; ++fd)
        if (marks[fd] && !keep.has(fd)) ::close(fd);
    std::free(marks);
    return *status ? "all but files_preserve, one by one"
                   : "those below min(limit, 65536): this system does not tell which are open";
}

// ---- Signals ----
// Who owns a signal. Below stands what the start sets (`terminate`, or nothing), or signal_map.
// Above it stands at most one SignalHandler, from its start() to its stop(); then what was below
// comes back, unless the program has called sigaction() in between: then the signal is the
// program's. While a SignalHandler has it, `before` is what stands below, and the start changes
// that.
//
// Each signal that was ever captured has one struct, which is never freed: a handler that is still
// running in another thread, or was cancelled in it, can be waited for by nobody. One pipe wakes
// the process, whichever SignalHandler a signal belongs to: who finds it rung looks at its own
// counts, and rings again if another's are left. A handler counts first and writes then, a waiter
// reads first and looks then: no signal falls between the two.

struct CapturedSignal {
    std::atomic<int> count;
    const void* owner;        // the SignalHandler that has it; nullptr: none
    Route route;              // what the disposition does that the owner has set
    struct sigaction before;  // what stood there, or signal_map has put below
};
static std::atomic<CapturedSignal*> captured_signals[signal_end];
static std::atomic<int> wake_readable(0), wake_writable(0);  // descriptor + 1; 0: none yet
static struct stat wake_file;                                // of both
static std::atomic<long> signal_process(0);  // the process that handles signals: a fork is another
static int signal_generation = 0;            // another one after each fork that handles its own
static std::atomic<PidLock*> terminable(nullptr);  // of the daemon, for `terminate`

[[noreturn]] DAEMONIZE_LOCAL void terminate_by(int signum) noexcept {
    PidLock* const lock = terminable.load();
    if (lock) discard_file(*lock, true);
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

extern "C" {
// The asynchronous half: counts, and writes one byte. In a forked child the signal is not the
// parent's business: it is raised again with its default action.
DAEMONIZE_LOCAL void daemonize_count(int signum) {
    const int saved = errno;
    CapturedSignal* const captured = captured_signals[signum].load();
    if (static_cast<long>(::getpid()) != signal_process.load() || !captured) {
        struct sigaction action;
        std::memset(&action, 0, sizeof action);
        action.sa_handler = SIG_DFL;
        ::sigaction(signum, &action, nullptr);
        ::raise(signum);  // delivered when this handler returns
    } else {
        captured->count.fetch_add(1);
        const int wake = wake_writable.load();
        const char byte = 0;
        if (wake > 0 && ::write(wake - 1, &byte, 1) < 0) errno = saved;  // full: it is rung already
    }
    errno = saved;
}
static void daemonize_terminate(int signum) { terminate_by(signum); }
// Unlike an ignored signal this one is not inherited by what the daemon runs.
static void daemonize_nothing(int) {}
}

typedef void (*RawHandler)(int);
DAEMONIZE_LOCAL RawHandler handler_of(Route wanted) noexcept {
    return wanted == Route::count       ? daemonize_count
           : wanted == Route::terminate ? daemonize_terminate
           : wanted == Route::nothing   ? daemonize_nothing
           : wanted == Route::ignore    ? SIG_IGN
                                        : SIG_DFL;
}

// All signals are blocked while one of ours is handled: `terminate` must not be interrupted by a
// second one between its look at the file and its unlink().
DAEMONIZE_LOCAL struct sigaction disposition_of(int signum, Route wanted) noexcept {
    struct sigaction action;
    std::memset(&action, 0, sizeof action);
    sigfillset(&action.sa_mask);
    // Orders to end interrupt a blocking call; others must not make stdio lose data.
    const bool interrupts = signum == SIGINT || signum == SIGTERM || signum == SIGABRT;
    action.sa_flags = interrupts && wanted == Route::count ? 0 : SA_RESTART;
    action.sa_handler = handler_of(wanted);
    return action;
}

DAEMONIZE_LOCAL bool set_disposition(int signum, Route wanted, Fault& fault) noexcept {
    const struct sigaction action = disposition_of(signum, wanted);
    return ::sigaction(signum, &action, nullptr) == 0 || refused(fault, "cannot handle %S", signum);
}

DAEMONIZE_LOCAL bool is_ours(const struct sigaction& action, Route wanted) noexcept {
    return !(action.sa_flags & SA_SIGINFO) && action.sa_handler == handler_of(wanted);
}

// What the program itself has said about a signal stays; what its starter ignored is undone.
DAEMONIZE_LOCAL bool is_programs_own(int signum, const struct sigaction& action) noexcept {
    if (is_ours(action, Route::standard) || is_ours(action, Route::count)) return false;
    return !is_ours(action, Route::ignore) || !has_signal(inheritance.ignored, signum);
}

// The C library keeps some real-time signals to itself; it refuses them, as it does what is no
// number.
DAEMONIZE_LOCAL bool is_sendable(int signum) noexcept {
    struct sigaction action;
    return signum > 0 && signum < signal_end && ::sigaction(signum, nullptr, &action) == 0;
}

DAEMONIZE_LOCAL bool is_catchable(int signum) noexcept {
    for (const int never : {SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS})
        if (signum == never) return false;
    return is_sendable(signum);
}

// Made by the waiting half alone; the asynchronous half sees none, or one that is complete.
DAEMONIZE_LOCAL CapturedSignal& captured_signal(int signum) noexcept {
    CapturedSignal* captured = captured_signals[signum].load();
    if (captured) return *captured;
    captured = static_cast<CapturedSignal*>(std::calloc(1, sizeof *captured));
    if (!captured) std::abort();
    captured_signals[signum].store(captured);
    return *captured;
}

DAEMONIZE_LOCAL int pending_signals(int signum) noexcept {
    const CapturedSignal* const captured = captured_signals[signum].load();
    return captured ? captured->count.load() : 0;
}

DAEMONIZE_LOCAL bool take_signal(int signum) noexcept {
    std::atomic<int>& count = captured_signal(signum).count;
    int seen = count.load();
    while (seen > 0)
        if (count.compare_exchange_weak(seen, seen - 1)) return true;
    return false;
}

DAEMONIZE_LOCAL bool has_captured(int signum, const void* owner) noexcept {
    const CapturedSignal* const captured = captured_signals[signum].load();
    return captured && captured->owner == owner;
}

// Whoever has captured it: one pipe serves all.
DAEMONIZE_LOCAL bool is_any_pending() noexcept {
    for (int signum = 1; signum < signal_end; ++signum) {
        const CapturedSignal* const captured = captured_signals[signum].load();
        if (captured && captured->owner && captured->count.load() > 0) return true;
    }
    return false;
}

DAEMONIZE_LOCAL bool is_routed(int signum, Route wanted) noexcept {
    return captured_signal(signum).route == wanted;
}

DAEMONIZE_LOCAL void ring_wake() noexcept {
    const char byte = 0;
    while (::write(wake_writable.load() - 1, &byte, 1) < 0 && errno == EINTR) {
    }
}

DAEMONIZE_LOCAL void drain_wake() noexcept {
    char bytes[256];
    while (::read(wake_readable.load() - 1, bytes, sizeof bytes) ==
           static_cast<ssize_t>(sizeof bytes)) {
    }
}

// The program's own closefrom() may have closed it, and the number be another file's.
DAEMONIZE_LOCAL bool is_wake_end(int fd) noexcept {
    struct stat st;
    if (::fstat(fd, &st) != 0) return errno != EBADF;  // one failure is not believed
    return S_ISFIFO(st.st_mode) && same_file(st, wake_file);
}

// A new pipe for this process, rung if something was counted already.
#if DAEMONIZE_LINUX
DAEMONIZE_LOCAL bool make_pipe(int* ends) noexcept { return ::pipe2(ends, O_CLOEXEC) == 0; }
#else
DAEMONIZE_LOCAL bool make_pipe(int* ends) noexcept { return ::pipe(ends) == 0; }
#endif

DAEMONIZE_LOCAL bool make_wake(Fault& fault) noexcept {
    int ends[2] = {-1, -1};
    if (!make_pipe(ends)) return refused(fault, "cannot make a pipe for signals");
    Handle readable = lifted(ends[0]), writable = lifted(ends[1]);
    for (const Handle* end : {&readable, &writable})
        if (!*end || ::fcntl(end->fd(), F_SETFD, FD_CLOEXEC) != 0 ||
            ::fcntl(end->fd(), F_SETFL, O_NONBLOCK) != 0)
            return refused(fault, "cannot set up a pipe for signals");
    struct stat made;
    if (::fstat(readable.fd(), &made) != 0)
        return refused(fault, "cannot set up a pipe for signals");
    const int old_ends[] = {wake_readable.exchange(static_cast<int>(readable.release()) + 1) - 1,
                            wake_writable.exchange(static_cast<int>(writable.release()) + 1) - 1};
    for (const int old : old_ends)
        if (is_wake_end(old)) const Handle closes(old);
    wake_file = made;
    for (int signum = 1; signum < signal_end; ++signum) {
        if (pending_signals(signum) == 0) continue;
        ring_wake();
        break;
    }
    return true;
}

// Made at first use. A child of fork() gets one of its own, and what its parent had captured is not
// its own.
DAEMONIZE_LOCAL bool open_wake(Fault& fault) noexcept {
    const long process = self(), before = signal_process.load();
    if (wake_readable.load() > 0 && before == process) return true;
    if (before != 0 && before != process) {
        for (int signum = 1; signum < signal_end; ++signum) {
            CapturedSignal* const captured = captured_signals[signum].load();
            if (!captured) continue;
            struct sigaction now;
            captured->owner = nullptr;
            captured->count.store(0);
            if (::sigaction(signum, nullptr, &now) == 0 &&
                (is_ours(now, Route::count) || is_ours(now, Route::terminate)))
                set_disposition(signum, Route::standard, fault);
        }
        ++signal_generation;
    }
    signal_process.store(process);
    return make_wake(fault);
}

// The daemon is another process than the one that made the pipe: each would read the other's bytes.
DAEMONIZE_LOCAL bool renew_wake(Fault& fault) noexcept {
    if (signal_process.load() == 0) return true;
    signal_process.store(self());
    return wake_readable.load() == 0 || make_wake(fault);
}

DAEMONIZE_LOCAL bool is_wake_process() noexcept { return signal_process.load() == self(); }

// Is the wake this process's, and has nobody closed it (the program's own closefrom())?
DAEMONIZE_LOCAL bool is_wake_open(int generation) noexcept {
    return generation == signal_generation && is_wake_process() &&
           is_wake_end(wake_readable.load() - 1);
}

DAEMONIZE_LOCAL int wake_generation() noexcept { return signal_generation; }
DAEMONIZE_LOCAL std::intptr_t wake_handle() noexcept { return wake_readable.load() - 1; }

// Two SignalHandlers for one signal would each get some of them, and at their ends put back what
// the other has set: the second is refused.
DAEMONIZE_LOCAL bool capture(int signum, const void* owner, Fault& fault) noexcept {
    CapturedSignal& captured = captured_signal(signum);
    if (captured.owner && captured.owner != owner)
        return fail(fault, errc::invalid_option, "cannot handle %S: another SignalHandler has it",
                    signum);
    struct sigaction found;
    if (::sigaction(signum, nullptr, &found) != 0)
        return refused(fault, "cannot handle %S", signum);
    // What was counted for signal_map before is still to be handled; anything else is not.
    if (!is_ours(found, Route::count)) captured.count.store(0);
    captured.before = found;
    captured.owner = owner;
    return true;
}

DAEMONIZE_LOCAL bool route(int signum, Route wanted, Fault& fault) noexcept {
    captured_signal(signum).route = wanted;
    return set_disposition(signum, wanted, fault);
}

// What stood there before comes back, unless somebody else has the signal by now. signal_map's
// count is for the next SignalHandler; what else was not waited for is dropped.
DAEMONIZE_LOCAL void release(int signum, const void* owner) noexcept {
    CapturedSignal& captured = captured_signal(signum);
    struct sigaction now;
    if (captured.owner != owner) return;
    if (::sigaction(signum, nullptr, &now) == 0 && is_ours(now, captured.route))
        ::sigaction(signum, &captured.before, nullptr);
    captured.owner = nullptr;
    if (!is_ours(captured.before, Route::count)) captured.count.store(0);
}

// What the start or signal_map asks for: at once, or once no SignalHandler has the signal.
// `yields`: to what the program itself has set.
DAEMONIZE_LOCAL bool route_below(int signum, Route wanted, Fault& fault,
                                 bool yields = false) noexcept {
    CapturedSignal* const captured = captured_signals[signum].load();
    const struct sigaction ours = disposition_of(signum, wanted);
    struct sigaction found;
    signal_process.store(self());
    if (captured && captured->owner) {
        captured->before = ours;
        return true;
    }
    if (wanted == Route::count) captured_signal(signum);
    if (::sigaction(signum, &ours, &found) != 0) return refused(fault, "cannot handle %S", signum);
    if (yields && is_programs_own(signum, found)) ::sigaction(signum, &found, nullptr);
    return true;
}

// Until the wake is rung or `input` (-1: none) can be read; what is not ready is told apart by
// poll() itself. `only_input`: the wake is rung for another SignalHandler.
enum class Woken { by_signal, by_input, by_time, broken };
DAEMONIZE_LOCAL Woken await_wake(std::intptr_t input, const Deadline& deadline,
                                 bool only_input) noexcept {
    struct pollfd fds[2] = {{static_cast<int>(wake_handle()), POLLIN, 0},
                            {static_cast<int>(input), POLLIN, 0}};
    if (only_input) fds[0].fd = -1;
    ::poll(fds, 2, deadline.left_to_poll(only_input ? 20 : INT_MAX));
    if (fds[0].revents & POLLNVAL) return Woken::broken;
    return fds[0].revents != 0   ? Woken::by_signal
           : fds[1].revents != 0 ? Woken::by_input
                                 : Woken::by_time;
}

DAEMONIZE_LOCAL bool is_terminal(int stream) noexcept { return ::isatty(stream) != 0; }

// A terminal that was closed hangs up; a look at the descriptor tells it from a SIGHUP to reload.
DAEMONIZE_LOCAL bool terminal_is_gone() noexcept {
    struct pollfd fds[3] = {{0, 0, 0}, {1, 0, 0}, {2, 0, 0}};
    if (::poll(fds, 3, 0) <= 0) return false;
    for (const struct pollfd& fd : fds)
        if ((fd.revents & POLLHUP) && ::tcgetpgrp(fd.fd) == -1 && errno == EIO) return true;
    return false;
}

// Step 16, before signal_map. An ignored signal survives exec: what nohup or a shell's background
// job ignored would be ignored by every program that the daemon runs.
DAEMONIZE_LOCAL bool set_built_in_routes(const Session& s, Fault& fault) noexcept {
    terminable.store(s.lock);
    const bool detached = s.decision.detach;
    const bool terminal = !detached && (::isatty(0) || ::isatty(1) || ::isatty(2));
    const struct Row {
        int signum;
        Route route;
    } rows[] = {{SIGTERM, Route::terminate},
                {SIGINT, Route::terminate},
                // In the foreground the terminal keeps its say: closing it ends the program.
                {SIGHUP, terminal ? Route::terminate : Route::nothing},
                {SIGTTIN, Route::nothing},
                {SIGTTOU, Route::nothing},
                {SIGTSTP, Route::nothing}};
    const int count = detached ? 6 : 3;
    for (int signum = 1; detached && inheritance.ignored != 0 && signum <= 64; ++signum) {
        struct sigaction action;
        if (!has_signal(inheritance.ignored, signum) || signum == SIGPIPE || signum >= signal_end)
            continue;
        if (::sigaction(signum, nullptr, &action) == 0 && is_ours(action, Route::ignore))
            set_disposition(signum, Route::standard, fault);
    }
    for (int i = 0; i < count; ++i) {
        struct sigaction found;
        const bool is_meant = !detached && rows[i].signum == SIGHUP &&  // `nohup prog run`
                              ::sigaction(SIGHUP, nullptr, &found) == 0 &&
                              is_ours(found, Route::ignore);
        if (!is_meant && !route_below(rows[i].signum, rows[i].route, fault, true)) return false;
    }
    return true;
}

// What came during the start is delivered now. Of the caller's mask what its starter blocked is let
// in; what the program itself blocked (for a signalfd) stays.
DAEMONIZE_LOCAL void let_signals_in(const Session& s, SignalHold& hold) noexcept {
    for (int signum = 1; s.decision.detach && signum <= 64 && signum < signal_end; ++signum)
        if (has_signal(inheritance.blocked, signum)) sigdelset(&hold.mask(), signum);
    hold.give();
}

// ---- Service manager ----

static struct Manager {
    bool asked;  // the variables have been read, and may be gone
    int socket;  // descriptor + 1; connected once: a jail may hide the address
    int error;   // of the last word that was not delivered; 0: there is no manager
    Duration watchdog;
} manager;

// Abstract ("@...", Linux) and path sockets, as sd_notify(3) has them; of another kind, or too long
// for an address: as if there were no manager.
DAEMONIZE_LOCAL void connect_manager() noexcept {
    struct sockaddr_un name;
    if (manager.asked) return;
    manager.asked = true;
    manager.watchdog = told_watchdog();
    const char* const address = environment("NOTIFY_SOCKET");
    const bool abstract = address[0] == '@';
    const std::size_t length = std::strlen(address) + (abstract ? 0 : 1);
    if ((!abstract && address[0] != '/') || length > sizeof name.sun_path) return;
    std::memset(&name, 0, sizeof name);
    name.sun_family = AF_UNIX;
    std::memcpy(name.sun_path, address, length);
    if (abstract) name.sun_path[0] = '\0';
    Handle socket = lifted(::socket(AF_UNIX, SOCK_DGRAM | socket_flags, 0));
    if (!socket) return;
    prepare_socket(socket.fd());
    const struct timeval limit = {1, 0};  // a manager that hangs does not hang the daemon
    ::setsockopt(socket.fd(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    const socklen_t size = static_cast<socklen_t>(offsetof(struct sockaddr_un, sun_path) + length);
    manager.error = ENOENT;
    if (::connect(socket.fd(), reinterpret_cast<const struct sockaddr*>(&name), size) == 0)
        manager.socket = static_cast<int>(socket.release()) + 1;
    else
        manager.error = errno;
}

DAEMONIZE_LOCAL bool tell_manager(const char* assignments) noexcept {
    connect_manager();
    if (manager.socket == 0) return false;
    const std::size_t size = std::strlen(assignments);
    ssize_t sent;
    do sent = ::send(manager.socket - 1, assignments, size, send_flags);
    while (sent < 0 && errno == EINTR);
    manager.error = sent < 0 ? errno : 0;
    return sent == static_cast<ssize_t>(size);
}

// Why the last word did not get there; 0: it did, or there is nobody to tell.
DAEMONIZE_LOCAL int manager_error() noexcept { return -manager.error; }

enum class Moment { ready, stopping, reloading, reloaded, alive, launched };
// The words of sd_notify(3). RELOADING=1 is open until READY=1 comes again. A launcher names the
// daemon by MAINPID: the manager would take the launcher's end for the service's.
DAEMONIZE_LOCAL bool tell_moment(Moment moment, long daemon = 0) noexcept {
    Text text;
    const bool asked = manager.asked;
    if (moment == Moment::ready || moment == Moment::reloaded) text.put("READY=1");
    if (moment == Moment::stopping) text.put("STOPPING=1");
    if (moment == Moment::alive) text.put("WATCHDOG=1");
    if (moment == Moment::reloading)
        format(text, "RELOADING=1\nMONOTONIC_USEC=%d", Deadline::now());
    if (moment == Moment::launched) format(text, "MAINPID=%d\nREADY=1", daemon);
    const bool told = tell_manager(text.c_str());
    if (moment == Moment::launched && !asked) {
        // A launcher that is kept has no descriptor more than before.
        const Handle closes(manager.socket - 1);
        manager = Manager();
    }
    return told;
}

inline void tell_end(int) noexcept {}  // systemd sees the end and its status by itself

DAEMONIZE_LOCAL Duration manager_watchdog() noexcept {
    return manager.asked ? manager.watchdog : told_watchdog();
}

// Before the jail, from where the address cannot be reached; the variables are gone before a child
// could take them for its own.
DAEMONIZE_LOCAL void adopt_manager(const Session& s) noexcept {
    connect_manager();
    manager.watchdog = s.watchdog;
    for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) ::unsetenv(name);
}

// ---- The daemon's steps ----

// Steps 9, 10, 11.
DAEMONIZE_LOCAL bool move_in(Session& s, Fault& fault) noexcept {
    const DaemonOptions& o = *s.context;
    if (s.decision.detach) {
        if (!set_up_streams(s, fault)) return false;
        KeptDescriptors keep = {nullptr, 0};
        const std::size_t room =
            o.files_preserve.size() + static_cast<std::size_t>(s.inherited_sockets) + 20;
        keep.list = static_cast<int*>(std::malloc(room * sizeof(int)));
        if (!keep.list) std::abort();
        for (const int fd : o.files_preserve) keep.add(fd);
        for (int i = 0; i < s.inherited_sockets; ++i) keep.add(3 + i);
        for (const int fd :
             {lock_file(*s.lock), s.lock->directory.fd(), s.channel.fd(), s.null_device.fd(),
              s.targets[0].file.fd(), s.targets[1].file.fd(), s.targets[2].file.fd(),
              manager.socket - 1, wake_readable.load() - 1, wake_writable.load() - 1})
            keep.add(fd);
        s.closing = o.close_fds == CloseFds::none  ? "none"
                    : o.close_fds == CloseFds::all ? close_all(keep)
                                                   : close_inherited(keep);
        std::free(keep.list);
        // What else this process had locked stays behind: it is the launcher's.
        for (HeldLock& held : held_locks) {
            if (s.lock->slot >= 0 && &held == &held_locks[s.lock->slot]) continue;
            free_slot(held);
        }
        if (!renew_wake(fault)) return false;
    }
    ::umask(static_cast<mode_t>(o.umask == -1 ? 027 : o.umask));
    return !o.prevent_core || limit_core() || refused(fault, "cannot prevent core files");
}

DAEMONIZE_LOCAL bool refused_identity(const Session& s, const char* step, Fault& fault) noexcept {
    const char* const user = s.who.user.c_str();
    if (!s.who.sets_uid) return refused(fault, "cannot %s group %d", step, s.who.gid);
    Text who;
    if (*user)
        format(who, "%q", user);
    else
        format(who, "%d", s.who.uid);
    return refused(fault, "cannot %s user %s", step, who);
}

// No directory that leads out of the jail stays open: FreeBSD would refuse, others would not. The
// PID file is reached by another way from here on, if at all.
DAEMONIZE_LOCAL bool enter_jail(Session& s, Fault& fault) noexcept {
    Way way;
    if (!open_way("cannot change root to", s.root.c_str(), true, way, fault)) return false;
    Handle jail = open_at(way.directory.fd(), way.leaf, directory_flags);
    if (!jail || ::fchdir(jail.fd()) != 0)
        return refused(fault, "cannot change root to %p", s.root.c_str());
    jail.close();
    way.directory.close();
    s.lock->directory.close();
    if (::chroot(".") != 0) return refused(fault, "cannot change root to %p", s.root.c_str());
    const char* const here = inside(s.pidfile.c_str(), s.root.c_str());
    Fault ignored;
    struct stat st;
    if (here && !s.pidfile.is_empty() && open_way("", here, false, way, ignored)) {
        s.lock->directory = std::move(way.directory);
        if (!is_named(*s.lock, lock_file(*s.lock), st)) s.lock->directory.close();
    }
    return true;
}

// The jail first: `working_directory` is a path inside it.
DAEMONIZE_LOCAL bool enter_directories(Session& s, Fault& fault) noexcept {
    if (!s.root.is_empty() && !enter_jail(s, fault)) return false;
    return s.directory.is_empty() || ::chdir(s.directory.c_str()) == 0 ||
           refused(fault, "cannot change directory to %p", s.directory.c_str());
}

// Nothing may lead back: not the saved ids, not a group, not a capability that was kept.
DAEMONIZE_LOCAL bool prove_drop(const Session& s, Fault& fault) noexcept {
    const long long uid = s.who.sets_uid ? s.who.uid : static_cast<long long>(::getuid());
    bool back = !all_ids_are(uid, s.who.gid);
    if (uid != 0 && s.who.sets_uid)
        back = back || ::seteuid(0) == 0 || has_capabilities() ||
               (s.who.gid != 0 && ::setegid(0) == 0);
    return !back ||
           fail(fault, errc::drop_incomplete, "cannot drop privileges: they could be regained");
}

// Groups first, then the gid, and the user last: with another uid neither would be allowed. Logs in
// directories of the user's come in between, while their paths still mean what they meant (before
// the jail) and root can still take his own identity back.
DAEMONIZE_LOCAL bool change_identity(Session& s, Fault& fault) noexcept {
    const Identity& who = s.who;
    if (!who.drops) return enter_directories(s, fault);
    if (features.set_groups && who.group_count >= 0 && !features.set_groups(who))
        return refused_identity(s, "set the groups of", fault);
    if (!set_gids(static_cast<gid_t>(who.gid)))
        return refused(fault, "cannot change to group %d", who.gid);
    if (features.open_late && !features.open_late(s, fault)) return false;
    for (int which = 0; which < 2; ++which)
        if (s.targets[which].late && !put_stream(s.targets[which].file, which, fault)) return false;
    if (!enter_directories(s, fault)) return false;
    if (who.sets_uid) {
        // Root signals through the file of a user only that user's processes.
        const int fd = lock_file(*s.lock);
        if (fd >= 0 && ::geteuid() == 0 && who.uid != 0 &&
            ::fchown(fd, static_cast<uid_t>(who.uid), static_cast<gid_t>(-1)) != 0)
            return refused(fault, "cannot give away %p", s.pidfile.c_str());
        if (!set_uids(static_cast<uid_t>(who.uid)))
            return refused(fault, "cannot change to user %d", who.uid);
    }
    if (!prove_drop(s, fault)) return false;
    if (!s.context->prevent_core) set_dumpable();  // a change of ids takes it away
    return true;
}

// What socket activation has said stays true: the sockets are still there.
DAEMONIZE_LOCAL bool is_kept_variable(const Session& s, const char* entry,
                                      std::size_t size) noexcept {
    if (s.inherited_sockets > 0 && std::strncmp(entry, "LISTEN_", 7) == 0) return true;
    for (const std::string& kept : s.context->environment_keep)
        if (kept.size() == size && std::strncmp(kept.c_str(), entry, size) == 0) return true;
    return false;
}

DAEMONIZE_LOCAL void clear_environment(const Session& s) noexcept {
    Str name;
    for (char** entry = environ; entry && *entry;) {
        const std::size_t size = std::strcspn(*entry, "=");
        char* const at = *entry;
        if (!is_kept_variable(s, at, size)) {
            name.set(at);
            name.edit()[size] = '\0';
            ::unsetenv(name.c_str());
        }
        if (*entry == at) ++entry;  // kept, or a name that unsetenv() does not take
    }
}

// USER, LOGNAME and HOME are those of the user whom the daemon becomes: what it runs writes below
// HOME, and may not write below root's. A set-uid program has its caller's already.
DAEMONIZE_LOCAL void set_environment(const Session& s) noexcept {
    if (s.context->clear_environment) clear_environment(s);
    if (s.who.drops && s.who.sets_uid && s.who.group_count >= 0) {
        for (const char* name : {"USER", "LOGNAME"}) {
            if (s.who.user.is_empty())
                ::unsetenv(name);
            else
                ::setenv(name, s.who.user.c_str(), 1);
        }
        ::setenv("HOME", s.who.home.c_str(), 1);
    }
    Text pid;
    format(pid, "%d", self());
    if (s.inherited_sockets > 0) ::setenv("LISTEN_PID", pid.c_str(), 1);
}

// Steps 14 and 15.
DAEMONIZE_LOCAL bool settle_in(Session& s, Fault& fault) noexcept {
    adopt_manager(s);
    if (!change_identity(s, fault)) {
        if (fault.code == -EPERM && ::geteuid() != 0) fault.text.put(" (needs root)");
        return false;
    }
    if (s.context->no_new_privs && !set_no_new_privs())
        return refused(fault, "cannot set no_new_privs");
    set_environment(s);
    return true;
}

// ---- The start: launcher, leader, daemon ----

// Sends all of it, within `limit`: a peer that is stopped or gone must not hold this process for
// ever.
DAEMONIZE_LOCAL bool send_bytes(int fd, const void* bytes, std::size_t size,
                                Duration limit) noexcept {
    const char* at = static_cast<const char*>(bytes);
    const Deadline deadline(limit);
    while (size > 0) {
        const bool late = deadline.over();
        const ssize_t sent = ::send(fd, at, size, send_flags | MSG_DONTWAIT);
        if (sent > 0) {
            at += sent;
            size -= static_cast<std::size_t>(sent);
            continue;
        }
        if (sent < 0 && errno == EINTR) continue;
        const bool full = errno == EAGAIN || errno == EWOULDBLOCK;
        if (late || sent == 0 || (!full && errno != ENOBUFS && errno != ENOMEM)) return false;
        struct pollfd room = {fd, POLLOUT, 0};
        ::poll(&room, 1, deadline.left_to_poll(1000));
        if (!full) pause_for(1);
    }
    return true;
}

DAEMONIZE_LOCAL bool send_report(int fd, Report report, const char* text,
                                 std::size_t size) noexcept {
    static const char mark[] = "... (cut)";
    const bool cut = size > report_room;
    report.size = static_cast<std::uint32_t>(cut ? report_room : size);
    const std::size_t head = cut ? report_room - (sizeof mark - 1) : size;
    return send_bytes(fd, &report, sizeof report, after_kill) &&
           send_bytes(fd, text, head, after_kill) &&
           (!cut || send_bytes(fd, mark, sizeof mark - 1, after_kill));
}

// What comes in on a channel, in pieces.
struct Incoming {
    enum State { waiting, complete, nonsense, at_end };
    State state;
    std::size_t size;
    Report report;
    char* text;  // made when there is one: a start that succeeds touches no page for it
};
static Incoming incoming;  // of the launcher, or of the leader: each reads one report

// Reads what is there, without waiting.
DAEMONIZE_LOCAL Incoming::State read_report(int fd) noexcept {
    Incoming& in = incoming;
    while (in.state == Incoming::waiting) {
        const std::size_t head = sizeof in.report;
        const bool in_head = in.size < head;
        char* const to =
            in_head ? reinterpret_cast<char*>(&in.report) + in.size : in.text + (in.size - head);
        const std::size_t wanted = (in_head ? head : head + in.report.size) - in.size;
        const ssize_t got = ::recv(fd, to, wanted, MSG_DONTWAIT);
        if (got < 0 && errno == EINTR) continue;
        if (got == 0) in.state = Incoming::at_end;
        if (got <= 0) break;  // what failed is asked again: a report may be there all the same
        in.size += static_cast<std::size_t>(got);
        if (in.size == head && in.report.size != 0 && is_plausible(in.report))
            in.text = static_cast<char*>(std::calloc(in.report.size + 1, 1));
        if (in.size == head && (!is_plausible(in.report) || (in.report.size != 0 && !in.text)))
            in.state = Incoming::nonsense;
        else if (in.size == head + in.report.size && in.size >= head)
            in.state = Incoming::complete;
    }
    return in.state;
}

DAEMONIZE_LOCAL void put_end(Text& out, int status) noexcept {
    if (WIFSIGNALED(status))
        format(out, "it was ended by %S before it was ready", WTERMSIG(status));
    else if (WEXITSTATUS(status) == 0)
        out.put("it ended with status 0 before it was ready");
    else
        format(out, "it ended with status %d before it was ready", WEXITSTATUS(status));
}

// A child of the leader; waited for until the deadline. -1: still there.
DAEMONIZE_LOCAL int reap_until(pid_t child, const Deadline& deadline) noexcept {
    for (int status = 0;;) {
        const bool late = deadline.over();
        const pid_t reaped = ::waitpid(child, &status, WNOHANG);
        if (reaped == child) return status;
        if (reaped < 0 && errno != EINTR) return 0;
        if (late) return -1;
        pause_for(1);
    }
}

// The leader is the judge of a start. It is the launcher's child and the daemon's parent, has the
// caller's identity and stands outside the jail; it alone waits for, signals and reaps the daemon,
// and only by the number that its own fork() returned. So nothing that is signalled here can be
// another process that got the number since: a child that was not reaped keeps it. The launcher
// knows the leader in the same way. The leader ends after its one report; then the daemon is an
// orphan, and no leader of its session, so that no terminal that it opens becomes its own.
struct Leader {
    explicit Leader(Session& s) noexcept : session(s) {
        report.word = Report::failed;
        report.exit_code = 1;
    }
    Session& session;
    pid_t daemon = -1;
    int launcher = -1;           // its end of the channel to the launcher
    pid_t parent = ::getppid();  // the launcher
    bool leads = false;          // a session and a group of its own
    bool launcher_gone = false;
    Fault fault;
    Report report;
};

// Descriptor 0 is the daemon's end of the channel, 1 the launcher's: pselect() can watch them
// whatever the limit. SIGCHLD is blocked but within pselect(), so that no end is missed.
DAEMONIZE_LOCAL void await_daemon(Leader& l, const Deadline& deadline, int& status) noexcept {
    sigset_t mask;
    sigfillset(&mask);
    sigdelset(&mask, SIGCHLD);
    for (;;) {
        const bool late = deadline.over();  // asked first: what came in time is still looked at
        Incoming::State state = read_report(0);
        const bool ended = ::waitpid(l.daemon, &status, WNOHANG) == l.daemon;
        if (!ended) status = -1;
        if (ended && state == Incoming::waiting) state = read_report(0);  // its last word
        char byte;
        l.launcher_gone = ::recv(1, &byte, 1, MSG_DONTWAIT) == 0;
        if (state == Incoming::complete || state == Incoming::nonsense || ended ||
            l.launcher_gone || late)
            return;
        fd_set readable;
        FD_ZERO(&readable);
        if (state == Incoming::waiting) FD_SET(0, &readable);
        FD_SET(1, &readable);
        const long long left = deadline.never() ? 1000000 : deadline.left();
        const struct timespec limit = {static_cast<time_t>(left / 1000),
                                       static_cast<long>(left % 1000) * 1000000L};
        ::pselect(2, &readable, nullptr, nullptr, &limit, &mask);
    }
}

// Nothing of a failed start is left. A daemon that may not be killed (a leader without CAP_KILL,
// and another user's daemon) finds the channel broken at its ready(), and keeps its file until
// then.
DAEMONIZE_LOCAL void clean_up(Leader& l, bool ended) noexcept {
    if (!ended && l.daemon > 0) {
        const bool spared = ::kill(l.daemon, SIGKILL) != 0 && errno == EPERM;
        if (reap_until(l.daemon, Deadline(spared ? patience : after_kill)) == -1) {
            l.fault.text.put(", and could not be killed");
            l.report.lives = 1;
            return;
        }
    }
    discard_file(*l.session.lock, false);
}

// The report, and the end of the leader. A launcher that is gone is told nothing; the terminal is,
// if the start failed and nobody else would say so.
[[noreturn]] DAEMONIZE_LOCAL void tell_launcher(Leader& l) noexcept {
    const bool failed = l.report.word == Report::failed;
    const bool relays = failed && incoming.state == Incoming::complete && l.fault.code == 0;
    if (l.fault.code != 0) l.report.code = l.fault.code;
    l.report.pid = static_cast<std::int32_t>(l.daemon);
    const char* const text = relays ? incoming.text : failed ? l.fault.text.c_str() : "";
    const std::size_t size = relays ? incoming.report.size : std::strlen(text);
    for (int tries = 0; tries < 2 && !l.launcher_gone; ++tries) {
        if (send_report(l.launcher, l.report, text, size)) break;
        // It lives: one failure is not believed.
        l.launcher_gone = ::getppid() != l.parent || tries == 1;
    }
    if (l.launcher_gone && failed && !l.session.kept)
        print(2, l.session.program.c_str(), "the start was ended, because its launcher is gone");
    if (failed && l.leads) ::kill(-::getpid(), SIGKILL);  // what the failed daemon has started
    leave(failed ? 1 : 0);
}

// The verdict, in this order: a launcher that has gone asks for nothing; a report goes before the
// end of the process that sent it; an end goes before the time limit.
DAEMONIZE_LOCAL void judge_start(Leader& l, const Deadline& deadline) noexcept {
    int status = -1;
    await_daemon(l, deadline, status);
    const Incoming& in = incoming;
    Fault& fault = l.fault;
    Report& report = l.report;
    const char* const log = l.session.targets[2].path.c_str();
    const long pid = static_cast<long>(l.daemon);
    if (l.launcher_gone) {
        fail(fault, errc::start_failed, "cannot start: the launcher is gone");
    } else if (in.state == Incoming::complete) {
        const bool ready = in.report.word == Report::ready;
        report.word = in.report.word;
        // A code of 0 would be no error to who asks the Error.
        report.code = ready            ? 0
                      : in.report.code ? in.report.code
                                       : static_cast<int>(errc::start_failed);
        report.exit_code = ready ? 0 : failure_code(in.report.exit_code);
    } else if (in.state == Incoming::nonsense) {
        fail(fault, errc::start_failed, "cannot start %P: its report is not valid", pid);
    } else if (status != -1) {
        fail(fault, errc::start_failed, "cannot start %P: ", pid);
        put_end(fault.text, status);
        report.exit_code =
            WIFSIGNALED(status) ? 128 + WTERMSIG(status) : failure_code(WEXITSTATUS(status));
    } else {
        fail(fault, errc::timed_out, "cannot start %P: it has not called ready() within %t", pid,
             static_cast<long long>(l.session.context->ready_timeout.count()));
        report.exit_code = 124;
    }
    if (fault.code != 0 && *log) format(fault.text, "; its log is %p", log);
    if (report.word != Report::ready) clean_up(l, status != -1);
}

// The first child. Returns in the daemon only, with `tells` its end of the readiness channel.
DAEMONIZE_LOCAL void lead(Session& s, Handle& launcher, Handle& tells) noexcept {
    Leader leader(s);
    const Duration limit = s.context->ready_timeout;
    const Deadline deadline(limit <= Duration(0) ? no_limit : limit);
    Handle hears;
    struct sigaction before;
    const struct sigaction woken = disposition_of(SIGCHLD, Route::nothing);
    const char* step = nullptr;
    leader.launcher = launcher.fd();
    errno = EINVAL;
    if (::getppid() == 0) {
        // Its number here is not the one that the launcher was told: who would be signalled?
        step = "start in another PID namespace than that of the caller (unshare, setns)";
    } else if (::setsid() == -1) {
        step = "setsid";
    } else if (!make_socket_pair(hears, tells)) {
        step = "make the readiness channel";
    } else {
        leader.leads = true;
        ::sigaction(SIGCHLD, &woken, &before);
        leader.daemon = ::fork();
        if (leader.daemon < 0) step = "fork";
    }
    if (leader.daemon == 0) {
        ::sigaction(SIGCHLD, &before, nullptr);
        launcher.close();
        return;  // `hears` closes, too: neither end would ever show that the other is gone
    }
    if (!step && !(put_onto(hears, 0) && put_onto(launcher, 1)))
        step = "set up the readiness channel";
    if (step) refused(leader.fault, "cannot %s", step);
    hears.close();
    tells.close();
    if (step) {
        clean_up(leader, false);
    } else {
        leader.launcher = 1;
        launcher.close();
        judge_start(leader, deadline);
    }
    tell_launcher(leader);
}

// Reads the leader's one report to the end of file. The deadline stands behind the leader's own: it
// is for a leader that was stopped or killed. False: no end came.
DAEMONIZE_LOCAL bool hear_leader(const Session& s, int channel) noexcept {
    const Duration limit = s.context->ready_timeout;
    const bool endless = limit <= Duration(0) || Deadline(limit).never();
    Deadline end(endless ? no_limit : limit + after_kill + after_kill), wait_line(Duration(1000));
    for (bool told_wait = !s.tells_wait;;) {
        const bool late = end.over();
        const Incoming::State state = read_report(channel);
        if (state != Incoming::waiting) {
            char byte;
            const ssize_t rest = ::recv(channel, &byte, 1, MSG_DONTWAIT);
            if (state == Incoming::at_end || rest == 0 ||
                (rest < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
                return true;
            if (end.never() || end.left() > 1000) end = Deadline(Duration(1000));
        } else if (!told_wait && wait_line.over()) {
            told_wait = true;
            print(1, s.program.c_str(), "waits until the daemon is ready");
        }
        if (late) return false;
        struct pollfd watch = {channel, POLLIN, 0};
        ::poll(&watch, 1, end.left_to_poll(told_wait ? INT_MAX : 1000));
    }
}

// The launcher's half. True: ready.
DAEMONIZE_LOCAL bool await_report(Session& s, const Handle& channel, pid_t leader, Fault& fault,
                                  const char*& text, std::size_t& size) noexcept {
    const bool ended = hear_leader(s, channel.fd());
    const Report& report = incoming.report;
    const bool told = incoming.state == Incoming::complete;
    int status = 0;
    // A leader whose end of the channel is closed has ended. It is not signalled: a caller who
    // ignores SIGCHLD has it collected at once, and its number may be a stranger's by now.
    if (!ended) ::kill(leader, SIGKILL);
    while (::waitpid(leader, &status, 0) == -1 && errno == EINTR) {
    }
    // As long as its group has a member nobody gets the number: if a process has it, the group is
    // gone. A leader that never had a group has no daemon either.
    if (!told && ::kill(leader, 0) != 0 && errno == ESRCH) ::kill(-leader, SIGKILL);
    s.daemon = told ? static_cast<long>(report.pid) : 0;
    s.exit_code = told ? report.exit_code : WIFSIGNALED(status) ? 128 + WTERMSIG(status) : 1;
    if (told && report.word == Report::ready) return true;
    // The leader has removed what the start had made; where it could not, or was killed, this
    // process does, which has the lock still. A daemon that lives on keeps its file.
    if (!told || !report.lives) discard_file(*s.lock, false);
    if (!told)
        return fail(fault, errc::start_failed,
                    "cannot start: its leader, %P, ended without a report",
                    static_cast<long>(leader));
    fault.code = report.code;
    text = incoming.text;
    size = report.size;
    return false;
}

// Steps 5 to 8. Returns twice: in the launcher with the verdict (`started`; else fault, or text and
// size of a longer one), in the daemon with its end of the channel.
DAEMONIZE_LOCAL Role detach(Session& s, SignalHold& hold, bool& started, Fault& fault,
                            const char*& text, std::size_t& size) noexcept {
    Handle ours, leaders;
    started = false;
    std::free(incoming.text);  // of a start before
    incoming = Incoming();
    flush_streams(s.context->allow_threads);
    std::fflush(stdout);  // also with threads: else the launcher's print() and the daemon both do
    const bool paired = make_socket_pair(ours, leaders);
    const long caller = self();
    own_fork = true;
    const pid_t leader = paired ? ::fork() : -1;
    if (leader == 0) {
        ours.close();
        lead(s, leaders, s.channel);
        own_fork = false;
        if (signal_process.load() == caller) signal_process.store(self());
        open_channel.store(s.channel.fd() + 1);
        return Role::daemon;
    }
    own_fork = false;
    if (leader < 0) {
        refused(fault, paired ? "cannot fork" : "cannot make the readiness channel");
        discard_file(*s.lock, false);
        return Role::launcher;
    }
    leaders.close();
    hold.give();  // while it waits the launcher has its caller's mask: Ctrl-C ends it
    started = await_report(s, ours, leader, fault, text, size);
    return Role::launcher;
}

// The daemon's one word to the leader. False: the leader is gone, or has given up.
DAEMONIZE_LOCAL bool tell_leader(Session& s, const Report& report, const char* text,
                                 std::size_t size) noexcept {
    if (!s.channel) return false;
    open_channel.store(0);
    const bool told = send_report(s.channel.fd(), report, text, size);
    s.channel.close();
    return told;
}

// The words of main() are as they are; the program is called as its caller did.
DAEMONIZE_LOCAL const char* word_at(const char* const* argv, int index, Str&) noexcept {
    return argv[index];
}
DAEMONIZE_LOCAL const char* called_name(const char* word) noexcept {
    return word ? base_name(word) : own_name();
}

// Windows starts the program again; Unix never does.
DAEMONIZE_LOCAL bool was_relaunched() noexcept { return false; }
DAEMONIZE_LOCAL bool adopt_birth(Session&) noexcept { return false; }
static const char* root_directory() noexcept { return "/"; }

// For explain(): what was not to be had.
DAEMONIZE_LOCAL void explain_system(const Session& s, std::string& out) {
    if (count_threads() == 0) out += "other threads: this system does not tell\n";
    if (s.lock && s.lock->is_weak)
        out += "record lock: refused by this file system; the proof is the lock and the number\n";
    if (s.process == self() && s.role == Role::daemon) out += "leader: stayed until ready\n";
}

#endif  // !DAEMONIZE_WINDOWS

// >>windows ---------------------------------------------------------------------------------------
// Windows. >>unix has functions of the same names, for the core.
//
// A start makes another run of this program, born suspended and windowless; one page of shared
// memory tells it what its launcher knows, and the launcher what became of it. The open handle to
// the PID file is the lock. The file names the daughter, a process of the daemon's that never runs:
// whoever ends her with code N has sent signal N.
//
// In this room: the edge to the system; the look before main(); how children are born; the listener
// and its daughters; the PID file; processes; signals; the service manager; the start, first in the
// launcher, then in the daemon; the words of the command line.
#if DAEMONIZE_WINDOWS

// SIGHUP is no signal of this C runtime's, and its number 1 is what Task Manager ends a process
// with.
static const int reload_signal = 12, termination_signal = SIGTERM;
static const int signal_end = 32, kill_signal = 9;

// ---- The edge: HANDLE, UTF-16, GetLastError ----

// nullptr where there is none: the value -1 of a Handle without one means "this process" to half
// of the functions that take a HANDLE.
DAEMONIZE_LOCAL HANDLE raw(const Handle& handle) noexcept {
    return handle ? reinterpret_cast<HANDLE>(handle.get()) : nullptr;
}

// nullptr and INVALID_HANDLE_VALUE are both none: it depends on the function which it returns.
DAEMONIZE_LOCAL Handle owned(HANDLE handle) noexcept {
    return Handle(handle ? reinterpret_cast<std::intptr_t>(handle) : -1);
}

// Of a handle of one process, for another (or the same); nullptr: that process is gone. With an
// `access` of 0 the new one may what the old one may.
DAEMONIZE_LOCAL HANDLE duplicate(HANDLE from, HANDLE handle, HANDLE to, DWORD access = 0,
                                 bool inherits = false) noexcept {
    HANDLE made = nullptr;
    const DWORD options = access == 0 ? DUPLICATE_SAME_ACCESS : 0;
    if (handle) ::DuplicateHandle(from, handle, to, &made, access, inherits, options);
    return made;
}

// Rung until it is reset: more than one may wait for it.
DAEMONIZE_LOCAL Handle make_event() noexcept {
    return owned(::CreateEventW(nullptr, TRUE, FALSE, nullptr));
}

// The cause of a failure outlives the handles that are closed on the way out of it.
void Handle::close() noexcept {
    if (value_ == -1) return;
    const int saved_errno = errno;
    const DWORD saved = ::GetLastError();
    ::CloseHandle(reinterpret_cast<HANDLE>(value_));
    ::SetLastError(saved);
    errno = saved_errno;
    value_ = -1;
}

// std::mutex is missing in one of the two thread models of mingw.
struct Locked {
    explicit Locked(SRWLOCK& lock) noexcept : lock_(lock) { ::AcquireSRWLockExclusive(&lock_); }
    ~Locked() { ::ReleaseSRWLockExclusive(&lock_); }

private:
    SRWLOCK& lock_;
};

// UTF-16, always ended by a zero. (std::wstring would bring 39 KB into a static program.)
class Wide {
public:
    Wide() noexcept {}
    Wide(Wide&& other) noexcept { *this = std::move(other); }
    Wide& operator=(Wide&& other) noexcept {
        std::swap(text_, other.text_);
        std::swap(size_, other.size_);
        return *this;
    }
    ~Wide() { std::free(text_); }
    // Room for `size` more units, zeros; they count as text until cut() says otherwise.
    DAEMONIZE_SMALL wchar_t* more(std::size_t size) noexcept {
        const std::size_t units = size_ + size + 1;
        text_ = static_cast<wchar_t*>(std::realloc(text_, units * sizeof(wchar_t)));
        if (!text_) std::abort();  // memory that runs out ends the program
        std::memset(text_ + size_, 0, (size + 1) * sizeof(wchar_t));
        size_ += size;
        return text_ + size_ - size;
    }
    DAEMONIZE_SMALL void cut(std::size_t size) noexcept {
        size_ = size;
        if (text_) text_[size] = L'\0';
    }
    DAEMONIZE_SMALL Wide& add(const wchar_t* text, std::size_t size) noexcept {
        std::memcpy(more(size), text, size * sizeof(wchar_t));
        return *this;
    }
    Wide& add(const wchar_t* text) noexcept { return add(text, std::wcslen(text)); }
    const wchar_t* get() const noexcept { return text_ ? text_ : L""; }
    wchar_t* data() noexcept { return text_; }
    std::size_t size() const noexcept { return size_; }

private:
    wchar_t* text_ = nullptr;
    std::size_t size_ = 0;
};

// False: not of that code page; a '?' in its place would name another file. With flags 0 what is
// not UTF-8 shows as such: for people, so that it does not take the rest of the line along.
DAEMONIZE_LOCAL bool widen(const char* text, Wide& out, DWORD flags = MB_ERR_INVALID_CHARS,
                           UINT page = CP_UTF8) noexcept {
    const int units = ::MultiByteToWideChar(page, flags, text, -1, nullptr, 0);  // with the zero
    out.cut(0);
    if (units <= 0) return false;
    const std::size_t size = static_cast<std::size_t>(units) - 1;
    ::MultiByteToWideChar(page, flags, text, -1, out.more(size), units);
    return true;
}

// Of what is known to be UTF-8: anything else would be an empty text.
DAEMONIZE_LOCAL Wide wide(const char* text) noexcept {
    Wide out;
    widen(text, out);
    return out;
}

// Half a character, which a file's name may hold, becomes U+FFFD: such a file is shown, and cannot
// be named. In the code page of the system a '?' stands for each character that it cannot spell.
DAEMONIZE_LOCAL void narrow(const wchar_t* text, Str& out, UINT page = CP_UTF8) noexcept {
    const int size = ::WideCharToMultiByte(page, 0, text, -1, nullptr, 0, nullptr, nullptr);
    char* const bytes = static_cast<char*>(std::calloc(static_cast<std::size_t>(size) + 1, 1));
    if (!bytes) std::abort();
    ::WideCharToMultiByte(page, 0, text, -1, bytes, size, nullptr, nullptr);
    out.set(bytes);
    std::free(bytes);
}

// An absolute path beyond MAX_PATH (248 for a directory) is understood in this form only.
DAEMONIZE_LOCAL Wide wide_path(const char* path) noexcept {
    Wide name = wide(path), out;
    const bool plain =
        std::strncmp(path, "\\\\?\\", 4) != 0 && std::strncmp(path, "\\\\.\\", 4) != 0;
    if (name.size() < 248 || !plain) return name;
    const bool share = std::strncmp(path, "\\\\", 2) == 0;
    out.add(share ? L"\\\\?\\UNC" : L"\\\\?\\").add(name.get() + (share ? 1 : 0));
    return out;
}

// What a function gives that fills a buffer and returns the length, or what it would need. No path
// and no variable of the system's is longer than this buffer: nothing has to be tried twice.
template <class F>
Wide filled(F call) noexcept {
    Wide out;
    const DWORD room = 32768, size = call(out.more(room), room);
    out.cut(size < room ? size : 0);
    return out;
}

// Not argv[0], which is what the caller made of it.
DAEMONIZE_LOCAL Wide own_path() noexcept {
    return filled([](wchar_t* to, DWORD size) { return ::GetModuleFileNameW(nullptr, to, size); });
}

// As the system compares: upper and lower case alike, by no language's rules (a Turkish i).
DAEMONIZE_LOCAL bool same_name(const wchar_t* name, std::size_t size,
                               const wchar_t* other) noexcept {
    return ::CompareStringOrdinal(name, static_cast<int>(size), other, -1, TRUE) == CSTR_EQUAL;
}

// Calls visit(entry, size of the name) for each variable; "=C:=..." is one, too. The block is a
// copy: the visitor may remove what it sees.
template <class F>
void each_variable(F visit) noexcept {
    wchar_t* const block = ::GetEnvironmentStringsW();
    for (const wchar_t* entry = block; entry && *entry; entry += std::wcslen(entry) + 1)
        visit(entry, std::wcscspn(entry + 1, L"=") + 1);
    if (block) ::FreeEnvironmentStringsW(block);
}

// The system ends its messages with a full stop and a line end; here they end a line of ours.
DAEMONIZE_LOCAL void put_message(Text& out, DWORD code) noexcept {
    wchar_t text[512];
    const DWORD flags = FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS;
    DWORD size = ::FormatMessageW(flags, nullptr, code, 0, text, 511, nullptr);
    while (size > 0 && (text[size - 1] <= L' ' || text[size - 1] == L'.')) --size;
    text[size] = L'\0';
    Str shown;
    narrow(text, shown);
    out.put(shown.c_str());
    if (size == 0) format(out, "Windows error %d", static_cast<long long>(code));
}

// The values of GetLastError, their texts in UTF-8, and what they are among std::errc. Not
// std::system_category(): some libraries take the number for an errno.
class SystemCategory : public std::error_category {
public:
    const char* name() const noexcept override { return "windows"; }
    std::string message(int value) const override {
        Text text;
        put_message(text, static_cast<DWORD>(value));
        return text.c_str();
    }
    // Several causes mean one thing. Each row ends with a 0, which is no cause.
    std::error_condition default_error_condition(int value) const noexcept override {
        static const struct {
            std::errc condition;
            int causes[5];
        } table[] = {
            {std::errc::no_such_file_or_directory,
             {ERROR_FILE_NOT_FOUND, ERROR_PATH_NOT_FOUND, ERROR_INVALID_DRIVE, ERROR_BAD_NETPATH}},
            {std::errc::permission_denied, {ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION}},
            {std::errc::bad_file_descriptor, {ERROR_INVALID_HANDLE}},
            {std::errc::not_enough_memory, {ERROR_NOT_ENOUGH_MEMORY, ERROR_OUTOFMEMORY}},
            {std::errc::no_space_on_device, {ERROR_DISK_FULL, ERROR_HANDLE_DISK_FULL}},
            {std::errc::file_exists, {ERROR_FILE_EXISTS, ERROR_ALREADY_EXISTS}},
            {std::errc::invalid_argument, {ERROR_INVALID_PARAMETER, ERROR_INVALID_NAME}},
            {std::errc::illegal_byte_sequence, {ERROR_NO_UNICODE_TRANSLATION}},
            {std::errc::filename_too_long, {ERROR_FILENAME_EXCED_RANGE}},
            {std::errc::too_many_files_open, {ERROR_TOO_MANY_OPEN_FILES}},
            {std::errc::not_a_directory, {ERROR_DIRECTORY}},
            {std::errc::read_only_file_system, {ERROR_WRITE_PROTECT}},
            {std::errc::not_supported, {ERROR_NOT_SUPPORTED}},
        };
        for (const auto& row : table)
            for (const int* cause = row.causes; *cause != 0; ++cause)
                if (*cause == value) return std::make_error_condition(row.condition);
        return std::error_condition(value, *this);
    }
};

DAEMONIZE_LOCAL const std::error_category& native_category() noexcept {
    static const SystemCategory* const category = new SystemCategory;  // outlives every static
    return *category;
}

// Never success: a function that failed without a cause has failed all the same.
DAEMONIZE_LOCAL int last_error() noexcept {
    const DWORD cause = ::GetLastError();
    return -static_cast<int>(cause != ERROR_SUCCESS ? cause : ERROR_GEN_FAILURE);
}

// What was tried, and the cause that the last failed call has left.
DAEMONIZE_LOCAL bool refused(Fault& fault, const char* form, Arg a = Arg(),
                             Arg b = Arg()) noexcept {
    const int cause = last_error();
    fail(fault, cause, form, a, b);
    fault.text.put(": ");
    put_message(fault.text, static_cast<DWORD>(-cause));
    return false;
}

// ---- Small tools ----

// GetTickCount64() moves in steps of 16 ms: a wait of 5 would be none, or three.
long long Deadline::now() noexcept {
    LARGE_INTEGER count, second;
    ::QueryPerformanceCounter(&count);
    ::QueryPerformanceFrequency(&second);
    return count.QuadPart / second.QuadPart * 1000000 +
           count.QuadPart % second.QuadPart * 1000000 / second.QuadPart;
}

// -1, "for ever", is INFINITE; a longer wait than INT_MAX is looked at again by its caller.
DAEMONIZE_LOCAL DWORD limit_of(const Deadline& deadline, int most = INT_MAX) noexcept {
    return static_cast<DWORD>(deadline.left_to_poll(most));
}

DAEMONIZE_LOCAL void pause_for(long long ms) noexcept { ::Sleep(static_cast<DWORD>(ms)); }
DAEMONIZE_LOCAL long self() noexcept { return static_cast<long>(::GetCurrentProcessId()); }

// By the handle: a wait for nothing asks, and no exit code (259 is a code, too) has to tell.
DAEMONIZE_LOCAL bool has_ended(HANDLE process) noexcept {
    return process && ::WaitForSingleObject(process, 0) == WAIT_OBJECT_0;
}

// Nothing interrupts a thread here.
struct SignalHold {
    void take() noexcept {}
    void give() noexcept {}
    void forget() noexcept {}
};

// The program's name in messages: as the system knows it, without ".exe".
DAEMONIZE_LOCAL const char* own_name() noexcept {
    static Str name;
    if (name.is_empty()) {
        Wide path = own_path();
        const std::size_t size = path.size();
        if (size > 4 && same_name(path.get() + size - 4, 4, L".exe")) path.cut(size - 4);
        Str whole;
        narrow(path.get(), whole);
        name.set(base_name(whole.c_str()));
    }
    return name.c_str();
}
DAEMONIZE_LOCAL const char* called_name(const char*) noexcept { return own_name(); }

// The three count downwards: input, output, error.
DAEMONIZE_LOCAL DWORD standard_number(int which) noexcept {
    return STD_INPUT_HANDLE - static_cast<DWORD>(which);
}
DAEMONIZE_LOCAL HANDLE standard(int which) noexcept {
    return ::GetStdHandle(standard_number(which));
}

// NUL is a character device as well; only a console has a mode.
DAEMONIZE_LOCAL bool is_console(HANDLE file) noexcept {
    DWORD mode = 0;
    return ::GetConsoleMode(file, &mode) != 0;
}
DAEMONIZE_LOCAL bool is_terminal(int stream) noexcept { return is_console(standard(stream)); }

// By one write: lines of several processes do not mix. A console is written to in UTF-16: in its
// own code page UTF-8 would be garbled.
DAEMONIZE_LOCAL void write_text(HANDLE file, const char* text) noexcept {
    Wide shown;
    DWORD written = 0;
    if (!is_console(file))
        ::WriteFile(file, text, static_cast<DWORD>(std::strlen(text)), &written, nullptr);
    else if (widen(text, shown, 0))
        ::WriteConsoleW(file, shown.get(), static_cast<DWORD>(shown.size()), &written, nullptr);
}

// One line, whatever the program is called.
DAEMONIZE_LOCAL void write_line(HANDLE file, const char* program, const char* text) noexcept {
    Text shown;
    Str begin, line;
    for (; *program; ++program) put_shown(shown, *program);
    begin.set(shown.c_str(), shown.is_empty() ? "" : ": ");
    line.set(begin.c_str(), text, is_console(file) ? "\r\n" : "\n");
    write_text(file, line.c_str());
}

// Only the two that people read: a thread that sits in getchar() holds standard input for ever.
DAEMONIZE_LOCAL void flush_streams(bool) noexcept {
    std::fflush(stdout);
    std::fflush(stderr);
}

DAEMONIZE_LOCAL void print(int stream, const char* program, const char* text) noexcept {
    std::fflush(stdout);  // after what stdio holds
    write_line(standard(stream), program, text);
}
DAEMONIZE_LOCAL void append_line(const Handle& log, const char* program,
                                 const char* text) noexcept {
    if (log) write_line(raw(log), program, text);
}

// ---- Who this process was born as: a look before main() ----

// The verdict is awaited until the daemon swaps in one of its two words, or its launcher gives up.
static const LONG awaited = 0, said_ready = 1, said_failed = 2, given_up = 3;
static const char page_magic[16] = "daemonize page3";
static const wchar_t switch_name[] = L"DAEMONIZE_RELAUNCH";

// What launcher and daemon have in common until the verdict. The daemon inherits a handle that can
// only read it: a foreign child of another thread inherits that, too, and learns numbers that are
// of no use to it. Everything else, and the right to write, is fetched out of the launcher, so that
// a suspended or orphaned daemon holds no lock. The payload may be a password: a section of its
// own. Launcher and daemon are one program, so a HANDLE is as wide in both.
struct Page {
    char magic[16];
    std::uint64_t nonce;
    DWORD daemon, launcher;                        // process numbers
    HANDLE launcher_process;                       // a handle in the daemon; the others are handles
    HANDLE page, payload, told, lock, streams[3];  // in the launcher
    std::uint64_t payload_size;
    bool in_job;
    volatile LONG verdict;  // changed by compare-and-swap alone: both sides cannot win
    Report report;          // the daemon's; its text is below
    char why[128];          // detached for this reason
    char path[98304];       // of the PID file: 32,768 units, of three bytes at most
    char text[report_room];
};

// Raw memory: what is put this early into an object of a class, its own constructor would undo.
static struct Birth {
    bool asked, is_daemon, lost, taken;
    volatile bool answered;  // the launcher has been told
    Page* page;
    HANDLE launcher, told, lock;
    const wchar_t* directory;  // on the heap: zeros would stand in the program's file
} birth;

// A handle of the launcher's, for this process alone; nullptr: the launcher is gone.
DAEMONIZE_LOCAL HANDLE fetch(HANDLE launchers) noexcept {
    return duplicate(birth.launcher, launchers, ::GetCurrentProcess());
}

// nullptr also where a handle is no section at all, or a smaller one: a spoofed switch fails here.
DAEMONIZE_LOCAL void* map_section(HANDLE section, DWORD access, std::uint64_t size) noexcept {
    const SIZE_T bytes = static_cast<SIZE_T>(size);
    return section ? ::MapViewOfFile(section, access, 0, 0, bytes) : nullptr;
}

// Gone from getenv(), from the Win32 environment and so from every child: the C runtime has a copy
// of its own, which SetEnvironmentVariable does not reach.
DAEMONIZE_LOCAL void remove_variable(const wchar_t* name, std::size_t size) noexcept {
    Wide assignment;
    assignment.add(name, size).add(L"=");
    ::_wputenv(assignment.get());
    assignment.cut(size);
    ::SetEnvironmentVariableW(assignment.get(), nullptr);
}

// The switch is "HANDLE:NONCE", both in hex. Anything may stand there instead: a handle that is no
// section, one of another program, one of another start. Then nothing is ours, and no handle is
// closed. The launcher is known by the handle that it has given, not by its number: it may be gone.
DAEMONIZE_LOCAL bool find_launcher(const wchar_t* text) noexcept {
    wchar_t* end = nullptr;
    const std::uint64_t number = std::wcstoull(text, &end, 16);
    const std::uint64_t nonce = *end == L':' ? std::wcstoull(end + 1, &end, 16) : 0;
    if (number == 0 || nonce == 0 || *end != L'\0') return false;
    const HANDLE section = reinterpret_cast<HANDLE>(static_cast<std::uintptr_t>(number));
    void* const view = map_section(section, FILE_MAP_READ, sizeof(Page));
    const Page* const page = static_cast<Page*>(view);
    const bool ours = page && std::memcmp(page->magic, page_magic, sizeof page_magic) == 0 &&
                      page->nonce == nonce && page->daemon == ::GetCurrentProcessId();
    if (ours) {
        ::CloseHandle(section);
        if (::GetProcessId(page->launcher_process) == page->launcher)
            birth.launcher = page->launcher_process;
        const Handle whole = owned(fetch(page->page));
        const DWORD access = FILE_MAP_READ | FILE_MAP_WRITE;
        birth.page = static_cast<Page*>(map_section(raw(whole), access, sizeof(Page)));
    }
    ::UnmapViewOfFile(view);
    return ours;
}

// A start without a PID file has no lock.
DAEMONIZE_LOCAL bool fetch_all() noexcept {
    if (!birth.page) return false;
    birth.told = fetch(birth.page->told);
    birth.lock = fetch(birth.page->lock);
    return birth.told && (birth.lock || !birth.page->lock);
}

// The look. A daemon whose launcher is gone has nothing to fetch from: it ends without a word. One
// that does not know its switch any more (a constructor that ran before spoiled the environment)
// must not start once more, or each generation would start the next: that it was started as a
// daemon stands in its title, too, which no child inherits.
DAEMONIZE_LOCAL void look_at_birth() noexcept {
    if (birth.asked) return;
    birth.asked = true;
    birth.directory = ::_wgetcwd(nullptr, 0);  // the C runtime makes room; nullptr: it is gone
    STARTUPINFOW info;
    ::GetStartupInfoW(&info);
    birth.lost = info.lpTitle && std::wcscmp(info.lpTitle, switch_name) == 0;
    wchar_t text[64];
    ::SetLastError(ERROR_SUCCESS);  // a variable that is empty is there, and sets no error
    const DWORD size = ::GetEnvironmentVariableW(switch_name, text, 64);
    if (size == 0 && ::GetLastError() == ERROR_ENVVAR_NOT_FOUND) return;
    remove_variable(switch_name, std::wcslen(switch_name));
    birth.is_daemon = size > 0 && size < 64 && find_launcher(text);
    birth.lost = birth.lost && !birth.is_daemon;
    if (birth.is_daemon && !fetch_all()) ::TerminateProcess(::GetCurrentProcess(), 1);
}

// Before the constructors of the program's globals: they may look at the environment, or start
// children, too. A compiler that knows neither way is served by the first call of the header.
// (__cdecl: with /Gz another convention is the default, and the C runtime calls this.)
#if defined(__GNUC__)
__attribute__((constructor(101), used)) static void look_before_main() { look_at_birth(); }
#elif defined(_MSC_VER)
static void __cdecl look_before_main() { look_at_birth(); }
#pragma section(".CRT$XCB", long, read)
extern "C" __declspec(allocate(".CRT$XCB")) void(__cdecl* const daemonize_before_main)() =
    look_before_main;
#if defined(_M_IX86)
#pragma comment(linker, "/include:_daemonize_before_main")
#else
#pragma comment(linker, "/include:daemonize_before_main")
#endif
#endif

DAEMONIZE_LOCAL bool was_relaunched() noexcept {
    look_at_birth();
    return birth.is_daemon || birth.lost;
}

// ---- Threads, and processes that are born suspended ----

// A library that holds this header stays from here on: threads and handlers of ours run in it.
DAEMONIZE_LOCAL void pin_module() noexcept {
    HMODULE ignored = nullptr;
    const void* const inside = &birth;
    ::GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN,
                         static_cast<const wchar_t*>(inside), &ignored);
}

// By the C runtime: its functions are called in there. A small stack, for a program of 32 bits:
// none of our threads runs code of the user's but handlers of std::signal().
DAEMONIZE_LOCAL Handle start_thread(unsigned(__stdcall* body)(void*), void* argument) noexcept {
    pin_module();
    const std::uintptr_t thread = ::_beginthreadex(nullptr, 256 * 1024, body, argument,
                                                   STACK_SIZE_PARAM_IS_A_RESERVATION, nullptr);
    return Handle(thread == 0 ? -1 : static_cast<std::intptr_t>(thread));
}

// Both kinds of children, the daemon and its daughters, are made by one function. Suspended, a
// child runs no code: not the program's, and not that of a library that it loads. The daemon is
// resumed when it has all that it needs; a daughter never is.
struct Child {
    Handle process, thread;
    DWORD pid = 0;
    bool in_job = false;  // in the one that it was to be born in
};

// How a child is to be born. Three standard streams are always named: unnamed ones leak into it,
// list or not. What is listed is inherited, and nothing that another thread makes inheritable
// meanwhile.
struct Birthplace {
    Wide program, command;  // the command is written to by CreateProcess
    wchar_t* environment = nullptr;
    const wchar_t* directory = nullptr;
    DWORD flags = 0;
    HANDLE job = nullptr;
    HANDLE inherited[4] = {nullptr, nullptr, nullptr, nullptr};  // three streams, the page
    DWORD inherits = 0;
};

// A job is the child's from the first moment: assigned later, a child would outlive a creator that
// is killed in between. (Windows 7 knows no such thing, and there a process has one job at most.)
// The numbers of the attributes (a list of handles, a list of jobs) are named by the SDK from
// Windows 10 on. A process group of its own: Ctrl-C in the launcher's console is not for the child.
DAEMONIZE_LOCAL bool create_suspended(Birthplace& place, Child& child) noexcept {
    const DWORD_PTR handle_list = 0x00020002, job_list = 0x0002000D;
    alignas(std::uint64_t) char room[512];
    const auto attributes = reinterpret_cast<LPPROC_THREAD_ATTRIBUTE_LIST>(room);
    SIZE_T size = sizeof room;
    if (!::InitializeProcThreadAttributeList(attributes, 2, 0, &size)) return false;
    const auto attribute = [attributes](DWORD_PTR which, HANDLE* list, DWORD count) {
        return ::UpdateProcThreadAttribute(attributes, 0, which, list, count * sizeof(HANDLE),
                                           nullptr, nullptr) != 0;
    };
    STARTUPINFOEXW info = {};
    PROCESS_INFORMATION made;
    info.StartupInfo.cb = sizeof info;
    info.StartupInfo.dwFlags = STARTF_USESTDHANDLES;
    info.StartupInfo.hStdInput = place.inherited[0];
    info.StartupInfo.hStdOutput = place.inherited[1];
    info.StartupInfo.hStdError = place.inherited[2];
    info.lpAttributeList = attributes;
    if (place.inherits) info.StartupInfo.lpTitle = const_cast<wchar_t*>(switch_name);  // is read
    const DWORD flags = place.flags | CREATE_SUSPENDED | EXTENDED_STARTUPINFO_PRESENT |
                        CREATE_UNICODE_ENVIRONMENT | CREATE_NEW_PROCESS_GROUP;
    const bool listed = !place.inherits || attribute(handle_list, place.inherited, place.inherits);
    child.in_job = place.job && attribute(job_list, &place.job, 1);
    const bool done =
        listed && ::CreateProcessW(place.program.get(), place.command.data(), nullptr, nullptr,
                                   place.inherits ? TRUE : FALSE, flags, place.environment,
                                   place.directory, &info.StartupInfo, &made);
    const DWORD cause = ::GetLastError();
    ::DeleteProcThreadAttributeList(attributes);
    ::SetLastError(cause);
    if (!done) return false;
    child.process = owned(made.hProcess);
    child.thread = owned(made.hThread);
    child.pid = made.dwProcessId;
    if (place.job && !child.in_job)
        child.in_job = ::AssignProcessToJobObject(place.job, made.hProcess) != 0;
    return true;
}

// The new limits take the place of all that were there.
DAEMONIZE_LOCAL bool limit_job(HANDLE job, DWORD flags) noexcept {
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits = {};
    limits.BasicLimitInformation.LimitFlags = flags;
    return ::SetInformationJobObject(job, JobObjectExtendedLimitInformation, &limits,
                                     sizeof limits);
}

// Its members end with the last handle to it: with this process, however that ends.
DAEMONIZE_LOCAL Handle make_deadly_job() noexcept {
    Handle job = owned(::CreateJobObjectW(nullptr, nullptr));
    if (job && !limit_job(raw(job), JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE)) job.close();
    return job;
}

// ---- The PID file: the listener ----
// Windows has no signals between processes. What every tool there can do to a process is to end it,
// with a code of its choice: `taskkill`, Task Manager, PowerShell, Python's os.kill(). So the PID
// file names a process that is there to be ended, the daughter; her exit code is the signal.
//
// The listener is a thread of the daemon's. It waits for the daughter's end, puts the next one into
// the file, and only then tells: between two signals no sender finds nobody, and none is lost. It
// has the handle of each daughter until the file names the next: as long as a number stands in the
// file it cannot be another process's. A job ends the daughter with the daemon, however that ends.

// Once it runs only the listener's thread changes daughter and spare. Another thread may give up
// the file while a number is being written: both take the lock `writing`.
struct Listener {
    HANDLE file = nullptr;  // of the lock
    Handle job, stop, thread;
    Child daughter, spare;  // the spare is made when there is nothing else to do
    std::atomic<DWORD> thread_id{0};
    SRWLOCK writing = SRWLOCK_INIT;
    bool closed = false;  // the file has been given up: no number is written any more
};

// Mode and directory are of Unix: the core sets the one and closes the other.
struct PidLock {
    Str path;  // absolute
    int mode = 0644;
    Handle directory;
    Handle file;                 // open: that is the lock
    std::atomic<long> owner{0};  // the process that has entered itself; 0: none yet
    Listener* listener = nullptr;
};
static std::atomic<PidLock*> terminable(nullptr);  // of the daemon, for `terminate`

// The launcher has the file open, too, but has not entered itself: it removes nothing as its own.
DAEMONIZE_LOCAL bool is_entered(const PidLock& lock) noexcept {
    return lock.file && lock.owner.load() == self();
}
DAEMONIZE_LOCAL std::intptr_t lock_handle(const PidLock& lock) noexcept { return lock.file.get(); }

// What it means that the daughter ended with `code`. 0, 1 and -1 are what Task Manager, taskkill
// and PowerShell give: an order to end. Cygwin's kill gives n << 8, that of Git for Windows 128 +
// n; of these 1 is SIGHUP, a reload. 6 is SIGABRT elsewhere. no_signal: nobody is meant.
DAEMONIZE_LOCAL int signal_of_exit_code(unsigned long code) noexcept {
    const unsigned long control_c_exit = 0xC000013AUL, minus_one = 0xFFFFFFFFUL;
    if (code <= 1 || code == control_c_exit || code == minus_one) return SIGINT;
    const unsigned long number = code > 128 && code < 160 ? code - 128
                                 : (code & 0xff) == 0     ? code >> 8
                                                          : code;
    if (number == 1) return reload_signal;
    if (number == 6) return SIGABRT;
    return number < static_cast<unsigned long>(signal_end) ? static_cast<int>(number) : no_signal;
}

// 11 bytes by one write at one place: no reader ever sees the file empty, short or torn. int() in
// Python, strtoul() and `set /p` tolerate the blanks.
DAEMONIZE_LOCAL bool write_number(HANDLE file, DWORD pid) noexcept {
    char text[16];
    const int size = std::snprintf(text, sizeof text, "%-10lu\n", static_cast<unsigned long>(pid));
    OVERLAPPED start = {};
    DWORD written = 0;
    if (!::WriteFile(file, text, static_cast<DWORD>(size), &written, &start)) return false;
    ::SetLastError(ERROR_DISK_FULL);
    return written == static_cast<DWORD>(size);
}

// The program itself, which runs no code; where it cannot be started (it was renamed) a program of
// the system's. Without a console: Ctrl-C of a foreground program is not for it. One that is not in
// the job is none: it would outlive the daemon.
DAEMONIZE_LOCAL bool make_daughter(const Listener& listener, Child& child) noexcept {
    Birthplace place;
    place.job = raw(listener.job);
    place.flags = DETACHED_PROCESS;
    const auto system = [](wchar_t* to, DWORD size) { return ::GetSystemDirectoryW(to, size); };
    for (const bool itself : {true, false}) {
        place.program = itself ? own_path() : std::move(filled(system).add(L"\\cmd.exe"));
        if (create_suspended(place, child) && child.in_job) return true;
        if (child.process) ::TerminateProcess(raw(child.process), 1);
    }
    return false;
}

// The old daughter's handles go to the caller, who closes them when the signal has been told. While
// the file cannot be written (its share is gone, a reader has locked its bytes) no process is made
// for it again and again: the next one is kept.
DAEMONIZE_LOCAL bool replace_daughter(Listener& listener, Child& old) noexcept {
    Child next = std::move(listener.spare);
    if ((!next.process || has_ended(raw(next.process))) && !make_daughter(listener, next))
        return false;
    const Locked guard(listener.writing);
    const bool written = listener.closed || write_number(listener.file, next.pid);
    if (written) old = std::move(listener.daughter);
    (written ? listener.daughter : listener.spare) = std::move(next);
    return written;
}

// The next end of a daughter; false: this process's own. A spare stands in the file within a
// millisecond; the making of a process, which takes ten or more, is so nobody's wait.
DAEMONIZE_LOCAL bool await_signal(Listener& listener, DWORD& code) noexcept {
    const HANDLE both[2] = {raw(listener.stop), raw(listener.daughter.process)};
    for (DWORD idle = 50;; idle = 1000) {
        const DWORD limit = listener.spare.process ? INFINITE : idle;
        const DWORD ready = ::WaitForMultipleObjects(2, both, FALSE, limit);
        if (ready == WAIT_OBJECT_0 + 1) return ::GetExitCodeProcess(both[1], &code) != 0;
        if (ready != WAIT_TIMEOUT) return false;
        make_daughter(listener, listener.spare);
    }
}

// Codes of the system's are known by their hex form.
DAEMONIZE_LOCAL void put_status(Text& out, DWORD code) noexcept {
    char text[16];
    std::snprintf(text, sizeof text, code > 0xffff ? "0x%lx" : "%lu",
                  static_cast<unsigned long>(code));
    out.put(text);
}

// By the handle alone: another thread may have stdio's stream for ever.
DAEMONIZE_LOCAL void tell_replaced(const Listener& listener, DWORD code) noexcept {
    Text text;
    text.put("the process that takes this daemon's signals was ended with code ");
    put_status(text, code);
    format(text, ", which is none; %P takes them now",
           static_cast<long long>(listener.daughter.pid));
    write_line(standard(2), own_name(), text.c_str());
}

DAEMONIZE_LOCAL void receive(int signum) noexcept;

// The thread. A signal that has come is told even if no next daughter can be named yet. Somebody
// who ends daughters again and again (a virus scanner?) and means none meets a pause that doubles,
// up to a second, and is told of while it grows. The thread itself enters its number: whoever is
// not it finds another one there, or none yet.
static unsigned __stdcall listen(void* argument) {
    Listener& listener = *static_cast<Listener*>(argument);
    listener.thread_id.store(::GetCurrentThreadId());
    DWORD code = 0, pause = 0;
    const auto longer = [](DWORD ms) -> DWORD { return ms < 10 ? 10 : ms < 500 ? ms * 2 : 1000; };
    while (await_signal(listener, code)) {
        const int signum = signal_of_exit_code(code);
        bool told = signum == no_signal;
        pause = told ? longer(pause) : 0;
        Child old;
        for (DWORD wait = pause;; wait = longer(wait)) {
            if (wait > 0 && ::WaitForSingleObject(raw(listener.stop), wait) == WAIT_OBJECT_0)
                return 0;
            if (replace_daughter(listener, old)) break;
            if (!told) receive(signum);
            told = true;
        }
        if (!told) receive(signum);
        if (signum == no_signal && pause < 1000) tell_replaced(listener, code);
    }
    return 0;
}

// After this no number is written any more, whatever the listener is doing.
DAEMONIZE_LOCAL void close_to_listener(PidLock& lock) noexcept {
    if (!lock.listener) return;
    const Locked guard(lock.listener->writing);
    lock.listener->closed = true;
}

// ---- The PID file ----
// The lock is the open handle: read and write access, shared for reading alone. With the right to
// delete, or deletion at its end, every reader of the C runtime's would be refused; with deletion
// shared anybody could delete the file of a living daemon. A lock on a range of bytes would belong
// to one process, and could not be handed over without a gap.

// A query shares everything: it is in nobody's way, be it only for a moment.
static const DWORD share_all = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;

// The one way to open a file. What must exist opens without following a link, and a directory like
// a file, so that it can be told what it is.
DAEMONIZE_LOCAL Handle open_file(const wchar_t* name, DWORD access, DWORD share,
                                 DWORD how = OPEN_EXISTING,
                                 DWORD flags = FILE_FLAG_OPEN_REPARSE_POINT |
                                               FILE_FLAG_BACKUP_SEMANTICS) noexcept {
    return owned(::CreateFileW(name, access, share, nullptr, how, flags, nullptr));
}

// Why it is no PID file of ours; nullptr: nothing speaks against it.
DAEMONIZE_LOCAL const char* distrust(const Handle& file,
                                     BY_HANDLE_FILE_INFORMATION& info) noexcept {
    if (::GetFileType(raw(file)) != FILE_TYPE_DISK ||
        !::GetFileInformationByHandle(raw(file), &info))
        return "it is no regular file";
    if (info.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) return "it is a directory";
    if (info.dwFileAttributes & FILE_ATTRIBUTE_REPARSE_POINT) return "it is a symbolic link";
    return info.nNumberOfLinks > 1 ? "it has a hard link" : nullptr;
}

// What an open file shows, into `view`. False: it is none of ours, for the reason `why`, or
// (nullptr) it cannot be read.
DAEMONIZE_LOCAL bool read_view(const Handle& file, PidFileView& view, const char*& why) noexcept {
    BY_HANDLE_FILE_INFORMATION info;
    char text[4096];
    DWORD size = 0;
    why = distrust(file, info);
    if (why || !::ReadFile(raw(file), text, sizeof text, &size, nullptr)) return false;
    read_content(view, text, size);
    view.exists = true;
    view.device = info.dwVolumeSerialNumber;
    view.inode = static_cast<unsigned long long>(info.nFileIndexHigh) << 32 | info.nFileIndexLow;
    return true;
}

// On another machine's disk the number may be that machine's. A local file has no such information;
// its structure has grown with Windows, and its size is checked from below only.
DAEMONIZE_LOCAL bool is_remote(const Handle& file) noexcept {
    const FILE_INFO_BY_HANDLE_CLASS remote_protocol = static_cast<FILE_INFO_BY_HANDLE_CLASS>(13);
    std::uint64_t room[64];
    return ::GetFileInformationByHandleEx(raw(file), remote_protocol, room, sizeof room) != 0;
}

// The name of a deleted file lives on for as long as a reader has it open. Access is denied to it
// then; but so it is to a file of another user's, which its directory does not even list.
DAEMONIZE_LOCAL bool is_being_deleted(const wchar_t* name) noexcept {
    if (::GetFileAttributesW(name) != INVALID_FILE_ATTRIBUTES ||
        ::GetLastError() != ERROR_ACCESS_DENIED)
        return false;
    WIN32_FIND_DATAW entry;
    const HANDLE search = ::FindFirstFileW(name, &entry);
    if (search != INVALID_HANDLE_VALUE) ::FindClose(search);
    return search != INVALID_HANDLE_VALUE;
}

// The handle lets nobody else write, rename or delete the file, lets everybody read it, and
// whatever ends this process closes it. CREATE_ALWAYS empties the file in the same call: locked
// with a number is a daemon, locked and empty a start; a number from before under a fresh lock let
// a signal end a stranger. A hidden file is refused by that call unless it is told that it is one.
DAEMONIZE_LOCAL Attempt take_lock(PidLock& lock, Fault& fault) noexcept {
    const char* const path = lock.path.c_str();
    const Wide name = wide_path(path);
    const Deadline deadline(patience);
    BY_HANDLE_FILE_INFORMATION info = {};
    const Handle there = open_file(name.get(), FILE_READ_ATTRIBUTES, share_all);
    const char* const why = there ? distrust(there, info) : nullptr;
    if (why) {
        fail(fault, errc::untrusted_pid_file, "cannot lock %p: %s", path, why);
        return Attempt::failed;
    }
    const DWORD hidden = info.dwFileAttributes & (FILE_ATTRIBUTE_HIDDEN | FILE_ATTRIBUTE_SYSTEM);
    for (;; ::Sleep(5)) {
        const bool late = deadline.over();
        lock.file = open_file(name.get(), GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ,
                              CREATE_ALWAYS, hidden ? hidden : FILE_ATTRIBUTE_NORMAL);
        if (lock.file) return Attempt::got;
        const DWORD cause = ::GetLastError();
        if (cause == ERROR_SHARING_VIOLATION) return Attempt::held;
        if (cause == ERROR_ACCESS_DENIED && !late && is_being_deleted(name.get())) continue;
        ::SetLastError(cause);
        refused(fault, there ? "cannot open %p" : "cannot create %p", path);
        return Attempt::failed;
    }
}

// The first daughter stands in the file before anybody is told of the daemon: a number of its own
// there, even for an instant, would be ended by the first signal.
DAEMONIZE_LOCAL Attempt enter_lock(PidLock& lock, Fault& fault) noexcept {
    Listener* const listener = lock.listener = new Listener;
    listener->file = raw(lock.file);
    listener->job = make_deadly_job();
    listener->stop = make_event();
    if (!listener->job || !listener->stop || !make_daughter(*listener, listener->daughter)) {
        refused(fault, "cannot receive signals");
        fault.code = static_cast<int>(errc::unsupported);
    } else if (!write_number(listener->file, listener->daughter.pid)) {
        refused(fault, "cannot write %p", lock.path.c_str());
    } else {
        lock.owner.store(self());  // before the thread: the first signal may already be here
        listener->thread = start_thread(listen, listener);
        if (listener->thread) return Attempt::got;
        refused(fault, "cannot start a thread for signals");
        lock.owner.store(0);
    }
    return Attempt::failed;  // who gives up the lock ends the listener, too
}

DAEMONIZE_LOCAL void renew_lock(PidLock&, bool) noexcept {}

// Emptied first: where it cannot be deleted (a reader has it open) a file stays that says "not
// running". A successor that locks it in between is safe: its own handle forbids the deletion. Most
// readers are gone in a moment, so it is tried for a tenth of a second.
DAEMONIZE_LOCAL void empty_and_remove(Handle& file, const wchar_t* name) noexcept {
    const LARGE_INTEGER start = {};
    if (::SetFilePointerEx(raw(file), start, nullptr, FILE_BEGIN)) ::SetEndOfFile(raw(file));
    file.close();
    for (int round = 0; round < 10 && !::DeleteFileW(name); ++round) {
        const DWORD cause = ::GetLastError();
        if (cause != ERROR_SHARING_VIOLATION && cause != ERROR_ACCESS_DENIED) return;
        ::Sleep(10);
    }
}

// The listener goes first: it would write a number into the emptied file. The daughter ends last,
// with her job: a number that nobody has any more stands in no file. A handler that closes the
// context runs in the listener itself, which cannot wait for its own end, nor free what it uses.
DAEMONIZE_LOCAL void end_lock(PidLock& lock, bool removes) noexcept {
    Listener* const listener = lock.listener;
    const bool waits = listener && listener->thread_id.load() != ::GetCurrentThreadId();
    close_to_listener(lock);
    if (listener) ::SetEvent(raw(listener->stop));
    if (waits) ::WaitForSingleObject(raw(listener->thread), INFINITE);
    if (removes) empty_and_remove(lock.file, wide_path(lock.path.c_str()).get());
    lock.file.close();
    lock.listener = nullptr;
    lock.owner.store(0);
    if (waits) delete listener;
}

// `own`: only if this process has entered itself; else it is the launcher's to remove.
DAEMONIZE_LOCAL void discard_file(PidLock& lock, bool own) noexcept {
    if (lock.file && (!own || is_entered(lock))) end_lock(lock, true);
}

// In the launcher of a daemon that is ready: the daemon has a handle of its own by then.
DAEMONIZE_LOCAL void drop_lock(PidLock& lock) noexcept { end_lock(lock, false); }

// A program that is the daemon to be may ask its own PID file before its start: the lock on it is
// its launcher's, and waiting for that would be waiting for itself.
DAEMONIZE_LOCAL bool is_own_start(const char* path) noexcept {
    return birth.is_daemon && !birth.answered && std::strcmp(path, birth.page->path) == 0;
}

// Opened as if nobody could write: that fails exactly where somebody has it open for writing, and
// two queries do not take each other for a daemon. What else has it open to write (an editor, a
// copier) lets others write, too; a lock of ours does not.
DAEMONIZE_LOCAL bool view_file(const char* path, PidFileView& view, Fault& fault) noexcept {
    view = PidFileView();
    if (is_own_start(path)) return true;
    const Wide name = wide_path(path);
    Handle file = open_file(name.get(), GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_DELETE);
    if (!file && ::GetLastError() == ERROR_SHARING_VIOLATION) {
        view.locked = !open_file(name.get(), FILE_WRITE_DATA, share_all);
        file = open_file(name.get(), GENERIC_READ, share_all);
    }
    if (!file) {
        const DWORD cause = ::GetLastError();
        view.locked = false;
        if (cause == ERROR_FILE_NOT_FOUND || cause == ERROR_PATH_NOT_FOUND ||
            is_being_deleted(name.get()))
            return true;
        ::SetLastError(cause);
        return refused(fault, "cannot read %p", path);
    }
    const char* why = nullptr;
    if (!read_view(file, view, why))
        return why ? fail(fault, errc::untrusted_pid_file, "cannot read %p: %s", path, why)
                   : refused(fault, "cannot read %p", path);
    view.is_remote = view.proves = is_remote(file);  // it proves a stranger, who has no number here
    view.owner = view.is_remote ? -1 : 0;
    return true;
}

// What a killed daemon could not do: under a lock of our own, and only if nobody else came. An
// empty file that a reader keeps says "not running", too: there is no failure.
DAEMONIZE_LOCAL bool remove_leftover(const char* path, const PidFileView& seen, long pid,
                                     Fault&) noexcept {
    const Wide name = wide_path(path);
    Handle file = open_file(name.get(), GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ);
    PidFileView now;
    const char* why = nullptr;
    if (file && read_view(file, now, why) && now.device == seen.device && now.inode == seen.inode &&
        is_left_by(now, pid))
        empty_and_remove(file, name.get());
    return true;
}

// ---- Processes ----
// A number means a process only as long as somebody has a handle to it: so each is opened first,
// and then asked about by its handle.

// In units of 100 ns.
DAEMONIZE_LOCAL unsigned long long as_number(const FILETIME& time) noexcept {
    return static_cast<unsigned long long>(time.dwHighDateTime) << 32 | time.dwLowDateTime;
}

// In the system's list, which alone tells of parents; false: not there.
DAEMONIZE_LOCAL bool find_entry(DWORD pid, PROCESSENTRY32W& entry) noexcept {
    const Handle snapshot = owned(::CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0));
    entry.dwSize = sizeof entry;
    BOOL more = snapshot && ::Process32FirstW(raw(snapshot), &entry);
    while (more && entry.th32ProcessID != pid) more = ::Process32NextW(raw(snapshot), &entry);
    return more != FALSE;
}

// A process that has ended but is still named by a PID file is not gone: its daemon has its handle,
// and is about to name the next one. Without the right to end it the handle can still wait; without
// any right the process is another user's, and alive.
DAEMONIZE_LOCAL bool open_process(long pid, Process& process) noexcept {
    const DWORD access = PROCESS_QUERY_LIMITED_INFORMATION | SYNCHRONIZE;
    const DWORD id = static_cast<DWORD>(pid);
    process = Process();
    process.pid = pid;
    process.handle = owned(::OpenProcess(access | PROCESS_TERMINATE, FALSE, id));
    if (!process.handle && ::GetLastError() == ERROR_ACCESS_DENIED)
        process.handle = owned(::OpenProcess(access, FALSE, id));
    if (!process.handle) return ::GetLastError() == ERROR_ACCESS_DENIED;
    FILETIME born, ignored[3];
    if (::GetProcessTimes(raw(process.handle), &born, ignored, ignored + 1, ignored + 2))
        process.born = as_number(born);
    return true;
}

// The system never updates the number of a parent: that may be gone, and its number somebody
// else's, who is younger than the child then.
DAEMONIZE_LOCAL bool open_parent(const Process& child, Process& parent) noexcept {
    PROCESSENTRY32W entry;
    return find_entry(static_cast<DWORD>(child.pid), entry) && entry.th32ParentProcessID != 0 &&
           open_process(static_cast<long>(entry.th32ParentProcessID), parent) &&
           (parent.born == 0 || child.born == 0 || parent.born <= child.born);
}

// The daughter's parent, while that lives: her number in the file proves that she is meant, her
// handle that she is still the same.
DAEMONIZE_LOCAL bool find_daemon(const Process& named, Process& daemon) noexcept {
    return open_parent(named, daemon) && !has_ended(raw(daemon.handle));
}

// Of this process: a stop of such a daemon may end whoever asked for it. The depth is limited, for
// processes come and go while the chain is walked.
DAEMONIZE_LOCAL bool is_ancestor(long pid) noexcept {
    Process child, parent;
    if (!open_process(self(), child)) return false;
    for (int depth = 0; depth < 100 && open_parent(child, parent); ++depth) {
        if (parent.pid == pid) return true;
        child = std::move(parent);
    }
    return false;
}

// The system itself asks for the right to end the process.
DAEMONIZE_LOCAL bool may_signal(const Process&, const PidFileView&, Fault&) noexcept {
    return true;
}

// The exit code tells whose signal it was: of two that end the same daughter one is lost, and is
// sent again to the next. (Of two equal ones each takes it for its own, as on Unix.) An end is
// refused also while another's signal is ending her: then her end comes a moment later. And an end
// that was granted comes later, too: her code is read when she is gone.
DAEMONIZE_LOCAL Sent send_signal(const Process& named, int signum) noexcept {
    const HANDLE process = raw(named.handle);
    if (has_ended(process)) return Sent::lost;
    if (!process || !::TerminateProcess(process, static_cast<UINT>(signum))) {
        const DWORD cause = process ? ::GetLastError() : ERROR_ACCESS_DENIED;
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

// The daughter takes it for her daemon, as any signal.
DAEMONIZE_LOCAL Sent ask_to_end(const Process& named, int signum) noexcept {
    return send_signal(named, signum);
}

// The daemon itself, not its daughter: no handler hears of it. Its job ends the daughter.
DAEMONIZE_LOCAL bool end_process(const Process& process) noexcept {
    return process.handle && ::TerminateProcess(raw(process.handle), 9) != 0;
}

// Another user's process can only be asked for, again and again.
DAEMONIZE_LOCAL bool await_end(const Process& process, const Deadline& deadline) noexcept {
    for (;; ::Sleep(process.handle ? 0 : 20)) {
        const bool late = deadline.over();
        Process now;
        if (process.handle
                ? ::WaitForSingleObject(raw(process.handle), limit_of(deadline)) == WAIT_OBJECT_0
                : !open_process(process.pid, now))
            return true;
        if (late) return false;
    }
}

// At least 1 ms: 0 says that the age is not known.
DAEMONIZE_LOCAL Duration age(const Process& process) noexcept {
    FILETIME time;
    ::GetSystemTimeAsFileTime(&time);
    const long long ms = static_cast<long long>(as_number(time) - process.born) / 10000;
    return Duration(process.born == 0 ? 0 : ms > 0 ? ms : 1);
}

// ---- Signals ----
// One event wakes the process, whichever SignalHandler a signal belongs to. A signal is counted in
// the listener's thread, or in one that Windows makes for a console event: the lock is for those.

static struct CapturedSignal {
    int count = 0;
    const void* owner = nullptr;    // the SignalHandler that has it; nullptr: none
    Route route = Route::standard;  // what the owner wishes
    Route below = Route::standard;  // what the start or signal_map has asked for
    Route now() const noexcept { return owner ? route : below; }
} signals[signal_end];

// Held in a start: whatever comes is counted, until it is said what each signal does.
static SRWLOCK signals_guard = SRWLOCK_INIT;
static std::atomic<bool> signals_held(false);
static Handle wake;

// 0 and 1 are what a process ends with by itself: they cannot be told from an order to end.
DAEMONIZE_LOCAL bool is_sendable(int signum) noexcept { return signum >= 2 && signum < signal_end; }

// 6 arrives as SIGABRT.
DAEMONIZE_LOCAL bool is_catchable(int signum) noexcept {
    for (const int never : {SIGILL, 6, SIGFPE, kill_signal, SIGSEGV})
        if (signum == never) return false;
    return is_sendable(signum);
}

// The others mean nothing to Windows, and what nobody has asked for is ignored.
DAEMONIZE_LOCAL bool ends_by_default(int signum) noexcept {
    for (const int fatal : {SIGINT, SIGTERM, SIGABRT, SIGBREAK, kill_signal})
        if (signum == fatal) return true;
    return false;
}

DAEMONIZE_LOCAL void tell_end(int status) noexcept;

// As the system ends a program at Ctrl-C, so that a batch file sees what happened. No exit handler
// runs: this may be any thread, in the middle of anything.
[[noreturn]] DAEMONIZE_LOCAL void end_by(int signum) noexcept {
    const UINT control_c_exit = 0xC000013AU;
    tell_end(128 + signum);
    ::TerminateProcess(::GetCurrentProcess(),
                       signum == SIGINT ? control_c_exit : static_cast<UINT>(signum));
    for (;;) ::Sleep(INFINITE);
}

// The listener is not waited for: it may be the thread that runs this, or in the middle of a
// handler.
[[noreturn]] DAEMONIZE_LOCAL void terminate_by(int signum) noexcept {
    PidLock* const lock = terminable.load();
    if (lock && is_entered(*lock)) {
        close_to_listener(*lock);
        empty_and_remove(lock->file, wide_path(lock->path.c_str()).get());
    }
    end_by(signum);
}

// A handler that the program gave to std::signal() goes before what the daemon does by itself. It
// is asked for by setting another, for not every C runtime tells; and as C has it the default is
// back before it runs.
DAEMONIZE_LOCAL bool run_c_handler(int signum) noexcept {
    if (!ends_by_default(signum) || signum == kill_signal) return false;
    const auto handler = std::signal(signum, SIG_IGN);
    if (handler == SIG_IGN) return true;
    if (handler == SIG_ERR) return false;
    std::signal(signum, SIG_DFL);
    if (handler == SIG_DFL) return false;
    handler(signum);
    return true;
}

// False: nobody wants it. kill_signal is never counted nor held: nobody can handle it.
DAEMONIZE_LOCAL bool deliver(int signum) noexcept {
    Route wanted = Route::standard;
    if (signum != kill_signal) {
        const Locked guard(signals_guard);
        wanted = signals_held.load() ? Route::count : signals[signum].now();
        if (wanted == Route::count) {
            ++signals[signum].count;
            if (wake) ::SetEvent(raw(wake));
        }
    }
    if (wanted == Route::count || wanted == Route::ignore || wanted == Route::nothing) return true;
    if (run_c_handler(signum)) return true;
    if (wanted == Route::terminate) terminate_by(signum);
    return false;
}

// A signal that was sent, not typed: nobody else ends the program then.
DAEMONIZE_LOCAL void receive(int signum) noexcept {
    if (!deliver(signum) && ends_by_default(signum)) end_by(signum);
}

// Closing the window, logging off and shutting down end the process when this returns: the time
// that Windows grants is the program's. Services, in session 0, are told of anybody's log-off: no
// reason to end.
static BOOL WINAPI on_console_event(DWORD event) {
    const bool interrupts = event == CTRL_C_EVENT || event == CTRL_BREAK_EVENT;
    DWORD session = 1;
    ::ProcessIdToSessionId(::GetCurrentProcessId(), &session);
    if (event == CTRL_LOGOFF_EVENT && session == 0) return TRUE;
    if (!deliver(interrupts ? SIGINT : SIGTERM)) return FALSE;
    if (!interrupts) ::Sleep(60000);
    return TRUE;
}

// What the table says at this moment; a signal may be counted in the next. What is counted for
// signal_map before anybody waits is pending for no SignalHandler: it has no owner yet.
DAEMONIZE_LOCAL int pending_signals(int signum) noexcept {
    const Locked guard(signals_guard);
    return signals[signum].count;
}
DAEMONIZE_LOCAL bool has_captured(int signum, const void* owner) noexcept {
    const Locked guard(signals_guard);
    return signals[signum].owner == owner;
}
DAEMONIZE_LOCAL bool is_routed(int signum, Route wanted) noexcept {
    const Locked guard(signals_guard);
    return signals[signum].route == wanted;
}
DAEMONIZE_LOCAL bool is_any_pending() noexcept {
    const Locked guard(signals_guard);
    for (const CapturedSignal& captured : signals)
        if (captured.owner && captured.count > 0) return true;
    return false;
}

// False: another thread was faster.
DAEMONIZE_LOCAL bool take_signal(int signum) noexcept {
    const Locked guard(signals_guard);
    return signals[signum].count > 0 && signals[signum].count-- > 0;
}

// Reset by hand alone: the program may wait for it, too, and its wait must not use the ring up.
DAEMONIZE_LOCAL bool open_wake(Fault& fault) noexcept {
    if (!wake) wake = make_event();
    return wake || refused(fault, "cannot make an event for signals");
}

// No process here is the copy of another.
DAEMONIZE_LOCAL bool is_wake_process() noexcept { return true; }
DAEMONIZE_LOCAL bool is_wake_open(int) noexcept { return static_cast<bool>(wake); }
DAEMONIZE_LOCAL int wake_generation() noexcept { return 0; }
DAEMONIZE_LOCAL std::intptr_t wake_handle() noexcept { return wake.get(); }
DAEMONIZE_LOCAL void ring_wake() noexcept { ::SetEvent(raw(wake)); }
DAEMONIZE_LOCAL void drain_wake() noexcept { ::ResetEvent(raw(wake)); }

// Another owner begins or ends: what was counted for signal_map is still to be handled, by the next
// SignalHandler; what else was not waited for is dropped.
DAEMONIZE_LOCAL void set_owner(CapturedSignal& captured, const void* owner) noexcept {
    if (captured.below != Route::count) captured.count = 0;
    captured.owner = owner;
}

// A signal has one owner: of two each would see some of them.
DAEMONIZE_LOCAL bool capture(int signum, const void* owner, Fault& fault) noexcept {
    const Locked guard(signals_guard);
    CapturedSignal& captured = signals[signum];
    if (captured.owner && captured.owner != owner)
        return fail(fault, errc::invalid_option, "cannot handle %S: another SignalHandler has it",
                    signum);
    set_owner(captured, owner);
    return true;
}
DAEMONIZE_LOCAL void release(int signum, const void* owner) noexcept {
    const Locked guard(signals_guard);
    if (signals[signum].owner == owner) set_owner(signals[signum], nullptr);
}

// The console's events are taken with the first signal that is: a program that handles none keeps
// the system's own way.
DAEMONIZE_LOCAL void watch_console() noexcept {
    static const BOOL watched = ::SetConsoleCtrlHandler(on_console_event, TRUE);
    if (watched) pin_module();
}

DAEMONIZE_LOCAL bool route(int signum, Route wanted, Fault&) noexcept {
    watch_console();
    const Locked guard(signals_guard);
    signals[signum].route = wanted;
    return true;
}

// What the start or signal_map asks for: at once, or once no SignalHandler has the signal.
DAEMONIZE_LOCAL bool route_below(int signum, Route wanted, Fault&) noexcept {
    watch_console();
    const Locked guard(signals_guard);
    signals[signum].below = wanted;
    return true;
}

// Until the wake is rung or `input` (-1: none) is signalled. `only_input`: the wake is rung for
// another SignalHandler, and would be so for as long as that does not wait.
enum class Woken { by_signal, by_input, by_time, broken };
DAEMONIZE_LOCAL Woken await_wake(std::intptr_t input, const Deadline& deadline,
                                 bool only_input) noexcept {
    HANDLE list[2] = {raw(wake), reinterpret_cast<HANDLE>(input)};
    const DWORD first = only_input ? 1 : 0, count = (input == -1 ? 1 : 2) - first;
    const DWORD limit = limit_of(deadline, only_input ? 20 : INT_MAX);
    if (count == 0) {
        ::Sleep(limit);
        return Woken::by_time;
    }
    const DWORD ready = ::WaitForMultipleObjects(count, list + first, FALSE, limit);
    if (ready == WAIT_TIMEOUT) return Woken::by_time;
    // What is no HANDLE to wait for counts as ready: its reader is told of the error.
    return ready == WAIT_OBJECT_0 && first == 0 ? Woken::by_signal : Woken::by_input;
}

DAEMONIZE_LOCAL bool terminal_is_gone() noexcept { return false; }  // a console event says so

// SIGBREAK is Ctrl-Break of the C runtime's, and what a careless os.kill(pid, 21) sends.
DAEMONIZE_LOCAL bool set_built_in_routes(const Session& s, Fault& fault) noexcept {
    terminable.store(s.lock);
    for (const int signum : {SIGTERM, SIGINT, SIGBREAK})
        route_below(signum, Route::terminate, fault);
    return route_below(reload_signal, Route::ignore, fault);
}

// What came while nobody could say what it does.
DAEMONIZE_LOCAL void let_signals_in(const Session&, SignalHold&) noexcept {
    signals_held.store(false);
    for (int signum = 1; signum < signal_end; ++signum) {
        int held = 0;
        {
            const Locked guard(signals_guard);
            if (signals[signum].now() != Route::count) std::swap(held, signals[signum].count);
        }
        if (held > 0) receive(signum);
    }
}

// ---- Service manager ----
// A service is told to stop in a thread of the manager's, must report each step, and must be in the
// manager's hands 30 seconds after its birth; main() cannot wait for that, for it runs the body. So
// the dispatcher gets a thread, and main() goes on when that has joined.
//
// `sc create NAME binPath= "PROGRAM run ..."`: the verb `run` of control(), with services.exe as
// its parent, is a service. The manager's functions are in a library that nothing else here needs.

// All zero in a program that is no service. The guard: main(), the manager's two threads and the
// listener may report at once.
static struct Service {
    SERVICE_STATUS_HANDLE handle;
    DWORD state, checkpoint;
    SRWLOCK guard;
    BOOL(WINAPI* dispatch)(const SERVICE_TABLE_ENTRYW*);
    SERVICE_STATUS_HANDLE(WINAPI* enlist)(LPCWSTR, LPHANDLER_FUNCTION_EX, LPVOID);
    BOOL(WINAPI* set_status)(SERVICE_STATUS_HANDLE, LPSERVICE_STATUS);
} service;
static Handle service_joined, service_ended;  // events

// Nothing comes after STOPPED, and a service that is told to stop while it starts never runs. While
// something is pending each report is a checkpoint.
DAEMONIZE_LOCAL void set_service(DWORD state, int exit_code = 0) noexcept {
    if (!service.handle) return;
    const Locked guard(service.guard);
    const bool stopping = state == SERVICE_STOPPED || state == SERVICE_STOP_PENDING;
    if (service.state == SERVICE_STOPPED || (service.state == SERVICE_STOP_PENDING && !stopping))
        return;
    const bool pending = state == SERVICE_START_PENDING || state == SERVICE_STOP_PENDING;
    const DWORD controls =
        state == SERVICE_STOPPED
            ? 0
            : SERVICE_ACCEPT_STOP | SERVICE_ACCEPT_SHUTDOWN | SERVICE_ACCEPT_PARAMCHANGE;
    const DWORD cause = exit_code == 0 ? NO_ERROR : ERROR_SERVICE_SPECIFIC_ERROR;
    const DWORD code = static_cast<DWORD>(exit_code), kind = SERVICE_WIN32_OWN_PROCESS;
    const DWORD point = pending ? ++service.checkpoint : 0, hint = pending ? 10000 : 0;
    SERVICE_STATUS status = {kind, state, controls, cause, code, point, hint};
    service.state = state;
    service.set_status(service.handle, &status);
}

// In a thread of the manager's.
static DWORD WINAPI on_service_control(DWORD control, DWORD, LPVOID, LPVOID) {
    if (control == SERVICE_CONTROL_STOP || control == SERVICE_CONTROL_SHUTDOWN) {
        set_service(SERVICE_STOP_PENDING);
        receive(SIGTERM);
    } else if (control == SERVICE_CONTROL_PARAMCHANGE) {
        receive(reload_signal);
    } else if (control != SERVICE_CONTROL_INTERROGATE) {
        return ERROR_CALL_NOT_IMPLEMENTED;
    }
    return NO_ERROR;
}

// The manager's thread for this service; main() goes on in its own.
static void WINAPI serve(DWORD, LPWSTR*) {
    service.handle = service.enlist(L"", on_service_control, nullptr);
    service.state = SERVICE_START_PENDING;
    set_service(SERVICE_START_PENDING);
    ::SetEvent(raw(service_joined));
    while (::WaitForSingleObject(raw(service_ended), 1000) == WAIT_TIMEOUT) {
        const DWORD state = service.state;
        if (state != SERVICE_RUNNING) set_service(state);
    }
}

// The dispatcher comes back when the service has ended, or at once if this is none after all.
static unsigned __stdcall dispatch_service(void*) {
    wchar_t none[] = L"";
    const SERVICE_TABLE_ENTRYW table[] = {{none, serve}, {nullptr, nullptr}};
    service.dispatch(table);
    ::SetEvent(raw(service_joined));
    return 0;
}

// By memcpy: a cast between kinds of function pointers is what MSVC warns of.
template <class F>
bool find_function(HMODULE library, const char* name, F& function) noexcept {
    const FARPROC found = library ? ::GetProcAddress(library, name) : nullptr;
    std::memcpy(&function, &found, sizeof function);
    return found != nullptr;
}

// Only a child of services.exe joins: elsewhere the dispatcher would take a while to find out that
// there is no manager, and `run` in a console is not to wait.
DAEMONIZE_LOCAL void join_services() noexcept {
    PROCESSENTRY32W entry;
    if (service_joined || !find_entry(::GetCurrentProcessId(), entry) ||
        !find_entry(entry.th32ParentProcessID, entry) ||
        !same_name(entry.szExeFile, std::wcslen(entry.szExeFile), L"services.exe"))
        return;
    const HMODULE library = ::LoadLibraryW(L"advapi32.dll");
    if (!find_function(library, "StartServiceCtrlDispatcherW", service.dispatch) ||
        !find_function(library, "RegisterServiceCtrlHandlerExW", service.enlist) ||
        !find_function(library, "SetServiceStatus", service.set_status))
        return;
    service_joined = make_event();
    service_ended = make_event();
    if (start_thread(dispatch_service, nullptr)) ::WaitForSingleObject(raw(service_joined), 30000);
}

// Of the moments that systemd is told of, the manager here knows two.
enum class Moment { ready, stopping, reloading, reloaded, alive, launched };
DAEMONIZE_LOCAL bool tell_moment(Moment moment, long = 0) noexcept {
    if (moment == Moment::ready) set_service(SERVICE_RUNNING);
    if (moment == Moment::stopping) set_service(SERVICE_STOP_PENDING);
    return service.handle != nullptr;
}

// The last that the manager hears: the process may go on for a moment.
DAEMONIZE_LOCAL void tell_end(int status) noexcept {
    set_service(SERVICE_STOPPED, status);
    if (service_ended) ::SetEvent(raw(service_ended));
}

// Without exit handlers and destructors: those of a launcher's program are run by its daemon.
[[noreturn]] DAEMONIZE_LOCAL void leave(int status) noexcept {
    tell_end(status);
    ::_exit(status);
}

// ---- What the core asks of a system and Windows has nothing to do for ----
// A manager that takes messages; users and groups; files that are opened before the daemon is born
// (the daemon is no copy of its launcher, and opens its own) or made for a user it becomes.

DAEMONIZE_LOCAL bool tell_manager(const char*) noexcept { return false; }
DAEMONIZE_LOCAL int manager_error() noexcept { return 0; }
DAEMONIZE_LOCAL Duration manager_watchdog() noexcept { return no_limit; }
DAEMONIZE_LOCAL bool resolve_accounts(Session&, Fault&) noexcept { return true; }
DAEMONIZE_LOCAL bool open_streams(Session&, Fault&) noexcept { return true; }
DAEMONIZE_LOCAL bool make_moved_logs(Session&, Fault&) noexcept { return true; }

// ---- Before the start ----

// What Windows has no such thing as, by name: set all the same it is an error, never silence.
DAEMONIZE_LOCAL const char* unsupported_option(const DaemonOptions& o) noexcept {
    bool descriptors = false;
    for (const Stream* stream : {&o.standard_input, &o.standard_output, &o.standard_error})
        descriptors = descriptors || stream->choice() == Stream::number_choice;
    const struct {
        bool is_set;
        const char* name;
    } rows[] = {{o.umask != -1, "umask"},
                {o.uid.is_set(), "uid"},
                {o.gid.is_set(), "gid"},
                {!o.initgroups, "initgroups"},
                {!o.chroot_directory.empty(), "chroot_directory"},
                {!o.files_preserve.empty(), "files_preserve"},
                {o.close_fds != CloseFds::inherited, "close_fds"},
                {descriptors, "standard stream as a descriptor"},
                {o.no_new_privs, "no_new_privs"},
                {o.allow_threads, "allow_threads"},
                {o.pidfile_mode != 0644, "pidfile_mode"}};
    for (const auto& row : rows)
        if (row.is_set) return row.name;
    return nullptr;
}

// Nothing tells where a process was started from; a service finds its manager in join_services().
DAEMONIZE_LOCAL Evidence evidence() noexcept {
    Evidence seen;
    seen.pid = self();
    return seen;
}

// A process that was born as the daemon takes the payload and the decision of its launcher; by
// itself it would find other evidence.
DAEMONIZE_LOCAL bool resolve(Session& s, Fault& fault) noexcept {
    Wide ignored;
    look_at_birth();
    for (const std::string& argument : s.context->arguments)
        if (argument.find('\0') != std::string::npos || !widen(argument.c_str(), ignored))
            return invalid(fault, "arguments", "%p is no UTF-8 text", argument.c_str());
    if (s.controlled && !s.decision.detach) join_services();
    if (!s.channel) return true;
    const std::size_t size = static_cast<std::size_t>(birth.page->payload_size);
    const Handle section = owned(fetch(birth.page->payload));
    void* const payload = map_section(raw(section), FILE_MAP_READ, size);
    s.context->payload.assign(payload ? static_cast<char*>(payload) : "", payload ? size : 0);
    ::UnmapViewOfFile(payload);
    s.decision.why = birth.page->why;
    s.in_job = birth.page->in_job;
    return true;
}

// Other threads stay where they are: the daemon is another run of the program. What that cannot do
// is refused here. A console is one session's: the daemon has another, hidden one, and no way to
// its caller's. A daemon that comes by another PID file than its launcher has locked (another
// clock, other arguments) could never be found.
DAEMONIZE_LOCAL bool check_threads(const Session& s, Fault& fault) noexcept {
    static const char* const names[] = {"standard_input", "standard_output", "standard_error"};
    if (birth.lost)
        return fail(fault, errc::start_failed,
                    "cannot start again: this process was started as a daemon, but its environment "
                    "does not say so any more");
    for (int which = 0; which < 3; ++which)
        if (s.targets[which].choice == Stream::keep_choice && is_terminal(which))
            return fail(fault, errc::unsupported,
                        "cannot use option %s: keep_stream: it is a console, which a daemon cannot "
                        "keep",
                        names[which]);
    const bool same = !s.channel || std::strcmp(s.pidfile.c_str(), birth.page->path) == 0;
    return same || invalid(fault, "pidfile", "it is %p in the daemon, but was %p in its launcher",
                           s.pidfile.c_str(), birth.page->path);
}

// "C:name" is meant from the directory of that drive, which the system alone knows.
DAEMONIZE_LOCAL bool make_absolute(const char* path, Str& out, Fault& fault) noexcept {
    Wide name;
    if (!widen(path, name))
        return fail(fault, -ERROR_NO_UNICODE_TRANSLATION, "cannot use path %p: it is not UTF-8",
                    path);
    const Wide full = filled([&name](wchar_t* to, DWORD size) {
        return ::GetFullPathNameW(name.get(), size, to, nullptr);
    });
    if (full.size() == 0) return refused(fault, "cannot make absolute %p", path);
    narrow(full.get(), out);
    return true;
}

// Neither a device, nor a stream of a file, nor what the system would cut off.
DAEMONIZE_LOCAL bool is_file_name(const char* name) noexcept {
    static const char* const devices[] = {"con", "prn", "aux", "nul", "com", "lpt"};
    const std::size_t size = std::strlen(name), stem = std::strcspn(name, ".");
    if (name[std::strcspn(name, "<>:\"|?*/\\")] != '\0' || name[size - 1] == ' ') return false;
    for (int i = 0; i < 6; ++i) {
        const bool numbered = stem == 4 && name[3] >= '0' && name[3] <= '9';
        if ((i < 4 ? stem == 3 : numbered) && ::_strnicmp(name, devices[i], 3) == 0) return false;
    }
    return true;
}

// Two starts may make it at once: one that is there is as good.
DAEMONIZE_LOCAL bool make_directory(const char* path, Fault& fault) noexcept {
    return ::CreateDirectoryW(wide_path(path).get(), nullptr) ||
           ::GetLastError() == ERROR_ALREADY_EXISTS ||
           refused(fault, "cannot make directory %p", path);
}

// The user's own by its access list; what other users can write to (%ProgramData%) is not for PID
// files: through one others could be stopped.
DAEMONIZE_LOCAL bool state_directory(const char* program, Str& out, Fault& fault) noexcept {
    const Wide directory = filled([](wchar_t* to, DWORD size) {
        return ::GetEnvironmentVariableW(L"LOCALAPPDATA", to, size);
    });
    if (!is_file_name(program)) return invalid(fault, "program", "not a file name: %q", program);
    if (directory.size() == 0)
        return fail(fault, -ERROR_PATH_NOT_FOUND,
                    "cannot find the directory of this user: LOCALAPPDATA is not set");
    narrow(directory.get(), out);
    return make_directory(out.c_str(), fault);
}

// The last part only; a drive is there or is not.
DAEMONIZE_LOCAL bool make_pid_directory(Session& s, Fault& fault) noexcept {
    Str path;
    path.set(s.pidfile.c_str());
    char* const slash = const_cast<char*>(std::strrchr(path.c_str(), '\\'));
    if (!slash || slash[-1] == ':') return true;
    *slash = '\0';
    return make_directory(path.c_str(), fault);
}

// A directory that is some process's own cannot be removed: not one of the user's.
DAEMONIZE_LOCAL const char* root_directory() noexcept {
    static Str root;
    const auto get = [](wchar_t* to, DWORD size) { return ::GetSystemWindowsDirectoryW(to, size); };
    narrow(filled(get).get(), root);
    return root.c_str();
}

// ---- Standard streams ----

// The C runtime's descriptor and the system's standard handle: printf() looks at the one,
// WriteFile(GetStdHandle()) and children at the other. Both name the handle that _dup2() has made;
// what it was made from is closed again.
DAEMONIZE_LOCAL bool put_stream(const Handle& file, int which, Fault& fault) noexcept {
    const HANDLE here = ::GetCurrentProcess();
    Handle keeper = owned(duplicate(here, raw(file), here));
    const int fd = keeper ? ::_open_osfhandle(keeper.get(), _O_BINARY) : -1;
    if (fd != -1) keeper.release();  // the descriptor's from here on
    const bool done =
        fd != -1 && ::_dup2(fd, which) == 0 &&
        ::SetStdHandle(standard_number(which), reinterpret_cast<HANDLE>(::_get_osfhandle(which)));
    if (fd != -1) ::_close(fd);
    if (!done) ::SetLastError(ERROR_TOO_MANY_OPEN_FILES);
    return done || refused(fault, "cannot set up descriptor %d", which);
}

// Append access alone: every write goes to the end, whoever else writes. Shared for deletion: a log
// can be renamed while it is open.
DAEMONIZE_LOCAL bool open_log(const char* path, int which, bool truncates, Handle& out,
                              Fault& fault) noexcept {
    const Wide full = wide_path(path);
    const wchar_t* const name = full.get();
    const DWORD access = which == 0 ? GENERIC_READ : FILE_APPEND_DATA | SYNCHRONIZE;
    const DWORD how = which == 0 ? OPEN_EXISTING : OPEN_ALWAYS, plain = FILE_ATTRIBUTE_NORMAL;
    if (truncates && which != 0 && !open_file(name, GENERIC_WRITE, share_all, CREATE_ALWAYS, plain))
        return refused(fault, "cannot empty %p", path);
    out = open_file(name, access, share_all, how, plain);
    return out || refused(fault, "cannot open %p", path);
}

// For a start, and again for a reload: then the old file stays until the new one is there.
DAEMONIZE_LOCAL bool open_target(Session& s, int which, Fault& fault) noexcept {
    Target& target = s.targets[which];
    return open_log(target.path.c_str(), which, target.truncates, target.file, fault);
}
DAEMONIZE_LOCAL bool reopen(const Session& s, int which, Fault& fault) noexcept {
    Handle file;
    return open_log(s.targets[which].path.c_str(), which, false, file, fault) &&
           put_stream(file, which, fault);
}

// A process without standard handles has dead FILE objects, which no descriptor revives: the daemon
// is born with NUL on all three, and its C runtime with them.
DAEMONIZE_LOCAL Handle inheritable_null() noexcept {
    SECURITY_ATTRIBUTES inherit = {sizeof inherit, nullptr, TRUE};
    return owned(::CreateFileW(L"NUL", GENERIC_READ | GENERIC_WRITE,
                               FILE_SHARE_READ | FILE_SHARE_WRITE, &inherit, OPEN_EXISTING, 0,
                               nullptr));
}

// ---- The start: the launcher ----
//
//     launcher                                    daemon
//     takes the lock on the PID file
//     writes the page: path, reason, handles
//     makes the daemon, suspended, in a job
//     of its own that ends with the launcher
//     gives it a handle to itself; resumes it -->  before main: finds the page, fetches lock, event
//     waits: answer, end of the daemon, time      main() again, up to the start: streams, daughter
//                                                 and number into the file, hook, signals, body
//     verdict: a swap of one word           <--   ready() or fail(): the same swap, then the event
//     ready: lets the daemon out of the job
//     else: ends it, waits, removes the file      a daemon that lost the swap ends itself
//
// Both hold the lock until the verdict: there is no gap, and a launcher that is killed takes the
// daemon, and with that the lock, along.

// What the launcher has of a start under way. Its end closes the job: a daemon that was not let out
// of it by then ends, too.
struct Launch {
    Handle job, section, payload, told;
    Handle words, mouth;  // of the daemon: both ends of a pipe, where the launcher is on a console
    Child daemon;
    Page* page = nullptr;
    ~Launch() { ::UnmapViewOfFile(page); }
};

// A section of this size, and a view of it to write to; nullptr: there is none.
DAEMONIZE_LOCAL void* make_section(std::uint64_t size, Handle& section) noexcept {
    section = owned(::CreateFileMappingW(INVALID_HANDLE_VALUE, nullptr, PAGE_READWRITE,
                                         static_cast<DWORD>(size >> 32), static_cast<DWORD>(size),
                                         nullptr));
    return map_section(raw(section), FILE_MAP_READ | FILE_MAP_WRITE, size);
}

// Never in a file, and not in the environment: it may be a secret.
DAEMONIZE_LOCAL bool copy_payload(Launch& launch, const std::string& payload) noexcept {
    if (payload.empty()) return true;
    void* const view = make_section(payload.size(), launch.payload);
    if (!view) return false;
    std::memcpy(view, payload.data(), payload.size());
    ::UnmapViewOfFile(view);
    launch.page->payload_size = payload.size();
    launch.page->payload = raw(launch.payload);
    return true;
}

// The launcher's streams that another process can write to. On a console the launcher prints what
// the daemon says until its ready(): a pipe brings it.
DAEMONIZE_LOCAL void show_streams(Launch& launch) noexcept {
    for (int which = 0; which < 3; ++which) {
        const HANDLE stream = standard(which);
        const DWORD type = stream ? ::GetFileType(stream) : FILE_TYPE_UNKNOWN;
        if (type == FILE_TYPE_DISK || type == FILE_TYPE_PIPE) launch.page->streams[which] = stream;
    }
    HANDLE words = nullptr, mouth = nullptr;
    if (!is_terminal(2) || !::CreatePipe(&words, &mouth, nullptr, 65536)) return;
    launch.words = owned(words);
    launch.mouth = owned(mouth);
    launch.page->streams[2] = mouth;
}

// The nonce tells one start from another, so that a stale switch fits none. It is no secret:
// whoever can read the page can write it into an environment.
DAEMONIZE_LOCAL bool write_page(const Session& s, Launch& launch) noexcept {
    launch.page = static_cast<Page*>(make_section(sizeof(Page), launch.section));
    launch.told = make_event();
    if (!launch.page || !launch.told) return false;
    Page& page = *launch.page;
    std::memcpy(page.magic, page_magic, sizeof page_magic);
    std::snprintf(page.path, sizeof page.path, "%s", s.pidfile.c_str());
    std::snprintf(page.why, sizeof page.why, "%s", s.decision.why);
    LARGE_INTEGER count;
    ::QueryPerformanceCounter(&count);
    page.nonce = (static_cast<std::uint64_t>(count.QuadPart) * 0x9e3779b97f4a7c15ULL) | 1;
    page.launcher = ::GetCurrentProcessId();
    page.page = raw(launch.section);
    page.told = raw(launch.told);
    page.lock = raw(s.lock->file);
    show_streams(launch);
    return copy_payload(launch, s.context->payload);
}

// This program's variables, with the switch for the daemon alone; in whatever case somebody else
// has set a variable of its name: the system would find that one first.
DAEMONIZE_LOCAL void fill_environment(Wide& block, HANDLE shown, std::uint64_t nonce) noexcept {
    each_variable([&block](const wchar_t* entry, std::size_t size) {
        if (!same_name(entry, size, switch_name)) block.add(entry, std::wcslen(entry) + 1);
    });
    char text[48];
    std::snprintf(text, sizeof text, "=%llx:%llx",
                  static_cast<unsigned long long>(reinterpret_cast<std::uintptr_t>(shown)),
                  static_cast<unsigned long long>(nonce));
    block.add(switch_name).add(wide(text).get()).more(2);
}

// As CommandLineToArgvW and the C runtimes read it back: backslashes mean themselves but before a
// quote; there they are doubled, and so are those before the closing one.
DAEMONIZE_LOCAL void add_argument(Wide& line, const wchar_t* text) noexcept {
    const bool plain = *text && text[std::wcscspn(text, L" \t\n\v\"")] == L'\0';
    line.add(plain ? L" " : L" \"");
    std::size_t backslashes = 0;
    for (; *text; ++text) {
        if (*text == L'"')
            for (std::size_t i = 0; i <= backslashes; ++i) line.add(L"\\");
        backslashes = *text == L'\\' ? backslashes + 1 : 0;
        line.add(text, 1);
    }
    for (; !plain && backslashes > 0; --backslashes) line.add(L"\\");
    line.add(plain ? L"" : L"\"");
}

// The launcher's own to the letter: taken apart and put together again it might be another.
DAEMONIZE_LOCAL Wide command_line(const DaemonOptions& o, const Wide& program) noexcept {
    Wide line;
    if (!o.replace_arguments) return std::move(line.add(::GetCommandLineW()));
    line.add(L"\"").add(program.get()).add(L"\"");
    for (const std::string& argument : o.arguments)
        add_argument(line, wide(argument.c_str()).get());
    return line;
}

// In any: the numbers of those above are nobody's to know.
DAEMONIZE_LOCAL bool is_in_job(HANDLE process) noexcept {
    BOOL inside = FALSE;
    return ::IsProcessInJob(process, nullptr, &inside) && inside;
}

// Out of the caller's job, if that lets go, and into the launcher's. Jobs nest: where an inner one
// lets go an outer one may not, and only the new process tells. So, of a launcher in a job, it is
// asked before it is put into ours; of any other it is born there. Access is denied where the
// caller's job forbids to leave: then the daemon stays in that, and is born in ours as well.
// (Windows 7 does not nest: there the daemon of such a launcher is in none of ours, and outlives it
// if that is killed.)
DAEMONIZE_LOCAL bool create_daemon(Birthplace& place, HANDLE job, Child& child,
                                   bool& stays) noexcept {
    const bool asks = is_in_job(::GetCurrentProcess());
    place.flags = CREATE_NO_WINDOW | CREATE_BREAKAWAY_FROM_JOB;
    place.job = asks ? nullptr : job;
    bool made = create_suspended(place, child);
    if (!made && place.directory && ::GetLastError() == ERROR_DIRECTORY) {
        place.directory = nullptr;  // where the launcher was started is gone: where it is now
        made = create_suspended(place, child);
    }
    stays = made ? asks && is_in_job(raw(child.process)) : ::GetLastError() == ERROR_ACCESS_DENIED;
    place.job = job;
    if (made && asks && job) ::AssignProcessToJobObject(job, raw(child.process));
    place.flags = CREATE_NO_WINDOW;
    return made || (stays && create_suspended(place, child));
}

// The daemon may fetch from this process, and see whether it lives; no more.
DAEMONIZE_LOCAL bool hand_over(Page& page, const Child& child) noexcept {
    const HANDLE here = ::GetCurrentProcess();
    const DWORD access = PROCESS_DUP_HANDLE | PROCESS_QUERY_LIMITED_INFORMATION | SYNCHRONIZE;
    page.daemon = child.pid;
    page.launcher_process = duplicate(here, here, raw(child.process), access);
    return page.launcher_process && ::ResumeThread(raw(child.thread)) != static_cast<DWORD>(-1);
}

// The program once more. False: what there is of it is to be ended. One NUL for each stream: a C
// runtime that replaces descriptor 0 closes what 1 and 2 had shared.
DAEMONIZE_LOCAL bool relaunch(Session& s, Launch& launch, Fault& fault) noexcept {
    Birthplace place;
    Wide environment;
    Str program;
    const HANDLE here = ::GetCurrentProcess();
    const Handle nulls[3] = {inheritable_null(), inheritable_null(), inheritable_null()};
    const Handle card = owned(duplicate(here, raw(launch.section), here, SECTION_MAP_READ, true));
    fill_environment(environment, raw(card), launch.page->nonce);
    place.program = own_path();
    place.command = command_line(*s.context, place.program);
    place.environment = environment.data();
    place.directory = birth.directory;
    for (int which = 0; which < 3; ++which) place.inherited[which] = raw(nulls[which]);
    place.inherited[3] = raw(card);
    place.inherits = 4;
    narrow(place.program.get(), program);
    const bool made = create_daemon(place, raw(launch.job), launch.daemon, s.in_job);
    launch.page->in_job = s.in_job;
    const bool refuses = made && s.in_job && s.context->must_leave_job;
    if (made && !refuses && hand_over(*launch.page, launch.daemon)) return true;
    refused(fault, "cannot start again %p", program.c_str());
    return refuses && fail(fault, errc::unsupported,
                           "cannot use option must_leave_job: the caller's job does not let go");
}

// What the daemon has said on its standard error, onto the launcher's console.
DAEMONIZE_LOCAL void pass_words(const Handle& words) noexcept {
    char text[4096];
    DWORD waiting = 0, size = 0;
    while (words && ::PeekNamedPipe(raw(words), nullptr, 0, nullptr, &waiting, nullptr) &&
           waiting > 0 && ::ReadFile(raw(words), text, sizeof text - 1, &size, nullptr)) {
        text[size] = '\0';
        write_text(standard(2), text);
    }
}

// Until the daemon has answered, or ended, or the time is over. No wait is for a pipe: that is
// looked into now and then.
DAEMONIZE_LOCAL void await_daemon(const Session& s, const Launch& launch,
                                  const Deadline& deadline) noexcept {
    const HANDLE both[2] = {raw(launch.told), raw(launch.daemon.process)};
    const Deadline line(Duration(1000));
    bool tells = s.tells_wait;
    for (;;) {
        const bool late = deadline.over();
        const DWORD limit = limit_of(deadline, launch.words ? 50 : tells ? 1000 : INT_MAX);
        const DWORD ready = ::WaitForMultipleObjects(2, both, FALSE, limit);
        pass_words(launch.words);
        if (ready != WAIT_TIMEOUT || late) return;
        if (tells && line.over()) {
            tells = false;
            print(1, s.program.c_str(), "waits until the daemon is ready");
        }
    }
}

// The swap settles what a time limit and an answer in the same moment would leave open. A report is
// looked at before it is believed: the daemon may have scribbled over the page. Of a daemon that is
// ready the launcher's job is made harmless, also to what the daemon starts; where that fails the
// daemon would end with this process.
DAEMONIZE_LOCAL bool judge_daemon(Session& s, const Launch& launch, Fault& fault, const char*& text,
                                  std::size_t& size) noexcept {
    static Str words;  // of the daemon
    Page& page = *launch.page;
    const LONG verdict = ::InterlockedCompareExchange(&page.verdict, given_up, awaited);
    const long pid = static_cast<long>(launch.daemon.pid);
    DWORD code = 0;
    s.exit_code = 1;
    if (verdict == said_ready)
        return !launch.job || limit_job(raw(launch.job), JOB_OBJECT_LIMIT_BREAKAWAY_OK) ||
               refused(fault, "cannot start %P: it could not leave its launcher's job", pid);
    if (verdict == said_failed) {
        const Report report = page.report;
        if (!is_plausible(report))
            return fail(fault, errc::start_failed, "cannot start %P: its report is not valid", pid);
        page.text[report.size] = '\0';
        words.set(page.text);
        fault.code = report.code;
        s.exit_code = failure_code(report.exit_code);
        text = words.c_str();
        size = std::strlen(text);
        return false;
    }
    if (has_ended(raw(launch.daemon.process)) &&
        ::GetExitCodeProcess(raw(launch.daemon.process), &code)) {
        fail(fault, errc::start_failed, "cannot start %P: it ended with status ", pid);
        put_status(fault.text, code);
        fault.text.put(" before it was ready");
        s.exit_code = failure_code(static_cast<int>(code));
    } else {
        fail(fault, errc::timed_out, "cannot start %P: it has not called ready() within %t", pid,
             static_cast<long long>(s.context->ready_timeout.count()));
        s.exit_code = 124;
    }
    const char* const log = s.targets[2].path.c_str();
    if (*log) format(fault.text, "; its log is %p", log);
    return false;
}

// Steps 5 to 8. Returns once, in the launcher: the daemon is a new process, and adopt_birth() tells
// it so. Nothing is flushed, for nothing is copied, and another thread may sit in getchar() for
// ever. The end of a daemon that failed is waited for: as long as it lives the file that it has
// locked cannot be removed.
DAEMONIZE_LOCAL Role detach(Session& s, SignalHold&, bool& started, Fault& fault, const char*& text,
                            std::size_t& size) noexcept {
    Launch launch;
    const Duration limit = s.context->ready_timeout;
    const Deadline deadline(limit <= Duration(0) ? no_limit : limit);
    launch.job = make_deadly_job();  // this process killed before the verdict: the daemon with it
    started = false;
    if (!write_page(s, launch)) {
        refused(fault, "cannot make the readiness channel");
    } else if (relaunch(s, launch, fault)) {
        s.daemon = static_cast<long>(launch.daemon.pid);
        await_daemon(s, launch, deadline);
        started = judge_daemon(s, launch, fault, text, size);
    }
    if (started) return Role::launcher;
    // By the job for what the daemon has started already, by itself where it is in none.
    const HANDLE daemon = raw(launch.daemon.process);
    if (daemon && launch.job) ::TerminateJobObject(raw(launch.job), 1);
    if (daemon) ::TerminateProcess(daemon, 1);
    if (daemon && ::WaitForSingleObject(daemon, limit_of(Deadline(after_kill))) == WAIT_TIMEOUT)
        fault.text.put(", and could not be killed");
    else
        discard_file(*s.lock, false);
    return Role::launcher;
}

// ---- The start: the daemon ----

// What was fetched before main() is the first session's; a second context of the daemon's is not
// born.
DAEMONIZE_LOCAL bool adopt_birth(Session& s) noexcept {
    look_at_birth();
    if (!birth.is_daemon || birth.taken) return false;
    birth.taken = true;
    s.channel = owned(birth.told);
    s.lock->path.set(birth.page->path);
    s.lock->file = owned(birth.lock);
    return true;
}

// The daemon's one word. Report and text are there before it is swapped in: the launcher reads them
// after. False: its launcher is gone, or has given up.
DAEMONIZE_LOCAL bool tell_leader(Session& s, const Report& report, const char* text,
                                 std::size_t size) noexcept {
    if (!s.channel) return false;
    Page& page = *birth.page;
    page.report = report;
    page.report.size = static_cast<std::uint32_t>(size < report_room ? size : report_room - 1);
    std::memcpy(page.text, text, page.report.size);
    const LONG word = report.word == Report::ready ? said_ready : said_failed;
    const bool told = !has_ended(birth.launcher) &&
                      ::InterlockedCompareExchange(&page.verdict, word, awaited) == awaited &&
                      ::SetEvent(raw(s.channel));
    s.channel.close();
    birth.answered = true;
    return told;
}

// Until ready, 2 is the launcher's: its file, its pipe, or the pipe to its console. What the
// launcher could not show (a closed stream) is taken by the log, or by NUL.
DAEMONIZE_LOCAL bool set_up_stream(Session& s, int which, Fault& fault) noexcept {
    Target& target = s.targets[which];
    if (target.choice == Stream::path_choice && !features.open_target(s, which, fault))
        return false;
    Handle launchers;
    if (which == 2 || target.choice == Stream::keep_choice)
        launchers = owned(fetch(birth.page->streams[which]));
    const Handle& file = launchers ? launchers : target.file ? target.file : s.null_device;
    return put_stream(file, which, fault);
}

// prevent_core: no box that waits for a click, of the system's or (abort(), assert()) of the C
// runtime's. What was printed before the start was printed by the launcher already: into NUL.
DAEMONIZE_LOCAL bool move_in(Session& s, Fault& fault) noexcept {
    signals_held.store(true);
    if (s.context->prevent_core) {
        ::SetErrorMode(SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX | SEM_NOOPENFILEERRORBOX);
        ::_set_error_mode(_OUT_TO_STDERR);
#if defined(_MSC_VER)
        ::_set_abort_behavior(0, _CALL_REPORTFAULT);
#endif
    }
    if (!s.decision.detach) return true;
    flush_streams(false);
    s.null_device = inheritable_null();
    if (!s.null_device) return refused(fault, "cannot open 'NUL'");
    for (int which = 0; which < 3; ++which)
        if (!set_up_stream(s, which, fault)) return false;
    return true;
}

// By name, as the system compares names: "Path" is PATH.
DAEMONIZE_LOCAL bool is_kept_variable(const Session& s, const wchar_t* name,
                                      std::size_t size) noexcept {
    if (same_name(name, size, L"SystemRoot")) return true;  // no sockets without it, nor some DLLs
    for (const std::string& kept : s.context->environment_keep)
        if (same_name(name, size, wide(kept.c_str()).get())) return true;
    return *name == L'=';  // the directories of the drives
}

// A directory that is a process's own cannot be removed: it is left as early as that is possible,
// and no earlier: the program's privileged step still has the launcher's, and all its variables.
DAEMONIZE_LOCAL bool settle_in(Session& s, Fault& fault) noexcept {
    const char* const directory = s.directory.c_str();
    if (*directory && !::SetCurrentDirectoryW(wide(directory).get()))
        return refused(fault, "cannot change directory to %p", directory);
    if (s.context->clear_environment)
        each_variable([&s](const wchar_t* entry, std::size_t size) {
            if (!is_kept_variable(s, entry, size)) remove_variable(entry, size);
        });
    return true;
}

// What a user of this system would ask next.
DAEMONIZE_LOCAL void explain_system(const Session& s, std::string& out) {
    if (s.in_job) out += "job: the caller's does not let go; the daemon ends when that is closed\n";
    if (service.handle) out += "service manager: this is one of its services\n";
}

// ---- Words ----
// main() has its words in the code page of the system, which cannot spell every path; the header
// takes and gives UTF-8. CommandLineToArgvW would load another library.

// One word off a command line, as the C runtimes and CommandLineToArgvW take it: two backslashes
// before a quote are one, an odd one makes text of it; two quotes inside quotes are one, as text.
// Of the program's name a quote is a quote.
DAEMONIZE_LOCAL bool next_word(const wchar_t*& at, Wide& word, bool is_program) noexcept {
    word.cut(0);
    if (!is_program) at += std::wcsspn(at, L" \t");
    if (*at == L'\0' && !is_program) return false;
    for (bool quoted = false; *at && (quoted || (*at != L' ' && *at != L'\t'));) {
        const std::size_t backslashes = is_program ? 0 : std::wcsspn(at, L"\\");
        const bool quote = at[backslashes] == L'"', is_text = backslashes % 2 != 0;
        const std::size_t meant = quote ? backslashes / 2 : backslashes > 0 ? backslashes : 1;
        word.add(at, meant);
        at += quote ? backslashes + 1 : meant;
        if (!quote) continue;
        const bool doubled = quoted && !is_program && *at == L'"';
        if (is_text || doubled) word.add(L"\"");
        if (is_text) continue;
        if (doubled)
            ++at;
        else
            quoted = !quoted;
    }
    return true;
}

// A word of main()'s in UTF-8. It is looked up in the command line, which loses nothing, and is the
// same if the C runtime made this of it in the code page of the system. One that is not there (the
// program's own, a pattern that the C runtime expanded) is taken for UTF-8 where it can be, else
// for that code page.
DAEMONIZE_LOCAL const char* word_at(const char* const* argv, int index, Str& room) noexcept {
    const wchar_t* at = ::GetCommandLineW();
    Wide word;
    bool there = next_word(at, word, true);
    for (int i = 0; i < index && there; ++i) there = next_word(at, word, false);
    narrow(word.get(), room, CP_ACP);
    if (!there || std::strcmp(room.c_str(), argv[index]) != 0) {
        if (widen(argv[index], word)) return argv[index];
        widen(argv[index], word, 0, CP_ACP);
    }
    narrow(word.get(), room);
    return room.c_str();
}

#endif  // DAEMONIZE_WINDOWS
// >>core ------------------------------------------------------------------------------------------
// The public face in terms of the rooms above. No system is named here.

DAEMONIZE_SMALL Deadline::Deadline(Duration limit) noexcept
    : end_(limit > std::chrono::hours(24 * 36500)
               ? LLONG_MAX
               : now() + (limit < Duration(0) ? 0 : static_cast<long long>(limit.count()) * 1000)) {
}

DAEMONIZE_SMALL bool Deadline::over() const noexcept { return !never() && now() >= end_; }

DAEMONIZE_SMALL long long Deadline::left() const noexcept {
    const long long left = never() ? LLONG_MAX : end_ - now();
    return never() ? left : left <= 0 ? 0 : left / 1000 + 1;
}

DAEMONIZE_SMALL int Deadline::left_to_poll(int most) const noexcept {
    const long long ms = left();
    if (never()) return most == INT_MAX ? -1 : most;
    return ms < most ? static_cast<int>(ms) : most;
}

// A wait that is tried again: 1 ms, then longer, at most 20 ms and never past the deadline.
class Backoff {
public:
    explicit Backoff(const Deadline& deadline) noexcept : deadline_(deadline) {}
    DAEMONIZE_SMALL void pause() noexcept {
        const long long left = deadline_.left();
        pause_for(span_ < left ? span_ : left);
        span_ = span_ < 10 ? span_ * 2 : 20;
    }

private:
    const Deadline& deadline_;
    long long span_ = 1;
};

// ---- From the inside to the face ----

class Category : public std::error_category {
public:
    const char* name() const noexcept override { return "daemonize"; }
    std::string message(int value) const override {
        return condition_text(static_cast<errc>(value));
    }
};

// Fills the caller's Error; for `return give(fault, error)`.
DAEMONIZE_LOCAL bool give(const Fault& fault, Error& error) noexcept {
    error.code = fault.code > 0 ? make_error_code(static_cast<errc>(fault.code))
                                : std::error_code(-fault.code, native_category());
    error.text = fault.text.c_str();
    error.exit_code = 1;
    return false;
}

// The throwing forms. Without exceptions the text is printed and the program ended.
[[noreturn]] DAEMONIZE_LOCAL void raise_error(const Error& error) {
#if DAEMONIZE_EXCEPTIONS
    throw DaemonError(error);
#else
    print(2, own_name(), error.text.c_str());
    std::exit(EXIT_FAILURE);
#endif
}

[[noreturn]] DAEMONIZE_LOCAL void raise_received(int signum) {
#if DAEMONIZE_EXCEPTIONS
    if (signum == SIGINT) throw ReceivedSIGINT();
    if (signum == SIGTERM) throw ReceivedSIGTERM();
    if (signum == SIGABRT) throw ReceivedSIGABRT();
    throw ReceivedSignal(signum);
#else
    std::exit(128 + signum);
#endif
}

// User code was run. An order to end comes back as its signal, any other exception as its text.
struct Outcome {
    bool threw = false;
    int signum = no_signal;
    Str text;
};

// No exception may leave the start or the daemon's life by a way on which no file is removed and no
// leader told.
template <class F>
DAEMONIZE_SMALL Outcome guarded(F function) {
    Outcome outcome;
#if DAEMONIZE_EXCEPTIONS
    try {
        function();
    } catch (const ReceivedSignal& received) {
        outcome.signum = received;
    } catch (const std::exception& exception) {
        outcome.threw = true;
        outcome.text.set(exception.what());
    } catch (...) {
        outcome.threw = true;
        outcome.text.set("an exception that is no std::exception");
    }
#else
    function();
#endif
    return outcome;
}

// One line, whatever the program's own text holds: control characters are shown.
DAEMONIZE_LOCAL void set_shown(Str& out, const char* text, std::size_t size) noexcept {
    while (size > 0 && (text[size - 1] == '\n' || text[size - 1] == '\r')) --size;
    char* const room = static_cast<char*>(std::malloc(size * 4 + 1));
    if (!room) std::abort();
    char* to = room;
    for (std::size_t i = 0; i < size; ++i) {
        Text one;
        put_shown(one, text[i]);
        std::memcpy(to, one.c_str(), one.size());
        to += one.size();
    }
    *to = '\0';
    out.set(room);
    std::free(room);
}

DAEMONIZE_LOCAL void print_shown(const char* program, const char* text) noexcept {
    Str shown;
    set_shown(shown, text, std::strlen(text));
    print(2, program, shown.c_str());
}

// ---- The PID file: taking it ----

DAEMONIZE_LOCAL long shown_pid(long named) noexcept {
    Process entry, daemon;
    return open_process(named, entry) && find_daemon(entry, daemon) ? daemon.pid : named;
}

DAEMONIZE_LOCAL bool refuse(const PidFileView& view, const char* path, Fault& fault) noexcept {
    if (is_daemon(judge(view)))
        return fail(fault, errc::already_running, "cannot lock %p: already running as %P", path,
                    shown_pid(view.number));
    fail(fault, errc::unproven_holder, "cannot lock %p: ", path);
    describe_unproven(view, fault.text);
    return false;
}

// The take. Waits for the end of a proven holder until `wait` is over, for a lock that proves
// nobody (a start under way, a reader, a query that has just closed the file) until `patience` is.
// Each round the lock itself is tried first and the file is looked at only when it was refused: a
// look that says "free" is old when it is read. With the lock got, signals stay held: a Ctrl-C
// before the fork would leave an empty file.
DAEMONIZE_LOCAL bool acquire(PidLock& lock, Duration wait, SignalHold& hold,
                             Fault& fault) noexcept {
    const char* const path = lock.path.c_str();
    const Deadline holder_deadline(wait), patience_deadline(wait < patience ? patience : wait);
    Backoff backoff(patience_deadline);
    bool last_try = false;
    for (;;) {
        hold.take();
        const Attempt attempt = take_lock(lock, fault);
        if (attempt == Attempt::got) return true;
        lock.directory.close();
        hold.give();
        PidFileView view;
        if (attempt == Attempt::failed) {
            Fault unseen;  // whoever may not write the file may still be told whose it is
            return fault.code == -EACCES && view_file(path, view, unseen) &&
                   is_daemon(judge(view)) && refuse(view, path, fault);
        }
        if (!view_file(path, view, fault)) return false;
        if (is_daemon(judge(view))) {
            Process entry, daemon;
            if (wait <= Duration(0) || view.number == self()) return refuse(view, path, fault);
            const bool open = open_process(view.number, entry) && find_daemon(entry, daemon);
            // Where a lock proves nobody, the number may be one that was left behind.
            if (!open && patience_deadline.over()) return refuse(view, path, fault);
            // In slices: a holder may release the lock and live on.
            const Duration slice(holder_deadline.left() < 50 ? holder_deadline.left() : 50);
            if (open && !await_end(daemon, Deadline(slice)) && holder_deadline.over())
                return fail(fault, errc::timed_out, "cannot lock %p: %P still holds it after %t",
                            path, daemon.pid, static_cast<long long>(wait.count()));
        } else if (patience_deadline.over() && (view.locked || last_try)) {
            return refuse(view, path, fault);
        }
        last_try = patience_deadline.over();  // it may have been freed since
        backoff.pause();
    }
}

// Step 12, and again where a reader is in the way.
DAEMONIZE_LOCAL bool enter_itself(PidLock& lock, Fault& fault) noexcept {
    const Deadline deadline(patience);
    Backoff backoff(deadline);
    for (;;) {
        const Attempt attempt = enter_lock(lock, fault);
        if (attempt == Attempt::got) return true;
        if (attempt == Attempt::failed || deadline.over()) return false;
        backoff.pause();
    }
}

// ---- The PID file: who holds it ----

// The process that provably holds a file. A number alone may be another process's a moment later,
// so it is asked three times: the file names a process that the lock proves; that process is
// opened; then the file says the same again. What is open by then is the daemon, and stays it:
// whatever gets its number later is not what the signal goes to.
struct Holder {
    PidFileView view;
    Verdict verdict = Verdict::missing;
    Process named;   // the process that the file names: a signal goes there
    Process daemon;  // the process whose end is the daemon's
};

DAEMONIZE_LOCAL bool same_holder(const PidFileView& a, const PidFileView& b) noexcept {
    return a.device == b.device && a.inode == b.inode && a.owner == b.owner && a.locked == b.locked;
}

// A start under way is waited for. True: `holder.verdict` says what there is.
DAEMONIZE_LOCAL bool find_holder(const char* path, Holder& holder, Fault& fault) noexcept {
    const Deadline deadline(patience);
    Backoff backoff(deadline);
    for (;;) {
        const bool late = deadline.over();  // before the look, as wherever something is awaited
        if (!view_file(path, holder.view, fault)) return false;
        holder.verdict = judge(holder.view);
        const bool proven = is_daemon(holder.verdict);
        if (proven) {
            PidFileView again;
            const bool open = open_process(holder.view.number, holder.named) &&
                              find_daemon(holder.named, holder.daemon);
            if (open && view_file(path, again, fault) && same_holder(holder.view, again) &&
                is_daemon(judge(again)) && again.number == holder.view.number)
                return true;
            if (!open && late)
                return fail(fault, errc::not_running, "cannot open %P: not running",
                            holder.view.number);
        } else if (holder.verdict != Verdict::starting) {
            return true;
        }
        if (late)
            return !proven ||
                   fail(fault, errc::unproven_holder,
                        "cannot find the daemon of %p: the file changed each time it was "
                        "asked",
                        path);
        backoff.pause();
    }
}

// not_running, or why nobody may be signalled through this file; true: `holder` is the daemon.
DAEMONIZE_LOCAL bool require_holder(const char* step, const char* path, Holder& holder,
                                    Fault& fault) noexcept {
    if (!find_holder(path, holder, fault)) return false;
    const Verdict verdict = holder.verdict;
    if (verdict == Verdict::missing || verdict == Verdict::empty || verdict == Verdict::dead) {
        fail(fault, errc::not_running, "%s %p: not running", step, path);
        note_content(holder.view, fault.text);
        return false;
    }
    if (!is_daemon(verdict)) {
        fail(fault, verdict == Verdict::invalid ? errc::invalid_pid_file : errc::unproven_holder,
             "%s %p: ", step, path);
        describe_unproven(holder.view, fault.text);
        return false;
    }
    if (!holder.view.trusted)
        return fail(fault, errc::untrusted_pid_file, "%s %p: others could have written it", step,
                    path);
    if (!may_signal(holder.named, holder.view, fault)) return false;
    holder.daemon.sender = holder.named.sender;
    return true;
}

DAEMONIZE_LOCAL bool has_zero_byte(const std::string& text) noexcept {
    return std::strlen(text.c_str()) != text.size();
}

DAEMONIZE_LOCAL bool absolute_pidfile(const std::string& path, Str& out, Fault& fault) noexcept {
    if (path.empty()) return invalid(fault, "pidfile", "it is empty");
    if (has_zero_byte(path)) return invalid(fault, "pidfile", "it holds a zero byte");
    return make_absolute(path.c_str(), out, fault);
}

DAEMONIZE_LOCAL bool signal_daemon(const char* path, int signum, Fault& fault) noexcept {
    const char* const step = "cannot signal the daemon of";
    // Asked again after the same short while each time: who is overtaken must not fall behind.
    const Deadline deadline(signal_patience);
    for (; !deadline.over(); pause_for(1)) {
        Holder holder;
        if (!require_holder(step, path, holder, fault)) return false;
        const Sent sent = send_signal(holder.named, signum);
        if (sent == Sent::sent) return true;
        if (sent == Sent::gone)
            return fail(fault, errc::not_running, "%s %p: not running", step, path);
        // Lost: the daemon is busy with another, and will take the next.
        if (sent != Sent::lost) return refused(fault, "cannot signal %P", holder.named.pid);
    }
    return fail(fault, errc::timed_out, "%s %p: another signal won each time", step, path);
}

// ---- Stopping a daemon ----

struct StopOrder {
    Duration limit;
    int signum;
    bool kills;
    const char* program;                             // for what is said
    void (*warn)(const char* program, long daemon);  // of control(); else nothing is said
    bool tells_wait;
};

// The path names another file by now, or none, or nobody has it locked.
DAEMONIZE_LOCAL bool is_free(const PidFileView& now, const Holder& holder) noexcept {
    return !now.exists || now.device != holder.view.device || now.inode != holder.view.inode ||
           !now.locked;
}

// stop() never returns early: after the end of the process its lock may live on in a launcher that
// Ctrl-Z has stopped, and a start that came now would be refused.
DAEMONIZE_LOCAL bool await_unlocked(const char* path, const Holder& holder,
                                    const Deadline& deadline, Fault& fault) noexcept {
    Backoff backoff(deadline);
    for (;;) {
        const bool late = deadline.over();
        PidFileView now;
        const bool seen = view_file(path, now, fault);
        if (!seen && late) return false;
        if (seen && is_free(now, holder)) return true;
        const bool others = now.owner > 0 && now.owner != holder.view.owner;
        if (seen && (late || others)) {
            fail(fault, errc::unproven_holder, "cannot stop the daemon of %p: %P is gone, but ",
                 path, holder.daemon.pid);
            if (now.owner > 0)
                format(fault.text, "%P", now.owner);
            else
                fault.text.put("another process");
            fault.text.put(" holds the lock");
            return false;
        }
        backoff.pause();
    }
}

// The signal, also where others overtake it: then another process stands in for the daemon.
DAEMONIZE_LOCAL Sent ask_holder(const char* path, Holder& holder, int signum) noexcept {
    const Deadline deadline(signal_patience);
    for (;;) {
        const Sent sent = ask_to_end(holder.named, signum);
        if (sent != Sent::lost || deadline.over()) return sent;
        pause_for(1);
        Holder next;
        Fault ignored;
        if (!find_holder(path, next, ignored) || !is_daemon(next.verdict) ||
            !same_holder(holder.view, next.view) || await_end(holder.daemon, Deadline(Duration(0))))
            return Sent::gone;
        holder.named = std::move(next.named);
        holder.view.number = next.view.number;
    }
}

DAEMONIZE_LOCAL bool await_stop(const Process& daemon, const StopOrder& order) noexcept {
    const Deadline deadline(order.limit);
    const Duration first(1000);
    if (order.tells_wait && order.limit > first) {
        if (await_end(daemon, Deadline(first))) return true;
        Text line;
        format(line, "waits for the end of %P", daemon.pid);
        print(1, order.program, line.c_str());
    }
    return await_end(daemon, deadline);
}

// One failure is not believed: the file would say that a daemon has crashed.
DAEMONIZE_LOCAL bool clear_leftover(const char* path, const Holder& holder, Fault& fault) noexcept {
    for (int tries = 0; tries < 3; ++tries) {
        PidFileView now;
        Fault ignored;
        const bool removed = remove_leftover(path, holder.view, holder.view.number, fault);
        if (removed && view_file(path, now, ignored) &&
            (!now.exists || !now.has_text || now.inode != holder.view.inode))
            return true;
        if (removed && tries == 2) return true;  // somebody else's by now
    }
    return false;
}

// The order of a stop: the signal; the end of the process; at the limit the kill, and its end; the
// lock; the file. Only what has been seen to be gone is cleared away. Before the kill the file is
// looked at again: what a dead daemon leaves is known by the number in it, and where a signal goes
// to a process that stands in for the daemon, that number changes with each signal.
DAEMONIZE_LOCAL Stopped stop_holder(const char* path, Holder& holder, const StopOrder& order,
                                    Fault& fault) noexcept {
    const long pid = holder.daemon.pid;
    const Deadline deadline(order.limit);
    if (pid == self()) {
        fail(fault, errc::invalid_option, "cannot stop %P: it is this process", pid);
        return Stopped::failed;
    }
    if (order.warn) order.warn(order.program, pid);
    const Sent sent = ask_holder(path, holder, order.signum);
    if (sent == Sent::denied || sent == Sent::failed) {
        refused(fault, "cannot stop %P", pid);
        return Stopped::failed;
    }
    bool killed = false;
    if (!await_stop(holder.daemon, order)) {
        if (!order.kills) {
            fail(fault, errc::timed_out, "cannot stop %P: it has not ended within %t, and lives on",
                 pid, static_cast<long long>(order.limit.count()));
            return Stopped::failed;
        }
        PidFileView now;  // the number by which the file is known when its daemon is dead
        Fault ignored;
        if (view_file(path, now, ignored) && same_holder(holder.view, now) && now.number)
            holder.view.number = now.number;
        killed = end_process(holder.daemon);
        // A corpse that nobody collects has no lock; where nothing else tells, that does.
        const bool told = holder.daemon.handle || holder.daemon.born != 0;
        if (!await_end(holder.daemon, Deadline(after_kill)) &&
            (told || !view_file(path, now, ignored) || !is_free(now, holder))) {
            fail(fault, errc::timed_out, "cannot stop %P: it has not ended %t after it was killed",
                 pid, static_cast<long long>(after_kill.count()));
            return Stopped::failed;
        }
    }
    const long long left = deadline.left();
    if (!await_unlocked(path, holder, Deadline(left < patience.count() ? patience : Duration(left)),
                        fault))
        return Stopped::failed;
    if (!clear_leftover(path, holder, fault)) return Stopped::failed;
    return killed ? Stopped::killed : Stopped::ended;
}

// A daemon that is gone already is no failure of stop(): what it has left is removed, so that
// status() says "not running" from here on, and the answer is not_running.
DAEMONIZE_LOCAL Stopped stop_daemon(const std::string& pidfile, const StopOrder& order,
                                    Fault& fault) noexcept {
    Holder holder;
    Str path;
    if (!absolute_pidfile(pidfile, path, fault)) return Stopped::failed;
    if (require_holder("cannot stop the daemon of", path.c_str(), holder, fault))
        return stop_holder(path.c_str(), holder, order, fault);
    if (fault.code != static_cast<int>(errc::not_running)) return Stopped::failed;
    // Empty: where the directory did not let the daemon remove its file.
    const bool is_daemons =
        holder.verdict == Verdict::empty || (holder.verdict == Verdict::dead && holder.view.number);
    const Fault unknown = fault;
    if (is_daemons && !clear_leftover(path.c_str(), holder, fault)) return Stopped::failed;
    fault = unknown;
    return Stopped::not_running;
}

// ---- The start: options ----

static bool setup_is_over = false;     // a start was made in this process
static Session* the_daemon = nullptr;  // for the end of the process

DAEMONIZE_LOCAL bool is_open_here(const Session& s) noexcept {
    return s.process != 0 && s.process == self();
}

// A value that cannot be meant is refused before anything is touched: one that is silently mended
// (umask 1777, a path that ends at a zero byte) would be found out when it is too late.
DAEMONIZE_LOCAL bool check_paths(const DaemonOptions& o, Fault& fault) noexcept {
    const struct {
        const char* name;
        const std::string& path;
    } paths[] = {{"pidfile", o.pidfile},
                 {"working_directory", o.working_directory},
                 {"chroot_directory", o.chroot_directory},
                 {"standard_input", o.standard_input.path()},
                 {"standard_output", o.standard_output.path()},
                 {"standard_error", o.standard_error.path()}};
    for (const auto& row : paths)
        if (has_zero_byte(row.path)) return invalid(fault, row.name, "it holds a zero byte");
    const Stream* const streams[] = {&o.standard_input, &o.standard_output, &o.standard_error};
    for (int i = 0; i < 3; ++i)
        if (streams[i]->choice() == Stream::path_choice && streams[i]->path().empty())
            return invalid(fault, paths[3 + i].name,
                           "the path is empty; for /dev/null write null_stream");
    if (o.standard_input.truncates())
        return invalid(fault, "standard_input", "it is only read, so it cannot be truncated");
    if (!o.standard_output.path().empty() && o.standard_output.path() == o.standard_error.path() &&
        o.standard_output.truncates() != o.standard_error.truncates())
        return invalid(fault, "standard_error", "the same file is truncated as standard_output");
    return true;
}

DAEMONIZE_LOCAL bool is_account(const Account& account) noexcept {
    return !account.is_set() || !account.name().empty() ||
           (account.id() >= 0 && account.id() < 0xffffffffLL);
}

// Each option by itself. An option without the one that it depends on was meant to do something:
// that is said, not passed over.
DAEMONIZE_LOCAL bool check_values(const DaemonOptions& o, Fault& fault) noexcept {
    const char* const unsupported = unsupported_option(o);
    if (unsupported)
        return fail(fault, errc::unsupported, "cannot use option %s: not supported by this system",
                    unsupported);
    if (o.umask < -1 || o.umask > 0777) return invalid(fault, "umask", "out of range: 0 to 0777");
    if (o.pidfile_mode < 0400 || o.pidfile_mode > 0777 || (o.pidfile_mode & 022))
        return invalid(
            fault, "pidfile_mode",
            "its owner must be able to read it, and others must not be able to write it");
    if (!is_account(o.uid) || !is_account(o.gid))
        return invalid(fault, is_account(o.uid) ? "gid" : "uid",
                       "it is empty, or a number out of range");
    if (!o.clear_environment && !o.environment_keep.empty())
        return invalid(fault, "environment_keep", "clear_environment is not set");
    if (!o.replace_arguments && !o.arguments.empty())
        return invalid(fault, "arguments", "replace_arguments is not set");
    for (const std::pair<int, Handler>& entry : o.signal_map)
        if (!is_catchable(entry.first))
            return fail(fault, errc::unknown_signal,
                        "cannot use option signal_map: %S cannot be handled", entry.first);
    return true;
}

// Relative paths are meant from where the caller stands. A directory inside the jail is none of
// his.
DAEMONIZE_LOCAL bool make_paths_absolute(Session& s, Fault& fault) noexcept {
    const DaemonOptions& o = *s.context;
    s.pidfile.set("");
    s.root.set("");
    s.directory.set("");
    if (!o.pidfile.empty() && !make_absolute(o.pidfile.c_str(), s.pidfile, fault)) return false;
    const char* const directory = o.working_directory.c_str();
    if (!o.chroot_directory.empty()) {
        if (!make_absolute(o.chroot_directory.c_str(), s.root, fault)) return false;
        s.directory.set(*directory == '/' ? "" : "/", directory);
    } else if (*directory) {
        if (!make_absolute(directory, s.directory, fault)) return false;
    } else if (s.decision.detach) {
        s.directory.set(root_directory());
    }
    for (Target& target : s.targets)
        if (target.choice == Stream::path_choice) {
            Str relative = std::move(target.path);
            if (!make_absolute(relative.c_str(), target.path, fault)) return false;
            if (std::strcmp(target.path.c_str(), s.pidfile.c_str()) == 0)
                return invalid(fault, "standard stream", "it is the PID file");
        }
    if (s.decision.inetd) s.pidfile.set("");  // each connection is a process
    return true;
}

DAEMONIZE_LOCAL void take_streams(Session& s) noexcept {
    const DaemonOptions& o = *s.context;
    const Stream* const streams[] = {&o.standard_input, &o.standard_output, &o.standard_error};
    for (int i = 0; i < 3; ++i) {
        Target& target = s.targets[i];
        target.path.set(streams[i]->path().c_str());
        target.file.close();
        target.choice = streams[i]->choice();
        target.descriptor = streams[i]->descriptor();
        target.truncates = streams[i]->truncates();
        target.late = false;
    }
}

struct Wish {
    Detach detach;
    bool comes_back;  // the verb `start` of control()
};

// Steps 1 to 3: nothing is changed yet.
DAEMONIZE_LOCAL bool prepare(Session& s, DaemonContext& context, Wish wish, Fault& fault) noexcept {
    s.context = &context;
    s.program.set(!context.program_name.empty() ? context.program_name.c_str()
                  : !s.called.is_empty()        ? s.called.c_str()
                                                : own_name());
    s.decision = decide(wish.detach, wish.comes_back, evidence());
    take_streams(s);
    return check_paths(context, fault) && check_values(context, fault) && resolve(s, fault) &&
           make_paths_absolute(s, fault) && (!s.decision.detach || check_threads(s, fault));
}

// ---- The start: the daemon's half (also the foreground's) ----

DAEMONIZE_LOCAL bool run_privileged(DaemonContext& context, Fault& fault) noexcept {
    if (!context.privileged) return true;
    const Outcome outcome = guarded([&] { context.privileged(context); });
    if (!outcome.threw && outcome.signum == no_signal) return true;
    fail(fault, errc::start_failed, "cannot run the privileged step: ");
    if (outcome.threw)
        fault.text.put(outcome.text.c_str());
    else
        format(fault.text, "%S came", outcome.signum);
    return false;
}

extern "C" {
static void daemonize_at_exit() {
    if (the_daemon && is_open_here(*the_daemon)) discard_file(*the_daemon->lock, true);
}
}

DAEMONIZE_LOCAL Route route_of(const Handler& handler) noexcept {
    if (handler.callback()) return Route::count;
    return handler.action() == ignore_signal      ? Route::ignore
           : handler.action() == default_signal   ? Route::standard
           : handler.action() == terminate_signal ? Route::terminate
                                                  : Route::count;
}

DAEMONIZE_LOCAL bool set_signals(Session& s, SignalHold& hold, Fault& fault) noexcept {
    if (!set_built_in_routes(s, fault)) return false;
    for (const std::pair<int, Handler>& entry : s.context->signal_map)
        if (!route_below(entry.first, route_of(entry.second), fault)) return false;
    let_signals_in(s, hold);
    return true;
}

// Steps 9 to 16. A SignalHandler that was started before goes on, and goes before signal_map.
DAEMONIZE_LOCAL bool become(Session& s, SignalHold& hold, Fault& fault) noexcept {
    if (!move_in(s, fault)) return false;
    the_daemon = &s;
    static const bool registered = std::atexit([] { daemonize_at_exit(); }) == 0;
    static_cast<void>(registered);  // else an end by exit() leaves the file: stale, in nobody's way
    return (s.pidfile.is_empty() || enter_itself(*s.lock, fault)) &&
           run_privileged(*s.context, fault) && settle_in(s, fault) && set_signals(s, hold, fault);
}

// What stdio holds, before an end by _exit.
DAEMONIZE_LOCAL void flush(const Session& s) noexcept {
    flush_streams(s.context && s.context->allow_threads);
}

DAEMONIZE_LOCAL void close_targets(Session& s) noexcept {
    for (Target& target : s.targets) target.file.close();
    s.null_device.close();
}

// Says that the start failed, to whoever waits for it: the leader, or the terminal.
[[noreturn]] DAEMONIZE_LOCAL void give_up(Session& s, int code, const char* text,
                                          int exit_code) noexcept {
    bool told = false;
    Str shown;
    set_shown(shown, text, std::strlen(text));
    SignalHold hold;  // a log that nobody reads (SIGPIPE) must not take the word from the leader
    hold.take();
    flush(s);
    if (s.channel) {
        append_line(s.targets[2].file, s.program.c_str(), shown.c_str());
        Report report;
        report.word = Report::failed;
        report.code = code;
        report.exit_code = exit_code;
        told = tell_leader(s, report, shown.c_str(), std::strlen(shown.c_str()));
    } else if (!s.decision.inetd) {
        print(2, s.program.c_str(), shown.c_str());
    }
    // A leader that heard of it removes the file: it is neither jailed nor dropped.
    if (!told) discard_file(*s.lock, true);
    leave(failure_code(exit_code));
}

// Bound to this process: a fork of the daemon has the object, but is not open.
DAEMONIZE_LOCAL void mark_open(Session& s, Role role) noexcept {
    s.role = role;
    s.process = s.daemon = self();
    s.starting = true;
    s.closed = false;
    s.parent = 0;
    setup_is_over = true;
}

// There is no other process to fail in: the error goes to the caller, and what was changed by then
// (umask, ids, directory) stays changed.
DAEMONIZE_LOCAL bool start_foreground(Session& s, SignalHold& hold, Fault& fault) noexcept {
    mark_open(s, Role::foreground);
    if (become(s, hold, fault)) return true;
    discard_file(*s.lock, false);
    drop_lock(*s.lock);
    terminable.store(nullptr);
    the_daemon = nullptr;
    s.process = 0;
    s.role = Role::launcher;
    return false;
}

// From the fork on nothing is thrown and nothing returned to the caller but a daemon that runs.
DAEMONIZE_LOCAL void start_daemon(Session& s, SignalHold& hold) noexcept {
    Fault fault;
    mark_open(s, Role::daemon);
    if (!become(s, hold, fault)) give_up(s, fault.code, fault.text.c_str(), 1);
    if (!s.by_hand) s.context->ready();
}

// The launcher's end: it lets go of what the daemon has by now, or of what was made for nothing.
DAEMONIZE_LOCAL bool end_launcher(Session& s, bool started, const Fault& fault, const char* text,
                                  std::size_t size, Error& error) noexcept {
    drop_lock(*s.lock);
    close_targets(s);
    s.parent = started ? self() : 0;
    if (started) tell_moment(Moment::launched, s.daemon);
    if (started) return true;
    give(fault, error);
    if (text) {
        Str shown;
        set_shown(shown, text, size);
        error.text = shown.c_str();
    }
    error.exit_code = s.exit_code;
    return false;
}

// The steps of a start. True: in the launcher the daemon is ready; elsewhere this is the daemon, or
// the foreground. False: in the launcher or the foreground, with the error; a daemon that fails has
// told its leader and ended (see give_up()).
DAEMONIZE_LOCAL bool start_session(Session& s, DaemonContext& context, Wish wish, bool kept,
                                   Error& error) noexcept {
    Fault fault;
    SignalHold hold;
    s.exit_code = 1;
    s.kept = kept;
    s.by_hand = context.ready_by_hand || s.controlled;
    if (!s.lock) s.lock = new PidLock;
    const bool born = adopt_birth(s);
    if (born) wish.detach = Detach::yes;
    const bool prepared = prepare(s, context, wish, fault);  // 1, 2, 3
    if (born) {
        if (!prepared) give_up(s, fault.code, fault.text.c_str(), 1);
        start_daemon(s, hold);
        return true;
    }
    s.lock->path.set(s.pidfile.c_str());
    s.lock->mode = context.pidfile_mode;
    if (!prepared || (context.make_directory && !make_pid_directory(s, fault)) ||
        (!s.pidfile.is_empty() && !acquire(*s.lock, Duration(0), hold, fault)))  // 4
        return give(fault, error);  // nothing was made yet
    hold.take();
    const char* text = nullptr;
    std::size_t size = 0;
    bool started = false;
    Role role = s.decision.detach ? Role::launcher : Role::foreground;
    if (!open_streams(s, fault)) {  // 5
        discard_file(*s.lock, false);
        role = Role::launcher;
    } else if (s.decision.detach) {
        role = detach(s, hold, started, fault, text, size);  // 6, 7, 8
        setup_is_over = true;
    }
    if (role == Role::launcher) return end_launcher(s, started, fault, text, size, error);
    if (role == Role::daemon) {
        start_daemon(s, hold);
    } else {
        if (!start_foreground(s, hold, fault)) return give(fault, error);
        if (!s.by_hand) context.ready();
    }
    return true;
}

// ---- Signals ----

// One SignalHandler: what is wished of each signal. What stands is known to the system room. The
// wishes are fields that the program may set at any time, so each round compares both anew; nothing
// has to be told.
struct Watch {
    struct Entry {
        int signum;
        Handler* field;   // sigint, sigterm, sigabrt, reload: read anew each round
        Handler handler;  // of on() and signal_map
        Entry* next;
        const Handler& wish() const noexcept { return field ? *field : handler; }
    };
    Entry* first = nullptr;
    bool started = false;
    int generation = 0;  // of the wake; another one in a forked child
    Session* session = nullptr;
    Deadline watchdog_due{no_limit};

    ~Watch() {
        while (Entry* const entry = first) {
            first = entry->next;
            delete entry;
        }
    }
    Entry* find(int signum) noexcept {
        for (Entry* entry = first; entry; entry = entry->next)
            if (entry->signum == signum) return entry;
        return nullptr;
    }
    DAEMONIZE_SMALL Entry& add(int signum, Handler* field) {
        Entry** end = &first;
        while (*end) end = &(*end)->next;
        return *(*end = new Entry{signum, field, Handler(), nullptr});
    }
};

// Brings one disposition to what is wished. default_signal: whatever stood there before.
DAEMONIZE_LOCAL bool sync_one(Watch& w, Watch::Entry& entry, Fault& fault) noexcept {
    const Handler& wish = entry.wish();
    const bool held = has_captured(entry.signum, &w);
    if (!wish.callback() && wish.action() == default_signal) {
        if (held) release(entry.signum, &w);
        return true;
    }
    const Route wanted = route_of(wish);
    if (held && is_routed(entry.signum, wanted)) return true;
    return (held || capture(entry.signum, &w, fault)) && route(entry.signum, wanted, fault);
}

DAEMONIZE_LOCAL bool sync_all(Watch& w, Fault& fault) noexcept {
    for (Watch::Entry* entry = w.first; entry; entry = entry->next)
        if (!sync_one(w, *entry, fault)) return false;
    return true;
}

DAEMONIZE_LOCAL void stop_watch(Watch& w) noexcept {
    w.started = false;
    for (Watch::Entry* entry = w.first; entry; entry = entry->next) release(entry->signum, &w);
}

DAEMONIZE_LOCAL bool any_pending(const Watch& w) noexcept {
    for (const Watch::Entry* entry = w.first; entry; entry = entry->next)
        if (has_captured(entry->signum, &w) && pending_signals(entry->signum) > 0) return true;
    return false;
}

// Runs the callback; returns the number of a signal that is to be reported.
DAEMONIZE_LOCAL int dispatch(Watch& w, Watch::Entry& entry) {
    const int signum = entry.signum;
    const Handler handler = entry.wish();  // a copy: the callback may replace itself
    if (!handler.callback()) return handler.action() == report_signal ? signum : no_signal;
    // The wake stays rung for what is left, also when the callback throws.
    struct Reminder {
        bool reloads;
        ~Reminder() {
            if (reloads) tell_moment(Moment::reloaded);
            ring_wake();
        }
    };
    // READY=1 for the end of a reload must not be taken for the end of a start.
    const bool reloads = signum == reload_signal && !(w.session && w.session->starting);
    if (reloads) tell_moment(Moment::reloading);
    const Reminder reminder{reloads};
    handler.callback()(signum);
    return no_signal;
}

// Of each signal those counted, and those that came while its callbacks ran. Not without end: a
// flood must not keep an order to end waiting.
DAEMONIZE_LOCAL int next_signal(Watch& w) {
    for (Watch::Entry* entry = w.first; entry && w.started; entry = entry->next) {
        for (int round = 0; round < 2; ++round) {
            for (int left = pending_signals(entry->signum); left > 0; --left) {
                if (!w.started || !has_captured(entry->signum, &w) || !take_signal(entry->signum))
                    break;
                const int signum = dispatch(w, *entry);
                if (signum != no_signal) return signum;
            }
        }
    }
    return no_signal;
}

// A loop that is heard of: the manager is told when half of its limit has passed.
DAEMONIZE_LOCAL void keep_alive(Watch& w, Duration interval) noexcept {
    if (w.session && is_open_here(*w.session)) renew_lock(*w.session->lock, false);
    if (interval == no_limit) return;
    if (!w.watchdog_due.never() && !w.watchdog_due.over()) return;
    tell_moment(Moment::alive);
    w.watchdog_due = Deadline(interval);
}

[[noreturn]] DAEMONIZE_LOCAL void raise_fault(const Fault& fault) {
    Error error;
    give(fault, error);
    raise_error(error);
}

DAEMONIZE_LOCAL int await_signal(Watch& w, const Deadline& deadline, std::intptr_t input) {
    Fault fault;
    if (!w.started || !is_wake_open(w.generation)) {
        fail(fault, errc::invalid_option, "cannot wait for signals: %s",
             !w.started ? "start() was not called"
             : w.generation == wake_generation() && is_wake_process()
                 ? "the program has closed the pipe for signals"
                 : "this is a fork of the process that called start()");
        raise_fault(fault);
    }
    const Duration interval = manager_watchdog();
    bool others = false;  // the wake is rung for another SignalHandler
    for (;;) {
        const bool late = deadline.over();  // asked first: who comes in time is still served
        if (!sync_all(w, fault)) raise_fault(fault);
        const int signum = next_signal(w);  // before the wake is read: nothing stands in its way
        if (!w.started) return signum;      // a callback may call stop()
        // The wake is rung exactly for what is left. In this order: what is counted after the look
        // has rung.
        if (!others) drain_wake();
        if (is_any_pending()) ring_wake();
        if (signum != no_signal) return signum;
        if (!sync_all(w, fault)) raise_fault(fault);  // a callback may have replaced a handler
        keep_alive(w, interval);
        others = is_any_pending() && !any_pending(w);
        const bool watched = !w.watchdog_due.never() && w.watchdog_due.left() < deadline.left();
        const Woken woken = await_wake(input, watched ? w.watchdog_due : deadline, others);
        if (woken == Woken::broken) {
            fail(fault, errc::invalid_option,
                 "cannot wait for signals: the program has closed the pipe for signals");
            raise_fault(fault);
        }
        if (woken == Woken::by_time && deadline.over()) {
            if (late || !any_pending(w)) return no_signal;
        }
        if (woken == Woken::by_input && !any_pending(w)) return no_signal;
        if (late) return no_signal;  // also where a callback keeps its own signal pending
    }
}

// ---- What control() and the face share ----

// Whoever stays in the foreground by evidence says so: a shell that waits for its prompt would not
// know why. Not to a network client.
DAEMONIZE_LOCAL void announce_foreground(const Session& s) noexcept {
    if (s.role != Role::foreground || s.decision.by_wish || s.decision.inetd) return;
    Text text;
    format(text, "stays in the foreground: %s", s.decision.why);
    print(2, s.program.c_str(), text.c_str());
}

// A daemon that a job of its caller's will end is no secret.
DAEMONIZE_LOCAL void announce_job(const Session& s) noexcept {
    if (s.in_job)
        print(2, s.program.c_str(), "started inside a job of the caller's: it ends with that");
}

// Both logs, each by its path; the error of the first that fails, which keeps its old file.
DAEMONIZE_LOCAL bool reopen_all(const Session& s, Fault& fault) noexcept {
    bool done = true;
    if (!is_open_here(s) || s.role != Role::daemon) return true;  // the foreground's are not ours
    for (int which = 1; which <= 2; ++which) {
        if (s.targets[which].choice != Stream::path_choice) continue;
        if (which == 2 && s.starting) continue;  // still the launcher's
        Fault failure;
        const bool swapped = features.reopen(s, which, failure);
        if (!swapped && done) fault = failure;
        done = done && swapped;
    }
    return done;
}

// The answer of status(). `starting`: a daemon that has not called ready() yet.
DAEMONIZE_LOCAL Status query(const std::string& pidfile, bool& starting) noexcept {
    Status status{State::unknown, 0, Duration(0), std::string()};
    Fault fault;
    Holder holder;
    Str path;
    Text text;
    starting = false;
    if (!absolute_pidfile(pidfile, path, fault) || !find_holder(path.c_str(), holder, fault)) {
        status.text = fault.text.c_str();
        return status;
    }
    const PidFileView& view = holder.view;
    const Verdict verdict = holder.verdict;
    starting = verdict == Verdict::unready;
    if (starting) {
        format(text, "starting as %P", holder.daemon.pid);
    } else if (verdict == Verdict::proven) {
        status.state = State::running;
        status.pid = holder.daemon.pid;
        status.uptime = age(holder.daemon);
        format(text, "running as %P", status.pid);
        if (status.uptime > Duration(0))
            format(text, " for %t", static_cast<long long>(status.uptime.count()));
    } else if (verdict == Verdict::dead) {
        status.state = State::dead;
        format(text, view.number ? "dead: %P left %p behind" : "dead: %Pnobody holds %p, and ",
               view.number, path.c_str());
        if (!view.number) describe_content(view, text);
    } else if (verdict == Verdict::missing || verdict == Verdict::empty) {
        status.state = State::not_running;
        text.put("not running");
    } else {
        format(text, "cannot tell from %p: ", path.c_str());
        describe_unproven(view, text);
    }
    status.text = text.c_str();
    return status;
}

// Before a reload: the logs as a start would open them, where somebody has moved them away.
DAEMONIZE_LOCAL bool prepare_logs(Session& s, DaemonContext& context, Fault& fault) noexcept {
    s.context = &context;
    s.decision.detach = true;
    take_streams(s);
    return check_paths(context, fault) && resolve(s, fault) && make_paths_absolute(s, fault) &&
           make_moved_logs(s, fault);
}

// control()'s default for a reload. By the session: the context may have been moved since.
DAEMONIZE_LOCAL void reopen_on_reload(Session& session) noexcept {
    // Of a terminal that was closed it means the end, as for any program in the foreground.
    if (session.role == Role::foreground && terminal_is_gone()) {
        std::raise(SIGTERM);
        return;
    }
    Fault fault;  // a stream that could not be re-opened keeps its old file, which is told
    if (!reopen_all(session, fault)) print(2, own_name(), fault.text.c_str());
}
// ---- control() ----

enum class Verb { start, stop, restart, try_restart, reload, force_reload, status, run, help, bad };

static const struct VerbName {
    const char* word;
    Verb verb;
    const char* does;
} verbs[] = {
    {"start", Verb::start, "start the daemon; returns when it is ready"},
    {"stop", Verb::stop, "stop the daemon; returns when it is gone"},
    {"restart", Verb::restart, "stop, then start"},
    {"try-restart", Verb::try_restart, "restart, but only what is running"},
    {"reload", Verb::reload, "have the daemon re-open its logs and read its configuration"},
    {"force-reload", Verb::force_reload, "reload; what cannot be told is restarted"},
    {"status", Verb::status, "tell whether the daemon runs; --json: for programs"},
    {"run", Verb::run, "run in the foreground"},
    {"--help", Verb::help, nullptr},
    {"-h", Verb::help, nullptr},
};

// What control() knows while it works.
struct Control {
    DaemonContext& context;
    const std::function<int(DaemonContext&)>& body;
    const char* program;
    bool json;
};

DAEMONIZE_LOCAL void say(const Control& c, const char* form, Arg a = Arg()) noexcept {
    Text text;
    format(text, form, a);
    print(1, c.program, text.c_str());
}

// Prints what went wrong. The exit code: 4 not permitted, 3 not available here.
DAEMONIZE_LOCAL int complain(const Control& c, const Fault& fault, int otherwise) noexcept {
    Error error;
    give(fault, error);
    print(2, c.program, fault.text.c_str());
    if (error.code == std::errc::operation_not_permitted ||
        error.code == std::errc::permission_denied)
        return 4;
    return error.code == errc::unsupported ? 3 : otherwise;
}

DAEMONIZE_LOCAL int show_usage(const Control& c, const char* wrong) noexcept {
    Text text;
    if (wrong) format(text, "%s: unknown word %q; ", c.program, wrong);
    format(text, "usage: %s ", c.program);
    for (const VerbName& verb : verbs)
        if (verb.does) format(text, "%s|", verb.word);
    text.put("--help [...]");
    print(2, "", text.c_str());
    return 2;
}

DAEMONIZE_LOCAL int show_help(const Control& c) {
    std::string text = std::string("usage: ") + c.program + " VERB [...]\n";
    for (const VerbName& verb : verbs)
        if (verb.does)
            ((text += "  ") += verb.word).append(14 - std::strlen(verb.word), ' ') +=
                std::string(verb.does) + "\n";
    text += "PID file: " + (c.context.pidfile.empty() ? std::string("none") : c.context.pidfile);
    text +=
        "\nExit status: 0 done; 1 failed; 2 usage; 3 not supported; 4 not permitted; 7 not running"
        "\n  (reload); 124 not ready in time. Of status: 0 running, 1 dead, 3 not running, 4 "
        "unknown.";
    if (!c.context.help.empty()) text += "\n" + c.context.help;
    while (text.back() == '\n') text.pop_back();
    print(1, "", text.c_str());
    return 0;
}

// The daemon's life: the body, and an end that is orderly whatever ended it.
DAEMONIZE_LOCAL int live(const Control& c) {
    Session& s = Session::of(c.context);
    int status = 0;
    const Outcome outcome = guarded([&] { status = c.body(c.context); });
    if (outcome.signum != no_signal) status = 128 + outcome.signum;
    if (outcome.threw) status = 1;
    if (s.starting && s.channel) {
        Text text;
        if (outcome.signum != no_signal)
            format(text, "ended by %S before it was ready", outcome.signum);
        else if (status == 0)
            text.put("returned 0 without calling ready()");
        else
            format(text, "ended with status %d before it was ready", status);
        give_up(s, static_cast<int>(errc::start_failed),
                outcome.threw ? outcome.text.c_str() : text.c_str(), status);
    }
    if (outcome.threw && !s.decision.inetd) print_shown(c.program, outcome.text.c_str());
    c.context.close();
    tell_end(status);
    return status;
}

// LSB: what runs has been started. What is starting is waited for.
DAEMONIZE_LOCAL int started_before(const Control& c, const Error& error) noexcept {
    const Duration limit = c.context.ready_timeout;
    const Deadline deadline(limit <= Duration(0) ? no_limit : limit);
    Backoff backoff(deadline);
    Str path;
    Fault fault;
    if (!absolute_pidfile(c.context.pidfile, path, fault)) return -1;
    for (bool late = false; !late; backoff.pause()) {
        Holder holder;
        late = deadline.over();
        if (!find_holder(path.c_str(), holder, fault) || !is_daemon(holder.verdict)) return -1;
        if (holder.verdict != Verdict::proven) continue;
        say(c, "already running as %P", holder.daemon.pid);
        return 0;
    }
    print(2, c.program, error.text.c_str());
    return 124;
}

// Prints, where open() would; with the line that a person wants ("started as process 4711").
DAEMONIZE_LOCAL int do_start(const Control& c, Detach detach, bool comes_back) {
    DaemonContext& context = c.context;
    Session& s = Session::of(context);
    Error error;
    if (is_open_here(s)) return live(c);
    s.controlled = true;
    features.reload = reopen_on_reload;
    s.tells_wait = is_terminal(1);
    if (!start_session(s, context, Wish{detach, comes_back}, false, error)) {
        int status = error.exit_code;
        if (error.code == errc::already_running && context.running_is_success) {
            const int before = started_before(c, error);
            if (before >= 0) leave(before);
        }
        if (!s.decision.inetd) print(2, c.program, error.text.c_str());
        flush(s);
        if (error.code == errc::unsupported && status == 1) status = 3;
        leave(status);
    }
    if (s.role != Role::launcher) {
        announce_foreground(s);
        return live(c);
    }
    say(c, "started as %P", s.daemon);
    announce_job(s);
    leave(0);
}

DAEMONIZE_LOCAL void warn_of_ancestor(const char* program, long daemon) noexcept {
    if (is_ancestor(daemon))
        print(2, program, "the daemon is an ancestor of this command; it is stopped anyway");
}

DAEMONIZE_LOCAL int do_stop(const Control& c) noexcept {
    Fault fault;
    const long long begin = Deadline::now();
    const int signum = c.context.stop_signal;
    const StopOrder order = {
        c.context.stop_timeout, signum,        c.context.kill_after_stop_timeout, c.program,
        warn_of_ancestor,       is_terminal(1)};
    if (!is_sendable(signum)) {
        fail(fault, errc::unknown_signal, "cannot use option stop_signal: no signal %d", signum);
        return complain(c, fault, 1);
    }
    const Stopped stopped = stop_daemon(c.context.pidfile, order, fault);
    const long long after = (Deadline::now() - begin) / 1000;
    if (stopped == Stopped::failed) return complain(c, fault, 1);
    const char* const note = std::strstr(fault.text.c_str(), " (it");
    if (stopped == Stopped::not_running)
        say(c, "not running%s", note ? note : "");
    else
        say(c, stopped == Stopped::ended ? "ended after %t" : "did not end; killed after %t",
            after);
    return 0;
}

// The program's test of its own configuration: what would not start again is not ended.
DAEMONIZE_LOCAL bool passes_check(const Control& c) {
    if (!c.context.check) return true;
    Error error;
    bool passed = false;
    const Outcome outcome = guarded([&] { passed = c.context.check(error); });
    if (passed && !outcome.threw && outcome.signum == no_signal) return true;
    Str text;
    text.set("the check failed: ", outcome.threw ? outcome.text.c_str() : error.text.c_str());
    print_shown(c.program, text.c_str());
    return false;
}

// A file that nobody has locked is in nobody's way, whatever it holds.
DAEMONIZE_LOCAL int do_restart(const Control& c, bool only_running) {
    Fault fault;
    Str path;
    PidFileView view;
    const Detach wish = c.context.detach_process;
    const bool is_free = absolute_pidfile(c.context.pidfile, path, fault) &&
                         view_file(path.c_str(), view, fault) && !view.locked;
    if (is_free) {
        Text text;
        text.put("not running");
        note_content(view, text);
        say(c, "%s", text);
        if (only_running) return 0;
    }
    if (!passes_check(c)) return 1;
    if (!is_free) {  // what cannot even begin is no reason to end what runs
        Session trial;
        trial.called.set(c.program);
        if (!prepare(trial, c.context, Wish{wish, true}, fault)) {
            const int status = complain(c, fault, 1);
            return status == 3 ? 3 : 1;  // as start would
        }
        const int stopped = do_stop(c);
        if (stopped != 0) return stopped;
    }
    return do_start(c, wish, true);
}

// In this order: a check for a daemon that is not there would be for nothing, and no log is made
// anew for one whose configuration was refused. The signal comes last, when all that it needs is
// there.
DAEMONIZE_LOCAL int do_reload(const Control& c) {
    Fault fault;
    Str path;
    Session trial;
    Holder holder;
    trial.called.set(c.program);
    const bool found = absolute_pidfile(c.context.pidfile, path, fault) &&
                       require_holder("cannot signal the daemon of", path.c_str(), holder, fault);
    if (found && !passes_check(c)) return 1;
    if (found && prepare_logs(trial, c.context, fault) &&
        signal_daemon(path.c_str(), reload_signal, fault)) {
        say(c, "told to reload");
        return 0;
    }
    return complain(c, fault, fault.code == static_cast<int>(errc::not_running) ? 7 : 1);
}

// LSB: a reload where that can be told, else a restart.
DAEMONIZE_LOCAL int do_force_reload(const Control& c) {
    Str path;
    Holder holder;
    Fault fault;
    const bool can_tell = absolute_pidfile(c.context.pidfile, path, fault) &&
                          require_holder("cannot reload", path.c_str(), holder, fault);
    return can_tell ? do_reload(c) : do_restart(c, false);
}

// Control characters have no other form in JSON than \u00xx; all other bytes are the caller's
// UTF-8.
DAEMONIZE_LOCAL void put_json(std::string& out, const char* text) {
    out += '"';
    for (; *text; ++text) {
        const unsigned char byte = static_cast<unsigned char>(*text);
        const bool control = byte < 0x20 || byte == 0x7f;
        if (control) {
            out += "\\u00";
            out += hex_digits[byte >> 4];
        } else if (*text == '"' || *text == '\\') {
            out += '\\';
        }
        out += control ? hex_digits[byte & 15] : *text;
    }
    out += '"';
}

DAEMONIZE_LOCAL int do_status(const Control& c) noexcept {
    bool starting = false;
    const Status status = query(c.context.pidfile, starting);
    if (!c.json) {
        const bool failed = status.state == State::unknown && !starting;
        print(failed ? 2 : 1, c.program, status.text.c_str());
        return static_cast<int>(status.state);
    }
    const char* const state = starting                             ? "starting"
                              : status.state == State::running     ? "running"
                              : status.state == State::dead        ? "dead"
                              : status.state == State::not_running ? "not running"
                                                                   : "unknown";
    Text head;
    format(head, "{\"state\": \"%s\", \"pid\": %d, \"uptime\": %d, \"pidfile\": ", state,
           status.pid, static_cast<long long>(status.uptime.count()) / 1000);
    std::string text = head.c_str();
    put_json(text, c.context.pidfile.c_str());
    text += ", \"text\": ";
    put_json(text, status.text.c_str());
    print(1, "", (text + "}").c_str());
    return static_cast<int>(status.state);
}

DAEMONIZE_LOCAL int perform(const Control& c, Verb verb) {
    if (verb == Verb::start) return do_start(c, c.context.detach_process, true);
    if (verb == Verb::run) return do_start(c, Detach::no, false);
    if (verb == Verb::stop) return do_stop(c);
    if (verb == Verb::restart) return do_restart(c, false);
    if (verb == Verb::try_restart) return do_restart(c, true);
    if (verb == Verb::reload) return do_reload(c);
    if (verb == Verb::force_reload) return do_force_reload(c);
    if (verb == Verb::status) return do_status(c);
    return verb == Verb::help ? show_help(c) : show_usage(c, nullptr);
}

}  // namespace detail

// ---- The public face ----

extern const int signal_reload = detail::reload_signal;

DAEMONIZE_SMALL Stream::Stream(const char* path) : path_(path), choice_(path_choice) {
    detail::features.open_target = detail::open_target;
    detail::features.reopen = detail::reopen;
}
Stream::Stream(const std::string& path) : Stream(path.c_str()) { path_ = path; }

DAEMONIZE_SMALL Stream Stream::descriptor(int open_descriptor) {
    Stream stream;
    stream.choice_ = number_choice;
    stream.descriptor_ = open_descriptor;
    return stream;
}

DAEMONIZE_SMALL Stream Stream::truncated(const std::string& path) {
    Stream stream(path);
    stream.truncates_ = true;
    return stream;
}

DAEMONIZE_SMALL Account::Account(int id) : id_(id), is_set_(true) {
    detail::features.resolve_accounts = detail::resolve_accounts;
}
Account::Account(unsigned id) : Account(0) { id_ = id; }
DAEMONIZE_SMALL Account::Account(const char* name) : Account(-1) { name_ = name; }
Account::Account(const std::string& name) : Account(-1) { name_ = name; }

DAEMONIZE_SMALL const std::error_category& category() noexcept {
    static const detail::Category* const instance = new detail::Category;  // outlives every static
    return *instance;
}

DAEMONIZE_SMALL std::error_code make_error_code(errc condition) noexcept {
    return std::error_code(static_cast<int>(condition), category());
}

DAEMONIZE_SMALL DaemonError::DaemonError(const Error& error)
    : std::system_error(error.code), text_(error.text) {}

namespace detail {
struct Held {
    PidLock lock;
    Fault path_fault;
};

// The path, or why the object has none.
DAEMONIZE_LOCAL bool has_path(const Held* held, Fault& fault) noexcept {
    if (!held) return invalid(fault, "pidfile", "the object was moved from");
    if (held->path_fault.code != 0) fault = held->path_fault;
    return held->path_fault.code == 0;
}
}  // namespace detail

DAEMONIZE_SMALL PidFile::PidFile(const std::string& path, int mode) : held_(new detail::Held) {
    using namespace detail;
    if (mode < 0400 || mode > 0777 || (mode & 022))
        invalid(held_->path_fault, "mode", "not readable by us, or others could write the file");
    else
        absolute_pidfile(path, held_->lock.path, held_->path_fault);
    held_->lock.mode = mode;
    path_ = held_->lock.path.c_str();
}

DAEMONIZE_SMALL PidFile::PidFile(PidFile&& other) noexcept
    : path_(std::move(other.path_)), held_(other.held_) {
    other.held_ = nullptr;
    other.path_.clear();
}

DAEMONIZE_SMALL PidFile& PidFile::operator=(PidFile&& other) noexcept {
    std::swap(held_, other.held_);
    std::swap(path_, other.path_);
    return *this;
}

DAEMONIZE_SMALL PidFile::~PidFile() {
    release();
    delete held_;
}

// Without a start there is no time before ready(): the second record lock is taken at once, else
// whoever asks would be told "starting".
DAEMONIZE_SMALL bool PidFile::acquire(Duration limit, Error& error) noexcept {
    using namespace detail;
    Fault fault;
    SignalHold hold;
    if (is_held()) return true;
    if (!has_path(held_, fault) || !detail::acquire(held_->lock, limit, hold, fault))
        return give(fault, error);
    if (enter_itself(held_->lock, fault)) {
        renew_lock(held_->lock, true);
        return true;
    }
    discard_file(held_->lock, false);
    drop_lock(held_->lock);
    return give(fault, error);
}

DAEMONIZE_SMALL void PidFile::acquire(Duration limit) {
    Error error;
    if (!acquire(limit, error)) detail::raise_error(error);
}

DAEMONIZE_SMALL void PidFile::release() noexcept {
    if (!held_) return;
    detail::discard_file(held_->lock, true);
    detail::drop_lock(held_->lock);
}

DAEMONIZE_SMALL bool PidFile::is_held() const noexcept {
    return held_ && detail::is_entered(held_->lock);
}

// What the file says, whoever holds it: no proof, and no number that may be signalled.
DAEMONIZE_SMALL long PidFile::read(Error& error) const noexcept {
    using namespace detail;
    Fault fault;
    PidFileView view;
    if (has_path(held_, fault) && view_file(held_->lock.path.c_str(), view, fault)) {
        if (view.exists && view.number > 1) return view.number;
        const char* const path = held_->lock.path.c_str();
        if (!view.exists) {
            error.code = std::make_error_code(std::errc::no_such_file_or_directory);
            format(fault.text, "cannot read %p: %s", path, error.code.message());
            error.text = fault.text.c_str();
            return 0;
        }
        fail(fault, errc::invalid_pid_file, "cannot read %p: ", path);
        describe_content(view, fault.text);
        if (view.number == 1) fault.text.put(", no PID of a daemon");
    }
    give(fault, error);
    return 0;
}

DAEMONIZE_SMALL long PidFile::read() const {
    Error error;
    const long pid = read(error);
    if (!pid) detail::raise_error(error);
    return pid;
}

const std::string& PidFile::path() const noexcept { return path_; }

DAEMONIZE_SMALL std::intptr_t PidFile::native_handle() const noexcept {
    return held_ && is_held() ? detail::lock_handle(held_->lock) : -1;
}

DAEMONIZE_SMALL std::string PidFile::default_path(const std::string& program,
                                                  Error& error) noexcept {
    using namespace detail;
    Fault fault;
    Str directory;
    if (program.empty() || program == "." || program == ".." || has_zero_byte(program) ||
        program.find_first_of("/\\") != std::string::npos)
        invalid(fault, "program", "not a file name: %q", program);
    else if (state_directory(program.c_str(), directory, fault))
        return std::string(directory.c_str()) + "/" + program + ".pid";
    give(fault, error);
    return std::string();
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

DAEMONIZE_SMALL SignalHandler::SignalHandler() : reload(default_signal), watch_(new detail::Watch) {
    watch_->add(SIGINT, &sigint);
    watch_->add(SIGTERM, &sigterm);
    watch_->add(SIGABRT, &sigabrt);
    watch_->add(signal_reload, &reload);
}

DAEMONIZE_SMALL SignalHandler::SignalHandler(DaemonContext& context) : SignalHandler() {
    detail::Session* const session = &detail::Session::of(context);
    watch_->session = session;
    if (session->controlled) reload = [session](int) { detail::features.reload(*session); };
    for (const std::pair<int, Handler>& mapped : context.signal_map) {
        if (detail::route_of(mapped.second) != detail::Route::count) continue;
        detail::Watch::Entry* entry = watch_->find(mapped.first);
        if (!entry) entry = &watch_->add(mapped.first, nullptr);
        (entry->field ? *entry->field : entry->handler) = mapped.second;
    }
}

DAEMONIZE_SMALL SignalHandler::~SignalHandler() {
    stop();
    delete watch_;
}

DAEMONIZE_SMALL bool SignalHandler::on(int signum, Handler handler, Error& error) noexcept {
    using namespace detail;
    Fault fault;
    if (!is_catchable(signum)) {
        fail(fault, errc::unknown_signal, "cannot handle %S: %s", signum,
             condition_text(errc::unknown_signal));
        return give(fault, error);
    }
    Watch::Entry* entry = watch_->find(signum);
    if (!entry) entry = &watch_->add(signum, nullptr);
    (entry->field ? *entry->field : entry->handler) = handler;
    const bool here = watch_->started && is_wake_open(watch_->generation);
    return !here || sync_one(*watch_, *entry, fault) || give(fault, error);
}

DAEMONIZE_SMALL void SignalHandler::on(int signum, Handler handler) {
    Error error;
    if (!on(signum, handler, error)) detail::raise_error(error);
}

// In a fork of the process that called it, start() begins anew: the pipe would be read by two
// processes, and what was counted is the parent's.
DAEMONIZE_SMALL bool SignalHandler::start(Error& error) noexcept {
    using namespace detail;
    Fault fault;
    if (watch_->started && watch_->generation == wake_generation() && is_wake_process())
        return true;
    if (!open_wake(fault)) return give(fault, error);
    watch_->started = true;
    watch_->generation = wake_generation();
    if (sync_all(*watch_, fault)) {
        if (any_pending(*watch_)) ring_wake();  // counted for signal_map before
        return true;
    }
    stop_watch(*watch_);
    return give(fault, error);
}

DAEMONIZE_SMALL void SignalHandler::start() {
    Error error;
    if (!start(error)) detail::raise_error(error);
}

DAEMONIZE_SMALL void SignalHandler::stop() noexcept {
    using namespace detail;
    if (!watch_->started) return;
    if (watch_->generation == wake_generation() && is_wake_process())
        stop_watch(*watch_);
    else
        watch_->started = false;  // in a fork of the process that called start()
}

int SignalHandler::wait() { return wait_for(no_limit); }
int SignalHandler::wait_for(Duration limit) { return wait_for_input(-1, limit); }
int SignalHandler::poll() { return wait_for(Duration(0)); }

DAEMONIZE_SMALL int SignalHandler::wait_for_input(std::intptr_t handle, Duration limit) {
    return detail::await_signal(*watch_, detail::Deadline(limit), handle);
}

DAEMONIZE_SMALL void SignalHandler::throw_received(Duration limit) {
    const int signum = wait_for(limit);
    if (signum != no_signal) detail::raise_received(signum);
}

DAEMONIZE_SMALL std::intptr_t SignalHandler::native_handle() const noexcept {
    return watch_->started ? detail::wake_handle() : -1;
}

DAEMONIZE_SMALL DaemonContext::DaemonContext() : session_(new detail::Session) {}

DAEMONIZE_SMALL DaemonContext::DaemonContext(DaemonContext&& other) noexcept
    : DaemonOptions(static_cast<DaemonOptions&&>(other)), session_(other.session_) {
    if (session_->context) session_->context = this;
    other.session_ = new detail::Session;
}

DAEMONIZE_SMALL DaemonContext::~DaemonContext() {
    close();
    // What was started is the process's until its end: `terminate` and the lock refer to it.
    if (session_->process != 0) return;
    delete session_->lock;
    delete session_;
}

DAEMONIZE_SMALL Role DaemonContext::start(Error& error) noexcept {
    using namespace detail;
    error = Error();
    if (session_->process == self()) return session_->role;
    if (!start_session(*session_, *this, Wish{detach_process, false}, true, error))
        return Role::launcher;
    return session_->role;
}

DAEMONIZE_SMALL Role DaemonContext::start() {
    Error error;
    const Role role = start(error);
    if (error) detail::raise_error(error);
    return role;
}

DAEMONIZE_SMALL void DaemonContext::open() {
    using namespace detail;
    Error error;
    Session& s = *session_;
    if (s.process == self()) return;
    const bool started = start_session(s, *this, Wish{detach_process, false}, false, error);
    if (started && s.role != Role::launcher) return announce_foreground(s);
    flush(s);
    if (!started && !s.decision.inetd) print(2, s.program.c_str(), error.text.c_str());
    if (started) announce_job(s);
    leave(started ? 0 : error.exit_code);
}

// First the streams, then the proof, then the word, which cannot be taken back: a log that cannot
// be put in its place, or a leader that is gone, makes this a start that failed.
DAEMONIZE_SMALL void DaemonContext::ready() noexcept {
    using namespace detail;
    Session& s = *session_;
    if (!is_open_here(s) || !s.starting) return;
    if (s.role == Role::daemon) {
        Fault fault;
        const Handle& log = s.targets[2].file ? s.targets[2].file : s.null_device;
        if (s.targets[2].choice != Stream::keep_choice && !put_stream(log, 2, fault))
            give_up(s, fault.code, fault.text.c_str(), 1);
        close_targets(s);
    }
    // Last: closing a log can drop the proof, if that is the PID file by another name.
    renew_lock(*s.lock, true);
    s.starting = false;
    if (s.role == Role::foreground) {
        if (tell_moment(Moment::ready) || manager_error() == 0 || s.decision.inetd) return;
        Error error;
        Fault fault;
        detail::fail(fault, manager_error(), "cannot send READY=1 to the service manager: ");
        give(fault, error);
        fault.text.put(error.code.message().c_str());
        print(2, s.program.c_str(), fault.text.c_str());
        return;
    }
    Report report;
    report.word = Report::ready;
    if (tell_leader(s, report, "", 0)) return;
    discard_file(*s.lock, true);  // nobody knows of this daemon: it must not live on
    leave(1);
}

DAEMONIZE_SMALL void DaemonContext::fail(const std::string& message, int exit_code) noexcept {
    using namespace detail;
    Session& s = *session_;
    const int status = failure_code(exit_code);
    if (is_open_here(s) && s.starting)
        give_up(s, static_cast<int>(errc::start_failed), message.c_str(), exit_code);
    if (!s.decision.inetd)
        print_shown(is_open_here(s) ? s.program.c_str() : own_name(), message.c_str());
    flush(s);
    if (!is_open_here(s)) leave(status);
    close();
    std::exit(status);
}

DAEMONIZE_SMALL void DaemonContext::close() noexcept {
    using namespace detail;
    Session& s = *session_;
    if (!is_open_here(s)) {
        if (s.lock) drop_lock(*s.lock);  // in a fork of the daemon: descriptors, nothing else
        return;
    }
    if (!s.closed) tell_moment(Moment::stopping);
    s.closed = true;
    discard_file(*s.lock, true);  // the lock stays until the process ends
}

void DaemonContext::terminate(int signum) noexcept { detail::terminate_by(signum); }

DAEMONIZE_SMALL bool DaemonContext::is_open() const noexcept {
    return detail::is_open_here(*session_) && !session_->closed;
}
DAEMONIZE_SMALL bool DaemonContext::is_parent() const noexcept {
    return session_->parent != 0 && session_->parent == detail::self();
}
Role DaemonContext::role() const noexcept { return session_->role; }
long DaemonContext::pid() const noexcept { return session_->daemon; }
DAEMONIZE_SMALL std::intptr_t DaemonContext::pidfile_handle() const noexcept {
    return is_open() ? detail::lock_handle(*session_->lock) : -1;
}

DAEMONIZE_SMALL bool DaemonContext::reopen_streams(Error& error) noexcept {
    detail::Fault fault;
    return detail::reopen_all(*session_, fault) || detail::give(fault, error);
}

DAEMONIZE_SMALL void DaemonContext::reopen_streams() {
    Error error;
    if (!reopen_streams(error)) detail::raise_error(error);
}

namespace detail {
DAEMONIZE_LOCAL void add_line(std::string& out, const char* what, const char* form, Arg a = Arg(),
                              Arg b = Arg()) {
    Text text;
    format(text, form, a, b);
    out += std::string(what) + ": " + text.c_str() + "\n";
}

DAEMONIZE_LOCAL void explain_target(std::string& out, const char* what, const Target& target) {
    if (target.choice == Stream::path_choice)
        add_line(out, what, target.late ? "%p, opened by the user whom the daemon becomes" : "%p",
                 target.path.c_str());
    else if (target.choice == Stream::number_choice)
        add_line(out, what, "descriptor %d", target.descriptor);
    else
        add_line(out, what, target.choice == Stream::keep_choice ? "kept" : "nothing");
}
}  // namespace detail

// Rendered from what the start has left in the session: nobody pays who does not call it.
DAEMONIZE_SMALL std::string DaemonContext::explain() const {
    using namespace detail;
    const Session& s = *session_;
    std::string out;
    if (s.program.is_empty()) {
        const Decision decision = decide(detach_process, false, evidence());
        add_line(out, "would start",
                 decision.detach ? "detached, for %s" : "in the foreground, for %s", decision.why);
        return out;
    }
    add_line(out, "started", s.decision.detach ? "detached, for %s" : "in the foreground, for %s",
             s.decision.why);
    add_line(out, "PID file", s.pidfile.is_empty() ? "none" : "%p", s.pidfile.c_str());
    if (s.decision.detach) {
        explain_target(out, "standard_input", s.targets[0]);
        explain_target(out, "standard_output", s.targets[1]);
        explain_target(out, "standard_error", s.targets[2]);
    } else {
        add_line(out, "standard streams", "as they were");
    }
    if (s.who.drops && s.who.sets_uid) add_line(out, "uid", "%d %s", s.who.uid, s.who.user.c_str());
    if (s.who.drops) {
        std::string list;
        for (int i = 0; i < s.who.group_count; ++i) list += " " + std::to_string(s.who.groups[i]);
        add_line(out, "gid", "%d", s.who.gid);
        add_line(out, "supplementary groups", "%s", list.empty() ? "none" : list.c_str() + 1);
    }
    if (!s.root.is_empty()) add_line(out, "root", "%p", s.root.c_str());
    add_line(out, "working directory", s.directory.is_empty() ? "unchanged" : "%p",
             s.directory.c_str());
    if (s.closing) add_line(out, "other descriptors closed", "%s", s.closing);
    explain_system(s, out);
    return out;
}

bool is_setup() noexcept { return !detail::setup_is_over && !detail::was_relaunched(); }

DAEMONIZE_SMALL bool send(const std::string& pidfile, int signum, Error& error) noexcept {
    using namespace detail;
    Fault fault;
    Str path;
    if (!is_sendable(signum))
        fail(fault, errc::unknown_signal, "cannot send %S: %s", signum,
             condition_text(errc::unknown_signal));
    else if (absolute_pidfile(pidfile, path, fault) && signal_daemon(path.c_str(), signum, fault))
        return true;
    return give(fault, error);
}

DAEMONIZE_SMALL void send(const std::string& pidfile, int signum) {
    Error error;
    if (!send(pidfile, signum, error)) detail::raise_error(error);
}

DAEMONIZE_SMALL Status status(const std::string& pidfile) noexcept {
    bool ignored = false;
    return detail::query(pidfile, ignored);
}

DAEMONIZE_SMALL Stopped stop(const std::string& pidfile, Duration limit, Error& error) noexcept {
    using namespace detail;
    Fault fault;
    error = Error();
    const StopOrder order = {limit, termination_signal, true, nullptr, nullptr, false};
    const Stopped stopped = stop_daemon(pidfile, order, fault);
    if (stopped == Stopped::failed) give(fault, error);
    return stopped;
}

Stopped stop(const std::string& pidfile, Duration limit) {
    Error error;
    const Stopped stopped = stop(pidfile, limit, error);
    if (stopped == Stopped::failed) detail::raise_error(error);
    return stopped;
}

DAEMONIZE_SMALL int control(int argc, const char* const* argv, DaemonContext& context,
                            const std::function<int(DaemonContext&)>& body) {
    using namespace detail;
    Session& s = Session::of(context);
    const char* const name = !context.program_name.empty()
                                 ? context.program_name.c_str()
                                 : called_name(argc > 0 ? argv[0] : nullptr);
    set_shown(s.called, name, std::strlen(name));
    Control control{context, body, s.called.c_str(), false};
    if (was_relaunched()) return do_start(control, Detach::yes, true);  // whatever the verb was
    Verb verb = Verb::bad;
    Str rooms[3];
    const char* const word = argc > 1 ? word_at(argv, 1, rooms[0]) : nullptr;
    const char* const second = argc > 2 ? word_at(argv, 2, rooms[1]) : nullptr;
    for (const VerbName& known : verbs) {
        if (word && std::strcmp(word, known.word) == 0) verb = known.verb;
        if (second && known.verb == Verb::help && std::strcmp(second, known.word) == 0)
            return show_help(control);
    }
    if (word && verb == Verb::bad) return show_usage(control, word);
    control.json = verb == Verb::status && second && std::strcmp(second, "--json") == 0;
    // start, restart and run hand the rest to the program; of these nobody would take it.
    // A program with words of its own says so by `help`.
    const bool takes_none = context.help.empty() &&
                            (verb == Verb::stop || verb == Verb::status || verb == Verb::reload);
    const int taken = control.json ? 3 : 2;
    if (takes_none && argc > taken) return show_usage(control, word_at(argv, taken, rooms[2]));
    const bool asks = verb != Verb::start && verb != Verb::run && verb != Verb::help && word;
    if (asks && context.pidfile.empty()) {
        print(2, control.program, "no PID file is named");
        return 2;
    }
    return perform(control, verb);
}

std::vector<std::string> utf8_arguments(int argc, const char* const* argv) {
    std::vector<std::string> words;
    detail::Str room;
    words.reserve(static_cast<std::size_t>(argc));
    for (int i = 0; i < argc; ++i) words.push_back(detail::word_at(argv, i, room));
    return words;
}

bool notify(const std::string& assignments) noexcept {
    return detail::tell_manager(assignments.c_str());
}
Duration watchdog_interval() noexcept { return detail::manager_watchdog(); }

}  // namespace daemonize

// >>end -------------------------------------------------------------------------------------------
#undef DAEMONIZE_SMALL
#undef DAEMONIZE_APART
#undef DAEMONIZE_LOCAL
#undef DAEMONIZE_EXCEPTIONS
#undef DAEMONIZE_LINUX
#undef DAEMONIZE_KINFO
#undef DAEMONIZE_UNDER_TSAN
#undef DAEMONIZE_WINDOWS
#pragma pop_macro("Status")
#endif  // DAEMONIZE_IMPLEMENTATION

// CHANGELOG
//
//     1.1.0  2026-11-30
//         The start has one form: launcher, leader, daemon. The leader stays until the verdict and
//         judges; nothing that a daemon with fewer rights sends is taken for a process. No vfork().
//         Each start makes its PID file anew; the way to it is walked under rules of trust, and so
//         is the way to a log and to chroot_directory.
//         New: close_fds, make_directory, check, help, stop_signal, kill_after_stop_timeout,
//         running_is_success, must_leave_job, Error::exit_code, PidFile::native_handle(),
//         DaemonContext::pidfile_handle(), utf8_arguments(); the verbs try-restart and
//         force-reload, `status --json`, "starting"; on Windows `run` as a service.
//         Changed: only descriptors that the program inherited are closed (close_fds = all: as
//         before). Signals that main() ignored or blocked stay so. prevent_core leaves the process
//         dumpable. `status` of an unlocked file that is not empty is 1. stop() may stop an
//         ancestor, and removes what a dead daemon has left. Words behind stop, status and reload
//         are refused unless the program has a `help` text. default_path() has a directory of its
//         own. `start` under systemd detaches where it can tell that the caller waits.
//         Gone: the macros DAEMONIZE_HAVE_x.
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
