// A number by which data that changed is told apart; no protection against forgery.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>

namespace eigenformer {

/// What other numbers, or the same in another order, hardly give (FNV-1a on 64-bit words; Fowler,
/// Noll and Vo).
class Digest {
 public:
  /// Appends a number.
  void add(std::integral auto number) noexcept {
    hash_ = (hash_ ^ static_cast<std::uint64_t>(number)) * 0x100000001B3U;
  }
  /// The same; -0 is not 0.
  void add(std::floating_point auto number) noexcept {
    add(std::bit_cast<std::uint64_t>(static_cast<double>(number)));
  }
  /// Appends each of a range, without how many there are.
  void add_all(const auto& numbers) noexcept {
    for (const auto& number : numbers) add(number);
  }
  /// Of all that was appended.
  [[nodiscard]] std::uint64_t value() const noexcept { return hash_; }

 private:
  std::uint64_t hash_ = 0xCBF29CE484222325U;
};

}  // namespace eigenformer
