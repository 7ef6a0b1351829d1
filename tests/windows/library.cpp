// A library that holds the header, for a program that unloads it.
#define DAEMONIZE_IMPLEMENTATION
#include "daemonize.hpp"

extern "C" __declspec(dllexport) void watch();

void watch() {
    static daemonize::SignalHandler signals;
    signals.start();
}
