// Rows of floats as the pass and the experts lay them out and go through them.
#ifndef ROPEWAY_ENGINE_EXEC_CPU_ROWS_H_
#define ROPEWAY_ENGINE_EXEC_CPU_ROWS_H_

#include <algorithm>
#include <cstdint>

#include "engine/base/ceil_div.h"
#include "engine/base/thread_pool.h"
#include "engine/kernels/ops.h"
#include "engine/tensor/aligned_buffer.h"

namespace ropeway {

// The forms in which products take rows.
inline constexpr kernels::ActivationKind kActivationKinds[] = {kernels::ActivationKind::kInt8,
                                                               kernels::ActivationKind::kFloat};

// Tokens of one piece of what is done token by token, at most.
inline constexpr int64_t kPieceTokens = 8;

constexpr int64_t RoundUp(int64_t count, int64_t multiple) { return CeilDiv(count, multiple) * multiple; }

// Room for whole panels in every row, and rows that do not lie a multiple of 4 KB apart, where they would
// compete for the same lines of the cache.
constexpr int64_t Stride(int64_t columns) {
  const int64_t stride = RoundUp(columns, kernels::kPanelRows);
  return stride * sizeof(float) % 4096 == 0 ? stride + 16 : stride;
}

inline AlignedBuffer Floats(int64_t count) {
  return AlignedBuffer(count * static_cast<int64_t>(sizeof(float)));
}

// body(token) for all tokens [0, count), some tokens a piece, by all members.
template <typename Body>
void ForEachToken(Team& team, int64_t count, const Body& body) {
  const int64_t pieces = std::max(CeilDiv(count, kPieceTokens), std::min<int64_t>(count, team.size()));
  team.ForEach(pieces, [&](int64_t piece) {
    for (int64_t t = count * piece / pieces; t < count * (piece + 1) / pieces; ++t) body(t);
  });
}

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_EXEC_CPU_ROWS_H_
