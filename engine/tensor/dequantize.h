// Weights of every DType to float32, exactly as the formats define.
//
// Pure functions; thread-safe.
#ifndef ROPEWAY_ENGINE_TENSOR_DEQUANTIZE_H_
#define ROPEWAY_ENGINE_TENSOR_DEQUANTIZE_H_

#include <cstdint>

#include "engine/tensor/dtype.h"

namespace ropeway {

// Writes `columns` floats. REQUIRES: `row` holds RowBytes(type, columns) bytes, at any alignment; columns is
// a multiple of the type's block.
void DequantizeRow(DType type, const uint8_t* row, int64_t columns, float* out);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TENSOR_DEQUANTIZE_H_
