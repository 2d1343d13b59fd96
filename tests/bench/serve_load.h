// A load of random requests, through the scheduler and without transport: what an executor serves of it, and whether
// the answers depend on what else is computed.
#ifndef ROPEWAY_TESTS_BENCH_SERVE_LOAD_H_
#define ROPEWAY_TESTS_BENCH_SERVE_LOAD_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/api/request.h"
#include "engine/api/step.h"

namespace ropeway {

using Answers = std::vector<std::vector<TokenId>>;  // by request

// Of so many tokens each, every other one greedy. Ids count from 0.
std::vector<ValidRequest> RandomRequests(int count, int32_t prompt_tokens, int32_t output_tokens,
                                         int32_t vocab_size);

// All of them come at once; as many steps are in flight as the executor takes. The first request's error, where one has
// one.
absl::StatusOr<Answers> Serve(Executor& executor, const std::vector<ValidRequest>& requests);

// Answers to some requests of different lengths, each computed alone and all of them among `count` requests.
struct AnswerCheck {
  int compared = 0, alike = 0;
  int distinct_tokens = 0;  // of all answers: of one token alone they would prove little
  uint64_t hash = 0;        // of the answers among others: equal wherever they are
};
absl::StatusOr<AnswerCheck> CheckAnswers(Executor& executor, int count);

}  // namespace ropeway

#endif  // ROPEWAY_TESTS_BENCH_SERVE_LOAD_H_
