// Answers about texts, the model and the server. Pure functions; thread-safe.
#ifndef ROPEWAY_SERVER_RPC_CONVERT_INFO_H_
#define ROPEWAY_SERVER_RPC_CONVERT_INFO_H_

#include "absl/status/statusor.h"
#include "absl/time/civil_time.h"
#include "proto/ropeway/v1/ropeway.pb.h"
#include "server/rpc/service_context.h"

namespace ropeway {

// INVALID_ARGUMENT naming field, bound and value.
absl::StatusOr<v1::TokenizeResponse> ConvertTokenize(const v1::TokenizeRequest& message,
                                                     const Backend& backend, absl::CivilSecond now);
absl::StatusOr<v1::DetokenizeResponse> ConvertDetokenize(const v1::DetokenizeRequest& message,
                                                         const Backend& backend);

v1::GetModelInfoResponse ConvertModelInfo(const Backend& backend);
v1::GetServerInfoResponse ConvertServerInfo(const ServiceContext& context);

}  // namespace ropeway

#endif  // ROPEWAY_SERVER_RPC_CONVERT_INFO_H_
