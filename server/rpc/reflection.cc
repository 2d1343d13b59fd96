#include "server/rpc/reflection.h"

#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/descriptor.pb.h"
#include "grpcpp/impl/codegen/proto_utils.h"
#include "grpcpp/impl/codegen/rpc_service_method.h"
#include "grpcpp/impl/codegen/server_callback_handlers.h"
#include "grpcpp/support/server_callback.h"
#include "proto/grpc/reflection/v1/reflection.pb.h"
#include "server/rpc/credentials.h"
#include "server/rpc/status_map.h"

namespace ropeway::server {
namespace {

namespace pb = google::protobuf;
namespace v1 = grpc::reflection::v1;

constexpr char kPackage[] = "grpc.reflection.v1";
constexpr char kOldPackage[] = "grpc.reflection.v1alpha";

// A client that asks more on one stream is a fault.
constexpr int kMaxRequests = 10'000;

// All that is known about what is served.
class Catalogue {
 public:
  explicit Catalogue(std::vector<std::string> services) : services_(std::move(services)), old_(&pool()) {
    // The older service has no file of its own: it is the newer one under another name.
    pb::FileDescriptorProto file;
    v1::ServerReflectionRequest::descriptor()->file()->CopyTo(&file);
    file.set_name("grpc/reflection/v1alpha/reflection.proto");
    file.set_package(kOldPackage);
    Rename(file);
    old_.BuildFile(file);
  }

  v1::ServerReflectionResponse Answer(const v1::ServerReflectionRequest& request) const {
    v1::ServerReflectionResponse response;
    response.set_valid_host(request.host());
    *response.mutable_original_request() = request;
    if (const absl::Status status = Fill(request, response); !status.ok()) {
      response.mutable_error_response()->set_error_code(static_cast<int>(status.code()));
      response.mutable_error_response()->set_error_message(std::string(status.message()));
    }
    return response;
  }

 private:
  static const pb::DescriptorPool& pool() { return *pb::DescriptorPool::generated_pool(); }

  static std::string Renamed(const std::string& type) {
    return absl::StrReplaceAll(type,
                               {{absl::StrCat(".", kPackage, "."), absl::StrCat(".", kOldPackage, ".")}});
  }

  static void Rename(pb::FileDescriptorProto& file) {
    for (pb::DescriptorProto& message : *file.mutable_message_type())
      for (pb::FieldDescriptorProto& field : *message.mutable_field())
        if (field.has_type_name()) field.set_type_name(Renamed(field.type_name()));
    for (pb::ServiceDescriptorProto& service : *file.mutable_service())
      for (pb::MethodDescriptorProto& method : *service.mutable_method()) {
        method.set_input_type(Renamed(method.input_type()));
        method.set_output_type(Renamed(method.output_type()));
      }
  }

  absl::Status Fill(const v1::ServerReflectionRequest& request,
                    v1::ServerReflectionResponse& response) const {
    using Request = v1::ServerReflectionRequest;
    switch (request.message_request_case()) {
      case Request::kFileByFilename:
        return FillFile(old_.FindFileByName(request.file_by_filename()), request.file_by_filename(),
                        response);
      case Request::kFileContainingSymbol:
        return FillFile(old_.FindFileContainingSymbol(request.file_containing_symbol()),
                        request.file_containing_symbol(), response);
      case Request::kFileContainingExtension:
        return absl::NotFoundError("no message is extended here");
      case Request::kAllExtensionNumbersOfType:
        if (old_.FindMessageTypeByName(request.all_extension_numbers_of_type()) == nullptr)
          return absl::NotFoundError("there is no such message");
        response.mutable_all_extension_numbers_response()->set_base_type_name(
            request.all_extension_numbers_of_type());
        return absl::OkStatus();
      case Request::kListServices:
        for (const std::string& name : services_)
          response.mutable_list_services_response()->add_service()->set_name(name);
        return absl::OkStatus();
      case Request::MESSAGE_REQUEST_NOT_SET:
        break;
    }
    return absl::InvalidArgumentError("the request asks nothing");
  }

  static absl::Status FillFile(const pb::FileDescriptor* file, const std::string& name,
                               v1::ServerReflectionResponse& response) {
    if (file == nullptr) return absl::NotFoundError(absl::StrCat("there is no ", name));
    std::set<const pb::FileDescriptor*> added;
    AddFile(*file, added, *response.mutable_file_descriptor_response());
    return absl::OkStatus();
  }

  // The file comes first, then what it imports.
  static void AddFile(const pb::FileDescriptor& file, std::set<const pb::FileDescriptor*>& added,
                      v1::FileDescriptorResponse& response) {
    if (!added.insert(&file).second) return;
    pb::FileDescriptorProto proto;
    file.CopyTo(&proto);
    response.add_file_descriptor_proto(proto.SerializeAsString());
    for (int i = 0; i < file.dependency_count(); ++i) AddFile(*file.dependency(i), added, response);
  }

  const std::vector<std::string> services_;
  pb::DescriptorPool old_;  // on top of the pool of what was compiled
};

// Reads a request, answers it, reads the next.
class Reactor final
    : public grpc::ServerBidiReactor<v1::ServerReflectionRequest, v1::ServerReflectionResponse> {
 public:
  Reactor(const Catalogue& catalogue, const absl::Status& admitted) : catalogue_(catalogue) {
    if (admitted.ok()) {
      StartRead(&request_);
    } else {
      Finish(ToGrpcStatus(admitted));
    }
  }

  void OnReadDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::OK);
    if (++requests_ > kMaxRequests)
      return Finish(grpc::Status(grpc::StatusCode::INVALID_ARGUMENT,
                                 absl::StrCat("a stream may ask at most ", kMaxRequests, " times")));
    response_ = catalogue_.Answer(request_);
    StartWrite(&response_);
  }
  void OnWriteDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::CANCELLED);
    StartRead(&request_);
  }
  void OnDone() override { delete this; }

 private:
  const Catalogue& catalogue_;
  v1::ServerReflectionRequest request_;
  v1::ServerReflectionResponse response_;
  int requests_ = 0;
};

class ReflectionService final : public grpc::Service {
 public:
  ReflectionService(const std::string& name, std::vector<std::string> services, const Gate* gate)
      : path_(absl::StrCat("/", name, "/ServerReflectionInfo")),
        catalogue_(std::move(services)),
        gate_(gate) {
    using Handler =
        grpc::internal::CallbackBidiHandler<v1::ServerReflectionRequest, v1::ServerReflectionResponse>;
    AddMethod(new grpc::internal::RpcServiceMethod(path_.c_str(), grpc::internal::RpcMethod::BIDI_STREAMING,
                                                   nullptr));
    MarkMethodCallback(0, new Handler([this](grpc::CallbackServerContext* call) {
                         return new Reactor(catalogue_, LookStatus(gate_, *call, "ServerReflection"));
                       }));
  }

 private:
  const std::string path_;
  const Catalogue catalogue_;
  const Gate* const gate_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeReflectionService(const std::string& name,
                                                     std::vector<std::string> services, const Gate* gate) {
  return std::make_unique<ReflectionService>(name, std::move(services), gate);
}

}  // namespace ropeway::server
