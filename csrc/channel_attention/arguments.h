// What the kernels of the attention across channels work on.
#pragma once

#include <cstdint>

namespace adair {

// y = A v for each head, A = softmax(temperature cosines); see adair_core/ops/channel_attention/reference.py. With
// `out_weight` the heads are projected too, y = W_o A v + b_o + base, as the attention branch does.
template <class T>
struct ChannelAttention {
  int64_t images, pixels, channels, heads;
  const T* qkv;              // (images, pixels, 3 channels): queries, keys, values
  const float* temperature;  // (heads)
  const float* out_weight;   // (channels, channels), rounded to T, or null
  const float* out_bias;     // (channels) or null, rounded to T
  const T* base;             // (images, pixels, channels) or null
  T* y;                      // (images, pixels, channels); null: only cosines and lengths are wanted
  float* cosines;            // (images, heads, channels / heads, channels / heads): of the angles between q and k
  float* lengths;            // (2, images, heads, channels / heads): of q and k, at least 1e-12
  // On a GPU, forward: from an image's parameter to the next image's; 0: all have the same.
  int64_t temperature_step = 0, out_weight_step = 0, out_bias_step = 0;

  int64_t per_head() const { return channels / heads; }
};

// Gradients, given that of y; null where they are not wanted. `forward` holds all but y.
template <class T>
struct ChannelAttentionBackward {
  ChannelAttention<T> forward;
  const T* gradient;      // (images, pixels, channels)
  T* to_qkv;              // (images, pixels, 3 channels)
  float* to_temperature;  // (heads)
  float* to_out_weight;   // (channels, channels)
};

}  // namespace adair
