// From which NUMA nodes the memory of weights is taken: a team whose processors belong to several nodes takes it from
// them in turn, so that a product reads from all of them at once, whoever computes which panel. Where affinity leaves
// one node, memory comes from it anyway.
#ifndef ROPEWAY_ENGINE_EXEC_CPU_WEIGHT_PLACEMENT_H_
#define ROPEWAY_ENGINE_EXEC_CPU_WEIGHT_PLACEMENT_H_

#include <string>

#include "engine/base/machine.h"
#include "engine/base/thread_pool.h"

namespace ropeway {

// In force as long as it lives, for all members of the pool. Of the thread that calls the pool.
class WeightPlacement {
 public:
  WeightPlacement(const UsableMachine& machine, ThreadPool& pool);
  WeightPlacement(const WeightPlacement&) = delete;
  WeightPlacement& operator=(const WeightPlacement&) = delete;
  ~WeightPlacement();

  // For the log, as "in turn over nodes 0,1"; empty where the machine has one node.
  const std::string& description() const { return description_; }

 private:
  ThreadPool& pool_;
  bool is_in_turn_ = false;
  std::string description_;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_EXEC_CPU_WEIGHT_PLACEMENT_H_
