#include "tests/bench/cuda/expert_cases.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "engine/kernels/cuda/stream_matmul.h"

namespace ropeway {
namespace {

using cuda::Element;

constexpr Element kElement = Element::kBF16;
constexpr int64_t kElementBytes = BytesOf(kElement);
constexpr int64_t kPlaces = 4;  // of all experts' matrices in the pool, one after the other

// The input product with the gate behind it, by one kernel or by two; or the product down.
enum class Part { kGateUp, kGateUpApart, kDown };

struct ExpertCase {
  BenchExperts experts;
  int hidden_size;  // D
  Part part;
  DType type;
  int tokens;
  int tile_slots = 0;  // 0: as the executor takes them
  bool fp8 = false;    // weights, instead of `type`; making x fp8 is not included

  bool of_tokens() const { return part != Part::kDown; }  // x has a row for each token
  int64_t outputs() const { return of_tokens() ? int64_t{2} * experts.ffn_size : hidden_size; }  // M
  int64_t columns() const { return of_tokens() ? hidden_size : experts.ffn_size; }               // K
  cuda::ExpertWeights weights() const {
    if (fp8) return cuda::ExpertWeights::kFp8;
    return cuda::IsPacked(type) ? cuda::ExpertWeights::kPacked : cuda::ExpertWeights::kDense;
  }
  int64_t slots() const { return int64_t{tokens} * experts.per_token; }
  int64_t rows_of_x() const { return of_tokens() ? tokens : slots(); }
  int64_t matrix_bytes() const {
    const int64_t bytes = fp8 ? cuda::Fp8LayoutOf(outputs(), columns()).bytes
                              : cuda::DeviceMatrixBytes(type, outputs(), columns());
    return (bytes + 255) / 256 * 256;
  }
};

// Token t goes to experts t K, t K + 1, ..., counted round.
cuda::ExpertSlots RouteEvenly(const ExpertCase& c, BenchDevice& device) {
  const int64_t slots = c.slots(), count = c.experts.count;
  std::vector<float> z(static_cast<size_t>(c.tokens * count), 0.0f);
  for (int64_t choice = 0; choice < slots; ++choice)
    z[static_cast<size_t>(choice / c.experts.per_token * count + choice % count)] = 1;
  const auto ints = [&](int64_t n) { return static_cast<int32_t*>(device.Allocate(n * 4)); };
  const int tile_slots = c.tile_slots > 0 ? c.tile_slots : cuda::ExpertTileSlots(slots, count, c.weights());
  const int64_t tiles = cuda::MaxExpertTiles(slots, count, tile_slots);
  const cuda::ExpertSlots to = {.tile_slots = tile_slots,
                                .experts = ints(slots),
                                .weights = static_cast<float*>(device.Allocate(slots * 4)),
                                .slots = ints(slots),
                                .slot_choices = ints(slots),
                                .slot_experts = ints(slots),
                                .tiles = static_cast<cuda::ExpertTile*>(
                                    device.Allocate(tiles * static_cast<int64_t>(sizeof(cuda::ExpertTile)))),
                                .num_tiles = ints(1)};
  // What went wrong goes wrong again where the products are made.
  static_cast<void>(device.kernels().route({.score = cuda::ExpertScore::kSoftmax,
                                            .num_experts = c.experts.count,
                                            .per_token = c.experts.per_token,
                                            .num_tokens = c.tokens,
                                            .z = device.Upload(z),
                                            .z_stride = count,
                                            .slots = to},
                                           device.stream()));
  return to;
}

cuda::ExpertMatMulArgs ArgsOf(const ExpertCase& c, BenchDevice& device) {
  return {.weights = {c.type, c.outputs(), c.columns(), nullptr},
          .element = kElement,
          .num_experts = c.experts.count,
          .num_slots = static_cast<int>(c.slots()),
          .per_token = c.of_tokens() ? c.experts.per_token : 0,
          .processors = device.info().processors,
          .bulk_copies = cuda::HasBulkCopies(device.info()),
          .slots = RouteEvenly(c, device),
          .x = device.Allocate(c.rows_of_x() * c.columns() * kElementBytes),
          .y = device.Allocate(c.slots() * c.outputs() * kElementBytes),
          .y_stride = c.outputs()};
}

BenchDevice::Call Prepare(const ExpertCase& c, BenchDevice& device) {
  cuda::ExpertMatMulArgs args = ArgsOf(c, device);
  const cuda::GateArgs gate = {.element = kElement,
                               .num_tokens = args.num_slots,
                               .columns = c.experts.ffn_size,
                               .gate_up = args.y,
                               .out = device.Allocate(c.slots() * c.experts.ffn_size * kElementBytes)};
  if (c.part == Part::kGateUp) args.gate = gate;
  std::vector<const void* const*> places;
  for (int64_t place = 0; place < kPlaces; ++place) {
    const uint8_t* first = device.FromPool(c.experts.count * c.matrix_bytes(), place);
    std::vector<const void*> matrices;
    for (int expert = 0; expert < c.experts.count; ++expert)
      matrices.push_back(first + expert * c.matrix_bytes());
    places.push_back(device.Upload(matrices));
  }
  cuda::Fp8Rows rows;
  if (c.fp8)
    rows = {.codes = static_cast<uint8_t*>(device.Allocate(c.rows_of_x() * cuda::Fp8RowBytes(c.columns()))),
            .scales = static_cast<float*>(device.Allocate(c.rows_of_x() * 4))};
  return [=, &device, fp8 = c.fp8, apart = c.part == Part::kGateUpApart](int64_t repeat) {
    cuda::ExpertMatMulArgs again = args;
    again.matrices = places[static_cast<size_t>(repeat % kPlaces)];
    const cuda::ErrorCode error =
        fp8 ? device.fp8_kernels().expert_matmul({.product = again, .x = rows}, device.stream())
            : device.kernels().expert_matmul(again, device.stream());
    return error != 0 || !apart ? error : device.kernels().gate(gate, device.stream());
  };
}

OpCase CaseOf(const ExpertCase& c) {
  const int64_t active = std::min<int64_t>(c.experts.count, c.slots());
  const int64_t results = c.of_tokens() ? c.experts.ffn_size : c.hidden_size;
  const int64_t bytes = active * c.matrix_bytes() +
                        c.rows_of_x() * c.columns() * (c.fp8 ? 1 : kElementBytes) +
                        c.slots() * results * kElementBytes;
  const std::string tiles = c.tile_slots > 0 ? absl::StrCat(" tiles of ", c.tile_slots) : "";
  const char* how = c.part == Part::kGateUpApart         ? "apart "
                    : c.of_tokens() && c.tile_slots == 0 ? "fused "
                                                         : "";
  return {.operation = absl::StrCat(how, c.fp8 ? "fp8 " : "", "experts ", c.experts.count, "/",
                                    c.experts.per_token, c.of_tokens() ? " gate_up act" : " down", tiles),
          .sizes = absl::StrCat(c.fp8 ? "e4m3" : ropeway::NameOf(c.type), ", T ", c.tokens),
          .bytes = static_cast<double>(bytes),
          .flops = 2.0 * static_cast<double>(c.slots() * c.outputs() * c.columns()),
          .prepare = [=](BenchDevice& device) { return Prepare(c, device); }};
}

// What ExpertTileSlots should say: with every size of tiles.
void AddTileSizes(const BenchShape& shape, const BenchExperts& experts, std::vector<OpCase>& cases) {
  for (const DType type : {DType::kBF16, DType::kQ4_K}) {
    if (shape.hidden_size % InfoOf(type).block_columns != 0) continue;
    // On average.
    for (const int slots_each : {2, 4, 8, 16, 32, 64, 128})
      for (const int tile_slots :
           {cuda::kFewExpertSlots, cuda::kSomeExpertSlots, cuda::kManyExpertSlots, cuda::kMostExpertSlots})
        cases.push_back(CaseOf({experts, shape.hidden_size, Part::kGateUp, type,
                                slots_each * experts.count / experts.per_token, tile_slots}));
  }
}

}  // namespace

void AddExpertCases(const BenchShape& shape, std::vector<OpCase>& cases) {
  for (const BenchExperts& experts : shape.experts) AddTileSizes(shape, experts, cases);
  for (const BenchExperts& experts : shape.experts)
    for (const DType type : {DType::kBF16, DType::kQ4_K, DType::kMXFP4})
      for (const int tokens : shape.tokens) {
        for (const Part part : {Part::kGateUpApart, Part::kGateUp})
          if (shape.hidden_size % InfoOf(type).block_columns == 0)
            cases.push_back(CaseOf({experts, shape.hidden_size, part, type, tokens}));
        if (type == DType::kBF16)
          cases.push_back(CaseOf({experts, shape.hidden_size, Part::kDown, type, tokens}));
      }
}

void AddFp8ExpertCases(const BenchShape& shape, std::vector<OpCase>& cases) {
  for (const BenchExperts& experts : shape.experts)
    for (const int tokens : shape.tokens)
      for (const Part part : {Part::kGateUpApart, Part::kGateUp, Part::kDown}) {
        ExpertCase c = {experts, shape.hidden_size, part, DType::kBF16, tokens};
        c.fp8 = true;
        cases.push_back(CaseOf(c));
      }
}

}  // namespace ropeway
