// Keys and values into the pages of the cache, included once per instruction set after row_ops_inl.h.
#ifndef ROPEWAY_ENGINE_KERNELS_CPU_STORE_KV_INL_H_
#define ROPEWAY_ENGINE_KERNELS_CPU_STORE_KV_INL_H_

#ifdef ROPEWAY_BF16_DOT
constexpr bool kStoresChainPairs = true;
#else
constexpr bool kStoresChainPairs = false;
#endif

// Where column d of the key in a slot lies, from the first line of its page on.
template <typename Element>
inline int64_t KeyElement(int64_t d, int slot) {
  constexpr int64_t kStride = 2 * 64 / sizeof(Element);
  if constexpr (sizeof(Element) == 4)
    return d * kStride + slot;
  else if constexpr (kStoresChainPairs)
    return (d / 4 * 2 + d % 2) * kStride + slot * 2 + (d % 4 < 2 ? 1 : 0);
  else
    return d / 2 * kStride + slot * 2 + d % 2;
}

template <typename Element>
void StoreKvAs(const StoreKvArgs& args) {
  const KvLayout& kv = args.kv;
  Element* quad = reinterpret_cast<Element*>(args.cache + args.page / kQuadPages * args.quad_stride);
  const auto convert = [](const float* from, int64_t lanes, Element(&to)[16]) {
    if constexpr (sizeof(Element) == 2)
      StoreBf16(to, LoadSome(from, lanes));
    else
      Store(to, LoadSome(from, lanes));
  };
  constexpr int kSlots = sizeof(Element) == 2 && kStoresChainPairs ? 2 : 1;  // of values, side by side
  alignas(64) Element row[16];
  for (int head = 0; head < kv.num_kv_heads; ++head) {
    Element* keys = quad + KeyLine(kv, head, args.page, 0);
    ForColumns(kv.head_dim, [&](int64_t d, int64_t lanes) {
      convert(args.keys + int64_t{head} * kv.head_dim + d, lanes, row);
      for (int64_t i = 0; i < lanes; ++i) keys[KeyElement<Element>(d + i, args.slot)] = row[i];
    });
    for (int64_t d = kv.head_dim; d < kv.padded_head_dim; ++d) keys[KeyElement<Element>(d, args.slot)] = 0;
    ForColumns(kv.value_dim, [&](int64_t d, int64_t lanes) {
      convert(args.values + int64_t{head} * kv.value_dim + d, lanes, row);
      const int64_t column = args.slot / kSlots * kv.value_columns + d % kv.value_columns;
      Element* values = quad + ValueBlock(kv, head, args.page, d) + column * kSlots;
      if constexpr (kSlots == 2) values += args.slot % 2 == 0 ? 1 : 0;
      for (int64_t i = 0; i < lanes; ++i) values[i * kSlots] = row[i];
    });
  }
}

void StoreKv(const StoreKvArgs& args) {
  if (args.kv.bf16)
    StoreKvAs<uint16_t>(args);
  else
    StoreKvAs<float>(args);
}

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_STORE_KV_INL_H_
