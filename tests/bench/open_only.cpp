// A program that uses open() alone: what it pays for is weighed by `make size`. Its daemon waits for
// the signal that ends it.
//
//     bench-open-only PIDFILE
#define DAEMONIZE_IMPLEMENTATION
#include "daemonize.hpp"

#include <unistd.h>

int main(int argc, char** argv) {
    daemonize::DaemonContext context;
    if (argc > 1) context.pidfile = argv[1];
    context.open();
    for (;;) pause();
}
