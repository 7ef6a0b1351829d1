// What only Windows has, or only there can be looked into, rule by rule (W1 to W9); R1 to R24 are
// the requirements of issue 4. The rules that are the same everywhere: ../both_test.cpp. Runs under
// wine as well.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#define DAEMONIZE_IMPLEMENTATION
#include "daemonize.hpp"

#include <cstdio>
#include <fstream>

#include "windows_faults.hpp"
#include "windows_victim.hpp"

using namespace harness;
using daemonize::errc;
using daemonize::Error;
using daemonize::State;
using daemonize::Stopped;
using std::chrono::milliseconds;
namespace inner = daemonize::detail;

// ---- Start --------------------------------------------------------------------------------------

TEST_CASE("S1 W4 W9 a start: locked, eleven bytes, the daughter in the file, the daemon shown") {
    Victim victim;
    check_started(victim, victim.start());
    CHECK(parent_of(static_cast<DWORD>(victim.daughter())) == victim.daemon());
    stop_it(victim);
}

TEST_CASE("R2 W1 the same command line to the letter") {
    Victim victim;
    const std::string odd =
        "-- \"a b\" \"\" \"\\\"q\\\"\" back\\ \"b\\\\\" %PATH% ^& gr\xc3\xbc\xc3\x9f  two";
    const Outcome launcher = victim.start(odd);
    check_started(victim, launcher);
    CHECK(victim.logged("command") == victim.words(odd));
    stop_it(victim);
}

TEST_CASE("R2 W1 replaced arguments are quoted") {
    Victim victim;
    check_started(victim, victim.start("arguments=1"));
    const std::string command = victim.logged("command");
    CHECK(
        contains(command, "-- \"a b\" \"\" \"\\\"q\\\"\" back\\ b\\\\\\\"q %PATH% \"tab\there\"") ==
        false);  // a quote asks for quotes around
    CHECK(contains(command, "-- \"a b\" \"\" \"\\\"q\\\"\" back\\ \"b\\\\\\\"q\" %PATH% "));
    stop_it(victim);
}

TEST_CASE("W1 born where the launcher was started, then in the working directory") {
    Victim victim;
    CreateDirectoryA((victim.dir / "below").c_str(), nullptr);
    Launch launch = victim.launch("relative=1 chdir=.");
    launch.directory = victim.dir.path();
    check_started(victim, run(launch));
    CHECK(victim.logged("birthplace") == victim.dir.path());
    CHECK(victim.logged("directory") == victim.dir / "below");
    stop_it(victim);
}

TEST_CASE("R3 W2 the switch is seen by no constructor, no main, no child") {
    Victim victim;
    check_started(victim, victim.start("grandchild=1"));
    CHECK(victim.logged("switch") == "-- --");
    CHECK(victim.logged("child-switch") == "--\r");
    CHECK(victim.logged("setup") == "0");
    stop_it(victim);
}

TEST_CASE("R4 W2 spoofed and stale switches are ignored, and gone") {
    SECURITY_ATTRIBUTES inherit = {sizeof inherit, nullptr, TRUE};
    const HANDLE section =
        CreateFileMappingW(INVALID_HANDLE_VALUE, &inherit, PAGE_READWRITE, 0, 4096, nullptr);
    char real_text[32];
    std::snprintf(real_text, sizeof real_text, "%llx",
                  static_cast<unsigned long long>(reinterpret_cast<std::uintptr_t>(section)));
    const std::string real = real_text;
    for (const std::string& value :
         {std::string("x"), std::string("1"), std::string("4:0"), std::string("44:abc"),
          std::string("ffffffffffffffff:ffffffffffffffff"), std::string("1:44:1"), real + ":1",
          real + ":1x", std::string("-4:1"), std::string(100, '1')}) {
        Launch launch(program("victim") + " mode=setup");
        launch.environment = {{"DAEMONIZE_RELAUNCH", value}};
        const Outcome outcome = run(launch);
        INFO(value, ": ", outcome.text());
        CHECK(outcome.status == 0);
        CHECK(outcome.out == "setup=1 --\r\n");
    }
    Victim victim;
    Launch launch = victim.launch();
    launch.environment = {{"DAEMONIZE_RELAUNCH", real + ":1"}};
    check_started(victim, run(launch));
    stop_it(victim);
    CloseHandle(section);
}

TEST_CASE("R5 W3 S8 a payload of any size and any bytes arrives") {
    for (const char* size : {"0", "1", "256", "1048576"}) {
        Victim victim;
        check_started(victim, victim.start(std::string("payload=") + size));
        CHECK(victim.logged("payload") == "same");
        stop_it(victim);
    }
}

TEST_CASE("R6 S2 W3 a crash is told at once; a code whose low byte is 0 is no success") {
    Victim victim;
    check_failed(victim, victim.start("crash=1"), 0xC0000005, "0xc0000005");
    check_failed(victim, victim.start("exit=256"), 1, "it ended with status 256");
}

TEST_CASE("R6 S3 W3 the text of fail() arrives in full, on stderr and in the log") {
    Victim victim;
    check_failed(victim, victim.start("fail=why"), 7,
                 "victim: no gr\xc3\xbc\xc3\x9f"
                 "e: why\n");
    CHECK(contains(slurp(victim.log),
                   "no gr\xc3\xbc\xc3\x9f"
                   "e: why"));
}

TEST_CASE("R9 W4 any reader can read the file of a living daemon, nobody can harm it") {
    Victim victim;
    check_started(victim, victim.start());
    const std::string text = std::to_string(victim.daughter());
    std::FILE* const file = std::fopen(victim.pidfile.c_str(), "r");
    REQUIRE(file);
    long number = 0;
    CHECK(std::fscanf(file, "%ld", &number) == 1);
    std::fclose(file);
    CHECK(std::to_string(number) == text);
    std::ifstream stream(victim.pidfile);
    std::string word;
    CHECK((stream >> word && word == text));
    stream.close();
    CHECK(std::fopen(victim.pidfile.c_str(), "r+") == nullptr);
    CHECK_FALSE(DeleteFileA(victim.pidfile.c_str()));
    CHECK_FALSE(MoveFileA(victim.pidfile.c_str(), (victim.dir / "moved").c_str()));
    CHECK(std::to_string(victim.daughter()) == text);
    stop_it(victim);
}

TEST_CASE("R10 W4 a reader never sees the file torn or empty while it is rewritten") {
    Victim victim;
    check_started(victim, victim.start());
    Sender sender = {&victim, 12, 60, 0};
    const HANDLE thread = CreateThread(nullptr, 0, send_often, &sender, 0, nullptr);
    int reads = 0, bad = 0;
    while (reads < 10000 || WaitForSingleObject(thread, 0) == WAIT_TIMEOUT) {
        const std::string text = slurp(victim.pidfile);
        const bool whole =
            text.size() == 11 && text.back() == '\n' && std::strtol(text.c_str(), nullptr, 10) > 0;
        bad += !whole;
        ++reads;
        if (reads > 1000000) break;
    }
    WaitForSingleObject(thread, patience);
    CloseHandle(thread);
    CHECK(bad == 0);
    CHECK(sender.sent == 60);
    stop_it(victim);
}

TEST_CASE("P4 a daemon that returns by itself removes its file, and nobody is left") {
    Victim victim;
    check_started(victim, victim.start("life=300 status=5"));
    CHECK(eventually([&] { return !exists(victim.pidfile); }));
    CHECK(eventually([] { return processes("victim.exe").empty(); }));
}

TEST_CASE("R12 W7 everything that the daemon and its children print reaches the log") {
    Victim victim;
    REQUIRE(write_file(victim.log, "old text\n"));
    REQUIRE(write_file(victim.dir / "input", "X"));
    const Outcome launcher = victim.start("speak=1 input=" + (victim.dir / "input"));
    check_started(victim, launcher);
    // Until ready stderr is the launcher's.
    CHECK(contains(launcher.err, "by cerr"));
    CHECK(contains(launcher.err, "by child's stderr"));
    const std::string text = slurp(victim.log);
    INFO(text);
    for (const char* part : {"old text\n", "by printf\n", "by cout\n", "by write\n",
                             "by WriteFile\n", "by child", "input=88"})
        CHECK(contains(text, part));
    const std::string renamed = victim.log + ".1";
    CHECK(MoveFileA(victim.log.c_str(), renamed.c_str()));
    CHECK(send(victim, 16));
    CHECK(eventually([&] { return contains(slurp(renamed), "sig=16"); }));
    stop_it(victim);
}

// ---- Signals ------------------------------------------------------------------------------------

TEST_CASE("R13 G1 W5 a signal calls its handler once, in the waiting thread") {
    Victim victim;
    check_started(victim, victim.start());
    for (const int signum : {12, 16, 21, 30}) {
        CHECK(send(victim, signum));
        const std::string line = "sig=" + std::to_string(signum) + " file=";
        CHECK(victim.logs(line));
        CHECK(count(slurp(victim.log), line) == 1);
    }
    CHECK_FALSE(contains(slurp(victim.log), "elsewhere"));
    CHECK(send(victim, 2));
    CHECK(victim.logs("sig=2 file="));
    CHECK(send(victim, 22));
    CHECK(victim.logs("sig=22 file="));
    CHECK(send(victim, 15));
    CHECK(victim.logs("sig=15 reported"));
    CHECK(eventually([&] { return !exists(victim.pidfile); }));
}

TEST_CASE("R13 G7 send() refuses 1 and 32, which are no signals here") {
    Victim victim;
    check_started(victim, victim.start());
    for (const int signum : {1, 32}) {
        Error error;
        CHECK_FALSE(daemonize::send(victim.pidfile, signum, error));
        CHECK((error.code == errc::unknown_signal));
    }
    CHECK(alive(victim.daemon()));
    stop_it(victim);
}

TEST_CASE("R14 W5 in a storm of senders no signal is lost") {
    Victim victim;
    check_started(victim, victim.start());
    Sender senders[4] = {
        {&victim, 16, 20, 0}, {&victim, 17, 20, 0}, {&victim, 18, 20, 0}, {&victim, 19, 20, 0}};
    HANDLE threads[4];
    for (int i = 0; i < 4; ++i)
        threads[i] = CreateThread(nullptr, 0, send_often, senders + i, 0, nullptr);
    CHECK(WaitForMultipleObjects(4, threads, TRUE, 60000) == WAIT_OBJECT_0);
    for (const Sender& sender : senders) {
        const std::string line = "sig=" + std::to_string(sender.signum) + " file=";
        CHECK(sender.sent == 20);
        CHECK(eventually([&] { return count(slurp(victim.log), line) == sender.sent; }));
    }
    for (const HANDLE thread : threads) CloseHandle(thread);
    stop_it(victim);
    CHECK(eventually([] { return processes("victim.exe").empty(); }));
}

TEST_CASE("R15 W5 when a handler runs the file names a new and living daughter") {
    Victim victim;
    check_started(victim, victim.start("slow=300"));
    const long before = victim.daughter();
    CHECK(send(victim, 16));
    CHECK(victim.logs("sig=16 file="));
    const long after = victim.daughter();
    CHECK(after != before);
    CHECK(alive(static_cast<DWORD>(after)));
    CHECK(contains(slurp(victim.log), "sig=16 file=" + std::to_string(after) + " "));
    stop_it(victim);
}

TEST_CASE("R16 W5 a daemon that is killed takes its daughter along, and frees the lock") {
    Victim victim;
    check_started(victim, victim.start());
    const DWORD daughter = static_cast<DWORD>(victim.daughter());
    CHECK(end(victim.daemon(), 1));
    CHECK(gone(daughter, 2000));
    CHECK_FALSE(is_locked(victim.pidfile));
    CHECK(daemonize::status(victim.pidfile).state == State::dead);
    check_started(victim, victim.start());
    stop_it(victim);
}

TEST_CASE("R17 W6 a daughter that Task Manager or Ctrl-C ends means SIGINT, other codes nobody") {
    Victim victim;
    check_started(victim, victim.start());
    int wanted = 0;
    for (const DWORD code : {0UL, 1UL, 0xC000013AUL}) {
        CHECK(end(static_cast<DWORD>(victim.daughter()), code));
        ++wanted;
        CHECK(eventually([&] { return count(slurp(victim.log), "sig=2 file=") == wanted; }));
    }
    for (const DWORD code : {99UL, 32UL, 0xC0000005UL}) {
        const long before = victim.daughter();
        CHECK(end(static_cast<DWORD>(before), code));
        CHECK(eventually([&] { return victim.daughter() != before; }));
    }
    CHECK(send(victim, 16));  // and it hears as before
    CHECK(victim.logs("sig=16 file="));
    CHECK(count(slurp(victim.log), "sig=") == wanted + 1);
    stop_it(victim);
}

TEST_CASE("R17 W6 a daughter that dies again and again does not cost the machine") {
    Victim victim;
    check_started(victim, victim.start());
    const DWORD began = GetTickCount();
    int killed = 0;
    long last = 0;
    while (GetTickCount() - began < 4000) {
        const long daughter = victim.daughter();
        if (daughter != last && end(static_cast<DWORD>(daughter), 99)) ++killed, last = daughter;
        Sleep(1);
    }
    INFO(killed);
    CHECK(killed >= 5);
    CHECK(killed < 30);
    CHECK(send(victim, 16));
    CHECK(victim.logs("sig=16 file="));
    stop_it(victim);
}

TEST_CASE("R18 Python's way of sending: int() of the whole file, all access, the signal as code") {
    Victim victim;
    check_started(victim, victim.start());
    const std::string text = slurp(victim.pidfile);
    char* end_of_number = nullptr;
    const long pid = std::strtol(text.c_str(), &end_of_number, 10);
    CHECK(std::string(end_of_number).find_first_not_of(" \t\r\n") == std::string::npos);
    const HANDLE process = OpenProcess(PROCESS_ALL_ACCESS, FALSE, static_cast<DWORD>(pid));
    REQUIRE(process);
    CHECK(TerminateProcess(process, 21));
    CloseHandle(process);
    CHECK(victim.logs("sig=21 file="));
    stop_it(victim);
}

TEST_CASE("W5 with the program renamed another process stands in, and signals arrive") {
    Scratch place;
    Victim victim;
    const std::string copy = place / "renamed.exe", away = place / "away.exe";
    REQUIRE(CopyFileA(program("victim").c_str(), copy.c_str(), FALSE));
    CHECK(run(Launch(copy + " pidfile=" + victim.pidfile + " log=" + victim.log)).status == 0);
    const DWORD daemon = victim.daemon();
    CHECK(MoveFileA(copy.c_str(), away.c_str()));
    for (const int signum : {16, 17, 18}) {
        CHECK(send(victim, signum));
        CHECK(victim.logs("sig=" + std::to_string(signum) + " file="));
    }
    CHECK(victim.daemon() == daemon);
    stop_it(victim);
}

TEST_CASE("R19 C2 stop: graceful, slow, deaf, not running") {
    Victim victim;
    Error error;
    CHECK(daemonize::stop(victim.pidfile, milliseconds(1000), error) == Stopped::not_running);
    check_started(victim, victim.start());
    stop_it(victim);
    check_started(victim, victim.start("linger=1500"));
    const DWORD began = GetTickCount();
    stop_it(victim);
    CHECK(GetTickCount() - began >= 1400);
    check_started(victim, victim.start("deaf=1"));
    const DWORD daemon = victim.daemon();
    CHECK(daemonize::stop(victim.pidfile, milliseconds(700), error) == Stopped::killed);
    CHECK_FALSE(alive(daemon));
    CHECK_FALSE(exists(victim.pidfile));
    CHECK(eventually([] { return processes("victim.exe").empty(); }));
}

TEST_CASE("R19 C2 a stop arrives also in a storm of other signals") {
    Victim victim;
    check_started(victim, victim.start());
    Sender sender = {&victim, 16, 100000, 0};
    const HANDLE thread = CreateThread(nullptr, 0, send_often, &sender, 0, nullptr);
    Sleep(100);
    Error error;
    CHECK(daemonize::stop(victim.pidfile, milliseconds(10000), error) == Stopped::ended);
    sender.times = 0;
    CHECK(WaitForSingleObject(thread, patience) == WAIT_OBJECT_0);
    CloseHandle(thread);
    CHECK_FALSE(exists(victim.pidfile));
}

TEST_CASE("C2 stop leaves no file of a daemon that ends without a word to it") {
    Victim victim;
    check_started(victim, victim.start("rude=1"));
    stop_it(victim);
    CHECK(daemonize::status(victim.pidfile).state == State::not_running);
}

TEST_CASE("W5 a signal that nobody handles does what it does by default: it ends the daemon") {
    Victim victim;
    for (const int signum : {SIGTERM, 9}) {
        check_started(victim, victim.start("bare=30000 map=15"));
        const DWORD daemon = victim.daemon();
        CHECK(send(victim, signum));
        CHECK(gone(daemon));
    }
}

TEST_CASE("G5 a SignalHandler from before the start goes on in the daemon, and goes first") {
    Victim victim;
    check_started(victim, victim.start("early=1"));
    const DWORD daemon = victim.daemon();
    CHECK(send(victim, SIGTERM));
    CHECK(victim.logged("early") == "15");
    CHECK(gone(daemon));
    CHECK_FALSE(exists(victim.pidfile));
}

namespace {

BOOL WINAPI session_of_services(DWORD, DWORD* session) {
    *session = 0;
    return TRUE;
}
BOOL WINAPI session_of_a_user(DWORD, DWORD* session) {
    *session = 2;
    return TRUE;
}

}  // namespace

TEST_CASE(
    "R20 W6 console events: interrupt means SIGINT, the end of the session SIGTERM, a log-off "
    "nothing to a service") {
    daemonize::SignalHandler signals;
    signals.start();
    for (DWORD event = CTRL_C_EVENT; event <= CTRL_BREAK_EVENT; ++event) {
        CHECK(inner::on_console_event(event));
        CHECK(signals.poll() == SIGINT);
    }
    {
        // Services, in session 0, are told of it whoever it was that logged off.
        const faults::Fault session("ProcessIdToSessionId", session_of_services);
        REQUIRE(session.is_there());
        CHECK(inner::on_console_event(CTRL_LOGOFF_EVENT));
        CHECK(signals.poll() == daemonize::no_signal);
    }
    const faults::Fault session("ProcessIdToSessionId", session_of_a_user);
    DWORD closing[] = {CTRL_CLOSE_EVENT, CTRL_LOGOFF_EVENT, CTRL_SHUTDOWN_EVENT};
    for (DWORD& event : closing) {
        // Such a handler does not return while the program has time to end.
        const HANDLE thread = CreateThread(
            nullptr, 0,
            [](void* argument) -> DWORD {
                return static_cast<DWORD>(inner::on_console_event(*static_cast<DWORD*>(argument)));
            },
            &event, 0, nullptr);
        CHECK(signals.wait_for(milliseconds(5000)) == SIGTERM);
        CHECK(WaitForSingleObject(thread, 200) == WAIT_TIMEOUT);
        TerminateThread(thread, 0);
        CloseHandle(thread);
    }
    signals.stop();
    CHECK_FALSE(inner::on_console_event(CTRL_C_EVENT));  // nobody's: the system's default
}

TEST_CASE("R21 W1 in a job that does not let go the daemon starts, says so, and ends with it") {
    Victim victim;
    Job job(JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE);
    Launch launch = victim.launch("explain=1");
    launch.job = job.handle;
    check_started(victim, run(launch));
    const DWORD daemon = victim.daemon();
    CHECK(victim.logs("job: "));
    job.close();
    CHECK(gone(daemon, 5000));
}

TEST_CASE("R21 W1 out of a job that lets go the daemon survives it") {
    Victim victim;
    Job job(JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE | JOB_OBJECT_LIMIT_BREAKAWAY_OK);
    Launch launch = victim.launch("explain=1");
    launch.job = job.handle;
    check_started(victim, run(launch));
    const DWORD daemon = victim.daemon();
    CHECK_FALSE(contains(slurp(victim.log), "job: "));
    job.close();
    CHECK_FALSE(gone(daemon, 500));
    stop_it(victim);
}

TEST_CASE(
    "R23 W1 children of another launcher thread that inherit all keep neither lock nor event") {
    Victim victim;
    check_started(victim, victim.start("spawn=1"));
    stop_it(victim);
    CHECK_FALSE(processes("victim.exe").empty());  // the children sleep on
    CHECK_FALSE(exists(victim.pidfile));
    check_started(victim, victim.start());
    stop_it(victim);
}

TEST_CASE("R24 W3 a launcher that is killed while it waits leaves no daemon and no lock") {
    for (int round = 0; round < 20; ++round) {
        Victim victim;
        Running launcher(victim.launch("hang=1"));
        Sleep(static_cast<DWORD>(round * 7));
        launcher.kill();
        launcher.finish();
        INFO(round);
        CHECK(eventually([] { return processes("victim.exe").empty(); }, 5000));
        CHECK_FALSE(is_locked(victim.pidfile));
        check_started(victim, victim.start());
        stop_it(victim);
    }
}

// ---- Rules that hold everywhere, as Windows shows them ------------------------------------------

TEST_CASE("S7 the kept launcher goes on, with the daemon's number or the error") {
    Victim victim;
    const Outcome launcher = victim.start("kept=1");
    check_started(victim, launcher);
    CHECK(value_in(launcher.out, "kept") == std::to_string(victim.daemon()) + " parent\r");
    const Outcome second = victim.start("kept=1");
    CHECK(contains(second.out, "already running as process " + std::to_string(victim.daemon())));
    stop_it(victim);
    const Outcome failed = victim.start("kept=1 fail=kept");
    CHECK(failed.status == 0);
    CHECK(contains(failed.out, "e: kept"));
    CHECK_FALSE(exists(victim.pidfile));
}

TEST_CASE("C4 a process born as daemon finds nobody in its own PID file") {
    Victim victim;
    const std::string file = victim.dir / "first";
    const DWORD began = GetTickCount();
    check_started(victim, victim.start("first=" + file));
    CHECK(GetTickCount() - began < 5000);
    CHECK(slurp(file) == "1 nobody\r\n0 nobody\r\n");
    stop_it(victim);
}

TEST_CASE("C6 E4 what Windows does not have: status 3, and nothing left") {
    Victim victim;
    for (const char* option :
         {"--umask 022", "--user nobody", "--chroot C:\\", "--preserve-fd 5"}) {
        const Outcome outcome =
            run(Launch(program("subject") + " start --pidfile " + victim.pidfile + " " + option));
        INFO(option, ": ", outcome.text());
        CHECK(outcome.status == 3);
        CHECK(lines(outcome.err).size() == 1);
        CHECK_FALSE(exists(victim.pidfile));
    }
}

TEST_CASE("D2 clear_environment keeps what was named, and what the system needs") {
    Victim victim;
    Launch launch = victim.launch("keep=1");
    launch.environment = {{"KEPT", "1"}, {"DROPPED", "1"}};
    check_started(victim, run(launch));
    CHECK(victim.logged("environment") == "kept-");
    stop_it(victim);
}

TEST_CASE("E4 a program that cannot be started again is an error with its cause") {
    Scratch place;
    Victim victim;
    const std::string copy = place / "renamed.exe", away = place / "away.exe";
    REQUIRE(CopyFileA(program("victim").c_str(), copy.c_str(), FALSE));
    const Outcome said =
        run(Launch(copy + " pidfile=" + victim.pidfile + " log=" + victim.log + " away=" + away));
    check_failed(victim, said, 1, "cannot start again '");
    CHECK_FALSE(contains(said.err, "Success"));
}

TEST_CASE("W1 a daemon that comes by another PID file than its launcher's is none") {
    Victim victim;
    check_failed(victim, victim.start("forgets=1"), 1, "cannot use option pidfile: it is ''");
}

TEST_CASE("E4 arguments that are no text are refused, not dropped") {
    Victim victim;
    check_failed(victim, victim.start("bytes=1"), 1, "is no UTF-8 text");
}

TEST_CASE("E4 bad paths: clear texts, comparable codes, nothing left") {
    Error error;
    daemonize::PidFile missing("Q:\\no\\such.pid");
    CHECK_FALSE(missing.acquire(milliseconds(0), error));
    CHECK((error.code == std::errc::no_such_file_or_directory));
    CHECK(error.code.value() == ERROR_PATH_NOT_FOUND);
    CHECK(contains(error.text, "cannot create 'Q:\\no\\such.pid': "));
    Scratch dir;
    daemonize::PidFile directory(dir.path());
    CHECK_FALSE(directory.acquire(milliseconds(0), error));
    CHECK((error.code == errc::untrusted_pid_file));
    daemonize::PidFile bytes("bad\xff\xfename");
    CHECK_FALSE(bytes.acquire(milliseconds(0), error));
    CHECK((error.code == std::errc::illegal_byte_sequence));
    CHECK(contains(error.text, "it is not UTF-8"));
    CHECK(daemonize::status("\\\\.\\pipe\\nobody").state != State::running);
    daemonize::PidFile device("NUL");
    CHECK_FALSE(device.acquire(milliseconds(0), error));
    CHECK((error.code == errc::untrusted_pid_file));
}

TEST_CASE("P2 a foreign program that has the file open is told from a daemon") {
    Scratch dir;
    const std::string path = dir / "foreign.pid";
    REQUIRE(write_file(path, "4711\n"));
    const HANDLE reader = CreateFileA(path.c_str(), GENERIC_READ, FILE_SHARE_READ, nullptr,
                                      OPEN_EXISTING, 0, nullptr);
    daemonize::PidFile file(path);
    Error error;
    CHECK_FALSE(file.acquire(milliseconds(0), error));
    INFO(error.text);
    CHECK((error.code == errc::unproven_holder));
    CHECK(contains(error.text, "another program"));
    CHECK(daemonize::status(path).state == State::dead);
    CloseHandle(reader);
    CHECK(file.acquire(milliseconds(0), error));
    file.release();
    CHECK_FALSE(exists(path));
}

TEST_CASE("G7 a program that writes to a file left behind is no daemon, and nobody is signalled") {
    Victim victim;
    Running stranger(Launch(program("victim") + " mode=sleep ms=30000"));
    REQUIRE(alive(stranger.pid()));
    REQUIRE(write_file(victim.pidfile, std::to_string(stranger.pid()) + "\n"));
    const HANDLE writer = CreateFileA(victim.pidfile.c_str(), GENERIC_WRITE,
                                      FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
                                      nullptr, OPEN_EXISTING, 0, nullptr);
    REQUIRE(writer != INVALID_HANDLE_VALUE);
    Error error;
    CHECK_FALSE(daemonize::send(victim.pidfile, SIGTERM, error));
    CHECK((error.code == errc::not_running));
    CHECK(daemonize::stop(victim.pidfile, milliseconds(500), error) == Stopped::not_running);
    CHECK(daemonize::status(victim.pidfile).state == State::dead);
    CHECK(alive(stranger.pid()));
    CloseHandle(writer);
}

TEST_CASE("P1 a long path and a file deep below it") {
    Scratch dir;
    std::string path = dir.path();
    std::vector<std::string> made;
    while (path.size() < 300) {
        path += "\\" + std::string(50, 'd');
        REQUIRE(CreateDirectoryW(wide("\\\\?\\" + path).c_str(), nullptr));
        made.push_back(path);
    }
    daemonize::PidFile file(path + "\\long.pid");
    Error error;
    const bool acquired = file.acquire(milliseconds(0), error);
    INFO(error.text);
    CHECK(acquired);
    CHECK(daemonize::status(path + "\\long.pid").state == State::running);
    file.release();
    CHECK(daemonize::status(path + "\\long.pid").state == State::not_running);
    for (; !made.empty(); made.pop_back()) RemoveDirectoryW(wide("\\\\?\\" + made.back()).c_str());
}

TEST_CASE("P9 the default path is the user's own") {
    Error error;
    const std::string path = daemonize::PidFile::default_path("ticker", error);
    INFO(error.text);
    CHECK(contains(path, "ticker.pid"));
    char local[MAX_PATH];
    GetEnvironmentVariableA("LOCALAPPDATA", local, MAX_PATH);
    CHECK(path.compare(0, std::strlen(local), local) == 0);
    CHECK(daemonize::PidFile::default_path("a\\b", error).empty());
    CHECK((error.code == errc::invalid_option));
}

TEST_CASE("G3 G4 waiting for a handle or a signal, whichever comes first") {
    daemonize::SignalHandler signals;
    signals.on(20, daemonize::report_signal);
    signals.start();
    const HANDLE input = CreateEventW(nullptr, TRUE, TRUE, nullptr);
    const std::intptr_t number = reinterpret_cast<std::intptr_t>(input);
    CHECK(signals.wait_for_input(number, milliseconds(5000)) == daemonize::no_signal);
    CHECK(inner::deliver(20));
    CHECK(signals.wait_for_input(number, milliseconds(5000)) == 20);
    ResetEvent(input);
    CHECK(signals.wait_for_input(number, milliseconds(30)) == daemonize::no_signal);
    const HANDLE ready = reinterpret_cast<HANDLE>(signals.native_handle());
    CHECK(WaitForSingleObject(ready, 0) == WAIT_TIMEOUT);
    inner::deliver(20);
    CHECK(WaitForSingleObject(ready, 0) == WAIT_OBJECT_0);
    CHECK(signals.poll() == 20);
    CloseHandle(input);
}

TEST_CASE("G1 G5 6, 1 and 32 are no signals here; what stop() gave back is nobody's") {
    daemonize::SignalHandler signals;
    Error error;
    for (const int never : {6, 1, 32}) {
        CHECK_FALSE(signals.on(never, daemonize::report_signal, error));
        CHECK((error.code == errc::unknown_signal));
    }
    CHECK(signals.start(error));
    CHECK(inner::deliver(SIGINT));
    signals.stop();
    CHECK_FALSE(inner::deliver(SIGINT));
}

TEST_CASE("W7 a line that is no UTF-8 is shown all the same") {
    inner::Wide shown;
    CHECK(inner::widen("gr\xfc\xdf", shown, 0));
    CHECK(std::wstring(shown.get()) == L"gr\xfffd\xfffd");
    CHECK(inner::widen("gr\xc3\xbc", shown, 0));
    CHECK(std::wstring(shown.get()) == L"gr\xfc");
    CHECK_FALSE(inner::widen("gr\xfc\xdf", shown));
    CHECK(inner::widen("", shown));
    CHECK(shown.size() == 0);
}

TEST_CASE("S4 a wait that is longer than a count of milliseconds is not endless") {
    CHECK(inner::limit_of(inner::Deadline(daemonize::no_limit)) == INFINITE);
    CHECK(inner::limit_of(inner::Deadline(std::chrono::hours(24 * 30))) < INFINITE);
}

TEST_CASE("E4 system errors: their number, their text in UTF-8, their meaning among std::errc") {
    SetLastError(ERROR_ACCESS_DENIED);
    const std::error_code denied(-inner::last_error(), inner::native_category());
    CHECK(denied.value() == 5);
    CHECK((denied == std::errc::permission_denied));
    CHECK_FALSE(denied.message().empty());
    CHECK(denied.message().find_first_of("\r\n") == std::string::npos);
    SetLastError(ERROR_SUCCESS);
    CHECK(inner::last_error() == -ERROR_GEN_FAILURE);
    CHECK(contains(inner::native_category().message(0x20001234), "536875572"));
}

TEST_CASE("W6 exit codes of the daughter: as they are, shifted (Cygwin), from 128 on (a shell)") {
    for (const unsigned long code : {0UL, 1UL, 0xC000013AUL, 0xFFFFFFFFUL})
        CHECK(inner::signal_of_exit_code(code) == 2);
    for (unsigned long code = 2; code <= 31; ++code)
        for (const unsigned long given : {code, code << 8, code + 128})
            CHECK(inner::signal_of_exit_code(given) == (code == 6 ? 22 : static_cast<int>(code)));
    for (const unsigned long reload : {1UL << 8, 129UL})
        CHECK(inner::signal_of_exit_code(reload) == 12);
    for (const unsigned long code :
         {32UL, 128UL, 160UL, 255UL, 259UL, 32UL << 8, 0x10000UL, 0xC0000005UL, 0xFFFFFF00UL})
        CHECK(inner::signal_of_exit_code(code) == daemonize::no_signal);
}

TEST_CASE("R2 W1 W8 any words are quoted so that they come back as they were") {
    const wchar_t letters[] = L"a \\\"\t%^\x65e5";
    unsigned seed = 4711;
    for (int round = 0; round < 3000; ++round) {
        inner::Wide line = std::move(inner::Wide().add(L"\"p\""));
        std::vector<std::wstring> given;
        for (int i = 0; i < 4; ++i) {
            std::wstring word;
            for (seed = seed * 1103515245 + 12345; word.size() < (seed >> 16) % 7;)
                word += letters[((seed = seed * 1103515245 + 12345) >> 16) % 8];
            given.push_back(word);
            inner::add_argument(line, word.c_str());
        }
        const wchar_t* at = line.get();
        inner::Wide word;
        REQUIRE(inner::next_word(at, word, true));
        for (const std::wstring& wanted : given) {
            REQUIRE(inner::next_word(at, word, false));
            REQUIRE(std::wstring(word.get()) == wanted);
        }
        REQUIRE_FALSE(inner::next_word(at, word, false));
    }
}

int main(int argc, char** argv) {
    doctest::Context context(argc, argv);
    const int status = context.run();
    kill_all();
    return status;
}
