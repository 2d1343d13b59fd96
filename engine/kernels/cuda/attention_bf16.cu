// Paged attention of bf16 activations. Shapes, layout and bytes moved: attention_mma.cuh.
#include "engine/kernels/cuda/attention_mma.cuh"

namespace ropeway::cuda {

ErrorCode AttendBF16(const AttentionParams& params, Stream stream) { return AttendMma<bf16>(params, stream); }

}  // namespace ropeway::cuda
