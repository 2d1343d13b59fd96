// The operations of a decoder on a CUDA device, as one table of host launchers.
//
// A launcher checks nothing that its caller was told to check, allocates nothing, launches on the given
// stream and returns the launch's error; exec/ turns it into a Status. Plain C++: the header needs no CUDA.
// The same table is built from the same sources by nvcc (libropeway_cuda.so) and by the host compiler
// (tests/cuda_emulation).
//
// Arithmetic: activations are f16, bf16 or f32, sums are float32, the residual stream is float32. Every
// output row is computed in an order that depends on that row alone (docs/architecture.md section 6).
//
// Pointers are aligned to 16 bytes; counts of tokens, rows and pages are at least 1.
//
// Graph-safe: counts and shapes are arguments by value; whatever differs between two runs of a captured step
// lies in device memory. A token with position < 0 is padding: it writes no keys and values, and its outputs
// are finite.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_OPS_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_OPS_H_

#include <cstdint>
#include <optional>

#include "engine/kernels/cuda/attention.h"
#include "engine/kernels/cuda/device_matrix.h"
#include "engine/kernels/cuda/element.h"
#include "engine/kernels/cuda/experts.h"
#include "engine/kernels/cuda/gate.h"
#include "engine/kernels/cuda/kv_pages.h"
#include "engine/kernels/cuda/runtime.h"
#include "engine/kernels/cuda/sampling.h"
#include "engine/tensor/formulas.h"

namespace ropeway::cuda {

// residual[t] = scale * embedding of token_ids[t] + position_rows[positions[t]]. A table of float32 may be the
// residual, where it has a row for each token.
struct EmbedArgs {
  DeviceMatrix table;        // [V, D]
  const int32_t* token_ids;  // [T]; padding has any valid id. Null: the row of each token is its own
  int num_tokens;
  float scale;
  const float* position_rows = nullptr;  // [>= max_model_len, D]; null: nothing is added
  const int32_t* positions = nullptr;    // [T]; not read without rows
  float* residual;                       // [T, D]
};

// Tokens that the step before chose, in place: where token_ids [T] has TokenOfResult(i), sampled[i] is meant.
struct TakeTokensArgs {
  int32_t* token_ids;  // [T], in and out
  const int32_t*
      sampled;  // device memory; what is no token, as in a row whose logits said nothing, is taken as 0
  int num_tokens;
  int32_t vocab_size;
};

// to = from: one is device memory, the other may be pinned memory of the host, which kernels reach by itself.
struct CopyBytesArgs {
  uint8_t* to;  // 16-byte aligned, like `from`
  const uint8_t* from;
  int64_t bytes;  // a multiple of 16
};

// residual += branch_scale * post_norm(branch); out = norm(residual), for all tokens or for chosen ones.
// Without branch: out alone; without out: the residual alone. Norms (formulas.h) compute in float32. kNone
// converts the residual to the element type. Where the element is float32, out may be the residual.
struct NormArgs {
  NormKind kind = NormKind::kRms;  // of out
  Element element = Element::kBF16;
  int num_rows = 0;  // of out
  int columns = 0;   // D
  float epsilon = 0;
  float* residual = nullptr;             // [T, D]
  const void* branch = nullptr;          // [T, D] of element; may be null. REQUIRES: rows == null
  const float* branch_bias = nullptr;    // [D], added to the branch first; may be null
  NormKind post_kind = NormKind::kNone;  // the branch is normed before it is added
  const float* post_weight = nullptr;    // [D], unless post_kind is kNone
  const float* post_bias = nullptr;      // [D], or null
  float branch_scale = 1;
  const float* weight = nullptr;  // [D], unless kind is kNone
  const float* bias = nullptr;    // [D], or null
  const int32_t* rows = nullptr;  // [num_rows] which tokens; null: all
  void* out = nullptr;            // [num_rows, D] of element; may be null
};

// out = RMS norm of N columns of each row of x + bias, in float32.
struct NormColumnsArgs {
  Element element = Element::kBF16;
  int num_tokens = 0;
  int columns = 0;  // N
  float epsilon = 0;
  const void* x = nullptr;  // [T, x_stride] of element, from the first of the columns on
  int64_t x_stride = 0;
  const float* bias = nullptr;    // [N], or null
  const float* weight = nullptr;  // [N]
  void* out = nullptr;            // [T, N] of element
};

// Queries turned otherwise than for keys of their own zone: see kernels::ScoreModifier::zone.
struct TurnedQueries {
  const float* cosines = nullptr;  // [max_model_len, rotary_dim / 2], by position
  const float* sines = nullptr;
  void* out = nullptr;  // [T, H, E] of element; null: none
};

// The norm of query and key heads.
struct HeadNorms {
  NormKind kind = NormKind::kNone;
  bool all_heads = false;       // one statistic over all query heads, another over all key heads; kRms alone
  bool after_rotation = false;  // else before
  float epsilon = 0;
  const float* query_weight = nullptr;  // [H, E]
  const float* query_bias = nullptr;    // [H, E], or null
  const float* key_weight = nullptr;    // [G, E]
  const float* key_bias = nullptr;      // [G, E], or null
  // Of devices that share the heads of all_heads: sums of squares over all of them, of queries and of keys.
  const float* squares = nullptr;  // [T, 2]; null: of the heads here, which are all
  int devices = 1;                 // that share them, each with as many heads
};

// One kernel between the QKV product and attention: bias, clip, norm of query and key heads, rotation, a
// factor of queries, and the write of keys and values into pages.
struct QkvArgs {
  Element element = Element::kBF16;
  int num_tokens = 0;
  int num_heads = 0;          // H; G, E and Ev are those of kv
  const void* qkv = nullptr;  // [T, H E + G E + G Ev] of element
  // The first columns of each key, the same for all heads, in the place of those of qkv; or null.
  const void* shared_keys = nullptr;  // [T, shared_stride] of element
  int64_t shared_stride = 0;
  int shared_columns = 0;              // REQUIRES: no norm over all heads
  const float* shared_bias = nullptr;  // [shared_columns], or null
  const float* bias = nullptr;         // [H E + G E + G Ev], or null
  float clip = 0;                      // > 0: queries, keys and values are clamped to [-clip, clip]
  bool clip_after_norm = false;        // of query and key heads; else before
  HeadNorms norms;
  int rotary_dim = 0;              // 0: none; even, <= E
  bool interleaved = false;        // pairs (2 i, 2 i + 1) instead of (i, i + rotary_dim / 2)
  const float* cosines = nullptr;  // [rows, rotary_dim / 2]
  const float* sines = nullptr;
  const int32_t* angle_rows = nullptr;   // [T] each token's row of them; null: its position
  const float* query_scales = nullptr;   // [max_model_len], by position: factors of queries after the
                                         // rotation; null: 1
  const int32_t* positions = nullptr;    // [T]
  const int32_t* token_rows = nullptr;   // [T] the row of each token
  const int32_t* page_tables = nullptr;  // [R, max_pages]
  int max_pages = 0;
  KvPages kv;
  void* queries = nullptr;        // out: [T, H, E] of element
  TurnedQueries previous, older;  // both or neither
};

// out[t] = what norms over all heads sum up, of the query heads here and of the key heads: HeadNorms::squares of
// one device, before sums over devices.
struct HeadSquaresArgs {
  QkvArgs qkv;           // with all_heads
  float* out = nullptr;  // [T, 2]
};

// y = x W^T, any number of tokens; each output is summed over K in one order whatever T is: where x has 16
// bits that of gemm.h, with packed weights, which are the numbers of engine/tensor/dequantize, rounded to the
// type of x. Dense weights are of the type of x, which has 16 bits, and K is a multiple of 8.
struct MatMulArgs {
  DeviceMatrix weights;              // [M, K]
  Element element = Element::kBF16;  // of x
  Element out = Element::kBF16;      // of y: kF32 or `element`
  int64_t num_tokens = 0;
  int processors = 1;       // of the device
  const void* x = nullptr;  // [T, K]
  void* y = nullptr;        // [T, y_stride]
  int64_t y_stride = 0;
  bool fresh_weights = false;  // of dense ones: as in GemmArgs
  bool bulk_copies = false;    // may bring dense ones: HasBulkCopies (stream_matmul.h)
  bool warpgroups = false;     // multiply: TakesWarpgroups (fused_matmul.h)
};

// A product for few tokens with its neighbours in a layer, by one kernel: the bytes are those of
//   norm(*norm), then dense_matmul or packed_matmul(product), then norm(*add), gate(*gate) or qkv(*qkv),
// whose arguments name each other's results as if they were run one after the other. What lies between them,
// x where there is a norm and y where something follows, is left as it was or holds those very numbers.
// REQUIRES: num_tokens <= FusedTokens(args) (fused_matmul.h), and is that of all of them.
struct FusedMatMulArgs {
  MatMulArgs product;
  std::optional<NormArgs> norm;  // of rows of the residual, without branch
  // At most one.
  std::optional<NormArgs> add;  // y to the residual, without post-norm and out; not behind a norm
  std::optional<GateArgs> gate;
  std::optional<QkvArgs> qkv;
};

// Rows [first_row, first_row + num_rows) of packed weights as a dense matrix: the numbers of
// engine/tensor/dequantize, rounded to `element`, as packed_matmul multiplies them where x has 16 bits.
struct UnpackArgs {
  DeviceMatrix weights;  // of a packed type
  Element element = Element::kBF16;
  int64_t first_row = 0, num_rows = 0;
  void* out = nullptr;  // [num_rows, K]
};

// Contents of page from[i] are copied to page to[i], keys, values and scales, of all layers. REQUIRES: no
// page is both read and written, none is written twice.
struct CopyPagesArgs {
  KvPages kv;                // of layer 0
  int64_t layer_bytes = 0;   // from one layer's data to the next
  int64_t layer_scales = 0;  // likewise of scales, in floats
  int num_layers = 0;
  const int32_t* from = nullptr;  // [count]
  const int32_t* to = nullptr;
  int count = 0;
};

// logits = softcap(logits + bias), of vocab_size columns; softcap(x) = cap * tanh(x / cap).
struct FinishLogitsArgs {
  float* logits = nullptr;  // [num_rows, stride]
  int64_t stride = 0;
  int num_rows = 0;
  int vocab_size = 0;
  const float* bias = nullptr;  // [V], or null
  float softcap = 0;            // 0: none
};

struct KernelTable {
  ErrorCode (*copy_bytes)(const CopyBytesArgs&, Stream);  // made for few
  ErrorCode (*take_tokens)(const TakeTokensArgs&, Stream);
  ErrorCode (*embed)(const EmbedArgs&, Stream);
  ErrorCode (*norm)(const NormArgs&, Stream);
  ErrorCode (*norm_columns)(const NormColumnsArgs&, Stream);
  ErrorCode (*head_squares)(const HeadSquaresArgs&, Stream);
  ErrorCode (*qkv)(const QkvArgs&, Stream);
  ErrorCode (*attention)(const AttentionArgs&, Stream);
  ErrorCode (*gate)(const GateArgs&, Stream);
  ErrorCode (*route)(const RouteArgs&, Stream);
  ErrorCode (*expert_matmul)(const ExpertMatMulArgs&, Stream);
  ErrorCode (*combine)(const CombineArgs&, Stream);
  ErrorCode (*dense_matmul)(const MatMulArgs&, Stream);  // made for few tokens
  ErrorCode (*packed_matmul)(const MatMulArgs&, Stream);
  ErrorCode (*fused_matmul)(const FusedMatMulArgs&, Stream);
  ErrorCode (*unpack)(const UnpackArgs&, Stream);
  ErrorCode (*copy_pages)(const CopyPagesArgs&, Stream);
  ErrorCode (*finish_logits)(const FinishLogitsArgs&, Stream);
  ErrorCode (*sample)(const SampleArgs&, Stream);
  ErrorCode (*score)(const ScoreArgs&, Stream);
};

const KernelTable& Kernels();

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_OPS_H_
