#include "tests/kernels/kernel_inputs.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "engine/base/splitmix.h"

namespace ropeway::kernels {
namespace {

// Rounds to nearest; for values in fp16's normal range.
uint16_t ToHalf(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value), sign = bits >> 16 & 0x8000;
  const float scaled = std::bit_cast<float>(bits & 0x7FFFFFFF) * 0x1p-112f;
  return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(scaled) + 0x1000) >> 13);
}

// Where a block has its fp16 scale and minimum, and how large they are in units of a weight's size.
struct ScaleFields {
  int scale, min;  // offsets in the block; -1: no minimum
  float scale_size, min_size;
};

ScaleFields FieldsOf(DType type) {
  switch (type) {
    case DType::kQ4_0:
      return {0, -1, 1 / 4.f, 0};
    case DType::kQ4_1:
      return {0, 2, 1 / 4.f, -2};
    case DType::kQ5_0:
      return {0, -1, 1 / 9.f, 0};
    case DType::kQ5_1:
      return {0, 2, 1 / 9.f, -1.7f};
    case DType::kQ8_0:
      return {0, -1, 1 / 70.f, 0};
    case DType::kQ2_K:
      return {80, 82, 1 / 8.f, 1 / 6.f};
    case DType::kQ3_K:
      return {108, -1, 1 / 40.f, 0};
    case DType::kQ4_K:
    case DType::kQ5_K:
      return {0, 2, type == DType::kQ4_K ? 1 / 120.f : 1 / 240.f, 1 / 16.f};
    case DType::kQ6_K:
      return {208, -1, 1 / 1200.f, 0};
    case DType::kIQ4_NL:
      return {0, -1, 1 / 70.f, 0};
    case DType::kIQ4_XS:
      return {0, -1, 1 / 1300.f, 0};
    default:
      return {-1, -1, 0, 0};
  }
}

}  // namespace

std::vector<const KernelTable*> FastTables() {
  std::vector<const KernelTable*> tables;
  for (const KernelTable* table : {Avx512Kernels(), Avx2Kernels()})
    if (table != nullptr) tables.push_back(table);
  return tables;
}

std::vector<const KernelTable*> ProductTables() {
  std::vector<const KernelTable*> tables = FastTables();
  for (const KernelTable* table : {Avx512Kernels(Extensions::kUnused), Avx2Kernels(Extensions::kUnused)})
    if (table != nullptr && std::find(tables.begin(), tables.end(), table) == tables.end())
      tables.push_back(table);
  return tables;
}

uint64_t Random::Bits() { return SplitMix(SplitMix(seed_) + ++counter_ * kGoldenRatio64); }

float Random::Uniform(float low, float high) {
  return low + (high - low) * (static_cast<float>(Bits() >> 40) * 0x1p-24f);
}

float Random::Normal() {
  const float radius = std::sqrt(-2 * std::log(Uniform(0x1p-24f, 1)));
  return radius * std::cos(Uniform(0, 6.2831853f));
}

std::vector<uint8_t> RandomWeights(DType type, int64_t rows, int64_t columns, uint64_t seed) {
  Random random(seed);
  const float size = 1 / std::sqrt(static_cast<float>(columns));
  std::vector<uint8_t> bytes(static_cast<size_t>(rows * RowBytes(type, columns)));
  const auto put = [&](size_t at, auto value) { std::memcpy(&bytes[at], &value, sizeof value); };
  if (type == DType::kF32 || type == DType::kF16 || type == DType::kBF16) {
    for (size_t i = 0; i < bytes.size(); i += InfoOf(type).block_bytes) {
      const float value = random.Normal() * size;
      if (type == DType::kF32) put(i, value);
      if (type == DType::kF16) put(i, ToHalf(value));
      if (type == DType::kBF16) put(i, static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16));
    }
    return bytes;
  }
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random.Bits() >> 30);
  if (type == DType::kMXFP4) {  // a power of two, doubled or halved, times codes of about 6
    const int exponent = 128 + std::ilogb(size / 6);
    for (size_t i = 0; i < bytes.size(); i += InfoOf(type).block_bytes)
      put(i, static_cast<uint8_t>(exponent - 1 + static_cast<int>(random.Bits() % 3)));
    return bytes;
  }
  const ScaleFields fields = FieldsOf(type);
  for (size_t i = 0; i < bytes.size(); i += InfoOf(type).block_bytes) {
    put(i + fields.scale, ToHalf(size * fields.scale_size * random.Uniform(0.5f, 1.5f)));
    if (fields.min >= 0) put(i + fields.min, ToHalf(size * fields.min_size * random.Uniform(0.5f, 1.5f)));
  }
  return bytes;
}

std::vector<float> RandomActivations(int64_t num_tokens, int64_t columns, uint64_t seed) {
  Random random(seed);
  std::vector<float> size(columns), x(num_tokens * columns);
  for (float& s : size) s = std::exp(0.6f * random.Normal()) * (random.Bits() % 200 == 0 ? 30 : 1);
  for (size_t i = 0; i < x.size(); ++i) x[i] = random.Normal() * size[i % columns];
  return x;
}

TensorView ViewOf(DType type, const std::vector<uint8_t>& bytes, int64_t rows, int64_t columns) {
  return {.type = type, .shape = {rows, columns}, .data = bytes.data()};
}

PackedMatrix PackOne(const KernelTable& table, DType type, const std::vector<uint8_t>& bytes, int64_t rows,
                     int64_t columns) {
  const TensorView view = ViewOf(type, bytes, rows, columns);
  return table.pack({.parts = absl::MakeConstSpan(&view, 1)});
}

std::vector<float> Multiply(const KernelTable& table, const PackedMatrix& matrix, const float* x,
                            int64_t num_tokens, const ProductOptions& options) {
  const int64_t columns = matrix.columns, outputs = matrix.interleaved ? matrix.rows / 2 : matrix.rows;
  AlignedBuffer activations(table.activation_bytes(matrix.activation, num_tokens, columns));
  const int64_t x_stride = columns + options.x_gap;
  for (int part = 0; part < options.parts; ++part) {
    const Range groups = PartOf(NumPrepareGroups(num_tokens), part, options.parts);
    table.prepare({.kind = matrix.activation,
                   .x = x + groups.first * kPrepareTokens * x_stride,
                   .x_stride = x_stride,
                   .num_tokens = num_tokens,
                   .columns = columns,
                   .out = activations.data(),
                   .groups = groups});
  }
  std::vector<float> y(num_tokens * (outputs + options.gap), options.initial);
  for (int part = 0; part < options.parts; ++part)
    table.matmul({.matrix = &matrix,
                  .activations = activations.data(),
                  .num_tokens = num_tokens,
                  .y = y.data(),
                  .y_stride = outputs + options.gap,
                  .epilogue = options.epilogue,
                  .activation = options.activation,
                  .numbers = options.numbers,
                  .bias = options.bias,
                  .panels = PartOf(matrix.num_panels, part, options.parts)});
  return y;
}

std::string FirstDifference(const float* a, const float* b, int64_t count) {
  for (int64_t i = 0; i < count; ++i)
    if (std::bit_cast<uint32_t>(a[i]) != std::bit_cast<uint32_t>(b[i]))
      return "element " + std::to_string(i) + ": " + std::to_string(a[i]) + " against " +
             std::to_string(b[i]);
  return "";
}

}  // namespace ropeway::kernels
