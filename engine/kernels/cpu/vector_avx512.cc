// Row operations and attention for AVX-512.
#include <immintrin.h>

#include <cstdint>
#include <type_traits>

#include "engine/kernels/args.h"
#include "engine/kernels/cpu/lanes.h"
#include "engine/kernels/cpu/vector_kernels.h"

namespace ropeway::kernels::avx512 {
namespace {

// See vector_inl.h; a sum takes one register.
constexpr int kQueries = 8;
constexpr int kAccumulators = 16;

// The order matters.
// clang-format off
#include "engine/kernels/cpu/lanes_avx512.h"
#include "engine/kernels/cpu/vector_inl.h"
// clang-format on

}  // namespace

extern const VectorKernels kVectors;
const VectorKernels kVectors = kVectorTable;

}  // namespace ropeway::kernels::avx512
