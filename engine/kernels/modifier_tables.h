// A modifier of scores together with the tables that it points to. For load time.
//
// Constant once made; thread-safe then.
#ifndef ROPEWAY_ENGINE_KERNELS_MODIFIER_TABLES_H_
#define ROPEWAY_ENGINE_KERNELS_MODIFIER_TABLES_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "engine/kernels/score_modifier.h"

namespace ropeway::kernels {

class ModifierTables {
 public:
  ScoreModifier modifier;  // its pointers are null, or were given by the functions below

  // Keeps floats and returns where they lie, for as long as this object lives, wherever it is moved to.
  const float* Keep(std::vector<float> floats);
  // The same for a table [rows, num_distances] by rising distance, laid out as DistanceRows. Heads share it
  // where it has one row.
  DistanceRows KeepDistances(absl::Span<const float> table, int32_t num_distances);
  // The same for vectors [tables, num_distances, columns]. Heads share them where there is one table.
  DistanceRows KeepVectors(absl::Span<const float> tables, int32_t num_distances, int columns);
  // The same for vectors as RelativeValues has them: padded to a multiple of 16 columns.
  RelativeValues KeepValues(absl::Span<const float> tables, int32_t num_distances, int columns);

  // The modifier with `move(floats, count)` in the place of each pointer: for other memory.
  using Move = std::function<const float*(const float* floats, int64_t count)>;
  ScoreModifier Moved(const Move& move) const;

  int64_t bytes() const;

 private:
  std::vector<std::unique_ptr<std::vector<float>>> kept_;
};

}  // namespace ropeway::kernels

#endif  // ROPEWAY_ENGINE_KERNELS_MODIFIER_TABLES_H_
