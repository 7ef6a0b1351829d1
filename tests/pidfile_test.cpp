// Rules P1 to P10: the lock is the identity, the number is for people.
#include "support/expect.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cstring>
#include <memory>

using namespace expect;

namespace {

Outcome api(const Strings& words) { return run(Launch(Strings{program("victim")} + words)); }

struct Content {
    const char* text;
    std::size_t size;
    long read;  // 0: refused
};
#define CONTENT(text, number) \
    Content { text, sizeof(text) - 1, number }

std::vector<Content> contents() {
    return {CONTENT("4711\n", 4711),
            CONTENT("4711", 4711),
            CONTENT("  4711  \n", 4711),
            CONTENT("0004711\n", 4711),
            CONTENT("4711\r\n", 4711),
            CONTENT("4711\nsecond line\n", 4711),
            CONTENT("", 0),
            CONTENT("\n", 0),
            CONTENT("0\n", 0),
            CONTENT("1\n", 0),
            CONTENT("-4711\n", 0),
            CONTENT("2147483648\n", 0),
            CONTENT("99999999999999999999999999\n", 0),
            CONTENT("words\n", 0),
            CONTENT("47x11\n", 0),
            CONTENT("0x12\n", 0),
            CONTENT("\0\1\2\xff", 0)};
}

}  // namespace

TEST_CASE("P1 no content of a file that nobody holds blocks a start") {
    const Daemon daemon;
    std::vector<std::string> stale = {std::to_string(getpid()) + "\n", "1\n"};
    for (const Content& content : contents()) stale.emplace_back(content.text, content.size);
    for (const std::string& text : stale) {
        INFO("content: ", text);
        daemon.dir.file("d.pid", text);
        check_started(daemon, daemon.start());
        check_ends(daemon);
    }
}

TEST_CASE("P1 the file of a daemon that was killed blocks nobody") {
    const Daemon daemon;
    REQUIRE(daemon.start().status == 0);
    const pid_t first = daemon.pid();
    send_signal(first, SIGKILL);
    REQUIRE(ended(first) == 128 + SIGKILL);
    CHECK(daemon.pid() == first);
    check_started(daemon, daemon.start());
    CHECK(daemon.pid() != first);
}

TEST_CASE("P1 the own number, as after a container's restart, does not block") {
    const Victim daemon;
    Launch launch(
        {program("victim"), "pidfile=" + daemon.pidfile, "detach=no", "open", "role", "wait"});
    const std::string file = daemon.pidfile;
    launch.before_exec = [file] {
        const int out = ::open(file.c_str(), O_WRONLY | O_CREAT, 0644);
        dprintf(out, "%d\n", static_cast<int>(getpid()));
        ::close(out);
    };
    Running front(launch);
    CHECK(front.says("role=foreground"));
    CHECK(is_locked(daemon.pidfile));
}

TEST_CASE("P2 a refused start leaves the file as it is, to the nanosecond") {
    const Daemon daemon;
    REQUIRE(daemon.start().status == 0);
    const struct stat before = stat_of(daemon.pidfile);
    const std::string text = daemon.written();
    for (int round = 0; round < 5; ++round) {
        const Outcome refused = daemon.start();
        INFO(refused.text());
        CHECK(refused.status == 1);
        CHECK(contains(refused.err, "already running as process " + std::to_string(daemon.pid())));
        // A proven holder is an answer at once; where no record lock names it, it may take longer.
        if (!generic()) CHECK(refused.took < Millis(900));
    }
    CHECK(same_file_state(before, stat_of(daemon.pidfile)));
    CHECK(daemon.written() == text);
}

TEST_CASE("P2 many starts at once: exactly one daemon, all others name it") {
    const Daemon daemon;
    const int many = sanitized() ? 12 : 40;
    std::vector<std::unique_ptr<Running>> launchers;
    for (int i = 0; i < many; ++i) launchers.emplace_back(new Running(daemon.launch()));
    int started = 0, named = 0;
    std::vector<Outcome> outcomes;
    for (auto& launcher : launchers) outcomes.push_back(launcher->finish());
    const std::string winner = "already running as process " + std::to_string(daemon.pid()) + "\n";
    for (const Outcome& outcome : outcomes) {
        INFO(outcome.text());
        started += outcome.status == 0;
        named += outcome.status == 1 && contains(outcome.err, winner);
        CHECK((outcome.status == 0 || contains(outcome.err, winner)));
    }
    CHECK(started == 1);
    CHECK(named == many - 1);
    CHECK(descendants() == std::vector<pid_t>{daemon.pid()});
}

TEST_CASE("P2 many starts of a program that fails to start: none is refused for ever") {
    const Daemon daemon;
    std::vector<std::unique_ptr<Running>> launchers;
    for (int i = 0; i < 10; ++i)
        launchers.emplace_back(new Running(daemon.launch({"--fail-init", "no luck"})));
    for (auto& launcher : launchers) {
        const Outcome outcome = launcher->finish();
        INFO(outcome.text());
        CHECK(outcome.status == 1);
        CHECK(lines(outcome.err).size() == 1);
    }
    CHECK_FALSE(exists(daemon.pidfile));
    CHECK(descendants().empty());
}

TEST_CASE("P2 a reader's short lock only delays a start") {
    const Daemon daemon;
    daemon.dir.file("d.pid", "");
    Descriptor reader = open_file(daemon.pidfile, O_RDONLY);
    REQUIRE(lock(reader, true));
    Running launcher(daemon.launch());
    const Clock::time_point began = Clock::now();
    eventually([&] { return Clock::now() > began + Millis(200); });
    CHECK_FALSE(launcher.finished());
    reader.reset();
    check_started(daemon, launcher.finish());
}

TEST_CASE("P2 a reader that keeps its lock: refused after a second, with what it is") {
    const Daemon daemon;
    daemon.dir.file("d.pid", "");
    const Descriptor reader = open_file(daemon.pidfile, O_RDONLY);
    REQUIRE(lock(reader, true));
    const struct stat before = stat_of(daemon.pidfile);
    const Outcome launcher = daemon.start();
    check_refused(launcher, {"'" + daemon.pidfile + "'"});
    CHECK(launcher.took >= Millis(500));
    CHECK_FALSE(contains(launcher.err, "already running as process"));
    CHECK(same_file_state(before, stat_of(daemon.pidfile)));
}

TEST_CASE("P2 locked by one who wrote another's number: nobody is named as the daemon") {
    SKIP_UNLESS(!generic(), "no record lock: flock and a number are all the proof there is");
    const Daemon daemon;
    daemon.dir.file("d.pid", std::to_string(getpid()) + "\n");
    const Descriptor reader = open_file(daemon.pidfile, O_RDONLY);
    REQUIRE(lock(reader));
    const Outcome launcher = daemon.start();
    check_refused(launcher, {"its holder does not prove that it is the daemon"});
    CHECK_FALSE(contains(launcher.err, "already running as process"));
}

namespace {

// An administrator has made the file for this user, in a directory where he may make none: it is
// used in place. Root is nobody for it.
struct InPlace : Daemon {
    explicit InPlace(const std::string& text, mode_t mode = 0644) {
        const std::string logs = dir.directory("logs"), fixed = dir.directory("fixed");
        pidfile = dir.file("fixed/d.pid", text, mode);
        log = logs + "/d.log";
        if (is_root())
            for (const std::string& theirs : {pidfile, logs})
                REQUIRE(chown(theirs.c_str(), nobody, nobody) == 0);
        REQUIRE(chmod(fixed.c_str(), 0555) == 0);
    }
    ~InPlace() { chmod((dir / "fixed").c_str(), 0755); }
    Launch launch() const {
        Launch made = Daemon::launch();
        if (is_root()) made.before_exec = become_nobody;
        return made;
    }
};

}  // namespace

TEST_CASE("P3 where the directory lets us not unlink, the file is used in place") {
    const InPlace daemon("4711\n", 0640);
    const struct stat before = stat_of(daemon.pidfile);
    check_started(daemon, run(daemon.launch()));
    CHECK(stat_of(daemon.pidfile).st_ino == before.st_ino);
    CHECK((stat_of(daemon.pidfile).st_mode & 07777) == 0640);
    send_signal(daemon.pid(), SIGTERM);
    CHECK(eventually([&] { return !is_locked(daemon.pidfile); }));
    CHECK(daemon.written() == "");  // which means: not running
    CHECK(daemon.verb("status").status == 3);
}

TEST_CASE("P3 P6 in place only a file of ours, regular, with one link, not writable by others") {
    const auto refuse = [](const InPlace& daemon, const std::string& why) {
        INFO(why);
        const struct stat before = stat_of(daemon.pidfile);
        check_refused(run(daemon.launch()), {"cannot lock '" + daemon.pidfile + "'", why});
        CHECK(daemon.written() == "4711\n");
        CHECK(same_file_state(before, stat_of(daemon.pidfile)));
        CHECK_FALSE(exists(daemon.log));
    };
    for (const mode_t mode : {mode_t(0664), mode_t(0646), mode_t(0666)})
        refuse(InPlace("4711\n", mode), "group or others may write it");
    const InPlace second("4711\n");
    REQUIRE(link(second.pidfile.c_str(), (second.dir / "second").c_str()) == 0);
    refuse(second, "it has a hard link");
    if (!is_root()) return;
    const InPlace foreign("4711\n");
    REQUIRE(chown(foreign.pidfile.c_str(), 1, 1) == 0);
    check_refused(run(foreign.launch()), {"'" + foreign.pidfile + "'", "it belongs to user 1"});
    CHECK(foreign.written() == "4711\n");
}

TEST_CASE(
    "P2 the step that enters the daemon is tried again while somebody reads with a record lock") {
    SKIP_UNLESS(!generic(), "no record lock");
    // A new file nobody can have locked already: the one that is used in place.
    const InPlace daemon("");
    Descriptor reader = open_file(daemon.pidfile, O_RDONLY);
    struct flock whole;
    std::memset(&whole, 0, sizeof whole);
    whole.l_type = F_RDLCK;
    whole.l_whence = SEEK_SET;
    REQUIRE(fcntl(reader.get(), F_SETLK, &whole) == 0);
    const Outcome refused = run(daemon.launch());
    check_refused(refused, {"'" + daemon.pidfile + "'", std::to_string(getpid())});
    CHECK(refused.took >= Millis(500));
    CHECK(daemon.written() == "");

    reader = open_file(daemon.pidfile, O_RDONLY);  // the look at it has dropped the lock
    REQUIRE(fcntl(reader.get(), F_SETLK, &whole) == 0);
    Running launcher(daemon.launch());
    const Clock::time_point began = Clock::now();
    eventually([&] { return Clock::now() > began + Millis(200); });
    CHECK_FALSE(launcher.finished());
    reader.reset();
    check_started(daemon, launcher.finish());
}

TEST_CASE("P2 a holder in another PID namespace: refused, said so, and not signalled") {
    NEEDS_MOUNTS();
    SKIP_UNLESS(!generic(), "no record lock");
    const Daemon daemon;
    Running space(Launch({"unshare", "-p", "-f", "--mount-proc", "sh", "-c",
                          join(daemon.words("start")) + "; sleep 1000; true"}));
    REQUIRE(eventually([&] { return daemon.pid() > 1; }));
    REQUIRE(space.says("started"));
    const Outcome second = daemon.start();
    INFO(second.text());
    CHECK(second.status == 1);
    CHECK(contains(second.err, "another PID namespace"));
    for (const char* verb : {"stop", "reload", "status"}) {
        const Outcome said = daemon.verb(verb);
        INFO(said.text());
        CHECK(said.status > 0);
        CHECK(contains(said.out + said.err, "another PID namespace"));
    }
    CHECK(is_locked(daemon.pidfile));  // it lives
}

TEST_CASE("P2 C3 a holder that is process 1 of a container is in another PID namespace") {
    NEEDS_MOUNTS();
    SKIP_UNLESS(!generic(), "no record lock");
    const Daemon daemon;
    Running space(Launch(Strings{"unshare", "-p", "-f", "--mount-proc", "--kill-child"} +
                         daemon.words("start")));
    REQUIRE(eventually([&] { return daemon.written() == "1\n"; }));
    for (const Strings& words : {Strings{"status"}, Strings{"stop"}, Strings{"start"}}) {
        const Outcome said = daemon.verb(words[0]);
        INFO(said.text());
        CHECK(said.status > 0);
        CHECK(contains(said.out + said.err, "another PID namespace"));
    }
    CHECK(is_locked(daemon.pidfile));
}

TEST_CASE("P2 who may read but not write the file is told who runs") {
    NEEDS_ROOT();
    const Daemon daemon;
    REQUIRE(daemon.start().status == 0);
    chmod(daemon.dir.path().c_str(), 0755);
    Launch launch(daemon.words("start"));
    launch.before_exec = become_nobody;
    const Outcome said = run(launch);
    INFO(said.text());
    CHECK(said.status == 1);
    CHECK(contains(said.err, "already running as process " + std::to_string(daemon.pid())));
    CHECK(lines(said.err).size() == 1);
}

TEST_CASE("P3 a file that was replaced while its lock was waited for: the new one counts") {
    const Daemon daemon;
    for (int round = 0; round < 10; ++round) {
        daemon.dir.file("d.pid", "");
        Descriptor old = open_file(daemon.pidfile, O_RDWR);
        REQUIRE(lock(old));
        Running launcher(daemon.launch());
        const Clock::time_point began = Clock::now();
        eventually([&] { return Clock::now() > began + Millis(20 + round * 7); });
        daemon.dir.file("new", "old text of the new file\n");
        REQUIRE(rename((daemon.dir / "new").c_str(), daemon.pidfile.c_str()) == 0);
        old.reset();
        check_started(daemon, launcher.finish());
        check_ends(daemon);
    }
}

TEST_CASE("P3 a file that was replaced between its opening and its locking is not taken") {
    NEEDS_STRACE();
    SKIP_UNLESS(is_root(), "needs root, to see which file a start has open");
    const Daemon daemon;
    daemon.dir.file("d.pid", "");
    Running launcher(Launch(delayed("flock", daemon.words("start"))));
    REQUIRE(eventually([&] {
        for (const pid_t pid : descendants())
            for (const auto& open : descriptors(pid))
                if (open.second == daemon.pidfile) return true;
        return false;
    }));
    daemon.dir.file("new", "");
    REQUIRE(rename((daemon.dir / "new").c_str(), daemon.pidfile.c_str()) == 0);
    const Outcome started = launcher.finish();
    INFO(started.text());
    CHECK(started.status == 0);
    REQUIRE(daemon.pid() > 1);
    CHECK(is_locked(daemon.pidfile));
}

TEST_CASE("P3 a stale number is gone from the moment of the lock") {
    NEEDS_STRACE();
    const Daemon daemon;
    daemon.dir.file("d.pid", "4711\n");
    Running launcher(
        Launch(delayed("socketpair", daemon.words("start"))));  // step 5, behind the lock
    std::string seen;
    REQUIRE(eventually([&] {
        seen = daemon.written();
        return seen != "4711\n";
    }));
    CHECK(seen == "");
    CHECK(launcher.finish().status == 0);
    CHECK(daemon.pid() > 1);
}

TEST_CASE("P4 at its end the daemon removes only its own file") {
    const Daemon daemon;
    REQUIRE(daemon.start().status == 0);
    const pid_t pid = daemon.pid();
    REQUIRE(unlink(daemon.pidfile.c_str()) == 0);
    daemon.dir.file("d.pid", std::to_string(pid) + "\n");  // the same number in another file
    send_signal(pid, SIGTERM);
    CHECK(ended(pid) == 0);
    CHECK(exists(daemon.pidfile));
}

TEST_CASE("P4 a file in which stands another number is not removed") {
    const Daemon daemon;
    REQUIRE(daemon.start().status == 0);
    const pid_t pid = daemon.pid();
    const Descriptor file = open_file(daemon.pidfile, O_WRONLY);
    REQUIRE(ftruncate(file.get(), 0) == 0);
    REQUIRE(pwrite(file.get(), "4711\n", 5, 0) == 5);
    send_signal(pid, SIGTERM);
    CHECK(ended(pid) == 0);
    CHECK(daemon.written() == "4711\n");
}

TEST_CASE("P4 a failed start of a jailed or dropped daemon: the launcher removes the file") {
    NEEDS_ROOT();
    const Daemon daemon;
    const std::string jail = daemon.dir.directory("jail");
    check_failed(daemon, daemon.start({"--chroot", jail, "--user", "nobody", "--exit-init", "4"}),
                 4, {"4"});
}

TEST_CASE("P5 the content is the number and a newline; the mode is 0644 whatever the umask") {
    const Daemon daemon;
    for (const mode_t mask : {mode_t(0), mode_t(077), mode_t(0777)}) {
        Launch launch = daemon.launch();
        launch.before_exec = [mask] { umask(mask); };
        check_started(daemon, run(launch));
        CHECK((stat_of(daemon.pidfile).st_mode & 07777) == 0644);
        check_ends(daemon);
    }
}

TEST_CASE(
    "P5 pidfile_mode, whatever the mode of what stood there: each start's file is a new one") {
    const Victim daemon;
    check_started(daemon, daemon.start({"mode=600", "open", "wait"}));
    CHECK((stat_of(daemon.pidfile).st_mode & 07777) == 0600);
    check_ends(daemon, 128 + SIGTERM);
    daemon.dir.file("d.pid", "", 0640);
    const Descriptor old = open_file(daemon.pidfile, O_RDONLY);
    check_started(daemon, daemon.start({"mode=600", "open", "wait"}));
    CHECK((stat_of(daemon.pidfile).st_mode & 07777) == 0600);
    struct stat before;
    REQUIRE(fstat(old.get(), &before) == 0);
    CHECK(before.st_nlink == 0);
    CHECK(stat_of(daemon.pidfile).st_ino != before.st_ino);
}

TEST_CASE("P5 a shorter number leaves nothing of a longer text behind") {
    const Daemon daemon;
    daemon.dir.file("d.pid", "1234567890123456789012345678901234567890\nmore\n");
    check_started(daemon, daemon.start());
}

TEST_CASE("P5 no temporary file, neither while it runs nor afterwards") {
    const Daemon daemon;
    REQUIRE(daemon.start().status == 0);
    CHECK(daemon.dir.names() == Strings{"d.log", "d.pid"});
    check_ends(daemon);
    CHECK(daemon.dir.names() == Strings{"d.log"});
}

TEST_CASE("P5 reading tolerates what people write, and refuses what is no PID") {
    const Scratch dir;
    for (const Content& content : contents()) {
        INFO("content: ", std::string(content.text, content.size));
        dir.file("r.pid", std::string(content.text, content.size));
        const Outcome said = api({"read=" + (dir / "r.pid")});
        INFO(said.text());
        CHECK(contains(said.out, "read=" + std::to_string(content.read) + " "));
        CHECK(contains(said.out, content.read ? "error=none" : "error=invalid_pid_file"));
    }
}

TEST_CASE("P5 reading neither blocks nor follows") {
    const Scratch dir;
    REQUIRE(mkfifo((dir / "fifo").c_str(), 0644) == 0);
    dir.file("target", "4711\n");
    REQUIRE(symlink((dir / "target").c_str(), (dir / "link").c_str()) == 0);
    dir.directory("directory");
    for (const char* name : {"fifo", "link", "directory"}) {
        INFO(name);
        const Outcome said = api({"read=" + (dir / name)});
        INFO(said.text());
        CHECK_FALSE(said.timed_out);
        CHECK(contains(said.out, "read=0 "));
        CHECK_FALSE(contains(said.out, "error=none"));
    }
    CHECK(contains(api({"read=" + (dir / "missing")}).out, "error=errno:2"));
}

TEST_CASE("P5 never seen torn or empty while it is written over and over") {
    const Daemon daemon;
    // Whoever reads without a lock sees the empty file of a start under way, or the whole number.
    for (int round = 0; round < 10; ++round) {
        Running launcher(daemon.launch());
        bool torn = false;
        while (!launcher.finished()) {
            const std::string text = slurp(daemon.pidfile);
            torn = torn || (!text.empty() && (text.back() != '\n' || to_long(text) < 2));
        }
        CHECK_FALSE(torn);
        CHECK(launcher.finish().status == 0);
        check_ends(daemon);
    }
}

TEST_CASE("P6 a symlink, a FIFO, a directory are refused, and stay as they are") {
    const Daemon daemon;
    const std::string other = daemon.dir.file("victim", "precious\n");
    const struct stat before = stat_of(other);
    const auto refuse = [&](const char* what) {
        INFO(what);
        const Outcome launcher = daemon.start();
        check_refused(launcher, {"'" + daemon.pidfile + "'"});
        CHECK_FALSE(exists(daemon.log));
        CHECK(slurp(other) == "precious\n");
    };
    REQUIRE(symlink(other.c_str(), daemon.pidfile.c_str()) == 0);
    refuse("a symlink to a victim");
    REQUIRE(unlink(daemon.pidfile.c_str()) == 0);
    REQUIRE(symlink((daemon.dir / "none").c_str(), daemon.pidfile.c_str()) == 0);
    refuse("a dangling symlink");
    CHECK_FALSE(exists(daemon.dir / "none"));
    REQUIRE(unlink(daemon.pidfile.c_str()) == 0);
    REQUIRE(mkfifo(daemon.pidfile.c_str(), 0644) == 0);
    refuse("a FIFO");
    REQUIRE(unlink(daemon.pidfile.c_str()) == 0);
    REQUIRE(mkdir(daemon.pidfile.c_str(), 0755) == 0);
    refuse("a directory");
    REQUIRE(rmdir(daemon.pidfile.c_str()) == 0);
    CHECK(same_file_state(before, stat_of(other)));
}

TEST_CASE(
    "P3 what stands there unlocked is replaced, whatever its mode and links, not written to") {
    const Daemon daemon;
    const std::string other = daemon.dir.file("victim", "precious\n");
    REQUIRE(link(other.c_str(), daemon.pidfile.c_str()) == 0);
    check_started(daemon, daemon.start());
    CHECK(slurp(other) == "precious\n");
    CHECK(stat_of(other).st_nlink == 1);
    CHECK(stat_of(daemon.pidfile).st_nlink == 1);
    check_ends(daemon);
    for (const mode_t mode : {mode_t(0664), mode_t(0646), mode_t(0666), mode_t(0)}) {
        INFO(mode);
        daemon.dir.file("d.pid", "4711\n", mode);
        if (mode == 0 && !is_root()) break;  // what may not be opened cannot be locked
        const Descriptor theirs = open_file(daemon.pidfile, O_RDWR);  // who could write to it
        check_started(daemon, daemon.start());
        CHECK((stat_of(daemon.pidfile).st_mode & 07777) == 0644);
        REQUIRE(pwrite(theirs.get(), "1\n", 2, 0) == 2);
        CHECK(daemon.written() == std::to_string(daemon.pid()) + "\n");
        CHECK(daemon.pid() > 1);
        check_ends(daemon);
    }
}

TEST_CASE("P6 the condition has a name: untrusted_pid_file") {
    const Victim daemon;
    REQUIRE(symlink("/etc/passwd", daemon.pidfile.c_str()) == 0);
    CHECK(contains(daemon.start({"try"}).out, "error=untrusted_pid_file"));
    CHECK(contains(api({"acquire=" + daemon.pidfile}).out, "error=untrusted_pid_file"));
}

TEST_CASE("P3 root replaces whoever's file: the new one is root's, after a drop the target's") {
    NEEDS_ROOT();
    const Daemon daemon;
    for (const uid_t left_by : {uid_t(1), uid_t(nobody)}) {
        daemon.dir.file("d.pid", "");
        REQUIRE(chown(daemon.pidfile.c_str(), left_by, left_by) == 0);
        check_started(daemon, daemon.start());
        CHECK(stat_of(daemon.pidfile).st_uid == 0);
        check_ends(daemon);
        daemon.dir.file("d.pid", "");
        REQUIRE(chown(daemon.pidfile.c_str(), left_by, left_by) == 0);
        check_started(daemon, daemon.start({"--user", "nobody"}));
        CHECK(stat_of(daemon.pidfile).st_uid == nobody);
        CHECK(daemon.verb("stop").status == 0);
    }
}

TEST_CASE("P7 a worker that outlives the daemon blocks no restart") {
    const Daemon daemon;
    check_started(daemon, daemon.start({"--child"}));
    const pid_t child = static_cast<pid_t>(to_long(daemon.logged("child")));
    REQUIRE(child > 1);
    CHECK(eventually([&] { return descriptors(child).size() == 3; }));
    send_signal(daemon.pid(), SIGKILL);
    REQUIRE(ended(daemon.pid()) == 128 + SIGKILL);
    REQUIRE(alive(child));
    CHECK_FALSE(is_locked(daemon.pidfile));
    CHECK(daemon.verb("status").status == 1);
    check_started(daemon, daemon.start());
}

TEST_CASE("P7 a forked child without exec has no part of the lock either") {
    const Victim daemon;
    check_started(daemon, daemon.start({"open", "fork-pause", "wait"}));
    const pid_t child = static_cast<pid_t>(to_long(daemon.logged("child")));
    REQUIRE(child > 1);
    send_signal(daemon.pid(), SIGKILL);
    REQUIRE(ended(daemon.pid()) == 128 + SIGKILL);
    REQUIRE(alive(child));
    CHECK(
        eventually([&] { return !is_locked(daemon.pidfile); }, Millis(3000)));  // it may lag behind
}

TEST_CASE("P7 nor has a program that is started without fork() (posix_spawn, system)") {
    const Victim daemon;
    check_started(daemon, daemon.start({"open", "system=sleep 300 & echo child=$!", "wait"}));
    const pid_t child = static_cast<pid_t>(to_long(daemon.logged("child")));
    REQUIRE(child > 1);
    send_signal(daemon.pid(), SIGKILL);
    REQUIRE(ended(daemon.pid()) == 128 + SIGKILL);
    REQUIRE(alive(child));
    CHECK_FALSE(is_locked(daemon.pidfile));
}

TEST_CASE("P7 a PidFile by itself: its children do not keep the lock") {
    const Scratch dir;
    Running holder(Launch({program("victim"), "own-child", "acquire-hold=" + (dir / "p.pid")}));
    REQUIRE(holder.says("acquired=1"));
    CHECK(is_locked(dir / "p.pid"));
    CHECK(slurp(dir / "p.pid") == std::to_string(holder.pid()) + "\n");
    holder.signal(SIGKILL);
    holder.finish();
    CHECK_FALSE(is_locked(dir / "p.pid"));
}

TEST_CASE("P8 acquire: one try, a limit, and the lock of a daemon that ends in time") {
    const Daemon daemon;
    REQUIRE(daemon.start().status == 0);
    const std::string pid = std::to_string(daemon.pid());
    Outcome said = api({"acquire=" + daemon.pidfile});
    INFO(said.text());
    CHECK(contains(said.out, "acquired=0"));
    CHECK(contains(said.out, "error=already_running"));
    CHECK(contains(said.out, pid));

    said = api({"acquire=" + daemon.pidfile + ",300"});
    INFO(said.text());
    CHECK(contains(said.out, "error=timed_out"));
    CHECK(said.took >= Millis(300));

    Running waiting(Launch({program("victim"), "acquire-hold=" + daemon.pidfile + ",20000"}));
    const Clock::time_point began = Clock::now();
    eventually([&] { return Clock::now() > began + Millis(100); });
    CHECK_FALSE(waiting.finished());
    send_signal(daemon.pid(), SIGTERM);
    REQUIRE(waiting.says("acquired=1"));
    CHECK(slurp(daemon.pidfile) == std::to_string(waiting.pid()) + "\n");
}

TEST_CASE("P8 release removes the file and unlocks") {
    const Scratch dir;
    const Outcome said = api({"acquire=" + (dir / "p.pid")});
    INFO(said.text());
    CHECK(contains(said.out, "acquired=1 held=1 self="));
    CHECK(contains(said.out, "path=" + (dir / "p.pid")));
    CHECK(contains(said.out, "\nheld=0"));
    CHECK(dir.names().empty());
}

TEST_CASE("P8 after release nothing of it is open") {
    const Scratch dir;
    const std::string out = api({"acquire=" + (dir / "p.pid")}).out;
    INFO(out);
    REQUIRE(contains(out, "held=0 fds: "));
    CHECK_FALSE(contains(out.substr(out.find("held=0 fds: ")), "p.pid"));
}

TEST_CASE("P8 the path of a PidFile is absolute, as of its making") {
    const Scratch dir;
    Launch launch({program("victim"), "acquire=p.pid"});
    launch.directory = dir.path();
    CHECK(contains(run(launch).out, "path=" + (dir / "p.pid") + " "));
}

TEST_CASE("P8 queries create, change and remove nothing") {
    const Daemon daemon;
    const std::string missing = daemon.dir / "missing.pid";
    CHECK(contains(api({"read=" + missing, "status=" + missing}).out, "state=3"));
    CHECK(daemon.dir.names().empty());
    daemon.dir.file("d.pid", "4711\n");
    const struct stat stale = stat_of(daemon.pidfile);
    api({"read=" + daemon.pidfile, "status=" + daemon.pidfile});
    CHECK(same_file_state(stale, stat_of(daemon.pidfile)));
    REQUIRE(daemon.start().status == 0);
    const struct stat held = stat_of(daemon.pidfile);
    api({"read=" + daemon.pidfile, "status=" + daemon.pidfile});
    CHECK(same_file_state(held, stat_of(daemon.pidfile)));
}

TEST_CASE("P8 a user who may not signal the daemon is told that it runs") {
    NEEDS_ROOT();
    const Daemon daemon;
    REQUIRE(daemon.start().status == 0);
    Launch launch(daemon.words("status"));
    launch.before_exec = become_nobody;
    const Outcome said = run(launch);
    INFO(said.text());
    CHECK(said.status == 0);
    CHECK(contains(said.out, std::to_string(daemon.pid())));
}

TEST_CASE("P8 a zombie counts as gone") {
    const Scratch dir;
    // Its parent does not reap: the runner itself, as long as this test does not ask.
    Running holder(Launch({program("victim"), "acquire=" + (dir / "z.pid"), "_exit=0"}));
    const pid_t zombie = holder.pid();
    REQUIRE(eventually([&] { return !alive(zombie); }));
    dir.file("z.pid", std::to_string(zombie) + "\n");
    CHECK(contains(api({"status=" + (dir / "z.pid")}).out, "state=1"));
}

TEST_CASE("P8 queries do not make a start on a free file fail") {
    const Daemon daemon;
    daemon.dir.file("d.pid", "");
    std::vector<std::unique_ptr<Running>> queries;
    const std::string loop = "while :; do '" + program("victim") + "' status=" + daemon.pidfile +
                             " read=" + daemon.pidfile + "; done >/dev/null";
    for (int i = 0; i < 3; ++i) queries.emplace_back(new Running(Launch({"sh", "-c", loop})));
    for (int round = 0; round < 15; ++round) {
        const Outcome launcher = daemon.start();
        INFO(launcher.text());
        REQUIRE(launcher.status == 0);
        check_ends(daemon);
        daemon.dir.file("d.pid", "");
    }
}

TEST_CASE("P9 the default path of root is /run") {
    NEEDS_ROOT();
    SKIP_UNLESS(S_ISDIR(stat_of("/run").st_mode), "no /run");
    const Outcome said = api({"default=daemonize-test"});
    INFO(said.text());
    CHECK(contains(said.out, "default=/run/daemonize-test.pid error=none"));
    CHECK_FALSE(exists("/run/daemonize-test.pid"));
}

TEST_CASE("P9 the default path of others: XDG_STATE_HOME, else ~/.local/state, made 0700") {
    const Scratch dir;
    const std::string state = dir.directory("state", 0700);
    Launch launch({program("victim"), "default=daemonize-test"});
    launch.environment = {{"XDG_STATE_HOME", state + "/new"}};
    if (is_root()) {
        REQUIRE(chown(state.c_str(), nobody, nobody) == 0);
        launch.before_exec = become_nobody;
    }
    Outcome said = run(launch);
    INFO(said.text());
    CHECK(contains(said.out, "default=" + state + "/new"));
    CHECK(contains(said.out, "error=none"));
    CHECK(contains(said.out, "daemonize-test.pid"));
    CHECK((stat_of(state + "/new").st_mode & 07777) == 0700);
    CHECK_FALSE(contains(said.out, "=/tmp/daemonize-test.pid"));
}

TEST_CASE("P9 without XDG_STATE_HOME it is below HOME, without HOME in the passwd entry's home") {
    NEEDS_MOUNTS();
    SKIP_UNLESS(has_tool("setpriv"), "needs setpriv");
    const Scratch dir;
    const std::string home = dir.directory("home", 0700), other = dir.directory("other", 0700);
    for (const std::string& theirs : {home, other})
        REQUIRE(chown(theirs.c_str(), nobody, nobody) == 0);
    dir.file("passwd", "nobody:x:65534:65534::" + home + ":/bin/sh\n");
    Launch launch({"unshare", "-m", "sh", "-c",
                   "mount --bind " + (dir / "passwd") + " /etc/passwd && exec setpriv " +
                       "--reuid 65534 --regid 65534 --clear-groups " + program("victim") +
                       " default=daemonize-test"});
    const std::string below = "/.local/state/daemonize-test/daemonize-test.pid error=none";
    launch.environment = {{"XDG_STATE_HOME", "-"}, {"HOME", other}};
    Outcome said = run(launch);
    INFO(said.text());
    CHECK(contains(said.out, "default=" + other + below));
    for (const char* no_home : {"-", "", "relative"}) {
        launch.environment[1].second = no_home;
        said = run(launch);
        INFO("HOME ", no_home, ": ", said.text());
        CHECK(contains(said.out, "default=" + home + below));
    }
}

TEST_CASE("P9 a default directory that is not the user's own is refused") {
    NEEDS_ROOT();
    const Scratch dir;
    const std::string foreign = dir.directory("foreign", 0777);
    dir.directory("foreign/daemonize-test", 0777);  // root's
    Launch launch({program("victim"), "default=daemonize-test"});
    launch.environment = {{"XDG_STATE_HOME", foreign}};
    launch.before_exec = become_nobody;
    const Outcome said = run(launch);
    INFO(said.text());
    CHECK(contains(said.out, "default= "));
    CHECK_FALSE(contains(said.out, "error=none"));
    // Where anybody could put another in its place, no start trusts one of his own either.
    REQUIRE(rmdir((foreign + "/daemonize-test").c_str()) == 0);
    CHECK(contains(run(launch).out, "error=none"));
    launch.argv = {program("victim"), "pidfile=" + foreign + "/daemonize-test/daemonize-test.pid",
                   "open", "wait"};
    check_refused(run(launch), {"other users may write to a directory of this path"}, "victim");
    CHECK(Scratch::names(foreign + "/daemonize-test").empty());
}

TEST_CASE("P9 an impossible program name is an error, not a path elsewhere") {
    for (const char* name : {"", "../evil", "a/b"}) {
        const Outcome said = api({std::string("default=") + name});
        INFO(said.text());
        CHECK(contains(said.out, "default= "));
        CHECK_FALSE(contains(said.out, "error=none"));
    }
}

TEST_CASE("P10 a file system without locks: the start fails with that text") {
    NEEDS_DENY();
    const Daemon daemon;
    const Outcome launcher = run(denied({"flock:ENOLCK"}, daemon.words("start")));
    check_refused(launcher, {"'" + daemon.pidfile + "'", "No locks available"});
    CHECK_FALSE(exists(daemon.pidfile));
}

TEST_CASE("P8 acquire with a limit gets the lock of a holder that releases it and lives on") {
    const Victim daemon;
    Running holder(Launch({program("victim"), "alone-or-fail=" + daemon.pidfile, "say=held",
                           "sleep=600", "alone-no-more", "say=released", "sleep=20000"}));
    REQUIRE(holder.says("held"));
    const Outcome said = run(Launch({program("victim"), "acquire=" + daemon.pidfile + ",15000"}));
    INFO(said.text());
    CHECK(contains(said.out, "acquired=1"));
    CHECK(said.took < Millis(10000));
    CHECK(alive(holder.pid()));
}

TEST_CASE("P8 acquire with a limit comes back from a lock whose number is nobody's") {
    const Scratch dir;
    Running gone(Launch({"true"}));
    gone.finish();  // the harness has collected it: the number is free
    const std::string file = dir.file("d.pid", std::to_string(gone.pid()) + "\n");
    const Descriptor held = open_file(file, O_RDWR);
    REQUIRE(lock(held));
    const Outcome said = run(Launch({program("victim"), "acquire=" + file + ",300"}));
    INFO(said.text());
    CHECK_FALSE(said.timed_out);
    CHECK(contains(said.out, "acquired=0"));
    CHECK(said.took < Millis(10000));
}

TEST_CASE("P8 acquire with a limit says so when it is over, and who holds the file") {
    const Victim daemon;
    Running holder(Launch({program("victim"), "acquire-hold=" + daemon.pidfile}));
    REQUIRE(holder.says("acquired=1"));
    const Outcome said = run(Launch({program("victim"), "acquire=" + daemon.pidfile + ",300"}));
    INFO(said.text());
    CHECK(contains(said.out, "acquired=0"));
    CHECK(contains(said.out, "error=timed_out"));
    CHECK(contains(said.out, "process " + std::to_string(holder.pid()) + " still holds it"));
}

TEST_CASE("G7 a second acquire in the process that has the file leaves its proof alone") {
    const Victim daemon;
    check_started(daemon, daemon.start({"open", "acquire=" + daemon.pidfile, "say=done", "wait"}));
    REQUIRE(daemon.logs("done"));
    CHECK(contains(slurp(daemon.log), "error=already_running"));
    const Outcome said = run(Launch({program("subject"), "status", "--pidfile", daemon.pidfile}));
    INFO(said.text());
    CHECK(said.status == 0);
}

TEST_CASE("Step 4 P2 a start that waits for a lock can be interrupted, and leaves the file alone") {
    const Daemon daemon;
    daemon.dir.file("d.pid", "4711\n");
    const struct stat before = stat_of(daemon.pidfile);
    const Descriptor reader(open(daemon.pidfile.c_str(), O_RDONLY | O_CLOEXEC));
    REQUIRE(lock(reader, true));
    Running start(daemon.launch());
    // It sleeps between its tries with nothing blocked.
    REQUIRE(eventually(
        [&] { return facts(start.pid()).state == 'S' && facts(start.pid()).blocked == 0; }));
    start.signal(SIGINT);
    const Outcome said = start.finish();
    INFO(said.text());
    CHECK(said.status == 128 + SIGINT);
    CHECK(same_file_state(before, stat_of(daemon.pidfile)));
    CHECK(descendants().empty());
}
