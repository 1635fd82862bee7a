// What the kernels of the feed-forward branch work on.
#pragma once

#include <cstdint>

#include "common/blocks.h"

namespace adair {

// y = GDFN(LN x) (+ x): layer norm, 1x1 convolution to 2h channels, depthwise 3x3 convolution, GELU gate, 1x1
// convolution back; see adair_core/ops/feed_forward/reference.py. T is float or bfloat16; parameters are float32, and
// those of the convolutions are rounded to T.
template <class T>
struct FeedForward {
  int64_t images, height, width, channels, hidden;
  const T* x;                // (images, height, width, channels)
  const float* norm_weight;  // (channels)
  const float* norm_bias;    // (channels), or null: the bias-free kind
  float eps;
  const float* in_weight;    // (2 hidden, channels)
  const float* in_bias;      // (2 hidden) or null
  const float* depthwise;    // (2 hidden, 3, 3)
  const float* depthwise_bias;
  const float* out_weight;   // (channels, hidden)
  const float* out_bias;     // (channels) or null
  bool residual;             // whether x is added
  T* y;                      // (images, height, width, channels)
  T* convolved;              // (images, height, width, 2 hidden): the depthwise convolution's output, or null
};

// The backward pass: gradients of a loss, given that of y. `forward` holds x, the parameters and the convolution's
// output; pointers to gradients that are not wanted are null.
template <class T>
struct FeedForwardBackward {
  FeedForward<T> forward;
  const T* gradient;       // (images, height, width, channels)
  T* to_x;                 // (images, height, width, channels)
  float* to_norm_weight;   // (channels)
  float* to_norm_bias;     // (channels)
  float* to_in_weight;     // (2 hidden, channels)
  float* to_in_bias;       // (2 hidden)
  float* to_depthwise;     // (2 hidden, 3, 3)
  float* to_depthwise_bias;  // (2 hidden)
  float* to_out_weight;    // (channels, hidden)
  float* to_out_bias;      // (channels)
};

}  // namespace adair
