#include "tests/testing/ropeway_models.h"

#include <algorithm>
#include <utility>

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
    FillTensor(model["seed"], {fill[1], fill[2]}, tensor);
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
