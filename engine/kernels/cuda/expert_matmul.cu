// y [T K, M] of slots = x W^T, W [M, columns] of each slot's expert, dense or packed; float32 sums. Or what a gate makes
// of y (product_end.cuh), in the place of y.
//
// With 16-bit activations by the rule of sums (gemm.h): expert_streams.cu for few slots, where the bytes of weights
// are the time, expert_tiles.cu for many. With float32 activations float_matmul.cuh, which reads W once per 8 slots.
#include "engine/kernels/cuda/float_matmul.cuh"
#include "engine/kernels/cuda/launchers.h"

namespace ropeway::cuda {
namespace {

constexpr int kFloatSlots = 8;  // at a time

ErrorCode MultiplyFloats(const ExpertMatMulArgs& args, Stream stream) {
  const Product<ExpertMatrices> product = ProductOf(args);
  if (!IsPacked(args.weights.type))
    return TakesVectors(product.columns) ? LaunchFloat<FloatRows<8>, kFloatSlots>(product, stream)
                                         : LaunchFloat<FloatRows<1>, kFloatSlots>(product, stream);
  return WithPackedType(args.weights.type, [&]<DType kType>() {
    return LaunchFloat<PackedRows<kType>, kFloatSlots>(product, stream);
  });
}

}  // namespace

ErrorCode ExpertMatMul(const ExpertMatMulArgs& args, Stream stream) {
  const DeviceMatrix& weights = args.weights;
  if (!IsPacked(weights.type) && weights.type != DenseType(args.element)) return kInvalidValue;
  if (args.gate && GateUpColumns(*args.gate) != weights.rows) return kInvalidValue;
  if (args.element == Element::kF32) return MultiplyFloats(args, stream);
  const bool streams = IsPacked(weights.type) || TakesVectors(weights.columns);
  return streams && args.slots.tile_slots <= kSomeExpertSlots ? ExpertMatMulByStreams(args, stream)
                                                              : ExpertMatMulByTiles(args, stream);
}

}  // namespace ropeway::cuda
