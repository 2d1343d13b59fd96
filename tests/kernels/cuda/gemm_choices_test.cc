#include "engine/kernels/cuda/gemm_choices.h"

#include <sys/stat.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <string>
#include <utility>

#include "gtest/gtest.h"

namespace ropeway::cuda {
namespace {

const ChoicesIdentity kMade = {.device = "a device", .driver = "580.1", .cuda = 13000, .library = 2};
constexpr char kIdentity[] = "a device, driver 580.1, CUDA 13000, cuBLASLt 2";
const ChoiceKey kKey = {.outputs = 6144, .columns = 4096, .y_stride = 6144, .tokens = 64};
const AlgorithmName kName = {.id = 66, .tile = 394, .stages = 35, .cluster_shape = 7, .swizzle = 1};

class GemmChoicesTest : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::remove_all(path_); }
  void Write(const std::string& text) { std::ofstream(path_) << text; }
  bool Holds(const std::string& identity = kIdentity) {
    return GemmChoices(path_, identity).Find(kKey).has_value();
  }
  const std::string head_ = std::string("ropeway gemm choices 1\n") + kIdentity + '\n';
  const std::string line_ = "6144 4096 6144 64 2 2 66 394 35 0 7 1 0\n";
  const std::string path_ = testing::TempDir() + "gemm_choices";
};

TEST_F(GemmChoicesTest, AreKeptInAFile) {
  GemmChoices choices(path_, kIdentity);
  EXPECT_FALSE(choices.Find(kKey).has_value());
  choices.Insert(kKey, kName);
  EXPECT_TRUE(choices.Save());
  EXPECT_EQ(GemmChoices(path_, kIdentity).Find(kKey), kName);
  ChoiceKey other = kKey;
  other.out = Element::kF32;
  EXPECT_FALSE(GemmChoices(path_, kIdentity).Find(other).has_value());
}

TEST_F(GemmChoicesTest, TheFormIsAsTheHeaderSays) {
  Write(head_ + line_);
  EXPECT_EQ(GemmChoices(path_, kIdentity).Find(kKey), kName);
}

TEST_F(GemmChoicesTest, OfAnotherDeviceDriverOrLibraryDoNotHold) {
  Write(head_ + line_);
  EXPECT_TRUE(Holds(ToString(kMade)));
  ChoicesIdentity device = kMade, driver = kMade, cuda = kMade, library = kMade;
  device.device = "another device";
  driver.driver = "580.2";
  cuda.cuda = 13010;
  library.library = 3;
  for (const ChoicesIdentity& other : {device, driver, cuda, library}) {
    EXPECT_FALSE(Holds(ToString(other))) << ToString(other);
    EXPECT_EQ(GemmChoices(path_, ToString(other)).trouble(),
              "it is of another device, driver or library than " + ToString(other));
  }
}

TEST_F(GemmChoicesTest, DriversTellTheirVersion) {
  for (const auto& [text, version] : std::initializer_list<std::pair<const char*, const char*>>{
           {"NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.82.07  Wed Aug 27 18:20:34 UTC 2025\n"
            "GCC version:  gcc version 12.2.0\n",
            "580.82.07"},
           {"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  575.57  Release Build", "575.57"},
           {"something else\n580.1\n", "unknown"},
           {"", "unknown"}}) {
    Write(text);
    EXPECT_EQ(DriverVersion(path_), version);
  }
  std::filesystem::remove(path_);
  EXPECT_EQ(DriverVersion(path_), "unknown");
}

TEST_F(GemmChoicesTest, AFileThatIsNotUsedIsTold) {
  EXPECT_EQ(GemmChoices(path_, kIdentity).trouble(), "") << "there is none yet";
  EXPECT_EQ(GemmChoices("", kIdentity).trouble(), "");
  Write(head_ + line_);
  EXPECT_EQ(GemmChoices(path_, kIdentity).trouble(), "");
  Write(head_ + "x\n");
  EXPECT_EQ(GemmChoices(path_, kIdentity).trouble(), "it is damaged, or of another version");
  std::filesystem::remove(path_);
  std::filesystem::create_directory(path_);
  EXPECT_EQ(GemmChoices(path_, kIdentity).trouble(), "it is no file that can be read");
}

TEST_F(GemmChoicesTest, AWrongFileHoldsNone) {
  for (const std::string& text :
       {std::string(), std::string("\n"), std::string("ropeway gemm choices 2\n") + kIdentity + '\n' + line_,
        line_, head_ + "6144 4096 6144 64 2 2 66\n" + line_, head_ + line_ + "x\n",
        head_ + line_ + "6144 4096 6144 64 2 2 66 394 35 0 7 1 0 9\n",
        head_ + line_ + "6144 4096 6144 64 2 3 66 394 35 0 7 1 0\n",
        head_ + line_ + "6144 4096 6144 64 -1 2 66 394 35 0 7 1 0\n",
        head_ + line_ + "99999999999999999999 1 1 1 1 1 1 1 1 1 1 1 1\n",
        head_ + line_ + "1 1 1 1 1 1 99999999999 1 1 1 1 1 1\n",
        head_ + line_ + std::string("\0\0", 2) + '\n',
        head_ + line_ + std::string(GemmChoices::kMaxFileBytes, '\n')}) {
    Write(text);
    EXPECT_FALSE(Holds()) << text.substr(0, 200);
  }
}

TEST_F(GemmChoicesTest, WhatIsNoFileHoldsNoneAndIsNotWaitedFor) {
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  EXPECT_FALSE(Holds());
  std::filesystem::remove(path_);
  std::filesystem::create_directory(path_);
  EXPECT_FALSE(Holds());
}

TEST_F(GemmChoicesTest, ThatCannotBeWrittenLeaveNothingBehind) {
  GemmChoices choices(testing::TempDir() + "no_such_folder/choices", kIdentity);
  choices.Insert(kKey, kName);
  EXPECT_FALSE(choices.Save());
  std::filesystem::create_directory(path_);  // in the place of the file
  GemmChoices over(path_, kIdentity);
  over.Insert(kKey, kName);
  EXPECT_FALSE(over.Save());
  for (const auto& entry : std::filesystem::directory_iterator(testing::TempDir()))
    EXPECT_EQ(entry.path().string().find("gemm_choices."), std::string::npos);
}

TEST_F(GemmChoicesTest, NamesAreTold) {
  EXPECT_EQ(ToString(kName), "algorithm 66, tile 394, stages 35, cluster 7, swizzle 1");
}

}  // namespace
}  // namespace ropeway::cuda
