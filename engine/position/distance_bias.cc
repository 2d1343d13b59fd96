#include "engine/position/distance_bias.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdlib>

#include "engine/base/check.h"
#include "engine/position/portable_math.h"

namespace ropeway {
namespace {

constexpr double kLeastKerple = 0.01, kMostKerpleExponent = 2;

}  // namespace

std::vector<float> AlibiSlopes(int num_heads, double max_bias) {
  const int n = static_cast<int>(std::bit_floor(static_cast<unsigned>(num_heads)));
  std::vector<float> slopes(num_heads);
  for (int h = 0; h < num_heads; ++h) {
    const double exponent = h < n ? (h + 1.0) / n : (2.0 * (h - n) + 1) / (2.0 * n);
    slopes[h] = static_cast<float>(Power(2, -max_bias * exponent));
  }
  return slopes;
}

int32_t T5Bucket(int32_t distance, int32_t num_buckets, int32_t max_distance) {
  const int32_t exact = num_buckets / 2;
  ROPEWAY_DCHECK(exact >= 1 && max_distance > exact);
  if (distance < exact) return std::max(distance, 0);
  // In this order of operations, which decides where the borders of buckets are whole numbers.
  const double share =
      Logarithm(static_cast<double>(distance) / exact) / Logarithm(static_cast<double>(max_distance) / exact);
  return static_cast<int32_t>(std::min(num_buckets - 1.0, exact + std::floor(share * (num_buckets - exact))));
}

int32_t T5BucketOfBothSides(int32_t relative, int32_t num_buckets, int32_t max_distance) {
  const int32_t half = num_buckets / 2;
  return (relative > 0 ? half : 0) + T5Bucket(std::abs(relative), half, max_distance);
}

int32_t T5LastDistance(const T5Spec& spec) {
  // The last bucket begins at max_distance or before.
  int32_t below = -1, last = spec.max_distance;
  while (last - below > 1) {
    const int32_t middle = below + (last - below) / 2;
    const bool reached = T5Bucket(middle, spec.num_buckets, spec.max_distance) == spec.num_buckets - 1;
    (reached ? last : below) = middle;
  }
  return last;
}

std::vector<float> T5ByDistance(const T5Spec& spec, absl::Span<const float> table, int32_t num_distances) {
  const int64_t heads = static_cast<int64_t>(table.size()) / spec.num_buckets;
  std::vector<float> by_distance(heads * num_distances);
  for (int32_t distance = 0; distance < num_distances; ++distance) {
    const int64_t bucket = T5Bucket(distance, spec.num_buckets, spec.max_distance);
    for (int64_t h = 0; h < heads; ++h) by_distance[h * num_distances + distance] = table[bucket * heads + h];
  }
  return by_distance;
}

std::vector<float> KerpleByDistance(KerpleVariant variant, absl::Span<const float> r1,
                                    absl::Span<const float> r2, int32_t num_distances) {
  std::vector<float> by_distance;
  by_distance.reserve(r1.size() * num_distances);
  for (size_t h = 0; h < r1.size(); ++h) {
    const double a = std::max<double>(r1[h], kLeastKerple), b = std::max<double>(r2[h], kLeastKerple);
    for (int32_t distance = 0; distance < num_distances; ++distance)
      by_distance.push_back(static_cast<float>(
          -a * (variant == KerpleVariant::kLog ? Logarithm(1 + b * distance)
                                               : Power(distance, std::min(b, kMostKerpleExponent)))));
  }
  return by_distance;
}

std::vector<float> SandwichByDistance(int32_t dim, int32_t num_distances) {
  std::vector<double> frequencies(dim / 2);
  for (int32_t k = 1; k <= dim / 2; ++k) frequencies[k - 1] = Power(10000, -2.0 * k / dim);
  std::vector<float> by_distance(num_distances);
  for (int32_t distance = 0; distance < num_distances; ++distance) {
    double sum = 0;
    for (const double frequency : frequencies) sum += SineCosineOf(distance * frequency).cosine;
    by_distance[distance] = static_cast<float>(sum - dim / 2);
  }
  return by_distance;
}

std::vector<float> SandwichFactors(int num_heads) {
  std::vector<float> factors(num_heads);
  for (int h = 0; h < num_heads; ++h) factors[h] = static_cast<float>(num_heads / (8.0 * (h + 1)));
  return factors;
}

}  // namespace ropeway
