// Sequences with random queries, keys and values for tests of attention on a device: the bytes that go there,
// and what must come back.
#ifndef ROPEWAY_TESTS_KERNELS_CUDA_ATTENTION_PROBLEM_H_
#define ROPEWAY_TESTS_KERNELS_CUDA_ATTENTION_PROBLEM_H_

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "engine/kernels/cuda/attention.h"
#include "tests/kernels/modifier_inputs.h"

namespace ropeway::cuda {

struct AttentionCase {
  Element element = Element::kBF16;
  KvElement kv = KvElement::kBF16;
  int kv_heads = 2, group = 2, head_dim = 64, value_dim = 64;
  std::vector<int> lengths = {100};  // of the sequences
  float softcap = 0;
  int window = 0;
  bool alibi = false, sinks = false;
  float spread = 2;      // of the scores
  std::string modifier;  // of MakeModifier; takes the place of the four above
};
std::ostream& operator<<(std::ostream& out, const AttentionCase& c);

// Constant after construction but for the poison. Numbers are what the device finds: rounded to their types.
class AttentionProblem {
 public:
  explicit AttentionProblem(const AttentionCase& c);

  const AttentionCase& shape() const { return case_; }
  int num_heads() const { return case_.kv_heads * case_.group; }
  float scale() const { return scale_; }
  KvPages pages() const;  // without data
  int max_pages() const { return max_pages_; }

  // One column of the key of KV head 0 at a position becomes no number.
  void PoisonKey(int sequence, int position);

  // Likewise of the value.
  void PoisonValue(int sequence, int position);

  // What lies in device memory. Pages are in a shuffled order; whatever no token has is no number.
  std::vector<uint8_t> PageBytes() const;
  std::vector<float> PageScales() const;
  const std::vector<int32_t>& page_tables() const { return page_tables_; }  // [sequences, max_pages]
  const std::vector<float>& slopes() const { return slopes_; }              // [H]
  const std::vector<float>& sinks() const { return sinks_; }                // [H]
  const kernels::ModifierInputs& modifier() const { return modifier_; }
  // Of all heads of one token, as the element type; position -1 is padding. `zone` 1 and 2: as they are
  // turned for keys of the zone before and of older ones.
  std::vector<uint8_t> QueryBytes(int sequence, int position, int zone = 0) const;

  struct Expected {
    std::vector<double> out;  // [Ev]
    double tolerance;
  };
  Expected Attend(int sequence, int position, int head) const;

 private:
  struct Sequence {
    std::vector<float> queries[3];  // [length, H, E], by zone
    std::vector<float> keys;        // [length, G, E]
    std::vector<float> values;      // [length, G, Ev]
  };
  void AddSequence(int length);
  Expected AttendByTheSpecification(int sequence, int position, int head) const;
  double Score(const Sequence& sequence, int position, int head, int key, double* magnitude) const;

  const AttentionCase case_;
  float scale_ = 1;
  int max_pages_ = 0;
  std::vector<Sequence> sequences_;
  std::vector<int32_t> page_tables_;
  std::vector<float> slopes_, sinks_;
  kernels::ModifierInputs modifier_;
  uint32_t random_ = 1;

  float Random();  // [-1, 1)
};

// Numbers of an element type as bytes, and back.
std::vector<uint8_t> ToBytes(Element element, const std::vector<float>& values);
std::vector<float> FromBytes(Element element, const std::vector<uint8_t>& bytes);

}  // namespace ropeway::cuda

#endif  // ROPEWAY_TESTS_KERNELS_CUDA_ATTENTION_PROBLEM_H_
