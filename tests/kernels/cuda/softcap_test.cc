#include <cmath>
#include <vector>

#include "engine/kernels/cuda/launchers.h"
#include "gtest/gtest.h"
#include "tests/kernels/cuda/device_test.h"

namespace ropeway::cuda {
namespace {

class SoftcapTest : public DeviceTest, public testing::WithParamInterface<int> {
 protected:
  void SetUp() override { DeviceTest::SetUp(); }
};

TEST_P(SoftcapTest, EveryLogitAndNothingBeyond) {
  const int count = GetParam();
  constexpr float kCap = 30;
  std::vector<float> logits(count + 8);
  for (int i = 0; i < count + 8; ++i) logits[i] = 25.0f * std::sin(0.7f * i) + 0.01f * i;
  float* device = Upload(logits);
  Check(Softcap(device, count, kCap, stream()));
  const std::vector<float> got = Download(device, logits.size());
  for (int i = 0; i < count; ++i) {
    EXPECT_NEAR(got[i], kCap * std::tanh(logits[i] / kCap), 1e-5f * kCap) << i;
  }
  for (int i = count; i < count + 8; ++i) EXPECT_EQ(got[i], logits[i]) << i;
}

// Around a vector, a block, and more than the grid holds at once.
INSTANTIATE_TEST_SUITE_P(Counts, SoftcapTest, testing::Values(1, 3, 4, 5, 1023, 1024, 1027, 12289));

}  // namespace
}  // namespace ropeway::cuda
