// What races and soak share: sentences that are looked at again and again while a program runs, the
// count of them at its end, and a process that is ready to be the parent of many.
#ifndef DAEMONIZE_TESTS_JUDGE_HPP
#define DAEMONIZE_TESTS_JUDGE_HPP

#include <string>
#include <vector>

namespace judge {

// A sentence that is not listed before its first look is listed by it.
void expect(const std::string& sentence);
// One look. The first few details of a sentence that did not hold are printed at once.
bool holds(const std::string& sentence, bool condition, const std::string& detail = "");
void skip(const std::string& sentence, const std::string& reason);
// "PASS sentence (looks)", "FAIL sentence ..."; a sentence that nobody looked at has failed. Last
// "N passed, N failed, N skipped". Returns the exit status.
int sum_up();

// A subreaper without inherited signal dispositions, masks and descriptors.
void prepare();

// "--name value" of the command line as a number, or `otherwise`.
long option(int argc, char** argv, const char* name, long otherwise);

}  // namespace judge

#endif
