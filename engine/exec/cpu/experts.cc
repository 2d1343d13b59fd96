#include "engine/exec/cpu/experts.h"

#include <algorithm>
#include <array>

#include "engine/base/ceil_div.h"
#include "engine/base/check.h"
#include "engine/exec/cpu/rows.h"

namespace ropeway {
namespace {

using kernels::ActivationKind;
using kernels::Epilogue;
using kernels::kPrepareTokens;

// Pieces of a product per member: how finely the others can help one that lost its core.
constexpr int64_t kPiecesPerMember = 8;

constexpr int64_t kCacheLine = 64;

// Of some tokens in whichever form.
int64_t ActivationBytes(const kernels::KernelTable& table, int64_t tokens, int64_t columns) {
  const int64_t bytes = std::max(table.activation_bytes(ActivationKind::kInt8, tokens, columns),
                                 table.activation_bytes(ActivationKind::kFloat, tokens, columns));
  return RoundUp(bytes, kCacheLine);
}

}  // namespace

ExpertsWorkspace::ExpertsWorkspace(const DecoderSpec& spec, const kernels::KernelTable& table, int threads,
                                   int max_tokens) {
  const ExpertsSize most = spec.max_experts();
  if (most.count == 0) return;
  const int64_t slots = int64_t{max_tokens} * most.per_token;
  logit_stride_ = Stride(most.count + 1);
  ffn_stride_ = Stride(most.ffn_size);
  hidden_stride_ = Stride(spec.hidden_size);
  widest_ = RoundUp(std::max(spec.hidden_size, most.ffn_size), kQuantBlock);
  logits_ = Floats(max_tokens * logit_stride_);
  choices_.resize(slots);
  slots_.resize(slots);
  tokens_.resize(slots);
  ranks_.resize(slots);
  groups_.resize(std::min<int64_t>(most.count, slots) + 1);
  ffn_ = Floats(slots * ffn_stride_);
  results_ = Floats(slots * hidden_stride_);
  // However the tokens are divided among experts: what an expert does not fill costs no more than one token
  // alone.
  const int64_t experts = std::min<int64_t>(most.count, slots);
  activations_ =
      AlignedBuffer(ActivationBytes(table, slots, widest_) + experts * ActivationBytes(table, 1, widest_));
  for (int i = 0; i < threads; ++i)
    rows_.push_back(Floats(kPrepareTokens * std::max(ffn_stride_, hidden_stride_)));
}

void ExpertsPass::Route() {
  const auto& experts = layer_.ffn.experts;
  ForEachToken(team_, num_tokens_, [&](int64_t t) {
    RouteToken(experts, {workspace_.logits(t), static_cast<size_t>(experts.count)},
               layer_.weights.router_correction,
               absl::MakeSpan(workspace_.choices_).subspan(t * per_token(), per_token()));
  });
  team_.ForEach(1, [&](int64_t) { GroupTokens(); });
}

// Tokens of an expert in their order in the step.
void ExpertsPass::GroupTokens() {
  const int64_t slots = num_tokens_ * per_token();
  std::array<int32_t, kMaxExperts + 1> next = {};  // the slot that an expert's next token gets
  for (int64_t i = 0; i < slots; ++i) ++next[workspace_.choices_[i].expert + 1];
  Group group;
  size_t num_groups = 0;
  for (int32_t e = 0; e < layer_.ffn.experts.count; ++e) {
    group.expert = e;
    group.tokens = next[e + 1];
    next[e + 1] += next[e];
    if (group.tokens == 0) continue;
    workspace_.groups_[num_groups++] = group;
    group.first_slot += group.tokens;
    group.first_eight += CeilDiv(group.tokens, kPrepareTokens);
    group.activations += ActivationBytes(table_, group.tokens, workspace_.widest_);
  }
  group.tokens = 0;
  workspace_.groups_[num_groups] = group;
  for (int64_t i = 0; i < slots; ++i) {
    const int32_t slot = next[workspace_.choices_[i].expert]++;
    workspace_.slots_[i] = slot;
    workspace_.tokens_[slot] = static_cast<int32_t>(i / per_token());
    workspace_.ranks_[slot] = static_cast<int32_t>(i % per_token());
  }
}

void ExpertsPass::Project(absl::FunctionRef<void(int64_t token, float* x)> input) {
  const bool scales_input = layer_.ffn.experts.scales_input;
  const auto row = [&](int64_t slot, float* x) {
    const int64_t token = workspace_.tokens_[slot];
    input(token, x);
    if (!scales_input) return;
    const float weight = workspace_.choices_[token * per_token() + workspace_.ranks_[slot]].weight;
    for (int64_t i = 0; i < layer_.hidden_size; ++i) x[i] *= weight;
  };
  Multiply({.projection = &ExpertWeights<CpuProjection>::input,
            .input = row,
            .y = workspace_.ffn_.as<float>(),
            .y_stride = workspace_.ffn_stride_,
            .epilogue = layer_.ffn.gated ? Epilogue::kGate : Epilogue::kActivate});
}

void ExpertsPass::ProjectBack() {
  const auto row = [&](int64_t slot, float* x) {
    std::copy_n(workspace_.ffn_.as<float>() + slot * workspace_.ffn_stride_, layer_.ffn.size, x);
  };
  Multiply({.projection = &ExpertWeights<CpuProjection>::down,
            .input = row,
            .y = workspace_.results_.as<float>(),
            .y_stride = workspace_.hidden_stride_,
            .epilogue = Epilogue::kStore});
}

void ExpertsPass::Add(int64_t token, float* out) const {
  const bool scales_input = layer_.ffn.experts.scales_input;
  for (int64_t i = token * per_token(); i < (token + 1) * per_token(); ++i)
    table_.add(workspace_.results_.as<float>() + workspace_.slots_[i] * workspace_.hidden_stride_,
               scales_input ? 1 : workspace_.choices_[i].weight, layer_.hidden_size, out);
}

// How many pieces there are does not depend on how tokens are divided among experts: a member that is late
// must not look at that.
void ExpertsPass::Multiply(const Step& step) {
  const int64_t slots = num_tokens_ * per_token();
  const int64_t experts = std::min<int64_t>(slots, layer_.ffn.experts.count);
  team_.ForEach(slots / kPrepareTokens + experts, [&](int64_t eight) { PrepareEight(step, eight); });
  const int64_t panels = (layer_.weights.experts[0].*step.projection).parts[0].matrix.num_panels;
  const int64_t parts = std::min(experts * panels, kPiecesPerMember * team_.size());
  team_.ForEach(parts, [&](int64_t part) { MultiplyPart(step, part, parts); });
}

// A group of kPrepareTokens tokens of one expert, counted over all experts; there may be fewer.
void ExpertsPass::PrepareEight(const Step& step, int64_t eight) {
  const auto end = std::find_if(workspace_.groups_.begin(), workspace_.groups_.end(),
                                [](const Group& group) { return group.tokens == 0; });
  if (eight >= end->first_eight) return;
  const Group& group = *(std::upper_bound(workspace_.groups_.begin(), end, eight,
                                          [](int64_t a, const Group& b) { return a < b.first_eight; }) -
                         1);
  const kernels::PackedMatrix& matrix =
      (layer_.weights.experts[group.expert].*step.projection).parts[0].matrix;
  const int64_t index = eight - group.first_eight, first = index * kPrepareTokens;
  const int64_t count = std::min<int64_t>(kPrepareTokens, group.tokens - first);
  float* rows = workspace_.rows_[team_.index()].as<float>();
  const int64_t stride = Stride(matrix.columns);
  for (int64_t i = 0; i < count; ++i) step.input(group.first_slot + first + i, rows + i * stride);
  table_.prepare({.kind = matrix.activation,
                  .x = rows,
                  .x_stride = stride,
                  .num_tokens = group.tokens,
                  .columns = matrix.columns,
                  .out = workspace_.activations_.data() + group.activations,
                  .groups = {index, index + 1}});
}

// One of `parts` equal parts of the panels of all experts that have tokens.
void ExpertsPass::MultiplyPart(const Step& step, int64_t part, int64_t parts) {
  const int64_t panels = (layer_.weights.experts[0].*step.projection).parts[0].matrix.num_panels;
  int64_t all = 0;
  for (const Group* group = workspace_.groups_.data(); group->tokens > 0; ++group) all += panels;
  const Range mine{all * part / parts, all * (part + 1) / parts};
  for (int64_t unit = mine.first; unit < mine.last;) {
    const Group& group = workspace_.groups_[unit / panels];
    const Range range{unit % panels, std::min(panels, unit % panels + mine.last - unit)};
    unit += range.size();
    const CpuProjection& projection = layer_.weights.experts[group.expert].*step.projection;
    table_.matmul({.matrix = &projection.parts[0].matrix,
                   .activations = workspace_.activations_.data() + group.activations,
                   .num_tokens = group.tokens,
                   .y = step.y + group.first_slot * step.y_stride,
                   .y_stride = step.y_stride,
                   .epilogue = step.epilogue,
                   .activation = layer_.ffn.activation,
                   .numbers = layer_.weights.numbers,
                   .bias = projection.bias.empty() ? nullptr : projection.bias.data(),
                   .panels = range});
  }
}

}  // namespace ropeway
