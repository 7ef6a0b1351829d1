// What wine cannot be made to do, and Windows only with luck: a function of kernel32 answers as the
// test wants it. By the import table of this program, so that only its own calls are meant.
#ifndef DAEMONIZE_TESTS_WINDOWS_FAULTS_HPP
#define DAEMONIZE_TESTS_WINDOWS_FAULTS_HPP

#include <windows.h>

#include <cstring>

namespace faults {

// Puts `stand_in` in the place of an imported function; returns what was there, nullptr: it is not
// imported.
inline void* replace_import(const char* name, void* stand_in) {
    char* const base = reinterpret_cast<char*>(GetModuleHandleW(nullptr));
    const auto* const dos = reinterpret_cast<const IMAGE_DOS_HEADER*>(base);
    const auto* const nt = reinterpret_cast<const IMAGE_NT_HEADERS*>(base + dos->e_lfanew);
    const IMAGE_DATA_DIRECTORY& imports =
        nt->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_IMPORT];
    const auto* library =
        reinterpret_cast<const IMAGE_IMPORT_DESCRIPTOR*>(base + imports.VirtualAddress);
    for (; library->Name != 0; ++library) {
        const auto* names =
            reinterpret_cast<const IMAGE_THUNK_DATA*>(base + library->OriginalFirstThunk);
        auto* functions = reinterpret_cast<void**>(base + library->FirstThunk);
        for (; names->u1.AddressOfData != 0; ++names, ++functions) {
            if (IMAGE_SNAP_BY_ORDINAL(names->u1.Ordinal)) continue;
            const auto* const entry =
                reinterpret_cast<const IMAGE_IMPORT_BY_NAME*>(base + names->u1.AddressOfData);
            if (std::strcmp(reinterpret_cast<const char*>(entry->Name), name) != 0) continue;
            DWORD before = 0;
            void* const old = *functions;
            VirtualProtect(functions, sizeof *functions, PAGE_READWRITE, &before);
            *functions = stand_in;
            VirtualProtect(functions, sizeof *functions, before, &before);
            return old;
        }
    }
    return nullptr;
}

// For as long as it lives.
class Fault {
public:
    template <class F>
    Fault(const char* name, F* stand_in)
        : name_(name), before_(replace_import(name, reinterpret_cast<void*>(stand_in))) {}
    ~Fault() {
        if (before_) replace_import(name_, before_);
    }
    Fault(const Fault&) = delete;
    Fault& operator=(const Fault&) = delete;
    bool is_there() const { return before_ != nullptr; }

private:
    const char* name_;
    void* before_;
};

}  // namespace faults

#endif
