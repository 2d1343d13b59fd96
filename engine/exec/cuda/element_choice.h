// In which type a model's activations are on a device.
//
// Thread-safe.
#ifndef ROPEWAY_ENGINE_EXEC_CUDA_ELEMENT_CHOICE_H_
#define ROPEWAY_ENGINE_EXEC_CUDA_ELEMENT_CHOICE_H_

#include <optional>
#include <string>

#include "engine/kernels/cuda/element.h"
#include "engine/model/tensor_source.h"

namespace ropeway {

struct ElementChoice {
  cuda::Element element = cuda::Element::kBF16;
  std::string why;  // for the log, where it is neither asked for nor the file's, or not safe

  // "bf16", or "bf16 (why)".
  std::string Describe() const;
};

// `wanted`, or where nothing is: f16 where most of a model's dense weights are, unless it needs a wider range
// (DecoderSpec::wide_range), else bf16.
ElementChoice ChooseElement(const OpenedModel& model, std::optional<cuda::Element> wanted);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_EXEC_CUDA_ELEMENT_CHOICE_H_
