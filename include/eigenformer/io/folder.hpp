// FolderUpdate: files of one folder that change together, such as a model's config.json and
// model.safetensors. Each alone is replaced by a rename, but two renames are two moments. So the
// new files are written into a folder of their own inside, ".saving.*", and one rename of that, to
// ".saved", is the moment from which all of them count: readers look there first. Then they are
// moved to where other programs expect them, and nothing else is left.
// A process that is killed before that moment leaves the old files; the next update removes its
// folder. One that is killed after it leaves the new files, the last of them in ".saved": this
// library reads them there, other programs may see a mixture until finish_update() or the next
// update moves them.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigenformer/base/error.hpp"
#include "eigenformer/io/file.hpp"

namespace eigenformer {

namespace detail {

inline constexpr std::string_view saved_folder = ".saved";
inline constexpr std::string_view saving_prefix = ".saving.";

/// The names in a folder, "." and ".." left out; none where it cannot be read.
[[nodiscard]] inline std::vector<std::string> entries_of(const std::string& folder) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> opened(::opendir(folder.c_str()), ::closedir);
  while (opened != nullptr) {
    const dirent* entry = ::readdir(opened.get());
    if (entry == nullptr) break;
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  return names;
}

/// Removes a folder that holds files alone.
inline void remove_folder(const std::string& folder) {
  for (const std::string& name : entries_of(folder)) ::unlink(join_path(folder, name).c_str());
  ::rmdir(folder.c_str());
}

/// Moves what is in ".saved" to its place.
inline void move_saved(const std::string& folder) {
  const std::string saved = join_path(folder, saved_folder);
  for (const std::string& name : entries_of(saved)) {
    const std::string target = join_path(folder, name);
    check<IoError>(std::rename(join_path(saved, name).c_str(), target.c_str()) == 0, target,
                   ": cannot be written: ", std::strerror(errno));
  }
  ::rmdir(saved.c_str());
}

}  // namespace detail

/// The path of a folder's file: where an update that was interrupted left it, else in the folder.
[[nodiscard]] inline std::string current_file(const std::string& folder, std::string_view name) {
  const std::string saved = join_path(join_path(folder, detail::saved_folder), name);
  return exists(saved) ? saved : join_path(folder, name);
}

/// Keeps updates from moving files into a folder as long as it lives: for reading, together with
/// others, so that all files that are opened belong to one update; for writing, alone. Waits for
/// others. Without effect where the file system has no locks.
class FolderLock {
 public:
  /// What the folder is locked for.
  enum class For {
    reading,  ///< with others who read
    writing   ///< alone
  };

  /// Waits for the lock.
  FolderLock(const std::string& folder, For purpose) : FolderLock(folder) {
    const int operation = purpose == For::reading ? LOCK_SH : LOCK_EX;
    while (::flock(descriptor_, operation) != 0 && errno == EINTR) continue;
  }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;
  ~FolderLock() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }

  /// Whether nobody has a lock on this folder.
  [[nodiscard]] static bool is_free(const std::string& folder) {
    const FolderLock probe(folder);
    return ::flock(probe.descriptor_, LOCK_EX | LOCK_NB) == 0;
  }

 private:
  explicit FolderLock(const std::string& folder)
      : descriptor_(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {}

  int descriptor_;
};

/// Moves the files of an update that was interrupted to where other programs expect them, if there
/// are any. Throws IoError.
inline void finish_update(const std::string& folder) {
  const FolderLock lock(folder, FolderLock::For::writing);
  detail::move_saved(folder);
}

/// An update under construction: what is written into path() appears in the folder with commit(),
/// all of it or, without, nothing. Files keep the permissions of those that they replace. Any
/// number of threads and processes may update one folder: the last one wins whole.
class FolderUpdate {
 public:
  /// Makes the folder where it is not there. Throws IoError.
  explicit FolderUpdate(std::string folder) : folder_(std::move(folder)) {
    const bool made = ::mkdir(folder_.c_str(), 0777) == 0 || errno == EEXIST;
    check<IoError>(made && is_directory(folder_), folder_,
                   ": cannot be made: ", std::strerror(errno));
    const FolderLock lock(folder_, FolderLock::For::writing);
    for (const std::string& name : detail::entries_of(folder_)) {
      const std::string left = join_path(folder_, name);
      const bool saving = name.starts_with(detail::saving_prefix);
      if (saving && FolderLock::is_free(left)) detail::remove_folder(left);
    }
    static std::atomic<unsigned> counter{0};
    do {
      path_ = join_path(
          folder_, concat(detail::saving_prefix, static_cast<long>(::getpid()), ".", ++counter));
    } while (exists(path_));
    check<IoError>(::mkdir(path_.c_str(), 0777) == 0, folder_,
                   ": cannot be written: ", std::strerror(errno));
    alive_ = std::make_unique<FolderLock>(path_, FolderLock::For::writing);
  }
  FolderUpdate(const FolderUpdate&) = delete;
  FolderUpdate& operator=(const FolderUpdate&) = delete;
  ~FolderUpdate() {
    if (!committed_) detail::remove_folder(path_);
  }

  /// Where the files are to be written; files alone, no folders.
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

  /// Puts the files into the folder. Throws IoError, and then the folder is as it was.
  void commit() {
    check<IoError>(!committed_, folder_, ": committed twice");
    const FolderLock lock(folder_, FolderLock::For::writing);
    detail::move_saved(folder_);
    for (const std::string& name : detail::entries_of(path_)) {
      const std::string target = join_path(folder_, name);
      struct stat old {};
      if (::stat(target.c_str(), &old) != 0) continue;
      check<IoError>(!S_ISDIR(old.st_mode), target, ": cannot be written: it is a folder");
      (void)::chmod(join_path(path_, name).c_str(), old.st_mode & 0777);
    }
    const std::string saved = join_path(folder_, detail::saved_folder);
    check<IoError>(std::rename(path_.c_str(), saved.c_str()) == 0, folder_,
                   ": cannot be written: ", std::strerror(errno));
    committed_ = true;
    detail::sync_folder(folder_);
    detail::move_saved(folder_);
  }

 private:
  std::string folder_;
  std::string path_;
  std::unique_ptr<FolderLock> alive_;  // tells others that this update is not abandoned
  bool committed_ = false;
};

}  // namespace eigenformer
