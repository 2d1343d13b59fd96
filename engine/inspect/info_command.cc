#include "engine/inspect/info_command.h"

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <iterator>
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
#include "engine/tensor/dtype.h"
#include "nlohmann/json.hpp"

namespace ropeway {
namespace {

constexpr size_t kShownElements = 8;
constexpr size_t kShownBytes = 200;

using NamedTensor = StoredTensor;

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

const char* ActivationText(const FfnSpec& ffn) {
  constexpr const char* kGated[] = {"SwiGLU",      "GeGLU (erf)",   "GeGLU", "ReGLU", "gated ReLU squared",
                                    "gated xIELU", "clamped SwiGLU"};
  // The last is of gated layers alone.
  constexpr const char* kPlain[] = {"SiLU",         "GELU (erf)", "GELU (tanh)",   "ReLU",
                                    "ReLU squared", "xIELU",      "clamped SwiGLU"};
  constexpr size_t kActivations = static_cast<size_t>(Activation::kClampedSwiglu) + 1;
  static_assert(std::size(kGated) == kActivations && std::size(kPlain) == kActivations);
  return (ffn.gated ? kGated : kPlain)[static_cast<size_t>(ffn.activation)];
}

std::string FeedForwardText(const FfnSpec& ffn) {
  std::string text = absl::StrCat(ffn.size, ", ", ActivationText(ffn));
  const ExpertsSpec& experts = ffn.experts;
  if (!ffn.has_experts()) return text;
  absl::StrAppend(&text, ", ", experts.count, " experts, of which a token goes to ", experts.per_token);
  if (experts.shared_size > 0) absl::StrAppend(&text, ", a shared one of ", experts.shared_size);
  return text;
}

// Of the first layer, and of the first that has experts, where that is another: the first ones may be dense.
std::vector<std::string> FeedForwardTexts(const DecoderSpec& spec) {
  std::vector<std::string> texts = {FeedForwardText(spec.layers[0].ffn)};
  const auto experts = std::find_if(spec.layers.begin(), spec.layers.end(),
                                    [](const LayerSpec& layer) { return layer.ffn.has_experts(); });
  if (experts != spec.layers.end() && experts != spec.layers.begin())
    texts.push_back(FeedForwardText(experts->ffn));
  return texts;
}

std::string PositionText(const LayerSpec& layer, const std::vector<RopeSpec>& ropes) {
  const PositionSpec& position = layer.position;
  std::string text = position.window > 0  ? absl::StrCat("a window of ", position.window)
                     : position.chunk > 0 ? absl::StrCat("chunks of ", position.chunk)
                                          : "full attention";
  absl::StrAppend(&text, ", ", PositionSchemeName(position.scheme));
  const int rope = RopeIndexOf(layer, ropes);
  return rope < 0 ? text : absl::StrCat(text, " ", rope);
}

std::string BlockText(const DecoderSpec& spec) {
  constexpr const char* kBlocks[] = {"sequential", "parallel", "parallel with two norms"};
  return absl::StrCat(kBlocks[static_cast<int>(spec.block.kind)],
                      spec.norm.kind == NormKind::kLayer ? ", layer norms" : ", RMS norms",
                      spec.block.pre_norm ? " before" : "",
                      spec.block.pre_norm && spec.block.post_norm ? " and" : "",
                      spec.block.post_norm ? " after" : "", ", epsilon ", spec.norm.epsilon);
}

void AppendSpec(const DecoderSpec& spec, std::string& out) {
  const LayerSpec& first = spec.layers[0];
  absl::StrAppend(
      &out, "spec:\n  architecture ", spec.architecture, "\n  layers ", spec.num_layers(), "\n  hidden size ",
      spec.hidden_size, "\n  heads ", spec.num_heads, ", for keys and values ", spec.num_kv_heads,
      "\n  head dimension ", spec.head_dim, ", of values ", spec.value_dim, "\n  feed-forward size ",
      absl::StrJoin(FeedForwardTexts(spec), "\n  feed-forward size "), "\n  vocabulary ", spec.vocab_size,
      spec.tied_output ? ", output tied to the embedding" : "", "\n  context ", spec.context_length,
      "\n  block ", BlockText(spec),
      first.attention.head_norm.kind != NormKind::kNone ? ", norms of queries and keys" : "",
      "\n  attention scale ", first.attention.scale, first.attention.qkv_bias ? ", with biases" : "", "\n");
  const std::vector<RopeSpec> ropes = spec.Ropes();
  for (size_t i = 0; i < ropes.size(); ++i)
    absl::StrAppend(&out, "  rope ", i, ": ", RopeText(ropes[i]), "\n");
  std::map<std::string, int> kinds;
  for (const LayerSpec& layer : spec.layers) ++kinds[PositionText(layer, ropes)];
  for (const auto& [kind, count] : kinds) absl::StrAppend(&out, "  ", count, " layers with ", kind, "\n");
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
  // The embedding is copied; where it is not the output, too, it is not repacked.
  const absl::StatusOr<WeightTensor> embedding = model.tensors->Find({WeightRole::kTokenEmbedding});
  if (embedding.ok()) repacked += embedding->view.bytes();
  if (!spec.tied_output && embedding.ok()) repacked -= RepackedBytes(embedding->view);
  const kernels::KvLayout kv =
      kernels::MakeKvLayout(kernels::KvType::kBF16, spec.num_kv_heads, spec.head_dim, spec.value_dim);
  const int64_t token = kv.page_bytes * spec.num_layers() / kPageTokens;
  absl::StrAppend(&out, "memory needed:\n  weights ", MegabytesText(repacked), " repacked, beside ",
                  MegabytesText(stored), " of the file, which is mapped until then\n  keys and values ",
                  token, " bytes a token in bf16, ", MegabytesText(token * spec.context_length),
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
    tensors = model->tensors->Stored();
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
