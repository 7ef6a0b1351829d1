// A daemon as it is often written: it works, and hardly asks whether a call has failed. The fault
// engine must find each kind of defect in it; at each is the verdict that it earns.
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

std::string pidfile, out, err, busy;
bool fails = false;
volatile sig_atomic_t term = 0, hup = 0;

void take(int signum) { (signum == SIGTERM ? term : hup) = 1; }

void ignore(long) {}  // what a call has returned

void redirect(const std::string& path, int to) {
    const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0640);
    dup2(file, to);
    close(file);
}

[[noreturn]] void work() {
    sigset_t both, none;
    sigemptyset(&none);
    sigemptyset(&both);
    sigaddset(&both, SIGTERM);
    sigaddset(&both, SIGHUP);
    sigprocmask(SIG_BLOCK, &both, nullptr);
    signal(SIGTERM, take);
    signal(SIGHUP, take);
    for (;;) {
        if (term) {
            unlink(pidfile.c_str());  // stale file: what if not?
            _exit(0);
        }
        if (hup) ignore(write(1, "hup\n", 4));
        hup = 0;
        sigsuspend(&none);
    }
}

[[noreturn]] void become_daemon(int file, int ready) {
    setsid();
    ignore(chdir("/"));  // degraded
    umask(027);
    void* const room =
        mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    std::memset(room, 1, 4096);  // crash
    redirect("/dev/null", 0);
    redirect(out, 1);
    if (fails) {
        std::fputs("sloppy: it fails\n", stderr);
        unlink(pidfile.c_str());
        rmdir(busy.c_str());
        _exit(1);
    }
    const std::string text = std::to_string(getpid()) + "\n";
    ignore(ftruncate(file, 0));
    ignore(pwrite(file, text.data(), text.size(), 0));  // lie
    redirect(err, 2);
    ignore(write(ready, "r", 1));
    close(ready);
    work();
}

int start() {
    if (mkdir(busy.c_str(), 0700) != 0) {
        std::fputs("sloppy: a start is under way\n", stderr);
        return 1;
    }
    const int file = open(pidfile.c_str(), O_RDWR | O_CREAT, 0644);
    if (file < 0) {
        rmdir(busy.c_str());
        return 1;  // silent
    }
    if (flock(file, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {  // twins
        rmdir(busy.c_str());
        std::fputs("sloppy: it runs\n", stderr);
        return 1;
    }
    int ready[2];
    ignore(pipe(ready));
    const pid_t child = fork();  // -1, of which more below; leftover: the PID file stays
    if (child == 0) {
        close(ready[0]);
        become_daemon(file, ready[1]);
    }
    close(ready[1]);
    char byte;
    ssize_t got = child < 0 ? 0 : read(ready[0], &byte, 1);
    if (got < 0) waitpid(child, nullptr, 0);  // hang
    rmdir(busy.c_str());                      // blocked: who is killed before leaves it
    if (got == 1) return 0;
    if (!fails) {
        kill(child, SIGKILL);  // stranger
        std::fputs("sloppy: it has not started\n", stderr);
    }
    return 1;
}

pid_t read_pid() {
    char text[32] = {};
    const int file = open(pidfile.c_str(), O_RDONLY);
    if (file < 0) return 0;
    ignore(read(file, text, sizeof text - 1));
    const bool runs = flock(file, LOCK_SH | LOCK_NB) != 0;
    close(file);
    const pid_t pid = static_cast<pid_t>(std::atol(text));
    return runs ? pid : -pid;
}

int stop() {
    const pid_t pid = read_pid();
    if (pid < 0) unlink(pidfile.c_str());
    if (pid <= 0) return 0;
    kill(pid, SIGTERM);
    const struct timespec moment = {0, 1000000};
    while (kill(pid, 0) == 0) nanosleep(&moment, nullptr);
    return 0;
}

int reload() {
    const pid_t pid = read_pid();
    if (pid > 0) kill(pid, SIGHUP);
    return pid > 0 ? 0 : 7;
}

int status() {
    const pid_t pid = read_pid();
    std::printf("process %ld\n", static_cast<long>(pid));
    return pid > 0 ? 0 : pid < 0 ? 1 : 3;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 8) return 2;
    const std::string verb = argv[1];
    pidfile = argv[3], out = argv[5], err = argv[7];
    busy = pidfile + ".busy";
    fails = argc > 8 && std::strcmp(argv[8], "--fail-init") == 0;
    if (verb == "stop") return stop();
    if (verb == "restart") {
        stop();
        return start();
    }
    return verb == "start" ? start() : verb == "reload" ? reload() : status();
}
