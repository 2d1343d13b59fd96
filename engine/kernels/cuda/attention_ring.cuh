// Keys and values on their way to kernels of compute capability 9.0: rings of slots in shared memory, which one warp fills by
// bulk copies and others empty.
//
// A slot has the keys, or the values, of a tile of 64 tokens, which are those of one step, in panels as wgmma reads them.
// With each slot go two barriers:
//   filled   the producer arrives, and says how many bytes its copies bring
//   emptied  each consumer warp arrives once its products have read the slot
// Tile number t of a block, counted over all its tasks, lies in slot t % kSlots of each ring. It is there when phase
// t / kSlots of `filled` is over, and comes when phase t / kSlots - 1 of `emptied` is; that before the first is over from
// the beginning. Nobody is ever two phases behind: a slot is not filled again before all have emptied it, and no warp
// empties it before it was filled. Producer and consumers count alike, since both walk the KeyRange of every task.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_ATTENTION_RING_CUH_
#define ROPEWAY_ENGINE_KERNELS_CUDA_ATTENTION_RING_CUH_

#include "engine/kernels/cuda/attention_state.cuh"
#include "engine/kernels/cuda/attention_tile.cuh"
#include "engine/kernels/cuda/bulk_copy.h"
#include "engine/kernels/cuda/warpgroup.h"

namespace ropeway::cuda {

// In the terms of Place and RowStates (attention_tile.cuh): a warp has all columns and all keys of its 16 queries.
// kThreads are the consumers', two warpgroups. The producer is the first warp of a third one, which gives registers to
// them: its three other warps are there for that.
template <class T_, int kWidth_>
struct WarpgroupTile {
  using T = T_;
  static constexpr int kWidth = kWidth_;
  static constexpr int kThreads = 256, kPairs = kWarpgroupPairs, kColumnWarps = 1, kKeyWarps = 1;
  static constexpr int kBlockThreads = kThreads + 128;
  static constexpr int kConsumerRegisters = 224, kProducerRegisters = 56;
  static constexpr int kKeys = kStepKeys;  // of one step
  static constexpr int kSlotKeys = kKeys;  // of one slot
  static constexpr int kKeyTiles = kKeys / 8, kSlotTiles = kKeyTiles, kColumnTiles = kWidth / 8;
  static constexpr int kSlots = 256 / kSlotKeys;  // of keys, and of values
  static constexpr int kPanels = kWidth / kPanelColumns;
  static constexpr int kPanelBytes = kSlotKeys * kPanelRowBytes;
  static constexpr int kSlotPages = kSlotKeys / kPageTokens;
  static constexpr int kBoxBytes = kPageTokens * kPanelRowBytes;
  static_assert(kChunkTokens % kSlotKeys == 0 && kSlotKeys % kKeys == 0 && kSlotKeys % kPageTokens == 0);
  // What a launch gives each thread: of 65,536 registers, a multiple of 8. Who takes more than others have given waits
  // for ever.
  static constexpr int kLaunchRegisters = 65536 / kBlockThreads / 8 * 8;
  static_assert(2 * kConsumerRegisters + kProducerRegisters <= 3 * kLaunchRegisters);
  static_assert(kKvBoxColumns == kPanelColumns && kBoxBytes % kPanelAlignment == 0);
};

// Likewise for decoded tokens: four warps, each with all keys of the 16 queries and a quarter of the columns, and the
// producer's warp.
template <class T_, int kWidth_>
struct DecodeTile {
  using T = T_;
  static constexpr int kWidth = kWidth_;
  static constexpr int kThreads = 128, kPairs = kNarrowPairs, kColumnWarps = 4, kKeyWarps = 1;
  static constexpr int kBlockThreads = kThreads + 32, kMinBlocks = 2;
  static constexpr int kKeys = kStepKeys, kSlotKeys = kKeys;
  static constexpr int kKeyTiles = kKeys / 8, kSlotTiles = kKeyTiles,
                       kColumnTiles = kWidth / 8 / kColumnWarps;
  static constexpr int kSlots = 3;  // of keys, and of values: as many as leave room for two blocks
  static constexpr int kPanels = kWidth / kPanelColumns;
  static constexpr int kPanelBytes = kSlotKeys * kPanelRowBytes;
  static constexpr int kSlotPages = kSlotKeys / kPageTokens;
  static constexpr int kBoxBytes = kPageTokens * kPanelRowBytes;
};

template <class Tile>
struct RingShared {
  using Panel = typename Tile::T[Tile::kSlotKeys][kPanelColumns];
  using Slot = Panel[Tile::kPanels];
  struct SlotBarriers {
    PhaseBarrier filled, emptied;
  };

  // Of keys, and of values.
  Slot slots[2][Tile::kSlots];
  Vector128<float> totals[Tile::kColumnTiles][Tile::kThreads];
  SlotBarriers barriers[2][Tile::kSlots];
  // Of a ConsumerMeeting.
  PhaseBarrier met;
  int said;

  // By one thread, in front of a __syncthreads.
  ROPEWAY_DEVICE void InitBarriers() {
    for (auto& ring : barriers)
      for (SlotBarriers& slot : ring) {
        InitBarrier(slot.filled, 1);
        InitBarrier(slot.emptied, Tile::kThreads / 32);
      }
    InitBarrier(met, Tile::kThreads / 32);
    FenceBarriers();
  }
};

// Where a block has it, in memory with room to begin where the swizzle wants it.
template <class Shared>
ROPEWAY_DEVICE Shared& Align(unsigned char* memory) {
  const auto misplaced = static_cast<int>(SharedAddress(memory) % kPanelAlignment);
  return *reinterpret_cast<Shared*>(memory + (kPanelAlignment - misplaced) % kPanelAlignment);
}

// The keys of a task, in tiles.
template <class Tile>
struct KeyRange {
  int begin, end;       // begin at a tile
  unsigned first_tile;  // tiles that the block has had before

  ROPEWAY_DEVICE KeyRange(const AttentionParams& params, const AttentionItem& item, unsigned first_tile)
      : begin(max(item.first_chunk * kChunkTokens,
                  FirstKey(params.args.modifier, item.first_position) / Tile::kSlotKeys * Tile::kSlotKeys)),
        end(min(item.last_chunk * kChunkTokens, item.num_keys)),
        first_tile(first_tile) {}
  // Of the tile that has key `first`.
  ROPEWAY_DEVICE unsigned Number(int first) const {
    return first_tile + static_cast<unsigned>(first - begin) / Tile::kSlotKeys;
  }
  // What first_tile is for the next task.
  ROPEWAY_DEVICE unsigned NextTile() const { return begin < end ? Number(end - 1) + 1 : first_tile; }
};

// The producer's side: for all lanes of its warp.
template <class Tile>
class SlotProducer {
 public:
  ROPEWAY_DEVICE SlotProducer(const AttentionParams& params, const KvMaps& maps, RingShared<Tile>& shared)
      : params_(params), maps_(maps), shared_(shared), lane_(static_cast<int>(threadIdx.x % 32)) {}

  // Of a narrow item, which has all of its row's tokens, what is older than its first one is older than the step: it need
  // not wait for the kernel in front, which may write the rest. `old` is that token's position, or 0.
  ROPEWAY_DEVICE void Fill(const Task& task, const KeyRange<Tile>& range, int old) {
    PageWindow pages(task, range.begin, lane_);
    for (int first = range.begin; first < range.end; first += Tile::kSlotKeys) {
      const unsigned tile = range.Number(first);
      int of_slot[Tile::kSlotPages];
      pages.Take(of_slot);
      if (first + Tile::kSlotKeys > old || tile >= Tile::kSlots) Wait();
      FillSlot<false>(task, first, tile, of_slot);
      FillSlot<true>(task, first, tile, of_slot);
    }
  }
  // For the kernel in front, once.
  ROPEWAY_DEVICE void Wait() {
    if (has_waited_) return;
    GridDependencyWait();
    FenceGlobalForBulkCopies();
    has_waited_ = true;
  }

 private:
  // A task's pages, 32 at a time, one a lane, and the next 32 meanwhile: asked for slot by slot, each copy waits for memory.
  class PageWindow {
   public:
    ROPEWAY_DEVICE PageWindow(const Task& task, int first_key, int lane)
        : pages_(task.pages),
          next_(first_key / kPageTokens + lane),
          end_((task.item.num_keys + kPageTokens - 1) / kPageTokens),
          ahead_(Load()) {}
    // Those of the next slot.
    ROPEWAY_DEVICE void Take(int (&pages)[Tile::kSlotPages]) {
      static_assert(32 % Tile::kSlotPages == 0);
      if (taken_ % 32 == 0) {
        window_ = ahead_;
        next_ += 32;
        ahead_ = Load();
      }
#pragma unroll
      for (int& page : pages) page = __shfl_sync(kFullWarp, window_, taken_++ % 32);
    }

   private:
    ROPEWAY_DEVICE int Load() const { return next_ < end_ ? __ldg(pages_ + next_) : 0; }

    const int32_t* pages_;
    int next_, end_;  // of this lane
    int ahead_, window_ = 0;
    int taken_ = 0;
  };

  // Pages beyond the last key are taken from outside of the map, and so are zeros. Behind the last key of a page there may
  // be anything, which scores of keys do not show; but values must be zeros there, which bulk copies cannot make of a
  // part of a page: then the warp copies the page as other kernels do.
  template <bool kValues>
  ROPEWAY_DEVICE void FillSlot(const Task& task, int first, unsigned tile,
                               const int (&pages)[Tile::kSlotPages]) {
    const unsigned slot = tile % Tile::kSlots;
    auto& barriers = shared_.barriers[kValues][slot];
    typename RingShared<Tile>::Slot& to = shared_.slots[kValues][slot];
    const int existing = task.item.num_keys - first;
    const int cut_page = kValues && existing < Tile::kSlotKeys && existing % kPageTokens != 0
                             ? existing / kPageTokens
                             : Tile::kSlotPages;
    WaitForPhase(barriers.emptied, tile / Tile::kSlots % 2 ^ 1);
    // No lane is left behind, which would wait for a phase that is long over.
    __syncwarp();
    if (cut_page < Tile::kSlotPages) {
      int page = 0;
#pragma unroll
      for (int p = 0; p < Tile::kSlotPages; ++p) page = p == cut_page ? pages[p] : page;
      CopyCutPage(task, page, existing % kPageTokens, cut_page * kPageTokens, to);
    }
    if (IsElected()) {
      const int boxes = Tile::kPanels * (Tile::kSlotPages - (cut_page < Tile::kSlotPages));
      ArriveExpecting(barriers.filled, boxes * Tile::kBoxBytes);
#pragma unroll
      for (int p = 0; p < Tile::kSlotPages; ++p) {
        if (p == cut_page) continue;
        const int head = p * kPageTokens < existing ? task.kv_head : params_.args.kv.num_kv_heads;
#pragma unroll
        for (int panel = 0; panel < Tile::kPanels; ++panel)
          CopyBox(&to[panel][p * kPageTokens][0], kValues ? maps_.values : maps_.keys, panel * kPanelColumns,
                  head * kPageTokens, pages[p], barriers.filled);
      }
    }
  }

  // Values of a page's first `existing` tokens to rows from `row` on, and zeros behind them.
  ROPEWAY_DEVICE void CopyCutPage(const Task& task, int page, int existing, int row,
                                  typename RingShared<Tile>::Slot& to) {
    constexpr int kPieces = Tile::kWidth / 8;
    const HeadRows rows(params_.args.kv, task.kv_head, sizeof(typename Tile::T), true);
    const uint8_t* const data = rows.data + page * params_.page_bytes;
#pragma unroll 2
    for (int i = lane_; i < kPageTokens * kPieces; i += 32) {
      const int token = i / kPieces, column = i % kPieces * 8;
      const bool exists = token < existing && column < rows.columns;
      typename Tile::T* const line = to[column / kPanelColumns][row + token];
      CpAsync16(
          line + SwizzledColumn(token, column % kPanelColumns),
          data + (exists ? (token * rows.columns + column) * static_cast<int>(sizeof(typename Tile::T)) : 0),
          exists);
    }
    CpAsyncCommit();
    CpAsyncWait<0>();
    FenceAsyncProxy();
    __syncwarp();
  }

  const AttentionParams& params_;
  const KvMaps& maps_;
  RingShared<Tile>& shared_;
  const int lane_;
  bool has_waited_ = false;
};

// The consumers' side: for all lanes of a warp. The slot of a tile, for which they wait.
template <bool kValues, class Tile>
ROPEWAY_DEVICE const typename RingShared<Tile>::Slot& SlotOf(RingShared<Tile>& shared, unsigned tile) {
  const unsigned slot = tile % Tile::kSlots;
  WaitForPhase(shared.barriers[kValues][slot].filled, tile / Tile::kSlots % 2);
  return shared.slots[kValues][slot];
}
// Gives it back, once the products that read it are there.
template <bool kValues, class Tile>
ROPEWAY_DEVICE void EmptySlot(RingShared<Tile>& shared, unsigned tile) {
  __syncwarp();
  if (threadIdx.x % 32 == 0) Arrive(shared.barriers[kValues][tile % Tile::kSlots].emptied);
}

// Calls `take(item, task, range)` for each task of the block.
template <class Tile, class Take>
ROPEWAY_DEVICE void ForTasks(const AttentionParams& params, const WorkList<AttentionItem>& work, Take take) {
  const int kv_heads = params.args.kv.num_kv_heads, total = *work.count * kv_heads;
  unsigned tile = 0;
  for (int w = static_cast<int>(blockIdx.x); w < total; w += static_cast<int>(gridDim.x)) {
    const AttentionItem item = work.data[w / kv_heads];
    const Task task = MakeTask(params, item, w % kv_heads, 0, Tile::kPairs);
    const KeyRange<Tile> range(params, task.item, tile);
    take(item, task, range);
    tile = range.NextTile();
  }
}

// How the consumers meet to merge partial results (attention_merge.cuh): the block's other threads may have ended.
template <class Tile>
struct ConsumerMeeting {
  RingShared<Tile>& shared;
  unsigned& phase;  // of `met`

  ROPEWAY_DEVICE int num_warps() const { return Tile::kThreads / 32; }
  ROPEWAY_DEVICE void Sync() {
    __syncwarp();
    if (threadIdx.x % 32 == 0) Arrive(shared.met);
    WaitForPhase(shared.met, phase++ % 2);
  }
  ROPEWAY_DEVICE bool First(bool value) {
    if (threadIdx.x == 0) shared.said = value;
    Sync();
    return shared.said != 0;
  }
};

// `launch` of the element and the width that they take.
template <class Launch>
ErrorCode WithRingTile(const AttentionParams& params, Launch launch) {
  const bool narrow = TileWidth(params.args.kv.head_dim, params.args.kv.value_dim) == 64;
  if (params.args.element == Element::kF16)
    return narrow ? launch.template operator()<fp16, 64>() : launch.template operator()<fp16, 128>();
  return narrow ? launch.template operator()<bf16, 64>() : launch.template operator()<bf16, 128>();
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_ATTENTION_RING_CUH_
