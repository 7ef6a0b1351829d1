// The same daemon by libdaemon, as its manual shows it: the peer beside which the header is
// measured where <libdaemon/daemon.h> is installed. Same command line as the candidate.
#include <libdaemon/daemon.h>

#include <signal.h>
#include <sys/select.h>
#include <sys/stat.h>

#include "tests/bench/common.hpp"

namespace {

const char* pidfile;
const char* named() { return pidfile; }

// The daemon's half; its answer is what daemon_retval_wait() returns in the launcher.
int serve(const bench::Options& options, long long t0) {
    if (daemon_close_all(-1) < 0 || daemon_pid_file_create() < 0 ||
        daemon_signal_init(SIGTERM, SIGINT, SIGHUP, 0) < 0)
        return 1;
    umask(027);
    daemon_retval_send(0);
    if (!bench::say_ready(options, t0)) return 1;
    const int signals = daemon_signal_fd();
    for (int signum = 0; signum != SIGTERM;) {
        fd_set readable;
        FD_ZERO(&readable);
        FD_SET(signals, &readable);
        if (select(signals + 1, &readable, nullptr, nullptr, nullptr) > 0)
            signum = daemon_signal_next();
    }
    daemon_signal_done();
    daemon_pid_file_remove();
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    const bench::Options options = bench::parse(argc, argv);
    pidfile = options.pidfile;
    daemon_log_ident = daemon_pid_file_ident = daemon_ident_from_argv0(argv[0]);
    daemon_pid_file_proc = named;
    if (!bench::take_memory(options)) return 1;

    const long long t0 = bench::now_ns();
    if (daemon_reset_sigs(-1) < 0 || daemon_unblock_sigs(-1) < 0) return 1;
    if (daemon_pid_file_is_running() >= 0 || daemon_retval_init() < 0) return 1;
    const pid_t pid = daemon_fork();
    if (pid < 0) return 1;
    if (pid > 0) return daemon_retval_wait(20) == 0 ? 0 : 1;
    const int status = serve(options, t0);
    if (status != 0) daemon_retval_send(status);
    return status;
}
