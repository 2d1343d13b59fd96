#!/usr/bin/env python3
"""Writes a Hugging Face folder as a GGUF file, with the keys, names and layouts that published files of its architecture
have. Weights keep their numbers: matrices as they are stored, vectors as float32.

    python3 tests/tools/folder_to_gguf.py FOLDER model.gguf
    python3 tests/tools/folder_to_gguf.py FOLDER model.gguf --pre gpt-2      # with its byte-level vocabulary, to be served

Needs nothing but Python. What a GGUF file has no key for is refused by name.
"""

import argparse
import array
import json
import math
import pathlib
import struct
import sys

ALIGNMENT = 32
BLOCKS = "model.layers.*."


class Refused(Exception):
    """The folder has something that a GGUF file cannot say."""


# ---- Tensors --------------------------------------------------------------------------------------------------------

GGML_TYPES = {"F32": 0, "F16": 1, "BF16": 30}
ELEMENT_BYTES = {"F32": 4, "F16": 2, "BF16": 2}


class Tensor:
    """Numbers of one type, rows outermost."""

    def __init__(self, kind, shape, data):
        self.kind, self.shape, self.data = kind, list(shape), data

    @property
    def row_bytes(self):
        return math.prod(self.shape[1:]) * ELEMENT_BYTES[self.kind]

    def rows(self, ranges):
        """Rows of all ranges, one below the other."""
        size = self.row_bytes
        data = b"".join(bytes(self.data[first * size:last * size]) for first, last in ranges)
        return Tensor(self.kind, [len(data) // size] + self.shape[1:], data)

    def transposed(self):
        rows, columns = self.shape
        numbers = array.array("I" if self.kind == "F32" else "H", bytes(self.data))
        turned = array.array(numbers.typecode)
        for column in range(columns):
            turned.extend(numbers[column::columns])
        assert rows * columns == len(turned)
        return Tensor(self.kind, [columns, rows], turned.tobytes())

    def floats(self):
        data = bytes(self.data)
        if self.kind == "F32":
            return array.array("f", data)
        if self.kind == "F16":
            return array.array("f", (value for (value,) in struct.iter_unpack("<e", data)))
        words = array.array("I", (bits << 16 for (bits,) in struct.iter_unpack("<H", data)))
        return array.array("f", words.tobytes())

    def changed(self, change):
        return Tensor("F32", self.shape, array.array("f", map(change, self.floats())).tobytes())


def stacked(tensors):
    return Tensor(tensors[0].kind, [len(tensors)] + tensors[0].shape, b"".join(bytes(one.data) for one in tensors))


def read_safetensors(path):
    content = memoryview(path.read_bytes())
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(bytes(content[8:8 + size]))
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in GGML_TYPES:
            raise Refused(f"tensor '{name}' has the type {entry['dtype']}; supported are {', '.join(GGML_TYPES)}")
        first, last = entry["data_offsets"]
        yield name, Tensor(entry["dtype"], entry["shape"], content[8 + size:][first:last])


def read_tensors(folder):
    index = folder / "model.safetensors.index.json"
    names = ["model.safetensors"]
    if index.exists() and not (folder / names[0]).exists():
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    return dict(item for name in names for item in read_safetensors(folder / name))


# ---- The file -------------------------------------------------------------------------------------------------------

def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def value(item):
    """The number of the type, and the bytes."""
    if isinstance(item, bool):
        return 7, struct.pack("<?", item)
    if isinstance(item, int):
        return 4, struct.pack("<I", item)
    if isinstance(item, float):
        return 6, struct.pack("<f", item)
    if isinstance(item, str):
        return 8, string(item)
    kinds = [value(one) for one in item]
    return 9, struct.pack("<IQ", kinds[0][0], len(kinds)) + b"".join(data for _, data in kinds)


def write_gguf(path, metadata, tensors):
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata))
    for key, item in metadata.items():
        kind, data = value(item)
        head += string(key) + struct.pack("<I", kind) + data
    offset = 0
    for name, tensor in tensors.items():
        head += string(name) + struct.pack("<I", len(tensor.shape))
        head += struct.pack(f"<{len(tensor.shape)}Q", *reversed(tensor.shape))
        head += struct.pack("<IQ", GGML_TYPES[tensor.kind], offset)
        offset += -(-len(tensor.data) // ALIGNMENT) * ALIGNMENT
    with open(path, "wb") as file:
        file.write(head + bytes(-len(head) % ALIGNMENT))
        for tensor in tensors.values():
            file.write(tensor.data)
            file.write(bytes(-len(tensor.data) % ALIGNMENT))


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


def yarn_keys(rope, context):
    factor = rope["factor"]

    def magnitude(mscale):
        return 0.1 * mscale * math.log(factor) + 1 if factor > 1 else 1.0

    if not rope.get("truncate", True):
        raise Refused("rope_parameters.truncate is false, which GGUF has no key for")
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
        keys.update(yarn_keys(rope, config.context))
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


FAMILIES = {
    "llama": Family("llama", change=interleaved),
    "mistral": Family("llama", change=interleaved, keys=maybe_windows),
    "internlm3": Family("llama", change=interleaved),
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


# ---- Conversion -----------------------------------------------------------------------------------------------------

def file_name(name, family):
    """The layer, or None, the stem in the file, and whether it is a bias."""
    stem, _, kind = name.rpartition(".")
    parts = stem.split(".")
    layer = next((part for part in parts if part.isdigit()), None)
    generic = ".".join("*" if part == layer else part for part in parts) if layer else stem
    if generic not in family.names:
        raise Refused(f"tensor '{name}' has no place in a GGUF file of {family.architecture}")
    return layer, family.names[generic], kind


def with_stacked_heads(tensors):
    """Norms of single heads (StableLM) as one tensor."""
    heads, others = {}, {}
    for name, tensor in tensors.items():
        stem, found, head = name.removesuffix(".weight").partition("_layernorm.norms.")
        if found:
            heads.setdefault(stem + "_norm.weight", {})[int(head)] = tensor
        else:
            others[name] = tensor
    return others | {name: stacked([by_head[i] for i in range(len(by_head))]) for name, by_head in heads.items()}


def convert_tensors(tensors, family, config):
    out = {}
    tied = config.get("tie_word_embeddings", config.type in ("gemma", "gemma2", "gemma3_text", "cohere", "cohere2"))
    for name, tensor in with_stacked_heads(tensors).items():
        layer, stem, kind = file_name(name, family)
        if stem == "output" and tied:
            continue
        if kind == "weight" or not family.weights_only:
            tensor = family.change(stem, tensor, config)
        if len(tensor.shape) == 1 or stem.endswith("norm"):
            tensor = tensor.changed(lambda number: number)
        out[f"{'' if layer is None else f'blk.{layer}.'}{stem}.{kind}"] = tensor
    return out


def vocabulary(folder, pre, rows):
    """The keys of a byte-level vocabulary."""
    document = json.loads((folder / "tokenizer.json").read_text())
    model = document["model"]
    if model["type"] != "BPE" or document["decoder"]["type"] != "ByteLevel":
        raise Refused("tokenizer.json: --pre is for byte-level BPE")
    tokens = {index: token for token, index in model["vocab"].items()}
    types = {index: 1 for index in tokens}
    for token in document["added_tokens"]:
        tokens[token["id"]] = token["content"]
        types[token["id"]] = 3 if token["special"] else 4
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    keys = {"model": "gpt2", "pre": pre, "tokens": [tokens.get(i, f"[PAD{i}]") for i in range(rows)],
            "token_type": [types.get(i, 5) for i in range(rows)], "merges": merges or [""]}
    ids = {token: index for index, token in tokens.items()}
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text()) if path.exists() else {}
    for name in ("bos", "eos"):
        token = config.get(f"{name}_token")
        token = token["content"] if isinstance(token, dict) else token
        if token in ids:
            keys[f"{name}_token_id"] = ids[token]
    if (folder / "chat_template.jinja").exists():
        return {f"tokenizer.ggml.{key}": item for key, item in keys.items()} | {
            "tokenizer.chat_template": (folder / "chat_template.jinja").read_text()}
    return {f"tokenizer.ggml.{key}": item for key, item in keys.items()}


def convert(folder, path, pre):
    config = Config(json.loads((folder / "config.json").read_text()))
    if config.type not in FAMILIES:
        raise Refused(f"model_type '{config.type}' is not supported; supported are {', '.join(FAMILIES)}")
    family = FAMILIES[config.type]
    metadata = {"general.architecture": family.architecture}
    keys = family.keys(config)
    tensors = convert_tensors(read_tensors(folder), family, config)
    if family.rope:
        more, factors = rope_keys(config)
        keys = {f"rope.{key}": item for key, item in more.items()} | keys
        tensors |= factors
    metadata |= {f"{family.architecture}.{key}": item for key, item in keys.items()}
    if pre is not None:
        metadata |= vocabulary(folder, pre, tensors["token_embd.weight"].shape[0])
    write_gguf(path, metadata, tensors)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("gguf")
    parser.add_argument("--pre", help="tokenizer.ggml.pre; with it the vocabulary is written, too")
    options = parser.parse_args()
    try:
        convert(options.folder, options.gguf, options.pre)
    except (Refused, OSError) as error:
        print(f"folder_to_gguf.py: {options.folder}: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
