// splitmix64: a counter-based generator. Number i of stream `key` depends on (key, i) alone, so that what a
// request draws does not depend on what ran before or beside it.
#ifndef ROPEWAY_ENGINE_BASE_SPLITMIX_H_
#define ROPEWAY_ENGINE_BASE_SPLITMIX_H_

#include <cstdint>

namespace ropeway {

inline constexpr uint64_t kGoldenRatio64 = 0x9E3779B97F4A7C15;

// The finaliser: a bijection of 64-bit words in which every input bit moves half of the output bits.
constexpr uint64_t SplitMix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

// 64 random bits, keyed by (seed, counter).
constexpr uint64_t RandomBits(uint64_t seed, uint64_t counter) {
  const uint64_t key = SplitMix(seed + kGoldenRatio64);
  return SplitMix(key + (counter + 1) * kGoldenRatio64);
}

// A number in [0, 1) with 53 random bits, keyed by (seed, counter).
constexpr double UnitInterval(uint64_t seed, uint64_t counter) {
  return static_cast<double>(RandomBits(seed, counter) >> 11) * 0x1p-53;
}

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_BASE_SPLITMIX_H_
