// ticker: appends a line a second to its log.
//
//     ticker start|stop|restart|reload|status|run [--pidfile FILE] [--log FILE]
//
// Without options a user's files are in ~/.local/state, root's in /run and /var/log. After the log
// was renamed, `ticker reload` (or a SIGHUP) goes on in a new one.
#define DAEMONIZE_IMPLEMENTATION
#include "daemonize.hpp"

#include <chrono>
#include <cstdio>
#include <ctime>
#include <string>
#include <vector>

namespace {

std::string default_log(const std::string& pidfile) {
    for (const char* roots : {"/run/ticker.pid", "/var/run/ticker.pid"})
        if (pidfile == roots) return "/var/log/ticker.log";
    const std::size_t end = pidfile.size() < 4 ? 0 : pidfile.size() - 4;
    return (pidfile.substr(end) == ".pid" ? pidfile.substr(0, end) : pidfile) + ".log";
}

void print_line(unsigned long number) {
    const std::time_t now = std::time(nullptr);
    char text[32] = "";
    std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", std::localtime(&now));
    std::printf("%s tick %lu\n", text, number);
    std::fflush(stdout);
}

int tick(daemonize::DaemonContext& daemon) {
    daemonize::SignalHandler signals(daemon);  // reload: control() re-opens the log
    signals.start();
    daemon.ready();
    auto next = std::chrono::steady_clock::now();
    unsigned long number = 0;
    do {
        print_line(++number);
        next += std::chrono::seconds(1);
    } while (signals.wait_until(next) == daemonize::no_signal);
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    daemonize::DaemonContext context;
    std::string log;
    // In UTF-8 on Windows, too, where argv has not every path.
    const std::vector<std::string> words = daemonize::utf8_arguments(argc, argv);
    for (std::size_t i = 2; i < words.size(); i += 2) {
        const bool has_value = i + 1 < words.size();
        if (has_value && words[i] == "--pidfile") {
            context.pidfile = words[i + 1];
        } else if (has_value && words[i] == "--log") {
            log = words[i + 1];
        } else {
            std::fprintf(stderr, "ticker: unknown option, or one without its value: '%s'\n",
                         words[i].c_str());
            return 2;
        }
    }
    if (context.pidfile.empty() && argc > 1 && argv[1][0] != '-') {  // not for --help
        daemonize::Error error;
        context.pidfile = daemonize::PidFile::default_path("ticker", error);
        if (error) {
            std::fprintf(stderr, "ticker: %s\n", error.text.c_str());
            return 1;
        }
    }
    context.standard_output = log.empty() ? default_log(context.pidfile) : log;
    context.standard_error = context.standard_output;
    context.help = "  --pidfile FILE, --log FILE    behind the verb";
    return daemonize::control(argc, argv, context, tick);
}
