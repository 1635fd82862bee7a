// Depthwise convolution in both layouts. Included once for each instruction set.

#include "common/vector.h"
#include "common/rows.h"
#include "common/parts.h"
#include "common/gemm.h"
#include "common/products.h"
#include "common/depthwise.h"
#include "common/pixel_ring.h"
#include "common/plane_ring.h"
#include "depthwise/channels_last.h"
#include "depthwise/channels_first.h"

template <class T>
void depthwise_kernel(const Depthwise<T>& f, const Parallel& parallel) {
  if (f.channels_last) {
    convolve_images(f, parallel);
  } else {
    convolve_planes(f, parallel);
  }
}

template <class T>
void depthwise_gradients_kernel(const DepthwiseGradients<T>& f, const Parallel& parallel) {
  if (f.channels_last) {
    sum_tap_gradients_of_images(f, parallel);
  } else {
    sum_tap_gradients_of_planes(f, parallel);
  }
}
