#include "engine/position/rope_override.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"

namespace ropeway {
namespace {

using ::ropeway::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

using Kind = RopeScalingKind;

TEST(RopeOverrideTest, ReadsEveryKind) {
  const struct {
    const char* text;
    RopeOverride wanted;
  } cases[] = {{"none", {}},
               {"none:factor=2", {.factor = 2}},
               {"linear:factor=4", {.kind = Kind::kLinear, .factor = 4}},
               {"ntk:factor=2.5,original=2048", {.kind = Kind::kNtk, .factor = 2.5, .original = 2048}},
               {"dynamic:original=2048,factor=8", {.kind = Kind::kDynamicNtk, .factor = 8, .original = 2048}},
               {"dynamic_qwen1:factor=4", {.kind = Kind::kQwen1Ntk, .factor = 4}},
               {"llama3:factor=8,low_freq_factor=2,high_freq_factor=5",
                {.kind = Kind::kLlama3, .factor = 8, .low_freq_factor = 2, .high_freq_factor = 5}},
               {"yarn:factor=1e1", {.kind = Kind::kYarn, .factor = 10}},
               {"yarn:factor=4,beta_fast=16,beta_slow=2,truncate=false,attention_factor=1.5",
                {.kind = Kind::kYarn,
                 .factor = 4,
                 .beta_fast = 16,
                 .beta_slow = 2,
                 .truncate = false,
                 .attention_factor = 1.5}}};
  for (const auto& one : cases) {
    ASSERT_OK_AND_ASSIGN(const RopeOverride wanted, ParseRopeOverride(one.text));
    EXPECT_EQ(wanted, one.wanted) << one.text;
  }
}

TEST(RopeOverrideTest, RefusesByNameAndValue) {
  const struct {
    std::string text, why;
  } cases[] = {
      {"", "begins with \"\""},
      {"Yarn:factor=4", "begins with \"Yarn\""},
      {"yarn", "must have a factor with yarn"},
      {"ntk:original=2048", "must have a factor with ntk"},
      {"longrope:factor=4", "longrope"},
      {"linear:", "has \"\""},
      {"linear:factor=4,", "has \"\""},
      {"linear:factor", "factor in [1, 1024], has \"\""},
      {"linear:factor=", "factor in [1, 1024], has \"\""},
      {"linear:factor=0.5", "factor in [1, 1024], has \"0.5\""},
      {"linear:factor=1025", "has \"1025\""},
      {"linear:factor=nan", "has \"nan\""},
      {"linear:factor=inf", "has \"inf\""},
      {"linear:factor=0x4", "has \"0x4\""},
      {"linear:factor= 4", "has \" 4\""},
      {"linear:factor=4=4", "has \"4=4\""},
      {"linear:factor=4,factor=4", "must have factor once"},
      {"linear:factor=4,beta_fast=3", "parameters of factor, original for linear, has \"beta_fast=3\""},
      {"linear:factor=4,original=0", "original in [1, 16777216], has \"0\""},
      {"linear:factor=4,original=16777217", "has \"16777217\""},
      {"linear:factor=4,original=2048.5", "has \"2048.5\""},
      {"yarn:factor=4,truncate=1", "truncate true or false, has \"1\""},
      {"yarn:factor=4,beta_fast=1,beta_slow=1", "beta_slow below beta_fast 1, has 1"},
      {"yarn:factor=4,attention_factor=0", "attention_factor"},
      {"llama3:factor=8,low_freq_factor=4", "low_freq_factor below high_freq_factor 4, has 4"},
      {"lin\near:factor=4", "\\x0a"},
      {std::string(5000, 'x'), "..."}};
  for (const auto& one : cases)
    EXPECT_THAT(ParseRopeOverride(one.text),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("must"), HasSubstr(one.why), Not(HasSubstr("\n")))))
        << one.text;
}

TEST(RopeOverrideTest, KeepsTheTurnOfTheModelAndDropsWhatItsFileScales) {
  const RopeSpec rope{.base = 500000,
                      .rotary_dim = 8,
                      .pairing = RopePairing::kInterleaved,
                      .scaling = Kind::kYarn,
                      .factor = 2,
                      .original_context = 100,
                      .attention_factor = 3,
                      .turned_pairs = 3,
                      .frequency_factors = {1, 2, 3, 4}};
  const RopeSpec plain{
      .base = 500000, .rotary_dim = 8, .pairing = RopePairing::kInterleaved, .turned_pairs = 3};
  EXPECT_EQ(Overridden(rope, {.factor = 8}, 4096), plain);
  RopeSpec yarn = plain;
  yarn.scaling = Kind::kYarn;
  yarn.factor = 4;
  yarn.original_context = 4096;
  yarn.attention_factor = YarnMagnitude(4, 1);
  EXPECT_EQ(Overridden(rope, {.kind = Kind::kYarn, .factor = 4}, 4096), yarn);
  RopeSpec linear = plain;
  linear.scaling = Kind::kLinear;
  linear.factor = 4;
  EXPECT_EQ(Overridden(rope, {.kind = Kind::kLinear, .factor = 4}, 4096), linear);
}

TEST(RopeOverrideTest, TellsWhatIsInForceInTheFormThatItReads) {
  const RopeSpec rope{.rotary_dim = 8};
  for (const char* text :
       {"none", "linear:factor=4", "ntk:factor=2.5", "dynamic:factor=8,original=2048",
        "dynamic_qwen1:original=2048", "llama3:factor=8,original=8192,low_freq_factor=1,high_freq_factor=4",
        "yarn:factor=4,original=2048,beta_fast=32,beta_slow=1,truncate=true,attention_factor=1.25",
        "linear:factor=1.0000001",
        "llama3:factor=3.3333333,original=8192,low_freq_factor=1.0000001,high_freq_factor=4.0000001",
        "yarn:factor=1.2345678,original=99,beta_fast=31.999999,beta_slow=0.1234567,truncate=false,"
        "attention_factor=1.138629436111989"}) {
    ASSERT_OK_AND_ASSIGN(const RopeOverride wanted, ParseRopeOverride(text));
    EXPECT_EQ(RopeScalingText(Overridden(rope, wanted, wanted.original.value_or(0))), text);
  }
  EXPECT_EQ(RopeScalingText({.rotary_dim = 4, .frequency_factors = {1, 2}}), "none:divisors=file");
}

}  // namespace
}  // namespace ropeway
