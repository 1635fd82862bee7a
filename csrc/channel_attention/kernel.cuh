// Attention across channels on a GPU; equations in adair_core/ops/channel_attention/reference.py.
//
// Queries and keys are read once, for q k^T and the squares of their lengths, and values once, for y: 2 U and 1 U of U
// = images pixels channels values, and y is written, 1 U, with one more if there is a base. What lies between is small:
// the sums, for each part of an image; the attention A of each head; and, with an output projection, W_o A, so that
// neither A v nor normalised queries and keys exist.
#pragma once

#include "channel_attention/matrices.cuh"
#include "cuda/pixel_products.cuh"

namespace adair {

// q k^T and the squares of the lengths of q and k, in parts.
template <class T, class Device>
Gram<T> launch_attention_gram(Device& device, const ChannelAttention<T>& f) {
  const int64_t size = f.per_head(), parts = attention_parts(f.pixels, f.heads);
  const int64_t count = f.images * parts * f.channels;
  Gram<T> gram{f.images, f.pixels, size, size, parts, f.qkv, f.qkv + f.channels};
  gram.groups = f.heads;
  gram.a_stride = gram.b_stride = 3 * f.channels;
  gram.sums = device.template workspace<float>(count * size);
  gram.row_squares = device.template workspace<float>(count);
  gram.column_squares = device.template workspace<float>(count);
  size <= 16 ? launch_gram<16>(device, gram) : launch_gram<48>(device, gram);
  return gram;
}

template <class T, class Device>
void launch_channel_attention(Device& device, const ChannelAttention<T>& f) {
  const Gram<T> gram = launch_attention_gram(device, f);
  float* attention = device.template workspace<float>(f.images * f.channels * f.per_head());
  device.launch("attention_rows", attention_rows<T>, Blocks{f.images * f.channels}, kSumThreads, f, gram, attention);
  const T* matrices = launch_mixing_matrices<false>(device, f, attention);
  const int64_t groups = f.out_weight == nullptr ? f.heads : 1, size = f.channels / groups;
  PixelProducts<T> product{f.images, f.pixels, size,       size, groups, f.qkv + 2 * f.channels, 3 * f.channels,
                           matrices, f.y,      f.channels};
  product.base = f.base;
  product.base_stride = f.base == nullptr ? 0 : f.channels;
  product.bias = f.out_bias;
  product.bias_each = f.out_bias_step != 0;
  launch_product_of_pixels(device, product);
}

}  // namespace adair
