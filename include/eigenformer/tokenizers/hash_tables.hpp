// Flat hash tables with linear probing: pairs of numbers, strings of a vocabulary, short words, and
// words with their counts.
// All grow by powers of two and are at most half full.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "eigenformer/base/batch.hpp"
#include "eigenformer/base/error.hpp"

namespace eigenformer::detail {

/// Spreads all bits of a key over the high bits of the result.
[[nodiscard]] inline std::uint64_t mix(std::uint64_t key) noexcept {
  key ^= key >> 32;
  return key * 0x9E3779B97F4A7C15U;
}

[[nodiscard]] inline std::uint64_t hash_bytes(std::string_view bytes) noexcept {
  std::uint64_t hash = bytes.size();
  while (bytes.size() >= 8) {
    std::uint64_t block = 0;
    std::memcpy(&block, bytes.data(), 8);
    hash = mix(hash ^ block);
    bytes.remove_prefix(8);
  }
  std::uint64_t block = 0;
  if (!bytes.empty()) std::memcpy(&block, bytes.data(), bytes.size());
  return mix(mix(hash ^ block));
}

/// From pairs of 32-bit numbers to one.
class PairTable {
 public:
  static constexpr std::uint32_t none = 0xFFFFFFFF;

  PairTable() : PairTable(0) {}
  explicit PairTable(std::size_t expected)
      : slots_(std::bit_ceil(2 * expected + 2)), shift_(64 - std::countr_zero(slots_.size())) {}

  /// The value, or `none`.
  [[nodiscard]] std::uint32_t find(std::uint32_t left, std::uint32_t right) const noexcept {
    const std::uint64_t key = join(left, right);
    for (std::size_t at = mix(key) >> shift_;; at = (at + 1) & (slots_.size() - 1)) {
      if (slots_[at].key == key) return slots_[at].value;
      if (slots_[at].value == none) return none;
    }
  }

  /// Adds or replaces a value other than `none`.
  void insert(std::uint32_t left, std::uint32_t right, std::uint32_t value) {
    if (2 * (size_ + 1) > slots_.size()) grow();
    const std::uint64_t key = join(left, right);
    std::size_t at = mix(key) >> shift_;
    while (slots_[at].value != none && slots_[at].key != key) at = (at + 1) & (slots_.size() - 1);
    size_ += slots_[at].value == none ? 1 : 0;
    slots_[at] = {key, value};
  }

 private:
  struct Slot {
    std::uint64_t key = ~std::uint64_t{0};
    std::uint32_t value = none;
  };

  static std::uint64_t join(std::uint32_t left, std::uint32_t right) noexcept {
    return std::uint64_t{left} << 32 | right;
  }

  void grow() {
    PairTable larger(slots_.size());
    for (const Slot& slot : slots_) {
      if (slot.value == none) continue;
      larger.insert(static_cast<std::uint32_t>(slot.key >> 32),
                    static_cast<std::uint32_t>(slot.key), slot.value);
    }
    *this = std::move(larger);
  }

  std::vector<Slot> slots_;
  int shift_;
  std::size_t size_ = 0;
};

/// Up to 15 bytes and their number in two words, for comparison and hashing at once.
struct ShortWord {
  static constexpr std::size_t max_size = 15;

  std::uint64_t low = 0;
  std::uint64_t high = 0;

  ShortWord() = default;

  /// `readable` bytes may be read from `word` on.
  ShortWord(const char* word, std::size_t size, std::size_t readable) noexcept {
    if (readable >= 16) {
      low = load<std::uint64_t>(word);
      high = load<std::uint64_t>(word + 8);
      if (size < 8) {
        low &= ~(~std::uint64_t{0} << 8 * size);
        high = 0;
      } else {
        high &= ~(~std::uint64_t{0} << 8 * (size - 8));
      }
    } else if (size >= 8) {
      low = load<std::uint64_t>(word);
      if (size > 8) high = load<std::uint64_t>(word + size - 8) >> 8 * (16 - size);
    } else if (size >= 4) {
      low = load<std::uint32_t>(word) | std::uint64_t{load<std::uint32_t>(word + size - 4)}
                                            << 8 * (size - 4);
    } else {
      for (std::size_t i = 0; i < size; ++i) {
        low |= std::uint64_t{static_cast<unsigned char>(word[i])} << 8 * i;
      }
    }
    high |= std::uint64_t{size} << 56;
  }

  [[nodiscard]] std::size_t size() const noexcept { return high >> 56; }
  [[nodiscard]] std::uint64_t hash() const noexcept {
    return mix(low ^ high * 0xD6E8FEB86659FD93U);
  }
  friend bool operator==(const ShortWord&, const ShortWord&) = default;

 private:
  /// The bytes at `from` as a number whose low byte is the first.
  template <class Number>
  static Number load(const char* from) noexcept {
    static_assert(std::endian::native == std::endian::little);
    Number number;
    std::memcpy(&number, from, sizeof(number));
    return number;
  }
};

/// From short words to ids. Fixed once made.
class WordTable {
 public:
  static constexpr TokenId none = -1;

  WordTable() : WordTable(0) {}
  explicit WordTable(std::size_t expected)
      : slots_(std::bit_ceil(2 * expected + 2)), shift_(64 - std::countr_zero(slots_.size())) {}

  [[nodiscard]] TokenId find(const ShortWord& word, std::uint64_t hash) const noexcept {
    for (std::size_t at = hash >> shift_;; at = (at + 1) & (slots_.size() - 1)) {
      if (slots_[at].word == word) return slots_[at].id;
      if (slots_[at].id == none) return none;
    }
  }

  /// Adds a word that is not there; at most as many as expected.
  void insert(const ShortWord& word, TokenId id) {
    std::size_t at = word.hash() >> shift_;
    while (slots_[at].id != none) at = (at + 1) & (slots_.size() - 1);
    slots_[at] = {word, id};
  }

 private:
  struct Slot {
    ShortWord word;
    TokenId id = none;
  };

  std::vector<Slot> slots_;
  int shift_;
};

/// How often each of many words occurs.
class WordCounts {
 public:
  /// Throws ShapeError for more than 2^32 - 1 different words.
  void add(std::string_view word, std::uint64_t count = 1) {
    if (2 * (words_.size() + 1) > slots_.size()) grow();
    const std::uint64_t hash = hash_bytes(word);
    const auto tag = static_cast<std::uint32_t>(hash);
    std::size_t at = hash >> shift_;
    for (; slots_[at].word != none; at = (at + 1) & (slots_.size() - 1)) {
      Word& known = words_[slots_[at].word];
      if (slots_[at].tag != tag || spelling(known) != word) continue;
      known.count += count;
      return;
    }
    check<ShapeError>(words_.size() < none, "more than ", none, " different words");
    slots_[at] = {tag, static_cast<std::uint32_t>(words_.size())};
    words_.push_back({bytes_.size(), word.size(), count});
    bytes_ += word;
  }

  /// How many different words there are, and the bytes of them all.
  [[nodiscard]] std::size_t size() const noexcept { return words_.size(); }
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_.size(); }

  /// Calls f(word, count) for each word, in the order in which they were added.
  template <class Function>
  void for_each(Function&& f) const {
    for (const Word& word : words_) f(spelling(word), word.count);
  }

 private:
  static constexpr std::uint32_t none = 0xFFFFFFFF;
  struct Word {
    std::size_t begin;
    std::size_t size;
    std::uint64_t count;
  };
  struct Slot {
    std::uint32_t tag = 0;  // the low half of the hash: other words need not be looked at
    std::uint32_t word = none;
  };

  [[nodiscard]] std::string_view spelling(const Word& word) const noexcept {
    return std::string_view(bytes_).substr(word.begin, word.size);
  }

  void grow() {
    slots_.assign(std::bit_ceil(4 * words_.size() + 64), Slot{});
    shift_ = 64 - std::countr_zero(slots_.size());
    for (std::size_t i = 0; i < words_.size(); ++i) {
      const std::uint64_t hash = hash_bytes(spelling(words_[i]));
      std::size_t at = hash >> shift_;
      while (slots_[at].word != none) at = (at + 1) & (slots_.size() - 1);
      slots_[at] = {static_cast<std::uint32_t>(hash), static_cast<std::uint32_t>(i)};
    }
  }

  std::string bytes_;  // all words, one after the other
  std::vector<Word> words_;
  std::vector<Slot> slots_;
  int shift_ = 64;
};

}  // namespace eigenformer::detail
