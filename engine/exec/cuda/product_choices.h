// Which kernel makes a product: where there are several, the fastest, as measured before the device serves; else, and where
// nothing was measured, the one that product.h has.
//
// Numbers of tokens are in classes, and each has its kernel: of those that may be used the fastest for the most tokens of the
// class. Up to kFusedTokens these are our own alone, which have the neighbours of products, too. All give the same
// bytes, so that one server may choose otherwise than another; within one, a number of tokens always goes the same way.
//
// Not thread-safe; constant after Measure.
#ifndef ROPEWAY_ENGINE_EXEC_CUDA_PRODUCT_CHOICES_H_
#define ROPEWAY_ENGINE_EXEC_CUDA_PRODUCT_CHOICES_H_

#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "engine/base/clock.h"
#include "engine/exec/cuda/product.h"
#include "engine/kernels/cuda/ops.h"
#include "engine/kernels/cuda/runtime.h"
#include "engine/tensor/dtype.h"

namespace ropeway {

class ProductChoices {
 public:
  // Null: nothing is measured. The clock is not used after Measure.
  explicit ProductChoices(const Clock* clock) : clock_(clock) {}

  // PrepareOnCuda in all ways that products by this matrix may be made in, with up to args.num_tokens tokens, which Measure is
  // to compare. Matrices that are alike are measured as one.
  cuda::ErrorCode Prepare(const cuda::MatMulArgs& args, const ProductTools& tools);

  // Once, when all are prepared: their x is read again, their y overwritten.
  cuda::ErrorCode Measure(const ProductTools& tools, cuda::Runtime& runtime);

  ProductKernel KernelFor(const cuda::MatMulArgs& args) const;

  // What Measure chose: a line for each shape, for the log.
  std::vector<std::string> Lines() const;

 private:
  struct Shape {
    DType type;
    int64_t rows, columns;
    cuda::Element element, out;
    auto operator<=>(const Shape&) const = default;
  };
  struct Time {
    ProductKernel kernel;
    absl::Duration of_one;  // product; zero: not measured
  };
  // Of a class: up to so many tokens.
  struct Choice {
    int64_t tokens = 0;
    std::vector<Time> times;  // the fastest first, without those that were not tried
  };
  struct Matrices {
    cuda::MatMulArgs most;               // with the most tokens
    std::vector<const void*> data = {};  // take turns, so that no cache has what a step finds in none
    std::vector<Choice> choices = {};    // by tokens
  };
  class Race;

  static Shape ShapeOf(const cuda::MatMulArgs& args);
  static std::string LineOf(const Shape& shape, const std::vector<Choice>& choices);

  const Clock* clock_;
  std::map<Shape, Matrices> matrices_;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_EXEC_CUDA_PRODUCT_CHOICES_H_
