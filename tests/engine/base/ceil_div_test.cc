#include "engine/base/ceil_div.h"

#include <cstdint>

#include "gtest/gtest.h"

namespace ropeway {
namespace {

TEST(CeilDivTest, RoundsUp) {
  EXPECT_EQ(CeilDiv(0, 16), 0);
  EXPECT_EQ(CeilDiv(1, 16), 1);
  EXPECT_EQ(CeilDiv(16, 16), 1);
  EXPECT_EQ(CeilDiv(17, 16), 2);
  EXPECT_EQ(CeilDiv(int64_t{1} << 40, 3), ((int64_t{1} << 40) + 2) / 3);
}

}  // namespace
}  // namespace ropeway
