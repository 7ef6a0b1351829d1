// An older or a stricter kernel: the named system calls fail with the named error.
//
// Programs of 32 bits are denied them too: a filter that knows one architecture says nothing of the
// calls of another, and they would all pass.
//
//   deny NAME:ERROR[:VALUE[:INDEX]]... -- program [arguments]
//
// ERROR is a name or a number. With VALUE only calls with it as their first argument fail, as in
// prctl:EINVAL:36 (PR_SET_CHILD_SUBREAPER), or as the one with that INDEX, counted from 0, as in
// dup2:EIO:2:1. Names that this libseccomp or machine does not know are left out: there the call
// cannot be made by that name either.
#include <seccomp.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

int error_number(const std::string& name) {
    static const struct {
        const char* name;
        int number;
    } known[] = {{"ENOSYS", ENOSYS}, {"EPERM", EPERM},
                 {"EAGAIN", EAGAIN}, {"EACCES", EACCES},
                 {"EINVAL", EINVAL}, {"ENOLCK", ENOLCK},
                 {"EMFILE", EMFILE}, {"ENOMEM", ENOMEM},
                 {"EIO", EIO},       {"ENOSPC", ENOSPC},
                 {"ENFILE", ENFILE}, {"DONE", 0}};  // it does nothing and says that it did
    for (const auto& one : known)
        if (name == one.name) return one.number;
    const int number = std::atoi(name.c_str());
    return number > 0 ? number : -1;
}

bool add(scmp_filter_ctx filter, int call, int error, const scmp_arg_cmp* only) {
    const std::uint32_t action = SCMP_ACT_ERRNO(static_cast<unsigned>(error));
    return seccomp_rule_add_array(filter, action, call, only ? 1 : 0, only) == 0;
}

bool deny(scmp_filter_ctx filter, const std::string& rule) {
    const std::size_t colon = rule.find(':'), second = rule.find(':', colon + 1);
    if (colon == std::string::npos) return false;
    const std::string name = rule.substr(0, colon);
    const int error = error_number(rule.substr(colon + 1, second - colon - 1));
    if (error < 0) return false;
    scmp_arg_cmp only;
    std::memset(&only, 0, sizeof only);
    const bool some = second != std::string::npos;
    if (some) {
        const std::size_t third = rule.find(':', second + 1);
        only.arg = third == std::string::npos
                       ? 0
                       : static_cast<unsigned>(std::atoi(rule.c_str() + third + 1));
        only.op = SCMP_CMP_MASKED_EQ;  // an int: what stands in the upper half is nobody's promise
        only.datum_a = 0xffffffffu;
        only.datum_b =
            static_cast<std::uint64_t>(std::strtol(rule.c_str() + second + 1, nullptr, 0));
    }
    const int call = seccomp_syscall_resolve_name(name.c_str());
    if (call != __NR_SCMP_ERROR && !add(filter, call, error, some ? &only : nullptr)) return false;
    // A library of 32 bits makes some calls by a younger name. Such a call has no number of this
    // machine's own (a negative one stands for it), unlike getdents64, which was not asked for.
    for (const char* tail : {"32", "64", "_time64"}) {
        const int younger = seccomp_syscall_resolve_name((name + tail).c_str());
        if (younger != __NR_SCMP_ERROR && younger < 0)
            add(filter, younger, error, some ? &only : nullptr);
    }
    return true;
}

// Both architectures of a machine, where it has two.
bool know_32_bits(scmp_filter_ctx filter) {
#if defined(__x86_64__)
    return seccomp_arch_add(filter, SCMP_ARCH_X86) == 0;
#elif defined(__aarch64__)
    return seccomp_arch_add(filter, SCMP_ARCH_ARM) == 0;
#else
    return filter != nullptr;
#endif
}

}  // namespace

int main(int argc, char** argv) {
    const scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    if (!filter || !know_32_bits(filter)) {
        std::fprintf(stderr, "deny: no filter for both architectures\n");
        return 2;
    }
    int i = 1;
    for (; i < argc && std::strcmp(argv[i], "--") != 0; ++i) {
        if (!deny(filter, argv[i])) {
            std::fprintf(stderr, "deny: '%s' is not NAME:ERROR[:VALUE[:INDEX]]\n", argv[i]);
            return 2;
        }
    }
    if (i + 1 >= argc) {
        std::fprintf(stderr, "usage: deny NAME:ERROR[:VALUE[:INDEX]]... -- program [arguments]\n");
        return 2;
    }
    // Root keeps its set-uid programs: without privileges the kernel insists on no_new_privs.
    if (geteuid() == 0) seccomp_attr_set(filter, SCMP_FLTATR_CTL_NNP, 0);
    const int failed = seccomp_load(filter);
    if (failed != 0) {
        std::fprintf(stderr, "deny: cannot load the filter: %s\n", std::strerror(-failed));
        return 2;
    }
    execvp(argv[i + 1], argv + i + 1);
    std::perror("deny: exec");
    return 2;
}
