// What the kernels of the feed-forward branch work on.
#pragma once

#include <cstdint>

#include "bottleneck/arguments.h"
#include "common/blocks.h"
#include "common/expansion.h"

namespace adair {

// y = W_out [GELU(a) b] (+ x): [a, b] = dw(W_in LN x), gate, 1x1 convolution; see
// adair_core/ops/feed_forward/reference.py. The expansion's two parts are a and b. An epilogue adds to y what it makes
// of the branch, y without x.
template <class T>
struct FeedForward {
  Expansion<T> expansion;
  const float* out_weight;  // (channels, hidden), rounded to T
  const float* out_bias;    // (channels) or null, rounded to T
  bool residual;            // whether x is added
  T* y;                     // (images, height, width, channels)
  T* convolved;             // (images, height, width, 2 hidden): a and b, or null
  Bottleneck<T> epilogue;   // without x; there is one if it has `down`

  int64_t hidden() const { return expansion.part; }
};

// The backward pass: gradients of a loss, given that of y. `forward` holds x, the parameters, a and b; pointers to
// gradients that are not wanted are null.
template <class T>
struct FeedForwardBackward {
  FeedForward<T> forward;
  const T* gradient;  // (images, height, width, channels)
  ExpansionGradients<T> to;
  float* to_out_weight;  // (channels, hidden)
  float* to_out_bias;    // (channels)
};

}  // namespace adair
