// Which instruction set the kernels use: the best that the machine has, found once at run time, or
// the one that the environment variable EIGENFORMER_ISA names.
#pragma once

#include <cstdlib>
#include <string_view>

#include "eigenformer/base/error.hpp"

namespace eigenformer {

/// Instruction sets that kernels are compiled for. On x86-64 each contains the ones before it.
enum class Isa {
  baseline,     ///< what the compiler assumes: SSE2 on x86-64, NEON on AArch64
  avx2,         ///< with FMA
  avx512,       ///< F, BW, DQ and VL
  avx512_vnni,  ///< with products of bytes
  avx512_bf16,  ///< with products of bfloat16 too
};

inline constexpr Isa every_isa[] = {Isa::baseline, Isa::avx2, Isa::avx512, Isa::avx512_vnni,
                                    Isa::avx512_bf16};

/// The name that EIGENFORMER_ISA takes.
[[nodiscard]] constexpr std::string_view name_of(Isa isa) noexcept {
  switch (isa) {
#if defined(__aarch64__)
    case Isa::baseline: return "neon";
#else
    case Isa::baseline: return "scalar";
#endif
    case Isa::avx2: return "avx2";
    case Isa::avx512: return "avx512";
    case Isa::avx512_vnni: return "avx512_vnni";
    case Isa::avx512_bf16: return "avx512_bf16";
  }
  return "";
}

/// The best instruction set of this machine.
[[nodiscard]] inline Isa best_isa() noexcept {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    if (!__builtin_cpu_supports("avx512vnni")) return Isa::avx512;
    return __builtin_cpu_supports("avx512bf16") ? Isa::avx512_bf16 : Isa::avx512_vnni;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Isa::avx2;
#endif
  return Isa::baseline;
}

/// The instruction set of that name; throws ConfigError for an unknown one, and for one that this
/// machine does not have.
[[nodiscard]] inline Isa isa_from_name(std::string_view name) {
  for (const Isa isa : every_isa) {
    if (name != name_of(isa)) continue;
    check<ConfigError>(isa <= best_isa(), "instruction set ", name,
                       " is not available; this machine has ", name_of(best_isa()));
    return isa;
  }
  fail<ConfigError>("instruction set '", name, "' is unknown; known: ", name_of(Isa::baseline),
                    ", avx2, avx512, avx512_vnni, avx512_bf16");
}

/// The instruction set in use, the same for the life of the process. Throws ConfigError when
/// EIGENFORMER_ISA names none that the machine has.
[[nodiscard]] inline Isa active_isa() {
  static const Isa isa = [] {
    const char* forced = std::getenv("EIGENFORMER_ISA");
    return forced != nullptr && *forced != '\0' ? isa_from_name(forced) : best_isa();
  }();
  return isa;
}

}  // namespace eigenformer
