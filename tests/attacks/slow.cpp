// A slow scheduler, made to order (LD_PRELOAD): each of the named calls takes so many microseconds
// longer, in every process or (SLOW_IN=leader) in the first one's children only.
// SLOW=send:20000,write:400000
#include <dlfcn.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace {

const pid_t first = getpid();

// May be called from a signal handler: only what may be there.
void hold(const char* name) {
    if (getenv("SLOW_IN") && getppid() != first) return;
    const char* at = getenv("SLOW");
    const std::size_t length = std::strlen(name);
    for (; at && *at; at = std::strchr(at, ',') ? std::strchr(at, ',') + 1 : nullptr) {
        if (std::strncmp(at, name, length) != 0 || at[length] != ':') continue;
        const long us = std::atol(at + length + 1);
        timespec time = {us / 1000000, us % 1000000 * 1000};
        const int kept = errno;
        while (nanosleep(&time, &time) != 0 && errno == EINTR) {
        }
        errno = kept;
    }
}

template <class Function>
Function next(const char* name) {
    Function function;
    void* const found = dlsym(RTLD_NEXT, name);
    std::memcpy(&function, &found, sizeof function);
    return function;
}

}  // namespace

extern "C" {

__attribute__((visibility("default"))) ssize_t send(int fd, const void* data, size_t size,
                                                    int flags) {
    static const auto real = next<ssize_t (*)(int, const void*, size_t, int)>("send");
    hold("send");
    return real(fd, data, size, flags);
}

__attribute__((visibility("default"))) ssize_t sendmsg(int fd, const msghdr* message, int flags) {
    static const auto real = next<ssize_t (*)(int, const msghdr*, int)>("sendmsg");
    hold("send");
    return real(fd, message, flags);
}

__attribute__((visibility("default"))) ssize_t recv(int fd, void* data, size_t size, int flags) {
    static const auto real = next<ssize_t (*)(int, void*, size_t, int)>("recv");
    hold("recv");
    return real(fd, data, size, flags);
}

__attribute__((visibility("default"))) ssize_t write(int fd, const void* data, size_t size) {
    static const auto real = next<ssize_t (*)(int, const void*, size_t)>("write");
    hold("write");
    return real(fd, data, size);
}

__attribute__((visibility("default"))) pid_t setsid() {
    static const auto real = next<pid_t (*)()>("setsid");
    hold("setsid");
    return real();
}
}
