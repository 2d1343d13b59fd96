#include "engine/text/special_tokens.h"

namespace ropeway {

SpecialTokens::SpecialTokens(const Vocabulary& vocabulary) {
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    const bool control = vocabulary.type(id) == TokenType::kControl;
    if (!control && vocabulary.type(id) != TokenType::kUserDefined) continue;
    if (vocabulary.text(id).empty() || vocabulary.IsFiller(id)) continue;
    Add(vocabulary.text(id), id, control);
  }
}

void SpecialTokens::Add(std::string_view text, TokenId id, bool control) {
  begins_[static_cast<uint8_t>(text[0])] = true;
  uint32_t node = 0;
  for (char byte : text) {
    const auto next = static_cast<uint32_t>(nodes_.size());
    const auto [edge, fresh] = edges_.try_emplace(uint64_t{node} << 8 | static_cast<uint8_t>(byte), next);
    node = edge->second;
    if (fresh) nodes_.emplace_back();
  }
  TokenId& place = control ? nodes_[node].control : nodes_[node].user_defined;
  if (place == kNoToken) place = id;
}

SpecialTokens::Match SpecialTokens::At(std::string_view text, size_t offset, size_t control_limit) const {
  Match best;
  if (!begins_[static_cast<uint8_t>(text[offset])]) return best;
  uint32_t node = 0;
  for (size_t i = offset; i < text.size(); ++i) {
    const auto edge = edges_.find(uint64_t{node} << 8 | static_cast<uint8_t>(text[i]));
    if (edge == edges_.end()) break;
    node = edge->second;
    const Node& here = nodes_[node];
    if (here.control != kNoToken && i < control_limit)
      best = {i + 1 - offset, here.control};
    else if (here.user_defined != kNoToken)
      best = {i + 1 - offset, here.user_defined};
  }
  return best;
}

}  // namespace ropeway
