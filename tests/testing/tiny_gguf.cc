#include <cmath>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "engine/base/status_macros.h"
#include "nlohmann/json.hpp"
#include "tests/testing/gguf_writer.h"
#include "tests/testing/tiny_models.h"

namespace ropeway::testing {
namespace {

using Json = nlohmann::ordered_json;

std::string GgufName(const std::string& name, bool gemma) {
  return absl::StrReplaceAll(name, {{"model.embed_tokens", "token_embd"},
                                    {"model.norm", "output_norm"},
                                    {"lm_head", "output"},
                                    {"model.layers.", "blk."},
                                    {"self_attn.q_proj", "attn_q"},
                                    {"self_attn.k_proj", "attn_k"},
                                    {"self_attn.v_proj", "attn_v"},
                                    {"self_attn.o_proj", "attn_output"},
                                    {"self_attn.q_norm", "attn_q_norm"},
                                    {"self_attn.k_norm", "attn_k_norm"},
                                    {"mlp.gate_proj", "ffn_gate"},
                                    {"mlp.up_proj", "ffn_up"},
                                    {"mlp.down_proj", "ffn_down"},
                                    {"input_layernorm", "attn_norm"},
                                    {"post_attention_layernorm", gemma ? "post_attention_norm" : "ffn_norm"},
                                    {"pre_feedforward_layernorm", "ffn_norm"},
                                    {"post_feedforward_layernorm", "post_ffw_norm"}});
}

// Rows of each head from halves (i, i + E / 2) to interleaved pairs (2 i, 2 i + 1).
void Interleave(int64_t heads, TinyTensor& tensor) {
  const int64_t rows = tensor.shape[0], head_dim = rows / heads, half = head_dim / 2;
  const int64_t columns = static_cast<int64_t>(tensor.values.size()) / rows;
  const std::vector<float> before = tensor.values;
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t head = row / head_dim, i = row % head_dim / 2, second = row % 2;
    const float* source = before.data() + (head * head_dim + second * half + i) * columns;
    std::memcpy(tensor.values.data() + row * columns, source, static_cast<size_t>(columns) * sizeof(float));
  }
}

GgufTensor ToGguf(TinyTensor tensor, const Json& config) {
  const std::string type = config["model_type"];
  const bool gemma = type == "gemma3_text";
  if (type == "llama" || type == "mistral") {
    if (absl::StrContains(tensor.name, "q_proj")) Interleave(config["num_attention_heads"], tensor);
    if (absl::StrContains(tensor.name, "k_proj")) Interleave(config["num_key_value_heads"], tensor);
  }
  if (gemma && absl::StrContains(tensor.name, "norm"))
    for (float& value : tensor.values) value += 1;
  return {
      GgufName(tensor.name, gemma), DType::kF32, tensor.shape,
      std::string(reinterpret_cast<const char*>(tensor.values.data()), tensor.values.size() * sizeof(float))};
}

// Llama-3 scaling as divisors of the frequencies.
GgufTensor Llama3Divisors(const Json& rope, int64_t head_dim) {
  constexpr double kPi = 3.14159265358979323846;
  const double factor = rope["factor"], low = rope["low_freq_factor"], high = rope["high_freq_factor"];
  const double context = rope["original_max_position_embeddings"], base = rope["rope_theta"];
  std::vector<float> divisors;
  for (int64_t i = 0; i < head_dim / 2; ++i) {
    const double wavelength =
        2 * kPi * std::pow(base, 2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
    const double smooth = (context / wavelength - low) / (high - low);
    const double divisor = wavelength < context / high  ? 1
                           : wavelength > context / low ? factor
                                                        : 1 / ((1 - smooth) / factor + smooth);
    divisors.push_back(static_cast<float>(divisor));
  }
  return {"rope_freqs.weight",
          DType::kF32,
          {head_dim / 2},
          std::string(reinterpret_cast<const char*>(divisors.data()), divisors.size() * sizeof(float))};
}

absl::Status AddRope(const Json& rope, const std::string& prefix, int64_t head_dim, GgufModel& model) {
  const std::string type = rope["rope_type"];
  model[prefix + "rope.freq_base"] = rope["rope_theta"].get<double>();
  if (type == "default") return absl::OkStatus();
  if (type == "llama3") {
    model.tensors.push_back(Llama3Divisors(rope, head_dim));
    return absl::OkStatus();
  }
  if (type != "linear" && type != "yarn") return absl::UnimplementedError(type);
  model[prefix + "rope.scaling.type"] = type;
  model[prefix + "rope.scaling.factor"] = rope["factor"].get<double>();
  if (type != "yarn") return absl::OkStatus();
  model[prefix + "rope.scaling.original_context_length"] =
      rope["original_max_position_embeddings"].get<int64_t>();
  if (rope.contains("mscale")) {
    const double log_factor = std::log(rope["factor"].get<double>());
    const auto magnitude = [&](double mscale) { return 0.1 * mscale * log_factor + 1; };
    model[prefix + "rope.scaling.attn_factor"] =
        magnitude(rope["mscale"]) / magnitude(rope["mscale_all_dim"]) / magnitude(1);
    model[prefix + "rope.scaling.yarn_beta_fast"] = rope["beta_fast"].get<double>();
    model[prefix + "rope.scaling.yarn_beta_slow"] = rope["beta_slow"].get<double>();
  }
  return absl::OkStatus();
}

}  // namespace

const std::vector<std::string>& TinyGgufCases() {
  static const auto& names = *new std::vector<std::string>{"llama_base",
                                                           "llama_rope_linear",
                                                           "llama_rope_llama3",
                                                           "llama_rope_yarn",
                                                           "llama_rope_yarn_mscale",
                                                           "llama_tied_bias",
                                                           "mistral",
                                                           "qwen2",
                                                           "qwen3",
                                                           "gemma3_text"};
  return names;
}

absl::StatusOr<GgufModel> MakeTinyGguf(const std::string& case_name) {
  ASSIGN_OR_RETURN(const Json golden, ReadTinyGolden(case_name));
  const Json& config = golden["config"];
  const std::string type = config["model_type"];
  const bool gemma = type == "gemma3_text";
  if (config.value("use_sliding_window", false)) return absl::UnimplementedError("windows of some layers");
  const std::string architecture = gemma ? "gemma3" : type == "mistral" ? "llama" : type;
  const std::string prefix = architecture + ".";
  const int64_t heads = config["num_attention_heads"], hidden_size = config["hidden_size"];
  const int64_t head_dim = config.value("head_dim", hidden_size / heads);
  GgufModel model;
  model["general.architecture"] = architecture;
  model[prefix + "block_count"] = config["num_hidden_layers"].get<int64_t>();
  model[prefix + "context_length"] = config["max_position_embeddings"].get<int64_t>();
  model[prefix + "embedding_length"] = hidden_size;
  model[prefix + "feed_forward_length"] = config["intermediate_size"].get<int64_t>();
  model[prefix + "attention.head_count"] = heads;
  model[prefix + "attention.head_count_kv"] = config["num_key_value_heads"].get<int64_t>();
  model[prefix + "attention.key_length"] = head_dim;
  model[prefix + "attention.value_length"] = head_dim;
  model[prefix + "attention.layer_norm_rms_epsilon"] = config["rms_norm_eps"].get<double>();
  if (gemma || type == "mistral")
    model[prefix + "attention.sliding_window"] = config["sliding_window"].get<int64_t>();
  if (gemma) {
    model[prefix + "attention.sliding_window_pattern"] = int64_t{3};
    model[prefix + "attention.scale"] = 1 / std::sqrt(config["query_pre_attn_scalar"].get<double>());
  }
  const Json& rope = config["rope_parameters"];
  RETURN_IF_ERROR(AddRope(gemma ? rope["full_attention"] : rope, prefix, head_dim, model));
  for (TinyTensor& tensor : MakeTinyTensors(golden))
    model.tensors.push_back(ToGguf(std::move(tensor), config));
  return model;
}

}  // namespace ropeway::testing
