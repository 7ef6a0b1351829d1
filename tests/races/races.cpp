// races [--rounds N] [--starts N] [--seconds S] [--seed N]: many that want the same PID file at the
// same time, and others who pull at it meanwhile. Everything is judged from outside. Linux.
//
//   crowd          N starts at once: one daemon, everybody else is refused
//   storm          starts, stops, reloads and queries against kill -9, truncation and foreign numbers
//   rough storm    and against unlink, rename and exchange: who deletes the file of a living daemon
//                  opens the way to a second one, so that more than one is no mistake there
//   restarts       many restarts at once
//
// An observer looks between all steps: whether two daemons served at once (they notice it
// themselves, see witness.cpp), whether a bystander got a signal, whether each exit 0 was true. What
// is done is drawn from the seed (1; 0: another each time); when it happens is the scheduler's.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <random>
#include <set>

#include "tests/races/judge.hpp"
#include "tests/support/harness.hpp"

namespace {

using namespace harness;
using judge::holds;

std::mt19937 dice;

unsigned below(unsigned n) { return static_cast<unsigned>(dice() % n); }

// ---- Who is who ---------------------------------------------------------------------------------

Strings command_line(pid_t pid) {
    Strings words;
    const std::string text = slurp("/proc/" + std::to_string(pid) + "/cmdline");
    for (std::size_t at = 0; at < text.size(); at += words.back().size() + 1)
        words.push_back(text.c_str() + at);
    return words;
}

std::string word_after(const Strings& words, const std::string& name) {
    const auto found = std::find(words.begin(), words.end(), name);
    return found == words.end() || found + 1 == words.end() ? "" : *(found + 1);
}

// A process that the signal cannot miss: its number may be somebody else's a moment later.
class Target {
public:
    explicit Target(pid_t pid) : handle_(static_cast<int>(syscall(SYS_pidfd_open, pid, 0))) {}
    bool kill(int signum) const {
        return handle_.get() >= 0 &&
               syscall(SYS_pidfd_send_signal, handle_.get(), signum, nullptr, 0) == 0;
    }

private:
    Descriptor handle_;
};

// Processes that have nothing to do with any of this. They tell of each signal that reaches them;
// their numbers are what somebody writes into the PID file.
class Bystanders {
public:
    Bystanders() {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) std::abort();
        reader_ = Descriptor(ends[0]);
        const Descriptor writer(ends[1]);
        for (int i = 0; i < 3; ++i) {
            const pid_t pid = fork();
            if (pid < 0) std::abort();
            if (pid == 0) stand(ends[1]);
            pids_.push_back(pid);
        }
    }
    ~Bystanders() {
        for (const pid_t pid : pids_) send_signal(pid, SIGKILL);
        for (const pid_t pid : pids_) ended(pid);
    }
    Bystanders(const Bystanders&) = delete;
    Bystanders& operator=(const Bystanders&) = delete;

    pid_t any() const { return pids_[below(static_cast<unsigned>(pids_.size()))]; }
    bool has(pid_t pid) const { return std::count(pids_.begin(), pids_.end(), pid) > 0; }
    // Waits a moment for news: the pause of the loop.
    std::string news() {
        pollfd watch = {reader_.get(), POLLIN, 0};
        char text[256];
        if (poll(&watch, 1, 1) == 1) {
            const ssize_t n = read(reader_.get(), text, sizeof text);
            if (n > 0) return std::string(text, static_cast<std::size_t>(n));
        }
        for (const pid_t pid : pids_)
            if (!alive(pid)) return "bystander " + std::to_string(pid) + " was killed\n";
        return "";
    }

private:
    [[noreturn]] static void stand(int out) {
        sigset_t all;
        sigfillset(&all);
        sigprocmask(SIG_SETMASK, &all, nullptr);
        for (;;) {
            siginfo_t info;
            const int signum = sigwaitinfo(&all, &info);
            if (signum > 0)
                dprintf(out, "signal %d reached %d, from %d\n", signum, static_cast<int>(getpid()),
                        static_cast<int>(info.si_pid));
        }
    }
    Descriptor reader_;
    std::vector<pid_t> pids_;
};

// "started as process N" -> N, else 0.
pid_t started_as(const std::string& out) {
    const char word[] = "started as process ";
    const std::size_t at = out.find(word);
    return at == std::string::npos
               ? 0
               : static_cast<pid_t>(std::atol(out.c_str() + at + sizeof word - 1));
}

// ---- A crowd ------------------------------------------------------------------------------------

void crowd(int round, int starts) {
    const Scratch scratch;
    const std::string pidfile = scratch / "pid", witness = scratch / "witness";
    // The subject, and a daemon that would notice a twin, in turns.
    const std::string name = round % 2 == 0 ? "subject" : "witness";
    Strings words = {program(name), "start", "--pidfile", pidfile};
    if (name == "witness") words.insert(words.end(), {"--witness", witness});

    int gate[2];
    if (pipe2(gate, O_CLOEXEC) != 0) std::abort();
    const Descriptor gate_in(gate[0]);
    Descriptor gate_out(gate[1]);
    std::vector<std::unique_ptr<Running>> all;
    for (int i = 0; i < starts; ++i) {
        Launch launch(words);
        launch.before_exec = [&gate] {
            char byte;
            close(gate[1]);
            if (read(gate[0], &byte, 1) != 0) _exit(121);
        };
        all.emplace_back(new Running(launch));
    }
    gate_out.reset();  // off they go

    std::vector<pid_t> winners;
    for (const auto& one : all) {
        const Outcome outcome = one->finish();
        const bool refused = outcome.status == 1 && lines(outcome.err).size() == 1;
        if (outcome.status == 0) winners.push_back(started_as(outcome.out));
        holds("crowd: who does not start is refused in one line", outcome.status == 0 || refused,
              outcome.text());
    }
    const bool one = holds("crowd: exactly one starts", winners.size() == 1,
                           std::to_string(winners.size()) + " of " + name + " have started");
    if (one) {
        const bool served = alive(winners[0]) && to_long(slurp(pidfile)) == winners[0];
        holds("crowd: it runs, and the file names it", served,
              std::to_string(winners[0]) + ", but the file says " + slurp(pidfile));
        const std::vector<pid_t> only = {winners[0]};
        holds("crowd: no other process is left", eventually([&] { return descendants() == only; }),
              std::to_string(descendants().size()) + " processes");
    }
    const Outcome stopped = run(Launch({program(name), "stop", "--pidfile", pidfile}));
    holds("crowd: stop ends it", stopped.status == 0 && descendants().empty(), stopped.text());
    holds("crowd: at most one holder at every moment", !exists(witness + ".twins"),
          slurp(witness + ".twins"));
    holds("crowd: no file is left",
          scratch.names() == (name == "witness" ? Strings{"witness", "witness.served"} : Strings{}),
          join(scratch.names()));
}

// ---- Storms -------------------------------------------------------------------------------------

struct Weights {
    unsigned start, stop, restart, reload, status;
};

class Storm {
public:
    Storm(const std::string& name, bool rough, const Weights& weights, int slots)
        : name_(name + ": "),
          rough_(rough),
          weights_(weights),
          slots_(static_cast<std::size_t>(slots)),
          pidfile_(scratch_ / "pid"),
          witness_(scratch_ / "witness") {
        for (const char* const sentence :
             {"no stranger is signalled", "each exit 0 of a start is true",
              "a failed start says one line", "a failed start leaves no process", "nobody hangs",
              "the next clean start works", "no file is left"})
            judge::expect(name_ + sentence);
        if (!rough_) judge::expect(name_ + "at most one holder at every moment");
        if (generic())
            judge::skip(name_ + "a stranger's number in a locked file reaches nobody",
                        "without record locks it is all that there is: said in the guarantees");
    }

    // `disturb` is called now and then, to pull at the file.
    void run_for(Millis limit, bool disturbed) {
        const Clock::time_point end = Clock::now() + limit;
        while (Clock::now() < end) {
            for (Slot& slot : slots_) turn(slot, true);
            if (disturbed && below(8) == 0) disturb();
            observe();
        }
        // What is under way ends by itself.
        eventually([this] {
            bool idle = true;
            for (Slot& slot : slots_) {
                turn(slot, false);
                idle = idle && !slot.run;
            }
            observe();
            return idle;
        });
        finish();
        tell();
    }

private:
    struct Slot {
        std::unique_ptr<Running> run;
        std::string verb;
        int tag = 0;
        pid_t holder = 0;  // who was proven to hold the file before a stop
    };

    void turn(Slot& slot, bool again) {
        if (slot.run && slot.run->finished()) judge_end(slot);
        if (slot.run && !holds(name_ + "nobody hangs", Clock::now() - began_[slot.tag] < patience(),
                               slot.verb + " does not end")) {
            send_signal(slot.run->pid(), SIGKILL);
            killed_.insert(slot.tag);
            judge_end(slot);
        }
        if (!slot.run && again) launch(slot);
    }

    std::string draw_verb() const {
        const std::pair<unsigned, const char*> verbs[] = {{weights_.start, "start"},
                                                          {weights_.stop, "stop"},
                                                          {weights_.restart, "restart"},
                                                          {weights_.reload, "reload"},
                                                          {weights_.status, "status"}};
        unsigned sum = 0;
        for (const auto& one : verbs) sum += one.first;
        unsigned drawn = below(sum);
        for (const auto& one : verbs) {
            if (drawn < one.first) return one.second;
            drawn -= one.first;
        }
        return "start";
    }

    void launch(Slot& slot) {
        slot.tag = ++last_tag_;
        slot.verb = draw_verb();
        slot.holder = slot.verb == "stop" && !rough_ ? record_owner(pidfile_) : 0;
        began_[slot.tag] = Clock::now();
        slot.run.reset(
            new Running(Launch({program("witness"), slot.verb, "--pidfile", pidfile_, "--witness",
                                witness_, "--tag", std::to_string(slot.tag)})));
    }

    void judge_end(Slot& slot) {
        const std::unique_ptr<Running> run = std::move(slot.run);
        began_.erase(slot.tag);
        const bool killed = killed_.count(slot.tag) > 0;
        const std::string verb = slot.verb, out = run->out(), err = run->err();
        const int status = ended(run->pid(), Millis(0));
        const std::string text = verb + ", tag " + std::to_string(slot.tag) + ", status " +
                                 std::to_string(status) + "\nstdout: " + out + "\nstderr: " + err;
        ++seen_[verb + " " + std::to_string(status)];
        if (killed) return;
        const bool starts = verb == "start" || verb == "restart";
        if (starts && status == 0) {
            const pid_t pid = started_as(out);
            const std::string served = "\n" + slurp(witness_ + ".served");
            // What it did since, others have done: it was stopped (0), also by a second SIGTERM when
            // it had left the wait already (143), or killed (137). Who ended while its leader was
            // still there was collected by that: not ours.
            const int end = ended(pid, Millis(0));
            const bool by_others =
                end == not_ended || end == not_ours || end == 0 || end == 143 || end == 137;
            holds(name_ + "each exit 0 of a start is true",
                  by_others && contains(served, "\n" + std::to_string(pid) + "\n"),
                  text + "but process " + std::to_string(pid) + " has ended with " +
                      std::to_string(end));
        }
        if (starts && status != 0) {
            // A restart may have something to say about the stop, too.
            const std::size_t said = lines(err).size();
            holds(name_ + "a failed start says one line", verb == "start" ? said == 1 : said > 0,
                  text);
            vanish_.push_back(Vanishing{slot.tag, 0, Clock::now() + std::chrono::seconds(5), text});
        }
        if (verb == "stop" && status == 0 && slot.holder > 1)
            vanish_.push_back(
                Vanishing{0, slot.holder, Clock::now() + std::chrono::seconds(2), text});
        if (verb == "status" && status == 0)
            holds(name_ + "status calls no stranger the daemon", !names_bystander(out), text);
    }

    bool names_bystander(const std::string& out) const {
        const std::size_t at = out.find("process ");
        return at != std::string::npos &&
               bystanders_.has(static_cast<pid_t>(std::atol(out.c_str() + at + 8)));
    }

    // ---- What others do to it

    void disturb() {
        const unsigned what = below(rough_ ? 9 : 5);
        static const char* const names[] = {"kill",        "kill",           "kill",
                                            "truncate",    "write a number", "unlink",
                                            "rename away", "rename back",    "exchange"};
        ++seen_[names[what]];
        const std::string away = pidfile_ + ".away";
        switch (what) {
            case 0:
            case 1:
            case 2:
                return kill_somebody();
            case 3:
                if (truncate(pidfile_.c_str(), 0) != 0) return;
                return;
            case 4:
                return scribble(pidfile_, O_WRONLY | O_TRUNC);
            case 5:
                unlink(pidfile_.c_str());
                return;
            case 6:
                rename(pidfile_.c_str(), away.c_str());
                return;
            case 7:
                rename(away.c_str(), pidfile_.c_str());
                return;
            default: {  // another file with a stranger's number takes its place
                scribble(away, O_WRONLY | O_CREAT | O_TRUNC);
                rename(away.c_str(), pidfile_.c_str());
                return;
            }
        }
    }

    void scribble(const std::string& path, int flags) const {
        if (generic()) return;  // skipped, see above
        const Descriptor file(open(path.c_str(), flags | O_CLOEXEC, 0644));
        if (file.get() >= 0) dprintf(file.get(), "%d\n", static_cast<int>(bystanders_.any()));
    }

    // A launcher, a leader, a daemon, a stopper: whoever is there.
    void kill_somebody() {
        const std::vector<pid_t> all = ours();
        if (all.empty()) return;
        const pid_t pid = all[below(static_cast<unsigned>(all.size()))];
        const Target target(pid);
        const Strings words = command_line(pid);
        if (word_after(words, "--pidfile") != pidfile_ || !target.kill(SIGKILL)) return;
        for (const Slot& slot : slots_)
            if (slot.run && slot.run->pid() == pid) killed_.insert(slot.tag);
    }

    // Every process of the witness program, by its command line.
    std::vector<pid_t> ours() const {
        std::vector<pid_t> found;
        for (const pid_t pid : descendants())
            if (!bystanders_.has(pid) && word_after(command_line(pid), "--pidfile") == pidfile_)
                found.push_back(pid);
        return found;
    }

    // ---- The observer

    struct Vanishing {
        int tag;    // no process of this start
        pid_t pid;  // or not this one
        Clock::time_point limit;
        std::string text;
    };

    void observe() {
        const std::string news = bystanders_.news();
        holds(name_ + "no stranger is signalled", news.empty(), news);
        if (!rough_)
            holds(name_ + "at most one holder at every moment", !exists(witness_ + ".twins"),
                  slurp(witness_ + ".twins"));
        if (!rough_ && !generic()) {
            const pid_t holder = record_owner(pidfile_);
            const Strings words = holder > 1 ? command_line(holder) : Strings();
            holds(name_ + "the holder is one of ours",
                  words.empty() || word_after(words, "--pidfile") == pidfile_, join(words));
        }
        if (!vanish_.empty() && Clock::now() >= next_look_) look_for_leftovers();
    }

    void look_for_leftovers() {
        next_look_ = Clock::now() + Millis(100);
        std::set<std::string> tags;
        for (const pid_t pid : ours()) tags.insert(word_after(command_line(pid), "--tag"));
        std::vector<Vanishing> later;
        for (const Vanishing& one : vanish_) {
            const bool here =
                one.tag > 0 ? tags.count(std::to_string(one.tag)) > 0 : alive(one.pid);
            if (here && Clock::now() < one.limit)
                later.push_back(one);
            else
                holds(name_ + (one.tag > 0 ? "a failed start leaves no process"
                                           : "who is stopped is gone"),
                      !here, one.text + "\na process is left: " + std::to_string(one.pid));
        }
        vanish_.swap(later);
    }

    // ---- The end

    void finish() {
        eventually([this] {
            observe();
            return vanish_.empty();
        });
        // On files that were taken away under them daemons live on: those have no other end.
        stop_all();
        const Strings base = {program("witness"), "", "--pidfile", pidfile_, "--witness", witness_};
        Strings words = base;
        Outcome last;
        bool works = true;
        for (const char* const verb : {"start", "status", "stop"}) {
            words[1] = verb;
            last = run(Launch(words));
            works = works && last.status == 0;
            if (!works) break;
        }
        holds(name_ + "the next clean start works", works, words[1] + " " + last.text());
        stop_all();
        Strings left;
        for (const std::string& file : scratch_.names())
            if (file.compare(0, 7, "witness") != 0 && file != "pid.away") left.push_back(file);
        holds(name_ + "no file is left", left.empty(), join(left));
    }

    void stop_all() {
        run(Launch({program("witness"), "stop", "--pidfile", pidfile_}));
        eventually([this] {
            const std::vector<pid_t> all = ours();
            for (const pid_t pid : all) Target(pid).kill(SIGKILL);
            return all.empty();
        });
    }

    void tell() const {
        std::printf("%sdone and ended (verb and status: how often):", name_.c_str());
        for (const auto& one : seen_) std::printf(" %s: %ld,", one.first.c_str(), one.second);
        std::printf(" twins noticed: %d\n", count(slurp(witness_ + ".twins"), "\n"));
        std::fflush(stdout);
    }

    const std::string name_;
    const bool rough_;
    const Weights weights_;
    const Scratch scratch_;
    Bystanders bystanders_;
    std::vector<Slot> slots_;
    const std::string pidfile_, witness_;
    int last_tag_ = 0;
    std::map<int, Clock::time_point> began_;
    std::set<int> killed_;  // tags whose first process, the one that is judged, we have killed
    std::vector<Vanishing> vanish_;
    Clock::time_point next_look_;
    std::map<std::string, long> seen_;
};

}  // namespace

int main(int argc, char** argv) {
    judge::prepare();
    const int rounds = static_cast<int>(judge::option(argc, argv, "--rounds", 20));
    const int starts = static_cast<int>(judge::option(argc, argv, "--starts", 200));
    const Millis time = std::chrono::seconds(judge::option(argc, argv, "--seconds", 60));
    const long given = judge::option(argc, argv, "--seed", 1);
    const unsigned seed = given != 0 ? static_cast<unsigned>(given) : std::random_device()();
    dice.seed(seed);
    std::printf("seed %u\n", seed);
    std::fflush(stdout);

    for (int round = 0; round < rounds; ++round) crowd(round, starts);
    Storm("storm", false, Weights{8, 4, 2, 2, 2}, 8).run_for(time / 2, true);
    Storm("rough storm", true, Weights{8, 4, 2, 2, 2}, 8).run_for(time, true);
    Storm("restarts", false, Weights{0, 0, 1, 0, 0}, 8).run_for(time / 4, false);
    std::printf("seed %u\n", seed);
    return judge::sum_up();
}
