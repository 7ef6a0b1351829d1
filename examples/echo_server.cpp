// echo_server: sends back what it gets, on a TCP port of the loopback interface.
//
//     echo_server start|stop|restart|reload|status|run [--port N] [--user NAME]
//                                                      [--pidfile FILE] [--log FILE]
//
// Started by root, it binds its port as root and then lives as --user (nobody). `start` returns
// when it listens; a port that is taken is told by the shell that typed `start`.
#define DAEMONIZE_IMPLEMENTATION
#include "daemonize.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

unsigned short port = 0;
int listener = -1;
unsigned long served = 0;

// The privileged hook: still root, and stderr is still the terminal that `start` was typed on.
void bind_port(daemonize::DaemonContext& daemon) {
    sockaddr_in address;
    std::memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);

    const int on = 1;
    listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0 || fcntl(listener, F_SETFD, FD_CLOEXEC) != 0 ||
        fcntl(listener, F_SETFL, O_NONBLOCK) != 0 ||
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        listen(listener, 64) != 0)
        daemon.fail("cannot listen on port " + std::to_string(port) + ": " + std::strerror(errno));
}

// What has come and is not sent back yet. Nothing is read from a client that does not read itself.
struct Client {
    int fd;
    std::string pending;
};

// False when the client has gone.
bool serve(Client& client) {
    if (client.pending.empty()) {
        char piece[16384];
        const ssize_t got = recv(client.fd, piece, sizeof piece, 0);
        if (got < 0) return errno == EAGAIN || errno == EINTR;
        if (got == 0) return false;
        client.pending.assign(piece, static_cast<std::size_t>(got));
    }
    const ssize_t sent = send(client.fd, client.pending.data(), client.pending.size(), 0);
    if (sent < 0) return errno == EAGAIN || errno == EINTR;
    client.pending.erase(0, static_cast<std::size_t>(sent));
    return true;
}

// False when there is none: gone again, or no descriptor is left for him.
bool take_client(std::vector<Client>& clients) {
    const int fd = accept(listener, nullptr, nullptr);
    if (fd < 0) return false;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    clients.push_back(Client{fd, std::string()});
    ++served;
    return true;
}

void say(const char* what) {
    std::printf("%s; %lu clients so far\n", what, served);
    std::fflush(stdout);
}

int echo(daemonize::DaemonContext& daemon) {
    daemonize::SignalHandler signals(daemon);
    signals.on(SIGUSR1, [](int) { say("asked"); });
    signals.on(SIGPIPE, daemonize::ignore_signal);  // a client that is gone is an errno here
    signals.start();
    daemon.ready();
    say("listening");

    // Under a manager with a watchdog signals.poll() tells it in time that the loop still turns.
    const daemonize::Duration interval = daemonize::watchdog_interval();
    const int round = interval == daemonize::no_limit ? -1 : static_cast<int>(interval.count());
    std::vector<Client> clients;
    std::vector<pollfd> sources;
    for (bool pauses = false;;) {  // whom it cannot take would wake it without end
        sources.assign(1, pollfd{static_cast<int>(signals.native_handle()), POLLIN, 0});
        sources.push_back(pollfd{pauses ? -1 : listener, POLLIN, 0});
        for (const Client& client : clients) {
            const short wanted = client.pending.empty() ? POLLIN : POLLOUT;
            sources.push_back(pollfd{client.fd, wanted, 0});
        }
        if (::poll(sources.data(), static_cast<nfds_t>(sources.size()), pauses ? 100 : round) < 0 &&
            errno != EINTR)
            daemon.fail(std::string("cannot poll: ") + std::strerror(errno));
        if (signals.poll() != daemonize::no_signal) break;

        for (std::size_t i = clients.size(); i-- > 0;) {
            if (sources[i + 2].revents == 0 || serve(clients[i])) continue;
            close(clients[i].fd);
            clients.erase(clients.begin() + static_cast<std::ptrdiff_t>(i));
        }
        pauses = sources[1].revents != 0 && !take_client(clients);
    }
    say("ended");
    return 0;
}

int wrong(const char* text, const char* word) {
    std::fprintf(stderr, "echo_server: %s: '%s'\n", text, word);
    return 2;
}

}  // namespace

int main(int argc, char** argv) {
    const bool root = geteuid() == 0;
    const char* port_word = "7";
    daemonize::DaemonContext context;
    if (root) {
        context.uid = "nobody";
        context.standard_output = "/var/log/echo_server.log";
    }
    for (int i = 2; i < argc; i += 2) {
        const std::string option = argv[i];
        if (i + 1 == argc) return wrong("an option that is unknown or lacks its value", argv[i]);
        const char* const value = argv[i + 1];
        if (option == "--port")
            port_word = value;
        else if (option == "--user")
            context.uid = value;
        else if (option == "--pidfile")
            context.pidfile = value;
        else if (option == "--log")
            context.standard_output = value;
        else
            return wrong("unknown option", argv[i]);
    }
    char* end = nullptr;
    const long number = std::strtol(port_word, &end, 10);
    if (*port_word == '\0' || *end != '\0' || number < 1 || number > 65535)
        return wrong("no port", port_word);
    port = static_cast<unsigned short>(number);

    daemonize::Error error;
    if (context.pidfile.empty() && argc > 1 && argv[1][0] != '-')  // not for --help
        context.pidfile = daemonize::PidFile::default_path("echo_server", error);
    if (error) {
        std::fprintf(stderr, "echo_server: %s\n", error.text.c_str());
        return 1;
    }
    context.standard_error = context.standard_output;
    context.privileged = bind_port;
    context.help = "  --port N, --user NAME, --pidfile FILE, --log FILE    behind the verb";
    return daemonize::control(argc, argv, context, echo);
}
