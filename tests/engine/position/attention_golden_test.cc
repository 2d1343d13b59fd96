// The mathematics of every scheme inside one attention layer, in the order of operations of position_spec.h,
// against golden outputs and logits. Attention itself is written plainly, in float64, with what
// engine/position gives.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "engine/position/distance_bias.h"
#include "engine/position/mrope.h"
#include "engine/position/query_scale.h"
#include "engine/position/relative.h"
#include "engine/position/rpe3d.h"
#include "engine/position/visibility.h"
#include "gtest/gtest.h"
#include "tests/engine/position/golden_cases.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::testing {
namespace {

using Vector = std::vector<double>;

// [tokens, heads, width]
struct Heads {
  int num_heads = 0, width = 0;
  Vector values;

  double* at(int token, int head) { return &values[(int64_t{token} * num_heads + head) * width]; }
  const double* at(int token, int head) const { return &values[(int64_t{token} * num_heads + head) * width]; }
};

Heads HeadsOf(const std::vector<float>& values, int num_heads, int width) {
  return {num_heads, width, Vector(values.begin(), values.end())};
}

double Dot(const double* a, const double* b, int n) {
  double sum = 0;
  for (int i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

double Dot(const double* a, const float* b, int n) {
  double sum = 0;
  for (int i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

// x / sqrt(mean x^2 + epsilon), of x less its mean where `centered`.
void Standardise(double* x, int n, double epsilon, bool centered) {
  double mean = 0;
  for (int i = 0; i < n && centered; ++i) mean += x[i] / n;
  for (int i = 0; i < n; ++i) x[i] -= mean;
  const double factor = 1 / std::sqrt(Dot(x, x, n) / n + epsilon);
  for (int i = 0; i < n; ++i) x[i] *= factor;
}

void Norm(const GoldenNorm& norm, Heads& heads) {
  if (norm.kind.empty()) return;
  const bool whole = norm.kind == "rms_full";
  const int rows_each = whole ? 1 : heads.num_heads,
            width = whole ? heads.num_heads * heads.width : heads.width;
  for (size_t row = 0; row < heads.values.size() / width; ++row) {
    double* x = &heads.values[row * width];
    Standardise(x, width, norm.epsilon, norm.kind == "layernorm");
    const size_t first = norm.kind == "layernorm" ? row % rows_each * width : 0;
    for (int i = 0; i < width && !norm.weight.empty(); ++i)
      x[i] *= norm.weight[first + i] + (norm.kind == "rms1p" ? 1 : 0);
  }
}

void Turn(const std::vector<float>& cosines, const std::vector<float>& sines, RopePairing pairing,
          double* x) {
  const size_t pairs = cosines.size();
  for (size_t p = 0; p < pairs; ++p) {
    const bool halves = pairing == RopePairing::kHalves;
    double &a = x[halves ? p : 2 * p], &b = x[halves ? p + pairs : 2 * p + 1];
    const double turned = a * cosines[p] - b * sines[p];
    b = a * sines[p] + b * cosines[p];
    a = turned;
  }
}

class Layer {
 public:
  explicit Layer(const GoldenCase& golden) : golden_(golden) {
    num_distances_ = *std::max_element(golden.positions.begin(), golden.positions.end()) + 1;
    rotation_ = golden.rotation;
    if (const auto* rpe3d = std::get_if<Rpe3dSpec>(&golden.spec.scheme))
      rotation_ = Rpe3dRotation(*rpe3d, golden.head_dim);
    Prepare();
    FindTables();
  }

  // [H, T, T], -infinity where not visible.
  Vector Logits() const {
    const int tokens = golden_.num_tokens, heads = golden_.num_heads;
    Vector logits(heads * tokens * tokens);
    for (int i = 0; i < tokens; ++i) {
      for (int j = 0; j < tokens; ++j) {
        const Vector scores = ScoresAt(i, j);
        for (int h = 0; h < heads; ++h) logits[(h * tokens + i) * tokens + j] = scores[h];
      }
    }
    return logits;
  }

  // [T, H, E]
  Vector Out(const Vector& logits) const {
    const int tokens = golden_.num_tokens, heads = golden_.num_heads, width = golden_.head_dim;
    const Heads values = HeadsOf(golden_.values, golden_.num_kv_heads, width);
    Vector out(tokens * heads * width);
    for (int i = 0; i < tokens; ++i) {
      for (int h = 0; h < heads; ++h) {
        const Vector weights = Softmax(h, &logits[(h * tokens + i) * tokens]);
        for (int j = 0; j < tokens; ++j) {
          const double* value = values.at(j, h / (heads / golden_.num_kv_heads));
          const float* relative = RelativeValue(h, i, j);
          for (int e = 0; e < width; ++e)
            out[(i * heads + h) * width + e] +=
                weights[j] * (value[e] + (relative == nullptr ? 0 : relative[e]));
        }
      }
    }
    return out;
  }

 private:
  void Prepare() {
    queries_ = HeadsOf(golden_.queries, golden_.num_heads, golden_.head_dim);
    keys_ = HeadsOf(golden_.keys, golden_.num_kv_heads, golden_.head_dim);
    if (!golden_.norm_after_rotation) Norm(golden_.query_norm, queries_), Norm(golden_.key_norm, keys_);
    before_ = older_ = queries_;
    Rotate(queries_), Rotate(keys_);
    if (const auto* rpe3d = std::get_if<Rpe3dSpec>(&golden_.spec.scheme);
        rpe3d != nullptr && rpe3d->form == Rpe3dForm::kChunked)
      RotateForOtherZones(*rpe3d);
    if (golden_.norm_after_rotation) Norm(golden_.query_norm, queries_), Norm(golden_.key_norm, keys_);
    for (int t = 0; t < golden_.num_tokens; ++t)
      for (int e = 0; e < golden_.num_heads * golden_.head_dim; ++e)
        queries_.at(t, 0)[e] *= QueryFactor(golden_.query_scale, golden_.positions[t]);
  }

  void Rotate(Heads& heads) {
    std::vector<float> cosines(rotation_.frequencies.size()), sines(cosines.size());
    for (int t = 0; t < golden_.num_tokens; ++t) {
      if (golden_.axes.empty())
        RopeAngles(rotation_, golden_.positions[t], cosines.data(), sines.data());
      else
        MRopeAngles(rotation_, golden_.axes, golden_.positions_3d[t], cosines.data(), sines.data());
      for (int h = 0; h < heads.num_heads; ++h) Turn(cosines, sines, golden_.pairing, heads.at(t, h));
    }
  }

  void RotateForOtherZones(const Rpe3dSpec& spec) {
    std::vector<float> cosines(rotation_.frequencies.size()), sines(cosines.size());
    for (int t = 0; t < golden_.num_tokens; ++t) {
      for (const Rpe3dKeyZone zone : {Rpe3dKeyZone::kBefore, Rpe3dKeyZone::kOlder}) {
        Rpe3dQueryAngles(spec, rotation_, zone, golden_.positions[t], cosines.data(), sines.data());
        Heads& heads = zone == Rpe3dKeyZone::kBefore ? before_ : older_;
        for (int h = 0; h < heads.num_heads; ++h) Turn(cosines, sines, golden_.pairing, heads.at(t, h));
      }
    }
  }

  void FindTables() { FindTables(golden_.spec.scheme); }
  template <typename... Schemes>
  void FindTables(const std::variant<Schemes...>& scheme) {
    if (const auto* alibi = std::get_if<AlibiSpec>(&scheme)) {
      slopes_ = AlibiSlopes(golden_.num_heads, alibi->max_bias);
      if (alibi->scaled)
        for (float& slope : slopes_) slope = static_cast<float>(slope * golden_.scale);
    } else if (const auto* kerple = std::get_if<KerpleSpec>(&scheme)) {
      biases_ = KerpleByDistance(kerple->variant, golden_.kerple_r1, golden_.kerple_r2, num_distances_);
    } else if (const auto* fire = std::get_if<FireSpec>(&scheme)) {
      pieces_ = FirePiecesOf(fire->activation, golden_.fire.weights());
      psi_ = FireByDistance(golden_.fire.weights(), num_distances_);
      normalisers_ = FireByPosition(*fire, golden_.fire.weights(), num_distances_);
    }
    if constexpr (std::is_same_v<std::variant<Schemes...>, PositionScheme>) FindWholeTables(scheme);
  }
  void FindWholeTables(const PositionScheme& scheme) {
    const int width = golden_.head_dim;
    if (const auto* t5 = std::get_if<T5Spec>(&scheme)) {
      biases_ = T5ByDistance(*t5, golden_.t5_table, num_distances_);
    } else if (const auto* sandwich = std::get_if<SandwichSpec>(&scheme)) {
      const std::vector<float> shared = SandwichByDistance(sandwich->dim, num_distances_);
      for (const float factor : SandwichFactors(golden_.num_heads))
        for (const float bias : shared) biases_.push_back(bias * factor);
    } else if (const auto* shaw = std::get_if<ShawSpec>(&scheme)) {
      relative_keys_ = ShawByDistance(golden_.shaw_keys, shaw->clip, width);
      relative_values_ = ShawByDistance(golden_.shaw_values, shaw->clip, width);
    } else if (std::holds_alternative<TransformerXlSpec>(scheme)) {
      relative_keys_ = TransformerXlByDistance(golden_.xl_projection, golden_.xl_width, num_distances_);
    } else if (const auto* dape = std::get_if<DapeSpec>(&scheme)) {
      FindTables(dape->base);
    }
  }

  int Distance(int i, int j) const { return std::max(0, golden_.positions[i] - golden_.positions[j]); }

  bool Visible(int i, int j) const {
    return golden_.positions[j] <= golden_.positions[i] &&
           golden_.positions[j] >= FirstVisible(golden_.spec, golden_.positions[i]);
  }

  // The row of tables [tables, K + 1, E] for a head, where there may be one for all heads.
  const float* ShawVector(const std::vector<float>& tables, int h, int distance) const {
    const auto& shaw = std::get<ShawSpec>(golden_.spec.scheme);
    const int64_t row = (shaw.per_head ? h : 0) * (shaw.clip + 1) + std::min(distance, shaw.clip);
    return &tables[row * golden_.head_dim];
  }

  const float* RelativeValue(int h, int i, int j) const {
    return relative_values_.empty() ? nullptr : ShawVector(relative_values_, h, Distance(i, j));
  }

  const Heads& QueriesFor(int i, int j) const {
    const auto* rpe3d = std::get_if<Rpe3dSpec>(&golden_.spec.scheme);
    if (rpe3d == nullptr || rpe3d->form == Rpe3dForm::kDefinition1) return queries_;
    const int zone = Rpe3dZone(*rpe3d), back = golden_.positions[i] / zone - golden_.positions[j] / zone;
    return back <= 0 ? queries_ : back == 1 ? before_ : older_;
  }

  // q . k and what relative embeddings add, of one head.
  double Product(int h, int i, int j) const {
    const int width = golden_.head_dim;
    const double* query = QueriesFor(i, j).at(i, h);
    const double* key = keys_.at(j, h / (golden_.num_heads / golden_.num_kv_heads));
    const double product = Dot(query, key, width);
    if (relative_keys_.empty()) return product;
    if (std::holds_alternative<ShawSpec>(golden_.spec.scheme))
      return product + Dot(query, ShawVector(relative_keys_, h, Distance(i, j)), width);
    const float* relative = &relative_keys_[(Distance(i, j) * golden_.num_heads + h) * width];
    const float* u = &golden_.xl_content[h * width];
    const float* v = &golden_.xl_position[h * width];
    double sum = product;
    for (int e = 0; e < width; ++e) sum += u[e] * key[e] + (query[e] + v[e]) * relative[e];
    return sum;
  }

  // Static biases of all heads, or none.
  Vector Biases(int i, int j) const {
    const int distance = Distance(i, j), heads = golden_.num_heads;
    Vector biases;
    if (!slopes_.empty())
      for (const float slope : slopes_) biases.push_back(-double{slope} * distance);
    for (int h = 0; h < heads && !biases_.empty(); ++h)
      biases.push_back(biases_[h * num_distances_ + distance]);
    if (!psi_.empty()) {
      const double x = psi_[distance] * normalisers_[golden_.positions[i]];
      const auto knot = std::upper_bound(pieces_.knots.begin(), pieces_.knots.end(), x);
      const size_t first = (knot - pieces_.knots.begin() - 1) * heads;
      for (int h = 0; h < heads; ++h)
        biases.push_back(pieces_.slopes[first + h] * x + pieces_.intercepts[first + h]);
    }
    return biases;
  }

  Vector ScoresAt(int i, int j) const {
    const int heads = golden_.num_heads;
    if (!Visible(i, j)) return Vector(heads, -std::numeric_limits<double>::infinity());
    Vector scores(heads);
    for (int h = 0; h < heads; ++h) {
      scores[h] = golden_.scale * Product(h, i, j);
      if (golden_.softcap > 0) scores[h] = golden_.softcap * std::tanh(scores[h] / golden_.softcap);
    }
    const Vector biases = Biases(i, j);
    if (std::holds_alternative<DapeSpec>(golden_.spec.scheme))
      return DapeScores(golden_.dape.weights(), scores, biases);
    for (int h = 0; h < heads && !biases.empty(); ++h) scores[h] += biases[h];
    return scores;
  }

  Vector Softmax(int h, const double* logits) const {
    const int tokens = golden_.num_tokens;
    double largest = *std::max_element(logits, logits + tokens);
    if (!golden_.sinks.empty()) largest = std::max<double>(largest, golden_.sinks[h]);
    double sum = golden_.sinks.empty() ? 0 : std::exp(golden_.sinks[h] - largest);
    Vector weights(tokens);
    for (int j = 0; j < tokens; ++j) sum += weights[j] = std::exp(logits[j] - largest);
    for (double& weight : weights) weight /= sum;
    return weights;
  }

  const GoldenCase& golden_;
  int num_distances_ = 0;
  Rotation rotation_;
  Heads queries_, keys_, before_, older_;
  std::vector<float> slopes_, biases_;  // [H], [H, num_distances]
  FirePieces pieces_;
  Vector psi_, normalisers_;  // [num_distances], [positions]
  std::vector<float> relative_keys_, relative_values_;
};

class AttentionGoldenTest : public ::testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::vector<GoldenCase>> cases = ReadGoldenCases();
    ASSERT_OK(cases);
    cases_ = *std::move(cases);
    ASSERT_EQ(cases_.size(), 60);
  }

  std::vector<GoldenCase> cases_;
};

TEST_F(AttentionGoldenTest, Outputs) {
  for (const GoldenCase& golden : cases_) {
    const Layer layer(golden);
    const Vector out = layer.Out(layer.Logits());
    ASSERT_EQ(out.size(), golden.out.size()) << golden.name;
    for (size_t n = 0; n < out.size(); ++n)
      ASSERT_NEAR(out[n], golden.out[n], 1e-6) << golden.name << " " << n;
  }
}

TEST_F(AttentionGoldenTest, Logits) {
  int told = 0;
  for (const GoldenCase& golden : cases_) {
    if (golden.logits.empty()) continue;
    ++told;
    const Vector logits = Layer(golden).Logits();
    ASSERT_EQ(logits.size(), golden.logits.size()) << golden.name;
    for (size_t n = 0; n < logits.size(); ++n)
      ASSERT_NEAR(std::isfinite(logits[n]) ? logits[n] : 0, golden.logits[n],
                  1e-6 * std::max(1.0, std::fabs(golden.logits[n])))
          << golden.name << " " << n;
  }
  EXPECT_EQ(told, 21);
}

}  // namespace
}  // namespace ropeway::testing
