#!/usr/bin/env python3
"""Writes a Hugging Face folder as a GGUF file, with the keys, names and layouts that published files of its architecture
have. Weights keep their numbers: matrices as they are stored, vectors as float32.

    python3 tests/tools/folder_to_gguf.py FOLDER model.gguf
    python3 tests/tools/folder_to_gguf.py FOLDER model.gguf --pre gpt-2      # with its byte-level vocabulary, to be served
    python3 tests/tools/folder_to_gguf.py FOLDER model.gguf --older          # DeepSeek's as it was written until 2025

Needs nothing but Python. What a GGUF file has no key for is refused by name.
"""

import argparse
import json
import pathlib
import re
import sys

from gguf_config import Config, rope_keys
from gguf_families import FAMILIES, OLDER_FAMILIES
from gguf_tensors import Refused, read_tensors, stacked, write_gguf


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


def halves(tensor, alternating):
    """Gate and up of a matrix that has both, or of its biases."""
    rows = tensor.shape[0]
    if alternating:
        return [tensor.rows([(i, i + 1) for i in range(first, rows, 2)]) for first in (0, 1)]
    return [tensor.rows([(0, rows // 2)]), tensor.rows([(rows // 2, rows)])]


def split_stack(name, tensor, alternating):
    """The tensors of all experts together, as they are and as GGUF has them: (half, weight or bias, tensor)."""
    kind = "bias" if name.endswith("_bias") else "weight"
    turned = ".experts." in name and kind == "weight" and tensor.kind != "MXFP4"
    each = [part.transposed() if turned else part for part in tensor.parts()]
    if "down_proj" in name or "output_linear" in name:
        return [("down", kind, stacked(each))]
    both = [halves(part, alternating) for part in each]
    return [(half, kind, stacked([pair[i] for pair in both])) for i, half in enumerate(("gate", "up"))]


def experts_apart(tensors, config):
    """Experts stacked as "....experts.gate.weight" and so on, whatever way the folder has them."""
    halves_of = {"w1": "gate", "w2": "down", "w3": "up", "gate_proj": "gate", "up_proj": "up", "down_proj": "down"}
    out, single = {}, {}
    for name, tensor in tensors.items():
        one = re.fullmatch(r"(.*)\.experts\.(\d+)\.(\w+)\.weight", name)
        all_of_them = re.fullmatch(r"(.*)\.(experts\.(gate_up|down)_proj(_bias)?|(input|output)_linear\.weight)", name)
        if one:
            single.setdefault(f"{one[1]}.experts.{halves_of[one[3]]}.weight", {})[int(one[2])] = tensor
        elif all_of_them and "shared_mlp" in name:
            block = name.replace("shared_mlp", "block_sparse_moe.shared_expert").rpartition("shared_expert")[0]
            pairs = zip(("gate", "up"), halves(tensor, False)) if "input" in name else [("down", tensor)]
            out |= {f"{block}shared_expert.{half}_proj.weight": part for half, part in pairs}
        elif all_of_them:
            for half, kind, part in split_stack(name, tensor, config.type == "gpt_oss"):
                out[f"{all_of_them[1]}.experts.{half}.{kind}"] = part
        elif name.endswith(".e_score_correction_bias"):
            block = name.rpartition(".mlp.")[0]
            out[f"{block}.mlp.exp_probs_b.bias"] = tensor if len(tensor.shape) == 1 else tensor.parts()[0]
        elif name.endswith(".self_attn.sinks"):
            out[name.replace("sinks", "attn_sinks.weight")] = tensor
        elif name.endswith(".shared_expert_gate.weight"):
            out[name] = tensor.parts()[0]
        elif ".act_fn." not in name:  # xielu_keys has these
            out[name] = tensor
    return out | {name: stacked([by_expert[i] for i in range(len(by_expert))]) for name, by_expert in single.items()}


def xielu_keys(tensors, layers):
    """Numbers of an activation that has tensors for them in a folder."""
    keys = {}
    for name in ("alpha_p", "alpha_n", "beta", "eps"):
        found = [tensors.get(f"model.layers.{i}.mlp.act_fn.{name}") for i in range(layers)]
        if all(found):
            keys[f"xielu.{name}"] = [tensor.floats()[0] for tensor in found]
    return keys


def convert_tensors(tensors, family, config):
    out = {}
    tied = config.get("tie_word_embeddings", config.type in ("gemma", "gemma2", "gemma3_text", "cohere", "cohere2"))
    for name, tensor in with_stacked_heads(experts_apart(family.apart(tensors, config), config)).items():
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


def convert(folder, path, pre, families):
    config = Config(json.loads((folder / "config.json").read_text()))
    if config.type not in families:
        raise Refused(f"model_type '{config.type}' is not supported; supported are {', '.join(families)}")
    family = families[config.type]
    metadata = {"general.architecture": family.architecture}
    keys = family.keys(config)
    stored = read_tensors(folder)
    metadata |= xielu_keys(stored, config.layers)
    tensors = convert_tensors(stored, family, config)
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
    parser.add_argument("--older", action="store_true", help="as files were written before, where that differs")
    options = parser.parse_args()
    try:
        convert(options.folder, options.gguf, options.pre, OLDER_FAMILIES if options.older else FAMILIES)
    except (Refused, OSError) as error:
        print(f"folder_to_gguf.py: {options.folder}: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
