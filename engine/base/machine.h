// What of this machine this process may use: processors, by affinity, hyper-threads and the quota of its
// control group (cgroup, version 1 or 2); memory, by what is free, its control group and its own limit of
// address space; NUMA nodes, by the processors and what a cpuset gives memory of.
//
// Files that are missing or say nothing sensible limit nothing.
#ifndef ROPEWAY_ENGINE_BASE_MACHINE_H_
#define ROPEWAY_ENGINE_BASE_MACHINE_H_

#include <cstdint>
#include <string>
#include <vector>

namespace ropeway {

struct UsableMachine {
  int processors = 1;                      // that it may run on
  int cores = 1;                           // that those belong to: hyper-threads of one core count once
  double cpu_quota = 0;                    // processors whose time the control group gives; 0: no limit
  int64_t memory_bytes = 0;                // of the machine, or the limit of the control group
  int64_t free_bytes = 0;                  // that may still be taken
  int64_t free_address_bytes = INT64_MAX;  // of a limit of address space (ulimit -v), where there is one
  // NUMA nodes that the processors belong to and whose memory may be taken, rising; empty where the system does not
  // tell.
  std::vector<int> nodes;
  int all_nodes = 1;  // of the machine, with memory

  // That compute best: one per core, as many as the quota pays for in full, at least one.
  int threads() const;
};

// Numbers of the processors that the affinity mask, and so a cpuset, lets this process run on; empty where
// the system does not tell.
std::vector<int> UsableProcessors();

// Looks now. Tests give a folder that /proc and /sys are looked for in, and processors.
UsableMachine LookAtMachine(const std::string& root = "",
                            const std::vector<int>& processors = UsableProcessors());

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_BASE_MACHINE_H_
