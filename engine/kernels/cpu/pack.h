// Repacks weight matrices into panels (see panel.h). Nothing is rounded: a type without a kernel of its own
// becomes one that holds its values exactly, or floats.
#ifndef ROPEWAY_ENGINE_KERNELS_CPU_PACK_H_
#define ROPEWAY_ENGINE_KERNELS_CPU_PACK_H_

#include "engine/kernels/cpu/panel.h"
#include "engine/kernels/packed_matrix.h"

namespace ropeway::kernels {

// The format that holds weights of `type`.
PanelFormat PanelFormatOf(DType type);

// Where the planes of a panel begin, and its size.
struct PanelLayout {
  int64_t side = 0, super = 0, bytes = 0;
};
PanelLayout PanelLayoutOf(PanelFormat format, int64_t columns);

PackedMatrix PackPanels(const PackRequest& request);

}  // namespace ropeway::kernels

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_PACK_H_
