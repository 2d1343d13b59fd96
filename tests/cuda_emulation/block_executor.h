// Executes the blocks of a kernel on one OS thread, one after another; the threads of a block are fibers.
//
// A thread runs until it waits for others (a barrier, a warp collective) or ends; who runs next, the schedule
// says. The last lane to arrive at a collective performs it for all of them. Where nobody can run, or a rule
// is broken, the block is abandoned: its fibers are never resumed, and the error says who waits where.
//
// State that fibers share is kept in plain arrays: the emulator is not instrumented for ThreadSanitizer, and
// a library's inline functions might be.
#ifndef ROPEWAY_TESTS_CUDA_EMULATION_BLOCK_EXECUTOR_H_
#define ROPEWAY_TESTS_CUDA_EMULATION_BLOCK_EXECUTOR_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/cuda_emulation/block_context.h"
#include "tests/cuda_emulation/bulk_barriers.h"
#include "tests/cuda_emulation/fiber.h"
#include "tests/cuda_emulation/shared_memory.h"
#include "tests/cuda_emulation/warpgroup_context.h"

namespace ropeway::cuda::emulation {

enum class Schedule { kFifo, kLifo, kRandom };

enum class Operation : uint8_t {
  kNone,
  kBarrier,
  kSyncWarp,
  kShuffle,
  kBallot,
  kMma,
  kLoadMatrix,
  kLoadMatrixTrans,
  kWarpgroupWait,
  kGridWait,
  kPhase
};

struct AsyncCopy {
  void* to;
  const void* from;
  bool predicate;
  bool taken = false;  // `bytes` are what is copied: what `from` had before the kernel in front ran
  alignas(16) unsigned char bytes[16];
};

struct DeviceThread : ThreadView {
  Fiber fiber;
  int id = 0;
  bool done = true;
  bool waited = false;  // for the kernels in front
  // What it waits for.
  Operation operation = Operation::kNone;
  unsigned mask = 0;
  SourceLine at = {};
  std::vector<std::vector<AsyncCopy>> copy_groups;  // committed, oldest first
  std::vector<AsyncCopy> copies;                    // not committed
  // Of warpgroups.
  std::vector<const void*>
      unfenced;  // where copies have arrived that its FenceAsyncProxy is still to come for
  bool warpgroup_fenced = false;
  std::vector<std::vector<WarpgroupProduct>> product_groups;  // committed, oldest first
  std::vector<WarpgroupProduct> products;                     // not committed
  // Waited for. Here and not on the fiber's stack, of which a failure elsewhere gives nothing back.
  std::vector<WarpgroupProduct> awaited_products;
  // Of bulk copies.
  bool global_fenced = false;  // since it waited for the kernels in front
  const BulkBarrier* awaited_barrier = nullptr;
};

// Lanes of a warp that wait for the rest of `mask`.
struct Gathering {
  Operation operation;
  unsigned mask, arrived;
  void* arguments[32];
  void* sync_address;  // for ThreadSanitizer
};

struct Warp {
  unsigned live = 0;
  int num_gatherings = 0;
  Gathering gatherings[32];
  unsigned num_syncs = 0;
  char sync_addresses[64];
};

class BlockExecutor;
// Computes the products that the lanes of a warp wait for, given by a vector of each.
void PerformWarpgroupWait(BlockExecutor& executor, void* const (&arguments)[32], SourceLine at);

class BlockExecutor {
 public:
  // Before the blocks of a launch, of which each may have so much shared memory. `seed` is for kRandom.
  void Prepare(const LaunchShape& shape, const std::function<void()>& body, size_t shared_bytes_max,
               Schedule schedule, uint64_t seed);
  // Executes block number `index`; false with the reason where it failed. REQUIRES: Prepare was called by the
  // same OS thread.
  bool RunBlock(uint64_t index, std::string* error);
  // The same in two parts, for a block of a kernel that begins before the one in front runs: first its threads
  // run until they all wait for that one, or for each other, or have ended.
  void BeginBlock(uint64_t index);
  bool FinishBlock(std::string* error);

  // The rest is called by device threads.
  static BlockExecutor& Current();
  DeviceThread& self() { return *static_cast<DeviceThread*>(current_thread); }
  SharedMemory& shared() { return shared_; }
  [[noreturn]] void Fail(const char* what, SourceLine at);
  void Barrier(SourceLine at);
  int BarrierReduce(bool predicate, Reduction reduction, SourceLine at);
  void GridWait(SourceLine at);
  // Whether the calling thread may not see yet what the kernel in front writes.
  bool is_early() { return early_ && !self().waited; }
  // Whether copies of any thread have arrived without their fence; and whether one has at the 16 bytes.
  bool HasUnfenced() const;
  bool IsUnfenced(const void* address) const;
  BulkBarriers& bulk_barriers() { return *bulk_barriers_; }
  void AwaitPhase(BulkBarrier& barrier, unsigned parity, SourceLine at);
  void EndPhaseIfAwaited(BulkBarrier& barrier);
  // `argument` lies on the caller's stack, and stays there while it waits.
  void Collective(Operation operation, unsigned mask, void* argument, SourceLine at);

 private:
  static void ThreadMain();
  void StartBlock(uint64_t index, bool early);
  void RunThreads();
  void RunThread();
  void Reschedule();
  void SwitchToMain();
  void MakeReady(int id);
  int NextReady();
  void ReleaseBarrier(int except);
  void EndPhase(BulkBarrier& barrier);
  void AbandonThreads();
  std::string DescribeWaiting() const;
  uint64_t Random();

  // Of the launch.
  LaunchShape shape_;
  const std::function<void()>* body_ = nullptr;
  Schedule schedule_ = Schedule::kFifo;
  uint64_t random_ = 1;
  int num_candidates_ = 1;  // that kRandom draws at a time
  int num_threads_ = 0;
  std::vector<std::unique_ptr<DeviceThread>> threads_;
  std::vector<std::unique_ptr<Warp>> warps_;
  SharedMemory shared_;
  const std::unique_ptr<BulkBarriers> bulk_barriers_ = std::make_unique_for_overwrite<BulkBarriers>();
  Fiber main_;

  // Of the block.
  BlockView block_ = {};
  int live_ = 0;
  bool failed_ = false;
  bool early_ = false;             // the kernel in front has not run yet
  std::vector<int> grid_waiting_;  // threads that wait for it
  char error_[512] = {};
  uint16_t ready_[kMaxBlockThreads];  // a ring for kFifo, a stack otherwise
  int ready_head_ = 0, num_ready_ = 0;
  uint64_t priorities_[kMaxBlockThreads / 32];  // of warps, for kRandom
  uint16_t waiting_[kMaxBlockThreads];          // at the barrier
  int num_waiting_ = 0;
  int barrier_counts_[2] = {};  // by predicate, of threads that have arrived
  int barrier_results_[3] = {};
  unsigned barrier_generation_ = 0;
  // Addresses that stand for synchronisation. Beginning and end are two: one would order threads that have
  // ended before those that have not begun.
  char begin_sync_ = 0, end_sync_ = 0, barrier_syncs_[2] = {};
};

}  // namespace ropeway::cuda::emulation

#endif  // ROPEWAY_TESTS_CUDA_EMULATION_BLOCK_EXECUTOR_H_
