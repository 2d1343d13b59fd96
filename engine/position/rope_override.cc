#include "engine/position/rope_override.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "engine/base/decimals.h"
#include "engine/base/printable.h"
#include "engine/base/status_macros.h"

namespace ropeway {
namespace {

using Kind = RopeScalingKind;

constexpr double kMaxFactor = 1024;
constexpr size_t kShownBytes = 100;

struct KindRule {
  Kind kind;
  bool needs_factor;
  std::vector<absl::string_view> parameters;
};

// All but LongRoPE, whose lists only a file can hold.
const std::vector<KindRule>& KindRules() {
  static const auto& rules = *new std::vector<KindRule>{
      {Kind::kNone, false, {"factor", "original"}},
      {Kind::kLinear, true, {"factor", "original"}},
      {Kind::kNtk, true, {"factor", "original"}},
      {Kind::kDynamicNtk, true, {"factor", "original"}},
      {Kind::kQwen1Ntk, false, {"factor", "original"}},
      {Kind::kLlama3, true, {"factor", "original", "low_freq_factor", "high_freq_factor"}},
      {Kind::kYarn, true, {"factor", "original", "beta_fast", "beta_slow", "truncate", "attention_factor"}}};
  return rules;
}

std::string Quoted(absl::string_view text) {
  return absl::StrCat("\"", Printable(std::string(text), kShownBytes), "\"");
}

absl::Status Refused(absl::string_view what, absl::string_view must_be, absl::string_view text) {
  return absl::InvalidArgumentError(absl::StrCat("must have ", what, " ", must_be, ", has ", Quoted(text)));
}

// Decimal: "inf", "nan" and "0x10" are no numbers.
absl::Status ReadNumber(absl::string_view name, absl::string_view text, double least, double most,
                        double& value) {
  const bool plain = text.find_first_not_of("0123456789.eE+-") == absl::string_view::npos;
  if (plain && absl::SimpleAtod(text, &value) && value >= least && value <= most) return absl::OkStatus();
  return Refused(name, absl::StrCat("in [", least, ", ", most, "]"), text);
}

absl::Status ReadParameter(absl::string_view name, absl::string_view text, RopeOverride& wanted) {
  constexpr double kLeast = 1e-6, kMost = 1e6;
  if (name == "factor") return ReadNumber(name, text, 1, kMaxFactor, wanted.factor);
  if (name == "low_freq_factor") return ReadNumber(name, text, kLeast, kMost, wanted.low_freq_factor);
  if (name == "high_freq_factor") return ReadNumber(name, text, kLeast, kMost, wanted.high_freq_factor);
  if (name == "beta_fast") return ReadNumber(name, text, kLeast, kMost, wanted.beta_fast);
  if (name == "beta_slow") return ReadNumber(name, text, kLeast, kMost, wanted.beta_slow);
  if (name == "attention_factor")
    return ReadNumber(name, text, kLeast, kMost, wanted.attention_factor.emplace());
  if (name == "truncate") {
    if (text != "true" && text != "false") return Refused(name, "true or false", text);
    wanted.truncate = text == "true";
    return absl::OkStatus();
  }
  int64_t original = 0;
  if (!absl::SimpleAtoi(text, &original) || original < 1 || original > kMaxOverriddenContext)
    return Refused(name, absl::StrCat("in [1, ", kMaxOverriddenContext, "]"), text);
  wanted.original = original;
  return absl::OkStatus();
}

absl::StatusOr<const KindRule*> RuleOf(absl::string_view name) {
  std::vector<absl::string_view> names;
  for (const KindRule& rule : KindRules()) {
    if (name == RopeScalingName(rule.kind)) return &rule;
    names.push_back(RopeScalingName(rule.kind));
  }
  if (name == RopeScalingName(Kind::kLongRope))
    return absl::InvalidArgumentError(
        "must not be longrope, whose lists of factors only a model's file can hold");
  return absl::InvalidArgumentError(
      absl::StrCat("must begin with one of ", absl::StrJoin(names, ", "), "; begins with ", Quoted(name)));
}

absl::Status CheckOrder(absl::string_view low_name, double low, absl::string_view high_name, double high) {
  if (low < high) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("must have ", low_name, " below ", high_name, " ",
                                                 Decimals(high), ", has ", Decimals(low)));
}

// What the kind says beside the factor, as a rope has it.
void AppendParameters(const RopeSpec& rope, std::string& text) {
  if (rope.scaling == Kind::kLlama3)
    absl::StrAppend(&text, ",low_freq_factor=", Decimals(rope.low_freq_factor),
                    ",high_freq_factor=", Decimals(rope.high_freq_factor));
  if (rope.scaling == Kind::kYarn)
    absl::StrAppend(&text, ",beta_fast=", Decimals(rope.beta_fast), ",beta_slow=", Decimals(rope.beta_slow),
                    ",truncate=", rope.truncate ? "true" : "false",
                    ",attention_factor=", Decimals(rope.attention_factor));
}

}  // namespace

absl::StatusOr<RopeOverride> ParseRopeOverride(absl::string_view text) {
  const std::pair<absl::string_view, absl::string_view> halves =
      absl::StrSplit(text, absl::MaxSplits(':', 1));
  ASSIGN_OR_RETURN(const KindRule* rule, RuleOf(halves.first));
  RopeOverride wanted{.kind = rule->kind};
  std::set<absl::string_view> given;
  // "linear:" is a slip, "none" is not.
  if (text.size() > halves.first.size())
    for (const absl::string_view item : absl::StrSplit(halves.second, ',')) {
      const std::pair<absl::string_view, absl::string_view> pair =
          absl::StrSplit(item, absl::MaxSplits('=', 1));
      if (std::find(rule->parameters.begin(), rule->parameters.end(), pair.first) == rule->parameters.end())
        return Refused(
            "parameters",
            absl::StrCat("of ", absl::StrJoin(rule->parameters, ", "), " for ", RopeScalingName(rule->kind)),
            item);
      if (!given.insert(pair.first).second)
        return absl::InvalidArgumentError(absl::StrCat("must have ", pair.first, " once, has it twice"));
      RETURN_IF_ERROR(ReadParameter(pair.first, pair.second, wanted));
    }
  if (rule->needs_factor && !given.contains("factor"))
    return absl::InvalidArgumentError(absl::StrCat("must have a factor with ", RopeScalingName(rule->kind),
                                                   ": \"", RopeScalingName(rule->kind), ":factor=4\""));
  RETURN_IF_ERROR(
      CheckOrder("low_freq_factor", wanted.low_freq_factor, "high_freq_factor", wanted.high_freq_factor));
  RETURN_IF_ERROR(CheckOrder("beta_slow", wanted.beta_slow, "beta_fast", wanted.beta_fast));
  return wanted;
}

RopeSpec Overridden(RopeSpec rope, const RopeOverride& wanted, int64_t original) {
  RopeSpec scaled{.base = rope.base,
                  .rotary_dim = rope.rotary_dim,
                  .pairing = rope.pairing,
                  .scaling = wanted.kind,
                  .turned_pairs = rope.turned_pairs};
  if (wanted.kind == Kind::kNone) return scaled;
  if (wanted.kind != Kind::kQwen1Ntk) scaled.factor = wanted.factor;
  if (wanted.kind == Kind::kLinear || wanted.kind == Kind::kNtk) return scaled;
  scaled.original_context = original;
  if (wanted.kind == Kind::kLlama3) {
    scaled.low_freq_factor = wanted.low_freq_factor;
    scaled.high_freq_factor = wanted.high_freq_factor;
  }
  if (wanted.kind == Kind::kYarn) {
    scaled.beta_fast = wanted.beta_fast;
    scaled.beta_slow = wanted.beta_slow;
    scaled.truncate = wanted.truncate;
    scaled.attention_factor = wanted.attention_factor.value_or(YarnMagnitude(wanted.factor, 1));
  }
  return scaled;
}

std::string RopeScalingText(const RopeSpec& rope) {
  std::vector<std::string> parameters;
  const bool has_factor =
      rope.scaling != Kind::kNone && rope.scaling != Kind::kQwen1Ntk && rope.scaling != Kind::kLongRope;
  if (has_factor) parameters.push_back(absl::StrCat("factor=", Decimals(rope.factor)));
  if (rope.original_context > 0) parameters.push_back(absl::StrCat("original=", rope.original_context));
  if (!rope.frequency_factors.empty()) parameters.push_back("divisors=file");
  std::string text = absl::StrCat(RopeScalingName(rope.scaling), parameters.empty() ? "" : ":",
                                  absl::StrJoin(parameters, ","));
  AppendParameters(rope, text);
  return text;
}

}  // namespace ropeway
