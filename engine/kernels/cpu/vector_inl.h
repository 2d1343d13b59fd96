// The row operations and attention of an instruction set, and their table. Included once per instruction set,
// inside an unnamed namespace of its own, after lanes_*.h and the constants
//   kQueries       queries that share the loads of keys and values
//   kAccumulators  sums of sixteen lanes that registers hold beside what they are computed from
// and ROPEWAY_BF16_DOT where attention uses AVX512_BF16, or Tiles where it uses AMX and ROPEWAY_TILES.
#ifndef ROPEWAY_ENGINE_KERNELS_CPU_VECTOR_INL_H_
#define ROPEWAY_ENGINE_KERNELS_CPU_VECTOR_INL_H_

// The order matters.
// clang-format off
#include "engine/kernels/cpu/math_inl.h"
#include "engine/kernels/cpu/row_ops_inl.h"
#include "engine/kernels/kv_layout_inl.h"
#include "engine/kernels/cpu/store_kv_inl.h"
#include "engine/kernels/cpu/modifier_inl.h"
#include "engine/kernels/cpu/attention_rows_inl.h"
#ifdef ROPEWAY_BF16_DOT
#include "engine/kernels/cpu/bf16_dot_inl.h"
#else
#include "engine/kernels/cpu/bf16_fma_inl.h"
#endif
#include "engine/kernels/cpu/attention_query_inl.h"
#include "engine/kernels/cpu/attention_inl.h"
#ifdef ROPEWAY_BF16_DOT
#include "engine/kernels/cpu/attention_straight_inl.h"
#include "engine/kernels/cpu/attention_whole_inl.h"
#else
using FewChunks = CacheChunks<PairRows>;
#endif
#ifdef ROPEWAY_TILES
#include "engine/kernels/cpu/attention_tiles_inl.h"
#elif !defined(ROPEWAY_BF16_DOT)
void AttendMany(const AttentionArgs& args, int first_row, int count) {
  AttendRows<GroupChunks>(args, first_row, count);
}
#endif
#include "engine/kernels/cpu/mixed_attention_inl.h"
// clang-format on

constexpr VectorKernels kVectorTable = {
    .rms_norm = &RmsNorm,
    .layer_norm = &LayerNorm,
    .rotate = &Rotate,
    .store_kv = &StoreKv,
    .attention = &Attention,
    .merge_spans = &MergeSpans,
    .add = &AddRow,
    .softcap = &SoftcapRow,
};

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_VECTOR_INL_H_
