// The table of an instruction set's tiles, made from the list of types. Included inside its namespace after
// its Format, IntegerTile and FloatTile.
#ifndef ROPEWAY_ENGINE_KERNELS_CPU_TILE_TABLE_INL_H_
#define ROPEWAY_ENGINE_KERNELS_CPU_TILE_TABLE_INL_H_

// The tile of a type of weights and T tokens. IntegerTile and FloatTile are those of the instruction set.
template <DType kType, int T>
constexpr TileFunction TileOf() {
  if constexpr (kIsQuantised<kType>)
    return &IntegerTile<Format<kType>, T>;
  else
    return &FloatTile<kType, T>;
}

template <int... kIndices>
constexpr TileKernels MakeTiles(QuantizeFunction quantize, std::integer_sequence<int, kIndices...>) {
  TileKernels kernels = {.quantize = quantize, .tile = {}};
  ((kernels.tile[kIndices / kMaxTokens][kIndices % kMaxTokens] =
        TileOf<static_cast<DType>(kIndices / kMaxTokens), kIndices % kMaxTokens + 1>()),
   ...);
  return kernels;
}

// For every type and number of tokens.
constexpr TileKernels MakeTiles(QuantizeFunction quantize) {
  return MakeTiles(quantize, std::make_integer_sequence<int, kNumDTypes * kMaxTokens>());
}

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_TILE_TABLE_INL_H_
