// Attention over paged keys and values, with every modifier of scores: against the specification, and the
// byte contract. A query's result depends on its position and what it sees; not on how the prompt was cut,
// nor on the instruction set, nor on what lies in the pages beyond.
#include <cmath>
#include <limits>
#include <string>

#include "gtest/gtest.h"
#include "tests/kernels/kernel_inputs.h"
#include "tests/kernels/modifier_inputs.h"

namespace ropeway::kernels {
namespace {

constexpr double kEpsilon = std::numeric_limits<float>::epsilon();
constexpr float kNotANumber = std::numeric_limits<float>::quiet_NaN();

struct Shape {
  int head_dim = 64, value_dim = 64, num_kv_heads = 2, queries_per_token = 3;
  KvType type = KvType::kBF16;
  float softcap = 0;
  int32_t window = 0;
  int length = 150;
  std::string modifier = "";  // of MakeModifier
};

std::ostream& operator<<(std::ostream& out, const Shape& s) {
  return out << "E " << s.head_dim << " Ev " << s.value_dim << " G " << s.num_kv_heads << " per token "
             << s.queries_per_token << (s.type == KvType::kBF16 ? " bf16" : " f32") << " cap " << s.softcap
             << " window " << s.window << " length " << s.length << " " << s.modifier;
}

// One layer's cache with the pages of one sequence in it, out of order, among pages full of NaN.
class Sequence {
 public:
  Sequence(const KernelTable& table, const Shape& shape)
      : table_(table),
        shape_(shape),
        kv_(MakeKvLayout(shape.type, shape.num_kv_heads, shape.head_dim, shape.value_dim)),
        page_stride_(kv_.page_bytes + 64) {
    const int pages = (shape.length + kPageTokens - 1) / kPageTokens;
    cache_ = AlignedBuffer((2 * pages + 3) * page_stride_);
    for (int64_t i = 0; i < cache_.bytes(); i += 4)
      *reinterpret_cast<float*>(cache_.data() + i) = kNotANumber;
    for (int p = 0; p < pages; ++p) page_table_.push_back(2 * pages + 1 - 2 * p);
    query_stride_ = int64_t{shape.num_kv_heads} * shape.queries_per_token * shape.head_dim + 5;
    out_stride_ = int64_t{shape.num_kv_heads} * shape.queries_per_token * shape.value_dim + 3;
    queries_ = RandomActivations(shape.length, query_stride_, 31);
    previous_queries_ = RandomActivations(shape.length, query_stride_, 34);
    older_queries_ = RandomActivations(shape.length, query_stride_, 35);
    keys_ = RandomActivations(shape.length, int64_t{shape.num_kv_heads} * shape.head_dim, 32);
    values_ = RandomActivations(shape.length, int64_t{shape.num_kv_heads} * shape.value_dim, 33);
    modifier_ = MakeModifier(shape.modifier, {.num_heads = num_heads(),
                                              .head_dim = shape.head_dim,
                                              .value_dim = shape.value_dim,
                                              .length = shape.length});
    if (shape.softcap != 0) modifier_.modifier.softcap = shape.softcap;
    if (shape.window != 0) modifier_.modifier.window = shape.window;
  }

  void StoreTokens(int first, int count) {
    for (int t = first; t < first + count; ++t)
      table_.store_kv({.kv = kv_,
                       .page = cache_.data() + page_table_[t / kPageTokens] * page_stride_,
                       .slot = t % kPageTokens,
                       .keys = &keys_[int64_t{t} * shape_.num_kv_heads * shape_.head_dim],
                       .values = &values_[int64_t{t} * shape_.num_kv_heads * shape_.value_dim]});
  }

  // Processes the whole sequence in chunks of `chunk` tokens; [length, out_stride].
  std::vector<float> Run(int chunk) {
    std::vector<float> out(shape_.length * out_stride_, -7);
    for (int first = 0; first < shape_.length; first += chunk) {
      const int count = std::min(chunk, shape_.length - first);
      StoreTokens(first, count);
      Attend(first, count, &out[first * out_stride_]);
    }
    return out;
  }

  void Attend(int first, int count, float* out) {
    const ScoreModifier& modifier = modifier_.modifier;
    AlignedBuffer scratch(table_.attention_scratch_bytes(kv_, num_heads(), modifier.mixer.width));
    const int calls = modifier.mixer.width > 0 ? 1 : shape_.num_kv_heads;
    for (int g = 0; g < calls; ++g) {
      const int64_t head = int64_t{g} * shape_.queries_per_token;
      const int64_t at = first * query_stride_ + head * shape_.head_dim;
      table_.attention({.kv = kv_,
                        .cache = cache_.data(),
                        .page_stride = page_stride_,
                        .page_table = page_table_.data(),
                        .kv_head = g,
                        .queries_per_token = shape_.queries_per_token,
                        .num_tokens = count,
                        .first_position = first,
                        .queries = &queries_[at],
                        .query_stride = query_stride_,
                        .previous_queries = modifier.zone > 0 ? &previous_queries_[at] : nullptr,
                        .older_queries = modifier.zone > 0 ? &older_queries_[at] : nullptr,
                        .out = out + head * shape_.value_dim,
                        .out_stride = out_stride_,
                        .scale = Scale(),
                        .modifier = modifier,
                        .scratch = scratch.data()});
    }
  }

  // By how much an output of the query may be off: every weight by twice the error of a score, an exponential
  // and the sums; the weighted values by as much of the largest one. Relative values are below 1.
  double Tolerance(int token, int head) const {
    const int g = head / shape_.queries_per_token;
    const float* query = &queries_[token * query_stride_ + int64_t{head} * shape_.head_dim];
    double score = 0, value = 0;
    for (int t = 0; t <= token; ++t) {
      double magnitude = 0;
      const int64_t row = int64_t{t} * shape_.num_kv_heads + g;
      for (int64_t d = 0; d < shape_.head_dim; ++d) {
        const int64_t at = query - queries_.data() + d;
        double q = std::abs(query[d]);
        if (modifier_.modifier.zone > 0)
          q = std::max<double>({q, std::abs(previous_queries_[at]), std::abs(older_queries_[at])});
        magnitude += q * std::abs(keys_[row * shape_.head_dim + d]);
      }
      score = std::max(score, magnitude * Scale());
      for (int d = 0; d < shape_.value_dim; ++d)
        value = std::max<double>(value, std::abs(values_[row * shape_.value_dim + d]));
    }
    if (modifier_.modifier.relative_values.data != nullptr) value += 1;
    const double scores = (shape_.head_dim + 4) * kEpsilon * score * modifier_.growth +
                          4 * kEpsilon * (modifier_.modifier.softcap + modifier_.magnitude);
    return 1.01 * value * (4 * scores + (2 * token + 40) * kEpsilon);
  }

  // One column of a token's key of KV head 0.
  void PoisonKey(int token) {
    keys_[int64_t{token} * shape_.num_kv_heads * shape_.head_dim + 3] = kNotANumber;
  }

  int num_heads() const { return shape_.num_kv_heads * shape_.queries_per_token; }
  float Scale() const { return 0.3f / std::sqrt(static_cast<float>(shape_.head_dim)); }
  int64_t out_stride() const { return out_stride_; }
  const float* values() const { return values_.data(); }

 private:
  const KernelTable& table_;
  Shape shape_;
  KvLayout kv_;
  int64_t page_stride_, query_stride_, out_stride_;
  AlignedBuffer cache_;
  std::vector<int32_t> page_table_;
  std::vector<float> queries_, previous_queries_, older_queries_, keys_, values_;
  ModifierInputs modifier_;
};

std::vector<Shape> Shapes() {
  std::vector<Shape> shapes;
  for (int dim : {1, 16, 20, 24, 64, 80, 96, 128, 256}) shapes.push_back({.head_dim = dim, .value_dim = dim});
  shapes.push_back({.head_dim = 24, .value_dim = 40});
  shapes.push_back({.head_dim = 96, .value_dim = 64, .type = KvType::kF32});
  shapes.push_back({.head_dim = 20, .value_dim = 20, .type = KvType::kF32, .window = 33});
  for (int per_token : {1, 2, 4, 5, 7, 8, 9})
    shapes.push_back({.queries_per_token = per_token, .length = 70});
  for (int window : {1, 5, 16, 63, 64, 65, 100, 149, 150, 1000}) shapes.push_back({.window = window});
  for (const std::string& name : ModifierNames()) shapes.push_back({.modifier = name});
  for (const std::string& name : ModifierNames())
    shapes.push_back({.head_dim = 20,
                      .value_dim = 24,
                      .num_kv_heads = 3,
                      .queries_per_token = 1,
                      .type = KvType::kF32,
                      .length = 99,
                      .modifier = name});
  shapes.push_back({.softcap = 5});
  shapes.push_back({.softcap = 30, .window = 40});
  for (int length : {1, 15, 16, 17, 63, 64, 65, 129}) shapes.push_back({.num_kv_heads = 1, .length = length});
  return shapes;
}

TEST(Attention, AgainstTheSpecification) {
  for (const Shape& shape : Shapes()) {
    Sequence reference(RefKernels(), shape);
    const std::vector<float> expected = reference.Run(shape.length);
    for (const KernelTable* table : FastTables()) {
      SCOPED_TRACE(testing::Message() << table->name << " " << shape);
      Sequence sequence(*table, shape);
      const std::vector<float> out = sequence.Run(shape.length);
      const int heads = shape.num_kv_heads * shape.queries_per_token;
      for (int t = 0; t < shape.length; ++t)
        for (int head = 0; head < heads; ++head) {
          const double tolerance = sequence.Tolerance(t, head);
          for (int d = 0; d < shape.value_dim; ++d) {
            const int64_t i = t * sequence.out_stride() + int64_t{head} * shape.value_dim + d;
            ASSERT_NEAR(out[i], expected[i], tolerance)
                << "token " << t << " head " << head << " column " << d;
          }
        }
      for (int t = 0; t < shape.length; ++t)
        for (int64_t i = int64_t{heads} * shape.value_dim; i < sequence.out_stride(); ++i)
          ASSERT_EQ(out[t * sequence.out_stride() + i], -7) << "written beyond the heads";
    }
  }
}

// A window of one sees the token itself alone, with weight 1.
TEST(Attention, WindowOfOneGivesTheValue) {
  for (KvType type : {KvType::kF32, KvType::kBF16})
    for (const KernelTable* table : FastTables()) {
      const Shape shape{.num_kv_heads = 1, .queries_per_token = 1, .type = type, .window = 1, .length = 80};
      Sequence sequence(*table, shape);
      const std::vector<float> out = sequence.Run(80);
      for (int t = 0; t < shape.length; ++t)
        for (int d = 0; d < shape.value_dim; ++d) {
          const float value = sequence.values()[t * shape.value_dim + d];
          ASSERT_NEAR(out[t * sequence.out_stride() + d], value,
                      type == KvType::kF32 ? 0 : std::abs(value) / 256);
        }
    }
}

// Decode token by token, or chunks of any size: the same bytes.
TEST(AttentionBytes, ChunksOfAnySize) {
  for (const Shape& shape : Shapes())
    for (const KernelTable* table : FastTables()) {
      Sequence sequence(*table, shape);
      const std::vector<float> alone = sequence.Run(1);
      for (int chunk : {2, 7, 64, 150}) {
        Sequence other(*table, shape);
        const std::vector<float> out = other.Run(chunk);
        ASSERT_EQ(FirstDifference(out.data(), alone.data(), static_cast<int64_t>(out.size())), "")
            << table->name << " " << shape << " chunk " << chunk;
      }
    }
}

TEST(AttentionBytes, InstructionSetsAgree) {
  const std::vector<const KernelTable*> tables = FastTables();
  if (tables.size() < 2) GTEST_SKIP() << "this processor has one fast instruction set";
  for (const Shape& shape : Shapes()) {
    Sequence a(*tables[0], shape), b(*tables[1], shape);
    const std::vector<float> x = a.Run(11), y = b.Run(11);
    EXPECT_EQ(FirstDifference(x.data(), y.data(), static_cast<int64_t>(x.size())), "") << shape;
  }
}

// Tokens after the query are in the cache already (a chunk stores all of its tokens first): they change
// nothing.
TEST(AttentionBytes, LaterTokensDoNotMatter) {
  for (const KernelTable* table : FastTables()) {
    const Shape shape{.length = 140};
    Sequence sequence(*table, shape), later(*table, shape);
    std::vector<float> a(sequence.out_stride()), b(sequence.out_stride());
    sequence.StoreTokens(0, 71);
    sequence.Attend(70, 1, a.data());
    later.StoreTokens(0, 140);
    later.Attend(70, 1, b.data());
    EXPECT_EQ(FirstDifference(a.data(), b.data(), static_cast<int64_t>(a.size())), "") << table->name;
  }
}

// A key or value that is no number shows in the tokens that see it, and in no other.
TEST(Attention, NotANumberStaysVisible) {
  std::vector<const KernelTable*> tables = FastTables();
  tables.push_back(&RefKernels());
  for (const KernelTable* table : tables)
    for (float softcap : {0.f, 20.f})
      for (int poisoned : {0, 17, 70, 99}) {
        const Shape shape{.softcap = softcap, .length = 100};
        Sequence clean(*table, shape), sequence(*table, shape);
        sequence.PoisonKey(poisoned);
        const std::vector<float> expected = clean.Run(1), out = sequence.Run(1);
        const int64_t columns = int64_t{shape.queries_per_token} * shape.value_dim;  // of KV head 0
        for (int t = 0; t < shape.length; ++t)
          for (int64_t i = 0; i < columns; ++i) {
            const int64_t at = t * sequence.out_stride() + i;
            if (t < poisoned)
              ASSERT_EQ(out[at], expected[at]);
            else
              ASSERT_TRUE(std::isnan(out[at])) << table->name << " token " << t << " poison at " << poisoned;
          }
      }
}

}  // namespace
}  // namespace ropeway::kernels
