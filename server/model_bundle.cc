#include "server/model_bundle.h"

#include <atomic>
#include <filesystem>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/exhaustion.h"
#include "engine/base/status_macros.h"
#include "engine/model/gguf_split.h"
#include "engine/model/packed_tensors.h"
#include "engine/model/rope_scaling.h"
#include "engine/model/tensor_source.h"
#include "engine/tensor/dtype.h"
#include "engine/text/hf/folder.h"
#include "server/make_executor.h"

namespace ropeway::server {
namespace {

// What the file says, before anything of it is changed.
ModelFacts FactsOf(const Config& config, const OpenedModel& model) {
  const DecoderSpec& spec = model.spec;
  const WeightCount weights = CountWeights(model);
  return {.name = ModelName(config),
          .architecture = spec.architecture,
          .quantization = NameOf(weights.commonest),
          .file_quantization = NameOf(weights.commonest),
          .num_parameters = weights.total,
          .trained_context_len = spec.context_length,
          .num_layers = spec.num_layers(),
          .embedding_dim = spec.hidden_size,
          .num_heads = spec.num_heads,
          .num_kv_heads = spec.num_kv_heads};
}

// A model whose template cannot be read still answers plain text; chats are told why not.
absl::Status AddTextSide(const Config& config, const Metadata& metadata, int32_t vocab_size,
                         ServedModel& served) {
  // Without an error to fill in, a name that is too long would throw.
  std::error_code ignored;
  if (std::filesystem::is_directory(config.model, ignored)) {
    ASSIGN_OR_RETURN(hf::FolderText text, hf::ReadFolderText(config.model, vocab_size));
    served.tokenizer = std::move(text.tokenizer);
    served.chat_templates = std::move(text.chat_templates);
    served.sampling_defaults = text.sampling;
  } else {
    ASSIGN_OR_RETURN(served.tokenizer, MakeTokenizer(metadata));
    ASSIGN_OR_RETURN(served.chat_templates, ChatTemplates::Read(metadata));
    ASSIGN_OR_RETURN(served.sampling_defaults, ReadSamplingDefaults(metadata));
  }
  served.end_token_ids = EndTokenIds(*served.tokenizer);
  if (served.tokenizer->vocab_size() == vocab_size) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("the tokenizer must have the model's ", vocab_size,
                                                 " tokens, has ", served.tokenizer->vocab_size()));
}

// What the settings want otherwise than the file.
absl::Status ApplySettings(const Config& config, OpenedModel& model, ModelFacts& facts) {
  RETURN_IF_ERROR(OverrideRopeScaling("--rope_scaling", config.rope_scaling, model.spec));
  facts.rope_scaling = RopeScalingInForce(model.spec);
  if (config.weights == WeightPacking::kQ8_0) {
    model.tensors = PackTo8Bits(std::move(model.tensors), model.spec);
    facts.quantization = NameOf(CountWeights(model).commonest);
  }
  return absl::OkStatus();
}

absl::StatusOr<MadeExecutor> MakeExecutorAsSet(const Config& config, OpenedModel model,
                                               const LoadProgress& progress, ModelFacts& facts) {
  RETURN_IF_ERROR(ApplySettings(config, model, facts));
  ASSIGN_OR_RETURN(MadeExecutor made, MakeExecutor(config, std::move(model), progress));
  // As folders name it; of what is packed and of embedding and output layer, which stay as they are, there may be more.
  if (2 * made.fp8_weights > facts.num_parameters) facts.quantization = "F8_E4M3";
  return made;
}

absl::Status WithPath(const Config& config, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(config.model, ": ", status.message()));
}

}  // namespace

absl::StatusOr<ModelBundle> LoadModel(const Config& config, const LoadProgress& progress) {
  ASSIGN_OR_RETURN(OpenedModel opened, OpenModel(config.model));
  ModelBundle bundle;
  bundle.served.facts = FactsOf(config, opened);
  const Metadata metadata = std::move(opened.metadata);
  const int32_t vocab_size = opened.spec.vocab_size;
  absl::Status text_status;
  std::atomic<bool> is_text_wrong = false;
  // Packing may take minutes, which nobody should wait for where the vocabulary is wrong.
  const LoadProgress while_text_is_right = [&](int layers_done, int layers) {
    if (is_text_wrong) return absl::CancelledError("the text side is wrong");
    return progress ? progress(layers_done, layers) : absl::OkStatus();
  };
  absl::StatusOr<MadeExecutor> executor;
  {
    // The vocabulary is read while weights are packed.
    const std::jthread text([&] {
      text_status = CatchExhaustion([&] { return AddTextSide(config, metadata, vocab_size, bundle.served); });
      is_text_wrong = !text_status.ok();
    });
    executor = MakeExecutorAsSet(config, std::move(opened), while_text_is_right, bundle.served.facts);
  }
  if (!text_status.ok()) return WithPath(config, text_status);
  ASSIGN_OR_RETURN(MadeExecutor made, std::move(executor));
  bundle.served.kernels = std::move(made.kernels);
  bundle.served.num_threads = made.num_threads;
  bundle.executor = std::move(made.executor);
  bundle.device = made.device;
  bundle.products = std::move(made.products);
  bundle.pack_cache = std::move(made.pack_cache);
  bundle.placement = std::move(made.placement);
  bundle.upload = std::move(made.upload);
  bundle.warning = std::move(made.warning);
  return bundle;
}

std::string ModelName(const Config& config) {
  if (!config.model_name.empty()) return config.model_name;
  const std::filesystem::path path(config.model);
  std::error_code ignored;
  if (!std::filesystem::is_directory(path, ignored))
    return std::string(WithoutSplitNumber(path.stem().string()));
  // A folder's name has no extension, and "models/x/" and "." name folders, too.
  std::filesystem::path folder = std::filesystem::absolute(path, ignored).lexically_normal();
  if (!folder.has_filename()) folder = folder.parent_path();
  return folder.filename().string();
}

}  // namespace ropeway::server
