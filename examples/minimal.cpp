#define DAEMONIZE_IMPLEMENTATION  // in exactly one .cpp
#include "daemonize.hpp"
#include <chrono>
#include <cstdio>

int main() {
    daemonize::DaemonContext context;
    context.pidfile = "/run/minimal.pid";
    context.standard_output = "/var/log/minimal.log";
    context.open();  // the shell has its prompt back, with a truthful $?

    daemonize::SignalHandler signals(context);  // SIGINT, SIGTERM, SIGABRT; also on Windows
    signals.start();
    while (signals.wait_for(std::chrono::seconds(2)) == daemonize::no_signal) {
        std::puts("tick");
        std::fflush(stdout);
    }
}  // the PID file is gone, the exit status is kept
