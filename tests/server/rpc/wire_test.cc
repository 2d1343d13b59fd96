#include "server/rpc/wire.h"

#include <string>

#include "proto/ropeway/v1/ropeway.pb.h"
#include "server/rpc/status_map.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::server {
namespace {

using ::ropeway::testing::StatusIs;

grpc::ByteBuffer Bytes(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

constexpr int64_t kMaxBytes = 100;

absl::StatusOr<v1::GenerateRequest> Parse(const grpc::ByteBuffer& buffer) {
  return ParseMessage<v1::GenerateRequest>(buffer, kMaxBytes);
}

TEST(WireTest, AMessageComesBack) {
  v1::GenerateRequest message;
  message.mutable_text()->set_text("hä");
  message.mutable_sampling()->set_seed(7);
  ASSERT_OK_AND_ASSIGN(const auto parsed, Parse(SerializeMessage(message)));
  EXPECT_EQ(parsed.text().text(), "hä");
  EXPECT_EQ(parsed.sampling().seed(), 7);
  EXPECT_OK(Parse(Bytes("")).status());
}

TEST(WireTest, NamesTheFieldThatIsNotUtf8) {
  v1::GenerateRequest message;
  message.mutable_stopping()->add_strings("fine");
  message.mutable_stopping()->add_strings("\xff\xfe");
  EXPECT_THAT(Parse(SerializeMessage(message)),
              StatusIs(absl::StatusCode::kInvalidArgument, "stopping.strings must be valid UTF-8"));
  message.Clear();
  message.mutable_chat()->add_messages()->mutable_parts()->add_parts()->set_text("\xc3");
  EXPECT_THAT(
      Parse(SerializeMessage(message)),
      StatusIs(absl::StatusCode::kInvalidArgument, "chat.messages.parts.parts.text must be valid UTF-8"));
}

TEST(WireTest, NamesTheLimitOfALargeMessage) {
  v1::GenerateRequest message;
  message.mutable_text()->set_text(std::string(96, 'a'));  // and four bytes of tags and lengths
  EXPECT_OK(Parse(SerializeMessage(message)).status());
  message.mutable_text()->set_text(std::string(97, 'a'));
  EXPECT_THAT(Parse(SerializeMessage(message)),
              StatusIs(absl::StatusCode::kInvalidArgument, "the request must be at most 100 bytes, is 101"));
}

TEST(WireTest, RefusesWhatIsNoMessage) {
  EXPECT_THAT(Parse(Bytes("\x0a\xff\xff")),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "the request does not parse as ropeway.v1.GenerateRequest"));
}

TEST(StatusMapTest, CodesAndMessagesStay) {
  const grpc::Status status = ToGrpcStatus(absl::ResourceExhaustedError("full"));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(status.error_message(), "full");
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
  for (int code = 1; code <= 16; ++code) {
    EXPECT_EQ(ToGrpcStatus(absl::Status(static_cast<absl::StatusCode>(code), "")).error_code(), code);
  }
}

}  // namespace
}  // namespace ropeway::server
