#include "engine/text/charsmap.h"

#include <utf8proc.h>

#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/base/utf8.h"
#include "engine/text/normalize.h"

namespace ropeway {
namespace {

// Real keys are some code points long. A broken trie may lead around in circles; then every step through a text would take as
// long as its rest.
constexpr size_t kMaxKeyBytes = 256;

// A unit of the trie: where its children are, the byte that leads to it, whether a value hangs below it.
uint32_t OffsetOf(uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); }
uint32_t LabelOf(uint32_t unit) { return unit & ((1u << 31) | 0xFFu); }
bool HasValue(uint32_t unit) { return (unit >> 8 & 1) != 0; }
uint32_t ValueOf(uint32_t unit) { return unit & ((1u << 31) - 1); }

uint32_t NumberAt(std::string_view bytes, size_t offset) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value |= uint32_t{static_cast<unsigned char>(bytes[offset + i])} << (8 * i);
  return value;
}

// Bytes of the grapheme cluster at the beginning of `text`.
size_t ClusterBytes(std::string_view text) {
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  const auto size = static_cast<utf8proc_ssize_t>(text.size());
  utf8proc_int32_t previous = 0, next = 0, state = 0;
  utf8proc_ssize_t at = utf8proc_iterate(bytes, size, &previous);
  while (at < size) {
    const utf8proc_ssize_t step = utf8proc_iterate(bytes + at, size - at, &next);
    if (utf8proc_grapheme_break_stateful(previous, next, &state)) break;
    previous = next;
    at += step;
  }
  return static_cast<size_t>(at);
}

}  // namespace

absl::StatusOr<Charsmap> Charsmap::Read(std::string_view bytes) {
  if (bytes.size() < 4) return absl::InvalidArgumentError("is too short");
  const uint32_t size = NumberAt(bytes, 0);
  if (size == 0 || size % 4 != 0 || size > bytes.size() - 4) {
    return absl::InvalidArgumentError(absl::StrCat("has a trie of ", size, " bytes, of ", bytes.size() - 4));
  }
  Charsmap map;
  for (uint32_t i = 0; i < size; i += 4) map.trie_.push_back(NumberAt(bytes, 4 + i));
  map.replacements_ = std::string(bytes.substr(4 + size));
  if (FindInvalidUtf8(map.replacements_) != std::string_view::npos) {
    return absl::InvalidArgumentError("has replacements that are not valid UTF-8");
  }
  return map;
}

template <typename OnKey>
void Charsmap::Walk(std::string_view text, const OnKey& on_key) const {
  uint32_t node = OffsetOf(trie_[0]);
  size_t bytes = 0;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    ++bytes;
    if (byte == 0 || bytes > kMaxKeyBytes) return;
    node ^= byte;
    if (node >= trie_.size() || LabelOf(trie_[node]) != byte) return;
    const bool is_key = HasValue(trie_[node]);
    node ^= OffsetOf(trie_[node]);
    if (node >= trie_.size()) return;
    if (!is_key) continue;
    const uint32_t offset = ValueOf(trie_[node]);
    if (offset >= replacements_.size()) return;
    // A broken table may point into the middle of a character.
    const std::string_view rest = std::string_view(replacements_).substr(offset);
    if ((static_cast<unsigned char>(rest[0]) & 0xC0) == 0x80) return;
    if (!on_key(bytes, rest.substr(0, rest.find('\0')))) return;
  }
}

std::optional<std::string_view> Charsmap::Find(std::string_view text) const {
  std::optional<std::string_view> found;
  Walk(text, [&](size_t, std::string_view replacement) {
    found = replacement;
    return false;
  });
  return found;
}

std::optional<Charsmap::Match> Charsmap::Longest(std::string_view text) const {
  std::optional<Match> found;
  Walk(text, [&](size_t bytes, std::string_view replacement) {
    // A broken table may have keys that end in the middle of a character.
    const bool ends_whole = bytes == text.size() || (static_cast<unsigned char>(text[bytes]) & 0xC0) != 0x80;
    if (ends_whole) found = Match{bytes, replacement};
    return true;
  });
  return found;
}

absl::StatusOr<std::string> Charsmap::Apply(std::string_view text) const {
  constexpr size_t kShortCluster = 6;  // bytes from which a cluster is taken apart
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const std::string_view cluster = text.substr(i, ClusterBytes(text.substr(i)));
    i += cluster.size();
    RETURN_IF_ERROR(CheckGrowth(text.size(), out.size()));
    if (cluster.size() < kShortCluster) {
      if (const auto replacement = Find(cluster)) {
        out += *replacement;
        continue;
      }
    }
    for (size_t j = 0; j < cluster.size();) {
      const std::string_view character = cluster.substr(j, Utf8Length(cluster[j]));
      out += Find(character).value_or(character);
      j += character.size();
    }
  }
  RETURN_IF_ERROR(CheckGrowth(text.size(), out.size()));
  return out;
}

}  // namespace ropeway
