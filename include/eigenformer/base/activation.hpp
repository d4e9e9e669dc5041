// The activations of the model family, under the names that config.json uses.
#pragma once

#include <cstdint>
#include <string_view>

#include "eigenformer/base/error.hpp"

namespace eigenformer {

/// Element-wise functions between linear layers.
enum class Activation : std::uint8_t {
  none,       ///< x
  gelu,       ///< x/2 (1 + erf(x / sqrt 2))
  gelu_tanh,  ///< x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
  relu,       ///< max(x, 0)
  silu,       ///< x / (1 + exp(-x))
  tanh,       ///< tanh(x)
};

/// The activation that HF calls `name`; throws ConfigError for one that is not supported.
[[nodiscard]] inline Activation activation_from_name(std::string_view name) {
  if (name == "gelu" || name == "gelu_python") return Activation::gelu;
  if (name == "gelu_new" || name == "gelu_fast" || name == "gelu_pytorch_tanh") {
    return Activation::gelu_tanh;
  }
  if (name == "relu") return Activation::relu;
  if (name == "silu" || name == "swish") return Activation::silu;
  if (name == "tanh") return Activation::tanh;
  if (name == "linear") return Activation::none;
  fail<ConfigError>("hidden_act '", name,
                    "' is not supported; known: gelu, gelu_new, gelu_pytorch_tanh, relu, silu, "
                    "tanh, linear");
}

}  // namespace eigenformer
