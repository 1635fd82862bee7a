// What the branches of a transformer block begin with, and the arguments of its kernels.
#pragma once

#include <cstdint>

namespace adair {

// z = dw(W LN x): layer norm, 1x1 convolution to more channels, depthwise 3x3 convolution with zero padding. T is float
// or bfloat16 (or half on a GPU); parameters are float32, and those of the convolutions are rounded to T.
template <class T>
struct Expansion {
  int64_t images, height, width, channels;
  int64_t parts, part;       // z has `parts` parts of `part` channels
  const T* x;                // (images, height, width, channels)
  const float* norm_weight;  // (channels)
  const float* norm_bias;    // (channels), or null: the bias-free kind
  float eps;
  const float* weight;          // (parts part, channels)
  const float* bias;            // (parts part) or null
  const float* depthwise;       // (parts part, 3, 3)
  const float* depthwise_bias;  // (parts part) or null

  int64_t pixels() const { return height * width; }
  int64_t pixel(int64_t image, int64_t y, int64_t x) const { return (image * height + y) * width + x; }
};

// Gradients with respect to x and the parameters; null where they are not wanted.
template <class T>
struct ExpansionGradients {
  T* x;
  float *norm_weight, *norm_bias, *weight, *bias, *depthwise, *depthwise_bias;

  bool any() const {
    return x != nullptr || norm_weight != nullptr || norm_bias != nullptr || weight != nullptr || bias != nullptr ||
           depthwise != nullptr || depthwise_bias != nullptr;
  }
};

}  // namespace adair
