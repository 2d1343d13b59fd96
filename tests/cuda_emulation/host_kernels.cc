#include "tests/cuda_emulation/host_kernels.h"

#include "tests/cuda_emulation/emulated_runtime.h"
#include "tests/cuda_emulation/host_ops.h"
#include "tests/cuda_emulation/host_sampling.h"

namespace ropeway::cuda::emulation {
namespace {

template <auto kFunction, typename Args>
ErrorCode OnStream(const Args& args, Stream stream) {
  return EnqueueOnHost(stream, [args] { kFunction(args); });
}

constexpr KernelTable kTable = {.take_tokens = OnStream<TakeTokensOnHost>,
                                .embed = OnStream<EmbedOnHost>,
                                .norm = OnStream<NormOnHost>,
                                .norm_columns = OnStream<NormColumnsOnHost>,
                                .qkv = OnStream<QkvOnHost>,
                                .attention = OnStream<AttentionOnHost>,
                                .gate = OnStream<GateOnHost>,
                                .route = OnStream<RouteOnHost>,
                                .expert_matmul = OnStream<ExpertMatMulOnHost>,
                                .combine = OnStream<CombineOnHost>,
                                .dense_matmul = OnStream<MatMulOnHost>,
                                .packed_matmul = OnStream<MatMulOnHost>,
                                .unpack = OnStream<UnpackOnHost>,
                                .copy_pages = OnStream<CopyPagesOnHost>,
                                .finish_logits = OnStream<FinishLogitsOnHost>,
                                .sample = OnStream<SampleOnHost>,
                                .score = OnStream<ScoreOnHost>};

}  // namespace

const KernelTable& HostKernels() { return kTable; }

}  // namespace ropeway::cuda::emulation
