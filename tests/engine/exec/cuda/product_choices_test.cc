// Products of packed weights are made by the kernel that was the fastest for their number of tokens. Time passes here as the
// tests say.
#include "engine/exec/cuda/product_choices.h"

#include <algorithm>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "engine/base/clock.h"
#include "engine/exec/cuda/pass.h"
#include "engine/kernels/cuda/fused_matmul.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cuda_emulation/emulated_runtime.h"
#include "tests/cuda_emulation/host_gemm.h"
#include "tests/cuda_emulation/host_kernels.h"

namespace ropeway::testing {
namespace {

using cuda::Element;
using cuda::ErrorCode;
using cuda::Stream;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

constexpr auto kPacked = ProductKernel::kPacked;
constexpr auto kWarpgroups = ProductKernel::kWarpgroups;
constexpr auto kUnpack = ProductKernel::kUnpack;
constexpr ErrorCode kRefused = 98;

// A device whose kernels do nothing but take time.
struct Device {
  using Cost = std::function<double(ProductKernel kernel, int64_t tokens)>;  // in us

  SimulatedClock clock;
  Cost cost = [](ProductKernel, int64_t) { return 100; };
  std::map<ProductKernel, ErrorCode> errors;
  std::map<std::pair<ProductKernel, int64_t>, int> runs;  // by kernel and tokens
  std::vector<const void*> weights;                       // of all runs, in order

  ErrorCode Run(ProductKernel kernel, int64_t tokens) {
    ++runs[{kernel, tokens}];
    clock.Advance(absl::Microseconds(cost(kernel, tokens)));
    return errors[kernel];
  }
};

// Kernel tables are plain functions.
Device*& TheDevice() {
  static Device* device = nullptr;
  return device;
}

ErrorCode RunOwn(const cuda::MatMulArgs& args, Stream) {
  TheDevice()->weights.push_back(args.weights.data);
  return TheDevice()->Run(args.warpgroups ? kWarpgroups : kPacked, args.num_tokens);
}

ErrorCode RunUnpack(const cuda::UnpackArgs& args, Stream) {
  TheDevice()->weights.push_back(args.weights.data);
  return 0;
}

class TimedGemm final : public cuda::emulation::HostGemm {
 public:
  ErrorCode Prepare(const cuda::GemmArgs& args, Stream) override {
    prepared.push_back(args.tokens);
    return prepare_error;
  }
  ErrorCode Run(const cuda::GemmArgs& args, Stream) override {
    return TheDevice()->Run(args.fresh_weights ? kUnpack : ProductKernel::kGemm, args.tokens);
  }
  std::vector<int64_t> prepared;
  ErrorCode prepare_error = 0;
};

class ProductChoicesTest : public ::testing::Test {
 protected:
  static constexpr int64_t kRows = 128, kColumns = 256, kMostTokens = 256;

  void SetUp() override {
    TheDevice() = &device_;
    kernels_.packed_matmul = kernels_.dense_matmul = RunOwn;
    kernels_.unpack = RunUnpack;
    ASSERT_EQ(runtime_.Bind(), 0);
    ASSERT_EQ(runtime_.CreateStream(&stream_), 0);
  }
  void TearDown() override {
    runtime_.DestroyStream(stream_);
    TheDevice() = nullptr;
  }

  ProductTools Tools() {
    return {.kernels = kernels_,
            .gemm = gemm_,
            .slice = {nullptr, slice_bytes_},
            .stream = stream_,
            .warpgroups = warpgroups_};
  }
  static cuda::MatMulArgs Args(int64_t tokens, const void* data = nullptr) {
    return {.weights = {DType::kQ4_K, kRows, kColumns, data}, .num_tokens = tokens};
  }
  ErrorCode Choose(ProductChoices& choices, const cuda::MatMulArgs& args = Args(kMostTokens)) {
    if (const ErrorCode error = choices.Prepare(args, Tools())) return error;
    return choices.Measure(Tools(), runtime_);
  }
  // For so many tokens, of a device like this.
  std::map<int64_t, ProductKernel> Chosen(const std::vector<int64_t>& tokens) {
    ProductChoices choices(&device_.clock);
    EXPECT_EQ(Choose(choices), 0);
    std::map<int64_t, ProductKernel> chosen;
    for (const int64_t count : tokens) chosen[count] = choices.KernelFor(Args(count));
    return chosen;
  }
  int RunsOf(ProductKernel kernel, int64_t tokens) { return device_.runs[{kernel, tokens}]; }

  Device device_;
  cuda::KernelTable kernels_ = cuda::emulation::HostKernels();
  TimedGemm gemm_;
  int64_t slice_bytes_ = kRows * kColumns * 2;
  bool warpgroups_ = false;
  cuda::emulation::EmulatedRuntime runtime_;
  Stream stream_;
};

using Kernels = std::map<int64_t, ProductKernel>;

TEST_F(ProductChoicesTest, TheFastestIsTaken) {
  device_.cost = [](ProductKernel kernel, int64_t tokens) { return kernel == kPacked ? 2.0 * tokens : 200; };
  EXPECT_EQ(Chosen({1, 65, 96, 97, 128, 129, 256}), (Kernels{{1, kPacked},
                                                             {65, kPacked},
                                                             {96, kPacked},
                                                             {97, kUnpack},
                                                             {128, kUnpack},
                                                             {129, kUnpack},
                                                             {256, kUnpack}}));
  warpgroups_ = true;
  device_.cost = [](ProductKernel kernel, int64_t tokens) {
    return kernel == kPacked ? 2.0 * tokens : kernel == kWarpgroups ? 40 + tokens : 240;
  };
  EXPECT_EQ(Chosen({1, 32, 33, 64, 192, 193, 256}), (Kernels{{1, kPacked},
                                                             {32, kPacked},
                                                             {33, kWarpgroups},
                                                             {64, kWarpgroups},
                                                             {192, kWarpgroups},
                                                             {193, kUnpack},
                                                             {256, kUnpack}}));
}

TEST_F(ProductChoicesTest, ProductsThatMayHaveTheirNeighboursAreNeverUnpacked) {
  warpgroups_ = true;
  device_.cost = [](ProductKernel kernel, int64_t) {
    return kernel == kUnpack ? 1 : kernel == kWarpgroups ? 20 : 30;
  };
  EXPECT_EQ(
      Chosen({1, 8, 9, 16, 17}),
      (Kernels{{1, kWarpgroups}, {8, kWarpgroups}, {9, kWarpgroups}, {16, kWarpgroups}, {17, kUnpack}}));
  EXPECT_EQ(RunsOf(kUnpack, 8), 0);
  EXPECT_EQ(RunsOf(kUnpack, 16), 0);
}

TEST_F(ProductChoicesTest, ThereIsNothingToMeasureForOneKernel) {
  slice_bytes_ = 0;  // not even for a row
  device_.cost = [](ProductKernel kernel, int64_t) { return kernel == kUnpack ? 1 : 30; };
  EXPECT_EQ(Chosen({16, 17, 256}), (Kernels{{16, kPacked}, {17, kPacked}, {256, kPacked}}));
  EXPECT_THAT(device_.runs, IsEmpty());
  EXPECT_THAT(gemm_.prepared, IsEmpty());
}

TEST_F(ProductChoicesTest, FloatsHaveOneKernel) {
  warpgroups_ = true;
  ProductChoices choices(&device_.clock);
  cuda::MatMulArgs args = Args(kMostTokens);
  args.element = args.out = Element::kF32;
  EXPECT_EQ(Choose(choices, args), 0);
  EXPECT_THAT(device_.runs, IsEmpty());
  EXPECT_EQ(choices.KernelFor(args), kPacked);
}

TEST_F(ProductChoicesTest, DenseWeightsGoTheirWay) {
  ProductChoices choices(&device_.clock);
  cuda::MatMulArgs args = Args(kMostTokens);
  args.weights.type = DType::kBF16;
  EXPECT_EQ(Choose(choices, args), 0);
  EXPECT_THAT(device_.runs, IsEmpty());
  EXPECT_THAT(gemm_.prepared, ElementsAre(kMostTokens));
  EXPECT_EQ(choices.KernelFor(args), ProductKernel::kGemm);
  args.num_tokens = 1;
  EXPECT_EQ(choices.KernelFor(args), ProductKernel::kDense);
  EXPECT_THAT(choices.Lines(), IsEmpty());
}

TEST_F(ProductChoicesTest, WarpgroupsCompeteForDenseWeightsOfSomeTokens) {
  warpgroups_ = true;
  device_.cost = [](ProductKernel kernel, int64_t tokens) {
    return kernel != kWarpgroups ? 100 : tokens <= 64 ? 80 : tokens <= 128 ? 102 : 104;
  };
  ProductChoices choices(&device_.clock);
  cuda::MatMulArgs args = Args(2048);
  args.weights.type = DType::kBF16;
  EXPECT_EQ(Choose(choices, args), 0);
  EXPECT_THAT(gemm_.prepared, ElementsAre(2048));
  for (const auto& [tokens, kernel] : Kernels{{1, ProductKernel::kDense},
                                              {16, ProductKernel::kDense},
                                              {17, kWarpgroups},
                                              {128, kWarpgroups},  // with what follows it is faster
                                              {129, ProductKernel::kGemm},
                                              {2048, ProductKernel::kGemm}}) {
    args.num_tokens = tokens;
    EXPECT_EQ(choices.KernelFor(args), kernel) << tokens;
  }
  EXPECT_EQ(RunsOf(kWarpgroups, 512), 0);
  args.weights.columns = 100;  // what no kernel of our own takes
  EXPECT_EQ(Choose(choices, args), 0);
  EXPECT_EQ(choices.KernelFor(args), ProductKernel::kGemm);
}

// Once to load it, once alone, and as often as fits into the time that others have together.
TEST_F(ProductChoicesTest, ShortKernelsRunOften) {
  device_.cost = [](ProductKernel, int64_t tokens) { return tokens == 32 ? 1 : tokens == 64 ? 100 : 1000; };
  Chosen({});
  for (const ProductKernel kernel : {kPacked, kUnpack}) {
    EXPECT_EQ(RunsOf(kernel, 32), 2 + 10);
    EXPECT_EQ(RunsOf(kernel, 64), 2 + 3);
    EXPECT_EQ(RunsOf(kernel, 96), 2 + 1);
  }
}

// The first run of a kernel loads it, which takes long and says nothing.
TEST_F(ProductChoicesTest, TheFirstRunDoesNotCount) {
  device_.cost = [&](ProductKernel kernel, int64_t) {
    const bool is_first = std::all_of(device_.runs.begin(), device_.runs.end(), [&](const auto& run) {
      return run.first.first != kernel || run.second <= 1;
    });
    return (is_first ? 5000 : 0) + (kernel == kUnpack ? 10 : 20);
  };
  EXPECT_EQ(Chosen({32, 256}), (Kernels{{32, kUnpack}, {256, kUnpack}}));
}

// As when the host does other things for a while.
TEST_F(ProductChoicesTest, ATimeThatIsMuchTooLongDecidesNothing) {
  for (const int late : {2, 3, 5}) {  // the run alone, and those together
    device_.runs.clear();
    device_.cost = [&](ProductKernel kernel, int64_t tokens) {
      if (kernel == kUnpack) return 200;
      return device_.runs[{kPacked, tokens}] == late ? 1000 : 100;
    };
    EXPECT_EQ(Chosen({32}), (Kernels{{32, kPacked}})) << late;
  }
}

TEST_F(ProductChoicesTest, SlowKernelsAreGivenUp) {
  device_.cost = [](ProductKernel kernel, int64_t tokens) {
    return kernel == kUnpack ? 50 : tokens <= 32 ? 5 : tokens <= 96 ? 45 : 250;
  };
  EXPECT_EQ(Chosen({32, 96, 128, 256}),
            (Kernels{{32, kPacked}, {96, kPacked}, {128, kUnpack}, {256, kUnpack}}));
  EXPECT_EQ(RunsOf(kUnpack, 32), 2) << "ten times as long";
  EXPECT_GT(RunsOf(kUnpack, 64), 2) << "as fast as the other now";
  EXPECT_GT(RunsOf(kPacked, 128), 2) << "the best so far, which is timed first";
  EXPECT_EQ(RunsOf(kPacked, 192), 0) << "no faster than with fewer tokens";
  EXPECT_EQ(RunsOf(kPacked, 256), 0);
}

TEST_F(ProductChoicesTest, WhatWasNotPreparedIsDecidedByItsNumberOfTokens) {
  device_.cost = [](ProductKernel kernel, int64_t) { return kernel == kUnpack ? 1 : 2; };
  ProductChoices choices(&device_.clock);
  EXPECT_EQ(choices.KernelFor(Args(17)), kPacked) << "not measured yet";
  ASSERT_EQ(Choose(choices), 0);
  EXPECT_EQ(choices.KernelFor(Args(17)), kUnpack);
  for (const auto& change : std::vector<std::function<void(cuda::MatMulArgs&)>>{
           [](cuda::MatMulArgs& args) { args.weights.rows *= 2; },
           [](cuda::MatMulArgs& args) { args.weights.columns *= 2; },
           [](cuda::MatMulArgs& args) { args.weights.type = DType::kQ6_K; },
           [](cuda::MatMulArgs& args) { args.element = Element::kF16; },
           [](cuda::MatMulArgs& args) { args.out = Element::kF32; }}) {
    cuda::MatMulArgs other = Args(17);
    change(other);
    EXPECT_EQ(choices.KernelFor(other), ProductKernelFor(other));
  }
  EXPECT_EQ(choices.KernelFor(Args(kMostTokens)), kUnpack);
  EXPECT_EQ(choices.KernelFor(Args(kMostTokens + 1)), ProductKernelFor(Args(kMostTokens + 1)));
}

TEST_F(ProductChoicesTest, WithoutAClockNumbersOfTokensDecide) {
  ProductChoices choices(nullptr);
  ASSERT_EQ(Choose(choices, Args(kFewRowsPackedTokens)), 0);
  EXPECT_THAT(gemm_.prepared, IsEmpty());
  ASSERT_EQ(Choose(choices), 0);
  EXPECT_THAT(gemm_.prepared, ElementsAre(kMostTokens));
  EXPECT_THAT(device_.runs, IsEmpty());
  for (const int64_t tokens : {1, 17, 64, 65, 96, 97, 256})
    EXPECT_EQ(choices.KernelFor(Args(tokens)), ProductKernelFor(Args(tokens))) << tokens;
  EXPECT_THAT(choices.Lines(), IsEmpty());
}

// The last class ends with the most tokens that there are.
TEST_F(ProductChoicesTest, NoMoreTokensAreMeasuredThanThereMayBe) {
  ProductChoices choices(&device_.clock);
  ASSERT_EQ(Choose(choices, Args(100)), 0);
  EXPECT_THAT(gemm_.prepared, ElementsAre(100));
  std::vector<int64_t> measured;
  for (const auto& [run, times] : device_.runs)
    if (run.first == kUnpack) measured.push_back(run.second);
  EXPECT_THAT(measured, ElementsAre(32, 64, 96, 100));
}

TEST_F(ProductChoicesTest, MatricesTakeTurns) {
  const char layers[3] = {};
  ProductChoices choices(&device_.clock);
  for (const char& layer : layers) ASSERT_EQ(choices.Prepare(Args(24, &layer), Tools()), 0);
  EXPECT_THAT(gemm_.prepared, ElementsAre(24, 24, 24));
  ASSERT_EQ(choices.Measure(Tools(), runtime_), 0);
  ASSERT_EQ(device_.weights.size(), 2u * (2 + 3));
  for (size_t i = 0; i < device_.weights.size(); ++i) EXPECT_EQ(device_.weights[i], &layers[i % 3]);
}

TEST_F(ProductChoicesTest, ErrorsAreTold) {
  for (const ProductKernel kernel : {kPacked, kWarpgroups, kUnpack}) {
    warpgroups_ = true;
    device_.errors = {{kernel, kRefused}};
    ProductChoices choices(&device_.clock);
    EXPECT_EQ(Choose(choices), kRefused) << NameOf(kernel);
  }
  device_.errors = {};
  ProductChoices waiting(&device_.clock);
  ASSERT_EQ(waiting.Prepare(Args(kMostTokens), Tools()), 0);
  runtime_.InjectError(kRefused, 2);
  EXPECT_EQ(waiting.Measure(Tools(), runtime_), kRefused);
  gemm_.prepare_error = kRefused;
  ProductChoices unprepared(&device_.clock);
  EXPECT_EQ(unprepared.Prepare(Args(kMostTokens), Tools()), kRefused);
}

TEST_F(ProductChoicesTest, TellsWhatWasChosenAndTheTimes) {
  device_.cost = [](ProductKernel kernel, int64_t tokens) { return kernel == kPacked ? 2.0 * tokens : 150; };
  ProductChoices choices(&device_.clock);
  EXPECT_THAT(choices.Lines(), IsEmpty());
  ASSERT_EQ(Choose(choices, Args(128)), 0);
  EXPECT_THAT(
      choices.Lines(),
      ElementsAre("W [128, 256] of Q4_K, bf16 to bf16: up to 8 tokens packed; up to 16 tokens packed; "
                  "up to 32 tokens packed (0.0640 ms), unpacked (0.1500 ms); "
                  "up to 64 tokens packed (0.1280 ms), unpacked (0.1500 ms); "
                  "up to 96 tokens unpacked (0.1500 ms), packed (0.1920 ms); "
                  "up to 128 tokens unpacked (0.1500 ms), packed (0.2560 ms)"));
}

// A layer whose gate and up are one product with its activation.
TEST_F(ProductChoicesTest, AProductWithItsNeighboursIsMadeByTheKernelThatWasChosen) {
  warpgroups_ = true;
  device_.cost = [](ProductKernel kernel, int64_t tokens) { return kernel == kPacked ? 1.0 * tokens : 10; };
  kernels_.fused_matmul = [](const cuda::FusedMatMulArgs& args, Stream stream) {
    return RunOwn(args.product, stream);
  };
  ProductChoices choices(&device_.clock);
  ASSERT_EQ(Choose(choices), 0);
  DecoderSpec spec;
  spec.layers.resize(1);
  CudaWeights weights;
  weights.layers.resize(1);
  weights.layers[0].ffn_input = {.parts = {{.matrix = Args(1).weights}}, .outputs = kRows};
  const CudaActivations activations = {};
  const LayerFusion fusion = {.activation = cuda::kFusedTokens};
  const CudaPassContext context = {.spec = spec,
                                   .weights = weights,
                                   .activations = activations,
                                   .fusions = {&fusion, 1},
                                   .kernels = kernels_,
                                   .runtime = runtime_,
                                   .gemm = gemm_,
                                   .choices = choices,
                                   .stream = stream_,
                                   .warpgroups = true};
  for (const auto& [tokens, kernel] : Kernels{{8, kPacked}, {16, kWarpgroups}}) {
    device_.runs.clear();
    CudaPass pass(context, {.tokens = static_cast<int32_t>(tokens)}, {});
    pass.ProjectFfn(0);
    EXPECT_THAT(device_.runs, ElementsAre(Pair(Pair(kernel, tokens), 1)));
  }
}

}  // namespace
}  // namespace ropeway::testing
