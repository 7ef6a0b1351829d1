// bench BUILD [--csv FILE] [WORD]: the header beside its floor, in one session, in turns, medians.
// With WORD only the sections whose name begins with it. Linux. It measures and prints, and writes
// the same rows into FILE; what misses its aim is marked, what does not work at all ends it with
// status 1. It is run where daemonize.hpp lies.
#include "tests/bench/common.hpp"

#include <dirent.h>
#include <link.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using Words = std::vector<std::string>;
using Setup = std::function<void()>;  // in the child, before exec

// Ends the run; main() says why, on its way the daemon that may be running is ended.
[[noreturn]] void give_up(const std::string& what) { throw std::runtime_error(what); }

[[noreturn]] void system_says(const std::string& what) {
    give_up(what + ": " + std::strerror(errno));
}

// ---- Text and files -----------------------------------------------------------------------------

std::string slurp(const std::string& path) {
    std::string text;
    FILE* const file = std::fopen(path.c_str(), "re");
    if (file == nullptr) return text;
    char piece[4096];
    for (std::size_t n; (n = std::fread(piece, 1, sizeof piece, file)) > 0;) text.append(piece, n);
    std::fclose(file);
    return text;
}

// The number behind `name` in a text of lines such as "Threads:  1".
long number_after(const std::string& text, const char* name) {
    const std::size_t at = text.find(name);
    return at == std::string::npos ? -1 : std::atol(text.c_str() + at + std::strlen(name));
}

// A directory of our own with the PID file and the FIFO, removed at the end.
struct Place {
    std::string dir, pidfile, fifo;
    int reader = -1;

    Place() {
        char name[] = "/tmp/daemonize-bench.XXXXXX";
        if (mkdtemp(name) == nullptr) system_says("mkdtemp");
        dir = name;
        pidfile = dir + "/pid";
        fifo = dir + "/ready";
        if (mkfifo(fifo.c_str(), 0600) != 0) system_says(fifo);
        reader = open(fifo.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK);
    }
    ~Place() {
        const pid_t left = static_cast<pid_t>(std::atol(slurp(pidfile).c_str()));
        if (left > 1 && waitpid(left, nullptr, WNOHANG) == 0) {  // a child of ours, still running
            kill(left, SIGKILL);
            waitpid(left, nullptr, 0);
        }
        for (const char* const file : {"/pid", "/ready", "/a.cpp", "/b.cpp", "/c.cpp", "/a.o"})
            unlink((dir + file).c_str());
        rmdir(dir.c_str());
    }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

    // The next line that begins with `kind`, or "" when nothing came for `limit` seconds.
    std::string line(char kind, int limit = 20) {
        for (;;) {
            std::string text;
            for (char c; text.empty() || text.back() != '\n';) {
                pollfd watch = {reader, POLLIN, 0};
                if (poll(&watch, 1, limit * 1000) <= 0) return std::string();
                if (read(reader, &c, 1) == 1) text += c;
            }
            if (text[0] == kind) return text;
        }
    }
};

// ---- Processes ----------------------------------------------------------------------------------

long long* exec_time;  // shared with the children: each says when it called exec

struct Ended {
    int status;
    long long began, ended;
};

pid_t spawn(const Words& words, const Setup& setup) {
    const pid_t pid = fork();
    if (pid < 0) system_says("fork");
    if (pid > 0) return pid;
    if (setup) setup();
    std::vector<char*> argv;
    for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    *exec_time = bench::now_ns();
    execvp(argv[0], argv.data());
    _exit(127);
}

Ended run(const Words& words, const Setup& setup = Setup()) {
    const pid_t pid = spawn(words, setup);
    int status = 0;
    alarm(60);  // its handler only ends the waitpid()
    if (waitpid(pid, &status, 0) != pid) {
        kill(pid, SIGKILL);
        waitpid(pid, nullptr, 0);
        give_up(words[0] + " does not end within 60 s");
    }
    const long long now = bench::now_ns();
    alarm(0);
    return Ended{WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), *exec_time, now};
}

struct Started {
    pid_t pid;
    long long exec_to_left, exec_to_ready, call_to_left, call_to_ready;
};

Started start(Place& place, const Words& program, const Setup& setup = Setup()) {
    Words words = program;
    for (const std::string& word :
         {std::string("--pidfile"), place.pidfile, std::string("--ready-fifo"), place.fifo})
        words.push_back(word);
    const Ended launcher = run(words, setup);
    if (launcher.status != 0) give_up(program[0] + " did not start");
    long pid = 0;
    long long ready = 0, call = 0;
    if (std::sscanf(place.line('R').c_str(), "R %ld %lld %lld", &pid, &ready, &call) != 3)
        give_up(program[0] + " is not ready");
    return Started{static_cast<pid_t>(pid), launcher.ended - launcher.began, ready - launcher.began,
                   launcher.ended - call, ready - call};
}

// We are the subreaper of everything that is started here.
void reap(pid_t pid) {
    const long long limit = bench::now_ns() + 20000000000LL;
    while (waitpid(pid, nullptr, WNOHANG) == 0 && bench::now_ns() < limit) {
        pollfd nothing = {-1, 0, 0};
        poll(&nothing, 1, 1);
    }
}

void end(const Started& daemon) {
    if (kill(daemon.pid, SIGTERM) != 0) give_up("kill");
    reap(daemon.pid);
}

// ---- What a child can be given ------------------------------------------------------------------

rlim_t hard_limit() {
    rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_max;
}

Setup descriptor_limit(rlim_t soft) {
    return [soft] {
        rlimit limit = {soft, hard_limit()};
        setrlimit(RLIMIT_NOFILE, &limit);
    };
}

Setup open_descriptors(int count) {
    return [count] {
        descriptor_limit(hard_limit())();
        const int first = open("/dev/null", O_RDONLY);
        for (int i = 1; i < count; ++i)
            if (dup(first) < 0) _exit(126);
    };
}

// These system calls say ENOSYS, as on an old kernel.
Setup denied(const std::vector<long>& calls) {
    return [calls] {
        std::vector<sock_filter> filter = {
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
        for (const long call : calls) {
            filter.push_back(
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(call), 0, 1));
            filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS));
        }
        filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
        sock_fprog program = {static_cast<unsigned short>(filter.size()), filter.data()};
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) _exit(126);
    };
}

Setup both(const Setup& first, const Setup& second) {
    return [first, second] {
        first();
        second();
    };
}

// ---- Results ------------------------------------------------------------------------------------

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    const std::size_t half = values.size() / 2;
    return values.size() % 2 ? values[half] : (values[half - 1] + values[half]) / 2;
}

// What is printed is also a line of the CSV: section, row, floor, header, figure, aim, missed.
FILE* csv = nullptr;
std::string heading;
int missed = 0;

std::string quoted(const std::string& text) {
    std::string out = "\"";
    for (const char c : text) out += c == '"' ? std::string("\"\"") : std::string(1, c);
    return out + "\"";
}

void title(const std::string& text, const char* floor, const char* header,
           const char* figure = "ratio") {
    heading = text;
    std::printf("\n%-46s %10s %10s %7s %7s\n", text.c_str(), floor, header, figure, "aim");
}

// One figure beside its aim; `format` is how both are printed. A column below 0 is none; `aim` 0:
// only shown. What is printed as the aim is kept, too: no row misses it by a hidden digit.
void figure(const std::string& name, double floor, double header, double value, double aim,
            const char* format) {
    char shown[32], wanted[32] = "", beside[32] = "", here[32] = "";
    std::snprintf(shown, sizeof shown, format, value);
    if (aim > 0) std::snprintf(wanted, sizeof wanted, format, aim);
    if (floor >= 0) std::snprintf(beside, sizeof beside, "%.1f", floor);
    if (header >= 0) std::snprintf(here, sizeof here, "%.1f", header);
    const bool too_much = aim > 0 && std::atof(shown) > std::atof(wanted);
    missed += too_much;
    std::printf("  %-44s %10s %10s %7s %7s%s\n", name.c_str(), beside, here, shown, wanted,
                too_much ? "  missed" : "");
    std::fflush(stdout);
    if (csv == nullptr) return;
    std::fprintf(csv, "%s,%s,%s,%s,%s,%s,%s\n", quoted(heading).c_str(), quoted(name).c_str(),
                 beside, here, shown, wanted,
                 aim <= 0   ? ""
                 : too_much ? "yes"
                            : "no");
}

void row(const std::string& name, double floor, double header, double aim) {
    figure(name, floor, header, header / floor, aim, "%.2f");
}

void difference(const std::string& name, double floor, double header, double aim) {
    figure(name, floor, header, header - floor, aim, "%+.1f");
}

// A number that stands for itself.
void number(const std::string& name, double value, double aim, const char* format = "%.0f") {
    figure(name, -1, -1, value, aim, format);
}

struct Side {
    Words program;
    Setup setup;
    std::vector<double> exec_left, exec_ready, call_left, call_ready;
    double of(const std::vector<double> Side::*what) const { return median(this->*what) / 1000; }
};

// Starts and ends the sides in turns; every second round the other way round.
void in_turns(Place& place, std::vector<Side>& sides, int rounds) {
    for (int i = -1; i < rounds; ++i) {  // round -1 warms up
        for (std::size_t k = 0; k < sides.size(); ++k) {
            Side& side = sides[i % 2 == 0 ? k : sides.size() - 1 - k];
            const Started one = start(place, side.program, side.setup);
            end(one);
            if (i < 0) continue;
            side.exec_left.push_back(static_cast<double>(one.exec_to_left));
            side.exec_ready.push_back(static_cast<double>(one.exec_to_ready));
            side.call_left.push_back(static_cast<double>(one.call_to_left));
            side.call_ready.push_back(static_cast<double>(one.call_to_ready));
        }
    }
}

struct Bench {
    std::string build;
    Place place;
    std::string program(const char* name) const { return build + "/" + name; }
    Words floor() const { return Words{program("bench-floor")}; }
    Words header() const { return Words{program("bench-candidate")}; }
};

// ---- The sections -------------------------------------------------------------------------------

void measure_start(Bench& b) {
    // The last: what the header's form of the start costs at the least. For information; the aims
    // are ratios to the first.
    std::vector<Side> sides(5);
    sides[0].program = b.floor();
    sides[1].program = b.header();
    sides[2].program = Words{b.program("bench-floor-static")};
    sides[3].program = Words{b.program("bench-candidate-static")};
    sides[4].program = Words{b.program("bench-floor-stays")};
    for (Side& side : sides) side.setup = descriptor_limit(1024);
    in_turns(b.place, sides, 150);
    title("start, microseconds", "floor", "header");
    row("from exec until the launcher has left", sides[0].of(&Side::exec_left),
        sides[1].of(&Side::exec_left), 1.18);
    row("from exec until ready", sides[0].of(&Side::exec_ready), sides[1].of(&Side::exec_ready),
        1.10);
    row("from the call until the launcher has left", sides[0].of(&Side::call_left),
        sides[1].of(&Side::call_left), 0);
    row("from the call until ready", sides[0].of(&Side::call_ready), sides[1].of(&Side::call_ready),
        0);
    row("-static-libstdc++: exec until left", sides[2].of(&Side::exec_left),
        sides[3].of(&Side::exec_left), 0);
    row("-static-libstdc++: exec until ready", sides[2].of(&Side::exec_ready),
        sides[3].of(&Side::exec_ready), 0);
    title("start, a floor whose leader stays, too", "floor", "it stays");
    row("from exec until the launcher has left", sides[0].of(&Side::exec_left),
        sides[4].of(&Side::exec_left), 0);
    row("from exec until ready", sides[0].of(&Side::exec_ready), sides[4].of(&Side::exec_ready), 0);
    title("start, beside the floor whose leader stays", "it stays", "header");
    row("from exec until the launcher has left", sides[4].of(&Side::exec_left),
        sides[1].of(&Side::exec_left), 0);
    row("from exec until ready", sides[4].of(&Side::exec_ready), sides[1].of(&Side::exec_ready), 0);
}

// What its users know, where it is installed. They say less at the end of a start than the header
// (only libdaemon waits until its daemon says that it is ready), so it alone is an aim.
struct Peer {
    const char* name;
    Words program;
};

std::vector<Peer> peers(const Bench& b) {
    const std::string plain = b.program("bench-floor");
    const std::string python =
        "import daemon, daemon.pidfile, os, signal, sys, time\n"
        "with daemon.DaemonContext(pidfile=daemon.pidfile.PIDLockFile(sys.argv[2])):\n"
        "    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
        "    f = os.open(sys.argv[4], os.O_WRONLY)\n"
        "    os.write(f, b'R %d %d 0\\n' % (os.getpid(), time.monotonic_ns()))\n"
        "    signal.sigwait([signal.SIGTERM])\n";
    const std::vector<Peer> known = {
        {"libdaemon", {b.program("bench-peer")}},
        {"daemonize(1)",
         {"daemonize", "-p", b.place.pidfile, "-l", b.place.pidfile, plain, "--plain", "yes"}},
        {"start-stop-daemon",
         {"start-stop-daemon", "--start", "--background", "--make-pidfile", "--pidfile",
          b.place.pidfile, "--startas", plain, "--", "--plain", "yes"}},
        {"python-daemon", {"/usr/bin/python3", "-c", python}},
    };
    std::vector<Peer> there;
    for (const Peer& peer : known) {
        Words probe = {"sh", "-c", "command -v \"$0\" >/dev/null", peer.program[0]};
        if (peer.program[0][0] == '/' && peer.program[0].find("python") != std::string::npos)
            probe = {"sh", "-c", "exec \"$0\" -c 'import daemon.pidfile' 2>/dev/null",
                     peer.program[0]};
        if (run(probe).status == 0)
            there.push_back(peer);
        else
            std::printf("  SKIP %s: it is not installed\n", peer.name);
    }
    return there;
}

void measure_peers(Bench& b) {
    for (const rlim_t limit : {rlim_t(1024), hard_limit()}) {
        const std::string name = "start, limit " + std::to_string(limit) + ", microseconds";
        title(name, "peer", "header");
        for (const Peer& peer : peers(b)) {
            std::vector<Side> sides(3);
            sides[0].program = peer.program;
            sides[1].program = b.header();
            sides[2].program = Words{b.program("bench-candidate-static")};
            for (Side& side : sides) side.setup = descriptor_limit(limit);
            in_turns(b.place, sides, peer.program.size() > 2 ? 21 : 101);
            const std::string until_left = std::string(peer.name) + ", exec until it has left";
            const std::string until_ready = std::string(peer.name) + ", exec until ready";
            row(until_left, sides[0].of(&Side::exec_left), sides[1].of(&Side::exec_left), 0);
            row(until_ready, sides[0].of(&Side::exec_ready), sides[1].of(&Side::exec_ready), 0);
            if (peer.program.size() > 1) continue;
            const bool usual = limit == 1024;
            row("  without libstdc++.so, until it has left", sides[0].of(&Side::exec_left),
                sides[2].of(&Side::exec_left), usual ? 1.05 : 0);
            row("  without libstdc++.so, until ready", sides[0].of(&Side::exec_ready),
                sides[2].of(&Side::exec_ready), usual ? 1.00 : 0);
        }
    }
}

void measure_limit(Bench& b) {
    std::vector<Side> sides(2);
    sides[0].program = sides[1].program = b.header();
    sides[0].setup = descriptor_limit(1024);
    sides[1].setup = descriptor_limit(hard_limit());
    in_turns(b.place, sides, 150);
    const std::string limit = "limit " + std::to_string(hard_limit());
    title("header at two descriptor limits, microseconds", "limit 1024", limit.c_str());
    row("from exec until the launcher has left", sides[0].of(&Side::exec_left),
        sides[1].of(&Side::exec_left), 1.05);
    row("from exec until ready", sides[0].of(&Side::exec_ready), sides[1].of(&Side::exec_ready),
        1.05);
}

void measure_descriptors(Bench& b) {
    const int most = static_cast<int>(std::min<rlim_t>(hard_limit() - 64, 19000));
    for (const int count : {1000, most}) {
        std::vector<Side> sides(2);
        sides[0].program = b.floor();
        sides[1].program = b.header();
        sides[0].setup = sides[1].setup = open_descriptors(count);
        in_turns(b.place, sides, count == most ? 61 : 101);
        const std::string name = std::to_string(count) + " open descriptors, microseconds";
        title(name, "floor", "header");
        const double aim = count == most ? 1.05 : 1.15;
        row("from exec until the launcher has left", sides[0].of(&Side::exec_left),
            sides[1].of(&Side::exec_left), aim);
        row("from exec until ready", sides[0].of(&Side::exec_ready), sides[1].of(&Side::exec_ready),
            aim);
        row("from the call until ready", sides[0].of(&Side::call_ready),
            sides[1].of(&Side::call_ready), 0);
    }
    std::vector<Side> sides(2);
    sides[0].program = Words{b.program("bench-floor"), "--close", "proc"};
    sides[1].program = b.header();
    sides[0].setup = sides[1].setup = both(open_descriptors(most), denied({SYS_close_range}));
    in_turns(b.place, sides, 31);
    title("the same, close_range denied, microseconds", "proc walk", "header");
    row("from the call until ready", sides[0].of(&Side::call_ready), sides[1].of(&Side::call_ready),
        0.25);
}

void measure_memory(Bench& b) {
    std::vector<Side> sides(3);
    sides[0].program = b.floor();
    sides[1].program = Words{b.program("bench-candidate-generic")};
    sides[2].program = b.header();
    for (Side& side : sides)
        for (const char* const word : {"--mem-mib", "1024", "--thp", "off"})
            side.program.push_back(word);
    in_turns(b.place, sides, 7);
    title("1 GiB in 4 KiB pages, microseconds", "floor", "header");
    row("portable path, from the call until ready", sides[0].of(&Side::call_ready),
        sides[1].of(&Side::call_ready), 1.03);
    row("Linux, from the call until ready", sides[0].of(&Side::call_ready),
        sides[2].of(&Side::call_ready), 1.03);
    row("Linux, from the call until left", sides[0].of(&Side::call_left),
        sides[2].of(&Side::call_left), 0);
}

struct Footprint {
    long dirty_kib, clean_kib, threads, descriptors;
};

Footprint footprint(pid_t pid) {
    const std::string proc = "/proc/" + std::to_string(pid);
    const std::string rollup = slurp(proc + "/smaps_rollup");
    Footprint seen = {number_after(rollup, "Private_Dirty:"),
                      number_after(rollup, "Private_Clean:"),
                      number_after(slurp(proc + "/status"), "Threads:"), 0};
    DIR* const dir = opendir((proc + "/fd").c_str());
    if (dir == nullptr) system_says(proc + "/fd");
    while (const dirent* entry = readdir(dir)) seen.descriptors += entry->d_name[0] != '.';
    closedir(dir);
    return seen;
}

void measure_running(Bench& b) {
    std::vector<Footprint> seen;
    for (const Words& program : {b.floor(), b.header()}) {
        const Started daemon = start(b.place, program);
        // Ready is said just before the daemon begins to wait: let it get there.
        const std::string stat = "/proc/" + std::to_string(daemon.pid) + "/stat";
        const long long limit = bench::now_ns() + 20000000000LL;
        while (slurp(stat).find(") S ") == std::string::npos)
            if (bench::now_ns() > limit) give_up("the daemon never waits");
        seen.push_back(footprint(daemon.pid));
        end(daemon);
    }
    title("the running daemon", "floor", "header", "figure");
    const auto kib = [](long value) { return static_cast<double>(value); };
    difference("private memory, KiB", kib(seen[0].dirty_kib), kib(seen[1].dirty_kib), 8);
    // Pages of the program's own file; shared as soon as a second process runs it.
    difference("code mapped by no one else, KiB", kib(seen[0].clean_kib), kib(seen[1].clean_kib),
               0);
    number("threads", kib(seen[1].threads), 1);
    // 0, 1, 2, the lock, its directory, at most two for signals.
    number("descriptors", kib(seen[1].descriptors), 7);
}

// What the loader takes from the program's file, in KiB: the sum of its loaded sections, without
// bss. The size of the file itself jumps by pages, and says less.
double content(const std::string& program) {
    const std::string image = slurp(program);
    ElfW(Ehdr) head;
    if (image.size() < sizeof head || std::memcmp(image.data(), ELFMAG, SELFMAG) != 0)
        give_up(program + " is no ELF program");
    std::memcpy(&head, image.data(), sizeof head);
    ElfW(Shdr) each;
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < head.e_shnum; ++i) {
        const std::size_t at = static_cast<std::size_t>(head.e_shoff) + i * sizeof each;
        if (head.e_shentsize != sizeof each || at + sizeof each > image.size())
            give_up(program + ": its section table is not to be read");
        std::memcpy(&each, image.data() + at, sizeof each);
        if ((each.sh_flags & SHF_ALLOC) != 0 && each.sh_type != SHT_NOBITS)
            bytes += static_cast<std::size_t>(each.sh_size);
    }
    return static_cast<double>(bytes) / 1024;
}

void measure_size(Bench& b) {
    const struct {
        const char *name, *floor, *program;
        double aim;
    } weighed[] = {
        {"start, signals, stop, -O2", "bench-floor", "bench-candidate", 65},
        {"start, signals, stop, -Os", "bench-floor-small", "bench-candidate-small", 60},
        {"  and no exceptions, rtti, unwind tables", "bench-floor-bare", "bench-candidate-bare",
         48},
        {"PidFile alone, -O2", "bench-floor", "bench-pidfile-only", 26},
        {"PidFile alone, -Os", "bench-floor-small", "bench-pidfile-only-small", 0},
        {"open() alone, -O2", "bench-floor", "bench-open-only", 54},
        {"open() alone, -Os", "bench-floor-small", "bench-open-only-small", 0},
    };
    title("bytes: loaded sections without bss, KiB", "floor", "header", "over");
    for (const auto& one : weighed)
        difference(one.name, content(b.program(one.floor)), content(b.program(one.program)),
                   one.aim);
}

void measure_lines(Bench&) {
    const std::string text = slurp("daemonize.hpp");
    if (text.empty()) give_up("there is no daemonize.hpp in this directory");
    double all = 0, comments = 0;
    for (std::size_t at = 0; at < text.size(); ++all) {
        const std::size_t end = std::min(text.find('\n', at), text.size());
        const std::size_t word = text.find_first_not_of(' ', at);
        comments += text.compare(std::min(word, end), 2, "//") == 0;
        at = end + 1;
    }
    title("lines of daemonize.hpp", "", "", "header");
    number("lines in all", all, 5200);
    number("of these nothing but a comment", comments, 0);
    // The other way round: so many lines to one of comment, so that less is better here, too.
    number("lines to each of comment", all / comments, 5, "%.1f");
}

// Milliseconds until 200 launchers have left that were let go at the same time.
double two_hundred(Bench& b, const std::string& program, int& winners) {
    int gate[2];
    if (pipe2(gate, O_CLOEXEC) != 0) system_says("pipe");
    const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    std::vector<pid_t> launchers;
    for (int i = 0; i < 200; ++i)
        launchers.push_back(
            spawn(Words{program, "--pidfile", b.place.pidfile, "--ready-fifo", b.place.fifo}, [&] {
                char byte;
                close(gate[1]);
                dup2(null, 2);  // 199 refusals
                if (read(gate[0], &byte, 1) != 0) _exit(126);
            }));
    close(gate[0]);
    const long long began = bench::now_ns();
    close(gate[1]);
    winners = 0;
    alarm(60);
    for (const pid_t launcher : launchers) {
        int status = 0;
        if (waitpid(launcher, &status, 0) != launcher) system_says("waitpid");
        winners += WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }
    const long long ended = bench::now_ns();
    alarm(0);
    close(null);
    long pid = 0;
    if (std::sscanf(b.place.line('R').c_str(), "R %ld", &pid) != 1) give_up("none of 200 started");
    kill(static_cast<pid_t>(pid), SIGTERM);
    reap(static_cast<pid_t>(pid));
    return static_cast<double>(ended - began) / 1e6;
}

void measure_crowd(Bench& b) {
    std::vector<double> floor, header;
    int most = 0, least = 200;
    for (int i = 0; i < 15; ++i) {
        int winners = 0;
        floor.push_back(two_hundred(b, b.program("bench-floor"), winners));
        header.push_back(two_hundred(b, b.program("bench-candidate"), winners));
        most = std::max(most, winners);
        least = std::min(least, winners);
    }
    title("200 starts at once, milliseconds", "floor", "header");
    row("until all launchers have left", median(floor), median(header), 1.15);
    number("most daemons of the header in 15 rounds", most, 1);
    if (least < 1) give_up("none of 200 starts succeeded");
}

void measure_stop(Bench& b) {
    struct Stopper {
        Words words;
        Setup setup;
        std::vector<double> took;
    };
    const Setup old_kernel = denied({SYS_pidfd_open, SYS_pidfd_send_signal});
    std::vector<Stopper> stoppers = {
        {Words{b.program("bench-floor"), "--stop", b.place.pidfile}, Setup(), {}},
        {Words{b.program("bench-candidate"), "--stop", b.place.pidfile}, Setup(), {}},
        {Words{b.program("bench-candidate"), "--stop", b.place.pidfile}, old_kernel, {}}};
    for (int i = -1; i < 100; ++i) {
        for (Stopper& stopper : stoppers) {
            const Started daemon = start(b.place, b.header());
            const Ended one = run(stopper.words, stopper.setup);
            reap(daemon.pid);
            if (one.status != 0) give_up("the stop failed");
            if (i >= 0) stopper.took.push_back(static_cast<double>(one.ended - one.began) / 1000);
        }
    }
    title("stop, microseconds, the header's daemon", "pidfd+poll", "header");
    row("from exec of the stopper to its end", median(stoppers[0].took), median(stoppers[1].took),
        1.25);
    row("without pidfd", median(stoppers[0].took), median(stoppers[2].took), 2.50);
}

void measure_latency(Bench& b) {
    FILE* const program = popen((b.program("bench-latency")).c_str(), "re");
    double by_signal = 0, by_pipe = 0, by_sigwait = 0;
    if (program == nullptr ||
        std::fscanf(program, "%lf %lf %lf", &by_signal, &by_pipe, &by_sigwait) != 3)
        give_up("bench-latency");
    pclose(program);
    title("signal to callback and back, microseconds", "floor", "header");
    row("median of 20,000, beside sigwait()", by_sigwait / 1000, by_signal / 1000, 1.25);
    row("beside a byte by a pipe, no signal", by_pipe / 1000, by_signal / 1000, 0);
}

// The processor's time of the children that have ended, in nanoseconds.
long long children_cpu() {
    rusage used;
    getrusage(RUSAGE_CHILDREN, &used);
    return (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000000LL +
           (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1000LL;
}

void measure_compiling(Bench& b) {
    const char* const given = std::getenv("CXX");
    const std::string compiler = given != nullptr && *given != '\0' ? given : "c++";
    struct Unit {
        const char *text, *level;
        int rounds;
        std::string file;
        std::vector<double> took, cpu;
    };
    std::vector<Unit> units = {
        {"#include <string>\n", "-O0", 11, b.place.dir + "/a.cpp", {}, {}},
        {"#include \"daemonize.hpp\"\n", "-O0", 11, b.place.dir + "/b.cpp", {}, {}},
        {"#define DAEMONIZE_IMPLEMENTATION\n#include \"daemonize.hpp\"\n",
         "-O2",
         3,
         b.place.dir + "/c.cpp",
         {},
         {}}};
    for (const Unit& unit : units) {
        FILE* const file = std::fopen(unit.file.c_str(), "we");
        if (file == nullptr || std::fputs(unit.text, file) < 0 || std::fclose(file) != 0)
            system_says(unit.file);
    }
    for (int i = -1; i < 11; ++i) {
        for (Unit& unit : units) {
            if (i >= unit.rounds) continue;
            const long long before = children_cpu();
            const Ended one = run(Words{compiler, "-std=c++11", unit.level, "-I.", "-c", unit.file,
                                        "-o", b.place.dir + "/a.o"});
            if (one.status != 0) give_up(compiler);
            if (i < 0) continue;
            unit.took.push_back(static_cast<double>(one.ended - one.began) / 1e6);
            unit.cpu.push_back(static_cast<double>(children_cpu() - before) / 1e9);
        }
    }
    title("to compile, milliseconds", "<string>", "header");
    row("the include alone", median(units[0].took), median(units[1].took), 1.80);
    title("to compile, seconds of the processor", "", "", "header");
    number("the one implementing file, -O2", median(units[2].cpu), 5.0, "%.1f");
}

int measure(int argc, char** argv) {
    Bench b;
    char* const build = realpath(argv[1], nullptr);
    if (build == nullptr) system_says(argv[1]);
    b.build = build;
    std::free(build);
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    struct sigaction wake;
    std::memset(&wake, 0, sizeof wake);
    wake.sa_handler = [](int) {};
    sigaction(SIGALRM, &wake, nullptr);
    void* const page =
        mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) system_says("mmap");
    exec_time = static_cast<long long*>(page);

    const struct {
        const char* name;
        void (*run)(Bench&);
    } sections[] = {{"start", measure_start},     {"peers", measure_peers},
                    {"limit", measure_limit},     {"descriptors", measure_descriptors},
                    {"memory", measure_memory},   {"running", measure_running},
                    {"size", measure_size},       {"size, lines", measure_lines},
                    {"200", measure_crowd},       {"stop", measure_stop},
                    {"latency", measure_latency}, {"compiling", measure_compiling}};
    const char* wanted = "";
    for (int i = 2; i < argc; ++i) {
        if (std::strcmp(argv[i], "--csv") != 0) {
            wanted = argv[i];
        } else if (i + 1 < argc && (csv = std::fopen(argv[++i], "we")) == nullptr) {
            system_says(argv[i]);
        }
    }
    if (csv != nullptr) std::fputs("section,row,floor,header,figure,aim,missed\n", csv);
    int done = 0;
    std::printf("Medians of runs in turns; ratio = header / the other column.\n");
    for (const auto& section : sections) {
        if (std::strncmp(section.name, wanted, std::strlen(wanted)) != 0) continue;
        section.run(b);
        ++done;
    }
    if (done == 0) std::fprintf(stderr, "bench: no section begins with '%s'\n", wanted);
    if (csv != nullptr && std::fclose(csv) != 0) system_says("the CSV file");
    std::printf("\n%d aims missed\n", missed);
    return done == 0 ? 2 : 0;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) {
        std::fprintf(stderr, "usage: bench BUILD [--csv FILE] [SECTION]\n");
        return 2;
    }
    try {
        return measure(argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "bench: %s\n", error.what());
        return 1;
    }
}
