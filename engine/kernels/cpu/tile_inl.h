// How tiles of int8 activations walk along their blocks of 32 columns, whatever the instruction set. Included
// inside its namespace, so that each has its own copy.
#ifndef ROPEWAY_ENGINE_KERNELS_CPU_TILE_INL_H_
#define ROPEWAY_ENGINE_KERNELS_CPU_TILE_INL_H_

[[gnu::always_inline]] inline void Prefetch(const uint8_t*& p, int64_t lines) {
  for (int64_t i = 0; i < lines; ++i, p += 64) _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0);
}

// Asks for what TileArgs wants, block by block.
class Fetching {
 public:
  explicit Fetching(const TileArgs& args)
      : prefetch_(args.prefetch),
        later_(args.later),
        lines_(args.prefetch_lines),
        later_lines_(args.later_lines) {}

  [[gnu::always_inline]] void Step() {
    Prefetch(prefetch_, lines_);
    for (int64_t i = 0; i < later_lines_; ++i, later_ += 64)
      _mm_prefetch(reinterpret_cast<const char*>(later_), _MM_HINT_T1);
  }

 private:
  const uint8_t *prefetch_, *later_;
  const int64_t lines_, later_lines_;
};

// The weights of a block, and its activations from the first token that is computed on.
struct Block {
  const uint8_t *codes, *side, *super;
  const uint8_t *x, *scales, *init, *sums;
  const uint8_t* halves[2];
};

template <class F>
[[gnu::always_inline]] inline Block FirstBlock(const TileArgs& args) {
  const int64_t blocks = args.columns / kQuantBlock, all = args.tile_tokens;
  const uint8_t* fields = args.activations + 4 * args.first_token;
  const uint8_t* halves = fields + HalvesOffset(blocks, all);
  return {args.panel + F::kPlanes.CodesAt(0),
          args.panel + F::kPlanes.SideAt(0),
          args.panel,
          args.activations + args.first_token * kQuantBlock,
          fields + 32 * all,
          fields + 36 * all,
          fields + SumsOffset(blocks, all),
          {halves, halves + 4 * all}};
}

// Makes `block` the one of this index, which follows it.
template <class F>
[[gnu::always_inline]] inline void Advance(const TileArgs& args, int64_t index, Block& block) {
  const int64_t all = args.tile_tokens, main_bytes = MainBytes(all);
  block.codes += F::kPlanes.block_bytes();
  if constexpr (F::kPlanes.super_bytes != 0) {
    if (index % kSuperBlocks == 0) {
      block.super = block.codes;
      block.codes += F::kPlanes.super_bytes;
    }
  }
  block.side = block.codes + F::kPlanes.code_bytes;
  block.x += main_bytes;
  block.scales += main_bytes;
  block.init += main_bytes;
  block.sums += 4 * all;
  for (const uint8_t*& half : block.halves) half += 8 * all;
}

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_TILE_INL_H_
