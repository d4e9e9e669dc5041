// Counter-based random numbers: draw i of stream s under a seed is a pure function of the three,
// so that results depend neither on the order of the draws nor on the number of threads.
// Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>

namespace eigenformer {

/// Four 32-bit words for a 128-bit counter under a 64-bit key.
[[nodiscard]] constexpr std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter,
                                                            std::uint64_t key) noexcept {
  auto key0 = static_cast<std::uint32_t>(key);
  auto key1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = std::uint64_t{0xD2511F53} * counter[0];
    const std::uint64_t product1 = std::uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<std::uint32_t>(product1 >> 32) ^ counter[1] ^ key0,
               static_cast<std::uint32_t>(product1),
               static_cast<std::uint32_t>(product0 >> 32) ^ counter[3] ^ key1,
               static_cast<std::uint32_t>(product0)};
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  return counter;
}

/// The random numbers of one seed, addressed by stream and position.
class Rng {
 public:
  /// Equal seeds give equal numbers, on every machine.
  explicit constexpr Rng(std::uint64_t seed) noexcept : seed_(seed) {}

  /// 64 random bits.
  [[nodiscard]] constexpr std::uint64_t bits(std::uint64_t stream,
                                             std::uint64_t position) const noexcept {
    const auto words =
        philox({static_cast<std::uint32_t>(position), static_cast<std::uint32_t>(position >> 32),
                static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32)},
               seed_);
    return (std::uint64_t{words[1]} << 32) | words[0];
  }

  /// Uniform in [0, 1), with 53 random bits.
  [[nodiscard]] constexpr double uniform(std::uint64_t stream,
                                         std::uint64_t position) const noexcept {
    return static_cast<double>(bits(stream, position) >> 11) * 0x1p-53;
  }

  /// Standard normal (Box-Muller).
  [[nodiscard]] double normal(std::uint64_t stream, std::uint64_t position) const noexcept {
    const std::uint64_t random = bits(stream, position);
    const double radius = (static_cast<double>(random >> 32) + 0.5) * 0x1p-32;
    const double angle = static_cast<double>(random & 0xffffffffu) * 0x1p-32;
    return std::sqrt(-2.0 * std::log(radius)) * std::cos(2.0 * std::numbers::pi * angle);
  }

 private:
  std::uint64_t seed_;
};

}  // namespace eigenformer
