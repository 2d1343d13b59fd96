// Keys and values into the pages of the cache, included once per instruction set after row_ops_inl.h.
#ifndef ROPEWAY_ENGINE_KERNELS_CPU_STORE_KV_INL_H_
#define ROPEWAY_ENGINE_KERNELS_CPU_STORE_KV_INL_H_

// Where column d of the key in a slot lies among the elements of its head.
template <typename Element>
inline int64_t KeyElement(int64_t d, int slot) {
  if constexpr (sizeof(Element) == 2)
    return (d / 2 * kPageTokens + slot) * 2 + d % 2;
  else
    return d * kPageTokens + slot;
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
    Element* value = page + args.kv.value_offset + args.slot * args.kv.padded_value_dim;
    const float* from = args.values + int64_t{head} * args.kv.value_dim;
    ForColumns(args.kv.value_dim,
               [&](int64_t d, int64_t lanes) { convert(LoadSome(from + d, lanes), value + d, lanes); });
  }
}

void StoreKv(const StoreKvArgs& args) {
  if (args.kv.bf16)
    StoreKvAs<uint16_t>(args);
  else
    StoreKvAs<float>(args);
}

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_STORE_KV_INL_H_
