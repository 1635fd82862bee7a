// The backward pass of the attention across channels on a GPU; equations in
// adair_core/ops/channel_attention/reference.py.
//
// With U = images pixels channels: dM = dY v^T reads 2 U; dq, of k and q, and dk, of q and k, read 2 U and write 1 U
// each; dv = (W_o A)^T dY reads and writes 1 U. Queries and keys are never normalised.
#pragma once

#include "channel_attention/gradient_matrices.cuh"
#include "cuda/pixel_products.cuh"

namespace adair {

// dM, summed over the parts.
template <class T, class Device>
float* launch_gradient_gram(Device& device, const ChannelAttentionBackward<T>& b) {
  const ChannelAttention<T>& f = b.forward;
  const int64_t groups = f.out_weight == nullptr ? f.heads : 1, size = f.channels / groups;
  const int64_t parts = attention_parts(f.pixels, groups), count = f.channels * size;
  Gram<T> gram{f.images, f.pixels, size, size, parts, b.gradient, f.qkv + 2 * f.channels};
  gram.groups = groups;
  gram.a_stride = f.channels;
  gram.b_stride = 3 * f.channels;
  gram.sums = device.template workspace<float>(f.images * parts * count);
  size <= 16 ? launch_gram<16>(device, gram) : launch_gram<48>(device, gram);
  float* sums = device.template workspace<float>(f.images * count);
  launch_sum_of_parts(device, gram.sums, count, parts, sums, f.images);
  return sums;
}

template <class T, class Device>
void launch_channel_attention_backward(Device& device, const ChannelAttentionBackward<T>& b) {
  const ChannelAttention<T>& f = b.forward;
  const int64_t size = f.per_head(), count = f.images * f.channels * size;
  const int64_t value_groups = f.out_weight == nullptr ? f.heads : 1, value_size = f.channels / value_groups;
  AttentionGradients<T> to{};
  to.to_matrices = launch_gradient_gram(device, b);
  to.attention = device.template workspace<float>(count);
  to.to_cosines = device.template workspace<float>(count);
  to.temperature_sums = device.template workspace<float>(f.images * f.channels);
  to.query_factors = device.template workspace<float>(f.images * f.channels);
  to.key_factors = device.template workspace<float>(f.images * f.channels);
  to.query_scales = device.template workspace<float>(f.images * f.channels);
  to.key_scales = device.template workspace<float>(f.images * f.channels);
  device.launch("attention_gradient_rows", attention_gradient_rows<T>, Blocks{divided_up(f.images * f.channels, 8)},
                256, f, to);
  if (b.to_temperature != nullptr || b.to_out_weight != nullptr) {
    device.launch("attention_parameter_gradients", attention_parameter_gradients<T>,
                  Blocks{divided_up(f.channels * f.channels, 256)}, 256, b, to);
  }
  if (b.to_qkv == nullptr) return;
  to.to_queries = device.template workspace<T>(count);
  to.to_keys = device.template workspace<T>(count);
  device.launch("attention_gradient_columns", attention_gradient_columns<T>,
                Blocks{divided_up(f.images * f.channels, 64)}, 64, f, to);
  const T* to_values = launch_mixing_matrices<true>(device, f, to.attention);

  const int64_t channels = f.channels, wide = 3 * channels;
  const T *q = f.qkv, *k = f.qkv + channels;
  PixelProducts<T> product{f.images, f.pixels, size, size, f.heads, k, wide, to.to_queries, b.to_qkv, wide};
  product.base = q;
  product.base_stride = wide;
  product.factors = to.query_factors;
  product.scales = to.query_scales;
  launch_product_of_pixels(device, product);
  product.x = q;
  product.matrices = to.to_keys;
  product.y = b.to_qkv + channels;
  product.base = k;
  product.factors = to.key_factors;
  product.scales = to.key_scales;
  launch_product_of_pixels(device, product);
  launch_product_of_pixels(device, PixelProducts<T>{f.images, f.pixels, value_size, value_size, value_groups,
                                                    b.gradient, channels, to_values, b.to_qkv + 2 * channels, wide});
}

}  // namespace adair
