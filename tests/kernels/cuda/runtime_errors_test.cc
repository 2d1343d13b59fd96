// Which errors of CUDA are the device's end, against what the toolkit's own header says of each.
#include <cuda_runtime_api.h>

#include <fstream>
#include <regex>
#include <sstream>
#include <string>

#include "engine/kernels/cuda/native_runtime.h"
#include "gtest/gtest.h"

namespace ropeway::cuda {
namespace {

TEST(RuntimeErrorsTest, AProcessThatMustBeRelaunchedHasLostItsDevice) {
  std::ifstream file(ROPEWAY_CUDA_INCLUDE "/driver_types.h");
  std::stringstream text;
  text << file.rdbuf();
  const std::string header = text.str();
  // "cudaErrorAssert = 710," with the comment in front.
  const std::regex enumerator("(cudaError[A-Za-z0-9]+)\\s*=\\s*([0-9]+)");
  int fatal = 0;
  for (auto found = std::sregex_iterator(header.begin(), header.end(), enumerator);
       found != std::sregex_iterator(); ++found) {
    const std::string before = found->prefix();
    const size_t begin = before.rfind("/**");
    if (begin == std::string::npos) continue;
    // Of lines of " * words" one line.
    const std::string comment = std::regex_replace(before.substr(begin), std::regex("[\\s*]+"), " ");
    if (comment.find("terminated and relaunched") == std::string::npos) continue;
    EXPECT_TRUE(IsFatalError(std::stoi((*found)[2]))) << (*found)[1];
    ++fatal;
  }
  EXPECT_GE(fatal, 8) << "of the header's comments";
}

TEST(RuntimeErrorsTest, OthersAreTheErrorsOfACall) {
  for (const ErrorCode code : {cudaSuccess, cudaErrorInvalidValue, cudaErrorMemoryAllocation,
                               cudaErrorInvalidConfiguration, cudaErrorLaunchOutOfResources,
                               cudaErrorNotReady, cudaErrorNotSupported, cudaErrorStreamCaptureUnsupported,
                               cudaErrorStreamCaptureInvalidated, cudaErrorGraphExecUpdateFailure})
    EXPECT_FALSE(IsFatalError(code)) << DescribeError(code);
}

}  // namespace
}  // namespace ropeway::cuda
