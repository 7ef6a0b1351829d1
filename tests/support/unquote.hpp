// A reader of command lines by the published rules of the C runtime, as the other side of
// quote_argument(): a fault in one does not hide a fault in the other.
#ifndef DAEMONIZE_TESTS_UNQUOTE_HPP
#define DAEMONIZE_TESTS_UNQUOTE_HPP

#include <cstddef>
#include <string>

// False: it is more than one argument, or one that does not end.
inline bool unquote(const std::string& line, std::string& out) {
    bool quoted = false;
    out.clear();
    for (std::size_t i = 0; i < line.size();) {
        std::size_t slashes = 0;
        while (i < line.size() && line[i] == '\\') ++slashes, ++i;
        if (i < line.size() && line[i] == '"') {
            out.append(slashes / 2, '\\');
            if (slashes % 2 != 0)
                out += '"';
            else
                quoted = !quoted;
            ++i;
            continue;
        }
        out.append(slashes, '\\');
        if (i < line.size() && slashes == 0) {
            if (!quoted && (line[i] == ' ' || line[i] == '\t')) return false;
            out += line[i++];
        }
    }
    return !quoted;
}

#endif
