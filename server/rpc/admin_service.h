// The service ropeway.v1.Admin: lets admins in, converts, and hands on.
#ifndef ROPEWAY_SERVER_RPC_ADMIN_SERVICE_H_
#define ROPEWAY_SERVER_RPC_ADMIN_SERVICE_H_

#include <memory>

#include "grpcpp/impl/service_type.h"
#include "server/front/admin.h"
#include "server/front/gate.h"

namespace ropeway::server {

// Both outlive the service and its calls.
std::unique_ptr<grpc::Service> MakeAdminService(const AdminContext& context, const Gate& gate);

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_RPC_ADMIN_SERVICE_H_
