// The call sites of NCCL, which opens a stand-in for the library.
#include <nccl.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "engine/kernels/cuda/nccl_collective.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cuda_emulation/fake_nccl.h"

namespace ropeway::cuda {
namespace {

using emulation::FakeNccl;
using ::testing::ElementsAre;

class NcclTest : public ::testing::Test {
 protected:
  NcclTest() { *fake_nccl() = {}; }

  bool Make(int size) {
    const std::vector<int> devices = {3, 1, 2};
    std::vector<Collective*> made(size);
    if (!MakeNcclCollectives(size, devices.data(), made.data(), &error_)) return false;
    for (Collective* collective : made) ranks_.emplace_back(collective);
    return true;
  }

  // Whether it does, within a time in which it must.
  template <typename Condition>
  static bool Comes(const Condition& condition) {
    for (int tries = 0; tries < 10'000 && !condition(); ++tries)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return condition();
  }

  FakeNccl& nccl_ = *fake_nccl();
  std::vector<std::unique_ptr<Collective>> ranks_;
  std::string error_;
};

TEST_F(NcclTest, RanksAddUpInPlaceOnTheirStreams) {
  ASSERT_TRUE(Make(3)) << error_;
  EXPECT_THAT(nccl_.devices, ElementsAre(3, 1, 2));
  int values[3], streams[3];
  const Element elements[3] = {Element::kF32, Element::kF16, Element::kBF16};
  const int types[3] = {ncclFloat32, ncclFloat16, ncclBfloat16};
  for (int rank = 0; rank < 3; ++rank) {
    EXPECT_EQ(ranks_[rank]->AllReduce(&values[rank], 100 + rank, elements[rank], {&streams[rank]}), 0);
    const FakeNccl::Sum& sum = nccl_.sums.at(rank);
    EXPECT_EQ(sum.rank, rank);
    EXPECT_EQ(sum.from, &values[rank]);
    EXPECT_EQ(sum.to, &values[rank]);
    EXPECT_EQ(sum.count, 100u + rank);
    EXPECT_EQ(sum.type, types[rank]);
    EXPECT_EQ(sum.operation, ncclSum);
    EXPECT_EQ(sum.stream, &streams[rank]);
  }
}

TEST_F(NcclTest, TheFirstRankTellsTheOthersInPlace) {
  ASSERT_TRUE(Make(2)) << error_;
  int32_t values[2][7] = {};
  int streams[2];
  for (int rank = 0; rank < 2; ++rank) {
    EXPECT_EQ(ranks_[rank]->Broadcast(values[rank], 7, {&streams[rank]}), 0);
    const FakeNccl::Broadcast& broadcast = nccl_.broadcasts.at(rank);
    EXPECT_EQ(broadcast.rank, rank);
    EXPECT_EQ(broadcast.from, values[rank]);
    EXPECT_EQ(broadcast.to, values[rank]);
    EXPECT_EQ(broadcast.count, 7u);
    EXPECT_EQ(broadcast.type, ncclInt32);
    EXPECT_EQ(broadcast.root, 0);
    EXPECT_EQ(broadcast.stream, &streams[rank]);
  }
}

TEST_F(NcclTest, TheLastRankDestroysTheGroup) {
  ASSERT_TRUE(Make(2)) << error_;
  ranks_.pop_back();
  EXPECT_EQ(nccl_.living, 2);
  ranks_.clear();
  EXPECT_EQ(nccl_.destroyed, 2);
  EXPECT_EQ(nccl_.living, 0);
}

TEST_F(NcclTest, AGroupIsAbortedOnce) {
  ASSERT_TRUE(Make(2)) << error_;
  ranks_[1]->Abort();
  ranks_[0]->Abort();
  ranks_.clear();
  EXPECT_TRUE(Comes([&] { return nccl_.Get(nccl_.living) == 0; }));
  EXPECT_EQ(nccl_.Get(nccl_.aborted), 2);
  EXPECT_EQ(nccl_.destroyed, 0);
}

// The library frees no communicator that a graph holds, and graphs go only after the ranks' steps have ended. So nobody
// waits for it; what is asked of the group meanwhile is refused here.
TEST_F(NcclTest, AnAbortWaitsForNoGraph) {
  ASSERT_TRUE(Make(2)) << error_;
  nccl_.Set(nccl_.graphs, 1);
  ranks_[1]->Abort();
  EXPECT_TRUE(Comes([&] { return nccl_.Get(nccl_.ended) == 2; })) << "steps of both ranks end";
  EXPECT_EQ(nccl_.Get(nccl_.living), 2);
  int32_t value = 0;
  EXPECT_NE(ranks_[0]->AllReduce(&value, 1, Element::kF32, {}), 0);
  EXPECT_NE(ranks_[0]->Broadcast(&value, 1, {}), 0);
  EXPECT_EQ(nccl_.used_after_end, 0);
  ranks_.clear();
  nccl_.Set(nccl_.graphs, 0);
  EXPECT_TRUE(Comes([&] { return nccl_.Get(nccl_.living) == 0; }));
}

TEST_F(NcclTest, FailuresAreTold) {
  ASSERT_TRUE(Make(2)) << error_;
  int value;
  for (const int result : {ncclInvalidArgument, ncclUnhandledCudaError, ncclRemoteError}) {
    nccl_.next_result = result;
    EXPECT_NE(ranks_[0]->AllReduce(&value, 1, Element::kF32, {}), 0);
    EXPECT_NE(ranks_[0]->Broadcast(&value, 1, {}), 0);
  }
  EXPECT_FALSE(Make(2));
  EXPECT_EQ(error_, "a reason of the fake");
}

}  // namespace
}  // namespace ropeway::cuda
