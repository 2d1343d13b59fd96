// How many tokens a page of the KV cache holds: for those who count pages and those who fill them.
#ifndef ROPEWAY_ENGINE_BASE_PAGE_TOKENS_H_
#define ROPEWAY_ENGINE_BASE_PAGE_TOKENS_H_

namespace ropeway {

inline constexpr int kPageTokens = 16;

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_BASE_PAGE_TOKENS_H_
