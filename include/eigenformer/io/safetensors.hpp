// Safetensors files: named tensors, C order, little endian. Read through a private mapping, so that
// opening costs the header only and a weight can be used where it lies; written atomically, byte
// for byte as the Rust reference writes them: wide types first, then by name.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "eigenformer/base/dtype.hpp"
#include "eigenformer/base/error.hpp"
#include "eigenformer/base/shape.hpp"
#include "eigenformer/io/file.hpp"
#include "eigenformer/io/json.hpp"
#include "eigenformer/io/mapped_file.hpp"
#include "eigenformer/io/safetensors_header.hpp"

namespace eigenformer {

namespace detail {

template <class Scalar>
inline constexpr bool is_narrow_float =
    std::same_as<Scalar, Half> || std::same_as<Scalar, BFloat16>;

/// Whether elements of type `From` can be read as `To`. Whole numbers from fractions cannot, and
/// the 16-bit formats are only copied.
template <class From, class To>
inline constexpr bool can_convert = std::same_as<From, To> ||
                                    (!is_narrow_float<To> &&
                                     (std::floating_point<To> ||
                                      (std::integral<To> && std::integral<From>)));

/// Converts `out.size()` elements that start at `from`, at any alignment. Returns the position of
/// the first one that does not fit, or `out.size()`.
template <class From, class To>
[[nodiscard]] std::size_t convert_elements(const std::byte* from, std::span<To> out) {
  if constexpr (std::same_as<From, To> && !std::same_as<From, bool>) {
    if (!out.empty()) std::memcpy(out.data(), from, out.size_bytes());
  } else if constexpr (std::same_as<From, bool>) {
    // Any byte but 0 is true; a bool holding another bit pattern than 0 and 1 would be undefined.
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<To>(from[i] != std::byte{0});
  } else {
    for (std::size_t i = 0; i < out.size(); ++i) {
      From value;
      std::memcpy(&value, from + i * sizeof(From), sizeof(From));
      if constexpr (std::same_as<To, bool>) {
        if (value != 0 && value != 1) return i;
        out[i] = value != 0;
      } else {
        if constexpr (std::integral<From> && std::integral<To>) {
          if (!std::in_range<To>(value)) return i;
        }
        out[i] = static_cast<To>(value);
      }
    }
  }
  return out.size();
}

/// Calls `f.template operator()<Type>()` with the C++ type of `dtype`.
template <class F>
decltype(auto) with_type_of(DType dtype, F&& f) {
  switch (dtype) {
    case DType::boolean: return f.template operator()<bool>();
    case DType::u8: return f.template operator()<std::uint8_t>();
    case DType::i8: return f.template operator()<std::int8_t>();
    case DType::u16: return f.template operator()<std::uint16_t>();
    case DType::i16: return f.template operator()<std::int16_t>();
    case DType::f16: return f.template operator()<Half>();
    case DType::bf16: return f.template operator()<BFloat16>();
    case DType::u32: return f.template operator()<std::uint32_t>();
    case DType::i32: return f.template operator()<std::int32_t>();
    case DType::f32: return f.template operator()<float>();
    case DType::u64: return f.template operator()<std::uint64_t>();
    case DType::i64: return f.template operator()<std::int64_t>();
    case DType::f64: break;
  }
  return f.template operator()<double>();
}

/// How a shape of any rank is written in errors.
[[nodiscard]] inline std::string shape_text(std::span<const Index> sizes) {
  std::string out = "[";
  for (const Index size : sizes) out += (out.size() > 1 ? ", " : "") + std::to_string(size);
  return out + "]";
}

}  // namespace detail

/// An open safetensors file. Copies share the mapping; nothing is read before it is asked for.
class SafetensorsFile {
 public:
  /// Maps the file and checks its whole header; throws IoError or FormatError naming it.
  [[nodiscard]] static SafetensorsFile open(const std::string& path) {
    return SafetensorsFile(MappedFile::open(path));
  }
  /// The same for reading alone, by MappedFile::open_shared.
  [[nodiscard]] static SafetensorsFile open_shared(const std::string& path) {
    return SafetensorsFile(MappedFile::open_shared(path));
  }

  /// The path that was opened.
  [[nodiscard]] const std::string& path() const noexcept { return mapping_->path(); }
  /// All tensors in the order of their data.
  [[nodiscard]] std::span<const TensorInfo> tensors() const noexcept { return header_.tensors; }
  /// The text that the writer left in `__metadata__`; empty where there is none.
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const noexcept {
    return header_.metadata;
  }
  /// Holds the mapping, so that spans and views outlive this object.
  [[nodiscard]] std::shared_ptr<const MappedFile> mapping() const noexcept { return mapping_; }

  /// The names of all tensors in the order of their data.
  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> names;
    names.reserve(header_.tensors.size());
    for (const TensorInfo& info : header_.tensors) names.push_back(info.name);
    return names;
  }

  /// Whether there is a tensor of that name.
  [[nodiscard]] bool contains(std::string_view name) const noexcept {
    return find(name) != nullptr;
  }

  /// What the header says about a tensor; throws FormatError where there is none of that name.
  [[nodiscard]] const TensorInfo& info(std::string_view name) const {
    const TensorInfo* found = find(name);
    if (found == nullptr) {
      fail<FormatError>(path(), ": has no tensor '", detail::Printable{name}, "' among its ",
                        header_.tensors.size());
    }
    return *found;
  }

  /// The shape of a tensor; throws FormatError beyond 8 axes.
  [[nodiscard]] Shape shape(std::string_view name) const {
    const TensorInfo& tensor = info(name);
    if (tensor.shape.size() > static_cast<std::size_t>(Shape::max_rank)) {
      fail<FormatError>(named(tensor), ": has ", tensor.shape.size(), " axes; at most ",
                        Shape::max_rank, " can be read");
    }
    return Shape(std::span<const Index>(tensor.shape));
  }

  /// The bytes of a tensor where they lie in the file, at any alignment.
  [[nodiscard]] std::span<const std::byte> bytes(std::string_view name) const {
    return bytes(info(name));
  }

  /// Reads a whole tensor, converted to `Scalar`: `out` must have its number of elements. Fractions
  /// are rounded to nearest; they are never read as whole numbers, and a whole number that does not
  /// fit into `Scalar` is an error. Throws ShapeError or FormatError naming file and tensor.
  template <class Scalar>
  void read(std::string_view name, std::span<Scalar> out) const {
    const TensorInfo& tensor = info(name);
    if (static_cast<Index>(out.size()) != tensor.numel()) {
      fail<ShapeError>(named(tensor), ": has ", tensor.numel(), " elements, shape ",
                       detail::shape_text(tensor.shape), ", but is read into ", out.size());
    }
    read_elements(tensor, 0, out);
  }

  /// Reads `out.size()` elements that begin with element `first` in C order; otherwise as read().
  template <class Scalar>
  void read_range(std::string_view name, Index first, std::span<Scalar> out) const {
    const TensorInfo& tensor = info(name);
    const Index count = static_cast<Index>(out.size());
    if (first < 0 || first > tensor.numel() || count > tensor.numel() - first) {
      fail<ShapeError>(named(tensor), ": has ", tensor.numel(), " elements; ", count, " from ",
                       first, " on are out of range");
    }
    read_elements(tensor, first, out);
  }

  /// Reads rows `first` to `first + count` of the first axis; `out` must fit. Otherwise as read().
  template <class Scalar>
  void read_rows(std::string_view name, Index first, Index count, std::span<Scalar> out) const {
    const TensorInfo& tensor = info(name);
    const Index rows = tensor.shape.empty() ? 0 : tensor.shape.front();
    if (first < 0 || count < 0 || first > rows || count > rows - first) {
      fail<ShapeError>(named(tensor), ": rows ", first, " to ", first, " + ", count,
                       " are outside shape ", detail::shape_text(tensor.shape));
    }
    const Index row = rows == 0 ? 0 : tensor.numel() / rows;
    if (static_cast<Index>(out.size()) != row * count) {
      fail<ShapeError>(named(tensor), ": ", count, " rows of ", row, " elements are read into ",
                       out.size());
    }
    read_elements(tensor, first * row, out);
  }

  /// A tensor where it lies in the mapping, or nullptr where its type is another one or it is not
  /// aligned: then read() it. Valid as long as mapping() is held; the memory may be written unless
  /// it is shared.
  template <class Scalar>
  requires(!std::same_as<Scalar, bool>)
      [[nodiscard]] const Scalar* view(std::string_view name) const {
    const TensorInfo& tensor = info(name);
    const std::byte* first = mapping_->data() + tensor.begin;
    const bool aligned = reinterpret_cast<std::uintptr_t>(first) % alignof(Scalar) == 0;
    if (tensor.dtype != dtype_of<Scalar> || !aligned) return nullptr;
    return reinterpret_cast<const Scalar*>(first);
  }

 private:
  explicit SafetensorsFile(std::shared_ptr<const MappedFile> mapping)
      : mapping_(std::move(mapping)),
        header_(parse_safetensors_header(mapping_->bytes(), mapping_->path())),
        by_name_(header_.tensors.size()) {
    std::iota(by_name_.begin(), by_name_.end(), std::uint32_t{0});
    std::sort(by_name_.begin(), by_name_.end(), [&](std::uint32_t a, std::uint32_t b) {
      return header_.tensors[a].name < header_.tensors[b].name;
    });
  }

  [[nodiscard]] const TensorInfo* find(std::string_view name) const noexcept {
    const auto place = std::lower_bound(
        by_name_.begin(), by_name_.end(), name,
        [&](std::uint32_t i, std::string_view wanted) { return header_.tensors[i].name < wanted; });
    if (place == by_name_.end() || header_.tensors[*place].name != name) return nullptr;
    return &header_.tensors[*place];
  }

  [[nodiscard]] detail::TensorLabel named(const TensorInfo& tensor) const noexcept {
    return {path(), tensor.name};
  }

  [[nodiscard]] std::span<const std::byte> bytes(const TensorInfo& tensor) const noexcept {
    return mapping_->bytes().subspan(tensor.begin, tensor.bytes());
  }

  template <class Scalar>
  void read_elements(const TensorInfo& tensor, Index first, std::span<Scalar> out) const {
    if (!tensor.dtype) {
      fail<FormatError>(named(tensor), ": dtype ", tensor.dtype_name,
                        " cannot be read; convert the file to F32, F16 or BF16");
    }
    detail::with_type_of(*tensor.dtype, [&]<class Stored>() {
      if constexpr (detail::can_convert<Stored, Scalar>) {
        const std::byte* from =
            bytes(tensor).data() + static_cast<std::size_t>(first) * sizeof(Stored);
        const std::size_t done = detail::convert_elements<Stored, Scalar>(from, out);
        if (done != out.size()) out_of_range<Stored, Scalar>(tensor, first, from, done);
      } else {
        fail<FormatError>(named(tensor), ": dtype ", tensor.dtype_name, " cannot be read as ",
                          name_of(dtype_of<Scalar>));
      }
    });
  }

  template <class Stored, class Scalar>
  [[noreturn, gnu::cold]] void out_of_range(const TensorInfo& tensor, Index first,
                                            const std::byte* from, std::size_t at) const {
    Stored value{};
    if constexpr (std::integral<Stored> && !std::same_as<Stored, bool>) {
      std::memcpy(&value, from + at * sizeof(Stored), sizeof(Stored));
      fail<FormatError>(named(tensor), ": element ", first + static_cast<Index>(at), " is ", +value,
                        ", which does not fit into ", name_of(dtype_of<Scalar>));
    }
    fail<FormatError>(named(tensor), ": cannot be converted");
  }

  std::shared_ptr<const MappedFile> mapping_;
  SafetensorsHeader header_;
  std::vector<std::uint32_t> by_name_;  // positions in header_.tensors, sorted by name
};

/// Throws FormatError where a model's file says that it was written by an unknown framework: HF
/// asks that `format` in the metadata, if there, is pt, tf, flax or mlx.
inline void check_model_format(const SafetensorsFile& file) {
  const auto found = file.metadata().find("format");
  if (found == file.metadata().end()) return;
  const std::string& format = found->second;
  check<FormatError>(format == "pt" || format == "tf" || format == "flax" || format == "mlx",
                     file.path(), ": metadata 'format' is '", detail::Printable{format},
                     "', but a model's weights are pt, tf, flax or mlx");
}

/// A tensor that is to be written; `bytes` holds its elements in C order and is not copied.
struct TensorToWrite {
  std::string name;                  ///< unique in the file, without NUL, not "__metadata__"
  DType dtype = DType::f32;          ///< the type of its elements
  Shape shape;                       ///< as the header will say it
  std::span<const std::byte> bytes;  ///< as many as dtype and shape ask for
};

namespace detail {

/// `text` as a JSON string; throws FormatError where it is not UTF-8.
[[nodiscard]] inline std::string json_string(const std::string& text, const std::string& path) {
  try {
    return Json(text).dump();
  } catch (const Json::exception&) {
    fail<FormatError>(path, ": '", Printable{text}, "' is not valid UTF-8");
  }
}

/// The place of a type in the writer's order.
[[nodiscard]] inline std::ptrdiff_t safetensors_rank(DType dtype) noexcept {
  return find_safetensors_type(name_of(dtype)) - safetensors_types.data();
}

/// Throws FormatError where a tensor cannot be written.
inline void check_writable(const TensorToWrite& tensor, const std::string& path) {
  const auto& name = tensor.name;
  const TensorLabel label{path, name};
  if (name == "__metadata__" || name.find('\0') != std::string::npos) {
    fail<FormatError>(label, ": no tensor can have this name");
  }
  std::size_t size = size_of(tensor.dtype);
  for (const Index extent : tensor.shape) {
    if (__builtin_mul_overflow(size, static_cast<std::size_t>(extent), &size)) {
      fail<FormatError>(label, ": shape ", tensor.shape, " overflows");
    }
  }
  if (size != tensor.bytes.size()) {
    fail<FormatError>(label, ": shape ", tensor.shape, " of ", name_of(tensor.dtype), " is ", size,
                      " bytes, but ", tensor.bytes.size(), " are given");
  }
}

/// The header of a file that holds `tensors` in this order. It is padded with spaces, so that the
/// data begin at a multiple of `alignment`.
[[nodiscard]] inline std::string safetensors_header(
    const std::string& path, std::span<const TensorToWrite* const> tensors,
    const std::map<std::string, std::string>& metadata, std::size_t alignment) {
  std::string header = "{";
  if (!metadata.empty()) {
    header += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) {
      header += concat(header.back() == '{' ? "" : ",", json_string(key, path), ":",
                       json_string(value, path));
    }
    header += "}";
  }
  std::size_t offset = 0;
  for (const TensorToWrite* tensor : tensors) {
    check_writable(*tensor, path);
    header += concat(header.size() == 1 ? "" : ",", json_string(tensor->name, path),
                     R"(:{"dtype":")", name_of(tensor->dtype), R"(","shape":[)");
    for (const Index& size : std::span(tensor->shape.begin(), tensor->shape.end())) {
      header += concat(&size == tensor->shape.begin() ? "" : ",", size);
    }
    header += concat(R"(],"data_offsets":[)", offset, ",", offset + tensor->bytes.size(), "]}");
    offset += tensor->bytes.size();
  }
  header += "}";
  header.append((alignment - (sizeof(std::uint64_t) + header.size()) % alignment) % alignment, ' ');
  check<FormatError>(header.size() <= max_safetensors_header, path, ": header of ", header.size(),
                     " bytes is too large (at most ", max_safetensors_header, ")");
  return header;
}

/// Writes a header and the data that it lists.
inline void write_safetensors_file(const std::string& path, const std::string& header,
                                   std::span<const TensorToWrite* const> tensors) {
  AtomicFile file(path);
  const std::uint64_t length = header.size();
  file.write(&length, sizeof(length));
  file.write(header);
  for (const TensorToWrite* tensor : tensors) {
    file.write(tensor->bytes.data(), tensor->bytes.size());
  }
  file.commit();
}

}  // namespace detail

/// Writes a safetensors file atomically: readers see the old file or the new one. `metadata` goes
/// into `__metadata__`; HF writes {"format", "pt"}. Throws FormatError for a name that is given
/// twice or cannot be written, or bytes that do not fit their shape; IoError when the disk is full.
inline void write_safetensors(const std::string& path, std::span<const TensorToWrite> tensors,
                              const std::map<std::string, std::string>& metadata = {}) {
  std::vector<const TensorToWrite*> order;
  order.reserve(tensors.size());
  for (const TensorToWrite& tensor : tensors) order.push_back(&tensor);
  std::sort(order.begin(), order.end(),
            [](const auto* a, const auto* b) { return a->name < b->name; });
  for (std::size_t i = 1; i < order.size(); ++i) {
    check<FormatError>(order[i - 1]->name != order[i]->name, path, ": tensor '", order[i]->name,
                       "' is given twice");
  }
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return detail::safetensors_rank(a->dtype) > detail::safetensors_rank(b->dtype);
  });
  detail::write_safetensors_file(
      path, detail::safetensors_header(path, order, metadata, sizeof(std::uint64_t)), order);
}

}  // namespace eigenformer
