// Text from outside, as no test would write it: libFuzzer on the rules that read it. The first byte
// chooses the rule; what is asserted is what holds for any input. `make fuzz`.
#define DAEMONIZE_IMPLEMENTATION
#include "daemonize.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

namespace detail = daemonize::detail;
using detail::Text;
using detail::Verdict;

void require(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "fuzz: %s\n", what);
    __builtin_trap();
}

bool is_one_line(const char* text) {
    for (; *text; ++text)
        if (static_cast<unsigned char>(*text) < 0x20 || *text == 0x7f) return false;
    return true;
}

// P5, G7: no text of a PID file is taken for a process that nobody proves, and what is said of it
// is one line.
void fuzz_pid_file(const std::string& text) {
    detail::PidFileView view;
    view.exists = true;
    detail::read_content(view, text.data(), text.size());
    require(view.number >= 0 && view.number <= INT_MAX, "a PID out of range");
    for (const long owner : {0L, -1L, 1L, 4711L}) {
        for (const bool locked : {false, true}) {
            view.locked = locked;
            view.proves = true;
            view.owner = locked ? owner : 0;
            const Verdict verdict = detail::judge(view);
            require(!detail::is_daemon(verdict) || (locked && view.number == owner && owner > 0),
                    "proven, but not by its owner");
            require(verdict != Verdict::dead || (!locked && !text.empty()), "dead, but empty");
            Text said, content;
            detail::describe_unproven(view, said);
            detail::describe_content(view, content);
            require(is_one_line(said.c_str()) && is_one_line(content.c_str()),
                    "more than one line");
        }
    }
}

// The readiness channel: whatever comes, a whole and plausible report or none. In two pieces, as a
// socket may bring it.
void fuzz_channel(const std::string& bytes) {
    int ends[2];
    if (bytes.size() > 60000 || ::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) return;
    detail::incoming = detail::Incoming();
    const std::size_t half = bytes.size() / 2;
    require(::send(ends[0], bytes.data(), half, 0) == static_cast<ssize_t>(half), "no room");
    detail::read_report(ends[1]);
    const std::size_t rest = bytes.size() - half;
    require(::send(ends[0], bytes.data() + half, rest, 0) == static_cast<ssize_t>(rest), "no room");
    ::close(ends[0]);
    const detail::Incoming::State state = detail::read_report(ends[1]);
    const detail::Incoming& in = detail::incoming;
    require(state != detail::Incoming::waiting, "it waits for more than there is");
    if (state == detail::Incoming::complete) {
        require(detail::is_plausible(in.report), "a report that cannot be meant");
        require(sizeof in.report + in.report.size <= bytes.size(), "more than came");
        require(in.report.size == 0 ||
                    std::memcmp(in.text, bytes.data() + sizeof in.report, in.report.size) == 0,
                "another text than came");
    }
    std::free(in.text);
    detail::incoming = detail::Incoming();
    ::close(ends[1]);
}

// V1, L4: the manager's numbers, and paths in and out of a jail.
void fuzz_environment(const std::string& text) {
    const std::size_t half = text.size() / 2;
    const std::string left = text.substr(0, half), right = text.substr(half);
    require(detail::watchdog_half(left.c_str(), right.c_str(), 4711) >= daemonize::Duration(1),
            "no interval");
    const std::string path = "/" + left, jail = "/" + right;
    const char* const inside = detail::inside(path.c_str(), jail.c_str());
    require(inside == nullptr || inside[0] == '/', "a relative path in the jail");
    const long long number = detail::parse_number(left.c_str(), 65536);
    require(number >= -1 && number <= 65536, "a number that is too large");
}

// S1, E1: a message is one line, whatever its parts are, and its cause is kept.
void fuzz_message(const std::string& text) {
    for (const char* form : {"cannot lock %p: the cause", "cannot find user %q: the cause"}) {
        Text out;
        detail::format(out, form, text);
        const std::size_t size = out.size(), cause = std::strlen(": the cause");
        require(size > cause && std::strcmp(out.c_str() + size - cause, ": the cause") == 0,
                "the cause is lost");
        require(is_one_line(out.c_str()), "a message of two lines");
    }
    detail::Str shown;
    detail::set_shown(shown, text.c_str(), std::strlen(text.c_str()));
    require(is_one_line(shown.c_str()), "a text of the program's of two lines");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const std::string text(reinterpret_cast<const char*>(data + 1), size - 1);
    switch (data[0] % 4) {
        case 0:
            fuzz_pid_file(text);
            break;
        case 1:
            fuzz_channel(text);
            break;
        case 2:
            fuzz_environment(text);
            break;
        default:
            fuzz_message(text);
    }
    return 0;
}
