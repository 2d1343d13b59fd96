// Elementary functions and reductions over Lanes, included once per translation unit after lanes_*.h. Every
// reduction runs over sixteen virtual lanes and ends in one fixed tree, so that all instruction sets give the
// same bytes.
#ifndef ROPEWAY_ENGINE_KERNELS_CPU_MATH_INL_H_
#define ROPEWAY_ENGINE_KERNELS_CPU_MATH_INL_H_

// Lanes i and i + 8 first, then 4, 2 and 1 apart.
inline float SumOfLanes(Lanes a) {
  alignas(64) float x[16];
  Store(x, a);
  for (int apart = 8; apart > 0; apart /= 2)
    for (int i = 0; i < apart; ++i) x[i] = x[i] + x[i + apart];
  return x[0];
}

inline float MaxOfLanes(Lanes a) {
  alignas(64) float x[16];
  Store(x, a);
  float largest = x[0];
  for (int i = 1; i < 16; ++i) largest = largest < x[i] ? x[i] : largest;
  return largest;
}

// e^x, for x clamped to [kExpMin, kExpMax].
inline Lanes Exp(Lanes x) {
  x = Max(Min(x, Splat(kExpMax)), Splat(kExpMin));
  const Lanes n = RoundToInt(Mul(x, Splat(kLog2E)));
  const Lanes r = NegFma(n, Splat(kLn2Low), NegFma(n, Splat(kLn2High), x));
  Lanes p = Splat(kExpTerms[0]);
  for (int i = 1; i < 7; ++i) p = Fma(p, r, Splat(kExpTerms[i]));
  return ScaleByPower(p, n);
}

// x / (1 + e^-x) with the sigmoid's argument apart: x * sigmoid(z).
inline Lanes TimesSigmoid(Lanes x, Lanes z) { return Div(x, Add(Splat(1), Exp(Sub(Zero(), z)))); }

inline Lanes Silu(Lanes x) { return TimesSigmoid(x, x); }

inline Lanes GeluTanh(Lanes x) {
  const Lanes inner = Fma(Mul(Mul(x, x), x), Splat(kGeluCube), x);
  return TimesSigmoid(x, Mul(inner, Splat(kGeluTwice)));
}

// tanh(x) = 2 sigmoid(2 x) - 1.
inline Lanes Tanh(Lanes x) {
  const Lanes sigmoid = Div(Splat(1), Add(Splat(1), Exp(Mul(x, Splat(-2)))));
  return Fma(sigmoid, Splat(2), Splat(-1));
}

inline Lanes Softcap(Lanes x, float cap) { return Mul(Tanh(Div(x, Splat(cap))), Splat(cap)); }

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_MATH_INL_H_
