// The header as it is measured: the usual start with a PID file, and stop.
//
//     bench-candidate --pidfile P --ready-fifo F [--mem-mib N --thp off|on]
//     bench-candidate --stop P
#define DAEMONIZE_IMPLEMENTATION
#include "daemonize.hpp"

#include "tests/bench/common.hpp"

int main(int argc, char** argv) {
    const bench::Options options = bench::parse(argc, argv);
    if (options.stop != nullptr) {
        daemonize::Error error;
        daemonize::stop(options.stop, std::chrono::seconds(10), error);
        if (error) std::fprintf(stderr, "bench-candidate: %s\n", error.text.c_str());
        return error ? 1 : 0;
    }
    if (!bench::take_memory(options)) return 1;

    daemonize::DaemonContext context;
    context.pidfile = options.pidfile;
    context.detach_process = daemonize::Detach::yes;
    const long long t0 = bench::now_ns();
    context.open();

    daemonize::SignalHandler signals(context);
    signals.start();
    if (!bench::say_ready(options, t0)) return 1;
    signals.wait();
    return 0;
}
