// Models as packed files: the weights of linear layers as packs, everything else in numbers.
// Opening one checks names and sizes, and leaves the weights where they lie until they are used.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "eigenformer/io/packed_file.hpp"
#include "eigenformer/models/loading.hpp"

namespace eigenformer {

namespace detail {

/// Whether a table of embeddings has that name, or one with more in front.
inline bool is_table(std::string_view name) {
  constexpr std::string_view ends[] = {"embeddings.weight", "wte.weight", "wpe.weight"};
  return std::ranges::any_of(ends, [&](auto end) { return name.ends_with(end); });
}

/// Calls f(named, key, packed) for each tensor that a packed file of a model holds. Matrices are
/// weights of linear layers, packed whole under the first of their names, unless they are tables
/// of embeddings; those are there in numbers, and packed too where a decoder is tied to them.
template <class P, class Function>
void for_each_packed_tensor(const NamedParameters<P>& parameters, Function&& f) {
  std::map<const void*, std::string> tables;
  for (const auto& named : parameters) {
    const bool matrix = named.parameter.shape().rank() == 2;
    const bool table = matrix && is_table(named.name);
    if (named.tied) {
      const auto found = tables.find(&named.parameter);
      if (found != tables.end()) f(named, PackedFile::pack_name(found->second), true);
      continue;
    }
    if (table) tables.emplace(&named.parameter, named.name);
    if (!matrix || table)
      f(named, named.name, false);
    else if (named.begin == 0)
      f(named, PackedFile::pack_name(named.name), true);
  }
}

/// Takes tensors out of a packed file, and notes what does not fit.
class PackedReader {
 public:
  explicit PackedReader(const PackedFile& file)
      : file_(file), known_(file.tensors().tensors().size(), false) {}

  /// The numbers of a whole parameter where they lie, of some of its rows as a copy.
  template <class P>
  void numbers(const NamedParameter<P>& named, const std::string& key) {
    const Shape shape = named.shape();
    const TensorInfo* info = find(key);
    if (info == nullptr) return;
    const float* const data = file_.tensors().view<float>(key);
    if (data == nullptr || !std::ranges::equal(info->shape, shape)) {
      return mismatched(*info, concat("F32 ", shape));
    }
    if (named.whole()) return borrow_from(file_.tensors().mapping(), data, named.parameter);
    named.parameter.allocate();
    named.value().copy_from(Tensor<float>::foreign(data, shape, file_.tensors().mapping()));
  }

  /// The pack of a whole matrix.
  template <class P>
  void pack(const NamedParameter<P>& named, const std::string& key) {
    const TensorInfo* info = find(key);
    if (info == nullptr) return;
    const Shape& shape = named.parameter.shape();
    const auto* const words = file_.tensors().view<kernels::Word>(key);
    Index size = 0;
    for (const bool scales_inputs : {false, true}) {
      if (scales_inputs && file_.precision() != Precision::int8) continue;
      auto pack = std::make_shared<const kernels::PackedWeight>(
          file_.precision(), shape[0], shape[1], scales_inputs, words, file_.tensors().mapping());
      size = pack->size_in_words();
      if (words != nullptr && info->begin % packed_alignment == 0 &&
          std::ranges::equal(info->shape, Shape{size})) {
        named.parameter.attach(std::move(pack));
        return;
      }
    }
    mismatched(*info,
               concat("U32 ", Shape{size}, " at a multiple of ", packed_alignment, " bytes"));
  }

  /// Throws FormatError where something did not fit. Of the tensors that were not asked for, those
  /// are passed over whose names do not begin with `prefix`, and packed tables, if there is one.
  void finish(std::string_view prefix) const {
    const std::size_t pack_ending = PackedFile::pack_name("").size();
    std::vector<std::string> unexpected;
    const auto tensors = file_.tensors().tensors();
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const std::string& name = tensors[i].name;
      const bool pack = name.ends_with(PackedFile::pack_name(""));
      const bool packed_table =
          pack && is_table(std::string_view(name).substr(0, name.size() - pack_ending));
      const bool head = !prefix.empty() && (!name.starts_with(prefix) || packed_table);
      if (!known_[i] && !head) unexpected.push_back(name);
    }
    const std::string problems = listed("; missing: ", missing_) +
                                 listed("; of another type or size: ", mismatched_) +
                                 listed("; not in the model: ", unexpected);
    check<FormatError>(problems.empty(), file_.path(), ": the tensors do not fit its config",
                       problems, "; convert the model's folder again");
  }

 private:
  const TensorInfo* find(const std::string& key) {
    if (!file_.tensors().contains(key)) {
      missing_.push_back(key);
      return nullptr;
    }
    const TensorInfo& info = file_.tensors().info(key);
    known_[static_cast<std::size_t>(&info - file_.tensors().tensors().data())] = true;
    return &info;
  }

  void mismatched(const TensorInfo& info, const std::string& expected) {
    mismatched_.push_back(concat(info.name, " is ", info.dtype_name, " ", shape_text(info.shape),
                                 " at byte ", info.begin, " but should be ", expected));
  }

  const PackedFile& file_;
  std::vector<bool> known_;  // which tensors were asked for
  std::vector<std::string> missing_;
  std::vector<std::string> mismatched_;
};

}  // namespace detail

/// The packed file at `path`, for a model of `Scalar`. Throws ConfigError for another scalar than
/// float, or where `options` ask for another precision; else as PackedFile::open.
template <class Scalar>
[[nodiscard]] PackedFile open_packed(const std::string& path, const LoadOptions& options) {
  check<ConfigError>(kernels::uses_packed_weights<Scalar>, path,
                     ": packed files are for models of float; load the model's folder");
  PackedFile file = PackedFile::open(path);
  const Precision asked = options.precision.value_or(file.precision());
  check<ConfigError>(asked == file.precision(), path, ": holds weights of precision ",
                     name_of(file.precision()), ", but ", name_of(asked),
                     " is asked for; convert the model's folder to that, or leave it out");
  return file;
}

/// Throws FormatError unless `file`, whose configuration is `config`, was written by the class of
/// that suffix, such as "ForMaskedLM".
template <class Config>
void check_architecture(const PackedFile& file, const Config& config, std::string_view suffix) {
  const std::string wanted = config.class_name(suffix);
  const std::string found = config.architectures.empty() ? "nothing" : config.architectures.front();
  check<FormatError>(found == wanted, file.path(), ": holds ", found, ", not ", wanted,
                     "; convert a folder that has its head");
}

/// Gives the tensors of `file` to a model made with Initializer::none(), whose names have `prefix`
/// in front there. Throws FormatError, with all of them in one message, for tensors that are
/// missing, of another size or not in the model.
template <class P>
void load_packed(const NamedParameters<P>& parameters, const PackedFile& file,
                 const std::string& prefix = "") {
  detail::PackedReader reader(file);
  if constexpr (std::is_same_v<P, Parameter<float>>) {
    detail::for_each_packed_tensor(parameters,
                                   [&](const auto& named, const std::string& key, bool pack) {
                                     if (pack)
                                       reader.pack(named, prefix + key);
                                     else
                                       reader.numbers(named, prefix + key);
                                   });
  }
  reader.finish(prefix);
}

/// Writes a model that was packed as one file for from_pretrained. Throws ConfigError for one that
/// was not, and IoError.
template <class P>
void save_packed(const NamedParameters<P>& parameters, const Json& config,
                 const std::string& path) {
  std::vector<TensorToWrite> tensors;
  std::optional<Precision> precision;
  detail::for_each_packed_tensor(parameters, [&](const auto& named, std::string key, bool packed) {
    if (!packed) {
      const auto value = named.value();  // rows of a parameter are contiguous
      using Scalar = typename std::remove_cvref_t<decltype(value)>::Matrix::Scalar;
      tensors.push_back(
          {std::move(key), dtype_of<Scalar>, value.shape(),
           std::as_bytes(std::span(value.data(), static_cast<std::size_t>(value.numel())))});
      return;
    }
    const auto& pack = named.parameter.kept_pack();
    check<ConfigError>(
        pack != nullptr && precision.value_or(pack->precision()) == pack->precision(), path,
        ": the model must be packed first, in one precision; ", key, " is not");
    precision = pack->precision();
    const std::span words(pack->words(), static_cast<std::size_t>(pack->size_in_words()));
    tensors.push_back(
        {std::move(key), DType::u32, Shape{pack->size_in_words()}, std::as_bytes(words)});
  });
  write_packed_file(path, tensors, precision.value_or(Precision::full), config.dump(2));
}

}  // namespace eigenformer
