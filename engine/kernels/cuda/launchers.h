// The host launchers behind KernelTable, each defined beside its kernels. What they compute, ops.h says.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_LAUNCHERS_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_LAUNCHERS_H_

#include <cstdint>

#include "engine/kernels/cuda/ops.h"

namespace ropeway::cuda {

ErrorCode CopyBytes(const CopyBytesArgs& args, Stream stream);
ErrorCode TakeTokens(const TakeTokensArgs& args, Stream stream);
ErrorCode Embed(const EmbedArgs& args, Stream stream);
ErrorCode Norm(const NormArgs& args, Stream stream);
// What it chooses for rows that TakesNormVectors (norm_vectors.h).
ErrorCode NormVectors(const NormArgs& args, Stream stream);
ErrorCode NormColumns(const NormColumnsArgs& args, Stream stream);
ErrorCode HeadSquares(const HeadSquaresArgs& args, Stream stream);
ErrorCode Qkv(const QkvArgs& args, Stream stream);
// What it chooses for heads that TakesVectorHeads (qkv_vectors.h).
ErrorCode QkvVectors(const QkvArgs& args, Stream stream);
ErrorCode Attention(const AttentionArgs& args, Stream stream);
ErrorCode Gate(const GateArgs& args, Stream stream);
ErrorCode Route(const RouteArgs& args, Stream stream);
ErrorCode ExpertMatMul(const ExpertMatMulArgs& args, Stream stream);
// What it chooses from where x has 16 bits: for tiles of few slots, of packed weights or of columns that are a
// multiple of 8; for tiles of any number of slots.
ErrorCode ExpertMatMulByStreams(const ExpertMatMulArgs& args, Stream stream);
ErrorCode ExpertMatMulByTiles(const ExpertMatMulArgs& args, Stream stream);
ErrorCode Combine(const CombineArgs& args, Stream stream);
ErrorCode DenseMatMul(const MatMulArgs& args, Stream stream);
ErrorCode PackedMatMul(const MatMulArgs& args, Stream stream);
ErrorCode FusedMatMul(const FusedMatMulArgs& args, Stream stream);
// Of dense and of packed weights: what FusedMatMul chooses from. REQUIRES: as there.
ErrorCode FusedDenseMatMul(const FusedMatMulArgs& args, Stream stream);
ErrorCode FusedPackedMatMul(const FusedMatMulArgs& args, Stream stream);
ErrorCode Unpack(const UnpackArgs& args, Stream stream);
ErrorCode CopyPages(const CopyPagesArgs& args, Stream stream);
ErrorCode FinishLogits(const FinishLogitsArgs& args, Stream stream);
ErrorCode Sample(const SampleArgs& args, Stream stream);
ErrorCode Score(const ScoreArgs& args, Stream stream);

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_LAUNCHERS_H_
