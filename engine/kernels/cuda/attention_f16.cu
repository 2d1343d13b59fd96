// Paged attention of f16 activations. Shapes, layout and bytes moved: attention_mma.cuh.
#include "engine/kernels/cuda/attention_mma.cuh"

namespace ropeway::cuda {

ErrorCode AttendF16(const AttentionParams& params, Stream stream) { return AttendMma<fp16>(params, stream); }

}  // namespace ropeway::cuda
