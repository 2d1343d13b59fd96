"""What the keys and tensors of a GGUF file say of each family, from its config.json, for folder_to_gguf.py."""

from gguf_tensors import Refused, stacked

BLOCKS = "model.layers.*."

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
CHATGLM = {"transformer.embedding.word_embeddings": "token_embd", "transformer.encoder.final_layernorm": "output_norm",
           "transformer.output_layer": "output",
           **blocks("transformer.encoder.layers.*.", {
               "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
               "self_attention.query_key_value": "attn_qkv", "self_attention.dense": "attn_output",
               "mlp.dense_h_to_4h": "ffn_up", "mlp.dense_4h_to_h": "ffn_down"})}
INTERNLM2 = {"model.tok_embeddings": "token_embd", "model.norm": "output_norm", "output": "output",
             **blocks(BLOCKS, {"attention_norm": "attn_norm", "ffn_norm": "ffn_norm", "attention.wo": "attn_output",
                               "attention.q_proj": "attn_q", "attention.k_proj": "attn_k", "attention.v_proj": "attn_v",
                               "feed_forward.w1": "ffn_gate", "feed_forward.w3": "ffn_up",
                               "feed_forward.w2": "ffn_down"})}
QWEN = GPT | blocks("transformer.h.*.mlp.", {"w1": "ffn_up", "w2": "ffn_gate"})
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


# ---- Tensors that are taken apart before they get their names -------------------------------------------------------

def apart(name, tensors, ranges):
    """A tensor of queries, keys and values, and its bias, as three: `ranges` are the rows of each."""
    for kind in ("weight", "bias"):
        tensor = tensors.pop(f"{name}.{kind}", None)
        for part, rows in zip("qkv", ranges):
            if tensor is not None:
                tensors[f"{name.rpartition('.')[0]}.{part}_proj.{kind}"] = tensor.rows(rows)


def baichuan_apart(tensors, config):
    tensors = dict(tensors)
    for layer in range(config.layers):
        apart(f"model.layers.{layer}.self_attn.W_pack", tensors,
              [[(i * config.hidden, (i + 1) * config.hidden)] for i in range(3)])
    if "z_loss_weight" in config.fields:  # files hold the output layer as it is multiplied
        tensors["lm_head.weight"] = tensors["lm_head.weight"].unit_rows()
    return tensors


def internlm2_apart(tensors, config):
    tensors, width, group = dict(tensors), config.head_dim, config.heads // config.kv_heads
    starts = [i * (group + 2) * width for i in range(config.kv_heads)]
    ranges = [[(at + first * width, at + last * width) for at in starts]
              for first, last in ((0, group), (group, group + 1), (group + 1, group + 2))]
    for layer in range(config.layers):
        apart(f"model.layers.{layer}.attention.wqkv", tensors, ranges)
    return tensors


# Names of one activation.
SILU, GELU, GELU_TANH = ("silu", "swish"), ("gelu",), ("gelu_new", "gelu_fast", "gelu_pytorch_tanh")


class Family:
    def __init__(self, architecture, names=LLAMA, change=same, weights_only=False, layer_norm=False, rope=True,
                 keys=None, apart=None, activation=SILU):
        self.architecture, self.names, self.change = architecture, names, change
        self.activation = activation  # that the architecture implies, by its names
        self.weights_only = weights_only  # `change` is for weights alone, not for biases
        self.layer_norm, self.rope = layer_norm, rope
        self.more = keys or (lambda config: {})
        self.apart = apart or (lambda tensors, config: tensors)

    def keys(self, config):
        more = self.more(config)
        activation = config.first("hidden_activation", "hidden_act", "activation_function", "activation",
                                  default=self.activation[0])
        require(activation in self.activation, f"the activation is '{activation}'")
        require(not config.get("use_bidirectional_attention", False), "use_bidirectional_attention is true")
        epsilon = "layer_norm_epsilon" if self.layer_norm else "layer_norm_rms_epsilon"
        keys = {"context_length": config.context, "embedding_length": config.hidden, "block_count": config.layers,
                "feed_forward_length": config.ffn, "attention.head_count": config.heads,
                "attention.head_count_kv": config.kv_heads, f"attention.{epsilon}": config.epsilon()}
        if config.head_dim * config.heads != config.hidden:
            keys |= {"attention.key_length": config.head_dim, "attention.value_length": config.head_dim}
        return keys | more


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


def baichuan(config):
    require(config.get("max_position_embeddings") or config.layers == 40, "there is ALiBi in other than 40 layers")
    return {}


def chatglm(config):
    require(config.get("rmsnorm", True) and config.get("post_layer_norm", True)
            and not config.get("apply_residual_connection_post_layernorm"), "there are other norms than RMS norms of branches")
    return {}


def qwen(config):
    require(not config.get("use_dynamic_ntk", True), "use_dynamic_ntk is true")
    require(not config.get("use_logn_attn", True), "use_logn_attn is true")
    return {}


def gemma2(config):
    return windows(config) | {
        "attn_logit_softcapping": float(config["attn_logit_softcapping"]),
        "final_logit_softcapping": float(config["final_logit_softcapping"]),
        "attention.scale": config["query_pre_attn_scalar"] ** -0.5}


def gemma3(config):
    cap = config.get("final_logit_softcapping")
    return windows(config) | {"rope.freq_base_swa": float(config.rope("sliding_attention")["rope_theta"]),
                              "attention.scale": config["query_pre_attn_scalar"] ** -0.5} | (
        {"final_logit_softcapping": float(cap)} if cap else {})


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


def latent_apart(config):
    """Where keys and values of heads have a tensor of each: lengths are those of what is kept in a cache."""
    keys, rank = latent(config), config["kv_lora_rank"]
    return keys | {"attention.head_count_kv": 1, "attention.key_length_mla": keys["attention.key_length"],
                   "attention.value_length_mla": keys["attention.value_length"],
                   "attention.key_length": rank + config["qk_rope_head_dim"], "attention.value_length": rank}


def split_latent(tensors, config):
    """Keys of each head, turned, and values, of what has both."""
    tensors, still, value = dict(tensors), config["qk_nope_head_dim"], config["v_head_dim"]
    for layer in range(config.layers):
        at = f"model.layers.{layer}.self_attn."
        heads = tensors.pop(at + "kv_b_proj.weight").split_rows(config.heads)
        tensors[at + "k_b_proj.weight"] = stacked([head.rows([(0, still)]).transposed() for head in heads])
        tensors[at + "v_b_proj.weight"] = stacked([head.rows([(still, still + value)]) for head in heads])
    return tensors


def routed(config, gating, normalised):
    """Keys of experts beside shared ones, behind dense layers."""
    return experts(config, "n_routed_experts", "num_local_experts") | {
        "expert_feed_forward_length": config["moe_intermediate_size"],
        "leading_dense_block_count": config["first_k_dense_replace"],
        "expert_shared_count": config["n_shared_experts"], "expert_gating_func": gating,
        "expert_weights_scale": float(config["routed_scaling_factor"]),
        "expert_weights_norm": config.get("norm_topk_prob", normalised)}


def groups(config):
    return {"expert_group_count": config.get("n_group", 1), "expert_group_used_count": config.get("topk_group", 1)}


SOFTMAX, SIGMOID = 1, 2


def deepseek_v3(config, latent=latent_apart):
    require(config.get("rope_interleave", True), "rope_interleave is false")
    return latent(config) | routed(config, SIGMOID, True) | groups(config)


def deepseek_v2(config):
    limited = config.get("topk_method", "greedy") == "group_limited_greedy"
    return latent_apart(config) | routed(config, SOFTMAX, False) | (groups(config) if limited else {})


def glm4_moe(config):
    require(config.get("n_group", 1) == 1, "n_group is not 1")
    ahead = config.get("num_nextn_predict_layers", 0)  # counted, though no folder of tests has them
    return routed(config, SIGMOID, True) | {"block_count": config.layers + ahead, "nextn_predict_layers": ahead}


def ernie4_5_moe(config):
    last = config.get("moe_layer_end_index", -1)
    require(last in (-1, config.layers - 1), "moe_layer_end_index is not the last layer")
    return {"expert_count": config.first("moe_num_experts", "num_experts"),
            "expert_used_count": config.first("moe_k", "num_experts_per_tok"),
            "expert_feed_forward_length": config["moe_intermediate_size"],
            "interleave_moe_layer_step": config.get("moe_layer_interval", 1),
            "leading_dense_block_count": config.get("moe_layer_start_index", 1),
            "expert_shared_count": config.get("moe_num_shared_experts", 2)}


def hunyuan_v1_moe(config):
    return {"expert_count": config.first("num_experts", "num_local_experts"),
            "expert_used_count": config.first("moe_topk", "num_experts_per_tok"), "expert_shared_count": 1,
            "expert_feed_forward_length": config.ffn, "expert_shared_feed_forward_length": config.ffn}


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


def nemotron(config):
    return {"attention.layer_norm_rms_epsilon": config.epsilon()}  # beside that of layer norms


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
    "kv_a_proj_with_mqa": "attn_kv_a_mqa", "kv_a_layernorm": "attn_kv_a_norm", "kv_b_proj": "attn_kv_b",
    "k_b_proj": "attn_k_b", "v_b_proj": "attn_v_b"})
QK_LAYERNORMS = blocks(BLOCKS + "self_attn.", {"query_layernorm": "attn_q_norm", "key_layernorm": "attn_k_norm"})


FAMILIES = {
    "llama": Family("llama", change=interleaved),
    "mistral": Family("llama", change=interleaved, keys=maybe_windows),
    "internlm3": Family("llama", change=interleaved),
    "internlm2": Family("internlm2", INTERNLM2, interleaved, apart=internlm2_apart),
    "baichuan": Family("baichuan", change=interleaved, keys=baichuan, apart=baichuan_apart),
    "chatglm": Family("chatglm", CHATGLM, keys=chatglm),
    "qwen": Family("qwen", QWEN, keys=qwen),
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
    "deepseek_v3": Family("deepseek2", expert_names("mlp") | LATENT, keys=deepseek_v3, apart=split_latent),
    "deepseek_v2": Family("deepseek2", expert_names("mlp") | LATENT, keys=deepseek_v2, apart=split_latent),
    "glm4_moe": Family("glm4moe", expert_names("mlp") | {BLOCKS + "post_attention_layernorm": "post_attention_norm"},
                       keys=glm4_moe),
    "ernie4_5_moe": Family("ernie4_5-moe", expert_names("mlp"), keys=ernie4_5_moe),
    "hunyuan_v1_moe": Family("hunyuan-moe", expert_names("mlp") | QK_LAYERNORMS | blocks(BLOCKS + "mlp.", {
        "gate.wg": "ffn_gate_inp", "shared_mlp.gate_proj": "ffn_gate_shexp", "shared_mlp.up_proj": "ffn_up_shexp",
        "shared_mlp.down_proj": "ffn_down_shexp"}), keys=hunyuan_v1_moe),
    "minicpm3": Family("minicpm3", LLAMA | LATENT, keys=minicpm3),
    "apertus": Family("apertus", LLAMA | blocks(BLOCKS, {
        "attention_layernorm": "attn_norm", "feedforward_layernorm": "ffn_norm"}), activation=("xielu",)),
    "qwen2": Family("qwen2", keys=qwen2),
    "qwen3": Family("qwen3", keys=qwen2),
    "gemma": Family("gemma", change=norms_plus_one, activation=GELU_TANH),
    "gemma2": Family("gemma2", LLAMA | GEMMA_NORMS, norms_plus_one, keys=gemma2, activation=GELU_TANH),
    "gemma3_text": Family("gemma3", LLAMA | GEMMA_NORMS, norms_plus_one, keys=gemma3, activation=GELU_TANH),
    "smollm3": Family("smollm3", change=interleaved),
    "arcee": Family("arcee", change=interleaved, activation=("relu2",)),
    "seed_oss": Family("seed_oss", LLAMA | {BLOCKS + "post_attention_layernorm": "post_attention_norm"}),
    "granite": Family("granite", change=interleaved, keys=granite),
    "ernie4_5": Family("ernie4_5"),
    "exaone4": Family("exaone4", LLAMA | POST_NORMS,
                      keys=lambda config: windows(config) if config.get("sliding_window") else {}),
    "hunyuan_v1_dense": Family("hunyuan-dense", LLAMA | QK_LAYERNORMS),
    "olmo": Family("olmo", change=interleaved, layer_norm=True, keys=olmo),
    "olmo2": Family("olmo2", LLAMA | POST_NORMS),
    "olmo3": Family("olmo2", LLAMA | POST_NORMS, keys=windows),
    "nemotron": Family("nemotron", change=norms_plus_one, weights_only=True, layer_norm=True,
                       keys=nemotron, activation=("relu2",)),
    "glm": Family("chatglm", LLAMA | FUSED_GATE),
    "glm4": Family("glm4", LLAMA | FUSED_GATE | blocks(BLOCKS, {
        "post_self_attn_layernorm": "post_attention_norm", "post_mlp_layernorm": "post_ffw_norm"})),
    "cohere": Family("command-r", layer_norm=True,
                     keys=lambda config: {"logit_scale": float(config["logit_scale"])}),
    "cohere2": Family("cohere2", layer_norm=True,
                      keys=lambda config: {"logit_scale": float(config["logit_scale"])} | windows(config)),
    "phi": Family("phi2", PHI, layer_norm=True, activation=GELU_TANH),
    "phi3": Family("phi3", LLAMA | FUSED_GATE | {BLOCKS + "self_attn.qkv_proj": "attn_qkv"}, keys=maybe_windows),
    "stablelm": Family("stablelm", layer_norm=True, keys=parallel(False)),
    "starcoder2": Family("starcoder2", LLAMA | blocks(BLOCKS + "mlp.", {"c_fc": "ffn_up", "c_proj": "ffn_down"}),
                         layer_norm=True, keys=maybe_windows, activation=GELU_TANH),
    "gpt2": Family("gpt2", GPT, matrices_transposed, layer_norm=True, rope=False, keys=gpt2, activation=GELU_TANH),
    "gpt_bigcode": Family("starcoder", GPT, qkv_by_group, layer_norm=True, rope=False, keys=gpt2, activation=GELU_TANH),
    "gpt_neox": Family("gptneox", NEOX, qkv_by_group, layer_norm=True, keys=parallel(True), activation=GELU),
    "bloom": Family("bloom", BLOOM, qkv_by_group, layer_norm=True, rope=False, keys=bloom),
    "falcon": Family("falcon", BLOOM, qkv_by_group, layer_norm=True, keys=falcon, activation=GELU),
    "mpt": Family("mpt", MPT, layer_norm=True, rope=False, keys=mpt),
}

# As converters wrote them before, by model_type.
OLDER_FAMILIES = {
    "deepseek_v3": Family("deepseek2", expert_names("mlp") | LATENT, keys=lambda config: deepseek_v3(config, latent)),
}
