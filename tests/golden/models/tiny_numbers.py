"""Numbers, shapes and files of tiny checkpoints, for make_tiny.py and make_tiny_numpy.py.

No random generator of any library is used. Every number comes from splitmix64:

    mix(z):     z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
                z = (z ^ (z >> 27)) * 0x94D049BB133111EB
                return z ^ (z >> 31)                                  (all modulo 2^64)
    key:        mix(seed + 0x9E3779B97F4A7C15) ^ fnv1a64(UTF-8 bytes of the tensor's name)
    number i:   z = mix(key + (i + 1) * 0x9E3779B97F4A7C15),   i = 0, 1, 2 .. in row-major order
    unit i:     (int(z >> 40) - 2^23) * 2^-23                         in [-1, 1), exact in float32
    weight i:   float32(center + scale * unit)

`center` and `scale` are multiples of 1/1024, so the double arithmetic is exact and only the final
conversion rounds. fill_rule() chooses them; input ids are 3 + z % (vocab - 3) with the name "input:0"
and "input:1".
"""

import json
import re
import struct

import numpy as np

MASK = (1 << 64) - 1
GOLDEN_RATIO = 0x9E3779B97F4A7C15
LAST_POSITIONS = 8
NEW_TOKENS = 24
TOLERANCE = 1e-4  # suggested bound on |logit error| / max |logit| for a float32 engine
DEAD_FACTOR = 5  # disturbing any tensor must move the logits by this many tolerances

SHAPES = {
    "main": dict(hidden=96, heads=6, kv=2, wide=24, inter=160, layers=4, vocab=320, window=32,
                 context=64, rotary=0.25, experts=5, moe_inter=56, lengths=(37, 150), heads4=4),
    "alt": dict(hidden=120, heads=10, kv=5, wide=20, inter=184, layers=5, vocab=288, window=24,
                context=48, rotary=0.5, experts=6, moe_inter=40, lengths=(23, 133), heads4=4),
}


def mix(z):
    """The splitmix64 finaliser on one Python integer."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def fnv1a64(text):
    """The 64-bit FNV-1a hash of a name."""
    value = 0xCBF29CE484222325
    for byte in text.encode("utf-8"):
        value = ((value ^ byte) * 0x100000001B3) & MASK
    return value


def stream(seed, name, count):
    """`count` 64-bit numbers of the stream keyed by (seed, name)."""
    key = mix((seed + GOLDEN_RATIO) & MASK) ^ fnv1a64(name)
    with np.errstate(over="ignore"):
        z = np.uint64(key) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GOLDEN_RATIO)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def units(seed, name, count):
    """`count` doubles in [-1, 1) with 24 significant bits."""
    return ((stream(seed, name, count) >> np.uint64(40)).astype(np.int64) - (1 << 23)) * 2.0**-23


def fill_rule(case, name, shape):
    """Center and scale (in 1/1024) of a tensor, from its name and shape."""
    if name.endswith("sinks"):
        return 0, 2048
    if name.endswith("weight") and (len(shape) == 1 or re.search(r"norm|ln_", name)):
        return round(1024 * case.norm_center), 512
    if "e_score" in name:
        return 0, 128
    if len(shape) == 1:
        return 0, 128 if "router" in name else 512  # a strong bias would leave experts unused
    if re.search(r"embed|wte|wpe", name) and "proj" not in name:
        return 0, case.embed_scale
    return 0, max(1, round(1024 * 1.5 * 3**0.5 / shape[-1] ** 0.5))


def fill(case, seed, name, shape):
    """A float32 tensor of the documented stream; bytes of MXFP4: codes of any kind, scales of 2^-5 to 2^-3."""
    if name.endswith(("_blocks", "_scales")):
        numbers = (stream(seed, name, int(np.prod(shape))) >> np.uint64(56)).astype(np.uint8)
        return (numbers if name.endswith("_blocks") else 122 + numbers % 3).astype(np.uint8).reshape(shape)
    center, scale = fill_rule(case, name, shape)
    values = (center + scale * units(seed, name, int(np.prod(shape)))) / 1024.0
    return values.astype(np.float32).reshape(shape)


def input_ids(seed, index, length, vocab):
    """Token ids of one test sequence; 0, 1 and 2 stay out because they are pad, bos and eos."""
    return [3 + int(z % np.uint64(vocab - 3)) for z in stream(seed, f"input:{index}", length)]


def safetensors_bytes(tensors):
    """A safetensors file with tensors in name order, so that its digest depends on nothing else."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name in sorted(tensors):
        size = tensors[name].nbytes
        header[name] = {"dtype": "U8" if tensors[name].dtype == np.uint8 else "F32", "shape": list(tensors[name].shape),
                        "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(tensors[n].tobytes() for n in sorted(tensors))


def write_json(path, value):
    """One top-level key per line."""
    lines = [f"  {json.dumps(k)}: {json.dumps(v, sort_keys=True)}" for k, v in value.items()]
    with open(path, "w", encoding="utf-8") as file:
        file.write("{\n" + ",\n".join(lines) + "\n}\n")
