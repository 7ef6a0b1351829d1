// What a system call is named, and which errors it may plausibly return.
#ifndef DAEMONIZE_TESTS_FAULTS_CALLS_HPP
#define DAEMONIZE_TESTS_FAULTS_CALLS_HPP

#include <cstdint>
#include <string>
#include <vector>

namespace faults {

struct Call {
    long number = -1;
    std::uint64_t arguments[6] = {0, 0, 0, 0, 0, 0};
};

std::string name_of(long number);  // "call-123" where the table has no row
// Each error that this call, with these arguments, may return on a system in trouble. Calls that
// cannot fail with valid arguments (getpid, rt_sigaction) have none: they are killed and delayed.
std::vector<int> errors_of(const Call& call);
// close() has let go of the descriptor whatever it returns: it is done, and then said to have failed.
bool is_done_anyway(long number);
// brk() does not return an error: it returns the old end of the heap.
bool is_heap(long number);
int path_argument(long number);  // which argument is a path, -1: none

std::string error_name(int error);
int error_number(const std::string& name);  // 0: unknown

}  // namespace faults

#endif
