// Holds device.h to what CUDA promises of it: in the emulation, and on a real device, where the same source
// runs.
#include "tests/kernels/cuda/device_semantics.h"

#include <bit>
#include <cmath>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/kernels/cuda/device_test.h"

namespace ropeway::cuda {
namespace {

using testing::ElementsAre;

class DeviceSemanticsTest : public DeviceTest {};

TEST_F(DeviceSemanticsTest, LanesExchangeValues) {
  int32_t* out = Allocate<int32_t>(kNumExchanges * 32);
  Check(LaunchExchanges(out, stream()));
  const std::vector<int32_t> got = Download(out, kNumExchanges * 32);
  for (int lane = 0; lane < 32; ++lane) {
    const auto of = [&](Exchange row) { return got[row * 32 + lane]; };
    const int first = lane / 8 * 8;  // of its group of eight
    EXPECT_EQ(of(kXor5), lane ^ 5);
    EXPECT_EQ(of(kUp3), lane < 3 ? lane : lane - 3) << "a lane whose source is not there keeps its own";
    EXPECT_EQ(of(kDown3), lane > 28 ? lane : lane + 3);
    EXPECT_EQ(of(kFrom7), 7);
    EXPECT_EQ(of(kXorInEights), lane ^ 3);
    EXPECT_EQ(of(kUpInEights), lane - first < 3 ? lane : lane - 3);
    EXPECT_EQ(of(kDownInEights), lane - first > 4 ? lane : lane + 3);
    EXPECT_EQ(of(kFromInEights), first + 2);
    EXPECT_EQ(static_cast<uint32_t>(of(kBallotOfOdd)), 0xAAAAAAAA);
    EXPECT_EQ(of(kAnyOfLane9), 1);
    EXPECT_EQ(of(kAllOfLane9), 0);
    EXPECT_EQ(of(kUpperHalf), lane < 16 ? -1 : 20);
  }
}

TEST_F(DeviceSemanticsTest, BarriersThatVote) {
  int32_t* out = Allocate<int32_t>(3);
  for (const int limit : {0, 1, 95, 96}) {
    Check(LaunchVotes(limit, out, stream()));
    EXPECT_THAT(Download(out, 3), ElementsAre(limit > 0, limit == 96, limit));
  }
}

TEST_F(DeviceSemanticsTest, MatrixFragments) {
  std::vector<float> a(256), b(128), c(128);  // small integers: exact in 16 bits, in any order of addition
  for (int i = 0; i < 256; ++i) a[i] = static_cast<float>(i * 7 % 19 - 9);
  for (int i = 0; i < 128; ++i) b[i] = static_cast<float>(i * 11 % 23 - 11);
  for (int i = 0; i < 128; ++i) c[i] = static_cast<float>(i);
  float* d = Allocate<float>(128);
  for (const bool is_bf16 : {true, false}) {
    Check(LaunchMma(is_bf16, Upload(a), Upload(b), Upload(c), d, stream()));
    const std::vector<float> got = Download(d, 128);
    for (int i = 0; i < 128; ++i) {
      float want = c[i];
      for (int k = 0; k < 16; ++k) want += a[i / 8 * 16 + k] * b[k * 8 + i % 8];
      EXPECT_EQ(got[i], want) << "row " << i / 8 << ", column " << i % 8;
    }
  }
}

TEST_F(DeviceSemanticsTest, AsynchronousCopies) {
  std::vector<float> in(64);
  for (int i = 0; i < 64; ++i) in[i] = static_cast<float>(i + 1);
  float* out = Allocate<float>(64);
  Check(LaunchAsyncCopy(Upload(in), out, stream()));
  const std::vector<float> got = Download(out, 64);
  for (int i = 0; i < 64; ++i) EXPECT_EQ(got[i], i < 32 ? in[i] : 0) << i;
}

TEST_F(DeviceSemanticsTest, ReductionsOfABlock) {
  std::vector<float> in(128);
  float sum = 0;
  for (int i = 0; i < 128; ++i) sum += in[i] = static_cast<float>(i * 37 % 101 - 40);
  float* out = Allocate<float>(3);
  Check(LaunchReductions(Upload(in), out, stream()));
  EXPECT_THAT(Download(out, 3), ElementsAre(sum, -sum, 60));
}

TEST_F(DeviceSemanticsTest, Atomics) {
  int32_t* out = Upload(std::vector<int32_t>{0, -1, 1000});
  Check(LaunchAtomics(out, stream()));
  EXPECT_THAT(Download(out, 3), ElementsAre(256, 255, 0));
}

TEST_F(DeviceSemanticsTest, Conversions) {
  // By 16-bit, bfloat16 and e4m3: ties to even, the smallest numbers, saturation.
  const std::vector<float> in = {0,        1,       -2.5f,     1.0009765625f * 1.00048828125f,
                                 0x1p-24f, 65504.f, 3.14159f,  448,
                                 500,      0x1p-9f, -0x1p-10f, 1.0625f};
  float* out = Allocate<float>(in.size() * 5);
  Check(LaunchConversions(Upload(in), static_cast<int>(in.size()), out, stream()));
  const std::vector<float> got = Download(out, in.size() * 5);
  EXPECT_EQ(got[5 * 4], 0x1p-24f) << "fp16 has subnormal numbers";
  EXPECT_EQ(got[5 * 5], 65504);
  EXPECT_EQ(got[5 * 6], 3.140625f);
  EXPECT_EQ(got[5 * 6 + 1], 3.140625f);
  EXPECT_EQ(got[5 * 6 + 2], 3.25f);
  EXPECT_EQ(got[5 * 8 + 2], 448) << "fp8 saturates";
  EXPECT_EQ(got[5 * 9 + 2], 0x1p-9f) << "the smallest of fp8";
  EXPECT_EQ(got[5 * 10 + 2], 0) << "half of it: a tie, to even";
  EXPECT_EQ(got[5 * 11 + 2], 1) << "a tie, to even";
  EXPECT_EQ(got[5 * 1 + 3], 1 + 128 * 128 + 63 * 63) << "0x3F800000: bytes 63, -128, 0, 0";
  EXPECT_EQ(got[5 * 2 + 4], 0x1p23f + 0x20) << "0xC0200000, byte 2";
  EXPECT_EQ(got[5 * 3 + 4], 0x1p23f + 0x3F) << "0x3F80...: byte 3";
}

// What codes of packed weights become numbers by.
TEST_F(DeviceSemanticsTest, PackedCodes) {
  const std::vector<uint32_t> in = {0x000F0003, 0x64F06408, 0x64006408, 0x12345678};
  float* out = Allocate<float>(6);
  Check(LaunchPackedCodes(Upload(in), out, stream()));
  EXPECT_THAT(Download(out, 6), ElementsAre(3 * 0x1p-24f, 15 * 0x1p-24f, 0, 240, 1 + 0x70 * 0x1p-23f,
                                            std::bit_cast<float>(in[1])));
}

}  // namespace
}  // namespace ropeway::cuda
