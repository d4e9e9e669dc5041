// How the weights of linear layers are kept for inference, and in which arithmetic they multiply.
#pragma once

#include <cstdint>
#include <string_view>

namespace eigenformer {

/// Storage and arithmetic of packed weights. Everything between the products is the model's scalar.
enum class Precision : std::uint8_t {
  full,  ///< the model's scalar
  bf16,  ///< weights and inputs of products rounded to bfloat16, sums in float
  int8,  ///< 8-bit weights for each output, 8-bit inputs for each token, exact sums of products
};

/// The word for it in messages and files; `full` weights are packed as float.
[[nodiscard]] constexpr std::string_view name_of(Precision precision) noexcept {
  switch (precision) {
    case Precision::full: return "float";
    case Precision::bf16: return "bf16";
    case Precision::int8: return "int8";
  }
  return "";
}

}  // namespace eigenformer
