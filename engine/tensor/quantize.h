// Packs floats into blocks of 8 bits.
//
// Pure; thread-safe. The same bytes on every processor.
#ifndef ROPEWAY_ENGINE_TENSOR_QUANTIZE_H_
#define ROPEWAY_ENGINE_TENSOR_QUANTIZE_H_

#include <cstdint>

namespace ropeway {

// A row as blocks of Q8_0 (quant_blocks.h): d = max |value| / 127 as fp16, and codes of value / d before d was rounded,
// halves away from zero, as the converters of GGUF files have it. A NaN counts as 0. REQUIRES: columns is a multiple of 32.
void QuantizeRowQ8_0(const float* values, int64_t columns, uint8_t* out);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TENSOR_QUANTIZE_H_
