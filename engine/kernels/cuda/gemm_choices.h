// The algorithms that searches for products have chosen, kept in a file between starts.
//
// A choice names an algorithm among those that the library offers; it makes none, so that the worst a wrong
// file can do is to choose a slower one. The file is text:
//
//   ropeway gemm choices 1
//   NVIDIA H100 80GB HBM3, driver 580.82.07, CUDA 13000, cuBLASLt 130100     the identity: of whom the choices are
//   6144 4096 6144 64 2 2 66 394 35 0 7 1 0                                  a line a choice: the key, the name
//
// Whatever is wrong with it, or of another identity, leaves no choice and is told. Plain C++; not thread-safe, but files
// are replaced whole, so that several may write one path.
#ifndef ROPEWAY_ENGINE_KERNELS_CUDA_GEMM_CHOICES_H_
#define ROPEWAY_ENGINE_KERNELS_CUDA_GEMM_CHOICES_H_

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "engine/kernels/cuda/element.h"

namespace ropeway::cuda {

// What tells an algorithm of cuBLASLt from the others.
struct AlgorithmName {
  int32_t id = 0, tile = 0, stages = 0, inner_shape = 0, cluster_shape = 0, swizzle = 0, custom = 0;
  auto operator<=>(const AlgorithmName&) const = default;
};
// "algorithm 66, tile 394, stages 35, cluster 7": without what is 0.
std::string ToString(const AlgorithmName& name);

struct ChoiceKey {
  int64_t outputs = 0, columns = 0, y_stride = 0;
  int64_t tokens = 0;  // as many as it was measured with
  Element element = Element::kBF16, out = Element::kBF16;
  auto operator<=>(const ChoiceKey&) const = default;
};

// Of whom choices are: others may have other algorithms, or other times.
struct ChoicesIdentity {
  std::string device;
  std::string driver;   // of the kernel, as DriverVersion has it
  int32_t cuda = 0;     // the version of CUDA that the driver has
  int64_t library = 0;  // version
};
std::string ToString(const ChoicesIdentity& identity);

inline constexpr char kDriverVersionFile[] = "/proc/driver/nvidia/version";
// "580.82.07", as the driver's file in /proc has it; "unknown" where it is not there or says something else.
std::string DriverVersion(const std::string& path);

class GemmChoices {
 public:
  static constexpr int64_t kMaxFileBytes = 1 << 20;

  // Reads the file; an empty path stands for none.
  GemmChoices(std::string path, std::string identity);

  std::optional<AlgorithmName> Find(const ChoiceKey& key) const;
  void Insert(const ChoiceKey& key, const AlgorithmName& name);

  // Writes what is new; false where that cannot be done.
  bool Save();

  // Why a file that is there was not read; empty: it was, or there is none.
  const std::string& trouble() const { return trouble_; }

 private:
  std::string Read();

  const std::string path_, identity_;
  std::string trouble_;
  std::map<ChoiceKey, AlgorithmName> choices_;
  bool changed_ = false;
};

}  // namespace ropeway::cuda

#endif  // ROPEWAY_ENGINE_KERNELS_CUDA_GEMM_CHOICES_H_
