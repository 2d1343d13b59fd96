// Products of packed weights by warpgroups against those by mma.sync: byte for byte, and so against all that packed_test.cc
// holds those to. What follows them, fused_matmul_test.cc holds to the same.
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/kernels/cuda/device_matrix.h"
#include "engine/kernels/cuda/launchers.h"
#include "gtest/gtest.h"
#include "tests/kernels/cuda/device_test.h"
#include "tests/kernels/cuda/element_values.h"

namespace ropeway::cuda {
namespace {

class PackedWarpgroupTest : public DeviceTest, public testing::WithParamInterface<DType> {
 protected:
  PackedWarpgroupTest() : DeviceTest(TestDevice::kWithWarpgroups) {}

  DeviceMatrix UploadWeights(int64_t rows, int64_t columns) {
    const DType type = GetParam();
    const std::vector<uint8_t> file = RandomPacked(type, rows, columns, 1);
    std::vector<uint8_t> device(DeviceMatrixBytes(type, rows, columns));
    PackRows({.type = type, .shape = {rows, columns}, .data = file.data()}, type, rows, 0, device.data());
    return {type, rows, columns, Upload(device)};
  }

  struct Shape {
    int64_t rows, columns;
    int tokens, processors = 1;
  };
  // Of y, which has gaps. `launch_in_front` is called right before the product is launched.
  std::vector<uint8_t> Multiply(
      const DeviceMatrix& weights, Element element, Element out, const Shape& shape, const uint8_t* x,
      bool warpgroups, const std::function<void()>& launch_in_front = [] {}) {
    const int64_t stride = shape.rows + 3, bytes = shape.tokens * stride * BytesOf(out);
    uint8_t* const y = Upload(std::vector<uint8_t>(bytes, 0x3C));
    launch_in_front();
    Check(PackedMatMul({.weights = weights,
                        .element = element,
                        .out = out,
                        .num_tokens = shape.tokens,
                        .processors = shape.processors,
                        .x = x,
                        .y = y,
                        .y_stride = stride,
                        .warpgroups = warpgroups},
                       stream()));
    return Download(y, bytes);
  }
  void ExpectSameBytes(const Shape& shape, Element out) {
    SCOPED_TRACE(testing::Message() << "M " << shape.rows << " K " << shape.columns << " T " << shape.tokens
                                    << ", " << shape.processors << " processors");
    const DeviceMatrix weights = UploadWeights(shape.rows, shape.columns);
    const Element element = out == Element::kF32 ? Element::kBF16 : out;
    const uint8_t* const x = Upload(Encode(element, RandomValues(element, shape.tokens * shape.columns, 2)));
    EXPECT_EQ(Multiply(weights, element, out, shape, x, true),
              Multiply(weights, element, out, shape, x, false));
  }
  int64_t block() const { return InfoOf(GetParam()).block_columns; }
};

// One warpgroup and several, a tile for each warp and half of one; tiles that are missing, and part of one; tokens of each
// tile, whole and in part, and of two of them; blocks with several jobs.
TEST_P(PackedWarpgroupTest, SameBytesAsMma) {
  for (const Shape& shape : {Shape{1, 256, 1}, Shape{40, 256, 16, 9}, Shape{70, 256, 5, 2},
                             Shape{139, 256, 17}, Shape{205, 256, 9}, Shape{300, 256, 64, 2},
                             Shape{330, 256, 65}, Shape{90, 256, 70, 3}, Shape{260, 256, 131}})
    ExpectSameBytes(shape, Element::kF32);
}

// Several jobs a block, each of several slabs, the last of which ends with one group of two where blocks are that small; by
// each of the kernels with whole tiles. A job's slabs are on their way before the one in front of it is done.
TEST_P(PackedWarpgroupTest, JobsOfManySlabs) {
  const int64_t columns = block() == 256 ? 768 : 640;
  for (const Shape& shape : {Shape{530, columns, 9}, Shape{530, columns, 33}, Shape{270, columns, 130}})
    ExpectSameBytes(shape, Element::kF32);
}

// To numbers of 16 bits, of either type of x.
TEST_P(PackedWarpgroupTest, RoundsSums) {
  ExpectSameBytes({70, 256, 18}, Element::kF16);
  ExpectSameBytes({70, 256, 18}, Element::kBF16);
}

// Slabs that end with a group's first unit, with a part of it, and with one group of two; more slabs than are under way.
TEST_P(PackedWarpgroupTest, RowsOfAnyLength) {
  for (const int64_t columns : {32, 96, 128, 288, 640, 2336}) {
    const int64_t whole = (columns + block() - 1) / block() * block();
    ExpectSameBytes({.rows = 50, .columns = whole, .tokens = 3, .processors = 2}, Element::kF32);
    ExpectSameBytes({.rows = 80, .columns = whole, .tokens = 10}, Element::kF32);
    ExpectSameBytes({.rows = 40, .columns = whole, .tokens = 20, .processors = 2}, Element::kF32);
  }
  ExpectSameBytes({.rows = 90, .columns = 5 * 256, .tokens = 66}, Element::kF32);
}

TEST_P(PackedWarpgroupTest, TokensAreWaitedFor) {
  const Shape shape = {.rows = 70, .columns = 256, .tokens = 20};
  const int64_t bytes = shape.tokens * shape.columns * BytesOf(Element::kBF16);
  const DeviceMatrix weights = UploadWeights(shape.rows, shape.columns);
  const uint8_t* const x =
      Upload(Encode(Element::kBF16, RandomValues(Element::kBF16, shape.tokens * shape.columns, 2)));
  uint8_t* const fresh = Upload(std::vector<uint8_t>(bytes, 0x3C));
  const std::vector<uint8_t> expected = Multiply(weights, Element::kBF16, Element::kF32, shape, x, false);
  const auto write_tokens = [&] { Check(CopyBytes({.to = fresh, .from = x, .bytes = bytes}, stream())); };
  EXPECT_EQ(Multiply(weights, Element::kBF16, Element::kF32, shape, fresh, true, write_tokens), expected);
}

INSTANTIATE_TEST_SUITE_P(Types, PackedWarpgroupTest, testing::ValuesIn(kPackedTypes),
                         [](const auto& info) { return std::string(NameOf(info.param)); });

}  // namespace
}  // namespace ropeway::cuda
