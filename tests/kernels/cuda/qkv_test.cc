// The kernel between the QKV product and attention, against the same steps in double.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "engine/kernels/cuda/launchers.h"
#include "gtest/gtest.h"
#include "tests/kernels/cuda/device_test.h"
#include "tests/kernels/cuda/element_values.h"

namespace ropeway::cuda {
namespace {

constexpr float kEpsilon = 1e-6f;
constexpr int kPages = 5, kMaxPages = 3, kPositions = 40;
constexpr int kSharedStride = 29;
constexpr float kSquaresElsewhere = 3.5f;

struct Case {
  Element element = Element::kF32;
  KvElement kv_element = KvElement::kF32;
  int heads = 3, kv_heads = 2, head_dim = 24, value_dim = 24;
  int rotary_dim = 24;
  bool interleaved = false, bias = false;
  HeadNorms norms = {};  // kinds and order; weights are made here
  float clip = 0;
  bool turned = false;      // queries for other zones, too
  bool scaled = false;      // by their position
  bool angle_rows = false;  // that are not their positions
  int shared_columns = 0;   // of keys
  bool shared_bias = false;
  int devices = 1;  // that share the heads; those of the others sum up to kSquaresElsewhere
};

constexpr HeadNorms kRmsNorms = {.kind = NormKind::kRms};

// Two rows, a chunk that crosses a page and a decode, with padding between and after them.
const std::vector<int32_t> kTokenPositions = {14, 15, 16, -1, 33, -1};
const std::vector<int32_t> kTokenRows = {0, 0, 0, 0, 1, 0};
const std::vector<int32_t> kPageTables = {3, 1, 0, 2, 0, 4};  // [2, kMaxPages]

float DecodeFp8(uint8_t code) {
  const int exponent = code >> 3 & 15, mantissa = code & 7;
  const float magnitude = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                                        : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
  return code & 0x80 ? -magnitude : magnitude;
}

class QkvTest : public DeviceTest {
 protected:
  void Run(const Case& c) {
    SCOPED_TRACE(std::string(NameOf(c.element)) + " cache " + std::to_string(static_cast<int>(c.kv_element)) +
                 " E " + std::to_string(c.head_dim) + " Ev " + std::to_string(c.value_dim) + " rotary " +
                 std::to_string(c.rotary_dim) + (c.interleaved ? " interleaved" : "") +
                 (c.norms.kind != NormKind::kNone ? " norms" : "") + (c.turned ? " turned" : "") +
                 (c.scaled ? " scaled" : ""));
    MakeInputs(c);
    Launch(c);
    for (size_t t = 0; t < kTokenPositions.size(); ++t)
      for (int head = 0; head < c.heads + 2 * c.kv_heads; ++head) CheckHead(c, static_cast<int>(t), head);
    CheckTheRestOfThePages();
  }

 private:
  // Of weights, and of biases.
  int NormWidth(const Case& c) const { return (c.heads + c.kv_heads) * c.head_dim; }
  int Total(const Case& c) const { return (c.heads + c.kv_heads) * c.head_dim + c.kv_heads * c.value_dim; }

  void MakeInputs(const Case& c) {
    qkv_ = RandomValues(c.element, kTokenPositions.size() * Total(c), 1, 2);
    bias_ = RandomValues(Element::kF32, Total(c), 2);
    norms_ = RandomValues(Element::kF32, 2 * NormWidth(c), 3);
    shared_keys_ = RandomValues(c.element, kTokenPositions.size() * kSharedStride, 4, 2);
    shared_bias_ = RandomValues(Element::kF32, c.shared_columns, 5);
    const int half = c.rotary_dim / 2;
    for (int zone = 0; zone < 3; ++zone) {
      cosines_[zone].assign(kPositions * half, 0);
      sines_[zone].assign(kPositions * half, 0);
      for (int row = 0; row < kPositions; ++row)
        for (int i = 0; i < half; ++i) {
          const double angle = (row + 0.3 * zone) * std::pow(100.0, -2.0 * i / c.rotary_dim);
          cosines_[zone][row * half + i] = static_cast<float>(std::cos(angle));
          sines_[zone][row * half + i] = static_cast<float>(std::sin(angle));
        }
    }
    query_scales_.clear();
    for (int position = 0; position < kPositions; ++position)
      query_scales_.push_back(1 + static_cast<float>(position) / 64);
  }

  static int32_t AngleRow(int32_t position) { return position < 0 ? -1 : kPositions - 1 - position; }

  void Launch(const Case& c) {
    kv_ = {.element = c.kv_element,
           .num_kv_heads = c.kv_heads,
           .head_dim = c.head_dim,
           .value_dim = c.value_dim};
    const size_t bytes = kPages * kv_.page_bytes(), scales = kPages * kv_.page_scales();
    kv_.data = Upload(std::vector<uint8_t>(bytes, 0xA5));
    if (scales > 0) kv_.scales = Upload(std::vector<float>(scales, -1));
    const size_t query_bytes = kTokenPositions.size() * c.heads * c.head_dim * BytesOf(c.element);
    uint8_t* queries[3];
    for (uint8_t*& out : queries) out = Allocate<uint8_t>(query_bytes);
    std::vector<int32_t> angle_rows;
    for (const int32_t position : kTokenPositions) angle_rows.push_back(AngleRow(position));
    HeadNorms norms = c.norms;
    if (norms.kind != NormKind::kNone) {
      const float* device = Upload(norms_);
      norms.epsilon = kEpsilon;
      norms.query_weight = device;
      norms.key_weight = device + c.heads * c.head_dim;
      if (norms.kind == NormKind::kLayer) {
        norms.query_bias = norms.query_weight + NormWidth(c);
        norms.key_bias = norms.key_weight + NormWidth(c);
      }
    }
    QkvArgs args{.element = c.element,
                 .num_tokens = static_cast<int>(kTokenPositions.size()),
                 .num_heads = c.heads,
                 .qkv = Upload(Encode(c.element, qkv_)),
                 .shared_keys = c.shared_columns > 0 ? Upload(Encode(c.element, shared_keys_)) : nullptr,
                 .shared_stride = kSharedStride,
                 .shared_columns = c.shared_columns,
                 .shared_bias = c.shared_bias ? Upload(shared_bias_) : nullptr,
                 .bias = c.bias ? Upload(bias_) : nullptr,
                 .clip = c.clip,
                 .norms = norms,
                 .rotary_dim = c.rotary_dim,
                 .interleaved = c.interleaved,
                 .cosines = Upload(cosines_[0]),
                 .sines = Upload(sines_[0]),
                 .angle_rows = c.angle_rows ? Upload(angle_rows) : nullptr,
                 .query_scales = c.scaled ? Upload(query_scales_) : nullptr,
                 .positions = Upload(kTokenPositions),
                 .token_rows = Upload(kTokenRows),
                 .page_tables = Upload(kPageTables),
                 .max_pages = kMaxPages,
                 .kv = kv_,
                 .queries = queries[0],
                 .previous = c.turned ? Turned(1, queries[1]) : TurnedQueries{},
                 .older = c.turned ? Turned(2, queries[2]) : TurnedQueries{}};
    if (c.devices > 1) AddSquaresOfOthers(c.devices, args);
    Check(Qkv(args, stream()));
    for (int zone = 0; zone < (c.turned ? 3 : 1); ++zone)
      queries_[zone] = Decode(c.element, Download(queries[zone], query_bytes));
    data_ = Download(kv_.data, bytes);
    scales_ = scales > 0 ? Download(kv_.scales, scales) : std::vector<float>{};
    written_.assign(bytes, false);
    scale_written_.assign(scales, false);
  }

  void AddSquaresOfOthers(int devices, QkvArgs& args) {
    const size_t count = 2 * kTokenPositions.size();
    float* own = Allocate<float>(count);
    Check(HeadSquares({.qkv = args, .out = own}, stream()));
    std::vector<float> all = Download(own, count);
    for (float& squares : all) squares += kSquaresElsewhere;
    args.norms.squares = Upload(all);
    args.norms.devices = devices;
  }

  TurnedQueries Turned(int zone, void* out) {
    return {.cosines = Upload(cosines_[zone]), .sines = Upload(sines_[zone]), .out = out};
  }

  // The head as it should be, queries as they are turned for keys of a zone, and by how much float32 may be
  // off.
  std::vector<double> Expected(const Case& c, int token, int head, int zone, double* slack) const {
    const int keys_end = c.heads + c.kv_heads;
    const bool is_value = head >= keys_end;
    const int width = is_value ? c.value_dim : c.head_dim;
    const int first = is_value ? keys_end * c.head_dim + (head - keys_end) * c.value_dim : head * c.head_dim;
    std::vector<double> x = Projected(c, token, first, width);
    for (int i = 0; !is_value && head >= c.heads && i < c.shared_columns; ++i)
      x[i] = double{shared_keys_[token * kSharedStride + i]} + (c.shared_bias ? shared_bias_[i] : 0);
    double most = 1;
    const auto see = [&] {
      for (double value : x) most = std::max(most, std::fabs(value));
    };
    see();
    if (!is_value && !c.norms.after_rotation) NormHead(c, token, head, x);
    see();
    if (!is_value) Turn(c, token, zone, x);
    if (!is_value && c.norms.after_rotation) NormHead(c, token, head, x);
    see();
    *slack = 32 * 0x1p-23 * most;
    if (c.scaled && head < c.heads)
      for (double& value : x) value *= query_scales_[std::max(kTokenPositions[token], 0)];
    return x;
  }

  std::vector<double> Projected(const Case& c, int token, int first, int width) const {
    std::vector<double> x(width);
    for (int i = 0; i < width; ++i) {
      x[i] = double{qkv_[token * Total(c) + first + i]} + (c.bias ? bias_[first + i] : 0);
      if (c.clip > 0) x[i] = std::clamp<double>(x[i], -c.clip, c.clip);
    }
    return x;
  }

  void NormHead(const Case& c, int token, int head, std::vector<double>& x) const {
    if (c.norms.kind == NormKind::kNone) return;
    std::vector<double> all = x;
    if (c.norms.all_heads) {
      all.clear();
      const int first = head < c.heads ? 0 : c.heads, last = head < c.heads ? c.heads : c.heads + c.kv_heads;
      for (int other = first; other < last; ++other) {
        std::vector<double> y = Projected(c, token, other * c.head_dim, c.head_dim);
        if (c.norms.after_rotation) Turn(c, token, 0, y);
        all.insert(all.end(), y.begin(), y.end());
      }
    }
    const double count = static_cast<double>(all.size()) * c.devices;
    double mean = 0, squares = c.devices > 1 ? kSquaresElsewhere : 0;
    if (c.norms.kind == NormKind::kLayer)
      for (double value : all) mean += value / count;
    for (double value : all) squares += (value - mean) * (value - mean);
    const double inverse = 1 / std::sqrt(squares / count + kEpsilon);
    for (size_t i = 0; i < x.size(); ++i) {
      const size_t at = head * x.size() + i;
      x[i] = (x[i] - mean) * inverse * norms_[at];
      if (c.norms.kind == NormKind::kLayer) x[i] += norms_[NormWidth(c) + at];
    }
  }

  void Turn(const Case& c, int token, int zone, std::vector<double>& x) const {
    const int half = c.rotary_dim / 2, position = std::max(kTokenPositions[token], 0);
    const int row = c.angle_rows && zone == 0 ? std::max(AngleRow(kTokenPositions[token]), 0) : position;
    for (int i = 0; i < half; ++i) {
      double &a = x[c.interleaved ? 2 * i : i], &b = x[c.interleaved ? 2 * i + 1 : i + half];
      const double cosine = cosines_[zone][row * half + i], sine = sines_[zone][row * half + i];
      const double old = a;
      a = a * cosine - b * sine;
      b = b * cosine + old * sine;
    }
  }

  void CheckQuery(const Case& c, int token, int head, int zone) {
    double slack = 0;
    const std::vector<double> expected = Expected(c, token, head, zone, &slack);
    for (int i = 0; i < c.head_dim; ++i) {
      const float got = queries_[zone][(token * c.heads + head) * c.head_dim + i];
      if (kTokenPositions[token] < 0) {
        EXPECT_TRUE(std::isfinite(got));
        continue;
      }
      EXPECT_NEAR(got, expected[i], slack + RoundingOf(c.element) * std::fabs(expected[i]))
          << "token " << token << " head " << head << " column " << i << " zone " << zone;
    }
  }

  void CheckHead(const Case& c, int token, int head) {
    double slack = 0;
    if (head < c.heads) {
      for (int zone = 0; zone < (c.turned ? 3 : 1); ++zone) CheckQuery(c, token, head, zone);
      return;
    }
    const std::vector<double> expected = Expected(c, token, head, 0, &slack);
    if (kTokenPositions[token] >= 0) CheckInPage(c, token, head, expected, slack);
  }

  void CheckInPage(const Case& c, int token, int head, const std::vector<double>& expected, double slack) {
    const bool is_value = head >= c.heads + c.kv_heads;
    const int kv_head = head - c.heads - (is_value ? c.kv_heads : 0), position = kTokenPositions[token];
    const int64_t page = kPageTables[kTokenRows[token] * kMaxPages + position / kPageTokens];
    const int64_t slot = kv_head * kPageTokens + position % kPageTokens,
                  width = static_cast<int64_t>(expected.size());
    const int64_t row = page * kv_.page_bytes() +
                        ((is_value ? int64_t{c.kv_heads} * kPageTokens * c.head_dim : 0) + slot * width) *
                            BytesOf(c.kv_element);
    const int64_t bytes = width * BytesOf(c.kv_element);
    std::fill_n(written_.begin() + row, bytes, true);
    const std::vector<uint8_t> codes(data_.begin() + row, data_.begin() + row + bytes);
    std::vector<float> got;
    double rounding = 0;  // relative
    if (!HasScales(c.kv_element)) {
      const Element element = c.kv_element == KvElement::kF32   ? Element::kF32
                              : c.kv_element == KvElement::kF16 ? Element::kF16
                                                                : Element::kBF16;
      got = Decode(element, codes);
      rounding = RoundingOf(element);
    } else {
      const int64_t place =
          page * kv_.page_scales() + (is_value ? int64_t{c.kv_heads} * kPageTokens : 0) + slot;
      scale_written_[place] = true;
      double most = 0;
      for (double x : expected) most = std::max(most, std::fabs(x));
      const bool is_int8 = c.kv_element == KvElement::kInt8;
      const float scale = scales_[place];
      EXPECT_NEAR(scale, most / (is_int8 ? 127 : 448), slack / 127) << "token " << token << " head " << head;
      for (uint8_t code : codes)
        got.push_back(scale * (is_int8 ? static_cast<float>(static_cast<int8_t>(code)) : DecodeFp8(code)));
      // Half a step: 1 of int8's codes; of fp8 a sixteenth of the number, or half the smallest one.
      slack += is_int8 ? scale / 2 : scale * 0x1p-10;
      rounding = is_int8 ? 0 : 0x1p-4;
    }
    for (int64_t i = 0; i < width; ++i)
      EXPECT_NEAR(got[i], expected[i], slack * 1.001 + rounding * std::fabs(expected[i]))
          << "token " << token << " head " << head << " column " << i;
  }

  void CheckTheRestOfThePages() {
    for (size_t i = 0; i < data_.size(); ++i) ASSERT_TRUE(written_[i] || data_[i] == 0xA5) << "byte " << i;
    for (size_t i = 0; i < scales_.size(); ++i)
      ASSERT_TRUE(scale_written_[i] || scales_[i] == -1) << "scale " << i;
  }

  KvPages kv_;
  std::vector<float> qkv_, bias_, norms_, query_scales_, scales_, shared_keys_, shared_bias_;
  std::vector<float> cosines_[3], sines_[3], queries_[3];  // by zone
  std::vector<uint8_t> data_;
  std::vector<bool> written_, scale_written_;
};

TEST_F(QkvTest, EveryActivationAndCacheType) {
  for (Element element : kElements)
    for (KvElement kv :
         {KvElement::kF32, KvElement::kF16, KvElement::kBF16, KvElement::kFp8E4M3, KvElement::kInt8})
      Run({.element = element,
           .kv_element = kv,
           .head_dim = 64,
           .value_dim = 64,
           .rotary_dim = 64,
           .norms = kRmsNorms});
}

TEST_F(QkvTest, HeadsOfAnyWidth) {
  struct Widths {
    int head_dim, value_dim;
  };
  for (const Widths widths : {Widths{16, 16}, {24, 24}, {20, 12}, {13, 7}, {80, 96}, {128, 128}, {256, 64}})
    for (Element element : {Element::kF32, Element::kBF16})
      for (KvElement kv : {KvElement::kF32, KvElement::kInt8})
        Run({.element = element,
             .kv_element = kv,
             .head_dim = widths.head_dim,
             .value_dim = widths.value_dim,
             .rotary_dim = widths.head_dim / 2 * 2,
             .bias = true});
}

// Without what needs more than a lane's own columns and those of its partner (qkv_vectors.h).
TEST_F(QkvTest, HeadsInRegisters) {
  struct Widths {
    int head_dim, value_dim, rotary_dim;
  };
  for (const Widths widths : {Widths{8, 8, 8},
                              {16, 16, 16},
                              {40, 24, 32},
                              {64, 64, 64},
                              {96, 96, 96},
                              {128, 64, 96},
                              {64, 128, 0},
                              {128, 128, 128},
                              {256, 192, 256}})
    for (bool interleaved : {false, true})
      for (bool norms : {false, true}) {
        Case c = {.element = Element::kBF16,
                  .kv_element = KvElement::kBF16,
                  .heads = 5,
                  .head_dim = widths.head_dim,
                  .value_dim = widths.value_dim,
                  .rotary_dim = widths.rotary_dim,
                  .interleaved = interleaved,
                  .norms = norms ? kRmsNorms : HeadNorms{}};
        Run(c);
        c.angle_rows = true;
        Run(c);
        c.bias = c.scaled = true;
        c.clip = 1.5f;
        Run(c);
      }
  Run({.element = Element::kF16,
       .kv_element = KvElement::kF16,
       .heads = 40,
       .kv_heads = 4,
       .head_dim = 128,
       .value_dim = 128,
       .rotary_dim = 128});
}

TEST_F(QkvTest, EveryRotation) {
  for (int rotary_dim : {0, 2, 8, 10, 24})
    for (bool interleaved : {false, true})
      for (bool norms : {false, true})
        Run({.element = Element::kF16,
             .kv_element = KvElement::kF16,
             .rotary_dim = rotary_dim,
             .interleaved = interleaved,
             .bias = true,
             .norms = norms ? kRmsNorms : HeadNorms{}});
}

TEST_F(QkvTest, EveryNormOfHeads) {
  for (Element element : {Element::kF32, Element::kBF16})
    for (bool after : {false, true})
      for (const HeadNorms& norms :
           {HeadNorms{.kind = NormKind::kRms, .after_rotation = after},
            HeadNorms{.kind = NormKind::kLayer, .after_rotation = after},
            HeadNorms{.kind = NormKind::kRms, .all_heads = true, .after_rotation = after}})
        for (bool interleaved : {false, true})
          Run({.element = element,
               .heads = 4,
               .rotary_dim = 16,
               .interleaved = interleaved,
               .bias = true,
               .norms = norms,
               .clip = 1.5f,
               .scaled = true});
}

TEST_F(QkvTest, NormsOverHeadsOfSeveralDevices) {
  for (Element element : kElements)
    for (bool after : {false, true})
      Run({.element = element,
           .heads = 4,
           .rotary_dim = 16,
           .bias = true,
           .norms = {.kind = NormKind::kRms, .all_heads = true, .after_rotation = after},
           .clip = 1.5f,
           .angle_rows = after,
           .devices = 3});
}

TEST_F(QkvTest, QueriesForOtherZonesAndScales) {
  for (Element element : kElements)
    for (int choices = 1; choices < 8; ++choices)
      Run({.element = element,
           .head_dim = 40,
           .rotary_dim = 32,
           .norms = kRmsNorms,
           .turned = (choices & 1) != 0,
           .scaled = (choices & 2) != 0,
           .angle_rows = (choices & 4) != 0});
}

// As keys of latent attention have them.
TEST_F(QkvTest, ColumnsThatAllKeysShare) {
  for (Element element : kElements)
    for (bool bias : {false, true})
      for (int columns : {1, 8, 24})
        Run({.element = element,
             .value_dim = 12,
             .rotary_dim = 8,
             .shared_columns = columns,
             .shared_bias = bias});
}

TEST_F(QkvTest, ManyHeads) {
  Run({.heads = 17, .kv_heads = 1, .head_dim = 40, .value_dim = 40, .rotary_dim = 40});
}

}  // namespace
}  // namespace ropeway::cuda
