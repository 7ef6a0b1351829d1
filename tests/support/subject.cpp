// The program by which the header is judged from outside: options become fields of DaemonContext,
// control() does the rest. Verbs and options: usage() below.
#define DAEMONIZE_IMPLEMENTATION
#include "daemonize.hpp"

#include <fcntl.h>
#include <signal.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#ifdef _WIN32
#include <io.h>
#include <process.h>
#include <sys/stat.h>
#include <windows.h>
#else
#include <pthread.h>
#include <unistd.h>
#endif

namespace {

// What each system has a way of its own for.
#ifdef _WIN32
const int user_signal = 30;
void sleep_for(long ms) { Sleep(static_cast<DWORD>(ms)); }
int open_to_append(const char* path) {
    return _open(path, _O_WRONLY | _O_APPEND | _O_CREAT | _O_BINARY, _S_IREAD | _S_IWRITE);
}
bool write_text(int file, const char* text, unsigned size) {
    return _write(file, text, size) == static_cast<int>(size);
}
void close_file(int file) { _close(file); }
unsigned __stdcall idle(void*) {
    for (;;) Sleep(INFINITE);
}
void start_thread() { _beginthreadex(nullptr, 0, idle, nullptr, 0, nullptr); }
long start_sleep() {
    STARTUPINFOW info = {};
    info.cb = sizeof info;
    PROCESS_INFORMATION made;
    wchar_t command[] = L"ping -n 300 127.0.0.1";
    if (!CreateProcessW(nullptr, command, nullptr, nullptr, FALSE, 0, nullptr, nullptr, &info,
                        &made))
        return 0;
    CloseHandle(made.hThread);
    CloseHandle(made.hProcess);
    return static_cast<long>(made.dwProcessId);
}
std::string utf8(const std::wstring& text) {
    const int length = static_cast<int>(text.size());
    const int size =
        WideCharToMultiByte(CP_UTF8, 0, text.c_str(), length, nullptr, 0, nullptr, nullptr);
    std::string out(static_cast<std::size_t>(size), '\0');
    WideCharToMultiByte(CP_UTF8, 0, text.c_str(), length, &out[0], size, nullptr, nullptr);
    return out;
}
bool is_blank(wchar_t c) { return c == L' ' || c == L'\t'; }
// Taken apart as the C runtime does it: backslashes count before a quote.
std::vector<std::string> words_of(const wchar_t* at) {
    std::vector<std::string> words;
    for (;;) {
        while (is_blank(*at)) ++at;
        if (*at == L'\0') return words;
        std::wstring word;
        for (bool quoted = false; *at != L'\0' && (quoted || !is_blank(*at)); ++at) {
            std::size_t backslashes = 0;
            for (; *at == L'\\'; ++at) ++backslashes;
            word.append(*at == L'"' ? backslashes / 2 : backslashes, L'\\');
            if (*at == L'"' && backslashes % 2 == 0)
                quoted = !quoted;
            else if (*at == L'\0' || (!quoted && is_blank(*at)))
                --at;  // the backslashes were the last
            else
                word += *at;
        }
        words.push_back(utf8(word));
    }
}
// main() has its words in the code page of the system, and the header wants UTF-8.
void make_utf8(int& argc, char**& argv) {
    static std::vector<std::string> words = words_of(GetCommandLineW());
    static std::vector<char*> pointers;
    for (std::string& word : words) pointers.push_back(&word[0]);
    argc = static_cast<int>(words.size());
    pointers.push_back(nullptr);
    argv = pointers.data();
}
#else
const int user_signal = SIGUSR1;
void make_utf8(int&, char**&) {}
void sleep_for(long ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&time, &time) != 0 && errno == EINTR) {  // a second signal cuts nothing short
    }
}
int open_to_append(const char* path) { return open(path, O_WRONLY | O_APPEND | O_CREAT, 0644); }
bool write_text(int file, const char* text, unsigned size) {
    return write(file, text, size) == static_cast<ssize_t>(size);
}
void close_file(int file) { close(file); }
void* idle(void*) {
    for (;;) pause();
}
void start_thread() {
    pthread_t thread;
    pthread_create(&thread, nullptr, idle, nullptr);
}
long start_sleep() {
    const pid_t child = fork();
    if (child == 0) {
        // Until ready, 2 is the launcher's: who waits for its end of file would wait for the child.
        dup2(1, 2);
        execlp("sleep", "sleep", "300", static_cast<char*>(nullptr));
        _exit(127);
    }
    return child;
}
#endif

using daemonize::DaemonContext;
using std::chrono::milliseconds;

struct Behaviour {
    long ready_delay = 0, term_delay = 0, exit_init = -1, threads = 0;
    std::string fail_init, say, atexit_file;
    bool has_fail_init = false, abort_init = false, ignore_term = false, child = false;
    bool has_payload = false;
} behaviour;

const char* const verbs = "start stop restart try-restart reload force-reload status run";
const char* const options =
    "pidfile stdout stderr chdir umask user group chroot preserve-fd ready-delay-ms ready-timeout "
    "fail-init exit-init abort-init no-detach say atexit-file ignore-term term-delay-ms timeout "
    "payload child threads check running-is-success stop-signal no-kill help-text close-fds "
    "make-directory";

int usage(const char* wrong) {
    std::fprintf(stderr,
                 "subject: unknown or incomplete option '%s'; usage: subject VERB "
                 "--pidfile P [options]; 'subject features' lists them\n",
                 wrong);
    return 2;
}

void say(const std::string& text) {
    std::fputs(text.c_str(), stdout);
    std::fflush(stdout);
}

// "" and what is no number at all are told apart from 0.
bool number(const char* text, int base, long& value) {
    char* end = nullptr;
    value = std::strtol(text, &end, base);
    return *text != '\0' && *end == '\0';
}

// A limit in seconds, with a fraction if need be; "inf" is none.
bool seconds(const char* text, milliseconds& limit) {
    char* end = nullptr;
    const double value = std::strtod(text, &end);
    if (*text == '\0' || *end != '\0' || !(value >= 0)) return false;  // also for what is no number
    const bool endless = value > 1e9;
    limit = endless ? daemonize::no_limit : milliseconds(static_cast<long long>(value * 1000));
    return true;
}

bool take_flag(const std::string& name, DaemonContext& context) {
    if (name == "--abort-init")
        behaviour.abort_init = true;
    else if (name == "--ignore-term")
        behaviour.ignore_term = true;
    else if (name == "--child")
        behaviour.child = true;
    else if (name == "--no-detach")
        context.detach_process = daemonize::Detach::no;
    else if (name == "--running-is-success")
        context.running_is_success = true;
    else if (name == "--no-kill")
        context.kill_after_stop_timeout = false;
    else if (name == "--make-directory")
        context.make_directory = true;
    else
        return false;
    return true;
}

bool take_close_fds(const std::string& word, DaemonContext& context) {
    if (word == "inherited")
        context.close_fds = daemonize::CloseFds::inherited;
    else if (word == "all")
        context.close_fds = daemonize::CloseFds::all;
    else if (word == "none")
        context.close_fds = daemonize::CloseFds::none;
    else
        return false;
    return true;
}

// The program's test of its configuration is a command: good if it ends with 0.
void take_check(const std::string& command, DaemonContext& context) {
    context.check = [command](daemonize::Error& error) {
        if (std::system(command.c_str()) == 0) return true;
        error.code = std::make_error_code(std::errc::invalid_argument);
        error.text = "configuration refused by '" + command + "'";
        return false;
    };
}

bool take_number(const std::string& name, const char* value, DaemonContext& context) {
    long n = 0;
    if (!number(value, name == "--umask" ? 8 : 10, n)) return false;
    if (name == "--umask")
        context.umask = static_cast<int>(n);
    else if (name == "--preserve-fd")
        context.files_preserve.push_back(static_cast<int>(n));
    else if (name == "--ready-delay-ms")
        behaviour.ready_delay = n;
    else if (name == "--exit-init")
        behaviour.exit_init = n;
    else if (name == "--term-delay-ms")
        behaviour.term_delay = n;
    else if (name == "--threads")
        behaviour.threads = n;
    else if (name == "--stop-signal")
        context.stop_signal = static_cast<int>(n);
    else
        return false;
    return true;
}

bool take_text(const std::string& name, const char* value, DaemonContext& context) {
    if (name == "--pidfile")
        context.pidfile = value;
    else if (name == "--stdout")
        context.standard_output = value;
    else if (name == "--stderr")
        context.standard_error = value;
    else if (name == "--chdir")
        context.working_directory = value;
    else if (name == "--chroot")
        context.chroot_directory = value;
    else if (name == "--user")
        context.uid = value;
    else if (name == "--group")
        context.gid = value;
    else if (name == "--say")
        behaviour.say = value;
    else if (name == "--atexit-file")
        behaviour.atexit_file = value;
    else if (name == "--ready-timeout")
        return seconds(value, context.ready_timeout);
    else if (name == "--timeout")
        return seconds(value, context.stop_timeout);
    else if (name == "--fail-init")
        behaviour.has_fail_init = true, behaviour.fail_init = value;
    else if (name == "--payload")
        behaviour.has_payload = true, context.payload = value;
    else if (name == "--help-text")
        context.help = value;
    else if (name == "--check")
        take_check(value, context);
    else if (name == "--close-fds")
        return take_close_fds(value, context);
    else
        return false;
    return true;
}

bool take_option(const char* name, const char* value, DaemonContext& context) {
    return take_text(name, value, context) || take_number(name, value, context);
}

// Behind these verbs control() itself says what it does not know.
bool judged_by_control(const std::string& verb, const std::string& word) {
    return verb == "stop" || verb == "status" || verb == "reload" || word == "--help" ||
           word == "-h";
}

// The option that is wrong, or null. What is no option of ours is handed on to control().
const char* parse(int argc, char** argv, DaemonContext& context,
                  std::vector<const char*>& handed_on) {
    for (int i = 0; i < argc && i < 2; ++i) handed_on.push_back(argv[i]);
    for (int i = 2; i < argc; ++i) {
        if (take_flag(argv[i], context)) continue;
        if (i + 1 < argc && take_option(argv[i], argv[i + 1], context))
            ++i;
        else if (judged_by_control(argv[1], argv[i]))
            handed_on.push_back(argv[i]);
        else
            return argv[i];
    }
    return nullptr;
}

void append_a() {
    const int file = open_to_append(behaviour.atexit_file.c_str());
    if (file < 0 || !write_text(file, "A\n", 2)) std::perror("subject: --atexit-file");
    if (file >= 0) close_file(file);
}

void before_the_start() {
    if (!behaviour.say.empty()) std::fputs(behaviour.say.c_str(), stdout);
    if (!behaviour.atexit_file.empty()) std::atexit(append_a);
    for (long i = 0; i < behaviour.threads; ++i) start_thread();
}

int body(DaemonContext& daemon) {
    daemonize::SignalHandler signals(daemon);
    signals.reload = [&daemon](int) {
        daemonize::Error error;
        if (!daemon.reopen_streams(error)) std::fprintf(stderr, "%s\n", error.text.c_str());
        say("hup\n");
    };
    signals.on(user_signal, [](int) { say("usr1\n"); });
    if (behaviour.ignore_term) signals.sigterm = daemonize::ignore_signal;

    if (behaviour.has_payload) say("payload=" + daemon.payload + "\n");
    sleep_for(behaviour.ready_delay);
    if (behaviour.abort_init) std::abort();
    if (behaviour.exit_init >= 0) _exit(static_cast<int>(behaviour.exit_init));
    if (behaviour.has_fail_init) daemon.fail(behaviour.fail_init);
    if (behaviour.child) say("child=" + std::to_string(start_sleep()) + "\n");

    signals.start();
    daemon.ready();
    signals.wait();
    sleep_for(behaviour.term_delay);  // a second signal too
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    make_utf8(argc, argv);
    if (argc >= 2 && std::strcmp(argv[1], "features") == 0) {
        std::printf("%s features %s hup usr1 notify\n", verbs, options);
        return 0;
    }
    DaemonContext context;
    std::vector<const char*> words;
    if (const char* const wrong = parse(argc, argv, context, words)) return usage(wrong);
    before_the_start();
    const int count = static_cast<int>(words.size());
    words.push_back(nullptr);
    return daemonize::control(count, words.data(), context, body);
}
