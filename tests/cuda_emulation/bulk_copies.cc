// Barriers with phases, and bulk copies of boxes.
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

int64_t BytesOf(const BoxCopy& copy) { return int64_t{kRowBytes} * copy.from.box[1] * copy.from.box[2]; }

// Where 16-byte piece `piece` of a row of a box lies: bits 4 to 6 of its address are exchanged by bits 7 to 9.
char* PieceOf(const BoxCopy& copy, const SharedMemory& shared, int row, int piece) {
  char* const line = copy.to + int64_t{row} * kRowBytes;
  return line + ((static_cast<unsigned>(piece) ^ (shared.AddressOf(line) >> 7 & 7)) << 4);
}

// A number of the array; null outside of it. `row` counts the rows of all planes of the box.
const uint16_t* NumberAt(const BoxCopy& copy, int row, int column) {
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
void ForPieces(const BoxCopy& copy, Visit visit) {
  for (int row = 0; row < copy.from.box[1] * copy.from.box[2]; ++row)
    for (int piece = 0; piece < kRowBytes / 16; ++piece) visit(row, piece);
}

void Perform(const BoxCopy& copy, const SharedMemory& shared) {
  ForPieces(copy, [&](int row, int piece) {
    auto* numbers = reinterpret_cast<uint16_t*>(PieceOf(copy, shared, row, piece));
    for (int i = 0; i < kPieceNumbers; ++i) {
      const uint16_t* number = NumberAt(copy, row, piece * kPieceNumbers + i);
      numbers[i] = number == nullptr ? uint16_t{0} : *number;
    }
  });
}

BulkBarrier& FindBarrier(const void* memory, SourceLine at) {
  BlockExecutor& executor = BlockExecutor::Current();
  BulkBarrier* barrier = executor.bulk_barriers().Find(memory);
  if (barrier == nullptr) executor.Fail("a barrier that was not initialised", at);
  SanitizerRead8(memory);
  return *barrier;
}

// Of a copy that has been started: its place is nobody's until it arrives.
void Claim(BlockExecutor& executor, const BoxCopy& copy, SourceLine at) {
  const bool unfenced = executor.HasUnfenced();
  ForPieces(copy, [&](int row, int piece) {
    char* const to = PieceOf(copy, executor.shared(), row, piece);
    if (unfenced && executor.IsUnfenced(to))
      executor.Fail("a bulk copy to where cp.async brought something without a fence", at);
    SanitizerWrite16(to);
    __builtin_memset(to, 0xFF, 16);
    const uint16_t* first = NumberAt(copy, row, piece * kPieceNumbers);
    if (first != nullptr && NumberAt(copy, row, piece * kPieceNumbers + kPieceNumbers - 1) != nullptr)
      SanitizerRead16(first);
  });
}

void CheckPlace(BlockExecutor& executor, const BoxCopy& copy, SourceLine at) {
  if (copy.from.box[0] * 2 != kRowBytes)
    executor.Fail("a bulk copy of rows that are not 128 bytes, which alone are emulated", at);
  if (!executor.shared().Contains(copy.to, static_cast<size_t>(BytesOf(copy))))
    executor.Fail("a bulk copy to what is not inside shared memory", at);
  if (executor.shared().AddressOf(copy.to) % kSwizzleBytes != 0)
    executor.Fail("a bulk copy to where the swizzle of 128 bytes does not begin: no multiple of 1024", at);
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

void ArriveAtBarrier(void* memory, int bytes, SourceLine at) {
  BlockExecutor& executor = BlockExecutor::Current();
  BulkBarrier& barrier = FindBarrier(memory, at);
  if (barrier.missing == 0)
    executor.Fail("more arrivals than a phase of the barrier has, or at one that nobody has waited for", at);
  if (bytes < 0 || barrier.expected + bytes > kMostBytes)
    executor.Fail("a barrier expects more bytes than it can count", at);
  SanitizerRelease(&barrier.syncs[barrier.phase % 2]);
  --barrier.missing;
  barrier.expected += bytes;
  if (barrier.missing == 0 && barrier.coming > barrier.expected)
    executor.Fail("bulk copies bring more bytes than their barrier was told to expect", at);
  executor.EndPhaseIfAwaited(barrier);
}

void WaitForPhase(void* memory, unsigned parity, SourceLine at) {
  BlockExecutor& executor = BlockExecutor::Current();
  if (parity > 1) executor.Fail("a parity that is neither 0 nor 1", at);
  executor.AwaitPhase(FindBarrier(memory, at), parity, at);
}

void CopyBox(void* to, const TensorMap& map, int column, int row, int plane, void* memory, SourceLine at) {
  BlockExecutor& executor = BlockExecutor::Current();
  const DeviceThread& me = executor.self();
  BulkBarrier& barrier = FindBarrier(memory, at);
  if (!barrier.fenced) executor.Fail("a bulk copy by a barrier without FenceBarriers", at);
  if (executor.is_early()) executor.Fail("a bulk copy before GridDependencyWait", at);
  if (me.waited && !me.global_fenced)
    executor.Fail("a bulk copy behind GridDependencyWait without FenceGlobalForBulkCopies", at);
  BoxCopy copy{.to = static_cast<char*>(to), .from = {}, .at = {column, row, plane}};
  if (reinterpret_cast<uintptr_t>(&map) % alignof(TensorMap) != 0 || !FromTensorMap(map, &copy.from))
    executor.Fail("a bulk copy by what is no tensor map", at);
  CheckPlace(executor, copy, at);
  if (barrier.num_copies == BulkBarrier::kMaxCopies)
    executor.Fail("more bulk copies by one barrier than are emulated", at);
  Claim(executor, copy, at);
  SanitizerRelease(&barrier.syncs[barrier.phase % 2]);
  barrier.copies[barrier.num_copies++] = copy;
  barrier.coming += BytesOf(copy);
  if (barrier.missing == 0 && barrier.coming > barrier.expected)
    executor.Fail("bulk copies bring more bytes than their barrier was told to expect", at);
  executor.EndPhaseIfAwaited(barrier);
}

}  // namespace ropeway::cuda::emulation
