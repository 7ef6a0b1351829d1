// signals: copies its input to its output, as cat does, and listens to signals meanwhile:
//
//     SIGUSR1          says on stderr how much it was, as dd does
//     SIGHUP           the same, and counts from nothing again
//     SIGINT, SIGTERM  says it once more and ends
//
// Exit status 1: a read or a write failed. No daemon: a SignalHandler by itself, in an event loop
// of one's own. native_handle() is one more descriptor to poll; what the signals do happens inside
// poll(), in normal context.
#define DAEMONIZE_IMPLEMENTATION
#include "daemonize.hpp"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace {

unsigned long long bytes = 0, reads = 0;
int status = 0;

void tell() { std::fprintf(stderr, "signals: %llu bytes in %llu reads\n", bytes, reads); }

bool failed(const char* what) {
    std::fprintf(stderr, "signals: cannot %s: %s\n", what, std::strerror(errno));
    status = 1;
    return false;
}

// False at the end of the input and where either end fails.
bool copy_piece() {
    char piece[65536];
    const ssize_t got = read(0, piece, sizeof piece);
    if (got < 0 && errno == EINTR) return true;
    if (got < 0) return failed("read");
    if (got == 0) return false;
    bytes += static_cast<unsigned long long>(got);
    ++reads;
    for (ssize_t done = 0; done < got;) {
        const ssize_t n = write(1, piece + done, static_cast<std::size_t>(got - done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return failed("write");
        done += n;
    }
    return true;
}

}  // namespace

int main() {
    daemonize::SignalHandler signals;
    signals.reload = [](int) {
        tell();
        bytes = reads = 0;
    };
    signals.on(SIGUSR1, [](int) { tell(); });
    signals.start();

    pollfd sources[] = {{0, POLLIN, 0}, {static_cast<int>(signals.native_handle()), POLLIN, 0}};
    for (bool more = true; more;) {
        if (::poll(sources, 2, -1) < 0 && errno != EINTR) return 1;
        // A signal with the default action report_signal ends the loop; callbacks return 0 here.
        if (signals.poll() != daemonize::no_signal) break;
        if (sources[0].revents != 0) more = copy_piece();
    }
    tell();
    return status;
}
