// Parameter: weights that a module owns. Copying a parameter copies the numbers: a copied model is
// a model of its own. Inference uses a packed copy of a weight matrix, made when it is first needed
// and dropped when the numbers change; with reduced precision the pack takes the numbers' place.
#pragma once

#include <atomic>
#include <memory>
#include <utility>

#include "eigenformer/autograd/tape.hpp"
#include "eigenformer/kernels/embedding.hpp"
#include "eigenformer/kernels/packing.hpp"

namespace eigenformer {

/// A tensor that training changes. It may know its shape before it has numbers: a model that is
/// about to be read from a file does not initialise them first.
template <class Scalar>
class Parameter {
 public:
  /// A parameter of rank 0 without numbers.
  Parameter() = default;
  /// A parameter without numbers, until value() is assigned or allocate() called.
  explicit Parameter(const Shape& shape) : shape_(shape) {}
  /// Takes a tensor, and shares its storage.
  explicit Parameter(Tensor<Scalar> value) : shape_(value.shape()), value_(std::move(value)) {}

  /// Copies the numbers, unless they were borrowed; shares a pack that is kept.
  Parameter(const Parameter& other)
      : trainable(other.trainable),
        shape_(other.shape_),
        value_(other.defined() && !other.borrowed_ ? other.value_.clone() : other.value_),
        borrowed_(other.borrowed_),
        row_reader_(other.row_reader_) {
    if (other.kept_pack_ != nullptr) attach(other.kept_pack_);
  }
  /// The other one is as made by default afterwards.
  Parameter(Parameter&& other) noexcept { swap(other); }
  /// As the constructors do.
  Parameter& operator=(Parameter other) noexcept {
    swap(other);
    return *this;
  }
  ~Parameter() { drop_pack(); }

  bool trainable = true;  ///< false: frozen, a constant to the tape

  /// Known also while there are no numbers.
  [[nodiscard]] const Shape& shape() const noexcept { return shape_; }
  /// Whether there are numbers.
  [[nodiscard]] bool defined() const noexcept { return value_.defined(); }
  /// The numbers, or an undefined tensor while there are none.
  [[nodiscard]] const Tensor<Scalar>& value() const noexcept { return value_; }
  /// For changing the numbers. Call it anew for changes after the parameter was used: they are not
  /// seen through a handle or map that was kept from before. Throws Error where there are none any
  /// more.
  [[nodiscard]] Tensor<Scalar>& value() {
    if (kept_pack_ != nullptr) require_value();
    if (borrowed_) value_ = value_.clone();
    borrowed_ = false;
    row_reader_ = {};
    drop_pack();
    return value_;
  }

  /// Takes other numbers of the same shape; throws ShapeError.
  void assign(Tensor<Scalar> value) {
    check<ShapeError>(value.shape() == shape_, "parameter: a value of shape ", value.shape(),
                      " for a parameter of shape ", shape_);
    drop_pack();
    value_ = std::move(value);
    borrowed_ = false;
    row_reader_ = {};
  }
  /// The same for numbers that may not be written, such as those of a shared mapping: they are
  /// copied before they change. `reader`, if there is one, reads rows of them from their file.
  void borrow(Tensor<Scalar> value, kernels::RowReader<Scalar> reader = {}) {
    assign(std::move(value));
    borrowed_ = true;
    row_reader_ = std::move(reader);
  }
  /// What reads rows without touching the memory where they are mapped, or null.
  [[nodiscard]] const kernels::RowReader<Scalar>* row_reader() const noexcept {
    return row_reader_ ? &row_reader_ : nullptr;
  }
  /// Uninitialised numbers, where there are none yet.
  void allocate() {
    if (!value_.defined()) value_ = Tensor<Scalar>(shape_);
  }

  /// The value as an operand: watched by the context's tape, if it has one. Throws Error while
  /// there are no numbers.
  [[nodiscard]] Tensor<Scalar> operator()(const Context& cx) const {
    require_value();
    Tape<Scalar>* tape = trainable ? tape_of<Scalar>(cx) : nullptr;
    return tape == nullptr ? value_ : tape->watch(value_);
  }

  /// Throws Error, with the reason, while there are no numbers.
  void require_value() const {
    check(value_.defined(), "a parameter of shape ", shape_,
          kept_pack_ != nullptr
              ? " has been packed for inference and has no numbers left: load the model unpacked, "
                "with full precision, to train, save or change it"
              : " has no numbers yet: load or assign() them first");
  }

  /// Packs a matrix for linear() now; for float alone. `input_scale` `[columns]` or null is
  /// explained at PackedWeight. Throws ConfigError where the scalar is packed with `full` precision
  /// only.
  void pack(ThreadPool& threads, Precision precision, const float* input_scale = nullptr) {
    if constexpr (kernels::uses_packed_weights<Scalar>) {
      require_value();
      attach(std::make_shared<const kernels::PackedWeight>(
          threads, precision, std::as_const(value_).view(), input_scale));
    } else {
      check<ConfigError>(precision == Precision::full, "weights of precision ", name_of(precision),
                         " belong to models of float");
    }
  }

  /// Takes a pack that was made elsewhere. Throws ShapeError for one of another shape.
  void attach(std::shared_ptr<const kernels::PackedWeight> pack) {
    const Shape shape{pack->out(), pack->in()};
    check<ShapeError>(shape_ == shape, "parameter: a pack of shape ", shape,
                      " for a parameter of shape ", shape_);
    drop_pack();
    kept_pack_ = std::move(pack);
    pack_.store(kept_pack_.get(), std::memory_order_release);
  }

  /// Gives the numbers up where there is a pack from pack() or attach(): it is all that inference
  /// needs.
  void release() noexcept {
    if (kept_pack_ == nullptr) return;
    value_ = {};
    row_reader_ = {};
  }

  /// The pack that pack() or attach() left, or null.
  [[nodiscard]] const std::shared_ptr<const kernels::PackedWeight>& kept_pack() const noexcept {
    return kept_pack_;
  }

  /// The matrix packed for linear(), made now if need be; null where products use no pack, and in
  /// training. Safe from several threads at once.
  [[nodiscard]] const kernels::PackedWeight* packed(const Context& cx) const {
    if constexpr (kernels::uses_packed_weights<Scalar>) {
      if (cx.tape != nullptr) return nullptr;
      const kernels::PackedWeight* pack = pack_.load(std::memory_order_acquire);
      if (pack == nullptr) {
        require_value();
        auto made = std::make_unique<const kernels::PackedWeight>(cx.threads(), Precision::full,
                                                                  value_.view());
        if (pack_.compare_exchange_strong(pack, made.get(), std::memory_order_acq_rel)) {
          pack = made.release();
        }
      }
      return pack;
    } else {
      return nullptr;
    }
  }

 private:
  void drop_pack() noexcept {
    const kernels::PackedWeight* pack = pack_.exchange(nullptr, std::memory_order_acq_rel);
    if (kept_pack_ == nullptr) delete pack;
    kept_pack_ = nullptr;
  }

  void swap(Parameter& other) noexcept {
    std::swap(trainable, other.trainable);
    std::swap(shape_, other.shape_);
    std::swap(value_, other.value_);
    std::swap(borrowed_, other.borrowed_);
    std::swap(row_reader_, other.row_reader_);
    std::swap(kept_pack_, other.kept_pack_);
    pack_.store(other.pack_.exchange(pack_.load()));
  }

  Shape shape_;
  Tensor<Scalar> value_;
  bool borrowed_ = false;  // value_ may not be written
  kernels::RowReader<Scalar> row_reader_;
  mutable std::atomic<const kernels::PackedWeight*> pack_{nullptr};
  std::shared_ptr<const kernels::PackedWeight> kept_pack_;  // owns pack_, which else owns itself
};

/// Some rows of a parameter that files keep under a name of their own.
template <class P>
struct ParameterRows {
  P* parameter = nullptr;  ///< the whole
  Index begin = 0;         ///< the first row
  Index end = 0;           ///< one past the last row
};

/// Rows `begin` to `end` of `parameter`; P may be const.
template <class P>
[[nodiscard]] ParameterRows<P> rows_of(P& parameter, Index begin, Index end) {
  return {&parameter, begin, end};
}

/// A matrix that files keep transposed.
template <class P>
struct TransposedParameter {
  P* parameter = nullptr;  ///< the matrix
};

/// `parameter` as files have it that keep it transposed; P may be const.
template <class P>
[[nodiscard]] TransposedParameter<P> transposed(P& parameter) {
  return {&parameter};
}

}  // namespace eigenformer
