// What the kernels of the attention branch work on.
#pragma once

#include <cstdint>

#include "bottleneck/arguments.h"
#include "common/blocks.h"
#include "common/expansion.h"

namespace adair {

// y = MDTA(LN x) (+ x): queries, keys and values [q, k, v] = dw(W LN x), attention across the channels of each head,
// 1x1 convolution; see adair_core/ops/attention_branch/reference.py. The expansion's parts are the heads of q, then
// those of k, then those of v. An epilogue adds to y what it makes of the branch, y without x.
template <class T>
struct AttentionBranch {
  Expansion<T> expansion;
  const float* temperature;  // (heads)
  const float* out_weight;   // (channels, channels), rounded to T
  const float* out_bias;     // (channels) or null, rounded to T
  bool residual;             // whether x is added
  T* y;                      // (images, height, width, channels)
  T* kept;                   // (images, height, width, 3 channels): q, k, v; or (..., channels): only v
  bool keep;                 // whether q and k are kept too
  float* cosines;            // (images, heads, channels / heads, channels / heads): of the angles between q and k
  float* lengths;            // (2, images, heads, channels / heads): of q and k, at least 1e-12
  Bottleneck<T> epilogue;    // without x; there is one if it has `down`

  int64_t heads() const { return expansion.parts / 3; }
  int64_t kept_channels() const { return (keep ? 3 : 1) * expansion.channels; }
  // The values of a pixel.
  const T* values(int64_t pixel) const { return kept + (pixel + 1) * kept_channels() - expansion.channels; }
};

// The backward pass: gradients of a loss, given that of y. `forward` holds x, the parameters, q, k, v, cosines and
// lengths; pointers to gradients that are not wanted are null.
template <class T>
struct AttentionBranchBackward {
  AttentionBranch<T> forward;
  const T* gradient;  // (images, height, width, channels)
  ExpansionGradients<T> to;
  float* to_temperature;  // (heads)
  float* to_out_weight;   // (channels, channels)
  float* to_out_bias;     // (channels)
};

}  // namespace adair
