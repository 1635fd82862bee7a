// From sums over pixels to the matrix that mixes an image's channels: cosines, softmax, output projection.
#pragma once

#include "channel_attention/arguments.h"
#include "cuda/gram.cuh"

namespace adair {

constexpr float kShortestLength = 1e-12f;

// Parts of an image's pixels: many enough to occupy a GPU when there are few heads, and the same for each image
// whatever else is in the batch.
inline int64_t attention_parts(int64_t pixels, int64_t heads) {
  const int64_t wanted = divided_up(pixels, 256), most = 256 / heads > 8 ? 256 / heads : 8;
  return wanted < most ? wanted : most;
}

ADAIR_DEVICE float max_of_lanes(float value) {
  for (int distance = kWarpSize / 2; distance > 0; distance /= 2) {
    value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, distance));
  }
  return value;
}

// attention = softmax(temperature cosines) of a row, by the lanes of a warp.
ADAIR_DEVICE void softmax_of_row(const float* cosines, float temperature, int64_t count, float* attention) {
  const int lane = threadIdx.x % kWarpSize;
  float largest = -INFINITY, sum = 0.0f;
  for (int64_t i = lane; i < count; i += kWarpSize) largest = fmaxf(largest, temperature * load(cosines + i));
  largest = max_of_lanes(largest);
  for (int64_t i = lane; i < count; i += kWarpSize) sum += expf(temperature * load(cosines + i) - largest);
  sum = sum_of_lanes(sum, kWarpSize);
  for (int64_t i = lane; i < count; i += kWarpSize) {
    store(attention + i, expf(temperature * load(cosines + i) - largest) / sum);
  }
}

ADAIR_DEVICE float length_of(float square) {
  const float length = sqrtf(square);
  return length < kShortestLength ? kShortestLength : length;  // NaN stays
}

// Adds the parts of a row of q k^T up. Blocks: (images heads rows).
template <class T>
__global__ void __launch_bounds__(kSumThreads) attention_rows(ChannelAttention<T> f, Gram<T> gram, float* attention) {
  PartSums& shared = block_shared<PartSums>();
  const int64_t size = gram.rows, row = blockIdx.x % size, head = blockIdx.x / size % f.heads;
  const int64_t image = blockIdx.x / size / f.heads, place = image * gram.parts * f.heads + head;
  const int64_t stride = f.heads * size, at = image * stride + head * size;
  const int column = threadIdx.x % kSumColumns;
  const bool is_first = threadIdx.x < kSumColumns;
  const float q = length_of(sum_over_parts(shared, gram.row_squares + place * size + row, stride, gram.parts));
  if (threadIdx.x == 0) store(f.lengths + at + row, q);
  for (int64_t first = 0; first < size; first += kSumColumns) {
    const int64_t i = first + column;
    const float* squares = i < size ? gram.column_squares + place * size + i : nullptr;
    const float* products = i < size ? gram.sums + (place * size + row) * size + i : nullptr;
    const float k = length_of(sum_over_parts(shared, squares, stride, gram.parts));
    const float product = sum_over_parts(shared, products, stride * size, gram.parts);
    if (!is_first || i >= size) continue;
    store(f.cosines + (at + row) * size + i, product / (q * k));
    if (row == 0) store(f.lengths + f.images * stride + at + i, k);
  }
  __syncthreads();
  if (threadIdx.x >= kWarpSize) return;
  softmax_of_row(f.cosines + (at + row) * size, load(f.temperature + image * f.temperature_step + head), size,
                 attention + (at + row) * size);
}

// What y is the product of with v: A of each head, or W_o A; or the transpose, with which the gradient of v is the
// product of that of y. A thread for each element. Blocks: (elements).
template <class T, bool kTransposed>
__global__ void __launch_bounds__(256) mixing_matrices(ChannelAttention<T> f, const float* attention, T* matrices) {
  const int64_t i = int64_t(blockIdx.x) * 256 + threadIdx.x, per_head = f.channels / f.heads;
  const int64_t size = f.out_weight == nullptr ? per_head : f.channels;
  if (i >= f.images * f.channels * size) return;
  const int64_t matrix = i / (size * size), upper = i / size % size, lower = i % size;
  const int64_t row = kTransposed ? lower : upper, column = kTransposed ? upper : lower;
  if (f.out_weight == nullptr) {
    store(matrices + i, from_float<T>(load(attention + (matrix * size + row) * size + column)));
    return;
  }
  const int64_t first = column / per_head * per_head;  // of the head's channels
  const float* weights = f.out_weight + matrix * f.out_weight_step + row * f.channels + first;
  const float* a = attention + (matrix * f.channels + first) * per_head + column - first;
  float sum = 0.0f;
  for (int64_t k = 0; k < per_head; ++k) sum = fmaf(rounded<T>(load(weights + k)), load(a + k * per_head), sum);
  store(matrices + i, from_float<T>(sum));
}

template <bool kTransposed, class T, class Device>
T* launch_mixing_matrices(Device& device, const ChannelAttention<T>& f, const float* attention) {
  const int64_t count = f.images * f.channels * (f.out_weight == nullptr ? f.per_head() : f.channels);
  T* matrices = device.template workspace<T>(count);
  device.launch("mixing_matrices", mixing_matrices<T, kTransposed>, Blocks{divided_up(count, 256)}, 256, f, attention,
                matrices);
  return matrices;
}

}  // namespace adair
