// Generation requests, from the wire to what the scheduler takes. Pure functions; thread-safe.
#ifndef ROPEWAY_SERVER_FRONT_CONVERT_REQUEST_H_
#define ROPEWAY_SERVER_FRONT_CONVERT_REQUEST_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/civil_time.h"
#include "engine/api/request.h"
#include "proto/ropeway/v1/ropeway.pb.h"
#include "server/config/request_limits.h"
#include "server/front/served_model.h"

namespace ropeway::server {

// A request that passed every check: what the engine needs, and what only the front end needs.
struct GenerationPlan {
  ValidRequest request;  // id, arrival and deadline are the caller's to set
  std::string name;      // the client's request_id; may be empty
  bool echo = false;

  // Tokens that the request can cost: its prompt once and all the answers.
  int64_t max_cost_tokens() const {
    return static_cast<int64_t>(request.prompt.size()) +
           int64_t{request.num_samples} * int64_t{request.max_tokens};
  }
};

struct ConvertContext {
  const ServedModel& model;
  const RequestLimits& limits;
  absl::CivilSecond now;    // what templates that tell the date see
  uint64_t fresh_seed = 0;  // used where the request brings none
};

// INVALID_ARGUMENT naming field, bound and value; NOT_FOUND for another model.
absl::StatusOr<GenerationPlan> ConvertGenerateRequest(const v1::GenerateRequest& message,
                                                      const ConvertContext& context);

// The checks of request_id and tenant, which Abort shares.
absl::Status CheckName(absl::string_view name, absl::string_view field, int32_t max_bytes);

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_FRONT_CONVERT_REQUEST_H_
