// Elementary functions that give the same bytes on every processor.
//
// Those of the C library may differ between processors, which choose among its variants. These use only
// operations that IEEE 754 rounds exactly (+, -, *, /, fma, rounding to integers), in a fixed order; float64
// throughout, with the parts of a result that would be lost carried along in a second number.
//
// Pure; thread-safe.
#ifndef ROPEWAY_ENGINE_POSITION_PORTABLE_MATH_H_
#define ROPEWAY_ENGINE_POSITION_PORTABLE_MATH_H_

namespace ropeway {

struct SineCosine {
  double sine = 0, cosine = 1;
};

// Of an angle in radians; error below 1e-15 for angles up to 1e8. From 2^52 on, where neighbouring numbers
// lie a radian apart or more, angles have no meaning and count as 0.
SineCosine SineCosineOf(double angle);

// ln(x), within 0.53 units in the last place: all but two in a hundred are rounded as if computed exactly.
// REQUIRES: x > 0 and finite
double Logarithm(double x);

// e^x, within 0.65 units in the last place; 0 far below, infinity far above.
double Exponential(double x);

// x^y, within 0.65 units in the last place; exact powers of two are exact. 0^0 is 1. REQUIRES: x >= 0 and
// finite; y finite, >= 0 where x is 0
double Power(double x, double y);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_POSITION_PORTABLE_MATH_H_
