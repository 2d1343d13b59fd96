// M-RoPE (Qwen2-VL, arXiv:2409.12191): rotary positions in time, height and width. Each pair of a head
// follows one of the three; text has all three equal, and then this is plain rotary.
//
// sections: pairs that follow time, height and width, rotary_dim / 2 together.
//   contiguous   time first, then height, then width (Qwen2-VL, Qwen2.5-VL)
//   interleaved  pair p follows height where p % 3 == 1 and p < 3 sections[1], width where p % 3 == 2 and
//                p < 3 sections[2], else time (Qwen3-VL)
//
// Pure; thread-safe.
#ifndef ROPEWAY_ENGINE_POSITION_MROPE_H_
#define ROPEWAY_ENGINE_POSITION_MROPE_H_

#include <array>
#include <cstdint>
#include <vector>

#include "engine/position/rope.h"

namespace ropeway {

// 0 (time), 1 (height) or 2 (width) of every pair.
std::vector<int> MRopeAxes(const std::array<int, 3>& sections, bool interleaved);

// As RopeAngles, each pair by the position of its axis. axes: one entry for each frequency
void MRopeAngles(const Rotation& rotation, const std::vector<int>& axes,
                 const std::array<int32_t, 3>& position, float* cosines, float* sines);

}  // namespace ropeway

#endif  // ROPEWAY_ENGINE_POSITION_MROPE_H_
