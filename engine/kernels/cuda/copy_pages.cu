// Pages to[i] = pages from[i] of all layers, keys, values and scales.
//
// Grid (pages, layers). Moves twice a page's bytes, 128 bits at a time: a page is a multiple of 16 bytes,
// since it holds 16 tokens. REQUIRES: no page is both read and written, none is written twice.
#include "engine/kernels/cuda/device.h"
#include "engine/kernels/cuda/launchers.h"

namespace ropeway::cuda {
namespace {

constexpr int kThreads = 256;

ROPEWAY_DEVICE void CopyBytes(const uint8_t* from, uint8_t* to, int64_t bytes) {
  for (int64_t i = int64_t{threadIdx.x} * 16; i < bytes; i += kThreads * 16)
    Store128(to + i, Load128(from + i));
}

__global__ void __launch_bounds__(kThreads) CopyPagesKernel(CopyPagesArgs args) {
  const int64_t from = args.from[blockIdx.x], to = args.to[blockIdx.x], layer = blockIdx.y;
  uint8_t* data = args.kv.data + layer * args.layer_bytes;
  const int64_t bytes = args.kv.page_bytes(), scales = args.kv.page_scales();
  CopyBytes(data + from * bytes, data + to * bytes, bytes);
  if (scales == 0) return;
  float* layer_scales = args.kv.scales + layer * args.layer_scales;
  CopyBytes(reinterpret_cast<const uint8_t*>(layer_scales + from * scales),
            reinterpret_cast<uint8_t*>(layer_scales + to * scales), scales * int64_t{sizeof(float)});
}

}  // namespace

ErrorCode CopyPages(const CopyPagesArgs& args, Stream stream) {
  return Launch(stream, CopyPagesKernel,
                dim3(static_cast<unsigned>(args.count), static_cast<unsigned>(args.num_layers)),
                dim3(kThreads), 0, args);
}

}  // namespace ropeway::cuda
