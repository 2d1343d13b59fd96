// Rounds activations to int8 tiles; the QuantizeFunction of all x86 instruction sets.
#ifndef ROPEWAY_ENGINE_KERNELS_CPU_QUANTIZE_AVX2_H_
#define ROPEWAY_ENGINE_KERNELS_CPU_QUANTIZE_AVX2_H_

#include <cstdint>

#include "engine/kernels/cpu/panel.h"

namespace ropeway::kernels {

// See QuantizeFunction and the layout of tiles in panel.h. A block of zeros, or of magnitudes below 2^-80,
// gets the codes 0; one that holds infinity or NaN gets it as its scale.
void QuantizeAvx2(const float* x, int64_t x_stride, int64_t blocks, const TilePlace& to);

}  // namespace ropeway::kernels

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_QUANTIZE_AVX2_H_
