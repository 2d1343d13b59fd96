#include "client/cli/numbers.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::client {
namespace {

using ::ropeway::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

template <typename T>
void ExpectRefused(const std::vector<std::string>& texts, const std::string& words) {
  for (const std::string& text : texts)
    EXPECT_THAT(ParseNumber<T>(text), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(words))) << text;
}

TEST(NumbersTest, WholeNumbersAreDecimal) {
  EXPECT_EQ(ParseNumber<int32_t>("010").value(), 10);
  EXPECT_EQ(ParseNumber<int32_t>("-010").value(), -10);
  EXPECT_EQ(ParseNumber<int32_t>("08").value(), 8);
  EXPECT_EQ(ParseNumber<int32_t>("00").value(), 0);
  EXPECT_EQ(ParseNumber<int32_t>("2147483647").value(), INT32_MAX);
  EXPECT_EQ(ParseNumber<uint64_t>("18446744073709551615").value(), UINT64_MAX);
  ExpectRefused<int32_t>({"", " ", " 1", "1 ", "+1", "0x10", "1e3", "1.0", "1,000", "--1", "-", "nan", "inf",
                          "one", "2147483648", "-2147483649", "99999999999999999999"},
                         "must be a whole number in [-2147483648, 2147483647], is ");
  ExpectRefused<uint64_t>({"-1", "-0", "18446744073709551616"},
                          "must be a whole number in [0, 18446744073709551615], is ");
}

TEST(NumbersTest, DecimalNumbersHaveNoOtherSpelling) {
  EXPECT_EQ(ParseNumber<float>("007.5").value(), 7.5f);
  EXPECT_EQ(ParseNumber<float>("1e-3").value(), 1e-3f);
  EXPECT_EQ(ParseNumber<float>("-.5").value(), -0.5f);
  EXPECT_EQ(ParseNumber<float>("3.4028235e38").value(), std::numeric_limits<float>::max());
  ExpectRefused<float>({"", " ", " 1", "1 ", "+1", "0x10", "0x1p3", "1f", "1,5", "nan", "-nan", "inf", "-inf",
                        "infinity", "NAN", "1e39", "-1e39", "1e999"},
                       "must be a decimal number that 32 bits hold, is ");
}

TEST(NumbersTest, BoundsAndTheTextAsItWasGivenAreTold) {
  EXPECT_THAT(ParseNumber<int32_t>("0", {.least = 1, .most = 8}),
              StatusIs(absl::StatusCode::kInvalidArgument, "must be a whole number in [1, 8], is 0"));
  EXPECT_THAT(ParseNumber<double>("-1e-9", {.least = 0}),
              StatusIs(absl::StatusCode::kInvalidArgument, "must be at least 0, is -1e-9"));
  EXPECT_THAT(ParseNumber<float>("1.0000001", {.least = 0, .most = 1}),
              StatusIs(absl::StatusCode::kInvalidArgument, "must be in [0, 1], is 1.0000001"));
  EXPECT_THAT(ParseNumber<double>(" 1\n", {.least = 0}),
              StatusIs(absl::StatusCode::kInvalidArgument, "must be at least 0, is ' 1\\n'"));
  EXPECT_LT(ParseNumber<double>(std::string(100'000, '9')).status().message().size(), 200u);
}

TEST(NumbersTest, ListsOfIds) {
  EXPECT_THAT(ParseIds("1").value(), ElementsAre(1));
  EXPECT_THAT(ParseIds("010,2,-3").value(), ElementsAre(10, 2, -3));
  for (const char* text : {"", ",", "1,", ",1", "1,,2", "1, 2", "1;2", "1,99999999999"})
    EXPECT_THAT(ParseIds(text), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("whole number")))
        << text;
}

}  // namespace
}  // namespace ropeway::client
