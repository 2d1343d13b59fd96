// absl::Status to what a gRPC client gets. The codes are numerically the same; a retry hint becomes
// trailing metadata, for gRPC's own retry policy, and google.rpc.RetryInfo among the status details, for all
// others.
#ifndef ROPEWAY_SERVER_RPC_STATUS_MAP_H_
#define ROPEWAY_SERVER_RPC_STATUS_MAP_H_

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/status.h"

namespace ropeway {

// The key that gRPC's own retry policy reads; milliseconds.
inline constexpr char kRetryMetadataKey[] = "grpc-retry-pushback-ms";

grpc::Status ToGrpcStatus(const absl::Status& status);

// Puts the retry hint of `status`, if it has one, into the call's trailing metadata.
void AddRetryMetadata(const absl::Status& status, grpc::ServerContextBase& context);

// What a client waits for a queue that empties fast.
inline constexpr absl::Duration kRetryAfter = absl::Seconds(1);

// The answer to a call that finds the preparing workers too busy.
absl::Status TooMuchToPrepare();

}  // namespace ropeway

#endif  // ROPEWAY_SERVER_RPC_STATUS_MAP_H_
