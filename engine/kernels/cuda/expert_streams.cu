// Products of experts for tiles of up to 16 slots, by the kernels of dense and packed products for few tokens: the
// jobs are those of all experts that have slots. Reads an expert's weights once per tile.
//
// Which experts those are the kernel in front finds, so that nothing is under way before it has ended: as many blocks
// as find room on a processor have their own bytes in flight instead.
#include "engine/kernels/cuda/launchers.h"
#include "engine/kernels/cuda/packed_matmul.cuh"
#include "engine/kernels/cuda/stream_matmul.cuh"
#include "engine/kernels/cuda/stream_matmul.h"

namespace ropeway::cuda {
namespace {

template <class T, int kTokenTiles>
ErrorCode StreamTiles(const ExpertMatMulArgs& args, Stream stream) {
  const Product<ExpertMatrices> product = ProductOf(args);
  if (!IsPacked(args.weights.type)) {
    const auto kernel = StreamKernel<ExpertMatrices, T, kTokenTiles, false>;
    const int blocks =
        BlocksPerProcessor(kernel, kStreamWarps * 32, kStreamWarps * Ring<kTokenTiles, false>::kBytes);
    return LaunchStream<ExpertMatrices, T, kTokenTiles, false>(product, 0, int64_t{args.processors} * blocks,
                                                               stream);
  }
  return WithPackedType(args.weights.type, [&]<DType kType>() {
    constexpr bool kWhole = kTokenTiles == 1 && TakesWholeTiles(kType);
    using S = PackedShape<kWhole ? 8 : 16, kWhole ? 2 : 1, false>;
    return LaunchPacked<ExpertMatrices, kType, S, T>(product, 0, args.processors, stream);
  });
}

}  // namespace

ErrorCode ExpertMatMulByStreams(const ExpertMatMulArgs& args, Stream stream) {
  if (!IsPacked(args.weights.type) && TakesBulkCopies(args))
    return StreamByBulkCopies(ProductOf(args), args.element, args.slots.tile_slots, args.processors, stream);
  return WithElement(args.element, [&]<class T>() -> ErrorCode {
    if constexpr (std::is_same_v<T, float>) {
      return kInvalidValue;
    } else {
      return args.slots.tile_slots <= kFewExpertSlots ? StreamTiles<T, 1>(args, stream)
                                                      : StreamTiles<T, 2>(args, stream);
    }
  });
}

}  // namespace ropeway::cuda
