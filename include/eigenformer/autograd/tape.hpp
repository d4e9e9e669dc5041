// Tape: reverse-mode differentiation by recording. Operations append themselves in the order in
// which they run, which is a topological order: the backward pass is one loop over the tape in
// reverse. Gradients live by node, never in a tensor, and are added up where a tensor is used
// more than once.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "eigenformer/autograd/context.hpp"
#include "eigenformer/base/dtype.hpp"

namespace eigenformer {

/// What all tapes have in common, whatever their scalar.
class TapeBase {
 public:
  TapeBase(const TapeBase&) = delete;
  TapeBase& operator=(const TapeBase&) = delete;

  /// The scalar of the tensors that it records.
  [[nodiscard]] DType dtype() const noexcept { return dtype_; }

  /// Layers keep their inputs alone, and compute the rest again in the backward pass.
  bool recompute = false;

 protected:
  /// A tape with a serial number of its own.
  explicit TapeBase(DType dtype) : dtype_(dtype), serial_(next_serial()) {}
  /// Not virtual: nobody owns a tape by its base.
  ~TapeBase() = default;

  /// What tensors of this tape have as TapePosition::tape.
  [[nodiscard]] std::uint32_t serial() const noexcept { return serial_; }

 private:
  /// Serial numbers tell a tensor of another tape from one of this.
  static std::uint32_t next_serial() noexcept {
    static std::atomic<std::uint32_t> last{0};
    return ++last;
  }

  DType dtype_;
  std::uint32_t serial_;
};

/// The result of a backward pass: gradients of leaves (parameters and watched tensors).
template <class Scalar>
class Gradients {
 public:
  /// The gradient for a leaf, found by its storage; throws NotDifferentiable when the loss does
  /// not depend on it through the tape.
  [[nodiscard]] const Tensor<Scalar>& operator[](const Tensor<Scalar>& leaf) const {
    const Tensor<Scalar>* found = find(leaf);
    check<NotDifferentiable>(found != nullptr, "no gradient for a tensor of shape ", leaf.shape(),
                             ": the loss does not depend on it, or the tape did not watch it");
    return *found;
  }
  /// The gradient for a parameter or anything else that has value().
  template <class Owner>
  requires requires(const Owner& owner) { owner.value(); }
  [[nodiscard]] const Tensor<Scalar>& operator[](const Owner& owner) const {
    return (*this)[owner.value()];
  }

  /// The gradient for a leaf, or null.
  [[nodiscard]] const Tensor<Scalar>* find(const Tensor<Scalar>& leaf) const {
    const auto found = by_storage_.find(leaf.data());
    return found == by_storage_.end() ? nullptr : &found->second;
  }
  /// How many leaves have a gradient.
  [[nodiscard]] std::size_t size() const noexcept { return by_storage_.size(); }

  /// Adds the gradients of another pass over the same leaves, such as the next part of a batch.
  void add(Gradients other) {
    for (auto& [storage, gradient] : other.by_storage_) add(storage, std::move(gradient));
  }
  /// The same with the gradient for one leaf.
  void add(const Tensor<Scalar>& leaf, Tensor<Scalar> gradient) {
    add(leaf.data(), std::move(gradient));
  }
  /// Forgets the gradient for a leaf.
  void drop(const Tensor<Scalar>& leaf) { by_storage_.erase(leaf.data()); }
  /// The gradient for a leaf, to be changed, without gaps: zeros where there was none.
  [[nodiscard]] Tensor<Scalar>& at(const Tensor<Scalar>& leaf) {
    const auto [mine, added] = by_storage_.try_emplace(leaf.data());
    if (added) mine->second = Tensor<Scalar>::zeros(leaf.shape());
    return own(mine->second);
  }

 private:
  friend class Tape<Scalar>;

  void add(const Scalar* storage, Tensor<Scalar> gradient) {
    const auto [mine, added] = by_storage_.try_emplace(storage, gradient);
    if (!added) own(mine->second).array() += gradient.array();
  }

  /// The same numbers in memory that nothing else refers to, without gaps.
  static Tensor<Scalar>& own(Tensor<Scalar>& gradient) {
    if (!gradient.storage_.unique() || !gradient.contiguous()) gradient = gradient.clone();
    return gradient;
  }

  std::unordered_map<const Scalar*, Tensor<Scalar>> by_storage_;
};

/// Records the operations of one forward pass. One tape serves one thread.
template <class Scalar>
class Tape : public TapeBase {
 public:
  /// A backward pass under way: gradients by node.
  class Pass {
   public:
    /// Threads and memory for the gradients; records nothing.
    [[nodiscard]] Context& context() noexcept { return context_; }

    /// Whether a gradient for `input` is of use.
    [[nodiscard]] bool wants(const Tensor<Scalar>& input) const noexcept {
      return input.position().node >= 0;
    }

    /// Adds to the gradient of `input`, if it is wanted.
    void add(const Tensor<Scalar>& input, Tensor<Scalar> gradient) {
      if (!wants(input)) return;
      check<ShapeError>(gradient.shape() == input.shape(), "backward: a gradient of shape ",
                        gradient.shape(), " for a tensor of shape ", input.shape());
      if (at(input).defined())
        accumulator(input).array() += gradient.array();
      else
        at(input) = std::move(gradient);
    }

    /// The gradient of `input` so far, zero at first, without gaps, for kernels that add to it.
    [[nodiscard]] Tensor<Scalar>& accumulator(const Tensor<Scalar>& input) {
      Tensor<Scalar>& sum = at(input);
      if (!sum.defined())
        sum = context_.template zeros<Scalar>(input.shape());
      else if (!sum.storage_.unique() || !sum.contiguous())
        sum = sum.clone();  // it may be, or be part of, another node's gradient
      return sum;
    }

    /// Numbers like `kept`'s to be written, in the same memory where nothing else refers to it.
    [[nodiscard]] Tensor<Scalar> reuse(const Tensor<Scalar>& kept) {
      const bool own = kept.storage_.unique() && kept.contiguous();
      return own ? kept.detach() : context_.template empty<Scalar>(kept.shape());
    }

    /// Where a kernel puts a gradient.
    struct Target {
      MatrixView<Scalar> view;  ///< of the gradient so far
      bool add;                 ///< to what is there; else it is not initialised
    };
    /// Where a kernel puts the gradient of `input`.
    [[nodiscard]] Target target(const Tensor<Scalar>& input) {
      if (at(input).defined()) return {accumulator(input).view(), true};
      at(input) = context_.template empty<Scalar>(input.shape());
      return {at(input).view(), false};
    }

   private:
    friend class Tape;
    Pass(Context context, std::size_t nodes) : context_(std::move(context)), gradients_(nodes) {}

    [[nodiscard]] Tensor<Scalar>& at(const Tensor<Scalar>& input) {
      return at(input.position().node);
    }
    [[nodiscard]] Tensor<Scalar>& at(std::int32_t node) {
      return gradients_[static_cast<std::size_t>(node)];
    }

    Context context_;
    std::vector<Tensor<Scalar>> gradients_;
  };

  /// An empty tape; it records while a context has it.
  Tape() : TapeBase(dtype_of<Scalar>) {}
  /// A tape for a part of what `outer` records: whatever it watches, `outer` watches too.
  explicit Tape(Tape& outer) : TapeBase(dtype_of<Scalar>), outer_(&outer) {}

  /// The same tensor as a leaf, for which backward() gives a gradient; or what stands for it.
  /// Idempotent by storage.
  [[nodiscard]] Tensor<Scalar> watch(const Tensor<Scalar>& tensor) {
    check(tensor.defined(), "tape: a tensor without numbers cannot be watched");
    if (outer_ != nullptr) return watch_of_outer(outer_->watch(tensor));
    const auto computed = computed_.find(tensor.data());
    return computed == computed_.end() ? leaf_of(tensor) : computed->second;
  }
  /// As a leaf, a tensor that may have a place on the outer tape.
  [[nodiscard]] Tensor<Scalar> watch_of_outer(const Tensor<Scalar>& tensor) {
    sources_.try_emplace(tensor.data(), tensor);
    return leaf_of(tensor);
  }

  /// Lets `computed`, which this tape tracks, stand for a tensor wherever that would be watched
  /// from now on: a weight that is made of others. Throws ShapeError, NotDifferentiable.
  void substitute(const Tensor<Scalar>& tensor, Tensor<Scalar> computed) {
    check<ShapeError>(computed.shape() == tensor.shape(), "tape: ", computed.shape(),
                      " cannot stand for ", tensor.shape());
    check<NotDifferentiable>(tracks(computed), "tape: what is to stand for a tensor of shape ",
                             tensor.shape(), " depends on nothing that is tracked");
    computed_.insert_or_assign(tensor.data(), std::move(computed));
  }
  /// Whether something stands for a tensor.
  [[nodiscard]] bool substitutes(const Tensor<Scalar>& tensor) const {
    return outer_ != nullptr ? outer_->substitutes(tensor) : computed_.contains(tensor.data());
  }

  /// Makes `result` the next node. `backward(pass, gradient)` adds to the gradients of the inputs.
  template <class Backward>
  void record(Context& cx, Tensor<Scalar>& result, Backward&& backward) {
    if (!context_.has_value()) context_.emplace(cx.shared_threads(), cx.memory());
    result.position_ = {serial(), append(std::forward<Backward>(backward))};
  }

  /// Gives a tensor's numbers to a backward pass.
  using Kept = std::function<Tensor<Scalar>(Context&)>;
  /// Says how to compute the node `result` again, where that is cheaper than to keep its numbers.
  void recompute_by(const Tensor<Scalar>& result, Kept again) {
    recipes_.insert_or_assign(result.position().node, std::move(again));
  }
  /// Whether keep() would compute `tensor` again.
  [[nodiscard]] bool recomputes(const Tensor<Scalar>& tensor) const {
    return tracks(tensor) && recipes_.contains(tensor.position().node);
  }
  /// What a backward pass that reads `tensor` keeps: the tensor, or how to compute it again.
  [[nodiscard]] Kept keep(const Tensor<Scalar>& tensor) const {
    const auto recipe = recipes_.find(tracks(tensor) ? tensor.position().node : -1);
    if (recipe != recipes_.end()) return recipe->second;
    return [tensor](Context&) { return tensor; };
  }

  /// Whether an operation on `inputs` must be recorded. Throws NotDifferentiable for a tensor
  /// that another tape tracks, or that is a view which this tape did not see.
  template <class... Inputs>
  [[nodiscard]] bool tracks(const Inputs&... inputs) const {
    return (static_cast<int>(tracks_one(inputs)) + ... + 0) > 0;
  }

  /// The gradients of `factor` times `loss` (one number) for all leaves that it depends on. A tape
  /// serves one backward pass. Throws ShapeError, NotDifferentiable.
  [[nodiscard]] Gradients<Scalar> backward(const Tensor<Scalar>& loss, Scalar factor = 1) {
    Gradients<Scalar> gradients;
    backward(loss, factor, [&](const Tensor<Scalar>& leaf, Tensor<Scalar> gradient) {
      gradients.by_storage_.emplace(leaf.data(), std::move(gradient));
    });
    return gradients;
  }
  /// The same, one by one: take(leaf, gradient) gets each as soon as nothing of the pass that is
  /// still to come reads the leaf, which may therefore change.
  template <class Take>
  void backward(const Tensor<Scalar>& loss, Scalar factor, Take&& take) {
    check<ShapeError>(loss.numel() == 1, "backward: the loss has shape ", loss.shape(),
                      "; take its mean or sum first");
    check<NotDifferentiable>(tracks(loss),
                             "backward: the loss does not depend on anything that is tracked");
    run(loss, Tensor<Scalar>::full(loss.shape(), factor), take);
  }

  /// In a pass of the outer tape: adds to the gradients there what `gradient`, that of `result`,
  /// gives for all that this tape watches.
  void backward(Pass& outer_pass, const Tensor<Scalar>& result, const Tensor<Scalar>& gradient) {
    if (!tracks(result)) return;
    run(result, gradient, [&](const Tensor<Scalar>& leaf, Tensor<Scalar> own) {
      outer_pass.add(sources_.at(leaf.data()), std::move(own));
    });
  }

  /// How many nodes there are: leaves and recorded operations.
  [[nodiscard]] std::size_t size() const noexcept { return nodes_.size(); }

 private:
  using Backward = std::function<void(Pass&, const Tensor<Scalar>&)>;

  [[nodiscard]] Tensor<Scalar> leaf_of(const Tensor<Scalar>& tensor) {
    const auto [leaf, added] = leaves_.try_emplace(tensor.data());
    if (added) {
      leaf->second = tensor;
      leaf->second.position_ = {serial(), append({})};
    }
    check<ShapeError>(leaf->second.shape() == tensor.shape(),
                      "tape: the same memory is watched as ", leaf->second.shape(), " and as ",
                      tensor.shape());
    return leaf->second;
  }

  /// A backward pass from the gradient of `result` down to the leaves, whose gradients `take` gets.
  /// What an operation kept for it goes as soon as it is done: there is no second pass.
  template <class Take>
  void run(const Tensor<Scalar>& result, Tensor<Scalar> gradient, Take&& take) {
    check<NotDifferentiable>(!std::exchange(spent_, true),
                             "backward: the tape has served a backward pass; record anew");
    if (!context_.has_value()) context_.emplace(1);
    Pass pass(*context_, nodes_.size());
    pass.add(result, std::move(gradient));
    std::unordered_map<std::int32_t, const Tensor<Scalar>*> leaf_of_node;
    for (const auto& [storage, leaf] : leaves_) leaf_of_node.emplace(leaf.position().node, &leaf);
    for (auto node = static_cast<std::int32_t>(nodes_.size()); node-- > 0;) {
      const Backward backward = std::exchange(nodes_[static_cast<std::size_t>(node)], {});
      recipes_.erase(node);
      Tensor<Scalar> sum = std::exchange(pass.at(node), {});
      if (!sum.defined()) continue;
      // A leaf comes before all that uses it: its gradient is whole.
      if (backward)
        backward(pass, sum);
      else
        take(*leaf_of_node.at(node), std::move(sum));
    }
  }

  [[nodiscard]] std::int32_t append(Backward backward) {
    nodes_.push_back(std::move(backward));
    return static_cast<std::int32_t>(nodes_.size()) - 1;
  }

  [[nodiscard]] bool tracks_one(const Tensor<Scalar>& input) const {
    const TapePosition position = input.position();
    if (position.tape == 0) return false;
    check<NotDifferentiable>(position.tape == serial(), "a tensor of shape ", input.shape(),
                             " is tracked by another tape; detach() it to use it as a constant");
    check<NotDifferentiable>(
        position.node >= 0, "a view of shape ", input.shape(),
        " of a tracked tensor has no gradient; take it with rows(cx, ...), slice(cx, ...) or "
        "reshape(cx, ...), or detach() it to use it as a constant");
    return true;
  }

  std::vector<Backward> nodes_;                     // empty for leaves
  std::unordered_map<std::int32_t, Kept> recipes_;  // by node
  std::unordered_map<const Scalar*, Tensor<Scalar>> leaves_;
  std::unordered_map<const Scalar*, Tensor<Scalar>> computed_;  // stand for other tensors
  Tape* outer_ = nullptr;
  std::unordered_map<const Scalar*, Tensor<Scalar>> sources_;  // of the leaves, on the outer tape
  std::optional<Context> context_;
  bool spent_ = false;
};

/// The context's tape if it is recording; throws NotDifferentiable when it is one for another
/// scalar.
template <class Scalar>
[[nodiscard]] Tape<Scalar>* tape_of(const Context& cx) {
  if (cx.tape == nullptr) return nullptr;
  check<NotDifferentiable>(cx.tape->dtype() == dtype_of<Scalar>, "the context's tape records ",
                           name_of(cx.tape->dtype()), " but the operation computes in ",
                           name_of(dtype_of<Scalar>));
  return static_cast<Tape<Scalar>*>(cx.tape);
}

/// The context's tape if an operation on `inputs` must be recorded, else null.
template <class Scalar, class... Inputs>
[[nodiscard]] Tape<Scalar>* tracking(const Context& cx, const Inputs&... inputs) {
  Tape<Scalar>* tape = tape_of<Scalar>(cx);
  return tape != nullptr && tape->tracks(inputs...) ? tape : nullptr;
}

/// Throws NotDifferentiable when a tape tracks one of the inputs of an operation without gradient.
template <class Scalar, class... Inputs>
void require_untracked(const Context& cx, const char* operation, const Inputs&... inputs) {
  check<NotDifferentiable>((tracking<Scalar>(cx, inputs...) == nullptr), operation,
                           " has no gradient; run it without a tape, or detach() its inputs");
}

}  // namespace eigenformer
