// Rules L1 to L4: logs, and who opens them.
#include "support/expect.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <cstdlib>

using namespace expect;

namespace {

void give(const std::string& path, uid_t uid, gid_t gid) {
    REQUIRE(lchown(path.c_str(), uid, gid) == 0);
}

void rename_away(const std::string& path) {
    REQUIRE(rename(path.c_str(), (path + ".1").c_str()) == 0);
}

}  // namespace

TEST_CASE("L1 a new log has mode 0640, whatever the umask; an existing one is appended to") {
    const Victim daemon;
    for (const mode_t mask : {mode_t(0), mode_t(0777)}) {
        Launch launch = daemon.launch({"umask=777", "open", "say=text", "wait"});
        launch.before_exec = [mask] { umask(mask); };
        check_started(daemon, run(launch));
        CHECK((stat_of(daemon.log).st_mode & 07777) == 0640);
        CHECK(daemon.logs("text\n"));
        check_ends(daemon, 128 + SIGTERM);
        REQUIRE(unlink(daemon.log.c_str()) == 0);
    }
    daemon.dir.file("d.log", "old\n", 0604);
    check_started(daemon, daemon.start({"open", "say=new", "wait"}));
    CHECK(eventually([&] { return slurp(daemon.log) == "old\nnew\n"; }));
    CHECK((stat_of(daemon.log).st_mode & 07777) == 0604);
}

TEST_CASE("L1 two writers of one log: append, nothing is overwritten") {
    const Victim daemon;
    check_started(daemon, daemon.start({"open", "say=one", daemon.gate(), "say=three", "wait"}));
    REQUIRE(daemon.logs("one\n"));
    const Descriptor other = open_file(daemon.log, O_WRONLY | O_APPEND);
    REQUIRE(write(other.get(), "two\n", 4) == 4);
    daemon.let_go();
    CHECK(daemon.logs("three\n"));
    CHECK(slurp(daemon.log) == "one\ntwo\nthree\n");
}

TEST_CASE("L1 root follows nobody's symlink, writes into no second link, opens no FIFO") {
    NEEDS_ROOT();
    const Daemon daemon;
    const std::string other = daemon.dir.file("precious", "precious\n");
    const auto refuse = [&](const char* what) {
        INFO(what);
        check_failed(daemon, daemon.start(), 1, {"'" + daemon.log + "'"});
        CHECK(slurp(other) == "precious\n");
        REQUIRE(unlink(daemon.log.c_str()) == 0);
    };
    REQUIRE(symlink(other.c_str(), daemon.log.c_str()) == 0);
    REQUIRE(lchown(daemon.log.c_str(), nobody, nobody) == 0);
    refuse("somebody else's symlink");
    REQUIRE(symlink((daemon.dir / "none").c_str(), daemon.log.c_str()) == 0);
    REQUIRE(lchown(daemon.log.c_str(), nobody, nobody) == 0);
    refuse("somebody else's dangling symlink");
    CHECK_FALSE(exists(daemon.dir / "none"));
    REQUIRE(link(other.c_str(), daemon.log.c_str()) == 0);
    refuse("a second link");
    REQUIRE(mkfifo(daemon.log.c_str(), 0600) == 0);
    refuse("a FIFO");
}

TEST_CASE("L1 root follows root's own symlink, also as the last name: a log on another disk") {
    NEEDS_ROOT();
    const Victim daemon;
    daemon.dir.directory("disk");
    const std::string there = daemon.dir.file("disk/there", "old\n"),
                      none = daemon.dir / "disk/none";
    REQUIRE(symlink(there.c_str(), daemon.log.c_str()) == 0);
    check_started(daemon, daemon.start({"open", "say=new", "wait"}));
    CHECK(eventually([&] { return slurp(there) == "old\nnew\n"; }));
    check_ends(daemon, 128 + SIGTERM);
    REQUIRE(unlink(daemon.log.c_str()) == 0);
    REQUIRE(symlink("disk/none", daemon.log.c_str()) == 0);  // made where it leads
    check_started(daemon, daemon.start({"open", "say=new", "wait"}));
    CHECK(eventually([&] { return slurp(none) == "new\n"; }));
    CHECK((stat_of(none).st_mode & 07777) == 0640);
    check_ends(daemon, 128 + SIGTERM);
    // What the link leads to is judged as if it had been named: a second link is a second link.
    REQUIRE(link(there.c_str(), (daemon.dir / "disk/again").c_str()) == 0);
    REQUIRE(unlink(daemon.log.c_str()) == 0);
    REQUIRE(symlink(there.c_str(), daemon.log.c_str()) == 0);
    check_failed(daemon, daemon.start({"open", "wait"}), 1,
                 {"'" + daemon.log + "'", "without hard links"});
    CHECK(slurp(there) == "old\nnew\n");
}

TEST_CASE("L1 with a drop, a log in the target's directory is opened as the target") {
    NEEDS_ROOT();
    const Daemon daemon;
    const std::string place = daemon.dir.directory("theirs", 0755);
    give(place, nobody, nobody);
    const std::string precious = daemon.dir.file("precious", "precious\n", 0600);
    Strings words = daemon.words("start", {"--user", "nobody", "--payload", "p"});
    words[5] = place + "/d.log";

    REQUIRE(symlink(precious.c_str(), words[5].c_str()) == 0);
    check_failed(daemon, run(words), 1, {"'" + words[5] + "'"});
    CHECK(slurp(precious) == "precious\n");
    REQUIRE(unlink(words[5].c_str()) == 0);

    // And a symlink planted there to a file that does not exist yet is none of root's making.
    REQUIRE(symlink((daemon.dir / "planted").c_str(), words[5].c_str()) == 0);
    check_failed(daemon, run(words), 1, {"'" + words[5] + "'"});
    CHECK_FALSE(exists(daemon.dir / "planted"));
    REQUIRE(unlink(words[5].c_str()) == 0);

    check_started(daemon, run(words));
    CHECK(stat_of(words[5]).st_uid == nobody);
    CHECK(slurp(words[5]) == "payload=p\n");
}

TEST_CASE("L1 in the target's directory root does not open what the target may not") {
    NEEDS_ROOT();
    const Daemon daemon;
    const std::string place = daemon.dir.directory("theirs", 0755);
    Strings words = daemon.words("start", {"--user", "nobody"});
    words[5] = daemon.dir.file("theirs/d.log", "root's own\n", 0600);
    give(place, nobody, nobody);
    check_failed(
        daemon, run(words), 1,
        {"'" + words[5] + "'",
         "Permission denied (opened as user 65534, for others can write to a directory on the "
         "way)"});
}

TEST_CASE("L1 a directory that the target made a symlink of is not root's alone") {
    NEEDS_ROOT();
    const Daemon daemon;
    const std::string place = daemon.dir.directory("theirs", 0755),
                      roots = daemon.dir.directory("roots");
    give(place, nobody, nobody);
    REQUIRE(symlink("../roots", (place + "/sub").c_str()) == 0);
    give(place + "/sub", nobody, nobody);
    Strings words = daemon.words("start", {"--user", "nobody"});
    words[5] = place + "/sub/d.log";
    check_failed(daemon, run(words), 1,
                 {"'" + words[5] + "'", "a symbolic link of another user leads there"});
    CHECK(Scratch::names(roots).empty());
    // Root's own symlink, as /var/run is one, is no reason to distrust.
    REQUIRE(symlink("roots", (daemon.dir / "link").c_str()) == 0);
    words[5] = daemon.dir / "link/d.log";
    check_started(daemon, run(words));
    CHECK(stat_of(roots + "/d.log").st_uid == nobody);
}

TEST_CASE("L1 with a drop, where others may write the log's directory, the target opens") {
    NEEDS_ROOT();
    const Daemon daemon;
    const std::string theirs = daemon.dir.file("theirs.log", "");
    const std::string secret = daemon.dir.file("secret", "root's own\n", 0600);
    give(theirs, nobody, nobody);
    daemon.dir.directory("open", 0777);
    daemon.dir.directory("open/sub", 0755);
    daemon.dir.directory("sticky", 01777);
    Strings words = daemon.words("start", {"--user", "nobody"});
    for (const char* name : {"open/d.log", "sticky/d.log"}) {
        INFO(name);
        words[5] = daemon.dir / name;
        REQUIRE(symlink(secret.c_str(), words[5].c_str()) == 0);
        check_failed(daemon, run(words), 1, {"'" + words[5] + "'", "Permission denied"});
        CHECK(slurp(secret) == "root's own\n");
        REQUIRE(unlink(words[5].c_str()) == 0);
        REQUIRE(symlink(theirs.c_str(), words[5].c_str()) == 0);
        check_started(daemon, run(words));
        send_signal(daemon.pid(), SIGTERM);
        gone(daemon.pid());
    }
    // Behind one in which anybody can replace the next directory there is nothing to trust.
    words[5] = daemon.dir / "open/sub/d.log";
    check_failed(daemon, run(words), 1,
                 {"'" + words[5] + "'", "other users may write to a directory of this path"});
    CHECK(Scratch::names(daemon.dir / "open/sub").empty());
}

TEST_CASE("L2 a log that the start created belongs to the target") {
    NEEDS_ROOT();
    const Daemon daemon;
    check_started(daemon, daemon.start({"--user", "daemon"}));
    CHECK(stat_of(daemon.log).st_uid == 1);
    CHECK(stat_of(daemon.log).st_gid == 1);
}

TEST_CASE("L2 an existing log keeps its owner") {
    NEEDS_ROOT();
    const Victim daemon;
    daemon.dir.file("d.log", "", 0644);
    check_started(daemon, daemon.start({"user=daemon", "open", "say=text", "wait"}));
    CHECK(daemon.logs("text"));
    CHECK(stat_of(daemon.log).st_uid == 0);
}

TEST_CASE("L2 two names of one file are opened once") {
    const Victim daemon;
    const std::string other_name = daemon.dir.path() + "/./d.log";
    REQUIRE(symlink(".", (daemon.dir / "here").c_str()) == 0);
    for (const std::string& second : {daemon.log, other_name, daemon.dir / "here/d.log"}) {
        INFO(second);
        Launch launch({program("victim"), "pidfile=" + daemon.pidfile, "core=1",
                       "stdout=" + daemon.log, "stderr=" + second, "open", "say=out", "say-err=err",
                       "wait"});
        check_started(daemon, run(launch));
        CHECK(daemon.logs("err\n"));
        const auto open = descriptors(daemon.pid());
        CHECK(open.at(1) == daemon.log);
        CHECK(open.at(2) == daemon.log);
        // One open file description: a position that only the other one has moved is the same.
        const std::string place = "/proc/" + std::to_string(daemon.pid()) + "/fdinfo/";
        CHECK(slurp(place + "1") == slurp(place + "2"));
        check_ends(daemon, 128 + SIGTERM);
        REQUIRE(unlink(daemon.log.c_str()) == 0);
    }
}

TEST_CASE("L3 a FIFO without a reader is an error, not a start that hangs") {
    const Daemon daemon;
    REQUIRE(mkfifo(daemon.log.c_str(), 0600) == 0);
    const Outcome launcher = daemon.start();
    check_failed(daemon, launcher, 1, {"'" + daemon.log + "'"});
    CHECK(launcher.took < patience() / 2);
}

TEST_CASE("L3 what is open as a log blocks as any other file: writers do not lose lines") {
    const Victim daemon;
    check_started(daemon, daemon.start({"core=1", "open", "wait"}));
    const std::string info = slurp("/proc/" + std::to_string(daemon.pid()) + "/fdinfo/1");
    INFO(info);
    const std::size_t at = info.find("flags:");
    REQUIRE(at != std::string::npos);
    CHECK((std::strtol(info.c_str() + at + 6, nullptr, 8) & O_NONBLOCK) == 0);
}

TEST_CASE("L3 a log that cannot be opened: no daemon, no PID file") {
    const Daemon daemon;
    Strings words = daemon.words("start");
    for (const std::string& bad :
         {daemon.dir.path() + "/no/such/d.log", daemon.dir.path(), std::string("/proc/d.log")}) {
        words[5] = bad;
        check_failed(daemon, run(words), 1, {"'" + bad + "'"});
    }
}

TEST_CASE("L4 SIGHUP re-opens the log by path after a rotation") {
    const Daemon daemon;
    check_started(daemon, daemon.start({"--stderr", daemon.log}));
    const pid_t pid = daemon.pid();
    for (int round = 1; round <= 3; ++round) {
        rename_away(daemon.log);
        send_signal(pid, SIGHUP);
        CHECK(daemon.logs("hup\n"));
        CHECK_FALSE(contains(slurp(daemon.log + ".1"), round == 1 ? "hup" : "hup\nhup"));
        CHECK((stat_of(daemon.log).st_mode & 07777) == 0640);
    }
    send_signal(pid, SIGUSR1);
    CHECK(daemon.logs("usr1\n"));
}

TEST_CASE("L4 before ready 2 stays the launcher's, re-opened or not") {
    const Victim daemon;
    const Outcome launcher = daemon.start(
        {"by-hand=1", "open", "reopen", "say-err=before ready", "ready", "say-err=after", "wait"});
    CHECK(launcher.status == 0);
    CHECK(launcher.err == "before ready\n");
    CHECK(daemon.logs("after"));
}

TEST_CASE("L4 a stream that cannot be re-opened stays, and the error says which") {
    const Victim daemon;
    check_started(daemon,
                  daemon.start({"core=1", "open", daemon.gate(), "reopen", "say=still", "wait"}));
    rename_away(daemon.log);
    REQUIRE(mkdir(daemon.log.c_str(), 0755) == 0);
    daemon.let_go();
    REQUIRE(eventually([&] { return contains(slurp(daemon.log + ".1"), "still"); }));
    const std::string old = slurp(daemon.log + ".1");
    INFO(old);
    CHECK(contains(old, "reopened=0 error=errno:21"));
    CHECK(contains(old, "'" + daemon.log + "'"));
    CHECK(descriptors(daemon.pid()).at(2) == daemon.log + ".1");
}

TEST_CASE("L4 in a jail the prefix is taken off, and the dropped identity opens") {
    NEEDS_ROOT();
    const Victim daemon;
    const std::string jail = daemon.dir.directory("jail"), place = daemon.dir.directory("jail/log");
    give(place, nobody, nobody);
    const std::string log = place + "/d.log";
    Strings words = {program("victim"),
                     "pidfile=" + daemon.pidfile,
                     "stdout=" + log,
                     "stderr=" + log,
                     "chroot=" + jail,
                     "user=nobody",
                     "open",
                     "say=before",
                     "await=/log/go",
                     "reopen",
                     "say=after",
                     "wait"};
    check_started(daemon, run(words));
    REQUIRE(eventually([&] { return contains(slurp(log), "before"); }));
    rename_away(log);
    daemon.dir.file("jail/log/go", "");
    CHECK(eventually([&] { return contains(slurp(log), "after"); }));
    CHECK(contains(slurp(log), "reopened=1"));
    CHECK(stat_of(log).st_uid == nobody);
}

TEST_CASE("L4 streams given as descriptors are not re-opened") {
    const Victim daemon;
    const Descriptor own = open_file(daemon.dir / "own.log", O_WRONLY | O_CREAT | O_APPEND);
    Launch launch({program("victim"), "pidfile=" + daemon.pidfile, "stdout=fd:7", "open",
                   daemon.gate(), "reopen", "say=after", "wait"});
    launch.before_exec = [&own] { place(own, 7); };
    check_started(daemon, run(launch));
    rename_away(daemon.dir / "own.log");
    daemon.let_go();
    CHECK(eventually([&] { return contains(slurp(daemon.dir / "own.log.1"), "after"); }));
    CHECK_FALSE(exists(daemon.dir / "own.log"));
}
