// What operators and scrapers give the server: settings files, values of settings, addresses, HTTP requests.
#include <string>

#include "absl/strings/match.h"
#include "engine/base/check.h"
#include "server/config/setting.h"
#include "server/config/settings_file.h"
#include "server/net/address.h"
#include "server/obs/http_answer.h"
#include "tests/fuzz/fuzz_target.h"

namespace ropeway::testing {
namespace {

// Whatever comes in, what is said about it is one line.
void CheckOneLine(const absl::Status& status) { ROPEWAY_CHECK(!absl::StrContains(status.message(), '\n')); }

}  // namespace

std::vector<std::string> FuzzSeeds() {
  return {"# a comment\nmax_running = 8 # why\r\nmodel = \"/a #1/x.gguf\"\nthreads=\n[section]\n",
          "127.0.0.1:50051",
          "[::1]:0",
          "http://here:80",
          "1m30s",
          "-0.5e+3",
          "9223372036854775807",
          "bf16",
          "GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n"};
}

}  // namespace ropeway::testing

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace ropeway::server;
  using ropeway::testing::CheckOneLine;
  static const std::vector<Setting> settings = Settings();
  const std::string_view input = ropeway::testing::AsText(data, size);
  const absl::string_view text(input.data(), input.size());
  CheckOneLine(ParseSettingsFile("file", text).status());
  CheckOneLine(ParseAddress(text).status());
  (void)AnswerHttp(text, {[] { return std::string("one 1\n"); }});
  if (text.empty()) return 0;
  Config config;
  for (const Setting& setting : settings) {
    const absl::Status status = setting.set("it", text, config);
    CheckOneLine(status);
    // What is taken passes the check of what is there already.
    if (status.ok()) ROPEWAY_CHECK(setting.check(config).ok());
    setting.set_empty(config);
  }
  return 0;
}
