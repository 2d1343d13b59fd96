#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "engine/kernels/ref/attend_token.h"
#include "tests/cuda_emulation/host_elements.h"
#include "tests/cuda_emulation/host_ops.h"

namespace ropeway::cuda::emulation {
namespace {

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

// By the sum of squares over the heads of all devices.
void NormBySquares(const HeadNorms& norms, float squares, int64_t columns, const float* weight, float* x) {
  const float mean = squares / static_cast<float>(columns * norms.devices);
  const float inverse = 1 / std::sqrt(mean + norms.epsilon);
  for (int64_t c = 0; c < columns; ++c) x[c] *= inverse * weight[c];
}

void NormHeads(const QkvArgs& args, int64_t token, float* heads) {
  const HeadNorms& norms = args.norms;
  if (norms.kind == NormKind::kNone) return;
  const int64_t head_dim = args.kv.head_dim, queries = args.num_heads * head_dim,
                keys = args.kv.num_kv_heads * head_dim;
  if (norms.squares != nullptr) {
    NormBySquares(norms, norms.squares[2 * token], queries, norms.query_weight, heads);
    NormBySquares(norms, norms.squares[2 * token + 1], keys, norms.key_weight, heads + queries);
    return;
  }
  NormSome(norms, args.num_heads, head_dim, norms.query_weight, norms.query_bias, heads);
  NormSome(norms, args.kv.num_kv_heads, head_dim, norms.key_weight, norms.key_bias, heads + queries);
}

// A token's queries, keys and values, with what is done to them before norms.
std::vector<float> ProjectedRow(const QkvArgs& args, int64_t token) {
  const KvPages& kv = args.kv;
  const int64_t columns =
      (int64_t{args.num_heads} + kv.num_kv_heads) * kv.head_dim + int64_t{kv.num_kv_heads} * kv.value_dim;
  std::vector<float> row(columns);
  for (int64_t c = 0; c < columns; ++c) {
    row[c] = LoadElement(args.element, args.qkv, token * columns + c);
    if (args.bias != nullptr) row[c] += args.bias[c];
    if (args.clip > 0 && !args.clip_after_norm) row[c] = std::clamp(row[c], -args.clip, args.clip);
  }
  return row;
}

// All heads but those of values; not of padding.
void RotateHeads(const QkvArgs& args, int64_t token, float* row) {
  const int32_t position = args.positions[token];
  const int64_t angle_row = args.angle_rows == nullptr ? position : args.angle_rows[token];
  for (int h = 0; h < args.num_heads + args.kv.num_kv_heads && position >= 0; ++h)
    Rotate(args, args.cosines, args.sines, angle_row, row + int64_t{h} * args.kv.head_dim);
}

// Those of one token, scaled; zeros for padding.
void StoreQueries(const QkvArgs& args, int64_t token, const std::vector<float>& row, void* out) {
  const int64_t columns = int64_t{args.num_heads} * args.kv.head_dim;
  const int32_t position = args.positions[token];
  const float scale = args.query_scales == nullptr || position < 0 ? 1 : args.query_scales[position];
  for (int64_t c = 0; c < columns; ++c)
    StoreElement(args.element, out, token * columns + c, position < 0 ? 0 : row[c] * scale);
}

}  // namespace

void HeadSquaresOnHost(const HeadSquaresArgs& args) {
  const QkvArgs& qkv = args.qkv;
  const int64_t queries = int64_t{qkv.num_heads} * qkv.kv.head_dim,
                keys = int64_t{qkv.kv.num_kv_heads} * qkv.kv.head_dim;
  for (int64_t t = 0; t < qkv.num_tokens; ++t) {
    std::vector<float> row = ProjectedRow(qkv, t);
    if (qkv.norms.after_rotation) RotateHeads(qkv, t, row.data());
    args.out[2 * t] = Dot(row.data(), row.data(), queries);
    args.out[2 * t + 1] = Dot(&row[queries], &row[queries], keys);
  }
}

void QkvOnHost(const QkvArgs& args) {
  const KvPages& kv = args.kv;
  const int heads = args.num_heads + kv.num_kv_heads;
  for (int64_t t = 0; t < args.num_tokens; ++t) {
    const int32_t position = args.positions[t];
    std::vector<float> row = ProjectedRow(args, t);
    for (int c = 0; c < args.shared_columns; ++c)
      for (int h = args.num_heads; h < heads; ++h)
        row[int64_t{h} * kv.head_dim + c] =
            LoadElement(args.element, args.shared_keys, t * args.shared_stride + c) +
            (args.shared_bias == nullptr ? 0 : args.shared_bias[c]);
    if (!args.norms.after_rotation) NormHeads(args, t, row.data());
    if (args.clip > 0 && args.clip_after_norm)
      for (float& x : row) x = std::clamp(x, -args.clip, args.clip);
    const std::vector<float> unturned = row;
    RotateHeads(args, t, row.data());
    if (args.norms.after_rotation) NormHeads(args, t, row.data());
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

namespace {

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

}  // namespace

void AttentionOnHost(const AttentionArgs& args) {
  AttendTiles(args, args.narrow);
  AttendTiles(args, args.wide);
}

}  // namespace ropeway::cuda::emulation
