// ConfigReader: takes typed values out of a config.json, key by key. A value of the wrong type is
// a ConfigError that names the file, the key, the value and what is allowed; a whole number is
// never taken from 10.0, true or "10". Keys that nobody asked for are kept, not refused.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigenformer/base/error.hpp"
#include "eigenformer/io/folder.hpp"
#include "eigenformer/io/json.hpp"
#include "eigenformer/io/packed_file.hpp"

namespace eigenformer {

/// What config.json in a folder holds, or a packed file of it, and what errors call it. Throws
/// IoError or FormatError.
[[nodiscard]] inline std::pair<Json, std::string> read_config(const std::string& path) {
  if (is_file(path)) return {parse_json(PackedFile::open(path).config(), path), path};
  const FolderLock lock(path, FolderLock::For::reading);
  std::string file = current_file(path, "config.json");
  Json json = read_json(file);
  return {std::move(json), std::move(file)};
}

/// What a family calls a key, as transformers' attribute_map.
struct ConfigKey {
  std::string_view name;          ///< that other families have, such as "hidden_size"
  std::string_view own;           ///< the family's, such as "dim"; empty: it has no such key
  bool reads_both_names = false;  ///< a file may have the other name too
};

/// What a family with those `keys` calls the key `name`: itself, if it is not among them.
[[nodiscard]] constexpr std::string_view own_key(std::span<const ConfigKey> keys,
                                                 std::string_view name) noexcept {
  for (const ConfigKey& key : keys) {
    if (key.name == name) return key.own;
  }
  return name;
}

/// Reads one JSON object; `source` names it in errors. A key that is absent gives the default.
class ConfigReader {
 public:
  /// Keeps references: `json`, `source` and `keys`, the names of a family's own, must outlive the
  /// reader. Throws ConfigError unless `json` is an object.
  ConfigReader(const Json& json, const std::string& source, std::span<const ConfigKey> keys = {})
      : json_(json), source_(source), keys_(keys) {
    check<ConfigError>(json.is_object(), source, ": a configuration is a JSON object, not ",
                       std::string_view(json.type_name()));
  }

  /// What errors call the file.
  [[nodiscard]] const std::string& source() const noexcept { return source_; }

  /// A whole number that fits into `Integer`.
  template <class Integer>
  [[nodiscard]] Integer whole(const char* key, Integer absent) {
    const Json* value = find(key);
    return value == nullptr ? absent : whole_value<Integer>(key, *value);
  }

  /// A whole number or null.
  template <class Integer>
  [[nodiscard]] std::optional<Integer> whole_or_null(const char* key,
                                                     std::optional<Integer> absent) {
    const Json* value = find(key);
    if (value == nullptr) return absent;
    if (value->is_null()) return std::nullopt;
    return whole_value<Integer>(key, *value, " or null");
  }

  /// A whole number, a list of them, or null: an empty list.
  template <class Integer>
  [[nodiscard]] std::vector<Integer> wholes(const char* key, std::vector<Integer> absent) {
    const Json* value = find(key);
    if (value == nullptr) return absent;
    if (value->is_null()) return {};
    if (!value->is_array()) return {whole_value<Integer>(key, *value, ", a list of them or null")};
    std::vector<Integer> all;
    for (const Json& item : *value) all.push_back(whole_value<Integer>(key, item));
    return all;
  }

  /// Any number.
  [[nodiscard]] double number(const char* key, double absent) {
    const Json* value = find(key);
    if (value == nullptr) return absent;
    if (!value->is_number()) refuse(key, *value, "a number");
    return value->get<double>();
  }

  /// Any number or null.
  [[nodiscard]] std::optional<double> number_or_null(const char* key,
                                                     std::optional<double> absent = {}) {
    const Json* value = find(key);
    if (value == nullptr) return absent;
    if (value->is_null()) return std::nullopt;
    if (!value->is_number()) refuse(key, *value, "a number or null");
    return value->get<double>();
  }

  /// true or false.
  [[nodiscard]] bool boolean(const char* key, bool absent) {
    const Json* value = find(key);
    if (value == nullptr) return absent;
    if (!value->is_boolean()) refuse(key, *value, "true or false");
    return value->get<bool>();
  }

  /// true, false or null, which means the default.
  [[nodiscard]] bool boolean_or_null(const char* key, bool absent) {
    const Json* value = find(key);
    if (value == nullptr || value->is_null()) return absent;
    if (!value->is_boolean()) refuse(key, *value, "true, false or null");
    return value->get<bool>();
  }

  /// A string.
  [[nodiscard]] std::string text(const char* key, std::string absent) {
    const Json* value = find(key);
    if (value == nullptr) return absent;
    if (!value->is_string()) refuse(key, *value, "a string");
    return value->get<std::string>();
  }

  /// A string or null.
  [[nodiscard]] std::optional<std::string> text_or_null(const char* key) {
    const Json* value = find(key);
    if (value == nullptr || value->is_null()) return std::nullopt;
    if (!value->is_string()) refuse(key, *value, "a string or null");
    return value->get<std::string>();
  }

  /// A list of strings; null and absent: empty.
  [[nodiscard]] std::vector<std::string> texts(const char* key) {
    const Json* value = find(key);
    if (value == nullptr || value->is_null()) return {};
    if (!value->is_array()) refuse(key, *value, "a list of strings or null");
    std::vector<std::string> all;
    for (const Json& item : *value) {
      if (!item.is_string()) refuse(key, *value, "a list of strings or null");
      all.push_back(item.get<std::string>());
    }
    return all;
  }

  /// An object; nullptr where it is null or absent.
  [[nodiscard]] const Json* object(const char* key) {
    const Json* value = find(key);
    if (value == nullptr || value->is_null()) return nullptr;
    if (!value->is_object()) refuse(key, *value, "an object or null");
    return value;
  }

  /// What is left: an object of the keys that were not asked for.
  [[nodiscard]] Json rest() const {
    Json kept = Json::object();
    for (const auto& [key, value] : json_.items()) {
      if (asked_.count(key) == 0) kept[key] = value;
    }
    return kept;
  }

  /// Throws: `value` of `key` is not `allowed`.
  [[noreturn, gnu::cold]] void refuse(std::string_view key, const Json& value,
                                      std::string_view allowed) const {
    std::string shown = value.dump(-1, ' ', false, Json::error_handler_t::replace);
    if (shown.size() > 80) shown = shown.substr(0, 77) + "...";
    fail<ConfigError>(source_, ": '", own_key(keys_, key), "' is ", shown, "; it must be ",
                      allowed);
  }

 private:
  const Json* find(std::string_view name) {
    for (const ConfigKey& key : keys_) {
      if (key.name != name) continue;
      const Json* const general = key.reads_both_names ? value_of(name) : nullptr;
      const Json* const own = key.own.empty() ? nullptr : value_of(key.own);
      return own != nullptr ? own : general;
    }
    return value_of(name);
  }

  const Json* value_of(std::string_view key) {
    asked_.emplace(key);
    const auto found = json_.find(key);
    return found == json_.end() ? nullptr : &*found;
  }

  template <class Integer>
  Integer whole_value(const char* key, const Json& value, std::string_view alternative = "") const {
    using Limits = std::numeric_limits<Integer>;
    const bool fits =
        value.is_number_unsigned()
            ? std::in_range<Integer>(value.get<std::uint64_t>())
            : value.is_number_integer() && std::in_range<Integer>(value.get<std::int64_t>());
    if (!fits) {
      refuse(
          key, value,
          concat("a whole number", alternative, ", from ", Limits::min(), " to ", Limits::max()));
    }
    return value.get<Integer>();
  }

  const Json& json_;
  const std::string& source_;
  std::span<const ConfigKey> keys_;
  std::set<std::string, std::less<>> asked_;
};

}  // namespace eigenformer
