// Constants of the elementary functions that both instruction sets compute by the same operations.
#ifndef ROPEWAY_ENGINE_KERNELS_CPU_LANES_H_
#define ROPEWAY_ENGINE_KERNELS_CPU_LANES_H_

#include "engine/tensor/formulas.h"

namespace ropeway::kernels {

// (e^r - 1) / r for |r| <= ln(2) / 2 by Taylor's series in Horner's form, largest power first; relative error
// below 3e-7.
constexpr float kExpTerms[6] = {1.f / 720, 1.f / 120, 1.f / 24, 1.f / 6, 1.f / 2, 1};
constexpr float kLog2E = 1.44269504f, kLn2High = 0.693145752f, kLn2Low = 1.42860677e-6f;
constexpr float kExpMax = 88, kExpMin = -87;  // arguments are clamped to these

// 2^r for |r| <= 1/2 as a polynomial of the least relative error, 7.5e-5, largest power first: a twenty-fifth of
// what rounding to bf16 may change.
constexpr float kPowerTerms[4] = {0.0551716685f, 0.242611125f, 0.693260968f, 0.999928057f};
constexpr float kRoundingOrigin = 12582912;  // 1.5 * 2^23: what is added to it is rounded to an integer
constexpr float kLn2 = 0.693147181f;

// (tanh(x) / x - 1) / x^2 for |x| < kTanhNear as a polynomial of x^2 through Chebyshev's points, largest
// power first; the relative error of tanh is below 8e-8.
constexpr float kTanhTerms[5] = {-0.00609671418f, 0.0209971797f, -0.0538509078f, 0.133327693f, -0.333333284f};
constexpr float kTanhNear = 0.625f;
// The same with fewer terms, of the least relative error, 6.2e-7: for scores whose weights are rounded to bf16.
constexpr float kBriefTanhTerms[3] = {-0.0447894596f, 0.132067154f, -0.333282653f};
constexpr float kBriefTanhNear = 0.5f;

// GELU in its tanh form: x * sigmoid(kGeluTwice * (x + kGeluCube * x^3)), since 1 + tanh(z) = 2 sigmoid(2 z).
constexpr float kGeluTwice = 1.59576912f, kGeluCube = 0.044715f;

// Of the leaky ReLU, below zero.
constexpr float kLeakySlope = 0.01f;

// GELU with the error function.
constexpr float kRootHalf = 0.707106781f, kErfSlope = 0.3275911f;
constexpr float kErfTerms[5] = {1.061405429f, -1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f};

}  // namespace ropeway::kernels

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_LANES_H_
