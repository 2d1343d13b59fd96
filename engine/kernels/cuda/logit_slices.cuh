// Rows of logits that several blocks share.
//
// The first time they find the likeliest token, and the largest logits of groups of tokens; all tokens are dealt among
// blocks and groups as cards are. Where n groups have a logit above some bound, at least n tokens have, and about
// -G log(1 - n / G) of them if there are G groups: with the bound from there, the second time lists the tokens that a
// selection needs, and few others, without a count of all. It also weighs all tokens where they count, by parts that lie
// side by side. The last block of a row draws from what all of them left in its SampleState.
//
// Functions are called by all threads of a block, as those of logit_selection.cuh.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_LOGIT_SLICES_CUH_
#define ROPEWAY_ENGINE_KERNELS_CUDA_LOGIT_SLICES_CUH_

#include "engine/kernels/cuda/logit_shortlist.cuh"

namespace ropeway::cuda {

static_assert(kSliceUnit == 4 * kSelectionThreads, "loads are of four logits");
static_assert(SampleState::kGroups == kPlaces && SampleState::kParts <= kPlaces &&
              SampleState::kListed % kSelectionThreads == 0);

// Where the tokens lie that a block has the second time, each warp's part of them being a whole number of 128 tokens.
struct LogitSlice {
  int32_t begin, end;  // of ids
  int32_t part_tokens;

  ROPEWAY_DEVICE int32_t PartBegin(int part) const { return min(begin + part * part_tokens, end); }
};
ROPEWAY_DEVICE LogitSlice SliceOf(int32_t vocab_size, int32_t slice_tokens) {
  const int32_t begin = static_cast<int32_t>(blockIdx.x) * slice_tokens;
  return {begin, min(begin + slice_tokens, vocab_size), slice_tokens / kSelectionWarps};
}

ROPEWAY_DEVICE Vector128<float> FourLogits(const float* logits, int32_t id, int32_t end) {
  if (reinterpret_cast<uintptr_t>(logits) % 16 == 0 && id + 4 <= end) return Load128(logits + id);
  Vector128<float> four;
#pragma unroll
  for (int i = 0; i < 4; ++i) four.values[i] = id + i < end ? logits[id + i] : -INFINITY;
  return four;
}

// Takes four logits from id `first` on, and from each `step` ids further on before `end`, beyond which there is
// -infinity; of rows that begin at a multiple of 16 bytes, several loads at a time. REQUIRES: first and step are
// multiples of 4.
template <int kAtOnce, class Take>
ROPEWAY_DEVICE void ForFours(const float* logits, int32_t first, int32_t end, int32_t step,
                             const Take& take) {
  if (reinterpret_cast<uintptr_t>(logits) % 16 == 0) {
    for (; first + (kAtOnce - 1) * step + 4 <= end; first += kAtOnce * step) {
      Vector128<float> fours[kAtOnce];
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) fours[i] = Load128(logits + first + i * step);
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) take(first + i * step, fours[i]);
    }
  }
  for (; first < end; first += step) take(first, FourLogits(logits, first, end));
}

// Which tokens a block has the first time: of runs of 128, as many as it has warps.
struct DealtTokens {
  static constexpr int kRun = 128;

  ROPEWAY_DEVICE bool Has(int32_t id) const { return id >= 0 && id / kRun % gridDim.x == blockIdx.x; }
  template <int kAtOnce, class Take>
  ROPEWAY_DEVICE void ForEachFour(const float* logits, int32_t vocab_size, const Take& take) const {
    const unsigned run = threadIdx.x / 32 * gridDim.x + blockIdx.x;
    ForFours<kAtOnce>(logits, static_cast<int32_t>(run * kRun + threadIdx.x % 32 * 4), vocab_size,
                      kSliceUnit * static_cast<int32_t>(gridDim.x), take);
  }
};

// Groups of one block, so that those of a row are at most kGroups.
ROPEWAY_DEVICE int GroupsOfBlock() {
  int groups = kSelectionThreads;
  while (groups * gridDim.x > SampleState::kGroups) groups /= 2;
  return groups;
}

// The largest logit of each group, from that of each thread.
ROPEWAY_DEVICE void WriteMaxima(float most, SampleState& state) {
  ROPEWAY_SHARED(of_threads, float[kSelectionThreads]);
  __syncthreads();
  of_threads[threadIdx.x] = most;
  __syncthreads();
  const int groups = GroupsOfBlock(), group = static_cast<int>(threadIdx.x);
  if (group >= groups) return;
  for (int i = group; i < kSelectionThreads; i += groups) most = fmaxf(most, of_threads[i]);
  state.maxima[static_cast<int>(blockIdx.x) * groups + group] = most;
}

inline constexpr uint64_t kSenselessPeak = ~uint64_t{0};  // of a block that has met NaN or +infinity

ROPEWAY_DEVICE void ScanTokens(const float* logits, int32_t vocab_size, SampleState& state) {
  float most = -INFINITY;
  int32_t id_of_most = 0;
  bool senseless = false;
  DealtTokens().ForEachFour<4>(logits, vocab_size, [&](int32_t id, const Vector128<float>& four) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float x = four.values[i];
      senseless |= !(x < INFINITY);  // NaN, too
      if (x > most) {
        most = x;
        id_of_most = id + i;
      }
    }
  });
  senseless = __syncthreads_or(senseless);
  const uint64_t peak = BlockMax(KeyOf(most, id_of_most));
  WriteMaxima(most, state);
  if (threadIdx.x != 0) return;
  state.peaks[blockIdx.x] = senseless ? kSenselessPeak : peak;
  if (blockIdx.x == 0) state.num_keys = state.arrivals = 0;
}

ROPEWAY_DEVICE Peak PeakOfSlices(const SampleState& state) {
  const unsigned lane = threadIdx.x % 32;
  const uint64_t peak = WarpMax(lane < gridDim.x ? state.peaks[lane] : 0);
  const float logit = LogitOf(peak >> kIdBits);
  if (peak == kSenselessPeak || !(logit > -INFINITY)) return {false, 0, 0};
  return {true, logit, IdOf(peak)};
}

// What the blocks of a row look for the second time.
struct SliceSearch {
  static constexpr int kNoBin = -1;
  bool lists, weighs;
  int last_bin;  // tokens up to it are listed (BinOf); kNoBin: a list would be too long
  float least;   // less likely tokens have no weight
};

// Up to which bin there are `wanted` tokens; 0: about twice as many as there are groups, four times where there are as
// many groups as can be.
ROPEWAY_DEVICE int LastListedBin(const WeighedLogits& tokens, const SampleState& state, int wanted) {
  if (tokens.vocab_size <= kPlaces) return kFarBin;
  const int groups = static_cast<int>(gridDim.x) * GroupsOfBlock(), most = groups / 8 * 7;
  if (wanted > most) return SliceSearch::kNoBin;
  PlaceSums& bins = MemoryOfSelections().sums;
  bins.Clear();
  for (int i = static_cast<int>(threadIdx.x); i < SampleState::kGroups; i += kSelectionThreads)
    bins.Add<false>(i < groups, i < groups ? BinOf(tokens.largest, state.maxima[i]) : 0, 0);
  __syncthreads();
  const uint64_t target = static_cast<uint64_t>(wanted > 0 ? wanted : most);
  return min(PlaceAt([&](int bin) { return bins.Of<false>(bin); }, [&](uint64_t) { return target; }).place,
             kFarBin - 1);
}

// Tokens beyond this bin weigh less together than what top_p leaves out, whatever they are.
ROPEWAY_DEVICE int LastWeightyBin(const SamplingRule& rule, const WeighedLogits& tokens) {
  const float distance = FastLog(static_cast<float>(tokens.vocab_size) / (1 - rule.top_p)) / rule.scale;
  return static_cast<int>(fminf(distance * kBinsOfUnit + 1, static_cast<float>(kFarBin)));
}

ROPEWAY_DEVICE SliceSearch SearchFor(const SamplingRule& rule, const WeighedLogits& tokens,
                                     const SampleState& state) {
  const bool by_k = NarrowsByTopK(rule, tokens.vocab_size), lists = by_k || NarrowsByTopP(rule);
  SliceSearch search = {lists, !by_k, SliceSearch::kNoBin, -INFINITY};
  if (lists) search.last_bin = LastListedBin(tokens, state, by_k ? rule.top_k : 0);
  if (lists && !by_k) search.last_bin = min(search.last_bin, LastWeightyBin(rule, tokens));
  if (!lists && NarrowsByMinP(rule)) search.least = LeastLogit(rule, tokens.largest);
  return search;
}

// Lists a token, by way of shared memory while there is room.
ROPEWAY_DEVICE void ListKey(uint64_t key, SampleState& state) {
  SelectionMemory& memory = MemoryOfSelections();
  const unsigned place = atomicAdd(&memory.num_keys, 1u);
  if (place < SelectionMemory::kStaged) {
    memory.staged[place] = key;
    return;
  }
  const unsigned of_row = atomicAdd(&state.num_keys, 1u);
  if (of_row < SampleState::kListed) state.keys[of_row] = key;
}
ROPEWAY_DEVICE void ListStagedKeys(SampleState& state) {
  SelectionMemory& memory = MemoryOfSelections();
  ROPEWAY_SHARED(first_of_block, unsigned);
  __syncthreads();
  const unsigned staged = min(memory.num_keys, static_cast<unsigned>(SelectionMemory::kStaged));
  if (threadIdx.x == 0 && staged > 0) first_of_block = atomicAdd(&state.num_keys, staged);
  __syncthreads();
  for (unsigned i = threadIdx.x; i < staged; i += kSelectionThreads)
    if (first_of_block + i < SampleState::kListed) state.keys[first_of_block + i] = memory.staged[i];
}

ROPEWAY_DEVICE void SearchSlice(const WeighedLogits& tokens, const LogitSlice& slice,
                                const SliceSearch& search, SampleState& state) {
  if (threadIdx.x == 0) MemoryOfSelections().num_keys = 0;
  __syncthreads();
  const int warp = static_cast<int>(threadIdx.x / 32), lane = static_cast<int>(threadIdx.x % 32);
  const int32_t end = slice.PartBegin(warp + 1);
  const float bound = static_cast<float>(search.last_bin + 1);
  uint64_t sum = 0;
  ForFours<2>(tokens.logits, slice.PartBegin(warp) + 4 * lane, end, 128,
              [&](int32_t id, const Vector128<float>& four) {
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                  const float x = four.values[i];
                  if (search.weighs && x >= search.least) sum += tokens.WeightOf(x);
                  if (DistanceOf(tokens.largest, x) < bound && id + i < end) ListKey(KeyOf(x, id + i), state);
                }
              });
  sum = WarpSum(sum);
  if (lane == 0) state.sums[static_cast<int>(blockIdx.x) * kSelectionWarps + warp] = sum;
  if (search.lists) ListStagedKeys(state);
}

// Whether this block is the last of its row to come here; it then sees what the others wrote before.
ROPEWAY_DEVICE bool IsLastOfRow(SampleState& state) {
  __threadfence();
  __syncthreads();
  const bool is_last = threadIdx.x == 0 && atomicAdd(&state.arrivals, 1u) == gridDim.x - 1;
  if (!__syncthreads_or(is_last)) return false;
  __threadfence();
  return true;
}

// What the warps' parts of all slices weigh.
struct PartSums {
  const SampleState& state;
  ROPEWAY_DEVICE uint64_t operator()(int part) const {
    return part < static_cast<int>(gridDim.x) * kSelectionWarps ? __ldcg(&state.sums[part]) : 0;
  }
};

// The first token, by ascending id, at which the running sum of weights exceeds target_of(their sum), which is below the
// sum.
template <class TargetOf>
ROPEWAY_DEVICE int32_t TokenOfParts(const WeighedLogits& tokens, const LogitSlice& slice,
                                    const SampleState& state, const TargetOf& target_of) {
  Reached reached = PlaceAt(PartSums{state}, [&](uint64_t sum) { return target_of(sum) + 1; });
  int32_t width = slice.part_tokens, first = reached.place * width;
  while (width > 1) {
    const int32_t end = min(first + width, tokens.vocab_size);
    width = (end - first + kPlaces - 1) / kPlaces;
    const auto weight_at = [&](int place) {
      uint64_t sum = 0;
      const int32_t begin = min(first + place * width, end), stop = min(begin + width, end);
      for (int32_t id = begin; id < stop; ++id) sum += tokens.Weight(id);
      return sum;
    };
    reached = PlaceAt(weight_at, [&](uint64_t) { return reached.rest; });
    first += reached.place * width;
  }
  return first;
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_LOGIT_SLICES_CUH_
