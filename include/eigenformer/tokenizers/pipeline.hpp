// The way from a text to its tokens: added tokens > normalizer > pre-tokenizer > model. Offsets are
// kept throughout; what comes after it (truncation, the template) sees tokens only.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigenformer/base/error.hpp"
#include "eigenformer/io/json.hpp"
#include "eigenformer/tokenizers/added_tokens.hpp"
#include "eigenformer/tokenizers/aligned_text.hpp"
#include "eigenformer/tokenizers/encode_cache.hpp"
#include "eigenformer/tokenizers/normalizer.hpp"
#include "eigenformer/tokenizers/pre_tokenizer.hpp"
#include "eigenformer/tokenizers/token_model.hpp"
#include "eigenformer/tokenizers/tokenizer_files.hpp"
#include "eigenformer/tokenizers/unicode.hpp"

namespace eigenformer::detail {

class Pipeline {
 public:
  Pipeline() = default;

  /// From a tokenizer.json, whose vocabulary it takes; throws as Tokenizer::from_pretrained.
  Pipeline(TokenizerJson& document, const std::string& source)
      : normalizer_(Normalizer::from_json(document.rest, source)),
        pre_tokenizer_(PreTokenizer::from_json(document.rest, source)),
        model_(read_model(document, pre_tokenizer_.byte_level(), source)) {
    read_added_tokens(json_stage(document.rest, "added_tokens"), source);
    find_margins();
    find_whole_words();
  }

  [[nodiscard]] const std::shared_ptr<const TokenModel>& model() const noexcept { return model_; }
  [[nodiscard]] Index vocab_size() const noexcept { return vocab_size_; }

  [[nodiscard]] std::optional<TokenId> find(std::string_view token) const noexcept {
    for (const AddedToken& added : added_.all()) {
      if (added.content == token) return added.id;
    }
    return model_->vocabulary().find(token);
  }

  [[nodiscard]] std::optional<std::string_view> find(TokenId id) const noexcept {
    if (const AddedToken* token = added_by_id(id)) return token->content;
    return model_->vocabulary().find(id);
  }

  [[nodiscard]] bool is_special(TokenId id) const noexcept {
    const AddedToken* token = added_by_id(id);
    return token != nullptr && token->special;
  }

  /// Fills `out` with the tokens of one text.
  void tokenize(std::string_view input, bool specials_are_text, EncodeMemory& memory,
                TextTokens& out) const {
    check_size(input);
    out.clear();
    out.text = input;
    if (valid_prefix(input) != input.size()) {
      out.repaired = repair(input);
      out.text = out.repaired.text;
      check_size(out.text);
    }
    std::int32_t word = 0;
    const auto add_token = [&](std::size_t begin, std::size_t end, std::uint32_t number) {
      TextTokens::Added margins = count_margins(out.text.substr(begin, end - begin));
      margins.index = out.tokens.size();
      out.added.push_back(margins);
      out.tokens.push_back({added_.all()[number].id,
                            {static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end)},
                            word++});
    };
    const bool as_text = specials_are_text;
    added_.split(out.text, false, as_text, [&](std::size_t outer, std::size_t end, auto number) {
      if (number != AddedTokens::none) return add_token(outer, end, number);
      PieceText between{out.text.substr(outer, end - outer), outer, nullptr};
      AlignedText normalized;
      between = normalizer_(between, normalized);
      added_.split(between.text, true, as_text, [&](std::size_t from, std::size_t to, auto inner) {
        if (inner != AddedTokens::none) {
          const ByteSpan span = between.whole(from, to);
          return add_token(span.begin, span.end, inner);
        }
        word = tokenize_piece(between.part(from, to), memory, out, word);
      });
    });
  }

  /// Moves the spans of the tokens from `begin` on, which `spans` has, off the white space at their
  /// ends. A lone space in front of the first token may be one that the pre-tokenizer added.
  void trim(const TextTokens& text, std::size_t begin, bool keeps_added_space,
            std::span<ByteSpan> spans) const noexcept {
    auto added = text.added.begin();
    for (std::size_t i = 0; i < spans.size(); ++i) {
      const TokenId id = text.tokens[begin + i].id;
      while (added != text.added.end() && added->index < begin + i) ++added;
      if (added != text.added.end() && added->index == begin + i) {
        trim(text.text, spans[i], added->leading, added->trailing, i == 0, keeps_added_space);
        continue;
      }
      const Margins margins = margins_[static_cast<std::size_t>(id)];
      if (margins.leading == many || margins.trailing == many) {
        const TextTokens::Added counted = count_margins(*model_->vocabulary().find(id));
        trim(text.text, spans[i], counted.leading, counted.trailing, i == 0, keeps_added_space);
      } else if (margins.leading != 0 || margins.trailing != 0) {
        trim(text.text, spans[i], margins.leading, margins.trailing, i == 0, keeps_added_space);
      }
    }
  }

 private:
  /// White space at a token's ends, in characters.
  struct Margins {
    std::uint8_t leading = 0;
    std::uint8_t trailing = 0;
  };
  static constexpr std::uint8_t many = 255;  // has to be counted

  // ---- reading ----

  /// As in HF, a token's id is the vocabulary's where it is in it, else the next free one.
  void read_added_tokens(const Json& entries, const std::string& source) {
    const Vocabulary& vocabulary = model_->vocabulary();
    vocab_size_ = static_cast<Index>(vocabulary.size());
    if (entries.is_null()) return;
    check<FormatError>(entries.is_array(), source, ": 'added_tokens' must be an array");
    std::vector<std::string> contents;
    std::vector<TokenId> file_ids;
    TokenId next = static_cast<TokenId>(vocabulary.size());
    for (const Json& entry : entries) {
      AddedToken token = read_added_token(entry, source);
      if (token.content.empty()) continue;
      contents.push_back(token.content);
      file_ids.push_back(token.id);
      if (const std::optional<TokenId> id = vocabulary.find(token.content)) {
        token.id = *id;
      } else {
        check<FormatError>(!vocabulary.find(next), source, ": added token '", token.content,
                           "' would get id ", next, ", which the vocabulary has already");
        token.id = next;
        ++vocab_size_;
      }
      next = std::max(next, token.id + 1);
      const auto at = static_cast<std::size_t>(token.id);
      if (at >= added_at_.size()) added_at_.resize(at + 1, -1);
      added_at_[at] = static_cast<std::int32_t>(added_.all().size());
      PieceText pattern{token.content, 0, nullptr};
      AlignedText normalized;
      if (token.normalized) pattern = normalizer_(pattern, normalized);
      added_.add(token, pattern.text);
    }
    std::sort(contents.begin(), contents.end());
    std::sort(file_ids.begin(), file_ids.end());
    const auto content = std::adjacent_find(contents.begin(), contents.end());
    const auto id = std::adjacent_find(file_ids.begin(), file_ids.end());
    if (content != contents.end()) {
      fail<FormatError>(source, ": added token '", *content, "' appears twice");
    }
    if (id != file_ids.end()) fail<FormatError>(source, ": two added tokens have id ", *id);
  }

  static bool is_margin(char32_t point) noexcept {
    return point == byte_characters[' '] || UnicodeClasses::instance().is_space(point);
  }

  static TextTokens::Added count_margins(std::string_view token) noexcept {
    TextTokens::Added margins{0, 0, 0};
    for (std::size_t at = 0; at < token.size(); ++margins.leading) {
      const Utf8Char next = decode_utf8(token.data() + at);
      if (!is_margin(next.point)) break;
      at += next.size;
    }
    for (std::size_t at = token.size(); at > 0; ++margins.trailing) {
      const Utf8Char before = decode_utf8_before(token.data() + at);
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
      const TextTokens::Added margins = count_margins(*token);
      margins_[id] = {static_cast<std::uint8_t>(std::min<std::uint32_t>(margins.leading, many)),
                      static_cast<std::uint8_t>(std::min<std::uint32_t>(margins.trailing, many))};
    }
  }

  /// Most words of a text are one token. Those that the model does make of the word are listed.
  void find_whole_words() {
    const std::size_t count = model_->vocabulary().end_id();
    whole_words_ = WordTable(model_->vocabulary().size());
    ModelScratch scratch;
    std::vector<Piece> pieces;
    for (std::size_t i = 0; i < count; ++i) {
      const auto id = static_cast<TokenId>(i);
      const std::optional<std::string> word = model_->word_of(id);
      if (!word || word->empty() || word->size() > ShortWord::max_size) continue;
      model_->encode(*word, scratch, pieces);
      if (pieces.size() != 1 || pieces[0].id != id || pieces[0].end != word->size()) continue;
      whole_words_.insert(ShortWord(word->data(), word->size(), word->size()), id);
    }
  }

  [[nodiscard]] const AddedToken* added_by_id(TokenId id) const noexcept {
    const auto at = static_cast<std::size_t>(id);
    if (id < 0 || at >= added_at_.size() || added_at_[at] < 0) return nullptr;
    return &added_.all()[static_cast<std::size_t>(added_at_[at])];
  }

  // ---- encoding ----

  /// Bytes and words are counted in 32 bits.
  static void check_size(std::string_view text) {
    constexpr std::size_t most = std::numeric_limits<std::int32_t>::max();
    check<ShapeError>(text.size() <= most, "tokenizer: a text of ", text.size(),
                      " bytes, with each invalid sequence counted as 3; at most ", most,
                      " are supported");
  }

  /// Adds the tokens of text between added tokens, whose first word has number `word`; returns the
  /// number of the next word.
  std::int32_t tokenize_piece(const PieceText& piece, EncodeMemory& memory, TextTokens& out,
                              std::int32_t word) const {
    if (pre_tokenizer_.add_prefix_space() && piece.text.front() != ' ') {
      // The space stands for the first character, together with that character itself.
      AlignedText spaced;
      spaced.reserve(piece.text.size() + 1);
      spaced.append(" ", piece.place(0, 1));
      spaced.append(piece, 0, piece.text.size());
      return split_piece(spaced.piece(), memory, out, word);
    }
    if (pre_tokenizer_.metaspace()) return split_spaced(piece, memory, out, word);
    return split_piece(piece, memory, out, word);
  }

  std::int32_t split_piece(const PieceText& piece, EncodeMemory& memory, TextTokens& out,
                           std::int32_t word) const {
    pre_tokenizer_.split(piece.text, [&](std::size_t begin, std::size_t end) {
      add_any_word(piece, begin, end, word++, memory, out);
    });
    return word;
  }

  /// The same with Metaspace, which changes the words.
  std::int32_t split_spaced(const PieceText& piece, EncodeMemory& memory, TextTokens& out,
                            std::int32_t word) const {
    AlignedText spaced;
    spaced.reserve(piece.text.size() + piece.text.size() / 2 + 3);
    std::vector<std::size_t> ends;
    pre_tokenizer_.split(piece.text, [&](std::size_t begin, std::size_t end) {
      pre_tokenizer_.metaspace()->append(piece.part(begin, end), spaced, ends);
    });
    const PieceText whole = spaced.piece();
    std::size_t begin = 0;
    for (const std::size_t end : ends) {
      add_any_word(whole, begin, end, word++, memory, out);
      begin = end;
    }
    return word;
  }

  /// A word is looked up, in the vocabulary and among those already seen, before the model is
  /// asked.
  void add_any_word(const PieceText& piece, std::size_t begin, std::size_t end, std::int32_t number,
                    EncodeMemory& memory, TextTokens& out) const {
    const std::size_t size = end - begin;
    if (size > ShortWord::max_size) return add_word(piece, begin, end, number, memory, out);
    const ShortWord key(piece.text.data() + begin, size, piece.text.size() - begin);
    const std::uint64_t hash = key.hash();
    if (const TokenId id = whole_words_.find(key, hash); id != WordTable::none) [[likely]] {
      out.tokens.push_back({id, piece.whole(begin, end), number});
    } else {
      add_short_word(key, hash, piece, begin, number, memory, out);
    }
  }

  void add_word(const PieceText& piece, std::size_t begin, std::size_t end, std::int32_t number,
                EncodeMemory& memory, TextTokens& out) const {
    model_->encode(piece.text.substr(begin, end - begin), memory.scratch, memory.pieces);
    for (const Piece& part : memory.pieces) {
      out.tokens.push_back({part.id, piece.place(begin + part.begin, begin + part.end), number});
    }
  }

  [[gnu::noinline]] void add_short_word(const ShortWord& key, std::uint64_t hash,
                                        const PieceText& piece, std::size_t begin,
                                        std::int32_t number, EncodeMemory& memory,
                                        TextTokens& out) const {
    WordMemory::Entry* entry = memory.words.at(hash);
    if (entry == nullptr || entry->word != key) {
      const std::size_t before = out.tokens.size();
      add_word(piece, begin, begin + key.size(), number, memory, out);
      if (entry == nullptr || out.tokens.size() - before > WordMemory::max_pieces ||
          !contiguous(memory.pieces)) {
        return;
      }
      entry->word = key;
      entry->count = static_cast<std::uint8_t>(memory.pieces.size());
      for (std::size_t i = 0; i < memory.pieces.size(); ++i) {
        entry->ids[i] = memory.pieces[i].id;
        entry->ends[i] = static_cast<std::uint8_t>(memory.pieces[i].end);
      }
      return;
    }
    std::size_t from = begin;
    for (std::size_t i = 0; i < entry->count; ++i) {
      const std::size_t to = begin + entry->ends[i];
      out.tokens.push_back({entry->ids[i], piece.place(from, to), number});
      from = to;
    }
  }

  /// Whether each piece begins where the one before it ends.
  static bool contiguous(const std::vector<Piece>& pieces) noexcept {
    std::uint32_t at = 0;
    for (const Piece& piece : pieces) {
      if (piece.begin != at) return false;
      at = piece.end;
    }
    return true;
  }

  /// Moves both ends of a span inwards by characters of the text, as HF does.
  static void trim(std::string_view text, ByteSpan& span, std::uint32_t leading,
                   std::uint32_t trailing, bool first, bool keeps_added_space) noexcept {
    if (leading > 0) {
      if ((first || span.begin == 0) && keeps_added_space && leading == 1) leading = 0;
      for (; leading > 0 && span.begin < span.end; --leading) {
        span.begin += static_cast<std::uint32_t>(decode_utf8(text.data() + span.begin).size);
      }
    }
    if (trailing > 0) {
      // Nothing happens where the text before has fewer characters.
      std::uint32_t end = span.end;
      std::uint32_t back = 0;
      for (; back < trailing && end > 0; ++back) {
        end -= static_cast<std::uint32_t>(decode_utf8_before(text.data() + end).size);
      }
      if (back == trailing) span.end = std::max(end, span.begin);
    }
  }

  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  std::shared_ptr<const TokenModel> model_;
  AddedTokens added_;
  std::vector<std::int32_t> added_at_;  // by id: the number of the added token, or -1
  std::vector<Margins> margins_;        // by id
  WordTable whole_words_;
  Index vocab_size_ = 0;
};

}  // namespace eigenformer::detail
