// Text that knows where it came from.
//
// Str is an immutable piece of UTF-8 with, for each byte, whether a template wrote it (trusted) or a request
// did. Pieces share their bytes: slicing copies nothing, and appending to the piece that ends its buffer
// happens in place, so that building a text in a loop takes linear time. Bytes once in a buffer never move or
// change.
//
// Thread-safe when sealed (the literals of a template are); other pieces belong to one rendering.
#ifndef ROPEWAY_ENGINE_TEXT_JINJA_STR_H_
#define ROPEWAY_ENGINE_TEXT_JINJA_STR_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/text/jinja/budget.h"

namespace ropeway::jinja {

// Bytes [begin, end) of a buffer.
struct ByteRange {
  uint32_t begin;
  uint32_t end;
};

struct StrBuffer {
  std::string bytes;                 // appended to only within its capacity once a Str shows it
  std::vector<ByteRange> untrusted;  // sorted, disjoint and not adjacent
  bool ascii = true;
  bool sealed = false;  // never appended to any more

  void Append(std::string_view text, bool trusted);
};

class Str {
 public:
  Str() = default;  // empty

  // REQUIRES, here and below: valid UTF-8, fewer than 2^32 bytes.
  static Str Literal(std::string text);  // trusted and sealed
  static Str Untrusted(std::string text);

  std::string_view view() const {
    return buffer_ == nullptr ? std::string_view() : std::string_view(buffer_->bytes).substr(begin_, size_);
  }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  // False only says that a scan is needed.
  bool known_ascii() const { return buffer_ == nullptr || buffer_->ascii; }

  // Bytes [begin, end), which must be on code point boundaries.
  Str Slice(size_t begin, size_t end) const;
  Str From(size_t begin) const { return Slice(begin, size_); }

  // Markup, the result of `safe` and `escape`, escapes other text that is joined to it.
  bool markup() const { return markup_; }
  Str WithMarkup(bool markup) const {
    Str result = *this;
    result.markup_ = markup;
    return result;
  }

  // Calls visit(std::string_view piece, bool trusted) for the longest pieces of one kind, in order.
  template <typename Visit>
  void ForEachRun(Visit&& visit) const;

  // The trust of the byte at `offset`.
  bool TrustedAt(size_t offset) const;

 private:
  friend class StrBuilder;
  friend Str Concat(const Str& left, const Str& right, Budget& budget);
  Str(std::shared_ptr<StrBuffer> buffer, size_t begin, size_t size)
      : buffer_(std::move(buffer)),
        begin_(static_cast<uint32_t>(begin)),
        size_(static_cast<uint32_t>(size)) {}

  // The first of the buffer's untrusted ranges that ends after `position` (of the buffer).
  size_t FirstRangeAfter(uint32_t position) const;

  std::shared_ptr<StrBuffer> buffer_;
  uint32_t begin_ = 0;
  uint32_t size_ = 0;
  bool markup_ = false;
};

// Amortised O(right) when `left` ends its buffer. The result is not markup.
Str Concat(const Str& left, const Str& right, Budget& budget);

// Appends pieces. When the budget runs out it stops growing.
class StrBuilder {
 public:
  explicit StrBuilder(Budget& budget);

  void Append(const Str& text);
  void Append(std::string_view text, bool trusted);
  void AppendTrusted(std::string_view text) { Append(text, true); }
  void Repeat(const Str& text, int64_t times);

  size_t size() const { return buffer_->bytes.size(); }
  Budget& budget() { return budget_; }
  // What was appended so far; the builder must not be used afterwards.
  Str Build();

 private:
  bool Grow(size_t bytes);

  Budget& budget_;
  std::shared_ptr<StrBuffer> buffer_;
};

template <typename Visit>
void Str::ForEachRun(Visit&& visit) const {
  if (size_ == 0) return;
  const std::string_view bytes = buffer_->bytes;
  const uint32_t end = begin_ + size_;
  uint32_t position = begin_;
  for (size_t i = FirstRangeAfter(begin_); position < end; ++i) {
    const bool none_left = i == buffer_->untrusted.size() || buffer_->untrusted[i].begin >= end;
    const uint32_t range_begin = none_left ? end : buffer_->untrusted[i].begin;
    if (range_begin > position) visit(bytes.substr(position, range_begin - position), true);
    if (none_left) return;
    position = std::max(position, range_begin);
    const uint32_t range_end = std::min(buffer_->untrusted[i].end, end);
    visit(bytes.substr(position, range_end - position), false);
    position = range_end;
  }
}

}  // namespace ropeway::jinja

#endif  // ROPEWAY_ENGINE_TEXT_JINJA_STR_H_
