#define DAEMONIZE_IMPLEMENTATION  // in exactly one .cpp file
#include "daemonize.hpp"
#include <cstdio>

int main() {
    daemonize::DaemonContext context;
    context.pidfile = "/run/minimal.pid";
    context.standard_output = "/var/log/minimal.log";
    context.open();  // the command returns to the shell here; the daemon goes on

    daemonize::SignalHandler signals(context);  // SIGINT, SIGTERM and SIGABRT end the loop
    signals.start();
    while (signals.wait_for(std::chrono::seconds(2)) == daemonize::no_signal) {
        std::puts("tick");
        std::fflush(stdout);
    }
}  // leaving main() removes the PID file
