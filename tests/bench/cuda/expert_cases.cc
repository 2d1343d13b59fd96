#include "tests/bench/cuda/expert_cases.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"

namespace ropeway {
namespace {

using cuda::Element;

constexpr Element kElement = Element::kBF16;
constexpr int64_t kElementBytes = BytesOf(kElement);
constexpr int64_t kPlaces = 4;  // of all experts' matrices in the pool, one after the other

struct ExpertCase {
  BenchExperts experts;
  const char* name;
  int64_t outputs, columns;  // M, K
  bool of_tokens;            // x has a row for each token
  DType type;
  int tokens;
  int tile_slots = 0;  // 0: as the executor takes them
  bool fp8 = false;    // weights, instead of `type`; making x fp8 is not included

  int64_t slots() const { return int64_t{tokens} * experts.per_token; }
  int64_t rows_of_x() const { return of_tokens ? tokens : slots(); }
  int64_t matrix_bytes() const {
    const int64_t bytes =
        fp8 ? cuda::Fp8LayoutOf(outputs, columns).bytes : cuda::DeviceMatrixBytes(type, outputs, columns);
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
  const int tile_slots = c.tile_slots > 0 ? c.tile_slots : cuda::ExpertTileSlots(slots, count);
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

BenchDevice::Call Prepare(const ExpertCase& c, BenchDevice& device) {
  const cuda::ExpertMatMulArgs args = {.weights = {c.type, c.outputs, c.columns, nullptr},
                                       .element = kElement,
                                       .num_experts = c.experts.count,
                                       .num_slots = static_cast<int>(c.slots()),
                                       .per_token = c.of_tokens ? c.experts.per_token : 0,
                                       .processors = device.info().processors,
                                       .slots = RouteEvenly(c, device),
                                       .x = device.Allocate(c.rows_of_x() * c.columns * kElementBytes),
                                       .y = device.Allocate(c.slots() * c.outputs * kElementBytes),
                                       .y_stride = c.outputs};
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
    rows = {.codes = static_cast<uint8_t*>(device.Allocate(c.rows_of_x() * cuda::Fp8RowBytes(c.columns))),
            .scales = static_cast<float*>(device.Allocate(c.rows_of_x() * 4))};
  return [=, &device, fp8 = c.fp8](int64_t repeat) {
    cuda::ExpertMatMulArgs again = args;
    again.matrices = places[static_cast<size_t>(repeat % kPlaces)];
    if (!fp8) return device.kernels().expert_matmul(again, device.stream());
    return device.fp8_kernels().expert_matmul({.product = again, .x = rows, .gate = {}}, device.stream());
  };
}

OpCase CaseOf(const ExpertCase& c) {
  const int64_t active = std::min<int64_t>(c.experts.count, c.slots());
  const int64_t bytes = active * c.matrix_bytes() + c.rows_of_x() * c.columns * (c.fp8 ? 1 : kElementBytes) +
                        c.slots() * c.outputs * kElementBytes;
  const std::string tiles = c.tile_slots > 0 ? absl::StrCat(" tiles of ", c.tile_slots) : "";
  return {.operation = absl::StrCat(c.fp8 ? "fp8 " : "", "experts ", c.experts.count, "/",
                                    c.experts.per_token, " ", c.name, tiles),
          .sizes = absl::StrCat(c.fp8 ? "e4m3" : ropeway::NameOf(c.type), ", T ", c.tokens),
          .bytes = static_cast<double>(bytes),
          .flops = 2.0 * static_cast<double>(c.slots() * c.outputs * c.columns),
          .prepare = [=](BenchDevice& device) { return Prepare(c, device); }};
}

// What ExpertTileSlots should say: with every size of tiles.
void AddTileSizes(const BenchShape& shape, const BenchExperts& experts, std::vector<OpCase>& cases) {
  for (const DType type : {DType::kBF16, DType::kQ4_K}) {
    if (shape.hidden_size % InfoOf(type).block_columns != 0) continue;
    for (const int slots_each : {2, 4, 8, 16, 32})  // on average
      for (const int tile_slots : {cuda::kFewExpertSlots, cuda::kSomeExpertSlots, cuda::kManyExpertSlots})
        cases.push_back(CaseOf({experts, "gate_up", int64_t{2} * experts.ffn_size, shape.hidden_size, true,
                                type, slots_each * experts.count / experts.per_token, tile_slots}));
  }
}

}  // namespace

void AddExpertCases(const BenchShape& shape, std::vector<OpCase>& cases) {
  for (const BenchExperts& experts : shape.experts) AddTileSizes(shape, experts, cases);
  for (const BenchExperts& experts : shape.experts)
    for (const DType type : {DType::kBF16, DType::kQ4_K, DType::kMXFP4})
      for (const int tokens : shape.tokens) {
        const ExpertCase gate_up = {
            experts, "gate_up", int64_t{2} * experts.ffn_size, shape.hidden_size, true, type, tokens};
        if (gate_up.columns % InfoOf(type).block_columns == 0) cases.push_back(CaseOf(gate_up));
        if (type != DType::kBF16) continue;
        cases.push_back(CaseOf({experts, "down", shape.hidden_size, experts.ffn_size, false, type, tokens}));
      }
}

void AddFp8ExpertCases(const BenchShape& shape, std::vector<OpCase>& cases) {
  for (const BenchExperts& experts : shape.experts)
    for (const int tokens : shape.tokens) {
      ExpertCase gate_up = {experts,      "gate_up", int64_t{2} * experts.ffn_size, shape.hidden_size, true,
                            DType::kBF16, tokens};
      ExpertCase down = {experts, "down", shape.hidden_size, experts.ffn_size, false, DType::kBF16, tokens};
      gate_up.fp8 = down.fp8 = true;
      cases.push_back(CaseOf(gate_up));
      cases.push_back(CaseOf(down));
    }
}

}  // namespace ropeway
