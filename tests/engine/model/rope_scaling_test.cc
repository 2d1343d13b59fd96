#include "engine/model/rope_scaling.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"

namespace ropeway {
namespace {

using ::ropeway::testing::StatusIs;
using ::testing::HasSubstr;

const RopeSpec kRope{.base = 10000, .rotary_dim = 16};
const RopeSpec kLocal{.base = 5000, .rotary_dim = 16};

DecoderSpec SpecOf(std::vector<PositionSpec> positions) {
  DecoderSpec spec{.architecture = "test",
                   .vocab_size = 100,
                   .hidden_size = 64,
                   .num_heads = 4,
                   .num_kv_heads = 4,
                   .head_dim = 16,
                   .value_dim = 16,
                   .context_length = 512};
  for (PositionSpec& position : positions)
    spec.layers.push_back(
        {.attention = {.scale = 0.25f}, .position = std::move(position), .ffn = {.size = 128}});
  return spec;
}

const RopeSpec& RopeAt(const DecoderSpec& spec, int layer) {
  return *RopeOf(spec.layers[layer].position.scheme);
}

TEST(RopeScalingTest, LengthensTheContext) {
  DecoderSpec spec = SpecOf({{.scheme = kRope}});
  EXPECT_EQ(RopeScalingInForce(spec), "none");
  ASSERT_OK(OverrideRopeScaling("--rope_scaling", "yarn:factor=4", spec));
  EXPECT_EQ(spec.context_length, 2048);
  EXPECT_EQ(RopeAt(spec, 0).original_context, 512);
  EXPECT_THAT(RopeScalingInForce(spec), HasSubstr("yarn:factor=4,original=512"));
  // What the file says of its own scaling counts from then on.
  ASSERT_OK(OverrideRopeScaling("--rope_scaling", "dynamic:factor=2", spec));
  EXPECT_EQ(spec.context_length, 1024);
  EXPECT_EQ(RopeScalingInForce(spec), "dynamic:factor=2,original=512");
  ASSERT_OK(OverrideRopeScaling("--rope_scaling", "linear:factor=1.5,original=100", spec));
  EXPECT_EQ(spec.context_length, 150);
  const DecoderSpec before = spec;
  ASSERT_OK(OverrideRopeScaling("--rope_scaling", "", spec));
  EXPECT_EQ(spec, before);
}

TEST(RopeScalingTest, LeavesLayersWithWindowsAlone) {
  DecoderSpec spec = SpecOf({{.scheme = kLocal, .window = 32}, {.scheme = kRope}, {.scheme = NopeSpec{}}});
  ASSERT_OK(OverrideRopeScaling("", "linear:factor=2", spec));
  EXPECT_EQ(RopeAt(spec, 0), kLocal);
  EXPECT_EQ(RopeAt(spec, 1).factor, 2);
  EXPECT_EQ(RopeScalingInForce(spec), "linear:factor=2");
}

TEST(RopeScalingTest, ScalesWindowsWhereNothingElseIsRotated) {
  DecoderSpec spec = SpecOf({{.scheme = kLocal, .window = 32}, {.scheme = NopeSpec{}}});
  ASSERT_OK(OverrideRopeScaling("", "linear:factor=2", spec));
  EXPECT_EQ(RopeAt(spec, 0).factor, 2);
}

TEST(RopeScalingTest, ReachesTheBaseOfDape) {
  DecoderSpec spec = SpecOf({{.scheme = DapeSpec{.base = kRope}}});
  ASSERT_OK(OverrideRopeScaling("", "ntk:factor=2", spec));
  EXPECT_EQ(RopeAt(spec, 0).scaling, RopeScalingKind::kNtk);
}

TEST(RopeScalingTest, RefusesWhatCannotBe) {
  DecoderSpec alibi = SpecOf({{.scheme = AlibiSpec{}}});
  EXPECT_EQ(RopeScalingInForce(alibi), "");
  EXPECT_THAT(
      OverrideRopeScaling("--rope_scaling", "linear:factor=2", alibi),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("--rope_scaling needs a model with rotary embeddings, which architecture 'test'")));
  DecoderSpec spec = SpecOf({{.scheme = kRope}});
  EXPECT_THAT(OverrideRopeScaling("--rope_scaling", "linear:factor=1024,original=16777216", spec),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at most 16777216 tokens")));
  EXPECT_THAT(OverrideRopeScaling("--rope_scaling", "linear", spec),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--rope_scaling must have a factor")));
  DecoderSpec narrow = SpecOf({{.scheme = RopeSpec{.rotary_dim = 2}}});
  EXPECT_THAT(OverrideRopeScaling("", "dynamic:factor=2", narrow),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("4 rotated columns")));
}

TEST(RopeScalingTest, GrowsNoFurtherThanLearnedPositions) {
  const PositionSpec learned{.scheme = LearnedSpec{.rows = 1026, .offset = 2}};
  DecoderSpec spec = SpecOf({learned, {.scheme = kRope}});
  ASSERT_OK(OverrideRopeScaling("--rope_scaling", "linear:factor=2", spec));
  EXPECT_EQ(spec.context_length, 1024);
  const char* says = "rows of learned positions must be at least 1538, are 1026";
  EXPECT_THAT(OverrideRopeScaling("--rope_scaling", "linear:factor=1.5,original=1024", spec),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(says)));
  DecoderSpec last = SpecOf({{.scheme = kRope}, {.scheme = LearnedSpec{.rows = 512}}});
  EXPECT_OK(last.Validate());
  EXPECT_THAT(OverrideRopeScaling("--rope_scaling", "yarn:factor=2", last),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("rows of learned positions must be at least 1024, are 512")));
}

}  // namespace
}  // namespace ropeway
