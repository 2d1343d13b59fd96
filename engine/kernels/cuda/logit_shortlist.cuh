// Selections that read a row of logits twice: to count and weigh its tokens in bins by how far they are below the
// likeliest one, and to list those of the bins that matter. The rest is done on the list, in shared memory.
//
// Of most rows all tokens that may be drawn are a shortlist of up to kPlaces. Where they are more, but those of the bin
// in which the selection ends are not, that one token is found by a shortlist and the tokens above it stay where they
// are. Where a bin alone has more, logits that are equal or nearly so, digits of keys find it (logit_selection.cuh).
// All ways find the same token.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_LOGIT_SHORTLIST_CUH_
#define ROPEWAY_ENGINE_KERNELS_CUDA_LOGIT_SHORTLIST_CUH_

#include "engine/kernels/cuda/logit_selection.cuh"

namespace ropeway::cuda {

// Bins of one unit of logits: of a vocabulary of 128k, normal with a deviation of 2, the fullest has 400 tokens. The
// last of kPlaces bins, beyond 32 units, has all others.
inline constexpr int kBinsOfUnit = 64, kFarBin = kPlaces - 1;

// How far below the likeliest logit one is, in bins; rises with the distance.
ROPEWAY_DEVICE float DistanceOf(float largest, float logit) {
  return fminf((largest - logit) * kBinsOfUnit, static_cast<float>(kFarBin));
}
// Equal logits have one bin, and less likely ones no earlier bin.
ROPEWAY_DEVICE int BinOf(float largest, float logit) { return static_cast<int>(DistanceOf(largest, logit)); }

// Counts the tokens of each bin, and weighs them.
template <bool kWeigh>
ROPEWAY_DEVICE void FillBins(const WeighedLogits& tokens) {
  PlaceSums& bins = MemoryOfSelections().sums;
  const int32_t lane = static_cast<int32_t>(threadIdx.x % 32);
  uint64_t far_weight = 0;
  unsigned far_count = 0;
  bins.Clear();
  for (int32_t begin = static_cast<int32_t>(threadIdx.x) - lane; begin < tokens.vocab_size;
       begin += kSelectionThreads) {
    const int32_t id = begin + lane;
    const float logit = id < tokens.vocab_size ? tokens.logits[id] : -INFINITY;
    const bool counts = id < tokens.vocab_size && tokens.Keeps(logit, id);
    const int bin = BinOf(tokens.largest, logit);
    const uint64_t weight = kWeigh && counts ? tokens.WeightOf(logit) : 0;
    if (counts && bin == kFarBin) {  // of masked tokens, say, which are many
      ++far_count;
      far_weight += weight;
    }
    bins.Add<kWeigh>(counts && bin != kFarBin, bin, weight);
  }
  far_weight = kWeigh ? WarpSum(far_weight) : 0;
  far_count = static_cast<unsigned>(WarpSum(uint64_t{far_count}));
  if (lane == 0 && far_count > 0) bins.AddTokens<kWeigh>(kFarBin, far_count, far_weight);
  __syncthreads();
}

// Of bins [0, last].
ROPEWAY_DEVICE uint64_t CountUpTo(int last) {
  const PlaceSums& bins = MemoryOfSelections().sums;
  const int mine = static_cast<int>(2 * threadIdx.x);
  return BlockSum((mine <= last ? bins.Of<false>(mine) : 0) +
                  (mine + 1 <= last ? bins.Of<false>(mine + 1) : 0));
}

// What all bins weigh together.
ROPEWAY_DEVICE uint64_t WeightOfBins() {
  const PlaceSums& bins = MemoryOfSelections().sums;
  const int mine = static_cast<int>(2 * threadIdx.x);
  return BlockSum(bins.Of<true>(mine) + bins.Of<true>(mine + 1));
}

// Puts the first `size` numbers of the shortlist into descending order; each of them may just have been written by any
// thread. REQUIRES: none of them is 0.
ROPEWAY_DEVICE void SortList(int size) {
  uint64_t* const keys = MemoryOfSelections().keys;
  const int thread = static_cast<int>(threadIdx.x);
  int padded = 1;
  while (padded < size) padded *= 2;
  for (int i = size + thread; i < padded; i += kSelectionThreads) keys[i] = 0;
  __syncthreads();
  // Runs of two, four and so on, each in an order of its own, are made one by steps that compare numbers so far apart.
  // A warp compares among 64 numbers of its own where they are less than 64 apart.
  for (int run = 2; run <= padded; run *= 2) {
    for (int apart = run / 2; apart > 0; apart /= 2) {
      if (thread < padded / 2) {
        const int i = 2 * thread - (thread & (apart - 1)), j = i + apart;
        const uint64_t first = keys[i], second = keys[j];
        if ((first < second) == ((i & run) == 0)) {
          keys[i] = second;
          keys[j] = first;
        }
      }
      const int next = apart > 1 ? apart / 2 : run < padded ? run : kPlaces;
      if (max(apart, next) < 64) {
        __syncwarp();
      } else {
        __syncthreads();
      }
    }
  }
}

// Lists the tokens of bins [first, last], likeliest first, of which there are `size`, at most kPlaces.
ROPEWAY_DEVICE void ListTokens(const WeighedLogits& tokens, int first, int last, int size) {
  SelectionMemory& memory = MemoryOfSelections();
  if (threadIdx.x == 0) memory.num_keys = 0;
  __syncthreads();  // the readers of an earlier list are done, too
  for (int32_t id = static_cast<int32_t>(threadIdx.x); id < tokens.vocab_size; id += kSelectionThreads) {
    const float logit = tokens.logits[id];
    const int bin = BinOf(tokens.largest, logit);
    if (bin < first || bin > last || !tokens.Keeps(logit, id)) continue;
    memory.keys[atomicAdd(&memory.num_keys, 1u)] = KeyOf(logit, id);
  }
  SortList(size);
}

// Of the first `size` tokens of the list, or of their numbers.
template <bool kByWeight, class TargetOf>
ROPEWAY_DEVICE Reached PlaceInList(const WeighedLogits& tokens, int size, const TargetOf& target_of) {
  const uint64_t* const keys = MemoryOfSelections().keys;
  const auto number_at = [&](int i) -> uint64_t {
    if (i >= size) return 0;
    return kByWeight ? tokens.WeightOf(LogitOf(keys[i] >> kIdBits)) : 1;
  };
  return PlaceAt(number_at, target_of);
}

// Narrows the tokens to the shortest beginning, in their order, whose weights (or numbers) add up to at least
// target_of(the sum of all), from what FillBins<kByWeight> found of them. Returns how many they are, where all of them
// are listed, likeliest first; else 0.
template <bool kByWeight, class TargetOf>
ROPEWAY_DEVICE int Narrow(WeighedLogits& tokens, const TargetOf& target_of) {
  SelectionMemory& memory = MemoryOfSelections();
  const Reached bin = PlaceAt([&](int place) { return memory.sums.Of<kByWeight>(place); }, target_of);
  const uint64_t in_bin = memory.sums.Of<false>(bin.place), up_to = CountUpTo(bin.place);
  if (in_bin > kPlaces) {
    tokens.CutBelow(KeyAt<kByWeight>(tokens, [&](uint64_t) { return bin.target; }));
    return 0;
  }
  const bool lists_all = up_to <= kPlaces;
  const int size = static_cast<int>(lists_all ? up_to : in_bin);
  ListTokens(tokens, lists_all ? 0 : bin.place, bin.place, size);
  const Reached last =
      PlaceInList<kByWeight>(tokens, size, [&](uint64_t) { return lists_all ? bin.target : bin.rest; });
  tokens.CutBelow(memory.keys[last.place]);
  return lists_all ? last.place + 1 : 0;
}

// The first of the `size` listed tokens, by ascending id, at which the running sum of weights exceeds target_of(their
// sum), which is below the sum; those below tokens.cut have none. The list is no list of keys afterwards.
template <class TargetOf>
ROPEWAY_DEVICE int32_t ListedTokenAt(const WeighedLogits& tokens, int size, const TargetOf& target_of) {
  constexpr uint64_t kIds = kMaxVocabulary - 1;
  uint64_t* const keys = MemoryOfSelections().keys;
  __syncthreads();  // the readers of keys are done
  for (int i = static_cast<int>(threadIdx.x); i < size; i += kSelectionThreads)
    keys[i] = (keys[i] & kIds) << 32 | keys[i] >> kIdBits;  // the lowest id is the largest number
  SortList(size);
  const auto weight_at = [&](int i) -> uint64_t {
    if (i >= size) return 0;
    const uint64_t ordered = keys[i] & 0xFFFFFFFF;
    return (ordered << kIdBits | keys[i] >> 32) >= tokens.cut ? tokens.WeightOf(LogitOf(ordered)) : 0;
  };
  const Reached reached = PlaceAt(weight_at, [&](uint64_t sum) { return target_of(sum) + 1; });
  return IdOf(keys[reached.place] >> 32);
}

struct TopList {
  int32_t* tokens;
  float* logprobs;
};

// Writes the `count` likeliest tokens, likeliest first, after FillBins. REQUIRES: 1 <= count <= min(kMaxTop, V).
ROPEWAY_DEVICE void WriteTop(WeighedLogits tokens, int32_t count, double normaliser, const TopList& out) {
  const uint64_t* const keys = MemoryOfSelections().keys;
  if (Narrow<false>(tokens, [&](uint64_t) { return static_cast<uint64_t>(count); }) == 0)
    ListTokens(tokens, 0, kFarBin, count);  // which the cut tells by now
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < count; i += kSelectionThreads) {
    const int32_t id = IdOf(keys[i]);
    out.tokens[i] = id;
    out.logprobs[i] = static_cast<float>(static_cast<double>(tokens.logits[id]) - normaliser);
  }
}

// The log-probability of `token` under softmax(logits), whose peak is given, and of the `top` likeliest tokens; where
// there are fewer, or the logits say nothing, kNoChoice and NaN stand in the rest.
ROPEWAY_DEVICE float WriteLogprobs(const float* logits, int32_t vocab_size, const Peak& peak, int32_t token,
                                   int32_t top, const TopList& out) {
  const int32_t count = peak.found ? min(top, vocab_size) : 0;
  for (int32_t i = count + static_cast<int32_t>(threadIdx.x); i < top; i += kSelectionThreads) {
    out.tokens[i] = kNoChoice;
    out.logprobs[i] = NAN;
  }
  if (!peak.found) return NAN;
  const WeighedLogits weighed = {logits, vocab_size, peak.logit, 1.0f};
  if (count > 0) FillBins<true>(weighed);
  const double normaliser = LogNormaliser(peak.logit, count > 0 ? WeightOfBins() : weighed.Total());
  if (count > 0) WriteTop(weighed, count, normaliser, out);
  return static_cast<float>(static_cast<double>(logits[token]) - normaliser);
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_LOGIT_SHORTLIST_CUH_
