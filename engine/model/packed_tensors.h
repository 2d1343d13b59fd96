// The matrices of a model as 8-bit numbers, packed as they are read.
//
// Thread-safe: const after it was made.
#ifndef ROPEWAY_ENGINE_MODEL_PACKED_TENSORS_H_
#define ROPEWAY_ENGINE_MODEL_PACKED_TENSORS_H_

#include <memory>

#include "engine/model/decoder_spec.h"
#include "engine/model/tensor_source.h"

namespace ropeway {

// `source` with those of its matrices that are f32, f16 or bf16 and have whole blocks of 32 columns as Q8_0: the
// bytes that converters write into a file of that type. Vectors, tables of positions and matrices that are packed
// already stay as they are.
std::unique_ptr<TensorSource> PackTo8Bits(std::unique_ptr<TensorSource> source, const DecoderSpec& spec);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_MODEL_PACKED_TENSORS_H_
