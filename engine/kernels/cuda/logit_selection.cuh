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

  ROPEWAY_DEVICE uint64_t Weight(int32_t id) const {
    const float x = logits[id];
    return cut != 0 && KeyOf(x, id) < cut ? 0 : SoftmaxWeight((x - largest) * scale);
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
  // The first token, by ascending id, at which the running sum of weights exceeds `target`. REQUIRES: target
  // < Total(). Each round narrows the range to the part of one warp.
  ROPEWAY_DEVICE int32_t TokenAt(uint64_t target) const {
    int32_t first = 0, last = vocab_size;
    while (last - first > 1) {
      const int32_t part = (last - first + kSelectionWarps - 1) / kSelectionWarps;
      const int32_t begin = min(first + static_cast<int32_t>(threadIdx.x / 32) * part, last);
      const uint64_t* totals = ShareOfWarps(WarpTotal(begin, min(begin + part, last)));
      int warp = 0;
      for (; target >= totals[warp]; ++warp) target -= totals[warp];
      first += warp * part;
      last = min(first + part, last);
    }
    return first;
  }
};

// Finds the digit at which the sum from the largest digit down reaches `target`, and takes from the target
// what lies above it. The lowest digit where all together are less.
ROPEWAY_DEVICE int DigitAt(const uint64_t* sums, uint64_t* target) {
  constexpr int kPart = kDigits / kSelectionWarps;  // digits of a warp
  const int mine = static_cast<int>(threadIdx.x / 32) * kPart + static_cast<int>(threadIdx.x % 32);
  uint64_t sum = 0;
  for (int i = 0; i < kPart; i += 32) sum += sums[mine + i];
  const uint64_t* totals = ShareOfWarps(WarpSum(sum));
  int warp = kSelectionWarps - 1;
  for (; warp > 0 && totals[warp] < *target; --warp) *target -= totals[warp];
  int digit = warp * kPart + kPart - 1;
  for (; digit > warp * kPart && sums[digit] < *target; --digit) *target -= sums[digit];
  return digit;
}

// The key of the last token of the shortest beginning, in the order of tokens, whose measures add up to at
// least `target`; 0, which keeps all, where all together do not. measure(id) of a token is an integer.
template <class Measure>
ROPEWAY_DEVICE uint64_t KeyAt(const float* logits, int32_t vocab_size, uint64_t target,
                              const Measure& measure) {
  ROPEWAY_SHARED(sums, uint64_t[kDigits]);
  uint64_t prefix = 0;
  for (int shift = kKeyBits - kDigitBits; shift >= 0; shift -= kDigitBits) {
    __syncthreads();  // the readers of the last round are done
    for (int i = static_cast<int>(threadIdx.x); i < kDigits; i += kSelectionThreads) sums[i] = 0;
    __syncthreads();
    for (int32_t id = static_cast<int32_t>(threadIdx.x); id < vocab_size; id += kSelectionThreads) {
      const uint64_t key = KeyOf(logits[id], id) >> shift;
      if (key >> kDigitBits != prefix) continue;
      atomicAdd(reinterpret_cast<unsigned long long*>(&sums[key % kDigits]),
                static_cast<unsigned long long>(measure(id)));
    }
    __syncthreads();
    const int digit = DigitAt(sums, &target);
    prefix = prefix << kDigitBits | static_cast<uint64_t>(digit);
    if (sums[digit] == target) {  // all of the digit's tokens are in
      prefix <<= shift;
      break;
    }
  }
  return prefix;
}

// The key of the `count`-th likeliest token. REQUIRES: 1 <= count <= vocab_size.
ROPEWAY_DEVICE uint64_t KeyOfRank(const float* logits, int32_t vocab_size, int32_t count) {
  return KeyAt(logits, vocab_size, static_cast<uint64_t>(count), [](int32_t) { return uint64_t{1}; });
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
