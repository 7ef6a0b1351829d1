// Numbered lines without end, one a millisecond, in a log that somebody rotates meanwhile: whoever
// puts the pieces together again sees at once what was lost, doubled or torn.
//
//   counter start|stop|restart|reload|status|run --pidfile P --stdout F
#define DAEMONIZE_IMPLEMENTATION
#include "daemonize.hpp"

#include <chrono>
#include <cstdio>
#include <cstring>

namespace {

int count(daemonize::DaemonContext& daemon) {
    daemonize::SignalHandler signals(daemon);  // reload: control()'s own, reopen_streams()
    signals.start();
    daemon.ready();
    unsigned long number = 0;
    do {
        std::printf("line %lu\n", ++number);
        std::fflush(stdout);
    } while (signals.wait_for(std::chrono::milliseconds(1)) == daemonize::no_signal);
    std::printf("end %lu\n", number);
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    daemonize::DaemonContext context;
    for (int i = 2; i + 1 < argc; i += 2) {
        if (std::strcmp(argv[i], "--pidfile") == 0) context.pidfile = argv[i + 1];
        if (std::strcmp(argv[i], "--stdout") == 0) context.standard_output = argv[i + 1];
    }
    // The options are taken: only the verb is left for control().
    return daemonize::control(argc < 2 ? argc : 2, argv, context, count);
}
