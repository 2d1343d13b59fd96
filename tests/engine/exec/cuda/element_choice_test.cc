#include "engine/exec/cuda/element_choice.h"

#include <algorithm>
#include <string>
#include <vector>

#include "engine/exec/cuda/executor.h"
#include "engine/tensor/half.h"
#include "tests/cuda_emulation/emulated_backend.h"
#include "tests/cuda_emulation/host_kernels.h"
#include "tests/testing/gguf_writer.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"
#include "tests/testing/tiny_models.h"

namespace ropeway::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string Halves(const float* values, size_t count) {
  std::string bytes;
  for (size_t i = 0; i < count; ++i) bytes += LittleEndian(FloatToHalf(values[i]));
  return bytes;
}

// A tiny model whose matrices are f16, as a folder.
absl::StatusOr<OpenedModel> FolderOfHalves(const std::string& case_name, const TempFolder& folder) {
  RETURN_IF_ERROR(WriteTinyModel(case_name, folder.path()));
  ASSIGN_OR_RETURN(const auto golden, ReadTinyGolden(case_name));
  std::vector<TinyTensor> tensors = MakeTinyTensors(golden);
  for (TinyTensor& tensor : tensors) {
    if (tensor.shape.size() < 2) continue;
    const std::string bytes = Halves(tensor.values.data(), tensor.values.size());
    tensor.bytes.assign(bytes.begin(), bytes.end());
    tensor.bytes_type = "F16";
    tensor.values.clear();
  }
  RETURN_IF_ERROR(WriteFile(folder.File("model.safetensors"), SafetensorsBytes(tensors)));
  return OpenModel(folder.path());
}

// The same as a GGUF file.
absl::StatusOr<OpenedModel> FileOfHalves(const std::string& case_name, const TempFolder& folder) {
  ASSIGN_OR_RETURN(GgufModel file, MakeTinyGguf(case_name));
  for (GgufTensor& tensor : file.tensors) {
    if (tensor.shape.size() < 2) continue;
    tensor.bytes =
        Halves(reinterpret_cast<const float*>(tensor.bytes.data()), tensor.bytes.size() / sizeof(float));
    tensor.type = DType::kF16;
  }
  return OpenModel(folder.Write("m.gguf", GgufBytes(file)));
}

struct Meant {
  const char* case_name;
  const char* description;
};
constexpr Meant kMeant[] = {
    {"llama_base", "f16"},
    {"qwen3", "f16"},
    {"gemma3_text", "bf16 (not f16 as the file, which models of gemma3"},
};

TEST(ElementChoiceTest, HalvesComputeInHalvesUnlessTheModelOverflowsThem) {
  for (const auto& [case_name, description] : kMeant) {
    for (const auto open : {&FolderOfHalves, &FileOfHalves}) {
      const TempFolder folder;
      ASSERT_OK_AND_ASSIGN(const OpenedModel model, open(case_name, folder));
      EXPECT_THAT(ChooseElement(model, std::nullopt).Describe(), StartsWith(description)) << case_name;
    }
  }
}

TEST(ElementChoiceTest, FamiliesThatWereSeenToOverflow) {
  for (const std::string& case_name : SupportedTinyCases()) {
    const TempFolder folder;
    ASSERT_OK(WriteTinyModel(case_name, folder.path()));
    ASSERT_OK_AND_ASSIGN(const OpenedModel model, OpenModel(folder.path()));
    const std::string& type = model.spec.architecture;
    const bool meant = type.starts_with("gemma") || type == "glm4" || type == "glm4_moe" ||
                       type == "gpt_oss" || type.starts_with("deepseek");
    EXPECT_EQ(model.spec.wide_range, meant) << type;
  }
}

TEST(ElementChoiceTest, WhatIsAskedForIsTaken) {
  const TempFolder folder;
  ASSERT_OK_AND_ASSIGN(const OpenedModel model, FolderOfHalves("gemma2", folder));
  EXPECT_EQ(ChooseElement(model, cuda::Element::kF16).Describe(),
            "f16 (which models of gemma2 overflow; bf16 is safe)");
  EXPECT_EQ(ChooseElement(model, cuda::Element::kBF16).Describe(), "bf16");
  EXPECT_EQ(ChooseElement(model, cuda::Element::kF32).Describe(), "f32");
}

TEST(ElementChoiceTest, OtherFilesComputeInBFloat16) {
  const TempFolder folder;
  ASSERT_OK(WriteTinyModel("llama_base", folder.path()));
  ASSERT_OK_AND_ASSIGN(const OpenedModel model, OpenModel(folder.path()));
  EXPECT_EQ(ChooseElement(model, std::nullopt).Describe(), "bf16 (not f32 as the file, which would be slow)");
}

TEST(ElementChoiceTest, TheExecutorTakesItAndSaysSo) {
  const cuda::Backend backend = cuda::emulation::EmulatedBackend(cuda::emulation::HostKernels());
  const CudaExecutorOptions options{
      .kv_cache_bytes = 1 << 20, .max_tokens_per_step = 64, .max_rows_per_step = 8};
  for (const auto& [case_name, description] : kMeant) {
    const TempFolder folder;
    ASSERT_OK_AND_ASSIGN(const OpenedModel model, FolderOfHalves(case_name, folder));
    ASSERT_OK_AND_ASSIGN(const auto executor, CudaExecutor::Make(model, backend, options));
    EXPECT_THAT(executor->description(), HasSubstr(std::string(", ") + description));
  }
}

}  // namespace
}  // namespace ropeway::testing
