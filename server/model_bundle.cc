#include "server/model_bundle.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/exec/cpu_executor.h"
#include "engine/kernels/ops.h"
#include "engine/model/tensor_source.h"
#include "engine/tensor/dtype.h"
#include "server/memory.h"

namespace ropeway {
namespace {

// Where the memory for keys and values is not set: this part of what is free, so that two servers and a build
// fit beside each other on a laptop.
constexpr int64_t kMemoryPart = 4;

constexpr WeightRole kModelRoles[] = {WeightRole::kTokenEmbedding, WeightRole::kOutputNorm,
                                      WeightRole::kOutput};
constexpr WeightRole kFirstLayerRole = WeightRole::kAttentionNorm;
constexpr WeightRole kLastLayerRole = WeightRole::kFfnPostNorm;

// How many weights there are, and of which type the most.
class WeightCount {
 public:
  void Add(const absl::StatusOr<TensorView>& tensor) {
    if (!tensor.ok()) return;  // roles that the model does not have
    const int64_t weights = tensor->rows() * tensor->columns();
    total_ += weights;
    by_type_[static_cast<size_t>(tensor->type)] += weights;
  }
  int64_t total() const { return total_; }
  DType commonest() const {
    return static_cast<DType>(std::max_element(by_type_.begin(), by_type_.end()) - by_type_.begin());
  }

 private:
  int64_t total_ = 0;
  std::array<int64_t, kNumDTypes> by_type_ = {};
};

WeightCount CountWeights(const TensorSource& tensors, int num_layers) {
  WeightCount count;
  for (const WeightRole role : kModelRoles) count.Add(tensors.Find(role, 0));
  for (int layer = 0; layer < num_layers; ++layer) {
    for (int role = static_cast<int>(kFirstLayerRole); role <= static_cast<int>(kLastLayerRole); ++role) {
      count.Add(tensors.Find(static_cast<WeightRole>(role), layer));
    }
  }
  return count;
}

ModelFacts FactsOf(const Config& config, const OpenedModel& model) {
  const DecoderSpec& spec = model.spec;
  const WeightCount weights = CountWeights(*model.tensors, spec.num_layers());
  return {.name = ModelName(config),
          .architecture = spec.architecture,
          .quantization = NameOf(weights.commonest()),
          .num_parameters = weights.total(),
          .trained_context_len = spec.context_length,
          .num_layers = spec.num_layers(),
          .embedding_dim = spec.hidden_size,
          .num_heads = spec.num_heads,
          .num_kv_heads = spec.num_kv_heads};
}

kernels::KvType KvTypeOf(const Config& config) {
  return config.kv_type == "f32" ? kernels::KvType::kF32 : kernels::KvType::kBF16;
}

// As configured; or room for a full batch of longest sequences, where a part of the free memory holds that.
int64_t KvCacheBytes(const Config& config, const DecoderSpec& spec) {
  if (config.kv_cache_mb > 0) return config.kv_cache_mb << 20;
  const kernels::KvLayout layout =
      kernels::MakeKvLayout(KvTypeOf(config), spec.num_kv_heads, spec.head_dim, spec.value_dim);
  const int64_t page_bytes = layout.page_bytes * spec.num_layers();
  const int64_t longest = config.max_model_len > 0 ? config.max_model_len : spec.context_length;
  const int64_t pages_per_sequence = (longest + kPageTokens - 1) / kPageTokens;
  const int64_t wanted = page_bytes * pages_per_sequence * config.max_running;
  return std::max(std::min(wanted, AvailableMemoryBytes() / kMemoryPart), page_bytes);
}

CpuExecutorOptions ExecutorOptionsOf(const Config& config, const DecoderSpec& spec) {
  return {.kv_type = KvTypeOf(config),
          .max_model_len = config.max_model_len,
          .kernels = config.kernels,
          .threads = config.threads,
          .kv_cache_bytes = KvCacheBytes(config, spec),
          .max_tokens_per_step = config.max_tokens_per_step,
          .max_rows_per_step = std::min(config.max_tokens_per_step, config.max_running)};
}

absl::Status AddTextSide(const Metadata& metadata, ServedModel& served) {
  ASSIGN_OR_RETURN(served.tokenizer, MakeTokenizer(metadata));
  served.end_token_ids = EndTokenIds(*served.tokenizer);
  ASSIGN_OR_RETURN(served.chat_template_source,
                   ValueOr<std::string>(metadata.GetString("tokenizer.chat_template"), ""));
  if (served.chat_template_source.empty()) return absl::OkStatus();
  // A model whose template cannot be read still answers plain text; chats are told why not.
  served.chat_template = ChatTemplate::Parse(served.chat_template_source);
  return absl::OkStatus();
}

absl::Status WithPath(const Config& config, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(config.model, ": ", status.message()));
}

}  // namespace

absl::StatusOr<ModelBundle> LoadModel(const Config& config) {
  ASSIGN_OR_RETURN(OpenedModel opened, OpenModel(config.model));
  ModelBundle bundle;
  bundle.served.facts = FactsOf(config, opened);
  if (absl::Status status = AddTextSide(opened.metadata, bundle.served); !status.ok()) {
    return WithPath(config, status);
  }
  if (bundle.served.tokenizer->vocab_size() != opened.spec.vocab_size) {
    return WithPath(config, absl::InvalidArgumentError(absl::StrCat("the tokenizer must have the model's ",
                                                                    opened.spec.vocab_size, " tokens, has ",
                                                                    bundle.served.tokenizer->vocab_size())));
  }
  const CpuExecutorOptions options = ExecutorOptionsOf(config, opened.spec);
  ASSIGN_OR_RETURN(auto executor, CpuExecutor::Make(std::move(opened), options));
  bundle.served.kernels = executor->decoder().table().name;
  bundle.served.num_threads = executor->threads();
  bundle.executor = std::move(executor);
  return bundle;
}

std::string ModelName(const Config& config) {
  if (!config.model_name.empty()) return config.model_name;
  return std::filesystem::path(config.model).stem().string();
}

}  // namespace ropeway
