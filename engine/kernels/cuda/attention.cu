// Paged attention: which kernel does it.
#include "engine/kernels/cuda/attention.h"
#include "engine/kernels/cuda/attention_state.cuh"
#include "engine/kernels/cuda/device.h"

namespace ropeway::cuda {
namespace {

// Whether heads, scores or values need what the tensor-core kernels do not have.
bool NeedsPlain(const AttentionArgs& args) {
  const kernels::ScoreModifier& modifier = args.modifier;
  return !FitsTensorCores(args.kv.element, args.kv.head_dim, args.kv.value_dim) || modifier.zone > 0 ||
         modifier.relative_keys.rows.data != nullptr || modifier.relative_values.data != nullptr;
}

// Narrow items and wide ones are two kernels'.
ErrorCode AttendInBulk(const AttentionParams& params, Stream stream) {
  const ErrorCode error = AttendDecode(params, stream);
  return error != 0 ? error : AttendWarpgroups(params, stream);
}

ErrorCode Attend(const AttentionParams& params, Stream stream) {
  if (params.args.modifier.mixer.width > 0) return AttendMixed(params, stream);
  if (NeedsPlain(params.args)) return AttendPlain(params, stream);
  switch (params.args.element) {
    case Element::kF16:
      return CopiesInBulk(params.args) ? AttendInBulk(params, stream) : AttendF16(params, stream);
    case Element::kBF16:
      return CopiesInBulk(params.args) ? AttendInBulk(params, stream) : AttendBF16(params, stream);
    case Element::kF32:
      break;
  }
  return AttendPlain(params, stream);
}

}  // namespace

ErrorCode Attention(const AttentionArgs& args, Stream stream) {
  const AttentionParams params{.args = args,
                               .group = args.num_heads / args.kv.num_kv_heads,
                               .page_bytes = args.kv.page_bytes(),
                               .page_scales = args.kv.page_scales(),
                               .partial_floats = PartialFloats(args.kv.head_dim, args.kv.value_dim),
                               .changes_scores = ChangesScores(args),
                               .score_unit = ChangesScores(args) ? 1 : args.scale};
  return Attend(params, stream);
}

}  // namespace ropeway::cuda
