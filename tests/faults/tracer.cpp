#include "tracer.hpp"

#if defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__))

#include <elf.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "../support/harness.hpp"

namespace faults {

namespace {

const long options = PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK |
                     PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC |
                     PTRACE_O_TRACEEXIT;
const int call_stop = SIGTRAP | 0x80;
const Millis delay{20}, silence{20};
const int strays[] = {9, 77};  // descriptors that the program inherits

// ptrace() takes what it needs as a pointer or as a number of a pointer's size.
void* number(std::uint64_t value) { return reinterpret_cast<void*>(value); }

long trace(int request, pid_t pid, void* address = nullptr, void* data = nullptr) {
    return ptrace(static_cast<__ptrace_request>(request), pid, address, data);
}

// ---- What each machine has a way of its own for -------------------------------------------------

using Registers = struct user_regs_struct;

bool get_registers(pid_t pid, Registers& registers) {
    struct iovec room = {&registers, sizeof registers};
    return trace(PTRACE_GETREGSET, pid, number(NT_PRSTATUS), &room) == 0;
}
bool set_registers(pid_t pid, Registers& registers) {
    struct iovec room = {&registers, sizeof registers};
    return trace(PTRACE_SETREGSET, pid, number(NT_PRSTATUS), &room) == 0;
}

#ifdef __x86_64__

const std::uint64_t pc_after_break = 1;
long with_break(long word) { return (word & ~0xffL) | 0xcc; }
std::uint64_t program_counter(const Registers& registers) { return registers.rip; }
void set_program_counter(Registers& registers, std::uint64_t to) { registers.rip = to; }

// A call of number -1 is not done.
void cancel_call(pid_t pid) {
    Registers registers;
    if (!get_registers(pid, registers)) return;
    registers.orig_rax = ~0ULL;
    set_registers(pid, registers);
}
void set_result(pid_t pid, long result) {
    Registers registers;
    if (!get_registers(pid, registers)) return;
    registers.rax = static_cast<unsigned long long>(result);
    set_registers(pid, registers);
}
void set_first_argument(pid_t pid, std::uint64_t value) {
    Registers registers;
    if (!get_registers(pid, registers)) return;
    registers.rdi = value;
    set_registers(pid, registers);
}

#else

const std::uint64_t pc_after_break = 0;
long with_break(long word) { return (word & ~0xffffffffL) | 0xd4200000L; }
std::uint64_t program_counter(const Registers& registers) { return registers.pc; }
void set_program_counter(Registers& registers, std::uint64_t to) { registers.pc = to; }

void cancel_call(pid_t pid) {
    int none = -1;
    struct iovec room = {&none, sizeof none};
    trace(PTRACE_SETREGSET, pid, number(0x404 /* NT_ARM_SYSTEM_CALL */), &room);
}
void set_result(pid_t pid, long result) {
    Registers registers;
    if (!get_registers(pid, registers)) return;
    registers.regs[0] = static_cast<unsigned long long>(result);
    set_registers(pid, registers);
}
void set_first_argument(pid_t pid, std::uint64_t value) {
    set_result(pid, static_cast<long>(value));  // the same register
}

#endif

// ---- Small helpers ------------------------------------------------------------------------------

std::string text_at(pid_t pid, std::uint64_t address) {
    char text[256] = {};
    struct iovec here = {text, sizeof text - 1}, there = {number(address), sizeof text - 1};
    if (process_vm_readv(pid, &here, 1, &there, 1, 0) < 0) {
        // The text may end shortly before a page that is not there.
        here.iov_len = there.iov_len = 4096 - address % 4096 < 255 ? 4096 - address % 4096 : 255;
        if (process_vm_readv(pid, &here, 1, &there, 1, 0) < 0) return "?";
    }
    return text;
}

std::uint64_t entry_of(pid_t pid) {
    const std::string vector = harness::slurp("/proc/" + std::to_string(pid) + "/auxv");
    for (std::size_t at = 0; at + 16 <= vector.size(); at += 16) {
        std::uint64_t pair[2];
        std::memcpy(pair, vector.data() + at, sizeof pair);
        if (pair[0] == AT_ENTRY) return pair[1];
    }
    return 0;
}

// The process a pidfd stands for, 0: none.
pid_t behind_pidfd(pid_t pid, int descriptor) {
    const std::string path =
        "/proc/" + std::to_string(pid) + "/fdinfo/" + std::to_string(descriptor);
    for (const std::string& line : harness::lines(harness::slurp(path)))
        if (line.compare(0, 4, "Pid:") == 0) return static_cast<pid_t>(std::atol(line.c_str() + 4));
    return 0;
}

void open_as(const std::string& path, int flags, int as) {
    const int file = open(path.c_str(), flags, 0644);
    if (file < 0 || dup2(file, as) < 0) _exit(126);
    if (file != as) close(file);
}

// The launched program finds what a shell would give it: nothing blocked, nothing ignored.
void prepare_child(const std::string& out, const std::string& err, pid_t group) {
    for (int signum = 1; signum < NSIG; ++signum) signal(signum, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    if (setpgid(0, group) != 0) _exit(126);
    open_as("/dev/null", O_RDONLY, 0);
    open_as(out, O_WRONLY | O_CREAT | O_APPEND, 1);
    open_as(err, O_WRONLY | O_CREAT | O_APPEND, 2);
    // What the engine itself was given is no business of the program's, two descriptors apart: as
    // from a careless shell, for the daemon to close.
    for (int file = 3; file < 256; ++file) fcntl(file, F_SETFD, FD_CLOEXEC);
    for (const int stray : strays) open_as("/dev/null", O_RDONLY, stray);
}

}  // namespace

// ---- Launching ----------------------------------------------------------------------------------

Tracer::Tracer() : last_event_(Clock::now()) {
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, nullptr);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
}

Tracer::~Tracer() { kill_all(); }

bool Tracer::works() {
    const pid_t child = fork();
    if (child < 0) return false;
    if (child == 0) {
        for (;;) pause();
    }
    bool fine = trace(PTRACE_SEIZE, child, nullptr, number(options)) == 0 &&
                trace(PTRACE_INTERRUPT, child) == 0;
    if (fine) {
        int status = 0;
        struct __ptrace_syscall_info info;
        waitpid(child, &status, __WALL);
        fine = trace(PTRACE_GET_SYSCALL_INFO, child, number(sizeof info), &info) > 0;
    }
    ::kill(child, SIGKILL);
    int status = 0;
    // First may come the stop at its end, since that is among the options.
    while (waitpid(child, &status, __WALL) == child && WIFSTOPPED(status))
        trace(PTRACE_DETACH, child);
    return fine;
}

pid_t Tracer::launch(const std::vector<std::string>& argv, const std::string& out,
                     const std::string& err, pid_t group) {
    std::vector<char*> words;
    for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
    words.push_back(nullptr);
    char path[] = "PATH=/usr/bin:/bin";
    char* environment[] = {path, nullptr};

    int go[2];
    if (pipe2(go, O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
    const pid_t pid = fork();
    if (pid < 0) throw std::runtime_error("fork");
    if (pid == 0) {
        char byte;
        close(go[1]);
        if (read(go[0], &byte, 1) != 1) _exit(126);  // until the tracer has taken hold
        prepare_child(out, err, group);
        execve(words[0], words.data(), environment);
        _exit(127);
    }
    close(go[0]);
    Process process;
    process.pid = pid;
    process.number = armed_ ? next_++ : -1;
    process.in_loader = true;
    processes_[pid] = process;
    statuses_.erase(pid);
    if (trace(PTRACE_SEIZE, pid, nullptr, number(options)) != 0)
        throw std::runtime_error("PTRACE_SEIZE");
    if (write(go[1], "g", 1) != 1) throw std::runtime_error("write");
    close(go[1]);
    last_event_ = Clock::now();
    return pid;
}

// ---- Counting -----------------------------------------------------------------------------------

void Tracer::arm(const Fault& fault, long expected) {
    for (auto& entry : processes_) {
        entry.second.number = 0;
        entry.second.calls = 0;
        entry.second.same.clear();
    }
    seen.clear();
    for (auto& entry : processes_) entry.second.seen = 0;
    armed_ = true;
    next_ = 1;
    fault_ = fault;
    expected_ = expected;
    hit = false;
    place = 0;
}

void Tracer::disarm() { armed_ = false; }

int Tracer::number_of(pid_t pid) const {
    const auto found = processes_.find(pid);
    return found == processes_.end() ? -1 : found->second.number;
}

Process& Tracer::of(pid_t pid) {
    Process& process = processes_[pid];
    if (process.pid == 0 || process.leaving) {  // born just now, or a number that came again
        process = Process();
        process.pid = pid;
        if (armed_) process.number = next_++;
    }
    return process;
}

bool Tracer::ended(pid_t pid, int& status) const {
    const auto found = statuses_.find(pid);
    if (found == statuses_.end()) return false;
    status = WIFEXITED(found->second) ? WEXITSTATUS(found->second) : 128 + WTERMSIG(found->second);
    return true;
}

std::vector<pid_t> Tracer::living() {
    std::vector<pid_t> found;
    for (auto& entry : processes_) {
        Process& process = entry.second;
        if (process.gone) continue;
        if (harness::alive(entry.first))
            found.push_back(entry.first);
        else
            process.gone = process.leaving;
    }
    return found;
}

bool Tracer::quiet() {
    if (Clock::now() - last_event_ < silence) return false;
    for (const pid_t pid : living()) {
        const Process& process = processes_[pid];
        if (process.leaving || process.held || !process.in_call) return false;
        const std::string stat = harness::slurp("/proc/" + std::to_string(pid) + "/stat");
        const std::size_t name_end = stat.rfind(')');
        if (name_end == std::string::npos || stat.compare(name_end, 3, ") S") != 0) return false;
    }
    return true;
}

void Tracer::kill_all() {
    disarm();
    const Clock::time_point end = Clock::now() + Millis(5000);
    for (;;) {
        const std::vector<pid_t> left = living();
        if (left.empty() || Clock::now() > end) return;
        for (const pid_t pid : left) harness::send_signal(pid, SIGKILL);
        step(Millis(5));
    }
}

// ---- Events -------------------------------------------------------------------------------------

void Tracer::release_held() {
    for (auto& entry : processes_) {
        Process& process = entry.second;
        if (!process.held || Clock::now() < process.until) continue;
        process.held = false;
        last_event_ = Clock::now();
        resume(process);
    }
}

void Tracer::step(Millis limit) {
    const Clock::time_point end = Clock::now() + limit;
    for (;;) {
        release_held();
        bool any = false;
        int status = 0;
        for (pid_t pid; (pid = waitpid(-1, &status, __WALL | WNOHANG)) > 0; any = true)
            handle(pid, status);
        Clock::time_point until = end;
        for (const auto& entry : processes_)
            if (entry.second.held) until = std::min(until, entry.second.until);
        const auto left =
            std::chrono::duration_cast<std::chrono::nanoseconds>(until - Clock::now());
        if (any || Clock::now() >= end) return;
        if (left.count() <= 0) continue;
        sigset_t child;
        sigemptyset(&child);
        sigaddset(&child, SIGCHLD);
        struct timespec time = {left.count() / 1000000000, left.count() % 1000000000};
        sigtimedwait(&child, nullptr, &time);
    }
}

void Tracer::resume(Process& process, int signum) {
    // Nothing that the loader calls is of interest.
    trace(process.in_loader ? PTRACE_CONT : PTRACE_SYSCALL, process.pid, nullptr,
          number(static_cast<std::uint64_t>(signum)));
}

void Tracer::handle(pid_t pid, int status) {
    if (WIFEXITED(status) || WIFSIGNALED(status)) {
        statuses_[pid] = status;
        const auto found = processes_.find(pid);
        if (found != processes_.end()) found->second.leaving = true, last_event_ = Clock::now();
        return;
    }
    if (!WIFSTOPPED(status)) return;
    last_event_ = Clock::now();
    const int signum = WSTOPSIG(status), event = status >> 16;
    Process& process = of(pid);
    if (event != 0)
        handle_event(process, event, signum);
    else if (signum == call_stop)
        handle_call(process);
    else if (signum == SIGTRAP && process.in_loader && reach_entry(process))
        resume(process);
    else
        resume(process, signum);
}

void Tracer::handle_event(Process& process, int event, int signum) {
    const pid_t pid = process.pid;
    unsigned long message = 0;
    trace(PTRACE_GETEVENTMSG, pid, nullptr, &message);
    switch (event) {
        case PTRACE_EVENT_FORK:
        case PTRACE_EVENT_VFORK:
        case PTRACE_EVENT_CLONE: {
            // Its own first stop may have come before: then it has its number.
            const pid_t child = static_cast<pid_t>(message);
            if (processes_.count(child) == 0) of(child);
            break;
        }
        case PTRACE_EVENT_EXEC:
            break_at_entry(process);
            break;
        case PTRACE_EVENT_EXIT: {
            const int status = static_cast<int>(message);
            const int by = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
            for (const int bad : {SIGSEGV, SIGABRT, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS})
                if (by == bad)
                    crashes.push_back("process " + std::to_string(process.number) +
                                      " ended by signal " + std::to_string(by));
            process.leaving = true;
            trace(PTRACE_DETACH, pid);
            return;
        }
        case PTRACE_EVENT_STOP:
            if (signum != SIGTRAP) {  // stopped as by a shell: it stays so until SIGCONT
                trace(PTRACE_LISTEN, pid);
                return;
            }
            break;
        default:
            break;
    }
    resume(process);
}

// ---- The entry point ----------------------------------------------------------------------------

void Tracer::break_at_entry(Process& process) {
    process.in_loader = true;
    process.entry = entry_of(process.pid);
    errno = 0;
    process.original = trace(PTRACE_PEEKTEXT, process.pid, number(process.entry));
    if (process.entry == 0 || errno != 0 ||
        trace(PTRACE_POKETEXT, process.pid, number(process.entry),
              number(static_cast<std::uint64_t>(with_break(process.original)))) != 0)
        throw std::runtime_error("no breakpoint at the entry point");
}

bool Tracer::reach_entry(Process& process) {
    Registers registers;
    if (!get_registers(process.pid, registers)) return false;
    if (program_counter(registers) != process.entry + pc_after_break) return false;
    trace(PTRACE_POKETEXT, process.pid, number(process.entry),
          number(static_cast<std::uint64_t>(process.original)));
    set_program_counter(registers, process.entry);
    set_registers(process.pid, registers);
    process.in_loader = false;
    return true;
}

// ---- Calls --------------------------------------------------------------------------------------

void Tracer::handle_call(Process& process) {
    struct __ptrace_syscall_info info;
    std::memset(&info, 0, sizeof info);
    trace(PTRACE_GET_SYSCALL_INFO, process.pid, number(sizeof info), &info);
    if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
        Seen call;
        call.call.number = static_cast<long>(info.entry.nr);
        std::memcpy(call.call.arguments, info.entry.args, sizeof call.call.arguments);
        process.in_call = true;
        process.seen = 0;
        const int path = path_argument(call.call.number);
        if (path >= 0) call.path = text_at(process.pid, call.call.arguments[path]);
        if (armed_ && process.number >= 0) {
            call.process = process.number;
            call.index = ++process.calls;
            ++process.same[call.call.number];
            seen.push_back(call);
            process.seen = seen.size();
        }
        std::string stranger;
        if (is_stranger(process, call.call, stranger)) {
            strangers.push_back(stranger);
            cancel_call(process.pid);
            process.override_result = true;
            process.result = -EPERM;
        } else if (process.seen != 0 && is_place(process, call.call.number)) {
            place = process.seen;
            if (!inject(process)) return;
        }
    } else if (info.op == PTRACE_SYSCALL_INFO_EXIT) {
        process.in_call = false;
        long result = static_cast<long>(info.exit.rval);
        if (process.override_result) {
            result = process.result;
            set_result(process.pid, result);
            process.override_result = false;
        }
        if (process.seen != 0) {
            seen[process.seen - 1].result = result;
            seen[process.seen - 1].ended = true;
        }
    }
    resume(process);
}

bool Tracer::is_place(const Process& process, long number) const {
    if (process.number != fault_.process) return false;
    if (fault_.same == 0) return process.calls == fault_.call;
    return number == expected_ && process.same.at(number) == fault_.same;
}

// False: the process is not to be resumed now.
bool Tracer::inject(Process& process) {
    const Call& call = seen[process.seen - 1].call;
    if (expected_ >= 0 && call.number != expected_) return true;
    if (fault_.kind == Kind::none) return true;
    hit = true;
    if (on_hit) on_hit();
    switch (fault_.kind) {
        case Kind::kill:
            harness::send_signal(process.pid, SIGKILL);
            return false;
        case Kind::delay:
            process.held = true;
            process.until = Clock::now() + delay;
            return false;
        default:
            break;
    }
    if (is_heap(call.number)) {
        set_first_argument(process.pid, 0);  // asks where the heap ends
        return true;
    }
    if (!is_done_anyway(call.number)) cancel_call(process.pid);
    process.override_result = true;
    process.result = -fault_.error;
    return true;
}

// Who is signalled must be of the scenario. Anybody else is spared here, and it is said: a program
// that signals -1 after a failed fork() must not end the machine that it is tested on.
bool Tracer::is_stranger(const Process& process, const Call& call, std::string& text) const {
    const std::uint64_t* const a = call.arguments;
    pid_t target = 0;
    int signum = 0;
    switch (call.number) {
        case SYS_kill:
        case SYS_tkill:
        case SYS_rt_sigqueueinfo:
            target = static_cast<pid_t>(a[0]), signum = static_cast<int>(a[1]);
            break;
        case SYS_tgkill:
            target = static_cast<pid_t>(a[0]), signum = static_cast<int>(a[2]);
            break;
        case SYS_pidfd_send_signal:
            target = behind_pidfd(process.pid, static_cast<int>(a[0])),
            signum = static_cast<int>(a[1]);
            if (target <= 0) return false;  // gone: the kernel will say so
            break;
        default:
            return false;
    }
    if (signum == 0) return false;
    text = "process " + std::to_string(process.number) + " sends signal " + std::to_string(signum) +
           " to " + std::to_string(target);
    if (target == 0) return getpgid(process.pid) == foreign_group;
    if (target == -1) return true;
    if (target < 0) return processes_.count(-target) == 0;
    return processes_.count(target) == 0;
}

}  // namespace faults

#endif
