// TCP on 127.0.0.1, for tests of servers.
#ifndef DAEMONIZE_TESTS_LOOPBACK_HPP
#define DAEMONIZE_TESTS_LOOPBACK_HPP

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

#include "harness.hpp"

namespace loopback {

inline sockaddr_in address(int port) {
    sockaddr_in made;
    std::memset(&made, 0, sizeof made);
    made.sin_family = AF_INET;
    made.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    made.sin_port = htons(static_cast<std::uint16_t>(port));
    return made;
}

// A port of the test's own for as long as it is held; free for a server after release().
struct Port {
    Port() : taken(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in any = address(0);
        socklen_t size = sizeof any;
        sockaddr* const at = reinterpret_cast<sockaddr*>(&any);
        if (bind(taken.get(), at, size) != 0 || listen(taken.get(), 1) != 0 ||
            getsockname(taken.get(), at, &size) != 0)
            throw std::runtime_error("no port on loopback");
        number = ntohs(any.sin_port);
    }
    int release() {
        taken.reset();
        return number;
    }
    harness::Descriptor taken;
    int number = 0;
};

// Waits until somebody listens; -1 in it if nobody does.
inline harness::Descriptor connected(int port, harness::Millis limit = harness::patience()) {
    harness::Descriptor client;
    harness::eventually(
        [&] {
            client = harness::Descriptor(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
            const sockaddr_in to = address(port);
            return connect(client.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0 ||
                   (client.reset(), false);
        },
        limit);
    if (client.get() >= 0) fcntl(client.get(), F_SETFL, O_NONBLOCK);
    return client;
}

// What the client has heard by the time it has heard `part` ("": all up to the connection's end).
inline std::string heard(const harness::Descriptor& client, const std::string& part) {
    std::string text;
    harness::eventually([&] {
        char piece[512];
        const ssize_t n = read(client.get(), piece, sizeof piece);
        if (n > 0) text.append(piece, static_cast<std::size_t>(n));
        return n == 0 || (n < 0 && errno != EAGAIN) ||
               (!part.empty() && harness::contains(text, part));
    });
    return text;
}

// What comes back for all of `text`, sent and received at the same time.
inline std::string echoed(int port, const std::string& text) {
    const harness::Descriptor client = connected(port, harness::Millis(0));
    if (client.get() < 0) return "cannot connect";
    std::size_t sent = 0;
    std::string got;
    char piece[65536];
    harness::eventually([&] {
        ssize_t n = send(client.get(), text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
        if (n > 0) sent += static_cast<std::size_t>(n);
        while ((n = recv(client.get(), piece, sizeof piece, 0)) > 0)
            got.append(piece, static_cast<std::size_t>(n));
        return n == 0 || got.size() >= text.size();
    });
    return got;
}

}  // namespace loopback

#endif
