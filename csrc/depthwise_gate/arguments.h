// What the kernels of the depthwise gate work on.
#pragma once

#include <cstdint>

namespace adair {

// y = GELU(a) b with [a, b] a depthwise 3x3 convolution of x; see adair_core/ops/depthwise_gate/reference.py. T is
// float or bfloat16 (or half on a GPU); weight and bias are float32 and are rounded to T. Images are (images, height,
// width, channels) if `channels_last`, else (images, channels, height, width); x and `convolved` have 2 hidden
// channels.
template <class T>
struct DepthwiseGate {
  int64_t images, height, width, hidden;
  bool channels_last;
  const T* x;
  const float* weight;  // (2 hidden, 9)
  const float* bias;    // (2 hidden) or null
  T* y;
  T* convolved;  // [a, b], or null
  // On a GPU: from an image's weight, and bias, to the next image's; 0: all have the same.
  int64_t weight_step = 0, bias_step = 0;
};

template <class T>
struct DepthwiseGateBackward {
  int64_t images, height, width, hidden;
  bool channels_last;
  const T* gradient;
  const T* convolved;
  const T* x;  // null unless `to_weight` is wanted
  const float* weight;
  T* to_x;           // or null, like the next two
  float* to_weight;  // (2 hidden, 9)
  float* to_bias;    // (2 hidden)
};

}  // namespace adair
