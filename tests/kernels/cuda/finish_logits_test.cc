#include <cmath>
#include <vector>

#include "engine/kernels/cuda/launchers.h"
#include "gtest/gtest.h"
#include "tests/kernels/cuda/device_test.h"

namespace ropeway::cuda {
namespace {

class FinishLogitsTest : public DeviceTest, public testing::WithParamInterface<int> {
 protected:
  void SetUp() override { DeviceTest::SetUp(); }

  void Run(bool with_bias, float cap) {
    constexpr int kRows = 3;
    const int vocabulary = GetParam();
    const int64_t stride = (vocabulary + 3) / 4 * 4 + 4;
    std::vector<float> logits(kRows * stride), bias(vocabulary);
    for (size_t i = 0; i < logits.size(); ++i) logits[i] = 25.0f * std::sin(0.7f * i) + 1e-4f * i;
    for (int i = 0; i < vocabulary; ++i) bias[i] = 10.0f * std::cos(0.3f * i);
    float* device = Upload(logits);
    Check(FinishLogits({.logits = device,
                        .stride = stride,
                        .num_rows = kRows,
                        .vocab_size = vocabulary,
                        .bias = with_bias ? Upload(bias) : nullptr,
                        .softcap = cap},
                       stream()));
    const std::vector<float> got = Download(device, logits.size());
    for (int64_t i = 0; i < kRows * stride; ++i) {
      const int64_t column = i % stride;
      if (column >= vocabulary) {
        EXPECT_EQ(got[i], logits[i]) << i;
        continue;
      }
      const double x = double{logits[i]} + (with_bias ? bias[column] : 0);
      EXPECT_NEAR(got[i], cap > 0 ? cap * std::tanh(x / cap) : x, 1e-5 * 40) << i;
    }
  }
};

TEST_P(FinishLogitsTest, EveryLogitAndNothingBeyond) {
  Run(/*with_bias=*/false, /*cap=*/30);
  Run(/*with_bias=*/true, /*cap=*/0);
  Run(/*with_bias=*/true, /*cap=*/30);
}

// Around a vector, a block, and more than one.
INSTANTIATE_TEST_SUITE_P(Vocabularies, FinishLogitsTest, testing::Values(1, 3, 4, 5, 1023, 1024, 1027, 5000));

}  // namespace
}  // namespace ropeway::cuda
