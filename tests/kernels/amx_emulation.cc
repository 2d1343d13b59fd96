#include "tests/kernels/amx_emulation.h"

#include <cpuid.h>
#include <ucontext.h>
#include <xmmintrin.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace ropeway::kernels {
namespace {

constexpr int kTiles = 8, kRows = 16, kRowBytes = 64;

struct Config {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};
static_assert(sizeof(Config) == 64);

struct State {
  Config config;
  uint8_t tile[kTiles][kRows][kRowBytes];
};
int64_t num_products = 0;
State state;

// An instruction with a three-byte VEX prefix: C4, [~R ~X ~B m m m m m], [W ~v ~v ~v ~v L p p], opcode, ModRM,
// SIB, displacement.
struct Instruction {
  int prefix;  // pp: 0 none, 2 F3, 3 F2
  int opcode, reg, rm, vvvv;
  bool in_memory;
  int64_t address, stride;  // of memory
  int bytes;
};

int64_t RegisterOf(const ucontext_t& context, int number) {
  constexpr int kOrder[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                              REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  return context.uc_mcontext.gregs[kOrder[number]];
}

// Base, index and displacement, from the byte after ModRM on; returns how many bytes they take.
int DecodeMemory(const ucontext_t& context, const uint8_t* code, int mod, Instruction& in) {
  const bool x = !(code[1] & 0x40), b = !(code[1] & 0x20);
  const uint8_t* next = code + 5;
  int base = in.rm | b << 3;
  in.stride = 0;
  bool no_base = false, relative = false;
  if (in.rm == 4) {
    const uint8_t sib = *next++;
    base = (sib & 7) | b << 3;
    no_base = (sib & 7) == 5 && mod == 0;
    const int index = (sib >> 3 & 7) | x << 3;
    if (index != 4) in.stride = RegisterOf(context, index) << (sib >> 6);
  } else if (in.rm == 5 && mod == 0) {
    relative = true;
  }
  int32_t displacement = 0;
  if (mod == 1) displacement = static_cast<int8_t>(*next++);
  if (mod == 2 || no_base || relative) {
    std::memcpy(&displacement, next, 4);
    next += 4;
  }
  in.address = displacement;
  if (relative)
    in.address += reinterpret_cast<int64_t>(next);
  else if (!no_base)
    in.address += RegisterOf(context, base);
  return static_cast<int>(next - (code + 5));
}

// False where it is none of AMX.
bool Decode(const ucontext_t& context, Instruction& in) {
  const auto* code = reinterpret_cast<const uint8_t*>(context.uc_mcontext.gregs[REG_RIP]);
  if (code[0] != 0xC4 || (code[1] & 0x1F) != 2) return false;
  in.prefix = code[2] & 3;
  in.vvvv = ~(code[2] >> 3) & 15;
  in.opcode = code[3];
  if (in.opcode != 0x49 && in.opcode != 0x4B && in.opcode != 0x5C && in.opcode != 0x5E) return false;
  const int mod = code[4] >> 6;
  in.reg = code[4] >> 3 & 7;
  in.rm = code[4] & 7;
  in.in_memory = mod != 3;
  in.bytes = 5 + (in.in_memory ? DecodeMemory(context, code, mod, in) : 0);
  return true;
}

template <typename T>
T At(int tile, int row, int column) {
  T value;
  std::memcpy(&value, &state.tile[tile][row][column * sizeof(T)], sizeof(T));
  return value;
}

float Bf16At(int tile, int row, int column) {
  const uint32_t bits = uint32_t{At<uint16_t>(tile, row, column)} << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

// c += (chain of the firsts of the pairs) + (chain of the seconds)
float DotBf16(int a, int b, int m, int n, float c) {
  float even = 0, odd = 0;
  for (int k = 0; k < state.config.row_bytes[a] / 4; ++k) {
    even = std::fma(Bf16At(a, m, 2 * k), Bf16At(b, k, 2 * n), even);
    odd = std::fma(Bf16At(a, m, 2 * k + 1), Bf16At(b, k, 2 * n + 1), odd);
  }
  return c + (even + odd);
}

int32_t DotInt8(int a, int b, int m, int n, int32_t c) {
  for (int k = 0; k < state.config.row_bytes[a] / 4; ++k)
    for (int i = 0; i < 4; ++i) c += int32_t{At<int8_t>(a, m, 4 * k + i)} * At<int8_t>(b, k, 4 * n + i);
  return c;
}

// sums = dot(a, b, m, n, sums) for all of a tile.
template <typename T, typename Dot>
void ForSums(int sums, const Dot& dot) {
  uint8_t result[kRows][kRowBytes] = {};
  for (int m = 0; m < state.config.rows[sums]; ++m)
    for (int n = 0; n < state.config.row_bytes[sums] / 4; ++n) {
      const T value = dot(m, n, At<T>(sums, m, n));
      std::memcpy(&result[m][n * 4], &value, 4);
    }
  std::memcpy(state.tile[sums], result, sizeof(result));
  ++num_products;
}

void Move(const Instruction& in, bool load) {
  if (load) std::memset(state.tile[in.reg], 0, sizeof(state.tile[in.reg]));
  for (int row = 0; row < state.config.rows[in.reg]; ++row) {
    auto* memory = reinterpret_cast<uint8_t*>(in.address + row * in.stride);
    if (load)
      std::memcpy(state.tile[in.reg][row], memory, state.config.row_bytes[in.reg]);
    else
      std::memcpy(memory, state.tile[in.reg][row], state.config.row_bytes[in.reg]);
  }
}

// False where no kernel uses it.
bool Execute(const Instruction& in) {
  constexpr unsigned kDenormalsAreZero = 1u << 15 | 1u << 6;
  switch (in.opcode << 4 | in.prefix << 1 | in.in_memory) {
    case 0x491:  // ldtilecfg
      std::memset(&state, 0, sizeof(state));
      std::memcpy(&state.config, reinterpret_cast<const void*>(in.address), sizeof(Config));
      return state.config.palette == 1;
    case 0x490:  // tilerelease
      std::memset(&state, 0, sizeof(state));
      return true;
    case 0x496:  // tilezero
      std::memset(state.tile[in.reg], 0, sizeof(state.tile[in.reg]));
      return true;
    case 0x4B7:  // tileloadd
      Move(in, true);
      return true;
    case 0x4B5:  // tilestored
      Move(in, false);
      return true;
    case 0x5C4: {  // tdpbf16ps
      const unsigned before = _mm_getcsr();
      _mm_setcsr(before | kDenormalsAreZero);
      ForSums<float>(in.reg, [&](int m, int n, float c) { return DotBf16(in.rm, in.vvvv, m, n, c); });
      _mm_setcsr(before);
      return true;
    }
    case 0x5E6:  // tdpbssd
      ForSums<int32_t>(in.reg, [&](int m, int n, int32_t c) { return DotInt8(in.rm, in.vvvv, m, n, c); });
      return true;
    default:
      return false;
  }
}

void HandleIllegalInstruction(int, siginfo_t*, void* raw) {
  auto& context = *static_cast<ucontext_t*>(raw);
  Instruction in;
  if (!Decode(context, in) || !Execute(in)) std::abort();
  context.uc_mcontext.gregs[REG_RIP] += in.bytes;
}

}  // namespace

int64_t AmxEmulation::products() const { return num_products; }

AmxEmulation::AmxEmulation() {
  num_products = 0;
  struct sigaction action = {};
  action.sa_sigaction = &HandleIllegalInstruction;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGILL, &action, &before_);
}

AmxEmulation::~AmxEmulation() { sigaction(SIGILL, &before_, nullptr); }

bool ProcessorHasAmx() {
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 24 & 1);
}

}  // namespace ropeway::kernels
