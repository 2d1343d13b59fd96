"""Decoders in numpy, from published formulas and the layouts of published weights, for make_tiny_numpy.py.

Baichuan 2: arXiv:2309.10305; GLM: arXiv:2406.12793; Qwen: arXiv:2309.16609; InternLM 2: arXiv:2403.17297; gpt-oss:
arXiv:2508.10925; ERNIE 4.5: its technical report; YaRN: arXiv:2309.00071; MXFP4: OCP Microscaling Formats 1.0.
"""

import math

import numpy as np


def rms_norm(x, weight, epsilon):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + x.dtype.type(epsilon)) * weight


def layer_norm(x, weight, bias, epsilon):
    centred = x - np.mean(x, axis=-1, keepdims=True)
    return rms_norm(centred, weight, epsilon) + bias


def silu(x):
    return x / (1 + np.exp(-x))


def frequencies(base, rotary_dim):
    return base ** (-np.arange(0, rotary_dim, 2, dtype=np.float64) / rotary_dim)


def rotate(x, positions, freqs, interleaved):
    """The first 2 * len(freqs) columns of heads x [T, heads, E], in pairs (2 i, 2 i + 1) or (i, i + len(freqs))."""
    angles = np.outer(positions, freqs)[:, None, :]
    cos, sin = np.cos(angles).astype(x.dtype), np.sin(angles).astype(x.dtype)
    out, n = x.copy(), len(freqs)
    first, second = (np.s_[..., 0:2 * n:2], np.s_[..., 1:2 * n:2]) if interleaved else (
        np.s_[..., :n], np.s_[..., n:2 * n])
    out[first] = x[first] * cos - x[second] * sin
    out[second] = x[second] * cos + x[first] * sin
    return out


def alibi_slopes(heads):
    """2^(-8 i / n) for the largest power of two n; beyond it, every second one of 2 n heads (arXiv:2108.12409)."""
    power = 2 ** int(math.log2(heads))
    slopes = [2.0 ** (-8 * (i + 1) / power) for i in range(power)]
    return slopes + [2.0 ** (-4 * (2 * i + 1) / power) for i in range(heads - power)]


def yarn(base, rotary_dim, factor, original, beta_fast, beta_slow):
    """Frequencies whose ramp is not rounded, and what multiplies cosines and sines."""
    def pair_that_turns(times):
        return rotary_dim * math.log(original / (times * 2 * math.pi)) / (2 * math.log(base))

    low, high = max(pair_that_turns(beta_fast), 0), min(pair_that_turns(beta_slow), rotary_dim - 1)
    ramp = np.clip((np.arange(rotary_dim // 2) - low) / (high - low), 0, 1)
    plain = frequencies(base, rotary_dim)
    return plain * (1 - ramp) + plain / factor * ramp, 0.1 * math.log(factor) + 1


def attention(q, k, v, slopes=None, window=None, sinks=None):
    """[T, H, E], [T, G, E], [T, G, E] -> [T, H E]; causal."""
    length, heads, width = q.shape
    k, v = (np.repeat(x, heads // x.shape[1], axis=1) for x in (k, v))
    scores = np.einsum("ihe,jhe->hij", q, k) / q.dtype.type(math.sqrt(width))
    distance = np.arange(length)[:, None] - np.arange(length)[None, :]
    if slopes is not None:
        scores = scores - (np.array(slopes)[:, None, None] * distance).astype(q.dtype)
    seen = (distance >= 0) & (distance < (window or length))
    scores = np.where(seen[None], scores, -np.inf)
    most = scores.max(axis=-1, keepdims=True)
    weights = np.exp(scores - most)
    total = weights.sum(axis=-1, keepdims=True)
    if sinks is not None:
        total = total + np.exp(sinks[:, None, None] - most)
    return np.einsum("hij,jhe->ihe", weights / total, v).reshape(length, heads * width)


def best(scores, count):
    """Indices of the largest, the lower one of equals."""
    return sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:count]


E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6])


def from_mxfp4(blocks, scales):
    """[..., blocks, 16] and [..., blocks] of bytes: two codes a byte, the lower nibble first; a power of two a block."""
    codes = np.stack([blocks & 15, blocks >> 4], axis=-1).reshape(*scales.shape, 32)
    values = E2M1[codes] * np.exp2(scales.astype(np.float64) - 127)[..., None]
    return values.reshape(*scales.shape[:-1], -1)


def rounded_to_8_bits(x):
    """As the fast kernels round what they multiply by packed weights: a scale for 32 columns."""
    parts = x.reshape(*x.shape[:-1], -1, 32)
    scale = np.abs(parts).max(axis=-1, keepdims=True) / 127
    return (np.rint(parts / np.where(scale == 0, 1, scale)) * scale).reshape(x.shape)


class Decoder:
    """x += attention(norm(x)); x += ffn(norm(x)); logits = W norm(x)."""

    def __init__(self, config, tensors, dtype):
        self.config, self.dtype = config, dtype
        self.bytes = {name: value for name, value in tensors.items() if value.dtype == np.uint8}
        self.tensors = {name: value.astype(dtype) for name, value in tensors.items()}

    def linear(self, name, x):
        bias = self.tensors.get(name + ".bias")
        y = x @ self.tensors[name + ".weight"].T
        return y if bias is None else y + bias

    def norm(self, name, x):
        return rms_norm(x, self.tensors[name + ".weight"], self.epsilon)

    def logits(self, ids, prompt_length):
        """[T, V], as if the first `prompt_length` ids had been the prompt."""
        self.length, self.prompt_length = len(ids), prompt_length
        x = self.tensors[self.embedding + ".weight"][ids]
        for layer in range(self.layers):
            x = self.block(layer, x)
        return self.head(self.norm(self.final_norm, x))

    def block(self, layer, x):
        at = self.prefix % layer
        x = x + self.attend(at, self.norm(at + self.norms[0], x))
        return x + self.feed_forward(at, self.norm(at + self.norms[1], x))

    def head(self, x):
        return self.linear(self.output, x)


class Baichuan(Decoder):
    """W_pack holds all queries, all keys, all values. Without max_position_embeddings: ALiBi (13 B). Second generation:
    rows of the output layer have length 1."""

    embedding, final_norm, output, prefix = "model.embed_tokens", "model.norm", "lm_head", "model.layers.%d."
    norms = "input_layernorm", "post_attention_layernorm"
    layers = property(lambda self: self.config["num_hidden_layers"])
    epsilon = property(lambda self: self.config["rms_norm_eps"])

    @staticmethod
    def shapes(c):
        d, f, v = c["hidden_size"], c["intermediate_size"], c["vocab_size"]
        layer = {"input_layernorm.weight": (d,), "post_attention_layernorm.weight": (d,),
                 "self_attn.W_pack.weight": (3 * d, d), "self_attn.o_proj.weight": (d, d),
                 "mlp.gate_proj.weight": (f, d), "mlp.up_proj.weight": (f, d), "mlp.down_proj.weight": (d, f)}
        return {"model.embed_tokens.weight": (v, d), "model.norm.weight": (d,), "lm_head.weight": (v, d)} | {
            f"model.layers.{i}.{name}": shape for i in range(c["num_hidden_layers"]) for name, shape in layer.items()}

    def attend(self, at, x):
        heads = self.config["num_attention_heads"]
        q, k, v = (part.reshape(self.length, heads, -1) for part in np.split(self.linear(at + "self_attn.W_pack", x), 3, -1))
        slopes = None
        if "max_position_embeddings" in self.config:
            freqs, positions = frequencies(10000.0, q.shape[-1]), np.arange(self.length)
            q, k = rotate(q, positions, freqs, False), rotate(k, positions, freqs, False)
        else:
            slopes = alibi_slopes(heads)
        return self.linear(at + "self_attn.o_proj", attention(q, k, v, slopes))

    def feed_forward(self, at, x):
        gated = silu(self.linear(at + "mlp.gate_proj", x)) * self.linear(at + "mlp.up_proj", x)
        return self.linear(at + "mlp.down_proj", gated)

    def head(self, x):
        weight = self.tensors["lm_head.weight"]
        if "z_loss_weight" in self.config:
            weight = weight / np.sqrt(np.sum(weight * weight, axis=-1, keepdims=True))
        return x @ weight.T


class ChatGlm(Decoder):
    """Pairs of neighbours in the first half of each head are rotated. rope_ratio multiplies the base, or divides positions
    (ChatGLM2-6B-32k)."""

    embedding, final_norm = "transformer.embedding.word_embeddings", "transformer.encoder.final_layernorm"
    output, prefix = "transformer.output_layer", "transformer.encoder.layers.%d."
    norms = "input_layernorm", "post_attention_layernorm"
    layers = property(lambda self: self.config["num_layers"])
    epsilon = property(lambda self: self.config["layernorm_epsilon"])

    @staticmethod
    def shapes(c):
        d, f, v = c["hidden_size"], c["ffn_hidden_size"], c["padded_vocab_size"]
        queries, keys = c["num_attention_heads"] * c["kv_channels"], c["multi_query_group_num"] * c["kv_channels"]
        layer = {"input_layernorm.weight": (d,), "post_attention_layernorm.weight": (d,),
                 "self_attention.query_key_value.weight": (queries + 2 * keys, d), "self_attention.dense.weight": (d, queries),
                 "mlp.dense_h_to_4h.weight": (2 * f, d), "mlp.dense_4h_to_h.weight": (d, f)}
        if c["add_qkv_bias"]:
            layer["self_attention.query_key_value.bias"] = (queries + 2 * keys,)
        if c["add_bias_linear"]:
            layer |= {"self_attention.dense.bias": (d,), "mlp.dense_h_to_4h.bias": (2 * f,), "mlp.dense_4h_to_h.bias": (d,)}
        if not c["rmsnorm"]:
            layer |= {"input_layernorm.bias": (d,), "post_attention_layernorm.bias": (d,)}
        ends = {"transformer.embedding.word_embeddings.weight": (v, d), "transformer.output_layer.weight": (v, d)}
        if c["post_layer_norm"]:
            ends["transformer.encoder.final_layernorm.weight"] = (d,)
        return ends | {f"transformer.encoder.layers.{i}.{name}": shape
                       for i in range(c["num_layers"]) for name, shape in layer.items()}

    def norm(self, name, x):
        if name == self.final_norm and not self.config["post_layer_norm"]:
            return x
        if self.config["rmsnorm"]:
            return super().norm(name, x)
        return layer_norm(x, self.tensors[name + ".weight"], self.tensors[name + ".bias"], self.epsilon)

    def block(self, layer, x):
        at, after_norm = self.prefix % layer, self.config["apply_residual_connection_post_layernorm"]
        normed = self.norm(at + self.norms[0], x)
        x = (normed if after_norm else x) + self.attend(at, normed)
        normed = self.norm(at + self.norms[1], x)
        return (normed if after_norm else x) + self.feed_forward(at, normed)

    def attend(self, at, x):
        c = self.config
        heads, groups, width = c["num_attention_heads"], c["multi_query_group_num"], c["kv_channels"]
        mixed = self.linear(at + "self_attention.query_key_value", x).reshape(self.length, -1, width)
        q, k, v = mixed[:, :heads], mixed[:, heads:heads + groups], mixed[:, heads + groups:]
        ratio, positions, base = c.get("rope_ratio", 1), np.arange(self.length, dtype=np.float64), 10000.0
        if "chatglm2" in c["_name_or_path"]:
            positions /= ratio
        else:
            base *= ratio
        freqs = frequencies(base, width // 2)
        q, k = rotate(q, positions, freqs, True), rotate(k, positions, freqs, True)
        return self.linear(at + "self_attention.dense", attention(q, k, v))

    def feed_forward(self, at, x):
        gate, up = np.split(self.linear(at + "mlp.dense_h_to_4h", x), 2, -1)
        return self.linear(at + "mlp.dense_4h_to_h", silu(gate) * up)


class InternLm2(Decoder):
    """wqkv holds for each KV head its queries, its key, its value."""

    embedding, final_norm, output, prefix = "model.tok_embeddings", "model.norm", "output", "model.layers.%d."
    norms = "attention_norm", "ffn_norm"
    layers = property(lambda self: self.config["num_hidden_layers"])
    epsilon = property(lambda self: self.config["rms_norm_eps"])

    @staticmethod
    def shapes(c):
        d, f, v = c["hidden_size"], c["intermediate_size"], c["vocab_size"]
        rows = (c["num_attention_heads"] + 2 * c["num_key_value_heads"]) * (d // c["num_attention_heads"])
        layer = {"attention_norm.weight": (d,), "ffn_norm.weight": (d,), "attention.wqkv.weight": (rows, d),
                 "attention.wo.weight": (d, d), "feed_forward.w1.weight": (f, d), "feed_forward.w2.weight": (d, f),
                 "feed_forward.w3.weight": (f, d)}
        if c["bias"]:
            layer |= {"attention.wqkv.bias": (rows,), "attention.wo.bias": (d,)}
        return {"model.tok_embeddings.weight": (v, d), "model.norm.weight": (d,), "output.weight": (v, d)} | {
            f"model.layers.{i}.{name}": shape for i in range(c["num_hidden_layers"]) for name, shape in layer.items()}

    def attend(self, at, x):
        c = self.config
        heads, groups = c["num_attention_heads"], c["num_key_value_heads"]
        of_group = self.linear(at + "attention.wqkv", x).reshape(self.length, groups, heads // groups + 2, -1)
        q = of_group[:, :, :-2].reshape(self.length, heads, -1)
        k, v = of_group[:, :, -2], of_group[:, :, -1]
        freqs, positions = frequencies(c["rope_theta"], q.shape[-1]), np.arange(self.length)
        q, k = rotate(q, positions, freqs, False), rotate(k, positions, freqs, False)
        return self.linear(at + "attention.wo", attention(q, k, v))

    def feed_forward(self, at, x):
        gated = silu(self.linear(at + "feed_forward.w1", x)) * self.linear(at + "feed_forward.w3", x)
        return self.linear(at + "feed_forward.w2", gated)


class Qwen(Decoder):
    """w2 is the gate. Beyond seq_length, the base grows with the prompt (dynamic NTK) and queries with their position."""

    embedding, final_norm, output, prefix = "transformer.wte", "transformer.ln_f", "lm_head", "transformer.h.%d."
    norms = "ln_1", "ln_2"
    layers = property(lambda self: self.config["num_hidden_layers"])
    epsilon = property(lambda self: self.config["layer_norm_epsilon"])

    @staticmethod
    def shapes(c):
        d, f, v = c["hidden_size"], c["intermediate_size"] // 2, c["vocab_size"]
        layer = {"ln_1.weight": (d,), "ln_2.weight": (d,), "attn.c_attn.weight": (3 * d, d), "attn.c_attn.bias": (3 * d,),
                 "attn.c_proj.weight": (d, d), "mlp.w1.weight": (f, d), "mlp.w2.weight": (f, d),
                 "mlp.c_proj.weight": (d, f)}
        if not c["no_bias"]:
            layer |= {"attn.c_proj.bias": (d,), "mlp.w1.bias": (f,), "mlp.w2.bias": (f,), "mlp.c_proj.bias": (d,)}
        return {"transformer.wte.weight": (v, d), "transformer.ln_f.weight": (d,), "lm_head.weight": (v, d)} | {
            f"transformer.h.{i}.{name}": shape for i in range(c["num_hidden_layers"]) for name, shape in layer.items()}

    def attend(self, at, x):
        c, trained = self.config, self.config["seq_length"]
        q, k, v = (part.reshape(self.length, c["num_attention_heads"], -1)
                   for part in np.split(self.linear(at + "attn.c_attn", x), 3, -1))
        rotary_dim = int(q.shape[-1] * c["rotary_pct"])
        alpha = 1
        if c["use_dynamic_ntk"]:
            alpha = max(1, 2 ** math.ceil(math.log2(self.prompt_length / trained) + 1) - 1)
        freqs = frequencies(c["rotary_emb_base"] * alpha ** (rotary_dim / (rotary_dim - 2)), rotary_dim)
        positions = np.arange(self.length)
        q, k = rotate(q, positions, freqs, False), rotate(k, positions, freqs, False)
        if c["use_logn_attn"]:
            factors = [math.log(i, trained) if i > trained else 1 for i in range(1, self.length + 1)]
            q = q * np.array(factors, self.dtype)[:, None, None]
        return self.linear(at + "attn.c_proj", attention(q, k, v))

    def feed_forward(self, at, x):
        return self.linear(at + "mlp.c_proj", self.linear(at + "mlp.w1", x) * silu(self.linear(at + "mlp.w2", x)))


class Llama(Decoder):
    """Names that most families share."""

    embedding, final_norm, output, prefix = "model.embed_tokens", "model.norm", "lm_head", "model.layers.%d."
    norms = "input_layernorm", "post_attention_layernorm"
    layers = property(lambda self: self.config["num_hidden_layers"])
    epsilon = property(lambda self: self.config["rms_norm_eps"])

    @staticmethod
    def common_shapes(c, bias):
        d, v, e = c["hidden_size"], c["vocab_size"], c["head_dim"]
        queries, keys = c["num_attention_heads"] * e, c["num_key_value_heads"] * e
        layer = {"input_layernorm.weight": (d,), "post_attention_layernorm.weight": (d,)}
        for name, rows, columns in (("q", queries, d), ("k", keys, d), ("v", keys, d), ("o", d, queries)):
            layer[f"self_attn.{name}_proj.weight"] = (rows, columns)
            if bias:
                layer[f"self_attn.{name}_proj.bias"] = (rows,)
        ends = {"model.embed_tokens.weight": (v, d), "model.norm.weight": (d,), "lm_head.weight": (v, d)}
        return ends | {f"model.layers.{i}.{name}": shape
                       for i in range(c["num_hidden_layers"]) for name, shape in layer.items()}

    def heads(self, at, x):
        return (self.linear(f"{at}self_attn.{name}_proj", x).reshape(self.length, -1, self.config["head_dim"])
                for name in "qkv")

    def gated(self, at, x):
        return self.linear(at + "down_proj", silu(self.linear(at + "gate_proj", x)) * self.linear(at + "up_proj", x))


class GptOss(Llama):
    """Sinks, every second layer a window, YaRN; experts of clamped SwiGLU with biases, in MXFP4: gate and up in turn."""

    eight_bits = False  # whether what experts multiply is rounded

    @staticmethod
    def shapes(c):
        d, f, x = c["hidden_size"], c["intermediate_size"], c["num_local_experts"]
        layer = {"self_attn.sinks": (c["num_attention_heads"],), "mlp.router.weight": (x, d), "mlp.router.bias": (x,),
                 "mlp.experts.gate_up_proj_bias": (x, 2 * f), "mlp.experts.down_proj_bias": (x, d)}
        for name, rows, columns in (("gate_up_proj", 2 * f, d), ("down_proj", d, f)):
            if "quantization_config" in c:
                layer[f"mlp.experts.{name}_blocks"] = (x, rows, columns // 32, 16)
                layer[f"mlp.experts.{name}_scales"] = (x, rows, columns // 32)
            else:
                layer[f"mlp.experts.{name}"] = (x, columns, rows)
        return Llama.common_shapes(c, bias=True) | {
            f"model.layers.{i}.{name}": shape for i in range(c["num_hidden_layers"]) for name, shape in layer.items()}

    def attend(self, at, x):
        c, rope = self.config, self.config["rope_parameters"]
        q, k, v = self.heads(at, x)
        freqs, magnitude = yarn(rope["rope_theta"], c["head_dim"], rope["factor"],
                                rope["original_max_position_embeddings"], rope["beta_fast"], rope["beta_slow"])
        positions = np.arange(self.length)
        q, k = (rotate(part, positions, freqs, False) * part.dtype.type(magnitude) for part in (q, k))
        windowed = c["layer_types"][int(at.split(".")[2])] == "sliding_attention"
        return self.linear(at + "self_attn.o_proj", attention(
            q, k, v, window=c["sliding_window"] if windowed else None, sinks=self.tensors[at + "self_attn.sinks"]))

    def expert(self, name, index, x):
        """One expert's product, weights [outputs, inputs]."""
        if name + "_blocks" in self.tensors:
            blocks, scales = (self.bytes[f"{name}_{part}"][index] for part in ("blocks", "scales"))
            weight = from_mxfp4(blocks, scales).astype(self.dtype)
            x = rounded_to_8_bits(x) if self.eight_bits else x
        else:
            weight = self.tensors[name][index].T
        return x @ weight.T + self.tensors[name + "_bias"][index]

    def feed_forward(self, at, x):
        c, out, limit = self.config, np.zeros_like(x), self.config["swiglu_limit"]
        z = self.linear(at + "mlp.router", x)
        for i in range(self.length):
            chosen = best(z[i], c["num_experts_per_tok"])
            weights = np.exp(z[i][chosen] - z[i][chosen].max())
            for index, weight in zip(chosen, weights / weights.sum()):
                both = self.expert(at + "mlp.experts.gate_up_proj", index, x[i])
                gate, up = np.minimum(both[0::2], limit), np.clip(both[1::2], -limit, limit)
                product = (up + 1) * gate / (1 + np.exp(-c["swiglu_alpha"] * gate))
                out[i] += weight * self.expert(at + "mlp.experts.down_proj", index, product)
        return out


class ErnieMoe(Llama):
    """Pairs of neighbours are rotated; experts are chosen by corrected probabilities, beside shared ones."""

    @staticmethod
    def shapes(c):
        d, x = c["hidden_size"], c["moe_num_experts"]
        tensors = Llama.common_shapes(c, bias=False)
        for i in range(c["num_hidden_layers"]):
            at = f"model.layers.{i}.mlp."
            mlps = {at: c["intermediate_size"]}
            if ErnieMoe.has_experts(c, i):
                tensors |= {at + "gate.weight": (x, d), at + "moe_statics.e_score_correction_bias": (1, x)}
                mlps = {f"{at}experts.{j}.": c["moe_intermediate_size"] for j in range(x)}
                mlps[at + "shared_experts."] = c["moe_intermediate_size"] * c["moe_num_shared_experts"]
            for where, f in mlps.items():
                tensors |= {where + "gate_proj.weight": (f, d), where + "up_proj.weight": (f, d),
                            where + "down_proj.weight": (d, f)}
        return tensors

    @staticmethod
    def has_experts(c, layer):
        return layer >= c["moe_layer_start_index"] and (layer + 1) % c["moe_layer_interval"] == 0

    def attend(self, at, x):
        q, k, v = self.heads(at, x)
        freqs, positions = frequencies(self.config["rope_theta"], q.shape[-1]), np.arange(self.length)
        q, k = rotate(q, positions, freqs, True), rotate(k, positions, freqs, True)
        return self.linear(at + "self_attn.o_proj", attention(q, k, v))

    def feed_forward(self, at, x):
        c, at = self.config, at + "mlp."
        if at + "gate.weight" not in self.tensors:
            return self.gated(at, x)
        out, z = self.gated(at + "shared_experts.", x), self.linear(at + "gate", x)
        scores = np.exp(z - z.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        corrected = scores + self.tensors[at + "moe_statics.e_score_correction_bias"][0]
        for i in range(self.length):
            chosen = best(corrected[i], c["moe_k"])
            total = max(scores[i][chosen].sum(), c["moe_norm_min"])
            for index in chosen:
                out[i] += scores[i][index] / total * self.gated(f"{at}experts.{index}.", x[i])
        return out
