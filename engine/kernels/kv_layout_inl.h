// Where keys and values lie in a quad (KvLayout in args.h), in elements. Included inside an unnamed namespace by whoever
// stores or reads them.
#ifndef ROPEWAY_ENGINE_KERNELS_KV_LAYOUT_INL_H_
#define ROPEWAY_ENGINE_KERNELS_KV_LAYOUT_INL_H_

// Keys of sixteen tokens: a column of float32, or two of bf16.
inline int64_t KeyLineElements(const KvLayout& kv) { return kv.bf16 ? 32 : 16; }
inline int64_t KeyLines(const KvLayout& kv) { return kv.bf16 ? kv.padded_head_dim / 2 : kv.padded_head_dim; }

// Line `line` of a page's keys of a KV head. Lines of the two pages of a pair take turns.
inline int64_t KeyLine(const KvLayout& kv, int64_t head, int64_t page, int64_t line) {
  const int64_t pair = page % kQuadPages / 2;
  return head * kv.head_elements + ((pair * KeyLines(kv) + line) * 2 + page % 2) * KeyLineElements(kv);
}

// A page's values of a KV head, of the block of columns that has `column`.
inline int64_t ValueBlock(const KvLayout& kv, int64_t head, int64_t page, int64_t column) {
  const int64_t block = column / kv.value_columns;
  return head * kv.head_elements + kv.value_offset +
         (block * kQuadPages + page % kQuadPages) * kPageTokens * kv.value_columns;
}

#endif  // ROPEWAY_ENGINE_KERNELS_KV_LAYOUT_INL_H_
