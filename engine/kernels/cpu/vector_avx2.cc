// Row operations and attention for AVX2.
#include <immintrin.h>

#include <cstdint>

#include "engine/kernels/args.h"
#include "engine/kernels/cpu/lanes.h"
#include "engine/kernels/cpu/vector_kernels.h"

namespace ropeway::kernels::avx2 {
namespace {

// Queries that share the loads of keys and values: as many as keep two pages of scores each in registers.
constexpr int kQueries = 2;

// The order matters.
// clang-format off
#include "engine/kernels/cpu/lanes_avx2.h"
#include "engine/kernels/cpu/math_inl.h"
#include "engine/kernels/cpu/row_ops_inl.h"
#include "engine/kernels/cpu/attention_inl.h"
// clang-format on

}  // namespace

extern const VectorKernels kVectors;
const VectorKernels kVectors = {
    .rms_norm = &RmsNorm,
    .rotate = &Rotate,
    .store_kv = &StoreKv,
    .attention_queries = kQueries,
    .attention = &Attention,
    .add = &AddRow,
    .softcap = &SoftcapRow,
};

}  // namespace ropeway::kernels::avx2
