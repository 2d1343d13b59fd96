#!/usr/bin/env python3
"""Random blocks of every quantised type, and what the Python package `gguf` makes of them.

    pip install gguf==0.19.0 numpy==2.4.6
    python3 make_quants.py OUT_DIR

Writes OUT_DIR/<type>.blocks.gz (the bytes) and OUT_DIR/<type>.f32.gz (float32, little-endian). All bytes are random but
MXFP4's exponents and the 16-bit scales, which are finite: random ones, and now and then a zero, a denormal, the largest or the smallest.
"""

import gzip
import pathlib
import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

COLUMNS = 4096

# Offsets of the 16-bit scales in a block.
SCALES = {
    "F16": (0,), "BF16": (), "Q4_0": (0,), "Q4_1": (0, 2), "Q5_0": (0,), "Q5_1": (0, 2), "Q8_0": (0,),
    "Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,), "IQ4_NL": (0,), "IQ4_XS": (0,),
    "MXFP4": (),
}
SPECIAL = (0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x83FF, 0x0400, 0x7BFF, 0xFBFF, 0x3C00, 0xBC00)


def finite_halves(random, count):
    """`count` 16-bit floats, one in four of them special."""
    halves = random.integers(0, 1 << 16, count, dtype=np.uint16)
    halves = np.where((halves & 0x7C00) == 0x7C00, halves & 0xBFFF, halves)
    return np.where(random.integers(0, 4, count) == 0, random.choice(SPECIAL, count), halves).astype("<u2")


def make_blocks(random, name, kind):
    """Blocks of one type, as [blocks, bytes]."""
    columns, size = GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (COLUMNS // columns, size), dtype=np.uint8)
    if name == "BF16":  # no infinities, no NaNs
        blocks[:, 1] &= 0xBF
    if name == "MXFP4":  # every exponent but those whose products overflow
        blocks[:, 0] = random.permutation(np.arange(len(blocks)) * 2 % 252)
        blocks[:2, 0] = 0, 1
    for offset in SCALES[name]:
        blocks[:, offset:offset + 2] = finite_halves(random, len(blocks)).view(np.uint8).reshape(-1, 2)
    return blocks


def main(folder):
    """Writes the files of every type."""
    for seed, name in enumerate(SCALES):
        kind = GGMLQuantizationType[name]
        blocks = make_blocks(np.random.default_rng(seed), name, kind)
        values = quants.dequantize(blocks.reshape(1, -1), kind).astype("<f4")
        assert values.shape == (1, COLUMNS) and np.isfinite(values).all(), name
        for ending, data in (("blocks", blocks.tobytes()), ("f32", values.tobytes())):
            (folder / f"{name}.{ending}.gz").write_bytes(gzip.compress(data, 9, mtime=0))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
