// Settings that are one of a few words, and their words.
#ifndef ROPEWAY_SERVER_CONFIG_CHOICES_H_
#define ROPEWAY_SERVER_CONFIG_CHOICES_H_

#include <iterator>
#include <optional>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "server/obs/log_level.h"

namespace ropeway::server {

// Where the model is computed.
enum class Device { kAuto, kCpu, kCuda };

// How weights are held: as the file has them; those of 16 and 32 bits packed to 8; on a GPU alone, those that would be
// dense as 8-bit floating point.
enum class WeightPacking { kFile, kQ8_0, kFp8 };

// Numbers of activations on a GPU; kAuto: as the file has its weights.
enum class ActivationType { kAuto, kF16, kBF16, kF32 };

// Numbers in the KV cache; those beyond kF32 only on a GPU.
enum class KvCacheType { kAuto, kBF16, kF32, kF16, kFp8, kInt8 };

// Whether something is done.
enum class Switch { kOn, kOff };

// Instruction sets of the kernels on a CPU.
enum class KernelSet { kAuto, kRef, kAvx2, kAvx512 };

// Between whose requests the computed beginnings of prompts are shared.
enum class PrefixCache { kTenant, kShared, kOff };

// What is asked of clients, or is not.
enum class Needed { kNo, kYes };

// The words of an enumeration, in the order of its values.
template <typename Enum>
struct Words;
template <>
struct Words<Device> {
  static constexpr absl::string_view kAll[] = {"auto", "cpu", "cuda"};
};
template <>
struct Words<WeightPacking> {
  static constexpr absl::string_view kAll[] = {"file", "q8_0", "fp8"};
};
template <>
struct Words<ActivationType> {
  static constexpr absl::string_view kAll[] = {"auto", "f16", "bf16", "f32"};
};
template <>
struct Words<KvCacheType> {
  static constexpr absl::string_view kAll[] = {"auto", "bf16", "f32", "f16", "fp8", "int8"};
};
template <>
struct Words<KernelSet> {
  static constexpr absl::string_view kAll[] = {"auto", "ref", "avx2", "avx512"};
};
template <>
struct Words<Switch> {
  static constexpr absl::string_view kAll[] = {"on", "off"};
};
template <>
struct Words<PrefixCache> {
  static constexpr absl::string_view kAll[] = {"tenant", "shared", "off"};
};
template <>
struct Words<Needed> {
  static constexpr absl::string_view kAll[] = {"no", "yes"};
};
template <>
struct Words<LogLevel> {
  static constexpr absl::string_view kAll[] = {"debug", "info", "warning", "error"};
};

template <typename Enum>
constexpr absl::string_view WordOf(Enum value) {
  return Words<Enum>::kAll[static_cast<size_t>(value)];
}

template <typename Enum>
std::optional<Enum> FromWord(absl::string_view word) {
  for (size_t i = 0; i < std::size(Words<Enum>::kAll); ++i)
    if (Words<Enum>::kAll[i] == word) return static_cast<Enum>(i);
  return std::nullopt;
}

// Whether a KV cache on a CPU may have these numbers.
constexpr bool IsOnCpu(KvCacheType type) { return type <= KvCacheType::kF32; }
inline constexpr absl::Span<const absl::string_view> kCpuKvWords =
    absl::MakeConstSpan(Words<KvCacheType>::kAll, static_cast<size_t>(KvCacheType::kF32) + 1);

// Likewise of weights.
constexpr bool IsOnCpu(WeightPacking packing) { return packing <= WeightPacking::kQ8_0; }
inline constexpr absl::Span<const absl::string_view> kCpuWeightWords =
    absl::MakeConstSpan(Words<WeightPacking>::kAll, static_cast<size_t>(WeightPacking::kQ8_0) + 1);

}  // namespace ropeway::server

#endif  // ROPEWAY_SERVER_CONFIG_CHOICES_H_
