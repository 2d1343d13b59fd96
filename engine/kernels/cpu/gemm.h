// Matrix products over panels and tiles: what all instruction sets share.
//
// Pure functions; see MatMulArgs and PrepareArgs in ops.h.
#ifndef ROPEWAY_ENGINE_KERNELS_CPU_GEMM_H_
#define ROPEWAY_ENGINE_KERNELS_CPU_GEMM_H_

#include <cstdint>

#include "engine/kernels/cpu/panel.h"
#include "engine/kernels/ops.h"

namespace ropeway::kernels {

int64_t TiledActivationBytes(ActivationKind kind, int64_t num_tokens, int64_t columns);
void TiledPrepare(const TileKernels& kernels, const PrepareArgs& args);
// `wide` may be null.
void TiledMatMul(const TileKernels& kernels, const WideKernels* wide, const MatMulArgs& args);

}  // namespace ropeway::kernels

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_GEMM_H_
