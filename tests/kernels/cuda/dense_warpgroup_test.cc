// Products of dense weights by warpgroups against those by mma.sync: byte for byte, and so against all that
// stream_matmul_test.cc holds those to. What follows them, fused_matmul_test.cc holds to the same.
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/kernels/cuda/launchers.h"
#include "gtest/gtest.h"
#include "tests/kernels/cuda/device_test.h"
#include "tests/kernels/cuda/element_values.h"

namespace ropeway::cuda {
namespace {

class DenseWarpgroupTest : public DeviceTest, public testing::WithParamInterface<Element> {
 protected:
  DenseWarpgroupTest() : DeviceTest(TestDevice::kWithWarpgroups) {}

  struct Shape {
    int64_t rows, columns;
    int tokens, processors = 1;
    bool fresh_weights = false;
  };
  // Of y, which has gaps. `launch_in_front` is called right before the product is launched.
  std::vector<uint8_t> Multiply(
      const Shape& shape, Element out, const uint8_t* weights, const uint8_t* x, bool warpgroups,
      const std::function<void()>& launch_in_front = [] {}) {
    const int64_t stride = shape.rows + 3, bytes = shape.tokens * stride * BytesOf(out);
    uint8_t* const y = Upload(std::vector<uint8_t>(bytes, 0x3C));
    launch_in_front();
    Check(DenseMatMul({.weights = {DenseType(GetParam()), shape.rows, shape.columns, weights},
                       .element = GetParam(),
                       .out = out,
                       .num_tokens = shape.tokens,
                       .processors = shape.processors,
                       .x = x,
                       .y = y,
                       .y_stride = stride,
                       .fresh_weights = shape.fresh_weights,
                       .warpgroups = warpgroups},
                      stream()));
    return Download(y, bytes);
  }
  uint8_t* Elements(int64_t count, uint32_t seed) {
    return Upload(Encode(GetParam(), RandomValues(GetParam(), count, seed)));
  }
  void ExpectSameBytes(const Shape& shape) {
    SCOPED_TRACE(testing::Message() << "M " << shape.rows << " K " << shape.columns << " T " << shape.tokens
                                    << ", " << shape.processors << " processors");
    const uint8_t* const weights = Elements(shape.rows * shape.columns, 1);
    const uint8_t* const x = Elements(shape.tokens * shape.columns, 2);
    for (const Element out : {Element::kF32, GetParam()})
      EXPECT_EQ(Multiply(shape, out, weights, x, true), Multiply(shape, out, weights, x, false))
          << NameOf(out);
  }
};

// One warpgroup a block and two; tiles that are missing, and part of one; tokens of each tile, whole and in part, and of two
// of them; rows that end within a stage, a step and a piece of it; fewer stages than are under way, and more.
TEST_P(DenseWarpgroupTest, SameBytesAsMma) {
  for (const Shape& shape :
       {Shape{1, 8, 1}, Shape{64, 64, 64, 4}, Shape{70, 200, 17, 9}, Shape{130, 264, 40}, Shape{205, 640, 65},
        Shape{90, 136, 128, 3}, Shape{260, 1032, 20}, Shape{150, 72, 131}, Shape{40, 328, 190, 2}})
    ExpectSameBytes(shape);
}

TEST_P(DenseWarpgroupTest, FreshWeightsAreWaitedFor) {
  const Shape shape = {.rows = 70, .columns = 136, .tokens = 20, .fresh_weights = true};
  const int64_t bytes = shape.rows * shape.columns * BytesOf(GetParam());
  const uint8_t* const weights = Elements(shape.rows * shape.columns, 3);
  const uint8_t* const x = Elements(shape.tokens * shape.columns, 4);
  uint8_t* const fresh = Upload(std::vector<uint8_t>(bytes, 0x3C));
  const std::vector<uint8_t> expected = Multiply(shape, Element::kF32, weights, x, false);
  const auto write_weights = [&] {
    Check(CopyBytes({.to = fresh, .from = weights, .bytes = bytes}, stream()));
  };
  EXPECT_EQ(Multiply(shape, Element::kF32, fresh, x, true, write_weights), expected);
}

TEST_P(DenseWarpgroupTest, TokensAreWaitedFor) {
  const Shape shape = {.rows = 70, .columns = 136, .tokens = 20};
  const int64_t bytes = shape.tokens * shape.columns * BytesOf(GetParam());
  const uint8_t* const weights = Elements(shape.rows * shape.columns, 3);
  const uint8_t* const x = Elements(shape.tokens * shape.columns, 4);
  uint8_t* const fresh = Upload(std::vector<uint8_t>(bytes, 0x3C));
  const std::vector<uint8_t> expected = Multiply(shape, Element::kF32, weights, x, false);
  const auto write_tokens = [&] { Check(CopyBytes({.to = fresh, .from = x, .bytes = bytes}, stream())); };
  EXPECT_EQ(Multiply(shape, Element::kF32, weights, fresh, true, write_tokens), expected);
}

INSTANTIATE_TEST_SUITE_P(Elements, DenseWarpgroupTest, testing::Values(Element::kF16, Element::kBF16),
                         [](const auto& info) { return std::string(NameOf(info.param)); });

}  // namespace
}  // namespace ropeway::cuda
