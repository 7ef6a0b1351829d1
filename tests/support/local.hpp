// UNIX sockets that a test holds: a manager, a syslog, a server. For test files only.
#ifndef DAEMONIZE_TESTS_LOCAL_HPP
#define DAEMONIZE_TESTS_LOCAL_HPP

#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <stdexcept>
#include <string>

#include "harness.hpp"

namespace local {

inline sockaddr_un address(const std::string& path) {
    sockaddr_un made;
    std::memset(&made, 0, sizeof made);
    made.sun_family = AF_UNIX;
    if (path.size() >= sizeof made.sun_path) throw std::runtime_error("too long: " + path);
    std::memcpy(made.sun_path, path.data(), path.size());
    return made;
}

// Nobody waits at it, and a program that is started does not inherit it.
inline harness::Descriptor bound(const std::string& path, int type = SOCK_DGRAM) {
    harness::Descriptor made(::socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const sockaddr_un at = address(path);
    if (bind(made.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0)
        throw std::runtime_error("bind " + path);
    return made;
}

}  // namespace local

#endif
