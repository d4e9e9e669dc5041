// MappedFile: a whole file in memory without reading it. The pages are private and writable: what
// a program writes into a weight stays in its own memory and never reaches the file.
// Hazard: the size is taken once, on opening. When another process cuts the file off afterwards,
// touching a page beyond its new end raises SIGBUS, and writes by others may show through. Replace
// model files by renaming a new one over them, as AtomicFile does: a mapping keeps the old one.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>

#include "eigenformer/base/error.hpp"

namespace eigenformer {

/// The bytes of a file, mapped for as long as somebody holds the pointer that open() returns.
class MappedFile {
 public:
  /// Maps the file at `path`; throws IoError where it is missing, empty, a folder or unreadable.
  [[nodiscard]] static std::shared_ptr<const MappedFile> open(const std::string& path) {
    return std::shared_ptr<const MappedFile>(new MappedFile(path));
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile() { ::munmap(data_, size_); }

  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  /// The first byte, at the start of a page. The pages may be written (a `const_cast` is sound).
  [[nodiscard]] const std::byte* data() const noexcept {
    return static_cast<const std::byte*>(data_);
  }
  /// Takes the pages out of this process's memory; they come back from the file when they are read.
  /// Numbers that were written to them are lost.
  void forget_pages() const noexcept { ::madvise(data_, size_, MADV_DONTNEED); }
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {data(), size_}; }

 private:
  explicit MappedFile(const std::string& path) : path_(path) {
    // O_NONBLOCK: a named pipe must be refused, not waited for.
    const int descriptor = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    check<IoError>(descriptor >= 0, path_, ": cannot be opened: ", std::strerror(errno));
    const char* problem = nullptr;
    struct stat status {};
    if (::fstat(descriptor, &status) != 0) {
      problem = std::strerror(errno);
    } else if (S_ISDIR(status.st_mode)) {
      problem = "it is a folder";
    } else if (!S_ISREG(status.st_mode)) {
      problem = "it is not a regular file";
    } else if (status.st_size == 0) {
      problem = "it is empty";
    } else if (static_cast<std::uintmax_t>(status.st_size) > PTRDIFF_MAX) {
      problem = "it is too large for this machine";
    } else {
      size_ = static_cast<std::size_t>(status.st_size);
      // MAP_NORESERVE: the pages are rarely written, so the kernel need not set memory aside.
      data_ = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE,
                     descriptor, 0);
      if (data_ == MAP_FAILED) problem = std::strerror(errno);
    }
    ::close(descriptor);
    if (problem != nullptr) fail<IoError>(path_, ": cannot be mapped: ", problem);
  }

  std::string path_;
  void* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace eigenformer
