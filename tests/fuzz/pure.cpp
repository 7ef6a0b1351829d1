// Text from outside, as no test would write it: libFuzzer on the rules that read it. The first byte
// chooses the rule; what is asserted is what holds for any input. `make fuzz`.
#define DAEMONIZE_IMPLEMENTATION
#include "daemonize.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>

#include "tests/support/unquote.hpp"

namespace {

namespace os = daemonize::detail::os;
namespace pure = daemonize::detail::pure;

void require(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "fuzz: %s\n", what);
    __builtin_trap();
}

// P5, G7: no text of a PID file is taken for a process that may never be signalled, and what is
// said of it is one line.
void fuzz_pid_file(const std::string& text) {
    os::Found found;
    found.exists = true;
    found.text = text;
    for (const long owner : {0L, -1L, 4711L}) {
        for (const bool locked : {false, true}) {
            found.locked = locked;
            found.proves = true;
            found.owner = locked ? owner : 0;
            long pid = 0;
            std::string why;
            const pure::Verdict verdict = pure::judge(found, pid, why);
            require(pid >= 0 && pid <= INT_MAX, "a PID out of range");
            require(verdict != pure::Verdict::proven || (locked && pid == owner && pid > 1),
                    "proven, but not by its owner");
            require(verdict != pure::Verdict::dead || (!locked && pid > 1), "dead, but no PID");
            const std::string said = pure::unproven_text(verdict, found, pid, why);
            require(said.find('\n') == std::string::npos && said.find('\0') == std::string::npos,
                    "more than one line");
        }
    }
}

// The readiness channel: whatever comes, whole reports or none, and never more than came.
void fuzz_channel(std::string bytes) {
    os::Report report;
    for (std::size_t before = bytes.size(); pure::unpack(bytes, report); before = bytes.size()) {
        require(bytes.size() < before, "a report of no bytes");
        std::string again = pure::pack(report);
        os::Report same;
        require(pure::unpack(again, same) && same.text == report.text && again.empty(),
                "a report that does not survive the wire");
    }
}

// W2: what is no switch is none; what is one reads back as it was written.
void fuzz_switch(const std::string& text) {
    std::uint64_t handle = 0, nonce = 0;
    if (!pure::parse_switch(text, handle, nonce)) return;
    std::uint64_t handle_again = 1, nonce_again = 1;
    require(pure::parse_switch(pure::switch_text(handle, nonce), handle_again, nonce_again) &&
                handle == handle_again && nonce == nonce_again,
            "a switch that does not read back");
}

// W1: as the C runtime takes a command line apart, each argument comes back.
void fuzz_argument(const std::string& argument) {
    std::string back;
    require(unquote(pure::quote_argument(argument), back) && back == argument, "another argument");
}

// V1, L4: the manager's numbers, and paths in and out of a jail.
void fuzz_environment(const std::string& text) {
    const std::size_t half = text.size() / 2;
    const std::string left = text.substr(0, half), right = text.substr(half);
    require(pure::watchdog_interval(left, right, 4711) >= daemonize::Duration(1), "no interval");
    const std::string inside = pure::inside("/" + left, "/" + right);
    require(inside.empty() || inside[0] == '/', "a relative path in the jail");
    for (const pure::Piece& piece : {pure::quote(text), pure::path(text)}) {
        const std::string shown = pure::join({piece});
        require(shown.find('\n') == std::string::npos, "a path of two lines");
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const std::string text(reinterpret_cast<const char*>(data + 1), size - 1);
    switch (data[0] % 5) {
        case 0:
            fuzz_pid_file(text);
            break;
        case 1:
            fuzz_channel(text);
            break;
        case 2:
            fuzz_switch(text);
            break;
        case 3:
            fuzz_argument(text);
            break;
        default:
            fuzz_environment(text);
    }
    return 0;
}
