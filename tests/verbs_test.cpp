// Rules C1 to C6 as users of init scripts know them: the words, what is said while one waits, which
// text names what went wrong; the second record lock, by which "ready" is seen from outside.
#include "support/expect.hpp"
#include "support/terminal.hpp"

#include <sys/stat.h>

#include <cctype>
#include <cstring>
#include <map>
#include <sstream>

using namespace expect;
using terminal::Terminal;

namespace {

const char* const all_verbs[] = {"start",  "stop",         "restart", "try-restart",
                                 "reload", "force-reload", "status",  "run"};

// A second launcher's daemon would have another number.
void check_undisturbed(const Daemon& daemon, pid_t pid) {
    CHECK(alive(pid));
    CHECK(daemon.pid() == pid);
    CHECK(daemon.verb("status").status == 0);
}

}  // namespace

// ---- Words --------------------------------------------------------------------------------------

TEST_CASE("C1 try-restart restarts what runs, and starts nothing that does not") {
    const Daemon daemon;
    const Outcome idle = daemon.verb("try-restart");
    INFO(idle.text());
    CHECK(idle.status == 0);
    CHECK(daemon.dir.names().empty());
    CHECK(descendants().empty());
    check_started(daemon, daemon.start());
    const pid_t first = daemon.pid();
    const Outcome done = daemon.verb("try-restart");
    INFO(done.text());
    CHECK(done.status == 0);
    CHECK(ended(first) == 0);
    const pid_t second = daemon.pid();
    CHECK(second != first);
    CHECK(alive(second));
    CHECK(daemon.verb("stop").status == 0);
}

TEST_CASE("C1 force-reload is a reload where that can be told") {
    const Daemon daemon;
    check_started(daemon, daemon.start());
    const pid_t pid = daemon.pid();
    REQUIRE(waits_for_signals(pid));
    const Outcome said = daemon.verb("force-reload");
    INFO(said.text());
    CHECK(said.status == 0);
    CHECK(daemon.logs("hup\n"));
    check_undisturbed(daemon, pid);
}

TEST_CASE("C1 force-reload of what cannot be told is a restart: it runs afterwards") {
    const Daemon daemon;
    check_started(daemon, daemon.verb("force-reload"));  // nobody was there
    const pid_t dead = daemon.pid();
    send_signal(dead, SIGKILL);
    CHECK(ended(dead) == 128 + SIGKILL);
    check_started(daemon, daemon.verb("force-reload"));  // what it left is in nobody's way
    CHECK(daemon.pid() != dead);
    REQUIRE(waits_for_signals(daemon.pid()));
    CHECK_FALSE(contains(slurp(daemon.log), "hup"));
    CHECK(daemon.verb("stop").status == 0);
}

TEST_CASE(
    "C1 --help and -h, alone and behind a verb: a page, the program's own text, nothing done") {
    const Daemon daemon;
    std::vector<Strings> ways = {{"--help"}, {"-h"}};
    for (const char* verb : all_verbs)
        for (const char* help : {"--help", "-h"}) ways.push_back({verb, help});
    for (const Strings& way : ways) {
        Strings words = Strings{program("subject")} + way;
        if (way.size() > 1)
            words = words + Strings{"--pidfile", daemon.pidfile, "--stdout",
                                    daemon.log,  "--help-text",  "Serves tea.\nOnly warm."};
        Launch launch(words);
        launch.limit = Millis(8000);  // `run` would take for ever
        const Outcome said = run(launch);
        INFO(join(words), ": ", said.text());
        REQUIRE(said.status == 0);
        CHECK(said.err == "");
        for (const char* verb : all_verbs) CHECK(contains(said.out, verb));
        CHECK(contains(said.out, "124"));  // the exit codes
        CHECK(lines(said.out).size() >= 8);
        CHECK(lines(said.out).size() <= 20);
        if (way.size() > 1) {
            CHECK(contains(said.out, daemon.pidfile));
            CHECK(contains(said.out, "Serves tea.\nOnly warm."));
        }
        CHECK(daemon.dir.names().empty());
        CHECK(descendants().empty());
    }
}

TEST_CASE("C1 --help behind a verb does nothing to a daemon that runs") {
    const Daemon daemon;
    check_started(daemon, daemon.start());
    const pid_t pid = daemon.pid();
    REQUIRE(waits_for_signals(pid));
    for (const char* verb : {"stop", "restart", "try-restart", "reload", "force-reload"})
        CHECK(daemon.verb(verb, {"--help"}).status == 0);
    check_undisturbed(daemon, pid);
    CHECK_FALSE(contains(slurp(daemon.log), "hup"));
}

TEST_CASE("C1 an unknown word is named, with control characters shown") {
    for (const char* word : {"begin", "START", "--no-such-option", "re\nload"}) {
        const Outcome said = run({{program("subject"), word}});
        INFO(said.text());
        CHECK(said.status == 2);
        CHECK(said.out == "");
        if (std::strchr(word, '\n'))
            CHECK_FALSE(contains(said.err, word));
        else
            CHECK(contains(said.err, std::string("'") + word + "'"));
    }
}

TEST_CASE("C1 words behind stop, status and reload that nobody takes are refused, and named") {
    const Daemon daemon;
    check_started(daemon, daemon.start());
    const pid_t pid = daemon.pid();
    REQUIRE(waits_for_signals(pid));
    for (const char* verb : {"stop", "status", "reload"}) {
        for (const char* word : {"now", "--quickly"}) {
            const Outcome said = daemon.verb(verb, {word});
            INFO(verb, " ", word, ": ", said.text());
            CHECK(said.status == 2);
            CHECK(contains(said.err, word));
        }
    }
    CHECK(daemon.verb("stop", {"--json"}).status == 2);  // of status alone
    check_undisturbed(daemon, pid);
    CHECK_FALSE(contains(slurp(daemon.log), "hup"));
}

// ---- check --------------------------------------------------------------------------------------

TEST_CASE(
    "C4 check fails: restart and reload touch nobody, say why in one line, and are no success") {
    const Daemon daemon;
    check_started(daemon, daemon.start());
    const pid_t pid = daemon.pid();
    REQUIRE(waits_for_signals(pid));
    for (const char* verb : {"restart", "try-restart", "reload", "force-reload"}) {
        const Outcome said = daemon.verb(verb, {"--check", "exit 3"});
        INFO(verb, ": ", said.text());
        CHECK(said.status > 0);
        CHECK(lines(said.err).size() == 1);
        CHECK(said.err.compare(0, 9, "subject: ") == 0);
        CHECK(contains(said.err, "configuration refused by 'exit 3'"));
        check_undisturbed(daemon, pid);
    }
    CHECK_FALSE(contains(slurp(daemon.log), "hup"));
}

TEST_CASE("C4 check passes: it was asked once, before anybody was stopped") {
    const Daemon daemon;
    check_started(daemon, daemon.start());
    const pid_t pid = daemon.pid();
    REQUIRE(waits_for_signals(pid));
    const std::string asked = daemon.dir / "asked";
    const std::string check = "cat " + daemon.pidfile + " >>" + asked;
    CHECK(daemon.verb("reload", {"--check", check}).status == 0);
    CHECK(daemon.logs("hup\n"));
    CHECK(slurp(asked) == std::to_string(pid) + "\n");
    CHECK(daemon.verb("restart", {"--check", check}).status == 0);
    CHECK(ended(pid) == 0);
    CHECK(slurp(asked) == std::to_string(pid) + "\n" + std::to_string(pid) + "\n");
    CHECK(daemon.verb("stop", {"--check", "exit 3"}).status == 0);  // stop asks nobody
}

// ---- stop_signal, kill_after_stop_timeout -------------------------------------------------------

TEST_CASE("C2 stop_signal is what stop and restart send first") {
    const Daemon daemon;
    check_started(daemon, daemon.start({"--ignore-term"}));
    pid_t pid = daemon.pid();
    const Outcome stop = daemon.verb("stop", {"--stop-signal", std::to_string(SIGINT)});
    INFO(stop.text());
    CHECK(stop.status == 0);
    CHECK(contains(stop.out, "ended"));
    CHECK(ended(pid) == 0);  // orderly: SIGTERM, which it ignores, would have ended in SIGKILL

    check_started(daemon, daemon.start());
    pid = daemon.pid();
    REQUIRE(waits_for_signals(pid));
    const Outcome killed =
        daemon.verb("stop", {"--stop-signal", std::to_string(SIGUSR1), "--timeout", "0.5"});
    INFO(killed.text());
    CHECK(killed.status == 0);
    CHECK(contains(slurp(daemon.log), "usr1\n"));
    CHECK(ended(pid) == 128 + SIGKILL);  // no SIGTERM beside it
}

TEST_CASE("C2 a stop_signal that is none is an error that names it, and nobody is touched") {
    const Daemon daemon;
    check_started(daemon, daemon.start());
    const pid_t pid = daemon.pid();
    for (const char* wrong : {"4711", "0", "-1"}) {
        const Outcome stop = daemon.verb("stop", {"--stop-signal", wrong});
        INFO(stop.text());
        CHECK(stop.status > 0);
        CHECK(lines(stop.err).size() == 1);
        CHECK(contains(stop.err, wrong));
        check_undisturbed(daemon, pid);
    }
}

TEST_CASE("C2 kill_after_stop_timeout = false: at the limit stop gives up, and the daemon lives") {
    const Daemon daemon;
    check_started(daemon, daemon.start({"--ignore-term"}));
    const pid_t pid = daemon.pid();
    for (const char* verb : {"stop", "restart"}) {
        const Outcome said = daemon.verb(verb, {"--no-kill", "--timeout", "0.5"});
        INFO(verb, ": ", said.text());
        CHECK(said.status > 0);
        CHECK(said.took >= Millis(500));
        CHECK(lines(said.err).size() == 1);
        CHECK(contains(said.err, std::to_string(pid)));
        check_undisturbed(daemon, pid);
    }
    CHECK(daemon.verb("stop", {"--timeout", "0.2"}).status == 0);
    CHECK(ended(pid) == 128 + SIGKILL);
}

TEST_CASE("C2 stop removes the file that a dead daemon left, so that status then says 3") {
    const Daemon daemon;
    check_started(daemon, daemon.start());
    const pid_t pid = daemon.pid();
    send_signal(pid, SIGKILL);
    CHECK(ended(pid) == 128 + SIGKILL);
    CHECK(daemon.verb("status").status == 1);
    CHECK(daemon.verb("stop").status == 0);
    CHECK_FALSE(exists(daemon.pidfile));
    CHECK(daemon.verb("status").status == 3);
}

TEST_CASE("C2 an ancestor is stopped, with a warning; oneself never") {
    SKIP_UNLESS(!harness::thread_sanitized(),
                "ThreadSanitizer holds signals back while a program waits");
    const Victim daemon;
    const std::string stop = program("subject") + " stop --pidfile " + daemon.pidfile + " >" +
                             (daemon.dir / "said") + " 2>&1; echo $? >" + (daemon.dir / "status");
    check_started(daemon, daemon.start({"open", daemon.gate(), "system=" + stop, "wait"}));
    const pid_t pid = daemon.pid();
    daemon.let_go();
    CHECK(ended(pid) == 128 + SIGTERM);
    CHECK(eventually([&] { return slurp(daemon.dir / "status") == "0\n"; }));
    INFO(slurp(daemon.dir / "said"));
    CHECK(contains(slurp(daemon.dir / "said"), "ancestor"));
    CHECK_FALSE(exists(daemon.pidfile));
}

// ---- running_is_success, "starting", the second record lock -------------------------------------

TEST_CASE("C3 running_is_success: a start of what runs is one, and changes nothing") {
    const Daemon daemon;
    check_started(daemon, daemon.start({"--running-is-success"}));
    const pid_t pid = daemon.pid();
    const struct stat before = stat_of(daemon.pidfile);
    const Outcome again = daemon.start({"--running-is-success"});
    INFO(again.text());
    CHECK(again.status == 0);
    CHECK(again.err == "");
    CHECK(same_file_state(before, stat_of(daemon.pidfile)));
    check_undisturbed(daemon, pid);
    CHECK(daemon.start().status == 1);  // who has not asked for it is refused as ever
}

TEST_CASE("C3 running_is_success: of what is starting it waits for the end of that start") {
    SKIP_UNLESS(!generic(), "without record locks nobody tells starting from running");
    const Daemon daemon;
    Running first(daemon.launch({"--ready-delay-ms", "1500"}));
    REQUIRE(eventually([&] { return daemon.pid() > 1; }));
    const pid_t pid = daemon.pid();
    const Outcome second = daemon.start({"--running-is-success"});
    INFO(second.text());
    CHECK(second.status == 0);
    CHECK(second.took >= Millis(500));
    check_undisturbed(daemon, pid);
    CHECK(first.finish().status == 0);
}

TEST_CASE("C3 running_is_success: a start that it waits for and that fails is no success of its") {
    SKIP_UNLESS(!generic(), "without record locks nobody tells starting from running");
    const Daemon daemon;
    Running first(daemon.launch({"--ready-delay-ms", "700", "--fail-init", "nope"}));
    REQUIRE(eventually([&] { return daemon.pid() > 1; }));
    const pid_t failing = daemon.pid();
    const Outcome second = daemon.start({"--running-is-success"});
    INFO(second.text());
    CHECK(first.finish().status == 1);
    CHECK_FALSE(second.timed_out);
    // Its own daemon, or a refusal: never a 0 with nobody there.
    CHECK((second.status == 0) == (daemon.pid() > 1 && daemon.pid() != failing));
    CHECK(daemon.verb("status").status == (second.status == 0 ? 0 : 3));
}

TEST_CASE("C3 before ready it is `starting as process N`, status 4; then running, 0") {
    SKIP_UNLESS(!generic(), "without record locks it is running from the start");
    const Daemon daemon;
    Running launcher(daemon.launch({"--ready-delay-ms", "1500"}));
    REQUIRE(eventually([&] { return daemon.pid() > 1; }));
    const std::string number = std::to_string(daemon.pid());
    const Outcome status = daemon.verb("status");
    INFO(status.text());
    CHECK(status.status == 4);
    CHECK(contains(status.out + status.err, "starting as process " + number));
    const Outcome second = daemon.start();
    INFO(second.text());
    CHECK(second.status == 1);
    CHECK(contains(second.err, number));
    CHECK(launcher.finish().status == 0);
    const Outcome running = daemon.verb("status");
    CHECK(running.status == 0);
    CHECK_FALSE(contains(running.out, "starting"));
}

namespace {

// Bytes of the file that its daemon has under record locks; one lock on neighbouring bytes.
long bytes_locked(const std::string& path, pid_t pid) {
    const std::string inode = ":" + std::to_string(stat_of(path).st_ino) + " ";
    long bytes = 0;
    for (const std::string& line : lines(slurp("/proc/locks"))) {
        if (!contains(line, inode) || !contains(line, "POSIX")) continue;
        if (!contains(line, "WRITE " + std::to_string(pid) + " ")) continue;
        std::istringstream words(line.substr(line.find(inode) + inode.size()));
        long from = 0, to = 0;
        if (words >> from >> to) bytes += to - from + 1;
    }
    return bytes;
}

}  // namespace

TEST_CASE("C3 at ready the daemon locks the next byte, too, and keeps it when it is healed") {
    SKIP_UNLESS(!generic(), "needs record locks");
    SKIP_UNLESS(exists("/proc/locks"), "needs /proc/locks");
    const Victim daemon;
    Running launcher(daemon.launch({"by-hand=1", "open", daemon.gate(), "ready", "wait"}));
    REQUIRE(eventually([&] { return daemon.pid() > 1; }));
    CHECK(bytes_locked(daemon.pidfile, daemon.pid()) == 1);
    daemon.let_go();
    CHECK(launcher.finish().status == 0);
    CHECK(bytes_locked(daemon.pidfile, daemon.pid()) == 2);
}

TEST_CASE("C3 Ctrl-C and the time limit leave nothing that is starting") {
    const Daemon daemon;
    Running launcher(daemon.launch({"--ready-delay-ms", "20000"}));
    REQUIRE(eventually([&] { return daemon.pid() > 1; }));
    launcher.signal(SIGINT);
    CHECK(launcher.finish().status == 128 + SIGINT);
    CHECK(eventually([] { return descendants().empty(); }, Millis(5000)));
    CHECK(daemon.verb("status").status == 3);
    CHECK(daemon.start({"--ready-delay-ms", "20000", "--ready-timeout", "0.3"}).status == 124);
    CHECK(daemon.verb("status").status == 3);
    CHECK_FALSE(exists(daemon.pidfile));
}

// ---- status --json ------------------------------------------------------------------------------

namespace {

// One flat object: its keys, and their values as they are read: strings without their quotes and
// escapes, the rest as it stands. Anything else is no JSON, and throws.
std::map<std::string, std::string> parse_object(const std::string& text) {
    std::size_t at = 0;
    const auto expect = [&](bool good) {
        if (!good) throw std::runtime_error("no JSON at " + std::to_string(at) + ": " + text);
    };
    const auto blanks = [&] {
        while (at < text.size() && text[at] == ' ') ++at;
    };
    const auto take = [&](char c) {
        blanks();
        expect(at < text.size() && text[at] == c);
        ++at;
    };
    const auto string = [&] {
        std::string value;
        take('"');
        while (expect(at < text.size()), text[at] != '"') {
            expect(static_cast<unsigned char>(text[at]) >= 32);
            if (text[at] != '\\') {
                value += text[at++];
                continue;
            }
            expect(++at < text.size());
            const char escape = text[at++];
            const char* const known = std::strchr("nrtbf\"\\/", escape);
            expect(known || escape == 'u');
            if (known) {
                value += "\n\r\t\b\f\"\\/"[known - "nrtbf\"\\/"];
            } else {
                expect(at + 4 <= text.size());
                value += static_cast<char>(std::stoi(text.substr(at, 4), nullptr, 16));
                at += 4;
            }
        }
        ++at;
        return value;
    };
    std::map<std::string, std::string> found;
    take('{');
    do {
        blanks();
        const std::string key = string();
        expect(found.count(key) == 0);
        take(':');
        blanks();
        if (at < text.size() && text[at] == '"') {
            found[key] = string();
        } else {
            const std::size_t from = at;
            while (at < text.size() && (std::isalnum(text[at]) || std::strchr("+-.", text[at])))
                ++at;
            expect(at > from);
            found[key] = text.substr(from, at - from);
        }
        blanks();
    } while (at < text.size() && text[at] == ',' && ++at);
    take('}');
    expect(text.substr(at) == "\n");
    return found;
}

std::map<std::string, std::string> json(const Daemon& daemon, int status) {
    const Outcome said = daemon.verb("status", {"--json"});
    INFO(said.text());
    CHECK(said.status == status);
    CHECK(said.err == "");
    CHECK(lines(said.out).size() == 1);
    std::map<std::string, std::string> found;
    try {
        found = parse_object(said.out);
    } catch (const std::exception& error) {
        FAIL_CHECK(std::string(error.what()));
    }
    for (const char* key : {"state", "pid", "uptime", "pidfile", "text"})
        CHECK(found.count(key) == 1);
    CHECK(found.size() == 5);
    return found;
}

}  // namespace

TEST_CASE("C3 status --json: one object in one line, with the status code of status") {
    const Daemon daemon;
    std::map<std::string, std::string> told = json(daemon, 3);
    CHECK(told["state"] != "running");
    CHECK(told["pidfile"] == daemon.pidfile);
    check_started(daemon, daemon.start());
    told = json(daemon, 0);
    CHECK(told["state"] == "running");
    CHECK(told["pid"] == std::to_string(daemon.pid()));
    CHECK(told["pidfile"] == daemon.pidfile);
    CHECK(contains(told["text"], "running"));
    const double uptime = std::atof(told["uptime"].c_str());
    CHECK(uptime >= 0);
    CHECK(uptime < 60);  // in seconds
    const pid_t pid = daemon.pid();
    send_signal(pid, SIGKILL);
    CHECK(ended(pid) == 128 + SIGKILL);
    told = json(daemon, 1);
    CHECK(told["state"] != "running");
}

TEST_CASE("C3 status --json: whatever the path holds, it is JSON and comes back") {
    Daemon daemon;
    daemon.pidfile = daemon.dir / "a \"quoted\" \\ and\nbroken\ttext\x01.pid";
    CHECK(json(daemon, 3)["pidfile"] == daemon.pidfile);
    check_started(daemon, daemon.start());
    CHECK(json(daemon, 0)["pidfile"] == daemon.pidfile);
    daemon.pidfile = daemon.dir / "no/such/directory.pid";
    CHECK(json(daemon, 3)["pidfile"] == daemon.pidfile);
}

TEST_CASE("C3 status --json: while it is starting") {
    SKIP_UNLESS(!generic(), "without record locks it is running from the start");
    const Daemon daemon;
    Running launcher(daemon.launch({"--ready-delay-ms", "1500"}));
    REQUIRE(eventually([&] { return daemon.pid() > 1; }));
    std::map<std::string, std::string> told = json(daemon, 4);
    CHECK(told["state"] != "running");
    CHECK(contains(told["text"], "starting as process " + std::to_string(daemon.pid())));
}

// ---- What is said while one waits ---------------------------------------------------------------

TEST_CASE("C1 on a terminal a start that lasts over a second says what it waits for") {
    NEEDS_TERMINAL();
    Terminal screen;
    const Daemon daemon;
    Running running(screen.launch(daemon.words("start", {"--ready-delay-ms", "4000"})));
    CHECK(screen.shows("subject: "));
    CHECK_FALSE(running.finished());  // while it waits, not when all is over
    CHECK(running.finish().status == 0);
    Terminal quick;
    CHECK(daemon.verb("stop").status == 0);
    Running fast(quick.launch(daemon.words("start")));
    const Outcome done = fast.finish();
    CHECK(done.status == 0);
    quick.shows("", Millis(0));
    INFO(quick.screen);
    if (done.took < Millis(900)) CHECK(lines(quick.screen).size() <= 1);  // that it has started
}

TEST_CASE("C1 on a terminal a stop that lasts over a second says what it waits for") {
    NEEDS_TERMINAL();
    Terminal screen;
    const Daemon daemon;
    check_started(daemon, daemon.start({"--term-delay-ms", "4000"}));
    REQUIRE(waits_for_signals(daemon.pid()));
    Running running(screen.launch(daemon.words("stop")));
    CHECK(screen.shows("subject: "));
    CHECK_FALSE(running.finished());
    CHECK(running.finish().status == 0);
}

TEST_CASE("C1 without a terminal nobody is told anything while it waits") {
    const Daemon daemon;
    const Outcome start = daemon.start({"--ready-delay-ms", "1500", "--term-delay-ms", "1500"});
    check_started(daemon, start);
    CHECK(lines(start.out).size() <= 1);
    REQUIRE(waits_for_signals(daemon.pid()));
    const Outcome stop = daemon.verb("stop");
    CHECK(stop.err == "");
    CHECK(lines(stop.out).size() == 1);
}

TEST_CASE("S13 Ctrl-C at `start` ends the start, and that is said") {
    NEEDS_TERMINAL();
    Terminal screen;
    const Daemon daemon;
    Running running(screen.launch(daemon.words("start", {"--ready-delay-ms", "20000"})));
    REQUIRE(eventually([&] { return daemon.pid() > 1; }));
    screen.type("\003");
    CHECK(running.finish().status == 128 + SIGINT);
    CHECK(screen.shows("subject: "));
    CHECK(eventually([] { return descendants().empty(); }, Millis(5000)));
    CHECK_FALSE(exists(daemon.pidfile));

    // The same where there is no terminal.
    Running launcher(daemon.launch({"--ready-delay-ms", "20000"}));
    REQUIRE(eventually([&] { return daemon.pid() > 1; }));
    launcher.signal(SIGINT);
    const Outcome said = launcher.finish();
    INFO(said.text());
    CHECK(said.end_of_file);
    CHECK(lines(said.err).size() == 1);
    CHECK(contains(said.err, "subject: "));
}

// ---- Texts --------------------------------------------------------------------------------------

TEST_CASE("S1 a body that returns without ready() is told so") {
    const Victim daemon;
    check_failed(daemon, daemon.start({"control=start", "return=0"}), 1,
                 {"returned 0 without calling ready()"});
    check_failed(daemon, daemon.start({"control=start", "return=5"}), 5, {"5"});
}

TEST_CASE("S1 a start that fails without a word of its own names the daemon's log") {
    const Daemon daemon;
    check_failed(daemon, daemon.start({"--stderr", daemon.log, "--exit-init", "3"}), 3,
                 {"ended with status 3", "its log is '" + daemon.log + "'"});
    const Outcome no_log =
        run({{program("subject"), "start", "--pidfile", daemon.pidfile, "--exit-init", "3"}});
    INFO(no_log.text());
    CHECK(no_log.status == 3);
    CHECK_FALSE(contains(no_log.err, "its log is"));
}

namespace {

// The number of a process is another each time.
std::string without_numbers(const std::string& text) {
    std::string kept;
    for (std::size_t at = 0; at < text.size(); ++at) {
        const bool digit = std::isdigit(static_cast<unsigned char>(text[at])) != 0;
        const bool was = at > 0 && std::isdigit(static_cast<unsigned char>(text[at - 1])) != 0;
        if (!digit)
            kept += text[at];
        else if (!was)
            kept += 'N';
    }
    return kept;
}

}  // namespace

TEST_CASE("S1 one form for a daemon that ended, in open() and in control()") {
    const Victim daemon;
    for (const auto& end :
         {std::make_pair("_exit=3", "ended with status 3"), std::make_pair("raise=9", "SIGKILL")}) {
        const Outcome opened = daemon.start({"by-hand=1", "open", end.first});
        check_failed(daemon, opened, opened.status, {end.second});
        const Outcome controlled = daemon.start({"control=start", end.first});
        CHECK(controlled.status == opened.status);
        CHECK(without_numbers(opened.err) == without_numbers(controlled.err));
    }
}

TEST_CASE("S11 threads: the advice is to start before them, not to allow them") {
    SKIP_UNLESS(!harness::thread_sanitized(), "threads are not counted under ThreadSanitizer");
    SKIP_UNLESS(!generic(), "POSIX does not tell how many threads there are");
    const Daemon daemon;
    const Outcome said = daemon.start({"--threads", "1"});
    check_failed(daemon, said, 1, {"start before threads are made"});
    CHECK_FALSE(contains(said.err, "allow_threads"));
}

TEST_CASE("S1 a PID file in no directory: the directory is named") {
    const Daemon daemon;
    const Outcome said =
        run({{program("subject"), "start", "--pidfile", daemon.dir / "none/d.pid"}});
    check_refused(said, {"no directory '" + (daemon.dir / "none") + "' for the PID file"});
}

TEST_CASE("E4 what needs root says so") {
    const Daemon daemon;
    const std::string place = daemon.dir.directory("place", 0777);
    for (const Strings& option :
         {Strings{"--user", "root"}, Strings{"--group", "root"}, Strings{"--chroot", "/"}}) {
        Launch launch(Strings{program("subject"), "start", "--pidfile", place + "/d.pid"} + option);
        if (is_root()) launch.before_exec = become_nobody;
        const Outcome said = run(launch);
        check_refused(said, {"needs root"});
        CHECK(Scratch::names(place).empty());
    }
}

TEST_CASE("S3 fail() and exceptions are one line, with control characters shown") {
    const std::string wild = "first\nsecond\x1b[31mred\rback\ttab\x7f";
    const Daemon daemon;
    const Victim victim;
    for (const Outcome& said :
         {daemon.start({"--fail-init", wild}), victim.start({"control=start", "throw=" + wild})}) {
        INFO(said.text());
        CHECK(said.status == 1);
        CHECK(lines(said.err).size() == 1);
        CHECK(contains(said.err, "first"));
        CHECK(contains(said.err, "red"));
        CHECK(said.err.back() == '\n');
        for (const char c : said.err.substr(0, said.err.size() - 1))
            CHECK((static_cast<unsigned char>(c) >= 32 && c != 127));
    }
    CHECK_FALSE(exists(daemon.pidfile));
    CHECK_FALSE(exists(victim.pidfile));
}
