// Products of experts by 8-bit floating point on a device: the bytes of those of each expert's matrix by itself, which
// fp8_test.cc holds to a reference, however the slots are divided among tiles.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/kernels/cuda/experts.h"
#include "engine/kernels/cuda/fp8.h"
#include "engine/kernels/cuda/launchers.h"
#include "gtest/gtest.h"
#include "tests/kernels/cuda/element_values.h"
#include "tests/kernels/cuda/fp8_device_test.h"

namespace ropeway::cuda {
namespace {

constexpr int kTileSlots[] = {kFewExpertSlots, kSomeExpertSlots, kManyExpertSlots, kMostExpertSlots};
constexpr int kExperts = 4, kPerToken = 2;

// Two experts of each token, of which the first gets most tokens and the last but one none.
std::vector<int32_t> ChoicesOf(int tokens) {
  std::vector<int32_t> experts;
  for (int t = 0; t < tokens; ++t) {
    experts.push_back(t % 4 == 3 ? 1 : 0);
    experts.push_back(t % 4 == 3 ? 0 : t % 9 == 1 ? 3 : 1);
  }
  return experts;
}

// What Route makes of choices, on the host.
struct HostSlots {
  std::vector<int32_t> choices, slots, experts;  // of slots; of choices; of slots
  std::vector<ExpertTile> tiles;
};
HostSlots SlotsOf(const std::vector<int32_t>& experts, int tile_slots) {
  HostSlots host = {.choices = {}, .slots = std::vector<int32_t>(experts.size()), .experts = {}, .tiles = {}};
  for (int32_t expert = 0; expert < kExperts; ++expert) {
    const auto first = static_cast<int32_t>(host.choices.size());
    for (size_t choice = experts.size(); choice-- > 0;) {  // in any order
      if (experts[choice] != expert) continue;
      host.slots[choice] = static_cast<int32_t>(host.choices.size());
      host.choices.push_back(static_cast<int32_t>(choice));
      host.experts.push_back(expert);
    }
    const auto last = static_cast<int32_t>(host.choices.size());
    for (int32_t at = first; at < last; at += tile_slots)
      host.tiles.push_back({expert, at, std::min(tile_slots, last - at)});
  }
  return host;
}

class Fp8ExpertsTest : public Fp8DeviceTest, public testing::WithParamInterface<Element> {
 protected:
  static constexpr int64_t kBehind = 3;  // columns of y that other products fill

  struct Experts {
    int64_t rows, columns;
    std::vector<Fp8Matrix> all;
    const void* const* data;
  };
  Experts Make(int64_t rows, int64_t columns) {
    Experts experts = {.rows = rows, .columns = columns, .all = {}, .data = nullptr};
    std::vector<const void*> data;
    for (uint32_t e = 0; e < kExperts; ++e) {
      experts.all.push_back(
          UploadMatrix(RandomValues(Element::kF32, rows * columns, 50 + e, 0.1f), rows, columns));
      data.push_back(experts.all.back().data);
    }
    experts.data = Upload(data);
    return experts;
  }

  struct Way {
    int tile_slots;
    bool of_tokens = false, scales = false;
  };
  // `weights` of choices.
  Fp8ExpertMatMulArgs ArgsOf(const Experts& experts, const HostSlots& host, const std::vector<float>& weights,
                             const Way& way, const Fp8Rows& x) {
    const int64_t slots = static_cast<int64_t>(host.choices.size()), stride = experts.rows + kBehind;
    return {.product = {.weights = {DType::kBF16, experts.rows, experts.columns, nullptr},
                        .matrices = experts.data,
                        .element = GetParam(),
                        .num_experts = kExperts,
                        .num_slots = static_cast<int>(slots),
                        .per_token = way.of_tokens ? kPerToken : 0,
                        .scales = way.scales,
                        .processors = 1,  // so that blocks have several jobs
                        .slots = {.tile_slots = way.tile_slots,
                                  .weights = Upload(weights),
                                  .slots = Upload(host.slots),
                                  .slot_choices = Upload(host.choices),
                                  .slot_experts = Upload(host.experts),
                                  .tiles = Upload(host.tiles),
                                  .num_tiles =
                                      Upload(std::vector<int32_t>{static_cast<int32_t>(host.tiles.size())})},
                        .y = Upload(std::vector<uint8_t>(slots * stride * BytesOf(GetParam()), 0x3C)),
                        .y_stride = stride},
            .x = x};
  }
  std::vector<uint8_t> Run(const Fp8ExpertMatMulArgs& args) {
    Check(Fp8ExpertMatMul(args, stream()));
    return Download(static_cast<uint8_t*>(args.product.y),
                    args.product.num_slots * args.product.y_stride * BytesOf(GetParam()));
  }

  // y of one slot by the products of its expert's matrix alone.
  std::vector<float> Expected(const Experts& experts, const HostSlots& host, int slot, const Fp8Rows& x,
                              const Way& way) {
    const int row = way.of_tokens ? host.choices[slot] / kPerToken : slot;
    const Fp8Rows own = {.codes = x.codes + row * Fp8RowBytes(experts.columns), .scales = x.scales + row};
    return Decode(Element::kF32,
                  Multiply(experts.all[host.experts[slot]], own, 1, Element::kF32, experts.rows));
  }
};

TEST_P(Fp8ExpertsTest, ProductsAreThoseOfEachMatrixByItself) {
  constexpr int kTokens = 100;
  struct Shape {
    int64_t rows, columns;
  };
  const std::vector<int32_t> choices = ChoicesOf(kTokens);
  const std::vector<float> weights = RandomValues(Element::kF32, choices.size(), 60);
  for (const auto& [rows, columns] : {Shape{5, 24}, {141, 136}, {33, 700}}) {
    const Experts experts = Make(rows, columns);
    for (const Way& way : {Way{kFewExpertSlots, true, true}, Way{kSomeExpertSlots, true},
                           Way{kSomeExpertSlots}, Way{kManyExpertSlots, true}, Way{kManyExpertSlots},
                           Way{kMostExpertSlots, true}, Way{kMostExpertSlots}}) {
      SCOPED_TRACE(testing::Message() << "M " << rows << " K " << columns << " tiles of " << way.tile_slots);
      const HostSlots host = SlotsOf(choices, way.tile_slots);
      const Fp8Rows x = Quantize(
          GetParam(), RandomValues(GetParam(), (way.of_tokens ? 1 : kPerToken) * kTokens * columns, 61),
          columns);
      const std::vector<uint8_t> y = Run(ArgsOf(experts, host, weights, way, x));
      const int64_t stride = rows + kBehind, row_bytes = stride * BytesOf(GetParam());
      for (int slot = 0; slot < kPerToken * kTokens; slot += 23) {
        std::vector<float> sums = Expected(experts, host, slot, x, way);
        if (way.scales)
          for (float& sum : sums) sum *= weights[host.choices[slot]];
        std::vector<uint8_t> expected = Encode(GetParam(), sums);
        expected.resize(row_bytes, 0x3C);
        ASSERT_EQ(std::vector<uint8_t>(&y[slot * row_bytes], &y[slot * row_bytes] + row_bytes), expected)
            << "slot " << slot;
      }
    }
  }
}

// What a token gets does not depend on the tokens beside it, nor on how many slots a tile has.
TEST_P(Fp8ExpertsTest, ATokenHasTheBytesThatItHasAlone) {
  constexpr int kTokens = 90;
  constexpr int64_t kRows = 20, kColumns = 300;
  const Experts experts = Make(kRows, kColumns);
  const std::vector<int32_t> choices = ChoicesOf(kTokens);
  const std::vector<float> x = RandomValues(GetParam(), kTokens * kColumns, 62);
  const std::vector<float> weights(choices.size(), 1);
  const int64_t row_bytes = (kRows + kBehind) * BytesOf(GetParam());
  for (const int tile_slots : kTileSlots) {
    const Way way = {.tile_slots = tile_slots, .of_tokens = true};
    const HostSlots together = SlotsOf(choices, tile_slots);
    const std::vector<uint8_t> all =
        Run(ArgsOf(experts, together, weights, way, Quantize(GetParam(), x, kColumns)));
    for (const int token : {0, 10, 89}) {
      const HostSlots own = SlotsOf({choices[2 * token], choices[2 * token + 1]}, kFewExpertSlots);
      const std::vector<float> row(&x[token * kColumns], &x[token * kColumns] + kColumns);
      const std::vector<uint8_t> alone =
          Run(ArgsOf(experts, own, weights, {kFewExpertSlots, true}, Quantize(GetParam(), row, kColumns)));
      for (int rank = 0; rank < kPerToken; ++rank) {
        const auto* const beside = &all[together.slots[2 * token + rank] * row_bytes];
        EXPECT_TRUE(std::equal(beside, beside + row_bytes, &alone[own.slots[rank] * row_bytes]))
            << "token " << token << ", tiles of " << tile_slots;
      }
    }
  }
}

// In the kernel of the product the bytes are those of one kernel after the other.
TEST_P(Fp8ExpertsTest, EndWithTheGate) {
  constexpr int kTokens = 80;
  constexpr int64_t kFfn = 43, kColumns = 200, kSlots = kTokens * kPerToken;
  const Experts experts = Make(2 * kFfn, kColumns);
  const std::vector<int32_t> choices = ChoicesOf(kTokens);
  const std::vector<float> weights = RandomValues(Element::kF32, choices.size(), 63);
  std::vector<const float*> biases;
  for (uint32_t e = 0; e < kExperts; ++e)
    biases.push_back(Upload(RandomValues(Element::kF32, 2 * kFfn, 64 + e)));
  const Fp8Rows x = Quantize(GetParam(), RandomValues(GetParam(), kTokens * kColumns, 70), kColumns);
  for (const int tile_slots : kTileSlots) {
    for (const Activation activation : {Activation::kSilu, Activation::kClampedSwiglu, Activation::kRelu2}) {
      const bool gated = activation != Activation::kRelu2, has_biases = activation != Activation::kSilu;
      const int64_t columns = gated ? kFfn : 2 * kFfn;
      SCOPED_TRACE(testing::Message()
                   << "tiles of " << tile_slots << ", activation " << static_cast<int>(activation));
      Fp8ExpertMatMulArgs args = ArgsOf(experts, SlotsOf(choices, tile_slots), weights,
                                        {tile_slots, /*of_tokens=*/true, /*scales=*/!has_biases}, x);
      args.product.y_stride = 2 * kFfn;
      const std::vector<uint8_t> untouched = Download(static_cast<uint8_t*>(args.product.y), 100);
      Fp8ExpertMatMulArgs apart = args;
      apart.product.y = Allocate<uint8_t>(kSlots * 2 * kFfn * BytesOf(GetParam()));
      Run(apart);
      const int64_t bytes = kSlots * columns * BytesOf(GetParam());
      GateArgs gate = {.activation = activation,
                       .gated = gated,
                       .element = GetParam(),
                       .num_tokens = kSlots,
                       .columns = static_cast<int>(columns),
                       .gate_up = apart.product.y,
                       .expert_biases = has_biases ? Upload(biases) : nullptr,
                       .experts = has_biases ? args.product.slots.slot_experts : nullptr,
                       .numbers = {.s = 1.702f, .c = 2},
                       .out = Allocate<uint8_t>(bytes)};
      Check(Gate(gate, stream()));
      const std::vector<uint8_t> expected = Download(static_cast<uint8_t*>(gate.out), bytes);
      gate.out = Allocate<uint8_t>(bytes);
      args.product.gate = gate;
      Check(Fp8ExpertMatMul(args, stream()));
      EXPECT_EQ(Download(static_cast<uint8_t*>(gate.out), bytes), expected);
      EXPECT_EQ(Download(static_cast<uint8_t*>(args.product.y), 100), untouched);
    }
  }
}

// More tiles than there are, as a captured step may have.
TEST_P(Fp8ExpertsTest, TakeAsManySlotsAsAStepMayHave) {
  const Experts experts = Make(3, 32);
  const std::vector<int32_t> choices = ChoicesOf(2);
  const std::vector<float> weights(choices.size(), 1);
  const Fp8Rows x = Quantize(GetParam(), RandomValues(GetParam(), 2 * 32, 71), 32);
  Fp8ExpertMatMulArgs args =
      ArgsOf(experts, SlotsOf(choices, kFewExpertSlots), weights, {kFewExpertSlots, true}, x);
  const std::vector<uint8_t> y = Run(args);
  const int64_t bytes = static_cast<int64_t>(y.size());
  args.product.y = Upload(std::vector<uint8_t>(bytes, 0x3C));
  args.product.num_slots = 65536 * kPerToken;
  Check(Fp8ExpertMatMul(args, stream()));
  EXPECT_EQ(Download(static_cast<uint8_t*>(args.product.y), bytes), y);
}

INSTANTIATE_TEST_SUITE_P(Types, Fp8ExpertsTest, testing::ValuesIn(kElements),
                         [](const auto& info) { return std::string(NameOf(info.param)); });

}  // namespace
}  // namespace ropeway::cuda
