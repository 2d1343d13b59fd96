#include "tests/bench/cuda/fused_cases.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "engine/kernels/cuda/fused_matmul.h"
#include "engine/kernels/cuda/stream_matmul.h"
#include "engine/tensor/shape.h"
#include "tests/testing/run_apart.h"

namespace ropeway {
namespace {

using cuda::Element;

constexpr Element kElement = Element::kBF16;
constexpr int64_t kElementBytes = BytesOf(kElement);
constexpr int kContext = 512;  // positions that there are angles for

enum class Part { kQkv, kOutput, kGateUp, kDown };

const char* NameOf(Part part) {
  switch (part) {
    case Part::kQkv:
      return "norm qkv rotate";
    case Part::kOutput:
      return "o add";
    case Part::kGateUp:
      return "norm gate_up act";
    case Part::kDown:
      return "down add";
  }
  return "";
}

// kStreamed: fused, with dense weights by cp.async where the device has bulk copies, by which they come otherwise.
enum class How { kApart, kFused, kStreamed };

const char* NameOf(How how) {
  switch (how) {
    case How::kApart:
      return "apart ";
    case How::kFused:
      return "fused ";
    case How::kStreamed:
      return "streamed ";
  }
  return "";
}

struct FusedCase {
  Part part;
  DType type;
  int tokens;
  How how;
};

int64_t OutputsOf(const BenchShape& shape, Part part) {
  if (part == Part::kQkv) return int64_t{shape.num_heads + 2 * shape.num_kv_heads} * shape.head_dim;
  return part == Part::kGateUp ? int64_t{2} * shape.ffn_size : shape.hidden_size;
}
int64_t ColumnsOf(const BenchShape& shape, Part part) {
  if (part == Part::kOutput) return int64_t{shape.num_heads} * shape.head_dim;
  return part == Part::kDown ? shape.ffn_size : shape.hidden_size;
}

float* Floats(BenchDevice& device, int64_t count) {
  return static_cast<float*>(device.Allocate(count * static_cast<int64_t>(sizeof(float))));
}

// Each token is the last of a sequence of its own.
cuda::QkvArgs Rotation(const BenchShape& shape, int tokens, BenchDevice& device) {
  std::vector<int32_t> positions(static_cast<size_t>(tokens), kContext - 1), rows, tables;
  const int pages = kContext / kPageTokens;
  for (int token = 0; token < tokens; ++token) {
    rows.push_back(token);
    for (int page = 0; page < pages; ++page) tables.push_back(token);
  }
  cuda::KvPages kv = {.element = cuda::KvElement::kBF16,
                      .num_kv_heads = shape.num_kv_heads,
                      .head_dim = shape.head_dim,
                      .value_dim = shape.head_dim};
  kv.data = static_cast<uint8_t*>(device.Allocate(tokens * kv.page_bytes()));
  return {.element = kElement,
          .num_tokens = tokens,
          .num_heads = shape.num_heads,
          .rotary_dim = shape.head_dim,
          .cosines = Floats(device, int64_t{kContext} * shape.head_dim / 2),
          .sines = Floats(device, int64_t{kContext} * shape.head_dim / 2),
          .positions = device.Upload(positions),
          .token_rows = device.Upload(rows),
          .page_tables = device.Upload(tables),
          .max_pages = pages,
          .kv = kv,
          .queries = device.Allocate(int64_t{tokens} * shape.num_heads * shape.head_dim * kElementBytes)};
}

cuda::FusedMatMulArgs ArgsOf(const BenchShape& shape, const FusedCase& c, BenchDevice& device) {
  const int64_t outputs = OutputsOf(shape, c.part), columns = ColumnsOf(shape, c.part);
  cuda::FusedMatMulArgs args = {
      .product = {.weights = {c.type, outputs, columns, nullptr},
                  .element = kElement,
                  .out = kElement,
                  .num_tokens = c.tokens,
                  .processors = device.info().processors,
                  .x = device.Allocate(c.tokens * columns * kElementBytes),
                  .y = device.Allocate(c.tokens * outputs * kElementBytes),
                  .y_stride = outputs,
                  .bulk_copies = c.how != How::kStreamed && cuda::HasBulkCopies(device.info())}};
  const cuda::NormArgs rows = {.element = kElement,
                               .num_rows = c.tokens,
                               .columns = shape.hidden_size,
                               .epsilon = 1e-5f,
                               .residual = Floats(device, int64_t{c.tokens} * shape.hidden_size)};
  if (c.part == Part::kQkv || c.part == Part::kGateUp) {
    args.norm = rows;
    args.norm->weight = Floats(device, shape.hidden_size);
    args.norm->out = const_cast<void*>(args.product.x);
  } else {
    args.add = rows;
    args.add->kind = NormKind::kNone;
    args.add->branch = args.product.y;
    args.add->branch_scale = 0.5f;
  }
  if (c.part == Part::kQkv) {
    args.qkv = Rotation(shape, c.tokens, device);
    args.qkv->qkv = args.product.y;
  }
  if (c.part == Part::kGateUp)
    args.gate = cuda::GateArgs{.element = kElement,
                               .num_tokens = c.tokens,
                               .columns = shape.ffn_size,
                               .gate_up = args.product.y,
                               .out = device.Allocate(int64_t{c.tokens} * shape.ffn_size * kElementBytes)};
  return args;
}

// As far as the executor takes them together: with more tokens the norm is a kernel of its own.
cuda::ErrorCode RunTogether(cuda::FusedMatMulArgs args, const BenchDevice& device) {
  if (args.norm && args.product.num_tokens > cuda::FusedTokens(args)) {
    if (const cuda::ErrorCode error = device.kernels().norm(*args.norm, device.stream())) return error;
    args.norm.reset();
  }
  return device.kernels().fused_matmul(args, device.stream());
}

OpCase CaseOf(const BenchShape& shape, const FusedCase& c) {
  const int64_t outputs = OutputsOf(shape, c.part), columns = ColumnsOf(shape, c.part);
  const int64_t bytes = cuda::DeviceMatrixBytes(c.type, outputs, columns);
  return {.operation = absl::StrCat(NameOf(c.how), NameOf(c.part)),
          .sizes = absl::StrCat(ropeway::NameOf(c.type), ", T ", c.tokens),
          .bytes = static_cast<double>(bytes),  // those of the tokens are few
          .prepare = [=](BenchDevice& device) -> BenchDevice::Call {
            const cuda::FusedMatMulArgs args = ArgsOf(shape, c, device);
            return [=, &device](int64_t repeat) {
              cuda::FusedMatMulArgs again = args;
              again.product.weights.data = device.FromPool(bytes, repeat);
              if (c.how == How::kApart) return testing::RunApart(device.kernels(), again, device.stream());
              return RunTogether(again, device);
            };
          }};
}

}  // namespace

void AddFusedCases(const BenchShape& shape, bool has_bulk_copies, std::vector<OpCase>& cases) {
  for (const DType type : {DType::kBF16, DType::kQ4_K}) {
    for (const Part part : {Part::kQkv, Part::kOutput, Part::kGateUp, Part::kDown}) {
      if (ColumnsOf(shape, part) % InfoOf(type).block_columns != 0) continue;
      for (const int tokens : {1, 2, 8, 16})
        for (const How how : {How::kApart, How::kFused, How::kStreamed})
          if (how != How::kStreamed || (has_bulk_copies && !cuda::IsPacked(type)))
            cases.push_back(CaseOf(shape, {part, type, tokens, how}));
    }
  }
}

}  // namespace ropeway
