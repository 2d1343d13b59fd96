// Keys and values into the pages of the cache, included once per instruction set after row_ops_inl.h.
#ifndef ROPEWAY_ENGINE_KERNELS_CPU_STORE_KV_INL_H_
#define ROPEWAY_ENGINE_KERNELS_CPU_STORE_KV_INL_H_

#ifdef ROPEWAY_BF16_DOT
constexpr bool kStoresChainPairs = true;
#else
constexpr bool kStoresChainPairs = false;
#endif

// Where column d of the key in a slot lies among the elements of its head.
template <typename Element>
inline int64_t KeyElement(int64_t d, int slot) {
  if constexpr (sizeof(Element) == 4)
    return d * kPageTokens + slot;
  else if constexpr (kStoresChainPairs)
    return ((d / 4 * 2 + d % 2) * kPageTokens + slot) * 2 + (d % 4 < 2 ? 1 : 0);
  else
    return (d / 2 * kPageTokens + slot) * 2 + d % 2;
}

// The same of the value's column d, of `row` in all, among the values.
template <typename Element>
inline int64_t ValueElement(int64_t d, int slot, int64_t row) {
  if constexpr (sizeof(Element) == 2 && kStoresChainPairs)
    return (slot / 2 * row + d) * 2 + (slot % 2 == 0 ? 1 : 0);
  else
    return slot * row + d;
}

template <typename Element>
void StoreKvAs(const StoreKvArgs& args) {
  Element* page = reinterpret_cast<Element*>(args.page);
  const auto convert = [](Lanes a, Element* to, int64_t lanes) {
    alignas(64) Element row[16];
    if constexpr (sizeof(Element) == 2)
      StoreBf16(row, a);
    else
      Store(row, a);
    for (int64_t i = 0; i < lanes; ++i) to[i] = row[i];
  };
  for (int head = 0; head < args.kv.num_kv_heads; ++head, page += args.kv.head_elements) {
    const float* key = args.keys + int64_t{head} * args.kv.head_dim;
    ForColumns(args.kv.head_dim, [&](int64_t d, int64_t lanes) {
      Element row[16];
      convert(LoadSome(key + d, lanes), row, lanes);
      for (int64_t i = 0; i < lanes; ++i) page[KeyElement<Element>(d + i, args.slot)] = row[i];
    });
    for (int64_t d = args.kv.head_dim; d < args.kv.padded_head_dim; ++d)
      page[KeyElement<Element>(d, args.slot)] = 0;
    Element* values = page + args.kv.value_offset;
    const float* value = args.values + int64_t{head} * args.kv.value_dim;
    ForColumns(args.kv.value_dim, [&](int64_t d, int64_t lanes) {
      Element row[16];
      convert(LoadSome(value + d, lanes), row, lanes);
      for (int64_t i = 0; i < lanes; ++i)
        values[ValueElement<Element>(d + i, args.slot, args.kv.padded_value_dim)] = row[i];
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
