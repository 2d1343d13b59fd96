#include "engine/base/in_range.h"

#include <cstdint>

#include "tests/testing/status_matchers.h"

namespace ropeway::testing {
namespace {

TEST(InRangeTest, NamesFieldBoundsAndValue) {
  EXPECT_OK(InRange("threads", 0, 0, 8));
  EXPECT_OK(InRange("threads", 8, 0, 8));
  EXPECT_THAT(InRange("threads", 9, 0, 8),
              StatusIs(absl::StatusCode::kInvalidArgument, "threads must be in [0, 8], is 9"));
  EXPECT_THAT(
      InRange("threads", INT64_MIN, 0, 8),
      StatusIs(absl::StatusCode::kInvalidArgument, "threads must be in [0, 8], is -9223372036854775808"));
}

}  // namespace
}  // namespace ropeway::testing
