// A device that has 8-bit floating point, and what its products take.
#ifndef ROPEWAY_TESTS_KERNELS_CUDA_FP8_DEVICE_TEST_H_
#define ROPEWAY_TESTS_KERNELS_CUDA_FP8_DEVICE_TEST_H_

#include <cstdint>
#include <vector>

#include "engine/kernels/cuda/fp8.h"
#include "gtest/gtest.h"
#include "tests/kernels/cuda/device_test.h"
#include "tests/kernels/cuda/element_values.h"

namespace ropeway::cuda {

class Fp8DeviceTest : public DeviceTest {
 protected:
  using DeviceTest::DeviceTest;
  void SetUp() override {
    DeviceTest::SetUp();
    if (IsSkipped()) return;
    DeviceInfo info;
    Check(runtime().Info(&info));
    const bool is_emulated = info.name == "emulated device";
    if (!is_emulated && !HasFp8(info.major, info.minor)) GTEST_SKIP() << info.name << " has no fp8";
  }

  // Rows of `element` as fp8, on the device.
  Fp8Rows Quantize(Element element, const std::vector<float>& x, int64_t columns, bool as_f16 = false) {
    const size_t tokens = x.size() / columns;
    const Fp8Rows rows = {.codes = Allocate<uint8_t>(tokens * Fp8RowBytes(columns) * (as_f16 ? 2 : 1)),
                          .scales = Allocate<float>(tokens)};
    Check(QuantizeToFp8({.element = element,
                         .num_tokens = static_cast<int>(tokens),
                         .columns = static_cast<int>(columns),
                         .x = Upload(Encode(element, x)),
                         .out = rows,
                         .as_f16 = as_f16},
                        stream()));
    return rows;
  }

  // Of float32 numbers.
  Fp8Matrix UploadMatrix(const std::vector<float>& values, int64_t rows, int64_t columns) {
    std::vector<uint8_t> image(Fp8LayoutOf(rows, columns).bytes);
    const TensorView view = {.type = DType::kF32,
                             .shape = {rows, columns},
                             .data = reinterpret_cast<const uint8_t*>(values.data())};
    PackFp8Rows(view, rows, 0, image.data());
    return {.rows = rows, .columns = columns, .data = Upload(image)};
  }

  // y [T, stride] of `out`, which was 0x3C in all bytes.
  std::vector<uint8_t> Multiply(const Fp8Matrix& weights, const Fp8Rows& x, int64_t tokens, Element out,
                                int64_t stride) {
    const int64_t bytes = tokens * stride * BytesOf(out);
    uint8_t* y = Upload(std::vector<uint8_t>(bytes, 0x3C));
    Check(Fp8MatMul({.weights = weights,
                     .out = out,
                     .num_tokens = static_cast<int>(tokens),
                     .x = x,
                     .y = y,
                     .y_stride = stride},
                    stream()));
    return Download(y, bytes);
  }
};

}  // namespace ropeway::cuda

#endif  // ROPEWAY_TESTS_KERNELS_CUDA_FP8_DEVICE_TEST_H_
