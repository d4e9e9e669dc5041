// tokenizer.json as it is read: the vocabulary and the merges, which are nearly all of the file, go
// straight to where they are needed; everything else becomes a Json tree.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigenformer/base/error.hpp"
#include "eigenformer/io/json.hpp"
#include "eigenformer/tokenizers/bpe.hpp"
#include "eigenformer/tokenizers/vocabulary.hpp"

namespace eigenformer::detail {

struct TokenizerJson {
  Json rest;  ///< without model.vocab and model.merges, where these are of the usual kinds
  Vocabulary vocabulary;
  Merges merges;
  std::vector<double> scores;  ///< by id, where the vocabulary is a list of pieces with scores
  bool has_vocabulary = false;
  bool has_scores = false;
  bool has_merges = false;
};

/// A merge as one string, `"a b"`; throws FormatError with `place` in front.
template <class... Place>
std::pair<std::string, std::string> split_merge(std::string_view line, const Place&... place) {
  const std::size_t space = line.find(' ');
  check<FormatError>(
      space != std::string_view::npos && line.find(' ', space + 1) == std::string_view::npos,
      place..., " is '", line, "', which does not have two parts with one space between");
  return {std::string(line.substr(0, space)), std::string(line.substr(space + 1))};
}

/// A JSON number as the reference's parser (serde_json) reads it, which may be one unit in the last
/// place off: as many digits as 64 bits hold, times a power of ten or divided by one.
[[nodiscard]] inline double reference_number(std::string_view text) {
  const bool negative = text.front() == '-';
  const std::size_t end = std::min(text.find_first_of("eE"), text.size());
  std::uint64_t digits = 0;
  std::int64_t exponent = 0;
  bool fraction = false, full = false;
  for (const char c : text.substr(negative, end - negative)) {
    if (c == '.') {
      fraction = true;
      continue;
    }
    std::uint64_t longer = 0;
    full = full || __builtin_mul_overflow(digits, std::uint64_t{10}, &longer) ||
           __builtin_add_overflow(longer, static_cast<std::uint64_t>(c - '0'), &longer);
    if (!full) digits = longer;
    if (full != fraction) exponent += full ? 1 : -1;
  }
  if (end < text.size()) {
    const std::size_t from = end + (text[end + 1] == '+' ? 2 : 1);
    int given = std::numeric_limits<int>::min();  // where it does not fit, the number is 0
    std::from_chars(text.data() + from, text.data() + text.size(), given);
    exponent += given;
  }
  auto value = static_cast<double>(digits);
  for (; exponent < -308 && value != 0; exponent += 308) value /= 1e308;
  if (value != 0) {
    double power = 1;
    const std::string name = concat("1e", std::abs(exponent));
    std::from_chars(name.data(), name.data() + name.size(), power);
    value = exponent < 0 ? value / power : value * power;
  }
  return negative ? -value : value;
}

/// Receives the parser's events.
class TokenizerJsonReader {
 public:
  TokenizerJsonReader(TokenizerJson& made, const std::string& source)
      : made_(made), source_(source), tree_(made.rest, source) {}

  bool null() { return inside_ == Inside::tree ? tree_.null() : refuse("null"); }
  bool boolean(bool value) {
    return inside_ == Inside::tree ? tree_.boolean(value) : refuse(value ? "true" : "false");
  }
  bool number_integer(std::int64_t value) {
    if (inside_ == Inside::piece) return add_score(static_cast<double>(value));
    return inside_ == Inside::tree ? tree_.number_integer(value) : add_id(value);
  }
  bool number_unsigned(std::uint64_t value) {
    if (inside_ == Inside::tree) return tree_.number_unsigned(value);
    if (inside_ == Inside::piece) return add_score(static_cast<double>(value));
    const bool huge = value > static_cast<std::uint64_t>(max_token_id);
    return huge ? refuse(std::to_string(value)) : add_id(static_cast<std::int64_t>(value));
  }
  bool number_float(double value, const std::string& text) {
    if (inside_ == Inside::piece) return add_score(reference_number(text));
    return inside_ == Inside::tree ? tree_.number_float(value, text) : refuse(text);
  }
  bool string(std::string& value) {
    if (inside_ == Inside::tree) return tree_.string(value);
    if (inside_ == Inside::vocabulary || inside_ == Inside::pieces) return refuse("a string");
    if (inside_ == Inside::piece) {
      if (parts_++ != 0) return refuse("a second string");
      token_ = std::move(value);
      return true;
    }
    if (inside_ == Inside::pair) {
      pair_.push_back(std::move(value));
    } else if (value.rfind("#version", 0) != 0) {
      made_.merges.push_back(split_merge(value, source_, ": merge ", made_.merges.size() + 1));
    }
    return true;
  }
  bool binary(Json::binary_t& value) { return tree_.binary(value); }

  bool start_object(std::size_t size) {
    if (inside_ != Inside::tree) return refuse("an object");
    if (at_model_key("vocab")) {
      inside_ = Inside::vocabulary;
      made_.has_vocabulary = true;
      return tree_.null();
    }
    return open(tree_.start_object(size));
  }
  bool start_array(std::size_t size) {
    if (inside_ == Inside::merges) {
      inside_ = Inside::pair;
      pair_.clear();
      return true;
    }
    if (inside_ == Inside::pieces) {
      inside_ = Inside::piece;
      parts_ = 0;
      return true;
    }
    if (inside_ != Inside::tree) return refuse("an array");
    if (at_model_key("vocab")) {
      check<FormatError>(!made_.has_scores, source_, ": 'vocab' appears twice");
      inside_ = Inside::pieces;
      made_.has_scores = true;
      return tree_.null();
    }
    if (at_model_key("merges")) {
      inside_ = Inside::merges;
      made_.has_merges = true;
      return tree_.null();
    }
    return open(tree_.start_array(size));
  }
  bool key(std::string& name) {
    if (inside_ == Inside::vocabulary) {
      token_ = std::move(name);
      return true;
    }
    if (depth_ <= 2) (depth_ == 1 ? outer_key_ : inner_key_) = name;
    return tree_.key(name);
  }
  bool end_object() {
    if (inside_ == Inside::tree) return close(tree_.end_object());
    inside_ = Inside::tree;
    return true;
  }
  bool end_array() {
    if (inside_ == Inside::tree) return close(tree_.end_array());
    if (inside_ == Inside::piece) {
      if (parts_ != 2) refuse("too few values");
      made_.vocabulary.add(token_, static_cast<std::int64_t>(made_.scores.size()), source_);
      made_.scores.push_back(score_);
      inside_ = Inside::pieces;
    } else if (inside_ == Inside::pair) {
      check<FormatError>(pair_.size() == 2, source_, ": merge ", made_.merges.size() + 1, " has ",
                         pair_.size(), " parts, not 2");
      made_.merges.emplace_back(std::move(pair_[0]), std::move(pair_[1]));
      inside_ = Inside::merges;
    } else {
      inside_ = Inside::tree;
    }
    return true;
  }

  template <class Problem>
  bool parse_error(std::size_t at, const std::string& token, const Problem& problem) {
    return tree_.parse_error(at, token, problem);
  }

 private:
  enum class Inside { tree, vocabulary, pieces, piece, merges, pair };

  /// Whether the value that begins is document["model"][key].
  [[nodiscard]] bool at_model_key(std::string_view key) const noexcept {
    return depth_ == 2 && outer_key_ == "model" && inner_key_ == key;
  }
  bool open(bool done) {
    if (++depth_ == 2) inner_key_.clear();
    return done;
  }
  bool close(bool done) {
    --depth_;
    return done;
  }

  bool add_id(std::int64_t id) {
    if (inside_ != Inside::vocabulary) return refuse(std::to_string(id));
    made_.vocabulary.add(token_, id, source_);
    return true;
  }

  /// The score of the piece whose spelling was read.
  bool add_score(double score) {
    if (parts_++ != 1) return refuse(parts_ == 1 ? "a number first" : "a third value");
    score_ = score;
    return true;
  }

  /// A value that may not be there.
  [[noreturn]] bool refuse(std::string_view what) const {
    if (inside_ == Inside::vocabulary) {
      fail<FormatError>(source_, ": token '", token_, "' has id ", what,
                        ", which is not a whole number in 0..", max_token_id);
    }
    if (inside_ == Inside::pieces || inside_ == Inside::piece) {
      fail<FormatError>(source_, ": piece ", made_.scores.size(), " of 'vocab' is or holds ", what,
                        "; it must be a string and its score");
    }
    fail<FormatError>(source_, ": merge ", made_.merges.size() + 1, " is or holds ", what,
                      "; it must be two strings, or one with a space between its parts");
  }

  TokenizerJson& made_;
  const std::string& source_;
  JsonBuilder tree_;
  Inside inside_ = Inside::tree;
  int depth_ = 0;          // containers of the tree around the current place
  std::string outer_key_;  // of the document
  std::string inner_key_;  // of a value of the document
  std::string token_;
  int parts_ = 0;  // of a piece
  double score_ = 0;
  std::vector<std::string> pair_;
};

/// Parses a tokenizer.json; throws FormatError naming `source`.
[[nodiscard]] inline TokenizerJson parse_tokenizer_json(std::string_view text,
                                                        const std::string& source) {
  check_json_bytes(text, source);
  TokenizerJson made;
  TokenizerJsonReader reader(made, source);
  Json::sax_parse(text.begin(), text.end(), &reader);
  return made;
}

}  // namespace eigenformer::detail
