// The kernel tables of x86 processors.
#include <cpuid.h>

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

namespace {

int64_t AttentionScratchBytes(const KvLayout& kv) {
  return (kAttentionGroup * kv.padded_value_dim + 4 * kv.head_elements) * static_cast<int64_t>(sizeof(float));
}

template <const TileKernels& kTiles, const VectorKernels& kVectors>
KernelTable MakeTable(const char* name) {
  return {
      .name = name,
      .pack = &PackPanels,
      .activation_bytes = &TiledActivationBytes,
      .prepare_units = &TiledPrepareUnits,
      .prepare = [](const PrepareArgs& args) { TiledPrepare(kTiles, args); },
      .matmul = [](const MatMulArgs& args) { TiledMatMul(kTiles, args); },
      .rms_norm = kVectors.rms_norm,
      .rotate = kVectors.rotate,
      .store_kv = kVectors.store_kv,
      .attention_scratch_bytes = &AttentionScratchBytes,
      .attention = kVectors.attention,
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

bool HasAvx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && HasF16c();
}

bool HasAvx512() {
  return HasAvx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni");
}

}  // namespace

// Tables are chosen once at start-up, so building them again costs nothing that matters.
const KernelTable* Avx2Kernels() {
  if (!HasAvx2()) return nullptr;
  static const KernelTable plain = MakeTable<avx2::kTiles, avx2::kVectors>("avx2");
  static const KernelTable vnni = MakeTable<avx_vnni::kTiles, avx2::kVectors>("avx2");
  return HasAvxVnni() ? &vnni : &plain;
}

const KernelTable* Avx512Kernels() {
  if (!HasAvx512()) return nullptr;
  static const KernelTable table = MakeTable<avx512::kTiles, avx512::kVectors>("avx512");
  return &table;
}

}  // namespace ropeway::kernels
