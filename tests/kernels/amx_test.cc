// The kernels for AMX, as compiled, on any processor with AVX-512: the same bytes as without AMX. Where the processor
// has none, its instructions are emulated.
#include <memory>
#include <vector>

#include "engine/kernels/cpu/gemm.h"
#include "engine/kernels/cpu/panel.h"
#include "engine/kernels/cpu/vector_kernels.h"
#include "gtest/gtest.h"
#include "tests/kernels/amx_emulation.h"
#include "tests/kernels/attention_sequence.h"
#include "tests/kernels/kernel_inputs.h"

namespace ropeway::kernels {

namespace avx512 {
extern const TileKernels kTiles;
}
namespace amx {
extern const WideKernels kPanels;
}
namespace amx_bf16 {
extern const VectorKernels kVectors;
}

namespace {

class AmxTest : public testing::Test {
 protected:
  void SetUp() override {
    const KernelTable* plain = Avx512Kernels(Extensions::kUnused);
    if (plain == nullptr) GTEST_SKIP() << "this processor has no AVX-512";
    plain_ = plain;
    if (!ProcessorHasAmx()) {
      emulation_ = std::make_unique<AmxEmulation>();
    } else if (plain == Avx512Kernels()) {
      GTEST_SKIP() << "the kernel does not let tiles be used";
    }
    amx_ = std::make_unique<KernelTable>(*plain);
    amx_->attention = amx_bf16::kVectors.attention;
    amx_->matmul = [](const MatMulArgs& args) { TiledMatMul(avx512::kTiles, &amx::kPanels, args); };
  }

  void TearDown() override {
    if (emulation_ == nullptr) return;
    EXPECT_GT(emulation_->products(), 0) << "no tiles were used";
  }

  const KernelTable* plain_ = nullptr;
  std::unique_ptr<KernelTable> amx_;
  std::unique_ptr<AmxEmulation> emulation_;
};

TEST_F(AmxTest, AttentionHasTheBytesOfAllOthers) {
  for (const AttentionShape& shape : AttentionShapes())
    for (int chunk : {23, shape.length}) {
      AttentionSequence expected(*plain_, shape), sequence(*amx_, shape);
      const std::vector<float> x = expected.Run(chunk), y = sequence.Run(chunk);
      ASSERT_EQ(FirstDifference(y.data(), x.data(), static_cast<int64_t>(x.size())), "")
          << shape << " chunk " << chunk;
    }
}

TEST_F(AmxTest, ProductsHaveTheBytesOfAllOthers) {
  constexpr int64_t kRowsOfWeights = 80, kColumns = 768, kTokens = 37;
  const std::vector<float> x = RandomActivations(kTokens, kColumns, 71);
  for (const DType type : kAllTypes) {
    const std::vector<uint8_t> weights = RandomWeights(type, kRowsOfWeights, kColumns, 72);
    const PackedMatrix matrix = PackOne(*plain_, type, weights, kRowsOfWeights, kColumns);
    const std::vector<float> expected = Multiply(*plain_, matrix, x.data(), kTokens),
                             y = Multiply(*amx_, matrix, x.data(), kTokens);
    EXPECT_EQ(FirstDifference(y.data(), expected.data(), static_cast<int64_t>(y.size())), "") << NameOf(type);
  }
}

}  // namespace
}  // namespace ropeway::kernels
