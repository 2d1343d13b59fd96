// Products of one matrix by whichever kernel does for the number of tokens: rows keep their bytes.
#include "engine/exec/cuda/product.h"

#include <optional>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tests/cuda_emulation/host_gemm.h"
#include "tests/kernels/cuda/device_test.h"
#include "tests/kernels/cuda/element_values.h"

namespace ropeway {
namespace {

using cuda::Element;

// As a library of which no algorithm keeps the rule of sums.
class OwnGemm final : public cuda::emulation::HostGemm {
 public:
  cuda::ErrorCode Run(const cuda::GemmArgs& args, cuda::Stream stream) override {
    return cuda::Kernels().dense_matmul(
        {.weights = {cuda::DenseType(args.element), args.outputs, args.columns, args.weights},
         .element = args.element,
         .out = args.out,
         .num_tokens = args.tokens,
         .processors = 2,
         .x = args.x,
         .y = args.y,
         .y_stride = args.y_stride,
         .fresh_weights = args.fresh_weights},
        stream);
  }
};

// Remembers where products are written.
class PlacesGemm final : public cuda::emulation::HostGemm {
 public:
  cuda::ErrorCode Run(const cuda::GemmArgs& args, cuda::Stream stream) override {
    places.push_back(static_cast<const uint8_t*>(args.y));
    return HostGemm::Run(args, stream);
  }
  std::vector<const uint8_t*> places;
};

class ProductTest : public cuda::DeviceTest {
 protected:
  explicit ProductTest(cuda::TestDevice device = cuda::TestDevice::kAny) : DeviceTest(device) {}

  // y [T, M] of `element`; by the kernel that constants say.
  std::vector<uint8_t> Multiply(const cuda::DeviceMatrix& weights, Element element,
                                const std::vector<float>& x, int64_t tokens,
                                std::optional<ProductKernel> kernel = {}) {
    const int64_t bytes = tokens * weights.rows * BytesOf(element);
    const std::vector<float> first(x.begin(), x.begin() + tokens * weights.columns);
    uint8_t* y = Allocate<uint8_t>(bytes);
    const cuda::MatMulArgs args = {.weights = weights,
                                   .element = element,
                                   .out = element,
                                   .num_tokens = tokens,
                                   .processors = 2,
                                   .x = Upload(cuda::Encode(element, first)),
                                   .y = y,
                                   .y_stride = weights.rows};
    Check(MultiplyOnCuda(args,
                         {.kernels = cuda::Kernels(), .gemm = *gemm_, .slice = slice_, .stream = stream()},
                         kernel.value_or(ProductKernelFor(args))));
    return Download(y, bytes);
  }
  // A row has the same bytes for any number of tokens of `counts`, the largest first.
  void ExpectEqualRows(const cuda::DeviceMatrix& weights, Element element,
                       const std::vector<int64_t>& counts) {
    const std::vector<float> x = cuda::RandomValues(element, counts[0] * weights.columns, 2);
    const std::vector<uint8_t> all = Multiply(weights, element, x, counts[0]);
    for (const int64_t tokens : counts) {
      const std::vector<uint8_t> some = Multiply(weights, element, x, tokens);
      EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin()))
          << cuda::NameOf(element) << " K " << weights.columns << " T " << tokens;
    }
  }

  // Weights of so many rows and columns.
  cuda::DeviceMatrix UploadPacked(DType type, int64_t rows, int64_t columns) {
    const std::vector<uint8_t> file = cuda::RandomPacked(type, rows, columns, 3);
    std::vector<uint8_t> device(cuda::DeviceMatrixBytes(type, rows, columns));
    cuda::PackRows({.type = type, .shape = {rows, columns}, .data = file.data()}, type, rows, 0,
                   device.data());
    return {type, rows, columns, Upload(device)};
  }

  cuda::emulation::HostGemm host_gemm_;
  OwnGemm own_gemm_;
  cuda::Gemm* gemm_ = &host_gemm_;
  UnpackedSlice slice_;
};

TEST_F(ProductTest, TheNumberOfTokensDecides) {
  const auto kernel = [](Element element, DType type, int64_t columns, int64_t tokens, int64_t rows = 16) {
    return ProductKernelFor(
        {.weights = {type, rows, columns, nullptr}, .element = element, .num_tokens = tokens});
  };
  EXPECT_EQ(kernel(Element::kBF16, DType::kBF16, 64, 1), ProductKernel::kDense);
  EXPECT_EQ(kernel(Element::kF16, DType::kF16, 64, 16), ProductKernel::kDense);
  EXPECT_EQ(kernel(Element::kBF16, DType::kBF16, 64, 17), ProductKernel::kGemm);
  EXPECT_EQ(kernel(Element::kBF16, DType::kBF16, 60, 1), ProductKernel::kGemm);
  EXPECT_EQ(kernel(Element::kF32, DType::kF32, 64, 1), ProductKernel::kGemm);
  EXPECT_EQ(kernel(Element::kBF16, DType::kQ4_K, 256, 1), ProductKernel::kPacked);
  // More of them where each processor has more than four tiles of rows.
  EXPECT_EQ(kernel(Element::kBF16, DType::kQ4_K, 256, 64, 64), ProductKernel::kPacked);
  EXPECT_EQ(kernel(Element::kBF16, DType::kQ4_K, 256, 65, 64), ProductKernel::kUnpack);
  EXPECT_EQ(kernel(Element::kBF16, DType::kQ4_K, 256, 96, 65), ProductKernel::kPacked);
  EXPECT_EQ(kernel(Element::kBF16, DType::kQ4_K, 256, 97, 65), ProductKernel::kUnpack);
  EXPECT_EQ(kernel(Element::kF32, DType::kQ4_K, 256, 2000), ProductKernel::kPacked);
}

TEST_F(ProductTest, ARowHasTheSameBytesOnBothSidesOfTheSwitch) {
  constexpr int64_t kRows = 37;
  for (const Element element : {Element::kBF16, Element::kF16}) {
    for (const int64_t columns : {8, 72, 576}) {
      const std::vector<float> numbers = cuda::RandomValues(element, kRows * columns, 1);
      ExpectEqualRows({cuda::DenseType(element), kRows, columns, Upload(cuda::Encode(element, numbers))},
                      element, {40, 1, 2, 7, 8, 9, 16, 17, 33});
    }
  }
}

// The slice holds so few rows that there are several, the last of them smaller.
TEST_F(ProductTest, ARowOfPackedWeightsHasTheSameBytesWhereTheyAreUnpackedFirst) {
  constexpr int64_t kRows = 300, kColumns = 256;
  for (const DType type : {DType::kQ8_0, DType::kQ4_K}) {
    const cuda::DeviceMatrix weights = UploadPacked(type, kRows, kColumns);
    for (const int64_t slice_rows : {200, 1000}) {
      slice_.bytes = slice_rows * kColumns * 2;
      slice_.data = Allocate<uint8_t>(slice_.bytes);
      ExpectEqualRows(weights, Element::kBF16, {kPackedTokens + 2, 1, 17, kPackedTokens, kPackedTokens + 1});
    }
  }
}

// The library takes what it writes for 256-byte aligned: slices are of whole tiles, also where more rows would fit.
TEST_F(ProductTest, SlicesAreWrittenToWholeTiles) {
  constexpr int64_t kRows = 300, kColumns = 256;
  PlacesGemm gemm;
  gemm_ = &gemm;
  const cuda::DeviceMatrix weights = UploadPacked(DType::kQ8_0, kRows, kColumns);
  for (const auto& [slice_rows, slices] : {std::pair(150, 3u), {200, 3u}, {256, 2u}, {299, 2u}, {300, 1u}}) {
    slice_.bytes = slice_rows * kColumns * 2;
    slice_.data = Allocate<uint8_t>(slice_.bytes);
    gemm.places.clear();
    ExpectEqualRows(weights, Element::kBF16, {kPackedTokens + 1});
    ASSERT_EQ(gemm.places.size(), 2 * slices) << slice_rows;  // multiplied twice
    for (size_t i = 0; i < gemm.places.size(); ++i)
      EXPECT_EQ((gemm.places[i] - gemm.places[i / slices * slices]) % 256, 0) << slice_rows;
  }
}

// Our own kernel begins before the one in front has ended, which here writes the weights.
TEST_F(ProductTest, OurOwnKernelReadsNoWeightsBeforeTheyAreUnpacked) {
  constexpr int64_t kRows = 300, kColumns = 256;
  gemm_ = &own_gemm_;
  slice_.bytes = 200 * kColumns * 2;
  slice_.data = Allocate<uint8_t>(slice_.bytes);
  ExpectEqualRows(UploadPacked(DType::kQ8_0, kRows, kColumns), Element::kBF16,
                  {kPackedTokens + 2, 1, kPackedTokens, kPackedTokens + 1});
}

// On compute capability 9.0. With any number of tokens: which kernel is taken may be measured.
class WarpgroupProductTest : public ProductTest {
 protected:
  static constexpr int64_t kRows = 40, kColumns = 256;

  WarpgroupProductTest() : ProductTest(cuda::TestDevice::kWithWarpgroups) {
    slice_.bytes = 24 * kColumns * 2;
  }
  void ExpectSameBytes(const cuda::DeviceMatrix& weights, std::initializer_list<ProductKernel> kernels) {
    for (const int64_t tokens : {1, 9, 17, 70}) {
      const std::vector<float> x = cuda::RandomValues(Element::kBF16, tokens * kColumns, 2);
      const std::vector<uint8_t> expected = Multiply(weights, Element::kBF16, x, tokens);
      for (const ProductKernel kernel : kernels)
        EXPECT_EQ(Multiply(weights, Element::kBF16, x, tokens, kernel), expected)
            << NameOf(kernel) << " T " << tokens;
    }
  }
};

TEST_F(WarpgroupProductTest, AllKernelsOfPackedWeightsGiveTheSameBytes) {
  slice_.data = Allocate<uint8_t>(slice_.bytes);
  for (const DType type : {DType::kQ8_0, DType::kQ4_K})
    ExpectSameBytes(UploadPacked(type, kRows, kColumns),
                    {ProductKernel::kPacked, ProductKernel::kWarpgroups, ProductKernel::kUnpack});
}

TEST_F(WarpgroupProductTest, AllKernelsOfDenseWeightsGiveTheSameBytes) {
  const std::vector<float> numbers = cuda::RandomValues(Element::kBF16, kRows * kColumns, 1);
  ExpectSameBytes({DType::kBF16, kRows, kColumns, Upload(cuda::Encode(Element::kBF16, numbers))},
                  {ProductKernel::kDense, ProductKernel::kWarpgroups, ProductKernel::kGemm});
}

}  // namespace
}  // namespace ropeway
