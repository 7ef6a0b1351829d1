// faults SUBJECT: the fault engine.
//
// For each scenario it lists every system call of every process, then runs the scenario once for
// each call and each fault: every plausible error, SIGKILL, a delay of 20 ms. `scenario:n:k:fault`
// is the k-th call of the n-th process: 0 the daemon that ran before, 1 the program that was called,
// 2 and up its children in the order of their creation.
//
//     --faults LIST   only these, by comma; * and ? as in a shell: start:2:17:EINTR, stop:*:*:kill
//     --budget S      a sample, drawn by the seed, as many as fit into S seconds
//     --seed N        of the sample (1)
//     --jobs N        cases at once
//     --list          the cases, nothing is run
//     --trace         with each case its calls and what was printed
#include <cstdio>

#include "message.hpp"
#include "scenario.hpp"

#if defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__))

#include <fcntl.h>
#include <fnmatch.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <sstream>
#include <stdexcept>

#include "../support/harness.hpp"

namespace {

using namespace faults;

// ---- What is accepted, and why ------------------------------------------------------------------

struct Accepted {
    const char* scenario;  // patterns, as in a shell
    const char* fault;     // kill, delay, the name of an error
    const char* call;
    const char* verdict;
    const char* mark;
    const char* why;
};
const Accepted accepted[] = {
    {"*", "kill", "*", "lie", "killed after ready",
     "exit 0 was true at the moment of ready: it is later that the daemon was killed"},
    {"*", "kill", "*", "lie", "launcher killed after ready",
     "nobody but the launcher could have told: a ready daemon stays, and the file names it"},
    {"*", "kill", "*", "leftover", "empty, killed before it forked",
     "between making the PID file and the first fork nobody is there who could remove it; empty "
     "and "
     "unlocked it blocks nobody, and status says not running"},
    {"*", "E*", "unlink*", "leftover", "empty, for it could not be unlinked",
     "where the directory does not let the file be removed, it is emptied: that says not running"},
    {"stop*", "ENOENT", "*", "stale file", "told that there is none",
     "the system says that there is no such PID file: there is nothing to remove"},
    {"*", "ENOENT", "*", "lie", "told that there is none",
     "the system says that there is no such PID file: that is what can be known"},
    {"*", "EPERM", "prlimit64", "degraded", "of a limit",
     "EPERM says that the hard limit of core files is 0 already: then it is left at 0"},
    {"status", "E*", "write", "lie", "the line itself",
     "the number could not be written; the exit status is true, and is the answer"},
    {"*", "E*", "write", "silent", "the line itself",
     "what could not be written was the line itself"},
};
const std::size_t accepted_rows = sizeof accepted / sizeof *accepted;

bool matches(const char* pattern, const std::string& text) {
    return fnmatch(pattern, text.c_str(), 0) == 0;
}

// ---- Cases --------------------------------------------------------------------------------------

struct Case {
    std::size_t scenario = 0;
    Fault fault;
    Call call;
    std::string name;
};

std::string fault_name(const Fault& fault) {
    switch (fault.kind) {
        case Kind::kill:
            return "kill";
        case Kind::delay:
            return "delay";
        case Kind::error:
            return error_name(fault.error);
        default:
            return "none";
    }
}

void add_case(std::vector<Case>& cases, std::size_t scenario, const Seen& seen, Kind kind,
              int error) {
    Case one;
    one.scenario = scenario;
    one.fault.process = seen.process;
    one.fault.call = seen.index;
    one.fault.kind = kind;
    one.fault.error = error;
    one.call = seen.call;
    one.name = std::string(scenarios[scenario].name) + ":" + std::to_string(seen.process) + ":" +
               std::to_string(seen.index) + ":" + fault_name(one.fault);
    cases.push_back(one);
}

std::vector<Case> cases_of(std::size_t scenario, const Result& clean) {
    std::vector<Seen> seen = clean.seen;
    std::stable_sort(seen.begin(), seen.end(), [](const Seen& a, const Seen& b) {
        return a.process != b.process ? a.process < b.process : a.index < b.index;
    });
    std::vector<Case> cases;
    for (const Seen& call : seen) {
        for (const int error : errors_of(call.call))
            add_case(cases, scenario, call, Kind::error, error);
        add_case(cases, scenario, call, Kind::kill, 0);
        add_case(cases, scenario, call, Kind::delay, 0);
    }
    return cases;
}

// ---- Each case in a process of its own ----------------------------------------------------------

struct Options {
    std::string subject, faults;
    double budget = 0;
    unsigned long seed = 1;
    std::size_t jobs = 1;
    bool list = false, trace = false;
};

std::string to_bytes(const Result& result) {
    Packed out;
    out << result.hit << result.where << result.status;
    out << static_cast<long long>(result.verdicts.size());
    for (const Verdict& verdict : result.verdicts)
        out << verdict.name << verdict.mark << verdict.text;
    out << static_cast<long long>(result.seen.size());
    for (const Seen& seen : result.seen) {
        out << seen.process << seen.index << seen.call.number;
        for (const std::uint64_t argument : seen.call.arguments)
            out << static_cast<long long>(argument);
    }
    out << static_cast<long long>(result.state.size());
    for (const auto& entry : result.state) out << entry.first << entry.second;
    return out.bytes();
}

bool from_bytes(const std::string& bytes, Result& result) {
    Unpacked in(bytes);
    result.hit = in.number() != 0;
    result.where = in.text();
    result.status = static_cast<int>(in.number());
    result.verdicts.resize(static_cast<std::size_t>(in.number()));
    for (Verdict& verdict : result.verdicts) {
        verdict.name = in.text();
        verdict.mark = in.text();
        verdict.text = in.text();
    }
    result.seen.resize(static_cast<std::size_t>(in.number()));
    for (Seen& seen : result.seen) {
        seen.process = static_cast<int>(in.number());
        seen.index = static_cast<int>(in.number());
        seen.call.number = static_cast<long>(in.number());
        for (std::uint64_t& argument : seen.call.arguments)
            argument = static_cast<std::uint64_t>(in.number());
    }
    for (long long left = in.number(); left > 0; --left) {
        const std::string name = in.text();
        result.state[name] = in.text();
    }
    return in.is_whole();
}

void write_all(int to, const std::string& bytes) {
    for (std::size_t at = 0; at < bytes.size();) {
        const ssize_t written = write(to, bytes.data() + at, bytes.size() - at);
        if (written <= 0) _exit(3);
        at += static_cast<std::size_t>(written);
    }
}

std::string one_line(std::string text) {
    for (char& c : text)
        if (c == '\n') c = ' ';
    return text;
}

// A case that is under way, in a process that leads a session: what it starts is its own.
struct Running {
    Case what;
    std::size_t number = 0;  // of the case
    pid_t pid = 0;
    int pipe = -1;
    int tries = 0;
    Clock::time_point began;
    std::string bytes;
};

const Millis patience{90000};  // of a case with all that follows it
// How often a process looks until another has done something is a matter of time. Where the k-th
// call is another one this time, the place is sought as "the m-th call of this number" instead, then
// one or two later or earlier.
const int exact_tries = 2;
const int shifts[] = {0, 0, 1, -1, 2, -2, 0, 0};
const int most_tries = exact_tries + sizeof shifts / sizeof *shifts;

class Engine {
public:
    Engine(const Options& options, const std::string& directory)
        : options_(options), directory_(directory), clean_(scenarios.size()) {}
    int run();

private:
    void run_clean();
    Result one_at_once(const Case& what);
    bool choose();
    void run_all();
    void begin(Running& running);
    int one_of_same(const Case& what) const;
    bool is_over(Running& running);
    static Result result_of(const Running& running);
    void finish(std::size_t number, const Result& result);
    void report(std::size_t number);
    bool is_accepted(const Case& one, const Verdict& verdict);
    void sum_up() const;

    Options options_;
    std::string directory_;
    std::vector<std::unique_ptr<Result>> clean_;
    std::vector<Case> cases_;
    std::size_t of_all_ = 0;
    std::vector<std::unique_ptr<Result>> results_;
    std::size_t reported_ = 0;
    int passed_ = 0, failed_ = 0, skipped_ = 0, tried_ = 0;
    std::map<std::string, std::map<std::string, int>> counts_;  // verdict, scenario
    std::string interrupted_;                                   // where one EINTR is a failure
    int accepted_counts_[accepted_rows] = {};
};

volatile sig_atomic_t interrupted = 0;
void interrupt(int) { interrupted = 1; }

// A scenario that is wrong without any fault is one failure, and its cases are left out.
void Engine::run_clean() {
    for (std::size_t i = 0; i < scenarios.size(); ++i) {
        const Scenario& scenario = scenarios[i];
        if (needs_root(scenario) && !harness::is_root()) {
            std::printf("SKIP faults in '%s': needs root\n", scenario.name);
            ++skipped_;
            continue;
        }
        Case what;
        what.scenario = i;
        what.name = std::string(scenario.name) + ":clean";
        const Result clean = one_at_once(what);
        for (const Verdict& verdict : clean.verdicts) {
            std::printf("FAIL %s without a fault: %s: %s\n", scenario.name, verdict.name.c_str(),
                        one_line(verdict.text).c_str());
            ++failed_;
        }
        if (!clean.verdicts.empty()) continue;
        clean_[i].reset(new Result(clean));
        const std::vector<Case> more = cases_of(i, clean);
        cases_.insert(cases_.end(), more.begin(), more.end());
    }
    of_all_ = cases_.size();
}

bool is_chosen(const std::string& list, const std::string& name) {
    std::istringstream patterns(list);
    for (std::string pattern; std::getline(patterns, pattern, ',');)
        if (matches(pattern.c_str(), name)) return true;
    return false;
}

// By the seed alone: std::shuffle is free to differ between libraries, this is not.
void shuffle(std::vector<Case>& cases, unsigned long seed) {
    std::mt19937 random(static_cast<std::mt19937::result_type>(seed));
    for (std::size_t i = cases.size(); i > 1; --i) std::swap(cases[i - 1], cases[random() % i]);
}

bool Engine::choose() {
    if (!options_.faults.empty()) {
        cases_.erase(std::remove_if(
                         cases_.begin(), cases_.end(),
                         [this](const Case& one) { return !is_chosen(options_.faults, one.name); }),
                     cases_.end());
        if (cases_.empty()) std::printf("no case is named '%s'\n", options_.faults.c_str());
    }
    if (options_.budget > 0) shuffle(cases_, options_.seed);
    return !cases_.empty();
}

void Engine::begin(Running& running) {
    Case what = running.what;
    if (running.tries >= exact_tries)
        what.fault.same = std::max(1, one_of_same(what) + shifts[running.tries - exact_tries]);
    const std::string place = directory_ + "/" + what.name + "-" + std::to_string(running.tries);
    int ends[2];
    if (mkdir(place.c_str(), 0755) != 0 || pipe2(ends, O_CLOEXEC) != 0)
        throw std::runtime_error("a place for a case");
    std::fflush(stdout);
    running.pid = fork();
    if (running.pid < 0) throw std::runtime_error("fork");
    if (running.pid == 0) {
        close(ends[0]);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setsid();
        Result result;
        try {
            result = run_case(options_.subject, place, scenarios[what.scenario], what.fault,
                              what.call.number, clean_[what.scenario].get(),
                              options_.trace && (clean_[what.scenario] || options_.list));
        } catch (const std::exception& wrong) {
            result.hit = true;
            result.verdicts.push_back({"blocked", "", std::string("the engine: ") + wrong.what()});
        }
        if (clean_[what.scenario]) result.seen.clear(), result.state.clear();
        std::fflush(stdout);
        write_all(ends[1], to_bytes(result));
        _exit(0);
    }
    close(ends[1]);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    running.pipe = ends[0];
    running.began = Clock::now();
    running.bytes.clear();
}

// The call is the process's m-th of its number in the clean run.
int Engine::one_of_same(const Case& what) const {
    int same = 0;
    for (const Seen& seen : clean_[what.scenario]->seen)
        if (seen.process == what.fault.process && seen.index <= what.fault.call &&
            seen.call.number == what.call.number)
            ++same;
    return same;
}

// Reads what is there; true when it has ended, or had its time.
bool Engine::is_over(Running& running) {
    char room[4096];
    ssize_t got;
    while ((got = read(running.pipe, room, sizeof room)) > 0 || (got < 0 && errno == EINTR)) {
        if (got > 0) running.bytes.append(room, static_cast<std::size_t>(got));
    }
    if (got < 0 && Clock::now() - running.began < patience) return false;
    harness::send_signal(running.pid, SIGKILL);
    int status = 0;
    while (waitpid(running.pid, &status, 0) < 0 && errno == EINTR) {
    }
    close(running.pipe);
    return true;
}

Result Engine::result_of(const Running& running) {
    Result result;
    if (!from_bytes(running.bytes, result)) {
        result = Result();
        result.hit = true;
        result.verdicts.push_back({"blocked", "", "the engine: the case came to no end"});
    }
    return result;
}

Result Engine::one_at_once(const Case& what) {
    Running running;
    running.what = what;
    begin(running);
    while (!is_over(running)) {
        struct pollfd pipe = {running.pipe, POLLIN, 0};
        poll(&pipe, 1, 200);
    }
    return result_of(running);
}

void Engine::run_all() {
    results_.resize(cases_.size());
    std::vector<Running> under_way;
    const Clock::time_point began = Clock::now();
    std::size_t next = 0;
    const auto in_time = [&] {
        return interrupted == 0 &&
               (options_.budget <= 0 ||
                std::chrono::duration<double>(Clock::now() - began).count() < options_.budget);
    };
    while (!under_way.empty() || (next < cases_.size() && in_time())) {
        while (under_way.size() < options_.jobs && next < cases_.size() && in_time()) {
            Running running;
            running.number = next++;
            running.what = cases_[running.number];
            begin(running);
            under_way.push_back(running);
        }
        std::vector<struct pollfd> pipes;
        for (const Running& running : under_way) pipes.push_back({running.pipe, POLLIN, 0});
        poll(pipes.data(), pipes.size(), 200);
        for (std::size_t i = under_way.size(); i-- > 0;) {
            Running& running = under_way[i];
            if (!is_over(running)) continue;
            const Result result = result_of(running);
            if (!result.hit && ++running.tries < most_tries && interrupted == 0) {
                begin(running);
                continue;
            }
            const std::size_t number = running.number;
            under_way.erase(under_way.begin() + static_cast<std::ptrdiff_t>(i));
            finish(number, result);
        }
    }
}

// Told in the order of the list, whoever was ready first.
void Engine::finish(std::size_t number, const Result& result) {
    results_[number].reset(new Result(result));
    for (; reported_ < results_.size() && results_[reported_]; ++reported_) report(reported_);
    std::fflush(stdout);
}

bool Engine::is_accepted(const Case& one, const Verdict& verdict) {
    for (std::size_t i = 0; i < accepted_rows; ++i) {
        const Accepted& row = accepted[i];
        if (!matches(row.scenario, scenarios[one.scenario].name) ||
            !matches(row.fault, fault_name(one.fault)) ||
            !matches(row.call, name_of(one.call.number)) || verdict.name != row.verdict ||
            verdict.mark != row.mark)
            continue;
        ++accepted_counts_[i];
        return true;
    }
    return false;
}

void Engine::report(std::size_t number) {
    const Case& one = cases_[number];
    const Result& result = *results_[number];
    ++tried_;
    if (!result.hit && result.verdicts.empty()) {
        ++skipped_;
        std::printf(
            "SKIP %s (%s): %d times %s\n", one.name.c_str(), name_of(one.call.number).c_str(),
            most_tries,
            result.where.empty() ? "not so many calls" : ("it was " + result.where).c_str());
        return;
    }
    std::string text;
    std::map<std::string, int> of_case;
    for (const Verdict& verdict : result.verdicts) {
        if (is_accepted(one, verdict)) continue;
        of_case[verdict.name] = 1;
        text += (text.empty() ? "" : " | ") + verdict.name + ": " + verdict.text;
    }
    const bool only_interrupted = one.fault.error == EINTR && clean_[one.scenario]->status == 0;
    if (only_interrupted && result.status != 0) interrupted_ += " " + one.name;
    if (text.empty()) {
        ++passed_;
        return;
    }
    ++failed_;
    for (const auto& entry : of_case) ++counts_[entry.first][scenarios[one.scenario].name];
    std::printf("FAIL %s (%s) %s\n", one.name.c_str(), name_of(one.call.number).c_str(),
                one_line(text).c_str());
}

void Engine::sum_up() const {
    std::printf("%-12s", "verdict");
    for (const Scenario& scenario : scenarios) std::printf(" %9s", scenario.name);
    std::printf(" %9s\n", "all");
    for (const std::string& name : verdict_names) {
        std::printf("%-12s", name.c_str());
        const auto row = counts_.find(name);
        int all = 0;
        for (const Scenario& scenario : scenarios) {
            int count = 0;
            if (row != counts_.end() && row->second.count(scenario.name) != 0)
                count = row->second.at(scenario.name);
            all += count;
            std::printf(" %9d", count);
        }
        std::printf(" %9d\n", all);
    }
    // A clean failure is no verdict, but it is worth knowing where a signal's arrival is enough.
    if (!interrupted_.empty())
        std::printf("NOTE one EINTR made it fail:%s\n", interrupted_.c_str());
    for (std::size_t i = 0; i < accepted_rows; ++i)
        if (accepted_counts_[i] != 0)
            std::printf("accepted, %d: %s %s (%s): %s\n", accepted_counts_[i], accepted[i].fault,
                        accepted[i].verdict, accepted[i].mark, accepted[i].why);
}

int Engine::run() {
    run_clean();
    const bool any = choose();
    if (options_.list) {
        for (const Case& one : cases_)
            std::printf("%s %s\n", one.name.c_str(), name_of(one.call.number).c_str());
        std::printf("%zu cases\n", cases_.size());
        return failed_ == 0 ? 0 : 1;
    }
    if (any) {
        run_all();
        if (static_cast<std::size_t>(tried_) < of_all_)
            std::printf("SAMPLE %d of %zu cases, seed %lu\n", tried_, of_all_, options_.seed);
        sum_up();
    }
    if (interrupted != 0) std::printf("interrupted\n");
    std::printf("%d passed, %d failed, %d skipped\n", passed_, failed_, skipped_);
    return failed_ == 0 && passed_ > 0 && interrupted == 0 ? 0 : 1;
}

// ---- The command line ---------------------------------------------------------------------------

int usage() {
    std::fputs(
        "usage: faults SUBJECT [--faults LIST] [--budget S] [--seed N] [--jobs N] [--list] "
        "[--trace]\n",
        stderr);
    return 2;
}

bool parse(int argc, char** argv, Options& options) {
    if (argc < 2) return false;
    char* const whole = realpath(argv[1], nullptr);
    if (!whole) {
        std::perror(argv[1]);
        return false;
    }
    options.subject = whole;
    std::free(whole);
    for (int i = 2; i < argc; ++i) {
        const std::string name = argv[i];
        if (name == "--list" || name == "--trace") {
            (name == "--list" ? options.list : options.trace) = true;
            continue;
        }
        if (++i >= argc) return false;
        if (name == "--faults")
            options.faults = argv[i];
        else if (name == "--budget")
            options.budget = std::atof(argv[i]);
        else if (name == "--seed")
            options.seed = std::strtoul(argv[i], nullptr, 10);
        else if (name == "--jobs")
            options.jobs = std::strtoul(argv[i], nullptr, 10);
        else
            return false;
    }
    if (options.jobs < 1) options.jobs = 1;
    return true;
}

}  // namespace

int main(int argc, char** argv) {
    Options options;
    if (!parse(argc, argv, options)) return usage();
    if (!Tracer::works()) {
        std::printf(
            "SKIP faults: tracing by ptrace is not allowed here\n"
            "0 passed, 0 failed, 1 skipped\n");
        return 0;
    }
    struct sigaction action;
    std::memset(&action, 0, sizeof action);
    action.sa_handler = interrupt;
    for (const int signum : {SIGINT, SIGTERM, SIGHUP}) sigaction(signum, &action, nullptr);
    const harness::Scratch scratch;
    try {
        return Engine(options, scratch.path()).run();
    } catch (const std::exception& wrong) {
        std::printf("FAIL the engine: %s\n0 passed, 1 failed, 0 skipped\n", wrong.what());
        return 1;
    }
}

#else

int main() {
    std::puts(
        "SKIP faults: this engine knows Linux on x86-64 and aarch64\n"
        "0 passed, 0 failed, 1 skipped");
    return 0;
}

#endif
