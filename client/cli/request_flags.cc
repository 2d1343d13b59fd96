#include "client/cli/request_flags.h"

#include <cstdlib>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/numbers.h"
#include "client/cli/parse_messages.h"
#include "client/cli/read_text.h"

namespace ropeway::client {
namespace {

constexpr char kChatForms[] = "--chat or --messages_file";
constexpr char kTextForms[] = "--prompt or --prompt_file";

absl::StatusOr<ChatPrompt> MakeChat(const PromptFlags& flags, Terminal& terminal) {
  ChatPrompt chat{.template_arguments_json = flags.template_arguments_json,
                  .continue_final_message = flags.continue_final_message,
                  .template_name = flags.template_name};
  if (flags.no_generation_prompt) chat.add_generation_prompt = false;
  if (!flags.system.empty()) chat.messages.push_back({.role = "system", .text = flags.system});
  if (!flags.tools_file.empty()) {
    absl::StatusOr<std::string> tools = ReadText("--tools_file", flags.tools_file, terminal);
    if (!tools.ok()) return tools.status();
    chat.tools_json = *std::move(tools);
  }
  if (flags.chat) {
    chat.messages.push_back({.role = "user", .text = *flags.chat});
    return chat;
  }
  const absl::StatusOr<std::string> json = ReadText("--messages_file", *flags.messages_file, terminal);
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
  status.Update(check(is_chat, !flags.template_name.empty(), "--template_name", kChatForms));
  status.Update(check(flags.messages_file.has_value(), flags.continue_final_message,
                      "--continue_final_message", "--messages_file"));
  status.Update(check(is_chat, flags.no_generation_prompt, "--no_generation_prompt", kChatForms));
  status.Update(check(is_text, flags.no_add_special, "--no_add_special", kTextForms));
  status.Update(check(is_text, flags.parse_special, "--parse_special", kTextForms));
  return status;
}

// ID:VALUE
absl::StatusOr<std::pair<int32_t, float>> ParseBias(absl::string_view entry) {
  const std::vector<absl::string_view> parts = absl::StrSplit(entry, ':');
  if (parts.size() != 2)
    return absl::InvalidArgumentError(absl::StrCat("an entry must be ID:VALUE, is ", Quoted(entry)));
  const absl::StatusOr<int32_t> id = ParseNumber<int32_t>(parts[0]);
  if (!id.ok()) return absl::InvalidArgumentError(absl::StrCat("an id ", id.status().message()));
  const absl::StatusOr<float> value = ParseNumber<float>(parts[1]);
  if (!value.ok()) return absl::InvalidArgumentError(absl::StrCat("a value ", value.status().message()));
  return std::pair(*id, *value);
}

TextPrompt MakeText(const PromptFlags& flags, std::string text) {
  TextPrompt prompt{.text = std::move(text), .parse_special = flags.parse_special};
  if (flags.no_add_special) prompt.add_special = false;
  return prompt;
}

}  // namespace

void AddConnectionFlags(CLI::App& command, ConnectionFlags& flags) {
  command.add_option("--server", flags.options.server, "Address of the server")
      ->envname("ROPEWAY_SERVER")
      ->capture_default_str()
      ->group("Connection");
  AddNumber(command, "--timeout", flags.timeout_seconds, "Give up after this many seconds; 0: never",
            {.least = 0})
      ->capture_default_str()
      ->group("Connection");
  command.add_flag("--tls", flags.tls, "Speak TLS, with servers whose authority this machine trusts")
      ->group("Connection");
  const auto add_path = [&command](const char* name, std::string& path, const char* help) {
    command.add_option(name, path, help)->type_name(kPathType)->group("Connection");
  };
  add_path("--ca", flags.authorities_file, "TLS with servers of these authorities (PEM)");
  add_path("--cert", flags.certificate_file, "TLS with this certificate of the client (PEM)");
  add_path("--key", flags.key_file, "The key of --cert (PEM)");
  // No flag, since everybody on the machine can read those.
  if (const char* const key = std::getenv("ROPEWAY_API_KEY")) flags.options.api_key = key;
  AddNumber(command, "--max_attempts", flags.options.retry.max_attempts,
            "Calls made at most while the server is full or away", {.least = 1, .most = kMaxCount})
      ->capture_default_str()
      ->group("Connection");
}

void AddRequestFlags(CLI::App& command, RequestFlags& flags) {
  Request& request = flags.request;
  Sampling& sampling = request.sampling;
  Stopping& stopping = request.stopping;
  Output& output = request.output;
  const auto add = [&command](const char* name, auto& value, const char* help) {
    return AddNumber(command, name, value, help);
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
  command.add_option("--logit_bias", flags.logit_bias, "ID:VALUE,..., added to logits; repeatable")
      ->group("Sampling");
  add("--seed", sampling.seed, "Same seed, same answer (default: the server's choice)")->group("Sampling");

  add("--max_tokens", stopping.max_tokens, "Tokens generated at most (default: all that fit)")
      ->group("Stopping");
  add("--min_tokens", stopping.min_tokens, "No end token before this many")->group("Stopping");
  command.add_option("--stop,--stop_strings", stopping.strings, "A text that ends the answer; repeatable")
      ->allow_extra_args(false)
      ->group("Stopping");
  AddIds(command, "--stop_token_ids", stopping.token_ids, "Tokens that end the answer: 1,2,3")
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

  const auto add_text = [&command](const char* name, std::string& value, const char* help) {
    command.add_option(name, value, help)->group("Request");
  };
  add_text("--model", request.model, "Name of the model (default: the one served)");
  add_text("--request_id", request.request_id, "Names the request for `ropeway abort` and logs");
  add_text("--tenant", request.tenant, "Who asks, for fair queueing");
  add("--priority", request.priority, "Larger is served first within the tenant")->group("Request");
}

void AddPromptFlags(CLI::App& command, PromptFlags& flags, const PromptForms& forms) {
  CLI::Option_group* form = command.add_option_group("Prompt", "Exactly one of:");
  const auto add_path = [](CLI::App& app, const char* name, auto& path, const char* help) {
    app.add_option(name, path, help)->type_name(kPathType);
  };
  if (forms.text) {
    form->add_option("--prompt", flags.prompt, "A text to go on with");
    add_path(*form, "--prompt_file", flags.prompt_file, "The same from a file; -: standard input");
  }
  if (forms.token_ids) AddIds(*form, "--token_ids", flags.token_ids, "Token ids: 1,2,3");
  form->add_option("--chat", flags.chat, "A user's message, rendered with the model's chat template");
  add_path(*form, "--messages_file", flags.messages_file, "A JSON array of messages; -: standard input");
  form->require_option(1);
  command.add_option("--system", flags.system, "With a chat: a system message before it");
  add_path(command, "--tools_file", flags.tools_file,
           "With a chat: a JSON array of tools; -: standard input");
  command.add_option("--template_arguments", flags.template_arguments_json,
                     "With a chat: a JSON object of template variables");
  command.add_option("--template_name", flags.template_name,
                     "With a chat: which of the model's templates (default: the server's choice)");
  command.add_flag("--continue_final_message", flags.continue_final_message,
                   "With --messages_file: go on with its last message, an assistant's");
  command.add_flag("--no_generation_prompt", flags.no_generation_prompt,
                   "With a chat: do not open the assistant's turn");
  if (!forms.text) return;
  command.add_flag("--no_add_special", flags.no_add_special, "With a text: no BOS or EOS around it");
  command.add_flag("--parse_special", flags.parse_special, "With a text: read control tokens spelt in it");
}

CallOptions MakeCallOptions(const ConnectionFlags& flags) {
  if (flags.timeout_seconds == 0) return {};
  return {.timeout = absl::Seconds(flags.timeout_seconds)};
}

absl::StatusOr<ClientOptions> MakeClientOptions(const ConnectionFlags& flags, Terminal& terminal) {
  ClientOptions options = flags.options;
  TlsOptions tls;
  bool has_files = false;
  const auto read = [&](const char* flag, const std::string& path, std::string& pem) {
    if (path.empty()) return absl::OkStatus();
    has_files = true;
    absl::StatusOr<std::string> text = ReadText(flag, path, terminal);
    if (text.ok()) pem = *std::move(text);
    return text.status();
  };
  absl::Status status = read("--ca", flags.authorities_file, tls.authorities);
  status.Update(read("--cert", flags.certificate_file, tls.certificate));
  status.Update(read("--key", flags.key_file, tls.key));
  if (!status.ok()) return status;
  if (flags.tls || has_files) options.tls = std::move(tls);
  return options;
}

absl::StatusOr<std::unique_ptr<Client>> MakeClient(const ConnectionFlags& flags, Terminal& terminal) {
  absl::StatusOr<ClientOptions> options = MakeClientOptions(flags, terminal);
  if (!options.ok()) return options.status();
  return Client::Create(*options);
}

absl::StatusOr<Prompt> MakePrompt(const PromptFlags& flags, Terminal& terminal) {
  if (absl::Status status = CheckForm(flags); !status.ok()) return status;
  if (!flags.token_ids.empty()) return TokenPrompt{.ids = flags.token_ids};
  if (flags.chat || flags.messages_file) {
    absl::StatusOr<ChatPrompt> chat = MakeChat(flags, terminal);
    if (!chat.ok()) return chat.status();
    return *std::move(chat);
  }
  if (flags.prompt) return MakeText(flags, *flags.prompt);
  absl::StatusOr<std::string> text = ReadText("--prompt_file", *flags.prompt_file, terminal);
  if (!text.ok()) return text.status();
  return MakeText(flags, *std::move(text));
}

absl::StatusOr<Request> MakeRequest(const RequestFlags& flags) {
  Request request = flags.request;
  for (const std::string& list : flags.logit_bias) {
    for (const absl::string_view entry : absl::StrSplit(list, ',')) {
      const absl::StatusOr<std::pair<int32_t, float>> bias = ParseBias(entry);
      if (!bias.ok())
        return absl::InvalidArgumentError(absl::StrCat("--logit_bias: ", bias.status().message()));
      request.sampling.logit_bias.push_back(*bias);
    }
  }
  return request;
}

}  // namespace ropeway::client
