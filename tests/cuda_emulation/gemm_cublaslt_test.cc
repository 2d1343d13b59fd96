// The call site of cuBLASLt, against a stand-in with the library's documented semantics.
#include <chrono>
#include <cstdio>
#include <fstream>
#include <memory>
#include <sstream>
#include <tuple>
#include <vector>

#include "engine/base/splitmix.h"
#include "engine/kernels/cuda/cublaslt_gemm.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cuda_emulation/fake_cublaslt.h"
#include "tests/cuda_emulation/host_elements.h"
#include "tests/cuda_emulation/host_matmul.h"
#include "tests/kernels/cuda/product_sweep.h"

namespace ropeway::cuda::emulation {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

int own_products = 0;

// In the place of our own kernel.
ErrorCode OwnMatMul(const MatMulArgs& args, Stream) {
  ++own_products;
  const auto weight_row = [&](int64_t m) {
    std::vector<float> row(args.weights.columns);
    for (size_t k = 0; k < row.size(); ++k)
      row[k] = LoadElement(args.element, args.weights.data, m * args.weights.columns + k);
    return row;
  };
  MultiplyOnHost({.tokens = args.num_tokens,
                  .outputs = args.weights.rows,
                  .columns = args.weights.columns,
                  .element = args.element,
                  .x = args.x,
                  .weight_row = weight_row,
                  .store = [&](int64_t t, int64_t m, float sum) {
                    StoreElement(args.out, args.y, t * args.y_stride + m, sum);
                  }});
  return 0;
}

std::unique_ptr<Gemm> Make(const GemmOptions& options = {}) {
  const char* error = nullptr;
  std::unique_ptr<Gemm> gemm(MakeCublasLtGemm(options, OwnMatMul, &error));
  EXPECT_NE(gemm, nullptr) << error;
  return gemm;
}

// Small integers, whose products are exact in every type.
std::vector<uint8_t> Numbers(Element element, int64_t count, uint64_t seed) {
  std::vector<uint8_t> bytes(count * BytesOf(element));
  for (int64_t i = 0; i < count; ++i)
    StoreElement(element, bytes.data(), i, static_cast<float>(SplitMix(seed * kGoldenRatio64 + i) % 7) - 3);
  return bytes;
}

class GemmCublasLtTest : public ::testing::TestWithParam<std::tuple<Element, Element>> {};

TEST_P(GemmCublasLtTest, MultipliesRowMajorMatrices) {
  const auto [element, out] = GetParam();
  TheFakeLibrary() = {};
  constexpr int64_t kTokens = 5, kOutputs = 7, kColumns = 24, kYStride = 9;
  const auto gemm = Make();
  const auto x = Numbers(element, kTokens * kColumns, 1), weights = Numbers(element, kOutputs * kColumns, 2);
  const auto before = Numbers(out, kTokens * kYStride, 3);
  auto y = before;
  ASSERT_EQ(gemm->Run({.tokens = kTokens,
                       .outputs = kOutputs,
                       .columns = kColumns,
                       .element = element,
                       .out = out,
                       .x = x.data(),
                       .weights = weights.data(),
                       .y = y.data(),
                       .y_stride = kYStride},
                      {}),
            0);
  for (int64_t t = 0; t < kTokens; ++t) {
    for (int64_t m = 0; m < kYStride; ++m) {
      float expected = m < kOutputs ? 0 : LoadElement(out, before.data(), t * kYStride + m);
      for (int64_t k = 0; k < kColumns && m < kOutputs; ++k)
        expected += LoadElement(element, x.data(), t * kColumns + k) *
                    LoadElement(element, weights.data(), m * kColumns + k);
      EXPECT_EQ(LoadElement(out, y.data(), t * kYStride + m), expected) << t << ", " << m;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, GemmCublasLtTest,
                         ::testing::Values(std::tuple(Element::kF32, Element::kF32),
                                           std::tuple(Element::kBF16, Element::kBF16),
                                           std::tuple(Element::kBF16, Element::kF32),
                                           std::tuple(Element::kF16, Element::kF16),
                                           std::tuple(Element::kF16, Element::kF32)));

class GemmChoiceTest : public ::testing::Test {
 protected:
  static constexpr int64_t kMost = 200, kOutputs = 3;

  void SetUp() override {
    TheFakeLibrary() = {};
    own_products = 0;
  }
  void TearDown() override {
    EXPECT_EQ(TheFakeLibrary().layouts, 0);
    EXPECT_EQ(TheFakeLibrary().products, 0);
    EXPECT_EQ(TheFakeLibrary().allocations, 0);
    EXPECT_EQ(TheFakeLibrary().copies, 0);
    EXPECT_EQ(TheFakeLibrary().events, 0);
  }

  // Products of one weight matrix with so many tokens.
  GemmArgs Args(int64_t tokens, Element element = Element::kBF16, int64_t columns = 64) {
    return {.tokens = tokens,
            .outputs = kOutputs,
            .columns = columns,
            .element = element,
            .out = element,
            .x = x_.data(),
            .weights = weights_.data(),
            .y = y_.data(),
            .y_stride = kOutputs};
  }
  // The algorithms of products with these numbers of tokens.
  std::vector<uint64_t> Run(Gemm& gemm, const std::vector<int64_t>& tokens, Element element = Element::kBF16,
                            int64_t columns = 64) {
    for (const int64_t t : tokens) EXPECT_EQ(gemm.Run(Args(t, element, columns), {}), 0);  // choose first
    TheFakeLibrary().algorithms.clear();
    for (const int64_t t : tokens) EXPECT_EQ(gemm.Run(Args(t, element, columns), {}), 0);
    return TheFakeLibrary().algorithms;
  }

  static constexpr int64_t kRoom = kMost + 5;  // in tokens
  const std::vector<float> x_ = std::vector<float>(kRoom * 64), weights_ = std::vector<float>(kOutputs * 64);
  std::vector<float> y_ = std::vector<float>(kRoom * kOutputs);
};

TEST_F(GemmChoiceTest, Float32HasOneAlgorithmForAllTokensThatDoesNotSplitK) {
  const auto gemm = Make();
  EXPECT_EQ(gemm->Prepare(Args(kMost, Element::kF32), {}), 0);
  EXPECT_THAT(Run(*gemm, {1, 30, 200}, Element::kF32), Each(FakeAlgorithmFor(64)));
  EXPECT_EQ(TheFakeLibrary().heuristics, 1);
}

TEST_F(GemmChoiceTest, AnAlgorithmThatDoesNotDoForManyTokensIsNotTakenForFewOfFloat32) {
  TheFakeLibrary().refuses = [](uint64_t algorithm, uint64_t n) {
    return algorithm == FakeAlgorithmFor(64) && n == 2048;
  };
  EXPECT_THAT(Run(*Make(), {1, 30, 200}, Element::kF32), Each(kFakePlainAlgorithm));
}

// No request may meet the number of tokens for which there is nothing.
TEST_F(GemmChoiceTest, WithoutAKernelOfOurOwnEachNumberOfTokensIsAskedForAtTheStart) {
  const std::pair<Element, int64_t> kinds[] = {{Element::kF32, 64}, {Element::kBF16, 60}};
  for (const auto& [element, columns] : kinds) {
    TheFakeLibrary().refuses = [](uint64_t algorithm, uint64_t n) {
      return algorithm == FakeAlgorithmFor(64) && n == 3;
    };
    const auto gemm = Make();
    EXPECT_EQ(gemm->Prepare(Args(kMost, element, columns), {}), 0);
    EXPECT_THAT(Run(*gemm, {1, 3, 30, 200}, element, columns), Each(kFakePlainAlgorithm));
    TheFakeLibrary().refuses = [](uint64_t, uint64_t n) { return n == 3; };
    const auto another = Make();
    const ErrorCode code = another->Prepare(Args(kMost, element, columns), {});
    ASSERT_GE(code, kFirstGemmError);
    EXPECT_THAT(another->Describe(code), HasSubstr("no algorithm takes these sizes and types"));
    EXPECT_EQ(Make()->Prepare(Args(2, element, columns), {}), 0) << "there will be no 3 tokens";
  }
}

TEST_F(GemmChoiceTest, EachNumberOfTokensIsAskedForOnceAShape) {
  const auto gemm = Make();
  for (int layer = 0; layer < 3; ++layer) EXPECT_EQ(gemm->Prepare(Args(kMost, Element::kF32), {}), 0);
  EXPECT_LE(TheFakeLibrary().checks, kMost + 4) << "and once more of candidates";
  TheFakeLibrary().refuses = [](uint64_t algorithm, uint64_t n) {
    return algorithm == FakeAlgorithmFor(64) && n == 203;
  };
  EXPECT_EQ(gemm->Prepare(Args(kMost + 5, Element::kF32), {}), 0);
  EXPECT_THAT(Run(*gemm, {1, 203}, Element::kF32), Each(kFakePlainAlgorithm));
}

TEST_F(GemmChoiceTest, AnAlgorithmThatAddsUpPartsIsNotTakenHoweverManyItSaysThereAre) {
  TheFakeLibrary().offers = [](uint64_t) {
    return std::vector<FakeAlgorithm>{{.number = 1, .reduction = 1}, {.number = 2, .milliseconds = 9}};
  };
  for (const Element element : {Element::kBF16, Element::kF32}) {
    const auto gemm = Make();
    EXPECT_EQ(gemm->Prepare(Args(kMost, element), {}), 0);
    EXPECT_THAT(Run(*gemm, {1, 30, 200}, element), Each(2));
  }
}

// Our own kernel takes no such rows: nothing tells whether two algorithms give the same bytes.
TEST_F(GemmChoiceTest, RowsOfOddWidthHaveOneAlgorithmForAllTokens) {
  const auto gemm = Make();
  EXPECT_EQ(gemm->Prepare(Args(kMost, Element::kBF16, 60), {}), 0);
  EXPECT_THAT(Run(*gemm, {1, 30, 200}, Element::kBF16, 60), Each(FakeAlgorithmFor(64)));
  EXPECT_EQ(own_products, 0);
}

std::vector<FakeAlgorithm> ManyAlgorithms(uint64_t n) {
  return {{.number = 1, .milliseconds = 5},
          {.number = 2, .splits = 2, .milliseconds = 1},
          {.number = 3, .keeps_rule = false, .milliseconds = 2},
          {.number = 4, .workspace_bytes = 64, .milliseconds = 1},
          {.number = 5, .milliseconds = n > 64 ? 9.0f : 3.0f},
          {.number = 6, .milliseconds = n > 64 ? 4.0f : 6.0f}};
}

TEST_F(GemmChoiceTest, TheFastestThatKeepsTheRuleIsTaken) {
  TheFakeLibrary().offers = ManyAlgorithms;
  const auto gemm = Make();
  EXPECT_EQ(gemm->Prepare(Args(kMost), {}), 0);
  EXPECT_THAT(Run(*gemm, {1, 17, 64, 65, 128, 200}), ElementsAre(5, 5, 5, 6, 6, 6));
  ASSERT_EQ(gemm->Choices().size(), 1);
  EXPECT_THAT(gemm->Choices()[0], HasSubstr("W [3, 64] transposed, bf16 to bf16: up to 16 tokens algorithm 5 "
                                            "(3.000000 ms), 1 refused; up to 32 tokens"));
}

// As an H100's are where y has many tiles.
TEST_F(GemmChoiceTest, AnAlgorithmWhoseCheckTellsOfACounterIsTaken) {
  TheFakeLibrary().offers = [](uint64_t) {
    return std::vector<FakeAlgorithm>{{.number = 4, .workspace_bytes = 64},
                                      {.number = 7, .counter_bytes = 4}};
  };
  for (const Element element : {Element::kBF16, Element::kF32}) {
    const auto gemm = Make();
    EXPECT_EQ(gemm->Prepare(Args(kMost, element), {}), 0);
    EXPECT_THAT(Run(*gemm, {1, 200}, element), Each(7));
  }
}

TEST_F(GemmChoiceTest, WithoutASearchTheEstimateDecidesAmongThoseThatKeepTheRule) {
  TheFakeLibrary().offers = ManyAlgorithms;
  const auto gemm = Make({.search = false});
  EXPECT_EQ(gemm->Prepare(Args(kMost), {}), 0);
  EXPECT_THAT(Run(*gemm, {1, 17, 200}), Each(1));
  EXPECT_EQ(TheFakeLibrary().events, 0) << "nothing is timed";
}

TEST_F(GemmChoiceTest, WhereNoneKeepsTheRuleOurOwnKernelDoes) {
  for (const auto& offered :
       {std::vector<FakeAlgorithm>{{.number = 3, .keeps_rule = false}},
        std::vector<FakeAlgorithm>{{.number = 2, .splits = 2}}, std::vector<FakeAlgorithm>{}}) {
    TheFakeLibrary().offers = [offered](uint64_t) { return offered; };
    const auto gemm = Make();
    EXPECT_EQ(gemm->Prepare(Args(kMost), {}), 0);
    EXPECT_THAT(Run(*gemm, {1, 100}), IsEmpty());
    EXPECT_THAT(gemm->Choices(), ElementsAre(HasSubstr("up to 128 tokens our own kernel")));
  }
  EXPECT_GT(own_products, 0);
}

TEST_F(GemmChoiceTest, WhatIsRefusedForANumberOfTokensOurOwnKernelMultiplies) {
  TheFakeLibrary().refuses = [](uint64_t, uint64_t n) { return n == 100; };
  const auto gemm = Make();
  EXPECT_EQ(gemm->Prepare(Args(kMost), {}), 0);
  EXPECT_THAT(Run(*gemm, {100}), IsEmpty());
  EXPECT_THAT(Run(*gemm, {101}), ElementsAre(FakeAlgorithmFor(128)));
}

TEST_F(GemmChoiceTest, AnAlgorithmThatIsRefusedWhereItIsTimedIsNotTaken) {
  TheFakeLibrary().offers = ManyAlgorithms;
  TheFakeLibrary().refuses = [](uint64_t algorithm, uint64_t n) { return algorithm == 6 && n == 200; };
  const auto gemm = Make();
  EXPECT_EQ(gemm->Prepare(Args(kMost), {}), 0);
  EXPECT_THAT(Run(*gemm, {128, 199}), ElementsAre(6, 1));
}

TEST_F(GemmChoiceTest, AShapeThatNoAlgorithmTakesIsNamed) {
  TheFakeLibrary().refuses = [](uint64_t, uint64_t) { return true; };
  const auto gemm = Make();
  for (const ErrorCode code :
       {gemm->Prepare(Args(7, Element::kF32), {}), gemm->Run(Args(7, Element::kF32), {})}) {
    ASSERT_GE(code, kFirstGemmError);
    EXPECT_EQ(
        gemm->Describe(code),
        "CUBLAS_STATUS_NOT_SUPPORTED: no algorithm takes these sizes and types; x [7, 64] times W [3, 64] "
        "transposed, f32 to f32");
  }
  TheFakeLibrary().refuses = nullptr;
  EXPECT_EQ(gemm->Run(Args(7, Element::kF32), {}), 0) << "a failure is not remembered";
}

TEST_F(GemmChoiceTest, MemoryThatIsShortIsAnErrorAndNoVerdict) {
  const auto gemm = Make();
  for (const int64_t succeed : {0, 1, 2}) {  // of x, W and y
    TheFakeLibrary().allocations_left = succeed;
    EXPECT_EQ(gemm->Prepare(Args(kMost), {}), 2) << "cudaErrorMemoryAllocation";
    EXPECT_EQ(TheFakeLibrary().copies, 0) << "of numbers that are no more";
  }
  TheFakeLibrary().allocations_left = 1000;
  EXPECT_EQ(gemm->Prepare(Args(kMost), {}), 0);
  EXPECT_THAT(Run(*gemm, {30}), ElementsAre(FakeAlgorithmFor(32)));
}

// A part of a projection begins in the middle of a row of y: what needs more than is there would lose the device.
TEST_F(GemmChoiceTest, AnAlgorithmIsTakenWhereYIsAlignedAsItNeeds) {
  TheFakeLibrary().offers = [](uint64_t) {
    return std::vector<FakeAlgorithm>{{.number = 1, .milliseconds = 1, .alignment = 16},
                                      {.number = 2, .milliseconds = 3, .alignment = 4}};
  };
  alignas(256) float y[(kMost + 1) * kOutputs] = {};
  for (const Element element : {Element::kBF16, Element::kF32}) {
    const auto gemm = Make();
    for (const auto& [first, algorithm] :
         {std::pair(0, 1), std::pair(1, 2), std::pair(4, 1), std::pair(6, 2)}) {
      GemmArgs args = Args(kMost, element);
      args.y = y + first;
      ASSERT_EQ(gemm->Prepare(args, {}), 0) << first;
      args.tokens = 30;
      TheFakeLibrary().algorithms.clear();
      ASSERT_EQ(gemm->Run(args, {}), 0) << first;
      EXPECT_THAT(TheFakeLibrary().algorithms, ElementsAre(algorithm)) << first;
    }
  }
}

// Products of more outputs than the small one has that algorithms are first held to, of numbers whose sums are rounded.
class GemmLargeProductTest : public GemmChoiceTest {
 protected:
  static constexpr int64_t kManyOutputs = 300, kColumns = 64, kStride = kManyOutputs + 4;

  static std::vector<float> Fractions(int64_t count, uint64_t seed) {
    std::vector<float> numbers(count);
    for (int64_t i = 0; i < count; ++i) numbers[i] = static_cast<float>(2 * UnitInterval(seed, i) - 1);
    return numbers;
  }
  static std::vector<uint8_t> Rounded(const std::vector<float>& numbers) {
    std::vector<uint8_t> bytes(numbers.size() * 2);
    for (size_t i = 0; i < numbers.size(); ++i) StoreElement(Element::kBF16, bytes.data(), i, numbers[i]);
    return bytes;
  }
  // Prepares for kMost tokens, tells the choices, and holds fewer tokens to our own kernel.
  std::string Choose(std::vector<FakeAlgorithm> offered) {
    TheFakeLibrary().offers = [offered](uint64_t) { return offered; };
    const auto gemm = Make();
    const auto x = Rounded(Fractions(kMost * kColumns, 1)),
               weights = Rounded(Fractions(kManyOutputs * kColumns, 2));
    std::vector<float> y(kMost * kStride), own(kMost * kStride);
    GemmArgs args = {.tokens = kMost,
                     .outputs = kManyOutputs,
                     .columns = kColumns,
                     .element = Element::kBF16,
                     .out = Element::kF32,
                     .x = x.data(),
                     .weights = weights.data(),
                     .y = y.data(),
                     .y_stride = kStride};
    EXPECT_EQ(gemm->Prepare(args, {}), 0);
    for (args.tokens = 1; args.tokens <= kMost; args.tokens += 9) {
      std::fill(y.begin(), y.end(), 7.0f);
      own = y;
      EXPECT_EQ(gemm->Run(args, {}), 0);
      OwnMatMul({.weights = {DType::kBF16, kManyOutputs, kColumns, weights.data()},
                 .element = Element::kBF16,
                 .out = Element::kF32,
                 .num_tokens = args.tokens,
                 .x = x.data(),
                 .y = own.data(),
                 .y_stride = kStride},
                {});
      EXPECT_TRUE(y == own) << "T " << args.tokens;
    }
    return gemm->Choices().at(0);
  }
};

TEST_F(GemmLargeProductTest, AnAlgorithmThatBreaksTheRuleThereAloneIsRefused) {
  EXPECT_THAT(
      Choose({{.number = 1, .milliseconds = 1, .wrong_outputs = 300}, {.number = 2, .milliseconds = 2}}),
      HasSubstr("up to 256 tokens algorithm 2 (2.000000 ms), 1 refused"));
}

TEST_F(GemmLargeProductTest, AnAlgorithmThatBreaksTheRuleForFewerTokensThanItIsTimedWithIsRefused) {
  EXPECT_THAT(Choose({{.number = 1, .milliseconds = 1, .whole_tokens = 8}, {.number = 2, .milliseconds = 2}}),
              HasSubstr("up to 16 tokens algorithm 2 (2.000000 ms), 1 refused"));
}

TEST_F(GemmLargeProductTest, WhereAllBreakTheRuleThereOurOwnKernelMultiplies) {
  EXPECT_THAT(Choose({{.number = 1, .wrong_outputs = 257}}),
              HasSubstr("up to 256 tokens our own kernel, 1 refused"));
}

// What the test of a real device does with every algorithm (product_sweep.h): a row that no check looks at is found.
TEST_F(GemmLargeProductTest, ASweepComparesAllRows) {
  TheFakeLibrary().offers = [](uint64_t) {
    return std::vector<FakeAlgorithm>{
        {.number = 1}, {.number = 2, .keeps_rule = false}, {.number = 3, .wrong_token = 100}};
  };
  const auto x = Rounded(Fractions(kMost * kColumns, 1)),
             weights = Rounded(Fractions(kManyOutputs * kColumns, 2));
  std::vector<float> y(kMost * kStride);
  CublasLt library;
  ASSERT_EQ(library.Init(), CUBLAS_STATUS_SUCCESS);
  ProductSweep sweep(library, OwnMatMul, 4,
                     {.tokens = kMost,
                      .outputs = kManyOutputs,
                      .columns = kColumns,
                      .element = Element::kBF16,
                      .out = Element::kF32,
                      .x = x.data(),
                      .weights = weights.data(),
                      .y = y.data(),
                      .y_stride = kStride},
                     {});
  SweepReport report;
  ASSERT_EQ(sweep.Run(std::vector<int64_t>{1, 17, kMost}, std::chrono::hours(1), &report), 0);
  EXPECT_EQ(report.candidates, 9);
  EXPECT_EQ(report.accepted, 6);
  EXPECT_EQ(report.products, 1 + 9 * 2 + 6);
  EXPECT_THAT(report.wrong, ElementsAre("algorithm 3, T 200, first in row 100"));
  SweepReport none;
  ASSERT_EQ(sweep.Run(std::vector<int64_t>{1}, std::chrono::seconds(-1), &none), 0);
  EXPECT_TRUE(none.ended_early);
}

class GemmFileTest : public GemmChoiceTest {
 protected:
  void SetUp() override {
    GemmChoiceTest::SetUp();
    TheFakeLibrary().offers = ManyAlgorithms;
    std::remove(path_.c_str());
  }
  // How many products Prepare took, and what it chose for 17 tokens.
  std::pair<size_t, std::vector<uint64_t>> Prepare() {
    const auto gemm = Make({.cache_path = path_});
    TheFakeLibrary().algorithms.clear();
    EXPECT_EQ(gemm->Prepare(Args(32), {}), 0);
    const size_t products = TheFakeLibrary().algorithms.size();
    return {products, Run(*gemm, {17})};
  }
  const std::string path_ = ::testing::TempDir() + "kept_gemm_choices";
};

TEST_F(GemmFileTest, ASearchIsMadeOncePerDeviceAndLibrary) {
  const auto [searched, chosen] = Prepare();
  EXPECT_THAT(chosen, ElementsAre(5));
  TheFakeLibrary().offers = [](uint64_t n) {
    std::vector<FakeAlgorithm> offered = ManyAlgorithms(n);
    offered[0].milliseconds = 0.1f;  // measured again, it would be chosen
    return offered;
  };
  const auto [again, kept] = Prepare();
  EXPECT_LT(again, searched);
  EXPECT_THAT(kept, ElementsAre(5));
  TheFakeLibrary().version = 130200;
  EXPECT_THAT(Prepare().second, ElementsAre(1)) << "of another library";
}

TEST_F(GemmFileTest, AFileOfAnotherDeviceIsToldAndReplaced) {
  const auto lines = [&] {
    const auto gemm = Make({.cache_path = path_});
    EXPECT_EQ(gemm->Prepare(Args(32), {}), 0);
    return gemm->Choices();
  };
  EXPECT_THAT(lines(), ElementsAre(HasSubstr("bf16")));
  TheFakeLibrary().device = "another device";
  EXPECT_THAT(lines(), ElementsAre(HasSubstr("bf16"), HasSubstr("is not read: it is of another device")));
  EXPECT_THAT(lines(), ElementsAre(HasSubstr("bf16"))) << "it was written anew";
}

TEST_F(GemmFileTest, AFileChoosesOnlyAmongWhatKeepsTheRule) {
  Prepare();
  std::stringstream text;
  text << std::ifstream(path_).rdbuf();
  std::string wrong = text.str();
  for (size_t at = 0; (at = wrong.find(" 5 0 0 0 0 0 0\n", at)) != std::string::npos; ++at)
    wrong[at + 1] = '3';
  ASSERT_NE(wrong, text.str());
  std::ofstream(path_) << wrong;
  EXPECT_THAT(Prepare().second, ElementsAre(5));
}

TEST_F(GemmFileTest, AFileThatCannotBeWrittenIsTold) {
  const auto gemm = Make({.cache_path = ::testing::TempDir() + "no_such_folder/choices"});
  EXPECT_EQ(gemm->Prepare(Args(32), {}), 0);
  EXPECT_THAT(gemm->Choices(), ElementsAre(HasSubstr("bf16"), HasSubstr("could not be written")));
}

}  // namespace
}  // namespace ropeway::cuda::emulation
