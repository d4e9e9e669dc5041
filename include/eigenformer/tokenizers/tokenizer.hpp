// The tokenizer: text to ids and back, exactly as Hugging Face tokenizers does it, read from the
// published files. Stages: added tokens > normalizer > pre-tokenizer > model > truncation >
// post-processor, and a decoder for the way back. Offsets are kept throughout.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigenformer/base/batch.hpp"
#include "eigenformer/base/error.hpp"
#include "eigenformer/io/file.hpp"
#include "eigenformer/io/json.hpp"
#include "eigenformer/threading/thread_pool.hpp"
#include "eigenformer/tokenizers/added_tokens.hpp"
#include "eigenformer/tokenizers/decoder.hpp"
#include "eigenformer/tokenizers/encode_cache.hpp"
#include "eigenformer/tokenizers/encoding.hpp"
#include "eigenformer/tokenizers/normalizer.hpp"
#include "eigenformer/tokenizers/post_processor.hpp"
#include "eigenformer/tokenizers/pre_tokenizer.hpp"
#include "eigenformer/tokenizers/token_model.hpp"
#include "eigenformer/tokenizers/tokenizer_files.hpp"
#include "eigenformer/tokenizers/unicode.hpp"

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
  /// Reads `tokenizer.json`, or else `vocab.json` and `merges.txt`, from a folder. What the files
  /// ask for and this library does not have is a ConfigError with its name; entries that break the
  /// format are a FormatError; a file that cannot be read is an IoError.
  [[nodiscard]] static Tokenizer from_pretrained(const std::string& folder) {
    const std::string path = folder + "/tokenizer.json";
    Tokenizer made;
    if (exists(path)) {
      made.document_ = read_file(path);
      made.read(parse_json(made.document_, path), path);
    } else {
      check<IoError>(exists(folder + "/vocab.json"), folder,
                     ": has neither tokenizer.json nor vocab.json with merges.txt");
      const Json document = detail::tokenizer_json_of_vocabulary(folder);
      made.document_ = document.dump();
      made.read(document, folder + "/vocab.json, merges.txt");
    }
    made.read_roles(detail::read_json_if_there(folder + "/special_tokens_map.json"),
                    detail::read_json_if_there(folder + "/tokenizer_config.json"));
    return made;
  }

  /// Reads the contents of a `tokenizer.json`; `source` names them in errors.
  [[nodiscard]] static Tokenizer from_json(std::string_view document,
                                           const std::string& source = "tokenizer.json") {
    Tokenizer made;
    made.document_ = document;
    made.read(parse_json(document, source), source);
    made.read_roles(nullptr, nullptr);
    return made;
  }

  /// Writes `tokenizer.json` into a folder that exists.
  void save_pretrained(const std::string& folder) const {
    write_file(folder + "/tokenizer.json", document_);
  }

  /// The tokens of one text. Throws ConfigError for a truncation that cannot be done.
  [[nodiscard]] Encoding encode(std::string_view text, const EncodeOptions& options = {}) const {
    const Borrowed memory(*this, options, text.size());
    return encode_one(text, nullptr, options, *memory.memory);
  }

  /// The tokens of a pair of texts, as the model's template joins them.
  [[nodiscard]] Encoding encode(std::string_view text, std::string_view pair,
                                const EncodeOptions& options = {}) const {
    const Borrowed memory(*this, options, text.size() + pair.size());
    return encode_one(text, &pair, options, *memory.memory);
  }

  /// The tokens of many texts, packed for a model; with a pool, over its threads. The result does
  /// not depend on the pool.
  [[nodiscard]] Batch encode_batch(std::span<const std::string_view> texts,
                                   const EncodeOptions& options = {},
                                   ThreadPool* pool = nullptr) const {
    return pack(encode_all(
        texts.size(),
        [&](std::size_t i) {
          return Input{texts[i], std::nullopt};
        },
        ids_of(options), pool));
  }
  [[nodiscard]] Batch encode_batch(std::span<const std::string> texts,
                                   const EncodeOptions& options = {},
                                   ThreadPool* pool = nullptr) const {
    return pack(encode_all(
        texts.size(),
        [&](std::size_t i) {
          return Input{texts[i], std::nullopt};
        },
        ids_of(options), pool));
  }
  [[nodiscard]] Batch encode_batch(std::initializer_list<std::string_view> texts,
                                   const EncodeOptions& options = {},
                                   ThreadPool* pool = nullptr) const {
    return encode_batch(std::span(texts.begin(), texts.size()), options, pool);
  }
  [[nodiscard]] Batch encode_batch(std::span<const TextPair> pairs,
                                   const EncodeOptions& options = {},
                                   ThreadPool* pool = nullptr) const {
    return pack(encode_all(
        pairs.size(),
        [&](std::size_t i) {
          return Input{pairs[i].first, pairs[i].second};
        },
        ids_of(options), pool));
  }

  /// The same with everything that encode() tells of each text.
  [[nodiscard]] std::vector<Encoding> encode_each(std::span<const std::string_view> texts,
                                                  const EncodeOptions& options = {},
                                                  ThreadPool* pool = nullptr) const {
    return encode_all(
        texts.size(),
        [&](std::size_t i) {
          return Input{texts[i], std::nullopt};
        },
        options, pool);
  }
  [[nodiscard]] std::vector<Encoding> encode_each(std::span<const std::string> texts,
                                                  const EncodeOptions& options = {},
                                                  ThreadPool* pool = nullptr) const {
    return encode_all(
        texts.size(),
        [&](std::size_t i) {
          return Input{texts[i], std::nullopt};
        },
        options, pool);
  }
  [[nodiscard]] std::vector<Encoding> encode_each(std::span<const TextPair> pairs,
                                                  const EncodeOptions& options = {},
                                                  ThreadPool* pool = nullptr) const {
    return encode_all(
        pairs.size(),
        [&](std::size_t i) {
          return Input{pairs[i].first, pairs[i].second};
        },
        options, pool);
  }

  /// The text that ids stand for. As in HF, an id without a token adds nothing; a negative one is a
  /// ShapeError.
  [[nodiscard]] std::string decode(std::span<const TokenId> ids,
                                   bool skip_special_tokens = true) const {
    std::string bytes;
    bool first = true;
    for (const TokenId id : ids) {
      check<ShapeError>(id >= 0, "tokenizer: cannot decode id ", id);
      const std::optional<std::string_view> token = spelling(id);
      if (!token || (skip_special_tokens && is_special(id))) continue;
      decoder_.append(bytes, *token, first);
      first = false;
    }
    return decoder_.finish(std::move(bytes));
  }
  [[nodiscard]] std::string decode(std::initializer_list<TokenId> ids,
                                   bool skip_special_tokens = true) const {
    return decode(std::span(ids.begin(), ids.size()), skip_special_tokens);
  }

  /// The id of a token by its spelling in the vocabulary, which is not text: " the" is "Ġthe".
  [[nodiscard]] std::optional<TokenId> token_to_id(std::string_view token) const noexcept {
    for (const detail::AddedToken& added : added_.all()) {
      if (added.content == token) return added.id;
    }
    return model_->vocabulary().find(token);
  }

  /// The spelling of a token; throws ShapeError where there is none with this id.
  [[nodiscard]] std::string_view id_to_token(TokenId id) const {
    const std::optional<std::string_view> token = spelling(id);
    check<ShapeError>(token.has_value(), "tokenizer: no token has id ", id, "; there are ",
                      vocab_size());
    return *token;
  }

  /// How many tokens there are, added ones included.
  [[nodiscard]] Index vocab_size() const noexcept { return vocab_size_; }

  /// Whether decoding may skip this token.
  [[nodiscard]] bool is_special(TokenId id) const noexcept {
    const detail::AddedToken* token = added_by_id(id);
    return token != nullptr && token->special;
  }

  /// The ids of the special tokens; throw ConfigError where the tokenizer has none in this role.
  [[nodiscard]] TokenId bos_token_id() const { return role(detail::SpecialRole::bos); }
  [[nodiscard]] TokenId eos_token_id() const { return role(detail::SpecialRole::eos); }
  [[nodiscard]] TokenId unk_token_id() const { return role(detail::SpecialRole::unk); }
  [[nodiscard]] TokenId sep_token_id() const { return role(detail::SpecialRole::sep); }
  [[nodiscard]] TokenId pad_token_id() const { return role(detail::SpecialRole::pad); }
  [[nodiscard]] TokenId cls_token_id() const { return role(detail::SpecialRole::cls); }
  [[nodiscard]] TokenId mask_token_id() const { return role(detail::SpecialRole::mask); }

  /// How many special tokens the template adds to one text, or to a pair.
  [[nodiscard]] Index added_special_tokens(bool pair = false) const noexcept {
    return static_cast<Index>(post_processor_.added(pair));
  }

 private:
  struct Input {
    std::string_view text;
    std::optional<std::string_view> pair;
  };

  /// White space at a token's ends, in characters; 255 means: count it.
  struct Margins {
    std::uint8_t leading = 0;
    std::uint8_t trailing = 0;
  };

  /// The caller's memory, or one for this call.
  struct Borrowed {
    Borrowed(const Tokenizer& tokenizer, const EncodeOptions& options, std::size_t bytes)
        : memory(options.cache != nullptr ? &options.cache->memory_ : &own) {
      if (memory->owner != tokenizer.model_) {
        memory->words.clear();
        memory->owner = tokenizer.model_;
      }
      memory->words.reserve(options.cache != nullptr ? 1 << 15 : bytes / 16);
    }
    Borrowed(const Borrowed&) = delete;
    Borrowed& operator=(const Borrowed&) = delete;

    detail::EncodeMemory own;
    detail::EncodeMemory* memory;
  };

  /// A piece of the text: `spans` are the bytes of the text that each of its bytes stands for, or
  /// null where it is the text itself from `base` on.
  struct PieceText {
    std::string_view text;
    std::size_t base;
    const ByteSpan* spans;

    /// The bytes of the text that bytes begin..end of the piece stand for: whole characters.
    [[nodiscard]] ByteSpan place(std::size_t begin, std::size_t end) const noexcept {
      if (spans != nullptr) return {spans[begin].begin, spans[end - 1].end};
      while (begin > 0 && detail::is_continuation(text[begin])) --begin;
      while (end < text.size() && detail::is_continuation(text[end])) ++end;
      return {static_cast<std::uint32_t>(base + begin), static_cast<std::uint32_t>(base + end)};
    }
  };

  Tokenizer() = default;

  // ---- reading ----

  void read(const Json& document, const std::string& source) {
    check<FormatError>(document.is_object(), source, ": must be an object");
    const auto version = document.find("version");
    check<ConfigError>(version == document.end() || *version == "1.0", source,
                       ": version must be \"1.0\"");
    const auto stage = [&](const char* key) -> const Json& {
      static const Json nothing = nullptr;
      const auto found = document.find(key);
      return found == document.end() ? nothing : *found;
    };
    normalizer_ = detail::Normalizer::from_json(stage("normalizer"), source);
    pre_tokenizer_ = detail::PreTokenizer::from_json(stage("pre_tokenizer"), source);
    post_processor_ = detail::PostProcessor::from_json(stage("post_processor"), source);
    decoder_ = detail::Decoder::from_json(stage("decoder"), source);
    model_ = detail::read_model(stage("model"), pre_tokenizer_.byte_level(), source);
    read_added_tokens(stage("added_tokens"), source);
    for (const bool pair : {false, true}) {
      for (const detail::TemplatePart& part : post_processor_.parts(pair)) {
        for (const TokenId id : part.ids) {
          check<FormatError>(spelling(id).has_value(), source, ": post_processor: no token has id ",
                             id);
        }
      }
    }
    find_margins();
    find_whole_words();
  }

  /// As HF, a token's id is the vocabulary's where it is in it, else the next free one.
  void read_added_tokens(const Json& entries, const std::string& source) {
    const detail::Vocabulary& vocabulary = model_->vocabulary();
    vocab_size_ = static_cast<Index>(vocabulary.size());
    if (entries.is_null()) return;
    check<FormatError>(entries.is_array(), source, ": 'added_tokens' must be an array");
    std::vector<TokenId> file_ids;
    auto next = static_cast<TokenId>(vocabulary.size());
    for (const Json& entry : entries) {
      detail::AddedToken token = detail::read_added_token(entry, source);
      if (token.content.empty()) continue;
      file_ids.push_back(token.id);
      for (const detail::AddedToken& other : added_.all()) {
        check<FormatError>(other.content != token.content, source, ": added token '", token.content,
                           "' appears twice");
      }
      if (const std::optional<TokenId> id = vocabulary.find(token.content)) {
        token.id = *id;
      } else {
        token.id = next++;
        ++vocab_size_;
      }
      const auto at = static_cast<std::size_t>(token.id);
      if (at >= added_at_.size()) added_at_.resize(at + 1, -1);
      added_at_[at] = static_cast<std::int32_t>(added_.all().size());
      const std::string pattern = token.content;
      added_.add(std::move(token), pattern);
    }
    std::sort(file_ids.begin(), file_ids.end());
    const auto twice = std::adjacent_find(file_ids.begin(), file_ids.end());
    check<FormatError>(twice == file_ids.end(), source, ": two added tokens have id ",
                       twice == file_ids.end() ? 0 : *twice);
  }

  void read_roles(const Json& names_file, const Json& config) {
    detail::SpecialNames names;
    for (std::size_t role = 0; role < names.size(); ++role) {
      for (const char* usual : detail::usual_special_names[role]) {
        if (usual == nullptr || !token_to_id(usual)) continue;
        names[role] = usual;
        break;
      }
    }
    detail::read_special_names(names_file, names);
    detail::read_special_names(config, names);
    for (std::size_t role = 0; role < names.size(); ++role) {
      if (!names[role].empty()) roles_[role] = token_to_id(names[role]);
    }
  }

  static bool is_margin(char32_t point) noexcept {
    return point == detail::byte_characters[' '] ||
           detail::UnicodeClasses::instance().is_space(point);
  }

  static detail::TextTokens::Added count_margins(std::string_view token) noexcept {
    detail::TextTokens::Added margins{0, 0, 0};
    for (std::size_t at = 0; at < token.size(); ++margins.leading) {
      const detail::Utf8Char next = detail::decode_utf8(token.data() + at);
      if (!is_margin(next.point)) break;
      at += next.size;
    }
    for (std::size_t at = token.size(); at > 0; ++margins.trailing) {
      const detail::Utf8Char before = detail::decode_utf8_before(token.data() + at);
      if (!is_margin(before.point)) break;
      at -= before.size;
    }
    return margins;
  }

  void find_margins() {
    margins_.resize(model_->vocabulary().end_id());
    for (std::size_t id = 0; id < margins_.size(); ++id) {
      const auto token = model_->vocabulary().find(static_cast<TokenId>(id));
      if (!token) continue;
      const auto margins = count_margins(*token);
      margins_[id] = {static_cast<std::uint8_t>(std::min<std::uint32_t>(margins.leading, 255)),
                      static_cast<std::uint8_t>(std::min<std::uint32_t>(margins.trailing, 255))};
    }
  }

  /// Most words of a text are one token. Those that the model does make of the word are listed.
  void find_whole_words() {
    const std::size_t count = model_->vocabulary().end_id();
    whole_words_ = detail::WordTable(model_->vocabulary().size());
    detail::ModelScratch scratch;
    std::vector<detail::Piece> pieces;
    for (std::size_t i = 0; i < count; ++i) {
      const auto id = static_cast<TokenId>(i);
      const std::optional<std::string> word = model_->word_of(id);
      if (!word || word->empty() || word->size() > detail::ShortWord::max_size) continue;
      model_->encode(*word, scratch, pieces);
      if (pieces.size() != 1 || pieces[0].id != id || pieces[0].end != word->size()) continue;
      whole_words_.insert(detail::ShortWord(word->data(), word->size(), word->size()), id);
    }
  }

  // ---- tokens ----

  [[nodiscard]] const detail::AddedToken* added_by_id(TokenId id) const noexcept {
    const auto at = static_cast<std::size_t>(id);
    if (id < 0 || at >= added_at_.size() || added_at_[at] < 0) return nullptr;
    return &added_.all()[static_cast<std::size_t>(added_at_[at])];
  }

  [[nodiscard]] std::optional<std::string_view> spelling(TokenId id) const noexcept {
    if (const detail::AddedToken* token = added_by_id(id)) return token->content;
    return model_->vocabulary().find(id);
  }

  [[nodiscard]] TokenId role(detail::SpecialRole which) const {
    const auto at = static_cast<std::size_t>(which);
    check<ConfigError>(roles_[at].has_value(), "tokenizer: there is no ",
                       std::string_view(detail::special_role_keys[at]));
    return *roles_[at];
  }

  // ---- encoding ----

  /// Fills `out` with the tokens of one text.
  void tokenize(std::string_view input, const EncodeOptions& options, detail::EncodeMemory& memory,
                detail::TextTokens& out) const {
    check<ShapeError>(input.size() < 0xFFFFFFF0U, "tokenizer: a text of ", input.size(),
                      " bytes; 4 GiB is the limit");
    out.clear();
    out.text = input;
    if (detail::valid_prefix(input) != input.size()) {
      out.repaired = detail::repair(input);
      out.text = out.repaired.text;
    }
    std::int32_t word = 0;
    const auto add_token = [&](std::size_t begin, std::size_t end, std::uint32_t number) {
      auto margins = count_margins(out.text.substr(begin, end - begin));
      margins.index = out.ids.size();
      out.added.push_back(margins);
      out.ids.push_back(added_.all()[number].id);
      out.spans.push_back({static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end)});
      out.words.push_back(word++);
    };
    const bool as_text = options.encode_special_tokens;
    added_.split(out.text, false, as_text, [&](std::size_t outer, std::size_t end, auto number) {
      if (number != detail::AddedTokens::none) return add_token(outer, end, number);
      const std::string_view between = out.text.substr(outer, end - outer);
      added_.split(between, true, as_text, [&](std::size_t from, std::size_t to, auto inner) {
        if (inner != detail::AddedTokens::none) return add_token(outer + from, outer + to, inner);
        tokenize_piece({between.substr(from, to - from), outer + from, nullptr}, memory, out, word);
      });
    });
  }

  void tokenize_piece(const PieceText& piece, detail::EncodeMemory& memory, detail::TextTokens& out,
                      std::int32_t& word) const {
    if (pre_tokenizer_.add_prefix_space() && piece.text.front() != ' ' && piece.spans == nullptr) {
      // The space stands for the first character, together with that character itself.
      detail::AlignedText spaced;
      spaced.text = " ";
      spaced.text += piece.text;
      spaced.spans.push_back(piece.place(0, 1));
      for (std::size_t i = 0; i < piece.text.size(); ++i) {
        spaced.spans.push_back(piece.place(i, i + 1));
      }
      return tokenize_piece({spaced.text, 0, spaced.spans.data()}, memory, out, word);
    }
    pre_tokenizer_.split(piece.text, [&](std::size_t begin, std::size_t end) {
      tokenize_word(piece, begin, end, memory, out, word++);
    });
  }

  void tokenize_word(const PieceText& piece, std::size_t begin, std::size_t end,
                     detail::EncodeMemory& memory, detail::TextTokens& out,
                     std::int32_t word) const {
    const auto add = [&](TokenId id, std::size_t from, std::size_t to) {
      out.ids.push_back(id);
      out.spans.push_back(piece.place(begin + from, begin + to));
      out.words.push_back(word);
    };
    const char* data = piece.text.data() + begin;
    const std::size_t size = end - begin;
    if (size > detail::ShortWord::max_size) {
      model_->encode({data, size}, memory.scratch, memory.pieces);
      for (const detail::Piece& part : memory.pieces) add(part.id, part.begin, part.end);
      return;
    }
    const detail::ShortWord key(data, size, piece.text.size() - begin);
    const std::uint64_t hash = key.hash();
    if (const TokenId id = whole_words_.find(key, hash); id != detail::WordTable::none) {
      return add(id, 0, size);
    }
    detail::WordMemory::Entry& entry = memory.words.at(hash);
    if (!(entry.word == key)) {
      model_->encode({data, size}, memory.scratch, memory.pieces);
      if (memory.pieces.size() > detail::WordMemory::max_pieces || !contiguous(memory.pieces)) {
        for (const detail::Piece& part : memory.pieces) add(part.id, part.begin, part.end);
        return;
      }
      entry.word = key;
      entry.count = static_cast<std::uint8_t>(memory.pieces.size());
      for (std::size_t i = 0; i < memory.pieces.size(); ++i) {
        entry.ids[i] = memory.pieces[i].id;
        entry.ends[i] = static_cast<std::uint8_t>(memory.pieces[i].end);
      }
    }
    std::size_t from = 0;
    for (std::size_t i = 0; i < entry.count; ++i) {
      add(entry.ids[i], from, entry.ends[i]);
      from = entry.ends[i];
    }
  }

  /// Whether each piece begins where the one before it ends.
  static bool contiguous(const std::vector<detail::Piece>& pieces) noexcept {
    std::uint32_t at = 0;
    for (const detail::Piece& piece : pieces) {
      if (piece.begin != at) return false;
      at = piece.end;
    }
    return true;
  }

  Encoding encode_one(std::string_view text, const std::string_view* pair,
                      const EncodeOptions& options, detail::EncodeMemory& memory) const {
    tokenize(text, options, memory, memory.first);
    if (pair != nullptr) tokenize(*pair, options, memory, memory.second);
    const bool is_pair = pair != nullptr;
    const std::size_t sizes[2] = {memory.first.ids.size(),
                                  is_pair ? memory.second.ids.size() : std::size_t{0}};
    if (options.max_length == 0) {
      return assemble(memory, {detail::Window{0, sizes[0]}, detail::Window{0, sizes[1]}},
                      {false, false}, is_pair, options);
    }
    check<ConfigError>(options.max_length > 0 && options.stride >= 0, "tokenizer: max_length ",
                       options.max_length, " and stride ", options.stride, " must not be negative");
    const std::size_t added = options.add_special_tokens ? post_processor_.added(is_pair) : 0;
    const auto limit = static_cast<std::size_t>(options.max_length);
    check<ConfigError>(limit >= added, "tokenizer: max_length ", limit, " leaves no room for the ",
                       added, " special tokens");
    const auto stride = static_cast<std::size_t>(options.stride);
    const std::size_t single = post_processor_.added(false);
    check<ConfigError>(stride == 0 || limit < single || stride <= limit - single,
                       "tokenizer: stride ", stride, " must not exceed max_length ", limit,
                       " without the ", single, " special tokens of one text");
    const detail::Lengths lengths =
        detail::truncated_lengths({sizes[0], sizes[1]}, is_pair, limit - added, options.strategy);
    const auto first = detail::cut_windows(sizes[0], lengths.first, stride, options.direction);
    const auto second = detail::cut_windows(sizes[1], lengths.second, stride, options.direction);
    Encoding encoding = assemble(memory, {first[0], second[0]}, {false, false}, is_pair, options);
    if (!options.return_overflow) return encoding;
    // In the order of HF: each further window of the first text with all of the second's, then
    // the first window with the further ones of the second.
    for (std::size_t i = 1; i <= first.size(); ++i) {
      const std::size_t a = i % first.size();
      for (std::size_t b = a == 0 ? 1 : 0; b < second.size(); ++b) {
        encoding.overflowing.push_back(
            assemble(memory, {first[a], second[b]}, {a > 0, b > 0}, is_pair, options));
      }
    }
    return encoding;
  }

  /// Puts one window of each text into the template.
  Encoding assemble(const detail::EncodeMemory& memory, std::array<detail::Window, 2> windows,
                    std::array<bool, 2> overflow, bool pair, const EncodeOptions& options) const {
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
        const detail::TextTokens& tokens = at == 0 ? memory.first : memory.second;
        const detail::Window window = windows[at];
        const auto slice = [&](const auto& from, auto& to) {
          to.insert(to.end(), from.begin() + static_cast<Index>(window.begin),
                    from.begin() + static_cast<Index>(window.end));
        };
        if (overflow[at]) {
          type = post_processor_.overflow_type(part.sequence, options.add_special_tokens);
        }
        slice(tokens.ids, out.ids);
        if (offsets) {
          slice(tokens.spans, out.offsets);
          finish_offsets(tokens, window, std::span(out.offsets).last(window.end - window.begin));
        }
        if (all) slice(tokens.words, out.word_ids);
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
  void finish_offsets(const detail::TextTokens& tokens, detail::Window window,
                      std::span<ByteSpan> offsets) const {
    for (const bool keeps_added_space : post_processor_.trims()) {
      auto added = tokens.added.begin();
      for (std::size_t i = 0; i < offsets.size(); ++i) {
        const std::size_t index = window.begin + i;
        while (added != tokens.added.end() && added->index < index) ++added;
        detail::TextTokens::Added margins{};
        if (added != tokens.added.end() && added->index == index) {
          margins = *added;
        } else {
          const Margins known = margins_[static_cast<std::size_t>(tokens.ids[index])];
          margins = {index, known.leading, known.trailing};
          if (known.leading == 255 || known.trailing == 255) {
            margins = count_margins(*model_->vocabulary().find(tokens.ids[index]));
          }
        }
        trim(tokens.text, offsets[i], margins.leading, margins.trailing, i == 0, keeps_added_space);
      }
    }
    if (tokens.repaired.origin.empty()) return;
    for (ByteSpan& span : offsets) {
      span = {tokens.repaired.origin[span.begin], tokens.repaired.origin[span.end]};
    }
  }

  /// Moves both ends of a span inwards by characters of the text, as HF does.
  static void trim(std::string_view text, ByteSpan& span, std::uint32_t leading,
                   std::uint32_t trailing, bool first, bool keeps_added_space) noexcept {
    if (leading > 0) {
      if ((first || span.begin == 0) && keeps_added_space && leading == 1) leading = 0;
      for (; leading > 0 && span.begin < span.end; --leading) {
        span.begin +=
            static_cast<std::uint32_t>(detail::decode_utf8(text.data() + span.begin).size);
      }
    }
    if (trailing > 0) {
      // Nothing happens where the text before has fewer characters.
      std::uint32_t end = span.end;
      std::uint32_t back = 0;
      for (; back < trailing && end > 0; ++back) {
        end -= static_cast<std::uint32_t>(detail::decode_utf8_before(text.data() + end).size);
      }
      if (back == trailing) span.end = std::max(end, span.begin);
    }
  }

  static EncodeOptions ids_of(EncodeOptions options) {
    options.return_overflow = false;
    options.details = EncodingDetails::all;
    return options;
  }

  template <class InputAt>
  std::vector<Encoding> encode_all(std::size_t count, const InputAt& input_at,
                                   const EncodeOptions& options, ThreadPool* pool) const {
    std::vector<Encoding> encodings(count);
    const auto encode_range = [&](Index begin, Index end) {
      std::size_t bytes = 0;
      for (Index i = begin; i < end; ++i)
        bytes += input_at(static_cast<std::size_t>(i)).text.size();
      EncodeOptions own = options;
      if (pool != nullptr) own.cache = nullptr;
      const Borrowed memory(*this, own, bytes);
      for (Index i = begin; i < end; ++i) {
        const auto at = static_cast<std::size_t>(i);
        const Input input = input_at(at);
        encodings[at] =
            encode_one(input.text, input.pair ? &*input.pair : nullptr, own, *memory.memory);
      }
    };
    const auto total = static_cast<Index>(count);
    if (pool == nullptr) {
      encode_range(0, total);
    } else {
      parallel_for(*pool, total, std::max<Index>(16, total / 64), encode_range);
    }
    return encodings;
  }

  static Batch pack(const std::vector<Encoding>& encodings) {
    Batch batch;
    std::size_t tokens = 0;
    for (const Encoding& encoding : encodings) tokens += encoding.ids.size();
    batch.ids.reserve(tokens);
    batch.offsets.reserve(encodings.size() + 1);
    for (const Encoding& encoding : encodings) {
      const bool typed = std::any_of(encoding.type_ids.begin(), encoding.type_ids.end(),
                                     [](TokenId type) { return type != 0; });
      batch.add(encoding.ids,
                typed ? std::span<const TokenId>(encoding.type_ids) : std::span<const TokenId>());
    }
    return batch;
  }

  std::string document_;  // tokenizer.json
  detail::Normalizer normalizer_;
  detail::PreTokenizer pre_tokenizer_;
  std::shared_ptr<const detail::TokenModel> model_;
  detail::PostProcessor post_processor_;
  detail::Decoder decoder_;
  detail::AddedTokens added_;
  std::vector<std::int32_t> added_at_;  // by id: the number of the added token, or -1
  std::vector<Margins> margins_;        // by id
  detail::WordTable whole_words_;
  std::array<std::optional<TokenId>, 7> roles_;
  Index vocab_size_ = 0;
};

}  // namespace eigenformer
