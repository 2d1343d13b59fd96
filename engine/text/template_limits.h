// What a chat template may use up. Templates come with model files and variables with requests, and neither
// is trusted: each limit ends a hostile pair early with an error that names it.
#ifndef ROPEWAY_ENGINE_TEXT_TEMPLATE_LIMITS_H_
#define ROPEWAY_ENGINE_TEXT_TEMPLATE_LIMITS_H_

#include <cstdint>

namespace ropeway {

struct TemplateLimits {
  int64_t max_source_bytes = 1 << 20;
  // Statements and expressions evaluated, and the loops inside filters and methods in proportion. Real
  // templates take 30 to 500 for each message.
  int64_t max_steps = 5'000'000;
  // Of nesting in the template's source and in values: expressions in brackets, blocks in blocks, lists in
  // lists.
  int max_depth = 200;
  // Of nested evaluation, which macros that call themselves make deeper than the source; one level of such
  // recursion takes about six.
  int max_evaluation_depth = 1000;
  int64_t max_output_bytes = 16 << 20;
  // Bytes of all strings, lists and objects that one rendering makes, whether it drops them again or not.
  int64_t max_allocated_bytes = 256 << 20;
};

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_TEXT_TEMPLATE_LIMITS_H_
