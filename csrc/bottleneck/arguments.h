// What the kernels of the bottleneck adapter work on.
#pragma once

#include <cstdint>

namespace adair {

// y = up(GELU(dw(down(x) (+ injected)))) (+ base) (+ x) with the scale folded into up and its bias; see
// adair_core/ops/bottleneck/reference.py. There is a stack of adapters, and each image uses one. T is float or
// bfloat16 (or half on a GPU); parameters are float32 and are rounded to T, the last two when they have been scaled.
template <class T>
struct Bottleneck {
  int64_t images, height, width, channels, rank, adapters;
  const T* x;                   // (images, height, width, channels)
  const int64_t* index;         // (images): the adapter of each, -1 for none; or null: all use the first
  const float* down;            // (adapters, rank, channels)
  const float* down_bias;       // (adapters, rank) or null
  const float* depthwise;       // (adapters, rank, 9)
  const float* depthwise_bias;  // (adapters, rank) or null
  const float* up;              // (adapters, channels, rank)
  const float* up_bias;         // (adapters, channels) or null
  const float* scale;           // (adapters)
  const T* injected;            // (images, height, width, rank) or null
  const T* base;                // (images, height, width, channels): what the result is added to, or null
  bool residual;                // whether x is added to it, too
  T* y;                         // (images, height, width, channels)

  int64_t adapter(int64_t image) const { return index == nullptr ? 0 : index[image]; }
};

// Gradients; those of biases are null where there is no bias. `to_up` and `to_up_bias` are of what is scaled.
// Parameters get zeros where no image uses an adapter.
template <class T>
struct BottleneckBackward {
  Bottleneck<T> forward;  // without y
  const T* gradient;
  T* to_x;  // or null
  float *to_down, *to_down_bias, *to_depthwise, *to_depthwise_bias, *to_up, *to_up_bias;
};

}  // namespace adair
