// Captured decode steps, by what their graphs have in common.
//
// At most `capacity` of them: the one that was used longest ago leaves for a new one. Where a capture failed
// the cache is closed for good, and steps run without graphs. Not thread-safe; Insert, Clear and the
// destructor are called by a thread that the Runtime is bound to, while none of the graphs that they destroy runs.
#ifndef ROPEWAY_ENGINE_EXEC_CUDA_GRAPH_CACHE_H_
#define ROPEWAY_ENGINE_EXEC_CUDA_GRAPH_CACHE_H_

#include <compare>
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>

#include "engine/kernels/cuda/runtime.h"

namespace ropeway {

struct GraphKey {
  int32_t rows = 0, max_pages = 0;  // of CudaStepShape
  auto operator<=>(const GraphKey&) const = default;
};

class GraphCache {
 public:
  // `runtime` outlives the cache.
  GraphCache(cuda::Runtime& runtime, size_t capacity) : runtime_(runtime), capacity_(capacity) {}
  ~GraphCache() { Clear(); }
  GraphCache(const GraphCache&) = delete;
  GraphCache& operator=(const GraphCache&) = delete;

  // Null where there is none. What is found was used.
  const cuda::Graph* Find(const GraphKey& key);

  // The graph is the cache's from now on, also where there is no memory for its place: then it is destroyed.
  // REQUIRES: there is none of `key`, and the cache is not closed.
  void Insert(const GraphKey& key, cuda::Graph graph);

  // From now on nothing is found, and nothing may be inserted. The graphs live until Clear.
  void Close() { closed_ = true; }
  bool closed() const { return closed_; }

  void Clear();
  size_t size() const { return places_.size(); }

 private:
  struct Entry {
    GraphKey key;
    cuda::Graph graph;
  };

  cuda::Runtime& runtime_;
  const size_t capacity_;
  bool closed_ = false;
  std::list<Entry> entries_;  // the one used last comes first
  std::map<GraphKey, std::list<Entry>::iterator> places_;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_EXEC_CUDA_GRAPH_CACHE_H_
