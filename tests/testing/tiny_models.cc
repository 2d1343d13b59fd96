#include "tests/testing/tiny_models.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/splitmix.h"
#include "engine/base/status_macros.h"
#include "tests/testing/gzip_file.h"
#include "tests/testing/npy_file.h"

namespace ropeway::testing {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kGoldenFolder[] = "tests/golden/models/tiny/";

uint64_t Fnv1a64(const std::string& text) {
  uint64_t hash = 0xCBF29CE484222325;
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001B3;
  return hash;
}

// Weights of a tensor are center + scale * unit, unit uniform in [-1, 1); both in 1/1024.
struct FillRule {
  double center, scale;
};

FillRule RuleOf(const Json& golden, const TinyTensor& tensor) {
  const bool weight = absl::EndsWith(tensor.name, "weight");
  if (weight && (tensor.shape.size() == 1 || absl::StrContains(tensor.name, "norm")))
    return {std::nearbyint(1024 * golden["norm_center"].get<double>()), 512};
  if (tensor.shape.size() == 1) return {0, 512};
  if (absl::StrContains(tensor.name, "embed")) return {0, golden["embed_scale"].get<double>()};
  const double width = std::sqrt(static_cast<double>(tensor.shape.back()));
  return {0, std::max(1.0, std::nearbyint(1024 * 1.5 * std::sqrt(3.0) / width))};
}

void Fill(const Json& golden, TinyTensor& tensor) {
  const FillRule rule = RuleOf(golden, tensor);
  const uint64_t key = SplitMix(golden["seed"].get<uint64_t>() + kGoldenRatio64) ^ Fnv1a64(tensor.name);
  int64_t count = 1;
  for (const int64_t extent : tensor.shape) count *= extent;
  tensor.values.resize(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    const uint64_t z = SplitMix(key + (static_cast<uint64_t>(i) + 1) * kGoldenRatio64);
    const double unit = static_cast<double>(static_cast<int64_t>(z >> 40) - (1 << 23)) * 0x1p-23;
    tensor.values[static_cast<size_t>(i)] = static_cast<float>((rule.center + rule.scale * unit) / 1024);
  }
}

// Names and shapes that transformers writes for a config of the supported families.
std::vector<TinyTensor> Shapes(const Json& config) {
  const std::string type = config["model_type"];
  const int64_t d = config["hidden_size"], f = config["intermediate_size"], v = config["vocab_size"];
  const int64_t heads = config["num_attention_heads"], kv_heads = config["num_key_value_heads"];
  const int64_t head_dim = config.value("head_dim", d / heads), h = heads * head_dim, k = kv_heads * head_dim;
  const bool attention_bias = config.value("attention_bias", false),
             mlp_bias = config.value("mlp_bias", false);
  std::vector<TinyTensor> tensors;
  const auto add = [&](std::string name, std::vector<int64_t> shape) {
    tensors.push_back({std::move(name), std::move(shape), {}});
  };
  add("model.embed_tokens.weight", {v, d});
  add("model.norm.weight", {d});
  if (!config["tie_word_embeddings"]) add("lm_head.weight", {v, d});
  for (int layer = 0; layer < config["num_hidden_layers"]; ++layer) {
    const std::string prefix = absl::StrCat("model.layers.", layer, ".");
    const auto linear = [&](const char* name, int64_t outputs, int64_t inputs, bool bias) {
      add(absl::StrCat(prefix, name, ".weight"), {outputs, inputs});
      if (bias) add(absl::StrCat(prefix, name, ".bias"), {outputs});
    };
    const auto norm = [&](const char* name, int64_t size) {
      add(absl::StrCat(prefix, name, ".weight"), {size});
    };
    linear("self_attn.q_proj", h, d, attention_bias || type == "qwen2");
    linear("self_attn.k_proj", k, d, attention_bias || type == "qwen2");
    linear("self_attn.v_proj", k, d, attention_bias || type == "qwen2");
    linear("self_attn.o_proj", d, h, attention_bias);
    linear("mlp.gate_proj", f, d, mlp_bias);
    linear("mlp.up_proj", f, d, mlp_bias);
    linear("mlp.down_proj", d, f, mlp_bias);
    norm("input_layernorm", d);
    norm("post_attention_layernorm", d);
    if (type == "qwen3" || type == "gemma3_text") {
      norm("self_attn.q_norm", head_dim);
      norm("self_attn.k_norm", head_dim);
    }
    if (type == "gemma3_text") {
      norm("pre_feedforward_layernorm", d);
      norm("post_feedforward_layernorm", d);
    }
  }
  return tensors;
}

absl::Status WriteFile(const std::string& path, const std::string& content) {
  std::ofstream file(path, std::ios::binary);
  file.write(content.data(), static_cast<std::streamsize>(content.size()));
  file.flush();
  if (!file.good()) return absl::InternalError("cannot write " + path);
  return absl::OkStatus();
}

absl::Status WriteShards(const std::vector<TinyTensor>& tensors, int num_shards, const std::string& path) {
  std::vector<std::vector<TinyTensor>> shards(static_cast<size_t>(num_shards));
  Json weight_map = Json::object();
  int64_t total_bytes = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const size_t shard = i * shards.size() / tensors.size();
    weight_map[tensors[i].name] = absl::StrFormat("model-%05d-of-%05d.safetensors", shard + 1, num_shards);
    total_bytes += static_cast<int64_t>(tensors[i].values.size() * sizeof(float));
    shards[shard].push_back(tensors[i]);
  }
  for (size_t i = 0; i < shards.size(); ++i)
    RETURN_IF_ERROR(WriteFile(absl::StrFormat("%s/model-%05d-of-%05d.safetensors", path, i + 1, num_shards),
                              SafetensorsBytes(shards[i])));
  const Json index = {{"metadata", {{"total_size", total_bytes}}}, {"weight_map", weight_map}};
  return WriteFile(path + "/model.safetensors.index.json", index.dump(2));
}

}  // namespace

const std::vector<std::string>& SupportedTinyCases() {
  static const auto& names = *new std::vector<std::string>{"llama_base",
                                                           "llama_rope_linear",
                                                           "llama_rope_llama3",
                                                           "llama_rope_yarn",
                                                           "llama_rope_yarn_mscale",
                                                           "llama_tied_bias",
                                                           "mistral",
                                                           "qwen2",
                                                           "qwen2_window",
                                                           "qwen3",
                                                           "gemma3_text"};
  return names;
}

absl::StatusOr<Json> ReadTinyGolden(const std::string& case_name) {
  ASSIGN_OR_RETURN(const std::string text, ReadGzipFile(absl::StrCat(kGoldenFolder, case_name, ".json")));
  Json golden = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (golden.is_discarded()) return absl::DataLossError(case_name + ": not JSON");
  return golden;
}

absl::StatusOr<std::vector<float>> ReadTinyLogits(const std::string& case_name) {
  ASSIGN_OR_RETURN(FloatArray array, ReadNpyFile(absl::StrCat(kGoldenFolder, case_name, ".npy")));
  return std::move(array.values);
}

std::vector<TinyTensor> MakeTinyTensors(const Json& golden) {
  std::vector<TinyTensor> tensors = Shapes(golden["config"]);
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  for (TinyTensor& tensor : tensors) Fill(golden, tensor);
  return tensors;
}

std::string SafetensorsBytes(const std::vector<TinyTensor>& tensors) {
  Json header = {{"__metadata__", {{"format", "pt"}}}};
  std::string data;
  for (const TinyTensor& tensor : tensors) {
    const size_t first = data.size();
    data.append(reinterpret_cast<const char*>(tensor.values.data()), tensor.values.size() * sizeof(float));
    header[tensor.name] = {{"dtype", "F32"}, {"shape", tensor.shape}, {"data_offsets", {first, data.size()}}};
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(text.size() >> (8 * i) & 0xFF));
  return bytes + text + data;
}

absl::Status WriteTinyModel(const std::string& case_name, const std::string& path,
                            const TinyModelOptions& options) {
  ASSIGN_OR_RETURN(const Json golden, ReadTinyGolden(case_name));
  const char* key = options.spelling == ConfigSpelling::kRopeTheta ? "config_v4" : "config";
  RETURN_IF_ERROR(WriteFile(path + "/config.json", golden[key].dump(2)));
  const std::vector<TinyTensor> tensors = MakeTinyTensors(golden);
  if (options.num_shards > 1) return WriteShards(tensors, options.num_shards, path);
  return WriteFile(path + "/model.safetensors", SafetensorsBytes(tensors));
}

}  // namespace ropeway::testing
