#include "engine/kernels/cuda/fused_matmul.h"
#include "engine/kernels/cuda/launchers.h"

namespace ropeway::cuda {

ErrorCode FusedMatMul(const FusedMatMulArgs& args, Stream stream) {
  constexpr ErrorCode kInvalidValue = 1;  // cudaErrorInvalidValue
  if (args.product.num_tokens > FusedTokens(args)) return kInvalidValue;
  return IsPacked(args.product.weights.type) ? FusedPackedMatMul(args, stream)
                                             : FusedDenseMatMul(args, stream);
}

const KernelTable& Kernels() {
  static constexpr KernelTable kTable = {.copy_bytes = CopyBytes,
                                         .take_tokens = TakeTokens,
                                         .embed = Embed,
                                         .norm = Norm,
                                         .norm_columns = NormColumns,
                                         .head_squares = HeadSquares,
                                         .qkv = Qkv,
                                         .attention = Attention,
                                         .gate = Gate,
                                         .route = Route,
                                         .expert_matmul = ExpertMatMul,
                                         .combine = Combine,
                                         .dense_matmul = DenseMatMul,
                                         .packed_matmul = PackedMatMul,
                                         .fused_matmul = FusedMatMul,
                                         .unpack = Unpack,
                                         .copy_pages = CopyPages,
                                         .finish_logits = FinishLogits,
                                         .sample = Sample,
                                         .score = Score};
  return kTable;
}

}  // namespace ropeway::cuda
