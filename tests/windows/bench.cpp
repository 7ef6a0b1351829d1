// What the header costs on Windows, beside the least that could do: medians, both sides in turns in
// one run. The program is launcher, daemon and floor in one; without words it measures.
#define DAEMONIZE_IMPLEMENTATION
#include "daemonize.hpp"

#include <windows.h>

#include <cstdio>
#include <string>
#include <vector>

namespace {

// What measured processes have in common.
struct Shared {
    volatile LONGLONG handled;
};

const wchar_t* const event_name = L"daemonize-bench-event";
const wchar_t* const section_name = L"daemonize-bench-section";

LONGLONG now() {
    LARGE_INTEGER counter;
    QueryPerformanceCounter(&counter);
    return counter.QuadPart;
}

double milliseconds(LONGLONG ticks) {
    LARGE_INTEGER frequency;
    QueryPerformanceFrequency(&frequency);
    return 1000.0 * static_cast<double>(ticks) / static_cast<double>(frequency.QuadPart);
}

double median(std::vector<LONGLONG> times) {
    for (std::size_t i = 1; i < times.size(); ++i)
        for (std::size_t k = i; k > 0 && times[k] < times[k - 1]; --k)
            std::swap(times[k], times[k - 1]);
    return times.empty() ? 0 : milliseconds(times[times.size() / 2]);
}

Shared* shared() {
    const HANDLE section = CreateFileMappingW(INVALID_HANDLE_VALUE, nullptr, PAGE_READWRITE, 0,
                                              sizeof(Shared), section_name);
    return static_cast<Shared*>(MapViewOfFile(section, FILE_MAP_WRITE, 0, 0, 0));
}

// The least: the program again, which says by an event that it runs.
int floor_child() {
    const HANDLE event = OpenEventW(EVENT_MODIFY_STATE, FALSE, event_name);
    return event && SetEvent(event) ? 0 : 1;
}

LONGLONG floor_start(const std::wstring& path) {
    const HANDLE event = CreateEventW(nullptr, TRUE, FALSE, event_name);
    std::wstring command = L"\"" + path + L"\" floor";
    STARTUPINFOW info = {};
    info.cb = sizeof info;
    PROCESS_INFORMATION made = {};
    const LONGLONG began = now();
    CreateProcessW(nullptr, &command[0], nullptr, nullptr, FALSE, CREATE_NO_WINDOW, nullptr,
                   nullptr, &info, &made);
    WaitForSingleObject(event, 20000);
    const LONGLONG took = now() - began;
    WaitForSingleObject(made.hProcess, 20000);
    CloseHandle(made.hThread);
    CloseHandle(made.hProcess);
    CloseHandle(event);
    return took;
}

int be_daemon(daemonize::DaemonContext& context) {
    Shared* const memory = shared();
    daemonize::SignalHandler signals(context);
    signals.on(16, [memory](int) { memory->handled = now(); });
    signals.start();
    context.ready();
    while (signals.wait() != SIGTERM) {
    }
    return 0;
}

int row(const char* what, double value, double aim, const char* unit) {
    std::printf("%-46s %8.2f %-9s aim %6.2f  %s\n", what, value, unit, aim,
                value <= aim ? "kept" : "MISSED");
    return value <= aim ? 0 : 1;
}

void measure_signals(const std::string& pidfile, Shared* memory, std::vector<LONGLONG>& handled,
                     std::vector<LONGLONG>& swapped, int rounds) {
    daemonize::PidFile file(pidfile);
    daemonize::Error error;
    for (int round = 0; round < rounds; ++round) {
        Sleep(100);  // idle
        const long before = file.read(error);
        memory->handled = 0;
        const LONGLONG began = now();
        if (!daemonize::send(pidfile, 16, error)) continue;
        while (file.read(error) == before && milliseconds(now() - began) < 2000) {
        }
        swapped.push_back(now() - began);
        while (memory->handled == 0 && milliseconds(now() - began) < 2000) Sleep(0);
        handled.push_back(memory->handled - began);
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc > 1 && std::string(argv[1]) == "floor") return floor_child();
    const std::string pidfile = argc > 1 ? argv[1] : "bench-windows.pid";
    Shared* const memory = shared();
    std::vector<LONGLONG> floors, starts, stops, handled, swapped;
    wchar_t path[MAX_PATH];
    GetModuleFileNameW(nullptr, path, MAX_PATH);
    for (int round = 0; round < 21; ++round) {
        daemonize::DaemonContext context;
        daemonize::Error error;
        context.pidfile = pidfile;
        context.ready_by_hand = true;
        context.payload = std::string(1024, 'x');
        if (round > 0 || daemonize::is_setup()) floors.push_back(floor_start(path));
        const LONGLONG began = now();
        if (context.start(error) == daemonize::Role::daemon) return be_daemon(context);
        starts.push_back(now() - began);
        if (error) {
            std::printf("%s\n", error.text.c_str());
            return 1;
        }
        measure_signals(pidfile, memory, handled, swapped, 5);
        const LONGLONG asked = now();
        daemonize::stop(pidfile, std::chrono::seconds(10), error);
        stops.push_back(now() - asked);
    }
    std::printf("floor: CreateProcess and an event %.2f ms; stop %.2f ms\n", median(floors),
                median(stops));
    int missed = row("start with 1 KB of payload, until ready", median(starts) / median(floors), 2,
                     "x floor");
    missed += row("a daughter replaced in the file", median(swapped), 15, "ms");
    missed += row("send to handler, idle", median(handled), 2, "ms");
    return missed == 0 ? 0 : 1;
}
