// The tokenizer: text to ids and back, exactly as Hugging Face tokenizers does it, read from the
// published files. Stages: added tokens > normalizer > pre-tokenizer > model > truncation >
// post-processor, and a decoder for the way back.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigenformer/base/batch.hpp"
#include "eigenformer/base/error.hpp"
#include "eigenformer/base/function_ref.hpp"
#include "eigenformer/io/file.hpp"
#include "eigenformer/io/folder.hpp"
#include "eigenformer/io/json.hpp"
#include "eigenformer/threading/thread_pool.hpp"
#include "eigenformer/tokenizers/decoder.hpp"
#include "eigenformer/tokenizers/encode_cache.hpp"
#include "eigenformer/tokenizers/encoding.hpp"
#include "eigenformer/tokenizers/pipeline.hpp"
#include "eigenformer/tokenizers/post_processor.hpp"
#include "eigenformer/tokenizers/tokenizer_files.hpp"

namespace eigenformer {

/// Two texts that are encoded together.
using TextPair = std::pair<std::string_view, std::string_view>;

/// Text to tokens and back. Const use is safe from any number of threads.
///
/// Input may hold any bytes: each maximal sequence that is not UTF-8 is read as U+FFFD, as Python's
/// errors="replace" would, and offsets still count the input's bytes. NUL and control characters
/// are ordinary.
class Tokenizer {
 public:
  /// Reads `tokenizer.json`, or else `vocab.json` and `merges.txt`, or else BERT's `vocab.txt`, or
  /// else, where the program includes tokenizers/sentencepiece.hpp, ALBERT's `spiece.model`, from a
  /// folder. What the files ask for and this library does not have is a ConfigError with its name;
  /// entries that break the format are a FormatError; a file that cannot be read is an IoError.
  [[nodiscard]] static Tokenizer from_pretrained(const std::string& folder) {
    const FolderLock lock(folder, FolderLock::For::reading);
    const std::string path = current_file(folder, "tokenizer.json");
    const std::string pieces = folder + "/spiece.model";
    const bool lines = !exists(folder + "/vocab.json");
    Tokenizer made;
    detail::SpecialNames names;
    if (exists(path)) {
      made.document_ = read_file(path);
      names = made.read(path);
    } else if (!lines || exists(folder + "/vocab.txt")) {
      made.document_ = detail::tokenizer_json_of_vocabulary(folder).dump();
      names = made.read(folder + (lines ? "/vocab.txt" : "/vocab.json, merges.txt"));
    } else {
      check<IoError>(exists(pieces), folder,
                     ": has neither tokenizer.json, vocab.json with merges.txt, vocab.txt, nor "
                     "spiece.model");
      check<ConfigError>(detail::sentencepiece_reader != nullptr, pieces,
                         ": needs the sentencepiece library, which this program was built "
                         "without (Debian: libsentencepiece-dev; a program of your own includes "
                         "eigenformer/tokenizers/sentencepiece.hpp); or put the tokenizer.json "
                         "that transformers saves beside it");
      detail::SentencePieceFiles files = detail::sentencepiece_reader(folder);
      made.document_ = std::move(files.document);
      made.read(pieces, std::move(files.scores));
      names = std::move(files.names);
    }
    const std::string source = folder + "/tokenizer_config.json";
    const Json config = detail::read_object_if_there(source);
    detail::read_special_names(detail::read_object_if_there(folder + "/special_tokens_map.json"),
                               names);
    detail::read_special_names(config, names);
    made.set_roles(names);
    made.model_max_length_ = detail::read_model_max_length(config, source);
    return made;
  }

  /// Reads the contents of a `tokenizer.json`; `source` names them in errors.
  [[nodiscard]] static Tokenizer from_json(std::string_view document,
                                           const std::string& source = "tokenizer.json") {
    Tokenizer made;
    made.document_ = document;
    made.set_roles(made.read(source));
    return made;
  }

  /// Writes `tokenizer.json` into a folder that exists.
  void save_pretrained(const std::string& folder) const {
    write_file(folder + "/tokenizer.json", document_);
  }

  /// The tokens of one text. Throws ConfigError for a truncation that cannot be done.
  [[nodiscard]] Encoding encode(std::string_view text, const EncodeOptions& options = {}) const {
    Borrowed memory(pipeline_, options, text.size());
    return encode_one(text, options, *memory);
  }

  /// The tokens of a pair of texts, as the model's template joins them.
  [[nodiscard]] Encoding encode(std::string_view text, std::string_view pair,
                                const EncodeOptions& options = {}) const {
    Borrowed memory(pipeline_, options, text.size() + pair.size());
    return encode_one({text, pair}, options, *memory);
  }

  /// The tokens of many texts, packed for a model; with a pool, over its threads. The result does
  /// not depend on the pool. Overflow is dropped: see encode_each.
  [[nodiscard]] Batch encode_batch(std::span<const std::string_view> texts,
                                   const EncodeOptions& options = {},
                                   ThreadPool* pool = nullptr) const {
    const auto input_at = [&](std::size_t i) { return TextInput(texts[i]); };
    return pack_all(texts.size(), input_at, options, pool);
  }
  /// The same for strings.
  [[nodiscard]] Batch encode_batch(std::span<const std::string> texts,
                                   const EncodeOptions& options = {},
                                   ThreadPool* pool = nullptr) const {
    const auto input_at = [&](std::size_t i) { return TextInput(texts[i]); };
    return pack_all(texts.size(), input_at, options, pool);
  }
  /// The same for a list in braces.
  [[nodiscard]] Batch encode_batch(std::initializer_list<std::string_view> texts,
                                   const EncodeOptions& options = {},
                                   ThreadPool* pool = nullptr) const {
    return encode_batch(std::span(texts.begin(), texts.size()), options, pool);
  }
  /// The same for pairs of texts in braces.
  [[nodiscard]] Batch encode_batch(std::initializer_list<TextPair> pairs,
                                   const EncodeOptions& options = {},
                                   ThreadPool* pool = nullptr) const {
    return encode_batch(std::span(pairs.begin(), pairs.size()), options, pool);
  }
  /// The same for pairs of texts.
  [[nodiscard]] Batch encode_batch(std::span<const TextPair> pairs,
                                   const EncodeOptions& options = {},
                                   ThreadPool* pool = nullptr) const {
    const auto input_at = [&](std::size_t i) { return TextInput(pairs[i].first, pairs[i].second); };
    return pack_all(pairs.size(), input_at, options, pool);
  }

  /// The same for texts and pairs mixed.
  [[nodiscard]] Batch encode_batch(std::span<const TextInput> inputs,
                                   const EncodeOptions& options = {},
                                   ThreadPool* pool = nullptr) const {
    const auto input_at = [&](std::size_t i) { return inputs[i]; };
    return pack_all(inputs.size(), input_at, options, pool);
  }

  /// The same as encodings, one for each text.
  [[nodiscard]] std::vector<Encoding> encode_each(std::span<const std::string_view> texts,
                                                  const EncodeOptions& options = {},
                                                  ThreadPool* pool = nullptr) const {
    const auto input_at = [&](std::size_t i) { return TextInput(texts[i]); };
    return encode_all(texts.size(), input_at, options, pool);
  }
  /// The same for strings.
  [[nodiscard]] std::vector<Encoding> encode_each(std::span<const std::string> texts,
                                                  const EncodeOptions& options = {},
                                                  ThreadPool* pool = nullptr) const {
    const auto input_at = [&](std::size_t i) { return TextInput(texts[i]); };
    return encode_all(texts.size(), input_at, options, pool);
  }
  /// The same for pairs of texts.
  [[nodiscard]] std::vector<Encoding> encode_each(std::span<const TextPair> pairs,
                                                  const EncodeOptions& options = {},
                                                  ThreadPool* pool = nullptr) const {
    const auto input_at = [&](std::size_t i) { return TextInput(pairs[i].first, pairs[i].second); };
    return encode_all(pairs.size(), input_at, options, pool);
  }

  /// The text that ids stand for. As in HF, an id without a token adds nothing; a negative one is a
  /// ShapeError.
  [[nodiscard]] std::string decode(std::span<const TokenId> ids,
                                   bool skip_special_tokens = true) const {
    std::string bytes;
    bool first = true;
    for (const TokenId id : ids) {
      check<ShapeError>(id >= 0, "tokenizer: cannot decode id ", id);
      const std::optional<std::string_view> token = pipeline_.find(id);
      if (!token || (skip_special_tokens && pipeline_.is_special(id))) continue;
      decoder_.append(bytes, *token, first);
      first = false;
    }
    return decoder_.finish(std::move(bytes));
  }
  /// The same for a list in braces.
  [[nodiscard]] std::string decode(std::initializer_list<TokenId> ids,
                                   bool skip_special_tokens = true) const {
    return decode(std::span(ids.begin(), ids.size()), skip_special_tokens);
  }

  /// The id of a token by its spelling in the vocabulary, which is not text: " the" is "Ġthe".
  [[nodiscard]] std::optional<TokenId> token_to_id(std::string_view token) const noexcept {
    return pipeline_.find(token);
  }

  /// The spelling of a token; throws ShapeError where there is none with this id.
  [[nodiscard]] std::string_view id_to_token(TokenId id) const {
    const std::optional<std::string_view> token = pipeline_.find(id);
    check<ShapeError>(token.has_value(), "tokenizer: no token has id ", id, "; there are ",
                      vocab_size());
    return *token;
  }

  /// How many tokens there are, added ones included.
  [[nodiscard]] Index vocab_size() const noexcept { return pipeline_.vocab_size(); }

  /// Whether decoding may skip this token.
  [[nodiscard]] bool is_special(TokenId id) const noexcept { return pipeline_.is_special(id); }

  /// What begins a text. This and the other special tokens' functions throw ConfigError where the
  /// tokenizer has none in this role.
  [[nodiscard]] TokenId bos_token_id() const { return role(detail::SpecialRole::bos); }
  /// What ends a text.
  [[nodiscard]] TokenId eos_token_id() const { return role(detail::SpecialRole::eos); }
  /// What stands for what the vocabulary lacks.
  [[nodiscard]] TokenId unk_token_id() const { return role(detail::SpecialRole::unk); }
  /// What ends or separates texts for a model that reads pairs.
  [[nodiscard]] TokenId sep_token_id() const { return role(detail::SpecialRole::sep); }
  /// What fills texts up to one length.
  [[nodiscard]] TokenId pad_token_id() const { return role(detail::SpecialRole::pad); }
  /// What begins a text, for a model that classifies by its first token.
  [[nodiscard]] TokenId cls_token_id() const { return role(detail::SpecialRole::cls); }
  /// What hides a token from a masked language model.
  [[nodiscard]] TokenId mask_token_id() const { return role(detail::SpecialRole::mask); }

  /// The id of what stands for text that the vocabulary cannot spell; nothing where there is none.
  [[nodiscard]] std::optional<TokenId> find_unk_token_id() const noexcept {
    return roles_[static_cast<std::size_t>(detail::SpecialRole::unk)];
  }

  /// What the vocabulary's tokens within a word begin with, such as "##"; empty: nothing marks
  /// them.
  [[nodiscard]] std::string_view continuing_subword_prefix() const noexcept {
    return pipeline_.model()->continuing_subword_prefix();
  }

  /// The types that a model gets with the tokens of a pair: the encoding's where the template gives
  /// the second text another type, as BERT's does; else none, though windows that overflow have
  /// types then too.
  [[nodiscard]] std::span<const TokenId> model_types(const Encoding& pair) const noexcept {
    if (!post_processor_.has_types(true)) return {};
    return pair.type_ids;
  }

  /// How many tokens, special ones counted, texts are cut to where transformers truncates them:
  /// `model_max_length` of tokenizer_config.json, if there is one.
  [[nodiscard]] std::optional<Index> model_max_length() const noexcept { return model_max_length_; }

  /// How many special tokens the template adds to one text, or to a pair.
  [[nodiscard]] Index added_special_tokens(bool pair = false) const noexcept {
    return static_cast<Index>(post_processor_.added(pair));
  }

 private:
  /// The windows of each text; one alone where nothing is truncated.
  struct Windows {
    std::vector<detail::Window> of[2];
  };

  /// The caller's memory, or one for this call.
  class Borrowed {
   public:
    Borrowed(const detail::Pipeline& pipeline, const EncodeOptions& options, std::size_t bytes)
        : memory_(options.cache != nullptr ? &options.cache->memory_ : &own_) {
      if (memory_->owner != pipeline.model()) {
        memory_->words.clear();
        memory_->owner = pipeline.model();
      }
      // A short text repeats too few of its words to remember them.
      if (options.cache != nullptr) {
        memory_->words.reserve(detail::WordMemory::max_words);
      } else if (bytes >= 1024) {
        memory_->words.reserve(bytes / 16);
      }
    }
    Borrowed(const Borrowed&) = delete;
    Borrowed& operator=(const Borrowed&) = delete;
    detail::EncodeMemory& operator*() noexcept { return *memory_; }

   private:
    detail::EncodeMemory own_;
    detail::EncodeMemory* memory_;
  };

  Tokenizer() = default;

  // ---- reading ----

  /// Reads `document_`, a tokenizer.json, with `scores` in place of its own where they are given;
  /// gives the usual special tokens that it has.
  detail::SpecialNames read(const std::string& source, std::vector<double> scores = {}) {
    detail::TokenizerJson document = detail::parse_tokenizer_json(document_, source);
    if (!scores.empty()) document.scores = std::move(scores);
    const Json& rest = document.rest;
    check<FormatError>(rest.is_object(), source, ": must be an object");
    check<ConfigError>(detail::json_text(rest, "version", source).value_or("1.0") == "1.0", source,
                       ": version must be \"1.0\"");
    post_processor_ = detail::PostProcessor::from_json(rest, source);
    decoder_ = detail::Decoder::from_json(rest, source);
    pipeline_ = detail::Pipeline(document, source);
    for (const bool pair : {false, true}) {
      for (const detail::TemplatePart& part : post_processor_.parts(pair)) {
        for (const TokenId id : part.ids) {
          check<FormatError>(pipeline_.find(id).has_value(), source,
                             ": post_processor: no token has id ", id);
        }
      }
    }
    return detail::usual_names([&](const char* token) { return token_to_id(token).has_value(); });
  }

  void set_roles(const detail::SpecialNames& names) {
    for (std::size_t role = 0; role < names.size(); ++role) {
      if (!names[role].empty()) roles_[role] = token_to_id(names[role]);
    }
  }

  [[nodiscard]] TokenId role(detail::SpecialRole which) const {
    const auto at = static_cast<std::size_t>(which);
    check<ConfigError>(roles_[at].has_value(), "tokenizer: there is no ",
                       std::string_view(detail::special_role_keys[at]));
    return *roles_[at];
  }

  // ---- encoding ----

  void tokenize(const TextInput& input, const EncodeOptions& options,
                detail::EncodeMemory& memory) const {
    pipeline_.tokenize(input.text, options.encode_special_tokens, memory, memory.first);
    if (input.pair) {
      pipeline_.tokenize(*input.pair, options.encode_special_tokens, memory, memory.second);
    }
  }

  /// Cuts what tokenize() left in `memory` to max_length.
  [[nodiscard]] Windows truncate(bool pair, const EncodeOptions& options,
                                 const detail::EncodeMemory& memory) const {
    const detail::Lengths sizes = {memory.first.tokens.size(),
                                   pair ? memory.second.tokens.size() : 0};
    const std::size_t added = options.add_special_tokens ? post_processor_.added(pair) : 0;
    const auto limit = static_cast<std::size_t>(options.max_length);
    const auto stride = static_cast<std::size_t>(options.stride);
    const std::size_t single = post_processor_.added(false);
    check<ConfigError>(options.max_length > 0 && options.stride >= 0, "tokenizer: max_length ",
                       options.max_length, " and stride ", options.stride, " must not be negative");
    check<ConfigError>(limit >= added, "tokenizer: max_length ", limit, " leaves no room for the ",
                       added, " special tokens");
    check<ConfigError>(stride == 0 || limit < single || stride <= limit - single,
                       "tokenizer: stride ", stride, " must not exceed max_length ", limit,
                       " without the ", single, " special tokens of one text");
    const detail::Lengths lengths =
        detail::truncated_lengths(sizes, pair, limit - added, options.strategy);
    return {{detail::cut_windows(sizes.first, lengths.first, stride, options.direction),
             detail::cut_windows(sizes.second, lengths.second, stride, options.direction)}};
  }

  Encoding encode_one(const TextInput& input, const EncodeOptions& options,
                      detail::EncodeMemory& memory) const {
    tokenize(input, options, memory);
    const bool pair = input.pair.has_value();
    if (options.max_length == 0) return assemble(memory, whole(pair, memory), {}, pair, options);
    const Windows windows = truncate(pair, options, memory);
    Encoding encoding = assemble(memory, {windows.of[0][0], windows.of[1][0]}, {}, pair, options);
    if (!options.return_overflow) return encoding;
    // In the order of HF: each further window of the text that comes first in the template with all
    // of the other's, then the first window with the further ones of the other.
    const std::size_t outer = post_processor_.second_first(pair) ? 1 : 0;
    const std::size_t outer_count = windows.of[outer].size();
    const std::size_t inner_count = windows.of[1 - outer].size();
    for (std::size_t i = 1; i <= outer_count; ++i) {
      std::array<std::size_t, 2> at{};
      at[outer] = i % outer_count;
      for (std::size_t j = at[outer] == 0 ? 1 : 0; j < inner_count; ++j) {
        at[1 - outer] = j;
        encoding.overflowing.push_back(assemble(memory,
                                                {windows.of[0][at[0]], windows.of[1][at[1]]},
                                                {at[0] > 0, at[1] > 0}, pair, options));
      }
    }
    return encoding;
  }

  static std::array<detail::Window, 2> whole(bool pair, const detail::EncodeMemory& memory) {
    return {detail::Window{0, memory.first.tokens.size()},
            detail::Window{0, pair ? memory.second.tokens.size() : 0}};
  }

  /// The tokens of a window.
  static std::span<const detail::Token> tokens_of(const detail::TextTokens& text,
                                                  detail::Window window) noexcept {
    return std::span(text.tokens).subspan(window.begin, window.end - window.begin);
  }

  /// Puts one window of each text into the template.
  Encoding assemble(const detail::EncodeMemory& memory,
                    const std::array<detail::Window, 2>& windows,
                    const std::array<bool, 2>& overflow, bool pair,
                    const EncodeOptions& options) const {
    Encoding out;
    const bool all = options.details == EncodingDetails::all;
    const bool offsets = options.details != EncodingDetails::ids;
    const std::size_t size = windows[0].end - windows[0].begin + windows[1].end - windows[1].begin +
                             post_processor_.added(pair);
    out.ids.reserve(size);
    if (offsets) out.offsets.reserve(size);
    if (all) {
      out.type_ids.reserve(size);
      out.special_tokens_mask.reserve(size);
      out.word_ids.reserve(size);
      out.sequence_ids.reserve(size);
    }
    for (const detail::TemplatePart& part : post_processor_.parts(pair)) {
      const bool special = part.sequence < 0;
      if (special && !options.add_special_tokens) continue;
      TokenId type = part.type_id;
      if (special) {
        out.ids.insert(out.ids.end(), part.ids.begin(), part.ids.end());
        if (offsets) out.offsets.resize(out.ids.size());
        if (all) out.word_ids.resize(out.ids.size(), -1);
      } else {
        const auto at = static_cast<std::size_t>(part.sequence);
        const detail::TextTokens& text = at == 0 ? memory.first : memory.second;
        const auto tokens = tokens_of(text, windows[at]);
        if (overflow[at]) {
          type = post_processor_.overflow_type(part.sequence, options.add_special_tokens);
        }
        for (const detail::Token& token : tokens) out.ids.push_back(token.id);
        if (offsets) {
          for (const detail::Token& token : tokens) out.offsets.push_back(token.span);
          finish_offsets(text, windows[at].begin, std::span(out.offsets).last(tokens.size()));
        }
        if (all) {
          for (const detail::Token& token : tokens) out.word_ids.push_back(token.word);
        }
      }
      if (!all) continue;
      out.type_ids.resize(out.ids.size(), type);
      out.special_tokens_mask.resize(out.ids.size(), special ? 1 : 0);
      out.sequence_ids.resize(out.ids.size(), part.sequence);
    }
    return out;
  }

  /// Takes the white space off the ends of the tokens of a window, then goes from the repaired text
  /// to the bytes of the input.
  void finish_offsets(const detail::TextTokens& text, std::size_t begin,
                      std::span<ByteSpan> offsets) const {
    for (const bool keeps_added_space : post_processor_.trims()) {
      pipeline_.trim(text, begin, keeps_added_space, offsets);
    }
    if (text.repaired.origin.empty()) return;
    for (ByteSpan& span : offsets) {
      span = {text.repaired.origin[span.begin], text.repaired.origin[span.end]};
    }
  }

  // ---- many texts ----

  /// The texts one by one, whatever they are kept in.
  using InputAt = FunctionRef<TextInput(std::size_t)>;

  /// Calls f(begin, end, memory) for ranges of the texts, over the pool's threads.
  template <class Function>
  void for_ranges(std::size_t count, Index grain, InputAt input_at, const EncodeOptions& options,
                  ThreadPool* pool, const Function& f) const {
    const auto run = [&](Index begin, Index end) {
      std::size_t bytes = 0;
      for (Index i = begin; i < end; ++i) {
        const TextInput input = input_at(static_cast<std::size_t>(i));
        bytes += input.text.size() + input.pair.value_or(std::string_view()).size();
      }
      EncodeOptions own = options;
      if (pool != nullptr) own.cache = nullptr;
      Borrowed memory(pipeline_, own, bytes);
      f(begin, end, *memory);
    };
    if (pool == nullptr) {
      run(0, static_cast<Index>(count));
    } else {
      parallel_for(*pool, static_cast<Index>(count), grain, run);
    }
  }

  static Index grain_of(std::size_t count) noexcept {
    return std::max<Index>(16, static_cast<Index>(count) / 64);
  }

  std::vector<Encoding> encode_all(std::size_t count, InputAt input_at,
                                   const EncodeOptions& options, ThreadPool* pool) const {
    std::vector<Encoding> encodings(count);
    for_ranges(count, grain_of(count), input_at, options, pool,
               [&](Index begin, Index end, detail::EncodeMemory& memory) {
                 for (Index i = begin; i < end; ++i) {
                   const auto at = static_cast<std::size_t>(i);
                   encodings[at] = encode_one(input_at(at), options, memory);
                 }
               });
    return encodings;
  }

  Batch pack_all(std::size_t count, InputAt input_at, const EncodeOptions& options,
                 ThreadPool* pool) const {
    if (count == 0) return {};
    const Index grain = pool == nullptr ? static_cast<Index>(count) : grain_of(count);
    std::vector<Batch> parts((count - 1) / static_cast<std::size_t>(grain) + 1);
    for_ranges(count, grain, input_at, options, pool,
               [&](Index begin, Index end, detail::EncodeMemory& memory) {
                 Batch& part = parts[static_cast<std::size_t>(begin / grain)];
                 for (Index i = begin; i < end; ++i) {
                   const TextInput input = input_at(static_cast<std::size_t>(i));
                   tokenize(input, options, memory);
                   add_segment(memory, input.pair.has_value(), options, part);
                 }
               });
    Batch batch = std::move(parts.front());
    for (std::size_t i = 1; i < parts.size(); ++i) {
      const Index before = batch.tokens();
      batch.ids.insert(batch.ids.end(), parts[i].ids.begin(), parts[i].ids.end());
      if (!parts[i].type_ids.empty()) {
        batch.type_ids.resize(static_cast<std::size_t>(before));
        batch.type_ids.insert(batch.type_ids.end(), parts[i].type_ids.begin(),
                              parts[i].type_ids.end());
      } else if (!batch.type_ids.empty()) {
        batch.type_ids.resize(batch.ids.size());
      }
      for (std::size_t j = 1; j < parts[i].offsets.size(); ++j) {
        batch.offsets.push_back(before + parts[i].offsets[j]);
      }
    }
    return batch;
  }

  /// Appends what assemble() would give, ids and types alone.
  void add_segment(const detail::EncodeMemory& memory, bool pair, const EncodeOptions& options,
                   Batch& batch) const {
    std::array<detail::Window, 2> windows = whole(pair, memory);
    if (options.max_length != 0) {
      const Windows cut = truncate(pair, options, memory);
      windows = {cut.of[0][0], cut.of[1][0]};
    }
    const bool typed = !batch.type_ids.empty() || post_processor_.has_types(pair);
    if (typed) batch.type_ids.resize(batch.ids.size());
    for (const detail::TemplatePart& part : post_processor_.parts(pair)) {
      if (part.sequence >= 0) {
        const auto at = static_cast<std::size_t>(part.sequence);
        const detail::TextTokens& text = at == 0 ? memory.first : memory.second;
        for (const detail::Token& token : tokens_of(text, windows[at])) {
          batch.ids.push_back(token.id);
        }
      } else if (options.add_special_tokens) {
        batch.ids.insert(batch.ids.end(), part.ids.begin(), part.ids.end());
      }
      if (typed) batch.type_ids.resize(batch.ids.size(), part.type_id);
    }
    batch.offsets.push_back(batch.tokens());
  }

  std::string document_;  // tokenizer.json
  detail::Pipeline pipeline_;
  detail::PostProcessor post_processor_;
  detail::Decoder decoder_;
  std::array<std::optional<TokenId>, 7> roles_;
  std::optional<Index> model_max_length_;
};

}  // namespace eigenformer
