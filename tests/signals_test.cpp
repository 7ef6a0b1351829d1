// Rules G1 to G9: signals in normal context, and only to whom they are meant for.
#include "support/expect.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <sstream>
#include <stdexcept>

using namespace expect;

namespace {

Launch watcher(const Strings& words) { return Launch(Strings{program("watcher")} + words); }

// A watcher whose standard input is a pipe that the test holds.
struct Fed {
    explicit Fed(const Strings& words) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
        const Descriptor reading(ends[0]);
        writing = Descriptor(ends[1]);
        Launch launch = watcher(words);
        launch.input = reading.get();
        running.reset(new Running(launch));
    }
    Descriptor writing;
    std::unique_ptr<Running> running;
};

bool is_asleep(pid_t pid) { return facts(pid).state == 'S'; }

}  // namespace

// ---- G1 -----------------------------------------------------------------------------------------

TEST_CASE("G1 the three of daemoniker, on() and reload report by default, or call") {
    Running running(watcher({"on=10:callback", "on=12:report", "start", "say=up", "until-term"}));
    REQUIRE(running.says("up"));
    running.signal(SIGUSR1);
    CHECK(running.says("called=10"));
    running.signal(SIGUSR2);
    CHECK(running.says("got=12"));
    running.signal(SIGINT);
    CHECK(running.says("got=2"));
    running.signal(SIGABRT);
    CHECK(running.says("got=6"));
    running.signal(SIGTERM);
    CHECK(running.finish().status == 0);
}

TEST_CASE("G1 signals that no program can handle in normal context are refused by name") {
    const struct {
        int signum;
        const char* name;
    } refused[] = {{SIGSEGV, "SIGSEGV"},
                   {SIGBUS, "SIGBUS"},
                   {SIGFPE, "SIGFPE"},
                   {SIGILL, "SIGILL"},
                   {SIGTRAP, "SIGTRAP"},
                   {SIGSYS, "SIGSYS"},
                   {SIGKILL, "SIGKILL"},
                   {SIGSTOP, "SIGSTOP"},
                   {32, "32"},
                   {33, "33"},
                   {0, "0"},
                   {-1, "-1"},
                   {4711, "4711"}};
    for (const auto& one : refused) {
        const Outcome said = run(watcher({"try-on=" + std::to_string(one.signum)}));
        INFO(said.text());
        CHECK(contains(said.out, "on=0 error=unknown_signal"));
        CHECK(contains(said.out, one.name));
    }
    // Not SIGRTMIN: another C library (musl) keeps that of this one for itself.
    for (const int signum :
         {SIGUSR1, SIGWINCH, SIGCHLD, SIGQUIT, SIGPIPE, SIGCONT, SIGRTMIN + 1, SIGRTMAX})
        CHECK(contains(run(watcher({"try-on=" + std::to_string(signum)})).out, "on=1 "));
}

TEST_CASE("G1 the actions: ignored, default, terminate") {
    Running ignoring(watcher({"on=15:ignore", "on=2:default", "start", "say=up", "until-term"}));
    REQUIRE(ignoring.says("up"));
    ignoring.signal(SIGTERM);
    CHECK(has(facts(ignoring.pid()).ignored, SIGTERM));
    ignoring.signal(SIGINT);
    CHECK(ignoring.finish().status == 128 + SIGINT);

    const Daemon daemon;
    Running ending(watcher({"pidfile=" + daemon.pidfile, "detach=no", "open", "with-context",
                            "on=10:terminate", "start", "say=up", "until-term"}));
    REQUIRE(ending.says("up"));
    REQUIRE(daemon.pid() == ending.pid());
    ending.signal(SIGUSR1);
    CHECK(ending.finish().status == 128 + SIGUSR1);
    CHECK_FALSE(exists(daemon.pidfile));
}

TEST_CASE("G1 a handler is assignable while it runs; a callback may replace itself") {
    Running running(watcher({"on=10:replace-self", "start", "say=up", "until-term"}));
    REQUIRE(running.says("up"));
    running.signal(SIGUSR1);
    REQUIRE(running.says("first=10"));
    running.signal(SIGUSR1);
    CHECK(running.says("second=10"));
    CHECK(count(running.out(), "first=") == 1);

    Running other(watcher({"start", "on=15:callback", "say=up", "wait-for=300", "on=15:report",
                           "say=again", "wait"}));
    REQUIRE(other.says("up"));
    other.signal(SIGTERM);
    CHECK(other.says("called=15"));
    REQUIRE(other.says("again"));
    other.signal(SIGTERM);
    CHECK(other.says("got=15"));
}

TEST_CASE("G1 what is assigned counts at once: on() before the next wait, a field for this one") {
    const Outcome added = run(watcher({"start", "on=12:callback", "raise=12", "poll"}));
    INFO(added.text());
    CHECK(contains(added.out, "called=12"));
    Running running(watcher({"on=10:default-term", "start", "say=up", "until-term"}));
    REQUIRE(running.says("up"));
    running.signal(SIGUSR1);
    REQUIRE(running.says("assigned"));
    REQUIRE(eventually([&] { return !has(facts(running.pid()).caught, SIGTERM); }));
    running.signal(SIGTERM);
    CHECK(running.finish().status == 128 + SIGTERM);
}

// ---- G2 -----------------------------------------------------------------------------------------

TEST_CASE("G2 callbacks run in the waiting thread, in normal context, with nothing blocked") {
    Running running(watcher(
        {"on=10:callback", "on=12:allocate", "start", "threads-of-self", "say=up", "until-term"}));
    REQUIRE(running.says("up"));
    CHECK(contains(running.out(), thread_sanitized() ? "threads=" : "threads=1\n"));
    running.signal(SIGUSR1);
    CHECK(running.says("called=10 thread=main mask=[]"));
    for (int i = 0; i < 20; ++i) running.signal(SIGUSR2);
    CHECK(running.says("called=12 size=1000"));
    running.signal(SIGTERM);
    CHECK(running.finish().status == 0);
}

TEST_CASE("G2 a signal during a callback is served after it, not inside") {
    Running running(watcher({"on=10:slow", "start", "say=up", "until-term"}));
    REQUIRE(running.says("up"));
    running.signal(SIGUSR1);
    REQUIRE(running.says("begin=10"));
    running.signal(SIGUSR1);
    running.signal(SIGTERM);
    const std::string out = running.finish().out;
    INFO(out);
    CHECK(count(out, "begin=10") == 2);
    CHECK(out.find("end=10") < out.rfind("begin=10"));  // one after the other
}

TEST_CASE("G2 before a wait nothing is called; the signal is kept for it") {
    Running running(
        watcher({"on=10:callback", "start", "say=up", "read", "say=now", "poll", "say=polled"}));
    REQUIRE(running.says("reading"));
    running.signal(SIGUSR1);
    CHECK(running.says("polled"));  // standard input is /dev/null
    CHECK(eventually([&] { return running.finished(); }));
}

// ---- G3 -----------------------------------------------------------------------------------------

TEST_CASE("G3 a callback does not end a wait; the limit holds") {
    Running running(watcher({"on=10:callback", "start", "say=up", "wait-for=600", "say=end"}));
    REQUIRE(running.says("up"));
    running.signal(SIGUSR1);
    const Outcome said = running.finish();
    INFO(said.text());
    CHECK(contains(said.out, "called=10"));
    CHECK(contains(said.out, "got=0 ms="));
    CHECK(to_long(value_in(said.out, "ms")) >= 600);
}

TEST_CASE("G3 the limit holds also where a callback keeps its own signal pending") {
    const Outcome said =
        run(watcher({"on=10:again", "start", "raise=10", "wait-for=200", "poll", "say=done"}));
    INFO(said.text());
    CHECK_FALSE(said.timed_out);
    CHECK(count(said.out, "got=0") == 2);
    CHECK(said.took < Millis(10000));
}

TEST_CASE("G3 the waits without a signal: their time, and no more") {
    const Outcome said =
        run(watcher({"start", "wait-for=200", "say=next", "wait-until=200", "say=next", "poll"}));
    INFO(said.text());
    const Strings all = lines(said.out);
    REQUIRE(all.size() == 5);
    for (const int i : {0, 2}) {
        CHECK(value_in(all[static_cast<std::size_t>(i)], "got") == "0");
        const long ms = to_long(value_in(all[static_cast<std::size_t>(i)], "ms"));
        CHECK(ms >= 199);
        CHECK(ms < 200 + patience().count() / 2);
    }
    CHECK(to_long(value_in(all[4], "ms")) < 200);
}

TEST_CASE("G3 the waits return the number of a reported signal") {
    for (const char* wait : {"wait", "wait-for=20000", "wait-until=20000", "wait-input=20000"}) {
        INFO(wait);
        Fed fed({"start", "say=up", wait});
        REQUIRE(fed.running->says("up"));
        fed.running->signal(SIGTERM);
        CHECK(fed.running->says("got=15"));
    }
    const Outcome polled = run(watcher({"start", "raise=15", "poll"}));
    CHECK(contains(polled.out, "got=15"));
}

TEST_CASE(
    "G3 throw_received: three derived types, the number as int, through a work loop's catch") {
    const struct {
        int signum;
        const char* text;
    } all[] = {{SIGTERM, "thrown=SIGTERM int=15"},
               {SIGINT, "thrown=SIGINT int=2"},
               {SIGABRT, "thrown=SIGABRT int=6"},
               {SIGUSR1, "thrown=other int=10"}};
    for (const auto& one : all) {
        const std::string raised = "raise=" + std::to_string(one.signum);
        const Outcome said = run(watcher({"on=10:report", "start", raised, "throw-in-loop"}));
        INFO(said.text());
        CHECK(contains(said.out, one.text));
        CHECK_FALSE(contains(said.out, "swallowed"));
    }
    CHECK(contains(run(watcher({"start", "throw-received=50"})).out, "thrown=nothing"));
}

TEST_CASE("G3 an exception of a callback comes out of the wait, and the next wait works") {
    Running running(watcher({"on=10:throw", "on=12:callback", "start", "say=up", "throw-in-loop"}));
    // throw-in-loop swallows what is a std::exception and goes on.
    REQUIRE(running.says("up"));
    running.signal(SIGUSR1);
    CHECK(running.says("swallowed=from the callback"));
    running.signal(SIGUSR2);
    CHECK(running.says("called=12"));
    running.signal(SIGTERM);
    CHECK(running.says("thrown=SIGTERM"));
}

TEST_CASE("G3 SIGINT, SIGTERM, SIGABRT end blocking calls; on() signals restart them") {
    for (const int signum : {SIGINT, SIGTERM, SIGABRT}) {
        Fed fed({"start", "read", "poll"});
        REQUIRE(fed.running->says("reading"));
        REQUIRE(eventually([&] { return is_asleep(fed.running->pid()); }));
        fed.running->signal(signum);
        CHECK(fed.running->says("read=error:" + std::to_string(EINTR)));
        CHECK(fed.running->says("got=" + std::to_string(signum)));
    }
    Fed fed({"on=10:callback", "start", "read", "poll", "say=end"});
    REQUIRE(fed.running->says("reading"));
    REQUIRE(eventually([&] { return is_asleep(fed.running->pid()); }));
    fed.running->signal(SIGUSR1);
    REQUIRE(eventually([&] { return is_asleep(fed.running->pid()); }));
    CHECK_FALSE(contains(fed.running->out(), "read="));
    REQUIRE(write(fed.writing.get(), "x", 1) == 1);
    CHECK(fed.running->says("read=1\ncalled=10"));
}

TEST_CASE("G3 wait_for_input: input, end of file, a signal, or the time") {
    Fed fed({"on=10:callback", "start", "say=up", "wait-input", "read", "wait-input=100",
             "wait-input", "say=end"});
    REQUIRE(fed.running->says("up"));
    fed.running->signal(SIGUSR1);
    CHECK(fed.running->says("called=10"));  // a callback does not end it
    REQUIRE(write(fed.writing.get(), "x", 1) == 1);
    CHECK(fed.running->says("got=0 input=1"));
    CHECK(fed.running->says("got=0 input=0"));  // the time
    fed.writing.reset();
    CHECK(fed.running->says("end"));  // the end of file counts as input
    const std::string out = fed.running->finish().out;
    CHECK(count(out, "got=0 input=1") == 2);
}

TEST_CASE("G3 wait_for_input has no gap: a signal before it is not slept over") {
    Fed fed({"start", "raise=15", "wait-input"});
    CHECK(fed.running->says("got=15"));
}

TEST_CASE("G3 control() turns an uncaught ReceivedSignal into an orderly end with 128 + n") {
    const Daemon daemon;
    Running running(watcher({"pidfile=" + daemon.pidfile, "control=run", "with-context", "start",
                             "ready", "say=up", "throw-out"}));
    REQUIRE(running.says("up"));
    running.signal(SIGTERM);
    const Outcome ended_so = running.finish();
    INFO(ended_so.text());
    CHECK(ended_so.status == 128 + SIGTERM);
    CHECK_FALSE(exists(daemon.pidfile));
}

// ---- G4, G5 -------------------------------------------------------------------------------------

TEST_CASE("G4 native_handle() becomes readable, and quiet again when it was polled") {
    const Outcome said =
        run(watcher({"on=10:callback", "start", "native=0", "raise=10", "native=20000", "poll",
                     "native=0", "raise=15", "native=20000", "poll", "native=0"}));
    INFO(said.text());
    std::string order;
    for (const std::string& line : lines(said.out)) order += line.substr(0, line.find(' ')) + " ";
    CHECK(order == "ready=0 ready=1 called=10 got=0 ready=0 ready=1 got=15 ready=0 ");
}

TEST_CASE("G4 native_handle() stays readable for what is left, also after an exception") {
    const Outcome said =
        run(watcher({"on=10:report", "on=12:report", "start", "raise=10", "raise=12", "poll",
                     "native=0", "poll", "native=0", "on=10:throw", "on=12:callback", "raise=10",
                     "raise=12", "poll-caught", "native=0", "poll", "native=0"}));
    INFO(said.text());
    std::string order;
    for (const std::string& line : lines(said.out)) order += line.substr(0, line.find(' ')) + " ";
    CHECK(order == "got=10 ready=1 got=12 ready=0 caught=from ready=1 called=12 got=0 ready=0 ");
}

TEST_CASE("G5 only what was asked for is touched, and stop() gives it back") {
    const Outcome said =
        run(watcher({"own-handler=15", "ignore-now=2", "own-handler=10", "dispositions",
                     "on=10:callback", "start", "start", "dispositions", "stop", "stop",
                     "dispositions", "start", "destroy", "dispositions"}));
    INFO(said.text());
    const Strings all = lines(said.out);
    REQUIRE(all.size() == 4);
    CHECK(all[0] == all[2]);
    CHECK(all[0] == all[3]);
    CHECK(all[0] != all[1]);
    int changed = 0;
    std::istringstream before(all[0]), during(all[1]);
    for (std::string a, b; before >> a && during >> b;) changed += a != b;
    CHECK(changed == 4);  // SIGINT, SIGTERM, SIGABRT, SIGUSR1; reload is left to the system
}

TEST_CASE("G5 a disposition that somebody else took meanwhile is not overwritten") {
    const Outcome said = run(watcher(
        {"start", "own-handler=15", "disposition=15", "stop", "disposition=15", "disposition=2"}));
    INFO(said.text());
    const Strings all = lines(said.out);
    REQUIRE(all.size() == 3);
    CHECK(all[0] == all[1]);
    CHECK(all[2] == "disposition=default");
}

TEST_CASE("G5 who ignores a signal meanwhile keeps that") {
    const Outcome said = run(watcher({"start", "ignore-now=15", "stop", "disposition=15"}));
    INFO(said.text());
    CHECK(contains(said.out, "disposition=ignored"));
}

TEST_CASE("G5 a callback may call stop(): everything is given back, and the wait returns") {
    const Outcome said = run(watcher(
        {"on=10:stop", "start", "raise=10", "wait-for=10000", "disposition=15", "disposition=10"}));
    INFO(said.text());
    CHECK(contains(said.out, "got=0"));
    CHECK(count(said.out, "disposition=default") == 2);
    CHECK(said.took < Millis(5000));
}

TEST_CASE("G1 SIG_IGN is the action of that name, not a function") {
    const Outcome said =
        run(watcher({"on=10:sig-ign", "start", "raise=10", "disposition=10", "poll"}));
    INFO(said.text());
    CHECK(contains(said.out, "disposition=ignored"));
    CHECK(contains(said.out, "got=0"));
}

TEST_CASE("G5 signal_map's callback of SIGTERM is run by a SignalHandler of that context") {
    const Outcome said = run(watcher(
        {"detach=no", "map=15:callback", "open", "with-context", "start", "raise=15", "poll"}));
    INFO(said.text());
    CHECK(contains(said.out, "called=15"));
    CHECK(contains(said.out, "got=0"));
}

TEST_CASE("G8 a forked child can take signals itself, while the parent goes on") {
    const Outcome said = run(watcher({"start", "worker=15", "raise=15", "poll"}));
    INFO(said.text());
    CHECK(contains(said.out, "child-code=15"));
    CHECK(contains(said.out, "got=15"));
}

TEST_CASE("G5 two handlers at once: the second start is an error; one after the other works") {
    const Outcome said =
        run(watcher({"start", "second", "stop", "second", "start", "raise=15", "poll"}));
    INFO(said.text());
    const Strings all = lines(said.out);
    REQUIRE(all.size() == 3);
    CHECK(contains(all[0], "second=0 error=invalid_option"));
    CHECK(contains(all[1], "second=1 "));
    CHECK(contains(all[2], "got=15"));
}

TEST_CASE("G5 a SignalHandler goes before signal_map, and gives it back") {
    const Daemon daemon;
    Running running(
        watcher({"pidfile=" + daemon.pidfile, "detach=no", "map=10:ignore", "map=12:callback",
                 "open", "disposition=10", "with-context", "on=10:callback", "start", "say=up",
                 "wait-for=400", "stop", "disposition=10", "say=down", "wait-for=20000"}));
    REQUIRE(running.says("up"));
    CHECK(contains(running.out(), "disposition=ignored"));
    running.signal(SIGUSR1);
    running.signal(SIGUSR2);
    CHECK(running.says("called=10"));
    CHECK(running.says("called=12"));
    REQUIRE(running.says("down"));
    CHECK(count(running.out(), "disposition=ignored") == 2);
}

TEST_CASE("G5 after stop() SIGTERM ends the daemon with the PID file removed, as before start()") {
    const Daemon daemon;
    Running running(watcher({"pidfile=" + daemon.pidfile, "detach=no", "open", "with-context",
                             "start", "stop", "say=down", "sleep=20000"}));
    REQUIRE(running.says("down"));
    running.signal(SIGTERM);
    CHECK(running.finish().status == 128 + SIGTERM);
    CHECK_FALSE(exists(daemon.pidfile));
}

TEST_CASE("G5 what was not waited for is dropped by stop(), also over the daemon's own action") {
    const Daemon daemon;
    const Outcome said =
        run(watcher({"pidfile=" + daemon.pidfile, "detach=no", "open", "with-context", "start",
                     "raise=15", "stop", "start", "poll", "raise=15", "poll"}));
    INFO(said.text());
    const Strings all = lines(said.out);
    REQUIRE(all.size() == 2);
    CHECK(contains(all[0], "got=0"));
    CHECK(contains(all[1], "got=15"));
}

TEST_CASE("G1 a SignalHandler that was started before the daemon goes on in it") {
    const Daemon daemon;
    const Outcome launcher =
        run(watcher({"pidfile=" + daemon.pidfile, "stdout=" + daemon.log, "detach=yes",
                     "on=10:callback", "on=12:ignore", "start", "open", "disposition=12", "wait",
                     "stop", "disposition=15", "say=stopped", "sleep=20000"}));
    INFO(launcher.text());
    REQUIRE(launcher.status == 0);
    const pid_t pid = daemon.pid();
    REQUIRE(daemon.logs("disposition=ignored"));
    kill(pid, SIGUSR2);
    kill(pid, SIGUSR1);
    REQUIRE(daemon.logs("called=10"));
    kill(pid, SIGTERM);
    REQUIRE(daemon.logs("stopped"));
    CHECK(contains(slurp(daemon.log), "got=15"));
    kill(pid, SIGTERM);  // given back to what a daemon does without a handler: it removes its file
    CHECK(gone(pid));
    CHECK_FALSE(exists(daemon.pidfile));
}

// ---- G6 -----------------------------------------------------------------------------------------

TEST_CASE("G6 100,000 signals into a queue that nobody reads: no block, none of a kind is lost") {
    const Outcome said = run(watcher(
        {"on=10:count", "on=12:report", "start", "fill=100000", "raise=12", "wait", "counted=10"}));
    INFO(said.text());
    CHECK(contains(said.out, "got=12"));
    CHECK(to_long(value_in(said.out, "counted")) == 100000);
}

TEST_CASE("G6 10,000 signals from eight senders: no deadlock, the last one is never lost") {
    Running running(
        watcher({"on=10:count", "on=12:callback", "start", "say=up", "wait", "counted=10"}));
    REQUIRE(running.says("up"));
    const std::string pid = std::to_string(running.pid());
    std::vector<std::unique_ptr<Running>> senders;
    for (int i = 0; i < 8; ++i)
        senders.emplace_back(new Running(
            Launch({"sh", "-c",
                    "i=0; while [ $i -lt 1250 ]; do kill -USR1 " + pid + "; i=$((i+1)); done"})));
    for (auto& sender : senders) CHECK(sender->finish().status == 0);
    running.signal(SIGUSR2);
    CHECK(running.says("called=12"));
    running.signal(SIGTERM);
    const Outcome said = running.finish();
    CHECK(contains(said.out, "got=15"));
    const long counted = to_long(value_in(said.out, "counted"));
    CHECK(counted >= 1);
    CHECK(counted <= 10000);
}

// ---- G7 -----------------------------------------------------------------------------------------

namespace {

Outcome send(const std::string& pidfile, int signum) {
    return run(Launch({program("victim"), "send=" + pidfile + "," + std::to_string(signum)}));
}

}  // namespace

TEST_CASE("G7 send() reaches the proven holder") {
    const Daemon daemon;
    REQUIRE(daemon.start().status == 0);
    CHECK(contains(send(daemon.pidfile, SIGUSR1).out, "sent=1"));
    CHECK(daemon.logs("usr1\n"));
    CHECK(contains(send(daemon.pidfile, SIGTERM).out, "sent=1"));
    CHECK(eventually([&] { return !exists(daemon.pidfile); }));
    CHECK(contains(send(daemon.pidfile, SIGTERM).out, "error=not_running"));
}

TEST_CASE("G7 send() of no signal is an error that names it") {
    const Daemon daemon;
    REQUIRE(daemon.start().status == 0);
    for (const int signum : {0, -1, -15, 32, 33, 65, 4711}) {
        const Outcome said = send(daemon.pidfile, signum);
        INFO(said.text());
        CHECK(contains(said.out, "sent=0 error=unknown_signal"));
        CHECK(contains(said.out, std::to_string(signum)));
    }
    CHECK(alive(daemon.pid()));
}

TEST_CASE("G7 a number without a lock is nobody: the stranger is not signalled") {
    const Scratch dir;
    Running stranger(Launch({"sleep", "100"}));
    for (const std::string& text :
         {std::to_string(stranger.pid()) + "\n", std::string("1\n"), std::string("0\n"),
          "-" + std::to_string(stranger.pid()) + "\n", std::string("-1\n"), std::string(""),
          std::string("garbage"), std::to_string(getpid()) + "\r\n",
          std::string("99999999999999999999\n"), std::string("\0\1\2", 3)}) {
        const std::string file = dir.file("s.pid", text);
        const Outcome said = send(file, SIGTERM);
        INFO(text, said.text());
        CHECK(contains(said.out, "sent=0"));
        CHECK_FALSE(contains(said.out, "error=none"));
        CHECK(slurp(file) == text);
        const Outcome stop = run(Launch({program("subject"), "stop", "--pidfile", file}));
        CHECK(stop.status == 0);
        // What a dead daemon left goes (C2), be it emptied; anything else is for people to look at.
        const long long number = std::strtoll(text.c_str(), nullptr, 10);
        const bool is_daemons = text.empty() || (number > 0 && number <= INT_MAX);
        CHECK(exists(file) == !is_daemons);
    }
    CHECK(alive(stranger.pid()));
}

TEST_CASE("G7 a lock held by another than the number says: nobody is signalled") {
    SKIP_UNLESS(!generic(), "no record lock: flock and a number are all the proof there is");
    const Scratch dir;
    Running stranger(Launch({"sleep", "100"}));
    const std::string file = dir.file("s.pid", std::to_string(stranger.pid()) + "\n");
    const Descriptor held = open_file(file, O_RDWR);
    REQUIRE(lock(held));  // anyone who may read the file can do that
    Outcome said = send(file, SIGTERM);
    INFO(said.text());
    CHECK(contains(said.out, "error=unproven_holder"));
    CHECK(alive(stranger.pid()));
    // A record lock of another process than the one whose number stands there.
    struct flock record;
    std::memset(&record, 0, sizeof record);
    record.l_type = F_WRLCK;
    record.l_whence = SEEK_SET;
    REQUIRE(fcntl(held.get(), F_SETLK, &record) == 0);
    said = send(file, SIGTERM);
    INFO(said.text());
    CHECK(contains(said.out, "sent=0"));
    CHECK(alive(stranger.pid()));
}

TEST_CASE("G7 untrusted files: no signal through a symlink, a FIFO, a file that others can write") {
    const Daemon daemon;
    REQUIRE(daemon.start().status == 0);
    REQUIRE(symlink(daemon.pidfile.c_str(), (daemon.dir / "link").c_str()) == 0);
    CHECK(contains(send(daemon.dir / "link", SIGTERM).out, "error=untrusted_pid_file"));
    REQUIRE(chmod(daemon.pidfile.c_str(), 0666) == 0);
    CHECK(contains(send(daemon.pidfile, SIGTERM).out, "error=untrusted_pid_file"));
    CHECK(alive(daemon.pid()));
}

TEST_CASE("G7 without permission: the system's error, and the daemon lives") {
    NEEDS_ROOT();
    const Daemon daemon;
    REQUIRE(daemon.start().status == 0);
    Launch launch({program("victim"), "send=" + daemon.pidfile + ",15"});
    launch.before_exec = become_nobody;
    const Outcome said = run(launch);
    INFO(said.text());
    CHECK(contains(said.out, "sent=0 error=errno:1 "));
    CHECK(alive(daemon.pid()));
}

TEST_CASE("G7 root signals through a user's file only that user's own process") {
    NEEDS_ROOT();
    SKIP_UNLESS(!generic(), "the holder is told from its record lock");
    const Daemon daemon;
    REQUIRE(daemon.start().status == 0);  // root's daemon
    REQUIRE(chown(daemon.pidfile.c_str(), nobody, nobody) == 0);
    const Outcome said = send(daemon.pidfile, SIGTERM);
    INFO(said.text());
    CHECK(contains(said.out, "sent=0"));
    CHECK(alive(daemon.pid()));
    // And one that is wholly his is signalled.
    const Daemon other;
    const std::string file = other.dir.directory("open", 0777) + "/o.pid";
    Launch launch({program("subject"), "start", "--pidfile", file});
    launch.before_exec = become_nobody;
    REQUIRE(run(launch).status == 0);
    CHECK(contains(send(file, SIGTERM).out, "sent=1"));
}

TEST_CASE("G7 root signals no set-uid program that the user has put behind his file") {
    NEEDS_ROOT();
    SKIP_UNLESS(!generic(), "the holder is told from its record lock");
    const Scratch dir;
    const std::string file = dir.directory("open", 0777) + "/s.pid", program_of_root = dir / "s";
    REQUIRE(run({{"cp", "/bin/sleep", program_of_root}}).status == 0);
    REQUIRE(chmod(program_of_root.c_str(), 04755) == 0);
    Launch launch({program_of_root, "100"});
    launch.before_exec = [file] {  // both locks survive the exec
        become_nobody();
        const int number = ::open(file.c_str(), O_RDWR | O_CREAT, 0644);
        struct flock record;
        std::memset(&record, 0, sizeof record);
        record.l_type = F_WRLCK;
        record.l_start = 0x40000000;
        record.l_len = 1;
        if (flock(number, LOCK_EX) != 0 || fcntl(number, F_SETLK, &record) != 0) _exit(123);
        dprintf(number, "%d\n", static_cast<int>(getpid()));
    };
    Running stranger(launch);
    REQUIRE(eventually(
        [&] {
            return facts(stranger.pid()).uids == std::vector<long>{nobody, 0, 0, 0} ||
                   stranger.finished();
        },
        Millis(3000)));
    const Outcome said = send(file, SIGTERM);
    INFO(said.text());
    CHECK(contains(said.out, "sent=0 error=untrusted_pid_file"));
    CHECK(alive(stranger.pid()));
}

TEST_CASE("G7 the record lock, dropped by the daemon's own open and close, is taken again") {
    SKIP_UNLESS(!generic(), "no record lock");
    const Victim daemon;
    const auto dropped = [&] { return record_owner(daemon.pidfile) == 0; };
    const auto healed = [&] { return record_owner(daemon.pidfile) == daemon.pid(); };
    // In the start: ready() takes it again.
    check_started(daemon, daemon.start({"by-hand=1", "open", "touch-pidfile", "ready", "wait"}));
    check_ends(daemon, 128 + SIGTERM);
    // While it runs: whoever waits for signals takes it again.
    const Outcome launcher =
        daemon.start({"open", "touch-pidfile", "say=dropped", "sleep=2500", "wait-term"});
    REQUIRE(launcher.status == 0);
    REQUIRE(daemon.logs("dropped"));
    CHECK(dropped());
    const Outcome said = run({{program("subject"), "status", "--pidfile", daemon.pidfile}});
    INFO(said.text());
    CHECK(said.status == 4);
    CHECK(contains(said.out + said.err, std::to_string(daemon.pid())));  // how to stop it by hand
    CHECK(eventually(healed));
    check_ends(daemon);
}

TEST_CASE("G7 a recycled number: the new owner is not signalled") {
    NEEDS_MOUNTS();
    const Daemon daemon;
    // In a PID namespace of its own, where the kernel lets root say which number comes next.
    daemon.dir.file(
        "made.sh",
        "$S start --pidfile $D/r.pid >/dev/null; p=$(cat $D/r.pid); kill -9 $p\n"
        "n=0; while [ $n -lt 200 ]; do echo $((p-1)) > /proc/sys/kernel/ns_last_pid || break;"
        " sleep 1000 & c=$!; [ $c = $p ] && break; kill -9 $c; wait $c 2>/dev/null; n=$((n+1)); "
        "done\n"
        "[ \"$c\" = $p ] || { echo no-recycling; exit 0; }\n"
        "$S status --pidfile $D/r.pid; echo status=$?; $S reload --pidfile $D/r.pid; echo "
        "reload=$?\n"
        "$S stop --pidfile $D/r.pid; echo stop=$?; $S status --pidfile $D/r.pid; echo then=$?\n"
        "kill -0 $c && echo alive; kill -9 $c\n");
    Launch launch({"unshare", "-m", "-p", "-f", "--mount-proc", "sh", daemon.dir / "made.sh"});
    launch.environment = {{"S", program("subject")}, {"D", daemon.dir.path()}};
    launch.limit = std::chrono::seconds(120);
    const Outcome said = run(launch);
    INFO(said.text());
    SKIP_UNLESS(!contains(said.out, "no-recycling"), "the number did not come round");
    CHECK(contains(said.out, "stop=0"));
    CHECK(contains(said.out, "status=1"));
    CHECK(contains(said.out, "reload=7"));
    CHECK(contains(said.out, "then=3"));  // the file is gone, its number's owner is not
    CHECK(contains(said.out, "alive"));
}

TEST_CASE("G7 a number that is recycled while the signal is on its way: nobody is hit") {
    NEEDS_MOUNTS();
    NEEDS_STRACE();
    SKIP_UNLESS(!generic(), "without pidfd and record lock the time in between stays open");
    const Daemon daemon;
    // Held up once before the process is opened (asked again, it holds nothing) and once before the
    // signal is sent (through the descriptor of the one that has ended).
    daemon.dir.file(
        "made.sh",
        "$S start --pidfile $D/r.pid >/dev/null; p=$(cat $D/r.pid)\n"
        "strace -qq -o /dev/null -e trace=$C -e inject=$C:delay_enter=1500000 "
        "$V send=$D/r.pid,15 >$D/sent & s=$!; sleep 0.5; kill -9 $p\n"
        "n=0; while [ $n -lt 200 ]; do echo $((p-1)) > /proc/sys/kernel/ns_last_pid || break;"
        " sleep 1000 & c=$!; [ $c = $p ] && break; kill -9 $c; wait $c 2>/dev/null; n=$((n+1)); "
        "done\n"
        "[ \"$c\" = $p ] || echo no-recycling\n"
        "wait $s; cat $D/sent; kill -0 $c && echo alive; kill -9 $c\n");
    for (const char* calls : {"pidfd_open", "pidfd_send_signal,kill"}) {
        Launch launch({"unshare", "-m", "-p", "-f", "--mount-proc", "sh", daemon.dir / "made.sh"});
        launch.environment = {{"S", program("subject")},
                              {"V", program("victim")},
                              {"D", daemon.dir.path()},
                              {"C", calls}};
        launch.limit = std::chrono::seconds(120);
        const Outcome said = run(launch);
        INFO(calls, said.text());
        SKIP_UNLESS(!contains(said.out, "no-recycling"), "the number did not come round");
        CHECK(contains(said.out, "sent=0"));
        CHECK(contains(said.out, "alive"));
    }
}

// ---- G8, G9 -------------------------------------------------------------------------------------

TEST_CASE("G8 a forked child dies of its signal, and nothing of it reaches the parent's pipe") {
    for (const int signum : {SIGTERM, SIGUSR1}) {
        const Outcome said = run(watcher(
            {"on=10:report", "start", "fork-signal=" + std::to_string(signum), "wait-for=100"}));
        INFO(said.text());
        CHECK(contains(said.out, "child-code=" + std::to_string(128 + signum)));
        CHECK(contains(said.out, "got=0 "));
    }
}

TEST_CASE("G9 SIGABRT of another process is handled; abort() ends the process as ever") {
    const Daemon daemon;
    Running running(watcher({"pidfile=" + daemon.pidfile, "detach=no", "open", "with-context",
                             "start", "say=up", "wait", "say=handled", "abort"}));
    REQUIRE(running.says("up"));
    running.signal(SIGABRT);
    CHECK(running.says("got=6\nhandled"));
    CHECK(running.finish().status == 128 + SIGABRT);
    check_started(daemon, daemon.start());  // the file that it left blocks nobody
}
