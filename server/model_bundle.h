// A model ready to be served: its text side and the executor that computes it.
#ifndef ROPEWAY_SERVER_MODEL_BUNDLE_H_
#define ROPEWAY_SERVER_MODEL_BUNDLE_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/api/step.h"
#include "engine/exec/cpu/pack_cache.h"
#include "engine/model/load_decoder.h"
#include "server/config/config.h"
#include "server/front/served_model.h"

namespace ropeway::server {

struct ModelBundle {
  ServedModel served;
  std::unique_ptr<Executor> executor;  // never null
  Device device = Device::kCpu;        // where it computes
  std::vector<std::string> products;   // how a GPU's matrices are multiplied, for the log
  PackCacheOutcome pack_cache;         // of a CPU's weights, for the log; see MadeExecutor
  std::string placement;               // the same
  std::string upload;                  // the same, of a GPU's weights
  std::string warning;                 // why it computes on the CPU, where a GPU was looked for; else empty
};

// Tests load models of their own making.
using ModelLoader = std::function<absl::StatusOr<ModelBundle>(const Config&, const LoadProgress&)>;

// Reads the file that `config` names. Errors name the path and what is wrong with it.
absl::StatusOr<ModelBundle> LoadModel(const Config& config, const LoadProgress& progress = {});

// The name of the model on the wire: as configured, that of its folder, or that of its file without
// extension and, of several files, without number.
std::string ModelName(const Config& config);

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_MODEL_BUNDLE_H_
