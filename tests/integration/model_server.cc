#include "tests/integration/model_server.h"

#include <curl/curl.h>

#include <cstdlib>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "engine/base/check.h"

namespace ropeway::testing {
namespace {

size_t Append(char* data, size_t size, size_t count, void* body) {
  static_cast<std::string*>(body)->append(data, size * count);
  return size * count;
}

}  // namespace

std::string HttpGet(int port, const std::string& path, const std::string& header) {
  std::string body;
  CURL* const handle = curl_easy_init();
  curl_easy_setopt(handle, CURLOPT_URL, absl::StrCat("http://127.0.0.1:", port, path).c_str());
  curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, &Append);
  curl_easy_setopt(handle, CURLOPT_WRITEDATA, &body);
  curl_easy_setopt(handle, CURLOPT_TIMEOUT, 30L);
  curl_slist* const headers = header.empty() ? nullptr : curl_slist_append(nullptr, header.c_str());
  curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers);
  const CURLcode code = curl_easy_perform(handle);
  curl_easy_cleanup(handle);
  curl_slist_free_all(headers);
  return code == CURLE_OK ? body : "";
}

double MetricValue(std::string_view text, std::string_view name) {
  double sum = 0;
  for (absl::string_view line : absl::StrSplit(absl::string_view(text.data(), text.size()), '\n')) {
    if (line.substr(0, name.size()) != absl::string_view(name.data(), name.size())) continue;
    const absl::string_view rest = line.substr(name.size());
    double value = 0;
    if (rest.empty() || (rest[0] != '{' && rest[0] != ' ')) continue;  // a longer name
    if (absl::SimpleAtod(rest.substr(rest.rfind(' ') + 1), &value)) sum += value;
  }
  return sum;
}

server::Config SmallConfig() {
  return {.model = kModelPath,
          .listen = "127.0.0.1:0",
          .metrics_listen = "127.0.0.1:0",
          .kv_cache_mb = 64,
          .max_model_len = 2048};
}

ModelServer::ModelServer(const server::Config& config, const server::ModelLoader& load) {
  auto server = server::Server::Start(config, log_, load);
  if (!server.ok()) {
    log_.Error("no server (fetch the model with deploy/fetch_model.sh)",
               {{"why", server.status().message()}});
    std::abort();
  }
  server_ = *std::move(server);
  client_ = client::Client::Create({.server = address()});
}

std::string ModelServer::address() const { return absl::StrCat("127.0.0.1:", server_->port()); }

bool ModelServer::WaitUntilIdle(absl::Duration patience) {
  const absl::Time end = absl::Now() + patience;
  while (absl::Now() < end) {
    const auto info = client_->GetServerInfo();
    ROPEWAY_CHECK(info.ok());
    if (info->running_requests == 0 && info->waiting_requests == 0 && info->free_pages == info->total_pages) {
      return true;
    }
    absl::SleepFor(absl::Milliseconds(10));
  }
  return false;
}

}  // namespace ropeway::testing
