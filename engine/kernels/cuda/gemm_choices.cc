#include "engine/kernels/cuda/gemm_choices.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>
#include <utility>

namespace ropeway::cuda {
namespace {

constexpr char kFirstLine[] = "ropeway gemm choices 1";

bool ReadElement(std::istream& in, Element* element) {
  int number = -1;
  in >> number;
  *element = static_cast<Element>(number);
  return number >= 0 && number <= static_cast<int>(Element::kBF16);
}

// A line, from its first character to its last.
bool ReadChoice(const std::string& line, ChoiceKey* key, AlgorithmName* name) {
  std::istringstream in(line);
  in >> key->outputs >> key->columns >> key->y_stride >> key->tokens;
  if (!ReadElement(in, &key->element) || !ReadElement(in, &key->out)) return false;
  in >> name->id >> name->tile >> name->stages >> name->inner_shape >> name->cluster_shape >> name->swizzle >>
      name->custom;
  return !in.fail() && in.peek() == std::istringstream::traits_type::eof();
}

std::string LineOf(const ChoiceKey& key, const AlgorithmName& name) {
  std::ostringstream out;
  out << key.outputs << ' ' << key.columns << ' ' << key.y_stride << ' ' << key.tokens << ' '
      << static_cast<int>(key.element) << ' ' << static_cast<int>(key.out) << ' ' << name.id << ' '
      << name.tile << ' ' << name.stages << ' ' << name.inner_shape << ' ' << name.cluster_shape << ' '
      << name.swizzle << ' ' << name.custom << '\n';
  return out.str();
}

bool WriteAll(int file, const std::string& text) {
  size_t written = 0;
  while (written < text.size()) {
    const ssize_t count = write(file, text.data() + written, text.size() - written);
    if (count <= 0) return false;
    written += static_cast<size_t>(count);
  }
  return true;
}

}  // namespace

std::string ToString(const AlgorithmName& name) {
  std::string text = "algorithm " + std::to_string(name.id);
  const auto add = [&](const char* what, int32_t value) {
    if (value != 0) text += std::string(", ") + what + ' ' + std::to_string(value);
  };
  add("tile", name.tile);
  add("stages", name.stages);
  add("inner shape", name.inner_shape);
  add("cluster", name.cluster_shape);
  add("swizzle", name.swizzle);
  add("option", name.custom);
  return text;
}

std::string ToString(const ChoicesIdentity& identity) {
  return identity.device + ", driver " + identity.driver + ", CUDA " + std::to_string(identity.cuda) +
         ", cuBLASLt " + std::to_string(identity.library);
}

// The first word that is numbers with dots: "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.82.07  Wed Aug ...".
std::string DriverVersion(const std::string& path) {
  std::ifstream file(path);
  std::string line, word;
  std::getline(file, line);
  std::istringstream words(line);
  while (words >> word) {
    const bool dotted = word.find('.') != std::string::npos;
    if (dotted && word.find_first_not_of("0123456789.") == std::string::npos) return word;
  }
  return "unknown";
}

GemmChoices::GemmChoices(std::string path, std::string identity)
    : path_(std::move(path)), identity_(std::move(identity)) {
  if (path_.empty()) return;
  trouble_ = Read();
  if (!trouble_.empty()) choices_.clear();
}

std::string GemmChoices::Read() {
  constexpr char kDamaged[] = "it is damaged, or of another version";
  std::error_code error;
  if (!std::filesystem::exists(path_, error) && !error) return "";
  if (!std::filesystem::is_regular_file(path_, error)) return "it is no file that can be read";
  const auto bytes = std::filesystem::file_size(path_, error);
  if (error || bytes > static_cast<uintmax_t>(kMaxFileBytes)) return kDamaged;
  std::ifstream file(path_);
  if (!file.is_open()) return "it is no file that can be read";
  std::string line;
  if (!std::getline(file, line) || line != kFirstLine) return kDamaged;
  if (!std::getline(file, line)) return kDamaged;
  if (line != identity_) return "it is of another device, driver or library than " + identity_;
  while (std::getline(file, line)) {
    ChoiceKey key;
    AlgorithmName name;
    if (!ReadChoice(line, &key, &name)) return kDamaged;
    choices_[key] = name;
  }
  return file.eof() ? "" : kDamaged;
}

std::optional<AlgorithmName> GemmChoices::Find(const ChoiceKey& key) const {
  const auto found = choices_.find(key);
  if (found == choices_.end()) return std::nullopt;
  return found->second;
}

void GemmChoices::Insert(const ChoiceKey& key, const AlgorithmName& name) {
  const auto [place, fresh] = choices_.try_emplace(key, name);
  if (!fresh && place->second == name) return;
  place->second = name;
  changed_ = true;
}

bool GemmChoices::Save() {
  if (path_.empty() || !changed_) return true;
  std::string text = std::string(kFirstLine) + '\n' + identity_ + '\n';
  for (const auto& [key, name] : choices_) text += LineOf(key, name);
  std::string fresh = path_ + ".XXXXXX";
  const int file = mkstemp(fresh.data());
  if (file < 0) return false;
  const bool written = WriteAll(file, text);
  const bool saved = close(file) == 0 && written && std::rename(fresh.c_str(), path_.c_str()) == 0;
  if (!saved) std::remove(fresh.c_str());
  changed_ = !saved;
  return saved;
}

}  // namespace ropeway::cuda
