// Parameter: weights that a module owns. Copying a parameter copies the numbers: a copied model is
// a model of its own. Inference uses a packed copy of a weight matrix, made when it is first needed
// and dropped when the numbers change.
#pragma once

#include <atomic>
#include <memory>
#include <utility>

#include "eigenformer/autograd/tape.hpp"
#include "eigenformer/kernels/packing.hpp"

namespace eigenformer {

/// A tensor that training changes. It may know its shape before it has numbers: a model that is
/// about to be read from a file does not initialise them first.
template <class Scalar>
class Parameter {
 public:
  Parameter() = default;
  /// A parameter without numbers, until value() is assigned or allocate() called.
  explicit Parameter(const Shape& shape) : shape_(shape) {}
  explicit Parameter(Tensor<Scalar> value) : shape_(value.shape()), value_(std::move(value)) {}

  Parameter(const Parameter& other)
      : trainable(other.trainable),
        shape_(other.shape_),
        value_(other.value_.defined() ? other.value_.clone() : Tensor<Scalar>()) {}
  Parameter(Parameter&& other) noexcept { swap(other); }
  Parameter& operator=(Parameter other) noexcept {
    swap(other);
    return *this;
  }
  ~Parameter() { drop_pack(); }

  bool trainable = true;  ///< false: frozen, a constant to the tape

  [[nodiscard]] const Shape& shape() const noexcept { return shape_; }
  [[nodiscard]] bool defined() const noexcept { return value_.defined(); }
  [[nodiscard]] const Tensor<Scalar>& value() const noexcept { return value_; }
  /// For changing the numbers. Call it anew for changes after the parameter was used: they are not
  /// seen through a handle or map that was kept from before.
  [[nodiscard]] Tensor<Scalar>& value() noexcept {
    drop_pack();
    return value_;
  }

  /// Takes other numbers of the same shape; throws ShapeError.
  void assign(Tensor<Scalar> value) {
    check<ShapeError>(value.shape() == shape_, "parameter: a value of shape ", value.shape(),
                      " for a parameter of shape ", shape_);
    drop_pack();
    value_ = std::move(value);
  }
  /// Uninitialised numbers, where there are none yet.
  void allocate() {
    if (!value_.defined()) value_ = Tensor<Scalar>(shape_);
  }

  /// The value as an operand: watched by the context's tape, if it has one. Throws Error while
  /// there are no numbers.
  [[nodiscard]] Tensor<Scalar> operator()(const Context& cx) const {
    check(value_.defined(), "a parameter of shape ", shape_,
          " has no numbers yet: load or assign() them first");
    Tape<Scalar>* tape = trainable ? tape_of<Scalar>(cx) : nullptr;
    return tape == nullptr ? value_ : tape->watch(value_);
  }

  /// The matrix packed for linear(), or null where products do not use a pack and while a tape
  /// watches the parameter. Safe from several threads at once.
  [[nodiscard]] const kernels::PackedWeight<Scalar>* packed(const Context& cx) const {
    if (!kernels::uses_packed_weights<Scalar> || (trainable && cx.tape != nullptr)) return nullptr;
    if (!value_.defined()) return nullptr;  // operator() says what is wrong
    const Pack* pack = pack_.load(std::memory_order_acquire);
    if (pack == nullptr) {
      auto made = std::make_unique<const Pack>(cx.threads(), value_.view());
      if (pack_.compare_exchange_strong(pack, made.get(), std::memory_order_acq_rel)) {
        pack = made.release();
      }
    }
    return pack;
  }

 private:
  using Pack = kernels::PackedWeight<Scalar>;

  void drop_pack() noexcept { delete pack_.exchange(nullptr, std::memory_order_acq_rel); }

  void swap(Parameter& other) noexcept {
    std::swap(trainable, other.trainable);
    std::swap(shape_, other.shape_);
    std::swap(value_, other.value_);
    pack_.store(other.pack_.exchange(pack_.load()));
  }

  Shape shape_;
  Tensor<Scalar> value_;
  mutable std::atomic<const Pack*> pack_{nullptr};
};

/// Some rows of a parameter that files keep under a name of their own.
template <class P>
struct ParameterRows {
  P* parameter = nullptr;
  Index begin = 0;
  Index end = 0;
};

/// Rows `begin` to `end` of `parameter`; P may be const.
template <class P>
[[nodiscard]] ParameterRows<P> rows_of(P& parameter, Index begin, Index end) {
  return {&parameter, begin, end};
}

}  // namespace eigenformer
