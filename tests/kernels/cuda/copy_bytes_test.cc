#include <cstring>
#include <vector>

#include "engine/kernels/cuda/launchers.h"
#include "gtest/gtest.h"
#include "tests/kernels/cuda/device_test.h"

namespace ropeway::cuda {
namespace {

// Around a block and more than one, from the host's pinned memory and back to it; what lies behind stays.
class CopyBytesTest : public DeviceTest, public testing::WithParamInterface<int> {
 protected:
  static constexpr int kBehind = 16;

  void SetUp() override {
    DeviceTest::SetUp();
    if (IsSkipped()) return;
    void* memory = nullptr;
    Check(runtime().MallocHost(&memory, bytes() + kBehind));
    pinned_ = static_cast<uint8_t*>(memory);
    ASSERT_NE(pinned_, nullptr);
    for (size_t i = 0; i < numbers_.size(); ++i) numbers_[i] = static_cast<uint8_t>(i * 131 + i / 251);
  }
  void TearDown() override {
    if (pinned_ != nullptr) Check(runtime().FreeHost(pinned_));
  }

  int bytes() const { return GetParam(); }
  // `numbers_`, and behind them what was there before.
  std::vector<uint8_t> WithBehind(uint8_t before) const {
    std::vector<uint8_t> all = numbers_;
    all.resize(all.size() + kBehind, before);
    return all;
  }

  uint8_t* pinned_ = nullptr;
  std::vector<uint8_t> numbers_ = std::vector<uint8_t>(bytes());
};

TEST_P(CopyBytesTest, FromTheHost) {
  std::memcpy(pinned_, numbers_.data(), bytes());
  uint8_t* device = Upload(std::vector<uint8_t>(bytes() + kBehind, 7));
  Check(CopyBytes({.to = device, .from = pinned_, .bytes = bytes()}, stream()));
  EXPECT_EQ(Download(device, bytes() + kBehind), WithBehind(7));
}

TEST_P(CopyBytesTest, ToTheHost) {
  std::memset(pinned_, 9, bytes() + kBehind);
  Check(CopyBytes({.to = pinned_, .from = Upload(numbers_), .bytes = bytes()}, stream()));
  Synchronize();
  EXPECT_EQ(std::vector<uint8_t>(pinned_, pinned_ + bytes() + kBehind), WithBehind(9));
}

INSTANTIATE_TEST_SUITE_P(Sizes, CopyBytesTest, testing::Values(16, 256, 2048, 2064, 70000));

TEST_F(DeviceTest, CopyBytesTakesWholeVectorsAlone) {
  EXPECT_NE(CopyBytes({.to = nullptr, .from = nullptr, .bytes = 20}, stream()), 0);
  EXPECT_EQ(CopyBytes({.to = nullptr, .from = nullptr, .bytes = 0}, stream()), 0);
}

}  // namespace
}  // namespace ropeway::cuda
