#include <functional>
#include <vector>

#include "engine/tensor/fp8.h"
#include "tests/cuda_emulation/emulated_runtime.h"
#include "tests/cuda_emulation/host_elements.h"
#include "tests/cuda_emulation/host_kernels.h"
#include "tests/cuda_emulation/host_matmul.h"
#include "tests/cuda_emulation/host_ops.h"

namespace ropeway::cuda::emulation {
namespace {

void Quantize(const QuantizeArgs& args) {
  std::vector<float> row(static_cast<size_t>(args.columns));
  for (int64_t t = 0; t < args.num_tokens; ++t) {
    for (int64_t k = 0; k < args.columns; ++k)
      row[k] = LoadElement(args.element, args.x, t * args.columns + k);
    args.out.scales[t] =
        QuantizeFp8Row(row.data(), args.columns, args.out.codes + t * Fp8RowBytes(args.columns));
  }
}

// The numbers of a row in the order of its columns, without its scale.
void Decode(const uint8_t* codes, int64_t columns, float* out) {
  for (int64_t at = 0; at < Fp8RowBytes(columns); ++at) {
    const int64_t column = at / kFp8StepColumns * kFp8StepColumns + Fp8ColumnAt(at % kFp8StepColumns);
    if (column < columns) out[column] = Fp8ToFloat(codes[at]);
  }
}

// The products of rows row_of(0), row_of(1), ... of x.
struct HostFp8MatMul {
  Fp8Matrix weights;
  int64_t tokens = 0;
  Fp8Rows x;
  std::function<int64_t(int64_t t)> row_of;
  std::function<void(int64_t t, int64_t m, float value)> store;
};
void Multiply(const HostFp8MatMul& args) {
  const int64_t columns = args.weights.columns, row_bytes = Fp8RowBytes(columns);
  const Fp8Layout layout = Fp8LayoutOf(args.weights.rows, columns);
  const auto* const data = static_cast<const uint8_t*>(args.weights.data);
  const auto* const row_scales = reinterpret_cast<const float*>(data + layout.scales);
  std::vector<float> x(static_cast<size_t>(args.tokens * columns));
  for (int64_t t = 0; t < args.tokens; ++t)
    Decode(args.x.codes + args.row_of(t) * row_bytes, columns, &x[t * columns]);
  const auto weight_row = [&](int64_t m) {
    std::vector<float> row(static_cast<size_t>(columns));
    Decode(data + layout.codes + m * row_bytes, columns, row.data());
    return row;
  };
  const auto store = [&](int64_t t, int64_t m, float sum) {
    args.store(t, m, sum * args.x.scales[args.row_of(t)] * row_scales[m]);
  };
  MultiplyOnHost({.tokens = args.tokens,
                  .outputs = args.weights.rows,
                  .columns = columns,
                  .element = Element::kF32,
                  .x = x.data(),
                  .weight_row = weight_row,
                  .store = store});
}

void MultiplyTokens(const Fp8MatMulArgs& args) {
  Multiply({.weights = args.weights,
            .tokens = args.num_tokens,
            .x = args.x,
            .row_of = [](int64_t t) { return t; },
            .store = [&](int64_t t, int64_t m,
                         float value) { StoreElement(args.out, args.y, t * args.y_stride + m, value); }});
  if (args.gate) GateOnHost(*args.gate);
}

void MultiplySlots(const Fp8ExpertMatMulArgs& args) {
  const ExpertMatMulArgs& product = args.product;
  const ExpertSlots& slots = product.slots;
  for (int32_t i = 0; i < *slots.num_tiles; ++i) {
    const ExpertTile& tile = slots.tiles[i];
    const auto store = [&](int64_t t, int64_t m, float value) {
      const int64_t slot = tile.first_slot + t;
      if (product.scales) value *= slots.weights[slots.slot_choices[slot]];
      StoreElement(product.element, product.y, slot * product.y_stride + m, value);
    };
    Multiply({.weights = {product.weights.rows, product.weights.columns, product.matrices[tile.expert]},
              .tokens = tile.num_slots,
              .x = args.x,
              .row_of =
                  [&](int64_t t) {
                    const int64_t slot = tile.first_slot + t;
                    return product.per_token > 0 ? slots.slot_choices[slot] / product.per_token : slot;
                  },
              .store = store});
  }
  if (args.gate) GateOnHost(*args.gate);
}

template <auto kFunction, typename Args>
ErrorCode OnStream(const Args& args, Stream stream) {
  return EnqueueOnHost(stream, [args] { kFunction(args); });
}

constexpr Fp8KernelTable kTable = {.quantize = OnStream<Quantize>,
                                   .matmul = OnStream<MultiplyTokens>,
                                   .expert_matmul = OnStream<MultiplySlots>};

}  // namespace

const Fp8KernelTable& HostFp8Kernels() { return kTable; }

}  // namespace ropeway::cuda::emulation
