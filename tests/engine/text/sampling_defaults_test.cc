#include "engine/text/sampling_defaults.h"

#include <cmath>
#include <cstdint>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"

namespace ropeway {
namespace {

using ::ropeway::testing::IsOk;
using ::ropeway::testing::StatusIs;
using ::testing::HasSubstr;

absl::StatusOr<SamplingDefaults> ReadOne(const std::string& key, MetadataValue value) {
  Metadata metadata;
  EXPECT_OK(metadata.Add("general.sampling." + key, std::move(value)));
  return ReadSamplingDefaults(metadata);
}

TEST(SamplingDefaultsTest, OfAFile) {
  Metadata metadata;
  EXPECT_OK(metadata.Add("general.sampling.temp", double{0.6f}));
  EXPECT_OK(metadata.Add("general.sampling.top_k", int64_t{20}));
  EXPECT_OK(metadata.Add("general.sampling.top_p", double{0.95f}));
  EXPECT_OK(metadata.Add("general.sampling.min_p", int64_t{0}));
  EXPECT_OK(metadata.Add("general.sampling.penalty_repeat", 1.1));
  EXPECT_OK(metadata.Add("general.sampling.mirostat", int64_t{2}));
  ASSERT_OK_AND_ASSIGN(const SamplingDefaults sampling, ReadSamplingDefaults(metadata));
  EXPECT_EQ(sampling.temperature, 0.6f);
  EXPECT_EQ(sampling.top_k, 20);
  EXPECT_EQ(sampling.top_p, 0.95f);
  EXPECT_EQ(sampling.min_p, 0);
  EXPECT_EQ(sampling.repetition_penalty, 1.1f);
}

TEST(SamplingDefaultsTest, AFileMaySayNothing) {
  ASSERT_OK_AND_ASSIGN(const SamplingDefaults sampling, ReadSamplingDefaults(Metadata()));
  EXPECT_FALSE(sampling.temperature || sampling.top_k || sampling.top_p || sampling.min_p ||
               sampling.repetition_penalty);
}

TEST(SamplingDefaultsTest, WhatIsNotPositiveKeepsAll) {
  for (const int64_t top_k : {-1, 0}) {
    ASSERT_OK_AND_ASSIGN(const SamplingDefaults sampling, ReadOne("top_k", top_k));
    EXPECT_EQ(sampling.top_k, 0);
  }
}

TEST(SamplingDefaultsTest, RefusesWhatNoRequestMaySay) {
  const struct {
    const char* key;
    MetadataValue value;
    const char* says;
  } cases[] = {
      {"temp", -0.5, "metadata key 'general.sampling.temp' must be in [0, 100], is -0.5"},
      {"temp", std::nan(""), "'general.sampling.temp' must be in [0, 100], is nan"},
      {"temp", std::string("hot"), "'general.sampling.temp' must be a float, is a string"},
      {"top_k", int64_t{1} << 31,
       "'general.sampling.top_k' must be in [-2147483648, 2147483647], is 2147483648"},
      {"top_k", 20.0, "'general.sampling.top_k' must be an integer, is a float"},
      {"top_p", 0.0, "'general.sampling.top_p' must be in (0, 1], is 0"},
      {"top_p", 1e-60, "'general.sampling.top_p' must be in (0, 1], is 1e-60"},
      {"top_p", 1.5, "'general.sampling.top_p' must be in (0, 1], is 1.5"},
      {"min_p", 1.0, "'general.sampling.min_p' must be in [0, 1), is 1"},
      {"min_p", 0.999999999, "'general.sampling.min_p' must be in [0, 1), is "},
      {"penalty_repeat", 0.0, "'general.sampling.penalty_repeat' must be in (0, 100], is 0"},
      {"penalty_repeat", INFINITY, "'general.sampling.penalty_repeat' must be in (0, 100], is inf"},
  };
  for (const auto& test : cases)
    EXPECT_THAT(ReadOne(test.key, test.value),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(test.says)));
}

}  // namespace
}  // namespace ropeway
