// Depthwise 3x3 convolution on a GPU: in tiles that are in shared memory with the pixels around them. Reads and writes each
// value once but for the margins of tiles (a quarter more where channels are last).
#pragma once

#include "depthwise/arguments.h"
#include "depthwise_gate/tap_gradients.cuh"

namespace adair {

template <class T, bool kLast, int N>
struct DepthwiseShared {
  SharedArray<T, GateTile<kLast, N>::kSize> x;
  SharedArray<float, kGateThreads> sums;
};

template <bool kLast, int N, class T>
ADAIR_DEVICE void read_tile(DepthwiseShared<T, kLast, N>& shared, const T* x, const GatePlace<kLast, N>& place,
                            int64_t first, const GateImages<kLast>& images) {
  each_vector(place, first, images.channels, images.height, images.width,
              [&](int row, int column, int channel, bool inside) {
                Vector<T, N> values{};
                const int64_t at = images.at(place.image, place.top + row, place.left + column, first + channel);
                if (inside) values = load_vector<N>(x + at);
                shared.x.template set_vector<N>(GateTile<kLast, N>::at(row, column, channel), values);
              });
}

// Blocks: (tiles, groups of channels).
template <class T, bool kLast, int N>
__global__ void __launch_bounds__(kGateThreads) depthwise(Depthwise<T> f) {
  typedef GateTile<kLast, N> Tile;
  auto& shared = block_shared<DepthwiseShared<T, kLast, N>>();
  const GatePlace<kLast, N> place(blockIdx.x, f.height, f.width);
  const GateImages<kLast> images{f.height, f.width, f.channels};
  const int64_t first = int64_t(blockIdx.y) * Tile::kChannels;
  read_tile<kLast, N>(shared, f.x, place, first, images);
  __syncthreads();
  for (int index = threadIdx.x; index < Tile::kStrips; index += kGateThreads) {
    const Strip<kLast, N> strip(index);
    const int64_t channel = first + strip.channel, x = place.left + strip.column;
    if (channel >= f.channels || x >= f.width) continue;
    float taps[9];
#pragma unroll
    for (int tap = 0; tap < 9; ++tap) {
      taps[tap] = rounded<T>(load(f.weight + place.image * f.weight_step + channel * 9 + (f.flipped ? 8 - tap : tap)));
    }
    const float bias = f.bias == nullptr ? 0.0f : rounded<T>(load(f.bias + place.image * f.bias_step + channel));
    convolve_strip<kLast, N>(shared.x, strip, taps, bias, [&](int i, float sum) {
      const int64_t y = place.top + strip.row + i;
      if (y < f.height) store(f.y + images.at(place.image, y, x, channel), from_float<T>(sum));
    });
  }
}

// partial[part][channel][kTapSums]. Blocks: (parts, groups of channels).
template <class T, bool kLast, int N>
__global__ void __launch_bounds__(kGateThreads, 3)
    depthwise_gradients(DepthwiseGradients<T> f, float* partial, int64_t tiles, int64_t parts) {
  typedef GateTile<kLast, N> Tile;
  auto& shared = block_shared<DepthwiseShared<T, kLast, N>>();
  const GateImages<kLast> images{f.height, f.width, f.channels};
  const int64_t part = blockIdx.x, first = int64_t(blockIdx.y) * Tile::kChannels;
  float sums[kTapSums] = {};
  for (int64_t tile = part; tile < tiles; tile += parts) {
    const GatePlace<kLast, N> place(tile, f.height, f.width);
    if (f.x != nullptr) {
      __syncthreads();  // until all have used the tile before
      read_tile<kLast, N>(shared, f.x, place, first, images);
      __syncthreads();
    }
    // All strips of a thread have the same channel.
    for (int index = threadIdx.x; index < Tile::kStrips; index += kGateThreads) {
      const Strip<kLast, N> strip(index);
      const int64_t channel = first + strip.channel, x = place.left + strip.column;
      if (channel >= f.channels || x >= f.width) continue;
      for (int i = 0; i < kStrip; ++i) {
        const int64_t y = place.top + strip.row + i;
        if (y >= f.height) break;
        const float outer = to_float(load(f.gradient + images.at(place.image, y, x, channel)));
        sums[9] += outer;
        if (f.x == nullptr) continue;
#pragma unroll
        for (int tap = 0; tap < 9; ++tap) {
          const int at = Tile::at(strip.row + i + tap / 3 - 1, strip.column + tap % 3 - 1, strip.channel);
          sums[tap] = fmaf(outer, to_float(shared.x.get(at)), sums[tap]);
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
    if (threadIdx.x >= Tile::kChannels || first + threadIdx.x >= f.channels) continue;
    float sum = 0.0f;
    for (int i = threadIdx.x; i < kGateThreads; i += Tile::kChannels) sum += shared.sums.get(i);
    store(partial + (part * f.channels + first + threadIdx.x) * kTapSums + k, sum);
  }
}

// ---- launches

template <class T, class Device>
void launch_depthwise(Device& device, const Depthwise<T>& f) {
  with_image_layout<T>(f.channels_last, f.channels, f.width, {f.x}, [&](auto last, auto width) {
    constexpr bool kLast = decltype(last)::value;
    constexpr int N = decltype(width)::value;
    const int64_t groups = divided_up(f.channels, GateTile<kLast, N>::kChannels);
    const Blocks blocks{gate_tiles<kLast, N>(f.images, f.height, f.width), groups};
    device.launch("depthwise", depthwise<T, kLast, N>, blocks, kGateThreads, f);
  });
}

template <class T, class Device>
void launch_depthwise_gradients(Device& device, const DepthwiseGradients<T>& f) {
  with_image_layout<T>(f.channels_last, f.channels, f.width, {f.x}, [&](auto last, auto width) {
    constexpr bool kLast = decltype(last)::value;
    constexpr int N = decltype(width)::value;
    const int64_t tiles = gate_tiles<kLast, N>(f.images, f.height, f.width), values = f.channels * kTapSums;
    const int64_t wanted = divided_up(tiles, kGatePartTiles), parts = wanted < kGateParts ? wanted : kGateParts;
    float* partial = device.template workspace<float>(parts * values);
    const Blocks blocks{parts, divided_up(f.channels, GateTile<kLast, N>::kChannels)};
    device.launch("depthwise_gradients", depthwise_gradients<T, kLast, N>, blocks, kGateThreads, f, partial, tiles,
                  parts);
    device.launch("sum_of_tap_gradients", sum_of_tap_gradients<256>, Blocks{divided_up(values, 256)}, 256, partial,
                  f.channels, parts, f.to_weight, f.to_bias);
  });
}

}  // namespace adair
