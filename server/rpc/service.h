// The service ropeway.v1.Ropeway: converts in, converts out, and hands the work to others.
#ifndef ROPEWAY_SERVER_RPC_SERVICE_H_
#define ROPEWAY_SERVER_RPC_SERVICE_H_

#include <memory>

#include "grpcpp/impl/service_type.h"
#include "server/rpc/service_context.h"

namespace ropeway {

// `context` outlives the service and its calls.
std::unique_ptr<grpc::Service> MakeRopewayService(const ServiceContext& context);

}  // namespace ropeway

#endif  // ROPEWAY_SERVER_RPC_SERVICE_H_
