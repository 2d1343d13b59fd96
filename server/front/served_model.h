// What the front end knows of the model that is served: its text side and the facts that it tells.
//
// Immutable once it is served, hence thread-safe.
#ifndef ROPEWAY_SERVER_FRONT_SERVED_MODEL_H_
#define ROPEWAY_SERVER_FRONT_SERVED_MODEL_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/api/token.h"
#include "engine/text/chat_templates.h"
#include "engine/text/sampling_defaults.h"
#include "engine/text/tokenizer.h"

namespace ropeway::server {

// Facts of the model file, as GetModelInfo tells them.
struct ModelFacts {
  std::string name;
  std::string architecture;
  std::string quantization;       // as most weights are held
  std::string file_quantization;  // as the file has them
  std::string rope_scaling;       // in force
  int64_t num_parameters = 0;
  int32_t trained_context_len = 0;
  int32_t num_layers = 0;
  int32_t embedding_dim = 0;
  int32_t num_heads = 0;
  int32_t num_kv_heads = 0;
};

struct ServedModel {
  ModelFacts facts;
  std::unique_ptr<const Tokenizer> tokenizer;  // never null
  std::vector<TokenId> end_token_ids;          // ascending
  SamplingDefaults sampling_defaults;          // of requests that leave them out
  ChatTemplates chat_templates;                // none: chats are refused
  std::string kernels;                         // the set that computes
  int32_t num_threads = 0;
};

// All tokens that end a generation, ascending.
std::vector<TokenId> EndTokenIds(const Tokenizer& tokenizer);

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_FRONT_SERVED_MODEL_H_
