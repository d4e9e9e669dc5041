// A RoBERTa tokenizer of one's own: the numbering of its vocabulary, and the files of a published
// folder, as HF tokenizers and transformers write and read them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "eigenformer/base/error.hpp"
#include "eigenformer/base/shape.hpp"
#include "eigenformer/io/file.hpp"
#include "eigenformer/io/folder.hpp"
#include "eigenformer/io/json.hpp"
#include "eigenformer/tokenizers/bpe_trainer.hpp"
#include "eigenformer/tokenizers/tokenizer.hpp"

namespace eigenformer {

/// Options for a vocabulary numbered as RoBERTa's: `<s>` 0, `<pad>` 1, `</s>` 2, `<unk>` 3, the
/// bytes, the merges, and `<mask>` last. The default size is that of the published models.
[[nodiscard]] inline BpeTrainerOptions roberta_trainer_options(Index vocab_size = 50265) {
  return {.vocab_size = vocab_size,
          .special_tokens = {"<s>", "<pad>", "</s>", "<unk>"},
          .last_special_tokens = {"<mask>"}};
}

/// What is put around a pair of texts, and its types.
enum class PairForm : std::uint8_t {
  roberta,  ///< `<s> A </s></s> B </s>`, all of type 0
  bert      ///< `<s> A </s>` of type 0 and `B </s>` of type 1, for models that know types
};

namespace detail {

[[nodiscard]] inline std::string quoted(const std::string& text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// vocab.json: all tokens in the order of their ids.
[[nodiscard]] inline std::string vocab_json(const TrainedBpe& bpe) {
  std::string json = "{";
  for (std::size_t id = 0; id < bpe.vocabulary.size(); ++id) {
    json += concat(id == 0 ? "" : ",", quoted(bpe.vocabulary[id]), ":", id);
  }
  return json + "}";
}

[[nodiscard]] inline std::string merges_txt(const TrainedBpe& bpe) {
  std::string lines = "#version: 0.2\n";
  for (const auto& [left, right] : bpe.merges) lines += concat(left, " ", right, "\n");
  return lines;
}

/// tokenizer.json, byte for byte as HF tokenizers 0.22 saves such a tokenizer.
[[nodiscard]] inline std::string roberta_tokenizer_json(const TrainedBpe& bpe, PairForm form) {
  std::string json = R"({"version":"1.0","truncation":null,"padding":null,"added_tokens":[)";
  const auto add_token = [&](std::string_view token, std::size_t id, bool mask) {
    check<ConfigError>(id < bpe.vocabulary.size() && bpe.vocabulary[id] == token,
                       "roberta tokenizer: token ", id, " must be '", token,
                       "'; train with roberta_trainer_options()");
    json += concat(R"({"id":)", id, R"(,"content":")", token, R"(","single_word":false,"lstrip":)",
                   mask, R"(,"rstrip":false,"normalized":)", !mask, R"(,"special":true})",
                   mask ? "" : ",");
  };
  constexpr std::array<const char*, 4> first = {"<s>", "<pad>", "</s>", "<unk>"};
  for (std::size_t id = 0; id < first.size(); ++id) add_token(first[id], id, false);
  add_token("<mask>", bpe.vocabulary.size() - 1, true);
  json += R"(],"normalizer":null,)"
          R"("pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,)"
          R"("use_regex":true},)"
          R"("post_processor":)";
  json += form == PairForm::roberta
              ? R"({"type":"RobertaProcessing","sep":["</s>",2],"cls":["<s>",0],)"
                R"("trim_offsets":true,"add_prefix_space":false},)"
              : R"({"type":"Sequence","processors":[{"type":"ByteLevel","add_prefix_space":false,)"
                R"("trim_offsets":true,"use_regex":true},)"
                R"({"type":"BertProcessing","sep":["</s>",2],"cls":["<s>",0]}]},)";
  json += R"("decoder":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,)"
          R"("use_regex":true},)"
          R"("model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":"",)"
          R"("end_of_word_suffix":"","fuse_unk":false,"byte_fallback":false,"ignore_merges":false,)"
          R"("vocab":)";
  json += vocab_json(bpe) + R"(,"merges":[)";
  for (std::size_t rank = 0; rank < bpe.merges.size(); ++rank) {
    const auto& [left, right] = bpe.merges[rank];
    json += concat(rank == 0 ? "[" : ",[", quoted(left), ",", quoted(right), "]");
  }
  return json + "]}}";
}

/// tokenizer_config.json. RobertaTokenizer would replace another form of pairs by its own.
[[nodiscard]] inline std::string roberta_tokenizer_config_json(Index model_max_length,
                                                               PairForm form) {
  const char* const form_keys = form == PairForm::roberta
                                    ? R"("tokenizer_class": "RobertaTokenizer")"
                                    : R"("tokenizer_class": "PreTrainedTokenizerFast",
  "model_input_names": ["input_ids", "token_type_ids", "attention_mask"])";
  return concat("{\n  ", form_keys, R"(,
  "model_max_length": )",
                model_max_length, R"(,
  "add_prefix_space": false,
  "trim_offsets": true,
  "bos_token": "<s>",
  "cls_token": "<s>",
  "eos_token": "</s>",
  "sep_token": "</s>",
  "pad_token": "<pad>",
  "unk_token": "<unk>",
  "mask_token": "<mask>"
}
)");
}

}  // namespace detail

/// The tokenizer of a model that was trained with roberta_trainer_options(). Throws ConfigError for
/// another numbering, and FormatError for merges of what is not in the vocabulary.
[[nodiscard]] inline Tokenizer roberta_tokenizer(const TrainedBpe& bpe,
                                                 PairForm form = PairForm::roberta) {
  return Tokenizer::from_json(detail::roberta_tokenizer_json(bpe, form), "roberta tokenizer");
}

/// Writes `tokenizer.json`, `vocab.json`, `merges.txt` and `tokenizer_config.json` into a folder,
/// as published folders have them, all together; makes the folder where it is not there.
/// `model_max_length` is how many tokens the model takes. Throws as roberta_tokenizer, or IoError.
inline void save_roberta_tokenizer(const TrainedBpe& bpe, const std::string& folder,
                                   Index model_max_length = 512,
                                   PairForm form = PairForm::roberta) {
  const Tokenizer tokenizer = roberta_tokenizer(bpe, form);
  FolderUpdate update(folder);
  tokenizer.save_pretrained(update.path());
  write_file(join_path(update.path(), "vocab.json"), detail::vocab_json(bpe));
  write_file(join_path(update.path(), "merges.txt"), detail::merges_txt(bpe));
  write_file(join_path(update.path(), "tokenizer_config.json"),
             detail::roberta_tokenizer_config_json(model_max_length, form));
  update.commit();
}

}  // namespace eigenformer
