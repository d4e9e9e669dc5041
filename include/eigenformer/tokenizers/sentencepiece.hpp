// ALBERT's spiece.model (Lan et al., arXiv:1909.11942) through the sentencepiece library (Kudo and
// Richardson, arXiv:1808.06226): a program that includes this file opens folders that have it in
// place of tokenizer.json, by Tokenizer::from_pretrained and all that calls it. The tokenizer is
// the one that AlbertTokenizer of transformers 5.15.1 makes of the same files.
// Needs sentencepiece_processor.h (Debian: libsentencepiece-dev), and is in no umbrella header:
// link libsentencepiece.
#pragma once

#include <sys/stat.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigenformer/base/error.hpp"
#include "eigenformer/io/file.hpp"
#include "eigenformer/io/json.hpp"
#include "eigenformer/tokenizers/added_tokens.hpp"
#include "eigenformer/tokenizers/json_fields.hpp"
#include "eigenformer/tokenizers/precompiled.hpp"
#include "eigenformer/tokenizers/tokenizer_files.hpp"
#include "eigenformer/tokenizers/unicode.hpp"

#include <sentencepiece_processor.h>

namespace eigenformer::detail {

/// Calls field(number, value, bytes) for each field of a message in the wire format of Protocol
/// Buffers: `value` of a whole number, or the `bytes` of anything longer. Throws FormatError.
template <class Field>
void for_each_field(std::string_view message, const std::string& source, Field&& field) {
  const auto require = [&](bool condition) {
    check<FormatError>(condition, source, ": is no model of sentencepiece, or a damaged one");
  };
  const auto take_number = [&] {
    std::uint64_t number = 0;
    for (int shift = 0;; shift += 7) {
      require(!message.empty() && shift < 64);
      const auto byte = static_cast<unsigned char>(message.front());
      message.remove_prefix(1);
      number |= std::uint64_t{byte & 0x7FU} << shift;
      if (byte < 0x80) return number;
    }
  };
  while (!message.empty()) {
    const std::uint64_t key = take_number();
    enum : std::uint64_t { number = 0, eight_bytes = 1, sized = 2, four_bytes = 5 };
    const std::uint64_t wire = key % 8;
    require(wire == number || wire == eight_bytes || wire == sized || wire == four_bytes);
    std::uint64_t value = 0;
    std::size_t size = wire == eight_bytes ? 8 : wire == four_bytes ? 4 : 0;
    if (wire == number) value = take_number();
    if (wire == sized) size = take_number();
    require(size <= message.size());
    field(key / 8, value, message.substr(0, size));
    message.remove_prefix(size);
  }
}

/// What the library has but does not give: Debian's package comes without the header of its
/// message, sentencepiece_model.pb.h, and SentencePieceProcessor has no function for these.
struct SentencePieceDetails {
  std::uint64_t model_type = 1;  ///< of TrainerSpec: 1 stands for unigram
  std::string character_map;     ///< precompiled_charsmap of NormalizerSpec
  std::vector<bool> added;       ///< by id: whether a piece is user-defined
  bool self_test = false;        ///< whether there are texts that the library would try out

  SentencePieceDetails(std::string_view model, const std::string& source) {
    for_each_field(model, source, [&](std::uint64_t part, std::uint64_t, std::string_view bytes) {
      if (part == 1) added.push_back(false);
      self_test = self_test || part == 4;
      if (part > 3) return;
      const auto read = [&](std::uint64_t number, std::uint64_t value, std::string_view text) {
        if (part == 1 && number == 3) added.back() = value == 4;
        if (part == 2 && number == 3) model_type = value;
        if (part == 3 && number == 2) character_map = text;
      };
      for_each_field(bytes, source, read);
    });
  }
};

/// Refuses folders of other tokenizers that have a spiece.model too, by the class that
/// tokenizer_config.json names, or the family that config.json names.
inline void check_is_albert(const std::string& folder, const Json& tokenizer_config) {
  const auto check_name = [&](const std::string& file, const Json& config, const char* key) {
    if (!config.is_object()) return false;
    const std::optional<std::string> name = json_text(config, key, folder + file);
    if (!name) return false;
    check<ConfigError>(name->starts_with("Albert") || *name == "albert", folder, file, ": ",
                       std::string_view(key), " '", *name,
                       "' with spiece.model is not supported, only ALBERT's is; put the "
                       "tokenizer.json that transformers saves beside it");
    return true;
  };
  if (check_name("/tokenizer_config.json", tokenizer_config, "tokenizer_class")) return;
  check_name("/config.json", read_object_if_there(folder + "/config.json"), "model_type");
}

/// The pieces of a spiece.model with their scores, and its character map.
struct SentencePieces {
  std::vector<std::string> pieces;
  std::vector<double> scores;
  std::vector<AddedToken> added;  ///< what is found in a text before anything else
  std::string character_map;

  /// Throws IoError, FormatError, and ConfigError for what ALBERT's tokenizer does not have.
  explicit SentencePieces(const std::string& path) {
    constexpr std::size_t most = std::numeric_limits<std::int32_t>::max();
    struct stat status {};
    check<FormatError>(
        ::stat(path.c_str(), &status) != 0 || static_cast<std::uint64_t>(status.st_size) <= most,
        path, ": has ", status.st_size, " bytes; sentencepiece reads at most ", most);
    const std::string model = read_file(path);
    SentencePieceDetails details(model, path);
    const std::string_view types[] = {"unigram", "bpe", "word", "char"};
    const std::uint64_t type = details.model_type;
    check<ConfigError>(type == 1, path, ": a sentencepiece model of type '",
                       type >= 1 && type <= 4 ? types[type - 1] : concat(type),
                       "' is not supported, only unigram is");
    // The library would follow the character map wherever it leads.
    check<ConfigError>(!details.self_test, path,
                       ": a sentencepiece model with self_test_data is not supported");

    sentencepiece::SentencePieceProcessor library;
    sentencepiece::util::Status loaded;
    try {
      loaded = library.LoadFromSerializedProto(model);
    } catch (const std::exception& problem) {
      fail<FormatError>(path, ": sentencepiece: ", Printable{problem.what()});
    }
    check<FormatError>(loaded.ok(), path, ": sentencepiece: ", Printable{loaded.error_message()});
    const int count = library.GetPieceSize();
    check<FormatError>(static_cast<std::size_t>(count) == details.added.size(), path,
                       ": sentencepiece reads ", count, " pieces of ", details.added.size());
    check<ConfigError>(count > 1 && library.IsUnknown(1), path,
                       ": the unknown piece must be number 1, as ALBERT's is, not ",
                       library.unk_id());
    for (int id = 0; id < count; ++id) {
      const std::string& piece = library.IdToPiece(id);
      const float score = library.GetScore(id);
      check<ConfigError>(!library.IsByte(id), path, ": piece ", id, " '", piece,
                         "' stands for a byte; byte_fallback is not supported");
      check<FormatError>(valid_prefix(piece) == piece.size() && std::isfinite(score), path,
                         ": piece ", id, " is not valid UTF-8 with a finite score");
      pieces.push_back(piece);
      scores.push_back(double{score});
      const bool special = library.IsControl(id);
      if (!special && !details.added[static_cast<std::size_t>(id)]) continue;
      AddedToken& token = added.emplace_back();
      token.content = piece;
      token.id = id;
      token.normalized = false;
      token.special = special;
    }
    character_map = std::move(details.character_map);
  }
};

/// The stages of tokenizer.json, but for the model and added tokens, as they are for ALBERT's
/// spiece.model.
[[nodiscard]] inline Json albert_stages(const std::string& character_map, const Json& config,
                                        const std::string& config_path, TokenId cls, TokenId sep) {
  Json stages = parse_json(R"({
    "version": "1.0",
    "normalizer": {"type": "Sequence", "normalizers": []},
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}]},
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}},
                 {"Sequence": {"id": "A", "type_id": 0}},
                 {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
      "pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}},
               {"Sequence": {"id": "A", "type_id": 0}},
               {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
               {"Sequence": {"id": "B", "type_id": 1}},
               {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
      "special_tokens": {"[CLS]": {"id": "[CLS]", "tokens": ["[CLS]"]},
                         "[SEP]": {"id": "[SEP]", "tokens": ["[SEP]"]}}},
    "decoder": {"type": "Metaspace", "replacement": "\u2581", "split": true}})",
                           config_path);
  Json& normalizers = stages["normalizer"]["normalizers"];
  for (const char* quote : {"``", "''"}) {
    normalizers.push_back(
        {{"type", "Replace"}, {"pattern", {{"String", quote}}}, {"content", "\""}});
  }
  if (!json_flag(config, "keep_accents", false, config_path)) {
    normalizers.push_back({{"type", "NFKD"}});
    normalizers.push_back({{"type", "StripAccents"}});
  }
  if (json_flag(config, "do_lower_case", true, config_path))
    normalizers.push_back({{"type", "Lowercase"}});
  if (!character_map.empty()) {
    normalizers.push_back(
        {{"type", "Precompiled"}, {"precompiled_charsmap", encode_base64(character_map)}});
  }
  const bool prefix = json_flag(config, "add_prefix_space", true, config_path);
  stages["decoder"]["prepend_scheme"] = prefix ? "always" : "never";
  stages["pre_tokenizer"]["pretokenizers"].push_back(stages["decoder"]);
  Json& special = stages["post_processor"]["special_tokens"];
  special["[CLS]"]["ids"].push_back(cls);
  special["[SEP]"]["ids"].push_back(sep);
  return stages;
}

/// What AlbertTokenizer makes of a folder with spiece.model.
[[nodiscard]] inline SentencePieceFiles read_albert_pieces(const std::string& folder) {
  const std::string path = folder + "/spiece.model";
  const std::string config_path = folder + "/tokenizer_config.json";
  Json config = read_object_if_there(config_path);
  if (config.is_null()) config = Json::object();
  check_is_albert(folder, config);
  SentencePieces model(path);
  Json vocabulary = Json::object();
  for (std::size_t id = 0; id < model.pieces.size(); ++id) vocabulary[model.pieces[id]] = id;

  SentencePieceFiles files;
  files.names = {"[CLS]", "[SEP]", "<unk>", "[SEP]", "<pad>", "[CLS]", "[MASK]"};
  SpecialNames names = files.names;
  read_special_names(read_object_if_there(folder + "/special_tokens_map.json"), names);
  read_special_names(config, names);
  const auto id_of = [&](SpecialRole role) {
    const std::string& name = names[static_cast<std::size_t>(role)];
    check<ConfigError>(vocabulary.contains(name), path, ": has no piece '", name,
                       "', which ALBERT's tokenizer puts around texts");
    return vocabulary[name].get<TokenId>();
  };
  const TokenId cls = id_of(SpecialRole::cls), sep = id_of(SpecialRole::sep);
  // A list of further special tokens, though empty, takes the place of the model's own.
  for (const char* key : {"additional_special_tokens", "extra_special_tokens"}) {
    const auto list = config.find(key);
    if (list == config.end()) continue;
    check<ConfigError>(list->empty(), config_path, ": ", std::string_view(key),
                       " with spiece.model are not supported; put the tokenizer.json that "
                       "transformers saves beside it");
    model.added.clear();
  }
  Json document = albert_stages(model.character_map, config, config_path, cls, sep);
  document["model"] = {{"type", "Unigram"}, {"unk_id", 1}, {"byte_fallback", false}};
  Json& pairs = document["model"]["vocab"];
  for (std::size_t id = 0; id < model.pieces.size(); ++id) {
    pairs.push_back({model.pieces[id], model.scores[id]});
  }
  document["added_tokens"] = added_tokens_json(
      read_added_tokens(folder, path, vocabulary, config, names, std::move(model.added)));
  files.document = document.dump();
  files.scores = std::move(model.scores);
  return files;
}

/// Tokenizer::from_pretrained finds the function from before main() on.
inline const bool sentencepiece_is_there = [] {
  sentencepiece_reader = read_albert_pieces;
  return true;
}();

}  // namespace eigenformer::detail
