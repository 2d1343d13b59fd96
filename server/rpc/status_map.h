// absl::Status to what a gRPC client gets. The codes are numerically the same; a retry hint becomes
// trailing metadata, for gRPC's own retry policy, and google.rpc.RetryInfo among the status details, for all
// others.
#ifndef ROPEWAY_SERVER_RPC_STATUS_MAP_H_
#define ROPEWAY_SERVER_RPC_STATUS_MAP_H_

#include "absl/status/status.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/status.h"

namespace ropeway::server {

// The key that gRPC's own retry policy reads; milliseconds.
inline constexpr char kRetryMetadataKey[] = "grpc-retry-pushback-ms";

grpc::Status ToGrpcStatus(const absl::Status& status);

// Puts the retry hint of `status`, if it has one, into the call's trailing metadata.
void AddRetryMetadata(const absl::Status& status, grpc::ServerContextBase& context);

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_RPC_STATUS_MAP_H_
