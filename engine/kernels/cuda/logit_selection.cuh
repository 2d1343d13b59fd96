// What sampling and scoring share: one block works on the logits of one row.
//
// Every sum is of integers and every choice is by a total order (logit descending, id ascending), so that
// results depend neither on the number of threads nor on their order. A selection finds its last token digit by
// digit, from histograms of keys; where few tokens are left it is quicker from a list of them
// (logit_shortlist.cuh). To be compiled with -fmad=false (engine/base/softmax_weight.h).
//
// Functions are called by all threads of a block of kSelectionThreads, with equal arguments, and begin with a
// barrier before they write shared memory.
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

// Numbers whose running sum is looked through: two of each thread, in order.
inline constexpr int kPlaces = 2 * kSelectionThreads;
inline constexpr int kPlacesOfWarp = kPlaces / kSelectionWarps;
static_assert(kPlaces == kDigits);

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

// The least key that min_p keeps.
ROPEWAY_DEVICE uint64_t LeastKey(const SamplingRule& rule, float largest) {
  return uint64_t{OrderedBits(LeastLogit(rule, largest))} << kIdBits;
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

// Where a running sum reaches a target.
struct Reached {
  int place;
  uint64_t target;
  uint64_t rest;  // of the target, beyond the places before: at least 1, at most the place's number
};

// The first lane of a warp at which the running sum of the lanes' numbers reaches target_of(their sum), which is at
// least 1 and at most that sum.
template <class TargetOf>
ROPEWAY_DEVICE Reached LaneAt(uint64_t number, const TargetOf& target_of) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  uint64_t sum = number;  // with those of the lanes before
#pragma unroll
  for (int lanes = 1; lanes < 32; lanes *= 2) {
    const uint64_t before = __shfl_up_sync(kFullWarp, sum, lanes);
    if (lane >= lanes) sum += before;
  }
  const uint64_t target = target_of(__shfl_sync(kFullWarp, sum, 31));
  const int found = __ffs(static_cast<int>(__ballot_sync(kFullWarp, sum >= target))) - 1;
  return {found, target, target - __shfl_sync(kFullWarp, sum - number, found)};
}

// The first of kPlaces places at which the running sum of number_at(place) reaches target_of(their sum), which is at
// least 1 and at most that sum. A warp's places lie side by side, so that each warp finds the one that has it, and then
// all look through its places.
template <class NumberAt, class TargetOf>
ROPEWAY_DEVICE Reached PlaceAt(const NumberAt& number_at, const TargetOf& target_of) {
  const int lane = static_cast<int>(threadIdx.x % 32), mine = static_cast<int>(2 * threadIdx.x);
  const uint64_t* totals = ShareOfWarps(WarpSum(number_at(mine) + number_at(mine + 1)));
  const Reached warp = LaneAt(totals[lane], target_of);
  const int place = warp.place * kPlacesOfWarp + 2 * lane;
  const uint64_t first = number_at(place), both = first + number_at(place + 1);
  Reached reached = LaneAt(both, [&](uint64_t) { return warp.rest; });
  const uint64_t first_of_pair = __shfl_sync(kFullWarp, first, reached.place);
  reached.place = warp.place * kPlacesOfWarp + 2 * reached.place;
  reached.target = warp.target;
  if (reached.rest > first_of_pair) {
    reached.rest -= first_of_pair;
    ++reached.place;
  }
  return reached;
}

// The tokens of a row whose keys are at least `cut`, with their weights at a temperature of 1 / scale.
struct WeighedLogits {
  const float* logits;
  int32_t vocab_size;
  float largest, scale;
  uint64_t cut = 0;

  ROPEWAY_DEVICE bool Keeps(float logit, int32_t id) const { return cut == 0 || KeyOf(logit, id) >= cut; }
  ROPEWAY_DEVICE void CutBelow(uint64_t key) { cut = key > cut ? key : cut; }
  ROPEWAY_DEVICE uint64_t WeightOf(float logit) const { return SoftmaxWeight((logit - largest) * scale); }
  ROPEWAY_DEVICE uint64_t Weight(int32_t id) const {
    return Keeps(logits[id], id) ? WeightOf(logits[id]) : 0;
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

// How many tokens each place has, and what they weigh, in halves. Shared memory adds 32 bits by itself; 64 it would
// add in a loop, until no other thread came between, and few digits of logits are much in use.
struct PlaceSums {
  uint32_t counts[kPlaces], low[kPlaces], high[kPlaces];

  // The weight of a place, or its tokens.
  template <bool kByWeight>
  ROPEWAY_DEVICE uint64_t Of(int place) const {
    return kByWeight ? uint64_t{high[place]} << 32 | low[place] : uint64_t{counts[place]};
  }
  ROPEWAY_DEVICE void Clear() {
    __syncthreads();  // the readers of earlier sums are done
    for (int i = static_cast<int>(threadIdx.x); i < kPlaces; i += kSelectionThreads)
      counts[i] = low[i] = high[i] = 0;
    __syncthreads();
  }
  template <bool kWeigh>
  ROPEWAY_DEVICE void AddTokens(int place, uint32_t count, uint64_t weight) {
    atomicAdd(&counts[place], count);
    if (!kWeigh || weight == 0) return;
    const uint32_t added = static_cast<uint32_t>(weight);
    const uint32_t carry = atomicAdd(&low[place], added) + added < added ? 1 : 0;
    const uint32_t above = static_cast<uint32_t>(weight >> 32) + carry;
    if (above != 0) atomicAdd(&high[place], above);
  }
  // For a whole warp: the lanes with `adds` add a token each. Those that have the first one's place add up among
  // themselves first, where they are many.
  template <bool kWeigh>
  ROPEWAY_DEVICE void Add(bool adds, int place, uint64_t weight) {
    constexpr int kMany = 8;
    const unsigned lanes = __ballot_sync(kFullWarp, adds);
    if (lanes == 0) return;
    const int first = __ffs(static_cast<int>(lanes)) - 1;
    const int first_place = __shfl_sync(kFullWarp, place, first);  // by all lanes
    const bool joins = adds && place == first_place;
    const int many = __popc(__ballot_sync(kFullWarp, joins));
    if (many >= kMany) {
      const uint64_t sum = kWeigh ? WarpSum(joins ? weight : 0) : 0;
      if (static_cast<int>(threadIdx.x % 32) == first)
        AddTokens<kWeigh>(first_place, static_cast<uint32_t>(many), sum);
      adds = adds && !joins;
    }
    if (adds) AddTokens<kWeigh>(place, 1, weight);
  }
};

// What all selections of a block use in turn.
struct SelectionMemory {
  static constexpr int kStaged = static_cast<int>(sizeof(PlaceSums) / sizeof(uint64_t));

  union {
    PlaceSums sums;
    uint64_t staged[kStaged];  // keys on their way to a list of several blocks
  };
  uint64_t keys[kPlaces];  // of a shortlist
  unsigned num_keys;
};
ROPEWAY_DEVICE SelectionMemory& MemoryOfSelections() {
  ROPEWAY_SHARED(memory, SelectionMemory);
  return memory;
}

// The key of the last token of the shortest beginning, in the order of tokens, whose weights (or numbers) add up to
// at least target_of(the sum of all), which is at least 1 and at most that sum.
template <bool kByWeight, class TargetOf>
ROPEWAY_DEVICE uint64_t KeyAt(const WeighedLogits& tokens, const TargetOf& target_of) {
  PlaceSums& sums = MemoryOfSelections().sums;
  uint64_t prefix = 0, target = 0;
  const int32_t lane = static_cast<int32_t>(threadIdx.x % 32);
  for (int shift = kKeyBits - kDigitBits; shift >= 0; shift -= kDigitBits) {
    sums.Clear();
    for (int32_t begin = static_cast<int32_t>(threadIdx.x) - lane; begin < tokens.vocab_size;
         begin += kSelectionThreads) {
      const int32_t id = begin + lane;
      const float logit = id < tokens.vocab_size ? tokens.logits[id] : 0;
      const uint64_t key = KeyOf(logit, id) >> shift;
      const bool counts = id < tokens.vocab_size && key >> kDigitBits == prefix && tokens.Keeps(logit, id);
      const int place = kDigits - 1 - static_cast<int>(key % kDigits);  // the largest digit first
      sums.Add<kByWeight>(counts, place, kByWeight && counts ? tokens.WeightOf(logit) : 0);
    }
    __syncthreads();
    const bool first = shift == kKeyBits - kDigitBits;
    const Reached reached = PlaceAt([&](int place) { return sums.Of<kByWeight>(place); },
                                    [&](uint64_t sum) { return first ? target_of(sum) : target; });
    target = reached.rest;
    prefix = prefix << kDigitBits | static_cast<uint64_t>(kDigits - 1 - reached.place);
    // All of the digit's tokens are in, or there is one.
    const uint64_t sum = sums.Of<kByWeight>(reached.place);
    if (sum == target ||
        (shift == kIdBits && sum == (kByWeight ? tokens.WeightOf(LogitOf(prefix)) : uint64_t{1}))) {
      prefix <<= shift;
      break;
    }
  }
  return prefix;
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_LOGIT_SELECTION_CUH_
