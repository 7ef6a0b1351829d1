// Rules S1 to S7 and D1 to D3: what a start promises to the one who typed it.
#include "support/expect.hpp"

#include <fcntl.h>
#include <sys/wait.h>

using namespace expect;

namespace {

// What the start does when its daemon does not come up, by each way in which one can fail.
struct Failure {
    Strings words;
    int status;
    const char* text;
};

const std::vector<Failure>& failures() {
    static const std::vector<Failure> all = {
        {{"--exit-init", "7"}, 7, "7"},
        {{"--exit-init", "0"}, 1, "ready"},
        {{"--exit-init", "200"}, 200, "status 200"},
        {{"--abort-init"}, 134, "SIGABRT"},
        {{"--fail-init", "no port for us"}, 1, "no port for us"},
    };
    return all;
}

}  // namespace

TEST_CASE("S1 exit status 0 means: running, detached, locked, written") {
    const Daemon daemon;
    for (int round = 0; round < 5; ++round) {
        check_started(daemon, daemon.start());
        check_ends(daemon);
    }
    CHECK(daemon.dir.names() == Strings{"d.log"});
}

TEST_CASE("S1 open() says ready by itself, once everything is done") {
    const Victim daemon;
    check_started(daemon, daemon.start({"open", "say=up", "wait"}));
    CHECK(daemon.logs("up"));
}

TEST_CASE("S1 the launcher does not come back before ready()") {
    const Daemon daemon;
    const Outcome launcher = daemon.start({"--ready-delay-ms", "400"});
    check_started(daemon, launcher);
    CHECK(launcher.took >= Millis(400));
}

TEST_CASE("S1 ready_by_hand: open() alone is not ready") {
    const Victim daemon;
    const Outcome launcher = daemon.start({"by-hand=1", "open", "sleep=400", "ready", "wait"});
    check_started(daemon, launcher);
    CHECK(launcher.took >= Millis(400));
}

TEST_CASE("S1 a body that returns without ready() is a failed start") {
    const Victim daemon;
    check_failed(daemon, daemon.start({"control=start", "return=0"}), 1, {"ready"});
    check_failed(daemon, daemon.start({"control=start", "return=5"}), 5, {"ready"});
}

TEST_CASE("S1 the line names program, step, object and cause") {
    const Daemon daemon;
    REQUIRE(daemon.start().status == 0);
    const pid_t pid = daemon.pid();
    const Outcome second = daemon.start();
    INFO(second.text());
    CHECK(second.status == 1);
    CHECK(lines(second.err).size() == 1);
    CHECK(second.err == "subject: cannot lock '" + daemon.pidfile +
                            "': already running as process " + std::to_string(pid) + "\n");
}

TEST_CASE("S1 program_name is the name in the line") {
    const Victim daemon;
    const Outcome launcher = daemon.start({"name=ticker", "chdir=/no/such/place", "open", "wait"});
    check_refused(launcher, {"'/no/such/place'"}, "ticker");
    CHECK_FALSE(exists(daemon.pidfile));
}

TEST_CASE("S2 a daemon that ends before ready is noticed at once, with its own status") {
    const Daemon daemon;
    for (const Failure& failure : failures()) {
        const Outcome launcher = daemon.start(failure.words + Strings{"--ready-timeout", "300"});
        check_failed(daemon, launcher, failure.status, {failure.text});
    }
}

TEST_CASE("S2 a daemon that is killed before ready: 128 + n") {
    const Daemon daemon;
    for (const int signum : {SIGKILL, SIGTERM, SIGSEGV}) {
        if (sanitized() && signum == SIGSEGV) continue;  // they print a report, and exit with 1
        Running launcher(daemon.launch({"--ready-delay-ms", "200000", "--ready-timeout", "300"}));
        REQUIRE(eventually([&] { return daemon.pid() > 1; }));
        send_signal(daemon.pid(), signum);
        check_failed(daemon, launcher.finish(), 128 + signum, {});
    }
}

TEST_CASE("S2 without a subreaper the intermediate passes the status on") {
    NEEDS_DENY();
    const Daemon daemon;
    for (const char* denial : {"prctl:EINVAL:36", "prctl:EPERM:36"}) {
        for (const Failure& failure : failures()) {
            INFO(denial);
            const Outcome launcher = run(denied({denial}, daemon.words("start", failure.words)));
            check_failed(daemon, launcher, failure.status, {failure.text});
        }
        check_started(daemon, run(denied({denial}, daemon.words("start"))));
        check_ends(daemon);
    }
}

TEST_CASE("S2 nothing of a failed start is left: neither group nor file") {
    const Victim daemon;
    for (const char* end : {"fail=words", "_exit=3", "raise=9", "abort"}) {
        const Outcome launcher =
            daemon.start({"by-hand=1", "open", "fork-pause", "fork-pause", end});
        INFO(launcher.text());
        CHECK(launcher.status > 0);
        CHECK(descendants().empty());
        CHECK(daemon.dir.names() == Strings{"d.log"});
    }
}

TEST_CASE("S2 the kept launcher leaves no process of a failed start, and none of its own is hurt") {
    const Victim daemon;
    const Outcome launcher =
        daemon.start({"by-hand=1", "own-child", "try", "role", "reap", "end-launcher", "_exit=4"});
    INFO(launcher.text());
    CHECK(launcher.status == 0);
    CHECK(contains(launcher.out, "error=start_failed"));
    CHECK(contains(launcher.out, "reaped=7"));  // waited for by nobody but its parent
    CHECK(contains(launcher.out, "role=launcher"));
    CHECK(descendants().empty());
    CHECK_FALSE(exists(daemon.pidfile));
}

TEST_CASE("S2 a PID file that was there before and was not written stays as it was") {
    const Victim daemon;
    daemon.dir.file("d.pid", "4711\n");
    const struct stat before = stat_of(daemon.pidfile);
    check_refused(daemon.start({"user=no-such-user-here", "open", "wait"}), {"no-such-user-here"},
                  "victim");
    CHECK(same_file_state(before, stat_of(daemon.pidfile)));
    CHECK(slurp(daemon.pidfile) == "4711\n");
}

TEST_CASE("S2 a body that closed the channel is not taken for dead") {
    const Victim daemon;
    const Outcome launcher =
        daemon.start({"by-hand=1", "open", "close-all", "sleep=400", "_exit=9"});
    INFO(launcher.text());
    CHECK(launcher.took >= Millis(400));
    CHECK(launcher.status == 9);
    CHECK(lines(launcher.err).size() == 1);
    CHECK(descendants().empty());
}

TEST_CASE("S2 nor is it waited for until the limit where there is no pidfd") {
    NEEDS_DENY();
    const Victim daemon;
    const Outcome launcher =
        run(denied({"pidfd_open:ENOSYS"},
                   daemon.words("", {"by-hand=1", "open", "close-all", "sleep=400", "_exit=9"})));
    INFO(launcher.text());
    CHECK(launcher.status == 9);
    CHECK(launcher.took < Millis(10000));
}

TEST_CASE("S3 the text of fail() reaches the launcher and the log, in full") {
    const Victim daemon;
    const std::string text(3000, 'x');
    const Outcome launcher = daemon.start({"by-hand=1", "open", "fail=begin " + text + " end,42"});
    check_failed(daemon, launcher, 42, {"begin " + text + " end"});
    CHECK(contains(slurp(daemon.log), "begin " + text + " end"));
}

TEST_CASE("S3 the last words count, also when the daemon has ended before they were read") {
    NEEDS_STRACE();
    const Daemon daemon;
    // The launcher has seen an empty channel and asks whether the daemon lives; meanwhile it fails.
    const Strings words = daemon.words("start", {"--fail-init", "no port for us"});
    check_failed(daemon, run(delayed("waitid", words)), 1, {"no port for us"});
}

TEST_CASE("S3 an exception that leaves the body before ready is told like fail()") {
    const Victim daemon;
    check_failed(daemon, daemon.start({"control=start", "throw=the disk is on fire"}), 1,
                 {"the disk is on fire"});
    CHECK(contains(slurp(daemon.log), "the disk is on fire"));
    const Outcome other = daemon.start({"control=start", "throw=int"});
    INFO(other.text());
    CHECK(other.status > 0);
    CHECK(lines(other.err).size() == 1);
    CHECK(descendants().empty());
    CHECK_FALSE(exists(daemon.pidfile));
}

TEST_CASE("S3 descriptor 2 is the launcher's until ready, then the log") {
    const Victim daemon;
    const Outcome launcher = daemon.start(
        {"by-hand=1", "open", "say-err=before ready", "ready", "say-err=after ready", "wait"});
    INFO(launcher.text());
    CHECK(launcher.status == 0);
    CHECK(launcher.err == "before ready\n");
    CHECK(daemon.logs("after ready\n"));
    CHECK_FALSE(contains(slurp(daemon.log), "before ready"));
}

TEST_CASE("S3 fail() after ready goes to the log, with its status") {
    const Victim daemon;
    const Outcome launcher =
        daemon.start({"by-hand=1", "open", "ready", daemon.gate(), "fail=much too late,6"});
    check_started(daemon, launcher);
    const pid_t pid = daemon.pid();
    daemon.let_go();
    CHECK(ended(pid) == 6);
    CHECK(contains(slurp(daemon.log), "much too late"));
    CHECK_FALSE(exists(daemon.pidfile));
}

TEST_CASE("S4 at the limit: SIGKILL to the whole group, 124, a line with the limit") {
    const Victim daemon;
    const Outcome launcher = daemon.start(
        {"ready-timeout=700", "by-hand=1", "handler=15", "open", "fork-pause", "say=here", "wait"});
    CHECK(contains(slurp(daemon.log), "here"));
    check_failed(daemon, launcher, 124, {"has not called ready()"});
    CHECK(launcher.took >= Millis(700));
    CHECK(launcher.took < Millis(700) + patience() / 2);
}

TEST_CASE("S4 at the limit also a daemon that has moved to a group of its own") {
    const Victim daemon;
    check_failed(daemon,
                 daemon.start({"ready-timeout=300", "by-hand=1", "open", "own-group", "wait"}), 124,
                 {"has not called ready()"});
}

TEST_CASE("S4 the limit stands in the line, in seconds") {
    const Daemon daemon;
    const Outcome launcher = daemon.start({"--ready-timeout", "1", "--ready-delay-ms", "100000"});
    check_failed(daemon, launcher, 124, {"has not called ready() within 1 s"});
}

TEST_CASE(
    "S4 S13 a launcher that may not kill its daemon keeps the limit, and leaves it its file") {
    NEEDS_ROOT();
    const Daemon daemon;
    const std::string bounds = "--bounding-set=-kill";
    SKIP_UNLESS(run({{"setpriv", bounds, "true"}}).status == 0, "needs setpriv");
    for (const Strings& filter : {Strings{}, Strings{program("deny"), "prctl:EPERM:36", "--"}}) {
        if (!filter.empty() && !has_program("deny")) continue;
        // The second time the intermediate stays: there is no subreaper.
        const Outcome launcher =
            run(Launch(Strings{"setpriv", bounds, "--inh-caps=-kill"} + filter +
                       daemon.words("start", {"--user", "nobody", "--ready-delay-ms", "3000",
                                              "--ready-timeout", ".4"})));
        INFO(launcher.text());
        CHECK(launcher.status == 124);
        CHECK(launcher.took < Millis(2900));
        CHECK(contains(launcher.err,
                       "has not called ready() within 400 ms, and could not be killed"));
        CHECK(is_locked(daemon.pidfile));  // it lives, until it finds nobody to be ready for
        CHECK(eventually([] { return descendants().empty(); }));
        CHECK_FALSE(is_locked(daemon.pidfile));
        unlink(daemon.pidfile.c_str());
    }
}

TEST_CASE("S2 S3 a launcher that may not kill leaves nothing of a start that fails by itself") {
    NEEDS_ROOT();
    const std::string bounds = "--bounding-set=-kill";
    SKIP_UNLESS(run({{"setpriv", bounds, "true"}}).status == 0, "needs setpriv");
    for (int round = 0; round < 5; ++round) {
        const Daemon daemon;
        check_failed(daemon,
                     run(Launch(Strings{"setpriv", bounds, "--inh-caps=-kill"} +
                                daemon.words("start", {"--user", "nobody", "--fail-init", "no"}))),
                     1, {"subject: no\n"});
    }
}

TEST_CASE("S4 zero is no limit") {
    const Daemon daemon;
    check_started(daemon, daemon.start({"--ready-timeout", "0", "--ready-delay-ms", "300"}));
}

TEST_CASE("S4 the channel is looked at before the clock") {
    const Victim daemon;
    Running launcher(daemon.launch({"ready-timeout=3000", "by-hand=1", "say=no", "open", "say=open",
                                    daemon.gate(), "ready", "say=done", "wait"}));
    const Clock::time_point began = Clock::now();
    REQUIRE(daemon.logs("open"));
    launcher.signal(SIGSTOP);  // a laptop that sleeps, a shell's Ctrl-Z
    daemon.let_go();
    REQUIRE(daemon.logs("done"));
    eventually([&] { return Clock::now() > began + Millis(3500); });
    launcher.signal(SIGCONT);
    const Outcome outcome = launcher.finish();
    INFO(outcome.text());
    CHECK(outcome.status == 0);
    CHECK(alive(daemon.pid()));
}

TEST_CASE("S5 relative paths are meant from the caller's directory") {
    const Daemon daemon;
    daemon.dir.directory("sub");
    Launch launch({program("subject"), "start", "--pidfile", "sub/r.pid", "--stdout", "r.log",
                   "--stderr", "./sub/../e.log", "--payload", "p", "--chdir", "sub"});
    launch.directory = daemon.dir.path();
    const Outcome launcher = run(launch);
    INFO(launcher.text());
    CHECK(launcher.status == 0);
    CHECK(to_long(slurp(daemon.dir / "sub/r.pid")) > 1);
    CHECK(slurp(daemon.dir / "r.log") == "payload=p\n");
    CHECK(exists(daemon.dir / "e.log"));
    const pid_t pid = static_cast<pid_t>(to_long(slurp(daemon.dir / "sub/r.pid")));
    if (is_root()) CHECK(link_of(pid, "cwd") == daemon.dir / "sub");
    send_signal(pid, SIGTERM);
    CHECK(ended(pid) == 0);
    CHECK_FALSE(exists(daemon.dir / "sub/r.pid"));
}

TEST_CASE("S5 a relative log is found again when it is re-opened") {
    const Victim daemon;
    Launch launch = daemon.launch({"stdout=r.log", "stderr=null", "open", "say=up", daemon.gate(),
                                   "reopen", "say=after", "wait"});
    launch.directory = daemon.dir.path();
    check_started(daemon, run(launch));
    const std::string log = daemon.dir / "r.log";
    REQUIRE(eventually([&] { return contains(slurp(log), "up"); }));
    REQUIRE(rename(log.c_str(), (log + ".1").c_str()) == 0);
    daemon.let_go();
    CHECK(eventually([&] { return contains(slurp(log), "after"); }));
}

TEST_CASE("S6 a failing start runs no handler and repeats no text") {
    const Victim daemon;
    const std::string file = daemon.dir / "at-exit";
    const Outcome launcher = daemon.start({"atexit=" + file, "destructor=" + file,
                                           "printf=waiting text", "by-hand=1", "open", "fail=no"});
    check_failed(daemon, launcher, 1, {"no"});
    CHECK(launcher.out == "waiting text");
    CHECK_FALSE(exists(file));
    CHECK_FALSE(contains(slurp(daemon.log), "waiting"));
}

TEST_CASE("S6 what a failing daemon has in its buffers is in the log") {
    const Victim daemon;
    check_failed(daemon, daemon.start({"by-hand=1", "open", "printf=last text", "fail=no"}), 1,
                 {"no"});
    CHECK(count(slurp(daemon.log), "last text") == 1);
}

TEST_CASE("S6 static destructors run once, in the daemon") {
    const Victim daemon;
    const std::string file = daemon.dir / "destroyed";
    const Outcome launcher = daemon.start({"destructor=" + file, "open", "wait-term"});
    check_started(daemon, launcher);
    CHECK_FALSE(exists(file));
    check_ends(daemon);
    CHECK(slurp(file) == "A\n");
}

TEST_CASE("S7 the kept launcher comes back with the role and is as it was") {
    const Victim daemon;
    const Strings setup = {"handler=17", "handler=10", "block=12", "remember"};
    const Outcome launcher = daemon.start(
        setup + Strings{"role", "try", "compare", "role", "end-launcher", "wait-term"});
    // The daemon goes through the same words; what the launcher says is on the pipe.
    INFO(launcher.text());
    CHECK(contains(launcher.out, "returned=launcher error=none"));
    CHECK(contains(launcher.out, "state=same"));
    CHECK(contains(launcher.out, "role=launcher open=0 parent=0 setup=1 pid=0"));
    CHECK(contains(launcher.out, "role=launcher open=0 parent=1"));
    CHECK(contains(launcher.out, "pid=" + std::to_string(daemon.pid())));
}

TEST_CASE("S7 the kept launcher's own child is reaped by nobody but its parent") {
    const Victim daemon;
    const Outcome launcher = daemon.start({"own-child", "try", "reap", "end-launcher", "wait"});
    INFO(launcher.text());
    CHECK(contains(launcher.out, "returned=launcher error=none"));
    CHECK(contains(launcher.out, "reaped=7"));
}

TEST_CASE("S7 a kept launcher whose start fails is as it was, and prints nothing") {
    const Victim daemon;
    const Strings setup = {"handler=17", "handler=10", "block=12", "remember"};
    for (const Strings& failing :
         {Strings{"user=no-such-user-here"}, Strings{"ready-timeout=300", "by-hand=1"},
          Strings{"chdir=/no/such/place"}, Strings{"stdout=/no/such/place/log"}}) {
        const Outcome launcher = daemon.start(setup + failing + Strings{"try", "compare"});
        INFO(launcher.text());
        CHECK(contains(launcher.out, "returned=launcher"));
        CHECK_FALSE(contains(launcher.out, "error=none"));
        CHECK(contains(launcher.out, "state=same"));
        CHECK(launcher.err == "");
        CHECK(descendants().empty());
        CHECK_FALSE(exists(daemon.pidfile));
    }
}

TEST_CASE("S7 the kept launcher's ignored SIGCHLD stays ignored, and its children its own") {
    const Victim daemon;
    for (const Strings& end : {Strings{"by-hand=1"}, Strings{}}) {
        Launch launch = daemon.launch(end + Strings{"ready-timeout=400", "remember", "try",
                                                    "compare", "end-launcher", "wait"});
        launch.before_exec = [] { ignore(SIGCHLD); };
        const Outcome launcher = run(launch);
        INFO(launcher.text());
        CHECK(contains(launcher.out, "returned=launcher"));
        CHECK(contains(launcher.out, end.empty() ? "error=none" : "error=timed_out"));
        CHECK(contains(launcher.out, "state=same"));
        CHECK(descendants().size() == (end.empty() ? 1 : 0));
    }
}

TEST_CASE("S7 start() throws what start(Error&) says") {
    const Victim daemon;
    const Outcome launcher = daemon.start({"chdir=/no/such/place", "catch", "start", "wait"});
    INFO(launcher.text());
    CHECK(launcher.status == 3);
    CHECK(contains(launcher.out, "caught=errno:2 what="));
    CHECK(contains(launcher.out, "'/no/such/place'"));
    CHECK(launcher.err == "");
}

TEST_CASE("S7 is_setup() is true before the start and false in the daemon") {
    const Victim daemon;
    const Outcome launcher = daemon.start({"role", "open", "role", "wait"});
    check_started(daemon, launcher);
    CHECK(contains(launcher.out, "setup=1"));
    const std::string pid = std::to_string(daemon.pid());
    CHECK(daemon.logs("role=daemon open=1 parent=0 setup=0 pid=" + pid + " self=" + pid));
}

// ---- Defaults, fields, second calls -------------------------------------------------------------

TEST_CASE("D1 the defaults of a daemon") {
    const Victim daemon;
    check_started(daemon, run({{program("victim"), "pidfile=" + daemon.pidfile, "open", "wait"}}));
    const pid_t pid = daemon.pid();
    CHECK(facts(pid).umask == 027);
    CHECK(limit_of(pid, "Max core file size") == (generic() ? "0 0" : "1 1"));
    CHECK(link_of(pid, "cwd") == "/");
    for (const char* fd : {"fd/0", "fd/1", "fd/2"}) CHECK(link_of(pid, fd) == "/dev/null");
}

TEST_CASE("D1 zero is a value for umask") {
    const Daemon daemon;
    check_started(daemon, daemon.start({"--umask", "0"}));
    CHECK(facts(daemon.pid()).umask == 0);
}

TEST_CASE("D1 zero is a value for uid and gid") {
    const Daemon daemon;
    if (is_root()) {
        check_started(daemon, daemon.start({"--user", "0", "--group", "0"}));
        CHECK(facts(daemon.pid()).uids == std::vector<long>{0, 0, 0, 0});
        check_ends(daemon);
    }
    // Whoever is not root asked for something, and it is not to be had.
    Launch launch = daemon.launch({"--user", "0"});
    daemon.dir.directory("open", 0777);
    launch.argv[3] = daemon.dir / "open/d.pid";
    launch.argv[5] = daemon.dir / "open/d.log";
    if (is_root()) launch.before_exec = become_nobody;
    check_refused(run(launch), {"Operation not permitted"});
    CHECK_FALSE(exists(daemon.dir / "open/d.pid"));
}

TEST_CASE("D2 the start changes no field of the caller's object") {
    const Victim daemon;
    Launch launch({program("victim"), "pidfile=d.pid", "stdout=d.log", "stderr=e.log", "umask=22",
                   "payload=x", "map=10:ignore", "fields", "try", "fields", "wait"});
    launch.directory = daemon.dir.path();
    launch.to_end_of_file = false;
    Running launcher(launch);
    REQUIRE(eventually([&] { return lines(launcher.out()).size() == 3; }));
    const Strings said = lines(launcher.out());
    CHECK(said[0] == said[2]);
    CHECK(contains(said[0], "pidfile=d.pid"));
    // And in the daemon too.
    CHECK(daemon.logs("fields "));
    CHECK(contains(slurp(daemon.log), said[0]));
}

TEST_CASE("D3 a second open() does nothing") {
    const Victim daemon;
    check_started(daemon, daemon.start({"open", "say=one", "open", "say=two", "role", "wait"}));
    CHECK(daemon.logs("two"));
    CHECK(daemon.logged("self") == std::to_string(daemon.pid()));
}

TEST_CASE("D3 a second start() only tells the role") {
    const Victim daemon;
    check_started(daemon, daemon.start({"open", "try", "say=two", "wait"}));
    CHECK(daemon.logs("returned=daemon error=none"));
    CHECK(daemon.logs("two"));
}

TEST_CASE("D3 close() keeps the lock: a file that was linked elsewhere stays locked") {
    const Victim daemon;
    check_started(daemon, daemon.start({"open", daemon.gate(), "close", "say=closed", "wait"}));
    const Descriptor file = open_file(daemon.pidfile, O_RDONLY);
    daemon.let_go();
    REQUIRE(daemon.logs("closed"));
    CHECK_FALSE(lock(file, true));
}

TEST_CASE("D3 close() removes the PID file once and does nothing else") {
    const Victim daemon;
    const Outcome launcher =
        daemon.start({"open", "remember", "close", "role", "say=closed", "say-err=still here",
                      daemon.gate(), "close", "say=again", "wait"});
    CHECK(launcher.status == 0);
    REQUIRE(daemon.logs("closed"));
    CHECK_FALSE(exists(daemon.pidfile));
    CHECK(daemon.logs("still here"));  // no stream was closed
    // Whoever starts now owns the path: the second close() must not take it from him.
    daemon.dir.file("d.pid", "4711\n");
    daemon.let_go();
    CHECK(daemon.logs("again"));
    CHECK(slurp(daemon.pidfile) == "4711\n");
}

TEST_CASE("D3 in another process close() and the destructor leave the PID file alone") {
    const Victim daemon;
    check_started(daemon, daemon.start({"open", "fork-close", "fork-exit", "say=done", "wait"}));
    REQUIRE(daemon.logs("done"));
    CHECK(contains(slurp(daemon.log), "child-code=0"));
    CHECK(contains(slurp(daemon.log), "child-code=5"));
    CHECK(daemon.pid() > 1);
    CHECK(is_locked(daemon.pidfile));
}

TEST_CASE("D3 in a fork of the daemon it is not open") {
    const Victim daemon;
    check_started(daemon, daemon.start({"open", "fork-role", "say=done", "wait"}));
    REQUIRE(daemon.logs("done"));
    CHECK(contains(slurp(daemon.log), "role=daemon open=0"));
}

TEST_CASE("S1 a reader of the launcher's output that has gone does not change the status") {
    const Daemon daemon;
    int ends[2];
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    const Descriptor writing(ends[1]);
    { const Descriptor reading(ends[0]); }
    Launch launch = daemon.launch();
    const int closed = writing.get();
    launch.before_exec = [closed] { dup2(closed, 1); };
    CHECK(run(launch).status == 0);
    CHECK(alive(daemon.pid()));
}
