// ropeway bench: load on a server, and how it bears it.
#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/bench/backend.h"
#include "client/bench/report.h"
#include "client/bench/runner.h"
#include "client/bench/workload.h"
#include "client/cli/commands.h"
#include "client/cli/message_json.h"
#include "client/cli/request_flags.h"

namespace ropeway::client {
namespace {

constexpr char kGrpc[] = "grpc";
constexpr char kOpenAi[] = "openai";

struct Flags {
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

constexpr int32_t kDefaultRequests = 100;

absl::StatusOr<std::vector<WorkItem>> MakeWorkload(const WorkloadOptions& options, const Flags& flags,
                                                   Terminal& terminal) {
  if (flags.prompts_file.empty()) return MakeRandomWorkload(options);
  const absl::StatusOr<std::string> lines = ReadAll(flags.prompts_file, terminal);
  if (!lines.ok()) return lines.status();
  absl::StatusOr<std::vector<WorkItem>> items = MakeWorkloadFromLines(*lines, options);
  if (!items.ok())
    return absl::InvalidArgumentError(absl::StrCat("--prompts_file: ", items.status().message()));
  return items;
}

// Random prompts need to know the vocabulary; the model that is asked for it is the one that is named.
absl::Status FindVocabulary(Client& client, Flags& flags) {
  WorkloadOptions& options = flags.workload;
  if (!flags.prompts_file.empty()) return absl::OkStatus();
  if (options.num_requests == 0) options.num_requests = kDefaultRequests;
  if (options.shared_prefix_tokens > options.prompt_tokens)
    return absl::InvalidArgumentError(absl::StrCat("--shared_prefix_tokens must be at most --prompt_tokens, ",
                                                   options.prompt_tokens, ", is ",
                                                   options.shared_prefix_tokens));
  if (options.vocab_size > 0) return absl::OkStatus();
  if (flags.backend == kOpenAi)
    return absl::InvalidArgumentError("--vocab_size is needed for random prompts with --backend openai");
  const absl::StatusOr<ModelInfo> model = client.GetModelInfo(MakeCallOptions(flags.connection));
  if (!model.ok()) return model.status();
  options.vocab_size = std::max(1, model->vocab_size);
  if (flags.run.model.empty()) flags.run.model = model->name;
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
  flags.run.ignore_eos = !flags.stop_at_eos;
  flags.run.timeout_seconds = flags.connection.timeout_seconds;
  const std::unique_ptr<Client> client = MakeClient(flags.connection);
  if (const absl::Status status = FindVocabulary(*client, flags); !status.ok()) return status;
  absl::StatusOr<std::vector<WorkItem>> items = MakeWorkload(flags.workload, flags, terminal);
  if (!items.ok()) return items.status();
  const int32_t concurrency = flags.concurrency > 0 ? flags.concurrency : static_cast<int32_t>(items->size());
  if (concurrency > kMaxConcurrency)
    return absl::InvalidArgumentError(
        absl::StrCat("--concurrency must be at most ", kMaxConcurrency, ", is ", concurrency));

  const std::unique_ptr<Backend> backend =
      flags.backend == kGrpc ? MakeGrpcBackend(*client, flags.run)
                             : MakeOpenAiBackend(flags.connection.options.server, flags.run);
  for (int32_t i = 0; i < flags.warmup_requests; ++i) {
    // Of its own ids, so that it does not warm the prefix cache for the prompts that are measured.
    WorkloadOptions warmup = flags.workload;
    warmup.num_requests = 1;
    warmup.seed = ~flags.workload.seed - i;
    const std::vector<WorkItem> item =
        flags.prompts_file.empty() ? MakeRandomWorkload(warmup) : std::vector<WorkItem>{items->front()};
    if (const RequestRecord record = backend->Run(item.front()); !record.status.ok()) return record.status;
  }
  std::function<void(int32_t)> on_done;
  if (terminal.interactive)
    on_done = [&](int32_t done) { terminal.err << "\r" << done << "/" << items->size() << std::flush; };
  const Report report = Summarize(RunWorkload(*backend, *items, concurrency, on_done));
  if (terminal.interactive) terminal.err << "\r";
  Print(flags, static_cast<int32_t>(items->size()), report, terminal);
  if (report.failed > 0)
    return absl::InternalError(absl::StrCat(report.failed, " of ", items->size(), " requests failed"));
  return absl::OkStatus();
}

}  // namespace

Command AddBench(CLI::App& app) {
  CLI::App* command = app.add_subcommand("bench", "Put load on a server and tell throughput and latencies");
  const auto flags = std::make_shared<Flags>();
  WorkloadOptions& workload = flags->workload;
  flags->connection.options.retry.max_attempts = 1;  // a refusal is a result
  const auto count = [command](const char* name, int32_t& value, int32_t least, const char* help) {
    command->add_option(name, value, help)->check(CLI::Range(least, 1 << 24))->capture_default_str();
  };
  command
      ->add_option("--backend", flags->backend, "grpc (Ropeway), or openai (POST /v1/completions, streamed)")
      ->check(CLI::IsMember({kGrpc, kOpenAi}))
      ->capture_default_str();
  command->add_option(
      "--prompts_file", flags->prompts_file,
      "A prompt per line, or {\"prompt\": text or ids, \"output_tokens\": n} (default: random ids)");
  count("--requests", workload.num_requests, 0, "Requests (0: 100, or all of the file)");
  count("--prompt_tokens", workload.prompt_tokens, 1, "Token ids of a random prompt");
  count("--shared_prefix_tokens", workload.shared_prefix_tokens, 0,
        "So many of them are the same in all prompts");
  count("--output_tokens", workload.output_tokens, 1, "Tokens to generate");
  count("--vocab_size", workload.vocab_size, 0, "Random ids are below it (0: as the server says)");
  count("--warmup_requests", flags->warmup_requests, 0, "Requests before those that are measured");
  count("--concurrency", flags->concurrency, 0, "Requests at a time, at most; 0: all");
  command->add_option("--request_rate", workload.request_rate, "Poisson arrivals per second; 0: all at once")
      ->check(NotNegative())
      ->capture_default_str();
  command->add_option("--seed", workload.seed, "Of prompts and arrivals")->capture_default_str();
  command->add_option("--model", flags->run.model, "Name of the model (default: the one served)");
  command->add_option("--temperature", flags->run.temperature, "0 takes the likeliest token")
      ->check(NotNegative())
      ->capture_default_str();
  command->add_flag("--stop_at_eos", flags->stop_at_eos, "Answers may end before --output_tokens tokens");
  command->add_flag("--json", flags->json, "Print one JSON object with the keys of `vllm bench serve`");
  AddConnectionFlags(*command, flags->connection);
  return {command, [flags](Terminal& terminal) { return Run(*flags, terminal); }};
}

}  // namespace ropeway::client
