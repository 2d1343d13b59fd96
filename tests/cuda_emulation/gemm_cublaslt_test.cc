// The call site of cuBLASLt, against a stand-in with the library's documented semantics.
#include <memory>
#include <tuple>
#include <vector>

#include "engine/base/splitmix.h"
#include "engine/kernels/cuda/cublaslt_gemm.h"
#include "gtest/gtest.h"
#include "tests/cuda_emulation/fake_cublaslt.h"
#include "tests/cuda_emulation/host_elements.h"

namespace ropeway::cuda::emulation {
namespace {

// Small integers, whose products are exact in every type.
std::vector<uint8_t> Numbers(Element element, int64_t count, uint64_t seed) {
  std::vector<uint8_t> bytes(count * BytesOf(element));
  for (int64_t i = 0; i < count; ++i)
    StoreElement(element, bytes.data(), i, static_cast<float>(SplitMix(seed * kGoldenRatio64 + i) % 7) - 3);
  return bytes;
}

class GemmCublasLtTest : public ::testing::TestWithParam<std::tuple<Element, Element, float>> {};

TEST_P(GemmCublasLtTest, MultipliesRowMajorMatrices) {
  const auto [element, out, beta] = GetParam();
  constexpr int64_t kTokens = 5, kOutputs = 7, kColumns = 12, kXStride = 14, kWeightStride = 13, kYStride = 9;
  const char* error = nullptr;
  const std::unique_ptr<Gemm> gemm(MakeCublasLtGemm({}, &error));
  ASSERT_NE(gemm, nullptr) << error;
  const auto x = Numbers(element, kTokens * kXStride, 1),
             weights = Numbers(element, kOutputs * kWeightStride, 2);
  const auto before = Numbers(out, kTokens * kYStride, 3);
  auto y = before;
  ASSERT_EQ(gemm->Run({.tokens = kTokens,
                       .outputs = kOutputs,
                       .columns = kColumns,
                       .element = element,
                       .out = out,
                       .x = x.data(),
                       .x_stride = kXStride,
                       .weights = weights.data(),
                       .weight_stride = kWeightStride,
                       .y = y.data(),
                       .y_stride = kYStride,
                       .beta = beta},
                      {}),
            0);
  for (int64_t t = 0; t < kTokens; ++t) {
    for (int64_t m = 0; m < kYStride; ++m) {
      float expected = LoadElement(out, before.data(), t * kYStride + m);
      if (m < kOutputs) {
        expected *= beta;
        for (int64_t k = 0; k < kColumns; ++k)
          expected += LoadElement(element, x.data(), t * kXStride + k) *
                      LoadElement(element, weights.data(), m * kWeightStride + k);
      }
      EXPECT_EQ(LoadElement(out, y.data(), t * kYStride + m), expected) << t << ", " << m;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, GemmCublasLtTest,
                         ::testing::Values(std::tuple(Element::kF32, Element::kF32, 0.0f),
                                           std::tuple(Element::kBF16, Element::kBF16, 0.0f),
                                           std::tuple(Element::kBF16, Element::kF32, 1.0f),
                                           std::tuple(Element::kF16, Element::kF16, 1.0f),
                                           std::tuple(Element::kF16, Element::kF32, 0.0f)));

class GemmPlansTest : public ::testing::Test {
 protected:
  void SetUp() override {
    FakeCublasLt() = {};
    const char* error = nullptr;
    gemm_.reset(MakeCublasLtGemm({}, &error));
  }

  // A product of one weight matrix with so many tokens.
  ErrorCode Run(int64_t tokens) {
    return gemm_->Run({.tokens = tokens,
                       .outputs = 3,
                       .columns = 4,
                       .element = Element::kF32,
                       .out = Element::kF32,
                       .x = x_.data(),
                       .x_stride = 4,
                       .weights = weights_.data(),
                       .weight_stride = 4,
                       .y = y_.data(),
                       .y_stride = 3},
                      {});
  }

  std::unique_ptr<Gemm> gemm_;
  const std::vector<float> x_ = std::vector<float>(200 * 4), weights_ = std::vector<float>(3 * 4);
  std::vector<float> y_ = std::vector<float>(200 * 3);
};

TEST_F(GemmPlansTest, ProductsOfAMatrixHaveOneAlgorithmThatDoesNotSplitK) {
  for (const int64_t tokens : {1, 30, 200, 1}) EXPECT_EQ(Run(tokens), 0);
  EXPECT_EQ(FakeCublasLt().algorithms, std::vector<uint64_t>(4, FakeAlgorithmFor(64)));
  EXPECT_EQ(FakeCublasLt().heuristics, 1);
}

TEST_F(GemmPlansTest, AnAlgorithmThatDoesNotDoForManyTokensIsNotTakenForFew) {
  FakeCublasLt().refuses = [](uint64_t algorithm, uint64_t columns) {
    return algorithm == FakeAlgorithmFor(64) && columns == 2048;
  };
  EXPECT_EQ(Run(1), 0);
  EXPECT_EQ(FakeCublasLt().algorithms, std::vector<uint64_t>{kFakePlainAlgorithm});
}

TEST_F(GemmPlansTest, AShapeThatNoAlgorithmTakesIsNamed) {
  FakeCublasLt().refuses = [](uint64_t, uint64_t) { return true; };
  const ErrorCode code = Run(7);
  ASSERT_GE(code, kFirstGemmError);
  EXPECT_EQ(gemm_->Describe(code),
            "CUBLAS_STATUS_NOT_SUPPORTED: no algorithm takes these sizes and types; x [7, 4] times W [3, 4] "
            "transposed, f32 to f32");
  FakeCublasLt().refuses = nullptr;
  EXPECT_EQ(Run(7), 0) << "a failure is not remembered";
}

TEST_F(GemmPlansTest, NothingIsLeftBehind) {
  for (const int64_t tokens : {1, 2, 3}) Run(tokens);
  gemm_.reset();
  EXPECT_EQ(FakeCublasLt().layouts, 0);
  EXPECT_EQ(FakeCublasLt().products, 0);
}

}  // namespace
}  // namespace ropeway::cuda::emulation
