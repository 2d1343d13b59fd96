#include "tests/engine/position/golden_cases.h"

#include <cmath>
#include <numeric>

#include "engine/base/splitmix.h"
#include "engine/base/status_macros.h"
#include "engine/position/mrope.h"
#include "tests/testing/gzip_file.h"

namespace ropeway::testing {
namespace {

using Json = nlohmann::json;

std::vector<float> Uniform(uint64_t seed, int64_t count, double low, double high) {
  std::vector<float> values(count);
  for (int64_t i = 0; i < count; ++i) {
    const uint64_t word = SplitMix(seed + (i + 1) * kGoldenRatio64);
    const double unit = static_cast<double>(word >> 40) * 0x1p-23 - 1;
    values[i] = static_cast<float>(low + (unit + 1) * 0.5 * (high - low));
  }
  return values;
}

void ReadRotation(const Json& spec, GoldenCase& golden) {
  golden.rotation.frequencies = spec["inv_freq"].get<std::vector<double>>();
  for (double& frequency : golden.rotation.frequencies) frequency /= spec.value("pos_scale", 1.0);
  golden.rotation.attention_factor = spec.value("attn_factor", 1.0);
  golden.pairing = spec["pairing"] == "half" ? RopePairing::kHalves : RopePairing::kInterleaved;
}

void ReadMRope(const Json& scheme, GoldenCase& golden) {
  ReadRotation(scheme, golden);
  golden.axes = MRopeAxes(scheme["sections"].get<std::array<int, 3>>(), scheme["interleaved"]);
  for (int t = 0; t < golden.num_tokens; ++t)
    golden.positions_3d.push_back({scheme["q_pos3"][0][t], scheme["q_pos3"][1][t], scheme["q_pos3"][2][t]});
}

Rpe3dSpec Rpe3dOf(const Json& scheme) {
  Rpe3dSpec spec{.base = scheme["base"], .phi_base = scheme.value("base_phi", scheme["base"].get<double>())};
  if (scheme["type"] == "rpe3d") {
    spec.chunk_size = scheme["chunk"];
    spec.pi_factor = scheme.value("pi_factor", 1.0);
  } else {
    spec.form = Rpe3dForm::kChunked;
    spec.chunk_size = scheme["chunk_size"];
    spec.local_window = scheme["local_window"];
  }
  return spec;
}

// A scheme with a static bias, also as DAPE's base.
PositionScheme ReadBias(const Json& scheme, GoldenCase& golden) {
  const std::string type = scheme["type"];
  if (type == "alibi")
    return AlibiSpec{.max_bias = scheme["max_bias"], .scaled = scheme.value("pre_scale", false)};
  if (type == "t5") {
    golden.t5_table = GoldenArray(scheme["table"]);
    return T5Spec{.num_buckets = scheme["num_buckets"], .max_distance = scheme["max_distance"]};
  }
  if (type == "sandwich") return SandwichSpec{.dim = scheme["d_bar"]};
  if (type == "fire") {
    const Json& params = scheme["params"];
    golden.fire = GoldenFireOf(params);
    return FireSpec{
        .width = static_cast<int32_t>(golden.fire.in_weights.size()),
        .init_length = 1,
        .activation = params["act"] == "relu" ? FireActivation::kRelu : FireActivation::kLeakyRelu};
  }
  golden.kerple_r1 = GoldenArray(scheme["r1"]);
  golden.kerple_r2 = GoldenArray(scheme["r2"]);
  return KerpleSpec{type == "kerple_log" ? KerpleVariant::kLog : KerpleVariant::kPower};
}

DapeBase ReadDapeBase(const Json& scheme, GoldenCase& golden) {
  if (!scheme["bias"].is_null()) {
    const PositionScheme base = ReadBias(scheme["bias"], golden);
    if (const auto* alibi = std::get_if<AlibiSpec>(&base)) return *alibi;
    if (const auto* kerple = std::get_if<KerpleSpec>(&base)) return *kerple;
    return std::get<FireSpec>(base);
  }
  if (scheme.contains("rope") && !scheme["rope"].is_null()) ReadRotation(scheme["rope"], golden);
  return NopeSpec();
}

void ReadScheme(const Json& scheme, GoldenCase& golden) {
  if (scheme.is_null()) return;
  const std::string type = scheme["type"];
  if (type == "rope") {
    ReadRotation(scheme["spec"], golden);
  } else if (type == "mrope") {
    ReadMRope(scheme, golden);
  } else if (type == "rpe3d" || type == "rpe3d_code") {
    golden.spec.scheme = Rpe3dOf(scheme);
  } else if (type == "shaw") {
    golden.shaw_keys = GoldenArray(scheme["rel_k"]);
    if (scheme.contains("rel_v")) golden.shaw_values = GoldenArray(scheme["rel_v"]);
    golden.spec.scheme = ShawSpec{.clip = scheme["k_clip"],
                                  .value = scheme.contains("rel_v"),
                                  .per_head = scheme["rel_k"]["shape"].size() == 3};
  } else if (type == "xl") {
    golden.xl_projection = GoldenArray(scheme["w_kr"]);
    golden.xl_content = GoldenArray(scheme["u"]);
    golden.xl_position = GoldenArray(scheme["v"]);
    golden.xl_width = scheme["d_model"];
    golden.spec.scheme = TransformerXlSpec();
  } else if (type == "dape") {
    golden.dape = GoldenDapeOf(scheme["params"]);
    golden.spec.scheme = DapeSpec{.base = ReadDapeBase(scheme, golden)};
  } else {
    golden.spec.scheme = ReadBias(scheme, golden);
  }
}

GoldenNorm ReadNorm(const Json& options, const char* name) {
  if (!options.contains(name)) return {};
  const Json& norm = options[name];
  return {.kind = norm["kind"],
          .weight = norm.contains("weight") ? GoldenArray(norm["weight"]) : std::vector<float>(),
          .epsilon = norm["eps"]};
}

void ReadOptions(const Json& options, GoldenCase& golden) {
  golden.positions.resize(golden.num_tokens);
  std::iota(golden.positions.begin(), golden.positions.end(), options.value("pos_offset", 0));
  if (options.contains("k_pos")) golden.positions = options["k_pos"].get<std::vector<int32_t>>();
  golden.scale = options.value("scale", 1 / std::sqrt(static_cast<double>(golden.head_dim)));
  golden.softcap = options.value("cap", 0.0);
  golden.spec.window = options.value("window", 0);
  golden.spec.chunk = options.value("chunk", 0);
  if (options.contains("sink")) golden.sinks = GoldenArray(options["sink"]);
  golden.query_norm = ReadNorm(options, "q_norm");
  golden.key_norm = ReadNorm(options, "k_norm");
  golden.norm_after_rotation = options.value("norm_after_rope", false);
  const std::string scale = options.value("q_scale", "");
  if (scale == "llama4") golden.query_scale = TemperatureScale();
  if (scale == "logn8") golden.query_scale = LognScale{.train_length = 8};
}

GoldenCase ReadCase(const Json& inputs, const Json& one) {
  const Json& input = inputs[one["input"].get<std::string>()];
  GoldenCase golden{.name = one["name"],
                    .num_tokens = input["T"],
                    .num_heads = input["H"],
                    .num_kv_heads = input["Hkv"],
                    .head_dim = input["D"]};
  const int64_t queries = int64_t{golden.num_tokens} * golden.num_heads * golden.head_dim,
                keys = int64_t{golden.num_tokens} * golden.num_kv_heads * golden.head_dim;
  golden.queries = Uniform(input["seed_q"], queries, -1, 1);
  golden.keys = Uniform(input["seed_k"], keys, -1, 1);
  golden.values = Uniform(input["seed_v"], keys, -1, 1);
  ReadOptions(one["options"], golden);
  ReadScheme(one["scheme"], golden);
  golden.out = one["out"].get<std::vector<double>>();
  if (one.contains("logits")) golden.logits = one["logits"].get<std::vector<double>>();
  return golden;
}

}  // namespace

absl::StatusOr<Json> ReadGoldenPositions(const std::string& name) {
  ASSIGN_OR_RETURN(const std::string text, ReadGzipFile("tests/golden/positions/" + name));
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return absl::InvalidArgumentError(name + " is no JSON");
  return json;
}

absl::StatusOr<std::vector<GoldenCase>> ReadGoldenCases() {
  ASSIGN_OR_RETURN(const Json file, ReadGoldenPositions("attention.json.gz"));
  std::vector<GoldenCase> cases;
  for (const Json& one : file["cases"]) cases.push_back(ReadCase(file["inputs"], one));
  return cases;
}

std::vector<float> GoldenArray(const Json& recipe) {
  int64_t count = 1;
  for (const int64_t size : recipe["shape"].get<std::vector<int64_t>>()) count *= size;
  return Uniform(recipe["seed"], count, recipe["lo"], recipe["hi"]);
}

GoldenFire GoldenFireOf(const Json& params) {
  return {.in_weights = GoldenArray(params["w1"]),
          .in_biases = GoldenArray(params["b1"]),
          .out_weights = GoldenArray(params["w2"]),
          .out_biases = GoldenArray(params["b2"]),
          .c = params["c"],
          .threshold = params["L"]};
}

GoldenDape GoldenDapeOf(const Json& params) {
  return {.in_weights = GoldenArray(params["w1"]),
          .in_biases = GoldenArray(params["b1"]),
          .out_weights = GoldenArray(params["w2"]),
          .out_biases = GoldenArray(params["b2"])};
}

}  // namespace ropeway::testing
