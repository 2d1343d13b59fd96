#include "engine/kernels/cuda/launchers.h"

namespace ropeway::cuda {

const KernelTable& Kernels() {
  static constexpr KernelTable kTable = {.take_tokens = TakeTokens,
                                         .embed = Embed,
                                         .norm = Norm,
                                         .norm_columns = NormColumns,
                                         .qkv = Qkv,
                                         .attention = Attention,
                                         .gate = Gate,
                                         .route = Route,
                                         .expert_matmul = ExpertMatMul,
                                         .combine = Combine,
                                         .dense_matmul = DenseMatMul,
                                         .packed_matmul = PackedMatMul,
                                         .unpack = Unpack,
                                         .copy_pages = CopyPages,
                                         .finish_logits = FinishLogits,
                                         .sample = Sample,
                                         .score = Score};
  return kTable;
}

}  // namespace ropeway::cuda
