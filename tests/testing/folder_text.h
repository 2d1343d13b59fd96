// The text side of a folder of a model: a tokenizer of 260 tokens, whatever the model's own is, with a chat template and
// defaults of sampling.
#ifndef ROPEWAY_TESTS_TESTING_FOLDER_TEXT_H_
#define ROPEWAY_TESTS_TESTING_FOLDER_TEXT_H_

#include "tests/testing/temp_folder.h"

namespace ropeway::testing {

// Three control tokens, then every byte, then one merge: "he".
inline constexpr int kPad = 0, kBos = 1, kEos = 2, kFirstByte = 3, kMerged = kFirstByte + 256;

// REQUIRES: a vocabulary of more than kMerged tokens.
void WriteFolderText(const TempFolder& folder);

}  // namespace ropeway::testing

#endif  // ROPEWAY_TESTS_TESTING_FOLDER_TEXT_H_
