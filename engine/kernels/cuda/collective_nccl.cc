// Collectives over NCCL.
//
// libnccl.so.2 is opened when the first group is made: one device needs none.
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <nccl.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <thread>
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

// One rank's communicator, whom its thread and the one that aborts it share.
class Communicator {
 public:
  explicit Communicator(ncclComm_t native) : native_(native) {}

  // call(communicator), unless the group was aborted.
  template <typename Call>
  ErrorCode Try(const Call& call) {
    in_use_ = true;
    const ErrorCode code = aborted_ ? ErrorCode{cudaErrorUnknown} : CodeOf(call(native_));
    in_use_ = false;
    return code;
  }
  void Destroy(const Nccl& nccl) { nccl.destroy(native_); }

  void Refuse() { aborted_ = true; }
  // After Refuse. A call that is under way is let end first, unless it is one that only this ends.
  void Abort(const Nccl& nccl) {
    constexpr int kPatience = 1000;  // ms
    for (int waited = 0; in_use_ && waited < kPatience; ++waited)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    nccl.abort(native_);
  }

 private:
  const ncclComm_t native_;
  std::atomic<bool> aborted_ = false, in_use_ = false;
};

// What the ranks share. The last of them to go destroys the communicators, unless they were aborted.
class Group {
 public:
  Group(const Nccl& nccl, const std::vector<ncclComm_t>& communicators) : nccl_(nccl) {
    for (const ncclComm_t native : communicators)
      communicators_.push_back(std::make_shared<Communicator>(native));
  }
  ~Group() {
    if (aborted_) return;
    for (const auto& communicator : communicators_) communicator->Destroy(nccl_);
  }

  const Nccl& nccl() const { return nccl_; }
  Communicator& communicator(int rank) { return *communicators_[rank]; }

  // Each on a thread of its own, which nobody waits for: the library ends what waits at once, but returns only when no
  // graph holds the communicator any more, and graphs go after the steps that this ends.
  void Abort() {
    std::lock_guard lock(mutex_);
    if (aborted_) return;
    aborted_ = true;
    for (const auto& communicator : communicators_) communicator->Refuse();
    for (const auto& communicator : communicators_)
      std::thread([nccl = nccl_, communicator] { communicator->Abort(nccl); }).detach();
  }

 private:
  const Nccl nccl_;
  std::vector<std::shared_ptr<Communicator>> communicators_;  // by rank
  std::mutex mutex_;
  bool aborted_ = false;  // guarded by mutex_ while ranks run
};

class NcclCollective final : public Collective {
 public:
  NcclCollective(int rank, std::shared_ptr<Group> group) : rank_(rank), group_(std::move(group)) {}

  ErrorCode AllReduce(void* values, int64_t count, Element element, Stream stream) override {
    return group_->communicator(rank_).Try([&](ncclComm_t communicator) {
      return group_->nccl().all_reduce(values, values, count, TypeOf(element), ncclSum, communicator,
                                       static_cast<cudaStream_t>(stream.native));
    });
  }

  ErrorCode Broadcast(int32_t* values, int64_t count, Stream stream) override {
    constexpr int kRoot = 0;
    return group_->communicator(rank_).Try([&](ncclComm_t communicator) {
      return group_->nccl().broadcast(values, values, count, ncclInt32, kRoot, communicator,
                                      static_cast<cudaStream_t>(stream.native));
    });
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
  const auto group = std::make_shared<Group>(nccl, communicators);
  for (int rank = 0; rank < size; ++rank) out[rank] = new NcclCollective(rank, group);
  return true;
}

}  // namespace ropeway::cuda
