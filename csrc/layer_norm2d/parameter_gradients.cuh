// Gradients of the layer norm's weight and bias: sums over all pixels, in parts that the shape alone decides.
#pragma once

#include "common/numbers.h"
#include "cuda/sums.cuh"
#include "layer_norm2d/arguments.h"

namespace adair {

constexpr int kNormThreads = 256;
constexpr int64_t kNormParts = 256;

// How many lanes share the channels of a pixel, N at a time.
inline int norm_lanes(int64_t channels, int n) {
  int lanes = 1;
  while (lanes < kWarpSize && lanes * n < channels) lanes *= 2;
  return lanes;
}

// The partial sums of a block: `to_weight[part * channels + c]`, and the like.
struct NormPartialSums {
  float* to_weight;
  float* to_bias;
  int64_t parts;
};

template <int N>
struct NormParameterSums {
  SharedArray<float, kNormThreads * N> weight, bias;
};

// Channels last: a thread has N channels of some pixels. Blocks: (channels / (lanes N), parts).
template <class T, int N>
__global__ void __launch_bounds__(kNormThreads)
    layer_norm2d_parameters_last(LayerNorm2dBackward<T> f, NormPartialSums partial, int lanes) {
  NormParameterSums<N>& shared = block_shared<NormParameterSums<N>>();
  const int lane = threadIdx.x % lanes, row = threadIdx.x / lanes, rows = kNormThreads / lanes;
  const int64_t channel = (int64_t(blockIdx.x) * lanes + lane) * N, part = blockIdx.y, pixels = f.images * f.pixels;
  const bool inside = channel < f.channels;
  float weight[N] = {}, bias[N] = {};
  const int64_t end = (part + 1) * pixels / partial.parts;
  for (int64_t pixel = part * pixels / partial.parts + row; inside && pixel < end; pixel += rows) {
    const Vector<T, N> values = load_vector<N>(f.x + pixel * f.channels + channel);
    const Vector<T, N> outer = load_vector<N>(f.gradient + pixel * f.channels + channel);
    const float shift = f.bias_free ? 0.0f : load(f.mean + pixel), rstd = load(f.rstd + pixel);
    for (int i = 0; i < N; ++i) {
      weight[i] += outer[i] * (values[i] - shift) * rstd;
      bias[i] += outer[i];
    }
  }
  for (int i = 0; i < N; ++i) {
    shared.weight.set((row * N + i) * lanes + lane, weight[i]);
    shared.bias.set((row * N + i) * lanes + lane, bias[i]);
  }
  __syncthreads();
  if (row != 0 || !inside) return;
  for (int i = 0; i < N; ++i) {
    float weight_sum = 0.0f, bias_sum = 0.0f;
    for (int r = 0; r < rows; ++r) {
      weight_sum += shared.weight.get((r * N + i) * lanes + lane);
      bias_sum += shared.bias.get((r * N + i) * lanes + lane);
    }
    store(partial.to_weight + part * f.channels + channel + i, weight_sum);
    store(partial.to_bias + part * f.channels + channel + i, bias_sum);
  }
}

// Channels first: a block has some pixels of one channel. Blocks: (channels, parts).
template <class T, int N>
__global__ void __launch_bounds__(kNormThreads)
    layer_norm2d_parameters_first(LayerNorm2dBackward<T> f, NormPartialSums partial) {
  NormParameterSums<1>& shared = block_shared<NormParameterSums<1>>();
  const int64_t channel = blockIdx.x, part = blockIdx.y, vectors = f.pixels / N;
  float weight = 0.0f, bias = 0.0f;
  const int64_t end = (part + 1) * f.images * vectors / partial.parts;
  for (int64_t i = part * f.images * vectors / partial.parts + threadIdx.x; i < end; i += kNormThreads) {
    const int64_t image = i / vectors, pixel = i % vectors * N;
    const int64_t at = (image * f.channels + channel) * f.pixels + pixel;
    const Vector<T, N> values = load_vector<N>(f.x + at), outer = load_vector<N>(f.gradient + at);
    for (int k = 0; k < N; ++k) {
      const int64_t statistic = image * f.pixels + pixel + k;
      const float shift = f.bias_free ? 0.0f : load(f.mean + statistic);
      weight += outer[k] * (values[k] - shift) * load(f.rstd + statistic);
      bias += outer[k];
    }
  }
  weight = sum_of_lanes(weight, kWarpSize);
  bias = sum_of_lanes(bias, kWarpSize);
  if (threadIdx.x % kWarpSize == 0) {
    shared.weight.set(threadIdx.x / kWarpSize, weight);
    shared.bias.set(threadIdx.x / kWarpSize, bias);
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  float weight_sum = 0.0f, bias_sum = 0.0f;
  for (int warp = 0; warp < kNormThreads / kWarpSize; ++warp) {
    weight_sum += shared.weight.get(warp);
    bias_sum += shared.bias.get(warp);
  }
  store(partial.to_weight + part * f.channels + channel, weight_sum);
  store(partial.to_bias + part * f.channels + channel, bias_sum);
}

template <int N, class T, class Device>
void launch_norm_parameter_gradients(Device& device, const LayerNorm2dBackward<T>& f) {
  if (f.to_weight == nullptr && f.to_bias == nullptr) return;
  NormPartialSums partial;
  const int64_t parts = divided_up(f.images * f.pixels, 64);
  partial.parts = parts < kNormParts ? parts : kNormParts;
  partial.to_weight = device.template workspace<float>(partial.parts * f.channels);
  partial.to_bias = device.template workspace<float>(partial.parts * f.channels);
  if (f.channels_last) {
    const int lanes = norm_lanes(f.channels, N);
    const Blocks blocks{divided_up(f.channels, lanes * N), partial.parts};
    device.launch("layer_norm2d_parameters_last", layer_norm2d_parameters_last<T, N>, blocks, kNormThreads, f,
                  partial, lanes);
  } else {
    const Blocks blocks{f.channels, partial.parts};
    device.launch("layer_norm2d_parameters_first", layer_norm2d_parameters_first<T, N>, blocks, kNormThreads, f,
                  partial);
  }
  if (f.to_weight != nullptr) launch_sum_of_parts(device, partial.to_weight, f.channels, partial.parts, f.to_weight);
  if (f.to_bias != nullptr) launch_sum_of_parts(device, partial.to_bias, f.channels, partial.parts, f.to_bias);
}

}  // namespace adair
