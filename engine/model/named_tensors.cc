#include "engine/model/named_tensors.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/check.h"
#include "engine/base/status_macros.h"

namespace ropeway {
namespace {

// A matrix of one row lies in GGUF files as a vector.
bool IsOneRow(const std::vector<int64_t>& matrix, const std::vector<int64_t>& vector) {
  return matrix.size() == 2 && vector.size() == 1 && matrix[0] == 1 && matrix[1] == vector[0];
}

absl::Status CheckShape(absl::string_view name, const std::vector<int64_t>& expected,
                        const TensorView& view) {
  if (view.shape == expected || IsOneRow(expected, view.shape)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("tensor '", name, "' must have the shape [",
                                                 absl::StrJoin(expected, ", "), "], has [",
                                                 absl::StrJoin(view.shape, ", "), "]"));
}

// The shape of one of `parts` equal parts, one below the other.
std::vector<int64_t> PartShape(std::vector<int64_t> shape, size_t parts) {
  if (parts == 1) return shape;
  shape[0] /= static_cast<int64_t>(parts);
  // Rows that are tensors of their own have one dimension less.
  if (shape.size() > 1 && shape[0] == 1) shape.erase(shape.begin());
  return shape;
}

// What a stored tensor must look like for the sake of `id`, whose place is one of `parts` parts.
std::vector<int64_t> ShapeOfPart(const TensorId& id, const StoredPart& part, size_t parts,
                                 const DecoderSpec& spec) {
  if (!IsOfExperts(id.role)) {
    std::vector<int64_t> shape = PartShape(ShapeOf(id, spec), parts);
    if (part.one_row) shape.insert(shape.begin(), 1);
    return shape;
  }
  TensorId of_part = id;
  if (!part.stacked) of_part.expert = 0;
  return ShapeOf(of_part, spec);
}

// Of a stacked tensor.
TensorView PartOfExpert(const TensorView& view, int expert) {
  TensorView part{view.type, std::vector<int64_t>(view.shape.begin() + 1, view.shape.end()), nullptr};
  part.data = view.data + expert * part.bytes();
  return part;
}

// Rows of a vector are its elements.
struct Rows {
  const uint8_t* data;
  int64_t bytes;  // of one
};
Rows RowsOf(const TensorView& view) {
  return {view.data, view.shape.size() > 1 ? RowBytes(view.type, view.columns()) : RowBytes(view.type, 1)};
}

// Appends rows [first, first + count) of [outputs, inputs] of a tensor that is stored as [inputs, outputs], in elements
// of `size` bytes.
void AppendTurned(const TensorView& view, int64_t size, int64_t first, int64_t count,
                  std::vector<uint8_t>& out) {
  const int64_t inputs = view.rows(), outputs = view.columns();
  const size_t begin = out.size();
  out.resize(begin + static_cast<size_t>(count * inputs * size));
  for (int64_t i = 0; i < inputs; ++i)
    for (int64_t o = 0; o < count; ++o)
      std::memcpy(out.data() + begin + (o * inputs + i) * size, view.data + (i * outputs + first + o) * size,
                  static_cast<size_t>(size));
}

}  // namespace

absl::StatusOr<std::unique_ptr<NamedTensors>> NamedTensors::Make(DecoderSpec spec, Contents contents,
                                                                 Naming naming) {
  std::unique_ptr<NamedTensors> source(
      new NamedTensors(std::move(spec), std::move(contents), std::move(naming)));
  RETURN_IF_ERROR(source->CheckAll());
  return source;
}

void NamedTensors::AppendPart(const StoredPart& part, int expert, std::vector<uint8_t>& bytes) const {
  TensorView view = tensors_.at(part.name);
  if (part.stacked) view = PartOfExpert(view, expert);
  const Rows rows = RowsOf(view);
  const int64_t num_rows = part.transposed ? view.columns() : view.bytes() / rows.bytes;
  const RowPattern pattern = part.shared ? part.rows : RowPattern{.length = num_rows};
  for (int64_t i = 0; i < pattern.count; ++i) {
    const int64_t first = pattern.first + i * pattern.stride;
    if (part.transposed) {
      AppendTurned(view, InfoOf(view.type).block_bytes, first, pattern.length, bytes);
    } else {
      const uint8_t* from = rows.data + first * rows.bytes;
      bytes.insert(bytes.end(), from, from + pattern.length * rows.bytes);
    }
  }
}

// Of a matrix, or of a stack of them: nothing else is stored as blocks and turned.
void NamedTensors::AppendPair(const StoredPart& part, int expert, std::vector<uint8_t>& bytes) const {
  const TensorView& view = tensors_.at(part.name);
  const int64_t rows = part.stacked ? view.rows() / view.shape[0] : view.rows();
  const int64_t first = part.stacked ? expert * rows : 0, row_bytes = RowBytes(view.type, view.columns());
  const RowPattern pattern = part.shared ? part.rows : RowPattern{.length = rows};
  for (int64_t i = 0; i < pattern.count; ++i)
    for (int64_t j = 0; j < pattern.length; ++j) {
      bytes.resize(bytes.size() + static_cast<size_t>(row_bytes));
      JoinMxfp4Row(pairs_.at(part.name), first + pattern.first + i * pattern.stride + j, view.columns(),
                   bytes.data() + bytes.size() - row_bytes);
    }
}

absl::StatusOr<WeightTensor> NamedTensors::Find(const TensorId& id) const {
  if (!HasTensor(id, spec_)) return absl::NotFoundError(absl::StrCat("tensor '", NameOf(id), "' is missing"));
  ROPEWAY_CHECK(!IsOfExperts(id.role) || id.expert >= 0);
  const std::vector<StoredPart> parts = naming_.parts_of(id);
  std::vector<int64_t> shape = ShapeOf(id, spec_);
  const StoredPart& part = parts[0];
  const DType type = tensors_.at(part.name).type;
  const bool lies_together = parts.size() == 1 && !part.transposed && !pairs_.contains(part.name);
  if (lies_together && (!part.shared || part.rows.count == 1)) {
    const TensorView& all = tensors_.at(part.name);
    const Rows rows = RowsOf(part.stacked ? PartOfExpert(all, id.expert) : all);
    const int64_t first = part.shared ? part.rows.first : 0;
    return WeightTensor{{type, std::move(shape), rows.data + first * rows.bytes}, nullptr};
  }
  auto bytes = std::make_shared<std::vector<uint8_t>>();
  for (const StoredPart& one : parts) {
    if (pairs_.contains(one.name))
      AppendPair(one, id.expert, *bytes);
    else
      AppendPart(one, id.expert, *bytes);
  }
  const uint8_t* data = bytes->data();
  return WeightTensor{{type, std::move(shape), data}, std::move(bytes)};
}

absl::StatusOr<DType> NamedTensors::TypeOf(const TensorId& id) const {
  if (!HasTensor(id, spec_)) return absl::NotFoundError(absl::StrCat("tensor '", NameOf(id), "' is missing"));
  return tensors_.at(naming_.parts_of(id)[0].name).type;
}

std::string NamedTensors::NameOf(const TensorId& id) const { return naming_.parts_of(id)[0].name; }

std::vector<StoredTensor> NamedTensors::Stored() const {
  std::vector<StoredTensor> all;
  for (const auto& [name, view] : tensors_) all.push_back({name, view});
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return all;
}

NamedTensors::Needs NamedTensors::NeededBy(const DecoderSpec& spec, const Naming& naming) {
  Needs needs;
  for (const TensorId& id : TensorsOf(spec)) {
    const std::vector<StoredPart> parts = naming.parts_of(id);
    for (const StoredPart& part : parts) {
      Need& need = needs[part.name];
      need.transposed = part.transposed;
      const size_t rows = part.stacked ? 1 : 0;  // the dimension of rows
      std::vector<int64_t> shape = ShapeOfPart(id, part, parts.size(), spec);
      const int64_t before = part.shared && !need.shape.empty() ? need.shape[rows] : 0;
      need.shape = std::move(shape);
      if (part.shared) need.shape[rows] += before;
    }
  }
  for (auto& [name, need] : needs)
    if (const size_t n = need.shape.size(); need.transposed) std::swap(need.shape[n - 2], need.shape[n - 1]);
  return needs;
}

// Parts of one tensor have one type, but for experts, which are read one by one. Blocks are not cut.
absl::Status NamedTensors::CheckType(const TensorId& id, const StoredPart& part, const TensorView& view,
                                     const std::string& first) const {
  const DType type = tensors_.at(first).type;
  if (!IsOfExperts(id.role) && view.type != type)
    return absl::InvalidArgumentError(absl::StrCat("tensor '", part.name, "' must have the type of '", first,
                                                   "', ", ropeway::NameOf(type), ", has ",
                                                   ropeway::NameOf(view.type)));
  const bool is_vector = view.shape.size() == (part.stacked ? 2 : 1);
  if (!part.shared || !is_vector || InfoOf(view.type).block_columns == 1) return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat("tensor '", part.name, "' has biases of several layers in ",
                                               ropeway::NameOf(view.type),
                                               "; only f32, f16 and bf16 can be divided"));
}

absl::Status NamedTensors::CheckAll() const {
  std::vector<std::string> names;
  for (const TensorId& id : TensorsOf(spec_)) {
    const std::vector<StoredPart> parts = naming_.parts_of(id);
    for (const StoredPart& part : parts) {
      // At once: a config may ask for more tensors than any file holds.
      const auto found = tensors_.find(part.name);
      if (found == tensors_.end())
        return absl::InvalidArgumentError(absl::StrCat("tensor '", part.name, "' is missing"));
      RETURN_IF_ERROR(CheckType(id, part, found->second, parts[0].name));
      names.push_back(part.name);
    }
  }
  const Needs needs = NeededBy(spec_, naming_);
  for (const std::string& name : names) {
    const Need& need = needs.at(name);
    const TensorView& view = tensors_.at(name);
    RETURN_IF_ERROR(CheckShape(name, need.shape, view));
    if (need.transposed && InfoOf(view.type).block_columns != 1)
      return absl::UnimplementedError(absl::StrCat("tensor '", name, "' is stored [inputs, outputs] as ",
                                                   ropeway::NameOf(view.type),
                                                   "; only f32, f16 and bf16 can be turned"));
  }
  std::vector<absl::string_view> unknown;
  for (const auto& [name, view] : tensors_)
    if (!needs.contains(name) && !naming_.ignorable(name)) unknown.push_back(name);
  if (unknown.empty()) return absl::OkStatus();
  // Ignoring a tensor changes what the model means.
  return absl::UnimplementedError(absl::StrCat("tensor '", *std::min_element(unknown.begin(), unknown.end()),
                                               "' has no place in a model of architecture '",
                                               spec_.architecture, "' as it is supported"));
}

WeightCount CountWeights(const OpenedModel& model) {
  int64_t by_type[kNumDTypes] = {};
  WeightCount count;
  for (const TensorId& id : TensorsOf(model.spec)) {
    int64_t weights = 1;
    for (const int64_t extent : ShapeOf(id, model.spec)) weights *= extent;
    count.total += weights;
    if (const auto type = model.tensors->TypeOf(id); type.ok())
      by_type[static_cast<size_t>(*type)] += weights;
  }
  count.commonest = static_cast<DType>(std::max_element(by_type, by_type + kNumDTypes) - by_type);
  return count;
}

}  // namespace ropeway
