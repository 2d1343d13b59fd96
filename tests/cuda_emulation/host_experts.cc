#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "tests/cuda_emulation/host_elements.h"
#include "tests/cuda_emulation/host_matmul.h"
#include "tests/cuda_emulation/host_ops.h"

namespace ropeway::cuda::emulation {
namespace {

// The experts of one token, best first: sorted, where the kernels look for one after the other.
std::vector<int32_t> ChosenExperts(const RouteArgs& args, const std::vector<float>& goodness) {
  const auto is_better = [](const std::vector<float>& by) {
    return [&by](int32_t a, int32_t b) { return by[a] > by[b]; };
  };
  const int each = args.num_experts / args.groups;
  std::vector<float> of_groups(args.groups, 0);
  for (int g = 0; g < args.groups && args.chosen_groups < args.groups; ++g) {
    std::vector<float> members(goodness.begin() + g * each, goodness.begin() + (g + 1) * each);
    std::sort(members.rbegin(), members.rend());
    for (int n = 0; n < args.group_best; ++n) of_groups[g] += members[n];
  }
  std::vector<int32_t> groups(args.groups), experts;
  std::iota(groups.begin(), groups.end(), 0);
  std::stable_sort(groups.begin(), groups.end(), is_better(of_groups));
  groups.resize(args.chosen_groups);
  std::sort(groups.begin(), groups.end());
  for (const int32_t group : groups)
    for (int32_t i = 0; i < each; ++i) experts.push_back(group * each + i);
  std::stable_sort(experts.begin(), experts.end(), is_better(goodness));
  experts.resize(args.per_token);
  return experts;
}

void RouteToken(const RouteArgs& args, int64_t token) {
  std::vector<float> z(args.z + token * args.z_stride, args.z + token * args.z_stride + args.num_experts);
  for (int i = 0; i < args.num_experts && args.bias != nullptr; ++i) z[i] += args.bias[i];
  const float most = *std::max_element(z.begin(), z.end());
  std::vector<float> scores = z;
  if (args.score == ExpertScore::kSoftmax) {
    float sum = 0;
    for (float& score : scores) sum += score = std::exp(score - most);
    for (float& score : scores) score /= sum;
  }
  if (args.score == ExpertScore::kSigmoid)
    for (float& score : scores) score = 1 / (1 + std::exp(-score));
  const bool by_product = args.correction == nullptr && args.chosen_groups == args.groups;
  std::vector<float> goodness = by_product ? z : scores;
  for (int i = 0; i < args.num_experts && args.correction != nullptr; ++i) goodness[i] += args.correction[i];
  const std::vector<int32_t> chosen = ChosenExperts(args, goodness);
  const bool of_chosen = args.score == ExpertScore::kSoftmaxChosen;
  std::vector<float> weights;
  float sum = 0;
  for (const int32_t expert : chosen) {
    weights.push_back(of_chosen ? std::exp(scores[expert] - scores[chosen[0]]) : scores[expert]);
    sum += weights.back();
  }
  const float divisor = args.normalised || of_chosen ? std::max(sum, args.least_sum) : 1;
  for (int rank = 0; rank < args.per_token; ++rank) {
    args.slots.experts[token * args.per_token + rank] = chosen[rank];
    args.slots.weights[token * args.per_token + rank] = weights[rank] / divisor * args.scale;
  }
}

}  // namespace

void RouteOnHost(const RouteArgs& args) {
  const ExpertSlots& slots = args.slots;
  for (int64_t token = 0; token < args.num_tokens; ++token) RouteToken(args, token);
  int32_t slot = 0, tiles = 0;
  for (int32_t expert = 0; expert < args.num_experts; ++expert) {
    const int32_t first = slot;
    for (int32_t choice = 0; choice < args.num_tokens * args.per_token; ++choice) {
      if (slots.experts[choice] != expert) continue;
      slots.slots[choice] = slot;
      slots.slot_choices[slot] = choice;
      slots.slot_experts[slot++] = expert;
    }
    for (int32_t at = first; at < slot; at += slots.tile_slots)
      slots.tiles[tiles++] = {expert, at, std::min(slots.tile_slots, slot - at)};
  }
  *slots.num_tiles = tiles;
}

void GateExpertsOnHost(ExpertMatMulArgs args, const std::function<void(const ExpertMatMulArgs&)>& multiply) {
  std::vector<uint8_t> gate_up(args.num_slots * args.weights.rows * BytesOf(args.element));
  GateArgs gate = *args.gate;
  args.gate.reset();
  args.y = gate_up.data();
  args.y_stride = args.weights.rows;
  multiply(args);
  gate.gate_up = gate_up.data();
  GateOnHost(gate);
}

void ExpertMatMulOnHost(const ExpertMatMulArgs& args) {
  if (args.gate) return GateExpertsOnHost(args, ExpertMatMulOnHost);
  const int64_t row_bytes = args.weights.columns * BytesOf(args.element);
  for (int32_t i = 0; i < *args.slots.num_tiles; ++i) {
    const ExpertTile& tile = args.slots.tiles[i];
    DeviceMatrix matrix = args.weights;
    matrix.data = args.matrices[tile.expert];
    std::vector<uint8_t> x;
    for (int32_t slot = tile.first_slot; slot < tile.first_slot + tile.num_slots; ++slot) {
      const int64_t from = args.per_token > 0 ? args.slots.slot_choices[slot] / args.per_token : slot;
      const auto* row = static_cast<const uint8_t*>(args.x) + from * row_bytes;
      x.insert(x.end(), row, row + row_bytes);
    }
    const auto store = [&](int64_t t, int64_t m, float sum) {
      const int64_t slot = tile.first_slot + t;
      if (args.scales) sum *= args.slots.weights[args.slots.slot_choices[slot]];
      StoreElement(args.element, args.y, slot * args.y_stride + m, sum);
    };
    MultiplyOnHost({.tokens = tile.num_slots,
                    .outputs = matrix.rows,
                    .columns = matrix.columns,
                    .element = args.element,
                    .x = x.data(),
                    .weight_row = [&](int64_t m) { return RoundedRowOf(matrix, m, args.element); },
                    .store = store});
  }
}

void CombineOnHost(const CombineArgs& args) {
  for (int64_t t = 0; t < args.num_tokens; ++t)
    for (int64_t c = 0; c < args.columns; ++c) {
      const float gate = args.shared_z == nullptr ? 1 : 1 / (1 + std::exp(-args.shared_z[t * args.z_stride]));
      float sum = args.has_shared ? gate * LoadElement(args.element, args.out, t * args.columns + c) : 0;
      for (int64_t choice = t * args.per_token; choice < (t + 1) * args.per_token; ++choice) {
        float value =
            LoadElement(args.element, args.results, args.slots.slots[choice] * int64_t{args.columns} + c);
        if (args.biases != nullptr) value += args.biases[args.slots.experts[choice]][c];
        sum += (args.weighted ? args.slots.weights[choice] : 1) * value;
      }
      StoreElement(args.element, args.out, t * args.columns + c, sum);
    }
  if (args.residual == nullptr) return;
  NormOnHost({.kind = NormKind::kNone,
              .element = args.element,
              .num_rows = args.num_tokens,
              .columns = args.columns,
              .residual = args.residual,
              .branch = args.out,
              .branch_bias = args.branch_bias,
              .branch_scale = args.branch_scale});
}

}  // namespace ropeway::cuda::emulation
