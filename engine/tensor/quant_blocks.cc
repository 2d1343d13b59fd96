#include "engine/tensor/quant_blocks.h"

#include <array>
#include <cstring>

#include "engine/base/check.h"

namespace ropeway {
namespace {

// The 6-bit scale and min of part j (0..7) of a Q4_K or Q5_K block: parts 0..3 lie in the low six bits of
// bytes j and j + 4, parts 4..7 in nibbles of bytes j + 4 and the two high bits of bytes j - 4 and j.
struct ScaleMin {
  uint8_t scale, min;
};
constexpr ScaleMin ScaleMinOf(const uint8_t* scales, int j) {
  if (j < 4) return {static_cast<uint8_t>(scales[j] & 63), static_cast<uint8_t>(scales[j + 4] & 63)};
  return {static_cast<uint8_t>((scales[j + 4] & 15) | (scales[j - 4] >> 6) << 4),
          static_cast<uint8_t>((scales[j + 4] >> 4) | (scales[j] >> 6) << 4)};
}

// The 6-bit scale of part j (0..15) of a Q3_K block, zero at 32: four low bits in nibbles of bytes 0..7, two
// high bits in bytes 8..11.
constexpr int ScaleQ3K(const uint8_t* scales, int j) {
  const int low = j < 8 ? scales[j] & 15 : scales[j - 8] >> 4;
  const int high = scales[8 + j % 4] >> (2 * (j / 4)) & 3;
  return low | high << 4;
}

void ReadNibbles(const uint8_t* qs, int half, uint8_t* codes) {
  for (int i = 0; i < half; ++i) {
    codes[i] = qs[i] & 15;
    codes[half + i] = qs[i] >> 4;
  }
}

// The fifth bits of the codes of a 5-bit block.
void AddFifthBits(const uint8_t* qh, uint8_t* codes) {
  for (int i = 0; i < 32; ++i) codes[i] = static_cast<uint8_t>(codes[i] | (qh[i / 8] >> (i % 8) & 1) << 4);
}

void Decode(const BlockQ4_0& b, QuantBlock& block) {
  ReadNibbles(b.qs, 16, block.codes);
  block.d = b.d;
}

void Decode(const BlockQ4_1& b, QuantBlock& block) {
  ReadNibbles(b.qs, 16, block.codes);
  block.d = b.d;
  block.m = b.m;
}

void Decode(const BlockQ5_0& b, QuantBlock& block) {
  ReadNibbles(b.qs, 16, block.codes);
  AddFifthBits(b.qh, block.codes);
  block.d = b.d;
}

void Decode(const BlockQ5_1& b, QuantBlock& block) {
  ReadNibbles(b.qs, 16, block.codes);
  AddFifthBits(b.qh, block.codes);
  block.d = b.d;
  block.m = b.m;
}

void Decode(const BlockQ8_0& b, QuantBlock& block) {
  for (int i = 0; i < 32; ++i) block.codes[i] = static_cast<uint8_t>(b.qs[i] + 128);
  block.d = b.d;
}

// The two low bits of column i of a Q2_K or Q3_K block.
int TwoBits(const uint8_t* qs, int i) { return qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3; }

void Decode(const BlockQ2_K& b, QuantBlock& block) {
  for (int i = 0; i < 256; ++i) block.codes[i] = static_cast<uint8_t>(TwoBits(b.qs, i));
  std::memcpy(block.scales, b.scales, sizeof b.scales);
  block.d = b.d;
  block.m = b.dmin;
}

// Codes 0..7 around 4, scales -32..31 as int8.
void Decode(const BlockQ3_K& b, QuantBlock& block) {
  for (int i = 0; i < 256; ++i) {
    const int high = b.hmask[i % 32] >> (i / 32) & 1;
    block.codes[i] = static_cast<uint8_t>(TwoBits(b.qs, i) | high << 2);
  }
  for (int part = 0; part < 16; ++part)
    block.scales[part] = static_cast<uint8_t>(ScaleQ3K(b.scales, part) - 32);
  block.d = b.d;
}

void ReadScalesAndMins(const uint8_t* scales, QuantBlock& block) {
  for (int part = 0; part < 8; ++part) {
    const ScaleMin s = ScaleMinOf(scales, part);
    block.scales[part] = s.scale;
    block.mins[part] = s.min;
  }
}

void Decode(const BlockQ4_K& b, QuantBlock& block) {
  for (int i = 0; i < 4; ++i) ReadNibbles(b.qs + 32 * i, 32, block.codes + 64 * i);
  ReadScalesAndMins(b.scales, block);
  block.d = b.d;
  block.m = b.dmin;
}

void Decode(const BlockQ5_K& b, QuantBlock& block) {
  for (int i = 0; i < 4; ++i) ReadNibbles(b.qs + 32 * i, 32, block.codes + 64 * i);
  for (int i = 0; i < 256; ++i)
    block.codes[i] = static_cast<uint8_t>(block.codes[i] | (b.qh[i % 32] >> (i / 32) & 1) << 4);
  ReadScalesAndMins(b.scales, block);
  block.d = b.d;
  block.m = b.dmin;
}

void Decode(const BlockQ6_K& b, QuantBlock& block) {
  for (int i = 0; i < 256; ++i) {
    const int run = i / 128, quarter = i % 128 / 32, column = i % 32;
    const int low = b.ql[run * 64 + quarter % 2 * 32 + column] >> (quarter / 2 * 4) & 15;
    const int high = b.qh[run * 32 + column] >> (quarter * 2) & 3;
    block.codes[i] = static_cast<uint8_t>(low | high << 4);
  }
  std::memcpy(block.scales, b.scales, sizeof b.scales);
  block.d = b.d;
}

void Decode(const BlockIQ4_NL& b, QuantBlock& block) {
  ReadNibbles(b.qs, 16, block.codes);
  block.d = b.d;
}

// Scales -32..31 as int8, the same for both halves of 32 columns.
void Decode(const BlockIQ4_XS& b, QuantBlock& block) {
  for (int part = 0; part < 8; ++part) {
    ReadNibbles(b.qs + 16 * part, 16, block.codes + 32 * part);
    const int low = b.scales_l[part / 2] >> (part % 2 * 4) & 15, high = b.scales_h >> (2 * part) & 3;
    block.scales[2 * part] = block.scales[2 * part + 1] = static_cast<uint8_t>((low | high << 4) - 32);
  }
  block.d = b.d;
}

// A power of two as bf16, which has the same exponents: the two least are denormal there.
void Decode(const BlockMXFP4& b, QuantBlock& block) {
  ReadNibbles(b.qs, 16, block.codes);
  block.d = static_cast<uint16_t>(b.e < 2 ? 0x20 << b.e : (b.e - 1) << 7);
}

using DecodeFunction = void (*)(const uint8_t* bytes, QuantBlock& block);
using DecoderTable = std::array<DecodeFunction, kNumDTypes>;

template <typename FileBlock>
void DecodeAs(const uint8_t* bytes, QuantBlock& block) {
  static_assert(sizeof(FileBlock) == kInfoOf<FileBlock::kType>.block_bytes);
  FileBlock file;
  std::memcpy(&file, bytes, sizeof file);
  Decode(file, block);
}

template <typename... FileBlocks>
struct DecodersOf {
  static constexpr bool Has(DType type) { return ((FileBlocks::kType == type) || ...); }

  static constexpr DecoderTable Table() {
    DecoderTable table = {};
    ((table[static_cast<int>(FileBlocks::kType)] = &DecodeAs<FileBlocks>), ...);
    return table;
  }
};

using Decoders = DecodersOf<BlockQ4_0, BlockQ4_1, BlockQ5_0, BlockQ5_1, BlockQ8_0, BlockQ2_K, BlockQ3_K,
                            BlockQ4_K, BlockQ5_K, BlockQ6_K, BlockIQ4_NL, BlockIQ4_XS, BlockMXFP4>;
constexpr DecoderTable kDecoders = Decoders::Table();

// By the types: addresses of functions are no constants to a compiler that instruments them.
constexpr bool AllHaveDecoders() {
  for (int i = 0; i < kNumDTypes; ++i)
    if ((kDTypes[i].code.low_bits != 0) != Decoders::Has(static_cast<DType>(i))) return false;
  return true;
}
static_assert(AllHaveDecoders(), "every quantised type, and no other, has a block");

}  // namespace

void DecodeBlock(DType type, const uint8_t* bytes, QuantBlock& block) {
  const DecodeFunction decode = kDecoders[static_cast<int>(type)];
  ROPEWAY_CHECK(decode != nullptr);
  decode(bytes, block);
}

}  // namespace ropeway
