// Products with their neighbours in one kernel: the bytes of one kernel after the other.
#include "engine/kernels/cuda/fused_matmul.h"

#include <algorithm>
#include <climits>
#include <cmath>
#include <cstdint>
#include <functional>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "engine/kernels/cuda/device_matrix.h"
#include "engine/kernels/cuda/launchers.h"
#include "gtest/gtest.h"
#include "tests/kernels/cuda/device_test.h"
#include "tests/kernels/cuda/element_values.h"

namespace ropeway::cuda {
namespace {

// Weights and activations of a layer: dense weights where `type` is not packed.
struct Kind {
  Element element;
  DType type;
  bool bulk = false;        // dense weights come by bulk copies where they are fused
  bool warpgroups = false;  // multiply
  int processors = 2;
};

std::string NameOf(const testing::TestParamInfo<Kind>& info) {
  return std::string(NameOf(info.param.element)) + "_" + std::string(InfoOf(info.param.type).name) +
         (info.param.bulk ? "_bulk" : "") + (info.param.warpgroups ? "_warpgroups" : "");
}

struct HeadsCase {
  int heads = 4, kv_heads = 2, head_dim = 32, value_dim = 32, rotary_dim = 32;
  bool interleaved = false, biased = false, scaled = false, angle_rows = false;
  float clip = 0;
};

class FusedMatMulTest : public DeviceTest, public testing::WithParamInterface<Kind> {
 protected:
  static constexpr int kMost = 72, kBlock = 256;  // kMost: tokens; warpgroups take any number

  FusedMatMulTest()
      : DeviceTest(GetParam().bulk || GetParam().warpgroups ? TestDevice::kWithWarpgroups
                                                            : TestDevice::kAny) {}

  Element element() const { return GetParam().element; }
  int most() const { return GetParam().warpgroups ? kMost : kFusedTokens; }

  DeviceMatrix Weights(int64_t rows, int64_t columns, uint32_t seed, float scale = 1) {
    const DType type = GetParam().type;
    if (!IsPacked(type))
      return {type, rows, columns,
              Upload(Encode(element(), RandomValues(element(), rows * columns, seed, scale)))};
    const std::vector<uint8_t> file = RandomPacked(type, rows, columns, seed, scale);
    std::vector<uint8_t> device(DeviceMatrixBytes(type, rows, columns));
    PackRows({.type = type, .shape = {rows, columns}, .data = file.data()}, type, rows, 0, device.data());
    return {type, rows, columns, Upload(device)};
  }
  float* Floats(size_t count, uint32_t seed, float scale = 1) {
    return Upload(RandomValues(Element::kF32, count, seed, scale));
  }
  uint8_t* Elements(int64_t count, uint32_t seed) {
    return Upload(Encode(element(), RandomValues(element(), count, seed)));
  }
  uint8_t* Cleared(int64_t bytes) { return Upload(std::vector<uint8_t>(bytes, 0x3C)); }

  MatMulArgs Product(int64_t rows, int64_t columns) {
    return {.weights = Weights(rows, columns, 1),
            .element = element(),
            .out = element(),
            .processors = GetParam().processors,
            .x = Elements(most() * columns, 2),
            .y = Cleared(most() * rows * 2),
            .y_stride = rows,
            .warpgroups = GetParam().warpgroups};
  }
  // Of rows that the test leaves as they are; a third of the columns is large, so that means count.
  NormArgs Norm(NormKind kind, int columns, bool biased) {
    std::vector<float> residual = RandomValues(Element::kF32, most() * columns, 3, 3);
    for (size_t i = 0; i < residual.size(); i += 3) residual[i] += 5;
    return {.kind = kind,
            .element = element(),
            .columns = columns,
            .epsilon = 1e-5f,
            .residual = Upload(residual),
            .weight = kind == NormKind::kNone ? nullptr : Floats(columns, 4),
            .bias = biased ? Floats(columns, 5) : nullptr};
  }

  // One kernel after the other.
  void RunApart(FusedMatMulArgs args) {
    args.product.warpgroups = false;
    if (args.norm) {
      args.norm->out = const_cast<void*>(args.product.x);
      Check(cuda::Norm(*args.norm, stream()));
    }
    Check(IsPacked(GetParam().type) ? PackedMatMul(args.product, stream())
                                    : DenseMatMul(args.product, stream()));
    if (args.add) Check(cuda::Norm(*args.add, stream()));
    if (args.gate) Check(Gate(*args.gate, stream()));
    if (args.qkv) Check(Qkv(*args.qkv, stream()));
  }

  // The same for so many tokens; `results` reads what both must leave behind.
  using Results = std::function<std::vector<uint8_t>()>;
  void ExpectSameBytes(FusedMatMulArgs args, int tokens, const std::function<void()>& reset,
                       const Results& results) {
    args.product.num_tokens = tokens;
    if (args.norm) args.norm->num_rows = tokens;
    if (args.add) args.add->num_rows = tokens;
    if (args.gate) args.gate->num_tokens = tokens;
    if (args.qkv) args.qkv->num_tokens = tokens;
    ASSERT_LE(tokens, FusedTokens(args));
    reset();
    RunApart(args);
    const std::vector<uint8_t> apart = results();
    reset();
    args.product.bulk_copies = GetParam().bulk;
    // Nothing comes by way of x and y.
    if (args.norm) args.product.x = nullptr;
    if (args.add || args.gate || args.qkv) args.product.y = nullptr;
    Check(FusedMatMul(args, stream()));
    const std::vector<uint8_t> together = results();
    ASSERT_EQ(together.size(), apart.size());
    const auto [one, other] = std::mismatch(together.begin(), together.end(), apart.begin());
    EXPECT_TRUE(one == together.end())
        << "T " << tokens << ": byte " << one - together.begin() << " of " << apart.size() << " is "
        << int{*one} << " instead of " << int{*other};
  }

  // Of as many tokens as are fused, and some of those below.
  std::vector<int> TokensUpTo(int most_fused) const {
    const int most = std::min(most_fused, this->most());
    std::vector<int> counts;
    for (const int tokens : {1, 5, 8, 9, 16})
      if (tokens <= most) counts.push_back(tokens);
    if (counts.back() != most) counts.push_back(most);
    return counts;
  }
  void ExpectSameY(const FusedMatMulArgs& args, const std::vector<int>& counts) {
    const int64_t bytes = most() * args.product.y_stride * BytesOf(args.product.out);
    uint8_t* y = static_cast<uint8_t*>(args.product.y);
    for (const int tokens : counts)
      ExpectSameBytes(
          args, tokens, [&] { Write(std::vector<uint8_t>(bytes, 0x3C), y); },
          [&] { return Download(y, bytes); });
  }
  void ExpectSameHeads(const HeadsCase& c, bool normed, const std::vector<int>& counts);
  void ExpectNoNorm() {
    EXPECT_EQ(FusedTokens({.product = Product(50, kBlock), .norm = Norm(NormKind::kRms, kBlock, false)}), 0);
  }
};

TEST_P(FusedMatMulTest, NormsTheTokens) {
  if (GetParam().warpgroups) return ExpectNoNorm();
  for (const NormKind kind : {NormKind::kRms, NormKind::kLayer, NormKind::kNone}) {
    SCOPED_TRACE(testing::Message() << "norm " << static_cast<int>(kind));
    FusedMatMulArgs args = {.product = Product(50, 2 * kBlock), .norm = Norm(kind, 2 * kBlock, false)};
    ExpectSameY(args, {1, 8, 11});
  }
  FusedMatMulArgs args = {.product = Product(33, kBlock), .norm = Norm(NormKind::kLayer, kBlock, true)};
  args.product.out = Element::kF32;
  args.product.y = Cleared(most() * 33 * 4);
  ExpectSameY(args, {2, 16});
}

// Rows whose sums all 16 warps of the norm's kernel take part in, once and more often; of 16 * kBlock columns as many
// bytes as a block may keep.
TEST_P(FusedMatMulTest, NormsWideRows) {
  if (GetParam().warpgroups) return ExpectNoNorm();
  for (const auto& [columns, tokens] :
       {std::pair(9 * kBlock, 3), std::pair(16 * kBlock, 2), std::pair(18 * kBlock, 1)}) {
    const FusedMatMulArgs args = {.product = Product(16, columns),
                                  .norm = Norm(NormKind::kRms, columns, false)};
    EXPECT_EQ(FusedTokens(args), tokens);
    ExpectSameY(args, {1, tokens});
  }
}

TEST_P(FusedMatMulTest, AddsToTheResidual) {
  for (const bool biased : {false, true}) {
    constexpr int kRows = 40;
    const std::vector<float> before = RandomValues(Element::kF32, most() * kRows, 6);
    float* residual = Upload(before);
    FusedMatMulArgs args = {.product = Product(kRows, kBlock)};
    args.add = NormArgs{.kind = NormKind::kNone,
                        .element = element(),
                        .columns = kRows,
                        .residual = residual,
                        .branch = args.product.y,
                        .branch_bias = biased ? Floats(kRows, 7) : nullptr,
                        .branch_scale = biased ? 0.3f : 1.0f};
    for (const int tokens : TokensUpTo(FusedTokens(args)))
      ExpectSameBytes(
          args, tokens, [&] { Write(before, residual); },
          [&] { return Download(reinterpret_cast<uint8_t*>(residual), before.size() * 4); });
  }
}

// Sums so small that they are rounded to 0, or to -0: what is -0 stays so where -0 is added, and nowhere else.
TEST_P(FusedMatMulTest, KeepsTheSignOfZeros) {
  constexpr int kRows = 40;
  const std::vector<float> before(most() * kRows, -0.0f);
  float* residual = Upload(before);
  FusedMatMulArgs args = {.product = Product(kRows, kBlock)};
  args.product.weights = Weights(kRows, kBlock, 1, /*scale=*/0x1p-19f);
  std::vector<float> x(most() * kBlock);
  for (int t = 0; t < most(); ++t)
    x[t * kBlock + t] = (t % 2 == 0 ? 1 : -1) * (element() == Element::kF16 ? 0x1p-14f : 0x1p-121f);
  args.product.x = Upload(Encode(element(), x));
  args.add = NormArgs{.kind = NormKind::kNone,
                      .element = element(),
                      .columns = kRows,
                      .residual = residual,
                      .branch = args.product.y};
  for (const int tokens : TokensUpTo(FusedTokens(args))) {
    ExpectSameBytes(
        args, tokens, [&] { Write(before, residual); },
        [&] { return Download(reinterpret_cast<uint8_t*>(residual), before.size() * 4); });
    const std::vector<float> after = Download(residual, static_cast<size_t>(tokens) * kRows);
    const auto is_minus_zero = [](float number) { return number == 0 && std::signbit(number); };
    EXPECT_TRUE(std::any_of(after.begin(), after.end(), is_minus_zero));
    EXPECT_FALSE(std::all_of(after.begin(), after.end(), is_minus_zero));
  }
}

TEST_P(FusedMatMulTest, ActivatesAndGates) {
  for (const bool gated : {true, false}) {
    for (const Activation activation :
         {Activation::kSilu, Activation::kGeluTanh, Activation::kGeluErf, Activation::kRelu,
          Activation::kRelu2, Activation::kXielu, Activation::kClampedSwiglu}) {
      if (!gated && activation == Activation::kClampedSwiglu) continue;
      // How weights are stored makes no difference to what follows.
      if (IsPacked(GetParam().type) && activation != Activation::kSilu) continue;
      SCOPED_TRACE(testing::Message() << "activation " << static_cast<int>(activation) << " gated " << gated);
      const bool usual = activation == Activation::kSilu;
      const int columns = usual ? 43 : 24, rows = gated ? 2 * columns : columns;
      FusedMatMulArgs args = {.product = Product(rows, kBlock)};
      uint8_t* out = Cleared(most() * columns * 2);
      args.gate = GateArgs{.activation = activation,
                           .gated = gated,
                           .element = element(),
                           .columns = columns,
                           .gate_up = args.product.y,
                           .bias = usual ? nullptr : Floats(rows, 8),
                           .numbers = {.p = 0.8f, .n = 0.7f, .l = 0.5f, .m = -1e-6f, .s = 1.702f, .c = 7},
                           .out = out};
      for (const int tokens : usual ? TokensUpTo(FusedTokens(args)) : std::vector<int>{1, 10})
        ExpectSameBytes(
            args, tokens, [&] { Write(std::vector<uint8_t>(most() * columns * 2, 0x3C), out); },
            [&] { return Download(out, most() * columns * 2); });
    }
  }
}

void FusedMatMulTest::ExpectSameHeads(const HeadsCase& c, bool normed, const std::vector<int>& counts) {
  constexpr int kMaxPages = 1 + (kPageTokens + kMost) / kPageTokens;
  constexpr int kPages = 2 * kMaxPages, kPositions = kMaxPages * kPageTokens;
  const KvElement own = element() == Element::kF16 ? KvElement::kF16 : KvElement::kBF16;
  KvPages kv = {.element = own, .num_kv_heads = c.kv_heads, .head_dim = c.head_dim, .value_dim = c.value_dim};
  const int64_t page_bytes = kPages * kv.page_bytes(),
                query_bytes = int64_t{most()} * c.heads * c.head_dim * 2;
  kv.data = Cleared(page_bytes);
  const int rows = (c.heads + c.kv_heads) * c.head_dim + c.kv_heads * c.value_dim;
  FusedMatMulArgs args = {.product = Product(rows, kBlock)};
  if (normed && !GetParam().warpgroups) args.norm = Norm(NormKind::kRms, kBlock, false);
  // Two rows, each on pages of its own; token 5 is padding.
  std::vector<int32_t> positions(most()), token_rows(most()), angle_rows(most()), page_tables(kPages);
  std::iota(page_tables.rbegin(), page_tables.rend(), 0);
  for (int t = 0; t < most(); ++t) {
    positions[t] = t == 5 ? -1 : t % 2 == 0 ? 7 + t : kPageTokens - 3 + t;
    token_rows[t] = t % 2;
    angle_rows[t] = most() - 1 - t;
  }
  uint8_t* queries = Cleared(query_bytes);
  args.qkv = QkvArgs{.element = element(),
                     .num_heads = c.heads,
                     .qkv = args.product.y,
                     .bias = c.biased ? Floats(rows, 9) : nullptr,
                     .clip = c.clip,
                     .rotary_dim = c.rotary_dim,
                     .interleaved = c.interleaved,
                     .cosines = Floats(kPositions * (c.rotary_dim / 2 + 1), 10),
                     .sines = Floats(kPositions * (c.rotary_dim / 2 + 1), 11),
                     .angle_rows = c.angle_rows ? Upload(angle_rows) : nullptr,
                     .query_scales = c.scaled ? Floats(kPositions, 12) : nullptr,
                     .positions = Upload(positions),
                     .token_rows = Upload(token_rows),
                     .page_tables = Upload(page_tables),
                     .max_pages = kMaxPages,
                     .kv = kv,
                     .queries = queries};
  for (const int tokens : counts)
    ExpectSameBytes(
        args, tokens,
        [&] {
          Write(std::vector<uint8_t>(query_bytes, 0x3C), queries);
          Write(std::vector<uint8_t>(page_bytes, 0x3C), kv.data);
        },
        [&] {
          std::vector<uint8_t> all = Download(queries, query_bytes);
          const std::vector<uint8_t> pages = Download(kv.data, page_bytes);
          all.insert(all.end(), pages.begin(), pages.end());
          return all;
        });
}

TEST_P(FusedMatMulTest, TurnsAndStoresHeads) { ExpectSameHeads({}, false, TokensUpTo(most())); }

TEST_P(FusedMatMulTest, TurnsAndStoresHeadsOfEveryKind) {
  ExpectSameHeads({.interleaved = true, .biased = true}, true, {1, 16});
  ExpectSameHeads({.heads = 3, .kv_heads = 1, .head_dim = 48, .value_dim = 16, .rotary_dim = 16}, false,
                  {2, 9});
  ExpectSameHeads({.head_dim = 48, .rotary_dim = 16, .interleaved = true, .clip = 4}, true, {7});
  ExpectSameHeads({.rotary_dim = 0, .scaled = true}, false, {6});
  ExpectSameHeads({.biased = true, .scaled = true, .angle_rows = true, .clip = 10}, true, {16});
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, FusedMatMulTest,
    testing::Values(
        Kind{Element::kBF16, DType::kBF16}, Kind{Element::kF16, DType::kF16},
        Kind{Element::kBF16, DType::kBF16, true}, Kind{Element::kF16, DType::kF16, true},
        Kind{Element::kBF16, DType::kQ4_K}, Kind{Element::kF16, DType::kQ6_K},
        Kind{Element::kBF16, DType::kQ8_0}, Kind{Element::kF16, DType::kQ4_0},
        Kind{Element::kBF16, DType::kQ4_1},
        Kind{.element = Element::kBF16, .type = DType::kBF16, .warpgroups = true, .processors = 1},
        Kind{.element = Element::kF16, .type = DType::kF16, .warpgroups = true, .processors = 4},
        Kind{.element = Element::kBF16, .type = DType::kQ4_K, .warpgroups = true, .processors = 4},
        Kind{.element = Element::kF16, .type = DType::kQ6_K, .warpgroups = true, .processors = 1}),
    [](const auto& info) { return NameOf(info); });

class FusedTokensTest : public testing::Test {
 protected:
  FusedTokensTest() {
    args_.product = {.weights = {DType::kBF16, 64, 4096, nullptr}};
    norm_ = {.columns = 4096};
    gate_ = {.columns = 32};
    qkv_ = {.num_heads = 2,
            .kv = {.element = KvElement::kBF16, .num_kv_heads = 1, .head_dim = 16, .value_dim = 16}};
  }
  int With(const std::function<void()>& change) {
    change();
    return FusedTokens(args_);
  }
  FusedMatMulArgs args_;
  NormArgs norm_;
  GateArgs gate_;
  QkvArgs qkv_;
};

TEST_F(FusedTokensTest, NormedRowsMustFindRoom) {
  EXPECT_EQ(FusedTokens(args_), 16);
  EXPECT_EQ(With([&] { args_.norm = norm_; }), 2);
  EXPECT_EQ(With([&] { args_.product.weights.columns = args_.norm->columns = 512; }), 16);
  EXPECT_EQ(With([&] { args_.product.weights.columns = args_.norm->columns = 8200; }), 0);
}

TEST_F(FusedTokensTest, WarpgroupsTakeAnyNumberBehindNoNorm) {
  args_.product.weights.type = DType::kQ4_K;
  EXPECT_EQ(With([&] { args_.gate = gate_; }), 16);
  EXPECT_EQ(With([&] { args_.product.warpgroups = true; }), INT_MAX);
  EXPECT_EQ(With([&] { args_.gate.reset(), args_.norm = norm_; }), 0);
  EXPECT_EQ(With([&] { args_.product.warpgroups = false; }), 2);
}

TEST_F(FusedTokensTest, WhatNoKernelDoesIsNotFused) {
  EXPECT_EQ(With([&] { args_.product.weights.columns = 12; }), 0);
  EXPECT_EQ(With([&] { args_.product.weights.columns = 4096, args_.product.weights.type = DType::kF32; }), 0);
  EXPECT_EQ(With([&] { args_.product.weights.type = DType::kBF16, args_.product.element = Element::kF32; }),
            0);
  EXPECT_EQ(With([&] { args_.product.element = Element::kBF16, args_.gate = gate_; }), 16);
  EXPECT_EQ(With([&] { args_.product.out = Element::kF32; }), 0);
  EXPECT_EQ(With([&] { args_.product.out = Element::kBF16, args_.gate->columns = 31; }), 0);
  EXPECT_EQ(With([&] { args_.gate.reset(), args_.add = NormArgs{.columns = 64}; }), 16);
  // Blocks would norm rows that others have added to.
  EXPECT_EQ(With([&] { args_.norm = NormArgs{.columns = 4096}; }), 0);
  EXPECT_EQ(With([&] { args_.norm.reset(), args_.add->post_kind = NormKind::kRms; }), 0);
  EXPECT_EQ(With([&] { args_.add.reset(), args_.qkv = qkv_; }), 16);
  EXPECT_EQ(With([&] { args_.gate = GateArgs{.gated = false, .columns = 64}; }), 0);
  EXPECT_EQ(With([&] { args_.gate.reset(), args_.qkv->norms.kind = NormKind::kRms; }), 0);
  EXPECT_EQ(With([&] { args_.qkv = qkv_, args_.qkv->kv.element = KvElement::kInt8; }), 0);
  EXPECT_EQ(With([&] { args_.qkv = qkv_, args_.qkv->rotary_dim = 8; }), 0);
  EXPECT_EQ(With([&] { args_.qkv = qkv_, args_.qkv->shared_keys = &args_; }), 0);
  EXPECT_EQ(With([&] { args_.qkv = qkv_, args_.qkv->previous.out = &args_; }), 0);
  EXPECT_EQ(With([&] { args_.qkv = qkv_, args_.qkv->num_heads = 3; }), 0);
  EXPECT_EQ(With([&] { args_.qkv = qkv_, args_.product.num_tokens = 17; }), 16);
  EXPECT_NE(FusedMatMul(args_, {}), 0);
}

}  // namespace
}  // namespace ropeway::cuda
