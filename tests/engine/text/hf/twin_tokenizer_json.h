// Real vocabularies as tokenizer.json files: built from the metadata of GGUF files, component by component as
// Hugging Face's library saves them, so that both loaders can be held to the same golden ids.
#ifndef ROPEWAY_TESTS_ENGINE_TEXT_HF_TWIN_TOKENIZER_JSON_H_
#define ROPEWAY_TESTS_ENGINE_TEXT_HF_TWIN_TOKENIZER_JSON_H_

#include <string>

#include "engine/base/metadata.h"

namespace ropeway::testing {

// REQUIRES: a vocabulary of tests/golden/tokenizers.
std::string TwinTokenizerJson(const Metadata& metadata);

}  // namespace ropeway::testing

#endif  // ROPEWAY_TESTS_ENGINE_TEXT_HF_TWIN_TOKENIZER_JSON_H_
