#include "client/cli/request_flags.h"

#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/message_json.h"

namespace ropeway::client {
namespace {

constexpr char kChatForms[] = "--chat or --messages_file";
constexpr char kTextForms[] = "--prompt or --prompt_file";

absl::StatusOr<ChatPrompt> MakeChat(const PromptFlags& flags, Terminal& terminal) {
  ChatPrompt chat;
  chat.template_arguments_json = flags.template_arguments_json;
  if (!flags.system.empty()) chat.messages.push_back({.role = "system", .text = flags.system});
  if (!flags.tools_file.empty()) {
    absl::StatusOr<std::string> tools = ReadAll(flags.tools_file, terminal);
    if (!tools.ok()) return tools.status();
    chat.tools_json = *std::move(tools);
  }
  if (flags.chat) {
    chat.messages.push_back({.role = "user", .text = *flags.chat});
    return chat;
  }
  const absl::StatusOr<std::string> json = ReadAll(*flags.messages_file, terminal);
  if (!json.ok()) return json.status();
  absl::StatusOr<std::vector<ChatMessage>> messages = ParseMessages(*json);
  if (!messages.ok())
    return absl::InvalidArgumentError(absl::StrCat("--messages_file: ", messages.status().message()));
  std::move(messages->begin(), messages->end(), std::back_inserter(chat.messages));
  return chat;
}

// Flags that a prompt of this form would not heed.
absl::Status CheckForm(const PromptFlags& flags) {
  const bool is_chat = flags.chat || flags.messages_file;
  const bool is_text = flags.prompt || flags.prompt_file;
  const auto check = [](bool fits, bool given, const char* flag, const char* forms) {
    if (fits || !given) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(flag, " goes with ", forms));
  };
  absl::Status status = check(is_chat, !flags.system.empty(), "--system", kChatForms);
  status.Update(check(is_chat, !flags.tools_file.empty(), "--tools_file", kChatForms));
  status.Update(check(is_chat, !flags.template_arguments_json.empty(), "--template_arguments", kChatForms));
  status.Update(check(is_text, flags.no_add_special, "--no_add_special", kTextForms));
  status.Update(check(is_text, flags.parse_special, "--parse_special", kTextForms));
  return status;
}

TextPrompt MakeText(const PromptFlags& flags, std::string text) {
  TextPrompt prompt{.text = std::move(text), .parse_special = flags.parse_special};
  if (flags.no_add_special) prompt.add_special = false;
  return prompt;
}

}  // namespace

CLI::Validator NotNegative() {
  const auto check = [](const std::string& text) {
    double value = 0;
    if (absl::SimpleAtod(text, &value) && value >= 0) return std::string();
    return absl::StrCat("must be at least 0, is ", text);
  };
  return CLI::Validator(check, ">= 0");
}

void AddConnectionFlags(CLI::App& command, ConnectionFlags& flags) {
  command.add_option("--server", flags.options.server, "Address of the server")
      ->envname("ROPEWAY_SERVER")
      ->capture_default_str()
      ->group("Connection");
  command.add_option("--timeout", flags.timeout_seconds, "Give up after this many seconds; 0: never")
      ->check(NotNegative())
      ->capture_default_str()
      ->group("Connection");
  command
      .add_option("--max_attempts", flags.options.retry.max_attempts,
                  "Calls made at most while the server is full or away")
      ->check(CLI::Range(1, 1 << 24))
      ->capture_default_str()
      ->group("Connection");
}

void AddRequestFlags(CLI::App& command, RequestFlags& flags) {
  Request& request = flags.request;
  Sampling& sampling = request.sampling;
  Stopping& stopping = request.stopping;
  Output& output = request.output;
  const auto add = [&command](const char* name, auto& value, const char* help) {
    return command.add_option(name, value, help);
  };
  add("--temperature", sampling.temperature, "0 takes the likeliest token (server's default: 1)")
      ->group("Sampling");
  add("--top_k", sampling.top_k, "Keep the k likeliest tokens; 0: all")->group("Sampling");
  add("--top_p", sampling.top_p, "Keep the likeliest tokens of this probability mass")->group("Sampling");
  add("--min_p", sampling.min_p, "Drop tokens less likely than this times the likeliest")->group("Sampling");
  add("--repetition_penalty", sampling.repetition_penalty, "Factor on logits of tokens seen")
      ->group("Sampling");
  add("--presence_penalty", sampling.presence_penalty, "Taken from logits of tokens generated")
      ->group("Sampling");
  add("--frequency_penalty", sampling.frequency_penalty, "The same for each occurrence")->group("Sampling");
  add("--logit_bias", flags.logit_bias, "ID:VALUE,..., added to logits; repeatable")
      ->delimiter(',')
      ->group("Sampling");
  add("--seed", sampling.seed, "Same seed, same answer (default: the server's choice)")->group("Sampling");

  add("--max_tokens", stopping.max_tokens, "Tokens generated at most (default: all that fit)")
      ->group("Stopping");
  add("--min_tokens", stopping.min_tokens, "No end token before this many")->group("Stopping");
  add("--stop,--stop_strings", stopping.strings, "A text that ends the answer; repeatable")
      ->allow_extra_args(false)
      ->group("Stopping");
  add("--stop_token_ids", stopping.token_ids, "Tokens that end the answer: 1,2,3")
      ->delimiter(',')
      ->group("Stopping");
  command.add_flag("--ignore_eos", stopping.ignore_eos, "Go on past the model's end token")
      ->group("Stopping");
  command
      .add_flag("--include_stop_string", stopping.include_stop_string,
                "End the text with the stop string met")
      ->group("Stopping");

  add("--num_samples,--n", output.num_samples, "Answers generated in parallel")->group("Output");
  add("--logprobs", output.logprobs, "Tell log-probabilities, and of the k likeliest")->group("Output");
  add("--prompt_logprobs", output.prompt_logprobs, "The same for the prompt")->group("Output");

  add("--model", request.model, "Name of the model (default: the one served)")->group("Request");
  add("--request_id", request.request_id, "Names the request for `ropeway abort` and logs")->group("Request");
  add("--tenant", request.tenant, "Who asks, for fair queueing")->group("Request");
  add("--priority", request.priority, "Larger is served first within the tenant")->group("Request");
}

void AddPromptFlags(CLI::App& command, PromptFlags& flags, const PromptForms& forms) {
  CLI::Option_group* form = command.add_option_group("Prompt", "Exactly one of:");
  if (forms.text) {
    form->add_option("--prompt", flags.prompt, "A text to go on with");
    form->add_option("--prompt_file", flags.prompt_file, "The same from a file; -: standard input");
  }
  if (forms.token_ids) form->add_option("--token_ids", flags.token_ids, "Token ids: 1,2,3")->delimiter(',');
  form->add_option("--chat", flags.chat, "A user's message, rendered with the model's chat template");
  form->add_option("--messages_file", flags.messages_file, "A JSON array of messages; -: standard input");
  form->require_option(1);
  command.add_option("--system", flags.system,
                     "With --chat or --messages_file: a system message before them");
  command.add_option("--tools_file", flags.tools_file, "With a chat: a JSON array of tools for the template");
  command.add_option("--template_arguments", flags.template_arguments_json,
                     "With a chat: a JSON object of template variables");
  if (!forms.text) return;
  command.add_flag("--no_add_special", flags.no_add_special, "With a text: no BOS or EOS around it");
  command.add_flag("--parse_special", flags.parse_special, "With a text: read control tokens spelt in it");
}

CallOptions MakeCallOptions(const ConnectionFlags& flags) {
  if (flags.timeout_seconds == 0) return {};
  return {.timeout = absl::Seconds(flags.timeout_seconds)};
}

std::unique_ptr<Client> MakeClient(const ConnectionFlags& flags) { return Client::Create(flags.options); }

absl::StatusOr<Prompt> MakePrompt(const PromptFlags& flags, Terminal& terminal) {
  if (absl::Status status = CheckForm(flags); !status.ok()) return status;
  if (!flags.token_ids.empty()) return TokenPrompt{.ids = flags.token_ids};
  if (flags.chat || flags.messages_file) {
    absl::StatusOr<ChatPrompt> chat = MakeChat(flags, terminal);
    if (!chat.ok()) return chat.status();
    return *std::move(chat);
  }
  if (flags.prompt) return MakeText(flags, *flags.prompt);
  absl::StatusOr<std::string> text = ReadAll(*flags.prompt_file, terminal);
  if (!text.ok()) return text.status();
  return MakeText(flags, *std::move(text));
}

absl::StatusOr<Request> MakeRequest(const RequestFlags& flags) {
  Request request = flags.request;
  for (const std::string& entry : flags.logit_bias) {
    const std::vector<std::string> parts = absl::StrSplit(entry, ':');
    std::pair<int32_t, float> bias;
    if (parts.size() != 2 || !absl::SimpleAtoi(parts[0], &bias.first) ||
        !absl::SimpleAtof(parts[1], &bias.second))
      return absl::InvalidArgumentError(absl::StrCat("--logit_bias takes ID:VALUE, not '", entry, "'"));
    request.sampling.logit_bias.push_back(bias);
  }
  return request;
}

absl::StatusOr<std::string> ReadAll(const std::string& path, Terminal& terminal) {
  if (path == "-") return std::string(std::istreambuf_iterator<char>(terminal.in), {});
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat("cannot read the file ", path));
  return std::string(std::istreambuf_iterator<char>(file), {});
}

}  // namespace ropeway::client
