#include "client/bench/workload.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "nlohmann/json.hpp"

namespace ropeway::client {
namespace {

// The standard's engines give the same numbers everywhere; its distributions do not, so these are our own.
class Coins {
 public:
  explicit Coins(uint64_t seed) : engine_(seed) {}

  int32_t TokenId(int32_t vocab_size) { return static_cast<int32_t>(engine_() % vocab_size); }

  // Exponentially distributed with mean 1.
  double Gap() {
    const double uniform = static_cast<double>(engine_() >> 11) * 0x1p-53;  // in [0, 1)
    return -std::log1p(-uniform);
  }

 private:
  std::mt19937_64 engine_;
};

absl::Status SetStarts(const WorkloadOptions& options, std::vector<WorkItem>& items) {
  if (options.request_rate <= 0) return absl::OkStatus();
  Coins coins(options.seed ^ 0x5bd1e995);  // other coins than those of the prompts
  double start = 0;
  for (WorkItem& item : items) {
    item.start_seconds = start;
    start += coins.Gap() / options.request_rate;
  }
  if (items.empty() || items.back().start_seconds <= static_cast<double>(kMaxStartSeconds))
    return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "at a request rate of ", options.request_rate, " a second the last request must start within ",
      kMaxStartSeconds, " s, would after ", items.back().start_seconds));
}

// `least` to the largest number of 32 bits; nlohmann's get() alone would cut what is larger.
bool IsWhole(const nlohmann::json& number, int64_t least) {
  if (number.is_number_unsigned() && number.get<uint64_t>() > INT32_MAX) return false;
  return number.is_number_integer() && number.get<int64_t>() >= least && number.get<int64_t>() <= INT32_MAX;
}

absl::StatusOr<WorkItem> ParseItem(const std::string& line, int32_t default_output_tokens) {
  WorkItem item{.prompt = line, .output_tokens = default_output_tokens};
  if (line.front() != '{') return item;
  const auto json = nlohmann::json::parse(line, /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::InvalidArgumentError("not a JSON object");
  const auto prompt = json.find("prompt");
  if (prompt == json.end()) return absl::InvalidArgumentError("\"prompt\" is missing");
  const auto is_id = [](const nlohmann::json& id) { return IsWhole(id, INT32_MIN); };
  if (prompt->is_string()) {
    item.prompt = prompt->get<std::string>();
  } else if (prompt->is_array() && std::all_of(prompt->begin(), prompt->end(), is_id)) {
    item.prompt = prompt->get<std::vector<int32_t>>();
  } else {
    return absl::InvalidArgumentError("\"prompt\" must be a text or an array of token ids of 32 bits");
  }
  const auto output_tokens = json.find("output_tokens");
  if (output_tokens == json.end()) return item;
  if (!IsWhole(*output_tokens, 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"output_tokens\" must be a whole number in [1, ", INT32_MAX, "], is ",
                     output_tokens->is_number() ? output_tokens->dump() : output_tokens->type_name()));
  }
  item.output_tokens = output_tokens->get<int32_t>();
  return item;
}

absl::Status CheckSize(int64_t bytes) {
  if (bytes <= kMaxWorkloadBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("the prompts of all requests must have at most ",
                                                 kMaxWorkloadBytes, " bytes, have ", bytes));
}

}  // namespace

absl::StatusOr<std::vector<WorkItem>> MakeRandomWorkload(const WorkloadOptions& options) {
  const int64_t num_tokens = int64_t{options.num_requests} * options.prompt_tokens;
  if (absl::Status status = CheckSize(num_tokens * int64_t{sizeof(int32_t)}); !status.ok()) return status;
  Coins coins(options.seed);
  std::vector<int32_t> prefix(options.shared_prefix_tokens);
  for (int32_t& id : prefix) id = coins.TokenId(options.vocab_size);
  std::vector<WorkItem> items(options.num_requests);
  for (WorkItem& item : items) {
    std::vector<int32_t> ids = prefix;
    while (ids.size() < options.prompt_tokens) ids.push_back(coins.TokenId(options.vocab_size));
    item.prompt = std::move(ids);
    item.output_tokens = options.output_tokens;
  }
  if (absl::Status status = SetStarts(options, items); !status.ok()) return status;
  return items;
}

absl::StatusOr<std::vector<WorkItem>> MakeWorkloadFromLines(const std::string& lines,
                                                            const WorkloadOptions& options) {
  std::vector<WorkItem> distinct;
  int32_t number = 0;
  for (const absl::string_view whole : absl::StrSplit(lines, '\n')) {
    ++number;
    const absl::string_view line = absl::StripSuffix(whole, "\r");
    if (line.empty()) continue;
    absl::StatusOr<WorkItem> item = ParseItem(std::string(line), options.output_tokens);
    if (!item.ok())
      return absl::InvalidArgumentError(absl::StrCat("line ", number, ": ", item.status().message()));
    distinct.push_back(*std::move(item));
  }
  if (distinct.empty()) return absl::InvalidArgumentError("there is no prompt");
  std::vector<WorkItem> items;
  const size_t wanted = options.num_requests == 0 ? distinct.size() : options.num_requests;
  const int64_t rounds = static_cast<int64_t>((wanted + distinct.size() - 1) / distinct.size());
  if (absl::Status status = CheckSize(rounds * static_cast<int64_t>(lines.size())); !status.ok())
    return status;
  while (items.size() < wanted) items.push_back(distinct[items.size() % distinct.size()]);
  if (absl::Status status = SetStarts(options, items); !status.ok()) return status;
  return items;
}

}  // namespace ropeway::client
