// Which files a model lies in, without opening them.
#ifndef ROPEWAY_ENGINE_MODEL_WEIGHT_FILES_H_
#define ROPEWAY_ENGINE_MODEL_WEIGHT_FILES_H_

#include <string>
#include <vector>

namespace ropeway {

// Paths of the files whose weights OpenModel maps: the GGUF file with those that its name says lie beside it, or those
// of a Hugging Face folder. None where the folder has none, or its index is wrong, which OpenModel tells.
std::vector<std::string> WeightFilesOf(const std::string& model);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_WEIGHT_FILES_H_
