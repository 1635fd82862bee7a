// Depthwise 3x3 convolution on a GPU: in tiles that are in shared memory with the pixels around them. Writes each value
// once, and reads it once but for the margins of tiles: 41 % more where channels are last; where they are first, whose
// margins are whole vectors, 33 % in 16 bits, 20 % in float32, and 10 % value by value.
#pragma once

#include "depthwise/arguments.h"
#include "depthwise_gate/tap_gradients.cuh"

namespace adair {

template <class T, bool kLast, int N>
ADAIR_DEVICE void read_tile(SharedArray<T, GateTile<kLast, N>::kSize>& tile, const T* x,
                            const GatePlace<kLast, N>& place, int64_t first, const GateImages<kLast>& images) {
  each_vector(place, first, images.channels, images.height, images.width,
              [&](int row, int column, int channel, bool inside) {
                Vector<T, N> values{};
                const int64_t at = images.at(place.image, place.top + row, place.left + column, first + channel);
                if (inside) values = load_vector<N>(x + at);
                tile.template set_vector<N>(GateTile<kLast, N>::at(row, column, channel), values);
              });
}

// Blocks: (tiles, groups of channels).
template <class T, bool kLast, int N>
__global__ void __launch_bounds__(kGateThreads) depthwise(Depthwise<T> f) {
  typedef GateTile<kLast, N> Tile;
  auto& tile = block_shared<SharedArray<T, Tile::kSize>>();
  const GatePlace<kLast, N> place(blockIdx.x, f.height, f.width);
  const GateImages<kLast> images{f.height, f.width, f.channels};
  const int64_t first = int64_t(blockIdx.y) * Tile::kChannels;
  read_tile<T, kLast, N>(tile, f.x, place, first, images);
  __syncthreads();
  const auto convolve = [&](const Strip<kLast, N>& strip, int64_t channel, int64_t x, bool inside) {
    const int64_t taps_of = inside ? channel : first;  // any that there are
    float taps[9];
#pragma unroll
    for (int tap = 0; tap < 9; ++tap) {
      taps[tap] = rounded<T>(load(f.weight + place.image * f.weight_step + taps_of * 9 + (f.flipped ? 8 - tap : tap)));
    }
    const float bias = f.bias == nullptr ? 0.0f : rounded<T>(load(f.bias + place.image * f.bias_step + taps_of));
    StripWriter<T, kLast, N> y{f.y, {images, place.image, place.top + strip.row, x, channel, inside}, {}};
    convolve_strip<kLast, N>(tile, strip, taps, bias, [&](int i, float sum) { y.add(i, sum); });
  };
  each_strip(place, first, f.channels, f.width, convolve);
}

// partial[part][channel][kTapSums]. Blocks: (parts, groups of channels).
template <class T, bool kLast, int N>
__global__ void __launch_bounds__(kGateThreads, 4)
    depthwise_gradients(DepthwiseGradients<T> f, float* partial, int64_t tiles, int64_t parts) {
  typedef GateTile<kLast, N> Tile;
  auto& shared = block_shared<TapShared<T, kLast, N>>();
  const GateImages<kLast> images{f.height, f.width, f.channels};
  const int64_t part = blockIdx.x, first = int64_t(blockIdx.y) * Tile::kChannels;
  float sums[kTapSums] = {};
  for (int64_t tile = part; tile < tiles; tile += parts) {
    const GatePlace<kLast, N> place(tile, f.height, f.width);
    if (f.x != nullptr) {
      __syncthreads();  // until all have used the tile before
      read_tile<T, kLast, N>(shared.x, f.x, place, first, images);
      __syncthreads();
    }
    const auto add = [&](const Strip<kLast, N>& strip, int64_t channel, int64_t x, bool inside) {
      StripVectors<kLast, N> vectors(images, place.image, place.top + strip.row, x, channel, inside);
      add_strip(sums, shared, f.x != nullptr, strip, vectors, [&](float(&gradients)[N]) {
        const auto values = load_vector<N>(f.gradient + vectors.next());
#pragma unroll
        for (int k = 0; k < N; ++k) gradients[k] = values[k];
      });
    };
    each_strip(place, first, f.channels, f.width, add);
  }
  store_tap_sums(shared, sums, f.channels - first, partial + (part * f.channels + first) * kTapSums);
}

// ---- launches

template <class T, class Device>
void launch_depthwise(Device& device, const Depthwise<T>& f) {
  with_image_layout<T>(f.channels_last, f.channels, f.width, {f.x, f.y}, [&](auto last, auto width) {
    constexpr bool kLast = decltype(last)::value;
    constexpr int N = decltype(width)::value;
    const int64_t groups = divided_up(f.channels, GateTile<kLast, N>::kChannels);
    const Blocks blocks{gate_tiles<kLast, N>(f.images, f.height, f.width), groups};
    device.launch("depthwise", depthwise<T, kLast, N>, blocks, kGateThreads, f);
  });
}

template <class T, class Device>
void launch_depthwise_gradients(Device& device, const DepthwiseGradients<T>& f) {
  with_image_layout<T>(f.channels_last, f.channels, f.width, {f.gradient, f.x}, [&](auto last, auto width) {
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
