// Drawing from the list of a row's likeliest tokens that its blocks have left in SampleState, by the last of them.
//
// A list of few tokens is sorted. Of more, each thread has some in registers, and bins tell where a selection ends, as in
// logit_shortlist.cuh: by distance to the likeliest token first, and for the draw by id. Only those of one bin are sorted.
// How long lists of thousands take on a device was not measured.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_LOGIT_LIST_CUH_
#define ROPEWAY_ENGINE_KERNELS_CUDA_LOGIT_LIST_CUH_

#include "engine/kernels/cuda/logit_slices.cuh"

namespace ropeway::cuda {

// A thread's share of a list; 0 is no key.
struct ListedKeys {
  static constexpr int kCount = SampleState::kListed / kSelectionThreads;
  uint64_t keys[kCount];

  ROPEWAY_DEVICE ListedKeys(const SampleState& state, int size) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int place = i * kSelectionThreads + static_cast<int>(threadIdx.x);
      keys[i] = place < size ? __ldcg(&state.keys[place]) : 0;
    }
  }

  // Counts the tokens that are kept in places of place_of(key), and weighs them.
  template <bool kWeigh, class PlaceOf>
  ROPEWAY_DEVICE void FillPlaces(const WeighedLogits& tokens, const PlaceOf& place_of) const {
    PlaceSums& sums = MemoryOfSelections().sums;
    sums.Clear();
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const bool kept = keys[i] != 0 && keys[i] >= tokens.cut;
      sums.Add<kWeigh>(kept, kept ? place_of(keys[i]) : 0,
                       kWeigh && kept ? tokens.WeightOf(LogitOf(keys[i] >> kIdBits)) : 0);
    }
    __syncthreads();
  }

  // Puts those kept of one place into shared memory, likeliest first.
  template <class PlaceOf>
  ROPEWAY_DEVICE void SortPlace(const WeighedLogits& tokens, int place, int size,
                                const PlaceOf& place_of) const {
    SelectionMemory& memory = MemoryOfSelections();
    if (threadIdx.x == 0) memory.num_keys = 0;
    __syncthreads();  // the readers of an earlier list are done, too
#pragma unroll
    for (int i = 0; i < kCount; ++i)
      if (keys[i] != 0 && keys[i] >= tokens.cut && place_of(keys[i]) == place)
        memory.keys[atomicAdd(&memory.num_keys, 1u)] = keys[i];
    SortList(size);
  }

  // Narrows the tokens as Narrow does; false where a bin has more than can be sorted.
  template <bool kByWeight, class TargetOf>
  ROPEWAY_DEVICE bool NarrowBy(WeighedLogits& tokens, const TargetOf& target_of) const {
    SelectionMemory& memory = MemoryOfSelections();
    const auto bin_of = [&](uint64_t key) { return BinOf(tokens.largest, LogitOf(key >> kIdBits)); };
    FillPlaces<kByWeight>(tokens, bin_of);
    const Reached bin = PlaceAt([&](int place) { return memory.sums.Of<kByWeight>(place); }, target_of);
    const uint64_t in_bin = memory.sums.Of<false>(bin.place);
    if (in_bin > kPlaces) return false;
    const int size = static_cast<int>(in_bin);
    SortPlace(tokens, bin.place, size, bin_of);
    const Reached last = PlaceInList<kByWeight>(tokens, size, [&](uint64_t) { return bin.rest; });
    tokens.CutBelow(memory.keys[last.place]);
    return true;
  }

  // The first token, by ascending id, at which the running sum of the weights of those kept exceeds target_of(their sum).
  template <class TargetOf>
  ROPEWAY_DEVICE int32_t TokenAt(const WeighedLogits& tokens, const TargetOf& target_of) const {
    PlaceSums& sums = MemoryOfSelections().sums;
    const int32_t ids = (tokens.vocab_size + kPlaces - 1) / kPlaces;  // of a place, at most kPlaces
    const auto place_of = [&](uint64_t key) { return IdOf(key) / ids; };
    FillPlaces<true>(tokens, place_of);
    const Reached reached = PlaceAt([&](int place) { return sums.Of<true>(place); },
                                    [&](uint64_t sum) { return target_of(sum) + 1; });
    const int size = static_cast<int>(sums.Of<false>(reached.place));
    SortPlace(tokens, reached.place, size, place_of);
    return ListedTokenAt(tokens, size, [&](uint64_t) { return reached.rest - 1; });
  }
};

// What top_p keeps, of tokens that weigh `sum` or, where it is not 0, `all` together, of which those listed weigh `sum`.
struct MassOf {
  const SamplingRule& rule;
  uint64_t all;
  bool& listed;  // out: whether those listed are enough

  ROPEWAY_DEVICE uint64_t operator()(uint64_t sum) const {
    const uint64_t mass = TopPMass(rule, all == 0 ? sum : all);
    listed = mass <= sum;
    return listed ? mass : sum;
  }
};

// Narrows by top_k and top_p; false where the list does not hold all that they leave.
ROPEWAY_DEVICE bool NarrowListed(const SamplingRule& rule, const ListedKeys& list, uint64_t all,
                                 WeighedLogits& tokens) {
  bool listed = true;
  if (NarrowsByTopK(rule, tokens.vocab_size)) {
    const auto wanted = [&](uint64_t sum) {
      listed = sum >= static_cast<uint64_t>(rule.top_k);
      return listed ? static_cast<uint64_t>(rule.top_k) : sum;
    };
    if (!list.NarrowBy<false>(tokens, wanted) || !listed) return false;
  }
  return !NarrowsByTopP(rule) || (list.NarrowBy<true>(tokens, MassOf{rule, all, listed}) && listed);
}

ROPEWAY_DEVICE int32_t DrawSorted(const SamplingRule& rule, WeighedLogits tokens, const SampleState& state,
                                  int size, uint64_t all) {
  uint64_t* const keys = MemoryOfSelections().keys;
  __syncthreads();  // the readers of an earlier list are done
  for (int i = static_cast<int>(threadIdx.x); i < size; i += kSelectionThreads)
    keys[i] = __ldcg(&state.keys[i]);
  SortList(size);
  if (NarrowsByTopK(rule, tokens.vocab_size)) {
    if (size < rule.top_k) return kNoChoice;
    size = rule.top_k;
  }
  if (NarrowsByTopP(rule)) {
    bool listed = true;
    const Reached last = PlaceInList<true>(tokens, size, MassOf{rule, all, listed});
    if (!listed) return kNoChoice;
    size = last.place + 1;
  }
  if (NarrowsByMinP(rule)) tokens.CutBelow(LeastKey(rule, tokens.largest));
  return ListedTokenAt(tokens, size, [&](uint64_t sum) { return DrawTarget(rule, sum); });
}

// kNoChoice where the list does not hold all that may be drawn.
ROPEWAY_DEVICE int32_t DrawFromList(const SamplingRule& rule, WeighedLogits tokens, const SliceSearch& search,
                                    const SampleState& state) {
  constexpr int kFew = 256;
  const unsigned size = __ldcg(&state.num_keys);
  if (search.last_bin == SliceSearch::kNoBin || size > SampleState::kListed) return kNoChoice;
  const uint64_t all = search.weighs ? BlockSum(PartSums{state}(static_cast<int>(threadIdx.x))) : 0;
  if (size <= kFew) return DrawSorted(rule, tokens, state, static_cast<int>(size), all);
  const ListedKeys list(state, static_cast<int>(size));
  if (!NarrowListed(rule, list, all, tokens)) return kNoChoice;
  if (NarrowsByMinP(rule)) tokens.CutBelow(LeastKey(rule, tokens.largest));
  return list.TokenAt(tokens, [&](uint64_t sum) { return DrawTarget(rule, sum); });
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_LOGIT_LIST_CUH_
