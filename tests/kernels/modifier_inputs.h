// Score modifiers of every kind with random tables, for tests of attention on any kernel set.
#ifndef ROPEWAY_TESTS_KERNELS_MODIFIER_INPUTS_H_
#define ROPEWAY_TESTS_KERNELS_MODIFIER_INPUTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "engine/kernels/modifier_tables.h"

namespace ropeway::kernels {

struct ModifierShape {
  int num_heads = 0, head_dim = 0, value_dim = 0;
  int length = 0;  // positions
};

// A modifier, the tables it points to, and how its tests may judge results.
struct ModifierInputs : ModifierTables {
  // By how much an error of a product q . k grows on its way to a score, and how large biases are.
  double growth = 1, magnitude = 0;
};

// Names of what MakeModifier makes; parts joined by '+' may be combined.
std::vector<std::string> ModifierNames();

// The modifier called `name`, which may join parts: "alibi+sinks".
ModifierInputs MakeModifier(const std::string& name, const ModifierShape& shape);

}  // namespace ropeway::kernels

#endif  // ROPEWAY_TESTS_KERNELS_MODIFIER_INPUTS_H_
