// Sequences of random queries, keys and values for tests of attention, of many shapes and with every modifier.
#ifndef ROPEWAY_TESTS_KERNELS_ATTENTION_SEQUENCE_H_
#define ROPEWAY_TESTS_KERNELS_ATTENTION_SEQUENCE_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "engine/kernels/ops.h"
#include "tests/kernels/kernel_inputs.h"
#include "tests/kernels/modifier_inputs.h"

namespace ropeway::kernels {

inline constexpr double kEpsilon = std::numeric_limits<float>::epsilon();
inline constexpr double kBf16Rounding = 1. / 512;
inline constexpr float kNotANumber = std::numeric_limits<float>::quiet_NaN();

struct AttentionShape {
  int head_dim = 64, value_dim = 64, num_kv_heads = 2, queries_per_token = 3;
  KvType type = KvType::kBF16;
  float softcap = 0;
  int32_t window = 0;
  int length = 150;
  std::string modifier = "";  // of MakeModifier
  bool in_line = false;       // pages that follow each other, not out of order
};

inline std::ostream& operator<<(std::ostream& out, const AttentionShape& s) {
  return out << "E " << s.head_dim << " Ev " << s.value_dim << " G " << s.num_kv_heads << " per token "
             << s.queries_per_token << (s.type == KvType::kBF16 ? " bf16" : " f32") << " cap " << s.softcap
             << " window " << s.window << " length " << s.length << " " << s.modifier
             << (s.in_line ? " in line" : "");
}

// One layer's cache with the pages of one sequence in it, among pages full of NaN.
class AttentionSequence {
 public:
  AttentionSequence(const KernelTable& table, const AttentionShape& shape)
      : table_(table),
        shape_(shape),
        kv_(MakeKvLayout(shape.type, shape.num_kv_heads, shape.head_dim, shape.value_dim)),
        quad_stride_(kv_.quad_bytes + 64) {
    const int pages = (shape.length + kPageTokens - 1) / kPageTokens;
    cache_ = AlignedBuffer(NumQuads(2 * pages + kQuadPages) * quad_stride_);
    for (int64_t i = 0; i < cache_.bytes(); i += 4)
      *reinterpret_cast<float*>(cache_.data() + i) = kNotANumber;
    for (int p = 0; p < pages; ++p)
      page_table_.push_back(shape.in_line ? kQuadPages + p : 2 * pages + 1 - 2 * p);
    query_stride_ = int64_t{shape.num_kv_heads} * shape.queries_per_token * shape.head_dim + 5;
    out_stride_ = int64_t{shape.num_kv_heads} * shape.queries_per_token * shape.value_dim + 3;
    queries_ = RandomActivations(shape.length, query_stride_, 31);
    previous_queries_ = RandomActivations(shape.length, query_stride_, 34);
    older_queries_ = RandomActivations(shape.length, query_stride_, 35);
    keys_ = RandomActivations(shape.length, int64_t{shape.num_kv_heads} * shape.head_dim, 32);
    values_ = RandomActivations(shape.length, int64_t{shape.num_kv_heads} * shape.value_dim, 33);
    modifier_ = MakeModifier(shape.modifier, {.num_heads = num_heads(),
                                              .head_dim = shape.head_dim,
                                              .value_dim = shape.value_dim,
                                              .length = shape.length});
    if (shape.softcap != 0) modifier_.modifier.softcap = shape.softcap;
    if (shape.window != 0) modifier_.modifier.window = shape.window;
  }

  void StoreTokens(int first, int count) {
    for (int t = first; t < first + count; ++t)
      table_.store_kv({.kv = kv_,
                       .cache = cache_.data(),
                       .quad_stride = quad_stride_,
                       .page = page_table_[t / kPageTokens],
                       .slot = t % kPageTokens,
                       .keys = &keys_[int64_t{t} * shape_.num_kv_heads * shape_.head_dim],
                       .values = &values_[int64_t{t} * shape_.num_kv_heads * shape_.value_dim]});
  }

  // Processes the whole sequence in chunks of `chunk` tokens; [length, out_stride].
  std::vector<float> Run(int chunk) {
    std::vector<float> out(shape_.length * out_stride_, -7);
    for (int first = 0; first < shape_.length; first += chunk) {
      const int count = std::min(chunk, shape_.length - first);
      StoreTokens(first, count);
      Attend(first, count, &out[first * out_stride_]);
    }
    return out;
  }

  // The same by spans, the last one first, and then merged. REQUIRES: the modifier has no mixer.
  std::vector<float> RunBySpans(int chunk) {
    std::vector<float> out(shape_.length * out_stride_, -7);
    const int spans = (shape_.length + kAttentionSpan - 1) / kAttentionSpan;
    const int64_t stride = int64_t{chunk} * shape_.queries_per_token * (kv_.padded_value_dim + kSpanHead);
    AlignedBuffer results(spans * stride * static_cast<int64_t>(sizeof(float)));
    for (int first = 0; first < shape_.length; first += chunk) {
      const int count = std::min(chunk, shape_.length - first);
      StoreTokens(first, count);
      AlignedBuffer scratch(table_.attention_scratch_bytes(kv_, num_heads(), 0));
      for (int g = 0; g < shape_.num_kv_heads; ++g) {
        AttentionArgs args = ArgsOf(first, count, g, &out[first * out_stride_], scratch.data());
        args.spans = results.as<float>();
        args.span_stride = stride;
        std::fill_n(args.spans, spans * stride, kNotANumber);
        for (args.span = (first + count - 1) / kAttentionSpan; args.span >= 0; --args.span)
          table_.attention(args);
        table_.merge_spans(args);
      }
    }
    return out;
  }

  // Token by token, KV heads [0, split) of each in one call and the others in another. REQUIRES: no mixer.
  std::vector<float> RunHeadsTogether(int split) {
    std::vector<float> out(shape_.length * out_stride_, -7);
    AlignedBuffer scratch(table_.attention_scratch_bytes(kv_, num_heads(), 0));
    StoreTokens(0, shape_.length);
    for (int t = 0; t < shape_.length; ++t)
      for (const auto& [head, heads] : {std::pair{0, split}, {split, shape_.num_kv_heads - split}}) {
        if (heads == 0) continue;
        AttentionArgs args = ArgsOf(t, 1, head, &out[t * out_stride_], scratch.data());
        args.kv_heads = heads;
        table_.attention(args);
      }
    return out;
  }

  // The last token, all KV heads together by spans, the last one first. REQUIRES: no mixer.
  std::vector<float> AttendLastBySpans() {
    std::vector<float> out(out_stride_, -7);
    const int spans = (shape_.length + kAttentionSpan - 1) / kAttentionSpan;
    const int64_t stride = num_heads() * (kv_.padded_value_dim + kSpanHead);
    AlignedBuffer results(spans * stride * static_cast<int64_t>(sizeof(float))),
        scratch(table_.attention_scratch_bytes(kv_, num_heads(), 0));
    StoreTokens(0, shape_.length);
    AttentionArgs args = ArgsOf(shape_.length - 1, 1, 0, out.data(), scratch.data());
    args.kv_heads = shape_.num_kv_heads;
    args.spans = results.as<float>();
    args.span_stride = stride;
    std::fill_n(args.spans, spans * stride, kNotANumber);
    for (args.span = spans - 1; args.span >= 0; --args.span) table_.attention(args);
    table_.merge_spans(args);
    return out;
  }

  void Attend(int first, int count, float* out) {
    const ScoreModifier& modifier = modifier_.modifier;
    AlignedBuffer scratch(table_.attention_scratch_bytes(kv_, num_heads(), modifier.mixer.width));
    const int calls = modifier.mixer.width > 0 ? 1 : shape_.num_kv_heads;
    for (int g = 0; g < calls; ++g) table_.attention(ArgsOf(first, count, g, out, scratch.data()));
  }

  AttentionArgs ArgsOf(int first, int count, int g, float* out, uint8_t* scratch) const {
    const ScoreModifier& modifier = modifier_.modifier;
    const int64_t head = int64_t{g} * shape_.queries_per_token;
    const int64_t at = first * query_stride_ + head * shape_.head_dim;
    return {.kv = kv_,
            .cache = cache_.data(),
            .quad_stride = quad_stride_,
            .page_table = page_table_.data(),
            .kv_head = g,
            .queries_per_token = shape_.queries_per_token,
            .num_tokens = count,
            .first_position = first,
            .queries = &queries_[at],
            .query_stride = query_stride_,
            .previous_queries = modifier.zone > 0 ? &previous_queries_[at] : nullptr,
            .older_queries = modifier.zone > 0 ? &older_queries_[at] : nullptr,
            .out = out + head * shape_.value_dim,
            .out_stride = out_stride_,
            .scale = Scale(),
            .modifier = modifier,
            .scratch = scratch};
  }
  bool has_mixer() const { return modifier_.modifier.mixer.width > 0; }

  // By how much an output of the query may be off: every weight by twice the error of a score, an exponential
  // and the sums; the weighted values by as much of the largest one. Relative values are below 1. Beside bf16
  // keys and values, queries and weights are rounded to bf16 and weights by 2^x within 1e-4.
  double Tolerance(int token, int head) const {
    const int g = head / shape_.queries_per_token;
    const float* query = &queries_[token * query_stride_ + int64_t{head} * shape_.head_dim];
    double score = 0, value = 0;
    for (int t = 0; t <= token; ++t) {
      double magnitude = 0;
      const int64_t row = int64_t{t} * shape_.num_kv_heads + g;
      for (int64_t d = 0; d < shape_.head_dim; ++d) {
        const int64_t at = query - queries_.data() + d;
        double q = std::abs(query[d]);
        if (modifier_.modifier.zone > 0)
          q = std::max<double>({q, std::abs(previous_queries_[at]), std::abs(older_queries_[at])});
        magnitude += q * std::abs(keys_[row * shape_.head_dim + d]);
      }
      score = std::max(score, magnitude * Scale());
      for (int d = 0; d < shape_.value_dim; ++d)
        value = std::max<double>(value, std::abs(values_[row * shape_.value_dim + d]));
    }
    if (modifier_.modifier.relative_values.data != nullptr) value += 1;
    const double rounding = shape_.type == KvType::kBF16 ? kBf16Rounding : 0;
    const double scores = (rounding + (shape_.head_dim + 4) * kEpsilon) * score * modifier_.growth +
                          4 * kEpsilon * (modifier_.modifier.softcap + modifier_.magnitude);
    const double weights = rounding == 0 ? 0 : rounding + 1e-4;
    return 1.01 * value * (4 * scores + 2 * weights + (2 * token + 40) * kEpsilon);
  }

  // One column of a token's key of KV head 0.
  void PoisonKey(int token) {
    keys_[int64_t{token} * shape_.num_kv_heads * shape_.head_dim + 3] = kNotANumber;
  }

  // All of a token's value of KV head 0.
  void PoisonValue(int token) {
    std::fill_n(&values_[int64_t{token} * shape_.num_kv_heads * shape_.value_dim], shape_.value_dim,
                kNotANumber);
  }

  int num_heads() const { return shape_.num_kv_heads * shape_.queries_per_token; }
  float Scale() const { return 0.3f / std::sqrt(static_cast<float>(shape_.head_dim)); }
  int64_t out_stride() const { return out_stride_; }
  const float* values() const { return values_.data(); }

 private:
  const KernelTable& table_;
  AttentionShape shape_;
  KvLayout kv_;
  int64_t quad_stride_, query_stride_, out_stride_;
  AlignedBuffer cache_;
  std::vector<int32_t> page_table_;
  std::vector<float> queries_, previous_queries_, older_queries_, keys_, values_;
  ModifierInputs modifier_;
};

// Of all widths, groups, windows, modifiers and lengths that kernels tell apart.
std::vector<AttentionShape> AttentionShapes();

}  // namespace ropeway::kernels

#endif  // ROPEWAY_TESTS_KERNELS_ATTENTION_SEQUENCE_H_
