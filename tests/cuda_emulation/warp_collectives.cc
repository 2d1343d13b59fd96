// What the lanes of a warp do together, and cp.async.
#include <bit>
#include <cstring>
#include <utility>

#include "tests/cuda_emulation/block_executor.h"

namespace ropeway::cuda::emulation {
namespace {

struct BallotArgument {
  bool predicate;
  unsigned result;
};
struct LoadMatrixArgument {
  uint32_t* fragments;
  const void* row;
};

// Calls `function(lane)` for the lanes of a mask.
template <class Function>
void ForLanes(unsigned mask, Function function) {
  for (; mask != 0; mask &= mask - 1) function(std::countr_zero(mask));
}

// The copies are builtins of a constant size: a call of memcpy would be an access by the last lane to
// ThreadSanitizer.
void PerformShuffle(const Gathering& gathering) {
  ShuffleArgument before[32];
  ForLanes(gathering.mask,
           [&](int lane) { before[lane] = *static_cast<ShuffleArgument*>(gathering.arguments[lane]); });
  ForLanes(gathering.mask, [&](int lane) {
    auto* argument = static_cast<ShuffleArgument*>(gathering.arguments[lane]);
    if (gathering.mask >> argument->source & 1) {
      __builtin_memcpy(argument->value, before[argument->source].value, 16);
    } else {
      __builtin_memset(argument->value, 0xFF, 16);  // undefined on a device
    }
  });
}

void PerformBallot(const Gathering& gathering) {
  unsigned result = 0;
  ForLanes(gathering.mask, [&](int lane) {
    if (static_cast<BallotArgument*>(gathering.arguments[lane])->predicate) result |= 1u << lane;
  });
  ForLanes(gathering.mask,
           [&](int lane) { static_cast<BallotArgument*>(gathering.arguments[lane])->result = result; });
}

float HalfOfPair(MmaType type, uint32_t pair, int half) {
  const auto bits = static_cast<uint16_t>(half == 0 ? pair : pair >> 16);
  return type == MmaType::kBF16 ? BFloat16ToFloat(bits) : HalfToFloat(bits);
}

// Fragment layouts of mma.m16n8k16 (PTX ISA, "Matrix Fragments for mma.m16n8k16"): lane 4 g + t holds, of a,
// rows g and g + 8, columns 2 t, 2 t + 1 and the same + 8; of b, those rows, column g; of c and d, rows g and
// g + 8, columns 2 t and 2 t + 1.
void PerformMma(const Gathering& gathering) {
  float a[16][16], b[16][8], d[16][8] = {};
  for (int lane = 0; lane < 32; ++lane) {
    const auto& argument = *static_cast<const MmaArgument*>(gathering.arguments[lane]);
    const int g = lane / 4, t = lane % 4;
    for (int half = 0; half < 2; ++half) {
      for (int i = 0; i < 4; ++i) {
        a[g + i % 2 * 8][t * 2 + half + i / 2 * 8] = HalfOfPair(argument.type, argument.a[i], half);
      }
      for (int i = 0; i < 2; ++i) b[t * 2 + half + i * 8][g] = HalfOfPair(argument.type, argument.b[i], half);
    }
  }
  for (int m = 0; m < 16; ++m) {
    for (int k = 0; k < 16; ++k) {
      for (int n = 0; n < 8; ++n) d[m][n] += a[m][k] * b[k][n];
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    const auto& argument = *static_cast<const MmaArgument*>(gathering.arguments[lane]);
    const int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; ++i) argument.d[i] = argument.c[i] + d[g + i / 2 * 8][t * 2 + i % 2];
  }
}

void PerformLoadMatrix(const Gathering& gathering, bool transpose) {
  for (int q = 0; q < 4; ++q) {
    uint16_t matrix[8][8];
    for (int r = 0; r < 8; ++r) {
      const auto& argument = *static_cast<const LoadMatrixArgument*>(gathering.arguments[q * 8 + r]);
      __builtin_memcpy(matrix[r], argument.row, 16);
    }
    for (int lane = 0; lane < 32; ++lane) {
      const int row = lane / 4, column = lane % 4 * 2;
      const uint32_t low = transpose ? matrix[column][row] : matrix[row][column];
      const uint32_t high = transpose ? matrix[column + 1][row] : matrix[row][column + 1];
      static_cast<const LoadMatrixArgument*>(gathering.arguments[lane])->fragments[q] = low | high << 16;
    }
  }
}

void Perform(const Gathering& gathering) {
  switch (gathering.operation) {
    case Operation::kShuffle:
      return PerformShuffle(gathering);
    case Operation::kBallot:
      return PerformBallot(gathering);
    case Operation::kMma:
      return PerformMma(gathering);
    case Operation::kLoadMatrix:
      return PerformLoadMatrix(gathering, false);
    case Operation::kLoadMatrixTrans:
      return PerformLoadMatrix(gathering, true);
    case Operation::kWarpgroupWait:
      return PerformWarpgroupWait(BlockExecutor::Current(), gathering.arguments,
                                  BlockExecutor::Current().self().at);
    case Operation::kNone:
    case Operation::kBarrier:
    case Operation::kSyncWarp:
    case Operation::kGridWait:
    case Operation::kPhase:
      return;
  }
}

Gathering& FindOrBegin(Warp& warp, Operation operation, unsigned mask) {
  for (int i = 0; i < warp.num_gatherings; ++i) {
    Gathering& gathering = warp.gatherings[i];
    if (gathering.operation == operation && gathering.mask == mask) return gathering;
  }
  Gathering& gathering = warp.gatherings[warp.num_gatherings++];
  gathering.operation = operation;
  gathering.mask = mask;
  gathering.arrived = 0;
  gathering.sync_address = &warp.sync_addresses[warp.num_syncs++ % sizeof warp.sync_addresses];
  return gathering;
}

}  // namespace

void BlockExecutor::Collective(Operation operation, unsigned mask, void* argument, SourceLine at) {
  DeviceThread& me = self();
  Warp& warp = *warps_[me.id / 32];
  const unsigned bit = 1u << me.lane;
  if ((mask & bit) == 0) Fail("a warp collective by a lane that its own mask does not name", at);
  if ((mask & ~warp.live) != 0)
    Fail("the mask of a warp collective names a lane that has ended or is not there", at);
  me.operation = operation;
  me.mask = mask;
  me.at = at;
  Gathering& gathering = FindOrBegin(warp, operation, mask);
  gathering.arguments[me.lane] = argument;
  gathering.arrived |= bit;
  void* sync = gathering.sync_address;
  // Shuffles and ballots do not order memory, as on a device.
  if (operation == Operation::kSyncWarp) SanitizerRelease(sync);
  if (gathering.arrived == mask) {
    Perform(gathering);
    const bool go_on = schedule_ == Schedule::kFifo;
    ForLanes(go_on ? mask & ~bit : mask, [&](int lane) { MakeReady((me.id & ~31) + lane); });
    gathering = warp.gatherings[--warp.num_gatherings];
    if (!go_on) Reschedule();
  } else {
    Reschedule();
  }
  if (operation == Operation::kSyncWarp) SanitizerAcquire(sync);
  me.operation = Operation::kNone;
}

void SyncWarp(unsigned mask, SourceLine at) {
  BlockExecutor::Current().Collective(Operation::kSyncWarp, mask, nullptr, at);
}

void Shuffle(unsigned mask, ShuffleArgument* argument, SourceLine at) {
  BlockExecutor::Current().Collective(Operation::kShuffle, mask, argument, at);
}

unsigned Ballot(unsigned mask, bool predicate, SourceLine at) {
  BallotArgument argument = {predicate, 0};
  BlockExecutor::Current().Collective(Operation::kBallot, mask, &argument, at);
  return argument.result;
}

void Mma16x8x16(const MmaArgument& argument, SourceLine at) {
  MmaArgument copy = argument;
  BlockExecutor::Current().Collective(Operation::kMma, ~0u, &copy, at);
}

void LoadMatrices(uint32_t* fragments, const void* row, bool transpose, SourceLine at) {
  BlockExecutor& executor = BlockExecutor::Current();
  if (reinterpret_cast<uintptr_t>(row) % 16 != 0)
    executor.Fail("ldmatrix of a row that is not 16-byte aligned", at);
  if (!executor.shared().Contains(row, 16))
    executor.Fail("ldmatrix of a row outside the block's shared memory", at);
  SanitizerRead16(row);
  LoadMatrixArgument argument = {fragments, row};
  executor.Collective(transpose ? Operation::kLoadMatrixTrans : Operation::kLoadMatrix, ~0u, &argument, at);
}

void AsyncCopy16(void* shared, const void* global, bool predicate, SourceLine at) {
  BlockExecutor& executor = BlockExecutor::Current();
  const uintptr_t addresses = reinterpret_cast<uintptr_t>(shared) | reinterpret_cast<uintptr_t>(global);
  if (addresses % 16 != 0) executor.Fail("cp.async of an address that is not 16-byte aligned", at);
  if (!executor.shared().Contains(shared, 16))
    executor.Fail("cp.async to an address outside shared memory", at);
  SanitizerWrite16(shared);
  __builtin_memset(shared, 0xFF, 16);
  AsyncCopy copy = {.to = shared, .from = global, .predicate = predicate};
  if (predicate && executor.is_early()) {
    copy.taken = true;
    SanitizerRead16(global);
    __builtin_memcpy(copy.bytes, global, 16);
  }
  executor.self().copies.push_back(copy);
}

void AsyncCopyCommit() {
  DeviceThread& me = BlockExecutor::Current().self();
  me.copy_groups.push_back(std::move(me.copies));
  me.copies.clear();
}

void AsyncCopyWait(int groups_in_flight) {
  DeviceThread& me = BlockExecutor::Current().self();
  while (static_cast<int>(me.copy_groups.size()) > groups_in_flight) {
    for (const AsyncCopy& copy : me.copy_groups.front()) {
      me.unfenced.push_back(copy.to);
      SanitizerWrite16(copy.to);
      if (copy.taken) {
        __builtin_memcpy(copy.to, copy.bytes, 16);
      } else if (copy.predicate) {
        SanitizerRead16(copy.from);
        __builtin_memcpy(copy.to, copy.from, 16);
      } else {
        __builtin_memset(copy.to, 0, 16);
      }
    }
    me.copy_groups.erase(me.copy_groups.begin());
  }
}

}  // namespace ropeway::cuda::emulation
