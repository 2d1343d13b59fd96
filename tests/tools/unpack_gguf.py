#!/usr/bin/env python3
"""Writes a GGUF file with its packed matrices unpacked, and rounded to bf16: the 16-bit model that it was packed from, as far
as it can be had back, to measure on a real model what 16-bit weights may become.

    pip install gguf==0.19.0 numpy==2.4.6
    python3 tests/tools/unpack_gguf.py models/SmolLM2-135M-Instruct.Q4_1.gguf UNPACKED.gguf
"""

import argparse

import gguf
from gguf import quants


def copy_values(reader, writer):
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value = gguf.LlamaFileType.MOSTLY_BF16 if name == "general.file_type" else field.contents()
        item = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, value, field.types[0], item)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packed")
    parser.add_argument("unpacked")
    options = parser.parse_args()
    reader = gguf.GGUFReader(options.packed)
    writer = gguf.GGUFWriter(options.unpacked, reader.get_field("general.architecture").contents())
    copy_values(reader, writer)
    for tensor in reader.tensors:
        values = quants.dequantize(tensor.data, tensor.tensor_type)
        if values.ndim == 1:
            writer.add_tensor(tensor.name, values)
            continue
        bf16 = gguf.GGMLQuantizationType.BF16
        writer.add_tensor(tensor.name, quants.quantize(values, bf16), raw_dtype=bf16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
