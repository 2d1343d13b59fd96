// Barriers with phases, and bulk copies of boxes and runs.
#include "tests/cuda_emulation/block_executor.h"
#include "tests/cuda_emulation/bulk_context.h"

namespace ropeway::cuda::emulation {
namespace {

constexpr int kRowBytes = 128;
constexpr uint32_t kSwizzleBytes = 8 * kRowBytes;  // within which pieces are exchanged
constexpr int kPieceNumbers = 8;                   // of 16 bytes
// What the state of an mbarrier has room for (PTX ISA, "Contents of the mbarrier object").
constexpr int kMostArrivals = (1 << 20) - 1;
constexpr int64_t kMostBytes = (1 << 20) - 1;

// Where 16-byte piece `piece` of a row of a box goes: bits 4 to 6 of its address are exchanged by bits 7 to 9.
char* PieceOf(const BulkCopy& copy, const SharedMemory& shared, int row, int piece) {
  char* const line = copy.to + int64_t{row} * kRowBytes;
  return line + ((static_cast<unsigned>(piece) ^ (shared.AddressOf(line) >> 7 & 7)) << 4);
}

// A number of the array; null outside of it. `row` counts the rows of all planes of the box.
const uint16_t* NumberAt(const BulkCopy& copy, int row, int column) {
  const TensorMapLayout& from = copy.from;
  const int64_t at[3] = {int64_t{copy.at[0]} + column, int64_t{copy.at[1]} + row % from.box[1],
                         int64_t{copy.at[2]} + row / from.box[1]};
  for (int i = 0; i < 3; ++i)
    if (at[i] < 0 || at[i] >= from.sizes[i]) return nullptr;
  return reinterpret_cast<const uint16_t*>(static_cast<const char*>(from.data) + at[2] * from.strides[1] +
                                           at[1] * from.strides[0]) +
         at[0];
}

// Calls `visit(row, piece)` for all pieces of a box.
template <class Visit>
void ForPieces(const BulkCopy& copy, Visit visit) {
  for (int row = 0; row < copy.from.box[1] * copy.from.box[2]; ++row)
    for (int piece = 0; piece < kRowBytes / 16; ++piece) visit(row, piece);
}

// The copies are builtins of a constant size: a call of memcpy would be an access by this thread to ThreadSanitizer.
void PerformBox(const BulkCopy& copy, const SharedMemory& shared, char* to) {
  ForPieces(copy, [&](int row, int piece) {
    auto* numbers = reinterpret_cast<uint16_t*>(to + (PieceOf(copy, shared, row, piece) - copy.to));
    for (int i = 0; i < kPieceNumbers; ++i) {
      const uint16_t* number = NumberAt(copy, row, piece * kPieceNumbers + i);
      numbers[i] = number == nullptr ? uint16_t{0} : *number;
    }
  });
}

void CopyPieces(char* to, const char* from, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 16) __builtin_memcpy(to + i, from + i, 16);
}

void Perform(const BulkCopy& copy, const SharedMemory& shared) {
  if (copy.run != nullptr)
    CopyPieces(copy.to, copy.run, copy.bytes);
  else
    PerformBox(copy, shared, copy.to);
}

BulkBarrier& FindBarrier(const void* memory, SourceLine at) {
  BlockExecutor& executor = BlockExecutor::Current();
  BulkBarrier* barrier = executor.bulk_barriers().Find(memory);
  if (barrier == nullptr) executor.Fail("a barrier that was not initialised", at);
  SanitizerRead8(memory);
  return *barrier;
}

// A piece of where a copy that has been started goes: nobody's until it arrives. `unfenced`: some are.
void Claim(BlockExecutor& executor, char* piece, bool unfenced, SourceLine at) {
  if (unfenced && executor.IsUnfenced(piece))
    executor.Fail("a bulk copy to where cp.async brought something without a fence", at);
  SanitizerWrite16(piece);
  __builtin_memset(piece, 0xFF, 16);
}

void ClaimBox(BlockExecutor& executor, const BulkCopy& copy, SourceLine at) {
  const bool unfenced = executor.HasUnfenced();
  ForPieces(copy, [&](int row, int piece) {
    Claim(executor, PieceOf(copy, executor.shared(), row, piece), unfenced, at);
    const uint16_t* first = NumberAt(copy, row, piece * kPieceNumbers);
    if (first != nullptr && NumberAt(copy, row, piece * kPieceNumbers + kPieceNumbers - 1) != nullptr)
      SanitizerRead16(first);
  });
}

void ClaimRun(BlockExecutor& executor, BulkCopy& copy, SourceLine at) {
  const bool unfenced = executor.HasUnfenced();
  for (int64_t i = 0; i < copy.bytes; i += 16) {
    Claim(executor, copy.to + i, unfenced, at);
    SanitizerRead16(copy.run + i);
  }
}

// Of a copy before GridDependencyWait: what is there now, in the order of the place where it goes.
void TakeEarly(BlockExecutor& executor, BulkCopy& copy, SourceLine at) {
  if (!executor.is_early()) return;
  BulkBarriers& all = executor.bulk_barriers();
  if (all.early_bytes + copy.bytes > BulkBarriers::kMaxEarlyBytes)
    executor.Fail("more bulk copies before GridDependencyWait than are emulated", at);
  char* const early = all.early + all.early_bytes;
  if (copy.run != nullptr)
    CopyPieces(early, copy.run, copy.bytes);
  else
    PerformBox(copy, executor.shared(), early);
  copy.run = early;
  all.early_bytes += copy.bytes;
}

void CheckInside(BlockExecutor& executor, const BulkCopy& copy, SourceLine at) {
  if (!executor.shared().Contains(copy.to, static_cast<size_t>(copy.bytes)))
    executor.Fail("a bulk copy to what is not inside shared memory", at);
}

void CheckBox(BlockExecutor& executor, const BulkCopy& copy, SourceLine at) {
  if (copy.from.box[0] * 2 != kRowBytes)
    executor.Fail("a bulk copy of rows that are not 128 bytes, which alone are emulated", at);
  CheckInside(executor, copy, at);
  if (executor.shared().AddressOf(copy.to) % kSwizzleBytes != 0)
    executor.Fail("a bulk copy to where the swizzle of 128 bytes does not begin: no multiple of 1024", at);
}

// A barrier that the calling thread may copy by.
BulkBarrier& BarrierOfCopy(BlockExecutor& executor, const void* memory, SourceLine at) {
  const DeviceThread& me = executor.self();
  BulkBarrier& barrier = FindBarrier(memory, at);
  if (!barrier.fenced) executor.Fail("a bulk copy by a barrier without FenceBarriers", at);
  if (me.waited && !me.global_fenced)
    executor.Fail("a bulk copy behind GridDependencyWait without FenceGlobalForBulkCopies", at);
  return barrier;
}

// Of a phase that can end but for its bytes: until then some may come before they are expected.
void CheckBytes(BlockExecutor& executor, const BulkBarrier& barrier, SourceLine at) {
  if (barrier.missing == 0 && barrier.coming > barrier.expected)
    executor.Fail("bulk copies bring more bytes than their barrier was told to expect", at);
}

void Expect(BlockExecutor& executor, BulkBarrier& barrier, int bytes, SourceLine at) {
  if (bytes < 0 || barrier.expected + bytes > kMostBytes)
    executor.Fail("a barrier expects more bytes than it can count", at);
  barrier.expected += bytes;
}

void Start(BlockExecutor& executor, BulkBarrier& barrier, const BulkCopy& copy, SourceLine at) {
  if (barrier.num_copies == BulkBarrier::kMaxCopies)
    executor.Fail("more bulk copies by one barrier than are emulated", at);
  SanitizerRelease(&barrier.syncs[barrier.phase % 2]);
  barrier.copies[barrier.num_copies++] = copy;
  barrier.coming += copy.bytes;
  CheckBytes(executor, barrier, at);
  executor.EndPhaseIfAwaited(barrier);
}

}  // namespace

void BlockExecutor::EndPhase(BulkBarrier& barrier) {
  for (int i = 0; i < barrier.num_copies; ++i) Perform(barrier.copies[i], shared_);
  ++barrier.phase;
  for (int i = 0; i < barrier.num_waiting; ++i) MakeReady(barrier.waiting[i]);
  barrier.BeginPhase();
}

// Copies are made when somebody waits for them, not before.
void BlockExecutor::EndPhaseIfAwaited(BulkBarrier& barrier) {
  if (barrier.CanEnd() && (barrier.num_waiting > 0 || barrier.num_copies == 0)) EndPhase(barrier);
}

void BlockExecutor::AwaitPhase(BulkBarrier& barrier, unsigned parity, SourceLine at) {
  DeviceThread& me = self();
  if (barrier.phase % 2 == parity) {
    if (barrier.CanEnd()) {
      EndPhase(barrier);
    } else {
      me.operation = Operation::kPhase;
      me.at = at;
      me.awaited_barrier = &barrier;
      barrier.waiting[barrier.num_waiting++] = static_cast<uint16_t>(me.id);
      Reschedule();
      me.operation = Operation::kNone;
    }
  }
  SanitizerAcquire(&barrier.syncs[parity]);
}

void InitBarrier(void* memory, int arrivals, SourceLine at) {
  BlockExecutor& executor = BlockExecutor::Current();
  BulkBarriers& all = executor.bulk_barriers();
  if (!executor.shared().Contains(memory, 8) || reinterpret_cast<uintptr_t>(memory) % 8 != 0)
    executor.Fail("a barrier that does not lie in shared memory, 8-byte aligned", at);
  if (arrivals < 1 || arrivals > kMostArrivals)
    executor.Fail("a barrier of too few or too many arrivals", at);
  if (all.Find(memory) != nullptr) executor.Fail("a barrier that was initialised before", at);
  if (all.count == BulkBarriers::kMaxBarriers) executor.Fail("more barriers than are emulated", at);
  SanitizerWrite8(memory);
  BulkBarrier& barrier = all.barriers[all.count++];
  barrier.memory = memory;
  barrier.initialiser = executor.self().id;
  barrier.fenced = false;
  barrier.arrivals = arrivals;
  barrier.phase = 0;
  barrier.BeginPhase();
}

void FenceBarriers() {
  BlockExecutor& executor = BlockExecutor::Current();
  BulkBarriers& all = executor.bulk_barriers();
  for (int i = 0; i < all.count; ++i)
    if (all.barriers[i].initialiser == executor.self().id) all.barriers[i].fenced = true;
}

void FenceGlobalForBulkCopies() { BlockExecutor::Current().self().global_fenced = true; }

void ExpectBytes(void* memory, int bytes, SourceLine at) {
  BlockExecutor& executor = BlockExecutor::Current();
  BulkBarrier& barrier = FindBarrier(memory, at);
  if (barrier.CanEnd()) executor.Fail("a barrier expects bytes in a phase that nobody has waited for", at);
  Expect(executor, barrier, bytes, at);
}

void ArriveAtBarrier(void* memory, int bytes, SourceLine at) {
  BlockExecutor& executor = BlockExecutor::Current();
  BulkBarrier& barrier = FindBarrier(memory, at);
  if (barrier.missing == 0)
    executor.Fail("more arrivals than a phase of the barrier has, or at one that nobody has waited for", at);
  SanitizerRelease(&barrier.syncs[barrier.phase % 2]);
  Expect(executor, barrier, bytes, at);
  --barrier.missing;
  CheckBytes(executor, barrier, at);
  executor.EndPhaseIfAwaited(barrier);
}

void WaitForPhase(void* memory, unsigned parity, SourceLine at) {
  BlockExecutor& executor = BlockExecutor::Current();
  if (parity > 1) executor.Fail("a parity that is neither 0 nor 1", at);
  executor.AwaitPhase(FindBarrier(memory, at), parity, at);
}

void CopyRun(void* to, const void* from, int bytes, void* memory, SourceLine at) {
  BlockExecutor& executor = BlockExecutor::Current();
  BulkBarrier& barrier = BarrierOfCopy(executor, memory, at);
  const auto numbers = reinterpret_cast<uintptr_t>(from) | static_cast<uintptr_t>(bytes);
  if (numbers % 16 != 0 || executor.shared().AddressOf(to) % 16 != 0)
    executor.Fail("a bulk copy of a run whose addresses or bytes are no multiples of 16", at);
  if (bytes <= 0) executor.Fail("a bulk copy of a run of no bytes", at);
  BulkCopy copy{.to = static_cast<char*>(to),
                .bytes = bytes,
                .from = {},
                .at = {},
                .run = static_cast<const char*>(from)};
  CheckInside(executor, copy, at);
  ClaimRun(executor, copy, at);
  TakeEarly(executor, copy, at);
  Start(executor, barrier, copy, at);
}

void CopyBox(void* to, const TensorMap& map, int column, int row, int plane, void* memory, SourceLine at) {
  BlockExecutor& executor = BlockExecutor::Current();
  BulkBarrier& barrier = BarrierOfCopy(executor, memory, at);
  BulkCopy copy{
      .to = static_cast<char*>(to), .bytes = 0, .from = {}, .at = {column, row, plane}, .run = nullptr};
  if (reinterpret_cast<uintptr_t>(&map) % alignof(TensorMap) != 0 || !FromTensorMap(map, &copy.from))
    executor.Fail("a bulk copy by what is no tensor map", at);
  copy.bytes = int64_t{kRowBytes} * copy.from.box[1] * copy.from.box[2];
  CheckBox(executor, copy, at);
  ClaimBox(executor, copy, at);
  TakeEarly(executor, copy, at);
  Start(executor, barrier, copy, at);
}

}  // namespace ropeway::cuda::emulation
