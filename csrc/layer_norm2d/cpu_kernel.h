// The layer norm of images in both layouts. Included once for each instruction set.

#include "common/vector.h"
#include "layer_norm2d/channels_last.h"
#include "layer_norm2d/channels_first.h"

template <class T>
void layer_norm2d_kernel(const LayerNorm2d<T>& f, const Parallel& parallel) {
  if (f.channels_last) {
    normalise_pixels(f, parallel);
  } else {
    normalise_planes(f, parallel);
  }
}

template <class T>
void layer_norm2d_backward_kernel(const LayerNorm2dBackward<T>& f, const Parallel& parallel) {
  if (f.channels_last) {
    differentiate_pixels(f, parallel);
  } else {
    differentiate_planes(f, parallel);
  }
}
