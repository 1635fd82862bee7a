// What the kernels of the layer norm work on.
#pragma once

#include <cstdint>

namespace adair {

// Layer norm over the channels of images; see adair_core/ops/layer_norm2d/reference.py. T is float or bfloat16 (or
// half on a GPU); images are (images, pixels, channels) if `channels_last`, else (images, channels, pixels).
template <class T>
struct LayerNorm2d {
  int64_t images, pixels, channels;
  bool channels_last;
  const T* x;
  const float* weight;  // (channels)
  const float* bias;    // (channels), or null: the bias-free kind
  float eps;
  T* y;
  float* mean;  // (images, pixels)
  float* rstd;  // (images, pixels)
};

template <class T>
struct LayerNorm2dBackward {
  int64_t images, pixels, channels;
  bool channels_last;
  const T* gradient;
  const T* x;
  const float* weight;
  const float* mean;
  const float* rstd;
  bool bias_free;
  T* to_x;
  float* to_weight;  // (channels) or null
  float* to_bias;    // (channels) or null
};

}  // namespace adair
