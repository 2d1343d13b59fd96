#include "engine/model/ropeway_positions.h"

#include <optional>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/model/config_fields.h"
#include "engine/model/ropeway_rope.h"

namespace ropeway {
namespace {

using Json = nlohmann::json;

constexpr absl::string_view kTypes[] = {"nope",           "sinusoidal", "learned", "shaw",  "t5",
                                        "transformer_xl", "rope",       "rpe3d",   "alibi", "kerple",
                                        "fire",           "sandwich",   "dape"};
enum Type {
  kNope,
  kSinusoidal,
  kLearned,
  kShaw,
  kT5,
  kTransformerXl,
  kRope,
  kRpe3d,
  kAlibi,
  kKerple,
  kFire,
  kSandwich,
  kDape
};

constexpr absl::string_view kBases[] = {"nope", "rope", "alibi", "kerple", "fire"};
enum Base { kBaseNope, kBaseRope, kBaseAlibi, kBaseKerple, kBaseFire };

constexpr IntRange kWidths = {.least = 1, .most = 4096};
constexpr NumberRange kBaseNumbers = {.above = 1};

void CheckEvenHiddenSize(ConfigFields& fields, absl::string_view type, const PositionContext& context) {
  fields.Check(context.hidden_size % 2 == 0, "type",
               absl::StrCat(type, " needs an even hidden_size, not ", context.hidden_size));
}

SinusoidalSpec ReadSinusoidal(ConfigFields& fields, const PositionContext& context) {
  CheckEvenHiddenSize(fields, "sinusoidal", context);
  const auto layout =
      static_cast<SinusoidalLayout>(fields.Choice("layout", {"interleaved", "concat", "t2t"}, 0));
  fields.Check(layout != SinusoidalLayout::kTensor2Tensor || context.hidden_size >= 4, "layout",
               "t2t needs hidden_size >= 4");
  return {.layout = layout,
          .base = fields.NumberOr("base", 10000, kBaseNumbers),
          .offset = fields.IntOr("offset", 0, {})};
}

LearnedSpec ReadLearned(ConfigFields& fields, const PositionContext& context) {
  const LearnedSpec spec{.rows = fields.Int("rows", {.least = 1}), .offset = fields.IntOr("offset", 0, {})};
  fields.Check(int64_t{spec.rows} >= int64_t{context.context_length} + spec.offset, "rows",
               absl::StrCat(spec.rows, " rows cannot serve max_position_embeddings ", context.context_length,
                            " with offset ", spec.offset));
  return spec;
}

ShawSpec ReadShaw(ConfigFields& fields) {
  return {.clip = fields.Int("clip", {.least = 1, .most = 65536}),
          .value = fields.BoolOr("value", false),
          .per_head = fields.BoolOr("per_head", false)};
}

T5Spec ReadT5(ConfigFields& fields) {
  const T5Spec spec{.num_buckets = fields.IntOr("num_buckets", 32, {.least = 2, .most = 4096}),
                    .max_distance = fields.IntOr("max_distance", 128, {.least = 2}),
                    .shared = fields.BoolOr("shared", true)};
  fields.Check(spec.num_buckets % 2 == 0, "num_buckets", absl::StrCat(spec.num_buckets, " is odd"));
  fields.Check(2 * int64_t{spec.max_distance} > spec.num_buckets, "max_distance",
               "must be above num_buckets / 2");
  return spec;
}

Rpe3dSpec ReadRpe3d(ConfigFields& fields, const PositionContext& context) {
  fields.Check(context.head_dim % 2 == 0, "type",
               absl::StrCat("rpe3d needs an even head_dim, not ", context.head_dim));
  Rpe3dSpec spec{.form = static_cast<Rpe3dForm>(fields.Choice("form", {"definition1", "chunked"})),
                 .chunk_size = fields.Int("chunk_size", {.least = 1}),
                 .base = fields.NumberOr("theta", 10000, kBaseNumbers)};
  const std::optional<int32_t> local_window = fields.MaybeInt("local_window", {.least = 1});
  const std::optional<double> pi_factor = fields.MaybeNumber("pi_factor");
  spec.phi_base = fields.MaybeNumber("phi_base", kBaseNumbers).value_or(spec.base);
  spec.local_window = local_window.value_or(0);
  spec.pi_factor = pi_factor.value_or(1);
  if (spec.form == Rpe3dForm::kDefinition1) {
    fields.Check(!local_window, "local_window", "belongs to form chunked");
  } else {
    fields.Check(!pi_factor, "pi_factor", "belongs to form definition1");
    fields.Check(local_window.has_value(), "local_window", "missing");
    fields.Check(spec.local_window < spec.chunk_size, "local_window", "must be below chunk_size");
  }
  return spec;
}

AlibiSpec ReadAlibi(ConfigFields& fields) {
  return {.max_bias = fields.NumberOr("max_bias", 8), .scaled = fields.BoolOr("scaled", false)};
}

KerpleSpec ReadKerple(ConfigFields& fields) {
  return {static_cast<KerpleVariant>(fields.Choice("variant", {"log", "power"}))};
}

FireSpec ReadFire(ConfigFields& fields) {
  return {.width = fields.IntOr("width", 32, kWidths),
          .init_length = fields.NumberOr("init_length", 512),
          .activation = static_cast<FireActivation>(fields.Choice("activation", {"relu", "leaky"}, 0)),
          .shared = fields.BoolOr("shared", false)};
}

absl::StatusOr<DapeBase> ReadDapeBase(const Json& object, const std::string& path,
                                      const PositionContext& context) {
  ConfigFields fields(object, path);
  const auto type = static_cast<Base>(fields.Choice("type", kBases));
  if (!fields.status().ok()) return fields.status();
  DapeBase base;
  switch (type) {
    case kBaseNope:
      break;
    case kBaseRope:
      base = ReadRopewayRope(fields, context.head_dim, context.context_length);
      break;
    case kBaseAlibi: {
      const AlibiSpec alibi = ReadAlibi(fields);
      fields.Check(!alibi.scaled, "scaled", "has no meaning inside dape");
      base = alibi;
      break;
    }
    case kBaseKerple:
      base = ReadKerple(fields);
      break;
    case kBaseFire:
      base = ReadFire(fields);
      break;
  }
  RETURN_IF_ERROR(fields.Finish());
  return base;
}

DapeSpec ReadDape(ConfigFields& fields, const PositionContext& context) {
  DapeSpec spec{.width = fields.IntOr("width", 32, kWidths)};
  const Json* object = fields.Find("base");
  if (object == nullptr) {
    fields.Fail("base", "missing");
    return spec;
  }
  absl::StatusOr<DapeBase> base = ReadDapeBase(*object, fields.PathOf("base"), context);
  fields.Take(base.status());
  if (base.ok()) spec.base = *std::move(base);
  return spec;
}

PositionScheme ReadScheme(ConfigFields& fields, Type type, const PositionContext& context) {
  switch (type) {
    case kNope:
      return NopeSpec();
    case kSinusoidal:
      return ReadSinusoidal(fields, context);
    case kLearned:
      return ReadLearned(fields, context);
    case kShaw:
      return ReadShaw(fields);
    case kT5:
      return ReadT5(fields);
    case kTransformerXl:
      CheckEvenHiddenSize(fields, "transformer_xl", context);
      return TransformerXlSpec{.shared_uv = fields.BoolOr("shared_uv", false)};
    case kRope:
      return ReadRopewayRope(fields, context.head_dim, context.context_length);
    case kRpe3d:
      return ReadRpe3d(fields, context);
    case kAlibi:
      return ReadAlibi(fields);
    case kKerple:
      return ReadKerple(fields);
    case kFire:
      return ReadFire(fields);
    case kSandwich: {
      const SandwichSpec spec{.dim = fields.IntOr("dim", 128, {.least = 2, .most = 65536})};
      fields.Check(spec.dim % 2 == 0, "dim", absl::StrCat(spec.dim, " is odd"));
      return spec;
    }
    case kDape:
      return ReadDape(fields, context);
  }
  return NopeSpec();
}

bool AddsToInput(const PositionScheme& scheme) {
  return std::holds_alternative<SinusoidalSpec>(scheme) || std::holds_alternative<LearnedSpec>(scheme);
}

// One thing that layers share, as the first of them has it.
template <typename Value>
class Shared {
 public:
  explicit Shared(const char* what) : what_(what) {}

  absl::Status Check(const Value& value, const std::string& layer_path, const std::string& blamed) {
    if (!first_) first_ = {layer_path, value};
    if (first_->second == value) return absl::OkStatus();
    return ConfigError(blamed, absl::StrCat("differs from ", what_, " of ", first_->first));
  }

 private:
  const char* what_;
  std::optional<std::pair<std::string, Value>> first_;
};

}  // namespace

absl::StatusOr<PositionSpec> ReadPosition(const Json& object, const std::string& path,
                                          const PositionContext& context) {
  ConfigFields fields(object, path);
  const auto type = static_cast<Type>(fields.Choice("type", kTypes));
  if (!fields.status().ok()) return fields.status();
  const std::optional<int32_t> window = fields.MaybeInt("window", {.least = 1}),
                               chunk = fields.MaybeInt("chunk", {.least = 1});
  fields.Check(!(window && chunk), "chunk", "excludes window");
  PositionSpec spec{.window = window.value_or(0), .chunk = chunk.value_or(0)};
  spec.scheme = ReadScheme(fields, type, context);
  RETURN_IF_ERROR(fields.Finish());
  return spec;
}

absl::Status CheckAgreement(const std::vector<LayerSpec>& layers,
                            const std::function<std::string(int layer)>& path_of) {
  Shared<PositionScheme> input("an input-added scheme");
  Shared<std::pair<int32_t, int32_t>> table("the shared t5 table");
  Shared<std::tuple<int32_t, double, FireActivation>> shared_fire("the shared fire");
  for (int i = 0; i < static_cast<int>(layers.size()); ++i) {
    const PositionScheme& scheme = layers[i].position.scheme;
    const std::string path = path_of(i);
    if (AddsToInput(scheme)) RETURN_IF_ERROR(input.Check(scheme, path, absl::StrCat(path, ".type")));
    if (const auto* t5 = std::get_if<T5Spec>(&scheme); t5 != nullptr && t5->shared)
      RETURN_IF_ERROR(table.Check({t5->num_buckets, t5->max_distance}, path, absl::StrCat(path, ".shared")));
    if (const FireSpec* fire = SchemeOrBase<FireSpec>(scheme); fire != nullptr && fire->shared) {
      const bool inside = std::holds_alternative<DapeSpec>(scheme);
      RETURN_IF_ERROR(shared_fire.Check({fire->width, fire->init_length, fire->activation}, path,
                                        absl::StrCat(path, inside ? ".base" : "", ".shared")));
    }
  }
  return absl::OkStatus();
}

}  // namespace ropeway
