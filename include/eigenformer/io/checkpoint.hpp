// Checkpoint: the named tensors of a model folder, from one safetensors file or from shards with an
// index. It knows files, not models: which names a model expects is the model's business.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigenformer/base/error.hpp"
#include "eigenformer/base/shape.hpp"
#include "eigenformer/io/file.hpp"
#include "eigenformer/io/folder.hpp"
#include "eigenformer/io/json.hpp"
#include "eigenformer/io/safetensors.hpp"

namespace eigenformer {

/// All tensors of a checkpoint under their names, whichever file they are in.
class Checkpoint {
 public:
  /// Opens a folder with `model.safetensors`, or else `model.safetensors.index.json` and its
  /// shards; or one `.safetensors` or `.index.json` file. As in HF, a tensor counts if a shard
  /// holds it, also where the index does not list it; what the index lists must be there. Throws
  /// IoError or FormatError naming the file and the tensor.
  [[nodiscard]] static Checkpoint open(const std::string& path) {
    Checkpoint checkpoint(path);
    if (!is_directory(path)) {
      check<IoError>(exists(path), path, ": no such file or folder");
      if (path.ends_with(".json")) {
        const std::size_t slash = path.rfind('/');
        checkpoint.add_shards(path, slash == std::string::npos ? "" : path.substr(0, slash + 1));
      } else {
        checkpoint.add_file(path);
      }
      return checkpoint;
    }
    const std::string single = current_file(path, "model.safetensors");
    const std::string index = current_file(path, "model.safetensors.index.json");
    if (exists(single)) {
      checkpoint.add_file(single);
    } else if (exists(index)) {
      checkpoint.add_shards(index, path);
    } else {
      const bool pickled = exists(join_path(path, "pytorch_model.bin")) ||
                           exists(join_path(path, "pytorch_model.bin.index.json"));
      fail<IoError>(path, ": has neither model.safetensors nor model.safetensors.index.json",
                    pickled
                        ? "; its pytorch_model.bin must be converted to safetensors first: load "
                          "it in Python and call save_pretrained"
                        : "");
    }
    return checkpoint;
  }

  /// The path that was opened.
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  /// The files, sorted by name.
  [[nodiscard]] std::span<const SafetensorsFile> files() const noexcept { return files_; }
  /// How many tensors there are.
  [[nodiscard]] std::size_t size() const noexcept { return file_of_.size(); }

  /// The names of all tensors, sorted.
  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> names;
    names.reserve(file_of_.size());
    for (const auto& entry : file_of_) names.push_back(entry.first);
    return names;
  }

  /// Whether there is a tensor of that name.
  [[nodiscard]] bool contains(std::string_view name) const noexcept {
    return file_of_.find(name) != file_of_.end();
  }

  /// The file that holds a tensor; throws FormatError where there is none of that name.
  [[nodiscard]] const SafetensorsFile& file(std::string_view name) const {
    const auto found = file_of_.find(name);
    if (found == file_of_.end()) {
      fail<FormatError>(path_, ": has no tensor '", detail::Printable{name}, "' among its ",
                        file_of_.size());
    }
    return files_[found->second];
  }

  /// As SafetensorsFile::info.
  [[nodiscard]] const TensorInfo& info(std::string_view name) const {
    return file(name).info(name);
  }
  /// As SafetensorsFile::shape.
  [[nodiscard]] Shape shape(std::string_view name) const { return file(name).shape(name); }
  /// As SafetensorsFile::bytes.
  [[nodiscard]] std::span<const std::byte> bytes(std::string_view name) const {
    return file(name).bytes(name);
  }
  /// As SafetensorsFile::read.
  template <class Scalar>
  void read(std::string_view name, std::span<Scalar> out) const {
    file(name).read(name, out);
  }
  /// As SafetensorsFile::read_range.
  template <class Scalar>
  void read_range(std::string_view name, Index first, std::span<Scalar> out) const {
    file(name).read_range(name, first, out);
  }
  /// As SafetensorsFile::read_rows.
  template <class Scalar>
  void read_rows(std::string_view name, Index first, Index count, std::span<Scalar> out) const {
    file(name).read_rows(name, first, count, out);
  }
  /// As SafetensorsFile::view.
  template <class Scalar>
  [[nodiscard]] const Scalar* view(std::string_view name) const {
    return file(name).template view<Scalar>(name);
  }
  /// Holds the memory behind bytes() and view() of one tensor.
  [[nodiscard]] std::shared_ptr<const MappedFile> mapping(std::string_view name) const {
    return file(name).mapping();
  }

 private:
  explicit Checkpoint(std::string path) : path_(std::move(path)) {}

  void add_file(const std::string& path) {
    files_.push_back(SafetensorsFile::open(path));
    check_model_format(files_.back());
    for (const TensorInfo& info : files_.back().tensors()) {
      const auto [place, added] = file_of_.emplace(info.name, files_.size() - 1);
      check<FormatError>(added, detail::TensorLabel{path, info.name}, " is also in ",
                         files_[place->second].path());
    }
  }

  /// The index: {"metadata": {...}, "weight_map": {tensor: file}}.
  void add_shards(const std::string& index, const std::string& folder) {
    const Json json = read_json(index);
    check<FormatError>(json.is_object() && json.contains("weight_map") &&
                           json["weight_map"].is_object() && !json["weight_map"].empty(),
                       index, ": 'weight_map' must be an object from tensors to files");
    std::map<std::string, std::size_t> shards;  // file name to its position in files_
    for (const auto& [tensor, value] : json["weight_map"].items()) {
      check<FormatError>(value.is_string(), detail::TensorLabel{index, tensor},
                         ": its file must be text");
      const auto& name = value.get_ref<const std::string&>();
      const bool plain = !name.empty() && name != "." && name != ".." &&
                         name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
      check<FormatError>(plain, detail::TensorLabel{index, tensor}, " is in '",
                         detail::Printable{name}, "', which is not the name of a file beside it");
      shards.emplace(name, 0);
    }
    for (auto& [name, position] : shards) {
      const std::string path = current_file(folder, name);
      check<IoError>(exists(path), path, ": is listed in ", index, " but missing");
      position = files_.size();
      add_file(path);
    }
    for (const auto& [tensor, value] : json["weight_map"].items()) {
      const SafetensorsFile& shard = files_[shards[value.get_ref<const std::string&>()]];
      check<FormatError>(shard.contains(tensor), detail::TensorLabel{index, tensor}, " is not in ",
                         shard.path());
    }
  }

  std::string path_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, std::size_t, std::less<>> file_of_;
};

}  // namespace eigenformer
