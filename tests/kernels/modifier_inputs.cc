#include "tests/kernels/modifier_inputs.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "engine/base/check.h"
#include "tests/kernels/kernel_inputs.h"

namespace ropeway::kernels {
namespace {

std::vector<float> Uniform(int64_t count, float low, float high, uint64_t seed) {
  Random random(seed);
  std::vector<float> values(count);
  for (float& value : values) value = random.Uniform(low, high);
  return values;
}

void AddTable(ModifierInputs& inputs, const ModifierShape& shape, int rows, int32_t num_distances) {
  inputs.modifier.bias.kind = BiasKind::kDistance;
  inputs.modifier.bias.table =
      inputs.KeepDistances(Uniform(int64_t{rows} * num_distances, -3, 3, 51), num_distances);
  if (rows == 1) inputs.modifier.bias.factors = inputs.Keep(Uniform(shape.num_heads, -1, 1, 52));
  inputs.magnitude += 3;
}

void AddSlopes(ModifierInputs& inputs, const ModifierShape& shape) {
  inputs.modifier.bias.kind = BiasKind::kSlope;
  std::vector<float> slopes(shape.num_heads);
  for (int h = 0; h < shape.num_heads; ++h) slopes[h] = std::exp2(-1.3f * static_cast<float>(h + 1));
  inputs.modifier.bias.slopes = inputs.Keep(slopes);
  inputs.magnitude += 0.5 * shape.length;
}

// A continuous function of `segments` lines through random points, which lie close together near zero.
void AddFire(ModifierInputs& inputs, const ModifierShape& shape, int segments) {
  constexpr double kSlope = 0.1, kLength = 20;
  const auto psi = [](double x) { return std::log(kSlope * x + 1); };
  std::vector<float> table(shape.length), normalisers(shape.length);
  for (int i = 0; i < shape.length; ++i) {
    table[i] = static_cast<float>(psi(i));
    normalisers[i] = static_cast<float>(1 / (psi(std::max<double>(i, kLength)) + 1e-6));
  }
  inputs.modifier.bias.table = inputs.KeepDistances(table, shape.length);
  const std::vector<float> at_knots = Uniform(int64_t{shape.num_heads} * (segments + 1), -2, 2, 53);
  std::vector<float> knots(segments), slopes, intercepts;
  for (int s = 0; s < segments; ++s) knots[s] = 1.2f * static_cast<float>(s) / static_cast<float>(segments);
  for (int h = 0; h < shape.num_heads; ++h)
    for (int s = 0; s < segments; ++s) {
      const float* y = &at_knots[h * (segments + 1) + s];
      slopes.push_back((y[1] - y[0]) * static_cast<float>(segments) / 1.2f);
      intercepts.push_back(y[0] - slopes.back() * knots[s]);
    }
  ScoreBias& bias = inputs.modifier.bias;
  bias.kind = BiasKind::kFire;
  bias.fire = {.normalisers = inputs.Keep(normalisers),
               .knots = inputs.Keep(knots),
               .slopes = inputs.Keep(slopes),
               .intercepts = inputs.Keep(intercepts),
               .num_segments = segments};
  inputs.magnitude += 7.0 * segments;  // of the two terms that cancel
}

void AddRelativeKeys(ModifierInputs& inputs, const ModifierShape& shape, int32_t num_distances, bool per_head,
                     bool offsets) {
  const int64_t heads = per_head ? shape.num_heads : 1;
  RelativeKeys& keys = inputs.modifier.relative_keys;
  keys.rows = inputs.KeepVectors(Uniform(heads * num_distances * shape.head_dim, -1, 1, 60), num_distances,
                                 shape.head_dim);
  if (offsets) {
    keys.content_offsets = inputs.Keep(Uniform(int64_t{shape.num_heads} * shape.head_dim, -1, 1, 54));
    keys.position_offsets = inputs.Keep(Uniform(int64_t{shape.num_heads} * shape.head_dim, -1, 1, 55));
  }
  inputs.growth = 4;
}

void AddRelativeValues(ModifierInputs& inputs, const ModifierShape& shape, int32_t num_distances,
                       bool per_head) {
  const int64_t heads = per_head ? shape.num_heads : 1;
  inputs.modifier.relative_values = inputs.KeepValues(
      Uniform(heads * num_distances * shape.value_dim, -1, 1, 56), num_distances, shape.value_dim);
}

void AddMixer(ModifierInputs& inputs, const ModifierShape& shape, bool takes_biases) {
  constexpr int kWidth = 8;
  constexpr float kWeight = 0.3f;
  const int num_inputs = shape.num_heads * (takes_biases ? 2 : 1);
  inputs.modifier.mixer = {
      .width = kWidth,
      .takes_biases = takes_biases,
      .in_weights = inputs.Keep(Uniform(int64_t{kWidth} * num_inputs, -kWeight, kWeight, 57)),
      .in_biases = inputs.Keep(Uniform(kWidth, -1, 1, 58)),
      .out_weights = inputs.Keep(Uniform(int64_t{kWidth} * shape.num_heads, -kWeight, kWeight, 59)),
      .out_biases = inputs.Keep(Uniform(shape.num_heads, -1, 1, 50))};
  inputs.growth = 1 + kWeight * kWeight * kWidth * num_inputs;
  inputs.magnitude = (inputs.magnitude + 2) * inputs.growth;
}

void AddPart(const std::string& part, const ModifierShape& shape, ModifierInputs& inputs) {
  ScoreModifier& modifier = inputs.modifier;
  if (part == "none") return;
  if (part == "alibi") return AddSlopes(inputs, shape);
  if (part == "t5") return AddTable(inputs, shape, shape.num_heads, 40);
  if (part == "kerple") return AddTable(inputs, shape, shape.num_heads, shape.length);
  if (part == "sandwich") return AddTable(inputs, shape, 1, shape.length + 7);
  if (part == "constant") return AddTable(inputs, shape, shape.num_heads, 1);
  if (part == "fire") return AddFire(inputs, shape, 33);
  if (part == "fire1") return AddFire(inputs, shape, 1);
  if (part == "shaw") return AddRelativeKeys(inputs, shape, 24, false, false);
  if (part == "shaw_heads") return AddRelativeKeys(inputs, shape, 90, true, false);
  if (part == "values") return AddRelativeValues(inputs, shape, 24, false);
  if (part == "values_heads") return AddRelativeValues(inputs, shape, 90, true);
  if (part == "transformer_xl") return AddRelativeKeys(inputs, shape, shape.length, true, true);
  if (part == "mixer") return AddMixer(inputs, shape, modifier.bias.kind != BiasKind::kNone);
  if (part == "zones") return void(modifier.zone = 13);
  if (part == "chunk") return void(modifier.chunk = 37);
  if (part == "window") return void(modifier.window = 41);
  if (part == "softcap") return void(modifier.softcap = 4);
  if (part == "sinks") return void(modifier.sinks = inputs.Keep(Uniform(shape.num_heads, -1, 4, 61)));
  ROPEWAY_CHECK(false);
}

}  // namespace

std::vector<std::string> ModifierNames() {
  return {"none",
          "alibi",
          "t5",
          "kerple",
          "sandwich",
          "constant",
          "fire",
          "fire1",
          "shaw",
          "shaw+values",
          "shaw_heads+values_heads",
          "values",
          "transformer_xl",
          "zones",
          "chunk",
          "window",
          "softcap",
          "sinks",
          "mixer",
          "alibi+mixer",
          "kerple+mixer+sinks",
          "fire+mixer+softcap+window",
          "alibi+sinks+window+softcap",
          "t5+chunk",
          "fire+window",
          "shaw+values+window+sinks",
          "transformer_xl+chunk",
          "zones+window+softcap"};
}

ModifierInputs MakeModifier(const std::string& name, const ModifierShape& shape) {
  ModifierInputs inputs;
  std::istringstream parts(name);
  for (std::string part; std::getline(parts, part, '+');) AddPart(part, shape, inputs);
  return inputs;
}

}  // namespace ropeway::kernels
