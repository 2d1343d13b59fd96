// How a launch is divided over OS threads, and in what order its blocks run.
#include <algorithm>
#include <memory>
#include <mutex>
#include <numeric>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/cuda_emulation/emulated_runtime.h"

namespace ropeway::cuda::emulation {
namespace {

constexpr uint64_t kGolden = 0x9E3779B97F4A7C15;

// A permutation of [0, count): block number i is the i-th to run.
class BlockOrder {
 public:
  BlockOrder(Schedule schedule, uint64_t count, uint64_t seed) : count_(count) {
    if (schedule == Schedule::kLifo) {
      factor_ = count - 1;
      offset_ = count - 1;
    } else if (schedule == Schedule::kRandom) {
      factor_ = seed % count;
      while (std::gcd(factor_, count) != 1) factor_ = (factor_ + 1) % count;
      offset_ = (seed >> 20) % count;
    }
    if (count == 1) factor_ = offset_ = 0;
  }
  // Counts are below 2^31 in each dimension that tests use: products fit.
  uint64_t operator()(uint64_t i) const { return (i * factor_ + offset_) % count_; }

 private:
  uint64_t count_, factor_ = 1, offset_ = 0;
};

}  // namespace

ErrorCode EmulatedRuntime::CheckLaunch(const LaunchShape& shape) const {
  const uint64_t blocks = uint64_t{shape.grid.x} * shape.grid.y * shape.grid.z;
  const uint64_t threads = uint64_t{shape.block.x} * shape.block.y * shape.block.z;
  if (blocks == 0 || shape.grid.x > 0x7FFFFFFF || shape.grid.y > 65535 || shape.grid.z > 65535) {
    return Refuse(kInvalidConfiguration, "a grid of " + std::to_string(shape.grid.x) + "," +
                                             std::to_string(shape.grid.y) + "," +
                                             std::to_string(shape.grid.z));
  }
  if (threads == 0 || threads > kMaxBlockThreads || shape.block.z > 64) {
    return Refuse(kInvalidConfiguration, "a block of " + std::to_string(threads) + " threads");
  }
  if (shape.shared_bytes > options_.shared_bytes_max) {
    return Refuse(kInvalidValue, std::to_string(shape.shared_bytes) +
                                     " bytes of shared memory; the limit is " +
                                     std::to_string(options_.shared_bytes_max));
  }
  return kSuccess;
}

// A dependent kernel between its two parts: an executor for each block, none where it has not begun.
struct EmulatedRuntime::EarlyKernel {
  std::vector<std::unique_ptr<BlockExecutor>> blocks;
};

EmulatedRuntime::Work EmulatedRuntime::EarlyWork(const LaunchShape& shape, std::function<void()> body) {
  constexpr uint64_t kMaxThreads = 4096;  // each has a stack
  const uint64_t count = uint64_t{shape.grid.x} * shape.grid.y * shape.grid.z;
  const uint64_t threads = count * shape.block.x * shape.block.y * shape.block.z;
  const auto kernel = std::make_shared<EarlyKernel>();
  const auto shared_body = std::make_shared<std::function<void()>>(std::move(body));
  Work work;
  work.run = [this, shape, kernel, shared_body] {
    if (kernel->blocks.empty()) return RunKernel(shape, *shared_body);
    std::string error, failure;  // the first
    for (auto& block : kernel->blocks) {
      if (!block->FinishBlock(&error) && failure.empty()) failure = error;
      free_executors_.push_back(std::move(block));
    }
    kernel->blocks.clear();
    return failure.empty() ? kSuccess : Fail(failure);
  };
  if (executors_.size() > 1 || threads > kMaxThreads) return work;  // races between blocks are looked for
  work.begin = [this, shape, kernel, shared_body, count] {
    const uint64_t seed = (options_.seed + num_launches_++) * kGolden;
    const BlockOrder order(options_.schedule, count, seed >> 1);
    for (uint64_t i = 0; i < count; ++i) {
      if (free_executors_.empty()) free_executors_.push_back(std::make_unique<BlockExecutor>());
      kernel->blocks.push_back(std::move(free_executors_.back()));
      free_executors_.pop_back();
      kernel->blocks.back()->Prepare(shape, *shared_body, options_.shared_bytes_max, options_.schedule,
                                     seed + i);
      kernel->blocks.back()->BeginBlock(order(i));
    }
  };
  return work;
}

ErrorCode EmulatedRuntime::RunKernel(const LaunchShape& shape, const std::function<void()>& body) {
  const uint64_t count = uint64_t{shape.grid.x} * shape.grid.y * shape.grid.z;
  const uint64_t seed = (options_.seed + num_launches_++) * kGolden;
  const BlockOrder order(options_.schedule, count, seed >> 1);
  std::mutex mutex;
  std::string failure;  // the first
  const auto run = [&](uint64_t worker) {
    BlockExecutor& executor = *executors_[worker];
    executor.Prepare(shape, body, options_.shared_bytes_max, options_.schedule, seed + worker);
    std::string error;
    // Fixed stripes: a counter that threads share would order their blocks.
    for (uint64_t i = worker; i < count; i += executors_.size()) {
      if (executor.RunBlock(order(i), &error)) continue;
      std::lock_guard lock(mutex);
      if (failure.empty()) failure = error;
      return;
    }
  };
  if (executors_.size() == 1) {
    run(0);
  } else {
    std::vector<std::jthread> threads;
    for (uint64_t worker = 0; worker < executors_.size(); ++worker) threads.emplace_back(run, worker);
  }
  return failure.empty() ? kSuccess : Fail(failure);
}

}  // namespace ropeway::cuda::emulation
