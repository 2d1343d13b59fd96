// The emulation's numbers against NVIDIA's own headers, which work under the host's compiler too.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <bit>
#include <cmath>
#include <cstdint>

#include "gtest/gtest.h"
#include "tests/cuda_emulation/emulated_types.h"

namespace ropeway::cuda {
namespace {

// float32 numbers of all magnitudes and both signs; a prime step reaches every pattern of low bits.
template <class Function>
void ForFloats(Function function) {
  constexpr uint64_t kStep = 1009;
  for (uint64_t bits = 0; bits < uint64_t{1} << 32; bits += kStep) {
    const float value = std::bit_cast<float>(static_cast<uint32_t>(bits));
    if (!std::isnan(value)) function(value);
  }
}

TEST(NvidiaTypes, Half) {
  ForFloats([](float value) {
    ASSERT_EQ(FromFloat<fp16>(value).bits, __half_as_ushort(__float2half_rn(value))) << value;
  });
  for (uint32_t code = 0; code < 0x10000; ++code) {
    const float theirs = __half2float(__ushort_as_half(static_cast<unsigned short>(code)));
    const float ours = ToFloat(fp16{static_cast<uint16_t>(code)});
    ASSERT_TRUE(ours == theirs || (std::isnan(ours) && std::isnan(theirs))) << code;
  }
}

TEST(NvidiaTypes, BFloat16) {
  ForFloats([](float value) {
    ASSERT_EQ(FromFloat<bf16>(value).bits, __bfloat16_as_ushort(__float2bfloat16_rn(value))) << value;
  });
}

TEST(NvidiaTypes, Fp8) {
  ForFloats([](float value) {
    ASSERT_EQ(FromFloat<fp8>(value).bits, __nv_cvt_float_to_fp8(value, __NV_SATFINITE, __NV_E4M3)) << value;
  });
  for (uint32_t code = 0; code < 0x100; ++code) {
    __nv_fp8_e4m3 number;
    number.__x = static_cast<__nv_fp8_storage_t>(code);
    const float theirs = static_cast<float>(number), ours = ToFloat(fp8{static_cast<uint8_t>(code)});
    ASSERT_TRUE(ours == theirs || (std::isnan(ours) && std::isnan(theirs))) << code;
  }
}

}  // namespace
}  // namespace ropeway::cuda
