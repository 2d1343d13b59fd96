#include <vector>

#include "engine/kernels/cuda/launchers.h"
#include "gtest/gtest.h"
#include "tests/kernels/cuda/device_test.h"

namespace ropeway::cuda {
namespace {

using TakeTokensTest = DeviceTest;

// Around a block and more than one; some tokens are known, some awaited, in any order, and one of several rows.
TEST_F(TakeTokensTest, TakesWhatIsAwaitedAndLeavesTheRest) {
  for (const int num_tokens : {1, 2, 127, 128, 129, 400}) {
    constexpr int32_t kVocabulary = 50;
    std::vector<int32_t> sampled(300), token_ids(num_tokens), expected(num_tokens);
    for (size_t i = 0; i < sampled.size(); ++i) sampled[i] = static_cast<int32_t>(i * 7 % kVocabulary);
    for (int t = 0; t < num_tokens; ++t) {
      const int32_t from = (t * 31 + 299) % 300;
      token_ids[t] = t % 3 == 1 ? t % kVocabulary : TokenOfResult(from);
      expected[t] = t % 3 == 1 ? t % kVocabulary : sampled[from];
    }
    int32_t* device = Upload(token_ids);
    Check(TakeTokens({.token_ids = device,
                      .sampled = Upload(sampled),
                      .num_tokens = num_tokens,
                      .vocab_size = kVocabulary},
                     stream()));
    EXPECT_EQ(Download(device, num_tokens), expected);
  }
}

// Nothing reads a row of the embedding that is not there, whatever a failed step left.
TEST_F(TakeTokensTest, WhatIsNoTokenIsTakenAsTheFirst) {
  int32_t* device = Upload(std::vector<int32_t>{TokenOfResult(0), TokenOfResult(1), TokenOfResult(2)});
  Check(TakeTokens({.token_ids = device,
                    .sampled = Upload(std::vector<int32_t>{-1, 9, 10}),
                    .num_tokens = 3,
                    .vocab_size = 10},
                   stream()));
  EXPECT_EQ(Download(device, 3), (std::vector<int32_t>{0, 9, 0}));
}

}  // namespace
}  // namespace ropeway::cuda
