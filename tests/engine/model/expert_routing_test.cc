#include "engine/model/expert_routing.h"

#include <cmath>
#include <limits>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ropeway {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatNear;

struct Routed {
  std::vector<int32_t> experts;
  std::vector<float> weights;
};

Routed Route(const ExpertsSpec& spec, const std::vector<float>& z,
             const std::vector<float>& correction = {}) {
  std::vector<ExpertChoice> chosen(static_cast<size_t>(spec.per_token));
  RouteToken(spec, z, correction, absl::MakeSpan(chosen));
  Routed routed;
  for (const ExpertChoice& choice : chosen) {
    routed.experts.push_back(choice.expert);
    routed.weights.push_back(choice.weight);
  }
  return routed;
}

float Log(double x) { return static_cast<float>(std::log(x)); }

// Of probabilities 0.1, 0.4, 0.3, 0.2.
const std::vector<float> kZ = {Log(1), Log(4), Log(3), Log(2)};

TEST(ExpertRoutingTest, SoftmaxOverAll) {
  const Routed routed = Route({.count = 4, .per_token = 2}, kZ);
  EXPECT_THAT(routed.experts, ElementsAre(1, 2));
  EXPECT_THAT(routed.weights, ElementsAre(FloatNear(0.4f, 1e-6f), FloatNear(0.3f, 1e-6f)));
}

TEST(ExpertRoutingTest, NormalisedAndScaled) {
  const Routed routed = Route({.count = 4, .per_token = 2, .normalised = true, .scale = 7}, kZ);
  EXPECT_THAT(routed.weights, ElementsAre(FloatNear(4, 1e-5f), FloatNear(3, 1e-5f)));
}

TEST(ExpertRoutingTest, SoftmaxOverTheChosenIsThatOfAllNormalised) {
  const Routed routed = Route({.count = 4, .per_token = 3, .score = RouterScore::kSoftmaxChosen}, kZ);
  EXPECT_THAT(routed.experts, ElementsAre(1, 2, 3));
  EXPECT_THAT(routed.weights,
              ElementsAre(FloatNear(4.f / 9, 1e-6f), FloatNear(3.f / 9, 1e-6f), FloatNear(2.f / 9, 1e-6f)));
}

TEST(ExpertRoutingTest, SigmoidsEachForItself) {
  const Routed routed =
      Route({.count = 3, .per_token = 2, .score = RouterScore::kSigmoid}, {0, Log(3), Log(1.0 / 3)});
  EXPECT_THAT(routed.experts, ElementsAre(1, 0));
  EXPECT_THAT(routed.weights, ElementsAre(FloatNear(0.75f, 1e-6f), FloatNear(0.5f, 1e-6f)));
}

// Where scores are all rounded to 1, it is the products that count.
TEST(ExpertRoutingTest, SaturatedSigmoidsKeepTheirOrder) {
  const Routed routed = Route({.count = 3, .per_token = 2, .score = RouterScore::kSigmoid}, {100, 102, 101});
  EXPECT_THAT(routed.experts, ElementsAre(1, 2));
}

// A correction has a say in who is chosen, and none in the weight.
TEST(ExpertRoutingTest, CorrectionIsForTheChoiceAlone) {
  const ExpertsSpec spec{
      .count = 3, .per_token = 2, .score = RouterScore::kSigmoid, .correction = true, .normalised = true};
  const Routed routed = Route(spec, {0, Log(3), Log(1.0 / 3)}, {0, 0, 1});
  EXPECT_THAT(routed.experts, ElementsAre(2, 1));
  EXPECT_THAT(routed.weights, ElementsAre(FloatNear(0.25f, 1e-6f), FloatNear(0.75f, 1e-6f)));
}

// The best expert stands in a group whose two best are together worse than those of two others.
TEST(ExpertRoutingTest, GroupsAreChosenFirst) {
  const ExpertsSpec spec{.count = 6,
                         .per_token = 3,
                         .score = RouterScore::kSoftmaxChosen,
                         .groups = 3,
                         .chosen_groups = 2,
                         .group_best = 2};
  EXPECT_THAT(Route(spec, {9, -9, 5, 4, 3, 2}).experts, ElementsAre(2, 3, 4));
  // By its best one alone that group is among the best.
  ExpertsSpec by_best = spec;
  by_best.group_best = 1;
  EXPECT_THAT(Route(by_best, {9, -9, 5, 4, 3, 2}).experts, ElementsAre(0, 2, 3));
}

TEST(ExpertRoutingTest, TheLowerIndexBreaksTies) {
  EXPECT_THAT(Route({.count = 4, .per_token = 3}, {1, 2, 2, 1}).experts, ElementsAre(1, 2, 0));
  const ExpertsSpec groups{.count = 4, .per_token = 1, .groups = 2, .chosen_groups = 1, .group_best = 1};
  EXPECT_THAT(Route(groups, {2, 1, 2, 1}).experts, ElementsAre(0));
}

// Weights that are not finite must not lead out of the table.
TEST(ExpertRoutingTest, NotANumber) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  for (const RouterScore score : {RouterScore::kSoftmax, RouterScore::kSoftmaxChosen, RouterScore::kSigmoid})
    for (const std::vector<float>& z :
         {std::vector<float>{nan, nan, nan}, {inf, -inf, nan}, {-inf, -inf, -inf}}) {
      std::vector<int32_t> experts = Route({.count = 3, .per_token = 3, .score = score}, z).experts;
      EXPECT_THAT(experts, ::testing::UnorderedElementsAre(0, 1, 2));
    }
}

TEST(ExpertRoutingTest, ASumOfNothing) {
  const ExpertsSpec spec{
      .count = 2, .per_token = 1, .score = RouterScore::kSigmoid, .normalised = true, .least_sum = 1e-20f};
  EXPECT_THAT(Route(spec, {-2000, -3000}).weights, ElementsAre(0));
}

}  // namespace
}  // namespace ropeway
