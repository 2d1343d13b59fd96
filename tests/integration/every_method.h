// Every method of every service that is compiled in, and a way to ask it without knowing its messages.
#ifndef ROPEWAY_TESTS_INTEGRATION_EVERY_METHOD_H_
#define ROPEWAY_TESTS_INTEGRATION_EVERY_METHOD_H_

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "proto/grpc/health/v1/health.pb.h"
#include "proto/grpc/reflection/v1/reflection.pb.h"
#include "proto/ropeway/v1/ropeway.pb.h"

namespace ropeway::testing {

// "/package.Service/Method" of all methods of the files of `services` and of those that each server has beside:
// health and both reflections; and some that do not exist.
inline std::vector<std::string> EveryMethod(std::vector<std::string> services) {
  services.insert(services.end(), {"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"});
  grpc::health::v1::HealthCheckRequest::descriptor();
  grpc::reflection::v1::ServerReflectionRequest::descriptor();
  std::vector<std::string> methods = {"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                                      "/ropeway.v1.Ropeway/NoSuchMethod", "/no.such.Service/Method", "/x"};
  for (const std::string& name : services) {
    const auto* service = google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(name);
    EXPECT_NE(service, nullptr) << name;
    for (int i = 0; service != nullptr && i < service->method_count(); ++i)
      methods.push_back(absl::StrCat("/", name, "/", service->method(i)->name()));
  }
  return methods;
}

struct MethodAnswer {
  grpc::Status status;
  int messages = 0;

  // Whether somebody without a key was told nothing.
  bool is_closed() const {
    return messages == 0 && status.error_code() == grpc::StatusCode::UNAUTHENTICATED &&
           status.error_message() == "not authenticated";
  }
};

// Sends an empty message, and says that there are no more; reads all that is answered, for some seconds.
inline MethodAnswer AskMethod(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                              const std::string& authorization) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  if (!authorization.empty()) context.AddMetadata("authorization", authorization);
  grpc::CompletionQueue queue;
  const auto call = stub.PrepareCall(&context, method, &queue);
  const auto wait = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  MethodAnswer answer;
  call->StartCall(nullptr);
  wait();
  const grpc::Slice empty;
  grpc::ByteBuffer request(&empty, 1), response;
  call->WriteLast(request, grpc::WriteOptions(), nullptr);
  wait();
  for (call->Read(&response, nullptr); wait(); call->Read(&response, nullptr)) ++answer.messages;
  call->Finish(&answer.status, nullptr);
  wait();
  return answer;
}

}  // namespace ropeway::testing

#endif  // ROPEWAY_TESTS_INTEGRATION_EVERY_METHOD_H_
