// Rule E3: every failure path is run, most of them by a system call that is denied. What is judged
// is what holds of each: one line with step, object and cause, a status that is no success, no
// daemon, no PID file that the start created, nothing truncated, and the caller as it was.
#include "support/expect.hpp"
#include "support/local.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <stdexcept>

using namespace expect;

namespace {

Outcome command(const Strings& words) { return run(Launch(words)); }
Outcome victim(const Strings& words) { return command(Strings{program("victim")} + words); }
Outcome watcher(const Strings& words) { return command(Strings{program("watcher")} + words); }

std::string replaced(std::string text, const std::string& what, const std::string& by) {
    for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at))
        text.replace(at, what.size(), by);
    return text;
}

enum Needs { nothing = 0, linux_only = 1, root_only = 2, no_sanitizer = 4 };

// A start that a denied call lets fail; "$D" is the test's directory. There are in it a log with
// text, a directory of nobody's and one for a jail.
struct Failure {
    Strings calls, words, expected;
    int needs;
};

struct FailingStart : Victim {
    explicit FailingStart(const Failure& failure) : failure_(failure) {
        dir.file("old.log", "old\n");
        dir.directory("jail");
        const std::string nobodys = dir.directory("nobodys");
        if (is_root()) REQUIRE(chown(nobodys.c_str(), nobody, nobody) == 0);
    }
    bool applies() const {
        return (is_root() || !(failure_.needs & root_only)) &&
               (!generic() || !(failure_.needs & linux_only)) &&
               (!sanitized() || !(failure_.needs & no_sanitizer));
    }
    Strings here(const Strings& words) const {
        Strings made;
        for (const std::string& word : words) made.push_back(replaced(word, "$D", dir.path()));
        return made;
    }
    Strings argv(const Strings& acts) const { return words("", here(failure_.words) + acts); }
    void check_opened(const Strings& run_by) const {
        Launch launch(run_by + argv({"open", "wait"}));
        launch.before_exec = [] { umask(077); };  // else it makes the mode, and saves a call
        without_leak_check(launch);
        check_failed(*this, run(launch), 1, here(failure_.expected));
        CHECK(slurp(dir / "old.log") == "old\n");
    }
    // S7, S14: the launcher that is kept has the same text, and is as it was.
    void check_kept(const Strings& run_by) const {
        Launch launch(run_by + argv({"remember", "try", "compare"}));
        launch.before_exec = [] { umask(077); };
        without_leak_check(launch);
        const Outcome kept = run(launch);
        INFO(kept.text());
        CHECK(contains(kept.out, "returned=launcher error="));
        CHECK_FALSE(contains(kept.out, "error=none"));
        for (const std::string& word : here(failure_.expected)) CHECK(contains(kept.out, word));
        CHECK(contains(kept.out, "state=same"));
        CHECK(kept.err == "");
        CHECK_FALSE(exists(pidfile));
        CHECK(slurp(dir / "old.log") == "old\n");
        CHECK(descendants().empty());
    }

private:
    Failure failure_;
};

void check_denied(const std::vector<Failure>& all) {
    for (const Failure& failure : all) {
        INFO(join(failure.calls), " denied, options: ", join(failure.words));
        const FailingStart start(failure), kept(failure);
        if (!start.applies()) continue;
        const Strings by = failure.calls.empty() ? Strings() : denied(failure.calls, Strings());
        start.check_opened(by);
        kept.check_kept(by);
    }
}

// The launcher and all that comes of it, with one call of one process failing.
// A 32-bit kernel's number for the same call has a width in its name: fcntl64, setresuid32.
Strings injected(const std::string& name, const std::string& what) {
    const std::string call = "/^" + name + "(32|64)?$";
    return {"strace",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            "trace=" + call,
            "-e",
            "inject=" + call + ":" + what};
}

}  // namespace

// ---- Starts -------------------------------------------------------------------------------------

TEST_CASE(
    "E3 S14 a system call that fails in a start: one line, nothing left, the caller as it was") {
    NEEDS_DENY();
    const std::string creates =
        std::to_string(O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_CREAT | O_EXCL);
    check_denied({
        {{"fchmod:EPERM"},
         {"stdout=null", "stderr=null"},
         {"cannot set the mode of '$D/d.pid'", "Operation not permitted"},
         nothing},
        {{"flock:ENOLCK"}, {}, {"cannot lock '$D/d.pid'", "No locks available"}, nothing},
        {{"openat:17:" + creates + ":2"},  // P3
         {},
         {"cannot lock '$D/d.pid'", "it was replaced a hundred times"},
         nothing},
        {{"fcntl:ENOLCK:" + std::to_string(F_SETLK) + ":1"},  // P10, step 12
         {},
         {"'$D/d.pid'", "No locks available"},
         linux_only},
        {{"pwrite64:ENOSPC"}, {}, {"cannot write '$D/d.pid'", "No space left"}, nothing},
        {{"ftruncate:EIO"}, {}, {"cannot write '$D/d.pid'", "Input/output error"}, nothing},
        {{"fchmod:EPERM"},
         {"pidfile=", "stdout=$D/new.log"},
         {"cannot set the mode of '$D/new.log'", "Operation not permitted"},
         nothing},
        {{"ftruncate:EIO"},
         {"stdout=truncate:$D/old.log", "stderr=null"},
         {"cannot empty '$D/old.log'", "Input/output error"},
         nothing},
        {{"socketpair:EMFILE"}, {}, {"cannot make the readiness channel", "Too many"}, nothing},
        // The leader's ends of its two channels are descriptors 0 and 1.
        {{"dup2:EIO"}, {}, {"cannot set up the readiness channel", "Input/output error"}, nothing},
        {{"dup2:EIO:1:1"},
         {},
         {"cannot set up the readiness channel", "Input/output error"},
         nothing},
        // Without a PID file the first that is opened, 3, is /dev/null, for the daemon's own.
        {{"dup2:EIO:3"},
         {"pidfile=", "stdout=null", "stderr=null"},
         {"cannot set up descriptor 0", "Input/output error"},
         nothing},
        {{"dup2:EIO:3"},
         {"pidfile=", "stdin=keep", "stdout=null", "stderr=null"},
         {"cannot set up descriptor 1", "Input/output error"},
         nothing},
        {{"dup2:EIO:2:1"}, {}, {"cannot set up descriptor 2", "Input/output error"}, nothing},
        {{"prlimit64:EPERM", "setrlimit:EPERM"},
         {},
         {"cannot prevent core files", "Operation not permitted"},
         no_sanitizer},  // which asks for the limit of its stack
        {{"prctl:EPERM:38"},
         {"no-new-privs=1"},
         {"cannot set no_new_privs", "Operation not permitted"},
         linux_only},
        {{"rt_sigaction:EINVAL:15"}, {}, {"cannot handle SIGTERM", "Invalid argument"}, nothing},
    });
}

TEST_CASE("E3 S14 a step of a drop or of a jail that fails: one line, nothing left") {
    NEEDS_ROOT();
    NEEDS_DENY();
    check_denied({
        {{"fchown:EPERM"},
         {"user=nobody", "stdout=$D/new.log", "stderr=null"},
         {"cannot give away '$D/new.log'", "Operation not permitted"},
         root_only},
        {{"setgroups:EPERM"},
         {"user=number:61234", "group=number:61235"},
         {"cannot set the groups of user 61234", "Operation not permitted"},
         root_only},
        {{"setgroups:EPERM"},
         {"group=number:61235"},
         {"cannot set the groups of group 61235", "Operation not permitted"},
         root_only},
        {{"setresgid:EPERM", "setregid:EPERM", "setgid:EPERM"},
         {"user=nobody"},
         {"cannot change to group 65534", "Operation not permitted"},
         root_only},
        {{"setresuid:EPERM:0xffffffff"},  // seteuid()
         {"user=nobody", "stdout=$D/nobodys/log"},
         {"cannot change to user 65534", "Operation not permitted"},
         root_only},
        {{"chroot:EPERM"},
         {"chroot=$D/jail"},
         {"cannot change root to '$D/jail'", "Operation not permitted"},
         root_only},
        {{},
         {"user=nobody", "chdir=/no/such"},
         {"cannot change directory to '/no/such'", "No such file or directory"},
         root_only},
    });
}

TEST_CASE("L2 a new log that cannot be given away is not left: the next start gives it away") {
    NEEDS_ROOT();
    NEEDS_DENY();
    const Victim daemon;
    for (const char* call : {"fchown:EPERM", "fchmod:EPERM"}) {
        const Strings words = daemon.words("", {"pidfile=", "user=nobody", "open", "wait"});
        const Outcome refused = run(Launch(denied({call}, words)));
        INFO(refused.text());
        CHECK(refused.status == 1);
        CHECK_FALSE(exists(daemon.log));
    }
    REQUIRE(daemon.start({"user=nobody", "open", "wait"}).status == 0);
    CHECK(stat_of(daemon.log).st_uid == nobody);
}

TEST_CASE("E3 S14 the second of a step's calls fails: one line, nothing left") {
    NEEDS_STRACE();
    SKIP_UNLESS(!sanitized(), "a sanitizer makes calls of its own, and looks for leaks by ptrace");
    const struct {
        std::string call, what;
        Failure failure;
    } all[] = {
        {"dup2",
         "error=EIO:when=3",
         {{},
          {"user=nobody", "stdout=$D/nobodys/log", "stderr=null"},
          {"cannot set up descriptor 1", "Input/output error"},
          root_only}},
        {"setresuid",
         "error=EPERM:when=2",
         {{},
          {"user=nobody", "stdout=$D/nobodys/log"},
          {"cannot change back to user 0", "Operation not permitted"},
          root_only}},
    };
    for (const auto& one : all) {
        INFO(one.call, " ", one.what);
        const FailingStart start(one.failure);
        if (start.applies()) start.check_opened(injected(one.call, one.what));
    }
}

TEST_CASE(
    "E3 S4 a leader that cannot ask after its daemon keeps the limit, and leaves nothing of it") {
    NEEDS_DENY();
    const FailingStart start({{},
                              {"by-hand=1", "ready-timeout=500"},
                              {"cannot start process ", "has not called ready() within 500 ms"},
                              nothing});
    Launch launch(denied({"wait4:10"}, start.argv({"open", "wait"})));
    without_leak_check(launch);
    const Outcome said = run(launch);
    check_failed(start, said, 124, {"has not called ready() within 500 ms"});
    CHECK(said.took < Millis(5000));
}

TEST_CASE("E3 P10 a step before the lock that fails leaves an old PID file as it was") {
    NEEDS_DENY();
    // What may not be unlinked is used in place: then it is emptied.
    for (const Strings& calls :
         {Strings{"flock:ENOLCK"}, Strings{"unlinkat:EPERM", "ftruncate:EIO"}}) {
        INFO(join(calls));
        const Daemon daemon;
        daemon.dir.file("d.pid", "4711\n");
        const struct stat before = stat_of(daemon.pidfile);
        const Outcome launcher = run(denied(calls, daemon.words("start")));
        check_refused(launcher, {"'" + daemon.pidfile + "'",
                                 calls.size() == 1 ? "No locks available" : "Input/output error"});
        CHECK(launcher.status == 1);
        CHECK(daemon.written() == "4711\n");
        CHECK(same_file_state(before, stat_of(daemon.pidfile)));
        CHECK_FALSE(exists(daemon.log));  // step 5 comes behind the lock
    }
}

TEST_CASE("E3 P5 a number that was written in part only is an error, and the file goes") {
    SKIP_UNLESS(has_tool("prlimit"), "needs prlimit");
    const Daemon daemon;
    check_failed(daemon, run(Strings{"prlimit", "--fsize=2"} + daemon.words("start")), 1,
                 {"cannot write '" + daemon.pidfile + "'", "File too large"});
}

TEST_CASE("E3 no descriptor is to be had: each step says so, and leaves nothing") {
    SKIP_UNLESS(!sanitized(), "a sanitizer needs descriptors of its own");
    const Victim daemon;
    const struct {
        std::string most, stream, pidfile, expected;
    } all[] = {
        {"3", "null", "", "cannot open '/dev/null'"},
        {"3", "null", "d.pid", "d.pid'"},
        {"4", "fd:1", "", "cannot copy descriptor 1"},
        {"4", "null", "d.pid", "d.pid'"},
        {"5", "null", "d.pid", "cannot open '/dev/null'"},
        {"6", "null", "d.pid", "cannot make the readiness channel"},
        {"7", "null", "d.pid", "cannot make the readiness channel"},
        {"8", "null", "d.pid", "cannot make the readiness channel"},  // the leader's
    };
    for (const auto& one : all) {
        INFO("descriptors below ", one.most, ", PID file: ", one.pidfile);
        Launch launch({program("victim"), "pidfile=" + (one.pidfile.empty() ? "" : daemon.pidfile),
                       "stdout=" + one.stream, "nofile=" + one.most, "open", "wait"});
        check_failed(daemon, run(launch), 1, {one.expected, "Too many open files"});
        CHECK(daemon.dir.names().empty());
    }
}

TEST_CASE("E3 an account database that cannot be read is not taken for one without the name") {
    const Victim daemon;
    const Outcome user = daemon.start({"nofile=3", "user=daemon", "open", "wait"});
    check_failed(daemon, user, 1, {"cannot look up user 'daemon'", "Too many open files"});
    const Outcome group = daemon.start({"nofile=3", "group=daemon", "open", "wait"});
    check_failed(daemon, group, 1, {"cannot look up group 'daemon'", "Too many open files"});
    CHECK(daemon.dir.names().empty());
}

TEST_CASE(
    "E3 S5 a relative path from a directory that is gone: the option is named, nothing done") {
    const Victim daemon;
    for (const std::string option : {"pidfile", "chroot", "chdir", "stdout"}) {
        INFO(option);
        const std::string gone = daemon.dir.directory("gone", 0777);
        Launch launch(daemon.launch({option + "=somewhere", "open", "wait"}));
        launch.argv.insert(launch.argv.begin() + 1, "pidfile=");
        launch.argv.erase(launch.argv.begin() + 2);
        launch.directory = gone;
        launch.before_exec = [gone] { rmdir(gone.c_str()); };
        check_failed(daemon, run(launch), 1,
                     {"cannot make absolute 'somewhere'", "No such file or directory"});
        CHECK(daemon.dir.names().empty());
    }
}

TEST_CASE("S5 a relative path from / and from a directory of more than a thousand letters") {
    const Victim daemon;
    std::string deep = daemon.dir.path();
    for (int i = 0; i < 6; ++i) {
        deep += "/" + std::string(200, static_cast<char>('a' + i));
        REQUIRE(mkdir(deep.c_str(), 0755) == 0);
    }
    for (const std::string& directory : {std::string("/"), deep}) {
        const std::string relative =
            directory == "/" ? daemon.pidfile.substr(1) : std::string("deep.pid");
        const std::string absolute = directory == "/" ? daemon.pidfile : deep + "/deep.pid";
        Launch launch({program("victim"), "pidfile=" + relative, "open", "wait"});
        launch.directory = directory;
        const Outcome launcher = run(launch);
        INFO(launcher.text());
        CHECK(launcher.status == 0);
        const pid_t pid = static_cast<pid_t>(to_long(slurp(absolute)));
        REQUIRE(pid > 1);
        CHECK(is_locked(absolute));
        send_signal(pid, SIGTERM);
        CHECK(ended(pid) == 128 + SIGTERM);
        CHECK_FALSE(exists(absolute));
    }
}

TEST_CASE("Bad input: a standard input that is to be truncated, or is a directory") {
    const Victim daemon;
    const std::string input = daemon.dir.file("input", "kept\n");
    check_failed(daemon, daemon.start({"stdin=truncate:" + input, "open", "wait"}), 1,
                 {"standard_input", "it cannot be truncated"});
    CHECK(slurp(input) == "kept\n");
    const std::string place = daemon.dir.directory("open", 0777);
    Launch launch(
        {program("victim"), "pidfile=" + place + "/d.pid", "stdin=" + place, "open", "wait"});
    if (is_root()) launch.before_exec = become_nobody;
    const Outcome launcher = run(launch);
    check_refused(launcher, {"cannot open '" + place + "'", "Is a directory"}, "victim");
    CHECK(Scratch::names(place).empty());
}

TEST_CASE(
    "S16 a foreground start that fails by hand: the text on its stderr, its status, no file") {
    const Victim daemon;
    const Outcome front = daemon.start({"detach=no", "by-hand=1", "open", "fail=no such port,7"});
    check_failed(daemon, front, 7, {"no such port"});
}

TEST_CASE("S3 fail() before any start: the text on stderr, its status, and nothing is touched") {
    const Victim daemon;
    daemon.dir.file("d.pid", "4711\n");
    const Outcome failed = daemon.start({"fail=not today,3"});
    check_refused(failed, {"not today"}, "victim");
    CHECK(failed.status == 3);
    CHECK(daemon.written() == "4711\n");
    CHECK(daemon.dir.names() == Strings{"d.pid"});
}

TEST_CASE("S13 a launcher killed between the daemon's ready and its own end leaves it running") {
    NEEDS_STRACE();
    SKIP_UNLESS(!sanitized(), "no ptrace beside a sanitizer's");
    const Victim daemon;
    // The launcher alone is traced: with the verdict read, its last call takes very long.
    const Strings held = {"strace", "-qq",
                          "-o",     "/dev/null",
                          "-e",     "trace=exit_group",
                          "-e",     "inject=exit_group:delay_enter=20000000"};
    Running launcher(Launch(held + daemon.words("", {"open", "say=past ready", "wait"})));
    REQUIRE(daemon.logs("past ready"));
    const pid_t pid = daemon.pid();
    pid_t traced = 0;
    for (const pid_t one : descendants())
        if (facts(one).parent == launcher.pid() && one != pid) traced = one;
    REQUIRE(traced > 1);
    REQUIRE(eventually([&] { return facts(traced).state == 't'; }));  // held
    // strace would collect the launcher's end if it ran, and would let nobody go before its time:
    // it is stopped first, and the status is ours to learn only when strace has ended.
    launcher.signal(SIGSTOP);
    REQUIRE(eventually([&] { return facts(launcher.pid()).state == 'T'; }));
    send_signal(traced, SIGKILL);
    launcher.signal(SIGKILL);
    launcher.finish();
    CHECK(ended(traced) == 128 + SIGKILL);
    CHECK(alive(pid));
    CHECK(is_locked(daemon.pidfile));
    CHECK(contains(victim({"status=" + daemon.pidfile}).out, "state=0 pid=" + std::to_string(pid)));
    check_ends(daemon, 128 + SIGTERM);
}

TEST_CASE("E3 a signal that interrupts a system call of a start changes nothing") {
    NEEDS_STRACE();
    SKIP_UNLESS(!sanitized(), "no ptrace beside a sanitizer's");
    for (const std::string call : {"flock", "recvfrom", "waitid", "wait4", "sendto", "pwrite64"}) {
        INFO(call);
        const Daemon daemon;
        Strings command = injected(call, "error=EINTR:when=1");
        // These are the daemon's; strace then lives as long as that.
        const bool all = call == "sendto" || call == "pwrite64";
        if (!all) command.erase(command.begin() + 1);
        Running launcher(Launch(command + daemon.words("start")));
        CHECK(launcher.says("started as process "));
        REQUIRE(daemon.pid() > 1);
        CHECK(is_locked(daemon.pidfile));
        CHECK(daemon.verb("status").status == 0);
        CHECK(daemon.verb("stop").status == 0);
        const Outcome ended = launcher.finish();
        INFO(ended.text());
        CHECK(ended.status == 0);
        CHECK(ended.err == "");
        CHECK_FALSE(exists(daemon.pidfile));
    }
}

// ---- The PID file and who holds it --------------------------------------------------------------

TEST_CASE("G7 C3 a file that is held, but in which stands no PID: nobody is signalled, and why") {
    const Victim daemon;
    check_started(daemon, daemon.start({"open", "wait"}));
    const pid_t pid = daemon.pid();
    const Descriptor file = open_file(daemon.pidfile, O_WRONLY | O_TRUNC);
    REQUIRE(write(file.get(), "abc", 3) == 3);
    const Outcome sent = victim({"send=" + daemon.pidfile + ",15", "stop=" + daemon.pidfile});
    INFO(sent.text());
    const std::string why = "locked, but it holds 'abc', no PID";
    CHECK(contains(sent.out, "sent=0 error=invalid_pid_file"));
    CHECK(contains(sent.out, "stopped=failed error=invalid_pid_file"));
    CHECK(count(sent.out, "'" + daemon.pidfile + "': " + why) == 2);
    const Outcome status = victim({"status=" + daemon.pidfile});
    INFO(status.text());
    CHECK(contains(status.out, "state=4 pid=0"));
    CHECK(contains(status.out, why));
    const Daemon another;
    const Outcome second = command({program("subject"), "start", "--pidfile", daemon.pidfile});
    INFO(second.text());
    CHECK(second.status == 1);
    CHECK(lines(second.err).size() == 1);
    CHECK(contains(second.err, "cannot lock '" + daemon.pidfile + "': " + why));
    CHECK(daemon.written() == "abc");
    CHECK(alive(pid));
}

TEST_CASE(
    "C3 a file that nobody holds, with no PID in it, is a dead daemon's: 1, and what it holds") {
    const Victim daemon;
    daemon.dir.file("d.pid", "abc\n");
    const Outcome status = victim({"status=" + daemon.pidfile});
    INFO(status.text());
    CHECK(contains(status.out, "state=1 pid=0 "));
    CHECK(contains(status.out,
                   "dead: nobody holds '" + daemon.pidfile + "', and it holds 'abc', no PID\n"));
    CHECK(daemon.written() == "abc\n");
}

TEST_CASE("P2 C3 a daemon outside one's PID namespace: refused, and said why") {
    NEEDS_MOUNTS();
    SKIP_UNLESS(!generic(), "no record lock");
    const Victim daemon;
    check_started(daemon, daemon.start({"open", "wait"}));
    const struct stat before = stat_of(daemon.pidfile);
    const Strings inside = {"unshare", "-p", "-f", "--mount-proc"};
    const Outcome status = run(inside + Strings{program("victim"), "status=" + daemon.pidfile});
    INFO(status.text());
    CHECK(contains(status.out, "state=4 pid=0"));
    CHECK(contains(status.out, "its daemon lives in another PID namespace"));
    const Outcome second =
        run(inside + Strings{program("subject"), "start", "--pidfile", daemon.pidfile});
    INFO(second.text());
    CHECK(second.status == 1);
    CHECK(lines(second.err).size() == 1);
    CHECK(contains(second.err, "cannot lock '" + daemon.pidfile + "'"));
    CHECK(contains(second.err, "its daemon lives in another PID namespace"));
    CHECK(same_file_state(before, stat_of(daemon.pidfile)));
    CHECK(alive(daemon.pid()));
}

TEST_CASE("P2 a reader that holds both locks is named by its number") {
    SKIP_UNLESS(!generic(), "no record lock");
    const Daemon daemon;
    daemon.dir.file("d.pid", "4711\n");
    const Descriptor reader = open_file(daemon.pidfile, O_RDONLY);
    REQUIRE(lock(reader, true));
    struct flock byte;
    std::memset(&byte, 0, sizeof byte);
    byte.l_type = F_RDLCK;
    byte.l_whence = SEEK_SET;
    byte.l_start = 0x40000000;
    byte.l_len = 1;
    REQUIRE(fcntl(reader.get(), F_SETLK, &byte) == 0);
    const Outcome launcher = daemon.start();
    check_refused(launcher, {"cannot lock '" + daemon.pidfile + "'",
                             "a reader, process " + std::to_string(getpid()) + ", holds the lock"});
    CHECK(daemon.written() == "4711\n");
}

TEST_CASE("C3 a holder that is gone each time it is opened: it cannot be told, after a second") {
    SKIP_UNLESS(!generic(), "no pidfd");
    NEEDS_DENY();
    const Victim daemon;
    check_started(daemon, daemon.start({"open", "wait"}));
    const Outcome status =
        run(denied({"pidfd_open:3"}, {program("victim"), "status=" + daemon.pidfile}));
    INFO(status.text());
    CHECK(contains(status.out, "state=4 pid=0"));
    CHECK(contains(status.out,
                   "cannot open process " + std::to_string(daemon.pid()) + ": not running"));
    CHECK(alive(daemon.pid()));
}

TEST_CASE("G7 P6 without /proc root signals nobody through a PID file that is another user's") {
    NEEDS_MOUNTS();
    SKIP_UNLESS(!generic(), "where nothing ever tells, root signals as the file's owner");
    const Victim daemon;
    const std::string place = daemon.dir.directory("open", 0777), path = place + "/d.pid";
    Launch launch({program("victim"), "pidfile=" + path, "open", "wait"});
    launch.before_exec = become_nobody;
    REQUIRE(run(launch).status == 0);
    const pid_t pid = static_cast<pid_t>(to_long(slurp(path)));
    REQUIRE(pid > 1);
    Launch blind(
        {"unshare", "-m", "sh", "-c", "mount -t tmpfs none /proc && exec $V send=$P,15 stop=$P"});
    blind.environment = {{"V", program("victim")}, {"P", path}};
    without_leak_check(blind);
    const Outcome said = run(blind);
    INFO(said.text());
    CHECK(contains(said.out, "sent=0 error=untrusted_pid_file"));
    CHECK(contains(said.out, "stopped=failed error=untrusted_pid_file"));
    CHECK(count(said.out, "cannot signal process " + std::to_string(pid)) == 2);
    CHECK(count(said.out, "without /proc nothing tells") == 2);
    CHECK(alive(pid));
}

TEST_CASE("G7 without /proc and without a pidfd the proven holder is reached by its number") {
    NEEDS_MOUNTS();
    NEEDS_DENY();
    const Daemon daemon;
    check_started(daemon, daemon.start());
    REQUIRE(waits_for_signals(daemon.pid()));
    const auto ask = [&](const std::string& word) {
        Launch blind({"unshare", "-m", "sh", "-c",
                      "mount -t tmpfs none /proc && exec $N pidfd_open:ENOSYS "
                      "pidfd_send_signal:ENOSYS -- $V " +
                          word});
        blind.environment = {{"N", program("deny")}, {"V", program("victim")}};
        without_leak_check(blind);
        return run(blind).out;
    };
    CHECK(contains(ask("send=" + daemon.pidfile + ",10"), "sent=1 error=none"));
    CHECK(daemon.logs("usr1\n"));
    CHECK(contains(ask("stop=" + daemon.pidfile), "stopped=ended error=none"));
    CHECK_FALSE(exists(daemon.pidfile));
}

TEST_CASE("Bad input: an empty path and one with a zero byte, for each call that takes one") {
    const struct {
        std::string word, why;
    } all[] = {{"ask-empty-path", "it is empty"}, {"ask-path-nul", "it holds a zero byte"}};
    for (const auto& one : all) {
        const Outcome said = victim({one.word});
        INFO(said.text());
        const std::string why = "cannot use option pidfile: " + one.why;
        CHECK(contains(said.out, "status text=" + why));
        CHECK(contains(said.out, "send=0 error=invalid_option text=" + why));
        CHECK(contains(said.out, "stop=3 error=invalid_option text=" + why));
        CHECK(contains(said.out, "read=0 error=invalid_option text=" + why));
        CHECK(contains(said.out, "acquire=0 error=invalid_option text=" + why));
    }
}

TEST_CASE("E3 a PID file that cannot be read: the cause, and no number") {
    const struct {
        std::string path, cause;
    } all[] = {{"/etc/passwd/x", "Not a directory"}, {"/proc/self/mem", "Input/output error"}};
    for (const auto& one : all) {
        const Outcome said = victim({"read=" + one.path, "status=" + one.path});
        INFO(said.text());
        CHECK(contains(said.out, "read=0 error=errno:"));
        CHECK(contains(said.out, "state=4 pid=0"));
        CHECK(count(said.out, "cannot read '" + one.path + "': " + one.cause) == 2);
    }
    const Outcome device = victim({"status=/dev/null"});
    INFO(device.text());
    CHECK(contains(device.out, "state=4 pid=0"));
    CHECK(contains(device.out, "'/dev/null': it is no regular file"));
}

TEST_CASE("E3 a PID file that is replaced between the look at it and its opening is not followed") {
    NEEDS_DENY();
    const Scratch dir;
    const std::string path = dir.file("d.pid", "4711\n");
    const std::string reads =
        std::to_string(O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY) + ":2";
    const Strings ask = {program("victim"), "status=" + path, "send=" + path + ",10"};
    const Outcome gone = run(denied({"openat:" + std::to_string(ENOENT) + ":" + reads}, ask));
    INFO(gone.text());
    CHECK(contains(gone.out, "state=3 pid=0 uptime=0 text=not running\n"));
    CHECK(contains(gone.out, "sent=0 error=not_running"));
    const Outcome link = run(denied({"openat:" + std::to_string(ELOOP) + ":" + reads}, ask));
    INFO(link.text());
    CHECK(contains(link.out, "state=4 pid=0"));
    CHECK(contains(link.out, "sent=0 error=untrusted_pid_file"));
    CHECK(count(link.out, "'" + path + "': it is a symbolic link") == 2);
}

TEST_CASE("P6 a mode of the file by which others could write it is refused, and no file made") {
    const Scratch dir;
    const Outcome said = victim({"acquire=" + (dir / "p.pid") + ",0,666"});
    INFO(said.text());
    CHECK(contains(said.out, "acquired=0 held=0"));
    CHECK(contains(said.out, "error=invalid_option text=cannot use option mode"));
    CHECK(dir.names().empty());
}

TEST_CASE(
    "P6 root follows nobody's symbolic link to a PID file, not even into a place of its own") {
    NEEDS_ROOT();
    const Victim daemon;
    const std::string roots = daemon.dir.directory("roots"), link = daemon.dir / "link";
    REQUIRE(symlink(roots.c_str(), link.c_str()) == 0);
    const std::string path = link + "/d.pid";
    check_started(daemon, daemon.start({"open", "wait"}));
    check_ends(daemon, 128 + SIGTERM);
    // Root's own link is followed,
    const Outcome own = victim({"pidfile=" + path, "open", "wait"});
    CHECK(own.status == 0);
    const pid_t pid = static_cast<pid_t>(to_long(slurp(roots + "/d.pid")));
    REQUIRE(pid > 1);
    send_signal(pid, SIGTERM);
    CHECK(ended(pid) == 128 + SIGTERM);
    // somebody else's is not.
    REQUIRE(lchown(link.c_str(), nobody, nobody) == 0);
    const Outcome refused = victim({"pidfile=" + path, "open", "wait"});
    check_refused(refused,
                  {"cannot lock '" + path + "'", "a symbolic link of another user leads there"},
                  "victim");
    CHECK(refused.status == 1);
    CHECK(Scratch::names(roots).empty());
    daemon.dir.file("roots/d.pid", "4711\n");
    CHECK(victim({"pidfile=" + path, "open", "wait"}).status == 1);
    CHECK(slurp(roots + "/d.pid") == "4711\n");
}

TEST_CASE("P7 what else a program had locked before its start is not locked by the daemon") {
    const Victim daemon;
    const std::string other = daemon.dir / "other.pid", file = daemon.dir.file("file", "");
    check_started(daemon, daemon.start({"core=1", "alone-or-fail=" + other, "open",
                                        "open-file=" + file, "alone-no-more", "say=done", "wait"}));
    REQUIRE(daemon.logs("done"));
    CHECK_FALSE(is_locked(other));
    if (!generic()) CHECK(record_owner(other) == 0);
    // What is opened now has the number that the lock had: no end of that lock may close it.
    int still_open = 0;
    for (const auto& open : descriptors(daemon.pid())) {
        CHECK(open.second != other);
        still_open += open.second == file;
    }
    CHECK(still_open == 1);
}

TEST_CASE("P8 a PidFile that was moved: held by one object, and once") {
    const Scratch dir;
    const std::string path = dir / "p.pid";
    const Outcome said = victim({"move-pidfile=" + path, "acquire=" + path + ",0"});
    INFO(said.text());
    CHECK(contains(said.out, "first-held=0 path=\n"));
    CHECK(contains(said.out, "moved-held=1 path=" + path + "\n"));
    CHECK(contains(said.out, "again=1\n"));
    CHECK(contains(said.out, "empty-acquire=0 error=invalid_option text="));
    CHECK(contains(said.out, "empty-read=0 error=invalid_option text="));
    CHECK(count(said.out, "the object was moved from") == 2);
    CHECK(contains(said.out, "second-held=1 path=" + path + "\n"));
    CHECK(contains(said.out, "acquired=1"));  // their end has freed it
    CHECK(dir.names().empty());
}

TEST_CASE("P8 acquire that cannot write its number leaves no file") {
    NEEDS_DENY();
    const Scratch dir;
    const std::string path = dir / "p.pid";
    const Outcome said =
        run(denied({"pwrite64:ENOSPC"}, {program("victim"), "acquire=" + path + ",0"}));
    INFO(said.text());
    CHECK(contains(said.out, "acquired=0 held=0"));
    CHECK(contains(said.out, "error=errno:28 text=cannot write '" + path + "'"));
    CHECK(dir.names().empty());
}

TEST_CASE("P9 a state directory that cannot be used: which, and why") {
    const Scratch dir;
    const std::string name = "daemonize-test";
    const std::string closed = dir.directory("closed", 0), file = dir.file("file", "", 0600);
    const std::string shared = dir.directory("shared"), taken = dir.directory("taken");
    dir.directory("shared/" + name, 0770);
    dir.file("taken/" + name, "", 0600);
    if (is_root()) {
        for (const std::string& path :
             {closed, file, shared, shared + "/" + name, taken, taken + "/" + name})
            REQUIRE(chown(path.c_str(), nobody, nobody) == 0);
    }
    const std::string not_alone = "': it is not this user's alone";
    const struct {
        std::string state, expected;
    } all[] = {{"/dev/null/x", "cannot make directory '/dev/null/x': Not a directory"},
               {closed + "/x", "cannot make directory '" + closed + "/x': Permission denied"},
               {file, "cannot make directory '" + file + "/" + name + "': Not a directory"},
               {shared, "cannot use directory '" + shared + "/" + name + not_alone},
               {taken, "cannot use directory '" + taken + "/" + name + not_alone}};
    for (const auto& one : all) {
        Launch launch({program("victim"), "default=" + name});
        launch.environment = {{"XDG_STATE_HOME", one.state}};
        if (is_root()) launch.before_exec = become_nobody;
        const Outcome said = run(launch);
        INFO(said.text());
        CHECK(contains(said.out, "default= error="));
        CHECK(contains(said.out, "text=" + one.expected));
    }
}

TEST_CASE("P9 what is above the program's directory may be the group's; that one is ours, 0700") {
    const Scratch dir;
    const std::string shared = dir.directory("shared", 0775), made = shared + "/daemonize-test";
    if (is_root()) REQUIRE(chown(shared.c_str(), nobody, nobody) == 0);
    Launch launch({program("victim"), "default=daemonize-test"});
    launch.environment = {{"XDG_STATE_HOME", shared}};
    if (is_root()) launch.before_exec = become_nobody;
    const Outcome said = run(launch);
    INFO(said.text());
    CHECK(contains(said.out, "default=" + made + "/daemonize-test.pid error=none"));
    CHECK((stat_of(made).st_mode & 07777) == 0700);
}

TEST_CASE("P9 who has neither HOME nor a passwd entry is asked for XDG_STATE_HOME") {
    NEEDS_ROOT();
    const Scratch dir;
    Launch launch({program("victim"), "default=daemonize-test"});
    launch.environment = {{"XDG_STATE_HOME", "-"}, {"HOME", "-"}};
    launch.before_exec = [] { become(61234, 61234); };
    const Outcome said = run(launch);
    INFO(said.text());
    CHECK(contains(said.out, "default= error=unknown_account"));
    CHECK(contains(said.out, "this user has no passwd entry; set XDG_STATE_HOME"));
    const std::string home = dir.directory("home");
    REQUIRE(chown(home.c_str(), 61234, 61234) == 0);
    launch.environment[1].second = home;
    CHECK(contains(run(launch).out, "default=" + home +
                                        "/.local/state/daemonize-test/daemonize-test.pid "
                                        "error=none"));
}

TEST_CASE("P9 where there is no /run, root's default is /var/run") {
    NEEDS_MOUNTS();
    const Scratch dir;
    const std::string root = dir.directory("root");
    // A system of bind mounts in which nobody has made a /run.
    Launch launch({"unshare", "-m", "sh", "-c",
                   "for d in usr lib lib32 lib64 bin; do [ -e /$d ] || continue; mkdir $R/$d && "
                   "mount --bind /$d $R/$d || exit 9; done; mkdir $R/b && mount --bind $B $R/b && "
                   "exec chroot $R /b/victim default=daemonize-test"});
    launch.environment = {{"R", root}, {"B", replaced(program("victim"), "/victim", "")}};
    without_leak_check(launch);
    const Outcome said = run(launch);
    INFO(said.text());
    CHECK(contains(said.out, "default=/var/run/daemonize-test.pid error=none"));
}

// ---- Accounts, jails, logs ----------------------------------------------------------------------

TEST_CASE("Step 10 where /proc does not tell which descriptors are open, those are closed") {
    SKIP_UNLESS(!sanitized(), "a sanitizer needs /proc");
    NEEDS_MOUNTS();
    NEEDS_DENY();
    for (const std::string which : {"inherited", "all"}) {
        INFO(which);
        const Victim daemon;
        Launch launch({"unshare", "-m", "sh", "-c",
                       "mount -t tmpfs none /proc && "
                       "exec $N close_range:ENOSYS -- $V pidfile=$D/d.pid stdout=$D/d.log "
                       "close-fds=$W preserve=12 open explain wait"});
        launch.environment = {{"D", daemon.dir.path()},
                              {"N", program("deny")},
                              {"V", program("victim")},
                              {"W", which}};
        launch.before_exec = [] {
            for (const int number : {5, 12, 40, 500}) dup2(0, number);
        };
        without_leak_check(launch);
        check_started(daemon, run(launch));
        CHECK(daemon.logs("other descriptors closed: those below min(limit, 65536)"));
        // 0, 1, 2, the lock, its directory, the preserved one
        CHECK(eventually([&] { return descriptors(daemon.pid()).size() == 6; }));
        CHECK(descriptors(daemon.pid()).count(12) == 1);
    }
}

TEST_CASE("Step 14 a user of a hundred groups, whose passwd entry is longer than a page's third") {
    NEEDS_MOUNTS();
    const Victim daemon;
    std::string groups;
    for (int gid = 7001; gid <= 7100; ++gid)
        groups += "g" + std::to_string(gid) + ":x:" + std::to_string(gid) + ":many\n";
    daemon.dir.file("group", groups);
    daemon.dir.file("passwd", "root:x:0:0::/:/bin/sh\nmany:x:7000:7000:" + std::string(1500, 'x') +
                                  ":/nowhere:/bin/sh\n");
    Launch launch({"unshare", "-m", "sh", "-c",
                   "mount --bind $D/passwd /etc/passwd && mount --bind $D/group /etc/group && "
                   "exec $V pidfile=$D/d.pid user=many open wait"});
    launch.environment = {{"D", daemon.dir.path()}, {"V", program("victim")}};
    check_started(daemon, run(launch));
    const Facts seen = facts(daemon.pid());
    CHECK(seen.uids == std::vector<long>(4, 7000));
    CHECK(seen.groups.size() == 101);
    CHECK(seen.groups.front() == 7000);
    CHECK(seen.groups.back() == 7100);
}

TEST_CASE(
    "Step 14 a user of more groups than any system takes is refused before anything is touched") {
    NEEDS_MOUNTS();
    const Victim daemon;
    std::string groups;
    for (int gid = 100000; gid < 170000; ++gid)
        groups += "g" + std::to_string(gid) + ":x:" + std::to_string(gid) + ":many\n";
    daemon.dir.file("group", groups);
    daemon.dir.file("passwd", "root:x:0:0::/:/bin/sh\nmany:x:7000:7000::/:/bin/sh\n");
    Launch launch({"unshare", "-m", "sh", "-c",
                   "mount --bind $D/passwd /etc/passwd && mount --bind $D/group /etc/group && "
                   "exec $V pidfile=$D/d.pid stdout=$D/d.log user=many open wait"});
    launch.environment = {{"D", daemon.dir.path()}, {"V", program("victim")}};
    check_failed(daemon, run(launch), 1, {"cannot list groups of user 'many'", "too many"});
    CHECK_FALSE(exists(daemon.log));
}

TEST_CASE("Step 14 a relative working directory is one inside the jail") {
    NEEDS_ROOT();
    const Victim daemon;
    const std::string jail = daemon.dir.directory("jail");
    daemon.dir.directory("jail/work");
    check_started(daemon, daemon.start({"chroot=" + jail, "chdir=work", "open", "wait"}));
    CHECK(link_of(daemon.pid(), "cwd") == jail + "/work");
}

TEST_CASE("Step 11 where a core was forbidden already, and nothing may be raised, it stays so") {
    const Victim daemon;
    const std::string place = daemon.dir.directory("open", 0777);
    Launch launch({program("victim"), "pidfile=" + place + "/u.pid", "open", "wait"});
    launch.before_exec = [] {
        const rlimit none = {0, 0};
        if (setrlimit(RLIMIT_CORE, &none) != 0) _exit(123);
        if (getuid() == 0) become_nobody();
    };
    const Outcome launcher = run(launch);
    INFO(launcher.text());
    REQUIRE(launcher.status == 0);
    const pid_t pid = static_cast<pid_t>(to_long(slurp(place + "/u.pid")));
    REQUIRE(pid > 1);
    CHECK(limit_of(pid, "Max core file size") == "0 0");
    send_signal(pid, SIGTERM);
    CHECK(ended(pid) == 128 + SIGTERM);
}

TEST_CASE("L1 the way to a log is walked link by link: whose it is decides who opens it") {
    NEEDS_ROOT();
    const Victim daemon;
    const std::string loop = daemon.dir / "loop", link = daemon.dir / "link";
    const std::string roots = daemon.dir.directory("roots"),
                      secret = daemon.dir.file("secret", "s");
    const std::string nobodys = daemon.dir.directory("nobodys"), onto = daemon.dir / "onto";
    REQUIRE(chmod(secret.c_str(), 0600) == 0);
    REQUIRE(chown(nobodys.c_str(), nobody, nobody) == 0);
    REQUIRE(symlink("loop", loop.c_str()) == 0);
    REQUIRE(symlink(nobodys.c_str(), link.c_str()) == 0);  // both absolute
    REQUIRE(symlink(roots.c_str(), onto.c_str()) == 0);
    REQUIRE(symlink(secret.c_str(), (nobodys + "/log").c_str()) == 0);
    const struct {
        std::string log, cause;
    } all[] = {{"/no/such/place/log", "No such file or directory"},
               {loop + "/x", "Too many levels of symbolic links"},
               {link + "/log", "Permission denied"}};  // opened by nobody, not refused as root's
    for (const auto& one : all) {
        INFO(one.log);
        check_failed(
            daemon,
            daemon.start({"user=nobody", "stdout=" + one.log, "stderr=null", "open", "wait"}), 1,
            {"cannot open '" + one.log + "'", one.cause});
        CHECK(slurp(secret) == "s");
    }
    // Into root's own directory, where nobody could not make a file.
    check_started(daemon, daemon.start({"user=nobody", "stdout=" + onto + "/log", "stderr=null",
                                        "open", "wait"}));
    CHECK(stat_of(roots + "/log").st_uid == nobody);  // L2
}

TEST_CASE("L4 a log outside the jail cannot be opened anew: said so, and the old one stays") {
    NEEDS_ROOT();
    const Victim daemon;
    const std::string jail = daemon.dir.directory("jail");
    check_started(daemon,
                  daemon.start({"chroot=" + jail, "open", "reopen", "say=goes on", "wait"}));
    REQUIRE(daemon.logs("goes on"));
    CHECK(contains(slurp(daemon.log), "reopened=0 error=unsupported"));
    CHECK(contains(slurp(daemon.log), "'" + daemon.log + "': it is outside chroot_directory"));
}

TEST_CASE("L4 before the start there is nothing to open anew, and nothing is touched") {
    const Victim daemon;
    const Outcome said = daemon.start({"reopen"});
    INFO(said.text());
    CHECK(contains(said.out, "reopened=1 error=none"));
    CHECK(daemon.dir.names().empty());
}

// ---- The throwing forms -------------------------------------------------------------------------

TEST_CASE("E1 each throwing form throws the code and the text of its other form") {
    const struct {
        std::string form, thrown, code;
    } all[] = {
        {"acquire=/no/such/d.pid,0", "acquire-or-throw=/no/such/d.pid", "errno:2"},
        {"read=/no/such/d.pid", "read-or-throw=/no/such/d.pid", "errno:2"},
        {"read=/dev/null", "read-or-throw=/dev/null", "untrusted_pid_file"},
        {"default=a/b", "default-or-throw=a/b", "invalid_option"},
        {"default=.", "default-or-throw=.", "invalid_option"},
        {"default=..", "default-or-throw=..", "invalid_option"},
        {"send=/dev/null,15", "send-or-throw=/dev/null", "untrusted_pid_file"},
        {"send=/no/such/d.pid,15", "send-or-throw=/no/such/d.pid", "not_running"},
        {"stop=/dev/null,0", "stop-or-throw=/dev/null", "untrusted_pid_file"},
    };
    for (const auto& one : all) {
        INFO(one.thrown);
        const Outcome kept = victim({one.form}), thrown = victim({"catch", one.thrown});
        INFO(kept.text(), thrown.text());
        const std::string code = "error=" + one.code + " text=";
        REQUIRE(contains(kept.out, code));
        const std::string text = kept.out.substr(kept.out.find(code) + code.size());
        const std::string line = text.substr(0, text.find('\n'));
        CHECK(thrown.out == "caught=" + one.code + " what=" + line + "\n");
        CHECK(thrown.status == 3);
        CHECK(kept.err + thrown.err == "");
    }
    const Outcome on = victim({"catch", "on-or-throw=9"});
    INFO(on.text());
    CHECK(contains(on.out, "caught=unknown_signal what=cannot handle SIGKILL"));
    CHECK(on.status == 3);
}

TEST_CASE("E1 the throwing forms do the work of the others") {
    const Victim daemon;
    const Outcome said =
        victim({"acquire-or-throw=" + daemon.pidfile, "stop-or-throw=" + daemon.pidfile,
                "on-or-throw=10", "reopen-or-throw"});
    INFO(said.text());
    CHECK(said.out == "stopped=0\n");
    CHECK(daemon.dir.names().empty());  // acquired, and released
    check_started(daemon, daemon.start({"open", "wait"}));
    const std::string number = std::to_string(daemon.pid());
    const pid_t pid = daemon.pid();
    CHECK(victim({"read-or-throw=" + daemon.pidfile}).out == "read=" + number + "\n");
    CHECK(contains(victim({"catch", "acquire-or-throw=" + daemon.pidfile}).out,
                   "caught=already_running what=cannot lock '" + daemon.pidfile +
                       "': already running as process " + number));
    CHECK(victim({"send-or-throw=" + daemon.pidfile}).status == 0);
    CHECK(ended(pid) == 128 + SIGTERM);
    check_started(daemon, daemon.start({"open", "wait"}));
    CHECK(victim({"stop-or-throw=" + daemon.pidfile}).out == "stopped=1\n");
    CHECK_FALSE(exists(daemon.pidfile));
    if (is_root() && exists("/run"))
        CHECK(victim({"default-or-throw=daemonize-test"}).out ==
              "default=/run/daemonize-test.pid\n");
}

TEST_CASE("E1 L4 reopen_streams() throws what its other form says, and keeps the old file") {
    SKIP_UNLESS(!sanitized(), "a sanitizer needs descriptors of its own");
    const Victim daemon;
    const Outcome launcher =
        daemon.start({"open", "nofile=3", "reopen", "catch", "reopen-or-throw"});
    CHECK(launcher.status == 0);
    CHECK(launcher.err == "");
    REQUIRE(daemon.logs("caught="));
    const std::string text = slurp(daemon.log);
    INFO(text);
    const std::string why = "cannot open '" + daemon.log + "': Too many open files\n";
    CHECK(contains(text, "reopened=0 error=errno:24 text=" + why));
    CHECK(contains(text, "caught=errno:24 what=" + why));
}

TEST_CASE("E1 E3 SignalHandler::start() without a pipe: an error in both forms, nothing taken") {
    SKIP_UNLESS(!sanitized(), "a sanitizer makes pipes of its own");
    NEEDS_DENY();
    const Strings no_pipe = {"pipe2:EMFILE", "pipe:EMFILE"};
    const std::string why = "cannot make a pipe for signals: Too many open files\n";
    const Outcome kept =
        run(denied(no_pipe, {program("watcher"), "make", "dispositions", "start", "dispositions"}));
    INFO(kept.text());
    CHECK(contains(kept.out, "start=0 error=errno:24 text=" + why));
    const Strings all = lines(kept.out);
    REQUIRE(all.size() == 3);
    CHECK(all.front() == all.back());
    const Outcome thrown = run(denied(no_pipe, {program("victim"), "catch", "wait-term"}));
    INFO(thrown.text());
    CHECK(thrown.out == "caught=errno:24 what=" + why);
}

// ---- Signals ------------------------------------------------------------------------------------

TEST_CASE("E3 G5 a signal that cannot be taken: an error that names it, the others given back") {
    NEEDS_DENY();
    const Outcome said =
        run(denied({"rt_sigaction:EINVAL:15"},
                   {program("watcher"), "make", "dispositions", "start", "dispositions"}));
    INFO(said.text());
    const Strings all = lines(said.out);
    REQUIRE(all.size() >= 3);
    CHECK(all[1] == "start=0 error=errno:22 text=cannot handle SIGTERM: Invalid argument");
    CHECK(all[0] == all[2]);
}

TEST_CASE("E1 G1 a handler assigned later that cannot be set: the wait throws, and says which") {
    NEEDS_DENY();
    const Strings by = denied({"rt_sigaction:EINVAL:1"}, {program("watcher")});
    const std::string why = "caught=cannot handle SIGHUP: Invalid argument\n";
    const Outcome assigned = run(by + Strings{"start", "on=1:callback", "poll-caught"});
    INFO(assigned.text());
    CHECK(assigned.out == why);
    const Outcome by_callback =
        run(by + Strings{"on=10:set-reload", "start", "raise=10", "poll-caught"});
    INFO(by_callback.text());
    CHECK(by_callback.out == "assigned\n" + why);
}

TEST_CASE("G1 a plain function and SIG_DFL are handlers as a user of <csignal> writes them") {
    const Outcome called = watcher({"on=10:function", "start", "raise=10", "poll"});
    INFO(called.text());
    CHECK(contains(called.out, "function=10\ngot=0"));
    const Outcome ended = watcher({"on=10:sig-dfl", "start", "raise=10", "poll"});
    INFO(ended.text());
    CHECK(ended.status == 128 + SIGUSR1);
}

TEST_CASE("G1 on() for a signal that has a field is that field; the last word of a map counts") {
    const Outcome field = watcher({"on-itself=15:callback", "start", "raise=15", "poll"});
    INFO(field.text());
    CHECK(contains(field.out, "called=15 "));
    CHECK(contains(field.out, "got=0"));
    const Outcome again =
        watcher({"on-itself=15:callback", "on=15:report", "start", "raise=15", "poll"});
    INFO(again.text());
    CHECK(contains(again.out, "got=15"));
    const Outcome mapped =
        watcher({"map=10:report", "map=10:callback", "with-context", "start", "raise=10", "poll"});
    INFO(mapped.text());
    CHECK(contains(mapped.out, "called=10 "));
    CHECK(contains(mapped.out, "got=0"));
}

TEST_CASE("E3 a SignalHandler that cannot come along into the daemon fails the start") {
    SKIP_UNLESS(!sanitized(), "a sanitizer makes calls of its own, and looks for leaks by ptrace");
    NEEDS_DENY();
    NEEDS_STRACE();
    const Scratch dir;
    const std::string pidfile = dir / "d.pid";
    // The daemon's fourth: its three standard streams are looked at, then its own pipe is set up.
    // The launcher's fourth only asks whether a descriptor is open.
    const Outcome no_pipe =
        run(injected("fcntl", "error=EIO:when=4") +
            Strings{program("watcher"), "start", "pidfile=" + pidfile, "open", "until-term"});
    check_refused(no_pipe, {"cannot set up a pipe for signals", "Input/output error"}, "watcher");
    CHECK(no_pipe.status == 1);
    CHECK_FALSE(exists(pidfile));
    const Outcome no_flags =
        run(denied({"fcntl:EIO:" + std::to_string(F_SETFL) + ":1"}, {program("watcher"), "start"}));
    INFO(no_flags.text());
    CHECK(contains(no_flags.out, "start=0 error=errno:5 text=cannot set up a pipe for signals"));
    const Outcome no_room = watcher({"nofile=4", "start"});
    INFO(no_room.text());
    CHECK(contains(no_room.out, "start=0 error=errno:24 text=cannot make a pipe for signals"));
}

TEST_CASE(
    "S15 terminate is a function for sigaction(): the file goes, the signal ends the process") {
    const Victim daemon;
    check_started(daemon, daemon.start({"terminate-on=10", "open", "wait"}));
    const pid_t pid = daemon.pid();
    send_signal(pid, SIGUSR1);
    CHECK(ended(pid) == 128 + SIGUSR1);
    CHECK_FALSE(exists(daemon.pidfile));
    // Of a program that is no daemon it is the default action, and no file is anybody's.
    daemon.dir.file("d.pid", "4711\n");
    CHECK(daemon.start({"terminate-on=10", "raise=10"}).status == 128 + SIGUSR1);
    CHECK(daemon.written() == "4711\n");
}

TEST_CASE("D3 a context that was moved before the start starts with what the first one had") {
    const Victim daemon;
    check_started(daemon, daemon.start({"umask=77", "move-context", "open", "wait"}));
    CHECK(facts(daemon.pid()).umask == 077);
    CHECK(exists(daemon.log));
    check_ends(daemon, 128 + SIGTERM);
}

// ---- control() ----------------------------------------------------------------------------------

TEST_CASE("C6 what may not be asked is status 4, for each verb that asks") {
    const Daemon daemon;
    const std::string path = daemon.dir.directory("closed", 0) + "/d.pid";
    for (const char* verb : {"stop", "restart", "reload", "status"}) {
        INFO(verb);
        Launch launch({program("subject"), verb, "--pidfile", path});
        if (is_root()) launch.before_exec = become_nobody;
        const Outcome said = run(launch);
        INFO(said.text());
        CHECK(said.status == 4);
        CHECK(lines(said.out + said.err).size() == 1);
        CHECK(contains(said.out + said.err, "'" + path + "': Permission denied"));
        CHECK(descendants().empty());
    }
}

TEST_CASE("G3 an order to end before ready is a failed start with status 128+n") {
    const Victim daemon;
    const Outcome launcher = daemon.start({"control=start", "throw=signal"});
    check_failed(daemon, launcher, 128 + SIGTERM, {"ended by SIGTERM before it was ready"});
}

TEST_CASE("S3 an exception after ready: its text goes into the log, and the end is status 1") {
    const Victim daemon;
    // Its leader is gone by then, who would collect it.
    Launch launch = daemon.launch({"control=start", "ready", daemon.gate(), "throw=boom"});
    const Outcome launcher = run(launch);
    daemon.let_go();
    INFO(launcher.text());
    CHECK(launcher.status == 0);
    CHECK(launcher.err == "");
    const pid_t pid = static_cast<pid_t>(to_long(launcher.out.substr(
        launcher.out.find_last_of(' ') == std::string::npos ? 0
                                                            : launcher.out.find_last_of(' ') + 1)));
    REQUIRE(pid > 1);
    CHECK(ended(pid) == 1);
    CHECK(slurp(daemon.log) == "victim: boom\n");
    CHECK_FALSE(exists(daemon.pidfile));
}

TEST_CASE("C1 control() of a context that is open already runs the body, and ends it in order") {
    const Victim daemon;
    const Outcome launcher = daemon.start({"open", "control=start", "say=the body", "return=5"});
    INFO(launcher.text());
    CHECK(launcher.status == 0);
    CHECK(daemon.logs("the body"));
    CHECK(eventually([&] { return !exists(daemon.pidfile); }));
    CHECK(count(slurp(daemon.log), "the body") == 1);
}

TEST_CASE("C3 program_name is the name that control() uses") {
    const Victim daemon;
    const Outcome said = daemon.start({"name=ticker", "control=status"});
    INFO(said.text());
    CHECK(said.status == 3);
    CHECK(said.out == "ticker: not running\n");
}

TEST_CASE(
    "C5 a reload that cannot open a log anew says so in the old one, and the daemon goes on") {
    const Daemon daemon;
    const Outcome launcher = command({program("watcher"), "pidfile=" + daemon.pidfile,
                                      "stdout=" + daemon.log, "control=start", "with-context",
                                      "on=10:callback", "start", "ready", "until-term"});
    INFO(launcher.text());
    REQUIRE(launcher.status == 0);
    const pid_t pid = daemon.pid();
    const std::string old = daemon.dir / "old.log";
    REQUIRE(rename(daemon.log.c_str(), old.c_str()) == 0);
    REQUIRE(mkdir(daemon.log.c_str(), 0755) == 0);
    CHECK(daemon.verb("reload").status == 0);
    CHECK(eventually([&] {
        return contains(slurp(old), "cannot open '" + daemon.log + "': Is a directory\n");
    }));
    send_signal(pid, SIGUSR1);
    CHECK(eventually([&] { return contains(slurp(old), "called=10"); }));
    send_signal(pid, SIGTERM);
    CHECK(ended(pid) == 0);
    CHECK(Scratch::names(daemon.log).empty());
    CHECK_FALSE(exists(daemon.pidfile));
}

TEST_CASE("V2 C5 a SIGHUP of no closed terminal is a reload for `run` too: it goes on") {
    // Nor is a pipe whose other end has gone a terminal.
    int ends[2];
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    const Descriptor closed_pipe(ends[0]);
    close(ends[1]);
    for (const int input : {-1, closed_pipe.get()}) {
        Launch launch({program("watcher"), "control=run", "with-context", "on=10:callback", "start",
                       "ready", "say=up", "until-term"});
        launch.input = input;
        Running front(launch);
        REQUIRE(front.says("up"));
        front.signal(SIGHUP);
        for (int round = 1; round <= 2; ++round) {  // the second comes behind what SIGHUP did
            front.signal(SIGUSR1);
            CHECK(eventually([&] { return count(front.out(), "called=10") == round; }));
        }
        CHECK_FALSE(contains(front.out(), "got="));
        front.signal(SIGTERM);
        CHECK(front.says("got=15"));
        CHECK(front.finish().status == 0);
        CHECK(front.err() == "");
    }
}

TEST_CASE("C2 the process is killed, but another has its lock: said so, and nothing is removed") {
    const Victim daemon;
    const Outcome launcher =
        daemon.start({"map=15:ignore", "open", "raw-fork-pause", "say=up", "wait"});
    check_started(daemon, launcher);
    REQUIRE(daemon.logs("up"));
    const pid_t pid = daemon.pid();
    const pid_t child = static_cast<pid_t>(to_long(daemon.logged("child")));
    REQUIRE(child > 1);
    const Outcome stop = victim({"stop=" + daemon.pidfile + ",100"});
    INFO(stop.text());
    CHECK(
        contains(stop.out, "stopped=failed error=unproven_holder text=cannot stop the daemon of '" +
                               daemon.pidfile + "': process " + std::to_string(pid) +
                               " is gone, but another process holds the lock"));
    CHECK(ended(pid) == 128 + SIGKILL);
    CHECK(alive(child));  // nobody else is killed
    CHECK(is_locked(daemon.pidfile));
    CHECK(daemon.written() == std::to_string(pid) + "\n");
}

TEST_CASE("C2 E3 a signal that cannot be sent: whom, and why; the daemon goes on") {
    SKIP_UNLESS(!generic(), "no pidfd");
    NEEDS_DENY();
    const Victim daemon;
    check_started(daemon, daemon.start({"open", "wait"}));
    const Outcome said = run(
        denied({"pidfd_send_signal:EINVAL"},
               {program("victim"), "send=" + daemon.pidfile + ",10", "stop=" + daemon.pidfile}));
    INFO(said.text());
    const std::string process = "process " + std::to_string(daemon.pid());
    CHECK(contains(said.out, "sent=0 error=errno:22 text=cannot signal " + process + ": Invalid"));
    CHECK(contains(said.out,
                   "stopped=failed error=errno:22 text=cannot stop " + process + ": Invalid"));
    CHECK(alive(daemon.pid()));
    CHECK(is_locked(daemon.pidfile));
}

TEST_CASE("C2 a process that does not end when it is killed: said so after five seconds") {
    SKIP_UNLESS(!generic(), "no pidfd");
    NEEDS_DENY();
    const Victim daemon;
    check_started(daemon, daemon.start({"open", "wait"}));
    const pid_t pid = daemon.pid();
    Running stop(Launch(denied({"pidfd_send_signal:DONE"},
                               {program("victim"), "stop=" + daemon.pidfile + ",300"})));
    // Its file is no sign of life: a daemon may remove that first.
    REQUIRE(eventually([&] {
        return link_of(stop.pid(), "exe") == program("victim") && facts(stop.pid()).state == 'S';
    }));
    REQUIRE(rename(daemon.pidfile.c_str(), (daemon.dir / "away").c_str()) == 0);
    const Outcome said = stop.finish();
    INFO(said.text());
    CHECK(contains(said.out, "stopped=failed error=timed_out text=cannot stop process " +
                                 std::to_string(pid) +
                                 ": it has not ended 5 s after it was killed"));
    CHECK(said.took >= Millis(5000));
    CHECK(is_locked(daemon.dir / "away"));
}

// ---- The service manager ------------------------------------------------------------------------

TEST_CASE("V1 a jail and a drop do not keep READY=1 and STOPPING=1 from a manager outside") {
    NEEDS_ROOT();
    const Victim daemon;
    const std::string name = daemon.dir / "notify";
    const Descriptor manager = local::bound(name);
    REQUIRE(chmod(name.c_str(), 0600) == 0);  // root's: not to be had after the drop
    Launch launch(daemon.words("", {"detach=no", "chroot=" + daemon.dir.directory("jail"),
                                    "user=nobody", "open", "return=0"}));
    launch.environment = {{"NOTIFY_SOCKET", name}};
    without_leak_check(launch);  // in a jail there is no /proc
    const Outcome front = run(launch);
    INFO(front.text());
    CHECK(front.status == 0);
    std::string all;
    char text[512];
    for (ssize_t n; (n = recv(manager.get(), text, sizeof text, MSG_DONTWAIT)) > 0;)
        all += "[" + std::string(text, static_cast<std::size_t>(n)) + "]";
    CHECK(all == "[READY=1][STOPPING=1]");
}

TEST_CASE("V1 a manager to whom no socket can be had is no error of the program's") {
    NEEDS_DENY();
    const Victim daemon;
    Launch launch(denied({"socket:EMFILE"},
                         daemon.words("", {"detach=no", "open", "say=works", "return=0"})));
    launch.environment = {{"NOTIFY_SOCKET", daemon.dir / "notify"}};
    const Outcome front = run(launch);
    INFO(front.text());
    CHECK(front.status == 0);
    CHECK(front.out == "works\n");
    CHECK(front.err == "");
    CHECK_FALSE(exists(daemon.pidfile));
}
