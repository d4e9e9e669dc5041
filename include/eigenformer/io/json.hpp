// JSON files, read strictly: a key that appears twice in one object and nesting beyond
// `max_json_depth` are errors. The parser itself is nlohmann's.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "eigenformer/base/error.hpp"
#include "eigenformer/io/file.hpp"

namespace eigenformer {

/// Objects keep the order of the file.
using Json = nlohmann::ordered_json;

/// Deeper nesting is refused; the files of this field need about ten levels.
inline constexpr int max_json_depth = 128;

/// Parses a document; `source` names it in errors. Throws FormatError.
[[nodiscard]] inline Json parse_json(std::string_view text, const std::string& source) {
  std::vector<std::set<std::string>> keys;
  const auto strict = [&](int depth, Json::parse_event_t event, Json& parsed) {
    check<FormatError>(depth <= max_json_depth, source, ": JSON is nested deeper than ",
                       max_json_depth, " levels");
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key) {
      const auto& key = parsed.template get_ref<const std::string&>();
      check<FormatError>(keys.back().insert(key).second, source, ": key '", key,
                         "' appears twice in one object");
    }
    return true;
  };
  try {
    return Json::parse(text.begin(), text.end(), strict);
  } catch (const nlohmann::json::exception& problem) {
    fail<FormatError>(source, ": invalid JSON: ", std::string_view(problem.what()));
  }
}

/// Reads and parses a JSON file; throws IoError or FormatError naming it.
[[nodiscard]] inline Json read_json(const std::string& path) {
  return parse_json(read_file(path), path);
}

}  // namespace eigenformer
