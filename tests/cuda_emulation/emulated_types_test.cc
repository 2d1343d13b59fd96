#include "tests/cuda_emulation/emulated_types.h"

#include <cmath>
#include <cstdint>
#include <limits>

#include "gtest/gtest.h"

namespace ropeway::cuda {
namespace {

// Every pair of neighbouring finite codes: a number between them goes to the nearer one, the middle to the
// even one.
template <class T>
void CheckRounding(int num_codes) {
  for (int code = 0; code + 1 < num_codes; ++code) {
    using Bits = decltype(T::bits);
    const float low = ToFloat(T{static_cast<Bits>(code)}), high = ToFloat(T{static_cast<Bits>(code + 1)});
    const float middle = low / 2 + high / 2;
    ASSERT_LT(low, high);
    ASSERT_EQ(FromFloat<T>(low).bits, code);
    ASSERT_EQ(FromFloat<T>(middle).bits, code % 2 == 0 ? code : code + 1) << low << " " << high;
    ASSERT_EQ(FromFloat<T>(std::nextafter(middle, low)).bits, code);
    ASSERT_EQ(FromFloat<T>(std::nextafter(middle, high)).bits, code + 1);
    const Bits sign = static_cast<Bits>(1u << (8 * sizeof(Bits) - 1));
    ASSERT_EQ(FromFloat<T>(-low).bits, static_cast<Bits>(code | sign));
  }
}

TEST(EmulatedTypes, RoundToTheNearestEven) {
  CheckRounding<fp16>(0x7C00);
  // The middle of two subnormal bfloat16 numbers is a float32 all the same.
  CheckRounding<bf16>(0x7F80);
  CheckRounding<fp8>(0x7F);
}

TEST(EmulatedTypes, EndsOfTheRange) {
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(FromFloat<fp16>(65519.9f).bits, 0x7BFF);
  EXPECT_EQ(FromFloat<fp16>(65520.0f).bits, 0x7C00);
  EXPECT_EQ(FromFloat<fp16>(-infinity).bits, 0xFC00);
  EXPECT_EQ(FromFloat<bf16>(infinity).bits, 0x7F80);
  EXPECT_EQ(FromFloat<bf16>(std::numeric_limits<float>::max()).bits, 0x7F80);
  EXPECT_EQ(FromFloat<fp8>(1000).bits, 0x7E) << "saturates at 448";
  EXPECT_EQ(FromFloat<fp8>(-infinity).bits, 0xFE);
  EXPECT_EQ(ToFloat(fp8{0x7E}), 448);
  for (const uint32_t nan : {0x7FC00000u, 0xFFFFFFFFu}) {
    const float value = std::bit_cast<float>(nan);
    EXPECT_TRUE(std::isnan(ToFloat(FromFloat<fp16>(value))));
    EXPECT_TRUE(std::isnan(ToFloat(FromFloat<bf16>(value))));
    EXPECT_TRUE(std::isnan(ToFloat(FromFloat<fp8>(value))));
  }
}

}  // namespace
}  // namespace ropeway::cuda
