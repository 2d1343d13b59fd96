// On which NUMA nodes memory is taken.
#ifndef ROPEWAY_ENGINE_BASE_MEMORY_NODES_H_
#define ROPEWAY_ENGINE_BASE_MEMORY_NODES_H_

#include <vector>

#include "absl/status/status.h"

namespace ropeway {

// Memory that the calling thread uses for the first time from now on comes from these nodes in turn, page by page;
// with none of them, from the node that the thread runs on, as usual. PERMISSION_DENIED and others where the system
// does not let us; then nothing has changed. REQUIRES: nodes are in [0, 1024).
absl::Status TakeMemoryInTurn(const std::vector<int>& nodes);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_BASE_MEMORY_NODES_H_
