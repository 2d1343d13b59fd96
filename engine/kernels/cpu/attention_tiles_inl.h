// Attention of many queries to keys and values of bf16 by tiles of AMX, included after attention_inl.h where Tiles is
// defined. Tiles::Dot is TDPBF16PS: what its sums are, attention_rows_inl.h says, so every byte is that of the other
// instruction sets.
//
//   Tiles::Configure(columns)  of the last block of a key, 0 where all blocks are whole
//   Tiles::Zero<T>(), Load<T>(memory, stride), Store<T>(memory, stride), Dot<C, A, B>(), Release()
// with strides in bytes. Tiles 0 to 3 are sums, of four pages of keys or 64 columns of values. Tile 4 holds 16 queries
// or their weights, tile 6 keys or values; 5 and 7 are their shorter ones, of the last block.
//
// Per 16 queries x 64 keys of 64 columns, counted: 16 tile operations of 16 cycles, of which the scores' overlap with
// the weights of the 16 queries before; 64 vectors of scores at 15 vector operations, 480 cycles and more where two a
// cycle are issued. So what bounds the whole are the vector operations between the products.
#ifndef ROPEWAY_ENGINE_KERNELS_CPU_ATTENTION_TILES_INL_H_
#define ROPEWAY_ENGINE_KERNELS_CPU_ATTENTION_TILES_INL_H_

constexpr int kTileRows = 16;
// Bytes from a line of a page's keys to the next one.
constexpr int kKeyStride = 128;

// As halves of tiles want them: the even columns of a query are the firsts of its pairs; the even page of a block of
// weights is.
struct TileRows {
  static constexpr bool kOneChain = false;
  static const float* QueryOf(const float* rounded, int64_t padded_head_dim, float* packed) {
    uint32_t* out = reinterpret_cast<uint32_t*>(packed);
    const uint32_t* bits = reinterpret_cast<const uint32_t*>(rounded);
    for (int64_t i = 0; i < padded_head_dim / 2; ++i) out[i] = bits[2 * i] >> 16 | bits[2 * i + 1];
    return packed;
  }
  static void Pack(const Lanes* weights, int pages, float* packed) {
    for (int p = 0; p < pages; p += 2)
      StorePairs(packed + p * kPageTokens / 2, weights[p], p + 1 < pages ? weights[p + 1] : Zero());
  }
};

// Calls body.template operator()<T>() for tiles [first, last) of sums.
template <int T = 0, typename Body>
inline void ForTiles(int first, int last, const Body& body) {
  if constexpr (T < kChunkPages) {
    if (first <= T && T < last) body.template operator()<T>();
    ForTiles<T + 1>(first, last, body);
  }
}

// A group of queries in one chunk.
class TileGroup {
 public:
  TileGroup(const AttentionArgs& args, const CachedChunk<uint16_t>& chunk, int count, Query* queries)
      : args_(args), chunk_(chunk), count_(count), queries_(queries) {}

  // `pairs` holds values, [2 blocks][16][padded Ev] pairs of an even and an odd page.
  void Attend(float* pairs) {
    PairValues(pairs);
    const int tiles = (count_ + kTileRows - 1) / kTileRows;
    Score(0);
    for (int t = 0; t < tiles; ++t) {
      if (t + 1 < tiles) Score(t + 1);
      const Range seen = SeenOfTile(t);
      if (seen.last <= seen.first) continue;
      WeighRows(t, seen);
      AddValues(t, seen, pairs);
    }
  }

 private:
  int RowsOf(int tile) const {
    return count_ - tile * kTileRows < kTileRows ? count_ - tile * kTileRows : kTileRows;
  }
  Range SeenOfTile(int tile) const { return SeenOf(chunk_.start, queries_ + tile * kTileRows, RowsOf(tile)); }

  void PairValues(float* pairs) const {
    alignas(64) static constexpr uint16_t kNothing[16] = {};
    const int64_t row = args_.kv.padded_value_dim;
    for (int first = 0; first < chunk_.last; first += kSumBlock)
      for (int slot = 0; slot < kPageTokens; ++slot, pairs += row) {
        const int even = first / kPageTokens;
        const auto value = [&](int page, int64_t i) {
          if (page * kPageTokens + slot >= chunk_.last) return kNothing;
          const uint16_t* values = chunk_.ValueAt<1>(page, slot, i);
          FetchAhead(values, chunk_.values_ahead[page]);
          return values;
        };
        for (int64_t i = 0; i < row; i += 16) StorePairs(pairs + i, value(even, i), value(even + 1, i));
      }
  }

  void Score(int tile) {
    const Range seen = SeenOfTile(tile);
    if (seen.last <= seen.first) return;
    const int page = static_cast<int>(seen.first / kPageTokens);
    const int pages = static_cast<int>((seen.last + kPageTokens - 1) / kPageTokens);
    const int64_t columns = args_.kv.padded_head_dim, stride = kZones * columns * 2;
    const uint16_t* queries = reinterpret_cast<const uint16_t*>(queries_[tile * kTileRows].factors[0]);
    float(*scores)[kChunk] = scores_[tile % 2];
    ForTiles(page, pages, [&]<int T>() { Tiles::Zero<T>(); });
    int64_t d = 0;
    for (; d + kSumBlock <= columns; d += kSumBlock) {
      Tiles::Load<4>(queries + d, stride);
      ForTiles(page, pages, [&]<int T>() {
        Tiles::Load<6>(chunk_.KeyAt(T, d / 2), kKeyStride);
        Tiles::Dot<T, 4, 6>();
      });
    }
    if (d < columns) {
      Tiles::Load<5>(queries + d, stride);
      ForTiles(page, pages, [&]<int T>() {
        Tiles::Load<7>(chunk_.KeyAt(T, d / 2), kKeyStride);
        Tiles::Dot<T, 5, 7>();
      });
    }
    ForTiles(page, pages, [&]<int T>() { Tiles::Store<T>(scores[0] + T * kPageTokens, sizeof(scores[0])); });
  }

  void WeighRows(int tile, Range seen) {
    const int page = static_cast<int>(seen.first / kPageTokens);
    const int pages = static_cast<int>((seen.last + kPageTokens - 1) / kPageTokens);
    for (int r = 0; r < kTileRows; ++r) {
      Query* query = r < RowsOf(tile) ? queries_ + tile * kTileRows + r : nullptr;
      if (query != nullptr && Sees(*query, chunk_.start, chunk_.start + kChunk))
        Weigh<TileRows>(args_, chunk_.start, page, pages, *query, scores_[tile % 2][r], packed_[r]);
      else
        SetZero(packed_[r], kChunk / 2);
    }
  }

  void AddValues(int tile, Range seen, const float* pairs) const {
    constexpr int kTileColumns = kChunkPages * 16;
    const int64_t row = args_.kv.padded_value_dim, stride = row * 4;
    float* values = queries_[tile * kTileRows].values;
    for (int64_t column = 0; column < row;
         column += kTileColumns, values += kTileColumns, pairs += kTileColumns) {
      const int tiles = static_cast<int>(row - column < kTileColumns ? (row - column) / 16 : kChunkPages);
      ForTiles(0, tiles, [&]<int T>() { Tiles::Load<T>(values + 16 * T, stride); });
      for (int64_t b = seen.first / kSumBlock; b * kSumBlock < seen.last; ++b) {
        Tiles::Load<4>(packed_[0] + b * kPageTokens, sizeof(packed_[0]));
        ForTiles(0, tiles, [&]<int T>() {
          Tiles::Load<6>(pairs + b * kPageTokens * row + 16 * T, stride);
          Tiles::Dot<T, 4, 6>();
        });
      }
      ForTiles(0, tiles, [&]<int T>() { Tiles::Store<T>(values + 16 * T, stride); });
    }
  }

  const AttentionArgs& args_;
  const CachedChunk<uint16_t>& chunk_;
  const int count_;
  Query* const queries_;
  alignas(64) float scores_[2][kTileRows][kChunk];  // of this tile and the next; weights once they are known
  alignas(64) float packed_[kTileRows][kChunk / 2];
};

class TileChunks {
 public:
  using Rows = TileRows;

  // Rows of the last tile that no query has are multiplied, too.
  TileChunks(const AttentionArgs& args, const GroupMemory& memory, int count)
      : args_(args), expanded_(memory.expanded) {
    for (int q = count; q % kTileRows != 0; ++q) {
      const QueryMemory of = memory.Of(args, q);
      SetZero(of.values, args.kv.padded_value_dim);
      for (int64_t i = 0; i < args.kv.padded_head_dim / 2; ++i) of.packed[i] = 0;
    }
  }
  void Attend(const CachedChunk<uint16_t>& chunk, int32_t, int count, Query* queries) {
    TileGroup(args_, chunk, count, queries).Attend(expanded_);
  }
  void Finish() {}

 private:
  const AttentionArgs& args_;
  float* const expanded_;
};

// Zones and relative values, which few models have, go without tiles.
void AttendMany(const AttentionArgs& args, int first_row, int count) {
  if (args.modifier.zone > 0 || args.modifier.relative_values.data != nullptr)
    return AttendRows<GroupChunks>(args, first_row, count);
  Tiles::Configure(static_cast<int>(args.kv.padded_head_dim % kSumBlock));
  AttendRows<TileChunks>(args, first_row, count);
  Tiles::Release();
}

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_ATTENTION_TILES_INL_H_
