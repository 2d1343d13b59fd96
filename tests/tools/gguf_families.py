"""What the keys and tensors of a GGUF file say of each family, from its config.json, for folder_to_gguf.py."""

import array
import math

from gguf_tensors import Refused, Tensor

BLOCKS = "model.layers.*."


# ---- config.json ----------------------------------------------------------------------------------------------------

class Config:
    """config.json, in the spelling of transformers 4 or 5."""

    def __init__(self, fields):
        self.fields = fields
        self.type = fields["model_type"]
        self.hidden = self.first("hidden_size", "n_embd", "d_model")
        self.layers = self.first("num_hidden_layers", "n_layer", "n_layers", "num_layers")
        self.heads = self.first("num_attention_heads", "n_head", "n_heads", "num_heads")
        self.kv_heads = self.first("num_key_value_heads", default=self.heads)
        self.head_dim = self.first("head_dim", default=self.hidden // self.heads)
        self.ffn = self.first("intermediate_size", "n_inner", "ffn_hidden_size", "ffn_dim", default=4 * self.hidden)
        self.context = self.first("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", default=2048)
        if self.type == "falcon":
            new = fields.get("new_decoder_architecture", False)
            self.kv_heads = fields["num_kv_heads"] if new else 1 if fields.get("multi_query", True) else self.heads
        if "qk_rope_head_dim" in fields:
            self.head_dim = fields["qk_rope_head_dim"]
        if self.type == "gpt_bigcode":
            self.kv_heads = 1 if fields.get("multi_query", True) else self.heads

    def first(self, *names, default=None):
        for name in names:
            if self.fields.get(name) is not None:
                return self.fields[name]
        if default is None:
            raise Refused(f"config.json has none of {', '.join(names)}")
        return default

    def __getitem__(self, name):
        return self.first(name)

    def get(self, name, default=None):
        found = self.fields.get(name)
        return default if found is None else found

    def epsilon(self):
        return float(self.first("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_eps", "norm_epsilon",
                                default=1e-5))

    def rope(self, kind="full_attention"):
        """The rotary settings of one kind of layers, in the newer spelling."""
        rope = self.get("rope_parameters")
        if rope is None:
            rope = dict(self.get("rope_scaling", {}), rope_theta=self.get("rope_theta", 10000.0))
        rope = dict(rope.get(kind, rope))
        rope.setdefault("rope_type", rope.get("type", "default"))
        rope.setdefault("rope_theta", 10000.0)
        return rope

    def rotary_dim(self):
        return int(self.head_dim * self.rope().get("partial_rotary_factor", self.get("partial_rotary_factor", 1.0)))

    def windowed(self):
        """Which layers have a window."""
        return [kind == "sliding_attention" for kind in self.get("layer_types", [])]


def llama3_divisors(rope, rotary_dim):
    factor, low, high = rope["factor"], rope["low_freq_factor"], rope["high_freq_factor"]
    context = rope["original_max_position_embeddings"]
    divisors = []
    for i in range(rotary_dim // 2):
        wavelength = 2 * math.pi * rope["rope_theta"] ** (2 * i / rotary_dim)
        smooth = (context / wavelength - low) / (high - low)
        divisors.append(1.0 if wavelength < context / high else factor if wavelength > context / low
                        else 1 / ((1 - smooth) / factor + smooth))
    return vector(divisors)


def vector(numbers):
    return Tensor("F32", [len(numbers)], array.array("f", numbers).tobytes())


def yarn_keys(rope, context, truncate):
    factor = rope["factor"]

    def magnitude(mscale):
        return 0.1 * mscale * math.log(factor) + 1 if factor > 1 else 1.0

    if rope.get("truncate", True) != truncate:
        raise Refused(f"rope_parameters.truncate is not {str(truncate).lower()}, which GGUF has no key for")
    wanted = magnitude(1)
    if rope.get("mscale") and rope.get("mscale_all_dim"):
        wanted = magnitude(rope["mscale"]) / magnitude(rope["mscale_all_dim"])
    wanted = rope.get("attention_factor") or wanted
    keys = {"scaling.type": "yarn", "scaling.factor": float(factor),
            "scaling.original_context_length": rope.get("original_max_position_embeddings", context)}
    if wanted != magnitude(1):
        keys["scaling.attn_factor"] = wanted / magnitude(1)
    for name in ("beta_fast", "beta_slow"):
        if name in rope:
            keys[f"scaling.yarn_{name}"] = float(rope[name])
    return keys


def rope_keys(config):
    """Keys behind "rope.", and tensors."""
    rope, rotary_dim = config.rope(), config.rotary_dim()
    keys, tensors = {"freq_base": float(rope["rope_theta"]), "dimension_count": rotary_dim}, {}
    kind = rope["rope_type"]
    if kind == "linear":
        keys.update({"scaling.type": "linear", "scaling.factor": float(rope["factor"])})
    elif kind == "yarn":
        keys.update(yarn_keys(rope, config.context, truncate=config.type != "gpt_oss"))
    elif kind == "llama3":
        tensors["rope_freqs.weight"] = llama3_divisors(rope, rotary_dim)
    elif kind in ("longrope", "su"):
        original = rope.get("original_max_position_embeddings") or config.get("original_max_position_embeddings")
        extension = config.context / original
        implied = math.sqrt(1 + math.log(extension) / math.log(original)) if extension > 1 else 1.0
        keys.update({"scaling.original_context_length": original,
                     "scaling.attn_factor": float(rope.get("attention_factor") or implied)})
        tensors["rope_factors_long.weight"] = vector(rope["long_factor"])
        tensors["rope_factors_short.weight"] = vector(rope["short_factor"])
    elif kind == "dynamic" and "alpha" in rope:
        keys["freq_base"] = rope["rope_theta"] * rope["alpha"] ** (rotary_dim / (rotary_dim - 2))
    elif kind != "default":
        raise Refused(f"rope_type is '{kind}', which GGUF has no key for")
    return keys, tensors


# ---- Families -------------------------------------------------------------------------------------------------------

LLAMA = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    BLOCKS + "input_layernorm": "attn_norm", BLOCKS + "post_attention_layernorm": "ffn_norm",
    BLOCKS + "self_attn.q_proj": "attn_q", BLOCKS + "self_attn.k_proj": "attn_k",
    BLOCKS + "self_attn.v_proj": "attn_v", BLOCKS + "self_attn.o_proj": "attn_output",
    BLOCKS + "self_attn.q_norm": "attn_q_norm", BLOCKS + "self_attn.k_norm": "attn_k_norm",
    BLOCKS + "mlp.gate_proj": "ffn_gate", BLOCKS + "mlp.up_proj": "ffn_up", BLOCKS + "mlp.down_proj": "ffn_down",
}


def blocks(prefix, names):
    return {prefix + stem: name for stem, name in names.items()}


POST_NORMS = blocks(BLOCKS, {"post_attention_layernorm": "post_attention_norm",
                             "post_feedforward_layernorm": "post_ffw_norm"})
GEMMA_NORMS = POST_NORMS | {BLOCKS + "pre_feedforward_layernorm": "ffn_norm"}
FUSED_GATE = {BLOCKS + "mlp.gate_up_proj": "ffn_up"}
GPT = {"transformer.wte": "token_embd", "transformer.wpe": "position_embd", "transformer.ln_f": "output_norm",
       "lm_head": "output",
       **blocks("transformer.h.*.", {"ln_1": "attn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output",
                                     "ln_2": "ffn_norm", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"})}
ROWS_OF_BLOOM = {"self_attention.query_key_value": "attn_qkv", "self_attention.dense": "attn_output",
                 "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "ln_attn": "attn_norm_2",
                 "ln_mlp": "attn_norm", "mlp.dense_h_to_4h": "ffn_up", "mlp.dense_4h_to_h": "ffn_down"}
BLOOM = {"transformer.word_embeddings": "token_embd", "transformer.word_embeddings_layernorm": "token_embd_norm",
         "transformer.ln_f": "output_norm", "lm_head": "output", **blocks("transformer.h.*.", ROWS_OF_BLOOM)}
NEOX = {"gpt_neox.embed_in": "token_embd", "gpt_neox.final_layer_norm": "output_norm", "embed_out": "output",
        **blocks("gpt_neox.layers.*.", {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
                                        "attention.query_key_value": "attn_qkv", "attention.dense": "attn_output",
                                        "mlp.dense_h_to_4h": "ffn_up", "mlp.dense_4h_to_h": "ffn_down"})}
MPT = {"transformer.wte": "token_embd", "transformer.norm_f": "output_norm", "lm_head": "output",
       **blocks("transformer.blocks.*.", {"norm_1": "attn_norm", "attn.Wqkv": "attn_qkv",
                                          "attn.out_proj": "attn_output", "norm_2": "ffn_norm",
                                          "ffn.up_proj": "ffn_up", "ffn.down_proj": "ffn_down"})}
PHI = LLAMA | {"model.final_layernorm": "output_norm", BLOCKS + "self_attn.dense": "attn_output",
               BLOCKS + "mlp.fc1": "ffn_up", BLOCKS + "mlp.fc2": "ffn_down"}


def interleaved(name, tensor, config):
    """Rows of each query and key head from halves (i, i + E / 2) to pairs (2 i, 2 i + 1)."""
    heads = {"attn_q": config.heads, "attn_k": config.kv_heads}.get(name)
    if heads is None:
        return tensor
    head_dim = tensor.shape[0] // heads
    order = [head * head_dim + i % 2 * (head_dim // 2) + i // 2 for head in range(heads) for i in range(head_dim)]
    return tensor.rows([(row, row + 1) for row in order])


def norms_plus_one(name, tensor, _):
    return tensor.changed(lambda weight: weight + 1) if name.endswith("norm") else tensor


def matrices_transposed(name, tensor, _):
    return tensor.transposed() if len(tensor.shape) == 2 and "embd" not in name else tensor


def qkv_by_group(name, tensor, config):
    """Rows of queries, keys and values of each KV head, to all queries, all keys, all values."""
    if name != "attn_qkv":
        return tensor
    head_dim, group = config.head_dim, config.heads // config.kv_heads
    starts = [i * (group + 2) * head_dim for i in range(config.kv_heads)]
    queries = group * head_dim
    return tensor.rows([(at, at + queries) for at in starts] +
                       [(at + queries, at + queries + head_dim) for at in starts] +
                       [(at + queries + head_dim, at + queries + 2 * head_dim) for at in starts])


def same(_, tensor, __):
    return tensor


class Family:
    def __init__(self, architecture, names=LLAMA, change=same, weights_only=False, layer_norm=False, rope=True,
                 keys=None):
        self.architecture, self.names, self.change = architecture, names, change
        self.weights_only = weights_only  # `change` is for weights alone, not for biases
        self.layer_norm, self.rope = layer_norm, rope
        self.more = keys or (lambda config: {})

    def keys(self, config):
        epsilon = "layer_norm_epsilon" if self.layer_norm else "layer_norm_rms_epsilon"
        keys = {"context_length": config.context, "embedding_length": config.hidden, "block_count": config.layers,
                "feed_forward_length": config.ffn, "attention.head_count": config.heads,
                "attention.head_count_kv": config.kv_heads, f"attention.{epsilon}": config.epsilon()}
        if config.head_dim * config.heads != config.hidden:
            keys |= {"attention.key_length": config.head_dim, "attention.value_length": config.head_dim}
        return keys | self.more(config)


def windows(config):
    keys = {"attention.sliding_window": config["sliding_window"]}
    if config.windowed():
        keys["attention.sliding_window_pattern"] = config.windowed()
    return keys


def maybe_windows(config):
    windowed = config.windowed()
    return windows(config) if config.get("sliding_window") and (not windowed or any(windowed)) else {}


def qwen2(config):
    if config.get("use_sliding_window", False) or any(config.windowed()):
        raise Refused("use_sliding_window is true, which GGUF has no key for")
    return {}


def gemma2(config):
    return windows(config) | {
        "attn_logit_softcapping": float(config["attn_logit_softcapping"]),
        "final_logit_softcapping": float(config["final_logit_softcapping"]),
        "attention.scale": config["query_pre_attn_scalar"] ** -0.5}


def gemma3(config):
    return windows(config) | {"rope.freq_base_swa": float(config.rope("sliding_attention")["rope_theta"]),
                              "attention.scale": config["query_pre_attn_scalar"] ** -0.5}


def granite(config):
    return {"attention.scale": float(config["attention_multiplier"]),
            "embedding_scale": float(config["embedding_multiplier"]),
            "residual_scale": float(config["residual_multiplier"]), "logit_scale": float(config["logits_scaling"])}


def olmo(config):
    return {"attention.clamp_kqv": float(config.get("clip_qkv", 0))} if config.get("clip_qkv") else {}


def mpt(config):
    attention = config["attn_config"]
    keys = {"attention.max_alibi_bias": 8.0}
    if attention.get("clip_qkv"):
        keys["attention.clamp_kqv"] = float(attention["clip_qkv"])
    if attention.get("softmax_scale"):
        keys["attention.scale"] = float(attention["softmax_scale"])
    return keys


def falcon(config):
    if config.get("alibi", False):
        raise Refused("alibi is true, which GGUF files of Falcon have no key for")
    return {"tensor_data_layout": "jploski"}


def bloom(config):
    if config.get("apply_residual_connection_post_layernorm", False):
        raise Refused("apply_residual_connection_post_layernorm is true, which GGUF has no key for")
    return {}


def gpt2(config):
    if config.get("scale_attn_by_inverse_layer_idx", False) or not config.get("scale_attn_weights", True):
        raise Refused("the scale of attention differs from layer to layer, which GGUF has no key for")
    return {}


def parallel(default):
    return lambda config: {"use_parallel_residual": config.get("use_parallel_residual", default)}


def scaled_logits(config):
    return {"logit_scale": float(config["logit_scale"])} | maybe_windows(config)


def require(condition, what):
    if not condition:
        raise Refused(f"{what}, which GGUF has no key for")


def experts(config, *count, normalised=None):
    """Keys of mixtures of experts; `normalised` is what the architecture implies."""
    if normalised is not None:
        require(config.get("norm_topk_prob", False) == normalised, f"norm_topk_prob is not {str(normalised).lower()}")
    return {"expert_count": config.first(*count), "expert_used_count": config["num_experts_per_tok"]}


def mixtral(config):
    return experts(config, "num_local_experts") | maybe_windows(config)


def qwen_moe(normalised):
    def keys(config):
        shared = config.get("shared_expert_intermediate_size")
        return qwen2(config) | experts(config, "num_experts", "num_local_experts", normalised=normalised) | {
            "expert_feed_forward_length": config["moe_intermediate_size"]} | (
                {"expert_shared_feed_forward_length": shared} if shared else {})
    return keys


def olmoe(config):
    return olmo(config) | experts(config, "num_experts", "num_local_experts", normalised=False)


def granitemoe(config):
    shared = config.get("shared_intermediate_size", 0)
    return granite(config) | experts(config, "num_local_experts") | (
        {"expert_shared_feed_forward_length": shared} if shared else {})


def gpt_oss(config):
    require(config.get("swiglu_alpha", 1.702) == 1.702 and config.get("swiglu_limit", 7.0) == 7.0,
            "swiglu_alpha is not 1.702 or swiglu_limit not 7")
    keys = windows(config)
    every_second = [i % 2 == 0 for i in range(config.layers)]
    require(keys.pop("attention.sliding_window_pattern", every_second) == every_second, "layer_types differ")
    return keys | experts(config, "num_local_experts") | {"expert_feed_forward_length": config.ffn}


def latent(config):
    width = config["qk_nope_head_dim"] + config["qk_rope_head_dim"]
    keys = {"attention.kv_lora_rank": config["kv_lora_rank"], "attention.key_length": width,
            "attention.value_length": config.get("v_head_dim", config.hidden // config.heads)}
    if config.get("q_lora_rank"):
        keys["attention.q_lora_rank"] = config["q_lora_rank"]
    all_dim = config.rope().get("mscale_all_dim")
    return keys | ({"rope.scaling.yarn_log_multiplier": 0.1 * all_dim} if all_dim else {})


def deepseek_v3(config):
    require(config.get("rope_interleave", True), "rope_interleave is false")
    return latent(config) | experts(config, "n_routed_experts", "num_local_experts") | {
        "expert_feed_forward_length": config["moe_intermediate_size"],
        "leading_dense_block_count": config["first_k_dense_replace"],
        "expert_shared_count": config["n_shared_experts"], "expert_gating_func": 2,
        "expert_weights_scale": float(config["routed_scaling_factor"]),
        "expert_weights_norm": config.get("norm_topk_prob", True),
        "expert_group_count": config.get("n_group", 1), "expert_group_used_count": config.get("topk_group", 1)}


def minicpm3(config):
    depth = config.get("scale_depth", config.layers ** 0.5)
    return latent(config) | {"embedding_scale": float(config.get("scale_emb", 12)),
                             "residual_scale": depth / config.layers ** 0.5,
                             "logit_scale": config.hidden / config.get("dim_model_base", config.hidden)}


def llama4(config):
    step = config.get("interleave_moe_layer_step", 1)
    sparse = list(range(step - 1, config.layers, step))
    require(config.get("moe_layers", sparse) == sparse, "moe_layers are irregular")
    rotated = [int((i + 1) % 4 != 0) for i in range(config.layers)]
    require(config.get("no_rope_layers", rotated) == rotated, "not every fourth layer alone stands still")
    chunked = ["chunked_attention" if turned else "full_attention" for turned in rotated]
    require(config.get("layer_types", chunked) == chunked, "layer_types differ from no_rope_layers")
    require(config.get("use_qk_norm", True), "use_qk_norm is false")
    scale = config.get("attn_scale", 0.1) if config.get("attn_temperature_tuning", True) else 0
    return experts(config, "num_local_experts") | {
        "interleave_moe_layer_step": step, "expert_feed_forward_length": config["intermediate_size"],
        "feed_forward_length": config["intermediate_size_mlp"],
        "attention.chunk_size": config.get("attention_chunk_size", 8192),
        "attention.temperature_length": config.get("floor_scale", 8192), "attention.temperature_scale": float(scale)}


def ministral3(config):
    return maybe_windows(config) | {"attention.temperature_scale": float(config.rope()["llama_4_scaling_beta"])}


def expert_names(block):
    """Of the tensors of a block of experts, as experts_apart leaves them."""
    shared = {f"{stem}.{half}_proj": f"ffn_{half}_shexp" for stem in ("shared_expert", "shared_experts")
              for half in ("gate", "up", "down")}
    return LLAMA | blocks(f"{BLOCKS}{block}.", shared | {
        "gate": "ffn_gate_inp", "router": "ffn_gate_inp", "router.layer": "ffn_gate_inp",
        "shared_expert_gate": "ffn_gate_inp_shexp", "exp_probs_b": "exp_probs_b", "experts.gate": "ffn_gate_exps",
        "experts.up": "ffn_up_exps", "experts.down": "ffn_down_exps"})


LATENT = blocks(BLOCKS + "self_attn.", {
    "q_a_proj": "attn_q_a", "q_a_layernorm": "attn_q_a_norm", "q_b_proj": "attn_q_b",
    "kv_a_proj_with_mqa": "attn_kv_a_mqa", "kv_a_layernorm": "attn_kv_a_norm", "kv_b_proj": "attn_kv_b"})


FAMILIES = {
    "llama": Family("llama", change=interleaved),
    "mistral": Family("llama", change=interleaved, keys=maybe_windows),
    "internlm3": Family("llama", change=interleaved),
    "mixtral": Family("llama", expert_names("block_sparse_moe"), interleaved, keys=mixtral),
    "ministral3": Family("mistral3", change=interleaved, keys=ministral3),
    "llama4_text": Family("llama4", expert_names("feed_forward") | blocks(BLOCKS + "feed_forward.", {
        "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down"}), keys=llama4),
    "qwen2_moe": Family("qwen2moe", expert_names("mlp"), keys=qwen_moe(False)),
    "qwen3_moe": Family("qwen3moe", expert_names("mlp"), keys=qwen_moe(True)),
    "olmoe": Family("olmoe", expert_names("mlp"), keys=olmoe),
    "granitemoe": Family("granitemoe", expert_names("block_sparse_moe"), interleaved, keys=granitemoe),
    "granitemoeshared": Family("granitemoe", expert_names("block_sparse_moe"), interleaved, keys=granitemoe),
    "gpt_oss": Family("gpt-oss", expert_names("mlp") | {
        BLOCKS + "post_attention_layernorm": "post_attention_norm", BLOCKS + "self_attn.attn_sinks": "attn_sinks"},
                      keys=gpt_oss),
    "deepseek_v3": Family("deepseek2", expert_names("mlp") | LATENT, keys=deepseek_v3),
    "minicpm3": Family("minicpm3", LLAMA | LATENT, keys=minicpm3),
    "apertus": Family("apertus", LLAMA | blocks(BLOCKS, {
        "attention_layernorm": "attn_norm", "feedforward_layernorm": "ffn_norm"})),
    "qwen2": Family("qwen2", keys=qwen2),
    "qwen3": Family("qwen3", keys=qwen2),
    "gemma": Family("gemma", change=norms_plus_one),
    "gemma2": Family("gemma2", LLAMA | GEMMA_NORMS, norms_plus_one, keys=gemma2),
    "gemma3_text": Family("gemma3", LLAMA | GEMMA_NORMS, norms_plus_one, keys=gemma3),
    "smollm3": Family("smollm3", change=interleaved),
    "arcee": Family("arcee", change=interleaved),
    "seed_oss": Family("seed_oss", LLAMA | {BLOCKS + "post_attention_layernorm": "post_attention_norm"}),
    "granite": Family("granite", change=interleaved, keys=granite),
    "ernie4_5": Family("ernie4_5"),
    "exaone4": Family("exaone4", LLAMA | POST_NORMS, keys=maybe_windows),
    "hunyuan_v1_dense": Family("hunyuan-dense", LLAMA | blocks(BLOCKS + "self_attn.", {
        "query_layernorm": "attn_q_norm", "key_layernorm": "attn_k_norm"})),
    "olmo": Family("olmo", change=interleaved, layer_norm=True, keys=olmo),
    "olmo2": Family("olmo2", LLAMA | POST_NORMS),
    "olmo3": Family("olmo2", LLAMA | POST_NORMS, keys=windows),
    "nemotron": Family("nemotron", change=norms_plus_one, weights_only=True, layer_norm=True),
    "glm": Family("chatglm", LLAMA | FUSED_GATE),
    "glm4": Family("glm4", LLAMA | FUSED_GATE | blocks(BLOCKS, {
        "post_self_attn_layernorm": "post_attention_norm", "post_mlp_layernorm": "post_ffw_norm"})),
    "cohere": Family("command-r", layer_norm=True, keys=scaled_logits),
    "cohere2": Family("cohere2", layer_norm=True, keys=scaled_logits),
    "phi": Family("phi2", PHI, layer_norm=True),
    "phi3": Family("phi3", LLAMA | FUSED_GATE | {BLOCKS + "self_attn.qkv_proj": "attn_qkv"}, keys=maybe_windows),
    "stablelm": Family("stablelm", layer_norm=True, keys=parallel(True)),
    "starcoder2": Family("starcoder2", LLAMA | blocks(BLOCKS + "mlp.", {"c_fc": "ffn_up", "c_proj": "ffn_down"}),
                         layer_norm=True, keys=maybe_windows),
    "gpt2": Family("gpt2", GPT, matrices_transposed, layer_norm=True, rope=False, keys=gpt2),
    "gpt_bigcode": Family("starcoder", GPT, qkv_by_group, layer_norm=True, rope=False, keys=gpt2),
    "gpt_neox": Family("gptneox", NEOX, qkv_by_group, layer_norm=True, keys=parallel(True)),
    "bloom": Family("bloom", BLOOM, qkv_by_group, layer_norm=True, rope=False, keys=bloom),
    "falcon": Family("falcon", BLOOM, qkv_by_group, layer_norm=True, keys=falcon),
    "mpt": Family("mpt", MPT, layer_norm=True, rope=False, keys=mpt),
}
