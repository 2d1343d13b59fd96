// Drives a fuzz target without libFuzzer: every seed, every beginning of a seed, and mutations that are the
// same in every run.
//
//   TARGET [--write_corpus FOLDER]    writes the seeds instead, for libFuzzer to begin with
//
// ROPEWAY_FUZZ_RUNS=n sets the number of mutations. After a crash, the last line says which run it was.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>

#include "engine/base/splitmix.h"
#include "tests/fuzz/fuzz_target.h"

namespace ropeway::testing {
namespace {

#ifdef NDEBUG
constexpr uint64_t kDefaultRuns = 100'000;
#else
constexpr uint64_t kDefaultRuns = 2'000;
#endif
constexpr size_t kMaxBytes = 1 << 16;
constexpr size_t kMaxPrefixes = 2'000;  // of all seeds

volatile sig_atomic_t current_run = 0;

void TellRun(int signal) {
  char text[64];
  const int length =
      std::snprintf(text, sizeof text, "signal %d in run %ld\n", signal, static_cast<long>(current_run));
  if (write(STDERR_FILENO, text, static_cast<size_t>(length)) < 0) _exit(2);
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

class Coins {
 public:
  explicit Coins(uint64_t run) : key_(SplitMix(run + kGoldenRatio64)) {}
  // In [0, end). REQUIRES: end > 0.
  size_t Below(size_t end) { return SplitMix(key_ + ++count_ * kGoldenRatio64) % end; }

 private:
  const uint64_t key_;
  uint64_t count_ = 0;
};

// Values at which lengths, counts and text go wrong.
std::string Interesting(Coins& coins) {
  static constexpr const char* kTexts[] = {"\"",
                                           "\\",
                                           "{",
                                           "}",
                                           "[",
                                           "]",
                                           "{%",
                                           "%}",
                                           "{{",
                                           "}}",
                                           "\n",
                                           "-1",
                                           "1e999",
                                           "9223372036854775808",
                                           "null",
                                           "\xFF",
                                           "\xC3",
                                           "\xF0\x9F",
                                           "\xED\xA0\x80",
                                           "<s>"};
  static constexpr uint64_t kNumbers[] = {0,
                                          1,
                                          0x7F,
                                          0x80,
                                          0xFF,
                                          0x7FFFFFFF,
                                          0xFFFFFFFF,
                                          0x7FFFFFFFFFFFFFFF,
                                          0x8000000000000000,
                                          0xFFFFFFFFFFFFFFFF};
  if (coins.Below(2) == 0) return kTexts[coins.Below(std::size(kTexts))];
  const uint64_t number = kNumbers[coins.Below(std::size(kNumbers))];
  return std::string(reinterpret_cast<const char*>(&number), size_t{1} << coins.Below(4));
}

void Mutate(const std::vector<std::string>& seeds, Coins& coins, std::string& bytes) {
  const size_t at = coins.Below(bytes.size() + 1),
               length = coins.Below(std::min<size_t>(bytes.size() - at, 64) + 1);
  switch (coins.Below(7)) {
    case 0:
      if (at < bytes.size()) bytes[at] = static_cast<char>(bytes[at] ^ 1 << coins.Below(8));
      break;
    case 1:
      if (at < bytes.size()) bytes[at] = static_cast<char>(coins.Below(256));
      break;
    case 2:
      bytes.erase(at, length);
      break;
    case 3:
      bytes.insert(coins.Below(bytes.size() + 1), bytes.substr(at, length));
      break;
    case 4:
      bytes.insert(at, Interesting(coins));
      break;
    case 5: {
      const std::string value = Interesting(coins);
      bytes.replace(at, value.size(), value);
      break;
    }
    default: {
      const std::string& other = seeds[coins.Below(seeds.size())];
      bytes = bytes.substr(0, at) + other.substr(coins.Below(other.size() + 1));
      break;
    }
  }
  if (bytes.size() > kMaxBytes) bytes.resize(kMaxBytes);
}

void Run(const std::string& bytes) {
  // Of exactly this size, so that AddressSanitizer sees a read beyond the end.
  const std::vector<uint8_t> exact(bytes.begin(), bytes.end());
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

void RunAll(const std::vector<std::string>& seeds, uint64_t runs) {
  for (const std::string& seed : seeds) {
    Run(seed);
    const size_t step = std::max<size_t>(1, seed.size() * seeds.size() / kMaxPrefixes);
    for (size_t size = 0; size < seed.size(); size += step) Run(seed.substr(0, size));
  }
  for (uint64_t run = 0; run < runs; ++run) {
    current_run = static_cast<sig_atomic_t>(run);
    Coins coins(run);
    std::string bytes = seeds[coins.Below(seeds.size())];
    for (size_t i = 0, count = 1 + coins.Below(8); i < count; ++i) Mutate(seeds, coins, bytes);
    Run(bytes);
  }
}

int WriteCorpus(const std::vector<std::string>& seeds, const std::string& folder) {
  for (size_t i = 0; i < seeds.size(); ++i) {
    std::ofstream file(folder + "/seed" + std::to_string(i), std::ios::binary);
    file.write(seeds[i].data(), static_cast<std::streamsize>(seeds[i].size()));
    if (!file.flush()) return 1;
  }
  return 0;
}

}  // namespace
}  // namespace ropeway::testing

int main(int argc, char** argv) {
  using namespace ropeway::testing;
  const std::vector<std::string> seeds = FuzzSeeds();
  if (argc == 3 && std::strcmp(argv[1], "--write_corpus") == 0) return WriteCorpus(seeds, argv[2]);
  for (const int signal : {SIGABRT, SIGSEGV, SIGFPE, SIGBUS, SIGILL}) std::signal(signal, TellRun);
  const char* runs = std::getenv("ROPEWAY_FUZZ_RUNS");
  RunAll(seeds, runs == nullptr ? kDefaultRuns : std::strtoull(runs, nullptr, 10));
  return 0;
}
