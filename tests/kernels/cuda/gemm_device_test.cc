// cuBLASLt on a real device: every algorithm that Gemm may choose gives the bytes of our own kernel, for every
// number of tokens.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "engine/kernels/cuda/cublaslt.h"
#include "engine/kernels/cuda/cublaslt_gemm.h"
#include "engine/kernels/cuda/gemm_check.h"
#include "engine/kernels/cuda/launchers.h"
#include "gtest/gtest.h"
#include "tests/kernels/cuda/device_test.h"
#include "tests/kernels/cuda/element_values.h"
#include "tests/kernels/cuda/product_sweep.h"

namespace ropeway::cuda {
namespace {

constexpr int64_t kTokens[] = {1, 2, 7, 8, 17, 64, 128, 200, 256, 512, 2048};
constexpr int64_t kMost = 2048;

struct Shape {
  int64_t rows, columns;
};
constexpr Shape kShapes[] = {{576, 576}, {512, 4096}, {256, 14336}};

class GemmDeviceTest : public DeviceTest, public testing::WithParamInterface<std::tuple<Element, Element>> {
 protected:
  // A matrix, tokens, and what our own kernel makes of them.
  void Prepare(const Shape& shape) {
    const auto [element, out] = GetParam();
    DeviceInfo info;
    Check(runtime().Info(&info));
    processors_ = info.processors;
    args_ = {.tokens = kMost,
             .outputs = shape.rows,
             .columns = shape.columns,
             .element = element,
             .out = out,
             .x = Upload(Encode(element, RandomValues(element, kMost * shape.columns, 1))),
             .weights = Upload(Rows(shape)),
             .y = Allocate<uint8_t>(Bytes(kMost, shape.rows, out)),
             .y_stride = shape.rows};
    own_ = Own(kMost);
  }
  // Many rows are some again.
  static std::vector<uint8_t> Rows(const Shape& shape) {
    const Element element = std::get<0>(GetParam());
    const int64_t different = std::min<int64_t>(shape.rows, 1000);
    const std::vector<uint8_t> some =
        Encode(element, RandomValues(element, different * shape.columns, 2, 0.02f));
    std::vector<uint8_t> rows(shape.rows * shape.columns * BytesOf(element));
    for (size_t at = 0; at < rows.size(); at += some.size())
      std::copy_n(some.begin(), std::min(some.size(), rows.size() - at), rows.begin() + at);
    return rows;
  }
  static int64_t Bytes(int64_t tokens, int64_t rows, Element out) { return tokens * rows * BytesOf(out); }

  GemmArgs ArgsFor(int64_t tokens) const {
    GemmArgs args = args_;
    args.tokens = tokens;
    return args;
  }
  std::vector<uint8_t> Result(int64_t tokens) {
    return Download(static_cast<const uint8_t*>(args_.y), Bytes(tokens, args_.outputs, args_.out));
  }
  std::vector<uint8_t> Own(int64_t tokens) {
    Check(DenseMatMul({.weights = {DenseType(args_.element), args_.outputs, args_.columns, args_.weights},
                       .element = args_.element,
                       .out = args_.out,
                       .num_tokens = tokens,
                       .processors = processors_,
                       .x = args_.x,
                       .y = args_.y,
                       .y_stride = args_.y_stride},
                      stream()));
    return Result(tokens);
  }
  void ExpectOwnBytes(int64_t tokens, const char* what) {
    const std::vector<uint8_t> got = Result(tokens);
    EXPECT_TRUE(std::equal(got.begin(), got.end(), own_.begin()))
        << what << ", T " << tokens << " M " << args_.outputs << " K " << args_.columns;
  }

  GemmArgs args_;
  int processors_ = 1;
  std::vector<uint8_t> own_;
};

TEST_P(GemmDeviceTest, OurOwnKernelKeepsTheRuleForAnyNumberOfTokens) {
  for (const Shape& shape : kShapes) {
    Prepare(shape);
    for (const int64_t tokens : kTokens) {
      Own(tokens);
      ExpectOwnBytes(tokens, "our own kernel");
    }
  }
}

// How many of the candidates were seen to keep the rule is told, and no failure: another device may have
// another rule.
TEST_P(GemmDeviceTest, EveryAlgorithmThatPassesTheCheckGivesOurBytes) {
  CublasLt library;
  ASSERT_EQ(library.Init(), CUBLAS_STATUS_SUCCESS);
  for (const Shape& shape : kShapes) {
    Prepare(shape);
    GemmCheck check(library, DenseMatMul, processors_);
    int candidates = 0, kept = 0;
    for (const int64_t tokens : kTokens) {
      Layouts layouts;
      ASSERT_EQ(layouts.Make(ShapeOf(args_), tokens), CUBLAS_STATUS_SUCCESS);
      std::vector<cublasLtMatmulAlgo_t> algorithms;
      ASSERT_EQ(library.Candidates(layouts, kMatrixAlignment, &algorithms), CUBLAS_STATUS_SUCCESS);
      for (const cublasLtMatmulAlgo_t& algorithm : algorithms) {
        bool keeps = false;
        Check(check.KeepsRule(ShapeOf(args_), tokens, algorithm, stream(), &keeps));
        ++candidates;
        if (!keeps) continue;
        ++kept;
        ASSERT_EQ(library.Multiply(ArgsFor(tokens), layouts, algorithm, stream()), CUBLAS_STATUS_SUCCESS);
        ExpectOwnBytes(tokens, ToString(NameOf(algorithm)).c_str());
      }
    }
    std::printf("M %ld K %ld: %d of %d algorithms keep the rule of sums\n", static_cast<long>(shape.rows),
                static_cast<long>(shape.columns), kept, candidates);
  }
}

TEST_P(GemmDeviceTest, WhatASearchChoosesGivesOurBytes) {
  for (const bool search : {true, false}) {
    const char* error = nullptr;
    const std::unique_ptr<Gemm> gemm(MakeCublasLtGemm({.search = search}, DenseMatMul, &error));
    ASSERT_NE(gemm, nullptr) << error;
    for (const Shape& shape : kShapes) {
      Prepare(shape);
      ASSERT_EQ(gemm->Prepare(args_, stream()), 0);
      for (const int64_t tokens : kTokens) {
        ASSERT_EQ(gemm->Run(ArgsFor(tokens), stream()), 0);
        ExpectOwnBytes(tokens, "the library");
      }
    }
    for (const std::string& line : gemm->Choices()) std::printf("%s\n", line.c_str());
  }
}

// Gate and up of an 8B, for which some algorithms do otherwise than for a few hundred rows.
TEST_P(GemmDeviceTest, WhatIsChosenForALargeProductGivesOurBytes) {
  const char* error = nullptr;
  const std::unique_ptr<Gemm> gemm(MakeCublasLtGemm({.search = true}, DenseMatMul, &error));
  ASSERT_NE(gemm, nullptr) << error;
  Prepare({28672, 4096});
  ASSERT_EQ(gemm->Prepare(args_, stream()), 0);
  for (const int64_t tokens : {17, 32, 40, 64, 65, 100, 128, 200, 300}) {
    ASSERT_EQ(gemm->Run(ArgsFor(tokens), stream()), 0);
    ExpectOwnBytes(tokens, "the library");
  }
}

// Gate and up, and down, of an 8B: several hundred products of 0.1 to some milliseconds each.
class GemmLargeProductDeviceTest : public GemmDeviceTest {};

TEST_P(GemmLargeProductDeviceTest, WhatIsAcceptedGivesOurBytesInAllRows) {
  CublasLt library;
  ASSERT_EQ(library.Init(), CUBLAS_STATUS_SUCCESS);
  for (const Shape& shape : {Shape{28672, 4096}, Shape{4096, 14336}}) {
    Prepare(shape);
    ProductSweep sweep(library, DenseMatMul, processors_, args_, stream());
    SweepReport report;
    Check(sweep.Run(kTokens, std::chrono::seconds(30), &report));
    for (const std::string& wrong : report.wrong) ADD_FAILURE() << wrong << ", M " << shape.rows;
    std::printf("M %ld K %ld: %d of %d algorithms are accepted, in %d products%s\n",
                static_cast<long>(shape.rows), static_cast<long>(shape.columns), report.accepted,
                report.candidates, report.products, report.ended_early ? "; there was no time for more" : "");
  }
}

INSTANTIATE_TEST_SUITE_P(Types, GemmLargeProductDeviceTest,
                         testing::Values(std::tuple(Element::kBF16, Element::kBF16)));

INSTANTIATE_TEST_SUITE_P(Types, GemmDeviceTest,
                         testing::Values(std::tuple(Element::kBF16, Element::kBF16),
                                         std::tuple(Element::kBF16, Element::kF32),
                                         std::tuple(Element::kF16, Element::kF16)));

}  // namespace
}  // namespace ropeway::cuda
