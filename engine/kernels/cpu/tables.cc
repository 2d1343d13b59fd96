// The kernel tables of x86 processors.
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "engine/kernels/cpu/gemm.h"
#include "engine/kernels/cpu/pack.h"
#include "engine/kernels/cpu/panel.h"
#include "engine/kernels/cpu/vector_kernels.h"
#include "engine/kernels/ops.h"

namespace ropeway::kernels {

namespace avx2 {
extern const TileKernels kTiles;
extern const VectorKernels kVectors;
}  // namespace avx2
namespace avx_vnni {
extern const TileKernels kTiles;
}
namespace avx512 {
extern const TileKernels kTiles;
extern const VectorKernels kVectors;
}  // namespace avx512
namespace avx512_bf16 {
extern const VectorKernels kVectors;
bool DotsAreChains();
}  // namespace avx512_bf16
namespace amx {
extern const WideKernels kPanels;
}
namespace amx_bf16 {
extern const VectorKernels kVectors;
}

namespace {

int64_t AttentionScratchBytes(const KvLayout& kv, int num_heads, int mixer_width) {
  const int64_t query = kv.padded_head_dim, value = kv.padded_value_dim;
  const int64_t group = kAttentionGroup * (2 * value + 7 * query) + kChunk * (query + value);
  const int64_t mixed = num_heads * 2 * (value + query + kChunk) + 16 * int64_t{mixer_width};
  return std::max(group * static_cast<int64_t>(sizeof(float)),
                  mixed * static_cast<int64_t>(sizeof(float)) + int64_t{num_heads} * kMixedQueryBytes);
}

template <const TileKernels& kTiles, const WideKernels* kWide, const VectorKernels& kVectors>
KernelTable MakeTable(const char* name, const char* extension) {
  return {
      .name = name,
      .extension = extension,
      .pack = &PackPanels,
      .activation_bytes = &TiledActivationBytes,
      .prepare = [](const PrepareArgs& args) { TiledPrepare(kTiles, args); },
      .matmul = [](const MatMulArgs& args) { TiledMatMul(kTiles, kWide, args); },
      .rms_norm = kVectors.rms_norm,
      .layer_norm = kVectors.layer_norm,
      .rotate = kVectors.rotate,
      .store_kv = kVectors.store_kv,
      .attention_scratch_bytes = &AttentionScratchBytes,
      .attention = kVectors.attention,
      .merge_spans = kVectors.merge_spans,
      .add = kVectors.add,
      .softcap = kVectors.softcap,
  };
}

// Of these two g++ 12 knows the names, clang 14 does not.
bool HasF16c() {
  unsigned a, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) && (c >> 29 & 1);
}

bool HasAvxVnni() {
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}

bool HasAvx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && HasF16c(); }

bool HasAvx512() {
  return HasAvx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni");
}

bool HasBf16Dots() {
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1) && avx512_bf16::DotsAreChains();
}

// Int8 tiles in the processor, which has bf16 ones, too, and the kernel's leave to use them: it is asked for once
// per process, since their 8 KB of state make every thread's context larger.
bool HasAmx() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  unsigned a, b, c, d;
  const bool has = __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 22 & 1) && (d >> 24 & 1) && (d >> 25 & 1);
  return has && syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace

const KernelTable* Avx2Kernels(Extensions extensions) {
  if (!HasAvx2()) return nullptr;
  static const KernelTable plain = MakeTable<avx2::kTiles, nullptr, avx2::kVectors>("avx2", "");
  static const KernelTable vnni = MakeTable<avx_vnni::kTiles, nullptr, avx2::kVectors>("avx2", "vnni");
  static const bool has_vnni = HasAvxVnni();
  return has_vnni && extensions == Extensions::kUsed ? &vnni : &plain;
}

const KernelTable* Avx512Kernels(Extensions extensions) {
  if (!HasAvx512()) return nullptr;
  static const KernelTable plain = MakeTable<avx512::kTiles, nullptr, avx512::kVectors>("avx512", "");
  static const KernelTable amx =
      MakeTable<avx512::kTiles, &amx::kPanels, amx_bf16::kVectors>("avx512", "amx");
  static const KernelTable bf16 = MakeTable<avx512::kTiles, nullptr, avx512_bf16::kVectors>("avx512", "bf16");
  static const bool has_amx = HasAmx(), has_bf16 = HasBf16Dots();
  if (extensions == Extensions::kUnused) return &plain;
  return has_amx ? &amx : has_bf16 ? &bf16 : &plain;
}

}  // namespace ropeway::kernels
