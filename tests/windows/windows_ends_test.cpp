// What ends a daemon under Windows, what only looks like it, and what a start meets there: rules W1
// to W7, from outside and, where the system must be made to answer, by windows_faults.hpp.
#include <doctest/doctest.h>

#include <csignal>

#include "daemonize.hpp"
#include "windows_faults.hpp"
#include "windows_victim.hpp"

using namespace harness;
using daemonize::errc;
using daemonize::Error;
using daemonize::State;
using daemonize::Stopped;
using std::chrono::milliseconds;

namespace {

BOOL WINAPI is_on_a_share(HANDLE, FILE_INFO_BY_HANDLE_CLASS, LPVOID, DWORD) { return TRUE; }

const char* const in_job = "inside a job of the caller's";

}  // namespace

// ---- Jobs ---------------------------------------------------------------------------------------

TEST_CASE("W1 in a job that does not let go open() and control() say so, in one line on stderr") {
    for (const bool by_control : {false, true}) {
        Victim victim;
        Job job(JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE);
        Launch launch = victim.launch();
        if (by_control) launch.command = program("subject") + " start --pidfile " + victim.pidfile;
        launch.job = job.handle;
        const Outcome launcher = run(launch);
        check_started(victim, launcher);
        CHECK(contains(launcher.err, in_job));
        CHECK(lines(launcher.err).size() == 1);
    }
    Victim victim;
    const Outcome launcher = victim.start();
    check_started(victim, launcher);
    CHECK(launcher.err.empty());
    stop_it(victim);
}

TEST_CASE("W1 where the inner job lets go and the outer does not, the daemon is in a job") {
    Victim victim;
    Job outer(JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE), inner(JOB_OBJECT_LIMIT_BREAKAWAY_OK);
    Launch launch = victim.launch("explain=1");
    launch.job = outer.handle;
    launch.inner_job = inner.handle;
    const Outcome launcher = run(launch);
    check_started(victim, launcher);
    CHECK(contains(launcher.err, in_job));
    CHECK(victim.logs("job: "));
    const DWORD daemon = victim.daemon();
    outer.close();
    CHECK(gone(daemon, 5000));
}

TEST_CASE("W1 the kept launcher's explain() tells of the job") {
    Victim victim;
    Job job(JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE);
    Launch launch = victim.launch("kept=1 keptexplain=1");
    launch.job = job.handle;
    const Outcome launcher = run(launch);
    check_started(victim, launcher);
    CHECK(contains(launcher.out, "job: "));
}

TEST_CASE("W1 must_leave_job: a start that cannot is refused, one that can is not") {
    Victim victim;
    {
        Job job(JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE);
        Launch launch = victim.launch("leave=1");
        launch.job = job.handle;
        check_failed(victim, run(launch), 1, "must_leave_job");
    }
    Job job(JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE | JOB_OBJECT_LIMIT_BREAKAWAY_OK);
    Launch launch = victim.launch("leave=1");
    launch.job = job.handle;
    check_started(victim, run(launch));
    job.close();
    stop_it(victim);
}

TEST_CASE("W3 a daemon that cannot leave its launcher's job is a failed start") {
    Victim victim;
    check_failed(victim, victim.start("unlimitable=1"), 1, "launcher's job");
}

// ---- What people type to end a process ----------------------------------------------------------

TEST_CASE("W6 -1, n << 8 and 128 + n mean what their senders meant") {
    Victim victim;
    check_started(victim, victim.start());
    const struct {
        DWORD code;
        const char* heard;
    } rows[] = {{0xFFFFFFFF, "sig=2 "}, {12 << 8, "sig=12 "}, {128 + 16, "sig=16 "},
                {1 << 8, "sig=12 "},    {129, "sig=12 "},     {128 + 6, "sig=22 "}};
    for (const auto& row : rows) {
        const int before = count(slurp(victim.log), row.heard);
        INFO(row.code);
        CHECK(end(static_cast<DWORD>(victim.daughter()), row.code));
        CHECK(eventually([&] { return count(slurp(victim.log), row.heard) == before + 1; }));
    }
    const DWORD daemon = victim.daemon();
    CHECK(end(static_cast<DWORD>(victim.daughter()), 15 << 8));
    CHECK(victim.logs("sig=15 reported"));
    CHECK(gone(daemon));
    CHECK_FALSE(exists(victim.pidfile));
}

TEST_CASE("W6 a daughter that was replaced and called nobody is a line in the log") {
    Victim victim;
    check_started(victim, victim.start());
    const long before = victim.daughter();
    CHECK(end(static_cast<DWORD>(before), 99));
    CHECK(victim.logs("code 99"));
    CHECK(count(slurp(victim.log), "code 99") == 1);
    CHECK(lines(slurp(victim.log)).back().compare(0, 8, "victim: ") == 0);
    stop_it(victim);
}

// ---- A stranger over a share ---------------------------------------------------------------------

TEST_CASE("G7 W4 a PID file on a remote file system proves nobody: send, stop and status say so") {
    Victim victim;
    check_started(victim, victim.start());
    const DWORD daemon = victim.daemon();
    {
        const faults::Fault share("GetFileInformationByHandleEx", is_on_a_share);
        REQUIRE(share.is_there());
        Error error;
        CHECK_FALSE(daemonize::send(victim.pidfile, SIGTERM, error));
        CHECK((error.code == errc::unproven_holder));
        CHECK(contains(error.text, "remote"));
        CHECK(daemonize::stop(victim.pidfile, milliseconds(500), error) == Stopped::failed);
        CHECK((error.code == errc::unproven_holder));
        const daemonize::Status status = daemonize::status(victim.pidfile);
        CHECK(status.state == State::unknown);
        CHECK(contains(status.text, "another machine"));
    }
    CHECK(alive(daemon));
    stop_it(victim);
}

// ---- Never a storm ------------------------------------------------------------------------------

TEST_CASE("W5 while the number cannot be written no process is made for it; no signal is lost") {
    Victim victim;
    const std::string marker = victim.dir / "unwritable", made = victim.dir / "made";
    check_started(victim, victim.start("unwritable=" + marker + " count=" + made));
    CHECK(eventually([] { return processes("victim.exe").size() == 3; }));  // with the spare
    const std::size_t before = slurp(made).size();
    REQUIRE(write_file(marker, "x"));
    const long daughter = victim.daughter();
    CHECK(end(static_cast<DWORD>(daughter), 16));
    CHECK(victim.logs("sig=16 "));
    CHECK_FALSE(eventually([&] { return slurp(made).size() > before + 1; }, 2500));
    CHECK(victim.daughter() == daughter);
    CHECK(count(slurp(victim.log), "sig=16 ") == 1);
    REQUIRE(DeleteFileA(marker.c_str()));
    CHECK(eventually([&] { return victim.daughter() != daughter; }, 3000));
    CHECK(send(victim, 17));
    CHECK(victim.logs("sig=17 "));
    CHECK(count(slurp(victim.log), "sig=16 ") == 1);
    stop_it(victim);
}

TEST_CASE("W2 a relaunched program whose switch was spoiled does not start once more") {
    Victim victim;
    const std::string file = victim.dir / "generations";
    Launch launch(program("victim") + " pidfile= log=" + victim.log + " generations=" + file);
    launch.environment = {{"SPOIL", "1"}};
    const Outcome launcher = run(launch);
    INFO(launcher.text());
    CHECK(launcher.status != 0);
    CHECK(slurp(file) == "+\r\n++\r\n");
    CHECK(eventually([] { return processes("victim.exe").empty(); }));
}

TEST_CASE("W2 a variable of the switch's name in another case is in nobody's way") {
    Victim victim;
    check_started(victim, victim.start("recase=1"));
    CHECK(victim.logged("switch") == "-- --");
    stop_it(victim);
}

// ---- Words ---------------------------------------------------------------------------------------

TEST_CASE("W8 words that no code page can spell arrive as UTF-8, also as the program's name") {
    Scratch place;
    const std::string odd = "\xe6\x97\xa5\xe6\x9c\xac \xd0\xbc\xd0\xb8\xd1\x80";
    const Outcome said = run(Launch(program("victim") + " mode=words \"" + odd +
                                    "\" \"\" \"a\\\"b\" c\\\\ \"d\"\"e\" " + odd));
    INFO(said.text());
    CHECK(contains(said.out, "word=" + odd + "\r\nword=\r\nword=a\"b\r\nword=c\\\\\r\nword=d"));
    CHECK(count(said.out, "word=") == 9);
    const std::string copy = place / "\xe6\x97\xa5\xe6\x9c\xac.exe";
    REQUIRE(CopyFileW(wide(program("subject")).c_str(), wide(copy).c_str(), FALSE));
    const Outcome status = run(Launch("\"" + copy + "\" status --pidfile " + (place / "d.pid")));
    INFO(status.text());
    CHECK(status.status == 3);
    CHECK(contains(status.out, "\xe6\x97\xa5\xe6\x9c\xac: not running"));
}

TEST_CASE("W8 a message shows a path as it is, with its backslashes") {
    Error error;
    daemonize::PidFile file("C:\\dir\\bad\xff.pid");
    CHECK_FALSE(file.acquire(milliseconds(0), error));
    INFO(error.text);
    CHECK(contains(error.text, "C:\\dir\\bad"));
    CHECK_FALSE(contains(error.text, "x5c"));
}

// ---- Streams -------------------------------------------------------------------------------------

TEST_CASE("W7 keep_stream of a console is an error that says so") {
    Victim victim;
    check_failed(victim, victim.start("keepout=1 console=1"), 1, "console");
    check_started(victim, victim.start("keepout=1"));
    stop_it(victim);
}

TEST_CASE("W7 until ready() standard error reaches a launcher on a console, too") {
    Victim victim;
    const Outcome launcher = victim.start("mutter=1 console=1");
    check_started(victim, launcher);
    CHECK(contains(launcher.err,
                   "muttered gr\xc3\xbc\xc3\x9f"
                   "e"));
    stop_it(victim);
    const Outcome failed = victim.start("mutter=1 exit=3 console=1");
    INFO(failed.text());
    CHECK(failed.status == 3);
    CHECK(contains(failed.err, "muttered"));
    const Outcome slow = victim.start("mutter=1 hang=1 limit=700 console=1");
    CHECK(slow.status == 124);
    CHECK(contains(slow.err, "muttered"));
}

TEST_CASE("W7 on a console that is one: what the daemon mutters, and why it failed") {
    Victim victim;
    // A moment for the reader to come before the launcher, and the console with it, is gone.
    const std::string words = program("victim") + " mode=console pidfile=" + victim.pidfile +
                              " log=" + victim.log + " mutter=1 delay=500";
    const Outcome started = run(Launch(words));
    INFO(started.text());
    CHECK(contains(started.out,
                   "console=0 muttered gr\xc3\xbc\xc3\x9f"
                   "e"));
    stop_it(victim);
    const Outcome failed = run(Launch(words + " fail=why"));
    INFO(failed.text());
    CHECK(contains(failed.out, "console=7 muttered"));
    CHECK(contains(failed.out, "e: why"));
}

TEST_CASE("W7 a daemon on a console's pipe goes on when its launcher is gone") {
    Victim victim;
    check_started(victim, victim.start("mutter=1 console=1 grandchild=1"));
    CHECK(send(victim, 16));
    CHECK(victim.logs("sig=16 "));
    stop_it(victim);
}

// ---- The small ones -----------------------------------------------------------------------------

TEST_CASE("W6 a handler that the program gave to std::signal() runs") {
    for (const int signum : {SIGTERM, SIGINT, SIGBREAK}) {
        Victim victim;
        check_started(victim, victim.start("bare=20000 csignal=" + std::to_string(signum)));
        const DWORD daemon = victim.daemon();
        CHECK(send(victim, signum));
        CHECK(victim.logs("c-signal=" + std::to_string(signum)));
        CHECK(alive(daemon));
        CHECK(send(victim, signum));  // the default came back, as C has it
        CHECK(gone(daemon));
    }
}

TEST_CASE("S10 W1 started in a directory that is gone") {
    Victim victim;
    CreateDirectoryA((victim.dir / "gone").c_str(), nullptr);
    Launch launch = victim.launch("gone=1");
    launch.directory = victim.dir / "gone";
    const Outcome launcher = run(launch);
    INFO(launcher.text());
    REQUIRE_FALSE(exists(victim.dir / "gone"));
    check_started(victim, launcher);
    stop_it(victim);
}

TEST_CASE("S6 a start waits for no other thread that has a stream of stdio's") {
    Victim victim;
    Launch launch = victim.launch("taken=1 kept=1");
    launch.limit = 8000;
    const Outcome launcher = run(launch);
    CHECK_FALSE(launcher.timed_out);
    CHECK(contains(launcher.out, "kept="));
    CHECK(daemonize::status(victim.pidfile).state == State::running);
    stop_it(victim);
}

TEST_CASE("D1 prevent_core: no box of the C runtime's either") {
    Victim victim;
    check_started(victim, victim.start("boxes=1"));
    CHECK(victim.logged("boxes").substr(0, 1) == std::to_string(_OUT_TO_STDERR));
    stop_it(victim);
}

TEST_CASE("P9 a default path refuses what Windows takes for a device or a stream") {
    for (const char* name : {"con", "NUL", "aux.txt", "COM1", "lpt9", "a:b", "a*", "a|b", "a "}) {
        Error error;
        INFO(name);
        CHECK(daemonize::PidFile::default_path(name, error).empty());
        CHECK((error.code == errc::invalid_option));
    }
    for (const char* name : {"console", "com", "null", "a.b"}) {
        Error error;
        INFO(name);
        CHECK_FALSE(daemonize::PidFile::default_path(name, error).empty());
    }
}

TEST_CASE("S12 explain() in the daemon tells the launcher's decision, not that of its own birth") {
    Victim victim;
    check_started(victim, victim.start("explain=1"));
    CHECK(victim.logs("started: detached, for no evidence"));
    stop_it(victim);
}

TEST_CASE("P1 a leftover that is hidden blocks no start") {
    Victim victim;
    REQUIRE(write_file(victim.pidfile, "4711\n"));
    REQUIRE(SetFileAttributesW(wide(victim.pidfile).c_str(), FILE_ATTRIBUTE_HIDDEN));
    check_started(victim, victim.start("hidden=1"));
    stop_it(victim);
}

TEST_CASE("W8 a library that holds the header stays when it is unloaded") {
    Victim victim;
    const Outcome host = run(Launch(program("victim") + " mode=library library=" + library()));
    INFO(host.text());
    CHECK(host.status == 0);
    CHECK(contains(host.out, "stays"));
}
