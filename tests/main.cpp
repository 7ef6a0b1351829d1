// The runner: doctest's main, with the guard that keeps its processes its own, and the counts.
// It takes doctest's options; run.sh cuts the suite into slices with --first and --last.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "support/harness.hpp"

namespace {

pid_t runner = 0;
int passed = 0, failed = 0, skipped = 0;
bool skipping = false;
std::string running;
int progress = -1;  // a byte for each test that is over: run.sh tells how far the suite has come

// Whatever a test does: its processes end with it, and a forked copy of the runner never goes on.
struct Guard : doctest::IReporter {
    explicit Guard(const doctest::ContextOptions&) {}

    void report_query(const doctest::QueryData&) override {}
    void test_run_start() override {}
    void test_run_end(const doctest::TestRunStats&) override { stay_alone(); }
    void test_case_start(const doctest::TestCaseData& test) override {
        stay_alone();
        running = test.m_name;
        skipping = false;
        alarm(600);  // every wait has its own deadline; this one is for a mistake in a test
    }
    void test_case_reenter(const doctest::TestCaseData&) override { clean_up(); }
    void test_case_end(const doctest::CurrentTestCaseStats& test) override {
        clean_up();
        alarm(0);
        if (!test.testCaseSuccess)
            ++failed;
        else if (skipping)
            ++skipped;
        else
            ++passed;
        if (progress >= 0 && write(progress, ".", 1) != 1) progress = -1;
    }
    void test_case_exception(const doctest::TestCaseException&) override { stay_alone(); }
    void subcase_start(const doctest::SubcaseSignature&) override {}
    void subcase_end() override {}
    void log_assert(const doctest::AssertData&) override {}
    void log_message(const doctest::MessageData&) override {}
    void test_case_skipped(const doctest::TestCaseData&) override {}

    static void stay_alone() {
        if (getpid() != runner) _exit(99);
    }
    static void clean_up() {
        stay_alone();
        harness::kill_all();
    }
};

// Descriptors of make's job server and of the shell are nothing that a daemon should inherit.
void keep_inherited_descriptors_to_ourselves() {
    for (int number = 3; number < 256; ++number) {
        const int flags = fcntl(number, F_GETFD);
        if (flags >= 0) fcntl(number, F_SETFD, flags | FD_CLOEXEC);
    }
}

}  // namespace

namespace harness {

void skip(const std::string& reason) {
    skipping = true;
    // The reason first, and a tab: run.sh groups by it.
    std::printf("SKIP: %s\t%s\n", reason.c_str(), running.c_str());
    std::fflush(stdout);
}

Counts counts() { return Counts{passed, failed, skipped}; }

}  // namespace harness

REGISTER_LISTENER("guard", 1, Guard);

int main(int argc, char** argv) {
    runner = getpid();
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    // What the caller ignores or blocks, a daemon under test would inherit.
    for (int signum = 1; signum < 32; ++signum) signal(signum, SIG_DFL);
    signal(SIGPIPE, SIG_IGN);  // a victim that dies must not take the runner along
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    keep_inherited_descriptors_to_ourselves();
    if (const char* const file = std::getenv("DAEMONIZE_PROGRESS"))
        progress = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    unsetenv("DAEMONIZE_PROGRESS");  // nothing that a program under test should find

    doctest::Context context(argc, argv);
    const int result = context.run();
    if (context.shouldExit()) return result;
    const harness::Counts sum = harness::counts();
    std::printf("RESULT passed=%d failed=%d skipped=%d\n", sum.passed, sum.failed, sum.skipped);
    std::printf("%d passed, %d failed, %d skipped\n", sum.passed, sum.failed, sum.skipped);
    return result;
}
