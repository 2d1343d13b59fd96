// Row operations and attention for AVX2.
#include <immintrin.h>

#include <cstdint>

#include "engine/kernels/args.h"
#include "engine/kernels/cpu/lanes.h"
#include "engine/kernels/cpu/vector_kernels.h"

namespace ropeway::kernels::avx2 {
namespace {

// Of attention: queries that share the loads of keys and values, and sums of sixteen lanes (two registers
// each) that registers hold beside what they are computed from.
constexpr int kQueries = 4;
constexpr int kAccumulators = 4;

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
    .attention = &Attention,
    .add = &AddRow,
    .softcap = &SoftcapRow,
};

}  // namespace ropeway::kernels::avx2
