// y [T K, M] of slots = x W^T of e4m3 numbers (fp8.h), W of each slot's expert: reads an expert's W once per tile of 8, 16,
// 64 or 128 of its slots (experts.h), by the kernels of products of one matrix.
//
// Which experts have slots the kernel in front finds, so that nothing is under way before it has ended: as many blocks as
// find room on a processor have their own bytes in flight instead, and go from job to job.
#include "engine/kernels/cuda/fp8_matmul.cuh"

namespace ropeway::cuda {
namespace {

using FewSlots = Fp8Tile<2, 1, 1, 1, 9>;
using SomeSlots = Fp8Tile<2, 1, 1, 2, 8>;
using ManySlots = Fp8Tile<2, 2, 4, 4, 3>;
using MostSlots = Fp8Tile<2, 4, 4, 4, 3>;
static_assert(FewSlots::kTokens == kFewExpertSlots && SomeSlots::kTokens == kSomeExpertSlots &&
              ManySlots::kTokens == kManyExpertSlots && MostSlots::kTokens == kMostExpertSlots);

template <class T, class S>
ErrorCode LaunchTile(const Fp8ExpertMatMulArgs& args, Stream stream) {
  const DeviceMatrix& weights = args.product.weights;
  const Product<ExpertMatrices> slots = ProductOf(args.product);
  const Fp8Product<ExpertMatrices> product = {.source = slots.source,
                                              .x = args.x.codes,
                                              .token_scales = args.x.scales,
                                              .row_bytes = static_cast<int>(Fp8RowBytes(weights.columns)),
                                              .row_scales = Fp8LayoutOf(weights.rows, weights.columns).scales,
                                              .end = slots.end};
  const int blocks = BlocksPerProcessor(Fp8Kernel<T, S, ExpertMatrices>, S::kThreads, S::kBytes);
  return LaunchFp8<T, S>(product, int64_t{args.product.processors} * blocks, stream);
}

}  // namespace

ErrorCode Fp8ExpertMatMul(const Fp8ExpertMatMulArgs& args, Stream stream) {
  return WithElement(args.product.element, [&]<class T>() {
    const int tile_slots = args.product.slots.tile_slots;
    if (tile_slots <= kFewExpertSlots) return LaunchTile<T, FewSlots>(args, stream);
    if (tile_slots <= kSomeExpertSlots) return LaunchTile<T, SomeSlots>(args, stream);
    if (tile_slots <= kManyExpertSlots) return LaunchTile<T, ManySlots>(args, stream);
    return LaunchTile<T, MostSlots>(args, stream);
  });
}

}  // namespace ropeway::cuda
