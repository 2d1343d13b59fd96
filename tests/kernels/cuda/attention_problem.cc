#include "tests/kernels/cuda/attention_problem.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "engine/kernels/ref/attend_token.h"
#include "engine/tensor/half.h"

namespace ropeway::cuda {
namespace {

constexpr double kEpsilon = 0x1p-24;  // half a unit in the last place of a float32 near 1

double RoundingOf(Element element) {
  return element == Element::kF32 ? kEpsilon : element == Element::kF16 ? 0x1p-12 : 0x1p-9;
}

float Fp8ToFloat(uint8_t code) {
  const int exponent = code >> 3 & 15, mantissa = code & 7;
  if ((code & 0x7F) == 0x7F) return std::numeric_limits<float>::quiet_NaN();
  const float magnitude = exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
  return code & 0x80 ? -magnitude : magnitude;
}

uint8_t NearestFp8(float value) {
  int best = 0;
  for (int code = 0; code < 0x7F; ++code)
    if (std::abs(Fp8ToFloat(code) - std::abs(value)) < std::abs(Fp8ToFloat(best) - std::abs(value)))
      best = code;
  return static_cast<uint8_t>(best | (std::signbit(value) ? 0x80 : 0));
}

// One row of a head as it is stored.
struct StoredRow {
  std::vector<uint8_t> bytes;
  float scale;
};

template <typename Number>
void Append(Number number, std::vector<uint8_t>& bytes) {
  const auto* begin = reinterpret_cast<const uint8_t*>(&number);
  bytes.insert(bytes.end(), begin, begin + sizeof(number));
}

StoredRow Store(KvElement type, const float* values, int count) {
  float largest = 0;
  for (int i = 0; i < count; ++i)
    if (!std::isnan(values[i])) largest = std::max(largest, std::abs(values[i]));
  const float limit = type == KvElement::kInt8 ? 127 : 448;
  StoredRow row{.scale = largest > 0 ? largest / limit : 1};
  for (int i = 0; i < count; ++i) {
    switch (type) {
      case KvElement::kF32:
        Append(values[i], row.bytes);
        break;
      case KvElement::kF16:
        Append(FloatToHalf(values[i]), row.bytes);
        break;
      case KvElement::kBF16:
        Append(FloatToBFloat16(values[i]), row.bytes);
        break;
      case KvElement::kFp8E4M3:
        Append(NearestFp8(values[i] / row.scale), row.bytes);
        break;
      case KvElement::kInt8:
        Append(static_cast<int8_t>(std::lround(values[i] / row.scale)), row.bytes);
        break;
    }
  }
  return row;
}

// What Store leaves of a number.
void RoundRow(KvElement type, float* values, int count) {
  const StoredRow row = Store(type, values, count);
  for (int i = 0; i < count; ++i) {
    if (type == KvElement::kF16) values[i] = HalfToFloat(FloatToHalf(values[i]));
    if (type == KvElement::kBF16) values[i] = BFloat16ToFloat(FloatToBFloat16(values[i]));
    if (type == KvElement::kFp8E4M3) values[i] = Fp8ToFloat(row.bytes[i]) * row.scale;
    if (type == KvElement::kInt8) values[i] = static_cast<int8_t>(row.bytes[i]) * row.scale;
  }
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const AttentionCase& c) {
  out << "element " << static_cast<int>(c.element) << " kv " << static_cast<int>(c.kv) << " G " << c.kv_heads
      << " group " << c.group << " E " << c.head_dim << " Ev " << c.value_dim << " softcap " << c.softcap
      << " window " << c.window << (c.alibi ? " alibi" : "") << (c.sinks ? " sinks" : "") << " " << c.modifier
      << " lengths";
  for (int length : c.lengths) out << ' ' << length;
  return out;
}

std::vector<uint8_t> ToBytes(Element element, const std::vector<float>& values) {
  std::vector<uint8_t> bytes;
  for (float value : values) {
    if (element == Element::kF32) Append(value, bytes);
    if (element == Element::kF16) Append(FloatToHalf(value), bytes);
    if (element == Element::kBF16) Append(FloatToBFloat16(value), bytes);
  }
  return bytes;
}

std::vector<float> FromBytes(Element element, const std::vector<uint8_t>& bytes) {
  std::vector<float> values(bytes.size() / BytesOf(element));
  for (size_t i = 0; i < values.size(); ++i) {
    uint16_t half = 0;
    if (element == Element::kF32)
      std::memcpy(&values[i], &bytes[4 * i], 4);
    else
      std::memcpy(&half, &bytes[2 * i], 2);
    if (element == Element::kF16) values[i] = HalfToFloat(half);
    if (element == Element::kBF16) values[i] = BFloat16ToFloat(half);
  }
  return values;
}

AttentionProblem::AttentionProblem(const AttentionCase& c) : case_(c) {
  scale_ = case_.spread / std::sqrt(static_cast<float>(case_.head_dim));
  for (int head = 0; head < num_heads(); ++head) {
    slopes_.push_back(std::exp2(-2.0f - head));
    sinks_.push_back(Random());
  }
  for (int length : case_.lengths) AddSequence(length);
  modifier_ = kernels::MakeModifier(
      case_.modifier, {.num_heads = num_heads(),
                       .head_dim = case_.head_dim,
                       .value_dim = case_.value_dim,
                       .length = *std::max_element(case_.lengths.begin(), case_.lengths.end())});
  max_pages_ =
      (*std::max_element(case_.lengths.begin(), case_.lengths.end()) + kPageTokens - 1) / kPageTokens;
  page_tables_.resize(case_.lengths.size() * max_pages_);
  for (size_t i = 0; i < page_tables_.size(); ++i) page_tables_[i] = static_cast<int32_t>(i);
  std::shuffle(page_tables_.begin(), page_tables_.end(), std::minstd_rand(7));
}

float AttentionProblem::Random() {
  random_ = random_ * 1664525 + 1013904223;
  return static_cast<float>(random_ >> 8) * 0x1p-23f - 1;
}

void AttentionProblem::AddSequence(int length) {
  Sequence sequence;
  for (std::vector<float>& queries : sequence.queries)
    queries.resize(int64_t{length} * num_heads() * case_.head_dim);
  sequence.keys.resize(int64_t{length} * case_.kv_heads * case_.head_dim);
  sequence.values.resize(int64_t{length} * case_.kv_heads * case_.value_dim);
  for (std::vector<float>* numbers :
       {&sequence.queries[0], &sequence.keys, &sequence.values, &sequence.queries[1], &sequence.queries[2]})
    for (float& number : *numbers) number = Random();
  for (int row = 0; row < length * case_.kv_heads; ++row) {
    RoundRow(case_.kv, &sequence.keys[int64_t{row} * case_.head_dim], case_.head_dim);
    RoundRow(case_.kv, &sequence.values[int64_t{row} * case_.value_dim], case_.value_dim);
  }
  for (std::vector<float>& queries : sequence.queries)
    queries = FromBytes(case_.element, ToBytes(case_.element, queries));
  sequences_.push_back(std::move(sequence));
}

KvPages AttentionProblem::pages() const {
  return {.element = case_.kv,
          .num_kv_heads = case_.kv_heads,
          .head_dim = case_.head_dim,
          .value_dim = case_.value_dim};
}

void AttentionProblem::PoisonKey(int sequence, int position) {
  sequences_[sequence].keys[int64_t{position} * case_.kv_heads * case_.head_dim + 3] =
      std::numeric_limits<float>::quiet_NaN();
}

void AttentionProblem::PoisonValue(int sequence, int position) {
  sequences_[sequence].values[int64_t{position} * case_.kv_heads * case_.value_dim + 3] =
      std::numeric_limits<float>::quiet_NaN();
}

std::vector<uint8_t> AttentionProblem::PageBytes() const {
  const KvPages kv = pages();
  const int64_t number = BytesOf(kv.element), all_keys = int64_t{kv.num_kv_heads} * kPageTokens * kv.head_dim;
  std::vector<uint8_t> bytes(page_tables_.size() * kv.page_bytes(), 0xFF);
  for (size_t s = 0; s < sequences_.size(); ++s)
    for (int t = 0; t < case_.lengths[s]; ++t) {
      uint8_t* page = &bytes[page_tables_[s * max_pages_ + t / kPageTokens] * kv.page_bytes()];
      for (int g = 0; g < kv.num_kv_heads; ++g) {
        const int64_t row = int64_t{t} * kv.num_kv_heads + g,
                      slot = int64_t{g} * kPageTokens + t % kPageTokens;
        const StoredRow key = Store(kv.element, &sequences_[s].keys[row * kv.head_dim], kv.head_dim);
        const StoredRow value = Store(kv.element, &sequences_[s].values[row * kv.value_dim], kv.value_dim);
        std::copy(key.bytes.begin(), key.bytes.end(), page + slot * kv.head_dim * number);
        std::copy(value.bytes.begin(), value.bytes.end(), page + (all_keys + slot * kv.value_dim) * number);
      }
    }
  return bytes;
}

std::vector<float> AttentionProblem::PageScales() const {
  const KvPages kv = pages();
  std::vector<float> scales(page_tables_.size() * kv.page_scales(), std::numeric_limits<float>::quiet_NaN());
  if (scales.empty()) return scales;
  for (size_t s = 0; s < sequences_.size(); ++s)
    for (int t = 0; t < case_.lengths[s]; ++t) {
      float* page = &scales[page_tables_[s * max_pages_ + t / kPageTokens] * kv.page_scales()];
      for (int g = 0; g < kv.num_kv_heads; ++g) {
        const int64_t row = int64_t{t} * kv.num_kv_heads + g,
                      slot = int64_t{g} * kPageTokens + t % kPageTokens;
        page[slot] = Store(kv.element, &sequences_[s].keys[row * kv.head_dim], kv.head_dim).scale;
        page[kv.num_kv_heads * kPageTokens + slot] =
            Store(kv.element, &sequences_[s].values[row * kv.value_dim], kv.value_dim).scale;
      }
    }
  return scales;
}

std::vector<uint8_t> AttentionProblem::QueryBytes(int sequence, int position, int zone) const {
  const int64_t count = int64_t{num_heads()} * case_.head_dim;
  if (position < 0) return std::vector<uint8_t>(count * BytesOf(case_.element), 0xFF);
  const float* first = &sequences_[sequence].queries[zone][position * count];
  return ToBytes(case_.element, std::vector<float>(first, first + count));
}

// The score, and the sum of the magnitudes of its terms.
double AttentionProblem::Score(const Sequence& sequence, int position, int head, int key,
                               double* magnitude) const {
  const float* q = &sequence.queries[0][(int64_t{position} * num_heads() + head) * case_.head_dim];
  const float* k = &sequence.keys[(int64_t{key} * case_.kv_heads + head / case_.group) * case_.head_dim];
  double score = 0, terms = 0;
  for (int d = 0; d < case_.head_dim; ++d) {
    score += static_cast<double>(q[d]) * k[d];
    terms += std::abs(static_cast<double>(q[d]) * k[d]);
  }
  score *= scale_;
  if (case_.softcap != 0) score = case_.softcap * std::tanh(score / case_.softcap);
  if (case_.alibi) score += static_cast<double>(slopes_[head]) * (key - position);
  *magnitude = terms * scale_ + std::abs(score);
  return score;
}

// Tolerance: every weight may be off by twice the error of a score, by an exponential's, and by its rounding;
// the sum of the weights likewise; the values by theirs and the output by its. All relative to the largest
// value.
AttentionProblem::Expected AttentionProblem::Attend(int sequence_index, int position, int head) const {
  if (!case_.modifier.empty()) return AttendByTheSpecification(sequence_index, position, head);
  const Sequence& sequence = sequences_[sequence_index];
  const int first = case_.window > 0 ? std::max(0, position + 1 - case_.window) : 0;
  std::vector<double> weights;
  double largest = case_.sinks ? sinks_[head] : -std::numeric_limits<double>::infinity(), magnitude = 0;
  for (int key = first; key <= position; ++key) {
    double terms;
    weights.push_back(Score(sequence, position, head, key, &terms));
    largest = std::max(largest, weights.back());
    magnitude = std::max(magnitude, terms);
  }
  double sum = case_.sinks ? std::exp(sinks_[head] - largest) : 0, value = 0;
  Expected expected{.out = std::vector<double>(case_.value_dim)};
  for (int key = first; key <= position; ++key) {
    const double weight = std::exp(weights[key - first] - largest);
    const float* v = &sequence.values[(int64_t{key} * case_.kv_heads + head / case_.group) * case_.value_dim];
    sum += weight;
    for (int d = 0; d < case_.value_dim; ++d) {
      expected.out[d] += weight * v[d];
      value = std::max(value, std::abs(static_cast<double>(v[d])));
    }
  }
  for (double& x : expected.out) x /= sum;
  const double rounding = RoundingOf(case_.element);
  // Keys of 8-bit codes are rounded to the element type as well.
  const double key_rounding = HasScales(case_.kv) && case_.element != Element::kF32 ? rounding : 0;
  const double score_error =
      ((case_.head_dim + 8) * kEpsilon + key_rounding) * magnitude + 8 * kEpsilon * case_.softcap;
  const double denormal = case_.element == Element::kF16 ? 0x1p-25 * (position + 1 - first) / sum : 0;
  expected.tolerance =
      value * (4 * score_error + 4 * rounding + 2 * denormal + (2 * (position - first) + 60) * kEpsilon);
  return expected;
}

// With modifiers of every kind: as float32 computes it, whose own error is as large as the kernels'. Values
// are below 1, relative ones too; scores below spread * sqrt(E) before they are modified.
AttentionProblem::Expected AttentionProblem::AttendByTheSpecification(int sequence_index, int position,
                                                                      int head) const {
  const Sequence& sequence = sequences_[sequence_index];
  const kernels::ScoreModifier& modifier = modifier_.modifier;
  const bool all = modifier.mixer.width > 0;
  const int first_head = all ? 0 : head;
  const auto queries = [&](int zone) {
    return &sequence.queries[zone][(int64_t{position} * num_heads() + first_head) * case_.head_dim];
  };
  const auto copy = [&](const std::vector<float>& rows, int columns, int kv_head, int32_t at, float* out) {
    std::copy_n(&rows[(int64_t{at} * case_.kv_heads + kv_head) * columns], columns, out);
  };
  std::vector<float> out(int64_t{num_heads()} * case_.value_dim);
  kernels::AttendToken(
      {.first_head = first_head,
       .num_heads = all ? num_heads() : 1,
       .queries_per_kv_head = case_.group,
       .head_dim = case_.head_dim,
       .value_dim = case_.value_dim,
       .position = position,
       .scale = scale_,
       .modifier = modifier,
       .queries = queries(0),
       .previous_queries = queries(1),
       .older_queries = queries(2),
       .load_key = [&](int kv_head, int32_t at,
                       float* key) { copy(sequence.keys, case_.head_dim, kv_head, at, key); },
       .load_value = [&](int kv_head, int32_t at,
                         float* value) { copy(sequence.values, case_.value_dim, kv_head, at, value); },
       .out = out.data()});
  const float* row = &out[int64_t{all ? head : 0} * case_.value_dim];
  Expected expected{.out = std::vector<double>(row, row + case_.value_dim)};
  const double rounding = RoundingOf(case_.element), product = scale_ * case_.head_dim;
  const double key_rounding = HasScales(case_.kv) && case_.element != Element::kF32 ? rounding : 0;
  const double score_error =
      (2 * (case_.head_dim + 8) * kEpsilon + key_rounding) * product * modifier_.growth / 3 +
      16 * kEpsilon * (modifier.softcap + modifier_.magnitude);
  const double denormal = case_.element == Element::kF16 ? 0x1p-25 * (position + 1) : 0;
  expected.tolerance = 2 * (4 * score_error + 4 * rounding + 2 * denormal + (4 * position + 60) * kEpsilon);
  return expected;
}

}  // namespace ropeway::cuda
