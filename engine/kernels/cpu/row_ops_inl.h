// Operations on rows of floats, included once per instruction set after math_inl.h.
#ifndef ROPEWAY_ENGINE_KERNELS_CPU_ROW_OPS_INL_H_
#define ROPEWAY_ENGINE_KERNELS_CPU_ROW_OPS_INL_H_

// Calls body(column, lanes) for n columns in steps of 16; the last step may have fewer.
template <typename Body>
inline void ForColumns(int64_t n, Body body) {
  int64_t column = 0;
  for (; column + 16 <= n; column += 16) body(column, int64_t{16});
  if (column < n) body(column, n - column);
}

inline Lanes LoadSome(const float* p, int64_t lanes) { return lanes == 16 ? Load(p) : LoadFirst(p, lanes); }
inline void StoreSome(float* p, int64_t lanes, Lanes a) {
  if (lanes == 16)
    Store(p, a);
  else
    StoreFirst(p, lanes, a);
}

void RmsNorm(const float* x, const float* weight, int64_t n, float epsilon, float* out) {
  Lanes sum = Zero();
  ForColumns(n, [&](int64_t column, int64_t lanes) {
    const Lanes a = LoadSome(x + column, lanes);
    sum = Fma(a, a, sum);
  });
  const float mean = SumOfLanes(sum) / static_cast<float>(n);
  const Lanes factor = Splat(1.f / __builtin_sqrtf(mean + epsilon));
  ForColumns(n, [&](int64_t column, int64_t lanes) {
    const Lanes a = Mul(LoadSome(x + column, lanes), factor);
    StoreSome(out + column, lanes, Mul(a, LoadSome(weight + column, lanes)));
  });
}

// Two passes, the second over differences from the mean: nothing cancels.
void LayerNorm(const float* x, const float* weight, const float* bias, int64_t n, float epsilon, float* out) {
  Lanes sum = Zero(), squares = Zero();
  ForColumns(n, [&](int64_t column, int64_t lanes) { sum = Add(sum, LoadSome(x + column, lanes)); });
  const Lanes mean = Splat(SumOfLanes(sum) / static_cast<float>(n));
  ForColumns(n, [&](int64_t column, int64_t lanes) {
    const Lanes a = Sub(LoadSome(x + column, lanes), mean);
    const Lanes b = Within(0, static_cast<int>(lanes), a, Zero());
    squares = Fma(b, b, squares);
  });
  const Lanes factor = Splat(1.f / __builtin_sqrtf(SumOfLanes(squares) / static_cast<float>(n) + epsilon));
  ForColumns(n, [&](int64_t column, int64_t lanes) {
    const Lanes a =
        Mul(Mul(Sub(LoadSome(x + column, lanes), mean), factor), LoadSome(weight + column, lanes));
    StoreSome(out + column, lanes, bias == nullptr ? a : Add(a, LoadSome(bias + column, lanes)));
  });
}

void RotateHalves(float* head, const float* cosines, const float* sines, int half) {
  ForColumns(half, [&](int64_t i, int64_t lanes) {
    const Lanes a = LoadSome(head + i, lanes), b = LoadSome(head + half + i, lanes);
    const Lanes c = LoadSome(cosines + i, lanes), s = LoadSome(sines + i, lanes);
    StoreSome(head + i, lanes, NegFma(b, s, Mul(a, c)));
    StoreSome(head + half + i, lanes, Fma(a, s, Mul(b, c)));
  });
}

// The operations of RotateHalves, pair by pair.
void RotatePairs(float* head, const float* cosines, const float* sines, int half) {
  for (int i = 0; i < half; ++i) {
    const float a = head[2 * i], b = head[2 * i + 1];
    head[2 * i] = __builtin_fmaf(-b, sines[i], a * cosines[i]);
    head[2 * i + 1] = __builtin_fmaf(a, sines[i], b * cosines[i]);
  }
}

void Rotate(const RotateArgs& args) {
  for (int head = 0; head < args.num_heads; ++head) {
    float* x = args.heads + head * args.head_stride;
    if (args.interleaved)
      RotatePairs(x, args.cosines, args.sines, args.rotary_dim / 2);
    else
      RotateHalves(x, args.cosines, args.sines, args.rotary_dim / 2);
  }
}

void AddRow(const float* x, float scale, int64_t n, float* y) {
  ForColumns(n, [&](int64_t i, int64_t lanes) {
    StoreSome(y + i, lanes, Fma(LoadSome(x + i, lanes), Splat(scale), LoadSome(y + i, lanes)));
  });
}

void SoftcapRow(float cap, int64_t n, float* y) {
  const float inverse = 1 / cap;
  ForColumns(n, [&](int64_t i, int64_t lanes) {
    StoreSome(y + i, lanes, Softcap(LoadSome(y + i, lanes), cap, inverse));
  });
}

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_ROW_OPS_INL_H_
