// Which instruction set the kernels use: the best that the machine has, found once at run time, or
// the one that the environment variable EIGENFORMER_ISA names.
#pragma once

#include <cstdlib>
#include <string_view>

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

#include "eigenformer/base/error.hpp"

namespace eigenformer {

/// Instruction sets that kernels are compiled for. On x86-64 each contains the ones before it.
enum class Isa {
  baseline,     ///< what the compiler assumes: SSE2 on x86-64, NEON on AArch64
  avx2,         ///< with FMA
  avx512,       ///< F, BW, DQ and VL
  avx512_vnni,  ///< with products of bytes
  avx512_bf16,  ///< with products of bfloat16 too
  amx,          ///< with Intel's matrix unit for bytes and bfloat16
};

/// All instruction sets, from the least to the most.
inline constexpr Isa every_isa[] = {Isa::baseline,    Isa::avx2,        Isa::avx512,
                                    Isa::avx512_vnni, Isa::avx512_bf16, Isa::amx};

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
    case Isa::amx: return "amx";
  }
  return "";
}

#if defined(__x86_64__)
/// Whether the CPU has a matrix unit for bytes and bfloat16, and Linux grants its large registers
/// to this process, for good.
[[nodiscard]] inline bool may_use_amx() noexcept {
#if defined(__linux__)
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  constexpr unsigned all = 1u << 22 | 1u << 24 | 1u << 25;  // amx-bf16, amx-tile, amx-int8
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0 || (edx & all) != all) return false;
  constexpr int request_permission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr int tile_data = 18;               // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
#else
  return false;
#endif
}
#endif

/// The best instruction set of this machine.
[[nodiscard]] inline Isa best_isa() noexcept {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    if (!__builtin_cpu_supports("avx512vnni")) return Isa::avx512;
    if (!__builtin_cpu_supports("avx512bf16")) return Isa::avx512_vnni;
    return may_use_amx() ? Isa::amx : Isa::avx512_bf16;
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
                    ", avx2, avx512, avx512_vnni, avx512_bf16, amx");
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
