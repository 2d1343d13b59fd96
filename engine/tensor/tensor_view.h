// A tensor of a model file: type, shape and bytes that somebody else owns.
#ifndef ROPEWAY_ENGINE_TENSOR_TENSOR_VIEW_H_
#define ROPEWAY_ENGINE_TENSOR_TENSOR_VIEW_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/tensor/dtype.h"

namespace ropeway {

// Row-major, outermost dimension first (GGUF files list dimensions the other way round). Rows lie RowBytes
// apart.
struct TensorView {
  DType type = DType::kF32;
  std::vector<int64_t> shape;
  const uint8_t* data = nullptr;  // not necessarily aligned

  int64_t columns() const { return shape.empty() ? 1 : shape.back(); }
  int64_t rows() const {
    int64_t rows = 1;
    for (size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
    return rows;
  }
  int64_t bytes() const { return rows() * RowBytes(type, columns()); }
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TENSOR_TENSOR_VIEW_H_
