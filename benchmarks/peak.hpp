// The most that this core can do in the arithmetic of each precision: multiply-adds in registers,
// and bytes from memory. Benchmarks give their figures as shares of it, probed in the same run.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "eigenformer/base/large_memory.hpp"
#include "eigenformer/base/precision.hpp"
#include "eigenformer/kernels/isa/isa.hpp"

namespace eigenformer::benchmarks {

/// Seconds that function() takes.
template <class Function>
[[nodiscard]] double seconds(Function&& function) {
  const auto start = std::chrono::steady_clock::now();
  function();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

namespace detail {

#if defined(__x86_64__)
// Sums in 12 registers (24 with AVX-512) hide the latency of the instructions. Registers are named,
// since a compiler may keep sums on the stack.
#define EIGENFORMER_4(op, r, a, b, c, d)                                                           \
  op " %%" r "15, %%" r "14, %%" r #a "\n\t" op " %%" r "15, %%" r "14, %%" r #b "\n\t" op " %%" r \
     "15, %%" r "14, %%" r #c "\n\t" op " %%" r "15, %%" r "14, %%" r #d "\n\t"
#define EIGENFORMER_12(op, r)      \
  EIGENFORMER_4(op, r, 0, 1, 2, 3) \
  EIGENFORMER_4(op, r, 4, 5, 6, 7) EIGENFORMER_4(op, r, 8, 9, 10, 11)
#define EIGENFORMER_24(op)                 \
  EIGENFORMER_12(op, "zmm")                \
  EIGENFORMER_4(op, "zmm", 16, 17, 18, 19) \
  EIGENFORMER_4(op, "zmm", 20, 21, 22, 23) EIGENFORMER_4(op, "zmm", 24, 25, 26, 27)
// Registers begin at zero: a subnormal number left in one would cost each instruction a trap into
// microcode, and the probe would find less than a hundredth of the peak.
#define EIGENFORMER_CLEAR_256 "vzeroall\n\t"
#define EIGENFORMER_CLEAR_512 "vzeroall\n\t" EIGENFORMER_24("vpxord")
#define EIGENFORMER_LOW                                                                    \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
      "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"
#define EIGENFORMER_HIGH                                                                    \
  "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", \
      "xmm26", "xmm27"
#define EIGENFORMER_PROBE(name, set, clear, body, ...)                                 \
  [[gnu::target(set), gnu::noinline]] inline void name(std::int64_t rounds) noexcept { \
    asm volatile(clear : : : __VA_ARGS__);                                             \
    for (std::int64_t i = 0; i < rounds; ++i) asm volatile(body : : : __VA_ARGS__);    \
  }
EIGENFORMER_PROBE(fma_256, "avx2,fma", EIGENFORMER_CLEAR_256, EIGENFORMER_12("vfmadd231ps", "ymm"),
                  EIGENFORMER_LOW)
EIGENFORMER_PROBE(fma_512, "avx512f", EIGENFORMER_CLEAR_512, EIGENFORMER_24("vfmadd231ps"),
                  EIGENFORMER_LOW, EIGENFORMER_HIGH)
EIGENFORMER_PROBE(bf16_512, "avx512f", EIGENFORMER_CLEAR_512, EIGENFORMER_24("vdpbf16ps"),
                  EIGENFORMER_LOW, EIGENFORMER_HIGH)
EIGENFORMER_PROBE(int8_512, "avx512f", EIGENFORMER_CLEAR_512, EIGENFORMER_24("vpdpbusd"),
                  EIGENFORMER_LOW, EIGENFORMER_HIGH)
#undef EIGENFORMER_PROBE

/// Six sums of 16 x 16 numbers and their operands, all of them zeros, once in eight rounds.
#define EIGENFORMER_AMX_PROBE(name, op)                                           \
  [[gnu::noinline]] inline void name(std::int64_t rounds) noexcept {              \
    struct alignas(64) Shapes {                                                   \
      std::uint8_t palette[16] = {1};                                             \
      std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};             \
      std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};                   \
    } const shapes;                                                               \
    asm volatile("ldtilecfg %0" : : "m"(shapes));                                 \
    for (std::int64_t i = 0; i < rounds; i += 8) {                                \
      asm volatile(op " %tmm7, %tmm6, %tmm0\n\t" op " %tmm7, %tmm6, %tmm1\n\t" op \
                      " %tmm7, %tmm6, %tmm2\n\t" op " %tmm7, %tmm6, %tmm3\n\t" op \
                      " %tmm7, %tmm6, %tmm4\n\t" op " %tmm7, %tmm6, %tmm5");      \
    }                                                                             \
    asm volatile("tilerelease");                                                  \
  }
EIGENFORMER_AMX_PROBE(bf16_amx, "tdpbf16ps")
EIGENFORMER_AMX_PROBE(int8_amx, "tdpbusd")
#undef EIGENFORMER_AMX_PROBE
#undef EIGENFORMER_HIGH
#undef EIGENFORMER_LOW
#undef EIGENFORMER_CLEAR_512
#undef EIGENFORMER_CLEAR_256
#undef EIGENFORMER_24
#undef EIGENFORMER_12
#undef EIGENFORMER_4
#endif

}  // namespace detail

/// Operations per second (a multiply-add is two) of one thread with the instruction set in use; 0
/// where that has no instruction for the precision, or no probe.
[[nodiscard]] inline double peak(Precision precision) {
#if defined(__x86_64__)
  struct Probe {
    void (*run)(std::int64_t) noexcept;
    double operations;  // of one round
  };
  const Isa isa = active_isa();
  const bool words = precision == Precision::bf16
                         ? isa >= Isa::avx512_bf16
                         : precision == Precision::int8 && isa >= Isa::avx512_vnni;
  const Probe probe =
      precision == Precision::full ? (isa >= Isa::avx512 ? Probe{detail::fma_512, 24 * 32.0}
                                      : isa == Isa::avx2 ? Probe{detail::fma_256, 12 * 16.0}
                                                         : Probe{nullptr, 0})
      : !words                     ? Probe{nullptr, 0}
      : isa == Isa::amx ? (precision == Precision::bf16 ? Probe{detail::bf16_amx, 6 * 16384.0 / 8}
                                                        : Probe{detail::int8_amx, 6 * 32768.0 / 8})
      : precision == Precision::bf16 ? Probe{detail::bf16_512, 24 * 64.0}
                                     : Probe{detail::int8_512, 24 * 128.0};
  if (probe.run == nullptr) return 0;
  constexpr std::int64_t rounds = 40000;  // about a quarter of a millisecond
  double least = 1e9;
  for (int i = 0; i < 20; ++i) {
    least = std::min(least, seconds([&] { probe.run(rounds); }));
  }
  return probe.operations * static_cast<double>(rounds) / least;
#else
  (void)precision;
  return 0;
#endif
}

/// Bytes per second that one thread reads from memory: eight streams at once, since one alone waits
/// for its prefetcher, and in large pages, as tensors are.
[[nodiscard]] inline double memory_rate() {
  using Pair [[gnu::vector_size(16)]] = std::uint64_t;
  constexpr std::size_t streams = 8;
  constexpr std::size_t length = std::size_t{1} << 21;  // of 16 bytes: 256 MiB in all
  constexpr std::size_t bytes = streams * length * sizeof(Pair);
  const std::unique_ptr<void, decltype(&std::free)> memory(allocate_large(bytes), &std::free);
  std::memset(memory.get(), 1, bytes);
  const auto* const numbers = static_cast<const Pair*>(memory.get());
  double least = 1e9;
  for (int i = 0; i < 3; ++i) {
    Pair sums[streams] = {};
    least = std::min(least, seconds([&] {
                       for (std::size_t j = 0; j < length; ++j) {
#pragma GCC unroll 8
                         for (std::size_t k = 0; k < streams; ++k) {
                           sums[k] += numbers[k * length + j];
                         }
                       }
                     }));
    asm volatile("" : : "m"(sums));
  }
  return static_cast<double>(bytes) / least;
}

/// Bytes of a packed weight.
[[nodiscard]] constexpr double bytes_of(Precision precision) noexcept {
  return precision == Precision::full ? 4 : precision == Precision::bf16 ? 2 : 1;
}

/// What bounds work that computes and reads from memory, as far as it was probed: the best found.
struct Limits {
  double peak = 0;         ///< operations per second
  double memory_rate = 0;  ///< bytes per second

  /// Probes both again.
  void probe(Precision precision) {
    peak = std::max(peak, benchmarks::peak(precision));
    memory_rate = std::max(memory_rate, benchmarks::memory_rate());
  }

  /// The larger of the times that `operations` and `bytes` take at least, as a share of `seconds`;
  /// 0 where the peak is not known.
  [[nodiscard]] double share(double operations, double bytes, double seconds) const {
    if (peak == 0) return 0;
    return std::max(operations / peak, bytes / memory_rate) / seconds;
  }
};

}  // namespace eigenformer::benchmarks
