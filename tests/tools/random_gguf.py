#!/usr/bin/env python3
"""Writes a GGUF file of random weights in the shape of a published model, to measure speed with: it says nothing sensible.

    python3 tests/tools/random_gguf.py 1b 1b.gguf     # Llama-3.2-1B: 16 layers of 2048, Q8_0, 1.3 GB
    python3 tests/tools/random_gguf.py 8b 8b.gguf --type BF16    # Llama-3.1-8B, 16 GB
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
import typing

from gguf_tensors import ALIGNMENT, string, value

F32 = 0
BLOCK = 32  # of Q8_0
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
    tied: bool = True  # the output layer has the embeddings' weights


@dataclasses.dataclass(frozen=True)
class Type:
    number: int  # GGML's
    file_type: int  # GGUF's
    block: int      # columns
    block_bytes: int
    rows: typing.Callable


SHAPES = {
    "1b": Shape("Random Llama 1B", 128256, 2048, 16, 32, 8, 64, 8192, 131072),
    "8b": Shape("Random Llama 8B", 128256, 4096, 32, 32, 8, 128, 14336, 131072, tied=False),
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


def metadata_of(shape, kind):
    tokens, merges = vocabulary(shape.vocabulary)
    end = len(tokens) - 1
    return {
        "general.architecture": "llama", "general.name": shape.name, "general.file_type": kind.file_type,
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
    if not shape.tied:
        yield "output", (shape.vocabulary, shape.width)


def bytes_of(dims, kind):
    return 4 * dims[0] if len(dims) == 1 else dims[0] * dims[1] // kind.block * kind.block_bytes


# Rows are of a size that keeps the stream's: 1 / sqrt(columns).
def random_q8_0(columns, chance):
    scale = struct.pack("<e", 1 / (64 * math.sqrt(columns)))
    return b"".join(scale + chance.randbytes(BLOCK) for _ in range(columns // BLOCK))


def random_bf16(columns, chance):
    """One exponent; random signs and mantissas."""
    exponent = 127 - round(math.log2(math.sqrt(columns)))
    low = bytes((exponent & 1) << 7 | byte & 0x7F for byte in range(256))
    high = bytes(byte & 0x80 | exponent >> 1 for byte in range(256))
    row = bytearray(2 * columns)
    row[0::2] = chance.randbytes(columns).translate(low)
    row[1::2] = chance.randbytes(columns).translate(high)
    return bytes(row)


TYPES = {"Q8_0": Type(8, 7, BLOCK, BLOCK + 2, random_q8_0), "BF16": Type(30, 32, 1, 2, random_bf16)}


def write(path, shape, kind):
    tensors, metadata, chance = list(tensors_of(shape)), metadata_of(shape, kind), random.Random(1)
    head = [struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata))]
    for key, item in metadata.items():
        number, data = value(item)
        head += [string(key), struct.pack("<I", number), data]
    offset = 0
    for name, dims in tensors:
        head += [string(name + ".weight"), struct.pack("<I", len(dims)), struct.pack(f"<{len(dims)}Q", *reversed(dims)),
                 struct.pack("<IQ", F32 if len(dims) == 1 else kind.number, offset)]
        offset += -(-bytes_of(dims, kind) // ALIGNMENT) * ALIGNMENT
    rows = {columns: b"".join(kind.rows(columns, chance) for _ in range(DISTINCT_ROWS))
            for columns in {dims[-1] for _, dims in tensors if len(dims) == 2}}
    with path.open("wb") as file:
        pad = lambda: file.write(b"\0" * (-file.tell() % ALIGNMENT))
        file.write(b"".join(head))
        pad()
        for _, dims in tensors:
            if len(dims) == 1:
                file.write(struct.pack("<f", 1) * dims[0])
            else:
                some, left = rows[dims[1]], bytes_of(dims, kind)
                for _ in range(left // len(some)):
                    file.write(some)
                file.write(some[:left % len(some)])
            pad()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("gguf", type=pathlib.Path)
    parser.add_argument("--type", choices=TYPES, default="Q8_0")
    options = parser.parse_args()
    write(options.gguf, SHAPES[options.shape], TYPES[options.type])


if __name__ == "__main__":
    main()
