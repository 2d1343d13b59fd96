// The operations of host_kernels.h, and what they share. Not for others.
#ifndef ROPEWAY_TESTS_CUDA_EMULATION_HOST_OPS_H_
#define ROPEWAY_TESTS_CUDA_EMULATION_HOST_OPS_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "engine/kernels/cuda/ops.h"

namespace ropeway::cuda::emulation {

// host_weights.cc
std::vector<float> RowOf(const DeviceMatrix& matrix, int64_t row);
// As x has them: rounded to its type.
std::vector<float> RoundedRowOf(const DeviceMatrix& matrix, int64_t row, Element element);
// Of `n` numbers, in eight running sums, so that the compiler may use vectors.
float Dot(const float* a, const float* b, int64_t n);
void EmbedOnHost(const EmbedArgs& args);
void UnpackOnHost(const UnpackArgs& args);
void MatMulOnHost(const MatMulArgs& args);

// host_rows.cc
void CopyBytesOnHost(const CopyBytesArgs& args);
void TakeTokensOnHost(const TakeTokensArgs& args);
void NormInPlace(NormKind kind, float epsilon, const float* weight, const float* bias, std::vector<float>& x);
void NormOnHost(const NormArgs& args);
void NormColumnsOnHost(const NormColumnsArgs& args);
void GateOnHost(const GateArgs& args);
void FinishLogitsOnHost(const FinishLogitsArgs& args);

// host_experts.cc
void RouteOnHost(const RouteArgs& args);
void ExpertMatMulOnHost(const ExpertMatMulArgs& args);
// What `multiply` makes of it without its gate, then the gate.
void GateExpertsOnHost(ExpertMatMulArgs args, const std::function<void(const ExpertMatMulArgs&)>& multiply);
void CombineOnHost(const CombineArgs& args);

// host_attention.cc
void HeadSquaresOnHost(const HeadSquaresArgs& args);
void QkvOnHost(const QkvArgs& args);
void CopyPagesOnHost(const CopyPagesArgs& args);
void AttentionOnHost(const AttentionArgs& args);

}  // namespace ropeway::cuda::emulation

#endif  // ROPEWAY_TESTS_CUDA_EMULATION_HOST_OPS_H_
