// What operators, scrapers and strangers give the server: settings files, values of settings, files of keys,
// addresses, HTTP requests, keys, first words of connections.
#include <string>

#include "absl/strings/match.h"
#include "engine/base/check.h"
#include "server/config/setting.h"
#include "server/config/settings_file.h"
#include "server/keys/key_file.h"
#include "server/net/address.h"
#include "server/net/first_words.h"
#include "server/obs/http_answer.h"
#include "tests/fuzz/fuzz_target.h"

namespace ropeway::testing {
namespace {

// Whatever comes in, what is said about it is one line.
void CheckOneLine(const absl::Status& status) { ROPEWAY_CHECK(!absl::StrContains(status.message(), '\n')); }

// What is read of a file of keys is written as it was read.
void CheckKeys(absl::string_view text) {
  const auto entries = server::ParseKeyFile("file", text);
  CheckOneLine(entries.status());
  if (const auto key = server::ParseApiKey(text)) ROPEWAY_CHECK(key->Text() == text);
  if (!entries.ok()) return;
  for (const server::KeyEntry& entry : *entries) {
    const auto line = server::FormatKeyEntry(entry);
    // Double quotes inside of a value cannot be written.
    if (!line.ok()) continue;
    const auto again = server::ParseKeyFile("file", *line);
    ROPEWAY_CHECK(again.ok() && again->size() == 1 && (*again)[0] == entry);
  }
}

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
          "GET /metrics HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer x\r\n\r\n",
          "# keys\na subject=\"CN=a b\" tenant=t running=4 queued=0 tenants=any\nb role=admin subject=x\n",
          "c tokens_per_minute=1 kv_pages=2 tenant=t key=0123456789abcdef:" + std::string(32, '0') + ":" +
              std::string(64, 'f'),
          "rk_0123456789abcdef_" + std::string(64, '0'),
          "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"};
}

}  // namespace ropeway::testing

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace ropeway::server;
  using ropeway::testing::CheckKeys;
  using ropeway::testing::CheckOneLine;
  static const std::vector<Setting> settings = Settings();
  const std::string_view input = ropeway::testing::AsText(data, size);
  const absl::string_view text(input.data(), input.size());
  CheckOneLine(ParseSettingsFile("file", text).status());
  CheckOneLine(ParseAddress(text).status());
  const auto metrics = [] { return std::string("one 1\n"); };
  (void)AnswerHttp(text, {metrics});
  const auto closed = [](const std::optional<std::string>&, absl::string_view) {
    return absl::UnauthenticatedError("no");
  };
  const std::optional<std::string> refusal = AnswerHttp(text, {metrics, closed});
  ROPEWAY_CHECK(!refusal || !absl::StrContains(*refusal, "one 1"));
  CheckKeys(text);
  for (const bool tls : {false, true})
    ROPEWAY_CHECK(HasFirstWords(text, tls) || text.size() < kMaxFirstWordsBytes);
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
