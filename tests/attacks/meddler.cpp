// Who changes a way while others walk it, over and over until it is ended (or a minute is over):
//
//   meddler flip NAME A B       NAME is a symlink, now to A, now to B
//   meddler exchange NAME OTHER the two change places in one step
//   meddler links FILE NAME     NAME is a second link of FILE, and is gone again
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>

namespace {

void flip(const std::string& name, const char* first, const char* second) {
    const std::string made = name + ".new";
    for (const char* target : {first, second}) {
        if (symlink(target, made.c_str()) != 0) unlink(made.c_str());
        rename(made.c_str(), name.c_str());
    }
}

void exchange(const char* name, const char* other) {
    syscall(SYS_renameat2, AT_FDCWD, name, AT_FDCWD, other, 2u /* RENAME_EXCHANGE */);
}

void links(const char* file, const char* name) {
    if (link(file, name) != 0) unlink(name);
    usleep(200);
    unlink(name);
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
    if (write(1, "meddling\n", 9) < 0) return 1;
    for (unsigned round = 0;; ++round) {
        if (how == "flip") flip(argv[2], argv[3], argv[4]);
        if (how == "exchange") exchange(argv[2], argv[3]);
        if (how == "links") links(argv[2], argv[3]);
        usleep(round % 7 * 100);  // in step with nobody
    }
}
