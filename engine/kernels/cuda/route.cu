// Which experts the tokens of a step go to, and which slots their choices get (experts.h).
//
// A warp chooses for one token, whose scores lie in shared memory; one block divides the choices among slots: of few
// tokens the same one, else by a kernel of its own. Moves T X numbers and 20 bytes a choice.
#include <cfloat>
#include <climits>

#include "engine/kernels/cuda/device.h"
#include "engine/kernels/cuda/launchers.h"
#include "engine/kernels/cuda/shared_bytes.h"

namespace ropeway::cuda {
namespace {

// ---- Choices.

constexpr int kWarps = 4;

// An expert, or a group of them, and how good it is to choose.
struct Candidate {
  float goodness;
  int index;
};

// Of two that are equally good, the lower index is first.
ROPEWAY_DEVICE bool IsBefore(const Candidate& a, const Candidate& b) {
  return a.goodness > b.goodness || (a.goodness == b.goodness && a.index < b.index);
}

// Before all candidates; those that may not be chosen have goodness -infinity.
ROPEWAY_DEVICE Candidate Start() { return {INFINITY, -1}; }

// The best of [first, last) that comes after `before`, in every lane.
ROPEWAY_DEVICE Candidate NextBest(const float* goodness, int first, int last, const Candidate& before) {
  Candidate best = {-INFINITY, INT_MAX};
  for (int i = first + static_cast<int>(threadIdx.x % 32); i < last; i += 32) {
    const Candidate candidate = {goodness[i], i};
    if (IsBefore(before, candidate) && IsBefore(candidate, best)) best = candidate;
  }
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    const Candidate other = {__shfl_xor_sync(kFullWarp, best.goodness, lanes),
                             __shfl_xor_sync(kFullWarp, best.index, lanes)};
    if (IsBefore(other, best)) best = other;
  }
  return best;
}

// Above the -infinity of those that may not be chosen, also where it is no number.
ROPEWAY_DEVICE float Choosable(float goodness) { return goodness >= -FLT_MAX ? goodness : -FLT_MAX; }

// One token's numbers, in shared memory.
struct TokenNumbers {
  float* scores;    // [X]
  float* goodness;  // [X]
  float* groups;    // [groups]
};
constexpr int NumbersOfToken(const RouteArgs& args) { return 2 * args.num_experts + args.groups; }

// Scores, and what is chosen by: of products the order is that of their scores, also where those are rounded
// to the same number.
ROPEWAY_DEVICE void FindScores(const RouteArgs& args, int token, const TokenNumbers& numbers) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const float* row = args.z + token * args.z_stride;
  float most = -INFINITY;
  for (int i = lane; i < args.num_experts; i += 32) {
    const float z = args.bias == nullptr ? row[i] : row[i] + args.bias[i];
    numbers.scores[i] = z;
    numbers.goodness[i] = Choosable(z);
    most = fmaxf(most, z);
  }
  if (args.score == ExpertScore::kSoftmax) {
    most = WarpMax(most);
    float sum = 0;
    for (int i = lane; i < args.num_experts; i += 32)
      sum += numbers.scores[i] = expf(numbers.scores[i] - most);
    sum = WarpSum(sum);
    for (int i = lane; i < args.num_experts; i += 32) numbers.scores[i] /= sum;
  }
  if (args.score == ExpertScore::kSigmoid)
    for (int i = lane; i < args.num_experts; i += 32)
      numbers.scores[i] = 1.0f / (1.0f + expf(-numbers.scores[i]));
  if (args.correction == nullptr && args.chosen_groups == args.groups) return;
  for (int i = lane; i < args.num_experts; i += 32)
    numbers.goodness[i] =
        Choosable(args.correction == nullptr ? numbers.scores[i] : numbers.scores[i] + args.correction[i]);
}

// Experts of groups that are not among the best may not be chosen.
ROPEWAY_DEVICE void KeepBestGroups(const RouteArgs& args, const TokenNumbers& numbers) {
  if (args.chosen_groups == args.groups) return;
  const int lane = static_cast<int>(threadIdx.x % 32), each = args.num_experts / args.groups;
  for (int group = 0; group < args.groups; ++group) {
    Candidate best = Start();
    float sum = 0;
    for (int n = 0; n < args.group_best; ++n) {
      best = NextBest(numbers.goodness, group * each, (group + 1) * each, best);
      sum += best.goodness;
    }
    if (lane == 0) numbers.groups[group] = Choosable(sum);
  }
  __syncwarp();
  Candidate last = Start();
  for (int n = 0; n < args.chosen_groups; ++n) last = NextBest(numbers.groups, 0, args.groups, last);
  __syncwarp();
  for (int i = lane; i < args.num_experts; i += 32)
    if (IsBefore(last, {numbers.groups[i / each], i / each})) numbers.goodness[i] = -INFINITY;
}

// Lane 0 writes the choices.
ROPEWAY_DEVICE void WriteChoices(const RouteArgs& args, int token, const TokenNumbers& numbers) {
  const bool writes = threadIdx.x % 32 == 0, of_chosen = args.score == ExpertScore::kSoftmaxChosen;
  const int64_t first = int64_t{token} * args.per_token;
  Candidate best = Start();
  float sum = 0, most = 0;
  for (int rank = 0; rank < args.per_token; ++rank) {
    best = NextBest(numbers.goodness, 0, args.num_experts, best);
    float weight = numbers.scores[best.index];
    if (rank == 0) most = weight;
    if (of_chosen) weight = expf(weight - most);
    sum += weight;
    if (!writes) continue;
    args.slots.experts[first + rank] = best.index;
    args.slots.weights[first + rank] = weight;
  }
  const float divisor = args.normalised || of_chosen ? fmaxf(sum, args.least_sum) : 1.0f;
  for (int rank = 0; rank < args.per_token && writes; ++rank)
    args.slots.weights[first + rank] = args.slots.weights[first + rank] / divisor * args.scale;
}

// A warp, with NumbersOfToken in shared memory.
ROPEWAY_DEVICE void Choose(const RouteArgs& args, int token, float* shared) {
  const TokenNumbers numbers = {shared, shared + args.num_experts, shared + 2 * args.num_experts};
  FindScores(args, token, numbers);
  __syncwarp();
  KeepBestGroups(args, numbers);
  __syncwarp();
  WriteChoices(args, token, numbers);
}

__global__ void __launch_bounds__(kWarps * 32) ChooseKernel(RouteArgs args) {
  ROPEWAY_DYNAMIC_SHARED(float, shared);  // [kWarps][NumbersOfToken]
  LaunchDependents();
  GridDependencyWait();
  const int warp = static_cast<int>(threadIdx.x / 32);
  const int token = static_cast<int>(blockIdx.x) * kWarps + warp;
  if (token >= args.num_tokens) return;  // whole warps, and no barrier follows
  Choose(args, token, shared + warp * NumbersOfToken(args));
}

// ---- Slots.

constexpr int kMaxExperts = 1024;
constexpr int kPlaceThreads = kMaxExperts;  // one of each expert

// The sum of `value` over all threads before this one.
ROPEWAY_DEVICE int SumBefore(int value) {
  ROPEWAY_SHARED(warps, int[kPlaceThreads / 32]);
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  int sum = value;
  for (int lanes = 1; lanes < 32; lanes *= 2) {
    const int before = __shfl_up_sync(kFullWarp, sum, lanes);
    if (lane >= lanes) sum += before;
  }
  __syncthreads();  // the readers of an earlier call are done
  if (lane == 31) warps[warp] = sum;
  __syncthreads();
  static_assert(kPlaceThreads == 32 * 32);  // a warp's sum for each lane
  int before = lane < warp ? warps[lane] : 0;
  for (int lanes = 16; lanes > 0; lanes /= 2) before += __shfl_xor_sync(kFullWarp, before, lanes);
  return before + sum - value;
}

// All threads of a block of kPlaceThreads.
ROPEWAY_DEVICE void PlaceChoices(const RouteArgs& args) {
  ROPEWAY_SHARED(next, int[kMaxExperts]);  // slots of each expert; later the next that is free
  const ExpertSlots& slots = args.slots;
  const int thread = static_cast<int>(threadIdx.x), choices = args.num_tokens * args.per_token;
  next[thread] = 0;
  __syncthreads();
  for (int i = thread; i < choices; i += kPlaceThreads) atomicAdd(&next[slots.experts[i]], 1);
  __syncthreads();
  const int count = next[thread], first = SumBefore(count);
  int tile = SumBefore((count + slots.tile_slots - 1) / slots.tile_slots);
  next[thread] = first;
#pragma unroll 1
  for (int i = 0; i < count; i += slots.tile_slots)
    slots.tiles[tile++] = {thread, first + i, min(slots.tile_slots, count - i)};
  if (thread == kPlaceThreads - 1) *slots.num_tiles = tile;
  __syncthreads();
#pragma unroll 1
  for (int i = thread; i < choices; i += kPlaceThreads) {
    const int place = atomicAdd(&next[slots.experts[i]], 1);
    slots.slots[i] = place;
    slots.slot_choices[place] = i;
    slots.slot_experts[place] = slots.experts[i];
  }
}

__global__ void __launch_bounds__(kPlaceThreads) PlaceKernel(RouteArgs args) {
  LaunchDependents();
  GridDependencyWait();
  PlaceChoices(args);
}

// ---- Both, of few tokens.

// A warp for each, and their numbers where every device has room for them.
constexpr int kFewTokens = kPlaceThreads / 32;
constexpr size_t kFewBytes = kUnaskedSharedBytes - kStaticBesideDynamic;

__global__ void __launch_bounds__(kPlaceThreads) RouteKernel(RouteArgs args) {
  ROPEWAY_DYNAMIC_SHARED(float, shared);  // [T][NumbersOfToken]
  LaunchDependents();
  GridDependencyWait();
  const int warp = static_cast<int>(threadIdx.x / 32);
  if (warp < args.num_tokens) Choose(args, warp, shared + warp * NumbersOfToken(args));
  __syncthreads();
  PlaceChoices(args);
}

}  // namespace

ErrorCode Route(const RouteArgs& args, Stream stream) {
  const size_t token_bytes = static_cast<size_t>(NumbersOfToken(args)) * sizeof(float);
  const size_t bytes = static_cast<size_t>(args.num_tokens) * token_bytes;
  if (args.num_tokens <= kFewTokens && bytes <= kFewBytes)
    return LaunchDependent(stream, RouteKernel, dim3(1), dim3(kPlaceThreads), bytes, args);
  const dim3 grid(static_cast<unsigned>((args.num_tokens + kWarps - 1) / kWarps));
  const ErrorCode error =
      LaunchDependent(stream, ChooseKernel, grid, dim3(kWarps * 32), kWarps * token_bytes, args);
  if (error != 0) return error;
  return LaunchDependent(stream, PlaceKernel, dim3(1), dim3(kPlaceThreads), 0, args);
}

}  // namespace ropeway::cuda
