// A daemon for the tests under Windows: words key=value become fields and faults; what it sees goes
// to its log as lines key=value.
#define DAEMONIZE_IMPLEMENTATION
#include "daemonize.hpp"

#include <windows.h>
#include <fcntl.h>
#include <io.h>
#include <process.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <csignal>
#include <map>
#include <string>

#include "windows_faults.hpp"

namespace {

const char* const switch_name = "DAEMONIZE_RELAUNCH";

std::string switch_seen() {
    const char* const crt = std::getenv(switch_name);
    wchar_t text[8];
    const DWORD size = GetEnvironmentVariableW(L"DAEMONIZE_RELAUNCH", text, 8);
    return std::string(crt ? "crt" : "-") + (size > 0 ? "win32" : "-");
}

// Before any constructor of C or C++: the switch is gone when the header looks for it.
void NTAPI spoil(PVOID, DWORD reason, PVOID) {
    wchar_t text[2];
    if (reason == DLL_PROCESS_ATTACH && GetEnvironmentVariableW(L"SPOIL", text, 2) > 0)
        SetEnvironmentVariableW(L"DAEMONIZE_RELAUNCH", nullptr);
}

// A global of the program: constructed before main, and the switch must be gone by then.
struct AtBirth {
    std::string seen = switch_seen();
    wchar_t directory[MAX_PATH];
    AtBirth() { GetCurrentDirectoryW(MAX_PATH, directory); }
} at_birth;

std::map<std::string, std::string> words;
bool has(const char* key) { return words.count(key) != 0; }
std::string word(const char* key) { return has(key) ? words[key] : std::string(); }
long number(const char* key) { return std::strtol(word(key).c_str(), nullptr, 10); }

std::string utf8(const wchar_t* text) {
    const int size = WideCharToMultiByte(CP_UTF8, 0, text, -1, nullptr, 0, nullptr, nullptr);
    std::string out(static_cast<std::size_t>(size), '\0');
    WideCharToMultiByte(CP_UTF8, 0, text, -1, &out[0], size, nullptr, nullptr);
    out.resize(out.size() - 1);
    return out;
}

void say(const std::string& text) {
    std::fputs((text + "\n").c_str(), stdout);
    std::fflush(stdout);
}

std::string slurp(const std::string& path) {
    std::string text;
    if (std::FILE* const file = std::fopen(path.c_str(), "r")) {
        char buffer[64];
        const std::size_t size = std::fread(buffer, 1, sizeof buffer, file);
        text.assign(buffer, size);
        std::fclose(file);
    }
    return text;
}

// A payload of any length, the same on both sides, with every byte in it.
std::string make_payload(long size) {
    std::string bytes;
    for (long i = 0; i < size; ++i) bytes += static_cast<char>((i * 7 + i / 256) & 0xff);
    return bytes;
}

DWORD run_child(const std::wstring& arguments, bool inherit, bool wait) {
    wchar_t path[MAX_PATH];
    GetModuleFileNameW(nullptr, path, MAX_PATH);
    std::wstring command = L"\"" + std::wstring(path) + L"\" " + arguments;
    STARTUPINFOW info = {};
    info.cb = sizeof info;
    PROCESS_INFORMATION made;
    if (!CreateProcessW(nullptr, &command[0], nullptr, nullptr, inherit, 0, nullptr, nullptr, &info,
                        &made))
        return 0;
    if (wait) WaitForSingleObject(made.hProcess, 20000);
    CloseHandle(made.hThread);
    CloseHandle(made.hProcess);
    return made.dwProcessId;
}

// Another thread of the launcher that starts children which inherit whatever can be inherited.
unsigned __stdcall spawn(void*) {
    for (int i = 0; i < 8; ++i) {
        run_child(L"mode=sleep ms=4000", true, false);
        Sleep(3);
    }
    return 0;
}

void speak_everywhere() {
    std::printf("by printf\n");
    std::fflush(stdout);
    std::cout << "by cout" << std::endl;
    std::cerr << "by cerr" << std::endl;
    std::fprintf(stderr, "by stderr\n");
    if (_write(1, "by write\n", 9) != 9) say("write failed");
    DWORD written = 0;
    WriteFile(GetStdHandle(STD_OUTPUT_HANDLE), "by WriteFile\n", 13, &written, nullptr);
    WriteFile(GetStdHandle(STD_ERROR_HANDLE), "by error\n", 9, &written, nullptr);
    run_child(L"mode=speak", true, true);
    say("input=" + std::to_string(std::getchar()));
}

void tell(daemonize::DaemonContext& context) {
    say("switch=" + at_birth.seen + " " + switch_seen());
    say("setup=" + std::to_string(daemonize::is_setup()));
    say("command=" + utf8(GetCommandLineW()));
    say("birthplace=" + utf8(at_birth.directory));
    wchar_t directory[MAX_PATH];
    GetCurrentDirectoryW(MAX_PATH, directory);
    say("directory=" + utf8(directory));
    if (has("payload"))
        say(std::string("payload=") +
            (context.payload == make_payload(number("payload")) ? "same" : "other"));
    if (has("grandchild")) run_child(L"mode=switch", true, true);
    if (has("speak")) speak_everywhere();
    if (has("explain")) say(context.explain());
    if (has("boxes")) say("boxes=" + std::to_string(_set_error_mode(_REPORT_ERRMODE)));
    if (has("keep"))
        say("environment=" + std::string(std::getenv("KEPT") ? "kept" : "-") +
            (std::getenv("DROPPED") ? "dropped" : "-"));
}

void misbehave(daemonize::DaemonContext& context) {
    if (has("delay")) Sleep(static_cast<DWORD>(number("delay")));
    if (has("crash")) *static_cast<volatile int*>(nullptr) = 0;
    if (has("exit")) _exit(static_cast<int>(number("exit")));
    if (has("hang")) Sleep(INFINITE);
    if (has("fail"))
        context.fail(
            "no gr\xc3\xbc\xc3\x9f"
            "e: " +
                word("fail"),
            7);
}

// Until ready standard error is the launcher's.
void mutter() {
    std::fprintf(stderr,
                 "muttered gr\xc3\xbc\xc3\x9f"
                 "e\n");
    std::fflush(stderr);
}

int serve(daemonize::DaemonContext& context) {
    const DWORD waiting_thread = GetCurrentThreadId();
    daemonize::SignalHandler signals(context);
    const auto callback = [&](int signum) {
        const std::string file = slurp(context.pidfile);
        say("sig=" + std::to_string(signum) + " file=" + std::to_string(std::atol(file.c_str())) +
            (GetCurrentThreadId() == waiting_thread ? " here" : " elsewhere"));
        if (has("slow")) Sleep(static_cast<DWORD>(number("slow")));
    };
    for (int signum = 2; signum < 32; ++signum) {
        daemonize::Error error;
        if (signum != SIGTERM && signum != 31) signals.on(signum, callback, error);
    }
    signals.start();
    tell(context);
    if (has("mutter")) mutter();
    misbehave(context);
    context.ready();
    if (has("life")) Sleep(static_cast<DWORD>(number("life")));
    if (has("life")) return static_cast<int>(number("status"));
    for (;;) {
        const int signum = signals.wait();
        say("sig=" + std::to_string(signum) + " reported");
        if (has("deaf")) continue;
        if (has("rude")) _exit(0);  // without a word to its PID file
        if (has("linger")) Sleep(static_cast<DWORD>(number("linger")));
        if (signum == SIGTERM || has("foreground")) return static_cast<int>(number("status"));
    }
}

// A program whose library uses the header, and is unloaded before its time.
int host_library(const std::string& path) {
    const HMODULE library = LoadLibraryA(path.c_str());
    const FARPROC found = library ? GetProcAddress(library, "watch") : nullptr;
    if (!found) return 1;
    void(__cdecl * watch)();
    std::memcpy(&watch, &found, sizeof watch);
    watch();
    FreeLibrary(library);
    say(GetModuleHandleA("library.dll") ? "stays" : "gone");
    return 0;
}

// Starts the program on a console of its own, which nobody sees, and says what stands there then.
int read_console() {
    wchar_t path[MAX_PATH];
    GetModuleFileNameW(nullptr, path, MAX_PATH);
    const std::wstring own = GetCommandLineW();
    std::wstring command = L"\"" + std::wstring(path) + L"\" " + own.substr(own.find(L"pidfile="));
    STARTUPINFOW info = {};
    info.cb = sizeof info;
    PROCESS_INFORMATION made;
    if (!CreateProcessW(nullptr, &command[0], nullptr, nullptr, FALSE, CREATE_NO_WINDOW, nullptr,
                        nullptr, &info, &made))
        return 1;
    FreeConsole();
    while (!AttachConsole(made.dwProcessId) &&
           WaitForSingleObject(made.hProcess, 5) == WAIT_TIMEOUT)
        continue;
    WaitForSingleObject(made.hProcess, 20000);
    DWORD code = 99, size = 0;
    GetExitCodeProcess(made.hProcess, &code);
    const HANDLE console =
        CreateFileW(L"CONOUT$", GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE,
                    nullptr, OPEN_EXISTING, 0, nullptr);
    wchar_t text[400] = {};
    ReadConsoleOutputCharacterW(console, text, 399, COORD(), &size);
    say("console=" + std::to_string(code) + " " + utf8(text));
    return 0;
}

int other_mode(const std::string& mode) {
    if (mode == "console") return read_console();
    if (mode == "library") return host_library(word("library"));
    if (mode == "switch") say("child-switch=" + switch_seen());
    if (mode == "sleep") Sleep(static_cast<DWORD>(number("ms")));
    if (mode == "setup")
        say("setup=" + std::to_string(daemonize::is_setup()) + " " + switch_seen());
    if (mode == "speak") {
        std::printf("by child\n");
        std::fprintf(stderr, "by child's stderr\n");
    }
    return 0;
}

// Another thread has a stream of stdio's, as one does that sits in getchar().
HANDLE stream_taken, stream_free;
unsigned __stdcall hold_stream(void*) {
    _lock_file(stdout);
    SetEvent(stream_taken);
    WaitForSingleObject(stream_free, INFINITE);
    _unlock_file(stdout);
    return 0;
}

void let_hold_stream() {
    stream_taken = CreateEventW(nullptr, TRUE, FALSE, nullptr);
    stream_free = CreateEventW(nullptr, TRUE, FALSE, nullptr);
    _beginthreadex(nullptr, 0, hold_stream, nullptr, 0, nullptr);
    WaitForSingleObject(stream_taken, 5000);
}

// The kept form: the launcher goes on.
int keep(daemonize::DaemonContext& context) {
    daemonize::Error error;
    const daemonize::Role role = context.start(error);
    if (role == daemonize::Role::daemon) return serve(context);
    if (has("taken")) SetEvent(stream_free);
    if (has("keptexplain")) say(context.explain());
    say(error ? "kept=" + error.text
              : "kept=" + std::to_string(context.pid()) + (context.is_parent() ? " parent" : ""));
    return 0;
}

// ---- What the system is made to say ----

BOOL WINAPI keep_limits(HANDLE job, JOBOBJECTINFOCLASS what, LPVOID info, DWORD size) {
    const auto* const limits = static_cast<const JOBOBJECT_EXTENDED_LIMIT_INFORMATION*>(info);
    if (limits->BasicLimitInformation.LimitFlags & JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE) {
        using Function = BOOL(WINAPI*)(HANDLE, JOBOBJECTINFOCLASS, LPVOID, DWORD);
        const FARPROC real =
            GetProcAddress(GetModuleHandleW(L"kernel32.dll"), "SetInformationJobObject");
        Function function;
        std::memcpy(&function, &real, sizeof function);
        return function(job, what, info, size);
    }
    SetLastError(ERROR_ACCESS_DENIED);
    return FALSE;
}

// A number of eleven bytes is not written while a file named by `unwritable` is there.
BOOL WINAPI refuse_numbers(HANDLE file, LPCVOID text, DWORD size, LPDWORD written,
                           LPOVERLAPPED where) {
    if (size == 11 && GetFileAttributesA(word("unwritable").c_str()) != INVALID_FILE_ATTRIBUTES) {
        SetLastError(ERROR_LOCK_VIOLATION);
        return FALSE;
    }
    using Function = BOOL(WINAPI*)(HANDLE, LPCVOID, DWORD, LPDWORD, LPOVERLAPPED);
    const FARPROC real = GetProcAddress(GetModuleHandleW(L"kernel32.dll"), "WriteFile");
    Function function;
    std::memcpy(&function, &real, sizeof function);
    return function(file, text, size, written, where);
}

// One byte a process that this one makes.
BOOL WINAPI count_processes(LPCWSTR program, LPWSTR command, LPSECURITY_ATTRIBUTES process,
                            LPSECURITY_ATTRIBUTES thread, BOOL inherit, DWORD flags,
                            LPVOID environment, LPCWSTR directory, LPSTARTUPINFOW info,
                            LPPROCESS_INFORMATION made) {
    if (std::FILE* const file = std::fopen(word("count").c_str(), "a")) {
        std::fputc('+', file);
        std::fclose(file);
    }
    using Function =
        BOOL(WINAPI*)(LPCWSTR, LPWSTR, LPSECURITY_ATTRIBUTES, LPSECURITY_ATTRIBUTES, BOOL, DWORD,
                      LPVOID, LPCWSTR, LPSTARTUPINFOW, LPPROCESS_INFORMATION);
    const FARPROC real = GetProcAddress(GetModuleHandleW(L"kernel32.dll"), "CreateProcessW");
    Function function;
    std::memcpy(&function, &real, sizeof function);
    return function(program, command, process, thread, inherit, flags, environment, directory, info,
                    made);
}

// A hidden file is refused by the call that empties it, unless that says that it is hidden: wine
// does not look.
HANDLE WINAPI look_at_attributes(LPCWSTR name, DWORD access, DWORD share,
                                 LPSECURITY_ATTRIBUTES security, DWORD how, DWORD flags,
                                 HANDLE model) {
    const DWORD seen = GetFileAttributesW(name);
    if (how == CREATE_ALWAYS && seen != INVALID_FILE_ATTRIBUTES &&
        (seen & ~flags & FILE_ATTRIBUTE_HIDDEN)) {
        SetLastError(ERROR_ACCESS_DENIED);
        return INVALID_HANDLE_VALUE;
    }
    using Function =
        HANDLE(WINAPI*)(LPCWSTR, DWORD, DWORD, LPSECURITY_ATTRIBUTES, DWORD, DWORD, HANDLE);
    const FARPROC real = GetProcAddress(GetModuleHandleW(L"kernel32.dll"), "CreateFileW");
    Function function;
    std::memcpy(&function, &real, sizeof function);
    return function(name, access, share, security, how, flags, model);
}

BOOL WINAPI every_stream_is_a_console(HANDLE, LPDWORD mode) {
    *mode = 0;
    return TRUE;
}

BOOL WINAPI print_as_console(HANDLE stream, const void* text, DWORD size, LPDWORD written, LPVOID) {
    const std::string bytes = utf8(std::wstring(static_cast<const wchar_t*>(text), size).c_str());
    return WriteFile(stream, bytes.data(), static_cast<DWORD>(bytes.size()), written, nullptr);
}

DWORD WINAPI characters(HANDLE) { return FILE_TYPE_CHAR; }

void set_faults() {
    static bool set = false;
    if (set) return;
    set = true;
    if (has("unlimitable"))
        faults::replace_import("SetInformationJobObject", reinterpret_cast<void*>(keep_limits));
    if (has("unwritable"))
        faults::replace_import("WriteFile", reinterpret_cast<void*>(refuse_numbers));
    if (has("count"))
        faults::replace_import("CreateProcessW", reinterpret_cast<void*>(count_processes));
    if (has("hidden"))
        faults::replace_import("CreateFileW", reinterpret_cast<void*>(look_at_attributes));
    // Of the launcher's: the daemon's streams are what they are.
    if (has("console") && daemonize::is_setup()) {
        faults::replace_import("GetConsoleMode",
                               reinterpret_cast<void*>(every_stream_is_a_console));
        faults::replace_import("GetFileType", reinterpret_cast<void*>(characters));
        faults::replace_import("WriteConsoleW", reinterpret_cast<void*>(print_as_console));
    }
}

// ---- What programs do before a start ----

void on_c_signal(int signum) { say("c-signal=" + std::to_string(signum)); }

// Each generation would start the next; this many are enough to see it.
bool is_third_generation() {
    char text[8] = "";
    GetEnvironmentVariableA("GENERATION", text, 8);
    const std::string next = std::string(text) + "+";
    SetEnvironmentVariableA("GENERATION", next.c_str());
    if (std::FILE* const file = std::fopen(word("generations").c_str(), "a")) {
        std::fprintf(file, "%s\n", next.c_str());
        std::fclose(file);
    }
    return next.size() > 2;
}

}  // namespace

#if defined(__GNUC__)
extern const PIMAGE_TLS_CALLBACK spoil_early __attribute__((section(".CRT$XLB")));
const PIMAGE_TLS_CALLBACK spoil_early = spoil;
#endif

int main(int argc, char** argv) {
    for (int i = 1; i < argc && std::strcmp(argv[i], "--") != 0; ++i) {
        const char* const equals = std::strchr(argv[i], '=');
        if (equals) words[std::string(static_cast<const char*>(argv[i]), equals)] = equals + 1;
    }
    if (word("mode") == "words") {
        for (const std::string& each : daemonize::utf8_arguments(argc, argv)) say("word=" + each);
        return 0;
    }
    if (has("mode")) return other_mode(word("mode"));
    set_faults();
    if (has("generations") && is_third_generation()) return 0;
    daemonize::DaemonContext context;
    context.pidfile = word("pidfile");
    context.ready_by_hand = true;
    context.standard_output = daemonize::Stream(word("log"));
    context.standard_error = daemonize::Stream(word(has("errors") ? "errors" : "log"));
    if (has("input")) context.standard_input = word("input");
    if (has("payload") && daemonize::is_setup()) context.payload = make_payload(number("payload"));
    if (has("limit")) context.ready_timeout = daemonize::Duration(number("limit"));
    if (has("leave")) context.must_leave_job = true;
    if (has("keepout")) context.standard_output = daemonize::keep_stream;
    if (has("taken") && daemonize::is_setup()) let_hold_stream();
    if (has("recase") && daemonize::is_setup())
        SetEnvironmentVariableW(L"daemonize_Relaunch", L"4:4");
    if (has("csignal")) std::signal(static_cast<int>(number("csignal")), on_c_signal);
    if (has("boxes")) _set_error_mode(_OUT_TO_MSGBOX);
    if (has("gone") && daemonize::is_setup()) {  // where it was started is no more
        wchar_t start[MAX_PATH];
        GetCurrentDirectoryW(MAX_PATH, start);
        SetCurrentDirectoryW(L"C:\\");
        if (!RemoveDirectoryW(start)) say("cannot remove the directory");
    }
    if (has("chdir")) context.working_directory = word("chdir");
    if (has("keep")) context.clear_environment = true, context.environment_keep = {"KEPT"};
    if (has("foreground")) context.detach_process = daemonize::Detach::no;
    if (has("arguments")) {
        context.replace_arguments = true;
        context.arguments = {"pidfile=" + word("pidfile"),
                             "log=" + word("log"),
                             "--",
                             "a b",
                             "",
                             "\"q\"",
                             "back\\",
                             "b\\\"q",
                             "%PATH%",
                             "tab\there"};
    }
    if (has("first")) {  // C4: a process born as daemon asks its own PID file before its start
        daemonize::Error stopped, sent;
        daemonize::stop(word("pidfile"), daemonize::Duration(1000), stopped);
        daemonize::send(word("pidfile"), SIGTERM, sent);
        if (std::FILE* const file = std::fopen(word("first").c_str(), "a")) {
            std::fprintf(file, "%d %s\n", daemonize::is_setup(),
                         !stopped && sent.code == daemonize::errc::not_running ? "nobody" : "?");
            std::fclose(file);
        }
    }
    if (has("map"))
        context.signal_map = {{static_cast<int>(number("map")), daemonize::default_signal}};
    if (has("forgets")) {  // the daemon comes by other arguments than its launcher
        context.replace_arguments = true;
        context.arguments = {"log=" + word("log")};
    }
    if (has("bytes")) {
        context.replace_arguments = true;
        context.arguments = {"gr\xfc\xdf"};
    }
    if (has("away") && daemonize::is_setup()) {  // what runs can be renamed, and is not found then
        wchar_t own[MAX_PATH];
        GetModuleFileNameW(nullptr, own, MAX_PATH);
        if (!MoveFileA(utf8(own).c_str(), word("away").c_str())) say("cannot rename");
    }
    if (has("say")) std::printf("%s", word("say").c_str());
    if (has("relative")) SetCurrentDirectoryW(L"below");
    if (has("spawn")) _beginthreadex(nullptr, 0, spawn, nullptr, 0, nullptr);
    if (has("kept")) return keep(context);
    daemonize::SignalHandler early(context);
    if (has("early")) early.start();
    context.open();
    if (has("bare")) {  // without a SignalHandler
        context.ready();
        Sleep(static_cast<DWORD>(number("bare")));
        return 0;
    }
    if (has("early")) {
        context.ready();
        say("early=" + std::to_string(early.wait()));
        return 0;
    }
    return serve(context);
}
