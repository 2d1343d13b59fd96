// Products of a step: rows are normed and brought into the form that matrices multiply, then panels are divided
// among the members.
#include <algorithm>

#include "engine/exec/cpu/pass_phases.h"

namespace ropeway {
namespace {

using kernels::ActivationKind;
using kernels::kPrepareTokens;

// Multiplications of one piece of a product, at least, and pieces per member, at most: what a member that
// lost its core holds up, and how finely the others can help it. A core of an EPYC does some 90 thousand
// million a second in a prompt of 512 of SmolLM2, and 20 for one token: a piece takes 6 us there, 26 us here.
constexpr int64_t kPieceProducts = int64_t{1} << 19;
constexpr int64_t kMostPieces = 8;

}  // namespace

// Few tokens are prepared by every member for itself, which costs no more than waiting for another to do it,
// and no phase.
uint8_t* Decoder::Pass::Activations(ActivationKind kind, int64_t num_tokens) {
  if (num_tokens > kPrepareTokens) return workspace_.activations_[static_cast<int>(kind)].data();
  const int64_t threads = workspace_.scratch_.size();
  return workspace_.private_activations_[static_cast<int>(kind) * threads + team_.index()].data();
}

// One group of tokens: normed, where asked for, and brought into every form that the consumer's matrices
// multiply.
void Decoder::Pass::PrepareGroup(const Input& input, const CpuProjection& consumer, int64_t group) {
  const int64_t columns = consumer.parts[0].matrix.columns, first = group * kPrepareTokens;
  const int64_t tokens = std::min<int64_t>(kPrepareTokens, input.num_tokens - first);
  const float* rows = input.x + first * input.x_stride;
  int64_t stride = input.x_stride;
  if (input.norm != nullptr && !input.norm->weight.empty()) {
    float* normed =
        workspace_.normed_.as<float>() + team_.index() * kPrepareTokens * workspace_.hidden_stride_;
    for (int64_t t = 0; t < tokens; ++t)
      NormRow(*input.norm, rows + t * stride, normed + t * workspace_.hidden_stride_);
    rows = normed;
    stride = workspace_.hidden_stride_;
  }
  for (ActivationKind kind : kActivationKinds) {
    const bool wanted =
        std::any_of(consumer.parts.begin(), consumer.parts.end(),
                    [&](const CpuProjection::Part& part) { return part.matrix.activation == kind; });
    if (!wanted) continue;
    table_.prepare({.kind = kind,
                    .x = rows,
                    .x_stride = stride,
                    .num_tokens = input.num_tokens,
                    .columns = columns,
                    .out = Activations(kind, input.num_tokens),
                    .groups = {group, group + 1}});
  }
}

// Panels are counted over all matrices of the projection.
void Decoder::Pass::Multiply(const Input& input, const CpuProjection& projection, const Output& output,
                             const CpuProjection* next) {
  int64_t panels = 0, products = 0;
  for (const CpuProjection::Part& part : projection.parts) {
    panels += part.matrix.num_panels;
    products += part.matrix.rows * part.matrix.columns * input.num_tokens;
  }
  const bool together = input.num_tokens > kPrepareTokens;
  if (together)
    team_.ForEach(kernels::NumPrepareGroups(input.num_tokens),
                  [&](int64_t group) { PrepareGroup(input, projection, group); });
  const int64_t per_member = std::clamp<int64_t>(products / kPieceProducts / team_.size(), 1, kMostPieces);
  const int64_t pieces = std::min(panels, per_member * team_.size());
  bool prepared = together;
  team_.ForEach(pieces, [&](int64_t piece) {
    if (!prepared) PrepareGroup(input, projection, 0);
    prepared = true;
    MultiplyPanels(input.num_tokens, projection, {panels * piece / pieces, panels * (piece + 1) / pieces},
                   output, next);
  });
}

void Decoder::Pass::MultiplyPanels(int64_t num_tokens, const CpuProjection& projection, Range panels,
                                   const Output& output, const CpuProjection* next) {
  int64_t first = 0;
  for (const CpuProjection::Part& part : projection.parts) {
    const kernels::PackedMatrix& matrix = part.matrix;
    const Range range{std::max<int64_t>(panels.first - first, 0),
                      std::min(panels.last - first, matrix.num_panels)};
    first += matrix.num_panels;
    if (range.first >= range.last) continue;
    // What is read next: the panel that follows, or the member's first one of the product to come.
    const kernels::PackedMatrix* after = next == nullptr ? nullptr : &next->parts[0].matrix;
    int64_t after_panel = after == nullptr ? 0 : PartOf(after->num_panels, team_.index(), team_.size()).first;
    if (range.last < PartOf(matrix.num_panels, team_.index(), team_.size()).last) {
      after = &matrix;
      after_panel = range.last;
    }
    const absl::Span<const uint8_t> later =
        Ahead().Take((range.last - range.first) * kernels::kPanelRows * matrix.columns * num_tokens);
    table_.matmul({.matrix = &matrix,
                   .activations = Activations(matrix.activation, num_tokens),
                   .num_tokens = num_tokens,
                   .y = output.y + part.first_output,
                   .y_stride = output.y_stride,
                   .epilogue = output.epilogue,
                   .activation = output.activation,
                   .numbers = output.numbers,
                   .bias = projection.bias.empty() ? nullptr : projection.bias.data() + part.first_output,
                   .panels = range,
                   .next = after == nullptr ? nullptr : after->panel(after_panel),
                   .next_bytes = after == nullptr ? 0 : after->panel_bytes,
                   .later = later.data(),
                   .later_bytes = static_cast<int64_t>(later.size())});
  }
}

}  // namespace ropeway
