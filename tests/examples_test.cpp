// The programs of examples/: each is run as its own first lines say.
#include "support/expect.hpp"
#include "support/local.hpp"
#include "support/loopback.hpp"

#include <fcntl.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

using namespace expect;
using loopback::echoed;

namespace {

std::pair<Descriptor, Descriptor> make_pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
    return {Descriptor(ends[0]), Descriptor(ends[1])};
}

void write_all(const Descriptor& to, const std::string& text) {
    REQUIRE(write(to.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
}

pid_t pid_in(const std::string& path) { return static_cast<pid_t>(to_long(slurp(path))); }

// A number is there, and it is another one than `before`.
pid_t new_pid_in(const std::string& path, pid_t before = 0) {
    pid_t found = 0;
    eventually([&] { return (found = pid_in(path)) > 1 && found != before && alive(found); });
    return found > 1 && found != before ? found : 0;
}

std::string command_line(pid_t pid) {
    std::string text = slurp("/proc/" + std::to_string(pid) + "/cmdline");
    for (char& c : text)
        if (c == '\0') c = ' ';
    return text.substr(0, text.find_last_not_of(' ') + 1);
}

}  // namespace

// ---- README.md and minimal ----------------------------------------------------------------------

TEST_CASE("Examples: README.md's first program is examples/minimal.cpp, byte for byte") {
    SKIP_UNLESS(exists("README.md"), "not run at the top of the checkout");
    const std::string text = slurp("README.md"), fence = "```cpp name=minimal\n";
    const std::size_t begin = text.find(fence);
    REQUIRE(begin != std::string::npos);
    const std::size_t from = begin + fence.size(), end = text.find("```\n", from);
    REQUIRE(end != std::string::npos);
    CHECK(text.substr(from, end - from) == slurp("examples/minimal.cpp"));
}

TEST_CASE("Examples: minimal, as README.md shows it") {
    NEEDS_MOUNTS();  // a /run and a /var/log that are nobody else's
    Launch launch({"unshare", "--mount", "sh", "-c",
                   "mount -t tmpfs none /run; mount -t tmpfs none /var/log\n"
                   "\"$1\"; echo first $?; \"$1\"; echo second $?; cat",
                   "sh", program("minimal")});
    const std::pair<Descriptor, Descriptor> input = make_pipe();
    launch.input = input.first.get();  // the shell stays, and with it what it has mounted
    Running shell(launch);
    REQUIRE(shell.says("second"));
    INFO(shell.out(), shell.err());
    CHECK(contains(shell.out(), "first 0\n"));
    CHECK(contains(shell.out(), "second 1\n"));
    const std::string root = "/proc/" + std::to_string(shell.pid()) + "/root";
    const std::string pidfile = root + "/run/minimal.pid", log = root + "/var/log/minimal.log";
    const pid_t pid = pid_in(pidfile);
    REQUIRE(pid > 1);
    CHECK(shell.err() == "minimal: cannot lock '/run/minimal.pid': already running as process " +
                             std::to_string(pid) + "\n");
    CHECK(is_locked(pidfile));
    CHECK(eventually([&] { return contains(slurp(log), "tick\n"); }));
    REQUIRE(eventually([&] { return has(facts(pid).caught, SIGTERM); }));
    send_signal(pid, SIGTERM);
    CHECK(ended(pid) == 0);
    CHECK_FALSE(exists(pidfile));
    CHECK(exists(log));
}

TEST_CASE("Examples: minimal where it may not write: one line, status 1") {
    NEEDS_MOUNTS();
    const Outcome said = run({{"unshare", "--mount", "sh", "-c",
                               "mount -t tmpfs -o ro none /run; mount -t tmpfs none /var/log\n"
                               "exec \"$1\"",
                               "sh", program("minimal")}});
    check_refused(said, {"'/run/minimal.pid'", "Read-only"}, "minimal");
}

// ---- ticker -------------------------------------------------------------------------------------

namespace {

struct Ticker {
    Outcome verb(const std::string& word) const {
        return run({{program("ticker"), word, "--pidfile", pidfile, "--log", log}});
    }
    bool ticks(const std::string& number) const {
        return eventually([&] { return contains(slurp(log), " tick " + number + "\n"); });
    }
    Scratch dir;
    std::string pidfile = dir / "t.pid", log = dir / "t.log";
};

}  // namespace

TEST_CASE("Examples: ticker: a line a second, a log that may be renamed, every verb") {
    const Ticker ticker;
    CHECK(ticker.verb("status").status == 3);
    const Outcome start = ticker.verb("start");
    INFO(start.text());
    REQUIRE(start.status == 0);
    CHECK(start.end_of_file);
    const Clock::time_point began = Clock::now();
    pid_t pid = pid_in(ticker.pidfile);
    CHECK(ticker.verb("status").status == 0);
    CHECK(ticker.ticks("2"));
    CHECK(Clock::now() - began > Millis(500));

    REQUIRE(rename(ticker.log.c_str(), (ticker.dir / "old.log").c_str()) == 0);
    CHECK(ticker.verb("reload").status == 0);
    CHECK(eventually([&] { return contains(slurp(ticker.log), " tick "); }));

    CHECK(ticker.verb("restart").status == 0);
    CHECK(ended(pid) == 0);
    pid = new_pid_in(ticker.pidfile, pid);
    REQUIRE(pid > 1);
    CHECK(ticker.verb("stop").status == 0);
    CHECK(ended(pid) == 0);
    CHECK_FALSE(exists(ticker.pidfile));
    CHECK(run({{program("ticker"), "start", "--no-such-option", "1"}}).status == 2);
    CHECK(ticker.verb("begin").status == 2);
}

TEST_CASE("Examples: ticker run stays in the foreground until Ctrl-C") {
    const Ticker ticker;
    Running running(
        Launch({program("ticker"), "run", "--pidfile", ticker.pidfile, "--log", ticker.log}));
    REQUIRE(running.says(" tick 1\n"));  // where it was typed
    CHECK(pid_in(ticker.pidfile) == running.pid());
    running.signal(SIGINT);
    CHECK(running.finish().status == 0);
    CHECK_FALSE(exists(ticker.pidfile));
}

TEST_CASE("Examples: ticker without options: a user's files are in ~/.local/state") {
    SKIP_UNLESS(!is_root(), "root's are in /run and /var/log");
    const Scratch dir;
    const auto verb = [&](const std::string& word) {
        Launch launch({program("ticker"), word});
        launch.environment = {{"XDG_STATE_HOME", dir.path()}};
        return run(launch);
    };
    chmod(dir.path().c_str(), 0700);
    const Outcome start = verb("start");
    INFO(start.text(), join(dir.names()));
    CHECK(start.status == 0);
    CHECK(verb("status").status == 0);
    CHECK(verb("stop").status == 0);
}

// ---- echo_server --------------------------------------------------------------------------------

namespace {

struct Server {
    Strings words(const std::string& word) const {
        return {program("echo_server"),     word, "--pidfile", pidfile, "--log", log, "--port",
                std::to_string(port.number)};
    }
    Outcome verb(const std::string& word) const { return run(words(word)); }
    Scratch dir;
    std::string pidfile = dir / "e.pid", log = dir / "e.log";
    loopback::Port port;
};

}  // namespace

TEST_CASE("Examples: echo_server: ready means that it answers; root drops to a user") {
    Server server;
    server.port.release();
    const Outcome start = server.verb("start");
    INFO(start.text(), slurp(server.log));
    REQUIRE(start.status == 0);
    CHECK(start.end_of_file);
    CHECK(echoed(server.port.number, "hello\n") == "hello\n");  // at once
    const std::string big(1 << 20, 'x');
    CHECK(echoed(server.port.number, big) == big);
    const pid_t pid = pid_in(server.pidfile);
    REQUIRE(pid > 1);
    if (is_root()) {
        const std::vector<long> expected(4, nobody);
        CHECK(facts(pid).uids == expected);
    }
    CHECK(server.verb("status").status == 0);
    send_signal(pid, SIGUSR1);
    CHECK(eventually([&] { return contains(slurp(server.log), "asked; 2 clients so far\n"); }));

    const Outcome again = server.verb("start");
    CHECK(again.status == 1);
    CHECK(contains(again.err, "already running as process " + std::to_string(pid)));
    CHECK(server.verb("restart").status == 0);
    CHECK(echoed(server.port.number, "again\n") == "again\n");
    const pid_t second = pid_in(server.pidfile);
    CHECK(server.verb("stop").status == 0);
    CHECK(ended(second) == 0);
    CHECK(slurp(server.pidfile) == "");  // nobody may not remove it from root's directory
    CHECK(echoed(server.port.number, "x") == "cannot connect");
    CHECK(count(slurp(server.log), "listening; 0 clients so far\n") == 2);
    CHECK(count(slurp(server.log), "ended; ") == 2);
}

TEST_CASE("Examples: echo_server: a taken port is told by the shell that typed `start`") {
    const Server server;
    const std::string number = std::to_string(server.port.number);
    const Outcome start = run({{"sh", "-c", join(server.words("start")) + "; exit $?"}});
    check_refused(start, {"cannot listen on port " + number, std::strerror(EADDRINUSE)},
                  "echo_server");
    CHECK(start.status == 1);
    CHECK_FALSE(exists(server.pidfile));
    CHECK(server.verb("status").status == 3);
}

TEST_CASE("Examples: echo_server: what is no port or no option is told") {
    for (const Strings& wrong :
         {Strings{"--port", "0"}, Strings{"--port", "65536"}, Strings{"--port", "80x"},
          Strings{"--port", ""}, Strings{"--port"}, Strings{"--no-such", "1"}}) {
        const Outcome said = run(Strings{program("echo_server"), "start"} + wrong);
        INFO(said.text());
        CHECK(said.status == 2);
        CHECK(lines(said.err).size() == 1);
    }
}

// ---- signals ------------------------------------------------------------------------------------

TEST_CASE("Examples: signals copies its input and answers signals meanwhile") {
    std::pair<Descriptor, Descriptor> input = make_pipe();
    Launch launch({program("signals")});
    launch.input = input.first.get();
    Running running(launch);
    const auto tells = [&](const std::string& text) {
        return eventually([&] { return contains(running.err(), text); });
    };
    write_all(input.second, "hello\n");
    REQUIRE(running.says("hello\n"));
    running.signal(SIGUSR1);
    CHECK(tells("signals: 6 bytes in 1 reads\n"));
    running.signal(SIGHUP);
    CHECK(eventually([&] { return count(running.err(), "signals: 6 bytes in 1 reads\n") == 2; }));
    write_all(input.second, "you\n");
    REQUIRE(running.says("you\n"));
    running.signal(SIGUSR1);
    CHECK(tells("signals: 4 bytes in 1 reads\n"));
    input.second.reset();
    const Outcome done = running.finish();
    CHECK(done.status == 0);
    CHECK(done.out == "hello\nyou\n");

    for (const int signum : {SIGTERM, SIGINT}) {
        std::pair<Descriptor, Descriptor> quiet = make_pipe();
        launch.input = quiet.first.get();
        Running ends(launch);
        REQUIRE(eventually([&] {  // before the exec it has the runner's handlers
            return command_line(ends.pid()) == program("signals") &&
                   has(facts(ends.pid()).caught, signum);
        }));
        ends.signal(signum);
        CHECK(ends.finish().status == 0);
        CHECK(contains(ends.err(), "signals: 0 bytes"));
    }
}

TEST_CASE("Examples: signals: a read or a write that fails is told, with status 1") {
    const std::string ones = "\"$1\" ";
    for (const auto& wrong :
         {std::make_pair("</dev/zero >/dev/full", "cannot write: No space left on device\n"),
          std::make_pair("</tmp", "cannot read: Is a directory\n")}) {
        const Outcome said = run({{"sh", "-c", ones + wrong.first, "sh", program("signals")}});
        INFO(wrong.first, ": ", said.text());
        CHECK(said.status == 1);
        CHECK(contains(said.err, std::string("signals: ") + wrong.second));
    }
}

// ---- daemon: as FreeBSD's daemon(8) -------------------------------------------------------------

namespace {

struct Daemon8 {
    Launch launch(const Strings& words) const {
        Launch made(Strings{program("daemon")} + words);
        made.to_end_of_file = false;  // without -f the command has them
        made.directory = dir.path();
        return made;
    }
    Outcome start(const Strings& words) const { return run(launch(words)); }
    void starts(const Strings& words) const {
        const Outcome said = start(words);
        INFO(said.text());
        REQUIRE(said.status == 0);
    }
    pid_t child(pid_t before = 0) const { return new_pid_in(child_file, before); }
    bool says(const std::string& part) const {
        return eventually([&] { return contains(slurp(log), part); });
    }
    Scratch dir;
    std::string child_file = dir / "child.pid", supervisor_file = dir / "super.pid",
                log = dir / "log";
};

int mode_of(const std::string& path) {
    struct stat st;
    return stat(path.c_str(), &st) == 0 ? static_cast<int>(st.st_mode & 07777) : -1;
}

// Says its number, and lives on.
Strings sleeper(const Daemon8& daemon) {
    return {"sh", "-c", "echo $$ >" + (daemon.dir / "self") + "; exec sleep 300"};
}

}  // namespace

TEST_CASE("Examples: daemon -f: any program becomes one, without a supervisor") {
    const Daemon8 daemon;
    Launch launch = daemon.launch(Strings{"-f"} + sleeper(daemon));
    launch.to_end_of_file = true;
    const Outcome said = run(launch);
    INFO(said.text());
    REQUIRE(said.status == 0);
    CHECK(said.end_of_file);
    const pid_t pid = new_pid_in(daemon.dir / "self");
    REQUIRE(pid > 1);
    REQUIRE(eventually([&] { return command_line(pid) == "sleep 300"; }));
    // Who was the daemon until ready() leaves after it; its launcher does not wait for that.
    CHECK(eventually([pid] { return descendants() == std::vector<pid_t>{pid}; }));
    const Facts seen = facts(pid);
    CHECK(seen.session != getsid(0));
    CHECK(seen.session != pid);
    CHECK(seen.terminal == 0);
    for (const char* stream : {"fd/0", "fd/1", "fd/2"}) CHECK(link_of(pid, stream) == "/dev/null");
    CHECK(link_of(pid, "cwd") == daemon.dir.path());
    CHECK((seen.ignored & set_of({SIGHUP, SIGTTIN, SIGTTOU, SIGTSTP, SIGPIPE})) == 0);
}

TEST_CASE("Examples: daemon without -f keeps the streams; -c goes to the root directory") {
    const Daemon8 daemon;
    const Outcome said = run([&] {
        Launch launch = daemon.launch({"-c", "sh", "-c", "pwd; echo gone >&2"});
        launch.to_end_of_file = true;
        return launch;
    }());
    INFO(said.text());
    CHECK(said.status == 0);
    CHECK(said.out == "/\n");
    CHECK(said.err == "gone\n");
}

TEST_CASE("Examples: daemon: a command that cannot be run is told, with status 127") {
    const Daemon8 daemon;
    for (const Strings& options :
         {Strings{"-f"}, Strings{"-f", "-r"}, Strings{"-f", "-p", daemon.child_file}}) {
        const Outcome said = daemon.start(options + Strings{"/no/such/program", "x"});
        INFO(said.text());
        CHECK(said.status == 127);
        CHECK(lines(said.err).size() == 1);
        CHECK(contains(said.err, "daemon: cannot run '/no/such/program'"));
        CHECK(descendants().empty());
        CHECK_FALSE(exists(daemon.child_file));
    }
    CHECK(daemon.start({"-f", "no-such-program-either"}).status == 127);
    const std::string script = daemon.dir.file("script", "#!/no/such/interpreter\n");
    chmod(script.c_str(), 0755);
    CHECK(daemon.start({"-f", script}).status == 127);
    for (const char* there : {"/tmp", "/etc/passwd"}) {
        const Outcome said = daemon.start({"-f", there});
        INFO(said.text());
        CHECK(said.status == 127);
        CHECK(contains(said.err, std::strerror(EACCES)));
    }
}

TEST_CASE("Examples: daemon: wrong options and their statuses") {
    const Daemon8 daemon;
    for (const Strings& words : {Strings{}, Strings{"-x", "true"}, Strings{"--no-such", "true"},
                                 Strings{"--restart-delay"}, Strings{"--output"}}) {
        const Outcome said = daemon.start(words);
        INFO(said.text());
        CHECK(said.status == 1);
        CHECK(contains(said.err, "usage: daemon"));
        CHECK(lines(said.err).size() == (words.empty() ? 1 : 2));  // getopt() names what is wrong
        CHECK(said.out == "");
    }
    const struct {
        Strings words;
        int status;
        const char* text;
    } wrong[] = {
        {{"-s", "loud"}, 4, "unrecognized syslog priority: 'loud'"},
        {{"-l", "nowhere"}, 5, "unrecognized syslog facility: 'nowhere'"},
        {{"-m", "4"}, 6, "unrecognized listening mask: '4'"},
        {{"-m", ""}, 6, "unrecognized listening mask: ''"},
        {{"-M", "8"}, 6, "invalid output file mode: '8'"},
        {{"-M", "1777"}, 6, "invalid output file mode: '1777'"},
        {{"-R", "0"}, 6, "invalid restart delay: '0'"},
        {{"-R", "1s"}, 6, "invalid restart delay: '1s'"},
        {{"-R", "31536001"}, 6, "invalid restart delay: '31536001'"},
        {{"-C", "-1"}, 6, "invalid restart count: '-1'"},
    };
    for (const auto& one : wrong) {
        const Outcome said = daemon.start(one.words + Strings{"true"});
        INFO(said.text());
        CHECK(said.status == one.status);
        CHECK(said.err.find(std::string("daemon: ") + one.text) == 0);
        CHECK(lines(said.err).size() == 1);
    }
    for (const char* option : {"-p", "-P", "-o"}) {
        const Outcome said = daemon.start({option, "/no/such/directory/file", "true"});
        INFO(said.text());
        CHECK(said.status == (option[1] == 'o' ? 7 : 2));
        CHECK(lines(said.err).size() == 1);
        CHECK(contains(said.err, "'/no/such/directory/file'"));
    }
    CHECK(daemon.start({"-o", daemon.dir.path(), "true"}).status == 7);
}

TEST_CASE("Examples: daemon -h and --help list every option, on standard output, with 0") {
    const Daemon8 daemon;
    const Outcome said = daemon.start({"-h"});
    INFO(said.text());
    CHECK(said.status == 0);
    CHECK(said.err == "");
    CHECK(said.out.find("usage: daemon") == 0);
    for (const char* option :
         {"-c, --change-dir", "-f, --close-fds", "-H, --sighup", "-S, --syslog",
          "-o, --output-file ", "-M, --output-file-mode", "-m, --output-mask",
          "-p, --child-pidfile", "-P, --supervisor-pidfile", "-r, --restart ",
          "-R, --restart-delay", "-C, --restart-count", "-t, --title", "-u, --user",
          "-s, --syslog-priority", "-l, --syslog-facility", "-T, --syslog-tag", "-h, --help"})
        CHECK(contains(said.out, std::string("  ") + option));
    CHECK(daemon.start({"--help"}).out == said.out);
    CHECK(daemon.start({"-f", "--help", "true"}).out == said.out);
    CHECK(lines(said.out).size() == 19);
    // Behind the command it is the command's own.
    const Outcome own = daemon.start({"sh", "-c", "echo $0", "--help"});
    CHECK(own.status == 0);
    CHECK_FALSE(contains(own.out, "usage"));
}

TEST_CASE("Examples: daemon: the long forms of the options") {
    const Daemon8 daemon;
    daemon.starts({"--change-dir", "--close-fds", "--sighup", "--child-pidfile", "child.pid",
                   "--supervisor-pidfile=super.pid", "--output-file", "log", "--output-mask=1",
                   "--output-file-mode", "640", "--restart", "--restart-delay=2", "--restart-count",
                   "5", "--title=long", "sh", "-c", "pwd; echo no >&2; exec sleep 300"});
    const pid_t child = daemon.child(), supervisor = pid_in(daemon.supervisor_file);
    REQUIRE(child > 1);
    CHECK(daemon.says("/\n"));
    CHECK(slurp(daemon.log) == "/\n");
    CHECK(mode_of(daemon.log) == 0640);
    CHECK(command_line(supervisor) == "daemon: long[" + std::to_string(child) + "]");
    const Clock::time_point killed = Clock::now();
    send_signal(child, SIGKILL);
    CHECK(daemon.child(child) > 1);
    CHECK(Clock::now() - killed >= Millis(2000));

    for (const Strings& wrong :
         {Strings{"--syslog-priority", "loud"}, Strings{"--syslog-facility=nowhere"},
          Strings{"--syslog", "--syslog-tag", "x", "--user=no-such-user"}}) {
        const int status = daemon.start(wrong + Strings{"true"}).status;
        CHECK(status == (wrong.size() == 2 ? 4 : wrong.size() == 1 ? 5 : 1));
    }
}

TEST_CASE("Examples: daemon -p: the child's PID file, locked; a second one is refused with 3") {
    const Daemon8 daemon;
    daemon.starts({"-f", "-p", "child.pid", "sleep", "300"});
    const pid_t child = daemon.child();
    REQUIRE(child > 1);
    REQUIRE(eventually([&] { return command_line(child) == "sleep 300"; }));
    CHECK(is_locked(daemon.child_file));
    const pid_t supervisor = facts(child).parent;
    CHECK(contains(link_of(supervisor, "fd/0"), "/dev/null"));
    const Outcome again = daemon.start({"-f", "-p", daemon.child_file, "sleep", "301"});
    INFO(again.text());
    CHECK(again.status == 3);
    CHECK(again.err == "daemon: process already running, pid: " + std::to_string(child) + "\n");
    CHECK(pid_in(daemon.child_file) == child);
    CHECK(mode_of(daemon.child_file) == 0600);

    send_signal(child, SIGTERM);  // no -r: the supervisor ends with it
    CHECK(ended(supervisor) == 128 + SIGTERM);
    CHECK_FALSE(alive(child));
    CHECK_FALSE(exists(daemon.child_file));
}

TEST_CASE("Examples: daemon -P: the supervisor's PID file; SIGTERM to it ends both") {
    const Daemon8 daemon;
    const Strings files = {"-f", "-P", daemon.supervisor_file, "-p", daemon.child_file};
    daemon.starts(files + Strings{"-r", "sleep", "300"});
    const pid_t child = daemon.child(), supervisor = pid_in(daemon.supervisor_file);
    REQUIRE(child > 1);
    CHECK(facts(child).parent == supervisor);
    const Outcome again = daemon.start(files + Strings{"sleep", "301"});
    CHECK(again.status == 3);
    const std::string text =
        "daemon: process already running, pid: " + std::to_string(supervisor) + "\n";
    CHECK(again.err == text);
    const Outcome other = daemon.start({"-f", "-p", daemon.supervisor_file, "sleep", "302"});
    CHECK(other.status == 3);
    CHECK(other.err == text);
    CHECK(mode_of(daemon.supervisor_file) == 0600);
    CHECK(mode_of(daemon.child_file) == 0600);
    CHECK(daemon.child() == child);
    send_signal(supervisor, SIGTERM);
    CHECK(ended(supervisor) >= 0);
    CHECK_FALSE(alive(child));
    CHECK_FALSE(exists(daemon.supervisor_file));
    CHECK_FALSE(exists(daemon.child_file));
    CHECK(descendants().empty());
}

TEST_CASE("Examples: daemon -r: a child that is killed comes back, with the file; -R its delay") {
    const Daemon8 daemon;
    daemon.starts(
        {"-f", "-R", "1", "-P", daemon.supervisor_file, "-p", daemon.child_file, "sleep", "300"});
    const pid_t first = daemon.child(), supervisor = pid_in(daemon.supervisor_file);
    REQUIRE(first > 1);
    const Clock::time_point killed = Clock::now();
    send_signal(first, SIGKILL);
    const pid_t second = daemon.child(first);
    REQUIRE(second > 1);
    CHECK(Clock::now() - killed >= Millis(1000));
    CHECK(facts(second).parent == supervisor);
    CHECK(is_locked(daemon.child_file));
    CHECK(pid_in(daemon.supervisor_file) == supervisor);
}

TEST_CASE("Examples: daemon -p -R: in the pause of a restart the child's PID file is empty") {
    const Daemon8 daemon;
    daemon.starts({"-f", "-R", "3600", "-P", daemon.supervisor_file, "-p", daemon.child_file,
                   "sleep", "300"});
    const pid_t child = daemon.child(), supervisor = pid_in(daemon.supervisor_file);
    REQUIRE(child > 1);
    send_signal(child, SIGKILL);
    REQUIRE(gone(child));
    CHECK(eventually([&] { return slurp(daemon.child_file).empty(); }));
    CHECK(exists(daemon.child_file));
    CHECK(is_locked(daemon.child_file));
    const Outcome again = daemon.start({"-f", "-p", daemon.child_file, "sleep", "301"});
    INFO(again.text());
    CHECK(again.status == 3);  // though there is nobody to name
    CHECK(again.err == "daemon: process already running\n");
    send_signal(supervisor, SIGTERM);  // a pause can be ended
    CHECK(ended(supervisor) == 0);
    CHECK_FALSE(exists(daemon.child_file));
    CHECK_FALSE(exists(daemon.supervisor_file));
}

TEST_CASE("Examples: daemon -C 0: the command runs once") {
    const Daemon8 daemon;
    daemon.starts({"-f", "-r", "-C", "0", "-o", daemon.log, "echo", "once"});
    REQUIRE(eventually([] { return descendants().empty(); }));
    CHECK(slurp(daemon.log) == "once\n");
}

TEST_CASE("Examples: daemon -r: the delay of a crash loop grows; -C: so many restarts") {
    const Daemon8 daemon;
    daemon.starts({"-f", "-C", "2", "-P", daemon.supervisor_file, "-o", daemon.log, "sh", "-c",
                   "date +%s%N; exit 5"});
    const pid_t supervisor = pid_in(daemon.supervisor_file);
    REQUIRE(supervisor > 1);
    CHECK(ended(supervisor) == 5);  // the last one's
    const Strings times = lines(slurp(daemon.log));
    INFO(slurp(daemon.log));
    REQUIRE(times.size() == 3);
    const auto gap = [&](std::size_t n) {
        return std::atoll(times[n].c_str()) - std::atoll(times[n - 1].c_str());
    };
    CHECK(gap(1) >= 1000000000);
    CHECK(gap(2) >= 2000000000);
    CHECK_FALSE(exists(daemon.supervisor_file));
}

TEST_CASE("Examples: daemon -o collects the output, -m chooses, -H goes on in a new file") {
    const Daemon8 daemon;
    const Strings speak = {"sh", "-c", "echo to-stdout; echo to-stderr >&2"};
    for (const char* mask : {"3", "1", "2", "0"}) {
        const std::string file = daemon.dir / (std::string("mask") + mask);
        daemon.starts(Strings{"-f", "-m", mask, "-o", file} + speak);
        REQUIRE(eventually([] { return descendants().empty(); }));
        const std::string text = slurp(file), number = mask;
        INFO("mask ", number, ": ", text);
        CHECK(contains(text, "to-stdout\n") == (number == "1" || number == "3"));
        CHECK(contains(text, "to-stderr\n") == (number == "2" || number == "3"));
    }

    const std::string fifo = daemon.dir / "fifo";
    REQUIRE(mkfifo(fifo.c_str(), 0666) == 0);
    const Descriptor feed = open_file(fifo, O_RDWR);
    daemon.starts({"-f", "-H", "-P", daemon.supervisor_file, "-o", daemon.log, "cat", fifo});
    write_all(feed, "one\n");
    CHECK(daemon.says("one\n"));
    REQUIRE(rename(daemon.log.c_str(), (daemon.log + ".1").c_str()) == 0);
    send_signal(pid_in(daemon.supervisor_file), SIGHUP);
    CHECK(eventually([&] { return exists(daemon.log); }));
    CHECK(mode_of(daemon.log) == 0600);
    CHECK(mode_of(daemon.log + ".1") == 0600);
    write_all(feed, "two\n");
    CHECK(daemon.says("two\n"));
    CHECK(slurp(daemon.log + ".1") == "one\n");
}

TEST_CASE("Examples: daemon -M: the mode of an output file that is new, also after -H") {
    const Daemon8 daemon;
    for (const char* word : {"--output-file-mode", "--output_file_mode", "-M"}) {
        const std::string file = daemon.dir / word;
        Launch launch = daemon.launch({"-f", "-o", file, word, "664", "true"});
        launch.before_exec = [] { umask(077); };
        CHECK(run(launch).status == 0);
        CHECK(mode_of(file) == 0664);
    }
    const std::string there = daemon.dir.file("there", "");
    REQUIRE(chmod(there.c_str(), 0640) == 0);
    daemon.starts({"-f", "-o", there, "-M", "600", "true"});
    CHECK(mode_of(there) == 0640);

    daemon.starts(
        {"-f", "-H", "-M", "0644", "-P", daemon.supervisor_file, "-o", daemon.log, "sleep", "300"});
    CHECK(mode_of(daemon.log) == 0644);
    REQUIRE(rename(daemon.log.c_str(), (daemon.log + ".1").c_str()) == 0);
    send_signal(pid_in(daemon.supervisor_file), SIGHUP);
    CHECK(eventually([&] { return mode_of(daemon.log) == 0644; }));
}

TEST_CASE("Examples: daemon -H in the pause of a restart; without -o SIGHUP does nothing") {
    const Daemon8 daemon;
    daemon.starts({"-f", "-H", "-R", "3600", "-P", daemon.supervisor_file, "-p", daemon.child_file,
                   "-o", daemon.log, "true"});
    const pid_t supervisor = pid_in(daemon.supervisor_file);
    REQUIRE(eventually([&] { return slurp(daemon.child_file).empty(); }));
    REQUIRE(unlink(daemon.log.c_str()) == 0);
    send_signal(supervisor, SIGHUP);
    CHECK(eventually([&] { return exists(daemon.log); }));
    send_signal(supervisor, SIGTERM);
    CHECK(ended(supervisor) == 0);

    for (const Strings& options : {Strings{"-f"}, Strings{"-f", "-H"}}) {
        daemon.starts(options + Strings{"-P", daemon.supervisor_file, "-p", daemon.child_file,
                                        "sleep", "300"});
        const pid_t child = daemon.child(), other = pid_in(daemon.supervisor_file);
        send_signal(other, SIGHUP);
        send_signal(other, SIGHUP);
        send_signal(other, SIGTERM);  // comes after them
        CHECK(ended(other) == 128 + SIGTERM);
        CHECK_FALSE(alive(child));
    }
}

TEST_CASE("Examples: daemon -S -s -l -T: line by line to syslog") {
    NEEDS_MOUNTS();  // a /dev/log of the test's own
    const Daemon8 daemon;
    const std::string path = daemon.dir / "syslog";
    const Descriptor server = local::bound(path);
    const Outcome said =
        run({{"unshare", "--mount", "sh", "-e", "-c",
              "mount -t tmpfs none /mnt; : >/mnt/null; mount --bind /dev/null /mnt/null\n"
              "ln -s \"$1\" /mnt/log; mount --rbind /mnt /dev\n"
              "exec \"$2\" -f -T tick -s warning -l local3 sh -c 'echo one; echo two >&2'",
              "sh", path, program("daemon")}});
    INFO(said.text());
    CHECK(said.status == 0);
    std::string got;
    CHECK(eventually([&] {
        char piece[2048];
        const ssize_t n = recv(server.get(), piece, sizeof piece, 0);
        if (n > 0) got += std::string(piece, static_cast<std::size_t>(n)) + "\n";
        return contains(got, "two");
    }));
    INFO(got);
    CHECK(count(got, "<156>") == 2);  // local3.warning
    CHECK(contains(got, " tick["));   // the supervisor's number
    CHECK(contains(got, "]: one"));
    CHECK(contains(got, "]: two"));
}

TEST_CASE("Examples: daemon -t: what ps shows of the supervisor; without it the command") {
    const Daemon8 daemon;
    const auto shown = [&](const Strings& options) {
        daemon.starts(Strings{"-f", "-r", "-P", daemon.supervisor_file, "-p", daemon.child_file} +
                      options);
        const pid_t child = daemon.child(), supervisor = pid_in(daemon.supervisor_file);
        REQUIRE(child > 1);
        const std::string number = "[" + std::to_string(child) + "]";
        std::string text = command_line(supervisor);
        REQUIRE(contains(text, number));
        text.erase(text.find(number), number.size());
        send_signal(child, SIGKILL);  // the next child has another number
        const pid_t next = daemon.child(child);
        CHECK(contains(command_line(supervisor), "[" + std::to_string(next) + "]"));
        send_signal(supervisor, SIGTERM);
        REQUIRE(ended(supervisor) >= 0);
        return text;
    };
    CHECK(shown({"sleep", "300"}) == "daemon: sleep");
    CHECK(shown({"-t", "watch over it", "sleep", "300"}) == "daemon: watch over it");
    // Where the words that started it leave no room for the number, there is none, not half of one.
    const std::string script = daemon.dir.file("s", "#!/bin/sh\nexec sleep 300\n");
    chmod(script.c_str(), 0755);
    REQUIRE(symlink(program("daemon").c_str(), (daemon.dir / "d").c_str()) == 0);
    Launch launch = daemon.launch({"-fP", "p", "./s"});
    launch.argv[0] = "./d";
    REQUIRE(run(launch).status == 0);
    CHECK(command_line(pid_in(daemon.dir / "p")) == "daemon: ./s");
}

TEST_CASE("Examples: daemon -u: the child is the user's, the supervisor stays root's") {
    NEEDS_ROOT();
    const Daemon8 daemon;
    daemon.starts({"-f", "-u", "nobody", "-P", daemon.supervisor_file, "-p", daemon.child_file,
                   "sleep", "300"});
    const pid_t child = daemon.child();
    REQUIRE(child > 1);
    REQUIRE(eventually([&] { return command_line(child) == "sleep 300"; }));
    CHECK(facts(child).uids == std::vector<long>(4, nobody));
    CHECK(facts(pid_in(daemon.supervisor_file)).uids == std::vector<long>(4, 0));
    send_signal(pid_in(daemon.supervisor_file), SIGTERM);
    CHECK(eventually([] { return descendants().empty(); }));

    daemon.starts(Strings{"-f", "-u", "nobody", "sleep", "300"});  // without one
    REQUIRE(eventually([] { return descendants().size() == 1; }));
    CHECK(facts(descendants()[0]).uids == std::vector<long>(4, nobody));
    for (const Strings& options : {Strings{"-u"}, Strings{"-r", "-u"}})
        CHECK(daemon.start(options + Strings{"no-such-user", "true"}).status == 1);
    const Outcome unknown = daemon.start({"-u", "no-such-user", "-o", daemon.dir / "none", "true"});
    CHECK(unknown.err == "daemon: unknown user: no-such-user\n");
    CHECK_FALSE(exists(daemon.dir / "none"));
    daemon.starts({"-f", "-u", "nobody", "-o", daemon.log, "env"});
    CHECK(daemon.says("USER=nobody\n"));
    const passwd* const entry = getpwnam("nobody");
    REQUIRE(entry != nullptr);
    CHECK(daemon.says("SHELL=" + std::string(entry->pw_shell) + "\n"));
}
