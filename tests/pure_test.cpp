// The rules that need no operating system: texts, the PID in a file, the table of detach_process,
// the wire of the readiness channel, and what Windows asks of text. The same on every platform.
#define DAEMONIZE_IMPLEMENTATION
#include "daemonize.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <random>

namespace detail = daemonize::detail;
using daemonize::Detach;
using daemonize::Duration;
using detail::Arg;
using detail::Evidence;
using detail::PidFileView;
using detail::Report;
using detail::Text;
using detail::Verdict;

namespace {

PidFileView view_of(const std::string& text) {
    PidFileView view;
    view.exists = true;
    detail::read_content(view, text.data(), text.size());
    return view;
}

long parsed(const std::string& text) { return view_of(text).number; }

std::string described(const std::string& text) {
    Text out;
    detail::describe_content(view_of(text), out);
    return out.c_str();
}

PidFileView file(const std::string& text, bool locked, long owner) {
    PidFileView view = view_of(text);
    view.proves = true;
    view.locked = locked;
    view.owner = owner;
    return view;
}

std::string formatted(const char* form, Arg a = Arg(), Arg b = Arg()) {
    Text text;
    detail::format(text, form, a, b);
    return text.c_str();
}

// A shell's child: what the table sees when nothing is special.
Evidence shell() {
    Evidence seen;
    seen.pid = 4711;
    seen.parent = 100;
    return seen;
}

bool detaches(const Evidence& seen, bool comes_back = false) {
    return detail::decide(Detach::automatic, comes_back, seen).detach;
}

bool is_inetd(Detach wish, const Evidence& seen) { return detail::decide(wish, false, seen).inetd; }

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
         {"", "\n", "0\n", "-5\n", "+5\n", "4711x\n", "47 11\n", "abc\n", "2147483648\n",
          "99999999999999999999999999\n", "0x10\n", "\n4711\n", "4.5\n"})
        CHECK_MESSAGE(parsed(text) == 0, text);
    CHECK(parsed(std::string("47\0"
                             "11\n",
                             6)) == 0);
    CHECK(described("") == "it is empty");
    CHECK(described("\n4711\n") == "its first line is empty");
    CHECK(described("00\n") == "it holds 0, no PID");
    CHECK(described("4711\n") == "it holds 4711");
    CHECK(described("99999999999\n") == "it holds '99999999999', larger than any PID");
    CHECK(described("\x01\x02'\\evil\n") == "it holds '\\x01\\x02\\x27\\x5cevil', no PID");
}

TEST_CASE("P5 reading a PID takes any bytes") {
    std::mt19937 random(1);
    for (int round = 0; round < 20000; ++round) {
        std::string text;
        for (unsigned long i = random() % 12; i > 0; --i)
            text += "0123456789 \r\n\t-x\0\xff"[random() % 18];
        CHECK(parsed(text) >= 0);
        CHECK(described(text).find('\n') == std::string::npos);
    }
}

TEST_CASE("P1 G7 the lock and its owner decide, the number never does alone") {
    using detail::judge;
    CHECK(judge(PidFileView()) == Verdict::missing);
    CHECK(judge(file("", false, 0)) == Verdict::empty);
    CHECK(judge(file("4711\n", false, 0)) == Verdict::dead);
    CHECK(judge(file("garbage\n", false, 0)) == Verdict::dead);  // unlocked and not empty
    CHECK(judge(file("1\n", false, 0)) == Verdict::dead);
    CHECK(judge(file("4711\n", true, 0)) == Verdict::starting);  // whatever the content
    CHECK(judge(file("", true, 0)) == Verdict::starting);
    CHECK(judge(file("", true, 4711)) == Verdict::starting);
    CHECK(judge(file("4711\n", true, 4711)) == Verdict::proven);
    CHECK(judge(file("1\n", true, 1)) == Verdict::proven);  // a container's entry, by its lock
    CHECK(judge(file("1\n", true, -1)) == Verdict::elsewhere);
    CHECK(judge(file("4711\n", true, 4712)) == Verdict::elsewhere);
    CHECK(judge(file("4711\n", true, -1)) == Verdict::elsewhere);
    CHECK(judge(file("garbage\n", true, 4711)) == Verdict::invalid);
    PidFileView unready = file("4711\n", true, 4711);
    unready.tells_ready = true;
    CHECK(judge(unready) == Verdict::unready);
    unready.ready = true;
    CHECK(judge(unready) == Verdict::proven);
    PidFileView unprovable = file("4711\n", true, 0);  // a system that names no owner of a lock
    unprovable.proves = false;
    CHECK(judge(unprovable) == Verdict::proven);
    unprovable = file("1\n", true, 0);
    unprovable.proves = false;
    CHECK(judge(unprovable) == Verdict::invalid);
}

TEST_CASE("Section 7: each row of the table of detach_process") {
    CHECK(detaches(shell()));
    Evidence seen = shell();
    CHECK(detail::decide(Detach::yes, false, seen).detach);
    CHECK_FALSE(detail::decide(Detach::no, true, seen).detach);
    seen.pid = 1;
    CHECK_FALSE(detaches(seen, true));
    CHECK(detail::decide(Detach::yes, false, seen).detach);  // explicit wins
    seen = shell();
    seen.parent = 1;
    seen.parent_is_shim = true;
    CHECK_FALSE(detaches(seen, true));
    for (const char* shim : {"docker-init", "tini", "dumb-init", "catatonit"})
        CHECK(detail::is_container_init(shim));
    seen = shell();
    seen.notify_socket = true;
    seen.systemd_exec_pid = seen.pid;
    CHECK_FALSE(detaches(seen, true));
    seen.pidfile_set = true;  // Type=forking with PIDFile= goes before
    CHECK(detaches(seen));
    seen = shell();
    seen.notify_socket = true;
    seen.parent_is_manager = true;  // systemd before 248
    CHECK_FALSE(detaches(seen));
    seen = shell();
    seen.systemd_exec_pid = seen.pid;
    CHECK_FALSE(detaches(seen));
    CHECK(detaches(seen, true));  // Type=oneshot, or forking: `start` is to come back
    seen = shell();
    seen.invocation_id = true;
    seen.parent_is_manager = true;
    CHECK_FALSE(detaches(seen));
    CHECK(detaches(seen, true));
    seen = shell();
    seen.stdin_is_network = true;
    CHECK_FALSE(detaches(seen));
    CHECK(is_inetd(Detach::automatic, seen));
    CHECK(is_inetd(Detach::no, seen));  // `run`, too
    CHECK_FALSE(is_inetd(Detach::yes, seen));
    seen.systemd_exec_pid = seen.pid;  // whatever the variables say
    CHECK(is_inetd(Detach::automatic, seen));
    seen = shell();
    seen.launchd = true;
    seen.parent = 1;
    CHECK_FALSE(detaches(seen));
}

TEST_CASE("Section 7: the false friends of the table detach") {
    Evidence seen = shell();
    seen.parent = 1;  // a container's shell that went on, or an orphan
    CHECK(detaches(seen));
    for (const char* name : {"bash", "systemd", "", "tini2"})
        CHECK_FALSE(detail::is_container_init(name));
    seen = shell();
    seen.invocation_id = true;  // a terminal of a desktop session
    CHECK(detaches(seen));
    seen.systemd_exec_pid = 99;  // of an ancestor
    seen.parent = 1;
    CHECK(detaches(seen));
    seen = shell();
    seen.systemd_exec_pid = seen.parent;  // a shell around the program
    CHECK(detaches(seen));
    seen = shell();
    seen.notify_socket = true;  // leaked into a container, or to a child
    CHECK(detaches(seen));
    seen.systemd_exec_pid = 99;  // inherited by a shell of the service
    CHECK(detaches(seen));
    seen = shell();
    seen.launchd = true;
    CHECK(detaches(seen));
}

TEST_CASE("S1 text from outside is quoted in one line, and no more than sixty letters of it") {
    const auto quoted = [](const std::string& text) { return formatted("%q", text); };
    CHECK(quoted("") == "''");
    CHECK(quoted("a\n\\'\x7f") == "'a\\x0a\\x5c\\x27\\x7f'");
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

TEST_CASE("E1 what does not fit into a text is cut in its object, never in its cause") {
    const std::string path = "/" + std::string(5000, 'p') + "/end";
    detail::Fault fault;
    detail::fail(fault, daemonize::errc::timed_out, "cannot lock %p: it was replaced", path);
    const std::string text = fault.text.c_str();
    CHECK(text.size() < 999);
    CHECK(text.find("/end': it was replaced") != std::string::npos);
    CHECK(text.find("...") != std::string::npos);
    CHECK(formatted("%p", "/a\nb") == "'/a?b'");
    CHECK(formatted("%s", std::string(5000, 'x')).size() == 999);
}

TEST_CASE("S1 numbers, processes and signals in a text") {
    CHECK(formatted("%d", LLONG_MIN) == "-9223372036854775808");
    CHECK(formatted("%d %d", 0, -7) == "0 -7");
    CHECK(formatted("%P", 4711) == "process 4711");
    CHECK(formatted("[%P]", 0) == "[]");
    CHECK(formatted("%S", SIGTERM) == "SIGTERM");
    CHECK(formatted("%S", 999) == "signal 999");
}

TEST_CASE("L4 a path as the jail calls it") {
    const auto inside = [](const char* path, const char* jail) {
        const char* const name = detail::inside(path, jail);
        return std::string(name ? name : "");
    };
    CHECK(inside("/var/log/a", "") == "/var/log/a");
    CHECK(inside("/jail/log/a", "/jail") == "/log/a");
    CHECK(inside("/jail/log/a", "/jail/") == "/log/a");
    CHECK(inside("/jail", "/jail") == "/");
    CHECK(inside("/jailbreak/a", "/jail").empty());
    CHECK(inside("/jail/../a", "/jail").empty());  // who knows where
    CHECK(inside("/jail/a/..", "/jail").empty());
    CHECK(inside("/jail/a..b/c", "/jail") == "/a..b/c");
    CHECK(inside("/var/log/a", "/jail").empty());
    CHECK(inside("/a", "/") == "/a");
}

TEST_CASE("S2 a report of a daemon is believed only if it can be one") {
    Report report;
    CHECK_FALSE(detail::is_plausible(report));
    report.word = Report::ready;
    CHECK(detail::is_plausible(report));
    report.size = 1;
    CHECK_FALSE(detail::is_plausible(report));
    report.word = Report::failed;
    report.code = -28;
    CHECK(detail::is_plausible(report));
    report.size = static_cast<std::uint32_t>(detail::report_room);
    CHECK(detail::is_plausible(report));
    ++report.size;
    CHECK_FALSE(detail::is_plausible(report));
    report.size = 0xffffffffU;
    CHECK_FALSE(detail::is_plausible(report));
    report.size = 0;
    report.code = 9999;
    CHECK_FALSE(detail::is_plausible(report));
    report.code = 0;
    for (const int word : {0, 1, 2, 3, -1}) {
        report.word = word;
        CHECK_FALSE(detail::is_plausible(report));
    }
}

TEST_CASE("S2 the status of a failed start is never 0") {
    CHECK(detail::failure_code(0) == 1);
    CHECK(detail::failure_code(7) == 7);
    CHECK((detail::failure_code(256) & 0xff) != 0);
}

TEST_CASE("V1 the watchdog's half, and only if this process is meant") {
    using detail::watchdog_half;
    CHECK(watchdog_half("2000000", "", 5) == Duration(1000));
    CHECK(watchdog_half("2000000", "5", 5) == Duration(1000));
    CHECK(watchdog_half("2000000", "6", 5) == daemonize::no_limit);
    CHECK(watchdog_half("500", "", 5) == Duration(1));
    for (const char* bad : {"", "0", "-1", "x", "20x", "99999999999999999999999"})
        CHECK_MESSAGE(watchdog_half(bad, "", 5) == daemonize::no_limit, bad);
}

TEST_CASE("C2 C3 spans of time for people") {
    const auto span = [](long long ms) { return formatted("%t", ms); };
    CHECK(span(-5) == "0 ms");
    CHECK(span(400) == "400 ms");
    CHECK(span(1000) == "1 s");
    CHECK(span(2400) == "2.4 s");
    CHECK(span(30000) == "30 s");
    CHECK(span(125000) == "2 min 5 s");
    CHECK(span(3 * 3600000 + 60000) == "3 h 1 min");
    CHECK(span(50 * 3600000LL) == "2 d 2 h");
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

TEST_CASE("G3 a wait of no time has none left, and a very long one does not overflow") {
    const detail::Deadline now((Duration(0)));
    CHECK(now.over());
    CHECK(now.left() == 0);
    const detail::Deadline late(std::chrono::hours(24 * 365 * 1000));
    CHECK_FALSE(late.over());
    CHECK(late.never());
    CHECK(late.left_to_poll() == -1);
    CHECK(late.left_to_poll(20) == 20);
}
