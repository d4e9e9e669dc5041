// PackedFile: a model for inference in one file that is mapped and used where it lies.
// It is a safetensors file. The weights of linear layers are U32 tensors `NAME.packed`, the words
// of a PackedWeight: the same for every instruction set, so that nothing is packed again on
// loading. All others are F32 tensors under their own names. Packs come first, each at a multiple
// of 64 bytes. Metadata: "format", "version", "byte_order", "precision", "config", which is the
// text of config.json, and "checksum". Only the header is checked: the weights are not read.
#pragma once

#include <array>
#include <bit>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigenformer/base/error.hpp"
#include "eigenformer/base/precision.hpp"
#include "eigenformer/io/safetensors.hpp"

namespace eigenformer {

namespace detail {

inline constexpr std::string_view packed_format = "eigenformer.packed";
inline constexpr std::string_view packed_version = "1";
inline constexpr std::size_t packed_alignment = 64;
inline constexpr std::string_view checksum_key = R"("checksum":")";
inline constexpr std::size_t checksum_digits = 16;
inline constexpr std::string_view native_byte_order =
    std::endian::native == std::endian::little ? "little" : "big";

/// The 64-bit FNV-1a hash of a header's bytes, padding included, but for the digits of its own
/// "checksum"; written as 16 hexadecimal digits.
[[nodiscard]] inline std::string header_checksum(std::string_view header) {
  const std::size_t digits = header.find(checksum_key) + checksum_key.size();
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (std::size_t i = 0; i < header.size(); ++i) {
    if (i - digits < checksum_digits) continue;
    hash = (hash ^ static_cast<unsigned char>(header[i])) * 0x100000001b3u;
  }
  std::array<char, checksum_digits> text;
  const char* const end = std::to_chars(text.begin(), text.end(), hash, 16).ptr;
  const auto size = static_cast<std::size_t>(end - text.data());
  return std::string(checksum_digits - size, '0').append(text.data(), size);
}

/// Writes the checksum into a header whose "checksum" is 16 digits of no meaning yet.
inline void seal_header(std::string& header) {
  const std::string checksum = header_checksum(header);
  header.replace(header.find(checksum_key) + checksum_key.size(), checksum.size(), checksum);
}

}  // namespace detail

/// An open packed file. Copies share the mapping, and so does who opens the same file again.
class PackedFile {
 public:
  /// Maps the file for reading and checks its header. Throws IoError, or FormatError for what is
  /// not a packed file, damaged, or of another version or byte order.
  [[nodiscard]] static PackedFile open(const std::string& path) {
    try {
      return PackedFile(SafetensorsFile::open_shared(path));
    } catch (const FormatError& problem) {
      fail<FormatError>(std::string_view(problem.what()),
                        "; name the model's folder, or convert it again");
    }
  }

  /// The path that was opened.
  [[nodiscard]] const std::string& path() const noexcept { return tensors_.path(); }
  /// How the weights of linear layers are packed.
  [[nodiscard]] Precision precision() const noexcept { return precision_; }
  /// The text of config.json; `architectures` names the class that wrote the file.
  [[nodiscard]] const std::string& config() const { return tensors_.metadata().at("config"); }
  /// The file's tensors: numbers (F32) under a parameter's name, packs (U32) under pack_name().
  [[nodiscard]] const SafetensorsFile& tensors() const noexcept { return tensors_; }

  /// Whether there is a parameter of that name, in numbers or packed.
  [[nodiscard]] bool contains(std::string_view name) const {
    return tensors_.contains(name) || tensors_.contains(pack_name(name));
  }
  /// What the pack of a parameter is called.
  [[nodiscard]] static std::string pack_name(std::string_view name) {
    return concat(name, ".packed");
  }

 private:
  explicit PackedFile(SafetensorsFile tensors) : tensors_(std::move(tensors)) {
    expect("format", detail::packed_format);
    expect("version", detail::packed_version);
    const auto file = tensors_.mapping()->bytes();
    std::uint64_t length = 0;
    std::memcpy(&length, file.data(), sizeof(length));
    expect("checksum", detail::header_checksum(
                           {reinterpret_cast<const char*>(file.data()) + sizeof(length), length}));
    expect("byte_order", detail::native_byte_order);
    bool known = false;
    for (const Precision each : {Precision::full, Precision::bf16, Precision::int8}) {
      if (entry("precision") != name_of(each)) continue;
      precision_ = each;
      known = true;
    }
    if (!known) expect("precision", "float, bf16 or int8");
    check<FormatError>(tensors_.metadata().contains("config"), path(), ": has no 'config'");
  }

  /// Throws FormatError where what the file says about itself is not what it must be.
  void expect(const char* key, std::string_view wanted) const {
    check<FormatError>(entry(key) == wanted, path(),
                       ": is damaged, or not a packed file for this program: its ", key, " is '",
                       detail::Printable{entry(key)}, "', not ", wanted);
  }

  [[nodiscard]] std::string_view entry(const char* key) const {
    const auto found = tensors_.metadata().find(key);
    return found == tensors_.metadata().end() ? std::string_view() : found->second;
  }

  SafetensorsFile tensors_;
  Precision precision_ = Precision::full;
};

/// Writes a packed file atomically, as write_safetensors does. `tensors` are those with words
/// (U32), of which each has a multiple of 64 bytes, and those with numbers (F32).
inline void write_packed_file(const std::string& path, std::span<const TensorToWrite> tensors,
                              Precision precision, const std::string& config) {
  std::vector<const TensorToWrite*> order;
  for (const TensorToWrite& tensor : tensors) order.push_back(&tensor);
  std::stable_partition(order.begin(), order.end(),
                        [](const auto* tensor) { return tensor->dtype == DType::u32; });
  const std::map<std::string, std::string> metadata{
      {"format", std::string(detail::packed_format)},
      {"version", std::string(detail::packed_version)},
      {"byte_order", std::string(detail::native_byte_order)},
      {"precision", std::string(name_of(precision))},
      {"config", config},
      {"checksum", std::string(detail::checksum_digits, '0')}};
  std::string header = detail::safetensors_header(path, order, metadata, detail::packed_alignment);
  detail::seal_header(header);
  detail::write_safetensors_file(path, header, order);
}

}  // namespace eigenformer
