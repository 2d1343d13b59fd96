// A server of the real model that asks for keys; and when a test is over, nothing of a key is in what it told.
#ifndef ROPEWAY_TESTS_INTEGRATION_KEYED_SERVER_H_
#define ROPEWAY_TESTS_INTEGRATION_KEYED_SERVER_H_

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "server/keys/key_file.h"
#include "tests/integration/guarded_server.h"

namespace ropeway::testing {

class KeyedServerTest : public GuardedServerTest {
 protected:
  // Adds a key to the file, and returns it.
  std::string AddKey(const std::string& name, const server::KeyEntry& entry) {
    const server::ApiKey key = server::NewApiKey();
    server::KeyEntry named = entry;
    named.name = name;
    if (named.subject.empty()) named.hash = server::HashApiKey(key);
    EXPECT_OK(server::AddToKeyFile(folder_.File("keys"), named));
    secrets_.push_back(key.secret);
    return key.Text();
  }

  server::Config KeysConfig() const {
    server::Config config = SmallConfig();
    config.keys_file = folder_.File("keys");
    config.reload_interval = absl::Milliseconds(100);
    return config;
  }

  client::ClientOptions With(const std::string& key) const {
    return {
        .server = absl::StrCat("127.0.0.1:", server_->port()), .api_key = key, .retry = {.max_attempts = 1}};
  }

  void TearDown() override {
    const std::string told = LogText() + (server_ == nullptr ? "" : Metrics());
    for (const std::string& secret : secrets_) EXPECT_FALSE(absl::StrContains(told, secret));
    if (server_ != nullptr) {
      EXPECT_GT(told.size(), 300);
    }
  }

  std::vector<std::string> secrets_;
};

}  // namespace ropeway::testing

#endif  // ROPEWAY_TESTS_INTEGRATION_KEYED_SERVER_H_
