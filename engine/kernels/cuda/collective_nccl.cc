// Collectives over NCCL.
//
// libnccl.so.2 is opened when the first group is made: one device needs none.
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <nccl.h>

#include <memory>
#include <mutex>
#include <vector>

#include "engine/kernels/cuda/nccl_collective.h"

namespace ropeway::cuda {
namespace {

constexpr char kLibrary[] = "libnccl.so.2";

// The functions of the library, as its header declares them.
struct Nccl {
  decltype(&ncclCommInitAll) init_all;
  decltype(&ncclCommDestroy) destroy;
  decltype(&ncclCommAbort) abort;
  decltype(&ncclAllReduce) all_reduce;
  decltype(&ncclBroadcast) broadcast;
  decltype(&ncclGetErrorString) error_string;
};

template <typename Function>
bool Load(void* library, const char* name, Function* function, std::string* error) {
  *function = reinterpret_cast<Function>(dlsym(library, name));
  if (*function == nullptr) *error = dlerror();
  return *function != nullptr;
}

// The library stays open.
bool OpenNccl(Nccl* nccl, std::string* error) {
  void* library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    *error = dlerror();
    return false;
  }
  return Load(library, "ncclCommInitAll", &nccl->init_all, error) &&
         Load(library, "ncclCommDestroy", &nccl->destroy, error) &&
         Load(library, "ncclCommAbort", &nccl->abort, error) &&
         Load(library, "ncclAllReduce", &nccl->all_reduce, error) &&
         Load(library, "ncclBroadcast", &nccl->broadcast, error) &&
         Load(library, "ncclGetErrorString", &nccl->error_string, error);
}

ncclDataType_t TypeOf(Element element) {
  switch (element) {
    case Element::kF32:
      return ncclFloat32;
    case Element::kF16:
      return ncclFloat16;
    case Element::kBF16:
      return ncclBfloat16;
  }
  return ncclFloat32;
}

// As a code of the CUDA runtime, which knows how to describe it.
ErrorCode CodeOf(ncclResult_t result) {
  if (result == ncclSuccess) return cudaSuccess;
  return result == ncclInvalidArgument ? cudaErrorInvalidValue : cudaErrorUnknown;
}

// What the ranks share. The last of them to go destroys the communicators, unless they were aborted.
class Group {
 public:
  Group(const Nccl& nccl, std::vector<ncclComm_t> communicators)
      : nccl_(nccl), communicators_(std::move(communicators)) {}
  ~Group() {
    if (aborted_) return;
    for (const ncclComm_t communicator : communicators_) nccl_.destroy(communicator);
  }

  const Nccl& nccl() const { return nccl_; }
  ncclComm_t communicator(int rank) const { return communicators_[rank]; }

  void Abort() {
    std::lock_guard lock(mutex_);
    if (aborted_) return;
    aborted_ = true;
    for (const ncclComm_t communicator : communicators_) nccl_.abort(communicator);
  }

 private:
  const Nccl nccl_;
  const std::vector<ncclComm_t> communicators_;
  std::mutex mutex_;
  bool aborted_ = false;  // guarded by mutex_ while ranks run
};

class NcclCollective final : public Collective {
 public:
  NcclCollective(int rank, std::shared_ptr<Group> group) : rank_(rank), group_(std::move(group)) {}

  ErrorCode AllReduce(void* values, int64_t count, Element element, Stream stream) override {
    return CodeOf(group_->nccl().all_reduce(values, values, count, TypeOf(element), ncclSum,
                                            group_->communicator(rank_),
                                            static_cast<cudaStream_t>(stream.native)));
  }

  ErrorCode Broadcast(int32_t* values, int64_t count, Stream stream) override {
    constexpr int kRoot = 0;
    return CodeOf(group_->nccl().broadcast(values, values, count, ncclInt32, kRoot,
                                           group_->communicator(rank_),
                                           static_cast<cudaStream_t>(stream.native)));
  }

  void Abort() override { group_->Abort(); }

 private:
  const int rank_;
  const std::shared_ptr<Group> group_;
};

}  // namespace

bool MakeNcclCollectives(int size, const int* devices, Collective** out, std::string* error) {
  Nccl nccl;
  if (!OpenNccl(&nccl, error)) return false;
  std::vector<ncclComm_t> communicators(size);
  const ncclResult_t result = nccl.init_all(communicators.data(), size, devices);
  if (result != ncclSuccess) {
    *error = nccl.error_string(result);
    return false;
  }
  const auto group = std::make_shared<Group>(nccl, std::move(communicators));
  for (int rank = 0; rank < size; ++rank) out[rank] = new NcclCollective(rank, group);
  return true;
}

}  // namespace ropeway::cuda
