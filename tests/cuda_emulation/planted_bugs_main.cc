// planted_bugs NAME planted|right: runs one kernel of planted_bugs.cu and says what became of it.
//
// Prints "right" (0), "wrong at I" (4: a test would have failed) or "error: ..." (3: the emulator has
// noticed); a sanitizer's report ends the program before that.
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "tests/cuda_emulation/planted_bugs.h"
#include "tests/kernels/cuda/test_runtime.h"

namespace ropeway::cuda {
namespace {

constexpr size_t kBytes = kBugOutputs * sizeof(float);

// The first error of the run, 0 where there was none.
ErrorCode Execute(Runtime& runtime, const PlantedBug& bug, bool planted, float* host) {
  Stream stream;
  void *in = nullptr, *out = nullptr, *staging = nullptr;
  ErrorCode error = runtime.Bind();
  const auto step = [&](auto call) {
    if (error == 0) error = call();
  };
  step([&] { return runtime.CreateStream(&stream); });
  step([&] { return runtime.Malloc(&in, kBytes); });
  step([&] { return runtime.Malloc(&out, kBytes); });
  step([&] { return runtime.MallocHost(&staging, kBytes); });
  if (error != 0) return error;
  for (int i = 0; i < kBugOutputs; ++i) static_cast<float*>(staging)[i] = static_cast<float>(i);
  step([&] { return runtime.Copy(in, staging, kBytes, CopyKind::kHostToDevice, stream); });
  step([&] { return runtime.Fill(out, 0, kBytes, stream); });
  BugArguments arguments{.in = static_cast<const float*>(in), .out = static_cast<float*>(out), .map = {}};
  step([&] {
    return runtime.EncodeTensorMap({.data = in,
                                    .sizes = {64, kBugRows, 1},
                                    .strides = {128, 128 * kBugRows},
                                    .box = {64, kBugBoxRows, 1}},
                                   &arguments.map);
  });
  step([&] { return bug.launch(planted, arguments, stream); });
  step([&] { return runtime.Synchronize(stream); });
  step([&] { return runtime.Copy(staging, out, kBytes, CopyKind::kDeviceToHost, stream); });
  step([&] { return runtime.Synchronize(stream); });
  std::memcpy(host, staging, kBytes);
  return error;
}

int Run(const PlantedBug& bug, bool planted) {
  std::string why;
  const auto runtime = MakeTestRuntime(TestDevice::kWithWarpgroups, &why);
  float out[kBugOutputs];
  if (const ErrorCode error = Execute(*runtime, bug, planted, out)) {
    std::printf("error: %s\n", runtime->Describe(error).c_str());
    return 3;
  }
  for (int i = 0; i < kBugOutputs; ++i) {
    if (out[i] == bug.want(i)) continue;
    std::printf("wrong at %d: %g instead of %g\n", i, out[i], bug.want(i));
    return 4;
  }
  std::printf("right\n");
  return 0;
}

}  // namespace
}  // namespace ropeway::cuda

int main(int argc, char** argv) {
  std::vector<ropeway::cuda::PlantedBug> bugs;
  for (const auto some : {ropeway::cuda::PlantedBugs(), ropeway::cuda::PlantedWarpgroupBugs(),
                          ropeway::cuda::PlantedBulkBugs()})
    bugs.insert(bugs.end(), some.begin(), some.end());
  if (argc == 2 && std::strcmp(argv[1], "--list") == 0) {
    for (const auto& bug : bugs) std::printf("%s\n", bug.name);
    return 0;
  }
  for (const auto& bug : bugs) {
    if (argc == 3 && std::strcmp(argv[1], bug.name) == 0) {
      return ropeway::cuda::Run(bug, std::strcmp(argv[2], "planted") == 0);
    }
  }
  std::fprintf(stderr, "usage: planted_bugs NAME planted|right, or planted_bugs --list\n");
  return 2;
}
