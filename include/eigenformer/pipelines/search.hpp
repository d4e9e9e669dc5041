// Search: the lines of a corpus whose embeddings are nearest to a query's, by cosine. Exact: every
// line is compared with every query, block by block, in products of the same kernels as a model's.
// Rows are kept at length 1, so that a cosine is one dot product; a row of zeros scores 0.
// A saved index is a safetensors file that is mapped and searched where it lies.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eigenformer/autograd/context.hpp"
#include "eigenformer/io/safetensors.hpp"
#include "eigenformer/kernels/gemm.hpp"
#include "eigenformer/tensor/tensor.hpp"

namespace eigenformer {

/// One line of the corpus.
struct SearchHit {
  Index line = 0;    ///< counted from 0
  float score = 0;   ///< the cosine
  std::string text;  ///< the line itself, where the index holds texts
};

namespace detail {

/// A line with its score.
struct Scored {
  Index line;
  float score;
  /// Whether it comes before another one. No two lines are equal, so that there is one order.
  [[nodiscard]] bool before(const Scored& other) const noexcept {
    return score != other.score ? score > other.score : line < other.line;
  }
};

/// The best of all lines that are offered, at most `most` of them.
class BestLines {
 public:
  explicit BestLines(Index most) : most_(static_cast<std::size_t>(most)) {}

  /// Whether a line after all others would be among the best with this score; true for NaN.
  [[nodiscard]] bool wants(float score) const noexcept {
    return heap_.size() < most_ || !(score <= heap_.front().score);
  }
  void offer(const Scored& scored) {
    if (heap_.size() == most_) {
      if (!scored.before(heap_.front())) return;
      std::pop_heap(heap_.begin(), heap_.end(), before);
      heap_.pop_back();
    }
    heap_.push_back(scored);
    std::push_heap(heap_.begin(), heap_.end(), before);
  }
  void offer_all(const BestLines& others) {
    for (const Scored& scored : others.heap_) offer(scored);
  }
  /// The best ones in order.
  [[nodiscard]] std::vector<Scored> sorted() && {
    std::sort_heap(heap_.begin(), heap_.end(), before);
    return std::move(heap_);
  }

 private:
  static bool before(const Scored& a, const Scored& b) noexcept { return a.before(b); }

  std::size_t most_;
  std::vector<Scored> heap_;  // the worst in front
};

/// The rows of x `[rows, hidden]` divided by their lengths. Throws Error naming the row of `what`
/// that is not finite.
template <class Scalar>
[[nodiscard]] Tensor<float> unit_rows(const Tensor<Scalar>& x, const char* what) {
  check<ShapeError>(x.rank() == 2 && x.cols() > 0, "search: ", what, " are ", x.shape(),
                    " but must be [rows, hidden]");
  Tensor<float> units(x.shape());
  for (Index i = 0; i < x.size(0); ++i) {
    const auto row = x.matrix().row(i).template cast<double>();
    const double length = row.norm();
    check(std::isfinite(length), "search: row ", i, " of the ", what,
          " is not finite, or its length is not");
    units.matrix().row(i) = (row / std::max(length, 1e-12)).template cast<float>();
  }
  return units;
}

}  // namespace detail

/// An index of embeddings `[lines, hidden]`, with the lines' texts or without. Const use is safe
/// from any number of threads, each with a context of its own.
class Search {
 public:
  /// Keeps a copy of the embeddings, each at length 1. `texts` has one for each, or is empty.
  /// Throws ShapeError, and Error for an embedding that is not finite.
  template <class Scalar>
  explicit Search(const Tensor<Scalar>& embeddings, std::span<const std::string> texts = {})
      : rows_(detail::unit_rows(embeddings, "embeddings")) {
    check<ShapeError>(texts.empty() || static_cast<Index>(texts.size()) == size(),
                      "search: ", texts.size(), " texts for ", size(), " embeddings");
    if (texts.empty()) return;
    std::string bytes;
    ends_ = Tensor<std::int64_t>(Shape{size()});
    for (std::size_t i = 0; i < texts.size(); ++i) {
      bytes += texts[i];
      ends_.data()[i] = static_cast<std::int64_t>(bytes.size());
    }
    texts_ = Tensor<std::uint8_t>(Shape{static_cast<Index>(bytes.size())});
    std::copy(bytes.begin(), bytes.end(), texts_.data());
  }

  /// Maps an index that save() wrote; nothing is read before it is searched. Throws IoError or
  /// FormatError.
  [[nodiscard]] static Search open(const std::string& path) {
    const SafetensorsFile file = SafetensorsFile::open_shared(path);
    const auto format = file.metadata().find("format");
    check<FormatError>(format != file.metadata().end() && format->second == index_format, path,
                       ": is not an index for search; Search::save writes one");
    Search search;
    search.path_ = path;
    search.rows_ = mapped<float>(file, "embeddings", 2);
    check<FormatError>(search.hidden() > 0, path, ": tensor 'embeddings' has no columns");
    const bool has_texts = file.contains("texts");
    if (has_texts) {
      search.ends_ = mapped<std::int64_t>(file, "text_ends", 1);
      search.texts_ = mapped<std::uint8_t>(file, "texts", 1);
      check<FormatError>(search.ends_.numel() == search.size(), path, ": has ",
                         search.ends_.numel(), " texts for ", search.size(), " embeddings");
    }
    const std::size_t known = has_texts ? 3 : 1;
    check<FormatError>(file.tensors().size() == known, path, ": has ", file.tensors().size(),
                       " tensors but an index has ", known);
    return search;
  }

  /// Writes `embeddings` F32 `[lines, hidden]`, and where there are texts `texts` U8 `[bytes]` and
  /// `text_ends` I64 `[lines]`, atomically. Throws IoError.
  void save(const std::string& path) const {
    std::vector<TensorToWrite> tensors = {written("embeddings", rows_)};
    if (has_texts()) {
      tensors.push_back(written("text_ends", ends_));
      tensors.push_back(written("texts", texts_));
    }
    write_safetensors(path, tensors, {{"format", std::string(index_format)}});
  }

  /// The `top_k` lines nearest to each query of `queries` `[queries, hidden]`, the nearest first,
  /// equal ones by line; all lines where there are fewer. The result does not depend on the
  /// threads. Throws ShapeError where the hidden sizes differ, and Error for top_k below 1, and for
  /// a query or a line that is not finite.
  template <class Scalar>
  [[nodiscard]] std::vector<std::vector<SearchHit>> operator()(Context& cx,
                                                               const Tensor<Scalar>& queries,
                                                               Index top_k) const {
    check(top_k >= 1, "search: top_k is ", top_k, "; it must be 1 or more");
    check<ShapeError>(queries.rank() == 2 && queries.cols() == hidden(), "search: queries are ",
                      queries.shape(), " but the index is ", rows_.shape(),
                      "; both must come from the same model");
    const Tensor<float> units = detail::unit_rows(queries, "queries");
    std::vector<std::vector<SearchHit>> hits;
    for (Index first = 0; first < units.size(0); first += most_queries) {
      const Index last = std::min(units.size(0), first + most_queries);
      for (detail::BestLines& best : best_lines(cx, units.rows(first, last), top_k)) {
        hits.emplace_back();
        for (const detail::Scored& scored : std::move(best).sorted()) {
          hits.back().push_back({scored.line, scored.score,
                                 has_texts() ? std::string(text(scored.line)) : std::string()});
        }
      }
    }
    return hits;
  }

  /// How many lines there are.
  [[nodiscard]] Index size() const noexcept { return rows_.shape()[0]; }
  /// How many numbers an embedding has.
  [[nodiscard]] Index hidden() const noexcept { return rows_.cols(); }
  /// Whether text() has something to give.
  [[nodiscard]] bool has_texts() const noexcept { return ends_.defined(); }
  /// The embeddings at length 1, `[lines, hidden]`.
  [[nodiscard]] const Tensor<float>& embeddings() const noexcept { return rows_; }

  /// A line's text, valid as long as the index is. Throws ShapeError where there is none, and
  /// FormatError where a mapped file has no such place.
  [[nodiscard]] std::string_view text(Index line) const {
    check<ShapeError>(has_texts() && line >= 0 && line < size(), "search: no text of line ", line,
                      "; there are ", has_texts() ? size() : 0);
    const std::int64_t begin = line == 0 ? 0 : ends_.data()[line - 1];
    const std::int64_t end = ends_.data()[line];
    check<FormatError>(0 <= begin && begin <= end && end <= texts_.numel(), path_,
                       ": the text of line ", line, " ends at byte ", end, " of ", texts_.numel(),
                       " and begins at ", begin);
    return {reinterpret_cast<const char*>(texts_.data()) + begin,
            static_cast<std::size_t>(end - begin)};
  }

 private:
  static constexpr std::string_view index_format = "eigenformer.search";
  static constexpr Index block_lines = 960;  // whole panels, whose scores stay in cache
  static constexpr Index most_queries = 64;  // at a time: more would not make products faster

  Search() = default;

  /// A tensor of the file where it lies.
  template <class Number>
  static Tensor<Number> mapped(const SafetensorsFile& file, const char* name, int rank) {
    const Shape shape = file.shape(name);
    const Number* numbers = file.view<Number>(name);
    check<FormatError>(numbers != nullptr && shape.rank() == rank, file.path(), ": tensor '", name,
                       "' is ", file.info(name).dtype_name, " ", shape, " but must be ",
                       name_of(dtype_of<Number>), " with ", rank, " axes, aligned to its size");
    return Tensor<Number>::foreign(numbers, shape, file.mapping());
  }

  template <class Number>
  static TensorToWrite written(const char* name, const Tensor<Number>& numbers) {
    return {name, dtype_of<Number>, numbers.shape(),
            std::as_bytes(std::span(numbers.data(), static_cast<std::size_t>(numbers.numel())))};
  }

  /// The best lines for each of a few queries at length 1. Tasks are ranges of lines, cut by the
  /// corpus' size alone; what each finds is at most `top_k` lines for a query.
  std::vector<detail::BestLines> best_lines(Context& cx, const Tensor<float>& queries,
                                            Index top_k) const {
    constexpr Index most_tasks = 64;
    const Index blocks = (size() + block_lines - 1) / block_lines;
    const Index grain = std::max<Index>(1, (blocks + most_tasks - 1) / most_tasks) * block_lines;
    const auto tasks = static_cast<std::size_t>((size() + grain - 1) / grain);
    const std::vector<detail::BestLines> none(static_cast<std::size_t>(queries.size(0)),
                                              detail::BestLines(std::min(top_k, size())));
    std::vector<std::vector<detail::BestLines>> found(tasks, none);
    parallel_for(cx.threads(), size(), grain, [&](Index begin, Index end) {
      search_lines(cx, queries, begin, end, found[static_cast<std::size_t>(begin / grain)]);
    });
    std::vector<detail::BestLines> best = none;
    for (const auto& of_task : found) {
      for (std::size_t i = 0; i < best.size(); ++i) best[i].offer_all(of_task[i]);
    }
    return best;
  }

  /// Offers lines `begin` to `end` (excluded).
  void search_lines(Context& cx, const Tensor<float>& queries, Index begin, Index end,
                    std::vector<detail::BestLines>& best) const {
    Tensor<float> scores(Shape{queries.size(0), block_lines});
    for (Index first = begin; first < end; first += block_lines) {
      const Index lines = std::min(block_lines, end - first);
      const MatrixView<float> block = scores.view().columns(0, lines);  // [queries, lines]
      kernels::linear<float>(cx.threads(), queries.view(), rows_.view().middle_rows(first, lines),
                             {}, block);
      for (Index query = 0; query < block.rows; ++query) {
        detail::BestLines& of_query = best[static_cast<std::size_t>(query)];
        const float* const row = block.row(query);
        for (Index i = 0; i < lines; ++i) {
          if (!of_query.wants(row[i])) continue;
          check_score(row[i], first + i);
          of_query.offer({first + i, row[i]});
        }
      }
    }
  }

  /// A mapped file may hold anything; what is no cosine must not be ranked.
  void check_score(float score, Index line) const {
    check<FormatError>(std::abs(score) < 1.01f, path_, ": the embedding of line ", line,
                       " is not of length 1: its product with a query is ", score);
  }

  std::string path_;            // of the mapped file, if it is one
  Tensor<float> rows_;          // [lines, hidden]
  Tensor<std::int64_t> ends_;   // [lines], or undefined
  Tensor<std::uint8_t> texts_;  // [bytes]
};

}  // namespace eigenformer
