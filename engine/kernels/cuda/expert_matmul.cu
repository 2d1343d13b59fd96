// y [T K, M] of slots = x W^T, W [M, columns] of each slot's expert, dense or packed; float32 sums.
//
// A warp has an output row and the up to 8 slots of a tile, all of one expert: lane l takes units l, l + 32,
// ... of the row in order, then the lanes' sums are added as a tree. Reads an expert's weights once for every
// 8 slots that it has. No tensor cores: made for the few tokens of decode steps, where the bytes of weights
// are the time; prompts want more.
#include "engine/kernels/cuda/launchers.h"
#include "engine/kernels/cuda/packed_units.cuh"

namespace ropeway::cuda {
namespace {

constexpr int kWarps = 4;  // rows of a block

struct Product {
  ExpertMatMulArgs args;
  PackedLayout layout;
  int units;  // of a row
};

// How weights of one expert are read, kWidth columns at a time.
template <class T, int kColumns>
struct DenseRows {
  static constexpr int kWidth = kColumns;
  const T* data;

  ROPEWAY_DEVICE DenseRows(const Product&, const uint8_t* matrix)
      : data(reinterpret_cast<const T*>(matrix)) {}
  ROPEWAY_DEVICE void Load(int64_t unit, float (&weights)[kWidth]) const {
    LoadFloats(data + unit * kWidth, weights);
  }
};

// Unpacked, and rounded to the type of x.
template <DType kType, class T>
struct PackedRows {
  static constexpr int kWidth = kUnitColumns;
  PackedPlanes planes;

  ROPEWAY_DEVICE PackedRows(const Product& product, const uint8_t* matrix)
      : planes{matrix + product.layout.codes, matrix + product.layout.high, matrix + product.layout.scales,
               matrix + product.layout.blocks} {}
  ROPEWAY_DEVICE void Load(int64_t unit, float (&weights)[kWidth]) const {
    UnpackUnit<kType>(planes, unit, weights);
#pragma unroll
    for (int i = 0; i < kWidth; ++i) weights[i] = ToFloat(FromFloat<T>(weights[i]));
  }
};

template <class Rows, class T>
__global__ void __launch_bounds__(kWarps * 32) ExpertKernel(Product product) {
  constexpr int kWidth = Rows::kWidth;
  constexpr int kStep = kWidth == 1 ? 1 : 8;  // columns of x at a time
  const ExpertMatMulArgs& args = product.args;
  const int row = static_cast<int>(blockIdx.x * kWarps + threadIdx.x / 32);
  const int lane = static_cast<int>(threadIdx.x % 32);
  if (static_cast<int>(blockIdx.y) >= *args.slots.num_tiles || row >= args.weights.rows)
    return;  // whole warps
  const ExpertTile tile = args.slots.tiles[blockIdx.y];
  const Rows rows(product, static_cast<const uint8_t*>(args.matrices[tile.expert]));
  const T* x[kExpertTileSlots];
#pragma unroll
  for (int s = 0; s < kExpertTileSlots; ++s) {
    // Slots past the last repeat it; their sums are not stored.
    const int slot = tile.first_slot + min(s, tile.num_slots - 1);
    const int64_t from = args.per_token > 0 ? args.slots.slot_choices[slot] / args.per_token : slot;
    x[s] = static_cast<const T*>(args.x) + from * args.weights.columns;
  }
  float sums[kExpertTileSlots] = {};
  for (int unit = lane; unit < product.units; unit += 32) {
    float weights[kWidth];
    rows.Load(int64_t{row} * product.units + unit, weights);
#pragma unroll
    for (int s = 0; s < kExpertTileSlots; ++s) {
#pragma unroll
      for (int first = 0; first < kWidth; first += kStep) {
        float values[kStep];
        LoadFloats(x[s] + int64_t{unit} * kWidth + first, values);
#pragma unroll
        for (int i = 0; i < kStep; ++i) sums[s] = __fmaf_rn(weights[first + i], values[i], sums[s]);
      }
    }
  }
#pragma unroll
  for (int s = 0; s < kExpertTileSlots; ++s) {
    const float sum = WarpSum(sums[s]);
    if (lane != 0 || s >= tile.num_slots) continue;
    const int slot = tile.first_slot + s;
    const float weight = args.scales ? args.slots.weights[args.slots.slot_choices[slot]] : 1.0f;
    static_cast<T*>(args.y)[slot * args.y_stride + row] = FromFloat<T>(sum * weight);
  }
}

template <class Rows, class T>
ErrorCode LaunchExperts(Product product, Stream stream) {
  const ExpertMatMulArgs& args = product.args;
  product.units = static_cast<int>(args.weights.columns / Rows::kWidth);
  const dim3 grid(static_cast<unsigned>((args.weights.rows + kWarps - 1) / kWarps),
                  static_cast<unsigned>(MaxExpertTiles(args.num_slots, args.num_experts)));
  return Launch(stream, ExpertKernel<Rows, T>, grid, dim3(kWarps * 32), 0, product);
}

}  // namespace

ErrorCode ExpertMatMul(const ExpertMatMulArgs& args, Stream stream) {
  Product product = {.args = args, .layout = {}, .units = 0};
  return WithElement(args.element, [&]<class T>() {
    if (!IsPacked(args.weights.type))
      return TakesVectors(args.weights.columns) ? LaunchExperts<DenseRows<T, 8>, T>(product, stream)
                                                : LaunchExperts<DenseRows<T, 1>, T>(product, stream);
    product.layout = LayoutOf(args.weights.type, args.weights.rows, args.weights.columns);
    return WithPackedType(args.weights.type, [&]<DType kType>() {
      return LaunchExperts<PackedRows<kType, T>, T>(product, stream);
    });
  });
}

}  // namespace ropeway::cuda
