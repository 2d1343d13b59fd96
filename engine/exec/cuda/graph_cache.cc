#include "engine/exec/cuda/graph_cache.h"

#include "engine/base/check.h"

namespace ropeway {

const cuda::Graph* GraphCache::Find(const GraphKey& key) {
  const auto place = places_.find(key);
  if (closed_ || place == places_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, place->second);
  return &place->second->graph;
}

void GraphCache::Insert(const GraphKey& key, cuda::Graph graph) {
  ROPEWAY_CHECK(!closed_ && !places_.contains(key));
  if (entries_.size() == capacity_) {
    runtime_.DestroyGraph(entries_.back().graph);
    places_.erase(entries_.back().key);
    entries_.pop_back();
  }
  entries_.push_front({.key = key, .graph = graph});
  places_[key] = entries_.begin();
}

void GraphCache::Clear() {
  for (const Entry& entry : entries_) runtime_.DestroyGraph(entry.graph);
  entries_.clear();
  places_.clear();
}

}  // namespace ropeway
