// Whole files in and out: read in one go, replace atomically.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "eigenformer/base/error.hpp"

namespace eigenformer {

/// Whether `path` names something that exists.
[[nodiscard]] inline bool exists(const std::string& path) noexcept {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0;
}

/// Whether `path` names a folder.
[[nodiscard]] inline bool is_directory(const std::string& path) noexcept {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

/// The bytes of a file; throws IoError naming it.
[[nodiscard]] inline std::string read_file(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "rb");
  check<IoError>(file != nullptr, path, ": cannot be opened: ", std::strerror(errno));
  std::string bytes;
  char buffer[1 << 16];
  std::size_t count = 0;
  while ((count = std::fread(buffer, 1, sizeof(buffer), file)) > 0) bytes.append(buffer, count);
  const bool failed = std::ferror(file) != 0;
  const int reason = errno;
  std::fclose(file);
  check<IoError>(!failed, path, ": cannot be read: ", std::strerror(reason));
  return bytes;
}

/// A file under construction: written beside its final path and renamed on commit(), so that
/// readers see the old file or the whole new one. Without commit() nothing is left behind.
class AtomicFile {
 public:
  /// Throws IoError when the folder cannot be written.
  explicit AtomicFile(const std::string& path) : path_(path), temporary_(path + ".XXXXXX") {
    const int descriptor = ::mkstemp(temporary_.data());
    check<IoError>(descriptor >= 0, path_, ": cannot be created: ", std::strerror(errno));
    ::fchmod(descriptor, 0644);
    file_ = ::fdopen(descriptor, "wb");
  }
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile() {
    if (file_ != nullptr) std::fclose(file_);
    if (!committed_) ::unlink(temporary_.c_str());
  }

  /// Appends bytes; throws IoError, for example when the disk is full.
  void write(const void* data, std::size_t size) {
    check<IoError>(std::fwrite(data, 1, size, file_) == size, path_,
                   ": cannot be written: ", std::strerror(errno));
  }
  void write(std::string_view text) { write(text.data(), text.size()); }

  /// Flushes to the disk and takes the final name.
  void commit() {
    check<IoError>(std::fflush(file_) == 0 && ::fsync(::fileno(file_)) == 0, path_,
                   ": cannot be written: ", std::strerror(errno));
    const int closed = std::fclose(file_);
    file_ = nullptr;
    check<IoError>(closed == 0 && std::rename(temporary_.c_str(), path_.c_str()) == 0, path_,
                   ": cannot be written: ", std::strerror(errno));
    committed_ = true;
  }

 private:
  std::string path_;
  std::string temporary_;
  std::FILE* file_ = nullptr;
  bool committed_ = false;
};

/// Replaces a file's contents atomically; throws IoError.
inline void write_file(const std::string& path, std::string_view contents) {
  AtomicFile file(path);
  file.write(contents);
  file.commit();
}

}  // namespace eigenformer
