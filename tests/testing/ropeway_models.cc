#include "tests/testing/ropeway_models.h"

#include <algorithm>
#include <fstream>
#include <utility>

#include "engine/base/splitmix.h"
#include "engine/base/status_macros.h"
#include "tests/testing/gzip_file.h"

namespace ropeway::testing {
namespace {

using Json = nlohmann::ordered_json;

absl::StatusOr<Json> ReadGolden(const char* path) {
  ASSIGN_OR_RETURN(const std::string text, ReadGzipFile(path));
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return absl::DataLossError(std::string(path) + ": not JSON");
  return json;
}

uint64_t Fnv1a64(const std::string& text) {
  uint64_t hash = 0xCBF29CE484222325;
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001B3;
  return hash;
}

// Weights are (center + scale * unit) / 1024, unit uniform in [-1, 1), keyed by seed and name.
void Fill(uint64_t seed, double center, double scale, TinyTensor& tensor) {
  const uint64_t key = SplitMix(seed + kGoldenRatio64) ^ Fnv1a64(tensor.name);
  int64_t count = 1;
  for (const int64_t extent : tensor.shape) count *= extent;
  tensor.values.resize(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    const uint64_t z = SplitMix(key + (static_cast<uint64_t>(i) + 1) * kGoldenRatio64);
    const double unit = static_cast<double>(static_cast<int64_t>(z >> 40) - (1 << 23)) * 0x1p-23;
    tensor.values[static_cast<size_t>(i)] = static_cast<float>((center + scale * unit) / 1024);
  }
}

absl::Status WriteFile(const std::string& path, const std::string& content) {
  std::ofstream file(path, std::ios::binary);
  file.write(content.data(), static_cast<std::streamsize>(content.size()));
  file.flush();
  if (!file.good()) return absl::InternalError("cannot write " + path);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Json> ReadRopewayModels() { return ReadGolden("tests/golden/positions/models.json.gz"); }

absl::StatusOr<Json> ReadInvalidRopewayModels() {
  return ReadGolden("tests/golden/positions/invalid_models.json.gz");
}

std::vector<TinyTensor> MakeRopewayTensors(const Json& model) {
  std::vector<TinyTensor> tensors;
  for (const auto& [name, fill] : model["fills"].items()) {
    TinyTensor& tensor = tensors.emplace_back();
    tensor.name = name;
    tensor.shape = fill[0].get<std::vector<int64_t>>();
    Fill(model["seed"], fill[1], fill[2], tensor);
  }
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return tensors;
}

absl::Status WriteRopewayModel(const Json& config, const std::vector<TinyTensor>& tensors,
                               const std::string& path) {
  RETURN_IF_ERROR(WriteFile(path + "/config.json", config.dump(2)));
  return WriteFile(path + "/model.safetensors", SafetensorsBytes(tensors));
}

}  // namespace ropeway::testing
