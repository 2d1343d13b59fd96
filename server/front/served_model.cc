#include "server/front/served_model.h"

namespace ropeway::server {

std::vector<TokenId> EndTokenIds(const Tokenizer& tokenizer) {
  std::vector<TokenId> ids;
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) {
    if (tokenizer.IsEndOfGeneration(id)) ids.push_back(id);
  }
  return ids;
}

}  // namespace ropeway::server
