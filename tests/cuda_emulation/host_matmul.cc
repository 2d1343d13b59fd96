#include "tests/cuda_emulation/host_matmul.h"

#include <algorithm>

#include "tests/cuda_emulation/host_elements.h"

namespace ropeway::cuda::emulation {
namespace {

constexpr int64_t kStep = 16;
constexpr int64_t kRows = 16;  // of W at a time, side by side, so that the compiler may use vectors

// sums [kRows] of one token; rows [K, kRows].
void Chain(const float* x, const float* rows, int64_t columns, float* sums) {
  std::fill(sums, sums + kRows, 0.0f);
  for (int64_t first = 0; first < columns; first += kStep) {
    float step[kRows] = {};
    for (int64_t k = first; k < std::min(first + kStep, columns); ++k)
      for (int64_t r = 0; r < kRows; ++r) step[r] += x[k] * rows[k * kRows + r];
    for (int64_t r = 0; r < kRows; ++r) sums[r] += step[r];
  }
}

}  // namespace

void MultiplyOnHost(const HostMatMul& product) {
  const int64_t columns = product.columns;
  std::vector<float> x(product.tokens * columns), rows(kRows * columns);
  for (size_t i = 0; i < x.size(); ++i) x[i] = LoadElement(product.element, product.x, i);
  for (int64_t first = 0; first < product.outputs; first += kRows) {
    const int64_t count = std::min(kRows, product.outputs - first);
    for (int64_t r = 0; r < count; ++r) {
      const std::vector<float> row = product.weight_row(first + r);
      for (int64_t k = 0; k < columns; ++k) rows[k * kRows + r] = row[k];
    }
    for (int64_t t = 0; t < product.tokens; ++t) {
      float sums[kRows];
      Chain(&x[t * columns], rows.data(), columns, sums);
      for (int64_t r = 0; r < count; ++r) product.store(t, first + r, sums[r]);
    }
  }
}

}  // namespace ropeway::cuda::emulation
