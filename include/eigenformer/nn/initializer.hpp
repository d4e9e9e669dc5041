// Initial values as Hugging Face draws them for the BERT family: every weight matrix from
// Normal(0, initializer_range), biases 0, LayerNorm 1 and 0, the padding row of an embedding 0.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "eigenformer/base/rng.hpp"
#include "eigenformer/nn/parameter.hpp"

namespace eigenformer {

/// Makes parameters. Copies share their place in the random sequence, so that modules made with
/// one initializer differ, and are the same whenever its seed is.
class Initializer {
 public:
  /// A seed that no other default-made initializer of this process has; above those that people
  /// choose.
  Initializer() : Initializer(next_seed()) {}
  /// The same numbers whenever `seed` is the same; `deviation` is that of normal().
  explicit Initializer(std::uint64_t seed, double deviation = 0.02)
      : rng_(seed), deviation_(deviation), stream_(std::make_shared<std::uint64_t>(0)) {}

  /// Leaves parameters without numbers, for a model that is about to be loaded.
  [[nodiscard]] static Initializer none() {
    Initializer initializer(0);
    initializer.stream_ = nullptr;
    return initializer;
  }

  /// Drawn from Normal(0, deviation).
  template <class Scalar>
  [[nodiscard]] Parameter<Scalar> normal(const Shape& shape) const {
    Parameter<Scalar> parameter(shape);
    if (stream_ == nullptr) return parameter;
    parameter.allocate();
    const std::uint64_t stream = (*stream_)++;
    Scalar* numbers = parameter.value().data();
    for (Index i = 0; i < shape.numel(); ++i) {
      numbers[i] =
          static_cast<Scalar>(deviation_ * rng_.normal(stream, static_cast<std::uint64_t>(i)));
    }
    return parameter;
  }

  /// `value` everywhere.
  template <class Scalar>
  [[nodiscard]] Parameter<Scalar> constant(const Shape& shape, Scalar value) const {
    Parameter<Scalar> parameter(shape);
    if (stream_ == nullptr) return parameter;
    parameter.allocate();
    parameter.value().fill(value);
    return parameter;
  }

 private:
  static std::uint64_t next_seed() noexcept {
    static std::atomic<std::uint64_t> last{std::uint64_t{1} << 63};
    return ++last;
  }

  Rng rng_;
  double deviation_;
  std::shared_ptr<std::uint64_t> stream_;  // null: none()
};

}  // namespace eigenformer
