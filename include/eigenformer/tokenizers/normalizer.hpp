// The normalizer stage: text in, changed text out, with the way back to the bytes it came from.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "eigenformer/io/json.hpp"
#include "eigenformer/tokenizers/encoding.hpp"
#include "eigenformer/tokenizers/json_fields.hpp"

namespace eigenformer::detail {

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
