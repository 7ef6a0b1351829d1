// The program that attackers and tired users have made of the header's public face: the first word
// says what is done, the others are options (key=value). It prints what it sees, one fact a line;
// what must hold is said by tests/attacks_test.cpp.
//
//   hostile forge pidfile=/tmp/a.pid user=nobody form=six word=3 number=4711
#define DAEMONIZE_IMPLEMENTATION
#include "daemonize.hpp"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "tests/support/report.hpp"

namespace {

using daemonize::DaemonContext;
using daemonize::Error;
using daemonize::Role;
using daemonize::SignalHandler;
using report::now_ms;
using report::say;
using report::wait_code;

std::map<std::string, std::string> options;

std::string option(const std::string& key, const std::string& otherwise = "") {
    const auto found = options.find(key);
    return found == options.end() ? otherwise : found->second;
}
long number_option(const std::string& key, long otherwise = 0) {
    return options.count(key) ? report::number(options[key]) : otherwise;
}

void apply(DaemonContext& context) {
    context.pidfile = option("pidfile");
    if (options.count("log")) context.standard_output = context.standard_error = options["log"];
    if (options.count("keep"))
        context.standard_output = context.standard_error = daemonize::keep_stream;
    if (options.count("user")) context.uid = options["user"];
    context.make_directory = options.count("make") != 0;
    context.allow_threads = options.count("threads") != 0;
    if (options.count("limit")) context.ready_timeout = daemonize::Duration(number_option("limit"));
    if (options.count("chdir")) context.working_directory = options["chdir"];
    if (option("detach") == "no") context.detach_process = daemonize::Detach::no;
    if (option("detach") == "yes") context.detach_process = daemonize::Detach::yes;
}

[[noreturn]] void pause_for_ever() {
    for (;;) pause();
}

double cpu_seconds() {
    rusage used;
    getrusage(RUSAGE_SELF, &used);
    return static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

// open(), or start() in a launcher that is kept: which role this process has now.
Role begin(DaemonContext& context, Error& error) {
    if (!options.count("kept")) {
        context.open();
        return context.role();
    }
    return context.start(error);
}

// ---- Reports that are not the header's ----------------------------------------------------------

std::string forged() {
    const std::string form = option("form", "six");
    const auto word = static_cast<std::int32_t>(number_option("word"));
    const auto number = static_cast<std::int32_t>(number_option("number"));
    const std::int32_t fields[] = {word, number, 1, 0, 11, 0};
    std::string six(reinterpret_cast<const char*>(fields), sizeof fields);
    if (form == "six") return six;
    if (form == "text") return six + "forged text";
    if (form == "torn") return six.substr(0, 5);
    if (form == "controls") return six + "\033[2J\nforged: \r\a\x7f";
    if (form == "byte") return std::string(1, static_cast<char>(word));
    if (form == "long") {
        std::string text;
        while (text.size() < 300000) text += six + "a line of it\n";
        return text;
    }
    std::string noise;  // the same for the same `word`
    std::uint32_t state = static_cast<std::uint32_t>(word) * 2654435761u + 1;
    while (noise.size() < 400) {
        state = state * 1664525u + 1013904223u;
        noise += static_cast<char>(state >> 24);
    }
    return noise;
}

// Whatever this process has that leads to somebody else: sockets and pipes that can be written.
void send_everywhere(const std::string& text) {
    for (int fd = 3; fd < 256; ++fd) {
        struct stat at;
        if (fstat(fd, &at) != 0) continue;
        const int flags = fcntl(fd, F_GETFL);
        if (S_ISSOCK(at.st_mode)) {
            for (std::size_t done = 0; done < text.size();) {
                const ssize_t n =
                    send(fd, text.data() + done, text.size() - done, MSG_NOSIGNAL | MSG_DONTWAIT);
                if (n <= 0 && errno == EAGAIN) {
                    pollfd room = {fd, POLLOUT, 0};
                    if (poll(&room, 1, 200) == 1) continue;
                }
                if (n <= 0) break;
                done += static_cast<std::size_t>(n);
            }
        } else if (S_ISFIFO(at.st_mode) && (flags & O_ACCMODE) != O_RDONLY) {
            fcntl(fd, F_SETFL, flags | O_NONBLOCK);
            if (write(fd, text.data(), text.size()) < 0) continue;
        }
    }
}

int forge() {
    DaemonContext context;
    apply(context);
    std::string name = "hostile", verb = "start";
    char* argv[] = {&name[0], &verb[0], nullptr};
    return daemonize::control(2, argv, context, [](DaemonContext& daemon) {
        signal(SIGPIPE, SIG_IGN);
        send_everywhere(forged());
        usleep(100000);  // whoever believes it acts on it now
        if (option("then") == "ready") {
            daemon.ready();
            pause_for_ever();
        }
        if (option("then") == "hang") pause_for_ever();
        _exit(7);
        return 7;
    });
}

// The same to a launcher that is kept: what it believes.
int forge_to_kept() {
    DaemonContext context;
    apply(context);
    context.ready_by_hand = true;
    Error error;
    if (context.start(error) == Role::launcher) {
        say("failed=" + std::to_string(static_cast<bool>(error)) + " " +
            report::name_of(error.code) + ". " + error.text);
        return 0;
    }
    send_everywhere(forged());
    pause_for_ever();
}

// A dropped daemon gives its proof to a child that shares its descriptors, and that ends: the lock
// lives on under a number that is anybody's.
int dead_owner() {
    DaemonContext context;
    apply(context);
    context.open();
    const int read_only = open(context.pidfile.c_str(), O_RDONLY | O_CLOEXEC);
    int writable = -1;
    struct stat ours, one;
    fstat(read_only, &ours);
    for (int fd = 3; fd < 64; ++fd)
        if (fd != read_only && fstat(fd, &one) == 0 && one.st_ino == ours.st_ino) writable = fd;
    // The byte that proves us is asked for by another process: nobody is in his own way.
    struct flock* const asked = static_cast<struct flock*>(mmap(
        nullptr, sizeof(struct flock), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    const pid_t asker = static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
    if (asker == 0) {
        std::memset(asked, 0, sizeof *asked);
        asked->l_type = F_RDLCK;
        asked->l_whence = SEEK_SET;
        fcntl(read_only, F_GETLK, asked);
        _exit(0);
    }
    wait_code(asker);
    if (writable < 0 || asked->l_type == F_UNLCK) {
        say("no-proof-to-steal");
        pause_for_ever();
    }
    close(read_only);  // this drops every record lock that this process has on the file
    const pid_t owner = static_cast<pid_t>(syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0));
    if (owner == 0) {
        struct flock taken = *asked;
        taken.l_type = F_WRLCK;
        taken.l_whence = SEEK_SET;
        taken.l_len = 2;
        if (fcntl(writable, F_SETLK, &taken) != 0) _exit(1);
        const std::string text = std::to_string(syscall(SYS_getpid)) + "\n";
        _exit(pwrite(writable, text.data(), text.size(), 0) < 0 ||
              ftruncate(writable, static_cast<off_t>(text.size())) != 0);
    }
    const int code = wait_code(owner);
    say("owner=" + std::to_string(owner) + " code=" + std::to_string(code));
    pause_for_ever();
}

// ---- What the process was, and must not be afterwards -------------------------------------------

void tell_processor(const std::string& who) {
    cpu_set_t all;
    sched_getaffinity(0, sizeof all, &all);
    bool wrong = false;
    for (int round = 0; round < 4; ++round) {
        for (std::size_t cpu = 0; cpu < 64; ++cpu) {
            if (!CPU_ISSET(cpu, &all)) continue;
            cpu_set_t one;
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            sched_setaffinity(0, sizeof one, &one);
            unsigned real = 0;
            syscall(SYS_getcpu, &real, nullptr, nullptr);
            wrong = wrong || sched_getcpu() != static_cast<int>(real);
        }
    }
    sched_setaffinity(0, sizeof all, &all);
#ifdef SYS_rseq
    // One area for each thread: a second one is accepted only where the first was lost.
    alignas(32) static char area[64];
    const bool accepted = syscall(SYS_rseq, area, 32, 0, 0x53053053) == 0;
    if (accepted) syscall(SYS_rseq, area, 32, 1, 0x53053053);
    const std::string registered = accepted ? "0" : errno == ENOSYS ? "none" : "1";
#else
    const std::string registered = "none";
#endif
    say(who + " cpu=" + (wrong ? "wrong" : "right") + " registered=" + registered + ".");
}

int restartable() {
    tell_processor("before");
    DaemonContext context;
    apply(context);
    Error error;
    if (begin(context, error) == Role::launcher) {
        tell_processor("launcher");
        return error ? 1 : 0;
    }
    tell_processor("daemon");
    return 0;
}

struct Capabilities {
    std::uint32_t effective, permitted, inheritable;
};

bool set_capabilities(bool all_inheritable, std::uint32_t* permitted) {
    struct {
        std::uint32_t version;
        int pid;
    } head = {0x20080522, 0};
    Capabilities now[2];
    std::memset(now, 0, sizeof now);
    if (syscall(SYS_capget, &head, now) != 0) return false;
    *permitted = now[0].permitted | now[1].permitted;
    for (Capabilities& half : now) {
        half.effective = half.permitted;
        if (all_inheritable) half.inheritable = half.permitted;
    }
    return syscall(SYS_capset, &head, now) == 0;
}

int capable() {
    const std::string kind = option("kind");
    std::uint32_t permitted = 0;
    const unsigned long keep = 1ul << 4, no_fixup = 1ul << 2;
    bool done = true;
    if (kind == "keep") done = prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0;
    if (kind == "keep-bit") done = prctl(PR_SET_SECUREBITS, keep, 0, 0, 0) == 0;
    if (kind == "no-fixup") done = prctl(PR_SET_SECUREBITS, no_fixup, 0, 0, 0) == 0;
    if (kind == "ambient") {
        done = set_capabilities(true, &permitted) &&
               prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 7 /* CAP_SETUID */, 0, 0) == 0 &&
               prctl(PR_SET_SECUREBITS, no_fixup, 0, 0, 0) == 0;
    }
    if (!done) {
        say("cannot-be-had");
        return 0;
    }
    DaemonContext context;
    apply(context);
    Error error;
    if (context.start(error) == Role::launcher) {
        say("refused " + report::describe(error));
        return 0;
    }
    set_capabilities(false, &permitted);
    const int back = setuid(0);
    say("dropped permitted=" + std::to_string(permitted) + " back=" + std::to_string(back) +
        " uid=" + std::to_string(getuid()));
    return 0;
}

// In a PID namespace of its own its children have numbers that are others' here.
int new_namespace() {
    int done = -1;
    if (options.count("of")) {
        const int there = open(options["of"].c_str(), O_RDONLY | O_CLOEXEC);
        done = setns(there, CLONE_NEWPID);
        close(there);
    } else {
        done = unshare(CLONE_NEWPID);
    }
    if (done != 0) {
        say("cannot-be-had");
        return 0;
    }
    DaemonContext context;
    apply(context);
    context.ready_by_hand = true;
    context.ready_timeout = daemonize::Duration(1500);
    Error error;
    if (begin(context, error) == Role::launcher) {
        say("kept " + report::describe(error));
        return 1;
    }
    if (option("then") == "fail") context.fail("not today", 3);
    if (option("then") == "exit") _exit(4);
    if (option("then") == "ready") context.ready();
    pause_for_ever();
}

// ---- Long texts, few descriptors ----------------------------------------------------------------

int long_text() {
    DaemonContext context;
    apply(context);
    context.ready_by_hand = true;
    Error error;
    if (begin(context, error) == Role::launcher) {
        say("kept " + report::name_of(error.code) + " size=" + std::to_string(error.text.size()));
        return error ? 3 : 0;
    }
    while (options.count("await") && access(option("await").c_str(), F_OK) != 0) usleep(1000);
    const std::string text(static_cast<std::size_t>(number_option("kib")) * 1024, 'x');
    context.fail(text, 3);
}

int few_descriptors() {
    DaemonContext context;
    apply(context);
    const int copy = fcntl(1, F_DUPFD_CLOEXEC, 50);
    const long closed = number_option("closed");
    for (int fd = 0; fd < 3; ++fd)
        if (closed & (1 << fd)) close(fd);
    const auto most = static_cast<rlim_t>(number_option("most"));
    const rlimit limit = {most, most};
    setrlimit(RLIMIT_NOFILE, &limit);
    Error error;
    const Role role = begin(context, error);
    if (role == Role::launcher) {
        report::say_to(copy, "kept " + report::describe(error));
        return error ? 1 : 0;
    }
    return 0;
}

// ---- Lives of objects ---------------------------------------------------------------------------

int failed_in_the_foreground() {
    {
        DaemonContext context;
        apply(context);
        Error error;
        context.start(error);
        say(report::describe(error));
    }
    // What was freed is somebody else's by now.
    std::string* const others[] = {new std::string(200, 'a'), new std::string(400, 'b'),
                                   new std::string(800, 'c')};
    raise(SIGCHLD);
    const pid_t child = fork();  // whoever is told of forks looks at what it remembers
    if (child == 0) _exit(0);
    say("child=" + std::to_string(wait_code(child)));
    if (options.count("again")) {
        DaemonContext again;
        apply(again);
        again.working_directory = "";
        Error error;
        again.start(error);
        say("again " + report::describe(error));
    }
    for (std::string* one : others) delete one;
    say("going on");
    return 0;
}

int moved() {
    DaemonContext first;
    apply(first);
    Error error;
    if (begin(first, error) == Role::launcher) return error ? 1 : 0;
    {
        DaemonContext second(std::move(first));
        say("moved open=" + std::to_string(second.is_open()) +
            " same=" + std::to_string(second.pid() == getpid()) +
            " file=" + std::to_string(access(option("pidfile").c_str(), F_OK) == 0) + ".");
        first.close();  // an empty shell: nothing is its own any more
        SignalHandler signals(second);
        signals.start();
        say("waiting");
        signals.wait();
    }
    say("closed file=" + std::to_string(access(option("pidfile").c_str(), F_OK) == 0) + ".");
    return 0;
}

// What its parent had locked a fork (also the start's) has not; what it locks itself is not for the
// old object to let go of.
int locks_after_fork() {
    daemonize::PidFile old(option("old"));
    old.acquire();
    if (option("by") == "start") {
        DaemonContext context;
        apply(context);
        context.open();
        daemonize::PidFile own(option("own"));
        own.acquire();
        old.release();
        say("held=" + std::to_string(own.is_held()) + " old=" + std::to_string(old.is_held()) +
            ".");
        pause_for_ever();
    }
    if (fork() == 0) {
        daemonize::PidFile own(option("own"));
        own.acquire();
        const bool still = old.is_held();
        old.release();
        say("held=" + std::to_string(own.is_held()) + " old=" + std::to_string(still) + ".");
        pause_for_ever();
    }
    pause_for_ever();
}

int fails_after_move() {
    std::unique_ptr<DaemonContext> first(new DaemonContext);
    apply(*first);
    first->ready_by_hand = true;
    first->open();
    DaemonContext second(std::move(*first));
    first.reset();
    second.fail("not today", 7);
}

// Starts that fail, one after the other: what each leaves in its launcher.
int starts_and_fails() {
    const auto open_now = [] {
        int count = 0;
        for (int fd = 0; fd < 256; ++fd) count += fcntl(fd, F_GETFD) != -1;
        return count;
    };
    const int before = open_now();
    for (int i = 0; i < 4; ++i) {
        DaemonContext context;
        apply(context);
        context.ready_by_hand = true;
        Error error;
        if (context.start(error) != Role::launcher) {
            if (!options.count("ready")) context.fail("not today", 7);
            context.ready();
            _exit(0);
        }
        say("exit=" + std::to_string(error.exit_code) +
            " more=" + std::to_string(open_now() - before) + ".");
    }
    return 0;
}

// Its log is a pipe that nobody reads any more.
int fails_into_a_pipe() {
    int ends[2];
    if (pipe(ends) != 0) return 1;
    DaemonContext context;
    apply(context);
    context.ready_by_hand = true;
    context.standard_output = context.standard_error = daemonize::Stream::descriptor(ends[1]);
    if (options.count("full")) {  // a reader who reads nothing
        fcntl(ends[1], F_SETFL, O_NONBLOCK);
        while (write(ends[1], "full", 4) == 4) {
        }
        fcntl(ends[1], F_SETFL, 0);
    }
    if (options.count("long")) {  // more than a pipe has room for, and again nobody reads
        context.files_preserve.push_back(ends[0]);
    } else if (!options.count("full")) {
        close(ends[0]);
    }
    context.open();
    if (options.count("printed")) std::printf("text in a buffer\n");
    const std::size_t more = options.count("long") ? 200000 : 0;
    context.fail("not today" + std::string(more, '.'), 7);
}

int prints_before_start() {
    pthread_t thread;
    pthread_create(
        &thread, nullptr, [](void*) -> void* { pause_for_ever(); }, nullptr);
    std::printf("in a buffer\n");
    DaemonContext context;
    apply(context);
    std::string name = "hostile", verb = "start";
    char* argv[] = {&name[0], &verb[0], nullptr};
    return daemonize::control(2, argv, context, [](DaemonContext& daemon) {
        daemon.ready();
        return 0;
    });
}

// Its starter's eventfd is closed, and its own set of epoll has the number.
int own_epoll() {
    const int number = 10;
    if (!options.count("inherited")) {
        char name[] = "hostile", word[] = "own-epoll", inherited[] = "inherited=1";
        std::string log = "log=" + option("log");
        char* argv[] = {name, word, inherited, &log[0], nullptr};
        if (dup2(eventfd(0, 0), number) != number) return 1;
        execv("/proc/self/exe", argv);
        return 1;
    }
    close(number);
    const int set = epoll_create1(EPOLL_CLOEXEC);
    if (fcntl(set, F_DUPFD_CLOEXEC, number) != number) return 1;
    DaemonContext context;
    apply(context);
    context.detach_process = daemonize::Detach::yes;
    context.open();
    epoll_event event;
    say("epoll=" + std::to_string(epoll_wait(number, &event, 1, 0)) + ".");
    return 0;
}

// A thread asks for the state of the file that another one takes, over and over: is it proven?
int asks_while_it_takes() {
    static const std::string file = option("pidfile");
    for (int i = 0; i < 2; ++i) {
        pthread_t thread;
        pthread_create(
            &thread, nullptr,
            [](void*) -> void* {
                for (;;) daemonize::status(file);
            },
            nullptr);
    }
    int taken = 0, lost = 0;
    const long long end = now_ms() + number_option("ms");
    while (now_ms() < end) {
        daemonize::PidFile own(file);
        Error error;
        if (!own.acquire(daemonize::Duration(2000), error)) continue;
        ++taken;
        const pid_t child = fork();  // nobody is in his own way
        if (child == 0) {
            struct flock asked;
            std::memset(&asked, 0, sizeof asked);
            asked.l_type = F_RDLCK;
            asked.l_start = 0x40000000;
            asked.l_len = 1;
            const int fd = open(file.c_str(), O_RDONLY);
            _exit(fcntl(fd, F_GETLK, &asked) == 0 && asked.l_type == F_UNLCK);
        }
        int status = 0;
        waitpid(child, &status, 0);
        lost += status != 0;
    }
    say("taken=" + std::to_string(taken) + " lost=" + std::to_string(lost) + ".");
    _exit(0);
}

int takes_many() {
    for (int i = 0; i < 40; ++i) {
        daemonize::PidFile* const file =
            new daemonize::PidFile(option("in") + "/" + std::to_string(i) + ".pid");
        Error error;
        if (file->acquire(daemonize::Duration(0), error)) continue;
        say("refused file=" + std::to_string(access(file->path().c_str(), F_OK) == 0) + ". " +
            error.text);
    }
    _exit(0);
}

int opens_and_waits() {
    DaemonContext context;
    apply(context);
    context.open();
    say("waits");
    pause_for_ever();
}

int asked_after_close() {
    DaemonContext context;
    apply(context);
    context.open();
    const bool before = context.is_open();
    context.close();
    say("open=" + std::to_string(before) + " closed=" + std::to_string(context.is_open()) + ".");
    return 0;
}

// One launcher, two daemons: in the second one neither object is a parent's.
int second_daemon() {
    DaemonContext one, two;
    apply(one);
    apply(two);
    two.pidfile = one.pidfile + ".2";
    Error error;
    if (one.start(error) != Role::launcher) pause_for_ever();
    if (error) say("first " + report::describe(error));
    const Role role = two.start(error);
    if (error) say("second " + report::describe(error));
    report::say(std::string(role == Role::launcher ? "launcher" : "daemon") + " one=" +
                std::to_string(one.is_parent()) + " two=" + std::to_string(two.is_parent()) +
                " open-one=" + std::to_string(one.is_open()) + ".");
    if (role != Role::launcher) pause_for_ever();
    return 0;
}

// ---- Signals ------------------------------------------------------------------------------------

std::atomic<bool> let_go(false);
std::atomic<long> thread_number(0);
volatile unsigned long turns = 0;

void* work(void*) {  // without a cancellation point of its own
    thread_number = syscall(SYS_gettid);
    while (!let_go) {
    }
    for (;;) turns = turns + 1;
    return nullptr;
}

pthread_t at_work() {
    pthread_t thread;
    if (pthread_create(&thread, nullptr, work, nullptr) != 0) _exit(91);
    while (thread_number == 0) sched_yield();
    let_go = true;
    return thread;
}

char state_of_thread(long number) {
    const std::string text = report::slurp("/proc/self/task/" + std::to_string(number) + "/stat");
    const std::size_t at = text.rfind(')');
    return at == std::string::npos ? '?' : text[at + 2];
}

// A thread that is cancelled, or left behind by a fork, inside the asynchronous handler: nobody may
// wait for its end.
int cancelled() {
    SignalHandler signals;
    signals.on(SIGUSR1, [](int) {});
    signals.start();
    const pthread_t thread = at_work();
    pthread_cancel(thread);  // acts at the next cancellation point, and the handler has one
    pthread_kill(thread, SIGUSR1);
    void* result = nullptr;
    // A handler without a cancellation point is as good: then the thread goes on for ever.
    timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 1;
    const int joined = pthread_timedjoin_np(thread, &result, &until);
    say(joined == 0 && result == PTHREAD_CANCELED ? "cancelled" : "not cancelled");
    alarm(5);
    signals.stop();
    say("stopped");
    _exit(0);
}

int forked_in_a_handler() {
    SignalHandler signals;
    signals.on(SIGUSR1, [](int) {});
    signals.start();
    const pthread_t thread = at_work();
    pthread_kill(thread, SIGUSR1);
    const long long until = now_ms() + 3000;
    while (state_of_thread(thread_number) != 'S' && now_ms() < until) sched_yield();
    const char state = state_of_thread(thread_number);  // said later: a write() is slow here
    const pid_t child = fork();
    if (child == 0) {
        alarm(5);
        signals.stop();
        SignalHandler own;  // its own one must not wait for the thread that it has not, either
        own.on(SIGUSR1, [](int) {});
        own.start();
        own.stop();
        _exit(0);
    }
    say(std::string("thread=") + state + " child=" + std::to_string(wait_code(child)) + ".");
    _exit(0);
}

// A worker that asks its parent's SignalHandler; the parent's loop must be woken for each signal.
int forked_waiter() {
    SignalHandler signals;
    signals.start();
    const pid_t worker = fork();
    if (worker == 0) {
        alarm(60);
        for (;;) {
            try {
                const int signum = signals.poll();
                if (signum != daemonize::no_signal) _exit(9);
            } catch (const daemonize::DaemonError&) {
                usleep(500);  // told that these are not its own; it goes on asking
            }
            usleep(50);
        }
    }
    int woken = 0, seen = 0;
    for (int i = 0; i < 50; ++i) {
        kill(getpid(), SIGTERM);
        usleep(3000);  // the worker's time to take what it can
        pollfd wake = {static_cast<int>(signals.native_handle()), POLLIN, 0};
        int n = 0;
        do n = poll(&wake, 1, 100);
        while (n < 0 && errno == EINTR);
        woken += n == 1;
        while (signals.poll() == SIGTERM) ++seen;
    }
    kill(worker, SIGKILL);
    say("woken=" + std::to_string(woken) + " seen=" + std::to_string(seen) +
        " worker=" + std::to_string(wait_code(worker)) + ".");
    return 0;
}

// And a wait in it is an error, not a wait for signals that never come.
int forked_waits() {
    SignalHandler signals;
    signals.start();
    const pid_t worker = fork();
    if (worker == 0) {
        alarm(10);
        for (int what = 0; what < 4; ++what) {
            try {
                if (what == 0) signals.wait();
                if (what == 1) signals.wait_for(std::chrono::seconds(30));
                if (what == 2) signals.poll();
                if (what == 3) signals.wait_for_input(0, std::chrono::seconds(30));
                say("no error of " + std::to_string(what));
                _exit(1);
            } catch (const daemonize::DaemonError&) {
            }
        }
        SignalHandler own;
        own.start();
        raise(SIGTERM);
        _exit(own.wait() == SIGTERM ? 0 : 2);
    }
    const int code = wait_code(worker);
    raise(SIGTERM);
    say("worker=" + std::to_string(code) + " parent=" + std::to_string(signals.poll()) + ".");
    return 0;
}

int own_signals() {
    signal(SIGPIPE, SIG_IGN);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);  // a user of signalfd()
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, nullptr);
    signal(SIGUSR2, SIG_IGN);
    DaemonContext context;
    apply(context);
    context.open();
    sigprocmask(SIG_BLOCK, nullptr, &set);
    say("pipe=" + report::disposition(SIGPIPE) + " usr2=" + report::disposition(SIGUSR2) +
        " usr1-blocked=" + std::to_string(sigismember(&set, SIGUSR1)) +
        " term-blocked=" + std::to_string(sigismember(&set, SIGTERM)) + ".");
    return 0;
}

int counted_before() {
    SignalHandler signals;
    signals.start();
    raise(SIGTERM);
    DaemonContext context;
    apply(context);
    Error error;
    if (begin(context, error) == Role::launcher) return error ? 1 : 0;
    pollfd wake = {static_cast<int>(signals.native_handle()), POLLIN, 0};
    int n = 0;
    do n = poll(&wake, 1, 1500);
    while (n < 0 && errno == EINTR);
    say("woken=" + std::to_string(n) + " got=" + std::to_string(signals.poll()) + ".");
    return 0;
}

void fork_once(int) {
    const int kept = errno;
    const pid_t child = fork();
    if (child == 0) _exit(0);
    errno = kept;
}

int forks_in_its_handler() {
    struct sigaction action;
    std::memset(&action, 0, sizeof action);
    action.sa_handler = fork_once;
    action.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &action, nullptr);
    signal(SIGCHLD, SIG_IGN);
    const itimerval every = {{0, 700}, {0, 700}};
    setitimer(ITIMER_REAL, &every, nullptr);
    const long long until = now_ms() + number_option("ms", 2000);
    daemonize::PidFile mine(option("pidfile"));
    mine.acquire();
    long asked = 0;
    for (; now_ms() < until; ++asked) {  // of the file that is ours, and of another's
        Error error;
        daemonize::status(option("pidfile"));
        if (asked % 16 == 0) {
            daemonize::PidFile other(option("pidfile") + ".2");
            other.acquire(daemonize::Duration(0), error);
        }
    }
    const itimerval never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &never, nullptr);
    say("asked=" + std::to_string(asked));
    return 0;
}

int closed_wake() {
    SignalHandler signals;
    signals.start();
    for (int fd = 3; fd < 1024; ++fd) close(fd);
    if (options.count("reused")) {  // its numbers are other files now
        for (int i = 0; i < 8; ++i)
            if (open("/dev/null", O_RDWR) < 0) return 1;
    }
    if (options.count("raise")) raise(SIGTERM);
    const double began = cpu_seconds();
    std::string result = "returned";
    try {
        const int signum = signals.wait_for(std::chrono::milliseconds(1500));
        result = "got=" + std::to_string(signum);
    } catch (const daemonize::DaemonError& error) {
        result = "error";
    }
    say(result + (cpu_seconds() - began > 0.5 ? " busy" : " calm"));
    return 0;
}

// What the program has opened since under the numbers of the wake that it closed is its own.
int reused_wake() {
    SignalHandler signals;
    signals.start();
    if (option("by") == "child") {
        const pid_t child = fork();
        if (child != 0) return waitpid(child, nullptr, 0) == child ? 0 : 1;
    }
    for (int fd = 3; fd < 64; ++fd) close(fd);
    int ends[6];
    for (int i = 0; i < 6; i += 2)
        if (pipe(ends + i) != 0 || write(ends[i + 1], "mine", 4) != 4) return 1;
    std::string result = "started";
    try {
        SignalHandler own;
        if (option("by") == "child")
            own.start();
        else
            result = "got=" + std::to_string(signals.poll());
    } catch (const daemonize::DaemonError&) {
        result = "error";
    }
    int whole = 0;
    for (int i = 0; i < 6; i += 2) {
        char bytes[8];
        fcntl(ends[i], F_SETFL, O_NONBLOCK);
        whole += read(ends[i], bytes, sizeof bytes) == 4 && write(ends[i + 1], "x", 1) == 1;
    }
    say(result + " whole=" + std::to_string(whole) + ".");
    _exit(0);
}

int no_time() {
    SignalHandler signals;
    signals.start();
    const long long began = now_ms();
    using Steady = std::chrono::steady_clock;
    using System = std::chrono::system_clock;
    const int first = signals.wait_until((Steady::time_point::min)());
    const int second = signals.wait_until((System::time_point::min)());
    const int third = signals.wait_until(Steady::time_point());
    const long long took = now_ms() - began;
    raise(SIGTERM);
    const int last = signals.wait_until((Steady::time_point::max)());
    say("got=" + std::to_string(first + second + third) + (took < 500 ? " at-once" : " late") +
        " last=" + std::to_string(last) + ".");
    return 0;
}

// ---- Children, the manager, set-uid -------------------------------------------------------------

int no_corpses() {
    signal(SIGCHLD, SIG_IGN);
    DaemonContext context;
    apply(context);
    context.ready_by_hand = true;
    // A child of the launcher's own, which ends while the start is under way.
    const pid_t own = options.count("own") ? fork() : 0;
    if (own == 0 && options.count("own")) {
        usleep(50000);
        _exit(0);
    }
    Error error;
    if (context.start(error) != Role::launcher) {
        if (options.count("fail")) context.fail("not today", 3);
        if (options.count("hangs")) pause_for_ever();
        const std::string stat = "/proc/" + std::to_string(own) + "/stat";
        for (int i = 0; own > 0 && i < 2000; ++i) {
            const std::string text = report::slurp(stat);
            if (text.empty() || text.find(") Z") != std::string::npos) break;
            usleep(1000);
        }
        context.ready();
        pause_for_ever();
    }
    const int none = waitpid(-1, nullptr, WNOHANG);
    say("children=" + std::string(none < 0 && errno == ECHILD ? "none" : "some") + " chld=" +
        report::disposition(SIGCHLD) + " " + report::name_of(error.code) + ". " + error.text);
    return 0;
}

void tick(int) {
    const int kept = errno;
    if (write(1, "t", 1) < 0) _exit(98);
    errno = kept;
}

int interrupted_ready() {
    struct sigaction action;
    std::memset(&action, 0, sizeof action);
    action.sa_handler = tick;  // without SA_RESTART
    sigaction(SIGALRM, &action, nullptr);
    const itimerval every = {{0, 20000}, {0, 20000}};
    setitimer(ITIMER_REAL, &every, nullptr);
    DaemonContext context;
    apply(context);
    context.open();
    const itimerval never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &never, nullptr);
    say("open");
    return 0;
}

int set_uid() {
    say("before uid=" + std::to_string(getuid()) + " euid=" + std::to_string(geteuid()));
    Error error;
    say("default=" + daemonize::PidFile::default_path("hostile", error) + ".");
    DaemonContext context;
    apply(context);
    if (context.start(error) == Role::launcher) {
        say("launcher " + report::describe(error));
        return 0;
    }
    uid_t ids[3];
    getresuid(&ids[0], &ids[1], &ids[2]);
    say("daemon uids=" + std::to_string(ids[0]) + "," + std::to_string(ids[1]) + "," +
        std::to_string(ids[2]) + " back=" + std::to_string(seteuid(0)) + ".");
    return 0;
}

int groups_kept() {
    DaemonContext context;
    apply(context);
    context.uid = static_cast<unsigned>(getuid());
    context.gid = static_cast<unsigned>(getgid());
    context.initgroups = false;
    Error error;
    if (context.start(error) == Role::launcher) {
        if (error) say("refused " + report::describe(error));
        return 0;
    }
    say("groups=" + std::to_string(getgroups(0, nullptr)) + ".");
    return 0;
}

int several_lines() {
    DaemonContext context;
    apply(context);
    std::string name = "hostile", verb = "start";
    char* argv[] = {&name[0], &verb[0], nullptr};
    return daemonize::control(2, argv, context, [](DaemonContext& daemon) -> int {
        if (option("by") == "fail") daemon.fail("first\nsecond\r\nthird\033[2J", 3);
        throw std::runtime_error("first\nsecond\r\nthird\033[2J");
    });
}

// ---- Ends at a fork -----------------------------------------------------------------------------

const pid_t first_process = getpid();
std::string dies_at;

void before_fork() {
    if (dies_at == "before" && getpid() != first_process) kill(getpid(), SIGKILL);
}
void after_fork() {
    if (dies_at == "after" && getpid() != first_process) kill(getpid(), SIGKILL);
}
void born() {
    if (dies_at == "born" && getppid() != first_process) kill(getpid(), SIGKILL);
}

// Before everything that the header may register: so it is the last to be called before a fork, when
// whatever is to be locked for it is locked.
__attribute__((constructor(101))) void register_first() {
    pthread_atfork(before_fork, after_fork, born);
}

int dies_at_fork() {
    dies_at = option("where");
    DaemonContext context;
    apply(context);
    Error error;
    const Role role = begin(context, error);
    if (role == Role::launcher) {
        say("kept " + report::describe(error));
        return error ? 1 : 0;
    }
    pause_for_ever();
}

const struct {
    const char* name;
    int (*run)();
} modes[] = {{"forge", forge},
             {"forge-to-kept", forge_to_kept},
             {"dead-owner", dead_owner},
             {"rseq", restartable},
             {"capable", capable},
             {"new-namespace", new_namespace},
             {"long-text", long_text},
             {"few-descriptors", few_descriptors},
             {"failed-in-foreground", failed_in_the_foreground},
             {"moved", moved},
             {"locks-after-fork", locks_after_fork},
             {"opens-and-waits", opens_and_waits},
             {"takes-many", takes_many},
             {"asks-while-it-takes", asks_while_it_takes},
             {"own-epoll", own_epoll},
             {"prints-before-start", prints_before_start},
             {"fails-into-a-pipe", fails_into_a_pipe},
             {"starts-and-fails", starts_and_fails},
             {"fails-after-move", fails_after_move},
             {"asked-after-close", asked_after_close},
             {"second-daemon", second_daemon},
             {"cancelled", cancelled},
             {"forked-in-handler", forked_in_a_handler},
             {"forked-waiter", forked_waiter},
             {"forked-waits", forked_waits},
             {"own-signals", own_signals},
             {"counted-before", counted_before},
             {"forks-in-handler", forks_in_its_handler},
             {"closed-wake", closed_wake},
             {"reused-wake", reused_wake},
             {"no-time", no_time},
             {"no-corpses", no_corpses},
             {"interrupted-ready", interrupted_ready},
             {"set-uid", set_uid},
             {"groups-kept", groups_kept},
             {"several-lines", several_lines},
             {"dies-at-fork", dies_at_fork}};

}  // namespace

int main(int argc, char** argv) {
    for (int i = 2; i < argc; ++i) {
        const std::string word = argv[i];
        const std::size_t equals = word.find('=');
        options[word.substr(0, equals)] =
            equals == std::string::npos ? "" : word.substr(equals + 1);
    }
    for (const auto& mode : modes)
        if (argc > 1 && std::strcmp(argv[1], mode.name) == 0) return mode.run();
    std::fprintf(stderr, "hostile: no such word: %s\n", argc > 1 ? argv[1] : "");
    return 94;
}
