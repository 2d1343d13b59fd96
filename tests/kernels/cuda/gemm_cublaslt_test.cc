// What Gemm makes of the algorithms that cuBLASLt proposes, with a library of the test's own.
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/splitmix.h"
#include "engine/kernels/cuda/cublaslt_gemm.h"
#include "engine/tensor/half.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/kernels/cuda/fake_cublaslt.h"

namespace ropeway::cuda {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kOutputs = 300, kColumns = 16, kStride = kOutputs + 8, kMostTokens = 300;

std::vector<uint16_t> Numbers(int64_t count, uint64_t seed) {
  std::vector<uint16_t> numbers(count);
  for (int64_t i = 0; i < count; ++i)
    numbers[i] = FloatToBFloat16(static_cast<float>(2 * UnitInterval(seed, i) - 1));
  return numbers;
}

class GemmCublasLtTest : public testing::TestWithParam<Element> {
 protected:
  GemmCublasLtTest() { TheFakeLibrary() = {}; }

  void Prepare(int64_t tokens, bool search = true) {
    const char* error = nullptr;
    gemm_.reset(MakeCublasLtGemm({.search = search}, FakeOwnProduct, &error));
    args_.tokens = tokens;
    ASSERT_EQ(gemm_->Prepare(args_, {}), 0);
  }
  // Of any number of tokens up to those.
  void ExpectOwnBytes() {
    const int64_t most = args_.tokens;
    for (int64_t tokens = 1; tokens <= most; tokens += tokens < 40 ? 1 : 13) {
      args_.tokens = tokens;
      std::fill(y_.begin(), y_.end(), 0x77);
      ASSERT_EQ(gemm_->Run(args_, {}), 0);
      const std::vector<uint8_t> got = y_;
      FakeOwnProduct({.weights = {DenseType(Element::kBF16), kOutputs, kColumns, weights_.data()},
                      .element = Element::kBF16,
                      .out = GetParam(),
                      .num_tokens = tokens,
                      .x = x_.data(),
                      .y = y_.data(),
                      .y_stride = kStride},
                     {});
      EXPECT_TRUE(got == y_) << "T " << tokens;
    }
  }
  std::string Choices() const { return gemm_->Choices().at(0); }

  std::unique_ptr<Gemm> gemm_;
  std::vector<uint16_t> weights_ = Numbers(kOutputs * kColumns, 1), x_ = Numbers(kMostTokens * kColumns, 2);
  std::vector<uint8_t> y_ = std::vector<uint8_t>(kMostTokens * kStride * BytesOf(GetParam()));
  GemmArgs args_ = {.outputs = kOutputs,
                    .columns = kColumns,
                    .element = Element::kBF16,
                    .out = GetParam(),
                    .x = x_.data(),
                    .weights = weights_.data(),
                    .y = y_.data(),
                    .y_stride = kStride};
};

TEST_P(GemmCublasLtTest, TheFastestIsChosenAndWithoutASearchTheFirst) {
  TheFakeLibrary().algorithms = {{.milliseconds = 2}, {.milliseconds = 1}};
  Prepare(16);
  EXPECT_THAT(Choices(), HasSubstr("tile 2"));
  Prepare(16, /*search=*/false);
  EXPECT_THAT(Choices(), HasSubstr("tile 1"));
}

// A small product does not tell.
TEST_P(GemmCublasLtTest, AnAlgorithmThatIsWrongInALargeProductAloneIsRefused) {
  TheFakeLibrary().algorithms = {
      {.result = [](const FakeOutput& at) { return at.row < 290 ? FakeResult::kRight : FakeResult::kWrong; }},
      {.milliseconds = 2}};
  for (const bool search : {true, false}) {
    Prepare(kMostTokens, search);
    EXPECT_THAT(Choices(), HasSubstr("up to 512 tokens algorithm 0, tile 2"));
    ExpectOwnBytes();
  }
}

TEST_P(GemmCublasLtTest, AnAlgorithmThatIsWrongForFewerTokensThanItWasTimedWithIsRefused) {
  TheFakeLibrary().algorithms = {{.result =
                                      [](const FakeOutput& at) {
                                        const bool is_part = at.outputs == kOutputs && at.tokens % 16 != 0;
                                        return is_part ? FakeResult::kWrong : FakeResult::kRight;
                                      }},
                                 {.milliseconds = 2}};
  Prepare(256);
  ExpectOwnBytes();
}

TEST_P(GemmCublasLtTest, AnAlgorithmThatLeavesOutputsAsTheyWereIsRefused) {
  TheFakeLibrary().algorithms = {{.result = [](const FakeOutput& at) {
    return at.outputs == kOutputs && at.token == at.tokens - 1 ? FakeResult::kNone : FakeResult::kRight;
  }}};
  Prepare(200);
  EXPECT_THAT(Choices(), HasSubstr("up to 256 tokens our own kernel, 1 refused"));
  ExpectOwnBytes();
}

TEST_P(GemmCublasLtTest, WhereTheLibraryHasNoneOurOwnKernelMultiplies) {
  Prepare(17);
  EXPECT_THAT(gemm_->Choices(),
              ElementsAre(HasSubstr("up to 16 tokens our own kernel; up to 32 tokens our own kernel")));
  ExpectOwnBytes();
}

INSTANTIATE_TEST_SUITE_P(Types, GemmCublasLtTest, testing::Values(Element::kBF16, Element::kF32));

}  // namespace
}  // namespace ropeway::cuda
