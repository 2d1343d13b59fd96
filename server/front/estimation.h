// What would become of a request that came now: whether it would be admitted, and when it would be answered.
#ifndef ROPEWAY_SERVER_FRONT_ESTIMATION_H_
#define ROPEWAY_SERVER_FRONT_ESTIMATION_H_

#include <functional>

#include "absl/status/statusor.h"
#include "proto/ropeway/v1/ropeway.pb.h"
#include "server/front/call.h"
#include "server/front/front_context.h"

namespace ropeway::server {

// Converts and tokenizes as Generate does, then asks the engine, which answers between two steps. `done` is called
// once: at once where that fails, else by a delivering worker.
void Estimate(const v1::EstimateRequest& message, const FrontContext& context, const Call& call,
              std::function<void(absl::StatusOr<v1::EstimateResponse>)> done);

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_FRONT_ESTIMATION_H_
