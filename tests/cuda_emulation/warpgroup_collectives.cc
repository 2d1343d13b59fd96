// wgmma: products that a warp puts on their way and waits for.
#include <algorithm>
#include <cmath>
#include <utility>

#include "tests/cuda_emulation/block_executor.h"
#include "tests/cuda_emulation/warpgroup_context.h"

namespace ropeway::cuda::emulation {
namespace {

constexpr int kDepth = 16, kMostColumns = 256;  // of one instruction: numbers of 16 bits

// Where b lies: the fields of a shared memory descriptor (PTX ISA, "Asynchronous Warpgroup Level Matrix Shared Memory
// Layout"), in bytes.
struct Descriptor {
  uint32_t start, leading, stride;
  unsigned base_offset, swizzle;

  explicit Descriptor(uint64_t bits)
      : start(static_cast<uint32_t>(bits & 0x3FFF) << 4),
        leading(static_cast<uint32_t>(bits >> 16 & 0x3FFF) << 4),
        stride(static_cast<uint32_t>(bits >> 32 & 0x3FFF) << 4),
        base_offset(static_cast<unsigned>(bits >> 49 & 7)),
        swizzle(static_cast<unsigned>(bits >> 62)) {}

  // The shared address of element (k, n) of b. With the swizzle of 128 bytes, 16-byte pieces are exchanged by
  // address: bits 4 to 6 with bits 7 to 9.
  uint32_t AddressOf(int k, int n, bool rows_of_panels) const {
    const auto uk = static_cast<uint32_t>(k), un = static_cast<uint32_t>(n);
    const uint32_t linear = rows_of_panels
                                ? start + un / 64 * leading + uk / 8 * stride + uk % 8 * 128 + un % 64 * 2
                                : start + un / 8 * stride + un % 8 * 128 + uk * 2;
    return linear ^ (linear >> 7 & 7) << 4;
  }
};

float FromBits(const WarpgroupProduct& product, uint32_t bits) {
  const auto number = static_cast<uint16_t>(bits);
  return product.halves ? HalfToFloat(number) : BFloat16ToFloat(number);
}

// The lanes' products, one instruction of a warp.
using LaneProducts = WarpgroupProduct* [32];

void LoadA(const LaneProducts& lanes, float (&a)[16][kDepth]) {
  for (int lane = 0; lane < 32; ++lane)
    for (int half = 0; half < 2; ++half)
      for (int i = 0; i < 4; ++i)
        a[lane / 4 + i % 2 * 8][lane % 4 * 2 + half + i / 2 * 8] =
            FromBits(*lanes[lane], half == 0 ? lanes[lane]->a[i] : lanes[lane]->a[i] >> 16);
}

// The order of additions is that of PerformMma: on a device, too, it is one for both.
void PerformProduct(const LaneProducts& lanes, const float (&b)[kDepth][kMostColumns]) {
  float a[16][kDepth];
  LoadA(lanes, a);
  for (int lane = 0; lane < 32; ++lane) {
    WarpgroupProduct& product = *lanes[lane];
    for (int j = 0; j < product.columns / 2; ++j) {
      const int row = lane / 4 + j / 2 % 2 * 8, column = j / 4 * 8 + lane % 4 * 2 + j % 2;
      float sum = 0;
      for (int k = 0; k < kDepth; ++k) sum += a[row][k] * b[k][column];
      const float before = !product.accumulate ? 0 : product.has_before ? product.before[j] : product.d[j];
      product.d[j] = before + sum;
    }
  }
}

}  // namespace

// Called by the last lane to arrive, for all of them.
void PerformWarpgroupWait(BlockExecutor& executor, void* const (&arguments)[32], SourceLine at) {
  const auto& first = *static_cast<const std::vector<WarpgroupProduct>*>(arguments[0]);
  for (size_t i = 0; i < first.size(); ++i) {
    LaneProducts lanes;
    for (int lane = 0; lane < 32; ++lane) {
      auto& products = *static_cast<std::vector<WarpgroupProduct>*>(arguments[lane]);
      if (products.size() != first.size() || products[i].b != first[i].b)
        executor.Fail("the lanes of a warp wait for different products", at);
      lanes[lane] = &products[i];
    }
    float b[kDepth][kMostColumns];
    for (int k = 0; k < kDepth; ++k)
      for (int n = 0; n < first[i].columns; ++n) {
        const void* element =
            executor.shared().At(Descriptor(first[i].b).AddressOf(k, n, first[i].rows_of_panels));
        b[k][n] = element == nullptr ? NAN : FromBits(first[i], *static_cast<const uint16_t*>(element));
      }
    PerformProduct(lanes, b);
  }
}

uint32_t SharedAddressOf(const void* shared, SourceLine at) {
  BlockExecutor& executor = BlockExecutor::Current();
  if (!executor.shared().Contains(shared, 1)) executor.Fail("the address of what is not shared memory", at);
  return executor.shared().AddressOf(shared);
}

void FenceAsyncProxy() { BlockExecutor::Current().self().unfenced.clear(); }

void WarpgroupFence() { BlockExecutor::Current().self().warpgroup_fenced = true; }

void WarpgroupMultiply(WarpgroupProduct product, SourceLine at) {
  BlockExecutor& executor = BlockExecutor::Current();
  DeviceThread& me = executor.self();
  if (!me.warpgroup_fenced) executor.Fail("wgmma without a fence since registers were waited for", at);
  if (Descriptor(product.b).swizzle != 1 || Descriptor(product.b).base_offset != 0)
    executor.Fail("wgmma of a descriptor without the swizzle of 128 bytes, which alone is emulated", at);
  if ((Descriptor(product.b).start >> 7 & 7) != 0)
    executor.Fail("wgmma of b that begins within the eight rows of the swizzle", at);
  const auto same = [&](const WarpgroupProduct& other) { return other.d == product.d; };
  bool under_way = std::any_of(me.products.begin(), me.products.end(), same);
  for (const auto& group : me.product_groups)
    under_way = under_way || std::any_of(group.begin(), group.end(), same);
  product.has_before = !under_way;
  for (int j = 0; j < product.columns / 2; ++j) {
    product.before[j] = product.d[j];
    product.d[j] = NAN;
  }
  me.products.push_back(product);
}

void WarpgroupCommit() {
  DeviceThread& me = BlockExecutor::Current().self();
  me.product_groups.push_back(std::exchange(me.products, {}));
}

// Each lane tells that it reads its share of b.
void ReadPanels(BlockExecutor& executor, const std::vector<WarpgroupProduct>& products, SourceLine at) {
  const int lane = static_cast<int>(executor.self().lane);
  const bool unfenced = executor.HasUnfenced();
  for (const WarpgroupProduct& product : products) {
    const int pieces = product.columns * 2;  // of 16 bytes
    for (int piece = lane; piece < pieces; piece += 32) {
      const int k = product.rows_of_panels ? piece * 8 / product.columns : piece % 2 * 8;
      const int n = product.rows_of_panels ? piece * 8 % product.columns : piece / 2;
      const void* address =
          executor.shared().At(Descriptor(product.b).AddressOf(k, n, product.rows_of_panels));
      if (address == nullptr) executor.Fail("wgmma of b outside the block's shared memory", at);
      if (unfenced && executor.IsUnfenced(address))
        executor.Fail("wgmma of what cp.async brought without a fence", at);
      SanitizerRead16(address);
    }
  }
}

void WarpgroupWait(int groups_in_flight, SourceLine at) {
  BlockExecutor& executor = BlockExecutor::Current();
  DeviceThread& me = executor.self();
  std::vector<WarpgroupProduct>& products = me.awaited_products;
  products.clear();
  while (static_cast<int>(me.product_groups.size()) > groups_in_flight) {
    const auto& group = me.product_groups.front();
    products.insert(products.end(), group.begin(), group.end());
    me.product_groups.erase(me.product_groups.begin());
  }
  ReadPanels(executor, products, at);
  me.warpgroup_fenced = false;
  executor.Collective(Operation::kWarpgroupWait, ~0u, &products, at);
}

}  // namespace ropeway::cuda::emulation
