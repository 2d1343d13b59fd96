#!/usr/bin/env python3
"""make_tiny_folder_code.py - tiny checkpoints of families that transformers does not know, with golden answers.

    python3 make_tiny_folder_code.py CASE|all OUTDIR [--seed N] [--shapes main|alt] [--golden DIR]

Their public folders bring the code of their models along, which is never run, here neither: the answers are computed by
numpy in float64 from the published formulas (Baichuan 2: arXiv:2309.10305; GLM: arXiv:2406.12793; Qwen: arXiv:2309.16609;
InternLM 2: arXiv:2403.17297) and the layouts of the published weights. Writes what make_tiny.py writes, from the numbers of
tiny_numbers.py.
"""

import argparse
import hashlib
import json
import math
import os
import sys
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from tiny_numbers import (
    DEAD_FACTOR, LAST_POSITIONS, NEW_TOKENS, SHAPES, TOLERANCE, fill, input_ids, safetensors_bytes, units, write_json)


# ---------------------------------------------------------------- formulas


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


def attention(q, k, v, slopes=None):
    """[T, H, E], [T, G, E], [T, G, E] -> [T, H E]; causal."""
    length, heads, width = q.shape
    k, v = (np.repeat(x, heads // x.shape[1], axis=1) for x in (k, v))
    scores = np.einsum("ihe,jhe->hij", q, k) / q.dtype.type(math.sqrt(width))
    if slopes is not None:
        distance = np.arange(length)[None, :] - np.arange(length)[:, None]
        scores = scores + (np.array(slopes)[:, None, None] * distance).astype(q.dtype)
    scores = np.where(np.tri(length, dtype=bool)[None], scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return np.einsum("hij,jhe->ihe", weights, v).reshape(length, heads * width)


class Decoder:
    """x += attention(norm(x)); x += ffn(norm(x)); logits = W norm(x)."""

    def __init__(self, config, tensors, dtype):
        self.config, self.dtype = config, dtype
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


# ---------------------------------------------------------------- cases


@dataclass(frozen=True)
class Case:
    """One checkpoint: its formulas, its config.json and what it is good for."""

    decoder: type
    exercises: str
    config: object  # Shape -> dict
    norm_center: float = 1.0
    embed_scale: int = 1024


def code(*names):
    """What a folder says about the code that it brings along."""
    return {"auto_map": {"AutoConfig": f"configuration.{names[0]}", "AutoModelForCausalLM": f"modeling.{names[1]}"},
            "architectures": [names[1]]}


def common(s, **more):
    return {"hidden_size": s.hidden, "num_attention_heads": s.heads, "tie_word_embeddings": False, "torch_dtype": "float32",
            "use_cache": True, "pad_token_id": 0, "eos_token_id": 2, **more}


def baichuan(s, **more):
    return common(s, **code("BaichuanConfig", "BaichuanForCausalLM"), model_type="baichuan", bos_token_id=1,
                  hidden_act="silu", initializer_range=0.02, intermediate_size=s.inter, num_hidden_layers=s.layers,
                  rms_norm_eps=1e-6, vocab_size=s.vocab, model_max_length=4 * s.context, _from_model_config=True, **more)


def chatglm(s, **more):
    fields = dict(
        add_bias_linear=False, add_qkv_bias=True, apply_query_key_layer_scaling=True,
        apply_residual_connection_post_layernorm=False, attention_dropout=0.0, attention_softmax_in_fp32=True,
        bias_dropout_fusion=True, ffn_hidden_size=s.inter, fp32_residual_connection=False, hidden_dropout=0.0,
        kv_channels=s.wide, layernorm_epsilon=1e-5, model_type="chatglm", multi_query_attention=True,
        multi_query_group_num=s.kv, num_layers=s.layers, original_rope=True, padded_vocab_size=s.vocab,
        post_layer_norm=True, quantization_bit=0, rmsnorm=True, seq_length=4 * s.context)
    return common(s, **code("ChatGLMConfig", "ChatGLMForConditionalGeneration"), **(fields | more))


def qwen(s, **more):
    fields = dict(
        attn_dropout_prob=0.0, bf16=False, emb_dropout_prob=0.0, fp16=False, fp32=False, initializer_range=0.02,
        intermediate_size=2 * s.inter, kv_channels=s.hidden // s.heads, layer_norm_epsilon=1e-6,
        max_position_embeddings=4 * s.context, model_type="qwen", no_bias=True, num_hidden_layers=s.layers, onnx_safe=None,
        rotary_emb_base=10000, rotary_pct=1.0, scale_attn_weights=True, seq_length=s.context, tokenizer_class="QWenTokenizer",
        use_dynamic_ntk=True, use_flash_attn="auto", use_logn_attn=True, vocab_size=s.vocab)
    return common(s, **code("QWenConfig", "QWenLMHeadModel"), **(fields | more))


CASES = {
    "baichuan2": Case(Baichuan, "queries, keys and values in one tensor, rope, output rows of length 1",
                      lambda s: baichuan(s, max_position_embeddings=4 * s.context, z_loss_weight=0)),
    "baichuan_alibi": Case(Baichuan, "ALiBi with a head count that is no power of two", baichuan),
    "chatglm": Case(ChatGlm, "rope of neighbours in half of a head, ratio of its base, grouped queries, fused gate and up",
                    lambda s: chatglm(s, _name_or_path="THUDM/glm-4-9b-chat", rope_ratio=500, layernorm_epsilon=1.5625e-07)),
    "chatglm2_32k": Case(ChatGlm, "positions divided by the ratio",
                         lambda s: chatglm(s, _name_or_path="THUDM/chatglm2-6b-32k", rope_ratio=4)),
    "chatglm_layernorm": Case(ChatGlm, "layer norms, residual taken after them, no last norm, biases everywhere",
                              lambda s: chatglm(s, _name_or_path="", rmsnorm=False, add_bias_linear=True,
                                                apply_residual_connection_post_layernorm=True, post_layer_norm=False)),
    "internlm2": Case(InternLm2, "queries, keys and values by group, biases of attention",
                      lambda s: common(s, **code("InternLM2Config", "InternLM2ForCausalLM"), model_type="internlm2",
                                       bias=True, bos_token_id=1, hidden_act="silu", initializer_range=0.02,
                                       intermediate_size=s.inter, max_position_embeddings=4 * s.context,
                                       num_hidden_layers=s.layers, num_key_value_heads=s.kv, rms_norm_eps=1e-5,
                                       rope_scaling=None, rope_theta=1000000, vocab_size=s.vocab,
                                       attn_implementation="eager")),
    "qwen": Case(Qwen, "dynamic NTK and logn beyond the length of the training, rope of half a head, biases everywhere",
                 lambda s: qwen(s, rotary_pct=0.5, no_bias=False)),
    "qwen_plain": Case(Qwen, "queries, keys and values in one tensor with biases, the second tensor is the gate",
                       lambda s: qwen(s, use_dynamic_ntk=False, use_logn_attn=False)),
}


# ---------------------------------------------------------------- golden answers


def greedy(model, ids):
    """Each step as the answer to a prompt of its own."""
    ids, steps = list(ids), {"token_ids": [], "margins": [], "runner_up_ids": []}
    for _ in range(NEW_TOKENS):
        last = model.logits(ids, len(ids))[-1]
        best, second = np.argsort(last)[::-1][:2]
        steps["token_ids"].append(int(best))
        steps["runner_up_ids"].append(int(second))
        steps["margins"].append(round(float(last[best] - last[second]), 6))
        ids.append(int(best))
    return steps


def ends_of(model, sequences):
    return np.stack([model.logits(ids, len(ids))[-LAST_POSITIONS:] for ids in sequences])


def least_sensitive(case, config, tensors, sequences, seed, reference):
    """The tensor whose disturbance moves the logits least."""
    moved = {}
    for name, value in tensors.items():
        noise = units(seed, "disturb:" + name, value.size).reshape(value.shape)
        disturbed = tensors | {name: value + (0.25 if value.ndim == 1 else 0.1) * noise}
        moved[name] = float(np.abs(ends_of(case.decoder(config, disturbed, np.float64), sequences) - reference).max())
    weakest = min(moved, key=moved.get)
    return weakest, moved[weakest]


def golden(case, config, tensors, shape, seed):
    """What a test needs to know but the weights, and the logits."""
    sequences = [input_ids(seed, i, n, shape.vocab) for i, n in enumerate(shape.lengths)]
    model = case.decoder(config, tensors, np.float64)
    reference = ends_of(model, sequences)
    most = float(np.abs(reference).max())
    narrow = float(np.abs(ends_of(case.decoder(config, tensors, np.float32), sequences) - reference).max())
    weakest, change = least_sensitive(case, config, tensors, sequences, seed, reference)
    if change < DEAD_FACTOR * TOLERANCE * most:
        raise ValueError(f"{weakest} hardly matters: logits move by {change:.3g}")
    return {
        "max_abs_logit": round(most, 4),
        "suggested_max_abs_error": float(f"{max(2e-5 * most, 10 * narrow):.3g}"),
        "float64_max_abs_difference": float(f"{narrow:.3g}"),
        "least_sensitive_tensor": {"name": weakest, "logit_change": float(f"{change:.3g}")},
        "sequences": [{"input_ids": ids, "first_logits_position": len(ids) - LAST_POSITIONS, "greedy": greedy(model, ids)}
                      for ids in sequences],
    }, reference.astype("<f4")


def make(name, args):
    case, shape = CASES[name], SimpleNamespace(**SHAPES[args.shapes])
    config = case.config(shape)
    tensors = {tensor: fill(case, args.seed, tensor, extents) for tensor, extents in case.decoder.shapes(config).items()}
    folder = os.path.join(args.outdir, name)
    os.makedirs(folder, exist_ok=True)
    data = safetensors_bytes(tensors)
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(data)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file, indent=2, sort_keys=True)
    if not args.golden:
        return
    answers, logits = golden(case, config, tensors, shape, args.seed)
    write_json(os.path.join(args.golden, f"{name}.json"), {
        "case": name, "model_type": config["model_type"], "exercises": case.exercises, "seed": args.seed,
        "shapes": args.shapes, "norm_center": case.norm_center, "embed_scale": case.embed_scale,
        "safetensors_sha256": hashlib.sha256(data).hexdigest(), "tensors": len(tensors),
        "parameters": sum(tensor.size for tensor in tensors.values()), "config": config, "config_v4": None,
        "softmax_invisible_tensors": None, "logits_file": f"{name}.npy", **answers})
    np.save(os.path.join(args.golden, f"{name}.npy"), logits)
    print(name, {key: answers[key] for key in ("max_abs_logit", "suggested_max_abs_error", "least_sensitive_tensor")},
          "smallest margin", min(min(one["greedy"]["margins"]) for one in answers["sequences"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", help="a case, or all")
    parser.add_argument("outdir")
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--shapes", choices=sorted(SHAPES), default="main")
    parser.add_argument("--golden", help="folder for the golden files")
    args = parser.parse_args()
    if args.case != "all" and args.case not in CASES:
        parser.error(f"no case is called {args.case}; there are {', '.join(CASES)}")
    for path in filter(None, (args.outdir, args.golden)):
        os.makedirs(path, exist_ok=True)
    for name in CASES if args.case == "all" else [args.case]:
        make(name, args)


if __name__ == "__main__":
    sys.exit(main())
