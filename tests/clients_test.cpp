// Real clients: what is on a machine already and has to get along with the daemon, its PID file and
// its logs. Whoever starts services of its own (cron, inetd, sshd, systemd) does so on loopback or
// in namespaces, with configurations of the test's own; a client that is not installed is a SKIP.
#include "support/loopback.hpp"
#include "support/machine.hpp"
#include "support/terminal.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <sstream>
#include <stdexcept>

using namespace expect;
using namespace machine;
using loopback::connected;
using loopback::heard;

namespace {

bool has_open(pid_t pid, const std::string& path) {
    for (const auto& one : descriptors(pid))
        if (one.second == path) return true;
    return false;
}

}  // namespace

// ---- start-stop-daemon --------------------------------------------------------------------------

TEST_CASE("Client: start-stop-daemon --status agrees with status: 0, 1, 3") {
    NEEDS_TOOL("start-stop-daemon");
    const Daemon daemon;
    const Launch ask({where("start-stop-daemon"), "--status", "--pidfile", daemon.pidfile});
    const auto both_say = [&](int status) {
        CHECK(run(ask).status == status);
        CHECK(daemon.verb("status").status == status);
    };
    both_say(3);
    check_started(daemon, daemon.start());
    both_say(0);
    const pid_t pid = daemon.pid();
    send_signal(pid, SIGKILL);
    CHECK(ended(pid) == 128 + SIGKILL);
    both_say(1);
    check_started(daemon, daemon.start());
    both_say(0);
    check_ends(daemon);
    both_say(3);
}

TEST_CASE("Client: start-stop-daemon --stop --retry ends it, in order or by force") {
    NEEDS_TOOL("start-stop-daemon");
    const Daemon daemon;
    const Strings stop = {where("start-stop-daemon"), "--stop", "--pidfile", daemon.pidfile};

    check_started(daemon, daemon.start());
    pid_t pid = daemon.pid();
    REQUIRE(waits_for_signals(pid));
    Outcome said = run(stop + Strings{"--retry", "TERM/60/KILL/5"});
    INFO(said.text());
    CHECK(said.status == 0);
    CHECK_FALSE(alive(pid));
    CHECK(ended(pid) == 0);
    CHECK_FALSE(exists(daemon.pidfile));
    CHECK(run(stop).status == 1);  // nothing to stop: its own answer
    CHECK(run(stop + Strings{"--oknodo"}).status == 0);

    REQUIRE(daemon.start({"--ignore-term"}).status == 0);
    pid = daemon.pid();
    said = run(stop + Strings{"--retry", "TERM/1/KILL/10"});
    CHECK(said.status == 0);
    CHECK(ended(pid) == 128 + SIGKILL);
    check_started(daemon, daemon.start());  // the file that stayed blocks nobody
}

TEST_CASE("Client: start-stop-daemon --start passes the start's own status on, once") {
    NEEDS_TOOL("start-stop-daemon");
    const Daemon daemon;
    const auto start = [&](const Strings& more) {
        return run(Strings{where("start-stop-daemon"), "--start", "--pidfile", daemon.pidfile,
                           "--startas", program("subject"), "--", "start", "--pidfile",
                           daemon.pidfile, "--stdout", daemon.log} +
                   more);
    };
    CHECK(start({"--exit-init", "7"}).status == 7);
    CHECK(start({"--fail-init", "no luck"}).status == 1);
    CHECK_FALSE(exists(daemon.pidfile));
    check_started(daemon, start({}));
    const Outcome again = start({});
    INFO(again.text());
    CHECK(again.status == 1);  // it looks at the PID file itself
    CHECK(contains(again.out + again.err, "already running"));
    check_ends(daemon);
}

TEST_CASE("Client: start-stop-daemon --exec knows the daemon by its executable") {
    NEEDS_TOOL("start-stop-daemon");
    NEEDS_ROOT();  // others may not look at /proc/PID/exe of a process that cannot be dumped
    const Daemon daemon;
    check_started(daemon, daemon.start());
    const Strings ask = {where("start-stop-daemon"), "--status", "--pidfile", daemon.pidfile};
    CHECK(run(ask + Strings{"--exec", program("subject")}).status == 0);
    CHECK(run(ask + Strings{"--exec", "/bin/sh"}).status != 0);
}

// ---- pkill --------------------------------------------------------------------------------------

TEST_CASE("Client: pkill -F signals the daemon that the PID file names") {
    NEEDS_TOOL("pkill");
    const Daemon daemon;
    check_started(daemon, daemon.start());
    const pid_t pid = daemon.pid();
    REQUIRE(waits_for_signals(pid));
    CHECK(run({{"pkill", "-HUP", "-F", daemon.pidfile}}).status == 0);
    CHECK(daemon.logs("hup\n"));
    CHECK(run({{"pkill", "-F", daemon.pidfile}}).status == 0);
    CHECK(ended(pid) == 0);
    CHECK_FALSE(exists(daemon.pidfile));
}

TEST_CASE("Client: pkill -L -F believes the file of a living daemon only") {
    NEEDS_TOOL("pkill");
    const Daemon daemon;
    const Strings hup = {"pkill", "-HUP", "-L", "-F", daemon.pidfile};
    check_started(daemon, daemon.start());
    const pid_t pid = daemon.pid();
    REQUIRE(waits_for_signals(pid));
    CHECK(run(hup).status == 0);
    CHECK(daemon.logs("hup\n"));
    send_signal(pid, SIGKILL);
    CHECK(ended(pid) == 128 + SIGKILL);

    // The number has gone to a stranger: unlocked, so that nobody is signalled.
    Running stranger(Launch({"sleep", "300"}));
    daemon.dir.file("d.pid", std::to_string(stranger.pid()) + "\n");
    CHECK(run(hup).status != 0);
    CHECK_FALSE(stranger.finished());
}

// ---- flock and lslocks --------------------------------------------------------------------------

TEST_CASE("Client: flock -n is refused while the daemon lives, and not after it") {
    NEEDS_TOOL("flock");
    const Daemon daemon;
    const Strings exclusive = {"flock", "-n", "-E", "77", daemon.pidfile, "true"};
    const Strings shared = {"flock", "-s", "-n", "-E", "77", daemon.pidfile, "true"};
    check_started(daemon, daemon.start());
    const pid_t pid = daemon.pid();
    CHECK(run(exclusive).status == 77);
    CHECK(run(shared).status == 77);
    send_signal(pid, SIGKILL);
    CHECK(ended(pid) == 128 + SIGKILL);
    CHECK(run(exclusive).status == 0);

    check_started(daemon, daemon.start());  // and flock has left nothing that blocks
    CHECK(run(exclusive).status == 77);
    Running waiting(Launch({"flock", daemon.pidfile, "echo", "mine"}));
    REQUIRE(eventually([&] { return has_open(waiting.pid(), daemon.pidfile); }));
    check_ends(daemon);
    CHECK(waiting.finish().out == "mine\n");
}

TEST_CASE("Client: a start is refused while flock holds the file, and says who does not run") {
    NEEDS_TOOL("flock");
    const Daemon daemon;
    Running holder(Launch({"flock", daemon.pidfile, "sh", "-c", "echo held; exec sleep 300"}));
    REQUIRE(holder.says("held"));
    const std::size_t others = descendants().size();
    const Outcome refused = daemon.start();
    INFO(refused.text());
    CHECK(refused.status == 1);
    CHECK(lines(refused.err).size() == 1);
    CHECK(contains(refused.err, "subject: cannot lock '" + daemon.pidfile + "'"));
    CHECK(descendants().size() == others);
    CHECK_FALSE(exists(daemon.log));
}

TEST_CASE("Client: lslocks names the daemon's PID, and root the path") {
    NEEDS_TOOL("lslocks");
    SKIP_UNLESS(!generic(), "no record lock on the portable path; flock's is its launcher's");
    const Daemon daemon;
    check_started(daemon, daemon.start());
    const Outcome table = run({{"lslocks", "-n", "-r", "-u", "-o", "PID,TYPE,INODE,PATH"}});
    INFO(table.text());
    REQUIRE(table.status == 0);
    const std::string row =
        std::to_string(daemon.pid()) + " POSIX " + std::to_string(stat_of(daemon.pidfile).st_ino);
    CHECK(contains("\n" + table.out, "\n" + row + " "));
    if (is_root()) CHECK(contains("\n" + table.out, "\n" + row + " " + daemon.pidfile + "\n"));
}

// ---- logrotate ----------------------------------------------------------------------------------

namespace {

// A daemon that counts, and a logrotate with a configuration and a state of its own.
struct Rotation {
    explicit Rotation(const std::string& directives) {
        const std::string text =
            replaced(replaced(directives, "PIDFILE", pidfile), "COUNTER", program("counter"));
        dir.file("rotate.conf", log + " {\nrotate 9\n" + text + "\n}\n");
    }
    Outcome verb(const std::string& word) const {
        return run({{program("counter"), word, "--pidfile", pidfile, "--stdout", log}});
    }
    Outcome rotate() const {
        return run({{where("logrotate"), "-f", "-s", dir / "state", dir / "rotate.conf"}});
    }
    pid_t pid() const { return static_cast<pid_t>(to_long(slurp(pidfile))); }
    bool grows(off_t size = 0) const {
        return eventually([&] { return stat_of(log).st_size > size; });
    }
    // Line after line from the oldest piece to the newest, without a gap.
    void check_complete(int pieces) const {
        std::string all;
        for (int n = pieces; n > 0; --n) all += slurp(log + "." + std::to_string(n));
        long number = 0;
        std::string expected = "line 1", found;
        for (const std::string& line : lines(all + slurp(log))) {
            found = line;
            if (line != expected) break;
            expected = "line " + std::to_string(++number + 1);
        }
        CHECK(found == "end " + std::to_string(number));
    }
    Scratch dir;
    std::string pidfile = dir / "c.pid", log = dir / "c.log";
};

// Renamed by logrotate, re-opened by the daemon, again and again; then all the lines are there.
void check_rotation(const std::string& directives) {
    const Rotation rotation(directives);
    REQUIRE(rotation.verb("start").status == 0);
    const pid_t pid = rotation.pid();
    constexpr int rounds = 3;
    for (int round = 0; round < rounds; ++round) {
        REQUIRE(rotation.grows(100));
        const Outcome said = rotation.rotate();
        INFO(said.text());
        REQUIRE(said.status == 0);
        REQUIRE(rotation.grows());  // the new file
    }
    CHECK(rotation.verb("stop").status == 0);
    CHECK(ended(pid) == 0);
    CHECK(exists(rotation.log + "." + std::to_string(rounds)));
    rotation.check_complete(rounds);
}

}  // namespace

TEST_CASE("Client: logrotate with `reload` as its postrotate: the new file, and no line lost") {
    NEEDS_TOOL("logrotate");
    check_rotation("nocreate\npostrotate\nCOUNTER reload --pidfile PIDFILE\nendscript");
}

TEST_CASE("Client: logrotate that creates the file and sends HUP to the PID file's number") {
    NEEDS_TOOL("logrotate");
    check_rotation("create 0640\npostrotate\nkill -HUP $(cat PIDFILE)\nendscript");
}

TEST_CASE("Client: logrotate with copytruncate: the daemon appends, so that the file has no hole") {
    NEEDS_TOOL("logrotate");
    const Rotation rotation("copytruncate");
    REQUIRE(rotation.verb("start").status == 0);
    REQUIRE(rotation.grows(1000));
    REQUIRE(rotation.rotate().status == 0);
    REQUIRE(rotation.grows());
    CHECK(slurp(rotation.log).find('\0') == std::string::npos);
    CHECK(contains(slurp(rotation.log + ".1"), "line 1\nline 2\n"));
    CHECK(rotation.verb("stop").status == 0);
}

TEST_CASE("Client: logrotate takes examples/systemd/ticker.logrotate") {
    NEEDS_TOOL("logrotate");
    NEEDS_CHECKOUT();
    const Scratch dir;
    const std::string pidfile = dir / "t.pid", log = dir / "t.log";
    const Strings ticker = {"--pidfile", pidfile, "--log", log};
    std::string text =
        replaced(slurp("examples/systemd/ticker.logrotate"), "/var/log/ticker.log", log);
    text = replaced(text, "/usr/local/bin/ticker reload",
                    program("ticker") + " reload --pidfile " + pidfile);
    dir.file("rotate.conf", text);
    REQUIRE(run(Strings{program("ticker"), "start"} + ticker).status == 0);
    REQUIRE(eventually([&] { return contains(slurp(log), "tick 1\n"); }));
    const Outcome said =
        run({{where("logrotate"), "-f", "-s", dir / "state", dir / "rotate.conf"}});
    INFO(said.text());
    CHECK(said.status == 0);
    CHECK(contains(slurp(log + ".1"), "tick 1\n"));
    CHECK(eventually([&] { return contains(slurp(log), "tick "); }));
    CHECK_FALSE(contains(slurp(log), "tick 1\n"));
    CHECK(run(Strings{program("ticker"), "stop"} + ticker).status == 0);
}

// ---- cron ---------------------------------------------------------------------------------------

namespace {

// What cron gives a job: four variables, a pipe without text, and pipes that it reads to their end.
Launch as_cron(const std::string& command) {
    Launch launch({"/bin/sh", "-c", command});
    launch.empty_environment = true;
    launch.environment = {
        {"SHELL", "/bin/sh"}, {"PATH", "/usr/bin:/bin"}, {"HOME", "/"}, {"LOGNAME", "root"}};
    launch.before_exec = [] {
        int ends[2];
        if (pipe(ends) != 0 || dup2(ends[0], 0) != 0) _exit(125);
        close(ends[0]);
        close(ends[1]);
        setsid();
    };
    return launch;
}

}  // namespace

TEST_CASE("Client: cron's environment: start detaches and leaves nothing that cron waits for") {
    const Daemon daemon;
    check_started(daemon, run(as_cron(join(daemon.words("start")))));
    const Outcome again = run(as_cron(join(daemon.words("start"))));
    INFO(again.text());
    CHECK(again.status == 1);
    CHECK(again.end_of_file);
    CHECK(lines(again.err).size() == 1);  // this is what cron sends by mail
    // As in examples/systemd/ticker.crontab: nothing to do, nothing to say.
    const Outcome asked = run(
        as_cron(join(daemon.words("status")) + " >/dev/null || " + join(daemon.words("start"))));
    CHECK(asked.status == 0);
    CHECK(asked.out + asked.err == "");
    check_ends(daemon);
}

TEST_CASE("Client: a real cron, confined: its @reboot job starts a daemon and is over") {
    NEEDS_TOOL("cron");
    NEEDS_MOUNTS();
    SKIP_UNLESS(exists("/etc/crontab") && exists("/etc/cron.d") && exists("/var/spool/cron"),
                "not the cron that reads /etc/crontab and /etc/cron.d");
    const Daemon daemon;
    const std::string open = daemon.dir / "open.pid", status = daemon.dir / "status";
    const std::string crontab = daemon.dir.file(
        "crontab", "MAILTO=\"\"\n@reboot root " + join(daemon.words("start")) + " >" +
                       (daemon.dir / "said") + " 2>&1; echo $? >" + status + "\n@reboot root " +
                       program("subject") + " start --pidfile " + open +
                       "\n@reboot root echo yes >" + (daemon.dir / "probe") + "\n");
    Running cron(
        in_own_mounts("mount -t tmpfs none /run\n"
                      "mount -t tmpfs none /etc/cron.d\n"
                      "mount -t tmpfs none /var/spool/cron\n"
                      "mkdir /var/spool/cron/crontabs\n"
                      "mount --bind \"$1\" /etc/crontab\n"
                      "exec \"$2\" -f -L 0\n",
                      {crontab, where("cron")}));
    const bool works = eventually(
        [&] { return slurp(daemon.dir / "probe") == "yes\n" || cron.finished(); }, Millis(15000));
    SKIP_UNLESS(works && !cron.finished(), "cron runs no job in a namespace here: " + cron.err());

    REQUIRE(eventually([&] { return contains(slurp(status), "\n"); }));
    CHECK(slurp(status) == "0\n");
    CHECK(lines(slurp(daemon.dir / "said")).size() == 1);
    REQUIRE(daemon.pid() > 1);
    // The second job's output is cron's own. Whoever of cron's waited for the jobs is gone.
    REQUIRE(eventually([&] { return to_long(slurp(open)) > 1; }));
    CHECK(eventually([&] { return descendants().size() == 3; }));
    CHECK(alive(daemon.pid()));
    CHECK(facts(daemon.pid()).parent != cron.pid());
    CHECK(alive(static_cast<pid_t>(to_long(slurp(open)))));

    cron.signal(SIGTERM);
    CHECK_FALSE(cron.finish().timed_out);
    CHECK(alive(daemon.pid()));
    check_ends(daemon);
}

// ---- inetd --------------------------------------------------------------------------------------

namespace {

// An inetd of the test's own. Its PID file lands in a /run of its own.
struct Inetd {
    explicit Inetd(const Strings& command) : port(loopback::Port().release()) {
        const std::string line = "127.0.0.1:" + std::to_string(port) + " stream tcp nowait root " +
                                 command[0] + " " + join(command) + "\n";
        begin(line);
    }
    Inetd(int at, const std::string& line) : port(at) { begin(line); }
    void begin(const std::string& line) {
        const std::string conf = dir.file("inetd.conf", line);
        running.reset(new Running(in_own_mounts("mount -t tmpfs none /run\nexec \"$1\" -i \"$2\"\n",
                                                {where("inetd"), conf})));
    }
    Scratch dir;
    int port;
    std::unique_ptr<Running> running;
};

}  // namespace

TEST_CASE("Client: inetd: the foreground, the client hears the program alone, no PID file") {
    NEEDS_TOOL("inetd");
    NEEDS_MOUNTS();
    const Victim daemon;
    const Inetd inetd({program("victim"), "pidfile=" + daemon.pidfile, "stdout=" + daemon.log,
                       "stderr=" + daemon.log, "open", "say=hello", "role", "wait"});
    // Each connection is a process; a PID file would refuse the second.
    const Descriptor first = connected(inetd.port), second = connected(inetd.port);
    REQUIRE(first.get() >= 0);
    REQUIRE(second.get() >= 0);
    for (const Descriptor* client : {&first, &second}) {
        const std::string text = heard(*client, "self=");
        INFO("the client heard: ", text);
        CHECK(text.compare(0, 6, "hello\n") == 0);
        CHECK(lines(text).size() == 2);
        CHECK(contains(text, "role=foreground"));
    }
    CHECK_FALSE(exists(daemon.pidfile));
    CHECK_FALSE(exists(daemon.log));
    CHECK(descendants().size() == 3);  // nobody has detached: inetd and its two
}

TEST_CASE("Client: inetd: what fails is not told to the client") {
    NEEDS_TOOL("inetd");
    NEEDS_MOUNTS();
    const Scratch dir;
    const Strings control = {program("subject"), "start", "--pidfile", dir / "d.pid"};
    for (const Strings& command :
         {Strings{program("victim"), "chdir=/no/such/place", "open", "say=never", "wait"},
          Strings{program("victim"), "user=no-such-user", "open", "say=never", "wait"},
          control + Strings{"--chdir", "/no/such/place"}, control + Strings{"--fail-init", "nope"},
          control + Strings{"--umask", "7777"}}) {
        const Inetd inetd(command);
        const Descriptor client = connected(inetd.port);
        REQUIRE(client.get() >= 0);
        INFO(join(command));
        CHECK(heard(client, "") == "");  // up to the end of the connection
    }
    CHECK(dir.names().empty());
}

TEST_CASE("Client: inetd takes the line of examples/systemd/inetd.conf") {
    NEEDS_TOOL("inetd");
    NEEDS_MOUNTS();
    NEEDS_CHECKOUT();
    const Scratch dir;  // where nobody can read it, wherever it was built
    REQUIRE(run({{"cp", program("ticker"), dir / "ticker"}}).status == 0);
    const int port = loopback::Port().release();
    std::string conf = replaced(slurp("examples/systemd/inetd.conf"), "\n7007 ",
                                "\n127.0.0.1:" + std::to_string(port) + " ");
    conf = replaced(conf, "/usr/local/bin/ticker", dir / "ticker");
    const Inetd inetd(port, conf);
    const Descriptor first = connected(inetd.port);
    REQUIRE(first.get() >= 0);
    std::string text = heard(first, "tick 2\n");
    INFO("the client heard: ", text);
    CHECK(lines(text).size() == 2);
    CHECK(contains(text, " tick 1\n"));
    const Descriptor second = connected(inetd.port);  // while the first one is there
    REQUIRE(second.get() >= 0);
    text = heard(second, "tick 1\n");
    CHECK(lines(text).size() == 1);
    CHECK(contains(text, " tick 1\n"));
    CHECK_FALSE(exists("/proc/" + std::to_string(inetd.running->pid()) + "/root/run/none"));
}

// ---- ssh ----------------------------------------------------------------------------------------

namespace {

// An sshd of the test's own on loopback: own keys, own configuration, own /run.
class Ssh {
public:
    Ssh() : port_(loopback::Port().release()) {
        for (const char* name : {"host", "user"})
            run({{"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", dir / name}});
        dir.file("authorized", slurp(dir / "user.pub"), 0600);
        const std::string conf = dir.file(
            "sshd_config", "Port " + std::to_string(port_) + "\nListenAddress 127.0.0.1\nHostKey " +
                               (dir / "host") + "\nAuthorizedKeysFile " + (dir / "authorized") +
                               "\nStrictModes no\nPermitRootLogin yes\nUsePAM no\nPidFile none\n"
                               "PasswordAuthentication no\nKbdInteractiveAuthentication no\n");
        sshd_.reset(
            new Running(in_own_mounts("mount -t tmpfs none /run\nmkdir -m 755 /run/sshd\n"
                                      "exec \"$1\" -D -e -f \"$2\"\n",
                                      {where("sshd"), conf})));
    }
    Strings words(const std::string& command, const Strings& more = {}) const {
        const std::string options =
            "ssh -F none -l root -p " + std::to_string(port_) + " -i " + (dir / "user") +
            " -o BatchMode=yes -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o LogLevel=ERROR"
            " -o UserKnownHostsFile=" +
            (dir / "known");
        std::istringstream in(options);
        Strings all;
        for (std::string word; in >> word;) all.push_back(word);
        return all + more + Strings{"127.0.0.1", command};
    }
    Outcome does(const std::string& command, const Strings& more = {}) const {
        return run(words(command, more));
    }
    bool works() {
        return eventually([&] { return does("exit 43").status == 43 || sshd_->finished(); },
                          Millis(15000)) &&
               !sshd_->finished();
    }
    std::string why() { return "no login by ssh on loopback here: " + sshd_->err(); }
    Scratch dir;

private:
    int port_;
    std::unique_ptr<Running> sshd_;
};

}  // namespace

#define NEEDS_SSH()           \
    NEEDS_TOOL("sshd");       \
    NEEDS_TOOL("ssh");        \
    NEEDS_TOOL("ssh-keygen"); \
    NEEDS_MOUNTS();           \
    Ssh ssh;                  \
    SKIP_UNLESS(ssh.works(), ssh.why())

TEST_CASE("Client: `ssh host start` returns at once, with the truth, and the daemon stays") {
    NEEDS_SSH();
    const Daemon daemon;
    const Outcome launcher = ssh.does(join(daemon.words("start")));
    INFO(launcher.text());
    check_started(daemon, launcher);  // S9: end of file, too
    CHECK(launcher.took < Millis(10000));
    CHECK(facts(daemon.pid()).session != launcher.pid);
    CHECK(ssh.does(join(daemon.words("status"))).status == 0);
    CHECK(ssh.does(join(daemon.words("reload"))).status == 0);
    CHECK(daemon.logs("hup\n"));
    const Outcome again = ssh.does(join(daemon.words("start")));
    CHECK(again.status == 1);
    CHECK(contains(again.err, "already running as process " + std::to_string(daemon.pid())));
    const pid_t pid = daemon.pid();
    CHECK(ssh.does(join(daemon.words("stop"))).status == 0);
    CHECK(ended(pid) == 0);
    CHECK(ssh.does(join(daemon.words("status"))).status == 3);
}

TEST_CASE("Client: `ssh host start` of what fails: its status and its line come back") {
    NEEDS_SSH();
    const Daemon daemon;
    const Outcome failed = ssh.does(join(daemon.words("start", {"--fail-init", "nope"})));
    INFO(failed.text());
    CHECK(failed.status == 1);
    CHECK(contains(failed.err, "nope"));
    CHECK(lines(failed.err).size() == 1);
    CHECK(failed.end_of_file);
    CHECK(ssh.does(join(daemon.words("start", {"--exit-init", "7"}))).status == 7);
    const Outcome late = ssh.does(
        join(daemon.words("start", {"--ready-delay-ms", "60000", "--ready-timeout", "0.5"})));
    CHECK(late.status == 124);
    CHECK(late.end_of_file);
    CHECK_FALSE(exists(daemon.pidfile));
}

TEST_CASE("Client: `ssh -tt host start`: the terminal goes, the daemon stays") {
    NEEDS_TERMINAL();
    NEEDS_SSH();
    const Daemon daemon;
    const Outcome launcher = ssh.does(join(daemon.words("start")), {"-tt"});
    INFO(launcher.text());
    CHECK(launcher.status == 0);
    CHECK_FALSE(launcher.timed_out);
    CHECK(launcher.end_of_file);
    const pid_t pid = daemon.pid();
    REQUIRE(pid > 1);
    CHECK(facts(pid).terminal == 0);
    // The session's shell is gone with its terminal; only sshd and the daemon are left.
    CHECK(eventually([] { return descendants().size() == 2; }));
    CHECK(alive(pid));
    CHECK(ssh.does(join(daemon.words("status"))).status == 0);
    check_ends(daemon);
}

// ---- systemd ------------------------------------------------------------------------------------

namespace {

// On `port` of the machine's own loopback: what comes back for `text`.
std::string echoed(const Machine& machine, int port, const std::string& text) {
    const Descriptor network =
        open_file("/proc/" + std::to_string(machine.pid()) + "/ns/net", O_RDONLY);
    Launch launch({"cat"});
    launch.before_exec = [&] {
        if (setns(network.get(), CLONE_NEWNET) != 0) _exit(121);
        const int client = ::socket(AF_INET, SOCK_STREAM, 0);
        const sockaddr_in address = loopback::address(port);
        if (connect(client, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
            write(client, text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
            shutdown(client, SHUT_WR) != 0 || dup2(client, 0) != 0)
            _exit(120);
    };
    return run(launch).out;
}

}  // namespace

TEST_CASE("Client: systemd, Type=forking with PIDFile=: examples/systemd/ticker-forking.service") {
    NEEDS_MACHINE(machine, "ticker");
    const std::string unit = "ticker-forking.service", pidfile = "/run/ticker.pid";
    const std::string log = machine.file("/var/log/ticker.log");
    machine.example(unit);
    const Outcome start = machine.ctl({"start", unit});
    INFO(start.text());
    REQUIRE(start.status == 0);
    const pid_t pid = machine.check_runs(unit, pidfile);
    CHECK(facts(pid).parent == machine.pid());
    CHECK(eventually([&] { return contains(slurp(log), "tick 1\n"); }));

    REQUIRE(rename(log.c_str(), (log + ".1").c_str()) == 0);
    CHECK(machine.ctl({"reload", unit}).status == 0);
    CHECK(eventually([&] { return contains(slurp(log), " tick "); }));
    CHECK(machine.check_runs(unit, pidfile) == pid);

    machine.check_comes_back(unit, pidfile);
    machine.check_stops(unit, pidfile);
}

TEST_CASE("Client: systemd, Type=forking: a start that fails is told, and nothing stays") {
    NEEDS_MACHINE(machine, "subject");
    machine.service(
        "Type=forking\nPIDFile=/run/s.pid\nExecStart=/usr/local/bin/subject start "
        "--pidfile /run/s.pid --stdout /run/log --fail-init nope\n");
    CHECK(machine.ctl({"start", "one.service"}).status == 1);
    CHECK(machine.property("one.service", "ActiveState") == "failed");
    CHECK(machine.property("one.service", "Result") == "exit-code");
    CHECK_FALSE(exists(machine.file("/run/s.pid")));
    CHECK(eventually([] { return descendants().size() == 2; }));  // unshare and process 1
}

TEST_CASE("Client: systemd, Type=notify: examples/systemd/echo_server-notify.service") {
    NEEDS_MACHINE(machine, "echo_server");
    const std::string unit = "echo_server-notify.service", pidfile = "/run/echo_server.pid";
    machine.example(unit);
    const Outcome start = machine.ctl({"start", unit});
    INFO(start.text());
    REQUIRE(start.status == 0);
    CHECK(echoed(machine, 7, "hello\n") == "hello\n");  // at once: it was ready
    const pid_t pid = machine.check_runs(unit, pidfile);
    CHECK(facts(pid).uids == std::vector<long>{nobody, nobody, nobody, nobody});
    CHECK(machine.ctl({"reload", unit}).status == 0);
    CHECK(machine.check_runs(unit, pidfile) == pid);
    machine.check_comes_back(unit, pidfile);
    CHECK(echoed(machine, 7, "again\n") == "again\n");
    machine.check_stops(unit, pidfile, false);
}

TEST_CASE("Client: systemd, Type=notify: `systemctl start` returns when it is ready, not before") {
    NEEDS_MACHINE(machine, "subject");
    const std::string subject = "/usr/local/bin/subject run --pidfile /run/s.pid ";
    machine.service("Type=notify\nExecStart=" + subject + "--ready-delay-ms 1200\n");
    const Outcome start = machine.ctl({"start", "one.service"});
    CHECK(start.status == 0);
    CHECK(start.took >= Millis(1200));
    machine.check_runs("one.service", "/run/s.pid");
    machine.check_stops("one.service", "/run/s.pid");

    machine.service("Type=notify\nExecStart=" + subject + "--fail-init nope\n");
    CHECK(machine.ctl({"daemon-reload"}).status == 0);
    const Outcome failed = machine.ctl({"start", "one.service"});
    CHECK(failed.status == 1);
    CHECK(machine.property("one.service", "Result") == "exit-code");
    CHECK(machine.property("one.service", "ExecMainStatus") == "1");
    CHECK_FALSE(exists(machine.file("/run/s.pid")));
}

TEST_CASE("Client: systemd, Type=notify that detaches: MAINPID is the daemon") {
    NEEDS_MACHINE(machine, "victim");
    machine.service(
        "Type=notify\nExecStart=/usr/local/bin/victim pidfile=/run/v.pid detach=yes "
        "stdout=/run/log open wait-term\n");
    // Whose parent the launcher still is when it tells MAINPID, is no child of the manager's: that
    // would not wait for its end, and kill it at once. Who is faster decides, so it is done often.
    for (int round = 0; round < 8; ++round) {
        REQUIRE(machine.ctl({"start", "one.service"}).status == 0);
        const pid_t pid = machine.check_runs("one.service", "/run/v.pid");
        CHECK(facts(pid).parent == machine.pid());
        machine.check_stops("one.service", "/run/v.pid");
        REQUIRE_FALSE(contains(machine.console(), "not our child"));
    }
}

TEST_CASE("Client: systemd's watchdog ends a program that hangs, and not one that waits") {
    NEEDS_MACHINE(machine, "subject");
    machine.service(
        "Type=notify\nWatchdogSec=1\nRestart=on-watchdog\nTimeoutAbortSec=1\n"
        "ExecStart=/usr/local/bin/subject run --pidfile /run/s.pid\n");
    REQUIRE(machine.ctl({"start", "one.service"}).status == 0);
    const std::string first = machine.property("one.service", "WatchdogTimestampMonotonic");
    const pid_t pid = machine.check_runs("one.service", "/run/s.pid");
    // Fed again and again: the time of the last feeding moves on, over more than its second.
    CHECK(eventually([&] {
        const std::string now = machine.property("one.service", "WatchdogTimestampMonotonic");
        return std::atoll(now.c_str()) > std::atoll(first.c_str()) + 2500000;
    }));
    CHECK(alive(pid));
    CHECK(machine.property("one.service", "NRestarts") == "0");
    send_signal(pid, SIGSTOP);
    CHECK(machine.comes_to("one.service", "NRestarts", "1"));
    REQUIRE(machine.comes_to("one.service", "ActiveState", "active"));
    machine.check_runs("one.service", "/run/s.pid");
    machine.check_stops("one.service", "/run/s.pid");
}

TEST_CASE("Client: systemd, Type=exec: examples/systemd/ticker-exec.service") {
    NEEDS_MACHINE(machine, "ticker");
    const std::string unit = "ticker-exec.service", pidfile = "/run/ticker.pid";
    machine.example(unit);
    REQUIRE(machine.ctl({"start", unit}).status == 0);
    REQUIRE(eventually([&] { return exists(machine.file(pidfile)); }));
    const pid_t pid = machine.check_runs(unit, pidfile);
    REQUIRE(eventually([&] { return has(facts(pid).caught, SIGHUP); }));
    CHECK(machine.ctl({"reload", unit}).status == 0);
    machine.check_comes_back(unit, pidfile);
    machine.check_stops(unit, pidfile);
}
