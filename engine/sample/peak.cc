#include "engine/sample/peak.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "engine/base/softmax_weight.h"

namespace ropeway {
namespace {

// Integers in the order of the floats that have these bits, NaNs beyond the infinities.
int32_t OrderedBits(float x) {
  const int32_t bits = std::bit_cast<int32_t>(x);
  return bits ^ ((bits >> 31) & 0x7FFFFFFF);
}

float FromOrderedBits(int32_t ordered) {
  return std::bit_cast<float>(ordered ^ ((ordered >> 31) & 0x7FFFFFFF));
}

}  // namespace

std::optional<Peak> FindPeak(absl::Span<const float> logits) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  int32_t least = std::numeric_limits<int32_t>::max();
  int32_t most = std::numeric_limits<int32_t>::min();
  for (const float x : logits) {
    const int32_t ordered = OrderedBits(x);
    least = std::min(least, ordered);
    most = std::max(most, ordered);
  }
  if (least < OrderedBits(-kInfinity) || most >= OrderedBits(kInfinity) || most <= OrderedBits(-kInfinity)) {
    return std::nullopt;
  }
  // As a float again, since zeros of both signs are equal.
  const float largest = FromOrderedBits(most);
  const auto first = std::find(logits.begin(), logits.end(), largest);
  return Peak{.logit = largest, .id = static_cast<TokenId>(first - logits.begin())};
}

uint64_t SumWeights(absl::Span<const float> logits, float largest, float scale) {
  uint64_t sum = 0;
  for (const float x : logits) sum += SoftmaxWeight((x - largest) * scale);
  return sum;
}

}  // namespace ropeway
