// systemd as process 1 of namespaces of its own, with units of the test's own and no other; and what
// else tests share that run the real programs of a machine. For test files only.
#ifndef DAEMONIZE_TESTS_MACHINE_HPP
#define DAEMONIZE_TESTS_MACHINE_HPP

#include <fcntl.h>
#include <sys/prctl.h>

#include <cstdlib>
#include <memory>
#include <sstream>
#include <stdexcept>

#include "expect.hpp"

namespace machine {

using namespace expect;

// What of a manager may be in the environment of whoever runs this suite.
using Variables = std::vector<std::pair<std::string, std::string>>;
static const Variables no_manager = {
    {"NOTIFY_SOCKET", "-"},     {"SYSTEMD_EXEC_PID", "-"}, {"INVOCATION_ID", "-"},
    {"PIDFILE", "-"},           {"XPC_SERVICE_NAME", "-"}, {"WATCHDOG_USEC", "-"},
    {"RUNTIME_DIRECTORY", "-"}, {"LISTEN_FDS", "-"},       {"LISTEN_PID", "-"}};

inline Launch plain(const Strings& words, const Variables& more = {}) {
    Launch launch(words);
    launch.environment = no_manager;
    launch.environment.insert(launch.environment.end(), more.begin(), more.end());
    return launch;
}

// With its path: sshd wants it, and a normal user's PATH may lack the sbin directories.
inline std::string where(const std::string& tool) {
    const char* const path = std::getenv("PATH");
    std::istringstream places(std::string(path ? path : "") + ":/usr/sbin:/sbin:/usr/bin:/bin");
    for (std::string place; std::getline(places, place, ':');)
        if (access((place + "/" + tool).c_str(), X_OK) == 0) return place + "/" + tool;
    return "";
}

inline std::string replaced(std::string text, const std::string& from, const std::string& to) {
    for (std::size_t at = text.find(from); at != std::string::npos;
         at = text.find(from, at + to.size()))
        text.replace(at, from.size(), to);
    return text;
}

// A service of the test's own ends with the runner, even if that is killed.
inline void end_with_the_runner() { prctl(PR_SET_PDEATHSIG, SIGKILL); }

inline Launch service(const Strings& words) {
    Launch launch(words);
    launch.before_exec = end_with_the_runner;
    launch.environment = no_manager;
    return launch;
}

// A shell script in a mount namespace of its own, which ends by exec of the service.
inline Launch in_own_mounts(const std::string& script, const Strings& arguments) {
    return service(Strings{"unshare", "--mount", "sh", "-e", "-c", script, "sh"} + arguments);
}

// In a mount namespace of its own: the test's directory becomes /mnt, and a cgroup is made in which
// the machine, as in a container, sees nothing else.
const char* const outside_script = R"(
mount --bind "$1" /mnt
mount --bind "$3" /mnt/console
mount -t cgroup2 none /mnt/cgroup
mkdir "/mnt/cgroup/$2"
echo 0 >"/mnt/cgroup/$2/cgroup.procs"
exec unshare --cgroup --pid --net --uts --ipc --fork --kill-child sh -e /mnt/inside.sh
)";

// Its own /run, /tmp, /var and /dev; the rest of the file system is there to be read. No unit, no
// generator and no preset but the test's own.
const char* const inside_script = R"(
umount /mnt/cgroup
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount -t sysfs -o ro sysfs /sys
mount -t cgroup2 none /sys/fs/cgroup
for place in /run /var; do mount -t tmpfs -o mode=755 tmpfs $place; done
mount -t tmpfs -o mode=1777 tmpfs /tmp
ln -s /run /var/run
mkdir /var/log /tmp/dev /tmp/dev/pts /tmp/dev/shm
for node in null zero full random urandom tty; do
    : >/tmp/dev/$node
    mount --bind /dev/$node /tmp/dev/$node
done
: >/tmp/dev/console
mount --bind /mnt/console /tmp/dev/console
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts /tmp/dev/pts
ln -s pts/ptmx /tmp/dev/ptmx
mount --rbind /tmp/dev /dev
mount --bind /mnt/bin /usr/local/bin
mount --bind /mnt/machine-id /etc/machine-id
mount -o remount,bind,ro /
exec setpriv --bounding-set=-sys_time,-sys_module,-sys_rawio,-sys_boot,-mknod,-syslog \
    env -i PATH="$PATH" container=private SYSTEMD_UNIT_PATH=/mnt/units \
    SYSTEMD_GENERATOR_PATH=/mnt/none SYSTEMD_ENVIRONMENT_GENERATOR_PATH=/mnt/none \
    /lib/systemd/systemd --system --unit=default.target --log-target=console \
    --show-status=no --crash-reboot=no --dump-core=no
)";

// systemd as process 1 of namespaces of its own.
class Machine {
public:
    explicit Machine(const Strings& programs) : cgroup_(replaced(dir.path(), "/", "-")) {
        for (const char* name : {"bin", "units", "none", "cgroup"}) dir.directory(name);
        dir.file("machine-id", "0123456789abcdef0123456789abcdef\n");
        dir.file("console", "");
        dir.file("inside.sh", inside_script);
        for (const std::string& name : programs) run({{"cp", program(name), dir / "bin/" + name}});
        for (const char* name :
             {"default", "sysinit", "basic", "shutdown", "network", "multi-user"})
            unit(name + std::string(".target"), "[Unit]\nDefaultDependencies=no\n");
        running_.reset(
            new Running(in_own_mounts(outside_script, {dir.path(), cgroup_, terminal()})));
        works_ =
            eventually([this] { return is_up() || running_->finished(); }) && !running_->finished();
    }
    ~Machine() {
        if (pid_ > 1) send_signal(pid_, SIGKILL);  // and with it all its processes
        running_->finish();
        run({{"unshare", "--mount", "sh", "-c",
              "mount -t cgroup2 none /mnt && find \"/mnt/$1\" -depth -type d -exec rmdir {} +",
              "sh", cgroup_}});
    }
    Machine(const Machine&) = delete;
    Machine& operator=(const Machine&) = delete;

    bool works() const { return works_; }
    std::string why() {
        return "systemd is no process 1 of a namespace here: " + running_->err() + console();
    }
    // What it has logged so far.
    std::string console() const {
        char piece[512];
        for (ssize_t n; (n = read(console_.get(), piece, sizeof piece)) > 0;)
            logged_.append(piece, static_cast<std::size_t>(n));
        return logged_;
    }
    void unit(const std::string& name, const std::string& text) const {
        dir.file("units/" + name, text);
    }
    void example(const std::string& name) const { unit(name, slurp("examples/systemd/" + name)); }
    void service(const std::string& lines) const { unit("one.service", "[Service]\n" + lines); }
    Outcome inside(const Strings& words) const {
        return run(Strings{"nsenter", "-t", std::to_string(pid_), "-m", "-p", "-n", "-i", "-u"} +
                   words);
    }
    Outcome ctl(const Strings& words) const {
        return inside(Strings{"systemctl", "--no-pager", "--no-ask-password"} + words);
    }
    std::string property(const std::string& unit_name, const std::string& name) const {
        const std::string text = ctl({"show", "-P", name, unit_name}).out;
        return text.substr(0, text.find('\n'));
    }
    bool comes_to(const std::string& unit_name, const std::string& name,
                  const std::string& value) const {
        return eventually([&] { return property(unit_name, name) == value; });
    }
    // As seen from here: the file, and the process by its number there.
    std::string file(const std::string& path) const {
        return "/proc/" + std::to_string(pid_) + "/root" + path;
    }
    pid_t outer(const std::string& inner) const {
        for (const pid_t pid : descendants()) {
            const std::string text = slurp("/proc/" + std::to_string(pid) + "/status");
            const std::size_t at = text.find("\nNSpid:");
            if (at == std::string::npos) continue;
            const std::string numbers = text.substr(at + 1, text.find('\n', at + 1) - at - 1);
            if (contains(numbers + "\t", "\t" + std::to_string(pid) + "\t" + inner + "\t"))
                return pid;
        }
        return 0;
    }
    pid_t pid() const { return pid_; }

    // Active, with the main process that the PID file names.
    pid_t check_runs(const std::string& unit_name, const std::string& pidfile) const {
        INFO(ctl({"status", unit_name}).out, console());
        CHECK(property(unit_name, "ActiveState") == "active");
        CHECK(property(unit_name, "SubState") == "running");
        const std::string main = property(unit_name, "MainPID");
        CHECK(slurp(file(pidfile)) == main + "\n");
        const pid_t found = outer(main);
        CHECK(found > 1);
        return found;
    }
    void check_stops(const std::string& unit_name, const std::string& pidfile,
                     bool may_remove = true) const {
        const pid_t found = outer(property(unit_name, "MainPID"));
        REQUIRE(found > 1);
        const Outcome said = ctl({"stop", unit_name});
        INFO(said.text(), console());
        CHECK(said.status == 0);
        CHECK_FALSE(alive(found));
        CHECK(property(unit_name, "ActiveState") == "inactive");
        CHECK(property(unit_name, "Result") == "success");
        // Who has dropped his rights may not remove it from root's directory: then it is empty.
        CHECK(slurp(file(pidfile)) == "");
        if (may_remove) CHECK_FALSE(exists(file(pidfile)));
    }
    // kill -9 of the main process: another one runs after it.
    void check_comes_back(const std::string& unit_name, const std::string& pidfile) const {
        const std::string before = property(unit_name, "MainPID");
        const pid_t killed = outer(before);
        REQUIRE(killed > 1);
        send_signal(killed, SIGKILL);
        REQUIRE(comes_to(unit_name, "NRestarts", "1"));
        REQUIRE(comes_to(unit_name, "ActiveState", "active"));
        CHECK(property(unit_name, "MainPID") != before);
        check_runs(unit_name, pidfile);
    }
    Scratch dir;

private:
    // It logs to a terminal only.
    std::string terminal() {
        console_ = Descriptor(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
        if (grantpt(console_.get()) != 0 || unlockpt(console_.get()) != 0)
            throw std::runtime_error("no terminal");
        fcntl(console_.get(), F_SETFL, O_NONBLOCK);
        return ptsname(console_.get());
    }
    bool is_up() {
        if (pid_ == 0)
            for (const pid_t one : descendants())
                if (facts(one).parent == running_->pid() &&
                    contains(slurp("/proc/" + std::to_string(one) + "/comm"), "systemd"))
                    pid_ = one;
        return pid_ != 0 && exists(file("/run/systemd/private")) &&
               contains(ctl({"is-system-running"}).out, "running");
    }
    std::string cgroup_;
    Descriptor console_;
    mutable std::string logged_;
    std::unique_ptr<Running> running_;
    pid_t pid_ = 0;
    bool works_ = false;
};

}  // namespace machine

#define NEEDS_TOOL(name) \
    SKIP_UNLESS(!machine::where(name).empty(), "there is no " + std::string(name))
#define NEEDS_CHECKOUT() \
    SKIP_UNLESS(exists("README.md") && exists("examples"), "not run at the top of the checkout")

#define NEEDS_MACHINE(name, ...)                                                     \
    NEEDS_MOUNTS();                                                                  \
    NEEDS_CHECKOUT();                                                                \
    NEEDS_TOOL("systemctl");                                                         \
    NEEDS_TOOL("nsenter");                                                           \
    NEEDS_TOOL("setpriv");                                                           \
    SKIP_UNLESS(exists("/lib/systemd/systemd"), "there is no /lib/systemd/systemd"); \
    machine::Machine name(Strings{__VA_ARGS__});                                     \
    SKIP_UNLESS(name.works(), name.why())

#endif
