// Products of 8-bit floating point, for --weights=fp8, of one matrix and of experts: what they compute, how their numbers
// lie in memory, and the table of their kernels.
//
// A row, of weights or of one token's activations, is e4m3 numbers and one float32 scale: its largest magnitude is 448
// times the scale, and each number is rounded to the nearest e4m3, ties to even. So W = r w and x = s v, where w and v are
// numbers of f16, too, and an output is (c s) r: c is the sum that the rule in gemm.h gives for v and w as numbers of f16,
// and both factors are multiplied in float32. A row of y has the same bytes whatever T is.
//
// Steps of f16 are what the tensor cores of sm_90 are given for `mma.sync` of e4m3, too: ptxas makes 12 conversions and 2
// f16 steps of one such instruction. Their own steps of e4m3, by `wgmma`, are told to keep about 14 bits of a sum; these
// here keep what sums of bf16 keep. Native steps of sm_89 and sm_120 would be twice as many in the same time.
//
// Plain C++. Pure functions.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_FP8_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_FP8_H_

#include <cstdint>
#include <optional>

#include "engine/kernels/cuda/element.h"
#include "engine/kernels/cuda/ops.h"
#include "engine/kernels/cuda/runtime.h"
#include "engine/tensor/tensor_view.h"

namespace ropeway::cuda {

// Conversions of e4m3 are instructions from this compute capability on.
inline constexpr int kFp8Major = 8, kFp8Minor = 9;
constexpr bool HasFp8(int major, int minor) {
  return major > kFp8Major || (major == kFp8Major && minor >= kFp8Minor);
}

// Rows are whole blocks, with zeros behind the last column.
inline constexpr int kFp8BlockColumns = 128;
constexpr int64_t Fp8RowBytes(int64_t columns) {
  return (columns + kFp8BlockColumns - 1) / kFp8BlockColumns * kFp8BlockColumns;
}

// The columns of each 16 lie in the order in which lanes of a step of f16 want them: 0 1 8 9, 2 3 10 11, ... so that the
// four bytes of a lane are its two pairs.
inline constexpr int kFp8StepColumns = 16;
constexpr int Fp8ColumnAt(int place) { return place / 4 * 2 + place % 2 + place % 4 / 2 * 8; }

// Tokens that warpgroups multiply at a time.
inline constexpr int kFp8WarpgroupTile = 256;

// Where codes [M, Fp8RowBytes(K)] and scales [M] of a matrix lie, in bytes from its start.
struct Fp8Layout {
  int64_t codes = 0;
  int64_t scales = 0;  // a multiple of 256
  int64_t bytes = 0;   // of both
};
constexpr Fp8Layout Fp8LayoutOf(int64_t rows, int64_t columns) {
  const int64_t scales = (rows * Fp8RowBytes(columns) + 255) / 256 * 256;
  return {.codes = 0, .scales = scales, .bytes = scales + rows * static_cast<int64_t>(sizeof(float))};
}

struct Fp8Matrix {
  int64_t rows = 0;            // M
  int64_t columns = 0;         // K
  const void* data = nullptr;  // of Fp8Layout, 256-byte aligned
};

// Of activations.
struct Fp8Rows {
  uint8_t* codes = nullptr;  // [T, Fp8RowBytes(K)]
  float* scales = nullptr;   // [T]
};

// A row that holds a NaN or an infinity has NaNs for numbers.
struct QuantizeArgs {
  Element element = Element::kBF16;  // of x
  int num_tokens = 0;
  int columns = 0;          // K
  const void* x = nullptr;  // [T, K]
  Fp8Rows out;
  bool as_f16 = false;  // out.codes are the same numbers as f16 [T, Fp8RowBytes(K)], in the order of columns
};

struct Fp8MatMulArgs {
  Fp8Matrix weights;
  Element out = Element::kBF16;  // of y
  int num_tokens = 0;
  Fp8Rows x;          // of num_tokens; only read
  void* y = nullptr;  // [T, y_stride]
  int64_t y_stride = 0;
  // What follows by the same kernel, of these tokens and of `out`; y, which it names gate_up, is left as it was or holds what
  // it takes.
  std::optional<GateArgs> gate;
  bool warpgroups = false;  // x is as_f16, and wgmma multiplies: compute capability 9.0 alone
};

// y[slot] = x W^T, W of the slot's expert.
struct Fp8ExpertMatMulArgs {
  // Its matrices lie as Fp8Layout says, whatever their type; `element` is of y, x is not used.
  ExpertMatMulArgs product;
  Fp8Rows x;  // of the rows that product.per_token says; only read
};

// As KernelTable (ops.h), of devices that HasFp8.
struct Fp8KernelTable {
  ErrorCode (*quantize)(const QuantizeArgs&, Stream);
  ErrorCode (*matmul)(const Fp8MatMulArgs&, Stream);
  ErrorCode (*expert_matmul)(const Fp8ExpertMatMulArgs&, Stream);
};
const Fp8KernelTable& Fp8Kernels();

// The host launchers behind it.
ErrorCode QuantizeToFp8(const QuantizeArgs& args, Stream stream);
ErrorCode Fp8MatMul(const Fp8MatMulArgs& args, Stream stream);
// What it does with `warpgroups`.
ErrorCode Fp8MatMulByWarpgroups(const Fp8MatMulArgs& args, Stream stream);
ErrorCode Fp8ExpertMatMul(const Fp8ExpertMatMulArgs& args, Stream stream);

// What QuantizeToFp8 computes, on the host: codes [Fp8RowBytes(columns)] of a row, whose scale is returned.
float QuantizeFp8Row(const float* values, int64_t columns, uint8_t* codes);

// Writes rows [first_row, first_row + view.rows()) of a matrix of total_rows rows into `out`, the host image of the whole
// matrix (Fp8Layout), from whatever type the file has them in.
void PackFp8Rows(const TensorView& view, int64_t total_rows, int64_t first_row, uint8_t* out);

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_FP8_H_
