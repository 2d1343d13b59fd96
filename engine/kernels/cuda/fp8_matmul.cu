// y [T, M] = x [T, K] W^T of e4m3 numbers (fp8.h), for any number of tokens.
//
// Three tiles: for as few tokens as one step has, so that the memory is asked for W alone; for a few more; for prompts,
// where what was converted is used for several steps. Which one is taken is not measured.
#include "engine/kernels/cuda/fp8_matmul.cuh"

namespace ropeway::cuda {
namespace {

using FewTokens = Fp8Tile<2, 1, 1, 1, 9>;
using SomeTokens = Fp8Tile<2, 1, 1, 4, 6>;
using ManyTokens = Fp8Tile<2, 4, 4, 4, 3>;
// Up to so many SomeTokens are taken, more than one tile of them along the tokens.
constexpr int kSomeTokens = 64;

template <class T, class S>
ErrorCode LaunchTile(const Fp8MatMulArgs& args, Stream stream) {
  return LaunchFp8<T, S>(Fp8ProductOf(args, S::kTokens), /*resident=*/0, stream);
}

}  // namespace

ErrorCode Fp8MatMul(const Fp8MatMulArgs& args, Stream stream) {
  if (args.warpgroups) return Fp8MatMulByWarpgroups(args, stream);
  return WithElement(args.out, [&]<class T>() {
    if (args.num_tokens <= FewTokens::kTokens) return LaunchTile<T, FewTokens>(args, stream);
    if (args.num_tokens <= kSomeTokens) return LaunchTile<T, SomeTokens>(args, stream);
    return LaunchTile<T, ManyTokens>(args, stream);
  });
}

}  // namespace ropeway::cuda
