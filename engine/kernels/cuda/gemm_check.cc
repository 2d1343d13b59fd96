#include "engine/kernels/cuda/gemm_check.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>

#include "engine/base/splitmix.h"
#include "engine/tensor/half.h"

namespace ropeway::cuda {
namespace {

// Whole tiles of every algorithm.
constexpr int64_t kOutputs = 256, kMaxTokens = 256;

// rows [rows, columns] in [-1, 1).
std::vector<uint16_t> RandomNumbers(Element element, int64_t rows, int64_t columns, uint64_t seed) {
  std::vector<uint16_t> numbers(rows * columns);
  for (size_t i = 0; i < numbers.size(); ++i) {
    const auto number = static_cast<float>(2 * UnitInterval(seed, i) - 1);
    numbers[i] = element == Element::kF16 ? FloatToHalf(number) : FloatToBFloat16(number);
  }
  return numbers;
}

// Rows whose second half is the first again, with `flipped` bits: of each `apart`-th row.
void RepeatHalf(std::vector<uint16_t>& numbers, int64_t columns, int64_t apart, uint16_t flipped) {
  const auto rows = static_cast<int64_t>(numbers.size()) / columns;
  for (int64_t row = 0; row < rows; row += apart)
    for (int64_t k = 0; k < columns / 2; ++k)
      numbers[row * columns + columns / 2 + k] = numbers[row * columns + k] ^ flipped;
}

// On the stream, since what runs there waits for no other. `numbers` live until it was synchronised.
ErrorCode Upload(const std::vector<uint16_t>& numbers, Stream stream, DeviceBuffer& buffer) {
  const size_t bytes = numbers.size() * sizeof(uint16_t);
  if (const ErrorCode error = buffer.Allocate(bytes)) return error;
  return cudaMemcpyAsync(buffer.data(), numbers.data(), bytes, cudaMemcpyHostToDevice,
                         static_cast<cudaStream_t>(stream.native));
}

}  // namespace

MatMulArgs OwnArgs(const GemmArgs& args, int processors) {
  return {.weights = {DenseType(args.element), args.outputs, args.columns, args.weights},
          .element = args.element,
          .out = args.out,
          .num_tokens = args.tokens,
          .processors = processors,
          .x = args.x,
          .y = args.y,
          .y_stride = args.y_stride,
          .fresh_weights = args.fresh_weights};
}

DeviceBuffer::~DeviceBuffer() { cudaFree(data_); }

ErrorCode DeviceBuffer::Allocate(size_t bytes) { return cudaMalloc(&data_, bytes); }

struct GemmCheck::Sample {
  GemmArgs args;
  DeviceBuffer x, weights, y;
  std::vector<uint8_t> expected;
  Layouts layouts;

  ErrorCode Read(Stream stream, std::vector<uint8_t>* bytes) const {
    const auto native = static_cast<cudaStream_t>(stream.native);
    bytes->resize(args.tokens * args.outputs * BytesOf(args.out));
    if (const ErrorCode error = cudaStreamSynchronize(native)) return error;
    return cudaMemcpy(bytes->data(), y.data(), bytes->size(), cudaMemcpyDeviceToHost);
  }
};

GemmCheck::GemmCheck(const CublasLt& library, DenseMatMulFunction own, int processors)
    : library_(library), own_(own), processors_(processors) {}
GemmCheck::~GemmCheck() = default;

void GemmCheck::Forget() { samples_.clear(); }

ErrorCode GemmCheck::FindSample(const MatrixShape& shape, int64_t tokens, Stream stream,
                                const Sample** sample) {
  std::unique_ptr<Sample>& place = samples_[{shape, tokens}];
  *sample = place.get();
  if (place != nullptr) return 0;
  auto made = std::make_unique<Sample>();
  if (const auto status = made->layouts.Make(shape, tokens); status != CUBLAS_STATUS_SUCCESS)
    return CodeOf(status);
  // Every other output would be zero but for rounding, so that its bits tell of the order of sums even where
  // y has few.
  std::vector<uint16_t> x = RandomNumbers(shape.element, tokens, shape.columns, 1);
  std::vector<uint16_t> weights = RandomNumbers(shape.element, shape.outputs, shape.columns, 2);
  RepeatHalf(x, shape.columns, 1, 0x8000);
  RepeatHalf(weights, shape.columns, 2, 0);
  ErrorCode error = Upload(x, stream, made->x);
  if (error == 0) error = Upload(weights, stream, made->weights);
  if (error == 0) error = made->y.Allocate(tokens * shape.outputs * BytesOf(shape.out));
  made->args = {.tokens = tokens,
                .outputs = shape.outputs,
                .columns = shape.columns,
                .element = shape.element,
                .out = shape.out,
                .x = made->x.data(),
                .weights = made->weights.data(),
                .y = made->y.data(),
                .y_stride = shape.y_stride};
  if (error == 0) error = own_(OwnArgs(made->args, processors_), stream);
  if (error == 0) error = made->Read(stream, &made->expected);
  if (error != 0) {
    // The copies may still read x and weights.
    cudaStreamSynchronize(static_cast<cudaStream_t>(stream.native));
    return error;
  }
  place = std::move(made);
  *sample = place.get();
  return 0;
}

ErrorCode GemmCheck::Run(const Sample& sample, const cublasLtMatmulAlgo_t& algorithm, Stream stream,
                         bool* keeps) {
  if (library_.Check(sample.layouts, algorithm) != CUBLAS_STATUS_SUCCESS) return 0;
  const auto native = static_cast<cudaStream_t>(stream.native);
  // What an algorithm leaves as it was is not right because it was before.
  if (const ErrorCode error = cudaMemsetAsync(sample.y.data(), 0xFF, sample.expected.size(), native))
    return error;
  const auto status = library_.Multiply(sample.args, sample.layouts, algorithm, stream);
  if (status != CUBLAS_STATUS_SUCCESS) {
    const ErrorCode code = CodeOf(status);
    return code < kFirstGemmError ? code : 0;
  }
  std::vector<uint8_t> got;
  if (const ErrorCode error = sample.Read(stream, &got)) return error;
  *keeps = got == sample.expected;
  return 0;
}

ErrorCode GemmCheck::KeepsRule(const MatrixShape& shape, int64_t tokens,
                               const cublasLtMatmulAlgo_t& algorithm, Stream stream, bool* keeps) {
  MatrixShape small = shape;
  small.outputs = small.y_stride = kOutputs;
  const int64_t few = std::min(tokens, kMaxTokens);
  const auto [verdict, fresh] = verdicts_.try_emplace({{small, few}, NameOf(algorithm)}, false);
  *keeps = verdict->second;
  if (!fresh) return 0;
  const Sample* sample = nullptr;
  ErrorCode error = FindSample(small, few, stream, &sample);
  if (error == 0) error = Run(*sample, algorithm, stream, keeps);
  if (error == 0)
    verdict->second = *keeps;
  else
    verdicts_.erase(verdict);
  return error;
}

ProductCheck::ProductCheck(const CublasLt& library, DenseMatMulFunction own, int processors,
                           const GemmArgs& args, Stream stream)
    : library_(library), own_(own), processors_(processors), args_(args), stream_(stream) {}

uint8_t* ProductCheck::RowsOfY(int64_t first) const {
  return static_cast<uint8_t*>(args_.y) + first * args_.y_stride * BytesOf(args_.out);
}

ErrorCode ProductCheck::MultiplyOwn(int64_t first, int64_t count) const {
  GemmArgs args = args_;
  args.tokens = count;
  args.x = static_cast<const uint8_t*>(args.x) + first * args.columns * BytesOf(args.element);
  args.y = RowsOfY(first);
  return own_(OwnArgs(args, processors_), stream_);
}

ErrorCode ProductCheck::Read(int64_t first, int64_t count, std::vector<uint8_t>* bytes) const {
  const size_t row_bytes = args_.outputs * BytesOf(args_.out), stride = args_.y_stride * BytesOf(args_.out);
  bytes->resize(count * row_bytes);
  if (const ErrorCode error = cudaStreamSynchronize(static_cast<cudaStream_t>(stream_.native))) return error;
  return cudaMemcpy2D(bytes->data(), row_bytes, RowsOfY(first), stride, row_bytes, count,
                      cudaMemcpyDeviceToHost);
}

ErrorCode ProductCheck::FindExpected() {
  const int64_t head = HeadOf(args_.tokens), tail = TailOf(args_.tokens);
  ErrorCode error = MultiplyOwn(0, head);
  if (error == 0 && tail > 0) error = MultiplyOwn(args_.tokens - tail, tail);
  if (error == 0) error = Read(0, head, &head_);
  if (error == 0 && tail > 0) error = Read(args_.tokens - tail, tail, &tail_);
  return error;
}

ErrorCode ProductCheck::Compare(int64_t tokens, const cublasLtMatmulAlgo_t& algorithm, bool* keeps) const {
  *keeps = false;
  GemmArgs args = args_;
  args.tokens = tokens;
  Layouts layouts;
  if (layouts.Make(ShapeOf(args), tokens) != CUBLAS_STATUS_SUCCESS) return 0;
  if (library_.Check(layouts, algorithm) != CUBLAS_STATUS_SUCCESS) return 0;
  const size_t row_bytes = args.outputs * BytesOf(args.out), stride = args.y_stride * BytesOf(args.out);
  if (const ErrorCode error = cudaMemset2DAsync(args.y, stride, 0xFF, row_bytes, tokens,
                                                static_cast<cudaStream_t>(stream_.native)))
    return error;
  const auto status = library_.Multiply(args, layouts, algorithm, stream_);
  if (status != CUBLAS_STATUS_SUCCESS) {
    const ErrorCode code = CodeOf(status);
    return code < kFirstGemmError ? code : 0;
  }
  std::vector<uint8_t> got;
  if (const ErrorCode error = Read(0, HeadOf(tokens), &got)) return error;
  *keeps = std::equal(got.begin(), got.end(), head_.begin());
  if (!*keeps || tokens < args_.tokens || tail_.empty()) return 0;
  if (const ErrorCode error = Read(tokens - TailOf(tokens), TailOf(tokens), &got)) return error;
  *keeps = got == tail_;
  return 0;
}

ErrorCode ProductCheck::KeepsRule(const cublasLtMatmulAlgo_t& algorithm, bool* keeps) {
  *keeps = false;
  if (head_.empty()) {
    if (const ErrorCode error = FindExpected()) return error;
  }
  const ErrorCode error = Compare(args_.tokens, algorithm, keeps);
  return error != 0 || !*keeps ? error : Compare(args_.tokens / 2 + 1, algorithm, keeps);
}

}  // namespace ropeway::cuda
