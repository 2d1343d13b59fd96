#include "engine/model/gguf_rope.h"

#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/tensor/dequantize.h"

namespace ropeway {
namespace {

// A file that does not say it has the context that the model was trained for.
constexpr char kOriginalContext[] = "rope.scaling.original_context_length";

absl::Status ReadYarn(GgufKeys& keys, int32_t context_length, RopeSpec& rope) {
  rope.scaling = RopeScalingKind::kYarn;
  ASSIGN_OR_RETURN(rope.original_context, keys.IntOr(kOriginalContext, context_length));
  ASSIGN_OR_RETURN(const double extra, keys.DoubleOr("rope.scaling.attn_factor", 1));
  ASSIGN_OR_RETURN(rope.beta_fast, keys.DoubleOr("rope.scaling.yarn_beta_fast", 32));
  ASSIGN_OR_RETURN(rope.beta_slow, keys.DoubleOr("rope.scaling.yarn_beta_slow", 1));
  RETURN_IF_ERROR(keys.MustBe("rope.scaling.yarn_ext_factor", 1));
  // Converters write what a folder's "attention_factor" is, which is all of it.
  ASSIGN_OR_RETURN(const double magnitude,
                   keys.DoubleOr("rope.scaling.yarn_attn_factor", YarnMagnitude(rope.factor, 1)));
  rope.attention_factor = extra * magnitude;
  return absl::OkStatus();
}

absl::Status ReadScaling(GgufKeys& keys, int32_t context_length, RopeSpec& rope) {
  // A factor without a type is linear, and had another name before there were types.
  ASSIGN_OR_RETURN(const std::string type, keys.StringOr("rope.scaling.type", "linear"));
  ASSIGN_OR_RETURN(const double older_factor, keys.DoubleOr("rope.scale_linear", 1));
  ASSIGN_OR_RETURN(const double factor, keys.DoubleOr("rope.scaling.factor", older_factor));
  // Of no meaning beside these two.
  if (type == "none" || type == "linear") keys.Ignore(kOriginalContext);
  if (type == "none" || (type == "linear" && factor == 1)) return absl::OkStatus();
  rope.factor = factor;
  if (type == "yarn") return ReadYarn(keys, context_length, rope);
  if (type != "linear")
    return absl::UnimplementedError(
        absl::StrCat(keys.Quoted("rope.scaling.type"), " is '", type,
                     "', which is not supported; supported are none, linear, yarn"));
  rope.scaling = RopeScalingKind::kLinear;
  return absl::OkStatus();
}

// A factor for each pair; empty where there is no such tensor.
absl::StatusOr<std::vector<float>> FactorsOf(const GgufContent& content, const char* name,
                                             int32_t rotary_dim) {
  std::vector<float> factors;
  const auto found = content.tensors.find(name);
  if (found == content.tensors.end()) return factors;
  const TensorView& view = found->second;
  if (view.rows() != 1 || view.columns() != rotary_dim / 2)
    return absl::InvalidArgumentError(absl::StrCat("tensor '", name, "' must have ", rotary_dim / 2,
                                                   " values, has ", view.rows() * view.columns()));
  factors.resize(view.columns());
  DequantizeRow(view.type, view.data, view.columns(), factors.data());
  for (const float factor : factors)
    if (!(factor > 0) || !std::isfinite(factor))
      return absl::InvalidArgumentError(
          absl::StrCat("tensor '", name, "' must hold positive numbers, holds ", factor));
  return factors;
}

// LongRoPE, which is told by its tensors.
absl::Status ReadLongRope(GgufKeys& keys, const std::vector<float>& short_factors,
                          const std::vector<float>& long_factors, int32_t context_length, RopeSpec& rope) {
  if (short_factors.empty() || long_factors.empty())
    return absl::InvalidArgumentError(absl::StrCat("tensor '",
                                                   short_factors.empty() ? kShortFactors : kLongFactors,
                                                   "' is missing beside the other list"));
  rope.scaling = RopeScalingKind::kLongRope;
  rope.short_factors.assign(short_factors.begin(), short_factors.end());
  rope.long_factors.assign(long_factors.begin(), long_factors.end());
  ASSIGN_OR_RETURN(rope.original_context, keys.IntOr(kOriginalContext, context_length));
  if (rope.original_context < 2)
    return absl::InvalidArgumentError(
        absl::StrCat(keys.Quoted(kOriginalContext), " must be at least 2, is ", rope.original_context));
  const double extension = double{1} * context_length / static_cast<double>(rope.original_context);
  ASSIGN_OR_RETURN(rope.attention_factor, keys.DoubleOr("rope.scaling.attn_factor",
                                                        LongRopeMagnitude(extension, rope.original_context)));
  rope.long_attention_factor = rope.attention_factor;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<RopeSpec> ReadGgufRope(GgufKeys& keys, const GgufContent& content, int32_t context_length,
                                      const RopeSpec& defaults) {
  RopeSpec rope{.pairing = defaults.pairing};
  ASSIGN_OR_RETURN(rope.base, keys.DoubleOr("rope.freq_base", defaults.base));
  ASSIGN_OR_RETURN(rope.rotary_dim, keys.IntOr("rope.dimension_count", defaults.rotary_dim));
  ASSIGN_OR_RETURN(const std::vector<float> short_factors,
                   FactorsOf(content, kShortFactors, rope.rotary_dim));
  ASSIGN_OR_RETURN(const std::vector<float> long_factors, FactorsOf(content, kLongFactors, rope.rotary_dim));
  if (!short_factors.empty() || !long_factors.empty()) {
    RETURN_IF_ERROR(ReadLongRope(keys, short_factors, long_factors, context_length, rope));
    return rope;
  }
  RETURN_IF_ERROR(ReadScaling(keys, context_length, rope));
  // Llama 3.1 and later.
  ASSIGN_OR_RETURN(rope.frequency_factors, FactorsOf(content, kRopeDivisors, rope.rotary_dim));
  return rope;
}

}  // namespace ropeway
