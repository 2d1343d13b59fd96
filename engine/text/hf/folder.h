// The text side of a Hugging Face folder: its tokenizer, its chat templates, and what it wants for sampling.
//
// Files: tokenizer.json, or tokenizer.model (SentencePiece, tiktoken), or *.tiktoken; tokenizer_config.json,
// special_tokens_map.json, generation_config.json, config.json; chat_template.jinja,
// additional_chat_templates/NAME.jinja, chat_template.json. They are untrusted; errors name the file and the
// path in it.
#ifndef ROPEWAY_ENGINE_TEXT_HF_FOLDER_H_
#define ROPEWAY_ENGINE_TEXT_HF_FOLDER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/text/chat_templates.h"
#include "engine/text/sampling_defaults.h"
#include "engine/text/tokenizer.h"

namespace ropeway::hf {

struct FolderText {
  std::unique_ptr<const Tokenizer> tokenizer;
  ChatTemplates chat_templates;
  SamplingDefaults sampling;  // temperature 0 where do_sample is false
};

// `vocab_size` is the model's; rows that the tokenizer does not name become fillers. NOT_FOUND where there is
// no tokenizer, UNIMPLEMENTED where it needs code of its own.
absl::StatusOr<FolderText> ReadFolderText(const std::string& folder, int32_t vocab_size);

}  // namespace ropeway::hf

#endif  // ROPEWAY_ENGINE_TEXT_HF_FOLDER_H_
