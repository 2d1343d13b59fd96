// Weight matrices in the layout that a kernel table multiplies. Nothing is rounded: values are those of the
// file.
#ifndef ROPEWAY_ENGINE_KERNELS_PACKED_MATRIX_H_
#define ROPEWAY_ENGINE_KERNELS_PACKED_MATRIX_H_

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "engine/kernels/args.h"
#include "engine/tensor/aligned_buffer.h"
#include "engine/tensor/buffer_arena.h"
#include "engine/tensor/shape.h"
#include "engine/tensor/tensor_view.h"

namespace ropeway::kernels {

// The form of activations that a matrix is multiplied by.
enum class ActivationKind : uint8_t {
  kInt8,   // rounded to 8 bits, a scale per 32 columns
  kFloat,  // as they are
};

struct PackedMatrix {
  DType type = DType::kF32;  // of the values before packing
  ActivationKind activation = ActivationKind::kFloat;
  bool interleaved = false;  // gate and up; rows counts both
  int64_t rows = 0;          // M
  int64_t columns = 0;       // K
  int64_t num_panels = 0;    // of kPanelRows rows, the last one padded
  int64_t panel_bytes = 0;
  AlignedBuffer data;

  const uint8_t* panel(int64_t i) const { return data.data() + i * panel_bytes; }
};

// Matrices of one type and one width to be multiplied as one: stacked (query, key, value), or, with
// `interleave`, two of equal height whose rows alternate in groups of 16 (gate, up).
struct PackRequest {
  // Runs body(piece) for the pieces [0, count) in any order, on any threads; returns when all are done.
  using ForPieces = absl::FunctionRef<void(int64_t count, absl::FunctionRef<void(int64_t piece)> body)>;

  absl::Span<const TensorView> parts;
  bool interleave = false;
  const ForPieces* for_pieces = nullptr;  // null: by the caller alone
  BufferArena* memory = nullptr;          // where the matrix goes; null: memory of its own
};

}  // namespace ropeway::kernels

#endif  // ROPEWAY_ENGINE_KERNELS_PACKED_MATRIX_H_
