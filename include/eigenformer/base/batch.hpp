// Batch: texts of different lengths, packed one after the other without padding. Activations are
// [tokens, features]; only attention looks at the segment boundaries.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "eigenformer/base/error.hpp"
#include "eigenformer/base/shape.hpp"

namespace eigenformer {

/// A token's number in the vocabulary.
using TokenId = std::int32_t;

/// Rows `begin` to `end` (excluded) of a matrix.
struct RowRange {
  Index begin = 0;  ///< the first row
  Index end = 0;    ///< one past the last row
  /// How many rows.
  [[nodiscard]] Index size() const noexcept { return end - begin; }
};

/// Token ids of one or more texts with the segment boundaries between them.
struct Batch {
  std::vector<TokenId> ids;          ///< `[tokens]`
  std::vector<TokenId> type_ids;     ///< `[tokens]`, or empty: all 0
  std::vector<std::uint8_t> mask;    ///< `[tokens]`, 0: nothing attends to it; empty: all 1
  std::vector<Index> offsets = {0};  ///< `[segments + 1]`: segment i is offsets[i]..offsets[i+1]

  /// How many tokens all texts have together.
  [[nodiscard]] Index tokens() const noexcept { return static_cast<Index>(ids.size()); }
  /// How many texts there are.
  [[nodiscard]] Index segments() const noexcept { return static_cast<Index>(offsets.size()) - 1; }

  /// The rows of segment `i`; throws ShapeError where there is no such segment.
  [[nodiscard]] RowRange segment(Index i) const {
    check<ShapeError>(i >= 0 && i < segments(), "batch: segment ", i, " of ", segments());
    const auto at = static_cast<std::size_t>(i);
    return {offsets[at], offsets[at + 1]};
  }

  /// The longest segment, in tokens.
  [[nodiscard]] Index longest() const noexcept {
    Index longest = 0;
    for (std::size_t i = 1; i < offsets.size(); ++i) {
      longest = std::max(longest, offsets[i] - offsets[i - 1]);
    }
    return longest;
  }

  /// Appends one text; `types` may be empty.
  void add(std::span<const TokenId> text, std::span<const TokenId> types = {}) {
    check<ShapeError>(types.empty() || types.size() == text.size(), "batch: ", text.size(),
                      " ids but ", types.size(), " type ids");
    if (!types.empty() || !type_ids.empty()) {
      type_ids.resize(ids.size());
      if (types.empty())
        type_ids.resize(ids.size() + text.size());
      else
        type_ids.insert(type_ids.end(), types.begin(), types.end());
    }
    if (!mask.empty()) mask.resize(ids.size() + text.size(), 1);
    ids.insert(ids.end(), text.begin(), text.end());
    offsets.push_back(tokens());
  }

  /// Segments `first` to `last` (excluded) as a batch of their own; throws ShapeError where they
  /// are not there.
  [[nodiscard]] Batch part(Index first, Index last) const {
    check<ShapeError>(first >= 0 && first <= last && last <= segments(), "batch: segments ", first,
                      " to ", last, " of ", segments());
    const Index begin = offsets[static_cast<std::size_t>(first)];
    const Index end = offsets[static_cast<std::size_t>(last)];
    const auto cut = [&]<class T>(const std::vector<T>& all) {
      return all.empty() ? all : std::vector<T>(all.begin() + begin, all.begin() + end);
    };
    Batch part{
        cut(ids), cut(type_ids), cut(mask), {offsets.begin() + first, offsets.begin() + last + 1}};
    for (Index& offset : part.offsets) offset -= begin;
    return part;
  }

  /// Packs `[rows, length]` ids with an attention mask (1 real, 0 padding) as HF takes them.
  /// Masked positions at a row's end are dropped; others stay, with mask 0, since positions count
  /// them. A row that is masked whole stays whole: HF attends to it uniformly.
  [[nodiscard]] static Batch from_padded(std::span<const TokenId> padded_ids, Index rows,
                                         Index length,
                                         std::span<const std::uint8_t> attention_mask = {},
                                         std::span<const TokenId> padded_types = {}) {
    const Index total = checked_product(rows, length);
    const auto fits = [&](std::size_t size) { return static_cast<Index>(size) == total; };
    check<ShapeError>(rows >= 0 && length >= 0 && fits(padded_ids.size()),
                      "batch: ", padded_ids.size(), " ids for ", rows, " rows of ", length);
    check<ShapeError>(attention_mask.empty() || fits(attention_mask.size()),
                      "batch: ", attention_mask.size(), " mask values for ", total, " ids");
    check<ShapeError>(padded_types.empty() || fits(padded_types.size()),
                      "batch: ", padded_types.size(), " type ids for ", total, " ids");
    Batch batch;
    for (Index row = 0; row < rows; ++row) {
      const auto begin = static_cast<std::size_t>(row * length);
      auto kept = static_cast<std::size_t>(length);
      if (!attention_mask.empty()) {
        while (kept > 0 && attention_mask[begin + kept - 1] == 0) --kept;
        if (kept == 0) kept = static_cast<std::size_t>(length);
      }
      batch.add(padded_ids.subspan(begin, kept),
                padded_types.empty() ? padded_types : padded_types.subspan(begin, kept));
      if (!attention_mask.empty()) {
        const auto values = attention_mask.subspan(begin, kept);
        if (batch.mask.empty() && std::find(values.begin(), values.end(), 0) != values.end()) {
          batch.mask.resize(batch.ids.size() - kept, 1);
          batch.mask.insert(batch.mask.end(), values.begin(), values.end());
        } else if (!batch.mask.empty()) {
          std::copy(values.begin(), values.end(), batch.mask.end() - static_cast<Index>(kept));
        }
      }
    }
    return batch;
  }

  /// Throws ShapeError unless the parts agree with each other.
  void validate() const {
    check<ShapeError>(!offsets.empty() && offsets.front() == 0 && offsets.back() == tokens(),
                      "batch: offsets must start at 0 and end at the number of ids, ", tokens());
    check<ShapeError>(std::is_sorted(offsets.begin(), offsets.end()),
                      "batch: offsets must not decrease");
    check<ShapeError>(type_ids.empty() || type_ids.size() == ids.size(), "batch: ", ids.size(),
                      " ids but ", type_ids.size(), " type ids");
    check<ShapeError>(mask.empty() || mask.size() == ids.size(), "batch: ", ids.size(), " ids but ",
                      mask.size(), " mask values");
  }
};

/// Calls f(part, first) for parts of `batch` in order: whole segments from `first` on, as many as
/// have at most `most` tokens together; a longer one goes alone.
template <class Function>
void for_each_part(const Batch& batch, Index most, Function&& f) {
  for (Index first = 0; first < batch.segments();) {
    const auto tokens_to = [&](Index last) {
      return batch.segment(last - 1).end - batch.segment(first).begin;
    };
    Index last = first + 1;
    while (last < batch.segments() && tokens_to(last + 1) <= most) ++last;
    f(batch.part(first, last), first);
    first = last;
  }
}

}  // namespace eigenformer
