// Row operations, storing to the cache and the choice of a table.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string_view>
#include <vector>

#include "engine/tensor/half.h"
#include "gtest/gtest.h"
#include "tests/kernels/kernel_inputs.h"

namespace ropeway::kernels {
namespace {

constexpr double kEpsilon = std::numeric_limits<float>::epsilon();
constexpr float kNotANumber = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int64_t kLengths[] = {1, 2, 3, 7, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 576, 1000, 2048};

std::vector<const KernelTable*> AllTables() {
  std::vector<const KernelTable*> tables = FastTables();
  tables.push_back(&RefKernels());
  return tables;
}

// Runs `body(table, out)` on every fast table and expects equal bytes of `count` floats.
template <typename Body>
void ExpectEqualBytes(int64_t count, const Body& body) {
  std::vector<std::vector<float>> results;
  for (const KernelTable* table : FastTables()) {
    results.emplace_back(count);
    body(*table, results.back().data());
    EXPECT_EQ(FirstDifference(results.back().data(), results[0].data(), count), "") << table->name;
  }
}

TEST(RmsNorm, AgainstTheFormula) {
  for (const KernelTable* table : AllTables())
    for (int64_t n : kLengths)
      for (int64_t shift : {0, 1, 3}) {
        SCOPED_TRACE(testing::Message() << table->name << " n " << n << " shift " << shift);
        const std::vector<float> x = RandomActivations(1, n + shift, 41),
                                 weight = RandomActivations(1, n + shift, 42);
        std::vector<float> out(n + shift + 1, 9);
        table->rms_norm(&x[shift], &weight[shift], n, 1e-5f, &out[shift]);
        double squares = 0;
        for (int64_t i = 0; i < n; ++i) squares += static_cast<double>(x[shift + i]) * x[shift + i];
        const double factor = 1 / std::sqrt(squares / static_cast<double>(n) + 1e-5);
        for (int64_t i = 0; i < n; ++i) {
          const double expected = x[shift + i] * factor * weight[shift + i];
          ASSERT_NEAR(out[shift + i], expected,
                      (static_cast<double>(n) / 32 + 8) * kEpsilon * std::abs(expected));
        }
        EXPECT_EQ(out[n + shift], 9);
        std::vector<float> in_place = x;
        table->rms_norm(&in_place[shift], &weight[shift], n, 1e-5f, &in_place[shift]);
        EXPECT_EQ(FirstDifference(&in_place[shift], &out[shift], n), "");
      }
}

TEST(RmsNorm, Bytes) {
  for (int64_t n : kLengths) {
    const std::vector<float> x = RandomActivations(1, n, 43), weight = RandomActivations(1, n, 44);
    ExpectEqualBytes(n, [&](const KernelTable& table, float* out) {
      table.rms_norm(x.data(), weight.data(), n, 1e-6f, out);
    });
  }
}

TEST(RmsNorm, ZerosStayZeroAndNaNSpreads) {
  for (const KernelTable* table : AllTables()) {
    std::vector<float> x(40), out(40);
    const std::vector<float> weight(40, 2);
    table->rms_norm(x.data(), weight.data(), 40, 1e-5f, out.data());
    for (float value : out) EXPECT_EQ(value, 0);
    x[17] = kNotANumber;
    table->rms_norm(x.data(), weight.data(), 40, 1e-5f, out.data());
    for (float value : out) EXPECT_TRUE(std::isnan(value)) << table->name;
  }
}

TEST(LayerNorm, AgainstTheFormula) {
  for (const KernelTable* table : AllTables())
    for (int64_t n : kLengths)
      for (bool with_bias : {false, true}) {
        SCOPED_TRACE(testing::Message() << table->name << " n " << n);
        std::vector<float> x = RandomActivations(1, n, 61);
        for (float& value : x) value += 50;  // far from zero: the mean must not cancel
        const std::vector<float> weight = RandomActivations(1, n, 62), bias = RandomActivations(1, n, 63);
        std::vector<float> out(n + 1, 9);
        table->layer_norm(x.data(), weight.data(), with_bias ? bias.data() : nullptr, n, 1e-5f, out.data());
        double sum = 0, squares = 0;
        for (const float value : x) sum += value;
        const double mean = sum / static_cast<double>(n);
        for (const float value : x) squares += (value - mean) * (value - mean);
        const double factor = 1 / std::sqrt(squares / static_cast<double>(n) + 1e-5);
        for (int64_t i = 0; i < n; ++i) {
          const double normed = (x[i] - mean) * factor,
                       expected = normed * weight[i] + (with_bias ? bias[i] : 0);
          // The mean is rounded where x is: some ulps of 50, times the factor.
          const double slack = (static_cast<double>(n) / 32 + 8) * kEpsilon;
          ASSERT_NEAR(out[i], expected,
                      slack * (std::abs(expected) + std::abs(weight[i]) * (std::abs(normed) + 64 * factor)) +
                          kEpsilon * std::abs(bias[i]));
        }
        EXPECT_EQ(out[n], 9);
        std::vector<float> in_place = x;
        table->layer_norm(in_place.data(), weight.data(), with_bias ? bias.data() : nullptr, n, 1e-5f,
                          in_place.data());
        EXPECT_EQ(FirstDifference(in_place.data(), out.data(), n), "");
      }
}

TEST(LayerNorm, BytesAndNaN) {
  for (int64_t n : kLengths) {
    std::vector<float> x = RandomActivations(1, n, 64);
    const std::vector<float> weight = RandomActivations(1, n, 65), bias = RandomActivations(1, n, 66);
    ExpectEqualBytes(n, [&](const KernelTable& table, float* out) {
      table.layer_norm(x.data(), weight.data(), bias.data(), n, 1e-6f, out);
    });
    x[n / 2] = kNotANumber;
    for (const KernelTable* table : AllTables()) {
      std::vector<float> out(n);
      table->layer_norm(x.data(), weight.data(), bias.data(), n, 1e-6f, out.data());
      for (float value : out) EXPECT_TRUE(std::isnan(value)) << table->name;
    }
  }
}

struct RotateCase {
  int num_heads, rotary_dim, head_stride;
  bool interleaved;
};

std::vector<RotateCase> RotateCases() {
  std::vector<RotateCase> cases;
  for (bool interleaved : {false, true})
    for (int dim : {2, 4, 16, 20, 24, 32, 48, 64, 66, 80, 96, 128, 256}) {
      cases.push_back({3, dim, dim, interleaved});
      cases.push_back({2, dim, dim + 10, interleaved});  // partial rotation: the rest of a head stays
    }
  return cases;
}

struct Angles {
  explicit Angles(int count) {
    Random random(45);
    for (int i = 0; i < count; ++i) {
      const float angle = random.Uniform(-100, 100);
      cosines.push_back(std::cos(angle));
      sines.push_back(std::sin(angle));
    }
  }
  std::vector<float> cosines, sines;
};

void RunRotate(const KernelTable& table, const RotateCase& c, const Angles& angles, float* heads) {
  table.rotate({.heads = heads,
                .num_heads = c.num_heads,
                .head_stride = c.head_stride,
                .rotary_dim = c.rotary_dim,
                .cosines = angles.cosines.data(),
                .sines = angles.sines.data(),
                .interleaved = c.interleaved});
}

TEST(Rotate, AgainstTheFormula) {
  for (const KernelTable* table : AllTables())
    for (const RotateCase& c : RotateCases()) {
      SCOPED_TRACE(testing::Message()
                   << table->name << " dim " << c.rotary_dim << " pairs " << c.interleaved);
      const Angles angles(c.rotary_dim / 2);
      const std::vector<float> before = RandomActivations(c.num_heads, c.head_stride, 46);
      std::vector<float> heads = before;
      RunRotate(*table, c, angles, heads.data());
      for (int head = 0; head < c.num_heads; ++head) {
        const float* from = &before[head * c.head_stride];
        const float* to = &heads[head * c.head_stride];
        for (int i = 0; i < c.rotary_dim / 2; ++i) {
          const int a = c.interleaved ? 2 * i : i, b = c.interleaved ? 2 * i + 1 : i + c.rotary_dim / 2;
          const double cosine = angles.cosines[i], sine = angles.sines[i];
          const double size = std::abs(from[a]) + std::abs(from[b]);
          ASSERT_NEAR(to[a], from[a] * cosine - from[b] * sine, 2 * kEpsilon * size);
          ASSERT_NEAR(to[b], from[a] * sine + from[b] * cosine, 2 * kEpsilon * size);
        }
        for (int i = c.rotary_dim; i < c.head_stride; ++i) ASSERT_EQ(to[i], from[i]);
      }
    }
}

TEST(Rotate, Bytes) {
  for (const RotateCase& c : RotateCases()) {
    const Angles angles(c.rotary_dim / 2);
    const std::vector<float> before = RandomActivations(c.num_heads, c.head_stride, 47);
    ExpectEqualBytes(static_cast<int64_t>(before.size()), [&](const KernelTable& table, float* out) {
      std::copy(before.begin(), before.end(), out);
      RunRotate(table, c, angles, out);
    });
  }
}

// The same pairs in another order give the same bytes.
TEST(Rotate, HalvesAndPairsAgree) {
  constexpr int kDim = 80;
  const Angles angles(kDim / 2);
  const std::vector<float> halves = RandomActivations(1, kDim, 48);
  for (const KernelTable* table : AllTables()) {
    std::vector<float> a = halves, b(kDim);
    for (int i = 0; i < kDim / 2; ++i) b[2 * i] = halves[i], b[2 * i + 1] = halves[i + kDim / 2];
    RunRotate(*table, {1, kDim, kDim, false}, angles, a.data());
    RunRotate(*table, {1, kDim, kDim, true}, angles, b.data());
    for (int i = 0; i < kDim / 2; ++i) {
      EXPECT_EQ(a[i], b[2 * i]);
      EXPECT_EQ(a[i + kDim / 2], b[2 * i + 1]);
    }
  }
}

bool StoresChainPairs(const KernelTable& table) { return std::string_view(table.extension) == "bf16"; }

// A quad of the specification as the table that stores pairs of a chain has it (args.h).
std::vector<uint8_t> AsChainPairs(const KvLayout& kv, const std::vector<uint8_t>& quad) {
  std::vector<uint8_t> out = quad;
  const auto move = [&](int64_t from, int64_t to) { std::copy_n(&quad[2 * from], 2, &out[2 * to]); };
  for (int64_t head = 0; head < kv.num_kv_heads; ++head)
    for (int64_t page = 0; page < kQuadPages; ++page)
      for (int64_t slot = 0; slot < kPageTokens; ++slot) {
        const int64_t pair = head * kv.head_elements + page / 2 * 2 * kPageTokens * kv.padded_head_dim;
        const auto key = [&](int64_t line) {
          return pair + ((line * 2 + page % 2) * kPageTokens + slot) * 2;
        };
        for (int64_t d = 0; d < kv.padded_head_dim; ++d)
          move(key(d / 2) + d % 2, key(d / 4 * 2 + d % 2) + 1 - d % 4 / 2);
        for (int64_t d = 0; d < kv.padded_value_dim; ++d) {
          const int64_t column = d % kv.value_columns;
          const int64_t block = head * kv.head_elements + kv.value_offset +
                                (d - column) * kQuadPages * kPageTokens +
                                page * kPageTokens * kv.value_columns;
          move(block + slot * kv.value_columns + column,
               block + (slot / 2 * kv.value_columns + column) * 2 + 1 - slot % 2);
        }
      }
  return out;
}

// One layer's cache and tokens that go there.
class StoredTokens {
 public:
  StoredTokens(KvType type, int head_dim, int value_dim)
      : kv_(MakeKvLayout(type, kHeads, head_dim, value_dim)),
        keys_(RandomActivations(kPageTokens, kHeads * head_dim, 49)),
        values_(RandomActivations(kPageTokens, kHeads * value_dim, 50)) {}

  const KvLayout& kv() const { return kv_; }

  // Tokens [0, slots) in a page of a quad that was full of something else.
  std::vector<uint8_t> Fill(const KernelTable& table, int32_t page, int slots) const {
    std::vector<uint8_t> quads(2 * kv_.quad_bytes, 0xA5);
    for (int slot = 0; slot < slots; ++slot)
      table.store_kv({.kv = kv_,
                      .cache = quads.data(),
                      .quad_stride = kv_.quad_bytes,
                      .page = page,
                      .slot = slot,
                      .keys = &keys_[slot * kHeads * kv_.head_dim],
                      .values = &values_[slot * kHeads * kv_.value_dim]});
    return quads;
  }

 private:
  static constexpr int kHeads = 3;

  KvLayout kv_;
  std::vector<float> keys_, values_;
};

// Every byte of a quad is that of the specification, and a token touches its own slot alone.
TEST(StoreKv, BytesOfTheSpecification) {
  for (KvType type : {KvType::kF32, KvType::kBF16})
    for (int head_dim : {1, 20, 64, 128})
      for (int value_dim : {1, 24, 64, 80}) {
        const StoredTokens tokens(type, head_dim, value_dim);
        for (const KernelTable* table : FastTables())
          for (int32_t page = 0; page < kQuadPages; ++page)
            for (int slots : {1, 5, kPageTokens}) {
              const std::vector<uint8_t> quad = tokens.Fill(RefKernels(), page, slots);
              const bool moved = type == KvType::kBF16 && StoresChainPairs(*table);
              EXPECT_EQ(tokens.Fill(*table, page, slots), moved ? AsChainPairs(tokens.kv(), quad) : quad);
            }
      }
}

// A copy is what would have been stored there, and touches nothing else.
TEST(CopyPage, IsThePage) {
  for (KvType type : {KvType::kF32, KvType::kBF16})
    for (int value_dim : {24, 64, 80}) {
      const StoredTokens tokens(type, 20, value_dim);
      for (const KernelTable* table : AllTables())
        for (const auto& [from, to] : {std::pair{0, 3}, {2, 5}, {7, 1}, {6, 4}}) {
          std::vector<uint8_t> quads = tokens.Fill(*table, from, kPageTokens), at_target = quads;
          const std::vector<uint8_t> target = tokens.Fill(*table, to, kPageTokens);
          for (size_t i = 0; i < target.size(); ++i)
            if (target[i] != 0xA5) at_target[i] = target[i];
          CopyPage(tokens.kv(), quads.data(), from, to);
          EXPECT_EQ(quads, at_target) << table->name << " from " << from << " to " << to;
        }
    }
}

TEST(StoreKv, RoundsToNearestEven) {
  const float cases[][2] = {{1, 1},
                            {0x1.01p0f, 0x1.00p0f},  // halfway, to even: down
                            {0x1.03p0f, 0x1.04p0f},  // halfway, to even: up
                            {0x1.010002p0f, 0x1.02p0f},
                            {0x1.00fffep0f, 0x1.00p0f},
                            {-0x1.03p0f, -0x1.04p0f},
                            {0x1.fffffep127f, kInfinity},
                            {kInfinity, kInfinity},
                            {-kInfinity, -kInfinity},
                            {0x1p-149f, 0},
                            {-0.f, -0.f}};
  const KvLayout kv = MakeKvLayout(KvType::kBF16, 1, 1, 1);
  for (const KernelTable* table : AllTables()) {
    std::vector<uint16_t> quad(kv.head_elements);
    const auto stored = [&](float key) {
      table->store_kv({.kv = kv,
                       .cache = reinterpret_cast<uint8_t*>(quad.data()),
                       .quad_stride = kv.quad_bytes,
                       .page = 0,
                       .slot = 3,
                       .keys = &key,
                       .values = &key});
      return BFloat16ToFloat(quad[2 * 3 + (StoresChainPairs(*table) ? 1 : 0)]);
    };
    for (const auto& [from, to] : cases)
      EXPECT_EQ(std::bit_cast<uint32_t>(stored(from)), std::bit_cast<uint32_t>(to))
          << table->name << " " << from;
    EXPECT_TRUE(std::isnan(stored(kNotANumber)));
    EXPECT_TRUE(std::isnan(stored(std::bit_cast<float>(0x7F800001u))))
        << "a NaN whose high bits say infinity";
  }
}

TEST(Add, EveryLength) {
  for (const KernelTable* table : AllTables())
    for (int64_t n : kLengths) {
      const std::vector<float> x = RandomActivations(1, n, 51), before = RandomActivations(1, n + 1, 52);
      std::vector<float> y = before;
      table->add(x.data(), 1, n, y.data());
      for (int64_t i = 0; i < n; ++i) ASSERT_EQ(y[i], before[i] + x[i]);
      EXPECT_EQ(y[n], before[n]);
      y = before;
      table->add(x.data(), 0.6f, n, y.data());
      for (int64_t i = 0; i < n; ++i) {
        const double added = 0.6f * static_cast<double>(x[i]);
        ASSERT_NEAR(y[i], before[i] + added, kEpsilon * (std::abs(before[i]) + std::abs(added)));
      }
    }
}

TEST(Softcap, AgainstTheFormula) {
  for (const KernelTable* table : AllTables())
    for (float cap : {1.f, 30.f, 50.f}) {
      std::vector<float> x = {0,  -0.f, 1e-30f, 1e-6f, -1e-3f, 0.1f, -0.5f, 1,
                              -3, 10,   50,     -88,   200,    1e4f, -1e30f};
      Random random(53);
      while (x.size() < 77) x.push_back(random.Normal() * 40);
      std::vector<float> y = x;
      table->softcap(cap, static_cast<int64_t>(y.size()), y.data());
      for (size_t i = 0; i < x.size(); ++i) {
        const double expected = cap * std::tanh(static_cast<double>(x[i]) / cap);
        ASSERT_NEAR(y[i], expected, 6 * kEpsilon * std::abs(expected))
            << table->name << " " << x[i] << " " << cap;
        ASSERT_LE(std::abs(y[i]), cap);
      }
    }
}

TEST(Softcap, BytesAndNaN) {
  for (int64_t n : kLengths) {
    const std::vector<float> x = RandomActivations(1, n, 54);
    ExpectEqualBytes(n, [&](const KernelTable& table, float* out) {
      std::copy(x.begin(), x.end(), out);
      table.softcap(3, n, out);
    });
  }
  for (const KernelTable* table : AllTables()) {
    float x[2] = {kNotANumber, 1};
    table->softcap(30, 2, x);
    EXPECT_TRUE(std::isnan(x[0])) << table->name;
    EXPECT_FALSE(std::isnan(x[1]));
  }
}

TEST(SelectKernels, ByName) {
  EXPECT_STREQ(SelectKernels("ref")->name, "ref");
  EXPECT_EQ(SelectKernels("avx2"), Avx2Kernels());
  EXPECT_EQ(SelectKernels("avx512"), Avx512Kernels());
  EXPECT_EQ(SelectKernels("sse9"), nullptr);
  EXPECT_EQ(SelectKernels(""), nullptr);
  const std::vector<const KernelTable*> tables = AllTables();
  EXPECT_EQ(SelectKernels("auto"), tables[0]) << "the best that this processor runs";
}

}  // namespace
}  // namespace ropeway::kernels
