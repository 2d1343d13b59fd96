#include "server/config/config.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <variant>
#include <vector>

#include "server/config/command_line.h"
#include "tests/testing/status_matchers.h"

namespace ropeway::server {
namespace {

using ::ropeway::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

absl::StatusOr<std::variant<Config, PrintAndLeave>> Parse(std::vector<const char*> args) {
  args.insert(args.begin(), "ropeway_server");
  return ParseCommandLine(static_cast<int>(args.size()), args.data());
}

absl::StatusOr<Config> ParseConfig(std::vector<const char*> args) {
  ASSIGN_OR_RETURN(auto parsed, Parse(std::move(args)));
  return std::get<Config>(parsed);
}

// Sets an environment variable for the length of a test.
class ScopedEnvironment {
 public:
  ScopedEnvironment(const char* name, const char* value) : name_(name) { setenv(name, value, 1); }
  ~ScopedEnvironment() { unsetenv(name_); }

 private:
  const char* name_;
};

TEST(CommandLineTest, DefaultsNeedOnlyAModel) {
  ASSERT_OK_AND_ASSIGN(const Config config, ParseConfig({"--model", "m.gguf"}));
  EXPECT_EQ(config.model, "m.gguf");
  EXPECT_EQ(config.listen, "127.0.0.1:50051");
  EXPECT_EQ(config.drain_timeout, absl::Seconds(30));
}

TEST(CommandLineTest, ReadsFlags) {
  ASSERT_OK_AND_ASSIGN(const Config config,
                       ParseConfig({"--model=m", "--listen", "0.0.0.0:0", "--metrics_listen", "", "--threads",
                                    "3", "--drain_timeout", "1m30s", "--kernels", "ref"}));
  EXPECT_EQ(config.listen, "0.0.0.0:0");
  EXPECT_EQ(config.metrics_listen, "");
  EXPECT_EQ(config.threads, 3);
  EXPECT_EQ(config.drain_timeout, absl::Seconds(90));
  EXPECT_EQ(config.kernels, "ref");
}

TEST(CommandLineTest, ADrainTimeoutWithoutUnitIsSeconds) {
  ASSERT_OK_AND_ASSIGN(const Config config, ParseConfig({"--model=m", "--drain_timeout", "2.5"}));
  EXPECT_EQ(config.drain_timeout, absl::Milliseconds(2500));
}

TEST(CommandLineTest, FlagsWinOverEnvironmentAndThatOverTheSettingsFile) {
  const std::string path = ::testing::TempDir() + "/ropeway_settings.toml";
  std::ofstream(path) << "model = \"file.gguf\"\nmax_queue = 1\nmax_running = 1\nthreads = 1\n";
  const ScopedEnvironment queue("ROPEWAY_MAX_QUEUE", "2");
  const ScopedEnvironment running("ROPEWAY_MAX_RUNNING", "2");
  ASSERT_OK_AND_ASSIGN(const Config config, ParseConfig({"--config", path.c_str(), "--max_queue", "3"}));
  EXPECT_EQ(config.model, "file.gguf");
  EXPECT_EQ(config.max_queue, 3);
  EXPECT_EQ(config.max_running, 2);
  EXPECT_EQ(config.threads, 1);
  std::remove(path.c_str());
}

TEST(CommandLineTest, HelpAndVersionArePrinted) {
  ASSERT_OK_AND_ASSIGN(const auto help, Parse({"--help"}));
  EXPECT_THAT(std::get<PrintAndLeave>(help).text, AllOf(HasSubstr("--model"), HasSubstr("--drain_timeout")));
  ASSERT_OK_AND_ASSIGN(const auto version, Parse({"--version"}));
  EXPECT_THAT(std::get<PrintAndLeave>(version).text, HasSubstr("ropeway_server "));
}

TEST(CommandLineTest, ErrorsAreOneLineAndNameTheFlag) {
  const std::vector<std::pair<std::vector<const char*>, const char*>> cases = {
      {{}, "--model is required"},
      {{"--model=m", "--nonsense"}, "--nonsense"},
      {{"--model=m", "--threads", "many"}, "threads"},
      {{"--model=m", "--threads", "-1"}, "--threads must be in [0, 1024], is -1"},
      {{"--model=m", "--model_name", "a\xff"}, "--model_name must be printable ASCII, is \"a\\xff\""},
      {{"--model=m", "--gpu_memory_fraction", ""}, "--gpu_memory_fraction takes a number, not \"\""},
      {{"--model=m", "--listen", "here"}, "--listen must be HOST:PORT"},
      {{"--model=m", "--listen", "a:65536"}, "--listen must be HOST:PORT"},
      {{"--model=m", "--metrics_listen", "a:b"}, "--metrics_listen must be HOST:PORT"},
      {{"--model=m", "--kernels", "mmx"}, "--kernels must be one of auto, ref, avx2, avx512; is \"mmx\""},
      {{"--model=m", "--kv_type", "f64"}, "--kv_type must be one of"},
      {{"--model=m", "--kv_type=fp8", "--device=cpu"},
       "--kv_type (with --device=cpu) must be one of auto, bf16, f32;"},
      {{"--model=m", "--device", "tpu"}, "--device must be one of auto, cpu, cuda; is \"tpu\""},
      {{"--model=m", "--dtype", "f64"}, "--dtype must be one of auto, f16, bf16, f32"},
      {{"--model=m", "--tensor_parallel", "0"}, "--tensor_parallel must be in [1, 64], is 0"},
      {{"--model=m", "--gpu_memory_fraction", "1.5"}, "--gpu_memory_fraction must be in (0, 1], is 1.5"},
      {{"--model=m", "--log_level", "loud"}, "--log_level must be one of"},
      {{"--model=m", "--drain_timeout", "soon"}, "--drain_timeout must be a duration"},
      {{"--model=m", "--drain_timeout", "-1s"}, "--drain_timeout must be in [0s, 24h], is -1s"},
      {{"--model=m", "--max_running", "0"}, "--max_running must be in [1, 4096], is 0"},
      {{"--model=m", "--max_queue", "-1"}, "--max_queue must be in [0,"},
      {{"--model=m", "--max_samples", "0"}, "--max_samples must be in [1, 1024], is 0"},
      {{"--config", "/does/not/exist.toml"}, "/does/not/exist.toml"},
  };
  for (const auto& [args, message] : cases) {
    EXPECT_THAT(Parse(args), StatusIs(absl::StatusCode::kInvalidArgument,
                                      AllOf(HasSubstr(message), Not(HasSubstr("\n")))));
  }
}

TEST(CommandLineTest, AnUnknownSettingInTheFileIsAnError) {
  const std::string path = ::testing::TempDir() + "/ropeway_unknown.toml";
  std::ofstream(path) << "model = \"m\"\nmax_quue = 1\n";
  EXPECT_THAT(Parse({"--config", path.c_str()}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("max_quue")));
  std::remove(path.c_str());
}

}  // namespace
}  // namespace ropeway::server
