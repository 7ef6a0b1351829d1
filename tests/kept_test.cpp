// What the field does to a daemon, judged from outside: homes that others may write, directories that
// are not there, cores, logs that are rotated after a drop or are large, threads that were just
// joined or are the emulator's, and what the program had opened, ignored or blocked before the start.
#include "support/local.hpp"
#include "support/machine.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <map>
#include <stdexcept>

using namespace expect;
using machine::plain;
using machine::replaced;
using machine::Variables;
using machine::where;

#define NEEDS_OWNERS()      \
    SKIP_UNLESS(!generic(), \
                "POSIX does not tell whose a process is: root signals none by that file")

// ---- Homes and directories ----------------------------------------------------------------------

namespace {

struct Home {
    Home() {
        for (const char* name : {"home", "home/.local", "home/.local/state"}) {
            const std::string made = dir.directory(name, 0775);  // as a stock Ubuntu makes them
            if (is_root()) REQUIRE(chown(made.c_str(), nobody, nobody) == 0);
        }
    }
    Outcome asks(const Variables& variables) const {
        Launch launch = plain({program("victim"), "default=ticker"},
                              Variables{{"XDG_STATE_HOME", "-"}, {"HOME", home}});
        launch.environment.insert(launch.environment.end(), variables.begin(), variables.end());
        if (is_root()) launch.before_exec = become_nobody;
        return run(launch);
    }
    Scratch dir;
    std::string home = dir / "home", state = home + "/.local/state";
};

}  // namespace

TEST_CASE("P9 HOME before the passwd entry, group-writable or not; PROGRAM/ is made 0700") {
    const Home home;
    const Outcome said = home.asks({});
    INFO(said.text());
    CHECK(contains(said.out, "default=" + home.state + "/ticker/ticker.pid error=none"));
    const struct stat made = stat_of(home.state + "/ticker");
    CHECK((made.st_mode & 07777) == 0700);
    CHECK(made.st_uid == (is_root() ? uid_t(nobody) : getuid()));
    CHECK(contains(home.asks({}).out, "error=none"));  // again, where it is there
    const Outcome xdg = home.asks({{"XDG_STATE_HOME", home.home}});
    INFO(xdg.text());
    CHECK(contains(xdg.out, "default=" + home.home + "/ticker/ticker.pid error=none"));
}

TEST_CASE("P9 a start at the default path works, and finds its daemon again") {
    const Home home;
    const std::string expected = home.state + "/ticker/ticker.pid";
    Launch launch =
        plain({program("ticker"), "start"}, {{"XDG_STATE_HOME", "-"}, {"HOME", home.home}});
    if (is_root()) launch.before_exec = become_nobody;
    const Outcome start = run(launch);
    INFO(start.text());
    REQUIRE(start.status == 0);
    CHECK(to_long(slurp(expected)) > 1);
    launch.argv[1] = "status";
    CHECK(run(launch).status == 0);
    launch.argv[1] = "stop";
    CHECK(run(launch).status == 0);
    CHECK_FALSE(exists(expected));
}

TEST_CASE("P9 $RUNTIME_DIRECTORY, where the service manager made one, goes first") {
    const Home home;
    const std::string one = home.dir.directory("run-ticker"), other = home.dir.directory("other");
    if (is_root()) REQUIRE(chown(one.c_str(), nobody, nobody) == 0);
    Outcome said = home.asks({{"RUNTIME_DIRECTORY", one}});
    INFO(said.text());
    CHECK(contains(said.out, "default=" + one + "/ticker.pid error=none"));
    said = home.asks({{"RUNTIME_DIRECTORY", one + ":" + other}});  // RuntimeDirectory=one other
    INFO(said.text());
    CHECK(contains(said.out, "default=" + one + "/ticker.pid error=none"));
}

TEST_CASE("P9 systemd's RuntimeDirectory= is where a dropped service puts its PID file") {
    NEEDS_MACHINE(systemd, "victim");
    systemd.service(
        "Type=oneshot\nUser=nobody\nRuntimeDirectory=ticker\nRuntimeDirectoryPreserve=yes\n"
        "StandardOutput=file:/run/out\nExecStart=/usr/local/bin/victim default=ticker\n");
    const Outcome start = systemd.ctl({"start", "one.service"});
    INFO(start.text());
    CHECK(start.status == 0);
    CHECK(contains(slurp(systemd.file("/run/out")), "default=/run/ticker/ticker.pid error=none"));
}

TEST_CASE("P9 the error of a default path names the step that failed, and its cause") {
    const Home home;
    Outcome said = home.asks({{"HOME", "/no/such/home"}});
    INFO(said.text());
    CHECK(contains(said.out, "default= "));
    CHECK_FALSE(contains(said.out, "error=none"));
    CHECK(contains(said.out, "cannot make directory '/no': Permission denied"));
    const std::string closed = home.dir.directory("closed", 0555);
    SKIP_UNLESS(is_root(), "his own directory a user can always write again");
    said = home.asks({{"HOME", closed}});
    INFO(said.text());
    // Not that what should be below is not there, which is the next step's cause.
    CHECK(contains(said.out, "default= error=errno:" + std::to_string(EACCES)));
    CHECK(contains(said.out, closed + "/.local"));
    // One of somebody else's, in the place of ours.
    REQUIRE(mkdir((home.state + "/ticker").c_str(), 0700) == 0);
    said = home.asks({});
    INFO(said.text());
    CHECK(contains(said.out, "default= "));
    CHECK_FALSE(contains(said.out, "error=none"));
    CHECK(contains(said.out, home.state + "/ticker"));
}

TEST_CASE("P9 make_directory makes the PID file's directory, the last one of its path alone") {
    Daemon daemon;
    daemon.pidfile = daemon.dir / "run/d.pid";
    const Outcome without = daemon.start();
    check_refused(without, {"no directory '" + (daemon.dir / "run") + "' for the PID file"});
    CHECK_FALSE(exists(daemon.dir / "run"));
    check_started(daemon, daemon.start({"--make-directory"}));
    CHECK((stat_of(daemon.dir / "run").st_mode & 07777) == 0755);
    CHECK(daemon.verb("stop").status == 0);
    check_started(daemon, daemon.start({"--make-directory"}));  // it is there already
    CHECK(daemon.verb("stop").status == 0);

    daemon.pidfile = daemon.dir / "no/such/d.pid";  // only the last one is made
    check_refused(daemon.start({"--make-directory"}), {daemon.dir / "no"});
    CHECK_FALSE(exists(daemon.dir / "no"));
}

TEST_CASE("P9 make_directory after a drop: the directory is the user's, who removes his file") {
    NEEDS_ROOT();
    NEEDS_OWNERS();
    Daemon daemon;
    daemon.pidfile = daemon.dir / "theirs/d.pid";
    const Outcome dropped = daemon.start({"--make-directory", "--user", "nobody"});
    INFO(dropped.text());
    REQUIRE(dropped.status == 0);
    CHECK(stat_of(daemon.dir / "theirs").st_uid == nobody);
    CHECK((stat_of(daemon.dir / "theirs").st_mode & 07777) == 0755);
    CHECK(daemon.verb("stop").status == 0);
    CHECK_FALSE(exists(daemon.pidfile));  // in his own directory he removes it himself
}

TEST_CASE("P9 make_directory goes where the file may be trusted, and nowhere else") {
    NEEDS_ROOT();
    Daemon daemon;
    const std::string open = daemon.dir.directory("open", 0777);
    daemon.pidfile = open + "/run/d.pid";
    const Outcome said = daemon.start({"--make-directory"});
    check_refused(said, {open});
    CHECK_FALSE(contains(said.err, std::strerror(ENOENT)));  // that is not why
    CHECK(Scratch::names(open).empty());
}

// ---- What a later step undoes -------------------------------------------------------------------

namespace {

void allow_cores() {
    const rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
    if (setrlimit(RLIMIT_CORE, &all) != 0) _exit(123);
}

// A plain name: then the core of a process is a file in its directory.
bool cores_are_files() {
    const std::string pattern = slurp("/proc/sys/kernel/core_pattern");
    return !pattern.empty() && pattern[0] != '|' && !contains(pattern, "/");
}

bool has_core(const std::string& directory) {
    for (const std::string& name : Scratch::names(directory))
        if (contains(name, "core")) return true;
    return false;
}

}  // namespace

TEST_CASE("Step 14 prevent_core = false leaves a core, with a drop too") {
    NEEDS_ROOT();
    SKIP_UNLESS(!sanitized(), "a sanitizer has no cores made");
    const Victim daemon;
    const std::string place = daemon.dir.directory("place", 0777);
    for (const Strings& drop : {Strings{}, Strings{"user=nobody"}}) {
        INFO(join(drop));
        Launch launch = daemon.launch(drop + Strings{"core=1", "chdir=" + place, "open", "wait"});
        launch.before_exec = allow_cores;
        check_started(daemon, run(launch));
        const pid_t pid = daemon.pid();
        if (!generic())
            CHECK(stat_of("/proc/" + std::to_string(pid) + "/stat").st_uid ==
                  (drop.empty() ? 0 : nobody));  // dumpable
        send_signal(pid, SIGQUIT);
        CHECK(ended(pid) == 128 + SIGQUIT);
        if (cores_are_files() && !generic()) CHECK(has_core(place));
        run({{"sh", "-c", "rm -f \"$1\"/*core*", "sh", place}});
    }
}

TEST_CASE("Step 11 prevent_core = true makes no core, and the daemon's own user may look into it") {
    const Victim daemon;
    const std::string place = daemon.dir.directory("place", 0777);
    Launch launch(
        {program("victim"), "pidfile=" + place + "/u.pid", "chdir=" + place, "open", "wait"});
    launch.before_exec = [] {
        allow_cores();
        if (is_root()) become_nobody();
    };
    const Outcome start = run(launch);
    INFO(start.text());
    REQUIRE(start.status == 0);
    const pid_t pid = static_cast<pid_t>(to_long(slurp(place + "/u.pid")));
    REQUIRE(pid > 1);
    // What gdb, strace and lsof of that user need.
    Launch lsof({"ls", "-l", "/proc/" + std::to_string(pid) + "/fd/"});
    if (is_root()) lsof.before_exec = become_nobody;
    const Outcome listed = run(lsof);
    INFO(listed.text());
    CHECK(listed.status == 0);
    CHECK(contains(listed.out, "u.pid"));
    send_signal(pid, SIGQUIT);
    CHECK(ended(pid) == 128 + SIGQUIT);
    CHECK_FALSE(has_core(place));
}

TEST_CASE("Step 11 prevent_core = true: a limit that files and pipes both take for `none`") {
    SKIP_UNLESS(!generic(), "Linux: of a limit of 0 a pipe takes no notice, of 1 it does");
    const Daemon daemon;
    Launch launch = daemon.launch();
    launch.before_exec = allow_cores;
    check_started(daemon, run(launch));
    const std::string limit = limit_of(daemon.pid(), "Max core file size");
    CHECK(limit.substr(0, limit.find(' ')) == "1");
}

namespace {

// A log in a directory of root's alone, of a daemon that is root no more. Root signals it only where
// the system tells whose the process is (P6).
struct Dropped {
    Dropped() { place = daemon.dir.directory("log", 0755), daemon.log = place + "/d.log"; }
    void start() {
        const Outcome said = daemon.start({"--user", "nobody", "--umask", "077"});
        INFO(said.text());
        REQUIRE(said.status == 0);
        REQUIRE(waits_for_signals(daemon.pid()));
    }
    void check_goes_on_in_a_new_one() const {
        CHECK(daemon.logs("hup\n"));
        const struct stat made = stat_of(daemon.log);
        CHECK(made.st_uid == nobody);
        CHECK((made.st_mode & 07777) == 0640);
        CHECK(link_of(daemon.pid(), "fd/1") == daemon.log);
    }
    Daemon daemon;
    std::string place;
};

}  // namespace

TEST_CASE("L4 rotation after a drop: `reload` makes the log that was moved away, then signals") {
    NEEDS_ROOT();
    NEEDS_OWNERS();
    Dropped dropped;
    dropped.start();
    for (int round = 0; round < 2; ++round) {
        REQUIRE(rename(dropped.daemon.log.c_str(), (dropped.place + "/old").c_str()) == 0);
        const Outcome reload = dropped.daemon.verb("reload", {"--user", "nobody"});
        INFO(reload.text());
        CHECK(reload.status == 0);
        dropped.check_goes_on_in_a_new_one();
        CHECK_FALSE(contains(slurp(dropped.place + "/old"), "cannot"));
    }
    CHECK(dropped.daemon.verb("stop").status == 0);
}

TEST_CASE("L4 rotation: nobody may make the log: one line, and the daemon keeps the old one") {
    NEEDS_ROOT();
    NEEDS_OWNERS();
    Dropped dropped;
    dropped.start();
    const pid_t pid = dropped.daemon.pid();
    // Root's own reload does not write into a directory that others may write.
    REQUIRE(rename(dropped.daemon.log.c_str(), (dropped.place + "/old").c_str()) == 0);
    REQUIRE(symlink("/etc/daemonize-test-evil", dropped.daemon.log.c_str()) == 0);
    REQUIRE(lchown(dropped.daemon.log.c_str(), nobody, nobody) == 0);
    const Outcome reload = dropped.daemon.verb("reload", {"--user", "nobody"});
    INFO(reload.text());
    CHECK(reload.status > 0);
    CHECK(lines(reload.err).size() == 1);
    CHECK(contains(reload.err, "'" + dropped.daemon.log + "'"));
    CHECK_FALSE(exists("/etc/daemonize-test-evil"));
    CHECK(alive(pid));
}

TEST_CASE("L4 logrotate by examples/systemd/ticker.logrotate, after a drop") {
    NEEDS_ROOT();
    NEEDS_OWNERS();
    NEEDS_TOOL("logrotate");
    NEEDS_CHECKOUT();
    Dropped dropped;
    dropped.start();
    std::string text = replaced(slurp("examples/systemd/ticker.logrotate"), "/var/log/ticker.log",
                                dropped.daemon.log);
    text = replaced(text, "/usr/local/bin/ticker reload",
                    join(dropped.daemon.words("reload", {"--user", "nobody"})));
    const std::string conf = dropped.daemon.dir.file("rotate.conf", text);
    dropped.daemon.dir.file("first", "something\n");
    REQUIRE(run({{"sh", "-c", "echo something >>\"$1\"", "sh", dropped.daemon.log}}).status == 0);
    const Outcome said =
        run({{where("logrotate"), "-f", "-s", dropped.daemon.dir / "state", conf}});
    INFO(said.text());
    CHECK(said.status == 0);
    CHECK(contains(slurp(dropped.daemon.log + ".1"), "something\n"));
    dropped.check_goes_on_in_a_new_one();
    // Once more, with nobody there: status 7 is no error of the rotation.
    CHECK(dropped.daemon.verb("stop").status == 0);
    CHECK(run({{where("logrotate"), "-f", "-s", dropped.daemon.dir / "state", conf}}).status == 0);
}

// ---- A first look that is no last one; 32 bits --------------------------------------------------

TEST_CASE("S11 a thread that was just joined is not taken for one that runs") {
    SKIP_UNLESS(!thread_sanitized(), "the sanitizer has a thread of its own");
    const Scratch dir;
    const std::string pidfile_of_one = dir / "d.pid";
    int refused = 0;
    std::string why;
    for (int round = 0; round < 20; ++round) {
        const Outcome start = run(plain({program("settler"), "pidfile=" + pidfile_of_one,
                                         "stdout=" + (dir / "log"), "join=300", "open", "exit=0"}));
        if (start.status != 0) ++refused, why = start.err;
        REQUIRE(eventually([] { return descendants().empty(); }));
    }
    INFO(why);
    CHECK(refused == 0);
}

#define NEEDS_QEMU(name)                                                               \
    NEEDS_TOOL("qemu-x86_64-static");                                                  \
    SKIP_UNLESS(!sanitized() && sizeof(void*) == 8, "qemu-user runs no such program"); \
    const Strings name = {where("qemu-x86_64-static")};                                \
    SKIP_UNLESS(run(name + Strings{"/bin/true"}).status == 0, "qemu-user runs nothing here")

TEST_CASE("S11 a thread of the emulator's is none of the program's") {
    NEEDS_QEMU(qemu);
    const Daemon daemon;
    const Outcome start = run(plain(qemu + daemon.words("start")));
    INFO(start.text());
    CHECK(start.status == 0);
    CHECK(start.err == "");
    const pid_t pid = daemon.pid();
    CHECK(pid > 1);
    CHECK(run(plain(qemu + daemon.words("stop"))).status == 0);
    CHECK_FALSE(alive(pid));
}

TEST_CASE("S11 the program's own threads are counted under an emulator, too") {
    SKIP_UNLESS(!generic(), "POSIX does not tell how many threads there are");
    NEEDS_QEMU(qemu);
    const Daemon daemon;
    const Outcome threads = run(plain(qemu + daemon.words("start", {"--threads", "1"})));
    INFO(threads.text());
    CHECK(threads.status == 1);
    CHECK_FALSE(exists(daemon.pidfile));
}

TEST_CASE("L1 a log of more than 2 GiB is appended to and re-opened, by 32-bit programs too") {
    const Daemon daemon;
    REQUIRE(run({{"truncate", "-s", "3G", daemon.log}}).status == 0);  // a hole
    const auto last = [&](const char* bytes) {
        return run({{"tail", "-c", bytes, daemon.log}}).out;
    };
    const Outcome start = daemon.start({"--payload", "big"});
    INFO(start.text());
    REQUIRE(start.status == 0);
    CHECK(last("12") == "payload=big\n");
    REQUIRE(waits_for_signals(daemon.pid()));
    const Outcome reload = daemon.verb("reload");
    INFO(reload.text());
    CHECK(reload.status == 0);
    CHECK(eventually([&] { return contains(last("4"), "hup\n"); }));
    CHECK_FALSE(contains(last("4096"), "cannot"));
    CHECK(daemon.verb("stop").status == 0);
}

// ---- S17: what the starter left is undone, what the program did is kept -------------------------

namespace {

// A daemon that had settled before it was started; what it says is in its log.
struct Settled {
    Launch launch(const Strings& words) const {
        return plain(Strings{program("settler"), "pidfile=" + pidfile, "stdout=" + log} + words);
    }
    void starts(const Launch& how) const {
        const Outcome start = run(how);
        INFO(start.text(), slurp(log));
        REQUIRE(start.status == 0);
        REQUIRE(pid() > 1);
    }
    void starts(const Strings& words) const { starts(launch(words)); }
    bool says(const std::string& line) const {
        return eventually([&] {
                   return contains("\n" + slurp(log), "\n" + line + "\n") || !alive(pid());
               }) &&
               contains("\n" + slurp(log), "\n" + line + "\n");
    }
    std::string said() const { return slurp(log); }
    pid_t pid() const { return static_cast<pid_t>(to_long(slurp(pidfile))); }
    Scratch dir;
    std::string pidfile = dir / "d.pid", log = dir / "d.log";
};

bool has_target(pid_t pid, const std::string& target) {
    const std::map<int, std::string> open = descriptors(pid);
    REQUIRE(open.size() >= 3);  // the standard streams: else nothing was to be seen
    for (const auto& one : open)
        if (contains(one.second, target)) return true;
    return false;
}

}  // namespace

TEST_CASE("S17 an ofstream that was opened before the start is written to after it") {
    const Settled program_;
    const std::string own = program_.dir / "own.log";
    program_.starts({"stream=" + own, "open", "client", "use-stream=after", "tell-client", "wait"});
    CHECK(program_.says("stream=works"));
    CHECK(program_.says("client-heard=nothing"));
    CHECK(slurp(own) == "before\nafter\n");
}

TEST_CASE("S17 a database's descriptor works, and no page of it goes to a client") {
    const Settled program_;
    const std::string file = program_.dir / "own.db";
    program_.starts({"database=" + file, "open", "client", "use-database", "tell-client", "wait"});
    CHECK(program_.says("database=works"));
    CHECK(program_.says("client-heard=nothing"));
    CHECK(slurp(file) == "page 1\npage 2\n");
}

TEST_CASE("S17 an epoll set still watches what it watched") {
    const Settled program_;
    program_.starts({"loop", "open", "use-loop", "wait"});
    CHECK(program_.says("loop=works"));
}

TEST_CASE("S17 a connection to syslog stays one: no line of it goes to a client") {
    NEEDS_MOUNTS();
    const Settled program_;
    const Descriptor logger = local::bound(program_.dir / "log.socket");
    program_.dir.directory("dev");
    Launch launch = program_.launch(
        {"syslog", "open", "client", "use-syslog=a line for the log", "tell-client", "wait"});
    launch.argv =
        Strings{"unshare",
                "--mount",
                "sh",
                "-e",
                "-c",
                "mount -t tmpfs tmpfs \"$1/dev\"; : >\"$1/dev/null\"\n"
                "mount --bind /dev/null \"$1/dev/null\"; ln -s \"$1/log.socket\" \"$1/dev/log\"\n"
                "mount --rbind \"$1/dev\" /dev; shift; exec \"$@\"",
                "sh",
                program_.dir.path()} +
        launch.argv;
    program_.starts(launch);
    CHECK(program_.says("client-heard=nothing"));
    std::string heard;
    CHECK(eventually([&] {
        char text[512];
        const ssize_t n = recv(logger.get(), text, sizeof text, 0);
        if (n > 0) heard.assign(text, static_cast<std::size_t>(n));
        return contains(heard, "a line for the log");
    }));
}

TEST_CASE("S17 a SIGPIPE that main() has ignored stays ignored, and the daemon lives") {
    const Settled program_;
    program_.starts({"ignore=13", "open", "write-to-nobody", "wait"});
    CHECK(program_.says("to-nobody=EPIPE"));
    CHECK(has(facts(program_.pid()).ignored, SIGPIPE));
}

TEST_CASE("S17 other signals that main() has ignored stay ignored, too") {
    const Settled program_;
    program_.starts({"ignore=10", "ignore=1", "ignore=20", "open", "wait"});
    for (const int signum : {SIGUSR1, SIGHUP, SIGTSTP})
        CHECK(has(facts(program_.pid()).ignored, signum));
}

TEST_CASE("S17 a SIGUSR1 that was blocked for signalfd stays blocked, and comes by it") {
    const Settled program_;
    program_.starts({"signalfd=10", "open", "use-signals", "wait"});
    REQUIRE(program_.says("waits-by-descriptor"));
    CHECK(has(facts(program_.pid()).blocked, SIGUSR1));
    send_signal(program_.pid(), SIGUSR1);
    CHECK(program_.says("signals=works number=10"));
}

TEST_CASE("S17 the number of an inherited descriptor, used anew by the program, is the program's") {
    const Settled program_;
    const std::string own = program_.dir / "own";
    Launch launch = program_.launch({"take-over=9," + own, "open", "wait"});
    const Descriptor foreign = open_file(program_.dir.file("foreign", "x"), O_RDONLY);
    launch.before_exec = [&] {
        place(foreign, 8);
        place(foreign, 9);
    };
    program_.starts(launch);
    CHECK(link_of(program_.pid(), "fd/9") == own);
    CHECK_FALSE(has_target(program_.pid(), "/foreign"));
}

TEST_CASE("S17 close_fds: inherited, all, none; what is preserved is open with each of them") {
    for (const char* which : {"", "inherited", "all", "none"}) {
        INFO("close_fds ", which);
        const Settled program_;
        const Descriptor inherited = open_file(program_.dir.file("inherited", "x"), O_RDONLY);
        const Descriptor preserved = open_file(program_.dir.file("preserved", "x"), O_RDONLY);
        Strings words = {"preserve=9", "stream=" + (program_.dir / "own"), "open", "wait"};
        if (*which) words.insert(words.begin(), std::string("close-fds=") + which);
        Launch launch = program_.launch(words);
        launch.before_exec = [&] {
            place(inherited, 8);
            place(preserved, 9);
        };
        program_.starts(launch);
        const std::string choice = *which ? which : "inherited";  // the default
        const pid_t pid = program_.pid();
        CHECK(link_of(pid, "fd/9") == program_.dir / "preserved");
        CHECK(has_target(pid, "/inherited") == (choice == "none"));
        CHECK(has_target(pid, "/own") == (choice != "all"));
    }
}

TEST_CASE("S17 nohup: the daemon does not inherit its ignored SIGHUP") {
    const Daemon daemon;
    Launch launch(Strings{"nohup"} + daemon.words("start"));
    const Outcome start = run(launch);
    INFO(start.text());
    REQUIRE(start.status == 0);
    CHECK_FALSE(has(facts(daemon.pid()).ignored, SIGHUP));
    REQUIRE(waits_for_signals(daemon.pid()));
    send_signal(daemon.pid(), SIGHUP);
    CHECK(daemon.logs("hup\n"));
    const Settled other;  // one that does not handle it
    Launch open = other.launch({"open", "wait"});
    open.argv.insert(open.argv.begin(), "nohup");
    other.starts(open);
    CHECK_FALSE(has(facts(other.pid()).ignored, SIGHUP));
}

TEST_CASE("S17 a shell's background job: SIGINT and SIGQUIT are not ignored by the daemon") {
    const Settled program_;
    Launch launch = program_.launch({"open", "wait"});
    launch.argv = Strings{"sh", "-c", "\"$@\" & wait $!", "sh"} + launch.argv;
    program_.starts(launch);
    const Facts seen = facts(program_.pid());
    CHECK_FALSE(has(seen.ignored, SIGINT));
    CHECK_FALSE(has(seen.ignored, SIGQUIT));
    CHECK_FALSE(has(seen.blocked, SIGINT));
}

TEST_CASE("S17 the starter's blocked signals are unblocked, its ignored SIGPIPE is left") {
    const Settled program_;
    Launch launch = program_.launch({"open", "wait"});
    launch.before_exec = [] {  // as systemd, cron or Python leave them
        ignore(SIGPIPE);
        ignore(SIGUSR2);
        block(SIGUSR1);
        block(SIGTERM);
    };
    program_.starts(launch);
    const Facts seen = facts(program_.pid());
    CHECK(has(seen.ignored, SIGPIPE));
    CHECK_FALSE(has(seen.ignored, SIGUSR2));
    CHECK(seen.blocked == 0);
}

TEST_CASE(
    "S17 make -j: the job server's pipe does not stay open in a daemon that a recipe starts") {
    SKIP_UNLESS(has_tool("make"), "needs make");
    const Settled program_;
    Strings words = program_.launch({"open", "wait"}).argv;
    // Old makes hand on a pipe; so do new ones with that style.
    const std::string file =
        program_.dir.file("Makefile", "all: one two\none:\n\t+" + join(words) + "\ntwo:\n\t:\n");
    Outcome made = run({{"make", "-j2", "--jobserver-style=pipe", "-f", file}});
    if (made.status == 2 && contains(made.err, "unrecognized option"))
        made = run({{"make", "-j2", "-f", file}});
    INFO(made.text());
    REQUIRE(made.status == 0);
    CHECK(made.end_of_file);
    const std::map<int, std::string> open = descriptors(program_.pid());
    CHECK(open.size() >= 3);
    for (const auto& one : open) CHECK_FALSE((one.first > 2 && contains(one.second, "pipe:")));
}

TEST_CASE("S17 debconf: descriptor 3 of a maintainer script, where debconf reads, is closed") {
    const Settled program_;
    int ends[2];
    REQUIRE(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    const Descriptor read_end(ends[0]);
    Descriptor write_end(ends[1]);
    Launch launch = program_.launch({"open", "wait"});
    launch.before_exec = [&] { place(write_end, 3); };
    program_.starts(launch);
    write_end.reset();
    char one;
    CHECK(read(read_end.get(), &one, 1) == 0);  // its end of file: nobody holds the script up
}

TEST_CASE(
    "S17 the descriptors are looked at in a program of many, and kept whatever their number") {
    const Settled program_;
    const Descriptor foreign = open_file(program_.dir.file("foreign", "x"), O_RDONLY);
    Launch launch = program_.launch({"stream=" + (program_.dir / "own"), "loop",
                                     "database=" + (program_.dir / "db"), "open",
                                     "use-stream=after", "use-loop", "use-database", "wait"});
    launch.before_exec = [&] {  // every second number, so that the program's are between them
        for (int number = 4; number < 2000; number += 2) place(foreign, number);
    };
    program_.starts(launch);
    for (const char* line : {"stream=works", "loop=works", "database=works"})
        CHECK(program_.says(line));
    CHECK_FALSE(has_target(program_.pid(), "/foreign"));
}

TEST_CASE("S17 without /proc the program's descriptors are kept, the starter's closed") {
    NEEDS_MOUNTS();
    const Settled program_;
    const Descriptor foreign = open_file(program_.dir.file("foreign", "x"), O_RDONLY);
    Launch launch =
        program_.launch({"stream=" + (program_.dir / "own"), "open", "use-stream=after", "wait"});
    launch.argv =
        Strings{"unshare", "--mount", "sh", "-c", "mount -t tmpfs none /proc && exec \"$@\"",
                "sh"} +
        launch.argv;
    launch.before_exec = [&] { place(foreign, 9); };
    without_leak_check(launch);
    program_.starts(launch);
    CHECK(program_.says("stream=works"));
    CHECK_FALSE(has_target(program_.pid(), "/foreign"));
}

// ---- The PID file's descriptor, for those who close everything ----------------------------------

TEST_CASE("C3 pidfile_handle() is what a close-all of the program's own leaves open") {
    const Settled program_;
    program_.starts({"open", "handle", "close-all-but-pidfile", "explain", "wait"});
    CHECK(eventually([&] { return contains(program_.said(), "explain: "); }));
    const long handle = to_long(value_in(program_.said(), "handle"));
    CHECK(handle > 2);
    CHECK(link_of(program_.pid(), ("fd/" + std::to_string(handle)).c_str()) == program_.pidfile);
    CHECK(is_locked(program_.pidfile));
    if (!generic()) CHECK(record_owner(program_.pidfile) == program_.pid());
    CHECK(run({{program("subject"), "stop", "--pidfile", program_.pidfile}}).status == 0);
    CHECK_FALSE(exists(program_.pidfile));
}

TEST_CASE("P8 native_handle() of a PidFile: -1 before, its descriptor while it is held") {
    const Scratch dir;
    const std::string path = dir / "d.pid";
    Running running(plain({program("settler"), "hold-alone=" + path}));
    REQUIRE(running.says("held=1"));
    CHECK(contains(running.out(), "before=-1\n"));
    CHECK(is_locked(path));
    if (!generic()) CHECK(record_owner(path) == running.pid());
}

TEST_CASE("S7 the kept launcher has the daemon's exit code beside the error's text") {
    for (const int code : {3, 77}) {
        const Settled program_;
        const Outcome said =
            run(program_.launch({"by-hand", "try", "exit=" + std::to_string(code)}));
        INFO(said.text());
        CHECK(contains(said.out, "error=start_failed"));
        CHECK(contains(said.out, "exit-code=" + std::to_string(code) + "\n"));
    }
    const Settled good;
    const Outcome said = run(good.launch({"try", "wait"}));
    CHECK(contains(said.out, "error=none"));
    CHECK(contains(said.out, "exit-code=0\n"));
}
