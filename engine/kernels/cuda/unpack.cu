// out [M, K] of the element type = packed weights, exactly the numbers of engine/tensor/dequantize, rounded
// to the element type: what the products of packed_matmul.cu are made of, for a product by Gemm.
//
// A thread a unit of 32 columns. Moves the packed rows and M K elements, 128 bits at a time.
#include "engine/kernels/cuda/launchers.h"
#include "engine/kernels/cuda/packed_units.cuh"

namespace ropeway::cuda {
namespace {

constexpr int kThreads = 128;

template <DType kType, class T>
__global__ void __launch_bounds__(kThreads)
    UnpackKernel(PackedPlanes planes, int64_t first_unit, int64_t units, T* out) {
  const int64_t unit = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (unit >= units) return;
  float weights[kUnitColumns];
  UnpackUnit<kType>(planes, first_unit + unit, weights);
  StoreFloats(out + unit * kUnitColumns, weights);
}

}  // namespace

ErrorCode Unpack(const UnpackArgs& args, Stream stream) {
  const int64_t row_units = args.weights.columns / kUnitColumns;
  const int64_t units = args.num_rows * row_units;
  return WithPackedType(args.weights.type, [&]<DType kType>() {
    return WithElement(args.element, [&]<class T>() {
      return Launch(stream, UnpackKernel<kType, T>,
                    dim3(static_cast<unsigned>((units + kThreads - 1) / kThreads)), dim3(kThreads), 0,
                    PlanesOf(args.weights), args.first_row * row_units, units, static_cast<T*>(args.out));
    });
  });
}

}  // namespace ropeway::cuda
