// Depthwise convolution and gate in both layouts. Included once for each instruction set.

#include "common/vector.h"
#include "common/rows.h"
#include "common/parts.h"
#include "common/gelu.h"
#include "common/gemm.h"
#include "common/products.h"
#include "common/depthwise.h"
#include "common/pixel_ring.h"
#include "common/plane_ring.h"
#include "common/gate.h"
#include "depthwise_gate/channels_last.h"
#include "depthwise_gate/channels_first.h"

template <class T>
void depthwise_gate_kernel(const DepthwiseGate<T>& f, const Parallel& parallel) {
  if (f.channels_last) {
    gate_pixels(f, parallel);
  } else {
    gate_planes(f, parallel);
  }
}

template <class T>
void depthwise_gate_backward_kernel(const DepthwiseGateBackward<T>& f, const Parallel& parallel) {
  if (f.channels_last) {
    differentiate_pixels(f, parallel);
  } else {
    differentiate_planes(f, parallel);
  }
}
