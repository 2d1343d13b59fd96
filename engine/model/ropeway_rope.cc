#include "engine/model/ropeway_rope.h"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace ropeway {
namespace {

constexpr absl::string_view kScalings[] = {"linear", "ratio",  "ntk",      "dynamic",     "dynamic_qwen1",
                                           "yarn",   "llama3", "longrope", "proportional"};
enum Scaling { kLinear, kRatio, kNtk, kDynamic, kDynamicQwen1, kYarn, kLlama3, kLongRope, kProportional };

constexpr IntRange kAnyLength = {.least = 1};

double Factor(ConfigFields& fields) { return fields.Number("factor", {.least = 1}); }

void ReadRatio(ConfigFields& fields, RopeSpec& rope) {
  const double ratio = fields.Number("ratio", {.least = 1});
  if (fields.Choice("of", {"base", "positions"}) == 0) {
    rope.base *= ratio;
    return;
  }
  rope.scaling = RopeScalingKind::kLinear;
  rope.factor = ratio;
}

void ReadNtk(ConfigFields& fields, Scaling type, RopeSpec& rope) {
  fields.Check(rope.rotary_dim >= 4, "type", absl::StrCat(kScalings[type], " needs rotary_dim >= 4"));
  if (type != kDynamicQwen1) rope.factor = Factor(fields);
  if (type != kNtk) rope.original_context = fields.Int("original_length", kAnyLength);
  rope.scaling = type == kNtk       ? RopeScalingKind::kNtk
                 : type == kDynamic ? RopeScalingKind::kDynamicNtk
                                    : RopeScalingKind::kQwen1Ntk;
}

// Both or neither of two fields, and neither beside "attention_factor". Whether they are there.
bool GivenTogether(ConfigFields& fields, const char* first, const char* second) {
  const bool has_first = fields.Has(first), has_second = fields.Has(second);
  if (has_first != has_second)
    fields.Fail(has_first ? second : first, absl::StrCat("missing beside ", has_first ? first : second));
  fields.Check(!(has_first || has_second) || !fields.Has("attention_factor"), "attention_factor",
               absl::StrCat("excludes ", first));
  return has_first && has_second;
}

void ReadYarn(ConfigFields& fields, RopeSpec& rope) {
  rope.scaling = RopeScalingKind::kYarn;
  rope.factor = Factor(fields);
  rope.original_context = fields.Int("original_length", kAnyLength);
  rope.beta_fast = fields.NumberOr("beta_fast", 32);
  rope.beta_slow = fields.NumberOr("beta_slow", 1);
  rope.truncate = fields.BoolOr("truncate", true);
  const std::optional<double> attention_factor = fields.MaybeNumber("attention_factor");
  const std::optional<double> mscale = fields.MaybeNumber("mscale"),
                              mscale_all_dim = fields.MaybeNumber("mscale_all_dim");
  fields.Check(rope.beta_slow < rope.beta_fast, "beta_slow", "must be below beta_fast");
  if (GivenTogether(fields, "mscale", "mscale_all_dim"))
    rope.attention_factor = YarnMagnitude(rope.factor, *mscale) / YarnMagnitude(rope.factor, *mscale_all_dim);
  else
    rope.attention_factor = attention_factor.value_or(YarnMagnitude(rope.factor, 1));
}

void ReadLlama3(ConfigFields& fields, RopeSpec& rope) {
  rope.scaling = RopeScalingKind::kLlama3;
  rope.factor = Factor(fields);
  rope.original_context = fields.Int("original_length", kAnyLength);
  rope.low_freq_factor = fields.NumberOr("low_freq_factor", 1);
  rope.high_freq_factor = fields.NumberOr("high_freq_factor", 4);
  fields.Check(rope.low_freq_factor < rope.high_freq_factor, "low_freq_factor",
               "must be below high_freq_factor");
}

std::vector<double> ReadFactors(ConfigFields& fields, const char* name, int pairs) {
  std::vector<double> factors = fields.Numbers(name);
  if (!factors.empty() && factors.size() != static_cast<size_t>(pairs))
    fields.Fail(name, absl::StrCat("needs ", pairs, " entries, has ", factors.size()));
  return factors;
}

void ReadLongRope(ConfigFields& fields, int32_t context_length, RopeSpec& rope) {
  rope.scaling = RopeScalingKind::kLongRope;
  rope.short_factors = ReadFactors(fields, "short_factor", rope.rotary_dim / 2);
  rope.long_factors = ReadFactors(fields, "long_factor", rope.rotary_dim / 2);
  rope.original_context = fields.Int("original_length", {.least = 2});
  const std::optional<double> factor = fields.MaybeNumber("factor", {.least = 1}),
                              attention_factor = fields.MaybeNumber("attention_factor"),
                              short_mscale = fields.MaybeNumber("short_mscale"),
                              long_mscale = fields.MaybeNumber("long_mscale");
  const bool has_mscales = GivenTogether(fields, "short_mscale", "long_mscale");
  if (has_mscales || attention_factor)
    fields.Check(!factor, "factor", "has no effect beside a given attention factor");
  const double extension =
      std::max(1.0, double{1} * context_length / static_cast<double>(rope.original_context));
  const double implied = LongRopeMagnitude(factor.value_or(extension), rope.original_context);
  rope.attention_factor = has_mscales ? *short_mscale : attention_factor.value_or(implied);
  rope.long_attention_factor = has_mscales ? *long_mscale : rope.attention_factor;
}

// Pairs span the whole head, exponents too; those from rotary_dim / 2 on stand still.
void ReadProportional(ConfigFields& fields, int32_t head_dim, RopeSpec& rope) {
  fields.Check(head_dim % 2 == 0, "type",
               absl::StrCat("proportional needs an even head_dim, not ", head_dim));
  rope.turned_pairs = rope.rotary_dim / 2;
  rope.rotary_dim = head_dim;
}

absl::Status ReadScaling(const nlohmann::json& object, const std::string& path, int32_t head_dim,
                         int32_t context_length, RopeSpec& rope) {
  ConfigFields fields(object, path);
  const auto type = static_cast<Scaling>(fields.Choice("type", kScalings));
  if (!fields.status().ok()) return fields.status();
  switch (type) {
    case kLinear:
      rope.scaling = RopeScalingKind::kLinear;
      rope.factor = Factor(fields);
      break;
    case kRatio:
      ReadRatio(fields, rope);
      break;
    case kNtk:
    case kDynamic:
    case kDynamicQwen1:
      ReadNtk(fields, type, rope);
      break;
    case kYarn:
      ReadYarn(fields, rope);
      break;
    case kLlama3:
      ReadLlama3(fields, rope);
      break;
    case kLongRope:
      ReadLongRope(fields, context_length, rope);
      break;
    case kProportional:
      ReadProportional(fields, head_dim, rope);
      break;
  }
  return fields.Finish();
}

}  // namespace

RopeSpec ReadRopewayRope(ConfigFields& fields, int32_t head_dim, int32_t context_length) {
  RopeSpec rope{.base = fields.NumberOr("theta", 10000, {.above = 1})};
  rope.pairing = fields.Choice("pairing", {"half", "interleaved"}, 0) == 0 ? RopePairing::kHalves
                                                                           : RopePairing::kInterleaved;
  const std::optional<int32_t> rotary_dim = fields.MaybeInt("rotary_dim", {.least = 2, .most = 1024});
  rope.rotary_dim = rotary_dim.value_or(head_dim);
  fields.Check(rope.rotary_dim <= head_dim, "rotary_dim",
               absl::StrCat(rope.rotary_dim, " is above head_dim ", head_dim));
  fields.Check(rope.rotary_dim % 2 == 0, "rotary_dim", absl::StrCat(rope.rotary_dim, " is odd"));
  const nlohmann::json* scaling = fields.Find("scaling");
  if (scaling != nullptr && fields.status().ok())
    fields.Take(ReadScaling(*scaling, fields.PathOf("scaling"), head_dim, context_length, rope));
  return rope;
}

}  // namespace ropeway
