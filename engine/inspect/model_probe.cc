#include "engine/inspect/model_probe.h"

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <string_view>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/machine.h"
#include "engine/base/status_macros.h"
#include "engine/exec/cpu/executor.h"
#include "engine/exec/cuda/executor.h"
#include "engine/kernels/ops.h"
#include "engine/model/packed_tensors.h"
#include "engine/model/rope_scaling.h"
#include "engine/model/tensor_source.h"
#include "engine/text/hf/folder.h"
#include "engine/text/vocabulary.h"

namespace ropeway {
namespace {

// Tokens of one step, and so logits that are held at once.
constexpr int32_t kChunkTokens = 64;

constexpr int kMaxThreads = 1024;

absl::Status CheckOptions(const ModelProbeOptions& options) {
  if (options.device != "cpu" && options.device != "cuda")
    return absl::InvalidArgumentError(absl::StrCat("device: must be cpu or cuda, is '", options.device, "'"));
  if (!options.kv_type.empty() && options.kv_type != "f32" && options.kv_type != "bf16")
    return absl::InvalidArgumentError(
        absl::StrCat("kv_type: must be f32 or bf16, is '", options.kv_type, "'"));
  const bool on_cuda = options.device == "cuda";
  if (options.weights != "file" && options.weights != "q8_0" && !(on_cuda && options.weights == "fp8"))
    return absl::InvalidArgumentError(absl::StrCat("weights: must be file or q8_0", on_cuda ? " or fp8" : "",
                                                   " (of device ", options.device, "), is '", options.weights,
                                                   "'"));
  if (options.device == "cpu" && kernels::SelectKernels(options.kernels.c_str()) == nullptr)
    return absl::InvalidArgumentError(
        absl::StrCat("kernels must be one of auto, ref, avx2, avx512 that this processor can run, is '",
                     options.kernels, "'"));
  if (options.threads < 0 || options.threads > kMaxThreads)
    return absl::InvalidArgumentError(
        absl::StrCat("threads must be in [0, ", kMaxThreads, "], is ", options.threads));
  return absl::OkStatus();
}

template <typename T>
std::vector<TokenId> EndIdsOf(const T& vocabulary, TokenId size) {
  std::vector<TokenId> ids;
  for (TokenId id = 0; id < size; ++id)
    if (vocabulary.IsEndOfGeneration(id)) ids.push_back(id);
  return ids;
}

// As the vocabulary says, by which a server ends, too. A file or folder without one has no end.
absl::StatusOr<std::vector<TokenId>> EndIds(const std::string& path, const OpenedModel& model) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    const absl::StatusOr<hf::FolderText> text = hf::ReadFolderText(path, model.spec.vocab_size);
    if (absl::IsNotFound(text.status())) return std::vector<TokenId>();
    RETURN_IF_ERROR(text.status());
    return EndIdsOf(*text->tokenizer, text->tokenizer->vocab_size());
  }
  if (!model.metadata.Has("tokenizer.ggml.model")) return std::vector<TokenId>();
  ASSIGN_OR_RETURN(const Vocabulary vocabulary, Vocabulary::Read(model.metadata));
  return EndIdsOf(vocabulary, vocabulary.size());
}

// For the whole context, where half of what is free holds that.
int64_t KvCacheBytes(const DecoderSpec& spec, int64_t page_bytes) {
  const int64_t pages = (int64_t{spec.context_length} + kPageTokens - 1) / kPageTokens;
  const int64_t bytes = page_bytes * spec.num_layers();
  return std::max(std::min(bytes * pages, LookAtMachine().free_bytes / 2), bytes);
}

}  // namespace

absl::StatusOr<ModelProbe::OnDevice> ModelProbe::OpenOnCpu(const ModelProbeOptions& options,
                                                           OpenedModel model) {
  const kernels::KernelTable* table = kernels::SelectKernels(options.kernels.c_str());
  const bool exact = table != nullptr && std::string_view(table->name) == "ref";
  const bool f32 = options.kv_type.empty() ? exact : options.kv_type == "f32";
  const kernels::KvType kv_type = f32 ? kernels::KvType::kF32 : kernels::KvType::kBF16;
  const DecoderSpec& spec = model.spec;
  const kernels::KvLayout kv =
      kernels::MakeKvLayout(kv_type, spec.num_kv_heads, spec.head_dim, spec.value_dim);
  const CpuExecutorOptions executor_options{.kv_type = kv_type,
                                            .kernels = options.kernels,
                                            .threads = options.threads,
                                            .kv_cache_bytes = KvCacheBytes(spec, kv.page_bytes),
                                            .max_tokens_per_step = kChunkTokens,
                                            .max_rows_per_step = 1};
  ASSIGN_OR_RETURN(auto executor, CpuExecutor::Make(std::move(model), executor_options));
  CpuExecutor* cpu = executor.get();
  return OnDevice{std::move(executor), [cpu](const auto& plan, auto indices, const auto& visit) {
                    cpu->VisitLogits(plan, indices, visit);
                    return absl::OkStatus();
                  }};
}

absl::StatusOr<ModelProbe::OnDevice> ModelProbe::OpenOnCuda(const ModelProbeOptions& options,
                                                            const OpenedModel& model) {
  ASSIGN_OR_RETURN(const cuda::Backend* backend, options.open_backend());
  const CudaExecutorOptions executor_options{
      .element = cuda::Element::kF32,
      .kv_element = options.kv_type == "bf16" ? cuda::KvElement::kBF16 : cuda::KvElement::kF32,
      .fp8_weights = options.weights == "fp8",
      .max_tokens_per_step = kChunkTokens,
      .max_rows_per_step = 1};
  ASSIGN_OR_RETURN(auto executor, CudaExecutor::Make(model, *backend, executor_options));
  CudaExecutor* on_cuda = executor.get();
  return OnDevice{std::move(executor), [on_cuda](const auto& plan, auto indices, const auto& visit) {
                    return on_cuda->VisitLogits(plan, indices, visit);
                  }};
}

absl::StatusOr<std::unique_ptr<ModelProbe>> ModelProbe::Open(const ModelProbeOptions& options) {
  RETURN_IF_ERROR(CheckOptions(options));
  ASSIGN_OR_RETURN(OpenedModel model, OpenModel(options.model));
  ASSIGN_OR_RETURN(std::vector<TokenId> end_ids, EndIds(options.model, model));
  RETURN_IF_ERROR(OverrideRopeScaling("rope_scaling", options.rope_scaling, model.spec));
  if (options.weights == "q8_0") model.tensors = PackTo8Bits(std::move(model.tensors), model.spec);
  const int32_t context_length = model.spec.context_length;
  absl::StatusOr<OnDevice> on_device =
      options.device == "cuda" ? OpenOnCuda(options, model) : OpenOnCpu(options, std::move(model));
  RETURN_IF_ERROR(on_device.status());
  return std::unique_ptr<ModelProbe>(
      new ModelProbe(*std::move(on_device), context_length, std::move(end_ids)));
}

absl::Status ModelProbe::Start(const AdmittedLengths& lengths) {
  const int64_t capacity = int64_t{lengths.prompt_length} + lengths.max_new_tokens;
  if (capacity > context_length_)
    return absl::InvalidArgumentError(
        absl::StrCat("a prompt of ", lengths.prompt_length, " tokens and ", lengths.max_new_tokens,
                     " new ones are longer than the model's context of ", context_length_));
  if (capacity > executor_->limits().max_model_len)
    return absl::ResourceExhaustedError(absl::StrCat("the KV cache holds ", executor_->limits().max_model_len,
                                                     " tokens, the sequence has ", capacity));
  lengths_ = lengths;
  length_ = 0;
  pages_.resize((capacity + kPageTokens - 1) / kPageTokens);
  std::iota(pages_.begin(), pages_.end(), 0);
  return absl::OkStatus();
}

absl::Status ModelProbe::Append(absl::Span<const TokenId> ids, int32_t first_visited, const Visitor& visit) {
  ROPEWAY_CHECK(length_ + ids.size() <= pages_.size() * kPageTokens);
  for (; !ids.empty(); ids.remove_prefix(std::min<size_t>(ids.size(), kChunkTokens)))
    RETURN_IF_ERROR(AppendChunk(ids.subspan(0, kChunkTokens), first_visited, visit));
  return absl::OkStatus();
}

absl::Status ModelProbe::AppendChunk(absl::Span<const TokenId> ids, int32_t first_visited,
                                     const Visitor& visit) {
  const int32_t count = static_cast<int32_t>(ids.size());
  StepPlan plan;
  plan.token_ids.assign(ids.begin(), ids.end());
  plan.positions.resize(count);
  std::iota(plan.positions.begin(), plan.positions.end(), length_);
  plan.row_starts = {0, count};
  plan.page_tables = {pages_};
  plan.lengths = {lengths_};
  std::vector<int32_t> indices(count - std::clamp(first_visited - length_, 0, count));
  std::iota(indices.begin(), indices.end(), count - static_cast<int32_t>(indices.size()));
  std::vector<std::vector<float>> logits(count);
  RETURN_IF_ERROR(visit_logits_(plan, indices, [&](int32_t index, absl::Span<const float> values) {
    logits[index].assign(values.begin(), values.end());
  }));
  for (const int32_t index : indices) visit(length_ + index, logits[index]);
  length_ += count;
  return absl::OkStatus();
}

}  // namespace ropeway
