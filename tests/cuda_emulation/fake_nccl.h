// What the stand-in for NCCL was asked.
#ifndef ROPEWAY_TESTS_CUDA_EMULATION_FAKE_NCCL_H_
#define ROPEWAY_TESTS_CUDA_EMULATION_FAKE_NCCL_H_

#include <cstddef>
#include <vector>

namespace ropeway::cuda::emulation {

struct FakeNccl {
  struct Sum {
    int rank;
    const void* from;
    void* to;
    size_t count;
    int type, operation;  // ncclDataType_t, ncclRedOp_t
    void* stream;
  };
  struct Broadcast {
    int rank;
    const void* from;
    void* to;
    size_t count;
    int type, root;  // ncclDataType_t
    void* stream;
  };

  int next_result = 0;  // ncclResult_t of all calls that may fail
  std::vector<int> devices;
  std::vector<Sum> sums;
  std::vector<Broadcast> broadcasts;
  int living = 0, destroyed = 0, aborted = 0;  // communicators
};

}  // namespace ropeway::cuda::emulation

// Exported by the stand-in.
extern "C" ropeway::cuda::emulation::FakeNccl* fake_nccl();

#endif  // ROPEWAY_TESTS_CUDA_EMULATION_FAKE_NCCL_H_
