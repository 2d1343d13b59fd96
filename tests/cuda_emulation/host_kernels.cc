#include "tests/cuda_emulation/host_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "engine/base/check.h"
#include "engine/kernels/ref/attend_token.h"
#include "tests/cuda_emulation/emulated_runtime.h"
#include "tests/cuda_emulation/host_elements.h"
#include "tests/cuda_emulation/host_matmul.h"
#include "tests/cuda_emulation/host_sampling.h"

namespace ropeway::cuda::emulation {
namespace {

// ---- Weights ----

// Columns [32 unit, 32 unit + 32) of a row of a packed matrix.
void UnpackUnit(const DeviceMatrix& matrix, int64_t row, int64_t unit, float* out) {
  const PackedLayout layout = LayoutOf(matrix.type, matrix.rows, matrix.columns);
  const auto* data = static_cast<const uint8_t*>(matrix.data);
  const int64_t i = row * (matrix.columns / kUnitColumns) + unit;
  const auto half = [&](int64_t at) {
    uint16_t bits;
    std::memcpy(&bits, data + at, sizeof bits);
    return HalfToFloat(bits);
  };
  const auto nibble = [&](int c) {
    const uint8_t byte = data[layout.codes + i * 16 + c % 16];
    return c < 16 ? byte & 15 : byte >> 4;
  };
  for (int c = 0; c < kUnitColumns; ++c) {
    switch (matrix.type) {
      case DType::kQ4_0:
        out[c] = half(layout.scales + i * 2) * static_cast<float>(nibble(c) - 8);
        break;
      case DType::kQ4_1:
        out[c] =
            half(layout.scales + i * 4) * static_cast<float>(nibble(c)) + half(layout.scales + i * 4 + 2);
        break;
      case DType::kQ8_0:
        out[c] = half(layout.scales + i * 2) *
                 static_cast<float>(static_cast<int8_t>(data[layout.codes + i * 32 + c]));
        break;
      case DType::kQ4_K: {
        const uint8_t* scale_min = data + layout.scales + i * 2;
        const int64_t block = layout.blocks + i / kBlockUnits * 4;
        out[c] = half(block) * scale_min[0] * static_cast<float>(nibble(c)) - half(block + 2) * scale_min[1];
        break;
      }
      case DType::kQ6_K: {
        const int high = data[layout.high + i * 8 + c % 8] >> (2 * (c / 8)) & 3;
        const auto scale = static_cast<int8_t>(data[layout.scales + i * 2 + c / 16]);
        out[c] = half(layout.blocks + i / kBlockUnits * 2) * static_cast<float>(scale) *
                 static_cast<float>((nibble(c) | high << 4) - 32);
        break;
      }
      default:
        ROPEWAY_CHECK(false);
    }
  }
}

std::vector<float> RowOf(const DeviceMatrix& matrix, int64_t row) {
  std::vector<float> values(matrix.columns);
  if (IsPacked(matrix.type)) {
    for (int64_t unit = 0; unit < matrix.columns / kUnitColumns; ++unit)
      UnpackUnit(matrix, row, unit, &values[unit * kUnitColumns]);
    return values;
  }
  const Element element = matrix.type == DType::kF32   ? Element::kF32
                          : matrix.type == DType::kF16 ? Element::kF16
                                                       : Element::kBF16;
  for (int64_t c = 0; c < matrix.columns; ++c)
    values[c] = LoadElement(element, matrix.data, row * matrix.columns + c);
  return values;
}

// Eight running sums, so that the compiler may use vectors.
float Dot(const float* a, const float* b, int64_t n) {
  float sums[8] = {};
  for (int64_t i = 0; i < n; i += 8)
    for (int64_t lane = 0; lane < std::min<int64_t>(8, n - i); ++lane)
      sums[lane] += a[i + lane] * b[i + lane];
  float sum = 0;
  for (const float part : sums) sum += part;
  return sum;
}

void EmbedOnHost(const EmbedArgs& args) {
  for (int t = 0; t < args.num_tokens; ++t) {
    const std::vector<float> row = RowOf(args.table, args.token_ids[t]);
    float* out = args.residual + t * row.size();
    for (size_t c = 0; c < row.size(); ++c) out[c] = args.scale * row[c];
    if (args.position_rows == nullptr) continue;
    const float* added = args.position_rows + int64_t{std::max(args.positions[t], 0)} * row.size();
    for (size_t c = 0; c < row.size(); ++c) out[c] += added[c];
  }
}

// As x has them: rounded to its type.
std::vector<float> RoundedRowOf(const DeviceMatrix& matrix, int64_t row, Element element) {
  std::vector<float> values = RowOf(matrix, row);
  for (float& value : values) {
    uint8_t bytes[sizeof(float)];
    StoreElement(element, bytes, 0, value);
    value = LoadElement(element, bytes, 0);
  }
  return values;
}

void UnpackOnHost(const UnpackArgs& args) {
  const int64_t columns = args.weights.columns;
  for (int64_t row = 0; row < args.num_rows; ++row) {
    const std::vector<float> values = RowOf(args.weights, args.first_row + row);
    for (int64_t c = 0; c < columns; ++c) StoreElement(args.element, args.out, row * columns + c, values[c]);
  }
}

void MatMulOnHost(const MatMulArgs& args) {
  MultiplyOnHost({.tokens = args.num_tokens,
                  .outputs = args.weights.rows,
                  .columns = args.weights.columns,
                  .element = args.element,
                  .x = args.x,
                  .weight_row = [&](int64_t m) { return RoundedRowOf(args.weights, m, args.element); },
                  .store = [&](int64_t t, int64_t m,
                               float sum) { StoreElement(args.out, args.y, t * args.y_stride + m, sum); }});
}

// ---- Rows ----

float InverseRms(const float* x, int64_t n, float epsilon) {
  return 1 / std::sqrt(Dot(x, x, n) / static_cast<float>(n) + epsilon);
}

void NormInPlace(NormKind kind, float epsilon, const float* weight, const float* bias,
                 std::vector<float>& x) {
  const auto n = static_cast<float>(x.size());
  if (kind == NormKind::kNone) return;
  if (kind == NormKind::kLayer) {
    float mean = 0;
    for (const float value : x) mean += value / n;
    for (float& value : x) value -= mean;
  }
  const float inverse = InverseRms(x.data(), x.size(), epsilon);
  for (size_t c = 0; c < x.size(); ++c) x[c] = x[c] * inverse * weight[c] + (bias == nullptr ? 0 : bias[c]);
}

void NormOnHost(const NormArgs& args) {
  std::vector<float> row(args.columns);
  for (int r = 0; r < args.num_rows; ++r) {
    float* residual = args.residual + int64_t{args.columns} * (args.rows == nullptr ? r : args.rows[r]);
    if (args.branch != nullptr) {
      for (int c = 0; c < args.columns; ++c) {
        row[c] = LoadElement(args.element, args.branch, int64_t{r} * args.columns + c);
        if (args.branch_bias != nullptr) row[c] += args.branch_bias[c];
      }
      NormInPlace(args.post_kind, args.epsilon, args.post_weight, args.post_bias, row);
      for (int c = 0; c < args.columns; ++c) residual[c] += args.branch_scale * row[c];
    }
    if (args.out == nullptr) continue;
    row.assign(residual, residual + args.columns);
    NormInPlace(args.kind, args.epsilon, args.weight, args.bias, row);
    for (int c = 0; c < args.columns; ++c)
      StoreElement(args.element, args.out, int64_t{r} * args.columns + c, row[c]);
  }
}

void NormColumnsOnHost(const NormColumnsArgs& args) {
  std::vector<float> row(args.columns);
  for (int64_t t = 0; t < args.num_tokens; ++t) {
    for (int c = 0; c < args.columns; ++c) row[c] = LoadElement(args.element, args.x, t * args.x_stride + c);
    NormInPlace(NormKind::kRms, args.epsilon, args.weight, nullptr, row);
    for (int c = 0; c < args.columns; ++c) StoreElement(args.element, args.out, t * args.columns + c, row[c]);
  }
}

float Activate(Activation activation, const ActivationNumbers& numbers, float x) {
  switch (activation) {
    case Activation::kSilu:
      return x / (1 + std::exp(-x));
    case Activation::kGeluTanh:
      return 0.5f * x * (1 + std::tanh(0.7978845608f * (x + 0.044715f * x * x * x)));
    case Activation::kGeluErf:
      return 0.5f * x * (1 + std::erf(x * 0.70710678f));
    case Activation::kRelu:
      return x < 0 ? 0 : x;
    case Activation::kRelu2:
      return x < 0 ? 0 : x * x;
    case Activation::kXielu:
      return numbers.l * x +
             (x > 0 ? numbers.p * x * x : numbers.n * (std::expm1(std::min(x, numbers.m)) - x));
    case Activation::kClampedSwiglu:
      break;  // takes both halves
  }
  return 0;
}

float Gated(const GateArgs& args, float gate, float up) {
  if (args.activation != Activation::kClampedSwiglu)
    return Activate(args.activation, args.numbers, gate) * up;
  const float g = std::min(gate, args.numbers.c), u = std::clamp(up, -args.numbers.c, args.numbers.c);
  return g / (1 + std::exp(-args.numbers.s * g)) * (u + 1);
}

void GateOnHost(const GateArgs& args) {
  const int64_t f = args.columns;
  for (int64_t t = 0; t < args.num_tokens; ++t) {
    const float* bias = args.experts == nullptr ? args.bias : args.expert_biases[args.experts[t]];
    for (int64_t c = 0; c < f; ++c) {
      const auto input = [&](int64_t column) {
        const float x = LoadElement(args.element, args.gate_up, t * (args.gated ? 2 : 1) * f + column);
        return bias == nullptr ? x : x + bias[column];
      };
      StoreElement(args.element, args.out, t * f + c,
                   args.gated ? Gated(args, input(c), input(f + c))
                              : Activate(args.activation, args.numbers, input(c)));
    }
  }
}

// ---- Experts ----

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
    for (int32_t at = first; at < slot; at += kExpertTileSlots)
      slots.tiles[tiles++] = {expert, at, std::min(kExpertTileSlots, slot - at)};
  }
  *slots.num_tiles = tiles;
}

void ExpertMatMulOnHost(const ExpertMatMulArgs& args) {
  std::vector<float> x(args.weights.columns);
  for (int32_t tile = 0; tile < *args.slots.num_tiles; ++tile) {
    const ExpertTile& some = args.slots.tiles[tile];
    DeviceMatrix matrix = args.weights;
    matrix.data = args.matrices[some.expert];
    for (int64_t m = 0; m < matrix.rows; ++m) {
      const std::vector<float> row = RowOf(matrix, m);
      for (int32_t slot = some.first_slot; slot < some.first_slot + some.num_slots; ++slot) {
        const int32_t choice = args.slots.slot_choices[slot];
        const int64_t from = args.per_token > 0 ? choice / args.per_token : slot;
        for (int64_t c = 0; c < matrix.columns; ++c)
          x[c] = LoadElement(args.element, args.x, from * matrix.columns + c);
        const float weight = args.scales ? args.slots.weights[choice] : 1;
        StoreElement(args.element, args.y, slot * matrix.rows + m,
                     weight * Dot(row.data(), x.data(), matrix.columns));
      }
    }
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
}

// ---- Keys and values ----

Element ElementOf(KvElement element) {
  return element == KvElement::kF32   ? Element::kF32
         : element == KvElement::kF16 ? Element::kF16
                                      : Element::kBF16;
}

// One head's row of keys or values in a page. 8-bit types are not for whole models: fp8 is left to the
// kernels.
struct KvRow {
  uint8_t* data;
  float* scale;
};

KvRow RowIn(const KvPages& kv, int32_t page, bool value, int head, int slot) {
  const int64_t width = value ? kv.value_dim : kv.head_dim;
  const int64_t before = value ? int64_t{kv.num_kv_heads} * kPageTokens * kv.head_dim : 0;
  const int64_t row = int64_t{head} * kPageTokens + slot;
  KvRow result{kv.data + page * kv.page_bytes() + (before + row * width) * BytesOf(kv.element), nullptr};
  if (kv.scales != nullptr)
    result.scale = kv.scales + page * kv.page_scales() + (value ? kv.num_kv_heads * kPageTokens : 0) + row;
  return result;
}

void StoreKv(const KvPages& kv, const KvRow& row, const float* values, int n) {
  if (row.scale == nullptr) {
    for (int i = 0; i < n; ++i) StoreElement(ElementOf(kv.element), row.data, i, values[i]);
    return;
  }
  float largest = 0;
  for (int i = 0; i < n; ++i) largest = std::max(largest, std::abs(values[i]));
  *row.scale = largest / 127;
  for (int i = 0; i < n; ++i)
    reinterpret_cast<int8_t*>(row.data)[i] =
        static_cast<int8_t>(largest == 0 ? 0 : std::lrint(values[i] / *row.scale));
}

void LoadKv(const KvPages& kv, const KvRow& row, int n, float* values) {
  for (int i = 0; i < n; ++i)
    values[i] = row.scale == nullptr
                    ? LoadElement(ElementOf(kv.element), row.data, i)
                    : static_cast<float>(reinterpret_cast<int8_t*>(row.data)[i]) * *row.scale;
}

void Rotate(const QkvArgs& args, const float* cosines, const float* sines, int64_t row, float* head) {
  const int half = args.rotary_dim / 2;
  for (int i = 0; i < half; ++i) {
    const float c = cosines[row * half + i], s = sines[row * half + i];
    float& a = head[args.interleaved ? 2 * i : i];
    float& b = head[args.interleaved ? 2 * i + 1 : i + half];
    const float x = a, y = b;
    a = x * c - y * s;
    b = x * s + y * c;
  }
}

void NormSome(const HeadNorms& norms, int heads, int64_t head_dim, const float* weight, const float* bias,
              float* x) {
  const int64_t width = norms.all_heads ? heads * head_dim : head_dim;
  for (int64_t first = 0; first < heads * head_dim; first += width) {
    std::vector<float> some(x + first, x + first + width);
    NormInPlace(norms.kind, norms.epsilon, weight + first, bias == nullptr ? nullptr : bias + first, some);
    std::copy(some.begin(), some.end(), x + first);
  }
}

void NormHeads(const QkvArgs& args, float* heads) {
  const HeadNorms& norms = args.norms;
  if (norms.kind == NormKind::kNone) return;
  const int64_t head_dim = args.kv.head_dim;
  NormSome(norms, args.num_heads, head_dim, norms.query_weight, norms.query_bias, heads);
  NormSome(norms, args.kv.num_kv_heads, head_dim, norms.key_weight, norms.key_bias,
           heads + args.num_heads * head_dim);
}

// Those of one token, scaled; zeros for padding.
void StoreQueries(const QkvArgs& args, int64_t token, const std::vector<float>& row, void* out) {
  const int64_t columns = int64_t{args.num_heads} * args.kv.head_dim;
  const int32_t position = args.positions[token];
  const float scale = args.query_scales == nullptr || position < 0 ? 1 : args.query_scales[position];
  for (int64_t c = 0; c < columns; ++c)
    StoreElement(args.element, out, token * columns + c, position < 0 ? 0 : row[c] * scale);
}

void QkvOnHost(const QkvArgs& args) {
  const KvPages& kv = args.kv;
  const int heads = args.num_heads + kv.num_kv_heads;
  const int64_t columns = int64_t{heads} * kv.head_dim + int64_t{kv.num_kv_heads} * kv.value_dim;
  std::vector<float> row(columns);
  for (int64_t t = 0; t < args.num_tokens; ++t) {
    const int32_t position = args.positions[t];
    for (int64_t c = 0; c < columns; ++c) {
      row[c] = LoadElement(args.element, args.qkv, t * columns + c);
      if (args.bias != nullptr) row[c] += args.bias[c];
      if (args.clip > 0 && !args.clip_after_norm) row[c] = std::clamp(row[c], -args.clip, args.clip);
    }
    for (int c = 0; c < args.shared_columns; ++c)
      for (int h = args.num_heads; h < heads; ++h)
        row[int64_t{h} * kv.head_dim + c] =
            LoadElement(args.element, args.shared_keys, t * args.shared_stride + c);
    if (!args.norms.after_rotation) NormHeads(args, row.data());
    if (args.clip > 0 && args.clip_after_norm)
      for (float& x : row) x = std::clamp(x, -args.clip, args.clip);
    const std::vector<float> unturned = row;
    const int64_t angle_row = args.angle_rows == nullptr ? position : args.angle_rows[t];
    for (int h = 0; h < heads && position >= 0; ++h)
      Rotate(args, args.cosines, args.sines, angle_row, &row[int64_t{h} * kv.head_dim]);
    if (args.norms.after_rotation) NormHeads(args, row.data());
    StoreQueries(args, t, row, args.queries);
    for (const TurnedQueries& turned : {args.previous, args.older}) {
      if (turned.out == nullptr) continue;
      std::vector<float> queries = unturned;
      for (int h = 0; h < args.num_heads && position >= 0; ++h)
        Rotate(args, turned.cosines, turned.sines, position, &queries[int64_t{h} * kv.head_dim]);
      StoreQueries(args, t, queries, turned.out);
    }
    if (position < 0) continue;
    const int32_t page =
        args.page_tables[int64_t{args.token_rows[t]} * args.max_pages + position / kPageTokens];
    const int slot = position % kPageTokens;
    for (int g = 0; g < kv.num_kv_heads; ++g) {
      StoreKv(kv, RowIn(kv, page, false, g, slot), &row[int64_t{args.num_heads + g} * kv.head_dim],
              kv.head_dim);
      StoreKv(kv, RowIn(kv, page, true, g, slot),
              &row[int64_t{heads} * kv.head_dim + int64_t{g} * kv.value_dim], kv.value_dim);
    }
  }
}

void CopyPagesOnHost(const CopyPagesArgs& args) {
  for (int i = 0; i < args.count; ++i)
    for (int layer = 0; layer < args.num_layers; ++layer) {
      uint8_t* data = args.kv.data + layer * args.layer_bytes;
      const int64_t bytes = args.kv.page_bytes(), floats = args.kv.page_scales();
      std::memcpy(data + args.to[i] * bytes, data + args.from[i] * bytes, bytes);
      if (args.kv.scales == nullptr) continue;
      float* scales = args.kv.scales + layer * args.layer_scales;
      std::memcpy(scales + args.to[i] * floats, scales + args.from[i] * floats, floats * sizeof(float));
    }
}

// Query heads [first_head, first_head + num_heads) of one token over all keys that they see.
void AttendHeads(const AttentionArgs& args, int32_t row, int64_t token, int first_head, int num_heads,
                 int32_t position) {
  const KvPages& kv = args.kv;
  const int32_t* pages = args.page_tables + int64_t{row} * args.max_pages;
  const auto load = [&](bool value, int kv_head, int32_t at, float* out) {
    LoadKv(kv, RowIn(kv, pages[at / kPageTokens], value, kv_head, at % kPageTokens),
           value ? kv.value_dim : kv.head_dim, out);
  };
  const int64_t first = token * args.num_heads + first_head;
  std::vector<float> queries[3], out(int64_t{num_heads} * kv.value_dim);
  const void* sources[3] = {args.queries, args.previous_queries, args.older_queries};
  for (int z = 0; z < 3; ++z)
    for (int64_t e = 0; sources[z] != nullptr && e < int64_t{num_heads} * kv.head_dim; ++e)
      queries[z].push_back(LoadElement(args.element, sources[z], first * kv.head_dim + e));
  kernels::AttendToken(
      {.first_head = first_head,
       .num_heads = num_heads,
       .queries_per_kv_head = args.num_heads / kv.num_kv_heads,
       .head_dim = kv.head_dim,
       .value_dim = kv.value_dim,
       .position = position,
       .scale = args.scale,
       .modifier = args.modifier,
       .queries = queries[0].data(),
       .previous_queries = queries[1].data(),
       .older_queries = queries[2].data(),
       .load_key = [&](int kv_head, int32_t at, float* key) { load(false, kv_head, at, key); },
       .load_value = [&](int kv_head, int32_t at, float* value) { load(true, kv_head, at, value); },
       .out = out.data()});
  for (size_t i = 0; i < out.size(); ++i)
    StoreElement(args.element, args.out, first * kv.value_dim + i, out[i]);
}

// The part of a tile that has its first chunk does all of it; nothing is left to merge.
void AttendTiles(const AttentionArgs& args, const WorkList<AttentionItem>& list) {
  const int group = args.num_heads / args.kv.num_kv_heads;
  if (list.blocks == 0) return;
  for (int32_t i = 0; i < *list.count; ++i) {
    const AttentionItem& item = list.data[i];
    const bool starts = i == 0 || list.data[i - 1].first_pair != item.first_pair || item.num_keys == 0;
    if (!starts) continue;
    for (int32_t pair = item.first_pair; pair < item.first_pair + item.num_pairs; ++pair) {
      const int32_t token = pair / group;
      const int32_t position = item.first_position + token - item.first_pair / group;
      for (int g = 0; g < args.kv.num_kv_heads; ++g) {
        const int head = g * group + pair % group;
        if (item.num_keys > 0) {
          const bool all = args.modifier.mixer.width > 0;  // which mixes all heads
          AttendHeads(args, item.row, token, all ? 0 : head, all ? args.num_heads : 1, position);
          continue;
        }
        for (int e = 0; e < args.kv.value_dim; ++e)
          StoreElement(args.element, args.out,
                       (int64_t{token} * args.num_heads + head) * args.kv.value_dim + e, 0);
      }
    }
  }
}

void AttentionOnHost(const AttentionArgs& args) {
  AttendTiles(args, args.narrow);
  AttendTiles(args, args.wide);
}

void FinishLogitsOnHost(const FinishLogitsArgs& args) {
  for (int row = 0; row < args.num_rows; ++row)
    for (int i = 0; i < args.vocab_size; ++i) {
      float& x = args.logits[row * args.stride + i];
      if (args.bias != nullptr) x += args.bias[i];
      if (args.softcap > 0) x = args.softcap * std::tanh(x / args.softcap);
    }
}

template <auto kFunction, typename Args>
ErrorCode OnStream(const Args& args, Stream stream) {
  return EnqueueOnHost(stream, [args] { kFunction(args); });
}

constexpr KernelTable kTable = {.embed = OnStream<EmbedOnHost>,
                                .norm = OnStream<NormOnHost>,
                                .norm_columns = OnStream<NormColumnsOnHost>,
                                .qkv = OnStream<QkvOnHost>,
                                .attention = OnStream<AttentionOnHost>,
                                .gate = OnStream<GateOnHost>,
                                .route = OnStream<RouteOnHost>,
                                .expert_matmul = OnStream<ExpertMatMulOnHost>,
                                .combine = OnStream<CombineOnHost>,
                                .dense_matmul = OnStream<MatMulOnHost>,
                                .packed_matmul = OnStream<MatMulOnHost>,
                                .unpack = OnStream<UnpackOnHost>,
                                .copy_pages = OnStream<CopyPagesOnHost>,
                                .finish_logits = OnStream<FinishLogitsOnHost>,
                                .sample = OnStream<SampleOnHost>,
                                .score = OnStream<ScoreOnHost>};

}  // namespace

const KernelTable& HostKernels() { return kTable; }

}  // namespace ropeway::cuda::emulation
