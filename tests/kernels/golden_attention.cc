#include "tests/kernels/golden_attention.h"

#include <algorithm>
#include <cmath>
#include <variant>

#include "engine/base/check.h"
#include "engine/kernels/lower_positions.h"
#include "engine/position/mrope.h"
#include "engine/position/query_scale.h"
#include "engine/position/rpe3d.h"

namespace ropeway::kernels {
namespace {

using testing::GoldenCase;
using testing::GoldenNorm;

// Vectors [T, heads, E] of a case on their way to a kernel, in float64.
class Vectors {
 public:
  Vectors(const GoldenCase& golden, const std::vector<float>& values, int heads)
      : golden_(golden), heads_(heads), values_(values.begin(), values.end()) {}

  void Norm(const GoldenNorm& norm) {
    if (norm.kind.empty()) return;
    const int width = golden_.head_dim * (norm.kind == "rms_full" ? heads_ : 1);
    const bool centred = norm.kind == "layernorm";
    const int rows_each = static_cast<int>(values_.size()) / golden_.num_tokens / width;
    for (size_t row = 0; row < values_.size() / width; ++row) {
      double* x = &values_[row * width];
      double mean = 0, squares = 0;
      for (int i = 0; i < width && centred; ++i) mean += x[i] / width;
      for (int i = 0; i < width; ++i) squares += (x[i] - mean) * (x[i] - mean) / width;
      const size_t first = centred ? row % rows_each * width : 0;
      for (int i = 0; i < width; ++i) {
        x[i] = (x[i] - mean) / std::sqrt(squares + norm.epsilon);
        if (!norm.weight.empty()) x[i] *= norm.weight[first + i] + (norm.kind == "rms1p" ? 1 : 0);
      }
    }
  }

  // `find(token, cosines, sines)` gives a token's angles.
  template <typename FindAngles>
  void Turn(size_t pairs, const FindAngles& find) {
    std::vector<float> cosines(pairs), sines(pairs);
    const bool halves = golden_.pairing == RopePairing::kHalves;
    for (int t = 0; t < golden_.num_tokens; ++t) {
      find(t, cosines.data(), sines.data());
      for (int h = 0; h < heads_; ++h)
        for (size_t p = 0; p < pairs; ++p) {
          double* x = &values_[(int64_t{t} * heads_ + h) * golden_.head_dim];
          double &a = x[halves ? p : 2 * p], &b = x[halves ? p + pairs : 2 * p + 1];
          const double turned = a * cosines[p] - b * sines[p];
          b = a * sines[p] + b * cosines[p];
          a = turned;
        }
    }
  }

  void Scale(const QueryScale& scale) {
    const int64_t columns = int64_t{heads_} * golden_.head_dim;
    for (int t = 0; t < golden_.num_tokens; ++t)
      for (int64_t i = 0; i < columns; ++i)
        values_[t * columns + i] *= QueryFactor(scale, golden_.positions[t]);
  }

  // With `extra` columns of `value` behind each head.
  std::vector<float> Floats(int extra, float value) const {
    std::vector<float> out;
    for (size_t i = 0; i < values_.size(); ++i) {
      out.push_back(static_cast<float>(values_[i]));
      if ((i + 1) % golden_.head_dim == 0) out.insert(out.end(), extra, value);
    }
    return out;
  }

 private:
  const GoldenCase& golden_;
  const int heads_;
  std::vector<double> values_;
};

const Rpe3dSpec* ChunkedRpe3d(const GoldenCase& golden) {
  const auto* spec = std::get_if<Rpe3dSpec>(&golden.spec.scheme);
  return spec != nullptr && spec->form == Rpe3dForm::kChunked ? spec : nullptr;
}

void TurnAll(const GoldenCase& golden, Vectors (&queries)[3], Vectors& keys) {
  Rotation rotation = golden.rotation;
  if (const auto* rpe3d = std::get_if<Rpe3dSpec>(&golden.spec.scheme))
    rotation = Rpe3dRotation(*rpe3d, golden.head_dim);
  const auto find = [&](int t, float* cosines, float* sines) {
    if (golden.axes.empty())
      RopeAngles(rotation, golden.positions[t], cosines, sines);
    else
      MRopeAngles(rotation, golden.axes, golden.positions_3d[t], cosines, sines);
  };
  const size_t pairs = rotation.frequencies.size();
  queries[0].Turn(pairs, find);
  keys.Turn(pairs, find);
  if (const Rpe3dSpec* rpe3d = ChunkedRpe3d(golden))
    for (int zone = 1; zone <= 2; ++zone)
      queries[zone].Turn(pairs, [&](int t, float* cosines, float* sines) {
        Rpe3dQueryAngles(*rpe3d, rotation, zone == 1 ? Rpe3dKeyZone::kBefore : Rpe3dKeyZone::kOlder,
                         golden.positions[t], cosines, sines);
      });
}

void Lower(const GoldenCase& golden, GoldenAttention& attention) {
  const PositionWeights weights{.t5_table = golden.t5_table,
                                .shaw_keys = golden.shaw_keys,
                                .shaw_values = golden.shaw_values,
                                .xl_projection = golden.xl_projection,
                                .xl_content = golden.xl_content,
                                .xl_position = golden.xl_position,
                                .kerple_r1 = golden.kerple_r1,
                                .kerple_r2 = golden.kerple_r2,
                                .fire = golden.fire.weights(),
                                .dape = golden.dape.weights()};
  const int extra = attention.head_dim - golden.head_dim;
  ROPEWAY_CHECK(extra == 0 || golden.shaw_keys.empty());  // relative keys have no column to spare
  attention.modifier = LowerPositions(golden.spec, weights,
                                      {.num_heads = golden.num_heads,
                                       .head_dim = golden.head_dim,
                                       .value_dim = golden.head_dim,
                                       .num_positions = attention.num_positions,
                                       .scale = golden.scale});
  ScoreModifier& modifier = attention.modifier.modifier;
  modifier.softcap = static_cast<float>(golden.softcap);
  if (!golden.sinks.empty()) modifier.sinks = attention.modifier.Keep(golden.sinks);
  if (attention.first_position == 0) return;
  ROPEWAY_CHECK(modifier.window == 0 && modifier.chunk == 0);
  modifier.chunk = attention.first_position;
}

// Puts heads of tokens [T, G, width] where their positions are; heads of other positions end in `other`.
std::vector<float> Spread(const GoldenAttention& attention, const std::vector<float>& heads, int width,
                          float other) {
  const int64_t row = int64_t{attention.num_kv_heads} * width;
  std::vector<float> out((attention.num_positions - attention.first_position) * row, 0);
  for (size_t i = width - 1; i < out.size(); i += width) out[i] = other;
  for (size_t t = 0; t < attention.positions.size(); ++t)
    std::copy_n(&heads[t * row], row, &out[(attention.positions[t] - attention.first_position) * row]);
  return out;
}

}  // namespace

GoldenAttention PrepareGolden(const GoldenCase& golden) {
  GoldenAttention attention{.name = golden.name,
                            .num_heads = golden.num_heads,
                            .num_kv_heads = golden.num_kv_heads,
                            .head_dim = golden.head_dim,
                            .value_dim = golden.head_dim,
                            .scale = static_cast<float>(golden.scale),
                            .positions = golden.positions,
                            .first_position = golden.positions.front(),
                            .num_positions = golden.positions.back() + 1,
                            .out = golden.out};
  const int extra = attention.contiguous() ? 0 : 1;
  attention.head_dim += extra;
  const Vectors plain(golden, golden.queries, golden.num_heads);
  Vectors queries[3] = {plain, plain, plain};
  Vectors keys(golden, golden.keys, golden.num_kv_heads);
  const auto norm = [&] {
    for (Vectors& vectors : queries) vectors.Norm(golden.query_norm);
    keys.Norm(golden.key_norm);
  };
  if (!golden.norm_after_rotation) norm();
  TurnAll(golden, queries, keys);
  if (golden.norm_after_rotation) norm();
  for (int zone = 0; zone < (ChunkedRpe3d(golden) == nullptr ? 1 : 3); ++zone) {
    queries[zone].Scale(golden.query_scale);
    attention.queries[zone] = queries[zone].Floats(extra, 1);
  }
  const float unnoticed = static_cast<float>(-1e4 / golden.scale);
  attention.keys = Spread(attention, keys.Floats(extra, 0), attention.head_dim, extra == 0 ? 0 : unnoticed);
  attention.values = Spread(attention, golden.values, attention.value_dim, 0);
  Lower(golden, attention);
  return attention;
}

}  // namespace ropeway::kernels
