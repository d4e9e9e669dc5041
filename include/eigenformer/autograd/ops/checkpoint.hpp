// checkpoint: a part of a computation that keeps only its input, and is computed again in the
// backward pass: memory for time (Chen et al., arXiv:1604.06174). Mirrors
// torch.utils.checkpoint.checkpoint.
#pragma once

#include <optional>
#include <utility>

#include "eigenformer/autograd/tape.hpp"

namespace eigenformer {

/// f(cx, x), of which the tape keeps x alone; f must compute the same when it is called again, and
/// use no other tensors that the tape tracks than x and parameters. Dropout drops the same again.
/// `f` is kept until the tape goes: what it refers to must live as long.
template <class Scalar, class Function>
[[nodiscard]] Tensor<Scalar> checkpoint(Context& cx, Function f, const Tensor<Scalar>& x) {
  Tape<Scalar>* outer = tape_of<Scalar>(cx);
  if (outer == nullptr) return f(cx, x);
  // On a tape of its own, which records as the outer one would, and is dropped.
  const auto compute = [outer, f = std::move(f), kept = x, products = cx.products](
                           Context& on, Tape<Scalar>& tape,
                           std::optional<DropoutGenerator>& dropout) -> Tensor<Scalar> {
    Context own(on.shared_threads(), on.memory());
    own.tape = &tape;
    own.products = products;
    own.dropout = dropout.has_value() ? &*dropout : nullptr;
    const bool tracked = outer->tracks(kept);
    return f(own, tracked ? tape.watch_of_outer(kept) : kept);
  };
  std::optional<DropoutGenerator> dropout;
  if (cx.dropout != nullptr) dropout = *cx.dropout;
  auto after = dropout;
  Tape<Scalar> tape(*outer);
  Tensor<Scalar> y = compute(cx, tape, after);
  if (after.has_value()) *cx.dropout = *after;
  const bool tracked = tape.tracks(y);
  y = y.detach();
  if (tracked) {
    outer->record(cx, y, [outer, compute, dropout](auto& pass, const Tensor<Scalar>& dy) {
      Tape<Scalar> again(*outer);
      auto generator = dropout;
      const Tensor<Scalar> result = compute(pass.context(), again, generator);
      again.backward(pass, result, dy);
    });
  }
  return y;
}

}  // namespace eigenformer
