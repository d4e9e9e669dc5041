// What the fuzz targets share. Each takes any bytes; what may come out of the library is its own
// exceptions with a message. Everything else ends the program: another exception, a failed
// expect(), an error of a sanitizer, too much time or memory.
#pragma once

#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "eigenformer/base/error.hpp"

namespace eigenformer::fuzz {

/// A target under its name; main.cpp runs the one that is asked for.
class Target {
 public:
  using Run = void (*)(std::string_view input);

  Target(std::string_view name, Run run) { all().emplace(name, run); }

  static std::map<std::string_view, Run>& all() {
    static std::map<std::string_view, Run> targets;
    return targets;
  }
};

/// Ends the program unless `condition` holds.
inline void expect(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "fuzz: does not hold: %s\n", what);
  std::abort();
}

/// Runs `action`; whether it threw no error.
template <class Action>
bool passes(Action&& action) {
  try {
    action();
    return true;
  } catch (const Error& problem) {
    expect(*problem.what() != '\0', "an error says something");
    return false;
  }
}

/// An input that stands for several files: they are separated by lines of "====".
[[nodiscard]] inline std::vector<std::string_view> split(std::string_view input) {
  constexpr std::string_view separator = "\n====\n";
  std::vector<std::string_view> parts;
  for (std::size_t end = 0; end != std::string_view::npos;) {
    end = input.find(separator);
    parts.push_back(input.substr(0, end));
    if (end != std::string_view::npos) input.remove_prefix(end + separator.size());
  }
  return parts;
}

/// Takes numbers from the front of an input; zeros when it is used up.
class Numbers {
 public:
  explicit Numbers(std::string_view input) : rest_(input) {}

  /// From 0 to `end`, excluded.
  [[nodiscard]] int below(int end) {
    if (rest_.empty()) return 0;
    const int byte = static_cast<unsigned char>(rest_.front());
    rest_.remove_prefix(1);
    return byte % end;
  }
  [[nodiscard]] bool flag() { return below(2) != 0; }
  [[nodiscard]] std::string_view rest() const noexcept { return rest_; }

 private:
  std::string_view rest_;
};

/// A folder for the files of an input, removed at the end of the program.
class Folder {
 public:
  Folder() : path_((std::filesystem::temp_directory_path() / "fuzz.XXXXXX").string()) {
    expect(::mkdtemp(path_.data()) != nullptr, "a temporary folder can be made");
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { std::filesystem::remove_all(path_); }

  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] std::string operator/(const std::string& name) const { return path_ + "/" + name; }

  /// Writes a file and gives its path.
  std::string write(const std::string& name, std::string_view bytes) const {
    std::ofstream file(*this / name, std::ios::binary);
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return *this / name;
  }
  void remove(const std::string& name) const { std::filesystem::remove(*this / name); }

 private:
  std::string path_;
};

}  // namespace eigenformer::fuzz
