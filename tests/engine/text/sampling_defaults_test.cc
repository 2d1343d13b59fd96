#include "engine/text/sampling_defaults.h"

#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/status_matchers.h"

namespace ropeway {
namespace {

using ::ropeway::testing::IsOk;
using ::ropeway::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

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

TEST(SamplingDefaultsTest, TellsWhatNoRequestCanHave) {
  const struct {
    const char* key;
    MetadataValue value;
    const char* told;  // null: it does nothing
  } cases[] = {
      {"mirostat", int64_t{2}, "general.sampling.mirostat = 2"},
      {"mirostat", int64_t{0}, nullptr},
      {"mirostat_tau", 5.0, nullptr},
      {"mirostat_eta", 0.1, nullptr},
      {"xtc_probability", 0.5, "general.sampling.xtc_probability = 0.5"},
      {"xtc_probability", 0.0, nullptr},
      {"xtc_threshold", 0.1, nullptr},
      {"sequence", std::string("top_k\n;temperature"),
       R"(general.sampling.sequence = top_k\x0a;temperature)"},
      {"dry", std::vector<int64_t>{1}, "general.sampling.dry = an array"},
      {"typ_p", true, "general.sampling.typ_p = true"},
      {"penalty_last_n", int64_t{64}, nullptr},  // of a penalty that there is not
      {"top_k", int64_t{40}, nullptr},
      {"temp", 0.5, nullptr},
  };
  for (const auto& test : cases) {
    ASSERT_OK_AND_ASSIGN(const SamplingDefaults sampling, ReadOne(test.key, test.value));
    EXPECT_EQ(absl::StrJoin(sampling.not_followed, ", "), test.told == nullptr ? "" : test.told) << test.key;
  }
}

// Over the last 0 tokens a penalty is none, over all (-1) it is ours; in between it would be another.
TEST(SamplingDefaultsTest, PenaltiesCountOverAllTokens) {
  const auto read = [](double penalty, MetadataValue count) {
    Metadata metadata;
    EXPECT_OK(metadata.Add("general.sampling.penalty_repeat", penalty));
    EXPECT_OK(metadata.Add("general.sampling.penalty_last_n", std::move(count)));
    return ReadSamplingDefaults(metadata);
  };
  ASSERT_OK_AND_ASSIGN(const SamplingDefaults none, read(1.5, int64_t{0}));
  EXPECT_EQ(none.repetition_penalty, std::nullopt);
  EXPECT_THAT(none.not_followed, IsEmpty());
  ASSERT_OK_AND_ASSIGN(const SamplingDefaults all, read(1.5, int64_t{-1}));
  EXPECT_EQ(all.repetition_penalty, 1.5f);
  EXPECT_THAT(all.not_followed, IsEmpty());
  ASSERT_OK_AND_ASSIGN(const SamplingDefaults some, read(1.5, int64_t{64}));
  EXPECT_EQ(some.repetition_penalty, 1.5f);
  EXPECT_THAT(some.not_followed, ElementsAre("general.sampling.penalty_last_n = 64"));
  ASSERT_OK_AND_ASSIGN(const SamplingDefaults idle, read(1, int64_t{64}));
  EXPECT_THAT(idle.not_followed, IsEmpty());
  EXPECT_THAT(read(1.5, 64.0),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("'general.sampling.penalty_last_n' must be an integer, is a float")));
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
