// Products of one matrix by whichever kernel does for the number of tokens: rows keep their bytes.
#include "engine/exec/cuda/product.h"

#include <vector>

#include "gtest/gtest.h"
#include "tests/cuda_emulation/host_gemm.h"
#include "tests/kernels/cuda/device_test.h"
#include "tests/kernels/cuda/element_values.h"

namespace ropeway {
namespace {

using cuda::Element;

class ProductTest : public cuda::DeviceTest {
 protected:
  // y [T, M] of `element`.
  std::vector<uint8_t> Multiply(const cuda::DeviceMatrix& weights, Element element,
                                const std::vector<float>& x, int64_t tokens) {
    const int64_t bytes = tokens * weights.rows * BytesOf(element);
    const std::vector<float> first(x.begin(), x.begin() + tokens * weights.columns);
    uint8_t* y = Allocate<uint8_t>(bytes);
    Check(MultiplyOnCuda({.weights = weights,
                          .element = element,
                          .out = element,
                          .num_tokens = tokens,
                          .processors = 2,
                          .x = Upload(cuda::Encode(element, first)),
                          .y = y,
                          .y_stride = weights.rows},
                         cuda::Kernels(), gemm_, stream()));
    return Download(y, bytes);
  }
  cuda::emulation::HostGemm gemm_;
};

TEST_F(ProductTest, FewTokensOfDenseWeightsStream) {
  const auto kernel = [](Element element, DType type, int64_t columns, int64_t tokens) {
    return ProductKernelFor(
        {.weights = {type, 16, columns, nullptr}, .element = element, .num_tokens = tokens});
  };
  EXPECT_EQ(kernel(Element::kBF16, DType::kBF16, 64, 1), ProductKernel::kDense);
  EXPECT_EQ(kernel(Element::kF16, DType::kF16, 64, 16), ProductKernel::kDense);
  EXPECT_EQ(kernel(Element::kBF16, DType::kBF16, 64, 17), ProductKernel::kGemm);
  EXPECT_EQ(kernel(Element::kBF16, DType::kBF16, 60, 1), ProductKernel::kGemm);
  EXPECT_EQ(kernel(Element::kF32, DType::kF32, 64, 1), ProductKernel::kGemm);
  EXPECT_EQ(kernel(Element::kBF16, DType::kQ4_K, 256, 1), ProductKernel::kPacked);
}

TEST_F(ProductTest, ARowHasTheSameBytesOnBothSidesOfTheSwitch) {
  constexpr int64_t kMost = 40, kRows = 37;
  for (const Element element : {Element::kBF16, Element::kF16}) {
    for (const int64_t columns : {8, 72, 576}) {
      const cuda::DeviceMatrix weights = {
          cuda::DenseType(element), kRows, columns,
          Upload(cuda::Encode(element, cuda::RandomValues(element, kRows * columns, 1)))};
      const std::vector<float> x = cuda::RandomValues(element, kMost * columns, 2);
      const std::vector<uint8_t> all = Multiply(weights, element, x, kMost);
      for (const int64_t tokens : {1, 2, 7, 8, 9, 16, 17, 33}) {
        const std::vector<uint8_t> some = Multiply(weights, element, x, tokens);
        EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin()))
            << cuda::NameOf(element) << " K " << columns << " T " << tokens;
      }
    }
  }
}

}  // namespace
}  // namespace ropeway
