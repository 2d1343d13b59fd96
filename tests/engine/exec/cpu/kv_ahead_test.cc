#include "engine/exec/cpu/kv_ahead.h"

#include <cstdint>
#include <vector>

#include "engine/base/quad_pages.h"
#include "engine/kernels/ops.h"
#include "gtest/gtest.h"

namespace ropeway {
namespace {

using kernels::KvLayout;
using kernels::KvType;
using kernels::MakeKvLayout;

class KvAheadTest : public ::testing::Test {
 protected:
  // Offsets of all bytes that are asked for beside so many multiplications at a time, of `all`, by lines.
  std::vector<int64_t> TakeAll(int64_t all, int64_t products) {
    std::vector<int64_t> lines;
    ahead_.Begin(layer_, all);
    for (int64_t done = 0; done < all; done += products) {
      const absl::Span<const uint8_t> some = ahead_.Take(products);
      EXPECT_EQ(some.size() % 64, 0u);
      for (size_t i = 0; i < some.size(); i += 64) lines.push_back(some.data() - layer_ + i);
    }
    return lines;
  }
  std::vector<int64_t> LinesOf(const std::vector<int64_t>& quads) const {
    std::vector<int64_t> lines;
    for (const int64_t quad : quads)
      for (int64_t i = 0; i < kv_.quad_bytes; i += 64) lines.push_back(quad * kv_.quad_bytes + i);
    return lines;
  }

  const KvLayout kv_ = MakeKvLayout(KvType::kBF16, 3, 64, 64);
  const uint8_t* const layer_ = reinterpret_cast<const uint8_t*>(uintptr_t{1} << 30);
  KvAhead ahead_;
};

TEST_F(KvAheadTest, AsksForTheQuadsOfARowInOrder) {
  ahead_.AddRow(kv_, {4, 5, 6, 7, 8, 9, 10, 11, 20, 21});
  EXPECT_EQ(TakeAll(1000, 10), LinesOf({1, 2, 5}));
  EXPECT_EQ(TakeAll(1000, 10), LinesOf({1, 2, 5})) << "of the next layer";
}

TEST_F(KvAheadTest, LeavesOutPagesThatNoQuadHasInOrder) {
  ahead_.AddRow(kv_, {1, 2, 3, 4, 9, 8, 10, 11, 12, 13, 14, 15, 16});
  EXPECT_EQ(TakeAll(1000, 10), LinesOf({3})) << "the last quad has one page in use";
}

TEST_F(KvAheadTest, SharesAreEqual) {
  ahead_.AddRow(kv_, {0, 1, 2, 3, 4, 5, 6, 7});
  ahead_.Begin(layer_, 800);
  int64_t taken = 0;
  for (int64_t done = 100; done <= 800; done += 100) {
    taken += static_cast<int64_t>(ahead_.Take(100).size());
    EXPECT_NEAR(static_cast<double>(taken), 2. * kv_.quad_bytes * done / 800, 64);
  }
  EXPECT_TRUE(ahead_.Take(100).empty()) << "a member that did more than its share";
}

TEST_F(KvAheadTest, AsksForNothingWhereCachesDoNotHoldAll) {
  const int64_t most = KvAhead::kMostBytes / kv_.quad_bytes;
  std::vector<int32_t> pages(most * kQuadPages);
  for (size_t i = 0; i < pages.size(); ++i) pages[i] = static_cast<int32_t>(i);
  ahead_.AddRow(kv_, pages);
  EXPECT_EQ(TakeAll(1'000'000, 100).size(), most * kv_.quad_bytes / 64);
  ahead_.AddRow(kv_, {0, 1, 2, 3});
  EXPECT_TRUE(TakeAll(1'000'000, 100).empty());
}

TEST_F(KvAheadTest, AsksForNothingWhereNothingIsKnown) {
  EXPECT_TRUE(ahead_.Take(100).empty());
  ahead_.AddRow(kv_, {0, 1, 2, 3});
  EXPECT_TRUE(ahead_.Take(100).empty()) << "of which layer is not known";
  ahead_.Begin(layer_, 100);
  EXPECT_FALSE(ahead_.Take(50).empty());
  ahead_.Clear();
  EXPECT_TRUE(ahead_.Take(50).empty());
}

}  // namespace
}  // namespace ropeway
