#include <curl/curl.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/address.h"
#include "client/bench/load_target.h"
#include "client/bench/sse.h"
#include "nlohmann/json.hpp"

namespace ropeway::client {
namespace {

constexpr size_t kMaxErrorBytes = 1024;  // of a body that tells what went wrong
constexpr long kHttpOk = 200;
constexpr int kMaxJsonDepth = 64;

struct CurlDeleter {
  void operator()(CURL* curl) const { curl_easy_cleanup(curl); }
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

// One streamed answer as it arrives.
class Completion {
 public:
  Completion() : parser_([this](absl::string_view data) { OnData(data); }) {}

  void OnBytes(absl::string_view bytes) {
    if (body_.size() < kMaxErrorBytes)
      body_.append(bytes.data(), std::min(bytes.size(), kMaxErrorBytes - body_.size()));
    record_.status.Update(parser_.Feed(bytes));
  }

  // The record, when curl came back with `result` and the server with `http_code`. `way`: the URL, and the
  // proxy to it where there is one.
  RequestRecord Finish(CURLcode result, long http_code, const std::string& way) && {
    if (result == CURLE_COULDNT_CONNECT) {
      record_.status =
          absl::UnavailableError(absl::StrCat("cannot connect to ", way, ": does the server run?"));
    } else if (result == CURLE_COULDNT_RESOLVE_HOST || result == CURLE_COULDNT_RESOLVE_PROXY) {
      record_.status =
          absl::UnavailableError(absl::StrCat("cannot connect to ", way, ": the name is not known"));
    } else if (result == CURLE_PEER_FAILED_VERIFICATION || result == CURLE_SSL_CONNECT_ERROR) {
      record_.status =
          absl::UnavailableError(absl::StrCat("cannot connect to ", way, ": ", curl_easy_strerror(result)));
    } else if (result == CURLE_OPERATION_TIMEDOUT) {
      record_.status = absl::DeadlineExceededError("the --timeout passed");
    } else if (result != CURLE_OK) {
      record_.status = absl::UnavailableError(absl::StrCat(way, ": ", curl_easy_strerror(result)));
    } else if (http_code != kHttpOk) {
      record_.status = absl::InternalError(absl::StrCat("HTTP ", http_code, ": ", body_));
    } else if (timer_.seen() == 0) {
      record_.status.Update(absl::InternalError("the answer has no tokens"));
    }
    if (record_.output_tokens == 0)
      record_.output_tokens = timer_.seen();  // a server that does not tell usage
    return std::move(record_);
  }

 private:
  void OnData(absl::string_view data) {
    if (data == "[DONE]") return;
    // What is nested deeper is left out: writing it into an error would take as deep a recursion.
    const auto is_shallow = [](int depth, auto, auto&) { return depth <= kMaxJsonDepth; };
    const auto json = nlohmann::json::parse(data.begin(), data.end(), is_shallow, /*allow_exceptions=*/false);
    if (!json.is_object()) {
      record_.status.Update(absl::InternalError("an event that is no JSON object"));
      return;
    }
    if (const auto error = json.find("error"); error != json.end())
      record_.status.Update(
          absl::InternalError(error->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)));
    if (const auto usage = json.find("usage"); usage != json.end() && usage->is_object()) {
      TakeCount(*usage, "prompt_tokens", record_.prompt_tokens);
      TakeCount(*usage, "completion_tokens", record_.output_tokens);
      if (const auto details = usage->find("prompt_tokens_details");
          details != usage->end() && details->is_object())
        TakeCount(*details, "cached_tokens", record_.cached_tokens);
    }
    if (BringsTokens(json)) timer_.OnMessage(record_);
  }

  static void TakeCount(const nlohmann::json& usage, const char* key, int32_t& count) {
    const auto found = usage.find(key);
    if (found == usage.end() || !found->is_number_unsigned()) return;
    count =
        static_cast<int32_t>(std::min<uint64_t>(found->get<uint64_t>(), std::numeric_limits<int32_t>::max()));
  }

  // A message without text may still stand for a token (of a part of a code point); the closing one, which
  // tells why the answer ended, does not.
  static bool BringsTokens(const nlohmann::json& json) {
    const auto choices = json.find("choices");
    if (choices == json.end() || !choices->is_array() || choices->empty()) return false;
    const nlohmann::json& choice = choices->front();
    if (!choice.is_object()) return false;
    const auto text = choice.find("text");
    const auto reason = choice.find("finish_reason");
    const bool closing = reason != choice.end() && !reason->is_null();
    return !closing ||
           (text != choice.end() && text->is_string() && !text->get_ref<const std::string&>().empty());
  }

  RequestRecord record_;
  MessageTimer timer_;
  SseParser parser_;
  std::string body_;
};

// 0 is none; what is shorter than curl's unit is one of it.
long TimeoutMs(double seconds) {
  return static_cast<long>(std::min<double>(std::ceil(seconds * 1000), std::numeric_limits<int32_t>::max()));
}

size_t OnCurlBytes(char* bytes, size_t, size_t size, void* completion) {
  static_cast<Completion*>(completion)->OnBytes(absl::string_view(bytes, size));
  return size;
}

class OpenAiTarget final : public LoadTarget {
 public:
  OpenAiTarget(const ClientOptions& connection, const RunOptions& options)
      : url_(Url(connection)),
        proxy_(FindProxy(HostOf(url_), ProxyVariables(url_), std::getenv)),
        connection_(connection),
        options_(options) {
    curl_global_init(CURL_GLOBAL_DEFAULT);
  }
  ~OpenAiTarget() override { curl_global_cleanup(); }

  RequestRecord Run(const WorkItem& item) override {
    const std::unique_ptr<CURL, CurlDeleter> curl(curl_easy_init());
    const std::unique_ptr<curl_slist, CurlDeleter> headers(Headers());
    const std::string body = Body(item);
    Completion completion;
    curl_easy_setopt(curl.get(), CURLOPT_URL, url_.c_str());
    curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers.get());
    curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDS, body.c_str());
    curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
    curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, OnCurlBytes);
    curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &completion);
    curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);  // threads
    // Said in full, since curl would read the environment by rules of its own.
    curl_easy_setopt(curl.get(), CURLOPT_PROXY, proxy_ ? proxy_->url.c_str() : "");
    curl_easy_setopt(curl.get(), CURLOPT_NOPROXY, "");
    SetTls(curl.get());
    curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT_MS, TimeoutMs(options_.timeout_seconds));
    const CURLcode result = curl_easy_perform(curl.get());
    long http_code = 0;
    curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &http_code);
    const std::string way = proxy_ ? absl::StrCat(url_, " through the proxy ", proxy_->Description()) : url_;
    return std::move(completion).Finish(result, http_code, way);
  }

 private:
  static std::string Url(const ClientOptions& connection) {
    const char* const scheme = connection.tls ? "https://" : "http://";
    return absl::StrCat(absl::StrContains(connection.server, "://") ? "" : scheme, connection.server,
                        "/v1/completions");
  }

  curl_slist* Headers() const {
    curl_slist* headers = curl_slist_append(nullptr, "Content-Type: application/json");
    if (connection_.api_key.empty()) return headers;
    return curl_slist_append(headers, absl::StrCat("Authorization: Bearer ", connection_.api_key).c_str());
  }

  void SetTls(CURL* curl) const {
    if (!connection_.tls) return;
    const auto set = [curl](CURLoption option, const std::string& pem) {
      curl_blob blob{.data = const_cast<char*>(pem.data()), .len = pem.size(), .flags = CURL_BLOB_NOCOPY};
      if (!pem.empty()) curl_easy_setopt(curl, option, &blob);
    };
    set(CURLOPT_CAINFO_BLOB, connection_.tls->authorities);
    set(CURLOPT_SSLCERT_BLOB, connection_.tls->certificate);
    set(CURLOPT_SSLKEY_BLOB, connection_.tls->key);
  }

  static std::vector<const char*> ProxyVariables(const std::string& url) {
    if (absl::StartsWith(url, "https://")) return {"https_proxy", "all_proxy"};
    return {"http_proxy", "all_proxy"};
  }

  std::string Body(const WorkItem& item) const {
    nlohmann::json body = {{"max_tokens", item.output_tokens},
                           {"temperature", options_.temperature},
                           {"ignore_eos", options_.ignore_eos},
                           {"stream", true},
                           {"stream_options", {{"include_usage", true}}}};
    if (!options_.model.empty()) body["model"] = options_.model;
    std::visit([&body](const auto& prompt) { body["prompt"] = prompt; }, item.prompt);
    return body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }

  const std::string url_;
  const std::optional<Proxy> proxy_;
  const ClientOptions connection_;
  const RunOptions options_;
};

}  // namespace

std::unique_ptr<LoadTarget> MakeOpenAiTarget(const ClientOptions& connection, const RunOptions& options) {
  return std::make_unique<OpenAiTarget>(connection, options);
}

}  // namespace ropeway::client
