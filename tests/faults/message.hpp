// What a case tells the engine through a pipe: texts, each with its length before it.
#ifndef DAEMONIZE_TESTS_FAULTS_MESSAGE_HPP
#define DAEMONIZE_TESTS_FAULTS_MESSAGE_HPP

#include <cstdlib>
#include <string>

namespace faults {

class Packed {
public:
    Packed& operator<<(const std::string& text) {
        bytes_ += std::to_string(text.size()) + ":" + text;
        return *this;
    }
    Packed& operator<<(long long number) { return *this << std::to_string(number); }
    const std::string& bytes() const { return bytes_; }

private:
    std::string bytes_;
};

class Unpacked {
public:
    explicit Unpacked(const std::string& bytes) : bytes_(bytes) {}
    std::string text() {
        const std::size_t colon = bytes_.find(':', at_);
        if (colon == std::string::npos) return torn();
        const std::size_t size = std::strtoul(bytes_.c_str() + at_, nullptr, 10);
        if (size > bytes_.size() - colon - 1) return torn();
        at_ = colon + 1 + size;
        return bytes_.substr(colon + 1, size);
    }
    long long number() { return std::atoll(text().c_str()); }
    bool is_whole() const { return whole_ && at_ == bytes_.size(); }

private:
    std::string torn() {
        whole_ = false;
        return "";
    }
    const std::string& bytes_;
    std::size_t at_ = 0;
    bool whole_ = true;
};

}  // namespace faults

#endif
