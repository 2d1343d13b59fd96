#include "tests/cuda_emulation/host_kernels.h"

#include "tests/cuda_emulation/emulated_runtime.h"
#include "tests/cuda_emulation/host_ops.h"
#include "tests/cuda_emulation/host_sampling.h"

namespace ropeway::cuda::emulation {
namespace {

// Neighbours are not fused here: one after the other.
void FusedMatMulOnHost(const FusedMatMulArgs& args) {
  if (args.norm) NormOnHost(*args.norm);
  MatMulOnHost(args.product);
  if (args.add) NormOnHost(*args.add);
  if (args.gate) GateOnHost(*args.gate);
  if (args.qkv) QkvOnHost(*args.qkv);
}

template <auto kFunction, typename Args>
ErrorCode OnStream(const Args& args, Stream stream) {
  return EnqueueOnHost(stream, [args] { kFunction(args); });
}

constexpr KernelTable kTable = {.copy_bytes = OnStream<CopyBytesOnHost>,
                                .take_tokens = OnStream<TakeTokensOnHost>,
                                .embed = OnStream<EmbedOnHost>,
                                .norm = OnStream<NormOnHost>,
                                .norm_columns = OnStream<NormColumnsOnHost>,
                                .head_squares = OnStream<HeadSquaresOnHost>,
                                .qkv = OnStream<QkvOnHost>,
                                .attention = OnStream<AttentionOnHost>,
                                .gate = OnStream<GateOnHost>,
                                .route = OnStream<RouteOnHost>,
                                .expert_matmul = OnStream<ExpertMatMulOnHost>,
                                .combine = OnStream<CombineOnHost>,
                                .dense_matmul = OnStream<MatMulOnHost>,
                                .packed_matmul = OnStream<MatMulOnHost>,
                                .fused_matmul = OnStream<FusedMatMulOnHost>,
                                .unpack = OnStream<UnpackOnHost>,
                                .copy_pages = OnStream<CopyPagesOnHost>,
                                .finish_logits = OnStream<FinishLogitsOnHost>,
                                .sample = OnStream<SampleOnHost>,
                                .score = OnStream<ScoreOnHost>};

}  // namespace

const KernelTable& HostKernels() { return kTable; }

}  // namespace ropeway::cuda::emulation
