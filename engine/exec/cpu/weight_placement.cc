#include "engine/exec/cpu/weight_placement.h"

#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/memory_nodes.h"

namespace ropeway {
namespace {

// On every member; the first error of any of them.
absl::Status TakeMemoryInTurn(const std::vector<int>& nodes, ThreadPool& pool) {
  std::vector<absl::Status> statuses(pool.size());
  pool.Run([&](Team& team) { statuses[team.index()] = ropeway::TakeMemoryInTurn(nodes); });
  for (const absl::Status& status : statuses)
    if (!status.ok()) return status;
  return absl::OkStatus();
}

}  // namespace

WeightPlacement::WeightPlacement(const UsableMachine& machine, ThreadPool& pool) : pool_(pool) {
  const std::string nodes = absl::StrJoin(machine.nodes, ",");
  if (machine.nodes.size() >= 2) {
    const absl::Status status = TakeMemoryInTurn(machine.nodes, pool);
    is_in_turn_ = true;
    description_ = status.ok() ? absl::StrCat("in turn over nodes ", nodes)
                               : absl::StrCat("as it comes over nodes ", nodes, ": ", status.message());
  } else if (machine.all_nodes >= 2 && !machine.nodes.empty()) {
    description_ = absl::StrCat("on node ", nodes);
  }
}

WeightPlacement::~WeightPlacement() {
  if (is_in_turn_) TakeMemoryInTurn({}, pool_).IgnoreError();
}

}  // namespace ropeway
