#include "engine/exec/cuda/element_choice.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/exec/cuda/memory_plan.h"
#include "engine/kernels/cuda/device_matrix.h"
#include "engine/model/weight_roles.h"

namespace ropeway {
namespace {

constexpr DType kDenseTypes[] = {DType::kBF16, DType::kF16, DType::kF32};  // of as many numbers: the first

// The type of most numbers in dense matrices of layers; none: there are no such matrices.
std::optional<DType> DenseTypeOf(const OpenedModel& model) {
  int64_t numbers[std::size(kDenseTypes)] = {};
  for (const TensorId& id : TensorsOf(model.spec)) {
    const std::vector<int64_t> shape = ShapeOf(id, model.spec);
    const auto type = model.tensors->TypeOf(id);
    if (!InfoOf(id.role).of_layer || shape.size() < 2 || !type.ok() || cuda::IsPacked(*type)) continue;
    const auto place = std::find(std::begin(kDenseTypes), std::end(kDenseTypes), *type);
    if (place != std::end(kDenseTypes)) numbers[place - std::begin(kDenseTypes)] += shape[0] * shape[1];
  }
  const int64_t* const most = std::max_element(std::begin(numbers), std::end(numbers));
  if (*most == 0) return std::nullopt;
  return kDenseTypes[most - std::begin(numbers)];
}

}  // namespace

std::string ElementChoice::Describe() const {
  return absl::StrCat(NameOf(element), why.empty() ? "" : " (", why, why.empty() ? "" : ")");
}

ElementChoice ChooseElement(const OpenedModel& model, std::optional<cuda::Element> wanted) {
  const std::string& architecture = model.spec.architecture;
  ElementChoice choice;
  if (wanted.has_value()) {
    choice.element = *wanted;
    if (choice.element == cuda::Element::kF16 && model.spec.wide_range)
      choice.why = absl::StrCat("which models of ", architecture, " overflow; bf16 is safe");
    return choice;
  }
  const std::optional<DType> dense = DenseTypeOf(model);
  if (dense == DType::kF16 && model.spec.wide_range) {
    choice.why = absl::StrCat("not f16 as the file, which models of ", architecture, " overflow");
  } else if (dense == DType::kF16) {
    choice.element = cuda::Element::kF16;
  } else if (dense == DType::kF32) {
    choice.why = "not f32 as the file, which would be slow";
  }
  return choice;
}

}  // namespace ropeway
