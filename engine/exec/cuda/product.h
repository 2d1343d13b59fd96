// Which kernels make a product: the one place that knows. Where there are several, the fastest may be measured instead
// (product_choices.h).
//
// All of them keep the rule of sums (engine/kernels/cuda/gemm.h): a row of y has the same bytes whichever is
// taken.
#ifndef ROPEWAY_ENGINE_EXEC_CUDA_PRODUCT_H_
#define ROPEWAY_ENGINE_EXEC_CUDA_PRODUCT_H_

#include <cstdint>
#include <optional>

#include "engine/kernels/cuda/fp8.h"
#include "engine/kernels/cuda/gemm.h"
#include "engine/kernels/cuda/ops.h"

namespace ropeway {

enum class ProductKernel {
  kDense,       // our own for few tokens
  kPacked,      // our own, which unpacks as it goes
  kWarpgroups,  // our own of either kind of weights, where MatMulArgs::warpgroups may be
  kUnpack,      // rows are unpacked and multiplied by the library, a slice of the matrix at a time
  kGemm,        // of the library
};
// "streamed"
const char* NameOf(ProductKernel kernel);

// Up to so many tokens dense weights stream through our own kernel: two tiles of mma.
inline constexpr int64_t kStreamedTokens = 16;

// Where nothing is measured, our own kernels multiply packed weights up to so many tokens, beyond the library does what was
// unpacked before. Measured on an H100 80GB HBM3, 2026-11-27, `cuda_bench --shape=8b --filter=Q4_K`, in us: Q4_K
// [28672, 4096] took 64, 114 and 218 for 32, 64 and 128 tokens, unpacked first 196 and 203 for 64 and 128.
inline constexpr int64_t kPackedTokens = 96;
// Likewise where W has few rows for each processor: [6144, 4096], [4096, 4096] and [4096, 14336] took 76, 39 and 126 for
// 128 tokens, unpacked first 42, 28 and 115.
inline constexpr int64_t kFewRowsPackedTokens = 64;

// Where nothing is measured.
ProductKernel ProductKernelFor(const cuda::MatMulArgs& args);

// Up to so many tokens mma.sync multiplies by fp8 weights, beyond warpgroups where they may, whose tile has twice as many.
// With 192 tokens of [28672, 4096] on an H100 225 us against 127; of smaller matrices the two are within 4 us of each other
// with 256.
inline constexpr int64_t kFp8MmaTokens = 128;

// Device memory for a slice of unpacked weights, of bytes > 0 where kUnpack may come up.
struct UnpackedSlice {
  void* data = nullptr;
  int64_t bytes = 0;
};
// Slices of so many bytes keep the library's tiles busy, and are half of what a cache holds or more.
inline constexpr int64_t kMaxSliceBytes = int64_t{64} << 20;

struct ProductTools {
  const cuda::KernelTable& kernels;
  cuda::Gemm& gemm;
  UnpackedSlice slice;
  cuda::Stream stream;
  // Of fp8 weights: else null.
  const cuda::Fp8KernelTable* fp8 = nullptr;
  cuda::Fp8Rows quantized;      // room for x
  bool fp8_warpgroups = false;  // multiply prompts, and there is room for x as f16
  bool warpgroups = false;      // may multiply: kWarpgroups
};

// Whether there is room for a row of these weights, at least.
bool MayUnpack(const cuda::MatMulArgs& args, const UnpackedSlice& slice);

// Lets the library choose how it multiplies by this matrix with up to args.num_tokens tokens, where it is to.
// Overwrites y and waits for the stream. REQUIRES: as below.
cuda::ErrorCode PrepareOnCuda(const cuda::MatMulArgs& args, const ProductTools& tools, ProductKernel kernel);

// REQUIRES: `kernel` does for these weights, kUnpack where MayUnpack.
cuda::ErrorCode MultiplyOnCuda(const cuda::MatMulArgs& args, const ProductTools& tools, ProductKernel kernel);

// The same by weights that lie as Fp8Layout says: x becomes fp8, too. By a rule of its own (fp8.h), under which a row of y
// has the same bytes whatever the number of tokens is. What follows may be the gate.
cuda::ErrorCode MultiplyFp8OnCuda(const cuda::MatMulArgs& args, const ProductTools& tools,
                                  const std::optional<cuda::GateArgs>& gate = {});

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_EXEC_CUDA_PRODUCT_H_
