"""config.json as the tools for GGUF files read it: sizes, and the keys and tensors of rotary positions."""

import array
import math

from gguf_tensors import Refused, Tensor

class Config:
    """config.json, in the spelling of transformers 4 or 5."""

    def __init__(self, fields):
        self.fields = fields
        self.type = fields["model_type"]
        self.hidden = self.first("hidden_size", "n_embd", "d_model")
        self.layers = self.first("num_hidden_layers", "n_layer", "n_layers", "num_layers")
        self.heads = self.first("num_attention_heads", "n_head", "n_heads", "num_heads")
        self.kv_heads = self.first("num_key_value_heads", "multi_query_group_num", default=self.heads)
        self.head_dim = self.first("head_dim", "kv_channels", default=self.hidden // self.heads)
        self.ffn = self.first("intermediate_size", "n_inner", "ffn_hidden_size", "ffn_dim", default=4 * self.hidden)
        self.context = self.first("max_position_embeddings", "n_positions", "max_seq_len", "model_max_length", "seq_length",
                                  default=2048)
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
                                "layernorm_epsilon", default=1e-5))

    def rope(self, kind="full_attention"):
        """The rotary settings of one kind of layers, in the newer spelling."""
        rope = self.get("rope_parameters")
        if rope is None and self.type == "chatglm":
            rope = chatglm_rope(self)
        if rope is None:
            rope = dict(self.get("rope_scaling", {}), rope_theta=self.first("rope_theta", "rotary_emb_base", default=1e4))
        rope = dict(rope.get(kind, rope))
        rope.setdefault("rope_type", rope.get("type", "default"))
        rope.setdefault("rope_theta", 10000.0)
        return rope

    def rotary_dim(self):
        return int(self.head_dim * self.rope().get("partial_rotary_factor", self.first("partial_rotary_factor", "rotary_pct",
                                                                                              default=1.0)))

    def windowed(self):
        """Which layers have a window."""
        return [kind == "sliding_attention" for kind in self.get("layer_types", [])]


def chatglm_rope(config):
    """Half of a head; the ratio is of the base, but in ChatGLM2's folders of positions."""
    ratio = config.get("rope_ratio", 1)
    if "chatglm2" in config.get("_name_or_path", ""):
        return {"rope_type": "linear", "factor": ratio, "rope_theta": 10000.0, "partial_rotary_factor": 0.5}
    return {"rope_type": "default", "rope_theta": 10000.0 * ratio, "partial_rotary_factor": 0.5}


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


def yarn_keys(rope, context, truncate, by_multiplier):
    """Keys of YaRN; `by_multiplier`: magnitudes are told by "mscale_all_dim" itself, beside an "mscale" of 1."""
    factor = rope["factor"]

    def magnitude(mscale):
        return 0.1 * mscale * math.log(factor) + 1 if factor > 1 else 1.0

    if rope.get("truncate", True) != truncate:
        raise Refused(f"rope_parameters.truncate is not {str(truncate).lower()}, which GGUF has no key for")
    wanted = magnitude(1)
    if rope.get("mscale") and rope.get("mscale_all_dim"):
        wanted = magnitude(rope["mscale"]) / magnitude(rope["mscale_all_dim"])
    keys = {"scaling.type": "yarn", "scaling.factor": float(factor),
            "scaling.original_context_length": rope.get("original_max_position_embeddings", context)}
    if rope.get("attention_factor") is not None:
        keys["scaling.yarn_attn_factor"] = float(rope["attention_factor"])
    elif by_multiplier and rope.get("mscale") == 1:
        keys["scaling.yarn_log_multiplier"] = float(rope["mscale_all_dim"])
    elif wanted != magnitude(1):
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
        keys.update(yarn_keys(rope, config.context, truncate=config.type != "gpt_oss",
                              by_multiplier=config.type == "ministral3"))
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
