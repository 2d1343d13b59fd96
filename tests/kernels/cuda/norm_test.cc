#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/kernels/cuda/launchers.h"
#include "engine/kernels/cuda/norm_vectors.h"
#include "engine/kernels/cuda/shared_bytes.h"
#include "gtest/gtest.h"
#include "tests/kernels/cuda/device_test.h"
#include "tests/kernels/cuda/element_values.h"

namespace ropeway::cuda {
namespace {

constexpr float kEpsilon = 1e-5f;

struct Case {
  NormKind kind = NormKind::kRms;
  int columns = 96;
  bool branch = false, branch_bias = false, bias = false, gather = false, out = true;
  NormKind post = NormKind::kNone;
  bool post_bias = false;
  float branch_scale = 1;
};

// One row, normed in double.
std::vector<double> Normed(NormKind kind, const std::vector<double>& row, const float* weight,
                           const float* bias) {
  if (kind == NormKind::kNone) return row;
  const double count = static_cast<double>(row.size());
  double mean = 0, squares = 0;
  if (kind == NormKind::kLayer)
    for (double x : row) mean += x / count;
  for (double x : row) squares += (x - mean) * (x - mean);
  const double inverse = 1 / std::sqrt(squares / count + kEpsilon);
  std::vector<double> out(row.size());
  for (size_t i = 0; i < row.size(); ++i)
    out[i] = (row[i] - mean) * inverse * weight[i] + (bias == nullptr ? 0 : bias[i]);
  return out;
}

class NormTest : public DeviceTest {
 protected:
  static constexpr int kTokens = 5;

  void Run(Element element, const Case& c) {
    SCOPED_TRACE(std::string(NameOf(element)) + " D " + std::to_string(c.columns));
    const size_t size = static_cast<size_t>(kTokens) * c.columns;
    const std::vector<float> residual = RandomValues(Element::kF32, size, 1, 3);
    const std::vector<float> branch = RandomValues(element, size, 2);
    const std::vector<float> vectors = RandomValues(Element::kF32, 5 * size_t(c.columns), 3);
    const float *weight = &vectors[0], *bias = &vectors[c.columns], *post = &vectors[2 * c.columns],
                *branch_bias = &vectors[3 * c.columns], *post_bias = &vectors[4 * c.columns];
    const auto upload = [&](bool wanted, const float* vector) {
      return wanted ? Upload(std::vector<float>(vector, vector + c.columns)) : nullptr;
    };
    const std::vector<int32_t> rows =
        c.gather ? std::vector<int32_t>{4, 1} : std::vector<int32_t>{0, 1, 2, 3, 4};
    float* device_residual = Upload(residual);
    uint8_t* out = Allocate<uint8_t>(rows.size() * c.columns * BytesOf(element));
    Check(Norm({.kind = c.kind,
                .element = element,
                .num_rows = static_cast<int>(rows.size()),
                .columns = c.columns,
                .epsilon = kEpsilon,
                .residual = device_residual,
                .branch = c.branch ? Upload(Encode(element, branch)) : nullptr,
                .branch_bias = upload(c.branch_bias, branch_bias),
                .post_kind = c.post,
                .post_weight = upload(c.post != NormKind::kNone, post),
                .post_bias = upload(c.post_bias, post_bias),
                .branch_scale = c.branch_scale,
                .weight = upload(c.kind != NormKind::kNone, weight),
                .bias = upload(c.bias, bias),
                .rows = c.gather ? Upload(rows) : nullptr,
                .out = c.out ? out : nullptr},
               stream()));
    const std::vector<float> got_residual = Download(device_residual, size);
    const std::vector<float> got =
        c.out ? Decode(element, Download(out, rows.size() * c.columns * BytesOf(element)))
              : std::vector<float>{};
    for (size_t r = 0; r < rows.size(); ++r) {
      const size_t first = static_cast<size_t>(rows[r]) * c.columns;
      std::vector<double> expected(c.columns), added(c.columns);
      for (int i = 0; i < c.columns; ++i)
        added[i] = c.branch ? branch[first + i] + (c.branch_bias ? double{branch_bias[i]} : 0) : 0;
      added = Normed(c.post, added, post, c.post_bias ? post_bias : nullptr);
      for (double& x : added) x *= c.branch_scale;
      for (int i = 0; i < c.columns; ++i) {
        expected[i] = residual[first + i] + added[i];
        // A mean of D float32 squares is within D / 2^24 in theory; eight times the rounding of its factors
        // is ample here, where 256 threads add up D / 256 each.
        const double slack = 8 * 0x1p-23 * (std::fabs(residual[first + i]) + std::fabs(added[i]) + 1);
        EXPECT_NEAR(got_residual[first + i], expected[i], slack) << "residual, row " << r << " column " << i;
      }
      if (!c.out) continue;
      const std::vector<double> normed = Normed(c.kind, expected, weight, c.bias ? bias : nullptr);
      for (int i = 0; i < c.columns; ++i) {
        const double slack = 16 * 0x1p-23 * (std::fabs(normed[i]) + 1 + (c.bias ? std::fabs(bias[i]) : 0)) +
                             RoundingOf(element) * std::fabs(normed[i]);
        EXPECT_NEAR(got[r * c.columns + i], normed[i], slack) << "row " << r << " column " << i;
      }
    }
  }
};

TEST_F(NormTest, OfTheResidual) {
  for (Element element : kElements)
    for (int columns : {1, 7, 96, 100, 2056, 4099})
      for (NormKind kind : {NormKind::kRms, NormKind::kLayer}) {
        if (kind == NormKind::kLayer && columns == 1) continue;  // (x - x) / sqrt(epsilon) magnifies nothing
        Run(element, {.kind = kind, .columns = columns, .bias = kind == NormKind::kLayer});
      }
}

// Of 48 KiB, which leave nothing to the sums of warps unless the launch asks for more; and of all that there may be.
TEST_F(NormTest, OfTheWidestRows) {
  for (int columns : {12288, kMostNormColumns})
    Run(Element::kBF16, {.kind = NormKind::kRms, .columns = columns, .branch = true});
}

TEST_F(NormTest, AfterTheBranchIsAdded) {
  for (Element element : kElements)
    for (int columns : {24, 51, 3000})
      for (NormKind kind : {NormKind::kRms, NormKind::kLayer})
        for (bool post : {false, true})
          Run(element, {.kind = kind,
                        .columns = columns,
                        .branch = true,
                        .branch_bias = post,
                        .post = post ? kind : NormKind::kNone,
                        .post_bias = post && kind == NormKind::kLayer,
                        .branch_scale = post ? 0.6f : 1});
}

TEST_F(NormTest, WithoutANormOfTheResidual) {
  for (Element element : kElements)
    for (int columns : {24, 51})
      for (bool branch : {false, true})
        Run(element, {.kind = NormKind::kNone,
                      .columns = columns,
                      .branch = branch,
                      .post = branch ? NormKind::kRms : NormKind::kNone});
}

// Rows in registers have the bytes of those in shared memory, which a bias of zeros asks for.
TEST_F(NormTest, RowsInRegisters) {
  for (Element element : kElements)
    for (int columns : {8, 2048, 2056, 4096, 4104, 8192, 8200})
      for (bool branch : {false, true}) {
        SCOPED_TRACE(std::string(NameOf(element)) + " D " + std::to_string(columns));
        const size_t size = static_cast<size_t>(kTokens) * columns;
        const std::vector<float> residual = RandomValues(Element::kF32, size, 1, 3);
        NormArgs args = {.element = element,
                         .num_rows = branch ? kTokens : 2,
                         .columns = columns,
                         .epsilon = kEpsilon,
                         .branch = branch ? Upload(Encode(element, RandomValues(element, size, 2))) : nullptr,
                         .branch_scale = 0.7f,
                         .weight = Upload(RandomValues(Element::kF32, columns, 3)),
                         .rows = branch ? nullptr : Upload(std::vector<int32_t>{4, 1})};
        EXPECT_EQ(TakesNormVectors(args), false) << "there is no out";
        const auto run = [&](const float* bias) {
          args.bias = bias;
          args.residual = Upload(residual);
          uint8_t* const out = Allocate<uint8_t>(args.num_rows * columns * BytesOf(element));
          args.out = out;
          EXPECT_EQ(TakesNormVectors(args), bias == nullptr && columns <= 8192);
          Check(Norm(args, stream()));
          return std::pair(Download(args.residual, size),
                           Download(out, args.num_rows * columns * BytesOf(element)));
        };
        EXPECT_EQ(run(nullptr), run(Upload(std::vector<float>(columns, 0))));
      }
}

// Some columns of wider rows, as latent attention has them.
TEST_F(NormTest, OfColumns) {
  constexpr int kStride = 300, kFirst = 16;
  for (Element element : kElements)
    for (int columns : {1, 20, 200})
      for (bool has_bias : {false, true}) {
        SCOPED_TRACE(std::string(NameOf(element)) + " N " + std::to_string(columns));
        const std::vector<float> x = RandomValues(element, kTokens * kStride, 1, 3),
                                 weight = RandomValues(Element::kF32, columns, 2),
                                 bias = RandomValues(Element::kF32, columns, 3);
        uint8_t* out = Allocate<uint8_t>(kTokens * columns * BytesOf(element));
        Check(NormColumns({.element = element,
                           .num_tokens = kTokens,
                           .columns = columns,
                           .epsilon = kEpsilon,
                           .x = Upload(Encode(element, x)) + kFirst * BytesOf(element),
                           .x_stride = kStride,
                           .bias = has_bias ? Upload(bias) : nullptr,
                           .weight = Upload(weight),
                           .out = out},
                          stream()));
        const std::vector<float> got = Decode(element, Download(out, kTokens * columns * BytesOf(element)));
        for (int t = 0; t < kTokens; ++t) {
          std::vector<double> row(columns);
          for (int i = 0; i < columns; ++i)
            row[i] = x[t * kStride + kFirst + i] + (has_bias ? double{bias[i]} : 0);
          const std::vector<double> normed = Normed(NormKind::kRms, row, weight.data(), nullptr);
          for (int i = 0; i < columns; ++i)
            EXPECT_NEAR(
                got[t * columns + i], normed[i],
                16 * 0x1p-23 * (std::fabs(normed[i]) + 1) + RoundingOf(element) * std::fabs(normed[i]))
                << "row " << t << " column " << i;
        }
      }
}

// As an embedding is normed: the rows where they lie.
TEST_F(NormTest, OfTheResidualInPlace) {
  constexpr int kColumns = 100;
  const std::vector<float> residual = RandomValues(Element::kF32, size_t{kTokens} * kColumns, 1, 3),
                           weight = RandomValues(Element::kF32, kColumns, 3);
  float* device = Upload(residual);
  Check(Norm({.kind = NormKind::kLayer,
              .element = Element::kF32,
              .num_rows = kTokens,
              .columns = kColumns,
              .epsilon = kEpsilon,
              .residual = device,
              .weight = Upload(weight),
              .out = device},
             stream()));
  const std::vector<float> got = Download(device, residual.size());
  for (int token = 0; token < kTokens; ++token) {
    const std::vector<double> row(&residual[token * kColumns], &residual[token * kColumns] + kColumns);
    const std::vector<double> expected = Normed(NormKind::kLayer, row, weight.data(), nullptr);
    for (int i = 0; i < kColumns; ++i)
      EXPECT_NEAR(got[token * kColumns + i], expected[i], 16 * 0x1p-23 * (std::fabs(expected[i]) + 1)) << i;
  }
}

TEST_F(NormTest, TheBranchAlone) {
  for (Element element : kElements)
    Run(element, {.columns = 96, .branch = true, .branch_bias = true, .out = false});
}

TEST_F(NormTest, ChosenRows) {
  for (Element element : kElements)
    for (int columns : {96, 35}) Run(element, {.columns = columns, .gather = true});
}

}  // namespace
}  // namespace ropeway::cuda
