// What the stand-in for NCCL was asked.
//
// As the library does, ncclCommAbort ends what waits at once and returns only when no graph holds the communicator. Fields
// that it changes on threads of its caller's are read by Get.
#ifndef ROPEWAY_TESTS_CUDA_EMULATION_FAKE_NCCL_H_
#define ROPEWAY_TESTS_CUDA_EMULATION_FAKE_NCCL_H_

#include <atomic>
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
  int graphs = 0;                              // that hold communicators: captured sums
  int living = 0, destroyed = 0, aborted = 0;  // communicators
  int ended = 0;                               // of those aborted, whose calls end
  int used_after_end = 0;                      // calls for an aborted one

  int Get(int& field) const { return std::atomic_ref<int>(field).load(); }
  void Set(int& field, int value) const { std::atomic_ref<int>(field).store(value); }
  void Add(int& field, int value) const { std::atomic_ref<int>(field).fetch_add(value); }
};

}  // namespace ropeway::cuda::emulation

// Exported by the stand-in.
extern "C" ropeway::cuda::emulation::FakeNccl* fake_nccl();

#endif  // ROPEWAY_TESTS_CUDA_EMULATION_FAKE_NCCL_H_
