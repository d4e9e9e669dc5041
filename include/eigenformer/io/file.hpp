// Whole files in and out: read in one go, replace atomically. Every error names the path and says
// why. POSIX only: readers need nothing else, and a rename within a folder is atomic there.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

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

/// Whether `path` names something that is no folder.
[[nodiscard]] inline bool is_file(const std::string& path) noexcept {
  return exists(path) && !is_directory(path);
}

/// The folder that a file lies in; `path` itself where it names no file.
[[nodiscard]] inline std::string folder_of(const std::string& path) {
  if (!is_file(path)) return path;
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash + 1);
}

/// `folder` and `name` with one slash between them.
[[nodiscard]] inline std::string join_path(const std::string& folder, std::string_view name) {
  return concat(folder, folder.empty() || folder.back() == '/' ? "" : "/", name);
}

/// The bytes of a file; throws IoError naming it.
[[nodiscard]] inline std::string read_file(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "rbe");
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

namespace detail {

/// Makes the new names in a folder last through a power cut, on file systems that can.
inline void sync_folder(const std::string& folder) noexcept {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  (void)::fsync(descriptor);
  ::close(descriptor);
}

}  // namespace detail

/// A file under construction: written beside its final path and renamed on commit(), so that
/// readers see the old file or the whole new one, also when the process is killed half way.
/// Without commit() nothing is left behind; a process that is killed leaves a file
/// `NAME.PID.NUMBER.tmp`, which nobody reads. The new file keeps the old one's permissions. Where
/// the path is a symbolic link, the link is replaced and the file it points to stays as it was.
/// Files that belong together are for FolderUpdate.
class AtomicFile {
 public:
  /// Throws IoError when the folder cannot be written.
  explicit AtomicFile(const std::string& path) : path_(path) {
    check<IoError>(!is_directory(path_), path_, ": cannot be written: it is a folder");
    struct stat old {};
    const bool replaces = ::stat(path_.c_str(), &old) == 0;
    static std::atomic<unsigned> counter{0};
    int descriptor = -1;
    for (int attempt = 0; attempt < 100 && descriptor < 0; ++attempt) {
      temporary_ = concat(path_, ".", static_cast<long>(::getpid()), ".", ++counter, ".tmp");
      descriptor = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      if (descriptor < 0 && errno != EEXIST) break;
    }
    check<IoError>(descriptor >= 0, path_, ": cannot be created: ", std::strerror(errno));
    if (replaces) (void)::fchmod(descriptor, old.st_mode & 0777);
    file_ = ::fdopen(descriptor, "wb");
    if (file_ == nullptr) {
      const int reason = errno;
      ::close(descriptor);
      ::unlink(temporary_.c_str());
      fail<IoError>(path_, ": cannot be created: ", std::strerror(reason));
    }
  }
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  /// Removes what was written, unless it was committed.
  ~AtomicFile() {
    if (file_ != nullptr) std::fclose(file_);
    if (!committed_) ::unlink(temporary_.c_str());
  }

  /// Appends bytes; throws IoError, for example when the disk is full.
  void write(const void* data, std::size_t size) {
    check<IoError>(file_ != nullptr, path_, ": written to after commit()");
    if (size == 0) return;
    const std::size_t written = std::fwrite(data, 1, size, file_);
    check<IoError>(written == size, path_, ": cannot be written: ", std::strerror(errno));
  }
  /// The same for the bytes of a text.
  void write(std::string_view text) { write(text.data(), text.size()); }

  /// Flushes to the disk and takes the final name.
  void commit() {
    check<IoError>(file_ != nullptr, path_, ": committed twice");
    bool done = std::fflush(file_) == 0 && ::fsync(::fileno(file_)) == 0;
    check<IoError>(done, path_, ": cannot be written: ", std::strerror(errno));
    done = std::fclose(std::exchange(file_, nullptr)) == 0 &&
           std::rename(temporary_.c_str(), path_.c_str()) == 0;
    check<IoError>(done, path_, ": cannot be written: ", std::strerror(errno));
    committed_ = true;
    detail::sync_folder(folder_of(path_));
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
