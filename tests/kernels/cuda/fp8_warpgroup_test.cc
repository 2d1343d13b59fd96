// Products of fp8 by warpgroups against those by mma.sync: byte for byte, and so against all that fp8_test.cc holds those
// to.
#include <cstdint>
#include <string>
#include <vector>

#include "engine/kernels/cuda/fp8.h"
#include "gtest/gtest.h"
#include "tests/kernels/cuda/element_values.h"
#include "tests/kernels/cuda/fp8_device_test.h"

namespace ropeway::cuda {
namespace {

class Fp8WarpgroupTest : public Fp8DeviceTest, public testing::WithParamInterface<Element> {
 protected:
  Fp8WarpgroupTest() : Fp8DeviceTest(TestDevice::kWithWarpgroups) {}
};

struct Shape {
  int64_t rows, columns;
  int tokens;
};

// Tiles of 128 rows and 256 tokens, whole, in part and several; fewer stages than may be under way, and more.
TEST_P(Fp8WarpgroupTest, SameBytesAsMma) {
  for (const auto& [rows, columns, tokens] :
       {Shape{1, 8, 1}, {19, 40, 5}, {128, 128, 256}, {130, 264, 150}, {72, 800, 270}}) {
    SCOPED_TRACE(testing::Message() << "M " << rows << " K " << columns << " T " << tokens);
    const Fp8Matrix weights =
        UploadMatrix(RandomValues(Element::kF32, rows * columns, 1, 0.02f), rows, columns);
    const std::vector<float> x = RandomValues(Element::kBF16, tokens * columns, 2);
    const int64_t stride = rows + 3, bytes = tokens * stride * BytesOf(GetParam());
    uint8_t* const y = Upload(std::vector<uint8_t>(bytes, 0x3C));
    Check(Fp8MatMul({.weights = weights,
                     .out = GetParam(),
                     .num_tokens = tokens,
                     .x = Quantize(Element::kBF16, x, columns, /*as_f16=*/true),
                     .y = y,
                     .y_stride = stride,
                     .gate = {},
                     .warpgroups = true},
                    stream()));
    EXPECT_EQ(Download(y, bytes),
              Multiply(weights, Quantize(Element::kBF16, x, columns), tokens, GetParam(), stride));
  }
}

TEST_P(Fp8WarpgroupTest, EndsWithTheGate) {
  constexpr int64_t kFfn = 75, kColumns = 200;
  constexpr int kTokens = 140;
  const Fp8Matrix weights =
      UploadMatrix(RandomValues(Element::kF32, 2 * kFfn * kColumns, 8, 0.1f), 2 * kFfn, kColumns);
  const std::vector<float> x = RandomValues(GetParam(), kTokens * kColumns, 9);
  const int64_t bytes = kTokens * kFfn * BytesOf(GetParam());
  std::vector<uint8_t> out[2];
  for (const bool warpgroups : {false, true}) {
    uint8_t* const gated = Allocate<uint8_t>(bytes);
    Check(Fp8MatMul({.weights = weights,
                     .out = GetParam(),
                     .num_tokens = kTokens,
                     .x = Quantize(GetParam(), x, kColumns, warpgroups),
                     .y = Allocate<uint8_t>(2 * bytes),
                     .y_stride = 2 * kFfn,
                     .gate = GateArgs{.element = GetParam(),
                                      .num_tokens = kTokens,
                                      .columns = kFfn,
                                      .bias = Upload(RandomValues(Element::kF32, 2 * kFfn, 10)),
                                      .out = gated},
                     .warpgroups = warpgroups},
                    stream()));
    out[warpgroups] = Download(gated, bytes);
  }
  EXPECT_EQ(out[1], out[0]);
}

INSTANTIATE_TEST_SUITE_P(Types, Fp8WarpgroupTest, testing::ValuesIn(kElements),
                         [](const auto& info) { return std::string(NameOf(info.param)); });

}  // namespace
}  // namespace ropeway::cuda
