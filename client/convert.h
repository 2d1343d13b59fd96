// Between the client's plain structs and the wire: pure functions.
#ifndef ROPEWAY_CLIENT_CONVERT_H_
#define ROPEWAY_CLIENT_CONVERT_H_

#include "client/types.h"
#include "proto/ropeway/v1/ropeway.pb.h"

namespace ropeway::client {

v1::GenerateRequest ToWire(const Request& request);
v1::ChatInput ToWire(const ChatPrompt& prompt);
v1::TextInput ToWire(const TextPrompt& prompt);

Delta FromWire(const v1::GenerateChunk& chunk);
PromptEcho FromWire(const v1::PromptEcho& echo);
Usage FromWire(const v1::Usage& usage);
Receipt FromWire(const v1::Receipt& receipt);
ModelInfo FromWire(const v1::GetModelInfoResponse& info);
Estimate FromWire(const v1::EstimateResponse& estimate);
ServerInfo FromWire(const v1::GetServerInfoResponse& info);

}  // namespace ropeway::client

#endif  // ROPEWAY_CLIENT_CONVERT_H_
