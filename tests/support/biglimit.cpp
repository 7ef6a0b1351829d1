// A process that believes that it may open 2^30 descriptors: getrlimit() and sysconf() say so, as
// in many containers. No limit of that size can be had for a test, so the C library's words are
// replaced by ours. Who closes descriptors one by one is still at it next week.
//
//   biglimit PIDFILE [LOG [all]]
#define DAEMONIZE_IMPLEMENTATION
#include "daemonize.hpp"

#include <dlfcn.h>
#include <sys/resource.h>
#include <unistd.h>

namespace {

constexpr int huge = 1 << 30;

template <class Function>
Function next(const char* name) {
    return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

}  // namespace

#undef getrlimit
extern "C" int getrlimit(__rlimit_resource_t resource, struct rlimit* limit) noexcept {
    static const auto real = next<int (*)(__rlimit_resource_t, struct rlimit*)>("getrlimit");
    const int result = real(resource, limit);
    if (resource == RLIMIT_NOFILE) limit->rlim_cur = limit->rlim_max = huge;
    return result;
}

extern "C" int getrlimit64(__rlimit_resource_t resource, struct rlimit64* limit) noexcept {
    static const auto real = next<int (*)(__rlimit_resource_t, struct rlimit64*)>("getrlimit64");
    const int result = real(resource, limit);
    if (resource == RLIMIT_NOFILE) limit->rlim_cur = limit->rlim_max = huge;
    return result;
}

extern "C" long sysconf(int name) noexcept {
    static const auto real = next<long (*)(int)>("sysconf");
    return name == _SC_OPEN_MAX ? huge : real(name);
}

extern "C" int getdtablesize() noexcept { return huge; }

int main(int argc, char** argv) {
    daemonize::DaemonContext context;
    if (argc > 1) context.pidfile = argv[1];
    if (argc > 3) context.close_fds = daemonize::CloseFds::all;
    context.open();
    const std::string text = "explain: " + context.explain();
    if (argc > 2) {
        FILE* const log = std::fopen(argv[2], "w");
        if (log) std::fputs(text.c_str(), log);
        if (log) std::fclose(log);
    }
    for (;;) pause();
}
