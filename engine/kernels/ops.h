// The operations of a decoder on a CPU, as one table of functions per instruction set.
//
// A kernel is a pure function over pointers and counts: no allocation, no logging, no Status, no model types,
// no globals. Whoever calls checks shapes once; kernels trust them. Work is split among threads by the
// caller, through ranges.
//
// The numerical contract (ARCHITECTURE.md section 6): every output row is computed in an order of operations
// that depends on that row alone: not on other rows of the call, not on the ranges into which the work was
// split. The tables "avx2" and "avx512" give the same bytes as each other; "ref" is plain float32, the
// specification, and rounds no activations.
#ifndef ROPEWAY_ENGINE_KERNELS_OPS_H_
#define ROPEWAY_ENGINE_KERNELS_OPS_H_

#include <cstdint>

#include "engine/kernels/packed_matrix.h"

namespace ropeway::kernels {

// What happens to a product before it is written.
enum class Epilogue {
  kStore,     // y = Wx
  kAdd,       // y += Wx
  kSiluGate,  // W is interleaved gate and up: y = silu(gate) * up, M / 2 outputs
  kGeluGate,  // the same with GELU in its tanh form
};

// y[token, rows of the panels] for tokens [0, num_tokens) and panels [panels.first, panels.last) of `matrix`.
struct MatMulArgs {
  const PackedMatrix* matrix;
  const uint8_t* activations;  // what `prepare` wrote for the matrix's activation kind
  int64_t num_tokens;
  float* y;          // [num_tokens, y_stride]
  int64_t y_stride;  // in floats, >= outputs
  Epilogue epilogue = Epilogue::kStore;
  const float* bias = nullptr;  // [M], added first (for gates: gate's M / 2 values, then up's); may be null
  Range panels;
  const uint8_t* next = nullptr;  // memory that this thread reads next, worth fetching early; may be null
  int64_t next_bytes = 0;
};

// Brings activations into the form that matrices multiply. Units of work are independent of each other.
struct PrepareArgs {
  ActivationKind kind;
  const float* x;  // [num_tokens, x_stride]
  int64_t x_stride;
  int64_t num_tokens;
  int64_t columns;
  uint8_t* out;  // activation_bytes(kind, num_tokens, columns), 64-byte aligned
  Range units;   // of [0, prepare_units(kind, num_tokens, columns))
};

// Rotates heads of one token in place.
struct RotateArgs {
  float* heads;  // [num_heads, head_stride]
  int num_heads;
  int64_t head_stride;  // in floats
  int rotary_dim;
  const float* cosines;  // [rotary_dim / 2] of the token's position
  const float* sines;    // [rotary_dim / 2]
  bool interleaved;      // pairs (2 i, 2 i + 1) instead of (i, i + rotary_dim / 2)
};

enum class KvType : uint8_t { kF32, kBF16 };

// How the KV cache of one layer lies in memory. A page holds, for each KV head, the keys transposed, so that
// a vector lane is a token, then the values, so that a vector lane is a column:
//   page:  [G]{ keys [E][kPageSize], values [kPageSize][padded Ev] }, elements of `type`
struct KvLayout {
  KvType type = KvType::kBF16;
  int num_kv_heads = 0;
  int head_dim = 0;
  int value_dim = 0;

  int64_t element_bytes() const { return type == KvType::kF32 ? 4 : 2; }
  int64_t padded_value_dim() const { return (value_dim + 15) / 16 * 16; }
  int64_t value_offset() const { return int64_t{kPageSize} * head_dim; }  // in elements, inside a head
  int64_t head_elements() const { return kPageSize * (head_dim + padded_value_dim()); }
  int64_t page_bytes() const { return num_kv_heads * head_elements() * element_bytes(); }
};

// Writes one token's keys and values, all heads, into a slot of a page. bf16 rounds to nearest even.
struct StoreKvArgs {
  KvLayout layout;
  uint8_t* page;
  int slot;             // [0, kPageSize)
  const float* keys;    // [G, E]
  const float* values;  // [G, Ev]
};

// Causal attention of consecutive tokens of one sequence, for the query heads of one KV head, over the
// sequence's pages. The keys and values of these tokens are already in the cache. Positions beyond a query
// are never read into a result.
struct AttentionArgs {
  KvLayout layout;
  const uint8_t* cache;       // the layer's pages: page p at cache + p * page_stride
  int64_t page_stride;        // in bytes
  const int32_t* page_table;  // [ceil((first_position + num_tokens) / kPageSize)]
  int kv_head;
  int queries_per_token;  // query heads that share the KV head: H / G
  int num_tokens;
  int32_t first_position;  // of the first token
  const float* queries;    // query head j of token t at queries + t * query_stride + j * E
  int64_t query_stride;
  float* out;  // head j of token t at out + t * out_stride + j * Ev
  int64_t out_stride;
  float scale;
  float softcap = 0;   // cap * tanh(score / cap); 0: none
  int32_t window = 0;  // a token sees the last `window` positions, itself included; 0: all
  uint8_t* scratch;    // attention_scratch_bytes(), 64-byte aligned, of this thread alone
};

struct KernelTable {
  const char* name;  // "ref", "avx2", "avx512"

  // Repacks matrices of one type into one. Allocates: for load time only.
  PackedMatrix (*pack)(const PackRequest& request);

  int64_t (*activation_bytes)(ActivationKind kind, int64_t num_tokens, int64_t columns);
  int64_t (*prepare_units)(ActivationKind kind, int64_t num_tokens, int64_t columns);
  void (*prepare)(const PrepareArgs& args);
  void (*matmul)(const MatMulArgs& args);

  // out = x / sqrt(mean(x^2) + epsilon) * weight, over the n columns of one row; out may be x.
  void (*rms_norm)(const float* x, const float* weight, int64_t n, float epsilon, float* out);
  void (*rotate)(const RotateArgs& args);
  void (*store_kv)(const StoreKvArgs& args);
  int64_t (*attention_scratch_bytes)(const KvLayout& layout, int queries_per_token);
  void (*attention)(const AttentionArgs& args);

  // Over n floats.
  void (*add)(const float* x, int64_t n, float* y);  // y += x
  void (*softcap)(float cap, int64_t n, float* y);   // y = cap * tanh(y / cap)
};

const KernelTable& RefKernels();

// Null where this processor lacks the instructions.
const KernelTable* Avx2Kernels();
const KernelTable* Avx512Kernels();

// The table called `name`, where "auto" is the fastest that this processor runs; null when unknown or unable
// to run.
const KernelTable* SelectKernels(const char* name);

}  // namespace ropeway::kernels

#endif  // ROPEWAY_ENGINE_KERNELS_OPS_H_
