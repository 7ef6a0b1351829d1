// Hostile and tired users, on the public face: what they do stands in tests/attacks, what must hold
// stands here. Judged from outside only: exit codes, texts, files, processes.
#include "support/expect.hpp"
#include "support/local.hpp"

#include <fcntl.h>
#include <grp.h>
#include <sys/file.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>

using namespace expect;

namespace {

Launch hostile(const Strings& words, const char* name = "hostile") {
    Launch launch(Strings{program(name)} + words);
    launch.limit = Millis(sanitized() ? 60000 : 10000);
    return launch;
}

Launch slowed(Launch launch, const std::string& what, bool leader_only) {
    launch.environment.push_back({"LD_PRELOAD", program("slow.so")});
    launch.environment.push_back({"SLOW", what});
    if (leader_only) launch.environment.push_back({"SLOW_IN", "leader"});
    return launch;
}

// What is left of a program, whoever else the test has running.
bool none_left(const std::string& name = "hostile") {
    return eventually(
        [&] {
            for (const pid_t pid : descendants())
                if (link_of(pid, "exe") == program(name)) return false;
            return true;
        },
        Millis(8000));
}

bool is_one_clean_line(const std::string& text) {
    if (text.empty() || text.back() != '\n') return false;
    for (std::size_t i = 0; i + 1 < text.size(); ++i)
        if (static_cast<unsigned char>(text[i]) < 0x20 || text[i] == 0x7f) return false;
    return true;
}

void give(const std::string& path, uid_t uid = nobody) {
    REQUIRE(lchown(path.c_str(), uid, uid) == 0);
}

void make_link(const std::string& target, const std::string& name, uid_t owner = nobody) {
    REQUIRE(symlink(target.c_str(), name.c_str()) == 0);
    give(name, owner);
}

// In a mount and PID namespace of its own, as process 1: numbers count from 1, and what is killed by
// mistake is nobody of this machine.
Outcome alone(const Scratch& dir, const std::string& script,
              const std::vector<std::pair<std::string, std::string>>& more = {}) {
    dir.file("alone.sh", script);
    Launch launch(
        {"unshare", "-m", "-p", "-f", "--kill-child", "--mount-proc", "sh", dir / "alone.sh"});
    launch.environment = {{"H", program("hostile")},
                          {"S", program("subject")},
                          {"V", program("victim")},
                          {"D", dir.path()}};
    launch.environment.insert(launch.environment.end(), more.begin(), more.end());
    without_leak_check(launch);
    launch.limit = Millis(60000);
    return run(launch);
}

// Next to somebody who changes the way that is walked. Ended with the object.
struct Meddler {
    Meddler(const Strings& words, bool as_nobody) : running(made(words, as_nobody)) {
        REQUIRE(running.says("meddling"));
    }
    static Launch made(const Strings& words, bool as_nobody) {
        Launch launch(Strings{program("meddler")} + words);
        if (as_nobody) launch.before_exec = become_nobody;
        return launch;
    }
    Running running;
};

// So many milliseconds of rounds, or until what must hold does not.
void rounds(Millis limit, const std::function<void()>& round, const std::function<bool()>& holds) {
    const Clock::time_point end = Clock::now() + limit;
    int n = 0;
    do {
        round();
        ++n;
        INFO("round ", n);
        REQUIRE(holds());
    } while (Clock::now() < end);
}

// Every gap between two looks at a name is made wide: what takes a thousand tries takes ten.
void run_with_gaps(const Strings& command) {
    const std::string calls = "open,openat,unlink,unlinkat,flock,stat,lstat,newfstatat,ftruncate";
    const Outcome said =
        run(Strings{"strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=?" + calls, "-e",
                    "inject=?" + calls + ":delay_enter=2000"} +
            command);
    INFO(said.text());
    CHECK_FALSE(said.timed_out);
    CHECK_FALSE(contains(said.err, "strace: "));  // else nobody has walked that way
}

// A log in a user's directory, over and over: what is meant for it is never in root's file.
void check_not_spilt(const std::string& log, const std::string& precious) {
    rounds(
        Millis(4000),
        [&] {
            run_with_gaps({program("victim"), "stdout=" + log, "open", "say=spilt", "return=0"});
            none_left("victim");
        },
        [&] { return slurp(precious) == "precious\n"; });
}

// A user's directory beside root's service: the service runs, and a stale file stands there, too.
struct Neighbours {
    Neighbours() {
        for (const std::string name : {"service", "stale", "alice", "alice/run", "alice/aside"})
            dir.directory(name);
        for (const std::string name : {"alice", "alice/run", "alice/aside"}) give(dir / name);
        dir.file("stale/app.pid", "4711\n");
        const Outcome launcher = run({{program("subject"), "start", "--pidfile", file}});
        INFO(launcher.text());
        REQUIRE(launcher.status == 0);
        service = static_cast<pid_t>(to_long(slurp(file)));
        REQUIRE(service > 1);
        before = stat_of(file);
        stale_before = stat_of(stale);
    }
    bool unharmed() const {
        return alive(service) && same_file_state(before, stat_of(file)) && is_locked(file) &&
               same_file_state(stale_before, stat_of(stale)) && slurp(stale) == "4711\n" &&
               Scratch::names(dir / "service").size() == 1 &&
               Scratch::names(dir / "stale").size() == 1;
    }
    Scratch dir;
    std::string file = dir / "service/app.pid", stale = dir / "stale/app.pid";
    pid_t service = 0;
    struct stat before, stale_before;
};

bool waits_for(pid_t pid) {  // its SignalHandler has taken over, and sleeps
    return eventually([&] {
        const Facts seen = facts(pid);
        return has(seen.caught, SIGABRT) && seen.state == 'S';
    });
}

void check_stopped(const Daemon& daemon) {
    const Outcome said = run({{program("subject"), "stop", "--pidfile", daemon.pidfile}});
    INFO(said.text());
    CHECK(said.status == 0);
    CHECK_FALSE(exists(daemon.pidfile));
}

}  // namespace

#define NEEDS_TRACE_OF_ALL() \
    NEEDS_STRACE();          \
    SKIP_UNLESS(!sanitized(), "no ptrace beside a sanitizer's")
#define NEEDS_PRELOAD() SKIP_UNLESS(!sanitized(), "a sanitizer wants to be loaded first")

// ---- Reports from somebody with fewer rights ----------------------------------------------------

TEST_CASE("Attack: a forged report names a stranger: nobody but the start's own is signalled") {
    const Scratch dir;
    const std::string file = dir.directory("run") + "/f.pid";
    Running stranger(Launch({"sleep", "1000"}));
    const std::string number = std::to_string(stranger.pid());
    std::vector<std::pair<std::string, std::string>> forms = {
        {"torn", "3"}, {"noise", "1"},  {"noise", "2"}, {"byte", "0"}, {"byte", "1"},
        {"byte", "2"}, {"byte", "255"}, {"long", "3"},  {"text", "3"}, {"controls", "3"}};
    for (int word = 0; word < 8; ++word) forms.push_back({"six", std::to_string(word)});
    for (const auto& form : forms) {
        for (const std::string& named : {number, "-" + number}) {
            if (named[0] == '-' && form.first != "six") continue;
            INFO(form.first, " ", form.second, " ", named);
            Strings words = {
                "forge",           "pidfile=" + file, "form=" + form.first, "word=" + form.second,
                "number=" + named, "limit=3000"};
            if (is_root()) words.push_back("user=nobody");
            const Outcome launcher = run(hostile(words));
            INFO(launcher.text());
            CHECK(alive(stranger.pid()));
            CHECK_FALSE(launcher.timed_out);
            CHECK_FALSE(contains(launcher.out, "process " + named + "\n"));
            // It ends by itself, not ready: whatever it has said, its start has failed by then, or
            // it was told as what it is, and no more is left of it.
            if (launcher.status != 0) CHECK(is_one_clean_line(launcher.err));
            CHECK(none_left());
            if (launcher.status != 0) CHECK_FALSE(exists(file));
            unlink(file.c_str());
        }
    }
}

TEST_CASE("Attack: a report of a number that is everybody ends nobody") {
    NEEDS_MOUNTS();
    const Scratch dir;
    dir.directory("run");
    const Outcome said =
        alone(dir,
              "sleep 1000 & s=$!\n"
              "for w in 0 1 2 3 4 5 6 7; do for n in -1 0 1 $s; do\n"
              "  $H forge pidfile=$D/run/f.pid user=nobody form=six word=$w number=$n limit=2000 "
              "2>/dev/null\n"
              "  kill -0 $s 2>/dev/null || { echo dead $w $n; exit 0; }\n"
              "done; done; echo alive; kill -9 $s\n");
    INFO(said.text());
    CHECK(contains(said.out, "alive"));
    CHECK_FALSE(contains(said.out, "dead"));
}

TEST_CASE(
    "Attack: a report of a failure without a code, or of no code that there is, is a failure") {
    SKIP_UNLESS(has_program("hostile-asan"), "this compiler has no address sanitizer");
    for (const std::string number : {"0", "-2147483648", "2147483647", "-1"}) {
        INFO(number);
        const Scratch dir;
        const std::string file = dir / "f.pid";
        Launch launch = hostile({"forge-to-kept", "pidfile=" + file, "detach=yes", "form=text",
                                 "word=1717660004", "number=" + number, "limit=5000"},
                                "hostile-asan");
        launch.limit = Millis(30000);
        const Outcome said = run(launch);
        INFO(said.text());
        CHECK(contains(said.out, "failed=1 "));
        CHECK_FALSE(contains(said.err, "runtime error"));
        CHECK_FALSE(exists(file));
    }
    CHECK(none_left("hostile-asan"));
}

TEST_CASE("Attack: a daemon that hangs after what it forged is ended at the limit") {
    const Scratch dir;
    const std::string file = dir / "f.pid";
    Running stranger(Launch({"sleep", "1000"}));
    for (const std::string form : {"torn", "noise", "long"}) {
        INFO(form);
        const Outcome launcher =
            run(hostile({"forge", "pidfile=" + file, std::string("form=") + form, "word=9",
                         "number=" + std::to_string(stranger.pid()), "then=hang", "limit=800"}));
        INFO(launcher.text());
        CHECK(launcher.status > 0);
        CHECK(launcher.took < Millis(sanitized() ? 30000 : 7000));
        CHECK(is_one_clean_line(launcher.err));
        CHECK(none_left());
        CHECK_FALSE(exists(file));
        CHECK(alive(stranger.pid()));
    }
}

TEST_CASE(
    "Attack: a lock whose owner has ended proves nobody: its number's next owner is left alone") {
    NEEDS_ROOT();
    SKIP_UNLESS(!generic(), "there is no record lock");
    // In this PID namespace: in one of its own the kernel tells a dead owner's number as 0.
    const Scratch dir;
    dir.file(
        "made.sh",
        "$H dead-owner pidfile=$D/d.pid log=$D/d.log user=nobody || exit 1\n"
        "i=0; while [ $i -lt 100 ]; do grep -qE 'owner=|no-proof' $D/d.log && break; "
        "sleep 0.05; i=$((i+1)); done\n"
        "cat $D/d.log; p=$(sed -n 's/owner=\\([0-9]*\\) .*/\\1/p' $D/d.log)\n"
        "[ -n \"$p\" ] || exit 0\n"
        "n=0; while [ $n -lt 200 ]; do echo $((p-1)) > /proc/sys/kernel/ns_last_pid || break;"
        " sleep 1000 & c=$!; [ $c = $p ] && break; kill -9 $c; wait $c 2>/dev/null; n=$((n+1)); "
        "done\n"
        "[ \"$c\" = $p ] || { echo no-recycling; exit 0; }\n"
        "$S reload --pidfile $D/d.pid; echo reload=$?\n"
        "$S stop --timeout 1 --pidfile $D/d.pid; echo stop=$?\n"
        "kill -0 $c && echo alive; kill -9 $c\n");
    Launch launch({"sh", dir / "made.sh"});
    launch.environment = {{"H", program("hostile")}, {"S", program("subject")}, {"D", dir.path()}};
    launch.limit = Millis(60000);
    const Outcome said = run(launch);
    INFO(said.text());
    SKIP_UNLESS(!contains(said.out, "no-recycling"), "the number did not come round");
    SKIP_UNLESS(!contains(said.out, "no-proof"),
                "the daemon cannot take the proof away from itself: there is nothing to steal");
    CHECK(contains(said.out, "code=0"));
    CHECK(contains(said.out, "alive"));
    CHECK_FALSE(contains(said.out, "stop=0"));
    CHECK_FALSE(contains(said.out, "reload=0"));
}

TEST_CASE("Attack: children of another PID namespace: the start is refused, no stranger is hit") {
    NEEDS_MOUNTS();
    const Scratch dir;
    // Number 2 here is a stranger's, and the daemon's in the other namespace.
    const char* const script =
        "sleep 1000 & s=$!\n"
        // That namespace is there, and has its first process, when the link is another than ours.
        "of() { readlink /proc/$1/ns/pid_for_children; }\n"
        "[ -z \"$OF\" ] || { unshare -p -f --kill-child sleep 1000 & u=$!; "
        "i=0; until t=$(of $u) && [ -n \"$t\" ] && [ \"$t\" != \"$(of $$)\" ]; do "
        "i=$((i+1)); [ $i -lt 500 ] || { echo no-namespace; break; }; sleep 0.02; done; "
        "OF=of=/proc/$u/ns/pid_for_children; }\n"
        "for k in $KEPT; do for t in fail exit hang ready; do\n"
        "  $H new-namespace pidfile=$D/n.pid log=$D/n.log then=$t $OF $k >$D/said 2>&1; r=$?\n"
        "  echo $t $k: $r; cat $D/said\n"
        "  kill -0 $s $u 2>/dev/null || { echo dead; exit 0; }\n"
        "  [ $r != 0 ] || { echo success; }\n"
        "  [ ! -e $D/n.pid ] || { echo file-left; rm -f $D/n.pid; }\n"
        "done; done; echo alive; kill -9 $s $u\n";
    for (const std::string of : {"", "yes"}) {
        INFO("setns: ", of);
        const Outcome said = alone(dir, script, {{"OF", of}, {"KEPT", "x kept=1"}});
        INFO(said.text());
        SKIP_UNLESS(!contains(said.out, "cannot-be-had"), "no PID namespace to be had");
        CHECK(contains(said.out, "alive"));
        CHECK_FALSE(contains(said.out, "dead"));
        CHECK_FALSE(contains(said.out, "success"));
        CHECK_FALSE(contains(said.out, "file-left"));
        CHECK_FALSE(contains(said.out, "no-namespace"));
    }
    CHECK(none_left());
}

// ---- Ways that change, and ways of others -------------------------------------------------------

TEST_CASE(
    "Attack: a directory that is exchanged under root's starts: another service keeps its file") {
    NEEDS_ROOT();
    NEEDS_TRACE_OF_ALL();
    Neighbours all;
    const std::string way = all.dir / "alice/run/app.pid";
    const auto failing = [&] {
        run_with_gaps({program("victim"), "pidfile=" + way, "chdir=/no/such", "open"});
    };
    const auto acquire = [&] {
        run_with_gaps({program("victim"), "acquire=" + way, "acquire=" + way});
    };
    for (const std::string target : {"../service", "../stale"}) {
        INFO(target);
        make_link(target, all.dir / "alice/other");
        const Meddler meddler({"exchange", all.dir / "alice/run", all.dir / "alice/other"}, true);
        rounds(Millis(1800), failing, [&] { return all.unharmed(); });
        rounds(Millis(1800), acquire, [&] { return all.unharmed(); });
        meddler.running.signal(SIGKILL);
        ended(meddler.running.pid());
        for (const std::string name : {"alice/run", "alice/other"})
            if (S_ISLNK(stat_of(all.dir / name).st_mode)) unlink((all.dir / name).c_str());
        if (!exists(all.dir / "alice/run")) {
            REQUIRE(rename((all.dir / "alice/other").c_str(), (all.dir / "alice/run").c_str()) ==
                    0);
        }
    }
}

TEST_CASE("Attack: a symlink that is flipped under root's starts: another service keeps its file") {
    NEEDS_ROOT();
    Neighbours all;
    REQUIRE(rmdir((all.dir / "alice/run").c_str()) == 0);
    const std::string way = all.dir / "alice/run/app.pid";
    make_link("aside", all.dir / "alice/run");
    Strings many = {program("victim")};
    for (int i = 0; i < 100; ++i) many.push_back("acquire=" + way);
    for (const std::string target : {"../service", "../stale"}) {
        INFO(target);
        const Meddler meddler({"flip", all.dir / "alice/run", "aside", target}, true);
        rounds(
            Millis(2500), [&] { run(many); }, [&] { return all.unharmed(); });
    }
}

TEST_CASE(
    "Attack: a start of another that fails late removes its own file, not that of the new way") {
    NEEDS_ROOT();
    Neighbours all;
    // One order of the race, by hand: the directory is exchanged while the daemon initialises.
    const std::string way = all.dir / "alice/run/app.pid";
    make_link("../service", all.dir / "alice/other");
    Running launcher(Launch({program("victim"), "pidfile=" + way, "by-hand=1", "open",
                             "await=" + (all.dir / "go"), "fail=not today,3"}));
    REQUIRE(eventually([&] { return to_long(slurp(way)) > 1; }));
    REQUIRE(rename((all.dir / "alice/run").c_str(), (all.dir / "alice/gone").c_str()) == 0);
    REQUIRE(rename((all.dir / "alice/other").c_str(), (all.dir / "alice/run").c_str()) == 0);
    all.dir.file("go", "");
    const Outcome said = launcher.finish();
    INFO(said.text());
    CHECK(said.status == 3);
    CHECK(all.unharmed());
    CHECK(none_left("victim"));
}

TEST_CASE("Attack: hard links that come and go: root's start empties no file of root's") {
    NEEDS_ROOT();
    NEEDS_TRACE_OF_ALL();
    const Scratch dir;
    dir.directory("alice");
    give(dir / "alice");
    const std::string precious = dir.file("precious", "precious\n"), way = dir / "alice/app.pid";
    // Made by root: where the kernel's own protection is off a user can make them.
    const Meddler meddler({"links", precious, way}, false);
    const auto whole = [&] {
        const struct stat at = stat_of(precious);
        return slurp(precious) == "precious\n" && (at.st_mode & 07777) == 0644 && at.st_uid == 0;
    };
    rounds(
        Millis(2500),
        [&] {
            run_with_gaps({program("victim"), "acquire=" + way});
        },
        whole);
    Strings many = {program("victim")};
    for (int i = 0; i < 100; ++i) many.push_back("acquire=" + way);
    rounds(
        Millis(2500), [&] { run(many); }, whole);
    rounds(
        Millis(2500),
        [&] {
            run_with_gaps({program("victim"), "pidfile=" + way, "chdir=/no/such", "open"});
        },
        whole);
}

TEST_CASE("Attack: hard links that come and go: root's log is written into no file of root's") {
    NEEDS_ROOT();
    NEEDS_TRACE_OF_ALL();
    const Scratch dir;
    dir.directory("alice");
    give(dir / "alice");
    const std::string precious = dir.file("precious", "precious\n"), log = dir / "alice/app.log";
    const Meddler meddler({"links", precious, log}, false);
    check_not_spilt(log, precious);
}

TEST_CASE(
    "Attack: a log that is now a file, now a link: root's log is written into no file of root's") {
    NEEDS_ROOT();
    NEEDS_TRACE_OF_ALL();
    const Scratch dir;
    dir.directory("alice");
    give(dir / "alice");
    const std::string precious = dir.file("precious", "precious\n", 0600),
                      log = dir / "alice/app.log";
    dir.file("alice/app.log", "");
    give(log);
    make_link(precious, dir / "alice/other");
    const Meddler meddler({"exchange", log, dir / "alice/other"}, true);
    check_not_spilt(log, precious);
}

TEST_CASE(
    "Attack: stop, reload, send and status follow nobody's directory link, as start does not") {
    NEEDS_ROOT();
    Neighbours all;
    make_link("../service", all.dir / "alice/way");
    const std::string way = all.dir / "alice/way/app.pid";
    for (const std::string verb : {"start", "restart", "reload", "stop"}) {
        INFO(verb);
        const Outcome said = run({{program("subject"), verb, "--pidfile", way}});
        INFO(said.text());
        CHECK(said.status > 0);
        CHECK(is_one_clean_line(said.err));
        CHECK(alive(all.service));
    }
    CHECK(run({{program("subject"), "status", "--pidfile", way}}).status != 0);
    Outcome said = run({{program("victim"), "send=" + way + ",10", "stop=" + way + ",500"}});
    INFO(said.text());
    CHECK(contains(said.out, "sent=0 error=untrusted_pid_file"));
    CHECK(contains(said.out, "stopped=failed error=untrusted_pid_file"));
    CHECK(all.unharmed());
    // Root's own link, as /var/run is one, is followed.
    make_link("service", all.dir / "mine", 0);
    said = run({{program("subject"), "stop", "--pidfile", all.dir / "mine/app.pid"}});
    INFO(said.text());
    CHECK(said.status == 0);
    CHECK_FALSE(alive(all.service));
}

TEST_CASE("Attack: root's log without a drop goes through nobody's link, and into nobody's file") {
    NEEDS_ROOT();
    const Daemon daemon;
    const Scratch& dir = daemon.dir;
    dir.directory("cron.d");
    for (const std::string name : {"alice", "alice/real"}) {
        dir.directory(name);
        give(dir / name);
    }
    const std::string job = dir.file("cron.d/job", "# root's\n");
    make_link("../cron.d", dir / "alice/logs");
    dir.file("alice/real/open.log", "", 0666);
    give(dir / "alice/real/open.log");
    make_link("../../cron.d/new", dir / "alice/real/link.log");
    for (const std::string name :
         {"alice/logs/job", "alice/logs/new", "alice/real/open.log", "alice/real/link.log"}) {
        INFO(name);
        const Outcome said = run({{program("subject"), "start", "--pidfile", daemon.pidfile,
                                   "--stdout", dir / name, "--payload", "* * * * * root spilt"}});
        check_failed(daemon, said, 1, {name});
        CHECK(Scratch::names(dir / "cron.d") == Strings{"job"});
        CHECK(slurp(job) == "# root's\n");
        CHECK(slurp(dir / "alice/real/open.log") == "");
        kill_all();  // the next one is judged by itself
        unlink(daemon.pidfile.c_str());
    }
}

TEST_CASE("Attack: a log that `reload` makes in a user's directory has his group, as the start's") {
    NEEDS_ROOT();
    SKIP_UNLESS(!generic(),
                "POSIX does not tell whose a process is: root signals none by that file");
    const Daemon daemon;
    const Scratch& dir = daemon.dir;
    dir.directory("alice");
    give(dir / "alice");
    const std::string log = dir / "alice/app.log";
    const auto verb = [&](const std::string& word) {
        return run({{program("subject"), word, "--pidfile", daemon.pidfile, "--stdout", log,
                     "--user", "nobody"}});
    };
    REQUIRE(verb("start").status == 0);
    CHECK(stat_of(log).st_gid == nobody);
    REQUIRE(rename(log.c_str(), (log + ".1").c_str()) == 0);
    const Outcome said = verb("reload");
    INFO(said.text());
    CHECK(said.status == 0);
    CHECK(stat_of(log).st_uid == nobody);
    CHECK(stat_of(log).st_gid == nobody);
    CHECK(run({{program("subject"), "stop", "--pidfile", daemon.pidfile}}).status == 0);
}

TEST_CASE(
    "Attack: where nothing tells whose a process is: a signal that was not sent is not said to "
    "be") {
    NEEDS_MOUNTS();
    NEEDS_TRACE_OF_ALL();
    const Victim daemon;  // root's own
    check_started(daemon, daemon.start({"open", "wait"}));
    give(daemon.pidfile);  // whoever it belongs to may not signal it
    for (const std::string how : {"", "trap '' CHLD;", "trace"}) {
        INFO(how);
        const std::string trace =
            "strace -f -qq -o /dev/null -e trace=setuid -e inject=setuid:signal=STOP ";
        Launch blind({"unshare", "-m", "sh", "-c",
                      "mount -t tmpfs none /proc; " + (how == "trace" ? std::string() : how) +
                          " exec " + (how == "trace" ? trace : std::string()) + "$V send=$P,10"});
        blind.environment = {{"V", program("victim")}, {"P", daemon.pidfile}};
        blind.limit = Millis(10000);
        const Outcome said = run(blind);
        INFO(said.text());
        CHECK_FALSE(said.timed_out);
        CHECK(contains(said.out, "sent=0"));
        CHECK(alive(daemon.pid()));
    }
}

TEST_CASE("Attack: a jail by way of nobody's link is refused") {
    NEEDS_ROOT();
    const Daemon daemon;
    const Scratch& dir = daemon.dir;
    for (const std::string name : {"alice", "jail", "jail/in"}) dir.directory(name);
    give(dir / "alice");
    make_link("/", dir / "alice/root");
    make_link("../jail", dir / "alice/way");
    for (const std::string name : {"alice/root", "alice/root/tmp", "alice/way/in"}) {
        INFO(name);
        const Outcome said = daemon.start({"--chroot", dir / name});
        check_failed(daemon, said, 1, {name});
        kill_all();
        unlink(daemon.pidfile.c_str());
    }
    make_link("jail", dir / "mine", 0);
    check_started(daemon, daemon.start({"--chroot", dir / "mine/in"}));
    CHECK(link_of(daemon.pid(), "root") == dir / "jail/in");
}

TEST_CASE("Attack: a log that is the PID file by another spelling is refused") {
    const Daemon daemon;
    daemon.dir.directory("sub");
    REQUIRE(symlink(daemon.dir.path().c_str(), (daemon.dir / "self").c_str()) == 0);
    for (const std::string name : {"d.pid", "./d.pid", "sub/../d.pid", "self/d.pid", "/d.pid"}) {
        INFO(name);
        const Outcome said = run({{program("subject"), "start", "--pidfile", daemon.pidfile,
                                   "--stdout", daemon.dir / name, "--say", "text"}});
        check_failed(daemon, said, 1, {});
        CHECK((contains(said.err, "d.pid") || contains(said.err, "PID file")));
        kill_all();
        unlink(daemon.pidfile.c_str());
    }
    // And by another descriptor of it, that the caller has opened.
    const Victim victim;
    const Descriptor opened = open_file(victim.pidfile, O_RDWR | O_CREAT);
    Launch launch({program("victim"), "pidfile=" + victim.pidfile, "stdout=fd:7", "open",
                   "say=text", "wait"});
    launch.before_exec = [&] { place(opened, 7); };
    const Outcome said = run(launch);
    INFO(said.text());
    if (said.status == 0) {  // a new inode is no PID file any more: then it is an ordinary file
        CHECK(victim.written() == std::to_string(victim.pid()) + "\n");
        CHECK((generic() || record_owner(victim.pidfile) == victim.pid()));
    } else {
        CHECK(is_one_clean_line(said.err));
    }
}

// ---- Rights that stay ---------------------------------------------------------------------------

TEST_CASE("Attack: capabilities that were to survive the drop: none does, or it is refused") {
    NEEDS_ROOT();
    SKIP_UNLESS(!generic(), "there are no capabilities on any other Unix");
    for (const std::string kind : {"none", "keep", "keep-bit", "no-fixup", "ambient"}) {
        INFO(kind);
        Launch launch = hostile({"capable", "keep=1", "user=nobody", "detach=no", "kind=" + kind});
        without_leak_check(launch);
        const Outcome said = run(launch);
        INFO(said.text());
        SKIP_UNLESS(!contains(said.out, "cannot-be-had"), "capabilities cannot be kept here");
        CHECK(said.status == 0);
        const bool refused = contains(said.out, "refused error=drop_incomplete");
        const bool clean = contains(said.out, "dropped permitted=0 back=-1 uid=65534");
        CHECK((refused || clean));
        if (kind == "none") CHECK(clean);
    }
}

TEST_CASE("Attack: capabilities that nobody may ask for: the drop is refused") {
    NEEDS_ROOT();
    NEEDS_DENY();
    SKIP_UNLESS(!generic(), "there are no capabilities on any other Unix");
    Launch launch = hostile({"capable", "keep=1", "user=nobody", "detach=no", "kind=keep"});
    launch.argv = denied({"capget:EPERM"}, launch.argv);
    without_leak_check(launch);
    const Outcome said = run(launch);
    INFO(said.text());
    CHECK(contains(said.out, "refused error=drop_incomplete"));
}

TEST_CASE("Attack: a set-uid program that names no user keeps no right of its owner's") {
    NEEDS_ROOT();
    SKIP_UNLESS(!sanitized(), "a sanitizer and a set-uid program do not go together");
    const Scratch dir;
    const std::string copy = dir / "set-uid";
    REQUIRE(run({{"cp", program("hostile"), copy}}).status == 0);
    REQUIRE(chmod(copy.c_str(), 04755) == 0);
    for (const std::string detach : {"no", "yes"}) {
        INFO(detach);
        Launch launch({copy, "set-uid", "detach=" + detach, "keep=1"});
        launch.before_exec = become_nobody;
        const Outcome said = run(launch);
        INFO(said.text());
        SKIP_UNLESS(contains(said.out, "before uid=65534 euid=0"), "no set-uid programs here");
        CHECK(said.status == 0);
        CHECK(contains(said.out, "daemon uids=65534,65534,65534 back=-1."));
    }
}

TEST_CASE("Attack: a set-uid program takes no word from its caller's environment") {
    NEEDS_ROOT();
    SKIP_UNLESS(!sanitized(), "a sanitizer and a set-uid program do not go together");
    const Scratch dir;
    dir.directory("open", 0777);
    const std::string copy = dir / "set-uid", name = dir / "open/notify";
    REQUIRE(run({{"cp", program("hostile"), copy}}).status == 0);
    REQUIRE(chmod(copy.c_str(), 04755) == 0);
    const Descriptor manager = local::bound(name);
    REQUIRE(chmod(name.c_str(), 0777) == 0);
    Launch launch({copy, "set-uid", "detach=no", "keep=1"});
    launch.environment = {{"NOTIFY_SOCKET", name},
                          {"RUNTIME_DIRECTORY", dir / "open"},
                          {"XDG_STATE_HOME", dir / "open"},
                          {"HOME", dir / "open"}};
    launch.before_exec = become_nobody;
    const Outcome said = run(launch);
    INFO(said.text());
    SKIP_UNLESS(contains(said.out, "before uid=65534 euid=0"), "no set-uid programs here");
    CHECK(contains(said.out, "default="));
    CHECK_FALSE(contains(value_in(said.out, "default"), dir.path()));
    char text[256];
    CHECK(recv(manager.get(), text, sizeof text, 0) < 0);  // root's socket was told nothing
}

TEST_CASE("Attack: initgroups=false drops the groups, also of who is that user already") {
    NEEDS_ROOT();
    for (const bool root : {true, false}) {
        Launch launch = hostile({"groups-kept", "keep=1", "detach=no"});
        launch.before_exec = [root] {
            const gid_t groups[] = {4, 24, 27};
            if (setgroups(3, groups) != 0) _exit(124);
            if (!root && (setgid(nobody) != 0 || setuid(nobody) != 0)) _exit(124);
        };
        const Outcome said = run(launch);
        INFO(said.text());
        CHECK(said.status == 0);
        // Who may not drop them is told so: an option is honoured, or it is an error.
        if (root)
            CHECK(contains(said.out, "groups=0."));
        else
            CHECK((contains(said.out, "groups=0.") || contains(said.out, "refused error=")));
    }
}

TEST_CASE("Attack: programs that the daemon runs inherit no ignored signal") {
    const Victim daemon;
    check_started(
        daemon, daemon.start({"open", "system=grep SigIgn /proc/self/status", "say=done", "wait"}));
    REQUIRE(daemon.logs("done"));
    INFO(slurp(daemon.log));
    // 32 and 33 are the C library's own: who was started with them ignored cannot change it.
    const std::string mark = "SigIgn:\t";
    REQUIRE(slurp(daemon.log).compare(0, mark.size(), mark) == 0);
    const std::string ignored = slurp(daemon.log).substr(mark.size(), 16);
    CHECK((std::strtoull(ignored.c_str(), nullptr, 16) & ~(3ULL << 31)) == 0);
    // And it is none of these that ends or stops the daemon itself.
    for (const int signum : {SIGHUP, SIGTSTP, SIGTTIN, SIGTTOU}) send_signal(daemon.pid(), signum);
    check_ends(daemon, 128 + SIGTERM);
}

// ---- What the process is, and stays -------------------------------------------------------------

TEST_CASE("Attack: rseq: the daemon knows on which processor it runs, as it did before") {
    for (const bool kept : {false, true}) {
        const Scratch dir;
        Strings words = {"rseq", "log=" + (dir / "log"), "pidfile=" + (dir / "r.pid")};
        if (kept) words.push_back("kept=1");
        const Outcome said = run(hostile(words));
        INFO(said.text());
        CHECK(said.status == 0);
        SKIP_UNLESS(contains(said.out, "before cpu=right registered=1."),
                    "the C library has not registered its threads");
        eventually([&] { return contains(slurp(dir / "log"), "registered="); });
        INFO(slurp(dir / "log"));
        CHECK(contains(slurp(dir / "log"), "daemon cpu=right registered=1."));
        if (kept) CHECK(contains(said.out, "launcher cpu=right registered=1."));
    }
}

TEST_CASE(
    "Attack: SIGPIPE that the program ignored and signals that it blocked stay as it left them") {
    for (const std::string detach : {"detach=yes", "detach=no"}) {
        INFO(detach);
        const Scratch dir;
        Launch launch = hostile({"own-signals", detach, "log=" + (dir / "log")});
        const Outcome said = run(launch);
        INFO(said.text());
        CHECK(said.status == 0);
        eventually([&] { return contains(said.out + slurp(dir / "log"), "term-blocked="); },
                   Millis(3000));
        const std::string all = said.out + slurp(dir / "log");
        INFO(all);
        CHECK(contains(all, "pipe=ignored usr2=ignored usr1-blocked=1 term-blocked=1."));
    }
}

TEST_CASE(
    "Attack: a launcher that ignores SIGCHLD keeps no corpse of its starts, nor loses its word") {
    for (const std::string how : {"fail=1", "succeed=1", "own=1"}) {
        INFO(how);
        const Scratch dir;
        const Outcome said =
            run(hostile({"no-corpses", "log=" + (dir / "log"), "pidfile=" + (dir / "c.pid"), how}));
        INFO(said.text());
        CHECK(contains(said.out, "children=none chld=ignored"));
        CHECK(contains(said.out, how == "fail=1" ? "start_failed." : "none."));
    }
}

TEST_CASE(
    "Attack: a fork that locks a file of its own keeps it when it lets go of its parent's object") {
    for (const std::string by : {"fork", "start"}) {
        INFO(by);
        const Scratch dir;
        const std::string log = dir / "log", own = dir / "own.pid";
        Launch launch =
            hostile({"locks-after-fork", "by=" + by, "old=" + dir / "old.pid", "own=" + own,
                     "log=" + log, "pidfile=" + dir / "d.pid", "detach=yes"});
        Running running(launch);
        const auto said = [&] { return running.out() + slurp(log); };
        REQUIRE(eventually([&] { return contains(said(), "held="); }));
        CHECK(contains(said(), "held=1 old=0."));
        CHECK(is_locked(own));
        CHECK(to_long(slurp(own)) > 1);
        kill_all();
    }
}

TEST_CASE("Attack: starts that fail leave neither memory nor descriptors in their launcher") {
    SKIP_UNLESS(has_program("hostile-asan"), "this compiler has no address sanitizer");
    Strings users = {""};
    if (is_root()) users.push_back("user=nobody");
    for (const std::string& user : users) {
        INFO(user);
        const Scratch dir;
        const std::string file = dir / "f.pid";
        Launch launch =
            hostile({"starts-and-fails", "detach=yes", "pidfile=" + file, user}, "hostile-asan");
        launch.limit = Millis(30000);
        const Outcome said = run(launch);
        INFO(said.text());
        CHECK(count(said.out, "exit=7 more=0.") == 4);
        CHECK_FALSE(contains(said.err, "leak"));
        CHECK_FALSE(exists(file));
    }
}

TEST_CASE(
    "Attack: fail() with a log that is a pipe without a reader, or full: its text and status "
    "arrive") {
    for (const std::string how : {"", "printed=1", "full=1", "long=1"}) {
        INFO(how);
        const Outcome said = run(hostile({"fails-into-a-pipe", "detach=yes", "limit=3000", how}));
        INFO(said.text());
        CHECK(said.status == 7);
        CHECK(contains(said.err, "not today"));
    }
}

TEST_CASE("Attack: a kept launcher under a manager has no descriptor more after its start") {
    const Scratch dir;
    const Descriptor manager = local::bound(dir / "notify");
    Launch launch = hostile({"starts-and-fails", "detach=yes", "ready=1"});
    launch.environment.push_back({"NOTIFY_SOCKET", dir / "notify"});
    const Outcome said = run(launch);
    INFO(said.text());
    CHECK(count(said.out, "exit=0 more=0.") == 4);
    char text[64] = "";
    CHECK(recv(manager.get(), text, sizeof text - 1, MSG_DONTWAIT) > 0);
    CHECK(contains(text, "MAINPID="));
}

TEST_CASE("Attack: one connection of inetd's, and a manager that is gone: the client is not told") {
    const Scratch dir;
    const Descriptor client(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    Launch launch = hostile({"asked-after-close"});
    launch.input = client.get();
    launch.environment.push_back({"NOTIFY_SOCKET", dir.file("notify", "")});
    const Outcome said = run(launch);
    INFO(said.text());
    CHECK(contains(said.out, "open=1 closed=0."));
    CHECK(said.err == "");
}

TEST_CASE("Attack: make_directory: root gives away no directory that a user has put in its place") {
    NEEDS_ROOT();
    NEEDS_TRACE_OF_ALL();
    const Scratch dir;
    dir.directory("alice");
    give(dir / "alice");
    const std::string run_there = dir / "alice/run", secret = dir / "alice/secret";
    dir.directory("alice/secret", 0700);
    const ino_t inode = stat_of(secret).st_ino;
    const Meddler meddler({"exchange", run_there, secret}, true);
    const auto is_roots = [&] {
        for (const std::string& name : {run_there, secret}) {
            const struct stat st = stat_of(name);
            if (st.st_ino == inode) return st.st_uid == 0 && (st.st_mode & 0777) == 0700;
        }
        return true;  // in the middle of an exchange
    };
    rounds(
        Millis(4000),
        [&] {
            run({{"strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=mkdirat", "-e",
                  "inject=mkdirat:delay_exit=3000", program("hostile"), "asked-after-close",
                  "make=1", "user=nobody", "detach=yes", "pidfile=" + run_there + "/a.pid"}});
            none_left();
            rmdir(stat_of(secret).st_ino == inode ? run_there.c_str() : secret.c_str());
            if (stat_of(secret).st_ino != inode) rename(run_there.c_str(), secret.c_str());
        },
        is_roots);
}

TEST_CASE("Attack: allow_threads: text in a buffer of stdout appears once, by start of control()") {
    const Scratch dir;
    const Outcome said = run(hostile({"prints-before-start", "detach=yes", "threads=1",
                                      "pidfile=" + (dir / "t.pid"), "log=" + (dir / "log")}));
    INFO(said.text());
    REQUIRE(none_left());
    CHECK(said.status == 0);
    CHECK(count(said.out, "in a buffer") == 1);
    // A sanitizer says there that it could not stop the other thread.
    CHECK_FALSE(contains(slurp(dir / "log"), "in a buffer"));
    if (!sanitized()) CHECK(slurp(dir / "log") == "");
}

TEST_CASE("Attack: an epoll set with the number of an eventfd that was inherited stays open") {
    const Scratch dir;
    const std::string log = dir / "log";
    REQUIRE(run(hostile({"own-epoll", "log=" + log})).status == 0);
    REQUIRE(eventually([&] { return contains(slurp(log), "epoll="); }));
    CHECK(slurp(log) == "epoll=0.\n");
}

TEST_CASE("Attack: a thread that asks while another one takes the file costs nobody the proof") {
    SKIP_UNLESS(!generic(), "there is no record lock");
    const Scratch dir;
    Launch launch = hostile({"asks-while-it-takes", "pidfile=" + (dir / "t.pid"), "ms=8000"});
    launch.limit = Millis(60000);
    const Outcome said = run(launch);
    INFO(said.text());
    CHECK(to_long(value_in(said.out, "taken")) > 0);
    CHECK(contains(said.out, " lost=0."));
}

TEST_CASE("Attack: more PID files than can be held: the refused ones are not there") {
    const Scratch dir;
    const Outcome said = run(hostile({"takes-many", "in=" + dir.path()}));
    INFO(said.text());
    CHECK(contains(said.out, "refused file=0."));
    CHECK_FALSE(contains(said.out, "refused file=1."));
}

TEST_CASE(
    "Attack: a context that is moved after its start keeps its file, and removes it at its end") {
    const Scratch dir;
    const std::string file = dir / "m.pid";
    for (const std::string kept : {"kept=1", "opened=1"}) {
        INFO(kept);
        const std::string log = dir / std::string("log-") + kept;
        const Outcome said = run(hostile({"moved", "log=" + log, "pidfile=" + file, kept}));
        INFO(said.text());
        CHECK(said.status == 0);
        REQUIRE(eventually([&] { return contains(slurp(log), "waiting"); }));
        INFO(slurp(log));
        CHECK(contains(slurp(log), "moved open=1 same=1 file=1."));
        const auto pid = static_cast<pid_t>(to_long(slurp(file)));
        REQUIRE(pid > 1);
        CHECK(is_locked(file));
        REQUIRE(waits_for(pid));
        CHECK(run({{program("subject"), "stop", "--pidfile", file}}).status == 0);
        CHECK(ended(pid) == 0);
        CHECK(contains(slurp(log), "closed file=0."));
        CHECK_FALSE(exists(file));
    }
}

TEST_CASE("Attack: after close() a context is not open") {
    const Scratch dir;
    run(hostile({"asked-after-close", "log=" + (dir / "log"), "pidfile=" + (dir / "a.pid")}));
    REQUIRE(eventually([&] { return contains(slurp(dir / "log"), "closed="); }));
    INFO(slurp(dir / "log"));
    CHECK(contains(slurp(dir / "log"), "open=1 closed=0."));
}

TEST_CASE("Attack: the second daemon of one launcher is nobody's parent") {
    const Scratch dir;
    const Outcome said =
        run(hostile({"second-daemon", "log=" + (dir / "log"), "pidfile=" + (dir / "s.pid")}));
    INFO(said.text());
    CHECK(said.status == 0);
    CHECK(contains(said.out, "launcher one=1 two=1"));
    REQUIRE(eventually([&] { return contains(slurp(dir / "log"), "daemon one="); }));
    INFO(slurp(dir / "log"));
    CHECK(contains(slurp(dir / "log"), "daemon one=0 two=0 open-one=0."));
    CHECK(is_locked(dir / "s.pid"));
    CHECK(is_locked(dir / "s.pid.2"));
}

TEST_CASE(
    "Attack: a start in the foreground that failed leaves nothing behind that its end could use") {
    SKIP_UNLESS(has_program("hostile-asan"), "this compiler has no address sanitizer");
    for (const std::string more : {"again=1", "once=1"}) {
        const Scratch dir;
        const Outcome said = run(hostile({"failed-in-foreground", "detach=no", "keep=1",
                                          "pidfile=" + (dir / "f.pid"), "chdir=/no/such", more},
                                         "hostile-asan"));
        INFO(said.text());
        CHECK(said.status == 0);
        CHECK(contains(said.out, "going on"));
        CHECK(contains(said.out, "child=0"));
        CHECK(said.err == "");
    }
}

TEST_CASE("Attack: sanitizers: the starts and ends of hostile users are clean for them") {
    SKIP_UNLESS(has_program("hostile-asan"), "this compiler has no address sanitizer");
    const Scratch dir;
    const std::string pidfile = "pidfile=" + (dir / "s.pid");
    for (const Strings& words :
         {Strings{"no-time"}, Strings{"closed-wake", "reused=1"}, Strings{"forked-waits"},
          Strings{"counted-before", "kept=1", pidfile}, Strings{"no-corpses", "fail=1", pidfile},
          Strings{"asked-after-close", "detach=no", "keep=1", pidfile},
          Strings{"fails-after-move", "detach=yes", pidfile},
          Strings{"long-text", "kib=300", "kept=1", pidfile}}) {
        INFO(join(words));
        Launch launch = hostile(words, "hostile-asan");
        launch.limit = Millis(30000);
        const Outcome said = run(launch);
        INFO(said.text());
        CHECK_FALSE(said.timed_out);
        CHECK(said.status != 94);  // the word was known
        CHECK_FALSE(contains(said.err, "Sanitizer"));
        CHECK_FALSE(contains(said.err, "runtime error"));
    }
    CHECK(none_left("hostile-asan"));
}

// ---- Waits without an end -----------------------------------------------------------------------

TEST_CASE(
    "Attack: a huge failure text while the leader is slow: its status, and the next start works") {
    NEEDS_PRELOAD();
    const Scratch dir;
    const std::string file = dir / "l.pid";
    for (const std::string kib : {"250", "2000"}) {
        for (const std::string how : {"kept=1", "opened=1"}) {
            INFO(kib, " ", how);
            Launch launch =
                slowed(hostile({"long-text", "pidfile=" + file, "limit=2000", "kib=" + kib, how}),
                       "send:20000,recv:20000", true);
            launch.limit = Millis(8000);
            const Outcome said = run(launch);
            INFO(said.text().substr(0, 200));
            CHECK_FALSE(said.timed_out);
            CHECK(said.status == 3);
            CHECK(none_left());
            CHECK_FALSE(exists(file));
            CHECK(run({{program("subject"), "start", "--pidfile", file}}).status == 0);
            CHECK(run({{program("subject"), "stop", "--pidfile", file}}).status == 0);
            kill_all();  // the next one is judged by itself
            unlink(file.c_str());
        }
    }
}

namespace {

// The launcher waits, its daemon initialises until the test lets it go on.
struct Waiting {
    explicit Waiting(const Strings& more = {})
        : launcher(Launch(daemon.words("", Strings{"by-hand=1"} + more +
                                               Strings{"open", "say=up", daemon.gate(), "ready",
                                                       "say=past ready", "wait"}))) {
        REQUIRE(daemon.logs("up"));
        pid = daemon.pid();
        REQUIRE(pid > 1);
        for (const pid_t one : descendants())
            if (facts(one).parent == launcher.pid() && one != pid) leader = one;
    }
    bool nobody_left() const {
        return eventually([] { return descendants().empty(); }, Millis(8000));
    }
    Victim daemon;
    Running launcher;
    pid_t pid = 0, leader = 0;
};

}  // namespace

TEST_CASE("Attack: a launcher killed in its wait: daemon and file are gone at once, not at ready") {
    for (const int signum : {SIGKILL, SIGINT, SIGTERM}) {
        INFO(signum);
        Waiting start;
        start.launcher.signal(signum);
        CHECK(start.launcher.finish().status == 128 + signum);
        CHECK(gone(start.pid, Millis(5000)));
        CHECK(start.nobody_left());
        CHECK_FALSE(exists(start.daemon.pidfile));
        kill_all();
    }
}

TEST_CASE("Attack: a leader that is killed: the launcher says so at once, and its daemon ends") {
    Waiting start;
    REQUIRE(start.leader > 1);
    send_signal(start.leader, SIGKILL);
    const Outcome said = start.launcher.finish();
    INFO(said.text());
    CHECK(said.status > 0);
    CHECK(said.took < Millis(sanitized() ? 30000 : 8000));
    CHECK(is_one_clean_line(said.err));
    start.daemon.let_go();
    CHECK(start.nobody_left());
    CHECK_FALSE(contains(slurp(start.daemon.log), "past ready"));
    CHECK(eventually([&] { return !exists(start.daemon.pidfile); }, Millis(3000)));
    CHECK(run({{program("subject"), "start", "--pidfile", start.daemon.pidfile}}).status == 0);
    check_stopped(start.daemon);
}

TEST_CASE("Attack: a leader that was collected already: whoever has its number is not signalled") {
    NEEDS_ROOT();
    SKIP_UNLESS(can_mount(), "needs a PID namespace");
    const Scratch dir;
    const Outcome said =
        alone(dir,
              "\"$H\" no-corpses kept=1 pidfile=$D/a.pid detach=yes limit=8000 hangs=1 &\n"
              "launcher=$!\n"
              "await() { i=0; until eval \"$1\"; do i=$((i + 1)); [ $i -lt 500 ] || "
              "{ echo \"no: $1\"; exit 9; }; sleep 0.02; done; }\n"
              "await '[ -s $D/a.pid ]'\n"
              "daemon=$(cat $D/a.pid)\n"
              "leader=$(cut -d' ' -f4 /proc/$daemon/stat)\n"
              "kill -STOP $launcher\n"
              "kill -KILL $leader $daemon\n"
              "await '[ ! -d /proc/$leader ] && [ ! -d /proc/$daemon ]'\n"
              "echo $((leader - 1)) >/proc/sys/kernel/ns_last_pid\n"
              "sleep 60 &\n"
              "echo same=$(($! == leader)).\n"
              "kill -CONT $launcher\n"
              "wait $launcher\n"
              "kill -0 $leader && grep -c '^State:.[SR]' /proc/$leader/status\n"
              "echo over.\n");
    INFO(said.text());
    CHECK(contains(said.out, "same=1."));
    CHECK(contains(said.out, "ended without a report"));
    CHECK(contains(said.out, "\n1\nover."));
}

TEST_CASE("Attack: a leader that is stopped: the launcher keeps a limit of its own") {
    Waiting start({"ready-timeout=500"});
    REQUIRE(start.leader > 1);
    send_signal(start.leader, SIGSTOP);
    const Outcome said = start.launcher.finish();
    INFO(said.text());
    CHECK_FALSE(said.timed_out);
    CHECK(said.status > 0);
    CHECK(said.took < Millis(15000));
    CHECK(is_one_clean_line(said.err));
    CHECK(start.nobody_left());
    CHECK(run({{program("subject"), "start", "--pidfile", start.daemon.pidfile}}).status == 0);
    check_stopped(start.daemon);
}

TEST_CASE("Attack: a leader that is not even in its session: the launcher's limit ends it, too") {
    NEEDS_PRELOAD();
    const Victim daemon;
    // It is in no group of its own yet: who wants to end it must not ask for that group alone.
    Launch launch =
        slowed(daemon.launch({"ready-timeout=300", "open", "wait"}), "setsid:20000000", false);
    launch.limit = Millis(15000);
    const Outcome said = run(launch);
    INFO(said.text());
    CHECK_FALSE(said.timed_out);
    CHECK(said.status > 0);
    CHECK(is_one_clean_line(said.err));
    CHECK(none_left("victim"));
    CHECK_FALSE(exists(daemon.pidfile));
}

TEST_CASE("Attack: a daemon that is stopped before ready is ended at the limit") {
    Waiting start({"ready-timeout=700"});
    send_signal(start.pid, SIGSTOP);
    const Outcome said = start.launcher.finish();
    INFO(said.text());
    CHECK(said.status == 124);
    CHECK(is_one_clean_line(said.err));
    CHECK(start.nobody_left());
    CHECK_FALSE(exists(start.daemon.pidfile));
}

TEST_CASE("Attack: a launcher that does not read holds up nobody beyond the limit") {
    const Scratch dir;
    const std::string file = dir / "l.pid";
    for (const std::string then : {"long-text", "hang"}) {
        INFO(then);
        Strings words = {"long-text", "pidfile=" + file, "kib=2000", "limit=1500"};
        words.push_back("await=" + (dir / then));
        Running launcher(hostile(words));
        REQUIRE(eventually([&] { return to_long(slurp(file)) > 1; }));
        launcher.signal(SIGSTOP);
        if (then != "hang") dir.file(then, "");
        // The daemon and the leader end, and the file is gone, without a launcher that would read.
        CHECK(eventually(
            [&] {
                for (const pid_t pid : descendants())
                    if (pid != launcher.pid()) return false;
                return true;
            },
            Millis(7000)));
        CHECK_FALSE(exists(file));
        launcher.signal(SIGCONT);
        const Outcome said = launcher.finish();
        INFO(said.text().substr(0, 200));
        CHECK_FALSE(said.timed_out);
        CHECK(said.status == (then == "hang" ? 124 : 3));
        CHECK(is_one_clean_line(said.err));
        kill_all();
        unlink(file.c_str());
    }
}

TEST_CASE("Attack: few descriptors, 0 to 2 closed: a line and a status within the limit") {
    SKIP_UNLESS(!sanitized(), "a sanitizer has descriptors of its own");
    const Scratch dir;
    const std::string file = dir / "n.pid";
    int started = 0, refused = 0;
    for (int most = 3; most <= 12; ++most) {
        for (const std::string closed : {"3", "7", "0"}) {
            for (const std::string how : {"kept=1", "opened=1"}) {
                INFO("limit ", most, ", closed ", closed, ", ", how);
                Launch launch = hostile({"few-descriptors", "most=" + std::to_string(most),
                                         std::string("closed=") + closed, how, "limit=1500",
                                         "pidfile=" + file, "log=" + (dir / "n.log")});
                launch.limit = Millis(6000);
                const Outcome said = run(launch);
                INFO(said.text());
                REQUIRE_FALSE(said.timed_out);
                ++(said.status == 0 ? started : refused);
                if (said.status == 0) CHECK_FALSE(contains(said.out + said.err, "cannot "));
                CHECK_FALSE(contains(said.err, "status 0"));
                if (how == "kept=1")
                    CHECK(contains(said.out, said.status == 0 ? "error=none" : "text=cannot "));
                CHECK(none_left());
                CHECK_FALSE(exists(file));
                unlink(file.c_str());
            }
        }
    }
    CHECK(started > 0);
    CHECK(refused > 0);
}

TEST_CASE("Attack: a leader or a daemon killed at its very fork: said at once, nothing is left") {
    const Scratch dir;
    const std::string file = dir / "k.pid";
    for (const std::string where : {"before", "after", "born"}) {
        for (const std::string how : {"kept=1", "opened=1"}) {
            INFO(where, " ", how);
            Launch launch = hostile({"dies-at-fork", std::string("where=") + where, how,
                                     "pidfile=" + file, "limit=20000"});
            launch.limit = Millis(sanitized() ? 15000 : 6000);
            const Outcome said = run(launch);
            INFO(said.text());
            CHECK_FALSE(said.timed_out);
            if (said.status == 0) {  // nobody was killed, or nobody was missed: then it is true
                CHECK(run({{program("subject"), "status", "--pidfile", file}}).status == 0);
                CHECK(run({{program("subject"), "stop", "--pidfile", file}}).status == 0);
            } else {
                CHECK(is_one_clean_line(how == "kept=1" ? said.out : said.err));
            }
            CHECK(none_left());
            CHECK(eventually([&] { return !exists(file); }, Millis(3000)));
            CHECK(run({{program("subject"), "start", "--pidfile", file}}).status == 0);
            CHECK(run({{program("subject"), "stop", "--pidfile", file}}).status == 0);
            kill_all();  // the next one is judged by itself
            unlink(file.c_str());
        }
    }
}

TEST_CASE("Attack: one failing read or poll of a start: it goes on, or ends at once") {
    NEEDS_TRACE_OF_ALL();
    int injected = 0, started = 0;
    for (const std::string act : {"wait", "fail=not today,3", "_exit=5"}) {
        for (const std::string call : {"recvfrom", "recvmsg", "read", "?poll", "ppoll"}) {
            for (const std::string more : {"EIO:when=1", "EIO:when=2", "ENOMEM:when=1"}) {
                const Victim daemon;
                INFO(act, " ", call, " ", more);
                // The launcher alone: its daemon keeps no tracer. The loader reads before main().
                std::string where = more;
                if (call == "read") where = more.substr(0, more.find(':')) + ":when=6+";
                const std::string trace = daemon.dir / "trace";
                Launch launch(Strings{"strace", "-qq", "-o", trace, "-e", "trace=" + call, "-e",
                                      "inject=" + call + ":error=" + where} +
                              daemon.words("", {"ready-timeout=20000", "by-hand=1", "open",
                                                act == "wait" ? "ready" : act, "wait"}));
                launch.limit = Millis(6000);
                const Outcome said = run(launch);
                INFO(said.text());
                CHECK_FALSE(said.timed_out);
                injected += contains(slurp(trace), "(INJECTED)");
                started += said.status == 0;
                if (said.status == 0)
                    check_stopped(daemon);
                else
                    CHECK(none_left("victim"));
                CHECK((act == "wait" || said.status > 0));
                CHECK_FALSE(exists(daemon.pidfile));
            }
        }
    }
    CHECK(injected > 0);
    CHECK(started > 0);
}

TEST_CASE("Attack: one failing look at a file: no start leaves an empty PID file behind") {
    NEEDS_TRACE_OF_ALL();
    int failures = 0;
    for (const std::string call : {"?lstat,?stat,?newfstatat,?statx", "?fstat,?fstatat64"}) {
        for (int n = 1; n <= 40; ++n) {
            const Victim daemon;
            INFO(call, " ", n);
            const std::string trace = daemon.dir / "trace";
            Launch launch(
                Strings{"strace", "-qq", "-o", trace, "-e", std::string("trace=") + call, "-e",
                        std::string("inject=") + call + ":error=EIO:when=" + std::to_string(n)} +
                daemon.words("", {"open", "wait"}));
            launch.limit = Millis(8000);
            const Outcome said = run(launch);
            INFO(said.text());
            CHECK_FALSE(said.timed_out);
            const bool injected = contains(slurp(trace), "(INJECTED)");
            failures += injected;
            if (said.status == 0) {
                check_stopped(daemon);
            } else {
                CHECK(injected);
                CHECK_FALSE(exists(daemon.pidfile));
                CHECK(none_left("victim"));
            }
            if (!injected) break;
        }
    }
    CHECK(failures > 0);
}

// ---- Signals ------------------------------------------------------------------------------------

TEST_CASE("Attack: a thread that is cancelled inside the asynchronous handler holds up no stop()") {
    SKIP_UNLESS(!sanitized(), "a sanitizer delays signals until they can be handled");
    const Outcome said = run(hostile({"cancelled"}));
    INFO(said.text());
    CHECK(contains(said.out, "stopped"));
    CHECK(said.status == 0);
}

TEST_CASE("Attack: a fork made while another thread is inside the handler holds up no stop()") {
    NEEDS_PRELOAD();
    const Outcome said = run(slowed(hostile({"forked-in-handler"}), "write:600000", false));
    INFO(said.text());
    CHECK(contains(said.out, "child=0."));
}

TEST_CASE("Attack: a worker that asks its parent's handler takes no signal and no wake from it") {
    const Outcome said = run(hostile({"forked-waiter"}));
    INFO(said.text());
    CHECK(contains(said.out, "woken=50 seen=50"));
    CHECK(contains(said.out, "worker=137."));
}

TEST_CASE("Attack: in a forked child every wait is an error until it has a handler of its own") {
    const Outcome said = run(hostile({"forked-waits"}));
    INFO(said.text());
    CHECK(contains(said.out, "worker=0 parent=15."));
}

TEST_CASE("Attack: a signal counted before the start wakes the daemon's loop") {
    const Scratch dir;
    for (const std::string how : {"kept=1", "opened=1", "detach=no"}) {
        INFO(how);
        const std::string log = dir / std::string("log-") + how;
        Launch launch = hostile({"counted-before", how, "log=" + log});
        const Outcome said = run(launch);
        eventually([&] { return contains(said.out + slurp(log), "got="); }, Millis(5000));
        INFO(said.text(), slurp(log));
        CHECK(contains(said.out + slurp(log), "woken=1 got=15."));
    }
}

TEST_CASE("Attack: a wake that the program closed is an error, not a busy loop") {
    for (const Strings& more : {Strings{}, Strings{"raise=1"}, Strings{"reused=1"}}) {
        INFO(join(more));
        const Outcome said = run(hostile(Strings{"closed-wake"} + more));
        INFO(said.text());
        CHECK(contains(said.out, " calm"));  // not "busy"
        // A signal that was counted can still be told; nothing else may look like a quiet time.
        if (more.empty()) CHECK(contains(said.out, "error calm"));
    }
}

TEST_CASE("Attack: files that have the numbers of a closed wake are neither read nor closed") {
    CHECK(contains(run(hostile({"reused-wake", "by=wait"})).out, "error whole=3."));
    CHECK(contains(run(hostile({"reused-wake", "by=child"})).out, "started whole=3."));
}

TEST_CASE("Attack: a wait until the beginning of time is over at once, one until its end is not") {
    const Outcome said = run(hostile({"no-time"}));
    INFO(said.text());
    CHECK(contains(said.out, "got=0 at-once last=15."));
}

TEST_CASE("Attack: a fork in a signal handler, in the middle of a query, comes back") {
    SKIP_UNLESS(!sanitized(), "a sanitizer's own locks are not to be had in a handler");
    const Scratch dir;
    Launch launch = hostile({"forks-in-handler", "pidfile=" + (dir / "q.pid"), "ms=2000"});
    launch.limit = Millis(7000);
    const Outcome said = run(launch);
    INFO(said.text());
    CHECK_FALSE(said.timed_out);
    CHECK(to_long(value_in(said.out, "asked")) > 0);
}

TEST_CASE("Attack: READY=1 reaches a slow manager whatever interrupts it") {
    const Scratch dir;
    const std::string name = dir / "notify";
    const Descriptor manager = local::bound(name);
    const sockaddr_un address = local::address(name);
    const sockaddr* const to = reinterpret_cast<const sockaddr*>(&address);
    REQUIRE(chmod(name.c_str(), 0777) == 0);
    // Full for everybody: a single sender is stopped by its own buffer before.
    for (bool took = true; took;) {
        const Descriptor filler(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        took = false;
        while (sendto(filler.get(), "x", 1, 0, to, sizeof address) == 1) took = true;
    }
    Launch launch = hostile({"interrupted-ready", "detach=no", "keep=1"});
    launch.environment = {{"NOTIFY_SOCKET", name}, {"SYSTEMD_EXEC_PID", "-"}};
    Running service(launch);
    const auto ticks = [&] { return count(service.out(), "t"); };
    REQUIRE(eventually([&] { return ticks() > 0; }));
    // It is interrupted three times while it tells the manager, who then goes on reading.
    const int before = ticks();
    eventually([&] { return ticks() >= before + 3 || service.finished(); }, Millis(3000));
    std::string all;
    const auto told = [&] {
        char text[512];
        for (ssize_t n; (n = recv(manager.get(), text, sizeof text, 0)) >= 0;)
            all += std::string(text, static_cast<std::size_t>(n)) + "\n";
        return contains(all, "READY=1");
    };
    const bool heard = eventually(told, Millis(3000));
    const Outcome said = service.finish();
    INFO(said.text());
    CHECK(said.status == 0);
    // A manager is waited for, for a second. On a machine that took that long the loss is said.
    if (!heard) {
        CHECK(said.took > Millis(900));
        CHECK(is_one_clean_line(said.err));
    } else {
        CHECK(said.err == "");
    }
}

// ---- Words --------------------------------------------------------------------------------------

TEST_CASE(
    "Attack: a text of several lines is told as one, and no control character is let through") {
    for (const std::string by : {"exception", "fail"}) {
        INFO(by);
        const Scratch dir;
        const Outcome said =
            run(hostile({"several-lines", std::string("by=") + by, "pidfile=" + (dir / "w.pid")}));
        INFO(said.text());
        CHECK(said.status == (by == "fail" ? 3 : 1));
        CHECK(is_one_clean_line(said.err));
        for (const std::string part : {"first", "second", "third"}) CHECK(contains(said.err, part));
    }
}

TEST_CASE("Attack: an error about a path of 10 KB is one line, and its cause is kept") {
    const Daemon daemon;
    std::string path = daemon.dir.path();
    while (path.size() < 10 * 1024) path += "/a-rather-long-name-of-a-directory";
    const std::string long_name = daemon.dir / std::string(10 * 1024, 'n');
    for (const std::string& bad : {path, long_name}) {
        for (const std::string what : {"--pidfile", "--stdout", "--chdir", "--chroot"}) {
            if (what == "--chroot" && !is_root()) continue;
            INFO(what);
            Strings words = {program("subject"), "start", what, bad};
            if (what != "--pidfile") words = words + Strings{"--pidfile", daemon.pidfile};
            const Outcome said = run(words);
            INFO(said.text());
            CHECK(said.status == 1);
            CHECK(is_one_clean_line(said.err));
            // The object is cut, not what was wrong with it.
            CHECK(said.err.size() < 4096);
            const std::string end = said.err.substr(said.err.rfind("': "));
            CHECK((contains(end, "name too long") || contains(end, "o such ")));
            CHECK(descendants().empty());
            CHECK_FALSE(exists(daemon.pidfile));
        }
    }
}

TEST_CASE("Attack: stop by a child of the daemon ends it, with a warning") {
    const Victim daemon;
    const std::string said = daemon.dir / "said";
    // Its shell and the stop live on when it ends: they are no part of what is stopped.
    const std::string stop = program("subject") + " stop --pidfile " + daemon.pidfile + " >" +
                             said + " 2>&1; echo code=$? >>" + said;
    check_started(daemon, daemon.start({"open", daemon.gate(), "system=" + stop, "wait"}));
    const pid_t pid = daemon.pid();
    daemon.let_go();
    REQUIRE(eventually([&] { return contains(slurp(said), "code="); }));
    INFO(slurp(said));
    CHECK(contains(slurp(said), "code=0"));
    CHECK(contains(slurp(said), "ancestor"));
    CHECK(gone(pid));
    CHECK_FALSE(exists(daemon.pidfile));
}

TEST_CASE("Attack: a reader that waits for the lock of a living daemon: the next start says so") {
    NEEDS_ROOT();  // so that the file cannot be removed by the dropped daemon, only emptied
    const Daemon daemon;
    check_started(daemon, daemon.start({"--user", "nobody"}));
    const pid_t pid = daemon.pid();
    Running reader(Launch({"flock", "-x", daemon.pidfile, "sleep", "1000"}));
    REQUIRE(eventually([&] { return facts(reader.pid()).state == 'S'; }));
    REQUIRE(waits_for_signals(pid));
    send_signal(pid, SIGTERM);
    CHECK(gone(pid));
    // Where the end could only empty the file, the reader has it now, and prevents a start for as
    // long as he likes: that is said, not waited for.
    const Outcome said = daemon.start();
    INFO(said.text());
    if (said.status == 0) {
        check_ends(daemon);
    } else {
        CHECK(said.status == 1);
        CHECK(is_one_clean_line(said.err));
        CHECK(said.took < Millis(5000));
    }
}

TEST_CASE("Attack: what cannot be solved is said in the header's guarantees") {
    const std::string header = slurp("daemonize.hpp");
    SKIP_UNLESS(!header.empty(), "not run in the project's directory");
    const std::size_t from = header.find("GUARANTEES"), to = header.find("#define DAEMONIZE_HPP");
    REQUIRE(from != std::string::npos);
    REQUIRE(to != std::string::npos);
    const std::string said = header.substr(from, to - from);
    CHECK(contains(said, "prevent"));  // a reader's lock: for as long as he holds it
    CHECK(contains(said, "_Fork"));    // workers that no fork handler is told of keep the lock
}
