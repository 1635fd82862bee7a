// Gradients of the taps and biases of a gate's convolution: sums over all pixels, in parts that the shape alone decides.
#pragma once

#include "cuda/gelu.cuh"
#include "depthwise_gate/arguments.h"
#include "depthwise_gate/tiles.cuh"

namespace adair {

constexpr int64_t kGateParts = 64, kGatePartTiles = 4;
constexpr int kTapSums = 10;  // of a channel: its nine taps, its bias

template <class T, bool kLast, int N>
struct TapShared {
  SharedArray<T, GateTile<kLast, N>::kSize> x;
  SharedArray<float, kGateThreads> sums;
};

// partial[part][channel][kTapSums]. Blocks: (parts, groups of hidden channels, halves).
template <class T, bool kLast, int N>
__global__ void __launch_bounds__(kGateThreads, 3)
    tap_gradients(DepthwiseGateBackward<T> f, float* partial, int64_t tiles, int64_t parts) {
  typedef GateTile<kLast, N> Tile;
  auto& shared = block_shared<TapShared<T, kLast, N>>();
  const GateImages<kLast> wide{f.height, f.width, 2 * f.hidden}, narrow{f.height, f.width, f.hidden};
  const int64_t part = blockIdx.x, first = int64_t(blockIdx.y) * Tile::kChannels, half = blockIdx.z;
  float sums[kTapSums] = {};
  for (int64_t tile = part; tile < tiles; tile += parts) {
    const GatePlace<kLast, N> place(tile, f.height, f.width);
    if (f.x != nullptr) {
      __syncthreads();  // until all have used the tile before
      each_vector(place, first, f.hidden, f.height, f.width, [&](int row, int column, int channel, bool inside) {
        Vector<T, N> values{};
        const int64_t from = half * f.hidden + first + channel;
        if (inside) values = load_vector<N>(f.x + wide.at(place.image, place.top + row, place.left + column, from));
        shared.x.template set_vector<N>(Tile::at(row, column, channel), values);
      });
      __syncthreads();
    }
    // All strips of a thread have the same channel.
    for (int index = threadIdx.x; index < Tile::kStrips; index += kGateThreads) {
      const Strip<kLast, N> strip(index);
      const int64_t channel = first + strip.channel, x = place.left + strip.column;
      if (channel >= f.hidden || x >= f.width) continue;
      for (int i = 0; i < kStrip; ++i) {
        const int64_t y = place.top + strip.row + i;
        if (y >= f.height) break;
        const float outer = to_float(load(f.gradient + narrow.at(place.image, y, x, channel)));
        const float a = to_float(load(f.convolved + wide.at(place.image, y, x, channel)));
        const float other = half == 0 ? to_float(load(f.convolved + wide.at(place.image, y, x, f.hidden + channel))) : 0;
        const float to_convolved = outer * (half == 0 ? other * gelu_derivative(a) : gelu(a));
        sums[9] += to_convolved;
        if (f.x == nullptr) continue;
#pragma unroll
        for (int tap = 0; tap < 9; ++tap) {
          const int at = Tile::at(strip.row + i + tap / 3 - 1, strip.column + tap % 3 - 1, strip.channel);
          sums[tap] = fmaf(to_convolved, to_float(shared.x.get(at)), sums[tap]);
        }
      }
    }
  }
  // Threads with the same channel, in their order.
#pragma unroll
  for (int k = 0; k < kTapSums; ++k) {
    __syncthreads();
    shared.sums.set(threadIdx.x, sums[k]);
    __syncthreads();
    if (threadIdx.x >= Tile::kChannels || first + threadIdx.x >= f.hidden) continue;
    float sum = 0.0f;
    for (int i = threadIdx.x; i < kGateThreads; i += Tile::kChannels) sum += shared.sums.get(i);
    store(partial + (part * 2 * f.hidden + half * f.hidden + first + threadIdx.x) * kTapSums + k, sum);
  }
}

// Adds the parts in their order and takes taps and bias apart. Blocks: (values).
template <int kThreads>
__global__ void __launch_bounds__(kThreads)
    sum_of_tap_gradients(const float* partial, int64_t channels, int64_t parts, float* to_weight, float* to_bias) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= channels * kTapSums) return;
  float sum = 0.0f;
  for (int64_t part = 0; part < parts; ++part) sum += load(partial + part * channels * kTapSums + i);
  const int64_t channel = i / kTapSums, k = i % kTapSums;
  if (k < 9 && to_weight != nullptr) store(to_weight + channel * 9 + k, sum);
  if (k == 9 && to_bias != nullptr) store(to_bias + channel, sum);
}

template <bool kLast, int N, class T, class Device>
void launch_tap_gradients(Device& device, const DepthwiseGateBackward<T>& f, int64_t tiles, int64_t groups) {
  if (f.to_weight == nullptr && f.to_bias == nullptr) return;
  const int64_t wanted = divided_up(tiles, kGatePartTiles), values = 2 * f.hidden * kTapSums;
  const int64_t parts = wanted < kGateParts ? wanted : kGateParts;
  float* partial = device.template workspace<float>(parts * values);
  device.launch("tap_gradients", tap_gradients<T, kLast, N>, Blocks{parts, groups, 2}, kGateThreads, f, partial,
                tiles, parts);
  device.launch("sum_of_tap_gradients", sum_of_tap_gradients<256>, Blocks{divided_up(values, 256)}, 256, partial,
                2 * f.hidden, parts, f.to_weight, f.to_bias);
}

}  // namespace adair
