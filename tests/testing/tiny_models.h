// Tiny random checkpoints, byte for byte those of tests/golden/models/make_tiny.py, whose logits and greedy
// tokens under another implementation are in tests/golden/models/tiny.
//
// No weights are stored: every number comes from splitmix64, keyed by seed and tensor name.
#ifndef ROPEWAY_TESTS_TESTING_TINY_MODELS_H_
#define ROPEWAY_TESTS_TESTING_TINY_MODELS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace ropeway::testing {

// Names of the cases whose architecture and settings the engine supports.
const std::vector<std::string>& SupportedTinyCases();

// The golden file of a case. Its keys that matter to tests: "config", "config_v4",
// "sequences"[i].{"input_ids", "first_logits_position", "greedy".{"token_ids", "margins"}},
// "suggested_max_abs_error", "safetensors_sha256".
absl::StatusOr<nlohmann::ordered_json> ReadTinyGolden(const std::string& case_name);

// Logits of the last 8 positions of both sequences: [2, 8, vocab_size].
absl::StatusOr<std::vector<float>> ReadTinyLogits(const std::string& case_name);

struct TinyTensor {
  std::string name;            // as Hugging Face names it
  std::vector<int64_t> shape;  // outermost first
  std::vector<float> values;   // row-major
  // Instead, of another type: parts of MXFP4 are U8.
  std::vector<uint8_t> bytes = {};
  const char* bytes_type = "U8";
};

// Values are (center + scale * unit) / 1024, unit uniform in [-1, 1).
struct FillRule {
  double center, scale;
};

// Makes the values of a tensor, keyed by seed and name, for its shape.
void FillTensor(uint64_t seed, FillRule rule, TinyTensor& tensor);

absl::Status WriteFile(const std::string& path, const std::string& content);

// All tensors of the case, sorted by name.
std::vector<TinyTensor> MakeTinyTensors(const nlohmann::ordered_json& golden);

// The content of a safetensors file with these float32 tensors, in the order given.
std::string SafetensorsBytes(const std::vector<TinyTensor>& tensors);

enum class ConfigSpelling {
  kRopeParameters,  // "rope_parameters", "dtype"
  kRopeTheta,       // "rope_theta", "rope_scaling", "torch_dtype": transformers 4
};

struct TinyModelOptions {
  ConfigSpelling spelling = ConfigSpelling::kRopeParameters;
  int num_shards = 1;  // 1: model.safetensors; more: an index and shards
};

// Writes config.json and the weights of a case into the existing folder `path`.
absl::Status WriteTinyModel(const std::string& case_name, const std::string& path,
                            const TinyModelOptions& options = {});

}  // namespace ropeway::testing

#endif  // ROPEWAY_TESTS_TESTING_TINY_MODELS_H_
