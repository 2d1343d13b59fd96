#include "engine/kernels/ref/attend_token.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "engine/kernels/distance_rows.h"

namespace ropeway::kernels {
namespace {

constexpr float kLeakySlope = 0.01f;

// The number of distance D in a row over distances.
float AtDistance(const float* row, int32_t num_distances, int32_t distance) {
  return row[kDistanceMargin + num_distances - 1 - std::min(distance, num_distances - 1)];
}

float FireBias(const ScoreBias& bias, int head, int32_t position, int32_t distance) {
  const FireSegments& fire = bias.fire;
  const float x =
      AtDistance(bias.table.data, bias.table.num_distances, distance) * fire.normalisers[position];
  int32_t segment = fire.num_segments - 1;
  while (segment > 0 && !(x >= fire.knots[segment])) --segment;
  const int64_t at = int64_t{head} * fire.num_segments + segment;
  return fire.slopes[at] * x + fire.intercepts[at];
}

float BiasOf(const ScoreBias& bias, int head, int32_t position, int32_t distance) {
  switch (bias.kind) {
    case BiasKind::kNone:
      return 0;
    case BiasKind::kSlope:
      return -bias.slopes[head] * static_cast<float>(distance);
    case BiasKind::kDistance:
      return AtDistance(bias.table.data + head * bias.table.head_stride, bias.table.num_distances, distance) *
             (bias.factors == nullptr ? 1 : bias.factors[head]);
    case BiasKind::kFire:
      return FireBias(bias, head, position, distance);
  }
  return 0;
}

class Attender {
 public:
  explicit Attender(const TokenAttention& token)
      : token_(token),
        first_(FirstVisible(token.modifier, token.position)),
        count_(token.position + 1 - first_),
        key_(token.head_dim),
        value_(token.value_dim),
        weights_(int64_t{token.num_heads} * count_) {}

  void Run() {
    for (int32_t j = first_; j <= token_.position; ++j) {
      ScoreKey(j);
      if (token_.modifier.mixer.width > 0) Mix(j);
    }
    for (int h = 0; h < token_.num_heads; ++h) Soften(h);
    for (int h = 0; h < token_.num_heads; h += token_.queries_per_kv_head) WeighValues(h);
  }

 private:
  float& Weight(int h, int32_t j) { return weights_[int64_t{h} * count_ + j - first_]; }
  int HeadOf(int h) const { return token_.first_head + h; }
  int KvHeadOf(int h) const { return HeadOf(h) / token_.queries_per_kv_head; }
  int32_t Distance(int32_t j) const { return token_.position - j; }

  const float* QueriesFor(int32_t j) const {
    const int32_t zone = token_.modifier.zone;
    const int32_t apart = zone == 0 ? 0 : token_.position / zone - j / zone;
    return apart == 0 ? token_.queries : apart == 1 ? token_.previous_queries : token_.older_queries;
  }

  // The scores of one key, with their biases but for a mixer.
  void ScoreKey(int32_t j) {
    const ScoreModifier& modifier = token_.modifier;
    for (int h = 0; h < token_.num_heads; ++h) {
      if (h % token_.queries_per_kv_head == 0) token_.load_key(KvHeadOf(h), j, key_.data());
      float score = (Content(h, j) + Relative(h, j)) * token_.scale;
      if (modifier.softcap != 0) score = modifier.softcap * std::tanh(score / modifier.softcap);
      if (modifier.mixer.width == 0) score += BiasOf(modifier.bias, HeadOf(h), token_.position, Distance(j));
      Weight(h, j) = score;
    }
  }

  float Content(int h, int32_t j) const {
    const float* query = QueriesFor(j) + int64_t{h} * token_.head_dim;
    const float* offsets = token_.modifier.relative_keys.content_offsets;
    float sum = 0;
    for (int d = 0; d < token_.head_dim; ++d)
      sum += (query[d] + (offsets == nullptr ? 0 : offsets[HeadOf(h) * token_.head_dim + d])) * key_[d];
    return sum;
  }

  float Relative(int h, int32_t j) const {
    const RelativeKeys& keys = token_.modifier.relative_keys;
    if (keys.rows.data == nullptr) return 0;
    const float* query = QueriesFor(j) + int64_t{h} * token_.head_dim;
    const float* rows = keys.rows.data + HeadOf(h) * keys.rows.head_stride;
    const int64_t size = DistanceRowSize(keys.rows.num_distances);
    float sum = 0;
    for (int d = 0; d < token_.head_dim; ++d) {
      const float offset =
          keys.position_offsets == nullptr ? 0 : keys.position_offsets[HeadOf(h) * token_.head_dim + d];
      sum += (query[d] + offset) * AtDistance(rows + d * size, keys.rows.num_distances, Distance(j));
    }
    return sum;
  }

  void Mix(int32_t j) {
    const HeadMixer& mixer = token_.modifier.mixer;
    const int heads = token_.num_heads, num_inputs = mixer.takes_biases ? 2 * heads : heads;
    std::vector<float> inputs(2 * heads), between(mixer.width);
    for (int h = 0; h < heads; ++h) {
      inputs[h] = Weight(h, j);
      inputs[heads + h] = BiasOf(token_.modifier.bias, h, token_.position, Distance(j));
    }
    for (int w = 0; w < mixer.width; ++w) {
      float sum = mixer.in_biases[w];
      for (int i = 0; i < num_inputs; ++i) sum += mixer.in_weights[w * num_inputs + i] * inputs[i];
      between[w] = sum > 0 ? sum : kLeakySlope * sum;
    }
    for (int h = 0; h < heads; ++h) {
      float sum = mixer.out_biases[h];
      for (int w = 0; w < mixer.width; ++w) sum += mixer.out_weights[h * mixer.width + w] * between[w];
      Weight(h, j) = inputs[h] + inputs[heads + h] + sum;
    }
  }

  // From scores to probabilities.
  void Soften(int h) {
    const float* sinks = token_.modifier.sinks;
    float largest = sinks == nullptr ? -std::numeric_limits<float>::infinity() : sinks[HeadOf(h)];
    for (int32_t j = first_; j <= token_.position; ++j) largest = std::max(largest, Weight(h, j));
    float sum = sinks == nullptr ? 0 : std::exp(sinks[HeadOf(h)] - largest);
    for (int32_t j = first_; j <= token_.position; ++j)
      sum += Weight(h, j) = std::exp(Weight(h, j) - largest);
    for (int32_t j = first_; j <= token_.position; ++j) Weight(h, j) /= sum;
  }

  // Of the query heads from `first` on that share a KV head.
  void WeighValues(int first) {
    const int last = std::min(first + token_.queries_per_kv_head, token_.num_heads);
    const RelativeValues& relative = token_.modifier.relative_values;
    const int64_t padded = (token_.value_dim + 15) / 16 * 16;
    std::fill(token_.out + int64_t{first} * token_.value_dim, token_.out + int64_t{last} * token_.value_dim,
              0.f);
    for (int32_t j = first_; j <= token_.position; ++j) {
      token_.load_value(KvHeadOf(first), j, value_.data());
      for (int h = first; h < last; ++h) {
        float* out = token_.out + int64_t{h} * token_.value_dim;
        const float* row = relative.data == nullptr
                               ? nullptr
                               : relative.data + HeadOf(h) * relative.head_stride +
                                     std::min(Distance(j), relative.num_distances - 1) * padded;
        for (int d = 0; d < token_.value_dim; ++d)
          out[d] += Weight(h, j) * (value_[d] + (row == nullptr ? 0 : row[d]));
      }
    }
  }

  const TokenAttention& token_;
  const int32_t first_, count_;  // visible positions
  std::vector<float> key_, value_;
  std::vector<float> weights_;  // [num_heads, count]: scores first
};

}  // namespace

int32_t FirstVisible(const ScoreModifier& modifier, int32_t position) {
  if (modifier.window > 0) return std::max(0, position + 1 - modifier.window);
  if (modifier.chunk > 0) return position / modifier.chunk * modifier.chunk;
  return 0;
}

void AttendToken(const TokenAttention& token) { Attender(token).Run(); }

}  // namespace ropeway::kernels
