// Rules S8 to S14: whatever the caller's surroundings are, and whichever step fails.
#include "support/expect.hpp"

#include <fcntl.h>
#include <sys/resource.h>

using namespace expect;

TEST_CASE("S8 the payload is there in the daemon, whatever its bytes and its size") {
    const Victim daemon;
    check_started(daemon, daemon.start({"set-payload-nul", "open", "payload-hex", "wait"}));
    CHECK(daemon.logged("payload-hex") == "6100620aff");
    check_ends(daemon, 128 + SIGTERM);
    check_started(daemon,
                  daemon.start({"set-payload-size=300000", "open", "payload-size", "wait"}));
    CHECK(daemon.logged("payload-size") == "300000");
}

TEST_CASE("S9 a pipe and a substitution see the end of file when the launcher ends") {
    const Daemon daemon;
    const std::string start = join(daemon.words("start")) + " --stderr " + daemon.log;
    const std::string again = join(daemon.words("start")) + " >/dev/null 2>&1";
    const std::string stop = join(daemon.words("stop"));
    const Outcome piped =
        run({{"sh", "-c", start + " | cat; " + again + " || echo no | cat; " + stop}});
    INFO(piped.text());
    CHECK(piped.status == 0);
    CHECK_FALSE(piped.timed_out);
    CHECK(contains(piped.out, "\nno\n"));  // there was one
    const Outcome substituted =
        run({{"sh", "-c", "x=$(" + start + " 2>&1); echo \"[$x] $?\"; " + stop}});
    INFO(substituted.text());
    CHECK(substituted.status == 0);
    CHECK(contains(substituted.out, "] 0\n"));
}

TEST_CASE("S9 the caller's pipes are closed although the daemon started a child") {
    const Daemon daemon;
    const Outcome launcher = daemon.start({"--child"});
    check_started(daemon, launcher);
    CHECK(alive(static_cast<pid_t>(to_long(daemon.logged("child")))));
}

TEST_CASE("S10 all eight combinations of closed descriptors 0, 1, 2") {
    for (unsigned closed = 0; closed < 8; ++closed) {
        INFO("closed: ", closed);
        const Victim daemon;
        Launch launch = daemon.launch({"core=1", "open", "say-err=on 2", "wait"});
        launch.closed = closed;
        check_started(daemon, run(launch));
        const auto open = descriptors(daemon.pid());
        REQUIRE(open.size() >= 4);
        CHECK(open.at(0) == "/dev/null");
        CHECK(open.at(1) == daemon.log);
        CHECK(open.at(2) == daemon.log);
        CHECK(daemon.logs("on 2\n"));
        CHECK(slurp(daemon.pidfile) == std::to_string(daemon.pid()) + "\n");
        check_ends(daemon, 128 + SIGTERM);
        // And a start that fails does not write its line into a file that came to stand there.
        Launch failing = daemon.launch({"by-hand=1", "open", "fail=no"});
        failing.closed = closed;
        CHECK(run(failing).status == 1);
        CHECK_FALSE(exists(daemon.pidfile));
    }
}

TEST_CASE("S10 from a deleted directory") {
    const Daemon daemon;
    const std::string place = daemon.dir.directory("gone");
    Launch launch = daemon.launch();
    launch.directory = place;
    launch.before_exec = [place] {
        if (rmdir(place.c_str()) != 0) _exit(123);
    };
    check_started(daemon, run(launch));
}

TEST_CASE("S10 with an empty environment") {
    const Daemon daemon;
    Launch launch = daemon.launch();
    launch.empty_environment = true;
    check_started(daemon, run(launch));
}

TEST_CASE("S10 with SIGCHLD, SIGTERM, SIGPIPE ignored or blocked by the caller") {
    const Daemon daemon;
    for (const int signum : {SIGCHLD, SIGTERM, SIGPIPE, SIGHUP, SIGINT}) {
        for (const bool blocked : {false, true}) {
            INFO("signal ", signum, blocked ? " blocked" : " ignored");
            Launch launch = daemon.launch();
            launch.before_exec = [=] { blocked ? block(signum) : ignore(signum); };
            check_started(daemon, run(launch));
            check_ends(daemon);
            Launch failing = daemon.launch({"--exit-init", "7"});
            failing.before_exec = launch.before_exec;
            check_failed(daemon, run(failing), 7, {"7"});
        }
    }
}

TEST_CASE("S10 with children whose ends the system collects (SA_NOCLDWAIT)") {
    const Victim daemon;
    check_failed(daemon, daemon.start({"no-corpses", "by-hand=1", "open", "_exit=7"}), 7, {"7"});
}

TEST_CASE("S10 with a descriptor limit of 2^30") {
    SKIP_UNLESS(!sanitized(), "the sanitizers ask getrlimit() before there is a dlsym()");
    const Scratch dir;
    const std::string pidfile = dir / "big.pid";
    const auto check = [&](const Strings& command) {
        const Outcome launcher = run(command);
        INFO(launcher.text());
        CHECK(launcher.status == 0);
        CHECK(launcher.took < Millis(5000));
        const pid_t pid = static_cast<pid_t>(to_long(slurp(pidfile)));
        REQUIRE(pid > 1);
        send_signal(pid, SIGTERM);
        CHECK(ended(pid) == 128 + SIGTERM);
    };
    check({program("biglimit"), pidfile});
    if (!has_program("deny")) return;
    check(denied({"close_range:ENOSYS"}, {program("biglimit"), pidfile}));
}

TEST_CASE(
    "S10 without close_range, /proc and /dev/fd: up to 65,536 are closed, explain() says so") {
    NEEDS_MOUNTS();
    NEEDS_DENY();
    SKIP_UNLESS(!sanitized(), "the sanitizers need /proc");
    const Scratch dir;
    const std::string pidfile = dir / "big.pid", log = dir / "big.log";
    // /dev/fd leads into /proc on Linux.
    for (const Strings& which : {Strings(), Strings{"all"}}) {
        const Outcome launcher =
            run({{"unshare", "-m", "sh", "-c",
                  "mount -t tmpfs none /proc && exec 9</dev/null && " +
                      join(denied({"close_range:ENOSYS"},
                                  Strings{program("biglimit"), pidfile, log} + which))}});
        INFO(launcher.text());
        CHECK(launcher.status == 0);
        CHECK(launcher.took < Millis(5000));
        const pid_t pid = static_cast<pid_t>(to_long(slurp(pidfile)));
        REQUIRE(pid > 1);
        CHECK(eventually([&] { return contains(slurp(log), "65536"); }));
        CHECK(descriptors(pid).count(9) == 0);
        send_signal(pid, SIGTERM);
        CHECK(ended(pid) == 128 + SIGTERM);
        REQUIRE(unlink(log.c_str()) == 0);
    }
}

TEST_CASE("S10 without /proc") {
    NEEDS_MOUNTS();
    SKIP_UNLESS(!sanitized(), "the sanitizers need /proc");
    const Daemon daemon;
    const auto without_proc = [&](const Strings& words) {
        return run({{"unshare", "-m", "sh", "-c", "mount -t tmpfs none /proc && " + join(words)}});
    };
    check_started(daemon, without_proc(daemon.words("start")));
    const pid_t pid = daemon.pid();
    const Outcome second = without_proc(daemon.words("start"));
    INFO(second.text());
    CHECK(second.status == 1);
    CHECK(contains(second.err, "already running as process " + std::to_string(pid)));
    CHECK(without_proc(daemon.words("status")).status == 0);
    const Outcome stop = without_proc(daemon.words("stop"));
    INFO(stop.text());
    CHECK(stop.status == 0);
    CHECK(ended(pid) == 0);
    CHECK_FALSE(exists(daemon.pidfile));
}

TEST_CASE("S10 with newer system calls missing or denied, each alone and all of them") {
    NEEDS_DENY();
    const Daemon daemon;
    const Strings calls = {"close_range", "pidfd_open", "pidfd_send_signal",
                           "signalfd4",   "eventfd2",   "getrandom",
                           "clone3",      "faccessat2"};
    const auto check = [&](const Strings& denials) {
        INFO("denied: ", join(denials));
        const Outcome launcher = run(denied(denials, daemon.words("start")));
        check_started(daemon, launcher);
        const pid_t pid = daemon.pid();
        const Outcome stop = run(denied(denials, daemon.words("stop")));
        INFO(stop.text());
        CHECK(stop.status == 0);
        CHECK(ended(pid) == 0);
        CHECK_FALSE(exists(daemon.pidfile));
        const Outcome failing = run(denied(denials, daemon.words("start", {"--exit-init", "7"})));
        check_failed(daemon, failing, 7, {"7"});
    };
    Strings missing, forbidden;
    for (const std::string& call : calls) {
        // Without these the C library itself, or the sanitizers, do not come up.
        if (sanitized() && (call == "getrandom" || call == "clone3")) continue;
        missing.push_back(call + ":ENOSYS");
        if (call == "close_range" || call.compare(0, 5, "pidfd") == 0) {
            forbidden.push_back(call + ":EPERM");
            check({forbidden.back()});
        }
        check({missing.back()});
    }
    check(forbidden);
    missing.push_back("prctl:EINVAL:36");
    check(missing);
}

TEST_CASE("S10 with close_range denied no inherited descriptor is left open") {
    NEEDS_DENY();
    const Victim daemon;
    for (const char* error : {"ENOSYS", "EPERM"}) {
        Launch launch(denied({std::string("close_range:") + error},
                             daemon.words("", {"core=1", "open", "wait"})));
        launch.before_exec = [] {
            for (const int number : {5, 17, 300, 900}) dup2(0, number);
        };
        check_started(daemon, run(launch));
        for (const auto& open : descriptors(daemon.pid()))
            CHECK_FALSE(contains(" 5 17 300 900 ", " " + std::to_string(open.first) + " "));
        check_ends(daemon, 128 + SIGTERM);
    }
}

TEST_CASE("S11 more than one thread refuses a start that forks") {
    SKIP_UNLESS(!thread_sanitized(), "ThreadSanitizer has threads of its own");
    SKIP_UNLESS(!generic(), "POSIX has no call that counts the threads");
    const Daemon daemon;
    check_failed(daemon, daemon.start({"--threads", "2"}), 1, {"thread"});
    const Victim program;
    const Outcome kept = program.start({"threads=1", "try"});
    INFO(kept.text());
    CHECK(contains(kept.out, "error=threads_running"));
}

TEST_CASE("S10 a filter that knows fork() and not vfork()") {
    NEEDS_DENY();
    const Daemon daemon;
    check_started(daemon, run(Launch(denied({"vfork:EPERM"}, daemon.words("start")))));
}

TEST_CASE("S1 one line a message, whatever the program is called") {
    const Daemon daemon;
    const std::string odd = daemon.dir / "two\nlines";
    REQUIRE(symlink(program("subject").c_str(), odd.c_str()) == 0);
    const Outcome said = run(Launch({odd, "start", "--pidfile", daemon.dir / "no/such/directory"}));
    INFO(said.text());
    CHECK(said.status == 1);
    CHECK(lines(said.err).size() == 1);
    CHECK(contains(said.err, "two\\x0alines: "));
    const Outcome failed = daemon.start({"--fail-init", "one line\n"});
    CHECK(failed.err == "subject: one line\n");
}

TEST_CASE("S11 allow_threads: even with a thread that holds the lock of stdin") {
    const Victim daemon;
    int ends[2];
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    const Descriptor silent(ends[0]), held_open(ends[1]);
    Launch launch =
        daemon.launch({"allow-threads=1", "getchar-thread", "sleep=50", "open", "wait"});
    launch.input = silent.get();
    check_started(daemon, run(launch));
    CHECK(facts(daemon.pid()).threads <= (thread_sanitized() ? 2 : 1));
}

TEST_CASE("S11 the foreground forks nothing and takes any number of threads") {
    const Daemon daemon;
    Running program(Launch(daemon.words("run", {"--threads", "2"})));
    CHECK(eventually([&] { return daemon.pid() == program.pid(); }));
    REQUIRE(waits_for_signals(program.pid()));
    program.signal(SIGTERM);
    CHECK(program.finish().status == 0);
}

TEST_CASE("S12 explain() tells evidence, ids, paths and the fallbacks in use") {
    const Victim daemon;
    const Outcome launcher =
        daemon.start({"explain", "say=end-of-first", "open", "explain", "wait"});
    check_started(daemon, launcher);
    const std::string before = launcher.out;
    INFO(before);
    CHECK(contains(before, "explain: "));
    CHECK(contains(before, "detach"));
    REQUIRE(daemon.logs("explain: "));
    const std::string after = slurp(daemon.log);
    INFO(after);
    CHECK(contains(after, daemon.pidfile));
    CHECK(contains(after, daemon.log));
    CHECK(contains(after, "started: detached, for "));
    CHECK(contains(after, "working directory: '/'"));
    CHECK(contains(after, "leader: "));
    check_ends(daemon, 128 + SIGTERM);
    if (!has_program("deny")) return;
    check_started(daemon, run(denied({"close_range:ENOSYS"},
                                     daemon.words("", {"close-fds=all", "open", "say=fallback",
                                                       "explain", "wait"}))));
    REQUIRE(daemon.logs("fallback\nexplain"));
    const std::string denied_text = slurp(daemon.log);
    const std::string told = denied_text.substr(denied_text.find("fallback"));
    INFO(told);
    CHECK(contains(told, generic()
                             ? "those below min(limit, 65536): this system does not tell"
                             : "other descriptors closed: all but files_preserve, one by one"));
}

TEST_CASE("S12 explain() tells whom it dropped to, and the jail") {
    NEEDS_ROOT();
    const Victim daemon;
    const std::string jail = daemon.dir.directory("jail");
    check_started(daemon, daemon.start({"user=number:61234", "group=number:61235", "chroot=" + jail,
                                        "open", "explain", "wait"}));
    REQUIRE(daemon.logs("explain: "));
    for (const std::string& part : {std::string("61234"), std::string("61235"), jail,
                                    std::string("supplementary groups: none")}) {
        INFO(slurp(daemon.log));
        CHECK(contains(slurp(daemon.log), part));
    }
}

TEST_CASE("S13 Ctrl-C ends the waiting launcher, and the leader ends the daemon at once") {
    const Daemon daemon;
    Running launcher(daemon.launch({"--ready-delay-ms", "20000"}));
    REQUIRE(eventually([&] { return daemon.pid() > 1; }));
    const pid_t pid = daemon.pid();
    const Clock::time_point began = Clock::now();
    launcher.signal(SIGINT);
    const Outcome said = launcher.finish();
    INFO(said.text());
    CHECK(said.status == 128 + SIGINT);
    CHECK(gone(pid));
    CHECK(eventually([&] { return !exists(daemon.pidfile); }));
    CHECK(eventually([] { return descendants().empty(); }));
    CHECK(Clock::now() - began < Millis(10000));  // not when it would have been ready
}

TEST_CASE("S13 a launcher killed before ready leaves no daemon and no PID file") {
    const Daemon daemon;
    Running launcher(daemon.launch({"--ready-delay-ms", "500"}));
    REQUIRE(eventually([&] { return daemon.pid() > 1; }));
    const pid_t pid = daemon.pid();
    launcher.signal(SIGKILL);
    CHECK(launcher.finish().status == 128 + SIGKILL);
    CHECK(gone(pid));
    CHECK(eventually([&] { return !exists(daemon.pidfile); }));
    CHECK(eventually([] { return descendants().empty(); }));
}

TEST_CASE("S13 a kept launcher killed before ready leaves neither daemon nor intermediate") {
    const Victim daemon;
    Running launcher(daemon.launch({"by-hand=1", "try", "say=up", daemon.gate(), "ready", "wait"}));
    REQUIRE(daemon.logs("up"));
    launcher.signal(SIGKILL);
    launcher.finish();
    daemon.let_go();
    CHECK(eventually([] { return descendants().empty(); }));
    CHECK_FALSE(exists(daemon.pidfile));
}

TEST_CASE("S13 while it waits the launcher has its caller's mask and dispositions") {
    SKIP_UNLESS(!sanitized(), "the sanitizers have handlers of their own");
    const Victim daemon;
    Launch launch =
        daemon.launch({"handler=10", "block=12", "by-hand=1", "open", "say=up", "wait"});
    launch.before_exec = [] { ignore(SIGALRM); };
    Running launcher(launch);
    REQUIRE(daemon.logs("up"));
    // The daemon can say "up" before the launcher has come to its wait.
    Facts seen;
    eventually(
        [&] {
            seen = facts(launcher.pid());
            return seen.blocked == set_of({SIGUSR2});
        },
        Millis(5000));
    CHECK(seen.blocked == set_of({SIGUSR2}));
    CHECK(seen.ignored == set_of({SIGALRM}));
    CHECK(seen.caught == set_of({SIGUSR1}));
    launcher.signal(SIGTERM);
    CHECK(launcher.finish().status == 128 + SIGTERM);
}

TEST_CASE("S14 fork fails: the step and the cause, and the caller is as it was") {
    NEEDS_DENY();
    const Victim daemon;
    const Strings calls = {"clone:EAGAIN", "clone3:EAGAIN", "fork:EAGAIN", "vfork:EAGAIN"};
    const Outcome launcher = run(denied(calls, daemon.words("", {"open", "wait"})));
    check_failed(daemon, launcher, 1, {"fork", "Resource temporarily unavailable"});
    Launch keeping(denied(calls, daemon.words("", {"handler=17", "remember", "try", "compare"})));
    without_leak_check(keeping);
    const Outcome kept = run(keeping);
    INFO(kept.text());
    CHECK(contains(kept.out, "error=errno:11"));
    CHECK(contains(kept.out, "state=same"));
    CHECK(kept.err == "");
    CHECK_FALSE(exists(daemon.pidfile));
    Launch ignoring(denied(calls, daemon.words("", {"remember", "try", "compare"})));
    ignoring.before_exec = [] { ignore(SIGCHLD); };
    without_leak_check(ignoring);
    CHECK(contains(run(ignoring).out, "state=same"));
}

TEST_CASE("S14 fork fails at the user's limit of processes") {
    NEEDS_ROOT();
    SKIP_UNLESS(!thread_sanitized(), "a thread of the sanitizer's own is over the limit before");
    const Scratch dir;
    const std::string place = dir.directory("open", 0777);
    Launch launch({program("subject"), "start", "--pidfile", place + "/d.pid"});
    // A number that no process has, of the machine or of a test beside this one.
    const uid_t lonely = 100000 + static_cast<uid_t>(getpid());
    launch.before_exec = [lonely] {
        const rlimit none = {0, 0};
        if (setrlimit(RLIMIT_NPROC, &none) != 0) _exit(123);
        become(lonely, lonely);
    };
    check_refused(run(launch), {"fork", "Resource temporarily unavailable"});
    CHECK(Scratch::names(place).empty());
}

TEST_CASE("S14 a step that fails behind the fork comes over the channel") {
    NEEDS_DENY();
    const Daemon daemon;
    const struct {
        const char *call, *object, *cause;
    } all[] = {{"setsid:EPERM", "setsid", "Operation not permitted"},
               {"setsid:ENOSYS", "setsid", "Function not implemented"},
               {"chdir:EACCES", "'/'", "Permission denied"},
               {"ftruncate:EIO", "d.pid'", "Input/output error"},
               {"pwrite64:ENOSPC", "d.pid'", "No space left on device"}};
    for (const auto& one : all) {
        INFO(one.call);
        const Outcome launcher = run(denied({one.call}, daemon.words("start")));
        check_failed(daemon, launcher, 1, {one.object, one.cause});
    }
}
