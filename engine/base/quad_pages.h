// How many pages of the KV cache lie together: for those who give pages out and those who fill them.
#ifndef ROPEWAY_ENGINE_BASE_QUAD_PAGES_H_
#define ROPEWAY_ENGINE_BASE_QUAD_PAGES_H_

namespace ropeway {

// Pages 4 i to 4 i + 3 are a quad. Attention takes as many positions at a time.
inline constexpr int kQuadPages = 4;

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_BASE_QUAD_PAGES_H_
