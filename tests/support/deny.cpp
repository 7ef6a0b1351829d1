// An older or a stricter kernel: the named system calls fail with the named error.
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

bool deny(scmp_filter_ctx filter, const std::string& rule) {
    const std::size_t colon = rule.find(':'), second = rule.find(':', colon + 1);
    if (colon == std::string::npos) return false;
    const int call = seccomp_syscall_resolve_name(rule.substr(0, colon).c_str());
    const int error = error_number(rule.substr(colon + 1, second - colon - 1));
    if (error < 0) return false;
    if (call == __NR_SCMP_ERROR) return true;
    const std::uint32_t action = SCMP_ACT_ERRNO(static_cast<unsigned>(error));
    if (second == std::string::npos) return seccomp_rule_add(filter, action, call, 0) == 0;
    scmp_arg_cmp only;
    std::memset(&only, 0, sizeof only);
    const std::size_t third = rule.find(':', second + 1);
    only.arg =
        third == std::string::npos ? 0 : static_cast<unsigned>(std::atoi(rule.c_str() + third + 1));
    only.op = SCMP_CMP_MASKED_EQ;  // an int: what stands in the upper half is nobody's promise
    only.datum_a = 0xffffffffu;
    only.datum_b = static_cast<std::uint64_t>(std::strtol(rule.c_str() + second + 1, nullptr, 0));
    return seccomp_rule_add_array(filter, action, call, 1, &only) == 0;
}

}  // namespace

int main(int argc, char** argv) {
    const scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
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
