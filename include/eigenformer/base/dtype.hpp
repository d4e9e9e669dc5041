// Number formats: IEEE half and bfloat16 as storage types, and the names that safetensors uses.
// Conversions are exact from the narrow types, and round to nearest even to them.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace eigenformer {

/// The element types of files and tensors.
enum class DType : std::uint8_t {
  boolean,  ///< one byte, 0 or 1
  u8,       ///< unsigned, 8 bits
  i8,       ///< signed, 8 bits
  u16,      ///< unsigned, 16 bits
  i16,      ///< signed, 16 bits
  f16,      ///< Half
  bf16,     ///< BFloat16
  u32,      ///< unsigned, 32 bits
  i32,      ///< signed, 32 bits
  f32,      ///< float
  u64,      ///< unsigned, 64 bits
  i64,      ///< signed, 64 bits
  f64       ///< double
};

/// IEEE 754 half precision: 1 sign, 5 exponent and 10 fraction bits.
struct Half {
  std::uint16_t bits = 0;  ///< sign, exponent and fraction, from the top

  /// Exact; a NaN keeps its fraction.
  explicit operator float() const noexcept {
    const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
    const std::uint32_t exponent = (bits >> 10) & 0x1fu;
    const std::uint32_t fraction = bits & 0x3ffu;
    if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000u | (fraction << 13));
    if (exponent == 0) {  // zero and subnormals: fraction * 2^-24, exact in float
      const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
      return sign != 0 ? -magnitude : magnitude;
    }
    return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (fraction << 13));
  }
  /// Exact.
  explicit operator double() const noexcept { return static_cast<float>(*this); }
};

/// The upper half of a float: 1 sign, 8 exponent and 7 fraction bits.
struct BFloat16 {
  std::uint16_t bits = 0;  ///< sign, exponent and fraction, from the top

  /// Zero.
  BFloat16() = default;
  /// The nearest bfloat16, ties to even; NaN stays NaN.
  constexpr explicit BFloat16(float value) noexcept {
    const auto raw = std::bit_cast<std::uint32_t>(value);
    const bool nan = (raw & 0x7fffffffu) > 0x7f800000u;
    bits = static_cast<std::uint16_t>(nan ? (raw >> 16) | 0x40u
                                          : (raw + 0x7fffu + ((raw >> 16) & 1u)) >> 16);
  }
  /// Exact.
  constexpr explicit operator float() const noexcept {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  }
  /// Exact.
  constexpr explicit operator double() const noexcept { return static_cast<float>(*this); }
};

/// Bytes of one element.
[[nodiscard]] constexpr std::size_t size_of(DType dtype) noexcept {
  switch (dtype) {
    case DType::boolean:
    case DType::u8:
    case DType::i8: return 1;
    case DType::u16:
    case DType::i16:
    case DType::f16:
    case DType::bf16: return 2;
    case DType::u32:
    case DType::i32:
    case DType::f32: return 4;
    case DType::u64:
    case DType::i64:
    case DType::f64: return 8;
  }
  return 0;
}

/// The name that safetensors headers use, such as "BF16".
[[nodiscard]] constexpr std::string_view name_of(DType dtype) noexcept {
  switch (dtype) {
    case DType::boolean: return "BOOL";
    case DType::u8: return "U8";
    case DType::i8: return "I8";
    case DType::u16: return "U16";
    case DType::i16: return "I16";
    case DType::f16: return "F16";
    case DType::bf16: return "BF16";
    case DType::u32: return "U32";
    case DType::i32: return "I32";
    case DType::f32: return "F32";
    case DType::u64: return "U64";
    case DType::i64: return "I64";
    case DType::f64: return "F64";
  }
  return "";
}

/// The DType of a C++ type: bool, the integers of fixed width, Half, BFloat16, float or double.
/// Another type does not compile.
template <class Scalar>
inline constexpr DType dtype_of = [] { static_assert(sizeof(Scalar) == 0, "no DType"); }();
/// @cond specialisations
template <>
inline constexpr DType dtype_of<bool> = DType::boolean;
template <>
inline constexpr DType dtype_of<std::uint8_t> = DType::u8;
template <>
inline constexpr DType dtype_of<std::int8_t> = DType::i8;
template <>
inline constexpr DType dtype_of<std::uint16_t> = DType::u16;
template <>
inline constexpr DType dtype_of<std::int16_t> = DType::i16;
template <>
inline constexpr DType dtype_of<Half> = DType::f16;
template <>
inline constexpr DType dtype_of<BFloat16> = DType::bf16;
template <>
inline constexpr DType dtype_of<std::uint32_t> = DType::u32;
template <>
inline constexpr DType dtype_of<std::int32_t> = DType::i32;
template <>
inline constexpr DType dtype_of<float> = DType::f32;
template <>
inline constexpr DType dtype_of<std::uint64_t> = DType::u64;
template <>
inline constexpr DType dtype_of<std::int64_t> = DType::i64;
template <>
inline constexpr DType dtype_of<double> = DType::f64;
/// @endcond

}  // namespace eigenformer
