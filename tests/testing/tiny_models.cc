#include "tests/testing/tiny_models.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "engine/base/splitmix.h"
#include "engine/base/status_macros.h"
#include "engine/model/hf_model.h"
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

uint64_t KeyOf(uint64_t seed, const std::string& name) {
  return SplitMix(seed + kGoldenRatio64) ^ Fnv1a64(name);
}

int64_t CountOf(const TinyTensor& tensor) {
  int64_t count = 1;
  for (const int64_t extent : tensor.shape) count *= extent;
  return count;
}

FillRule RuleOf(const Json& golden, const TinyTensor& tensor) {
  const auto has = [&](absl::string_view part) { return absl::StrContains(tensor.name, part); };
  if (absl::EndsWith(tensor.name, "sinks")) return {0, 2048};
  if (absl::EndsWith(tensor.name, "weight") && (tensor.shape.size() == 1 || has("norm") || has("ln_")))
    return {std::nearbyint(1024 * golden["norm_center"].get<double>()), 512};
  // A strong bias would leave experts unused.
  if (has("e_score")) return {0, 128};
  if (tensor.shape.size() == 1) return {0, has("router") ? 128.0 : 512.0};
  if ((has("embed") || has("wte") || has("wpe")) && !has("proj"))
    return {0, golden["embed_scale"].get<double>()};
  const double width = std::sqrt(static_cast<double>(tensor.shape.back()));
  return {0, std::max(1.0, std::nearbyint(1024 * 1.5 * std::sqrt(3.0) / width))};
}

bool IsOfBytes(const TinyTensor& tensor) {
  return absl::EndsWith(tensor.name, "_blocks") || absl::EndsWith(tensor.name, "_scales");
}

// Codes of any kind, and scales of 2^-5 to 2^-3.
void FillBytes(uint64_t seed, TinyTensor& tensor) {
  const uint64_t key = KeyOf(seed, tensor.name);
  tensor.bytes.resize(static_cast<size_t>(CountOf(tensor)));
  for (size_t i = 0; i < tensor.bytes.size(); ++i) {
    const auto byte = static_cast<uint8_t>(SplitMix(key + (i + 1) * kGoldenRatio64) >> 56);
    tensor.bytes[i] = absl::EndsWith(tensor.name, "_scales") ? static_cast<uint8_t>(122 + byte % 3) : byte;
  }
}

// Of xIELU: tensors that keep what the model class gives them.
bool FillConstant(TinyTensor& tensor) {
  if (!tensor.shape.empty()) return false;
  tensor.values = {absl::EndsWith(tensor.name, "act_fn.beta") ? 0.5f : -1e-6f};
  return true;
}

// Names and shapes that the engine's reader wants: those that transformers writes, or the digest in the
// golden file (tiny_models_test) differs.
std::vector<TinyTensor> Shapes(const Json& config) {
  std::vector<TinyTensor> tensors;
  const absl::StatusOr<NamedTensors::Needs> needs = HfTensors(config.dump());
  if (!needs.ok()) return tensors;
  for (const auto& [name, need] : *needs) {
    std::vector<int64_t> shape = need.shape;
    const bool is_packed = config.contains("quantization_config") && shape.size() == 3;
    if (is_packed) {
      shape.back() /= 32;
      tensors.push_back({name + "_scales", shape, {}});
      shape.push_back(16);
    }
    tensors.push_back({is_packed ? name + "_blocks" : name, std::move(shape), {}});
  }
  return tensors;
}

absl::Status WriteShards(const std::vector<TinyTensor>& tensors, int num_shards, const std::string& path) {
  std::vector<std::vector<TinyTensor>> shards(static_cast<size_t>(num_shards));
  Json weight_map = Json::object();
  int64_t total_bytes = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const size_t shard = i * shards.size() / tensors.size();
    weight_map[tensors[i].name] = absl::StrFormat("model-%05d-of-%05d.safetensors", shard + 1, num_shards);
    total_bytes += static_cast<int64_t>(tensors[i].values.size() * sizeof(float) + tensors[i].bytes.size());
    shards[shard].push_back(tensors[i]);
  }
  for (size_t i = 0; i < shards.size(); ++i)
    RETURN_IF_ERROR(WriteFile(absl::StrFormat("%s/model-%05d-of-%05d.safetensors", path, i + 1, num_shards),
                              SafetensorsBytes(shards[i])));
  const Json index = {{"metadata", {{"total_size", total_bytes}}}, {"weight_map", weight_map}};
  return WriteFile(path + "/model.safetensors.index.json", index.dump(2));
}

}  // namespace

void FillTensor(uint64_t seed, FillRule rule, TinyTensor& tensor) {
  const uint64_t key = KeyOf(seed, tensor.name);
  const int64_t count = CountOf(tensor);
  tensor.values.resize(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    const uint64_t z = SplitMix(key + (static_cast<uint64_t>(i) + 1) * kGoldenRatio64);
    const double unit = static_cast<double>(static_cast<int64_t>(z >> 40) - (1 << 23)) * 0x1p-23;
    tensor.values[static_cast<size_t>(i)] = static_cast<float>((rule.center + rule.scale * unit) / 1024);
  }
}

absl::Status WriteFile(const std::string& path, const std::string& content) {
  std::ofstream file(path, std::ios::binary);
  file.write(content.data(), static_cast<std::streamsize>(content.size()));
  file.flush();
  if (!file.good()) return absl::InternalError("cannot write " + path);
  return absl::OkStatus();
}

const std::vector<std::string>& SupportedTinyCases() {
  static const auto& names = *new std::vector<std::string>(absl::StrSplit(
      "llama_base llama_rope_linear llama_rope_llama3 llama_rope_yarn llama_rope_yarn_mscale "
      "llama_tied_bias mistral qwen2 qwen2_window qwen3 gemma gemma2 gemma3_text internlm3 smollm3 "
      "arcee seed_oss granite helium ernie4_5 hunyuan_v1_dense exaone4 olmo olmo2 olmo3 nemotron glm "
      "glm4 cohere cohere2 phi phi_qk_layernorm phi3 persimmon stablelm stablelm_parallel starcoder2 "
      "gpt2 gpt2_scaled gpt_bigcode gpt_neo gptj codegen gpt_neox gpt_neox_sequential opt biogpt xglm "
      "bloom mpt falcon_rw falcon_7b falcon_40b falcon_11b mixtral qwen2_moe qwen3_moe olmoe "
      "granitemoe gpt_oss llama4_text deepseek_v3 minicpm3 ministral3 apertus opt_post_norm "
      "bloom_pow2 llama_rope_dynamic llama_rope_longrope phi3_longrope phi3_partial "
      "deepseek_v3_plain deepseek_v2 granitemoeshared hunyuan_v1_moe glm4_moe "
      "baichuan2 baichuan_alibi chatglm chatglm2_32k chatglm_layernorm ernie4_5_moe gpt_oss_mxfp4 internlm2 "
      "qwen qwen_plain",
      ' '));
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
  for (TinyTensor& tensor : tensors) {
    if (IsOfBytes(tensor))
      FillBytes(golden["seed"], tensor);
    else if (!FillConstant(tensor))
      FillTensor(golden["seed"], RuleOf(golden, tensor), tensor);
  }
  return tensors;
}

std::string SafetensorsBytes(const std::vector<TinyTensor>& tensors) {
  Json header = {{"__metadata__", {{"format", "pt"}}}};
  std::string data;
  for (const TinyTensor& tensor : tensors) {
    const size_t first = data.size();
    data.append(reinterpret_cast<const char*>(tensor.values.data()), tensor.values.size() * sizeof(float));
    data.append(tensor.bytes.begin(), tensor.bytes.end());
    header[tensor.name] = {{"dtype", tensor.bytes.empty() ? "F32" : tensor.bytes_type},
                           {"shape", tensor.shape},
                           {"data_offsets", {first, data.size()}}};
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
