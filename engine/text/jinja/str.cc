#include "engine/text/jinja/str.h"

#include <algorithm>
#include <limits>

namespace ropeway::jinja {
namespace {

constexpr int64_t kMaxBufferBytes = std::numeric_limits<uint32_t>::max() / 2;

// What a buffer of `bytes` costs; more than any budget has when 32-bit offsets could not address it.
int64_t AllocationOf(size_t bytes) {
  if (bytes > kMaxBufferBytes) return std::numeric_limits<int64_t>::max();
  return static_cast<int64_t>(bytes + sizeof(StrBuffer));
}

bool IsAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

// Appends `text` with its trust.
void AppendRuns(const Str& text, StrBuffer& buffer) {
  text.ForEachRun([&](std::string_view piece, bool trusted) { buffer.Append(piece, trusted); });
}

}  // namespace

void StrBuffer::Append(std::string_view text, bool trusted) {
  const auto begin = static_cast<uint32_t>(bytes.size());
  bytes.append(text);
  ascii = ascii && IsAscii(text);
  if (trusted || text.empty()) return;
  const auto end = static_cast<uint32_t>(bytes.size());
  if (!untrusted.empty() && untrusted.back().end == begin) {
    untrusted.back().end = end;
  } else {
    untrusted.push_back({begin, end});
  }
}

Str Str::Literal(std::string text) {
  auto buffer = std::make_shared<StrBuffer>();
  buffer->Append(text, /*trusted=*/true);
  buffer->sealed = true;
  return Str(std::move(buffer), 0, text.size());
}

Str Str::Untrusted(std::string text) {
  auto buffer = std::make_shared<StrBuffer>();
  buffer->Append(text, /*trusted=*/false);
  return Str(std::move(buffer), 0, text.size());
}

Str Str::Slice(size_t begin, size_t end) const {
  Str result = *this;
  result.begin_ = begin_ + static_cast<uint32_t>(begin);
  result.size_ = static_cast<uint32_t>(end - begin);
  return result;
}

size_t Str::FirstRangeAfter(uint32_t position) const {
  const auto& ranges = buffer_->untrusted;
  return std::partition_point(ranges.begin(), ranges.end(),
                              [&](const ByteRange& range) { return range.end <= position; }) -
         ranges.begin();
}

bool Str::TrustedAt(size_t offset) const {
  const uint32_t position = begin_ + static_cast<uint32_t>(offset);
  const size_t i = FirstRangeAfter(position);
  return i == buffer_->untrusted.size() || buffer_->untrusted[i].begin > position;
}

Str Concat(const Str& left, const Str& right, Budget& budget) {
  if (left.empty()) return right.WithMarkup(false);
  if (right.empty()) return left.WithMarkup(false);
  const size_t size = left.size() + right.size();
  const StrBuffer& tail = *left.buffer_;
  const bool ends_buffer = !tail.sealed && left.begin_ + left.size_ == tail.bytes.size();
  if (ends_buffer && tail.bytes.size() + right.size() <= tail.bytes.capacity()) {
    budget.Work(static_cast<int64_t>(right.size()));
    AppendRuns(right, *left.buffer_);
    return Str(left.buffer_, left.begin_, size);
  }
  // The second append in a row is taken for a loop, which doubling makes linear.
  const size_t capacity = ends_buffer ? 2 * size : size;
  if (!budget.Allocate(AllocationOf(capacity))) return Str();
  budget.Work(static_cast<int64_t>(size));
  auto buffer = std::make_shared<StrBuffer>();
  buffer->bytes.reserve(capacity);
  AppendRuns(left, *buffer);
  AppendRuns(right, *buffer);
  return Str(std::move(buffer), 0, size);
}

StrBuilder::StrBuilder(Budget& budget) : budget_(budget), buffer_(std::make_shared<StrBuffer>()) {
  budget_.Allocate(AllocationOf(0));
}

bool StrBuilder::Grow(size_t bytes) {
  if (bytes == 0) return false;
  const int64_t needed = AllocationOf(size() + bytes) - AllocationOf(size());
  return budget_.Allocate(needed) && budget_.Work(static_cast<int64_t>(bytes));
}

void StrBuilder::Append(const Str& text) {
  if (Grow(text.size())) AppendRuns(text, *buffer_);
}

void StrBuilder::Append(std::string_view text, bool trusted) {
  if (Grow(text.size())) buffer_->Append(text, trusted);
}

void StrBuilder::Repeat(const Str& text, int64_t times) {
  if (text.empty() || times <= 0) return;
  const auto size = static_cast<int64_t>(text.size());
  if (times > kMaxBufferBytes / size) {
    budget_.Allocate(std::numeric_limits<int64_t>::max());
    return;
  }
  if (!Grow(static_cast<size_t>(size * times))) return;
  buffer_->bytes.reserve(buffer_->bytes.size() + static_cast<size_t>(size * times));
  for (int64_t i = 0; i < times; ++i) AppendRuns(text, *buffer_);
}

Str StrBuilder::Build() {
  const size_t size = buffer_->bytes.size();
  return Str(std::move(buffer_), 0, size);
}

}  // namespace ropeway::jinja
