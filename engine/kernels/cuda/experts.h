// Layers of experts on a device: what is computed and how the tokens of a step are divided among experts.
//
// Plain C++. Each token goes to K of X experts. A slot is one choice of one token, T K in all; the slots of an
// expert lie side by side, and tiles of them are multiplied together, so that the expert's weights are read
// once for all. What is computed in a slot depends on its token and its expert alone, and a token's results
// are added in the order of its choices: which slot a choice has changes no byte.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_EXPERTS_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_EXPERTS_H_

#include <algorithm>
#include <cstdint>
#include <optional>

#include "engine/kernels/cuda/device_matrix.h"
#include "engine/kernels/cuda/element.h"
#include "engine/kernels/cuda/gate.h"

namespace ropeway::cuda {

// Slots of a tile, at most: those of one or two tiles of mma, or as many as a block multiplies by 128 rows at once, of
// steps of many tokens and of those of most.
inline constexpr int kFewExpertSlots = 8, kSomeExpertSlots = 16, kManyExpertSlots = 64,
                     kMostExpertSlots = 128;

// How the weights of experts lie, as far as tiles depend on it.
enum class ExpertWeights : uint8_t { kDense, kPacked, kFp8 };

// As many slots as an expert gets on average, at most, for tiles of few and of some. Measured on an H100 80GB HBM3, 2026-11-27,
// X / K = 8 / 2 of F 14336 and 128 / 8 of F 768, us of the input product with the activation:
//   bf16: with 2 slots each 645 and 567 by tiles of few, 671 and 575 by tiles of 64; with 4 712 and 620 against 673 and 576.
//   packed: 813 and 645 by tiles of 64 with 2 slots each of Q4_K. Streams of experts were not measured since one of a single
//   matrix of that size takes 38 us, where a tile of 64 took 100.
//   fp8: tiles of few read at 2,825 GB/s with 4 slots each; tiles of some not measured.
struct ExpertTileLimits {
  int few, some;
};
constexpr ExpertTileLimits ExpertTileLimitsOf(ExpertWeights weights) {
  switch (weights) {
    case ExpertWeights::kDense:
      return {2, 2};
    case ExpertWeights::kPacked:
    case ExpertWeights::kFp8:
      return {4, 8};
  }
  return {};
}

// Slots of a tile of a step that has so many slots in all. Beyond those limits 64, at the pace of memory; 128 where that
// halves how often packed weights are unpacked, from 128 slots each on (1,182 and 1,015 us against 1,671 and 1,472; with 64
// each 1,009 and 873 against 935 and 763). With dense weights 128 were slower wherever it was measured, up to 128 each. Of fp8
// from more than 64 slots each on, not measured.
constexpr int ExpertTileSlots(int64_t slots, int64_t experts, ExpertWeights weights) {
  const ExpertTileLimits limits = ExpertTileLimitsOf(weights);
  if (slots <= experts * limits.few) return kFewExpertSlots;
  if (slots <= experts * limits.some) return kSomeExpertSlots;
  const bool most = weights == ExpertWeights::kPacked
                        ? slots >= experts * kMostExpertSlots
                        : weights == ExpertWeights::kFp8 && slots > experts * kManyExpertSlots;
  return most ? kMostExpertSlots : kManyExpertSlots;
}

// Slots [first_slot, first_slot + num_slots) of one expert.
struct ExpertTile {
  int32_t expert = 0, first_slot = 0, num_slots = 0;
};

// The most tiles of so many slots that `slots` slots of `experts` experts need.
constexpr int64_t MaxExpertTiles(int64_t slots, int64_t experts, int tile_slots) {
  return slots / tile_slots + std::min(slots, experts);
}

// Who goes where, in device memory; a choice is token * K + rank, best first.
struct ExpertSlots {
  int tile_slots = kFewExpertSlots;  // of a tile, at most
  int32_t* experts = nullptr;        // [T K] of each choice
  float* weights = nullptr;          // [T K] of each choice
  int32_t* slots = nullptr;          // [T K] of each choice
  int32_t* slot_choices = nullptr;   // [T K] the choice of each slot
  int32_t* slot_experts = nullptr;   // [T K] the expert of each slot
  ExpertTile* tiles = nullptr;       // [MaxExpertTiles]
  int32_t* num_tiles = nullptr;
};

enum class ExpertScore : uint8_t {
  kSoftmax,        // e^z / sum over all experts
  kSoftmaxChosen,  // z to choose by, then e^z / sum over the chosen ones
  kSigmoid,        // 1 / (1 + e^-z)
};

// Chooses by z as engine/model/expert_routing.h has it, in float32, and divides the tokens among slots. A z
// that is no number counts as the least.
struct RouteArgs {
  ExpertScore score = ExpertScore::kSoftmax;
  bool normalised = false;
  int groups = 1, chosen_groups = 1, group_best = 2;
  float least_sum = 0;
  float scale = 1;
  int num_experts = 0;  // X, at most 1024
  int per_token = 0;    // K
  int num_tokens = 0;
  const float* z = nullptr;           // [T, z_stride]
  const float* bias = nullptr;        // [X], added to z first; or null
  const float* correction = nullptr;  // [X], or null
  int64_t z_stride = 0;
  ExpertSlots slots;  // out
};

// y[slot] = x W^T, W of the slot's expert. Sums are float32, in one order whatever else is in the step and however
// many slots a tile has: where x has 16 bits that of gemm.h.
struct ExpertMatMulArgs {
  DeviceMatrix weights;                   // type and shape of every expert's matrix; data is not used
  const void* const* matrices = nullptr;  // [X] their data
  Element element = Element::kBF16;       // of x and y; dense weights are of this type
  int num_experts = 0;
  int num_slots = 0;         // T K
  int per_token = 0;         // > 0: x has a row for each token, K; 0: for each slot
  bool scales = false;       // sums are multiplied by the weights of the choices, before they are rounded
  int processors = 1;        // of the device
  bool bulk_copies = false;  // as in MatMulArgs
  ExpertSlots slots;
  const void* x = nullptr;  // [T or T K, columns]
  void* y = nullptr;        // [T K, y_stride]
  int64_t y_stride = 0;     // at least rows
  // What follows by the same kernel, of slots: its bytes are those that it makes of y, which is not used then, nor is
  // what the gate calls gate_up.
  std::optional<GateArgs> gate = {};
};

// out[t] = shared + sum over a token's choices of weight * (result + bias of the expert).
struct CombineArgs {
  Element element = Element::kBF16;
  int num_tokens = 0;
  int per_token = 0;
  int columns = 0;       // D
  bool weighted = true;  // else every weight counts as 1
  ExpertSlots slots;
  const void* results = nullptr;         // [T K, D]
  const float* const* biases = nullptr;  // [X] of [D], or null
  bool has_shared = false;               // out holds what the expert of all tokens gives; else zeros
  const float* shared_z = nullptr;       // [T, z_stride] that is multiplied by 1 / (1 + e^-z); null: by 1
  int64_t z_stride = 0;
  void* out = nullptr;  // [T, D]
  // Not null: what out would be is added to the residual, with the bytes of norm(NormArgs) where out is its branch; `out`
  // is left as it was or holds it.
  float* residual = nullptr;           // [T, D]
  const float* branch_bias = nullptr;  // [D], or null
  float branch_scale = 1;
};

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_EXPERTS_H_
