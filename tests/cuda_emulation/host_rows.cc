#include <algorithm>
#include <cmath>
#include <vector>

#include "tests/cuda_emulation/host_elements.h"
#include "tests/cuda_emulation/host_ops.h"

namespace ropeway::cuda::emulation {
namespace {

float InverseRms(const float* x, int64_t n, float epsilon) {
  return 1 / std::sqrt(Dot(x, x, n) / static_cast<float>(n) + epsilon);
}

}  // namespace

void NormInPlace(NormKind kind, float epsilon, const float* weight, const float* bias,
                 std::vector<float>& x) {
  const auto n = static_cast<float>(x.size());
  if (kind == NormKind::kNone) return;
  if (kind == NormKind::kLayer) {
    float mean = 0;
    for (const float value : x) mean += value / n;
    for (float& value : x) value -= mean;
  }
  const float inverse = InverseRms(x.data(), x.size(), epsilon);
  for (size_t c = 0; c < x.size(); ++c) x[c] = x[c] * inverse * weight[c] + (bias == nullptr ? 0 : bias[c]);
}

void NormOnHost(const NormArgs& args) {
  std::vector<float> row(args.columns);
  for (int r = 0; r < args.num_rows; ++r) {
    float* residual = args.residual + int64_t{args.columns} * (args.rows == nullptr ? r : args.rows[r]);
    if (args.branch != nullptr) {
      for (int c = 0; c < args.columns; ++c) {
        row[c] = LoadElement(args.element, args.branch, int64_t{r} * args.columns + c);
        if (args.branch_bias != nullptr) row[c] += args.branch_bias[c];
      }
      NormInPlace(args.post_kind, args.epsilon, args.post_weight, args.post_bias, row);
      for (int c = 0; c < args.columns; ++c) residual[c] += args.branch_scale * row[c];
    }
    if (args.out == nullptr) continue;
    row.assign(residual, residual + args.columns);
    NormInPlace(args.kind, args.epsilon, args.weight, args.bias, row);
    for (int c = 0; c < args.columns; ++c)
      StoreElement(args.element, args.out, int64_t{r} * args.columns + c, row[c]);
  }
}

void NormColumnsOnHost(const NormColumnsArgs& args) {
  std::vector<float> row(args.columns);
  for (int64_t t = 0; t < args.num_tokens; ++t) {
    for (int c = 0; c < args.columns; ++c)
      row[c] = LoadElement(args.element, args.x, t * args.x_stride + c) +
               (args.bias == nullptr ? 0 : args.bias[c]);
    NormInPlace(NormKind::kRms, args.epsilon, args.weight, nullptr, row);
    for (int c = 0; c < args.columns; ++c) StoreElement(args.element, args.out, t * args.columns + c, row[c]);
  }
}

namespace {

float Activate(Activation activation, const ActivationNumbers& numbers, float x) {
  switch (activation) {
    case Activation::kSilu:
      return x / (1 + std::exp(-x));
    case Activation::kGeluTanh:
      return 0.5f * x * (1 + std::tanh(0.7978845608f * (x + 0.044715f * x * x * x)));
    case Activation::kGeluErf:
      return 0.5f * x * (1 + std::erf(x * 0.70710678f));
    case Activation::kRelu:
      return x < 0 ? 0 : x;
    case Activation::kRelu2:
      return x < 0 ? 0 : x * x;
    case Activation::kXielu:
      return numbers.l * x +
             (x > 0 ? numbers.p * x * x : numbers.n * (std::expm1(std::min(x, numbers.m)) - x));
    case Activation::kClampedSwiglu:
      break;  // takes both halves
  }
  return 0;
}

float Gated(const GateArgs& args, float gate, float up) {
  if (args.activation != Activation::kClampedSwiglu)
    return Activate(args.activation, args.numbers, gate) * up;
  const float g = std::min(gate, args.numbers.c), u = std::clamp(up, -args.numbers.c, args.numbers.c);
  return g / (1 + std::exp(-args.numbers.s * g)) * (u + 1);
}

}  // namespace

void GateOnHost(const GateArgs& args) {
  const int64_t f = args.columns;
  for (int64_t t = 0; t < args.num_tokens; ++t) {
    const float* bias = args.experts == nullptr ? args.bias : args.expert_biases[args.experts[t]];
    for (int64_t c = 0; c < f; ++c) {
      const auto input = [&](int64_t column) {
        const float x = LoadElement(args.element, args.gate_up, t * (args.gated ? 2 : 1) * f + column);
        return bias == nullptr ? x : x + bias[column];
      };
      StoreElement(args.element, args.out, t * f + c,
                   args.gated ? Gated(args, input(c), input(f + c))
                              : Activate(args.activation, args.numbers, input(c)));
    }
  }
}

void CopyBytesOnHost(const CopyBytesArgs& args) { std::copy_n(args.from, args.bytes, args.to); }

void TakeTokensOnHost(const TakeTokensArgs& args) {
  for (int t = 0; t < args.num_tokens; ++t) {
    int32_t& id = args.token_ids[t];
    if (id >= 0) continue;
    id = args.sampled[TokenOfResult(id)];
    if (id < 0 || id >= args.vocab_size) id = 0;
  }
}

void FinishLogitsOnHost(const FinishLogitsArgs& args) {
  for (int row = 0; row < args.num_rows; ++row)
    for (int i = 0; i < args.vocab_size; ++i) {
      float& x = args.logits[row * args.stride + i];
      if (args.bias != nullptr) x += args.bias[i];
      if (args.softcap > 0) x = args.softcap * std::tanh(x / args.softcap);
    }
}

}  // namespace ropeway::cuda::emulation
