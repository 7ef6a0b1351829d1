// Rules C1 to C6: the verbs, what they say and with which status.
#include "support/expect.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <memory>

using namespace expect;

namespace {

// A process that has locked a PID file and written a number, and is no daemon of ours.
Descriptor foreign_lock(const std::string& path, const std::string& text) {
    Descriptor file = open_file(path, O_RDWR | O_CREAT);
    REQUIRE(lock(file));
    REQUIRE(pwrite(file.get(), text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));
    return file;
}

}  // namespace

TEST_CASE("C1 an unknown or missing word: usage on stderr, status 2; --help: on stdout, 0") {
    for (const Strings& words : {Strings{}, Strings{"begin"}, Strings{"START"}, Strings{""}}) {
        const Outcome said = run(Launch(Strings{program("subject")} + words));
        INFO(said.text());
        CHECK(said.status == 2);
        CHECK(said.out == "");
        for (const char* word : {"start", "stop", "restart", "reload", "status", "run"})
            CHECK(contains(said.err, word));
    }
    const Outcome help = run({{program("subject"), "--help"}});
    INFO(help.text());
    CHECK(help.status == 0);
    CHECK(help.err == "");
    for (const char* word : {"start", "stop", "restart", "reload", "status", "run"})
        CHECK(contains(help.out, word));
    const Outcome option = run({{program("subject"), "start", "--no-such-option", "1"}});
    CHECK(option.status == 2);
    CHECK(lines(option.err).size() == 1);
}

TEST_CASE("C1 the verbs, from the start to the end") {
    const Daemon daemon;
    check_started(daemon, daemon.start());
    const pid_t pid = daemon.pid();
    CHECK(daemon.verb("status").status == 0);
    CHECK(daemon.verb("reload").status == 0);
    CHECK(daemon.logs("hup\n"));
    CHECK(daemon.verb("stop").status == 0);
    CHECK(ended(pid) == 0);
    CHECK(daemon.verb("status").status == 3);
    CHECK(daemon.dir.names() == Strings{"d.log"});
}

TEST_CASE("C1 run stays in the foreground, and Ctrl-C ends it properly") {
    const Daemon daemon;
    Running front(Launch(daemon.words("run")));
    REQUIRE(eventually([&] { return daemon.pid() == front.pid(); }));
    REQUIRE(waits_for_signals(front.pid()));
    CHECK(run(Launch(daemon.words("status"))).status == 0);
    front.signal(SIGINT);
    const Outcome said = front.finish();
    INFO(said.text());
    CHECK(said.status == 0);
    CHECK_FALSE(exists(daemon.pidfile));
}

TEST_CASE("C2 stop: SIGTERM, and it returns when the process and the file are gone") {
    const Daemon daemon;
    for (const char* delay : {"0", "500"}) {
        REQUIRE(daemon.start({"--term-delay-ms", delay}).status == 0);
        const pid_t pid = daemon.pid();
        const Outcome stop = daemon.verb("stop");
        INFO(stop.text());
        CHECK_FALSE(alive(pid));  // now, not soon
        CHECK_FALSE(exists(daemon.pidfile));
        CHECK(stop.status == 0);
        CHECK(stop.err == "");
        CHECK(contains(stop.out, "ended"));
        CHECK(stop.took >= Millis(to_long(delay)));
        CHECK(ended(pid) == 0);
    }
}

TEST_CASE("C2 stop of what does not run is a success that says so") {
    const Daemon daemon;
    const Outcome stop = daemon.verb("stop");
    INFO(stop.text());
    CHECK(stop.status == 0);
    CHECK(contains(stop.out, "not running"));
    CHECK(daemon.dir.names().empty());
    daemon.dir.file("d.pid", "4711\n");
    CHECK(daemon.verb("stop").status == 0);
}

TEST_CASE("C2 at the limit SIGKILL, and the file that was left is removed") {
    const Daemon daemon;
    REQUIRE(daemon.start({"--ignore-term"}).status == 0);
    const pid_t pid = daemon.pid();
    const Outcome stop = daemon.verb("stop", {"--timeout", "0.7"});
    INFO(stop.text());
    CHECK(stop.status == 0);
    CHECK(stop.took >= Millis(700));
    CHECK(contains(stop.out, "killed"));
    CHECK(ended(pid) == 128 + SIGKILL);
    CHECK_FALSE(exists(daemon.pidfile));
}

TEST_CASE("C2 a stopped daemon (SIGSTOP) is ended too") {
    const Daemon daemon;
    REQUIRE(daemon.start().status == 0);
    const pid_t pid = daemon.pid();
    send_signal(pid, SIGSTOP);
    REQUIRE(eventually([&] { return facts(pid).state == 'T'; }));
    const Outcome stop = daemon.verb("stop");
    INFO(stop.text());
    CHECK(stop.status == 0);
    CHECK(stop.took < Millis(5000));
    CHECK(ended(pid) == 0);
    CHECK_FALSE(exists(daemon.pidfile));
}

TEST_CASE("C2 without pidfd it is the same, by back-off polling") {
    NEEDS_DENY();
    const Daemon daemon;
    const Strings denials = {"pidfd_open:ENOSYS", "pidfd_send_signal:ENOSYS"};
    for (const char* option : {"--child", "--ignore-term"}) {
        REQUIRE(daemon.start({option}).status == 0);
        const pid_t pid = daemon.pid();
        const Outcome stop = run(denied(denials, daemon.words("stop", {"--timeout", "1"})));
        INFO(stop.text());
        CHECK(stop.status == 0);
        CHECK_FALSE(alive(pid));
        CHECK_FALSE(exists(daemon.pidfile));
    }
}

TEST_CASE("C2 the daemon's children are not killed") {
    const Daemon daemon;
    REQUIRE(daemon.start({"--child"}).status == 0);
    const pid_t child = static_cast<pid_t>(to_long(daemon.logged("child")));
    REQUIRE(child > 1);
    CHECK(daemon.verb("stop").status == 0);
    CHECK(alive(child));
    check_started(daemon, daemon.start());
}

TEST_CASE("C2 a start under way is waited for, not slain before it has a number") {
    const Daemon daemon;
    Running launcher(daemon.launch({"--ready-delay-ms", "500"}));
    REQUIRE(eventually([&] { return exists(daemon.pidfile); }));
    const Outcome stop = daemon.verb("stop");
    INFO(stop.text());
    CHECK(stop.status == 0);
    CHECK_FALSE(exists(daemon.pidfile));
    const Outcome start = launcher.finish();
    INFO(start.text());
    CHECK((start.status == 0 || start.status == 128 + SIGTERM));
    CHECK(descendants().empty());
}

TEST_CASE("C2 stop of oneself is refused; an ancestor is stopped, with a warning") {
    SKIP_UNLESS(!harness::thread_sanitized(),
                "ThreadSanitizer holds signals back while a program waits");
    const Victim daemon;
    check_started(daemon,
                  daemon.start({"open", "stop=" + daemon.pidfile + ",1000", "say=done", "wait"}));
    REQUIRE(daemon.logs("done"));
    CHECK(contains(slurp(daemon.log), "stopped=failed error=invalid_option"));
    CHECK(alive(daemon.pid()));

    check_ends(daemon, 128 + SIGTERM);

    // A script that the daemon itself runs calls `stop`: it goes on, nobody's child, and tells.
    const std::string stop = "exec " + program("subject") + " stop --pidfile " + daemon.pidfile;
    check_started(daemon,
                  daemon.start({"open", daemon.gate(), "system=" + stop, "say=survived", "wait"}));
    const pid_t pid = daemon.pid();
    daemon.let_go();
    CHECK(ended(pid) == 128 + SIGTERM);
    REQUIRE(daemon.logs("subject: ended after"));
    INFO(slurp(daemon.log));
    CHECK(contains(slurp(daemon.log),
                   "subject: the daemon is an ancestor of this command; it is stopped anyway\n"));
    CHECK_FALSE(contains(slurp(daemon.log), "survived"));
    CHECK_FALSE(exists(daemon.pidfile));
}

TEST_CASE("C2 locked by no daemon of ours: nobody is killed, and it says so") {
    SKIP_UNLESS(!generic(), "no record lock: flock and a number are all the proof there is");
    const Daemon daemon;
    Running stranger(Launch({"sleep", "100"}));
    const Descriptor held = foreign_lock(daemon.pidfile, std::to_string(stranger.pid()) + "\n");
    const struct stat before = stat_of(daemon.pidfile);
    for (const char* verb : {"stop", "reload"}) {
        const Outcome said = daemon.verb(verb);
        INFO(said.text());
        CHECK(said.status > 0);
        CHECK(lines(said.err).size() == 1);
        CHECK_FALSE(said.timed_out);
    }
    CHECK(alive(stranger.pid()));
    CHECK(same_file_state(before, stat_of(daemon.pidfile)));
}

TEST_CASE("C2 the process is gone and a stopped launcher keeps its duplicate: not too early") {
    SKIP_UNLESS(!generic(), "POSIX does not tell a process from the corpse that its parent keeps");
    const Victim daemon;
    Running launcher(daemon.launch(
        {"by-hand=1", "open", "say=open", daemon.gate(), "ready", "say=ready", "wait-term"}));
    REQUIRE(daemon.logs("open"));
    const pid_t pid = daemon.pid();
    launcher.signal(SIGSTOP);  // Ctrl-Z
    daemon.let_go();
    REQUIRE(daemon.logs("ready"));
    Running stop(Launch({program("subject"), "stop", "--pidfile", daemon.pidfile}));
    CHECK(gone(pid));
    eventually([&] { return stop.finished(); }, Millis(300));
    const Outcome done = stop.finish();
    INFO(done.text());
    // Its file is gone, so nobody is in the way of the next start: that is what stop promises.
    CHECK(done.status == 0);
    CHECK_FALSE(exists(daemon.pidfile));
    launcher.signal(SIGCONT);
    launcher.finish();
}

TEST_CASE(
    "C2 a killed daemon's file that a stopped launcher keeps locked is waited for and removed") {
    SKIP_UNLESS(!generic(), "POSIX does not tell a process from the corpse that its parent keeps");
    const Victim daemon;
    Running launcher(daemon.launch({"by-hand=1", "handler=15", "open", "say=open", daemon.gate(),
                                    "ready", "say=ready", "wait"}));
    REQUIRE(daemon.logs("open"));
    const pid_t pid = daemon.pid();
    launcher.signal(SIGSTOP);
    daemon.let_go();
    REQUIRE(daemon.logs("ready"));
    Running stop(
        Launch({program("subject"), "stop", "--timeout", "0.3", "--pidfile", daemon.pidfile}));
    CHECK(gone(pid));
    eventually([&] { return stop.finished(); }, Millis(100));
    CHECK_FALSE(stop.finished());
    launcher.signal(SIGCONT);
    const Outcome done = stop.finish();
    INFO(done.text());
    CHECK(done.status == 0);
    CHECK_FALSE(exists(daemon.pidfile));
    launcher.finish();
}

TEST_CASE("C2 another daemon has the lock by then: it says so and kills nobody") {
    const Daemon daemon;
    REQUIRE(daemon.start({"--term-delay-ms", "600"}).status == 0);
    const pid_t first = daemon.pid();
    Running stop(Launch(daemon.words("stop")));
    // A supervisor is faster than we are: it starts the next one as soon as the lock is free.
    std::unique_ptr<Outcome> second;
    CHECK(gone(first));
    for (int i = 0; i < 50 && (!second || second->status != 0); ++i)
        second.reset(new Outcome(daemon.start()));
    REQUIRE(second->status == 0);
    const Outcome done = stop.finish();
    INFO(done.text());
    CHECK(alive(daemon.pid()));
    CHECK(daemon.pid() != first);
}

TEST_CASE("C3 status: 0 running with PID and uptime; 3 missing or empty; 1 a number is left") {
    const Daemon daemon;
    Outcome said = daemon.verb("status");
    CHECK(said.status == 3);
    CHECK(daemon.dir.names().empty());
    daemon.dir.file("d.pid", "");
    CHECK(daemon.verb("status").status == 3);
    daemon.dir.file("d.pid", "4711\n");
    said = daemon.verb("status");
    CHECK(said.status == 1);
    CHECK(contains(said.out, "4711"));
    REQUIRE(daemon.start().status == 0);
    said = daemon.verb("status");
    INFO(said.text());
    CHECK(said.status == 0);
    CHECK(said.err == "");
    CHECK(contains(said.out, "running"));
    CHECK(contains(said.out, std::to_string(daemon.pid())));
    const Outcome api = run({{program("victim"), "status=" + daemon.pidfile}});
    CHECK(contains(api.out, "state=0 pid=" + std::to_string(daemon.pid()) + " "));
    const long uptime = to_long(value_in(api.out, "uptime"));
    CHECK(uptime >= 0);
    CHECK(uptime < 120000);
}

TEST_CASE("C3 status: uptime is counted from the process's own start") {
    const Daemon daemon;
    REQUIRE(daemon.start({"--ready-delay-ms", "700"}).status == 0);
    const Outcome api = run({{program("victim"), "status=" + daemon.pidfile}});
    INFO(api.text());
    const long uptime = to_long(value_in(api.out, "uptime"));
    if (!generic()) CHECK(uptime >= 600);  // there the system does not tell: 0
    CHECK(uptime < 700 + patience().count());
}

TEST_CASE("C3 status: 4 where it cannot be told, after having asked again for up to a second") {
    const Daemon daemon;
    {
        const Descriptor held = foreign_lock(daemon.pidfile, "");
        const Outcome said = daemon.verb("status");
        INFO(said.text());
        CHECK(said.status == 4);
        CHECK(said.took >= Millis(500));
        CHECK(lines(said.out + said.err).size() == 1);
    }
    REQUIRE(unlink(daemon.pidfile.c_str()) == 0);
    REQUIRE(mkfifo(daemon.pidfile.c_str(), 0644) == 0);
    const Outcome fifo = daemon.verb("status");
    INFO(fifo.text());
    CHECK(fifo.status == 4);
    REQUIRE(unlink(daemon.pidfile.c_str()) == 0);
    if (!is_root()) return;
    daemon.dir.file("d.pid", "", 0600);
    Launch launch(daemon.words("status"));
    launch.before_exec = become_nobody;
    const Outcome closed = run(launch);
    INFO(closed.text());
    CHECK(closed.status == 4);
    CHECK(contains(closed.out + closed.err, "Permission denied"));
}

TEST_CASE(
    "C3 status of a start under way: who is starting, and 4; once it has ended it is running") {
    const Daemon daemon;
    Running launcher(daemon.launch({"--ready-delay-ms", "1000"}));
    REQUIRE(eventually([&] { return daemon.pid() > 1; }));
    const std::string pid = std::to_string(daemon.pid());
    const Outcome said = daemon.verb("status");
    INFO(said.text());
    if (generic()) {  // without a record lock nobody can be told
        CHECK(said.status == 0);
    } else {
        CHECK(said.status == 4);
        CHECK(said.out == "subject: starting as process " + pid + "\n");
    }
    CHECK(said.took < Millis(500));  // there is nothing to wait for
    CHECK(launcher.finish().status == 0);
    const Outcome ready = daemon.verb("status");
    CHECK(ready.status == 0);
    CHECK(contains(ready.out, "running as process " + pid));
}

TEST_CASE("C4 restart: stop, then start; from nothing it is a start") {
    const Daemon daemon;
    Outcome said = daemon.verb("restart");
    INFO(said.text());
    CHECK(said.status == 0);
    const pid_t first = daemon.pid();
    REQUIRE(alive(first));
    said = daemon.verb("restart");
    CHECK(said.status == 0);
    CHECK_FALSE(alive(first));
    CHECK(daemon.pid() != first);
    CHECK(alive(daemon.pid()));
    CHECK(said.end_of_file);
}

TEST_CASE("C4 restart with a new one that cannot start: says so, non-zero, and none is left") {
    const Daemon daemon;
    REQUIRE(daemon.start().status == 0);
    const Outcome said = daemon.verb("restart", {"--fail-init", "bad configuration"});
    INFO(said.text());
    CHECK(said.status == 1);
    CHECK(contains(said.err, "bad configuration"));
    CHECK(lines(said.err).size() == 1);
    CHECK(descendants().empty());
    CHECK_FALSE(exists(daemon.pidfile));
}

TEST_CASE("C4 restarts under load: never two at once") {
    const Daemon daemon;
    // Each daemon takes this lock and fails where another still has it. It gives it
    // back with its last act: the PID file goes when the body is over, exit handlers come later.
    const std::string only = daemon.dir.file("only-one", "");
    std::vector<std::unique_ptr<Running>> all;
    for (int i = 0; i < 4; ++i)
        all.emplace_back(new Running(
            Launch({"sh", "-c",
                    "for i in 1 2 3 4 5; do '" + program("victim") + "' pidfile=" + daemon.pidfile +
                        " stdout=" + daemon.log + " control=restart alone-or-fail=" + only +
                        " say=alone ready wait-term alone-no-more; done"})));
    for (auto& one : all) {
        const Outcome done = one->finish();
        INFO(done.text());
        CHECK_FALSE(contains(done.err + done.out, "two at once"));
    }
    CHECK(count(slurp(daemon.log), "alone") >= 1);
    CHECK_FALSE(contains(slurp(daemon.log), "two at once"));
}

TEST_CASE("C5 reload never ends a daemon that does not handle SIGHUP") {
    const Victim daemon;
    check_started(daemon, daemon.start({"open", "wait"}));
    for (int i = 0; i < 3; ++i)
        CHECK(run({{program("subject"), "reload", "--pidfile", daemon.pidfile}}).status == 0);
    CHECK(run({{program("subject"), "status", "--pidfile", daemon.pidfile}}).status == 0);
    CHECK(alive(daemon.pid()));
}

TEST_CASE("C5 reload never ends a daemon whose SignalHandler was not asked for SIGHUP") {
    const Victim daemon;
    check_started(daemon, daemon.start({"open", "wait-term"}));
    REQUIRE(eventually([&] { return has(facts(daemon.pid()).caught, SIGABRT); }));
    CHECK(run({{program("subject"), "reload", "--pidfile", daemon.pidfile}}).status == 0);
    // By a function that does nothing: what the daemon runs does not inherit an ignored SIGHUP.
    CHECK(has(facts(daemon.pid()).caught, SIGHUP));
    CHECK_FALSE(has(facts(daemon.pid()).ignored, SIGHUP));
    check_ends(daemon);
}

TEST_CASE("C5 under control() the default handler of SIGHUP re-opens the streams") {
    const Victim daemon;
    REQUIRE(daemon.start({"control=start", "ready", "wait-term"}).status == 0);
    REQUIRE(rename(daemon.log.c_str(), (daemon.dir / "old.log").c_str()) == 0);
    // The handler is taken when the daemon begins to wait.
    CHECK(eventually([&] {
        return run({{program("subject"), "reload", "--pidfile", daemon.pidfile}}).status == 0 &&
               exists(daemon.log);
    }));
}

TEST_CASE("C6 reload of what does not run: 7") {
    const Daemon daemon;
    CHECK(daemon.verb("reload").status == 7);
    daemon.dir.file("d.pid", "4711\n");
    const Outcome said = daemon.verb("reload");
    INFO(said.text());
    CHECK(said.status == 7);
    CHECK(lines(said.err).size() == 1);
}

TEST_CASE("C6 P1 what nobody holds does not run, whatever it holds: that is only said") {
    const Daemon daemon;
    for (const std::string& text :
         {std::string("garbage\n"), std::string("0\n"), std::string("-1\n"),
          std::string("99999999999999999999\n"), std::string("\n"), std::string("\0\1\2", 3)}) {
        daemon.dir.file("d.pid", text);
        const Outcome stop = daemon.verb("stop"), reload = daemon.verb("reload");
        INFO(stop.text(), reload.text());
        CHECK(stop.status == 0);
        CHECK(stop.err.empty());
        CHECK(contains(stop.out, "subject: not running (it"));
        CHECK(reload.status == 7);
        CHECK(contains(reload.err, ": not running (it"));
        CHECK(slurp(daemon.pidfile) == text);
    }
}

TEST_CASE("C4 restart ends nobody for a start that cannot even begin") {
    const Daemon daemon;
    REQUIRE(daemon.start().status == 0);
    const pid_t pid = daemon.pid();
    for (const Strings& wrong : {Strings{"--user", "no-such-user"}, Strings{"--umask", "7777"},
                                 Strings{"--threads", "2"}}) {
        const bool threads = wrong[0] == "--threads";
        if (threads && (generic() || thread_sanitized())) continue;  // they are not counted there
        const Outcome said = daemon.verb("restart", wrong);
        INFO(said.text());
        CHECK(said.status == 1);
        CHECK(lines(said.err).size() == 1);
        CHECK(alive(pid));
        CHECK(daemon.pid() == pid);
    }
}

TEST_CASE("C2 a limit that is no number is a usage error, and nobody is killed") {
    const Daemon daemon;
    REQUIRE(daemon.start().status == 0);
    for (const char* wrong : {"abc", "", "nan", "-1", "10x"}) {
        const Outcome said = daemon.verb("stop", {"--timeout", wrong});
        INFO(said.text());
        CHECK(said.status == 2);
    }
    CHECK(alive(daemon.pid()));
    CHECK(daemon.verb("stop", {"--timeout", "inf"}).status == 0);
}

TEST_CASE("C6 without permission: stop and reload say so with status 4, and do nothing") {
    NEEDS_ROOT();
    const Daemon daemon;
    REQUIRE(daemon.start().status == 0);
    for (const char* verb : {"stop", "reload", "restart"}) {
        Launch launch(daemon.words(verb));
        launch.before_exec = become_nobody;
        const Outcome said = run(launch);
        INFO(said.text());
        CHECK(said.status == 4);
        CHECK(contains(said.err, "Operation not permitted"));
        CHECK(lines(said.err).size() == 1);
    }
    CHECK(alive(daemon.pid()));
}

TEST_CASE("C6 start: the daemon's own code, 1 refused, 124 at the limit") {
    const Daemon daemon;
    CHECK(daemon.start({"--exit-init", "42"}).status == 42);
    CHECK(daemon.start({"--ready-timeout", "0.3", "--ready-delay-ms", "60000"}).status == 124);
    CHECK(daemon.start().status == 0);
    CHECK(daemon.start().status == 1);
}

TEST_CASE("C6 what is not available here: 3") {
    const Victim daemon;
    check_failed(daemon, daemon.start({"replace-arguments=1", "control=start"}), 3, {"arguments"});
}

TEST_CASE("C6 the exit status of the body is the daemon's, and that of run") {
    const Victim daemon;
    const Outcome front =
        run({{program("victim"), "pidfile=" + daemon.pidfile, "control=run", "ready", "return=5"}});
    INFO(front.text());
    CHECK(front.status == 5);
    CHECK_FALSE(exists(daemon.pidfile));
    REQUIRE(daemon.start({"control=start", "ready", daemon.gate(), "return=6"}).status == 0);
    const pid_t pid = daemon.pid();
    daemon.let_go();
    CHECK(ended(pid) == 6);
}

TEST_CASE("C6 text for people on stdout, errors on stderr") {
    const Daemon daemon;
    Outcome said = daemon.start();
    CHECK(said.err == "");
    said = daemon.start();
    CHECK(said.out == "");
    CHECK(said.err != "");
    said = daemon.verb("stop");
    CHECK(said.err == "");
    CHECK(lines(said.out).size() == 1);
}

TEST_CASE("C6 a verb that needs a PID file and has none: status 2") {
    for (const char* verb : {"stop", "status", "reload", "restart"}) {
        const Outcome said = run({{program("subject"), verb}});
        INFO(said.text());
        CHECK(said.status == 2);
        CHECK(lines(said.err).size() >= 1);
    }
}

TEST_CASE("C4 P1 restart over a file that nobody has locked is a start, whatever it holds") {
    const Daemon daemon;
    for (const char* content : {"garbage\n", "0\n", "\n", "99999999999999999\n"}) {
        daemon.dir.file("d.pid", content);
        const Outcome said = daemon.verb("restart");
        INFO(said.text());
        CHECK(said.status == 0);
        CHECK(daemon.verb("status").status == 0);
        CHECK(daemon.verb("stop").status == 0);
    }
}
