#include "server/rpc/credentials.h"

#include <string>

#include "grpc/grpc_security_constants.h"
#include "grpcpp/security/auth_context.h"

namespace ropeway::server {
namespace {

constexpr char kAuthorization[] = "authorization";

std::string Text(const grpc::string_ref& text) { return std::string(text.data(), text.size()); }

}  // namespace

Credentials CredentialsOf(const grpc::ServerContextBase& context) {
  Credentials credentials;
  const auto& metadata = context.client_metadata();
  if (const size_t count = metadata.count(kAuthorization); count > 0)
    credentials.authorization = count == 1 ? Text(metadata.find(kAuthorization)->second) : "";
  const std::shared_ptr<const grpc::AuthContext> peer = context.auth_context();
  if (peer == nullptr || !peer->IsPeerAuthenticated()) return credentials;
  const std::vector<grpc::string_ref> subjects = peer->FindPropertyValues(GRPC_X509_SUBJECT_PROPERTY_NAME);
  if (subjects.size() == 1) credentials.subject = Text(subjects[0]);
  return credentials;
}

absl::Status LookStatus(const Gate* gate, const grpc::ServerContextBase& context, const char* method) {
  if (gate == nullptr) return absl::OkStatus();
  const absl::Status status = gate->Admit(CredentialsOf(context), Access::kLook).status();
  if (!status.ok()) gate->OnRefused(method, context.peer(), status);
  return status;
}

}  // namespace ropeway::server
