// What the engine says, from its stream to the wire. Pure functions; thread-safe.
#ifndef ROPEWAY_SERVER_FRONT_CONVERT_CHUNK_H_
#define ROPEWAY_SERVER_FRONT_CONVERT_CHUNK_H_

#include <cstdint>
#include <string>
#include <vector>

#include "engine/api/token.h"
#include "engine/text/tokenizer.h"
#include "proto/ropeway/v1/ropeway.pb.h"
#include "server/stream/token_stream.h"

namespace ropeway::server {

// What the messages of one request have in common.
struct ChunkContext {
  std::string name;
  uint64_t seed = 0;
  bool echo = false;
  std::vector<TokenId> prompt;  // where it is echoed or its log-probabilities are asked for
};

// `first` is true for the first message of a call, which names the request and echoes its prompt.
v1::GenerateChunk ConvertChunk(StreamChunk chunk, const ChunkContext& context, const Tokenizer& tokenizer,
                               bool first);

// Adds `chunk` to the answer of a unary call.
void MergeChunk(v1::GenerateChunk chunk, v1::GenerateResponse& response);

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_FRONT_CONVERT_CHUNK_H_
