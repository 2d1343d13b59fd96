#!/usr/bin/env python3
"""Writes a GGUF file of a Llama with a byte-level vocabulary (SmolLM2, say) as a Hugging Face folder, to serve and
measure folders of a real model.

    pip install gguf==0.19.0 numpy==2.4.6
    python3 tests/tools/gguf_to_folder.py models/SmolLM2-135M-Instruct.Q4_1.gguf FOLDER --dtype bfloat16

Weights are those of the file, unpacked, and rounded to --dtype. Query and key rows go back from interleaved pairs to
halves, as folders have them.
"""

import argparse
import json
import pathlib
import struct

import gguf
import numpy as np

# How digits and words are told apart, by the names that GGUF files use for it.
SPLITS = {
    "smollm": [{"type": "Digits", "individual_digits": True},
               {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}],
    "gpt-2": [{"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}],
}
CONTROL, USER_DEFINED = 3, 4


class File:
    def __init__(self, path):
        self.reader = gguf.GGUFReader(path)

    def __call__(self, key, default=None):
        field = self.reader.get_field(key)
        return default if field is None else field.contents()


def halves(rows, heads):
    """Rows of each head from interleaved pairs (2 i, 2 i + 1) to halves (i, i + E / 2)."""
    return rows.reshape(heads, rows.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape)


def folder_name(name):
    swaps = [("token_embd", "model.embed_tokens"), ("output_norm", "model.norm"), ("blk.", "model.layers."),
             ("attn_norm", "input_layernorm"), ("ffn_norm", "post_attention_layernorm"),
             ("attn_q", "self_attn.q_proj"), ("attn_k", "self_attn.k_proj"), ("attn_v", "self_attn.v_proj"),
             ("attn_output", "self_attn.o_proj"), ("ffn_gate", "mlp.gate_proj"), ("ffn_up", "mlp.up_proj"),
             ("ffn_down", "mlp.down_proj")]
    if name == "output.weight":
        return "lm_head.weight"
    for old, new in swaps:
        name = name.replace(old, new)
    return name


def tensors(file):
    for tensor in file.reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        if ".attn_q." in tensor.name:
            values = halves(values, file("llama.attention.head_count"))
        if ".attn_k." in tensor.name:
            values = halves(values, file("llama.attention.head_count_kv"))
        yield folder_name(tensor.name), values.astype(np.float32)


def rounded(values, dtype):
    if dtype == "float32":
        return "F32", values.tobytes()
    if dtype == "float16":
        return "F16", values.astype(np.float16).tobytes()
    bits = values.view(np.uint32)
    bits = bits + 0x7FFF + ((bits >> 16) & 1)  # to the nearest, ties to even
    return "BF16", (bits >> 16).astype(np.uint16).tobytes()


def write_weights(file, path, dtype):
    header, data, offset = {}, [], 0
    for name, values in tensors(file):
        kind, content = rounded(values, dtype)
        header[name] = {"dtype": kind, "shape": list(values.shape), "data_offsets": [offset, offset + len(content)]}
        offset += len(content)
        data.append(content)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        out.writelines(data)


def config(file, dtype):
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": dtype, "hidden_act": "silu",
            "vocab_size": len(file("tokenizer.ggml.tokens")), "hidden_size": file("llama.embedding_length"),
            "intermediate_size": file("llama.feed_forward_length"), "num_hidden_layers": file("llama.block_count"),
            "num_attention_heads": file("llama.attention.head_count"),
            "num_key_value_heads": file("llama.attention.head_count_kv"),
            "max_position_embeddings": file("llama.context_length"), "rope_theta": file("llama.rope.freq_base"),
            "rms_norm_eps": file("llama.attention.layer_norm_rms_epsilon"),
            "tie_word_embeddings": all(tensor.name != "output.weight" for tensor in file.reader.tensors),
            "bos_token_id": file("tokenizer.ggml.bos_token_id"), "eos_token_id": file("tokenizer.ggml.eos_token_id")}


def tokenizer(file):
    tokens, types = file("tokenizer.ggml.tokens"), file("tokenizer.ggml.token_type")
    added = [{"id": i, "content": tokens[i], "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": kind == CONTROL}
             for i, kind in enumerate(types) if kind in (CONTROL, USER_DEFINED)]
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": SPLITS[file("tokenizer.ggml.pre")]},
            "post_processor": None,
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                      "vocab": {token: i for i, token in enumerate(tokens)},
                      "merges": [merge.split(" ") for merge in file("tokenizer.ggml.merges")]}}


def tokenizer_config(file):
    tokens = file("tokenizer.ggml.tokens")
    return {"tokenizer_class": "GPT2Tokenizer", "bos_token": tokens[file("tokenizer.ggml.bos_token_id")],
            "eos_token": tokens[file("tokenizer.ggml.eos_token_id")], "add_prefix_space": False}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("gguf")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--dtype", choices=["float32", "float16", "bfloat16"], default="float32")
    options = parser.parse_args()
    file = File(options.gguf)
    if file("general.architecture") != "llama" or file("tokenizer.ggml.pre") not in SPLITS:
        parser.error(f"{options.gguf} must be a llama with one of the vocabularies {', '.join(SPLITS)}")
    options.folder.mkdir(parents=True, exist_ok=True)
    documents = {"config": config(file, options.dtype), "tokenizer": tokenizer(file),
                 "tokenizer_config": tokenizer_config(file),
                 "generation_config": {"bos_token_id": file("tokenizer.ggml.bos_token_id"),
                                       "eos_token_id": [file("tokenizer.ggml.eos_token_id")]}}
    for name, document in documents.items():
        (options.folder / f"{name}.json").write_text(json.dumps(document, indent=1, ensure_ascii=False))
    if template := file("tokenizer.chat_template"):
        (options.folder / "chat_template.jinja").write_text(template)
    write_weights(file, options.folder / "model.safetensors", options.dtype)


if __name__ == "__main__":
    main()
