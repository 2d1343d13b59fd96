// A stand-in for libnccl.so.2 that computes nothing and remembers what it was asked (fake_nccl.h).
#include "tests/cuda_emulation/fake_nccl.h"

#include <nccl.h>

#include <atomic>
#include <chrono>
#include <thread>

struct ncclComm {
  int rank;
  std::atomic<bool> ended = false;
};

namespace {

ropeway::cuda::emulation::FakeNccl& State() {
  static ropeway::cuda::emulation::FakeNccl state;
  return state;
}

}  // namespace

#define FAKE_NCCL_EXPORT extern "C" __attribute__((visibility("default")))

FAKE_NCCL_EXPORT ropeway::cuda::emulation::FakeNccl* fake_nccl() { return &State(); }

FAKE_NCCL_EXPORT ncclResult_t ncclCommInitAll(ncclComm_t* communicators, int count, const int* devices) {
  State().devices.assign(devices, devices + count);
  if (State().next_result != 0) return static_cast<ncclResult_t>(State().next_result);
  for (int rank = 0; rank < count; ++rank) communicators[rank] = new ncclComm{.rank = rank};
  State().Add(State().living, count);
  return ncclSuccess;
}

FAKE_NCCL_EXPORT ncclResult_t ncclCommDestroy(ncclComm_t communicator) {
  ++State().destroyed;
  State().Add(State().living, -1);
  delete communicator;
  return ncclSuccess;
}

FAKE_NCCL_EXPORT ncclResult_t ncclCommAbort(ncclComm_t communicator) {
  communicator->ended = true;
  State().Add(State().ended, 1);
  while (State().Get(State().graphs) > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  delete communicator;
  State().Add(State().aborted, 1);
  State().Add(State().living, -1);
  return ncclSuccess;
}

FAKE_NCCL_EXPORT ncclResult_t ncclAllReduce(const void* from, void* to, size_t count, ncclDataType_t type,
                                            ncclRedOp_t operation, ncclComm_t communicator,
                                            cudaStream_t stream) {
  if (communicator->ended) ++State().used_after_end;
  State().sums.push_back({.rank = communicator->rank,
                          .from = from,
                          .to = to,
                          .count = count,
                          .type = type,
                          .operation = operation,
                          .stream = stream});
  return static_cast<ncclResult_t>(State().next_result);
}

FAKE_NCCL_EXPORT ncclResult_t ncclBroadcast(const void* from, void* to, size_t count, ncclDataType_t type,
                                            int root, ncclComm_t communicator, cudaStream_t stream) {
  if (communicator->ended) ++State().used_after_end;
  State().broadcasts.push_back({.rank = communicator->rank,
                                .from = from,
                                .to = to,
                                .count = count,
                                .type = type,
                                .root = root,
                                .stream = stream});
  return static_cast<ncclResult_t>(State().next_result);
}

FAKE_NCCL_EXPORT const char* ncclGetErrorString(ncclResult_t) { return "a reason of the fake"; }
