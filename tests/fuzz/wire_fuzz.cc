// Requests as they arrive: bytes to a message, and the message to a request of the engine or to an answer.
//
// The first byte chooses the method. Its high bit chooses what the rest is: the message itself, or choices by
// which fields of a message are set, so that what parses is not left to luck. The next bit chooses whether
// that message is valid before.
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "engine/api/forecast.h"
#include "engine/base/clock.h"
#include "engine/base/utf8.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "google/protobuf/stubs/logging.h"
#include "server/front/answers.h"
#include "server/front/convert_request.h"
#include "server/front/estimation.h"
#include "server/rpc/wire.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/server/front/test_front.h"

namespace ropeway::testing {
namespace {

namespace pb = google::protobuf;

constexpr uint8_t kMadeOfChoices = 0x80;
constexpr uint8_t kValidBefore = 0x40;
constexpr int kMaxDepth = 8;
constexpr size_t kMaxErrorBytes = 4096;

void Require(bool holds) {
  if (!holds) __builtin_trap();
}

// Takes choices from bytes; all are 0 where there are no more.
class Choices {
 public:
  explicit Choices(std::string_view bytes) : bytes_(bytes) {}

  uint8_t Byte() {
    if (bytes_.empty()) return 0;
    const uint8_t byte = static_cast<uint8_t>(bytes_.front());
    bytes_.remove_prefix(1);
    return byte;
  }
  bool empty() const { return bytes_.empty(); }

  template <typename T, size_t N>
  T OneOf(const T (&values)[N]) {
    return values[Byte() % N];
  }

  int64_t Integer() {
    static constexpr int64_t kValues[] = {0,   1,    -1,   2,         97,        256,       259,      260,
                                          100, -100, 1000, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN};
    return Byte() % 2 == 0 ? OneOf(kValues) : Byte();
  }

  double Real() {
    static constexpr double kValues[] = {0,
                                         -0.0,
                                         1,
                                         -1,
                                         1.0000001,
                                         0.5,
                                         1e-45,
                                         100,
                                         100.1,
                                         -100,
                                         2,
                                         -2.1,
                                         1e39,
                                         std::numeric_limits<double>::infinity(),
                                         std::numeric_limits<double>::quiet_NaN()};
    return Byte() % 4 != 0 ? OneOf(kValues) : Byte() / 16.0;
  }

  // ASCII, sometimes other UTF-8, and seldom what protobuf refuses.
  std::string Text() {
    static constexpr const char* kTexts[] = {"",
                                             "user",
                                             "assistant",
                                             "system",
                                             "tool",
                                             "raise",
                                             "bytes",
                                             "text",
                                             "<|im_start|>",
                                             "\xC3\xA9",
                                             "[]",
                                             "{}",
                                             "[1]",
                                             "{\"style\": 1}",
                                             "[{\"function\": {\"name\": \"f\", \"arguments\": \"{}\"}}]",
                                             "{\"messages\": []}",
                                             "[[[[",
                                             "12345678901234567890123",
                                             "\xFF"};
    if (Byte() % 4 != 0) return OneOf(kTexts);
    std::string text;
    for (int left = Byte() % 32; left > 0; --left) text.push_back(static_cast<char>(Byte() & 0x7F));
    return text;
  }

 private:
  std::string_view bytes_;
};

// Sets or adds one value of the field.
void FillField(const pb::FieldDescriptor& field, Choices& choices, int depth, pb::Message& message);

// Sets fields as long as there are choices, each as often as it is chosen.
void Fill(Choices& choices, int depth, pb::Message& message) {
  const pb::Descriptor& type = *message.GetDescriptor();
  for (int count = choices.Byte() % 8; count > 0 && type.field_count() > 0 && !choices.empty(); --count)
    FillField(*type.field(choices.Byte() % type.field_count()), choices, depth, message);
}

void FillField(const pb::FieldDescriptor& field, Choices& choices, int depth, pb::Message& message) {
  const pb::Reflection& reflection = *message.GetReflection();
  const auto put = [&](auto value, auto set, auto add) {
    field.is_repeated() ? (reflection.*add)(&message, &field, value)
                        : (reflection.*set)(&message, &field, value);
  };
  using R = pb::Reflection;
  switch (field.cpp_type()) {
    case pb::FieldDescriptor::CPPTYPE_INT32:
      return put(static_cast<int32_t>(choices.Integer()), &R::SetInt32, &R::AddInt32);
    case pb::FieldDescriptor::CPPTYPE_UINT64:
      return put(static_cast<uint64_t>(choices.Integer()), &R::SetUInt64, &R::AddUInt64);
    case pb::FieldDescriptor::CPPTYPE_FLOAT:
      return put(static_cast<float>(choices.Real()), &R::SetFloat, &R::AddFloat);
    case pb::FieldDescriptor::CPPTYPE_DOUBLE:
      return put(choices.Real(), &R::SetDouble, &R::AddDouble);
    case pb::FieldDescriptor::CPPTYPE_BOOL:
      return put(choices.Byte() % 2 == 1, &R::SetBool, &R::AddBool);
    case pb::FieldDescriptor::CPPTYPE_STRING:
      return put(choices.Text(), &R::SetString, &R::AddString);
    case pb::FieldDescriptor::CPPTYPE_MESSAGE:
      if (depth >= kMaxDepth) return;
      return Fill(choices, depth + 1,
                  *(field.is_repeated() ? reflection.AddMessage(&message, &field)
                                        : reflection.MutableMessage(&message, &field)));
    default:
      // Requests have no field of another kind yet; one that comes needs a line above.
      __builtin_trap();
  }
}

void CheckError(const absl::Status& status) {
  const absl::string_view message = status.message();
  Require(status.code() == absl::StatusCode::kInvalidArgument ||
          status.code() == absl::StatusCode::kNotFound);
  Require(!message.empty() && message.size() <= kMaxErrorBytes);
  Require(FindInvalidUtf8({message.data(), message.size()}) == std::string_view::npos);
}

bool In(double value, double low, double high) { return value >= low && value <= high; }

void CheckPlan(const server::GenerationPlan& plan, const server::EngineHandle& engine) {
  const ValidRequest& request = plan.request;
  const SamplingParams& sampling = request.sampling;
  const int32_t vocab_size = engine.model.tokenizer->vocab_size();
  const auto known = [vocab_size](TokenId id) { return id >= 0 && id < vocab_size; };
  Require(!request.prompt.empty());
  Require(request.max_tokens >= 1 && request.min_tokens >= 0 && request.min_tokens <= request.max_tokens);
  Require(request.prompt.size() + static_cast<size_t>(request.max_tokens) <=
          static_cast<size_t>(engine.limits.max_model_len));
  Require(request.num_samples >= 1 && request.num_samples <= engine.limits.max_samples);
  for (const TokenId id : request.prompt) Require(known(id));
  for (const TokenId id : request.stop_token_ids) Require(known(id));
  for (const auto& [id, bias] : sampling.logit_bias)
    Require(known(id) && In(bias, -server::kMaxLogitBias, server::kMaxLogitBias));
  Require(In(sampling.temperature, 0, server::kMaxTemperature) && sampling.top_k >= 0);
  Require(sampling.top_p > 0 && sampling.top_p <= 1 && sampling.min_p >= 0 && sampling.min_p < 1);
  Require(sampling.repetition_penalty > 0 &&
          In(sampling.repetition_penalty, 0, server::kMaxRepetitionPenalty));
  Require(In(sampling.presence_penalty, -server::kMaxPenalty, server::kMaxPenalty) &&
          In(sampling.frequency_penalty, -server::kMaxPenalty, server::kMaxPenalty));
}

// Asks as a caller without a key; the engine is played by this thread.
absl::StatusOr<v1::EstimateResponse> Estimated(const v1::EstimateRequest& request,
                                               server::testing::TestFront& front) {
  const server::Call call = {.identity = std::make_shared<const server::Identity>()};
  absl::StatusOr<v1::EstimateResponse> answer = absl::InternalError("not answered");
  absl::Notification done;
  server::Estimate(request, front.context, call, [&](absl::StatusOr<v1::EstimateResponse> given) {
    answer = std::move(given);
    done.Notify();
  });
  for (server::Mailbox::Inquiry& inquiry : front.mailbox.Take(absl::ZeroDuration()).inquiries) {
    const absl::Duration left = inquiry.request.deadline - front.clock.Now();
    const absl::Status refusal =
        left > absl::Seconds(1) ? absl::OkStatus() : absl::ResourceExhaustedError("too late");
    inquiry.answer(Forecast{.pages = 1, .times = ExpectedTimes{}, .refusal = refusal});
  }
  done.WaitForNotification();
  return answer;
}

// What is answered can be written and read again, since its strings are UTF-8.
template <typename Response>
void CheckAnswer(const absl::StatusOr<Response>& answer) {
  if (!answer.ok()) return CheckError(answer.status());
  Require(server::ParseMessage<Response>(server::SerializeMessage(*answer), INT32_MAX).ok());
}

// A generation is only planned; the other calls are answered.
template <typename Request>
void Answer(const Request& request, server::testing::TestFront& front) {
  if constexpr (std::is_same_v<Request, v1::GenerateRequest>) {
    const auto plan = server::ConvertGenerateRequest(
        request, {.model = front.model, .limits = front.engine.limits, .now = absl::CivilSecond(2026, 1, 2)});
    return plan.ok() ? CheckPlan(*plan, front.engine) : CheckError(plan.status());
  } else if constexpr (std::is_same_v<Request, v1::EstimateRequest>) {
    CheckAnswer(Estimated(request, front));
  } else {
    CheckAnswer(server::Answer(request, front.context));
  }
}

template <typename Request>
void Call(uint8_t selector, std::string_view bytes, const std::string& valid,
          server::testing::TestFront& front) {
  std::string made;
  if ((selector & kMadeOfChoices) != 0) {
    Choices choices(bytes);
    Request request;
    if ((selector & kValidBefore) != 0) Require(request.ParseFromString(valid));
    Fill(choices, /*depth=*/0, request);
    made = request.SerializeAsString();
    bytes = made;
  }
  const grpc::Slice slice(bytes.data(), bytes.size());
  const absl::StatusOr<Request> request =
      server::ParseMessage<Request>(grpc::ByteBuffer(&slice, 1), front.engine.limits.max_request_bytes);
  request.ok() ? Answer(*request, front) : CheckError(request.status());
}

using CallFunction = void (*)(uint8_t selector, std::string_view bytes, const std::string& valid,
                              server::testing::TestFront& front);
constexpr CallFunction kCalls[] = {Call<v1::GenerateRequest>,     Call<v1::TokenizeRequest>,
                                   Call<v1::DetokenizeRequest>,   Call<v1::RenderChatRequest>,
                                   Call<v1::GetModelInfoRequest>, Call<v1::GetServerInfoRequest>,
                                   Call<v1::AbortRequest>,        Call<v1::EstimateRequest>};

// A valid message for each of kCalls.
std::vector<std::string> ValidMessages() {
  v1::ChatInput chat;
  chat.add_messages()->set_role("system");
  chat.mutable_messages(0)->set_text("be brief");
  chat.add_messages()->set_role("user");
  for (const char* text : {"one", "two"})
    chat.mutable_messages(1)->mutable_parts()->add_parts()->set_text(text);
  chat.add_messages()->set_role("assistant");
  chat.mutable_messages(2)->set_tool_calls_json(
      R"([{"function": {"name": "f", "arguments": "{\"a\": 1}"}}])");
  chat.set_tools_json(R"([{"type": "function", "function": {"name": "f"}}])");
  chat.set_template_arguments_json(R"({"style": "short"})");
  v1::GenerateRequest generate;
  generate.set_request_id("r");
  *generate.mutable_chat() = chat;
  generate.mutable_sampling()->set_temperature(0.5f);
  generate.mutable_sampling()->set_top_p(0.9f);
  (*generate.mutable_sampling()->mutable_logit_bias())[97] = -1.5f;
  generate.mutable_stopping()->set_max_tokens(8);
  generate.mutable_stopping()->add_strings("\n\n");
  generate.mutable_stopping()->add_token_ids(98);
  generate.mutable_output()->set_logprobs(2);
  v1::TokenizeRequest tokenize;
  tokenize.mutable_text()->set_text("h\xC3\xA9llo <|im_end|>");
  tokenize.mutable_text()->set_parse_special(true);
  v1::DetokenizeRequest detokenize;
  for (const int32_t id : {195, 169, 257, 255}) detokenize.add_ids(id);
  v1::RenderChatRequest render;
  *render.mutable_chat() = chat;
  v1::AbortRequest abort;
  abort.set_request_id("r");
  v1::EstimateRequest estimate;
  *estimate.mutable_request() = generate;
  estimate.set_deadline_ms(1500);
  return {generate.SerializeAsString(),
          tokenize.SerializeAsString(),
          detokenize.SerializeAsString(),
          render.SerializeAsString(),
          v1::GetModelInfoRequest().SerializeAsString(),
          v1::GetServerInfoRequest().SerializeAsString(),
          abort.SerializeAsString(),
          estimate.SerializeAsString()};
}

}  // namespace

std::vector<std::string> FuzzSeeds() {
  const std::vector<std::string> valid = ValidMessages();
  std::vector<std::string> seeds;
  for (uint8_t call = 0; call < std::size(kCalls); ++call) {
    seeds.push_back(static_cast<char>(call) + valid[call]);
    for (const int before : {0, int{kValidBefore}}) {
      std::string choices(1, static_cast<char>(kMadeOfChoices | before | call));
      for (int i = 0; i < 200; ++i) choices.push_back(static_cast<char>(37 * (i + call) + i / 7));
      seeds.push_back(std::move(choices));
    }
  }
  return seeds;
}

}  // namespace ropeway::testing

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static auto& front = *[] {
    // It would write a line for each text that is not UTF-8.
    google::protobuf::SetLogHandler(nullptr);
    auto* made =
        new ropeway::server::testing::TestFront({.clock = *new ropeway::RealClock, .max_model_len = 300});
    made->context.engine = &made->engine;
    made->health.StartServing();
    return made;
  }();
  if (size == 0) return 0;
  static const auto& valid = *new std::vector<std::string>(ropeway::testing::ValidMessages());
  const size_t call = (data[0] & ~(ropeway::testing::kMadeOfChoices | ropeway::testing::kValidBefore)) %
                      std::size(ropeway::testing::kCalls);
  ropeway::testing::kCalls[call](data[0], ropeway::testing::AsText(data + 1, size - 1), valid[call], front);
  return 0;
}
