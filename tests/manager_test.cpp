// Section 7 and rules V1, V2: where it was started from, and life under a service manager. The
// manager is this test: a datagram socket that reads what systemd would read.
#include "support/expect.hpp"
#include "support/local.hpp"
#include "support/terminal.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <stdexcept>

using namespace expect;
using terminal::Terminal;

namespace {

struct Message {
    std::string text;
    pid_t sender;
};

class Manager {
public:
    explicit Manager(const std::string& name) : name_(name), address_(local::address(name)) {
        if (name[0] == '@') address_.sun_path[0] = '\0';
        length_ = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
        socket_ = Descriptor(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        const int yes = 1;
        setsockopt(socket_.get(), SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes);
        if (bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address_), length_) != 0)
            throw std::runtime_error("bind " + name);
        if (name[0] != '@') chmod(name.c_str(), 0777);
    }
    const std::string& name() const { return name_; }

    // Everything that came so far, in order.
    const std::vector<Message>& messages() {
        while (receive()) {
        }
        return messages_;
    }
    // A manager that hangs: until the queue has no room for anybody. One sender alone may be stopped before that, by what
    // he may have on the way himself.
    void fill() {
        const sockaddr* const to = reinterpret_cast<const sockaddr*>(&address_);
        for (int sent = 1; sent > 0;) {
            const Descriptor sender(
                ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
            sent = 0;
            while (sendto(sender.get(), "x", 1, 0, to, length_) == 1) ++sent;
        }
    }
    bool hears(const std::string& part, Millis limit = patience()) {
        return eventually([&] { return find(part) >= 0; }, limit);
    }
    int find(const std::string& part) {
        messages();
        for (std::size_t i = 0; i < messages_.size(); ++i)
            if (contains("\n" + messages_[i].text + "\n", "\n" + part)) return static_cast<int>(i);
        return -1;
    }
    int times(const std::string& part) {
        int n = 0;
        for (const Message& message : messages()) n += contains(message.text, part);
        return n;
    }
    std::string all() {
        std::string text;
        for (const Message& message : messages()) text += "[" + message.text + "] ";
        return text;
    }

private:
    bool receive() {
        char text[4096];
        alignas(cmsghdr) char control[256];
        iovec piece = {text, sizeof text};
        msghdr header;
        std::memset(&header, 0, sizeof header);
        header.msg_iov = &piece;
        header.msg_iovlen = 1;
        header.msg_control = control;
        header.msg_controllen = sizeof control;
        const ssize_t n = recvmsg(socket_.get(), &header, MSG_DONTWAIT);
        if (n < 0) return false;
        Message message{std::string(text, static_cast<std::size_t>(n)), 0};
        for (cmsghdr* c = CMSG_FIRSTHDR(&header); c; c = CMSG_NXTHDR(&header, c)) {
            if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_CREDENTIALS) continue;
            ucred sender;
            std::memcpy(&sender, CMSG_DATA(c), sizeof sender);
            message.sender = sender.pid;
        }
        messages_.push_back(message);
        return true;
    }

    std::string name_;
    sockaddr_un address_;
    socklen_t length_;
    Descriptor socket_;
    std::vector<Message> messages_;
};

// What of a manager may be in the environment of whoever runs this suite.
const std::vector<std::pair<std::string, std::string>> no_manager = {
    {"NOTIFY_SOCKET", "-"}, {"SYSTEMD_EXEC_PID", "-"}, {"INVOCATION_ID", "-"},
    {"PIDFILE", "-"},       {"XPC_SERVICE_NAME", "-"}, {"WATCHDOG_USEC", "-"},
    {"WATCHDOG_PID", "-"},  {"LISTEN_FDS", "-"},       {"LISTEN_PID", "-"}};

void set_pid(const char* name) { setenv(name, std::to_string(getpid()).c_str(), 1); }

// A victim that says where it came to be: "daemon" or "foreground".
struct Place {
    explicit Place(const Strings& more = {}) {
        launch = Launch(Strings{program("victim"), "stdout=" + daemon.log, "core=1"} + more +
                        Strings{"open", "role", "wait"});
        launch.environment = no_manager;
        launch.to_end_of_file = false;
    }
    std::string decides() {
        running.reset(new Running(launch));
        eventually([&] { return contains(running->out() + slurp(daemon.log), "role="); });
        const std::string said = running->out() + slurp(daemon.log);
        const std::string role = value_in(said, "role");
        return role;
    }
    Victim daemon;
    Launch launch;
    std::unique_ptr<Running> running;
};

Descriptor inet_socket(bool listening, Descriptor* other) {
    Descriptor server(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address;
    std::memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    sockaddr* const any = reinterpret_cast<sockaddr*>(&address);
    REQUIRE(bind(server.get(), any, size) == 0);
    REQUIRE(listen(server.get(), 5) == 0);
    if (listening) return server;
    REQUIRE(getsockname(server.get(), any, &size) == 0);
    *other = Descriptor(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(connect(other->get(), any, size) == 0);
    return Descriptor(accept4(server.get(), nullptr, nullptr, SOCK_CLOEXEC));
}

// A shell, or a shim by its name, as process 1 of a PID namespace of its own.
std::string decides_under(const std::string& init, const std::string& environment) {
    Victim daemon;
    std::string shell = "/bin/sh";
    if (init != "sh") {
        shell = daemon.dir / init;  // /proc/1/comm is the name of the file
        REQUIRE(run({{"cp", "/bin/sh", shell}}).status == 0);
    }
    Launch launch({"unshare", "-p", "-f", "--mount-proc", shell, "-c",
                   environment + " " + program("victim") + " stdout=" + daemon.log +
                       " open role wait; sleep 1000; true"});
    launch.environment = no_manager;
    Running running(launch);
    eventually([&] { return contains(running.out() + slurp(daemon.log), "role="); });
    return value_in(running.out() + slurp(daemon.log), "role");
}

}  // namespace

// ---- Section 7, row by row ----------------------------------------------------------------------

TEST_CASE("Section 7: a shell is no evidence: detach") { CHECK(Place().decides() == "daemon"); }

TEST_CASE("Section 7: explicit yes and no win over every evidence") {
    Place yes({"detach=yes"});
    yes.launch.before_exec = [] { set_pid("SYSTEMD_EXEC_PID"); };
    CHECK(yes.decides() == "daemon");
    Place no({"detach=no"});
    no.launch.environment.push_back({"PIDFILE", "/run/x.pid"});
    CHECK(no.decides() == "foreground");
}

TEST_CASE("Section 7: process 1, and a container's init shim as parent: foreground; a shell: not") {
    NEEDS_MOUNTS();
    const Victim daemon;
    Launch launch({"unshare", "-p", "-f", "--mount-proc", program("victim"), "stdout=" + daemon.log,
                   "open", "role", "wait"});
    launch.environment = no_manager;
    Running first(launch);
    CHECK(first.says("role=foreground"));
    if (!generic())  // POSIX does not tell the name of process 1
        for (const char* shim : {"tini", "docker-init", "dumb-init", "catatonit"})
            CHECK(decides_under(shim, "") == "foreground");
    CHECK(decides_under("sh", "") == "daemon");
    CHECK(decides_under("tiny", "") == "daemon");
}

TEST_CASE("Section 7: PIDFILE is set by systemd for Type=forking: detach") {
    Place place;
    place.launch.environment.push_back({"PIDFILE", "/run/x.pid"});
    place.launch.environment.push_back({"INVOCATION_ID", "0123456789abcdef"});
    place.launch.before_exec = [] { set_pid("SYSTEMD_EXEC_PID"); };
    CHECK(place.decides() == "daemon");
}

TEST_CASE("Section 7: NOTIFY_SOCKET, and SYSTEMD_EXEC_PID is ours: foreground, READY=1") {
    Place place;
    Manager manager(place.daemon.dir / "notify");
    place.launch.environment.push_back({"NOTIFY_SOCKET", manager.name()});
    place.launch.before_exec = [] { set_pid("SYSTEMD_EXEC_PID"); };
    CHECK(place.decides() == "foreground");
    CHECK(manager.hears("READY=1"));
}

TEST_CASE("Section 7: NOTIFY_SOCKET before systemd 248: the manager's own child, and nobody else") {
    Place inherited;
    Manager manager(inherited.daemon.dir / "notify");
    inherited.launch.environment.push_back({"NOTIFY_SOCKET", manager.name()});
    CHECK(inherited.decides() == "daemon");
    CHECK(manager.hears("MAINPID="));  // whoever listens there is told of the daemon
    NEEDS_MOUNTS();
    CHECK(decides_under("systemd", "NOTIFY_SOCKET=" + manager.name()) == "foreground");
    // POSIX does not tell the name of process 1.
    CHECK(decides_under("sh", "NOTIFY_SOCKET=" + manager.name()) ==
          (generic() ? "foreground" : "daemon"));
}

TEST_CASE("Section 7: NOTIFY_SOCKET inherited from another service's process: detach") {
    Place place;
    Manager manager(place.daemon.dir / "notify");
    place.launch.environment.push_back({"NOTIFY_SOCKET", manager.name()});
    place.launch.environment.push_back({"SYSTEMD_EXEC_PID", "1"});
    CHECK(place.decides() == "daemon");
}

TEST_CASE("Section 7: SYSTEMD_EXEC_PID is ours: foreground; our parent's or another's: detach") {
    Place own;
    own.launch.before_exec = [] { set_pid("SYSTEMD_EXEC_PID"); };
    CHECK(own.decides() == "foreground");
    Place parents;  // a child of a service: it has merely inherited the variable
    parents.launch.environment.push_back({"SYSTEMD_EXEC_PID", std::to_string(getpid())});
    CHECK(parents.decides() == "daemon");
    Place other;
    other.launch.environment.push_back({"SYSTEMD_EXEC_PID", "4711"});
    other.launch.environment.push_back({"INVOCATION_ID", "0123456789abcdef"});
    CHECK(other.decides() == "daemon");
}

TEST_CASE("Section 7: INVOCATION_ID alone is none (terminals of a desktop session inherit it)") {
    Place place;
    place.launch.environment.push_back({"INVOCATION_ID", "0123456789abcdef"});
    CHECK(place.decides() == "daemon");
}

TEST_CASE("Section 7: INVOCATION_ID with systemd, XPC_SERVICE_NAME with process 1 as parent") {
    NEEDS_MOUNTS();
    CHECK(decides_under("systemd", "INVOCATION_ID=0123456789abcdef") == "foreground");
    CHECK(decides_under("sh", "INVOCATION_ID=0123456789abcdef") ==
          (generic() ? "foreground" : "daemon"));
    CHECK(decides_under("sh", "XPC_SERVICE_NAME=org.example.ticker") == "foreground");
    Place alone;
    alone.launch.environment.push_back({"XPC_SERVICE_NAME", "0"});
    CHECK(alone.decides() == "daemon");
}

TEST_CASE("Section 7: stdin is an internet socket or a listening one: foreground, for inetd") {
    Descriptor client;
    const Descriptor connected = inet_socket(false, &client),
                     listening = inet_socket(true, nullptr);
    Place inetd;
    inetd.launch.input = connected.get();
    CHECK(inetd.decides() == "foreground");
    Place activated;
    activated.launch.input = listening.get();
    CHECK(activated.decides() == "foreground");
}

TEST_CASE("Section 7: a listening UNIX socket as stdin: foreground; a socketpair (ssh): detach") {
    const Scratch dir;
    const Descriptor server = local::bound(dir / "socket", SOCK_STREAM);
    REQUIRE(listen(server.get(), 5) == 0);
    Place activated;
    activated.launch.input = server.get();
    CHECK(activated.decides() == "foreground");

    int pair[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    const Descriptor one(pair[0]), other(pair[1]);
    Place ssh;
    ssh.launch.input = one.get();
    CHECK(ssh.decides() == "daemon");
}

TEST_CASE("Section 7: inetd: stdin and stdout are the client's, no PID file, many at once") {
    const Victim daemon;
    std::vector<std::unique_ptr<Running>> both;
    for (int round = 0; round < 2; ++round) {  // a PID file would refuse the second
        Descriptor client;
        const Descriptor connection = inet_socket(false, &client);
        Launch launch({program("victim"), "pidfile=" + daemon.pidfile, "stdout=" + daemon.log,
                       "open", "say=hello client", "wait"});
        launch.environment = no_manager;
        launch.input = connection.get();
        launch.before_exec = [] {
            dup2(0, 1);
            dup2(0, 2);
        };
        both.emplace_back(new Running(launch));
        fcntl(client.get(), F_SETFL, O_NONBLOCK);
        std::string heard;
        CHECK(eventually([&] {
            char text[256];
            const ssize_t n = read(client.get(), text, sizeof text);
            if (n > 0) heard.append(text, static_cast<std::size_t>(n));
            return heard == "hello client\n";
        }));
        INFO("the client heard: ", heard);
        CHECK_FALSE(exists(daemon.pidfile));
    }
}

TEST_CASE("Section 7: inetd: an error is not written to the client") {
    const Daemon daemon;
    for (const Strings& words :
         {Strings{program("victim"), "chdir=/no/such/place", "open", "wait"},
          Strings{program("subject"), "start", "--pidfile", daemon.pidfile, "--chdir",
                  "/no/such/place"},
          Strings{program("subject"), "start", "--pidfile", daemon.pidfile, "--umask", "7777"}}) {
        Descriptor client;
        const Descriptor connection = inet_socket(false, &client);
        Launch launch(words);
        launch.environment = no_manager;
        launch.input = connection.get();
        launch.before_exec = [] {
            dup2(0, 1);
            dup2(0, 2);
        };
        CHECK(run(launch).status > 0);
        char text[256];
        CHECK(recv(client.get(), text, sizeof text, MSG_DONTWAIT) <= 0);
    }
}

TEST_CASE("Section 7: explain() names the evidence") {
    Place place({"explain"});
    place.launch.environment.push_back({"PIDFILE", "/run/x.pid"});
    CHECK(place.decides() == "daemon");
    CHECK(contains(place.running->out(), "PIDFILE"));
}

// ---- V1 -----------------------------------------------------------------------------------------

namespace {

void be_the_service_with_watchdog() {
    set_pid("SYSTEMD_EXEC_PID");
    set_pid("WATCHDOG_PID");
}

struct Service {
    explicit Service(const std::string& kind = "path")
        : manager(kind == "path" ? dir / "notify" : "@daemonize-test-" + std::to_string(getpid())) {
    }
    Launch launch(const Strings& words) {
        Launch made(Strings{program("watcher")} + words);
        made.environment = no_manager;
        made.environment.push_back({"NOTIFY_SOCKET", manager.name()});
        made.before_exec = [] { set_pid("SYSTEMD_EXEC_PID"); };
        return made;
    }
    Scratch dir;
    Manager manager;
};

}  // namespace

TEST_CASE("V1 READY, STATUS and STOPPING over a path and an abstract socket") {
    for (const char* kind : {"path", "abstract"}) {
        INFO(kind);
        Service service(kind);
        Running running(service.launch({"by-hand", "open", "say=early", "notify=STATUS=warming up",
                                        "ready", "with-context", "start", "say=up", "wait"}));
        REQUIRE(running.says("up"));
        REQUIRE(service.manager.hears("READY=1"));
        CHECK(contains(running.out(), "told=1"));
        CHECK(service.manager.find("STATUS=warming up") == 0);
        CHECK(service.manager.find("READY=1") == 1);
        CHECK(service.manager.messages()[0].sender == running.pid());
        running.signal(SIGTERM);
        CHECK(running.finish().status == 0);
        CHECK(service.manager.hears("STOPPING=1"));
        CHECK(service.manager.times("STOPPING=1") == 1);
        CHECK(service.manager.times("READY=1") == 1);
    }
}

TEST_CASE("V1 the variables are unset for children") {
    Service service;
    Launch launch =
        service.launch({"open", "environment=NOTIFY_SOCKET", "environment=WATCHDOG_USEC",
                        "environment=WATCHDOG_PID", "notify=STATUS=still heard"});
    launch.environment.push_back({"WATCHDOG_USEC", "20000000"});
    launch.before_exec = be_the_service_with_watchdog;
    const Outcome said = run(launch);
    INFO(said.text());
    CHECK(contains(said.out, "NOTIFY_SOCKET=unset\n"));
    CHECK(contains(said.out, "WATCHDOG_USEC=unset\n"));
    CHECK(contains(said.out, "WATCHDOG_PID=unset\n"));
    CHECK(service.manager.hears("STATUS=still heard"));
}

TEST_CASE("V1 a reload is told before and after, with the time") {
    Service service;
    Running running(
        service.launch({"open", "with-context", "on=1:slow", "start", "say=up", "wait"}));
    REQUIRE(running.says("up"));
    running.signal(SIGHUP);
    REQUIRE(running.says("begin=1"));
    CHECK(service.manager.hears("RELOADING=1"));
    CHECK(service.manager.times("READY=1") == 1);  // not yet again
    CHECK(service.manager.find("MONOTONIC_USEC=") == service.manager.find("RELOADING=1"));
    REQUIRE(running.says("end=1"));
    CHECK(eventually([&] { return service.manager.times("READY=1") == 2; }));
    INFO(service.manager.all());
    const int reloading = service.manager.find("RELOADING=1");
    REQUIRE(reloading >= 0);
    const std::string text = service.manager.messages()[static_cast<std::size_t>(reloading)].text;
    const long long usec = std::atoll(text.c_str() + text.find("MONOTONIC_USEC=") + 15);
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    CHECK(usec > 0);
    CHECK(usec <= static_cast<long long>(now.tv_sec) * 1000000 + now.tv_nsec / 1000);
}

TEST_CASE(
    "V1 detached under NOTIFY_SOCKET: the launcher sends MAINPID and READY before it leaves") {
    Service service;
    const std::string pidfile = service.dir / "d.pid";
    const Outcome launcher = run(service.launch(
        {"pidfile=" + pidfile, "detach=yes", "stdout=" + (service.dir / "log"), "open", "wait"}));
    INFO(launcher.text());
    REQUIRE(launcher.status == 0);
    const std::string pid = std::to_string(to_long(slurp(pidfile)));
    INFO(service.manager.all());
    REQUIRE(service.manager.find("MAINPID=" + pid) >= 0);  // already there
    CHECK(service.manager.find("READY=1") >= service.manager.find("MAINPID=" + pid));
    CHECK(service.manager.messages()[0].sender == launcher.pid);
    CHECK(service.manager.times("READY=1") == 1);
}

TEST_CASE("V1 a failed start is not told as ready") {
    Service service;
    const Outcome launcher = run(service.launch({"pidfile=/no/such/place/d.pid", "open", "wait"}));
    CHECK(launcher.status == 1);
    const Outcome late =
        run(service.launch({"pidfile=" + (service.dir / "d.pid"), "stdout=" + (service.dir / "log"),
                            "detach=yes", "by-hand", "open", "return=3"}));
    CHECK(late.status == 3);
    CHECK(service.manager.times("READY=1") == 0);
}

TEST_CASE("V1 STOPPING is said once, however often it is closed") {
    Service service;
    Launch launch = service.launch({});
    launch.argv = {program("victim"), "open", "close", "close", "return=0"};
    CHECK(run(launch).status == 0);
    CHECK(service.manager.hears("STOPPING=1"));
    CHECK(service.manager.times("STOPPING=1") == 1);
}

TEST_CASE("V1 the watchdog is fed from the waits when half of its time has passed") {
    for (const char* wait : {"wait", "wait-for=100000"}) {
        Service service;
        Launch launch =
            service.launch({"open", "watchdog", "with-context", "start", "say=up", wait});
        launch.environment.push_back({"WATCHDOG_USEC", "400000"});
        launch.before_exec = be_the_service_with_watchdog;
        Running running(launch);
        REQUIRE(running.says("up"));
        CHECK(contains(running.out(), "watchdog=200\n"));
        const Clock::time_point began = Clock::now();
        CHECK(eventually([&] { return service.manager.times("WATCHDOG=1") >= 5; }));
        // At least four halves lie between the first and the fifth.
        CHECK(Clock::now() - began >= Millis(600));
        running.signal(SIGTERM);
        CHECK(running.finish().status == 0);
    }
}

TEST_CASE("V1 a hung loop feeds no watchdog; poll() does, in time") {
    Service service;
    Launch launch = service.launch({"open", "with-context", "start", "say=up", "sleep=500",
                                    "say=slept", "read", "poll", "say=polled", "wait"});
    launch.environment.push_back({"WATCHDOG_USEC", "100000"});
    launch.before_exec = be_the_service_with_watchdog;
    Running running(launch);
    REQUIRE(running.says("up"));
    const int before = service.manager.times("WATCHDOG=1");
    CHECK(before <= 1);
    REQUIRE(running.says("polled"));
    CHECK(service.manager.hears("WATCHDOG=1"));
}

TEST_CASE("V1 the watchdog is not fed more often than that, however often a loop polls") {
    Service service;
    Launch launch = service.launch({"open", "with-context", "start", "repeat=200", "poll"});
    launch.environment.push_back({"WATCHDOG_USEC", "40000000"});
    CHECK(run(launch).status == 0);
    CHECK(service.manager.hears("STOPPING=1"));
    CHECK(service.manager.times("WATCHDOG=1") == 1);
}

TEST_CASE("V1 a watchdog of another process is not fed; none without a manager") {
    Service service;
    Launch launch = service.launch({"open", "watchdog", "with-context", "start", "wait-for=300"});
    launch.environment.push_back({"WATCHDOG_USEC", "100000"});
    launch.environment.push_back({"WATCHDOG_PID", "4711"});
    const Outcome said = run(launch);
    INFO(said.text());
    CHECK(contains(said.out, "watchdog=none"));
    CHECK(service.manager.times("WATCHDOG=1") == 0);
    Launch alone({program("watcher"), "watchdog", "notify=STATUS=x"});
    alone.environment = no_manager;
    const Outcome nobody_told = run(alone);
    CHECK(contains(nobody_told.out, "watchdog=none"));
    CHECK(contains(nobody_told.out, "told=0"));
}

TEST_CASE("V1 a failing send is never an error, and a manager that does not read blocks nobody") {
    for (const std::string& socket :
         {std::string("/no/such/socket"), std::string("@nobody-there"), std::string(4000, 'x'),
          "/" + std::string(4000, 'x'), "/" + std::string(4000, 'x'), std::string("relative"),
          std::string("@")}) {
        Launch launch({program("watcher"), "open", "notify=STATUS=x", "say=alive"});
        launch.environment = no_manager;
        launch.environment.push_back({"NOTIFY_SOCKET", socket});
        launch.before_exec = [] { set_pid("SYSTEMD_EXEC_PID"); };
        const Outcome said = run(launch);
        INFO(said.text());
        CHECK(said.status == 0);
        CHECK(contains(said.out, "told=0\nalive"));
    }
    Service service;
    service.manager.fill();
    const Outcome said = run(service.launch({"notify=STATUS=x", "say=alive"}));
    INFO(said.text());
    CHECK(contains(said.out, "told=0\nalive"));
    CHECK(said.took < Millis(5000));
}

// ---- V2 -----------------------------------------------------------------------------------------

TEST_CASE("V2 in the foreground the program keeps its terminal: output, and Ctrl-C") {
    NEEDS_TERMINAL();
    Terminal terminal;
    const Daemon daemon;
    Running running(terminal.launch(daemon.words("run", {"--payload", "on the screen"})));
    CHECK(terminal.shows("payload=on the screen"));
    REQUIRE(eventually([&] { return daemon.pid() == running.pid(); }));
    REQUIRE(waits_for_signals(running.pid()));
    CHECK(facts(running.pid()).terminal != 0);
    terminal.type("\003");
    const Outcome done = running.finish();
    INFO(terminal.screen);
    CHECK(done.status == 0);
    CHECK_FALSE(exists(daemon.pidfile));
}

TEST_CASE("V2 a program in the foreground can be stopped, and ends with its terminal") {
    NEEDS_TERMINAL();
    for (const Strings& words : {Strings{"victim", "detach=no", "open", "say=up", "wait"},
                                 Strings{"watcher", "control=run", "with-context", "start", "ready",
                                         "say=up", "throw-out"}}) {
        std::unique_ptr<Terminal> terminal(new Terminal);
        const Daemon daemon;
        Running running(terminal->launch(Strings{program(words[0]), "pidfile=" + daemon.pidfile} +
                                         Strings(words.begin() + 1, words.end())));
        REQUIRE(terminal->shows("up"));
        const pid_t pid = running.pid();
        REQUIRE(eventually([&] { return has(facts(pid).caught, SIGHUP); }));
        CHECK_FALSE(has(facts(pid).ignored, SIGTSTP));
        CHECK_FALSE(has(facts(pid).caught, SIGTSTP));
        terminal.reset();  // the window is closed
        CHECK(eventually([&] { return running.finished(); }));
        CHECK_FALSE(exists(daemon.pidfile));
    }
}

TEST_CASE("V2 a daemon started from a terminal has none, and lives on when it is closed") {
    NEEDS_TERMINAL();
    std::unique_ptr<Terminal> terminal(new Terminal);
    const Daemon daemon;
    Running running(
        terminal->launch({"sh", "-c", join(daemon.words("start")) + "; echo done; read x"}));
    REQUIRE(terminal->shows("done"));
    const pid_t pid = daemon.pid();
    CHECK(facts(pid).terminal == 0);
    terminal.reset();  // the window is closed: SIGHUP to the session
    CHECK(eventually([&] { return running.finished(); }));
    CHECK(alive(pid));
    CHECK(daemon.verb("status").status == 0);
}

TEST_CASE("V2 nohup: a SIGHUP that was ignored when `run` began does not end it at a terminal") {
    NEEDS_TERMINAL();
    for (const std::string how : {"", "nohup"}) {
        INFO(how);
        std::unique_ptr<Terminal> terminal(new Terminal);
        const Daemon daemon;
        Launch launch = terminal->launch(
            {program("hostile"), "opens-and-waits", "detach=no", "pidfile=" + daemon.pidfile});
        const std::function<void()> at_terminal = launch.before_exec;
        if (how == "nohup")
            launch.before_exec = [at_terminal] {
                at_terminal();
                ignore(SIGHUP);
            };
        Running running(launch);
        REQUIRE(terminal->shows("waits"));
        running.signal(SIGHUP);
        running.signal(SIGCONT);
        if (how == "nohup") {
            running.signal(SIGTERM);  // delivered after the other
            CHECK(running.finish().status == 128 + SIGTERM);
        } else {
            CHECK(running.finish().status == 128 + SIGHUP);
        }
        CHECK_FALSE(exists(daemon.pidfile));
    }
}

TEST_CASE("V2 Ctrl-C while the start waits ends the start, at the terminal") {
    NEEDS_TERMINAL();
    Terminal terminal;
    const Daemon daemon;
    Running running(terminal.launch(daemon.words("start", {"--ready-delay-ms", "1000"})));
    REQUIRE(eventually([&] { return daemon.pid() > 1; }));
    terminal.type("\003");
    CHECK(running.finish().status == 128 + SIGINT);
    CHECK(eventually([] { return descendants().empty(); }));
    CHECK_FALSE(exists(daemon.pidfile));
}
