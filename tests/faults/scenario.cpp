#include "scenario.hpp"

#if defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__))

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <sstream>
#include <stdexcept>

#include "../support/harness.hpp"

namespace faults {

const std::vector<Scenario> scenarios = {
    {"start", Before::nothing, "start", nullptr, nullptr},
    {"stop", Before::running, "stop", nullptr, nullptr},
    {"restart", Before::running, "restart", nullptr, nullptr},
    {"reload", Before::running, "reload", nullptr, nullptr},
    {"status", Before::running, "status", nullptr, nullptr},
    {"again", Before::running, "start", nullptr, nullptr},
    {"stale", Before::dead, "start", nullptr, nullptr},
    {"stop-dead", Before::dead, "stop", nullptr, nullptr},
    {"fail", Before::nothing, "start", "--fail-init", "no such port"},
    {"drop", Before::nothing, "start", "--user", "nobody"},
};

bool needs_root(const Scenario& scenario) { return std::string(scenario.name) == "drop"; }

const std::vector<std::string> verdict_names = {"lie",   "degraded",  "silent",   "leftover",
                                                "hang",  "blocked",   "stranger", "twins",
                                                "crash", "stale file"};

namespace {

const Millis limit{6000};  // longer than this is a hang

std::string number(long value) { return std::to_string(value); }

// ---- What /proc tells of a daemon ---------------------------------------------------------------

// Numbers of inodes and the directory of this case differ each time.
std::string without(const std::string& text, const std::string& directory) {
    std::string out = text;
    for (std::size_t at; (at = out.find(directory)) != std::string::npos;)
        out.replace(at, directory.size(), "DIR");
    const std::size_t open = out.find(":[");
    return open == std::string::npos ? out : out.substr(0, open);
}

std::string flags_of(pid_t pid, const std::string& descriptor) {
    const std::string path = "/proc/" + number(pid) + "/fdinfo/" + descriptor;
    for (const std::string& line : harness::lines(harness::slurp(path)))
        if (line.compare(0, 6, "flags:") == 0) return line.substr(7);
    return "?";
}

void add_descriptors(State& state, pid_t pid, const std::string& directory) {
    std::multiset<std::string> others;
    for (const auto& entry : harness::descriptors(pid)) {
        const std::string name = number(entry.first);
        const std::string text = without(entry.second, directory) + " " + flags_of(pid, name);
        if (entry.first <= 2)
            state["descriptor " + name] = text;
        else
            others.insert(text);
    }
    for (const std::string& text : others) state["descriptors"] += text + "; ";
}

void add_files(State& state, const std::string& directory) {
    for (const std::string& name : harness::Scratch::names(directory)) {
        const struct stat found = harness::stat_of(directory + "/" + name);
        char text[64];
        std::snprintf(text, sizeof text, "%o %ld:%ld", static_cast<unsigned>(found.st_mode),
                      static_cast<long>(found.st_uid), static_cast<long>(found.st_gid));
        state["file " + name] = text;
    }
}

State state_of(pid_t pid, const std::string& directory) {
    static const std::set<std::string> wanted = {
        "Umask",  "Uid",    "Gid",    "Groups", "Threads", "SigBlk",     "SigIgn",  "SigCgt",
        "SigPnd", "ShdPnd", "CapInh", "CapPrm", "CapEff",  "NoNewPrivs", "Seccomp", "CapAmb"};
    State state;
    const std::string proc = "/proc/" + number(pid);
    for (const std::string& line : harness::lines(harness::slurp(proc + "/status"))) {
        const std::size_t colon = line.find(':');
        if (colon != std::string::npos && wanted.count(line.substr(0, colon)) != 0)
            state[line.substr(0, colon)] = line.substr(colon + 1);
    }
    const harness::Facts facts = harness::facts(pid);
    state["leads its session"] = facts.session == pid ? "yes" : "no";
    state["leads its group"] = facts.group == pid ? "yes" : "no";
    state["terminal"] = number(facts.terminal);
    for (const std::string& line : harness::lines(harness::slurp(proc + "/limits")))
        state["limit: " + line.substr(0, 26)] = line.substr(26);
    state["environment"] = harness::slurp(proc + "/environ");
    state["score"] = harness::slurp(proc + "/oom_score_adj");
    state["directory"] = without(harness::link_of(pid, "cwd"), directory);
    state["root"] = harness::link_of(pid, "root");
    add_descriptors(state, pid, directory);
    add_files(state, directory);
    return state;
}

std::string difference(const State& is, const State& should) {
    std::string text;
    for (const auto& entry : should) {
        const auto found = is.find(entry.first);
        const std::string now = found == is.end() ? "(none)" : found->second;
        if (now == entry.second) continue;
        text += entry.first + " is '" + now + "', not '" + entry.second + "'; ";
    }
    for (const auto& entry : is)
        if (should.count(entry.first) == 0) text += entry.first + " is '" + entry.second + "'; ";
    return text;
}

// ---- One case -----------------------------------------------------------------------------------

struct Ran {
    std::string verb;
    pid_t pid = 0;
    bool ended = false;
    int status = -1;
    std::string out, err;
    Clock::time_point began;
};

// What is there when all is quiet.
struct End {
    pid_t old = 0;    // the daemon that ran before
    pid_t fresh = 0;  // the one that was started, if the PID file names it
    std::vector<pid_t> others;
    std::string content;
    bool file = false;
};

class Case {
public:
    Case(const std::string& subject, const std::string& directory, const Scenario& scenario,
         const Fault& fault, const Result* clean, bool verbose);
    ~Case();
    Result judge(long expected);

private:
    Ran run(const std::string& verb, bool with_option = false);
    void settle(const Ran& ran);
    bool is_settled(const Ran& ran);
    End look();
    bool is_held() const;
    void prepare();
    void prepare_bystander();
    void must(bool condition, const std::string& what) const;

    void judge_launch(const Ran& ran);
    void judge_words(const Ran& ran);
    void judge_left(const Ran& ran, const End& end);
    void judge_start(const Ran& ran, const End& end);
    void judge_stop(const Ran& ran, const End& end);
    void judge_query(const Ran& ran, const End& end);
    void judge_state(const End& end);
    void judge_status(const End& end);
    void judge_clean_stop(const End& end);
    void judge_next_start();
    void judge_bystander();
    void say(const std::string& name, const std::string& text, const std::string& mark = "");

    bool verb_is(const char* verb) const { return std::string(scenario_.verb) == verb; }
    bool starts() const { return verb_is("start") || verb_is("restart"); }
    // The fault was to kill this process, and it has died.
    bool killed(int process) const;
    bool killed_old() const { return killed(0); }
    const Seen* hit_call() const;
    const char* told_missing() const;
    bool is_line(int to) const;
    bool killed_program(const Ran& ran) const { return killed(1) && ran.status == 128 + SIGKILL; }
    void print_trace() const;

    std::string subject_, base_, directory_;
    Scenario scenario_;
    Fault fault_;
    const Result* clean_;
    bool verbose_;
    Tracer tracer_;
    pid_t bystander_ = 0;
    pid_t old_ = 0;
    State before_;
    std::string stale_;  // what a dead daemon left
    bool ready_when_hit_ = false;
    Result result_;
};

Case::Case(const std::string& subject, const std::string& directory, const Scenario& scenario,
           const Fault& fault, const Result* clean, bool verbose)
    : subject_(subject),
      base_(directory),
      directory_(directory + "/run"),
      scenario_(scenario),
      fault_(fault),
      clean_(clean),
      verbose_(verbose) {
    mkdir(directory_.c_str(), 0755);
    prepare_bystander();
    // Ready is what has its log for standard error: until then that is the launcher's.
    tracer_.on_hit = [this] {
        for (const pid_t pid : tracer_.living())
            if (tracer_.number_of(pid) >= 1 && harness::link_of(pid, "fd/2") == directory_ + "/e")
                ready_when_hit_ = true;
    };
}

Case::~Case() {
    tracer_.kill_all();
    harness::send_signal(bystander_, SIGKILL);
}

// In the group of the program, with all signals blocked: what somebody sends stays to be seen.
void Case::prepare_bystander() {
    bystander_ = fork();
    must(bystander_ >= 0, "fork");
    if (bystander_ == 0) {
        sigset_t all;
        sigfillset(&all);
        sigprocmask(SIG_SETMASK, &all, nullptr);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setpgid(0, 0);
        for (;;) pause();
    }
    setpgid(bystander_, bystander_);
    tracer_.foreign_group = bystander_;
}

void Case::must(bool condition, const std::string& what) const {
    if (!condition) throw std::runtime_error(what);
}

void Case::say(const std::string& name, const std::string& text, const std::string& mark) {
    result_.verdicts.push_back({name, mark, text});
}

bool Case::killed(int process) const {
    return fault_.kind == Kind::kill && fault_.process == process && tracer_.hit;
}

const Seen* Case::hit_call() const {
    return tracer_.place == 0 ? nullptr : &tracer_.seen[tracer_.place - 1];
}

// Was it the writing of what is told to the user that the fault has hit?
bool Case::is_line(int to) const {
    const Seen* const seen = hit_call();
    return fault_.process == 1 && seen && seen->call.number == SYS_write &&
           seen->call.arguments[0] == static_cast<std::uint64_t>(to);
}

// The mark of a case in which the system said that the PID file, or its directory, is not there.
const char* Case::told_missing() const {
    const Seen* const call = hit_call();
    const bool missing = fault_.kind == Kind::error && fault_.error == ENOENT && call &&
                         !call->path.empty() && call->path.compare(0, 5, "/proc") != 0;
    return missing ? "told that there is none" : "";
}

// ---- Running ------------------------------------------------------------------------------------

Ran Case::run(const std::string& verb, bool with_option) {
    const std::string out = base_ + "/out", err = base_ + "/err";
    unlink(out.c_str());
    unlink(err.c_str());
    std::vector<std::string> argv = {
        subject_,          verb,       "--pidfile",      directory_ + "/p", "--stdout",
        directory_ + "/o", "--stderr", directory_ + "/e"};
    if (with_option && scenario_.option) {
        argv.push_back(scenario_.option);
        argv.push_back(scenario_.value);
    }
    Ran ran;
    ran.verb = verb;
    ran.began = Clock::now();
    ran.pid = tracer_.launch(argv, out, err, bystander_);
    while (!(ran.ended = tracer_.ended(ran.pid, ran.status)) && Clock::now() < ran.began + limit)
        tracer_.step(Millis(50));
    settle(ran);
    ran.out = harness::slurp(out);
    ran.err = harness::slurp(err);
    return ran;
}

// Until all is quiet and as it should be, or the limit is over.
void Case::settle(const Ran& ran) {
    while (Clock::now() < ran.began + limit) {
        tracer_.step(Millis(5));
        if (tracer_.quiet() && is_settled(ran)) return;
    }
}

bool Case::is_settled(const Ran& ran) {
    const End end = look();
    if (!end.others.empty()) return false;
    const bool starts = ran.verb == "start" || ran.verb == "restart";
    const bool ends = ran.verb == "stop" || ran.verb == "restart";
    const bool may_run = ran.status == 0 || (killed_program(ran) && ready_when_hit_);
    if (starts && end.fresh != 0 && !may_run) return false;
    if (ends && end.old != 0 && ran.status == 0) return false;
    if (ran.verb == "reload" && end.old != 0 && ran.status == 0)
        return harness::slurp(directory_ + "/o").find("hup\n") != std::string::npos;
    return true;
}

End Case::look() {
    End end;
    const std::string path = directory_ + "/p";
    end.file = harness::exists(path);
    end.content = harness::slurp(path);
    const pid_t named = static_cast<pid_t>(std::atol(end.content.c_str()));
    for (const pid_t pid : tracer_.living()) {
        if (pid == old_)
            end.old = pid;
        else if (pid == named)
            end.fresh = pid;
        else
            end.others.push_back(pid);
    }
    return end;
}

// Asked only when all is quiet: for an instant nobody else could lock.
bool Case::is_held() const {
    const harness::Descriptor file = harness::open_file(directory_ + "/p", O_RDONLY | O_CLOEXEC);
    return file.get() >= 0 && flock(file.get(), LOCK_SH | LOCK_NB) != 0;
}

void Case::prepare() {
    if (scenario_.before == Before::nothing) return;
    const Ran ran = run("start");
    must(ran.status == 0, "the start before the scenario: " + ran.err);
    const End end = look();
    must(end.fresh != 0, "no daemon before the scenario");
    if (scenario_.before == Before::running) {
        old_ = end.fresh;
        before_ = state_of(old_, directory_);
        return;
    }
    stale_ = end.content;
    harness::send_signal(end.fresh, SIGKILL);
    while (!tracer_.living().empty()) tracer_.step(Millis(5));
}

Result Case::judge(long expected) {
    prepare();
    tracer_.arm(fault_, expected);
    const Ran ran = run(scenario_.verb, true);
    tracer_.disarm();
    if (verbose_) {
        print_trace();
        std::printf("exit %d%s\nstdout: %s\nstderr: %s\n", ran.status, ran.ended ? "" : " (none)",
                    ran.out.c_str(), ran.err.c_str());
    }
    const End end = look();
    const pid_t daemon = end.fresh != 0 ? end.fresh : end.old;
    if (daemon != 0) result_.state = state_of(daemon, directory_);
    result_.status = ran.status;
    result_.hit = tracer_.hit;
    result_.seen = tracer_.seen;
    if (const Seen* const seen = hit_call()) result_.where = name_of(seen->call.number);
    if (fault_.kind != Kind::none && !result_.hit) return result_;

    judge_launch(ran);
    judge_words(ran);
    judge_left(ran, end);
    if (starts()) judge_start(ran, end);
    if (verb_is("stop")) judge_stop(ran, end);
    if (verb_is("status") || verb_is("reload")) judge_query(ran, end);
    judge_state(end);
    if (!ran.ended || !end.others.empty()) {
        tracer_.kill_all();  // what follows is judged without them
        const End now = look();
        judge_status(now);
    } else {
        judge_status(end);
        judge_clean_stop(end);
    }
    judge_next_start();
    judge_bystander();
    return result_;
}

// ---- Verdicts -----------------------------------------------------------------------------------

void Case::judge_launch(const Ran& ran) {
    if (!ran.ended) say("hang", "it has not ended within 6 s");
    const bool as_ever = !clean_ || ran.status == clean_->status;
    if (ran.ended && fault_.kind == Kind::delay && !as_ever)
        say("lie", "a delay alone makes it exit with " + number(ran.status) + ": " + ran.err);
    for (const std::string& text : tracer_.crashes) say("crash", text);
}

// Who fails says so in one line.
void Case::judge_words(const Ran& ran) {
    if (!ran.ended || ran.status == 0 || killed_program(ran)) return;
    // LSB: a status that was asked for is an answer, no failure.
    if (verb_is("status") && (ran.status == 1 || ran.status == 3)) return;
    const std::size_t lines = harness::lines(ran.err).size();
    if (lines == 1 && ran.err.back() == '\n') return;
    say("silent",
        "exit " + number(ran.status) + " with " + number(static_cast<long>(lines)) +
            " lines on stderr: '" + ran.err + "'",
        is_line(2) ? "the line itself" : "");
}

void Case::judge_left(const Ran& ran, const End& end) {
    if (end.old != 0 && end.fresh != 0)
        say("twins", "the old daemon and a new one run, and the file names the new one");
    for (const pid_t pid : end.others) {
        const bool is_daemon = harness::link_of(pid, "fd/2") == directory_ + "/e";
        const bool is_second = is_daemon && (end.fresh != 0 || end.old != 0);
        if (pid == ran.pid) continue;  // it hangs, that is said
        say(is_second ? "twins" : "leftover",
            "process " + number(tracer_.number_of(pid)) + " is still there" +
                (is_daemon ? ", and it is a daemon that the PID file does not name" : ""));
    }
    for (const std::string& name : harness::Scratch::names(directory_))
        if (name != "p" && name != "o" && name != "e") say("leftover", "the file " + name);
}

void Case::judge_start(const Ran& ran, const End& end) {
    const bool refused = scenario_.before == Before::running && verb_is("start");
    const bool may_fail = std::string(scenario_.name) == "fail";
    if (!ran.ended) return;
    if (ran.status == 0) {
        if (refused || may_fail) {
            if (!(refused && killed_old())) say("lie", "exit 0 though nothing was started");
        } else if (end.fresh == 0) {
            const bool after = fault_.kind == Kind::kill && fault_.process >= 2 && ready_when_hit_;
            say("lie", "exit 0, and there is no daemon", after ? "killed after ready" : "");
        } else if (!is_held()) {
            say("lie", "exit 0, and nobody holds the file");
        }
        return;
    }
    if (end.fresh != 0) {
        if (!killed_program(ran))
            say("lie", "exit " + number(ran.status) + " though a daemon runs: " + ran.err);
        else if (ready_when_hit_)
            say("lie", "the launcher was killed, and the daemon runs",
                "launcher killed after ready");
        else
            say("leftover", "the launcher was killed before ready, and a daemon runs");
        return;
    }
    if (end.old != 0 || killed_old() || !end.file) return;
    if (end.content == stale_ && !stale_.empty()) return;  // as it was before
    const bool unforked = killed_program(ran) && !tracer_.has_forked();
    const bool unlinking = result_.where == "unlinkat" || result_.where == "unlink";
    const char* mark = "";
    if (end.content.empty() && unforked) mark = "empty, killed before it forked";
    if (end.content.empty() && unlinking && fault_.kind == Kind::error)
        mark = "empty, for it could not be unlinked";
    say("leftover", "the PID file, with '" + end.content + "'", mark);
}

void Case::judge_stop(const Ran& ran, const End& end) {
    if (!ran.ended || killed_program(ran)) return;
    if (ran.status == 0) {
        if (end.old != 0) say("lie", "exit 0, and the daemon runs", told_missing());
        if (end.old == 0 && !end.content.empty())
            say("stale file", "exit 0, and the file holds '" + end.content + "'", told_missing());
    } else if (end.old == 0 && scenario_.before == Before::running) {
        say("lie", "exit " + number(ran.status) + " though the daemon has ended: " + ran.err);
    }
}

void Case::judge_query(const Ran& ran, const End& end) {
    if (!ran.ended) return;
    if (end.old == 0 && !killed_old()) say("lie", "the daemon has ended");
    if (killed_old() || killed_program(ran)) return;
    if (verb_is("status")) {
        const bool names_it = ran.out.find(number(old_)) != std::string::npos;
        if (ran.status == 0 && !names_it)
            say("lie", "exit 0 with '" + ran.out + "'", is_line(1) ? "the line itself" : "");
        if (ran.status != 0 && ran.status != 4)
            say("lie", "exit " + number(ran.status) + " though it runs: " + ran.out + ran.err,
                ran.status == 3 ? told_missing() : "");
    } else if (ran.status == 0 && fault_.process != 0 &&
               harness::slurp(directory_ + "/o").find("hup\n") == std::string::npos) {
        say("lie", "exit 0, and no SIGHUP has arrived");
    }
}

void Case::judge_state(const End& end) {
    if (end.fresh != 0 && clean_ && !clean_->state.empty()) {
        const Seen* const seen = hit_call();
        const bool at_limit = seen && seen->call.number == SYS_prlimit64;
        const std::string text = difference(result_.state, clean_->state);
        if (!text.empty()) say("degraded", text, at_limit ? "of a limit" : "");
    }
    if (end.old != 0) {
        const std::string text = difference(state_of(end.old, directory_), before_);
        if (!text.empty()) say("degraded", "the old daemon: " + text);
    }
}

void Case::judge_status(const End& end) {
    const pid_t daemon = end.fresh != 0 ? end.fresh : end.old;
    const Ran ran = run("status");
    const bool named = ran.out.find(number(daemon)) != std::string::npos;
    const int dead = end.content.empty() ? 3 : 1;
    if (daemon != 0 ? ran.status != 0 || !named : ran.status != dead)
        say("lie", "status then says " + number(ran.status) + " (" + ran.out + ran.err +
                       ") where " +
                       (daemon != 0 ? "process " + number(daemon) + " runs"
                                    : "nobody runs and the file holds '" + end.content + "'"));
}

void Case::judge_clean_stop(const End& end) {
    const pid_t daemon = end.fresh != 0 ? end.fresh : end.old;
    if (daemon == 0) return;
    const Ran ran = run("stop");
    int status = 0;
    const bool ended = tracer_.ended(daemon, status);
    if (ran.status != 0)
        say("lie", "the stop of it then exits with " + number(ran.status) + ": " + ran.err);
    else if (harness::alive(daemon))
        say("lie", "the stop of it then exits with 0, and it runs");
    else if (harness::exists(directory_ + "/p"))
        say("stale file", "the stop of it leaves '" + harness::slurp(directory_ + "/p") + "'");
    else if (!ended || status != 0)
        say("degraded", "stopped, it ends with " + (ended ? number(status) : "no status"));
    if (harness::alive(daemon)) tracer_.kill_all();
}

void Case::judge_next_start() {
    old_ = 0;
    const Ran ran = run("start");
    const End end = look();
    if (ran.status != 0 || end.fresh == 0 || !is_held())
        say("blocked", "the next start exits with " + number(ran.status) + ": " + ran.err);
}

void Case::judge_bystander() {
    const harness::Facts facts = harness::facts(bystander_);
    std::string pending;
    const std::string proc = "/proc/" + number(bystander_) + "/status";
    for (const std::string& line : harness::lines(harness::slurp(proc)))
        if (line.compare(1, 5, "igPnd") == 0 || line.compare(1, 5, "hdPnd") == 0) {
            std::istringstream in(line.substr(7));
            unsigned long long set = 0;
            in >> std::hex >> set;
            if (set != 0) pending += line;
        }
    if (!harness::alive(bystander_) || facts.state != 'S')
        say("stranger", "the bystander was ended or stopped");
    if (!pending.empty()) say("stranger", "the bystander was signalled: " + pending);
    for (const std::string& text : tracer_.strangers) say("stranger", text);
}

void Case::print_trace() const {
    for (const Seen& seen : tracer_.seen) {
        std::printf("%d:%d %s(%llx, %llx, %llx)", seen.process, seen.index,
                    name_of(seen.call.number).c_str(),
                    static_cast<unsigned long long>(seen.call.arguments[0]),
                    static_cast<unsigned long long>(seen.call.arguments[1]),
                    static_cast<unsigned long long>(seen.call.arguments[2]));
        if (!seen.path.empty()) std::printf(" '%s'", without(seen.path, base_).c_str());
        if (!seen.ended)
            std::printf(" = ?\n");
        else if (seen.result < 0 && seen.result > -4096)
            std::printf(" = %s\n", error_name(static_cast<int>(-seen.result)).c_str());
        else
            std::printf(" = %ld\n", seen.result);
    }
}

}  // namespace

Result run_case(const std::string& subject, const std::string& directory, const Scenario& scenario,
                const Fault& fault, long expected, const Result* clean, bool verbose) {
    Case one(subject, directory, scenario, fault, clean, verbose);
    return one.judge(expected);
}

}  // namespace faults

#endif
