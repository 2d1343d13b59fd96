#include "engine/kernels/lower_positions.h"

#include <algorithm>
#include <type_traits>
#include <variant>
#include <vector>

#include "engine/position/distance_bias.h"
#include "engine/position/relative.h"
#include "engine/position/rpe3d.h"

namespace ropeway::kernels {
namespace {

std::vector<float> Floats(absl::Span<const float> values) { return {values.begin(), values.end()}; }
std::vector<float> Floats(const std::vector<double>& values) { return {values.begin(), values.end()}; }

// [rows, columns] -> [columns, rows]
std::vector<float> Transposed(const std::vector<double>& values, int64_t columns) {
  const int64_t rows = static_cast<int64_t>(values.size()) / columns;
  std::vector<float> out(values.size());
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) out[c * rows + r] = static_cast<float>(values[r * columns + c]);
  return out;
}

class Lowering {
 public:
  Lowering(const PositionWeights& weights, const PositionShape& shape) : weights_(weights), shape_(shape) {}

  ModifierTables Take() { return std::move(tables_); }
  ScoreModifier& modifier() { return tables_.modifier; }

  void Lower(const NopeSpec&) {}
  void Lower(const SinusoidalSpec&) {}
  void Lower(const LearnedSpec&) {}
  void Lower(const RopeSpec&) {}

  void Lower(const AlibiSpec& spec) {
    std::vector<float> slopes = AlibiSlopes(shape_.num_heads, spec.max_bias);
    if (spec.scaled)
      for (float& slope : slopes) slope = static_cast<float>(slope * shape_.scale);
    bias().kind = BiasKind::kSlope;
    bias().slopes = tables_.Keep(std::move(slopes));
  }

  void Lower(const T5Spec& spec) {
    SetTable(std::min(T5LastDistance(spec) + 1, shape_.num_positions),
             [&](int32_t count) { return T5ByDistance(spec, weights_.t5_table, count); });
  }

  void Lower(const KerpleSpec& spec) {
    SetTable(shape_.num_positions, [&](int32_t count) {
      return KerpleByDistance(spec.variant, weights_.kerple_r1, weights_.kerple_r2, count);
    });
  }

  void Lower(const SandwichSpec& spec) {
    SetTable(shape_.num_positions, [&](int32_t count) { return SandwichByDistance(spec.dim, count); });
    bias().factors = tables_.Keep(SandwichFactors(shape_.num_heads));
  }

  void Lower(const FireSpec& spec) {
    const FirePieces pieces = FirePiecesOf(spec.activation, weights_.fire);
    bias().kind = BiasKind::kFire;
    bias().table = tables_.KeepDistances(Floats(FireByDistance(weights_.fire, shape_.num_positions)),
                                         shape_.num_positions);
    bias().fire = {
        .normalisers = tables_.Keep(Floats(FireByPosition(spec, weights_.fire, shape_.num_positions))),
        .knots = tables_.Keep(Floats(pieces.knots)),
        .slopes = tables_.Keep(Transposed(pieces.slopes, shape_.num_heads)),
        .intercepts = tables_.Keep(Transposed(pieces.intercepts, shape_.num_heads)),
        .num_segments = static_cast<int32_t>(pieces.knots.size())};
  }

  void Lower(const ShawSpec& spec) {
    modifier().relative_keys.rows = tables_.KeepVectors(
        ShawByDistance(weights_.shaw_keys, spec.clip, shape_.head_dim), spec.clip + 1, shape_.head_dim);
    if (!spec.value) return;
    modifier().relative_values = tables_.KeepValues(
        ShawByDistance(weights_.shaw_values, spec.clip, shape_.value_dim), spec.clip + 1, shape_.value_dim);
  }

  // The projection of each distance has the vectors of all heads side by side; here a head has its own.
  void Lower(const TransformerXlSpec&) {
    const int64_t heads = shape_.num_heads, columns = shape_.head_dim, outputs = heads * columns;
    const auto width = static_cast<int32_t>(static_cast<int64_t>(weights_.xl_projection.size()) / outputs);
    const std::vector<float> by_distance =
        TransformerXlByDistance(weights_.xl_projection, width, shape_.num_positions);
    std::vector<float> by_head(by_distance.size());
    for (int64_t d = 0; d < shape_.num_positions; ++d)
      for (int64_t h = 0; h < heads; ++h)
        std::copy_n(&by_distance[d * outputs + h * columns], columns,
                    &by_head[(h * shape_.num_positions + d) * columns]);
    modifier().relative_keys = {.rows = tables_.KeepVectors(by_head, shape_.num_positions, shape_.head_dim),
                                .content_offsets = tables_.Keep(Floats(weights_.xl_content)),
                                .position_offsets = tables_.Keep(Floats(weights_.xl_position))};
  }

  // Definition 1 is a rotation and nothing else.
  void Lower(const Rpe3dSpec& spec) {
    if (spec.form == Rpe3dForm::kChunked) modifier().zone = Rpe3dZone(spec);
  }

  void Lower(const DapeSpec& spec) {
    std::visit([&](const auto& base) { Lower(base); }, spec.base);
    modifier().mixer = {.width = static_cast<int>(weights_.dape.in_biases.size()),
                        .takes_biases = DapeTakesBiases(spec.base),
                        .in_weights = tables_.Keep(Floats(weights_.dape.in_weights)),
                        .in_biases = tables_.Keep(Floats(weights_.dape.in_biases)),
                        .out_weights = tables_.Keep(Floats(weights_.dape.out_weights)),
                        .out_biases = tables_.Keep(Floats(weights_.dape.out_biases))};
  }

 private:
  ScoreBias& bias() { return tables_.modifier.bias; }

  template <typename ByDistance>
  void SetTable(int32_t num_distances, const ByDistance& by_distance) {
    bias().kind = BiasKind::kDistance;
    bias().table = tables_.KeepDistances(by_distance(num_distances), num_distances);
  }

  const PositionWeights& weights_;
  const PositionShape& shape_;
  ModifierTables tables_;
};

}  // namespace

ModifierTables LowerPositions(const PositionSpec& spec, const PositionWeights& weights,
                              const PositionShape& shape) {
  Lowering lowering(weights, shape);
  std::visit([&](const auto& scheme) { lowering.Lower(scheme); }, spec.scheme);
  lowering.modifier().window = spec.window;
  lowering.modifier().chunk = spec.chunk;
  return lowering.Take();
}

}  // namespace ropeway::kernels
