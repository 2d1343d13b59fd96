// Inputs for tests of kernels: weights of every type, activations with outliers, and one call that runs a
// whole matrix product.
#ifndef ROPEWAY_TESTS_KERNELS_KERNEL_INPUTS_H_
#define ROPEWAY_TESTS_KERNELS_KERNEL_INPUTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "engine/kernels/ops.h"

namespace ropeway::kernels {

inline constexpr DType kAllTypes[kNumDTypes] = {
    DType::kF32,  DType::kF16,    DType::kBF16,   DType::kQ4_0,  DType::kQ4_1, DType::kQ5_0,
    DType::kQ5_1, DType::kQ8_0,   DType::kQ2_K,   DType::kQ3_K,  DType::kQ4_K, DType::kQ5_K,
    DType::kQ6_K, DType::kIQ4_NL, DType::kIQ4_XS, DType::kMXFP4,
};

// The tables that this processor runs, but for "ref"; best first.
std::vector<const KernelTable*> FastTables();

// The same and, after them, those without extensions, where they have any: they differ in matrix products.
std::vector<const KernelTable*> ProductTables();

// Numbers that depend on the seed alone.
class Random {
 public:
  explicit Random(uint64_t seed) : seed_(seed) {}
  uint64_t Bits();
  float Uniform(float low, float high);
  float Normal();

 private:
  uint64_t seed_, counter_ = 0;
};

inline constexpr Activation kAllActivations[] = {
    Activation::kSilu,  Activation::kGeluErf, Activation::kGeluTanh,     Activation::kRelu,
    Activation::kRelu2, Activation::kXielu,   Activation::kClampedSwiglu};

// For those that take some: different ones, of the order of published models.
inline constexpr ActivationNumbers kActivationNumbers = {
    .p = 0.8f, .n = 1.3f, .l = 0.5f, .m = -1e-6f, .s = 1.702f, .c = 2};

// Rows of random codes and scales in the bytes of `type`, with values of about 1 / sqrt(columns).
std::vector<uint8_t> RandomWeights(DType type, int64_t rows, int64_t columns, uint64_t seed);

// Row-major, with columns of unequal sizes: some are thirty times the others.
std::vector<float> RandomActivations(int64_t num_tokens, int64_t columns, uint64_t seed);

TensorView ViewOf(DType type, const std::vector<uint8_t>& bytes, int64_t rows, int64_t columns);

PackedMatrix PackOne(const KernelTable& table, DType type, const std::vector<uint8_t>& bytes, int64_t rows,
                     int64_t columns);

struct ProductOptions {
  Epilogue epilogue = Epilogue::kStore;
  Activation activation = Activation::kSilu;
  ActivationNumbers numbers = kActivationNumbers;
  const float* bias = nullptr;
  int parts = 1;      // into which units of preparation and panels are split
  float initial = 0;  // what y holds before
  int64_t gap = 0;    // floats between rows of y, which must keep `initial`
  int64_t x_gap = 0;  // floats between rows of x
};

// y [num_tokens, outputs + gap] of the product with x [num_tokens, columns + x_gap].
std::vector<float> Multiply(const KernelTable& table, const PackedMatrix& matrix, const float* x,
                            int64_t num_tokens, const ProductOptions& options = {});

// Names the first element that differs in its bytes, or says "" where none does.
std::string FirstDifference(const float* a, const float* b, int64_t count);

}  // namespace ropeway::kernels

#endif  // ROPEWAY_TESTS_KERNELS_KERNEL_INPUTS_H_
