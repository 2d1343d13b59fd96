// The server's program with a GPU, which the emulation plays: it computes there, and ends when the GPU is
// lost.
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/ropeway_client.h"
#include "gmock/gmock.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "tests/integration/server_process.h"
#include "tests/testing/folder_text.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/tiny_models.h"

namespace ropeway::testing {
namespace {

using ::testing::HasSubstr;

// What the health service says of the whole server, from now on.
class HealthWatch {
 public:
  explicit HealthWatch(int port)
      : stub_(grpc::CreateChannel(absl::StrCat("127.0.0.1:", port), grpc::InsecureChannelCredentials())),
        call_(stub_.PrepareCall(&context_, "/grpc.health.v1.Health/Watch", &queue_)) {
    call_->StartCall(nullptr);
    if (!Await()) return;
    const grpc::Slice whole_server("");
    call_->WriteLast(grpc::ByteBuffer(&whole_server, 1), {}, nullptr);
    Await();
  }
  ~HealthWatch() {
    context_.TryCancel();
    queue_.Shutdown();
    while (Await()) continue;
  }

  // The next state; empty where there is none.
  std::string Next() {
    grpc::ByteBuffer message;
    call_->Read(&message, nullptr);
    grpc::Slice bytes;
    if (!Await() || !message.DumpToSingleSlice(&bytes).ok()) return "";
    const std::string field(bytes.begin(), bytes.end());  // HealthCheckResponse.status
    return field == "\x08\x01" ? "SERVING" : field == "\x08\x02" ? "NOT_SERVING" : field;
  }

 private:
  bool Await() {
    void* tag = nullptr;
    bool ok = false;
    return queue_.AsyncNext(&tag, &ok, absl::ToChronoTime(absl::Now() + kPatience)) ==
               grpc::CompletionQueue::GOT_EVENT &&
           ok;
  }

  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  grpc::GenericStub stub_;
  const std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
};

// A folder as an installation has it: the program, its plug-in for GPUs, and a driver.
class GpuBinaryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::copy_file(ROPEWAY_SERVER_PROGRAM, program_);
    std::filesystem::create_symlink(ROPEWAY_EMULATED_PLUGIN, folder_.File("libropeway_cuda.so"));
    // Any library will do: the server asks no more of the driver than that it can be opened.
    std::filesystem::create_symlink(ROPEWAY_EMULATED_PLUGIN, folder_.File("libcuda.so.1"));
    // The emulation takes long for products of many tokens, whose times say nothing there.
    environment_ = {absl::StrCat("LD_LIBRARY_PATH=", folder_.path()), "ROPEWAY_GEMM_SEARCH=off"};
  }

  static absl::Status Ask(int port, int max_tokens) {
    const auto client =
        client::Client::Create({.server = absl::StrCat("127.0.0.1:", port), .retry = {.max_attempts = 1}});
    return client
        ->Generate({.prompt = client::TextPrompt{.text = "Once"},
                    .sampling = {.temperature = 0.f},
                    .stopping = {.max_tokens = max_tokens, .ignore_eos = true}})
        .status;
  }

  // A greedy answer to some 50 tokens, with its log-probabilities.
  static client::Answer AskScored(int port) {
    const auto client = client::Client::Create({.server = absl::StrCat("127.0.0.1:", port)});
    return client->Generate(
        {.prompt =
             client::TextPrompt{.text = "The cable car carried 31 people over the river and up to the old "
                                        "castle, where they looked at the sea, ate bread and cheese, and "
                                        "sang until the sun went down behind the hills. On the way back"},
         .sampling = {.temperature = 0.f},
         .stopping = {.max_tokens = 4, .ignore_eos = true},
         .output = {.logprobs = 1}});
  }

  const TempFolder folder_;
  const std::string program_ = folder_.File("ropeway_server");
  std::vector<std::string> environment_;
};

TEST_F(GpuBinaryTest, EndsWithOneWhenTheGpuIsLost) {
  constexpr int kWarmUpSteps = 3;  // a prompt, one row and two
  environment_.push_back(absl::StrCat("ROPEWAY_EMULATED_STEPS=", kWarmUpSteps + 5));
  ServerProcess process(Arguments({"--device", "cuda", "--max_running", "2"}), program_, environment_);
  const int port = process.WaitUntilServing();
  ASSERT_NE(port, 0) << process.Log();
  EXPECT_THAT(process.Log(), HasSubstr("cuda: emulated device, bf16"));
  HealthWatch health(port);
  EXPECT_EQ(health.Next(), "SERVING");
  EXPECT_OK(Ask(port, 2));
  EXPECT_THAT(Ask(port, 100), StatusIs(absl::StatusCode::kInternal, HasSubstr("cudaErrorLaunchFailure")));
  EXPECT_EQ(health.Next(), "NOT_SERVING");
  EXPECT_EQ(process.Wait(), 1) << process.Log();
  EXPECT_THAT(process.Log(), HasSubstr("the device is lost"));
}

// Neither what is found in the prefix cache nor how prompts are cut changes an answer.
TEST_F(GpuBinaryTest, TheCacheAndChunksByTimeKeepTheBytes) {
  const auto start = [&](std::vector<std::string> more) {
    more.insert(more.end(), {"--device", "cuda", "--max_running", "2"});
    return std::make_unique<ServerProcess>(Arguments(std::move(more)), program_, environment_);
  };
  const auto plain = start({"--prefix_cache", "off", "--target_itl_ms", "0"});
  const auto cached =
      start({"--prefix_cache", "tenant", "--target_itl_ms", "1", "--max_tokens_per_step", "24"});
  const int plain_port = plain->WaitUntilServing(), cached_port = cached->WaitUntilServing();
  ASSERT_NE(plain_port, 0) << plain->Log();
  ASSERT_NE(cached_port, 0) << cached->Log();
  const client::Answer expected = AskScored(plain_port);
  const client::Answer first = AskScored(cached_port), second = AskScored(cached_port);
  ASSERT_OK(expected.status);
  ASSERT_OK(second.status);
  EXPECT_EQ(first.receipt->cached_tokens, 0);
  EXPECT_GE(second.receipt->cached_tokens, 32);
  for (const client::Answer* answer : {&first, &second}) {
    EXPECT_EQ(answer->samples[0].token_ids, expected.samples[0].token_ids);
    for (size_t i = 0; i < expected.samples[0].logprobs.size(); ++i)
      EXPECT_EQ(answer->samples[0].logprobs[i].chosen.logprob, expected.samples[0].logprobs[i].chosen.logprob)
          << i;
  }
}

TEST_F(GpuBinaryTest, TakesTheGpuByItself) {
  ServerProcess process(Arguments({"--device", "auto", "--max_running", "2"}), program_, environment_);
  EXPECT_NE(process.WaitUntilServing(), 0) << process.Log();
  EXPECT_THAT(process.Log(), HasSubstr("cuda: emulated device"));
}

TEST_F(GpuBinaryTest, SaysThatAPackedFileHasNothingForFp8) {
  ServerProcess refused(Arguments({"--device", "cuda", "--weights", "fp8"}), program_, environment_);
  EXPECT_EQ(refused.Wait(), 2);
  EXPECT_THAT(refused.Log(),
              HasSubstr("--device=cuda: fp8 weights: the layers must have a matrix that is not packed"));
}

// What most weights are held as: of a model that consists of packed experts for the greater part, that is not fp8.
TEST_F(GpuBinaryTest, TellsTheKindOfMostWeights) {
  struct Kind {
    const char *name, *quantization, *of_file;
  };
  for (const auto& [name, quantization, of_file] : {Kind{"qwen3", "F8_E4M3", "F32"},
                                                    {"mixtral", "F8_E4M3", "F32"},
                                                    {"gpt_oss_mxfp4", "MXFP4", "MXFP4"}}) {
    SCOPED_TRACE(name);
    const TempFolder model;
    ASSERT_OK(WriteTinyModel(name, model.path()));
    WriteFolderText(model);
    ServerProcess process(
        Arguments({"--model", model.path(), "--device", "cuda", "--weights", "fp8", "--max_running", "2"}),
        program_, environment_);
    const int port = process.WaitUntilServing();
    ASSERT_NE(port, 0) << process.Log();
    const auto client = client::Client::Create({.server = absl::StrCat("127.0.0.1:", port)});
    ASSERT_OK_AND_ASSIGN(const client::ModelInfo info, client->GetModelInfo());
    EXPECT_EQ(info.quantization, quantization);
    EXPECT_EQ(info.file_quantization, of_file);
    EXPECT_OK(Ask(port, 8));
  }
}

// A driver alone is not enough.
TEST_F(GpuBinaryTest, SaysWhatIsWrongWithThePlugIn) {
  std::filesystem::remove(folder_.File("libropeway_cuda.so"));
  folder_.Write("libropeway_cuda.so", "not a library");
  ServerProcess refused(Arguments({"--device", "cuda"}), program_, environment_);
  EXPECT_EQ(refused.Wait(), 2);
  EXPECT_THAT(refused.Log(), HasSubstr("libropeway_cuda.so"));
  ServerProcess process(Arguments({"--device", "auto"}), program_, environment_);
  EXPECT_NE(process.WaitUntilServing(), 0) << process.Log();
  EXPECT_THAT(process.Log(), HasSubstr("computing on the CPU why="));
}

#ifdef ROPEWAY_CUDA_LIBRARY
// What serves as driver here knows no CUDA, as one from before the toolkit would not.
TEST_F(GpuBinaryTest, SaysThatTheDriverIsTooOld) {
  std::filesystem::remove(folder_.File("libropeway_cuda.so"));
  std::filesystem::create_symlink(ROPEWAY_CUDA_LIBRARY, folder_.File("libropeway_cuda.so"));
  ServerProcess refused(Arguments({"--device", "cuda"}), program_, environment_);
  EXPECT_EQ(refused.Wait(), 2);
  EXPECT_THAT(refused.Log(), HasSubstr("--device=cuda: no usable CUDA device: cudaErrorInsufficientDriver"));
}
#endif

}  // namespace
}  // namespace ropeway::testing
