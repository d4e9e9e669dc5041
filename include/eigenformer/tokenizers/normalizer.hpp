// The normalizer stage: text in, changed text out, with the way back to the bytes it came from.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "eigenformer/io/json.hpp"
#include "eigenformer/tokenizers/encoding.hpp"

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

/// Text with the bytes of the input that each of its bytes stands for.
struct AlignedText {
  std::string text;
  std::vector<ByteSpan> spans;  ///< `[text.size()]`
};

class Normalizer {
 public:
  /// Throws ConfigError for a normalizer that is not supported, by its name.
  static Normalizer from_json(const Json& document, const std::string& source) {
    const Json& stage = json_stage(document, "normalizer");
    if (!stage.is_null()) {
      fail<ConfigError>(source, ": normalizer '", stage_type(stage, source, "normalizer"),
                        "' is not supported");
    }
    return {};
  }

  /// Whether text stays as it is.
  [[nodiscard]] bool empty() const noexcept { return true; }
};

}  // namespace eigenformer::detail
