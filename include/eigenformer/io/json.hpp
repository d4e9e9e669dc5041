// JSON files, read strictly: a key that appears twice in one object, nesting beyond
// `max_json_depth`, bytes that are not UTF-8, numbers beyond a double and anything after the
// document are errors that name the file. The grammar is nlohmann's parser; the tree is built here,
// in one pass, since its own builder keeps the last of two equal keys without a word.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "eigenformer/base/error.hpp"
#include "eigenformer/io/file.hpp"

namespace eigenformer {

/// A JSON value. Objects are sorted by key, as HF writes config.json: a lookup in a vocabulary of
/// 50,000 entries is logarithmic. Nothing in the files we read depends on the order of keys.
using Json = nlohmann::json;

/// Deeper nesting is refused; the files of this field need about ten levels.
inline constexpr int max_json_depth = 128;

namespace detail {

/// Text from a file, written in an error message cut off and with control characters visible.
struct Printable {
  std::string_view text;

  [[nodiscard]] std::string to_string() const {
    constexpr std::size_t longest = 200;
    constexpr std::string_view digits = "0123456789abcdef";
    std::string out;
    for (const char c : text.substr(0, longest)) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte < 0x20 || byte == 0x7f) {
        out += "\\x";
        out += digits[byte >> 4];
        out += digits[byte & 15u];
      } else {
        out += c;
      }
    }
    if (text.size() > longest) out += "...";
    return out;
  }
};

/// What nlohmann's parser says, without its "[json.exception.parse_error.101] " in front.
[[nodiscard]] inline std::string_view json_reason(std::string_view what) noexcept {
  const std::size_t bracket = what.find("] ");
  return what.substr(0, 1) == "[" && bracket != std::string_view::npos ? what.substr(bracket + 2)
                                                                       : what;
}

/// Refuses what the parser would take although it is not JSON: a byte order mark is skipped, and
/// a NUL byte ends the document, whatever follows.
inline void check_json_bytes(std::string_view text, std::string_view source) {
  const std::size_t nul = text.find('\0');
  check<FormatError>(nul == std::string_view::npos, source, ": invalid JSON: NUL byte at offset ",
                     nul);
  check<FormatError>(text.substr(0, 3) != "\xEF\xBB\xBF", source,
                     ": invalid JSON: starts with a byte order mark; save it without one");
}

/// What is told about a document, piece by piece.
using JsonEvents = nlohmann::json_sax<Json>;

/// Runs the parser over `text`. One instantiation for all receivers, and not `Json::sax_parse`,
/// which brings the readers of four binary formats along: two seconds of compile time.
inline void parse_json_events(std::string_view text, JsonEvents& events) {
  auto input = nlohmann::detail::input_adapter(text.begin(), text.end());
  nlohmann::detail::parser<Json, decltype(input)>(std::move(input)).sax_parse(&events);
}

/// Receives the parser's events and builds the tree.
class JsonBuilder final : public JsonEvents {
 public:
  JsonBuilder(Json& root, const std::string& source) : root_(root), source_(source) {}

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(std::int64_t value) override { return add(value); }
  bool number_unsigned(std::uint64_t value) override { return add(value); }
  bool number_float(double value, const std::string&) override { return add(value); }
  bool string(std::string& value) override { return add(std::move(value)); }
  bool binary(Json::binary_t&) override { return false; }

  bool start_object(std::size_t) override { return open(Json::value_t::object); }
  bool start_array(std::size_t) override { return open(Json::value_t::array); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(std::string& name) override {
    auto& object = open_.back()->get_ref<Json::object_t&>();
    const auto [place, inserted] = object.try_emplace(std::move(name));
    check<FormatError>(inserted, source_, ": key '", Printable{place->first},
                       "' appears twice in one object");
    slot_ = &place->second;
    return true;
  }

  bool parse_error(std::size_t, const std::string&,
                   const nlohmann::detail::exception& problem) override {
    fail<FormatError>(source_, ": invalid JSON: ", Printable{json_reason(problem.what())});
  }

 private:
  template <class Value>
  bool add(Value&& value) {
    place(std::forward<Value>(value));
    return true;
  }

  /// Puts a value where the document is: into the root, the last key or the end of an array.
  template <class Value>
  Json* place(Value&& value) {
    if (open_.empty()) {
      root_ = Json(std::forward<Value>(value));
      return &root_;
    }
    if (open_.back()->is_array()) {
      return &open_.back()->get_ref<Json::array_t&>().emplace_back(std::forward<Value>(value));
    }
    *slot_ = Json(std::forward<Value>(value));
    return slot_;
  }

  bool open(Json::value_t type) {
    check<FormatError>(open_.size() < static_cast<std::size_t>(max_json_depth), source_,
                       ": JSON is nested deeper than ", max_json_depth, " levels");
    open_.push_back(place(type));
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  Json& root_;
  const std::string& source_;
  std::vector<Json*> open_;  // the containers around the current place, outermost first
  Json* slot_ = nullptr;     // the value of the last key
};

}  // namespace detail

/// Parses a document; `source` names it in errors. Throws FormatError.
[[nodiscard]] inline Json parse_json(std::string_view text, const std::string& source) {
  detail::check_json_bytes(text, source);
  Json root;
  detail::JsonBuilder builder(root, source);
  detail::parse_json_events(text, builder);
  return root;
}

/// Reads and parses a JSON file; throws IoError or FormatError naming it.
[[nodiscard]] inline Json read_json(const std::string& path) {
  return parse_json(read_file(path), path);
}

}  // namespace eigenformer
