#include <algorithm>
#include <vector>

#include "engine/kernels/cuda/launchers.h"
#include "gtest/gtest.h"
#include "tests/kernels/cuda/device_test.h"
#include "tests/kernels/cuda/element_values.h"

namespace ropeway::cuda {
namespace {

class CopyPagesTest : public DeviceTest {};

TEST_F(CopyPagesTest, CopiesTheseAndNoOthersInEveryLayer) {
  constexpr int kLayers = 3, kPages = 6;
  const std::vector<int32_t> from = {1, 5, 1}, to = {0, 2, 4};
  for (KvElement element : {KvElement::kF32, KvElement::kBF16, KvElement::kInt8}) {
    KvPages kv = {.element = element, .num_kv_heads = 2, .head_dim = 24, .value_dim = 20};
    const int64_t page = kv.page_bytes(), scales = kv.page_scales();
    const int64_t layer_bytes = kPages * page + 64, layer_scales = kPages * scales + 4;
    std::vector<uint8_t> data(kLayers * layer_bytes);
    for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<uint8_t>(i * 131 + i / 251);
    std::vector<float> scale_values = RandomValues(Element::kF32, kLayers * layer_scales, 1);
    kv.data = Upload(data);
    if (scales > 0) kv.scales = Upload(scale_values);
    Check(CopyPages({.kv = kv,
                     .layer_bytes = layer_bytes,
                     .layer_scales = layer_scales,
                     .num_layers = kLayers,
                     .from = Upload(from),
                     .to = Upload(to),
                     .count = 3},
                    stream()));
    for (int layer = 0; layer < kLayers; ++layer) {
      for (size_t i = 0; i < from.size(); ++i) {
        std::copy_n(&data[layer * layer_bytes + from[i] * page], page,
                    &data[layer * layer_bytes + to[i] * page]);
        if (scales == 0) continue;
        std::copy_n(&scale_values[layer * layer_scales + from[i] * scales], scales,
                    &scale_values[layer * layer_scales + to[i] * scales]);
      }
    }
    EXPECT_EQ(Download(kv.data, data.size()), data);
    if (scales > 0) {
      EXPECT_EQ(Download(kv.scales, scale_values.size()), scale_values);
    }
  }
}

}  // namespace
}  // namespace ropeway::cuda
