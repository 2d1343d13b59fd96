#include "server/rpc/reflection.h"

#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/descriptor.pb.h"
#include "grpcpp/grpcpp.h"
#include "proto/grpc/reflection/v1/reflection.grpc.pb.h"
#include "proto/ropeway/v1/ropeway.grpc.pb.h"
#include "server/rpc/rpc_server.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::server {
namespace {

namespace reflection = grpc::reflection::v1;
using ::testing::ElementsAre;

class ReflectionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = RpcServer::Start({.address = "127.0.0.1:0"}, service_);
    ASSERT_OK(server);
    server_ = *std::move(server);
    stub_ = reflection::ServerReflection::NewStub(
        grpc::CreateChannel(absl::StrCat("127.0.0.1:", server_->port()), grpc::InsecureChannelCredentials()));
    stream_ = stub_->ServerReflectionInfo(&call_);
  }
  void TearDown() override {
    stream_->WritesDone();
    EXPECT_TRUE(stream_->Finish().ok());
    server_->Shutdown(absl::ZeroDuration());
  }

  reflection::ServerReflectionResponse Ask(const reflection::ServerReflectionRequest& request) {
    reflection::ServerReflectionResponse response;
    EXPECT_TRUE(stream_->Write(request));
    EXPECT_TRUE(stream_->Read(&response));
    return response;
  }
  reflection::ServerReflectionResponse AskForSymbol(const std::string& name) {
    reflection::ServerReflectionRequest request;
    request.set_file_containing_symbol(name);
    return Ask(request);
  }

  v1::Ropeway::CallbackService service_;
  std::unique_ptr<RpcServer> server_;
  std::unique_ptr<reflection::ServerReflection::Stub> stub_;
  grpc::ClientContext call_;
  std::unique_ptr<
      grpc::ClientReaderWriter<reflection::ServerReflectionRequest, reflection::ServerReflectionResponse>>
      stream_;
};

TEST_F(ReflectionTest, ListsTheServices) {
  reflection::ServerReflectionRequest request;
  request.set_list_services("*");
  std::vector<std::string> names;
  const auto response = Ask(request);
  for (const auto& service : response.list_services_response().service()) names.push_back(service.name());
  EXPECT_THAT(
      names, ElementsAre("ropeway.v1.Ropeway", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection",
                         "grpc.reflection.v1alpha.ServerReflection"));
}

// From the answer alone, a client can build what it needs to call the service.
TEST_F(ReflectionTest, AFileComesWithAllThatItImports) {
  for (const std::string service : {"ropeway.v1.Ropeway", kReflectionService, kOldReflectionService}) {
    const auto response = AskForSymbol(service);
    google::protobuf::DescriptorPool pool;
    const auto& files = response.file_descriptor_response().file_descriptor_proto();
    ASSERT_GT(files.size(), 0) << response.DebugString();
    for (auto bytes = files.rbegin(); bytes != files.rend(); ++bytes) {
      google::protobuf::FileDescriptorProto file;
      ASSERT_TRUE(file.ParseFromString(*bytes));
      EXPECT_NE(pool.BuildFile(file), nullptr) << file.name();
    }
    ASSERT_NE(pool.FindServiceByName(service), nullptr);
    EXPECT_GT(pool.FindServiceByName(service)->method_count(), 0);
  }
}

TEST_F(ReflectionTest, AFileIsFoundByItsName) {
  reflection::ServerReflectionRequest request;
  request.set_file_by_filename("proto/ropeway/v1/ropeway.proto");
  EXPECT_EQ(Ask(request).file_descriptor_response().file_descriptor_proto_size(), 1);
  request.set_file_by_filename("no such file");
  EXPECT_EQ(Ask(request).error_response().error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(ReflectionTest, WhatIsNotThereIsAnError) {
  EXPECT_EQ(AskForSymbol("no.such.Thing").error_response().error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Ask({}).error_response().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  reflection::ServerReflectionRequest extension;
  extension.mutable_file_containing_extension()->set_containing_type("ropeway.v1.GenerateRequest");
  EXPECT_EQ(Ask(extension).error_response().error_code(), grpc::StatusCode::NOT_FOUND);
  reflection::ServerReflectionRequest numbers;
  numbers.set_all_extension_numbers_of_type("ropeway.v1.GenerateRequest");
  EXPECT_EQ(Ask(numbers).all_extension_numbers_response().base_type_name(), "ropeway.v1.GenerateRequest");
}

}  // namespace
}  // namespace ropeway::server
