#include "server/rpc/answer.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/byte_tokenizer.h"

namespace ropeway {
namespace {

using ::ropeway::testing::ByteTokenizer;
using ::testing::ElementsAre;

class AnswerTest : public ::testing::Test {
 protected:
  AnswerTest() {
    plan_.name = "r1";
    plan_.request.prompt = {ByteTokenizer::kBos, 'h'};
    plan_.request.stop_token_ids = {'!', ByteTokenizer::kEos};
  }

  static std::vector<v1::GenerateChunk> Drain(Answer& answer) {
    std::vector<v1::GenerateChunk> chunks;
    while (auto chunk = answer.NextChunk()) chunks.push_back(*std::move(chunk));
    return chunks;
  }

  static TokenEvent Token(TokenId token, int32_t sample = 0) { return {.sample = sample, .token = token}; }
  static TokenEvent End(TokenId token, FinishReason reason, bool done = true, int32_t sample = 0) {
    return {.sample = sample, .token = token, .sample_finish = reason, .request_done = done};
  }

  const ByteTokenizer tokenizer_;
  GenerationPlan plan_;
};

TEST_F(AnswerTest, EventsBetweenTwoMessagesBecomeOne) {
  Answer answer(plan_, tokenizer_);
  EXPECT_EQ(answer.NextChunk(), std::nullopt);
  answer.Push(Token('a'));
  answer.Push(Token('b'));
  const std::vector<v1::GenerateChunk> chunks = Drain(answer);
  ASSERT_EQ(chunks.size(), 1);
  EXPECT_EQ(chunks[0].text(), "ab");
  EXPECT_THAT(chunks[0].token_ids(), ElementsAre('a', 'b'));
  EXPECT_FALSE(chunks[0].has_finish());
}

TEST_F(AnswerTest, HalfACodePointIsNeverSent) {
  Answer answer(plan_, tokenizer_);
  answer.Push(Token(0xC3));
  EXPECT_EQ(Drain(answer)[0].text(), "");
  answer.Push(Token(0xA4));
  EXPECT_EQ(Drain(answer)[0].text(), "ä");
  answer.Push(End(0xC3, FinishReason::kLength));
  EXPECT_EQ(Drain(answer)[0].text(), "\uFFFD") << "what the end leaves incomplete is shown";
}

TEST_F(AnswerTest, AStopTokenIsToldButIsNoText) {
  Answer answer(plan_, tokenizer_);
  answer.Push(End('!', FinishReason::kStop));
  const std::vector<v1::GenerateChunk> chunks = Drain(answer);
  ASSERT_EQ(chunks.size(), 1);
  EXPECT_EQ(chunks[0].text(), "");
  EXPECT_THAT(chunks[0].token_ids(), ElementsAre('!'));
  EXPECT_EQ(chunks[0].finish().stop_token_id(), '!');
  EXPECT_TRUE(chunks[0].has_usage());
  EXPECT_TRUE(answer.status().ok());
}

TEST_F(AnswerTest, TheLastTokenAtTheLengthIsText) {
  Answer answer(plan_, tokenizer_);
  answer.Push(End('x', FinishReason::kLength));
  const std::vector<v1::GenerateChunk> chunks = Drain(answer);
  EXPECT_EQ(chunks[0].text(), "x");
  EXPECT_EQ(chunks[0].finish().reason(), v1::FINISH_REASON_LENGTH);
}

TEST_F(AnswerTest, OnlyTheLastMessageCarriesUsageHoweverManySamples) {
  plan_.request.num_samples = 3;
  Answer answer(plan_, tokenizer_);
  answer.Push(Token('a', 0));
  answer.Push(Token('b', 1));
  answer.Push(End('c', FinishReason::kLength, false, 2));
  answer.Push(End('d', FinishReason::kLength, false, 0));
  answer.Push(End('e', FinishReason::kStop, true, 1));
  const std::vector<v1::GenerateChunk> chunks = Drain(answer);
  ASSERT_EQ(chunks.size(), 3);
  EXPECT_EQ(chunks[0].request_id(), "r1");
  EXPECT_EQ(chunks[1].request_id(), "");
  EXPECT_FALSE(chunks[0].has_usage() || chunks[1].has_usage());
  EXPECT_EQ(chunks[2].usage().completion_tokens(), 5);
  EXPECT_EQ(chunks[2].usage().prompt_tokens(), 2);
}

TEST_F(AnswerTest, UsageComesAloneWhereEverythingElseWasSent) {
  plan_.stop_strings = {"ab"};
  Answer answer(plan_, tokenizer_);
  answer.Push(Token('a'));
  answer.Push(Token('b'));
  EXPECT_TRUE(answer.all_samples_ended());
  EXPECT_TRUE(Drain(answer)[0].has_finish());
  answer.Push(Token('c'));
  EXPECT_EQ(answer.NextChunk(), std::nullopt) << "what follows a stop string is not told";
  answer.Push(End(kNoToken, FinishReason::kCancelled));
  const std::vector<v1::GenerateChunk> chunks = Drain(answer);
  ASSERT_EQ(chunks.size(), 1);
  EXPECT_TRUE(chunks[0].has_usage());
  EXPECT_FALSE(chunks[0].has_finish()) << "set once per sample";
  EXPECT_TRUE(answer.status().ok()) << "the cancel was the server's own";
  EXPECT_EQ(answer.reason(), FinishReason::kStop);
}

TEST_F(AnswerTest, AFlushMayCompleteAStopString) {
  plan_.stop_strings = {"x\uFFFD"};
  Answer answer(plan_, tokenizer_);
  answer.Push(Token('x'));
  answer.Push(End(0xC3, FinishReason::kLength));
  EXPECT_EQ(Drain(answer)[0].text(), "");
}

TEST_F(AnswerTest, BadEndsBecomeStatuses) {
  const std::vector<std::pair<FinishReason, absl::StatusCode>> cases = {
      {FinishReason::kCancelled, absl::StatusCode::kCancelled},
      {FinishReason::kDeadline, absl::StatusCode::kDeadlineExceeded},
      {FinishReason::kError, absl::StatusCode::kInternal},
  };
  for (const auto& [reason, code] : cases) {
    plan_.request.num_samples = 2;
    Answer answer(plan_, tokenizer_);
    answer.Push(End('a', FinishReason::kLength, false, 1));
    answer.Push(End(kNoToken, reason));
    EXPECT_EQ(answer.status().code(), code);
    EXPECT_EQ(answer.reason(), reason);
  }
}

TEST_F(AnswerTest, EchoAndPromptLogprobsComeWithTheFirstMessage) {
  plan_.echo = true;
  plan_.request.prompt_logprobs = 0;
  Answer answer(plan_, tokenizer_);
  TokenEvent first = Token('a');
  first.prompt_logprobs = {TokenLogprobs{.chosen = -1.5f}};
  answer.Push(first);
  const v1::GenerateChunk chunk = Drain(answer)[0];
  EXPECT_EQ(chunk.prompt().text(), "<bos>h");
  EXPECT_THAT(chunk.prompt().token_ids(), ElementsAre(ByteTokenizer::kBos, 'h'));
  ASSERT_EQ(chunk.prompt().logprobs_size(), 1);
  EXPECT_EQ(chunk.prompt().logprobs(0).chosen().token_id(), 'h');
  EXPECT_EQ(chunk.prompt().logprobs(0).chosen().logprob(), -1.5f);
}

}  // namespace
}  // namespace ropeway
