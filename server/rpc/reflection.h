// The reflection service, under its name of today and the older one that most tools still ask for: the same
// messages under both.
//
// Thread-safe.
#ifndef ROPEWAY_SERVER_RPC_REFLECTION_H_
#define ROPEWAY_SERVER_RPC_REFLECTION_H_

#include <memory>
#include <string>
#include <vector>

#include "grpcpp/impl/service_type.h"
#include "server/front/gate.h"

namespace ropeway::server {

inline constexpr char kReflectionService[] = "grpc.reflection.v1.ServerReflection";
inline constexpr char kOldReflectionService[] = "grpc.reflection.v1alpha.ServerReflection";

// One of the two, by its `name`; tells that `services` are served, to those whom `gate`, which outlives it, lets
// look; null: to everybody.
std::unique_ptr<grpc::Service> MakeReflectionService(const std::string& name,
                                                     std::vector<std::string> services, const Gate* gate);

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_RPC_REFLECTION_H_
