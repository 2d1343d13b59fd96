// Which position scheme a layer has: plain data, one struct per scheme.
//
// A scheme is of one of three kinds, and none needs an L x L matrix:
//   added to the input     sinusoidal, learned: once, before the first layer, whichever layers name them
//   rotation of q and k    rope, rpe3d
//   modifier of scores     shaw, t5, transformer_xl, alibi, kerple, fire, sandwich; dape mixes heads
// Tensors (tables, multilayer perceptrons, scalars per head) are no part of a spec: they are weights. `i` is
// the position of a query, `j` that of a key, both absolute and counted from 0 in each sequence, D = i - j.
//
// Attention does, in this order: qk-norm; rotation; query scale; q . k (+ Shaw, Transformer-XL); scale;
// soft-cap; bias or DAPE; mask; softmax with sink; values (+ Shaw).
//
// The mathematics of each scheme is in the header named beside it, with formula and source.
#ifndef ROPEWAY_ENGINE_POSITION_POSITION_SPEC_H_
#define ROPEWAY_ENGINE_POSITION_POSITION_SPEC_H_

#include <cstdint>
#include <variant>

#include "engine/position/rope.h"

namespace ropeway {

// Nothing is added; order comes from the causal mask alone (arXiv:2305.19466). Also what layers of models
// with input-added schemes do in attention.
struct NopeSpec {
  bool operator==(const NopeSpec&) const = default;
};

// sinusoidal.h
enum class SinusoidalLayout {
  kInterleaved,    // sin, cos, sin, cos, ...           w_k = base^(-2 k / D)
  kConcat,         // all sines, then all cosines       w_k = base^(-2 k / D)
  kTensor2Tensor,  // all sines, then all cosines       w_k = base^(-k / (D / 2 - 1))
};
struct SinusoidalSpec {
  SinusoidalLayout layout = SinusoidalLayout::kInterleaved;
  double base = 10000;
  int32_t offset = 0;  // added to positions

  bool operator==(const SinusoidalSpec&) const = default;
};

// x += table[position + offset]. GPT-2: offset 0; OPT: offset 2. There is nothing beyond the last row: no
// request may reach it. Weights: table [rows, D].
struct LearnedSpec {
  int32_t rows = 0;  // >= longest sequence + offset
  int32_t offset = 0;

  bool operator==(const LearnedSpec&) const = default;
};

// relative.h
struct ShawSpec {
  int32_t clip = 0;       // K >= 1
  bool value = false;     // the value side too
  bool per_head = false;  // a table for each query head

  bool operator==(const ShawSpec&) const = default;
};

// distance_bias.h
struct T5Spec {
  int32_t num_buckets = 32;    // even
  int32_t max_distance = 128;  // > num_buckets / 2
  bool shared = true;          // one table for all layers

  bool operator==(const T5Spec&) const = default;
};

// relative.h
struct TransformerXlSpec {
  bool shared_uv = false;  // u and v belong to the model, not to each layer

  bool operator==(const TransformerXlSpec&) const = default;
};

// rpe3d.h
enum class Rpe3dForm {
  kDefinition1,  // a rotation of whole heads
  kChunked,      // the authors' code: keys turned within chunks, three rotations of each query
};
struct Rpe3dSpec {
  Rpe3dForm form = Rpe3dForm::kDefinition1;
  int32_t chunk_size = 0;    // >= 1
  int32_t local_window = 0;  // kChunked: 1 .. chunk_size - 1
  double base = 10000;
  double phi_base = 10000;
  double pi_factor = 1;  // kDefinition1: divides positions within a chunk

  bool operator==(const Rpe3dSpec&) const = default;
};

// distance_bias.h
struct AlibiSpec {
  double max_bias = 8;
  bool scaled = false;  // the bias is multiplied by the attention scale (Falcon-RW)

  bool operator==(const AlibiSpec&) const = default;
};

// distance_bias.h
enum class KerpleVariant { kLog, kPower };
struct KerpleSpec {
  KerpleVariant variant = KerpleVariant::kLog;

  bool operator==(const KerpleSpec&) const = default;
};

// fire.h
enum class FireActivation {
  kRelu,
  kLeakyRelu,  // slope 0.01 below zero
};
struct FireSpec {
  int32_t width = 32;  // hidden units of the multilayer perceptron
  double init_length = 512;
  FireActivation activation = FireActivation::kRelu;
  bool shared = false;  // one for all layers

  bool operator==(const FireSpec&) const = default;
};

// distance_bias.h
struct SandwichSpec {
  int32_t dim = 128;  // even

  bool operator==(const SandwichSpec&) const = default;
};

// dape.h
using DapeBase = std::variant<NopeSpec, RopeSpec, AlibiSpec, KerpleSpec, FireSpec>;
struct DapeSpec {
  DapeBase base;
  int32_t width = 32;  // hidden units of the multilayer perceptron

  bool operator==(const DapeSpec&) const = default;
};

using PositionScheme =
    std::variant<NopeSpec, SinusoidalSpec, LearnedSpec, ShawSpec, T5Spec, TransformerXlSpec, RopeSpec,
                 Rpe3dSpec, AlibiSpec, KerpleSpec, FireSpec, SandwichSpec, DapeSpec>;

// A layer's scheme and what it sees: key j iff j <= i, and i - j < window, and i / chunk == j / chunk.
struct PositionSpec {
  PositionScheme scheme;
  int32_t window = 0;  // positions seen, the query's own included; 0: all
  int32_t chunk = 0;   // positions of one chunk; 0: no chunks. Not both.

  bool operator==(const PositionSpec&) const = default;
};

// query_scale.h: a factor of queries that depends on their position, after the rotation.
struct TemperatureScale {
  double floor_scale = 8192;
  double attention_scale = 0.1;
  int32_t first = 1;  // what the first position counts as

  bool operator==(const TemperatureScale&) const = default;
};
struct LognScale {
  int32_t train_length = 0;  // >= 2

  bool operator==(const LognScale&) const = default;
};
using QueryScale = std::variant<std::monostate, TemperatureScale, LognScale>;

// As config.json of the ropeway architecture calls it.
const char* PositionSchemeName(const PositionScheme& scheme);

// A scheme as one of the types that DAPE may have as its base, whether it stands alone or there; null where
// it is another.
template <typename Spec>
const Spec* SchemeOrBase(const PositionScheme& scheme) {
  if (const auto* dape = std::get_if<DapeSpec>(&scheme)) return std::get_if<Spec>(&dape->base);
  return std::get_if<Spec>(&scheme);
}

// The rotary embedding of a scheme, DAPE's base included; null where there is none.
const RopeSpec* RopeOf(const PositionScheme& scheme);

// Whether whole queries and keys are turned before the scores, so that a norm may follow.
bool IsRotary(const PositionScheme& scheme);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_POSITION_POSITION_SPEC_H_
