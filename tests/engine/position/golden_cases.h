// The golden cases of one attention layer: tests/golden/positions/attention.json.gz, made by a float64
// reference that shares nothing with the engine. Inputs and parameters come from seeds; outputs are rounded
// to 7 digits.
#ifndef ROPEWAY_TESTS_ENGINE_POSITION_GOLDEN_CASES_H_
#define ROPEWAY_TESTS_ENGINE_POSITION_GOLDEN_CASES_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/position/dape.h"
#include "engine/position/fire.h"
#include "engine/position/position_spec.h"
#include "engine/position/rope.h"
#include "nlohmann/json.hpp"

namespace ropeway::testing {

// A norm of queries or of keys.
struct GoldenNorm {
  std::string kind;  // "", "rms", "rms1p", "layernorm", "rms_full", "l2"
  std::vector<float> weight;
  double epsilon = 1e-6;
};

struct GoldenFire {
  std::vector<float> in_weights, in_biases, out_weights, out_biases;
  double c = 0, threshold = 0;

  FireWeights weights() const { return {in_weights, in_biases, out_weights, out_biases, c, threshold}; }
};

struct GoldenDape {
  std::vector<float> in_weights, in_biases, out_weights, out_biases;

  DapeWeights weights() const { return {in_weights, in_biases, out_weights, out_biases}; }
};

// Causal attention of T tokens over one another. Queries have H heads, keys and values G, all of width E.
struct GoldenCase {
  std::string name;
  int num_tokens = 0, num_heads = 0, num_kv_heads = 0, head_dim = 0;
  std::vector<float> queries;      // [T, H, E]
  std::vector<float> keys;         // [T, G, E]
  std::vector<float> values;       // [T, G, E]
  std::vector<int32_t> positions;  // [T]

  // What rotations are is said by `rotation` where there is one, not by the scheme: it has given frequencies.
  PositionSpec spec;
  Rotation rotation;  // no frequencies: none
  RopePairing pairing = RopePairing::kHalves;
  std::vector<int> axes;                             // [pairs] of M-RoPE; empty: not M-RoPE
  std::vector<std::array<int32_t, 3>> positions_3d;  // [T] of M-RoPE

  std::vector<float> shaw_keys, shaw_values;                  // [tables, 2 K + 1, E]
  std::vector<float> t5_table;                                // [num_buckets, H]
  std::vector<float> xl_projection, xl_content, xl_position;  // [H E, xl_width], [H, E], [H, E]
  int xl_width = 0;
  std::vector<float> kerple_r1, kerple_r2;  // [H]
  GoldenFire fire;                          // init_length of the spec is 1
  GoldenDape dape;

  double scale = 0, softcap = 0;
  std::vector<float> sinks;  // [H], or empty
  GoldenNorm query_norm, key_norm;
  bool norm_after_rotation = false;
  QueryScale query_scale;

  std::vector<double> out;     // [T, H, E]
  std::vector<double> logits;  // [H, T, T], 0 where not visible; empty: not told
};

// A file of tests/golden/positions.
absl::StatusOr<nlohmann::json> ReadGoldenPositions(const std::string& name);

absl::StatusOr<std::vector<GoldenCase>> ReadGoldenCases();

// The array of a recipe {"seed", "shape", "lo", "hi"}.
std::vector<float> GoldenArray(const nlohmann::json& recipe);

GoldenFire GoldenFireOf(const nlohmann::json& params);
GoldenDape GoldenDapeOf(const nlohmann::json& params);

}  // namespace ropeway::testing

#endif  // ROPEWAY_TESTS_ENGINE_POSITION_GOLDEN_CASES_H_
