// What the floor and the candidate share: their command line, the memory that they may hold before
// the start, and the line by which the daemon says that it runs. Linux.
#ifndef DAEMONIZE_BENCH_COMMON_HPP
#define DAEMONIZE_BENCH_COMMON_HPP

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace bench {

struct Options {
    const char* pidfile = "";
    const char* ready_fifo = "";
    const char* stop = nullptr;
    long mem_mib = 0;
    bool thp = false;
};

// Pairs of option and value; a pair that is not known is passed over.
inline Options parse(int argc, char** argv) {
    Options options;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (std::strcmp(argv[i], "--pidfile") == 0) options.pidfile = argv[i + 1];
        if (std::strcmp(argv[i], "--ready-fifo") == 0) options.ready_fifo = argv[i + 1];
        if (std::strcmp(argv[i], "--stop") == 0) options.stop = argv[i + 1];
        if (std::strcmp(argv[i], "--mem-mib") == 0) options.mem_mib = std::atol(argv[i + 1]);
        if (std::strcmp(argv[i], "--thp") == 0) options.thp = std::strcmp(argv[i + 1], "on") == 0;
    }
    return options;
}

inline long long now_ns() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

// One line by one write, so that lines of several processes do not mix.
inline bool say(const char* fifo, const char* line, int length) {
    const int fd = open(fifo, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return false;
    const bool done = write(fd, line, static_cast<std::size_t>(length)) == length;
    close(fd);
    return done;
}

inline bool say_ready(const Options& options, long long t0) {
    char line[96];
    const int length = std::snprintf(line, sizeof line, "R %ld %lld %lld\n",
                                     static_cast<long>(getpid()), now_ns(), t0);
    return say(options.ready_fifo, line, length);
}

// Memory of the size that was asked for, touched page by page, then "S <now>".
inline bool take_memory(const Options& options) {
    if (options.mem_mib <= 0) return true;
    if (!options.thp) prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    const std::size_t size = static_cast<std::size_t>(options.mem_mib) << 20;
    void* const start =
        mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED) return false;
    if (options.thp) madvise(start, size, MADV_HUGEPAGE);
    volatile char* const bytes = static_cast<volatile char*>(start);
    for (std::size_t i = 0; i < size; i += 4096) bytes[i] = 1;
    char line[48];
    const int length = std::snprintf(line, sizeof line, "S %lld\n", now_ns());
    return say(options.ready_fifo, line, length);
}

}  // namespace bench

#endif  // DAEMONIZE_BENCH_COMMON_HPP
