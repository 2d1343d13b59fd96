// Messages to and from the bytes of a call.
//
// Calls are taken as bytes and parsed here instead of by gRPC, since gRPC answers a message that does not
// parse (a string that is not UTF-8 is enough) with a status that names neither the field nor the fault, and
// one that is too large as if the server were full, before anybody can count it. (It has it whole in memory
// by then; what bounds that is the quota of rpc_server.h.)
#ifndef ROPEWAY_SERVER_RPC_WIRE_H_
#define ROPEWAY_SERVER_RPC_WIRE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/message.h"
#include "grpcpp/support/byte_buffer.h"

namespace ropeway::server {

// Fills `message` from `buffer`. INVALID_ARGUMENT with the limit where it has more than `max_bytes`, with the
// field that is not UTF-8, or with the type that does not parse.
absl::Status ParseMessage(const grpc::ByteBuffer& buffer, int64_t max_bytes,
                          google::protobuf::Message& message);

template <typename M>
absl::StatusOr<M> ParseMessage(const grpc::ByteBuffer& buffer, int64_t max_bytes) {
  M message;
  if (absl::Status status = ParseMessage(buffer, max_bytes, message); !status.ok()) return status;
  return message;
}

grpc::ByteBuffer SerializeMessage(const google::protobuf::Message& message);

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_RPC_WIRE_H_
