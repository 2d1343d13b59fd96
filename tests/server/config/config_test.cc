#include "server/config/config.h"

#include <cstdlib>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/config/command_line.h"
#include "server/config/setting.h"
#include "tests/testing/status_matchers.h"
#include "tests/testing/temp_folder.h"

namespace ropeway::server {
namespace {

using ::ropeway::testing::StatusIs;
using ::ropeway::testing::TempFolder;
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
                                    "3", "--drain_timeout", "1m30s", "--kernels", "ref", "--max_samples=7",
                                    "--log_level", "error"}));
  EXPECT_EQ(config.listen, "0.0.0.0:0");
  EXPECT_EQ(config.metrics_listen, "");
  EXPECT_EQ(config.threads, 3);
  EXPECT_EQ(config.drain_timeout, absl::Seconds(90));
  EXPECT_EQ(config.kernels, KernelSet::kRef);
  EXPECT_EQ(config.request.max_samples, 7);
  EXPECT_EQ(config.log_level, LogLevel::kError);
}

TEST(CommandLineTest, ADrainTimeoutWithoutUnitIsSeconds) {
  ASSERT_OK_AND_ASSIGN(const Config config, ParseConfig({"--model=m", "--drain_timeout", "2.5"}));
  EXPECT_EQ(config.drain_timeout, absl::Milliseconds(2500));
}

TEST(CommandLineTest, TheLastOfAFlagCounts) {
  ASSERT_OK_AND_ASSIGN(const Config config, ParseConfig({"--model=m", "--threads=2", "--threads", "3"}));
  EXPECT_EQ(config.threads, 3);
}

TEST(CommandLineTest, NumbersAreDecimal) {
  ASSERT_OK_AND_ASSIGN(
      const Config config,
      ParseConfig({"--model=m", "--max_running=010", "--gpu_memory_fraction=05e-1", "--drain_timeout=010"}));
  EXPECT_EQ(config.max_running.On(Device::kCpu), 10);
  EXPECT_EQ(config.gpu_memory_fraction, 0.5);
  EXPECT_EQ(config.drain_timeout, absl::Seconds(10));
}

TEST(CommandLineTest, SomeDefaultsDependOnTheDevice) {
  ASSERT_OK_AND_ASSIGN(const Config unset, ParseConfig({"--model=m"}));
  EXPECT_EQ(unset.max_running.On(Device::kCpu), 64);
  EXPECT_EQ(unset.max_running.On(Device::kCuda), 256);
  EXPECT_EQ(unset.max_queue.AtMost(), 1024);
  ASSERT_OK_AND_ASSIGN(const Config set, ParseConfig({"--model=m", "--max_running=64"}));
  EXPECT_EQ(set.max_running.On(Device::kCuda), 64);
  EXPECT_EQ(set.max_running.AtMost(), 64);
}

TEST(CommandLineTest, FlagsWinOverEnvironmentAndThatOverTheSettingsFile) {
  const TempFolder folder;
  const std::string path =
      folder.Write("settings", "model = \"file.gguf\"\nmax_queue = 1\nmax_running = 1\nthreads = 1\n");
  const ScopedEnvironment queue("ROPEWAY_MAX_QUEUE", "2");
  const ScopedEnvironment running("ROPEWAY_MAX_RUNNING", "2");
  ASSERT_OK_AND_ASSIGN(Config config, ParseConfig({"--config", path.c_str(), "--max_queue", "3"}));
  EXPECT_EQ(config.model, "file.gguf");
  EXPECT_EQ(config.max_queue.On(Device::kCpu), 3);
  EXPECT_EQ(config.max_running.On(Device::kCpu), 2);
  EXPECT_EQ(config.threads, 1);
  const ScopedEnvironment file("ROPEWAY_CONFIG", path.c_str());
  ASSERT_OK_AND_ASSIGN(config, ParseConfig({}));
  EXPECT_EQ(config.model, "file.gguf");
}

// Compose files set options that are not set to nothing.
TEST(CommandLineTest, AnEmptyValueIsTheDefaultAndSwallowsNothing) {
  for (const Setting& setting : Settings()) {
    SCOPED_TRACE(setting.name);
    const std::string name = absl::StrCat("ROPEWAY_", absl::AsciiStrToUpper(setting.name));
    const ScopedEnvironment empty(name.c_str(), "");
    ASSERT_OK_AND_ASSIGN(const Config config, ParseConfig({"--model=m", "--tenant_burst_tokens=7"}));
    EXPECT_EQ(config.model, "m");
    EXPECT_EQ(config.model_name, "");
    EXPECT_EQ(config.listen, "127.0.0.1:50051");
    EXPECT_EQ(config.metrics_listen, setting.name == "metrics_listen" ? "" : "127.0.0.1:9464");
    EXPECT_EQ(config.threads, 0);
    EXPECT_EQ(config.gpu_memory_fraction, 0.9);
    EXPECT_EQ(config.max_running.On(Device::kCuda), 256);
    EXPECT_EQ(config.kv_type, KvCacheType::kAuto);
    EXPECT_EQ(config.tenant_burst_tokens, 7);
    EXPECT_EQ(config.request.max_logprobs, 20);
  }
  ASSERT_OK_AND_ASSIGN(const Config config, ParseConfig({"--threads=2", "--model_name", "",
                                                         "--threads=", "--model=m", "--kernels", ""}));
  EXPECT_EQ(config.model, "m");
  EXPECT_EQ(config.threads, 0);
  EXPECT_THAT(Parse({"--model="}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--model is required")));
}

TEST(CommandLineTest, HelpAndVersionArePrinted) {
  ASSERT_OK_AND_ASSIGN(const auto help, Parse({"--help"}));
  for (const Setting& setting : Settings())
    EXPECT_THAT(std::get<PrintAndLeave>(help).text, HasSubstr(absl::StrCat("  --", setting.name, "\n")));
  ASSERT_OK_AND_ASSIGN(const auto version, Parse({"--model", "m", "--version"}));
  EXPECT_THAT(std::get<PrintAndLeave>(version).text, HasSubstr("ropeway_server "));
}

TEST(CommandLineTest, ErrorsAreOneLineAndNameTheFlag) {
  const std::vector<std::pair<std::vector<const char*>, const char*>> cases = {
      {{}, "--model is required"},
      {{"--model=m", "--nonsense=1"}, "\"--nonsense\""},
      {{"--model=m", "--non\nsense=1"}, "\"--non\\nsense\""},
      {{"--model=m", "--nonsense"}, "\"--nonsense\" has no value"},
      {{"--model=m", "--threads", "--max_queue=1"}, "\"--threads\" has no value"},
      {{"m.gguf"}, "unexpected argument \"m.gguf\""},
      {{"-m", "m"}, "unexpected argument \"-m\""},
      {{"--model=a\nb"}, "--model must be a path without control characters, is \"a\\nb\""},
      {{"--model=m", "--threads", "many"}, "--threads must be a whole number in [0, 1024], is \"many\""},
      {{"--model=m", "--threads", "0x10"}, "--threads must be a whole number in [0, 1024], is \"0x10\""},
      {{"--model=m", "--threads", " 1"}, "--threads must be a whole number"},
      {{"--model=m", "--threads", "1.5"}, "--threads must be a whole number"},
      {{"--model=m", "--threads", "1e2"}, "--threads must be a whole number"},
      {{"--model=m", "--threads", "-1"}, "--threads must be in [0, 1024], is -1"},
      {{"--model=m", "--threads", "4294967297"}, "--threads must be in [0, 1024], is 4294967297"},
      {{"--model=m", "--max_live_tokens", "9223372036854775808"},
       "--max_live_tokens must be in [0, 9223372036854775807], is 9223372036854775808"},
      {{"--model=m", "--model_name", "a\xff"}, "--model_name must be printable ASCII, is \"a\\xff\""},
      {{"--model=m", "--listen", "here"}, "--listen must be HOST:PORT, is \"here\": it has no port"},
      {{"--model=m", "--listen", "a:65536"},
       "--listen must be HOST:PORT, is \"a:65536\": the port must be in"},
      {{"--model=m", "--metrics_listen", "a:b"}, "--metrics_listen must be HOST:PORT"},
      {{"--model=m", "--metrics_listen", "http://a:1"}, "leave away \"http://\""},
      {{"--model=m", "--kernels", "mmx"}, "--kernels must be one of auto, ref, avx2, avx512; is \"mmx\""},
      {{"--model=m", "--tls_cert=c"}, "--tls_cert needs its --tls_key"},
      {{"--model=m", "--tls_key=k"}, "--tls_key needs its --tls_cert"},
      {{"--model=m", "--tls_client_ca=a"}, "--tls_client_ca needs --tls_cert and --tls_key"},
      {{"--model=m", "--admin_listen=127.0.0.1:1"}, "--admin_listen needs --keys_file"},
      {{"--model=m", "--health_needs_key=yes"}, "--health_needs_key=yes needs --keys_file"},
      {{"--model=m", "--metrics_needs_key=yes"}, "--metrics_needs_key=yes needs --keys_file"},
      {{"--model=m", "--keys_file=k", "--metrics_needs_key=1"}, "--metrics_needs_key must be one of no, yes"},
      {{"--model=m", "--keys_file=k", "--admin_listen=here"}, "--admin_listen must be HOST:PORT"},
      {{"--model=m", "--max_half_open=0"}, "--max_half_open must be in [1, 1048576], is 0"},
      {{"--model=m", "--handshake_timeout=0"}, "--handshake_timeout must be in [100ms, 1h], is 0"},
      {{"--model=m", "--kv_type", "f64"}, "--kv_type must be one of"},
      {{"--model=m", "--max_model_len=1"},
       "--max_model_len must be 0 or at least 2, for a prompt and an answer, is 1"},
      {{"--model=m", "--device", "tpu"}, "--device must be one of auto, cpu, cuda; is \"tpu\""},
      {{"--model=m", "--dtype", "f64"}, "--dtype must be one of auto, f16, bf16, f32"},
      {{"--model=m", "--tensor_parallel", "0"}, "--tensor_parallel must be in [1, 64], is 0"},
      {{"--model=m", "--gpu_memory_fraction", "1.5"}, "--gpu_memory_fraction must be in (0, 1], is 1.5"},
      {{"--model=m", "--gpu_memory_fraction", "1.0000001"}, "must be in (0, 1], is 1.0000001"},
      {{"--model=m", "--gpu_memory_fraction", "0"}, "must be in (0, 1], is 0"},
      {{"--model=m", "--gpu_memory_fraction", "1e999"}, "must be in (0, 1], is 1e999"},
      {{"--model=m", "--gpu_memory_fraction", "nan"}, "must be a decimal number in (0, 1], is \"nan\""},
      {{"--model=m", "--gpu_memory_fraction", "inf"}, "must be a decimal number in (0, 1], is \"inf\""},
      {{"--model=m", "--gpu_memory_fraction", "0x1p-1"}, "must be a decimal number"},
      {{"--model=m", "--log_level", "loud"}, "--log_level must be one of"},
      {{"--model=m", "--drain_timeout", "soon"},
       "--drain_timeout must be a duration such as \"30s\" in [0s, 24h]"},
      {{"--model=m", "--drain_timeout", "inf"}, "--drain_timeout must be a duration"},
      {{"--model=m", "--drain_timeout", "0x10"}, "--drain_timeout must be a duration"},
      {{"--model=m", "--drain_timeout", "1e999"}, "--drain_timeout must be in [0s, 24h], is 1e999"},
      {{"--model=m", "--drain_timeout", "99999999999999999999h"}, "--drain_timeout must be a duration"},
      {{"--model=m", "--drain_timeout", "-1s"}, "--drain_timeout must be in [0s, 24h], is -1s"},
      {{"--model=m", "--max_running", "0"}, "--max_running must be in [1, 4096], is 0"},
      {{"--model=m", "--max_queue", "-1"}, "--max_queue must be in [0,"},
      {{"--model=m", "--max_samples", "0"}, "--max_samples must be in [1, 1024], is 0"},
      {{"--config", "/dev/null"}, "'/dev/null' is a device, not a regular file"},
      {{"--config", "tests"}, "'tests' is a directory, not a regular file"},
  };
  for (const auto& [args, message] : cases) {
    EXPECT_THAT(Parse(args), StatusIs(absl::StatusCode::kInvalidArgument,
                                      AllOf(HasSubstr(message), Not(HasSubstr("\n")))));
  }
}

TEST(CommandLineTest, WhatNeedsAGpuIsRefusedOnACpu) {
  const std::vector<std::pair<std::vector<const char*>, const char*>> cases = {
      {{"--model=m", "--kv_type=fp8", "--device=cpu"},
       "--kv_type must be one of auto, bf16, f32 without a GPU, is \"fp8\" (--device=cpu)"},
      {{"--model=m", "--weights=fp8", "--device=cpu"},
       "--weights must be one of file, q8_0 without a GPU, is \"fp8\" (--device=cpu)"},
      {{"--model=m", "--tensor_parallel=2", "--device=cpu"},
       "--tensor_parallel must be 1 without a GPU, is 2 (--device=cpu)"},
  };
  for (const auto& [args, message] : cases)
    EXPECT_THAT(Parse(args), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
}

TEST(CommandLineTest, ASettingsFileThatIsNotThereIsNamed) {
  EXPECT_THAT(Parse({"--config", "/does/not/exist"}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("cannot open '/does/not/exist'")));
}

TEST(CommandLineTest, ErrorsNameTheVariableOrTheLine) {
  const TempFolder folder;
  const std::string path = folder.Write("settings", "model = m\nthreads = 1025\n");
  EXPECT_THAT(Parse({"--config", path.c_str()}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr(absl::StrCat(path, ":2: threads must be in [0, 1024], is 1025"))));
  const ScopedEnvironment threads("ROPEWAY_THREADS", "1026");
  EXPECT_THAT(Parse({"--model=m"}), StatusIs(absl::StatusCode::kInvalidArgument,
                                             HasSubstr("ROPEWAY_THREADS must be in [0, 1024], is 1026")));
}

TEST(CommandLineTest, AnUnknownSettingInTheFileIsAnError) {
  const TempFolder folder;
  const std::string path = folder.Write("settings", "model = \"m\"\nmax_quue = 1\n");
  EXPECT_THAT(Parse({"--config", path.c_str()}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr(absl::StrCat(path, ":2: unknown setting \"max_quue\""))));
}

// What the walk through the ranges of tests/integration builds on.
TEST(SettingTest, TakesTheEndsOfItsRangeAndRefusesWhatIsBeyond) {
  for (const Setting& setting : Settings()) {
    SCOPED_TRACE(setting.name);
    for (const std::string& value : setting.extremes) {
      Config config;
      EXPECT_OK(setting.set("it", value, config)) << value;
      EXPECT_OK(setting.check(config)) << value;
    }
    if (!absl::StartsWith(setting.range, "[") && !absl::StartsWith(setting.range, "(")) continue;
    for (const char* value : {"-1", "9223372036854775808", "-9223372036854775809", "1e400"}) {
      Config config;
      EXPECT_THAT(setting.set("it", value, config),
                  StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(value)));
    }
  }
}

TEST(SettingTest, ValidateChecksWhatIsThereAlready) {
  Config config = {.model = "m"};
  EXPECT_OK(config.Validate());
  config.request.max_samples = 0;
  EXPECT_THAT(config.Validate(), StatusIs(absl::StatusCode::kInvalidArgument,
                                          HasSubstr("--max_samples must be in [1, 1024], is 0")));
}

}  // namespace
}  // namespace ropeway::server
