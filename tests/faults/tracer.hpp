// Runs programs under ptrace and makes the k-th system call of process n fail, die or wait.
//
// Who traces is also the parent of what it launches, and the subreaper; nobody is reparented, and at
// PTRACE_EVENT_EXIT a process is let go: it ends as if nobody had watched, and its own parent (the
// leader of a daemon) sees that at once, by wait, by SIGCHLD and by pidfd alike.
//
// Where counting begins: a launched program's at its entry point (AT_ENTRY, a breakpoint), so the
// dynamic loader's calls do not count and those of the program's static objects do; a forked
// process's at its first call.
#ifndef DAEMONIZE_TESTS_FAULTS_TRACER_HPP
#define DAEMONIZE_TESTS_FAULTS_TRACER_HPP

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "calls.hpp"

namespace faults {

using Clock = std::chrono::steady_clock;
using Millis = std::chrono::milliseconds;

enum class Kind { none, error, kill, delay };

struct Fault {
    int process = -1;  // 0: the daemon that ran before; 1: the program; 2...: in order of creation
    int call = 0;      // 1: the first
    int same = 0;      // if set, it counts instead: 1 is the process's first call of that number
    Kind kind = Kind::none;
    int error = 0;
};

struct Seen {
    int process;
    int index;
    Call call;
    std::string path;
    long result = 0;
    bool ended = false;
};

struct Process {
    pid_t pid = 0;
    int number = -1;  // -1: of a part of the scenario that does not count
    int calls = 0;
    std::map<long, int> same;  // how many of each number
    bool in_loader = false;    // until the entry point
    std::uint64_t entry = 0;
    long original = 0;  // what stood where the breakpoint is
    bool in_call = false;
    bool held = false;  // a delay: until when
    Clock::time_point until;
    bool override_result = false;
    long result = 0;
    std::size_t seen = 0;  // 1 + index of the running call in Tracer::seen; 0: none
    bool leaving = false;  // let go at its end
    bool gone = false;     // and ended
};

class Tracer {
public:
    Tracer();
    ~Tracer();  // ends by PID whatever is left
    Tracer(const Tracer&) = delete;
    Tracer& operator=(const Tracer&) = delete;

    static bool works();  // whether tracing is allowed here

    pid_t launch(const std::vector<std::string>& argv, const std::string& out,
                 const std::string& err, pid_t group);
    void arm(const Fault& fault, long expected);  // counting begins; expected: the call's number
    void disarm();
    void step(Millis limit);  // handles what has happened, waits at most that long for it
    bool ended(pid_t pid, int& status) const;  // our own child; 128 + n for signal n
    std::vector<pid_t> living();
    int number_of(pid_t pid) const;
    bool has_forked() const { return next_ > 2; }  // since counting began
    bool quiet();  // everybody sits in a call, and nothing has happened for 20 ms
    void kill_all();

    std::vector<Seen> seen;
    std::size_t place = 0;  // 1 + index in `seen` of the call at the fault's place; 0: none
    bool hit = false;       // the fault was injected; not where the k-th call was another one
    std::function<void()> on_hit;        // called just before
    std::vector<std::string> strangers;  // signals to nobody of ours; they were not sent
    std::vector<std::string> crashes;    // who ended by SIGSEGV, SIGABRT and their like
    pid_t foreign_group = 0;             // the bystander's

private:
    void handle(pid_t pid, int status);
    void handle_event(Process& process, int event, int signum);
    void handle_call(Process& process);
    void enter(Process& process);
    void leave(Process& process, long result);
    bool is_place(const Process& process, long number) const;
    bool inject(Process& process);
    bool is_stranger(const Process& process, const Call& call, std::string& text) const;
    void break_at_entry(Process& process);
    bool reach_entry(Process& process);
    Process& of(pid_t pid);
    void resume(Process& process, int signum = 0);
    void release_held();

    std::map<pid_t, Process> processes_;
    std::map<pid_t, int> statuses_;  // of our own children
    bool armed_ = false;
    int next_ = 1;
    Fault fault_;
    long expected_ = -1;
    Clock::time_point last_event_;
};

}  // namespace faults

#endif
