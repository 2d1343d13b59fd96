#include "engine/exec/cuda/product_choices.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/exec/cuda/memory_plan.h"
#include "engine/kernels/cuda/fused_matmul.h"

namespace ropeway {
namespace {

// Products are timed by the host's clock, from a launch on an idle stream until the wait behind it has ended: nothing else
// runs on the device, kernels take 10 to 300 us where it matters and are launched in a few, so that launches run ahead, and
// what the first launch and the wait take is shared by all that are timed together. A product that is timed alone shows its
// time with that on top.
//
// An 8B model in Q4_K has five shapes, four of them in 14 classes of up to 2048 tokens, that of the output layer in 8 of up to
// 256. A kernel takes about 0.3 ms and two products of each, or three: 0.1 s in all on an H100, reckoned from times of single
// products. Of dense weights there are 6 classes each.
constexpr absl::Duration kTimed = absl::Microseconds(300);
constexpr int kMostRuns = 10;
// A kernel that takes so many times as long as the best, in its first run, is out; one that took more than so many times as
// long with fewer tokens is not tried.
constexpr int kTooSlow = 4, kSurelySlow = 2;

constexpr int64_t kLeastClass = 8;
// From here on there is a class between two powers of two: there our own kernel and the library take over from each other, the
// one faster with the least tokens of a class and the other with the most.
constexpr int64_t kFirstHalf = 64;

// Up to 8, 16, 32, 64, 96, 128, 192, 256, 384, ...; the last one up to `most`.
std::vector<int64_t> ClassesOf(int64_t most) {
  std::vector<int64_t> classes;
  for (int64_t tokens = kLeastClass; tokens < most; tokens *= 2) {
    classes.push_back(tokens);
    if (tokens >= kFirstHalf && tokens + tokens / 2 < most) classes.push_back(tokens + tokens / 2);
  }
  classes.push_back(most);
  return classes;
}

// Up to so many tokens warpgroups multiply by dense weights: with more the library's tiles are larger, and what bounds it is
// no longer how fast weights are read.
constexpr int64_t kDenseWarpgroupTokens = 256;
// What follows a product is in our own kernels, and beside the library's in one more, which so much of their time pays for.
constexpr double kLibraryFactor = 1.03;

bool Unpacks(const cuda::MatMulArgs& args, const ProductTools& tools) {
  return args.num_tokens > cuda::kFusedTokens && MayUnpack(args, tools.slice);
}

bool IsLibrary(ProductKernel kernel) {
  return kernel == ProductKernel::kGemm || kernel == ProductKernel::kUnpack;
}

// Whether there is more than one kernel for a product, of whatever number of tokens.
bool HasChoice(const cuda::MatMulArgs& args, const ProductTools& tools) {
  cuda::MatMulArgs by_warpgroups = args;
  by_warpgroups.warpgroups = tools.warpgroups;
  return cuda::IsPacked(args.weights.type) || cuda::TakesWarpgroups(by_warpgroups);
}

}  // namespace

// Kernels that compete for products by one shape, class by class, from few tokens to many.
class ProductChoices::Race {
 public:
  Race(const Matrices& matrices, const ProductTools& tools, cuda::Runtime& runtime, const Clock& clock)
      : matrices_(matrices), tools_(tools), runtime_(runtime), clock_(clock) {}

  cuda::ErrorCode Run(int64_t tokens, Choice* choice) {
    cuda::MatMulArgs args = matrices_.most;
    args.num_tokens = choice->tokens = tokens;
    Enter(args);
    absl::Duration best = absl::InfiniteDuration();
    for (Time& runner : runners_) {
      if (runners_.size() > 1) {
        // More tokens take no less.
        if (runner.of_one > kSurelySlow * best) continue;
        if (const cuda::ErrorCode error = Measure(args, kTooSlow * best, &runner)) return error;
        best = std::min(best, runner.of_one);
      }
      choice->times.push_back(runner);
    }
    const auto sort = [](std::vector<Time>& times) {
      const auto cost = [](const Time& time) {
        return time.of_one * (IsLibrary(time.kernel) ? kLibraryFactor : 1);
      };
      std::stable_sort(times.begin(), times.end(),
                       [&](const Time& a, const Time& b) { return cost(a) < cost(b); });
    };
    sort(choice->times);
    sort(runners_);  // the likeliest to win goes first
    return 0;
  }

 private:
  // Whoever may take part from so many tokens on.
  void Enter(const cuda::MatMulArgs& args) {
    const auto enter = [&](ProductKernel kernel, bool may) {
      const bool is_in = std::any_of(runners_.begin(), runners_.end(),
                                     [&](const Time& runner) { return runner.kernel == kernel; });
      if (may && !is_in) runners_.push_back({.kernel = kernel, .of_one = absl::ZeroDuration()});
    };
    if (cuda::IsPacked(args.weights.type)) {
      enter(ProductKernel::kPacked, true);
      enter(ProductKernel::kWarpgroups, tools_.warpgroups && args.element != cuda::Element::kF32);
      enter(ProductKernel::kUnpack, Unpacks(args, tools_));
    } else if (args.num_tokens > kStreamedTokens) {
      enter(ProductKernel::kGemm, true);
      enter(ProductKernel::kWarpgroups, true);
    }
  }

  cuda::ErrorCode Measure(const cuda::MatMulArgs& args, absl::Duration too_slow, Time* runner) {
    absl::Duration loading, first, more;
    if (const cuda::ErrorCode error = TimeOf(args, runner->kernel, 1, &loading)) return error;
    if (const cuda::ErrorCode error = TimeOf(args, runner->kernel, 1, &first)) return error;
    runner->of_one = first;
    if (first > too_slow) return 0;
    const double runs = std::ceil(absl::FDivDuration(kTimed, std::max(first, kTimed / kMostRuns)));
    if (const cuda::ErrorCode error = TimeOf(args, runner->kernel, static_cast<int>(runs), &more))
      return error;
    runner->of_one = std::min(first, more);  // unless the host was kept from looking
    return 0;
  }

  cuda::ErrorCode TimeOf(cuda::MatMulArgs args, ProductKernel kernel, int runs, absl::Duration* of_one) {
    const absl::Time began_at = clock_.Now();
    for (int run = 0; run < runs; ++run) {
      args.weights.data = matrices_.data[next_++ % matrices_.data.size()];
      if (const cuda::ErrorCode error = MultiplyOnCuda(args, tools_, kernel)) return error;
    }
    if (const cuda::ErrorCode error = runtime_.Synchronize(tools_.stream)) return error;
    *of_one = (clock_.Now() - began_at) / runs;
    return 0;
  }

  const Matrices& matrices_;
  const ProductTools& tools_;
  cuda::Runtime& runtime_;
  const Clock& clock_;
  std::vector<Time> runners_;  // with their time in the last class in which they were tried
  size_t next_ = 0;
};

ProductChoices::Shape ProductChoices::ShapeOf(const cuda::MatMulArgs& args) {
  return {.type = args.weights.type,
          .rows = args.weights.rows,
          .columns = args.weights.columns,
          .element = args.element,
          .out = args.out};
}

cuda::ErrorCode ProductChoices::Prepare(const cuda::MatMulArgs& args, const ProductTools& tools) {
  if (clock_ == nullptr || !HasChoice(args, tools)) return PrepareOnCuda(args, tools, ProductKernelFor(args));
  const auto [place, fresh] = matrices_.try_emplace(ShapeOf(args), Matrices{.most = args});
  Matrices& matrices = place->second;
  if (args.num_tokens > matrices.most.num_tokens) matrices.most = args;
  if (matrices.data.size() < kMostRuns) matrices.data.push_back(args.weights.data);
  if (!cuda::IsPacked(args.weights.type)) return PrepareOnCuda(args, tools, ProductKernelFor(args));
  return Unpacks(args, tools) ? PrepareOnCuda(args, tools, ProductKernel::kUnpack) : 0;
}

cuda::ErrorCode ProductChoices::Measure(const ProductTools& tools, cuda::Runtime& runtime) {
  for (auto& [shape, matrices] : matrices_) {
    Race race(matrices, tools, runtime, *clock_);
    const int64_t most = matrices.most.num_tokens;
    for (const int64_t tokens :
         ClassesOf(cuda::IsPacked(shape.type) ? most : std::min(most, kDenseWarpgroupTokens))) {
      Choice choice;
      if (const cuda::ErrorCode error = race.Run(tokens, &choice)) return error;
      if (!choice.times.empty()) matrices.choices.push_back(std::move(choice));
    }
  }
  return 0;
}

ProductKernel ProductChoices::KernelFor(const cuda::MatMulArgs& args) const {
  if (!cuda::IsPacked(args.weights.type) && args.num_tokens <= kStreamedTokens) return ProductKernelFor(args);
  const auto found = matrices_.find(ShapeOf(args));
  if (found == matrices_.end()) return ProductKernelFor(args);
  for (const Choice& choice : found->second.choices)
    if (args.num_tokens <= choice.tokens) return choice.times.front().kernel;
  return ProductKernelFor(args);
}

// "W [28672, 4096] of Q4_K, bf16 to bf16: up to 16 tokens packed; up to 32 packed (0.064 ms), unpacked (0.196 ms)"
std::string ProductChoices::LineOf(const Shape& shape, const std::vector<Choice>& choices) {
  std::string line = absl::StrCat("W [", shape.rows, ", ", shape.columns, "] of ", NameOf(shape.type), ", ",
                                  NameOf(shape.element), " to ", NameOf(shape.out));
  for (const Choice& choice : choices) {
    absl::StrAppend(&line, &choice == &choices.front() ? ": " : "; ", "up to ", choice.tokens, " tokens");
    for (const Time& time : choice.times) {
      absl::StrAppend(&line, &time == &choice.times.front() ? " " : ", ", NameOf(time.kernel));
      if (time.of_one > absl::ZeroDuration())
        absl::StrAppendFormat(&line, " (%.4f ms)", absl::ToDoubleMilliseconds(time.of_one));
    }
  }
  return line;
}

std::vector<std::string> ProductChoices::Lines() const {
  std::vector<std::string> lines;
  for (const auto& [shape, matrices] : matrices_)
    if (!matrices.choices.empty()) lines.push_back(LineOf(shape, matrices.choices));
  return lines;
}

}  // namespace ropeway
