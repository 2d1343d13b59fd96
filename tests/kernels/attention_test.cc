// Attention over paged keys and values, with every modifier of scores: against the specification, and the
// byte contract. A query's result depends on its position and what it sees; not on how the prompt was cut,
// nor on the instruction set, nor on what lies in the pages beyond.
#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "tests/kernels/attention_sequence.h"

namespace ropeway::kernels {
namespace {

TEST(Attention, AgainstTheSpecification) {
  for (const AttentionShape& shape : AttentionShapes()) {
    AttentionSequence reference(RefKernels(), shape);
    const std::vector<float> expected = reference.Run(shape.length);
    for (const KernelTable* table : ProductTables()) {
      SCOPED_TRACE(testing::Message() << table->name << " " << shape);
      AttentionSequence sequence(*table, shape);
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
    for (const KernelTable* table : ProductTables()) {
      const AttentionShape shape{
          .num_kv_heads = 1, .queries_per_token = 1, .type = type, .window = 1, .length = 80};
      AttentionSequence sequence(*table, shape);
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
  for (const AttentionShape& shape : AttentionShapes())
    for (const KernelTable* table : ProductTables()) {
      AttentionSequence sequence(*table, shape);
      const std::vector<float> alone = sequence.Run(1);
      for (int chunk : {2, 7, 64, 150}) {
        AttentionSequence other(*table, shape);
        const std::vector<float> out = other.Run(chunk);
        ASSERT_EQ(FirstDifference(out.data(), alone.data(), static_cast<int64_t>(out.size())), "")
            << table->name << " " << shape << " chunk " << chunk;
      }
    }
}

TEST(AttentionBytes, InstructionSetsAgree) {
  const std::vector<const KernelTable*> tables = ProductTables();
  if (tables.size() < 2) GTEST_SKIP() << "this processor has one fast instruction set";
  for (const AttentionShape& shape : AttentionShapes()) {
    AttentionSequence first(*tables[0], shape);
    const std::vector<float> x = first.Run(11);
    for (const KernelTable* table : tables) {
      AttentionSequence other(*table, shape);
      const std::vector<float> y = other.Run(11);
      EXPECT_EQ(FirstDifference(x.data(), y.data(), static_cast<int64_t>(x.size())), "")
          << table->name << " " << table->extension << " " << shape;
    }
  }
}

// Spans that are computed apart, by anyone, come to the same bytes.
TEST(AttentionBytes, SpansApart) {
  for (const AttentionShape& shape : AttentionShapes())
    for (const KernelTable* table : ProductTables()) {
      AttentionSequence whole(*table, shape), apart(*table, shape);
      if (whole.has_mixer()) continue;
      const std::vector<float> x = whole.Run(50), y = apart.RunBySpans(50);
      ASSERT_EQ(FirstDifference(y.data(), x.data(), static_cast<int64_t>(x.size())), "")
          << table->name << " " << shape;
    }
}

// KV heads that go together come to the bytes of each alone.
TEST(AttentionBytes, HeadsTogether) {
  std::vector<AttentionShape> shapes = AttentionShapes();
  // More heads than go in turn; more queries to each than are few; several spans.
  for (KvType type : {KvType::kF32, KvType::kBF16}) {
    shapes.push_back({.num_kv_heads = 25, .queries_per_token = 3, .type = type, .length = 70});
    shapes.push_back({.num_kv_heads = 3, .queries_per_token = 9, .type = type, .length = 70});
    shapes.push_back({.num_kv_heads = 2, .queries_per_token = 70, .type = type, .length = 20});
    shapes.push_back({.num_kv_heads = 3, .type = type, .window = 530, .length = 1100});
  }
  std::vector<const KernelTable*> tables = ProductTables();
  tables.push_back(&RefKernels());
  for (const AttentionShape& shape : shapes)
    for (const KernelTable* table : tables) {
      AttentionSequence alone(*table, shape), together(*table, shape);
      if (alone.has_mixer() || (table == &RefKernels() && shape.length > 150)) continue;
      SCOPED_TRACE(testing::Message() << table->name << " " << shape);
      const std::vector<float> x = alone.Run(1);
      for (int split : {0, 1}) {
        const std::vector<float> y = together.RunHeadsTogether(split);
        ASSERT_EQ(FirstDifference(y.data(), x.data(), static_cast<int64_t>(x.size())), "") << split;
      }
      if (table->merge_spans == nullptr) continue;
      const std::vector<float> y = together.AttendLastBySpans();
      ASSERT_EQ(FirstDifference(y.data(), x.data() + x.size() - y.size(), static_cast<int64_t>(y.size())),
                "");
    }
}

// Tokens after the query are in the cache already (a chunk stores all of its tokens first): they change
// nothing.
TEST(AttentionBytes, LaterTokensDoNotMatter) {
  for (const KernelTable* table : ProductTables()) {
    const AttentionShape shape{.length = 140};
    AttentionSequence sequence(*table, shape), later(*table, shape);
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
  std::vector<const KernelTable*> tables = ProductTables();
  tables.push_back(&RefKernels());
  for (const KernelTable* table : tables)
    for (float softcap : {0.f, 20.f})
      for (int poisoned : {0, 17, 70, 99}) {
        const AttentionShape shape{.softcap = softcap, .length = 100};
        AttentionSequence clean(*table, shape), sequence(*table, shape);
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

// A value that is no number, which a window of any beginning leaves behind or the next token has, shows in no other
// token: not even by a weight of zero.
TEST(Attention, NotANumberDoesNotReachBeyondWindows) {
  for (const KernelTable* table : ProductTables())
    for (KvType type : {KvType::kF32, KvType::kBF16})
      for (int window : {4, 5, 21, 64})
        for (int poisoned : {3, 8, 30, 31, 70}) {
          const AttentionShape shape{.type = type, .window = window, .length = 100};
          AttentionSequence clean(*table, shape), sequence(*table, shape);
          sequence.PoisonValue(poisoned);
          sequence.StoreTokens(0, shape.length);
          clean.StoreTokens(0, shape.length);
          std::vector<float> expected(sequence.out_stride()), out(sequence.out_stride());
          const int64_t columns = int64_t{shape.queries_per_token} * shape.value_dim;  // of KV head 0
          for (int t = 0; t < shape.length; ++t) {
            clean.Attend(t, 1, expected.data());
            sequence.Attend(t, 1, out.data());
            const bool sees = t >= poisoned && t < poisoned + window;
            for (int64_t i = 0; i < columns; ++i)
              ASSERT_EQ(sees, std::isnan(out[i])) << table->name << " window " << window << " token " << t;
            if (sees) continue;
            ASSERT_EQ(FirstDifference(out.data(), expected.data(), columns), "");
          }
        }
}

}  // namespace
}  // namespace ropeway::kernels
