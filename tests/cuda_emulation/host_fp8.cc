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

// Of the number at a place of a row.
int64_t ColumnOf(int64_t at) {
  return at / kFp8StepColumns * kFp8StepColumns + Fp8ColumnAt(at % kFp8StepColumns);
}

void Quantize(const QuantizeArgs& args) {
  std::vector<float> row(static_cast<size_t>(args.columns));
  for (int64_t t = 0; t < args.num_tokens; ++t) {
    for (int64_t k = 0; k < args.columns; ++k)
      row[k] = LoadElement(args.element, args.x, t * args.columns + k);
    const int64_t row_bytes = Fp8RowBytes(args.columns);
    std::vector<uint8_t> codes(static_cast<size_t>(row_bytes));
    args.out.scales[t] = QuantizeFp8Row(row.data(), args.columns, codes.data());
    for (int64_t at = 0; at < row_bytes; ++at) {
      if (args.as_f16)
        StoreElement(Element::kF16, args.out.codes, t * row_bytes + ColumnOf(at), Fp8ToFloat(codes[at]));
      else
        args.out.codes[t * row_bytes + at] = codes[at];
    }
  }
}

// The numbers of a row in the order of its columns, without its scale.
void Decode(const uint8_t* codes, int64_t columns, float* out) {
  for (int64_t at = 0; at < Fp8RowBytes(columns); ++at)
    if (ColumnOf(at) < columns) out[ColumnOf(at)] = Fp8ToFloat(codes[at]);
}

// The products of rows row_of(0), row_of(1), ... of x.
struct HostFp8MatMul {
  Fp8Matrix weights;
  int64_t tokens = 0;
  Fp8Rows x;
  bool x_is_f16 = false;
  std::function<int64_t(int64_t t)> row_of;
  std::function<void(int64_t t, int64_t m, float value)> store;
};
void Multiply(const HostFp8MatMul& args) {
  const int64_t columns = args.weights.columns, row_bytes = Fp8RowBytes(columns);
  const Fp8Layout layout = Fp8LayoutOf(args.weights.rows, columns);
  const auto* const data = static_cast<const uint8_t*>(args.weights.data);
  const auto* const row_scales = reinterpret_cast<const float*>(data + layout.scales);
  std::vector<float> x(static_cast<size_t>(args.tokens * columns));
  for (int64_t t = 0; t < args.tokens; ++t) {
    const int64_t row = args.row_of(t) * row_bytes;
    if (!args.x_is_f16) Decode(args.x.codes + row, columns, &x[t * columns]);
    for (int64_t k = 0; args.x_is_f16 && k < columns; ++k)
      x[t * columns + k] = LoadElement(Element::kF16, args.x.codes, row + k);
  }
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
            .x_is_f16 = args.warpgroups,
            .row_of = [](int64_t t) { return t; },
            .store = [&](int64_t t, int64_t m,
                         float value) { StoreElement(args.out, args.y, t * args.y_stride + m, value); }});
  if (args.gate) GateOnHost(*args.gate);
}

void MultiplySlots(const Fp8ExpertMatMulArgs& args) {
  const ExpertMatMulArgs& product = args.product;
  if (product.gate)
    return GateExpertsOnHost(product, [&](const ExpertMatMulArgs& alone) { MultiplySlots({alone, args.x}); });
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
