// LD_PRELOAD: flock() as a network file system has it. NFS maps it onto a lock of the whole file, of
// the kind that fcntl() makes, owned by the open file. So it stands in the way of the same process's
// record locks, an exclusive one needs a descriptor that may write, and F_GETLK cannot name who
// holds it (it says -1).
#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <cstring>

extern "C" int flock(int file, int operation) noexcept {
    struct flock64 whole;
    std::memset(&whole, 0, sizeof whole);
    whole.l_whence = SEEK_SET;
    const int kind = operation & ~LOCK_NB;
    whole.l_type = kind == LOCK_EX ? F_WRLCK : kind == LOCK_SH ? F_RDLCK : F_UNLCK;
    const int result = fcntl64(file, (operation & LOCK_NB) ? F_OFD_SETLK : F_OFD_SETLKW, &whole);
    if (result != 0 && errno == EACCES) errno = EAGAIN;
    return result;
}
