// Who changes a way while others walk it, over and over until it is ended (or a minute is over):
//
//   meddler flip NAME A B       NAME is a symlink, now to A, now to B
//   meddler exchange NAME OTHER the two change places in one step
//   meddler links FILE NAME     NAME is a second link of FILE, and is gone again
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

namespace {

// Each of them says whether it was done.
bool flip(const std::string& name, const char* first, const char* second) {
    const std::string made = name + ".new";
    bool done = true;
    for (const char* target : {first, second}) {
        if (symlink(target, made.c_str()) != 0) unlink(made.c_str());
        done = rename(made.c_str(), name.c_str()) == 0 && done;
    }
    return done;
}

bool exchange(const char* name, const char* other) {
    return syscall(SYS_renameat2, AT_FDCWD, name, AT_FDCWD, other, 2u /* RENAME_EXCHANGE */) == 0 ||
           errno == ENOENT;  // what is to be exchanged is still to be made
}

bool links(const char* file, const char* name) {
    const bool done = link(file, name) == 0;
    if (!done) unlink(name);
    usleep(200);
    unlink(name);
    return done;
}

}  // namespace

int main(int argc, char** argv) {
    alarm(60);
    const std::string how = argc > 3 ? argv[1] : "";
    if (how != "exchange" && how != "links" && !(how == "flip" && argc > 4)) {
        std::fprintf(stderr,
                     "usage: meddler flip NAME A B | exchange NAME OTHER | links FILE NAME\n");
        return 2;
    }
    for (unsigned round = 0;; ++round) {
        const bool done = how == "flip"       ? flip(argv[2], argv[3], argv[4])
                          : how == "exchange" ? exchange(argv[2], argv[3])
                                              : links(argv[2], argv[3]);
        // Who cannot do it here is no attack: the test learns of it by the missing word.
        if (round == 0 && (!done || write(1, "meddling\n", 9) < 0)) return 1;
        usleep(round % 7 * 100);  // in step with nobody
    }
}
