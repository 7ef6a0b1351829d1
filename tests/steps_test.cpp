// The nineteen Unix steps one by one, S15 and S16: what a daemon is like, and in which order it
// came about, as /proc and a victim's own hook show it.
#include "support/expect.hpp"

#include <fcntl.h>
#include <grp.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>

using namespace expect;

TEST_CASE("Step 1 accounts are resolved before anything else: nothing is touched by a wrong one") {
    const Daemon daemon;
    check_failed(daemon, daemon.start({"--user", "no-such-user-here"}), 1,
                 {"user", "'no-such-user-here'"});
    check_failed(daemon, daemon.start({"--group", "no-such-group-here"}), 1,
                 {"group", "'no-such-group-here'"});
    CHECK(daemon.dir.names().empty());  // no log either
}

TEST_CASE("Step 4 a failed start unblocks what it blocked") {
    const Victim daemon;
    const Outcome launcher = daemon.start(
        {"pidfile=" + daemon.dir.path() + "/none/d.pid", "remember", "try", "compare"});
    INFO(launcher.text());
    CHECK(contains(launcher.out, "error=errno:2"));
    CHECK(contains(launcher.out, "state=same"));
}

TEST_CASE("Step 5 a refused start touches no log") {
    const Daemon daemon;
    REQUIRE(daemon.start().status == 0);
    const std::string other = daemon.dir / "other.log";
    CHECK(daemon.start({"--stderr", other}).status == 1);
    CHECK_FALSE(exists(other));
    const Victim own;
    own.dir.file("kept.log", "kept\n");
    CHECK(run({{program("victim"), "pidfile=" + daemon.pidfile,
                "stdout=truncate:" + (own.dir / "kept.log"), "open", "wait"}})
              .status == 1);
    CHECK(slurp(own.dir / "kept.log") == "kept\n");
}

TEST_CASE("Step 5 a stream that is to be truncated is emptied by the start that has the lock") {
    const Victim daemon;
    const std::string log = daemon.dir.file("old.log", "old text\n");
    check_started(daemon, daemon.start({"stdout=truncate:" + log, "open", "say=new", "wait"}));
    CHECK(eventually([&] { return slurp(log) == "new\n"; }));
}

TEST_CASE("Step 9 the standard streams: null, a log, a descriptor, kept") {
    const Victim daemon;
    const std::string input = daemon.dir.file("input", "in");
    const Descriptor own = open_file(daemon.dir / "own.log", O_WRONLY | O_CREAT);
    Launch launch = daemon.launch(
        {"core=1", "stdin=" + input, "stdout=fd:7", "stderr=null", "open", "say=text", "wait"});
    launch.before_exec = [&own] { place(own, 7); };
    check_started(daemon, run(launch));
    const auto open = descriptors(daemon.pid());
    CHECK(open.at(0) == input);
    CHECK(open.at(1) == (daemon.dir / "own.log"));
    CHECK(open.at(2) == "/dev/null");
    CHECK(open.count(7) == 0);  // duplicated, not preserved
    CHECK(eventually([&] { return slurp(daemon.dir / "own.log") == "text\n"; }));
    check_ends(daemon, 128 + SIGTERM);

    launch = daemon.launch({"core=1", "stdout=keep", "stderr=keep", "open", "say=kept", "wait"});
    launch.to_end_of_file = false;
    const Outcome kept = run(launch);
    CHECK(kept.status == 0);
    CHECK_FALSE(kept.end_of_file);
    CHECK(contains(descriptors(daemon.pid()).at(1), "pipe:"));
}

TEST_CASE("Step 10 of what came through exec all is closed but 0, 1, 2 and the preserved ones") {
    const Victim daemon;
    Launch launch = daemon.launch({"core=1", "preserve=12,40", "open", "wait"});
    launch.before_exec = [] {
        for (const int number : {3, 4, 5, 12, 40, 41, 500, 1000}) dup2(0, number);
    };
    check_started(daemon, run(launch));
    // The channel is closed after the last word on it: the launcher may be faster.
    eventually([&] { return descriptors(daemon.pid()).size() == 7; }, Millis(5000));
    int locks = 0, directories = 0;
    for (const auto& open : descriptors(daemon.pid())) {
        INFO(open.first, " -> ", open.second);
        const bool is_lock = open.second == daemon.pidfile;
        const bool is_directory = open.second == daemon.dir.path();  // the lock's
        locks += is_lock;
        directories += is_directory;
        CHECK((open.first < 3 || open.first == 12 || open.first == 40 || is_lock || is_directory));
    }
    CHECK(locks == 1);
    CHECK(directories == 1);
}

TEST_CASE("Step 10 a preserved descriptor is the same open file, and inherited by exec") {
    const Daemon daemon;
    const Descriptor file = open_file(daemon.dir.file("data", "0123456789"), O_RDONLY);
    REQUIRE(lseek(file.get(), 4, SEEK_SET) == 4);
    Launch launch = daemon.launch({"--preserve-fd", "9", "--child"});
    launch.before_exec = [&file] { place(file, 9); };
    check_started(daemon, run(launch));
    const pid_t child = static_cast<pid_t>(to_long(daemon.logged("child")));
    REQUIRE(child > 1);
    CHECK(eventually([&] {
        return contains(link_of(child, "exe"), "sleep") ||
               contains(link_of(child, "exe"), "busybox");
    }));
    CHECK(link_of(child, "fd/9") == daemon.dir / "data");
    const std::string position = slurp("/proc/" + std::to_string(child) + "/fdinfo/9");
    CHECK(contains(position, "pos:\t4"));
}

TEST_CASE("Step 11 umask and prevent_core") {
    const Victim daemon;
    Launch launch = daemon.launch({"umask=77", "open", "wait"});
    launch.before_exec = [] { umask(0); };
    check_started(daemon, run(launch));
    CHECK(facts(daemon.pid()).umask == 077);
    CHECK(limit_of(daemon.pid(), "Max core file size") == (generic() ? "0 0" : "1 1"));
    check_ends(daemon, 128 + SIGTERM);
    check_started(daemon, daemon.start({"core=1", "open", "wait"}));
    CHECK(limit_of(daemon.pid(), "Max core file size") == limit_of(getpid(), "Max core file size"));
}

TEST_CASE("Step 11 dumpable is left alone: /proc shows the process as the user's, whose it is") {
    const Victim daemon;
    const std::string place = daemon.dir.directory("open", 0777);
    const auto owner = [&](const char* core) {
        Launch launch({program("victim"), "pidfile=" + place + "/u.pid", core, "open", "wait"});
        if (is_root()) launch.before_exec = become_nobody;
        CHECK(run(launch).status == 0);
        const pid_t pid = static_cast<pid_t>(to_long(slurp(place + "/u.pid")));
        REQUIRE(pid > 1);
        const uid_t uid = stat_of("/proc/" + std::to_string(pid) + "/stat").st_uid;
        send_signal(pid, SIGTERM);
        CHECK(ended(pid) == 128 + SIGTERM);
        return uid;
    };
    for (const char* core : {"core=0", "core=1"})
        CHECK(owner(core) == (is_root() ? uid_t(nobody) : getuid()));
}

TEST_CASE(
    "Steps 10 to 13: the privileged hook comes after closing, umask and PID, before the drop") {
    const Victim daemon;
    const std::string jail = daemon.dir.directory("jail");
    Strings words = {"umask=22", "chdir=" + jail, "by-hand=1", "hook=facts=2;open-file=/dev/zero",
                     "core=1"};
    if (is_root()) words.push_back("user=nobody");
    Launch launch = daemon.launch(words + Strings{"open", "facts", "ready", "wait"});
    launch.directory = daemon.dir.path();
    launch.before_exec = [] { dup2(0, 30); };
    const Outcome launcher = run(launch);
    INFO(launcher.text());
    REQUIRE(launcher.status == 0);
    const std::string hook = launcher.err;  // the caller's stderr
    const std::string pid = std::to_string(daemon.pid());
    CHECK(value_in(hook, "pidfile") == pid);
    CHECK(value_in(hook, "self") == pid);
    CHECK(value_in(hook, "umask") == "022");
    CHECK(value_in(hook, "uid") == std::to_string(getuid()));
    CHECK(value_in(hook, "euid") == std::to_string(geteuid()));
    CHECK(value_in(hook, "cwd") == daemon.dir.path());  // chdir comes behind it
    CHECK_FALSE(contains(hook, "30="));
    CHECK_FALSE(contains(value_in(hook, "core"), "error"));
    REQUIRE(daemon.logs("uid="));
    const std::string later = slurp(daemon.log);
    CHECK(contains(later, "=/dev/zero"));  // what it opened is never closed
    CHECK(value_in(later, "cwd") == jail);
    if (is_root()) CHECK(value_in(later, "uid") == std::to_string(nobody));
}

TEST_CASE("Step 13 a failing hook is a failed start") {
    const Victim daemon;
    check_failed(daemon, daemon.start({"hook=fail=port 80 is taken,3", "open", "wait"}), 3,
                 {"port 80 is taken"});
}

TEST_CASE("Step 13 a hook that throws is a failed start") {
    const Victim daemon;
    check_failed(daemon, daemon.start({"hook=throw=port 80 is taken", "open", "wait"}), 1,
                 {"port 80 is taken"});
}

TEST_CASE("Step 14 the drop: real, effective and saved ids, groups of the user") {
    NEEDS_ROOT();
    const Daemon daemon;
    check_started(daemon, daemon.start({"--user", "daemon"}));
    const Facts seen = facts(daemon.pid());
    CHECK(seen.uids == std::vector<long>{1, 1, 1, 1});
    CHECK(seen.gids == std::vector<long>{1, 1, 1, 1});  // its primary group
    CHECK(seen.groups == std::vector<long>{1});
}

TEST_CASE("Step 14 a bare number without a passwd entry has no groups") {
    NEEDS_ROOT();
    const Victim daemon;
    const std::string place = daemon.dir.directory("open", 0777);
    const std::string file = "pidfile=" + place + "/d.pid";
    Launch launch({program("victim"), file, "stdout=" + place + "/log", "user=number:61234",
                   "group=number:61235", "open", "env", "say=done", "wait"});
    launch.environment = {{"USER", "somebody"}};
    launch.before_exec = [] {
        const gid_t callers = 4242;  // nothing of it may be left
        if (setgroups(1, &callers) != 0) _exit(123);
    };
    const Outcome launcher = run(launch);
    INFO(launcher.text());
    CHECK(launcher.status == 0);
    const Facts seen = facts(static_cast<pid_t>(to_long(slurp(place + "/d.pid"))));
    CHECK(seen.uids == std::vector<long>{61234, 61234, 61234, 61234});
    CHECK(seen.gids == std::vector<long>{61235, 61235, 61235, 61235});
    CHECK((seen.groups.empty() || seen.groups == std::vector<long>{61235}));
    REQUIRE(eventually([&] { return contains(slurp(place + "/log"), "done"); }));
    CHECK_FALSE(contains(slurp(place + "/log"), "env USER="));  // nobody has that number
}

TEST_CASE("Step 14 initgroups=false: no supplementary groups") {
    NEEDS_ROOT();
    const Victim daemon;
    check_started(daemon, daemon.start({"user=daemon", "initgroups=0", "open", "wait"}));
    const Facts seen = facts(daemon.pid());
    CHECK((seen.groups.empty() || seen.groups == std::vector<long>{1}));
}

TEST_CASE("Step 14 the supplementary groups of the group file, and none of them if not asked for") {
    NEEDS_MOUNTS();
    const Victim daemon;
    daemon.dir.file("group", "daemon:x:1:\nextra:x:4242:somebody,daemon\nother:x:4243:somebody\n");
    for (const bool wanted : {true, false}) {
        const Strings words = daemon.words(
            "", {"user=daemon", wanted ? "initgroups=1" : "initgroups=0", "open", "wait"});
        check_started(
            daemon,
            run({{"unshare", "-m", "sh", "-c",
                  "mount --bind " + daemon.dir.path() + "/group /etc/group && " + join(words)}}));
        const std::vector<long> groups = facts(daemon.pid()).groups;
        CHECK(std::count(groups.begin(), groups.end(), 4242) == (wanted ? 1 : 0));
        CHECK(std::count(groups.begin(), groups.end(), 4243) == 0);
        send_signal(daemon.pid(), SIGKILL);
        gone(daemon.pid());
    }
}

TEST_CASE("Step 14 a group alone") {
    NEEDS_ROOT();
    const Daemon daemon;
    check_started(daemon, daemon.start({"--group", "daemon"}));
    const Facts seen = facts(daemon.pid());
    CHECK(seen.uids == std::vector<long>{0, 0, 0, 0});
    CHECK(seen.gids == std::vector<long>{1, 1, 1, 1});
}

TEST_CASE("Step 14 no way back: a kernel that lets the drop fail in silence is found out") {
    NEEDS_ROOT();
    NEEDS_DENY();
    const Daemon daemon;
    for (const char* call : {"setgroups", "setresuid", "setresgid", "setuid", "setgid"}) {
        INFO(call);
        const Outcome launcher = run(
            denied({std::string(call) + ":EPERM"}, daemon.words("start", {"--user", "nobody"})));
        CHECK((launcher.status != 0 || std::string(call) != "setgroups"));
        if (launcher.status == 0) {
            // Another call did it: then it must have done it.
            CHECK(facts(daemon.pid()).uids == std::vector<long>(4, nobody));
            CHECK(facts(daemon.pid()).gids == std::vector<long>(4, 65534));
            send_signal(daemon.pid(), SIGKILL);
            gone(daemon.pid());
        } else {
            check_refused(launcher, {"Operation not permitted"});
        }
    }
}

TEST_CASE("Step 14 no way back: calls that say that they did it, and did not") {
    NEEDS_ROOT();
    NEEDS_DENY();
    const Daemon daemon;
    for (const char* call : {"setresuid", "setresgid"}) {
        INFO(call);
        check_failed(
            daemon,
            run(denied({std::string(call) + ":DONE"}, daemon.words("start", {"--user", "nobody"}))),
            1, {"cannot drop privileges"});
    }
}

TEST_CASE("Step 14 chroot: root and directory inside, descriptors of directories none") {
    NEEDS_ROOT();
    const Victim daemon;
    const std::string jail = daemon.dir.directory("jail");
    daemon.dir.directory("jail/work");
    check_started(daemon,
                  daemon.start({"chroot=" + jail, "chdir=/work", "user=nobody", "open", "wait"}));
    const pid_t pid = daemon.pid();
    CHECK(link_of(pid, "root") == jail);
    CHECK(link_of(pid, "cwd") == jail + "/work");
    for (const auto& open : descriptors(pid)) {
        struct stat at;
        const std::string path =
            "/proc/" + std::to_string(pid) + "/fd/" + std::to_string(open.first);
        if (stat(path.c_str(), &at) == 0) CHECK_FALSE(S_ISDIR(at.st_mode));
    }
}

TEST_CASE("Step 14 chroot alone: the directory is the jail's root") {
    NEEDS_ROOT();
    const Daemon daemon;
    const std::string jail = daemon.dir.directory("jail");
    check_started(daemon, daemon.start({"--chroot", jail}));
    CHECK(link_of(daemon.pid(), "cwd") == jail);
}

TEST_CASE("Step 14 no_new_privs") {
    const Victim daemon;
    if (generic()) {
        check_failed(daemon, daemon.start({"no-new-privs=1", "open", "wait"}), 1, {"no_new_privs"});
        return;
    }
    check_started(daemon, daemon.start({"no-new-privs=1", "open", "wait"}));
    CHECK(facts(daemon.pid()).no_new_privs);
    check_ends(daemon, 128 + SIGTERM);
    check_started(daemon, daemon.start({"open", "wait"}));
    CHECK(facts(daemon.pid()).no_new_privs == facts(getpid()).no_new_privs);
}

TEST_CASE("Step 15 the environment: as it was; USER, LOGNAME, HOME after a drop") {
    const Victim daemon;
    Launch launch = daemon.launch({"open", "env", "say=done", "wait"});
    launch.environment = {{"MARK", "x=y"}, {"USER", "somebody"}, {"DAEMONIZE_BUILD", "-"}};
    CHECK(run(launch).status == 0);
    REQUIRE(daemon.logs("done"));
    std::string log = slurp(daemon.log);
    CHECK(contains(log, "env MARK=x=y\n"));
    CHECK(contains(log, "env USER=somebody\n"));
    CHECK_FALSE(contains(log, "DAEMONIZE"));  // no switch of the header's own
    check_ends(daemon, 128 + SIGTERM);
    if (!is_root()) return;
    launch = daemon.launch({"user=daemon", "open", "env", "say=twice", "wait"});
    launch.environment = {{"USER", "somebody"}, {"HOME", "/root"}};
    CHECK(run(launch).status == 0);
    REQUIRE(daemon.logs("twice"));
    log = slurp(daemon.log);
    CHECK(contains(log, "env USER=daemon\n"));
    CHECK(contains(log, "env LOGNAME=daemon\n"));
    CHECK(contains(log, "env HOME=/usr/sbin\n"));
}

TEST_CASE("Step 15 clear_environment keeps what it was told to keep") {
    const Victim daemon;
    Launch launch = daemon.launch(
        {"clear-environment=1", "keep=KEPT,ABSENT", "open", "env", "say=done", "wait"});
    launch.environment = {{"KEPT", "1"}, {"LOST", "1"}};
    CHECK(run(launch).status == 0);
    REQUIRE(daemon.logs("done"));
    CHECK(contains(slurp(daemon.log), "env KEPT=1\n"));
    CHECK(count(slurp(daemon.log), "env ") == 1);
}

TEST_CASE("Step 16 the signals of a daemon: mask empty, what was ignored is default again") {
    SKIP_UNLESS(!sanitized(), "the sanitizers have handlers of their own");
    const Victim daemon;
    Launch launch = daemon.launch({"open", "wait"});
    launch.before_exec = [] {
        for (const int signum : {SIGUSR1, SIGPIPE, SIGCHLD, SIGTERM, SIGQUIT}) ignore(signum);
        for (const int signum : {SIGUSR2, SIGTERM, SIGHUP, SIGALRM}) block(signum);
    };
    check_started(daemon, run(launch));
    const Facts seen = facts(daemon.pid());
    CHECK(seen.blocked == 0);
    CHECK(seen.ignored == set_of({SIGPIPE}));  // systemd ignores it, and means it
    // terminate, and a function that does nothing: an ignored one would be inherited
    CHECK(seen.caught == set_of({SIGTERM, SIGINT, SIGTTIN, SIGTTOU, SIGTSTP, SIGHUP}));
}

TEST_CASE("Step 16 a handler that the program set before stays") {
    const Victim daemon;
    check_started(daemon, daemon.start({"handler=10", "open", "wait"}));
    CHECK(has(facts(daemon.pid()).caught, SIGUSR1));
    const Victim other;
    check_started(other, other.start({"handler=15", "open", "wait"}));
    send_signal(other.pid(), SIGTERM);
    CHECK(run({{program("victim"), "status=" + other.pidfile}}).status == 0);
    CHECK(alive(other.pid()));
}

TEST_CASE("Step 16 a SIGTERM sent during a start in the foreground leaves no file either") {
    const Victim daemon;
    CHECK(daemon.start({"detach=no", "hook=raise=15", "open", "wait"}).status == 128 + SIGTERM);
    CHECK_FALSE(exists(daemon.pidfile));
}

TEST_CASE("Step 16 signal_map: ignore, default, terminate") {
    const Victim daemon;
    check_started(daemon, daemon.start({"map=10:ignore", "map=15:default", "map=12:terminate",
                                        "map=20:default", "open", "wait"}));
    const Facts seen = facts(daemon.pid());
    CHECK(has(seen.ignored, SIGUSR1));
    CHECK_FALSE(has(seen.caught, SIGTERM));
    CHECK_FALSE(has(seen.ignored, SIGTSTP));
    CHECK(has(seen.caught, SIGUSR2));
    const pid_t pid = daemon.pid();
    send_signal(pid, SIGUSR1);
    send_signal(pid, SIGUSR2);
    CHECK(ended(pid) == 128 + SIGUSR2);
    CHECK_FALSE(exists(daemon.pidfile));
}

TEST_CASE("Step 16 signal_map: a callback runs in a waiting SignalHandler") {
    const Victim daemon;
    check_started(daemon, daemon.start({"map=10:callback", "open", "wait-term"}));
    REQUIRE(eventually([&] { return has(facts(daemon.pid()).caught, SIGUSR1); }));
    send_signal(daemon.pid(), SIGUSR1);
    CHECK(daemon.logs("called=10"));
    check_ends(daemon);
}

TEST_CASE("Step 16 a SIGTERM sent during the start is delivered, not lost") {
    const Victim daemon;
    const Outcome launcher = daemon.start({"hook=raise=15;say-err=held back", "open", "wait"});
    INFO(launcher.text());
    CHECK(launcher.status == 128 + SIGTERM);
    CHECK(contains(launcher.err, "held back\n"));
    CHECK_FALSE(exists(daemon.pidfile));
    CHECK(descendants().empty());
}

TEST_CASE("Step 17 ready() with the launcher gone: no SIGPIPE death, the file is removed") {
    const Victim daemon;
    const std::string file = daemon.dir / "at-exit";
    Running launcher(daemon.launch(
        {"by-hand=1", "open", "say=up", daemon.gate(), "ready", "say=still here", "wait"}));
    REQUIRE(daemon.logs("up"));
    const pid_t pid = daemon.pid();
    launcher.signal(SIGKILL);
    launcher.finish();
    daemon.let_go();
    const int status = ended(pid);
    CHECK(status != 128 + SIGPIPE);
    CHECK(status != not_ended);
    CHECK_FALSE(exists(daemon.pidfile));
    CHECK_FALSE(contains(slurp(daemon.log), "still here"));
}

TEST_CASE("Step 17 after ready nothing of the start is open any more") {
    const Victim daemon;
    check_started(daemon, daemon.start({"core=1", "open", "wait"}));
    // The launcher may have left between the daemon's last word and its closing of the channel.
    const auto of_the_start = [&] {
        std::string left;
        for (const auto& open : descriptors(daemon.pid()))
            if (contains(open.second, "socket:") || contains(open.second, "pipe:"))
                left += std::to_string(open.first) + " -> " + open.second + " ";
        return left;
    };
    eventually([&] { return of_the_start().empty(); }, Millis(5000));
    CHECK(of_the_start() == "");
    CHECK(descriptors(daemon.pid()).size() == 5);  // 0, 1, 2, the lock and its directory
}

TEST_CASE("Step 18 the launcher's end never unlocks: no gap in which a second one could start") {
    const Daemon daemon;
    for (int round = 0; round < 20; ++round) {
        Running first(daemon.launch());
        bool seen_free = false, seen_locked = false;
        eventually([&] {
            const bool locked = exists(daemon.pidfile) && daemon.pid() > 1;
            // Asked with a record lock's query only: a flock of ours would disturb the start.
            if (locked && !generic()) {
                const pid_t owner = record_owner(daemon.pidfile);
                seen_locked = seen_locked || owner > 0;
                seen_free = seen_free || (seen_locked && owner == 0);
            }
            return first.finished();
        });
        CHECK_FALSE(seen_free);
        CHECK(first.finish().status == 0);
        CHECK(is_locked(daemon.pidfile));
        check_ends(daemon);
    }
}

TEST_CASE("Step 18 no child of the launcher, and no intermediate, outlives the verdict") {
    const Daemon daemon;
    REQUIRE(daemon.start().status == 0);
    const pid_t pid = daemon.pid();
    CHECK(eventually([pid] { return descendants() == std::vector<pid_t>{pid}; }, Millis(2000)));
}

TEST_CASE("Step 19 where the directory forbids removal the file is emptied") {
    NEEDS_ROOT();
    const Daemon daemon;
    check_started(daemon, daemon.start({"--user", "nobody"}));
    const pid_t pid = daemon.pid();
    send_signal(pid, SIGTERM);
    CHECK(ended(pid) == 0);
    CHECK(exists(daemon.pidfile));
    CHECK(stat_of(daemon.pidfile).st_size == 0);
    CHECK(daemon.verb("status").status == 3);
    check_started(daemon, daemon.start());  // and blocks nobody
}

TEST_CASE("Step 19 a jailed daemon too: emptied, not left with its number") {
    NEEDS_ROOT();
    const Daemon daemon;
    const std::string jail = daemon.dir.directory("jail");
    Launch launch = daemon.launch({"--chroot", jail});
    without_leak_check(launch);
    check_started(daemon, run(launch));
    const pid_t pid = daemon.pid();
    send_signal(pid, SIGTERM);
    CHECK(ended(pid) == 0);
    CHECK(slurp(daemon.pidfile) == "");
}

TEST_CASE("Step 19 the exit status is kept, and the file is gone, however main ends") {
    const Victim daemon;
    for (const char* end : {"return=7", "exit=7"}) {
        check_started(daemon, daemon.start({"open", daemon.gate(end), end}));
        const pid_t pid = daemon.pid();
        daemon.let_go(end);
        CHECK(ended(pid) == 7);
        CHECK_FALSE(exists(daemon.pidfile));
    }
}

TEST_CASE("S15 SIGTERM and SIGINT before any handler: the PID file is gone, the signal kept") {
    const Victim daemon;
    for (const int signum : {SIGTERM, SIGINT}) {
        for (int round = 0; round < 15; ++round) {
            REQUIRE(daemon.start({"open", "wait"}).status == 0);
            const pid_t pid = daemon.pid();
            send_signal(pid, signum);
            CHECK(ended(pid) == 128 + signum);
            CHECK_FALSE(exists(daemon.pidfile));
        }
    }
}

TEST_CASE("S15 terminate in a forked child leaves its parent's file alone") {
    const Victim daemon;
    check_started(daemon, daemon.start({"open", "fork-term", "wait"}));
    CHECK(daemon.logged("child-code") == std::to_string(128 + SIGTERM));
    CHECK(daemon.pid() > 1);
}

TEST_CASE("S15 terminate removes nothing that is not this daemon's") {
    const Victim daemon;
    check_started(daemon, daemon.start({"open", "wait"}));
    const pid_t pid = daemon.pid();
    // Somebody has put another file there: another inode under the same path.
    REQUIRE(unlink(daemon.pidfile.c_str()) == 0);
    daemon.dir.file("d.pid", std::to_string(pid) + "\n");
    send_signal(pid, SIGTERM);
    CHECK(ended(pid) == 128 + SIGTERM);
    CHECK(exists(daemon.pidfile));
}

TEST_CASE("S16 the foreground: no fork, no new session, streams, directory and descriptors stay") {
    const Victim daemon;
    Launch launch({program("victim"), "pidfile=" + daemon.pidfile, "stdout=" + daemon.log, "core=1",
                   "detach=no", "open", "role", "say=in front", "wait"});
    launch.directory = daemon.dir.path();
    launch.before_exec = [] { dup2(0, 30); };
    Running program(launch);
    REQUIRE(program.says("in front"));
    const pid_t pid = program.pid();
    CHECK(daemon.pid() == pid);
    CHECK(is_locked(daemon.pidfile));
    if (!generic()) CHECK(record_owner(daemon.pidfile) == pid);
    CHECK(contains(program.out(), "role=foreground open=1 parent=0"));
    const Facts seen = facts(pid);
    CHECK(seen.session == getsid(0));
    CHECK(seen.parent == getpid());
    CHECK(seen.umask == 027);
    CHECK(link_of(pid, "cwd") == daemon.dir.path());
    CHECK(descriptors(pid).count(30) == 1);
    CHECK_FALSE(exists(daemon.log));
    program.signal(SIGTERM);
    CHECK(program.finish().status == 128 + SIGTERM);
    CHECK_FALSE(exists(daemon.pidfile));
}

TEST_CASE("S16 the foreground has chdir, umask, core, drop and environment if asked") {
    const Victim daemon;
    Strings words = {"pidfile=" + daemon.pidfile, "detach=no", "chdir=" + daemon.dir.path(),
                     "umask=2", "hook=say=in the hook"};
    if (is_root()) words.push_back("user=nobody");
    Running front(Launch(Strings{program("victim")} + words + Strings{"open", "facts", "wait"}));
    REQUIRE(front.says("uid="));
    CHECK(contains(front.out(), "in the hook\nuid="));
    CHECK(value_in(front.out(), "cwd") == daemon.dir.path());
    CHECK(value_in(front.out(), "umask") == "002");
    CHECK(value_in(front.out(), "core") == (generic() ? "0" : "1"));
    if (is_root()) CHECK(value_in(front.out(), "uid") == std::to_string(nobody));
}

TEST_CASE("S16 a failing foreground start says why on its own stderr, and leaves no file") {
    const Victim daemon;
    const Outcome program = daemon.start({"detach=no", "chdir=/no/such/place", "open", "wait"});
    check_refused(program, {"'/no/such/place'", "No such file or directory"}, "victim");
    CHECK_FALSE(exists(daemon.pidfile));
}

TEST_CASE("S16 LISTEN_FDS: the sockets stay on every path, LISTEN_PID follows the fork") {
    const Victim daemon;
    const Descriptor file = open_file(daemon.dir.file("socket", ""), O_RDONLY);
    for (const char* detach : {"detach=yes", "detach=no"}) {
        Launch launch({program("victim"), "pidfile=" + daemon.pidfile, "core=1", detach,
                       std::string("stdout=") + (contains(detach, "no") ? "keep" : daemon.log),
                       "clear-environment=1", "open", "env", "say=done", "wait"});
        launch.before_exec = [&file] {
            place(file, 3);
            place(file, 4);
            setenv("LISTEN_FDS", "2", 1);
            setenv("LISTEN_PID", std::to_string(getpid()).c_str(), 1);
        };
        Running program(launch);
        REQUIRE(eventually([&] {
            return contains(program.out(), "done") || contains(slurp(daemon.log), "done");
        }));
        const pid_t pid = daemon.pid();
        const std::string said = program.out() + slurp(daemon.log);
        CHECK(contains(said, "env LISTEN_FDS=2\n"));
        CHECK(contains(said, "env LISTEN_PID=" + std::to_string(pid) + "\n"));
        CHECK(descriptors(pid).at(3) == daemon.dir / "socket");
        CHECK(descriptors(pid).at(4) == daemon.dir / "socket");
        send_signal(pid, SIGTERM);
        gone(pid);
        unlink(daemon.log.c_str());
    }
}

TEST_CASE("S16 LISTEN_FDS of another process is none of ours") {
    const Victim daemon;
    Launch launch = daemon.launch({"core=1", "open", "wait"});
    launch.before_exec = [] {
        dup2(0, 5);
        setenv("LISTEN_FDS", "3", 1);
        setenv("LISTEN_PID", "1", 1);
    };
    check_started(daemon, run(launch));
    CHECK(descriptors(daemon.pid()).count(5) == 0);
}
