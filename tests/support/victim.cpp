// A program made of its arguments: each word is an option of DaemonContext (key=value) or an act,
// done in the order given. So every test writes down its own victim in one line:
//
//   victim pidfile=/tmp/a.pid stdout=/tmp/a.log by-hand=1 open fork-pause fail=no-such-port,7
//
// What it finds out it prints as key=value lines on descriptor 1.
#define DAEMONIZE_IMPLEMENTATION
#include "daemonize.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "report.hpp"

extern char** environ;

namespace {

using daemonize::DaemonContext;
using daemonize::Error;
using report::number;
using report::say;
using report::split;
using report::wait_code;
using std::chrono::milliseconds;
using Words = std::vector<std::string>;

// D3: what owns a lock is not copied.
static_assert(!std::is_copy_constructible<DaemonContext>::value &&
                  !std::is_copy_assignable<DaemonContext>::value &&
                  std::is_nothrow_move_constructible<DaemonContext>::value &&
                  !std::is_copy_constructible<daemonize::PidFile>::value &&
                  !std::is_copy_constructible<daemonize::SignalHandler>::value,
              "movable before the start, never copyable");

constexpr int go_on = -1;  // of an act: the next one, please; anything else ends the program

int run(DaemonContext& context, const Words& words, std::size_t from);

daemonize::Stream stream(const std::string& text) {
    if (text == "keep") return daemonize::keep_stream;
    if (text == "null") return daemonize::null_stream;
    if (text.compare(0, 3, "fd:") == 0)
        return daemonize::Stream::descriptor(static_cast<int>(number(text.substr(3))));
    if (text.compare(0, 9, "truncate:") == 0) return daemonize::Stream::truncated(text.substr(9));
    return text;
}

daemonize::Account account(const std::string& text) {
    if (text.compare(0, 7, "number:") == 0) return static_cast<int>(number(text.substr(7)));
    return text;
}

daemonize::Duration limit(const std::string& text) {
    return text == "none" ? daemonize::no_limit : daemonize::Duration(number(text));
}

daemonize::Handler handler(const std::string& text) {
    if (text == "ignore") return daemonize::ignore_signal;
    if (text == "default") return daemonize::default_signal;
    if (text == "terminate") return daemonize::terminate_signal;
    if (text == "report") return daemonize::report_signal;
    return [](int signum) { say("called=" + std::to_string(signum)); };
}

// ---- Options ------------------------------------------------------------------------------------

bool set_path(DaemonContext& context, const std::string& key, const std::string& value) {
    if (key == "pidfile")
        context.pidfile = value;
    else if (key == "stdin")
        context.standard_input = stream(value);
    else if (key == "stdout")
        context.standard_output = stream(value);
    else if (key == "stderr")
        context.standard_error = stream(value);
    else if (key == "chdir")
        context.working_directory = value;
    else if (key == "chroot")
        context.chroot_directory = value;
    else if (key == "user")
        context.uid = account(value);
    else if (key == "group")
        context.gid = account(value);
    else if (key == "payload")
        context.payload = value;
    else if (key == "name")
        context.program_name = value;
    else
        return false;
    return true;
}

bool set_number(DaemonContext& context, const std::string& key, const std::string& value) {
    const bool yes = value == "1";
    if (key == "umask")
        context.umask = static_cast<int>(number(value, 8));
    else if (key == "mode")
        context.pidfile_mode = static_cast<int>(number(value, 8));
    else if (key == "core")
        context.prevent_core = !yes;
    else if (key == "initgroups")
        context.initgroups = yes;
    else if (key == "no-new-privs")
        context.no_new_privs = yes;
    else if (key == "clear-environment")
        context.clear_environment = yes;
    else if (key == "allow-threads")
        context.allow_threads = yes;
    else if (key == "by-hand")
        context.ready_by_hand = yes;
    else if (key == "replace-arguments")
        context.replace_arguments = yes;
    else if (key == "ready-timeout")
        context.ready_timeout = limit(value);
    else
        return false;
    return true;
}

bool set_list(DaemonContext& context, const std::string& key, const std::string& value) {
    if (key == "detach") {
        context.detach_process = value == "yes"  ? daemonize::Detach::yes
                                 : value == "no" ? daemonize::Detach::no
                                                 : daemonize::Detach::automatic;
    } else if (key == "preserve") {
        for (const std::string& one : split(value, ','))
            context.files_preserve.push_back(static_cast<int>(number(one)));
    } else if (key == "close-fds") {
        context.close_fds = value == "all"    ? daemonize::CloseFds::all
                            : value == "none" ? daemonize::CloseFds::none
                                              : daemonize::CloseFds::inherited;
    } else if (key == "keep") {
        context.environment_keep = split(value, ',');
    } else if (key == "map") {  // map=10:callback
        const Words parts = split(value, ':');
        context.signal_map.emplace_back(static_cast<int>(number(parts[0])), handler(parts[1]));
    } else if (key == "hook") {  // hook=act;act
        const Words acts = split(value, ';');
        context.privileged = [acts](DaemonContext& daemon) {
            const int code = run(daemon, acts, 0);
            if (code != go_on) _exit(code);
        };
    } else {
        return false;
    }
    return true;
}

// ---- What it tells of itself --------------------------------------------------------------------

const char* role_name(daemonize::Role role) {
    if (role == daemonize::Role::launcher) return "launcher";
    return role == daemonize::Role::daemon ? "daemon" : "foreground";
}

std::string account_text(const daemonize::Account& who) {
    return !who.is_set() ? "unset" : who.name().empty() ? std::to_string(who.id()) : who.name();
}

void tell_fields(const DaemonContext& c) {
    say("fields pidfile=" + c.pidfile + " mode=" + std::to_string(c.pidfile_mode) + " chdir=" +
        c.working_directory + " chroot=" + c.chroot_directory + " out=" + c.standard_output.path() +
        " err=" + c.standard_error.path() + " umask=" + std::to_string(c.umask) +
        " uid=" + account_text(c.uid) + " gid=" + account_text(c.gid) +
        " groups=" + std::to_string(c.initgroups) + " core=" + std::to_string(c.prevent_core) +
        " detach=" + std::to_string(static_cast<int>(c.detach_process)) +
        " preserve=" + std::to_string(c.files_preserve.size()) +
        " map=" + std::to_string(c.signal_map.size()) + " payload=" + c.payload +
        " name=" + c.program_name + " by-hand=" + std::to_string(c.ready_by_hand) +
        " timeout=" + std::to_string(c.ready_timeout.count()));
}

void tell_role(const DaemonContext& context) {
    say(std::string("role=") + role_name(context.role()) + " open=" +
        std::to_string(context.is_open()) + " parent=" + std::to_string(context.is_parent()) +
        " setup=" + std::to_string(daemonize::is_setup()) +
        " pid=" + std::to_string(context.pid()) + " self=" + std::to_string(getpid()));
}

void tell_facts(const DaemonContext& context, int where) {
    rlimit core;
    getrlimit(RLIMIT_CORE, &core);
    std::string written = report::slurp(context.pidfile);
    while (!written.empty() && written.back() == '\n') written.pop_back();
    report::say_to(where, "uid=" + std::to_string(getuid()) + " euid=" + std::to_string(geteuid()) +
                              " gid=" + std::to_string(getgid()) +
                              " umask=" + report::umask_of_self() + " cwd=" + report::directory() +
                              " core=" + std::to_string(core.rlim_cur) + " mask=[" +
                              report::mask() + "] self=" + std::to_string(getpid()) +
                              " sid=" + std::to_string(getsid(0)) + " pidfile=" + written +
                              " fds: " + report::open_descriptors());
}

// What the kept launcher promises to leave alone.
std::string own_state() {
    return "fds: " + report::open_descriptors() + "\nmask: " + report::mask() +
           "\ndispositions: " + report::dispositions() + "\ncwd: " + report::directory() +
           "\numask: " + report::umask_of_self();
}

// ---- Acts ---------------------------------------------------------------------------------------

std::string remembered_state, atexit_file;
daemonize::Role returned_as = daemonize::Role::foreground;
pid_t own_child = 0;
daemonize::PidFile* only_one = nullptr;

void append_a(const std::string& path) {
    const int file = open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (file < 0 || write(file, "A\n", 2) != 2) _exit(97);
    close(file);
}

struct AtEnd {
    std::string path;
    ~AtEnd() {
        if (!path.empty()) append_a(path);
    }
} destroyed_at_end;

void note_signal(int) {}

[[noreturn]] void pause_for_ever() {
    for (;;) pause();
}

pid_t fork_and(const std::function<void()>& act) {
    const pid_t child = fork();
    if (child == 0) {
        act();
        _exit(0);
    }
    return child;
}

void* idle(void*) { pause_for_ever(); }
void* read_input(void*) {
    std::getchar();  // holds the lock of stdin: fflush(NULL) in the start would wait for it
    pause_for_ever();
}

void start_thread(void* (*body)(void*)) {
    pthread_t thread;
    pthread_create(&thread, nullptr, body, nullptr);
}

int wait_for_term(DaemonContext& context) {
    daemonize::SignalHandler signals(context);
    signals.start();
    const int signum = signals.wait();
    say("ended-by=" + std::to_string(signum));
    return go_on;
}

int act_of_start(DaemonContext& context, const std::string& act, const std::string& value) {
    if (act == "open") {
        context.open();
    } else if (act == "try") {
        Error error;
        const daemonize::Role role = context.start(error);
        say(std::string("returned=") + role_name(role) + " " + report::describe(error));
        returned_as = role;
    } else if (act == "end-launcher") {
        if (returned_as == daemonize::Role::launcher) return 0;
    } else if (act == "start") {
        const daemonize::Role role = context.start();
        say(std::string("returned=") + role_name(role));
    } else if (act == "ready") {
        context.ready();
    } else if (act == "close") {
        context.close();
    } else if (act == "fail") {
        const std::size_t comma = value.rfind(',');
        if (comma == std::string::npos) context.fail(value);
        context.fail(value.substr(0, comma), static_cast<int>(number(value.substr(comma + 1))));
    } else if (act == "reopen") {
        Error error;
        const bool done = context.reopen_streams(error);
        say("reopened=" + std::to_string(done) + " " + report::describe(error));
    } else {
        return -2;
    }
    return go_on;
}

// Until the test has made that file: what it does before is not a matter of time.
int await_file(const std::string& path) {
    for (int round = 0; round < 60000; ++round) {
        if (access(path.c_str(), F_OK) == 0) return go_on;
        std::this_thread::sleep_for(milliseconds(1));
    }
    return 97;
}

int act_of_process(DaemonContext& context, const std::string& act, const std::string& value) {
    if (act == "wait") pause_for_ever();
    if (act == "wait-term") return wait_for_term(context);
    if (act == "sleep")
        std::this_thread::sleep_for(milliseconds(number(value)));
    else if (act == "await")
        return await_file(value);
    else if (act == "return")
        return static_cast<int>(number(value));
    else if (act == "exit")
        std::exit(static_cast<int>(number(value)));
    else if (act == "_exit")
        _exit(static_cast<int>(number(value)));
    else if (act == "abort")
        std::abort();
    else if (act == "raise")
        raise(static_cast<int>(number(value)));
    else if (act == "fork-pause")
        say("child=" + std::to_string(fork_and(pause_for_ever)));
    else if (act == "raw-fork-pause") {  // behind the back of pthread_atfork()
        const pid_t child = static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
        if (child == 0) pause_for_ever();
        say("child=" + std::to_string(child));
    } else if (act == "fork-close")  // what a forked worker does to an object that is not its own
        say("child-code=" + std::to_string(wait_code(fork_and([&context] { context.close(); }))));
    else if (act == "fork-exit")
        say("child-code=" + std::to_string(wait_code(fork_and([] { std::exit(5); }))));
    else if (act == "fork-role")
        wait_code(fork_and([&context] { tell_role(context); }));
    else if (act == "own-group")
        setpgid(0, 0);
    else if (act == "fork-term")
        say("child-code=" + std::to_string(wait_code(fork_and([] { raise(SIGTERM); }))));
    else if (act == "system") {
        const int status = std::system(value.c_str());
        say("system=" + std::to_string(WEXITSTATUS(status)));
    } else if (act == "own-child")
        own_child = fork_and([] { _exit(7); });
    else if (act == "reap")
        say("reaped=" + std::to_string(wait_code(own_child)));
    else if (act == "threads")
        for (long i = number(value); i > 0; --i) start_thread(idle);
    else if (act == "getchar-thread")
        start_thread(read_input);
    else if (act == "close-all")
        for (int fd = 3; fd < 1024; ++fd) close(fd);
    else if (act == "touch-pidfile")
        close(open(context.pidfile.c_str(), O_RDONLY | O_CLOEXEC));
    else if (act == "open-file")
        say("opened=" + std::to_string(open(value.c_str(), O_RDONLY)));
    else if (act == "nofile")
        report::limit_descriptors(number(value));
    else if (act == "handler")
        signal(static_cast<int>(number(value)), note_signal);
    else if (act == "terminate-on") {
        struct sigaction action;
        std::memset(&action, 0, sizeof action);
        action.sa_handler = DaemonContext::terminate;
        sigaction(static_cast<int>(number(value)), &action, nullptr);
    } else if (act == "no-corpses") {
        struct sigaction action;
        std::memset(&action, 0, sizeof action);
        action.sa_flags = SA_NOCLDWAIT;
        sigaction(SIGCHLD, &action, nullptr);
    } else if (act == "block") {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, static_cast<int>(number(value)));
        sigprocmask(SIG_BLOCK, &set, nullptr);
    } else if (act == "atexit") {
        atexit_file = value;
        std::atexit([] { append_a(atexit_file); });
    } else if (act == "destructor") {
        destroyed_at_end.path = value;
    } else
        return -2;
    return go_on;
}

int act_of_telling(DaemonContext& context, const std::string& act, const std::string& value) {
    if (act == "say")
        say(value);
    else if (act == "say-err")
        report::say_to(2, value);
    else if (act == "printf")
        std::fputs(value.c_str(), stdout);
    else if (act == "role")
        tell_role(context);
    else if (act == "fields")
        tell_fields(context);
    else if (act == "facts")
        tell_facts(context, value == "2" ? 2 : 1);
    else if (act == "explain")
        say("explain: " + context.explain());
    else if (act == "payload-hex")
        say("payload-hex=" + report::hex(context.payload));
    else if (act == "set-payload-nul")
        context.payload = std::string("a\0b\n\xff", 5);
    else if (act == "set-path-nul")
        context.working_directory = std::string("/\0x", 3);
    else if (act == "set-payload-size")
        context.payload = std::string(static_cast<std::size_t>(number(value)), 'p');
    else if (act == "payload-size")
        say("payload-size=" + std::to_string(context.payload.size()));
    else if (act == "env")
        for (char** one = environ; one && *one; ++one) say(std::string("env ") + *one);
    else if (act == "dispositions")
        say("dispositions: " + report::dispositions());
    else if (act == "remember")
        remembered_state = own_state();
    else if (act == "compare")
        say(own_state() == remembered_state
                ? "state=same"
                : "state=changed\n" + remembered_state + "\n->\n" + own_state());
    else
        return -2;
    return go_on;
}

void tell_held(const std::string& name, const daemonize::PidFile& file) {
    say(name + "-held=" + std::to_string(file.is_held()) + " path=" + file.path());
}

// What becomes of a lock whose object is moved: it is held by one object, and once.
void move_pid_file(const std::string& path) {
    Error error;
    daemonize::PidFile first(path), second(path + ".2");
    first.acquire(daemonize::Duration(0), error);
    daemonize::PidFile moved(std::move(first));
    tell_held("first", first);
    tell_held("moved", moved);
    say("again=" + std::to_string(moved.acquire(daemonize::Duration(0), error)));
    bool done = first.acquire(daemonize::Duration(0), error);
    say("empty-acquire=" + std::to_string(done) + " " + report::describe(error));
    error = Error();
    const long pid = first.read(error);
    say("empty-read=" + std::to_string(pid) + " " + report::describe(error));
    first.release();
    second = std::move(moved);
    tell_held("second", second);
}

// One call after the other that takes a path.
void ask_by_path(const std::string& path) {
    const auto tell = [](const char* what, long result, const Error& error) {
        say(std::string(what) + "=" + std::to_string(result) + " " + report::describe(error));
    };
    Error sent, stopped, read, acquired;
    say("status text=" + daemonize::status(path).text);
    const long did_send = daemonize::send(path, SIGUSR1, sent);
    tell("send", did_send, sent);
    const long did_stop = static_cast<long>(daemonize::stop(path, limit("0"), stopped));
    tell("stop", did_stop, stopped);
    daemonize::PidFile file(path);
    const long did_read = file.read(read);
    tell("read", did_read, read);
    const long did_acquire = file.acquire(daemonize::Duration(0), acquired);
    tell("acquire", did_acquire, acquired);
}

// The forms that throw, without `catch` before it: that print, and end the program.
bool throwing_form(DaemonContext& context, const std::string& form, const std::string& value) {
    if (form == "send-or-throw")
        daemonize::send(value, SIGTERM);
    else if (form == "stop-or-throw")
        say("stopped=" + std::to_string(static_cast<int>(daemonize::stop(value))));
    else if (form == "acquire-or-throw")
        daemonize::PidFile(value).acquire();
    else if (form == "read-or-throw")
        say("read=" + std::to_string(daemonize::PidFile(value).read()));
    else if (form == "default-or-throw")
        say("default=" + daemonize::PidFile::default_path(value));
    else if (form == "reopen-or-throw")
        context.reopen_streams();
    else if (form == "on-or-throw")
        daemonize::SignalHandler().on(static_cast<int>(number(value)), daemonize::report_signal);
    else
        return false;
    return true;
}

int act_of_others(const std::string& act, const std::string& value) {
    const Words parts = split(value, ',');
    const std::string path = parts[0], second = parts.size() > 1 ? parts[1] : "";
    Error error;
    if (act == "read") {
        const long pid = daemonize::PidFile(path).read(error);
        say("read=" + std::to_string(pid) + " " + report::describe(error));
    } else if (act == "acquire" || act == "acquire-hold") {
        daemonize::PidFile file(path,
                                parts.size() > 2 ? static_cast<int>(number(parts[2], 8)) : 0644);
        const bool got = file.acquire(limit(second.empty() ? "0" : second), error);
        say("acquired=" + std::to_string(got) + " held=" + std::to_string(file.is_held()) +
            " self=" + std::to_string(getpid()) + " path=" + file.path() + " " +
            report::describe(error));
        if (act == "acquire-hold" && got) pause_for_ever();
        file.release();
        say("held=" + std::to_string(file.is_held()) + " fds: " + report::open_descriptors());
    } else if (act == "move-pidfile") {
        move_pid_file(path);
    } else if (act == "ask-empty-path") {
        ask_by_path("");
    } else if (act == "ask-path-nul") {
        ask_by_path(std::string("/\0x", 3));
    } else if (act == "alone-or-fail") {  // until "alone-no-more", or the end
        only_one = new daemonize::PidFile(path);
        // A moment's patience: terminate removes the PID file just before it ends the process.
        if (!only_one->acquire(daemonize::Duration(100), error)) {
            say("two at once");
            return 93;
        }
    } else if (act == "alone-no-more") {
        only_one->release();
    } else if (act == "default") {
        const std::string found = daemonize::PidFile::default_path(path, error);
        say("default=" + found + " " + report::describe(error));
    } else if (act == "status") {
        const daemonize::Status found = daemonize::status(path);
        say("state=" + std::to_string(static_cast<int>(found.state)) +
            " pid=" + std::to_string(found.pid) +
            " uptime=" + std::to_string(found.uptime.count()) + " text=" + found.text);
    } else if (act == "send") {
        const bool sent = daemonize::send(path, static_cast<int>(number(second)), error);
        say("sent=" + std::to_string(sent) + " " + report::describe(error));
    } else if (act == "stop") {
        static const char* const names[] = {"not_running", "ended", "killed", "failed"};
        const daemonize::Stopped done =
            daemonize::stop(path, limit(second.empty() ? "10000" : second), error);
        say(std::string("stopped=") + names[static_cast<int>(done)] + " " +
            report::describe(error));
    } else {
        return -2;
    }
    return go_on;
}

int throw_something(const std::string& what) {
#if VICTIM_EXCEPTIONS
    if (what == "int") throw 4711;
    if (what == "signal") throw daemonize::ReceivedSIGTERM();
    throw std::runtime_error(what);
#else
    say("no exceptions: " + what);
    return 95;
#endif
}

// The forms that throw: code and text of what was caught.
int run_throwing(DaemonContext& context, const Words& words, std::size_t from) {
#if VICTIM_EXCEPTIONS
    try {
        return run(context, words, from);
    } catch (const std::system_error& error) {  // what a DaemonError is, says E1
        say("caught=" + report::name_of(error.code()) + " what=" + error.what());
        return 3;
    }
#else
    return run(context, words, from);
#endif
}

int control(DaemonContext& context, const std::string& verb, const Words& words, std::size_t rest) {
    std::string name = "victim", word = verb;
    char* argv[] = {&name[0], &word[0], nullptr};
    return daemonize::control(2, argv, context, [&words, rest](DaemonContext& daemon) {
        const int code = run(daemon, words, rest);
        return code == go_on ? 0 : code;
    });
}

int run(DaemonContext& context, const Words& words, std::size_t from) {
    for (std::size_t i = from; i < words.size(); ++i) {
        const std::size_t equals = words[i].find('=');
        const std::string key = words[i].substr(0, equals);
        const std::string value = equals == std::string::npos ? "" : words[i].substr(equals + 1);
        if (key == "control") return control(context, value, words, i + 1);
        if (key == "catch") return run_throwing(context, words, i + 1);
        if (key == "throw") return throw_something(value);
        if (key == "move-context") {  // the rest with what it was moved into
            DaemonContext moved(std::move(context));
            return run(moved, words, i + 1);
        }
        if (throwing_form(context, key, value)) continue;
        if (set_path(context, key, value) || set_number(context, key, value) ||
            set_list(context, key, value))
            continue;
        int code = act_of_start(context, key, value);
        if (code == -2) code = act_of_process(context, key, value);
        if (code == -2) code = act_of_telling(context, key, value);
        if (code == -2) code = act_of_others(key, value);
        if (code == -2) {
            std::fprintf(stderr, "victim: no such word: %s\n", words[i].c_str());
            return 94;
        }
        if (code != go_on) return code;
    }
    return go_on;
}

}  // namespace

int main(int argc, char** argv) {
    DaemonContext context;
    const int code = run(context, Words(argv + 1, argv + argc), 0);
    return code == go_on ? 0 : code;
}
