#include "engine/model/hf_rope.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/decimals.h"
#include "engine/base/status_macros.h"

namespace ropeway {
namespace {

using Json = nlohmann::json;

absl::Status ReadOriginalContext(JsonFields& fields, const HfRopeDefaults& defaults, RopeSpec& rope) {
  constexpr char kName[] = "original_max_position_embeddings";
  const int32_t beside = defaults.original_context;
  ASSIGN_OR_RETURN(const int32_t said,
                   fields.IntOr(kName, beside > 0 ? beside : static_cast<int32_t>(defaults.context_length)));
  rope.original_context = said;
  if (beside == 0 || said == beside) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(fields.NameOf(kName), " must be ", beside, " as the config says elsewhere, is ", said));
}

// One divisor for each pair that is turned.
absl::StatusOr<std::vector<double>> ReadFactors(JsonFields& fields, const char* name, int32_t pairs) {
  const Json* values = fields.Find(name);
  const absl::Status wrong = absl::InvalidArgumentError(
      absl::StrCat(fields.NameOf(name), " must be an array of ", pairs, " positive numbers"));
  if (values == nullptr || !values->is_array() || values->size() != static_cast<size_t>(pairs)) return wrong;
  std::vector<double> factors;
  for (const Json& value : *values) {
    if (!value.is_number() || !std::isfinite(value.get<double>()) || !(value.get<double>() > 0)) return wrong;
    factors.push_back(value.get<double>());
  }
  return factors;
}

absl::Status ReadLongRope(JsonFields& fields, const HfRopeDefaults& defaults, RopeSpec& rope) {
  rope.scaling = RopeScalingKind::kLongRope;
  RETURN_IF_ERROR(ReadOriginalContext(fields, defaults, rope));
  if (rope.original_context < 2)
    return absl::InvalidArgumentError(absl::StrCat(fields.NameOf("original_max_position_embeddings"),
                                                   " must be at least 2, is ", rope.original_context));
  ASSIGN_OR_RETURN(rope.short_factors, ReadFactors(fields, "short_factor", rope.rotary_dim / 2));
  ASSIGN_OR_RETURN(rope.long_factors, ReadFactors(fields, "long_factor", rope.rotary_dim / 2));
  const double extension =
      static_cast<double>(defaults.context_length) / static_cast<double>(rope.original_context);
  ASSIGN_OR_RETURN(const double factor, fields.DoubleOr("factor", extension));
  ASSIGN_OR_RETURN(rope.attention_factor,
                   fields.DoubleOr("attention_factor", LongRopeMagnitude(factor, rope.original_context)));
  rope.long_attention_factor = rope.attention_factor;
  return absl::OkStatus();
}

// What the model was made for is max_position_embeddings here.
absl::Status ReadDynamic(JsonFields& fields, const HfRopeDefaults& defaults, RopeSpec& rope) {
  rope.scaling = RopeScalingKind::kDynamicNtk;
  rope.original_context = defaults.context_length;
  ASSIGN_OR_RETURN(rope.factor, fields.Double("factor"));
  const auto context = static_cast<int32_t>(defaults.context_length);
  ASSIGN_OR_RETURN(const int32_t said, fields.IntOr("original_max_position_embeddings", context));
  if (said == context) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(fields.NameOf("original_max_position_embeddings"),
                                                 " must be ", context, " as the context is, is ", said));
}

absl::Status ReadLlama3(JsonFields& fields, const HfRopeDefaults& defaults, RopeSpec& rope) {
  rope.scaling = RopeScalingKind::kLlama3;
  ASSIGN_OR_RETURN(rope.factor, fields.Double("factor"));
  ASSIGN_OR_RETURN(rope.low_freq_factor, fields.Double("low_freq_factor"));
  ASSIGN_OR_RETURN(rope.high_freq_factor, fields.Double("high_freq_factor"));
  return ReadOriginalContext(fields, defaults, rope);
}

absl::Status ReadYarn(JsonFields& fields, const HfRopeDefaults& defaults, RopeSpec& rope) {
  rope.scaling = RopeScalingKind::kYarn;
  ASSIGN_OR_RETURN(rope.factor, fields.Double("factor"));
  RETURN_IF_ERROR(ReadOriginalContext(fields, defaults, rope));
  ASSIGN_OR_RETURN(rope.beta_fast, fields.DoubleOr("beta_fast", 32));
  ASSIGN_OR_RETURN(rope.beta_slow, fields.DoubleOr("beta_slow", 1));
  ASSIGN_OR_RETURN(rope.truncate, fields.BoolOr("truncate", true));
  ASSIGN_OR_RETURN(const double mscale, fields.DoubleOr("mscale", 0));
  ASSIGN_OR_RETURN(const double mscale_all_dim, fields.DoubleOr("mscale_all_dim", 0));
  // The quotient only where both are given and not zero.
  const double implied = mscale != 0 && mscale_all_dim != 0
                             ? YarnMagnitude(rope.factor, mscale) / YarnMagnitude(rope.factor, mscale_all_dim)
                             : YarnMagnitude(rope.factor, 1);
  ASSIGN_OR_RETURN(rope.attention_factor, fields.DoubleOr("attention_factor", implied));
  return fields.BoolOr("finetuned", true).status();  // a note
}

// "rope_type", or "type" as it was called before.
absl::StatusOr<std::string> TypeOf(JsonFields& fields) {
  ASSIGN_OR_RETURN(const std::string older, fields.StringOr("type", "default"));
  ASSIGN_OR_RETURN(std::string type, fields.StringOr("rope_type", older.c_str()));
  if (fields.Find("type") != nullptr && older != type)
    return absl::InvalidArgumentError(
        absl::StrCat(fields.NameOf("type"), " is '", older, "', but 'rope_type' is '", type, "'"));
  return type;
}

// Columns of a head that are rotated.
absl::StatusOr<int32_t> RotaryDim(const std::string& where, double rotated, const HfRopeDefaults& defaults) {
  if (!defaults.rotated_may_differ && rotated != defaults.rotated)
    return absl::UnimplementedError(absl::StrCat(where, " is ", Decimals(rotated), "; only ",
                                                 Decimals(defaults.rotated), " is supported"));
  if (!(rotated > 0 && rotated <= 1))
    return absl::InvalidArgumentError(absl::StrCat(where, " must be in (0, 1], is ", Decimals(rotated)));
  return static_cast<int32_t>(defaults.head_dim * rotated);
}

bool IsLongRope(absl::string_view type, const HfRopeDefaults& defaults) {
  return type == "longrope" || (defaults.older_longrope && (type == "su" || type == "yarn"));
}

// The rope that an object of settings describes.
absl::StatusOr<RopeSpec> ReadRope(const Json* object, const std::string& where, double base,
                                  const HfRopeDefaults& defaults) {
  static const Json& empty = *new Json(Json::object());
  if (object == nullptr) object = &empty;
  if (!object->is_object()) return absl::InvalidArgumentError(absl::StrCat(where, " must be an object"));
  JsonFields fields(*object, where);
  RopeSpec rope;
  ASSIGN_OR_RETURN(rope.base, fields.DoubleOr("rope_theta", base));
  ASSIGN_OR_RETURN(const double rotated, fields.DoubleOr("partial_rotary_factor", defaults.rotated));
  ASSIGN_OR_RETURN(rope.rotary_dim, RotaryDim(fields.NameOf("partial_rotary_factor"), rotated, defaults));
  ASSIGN_OR_RETURN(const std::string type, TypeOf(fields));
  if (IsLongRope(type, defaults)) {
    RETURN_IF_ERROR(ReadLongRope(fields, defaults, rope));
  } else if (type == "linear") {
    rope.scaling = RopeScalingKind::kLinear;
    ASSIGN_OR_RETURN(rope.factor, fields.Double("factor"));
  } else if (type == "llama3") {
    RETURN_IF_ERROR(ReadLlama3(fields, defaults, rope));
  } else if (type == "yarn") {
    RETURN_IF_ERROR(ReadYarn(fields, defaults, rope));
  } else if (type == "dynamic" && defaults.alpha && fields.Find("alpha") != nullptr) {
    rope.scaling = RopeScalingKind::kNtk;
    ASSIGN_OR_RETURN(rope.factor, fields.Double("alpha"));
    // They count for nothing beside it.
    for (const char* name : {"factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim"})
      RETURN_IF_ERROR(fields.DoubleOr(name, 1).status());
  } else if (type == "dynamic") {
    RETURN_IF_ERROR(ReadDynamic(fields, defaults, rope));
  } else if (type != "default") {
    return absl::UnimplementedError(absl::StrCat(fields.NameOf("rope_type"), " is '", type,
                                                 "', which is not supported; supported are default, linear, "
                                                 "dynamic, llama3, yarn, longrope"));
  }
  RETURN_IF_ERROR(fields.Finish(defaults.not_of_ropes));
  return rope;
}

// transformers 5: one object, or one per kind of layer.
absl::StatusOr<std::vector<RopeSpec>> ReadParameters(const Json& parameters, const std::string& where,
                                                     const HfRopeDefaults& defaults) {
  if (!defaults.local_base) {
    ASSIGN_OR_RETURN(RopeSpec rope, ReadRope(&parameters, where, defaults.base, defaults));
    return std::vector<RopeSpec>{std::move(rope)};
  }
  if (!parameters.is_object()) return absl::InvalidArgumentError(absl::StrCat(where, " must be an object"));
  JsonFields fields(parameters, where);
  ASSIGN_OR_RETURN(RopeSpec full, ReadRope(fields.Find("full_attention"), fields.NameOf("full_attention"),
                                           defaults.base, defaults));
  ASSIGN_OR_RETURN(RopeSpec sliding,
                   ReadRope(fields.Find("sliding_attention"), fields.NameOf("sliding_attention"),
                            *defaults.local_base, defaults));
  RETURN_IF_ERROR(fields.Finish());
  return std::vector<RopeSpec>{std::move(full), std::move(sliding)};
}

// Before: bases beside the scaling, which is that of the full layers.
absl::StatusOr<std::vector<RopeSpec>> ReadOlder(JsonFields& config, const HfRopeDefaults& defaults) {
  ASSIGN_OR_RETURN(const double base, config.DoubleOr("rope_theta", defaults.base));
  ASSIGN_OR_RETURN(RopeSpec rope,
                   ReadRope(config.Find("rope_scaling"), config.NameOf("rope_scaling"), base, defaults));
  std::vector<RopeSpec> ropes = {std::move(rope)};
  if (defaults.local_base) {
    RopeSpec sliding{.base = base, .rotary_dim = defaults.head_dim};
    if (!defaults.local_base_is_base) {
      ASSIGN_OR_RETURN(sliding.base, config.DoubleOr("rope_local_base_freq", *defaults.local_base));
    }
    ropes.push_back(std::move(sliding));
  }
  return ropes;
}

}  // namespace

absl::StatusOr<std::vector<RopeSpec>> ReadHfRopes(JsonFields& config, HfRopeDefaults defaults) {
  if (defaults.rotated_may_differ) {
    ASSIGN_OR_RETURN(defaults.rotated, config.DoubleOr(defaults.rotated_field, defaults.rotated));
  }
  if (defaults.older_base_field != nullptr) {
    ASSIGN_OR_RETURN(defaults.base, config.DoubleOr(defaults.older_base_field, defaults.base));
  }
  if (config.Find("original_max_position_embeddings") != nullptr) {
    ASSIGN_OR_RETURN(defaults.original_context, config.Int("original_max_position_embeddings"));
  }
  const Json* parameters = config.Find("rope_parameters");
  const bool older = config.Find("rope_scaling") != nullptr || config.Find("rope_theta") != nullptr ||
                     (defaults.local_base && config.Find("rope_local_base_freq") != nullptr);
  if (parameters == nullptr) return ReadOlder(config, defaults);
  const std::string where = config.NameOf("rope_parameters");
  ASSIGN_OR_RETURN(std::vector<RopeSpec> ropes, ReadParameters(*parameters, where, defaults));
  if (older) {
    ASSIGN_OR_RETURN(const std::vector<RopeSpec> again, ReadOlder(config, defaults));
    if (again != ropes)
      return absl::InvalidArgumentError(absl::StrCat(where,
                                                     " contradicts 'rope_theta', 'rope_scaling' or "
                                                     "'rope_local_base_freq'"));
  }
  return ropes;
}

}  // namespace ropeway
