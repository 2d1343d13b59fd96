// The model against machines that are known: linear ones, noisy ones, ones that change, and ones that no sum of
// terms describes.
#include "engine/sched/step_cost_model.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "engine/base/splitmix.h"
#include "gtest/gtest.h"

namespace ropeway {
namespace {

// Milliseconds of a step.
using Machine = std::function<double(const StepWork&)>;

double Linear(const std::array<double, kCostTerms>& costs, const StepWork& work) {
  double sum = 0;
  for (int i = 0; i < kCostTerms; ++i) sum += costs[i] * work.amounts[i];
  return sum;
}

// About a model of 135 million weights on two processors, and ones ten and a thousand times as slow.
const std::array<double, kCostTerms> kSmall = {1.5, 0.3, 0.0006, 0.05, 0.5, 0.003};
Machine Times(double factor) {
  return [=](const StepWork& work) { return factor * Linear(kSmall, work); };
}

// Weights are read from memory once a step; below 40 rows that takes longer than to compute.
double BoundByMemory(const StepWork& work) {
  const double rows = work.of(CostTerm::kPromptToken) + work.of(CostTerm::kDecodeRow);
  return 1 + std::max(8.0, 0.2 * rows) + 0.002 * work.of(CostTerm::kContextPage);
}

class Steps {
 public:
  // In [0, 1).
  double Random() { return UnitInterval(7, counter_++); }
  int32_t Uniform(int32_t first, int32_t last) {
    return first + static_cast<int32_t>(Random() * (last - first + 1));
  }

  // What a busy server does: some rows, and a chunk of some prompt every other step.
  StepWork Busy() {
    StepWork work;
    for (int i = Uniform(1, 32); i > 0; --i) work.AddDecode(Uniform(1, 2000));
    if (Random() < 0.5) work.AddPrompt(Uniform(0, 4000), Uniform(1, 256), 1);
    return work;
  }

 private:
  uint64_t counter_ = 0;
};

StepWork Chunk(int32_t begin, int32_t tokens, int32_t rows) {
  StepWork work;
  work.AddPrompt(begin, tokens, 0);
  for (int i = 0; i < rows; ++i) work.AddDecode(500);
  return work;
}

void Teach(StepCostModel& model, const Machine& machine, int steps, double noise = 0) {
  Steps random;
  for (int i = 0; i < steps; ++i) {
    const StepWork work = random.Busy();
    const double factor = 1 + noise * (2 * random.Random() - 1);
    model.Learn(work, absl::Milliseconds(machine(work) * factor));
  }
}

// |predicted / actual - 1|, at most over some steps that a busy server takes.
double WorstError(const StepCostModel& model, const Machine& machine) {
  Steps random;
  double worst = 0;
  for (int i = 0; i < 200; ++i) {
    const StepWork work = random.Busy();
    worst = std::max(worst, std::abs(absl::ToDoubleMilliseconds(model.Predict(work)) / machine(work) - 1));
  }
  return worst;
}

TEST(StepCostModelTest, LearnsMachinesOfAllSpeeds) {
  for (const double factor : {0.01, 1.0, 10.0, 1000.0}) {
    StepCostModel model;
    Teach(model, Times(factor), 300);
    EXPECT_LT(WorstError(model, Times(factor)), 0.03) << factor;
    EXPECT_LT(model.error(), 0.02);
    EXPECT_EQ(model.num_steps(), 300);
  }
}

TEST(StepCostModelTest, ConvergesWithinFewSteps) {
  StepCostModel model;
  Teach(model, Times(1), 30);
  EXPECT_LT(WorstError(model, Times(1)), 0.25);
}

TEST(StepCostModelTest, NoiseAveragesOut) {
  StepCostModel model;
  Teach(model, Times(1), 500, /*noise=*/0.3);
  EXPECT_LT(WorstError(model, Times(1)), 0.15);
  EXPECT_GT(model.error(), 0.08);
  EXPECT_LT(model.error(), 0.25);
}

// Every twentieth step loses its processor for a tenth of a second, which makes it ten times as long or more.
TEST(StepCostModelTest, StepsThatLostTheirProcessorCountLittle) {
  StepCostModel model;
  Steps random;
  for (int i = 0; i < 500; ++i) {
    const StepWork work = random.Busy();
    const double lost = i % 20 == 19 ? 100 : 0;
    model.Learn(work, absl::Milliseconds(Times(0.3)(work) + lost));
  }
  EXPECT_LT(WorstError(model, Times(0.3)), 0.3);
}

TEST(StepCostModelTest, OneLostStepChangesLittle) {
  StepCostModel model;
  Teach(model, Times(1), 300);
  const absl::Duration before = model.Predict(Chunk(1000, 64, 8));
  model.Learn(Chunk(1000, 64, 8), absl::Seconds(10));
  EXPECT_LT(model.Predict(Chunk(1000, 64, 8)), before * 1.1);
}

TEST(StepCostModelTest, FollowsAMachineThatBecomesSlowerOrFaster) {
  for (const double factor : {3.0, 0.3}) {
    StepCostModel model;
    Teach(model, Times(1), 500, 0.05);
    Teach(model, Times(factor), 250, 0.05);
    EXPECT_LT(WorstError(model, Times(factor)), 0.2) << factor;
  }
}

// After thousands of steps without a prompt the costs of prompts are what they were.
TEST(StepCostModelTest, RemembersWhatNoStepHadLately) {
  StepCostModel model;
  Teach(model, Times(1), 300);
  Steps random;
  for (int i = 0; i < 5000; ++i) {
    StepWork work;
    for (int row = 0; row < 8; ++row) work.AddDecode(500 + i % 1000);
    model.Learn(work, absl::Milliseconds(Times(1)(work) * (0.9 + 0.2 * random.Random())));
  }
  const StepWork chunk = Chunk(1000, 128, 8);
  EXPECT_NEAR(absl::ToDoubleMilliseconds(model.Predict(chunk)) / Times(1)(chunk), 1, 0.15);
}

TEST(StepCostModelTest, FitsWhatNoSumDescribesWhereItWorks) {
  StepCostModel model;
  Teach(model, BoundByMemory, 300);
  EXPECT_LT(WorstError(model, BoundByMemory), 0.5);
  for (int i = 0; i < 200; ++i)
    model.Learn(Chunk(1000, 112, 8), absl::Milliseconds(BoundByMemory(Chunk(1000, 112, 8))));
  const StepWork near = Chunk(1000, 128, 8);
  EXPECT_NEAR(absl::ToDoubleMilliseconds(model.Predict(near)) / BoundByMemory(near), 1, 0.1);
}

TEST(StepCostModelTest, CostsAreNeverNegative) {
  StepCostModel model;
  Steps random;
  for (int i = 0; i < 1000; ++i) {
    model.Learn(random.Busy(), absl::Milliseconds(200 * random.Random()));  // has nothing to do with the work
    for (int term = 0; term < kCostTerms; ++term)
      ASSERT_GE(model.cost(static_cast<CostTerm>(term)), absl::ZeroDuration());
  }
}

TEST(StepCostModelTest, TakesNoDurationsThatAreNone) {
  StepCostModel model;
  const absl::Duration before = model.Predict(Chunk(0, 10, 1));
  for (const absl::Duration duration : {absl::ZeroDuration(), -absl::Seconds(1), absl::InfiniteDuration()})
    model.Learn(Chunk(0, 10, 1), duration);
  EXPECT_EQ(model.Predict(Chunk(0, 10, 1)), before);
  EXPECT_EQ(model.num_steps(), 0);
}

// What is not known yet is taken for slow, and prompts grow by steps.
TEST(StepCostModelTest, BeginsCarefully) {
  StepCostModel model;
  EXPECT_GE(model.Predict(Chunk(0, 16, 1)), absl::Milliseconds(50));
  EXPECT_EQ(model.max_prompt_tokens(), 32);
  for (const int32_t tokens : {32, 64, 128}) {
    model.Learn(Chunk(0, tokens, 1), absl::Milliseconds(1));
    EXPECT_EQ(model.max_prompt_tokens(), 2 * tokens);
  }
  model.Learn(Chunk(0, 8, 1), absl::Milliseconds(1));
  EXPECT_EQ(model.max_prompt_tokens(), 256);
}

}  // namespace
}  // namespace ropeway
