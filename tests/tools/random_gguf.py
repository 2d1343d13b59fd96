#!/usr/bin/env python3
"""Writes a GGUF file of random weights in the shape of a published model, to measure speed with: it says nothing sensible.

    python3 tests/tools/random_gguf.py 1b 1b.gguf     # Llama-3.2-1B: 16 layers of 2048, Q8_0, 1.3 GB
    python3 tests/tools/random_gguf.py tiny t.gguf    # two small layers, for tests

The vocabulary is one of byte-level BPE: every byte, then pairs and triples of them, by merges. Rows of matrices repeat, so
that the file is written in seconds. Needs nothing but Python.
"""

import argparse
import dataclasses
import itertools
import math
import pathlib
import random
import struct

from gguf_tensors import ALIGNMENT, string, value

Q8_0, F32 = 8, 0
BLOCK = 32
DISTINCT_ROWS = 64
SPECIAL = ["<|begin_of_text|>", "<|end_of_text|>"]


@dataclasses.dataclass(frozen=True)
class Shape:
    name: str
    vocabulary: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    inner: int
    context: int


SHAPES = {
    "1b": Shape("Random Llama 1B", 128256, 2048, 16, 32, 8, 64, 8192, 131072),
    "tiny": Shape("Random Llama tiny", 1024, 64, 2, 4, 2, 32, 96, 256),
}


def byte_letters():
    """The letter that stands for each byte in byte-level vocabularies."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = (byte for byte in range(256) if byte not in visible)
    return [chr(byte) for byte in visible] + [chr(256 + i) for i, _ in enumerate(others)]


def vocabulary(size):
    """Tokens, and the merges that make those of several bytes."""
    letters = byte_letters()
    merges = ([first, second] for width in (1, 2) for first in map("".join, itertools.product(letters, repeat=width))
              for second in letters)
    chosen = list(itertools.islice(merges, size - len(letters) - len(SPECIAL)))
    return letters + [first + second for first, second in chosen] + SPECIAL, [" ".join(merge) for merge in chosen]


def metadata_of(shape):
    tokens, merges = vocabulary(shape.vocabulary)
    end = len(tokens) - 1
    return {
        "general.architecture": "llama", "general.name": shape.name, "general.file_type": 7,
        "llama.block_count": shape.layers, "llama.context_length": shape.context,
        "llama.embedding_length": shape.width, "llama.feed_forward_length": shape.inner,
        "llama.attention.head_count": shape.heads, "llama.attention.head_count_kv": shape.kv_heads,
        "llama.attention.key_length": shape.head_width, "llama.attention.value_length": shape.head_width,
        "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.rope.freq_base": 500000.0,
        "llama.rope.dimension_count": shape.head_width, "llama.vocab_size": shape.vocabulary,
        "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "llama-bpe", "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [1] * (len(tokens) - 2) + [3, 3], "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.bos_token_id": end - 1, "tokenizer.ggml.eos_token_id": end,
        "tokenizer.chat_template": "{% for message in messages %}{{ message['content'] }}\n{% endfor %}",
    }


def tensors_of(shape):
    """Names and shapes, rows outermost."""
    query, key = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    yield "token_embd", (shape.vocabulary, shape.width)
    for layer in range(shape.layers):
        for name, dims in (("attn_norm", (shape.width,)), ("attn_q", (query, shape.width)), ("attn_k", (key, shape.width)),
                           ("attn_v", (key, shape.width)), ("attn_output", (shape.width, query)),
                           ("ffn_norm", (shape.width,)), ("ffn_gate", (shape.inner, shape.width)),
                           ("ffn_up", (shape.inner, shape.width)), ("ffn_down", (shape.width, shape.inner))):
            yield f"blk.{layer}.{name}", dims
    yield "output_norm", (shape.width,)


def bytes_of(dims):
    return 4 * dims[0] if len(dims) == 1 else dims[0] * dims[1] // BLOCK * (BLOCK + 2)


def random_rows(columns, chance):
    """DISTINCT_ROWS rows of Q8_0, of a size that keeps the stream's: 1 / sqrt(columns)."""
    scale = struct.pack("<e", 1 / (64 * math.sqrt(columns)))
    blocks = DISTINCT_ROWS * columns // BLOCK
    return [b"".join(scale + chance.randbytes(BLOCK) for _ in range(blocks // DISTINCT_ROWS)) for _ in range(DISTINCT_ROWS)]


def write(path, shape):
    tensors, metadata, chance = list(tensors_of(shape)), metadata_of(shape), random.Random(1)
    head = [struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata))]
    for key, item in metadata.items():
        kind, data = value(item)
        head += [string(key), struct.pack("<I", kind), data]
    offset = 0
    for name, dims in tensors:
        head += [string(name + ".weight"), struct.pack("<I", len(dims)), struct.pack(f"<{len(dims)}Q", *reversed(dims)),
                 struct.pack("<IQ", F32 if len(dims) == 1 else Q8_0, offset)]
        offset += -(-bytes_of(dims) // ALIGNMENT) * ALIGNMENT
    rows = {columns: random_rows(columns, chance) for columns in {dims[-1] for _, dims in tensors if len(dims) == 2}}
    with path.open("wb") as file:
        pad = lambda: file.write(b"\0" * (-file.tell() % ALIGNMENT))
        file.write(b"".join(head))
        pad()
        for _, dims in tensors:
            if len(dims) == 1:
                file.write(struct.pack("<f", 1) * dims[0])
            else:
                for first in range(0, dims[0], DISTINCT_ROWS):
                    file.write(b"".join(rows[dims[1]][:dims[0] - first]))
            pad()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("gguf", type=pathlib.Path)
    options = parser.parse_args()
    write(options.gguf, SHAPES[options.shape])


if __name__ == "__main__":
    main()
