// The fields of tokenizer.json and its companions, read with errors that name file and field.
// Numbers and strings are compared after they are taken out: comparing Json values themselves
// compiles slowly.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "eigenformer/base/batch.hpp"
#include "eigenformer/base/error.hpp"
#include "eigenformer/io/json.hpp"
#include "eigenformer/tokenizers/vocabulary.hpp"

namespace eigenformer::detail {

/// A stage of tokenizer.json, or null where it is not there.
[[nodiscard]] inline const Json& json_stage(const Json& document, const char* key) {
  static const Json nothing = nullptr;
  const auto found = document.find(key);
  return found == document.end() ? nothing : *found;
}

/// The `type` of a stage in tokenizer.json; throws FormatError where there is none.
[[nodiscard]] inline const std::string& stage_type(const Json& stage, const std::string& source,
                                                   std::string_view what) {
  const auto type = stage.is_object() ? stage.find("type") : stage.end();
  check<FormatError>(stage.is_object() && type != stage.end() && type->is_string(), source, ": ",
                     what, " must be an object with a string 'type'");
  return type->get_ref<const std::string&>();
}

/// A true or false of a stage; throws FormatError where it is something else.
[[nodiscard]] inline bool json_flag(const Json& object, const char* key, bool otherwise,
                                    const std::string& source) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return otherwise;
  check<FormatError>(found->is_boolean(), source, ": '", std::string_view(key),
                     "' must be true or false, not ", found->dump());
  return found->get<bool>();
}

/// A string, or nothing where it is null or not there; throws FormatError where it is something
/// else.
[[nodiscard]] inline std::optional<std::string> json_text(const Json& object, const char* key,
                                                          const std::string& source) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return std::nullopt;
  check<FormatError>(found->is_string(), source, ": '", std::string_view(key),
                     "' must be a string, not ", found->dump());
  return found->get<std::string>();
}

/// A token's id: the whole number that the value is, or nothing where it is none in
/// 0..max_token_id.
[[nodiscard]] inline std::optional<TokenId> json_id(const Json& value) {
  if (!value.is_number_integer()) return std::nullopt;
  if (value.is_number_unsigned()) {
    const auto id = value.get<std::uint64_t>();
    if (id > static_cast<std::uint64_t>(max_token_id)) return std::nullopt;
    return static_cast<TokenId>(id);
  }
  const auto id = value.get<std::int64_t>();
  if (id < 0 || id > max_token_id) return std::nullopt;
  return static_cast<TokenId>(id);
}

}  // namespace eigenformer::detail
