// A program that has settled before it becomes a daemon: it has a log, a database, an event loop and
// signals of its own by then, as real servers have. Its words are done in the order given, before
// and behind `open`:
//
//   settler pidfile=/tmp/a.pid stdout=/tmp/a.log stream=/tmp/own.log open use-stream wait
//
// What it finds out it prints as key=value lines on descriptor 1.
#define DAEMONIZE_IMPLEMENTATION
#include "daemonize.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <syslog.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "report.hpp"

namespace {

using daemonize::DaemonContext;
using report::number;
using report::say;

// ---- What it has before the start ---------------------------------------------------------------

std::ofstream stream;
int database = -1, loop = -1, signals = -1, watched[2], client[2];

void open_database(const std::string& path) {
    // As sqlite does it: close-on-exec, never one of the standard streams, read and written by
    // position for the life of the program, its lock a record lock.
    const int first = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    database = fcntl(first, F_DUPFD_CLOEXEC, 3);
    close(first);
    if (pwrite(database, "page 1\n", 7, 0) != 7) _exit(91);
}

void make_loop() {
    loop = epoll_create1(EPOLL_CLOEXEC);
    if (loop < 0 || pipe2(watched, O_CLOEXEC | O_NONBLOCK) != 0) _exit(91);
    epoll_event event;
    std::memset(&event, 0, sizeof event);
    event.events = EPOLLIN;
    event.data.u32 = 4711;
    if (epoll_ctl(loop, EPOLL_CTL_ADD, watched[0], &event) != 0) _exit(91);
}

void take_by_descriptor(int signum) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signum);
    sigprocmask(SIG_BLOCK, &set, nullptr);
    signals = signalfd(-1, &set, SFD_CLOEXEC);
}

// The number that the starter left open becomes a file of the program's own.
void take_over(const std::string& words) {
    const std::vector<std::string> parts = report::split(words, ',');
    const int wanted = static_cast<int>(number(parts[0]));
    const int opened = open(parts[1].c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (opened < 0 || dup2(opened, wanted) != wanted) _exit(91);
    if (opened != wanted) close(opened);
}

// A thread whose end takes long after its join: the kernel wakes who joins first, then lets go of
// the thread's descriptors, of which this one has thousands of its own, and only then counts it no
// more.
void* end_slowly(void* many) {
    if (unshare(CLONE_FILES) != 0) _exit(91);
    for (long n = *static_cast<const long*>(many); n > 0; --n)
        if (socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) < 0) break;
    return nullptr;
}

void join_one(long descriptors) {
    pthread_t thread;
    if (pthread_create(&thread, nullptr, end_slowly, &descriptors) != 0) _exit(91);
    pthread_join(thread, nullptr);
}

// ---- What of it works in the daemon -------------------------------------------------------------

std::string outcome(bool works) {
    return works ? "works" : std::string("broken:") + std::strerror(errno);
}

void use_loop() {
    errno = 0;
    epoll_event event;
    std::memset(&event, 0, sizeof event);
    const bool wakes = write(watched[1], "x", 1) == 1 && epoll_wait(loop, &event, 1, 5000) == 1;
    say("loop=" + outcome(wakes && event.data.u32 == 4711));
}

void use_database() {
    char page[8] = "";
    errno = 0;
    const bool reads = pread(database, page, 7, 0) == 7 && std::strcmp(page, "page 1\n") == 0;
    say("database=" + outcome(reads && pwrite(database, "page 2\n", 7, 7) == 7));
}

void use_signals() {
    signalfd_siginfo info;
    std::memset(&info, 0, sizeof info);
    errno = 0;
    say("waits-by-descriptor");
    const bool reads = read(signals, &info, sizeof info) == static_cast<ssize_t>(sizeof info);
    say("signals=" + outcome(reads) + " number=" + std::to_string(info.ssi_signo));
}

// Who writes to somebody who has gone gets an error, or is ended by SIGPIPE.
void write_to_nobody() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) _exit(91);
    close(ends[0]);
    const ssize_t wrote = write(ends[1], "x", 1);
    say("to-nobody=" + std::string(wrote < 0 && errno == EPIPE ? "EPIPE" : "odd"));
    close(ends[1]);
}

// A client comes: its sockets get the lowest free numbers, those of whatever was closed.
void let_a_client_in() {
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, client) != 0) _exit(91);
}

void tell_client() {
    char text[256] = "";
    const ssize_t n = recv(client[0], text, sizeof text - 1, MSG_DONTWAIT);
    const ssize_t m = recv(client[1], text, sizeof text - 1, MSG_DONTWAIT);
    say("client-heard=" + std::string(n < 0 && m < 0 ? "nothing" : text));
}

// As libraries do that close everything themselves.
void close_all_but(std::intptr_t kept) {
    for (int fd = 3; fd < 1024; ++fd)
        if (fd != kept) close(fd);
}

bool before(const std::string& act, const std::string& value) {
    if (act == "stream")
        stream.open(value, std::ios::app), stream << "before\n" << std::flush;
    else if (act == "syslog")
        openlog("settler", LOG_NDELAY | LOG_PID, LOG_DAEMON);
    else if (act == "database")
        open_database(value);
    else if (act == "loop")
        make_loop();
    else if (act == "ignore")
        signal(static_cast<int>(number(value)), SIG_IGN);
    else if (act == "signalfd")
        take_by_descriptor(static_cast<int>(number(value)));
    else if (act == "take-over")
        take_over(value);
    else if (act == "join")
        join_one(number(value));
    else
        return false;
    return true;
}

bool behind(DaemonContext& context, const std::string& act, const std::string& value) {
    if (act == "use-stream")
        say("stream=" + outcome(static_cast<bool>(stream << value << "\n" << std::flush)));
    else if (act == "use-syslog")
        syslog(LOG_INFO, "%s", value.c_str());
    else if (act == "use-database")
        use_database();
    else if (act == "use-loop")
        use_loop();
    else if (act == "use-signals")
        use_signals();
    else if (act == "write-to-nobody")
        write_to_nobody();
    else if (act == "client")
        let_a_client_in();
    else if (act == "tell-client")
        tell_client();
    else if (act == "facts")
        say("mask=[" + report::mask() + "] fds: " + report::open_descriptors());
    else if (act == "close-all-but-pidfile")
        close_all_but(context.pidfile_handle());
    else if (act == "handle")
        say("handle=" + std::to_string(context.pidfile_handle()));
    else if (act == "explain")
        say("explain: " + context.explain());
    else
        return false;
    return true;
}

bool option(DaemonContext& context, const std::string& key, const std::string& value) {
    if (key == "pidfile")
        context.pidfile = value;
    else if (key == "stdout")
        context.standard_output = context.standard_error = value;
    else if (key == "close-fds")
        context.close_fds = value == "all"    ? daemonize::CloseFds::all
                            : value == "none" ? daemonize::CloseFds::none
                                              : daemonize::CloseFds::inherited;
    else if (key == "preserve")
        context.files_preserve.push_back(static_cast<int>(number(value)));
    else if (key == "by-hand")
        context.ready_by_hand = true;
    else
        return false;
    return true;
}

// The kept launcher: what it is told of a start, the daemon's exit code beside the text.
int try_start(DaemonContext& context) {
    daemonize::Error error;
    const daemonize::Role role = context.start(error);
    if (role != daemonize::Role::launcher) return -1;
    say(report::describe(error) + " exit-code=" + std::to_string(error.exit_code));
    return 0;
}

void hold_alone(const std::string& path) {
    daemonize::PidFile file(path);
    say("before=" + std::to_string(file.native_handle()));
    daemonize::Error error;
    const bool got = file.acquire(daemonize::Duration(0), error);
    close_all_but(file.native_handle());
    say("acquired=" + std::to_string(got) + " held=" + std::to_string(file.is_held()));
    for (;;) pause();
}

int run(DaemonContext& context, const std::vector<std::string>& words) {
    for (const std::string& word : words) {
        const std::size_t equals = word.find('=');
        const std::string key = word.substr(0, equals);
        const std::string value = equals == std::string::npos ? "" : word.substr(equals + 1);
        int code = -1;
        if (key == "open")
            context.open();
        else if (key == "try")
            code = try_start(context);
        else if (key == "exit")
            code = static_cast<int>(number(value));
        else if (key == "wait")
            for (;;) pause();
        else if (key == "hold-alone")
            hold_alone(value);
        else if (!option(context, key, value) && !before(key, value) &&
                 !behind(context, key, value))
            code = 94;
        if (code >= 0) return code;
    }
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    DaemonContext context;
    return run(context, std::vector<std::string>(argv + 1, argv + argc));
}
