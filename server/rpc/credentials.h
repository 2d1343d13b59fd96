// What a gRPC call shows of who makes it.
#ifndef ROPEWAY_SERVER_RPC_CREDENTIALS_H_
#define ROPEWAY_SERVER_RPC_CREDENTIALS_H_

#include "absl/status/status.h"
#include "grpcpp/server_context.h"
#include "server/auth/authenticator.h"
#include "server/front/gate.h"

namespace ropeway::server {

// The metadata `authorization`, and the subject of the client's certificate where TLS has verified one. More
// than one `authorization` counts as a wrong one.
Credentials CredentialsOf(const grpc::ServerContextBase& context);

// Whether the call may look (Access::kLook); told to the operator where it may not. Null: everybody may.
absl::Status LookStatus(const Gate* gate, const grpc::ServerContextBase& context, const char* method);

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_RPC_CREDENTIALS_H_
