#include "engine/base/machine.h"

#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/testing/temp_folder.h"

namespace ropeway {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;

// A tree of files that looks like /proc and /sys of a machine with 64 GiB, half of it free.
class MachineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Write("proc/meminfo", "MemTotal:  67108864 kB\nMemFree: 1 kB\nMemAvailable:  33554432 kB\n");
  }

  void Write(const std::string& path, const std::string& content) {
    std::filesystem::create_directories(std::filesystem::path(folder_.File(path)).parent_path());
    folder_.Write(path, content);
  }
  void WriteSiblings(int processor, const std::string& list) {
    Write(absl::StrCat("sys/devices/system/cpu/cpu", processor, "/topology/thread_siblings_list"), list);
  }
  UsableMachine Look(std::vector<int> processors = {0, 1, 2, 3, 4, 5, 6, 7}) const {
    return LookAtMachine(folder_.path(), processors);
  }

  const testing::TempFolder folder_;
};

TEST_F(MachineTest, WithoutControlGroupsAllIsOurs) {
  const UsableMachine machine = Look();
  EXPECT_EQ(machine.processors, 8);
  EXPECT_EQ(machine.cores, 8);
  EXPECT_EQ(machine.cpu_quota, 0);
  EXPECT_EQ(machine.threads(), 8);
  EXPECT_EQ(machine.memory_bytes, 64 * kGiB);
  EXPECT_EQ(machine.free_bytes, 32 * kGiB);
}

TEST_F(MachineTest, HyperThreadsOfACoreCountOnce) {
  for (int i = 0; i < 8; ++i) WriteSiblings(i, absl::StrCat(i % 4, ",", i % 4 + 4, "\n"));
  EXPECT_EQ(Look().cores, 4);
  EXPECT_EQ(Look().threads(), 4);
  EXPECT_EQ(Look({0, 4}).cores, 1);  // one core is what the affinity leaves
  EXPECT_EQ(Look({1, 2, 3}).cores, 3);
}

TEST_F(MachineTest, ObeysQuotaAndMemoryOfVersion2) {
  Write("proc/self/cgroup", "0::/pods/this\n");
  Write("sys/fs/cgroup/pods/this/cpu.max", "250000 100000\n");
  Write("sys/fs/cgroup/pods/this/memory.max", "8589934592\n");
  Write("sys/fs/cgroup/pods/this/memory.current", "3221225472\n");
  Write("sys/fs/cgroup/pods/this/memory.stat", "anon 5\ninactive_file 1073741824\nactive_file 7\n");
  EXPECT_EQ(Look().cpu_quota, 2.5);
  EXPECT_EQ(Look().threads(), 2);
  EXPECT_EQ(Look().memory_bytes, 8 * kGiB);
  EXPECT_EQ(Look().free_bytes, 6 * kGiB);
}

TEST_F(MachineTest, TheTightestOfTheGroupsAroundCounts) {
  Write("proc/self/cgroup", "0::/pods/this\n");
  Write("sys/fs/cgroup/pods/this/cpu.max", "max 100000\n");
  Write("sys/fs/cgroup/pods/this/memory.max", "max\n");
  Write("sys/fs/cgroup/pods/this/memory.current", "1\n");
  Write("sys/fs/cgroup/pods/cpu.max", "300000 100000\n");
  Write("sys/fs/cgroup/pods/memory.max", "4294967296\n");
  Write("sys/fs/cgroup/pods/memory.current", "5368709120\n");
  EXPECT_EQ(Look().threads(), 3);
  EXPECT_EQ(Look().memory_bytes, 4 * kGiB);
  EXPECT_EQ(Look().free_bytes, 0);
}

TEST_F(MachineTest, ObeysQuotaAndMemoryOfVersion1) {
  Write("proc/self/cgroup", "5:memory:/docker/this\n4:cpu,cpuacct:/docker/this\n0::/\n");
  Write("sys/fs/cgroup/cpu,cpuacct/docker/this/cpu.cfs_quota_us", "400000\n");
  Write("sys/fs/cgroup/cpu,cpuacct/docker/this/cpu.cfs_period_us", "100000\n");
  Write("sys/fs/cgroup/memory/docker/this/memory.limit_in_bytes", "2147483648\n");
  Write("sys/fs/cgroup/memory/docker/this/memory.usage_in_bytes", "1073741824\n");
  Write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  Write("sys/fs/cgroup/memory/memory.usage_in_bytes", "1073741824\n");
  EXPECT_EQ(Look().threads(), 4);
  EXPECT_EQ(Look().memory_bytes, 2 * kGiB);
  EXPECT_EQ(Look().free_bytes, kGiB);
}

// In a container the mount is the group, whatever the path says of the world outside.
TEST_F(MachineTest, FindsTheGroupAtTheMountWhereThePathIsNotThere) {
  Write("proc/self/cgroup", "4:cpu:/docker/abc\n0::/../../abc\n");
  Write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "500000\n");
  Write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  Write("sys/fs/cgroup/memory.max", "1073741824\n");
  Write("sys/fs/cgroup/memory.current", "0\n");
  EXPECT_EQ(Look().threads(), 5);
  EXPECT_EQ(Look().memory_bytes, kGiB);
}

TEST_F(MachineTest, AQuotaBelowOneProcessorIsOneThread) {
  Write("proc/self/cgroup", "0::/\n");
  Write("sys/fs/cgroup/cpu.max", "20000 100000\n");
  EXPECT_EQ(Look().cpu_quota, 0.2);
  EXPECT_EQ(Look().threads(), 1);
}

TEST_F(MachineTest, WhatSaysNothingSensibleLimitsNothing) {
  Write("proc/self/cgroup", "0::/\nodd\n3:cpu\n");
  for (const char* quota : {"", "max", "max 100000", "-1 100000", "0 100000", "100000 0", "a b", "1 2 3"}) {
    Write("sys/fs/cgroup/cpu.max", quota);
    EXPECT_EQ(Look().cpu_quota, 0) << quota;
  }
  for (const char* limit : {"", "max", "-1", "99999999999999999999", "many"}) {
    Write("sys/fs/cgroup/memory.max", limit);
    Write("sys/fs/cgroup/memory.current", "1");
    EXPECT_EQ(Look().memory_bytes, 64 * kGiB) << limit;
  }
  Write("sys/fs/cgroup/memory.max", "1073741824");
  Write("sys/fs/cgroup/memory.current", "");
  EXPECT_EQ(Look().memory_bytes, 64 * kGiB);
  Write("proc/meminfo", "");
  EXPECT_GT(Look().free_bytes, 0);
  EXPECT_EQ(Look({}).threads(), 1);
}

// Two sockets of four processors; a third node has memory alone.
class MemoryNodesTest : public MachineTest {
 protected:
  void SetUp() override {
    MachineTest::SetUp();
    Write("sys/devices/system/node/has_memory", "0-2\n");
    Write("sys/devices/system/node/node0/cpulist", "0-3\n");
    Write("sys/devices/system/node/node1/cpulist", "4-5,6,7\n");
    Write("sys/devices/system/node/node2/cpulist", "\n");
  }
};

TEST_F(MemoryNodesTest, AreThoseOfTheProcessors) {
  EXPECT_EQ(Look().nodes, (std::vector<int>{0, 1}));
  EXPECT_EQ(Look().all_nodes, 3);
  EXPECT_EQ(Look({6}).nodes, (std::vector<int>{1}));
  EXPECT_EQ(Look({0, 3}).nodes, (std::vector<int>{0}));
  EXPECT_EQ(Look({3, 4}).nodes, (std::vector<int>{0, 1}));
}

TEST_F(MemoryNodesTest, AreThoseWhoseMemoryACpusetGives) {
  Write("proc/self/status", "Name: x\nMems_allowed:\t2\nMems_allowed_list:\t1-2\n");
  EXPECT_EQ(Look().nodes, (std::vector<int>{1}));
  EXPECT_EQ(Look({0, 1}).nodes, (std::vector<int>{}));
}

TEST_F(MemoryNodesTest, ListsThatSayNothingSensibleNameNone) {
  for (const char* list :
       {"", "x", "-", "3-", "1-0", "-5", "99999999999999999999", "4096-70000", ",,,", "0x1"}) {
    Write("sys/devices/system/node/has_memory", list);
    EXPECT_EQ(Look().nodes, (std::vector<int>{})) << list;
  }
  // An end without end is cut off.
  Write("sys/devices/system/node/has_memory", "1-9223372036854775807");
  EXPECT_EQ(Look().nodes, (std::vector<int>{1}));
}

TEST_F(MachineTest, WithoutNodesThereIsOneUnknown) {
  EXPECT_EQ(Look().nodes, (std::vector<int>{}));
  EXPECT_EQ(Look().all_nodes, 1);
}

TEST(ThisMachineTest, HasProcessorsAndMemory) {
  const UsableMachine machine = LookAtMachine();
  EXPECT_GE(machine.threads(), 1);
  EXPECT_LE(machine.threads(), machine.processors);
  EXPECT_GT(machine.free_bytes, 0);
  EXPECT_LE(machine.free_bytes, machine.memory_bytes);
}

}  // namespace
}  // namespace ropeway
