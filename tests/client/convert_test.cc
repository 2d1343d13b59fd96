#include "client/convert.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ropeway::client {
namespace {

using ::testing::ElementsAre;
using ::testing::Optional;

TEST(ConvertTest, WhatIsNotSetIsNotSent) {
  const v1::GenerateRequest wire = ToWire(Request{.prompt = TextPrompt{.text = "hi"}});
  EXPECT_EQ(wire.text().text(), "hi");
  EXPECT_FALSE(wire.text().has_add_special());
  EXPECT_FALSE(wire.sampling().has_temperature());
  EXPECT_FALSE(wire.sampling().has_top_p());
  EXPECT_FALSE(wire.sampling().has_repetition_penalty());
  EXPECT_FALSE(wire.sampling().has_seed());
  EXPECT_FALSE(wire.stopping().has_max_tokens());
  EXPECT_FALSE(wire.output().has_num_samples());
  EXPECT_FALSE(wire.output().has_logprobs());
  EXPECT_FALSE(wire.output().has_prompt_logprobs());
}

TEST(ConvertTest, ZeroThatIsSetIsSent) {
  const v1::GenerateRequest wire = ToWire(Request{.prompt = TextPrompt{.text = "hi", .add_special = false},
                                                  .sampling = {.temperature = 0, .seed = 0},
                                                  .stopping = {.max_tokens = 0},
                                                  .output = {.logprobs = 0, .prompt_logprobs = 0}});
  EXPECT_TRUE(wire.text().has_add_special());
  EXPECT_TRUE(wire.sampling().has_temperature());
  EXPECT_TRUE(wire.sampling().has_seed());
  EXPECT_TRUE(wire.stopping().has_max_tokens());
  EXPECT_TRUE(wire.output().has_logprobs());
  EXPECT_TRUE(wire.output().has_prompt_logprobs());
}

TEST(ConvertTest, EveryFieldOfARequestArrives) {
  const v1::GenerateRequest wire = ToWire(Request{.request_id = "r1",
                                                  .model = "m",
                                                  .prompt = TokenPrompt{.ids = {1, 2}},
                                                  .sampling = {.temperature = 0.5,
                                                               .top_k = 4,
                                                               .top_p = 0.75,
                                                               .min_p = 0.125,
                                                               .repetition_penalty = 1.5,
                                                               .presence_penalty = -1,
                                                               .frequency_penalty = 2,
                                                               .logit_bias = {{5, -100}, {9, 1.5}},
                                                               .seed = ~uint64_t{0}},
                                                  .stopping = {.max_tokens = 10,
                                                               .min_tokens = 2,
                                                               .strings = {"a", "b"},
                                                               .token_ids = {7},
                                                               .ignore_eos = true,
                                                               .include_stop_string = true},
                                                  .output = {.num_samples = 3, .logprobs = 2, .echo = true},
                                                  .tenant = "t",
                                                  .priority = -3});
  EXPECT_EQ(wire.request_id(), "r1");
  EXPECT_EQ(wire.model(), "m");
  EXPECT_THAT(wire.tokens().ids(), ElementsAre(1, 2));
  EXPECT_EQ(wire.sampling().temperature(), 0.5f);
  EXPECT_EQ(wire.sampling().top_k(), 4);
  EXPECT_EQ(wire.sampling().top_p(), 0.75f);
  EXPECT_EQ(wire.sampling().min_p(), 0.125f);
  EXPECT_EQ(wire.sampling().repetition_penalty(), 1.5f);
  EXPECT_EQ(wire.sampling().presence_penalty(), -1.f);
  EXPECT_EQ(wire.sampling().frequency_penalty(), 2.f);
  EXPECT_EQ(wire.sampling().logit_bias().at(5), -100.f);
  EXPECT_EQ(wire.sampling().logit_bias().at(9), 1.5f);
  EXPECT_EQ(wire.sampling().seed(), ~uint64_t{0});
  EXPECT_EQ(wire.stopping().max_tokens(), 10);
  EXPECT_EQ(wire.stopping().min_tokens(), 2);
  EXPECT_THAT(wire.stopping().strings(), ElementsAre("a", "b"));
  EXPECT_THAT(wire.stopping().token_ids(), ElementsAre(7));
  EXPECT_TRUE(wire.stopping().ignore_eos());
  EXPECT_TRUE(wire.stopping().include_stop_string());
  EXPECT_EQ(wire.output().num_samples(), 3);
  EXPECT_EQ(wire.output().logprobs(), 2);
  EXPECT_TRUE(wire.output().echo());
  EXPECT_EQ(wire.tenant(), "t");
  EXPECT_EQ(wire.priority(), -3);
}

TEST(ConvertTest, ATurnThatOnlyCallsToolsHasNoContent) {
  const v1::ChatInput wire =
      ToWire(ChatPrompt{.messages = {{.role = "user", .text = ""},
                                     {.role = "assistant", .tool_calls_json = "[]"},
                                     {.role = "tool", .text = "42", .tool_call_id = "c"},
                                     {.role = "assistant", .text = "", .tool_calls_json = "[]"}},
                        .add_generation_prompt = false});
  ASSERT_EQ(wire.messages_size(), 4);
  EXPECT_EQ(wire.messages(0).content_case(), v1::ChatMessage::kText);
  EXPECT_EQ(wire.messages(1).content_case(), v1::ChatMessage::CONTENT_NOT_SET);
  EXPECT_EQ(wire.messages(1).tool_calls_json(), "[]");
  EXPECT_EQ(wire.messages(2).tool_call_id(), "c");
  EXPECT_EQ(wire.messages(3).content_case(), v1::ChatMessage::kText) << "empty is not none";
  EXPECT_TRUE(wire.has_add_generation_prompt());
}

TEST(ConvertTest, ChunkToDelta) {
  v1::GenerateChunk chunk;
  chunk.set_sample(2);
  chunk.set_text("é");
  chunk.add_token_ids(11);
  v1::TokenLogprobs* logprobs = chunk.add_logprobs();
  logprobs->mutable_chosen()->set_token("\xc3");
  logprobs->mutable_chosen()->set_logprob(-0.5);
  logprobs->add_top()->set_token_id(12);
  chunk.mutable_finish()->set_reason(v1::FINISH_REASON_STOP);
  chunk.mutable_finish()->set_stop_string("");
  const Delta delta = FromWire(chunk);
  EXPECT_EQ(delta.sample, 2);
  EXPECT_EQ(delta.text, "é");
  EXPECT_THAT(delta.token_ids, ElementsAre(11));
  ASSERT_EQ(delta.logprobs.size(), 1);
  EXPECT_EQ(delta.logprobs[0].chosen.token, "\xc3");
  EXPECT_EQ(delta.logprobs[0].chosen.logprob, -0.5f);
  EXPECT_EQ(delta.logprobs[0].top[0].token_id, 12);
  ASSERT_TRUE(delta.finish);
  EXPECT_EQ(delta.finish->reason, FinishReason::kStop);
  EXPECT_THAT(delta.finish->stop_string, Optional(std::string()));
  EXPECT_EQ(delta.finish->stop_token_id, std::nullopt);
  EXPECT_FALSE(FromWire(v1::GenerateChunk()).finish);
}

TEST(ConvertTest, EveryFinishReasonHasItsWord) {
  for (const auto& [reason, name] : {std::pair{v1::FINISH_REASON_STOP, "stop"},
                                     {v1::FINISH_REASON_LENGTH, "length"},
                                     {v1::FINISH_REASON_CANCELLED, "cancelled"},
                                     {v1::FINISH_REASON_DEADLINE, "deadline"},
                                     {v1::FINISH_REASON_ERROR, "error"}}) {
    v1::GenerateChunk chunk;
    chunk.mutable_finish()->set_reason(reason);
    EXPECT_STREQ(FinishReasonName(FromWire(chunk).finish->reason), name);
  }
}

TEST(ConvertTest, AbsentTokensOfAVocabularyStayAbsent) {
  v1::GetModelInfoResponse wire;
  wire.set_eos_token_id(0);
  const ModelInfo info = FromWire(wire);
  EXPECT_EQ(info.bos_token_id, std::nullopt);
  EXPECT_THAT(info.eos_token_id, Optional(0));
}

TEST(ConvertTest, EveryFieldOfAChatArrives) {
  const v1::ChatInput wire = ToWire(
      ChatPrompt{.messages = {{.role = "user", .parts = {"a", ""}}, {.role = "assistant", .text = "b"}},
                 .tools_json = "[1]",
                 .template_arguments_json = "{}",
                 .add_generation_prompt = false,
                 .continue_final_message = true,
                 .template_name = "tool_use"});
  ASSERT_EQ(wire.messages_size(), 2);
  ASSERT_EQ(wire.messages(0).parts().parts_size(), 2);
  EXPECT_EQ(wire.messages(0).parts().parts(0).text(), "a");
  EXPECT_EQ(wire.messages(0).parts().parts(1).part_case(), v1::ContentPart::kText);
  EXPECT_EQ(wire.messages(1).text(), "b");
  EXPECT_EQ(wire.tools_json(), "[1]");
  EXPECT_TRUE(wire.has_add_generation_prompt());
  EXPECT_TRUE(wire.continue_final_message());
  EXPECT_EQ(wire.template_name(), "tool_use");
  EXPECT_FALSE(ToWire(ChatPrompt{}).has_add_generation_prompt());
}

TEST(ConvertTest, OnlyWhatTheModelSaysIsADefault) {
  v1::GetModelInfoResponse wire;
  wire.add_chat_template_names("default");
  wire.mutable_sampling_defaults()->set_temperature(0);
  wire.mutable_sampling_defaults()->set_top_k(20);
  const ModelInfo info = FromWire(wire);
  EXPECT_THAT(info.chat_template_names, ElementsAre("default"));
  EXPECT_THAT(info.sampling_defaults.temperature, Optional(0));
  EXPECT_THAT(info.sampling_defaults.top_k, Optional(20));
  EXPECT_EQ(info.sampling_defaults.top_p, std::nullopt);
}

}  // namespace
}  // namespace ropeway::client
