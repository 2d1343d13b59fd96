// warpgroup.h over PTX (sm_90a). Everything else includes warpgroup.h.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_CUDA_WARPGROUP_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_CUDA_WARPGROUP_H_

#include <cstdint>
#include <type_traits>

#include "engine/kernels/cuda/cuda_device.h"

namespace ropeway::cuda {

ROPEWAY_DEVICE void FenceAsyncProxy() { asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory"); }
ROPEWAY_DEVICE void WarpgroupFence() { asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory"); }
ROPEWAY_DEVICE void WarpgroupCommit() { asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory"); }
template <int kGroupsInFlight, int kPlace = 0>
ROPEWAY_DEVICE void WarpgroupWait() {
  asm volatile("wgmma.wait_group.sync.aligned %0; // %1\n" ::"n"(kGroupsInFlight), "n"(kPlace) : "memory");
}

template <int kCount>
ROPEWAY_DEVICE void RaiseRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(kCount));
}
template <int kCount>
ROPEWAY_DEVICE void LowerRegisters() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"(kCount));
}

// The compiler takes them for used and changed here: nothing that is done to them moves past.
template <int kRows, int kColumns>
ROPEWAY_DEVICE void HoldRegisters(float (&registers)[kRows][kColumns]) {
#pragma unroll
  for (int i = 0; i < kRows; ++i)
#pragma unroll
    for (int j = 0; j < kColumns; ++j) asm volatile("" : "+f"(registers[i][j])::"memory");
}
template <int kRows, int kColumns>
ROPEWAY_DEVICE void HoldRegisters(uint32_t (&registers)[kRows][kColumns]) {
#pragma unroll
  for (int i = 0; i < kRows; ++i)
#pragma unroll
    for (int j = 0; j < kColumns; ++j) asm volatile("" : "+r"(registers[i][j])::"memory");
}

// d = a b, or d += a b, of numbers T, bf16 or fp16. kRows: b is 16 rows of panels; otherwise 16 columns, turned.
template <class T, bool kRows>
ROPEWAY_DEVICE void MultiplyWide(float (&d)[2][4], const uint32_t (&a)[4], uint64_t b, bool accumulate) {
#define ROPEWAY_MULTIPLY(types)                                                                   \
  asm volatile(                                                                                   \
      "{.reg .pred accumulate;\n"                                                                 \
      "setp.ne.b32 accumulate, %13, 0;\n"                                                         \
      "wgmma.mma_async.sync.aligned.m64n16k16.f32." types                                         \
      " {"                                                                                        \
      "%0,%1,%2,%3,%4,%5,%6,%7},"                                                                 \
      "{%8,%9,%10,%11}, %12, accumulate, 1, 1, %14;}\n"                                           \
      : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]), \
        "+f"(d[1][2]), "+f"(d[1][3])                                                              \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(accumulate)),    \
        "n"(kRows ? 1 : 0)                                                                        \
      : "memory")
  if constexpr (std::is_same_v<T, bf16>)
    ROPEWAY_MULTIPLY("bf16.bf16");
  else
    ROPEWAY_MULTIPLY("f16.f16");
#undef ROPEWAY_MULTIPLY
}
template <class T, bool kRows>
ROPEWAY_DEVICE void MultiplyWide(float (&d)[4][4], const uint32_t (&a)[4], uint64_t b, bool accumulate) {
#define ROPEWAY_MULTIPLY(types)                                                                   \
  asm volatile(                                                                                   \
      "{.reg .pred accumulate;\n"                                                                 \
      "setp.ne.b32 accumulate, %21, 0;\n"                                                         \
      "wgmma.mma_async.sync.aligned.m64n32k16.f32." types                                         \
      " {"                                                                                        \
      "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15},"                                   \
      "{%16,%17,%18,%19}, %20, accumulate, 1, 1, %22;}\n"                                         \
      : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]), \
        "+f"(d[1][2]), "+f"(d[1][3]), "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]), \
        "+f"(d[3][0]), "+f"(d[3][1]), "+f"(d[3][2]), "+f"(d[3][3])                                \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(accumulate)),    \
        "n"(kRows ? 1 : 0)                                                                        \
      : "memory")
  if constexpr (std::is_same_v<T, bf16>)
    ROPEWAY_MULTIPLY("bf16.bf16");
  else
    ROPEWAY_MULTIPLY("f16.f16");
#undef ROPEWAY_MULTIPLY
}
template <class T, bool kRows>
ROPEWAY_DEVICE void MultiplyWide(float (&d)[8][4], const uint32_t (&a)[4], uint64_t b, bool accumulate) {
#define ROPEWAY_MULTIPLY(types)                                                                   \
  asm volatile(                                                                                   \
      "{.reg .pred accumulate;\n"                                                                 \
      "setp.ne.b32 accumulate, %37, 0;\n"                                                         \
      "wgmma.mma_async.sync.aligned.m64n64k16.f32." types                                         \
      " {"                                                                                        \
      "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"                                    \
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31},"                         \
      "{%32,%33,%34,%35}, %36, accumulate, 1, 1, %38;}\n"                                         \
      : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]), \
        "+f"(d[1][2]), "+f"(d[1][3]), "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]), \
        "+f"(d[3][0]), "+f"(d[3][1]), "+f"(d[3][2]), "+f"(d[3][3]), "+f"(d[4][0]), "+f"(d[4][1]), \
        "+f"(d[4][2]), "+f"(d[4][3]), "+f"(d[5][0]), "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]), \
        "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]), "+f"(d[7][0]), "+f"(d[7][1]), \
        "+f"(d[7][2]), "+f"(d[7][3])                                                              \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(accumulate)),    \
        "n"(kRows ? 1 : 0)                                                                        \
      : "memory")
  if constexpr (std::is_same_v<T, bf16>)
    ROPEWAY_MULTIPLY("bf16.bf16");
  else
    ROPEWAY_MULTIPLY("f16.f16");
#undef ROPEWAY_MULTIPLY
}
template <class T, bool kRows>
ROPEWAY_DEVICE void MultiplyWide(float (&d)[16][4], const uint32_t (&a)[4], uint64_t b, bool accumulate) {
#define ROPEWAY_MULTIPLY(types)                                                                         \
  asm volatile(                                                                                         \
      "{.reg .pred accumulate;\n"                                                                       \
      "setp.ne.b32 accumulate, %69, 0;\n"                                                               \
      "wgmma.mma_async.sync.aligned.m64n128k16.f32." types                                              \
      " {"                                                                                              \
      "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"                                          \
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"                                \
      "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"                                \
      "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63},"                               \
      "{%64,%65,%66,%67}, %68, accumulate, 1, 1, %70;}\n"                                               \
      : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]),       \
        "+f"(d[1][2]), "+f"(d[1][3]), "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]),       \
        "+f"(d[3][0]), "+f"(d[3][1]), "+f"(d[3][2]), "+f"(d[3][3]), "+f"(d[4][0]), "+f"(d[4][1]),       \
        "+f"(d[4][2]), "+f"(d[4][3]), "+f"(d[5][0]), "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]),       \
        "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]), "+f"(d[7][0]), "+f"(d[7][1]),       \
        "+f"(d[7][2]), "+f"(d[7][3]), "+f"(d[8][0]), "+f"(d[8][1]), "+f"(d[8][2]), "+f"(d[8][3]),       \
        "+f"(d[9][0]), "+f"(d[9][1]), "+f"(d[9][2]), "+f"(d[9][3]), "+f"(d[10][0]), "+f"(d[10][1]),     \
        "+f"(d[10][2]), "+f"(d[10][3]), "+f"(d[11][0]), "+f"(d[11][1]), "+f"(d[11][2]), "+f"(d[11][3]), \
        "+f"(d[12][0]), "+f"(d[12][1]), "+f"(d[12][2]), "+f"(d[12][3]), "+f"(d[13][0]), "+f"(d[13][1]), \
        "+f"(d[13][2]), "+f"(d[13][3]), "+f"(d[14][0]), "+f"(d[14][1]), "+f"(d[14][2]), "+f"(d[14][3]), \
        "+f"(d[15][0]), "+f"(d[15][1]), "+f"(d[15][2]), "+f"(d[15][3])                                  \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(accumulate)),          \
        "n"(kRows ? 1 : 0)                                                                              \
      : "memory")
  if constexpr (std::is_same_v<T, bf16>)
    ROPEWAY_MULTIPLY("bf16.bf16");
  else
    ROPEWAY_MULTIPLY("f16.f16");
#undef ROPEWAY_MULTIPLY
}

// d += a b, of f16 numbers; b is 16 columns, turned.
ROPEWAY_DEVICE void AddHalfProducts(float (&d)[32][4], const uint32_t (&a)[4], uint64_t b) {
  asm volatile(
      "{.reg .pred accumulate;\n"
      "setp.eq.b32 accumulate, 0, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n256k16.f32.f16.f16 {"
      "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
      "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
      "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
      "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,"
      "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,"
      "%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95,"
      "%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111,"
      "%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127},"
      "{%128,%129,%130,%131}, %132, accumulate, 1, 1, 0;}\n"
      : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]),
        "+f"(d[1][2]), "+f"(d[1][3]), "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]),
        "+f"(d[3][0]), "+f"(d[3][1]), "+f"(d[3][2]), "+f"(d[3][3]), "+f"(d[4][0]), "+f"(d[4][1]),
        "+f"(d[4][2]), "+f"(d[4][3]), "+f"(d[5][0]), "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]),
        "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]), "+f"(d[7][0]), "+f"(d[7][1]),
        "+f"(d[7][2]), "+f"(d[7][3]), "+f"(d[8][0]), "+f"(d[8][1]), "+f"(d[8][2]), "+f"(d[8][3]),
        "+f"(d[9][0]), "+f"(d[9][1]), "+f"(d[9][2]), "+f"(d[9][3]), "+f"(d[10][0]), "+f"(d[10][1]),
        "+f"(d[10][2]), "+f"(d[10][3]), "+f"(d[11][0]), "+f"(d[11][1]), "+f"(d[11][2]), "+f"(d[11][3]),
        "+f"(d[12][0]), "+f"(d[12][1]), "+f"(d[12][2]), "+f"(d[12][3]), "+f"(d[13][0]), "+f"(d[13][1]),
        "+f"(d[13][2]), "+f"(d[13][3]), "+f"(d[14][0]), "+f"(d[14][1]), "+f"(d[14][2]), "+f"(d[14][3]),
        "+f"(d[15][0]), "+f"(d[15][1]), "+f"(d[15][2]), "+f"(d[15][3]), "+f"(d[16][0]), "+f"(d[16][1]),
        "+f"(d[16][2]), "+f"(d[16][3]), "+f"(d[17][0]), "+f"(d[17][1]), "+f"(d[17][2]), "+f"(d[17][3]),
        "+f"(d[18][0]), "+f"(d[18][1]), "+f"(d[18][2]), "+f"(d[18][3]), "+f"(d[19][0]), "+f"(d[19][1]),
        "+f"(d[19][2]), "+f"(d[19][3]), "+f"(d[20][0]), "+f"(d[20][1]), "+f"(d[20][2]), "+f"(d[20][3]),
        "+f"(d[21][0]), "+f"(d[21][1]), "+f"(d[21][2]), "+f"(d[21][3]), "+f"(d[22][0]), "+f"(d[22][1]),
        "+f"(d[22][2]), "+f"(d[22][3]), "+f"(d[23][0]), "+f"(d[23][1]), "+f"(d[23][2]), "+f"(d[23][3]),
        "+f"(d[24][0]), "+f"(d[24][1]), "+f"(d[24][2]), "+f"(d[24][3]), "+f"(d[25][0]), "+f"(d[25][1]),
        "+f"(d[25][2]), "+f"(d[25][3]), "+f"(d[26][0]), "+f"(d[26][1]), "+f"(d[26][2]), "+f"(d[26][3]),
        "+f"(d[27][0]), "+f"(d[27][1]), "+f"(d[27][2]), "+f"(d[27][3]), "+f"(d[28][0]), "+f"(d[28][1]),
        "+f"(d[28][2]), "+f"(d[28][3]), "+f"(d[29][0]), "+f"(d[29][1]), "+f"(d[29][2]), "+f"(d[29][3]),
        "+f"(d[30][0]), "+f"(d[30][1]), "+f"(d[30][2]), "+f"(d[30][3]), "+f"(d[31][0]), "+f"(d[31][1]),
        "+f"(d[31][2]), "+f"(d[31][3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b)
      : "memory");
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_CUDA_WARPGROUP_H_
