// The post-processor stage: trims offsets and puts the special tokens of a template around one text
// or two.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigenformer/io/json.hpp"
#include "eigenformer/tokenizers/encoding.hpp"
#include "eigenformer/tokenizers/json_fields.hpp"

namespace eigenformer::detail {

/// A text of the template, or special tokens.
struct TemplatePart {
  int sequence = -1;  ///< 0 or 1; -1: special tokens
  TokenId type_id = 0;
  std::vector<TokenId> ids;
};
using Template = std::vector<TemplatePart>;

class PostProcessor {
 public:
  /// Throws ConfigError for a post-processor that is not supported, by its name.
  static PostProcessor from_json(const Json& document, const std::string& source) {
    PostProcessor made;
    const Json& stage = json_stage(document, "post_processor");
    if (!stage.is_null()) made.add(stage, source);
    return made;
  }

  [[nodiscard]] const Template& parts(bool pair) const noexcept { return pair ? pair_ : single_; }

  /// Whether any token has a type other than 0.
  [[nodiscard]] bool has_types(bool pair) const noexcept {
    for (const TemplatePart& part : parts(pair)) {
      if (part.type_id != 0) return true;
    }
    return false;
  }

  /// Whether the second text of a pair stands before the first.
  [[nodiscard]] bool second_first(bool pair) const noexcept {
    for (const TemplatePart& part : parts(pair)) {
      if (part.sequence >= 0) return part.sequence == 1;
    }
    return false;
  }

  /// How many special tokens the template adds.
  [[nodiscard]] std::size_t added(bool pair) const noexcept {
    std::size_t count = 0;
    for (const TemplatePart& part : parts(pair)) count += part.ids.size();
    return count;
  }

  /// The type that a text's tokens have in overflowing windows, where HF applies only a template
  /// that is not read from the file, and only with special tokens.
  [[nodiscard]] TokenId overflow_type(int sequence, bool add_special_tokens) const noexcept {
    return add_special_tokens ? overflow_types_[static_cast<std::size_t>(sequence)] : sequence;
  }

  /// One entry for each time that offsets are trimmed: whether a lone space in front of the first
  /// token counts as added, and stays.
  [[nodiscard]] const std::vector<bool>& trims() const noexcept { return trims_; }

 private:
  void add(const Json& stage, const std::string& source) {
    const std::string& type = stage_type(stage, source, "post_processor");
    if (type == "Sequence") {
      const auto parts = stage.find("processors");
      check<FormatError>(parts != stage.end() && parts->is_array(), source,
                         ": post_processor Sequence needs an array 'processors'");
      for (const Json& part : *parts) add(part, source);
      return;
    }
    if (type == "ByteLevel") {
      if (json_flag(stage, "trim_offsets", true, source)) {
        trims_.push_back(json_flag(stage, "add_prefix_space", true, source));
      }
      return;
    }
    check<ConfigError>(!has_template_, source, ": a second template, post_processor '", type,
                       "', is not supported");
    has_template_ = true;
    if (type == "RobertaProcessing") {
      if (json_flag(stage, "trim_offsets", true, source)) {
        trims_.push_back(json_flag(stage, "add_prefix_space", true, source));
      }
      wrap(stage, source, {0, 0}, /*doubled_separator=*/true);
    } else if (type == "BertProcessing") {
      wrap(stage, source, {0, 1}, /*doubled_separator=*/false);
    } else if (type == "TemplateProcessing") {
      single_ = read_template(stage, "single", 1, source);
      pair_ = read_template(stage, "pair", 2, source);
    } else {
      fail<ConfigError>(source, ": post_processor '", type, "' is not supported");
    }
  }

  /// cls A sep | sep B sep, or cls A sep | B sep.
  void wrap(const Json& stage, const std::string& source, std::array<TokenId, 2> types,
            bool doubled_separator) {
    const TokenId cls = special_id(stage, "cls", source);
    const TokenId sep = special_id(stage, "sep", source);
    overflow_types_ = types;
    single_ = {{-1, types[0], {cls}}, {0, types[0], {}}, {-1, types[0], {sep}}};
    pair_ = single_;
    if (doubled_separator) pair_.push_back({-1, types[1], {sep}});
    pair_.push_back({1, types[1], {}});
    pair_.push_back({-1, types[1], {sep}});
  }

  /// The id in `"cls": ["<s>", 0]`.
  static TokenId special_id(const Json& stage, const char* key, const std::string& source) {
    const auto found = stage.find(key);
    check<FormatError>(found != stage.end() && found->is_array() && found->size() == 2, source,
                       ": post_processor: '", std::string_view(key), "' must be [\"token\", id]");
    return required_id((*found)[1], source);
  }

  static TokenId required_id(const Json& value, const std::string& source) {
    const std::optional<TokenId> id = json_id(value);
    check<FormatError>(id.has_value(), source, ": post_processor: ", value.dump(),
                       " is not a token id");
    return *id;
  }

  static Template read_template(const Json& stage, const char* key, int sequences,
                                const std::string& source) {
    const auto found = stage.find(key);
    check<FormatError>(found != stage.end() && found->is_array(), source,
                       ": post_processor TemplateProcessing needs an array '",
                       std::string_view(key), "'");
    Template parts;
    std::array<int, 2> seen{};
    for (const Json& entry : *found) {
      check<FormatError>(entry.is_object() && entry.size() == 1, source, ": template '",
                         std::string_view(key), "': ", entry.dump(),
                         " is neither a Sequence nor a SpecialToken");
      const std::string& kind = entry.begin().key();
      const Json& value = entry.begin().value();
      check<FormatError>((kind == "Sequence" || kind == "SpecialToken") && value.is_object() &&
                             value.contains("id") && value["id"].is_string(),
                         source, ": template '", std::string_view(key), "': ", entry.dump(),
                         " is neither a Sequence nor a SpecialToken with an 'id'");
      const std::string& id = value["id"].get_ref<const std::string&>();
      TemplatePart part;
      if (value.contains("type_id")) part.type_id = required_id(value["type_id"], source);
      if (kind == "Sequence") {
        check<FormatError>(id == "A" || id == "B", source, ": template '", std::string_view(key),
                           "': sequence '", id, "' is neither A nor B");
        part.sequence = id == "B" ? 1 : 0;
        ++seen[static_cast<std::size_t>(part.sequence)];
      } else {
        part.ids = special_ids(stage, id, source);
      }
      parts.push_back(std::move(part));
    }
    check<ConfigError>(seen[0] == 1 && seen[1] == sequences - 1, source, ": template '",
                       std::string_view(key), "' must hold each text once");
    return parts;
  }

  static std::vector<TokenId> special_ids(const Json& stage, const std::string& name,
                                          const std::string& source) {
    const auto specials = stage.find("special_tokens");
    const bool known = specials != stage.end() && specials->is_object() && specials->contains(name);
    check<FormatError>(known && (*specials)[name].is_object() &&
                           (*specials)[name].contains("ids") && (*specials)[name]["ids"].is_array(),
                       source, ": template: special token '", name,
                       "' has no ids in 'special_tokens'");
    std::vector<TokenId> ids;
    for (const Json& id : (*specials)[name]["ids"]) ids.push_back(required_id(id, source));
    return ids;
  }

  Template single_ = {{0, 0, {}}};
  Template pair_ = {{0, 0, {}}, {1, 1, {}}};
  std::array<TokenId, 2> overflow_types_ = {0, 1};
  std::vector<bool> trims_;
  bool has_template_ = false;
};

}  // namespace eigenformer::detail
