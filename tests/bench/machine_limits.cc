#include "tests/bench/machine_limits.h"

#include <immintrin.h>

namespace ropeway {
namespace {

constexpr int kLoops = 1 << 16, kRegisters = 16;

bool HasVnni() { return __builtin_cpu_supports("avx512vnni") != 0; }

}  // namespace

void ReadAll(const uint8_t* data, int64_t bytes) {
  constexpr int kStreams = 4;
  const int64_t part = bytes / kStreams / 64 * 64;
  __m256i seen = _mm256_setzero_si256();
  for (int64_t i = 0; i < part; i += 64)
    for (int s = 0; s < kStreams; ++s)
      for (int half = 0; half < 64; half += 32)
        seen = _mm256_xor_si256(
            seen, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(data + s * part + i + half)));
  asm volatile("" ::"x"(seen));
}

#define ROPEWAY_REPEAT(INSTRUCTION)                                                                      \
  for (int i = 0; i < kLoops; ++i)                                                                       \
  asm volatile(INSTRUCTION "0\n" INSTRUCTION "1\n" INSTRUCTION "2\n" INSTRUCTION "3\n" INSTRUCTION       \
                           "4\n" INSTRUCTION "5\n" INSTRUCTION "6\n" INSTRUCTION "7\n" INSTRUCTION       \
                           "8\n" INSTRUCTION "9\n" INSTRUCTION "10\n" INSTRUCTION "11\n" INSTRUCTION     \
                           "12\n" INSTRUCTION "13\n" INSTRUCTION "14\n" INSTRUCTION "15\n" ::            \
                               : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", \
                                 "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15")

int64_t DotProducts() {
  if (!HasVnni()) return 0;
  ROPEWAY_REPEAT("vpdpbusd %%zmm30, %%zmm31, %%zmm");
  return int64_t{kLoops} * kRegisters * 64 * 2;
}

int64_t FusedMultiplyAdds() {
  if (!HasVnni()) return 0;
  asm volatile("vpxord %%zmm30, %%zmm30, %%zmm30\nvpxord %%zmm31, %%zmm31, %%zmm31\n" ::);
  ROPEWAY_REPEAT("vfmadd231ps %%zmm30, %%zmm31, %%zmm");
  return int64_t{kLoops} * kRegisters * 16 * 2;
}

}  // namespace ropeway
