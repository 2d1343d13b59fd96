// How much shared memory a block may have, and when a launch must ask for it.
//
// Plain C++: for the host side of kernels, and for the emulation, which holds kernels to it.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_SHARED_BYTES_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_SHARED_BYTES_H_

#include <cstddef>

namespace ropeway::cuda {

// On every device that kernels are made for: what sm_86 and sm_89 have, and all others too.
inline constexpr size_t kMostSharedBytes = size_t{99} << 10;
// On devices of compute capability 9.0, which alone have the kernels of warpgroups.
inline constexpr size_t kMostWarpgroupSharedBytes = size_t{227} << 10;
// Without asking. Like the ones above, of static and dynamic shared memory together.
inline constexpr size_t kUnaskedSharedBytes = size_t{48} << 10;
// Of that, what is left to the static part of a kernel that has a dynamic one.
inline constexpr size_t kStaticBesideDynamic = size_t{8} << 10;

// The widest rows that a block norms: it keeps one of float32, beside the sums of its warps.
inline constexpr int kMostNormColumns =
    static_cast<int>((kMostSharedBytes - kStaticBesideDynamic) / sizeof(float));

// Whether a launch must ask for its dynamic shared memory. The bytes of a kernel's static part are not known where
// it is launched.
constexpr bool MustAskForShared(size_t dynamic_bytes) {
  return dynamic_bytes + kStaticBesideDynamic > kUnaskedSharedBytes;
}

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_SHARED_BYTES_H_
