// MappedFile: a whole file in memory without reading it. The pages are private and writable: what
// a program writes into a weight stays in its own memory and never reaches the file. Or they are
// for reading alone, and shared by all who map the same file.
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
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <tuple>
#include <utility>

#include "eigenformer/base/error.hpp"

namespace eigenformer {

/// The bytes of a file, mapped, and the file open, as long as somebody holds what open() returns.
class MappedFile {
 public:
  /// Maps the file at `path`; throws IoError where it is missing, empty, a folder or unreadable.
  [[nodiscard]] static std::shared_ptr<const MappedFile> open(const std::string& path) {
    const Opened file(path);
    return std::shared_ptr<const MappedFile>(new MappedFile(file, PROT_READ | PROT_WRITE));
  }
  /// Maps it for reading alone: writing is a crash. A file that is mapped like this already, and
  /// has the same device, inode, size and time of modification as then, is not mapped again: its
  /// mapping is shared.
  [[nodiscard]] static std::shared_ptr<const MappedFile> open_shared(const std::string& path) {
    static std::mutex mutex;
    static std::map<Identity, std::weak_ptr<const MappedFile>> mapped;
    const Opened file(path);
    const std::lock_guard lock(mutex);
    std::erase_if(mapped, [](const auto& entry) { return entry.second.expired(); });
    std::weak_ptr<const MappedFile>& place = mapped[file.identity()];
    std::shared_ptr<const MappedFile> mapping = place.lock();
    if (mapping == nullptr) {
      mapping = std::shared_ptr<const MappedFile>(new MappedFile(file, PROT_READ));
      place = mapping;
    }
    return mapping;
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  /// Unmaps the file.
  ~MappedFile() {
    ::munmap(data_, size_);
    ::close(descriptor_);
  }

  /// The path that was opened.
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  /// Bytes of the file, never 0.
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  /// The first byte, at the start of a page. The pages may be written (a `const_cast` is sound),
  /// unless they are shared.
  [[nodiscard]] const std::byte* data() const noexcept {
    return static_cast<const std::byte*>(data_);
  }
  /// Reads bytes from `offset` on from the file itself, which leaves its pages out of this
  /// process's memory. Throws IoError where there are not as many.
  void read(std::size_t offset, std::span<std::byte> out) const {
    while (!out.empty()) {
      const ssize_t count =
          ::pread(descriptor_, out.data(), out.size(), static_cast<off_t>(offset));
      if (count < 0 && errno == EINTR) continue;
      check<IoError>(count >= 0, path_, ": cannot be read: ", std::strerror(errno));
      check<IoError>(count > 0, path_, ": ends at byte ", offset, ", ", out.size(),
                     " bytes too early: was it cut off since it was opened?");
      offset += static_cast<std::size_t>(count);
      out = out.subspan(static_cast<std::size_t>(count));
    }
  }
  /// Takes the pages out of this process's memory; they come back from the file when they are read.
  /// Numbers that were written to them are lost.
  void forget_pages() const noexcept { ::madvise(data_, size_, MADV_DONTNEED); }
  /// All bytes of the file.
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {data(), size_}; }

 private:
  /// Device, inode, size, and seconds and nanoseconds of the time of modification.
  using Identity = std::tuple<dev_t, ino_t, off_t, time_t, long>;

  /// A regular file that is not empty.
  struct Opened {
    explicit Opened(const std::string& file_path) : path(file_path) {
      // O_NONBLOCK: a named pipe must be refused, not waited for.
      descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
      check<IoError>(descriptor >= 0, path, ": cannot be opened: ", std::strerror(errno));
      const char* problem = nullptr;
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
      }
      if (problem == nullptr) return;
      ::close(descriptor);
      fail<IoError>(path, ": cannot be mapped: ", problem);
    }
    Opened(const Opened&) = delete;
    Opened& operator=(const Opened&) = delete;
    ~Opened() {
      if (descriptor >= 0) ::close(descriptor);
    }

    [[nodiscard]] Identity identity() const {
      return {status.st_dev, status.st_ino, status.st_size, status.st_mtim.tv_sec,
              status.st_mtim.tv_nsec};
    }

    const std::string& path;
    mutable int descriptor;  // -1: a mapping has it
    struct stat status {};
  };

  MappedFile(const Opened& file, int protection)
      : path_(file.path), size_(static_cast<std::size_t>(file.status.st_size)) {
    // MAP_NORESERVE: the pages are rarely written, so the kernel need not set memory aside.
    data_ = ::mmap(nullptr, size_, protection, MAP_PRIVATE | MAP_NORESERVE, file.descriptor, 0);
    check<IoError>(data_ != MAP_FAILED, path_, ": cannot be mapped: ", std::strerror(errno));
    descriptor_ = std::exchange(file.descriptor, -1);
  }

  std::string path_;
  std::size_t size_;
  void* data_ = nullptr;
  int descriptor_ = -1;
};

}  // namespace eigenformer
