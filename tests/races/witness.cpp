// A daemon that notices a twin of itself: while it serves, between ready() and its end, it holds a
// record lock of its own on a second file, the witness. If somebody else holds that, two of them
// serve at once: both numbers are appended to WITNESS.twins. Who serves appends its own number to
// WITNESS.served, before it says that it is ready.
//
//     witness VERB --pidfile P --witness W [--tag N]
//
// The tag does nothing. It stands in /proc/PID/cmdline, so that an observer knows which start a
// process belongs to.
#define DAEMONIZE_IMPLEMENTATION
#include "daemonize.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>

namespace {

std::string witness;

struct flock whole_file(short type) {
    struct flock lock;
    std::memset(&lock, 0, sizeof lock);
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    return lock;
}

void tell(const char* where, const std::string& line) {
    const std::string path = witness + where;
    const int file = open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0 || write(file, line.data(), line.size()) != static_cast<ssize_t>(line.size()))
        _exit(99);
    close(file);
}

// On descriptor 0, and no flock(): when a process is killed the kernel gives back record locks in
// the order of the descriptors, and before any flock(). So the witness is free before the PID file.
bool enter() {
    const int file = open(witness.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0 || dup2(file, 0) != 0) return false;
    close(file);  // gives back no lock: there is none yet
    struct flock lock = whole_file(F_WRLCK);
    const std::string self = std::to_string(getpid());
    if (fcntl(0, F_SETLK, &lock) != 0) {
        lock = whole_file(F_WRLCK);
        if (fcntl(0, F_GETLK, &lock) != 0) return false;
        const long other = lock.l_type == F_UNLCK ? 0 : lock.l_pid;
        tell(".twins", self + " beside " + std::to_string(other) + "\n");
    }
    tell(".served", self + "\n");
    return true;
}

void leave() {
    struct flock lock = whole_file(F_UNLCK);
    fcntl(0, F_SETLK, &lock);
}

int serve(daemonize::DaemonContext& daemon) {
    daemonize::SignalHandler signals(daemon);
    signals.reload = [](int) {};
    signals.start();
    if (!enter()) daemon.fail("cannot open the witness " + witness);
    daemon.ready();
    signals.wait();
    leave();  // before the PID file is given back, which is after this function
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    daemonize::DaemonContext context;
    for (int i = 2; i + 1 < argc; i += 2) {
        if (std::strcmp(argv[i], "--pidfile") == 0) context.pidfile = argv[i + 1];
        if (std::strcmp(argv[i], "--witness") == 0) witness = argv[i + 1];
    }
    return daemonize::control(argc > 2 ? 2 : argc, argv, context, serve);
}
