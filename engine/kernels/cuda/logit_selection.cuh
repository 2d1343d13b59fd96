// What sampling and scoring share: one block works on the logits of one row.
//
// Every sum is of integers and every choice is by a total order (logit descending, id ascending), so that
// results depend neither on the number of threads nor on their order. Nothing is sorted: a selection finds
// its last token digit by digit, from histograms of keys. To be compiled with -fmad=false
// (engine/base/softmax_weight.h).
//
// Functions are called by all threads of a block of kSelectionThreads, with equal arguments, and begin and
// end with a barrier where they use shared memory.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_LOGIT_SELECTION_CUH_
#define ROPEWAY_ENGINE_KERNELS_CUDA_LOGIT_SELECTION_CUH_

#include "engine/base/softmax_weight.h"
#include "engine/kernels/cuda/device.h"
#include "engine/kernels/cuda/sampling.h"

namespace ropeway::cuda {

inline constexpr int kSelectionThreads = 1024;
inline constexpr int kSelectionWarps = kSelectionThreads / 32;

// Keys are ordered as tokens are: 32 bits of the logit, then 22 of the id, the lowest one largest.
inline constexpr int kIdBits = 22;
inline constexpr int kDigitBits = 11, kDigits = 1 << kDigitBits;
inline constexpr int kKeyBits = 5 * kDigitBits;
static_assert(kMaxVocabulary == 1 << kIdBits && 32 + kIdBits <= kKeyBits);

// Unsigned integers in the order of floats; zeros of both signs are equal.
ROPEWAY_DEVICE uint32_t OrderedBits(float x) {
  const uint32_t bits = x == 0 ? 0 : __float_as_uint(x);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

ROPEWAY_DEVICE uint64_t KeyOf(float logit, int32_t id) {
  return uint64_t{OrderedBits(logit)} << kIdBits | static_cast<uint64_t>(kMaxVocabulary - 1 - id);
}

ROPEWAY_DEVICE int32_t IdOf(uint64_t key) {
  return kMaxVocabulary - 1 - static_cast<int32_t>(key & (kMaxVocabulary - 1));
}

// The logit that has these bits.
ROPEWAY_DEVICE float LogitOf(uint64_t ordered) {
  const uint32_t bits = static_cast<uint32_t>(ordered);
  return __uint_as_float(bits & 0x80000000u ? bits & 0x7FFFFFFFu : ~bits);
}

ROPEWAY_DEVICE uint64_t WarpSum(uint64_t value) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes >>= 1) value += __shfl_xor_sync(kFullWarp, value, lanes);
  return value;
}

ROPEWAY_DEVICE uint64_t WarpMax(uint64_t value) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes >>= 1) {
    const uint64_t other = __shfl_xor_sync(kFullWarp, value, lanes);
    value = other > value ? other : value;
  }
  return value;
}

// A value of every warp, as all threads see them.
ROPEWAY_DEVICE const uint64_t* ShareOfWarps(uint64_t value) {
  ROPEWAY_SHARED(shares, uint64_t[kSelectionWarps]);
  __syncthreads();
  if (threadIdx.x % 32 == 0) shares[threadIdx.x / 32] = value;
  __syncthreads();
  return shares;
}

ROPEWAY_DEVICE uint64_t BlockSum(uint64_t value) {
  const uint64_t* shares = ShareOfWarps(WarpSum(value));
  return WarpSum(shares[threadIdx.x % 32]);
}

ROPEWAY_DEVICE uint64_t BlockMax(uint64_t value) {
  const uint64_t* shares = ShareOfWarps(WarpMax(value));
  return WarpMax(shares[threadIdx.x % 32]);
}

// The likeliest token of a row.
struct Peak {
  bool found;  // false: a logit is NaN or +infinity, or none is above -infinity
  float logit;
  int32_t id;
};

ROPEWAY_DEVICE Peak FindPeak(const float* logits, int32_t vocab_size) {
  uint64_t most = 0;
  int senseless = 0;
  for (int32_t id = static_cast<int32_t>(threadIdx.x); id < vocab_size; id += kSelectionThreads) {
    const float x = logits[id];
    if (!(x < INFINITY)) senseless = 1;  // NaN, too
    const uint64_t key = KeyOf(x, id);
    most = key > most ? key : most;
  }
  senseless = __syncthreads_or(senseless);
  const int32_t id = IdOf(BlockMax(most));
  if (senseless != 0 || !(logits[id] > -INFINITY)) return {false, 0, 0};
  return {true, logits[id], id};
}

// The tokens of a row whose keys are at least `cut`, with their weights at a temperature of 1 / scale.
struct WeighedLogits {
  const float* logits;
  int32_t vocab_size;
  float largest, scale;
  uint64_t cut = 0;

  ROPEWAY_DEVICE uint64_t WeightOf(float logit) const { return SoftmaxWeight((logit - largest) * scale); }
  ROPEWAY_DEVICE uint64_t Weight(int32_t id) const {
    return cut != 0 && KeyOf(logits[id], id) < cut ? 0 : WeightOf(logits[id]);
  }
  // Of ids [first, last), for one warp.
  ROPEWAY_DEVICE uint64_t WarpTotal(int32_t first, int32_t last) const {
    uint64_t sum = 0;
    for (int32_t id = first + static_cast<int32_t>(threadIdx.x % 32); id < last; id += 32) sum += Weight(id);
    return WarpSum(sum);
  }
  ROPEWAY_DEVICE uint64_t Total() const {
    uint64_t sum = 0;
    for (int32_t id = static_cast<int32_t>(threadIdx.x); id < vocab_size; id += kSelectionThreads)
      sum += Weight(id);
    return BlockSum(sum);
  }
  // The first token, by ascending id, at which the running sum of weights exceeds target_of(their sum), which
  // is below the sum. Each round narrows the range to the part of one warp.
  template <class TargetOf>
  ROPEWAY_DEVICE int32_t TokenAt(const TargetOf& target_of) const {
    int32_t first = 0, last = vocab_size;
    uint64_t target = 0;
    while (last - first > 1) {
      const int32_t part = (last - first + kSelectionWarps - 1) / kSelectionWarps;
      const int32_t begin = min(first + static_cast<int32_t>(threadIdx.x / 32) * part, last);
      const uint64_t* totals = ShareOfWarps(WarpTotal(begin, min(begin + part, last)));
      if (last - first == vocab_size) target = target_of(WarpSum(totals[threadIdx.x % 32]));
      int warp = 0;
      for (; target >= totals[warp]; ++warp) target -= totals[warp];
      first += warp * part;
      last = min(first + part, last);
    }
    return first;
  }
};

// A sum of every digit, in halves. Shared memory adds 32 bits by itself; 64 it would add in a loop, until no
// other thread came between, and few digits of logits are much in use.
struct DigitSums {
  uint32_t low[kDigits], high[kDigits];

  ROPEWAY_DEVICE uint64_t Of(int digit) const { return uint64_t{high[digit]} << 32 | low[digit]; }
  ROPEWAY_DEVICE void Clear() {
    for (int i = static_cast<int>(threadIdx.x); i < kDigits; i += kSelectionThreads) low[i] = high[i] = 0;
  }
  ROPEWAY_DEVICE void AddOne(int digit, uint64_t value) {
    const uint32_t added = static_cast<uint32_t>(value);
    const uint32_t carry = atomicAdd(&low[digit], added) + added < added ? 1 : 0;
    const uint32_t above = static_cast<uint32_t>(value >> 32) + carry;
    if (above != 0) atomicAdd(&high[digit], above);
  }
  // For a whole warp: the lanes with `adds` add their values. Those that have the first one's digit add up
  // among themselves first, where they are many.
  ROPEWAY_DEVICE void Add(bool adds, int digit, uint64_t value) {
    constexpr int kMany = 8;
    const unsigned lanes = __ballot_sync(kFullWarp, adds);
    if (lanes == 0) return;
    const int first = __ffs(static_cast<int>(lanes)) - 1;
    const int first_digit = __shfl_sync(kFullWarp, digit, first);  // by all lanes
    const bool joins = adds && digit == first_digit;
    if (__popc(__ballot_sync(kFullWarp, joins)) >= kMany) {
      const uint64_t sum = WarpSum(joins ? value : 0);
      if (static_cast<int>(threadIdx.x % 32) == first) AddOne(digit, sum);
      adds = adds && !joins;
    }
    if (adds) AddOne(digit, value);
  }
};

// Digits of which a warp knows the total.
inline constexpr int kDigitsOfWarp = kDigits / kSelectionWarps;

ROPEWAY_DEVICE uint64_t TotalOfWarp(const DigitSums& sums) {
  const int mine = static_cast<int>(threadIdx.x / 32) * kDigitsOfWarp + static_cast<int>(threadIdx.x % 32);
  uint64_t sum = 0;
  for (int i = 0; i < kDigitsOfWarp; i += 32) sum += sums.Of(mine + i);
  return WarpSum(sum);
}

// Finds the digit at which the sum from the largest digit down reaches `target`, and takes from the target
// what lies above it. The lowest digit where all together are less. `totals` are those of the warps.
ROPEWAY_DEVICE int DigitAt(const DigitSums& sums, const uint64_t* totals, uint64_t* target) {
  int warp = kSelectionWarps - 1;
  for (; warp > 0 && totals[warp] < *target; --warp) *target -= totals[warp];
  int digit = warp * kDigitsOfWarp + kDigitsOfWarp - 1;
  for (; digit > warp * kDigitsOfWarp && sums.Of(digit) < *target; --digit) *target -= sums.Of(digit);
  return digit;
}

// The key of the last token of the shortest beginning, in the order of tokens, whose measures add up to at
// least target_of(the sum of all), which is at most that sum. measure(id) of a token is an integer;
// measure.OfLogit(x), that of every token with this logit that counts at all.
template <class Measure, class TargetOf>
ROPEWAY_DEVICE uint64_t KeyAt(const float* logits, int32_t vocab_size, const Measure& measure,
                              const TargetOf& target_of) {
  ROPEWAY_SHARED(sums, DigitSums);
  uint64_t prefix = 0, target = 0;
  const int32_t lane = static_cast<int32_t>(threadIdx.x % 32);
  for (int shift = kKeyBits - kDigitBits; shift >= 0; shift -= kDigitBits) {
    __syncthreads();  // the readers of the last round are done
    sums.Clear();
    __syncthreads();
    for (int32_t begin = static_cast<int32_t>(threadIdx.x) - lane; begin < vocab_size;
         begin += kSelectionThreads) {
      const int32_t id = begin + lane;
      const uint64_t key = id < vocab_size ? KeyOf(logits[id], id) >> shift : 0;
      const bool counts = id < vocab_size && key >> kDigitBits == prefix;
      sums.Add(counts, static_cast<int>(key % kDigits), counts ? measure(id) : 0);
    }
    __syncthreads();
    const uint64_t* totals = ShareOfWarps(TotalOfWarp(sums));
    if (shift == kKeyBits - kDigitBits) target = target_of(WarpSum(totals[lane]));
    const int digit = DigitAt(sums, totals, &target);
    prefix = prefix << kDigitBits | static_cast<uint64_t>(digit);
    // All of the digit's tokens are in, or there is one.
    const uint64_t sum = sums.Of(digit);
    if (sum == target || (shift == kIdBits && sum == measure.OfLogit(LogitOf(prefix)))) {
      prefix <<= shift;
      break;
    }
  }
  return prefix;
}

// Counts tokens.
struct CountMeasure {
  ROPEWAY_DEVICE uint64_t operator()(int32_t) const { return 1; }
  ROPEWAY_DEVICE uint64_t OfLogit(float) const { return 1; }
};

// Weighs them.
struct WeightMeasure {
  const WeighedLogits& tokens;
  ROPEWAY_DEVICE uint64_t operator()(int32_t id) const { return tokens.Weight(id); }
  ROPEWAY_DEVICE uint64_t OfLogit(float logit) const { return tokens.WeightOf(logit); }
};

// The key of the `count`-th likeliest token. REQUIRES: 1 <= count <= vocab_size.
ROPEWAY_DEVICE uint64_t KeyOfRank(const float* logits, int32_t vocab_size, int32_t count) {
  return KeyAt(logits, vocab_size, CountMeasure(), [&](uint64_t) { return static_cast<uint64_t>(count); });
}

struct TopList {
  int32_t* tokens;
  float* logprobs;
};

// Writes the `count` likeliest tokens, likeliest first. REQUIRES: 1 <= count <= min(kMaxTop, vocab_size).
ROPEWAY_DEVICE void WriteTop(const float* logits, int32_t vocab_size, int32_t count, double normaliser,
                             const TopList& out) {
  ROPEWAY_SHARED(keys, uint64_t[kMaxTop]);
  ROPEWAY_SHARED(num_keys, unsigned);
  const uint64_t cut = KeyOfRank(logits, vocab_size, count);
  if (threadIdx.x == 0) num_keys = 0;
  __syncthreads();
  for (int32_t id = static_cast<int32_t>(threadIdx.x); id < vocab_size; id += kSelectionThreads) {
    const uint64_t key = KeyOf(logits[id], id);
    if (key >= cut) keys[atomicAdd(&num_keys, 1u)] = key;  // in any order, exactly `count` of them
  }
  __syncthreads();
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < count; i += kSelectionThreads) {
    int32_t rank = 0;
    for (int32_t j = 0; j < count; ++j) rank += keys[j] > keys[i];
    const int32_t id = IdOf(keys[i]);
    out.tokens[rank] = id;
    out.logprobs[rank] = static_cast<float>(static_cast<double>(logits[id]) - normaliser);
  }
}

// The log-probability of `token` under softmax(logits), and of the `top` likeliest tokens; where there are
// fewer, or the logits say nothing, kNoChoice and NaN stand in the rest.
ROPEWAY_DEVICE float WriteLogprobs(const float* logits, int32_t vocab_size, int32_t token, int32_t top,
                                   const TopList& out) {
  const Peak peak = FindPeak(logits, vocab_size);
  const int32_t count = peak.found ? min(top, vocab_size) : 0;
  for (int32_t i = count + static_cast<int32_t>(threadIdx.x); i < top; i += kSelectionThreads) {
    out.tokens[i] = kNoChoice;
    out.logprobs[i] = NAN;
  }
  if (!peak.found) return NAN;
  const WeighedLogits weighed = {logits, vocab_size, peak.logit, 1.0f};
  const double normaliser = LogNormaliser(peak.logit, weighed.Total());
  if (count > 0) WriteTop(logits, vocab_size, count, normaliser, out);
  return static_cast<float>(static_cast<double>(logits[token]) - normaliser);
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_LOGIT_SELECTION_CUH_
