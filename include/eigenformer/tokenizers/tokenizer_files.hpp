// The files of a tokenizer: tokenizer.json as it is, or vocab.json and merges.txt, or vocab.txt,
// with their companions, put into the form of tokenizer.json; spiece.model is sentencepiece.hpp's.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigenformer/base/error.hpp"
#include "eigenformer/io/file.hpp"
#include "eigenformer/io/json.hpp"
#include "eigenformer/tokenizers/added_tokens.hpp"
#include "eigenformer/tokenizers/bpe.hpp"
#include "eigenformer/tokenizers/json_fields.hpp"
#include "eigenformer/tokenizers/tokenizer_json.hpp"
#include "eigenformer/tokenizers/unigram.hpp"
#include "eigenformer/tokenizers/wordpiece.hpp"

namespace eigenformer::detail {

/// The roles that special tokens play, in the words of special_tokens_map.json.
enum class SpecialRole : std::size_t { bos, eos, unk, sep, pad, cls, mask, count };
inline constexpr std::array<const char*, 7> special_role_keys = {
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};

/// The spelling of the token in each role, empty where there is none.
using SpecialNames = std::array<std::string, special_role_keys.size()>;

/// Reads the roles that a file gives, as `"mask_token": "<mask>"` or `{"content": "<mask>", ...}`.
inline void read_special_names(const Json& config, SpecialNames& names) {
  if (!config.is_object()) return;
  for (std::size_t role = 0; role < names.size(); ++role) {
    const auto entry = config.find(special_role_keys[role]);
    if (entry == config.end()) continue;
    if (entry->is_string()) names[role] = entry->get<std::string>();
    if (entry->is_object() && entry->contains("content") && (*entry)["content"].is_string()) {
      names[role] = (*entry)["content"].get<std::string>();
    }
  }
}

/// What the roles are where no file says so: the first of these that is a token.
inline constexpr std::array<std::array<const char*, 3>, 7> usual_special_names = {{
    {"<s>", "<|endoftext|>", "[CLS]"},
    {"</s>", "<|endoftext|>", "[SEP]"},
    {"<unk>", "[UNK]", "<|endoftext|>"},
    {"</s>", "[SEP]", nullptr},
    {"<pad>", "[PAD]", nullptr},
    {"<s>", "[CLS]", nullptr},
    {"<mask>", "[MASK]", nullptr},
}};

/// The usual tokens of those that has(spelling) finds.
template <class Has>
[[nodiscard]] SpecialNames usual_names(Has&& has) {
  SpecialNames names;
  for (std::size_t role = 0; role < names.size(); ++role) {
    for (const char* usual : usual_special_names[role]) {
      if (usual == nullptr || !has(usual)) continue;
      names[role] = usual;
      break;
    }
  }
  return names;
}

/// What stands for tokenizer.json where a folder has spiece.model instead.
struct SentencePieceFiles {
  std::string document;        ///< in the form of tokenizer.json
  std::vector<double> scores;  ///< by id, to the last bit, which the document's digits may lose
  SpecialNames names;          ///< what the roles are where no other file says so
};

/// What reads such a folder: set where a program includes tokenizers/sentencepiece.hpp.
using SentencePieceReader = SentencePieceFiles (*)(const std::string& folder);
inline constinit SentencePieceReader sentencepiece_reader = nullptr;

/// A file that holds a JSON object, or null where it is not there.
[[nodiscard]] inline Json read_object_if_there(const std::string& path) {
  if (!exists(path)) return nullptr;
  Json json = read_json(path);
  check<FormatError>(json.is_object(), path, ": must be an object, not ",
                     std::string_view(json.type_name()));
  return json;
}

/// `model_max_length` of tokenizer_config.json; nothing where that, or the file, is not there.
/// Throws FormatError.
[[nodiscard]] inline std::optional<Index> read_model_max_length(const Json& config,
                                                                const std::string& source) {
  const auto entry = config.is_object() ? config.find("model_max_length") : config.end();
  if (entry == config.end() || entry->is_null()) return std::nullopt;
  check<FormatError>(entry->is_number(), source, ": 'model_max_length' must be a number or null, ",
                     "not ", entry->dump());
  const double length = entry->get<double>();  // 1e30 stands for none
  return length >= 1 && length < 1e9 ? std::optional(static_cast<Index>(length)) : std::nullopt;
}

[[nodiscard]] inline std::shared_ptr<const TokenModel> read_wordpiece(TokenizerJson& document,
                                                                      const Json& model,
                                                                      const std::string& source) {
  check<FormatError>(document.has_vocabulary && !document.has_scores, source,
                     ": model WordPiece needs an object 'vocab'");
  WordPieceOptions options;
  if (auto text = json_text(model, "unk_token", source)) options.unk_token = *std::move(text);
  if (auto text = json_text(model, "continuing_subword_prefix", source)) {
    options.continuing_subword_prefix = *std::move(text);
  }
  if (const auto most = model.find("max_input_chars_per_word"); most != model.end()) {
    check<FormatError>(most->is_number_unsigned(), source,
                       ": 'max_input_chars_per_word' must be a whole number, not ", most->dump());
    options.max_input_chars_per_word = most->get<std::size_t>();
  }
  return std::make_shared<WordPiece>(std::move(document.vocabulary), std::move(options), source);
}

[[nodiscard]] inline std::shared_ptr<const TokenModel> read_unigram(TokenizerJson& document,
                                                                    const Json& model,
                                                                    const std::string& source) {
  check<FormatError>(document.has_scores && !document.has_vocabulary, source,
                     ": model Unigram needs an array 'vocab' of pieces with their scores");
  const auto unk_id = model.find("unk_id");
  check<ConfigError>(unk_id != model.end() && !unk_id->is_null(), source,
                     ": model Unigram without unk_id is not supported");
  const std::optional<TokenId> unknown = json_id(*unk_id);
  check<FormatError>(
      unknown.has_value() && static_cast<std::size_t>(*unknown) < document.scores.size(), source,
      ": unk_id ", unk_id->dump(), " is not the number of one of the ", document.scores.size(),
      " pieces");
  return std::make_shared<Unigram>(std::move(document.vocabulary), std::move(document.scores),
                                   *unknown, json_flag(model, "byte_fallback", false, source));
}

/// The model stage of tokenizer.json. Throws ConfigError for a model that is not supported, by its
/// name, and FormatError for entries that break the format.
[[nodiscard]] inline std::shared_ptr<const TokenModel> read_model(TokenizerJson& document,
                                                                  bool byte_level,
                                                                  const std::string& source) {
  const Json& model = json_stage(document.rest, "model");
  check<FormatError>(model.is_object(), source, ": 'model' must be an object");
  const std::optional<std::string> type = json_text(model, "type", source);
  const std::string inferred = model.contains("merges")                     ? "BPE"
                               : model.contains("max_input_chars_per_word") ? "WordPiece"
                               : document.has_scores                        ? "Unigram"
                                                                            : "without a type";
  if (type.value_or(inferred) == "WordPiece") return read_wordpiece(document, model, source);
  if (type.value_or(inferred) == "Unigram") return read_unigram(document, model, source);
  check<ConfigError>(type.value_or(inferred) == "BPE", source, ": model '",
                     type.value_or("without a type"), "' is not supported");
  check<FormatError>(document.has_vocabulary && !document.has_scores && document.has_merges, source,
                     ": model BPE needs an object 'vocab' and an array 'merges'");
  const auto dropout = model.find("dropout");
  const bool drops = dropout != model.end() && !dropout->is_null() &&
                     (!dropout->is_number() || dropout->get<double>() != 0);
  check<ConfigError>(!drops, source, ": model BPE with dropout is not supported; set it to null");
  BpeOptions options;
  options.byte_level = byte_level;
  options.unk_token = json_text(model, "unk_token", source);
  options.fuse_unk = json_flag(model, "fuse_unk", false, source);
  options.byte_fallback = json_flag(model, "byte_fallback", false, source);
  options.ignore_merges = json_flag(model, "ignore_merges", false, source);
  options.continuing_subword_prefix =
      json_text(model, "continuing_subword_prefix", source).value_or("");
  options.end_of_word_suffix = json_text(model, "end_of_word_suffix", source).value_or("");
  return std::make_shared<Bpe>(std::move(document.vocabulary), document.merges, std::move(options),
                               source);
}

[[nodiscard]] inline AddedToken read_added_token(const Json& entry, const std::string& source) {
  check<FormatError>(entry.is_object() && entry.contains("content") && entry["content"].is_string(),
                     source, ": added token ", entry.dump(), " has no string 'content'");
  AddedToken token;
  token.content = entry["content"].get<std::string>();
  token.special = json_flag(entry, "special", false, source);
  token.single_word = json_flag(entry, "single_word", false, source);
  token.lstrip = json_flag(entry, "lstrip", false, source);
  token.rstrip = json_flag(entry, "rstrip", false, source);
  token.normalized = json_flag(entry, "normalized", !token.special, source);
  const auto found = entry.find("id");
  const std::optional<TokenId> id = found == entry.end() ? std::nullopt : json_id(*found);
  check<FormatError>(id.has_value(), source, ": added token '", token.content, "' has no id in 0..",
                     max_token_id);
  token.id = *id;
  return token;
}

/// The lines of merges.txt as an array of strings; throws FormatError naming the line that does
/// not have two parts.
[[nodiscard]] inline Json merges_of_lines(const std::string& path) {
  const std::string text = read_file(path);
  check<FormatError>(valid_prefix(text) == text.size(), path, ": is not valid UTF-8 at byte ",
                     valid_prefix(text));
  Json::array_t merges;
  std::size_t number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t newline = std::min(text.find('\n', begin), text.size());
    std::string_view line = std::string_view(text).substr(begin, newline - begin);
    begin = newline + 1;
    ++number;
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.substr(0, 8) == "#version") continue;
    if (line.empty() && begin >= text.size()) break;
    (void)split_merge(line, path, ": line ", number);
    merges.emplace_back(std::string(line));
  }
  return merges;
}

/// The lines of vocab.txt, token by token, with their numbers. Throws FormatError.
[[nodiscard]] inline Json vocabulary_of_lines(const std::string& path) {
  const std::string text = read_file(path);
  check<FormatError>(valid_prefix(text) == text.size(), path, ": is not valid UTF-8 at byte ",
                     valid_prefix(text));
  Json::object_t vocabulary;
  Index number = 0;
  for (std::size_t begin = 0; begin < text.size(); ++number) {
    const std::size_t newline = std::min(text.find('\n', begin), text.size());
    std::string_view line = std::string_view(text).substr(begin, newline - begin);
    begin = newline + 1;
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    check<FormatError>(vocabulary.emplace(line, number).second, path, ": line ", number + 1,
                       ": token '", line, "' appears twice");
  }
  return vocabulary;
}

/// The stages of tokenizer.json, but for added tokens, as they are for BERT's vocab.txt.
[[nodiscard]] inline Json bert_stages(Json vocabulary, const Json& config,
                                      const std::string& config_path, const Json& cls,
                                      const Json& sep, const std::string& unk) {
  const Json nothing = Json::object();
  const Json& asked = config.is_object() ? config : nothing;
  check<ConfigError>(json_flag(asked, "do_basic_tokenize", true, config_path), config_path,
                     ": do_basic_tokenize false is not supported");
  Json normalizer = {
      {"type", "BertNormalizer"},
      {"clean_text", true},
      {"handle_chinese_chars", json_flag(asked, "tokenize_chinese_chars", true, config_path)},
      {"lowercase", json_flag(asked, "do_lower_case", true, config_path)}};
  if (asked.contains("strip_accents")) normalizer["strip_accents"] = asked["strip_accents"];
  return {{"normalizer", std::move(normalizer)},
          {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
          {"post_processor", {{"type", "BertProcessing"}, {"sep", sep}, {"cls", cls}}},
          {"decoder", {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}}},
          {"model", {{"type", "WordPiece"}, {"unk_token", unk}, {"vocab", std::move(vocabulary)}}}};
}

/// The added tokens of a folder without tokenizer.json, by their ids: `tokens` to begin with, the
/// special `names`, those of added_tokens.json and of added_tokens_decoder in `config`, which is
/// tokenizer_config.json or null. Throws FormatError.
[[nodiscard]] inline std::vector<AddedToken> read_added_tokens(
    const std::string& folder, const std::string& vocabulary_path, const Json& vocabulary,
    const Json& config, const SpecialNames& names, std::vector<AddedToken> tokens) {
  const Json added_file = read_object_if_there(folder + "/added_tokens.json");
  const auto place = [&](const std::string& content) -> AddedToken& {
    const auto same = [&](const AddedToken& token) { return token.content == content; };
    const auto found = std::find_if(tokens.begin(), tokens.end(), same);
    if (found != tokens.end()) return *found;
    AddedToken& token = tokens.emplace_back();
    token.content = content;
    token.id = -1;  // not known yet
    return token;
  };
  const auto set_id = [](AddedToken& token, const Json& value, const std::string& source) {
    const std::optional<TokenId> id = json_id(value);
    check<FormatError>(id.has_value(), source, ": token '", token.content, "' has id ",
                       value.dump(), ", which is not in 0..", max_token_id);
    token.id = *id;
  };
  if (added_file.is_object()) {
    for (auto entry = added_file.begin(); entry != added_file.end(); ++entry) {
      set_id(place(entry.key()), *entry, folder + "/added_tokens.json");
    }
  }
  for (const std::string& special : names) {
    if (special.empty()) continue;
    AddedToken& token = place(special);
    token.special = true;
    token.normalized = false;
    if (vocabulary.contains(special)) set_id(token, vocabulary[special], vocabulary_path);
  }
  if (config.is_object() && config.contains("added_tokens_decoder") &&
      config["added_tokens_decoder"].is_object()) {
    const std::string source = folder + "/tokenizer_config.json: added_tokens_decoder";
    const Json& entries = config["added_tokens_decoder"];
    for (auto entry = entries.begin(); entry != entries.end(); ++entry) {
      const std::string& id = entry.key();
      check<FormatError>(entry->is_object() && !id.empty() && id.size() < 9 &&
                             id.find_first_not_of("0123456789") == std::string::npos,
                         source, ": '", id, "' is not an id with its token");
      Json with_id = *entry;
      with_id["id"] = std::stoi(id);
      const AddedToken read = read_added_token(with_id, source);
      place(read.content) = read;
    }
  }
  // Tokens that no file numbers come last.
  auto next = static_cast<TokenId>(vocabulary.size());
  for (const AddedToken& token : tokens) next = std::max(next, token.id + 1);
  for (AddedToken& token : tokens) token.id = token.id < 0 ? next++ : token.id;
  std::sort(tokens.begin(), tokens.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  return tokens;
}

[[nodiscard]] inline Json added_tokens_json(const std::vector<AddedToken>& tokens) {
  Json::array_t added;
  for (const AddedToken& token : tokens) {
    added.push_back({{"id", token.id},
                     {"content", token.content},
                     {"single_word", token.single_word},
                     {"lstrip", token.lstrip},
                     {"rstrip", token.rstrip},
                     {"normalized", token.normalized},
                     {"special", token.special}});
  }
  return added;
}

/// tokenizer.json as it would be for vocab.json and merges.txt: RoBERTa's where there are tokens
/// `<s>` and `</s>` and tokenizer_config.json does not say GPT2, else GPT-2's; or for vocab.txt:
/// BERT's.
[[nodiscard]] inline Json tokenizer_json_of_vocabulary(const std::string& folder) {
  const bool lines = !exists(folder + "/vocab.json");
  const std::string vocabulary_path = folder + (lines ? "/vocab.txt" : "/vocab.json");
  Json vocabulary = lines ? vocabulary_of_lines(vocabulary_path) : read_json(vocabulary_path);
  check<FormatError>(vocabulary.is_object(), vocabulary_path, ": must be an object");
  const Json config = read_object_if_there(folder + "/tokenizer_config.json");
  const Json names_file = read_object_if_there(folder + "/special_tokens_map.json");
  const std::string config_path = folder + "/tokenizer_config.json";
  const std::string type =
      config.is_object() ? json_text(config, "tokenizer_class", config_path).value_or("") : "";
  const bool roberta = vocabulary.contains("<s>") && vocabulary.contains("</s>") &&
                       type.find("GPT2") == std::string::npos;

  SpecialNames names = usual_names([&](const char* token) { return vocabulary.contains(token); });
  read_special_names(names_file, names);
  read_special_names(config, names);
  const auto name = [&](SpecialRole role) { return names[static_cast<std::size_t>(role)]; };
  const auto has_flag = [&](const char* key) {
    return config.is_object() && json_flag(config, key, false, config_path);
  };
  const bool add_prefix_space = has_flag("add_prefix_space");

  std::vector<AddedToken> tokens =
      read_added_tokens(folder, vocabulary_path, vocabulary, config, names, {});
  // RoBERTa's mask takes the space before it, whatever the files forgot to say.
  for (AddedToken& token : tokens) {
    token.lstrip = token.lstrip || (roberta && token.content == name(SpecialRole::mask));
  }
  Json added = added_tokens_json(tokens);
  const auto with_id = [&](SpecialRole role) {
    const std::string token = name(role);
    check<FormatError>(vocabulary.contains(token), vocabulary_path, ": special token '", token,
                       "' is not in the vocabulary");
    return Json::array({token, vocabulary[token]});
  };
  if (lines) {
    const Json cls = with_id(SpecialRole::cls);
    const Json sep = with_id(SpecialRole::sep);
    Json made =
        bert_stages(std::move(vocabulary), config, config_path, cls, sep, name(SpecialRole::unk));
    made["added_tokens"] = std::move(added);
    return made;
  }
  const Json byte_level = {{"type", "ByteLevel"},
                           {"add_prefix_space", add_prefix_space},
                           {"trim_offsets", true},
                           {"use_regex", true}};
  Json post_processor = byte_level;
  post_processor["trim_offsets"] = false;
  if (roberta) {
    post_processor = {{"type", "RobertaProcessing"},
                      {"sep", with_id(SpecialRole::sep)},
                      {"cls", with_id(SpecialRole::cls)},
                      {"trim_offsets", true},
                      {"add_prefix_space", add_prefix_space}};
  }
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", std::move(added)},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level},
          {"post_processor", std::move(post_processor)},
          {"decoder", byte_level},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", ""},
            {"end_of_word_suffix", ""},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", false},
            {"vocab", std::move(vocabulary)},
            {"merges", merges_of_lines(folder + "/merges.txt")}}}};
}

}  // namespace eigenformer::detail
