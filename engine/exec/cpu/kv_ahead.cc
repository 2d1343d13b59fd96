#include "engine/exec/cpu/kv_ahead.h"

#include <algorithm>

#include "engine/base/quad_pages.h"

namespace ropeway {
namespace {

// Whether the pages are the first ones of a quad.
bool IsQuad(absl::Span<const int32_t> pages) {
  for (size_t i = 0; i < pages.size(); ++i)
    if (pages[i] != pages[0] + static_cast<int32_t>(i)) return false;
  return pages[0] % kQuadPages == 0;
}

}  // namespace

void KvAhead::Clear() {
  pieces_.clear();
  all_bytes_ = 0;
  layer_ = nullptr;
}

void KvAhead::AddRow(const kernels::KvLayout& kv, absl::Span<const int32_t> pages) {
  for (size_t i = 0; i < pages.size() && all_bytes_ <= kMostBytes; i += kQuadPages) {
    const absl::Span<const int32_t> quad = pages.subspan(i, kQuadPages);
    // Of a quad with one page in use most would be asked for in vain.
    if (quad.size() < 2 || !IsQuad(quad)) continue;
    const int64_t begin = quad[0] / kQuadPages * kv.quad_bytes;
    all_bytes_ += kv.quad_bytes;
    if (!pieces_.empty() && pieces_.back().begin + pieces_.back().bytes == begin)
      pieces_.back().bytes += kv.quad_bytes;
    else
      pieces_.push_back({begin, kv.quad_bytes});
  }
}

void KvAhead::Begin(const uint8_t* layer, int64_t products) {
  layer_ = all_bytes_ <= kMostBytes ? layer : nullptr;
  all_products_ = products;
  products_ = taken_ = at_ = 0;
  piece_ = 0;
}

absl::Span<const uint8_t> KvAhead::Take(int64_t products) {
  if (layer_ == nullptr || piece_ == pieces_.size()) return {};
  products_ = std::min(products_ + products, all_products_);
  const int64_t due =
      static_cast<int64_t>(static_cast<double>(all_bytes_) * products_ / all_products_) - taken_;
  const Piece& piece = pieces_[piece_];
  const int64_t bytes = std::min(due / 64 * 64, piece.bytes - at_);
  const absl::Span<const uint8_t> some(layer_ + piece.begin + at_, bytes);
  taken_ += bytes;
  at_ += bytes;
  if (at_ == piece.bytes) {
    ++piece_;
    at_ = 0;
  }
  return some;
}

}  // namespace ropeway
