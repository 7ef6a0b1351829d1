// Where the field starts a daemon, judged from outside: as process 1 of a container, by every kind of
// systemd unit, by inetd under systemd, on a network file system. Sections 5 and 7.
#include "support/local.hpp"
#include "support/loopback.hpp"
#include "support/machine.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <stdexcept>

using namespace expect;
using machine::plain;
using machine::replaced;
using machine::Variables;
using machine::where;

namespace {

void claim_exec_pid() { setenv("SYSTEMD_EXEC_PID", std::to_string(getpid()).c_str(), 1); }

// What the words between the quotes of a line of a Dockerfile are.
Strings words_of_dockerfile(const std::string& instruction) {
    for (const std::string& line : lines(slurp("examples/systemd/Dockerfile"))) {
        if (line.compare(0, instruction.size() + 2, instruction + " [") != 0) continue;
        Strings words;
        for (std::size_t at = line.find('"'); at != std::string::npos;) {
            const std::size_t end = line.find('"', at + 1);
            words.push_back(line.substr(at + 1, end - at - 1));
            at = line.find('"', end + 1);
        }
        return words;
    }
    return {};
}

// A program as process 1 of a PID namespace of its own, as the entry of a container.
class Container {
public:
    explicit Container(const Strings& command)
        : running_(plain(Strings{"unshare", "--pid", "--fork", "--kill-child", "--mount-proc"} +
                         command)) {
        eventually([this] {
            for (const pid_t one : descendants())
                if (facts(one).parent == running_.pid()) pid_ = one;
            return pid_ != 0 || running_.finished();
        });
    }
    pid_t pid() const { return pid_; }
    Running& running() { return running_; }
    Outcome inside(const Strings& words) const {
        return run(plain(Strings{"nsenter", "-t", std::to_string(pid_), "--pid", "--mount", "--"} +
                         words));
    }

private:
    Running running_;
    pid_t pid_ = 0;
};

}  // namespace

// ---- Process 1 ----------------------------------------------------------------------------------

TEST_CASE("G7 process 1 of a container is asked, reloaded and signalled by those beside it") {
    NEEDS_MOUNTS();
    SKIP_UNLESS(!generic(), "without a record lock nothing names process 1 as the holder");
    const Daemon daemon;
    Container container(daemon.words("run"));
    REQUIRE(container.pid() > 1);
    REQUIRE(eventually([&] { return daemon.written() == "1\n"; }));
    REQUIRE(waits_for_signals(container.pid()));
    const Outcome status = container.inside(daemon.words("status"));
    INFO(status.text());
    CHECK(status.status == 0);
    CHECK(contains(status.out, "1"));
    const Outcome reload = container.inside(daemon.words("reload"));
    INFO(reload.text());
    CHECK(reload.status == 0);
    CHECK(container.running().says("hup\n"));
    const Outcome sent = container.inside(
        {program("victim"), "send=" + daemon.pidfile + "," + std::to_string(SIGUSR1)});
    INFO(sent.text());
    CHECK(contains(sent.out, "sent=1 error=none"));
    CHECK(container.running().says("usr1\n"));
    // Whoever ends process 1 ends with it: the kernel closes the namespace.
    const Outcome stop = container.inside(daemon.words("stop"));
    INFO(stop.text());
    CHECK((stop.status == 0 || stop.status == 128 + SIGKILL));
    CHECK(container.running().finish().status == 0);
    CHECK_FALSE(exists(daemon.pidfile));
}

TEST_CASE("C3 an unlocked leftover of process 1 is dead, and asking signals nobody") {
    NEEDS_MOUNTS();
    const Daemon daemon;
    daemon.dir.file("d.pid", "1\n");
    CHECK(daemon.verb("status").status == 1);
    Container container({"sh", "-c",
                         "trap 'echo signalled' HUP TERM USR1; echo up\n"
                         "while :; do sleep 1000 & wait; done"});
    REQUIRE(container.pid() > 1);
    REQUIRE(container.running().says("up"));
    CHECK(container.inside(daemon.words("status")).status == 1);
    CHECK(container.inside(daemon.words("reload")).status == 7);
    const Outcome stop = container.inside(daemon.words("stop"));
    INFO(stop.text());
    CHECK(stop.status == 0);
    CHECK(container.inside(daemon.words("status")).status == 3);  // its leftover is gone, too
    CHECK_FALSE(contains(container.running().out(), "signalled"));
}

TEST_CASE("P1 a container that is started again over the file of its last life: both are 1") {
    NEEDS_MOUNTS();
    const Daemon daemon;
    for (int round = 0; round < 2; ++round) {
        Container container(daemon.words("run"));
        REQUIRE(container.pid() > 1);
        REQUIRE(eventually([&] { return is_locked(daemon.pidfile); }));
        REQUIRE(eventually([&] { return daemon.written() == "1\n"; }));
        send_signal(container.pid(), SIGKILL);
        container.running().finish();
        CHECK(daemon.written() == "1\n");
    }
    check_started(daemon, daemon.start());
}

TEST_CASE("S16 process 1 with `start` stays in the foreground, and says so in one line") {
    NEEDS_MOUNTS();
    const Daemon daemon;
    Container container(daemon.words("start"));
    REQUIRE(container.pid() > 1);
    REQUIRE(eventually([&] { return daemon.written() == "1\n"; }));
    REQUIRE(waits_for_signals(container.pid()));
    INFO(container.running().err());
    CHECK(lines(container.running().err()).size() == 1);
    CHECK(contains(container.running().err(), "subject: "));
    CHECK(contains(container.running().err(), "foreground"));
    send_signal(container.pid(), SIGTERM);
    CHECK(container.running().finish().status == 0);
    // Who asked for it is told nothing that he knows.
    Container asked(daemon.words("run"));
    REQUIRE(asked.pid() > 1);
    REQUIRE(eventually([&] { return daemon.written() == "1\n"; }));
    REQUIRE(waits_for_signals(asked.pid()));
    CHECK(asked.running().err() == "");
}

TEST_CASE("Examples: the Dockerfile's HEALTHCHECK is healthy while its ENTRYPOINT runs") {
    NEEDS_MOUNTS();
    NEEDS_CHECKOUT();
    SKIP_UNLESS(!generic(), "without a record lock nothing names process 1 as the holder");
    const Scratch dir;
    const std::string pidfile = dir / "ticker.pid";
    const auto here = [&](const std::string& instruction) {
        Strings words = words_of_dockerfile(instruction);
        for (std::string& word : words) word = replaced(word, "/run/ticker.pid", pidfile);
        REQUIRE(!words.empty());
        REQUIRE(words[0] == "ticker");
        words[0] = program("ticker");
        return words;
    };
    Container container(here("ENTRYPOINT"));
    REQUIRE(container.pid() > 1);
    REQUIRE(container.running().says(" tick 1\n"));
    const Outcome health = container.inside(here("HEALTHCHECK CMD"));
    INFO(health.text());
    CHECK(health.status == 0);
    send_signal(container.pid(), SIGTERM);  // `docker stop`
    CHECK(container.running().finish().status == 0);
    CHECK_FALSE(exists(pidfile));
}

TEST_CASE("Client: podman: the example's ENTRYPOINT is healthy, and `podman stop` ends it") {
    NEEDS_MOUNTS();
    NEEDS_CHECKOUT();
    NEEDS_TOOL("podman");
    SKIP_UNLESS(!generic(), "without a record lock nothing names process 1 as the holder");
    const Scratch dir;
    // A root directory with the program and the libraries that it names: no image is fetched.
    const std::string root = dir.directory("root");
    for (const char* name : {"run", "tmp", "proc", "sys", "dev", "etc", "usr", "bin"})
        dir.directory(std::string("root/") + name);
    REQUIRE(run({{"cp", program("ticker"), root + "/bin/ticker"}}).status == 0);
    const Outcome copied =
        run({{"sh", "-c",
              "ldd \"$1\" | grep -o '/[^ ]*' | while read -r one; do mkdir -p \"$2${one%/*}\" && "
              "cp -L \"$one\" \"$2$one\" || exit 1; done",
              "sh", program("ticker"), root}});
    REQUIRE(copied.status == 0);
    // Its runtime does not know a machine that has cgroups of both kinds, as some have.
    const Strings podman = {"unshare",
                            "--mount",
                            "sh",
                            "-c",
                            "mount -t cgroup2 none /sys/fs/cgroup && exec \"$@\"",
                            "sh",
                            where("podman"),
                            "--root",
                            dir / "store",
                            "--runroot",
                            dir / "state",
                            "--tmpdir",
                            dir / "tmp",
                            "--cgroup-manager",
                            "cgroupfs",
                            "--storage-driver",
                            "vfs",
                            "--events-backend",
                            "none"};
    const std::string name = "daemonize-" + std::to_string(getpid());
    const Launch launch = plain(podman +
                                Strings{"run", "--name", name, "--rm", "--network=none",
                                        "--cgroups=disabled", "--ulimit", "nofile=1024:1024",
                                        "--ulimit", "nproc=1000:1000", "--rootfs", root} +
                                words_of_dockerfile("ENTRYPOINT"));
    Running running(launch);
    const bool ticks = running.says(" tick 1\n");
    const std::string why = running.err();
    SKIP_UNLESS(ticks || !running.finished(), "podman runs nothing here: " + why.substr(0, 200));
    REQUIRE(ticks);
    const Outcome health =
        run(plain(podman + Strings{"exec", name} + words_of_dockerfile("HEALTHCHECK CMD")));
    INFO(health.text());
    CHECK(health.status == 0);
    CHECK(run(plain(podman + Strings{"stop", "--time", "15", name})).status == 0);
    CHECK(running.finish().status == 0);  // by SIGTERM, not by what comes 15 seconds later
}

// ---- Section 7, under a real systemd ------------------------------------------------------------

namespace {

using machine::Machine;
const std::string pidfile = "/run/s.pid";
const std::string start_subject = "/usr/local/bin/subject start --pidfile /run/s.pid";
// As a systemd before 248, and before 242, starts it.
const std::string older = "/usr/bin/env -u SYSTEMD_EXEC_PID ";
const std::string oldest = "/usr/bin/env -u SYSTEMD_EXEC_PID -u PIDFILE ";

// systemd's own patience is what ends a `start` that never comes back.
const std::string impatient = "TimeoutStartSec=6\nTimeoutStopSec=5\n";

// `systemctl start` returns, and behind it runs a daemon that has detached.
void check_comes_back(const Machine& systemd, const std::string& lines_of_unit) {
    INFO(lines_of_unit);
    systemd.service(impatient + lines_of_unit);
    REQUIRE(systemd.ctl({"daemon-reload"}).status == 0);
    const Outcome start = systemd.ctl({"start", "one.service"});
    INFO(start.text(), systemd.console());
    CHECK(start.status == 0);
    const long inner = to_long(slurp(systemd.file(pidfile)));
    CHECK(inner > 1);
    const pid_t pid = inner > 1 ? systemd.outer(std::to_string(inner)) : 0;
    CHECK(pid > 1);
    if (pid > 1) {
        CHECK(facts(pid).parent == systemd.pid());
        CHECK(facts(pid).session != pid);
        CHECK(systemd.inside({"/usr/local/bin/subject", "status", "--pidfile", pidfile}).status ==
              0);
        CHECK(systemd.inside({"/usr/local/bin/subject", "stop", "--pidfile", pidfile}).status == 0);
    }
    systemd.ctl({"stop", "one.service"});
    systemd.ctl({"reset-failed", "one.service"});
    REQUIRE(eventually([] { return descendants().size() == 2; }));  // unshare and process 1
    unlink(systemd.file(pidfile).c_str());
}

// It stays as the unit's main process, and has said so or not in one line on its stderr.
void check_stays(const Machine& systemd, const std::string& lines_of_unit, bool says_so) {
    INFO(lines_of_unit);
    unlink(systemd.file("/run/err").c_str());
    systemd.service(impatient + "StandardError=file:/run/err\n" + lines_of_unit);
    REQUIRE(systemd.ctl({"daemon-reload"}).status == 0);
    const Outcome start = systemd.ctl({"start", "one.service"});
    INFO(start.text(), systemd.console());
    CHECK(start.status == 0);
    CHECK(eventually([&] { return to_long(slurp(systemd.file(pidfile))) > 1; }, Millis(5000)));
    const std::string main = systemd.property("one.service", "MainPID");
    CHECK(slurp(systemd.file(pidfile)) == main + "\n");
    const pid_t pid = systemd.outer(main);
    CHECK(pid > 1);
    if (pid > 1) {
        CHECK(eventually([&] { return has(facts(pid).caught, SIGTERM); }));
        const std::string said = slurp(systemd.file("/run/err"));
        INFO("stderr: ", said);
        CHECK(lines(said).size() == (says_so ? 1 : 0));
        if (says_so) CHECK(contains(said, "foreground"));
    }
    CHECK(systemd.ctl({"stop", "one.service"}).status == 0);
    CHECK_FALSE(exists(systemd.file(pidfile)));
    systemd.ctl({"reset-failed", "one.service"});
}

}  // namespace

TEST_CASE("Section 7: systemd: `start` comes back from every kind of unit that waits for its end") {
    NEEDS_MACHINE(systemd, "subject");
    check_comes_back(systemd, "Type=forking\nPIDFile=/run/s.pid\nExecStart=" + start_subject);
    check_comes_back(systemd, "Type=forking\nExecStart=" + start_subject);
    check_comes_back(systemd, "Type=oneshot\nRemainAfterExit=yes\nExecStart=" + start_subject);
    check_comes_back(systemd,
                     "Type=exec\nExecStart=/bin/sleep 1000\nExecStartPost=" + start_subject);
}

TEST_CASE("Section 7: systemd before 248 and before 242: `start` comes back as well") {
    NEEDS_MACHINE(systemd, "subject");
    check_comes_back(systemd,
                     "Type=forking\nPIDFile=/run/s.pid\nExecStart=" + older + start_subject);
    check_comes_back(systemd,
                     "Type=forking\nPIDFile=/run/s.pid\nExecStart=" + oldest + start_subject);
    check_comes_back(systemd,
                     "Type=oneshot\nRemainAfterExit=yes\nExecStart=" + oldest + start_subject);
}

TEST_CASE("Section 7: a Debian init script under systemd has its prompt back") {
    NEEDS_MACHINE(systemd, "subject");
    // As systemd-sysv-generator writes the unit for a script.
    const std::string generated =
        "Type=forking\nRemainAfterExit=yes\nGuessMainPID=no\nKillMode=process\n"
        "ExecStart=/usr/local/bin/init start\n";
    Strings scripts = {start_subject + "\nexit $?\n", "exec " + start_subject + "\n"};
    if (!where("start-stop-daemon").empty())
        scripts.push_back(
            "start-stop-daemon --start --quiet --pidfile /run/s.pid --exec "
            "/usr/local/bin/subject -- start --pidfile /run/s.pid\n");
    for (const std::string& script : scripts) {
        INFO(script);
        systemd.dir.file("bin/init", "#!/bin/sh\n" + script, 0755);
        check_comes_back(systemd, generated);
        check_comes_back(systemd, replaced(generated, "ExecStart=", "ExecStart=" + oldest));
    }
}

TEST_CASE("Section 7: a service's child that types `start` (a web panel, a cron) gets its prompt") {
    NEEDS_MACHINE(systemd, "subject");
    const auto panel = [&](const std::string& type) {
        return type + "\nExecStart=/bin/sh -c '" + start_subject +
               "; echo back $? >/run/back; exec sleep 1000'\n";
    };
    // The last two: a NOTIFY_SOCKET that is the panel's, not the daemon's.
    for (const std::string& unit :
         {panel("Type=exec"), replaced(panel("Type=exec"), "ExecStart=", "ExecStart=" + oldest),
          panel("Type=exec\nNotifyAccess=main"),
          replaced(panel("Type=exec\nNotifyAccess=main"), "ExecStart=", "ExecStart=" + oldest)}) {
        INFO(unit);
        unlink(systemd.file("/run/back").c_str());
        systemd.service(impatient + unit);
        REQUIRE(systemd.ctl({"daemon-reload"}).status == 0);
        REQUIRE(systemd.ctl({"start", "one.service"}).status == 0);
        CHECK(eventually([&] { return slurp(systemd.file("/run/back")) == "back 0\n"; },
                         Millis(8000)));
        CHECK(systemd.property("one.service", "ActiveState") == "active");
        CHECK(systemd.inside({"/usr/local/bin/subject", "status", "--pidfile", pidfile}).status ==
              0);
        CHECK(systemd.ctl({"stop", "one.service"}).status == 0);
        unlink(systemd.file(pidfile).c_str());
    }
}

TEST_CASE("Section 7: systemd, Type=notify and `start`: the main process, READY=1, one line") {
    NEEDS_MACHINE(systemd, "subject");
    check_stays(systemd, "Type=notify\nExecStart=" + start_subject, true);
    check_stays(systemd, "Type=notify\nExecStart=" + older + start_subject, true);
    check_stays(systemd,
                "Type=notify\nExecStart=" + replaced(start_subject, "subject start", "subject run"),
                false);
}

TEST_CASE("Section 7: systemd, Type=exec: a program that only opens stays, and says so; run: not") {
    NEEDS_MACHINE(systemd, "victim", "subject");
    const std::string opens = "/usr/local/bin/victim pidfile=/run/s.pid open wait-term";
    for (const char* type : {"Type=exec", "Type=simple"}) {
        check_stays(systemd, std::string(type) + "\nExecStart=" + opens, true);
        check_stays(systemd, std::string(type) + "\nExecStart=" + oldest + opens, true);
        check_stays(systemd,
                    std::string(type) +
                        "\nExecStart=" + replaced(start_subject, "subject start", "subject run"),
                    false);
    }
}

TEST_CASE("Section 7: a `systemd --user` as parent is as good as process 1") {
    SKIP_UNLESS(!generic(), "POSIX does not tell the name of a parent");
    NEEDS_MACHINE(systemd, "subject", "victim");
    systemd.dir.directory("user");
    for (const char* name : {"default", "basic", "shutdown", "exit"})
        systemd.dir.file("user/" + std::string(name) + ".target",
                         "[Unit]\nDefaultDependencies=no\n");
    const auto user_unit = [&](const std::string& text) {
        systemd.dir.file("user/mine.service",
                         "[Unit]\nDefaultDependencies=no\n[Service]\n" + impatient + text + "\n");
    };
    user_unit("Type=notify\nExecStart=" + older + start_subject);
    systemd.service(
        "Type=notify\nDelegate=yes\nRuntimeDirectory=u\nEnvironment=XDG_RUNTIME_DIR=/run/u "
        "SYSTEMD_UNIT_PATH=/mnt/user HOME=/run/u\nExecStart=/lib/systemd/systemd --user\n");
    const Outcome manager = systemd.ctl({"start", "one.service"});
    SKIP_UNLESS(manager.status == 0, "no systemd --user here: " + systemd.console());
    const auto user = [&](const Strings& words) {
        return systemd.inside(
            Strings{"env", "XDG_RUNTIME_DIR=/run/u", "systemctl", "--user", "--no-pager"} + words);
    };
    REQUIRE(eventually([&] {
        return user({"is-system-running"}).status != 1 ||
               contains(user({"is-system-running"}).out, "running");
    }));
    const Outcome start = user({"start", "mine.service"});
    INFO(start.text(), systemd.console());
    CHECK(start.status == 0);
    const std::string main = user({"show", "-P", "MainPID", "mine.service"}).out;
    CHECK(slurp(systemd.file(pidfile)) == main);
    CHECK(user({"stop", "mine.service"}).status == 0);

    user_unit("Type=exec\nExecStart=" + oldest +
              "/usr/local/bin/victim pidfile=/run/s.pid open wait-term");
    REQUIRE(user({"daemon-reload"}).status == 0);
    CHECK(user({"start", "mine.service"}).status == 0);
    REQUIRE(eventually([&] { return to_long(slurp(systemd.file(pidfile))) > 1; }));
    CHECK(slurp(systemd.file(pidfile)) == user({"show", "-P", "MainPID", "mine.service"}).out);
    user({"stop", "mine.service"});
    systemd.inside({"/usr/local/bin/subject", "stop", "--pidfile", pidfile});

    user_unit("Type=oneshot\nRemainAfterExit=yes\nExecStart=" + oldest + start_subject);
    REQUIRE(user({"daemon-reload"}).status == 0);
    const Outcome oneshot = user({"start", "mine.service"});
    INFO(oneshot.text());
    CHECK(oneshot.status == 0);
    CHECK(systemd.inside({"/usr/local/bin/subject", "status", "--pidfile", pidfile}).status == 0);
    CHECK(user({"stop", "mine.service"}).status == 0);
}

TEST_CASE("Section 7: a NOTIFY_SOCKET that was leaked, or is not there, keeps nobody waiting") {
    const Daemon daemon;
    const std::string path = daemon.dir / "notify";
    const Descriptor nobodys = local::bound(path);
    const Variables leaked = {{"NOTIFY_SOCKET", path}};
    const Variables with_id = {{"NOTIFY_SOCKET", path}, {"INVOCATION_ID", "0123456789abcdef"}};
    const Variables stale = {{"NOTIFY_SOCKET", path}, {"SYSTEMD_EXEC_PID", "4711"}};
    const Variables parents = {{"NOTIFY_SOCKET", path},
                               {"SYSTEMD_EXEC_PID", std::to_string(getpid())}};
    const Variables missing = {{"NOTIFY_SOCKET", "/no/such/socket"}};
    for (const Variables& some : {leaked, with_id, stale, parents, missing}) {
        Launch launch = plain(daemon.words("start"), some);
        launch.limit = Millis(8000);  // who stays in the foreground is not waited for longer
        const Outcome start = run(launch);
        INFO(some.back().first, "=", some.back().second, ": ", start.text());
        CHECK(start.status == 0);
        CHECK_FALSE(start.timed_out);
        if (start.timed_out) continue;
        const pid_t pid = daemon.pid();
        CHECK(daemon.verb("stop").status == 0);
        CHECK(ended(pid) == 0);
    }
}

TEST_CASE("V1 a READY=1 that nobody gets is said, once, and the program goes on") {
    const Daemon daemon;
    Launch launch = plain(daemon.words("run"), {{"NOTIFY_SOCKET", "/no/such/socket"}});
    launch.before_exec = claim_exec_pid;
    Running front(launch);
    REQUIRE(eventually([&] { return daemon.pid() == front.pid(); }));
    REQUIRE(waits_for_signals(front.pid()));
    front.signal(SIGHUP);  // READY=1 again: no second complaint
    REQUIRE(front.says("hup\n"));
    front.signal(SIGTERM);
    const Outcome said = front.finish();
    INFO(said.text());
    CHECK(said.status == 0);
    CHECK(lines(said.err).size() == 1);
    CHECK(contains(said.err, "subject: "));
    CHECK(contains(said.err, "READY"));
    CHECK(contains(said.err, std::strerror(ENOENT)));
}

// ---- inetd under systemd ------------------------------------------------------------------------

namespace {

struct Connection {
    Descriptor client, server;
};

Connection tcp() {
    const loopback::Port port;
    Connection both;
    both.client = loopback::connected(port.number);
    both.server = Descriptor(accept4(port.taken.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (both.server.get() < 0) throw std::runtime_error("accept");
    return both;
}

// As inetd starts it: the connection is 0, 1 and 2; and inetd itself is a service of systemd's.
Launch for_client(const Connection& connection, const Strings& words, bool is_exec_pid) {
    Launch launch = plain(words, {{"INVOCATION_ID", "0123456789abcdef0123456789abcdef"},
                                  {"JOURNAL_STREAM", "8:12345"}});
    launch.input = connection.server.get();
    if (!is_exec_pid) launch.environment.push_back({"SYSTEMD_EXEC_PID", std::to_string(getpid())});
    launch.before_exec = [is_exec_pid] {
        if (is_exec_pid) claim_exec_pid();
        dup2(0, 1);
        dup2(0, 2);
    };
    return launch;
}

}  // namespace

TEST_CASE("Section 7: inetd under systemd: stdin decides; a second client is served beside it") {
    for (const char* verb : {"start", "run"}) {
        for (const bool is_exec_pid : {false, true}) {  // of inetd; of Accept=yes
            INFO(verb, " ", is_exec_pid);
            const Daemon daemon;
            const Strings words = {program("subject"), verb,        "--pidfile",
                                   daemon.pidfile,     "--payload", "welcome"};
            Connection first = tcp(), second = tcp();
            Running one(for_client(first, words, is_exec_pid));
            first.server.reset();
            CHECK(loopback::heard(first.client, "\n") == "payload=welcome\n");
            REQUIRE(waits_for_signals(one.pid()));
            Running two(for_client(second, words, is_exec_pid));
            second.server.reset();
            CHECK(loopback::heard(second.client, "\n") == "payload=welcome\n");
            CHECK_FALSE(exists(daemon.pidfile));
            CHECK_FALSE(one.finished());
            REQUIRE(waits_for_signals(two.pid()));
            one.signal(SIGTERM);
            two.signal(SIGTERM);
            CHECK(one.finish().status == 0);
            CHECK(two.finish().status == 0);
            // Not a word of the program's own, up to the end of the connection.
            CHECK(loopback::heard(first.client, "") == "");
            CHECK(loopback::heard(second.client, "") == "");
        }
    }
}

TEST_CASE("Section 7: inetd: no client reads what went wrong, with `start` and with `run`") {
    const Daemon daemon;
    for (const char* verb : {"start", "run"}) {
        for (const Strings& wrong :
             {Strings{"--chdir", "/no/such/place"}, Strings{"--fail-init", "nope"},
              Strings{"--umask", "7777"}, Strings{"--user", "no-such-user"}}) {
            for (const bool is_exec_pid : {false, true}) {
                Connection connection = tcp();
                const Outcome said = run(for_client(
                    connection,
                    Strings{program("subject"), verb, "--pidfile", daemon.pidfile} + wrong,
                    is_exec_pid));
                connection.server.reset();
                INFO(verb, " ", join(wrong));
                CHECK(said.status > 0);
                CHECK_FALSE(said.timed_out);
                CHECK(loopback::heard(connection.client, "") == "");
            }
        }
    }
    CHECK(daemon.dir.names().empty());
}

TEST_CASE("Section 7: systemd's own inetd (Accept=yes): clients at once, with `start` and `run`") {
    NEEDS_MACHINE(systemd, "subject");
    const Descriptor here = open_file("/proc/self/ns/net", O_RDONLY);
    const Descriptor there =
        open_file("/proc/" + std::to_string(systemd.pid()) + "/ns/net", O_RDONLY);
    const auto client = [&](int port) {
        if (setns(there.get(), CLONE_NEWNET) != 0) throw std::runtime_error("setns");
        Descriptor made = loopback::connected(port);
        if (setns(here.get(), CLONE_NEWNET) != 0) std::abort();
        return made;
    };
    int port = 7007;
    for (const char* verb : {"start", "run"}) {
        INFO(verb);
        const std::string name = std::string("each-") + verb;
        systemd.unit(name + ".socket", "[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream=" +
                                           std::to_string(++port) + "\nAccept=yes\n");
        systemd.unit(name + "@.service",
                     "[Unit]\nDefaultDependencies=no\n[Service]\nStandardInput=socket\n"
                     "StandardError=socket\nExecStart=-/usr/local/bin/subject " +
                         std::string(verb) + " --pidfile /run/none --payload welcome\n");
        REQUIRE(systemd.ctl({"daemon-reload"}).status == 0);
        REQUIRE(systemd.ctl({"start", name + ".socket"}).status == 0);
        const Descriptor first = client(port);
        REQUIRE(first.get() >= 0);
        CHECK(loopback::heard(first, "\n") == "payload=welcome\n");
        const Descriptor second = client(port);
        REQUIRE(second.get() >= 0);
        CHECK(loopback::heard(second, "\n") == "payload=welcome\n");
        CHECK_FALSE(exists(systemd.file("/run/none")));
        CHECK(systemd.ctl({"stop", name + ".socket"}).status == 0);
        CHECK(systemd.ctl({"stop", name + "@*.service"}).status == 0);
        CHECK(loopback::heard(first, "") == "");
    }
}

// ---- A network file system ----------------------------------------------------------------------

namespace {

Launch on_nfs(const Strings& words) {
    return plain(words, {{"LD_PRELOAD", program("whole_lock.so")}});
}

}  // namespace

#define NEEDS_PRELOAD() \
    SKIP_UNLESS(!sanitized(), "a sanitizer wants to be the first that is loaded")

TEST_CASE("P10 where flock and record locks are one: start, status, refusal, reload, stop") {
    NEEDS_PRELOAD();
    const Daemon daemon;
    const Outcome start = run(on_nfs(daemon.words("start")));
    INFO(start.text());
    CHECK(start.status == 0);
    CHECK(start.err == "");
    const pid_t pid = daemon.pid();
    REQUIRE(pid > 1);
    const Outcome status = run(on_nfs(daemon.words("status")));
    INFO(status.text());
    CHECK(status.status == 0);
    CHECK(contains(status.out, std::to_string(pid)));
    const struct stat before = stat_of(daemon.pidfile);
    const Outcome second = run(on_nfs(daemon.words("start")));
    INFO(second.text());
    CHECK(second.status == 1);
    CHECK(lines(second.err).size() == 1);
    CHECK(contains(second.err, "'" + daemon.pidfile + "'"));
    CHECK(same_file_state(before, stat_of(daemon.pidfile)));
    CHECK(run(on_nfs(daemon.words("reload"))).status == 0);
    CHECK(daemon.logs("hup\n"));
    const Outcome stop = run(on_nfs(daemon.words("stop")));
    INFO(stop.text());
    CHECK(stop.status == 0);
    CHECK(ended(pid) == 0);
    CHECK_FALSE(exists(daemon.pidfile));
    CHECK(run(on_nfs(daemon.words("status"))).status == 3);
}

TEST_CASE(
    "P10 where flock and record locks are one: a crash blocks nobody, a start fails cleanly") {
    NEEDS_PRELOAD();
    const Daemon daemon;
    REQUIRE(run(on_nfs(daemon.words("start"))).status == 0);
    const pid_t first = daemon.pid();
    send_signal(first, SIGKILL);
    CHECK(ended(first) == 128 + SIGKILL);
    CHECK(run(on_nfs(daemon.words("status"))).status == 1);
    CHECK(run(on_nfs(daemon.words("start"))).status == 0);
    const pid_t pid = daemon.pid();
    CHECK(pid != first);
    CHECK(run(on_nfs(daemon.words("restart"))).status == 0);
    CHECK(ended(pid) == 0);
    CHECK(run(on_nfs(daemon.words("stop"))).status == 0);
    check_failed(daemon, run(on_nfs(daemon.words("start", {"--fail-init", "nope"}))), 1, {"nope"});
}

TEST_CASE("P10 explain() says that the proof is the weaker one") {
    NEEDS_PRELOAD();
    SKIP_UNLESS(!generic(), "there it always is");
    const Victim daemon;
    const auto explained = [&](bool nfs) {
        unlink(daemon.log.c_str());
        const Strings words = daemon.words("", {"open", "explain", "say=done", "wait"});
        const Outcome start = run(nfs ? on_nfs(words) : plain(words));
        INFO(start.text());
        REQUIRE(start.status == 0);
        REQUIRE(daemon.logs("done"));
        std::string text = replaced(slurp(daemon.log), std::to_string(daemon.pid()), "PID");
        send_signal(daemon.pid(), SIGTERM);
        REQUIRE(eventually([] { return descendants().empty(); }));
        return text;
    };
    const std::string usual = explained(false), weaker = explained(true);
    INFO(usual, "\n", weaker);
    const std::string said = "the proof is the lock and the number";
    CHECK(contains(weaker, said));
    CHECK_FALSE(contains(usual, said));
    CHECK(usual != weaker);
}
