// Stands where the suite looks for a program, and runs the one of the same name that was built for
// another machine: DIRECTORY/NAME becomes DIRECTORY/emulator -0 ARGV0 DIRECTORY/bin/NAME ...
// A program and no shell script: a shell would change the environment, complain about a directory
// that is gone, and take descriptors that a test has closed.
#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

int main(int argc, char** argv) {
    // From the kernel, not from argv[0]: a test may call a program by any name.
    char self[4096];
    const ssize_t size = readlink("/proc/self/exe", self, sizeof self);
    const std::string path(self, size > 0 ? static_cast<std::size_t>(size) : 0);
    const std::size_t slash = path.rfind('/');
    if (slash == std::string::npos || argc < 1) return 127;
    const std::string emulator = path.substr(0, slash) + "/emulator";
    const std::string program = path.substr(0, slash) + "/bin" + path.substr(slash);

    char name_follows[] = "-0";
    std::vector<char*> words{const_cast<char*>(emulator.c_str()), name_follows, argv[0],
                             const_cast<char*>(program.c_str())};
    words.insert(words.end(), argv + 1, argv + argc);
    words.push_back(nullptr);
    execv(emulator.c_str(), words.data());
    std::perror(emulator.c_str());
    return 127;
}
