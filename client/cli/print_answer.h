// Answers as people read them.
#ifndef ROPEWAY_CLIENT_CLI_PRINT_ANSWER_H_
#define ROPEWAY_CLIENT_CLI_PRINT_ANSWER_H_

#include <string>
#include <vector>

#include "client/cli/terminal.h"
#include "client/types.h"

namespace ropeway::client {

// Ends a text that is on the terminal with a line of its own for what follows.
void EndLine(const std::string& text, Terminal& terminal);

// A heading, and a line for each place: the natural log-probability of its token, the token, and the
// likeliest tokens where they were asked for. Nothing where there are no log-probabilities.
//
//   --- log-probabilities of the answer ---
//      -0.1054  " Paris"    likeliest: " Paris" -0.1054, " the" -3.2189
void PrintLogprobs(const std::string& of_what, const std::vector<TokenLogprobs>& logprobs,
                   Terminal& terminal);

}  // namespace ropeway::client

#endif  // ROPEWAY_CLIENT_CLI_PRINT_ANSWER_H_
