// The small matrices of the backward pass: from dM = dY v^T to what the gradients of q and k are products with.
#pragma once

#include "channel_attention/matrices.cuh"

namespace adair {

// With a channels a head. dq = diag(1/|q|) (dS diag(1/|k|)) k + f q, and dk likewise: a row is divided by its own
// length after the sum over channels, as float16 would lose bits of dS / (|q| |k|), which is small where there are
// many pixels.
template <class T>
struct AttentionGradients {
  const float* to_matrices;  // dM: (images, channels, channels), or dA: (images, heads, a, a)
  float* attention;          // A: (images, heads, a, a), like the next two
  float* to_cosines;         // dS
  float* temperature_sums;   // (images, heads, a): what a row adds to the gradient of the temperature
  T* to_queries;             // dS diag(1/|k|): (images, heads, a, a)
  T* to_keys;                // dS^T diag(1/|q|)
  float* query_factors;      // (images, channels): -rowsum(dS S) / |q|^2
  float* key_factors;        // -colsum(dS S) / |k|^2
  float* query_scales;       // (images, channels): 1 / |q|
  float* key_scales;         // 1 / |k|
};

// float16 has nothing between 0 and the shortest length: such a row is 0, and its gradient is more than float16 holds.
template <class T>
ADAIR_DEVICE float inverse_length(float length) {
  return kIsHalf<T> && length <= kShortestLength ? 0.0f : 1.0f / length;
}

// A row of dA, of A and of dS by a warp. Blocks: (8 warps).
template <class T>
__global__ void __launch_bounds__(256) attention_gradient_rows(ChannelAttention<T> f, AttentionGradients<T> to) {
  const int64_t index = int64_t(blockIdx.x) * (256 / kWarpSize) + threadIdx.x / kWarpSize, size = f.channels / f.heads;
  if (index >= f.images * f.channels) return;
  const int64_t image = index / f.channels, channel = index % f.channels, head = channel / size;
  const int lane = threadIdx.x % kWarpSize;
  const float temperature = load(f.temperature + head);
  const float* cosines = f.cosines + index * size;
  softmax_of_row(cosines, temperature, size, to.attention + index * size);
  float along_attention = 0.0f;
  for (int64_t i = lane; i < size; i += kWarpSize) {
    float to_attention = 0.0f;
    if (f.out_weight == nullptr) {
      to_attention = load(to.to_matrices + index * size + i);
    } else {
      const float* column = to.to_matrices + image * f.channels * f.channels + head * size + i;
      for (int64_t row = 0; row < f.channels; ++row) {
        const float weight = rounded<T>(load(f.out_weight + row * f.channels + channel));
        to_attention = fmaf(weight, load(column + row * f.channels), to_attention);
      }
    }
    // A lane reads again what it has written.
    store(to.to_cosines + index * size + i, to_attention);
    along_attention += to_attention * load(to.attention + index * size + i);
  }
  along_attention = sum_of_lanes(along_attention, kWarpSize);
  float along_cosines = 0.0f;
  for (int64_t i = lane; i < size; i += kWarpSize) {
    const int64_t at = index * size + i;
    const float to_scaled = load(to.attention + at) * (load(to.to_cosines + at) - along_attention);
    along_cosines += to_scaled * load(cosines + i);
    store(to.to_cosines + at, to_scaled * temperature);
  }
  along_cosines = sum_of_lanes(along_cosines, kWarpSize);
  if (lane != 0) return;
  const float length = load(f.lengths + index);
  store(to.temperature_sums + index, along_cosines);
  // A length that has been clamped is a constant.
  store(to.query_factors + index, length <= kShortestLength ? 0.0f : -temperature * along_cosines / (length * length));
  store(to.query_scales + index, inverse_length<T>(length));
}

// What dq and dk are products with, and the sums of columns of dS S. A thread for each column. Blocks: (columns).
template <class T>
__global__ void __launch_bounds__(64) attention_gradient_columns(ChannelAttention<T> f, AttentionGradients<T> to) {
  const int64_t index = int64_t(blockIdx.x) * 64 + threadIdx.x, size = f.channels / f.heads;
  if (index >= f.images * f.channels) return;
  const int64_t column = index % size, block = index - column;
  const float length = load(f.lengths + f.images * f.channels + index), scale = inverse_length<T>(length);
  float along = 0.0f;
  for (int64_t row = 0; row < size; ++row) {
    const int64_t at = (block + row) * size + column;
    const float to_cosine = load(to.to_cosines + at);
    store(to.to_queries + at, from_float<T>(to_cosine * scale));
    store(to.to_keys + index * size + row, from_float<T>(to_cosine * load(to.query_scales + block + row)));
    along += to_cosine * load(f.cosines + at);
  }
  store(to.key_factors + index, length <= kShortestLength ? 0.0f : -along / (length * length));
  store(to.key_scales + index, scale);
}

// Gradients of the temperature and of the output projection, dM A^T: sums over images. Blocks: (elements).
template <class T>
__global__ void __launch_bounds__(256)
    attention_parameter_gradients(ChannelAttentionBackward<T> b, AttentionGradients<T> to) {
  const ChannelAttention<T>& f = b.forward;
  const int64_t i = int64_t(blockIdx.x) * 256 + threadIdx.x, size = f.channels / f.heads;
  if (b.to_temperature != nullptr && i < f.heads) {
    float sum = 0.0f;
    for (int64_t image = 0; image < f.images; ++image) {
      for (int64_t row = 0; row < size; ++row) sum += load(to.temperature_sums + (image * f.heads + i) * size + row);
    }
    store(b.to_temperature + i, sum);
  }
  if (b.to_out_weight == nullptr || i >= f.channels * f.channels) return;
  const int64_t head = i % f.channels / size;
  float sum = 0.0f;
  for (int64_t image = 0; image < f.images; ++image) {
    const float* to_matrix = to.to_matrices + (image * f.channels + i / f.channels) * f.channels + head * size;
    const float* a = to.attention + (image * f.channels + i % f.channels) * size;
    for (int64_t k = 0; k < size; ++k) sum = fmaf(load(to_matrix + k), load(a + k), sum);
  }
  store(b.to_out_weight + i, sum);
}

}  // namespace adair
