#include "tests/engine/exec/real_golden.h"

#include <cmath>
#include <utility>

#include "absl/status/status.h"
#include "engine/base/status_macros.h"
#include "nlohmann/json.hpp"
#include "tests/testing/gzip_file.h"
#include "tests/testing/npy_file.h"

namespace ropeway::testing {
namespace {

using Json = nlohmann::json;

std::string GoldenFolder(const std::string& model) { return "tests/golden/models/" + model + "/"; }

absl::StatusOr<Json> ReadJson(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadGzipFile(path));
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return absl::DataLossError(path + " is not JSON");
  return json;
}

std::vector<double> NumbersOrNan(const Json& values) {
  std::vector<double> numbers;
  for (const Json& value : values) numbers.push_back(value.is_null() ? NAN : value.get<double>());
  return numbers;
}

}  // namespace

std::string RealModelPath(const std::string& model) {
  return model == kSmolLm2 ? "models/SmolLM2-135M-Instruct.Q4_1.gguf" : "models/gemma-3-270m-q4_k_m.gguf";
}

absl::StatusOr<GoldenPrompt> ReadGoldenPrompt(const std::string& model, const std::string& prompt) {
  ASSIGN_OR_RETURN(const Json json, ReadJson(GoldenFolder(model) + prompt + ".json"));
  GoldenPrompt golden{.ids = json["token_ids"],
                      .logprobs = NumbersOrNan(json["prompt_logprobs"]),
                      .greedy = json["greedy"]["token_ids"],
                      .margins = json["greedy"]["margins"],
                      .last_logits = {}};
  if (json["last_logits"].is_null()) return golden;
  ASSIGN_OR_RETURN(FloatArray logits,
                   ReadNpyFile(GoldenFolder(model) + json["last_logits"].get<std::string>()));
  golden.last_logits = std::move(logits.values);
  return golden;
}

absl::StatusOr<GoldenText> ReadGoldenText(const std::string& model) {
  ASSIGN_OR_RETURN(const Json json, ReadJson(GoldenFolder(model) + "perplexity.json"));
  return GoldenText{.ids = json["token_ids"], .logprobs = NumbersOrNan(json["logprobs"])};
}

}  // namespace ropeway::testing
