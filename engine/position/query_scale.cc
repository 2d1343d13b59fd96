#include "engine/position/query_scale.h"

#include <cmath>

#include "engine/position/portable_math.h"

namespace ropeway {

double QueryFactor(const QueryScale& scale, int32_t position) {
  const double n = static_cast<double>(position) + 1;
  if (const auto* temperature = std::get_if<TemperatureScale>(&scale))
    return 1 + temperature->attention_scale *
                   Logarithm(std::floor((n - 1 + temperature->first) / temperature->floor_scale) + 1);
  if (const auto* logn = std::get_if<LognScale>(&scale))
    return n > logn->train_length ? Logarithm(n) / Logarithm(logn->train_length) : 1;
  return 1;
}

}  // namespace ropeway
