#include "tests/kernels/attention_sequence.h"

namespace ropeway::kernels {

std::vector<AttentionShape> AttentionShapes() {
  std::vector<AttentionShape> shapes;
  for (int dim : {1, 16, 20, 24, 64, 80, 96, 128, 256}) shapes.push_back({.head_dim = dim, .value_dim = dim});
  shapes.push_back({.head_dim = 24, .value_dim = 40});
  shapes.push_back({.head_dim = 96, .value_dim = 64, .type = KvType::kF32});
  shapes.push_back({.head_dim = 20, .value_dim = 20, .type = KvType::kF32, .window = 33});
  for (int per_token : {1, 2, 4, 5, 7, 8, 9})
    shapes.push_back({.queries_per_token = per_token, .length = 140});
  for (int window : {1, 5, 16, 63, 64, 65, 100, 149, 150, 1000}) shapes.push_back({.window = window});
  for (const std::string& name : ModifierNames()) shapes.push_back({.modifier = name});
  for (const std::string& name : ModifierNames())
    shapes.push_back({.head_dim = 20,
                      .value_dim = 24,
                      .num_kv_heads = 3,
                      .queries_per_token = 1,
                      .type = KvType::kF32,
                      .length = 99,
                      .modifier = name});
  shapes.push_back({.softcap = 5});
  shapes.push_back({.softcap = 30, .window = 40});
  // More than one span; a window may begin within one.
  const AttentionShape spans{
      .head_dim = 36, .value_dim = 20, .num_kv_heads = 1, .queries_per_token = 2, .window = 0, .length = 600};
  shapes.push_back(spans);
  for (KvType type : {KvType::kF32, KvType::kBF16}) {
    AttentionShape windowed = spans;
    windowed.type = type;
    windowed.window = 300;
    windowed.modifier = "sinks";
    shapes.push_back(windowed);
  }
  // Several chunks that are seen whole.
  for (const char* name : {"softcap", "alibi", "kerple", "fire", "shaw"}) {
    AttentionShape modified = spans;
    modified.modifier = name;
    shapes.push_back(modified);
  }
  // Chunks that are read in one line, with queries of one block and of several, and blocks of columns that are not whole.
  for (int per_token : {1, 2, 3, 4, 5, 8})
    shapes.push_back({.queries_per_token = per_token, .length = 390, .in_line = true});
  for (int dim : {20, 36, 96, 256})
    shapes.push_back({.head_dim = dim, .value_dim = dim, .num_kv_heads = 1, .length = 390, .in_line = true});
  shapes.push_back({.num_kv_heads = 1, .type = KvType::kF32, .length = 390, .in_line = true});
  shapes.push_back({.num_kv_heads = 1, .softcap = 30, .window = 100, .length = 600, .in_line = true});
  for (const char* name : {"sinks", "alibi", "shaw"})
    shapes.push_back({.num_kv_heads = 1, .length = 390, .modifier = name, .in_line = true});
  for (int length : {1, 15, 16, 17, 63, 64, 65, 129}) shapes.push_back({.num_kv_heads = 1, .length = length});
  return shapes;
}

}  // namespace ropeway::kernels
