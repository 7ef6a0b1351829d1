// A program that uses PidFile alone: what it pays for is weighed by `make size`. It wants to be the
// only one, waits for a line on its standard input, and leaves.
//
//     bench-pidfile-only PIDFILE
#define DAEMONIZE_IMPLEMENTATION
#include "daemonize.hpp"

#include <cstdio>

int main(int argc, char** argv) {
    try {
        daemonize::PidFile alone(argc > 1 ? argv[1] : "");
        alone.acquire();
        std::getchar();
        return 0;
    } catch (const daemonize::DaemonError& error) {
        std::fprintf(stderr, "bench-pidfile-only: %s\n", error.what());
        return 1;
    }
}
