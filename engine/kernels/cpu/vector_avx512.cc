// Row operations and attention for AVX-512.
#include <immintrin.h>

#include <cstdint>

#include "engine/kernels/args.h"
#include "engine/kernels/cpu/lanes.h"
#include "engine/kernels/cpu/vector_kernels.h"

namespace ropeway::kernels::avx512 {
namespace {

// Of attention: queries that share the loads of keys and values, and sums of sixteen lanes (one register
// each) that registers hold beside what they are computed from.
constexpr int kQueries = 8;
constexpr int kAccumulators = 16;

// The order matters.
// clang-format off
#include "engine/kernels/cpu/lanes_avx512.h"
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
    .attention = &Attention,
    .add = &AddRow,
    .softcap = &SoftcapRow,
};

}  // namespace ropeway::kernels::avx512
