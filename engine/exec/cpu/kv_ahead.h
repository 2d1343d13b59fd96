// Keys and values that a member of the team will attend to in the next layer, so that its products until then ask memory for
// them: where several tokens share weights products leave memory idle most of the time, and attention of few queries waits
// for nothing else.
//
// Of one member's pass.
#ifndef ROPEWAY_ENGINE_EXEC_CPU_KV_AHEAD_H_
#define ROPEWAY_ENGINE_EXEC_CPU_KV_AHEAD_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "engine/kernels/ops.h"

namespace ropeway {

class KvAhead {
 public:
  // Of a member, in a layer. More would take products' memory for all of their time, and leave the caches before it is read; so
  // nothing is asked for then, and attention reads long contexts by itself, in a straight line.
  static constexpr int64_t kMostBytes = 4 << 20;

  // Nothing is known of any row.
  void Clear();

  // The pages that a row has keys and values in; those that lie in quads are asked for.
  void AddRow(const kernels::KvLayout& kv, absl::Span<const int32_t> pages);

  // From now on they are those of the layer whose cache begins at `layer`, or none where it is null; the member does about so
  // many multiplications before it reads them.
  void Begin(const uint8_t* layer, int64_t products);

  // What to ask for beside the next so many multiplications: an equal share, but for what does not lie together.
  absl::Span<const uint8_t> Take(int64_t products);

 private:
  struct Piece {
    int64_t begin, bytes;  // from the beginning of a layer
  };

  std::vector<Piece> pieces_;
  int64_t all_bytes_ = 0;

  const uint8_t* layer_ = nullptr;
  int64_t all_products_ = 0, products_ = 0;  // in all, and so far
  int64_t taken_ = 0;                        // bytes
  size_t piece_ = 0;                         // that is being taken,
  int64_t at_ = 0;                           // from there on
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_EXEC_CPU_KV_AHEAD_H_
