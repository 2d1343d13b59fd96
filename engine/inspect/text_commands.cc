#include "engine/inspect/text_commands.h"

#include <filesystem>
#include <functional>
#include <iostream>
#include <memory>
#include <system_error>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/base/printable.h"
#include "engine/base/regular_file.h"
#include "engine/base/status_macros.h"
#include "engine/model/gguf_file.h"
#include "engine/text/detokenizer.h"
#include "engine/text/hf/folder.h"
#include "engine/text/hf/tokenizer_json.h"
#include "nlohmann/json.hpp"

namespace ropeway {
namespace {

using Json = nlohmann::json;

absl::StatusOr<Json> ParseObject(const std::string& line) {
  Json object = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return absl::InvalidArgumentError("the line must be a JSON object");
  return object;
}

absl::StatusOr<bool> FlagOf(const Json& object, const char* name, bool or_default) {
  const auto found = object.find(name);
  if (found == object.end()) return or_default;
  if (!found->is_boolean()) return absl::InvalidArgumentError(absl::StrCat(name, " must be true or false"));
  return found->get<bool>();
}

absl::StatusOr<Json> Tokenize(const Tokenizer& tokenizer, const std::string& line) {
  ASSIGN_OR_RETURN(const Json object, ParseObject(line));
  const auto text = object.find("text");
  if (text == object.end() || !text->is_string()) return absl::InvalidArgumentError("text must be a string");
  EncodeOptions options;
  ASSIGN_OR_RETURN(options.parse_special, FlagOf(object, "parse_special", options.parse_special));
  ASSIGN_OR_RETURN(options.add_special, FlagOf(object, "add_special", options.add_special));
  ASSIGN_OR_RETURN(const std::vector<TokenId> ids, tokenizer.Encode(text->get<std::string>(), options));
  return Json{{"ids", ids}};
}

absl::StatusOr<Json> Detokenize(const Tokenizer& tokenizer, const std::string& line) {
  ASSIGN_OR_RETURN(const Json object, ParseObject(line));
  const auto ids = object.find("ids");
  if (ids == object.end() || !ids->is_array()) return absl::InvalidArgumentError("ids must be an array");
  Detokenizer detokenizer(tokenizer);
  Json stream = Json::array();
  for (const Json& id : *ids) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= tokenizer.vocab_size())
      return absl::InvalidArgumentError(absl::StrCat("ids must be integers in [0, ", tokenizer.vocab_size(),
                                                     "), one is ",
                                                     id.is_number() ? id.dump() : id.type_name()));
    stream.push_back(detokenizer.Push(id.get<TokenId>()));
  }
  return Json{{"stream", std::move(stream)}, {"flush", detokenizer.Flush()}};
}

std::string LineOf(const absl::StatusOr<Json>& answer) {
  const Json line = answer.ok() ? *answer : Json{{"error", std::string(answer.status().message())}};
  // What a bad line quotes may be cut inside a code point.
  return line.dump(-1, ' ', false, Json::error_handler_t::replace);
}

using Filter = std::string (*)(const Tokenizer& tokenizer, const std::string& line);

absl::StatusOr<std::unique_ptr<const Tokenizer>> OpenTokenizer(const std::string& path) {
  // Without an error to fill in, a name that is too long would throw.
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    ASSIGN_OR_RETURN(hf::FolderText text, hf::ReadFolderText(path, /*vocab_size=*/0));
    return std::move(text.tokenizer);
  }
  if (absl::EndsWith(path, ".json")) {
    constexpr int64_t kMaxBytes = 256 << 20;
    ASSIGN_OR_RETURN(const std::string json, ReadRegularFile(path, kMaxBytes));
    return hf::MakeTokenizerFromJson(json, {});
  }
  ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Open(path));
  return MakeTokenizer(file.content.metadata);
}

absl::Status RunFilter(const std::string& model, Filter filter) {
  ASSIGN_OR_RETURN(const auto tokenizer, OpenTokenizer(model));
  for (std::string line; std::getline(std::cin, line);) std::cout << filter(*tokenizer, line) << std::endl;
  return absl::OkStatus();
}

void AddFilter(CLI::App& app, const char* name, const char* help, Filter filter, int* exit_code) {
  CLI::App* command = app.add_subcommand(name, help);
  auto model = std::make_shared<std::string>();
  command
      ->add_option("MODEL", *model,
                   "A GGUF file, a folder or a tokenizer.json; one that holds only a vocabulary will do")
      ->required();
  command->callback([=] {
    const absl::Status status = RunFilter(*model, filter);
    if (status.ok()) return;
    std::cerr << "ropeway_inspect: " << Printable(std::string(status.message()), kMaxMessageBytes) << "\n";
    *exit_code = 2;
  });
}

}  // namespace

std::string TokenizeLine(const Tokenizer& tokenizer, const std::string& line) {
  return LineOf(Tokenize(tokenizer, line));
}

std::string DetokenizeLine(const Tokenizer& tokenizer, const std::string& line) {
  return LineOf(Detokenize(tokenizer, line));
}

void AddTextCommands(CLI::App& app, int* exit_code) {
  AddFilter(app, "tokenize",
            "Text to token ids, a JSON object per line: {\"text\", \"parse_special\", \"add_special\"} -> "
            "{\"ids\"}",
            &TokenizeLine, exit_code);
  AddFilter(app, "detokenize", "Token ids to text, piece by piece: {\"ids\"} -> {\"stream\", \"flush\"}",
            &DetokenizeLine, exit_code);
}

}  // namespace ropeway
