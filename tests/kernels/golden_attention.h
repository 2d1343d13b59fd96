// The golden cases of one attention layer (tests/engine/position/golden_cases.h) as attention kernels want
// them: queries and keys normed, turned and scaled, the scheme lowered to a modifier.
#ifndef ROPEWAY_TESTS_KERNELS_GOLDEN_ATTENTION_H_
#define ROPEWAY_TESTS_KERNELS_GOLDEN_ATTENTION_H_

#include <cstdint>
#include <string>
#include <vector>

#include "engine/kernels/modifier_tables.h"
#include "tests/engine/position/golden_cases.h"

namespace ropeway::kernels {

// Positions that a case leaves out hold keys that no query notices: a column beyond its head_dim, in which
// queries are 1, makes their scores small beyond measure.
struct GoldenAttention {
  std::string name;
  int num_heads = 0, num_kv_heads = 0, head_dim = 0, value_dim = 0;
  float scale = 1;
  std::vector<int32_t> positions;                 // [T]
  std::vector<float> queries[3];                  // [T, H, E], by zone; the last two empty without zones
  int32_t first_position = 0, num_positions = 0;  // of keys and values: [first_position, num_positions)
  std::vector<float> keys, values;                // [num_positions - first_position, G, E and Ev]
  ModifierTables modifier;                        // sees nothing before first_position
  std::vector<double> out;                        // [T, H, Ev]

  bool contiguous() const { return static_cast<int32_t>(positions.size()) == num_positions - first_position; }
};

GoldenAttention PrepareGolden(const testing::GoldenCase& golden);

}  // namespace ropeway::kernels

#endif  // ROPEWAY_TESTS_KERNELS_GOLDEN_ATTENTION_H_
