// Tiles of AMX, as attention_tiles_inl.h wants them. Included once per translation unit, after <immintrin.h>.
#ifndef ROPEWAY_ENGINE_KERNELS_CPU_TILES_AMX_H_
#define ROPEWAY_ENGINE_KERNELS_CPU_TILES_AMX_H_

// Compilers' own functions want the numbers of tiles as digits.
struct Tiles {
  struct Config {
    alignas(64) uint8_t palette = 1;
    uint8_t start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
  };
  static_assert(sizeof(Config) == 64);

  static void Configure(int columns) {
    Config config;
    for (int t = 0; t < 8; ++t) {
      config.row_bytes[t] = static_cast<uint16_t>(t == 5 && columns > 0 ? 2 * columns : 64);
      config.rows[t] = static_cast<uint8_t>(t == 7 && columns > 0 ? columns / 2 : 16);
    }
    asm volatile("ldtilecfg %0" ::"m"(config));
  }
  template <int kTile>
  [[gnu::always_inline]] static void Zero() {
    asm volatile("tilezero %%tmm%c0" ::"i"(kTile));
  }
  template <int kTile>
  [[gnu::always_inline]] static void Load(const void* memory, int64_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(memory), "r"(stride), "i"(kTile) : "memory");
  }
  template <int kTile>
  [[gnu::always_inline]] static void Store(void* memory, int64_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(memory), "r"(stride), "i"(kTile) : "memory");
  }
  template <int kSums, int kA, int kB>
  [[gnu::always_inline]] static void Dot() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSums), "i"(kA), "i"(kB));
  }
  static void Release() { asm volatile("tilerelease"); }
};

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_TILES_AMX_H_
