#include "windows_harness.hpp"

#include <tlhelp32.h>

#include <cstdio>

namespace harness {

namespace {

const char* const victims[] = {"victim.exe", "subject.exe", "renamed.exe"};

HANDLE inheritable_file(const std::string& path, DWORD access, DWORD how) {
    SECURITY_ATTRIBUTES inherit = {sizeof inherit, nullptr, TRUE};
    return CreateFileW(wide(path).c_str(), access, FILE_SHARE_READ | FILE_SHARE_WRITE, &inherit,
                       how, FILE_ATTRIBUTE_NORMAL, nullptr);
}

std::string drain(HANDLE file) {
    std::string text;
    char buffer[4096];
    DWORD size = 0;
    while (ReadFile(file, buffer, sizeof buffer, &size, nullptr) && size > 0)
        text.append(buffer, size);
    return text;
}

// A plain read would wait for as long as anybody has the other end. False: it did not end in time.
bool drain_pipe(HANDLE pipe, DWORD limit, std::string& text) {
    DWORD waiting = 0, size = 0;
    return eventually(
        [&] {
            char buffer[4096];
            while (PeekNamedPipe(pipe, nullptr, 0, nullptr, &waiting, nullptr)) {
                if (waiting == 0 || !ReadFile(pipe, buffer, sizeof buffer, &size, nullptr))
                    return false;
                text.append(buffer, size);
            }
            return true;
        },
        limit);
}

}  // namespace

bool eventually(const std::function<bool()>& condition, DWORD limit) {
    const DWORD began = GetTickCount();
    while (!condition()) {
        if (GetTickCount() - began > limit) return condition();
        Sleep(5);
    }
    return true;
}

std::wstring wide(const std::string& text) {
    const int size = MultiByteToWideChar(CP_UTF8, 0, text.c_str(), -1, nullptr, 0);
    std::wstring out(static_cast<std::size_t>(size), L'\0');
    MultiByteToWideChar(CP_UTF8, 0, text.c_str(), -1, &out[0], size);
    out.resize(out.size() - 1);
    return out;
}

std::string program(const std::string& name) {
    char path[MAX_PATH];
    GetModuleFileNameA(nullptr, path, MAX_PATH);
    const std::string own = path;
    return own.substr(0, own.find_last_of('\\') + 1) + name + ".exe";
}

std::string library() {
    const std::string victim = program("victim");
    return victim.substr(0, victim.size() - 10) + "library.dll";
}

Scratch::Scratch() {
    static LONG made = 0;
    char directory[MAX_PATH];
    GetTempPathA(MAX_PATH, directory);
    path_ = std::string(directory) + "daemonize." + std::to_string(GetCurrentProcessId()) + "." +
            std::to_string(InterlockedIncrement(&made));
    CreateDirectoryA(path_.c_str(), nullptr);
}

Scratch::~Scratch() {
    WIN32_FIND_DATAW found;
    const HANDLE search = FindFirstFileW(wide(path_ + "\\*").c_str(), &found);
    const std::wstring base = wide(path_) + L"\\";
    if (search != INVALID_HANDLE_VALUE) {
        do {
            const std::wstring name = base + found.cFileName;
            if (found.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY)
                RemoveDirectoryW(name.c_str());
            else
                DeleteFileW(name.c_str());
        } while (FindNextFileW(search, &found));
        FindClose(search);
    }
    RemoveDirectoryA(path_.c_str());
}

std::string slurp(const std::string& path) {
    const HANDLE file = CreateFileW(wide(path).c_str(), GENERIC_READ,
                                    FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, nullptr,
                                    OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr);
    if (file == INVALID_HANDLE_VALUE) return std::string();
    const std::string text = drain(file);
    CloseHandle(file);
    return text;
}

bool exists(const std::string& path) {
    return GetFileAttributesW(wide(path).c_str()) != INVALID_FILE_ATTRIBUTES;
}

bool write_file(const std::string& path, const std::string& text) {
    const HANDLE file = CreateFileW(wide(path).c_str(), GENERIC_WRITE, 0, nullptr, CREATE_ALWAYS,
                                    FILE_ATTRIBUTE_NORMAL, nullptr);
    if (file == INVALID_HANDLE_VALUE) return false;
    DWORD written = 0;
    WriteFile(file, text.data(), static_cast<DWORD>(text.size()), &written, nullptr);
    CloseHandle(file);
    return written == text.size();
}

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

int count(const std::string& text, const std::string& part) {
    int n = 0;
    for (std::size_t at = text.find(part); at != std::string::npos;
         at = text.find(part, at + part.size()))
        ++n;
    return n;
}

std::vector<std::string> lines(const std::string& text) {
    std::vector<std::string> out;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = text.find('\n', at);
        out.push_back(text.substr(at, end - at));
        at = end == std::string::npos ? text.size() : end + 1;
    }
    return out;
}

std::string value_in(const std::string& text, const std::string& key) {
    for (const std::string& line : lines(text))
        if (line.compare(0, key.size() + 1, key + "=") == 0) return line.substr(key.size() + 1);
    return std::string();
}

bool is_locked(const std::string& pidfile) {
    const HANDLE file = CreateFileW(wide(pidfile).c_str(), GENERIC_READ | GENERIC_WRITE,
                                    FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, nullptr,
                                    OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr);
    if (file == INVALID_HANDLE_VALUE) return GetLastError() == ERROR_SHARING_VIOLATION;
    CloseHandle(file);
    return false;
}

std::string Outcome::text() const {
    return "status " + std::to_string(status) + (timed_out ? " (timed out)" : "") + " after " +
           std::to_string(took) + " ms, out '" + out + "', err '" + err + "'";
}

Running::Running(const Launch& launch) : launch_(launch) {
    std::wstring command = wide(launch.command);
    STARTUPINFOW info = {};
    info.cb = sizeof info;
    info.dwFlags = STARTF_USESTDHANDLES;
    info.hStdInput = inheritable_file("NUL", GENERIC_READ, OPEN_EXISTING);
    info.hStdError = inheritable_file(files_ / "err", GENERIC_WRITE, CREATE_ALWAYS);
    SECURITY_ATTRIBUTES inherit = {sizeof inherit, nullptr, TRUE};
    if (launch.pipe) {
        CreatePipe(&pipe_, &info.hStdOutput, &inherit, 0);
        SetHandleInformation(pipe_, HANDLE_FLAG_INHERIT, 0);
    } else {
        info.hStdOutput = inheritable_file(files_ / "out", GENERIC_WRITE, CREATE_ALWAYS);
    }
    for (const auto& entry : launch.environment)
        SetEnvironmentVariableA(entry.first.c_str(), entry.second.c_str());
    PROCESS_INFORMATION made = {};
    began_ = GetTickCount();
    const std::wstring directory = wide(launch.directory);
    const auto create = [&] {
        return CreateProcessW(nullptr, &command[0], nullptr, nullptr, TRUE, CREATE_SUSPENDED,
                              nullptr, directory.empty() ? nullptr : directory.c_str(), &info,
                              &made) != 0;
    };
    // wine loses one process in some thousands at its birth: see run().
    if (create() || (GetLastError() == ERROR_INTERNAL_ERROR && create())) {
        for (const HANDLE job : {launch.job, launch.inner_job})
            if (job) AssignProcessToJobObject(job, made.hProcess);
        ResumeThread(made.hThread);
        CloseHandle(made.hThread);
        process_ = made.hProcess;
        outcome_.pid = made.dwProcessId;
    }
    for (const auto& entry : launch.environment)
        SetEnvironmentVariableA(entry.first.c_str(), nullptr);
    CloseHandle(info.hStdInput);
    CloseHandle(info.hStdOutput);
    CloseHandle(info.hStdError);
}

Running::~Running() {
    kill();
    if (process_) CloseHandle(process_);
    if (pipe_) CloseHandle(pipe_);
}

void Running::kill() {
    if (process_) TerminateProcess(process_, 99);
}

Outcome Running::finish() {
    if (pipe_) {
        if (drain_pipe(pipe_, launch_.limit, outcome_.out))
            outcome_.end_of_file = GetTickCount() - began_;
    }
    outcome_.timed_out = !process_ || WaitForSingleObject(process_, launch_.limit) != WAIT_OBJECT_0;
    outcome_.took = GetTickCount() - began_;
    if (outcome_.timed_out) kill();
    if (process_) GetExitCodeProcess(process_, &outcome_.status);
    if (!pipe_) outcome_.out = slurp(files_ / "out");
    outcome_.err = slurp(files_ / "err");
    return outcome_;
}

// wine loses one process in some thousands at its birth, and has this error for it. One more try.
Outcome run(const Launch& launch) {
    const Outcome first = Running(launch).finish();
    if (first.status == 0 || !contains(first.err, "nternal error")) return first;
    std::printf("wine lost a process: %s\n", first.err.c_str());
    return Running(launch).finish();
}

bool alive(DWORD pid) {
    const HANDLE process = OpenProcess(SYNCHRONIZE, FALSE, pid);
    if (!process) return false;
    const bool lives = WaitForSingleObject(process, 0) == WAIT_TIMEOUT;
    CloseHandle(process);
    return lives;
}

bool gone(DWORD pid, DWORD limit) {
    return eventually([pid] { return !alive(pid); }, limit);
}

bool end(DWORD pid, DWORD code) {
    const HANDLE process = OpenProcess(PROCESS_TERMINATE, FALSE, pid);
    if (!process) return false;
    const bool done = TerminateProcess(process, code) != 0;
    CloseHandle(process);
    return done;
}

namespace {

template <class F>
void each_process(F function) {
    const HANDLE snapshot = CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0);
    PROCESSENTRY32W entry = {};
    entry.dwSize = sizeof entry;
    for (BOOL more = Process32FirstW(snapshot, &entry); more;
         more = Process32NextW(snapshot, &entry))
        function(entry);
    CloseHandle(snapshot);
}

}  // namespace

DWORD parent_of(DWORD pid) {
    DWORD parent = 0;
    each_process([&](const PROCESSENTRY32W& entry) {
        if (entry.th32ProcessID == pid) parent = entry.th32ParentProcessID;
    });
    return parent;
}

std::vector<DWORD> processes(const std::string& name) {
    std::vector<DWORD> found;
    const std::wstring wanted = wide(name);
    each_process([&](const PROCESSENTRY32W& entry) {
        if (lstrcmpiW(entry.szExeFile, wanted.c_str()) == 0) found.push_back(entry.th32ProcessID);
    });
    return found;
}

void kill_all() {
    for (const char* name : victims)
        for (const DWORD pid : processes(name)) end(pid, 99);
    eventually(
        [] {
            for (const char* name : victims)
                for (const DWORD pid : processes(name))
                    if (alive(pid)) return false;
            return true;
        },
        5000);
}

}  // namespace harness
