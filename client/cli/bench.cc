// ropeway bench: load on a server, and how it bears it.
#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/bench/load_target.h"
#include "client/bench/report.h"
#include "client/bench/runner.h"
#include "client/bench/workload.h"
#include "client/cli/answer_json.h"
#include "client/cli/commands.h"
#include "client/cli/numbers.h"
#include "client/cli/read_text.h"
#include "client/cli/request_flags.h"

namespace ropeway::client {
namespace {

constexpr char kGrpc[] = "grpc";
constexpr char kOpenAi[] = "openai";
constexpr int32_t kDefaultRequests = 100;

struct Flags {
  // The command that the flags are of.
  const CLI::App* command = nullptr;
  ConnectionFlags connection;
  std::string backend = kGrpc;
  std::string prompts_file;
  WorkloadOptions workload{.num_requests = 0, .prompt_tokens = 128, .output_tokens = 128};
  int32_t warmup_requests = 1;
  int32_t concurrency = 0;
  RunOptions run;
  bool stop_at_eos = false;
  bool json = false;
};

// Flags that this run would not heed.
absl::Status CheckForm(const Flags& flags) {
  const auto check = [&flags](bool fits, const char* flag, const char* why) {
    if (fits || flags.command->count(flag) == 0) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(flag, " goes with ", why));
  };
  const bool is_random = flags.prompts_file.empty();
  const char* const random = "random prompts, not with --prompts_file";
  absl::Status status = check(is_random, "--prompt_tokens", random);
  status.Update(check(is_random, "--shared_prefix_tokens", random));
  status.Update(check(is_random, "--vocab_size", random));
  status.Update(check(is_random || flags.workload.request_rate > 0, "--seed",
                      "random prompts or arrivals at a --request_rate"));
  status.Update(check(flags.backend == kGrpc, "--max_attempts", "--backend grpc"));
  return status;
}

// Random prompts need to know the vocabulary; the model that is asked for it is the one that is named.
absl::Status FindVocabulary(Client& client, Flags& flags) {
  WorkloadOptions& options = flags.workload;
  if (options.vocab_size > 0) return absl::OkStatus();
  if (flags.backend == kOpenAi)
    return absl::InvalidArgumentError("--vocab_size is needed for random prompts with --backend openai");
  const absl::StatusOr<ModelInfo> model = client.GetModelInfo(MakeCallOptions(flags.connection));
  if (!model.ok()) return model.status();
  options.vocab_size = std::max(1, model->vocab_size);
  if (flags.run.model.empty()) flags.run.model = model->name;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<WorkItem>> MakeWorkload(Client& client, Flags& flags, Terminal& terminal) {
  WorkloadOptions& options = flags.workload;
  if (!flags.prompts_file.empty()) {
    const absl::StatusOr<std::string> lines = ReadText("--prompts_file", flags.prompts_file, terminal);
    if (!lines.ok()) return lines.status();
    absl::StatusOr<std::vector<WorkItem>> items = MakeWorkloadFromLines(*lines, options);
    if (items.ok()) return items;
    return absl::InvalidArgumentError(absl::StrCat("--prompts_file: ", items.status().message()));
  }
  if (options.num_requests == 0) options.num_requests = kDefaultRequests;
  if (options.shared_prefix_tokens > options.prompt_tokens) {
    return absl::InvalidArgumentError(absl::StrCat("--shared_prefix_tokens must be at most --prompt_tokens, ",
                                                   options.prompt_tokens, ", is ",
                                                   options.shared_prefix_tokens));
  }
  if (const absl::Status status = FindVocabulary(client, flags); !status.ok()) return status;
  return MakeRandomWorkload(options);
}

// Requests that are not measured. Those of random ids have their own, so that they do not warm the prefix
// cache for the prompts that are measured.
absl::Status WarmUp(LoadTarget& target, const Flags& flags, const WorkItem& first) {
  for (int32_t i = 0; i < flags.warmup_requests; ++i) {
    WorkItem item = first;
    if (flags.prompts_file.empty()) {
      WorkloadOptions options = flags.workload;
      options.num_requests = 1;
      options.seed = ~flags.workload.seed - i;
      absl::StatusOr<std::vector<WorkItem>> items = MakeRandomWorkload(options);
      if (!items.ok()) return items.status();
      item = std::move(items->front());
    }
    if (RequestRecord record = target.Run(item); !record.status.ok()) return record.status;
  }
  return absl::OkStatus();
}

void Print(const Flags& flags, int32_t num_prompts, const Report& report, Terminal& terminal) {
  if (!flags.json) {
    terminal.out << ToTable(report) << std::flush;
    return;
  }
  nlohmann::ordered_json json = {{"backend", flags.backend},
                                 {"model_id", flags.run.model},
                                 {"num_prompts", num_prompts},
                                 {"request_rate", flags.workload.request_rate},
                                 {"max_concurrency", flags.concurrency},
                                 {"seed", flags.workload.seed}};
  json.update(ToJson(report));
  terminal.out << Dump(json) << std::endl;
}

absl::Status Run(Flags flags, Terminal& terminal) {
  if (const absl::Status status = CheckForm(flags); !status.ok()) return status;
  flags.run.ignore_eos = !flags.stop_at_eos;
  flags.run.timeout_seconds = flags.connection.timeout_seconds;
  const absl::StatusOr<ClientOptions> options = MakeClientOptions(flags.connection, terminal);
  if (!options.ok()) return options.status();
  const std::unique_ptr<Client> client = Client::Create(*options);
  const absl::StatusOr<std::vector<WorkItem>> items = MakeWorkload(*client, flags, terminal);
  if (!items.ok()) return items.status();
  const int32_t num_requests = static_cast<int32_t>(items->size());
  const int32_t concurrency = flags.concurrency > 0 ? flags.concurrency : num_requests;
  if (concurrency > kMaxConcurrency) {
    return absl::InvalidArgumentError(
        absl::StrCat("--concurrency must be at most ", kMaxConcurrency, ", is ", concurrency));
  }
  const std::unique_ptr<LoadTarget> target =
      flags.backend == kGrpc ? MakeGrpcTarget(*client, flags.run) : MakeOpenAiTarget(*options, flags.run);
  if (const absl::Status status = WarmUp(*target, flags, items->front()); !status.ok()) return status;
  std::function<void(int32_t)> on_done;
  if (terminal.interactive)
    on_done = [&](int32_t done) { terminal.err << "\r" << done << "/" << num_requests << std::flush; };
  const Report report = Summarize(RunWorkload(*target, *items, concurrency, on_done));
  if (terminal.interactive) terminal.err << "\r";
  Print(flags, num_requests, report, terminal);
  if (report.failed > 0)
    return absl::InternalError(absl::StrCat(report.failed, " of ", num_requests, " requests failed"));
  return absl::OkStatus();
}

}  // namespace

Command AddBench(CLI::App& app) {
  CLI::App* command = app.add_subcommand("bench", "Put load on a server and tell throughput and latencies");
  const auto flags = std::make_shared<Flags>();
  WorkloadOptions& workload = flags->workload;
  flags->command = command;
  flags->connection.options.retry.max_attempts = 1;  // a refusal is a result
  const auto count = [command](const char* name, int32_t& value, int32_t least, const char* help) {
    AddNumber(*command, name, value, help, {.least = least, .most = kMaxCount})->capture_default_str();
  };
  command
      ->add_option("--backend", flags->backend, "grpc (Ropeway), or openai (POST /v1/completions, streamed)")
      ->check(CLI::IsMember({kGrpc, kOpenAi}))
      ->capture_default_str();
  command
      ->add_option("--prompts_file", flags->prompts_file,
                   "A prompt per line, or {\"prompt\": text or ids, \"output_tokens\": n} (default: random "
                   "ids); -: standard input")
      ->type_name(kPathType);
  count("--requests", workload.num_requests, 0, "Requests (0: 100, or all of the file)");
  count("--prompt_tokens", workload.prompt_tokens, 1, "Token ids of a random prompt");
  count("--shared_prefix_tokens", workload.shared_prefix_tokens, 0,
        "So many of them are the same in all prompts");
  count("--output_tokens", workload.output_tokens, 1, "Tokens to generate");
  count("--vocab_size", workload.vocab_size, 0, "Random ids are below it (0: as the server says)");
  count("--warmup_requests", flags->warmup_requests, 0, "Requests before those that are measured");
  count("--concurrency", flags->concurrency, 0, "Requests at a time, at most; 0: all");
  AddNumber(*command, "--request_rate", workload.request_rate, "Poisson arrivals per second; 0: all at once",
            {.least = 0})
      ->capture_default_str();
  AddNumber(*command, "--seed", workload.seed, "Of prompts and arrivals")->capture_default_str();
  command->add_option("--model", flags->run.model, "Name of the model (default: the one served)");
  AddNumber(*command, "--temperature", flags->run.temperature, "0 takes the likeliest token", {.least = 0})
      ->capture_default_str();
  command->add_flag("--stop_at_eos", flags->stop_at_eos, "Answers may end before --output_tokens tokens");
  command->add_flag("--json", flags->json, "Print one JSON object with the keys of `vllm bench serve`");
  AddConnectionFlags(*command, flags->connection);
  return {command, [flags](Terminal& terminal) { return Run(*flags, terminal); }};
}

}  // namespace ropeway::client
