// What the kernels of the depthwise convolution work on.
#pragma once

#include <cstdint>

namespace adair {

// y = a depthwise 3x3 convolution of x with zero padding. T is float or bfloat16 (or half on a GPU); weight and bias
// are float32 and are rounded to T. Images are (images, height, width, channels) if `channels_last`, else
// (images, channels, height, width).
template <class T>
struct Depthwise {
  int64_t images, height, width, channels;
  bool channels_last;
  const T* x;
  const float* weight;  // (channels, 9)
  const float* bias;    // (channels) or null
  bool flipped;         // taps in the opposite order: the gradient of the input from that of the output
  T* y;
  // On a GPU: from an image's weight, and bias, to the next image's; 0: all have the same.
  int64_t weight_step = 0, bias_step = 0;
};

// Gradients of the parameters.
template <class T>
struct DepthwiseGradients {
  int64_t images, height, width, channels;
  bool channels_last;
  const T* gradient;  // of the output
  const T* x;         // null unless `to_weight` is wanted
  float* to_weight;   // (channels, 9) or null
  float* to_bias;     // (channels) or null
};

}  // namespace adair
