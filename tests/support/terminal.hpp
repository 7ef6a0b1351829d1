// A terminal whose keys the test presses and whose screen it reads. For test files only.
#ifndef DAEMONIZE_TESTS_TERMINAL_HPP
#define DAEMONIZE_TESTS_TERMINAL_HPP

#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <stdexcept>
#include <string>

#include "expect.hpp"

namespace terminal {

using namespace expect;

// Not everywhere: a bare chroot has no /dev/pts.
inline bool can_be_had() {
    const Descriptor master(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    if (master.get() < 0 || grantpt(master.get()) != 0 || unlockpt(master.get()) != 0) return false;
    const char* const name = ptsname(master.get());
    return name && Descriptor(open(name, O_RDWR | O_NOCTTY | O_CLOEXEC)).get() >= 0;
}
#define NEEDS_TERMINAL() SKIP_UNLESS(terminal::can_be_had(), "no terminal can be had (no devpts)")

// A terminal, and a program that it controls.
struct Terminal {
    Terminal() : master(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)) {
        if (grantpt(master.get()) != 0 || unlockpt(master.get()) != 0)
            throw std::runtime_error("no terminal");
        name = ptsname(master.get());
        fcntl(master.get(), F_SETFL, O_NONBLOCK);
    }
    Launch launch(const Strings& words) const {
        Launch made(words);
        made.environment = {{"NOTIFY_SOCKET", "-"}, {"SYSTEMD_EXEC_PID", "-"}, {"PIDFILE", "-"}};
        const std::string line = name;
        made.before_exec = [line] {
            setsid();
            const int slave = open(line.c_str(), O_RDWR);
            ioctl(slave, TIOCSCTTY, 0);
            for (int number = 0; number < 3; ++number) dup2(slave, number);
            if (slave > 2) close(slave);
        };
        return made;
    }
    bool shows(const std::string& part, Millis limit = patience()) {
        return eventually(
            [&] {
                char piece[512];
                for (ssize_t n; (n = read(master.get(), piece, sizeof piece)) > 0;)
                    screen.append(piece, static_cast<std::size_t>(n));
                return contains(screen, part);
            },
            limit);
    }
    void type(const std::string& text) {
        REQUIRE(write(master.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    }
    Descriptor master;
    std::string name, screen;
};

}  // namespace terminal

#endif
