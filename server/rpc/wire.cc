#include "server/rpc/wire.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/stubs/common.h"
#include "google/protobuf/unknown_field_set.h"
#include "grpcpp/impl/codegen/proto_utils.h"

namespace ropeway::server {
namespace {

namespace pb = google::protobuf;

std::string FlatBytes(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (!buffer.Dump(&slices).ok()) return bytes;
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

// The path of the first string field that is not UTF-8; empty where there is none. Ends, since the types of
// requests do not contain themselves.
std::string FindInvalidUtf8(const std::string& bytes, const pb::Descriptor& type) {
  pb::UnknownFieldSet fields;
  if (!fields.ParseFromString(bytes)) return "";
  for (int i = 0; i < fields.field_count(); ++i) {
    const pb::UnknownField& field = fields.field(i);
    const pb::FieldDescriptor* known = type.FindFieldByNumber(field.number());
    if (known == nullptr || field.type() != pb::UnknownField::TYPE_LENGTH_DELIMITED) continue;
    const std::string& value = field.length_delimited();
    if (known->type() == pb::FieldDescriptor::TYPE_STRING &&
        !pb::internal::IsStructurallyValidUTF8(value.data(), static_cast<int>(value.size()))) {
      return known->name();
    }
    if (known->type() != pb::FieldDescriptor::TYPE_MESSAGE) continue;
    const std::string inner = FindInvalidUtf8(value, *known->message_type());
    if (!inner.empty()) return absl::StrCat(known->name(), ".", inner);
  }
  return "";
}

}  // namespace

absl::Status ParseMessage(const grpc::ByteBuffer& buffer, int64_t max_bytes, pb::Message& message) {
  if (buffer.Length() > static_cast<size_t>(max_bytes)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the request must be at most ", max_bytes, " bytes, is ", buffer.Length()));
  }
  grpc::ByteBuffer consumed = buffer;  // shares the bytes
  if (grpc::GenericDeserialize<grpc::ProtoBufferReader, pb::Message>(&consumed, &message).ok()) {
    return absl::OkStatus();
  }
  const pb::Descriptor& type = *message.GetDescriptor();
  const std::string field = FindInvalidUtf8(FlatBytes(buffer), type);
  if (!field.empty()) return absl::InvalidArgumentError(absl::StrCat(field, " must be valid UTF-8"));
  return absl::InvalidArgumentError(absl::StrCat("the request does not parse as ", type.full_name()));
}

grpc::ByteBuffer SerializeMessage(const pb::Message& message) {
  grpc::ByteBuffer buffer;
  bool own_buffer = false;
  const grpc::Status status =
      grpc::GenericSerialize<grpc::ProtoBufferWriter, pb::Message>(message, &buffer, &own_buffer);
  ROPEWAY_CHECK(status.ok());
  return buffer;
}

}  // namespace ropeway::server
