// Embedding: a table of learned vectors.
#pragma once

#include <algorithm>
#include <span>

#include "eigenformer/autograd/ops/embedding.hpp"
#include "eigenformer/nn/initializer.hpp"
#include "eigenformer/nn/visit.hpp"

namespace eigenformer {

/// `entries` vectors of size `hidden`. The row `padding` starts at 0 and gets no gradient; -1:
/// none. Mirrors torch.nn.Embedding.
template <class Scalar>
class Embedding {
 public:
  /// Draws the table. Throws ShapeError for a padding row outside of it.
  Embedding(Index entries, Index hidden, Index padding = -1, const Initializer& init = {})
      : weight_(init.normal<Scalar>({entries, hidden})), padding_(padding) {
    check<ShapeError>(padding >= -1 && padding < entries, "embedding: padding row ", padding,
                      " of ", entries);
    if (padding >= 0 && weight_.defined()) weight_.value().rows(padding, padding + 1).fill(0);
  }

  /// The vectors of `ids`: `[ids, hidden]`. Throws ShapeError for an id outside the table.
  [[nodiscard]] Tensor<Scalar> operator()(Context& cx, std::span<const TokenId> ids) const {
    return embedding_sum<Scalar>(cx, {lookup(cx, ids)});
  }

  /// A term of an embedding_sum.
  [[nodiscard]] Lookup<Scalar> lookup(const Context& cx, std::span<const TokenId> ids) const {
    return {weight_(cx), ids, padding_, weight_.row_reader()};
  }

  /// The table, `[entries, hidden]`.
  [[nodiscard]] const Parameter<Scalar>& weight() const noexcept { return weight_; }
  /// The table, `[entries, hidden]`, to change it.
  [[nodiscard]] Parameter<Scalar>& weight() noexcept { return weight_; }

  /// Visits `weight`.
  static void visit(auto& self, auto&& f) { f("weight", self.weight_); }

 private:
  Parameter<Scalar> weight_;  // [entries, hidden]
  Index padding_;
};

}  // namespace eigenformer
