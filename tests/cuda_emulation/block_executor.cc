#include "tests/cuda_emulation/block_executor.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <utility>

namespace ropeway::cuda::emulation {

constinit thread_local ThreadView* current_thread = nullptr;
constinit thread_local BlockView* current_block = nullptr;

namespace {

constinit thread_local BlockExecutor* current_executor = nullptr;

const char* NameOf(Operation operation) {
  switch (operation) {
    case Operation::kNone:
      return "ready to run";
    case Operation::kBarrier:
      return "in __syncthreads";
    case Operation::kSyncWarp:
      return "in __syncwarp";
    case Operation::kShuffle:
      return "in a shuffle";
    case Operation::kBallot:
      return "in a ballot";
    case Operation::kMma:
      return "in mma";
    case Operation::kLoadMatrix:
      return "in ldmatrix";
    case Operation::kLoadMatrixTrans:
      return "in ldmatrix.trans";
    case Operation::kWarpgroupWait:
      return "waiting for wgmma";
    case Operation::kGridWait:
      return "in GridDependencyWait";
    case Operation::kPhase:
      return "waiting for a phase";
  }
  return "";
}

bool SameLine(SourceLine a, SourceLine b) { return a.line == b.line && std::strcmp(a.file, b.file) == 0; }

unsigned LanesOf(int num_threads, int warp) {
  const int lanes = num_threads - warp * 32;
  return lanes >= 32 ? ~0u : (1u << lanes) - 1;
}

}  // namespace

BlockExecutor& BlockExecutor::Current() { return *current_executor; }

void BlockExecutor::Prepare(const LaunchShape& shape, const std::function<void()>& body,
                            size_t shared_bytes_max, Schedule schedule, uint64_t seed) {
  shape_ = shape;
  body_ = &body;
  schedule_ = schedule;
  random_ = seed | 1;
  num_candidates_ = seed >> 32 & 1 ? 8 : 1;
  num_threads_ = static_cast<int>(shape.block.x * shape.block.y * shape.block.z);
  while (static_cast<int>(threads_.size()) < num_threads_) {
    threads_.push_back(std::make_unique<DeviceThread>());
    DeviceThread& thread = *threads_.back();
    thread.id = static_cast<int>(threads_.size()) - 1;
    thread.lane = static_cast<unsigned>(thread.id) % 32;
    thread.fiber.Restart(ThreadMain);
  }
  while (static_cast<int>(warps_.size()) * 32 < num_threads_) warps_.push_back(std::make_unique<Warp>());
  main_.AdoptThread();
  shared_.Reset(shape.shared_bytes, shared_bytes_max);
}

bool BlockExecutor::RunBlock(uint64_t index, std::string* error) {
  StartBlock(index, false);
  return FinishBlock(error);
}

void BlockExecutor::BeginBlock(uint64_t index) {
  StartBlock(index, true);
  RunThreads();
}

void BlockExecutor::StartBlock(uint64_t index, bool early) {
  const dim3 grid = shape_.grid, size = shape_.block;
  block_ = {{static_cast<unsigned>(index % grid.x), static_cast<unsigned>(index / grid.x % grid.y),
             static_cast<unsigned>(index / grid.x / grid.y)},
            size,
            grid};
  live_ = num_threads_;
  ready_head_ = num_ready_ = num_waiting_ = 0;
  barrier_counts_[0] = barrier_counts_[1] = 0;
  failed_ = false;
  early_ = early;
  grid_waiting_.clear();
  grid_waiting_.reserve(kMaxBlockThreads);  // ThreadSanitizer would see device threads' lists grow
  bulk_barriers_->Clear();
  error_[0] = 0;
  for (uint64_t& priority : priorities_) priority = Random();
  for (int w = 0; w * 32 < num_threads_; ++w) {
    warps_[w]->num_gatherings = 0;
    warps_[w]->live = LanesOf(num_threads_, w);
  }
  for (int i = 0; i < num_threads_; ++i) {
    DeviceThread& thread = *threads_[i];
    const unsigned u = static_cast<unsigned>(i);
    thread.thread_index = {u % size.x, u / size.x % size.y, u / size.x / size.y};
    thread.done = false;
    thread.waited = false;
    thread.unfenced.clear();
    thread.warpgroup_fenced = false;
    thread.global_fenced = false;
    thread.operation = Operation::kNone;
    MakeReady(i);
  }
  shared_.Poison();
}

// Until none can go on by itself.
void BlockExecutor::RunThreads() {
  current_block = &block_;
  current_executor = this;
  SanitizerRelease(&begin_sync_);
  DeviceThread& first = *threads_[NextReady()];
  current_thread = &first;
  Fiber::Switch(main_, first.fiber, true);
  SanitizerAcquire(&end_sync_);
  current_executor = nullptr;
  current_block = nullptr;
}

bool BlockExecutor::FinishBlock(std::string* error) {
  early_ = false;
  for (const int id : grid_waiting_) MakeReady(id);
  grid_waiting_.clear();
  if (!failed_ && live_ > 0) RunThreads();
  if (!failed_) return true;
  // What the abandoned threads have done happened before what follows.
  for (int i = 0; i < num_threads_; ++i) Fiber::OrderBefore(threads_[i]->fiber, main_);
  *error = error_[0] != 0 ? std::string(error_) : DescribeWaiting();
  AbandonThreads();
  return false;
}

void BlockExecutor::AbandonThreads() {
  for (int i = 0; i < num_threads_; ++i) {
    DeviceThread& thread = *threads_[i];
    thread.copies.clear();
    thread.copy_groups.clear();
    thread.products.clear();
    thread.product_groups.clear();
    thread.fiber.Restart(ThreadMain);
  }
}

std::string BlockExecutor::DescribeWaiting() const {
  std::map<std::string, int> counts;
  for (int i = 0; i < num_threads_; ++i) {
    const DeviceThread& thread = *threads_[i];
    char text[400] = "ended";
    if (!thread.done && thread.operation == Operation::kBarrier) {
      std::snprintf(text, sizeof text, "%s at %s:%d", NameOf(thread.operation), thread.at.file,
                    thread.at.line);
    } else if (!thread.done && thread.operation == Operation::kPhase) {
      const BulkBarrier& barrier = *thread.awaited_barrier;
      std::snprintf(text, sizeof text,
                    "%s at %s:%d: phase %u, which misses %d arrivals, and of %lld bytes has %lld coming",
                    NameOf(thread.operation), thread.at.file, thread.at.line, barrier.phase, barrier.missing,
                    static_cast<long long>(barrier.expected), static_cast<long long>(barrier.coming));
    } else if (!thread.done) {
      std::snprintf(text, sizeof text, "%s at %s:%d of lanes %08x", NameOf(thread.operation), thread.at.file,
                    thread.at.line, thread.mask);
    }
    ++counts[text];
  }
  char head[128];
  std::snprintf(head, sizeof head, "no thread of block %u,%u,%u can go on:", block_.block_index.x,
                block_.block_index.y, block_.block_index.z);
  std::string description = head;
  for (const auto& [what, count] : counts) description += "\n  " + std::to_string(count) + " threads " + what;
  return description;
}

// ---- Called by device threads.

void BlockExecutor::ThreadMain() {
  Fiber::Entered();
  for (;;) BlockExecutor::Current().RunThread();
}

void BlockExecutor::RunThread() {
  DeviceThread& me = self();
  SanitizerAcquire(&begin_sync_);
  (*body_)();
  if (!me.copies.empty() || !me.copy_groups.empty()) {
    Fail("a thread ended with cp.async in flight", SourceLine::Here());
  }
  if (!me.products.empty() || !me.product_groups.empty()) {
    Fail("a thread ended with wgmma in flight", SourceLine::Here());
  }
  if (shape_.dependent && !me.waited) {
    Fail("a thread of a dependent kernel ended without GridDependencyWait", SourceLine::Here());
  }
  SanitizerRelease(&end_sync_);
  me.done = true;
  --live_;
  warps_[me.id / 32]->live &= ~(1u << me.lane);
  if (live_ == 0 && bulk_barriers_->HasCopies())
    Fail("a block ended with bulk copies under way", SourceLine::Here());
  if (num_waiting_ > 0)
    Fail("a thread ended while others wait in this __syncthreads", threads_[waiting_[0]]->at);
  if (live_ == 0) {
    SwitchToMain();
  } else {
    Reschedule();
  }
}

void BlockExecutor::SwitchToMain() {
  DeviceThread& me = self();
  current_thread = nullptr;
  Fiber::Switch(me.fiber, main_, false);
}

// Gives up the processor. The caller has put itself where somebody finds it.
void BlockExecutor::Reschedule() {
  if (num_ready_ == 0) {
    failed_ = grid_waiting_.empty();
    SwitchToMain();
    if (failed_) std::abort();  // abandoned fibers are not resumed
    return;
  }
  DeviceThread& me = self();
  DeviceThread& next = *threads_[NextReady()];
  if (&next == &me) return;
  current_thread = &next;
  Fiber::Switch(me.fiber, next.fiber, false);
}

void BlockExecutor::Fail(const char* what, SourceLine at) {
  const uint3 block = block_.block_index, thread = self().thread_index;
  std::snprintf(error_, sizeof error_, "%s:%d: %s (block %u,%u,%u thread %u,%u,%u)", at.file, at.line, what,
                block.x, block.y, block.z, thread.x, thread.y, thread.z);
  failed_ = true;
  SwitchToMain();
  std::abort();
}

uint64_t BlockExecutor::Random() {
  random_ ^= random_ << 13;
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  return random_;
}

void BlockExecutor::MakeReady(int id) {
  const int at = schedule_ == Schedule::kFifo ? (ready_head_ + num_ready_) % kMaxBlockThreads : num_ready_;
  ready_[at] = static_cast<uint16_t>(id);
  ++num_ready_;
}

int BlockExecutor::NextReady() {
  --num_ready_;
  if (schedule_ == Schedule::kFifo) {
    const int id = ready_[ready_head_];
    ready_head_ = (ready_head_ + 1) % kMaxBlockThreads;
    return id;
  }
  if (schedule_ == Schedule::kRandom) {
    // The most preferred of a few: some warps run far ahead of others, as uniform choice would not let them.
    int best = -1;
    for (int i = 0; i < num_candidates_; ++i) {
      const auto at = static_cast<int>(Random() % static_cast<uint64_t>(num_ready_ + 1));
      if (best < 0 || priorities_[ready_[at] / 32] > priorities_[ready_[best] / 32]) best = at;
    }
    const uint16_t id = ready_[best];
    ready_[best] = ready_[num_ready_];
    return id;
  }
  return ready_[num_ready_];
}

void BlockExecutor::ReleaseBarrier(int except) {
  ++barrier_generation_;
  barrier_results_[static_cast<int>(Reduction::kAnd)] = barrier_counts_[0] == 0;
  barrier_results_[static_cast<int>(Reduction::kOr)] = barrier_counts_[1] != 0;
  barrier_results_[static_cast<int>(Reduction::kCount)] = barrier_counts_[1];
  barrier_counts_[0] = barrier_counts_[1] = 0;
  for (int i = 0; i < num_waiting_; ++i) {
    if (waiting_[i] != except) MakeReady(waiting_[i]);
  }
  num_waiting_ = 0;
}

void BlockExecutor::Barrier(SourceLine at) {
  DeviceThread& me = self();
  me.operation = Operation::kBarrier;
  me.at = at;
  void* sync = &barrier_syncs_[barrier_generation_ % 2];
  SanitizerRelease(sync);
  if (num_waiting_ > 0 && !SameLine(threads_[waiting_[0]]->at, at)) {
    const SourceLine other = threads_[waiting_[0]]->at;
    char what[300];
    std::snprintf(what, sizeof what, "divergent __syncthreads: other threads wait at %s:%d", other.file,
                  other.line);
    Fail(what, at);
  }
  if (live_ != num_threads_) Fail("__syncthreads after threads of the block have ended", at);
  waiting_[num_waiting_++] = static_cast<uint16_t>(me.id);
  if (num_waiting_ == num_threads_) {
    const bool go_on = schedule_ == Schedule::kFifo;  // the last to arrive need not wait for its turn
    ReleaseBarrier(go_on ? me.id : -1);
    if (!go_on) Reschedule();
  } else {
    Reschedule();
  }
  SanitizerAcquire(sync);
  me.operation = Operation::kNone;
}

int BlockExecutor::BarrierReduce(bool predicate, Reduction reduction, SourceLine at) {
  ++barrier_counts_[predicate];
  Barrier(at);
  return barrier_results_[static_cast<int>(reduction)];
}

bool BlockExecutor::HasUnfenced() const {
  for (int i = 0; i < num_threads_; ++i)
    if (!threads_[i]->unfenced.empty()) return true;
  return false;
}

bool BlockExecutor::IsUnfenced(const void* address) const {
  for (int i = 0; i < num_threads_; ++i)
    for (const void* copied : threads_[i]->unfenced)
      if (copied == address) return true;
  return false;
}

void SyncThreads(SourceLine at) { BlockExecutor::Current().Barrier(at); }

int SyncThreadsReduce(bool predicate, Reduction reduction, SourceLine at) {
  return BlockExecutor::Current().BarrierReduce(predicate, reduction, at);
}

void BlockExecutor::GridWait(SourceLine at) {
  DeviceThread& me = self();
  if (early_) {
    me.operation = Operation::kGridWait;
    me.at = at;
    grid_waiting_.push_back(me.id);
    Reschedule();
    SanitizerAcquire(&begin_sync_);  // what the kernel in front has written
    me.operation = Operation::kNone;
  }
  me.waited = true;
  me.global_fenced = false;
}

void WaitForGrids(SourceLine at) { BlockExecutor::Current().GridWait(at); }

void* StaticShared(const void* key, size_t bytes, size_t alignment) {
  BlockExecutor& executor = BlockExecutor::Current();
  void* memory = executor.shared().Static(key, bytes, alignment);
  if (memory == nullptr)
    executor.Fail("more static shared memory than a launch with this dynamic part gives", SourceLine::Here());
  return memory;
}

void* DynamicShared() {
  BlockExecutor& executor = BlockExecutor::Current();
  if (executor.shared().dynamic() == nullptr) {
    executor.Fail("the kernel uses dynamic shared memory, and was launched with none", SourceLine::Here());
  }
  return executor.shared().dynamic();
}

}  // namespace ropeway::cuda::emulation
