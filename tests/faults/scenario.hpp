// One case: a scenario, a fault in it, and what came of it.
#ifndef DAEMONIZE_TESTS_FAULTS_SCENARIO_HPP
#define DAEMONIZE_TESTS_FAULTS_SCENARIO_HPP

#include <map>
#include <string>
#include <vector>

#include "tracer.hpp"

namespace faults {

enum class Before { nothing, running, dead };  // dead: killed, its PID file is still there

struct Scenario {
    const char* name;
    Before before;
    const char* verb;
    const char* option;  // and its value; null: none
    const char* value;
};
extern const std::vector<Scenario> scenarios;
bool needs_root(const Scenario& scenario);

// In the order of the table that is printed.
extern const std::vector<std::string> verdict_names;

struct Verdict {
    std::string name;  // lie, degraded, ...
    std::string mark;  // what the table of accepted cases knows it by; "": never accepted
    std::string text;
};

using State = std::map<std::string, std::string>;  // of a daemon, all that /proc tells

struct Result {
    std::vector<Verdict> verdicts;
    bool hit = false;        // the fault was injected; else the k-th call was another one this time
    std::string where;       // the k-th call
    int status = -1;         // of the program
    std::vector<Seen> seen;  // all calls
    State state;             // of the daemon that runs at the end, if one does
};

// Called in a process of its own, which is the parent of all that it starts. `clean` is the same
// scenario without a fault, the measure of the others; null: this is that one.
Result run_case(const std::string& subject, const std::string& directory, const Scenario& scenario,
                const Fault& fault, long expected, const Result* clean, bool verbose);

}  // namespace faults

#endif
