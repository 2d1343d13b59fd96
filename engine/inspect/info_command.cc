#include "engine/inspect/info_command.h"

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "engine/base/printable.h"
#include "engine/base/status_macros.h"
#include "engine/kernels/ops.h"
#include "engine/model/gguf_file.h"
#include "engine/model/tensor_source.h"
#include "engine/model/weight_shapes.h"
#include "engine/tensor/dtype.h"
#include "nlohmann/json.hpp"

namespace ropeway {
namespace {

constexpr size_t kShownElements = 8;
constexpr size_t kShownBytes = 200;

struct NamedTensor {
  std::string name;
  TensorView view;
};

std::string Text(bool value) { return value ? "true" : "false"; }
std::string Text(int64_t value) { return absl::StrCat(value); }
std::string Text(double value) { return absl::StrCat(value); }
// Quoted as in JSON; what is not UTF-8 is shown as U+FFFD.
std::string Text(const std::string& value) {
  const std::string shown =
      nlohmann::json(value.substr(0, kShownBytes))
          .dump(-1, ' ', /*ensure_ascii=*/false, nlohmann::json::error_handler_t::replace);
  return value.size() <= kShownBytes ? shown : absl::StrCat(shown, "... (", value.size(), " bytes)");
}
template <typename T>
std::string Text(const std::vector<T>& values) {
  std::vector<std::string> shown;
  for (size_t i = 0; i < std::min(values.size(), kShownElements); ++i) shown.push_back(Text(T(values[i])));
  const std::string rest = values.size() > kShownElements ? ", ..." : "";
  return absl::StrCat("[", values.size(), "] ", absl::StrJoin(shown, ", "), rest);
}

std::string MegabytesText(int64_t bytes) {
  return absl::StrFormat("%.1f MB", static_cast<double>(bytes) / 1e6);
}

void AppendMetadata(const Metadata& metadata, std::string& out) {
  absl::StrAppend(&out, "metadata:\n");
  for (const std::string& key : metadata.keys())
    absl::StrAppend(&out, "  ", key, " = ",
                    std::visit([](const auto& value) { return Text(value); }, *metadata.Find(key)), "\n");
}

std::string RopeText(const RopeSpec& rope) {
  std::string text = absl::StrCat("base ", rope.base, ", ", rope.rotary_dim, " dimensions, ",
                                  rope.pairing == RopePairing::kHalves ? "halves" : "interleaved",
                                  ", scaling ", RopeScalingName(rope.scaling));
  if (rope.scaling != RopeScalingKind::kNone) absl::StrAppend(&text, " by ", rope.factor);
  if (rope.original_context > 0) absl::StrAppend(&text, " beyond ", rope.original_context);
  if (!rope.frequency_factors.empty()) absl::StrAppend(&text, ", divisors from the file");
  return text;
}

void AppendSpec(const DecoderSpec& spec, std::string& out) {
  std::map<std::pair<int32_t, int>, int> kinds;  // layers by (window, rope)
  for (const LayerSpec& layer : spec.layers) ++kinds[{layer.window, layer.rope}];
  absl::StrAppend(
      &out, "spec:\n  architecture ", spec.architecture, "\n  layers ", spec.num_layers(), "\n  hidden size ",
      spec.hidden_size, "\n  heads ", spec.num_heads, ", for keys and values ", spec.num_kv_heads,
      "\n  head dimension ", spec.head_dim, ", of values ", spec.value_dim, "\n  feed-forward size ",
      spec.ffn_size, ", ", spec.activation == FfnActivation::kSilu ? "SwiGLU" : "GeGLU", "\n  vocabulary ",
      spec.vocab_size, spec.tied_output ? ", output tied to the embedding" : "", "\n  context ",
      spec.context_length, "\n  norm epsilon ", spec.norm_epsilon,
      spec.sandwich_norms ? ", sandwich norms" : "", spec.qk_norm ? ", norms of queries and keys" : "",
      "\n  attention scale ", spec.attention_scale, spec.qkv_bias ? ", with biases" : "", "\n");
  for (size_t i = 0; i < spec.ropes.size(); ++i)
    absl::StrAppend(&out, "  rope ", i, ": ", RopeText(spec.ropes[i]), "\n");
  for (const auto& [kind, count] : kinds)
    absl::StrAppend(&out, "  ", count, " layers with ",
                    kind.first == 0 ? "full attention" : absl::StrCat("a window of ", kind.first),
                    kind.second < 0 ? ", not rotated" : absl::StrCat(", rope ", kind.second), "\n");
}

// A matrix keeps the width of its type when it is repacked; its rows are padded to whole panels.
int64_t RepackedBytes(const TensorView& view) {
  const int64_t rows = (view.rows() + kernels::kPanelRows - 1) / kernels::kPanelRows * kernels::kPanelRows;
  return rows * RowBytes(view.type, view.columns());
}

void AppendMemory(const OpenedModel& model, const std::vector<NamedTensor>& tensors, std::string& out) {
  const DecoderSpec& spec = model.spec;
  int64_t stored = 0, repacked = 0;
  for (const NamedTensor& tensor : tensors) {
    stored += tensor.view.bytes();
    if (tensor.view.rows() > 1) repacked += RepackedBytes(tensor.view);
  }
  // An embedding that is not the output, too, is read where it lies.
  const absl::StatusOr<TensorView> embedding = model.tensors->Find(WeightRole::kTokenEmbedding, 0);
  if (!spec.tied_output && embedding.ok()) repacked -= RepackedBytes(*embedding);
  const kernels::KvLayout kv =
      kernels::MakeKvLayout(kernels::KvType::kBF16, spec.num_kv_heads, spec.head_dim, spec.value_dim);
  const int64_t token = kv.page_bytes * spec.num_layers() / kPageTokens;
  absl::StrAppend(&out, "memory needed:\n  weights ", MegabytesText(repacked), " repacked, beside ",
                  MegabytesText(stored), " of the file, which is mapped\n  keys and values ", token,
                  " bytes a token in bf16, ", MegabytesText(token * spec.context_length),
                  " for the whole context\n");
}

void AppendTensors(const std::vector<NamedTensor>& tensors, std::string& out) {
  std::map<std::string, std::pair<int, int64_t>> types;  // count and bytes
  for (const NamedTensor& tensor : tensors) {
    auto& [count, bytes] = types[NameOf(tensor.view.type)];
    ++count;
    bytes += tensor.view.bytes();
  }
  absl::StrAppend(&out, "types:\n");
  for (const auto& [type, sums] : types)
    absl::StrAppend(&out, "  ", type, ": ", sums.first, " tensors, ", MegabytesText(sums.second), "\n");
  absl::StrAppend(&out, "tensors: ", tensors.size(), "\n");
  for (const NamedTensor& tensor : tensors)
    absl::StrAppend(&out, "  ", tensor.name, " ", NameOf(tensor.view.type), " [",
                    absl::StrJoin(tensor.view.shape, ", "), "]\n");
}

std::vector<NamedTensor> TensorsOf(const GgufContent& content) {
  std::vector<NamedTensor> tensors;
  for (const std::string& name : content.tensor_names) tensors.push_back({name, content.tensors.at(name)});
  return tensors;
}

std::vector<NamedTensor> TensorsOf(const OpenedModel& model) {
  std::vector<NamedTensor> tensors;
  for (const RoleInfo& info : AllRoles()) {
    if (!HasRole(info.role, model.spec)) continue;
    for (int layer = 0; layer < (info.of_layer ? model.spec.num_layers() : 1); ++layer) {
      absl::StatusOr<TensorView> view = model.tensors->Find(info.role, layer);
      if (view.ok()) tensors.push_back({model.tensors->NameOf(info.role, layer), *std::move(view)});
    }
  }
  return tensors;
}

}  // namespace

absl::StatusOr<std::string> InfoText(const std::string& path) {
  const absl::StatusOr<OpenedModel> model = OpenModel(path);
  std::string out;
  std::vector<NamedTensor> tensors;
  // The tensors of a file point into it.
  std::optional<GgufFile> file;
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    RETURN_IF_ERROR(model.status());
    tensors = TensorsOf(*model);
  } else {
    ASSIGN_OR_RETURN(file, GgufFile::Open(path));
    tensors = TensorsOf(file->content);
    AppendMetadata(file->content.metadata, out);
  }
  if (model.ok()) {
    AppendSpec(model->spec, out);
    AppendMemory(*model, tensors, out);
  } else {
    absl::StrAppend(&out, "not a model that can be run: ", model.status().message(), "\n");
  }
  AppendTensors(tensors, out);
  return out;
}

void AddInfoCommand(CLI::App& app, int* exit_code) {
  const auto path = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("info", "Metadata, spec, memory needed and tensors of a model");
  command->add_option("MODEL", *path, "A GGUF file or a Hugging Face folder")->required();
  command->callback([path, exit_code] {
    const absl::StatusOr<std::string> text = InfoText(*path);
    if (text.ok()) {
      std::cout << *text;
      return;
    }
    std::cerr << "info: " << Printable(std::string(text.status().message()), kMaxMessageBytes) << '\n';
    *exit_code = 2;
  });
}

}  // namespace ropeway
