// Gemm over cuBLASLt (cublaslt.h).
//
// Products of 16-bit numbers: numbers of tokens are in classes, up to 16, 32, 64 and so on, and each has its
// algorithm, among those that do not split K and were seen to keep the rule of sums (gemm_check.h), in a small product
// and in this one: the fastest as measured for the most tokens of the class, the first by the library's estimate where
// nothing is measured, our own kernel where there is none.
//
// float32, and rows of a width that our own kernel does not take, have nothing that algorithms could be held
// to: one algorithm per matrix for every T, the first by the library's estimate for kTypicalTokens that takes each T
// which Prepare is asked for. An element of y is then summed over K by one tile's loop, the same for all T: neighbours in
// its tile share operands, not sums.
#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/kernels/cuda/cublaslt.h"
#include "engine/kernels/cuda/cublaslt_gemm.h"
#include "engine/kernels/cuda/gemm_check.h"
#include "engine/kernels/cuda/gemm_choices.h"

namespace ropeway::cuda {
namespace {

constexpr int64_t kTypicalTokens = 64;
constexpr int64_t kLeastClass = 16;
constexpr int64_t kAnyTokens = 0;  // the class where one algorithm does for all
constexpr int kTimedRuns = 3;

// Numbers of tokens for which such an algorithm must do where nobody said how many there will be: one, few and many, whole
// tiles and parts of them.
constexpr int64_t kCheckedTokens[] = {1, 2, 7, 8, 17, 64, 128, 200, 256, 512, 2048};

// What our own kernel takes.
bool IsOwn(const MatrixShape& shape) { return shape.element != Element::kF32 && shape.columns % 8 == 0; }

int64_t ClassOf(const MatrixShape& shape, int64_t tokens) {
  if (!IsOwn(shape)) return kAnyTokens;
  return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(std::max(tokens, kLeastClass))));
}

const char* WordOf(Element element) {
  return element == Element::kF32 ? "f32" : element == Element::kF16 ? "f16" : "bf16";
}

// "W [11, 4096] transposed, bf16 to f32"
std::string MatrixOf(const MatrixShape& shape) {
  return "W [" + std::to_string(shape.outputs) + ", " + std::to_string(shape.columns) + "] transposed, " +
         WordOf(shape.element) + " to " + WordOf(shape.out);
}

// How products of a matrix are made, for a class of tokens.
struct Choice {
  bool own = false;
  cublasLtMatmulAlgo_t algorithm = {};
  AlgorithmName name;
  float milliseconds = 0;  // 0: not measured
  int refused = 0;         // algorithms that do not keep the rule, or not do for any number of tokens
  int64_t taken = 0;       // of kAnyTokens: every number of tokens up to which it was seen to do for
};

struct Candidate {
  cublasLtMatmulAlgo_t algorithm = {};
  float milliseconds = 0;  // 0: not measured
};

// Of one T.
struct Plan {
  Layouts layouts;
  bool own = false;
  cublasLtMatmulAlgo_t algorithm = {};
};

class Stopwatch {
 public:
  ~Stopwatch() {
    if (begin_ != nullptr) cudaEventDestroy(begin_);
    if (end_ != nullptr) cudaEventDestroy(end_);
  }
  ErrorCode Init() {
    if (const ErrorCode error = cudaEventCreate(&begin_)) return error;
    return cudaEventCreate(&end_);
  }
  ErrorCode Start(cudaStream_t stream) { return cudaEventRecord(begin_, stream); }
  ErrorCode Stop(cudaStream_t stream, float* milliseconds) {
    if (const ErrorCode error = cudaEventRecord(end_, stream)) return error;
    if (const ErrorCode error = cudaEventSynchronize(end_)) return error;
    return cudaEventElapsedTime(milliseconds, begin_, end_);
  }

 private:
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

class CublasLtGemm final : public Gemm {
 public:
  CublasLtGemm(const GemmOptions& options, DenseMatMulFunction own, int processors, std::string identity)
      : search_(options.search),
        own_(own),
        processors_(processors),
        check_(library_, own, processors),
        kept_(options.cache_path, std::move(identity)) {}

  cublasStatus_t Init() { return library_.Init(); }

  ErrorCode Prepare(const GemmArgs& args, Stream stream) override {
    const MatrixShape shape = ShapeOf(args);
    GemmArgs most = args;
    ErrorCode error = 0;
    ForgetWhatTakesFewer(shape, args.tokens);
    for (int64_t tokens = IsOwn(shape) ? kLeastClass : args.tokens; error == 0; tokens *= 2) {
      most.tokens = std::min(tokens, args.tokens);
      const Choice* choice = nullptr;
      error = Choose(most, ClassOf(shape, most.tokens), /*prepares=*/true, stream, &choice);
      if (tokens >= args.tokens) break;
    }
    check_.Forget();
    if (!kept_.Save()) unsaved_ = true;
    return error;
  }

  ErrorCode Run(const GemmArgs& args, Stream stream) override {
    const Plan* plan = nullptr;
    if (const ErrorCode error = Find(args, stream, &plan)) return error;
    if (plan->own) return RunOwn(args, stream);
    const auto status = library_.Multiply(args, plan->layouts, plan->algorithm, stream);
    return status == CUBLAS_STATUS_SUCCESS ? 0 : Failed(status, args);
  }

  std::vector<std::string> Choices() const override {
    std::map<MatrixShape, std::string> lines;
    for (const auto& [key, choice] : choices_) {
      std::string& line = lines[key.first];
      line += (line.empty() ? MatrixOf(key.first) + ": " : "; ") + TextOf(key.second, choice);
    }
    std::vector<std::string> texts;
    for (auto& [shape, line] : lines) texts.push_back(std::move(line));
    if (!kept_.trouble().empty())
      texts.push_back("the file of the search for algorithms is not read: " + kept_.trouble());
    if (unsaved_) texts.push_back("the file of the search for algorithms could not be written");
    return texts;
  }

  std::string Describe(ErrorCode code) const override {
    return MessageOf(static_cast<cublasStatus_t>(code - kFirstGemmError)) + "; " + failed_;
  }

 private:
  using ClassKey = std::pair<MatrixShape, int64_t>;

  // "up to 64 tokens algorithm 66, tile 394 (0.021 ms), 2 refused"
  static std::string TextOf(int64_t tokens, const Choice& choice) {
    std::string text = tokens == kAnyTokens ? "" : "up to " + std::to_string(tokens) + " tokens ";
    text += choice.own ? "our own kernel" : ToString(choice.name);
    if (choice.milliseconds > 0) text += " (" + std::to_string(choice.milliseconds) + " ms)";
    if (choice.refused > 0) text += ", " + std::to_string(choice.refused) + " refused";
    return text;
  }

  ErrorCode Failed(cublasStatus_t status, const GemmArgs& args) {
    failed_ = "x [" + std::to_string(args.tokens) + ", " + std::to_string(args.columns) + "] times " +
              MatrixOf(ShapeOf(args));
    return CodeOf(status);
  }

  ErrorCode RunOwn(const GemmArgs& args, Stream stream) const {
    return own_(OwnArgs(args, processors_), stream);
  }

  // A choice for any number of tokens holds for more than it was seen to take only where nothing is prepared.
  void ForgetWhatTakesFewer(const MatrixShape& shape, int64_t tokens) {
    const auto found = choices_.find({shape, kAnyTokens});
    if (found == choices_.end() || found->second.taken >= tokens) return;
    choices_.erase(found);
    std::erase_if(plans_, [&](const auto& plan) { return plan.first.first == shape; });
  }

  // The candidates of a class that may be used; of kAnyTokens the first alone, which is taken.
  ErrorCode Usable(const GemmArgs& args, int64_t tokens, bool prepares, Stream stream,
                   std::vector<Candidate>* usable, int* refused) {
    const MatrixShape shape = ShapeOf(args);
    Layouts layouts;
    auto status = layouts.Make(shape, tokens == kAnyTokens ? kTypicalTokens : tokens);
    std::vector<cublasLtMatmulAlgo_t> candidates;
    if (status == CUBLAS_STATUS_SUCCESS)
      status = library_.Candidates(layouts, shape.y_alignment, &candidates);
    if (status != CUBLAS_STATUS_SUCCESS) return Failed(status, args);
    for (const cublasLtMatmulAlgo_t& algorithm : candidates) {
      bool does = false;
      if (!IsOwn(shape)) {
        does = prepares ? DoesForEach(shape, args.tokens, algorithm) : DoesForAnyTokens(shape, algorithm);
      } else if (const ErrorCode error = check_.KeepsRule(shape, tokens, algorithm, stream, &does)) {
        return error;
      }
      if (does)
        usable->push_back({algorithm});
      else
        ++*refused;
      if (does && tokens == kAnyTokens) break;
    }
    return 0;
  }

  bool DoesFor(const MatrixShape& shape, int64_t tokens, const cublasLtMatmulAlgo_t& algorithm) const {
    Layouts layouts;
    return layouts.Make(shape, tokens) == CUBLAS_STATUS_SUCCESS &&
           library_.Check(layouts, algorithm) == CUBLAS_STATUS_SUCCESS;
  }
  bool DoesForAnyTokens(const MatrixShape& shape, const cublasLtMatmulAlgo_t& algorithm) const {
    return std::all_of(std::begin(kCheckedTokens), std::end(kCheckedTokens),
                       [&](int64_t tokens) { return DoesFor(shape, tokens, algorithm); });
  }
  // A check is some microseconds of the host: some hundredths of a second for a few thousand tokens.
  bool DoesForEach(const MatrixShape& shape, int64_t most, const cublasLtMatmulAlgo_t& algorithm) const {
    for (int64_t tokens = 1; tokens <= most; ++tokens)
      if (!DoesFor(shape, tokens, algorithm)) return false;
    return true;
  }

  // Of one product; kNever where the algorithm does not do for so many tokens after all.
  static constexpr float kNever = INFINITY;
  ErrorCode Measure(const GemmArgs& args, const cublasLtMatmulAlgo_t& algorithm, Stream stream,
                    float* milliseconds) {
    *milliseconds = kNever;
    Layouts layouts;
    Stopwatch watch;
    auto status = layouts.Make(ShapeOf(args), args.tokens);
    if (status != CUBLAS_STATUS_SUCCESS) return Failed(status, args);
    if (library_.Check(layouts, algorithm) != CUBLAS_STATUS_SUCCESS) return 0;
    if (const ErrorCode error = watch.Init()) return error;
    const auto native = static_cast<cudaStream_t>(stream.native);
    for (int run = 0; run <= kTimedRuns; ++run) {  // the first is not timed
      status = library_.Multiply(args, layouts, algorithm, stream);
      if (status != CUBLAS_STATUS_SUCCESS) {
        const ErrorCode code = CodeOf(status);
        return code < kFirstGemmError ? code : 0;
      }
      if (run > 0) continue;
      if (const ErrorCode error = watch.Start(native)) return error;
    }
    const ErrorCode error = watch.Stop(native, milliseconds);
    *milliseconds /= kTimedRuns;
    return error;
  }

  // In the order in which they are tried: the one that an earlier search chose and, where there is none, the fastest first.
  ErrorCode Sort(const GemmArgs& args, const ChoiceKey& key, Stream stream,
                 std::vector<Candidate>* candidates) {
    if (const auto kept = kept_.Find(key)) {
      const auto found = std::find_if(candidates->begin(), candidates->end(),
                                      [&](const Candidate& c) { return NameOf(c.algorithm) == *kept; });
      if (found != candidates->end()) {
        std::rotate(candidates->begin(), found, found + 1);
        return 0;
      }
    }
    for (Candidate& candidate : *candidates)
      if (const ErrorCode error = Measure(args, candidate.algorithm, stream, &candidate.milliseconds))
        return error;
    std::erase_if(*candidates, [](const Candidate& c) { return c.milliseconds == kNever; });
    std::stable_sort(candidates->begin(), candidates->end(),
                     [](const Candidate& a, const Candidate& b) { return a.milliseconds < b.milliseconds; });
    return 0;
  }

  // The first of them that keeps the rule in this product, too.
  ErrorCode Take(const GemmArgs& args, const std::vector<Candidate>& candidates, Stream stream,
                 Choice* choice) const {
    ProductCheck check(library_, own_, processors_, args, stream);
    choice->own = true;
    for (const Candidate& candidate : candidates) {
      bool keeps = false;
      if (const ErrorCode error = check.KeepsRule(candidate.algorithm, &keeps)) return error;
      if (keeps) {
        choice->own = false;
        choice->algorithm = candidate.algorithm;
        choice->milliseconds = candidate.milliseconds;
        return 0;
      }
      ++choice->refused;
    }
    return 0;
  }

  // `candidates`: those of a class that may be used.
  ErrorCode ChooseAmong(const GemmArgs& args, int64_t tokens, bool search, std::vector<Candidate> candidates,
                        Stream stream, Choice* choice) {
    if (tokens == kAnyTokens) {  // nothing to hold them to
      if (candidates.empty()) return Failed(CUBLAS_STATUS_NOT_SUPPORTED, args);
      choice->algorithm = candidates.front().algorithm;
      return 0;
    }
    const ChoiceKey key = {.outputs = args.outputs,
                           .columns = args.columns,
                           .y_stride = args.y_stride,
                           .tokens = tokens,
                           .element = args.element,
                           .out = args.out};
    const bool sorts = search && candidates.size() > 1;
    ErrorCode error = sorts ? Sort(args, key, stream, &candidates) : 0;
    if (error == 0) error = Take(args, candidates, stream, choice);
    if (error == 0 && sorts && !choice->own) kept_.Insert(key, NameOf(choice->algorithm));
    return error;
  }

  // `prepares`: for as many tokens, and by measuring where that is wanted.
  ErrorCode Choose(const GemmArgs& args, int64_t tokens, bool prepares, Stream stream,
                   const Choice** chosen) {
    const auto [place, fresh] = choices_.try_emplace({ShapeOf(args), tokens});
    Choice& choice = place->second;
    *chosen = &choice;
    if (!fresh) return 0;
    std::vector<Candidate> usable;
    ErrorCode error = Usable(args, tokens, prepares, stream, &usable, &choice.refused);
    if (error == 0)
      error = ChooseAmong(args, tokens, prepares && search_, std::move(usable), stream, &choice);
    if (prepares) choice.taken = args.tokens;
    if (error != 0)
      choices_.erase(place);
    else if (!choice.own)
      choice.name = NameOf(choice.algorithm);
    return error;
  }

  ErrorCode Find(const GemmArgs& args, Stream stream, const Plan** found) {
    const MatrixShape shape = ShapeOf(args);
    const auto [place, fresh] = plans_.try_emplace({shape, args.tokens});
    Plan& plan = place->second;
    *found = &plan;
    if (!fresh) return 0;
    const Choice* choice = nullptr;
    ErrorCode error = Choose(args, ClassOf(shape, args.tokens), false, stream, &choice);
    if (error == 0) {
      auto status = plan.layouts.Make(shape, args.tokens);
      plan.own = choice->own;
      plan.algorithm = choice->algorithm;
      if (status == CUBLAS_STATUS_SUCCESS && !plan.own) status = library_.Check(plan.layouts, plan.algorithm);
      if (status != CUBLAS_STATUS_SUCCESS && IsOwn(shape)) {
        plan.own = true;
        status = CUBLAS_STATUS_SUCCESS;
      }
      if (status != CUBLAS_STATUS_SUCCESS) error = Failed(status, args);
    }
    if (error != 0) plans_.erase(place);
    check_.Forget();
    return error;
  }

  const bool search_;
  const DenseMatMulFunction own_;
  const int processors_;
  CublasLt library_;
  GemmCheck check_;
  GemmChoices kept_;
  bool unsaved_ = false;
  std::map<ClassKey, Choice> choices_;
  std::map<ClassKey, Plan> plans_;  // by T
  std::string failed_;              // the product that failed last
};

ErrorCode DescribeDevice(int* processors, std::string* identity) {
  int device = 0, cuda = 0;
  cudaDeviceProp properties;
  if (const ErrorCode error = cudaGetDevice(&device)) return error;
  if (const ErrorCode error = cudaGetDeviceProperties(&properties, device)) return error;
  if (const ErrorCode error = cudaDriverGetVersion(&cuda)) return error;
  *processors = properties.multiProcessorCount;
  *identity = ToString(ChoicesIdentity{.device = properties.name,
                                       .driver = DriverVersion(kDriverVersionFile),
                                       .cuda = cuda,
                                       .library = static_cast<int64_t>(cublasLtGetVersion())});
  return 0;
}

}  // namespace

Gemm* MakeCublasLtGemm(const GemmOptions& options, DenseMatMulFunction own, const char** error) {
  int processors = 1;
  std::string identity;
  if (const ErrorCode code = DescribeDevice(&processors, &identity)) {
    *error = cudaGetErrorString(static_cast<cudaError_t>(code));
    return nullptr;
  }
  auto gemm = std::make_unique<CublasLtGemm>(options, own, processors, std::move(identity));
  const cublasStatus_t status = gemm->Init();
  if (status == CUBLAS_STATUS_SUCCESS) return gemm.release();
  *error = cublasLtGetStatusString(status);
  return nullptr;
}

}  // namespace ropeway::cuda
