#include "server/stream/token_stream.h"

#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ropeway::server {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

StreamChunk TextChunk(std::string text, int32_t sample = 0) {
  return {.sample = sample, .text = std::move(text), .token_ids = {7}};
}

StreamChunk LastChunk(int32_t sample = 0) {
  return {.sample = sample,
          .finish = SampleEnd{.reason = FinishReason::kLength},
          .end = RequestEnd{.completion_tokens = 3}};
}

TEST(TokenStreamTest, WhatIsUnreadIsMergedBySample) {
  TokenStream stream;
  stream.Push(TextChunk("a", 0));
  stream.Push(TextChunk("x", 1));
  stream.Push({.sample = 0, .text = "b", .token_ids = {8}, .logprobs = {{.chosen = -1}}});
  stream.Push({.sample = 1, .finish = SampleEnd{.stop_string = "y"}});
  std::optional<StreamChunk> chunk = stream.Pop();
  EXPECT_EQ(chunk->text, "ab");
  EXPECT_THAT(chunk->token_ids, ElementsAre(7, 8));
  EXPECT_EQ(chunk->logprobs.size(), 1);
  chunk = stream.Pop();
  EXPECT_EQ(chunk->sample, 1);
  EXPECT_EQ(chunk->finish->stop_string, "y");
  EXPECT_FALSE(stream.Pop().has_value());
}

TEST(TokenStreamTest, LogprobsOfPromptsAreMergedToo) {
  TokenStream stream;
  stream.Push({.text = "a", .prompt_logprobs = {{.chosen = -1}}});
  stream.Push({.text = "b", .prompt_logprobs = {{.chosen = -2}, {.chosen = -3}}});
  const std::optional<StreamChunk> chunk = stream.Pop();
  ASSERT_EQ(chunk->prompt_logprobs.size(), 3u);
  EXPECT_EQ(chunk->prompt_logprobs[0].chosen, -1);
  EXPECT_EQ(chunk->prompt_logprobs[2].chosen, -3);
}

TEST(TokenStreamTest, TheEndGoesOutWithTheLastChunk) {
  TokenStream stream;
  stream.Push(TextChunk("a", 0));
  stream.Push(TextChunk("x", 1));
  stream.Push(LastChunk(0));  // merged with the chunk that is read first
  std::optional<StreamChunk> chunk = stream.Pop();
  EXPECT_TRUE(chunk->finish.has_value());
  EXPECT_FALSE(chunk->end.has_value());
  chunk = stream.Pop();
  EXPECT_EQ(chunk->text, "x");
  EXPECT_EQ(chunk->end->completion_tokens, 3);
  EXPECT_FALSE(stream.Pop().has_value());
}

TEST(TokenStreamTest, ReadyIsCalledOncePerEmptyPop) {
  TokenStream stream;
  int calls = 0;
  stream.SetReady([&] { ++calls; });
  stream.Push(TextChunk("a"));
  EXPECT_EQ(calls, 0) << "nobody waits yet";
  EXPECT_TRUE(stream.Pop().has_value());
  EXPECT_FALSE(stream.Pop().has_value());
  stream.Push(TextChunk("b"));
  stream.Push(TextChunk("c"));
  EXPECT_EQ(calls, 1);
}

TEST(TokenStreamTest, ReadyIsCalledAtTheEndThoughNobodyWaits) {
  TokenStream stream;
  int calls = 0;
  stream.SetReady([&] { ++calls; });
  stream.Push(TextChunk("a"));
  EXPECT_FALSE(stream.ended());
  stream.Push(LastChunk());
  EXPECT_EQ(calls, 1);
  EXPECT_TRUE(stream.ended()) << "before it is read";
}

TEST(TokenStreamTest, ReadyMayReadAndIsDroppedAfterTheEnd) {
  auto owner = std::make_shared<int>(0);
  TokenStream stream;
  std::string text;
  stream.SetReady([&stream, &text, owner] {
    while (std::optional<StreamChunk> chunk = stream.Pop()) text += chunk->text;
  });
  EXPECT_FALSE(stream.Pop().has_value());
  stream.Push(TextChunk("a"));
  stream.Push(TextChunk("b"));
  EXPECT_EQ(text, "ab");
  EXPECT_EQ(owner.use_count(), 2);
  stream.Push(LastChunk());
  EXPECT_EQ(owner.use_count(), 1);
}

TEST(TokenStreamTest, PressureRisesWithUnreadBytesAndIsRelievedByReading) {
  TokenStream stream({.pause_bytes = 16, .resume_bytes = 8, .max_bytes = 24});
  EXPECT_EQ(stream.Push(TextChunk("1234")), TokenStream::Pressure::kNone);  // and four bytes of token id
  EXPECT_TRUE(stream.MayResume());
  EXPECT_EQ(stream.Push(TextChunk("1234", 1)), TokenStream::Pressure::kPause);
  EXPECT_FALSE(stream.MayResume());
  EXPECT_EQ(stream.Push(TextChunk("1234", 2)), TokenStream::Pressure::kPause);
  EXPECT_EQ(stream.Push(TextChunk("1234", 3)), TokenStream::Pressure::kOverflow);
  EXPECT_EQ(stream.Push(LastChunk()), TokenStream::Pressure::kNone) << "nothing can be done any more";
  while (stream.Pop().has_value()) {
  }
  EXPECT_TRUE(stream.MayResume());
}

// Those of answers count, as they come with every token; those of the prompt do not.
TEST(TokenStreamTest, LogprobsOfTheAnswerAreUnreadBytes) {
  const TokenLogprobs twenty{.top = std::vector<std::pair<TokenId, float>>(20)};
  TokenStream answer({.pause_bytes = 64, .resume_bytes = 8, .max_bytes = 1 << 20});
  EXPECT_EQ(answer.Push({.logprobs = {twenty}}), TokenStream::Pressure::kPause);
  EXPECT_FALSE(answer.MayResume());
  answer.Pop();
  EXPECT_TRUE(answer.MayResume());
  TokenStream prompt({.pause_bytes = 64, .resume_bytes = 8, .max_bytes = 1 << 20});
  EXPECT_EQ(prompt.Push({.prompt_logprobs = {twenty, twenty}}), TokenStream::Pressure::kNone);
}

TEST(TokenStreamTest, RelievedIsCalledOnce) {
  TokenStream stream({.pause_bytes = 16, .resume_bytes = 8, .max_bytes = 24});
  int relieved = 0;
  stream.SetRelieved([&] { ++relieved; });
  stream.Push(TextChunk("1234", 0));
  stream.Push(TextChunk("1234", 1));
  stream.Pop();
  EXPECT_EQ(relieved, 1);
  stream.Pop();
  EXPECT_EQ(relieved, 1);
}

TEST(TokenStreamTest, LogprobsOfThePromptDoNotCount) {
  TokenStream stream({.pause_bytes = 16, .resume_bytes = 8, .max_bytes = 24});
  StreamChunk chunk = TextChunk("a");
  chunk.prompt_logprobs.resize(1000);
  EXPECT_EQ(stream.Push(std::move(chunk)), TokenStream::Pressure::kNone);
}

TEST(TokenStreamTest, NothingIsLostBetweenTwoThreads) {
  constexpr int kTokens = 20'000;
  TokenStream stream;
  absl::Mutex mutex;
  bool ready = false;
  stream.SetReady([&] {
    absl::MutexLock lock(&mutex);
    ready = true;
  });
  std::thread writer([&] {
    for (TokenId token = 0; token < kTokens; ++token) stream.Push({.token_ids = {token}});
    stream.Push(LastChunk());
  });
  std::vector<TokenId> tokens;
  for (bool ended = false; !ended;) {
    if (std::optional<StreamChunk> chunk = stream.Pop()) {
      tokens.insert(tokens.end(), chunk->token_ids.begin(), chunk->token_ids.end());
      ended = chunk->end.has_value();
      continue;
    }
    absl::MutexLock lock(&mutex);
    mutex.Await(absl::Condition(&ready));
    ready = false;
  }
  writer.join();
  ASSERT_EQ(tokens.size(), kTokens);
  for (TokenId token = 0; token < kTokens; ++token) ASSERT_EQ(tokens[token], token);
}

}  // namespace
}  // namespace ropeway::server
