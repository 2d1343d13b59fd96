// The operations of a decoder on a CPU, as one table of functions per instruction set.
//
// A kernel is a pure function over pointers and counts: no allocation, no logging, no Status, no model types,
// no globals. Whoever calls checks shapes once; kernels trust them. Work is split among threads by the
// caller, through ranges.
//
// The numerical contract (docs/architecture.md section 6): every output row is computed in an order of
// operations that depends on that row alone: not on other rows of the call, not on the ranges into which the
// work was split. The tables "avx2" and "avx512" give the same bytes as each other; "ref" is plain float32,
// the specification, and rounds no activations.
#ifndef ROPEWAY_ENGINE_KERNELS_OPS_H_
#define ROPEWAY_ENGINE_KERNELS_OPS_H_

#include <cstdint>

#include "engine/kernels/args.h"
#include "engine/kernels/packed_matrix.h"
#include "engine/tensor/formulas.h"

namespace ropeway::kernels {

// What happens to a product before it is written.
enum class Epilogue {
  kStore,     // y = Wx
  kAdd,       // y += Wx
  kActivate,  // y = activation(Wx)
  kGate,      // W is interleaved gate and up: y = activation(gate) * up, M / 2 outputs; formulas.h says where
              // up is changed too
};

// y[token, rows of the panels] for tokens [0, num_tokens) and panels [panels.first, panels.last) of `matrix`.
struct MatMulArgs {
  const PackedMatrix* matrix;
  const uint8_t* activations;  // what `prepare` wrote for the matrix's activation kind
  int64_t num_tokens;
  float* y;          // [num_tokens, y_stride]
  int64_t y_stride;  // in floats, >= outputs
  Epilogue epilogue = Epilogue::kStore;
  Activation activation = Activation::kSilu;
  ActivationNumbers numbers = {};  // of the activation
  const float* bias = nullptr;  // [M], added first (for gates: gate's M / 2 values, then up's); may be null
  Range panels;
  const uint8_t* next = nullptr;  // memory that this thread reads next, worth fetching early; may be null
  int64_t next_bytes = 0;
  const uint8_t* later = nullptr;  // and after that
  int64_t later_bytes = 0;
};

// Tokens are brought into the form that matrices multiply in groups of so many.
inline constexpr int kPrepareTokens = 8;

constexpr int64_t NumPrepareGroups(int64_t num_tokens) {
  return (num_tokens + kPrepareTokens - 1) / kPrepareTokens;
}

// Brings activations into the form that matrices multiply. Groups are independent of each other.
struct PrepareArgs {
  ActivationKind kind;
  const float* x;  // [tokens of the groups, x_stride]
  int64_t x_stride;
  int64_t num_tokens;  // of all groups
  int64_t columns;
  uint8_t* out;  // of all groups: activation_bytes(kind, num_tokens, columns), 64-byte aligned
  Range groups;  // of [0, NumPrepareGroups(num_tokens))
};

enum class KvType : uint8_t { kF32, kBF16 };

KvLayout MakeKvLayout(KvType type, int num_kv_heads, int head_dim, int value_dim);

// Quads that `num_pages` pages take.
constexpr int64_t NumQuads(int64_t num_pages) { return (num_pages + kQuadPages - 1) / kQuadPages; }

// Page `from` of a layer, whose quads follow each other from `cache` on, to page `to`, whichever table stored it.
void CopyPage(const KvLayout& kv, uint8_t* cache, int64_t from, int64_t to);

struct KernelTable {
  const char* name;       // "ref", "avx2", "avx512"
  const char* extension;  // "vnni", "bf16", "amx": what it uses besides; or ""

  // Repacks matrices of one type into one; its bytes do not depend on who packs which piece. Allocates: for load
  // time only.
  PackedMatrix (*pack)(const PackRequest& request);

  int64_t (*activation_bytes)(ActivationKind kind, int64_t num_tokens, int64_t columns);
  void (*prepare)(const PrepareArgs& args);
  void (*matmul)(const MatMulArgs& args);

  // out = x / sqrt(mean(x^2) + epsilon) * weight, over the n columns of one row; out may be x.
  void (*rms_norm)(const float* x, const float* weight, int64_t n, float epsilon, float* out);
  // out = (x - mean(x)) / sqrt(variance(x) + epsilon) * weight + bias; the bias may be null, out may be x.
  void (*layer_norm)(const float* x, const float* weight, const float* bias, int64_t n, float epsilon,
                     float* out);
  void (*rotate)(const RotateArgs& args);
  void (*store_kv)(const StoreKvArgs& args);
  // For any number of tokens of H query heads and any modifier whose mixer is at most so wide.
  int64_t (*attention_scratch_bytes)(const KvLayout& kv, int num_heads, int mixer_width);
  void (*attention)(const AttentionArgs& args);
  // `out` from the spans of all positions that queries see, with the bytes that `attention` gives without spans.
  // Null where attention does not compute spans.
  void (*merge_spans)(const AttentionArgs& args);

  // Over n floats.
  void (*add)(const float* x, float scale, int64_t n, float* y);  // y += scale * x
  void (*softcap)(float cap, int64_t n, float* y);                // y = cap * tanh(y / cap)
};

const KernelTable& RefKernels();

// Instructions that make it faster and leave all bytes as they are: AVX-VNNI with avx2, AVX512_BF16 or AMX
// with avx512.
enum class Extensions { kUsed, kUnused };

// Null where this processor lacks the instructions. Extensions are used where it has them.
const KernelTable* Avx2Kernels(Extensions extensions = Extensions::kUsed);
const KernelTable* Avx512Kernels(Extensions extensions = Extensions::kUsed);

// The table called `name`, where "auto" is the fastest that this processor runs; null when unknown or unable
// to run.
const KernelTable* SelectKernels(const char* name);

}  // namespace ropeway::kernels

#endif  // ROPEWAY_ENGINE_KERNELS_OPS_H_
