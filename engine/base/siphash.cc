#include "engine/base/siphash.h"

#include <bit>

namespace ropeway {
namespace {

struct State {
  uint64_t v0, v1, v2, v3;

  void Rounds(int count) {
    for (int i = 0; i < count; ++i) {
      v0 += v1;
      v1 = std::rotl(v1, 13) ^ v0;
      v0 = std::rotl(v0, 32);
      v2 += v3;
      v3 = std::rotl(v3, 16) ^ v2;
      v0 += v3;
      v3 = std::rotl(v3, 21) ^ v0;
      v2 += v1;
      v1 = std::rotl(v1, 17) ^ v2;
      v2 = std::rotl(v2, 32);
    }
  }

  void Absorb(uint64_t word) {
    v3 ^= word;
    Rounds(2);
    v0 ^= word;
  }

  uint64_t Squeeze() {
    Rounds(4);
    return v0 ^ v1 ^ v2 ^ v3;
  }
};

}  // namespace

Hash128 SipHash128(const Hash128& key, absl::Span<const uint64_t> words) {
  State state{.v0 = 0x736f6d6570736575u ^ key[0],
              .v1 = 0x646f72616e646f6du ^ key[1] ^ 0xee,
              .v2 = 0x6c7967656e657261u ^ key[0],
              .v3 = 0x7465646279746573u ^ key[1]};
  for (const uint64_t word : words) state.Absorb(word);
  // The last block has the length in bytes, modulo 256, in its highest byte.
  state.Absorb(uint64_t{words.size() * 8 & 0xff} << 56);
  Hash128 hash;
  state.v2 ^= 0xee;
  hash[0] = state.Squeeze();
  state.v1 ^= 0xdd;
  hash[1] = state.Squeeze();
  return hash;
}

}  // namespace ropeway
