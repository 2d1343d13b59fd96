// TLS for gRPC, whose certificates may change while the server runs: each handshake takes those that are in
// use then, and streams that run are not touched.
#ifndef ROPEWAY_SERVER_RPC_TLS_CREDENTIALS_H_
#define ROPEWAY_SERVER_RPC_TLS_CREDENTIALS_H_

#include <memory>

#include "grpcpp/security/server_credentials.h"
#include "server/auth/tls_files.h"

namespace ropeway::server {

// TLS 1.2 or later. `source` outlives the server that these are given to; they outlive it, too.
std::shared_ptr<grpc::ServerCredentials> MakeTlsCredentials(const TlsSource& source);

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_RPC_TLS_CREDENTIALS_H_
