#include "engine/exec/cuda/graph_cache.h"

#include <utility>

#include "absl/cleanup/cleanup.h"
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
  absl::Cleanup destroy = [&] { runtime_.DestroyGraph(graph); };  // where there is no memory for its place
  std::list<Entry> entry;
  entry.push_front({.key = key, .graph = graph});
  places_[key] = entry.begin();
  std::move(destroy).Cancel();
  entries_.splice(entries_.begin(), entry);
  if (entries_.size() <= capacity_) return;
  runtime_.DestroyGraph(entries_.back().graph);
  places_.erase(entries_.back().key);
  entries_.pop_back();
}

void GraphCache::Clear() {
  for (const Entry& entry : entries_) runtime_.DestroyGraph(entry.graph);
  entries_.clear();
  places_.clear();
}

}  // namespace ropeway
