// The service ropeway.v1.Ropeway: converts in, converts out, and hands the work to others.
#ifndef ROPEWAY_SERVER_RPC_SERVICE_H_
#define ROPEWAY_SERVER_RPC_SERVICE_H_

#include <cstdint>
#include <memory>

#include "grpcpp/impl/service_type.h"
#include "server/front/front_context.h"

namespace ropeway::server {

// `context` outlives the service and its calls. Requests have at most `max_request_bytes`.
std::unique_ptr<grpc::Service> MakeRopewayService(const FrontContext& context, int64_t max_request_bytes);

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_RPC_SERVICE_H_
