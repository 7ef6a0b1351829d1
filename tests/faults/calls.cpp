#include "calls.hpp"

#if defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__))

#include <fcntl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <sstream>

namespace faults {

namespace {

struct ErrorName {
    int number;
    const char* name;
};
const ErrorName error_names[] = {
    {EACCES, "EACCES"}, {EAGAIN, "EAGAIN"},   {EBUSY, "EBUSY"},           {ECHILD, "ECHILD"},
    {EDQUOT, "EDQUOT"}, {EEXIST, "EEXIST"},   {EFBIG, "EFBIG"},           {EINTR, "EINTR"},
    {EINVAL, "EINVAL"}, {EIO, "EIO"},         {ELOOP, "ELOOP"},           {EMFILE, "EMFILE"},
    {ENFILE, "ENFILE"}, {ENOBUFS, "ENOBUFS"}, {ENOENT, "ENOENT"},         {ENOLCK, "ENOLCK"},
    {ENOMEM, "ENOMEM"}, {ENOSPC, "ENOSPC"},   {ENOSYS, "ENOSYS"},         {ENOTCONN, "ENOTCONN"},
    {ENXIO, "ENXIO"},   {EPERM, "EPERM"},     {EPIPE, "EPIPE"},           {EROFS, "EROFS"},
    {ESRCH, "ESRCH"},   {ENOTTY, "ENOTTY"},   {ECONNRESET, "ECONNRESET"},
};

struct Row {
    long number;
    const char* name;
    const char* errors;
    int path;  // which argument is a path
};

#define ROW(name, errors, path) \
    { SYS_##name, #name, errors, path }
const char* const opening = "EACCES ENOENT EMFILE ENFILE EINTR EIO ELOOP ENOMEM EPERM ENXIO";
const char* const looking = "EACCES ENOENT EIO ELOOP ENOMEM";
const char* const forking = "EAGAIN ENOMEM ENOSYS";
const char* const waiting = "EINTR ENOMEM";
const char* const making = "EMFILE ENFILE ENOMEM";
const char* const changing = "EACCES EPERM EROFS EIO ENOSPC";
// In the order of the alphabet within each group.
const Row rows[] = {
    // Names
    ROW(chdir, "EACCES ENOENT EIO ENOMEM", 0),
    ROW(chroot, "EACCES ENOENT EPERM", 0),
    ROW(faccessat, looking, 1),
    ROW(fchdir, "EACCES EIO", -1),
    ROW(fchmod, "EPERM EIO EROFS", -1),
    ROW(fchown, "EPERM EIO EROFS", -1),
    ROW(getcwd, "ENOENT EACCES ENOMEM", -1),
    ROW(mkdirat, changing, 1),
    ROW(newfstatat, looking, 1),
    ROW(openat, opening, 1),
    ROW(readlinkat, "EACCES ENOENT EIO", 1),
    ROW(unlinkat, "EACCES EPERM EBUSY EROFS EIO", 1),
#ifdef SYS_open
    ROW(access, looking, 0),
    ROW(mkdir, changing, 0),
    ROW(open, opening, 0),
    ROW(readlink, "EACCES ENOENT EIO", 0),
    ROW(unlink, "EACCES EPERM EBUSY EROFS EIO", 0),
    ROW(stat, looking, 0),
    ROW(lstat, looking, 0),
    ROW(rename, changing, 0),
    ROW(rmdir, "EACCES EPERM EBUSY EROFS EIO", 0),
#endif
    ROW(linkat, changing, 1),
    ROW(renameat2, changing, 1),
    ROW(statx, looking, 1),
    // Descriptors
    ROW(close, "EINTR EIO", -1),
    ROW(close_range, "ENOSYS EPERM ENOMEM", -1),
    ROW(dup, "EMFILE", -1),
    ROW(dup3, "EMFILE EBUSY EINTR", -1),
    ROW(fcntl, "", -1),
    ROW(flock, "EINTR ENOLCK EAGAIN", -1),
    ROW(fstat, "EIO ENOMEM", -1),
    ROW(fsync, "EIO ENOSPC EINTR", -1),
    ROW(ftruncate, "EINTR EIO EFBIG EPERM", -1),
    ROW(getdents64, "EIO ENOENT", -1),
    ROW(ioctl, "ENOTTY EIO", -1),
    ROW(lseek, "", -1),
    ROW(pread64, "EINTR EIO", -1),
    ROW(pwrite64, "EINTR EIO ENOSPC EDQUOT EFBIG", -1),
    ROW(read, "EINTR EIO", -1),
    ROW(readv, "EINTR EIO", -1),
    ROW(write, "EINTR EIO ENOSPC EPIPE EAGAIN", -1),
    ROW(writev, "EINTR EIO ENOSPC EPIPE EAGAIN", -1),
    ROW(pipe2, making, -1),
    ROW(eventfd2, making, -1),
    ROW(epoll_create1, making, -1),
    ROW(epoll_ctl, "ENOMEM ENOSPC", -1),
    ROW(epoll_pwait, "EINTR", -1),
    ROW(ppoll, waiting, -1),
    ROW(pselect6, waiting, -1),
    ROW(signalfd4, making, -1),
    ROW(timerfd_create, making, -1),
    ROW(timerfd_settime, "", -1),
#ifdef SYS_poll
    ROW(dup2, "EMFILE EBUSY EINTR", -1),
    ROW(epoll_wait, "EINTR", -1),
    ROW(pipe, making, -1),
    ROW(poll, waiting, -1),
    ROW(select, waiting, -1),
#endif
    // Sockets
    ROW(bind, "EACCES ENOMEM", -1),
    ROW(connect, "EACCES EAGAIN EINTR", -1),
    ROW(getpeername, "ENOBUFS", -1),
    ROW(getsockname, "ENOBUFS", -1),
    ROW(getsockopt, "ENOMEM", -1),
    ROW(setsockopt, "ENOMEM", -1),
    ROW(recvfrom, "EINTR EAGAIN ECONNRESET ENOMEM", -1),
    ROW(recvmsg, "EINTR EAGAIN ECONNRESET ENOMEM", -1),
    ROW(sendto, "EINTR EAGAIN EPIPE ECONNRESET ENOBUFS ENOMEM", -1),
    ROW(sendmsg, "EINTR EAGAIN EPIPE ECONNRESET ENOBUFS ENOMEM", -1),
    ROW(shutdown, "ENOTCONN", -1),
    ROW(socket, "EMFILE ENFILE ENOBUFS ENOMEM EACCES", -1),
    ROW(socketpair, "EMFILE ENFILE ENOBUFS ENOMEM", -1),
    // Processes and signals
    ROW(clone, forking, -1),
    ROW(clone3, forking, -1),
    ROW(execve, "", 0),
    ROW(exit_group, "", -1),
    ROW(kill, "EPERM", -1),
    ROW(pidfd_open, "EMFILE ENFILE ENOMEM ENOSYS EPERM", -1),
    ROW(pidfd_send_signal, "EPERM ENOSYS", -1),
    ROW(prctl, "EPERM EINVAL", -1),
    ROW(prlimit64, "EPERM", -1),
    ROW(rt_sigaction, "", -1),
    ROW(rt_sigpending, "", -1),
    ROW(rt_sigprocmask, "", -1),
    ROW(rt_sigreturn, "", -1),
    ROW(rt_sigsuspend, "", -1),
    ROW(rt_sigtimedwait, "EINTR EAGAIN", -1),
    ROW(setpgid, "EPERM EACCES", -1),
    ROW(setsid, "EPERM", -1),
    ROW(tgkill, "EPERM EAGAIN", -1),
    ROW(umask, "", -1),
    ROW(wait4, "EINTR ECHILD", -1),
    ROW(waitid, "EINTR ECHILD", -1),
    ROW(clock_nanosleep, "EINTR", -1),
    ROW(nanosleep, "EINTR", -1),
    ROW(restart_syscall, "", -1),
    ROW(set_robust_list, "", -1),
    ROW(set_tid_address, "", -1),
    ROW(rseq, "", -1),
    ROW(futex, "", -1),
    ROW(sched_yield, "", -1),
#ifdef SYS_fork
    ROW(alarm, "", -1),
    ROW(fork, forking, -1),
    ROW(getpgrp, "", -1),
    ROW(pause, "", -1),
    ROW(vfork, forking, -1),
#endif
    // Identity
    ROW(capget, "EPERM", -1),
    ROW(capset, "EPERM", -1),
    ROW(getegid, "", -1),
    ROW(geteuid, "", -1),
    ROW(getgid, "", -1),
    ROW(getgroups, "", -1),
    ROW(getpgid, "", -1),
    ROW(getpid, "", -1),
    ROW(getppid, "", -1),
    ROW(getresgid, "", -1),
    ROW(getresuid, "", -1),
    ROW(getsid, "", -1),
    ROW(gettid, "", -1),
    ROW(getuid, "", -1),
    ROW(setgid, "EPERM", -1),
    ROW(setgroups, "EPERM ENOMEM", -1),
    ROW(setresgid, "EPERM", -1),
    ROW(setresuid, "EPERM EAGAIN", -1),
    ROW(setuid, "EPERM EAGAIN", -1),
    // Memory and the rest
    ROW(brk, "ENOMEM", -1),
    ROW(clock_gettime, "", -1),
    ROW(getrandom, "EINTR ENOSYS", -1),
    ROW(madvise, "", -1),
    ROW(mmap, "ENOMEM", -1),
    ROW(mprotect, "ENOMEM", -1),
    ROW(munmap, "", -1),
    ROW(sysinfo, "", -1),
    ROW(uname, "", -1),
};
#undef ROW

const Row* row_of(long number) {
    const auto found = std::find_if(std::begin(rows), std::end(rows),
                                    [number](const Row& row) { return row.number == number; });
    return found == std::end(rows) ? nullptr : found;
}

// A record lock may be refused, a flag of an open descriptor only by a security module.
std::string errors_of_fcntl(std::uint64_t command) {
    switch (static_cast<int>(command)) {
        case F_SETLK:
            return "EAGAIN EACCES EINTR ENOLCK ENOMEM";
        case F_SETLKW:
            return "EINTR ENOLCK ENOMEM";
        case F_GETLK:
            return "ENOLCK EACCES EINTR";
        case F_DUPFD:
        case F_DUPFD_CLOEXEC:
            return "EMFILE ENOMEM";
        case F_SETFL:
        case F_SETFD:
            return "EPERM EACCES";
        case F_GETFL:
            return "EACCES";
        default:
            return "";
    }
}

bool has_flag(std::uint64_t flags, int flag) { return (static_cast<int>(flags) & flag) != 0; }

// What depends on the arguments: only a file that is made needs room; a descriptor has no name.
std::string errors_text(const Call& call, const Row& row) {
    const std::uint64_t* const a = call.arguments;
    if (call.number == SYS_fcntl) return errors_of_fcntl(a[1]);
    if (call.number == SYS_newfstatat && has_flag(a[3], AT_EMPTY_PATH)) return "EIO ENOMEM";
    std::string errors = row.errors;
    if (call.number == SYS_openat && has_flag(a[2], O_CREAT)) errors += " ENOSPC EDQUOT EROFS";
    if (call.number == SYS_openat && has_flag(a[2], O_EXCL)) errors += " EEXIST";
    return errors;
}

}  // namespace

std::string name_of(long number) {
    const Row* const row = row_of(number);
    return row ? row->name : "call-" + std::to_string(number);
}

std::vector<int> errors_of(const Call& call) {
    std::vector<int> found;
    const Row* const row = row_of(call.number);
    if (!row) return found;
    std::istringstream names(errors_text(call, *row));
    for (std::string name; names >> name;) found.push_back(error_number(name));
    return found;
}

bool is_done_anyway(long number) { return number == SYS_close; }
bool is_heap(long number) { return number == SYS_brk; }

int path_argument(long number) {
    const Row* const row = row_of(number);
    return row ? row->path : -1;
}

std::string error_name(int error) {
    for (const ErrorName& entry : error_names)
        if (entry.number == error) return entry.name;
    return std::to_string(error);
}

int error_number(const std::string& name) {
    for (const ErrorName& entry : error_names)
        if (name == entry.name) return entry.number;
    return 0;
}

}  // namespace faults

#endif
