"""What is known of the shipped kernels: what must be in their code, and what they move.

Keys are (source file, kernel). A kernel that is not listed here fails the check.
"""

import dataclasses
import re
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Kernel:
    """What check_ptx.py asserts and tells of one kernel, in all its variants."""

    moved: str  # bytes of device memory a call moves, and the least possible, in the letters of engine/tensor/shape.h
    mma: bool = False
    wgmma: bool = False
    cp_async: bool = False
    bulk: str = ""  # "boxes" (cp.async.bulk.tensor) or "runs" (cp.async.bulk), and the barriers that go with them
    vector_loads: bool = True  # 128-bit loads from global memory, or cp.async of 16 bytes
    scalar_variants: str = r"<\w+(?:, \d+)?, 1>"  # for rows that are no whole multiple of 128 bits: exempt from the above
    dynamic_shared: Callable[[str], int] = lambda variant: 0  # bytes, of the variant's template arguments


def round_up(value, unit):
    return -(-value // unit) * unit


def attention_tile_bytes(variant):
    """sizeof(SharedTile<Tile<T, width, codes, row_warps>>) of attention_tile.cuh."""
    found = re.search(r"Tile<[^,]+, (\d+), (true|false), (\d+)>", variant)
    width, codes, row_warps = int(found[1]), found[2] == "true", int(found[3])
    column_warps, pairs, keys, threads = 4 // row_warps, 16 * row_warps, 32, 128  # keys of a slot
    is_narrow, has_codes = row_warps == 1, codes == "true"
    slots = (4 if is_narrow else 2) if width > 128 else (6 if is_narrow else 3)
    size = 2 * pairs * (width + 8)
    size += slots * (keys * width + 4 * keys if has_codes else 2 * keys * (width + 8))
    size += 2 * (keys if has_codes else 1) * (width + 8)
    size += 2 * (pairs if column_warps > 1 else 1) * (64 + 8)
    size += 4 * column_warps * pairs
    return round_up(size, 16) + 16 * threads * (width // 8 // column_warps)


def warpgroup_bytes(variant):
    """sizeof(RingShared<WarpgroupTile<width>>) of attention_ring.cuh, and room to begin at a multiple of 1 KiB."""
    width = int(re.search(r"WarpgroupTile<\w+, (\d+)>", variant)[1])
    slots = 4
    barriers = 2 * slots * 2 + 1
    return 2 * slots * 64 * width * 2 + width // 8 * 256 * 16 + round_up(barriers * 8 + 4, 16) + 1024


def decode_bytes(variant):
    """Likewise of DecodeShared<DecodeTile<T, width>> of attention_decode.cu."""
    width = int(re.search(r"DecodeTile<\w+, (\d+)", variant)[1])
    slots = 3
    barriers = 2 * slots * 2 + 1
    ring = 2 * slots * 64 * width * 2 + width // 32 * 128 * 16 + round_up(barriers * 8 + 4, 16)
    return ring + 2 * 16 * (width + 8) + 1024


NORMED_BYTES = 16 * 1024  # kNormedBytes of fused_matmul.h


def stream_ring_bytes(variant):
    """kStreamWarps Ring<kTokenTiles, kNormed>::kBytes of stream_matmul.cuh, and normed rows beside them."""
    token_tiles, normed = re.search(r"StreamKernel<[^,]+, [^,]+, (\d+), (true|false)>", variant).groups()
    columns, stages = (256, 4) if token_tiles == "1" else (128, 6)
    tokens = 0 if normed == "true" else 8 * int(token_tiles)
    return 2 * stages * (16 + tokens) * columns * 2 + (NORMED_BYTES if normed == "true" else 0)


def stream_bulk_bytes(variant):
    """Of a block of stream_bulk.cu with one token, or with tiles of slots, or with as many normed rows as fit."""
    source, token_tiles, normed = re.search(r"BulkStreamKernel<(\w+), [^,]+, (\d+), (true|false)>", variant).groups()
    normed_bytes = NORMED_BYTES if normed == "true" else 0
    tokens = 8 * int(token_tiles) if source == "ExpertMatrices" else 1 if token_tiles == "1" else 9
    rows = 2 * 16 + (0 if normed_bytes else tokens * (2 if source == "ExpertMatrices" else 1))
    stage, barriers = rows * (512 + 16), 8 * 16
    return barriers + min(8, (110 * 1024 - barriers - normed_bytes) // stage) * stage + normed_bytes


def packed_slab_bytes(variant):
    """PackedShape<kTokens, kOwnHalves, kNormed>::kBytes of packed_groups.cuh: three slabs of 16 KiB, or normed rows."""
    return NORMED_BYTES if re.search(r"PackedShape<\d+, \d+, (true|false)>", variant)[1] == "true" else 3 * 16 * 1024


def packed_warpgroup_bytes(variant):
    """WarpgroupShape<kTokens, kOwnHalves>::kSharedBytes of packed_warpgroup.cu."""
    tokens = int(re.search(r"WarpgroupShape<(\d+), \d+>", variant)[1])
    slabs, columns = 6 if tokens == 16 else 4, 128 if tokens == 128 else 256
    return slabs * tokens * columns * 2 + 1024


def dense_warpgroup_bytes(variant):
    """DenseShape<kTokens, kWarpgroups>::kSharedBytes of dense_warpgroup.cu."""
    tokens, warpgroups = map(int, re.search(r"DenseShape<(\d+), (\d+)>", variant).groups())
    stage, blocks = (tokens + 64 * warpgroups) * 128, 1 if (tokens, warpgroups) == (128, 2) else 2
    return 192 * 1024 // blocks // stage * stage + 1024


def fp8_ring_bytes(variant):
    """Fp8Tile<row warps, token warps, row tiles, token tiles, stages>::kBytes of fp8_matmul.cuh."""
    row_warps, token_warps, row_tiles, token_tiles, stages = map(
        int, re.search(r"Tile<(\d+), (\d+), (\d+), (\d+), (\d+)>", variant).groups())
    return stages * 128 * (row_warps * row_tiles * 16 + token_warps * token_tiles * 8)


def expert_ring_bytes(variant):
    """TileShape<slots>::kBytes of expert_tiles.cu."""
    return 3 * (128 + int(re.search(r"TileShape<(\d+)>", variant)[1])) * 64 * 2


# Rows of logits may begin anywhere: the threads that score load 32 bits each, side by side. So do those that take packed
# weights in the order of columns, of which each part of a unit has some.
KERNELS = {
    ("attention_bf16", "AttendKernel"): Kernel(
        mma=True, cp_async=True, dynamic_shared=attention_tile_bytes,
        moved="keys and values once per KV head and item, the least where a row is one item of H/G queries; "
              "+ (Ev + 4) 4 B a query and chunk where split, written and read once"),
    ("attention_decode", "DecodeKernel"): Kernel(
        mma=True, cp_async=True, bulk="boxes", dynamic_shared=decode_bytes,
        moved="keys and values once per KV head and item of up to 16 H/G queries, the least; of split items as above"),
    ("attention_warpgroup", "AttendWarpgroupKernel"): Kernel(
        mma=True, wgmma=True, cp_async=True, bulk="boxes", dynamic_shared=warpgroup_bytes,
        moved="keys and values once per KV head and item of 128 H/G queries; of split items as above"),
    ("attention_plain", "AttendPlainKernel"): Kernel(
        vector_loads=False, dynamic_shared=lambda _: 4 * 4 * (256 + 128),
        moved="keys and values H/G times; tables of relative positions besides"),
    ("attention_mixed", "AttendMixedKernel"): Kernel(
        vector_loads=False, dynamic_shared=lambda _: 4 * (32 * (256 + 128 + 2 + 32) + 32 * 32),
        moved="keys and values H/G times for each token: scores of all heads are needed at once"),
    ("copy_pages", "CopyPagesKernel"): Kernel(moved="2 pages; the least"),
    ("embed", "EmbedDense"): Kernel(moved="D elements + 4 D; the least"),
    ("embed", "EmbedPacked"): Kernel(vector_loads=False, moved="a packed row + 4 D; the least"),
    ("fp8_matmul", "Fp8Kernel"): Kernel(
        mma=True, cp_async=True, dynamic_shared=fp8_ring_bytes,
        moved="W once per 8 tokens up to 8, per 32 up to 64, per 128 beyond: a byte a number, the least up to 32 tokens"),
    ("fp8_experts", "Fp8Kernel"): Kernel(
        mma=True, cp_async=True, dynamic_shared=fp8_ring_bytes,
        moved="W of an expert once per tile of 8, 16, 64 or 128 of its slots, a byte a number: the least where it has one"),
    ("fp8_quantize", "QuantizeKernel"): Kernel(moved="K elements, twice from the cache, and K B, or 2 K B; the least"),
    ("fp8_warpgroup", "Fp8WarpgroupKernel"): Kernel(
        wgmma=True, cp_async=True, dynamic_shared=lambda _: 5 * (256 * 128 + 128 * 64) + 1024,
        moved="W once per 256 tokens, a byte a number; x of a token once per 128 rows, both but once from memory where "
              "tiles of the same rows are made at about the same time"),
    ("gate", "GateKernel"): Kernel(moved="3 F elements; the least"),
    ("norm", "NormKernel"): Kernel(dynamic_shared=lambda _: 4 * 4096,
                                   moved="8 D + 2 D elements (branch, out); the least"),
    ("norm_vectors", "NormVectorsKernel"): Kernel(moved="as of norm"),
    ("norm_columns", "NormColumnsKernel"): Kernel(
        vector_loads=False, moved="2 N elements of a row, read twice; rows are narrow"),
    ("packed_matmul", "FloatKernel"): Kernel(moved="W once per 8 tokens; the least up to 8 tokens"),
    ("packed_matmul", "PackedStreamKernel"): Kernel(
        mma=True, cp_async=True, dynamic_shared=packed_slab_bytes,
        moved="W once per 32 tokens, the least up to 32 tokens; neighbours as of stream_matmul"),
    ("packed_warpgroup", "PackedWarpgroupKernel"): Kernel(
        wgmma=True, cp_async=True, dynamic_shared=packed_warpgroup_bytes,
        moved="W once per 128 tokens, the least up to 128; x once per 64 to 256 rows, from L2; what follows as of "
              "stream_matmul"),
    ("dense_warpgroup", "DenseWarpgroupKernel"): Kernel(
        wgmma=True, cp_async=True, dynamic_shared=dense_warpgroup_bytes,
        moved="W once per 128 tokens, the least up to 128; x once per 64 or 128 rows, from L2; what follows as of "
              "stream_matmul"),
    ("copy_bytes", "CopyBytesKernel"): Kernel(moved="each byte once; the least"),
    ("take_tokens", "TakeTokensKernel"): Kernel(vector_loads=False, moved="4 to 12 B; the least"),
    ("unpack", "UnpackKernel"): Kernel(vector_loads=False, moved="a packed row + K elements; the least"),
    ("qkv", "HeadSquaresKernel"): Kernel(vector_loads=False,
                                         moved="(H + G) E elements, on several devices; rows lie in the cache"),
    ("qkv", "QkvKernel"): Kernel(dynamic_shared=lambda _: 4 * 128 // 8 * 128,
                                 moved="H E + G (E + Ev) elements in and out; the least"),
    ("qkv_vectors", "QkvVectorsKernel"): Kernel(moved="as of qkv"),
    ("sample", "ScanKernel"): Kernel(moved="4 V read, of rows with changes also copied; the least"),
    ("sample", "SampleKernel"): Kernel(
        moved="4 V read again from L2 unless greedy; more by one block where more tokens are left than a list takes "
              "(sample.cu)"),
    ("score", "ScoreKernel"): Kernel(vector_loads=False,
                                     moved="4 V read twice; once more for the likeliest, from L2"),
    ("stream_matmul", "StreamKernel"): Kernel(
        mma=True, cp_async=True, dynamic_shared=stream_ring_bytes,
        moved="W once per 16 tokens, the least up to 16; neighbours by way of registers and shared memory"),
    ("stream_bulk", "BulkStreamKernel"): Kernel(
        mma=True, bulk="runs", vector_loads=False, dynamic_shared=stream_bulk_bytes,
        moved="as of the StreamKernels of stream_matmul and expert_streams; tokens are read once per 32 rows of one matrix"),
    ("expert_matmul", "FloatKernel"): Kernel(
        scalar_variants=r"FloatRows<1>", moved="W of an expert once per 8 of its slots"),
    ("expert_streams", "StreamKernel"): Kernel(
        mma=True, cp_async=True, dynamic_shared=stream_ring_bytes,
        moved="W of an expert once per tile of 8 or 16 of its slots, the least where it has one"),
    ("expert_streams", "PackedStreamKernel"): Kernel(
        mma=True, cp_async=True, dynamic_shared=packed_slab_bytes,
        moved="W of an expert once per tile of 8 or 16 of its slots, the least where it has one"),
    ("expert_tiles", "ExpertTileKernel"): Kernel(
        mma=True, cp_async=True, scalar_variants=r"DenseWeights<\w+, false>", dynamic_shared=expert_ring_bytes,
        moved="W of an expert once per tile of 64 or 128 of its slots, x of a slot once per 128 rows, both but once from "
              "memory where tiles of the same rows are made at about the same time"),
    ("route", "ChooseKernel"): Kernel(
        vector_loads=False, dynamic_shared=lambda _: 4 * 4 * 2 * 128, moved="X numbers; the least"),
    ("route", "PlaceKernel"): Kernel(vector_loads=False, moved="20 B a choice"),
    ("route", "RouteKernel"): Kernel(
        vector_loads=False, dynamic_shared=lambda _: 40 * 1024, moved="X numbers and 20 B a choice; the least"),
    ("combine", "CombineKernel"): Kernel(moved="K + 2 elements an element of out, or K + 1 and 8 B of the residual; the least"),
    ("finish_logits", "FinishLogitsKernel"): Kernel(moved="8 V; the least"),
}
KERNELS["attention_f16", "AttendKernel"] = KERNELS["attention_bf16", "AttendKernel"]
