// The rules that need no operating system: texts, the PID in a file, the table of detach_process,
// the wire of the readiness channel, and what Windows asks of text. The same on every platform.
#define DAEMONIZE_IMPLEMENTATION
#include "daemonize.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <random>

#include "support/unquote.hpp"

namespace pure = daemonize::detail::pure;
namespace os = daemonize::detail::os;
using daemonize::Detach;
using daemonize::Duration;
using daemonize::Error;
using pure::Verdict;

namespace {

long parsed(const std::string& text) {
    std::string why;
    const long pid = pure::parse_pid(text, why);
    CHECK_MESSAGE((pid != 0) == why.empty(), text);  // a number, or the reason that there is none
    return pid;
}

os::Found file(const std::string& text, bool locked, long owner) {
    os::Found found;
    found.exists = true;
    found.proves = true;
    found.text = text;
    found.locked = locked;
    found.owner = owner;
    return found;
}

Verdict judged(const os::Found& found) {
    long pid = 0;
    std::string why;
    return pure::judge(found, pid, why);
}

// A shell's child: what the table sees when nothing is special.
os::Evidence shell() {
    os::Evidence seen;
    seen.pid = 4711;
    seen.parent = 100;
    return seen;
}

bool detaches(const os::Evidence& seen) { return pure::decide(Detach::automatic, seen).detach; }

}  // namespace

TEST_CASE("P5 reading a PID tolerates blanks, zeros, CRLF, more lines and no newline") {
    for (const char* text : {"4711\n", "4711", "  4711 \n", "004711\n", "4711\r\n", "4711\nrest\n",
                             "\t4711\t\n4712\n", "4711      \n"})
        CHECK_MESSAGE(parsed(text) == 4711, text);
    CHECK(parsed("2\n") == 2);
    CHECK(parsed("2147483647\n") == 2147483647);
}

TEST_CASE("P5 reading a PID refuses what can be no daemon's") {
    for (const char* text :
         {"", "\n", "0\n", "1\n", "01\n", "-5\n", "+5\n", "4711x\n", "47 11\n", "abc\n",
          "2147483648\n", "99999999999999999999999999\n", "0x10\n", "\n4711\n", "4.5\n"})
        CHECK_MESSAGE(parsed(text) == 0, text);
    CHECK(parsed(std::string("47\0"
                             "11\n",
                             6)) == 0);
    std::string why;
    pure::parse_pid("\x01\x02'\\evil\n", why);
    CHECK(why == "it holds '\\x01\\x02\\x27\\x5cevil', no PID");
}

TEST_CASE("P5 reading a PID takes any bytes") {
    std::mt19937 random(1);
    for (int round = 0; round < 20000; ++round) {
        std::string text, why;
        for (unsigned long i = random() % 12; i > 0; --i)
            text += "0123456789 \r\n\t-x\0\xff"[random() % 18];
        const long pid = pure::parse_pid(text, why);
        CHECK((pid > 1) == why.empty());
        CHECK(why.find('\n') == std::string::npos);
    }
}

TEST_CASE("P1 G7 the lock and its owner decide, the number never does alone") {
    CHECK(judged(os::Found()) == Verdict::missing);
    CHECK(judged(file("", false, 0)) == Verdict::empty);
    CHECK(judged(file("4711\n", false, 0)) == Verdict::dead);
    CHECK(judged(file("garbage\n", false, 0)) == Verdict::garbage);
    CHECK(judged(file("4711\n", true, 0)) == Verdict::starting);  // whatever the content
    CHECK(judged(file("", true, 0)) == Verdict::starting);
    CHECK(judged(file("", true, 4711)) == Verdict::starting);
    CHECK(judged(file("4711\n", true, 4711)) == Verdict::proven);
    CHECK(judged(file("4711\n", true, 4712)) == Verdict::elsewhere);
    CHECK(judged(file("4711\n", true, -1)) == Verdict::elsewhere);
    CHECK(judged(file("garbage\n", true, 4711)) == Verdict::invalid);
    os::Found unprovable = file("4711\n", true, 0);  // a system that names no owner of a lock
    unprovable.proves = false;
    CHECK(judged(unprovable) == Verdict::proven);
    unprovable.text = "1\n";
    CHECK(judged(unprovable) == Verdict::invalid);
}

TEST_CASE("Section 7: each row of the table of detach_process") {
    CHECK(detaches(shell()));
    os::Evidence seen = shell();
    CHECK(pure::decide(Detach::yes, seen).detach);
    CHECK_FALSE(pure::decide(Detach::no, seen).detach);
    seen.pid = 1;
    CHECK_FALSE(detaches(seen));
    CHECK(pure::decide(Detach::yes, seen).detach);  // explicit wins
    for (const char* shim : {"docker-init", "tini", "dumb-init", "catatonit"}) {
        seen = shell();
        seen.parent = 1;
        seen.init_name = shim;
        CHECK_FALSE(detaches(seen));
    }
    seen = shell();
    seen.notify_socket = true;
    CHECK_FALSE(detaches(seen));
    seen.systemd_exec_pid = seen.pid;
    CHECK_FALSE(detaches(seen));
    seen.pidfile_set = true;  // Type=forking with PIDFile= goes before
    CHECK(detaches(seen));
    seen = shell();
    seen.systemd_exec_pid = seen.pid;
    CHECK_FALSE(detaches(seen));
    seen.systemd_exec_pid = seen.parent;  // a shell wrapper
    CHECK_FALSE(detaches(seen));
    seen = shell();
    seen.invocation_id = true;
    seen.parent = 1;  // systemd before 248
    CHECK_FALSE(detaches(seen));
    seen = shell();
    seen.stdin_internet = true;
    CHECK_FALSE(detaches(seen));
    CHECK(pure::decide(Detach::automatic, seen).inetd);
    seen = shell();
    seen.stdin_listening = true;
    CHECK_FALSE(detaches(seen));
    seen = shell();
    seen.launchd = true;
    seen.parent = 1;
    CHECK_FALSE(detaches(seen));
}

TEST_CASE("Section 7: the false friends of the table detach") {
    os::Evidence seen = shell();
    seen.parent = 1;  // a container's shell that went on, or an orphan
    CHECK(detaches(seen));
    seen.init_name = "bash";
    CHECK(detaches(seen));
    seen.init_name = "systemd";
    CHECK(detaches(seen));
    seen = shell();
    seen.init_name = "tini";  // process 1, but not our parent
    CHECK(detaches(seen));
    seen = shell();
    seen.invocation_id = true;  // a terminal of a desktop session
    CHECK(detaches(seen));
    seen.systemd_exec_pid = 99;  // of an ancestor
    seen.parent = 1;
    CHECK(detaches(seen));
    seen = shell();
    seen.notify_socket = true;
    seen.systemd_exec_pid = 99;  // inherited by a shell of the service
    CHECK(detaches(seen));
    seen = shell();
    seen.launchd = true;
    CHECK(detaches(seen));
}

TEST_CASE("S1 text from outside is quoted in one line, and no more than sixty letters of it") {
    const auto quoted = [](const std::string& text) { return pure::join({pure::quote(text)}); };
    CHECK(quoted("") == "''");
    CHECK(quoted(std::string("a\n\\'\x7f\0", 6)) == "'a\\x0a\\x5c\\x27\\x7f\\x00'");
    CHECK(quoted(std::string(60, 'x')) == "'" + std::string(60, 'x') + "'");
    CHECK(quoted(std::string(61, 'x')) == "'" + std::string(60, 'x') + "'...");
}

TEST_CASE("E4 each condition has a text of its own, and a number that is none has one too") {
    std::vector<std::string> texts;
    for (int value = 1; value <= static_cast<int>(daemonize::errc::drop_incomplete); ++value) {
        const std::error_code code = make_error_code(static_cast<daemonize::errc>(value));
        CHECK(&code.category() == &daemonize::category());
        for (const std::string& other : texts) CHECK(code.message() != other);
        texts.push_back(code.message());
        CHECK(code.message() != "unknown condition");
    }
    CHECK(make_error_code(static_cast<daemonize::errc>(999)).message() == "unknown condition");
}

TEST_CASE("L4 a path as the jail calls it") {
    CHECK(pure::inside("/var/log/a", "") == "/var/log/a");
    CHECK(pure::inside("/jail/log/a", "/jail") == "/log/a");
    CHECK(pure::inside("/jail/log/a", "/jail/") == "/log/a");
    CHECK(pure::inside("/jail", "/jail") == "/");
    CHECK(pure::inside("/jailbreak/a", "/jail").empty());
    CHECK(pure::inside("/jail/../a", "/jail").empty());  // who knows where
    CHECK(pure::inside("/jail/a/..", "/jail").empty());
    CHECK(pure::inside("/var/log/a", "/jail").empty());
    CHECK(pure::inside("/a", "/") == "/a");
}

TEST_CASE("S2 a report survives the wire, in pieces and two at once") {
    os::Report sent;
    sent.word = os::Report::failed;
    sent.pid = 4711;
    sent.exit_code = 7;
    sent.is_system = true;
    sent.number = 28;
    sent.text = std::string("no\0 space", 9) + std::string(100000, 'x');
    const std::string wire = pure::pack(sent) + pure::pack(sent);
    std::string got;
    os::Report report;
    int reports = 0;
    for (std::size_t i = 0; i < wire.size(); i += 999) {
        got += wire.substr(i, 999);
        while (pure::unpack(got, report)) {
            ++reports;
            CHECK(report.word == sent.word);
            CHECK(report.pid == sent.pid);
            CHECK(report.exit_code == sent.exit_code);
            CHECK(report.is_system);
            CHECK(report.number == sent.number);
            CHECK(report.text == sent.text);
        }
    }
    CHECK(reports == 2);
    CHECK(got.empty());
}

TEST_CASE("S2 the status of a failed start is never 0") {
    CHECK(pure::failure_code(0) == 1);
    CHECK(pure::failure_code(7) == 7);
    CHECK((pure::failure_code(256) & 0xff) != 0);
}

TEST_CASE("V1 the watchdog's half, and only if this process is meant") {
    CHECK(pure::watchdog_interval("2000000", "", 5) == Duration(1000));
    CHECK(pure::watchdog_interval("2000000", "5", 5) == Duration(1000));
    CHECK(pure::watchdog_interval("2000000", "6", 5) == daemonize::no_limit);
    CHECK(pure::watchdog_interval("500", "", 5) == Duration(1));
    for (const char* bad : {"", "0", "-1", "x", "20x", "99999999999999999999999"})
        CHECK_MESSAGE(pure::watchdog_interval(bad, "", 5) == daemonize::no_limit, bad);
}

TEST_CASE("C2 C3 spans of time for people") {
    CHECK(pure::join({pure::span(Duration(-5))}) == "0 ms");
    CHECK(pure::join({pure::span(Duration(400))}) == "400 ms");
    CHECK(pure::join({pure::span(Duration(1000))}) == "1 s");
    CHECK(pure::join({pure::span(Duration(2400))}) == "2.4 s");
    CHECK(pure::join({pure::span(Duration(30000))}) == "30 s");
    CHECK(pure::join({pure::span(Duration(125000))}) == "2 min 5 s");
    CHECK(pure::join({pure::span(Duration(3 * 3600000 + 60000))}) == "3 h 1 min");
    CHECK(pure::join({pure::span(Duration(50 * 3600000LL))}) == "2 d 2 h");
}

TEST_CASE("E4 named conditions compare, and each has a text of its own") {
    std::string texts;
    for (int i = 1; i <= static_cast<int>(daemonize::errc::drop_incomplete); ++i) {
        const std::error_code code = static_cast<daemonize::errc>(i);
        CHECK(code.category() == daemonize::category());
        CHECK((code == static_cast<daemonize::errc>(i)));
        const std::string message = "[" + code.message() + "]";
        CHECK(message != "[unknown condition]");
        CHECK(texts.find(message) == std::string::npos);
        texts += message;
    }
    CHECK(std::string(daemonize::category().name()) == "daemonize");
}

TEST_CASE("D1 the defaults") {
    const daemonize::DaemonContext context;
    CHECK(context.umask == -1);
    CHECK(context.prevent_core);
    CHECK(context.detach_process == Detach::automatic);
    CHECK(context.standard_output.choice() == daemonize::Stream::null_choice);
    CHECK(context.initgroups);
    CHECK_FALSE(context.uid.is_set());
    CHECK(context.ready_timeout == std::chrono::seconds(30));
    CHECK(context.stop_timeout == std::chrono::seconds(10));
    daemonize::Account zero = 0;
    CHECK(zero.is_set());  // 0 is a value
    CHECK(zero.id() == 0);
}

TEST_CASE("W1 an argument survives quoting, whatever it holds") {
    CHECK(pure::quote_argument("plain") == "plain");
    CHECK(pure::quote_argument("") == "\"\"");
    CHECK(pure::quote_argument("a b") == "\"a b\"");
    CHECK(pure::quote_argument("a\\\"b") == "\"a\\\\\\\"b\"");
    CHECK(pure::quote_argument("end \\") == "\"end \\\\\"");
    std::mt19937 random(2);
    for (int round = 0; round < 20000; ++round) {
        std::string argument;
        for (unsigned long i = random() % 12; i > 0; --i)
            argument += "ab \t\\\\\\\"\"%&^"[random() % 12];
        std::string back;
        CHECK(unquote(pure::quote_argument(argument), back));
        CHECK(back == argument);
    }
}

TEST_CASE("W2 a switch is what was written, anything else is none") {
    std::uint64_t handle = 0, nonce = 0;
    CHECK(pure::parse_switch(pure::switch_text(0x1c4, 0xfeedfacecafebeefULL), handle, nonce));
    CHECK(handle == 0x1c4);
    CHECK(nonce == 0xfeedfacecafebeefULL);
    for (const char* bad : {"", "1", "1:", "1::", "1:5", "1:5:", "1::5", "2:5:5", "1:5:5:5",
                            "1:x:5", "1:5:5 ", "1:12345678901234567:5", "x", "1:-5:5"})
        CHECK_MESSAGE(!pure::parse_switch(bad, handle, nonce), bad);
}

TEST_CASE("W4 the number of a daughter has always eleven bytes, and every reader takes it") {
    for (const long pid : {2L, 4711L, 99999999L, 2147483647L}) {
        const std::string text = pure::padded_pid_text(pid);
        CHECK(text.size() == 11);
        CHECK(parsed(text) == pid);
        CHECK(std::strtol(text.c_str(), nullptr, 10) == pid);
    }
}

TEST_CASE("W6 exit codes of the daughter: as they are, shifted (Cygwin), from 128 on (a shell)") {
    for (const unsigned long code : {0UL, 1UL, 0xC000013AUL, 0xFFFFFFFFUL})
        CHECK(pure::signal_of_exit_code(code) == 2);
    for (unsigned long code = 2; code <= 31; ++code)
        for (const unsigned long given : {code, code << 8, code + 128})
            CHECK(pure::signal_of_exit_code(given) == (code == 6 ? 22 : static_cast<int>(code)));
    for (const unsigned long reload : {1UL << 8, 129UL})
        CHECK(pure::signal_of_exit_code(reload) == 12);
    for (const unsigned long code :
         {32UL, 128UL, 160UL, 255UL, 259UL, 32UL << 8, 0x10000UL, 0xC0000005UL, 0xFFFFFF00UL})
        CHECK(pure::signal_of_exit_code(code) == daemonize::no_signal);
}

TEST_CASE("G3 a wait of no time has none left, and a very long one does not overflow") {
    const os::Deadline now((Duration(0)));
    CHECK(now.over());
    CHECK(now.left() == Duration(0));
    const os::Deadline late(std::chrono::hours(24 * 365 * 1000));
    CHECK_FALSE(late.over());
    CHECK(late.left() > std::chrono::hours(24 * 365));
}
