// A block's tile of the tensor-core attention kernel: its shape, what it keeps in shared memory, and how keys
// and values get there.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_ATTENTION_TILE_CUH_
#define ROPEWAY_ENGINE_KERNELS_CUDA_ATTENTION_TILE_CUH_

#include "engine/kernels/cuda/attention_state.cuh"
#include "engine/kernels/cuda/device.h"

namespace ropeway::cuda {

// Four warps over 16 kRowWarps queries. A row of warps has 16 queries; within it each warp computes the
// scores of its share of the keys and, from all weights, its share of the columns of the output. So no output
// is summed in another order when the warps stand otherwise, and narrow and wide tiles give the same bytes.
// kWidth bounds E and Ev; columns beyond them are zero. kCodes: keys and values are 8-bit codes.
template <class T_, int kWidth_, bool kCodes_, int kRowWarps_>
struct Tile {
  using T = T_;
  static constexpr int kWidth = kWidth_, kRowWarps = kRowWarps_;
  static constexpr bool kCodes = kCodes_;
  static constexpr int kWarps = 4, kThreads = 32 * kWarps;
  static constexpr int kColumnWarps = kWarps / kRowWarps;
  static constexpr int kKeyWarps = kColumnWarps;  // among which the keys of a query are divided
  static constexpr int kPairs = 16 * kRowWarps;
  static constexpr int kKeys = kStepKeys;                          // of one step; narrow and wide alike
  static constexpr int kSlotKeys = 32;                             // of one slot
  static constexpr int kSlotTiles = kSlotKeys / 8 / kColumnWarps;  // of a warp's scores, 8 keys each
  static constexpr int kKeyTiles = kKeys / 8 / kColumnWarps;
  static constexpr int kColumnTiles = kWidth / 8 / kColumnWarps;  // of a warp's output, 8 columns each
  // Keys or values of half a step that are in shared memory or on their way: of narrow tiles, which a decoded token
  // has and which wait for memory most, those of one step and a half. As many as leave room for three blocks of
  // an H100's processor, and for one where a block has no more than 99 KiB.
  static constexpr int kSlots = kWidth > 128 ? (kRowWarps == 1 ? 4 : 2) : (kRowWarps == 1 ? 6 : 3);
  // Eight rows that ldmatrix reads begin in eight different sets of four banks.
  static constexpr int kPitch = kWidth + 8, kWeightPitch = kKeys + 8;
  // Blocks of a processor that the registers must allow: 168 of them a thread, or 255. Of the widest tiles shared memory
  // has no room for a third.
  static constexpr int kMinBlocks = kRowWarps == 1 && kWidth <= 128 ? 3 : 2;
  // By how many times 32 columns a score is unrolled: what is loaded ahead takes registers, which wide tiles have not.
  static constexpr int kUnrolledColumns = kRowWarps == 1 ? kWidth / 32 : 1;
  static_assert(kChunkTokens % kKeys == 0 && kKeys % kSlotKeys == 0 && kSlotKeys % kPageTokens == 0);
  static_assert(kWidth % 32 == 0 && kSlotTiles > 0);
};

// Keys or values of kSlotKeys tokens as they are stored: numbers of 16 bits, or codes.
template <class Tile, bool kCodes>
struct TokenSlot {
  alignas(16) typename Tile::T numbers[Tile::kSlotKeys][Tile::kPitch];
};
template <class Tile>
struct TokenSlot<Tile, true> {
  alignas(16) uint8_t codes[Tile::kSlotKeys][Tile::kWidth];
  alignas(16) float scales[Tile::kSlotKeys];
};

template <class Tile>
struct SharedTile {
  using T = typename Tile::T;
  using Slot = TokenSlot<Tile, Tile::kCodes>;
  using Row = T[Tile::kPitch];

  alignas(16) T queries[Tile::kPairs][Tile::kPitch];
  Slot slots[Tile::kSlots];
  // What codes are turned to: of keys and of values in turn.
  alignas(16) T numbers[Tile::kCodes ? Tile::kSlotKeys : 1][Tile::kPitch];
  // Exchanged between the warps of a row.
  alignas(16) T weights[Tile::kColumnWarps > 1 ? Tile::kPairs : 1][Tile::kWeightPitch];
  float maxima[Tile::kColumnWarps][Tile::kPairs];
  Vector128<float> totals[Tile::kColumnTiles][Tile::kThreads];
};

// Where a lane stands: in the fragments of mma it has rows `row` and row + 8 of its warp's 16 queries, and
// columns 2 * quad and 2 * quad + 1 of every 8.
template <class Tile>
struct Place {
  int thread, lane, row_warp, column_warp, quad;

  ROPEWAY_DEVICE Place()
      : thread(static_cast<int>(threadIdx.x)),
        lane(thread % 32),
        row_warp(thread / 32 / Tile::kColumnWarps),
        column_warp(thread / 32 % Tile::kColumnWarps),
        quad(lane % 4) {}
  // Of the tile's queries, for r = 0, 1.
  ROPEWAY_DEVICE int Row(int r) const { return 16 * row_warp + lane / 4 + 8 * r; }
  // Of the step's keys: a warp has its share of each slot.
  ROPEWAY_DEVICE int Key(int tile) const {
    return tile / Tile::kSlotTiles * Tile::kSlotKeys +
           8 * (column_warp % Tile::kKeyWarps * Tile::kSlotTiles + tile % Tile::kSlotTiles);
  }
  ROPEWAY_DEVICE int Column(int tile) const { return 8 * (column_warp * Tile::kColumnTiles + tile); }
};

// What a block is at: one tile of one item, one KV head.
struct Task {
  AttentionItem item;  // of which pairs, where they begin and the first partial result are the tile's
  int item_pairs;      // of the whole item: from one chunk's partial results to the next one's
  int kv_head;
  const int32_t* pages;
};

// The tile of up to `pairs` pairs from pair `first` of the item on. It has all of the item's keys, so that it leaves
// a partial result of each chunk.
ROPEWAY_DEVICE Task MakeTask(const AttentionParams& params, const AttentionItem& item, int kv_head, int first,
                             int pairs) {
  Task task{.item = item, .item_pairs = item.num_pairs, .kv_head = kv_head};
  task.pages = params.args.page_tables + int64_t{item.row} * params.args.max_pages;
  task.item.first_pair += first;
  task.item.num_pairs = min(pairs, item.num_pairs - first);
  task.item.first_position = PositionOf(params, item, task.item.first_pair);
  if (item.partial >= 0) task.item.partial += first;
  return task;
}

// Starts to copy the tile's queries; rows without one and columns beyond E become zeros.
template <class Tile>
ROPEWAY_DEVICE void CopyQueries(const AttentionParams& params, const Task& task, SharedTile<Tile>& shared) {
  using T = typename Tile::T;
  constexpr int kPieces = Tile::kWidth / 8;
  const T* queries = static_cast<const T*>(params.args.queries);
  const int head_dim = params.args.kv.head_dim;
  for (int i = static_cast<int>(threadIdx.x); i < Tile::kPairs * kPieces; i += Tile::kThreads) {
    const int row = i / kPieces, column = i % kPieces * 8;
    const bool exists = row < task.item.num_pairs && column < head_dim;
    const int64_t at =
        exists ? RowOf(params, task.item.first_pair + row, task.kv_head) * head_dim + column : 0;
    CpAsync16(&shared.queries[row][column], queries + at, exists);
  }
}

// Starts to copy the rows of kSlotKeys tokens from `first` on, whose columns are kBytes wide, to `to`
// [kSlotKeys][pitch]; tokens from task.item.num_keys on and columns beyond the last become zeros.
template <class Tile, int kBytes, class Row>
ROPEWAY_DEVICE void CopyRows(const AttentionParams& params, const Task& task, const HeadRows& rows, int first,
                             Row* to) {
  constexpr int kPieceColumns = 16 / kBytes, kPieces = Tile::kWidth / kPieceColumns;
#pragma unroll
  for (int in_tile = 0; in_tile < Tile::kSlotKeys; in_tile += kPageTokens) {
    const int key = first + in_tile, existing = task.item.num_keys - key;
    const int64_t page = __ldg(task.pages + min(key, task.item.num_keys - 1) / kPageTokens);
    const uint8_t* data = rows.data + page * params.page_bytes;
#pragma unroll
    for (int i = static_cast<int>(threadIdx.x); i < kPageTokens * kPieces; i += Tile::kThreads) {
      const int slot = i / kPieces, column = i % kPieces * kPieceColumns;
      const bool exists = slot < existing && column < rows.columns;
      CpAsync16(&to[in_tile + slot][column], data + (exists ? (slot * rows.columns + column) * kBytes : 0),
                exists);
    }
  }
}

// Starts to copy keys or values as they are stored.
template <class Tile>
ROPEWAY_DEVICE void CopyTokens(const AttentionParams& params, const Task& task, const HeadRows& rows,
                               int first, typename SharedTile<Tile>::Slot& slot) {
  if constexpr (Tile::kCodes) {
    CopyRows<Tile, 1>(params, task, rows, first, slot.codes);
    constexpr int kPieces = kPageTokens * sizeof(float) / 16;  // of the scales of a page
    const int i = static_cast<int>(threadIdx.x), key = first + i / kPieces * kPageTokens;
    if (i < Tile::kSlotKeys / kPageTokens * kPieces) {
      const bool exists = key < task.item.num_keys;
      const int64_t page = __ldg(task.pages + min(key, task.item.num_keys - 1) / kPageTokens);
      CpAsync16(&slot.scales[4 * i], rows.scales + page * params.page_scales + 4 * (i % kPieces), exists);
    }
  } else {
    CopyRows<Tile, 2>(params, task, rows, first, slot.numbers);
  }
}

// Numbers of 16 bits of the codes in a slot, each rounded. Scales beyond the last token may be anything: there
// the codes are taken as zeros.
template <class Tile>
ROPEWAY_DEVICE void UnpackCodes(const AttentionParams& params, const Task& task, int first,
                                const typename SharedTile<Tile>::Slot& slot,
                                typename SharedTile<Tile>::Row* numbers) {
  constexpr int kPieces = Tile::kWidth / 8;
  const bool is_int8 = params.args.kv.element == KvElement::kInt8;
  for (int i = static_cast<int>(threadIdx.x); i < Tile::kSlotKeys * kPieces; i += Tile::kThreads) {
    const int row = i / kPieces, column = i % kPieces * 8;
    const float scale = first + row < task.item.num_keys ? slot.scales[row] : 0.0f;
    const uint2 eight = *reinterpret_cast<const uint2*>(&slot.codes[row][column]);
    uint32_t packed[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const auto two = static_cast<uint16_t>((j < 2 ? eight.x : eight.y) >> (16 * (j % 2)));
      const float2 pair = is_int8 ? float2{static_cast<float>(static_cast<int8_t>(two)),
                                           static_cast<float>(static_cast<int8_t>(two >> 8))}
                                  : UnpackFp8Pair(two);
      packed[j] = PackPair<typename Tile::T>(pair.x * scale, pair.y * scale);
    }
    *reinterpret_cast<uint4*>(&numbers[row][column]) = uint4{packed[0], packed[1], packed[2], packed[3]};
  }
}

// Keys and values on their way from memory, in turn: the keys of a step, slot by slot, its values, the keys of the next
// one, and so on. While one slot is worked with, kSlots - 1 more are under way. Slots are taken in turn from task to
// task, so that nothing is copied to where another warp may still read.
template <class Tile>
class TokenRing {
 public:
  using Row = typename SharedTile<Tile>::Row;

  ROPEWAY_DEVICE TokenRing(const AttentionParams& params, SharedTile<Tile>& shared)
      : params_(params), shared_(shared) {}

  // Starts to copy the queries of a task and its keys and values from the step at `first` on; ends at `end`.
  ROPEWAY_DEVICE void Start(const Task& task, int first, int end) {
    CopyQueries(params_, task, shared_);
    int slot = slot_;
#pragma unroll
    for (int i = 0; i < Tile::kSlots - 1; ++i) {
      Copy(task, first, i, end, slot);
      slot = Next(slot);
    }
  }

  // The keys or values of part `part` of the step at `first`, which come one after the other, for all threads; those of
  // the call before are given up, and a copy goes there.
  template <bool kValues>
  ROPEWAY_DEVICE const Row* Arrive(const Task& task, int first, int part, int end) {
    CpAsyncWait<Tile::kSlots - 2>();
    __syncthreads();
    Copy(task, first, (kValues ? kParts : 0) + part + Tile::kSlots - 1, end,
         slot_ == 0 ? Tile::kSlots - 1 : slot_ - 1);
    typename SharedTile<Tile>::Slot& slot = shared_.slots[slot_];
    slot_ = Next(slot_);
    if constexpr (Tile::kCodes) {
      UnpackCodes<Tile>(params_, task, first + part * Tile::kSlotKeys, slot, shared_.numbers);
      __syncthreads();
      return shared_.numbers;
    } else {
      return slot.numbers;
    }
  }

 private:
  static constexpr int kParts = Tile::kKeys / Tile::kSlotKeys;

  static ROPEWAY_DEVICE int Next(int slot) { return slot + 1 == Tile::kSlots ? 0 : slot + 1; }

  // Slot number `number`, counted from the keys of the step at `first`.
  ROPEWAY_DEVICE void Copy(const Task& task, int first, int number, int end, int slot) {
    const int key = first + number / (2 * kParts) * Tile::kKeys + number % kParts * Tile::kSlotKeys;
    if (key / Tile::kKeys * Tile::kKeys < end) {
      const HeadRows rows(params_.args.kv, task.kv_head, Tile::kCodes ? 1 : 2, number / kParts % 2 == 1);
      CopyTokens<Tile>(params_, task, rows, key, shared_.slots[slot]);
    }
    CpAsyncCommit();
  }

  const AttentionParams& params_;
  SharedTile<Tile>& shared_;
  int slot_ = 0;  // of what arrives next
};

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_ATTENTION_TILE_CUH_
