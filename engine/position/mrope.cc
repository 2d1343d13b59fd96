#include "engine/position/mrope.h"

#include <cstddef>

#include "engine/position/portable_math.h"

namespace ropeway {

std::vector<int> MRopeAxes(const std::array<int, 3>& sections, bool interleaved) {
  std::vector<int> axes;
  const int pairs = sections[0] + sections[1] + sections[2];
  for (int pair = 0; pair < pairs; ++pair) {
    const int turn = pair % 3;
    if (interleaved)
      axes.push_back(turn != 0 && pair < 3 * sections[turn] ? turn : 0);
    else
      axes.push_back(pair < sections[0] ? 0 : pair < sections[0] + sections[1] ? 1 : 2);
  }
  return axes;
}

void MRopeAngles(const Rotation& rotation, const std::vector<int>& axes,
                 const std::array<int32_t, 3>& position, float* cosines, float* sines) {
  for (size_t i = 0; i < rotation.frequencies.size(); ++i) {
    const SineCosine turned = SineCosineOf(position[axes[i]] * rotation.frequencies[i]);
    cosines[i] = static_cast<float>(turned.cosine * rotation.attention_factor);
    sines[i] = static_cast<float>(turned.sine * rotation.attention_factor);
  }
}

}  // namespace ropeway
