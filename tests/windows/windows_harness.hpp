// What the tests under Windows judge a daemon with: processes, files and handles, from outside.
// Every wait has a deadline.
#ifndef DAEMONIZE_TESTS_WINDOWS_HARNESS_HPP
#define DAEMONIZE_TESTS_WINDOWS_HARNESS_HPP

#include <windows.h>

#include <functional>
#include <string>
#include <vector>

namespace harness {

// Longer than anything healthy takes on a loaded machine.
constexpr DWORD patience = 20000;
bool eventually(const std::function<bool()>& condition, DWORD limit = patience);

std::wstring wide(const std::string& text);
std::string program(const std::string& name);  // beside the suite
std::string library();                         // that holds the header, there as well

// A directory of one test, removed at its end.
class Scratch {
public:
    Scratch();
    ~Scratch();
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    std::string operator/(const std::string& name) const { return path_ + "\\" + name; }
    const std::string& path() const { return path_; }

private:
    std::string path_;
};

std::string slurp(const std::string& path);  // "" where there is none
bool exists(const std::string& path);
bool write_file(const std::string& path, const std::string& text);
bool contains(const std::string& text, const std::string& part);
int count(const std::string& text, const std::string& part);
std::vector<std::string> lines(const std::string& text);
std::string value_in(const std::string& text,
                     const std::string& key);  // of key=..., to the line end
bool is_locked(const std::string& pidfile);    // nobody else can open it to write

struct Launch {
    Launch(const std::string& words = std::string()) : command(words) {}
    std::string command;    // program and arguments, quoted as need be
    std::string directory;  // "": the suite's
    std::vector<std::pair<std::string, std::string>> environment;  // set for this start
    HANDLE job = nullptr, inner_job = nullptr;                     // born into them
    bool pipe = false;  // standard output is a pipe, and read to its end
    DWORD limit = patience;
};

struct Outcome {
    DWORD pid = 0, status = 0xffffffff, took = 0;
    bool timed_out = false;
    DWORD end_of_file = 0;  // of the pipe: after so many milliseconds; 0: not in time
    std::string out, err;
    std::string text() const;
};

// A program that is running; its standard streams are files.
class Running {
public:
    explicit Running(const Launch& launch);
    ~Running();
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
    DWORD pid() const { return outcome_.pid; }
    void kill();
    std::string out() const { return slurp(files_ / "out"); }  // so far, where it is a file
    Outcome finish();

private:
    Launch launch_;
    Outcome outcome_;
    Scratch files_;
    HANDLE process_ = nullptr, pipe_ = nullptr;
    DWORD began_ = 0;
};
Outcome run(const Launch& launch);

bool alive(DWORD pid);
bool gone(DWORD pid, DWORD limit = patience);
bool end(DWORD pid, DWORD code);  // as taskkill, Task Manager and Python's os.kill do
DWORD parent_of(DWORD pid);
std::vector<DWORD> processes(const std::string& name);  // by file name
void kill_all();                                        // of the programs that tests start

}  // namespace harness

#endif
