// Gradients of the parameters of bottleneck adapters: sums over the pixels of all images that use an adapter.
#pragma once

#include "bottleneck/arguments.h"
#include "cuda/gram.cuh"

namespace adair {

constexpr int kBottleneckSums = 11;  // of a hidden channel: nine taps, their bias, the bias of `down`

// What the backward pass leaves for them; nothing of images without an adapter.
template <class T>
struct BottleneckHidden {
  int64_t tiles;  // of an image
  T* activated;   // (images, height, width, kRank)
  T* to_reduced;  // like `activated`
  float* sums;    // (images, tiles, kBottleneckSums, kRank)
};

// The sum over images with an adapter, and over the parts of each, of from[image][part][i].
ADAIR_DEVICE float sum_of_images(const float* from, int64_t count, int64_t i, int64_t parts, int64_t images,
                                 const int64_t* index, int64_t adapter) {
  float sum = 0.0f;
  for (int64_t image = 0; image < images; ++image) {
    if ((index == nullptr ? 0 : load(index + image)) != adapter) continue;
    for (int64_t part = 0; part < parts; ++part) sum += load(from + (image * parts + part) * count + i);
  }
  return sum;
}

// A warp for each hidden channel and kind of sum: tiles are many, so lanes take them in turn. Blocks: (warps).
template <class T, int kRank>
__global__ void __launch_bounds__(256) bottleneck_tap_gradients(BottleneckBackward<T> b, BottleneckHidden<T> hidden) {
  const Bottleneck<T>& f = b.forward;
  const int64_t index = int64_t(blockIdx.x) * (256 / kWarpSize) + threadIdx.x / kWarpSize;
  const int64_t adapter = index / (kBottleneckSums * f.rank), rank = index % f.rank;
  const int k = int(index / f.rank % kBottleneckSums);
  if (adapter >= f.adapters) return;
  float sum = 0.0f;
  for (int64_t image = 0; image < f.images; ++image) {
    if ((f.index == nullptr ? 0 : load(f.index + image)) != adapter) continue;
    for (int64_t tile = threadIdx.x % kWarpSize; tile < hidden.tiles; tile += kWarpSize) {
      sum += load(hidden.sums + ((image * hidden.tiles + tile) * kBottleneckSums + k) * kRank + rank);
    }
  }
  sum = sum_of_lanes(sum, kWarpSize);
  if (threadIdx.x % kWarpSize != 0) return;
  const int64_t at = adapter * f.rank + rank;
  if (k < 9) store(b.to_depthwise + at * 9 + k, sum);
  if (k == 9 && b.to_depthwise_bias != nullptr) store(b.to_depthwise_bias + at, sum);
  if (k == 10 && b.to_down_bias != nullptr) store(b.to_down_bias + at, sum);
}

// A thread for each (adapter, rank, channel). Blocks: (values).
template <class T, int kRank>
__global__ void __launch_bounds__(256)
    bottleneck_matrix_gradients(BottleneckBackward<T> b, Gram<T> down, Gram<T> up) {
  const Bottleneck<T>& f = b.forward;
  const int64_t i = int64_t(blockIdx.x) * 256 + threadIdx.x;
  if (i >= f.adapters * f.rank * f.channels) return;
  const int64_t adapter = i / (f.rank * f.channels), at = i % (f.rank * f.channels);
  const int64_t rank = at / f.channels, channel = at % f.channels, count = kRank * f.channels;
  store(b.to_down + i, sum_of_images(down.sums, count, at, down.parts, f.images, f.index, adapter));
  store(b.to_up + (adapter * f.channels + channel) * f.rank + rank,
        sum_of_images(up.sums, count, at, up.parts, f.images, f.index, adapter));
  if (rank != 0 || b.to_up_bias == nullptr) return;
  store(b.to_up_bias + adapter * f.channels + channel,
        sum_of_images(up.column_sums, f.channels, channel, up.parts, f.images, f.index, adapter));
}

template <int kRank, class T, class Device>
void launch_bottleneck_parameter_gradients(Device& device, const BottleneckBackward<T>& b,
                                           const BottleneckHidden<T>& hidden) {
  const Bottleneck<T>& f = b.forward;
  const int64_t taps = f.adapters * f.rank * kBottleneckSums, values = f.adapters * f.rank * f.channels;
  device.launch("bottleneck_tap_gradients", bottleneck_tap_gradients<T, kRank>, Blocks{divided_up(taps, 8)}, 256, b,
                hidden);
  const auto product = [&](const T* a, const T* images, bool with_sums) {
    const int64_t pixels = f.height * f.width, parts = gram_parts(pixels), count = f.images * parts * f.channels;
    Gram<T> gram{f.images, pixels, kRank, f.channels, parts, a, images, f.index};
    gram.indices = f.adapters;
    gram.sums = device.template workspace<float>(count * kRank);
    if (with_sums) gram.column_sums = device.template workspace<float>(count);
    launch_gram<kRank>(device, gram);
    return gram;
  };
  const Gram<T> down = product(hidden.to_reduced, f.x, false);
  const Gram<T> up = product(hidden.activated, b.gradient, b.to_up_bias != nullptr);
  device.launch("bottleneck_matrix_gradients", bottleneck_matrix_gradients<T, kRank>, Blocks{divided_up(values, 256)},
                256, b, down, up);
}

}  // namespace adair
