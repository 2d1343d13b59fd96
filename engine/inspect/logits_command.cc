#include "engine/inspect/logits_command.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <iostream>
#include <limits>
#include <memory>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/algorithm/container.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "engine/base/printable.h"
#include "engine/base/status_macros.h"
#include "engine/sample/sampler.h"
#include "nlohmann/json.hpp"

namespace ropeway {
namespace {

using Json = nlohmann::json;

constexpr int64_t kDefaultLast = 1;
constexpr int64_t kDefaultMaxTokens = 16;

absl::StatusOr<Json> ParseLine(std::string_view line) {
  Json json = Json::parse(line, /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return absl::InvalidArgumentError("not valid JSON");
  if (!json.is_object()) return absl::InvalidArgumentError("not a JSON object");
  return json;
}

// The integer under `name`, in [0, 2^31).
absl::StatusOr<int64_t> CountOr(const Json& json, const char* name, int64_t or_default) {
  const auto found = json.find(name);
  if (found == json.end()) return or_default;
  if (!found->is_number_integer()) return absl::InvalidArgumentError(absl::StrCat(name, ": not an integer"));
  // Unsigned values above the range of int64_t would come out negative.
  const int64_t value = found->is_number_unsigned() && found->get<uint64_t>() > INT32_MAX
                            ? int64_t{INT32_MAX} + 1
                            : found->get<int64_t>();
  if (value < 0 || value > INT32_MAX)
    return absl::InvalidArgumentError(absl::StrCat(name, ": must be in [0, 2^31), is ", found->dump()));
  return value;
}

absl::StatusOr<bool> FlagOr(const Json& json, const char* name, bool or_default) {
  const auto found = json.find(name);
  if (found == json.end()) return or_default;
  if (!found->is_boolean()) return absl::InvalidArgumentError(absl::StrCat(name, ": not true or false"));
  return found->get<bool>();
}

absl::StatusOr<std::vector<TokenId>> ReadIds(const Json& json, int32_t vocab_size) {
  const auto found = json.find("ids");
  if (found == json.end() || !found->is_array() || found->empty())
    return absl::InvalidArgumentError("ids: not an array of at least one token id");
  std::vector<TokenId> ids;
  for (const Json& id : *found) {
    const bool known = id.is_number_unsigned() && id.get<uint64_t>() < static_cast<uint64_t>(vocab_size);
    if (!known)
      return absl::InvalidArgumentError(absl::StrCat("ids[", ids.size(), "]: must be an integer in [0, ",
                                                     vocab_size, "), is ",
                                                     id.is_number() ? id.dump() : id.type_name()));
    ids.push_back(id.get<TokenId>());
  }
  return ids;
}

// The shortest decimals that read back as the same float.
void AppendFloats(absl::Span<const float> values, std::string& out) {
  out += '[';
  char digits[32];
  for (size_t i = 0; i < values.size(); ++i) {
    if (i > 0) out += ',';
    if (!std::isfinite(values[i])) {
      out += "null";
      continue;
    }
    out.append(digits, std::to_chars(digits, digits + sizeof digits, values[i]).ptr);
  }
  out += ']';
}

absl::StatusOr<std::string> Logits(ModelProbe& probe, std::string_view line) {
  ASSIGN_OR_RETURN(const Json json, ParseLine(line));
  ASSIGN_OR_RETURN(const std::vector<TokenId> ids, ReadIds(json, probe.vocab_size()));
  ASSIGN_OR_RETURN(const int64_t last, CountOr(json, "last", kDefaultLast));
  ASSIGN_OR_RETURN(const int64_t max_new_tokens, CountOr(json, "max_new_tokens", 0));
  const int64_t length = ids.size(), first_row = std::max<int64_t>(length - last, 0);
  RETURN_IF_ERROR(probe.Start({.prompt_length = static_cast<int32_t>(length),
                               .max_new_tokens = static_cast<int32_t>(max_new_tokens)}));
  std::string rows;
  std::vector<float> logprobs;
  RETURN_IF_ERROR(probe.Append(ids, 0, [&](int32_t position, absl::Span<const float> logits) {
    if (position >= first_row) {
      if (!rows.empty()) rows += ',';
      AppendFloats(logits, rows);
    }
    if (position + 1 < length) logprobs.push_back(ScoreToken(logits, ids[position + 1], /*top=*/0).chosen);
  }));
  std::string answer = absl::StrCat("{\"logits\":[", rows, "],\"logprobs\":");
  AppendFloats(logprobs, answer);
  return answer + "}";
}

struct Choice {
  TokenId id;
  float margin;
};

Choice Likeliest(absl::Span<const float> logits) {
  const auto best = absl::c_max_element(logits);
  float second = -std::numeric_limits<float>::infinity();
  for (auto logit = logits.begin(); logit != logits.end(); ++logit)
    if (logit != best) second = std::max(second, *logit);
  return {static_cast<TokenId>(best - logits.begin()), *best - second};
}

absl::StatusOr<std::string> Generate(ModelProbe& probe, std::string_view line) {
  ASSIGN_OR_RETURN(const Json json, ParseLine(line));
  ASSIGN_OR_RETURN(const std::vector<TokenId> prompt, ReadIds(json, probe.vocab_size()));
  ASSIGN_OR_RETURN(const int64_t max_tokens, CountOr(json, "max_tokens", kDefaultMaxTokens));
  ASSIGN_OR_RETURN(const bool ignore_eos, FlagOr(json, "ignore_eos", false));
  RETURN_IF_ERROR(probe.Start({.prompt_length = static_cast<int32_t>(prompt.size()),
                               .max_new_tokens = static_cast<int32_t>(max_tokens)}));
  const std::vector<TokenId> end_ids = ignore_eos ? std::vector<TokenId>() : probe.end_ids();
  std::vector<TokenId> ids;
  std::vector<float> margins;
  const auto take = [&](int32_t, absl::Span<const float> logits) {
    const Choice choice = Likeliest(logits);
    ids.push_back(choice.id);
    margins.push_back(choice.margin);
  };
  if (max_tokens > 0) RETURN_IF_ERROR(probe.Append(prompt, static_cast<int32_t>(prompt.size()) - 1, take));
  while (static_cast<int64_t>(ids.size()) < max_tokens && !absl::c_linear_search(end_ids, ids.back())) {
    const TokenId last = ids.back();
    RETURN_IF_ERROR(probe.Append({&last, 1}, 0, take));
  }
  std::string answer = absl::StrCat("{\"ids\":", Json(ids).dump(), ",\"margins\":");
  AppendFloats(margins, answer);
  return answer + "}";
}

std::string AnswerOf(const absl::StatusOr<std::string>& answer) {
  if (answer.ok()) return *answer;
  const Json error = {{"error", std::string(answer.status().message())}};
  return error.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

using LineFunction = std::string (*)(ModelProbe&, std::string_view);

absl::Status AnswerLines(const ModelProbeOptions& options, LineFunction answer) {
  ASSIGN_OR_RETURN(const std::unique_ptr<ModelProbe> probe, ModelProbe::Open(options));
  for (std::string line; std::getline(std::cin, line);)
    std::cout << answer(*probe, line) << '\n' << std::flush;
  return absl::OkStatus();
}

void AddCommand(CLI::App& app, const std::string& name, const std::string& about, LineFunction answer,
                int* exit_code) {
  const auto options = std::make_shared<ModelProbeOptions>();
  CLI::App* command = app.add_subcommand(name, about);
  command->add_option("MODEL", options->model, "A GGUF file or a Hugging Face folder")->required();
  command->add_option("--device", options->device, "cpu or cuda")
      ->capture_default_str()
      ->check(CLI::IsMember({"cpu", "cuda"}));
  command->add_option("--kernels", options->kernels, "auto, ref, avx2 or avx512")->capture_default_str();
  command->add_option("--threads", options->threads, "0: as many as processors may be used")
      ->capture_default_str();
  command
      ->add_option("--kv_type", options->kv_type,
                   "Of the KV cache; f32 with ref and on a GPU, bf16 else, where missing")
      ->check(CLI::IsMember({"f32", "bf16"}));
  command->add_option("--rope_scaling", options->rope_scaling,
                      "Of rotary positions instead of the file's, as yarn:factor=4");
  command
      ->add_option("--weights", options->weights,
                   "file; q8_0: packed to 8 bits; fp8, on a GPU: 8-bit floating point")
      ->capture_default_str()
      ->check(CLI::IsMember({"file", "q8_0", "fp8"}));
  command->callback([options, name, answer, exit_code] {
    const absl::Status status = AnswerLines(*options, answer);
    if (status.ok()) return;
    std::cerr << name << ": " << Printable(std::string(status.message()), kMaxMessageBytes) << '\n';
    *exit_code = 2;
  });
}

}  // namespace

std::string LogitsLine(ModelProbe& probe, std::string_view line) { return AnswerOf(Logits(probe, line)); }

std::string GenerateLine(ModelProbe& probe, std::string_view line) { return AnswerOf(Generate(probe, line)); }

void AddLogitsCommand(CLI::App& app, int* exit_code) {
  AddCommand(app, "logits", "Logits and log-probabilities of token ids, one JSON object a line", LogitsLine,
             exit_code);
}

void AddGenerateCommand(CLI::App& app, int* exit_code) {
  AddCommand(app, "generate", "The likeliest continuation of token ids, one JSON object a line", GenerateLine,
             exit_code);
}

}  // namespace ropeway
