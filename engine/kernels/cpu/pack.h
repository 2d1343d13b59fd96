// Repacks weight matrices into panels (see panel.h). Nothing is rounded: codes, scales and minima are those
// of the file.
#ifndef ROPEWAY_ENGINE_KERNELS_CPU_PACK_H_
#define ROPEWAY_ENGINE_KERNELS_CPU_PACK_H_

#include "engine/kernels/cpu/panel.h"
#include "engine/kernels/packed_matrix.h"

namespace ropeway::kernels {

// Where the planes of a panel begin, and its size.
struct PanelLayout {
  int64_t side = 0, super = 0, bytes = 0;
};
PanelLayout PanelLayoutOf(DType type, int64_t columns);

PackedMatrix PackPanels(const PackRequest& request);

}  // namespace ropeway::kernels

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_PACK_H_
