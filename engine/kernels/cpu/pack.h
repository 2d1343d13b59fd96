// Repacks weight matrices into panels (see panel.h). Nothing is rounded: codes, scales and minima are those
// of the file.
#ifndef ROPEWAY_ENGINE_KERNELS_CPU_PACK_H_
#define ROPEWAY_ENGINE_KERNELS_CPU_PACK_H_

#include <cstdint>

#include "engine/kernels/cpu/panel.h"
#include "engine/kernels/packed_matrix.h"

namespace ropeway::kernels {

// What packing gives, without memory for it: `data` is empty.
PackedMatrix PlanPanels(const PackRequest& request);

PackedMatrix PackPanels(const PackRequest& request);

// Zeroed memory where the request wants it.
AlignedBuffer BufferFor(const PackRequest& request, int64_t bytes);

// Where files keep panels, they keep this number: whoever changes what PackPanels writes raises it.
inline constexpr uint32_t kPanelsVersion = 2;

constexpr int64_t PackedBytes(const PackedMatrix& plan) { return plan.num_panels * plan.panel_bytes; }

}  // namespace ropeway::kernels

#endif  // ROPEWAY_ENGINE_KERNELS_CPU_PACK_H_
