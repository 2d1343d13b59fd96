// Mistakes with wgmma, one per kernel, where kPlanted. planted_bugs_test.py says which build must notice which.
#include "engine/kernels/cuda/device.h"
#include "engine/kernels/cuda/warpgroup.h"
#include "tests/cuda_emulation/planted_bugs.cuh"

namespace ropeway::cuda {
namespace {

constexpr int kDepth = 16, kColumns = 32;   // of the product
constexpr int kPieces = kPanelColumns / 8;  // of a row of a panel, 16 bytes each

using Panel = bf16[kDepth][kPanelColumns];

ROPEWAY_DEVICE int ThreadId() { return static_cast<int>(threadIdx.x); }

// Starts to copy a panel, a piece a thread: number n of row k is in16[(k kPieces + n / 8) % 32 * 8 + n % 8], of which
// every other is an integer and those between are zeros.
ROPEWAY_DEVICE void CopyPanel(const float* in, Panel& panel, bool swizzled = true) {
  const int row = ThreadId() / kPieces, column = ThreadId() % kPieces * 8;
  CpAsync16(&panel[row][swizzled ? SwizzledColumn(row, column) : column], in + ThreadId() % 32 * 4);
  CpAsyncCommit();
}
constexpr float SumOfPanel(int thread) { return static_cast<float>(16 * 48 + 16 * (thread % 4)); }

// The panel of a block, where the swizzle wants it.
#define PANEL(name)                                                       \
  ROPEWAY_SHARED(memory, unsigned char[sizeof(Panel) + kPanelAlignment]); \
  auto& name = *reinterpret_cast<Panel*>(                                 \
      memory + (kPanelAlignment - SharedAddress(memory) % kPanelAlignment) % kPanelAlignment)

struct Product {
  uint32_t a[1][4];
  float d[kColumns / 8][4] = {};

  ROPEWAY_DEVICE Product() {
    for (uint32_t& pair : a[0]) pair = PackPair<bf16>(1, 1);
  }
  ROPEWAY_DEVICE void Start(const Panel& panel, bool fenced = true, int row = 0) {
    HoldRegisters(d);
    HoldRegisters(a);
    if (fenced) WarpgroupFence();
    MultiplyWide<bf16, true>(d, a[0], PanelDescriptor(&panel[row][0], sizeof(Panel)), true);
    WarpgroupCommit();
  }
  ROPEWAY_DEVICE void Await() {
    WarpgroupWait<0>();
    HoldRegisters(d);
    HoldRegisters(a);
  }
};

// What cp.async wrote is not there for tensor cores yet.
template <bool kPlanted>
__global__ void ProxyFenceForgotten(const float* in, float* out) {
  PANEL(panel);
  CopyPanel(in, panel);
  CpAsyncWait<0>();
  if (!kPlanted) FenceAsyncProxy();
  __syncthreads();
  Product product;
  product.Start(panel);
  product.Await();
  out[ThreadId()] = product.d[0][1];
}

// The fence in front of the wait is of no use: the copies may come later.
template <bool kPlanted>
__global__ void ProxyFenceBeforeTheWait(const float* in, float* out) {
  PANEL(panel);
  CopyPanel(in, panel);
  if (kPlanted) FenceAsyncProxy();
  CpAsyncWait<0>();
  if (!kPlanted) FenceAsyncProxy();
  __syncthreads();
  Product product;
  product.Start(panel);
  product.Await();
  out[ThreadId()] = product.d[0][1];
}

// Other threads' copies have not arrived.
template <bool kPlanted>
__global__ void PanelWithoutBarrier(const float* in, float* out) {
  PANEL(panel);
  CopyPanel(in, panel);
  CpAsyncWait<0>();
  FenceAsyncProxy();
  if (!kPlanted) __syncthreads();
  Product product;
  product.Start(panel);
  product.Await();
  out[ThreadId()] = product.d[0][1];
}

// Brings a panel for all threads.
ROPEWAY_DEVICE void BringPanel(const float* in, Panel& panel, bool swizzled = true) {
  CopyPanel(in, panel, swizzled);
  CpAsyncWait<0>();
  FenceAsyncProxy();
  __syncthreads();
}

template <bool kPlanted>
__global__ void RegistersWithoutFence(const float* in, float* out) {
  PANEL(panel);
  BringPanel(in, panel);
  Product product;
  product.Start(panel, !kPlanted);
  product.Await();
  out[ThreadId()] = product.d[0][1];
}

template <bool kPlanted>
__global__ void SumsReadUnderWay(const float* in, float* out) {
  PANEL(panel);
  BringPanel(in, panel);
  Product product;
  product.Start(panel);
  if (!kPlanted) product.Await();
  const float sum = product.d[0][1];
  if (kPlanted) product.Await();
  out[ThreadId()] = sum;
}

// The second group is still under way.
template <bool kPlanted>
__global__ void OneGroupTooFewAwaited(const float* in, float* out) {
  PANEL(panel);
  BringPanel(in, panel);
  Product first, second;
  first.Start(panel);
  second.Start(panel);
  WarpgroupWait<kPlanted ? 1 : 0>();
  out[ThreadId()] = second.d[0][1];
  WarpgroupWait<0>();
}

template <bool kPlanted>
__global__ void OperandChangedUnderWay(const float* in, float* out) {
  PANEL(panel);
  BringPanel(in, panel);
  Product product;
  product.Start(panel);
  if (!kPlanted) product.Await();
  for (uint32_t& pair : product.a[0]) pair = 0;
  if (kPlanted) product.Await();
  out[ThreadId()] = product.d[0][1];
}

// A fast warp brings the next panel to where a slow one's product still reads this one.
template <bool kPlanted>
__global__ void PanelReusedUnderWay(const float* in, float* out) {
  PANEL(panel);
  BringPanel(in, panel);
  Product product;
  product.Start(panel);
  if (!kPlanted) product.Await();
  if (!kPlanted) __syncthreads();
  panel[ThreadId() / kPieces][ThreadId() % kPieces * 8 + 1] = FromFloat<bf16>(100);
  if (kPlanted) product.Await();
  out[ThreadId()] = product.d[0][1];
}

template <bool kPlanted>
__global__ void SwizzleForgotten(const float* in, float* out) {
  PANEL(panel);
  BringPanel(in, panel, !kPlanted);
  Product product;
  product.Start(panel);
  product.Await();
  out[ThreadId()] = product.d[0][1];
}

template <bool kPlanted>
__global__ void EndsWithProductUnderWay(const float* in, float* out) {
  PANEL(panel);
  BringPanel(in, panel);
  Product product;
  product.Start(panel);
  if (!kPlanted) product.Await();
  out[ThreadId()] = 1;
}

// Where the swizzle begins anew, which the descriptor does not tell.
template <bool kPlanted>
__global__ void OperandWithinTheSwizzle(const float* in, float* out) {
  PANEL(panel);
  BringPanel(in, panel);
  Product product;
  product.Start(panel, true, kPlanted ? 1 : 0);
  product.Await();
  out[ThreadId()] = product.d[0][1];
}

constexpr float Ones(int) { return 1; }

// clang-format off
#define BUG(kernel, want) {#kernel, LaunchEither<kernel<true>, kernel<false>, 1, 128>, want}
constexpr PlantedBug kBugs[] = {
    BUG(ProxyFenceForgotten, SumOfPanel),
    BUG(ProxyFenceBeforeTheWait, SumOfPanel),
    BUG(PanelWithoutBarrier, SumOfPanel),
    BUG(RegistersWithoutFence, SumOfPanel),
    BUG(SumsReadUnderWay, SumOfPanel),
    BUG(OneGroupTooFewAwaited, SumOfPanel),
    BUG(OperandChangedUnderWay, SumOfPanel),
    BUG(PanelReusedUnderWay, SumOfPanel),
    BUG(SwizzleForgotten, SumOfPanel),
    BUG(OperandWithinTheSwizzle, SumOfPanel),
    BUG(EndsWithProductUnderWay, Ones),
};
#undef BUG
// clang-format on

}  // namespace

std::span<const PlantedBug> PlantedWarpgroupBugs() { return kBugs; }

}  // namespace ropeway::cuda
