// The specification: every operation in plain float32, for reading and for checking the fast sets against.
// Nothing is rounded to fewer bits but what the KV cache stores as bf16. Rows are independent of each other
// here too.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "engine/kernels/ops.h"
#include "engine/kernels/ref/attend_token.h"
#include "engine/tensor/dequantize.h"
#include "engine/tensor/half.h"

namespace ropeway::kernels {
namespace {

// Rows as they lie in the file, in the order of panels.
PackedMatrix Pack(const PackRequest& request) {
  const TensorView& first = request.parts[0];
  PackedMatrix matrix{.type = first.type, .interleaved = request.interleave, .columns = first.columns()};
  for (const TensorView& part : request.parts) matrix.rows += part.rows();
  const int64_t row_bytes = RowBytes(matrix.type, matrix.columns);
  matrix.num_panels = (matrix.rows + kPanelRows - 1) / kPanelRows;
  matrix.panel_bytes = kPanelRows * row_bytes;
  matrix.data = AlignedBuffer(matrix.num_panels * matrix.panel_bytes);
  uint8_t* out = matrix.data.data();
  if (request.interleave) {
    for (int64_t i = 0; i < first.rows(); ++i)
      for (const TensorView& part : request.parts) {
        std::memcpy(out, part.data + i * row_bytes, row_bytes);
        out += row_bytes;
      }
    return matrix;
  }
  for (const TensorView& part : request.parts) {
    std::memcpy(out, part.data, part.bytes());
    out += part.bytes();
  }
  return matrix;
}

int64_t ActivationBytes(ActivationKind, int64_t num_tokens, int64_t columns) {
  return num_tokens * columns * static_cast<int64_t>(sizeof(float));
}

void Prepare(const PrepareArgs& args) {
  const int64_t first = args.groups.first * kPrepareTokens,
                last = std::min(args.groups.last * kPrepareTokens, args.num_tokens);
  for (int64_t t = first; t < last; ++t)
    std::copy_n(args.x + (t - first) * args.x_stride, args.columns,
                reinterpret_cast<float*>(args.out) + t * args.columns);
}

// Sixteen partial sums, added in a fixed tree, so that compilers may use vectors of any width for the same
// bytes.
float Dot(const float* x, const float* y, int64_t n) {
  float sums[16] = {};
  int64_t i = 0;
  for (; i + 16 <= n; i += 16)
    for (int lane = 0; lane < 16; ++lane) sums[lane] += x[i + lane] * y[i + lane];
  for (int lane = 0; i < n; ++i, ++lane) sums[lane] += x[i] * y[i];
  for (int apart = 8; apart > 0; apart /= 2)
    for (int lane = 0; lane < apart; ++lane) sums[lane] += sums[lane + apart];
  return sums[0];
}

float Silu(float x) { return x / (1 + std::exp(-x)); }

float GeluErf(float x) { return 0.5f * x * (1 + std::erf(0.707106781f * x)); }

float GeluTanh(float x) { return 0.5f * x * (1 + std::tanh(0.797884561f * (x + 0.044715f * x * x * x))); }

// NaN stays NaN.
float Relu(float x) { return x < 0 ? 0 : x; }

float Xielu(const ActivationNumbers& f, float x) {
  if (x > 0) return f.p * x * x + f.l * x;
  const float bounded = x < f.m ? x : std::isnan(x) ? x : f.m;
  return (std::expm1(bounded) - x) * f.n + f.l * x;
}

// NaN stays NaN.
float ClampedSilu(const ActivationNumbers& f, float x) {
  const float g = x > f.c ? f.c : x;
  return g / (1 + std::exp(-g * f.s));
}

float Activate(Activation activation, const ActivationNumbers& numbers, float x) {
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
      return Relu(x) * Relu(x);
    case Activation::kXielu:
      return Xielu(numbers, x);
    case Activation::kClampedSwiglu:
      return ClampedSilu(numbers, x);
  }
  return x;
}

float Gated(const MatMulArgs& args, float gate, float up) {
  if (args.activation == Activation::kClampedSwiglu)
    up = (up > args.numbers.c ? args.numbers.c : up < -args.numbers.c ? -args.numbers.c : up) + 1;
  return Activate(args.activation, args.numbers, gate) * up;
}

// Rows of gate and up alternate; each pair gives one output.
void MatMulGate(const MatMulArgs& args) {
  const PackedMatrix& matrix = *args.matrix;
  const int64_t columns = matrix.columns, row_bytes = RowBytes(matrix.type, columns), half = matrix.rows / 2;
  const float* x = reinterpret_cast<const float*>(args.activations);
  std::vector<float> gate(columns), up(columns);
  const int64_t last = std::min(half, args.panels.last * kPanelRows / 2);
  for (int64_t i = args.panels.first * kPanelRows / 2; i < last; ++i) {
    DequantizeRow(matrix.type, matrix.data.data() + 2 * i * row_bytes, columns, gate.data());
    DequantizeRow(matrix.type, matrix.data.data() + (2 * i + 1) * row_bytes, columns, up.data());
    for (int64_t t = 0; t < args.num_tokens; ++t) {
      float g = Dot(gate.data(), x + t * columns, columns), u = Dot(up.data(), x + t * columns, columns);
      if (args.bias != nullptr) g += args.bias[i], u += args.bias[half + i];
      args.y[t * args.y_stride + i] = Gated(args, g, u);
    }
  }
}

void MatMul(const MatMulArgs& args) {
  if (args.matrix->interleaved) return MatMulGate(args);
  const PackedMatrix& matrix = *args.matrix;
  const int64_t columns = matrix.columns, row_bytes = RowBytes(matrix.type, columns);
  const float* x = reinterpret_cast<const float*>(args.activations);
  std::vector<float> row(columns);
  const int64_t last = std::min(matrix.rows, args.panels.last * kPanelRows);
  for (int64_t i = args.panels.first * kPanelRows; i < last; ++i) {
    DequantizeRow(matrix.type, matrix.data.data() + i * row_bytes, columns, row.data());
    for (int64_t t = 0; t < args.num_tokens; ++t) {
      float value = Dot(row.data(), x + t * columns, columns);
      if (args.bias != nullptr) value += args.bias[i];
      float& y = args.y[t * args.y_stride + i];
      if (args.epilogue == Epilogue::kAdd) value += y;
      if (args.epilogue == Epilogue::kActivate) value = Activate(args.activation, args.numbers, value);
      y = value;
    }
  }
}

void RmsNorm(const float* x, const float* weight, int64_t n, float epsilon, float* out) {
  const float factor = 1 / std::sqrt(Dot(x, x, n) / static_cast<float>(n) + epsilon);
  for (int64_t i = 0; i < n; ++i) out[i] = x[i] * factor * weight[i];
}

void LayerNorm(const float* x, const float* weight, const float* bias, int64_t n, float epsilon, float* out) {
  double sum = 0, squares = 0;
  for (int64_t i = 0; i < n; ++i) sum += x[i];
  const double mean = sum / static_cast<double>(n);
  for (int64_t i = 0; i < n; ++i) squares += (x[i] - mean) * (x[i] - mean);
  const double factor = 1 / std::sqrt(squares / static_cast<double>(n) + epsilon);
  for (int64_t i = 0; i < n; ++i)
    out[i] = static_cast<float>((x[i] - mean) * factor) * weight[i] + (bias == nullptr ? 0 : bias[i]);
}

void Rotate(const RotateArgs& args) {
  const int half = args.rotary_dim / 2, apart = args.interleaved ? 1 : half, step = args.interleaved ? 2 : 1;
  for (int head = 0; head < args.num_heads; ++head) {
    float* x = args.heads + head * args.head_stride;
    for (int i = 0; i < half; ++i) {
      float &a = x[i * step], &b = x[i * step + apart];
      const float c = args.cosines[i], s = args.sines[i], rotated = a * c - b * s;
      b = a * s + b * c;
      a = rotated;
    }
  }
}

#include "engine/kernels/kv_layout_inl.h"

// One element of a quad.
float LoadElement(const KvLayout& kv, const uint8_t* quad, int64_t index) {
  if (kv.bf16) return BFloat16ToFloat(reinterpret_cast<const uint16_t*>(quad)[index]);
  return reinterpret_cast<const float*>(quad)[index];
}

void StoreElement(const KvLayout& kv, uint8_t* quad, int64_t index, float value) {
  if (kv.bf16)
    reinterpret_cast<uint16_t*>(quad)[index] = FloatToBFloat16(value);
  else
    reinterpret_cast<float*>(quad)[index] = value;
}

// Where column d of the key, or the value, in a slot of a page lies in the page's quad.
int64_t KeyElement(const KvLayout& kv, int64_t head, int32_t page, int slot, int64_t d) {
  return kv.bf16 ? KeyLine(kv, head, page, d / 2) + slot * 2 + d % 2 : KeyLine(kv, head, page, d) + slot;
}
int64_t ValueElement(const KvLayout& kv, int64_t head, int32_t page, int slot, int64_t d) {
  return ValueBlock(kv, head, page, d) + slot * kv.value_columns + d % kv.value_columns;
}

void StoreKv(const StoreKvArgs& args) {
  const KvLayout& kv = args.kv;
  uint8_t* quad = args.cache + args.page / kQuadPages * args.quad_stride;
  for (int head = 0; head < kv.num_kv_heads; ++head) {
    for (int d = 0; d < kv.padded_head_dim; ++d)
      StoreElement(kv, quad, KeyElement(kv, head, args.page, args.slot, d),
                   d < kv.head_dim ? args.keys[head * kv.head_dim + d] : 0);
    for (int d = 0; d < kv.value_dim; ++d)
      StoreElement(kv, quad, ValueElement(kv, head, args.page, args.slot, d),
                   args.values[head * kv.value_dim + d]);
  }
}

// With a mixer all heads, else those of some KV heads.
void Attention(const AttentionArgs& args) {
  const KvLayout& kv = args.kv;
  const bool all = args.modifier.mixer.width > 0;
  const auto load = [&](auto element, int kv_head, int32_t position, int count, float* out) {
    const int32_t page = args.page_table[position / kPageTokens];
    const uint8_t* quad = args.cache + page / kQuadPages * args.quad_stride;
    for (int d = 0; d < count; ++d)
      out[d] = LoadElement(kv, quad, element(kv, kv_head, page, position % kPageTokens, d));
  };
  const auto load_key = [&](int kv_head, int32_t position, float* key) {
    load(KeyElement, kv_head, position, kv.head_dim, key);
  };
  const auto load_value = [&](int kv_head, int32_t position, float* value) {
    load(ValueElement, kv_head, position, kv.value_dim, value);
  };
  for (int t = 0; t < args.num_tokens; ++t) {
    const auto row = [&](const float* queries) {
      return queries == nullptr ? nullptr : queries + t * args.query_stride;
    };
    AttendToken({.first_head = all ? 0 : args.kv_head * args.queries_per_token,
                 .num_heads = args.queries_per_token * (all ? kv.num_kv_heads : args.kv_heads),
                 .queries_per_kv_head = args.queries_per_token,
                 .head_dim = kv.head_dim,
                 .value_dim = kv.value_dim,
                 .position = args.first_position + t,
                 .scale = args.scale,
                 .modifier = args.modifier,
                 .queries = row(args.queries),
                 .previous_queries = row(args.previous_queries),
                 .older_queries = row(args.older_queries),
                 .load_key = load_key,
                 .load_value = load_value,
                 .out = args.out + t * args.out_stride});
  }
}

void Add(const float* x, float scale, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] += scale * x[i];
}

void Softcap(float cap, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = cap * std::tanh(y[i] / cap);
}

constexpr KernelTable kTable = {
    .name = "ref",
    .extension = "",
    .pack = &Pack,
    .activation_bytes = &ActivationBytes,
    .prepare = &Prepare,
    .matmul = &MatMul,
    .rms_norm = &RmsNorm,
    .layer_norm = &LayerNorm,
    .rotate = &Rotate,
    .store_kv = &StoreKv,
    .attention_scratch_bytes = [](const KvLayout&, int, int) { return int64_t{0}; },
    .attention = &Attention,
    .merge_spans = nullptr,
    .add = &Add,
    .softcap = &Softcap,
};

}  // namespace

const KernelTable& RefKernels() { return kTable; }

}  // namespace ropeway::kernels
