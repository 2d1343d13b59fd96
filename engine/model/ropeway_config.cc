#include "engine/model/ropeway_config.h"

#include <cmath>
#include <functional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/model/config_fields.h"
#include "engine/model/ropeway_positions.h"

namespace ropeway {
namespace {

using Json = nlohmann::json;

constexpr char kArchitecture[] = "RopewayForCausalLM";
constexpr IntRange kHeads = {.least = 1, .most = 1024};

// An object with a type, whose fields depend on it. `read` gets the fields and the index of the type.
absl::Status ReadTyped(const Json& object, const std::string& path, absl::Span<const absl::string_view> types,
                       const std::function<void(ConfigFields& fields, int type)>& read) {
  ConfigFields fields(object, path);
  const int type = fields.Choice("type", types);
  if (!fields.status().ok()) return fields.status();
  read(fields, type);
  return fields.Finish();
}

// The same for a field of another object; absent, it keeps its default. Null is allowed where that is the
// default.
void ReadTypedField(ConfigFields& parent, const char* name, bool may_be_null,
                    absl::Span<const absl::string_view> types,
                    const std::function<void(ConfigFields& fields, int type)>& read) {
  const bool has_null = !parent.Has(name) && parent.Contains(name);
  if (has_null && !may_be_null) parent.Fail(name, "must not be null");
  if (const Json* object = parent.Find(name); object != nullptr)
    parent.Take(ReadTyped(*object, parent.PathOf(name), types, read));
}

void ReadSizes(ConfigFields& config, DecoderSpec& spec) {
  spec.vocab_size = config.Int("vocab_size", {.least = 1});
  spec.hidden_size = config.Int("hidden_size", {.least = 1, .most = 65536});
  spec.layers.resize(config.Int("num_hidden_layers", {.least = 1, .most = 1024}));
  spec.num_heads = config.Int("num_attention_heads", kHeads);
  spec.num_kv_heads = config.MaybeInt("num_key_value_heads", kHeads).value_or(spec.num_heads);
  config.Check(spec.num_heads % spec.num_kv_heads == 0, "num_key_value_heads",
               absl::StrCat(spec.num_kv_heads, " does not divide num_attention_heads ", spec.num_heads));
  const std::optional<int32_t> head_dim = config.MaybeInt("head_dim", {.least = 1, .most = 1024});
  if (!head_dim)
    config.Check(spec.hidden_size % spec.num_heads == 0, "head_dim",
                 absl::StrCat("missing, and hidden_size ", spec.hidden_size, " is no multiple of ",
                              spec.num_heads, " heads"));
  spec.head_dim = head_dim.value_or(spec.hidden_size / spec.num_heads);
  config.Check(spec.head_dim <= 1024, "head_dim",
               absl::StrCat("missing, and hidden_size / num_attention_heads is above 1024"));
  spec.value_dim = spec.head_dim;
  spec.context_length = config.Int("max_position_embeddings", {.least = 1});
}

NormSpec ReadNorm(ConfigFields& config) {
  NormSpec norm{.epsilon = 1e-6f};
  ReadTypedField(config, "norm", false, {"rms", "layer"}, [&norm](ConfigFields& fields, int type) {
    norm.kind = type == 0 ? NormKind::kRms : NormKind::kLayer;
    norm.epsilon = static_cast<float>(fields.NumberOr("eps", type == 0 ? 1e-6 : 1e-5));
    norm.offset = fields.BoolOr("plus_one", false) ? 1 : 0;
    if (type == 1) norm.has_bias = fields.BoolOr("bias", false);
  });
  return norm;
}

BlockSpec ReadBlock(ConfigFields& config) {
  BlockSpec block;
  ReadTypedField(config, "block", false, {"sequential", "parallel", "parallel_two_norms"},
                 [&block](ConfigFields& fields, int type) {
                   block.kind = static_cast<BlockKind>(type);
                   block.residual_scale = static_cast<float>(fields.NumberOr("residual_scale", 1));
                   if (block.kind != BlockKind::kSequential) return;
                   block.pre_norm = fields.BoolOr("pre_norm", true);
                   block.post_norm = fields.BoolOr("post_norm", false);
                   fields.Check(block.pre_norm || block.post_norm, "post_norm",
                                "a block needs a norm before or after it");
                 });
  return block;
}

FfnSpec ReadFfn(ConfigFields& config) {
  FfnSpec ffn{.size = config.Int("intermediate_size", {.least = 1, .most = 1 << 20})};
  static constexpr struct {
    bool gated;
    Activation activation;
  } kKinds[] = {{true, Activation::kSilu},     {true, Activation::kGeluErf},   {true, Activation::kGeluTanh},
                {false, Activation::kGeluErf}, {false, Activation::kGeluTanh}, {false, Activation::kRelu},
                {false, Activation::kRelu2}};
  ReadTypedField(config, "ffn", false,
                 {"swiglu", "geglu", "geglu_tanh", "gelu", "gelu_tanh", "relu", "relu2"},
                 [&ffn](ConfigFields& fields, int type) {
                   ffn.gated = kKinds[type].gated;
                   ffn.activation = kKinds[type].activation;
                   ffn.bias = fields.BoolOr("bias", false);
                 });
  return ffn;
}

HeadNormSpec ReadHeadNorm(ConfigFields& attention) {
  enum { kRms, kLayer, kRmsFull, kL2 };
  HeadNormSpec norm;
  ReadTypedField(attention, "qk_norm", true, {"rms", "layer", "rms_full", "l2"},
                 [&norm](ConfigFields& fields, int type) {
                   norm.kind = type == kLayer ? NormKind::kLayer : NormKind::kRms;
                   norm.epsilon = static_cast<float>(fields.NumberOr("eps", 1e-6));
                   norm.after_rotation = fields.BoolOr("after_rotation", false);
                   if (type == kRms) norm.offset = fields.BoolOr("plus_one", false) ? 1 : 0;
                   norm.per_head = type == kLayer;
                   norm.all_heads = type == kRmsFull;
                   norm.has_weight = type != kL2;
                 });
  return norm;
}

QueryScale ReadQueryScale(ConfigFields& attention) {
  QueryScale scale;
  ReadTypedField(attention, "query_scale", true, {"temperature", "logn"},
                 [&scale](ConfigFields& fields, int type) {
                   if (type == 0)
                     scale = TemperatureScale{.floor_scale = fields.NumberOr("floor_scale", 8192),
                                              .attention_scale = fields.NumberOr("attn_scale", 0.1)};
                   else
                     scale = LognScale{.train_length = fields.Int("train_length", {.least = 2})};
                 });
  return scale;
}

absl::StatusOr<AttentionSpec> ReadAttention(const Json& object, const std::string& path, int32_t head_dim) {
  ConfigFields fields(object, path);
  AttentionSpec attention{.qkv_bias = fields.BoolOr("qkv_bias", false),
                          .output_bias = fields.BoolOr("o_bias", false),
                          .sinks = fields.BoolOr("sinks", false)};
  attention.scale =
      static_cast<float>(fields.MaybeNumber("scale").value_or(1 / std::sqrt(double{1} * head_dim)));
  attention.softcap = fields.MaybeNumber("softcap").value_or(0);
  attention.head_norm = ReadHeadNorm(fields);
  attention.query_scale = ReadQueryScale(fields);
  RETURN_IF_ERROR(fields.Finish());
  return attention;
}

// A field that is one object for all layers, or a list with one object per layer.
class PerLayer {
 public:
  PerLayer(ConfigFields& config, const char* name, int layers, const Json* or_default)
      : value_(config.Find(name)), name_(name) {
    if (value_ == nullptr) {
      value_ = or_default;
      if (config.Contains(name)) config.Fail(name, "must not be null");
      if (or_default == nullptr) config.Fail(name, "missing");
    } else if (value_->is_array() && value_->size() != static_cast<size_t>(layers)) {
      config.Fail(name, absl::StrCat("needs ", layers, " entries, has ", value_->size()));
    }
  }

  const Json& of(int layer) const { return value_->is_array() ? (*value_)[layer] : *value_; }
  std::string path(int layer) const {
    return value_->is_array() ? absl::StrCat(name_, "[", layer, "]") : std::string(name_);
  }

 private:
  const Json* value_;
  const char* name_;
};

absl::Status ReadLayers(const PerLayer& attentions, const PerLayer& positions, const FfnSpec& ffn,
                        DecoderSpec& spec) {
  const PositionContext context{spec.hidden_size, spec.head_dim, spec.context_length};
  for (int i = 0; i < spec.num_layers(); ++i) {
    LayerSpec& layer = spec.layers[i];
    layer.ffn = ffn;
    ASSIGN_OR_RETURN(layer.attention, ReadAttention(attentions.of(i), attentions.path(i), spec.head_dim));
    ASSIGN_OR_RETURN(layer.position, ReadPosition(positions.of(i), positions.path(i), context));
    if (layer.attention.head_norm.after_rotation && !IsRotary(layer.position.scheme))
      return ConfigError(absl::StrCat(attentions.path(i), ".qk_norm.after_rotation"),
                         absl::StrCat("needs a rotary scheme, which ", positions.path(i), " has not"));
  }
  return CheckAgreement(spec.layers, [&positions](int layer) { return positions.path(layer); });
}

// A token id, null, or where it may be a list several ids.
std::vector<int32_t> ReadTokens(ConfigFields& config, const char* name, bool may_be_list,
                                int32_t vocab_size) {
  std::vector<int32_t> tokens;
  const Json* value = config.Find(name);
  if (value == nullptr) return tokens;
  const bool is_list = may_be_list && value->is_array() && !value->empty();
  const Json single = Json::array({*value});
  for (const Json& token : is_list ? *value : single) {
    if (!token.is_number_integer()) {
      config.Fail(name, may_be_list ? "must be a token id or a list of them" : "must be a token id");
    } else if (token.is_number_unsigned() && token.get<uint64_t>() < static_cast<uint64_t>(vocab_size)) {
      tokens.push_back(token.get<int32_t>());
    } else {
      config.Fail(name, absl::StrCat("outside the vocabulary of ", vocab_size));
    }
  }
  return tokens;
}

std::optional<int32_t> ReadToken(ConfigFields& config, const char* name, int32_t vocab_size) {
  const std::vector<int32_t> tokens = ReadTokens(config, name, /*may_be_list=*/false, vocab_size);
  return tokens.empty() ? std::nullopt : std::optional(tokens[0]);
}

void CheckIdentity(ConfigFields& config) {
  config.Choice("model_type", {"ropeway"});
  config.Int("format_version", {.least = 1, .most = 1});
  const Json* architectures = config.Find("architectures");
  if (architectures == nullptr)
    config.Fail("architectures", "missing");
  else if (*architectures != Json::array({kArchitecture}))
    config.Fail("architectures", "must be [\"RopewayForCausalLM\"]");
}

}  // namespace

bool IsRopewayConfig(const Json& config) {
  if (!config.is_object()) return false;
  const auto type = config.find("model_type"), architectures = config.find("architectures");
  return (type != config.end() && *type == "ropeway") ||
         (architectures != config.end() && *architectures == Json::array({kArchitecture}));
}

absl::StatusOr<RopewayConfig> ReadRopewayConfig(const Json& json) {
  if (!json.is_object()) return absl::InvalidArgumentError("must be an object");
  ConfigFields config(json, "");
  RopewayConfig read;
  DecoderSpec& spec = read.spec;
  CheckIdentity(config);
  spec.architecture = "ropeway";
  constexpr DType kTypes[] = {DType::kF32, DType::kBF16, DType::kF16};
  read.dtype = kTypes[config.Choice("dtype", {"float32", "bfloat16", "float16"}, 0)];
  ReadSizes(config, spec);
  spec.norm = ReadNorm(config);
  spec.block = ReadBlock(config);
  const FfnSpec ffn = ReadFfn(config);
  spec.tied_output = config.BoolOr("tie_word_embeddings", false);
  spec.output_bias = config.BoolOr("lm_head_bias", false);
  spec.embedding_scale = static_cast<float>(config.NumberOr("embedding_scale", 1));
  spec.embedding_norm = config.BoolOr("embedding_norm", false);
  spec.logit_scale = static_cast<float>(config.NumberOr("logit_scale", 1));
  spec.logit_softcap = config.MaybeNumber("logit_softcap").value_or(0);
  read.bos_token_id = ReadToken(config, "bos_token_id", spec.vocab_size);
  read.pad_token_id = ReadToken(config, "pad_token_id", spec.vocab_size);
  read.eos_token_ids = ReadTokens(config, "eos_token_id", /*may_be_list=*/true, spec.vocab_size);
  const Json no_attention = Json::object();
  const PerLayer attentions(config, "attention", spec.num_layers(), &no_attention),
      positions(config, "positions", spec.num_layers(), nullptr);
  RETURN_IF_ERROR(config.Finish());
  RETURN_IF_ERROR(ReadLayers(attentions, positions, ffn, spec));
  RETURN_IF_ERROR(spec.Validate());
  return read;
}

}  // namespace ropeway
