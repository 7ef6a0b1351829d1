// Rules E1 to E4, and bad input: one line that names step, object and cause, a status that is no
// success, no daemon, no PID file, nothing truncated, nobody signalled.
#include "support/expect.hpp"

#include <fcntl.h>
#include <sys/stat.h>

using namespace expect;

namespace {

// Runs in a mount namespace of its own, so that nothing of it reaches the machine; `script` finds
// the subject as $S and the directory as $D.
Outcome in_namespace(const Daemon& daemon, const std::string& script) {
    Launch launch({"unshare", "-m", "sh", "-c", script});
    launch.environment = {{"S", program("subject")}, {"D", daemon.dir.path()}};
    return run(launch);
}

std::string source_root() {
    const std::string here = __FILE__;
    const std::size_t at = here.rfind("tests/");
    return at == 0 || at == std::string::npos ? "." : here.substr(0, at);
}

}  // namespace

TEST_CASE("E1 the Error form does the work, the throwing form throws the same code and text") {
    const Victim daemon;
    const Outcome kept = daemon.start({"stdout=/no/such/place/log", "try"});
    const Outcome thrown = daemon.start({"stdout=/no/such/place/log", "catch", "start"});
    INFO(kept.text(), thrown.text());
    const std::string text = kept.out.substr(kept.out.find("text=") + 5);
    CHECK(contains(kept.out, "error=errno:2 "));
    CHECK(contains(thrown.out, "caught=errno:2 "));
    CHECK(contains(thrown.out, "what=" + text));
    CHECK(contains(text, "'/no/such/place/log'"));
    CHECK(contains(text, "No such file or directory"));
    CHECK(kept.err + thrown.err == "");  // E3: a library does not print
}

TEST_CASE("E2 without exceptions and RTTI: it builds, works, and a throwing form prints and ends") {
    const Daemon daemon;
    const char* const given = std::getenv("CXX");
    const std::string compiler = given && *given ? given : "c++";
    SKIP_UNLESS(run({{"sh", "-c", compiler + " --version"}}).status == 0, "no compiler");
    const std::string made = daemon.dir / "victim";
    Launch build({"sh", "-c",
                  compiler +
                      " -std=c++11 -fno-exceptions -fno-rtti -pthread -I. "
                      "tests/support/victim.cpp -o " +
                      made});
    build.directory = source_root();
    build.limit = std::chrono::seconds(120);
    const Outcome built = run(build);
    INFO(built.text());
    REQUIRE(built.status == 0);
    const Outcome launcher =
        run({{made, "pidfile=" + daemon.pidfile, "stdout=" + daemon.log, "open", "wait-term"}});
    check_started(daemon, launcher);
    check_ends(daemon);
    const Outcome refused = run({{made, "pidfile=/no/such/place/d.pid", "start", "wait"}});
    INFO(refused.text());
    CHECK(refused.status == 1);
    CHECK(lines(refused.err).size() == 1);
    CHECK(contains(refused.err, "'/no/such/place/d.pid'"));
    CHECK(run({{made, "send-or-throw=" + daemon.pidfile}}).status == 1);
}

TEST_CASE("E4 named conditions are told apart, system errors keep their number") {
    const Victim daemon;
    const auto code = [&](const Strings& words) {
        return value_in(daemon.start(words + Strings{"try", "end-launcher", "wait"}).out, "error");
    };
    CHECK(code({"pidfile=/no/such/place/d.pid"}) == "errno:2");
    CHECK(code({"user=no-such-user-here"}) == "unknown_account");
    CHECK(code({"group=no-such-group-here"}) == "unknown_account");
    CHECK(code({"umask=1777"}) == "invalid_option");
    CHECK(code({"stdout="}) == "invalid_option");
    CHECK(code({"user=number:-5"}) == "invalid_option");
    CHECK(code({"preserve=777"}) == "errno:9");
    CHECK(code({"map=11:ignore"}) == "unknown_signal");
    CHECK(code({"map=9:ignore"}) == "unknown_signal");
    CHECK(code({"map=4711:ignore"}) == "unknown_signal");
    CHECK(code({"ready-timeout=200", "by-hand=1"}) == "timed_out");
    REQUIRE(code({}) == "none");
    CHECK(code({}) == "already_running");
}

TEST_CASE("E4 an option that this platform cannot honour is an error that names it") {
    const Victim daemon;
    const Outcome launcher = daemon.start({"replace-arguments=1", "open", "wait"});
    check_failed(daemon, launcher, 1, {"arguments"});
    CHECK(contains(daemon.start({"replace-arguments=1", "try"}).out, "error=unsupported"));
}

// ---- Bad input ----------------------------------------------------------------------------------

TEST_CASE("Bad input: a missing or unwritable directory for the PID file") {
    const Daemon daemon;
    Strings words = daemon.words("start");
    words[3] = daemon.dir / "none/d.pid";
    check_refused(run(words), {"'" + words[3] + "'", "no directory '" + (daemon.dir / "none'")});
    words[3] = daemon.dir.file("file", "") + "/d.pid";
    check_refused(run(words), {"'" + words[3] + "'", "Not a directory"});
    words[3] = daemon.dir.directory("closed", 0555) + "/d.pid";
    Launch launch(words);
    if (is_root()) launch.before_exec = become_nobody;
    check_refused(run(launch), {"'" + words[3] + "'", "Permission denied"});
    CHECK_FALSE(exists(words[3]));
    CHECK_FALSE(exists(daemon.log));
}

TEST_CASE("Bad input: a directory to go to that is missing, closed, or none") {
    const Daemon daemon;
    check_failed(daemon, daemon.start({"--chdir", "/no/such/place"}), 1,
                 {"'/no/such/place'", "No such file or directory"});
    const std::string file = daemon.dir.file("file", "");
    check_failed(daemon, daemon.start({"--chdir", file}), 1, {"'" + file + "'", "Not a directory"});
    const std::string closed = daemon.dir.directory("closed", 0);
    Strings words = {program("victim"), "chdir=" + closed, "open", "wait"};
    Launch launch(words);
    if (is_root()) launch.before_exec = become_nobody;
    check_refused(run(launch), {"'" + closed + "'", "Permission denied"}, "victim");
}

TEST_CASE("Bad input: a jail that is missing or none") {
    NEEDS_ROOT();
    const Daemon daemon;
    check_failed(daemon, daemon.start({"--chroot", "/no/such/place"}), 1,
                 {"'/no/such/place'", "No such file or directory"});
    const std::string jail = daemon.dir.directory("jail");
    check_failed(daemon, daemon.start({"--chroot", jail, "--chdir", "/not/inside"}), 1,
                 {"'/not/inside'", "No such file or directory"});
}

TEST_CASE("Bad input: a full disk") {
    NEEDS_MOUNTS();
    const Daemon daemon;
    daemon.dir.directory("full");
    const Outcome said = in_namespace(
        daemon,
        "mount -t tmpfs -o size=4k,nr_inodes=20 none $D/full && head -c 4096 /dev/zero > "
        "$D/full/zeros; $S start --pidfile $D/full/d.pid; echo status=$?; ls $D/full");
    INFO(said.text());
    CHECK(contains(said.out, "status=1\nzeros\n"));
    CHECK(lines(said.err).size() == 1);
    CHECK(contains(said.err, "d.pid': No space left on device"));
    CHECK(descendants().empty());
    const Outcome inodes =
        in_namespace(daemon,
                     "mount -t tmpfs -o nr_inodes=2 none $D/full && touch $D/full/last; "
                     "$S start --pidfile $D/full/d.pid; echo status=$?; ls $D/full");
    INFO(inodes.text());
    CHECK(contains(inodes.out, "status=1\nlast\n"));
    CHECK(lines(inodes.err).size() == 1);
    CHECK(contains(inodes.err, "d.pid': No space left on device"));
    CHECK(descendants().empty());
}

TEST_CASE("Bad input: a read-only mount") {
    NEEDS_MOUNTS();
    const Daemon daemon;
    daemon.dir.directory("fixed");
    daemon.dir.file("fixed/old.pid", "4711\n");
    daemon.dir.file("fixed/old.log", "old\n");
    const Outcome said =
        in_namespace(daemon,
                     "mount --bind $D/fixed $D/fixed && mount -o remount,bind,ro $D/fixed; "
                     "$S start --pidfile $D/fixed/d.pid; echo $?; "
                     "$S start --pidfile $D/fixed/old.pid; echo $?; "
                     "$S start --pidfile $D/d.pid --stdout $D/fixed/old.log; echo $?");
    INFO(said.text());
    CHECK(said.out == "1\n1\n1\n");
    CHECK(lines(said.err).size() == 3);
    CHECK(count(said.err, "Read-only file system") == 3);
    CHECK(slurp(daemon.dir / "fixed/old.pid") == "4711\n");
    CHECK(slurp(daemon.dir / "fixed/old.log") == "old\n");
    CHECK_FALSE(exists(daemon.pidfile));
    CHECK(descendants().empty());
}

TEST_CASE("Bad input: who is not root cannot become another, nor leave for a jail") {
    const Victim daemon;
    const std::string place = daemon.dir.directory("open", 0777);
    for (const std::string& option : {std::string("user=daemon"), std::string("group=daemon"),
                                      std::string("chroot=") + place}) {
        INFO(option);
        Launch launch({program("victim"), "pidfile=" + place + "/d.pid", "stdout=" + place + "/log",
                       option, "open", "wait"});
        if (is_root()) launch.before_exec = become_nobody;
        const Outcome launcher = run(launch);
        check_refused(launcher, {}, "victim");
        const std::string object = option.substr(option.find('=') + 1);
        CHECK((contains(launcher.err, "'" + object + "'") ||
               contains(launcher.err, option.substr(0, 4))));
        CHECK_FALSE(exists(place + "/d.pid"));
    }
}

TEST_CASE("Bad input: an impossible umask, mode or limit") {
    const Daemon daemon;
    for (const char* umask_text : {"1777", "100000", "-5"})
        check_failed(daemon, daemon.start({"--umask", umask_text}), 1, {"umask"});
    const Victim program_itself;
    for (const char* mode : {"mode=77777", "mode=666", "mode=200"})
        check_failed(program_itself, program_itself.start({mode, "open", "wait"}), 1, {"mode"});
    CHECK(daemon.dir.names().empty());
}

TEST_CASE("Bad input: a path with a zero byte; a number that has neither a group nor an entry") {
    const Victim daemon;
    check_failed(daemon, daemon.start({"set-path-nul", "open", "wait"}), 1, {"zero byte"});
    check_failed(daemon, daemon.start({"user=number:61234", "open", "wait"}), 1, {"61234", "gid"});
}

TEST_CASE("Bad input: a log that is the PID file") {
    const Victim daemon;
    check_failed(daemon, daemon.start({"stdout=" + daemon.pidfile, "open", "wait"}), 1,
                 {"PID file"});
}

TEST_CASE("Bad input: a descriptor to preserve, or for a stream, that is not open") {
    const Daemon daemon;
    check_failed(daemon, daemon.start({"--preserve-fd", "77"}), 1, {"77", "Bad file descriptor"});
    check_failed(daemon, daemon.start({"--preserve-fd", "-3"}), 1, {"-3"});
    const Victim victim;
    check_failed(victim, victim.start({"stdout=fd:77", "open", "wait"}), 1,
                 {"77", "Bad file descriptor"});
}

TEST_CASE("Bad input: options that exclude each other") {
    const Victim daemon;
    const std::string log = daemon.dir.file("both.log", "kept\n");
    check_failed(daemon, daemon.start({"stdout=truncate:" + log, "stderr=" + log, "open", "wait"}),
                 1, {"standard_error", "standard_output", "truncated"});
    CHECK(slurp(log) == "kept\n");
    check_failed(daemon, daemon.start({"keep=HOME", "open", "wait"}), 1, {"environment"});
    CHECK_FALSE(exists(daemon.log));
}

TEST_CASE("Bad input: nothing is signalled, whatever stands in the file of a refused start") {
    const Daemon daemon;
    Running stranger(Launch({"sleep", "100"}));
    daemon.dir.file("d.pid", std::to_string(stranger.pid()) + "\n");
    for (const char* verb : {"stop", "reload", "status"}) daemon.verb(verb);
    daemon.start({"--fail-init", "no"});
    CHECK_FALSE(stranger.finished());
    CHECK(alive(stranger.pid()));
}

TEST_CASE("Bad input: a number of a user or group that would wrap is nobody's") {
    const Daemon daemon;
    for (const char* id : {"4294967295", "4294967296", "4294968296", "99999999999"}) {
        check_failed(daemon, daemon.start({"--user", id, "--group", "5"}), 1, {id});
        check_failed(daemon, daemon.start({"--group", id}), 1, {id});
    }
}

TEST_CASE("S1 a path with a line break in it makes no second line of the message") {
    const Daemon daemon;
    check_failed(daemon, daemon.start({"--chdir", "/no/such\nplace"}), 1, {"such?place"});
}
