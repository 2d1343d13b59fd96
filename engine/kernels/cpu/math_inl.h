// Elementary functions and reductions over Lanes, included once per translation unit after lanes_*.h. Every
// reduction runs over sixteen virtual lanes and ends in one fixed tree, so that all instruction sets give the
// same bytes.
#ifndef ROPEWAY_ENGINE_KERNELS_CPU_MATH_INL_H_
#define ROPEWAY_ENGINE_KERNELS_CPU_MATH_INL_H_

// x = n ln 2 + r with integral n and |r| <= ln(2) / 2.
struct Reduced {
  Lanes n, r;
};
inline Reduced ReduceByLn2(Lanes x) {
  const Lanes n = RoundToInt(Mul(x, Splat(kLog2E)));
  return {n, NegFma(n, Splat(kLn2Low), NegFma(n, Splat(kLn2High), x))};
}

// (e^r - 1) / r for a reduced r.
inline Lanes ExpTail(Lanes r) {
  Lanes p = Splat(kExpTerms[0]);
  for (int i = 1; i < 6; ++i) p = Fma(p, r, Splat(kExpTerms[i]));
  return p;
}

// e^x, for x clamped to [kExpMin, kExpMax]; NaN stays NaN (Max and Min return their second argument then).
inline Lanes Exp(Lanes x) {
  const Reduced x2 = ReduceByLn2(Max(Splat(kExpMin), Min(Splat(kExpMax), x)));
  return ScaleByPower(Fma(ExpTail(x2.r), x2.r, Splat(1)), x2.n);
}

// e^x - 1 without cancellation, for x <= 0.
inline Lanes ExpMinusOne(Lanes x) {
  const Reduced z = ReduceByLn2(Max(Splat(kExpMin), x));
  const Lanes power = ScaleByPower(Splat(1), z.n);
  return Fma(Mul(ExpTail(z.r), z.r), power, Sub(power, Splat(1)));
}

// 2^x for x <= 0, rounded to bf16, no less than 2^-87, in stages that may stand apart: x is at least kExpMin, and `power`
// the result after the last of kPowerStages.
constexpr int kPowerStages = 7;
template <int kStage>
[[gnu::always_inline]] inline void PowerBf16Stage(Lanes& x, Lanes& rounded, Lanes& power) {
  if constexpr (kStage == 1) rounded = Add(x, Splat(kRoundingOrigin));
  if constexpr (kStage == 2) x = Sub(x, Sub(rounded, Splat(kRoundingOrigin)));
  if constexpr (kStage == 3) power = Fma(Splat(kPowerTerms[0]), x, Splat(kPowerTerms[1]));
  if constexpr (kStage == 4) power = Fma(power, x, Splat(kPowerTerms[2]));
  if constexpr (kStage == 5) power = Fma(power, x, Splat(kPowerTerms[3]));
  if constexpr (kStage == 6) power = ScaleByRounded(power, rounded);
  if constexpr (kStage == 7) power = RoundToBf16(power);
}

// The whole of it; NaN stays NaN.
inline Lanes PowerBf16(Lanes x) {
  Lanes rounded, power;
  x = Max(Splat(kExpMin), x);
  PowerBf16Stage<1>(x, rounded, power);
  PowerBf16Stage<2>(x, rounded, power);
  PowerBf16Stage<3>(x, rounded, power);
  PowerBf16Stage<4>(x, rounded, power);
  PowerBf16Stage<5>(x, rounded, power);
  PowerBf16Stage<6>(x, rounded, power);
  PowerBf16Stage<7>(x, rounded, power);
  return power;
}

// x / (1 + e^-x) with the sigmoid's argument apart: x * sigmoid(z).
inline Lanes TimesSigmoid(Lanes x, Lanes z) { return Div(x, Add(Splat(1), Exp(Sub(Zero(), z)))); }

inline Lanes Silu(Lanes x) { return TimesSigmoid(x, x); }

inline Lanes GeluTanh(Lanes x) {
  const Lanes inner = Fma(Mul(Mul(x, x), x), Splat(kGeluCube), x);
  return TimesSigmoid(x, Mul(inner, Splat(kGeluTwice)));
}

// x / 2 (1 + erf(z)) with z = x / sqrt(2): of the tail 1 - erf(|z|) = p(t) e^(-z^2), t = 1 / (1 + kErfSlope
// |z|), by Abramowitz and Stegun 7.1.26, within 1.5e-7.
inline Lanes GeluErf(Lanes x) {
  const Lanes z = Abs(Mul(x, Splat(kRootHalf)));
  const Lanes t = Div(Splat(1), Fma(z, Splat(kErfSlope), Splat(1)));
  Lanes p = Splat(kErfTerms[0]);
  for (int i = 1; i < 5; ++i) p = Fma(p, t, Splat(kErfTerms[i]));
  const Lanes tail = Mul(Mul(p, t), Exp(Sub(Zero(), Mul(z, z))));
  // 1 + erf(z) is 2 - tail on the right and tail on the left: 1 + (1 - tail) with the sign of x.
  const Lanes erf = CopySign(Sub(Splat(1), tail), x);
  return Mul(Mul(x, Splat(0.5f)), Add(Splat(1), erf));
}

// NaN stays NaN.
inline Lanes Relu(Lanes x) { return Max(Zero(), x); }

// NaN stays NaN.
inline Lanes Xielu(const ActivationNumbers& f, Lanes x) {
  const Lanes linear = Mul(x, Splat(f.l));
  const Lanes right = Fma(Mul(x, x), Splat(f.p), linear);
  const Lanes left = Fma(Sub(ExpMinusOne(Min(Splat(f.m), x)), x), Splat(f.n), linear);
  return IfLess(Zero(), x, right, left);
}

inline Lanes ClampedSilu(const ActivationNumbers& f, Lanes x) {
  const Lanes g = Min(Splat(f.c), x);
  return TimesSigmoid(g, Mul(g, Splat(f.s)));
}

inline Lanes Activate(Activation activation, const ActivationNumbers& numbers, Lanes x) {
  switch (activation) {
    case Activation::kSilu:
      return Silu(x);
    case Activation::kGeluErf:
      return GeluErf(x);
    case Activation::kGeluTanh:
      return GeluTanh(x);
    case Activation::kRelu:
      return Relu(x);
    case Activation::kRelu2:
      return Mul(Relu(x), Relu(x));
    case Activation::kXielu:
      return Xielu(numbers, x);
    case Activation::kClampedSwiglu:
      return ClampedSilu(numbers, x);
  }
  return x;
}

inline Lanes Gated(Activation activation, const ActivationNumbers& numbers, Lanes gate, Lanes up) {
  if (activation == Activation::kClampedSwiglu)
    up = Add(Max(Splat(-numbers.c), Min(Splat(numbers.c), up)), Splat(1));
  return Mul(Activate(activation, numbers, gate), up);
}

// tanh(x) away from zero: e / (e + 2) with e = e^(2 |x|) - 1, computed without cancellation; 1 from 10 on.
[[gnu::noinline]] Lanes FarTanh(Lanes x) {
  const Lanes magnitude = Abs(x);
  const Reduced z = ReduceByLn2(Min(Splat(20), Add(magnitude, magnitude)));
  const Lanes power = ScaleByPower(Splat(1), z.n);
  const Lanes e = Fma(Mul(ExpTail(z.r), z.r), power, Sub(power, Splat(1)));
  return CopySign(Div(e, Add(e, Splat(2))), x);
}

// tanh(x): by a polynomial where |x| < border. Which of the two a lane takes depends on that lane alone; the other
// one is left out where no lane takes it.
template <int kTerms>
inline Lanes TanhBy(const float (&terms)[kTerms], float border, Lanes x) {
  const Lanes square = Mul(x, x), end = Splat(border * border);
  Lanes p = Splat(terms[0]);
#pragma GCC unroll 4
  for (int i = 1; i < kTerms; ++i) p = Fma(p, square, Splat(terms[i]));
  const Lanes near = Fma(Mul(p, square), x, x);
  if (__builtin_expect(AllLess(square, end), 1)) return near;
  return IfLess(square, end, near, FarTanh(x));
}

inline Lanes Tanh(Lanes x) { return TanhBy(kTanhTerms, kTanhNear, x); }
inline Lanes BriefTanh(Lanes x) { return TanhBy(kBriefTanhTerms, kBriefTanhNear, x); }

// cap * tanh(x / cap). `inverse` is 1 / cap.
inline Lanes Softcap(Lanes x, float cap, float inverse) {
  return Mul(Tanh(Mul(x, Splat(inverse))), Splat(cap));
}

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_MATH_INL_H_
