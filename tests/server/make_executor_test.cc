#include "server/make_executor.h"

#include <string>
#include <utility>
#include <vector>

#include "engine/kernels/ops.h"
#include "engine/model/packed_tensors.h"
#include "tests/cuda_emulation/emulated_backend.h"
#include "tests/cuda_emulation/host_gemm.h"
#include "tests/cuda_emulation/host_kernels.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/tiny_models.h"

namespace ropeway::testing {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

class MakeExecutorTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_OK(WriteTinyModel("qwen3", folder_.path())); }
  void TearDown() override { cuda::emulation::DeviceOptions() = {}; }

  absl::StatusOr<server::MadeExecutor> Make(server::Config config,
                                            const server::CudaBackendOpener& open_backend) const {
    config.kv_cache_mb = 1;
    config.threads = 1;
    absl::StatusOr<OpenedModel> model = OpenModel(folder_.path());
    if (!model.ok()) return model.status();
    return server::MakeExecutor(config, *std::move(model), {}, open_backend);
  }

  const TempFolder folder_;
  const server::CudaBackendOpener emulated_ = [] {
    return &cuda::emulation::EmulatedBackend(cuda::emulation::HostKernels());
  };
  const server::CudaBackendOpener none_ = [] {
    return absl::UnavailableError("there is no CUDA driver: none");
  };
};

TEST_F(MakeExecutorTest, TakesTheGpuThatIsThere) {
  for (const server::Device device : {server::Device::kAuto, server::Device::kCuda}) {
    ASSERT_OK_AND_ASSIGN(const server::MadeExecutor made,
                         Make({.device = device, .dtype = server::ActivationType::kF32}, emulated_));
    EXPECT_THAT(made.kernels, MatchesRegex("cuda: .*, f32"));
    EXPECT_EQ(made.warning, "");
    EXPECT_EQ(made.num_threads, 1);
    EXPECT_EQ(made.device, server::Device::kCuda);
    EXPECT_EQ(made.executor->limits().max_tokens_per_step, 2048);
    EXPECT_EQ(made.executor->limits().max_rows_per_step, 256);
  }
}

TEST(DescribeUploadTest, TellsTheRateOfWhatTakesLong) {
  EXPECT_EQ(server::DescribeUpload(13'100'000'000, absl::Seconds(4)), "13.1 GB in 4.0 s, 3.3 GB/s");
  EXPECT_EQ(server::DescribeUpload(400'000'000, absl::Milliseconds(2500)), "0.4 GB in 2.5 s, 0.2 GB/s");
  EXPECT_EQ(server::DescribeUpload(13'100'000'000, absl::Seconds(2)), "");
  EXPECT_EQ(server::DescribeUpload(0, absl::ZeroDuration()), "");
}

TEST_F(MakeExecutorTest, KeepsWhatTheCpuMultiplies) {
  const TempFolder packed;
  server::Config config{.device = server::Device::kCpu};
  ASSERT_OK_AND_ASSIGN(const server::MadeExecutor without, Make(config, none_));
  EXPECT_EQ(without.pack_cache.path, "");
  config.pack_cache = packed.path();
  ASSERT_OK_AND_ASSIGN(const server::MadeExecutor first, Make(config, none_));
  EXPECT_TRUE(first.pack_cache.is_written);
  ASSERT_OK_AND_ASSIGN(const server::MadeExecutor second, Make(config, none_));
  EXPECT_EQ(second.pack_cache.read, first.pack_cache.packed);
  EXPECT_EQ(second.pack_cache.trouble, "");
}

cuda::GemmOptions gemm_options;  // that the last Gemm was made with

// Products as they are, and a line about them.
class ToldGemm final : public cuda::emulation::HostGemm {
 public:
  std::vector<std::string> Choices() const override { return {"by hand"}; }
};

TEST_F(MakeExecutorTest, SaysHowProductsAreChosenAndTellsHowTheyWere) {
  cuda::Backend backend = **emulated_();
  backend.make_gemm = [](cuda::Runtime&, const cuda::GemmOptions& options, const char**) -> cuda::Gemm* {
    gemm_options = options;
    return new ToldGemm;
  };
  const server::CudaBackendOpener open = [&] { return &backend; };
  server::Config config{.device = server::Device::kCuda, .dtype = server::ActivationType::kF32};
  ASSERT_OK_AND_ASSIGN(const server::MadeExecutor made, Make(config, open));
  EXPECT_TRUE(gemm_options.search);
  EXPECT_EQ(gemm_options.cache_path, "");
  EXPECT_THAT(made.products, ::testing::ElementsAre("by hand"));
  config.gemm_search = server::Switch::kOff;
  config.gemm_cache = "/somewhere/choices";
  ASSERT_OK(Make(config, open).status());
  EXPECT_FALSE(gemm_options.search);
  EXPECT_EQ(gemm_options.cache_path, "/somewhere/choices");
}

TEST_F(MakeExecutorTest, MeasuresProductsOfPackedWeightsUnlessItIsToldNotTo) {
  const auto products = [&](server::Switch search) {
    server::Config config{.device = server::Device::kCuda, .dtype = server::ActivationType::kBF16};
    config.gemm_search = search;
    config.kv_cache_mb = 1;
    config.max_tokens_per_step = 80;
    config.max_running = 4;
    absl::StatusOr<OpenedModel> model = OpenModel(folder_.path());
    EXPECT_OK(model.status());
    model->tensors = PackTo8Bits(std::move(model->tensors), model->spec);
    const auto made = server::MakeExecutor(config, *std::move(model), {}, emulated_);
    EXPECT_OK(made.status());
    return made.ok() ? made->products : std::vector<std::string>();
  };
  const auto told = Contains(HasSubstr("of Q8_0, bf16 to bf16: up to 8 tokens packed"));
  EXPECT_THAT(products(server::Switch::kOn), told);
  EXPECT_THAT(products(server::Switch::kOff), Not(told));
}

TEST_F(MakeExecutorTest, SharesTheModelAmongGpus) {
  ASSERT_OK_AND_ASSIGN(
      const server::MadeExecutor made,
      Make({.device = server::Device::kCuda, .tensor_parallel = 2, .dtype = server::ActivationType::kF32},
           emulated_));
  EXPECT_THAT(made.kernels, MatchesRegex("cuda: 2 x .*, f32"));
  EXPECT_EQ(made.num_threads, 2);
}

TEST_F(MakeExecutorTest, GoesOnWithTheCpuAndSaysWhy) {
  ASSERT_OK_AND_ASSIGN(const server::MadeExecutor made, Make({.device = server::Device::kAuto}, none_));
  EXPECT_EQ(made.warning, "there is no CUDA driver: none");
  EXPECT_EQ(made.device, server::Device::kCpu);
  EXPECT_EQ(made.executor->limits().max_tokens_per_step, 256);
  EXPECT_EQ(made.executor->limits().max_rows_per_step, 64);
  EXPECT_THAT(made.kernels, Not(HasSubstr("cuda")));
}

TEST_F(MakeExecutorTest, AModelThatNoGpuTakesRunsOnTheCpu) {
  cuda::emulation::DeviceOptions().memory_bytes = 1 << 16;
  ASSERT_OK_AND_ASSIGN(
      const server::MadeExecutor made,
      Make({.device = server::Device::kAuto, .dtype = server::ActivationType::kF32}, emulated_));
  EXPECT_THAT(made.warning, HasSubstr("65536 that are free"));
}

TEST_F(MakeExecutorTest, DoesNotLookForGpusWhereTheCpuIsWanted) {
  bool looked = false;
  const server::CudaBackendOpener open = [&]() -> absl::StatusOr<const cuda::Backend*> {
    looked = true;
    return absl::UnavailableError("none");
  };
  ASSERT_OK_AND_ASSIGN(const server::MadeExecutor made, Make({.device = server::Device::kCpu}, open));
  EXPECT_FALSE(looked);
  EXPECT_EQ(made.warning, "");
}

TEST_F(MakeExecutorTest, NamesTheExtensionThatComputes) {
  for (const server::KernelSet set : {server::KernelSet::kAuto, server::KernelSet::kRef}) {
    const kernels::KernelTable& table = *kernels::SelectKernels(std::string(server::WordOf(set)).c_str());
    const std::string extension = *table.extension == 0 ? "" : std::string("+") + table.extension;
    ASSERT_OK_AND_ASSIGN(const server::MadeExecutor made,
                         Make({.device = server::Device::kCpu, .kernels = set}, none_));
    EXPECT_EQ(made.kernels, table.name + extension);
  }
}

TEST_F(MakeExecutorTest, RefusesWhereTheGpuIsWantedAndNotThere) {
  EXPECT_THAT(Make({.device = server::Device::kCuda}, none_).status(),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("--device=cuda: there is no CUDA driver")));
  EXPECT_THAT(Make({.device = server::Device::kAuto, .tensor_parallel = 2}, none_).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "--tensor_parallel must be 1 without a GPU, is 2 (there is no CUDA driver: none)"));
  EXPECT_THAT(Make({.device = server::Device::kAuto, .kv_type = server::KvCacheType::kFp8}, none_).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("without a GPU, is \"fp8\"")));
}

// Executors know their options alone; who started the server knows its flags.
TEST_F(MakeExecutorTest, NamesTheFlagThatTheModelDoesNotAllow) {
  const std::string too_long = "--max_model_len must be in [0, 256], is 257";
  server::Config config{.device = server::Device::kCpu, .max_model_len = 257};
  EXPECT_THAT(Make(config, none_).status(), StatusIs(absl::StatusCode::kInvalidArgument, too_long));
  config.device = server::Device::kCuda;
  EXPECT_THAT(Make(config, emulated_).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, "--device=cuda: " + too_long));
  EXPECT_THAT(Make({.device = server::Device::kCuda, .tensor_parallel = 64}, emulated_).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("--device=cuda: --tensor_parallel must divide the model's 6 heads, is 64")));
}

// Of a model whose page of keys and values takes more than a MiB.
TEST_F(MakeExecutorTest, NamesTheFlagOfACacheThatHoldsNoPage) {
  absl::StatusOr<OpenedModel> model = OpenModel(folder_.path());
  ASSERT_OK(model);
  model->spec.layers.resize(4096, model->spec.layers[0]);
  const server::Config config{.device = server::Device::kCpu, .threads = 1, .kv_cache_mb = 1};
  EXPECT_THAT(server::MakeExecutor(config, *std::move(model), {}, none_).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       MatchesRegex("--kv_cache_mb must hold at least one page of .* bytes, is 1")));
}

TEST_F(MakeExecutorTest, WeightsOfFp8NeedAGpuThatTakesThem) {
  const auto status = [&](server::Device device, const server::CudaBackendOpener& open) {
    return Make({.weights = server::WeightPacking::kFp8, .device = device}, open).status();
  };
  EXPECT_THAT(
      status(server::Device::kAuto, none_),
      StatusIs(
          absl::StatusCode::kInvalidArgument,
          "--weights must be one of file, q8_0 without a GPU, is \"fp8\" (there is no CUDA driver: none)"));
  EXPECT_THAT(
      status(server::Device::kCuda, emulated_),
      StatusIs(
          absl::StatusCode::kUnimplemented,
          "--device=cuda: fp8 weights: compute capability must be at least 8.9, is 8.0 (emulated device)"));
  cuda::emulation::DeviceOptions().minor = 9;
  ASSERT_OK_AND_ASSIGN(
      const server::MadeExecutor made,
      Make({.weights = server::WeightPacking::kFp8, .device = server::Device::kCuda}, emulated_));
  EXPECT_THAT(made.kernels, MatchesRegex("cuda: .*, bf16.*, fp8 weights"));
}

}  // namespace
}  // namespace ropeway::testing
