#include "tests/races/judge.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/support/harness.hpp"

namespace judge {

namespace {

struct Sentence {
    std::string text, skipped;
    long looks, failures;
};

std::vector<Sentence>& sentences() {
    static std::vector<Sentence> all;
    return all;
}

Sentence& sentence(const std::string& text) {
    for (Sentence& one : sentences())
        if (one.text == text) return one;
    sentences().push_back(Sentence{text, "", 0, 0});
    return sentences().back();
}

const long most_details = 5;

}  // namespace

void expect(const std::string& text) { sentence(text); }

bool holds(const std::string& text, bool condition, const std::string& detail) {
    Sentence& one = sentence(text);
    ++one.looks;
    if (condition) return true;
    if (++one.failures <= most_details) {
        std::printf("---- not so: %s\n%s\n", text.c_str(), detail.c_str());
        std::fflush(stdout);
    }
    return false;
}

void skip(const std::string& text, const std::string& reason) { sentence(text).skipped = reason; }

int sum_up() {
    harness::kill_all();  // what a failure has left running
    int passed = 0, failed = 0, skipped = 0;
    for (const Sentence& one : sentences()) {
        if (!one.skipped.empty() && one.looks == 0) {
            ++skipped;
            std::printf("SKIP: %s: %s\n", one.text.c_str(), one.skipped.c_str());
        } else if (one.failures == 0 && one.looks > 0) {
            ++passed;
            std::printf("PASS %s (%ld looks)\n", one.text.c_str(), one.looks);
        } else {
            ++failed;
            std::printf("FAIL %s (not so in %ld of %ld looks)\n", one.text.c_str(), one.failures,
                        one.looks);
        }
    }
    std::printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
    return failed == 0 && passed > 0 ? 0 : 1;
}

void prepare() {
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    for (int signum = 1; signum < 32; ++signum) signal(signum, SIG_DFL);
    signal(SIGPIPE, SIG_IGN);  // a program that dies must not take us along
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    for (int number = 3; number < 256; ++number) {
        const int flags = fcntl(number, F_GETFD);
        if (flags >= 0) fcntl(number, F_SETFD, flags | FD_CLOEXEC);
    }
}

long option(int argc, char** argv, const char* name, long otherwise) {
    for (int i = 1; i + 1 < argc; ++i)
        if (std::strcmp(argv[i], name) == 0) return std::atol(argv[i + 1]);
    return otherwise;
}

}  // namespace judge
