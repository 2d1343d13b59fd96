#include "engine/exec/cuda/product.h"

#include <algorithm>

#include "engine/base/ceil_div.h"
#include "engine/base/check.h"

namespace ropeway {
namespace {

// Of slices but the last: whole tiles of the library's, so that what it writes begins at 256 bytes, as it expects.
constexpr int64_t kSliceRows = 128;

// So few for each processor, at most four tiles of 16, that our own kernels leave much of it idle.
bool HasFewRows(const cuda::MatMulArgs& args) {
  constexpr int64_t kFewTiles = 4, kTileRows = 16;
  return args.weights.rows <= kFewTiles * kTileRows * args.processors;
}

cuda::GemmArgs ForLibrary(const cuda::MatMulArgs& args) {
  return {.tokens = args.num_tokens,
          .outputs = args.weights.rows,
          .columns = args.weights.columns,
          .element = args.element,
          .out = args.out,
          .x = args.x,
          .weights = args.weights.data,
          .y = args.y,
          .y_stride = args.y_stride,
          .fresh_weights = args.fresh_weights};
}

int64_t UnpackedRowBytes(const cuda::MatMulArgs& args) {
  return args.weights.columns * BytesOf(args.element);
}

// Calls visit(first_row, product) for each slice, a product of dense weights that lie in `slice`, fresh from
// unpacking, until one fails. Slices are as few as there can be, and of about one size.
template <typename Visit>
cuda::ErrorCode ForSlices(const cuda::MatMulArgs& args, const UnpackedSlice& slice, const Visit& visit) {
  int64_t most = slice.bytes / UnpackedRowBytes(args);
  ROPEWAY_CHECK(most > 0);
  if (most < args.weights.rows && most > kSliceRows) most -= most % kSliceRows;
  const int64_t slices = CeilDiv(args.weights.rows, most);
  const int64_t even = CeilDiv(CeilDiv(args.weights.rows, slices), kSliceRows) * kSliceRows;
  const int64_t rows = std::min(most, even);
  for (int64_t first = 0; first < args.weights.rows; first += rows) {
    cuda::MatMulArgs part = args;
    part.weights = {.type = cuda::DenseType(args.element),
                    .rows = std::min(rows, args.weights.rows - first),
                    .columns = args.weights.columns,
                    .data = slice.data};
    part.y = static_cast<uint8_t*>(args.y) + first * BytesOf(args.out);
    part.fresh_weights = true;
    if (const cuda::ErrorCode error = visit(first, part)) return error;
  }
  return 0;
}

cuda::ErrorCode UnpackAndMultiply(const cuda::MatMulArgs& args, const ProductTools& tools) {
  return ForSlices(args, tools.slice, [&](int64_t first_row, const cuda::MatMulArgs& part) {
    const cuda::ErrorCode error = tools.kernels.unpack({.weights = args.weights,
                                                        .element = args.element,
                                                        .first_row = first_row,
                                                        .num_rows = part.weights.rows,
                                                        .out = tools.slice.data},
                                                       tools.stream);
    return error != 0 ? error : tools.gemm.Run(ForLibrary(part), tools.stream);
  });
}

}  // namespace

const char* NameOf(ProductKernel kernel) {
  switch (kernel) {
    case ProductKernel::kDense:
      return "streamed";
    case ProductKernel::kPacked:
      return "packed";
    case ProductKernel::kWarpgroups:
      return "by wgmma";
    case ProductKernel::kUnpack:
      return "unpacked";
    case ProductKernel::kGemm:
      return "library";
  }
  ROPEWAY_CHECK(false);
}

bool MayUnpack(const cuda::MatMulArgs& args, const UnpackedSlice& slice) {
  return args.element != cuda::Element::kF32 && slice.bytes >= UnpackedRowBytes(args);
}

ProductKernel ProductKernelFor(const cuda::MatMulArgs& args) {
  // float32 has no tensor cores; rows of other widths are not aligned to copies of 16 bytes.
  const bool is_float = args.element == cuda::Element::kF32;
  if (cuda::IsPacked(args.weights.type)) {
    const int64_t most = HasFewRows(args) ? kFewRowsPackedTokens : kPackedTokens;
    return is_float || args.num_tokens <= most ? ProductKernel::kPacked : ProductKernel::kUnpack;
  }
  const bool streams = !is_float && args.weights.columns % 8 == 0;
  return streams && args.num_tokens <= kStreamedTokens ? ProductKernel::kDense : ProductKernel::kGemm;
}

cuda::ErrorCode PrepareOnCuda(const cuda::MatMulArgs& args, const ProductTools& tools, ProductKernel kernel) {
  switch (kernel) {
    case ProductKernel::kDense:
    case ProductKernel::kPacked:
    case ProductKernel::kWarpgroups:
      return 0;
    case ProductKernel::kUnpack:
      return ForSlices(args, tools.slice, [&](int64_t, const cuda::MatMulArgs& part) {
        return tools.gemm.Prepare(ForLibrary(part), tools.stream);
      });
    case ProductKernel::kGemm:
      return tools.gemm.Prepare(ForLibrary(args), tools.stream);
  }
  ROPEWAY_CHECK(false);
}

cuda::ErrorCode MultiplyOnCuda(const cuda::MatMulArgs& args, const ProductTools& tools,
                               ProductKernel kernel) {
  switch (kernel) {
    case ProductKernel::kDense:
      return tools.kernels.dense_matmul(args, tools.stream);
    case ProductKernel::kPacked:
      return tools.kernels.packed_matmul(args, tools.stream);
    case ProductKernel::kWarpgroups: {
      cuda::MatMulArgs by_warpgroups = args;
      by_warpgroups.warpgroups = true;
      const auto matmul =
          cuda::IsPacked(args.weights.type) ? tools.kernels.packed_matmul : tools.kernels.dense_matmul;
      return matmul(by_warpgroups, tools.stream);
    }
    case ProductKernel::kUnpack:
      return UnpackAndMultiply(args, tools);
    case ProductKernel::kGemm:
      return tools.gemm.Run(ForLibrary(args), tools.stream);
  }
  ROPEWAY_CHECK(false);
}

cuda::ErrorCode MultiplyFp8OnCuda(const cuda::MatMulArgs& args, const ProductTools& tools,
                                  const std::optional<cuda::GateArgs>& gate) {
  const int tokens = static_cast<int>(args.num_tokens);
  const bool warpgroups = tools.fp8_warpgroups && args.num_tokens > kFp8MmaTokens;
  const cuda::ErrorCode error = tools.fp8->quantize({.element = args.element,
                                                     .num_tokens = tokens,
                                                     .columns = static_cast<int>(args.weights.columns),
                                                     .x = args.x,
                                                     .out = tools.quantized,
                                                     .as_f16 = warpgroups},
                                                    tools.stream);
  if (error != 0) return error;
  return tools.fp8->matmul(
      {.weights = {.rows = args.weights.rows, .columns = args.weights.columns, .data = args.weights.data},
       .out = args.out,
       .num_tokens = tokens,
       .x = tools.quantized,
       .y = args.y,
       .y_stride = args.y_stride,
       .gate = gate,
       .warpgroups = warpgroups},
      tools.stream);
}

}  // namespace ropeway
