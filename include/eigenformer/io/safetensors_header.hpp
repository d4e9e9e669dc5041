// The header of a safetensors file: 8 bytes of length N (little endian), N bytes of JSON, the data.
//   {"__metadata__": {text: text}, "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0,
//   24]}}
// Files come from strangers, so nothing is believed: the tensors must cover the data exactly, in
// some order, without holes or overlaps, and no size may overflow. Refused is what the Rust
// reference (0.8.0) refuses, and what it lets pass by accident: a tensor name that appears twice or
// holds NUL, an entry written as an array, a size beyond 2^63-1.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigenformer/base/dtype.hpp"
#include "eigenformer/base/error.hpp"
#include "eigenformer/base/shape.hpp"
#include "eigenformer/io/json.hpp"

namespace eigenformer {

/// Longer headers are refused, here and by every other reader.
inline constexpr std::size_t max_safetensors_header = 100'000'000;

/// One tensor of a file: what the header says about it.
struct TensorInfo {
  std::string name;             ///< unique in the file
  std::string_view dtype_name;  ///< as in the header, such as "BF16"
  std::optional<DType> dtype;   ///< empty: a format that is listed but cannot be read, as F8_E4M3
  std::vector<Index> shape;     ///< of any rank; no size is negative
  std::size_t begin = 0;        ///< first byte, counted from the start of the file
  std::size_t end = 0;          ///< one past the last byte

  /// Bytes of the data.
  [[nodiscard]] std::size_t bytes() const noexcept { return end - begin; }
  /// How many elements; never overflows, since the header has been checked.
  [[nodiscard]] Index numel() const noexcept {
    // Sizes are multiplied as unsigned: [0, 2^62, 8] is a legal way to write an empty tensor.
    std::uint64_t product = 1;
    for (const Index size : shape) product *= static_cast<std::uint64_t>(size);
    return static_cast<Index>(product);
  }
};

/// A header that has been checked against the size of its file.
struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;              ///< in the order of their data
  std::map<std::string, std::string> metadata;  ///< `__metadata__`, sorted
};

namespace detail {

struct SafetensorsType {
  std::string_view name;
  unsigned bits;
  std::optional<DType> dtype;
};

/// Every element type of the format, by ascending alignment: the writer sorts by this order.
inline constexpr std::array<SafetensorsType, 22> safetensors_types = {{
    {"BOOL", 8, DType::boolean},
    {"F4", 4, {}},
    {"F6_E2M3", 6, {}},
    {"F6_E3M2", 6, {}},
    {"U8", 8, DType::u8},
    {"I8", 8, DType::i8},
    {"F8_E5M2", 8, {}},
    {"F8_E4M3", 8, {}},
    {"F8_E8M0", 8, {}},
    {"F8_E4M3FNUZ", 8, {}},
    {"F8_E5M2FNUZ", 8, {}},
    {"I16", 16, DType::i16},
    {"U16", 16, DType::u16},
    {"F16", 16, DType::f16},
    {"BF16", 16, DType::bf16},
    {"I32", 32, DType::i32},
    {"U32", 32, DType::u32},
    {"F32", 32, DType::f32},
    {"C64", 64, {}},
    {"F64", 64, DType::f64},
    {"I64", 64, DType::i64},
    {"U64", 64, DType::u64},
}};

/// The type of that name, or nullptr.
[[nodiscard]] inline const SafetensorsType* find_safetensors_type(std::string_view name) noexcept {
  for (const auto& type : safetensors_types) {
    if (type.name == name) return &type;
  }
  return nullptr;
}

/// How errors name a tensor of a file.
struct TensorLabel {
  std::string_view file;
  std::string_view name;

  [[nodiscard]] std::string to_string() const {
    return concat(file, ": tensor '", Printable{name}, "'");
  }
};

/// Receives the parser's events and collects the entries; a state machine without a tree, so that
/// repeated fields are seen and a hostile header costs no more than a few times its own size.
class SafetensorsHeaderReader final : public JsonEvents {
 public:
  /// An entry as written: offsets count from the start of the data.
  struct Entry {
    TensorInfo info;
    const SafetensorsType* type = nullptr;
  };

  explicit SafetensorsHeaderReader(const std::string& source) : source_(source) {}

  [[nodiscard]] std::vector<Entry>& entries() noexcept { return entries_; }
  [[nodiscard]] std::map<std::string, std::string>& metadata() noexcept { return metadata_; }

  bool null() override {
    if (at_ == At::header && is_metadata_) return true;  // "__metadata__": null
    return scalar("null");
  }
  bool boolean(bool) override { return scalar("a boolean"); }
  bool number_integer(std::int64_t) override { return scalar("a negative number"); }
  bool number_float(double, const std::string&) override {
    return scalar("a number with a fraction");
  }

  bool number_unsigned(std::uint64_t value) override {
    if (at_ == At::shape) {
      check<FormatError>(value <= PTRDIFF_MAX, where(), ": size ", value, " is too large");
      entry_.info.shape.push_back(static_cast<Index>(value));
      return true;
    }
    if (at_ == At::offsets) {
      check<FormatError>(offsets_ < 2, where(), ": data_offsets must be two numbers, not more");
      (offsets_++ == 0 ? entry_.info.begin : entry_.info.end) = value;
      return true;
    }
    return scalar("a number");
  }

  bool string(std::string& value) override {
    if (at_ == At::metadata) {
      metadata_[metadata_key_] = std::move(value);
      return true;
    }
    if (at_ == At::entry && field_ == Field::dtype) {
      entry_.type = find_safetensors_type(value);
      check<FormatError>(entry_.type != nullptr, where(), ": unknown dtype '", Printable{value},
                         "'");
      return true;
    }
    return scalar("text");
  }

  bool binary(Json::binary_t&) override { return false; }

  bool start_object(std::size_t) override {
    enter();
    switch (at_) {
      case At::document: at_ = At::header; return true;
      case At::header:
        at_ = is_metadata_ ? At::metadata : At::entry;
        seen_ = 0;
        return true;
      case At::skipped: ++skipped_; return true;
      case At::entry:
        if (field_ == Field::unknown) return skip();
        break;
      case At::metadata:
      case At::shape:
      case At::offsets: break;
    }
    return scalar("an object");
  }

  bool start_array(std::size_t) override {
    enter();
    if (at_ == At::skipped) {
      ++skipped_;
      return true;
    }
    if (at_ == At::entry) {
      if (field_ == Field::unknown) return skip();
      if (field_ == Field::shape) {
        at_ = At::shape;
        return true;
      }
      if (field_ == Field::offsets) {
        at_ = At::offsets;
        return true;
      }
    }
    return scalar("an array");
  }

  bool key(std::string& name) override {
    switch (at_) {
      case At::header: return start_entry(name);
      case At::metadata: metadata_key_ = std::move(name); return true;
      case At::entry: return start_field(name);
      default: return true;
    }
  }

  bool end_object() override {
    --depth_;
    switch (at_) {
      case At::entry: finish_entry(); [[fallthrough]];
      case At::metadata: at_ = At::header; break;
      case At::skipped: leave_skipped(); break;
      default: break;
    }
    return true;
  }

  bool end_array() override {
    --depth_;
    if (at_ == At::skipped) {
      leave_skipped();
    } else {
      check<FormatError>(at_ != At::offsets || offsets_ == 2, where(),
                         ": data_offsets must be two numbers, not ", offsets_);
      at_ = At::entry;
    }
    return true;
  }

  bool parse_error(std::size_t, const std::string&,
                   const nlohmann::detail::exception& problem) override {
    fail<FormatError>(source_,
                      ": invalid JSON in the header: ", Printable{json_reason(problem.what())});
  }

 private:
  enum class At : std::uint8_t { document, header, metadata, entry, shape, offsets, skipped };
  enum class Field : std::uint8_t { dtype = 1, shape = 2, offsets = 4, unknown = 0 };

  /// What is being read, for an error; written out only when there is one.
  struct Place {
    const SafetensorsHeaderReader& reader;

    [[nodiscard]] std::string to_string() const {
      if (reader.at_ == At::document) return concat(reader.source_, ": header");
      if (reader.is_metadata_) return concat(reader.source_, ": __metadata__");
      return TensorLabel{reader.source_, reader.entry_.info.name}.to_string();
    }
  };
  [[nodiscard]] Place where() const noexcept { return {*this}; }

  /// A value that is of no use where it stands: ignored inside unknown fields, else an error.
  bool scalar(std::string_view what) {
    switch (at_) {
      case At::skipped: return true;
      case At::entry:
        if (field_ == Field::unknown) return true;
        fail<FormatError>(where(), ": ",
                          field_ == Field::dtype   ? "dtype must be text"
                          : field_ == Field::shape ? "shape must be an array"
                                                   : "data_offsets must be an array",
                          ", not ", what);
      case At::document: fail<FormatError>(where(), " must be a JSON object, not ", what);
      case At::header: fail<FormatError>(where(), ": must be a JSON object, not ", what);
      case At::metadata:
        fail<FormatError>(where(), ": value of '", Printable{metadata_key_}, "' must be text, not ",
                          what);
      case At::shape:
      case At::offsets:
        fail<FormatError>(where(), ": ", at_ == At::shape ? "shape" : "data_offsets",
                          " must hold whole numbers from 0 to 2^64-1, not ", what);
    }
    return true;
  }

  void enter() {
    constexpr int deepest = 127;  // as the reference
    check<FormatError>(++depth_ <= deepest, source_, ": header is nested deeper than ", deepest,
                       " levels");
  }

  bool skip() {
    at_ = At::skipped;
    skipped_ = 1;
    return true;
  }

  void leave_skipped() {
    if (--skipped_ == 0) at_ = At::entry;
  }

  bool start_entry(std::string& name) {
    is_metadata_ = name == "__metadata__";
    if (is_metadata_) {
      check<FormatError>(!has_metadata_, source_, ": __metadata__ appears twice");
      has_metadata_ = true;
      return true;
    }
    entry_ = Entry{};
    offsets_ = 0;
    entry_.info.name = std::move(name);
    check<FormatError>(entry_.info.name.find('\0') == std::string::npos, where(),
                       ": a name must not hold NUL");
    return true;
  }

  bool start_field(std::string_view name) {
    field_ = name == "dtype"          ? Field::dtype
             : name == "shape"        ? Field::shape
             : name == "data_offsets" ? Field::offsets
                                      : Field::unknown;
    const auto bit = static_cast<unsigned>(field_);
    check<FormatError>((seen_ & bit) == 0, where(), ": field '", name, "' appears twice");
    seen_ |= bit;
    return true;
  }

  void finish_entry() {
    for (const auto& [field, name] : {std::pair{Field::dtype, "dtype"},
                                      {Field::shape, "shape"},
                                      {Field::offsets, "data_offsets"}}) {
      check<FormatError>((seen_ & static_cast<unsigned>(field)) != 0, where(), ": field '", name,
                         "' is missing");
    }
    entry_.info.dtype_name = entry_.type->name;
    entry_.info.dtype = entry_.type->dtype;
    entries_.push_back(std::move(entry_));
  }

  const std::string& source_;
  std::vector<Entry> entries_;
  std::map<std::string, std::string> metadata_;
  bool has_metadata_ = false;

  At at_ = At::document;
  int depth_ = 0;
  int skipped_ = 0;           // containers open inside an unknown field
  bool is_metadata_ = false;  // the last key of the header was __metadata__
  std::string metadata_key_;
  Entry entry_;
  Field field_ = Field::unknown;
  unsigned seen_ = 0;  // fields of this entry, as bits
  int offsets_ = 0;    // how many of data_offsets have been read
};

/// Throws FormatError where two tensors have one name.
inline void check_unique_names(const std::vector<SafetensorsHeaderReader::Entry>& entries,
                               const std::string& source) {
  std::vector<std::string_view> names;
  names.reserve(entries.size());
  for (const auto& entry : entries) names.push_back(entry.info.name);
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) {
    fail<FormatError>(TensorLabel{source, *twice}, " appears twice in the header");
  }
}

/// The bytes that dtype and shape ask for; throws FormatError on overflow or half bytes.
[[nodiscard]] inline std::uint64_t safetensors_size(const SafetensorsHeaderReader::Entry& entry,
                                                    const std::string& source) {
  const TensorLabel label{source, entry.info.name};
  std::uint64_t bits = 1;
  bool fits = true;
  for (const Index size : entry.info.shape) {
    fits = fits && !__builtin_mul_overflow(bits, static_cast<std::uint64_t>(size), &bits);
  }
  fits = fits && !__builtin_mul_overflow(bits, std::uint64_t{entry.type->bits}, &bits);
  if (!fits) {
    fail<FormatError>(label, ": its shape overflows: the sizes times ", entry.type->bits,
                      " bits do not fit into 64 bits");
  }
  if (bits % 8 != 0) {
    fail<FormatError>(label, ": its ", bits, " bits of ", entry.type->name, " are not whole bytes");
  }
  return bits / 8;
}

}  // namespace detail

/// Reads and checks the header of a whole file's bytes; `source` names the file in errors.
/// Throws FormatError for everything that is wrong with it, naming the tensor where there is one.
[[nodiscard]] inline SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file,
                                                                const std::string& source) {
  static_assert(std::endian::native == std::endian::little, "big-endian machines: not supported");
  check<FormatError>(file.size() >= 8, source, ": not a safetensors file: ", file.size(),
                     " bytes are too few for a header");
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), sizeof(length));
  check<FormatError>(length <= max_safetensors_header, source,
                     ": not a safetensors file: header too large, ", length, " bytes (at most ",
                     max_safetensors_header, ")");
  check<FormatError>(length <= file.size() - 8, source, ": header of ", length,
                     " bytes reaches beyond the end of the file, which has ", file.size(),
                     " bytes; an incomplete download?");

  const std::string_view text(reinterpret_cast<const char*>(file.data()) + 8, length);
  detail::check_json_bytes(text, source);
  detail::SafetensorsHeaderReader reader(source);
  detail::parse_json_events(text, reader);

  auto& entries = reader.entries();
  detail::check_unique_names(entries, source);
  std::stable_sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    return std::pair(a.info.begin, a.info.end) < std::pair(b.info.begin, b.info.end);
  });

  SafetensorsHeader header;
  header.metadata = std::move(reader.metadata());
  header.tensors.reserve(entries.size());
  const std::size_t start = 8 + length;
  std::size_t expected = 0;  // where the next tensor must begin
  for (auto& entry : entries) {
    TensorInfo& info = entry.info;
    if (info.begin != expected || info.end < info.begin) {
      fail<FormatError>(detail::TensorLabel{source, info.name}, ": data_offsets [", info.begin,
                        ", ", info.end, "] leave a hole or overlap: they must start at ", expected,
                        ", where the one before ends, and not decrease");
    }
    const std::uint64_t size = detail::safetensors_size(entry, source);
    if (info.end - info.begin != size) {
      fail<FormatError>(detail::TensorLabel{source, info.name}, ": data_offsets [", info.begin,
                        ", ", info.end, "] hold ", info.end - info.begin, " bytes but dtype ",
                        info.dtype_name, " and shape need ", size);
    }
    if (info.end > file.size() - start) {
      fail<FormatError>(detail::TensorLabel{source, info.name}, ": ends at byte ", info.end,
                        " of the data, which has only ", file.size() - start,
                        " bytes; an incomplete download?");
    }
    expected = info.end;
    info.begin += start;
    info.end += start;
    header.tensors.push_back(std::move(info));
  }
  check<FormatError>(expected == file.size() - start, source, ": ", file.size() - start - expected,
                     " bytes after the last tensor belong to no tensor");
  return header;
}

}  // namespace eigenformer
