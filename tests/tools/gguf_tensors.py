"""Tensors of a Hugging Face folder, and a GGUF file of them, for folder_to_gguf.py."""

import array
import json
import math
import struct

ALIGNMENT = 32


class Refused(Exception):
    """The folder has something that a GGUF file cannot say."""


# ---- Tensors --------------------------------------------------------------------------------------------------------

GGML_TYPES = {"F32": 0, "F16": 1, "BF16": 30, "MXFP4": 39}
ELEMENT_BYTES = {"F32": 4, "F16": 2, "BF16": 2, "U8": 1}
MXFP4_COLUMNS, MXFP4_BYTES = 32, 17  # of a block


class Tensor:
    """Numbers of one type, rows outermost."""

    def __init__(self, kind, shape, data):
        self.kind, self.shape, self.data = kind, list(shape), data

    @property
    def row_bytes(self):
        columns = math.prod(self.shape[1:])
        if self.kind == "MXFP4":
            return columns // MXFP4_COLUMNS * MXFP4_BYTES
        return columns * ELEMENT_BYTES[self.kind]

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

    def unit_rows(self):
        """Rows of length 1."""
        numbers, columns = self.floats(), self.shape[-1]
        for first in range(0, len(numbers), columns):
            row = numbers[first:first + columns]
            length = max(math.sqrt(math.fsum(number * number for number in row)), 1e-12)
            numbers[first:first + columns] = array.array("f", (number / length for number in row))
        return Tensor("F32", self.shape, numbers.tobytes())

    def split_rows(self, count):
        """Parts of as many rows each, one below the other."""
        size = self.shape[0] // count
        return [self.rows([(i * size, (i + 1) * size)]) for i in range(count)]

    def parts(self):
        """What lies along the outermost dimension, one by one."""
        size = len(self.data) // self.shape[0]
        return [Tensor(self.kind, self.shape[1:], self.data[i * size:(i + 1) * size]) for i in range(self.shape[0])]


def stacked(tensors):
    return Tensor(tensors[0].kind, [len(tensors)] + tensors[0].shape, b"".join(bytes(one.data) for one in tensors))


def read_safetensors(path):
    content = memoryview(path.read_bytes())
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(bytes(content[8:8 + size]))
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in ELEMENT_BYTES:
            raise Refused(f"tensor '{name}' has the type {entry['dtype']}; supported are {', '.join(ELEMENT_BYTES)}")
        first, last = entry["data_offsets"]
        yield name, Tensor(entry["dtype"], entry["shape"], content[8 + size:][first:last])


def joined_mxfp4(tensors):
    """NAME_blocks and NAME_scales as NAME, blocks as files have them: the scale, then columns i and i + 16 in each byte."""
    out = {name: tensor for name, tensor in tensors.items() if tensor.kind != "U8"}
    for name, blocks in tensors.items():
        if blocks.kind == "U8" and name.endswith("_blocks"):
            stem = name.removesuffix("_blocks")
            scales, data = bytes(tensors[stem + "_scales"].data), bytearray()
            for index, scale in enumerate(scales):
                block = blocks.data[16 * index:16 * index + 16]
                codes = [block[column // 2] >> 4 * (column % 2) & 15 for column in range(MXFP4_COLUMNS)]
                data.append(scale)
                data.extend(codes[i] | codes[i + 16] << 4 for i in range(16))
            out[stem] = Tensor("MXFP4", blocks.shape[:-2] + [blocks.shape[-2] * MXFP4_COLUMNS], bytes(data))
    return out


def read_tensors(folder):
    index = folder / "model.safetensors.index.json"
    names = ["model.safetensors"]
    if index.exists() and not (folder / names[0]).exists():
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    return joined_mxfp4(dict(item for name in names for item in read_safetensors(folder / name)))


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
    # Readers of other projects take whole numbers of arrays, such as token types, only as signed ones.
    kinds = [(5, struct.pack("<i", one)) if type(one) is int else value(one) for one in item]
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
