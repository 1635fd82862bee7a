// Depthwise 3x3 convolution and GELU gate on a GPU; equations in adair_core/ops/depthwise_gate/reference.py.
//
// A block has a tile of pixels of some channels of both halves, with the pixels around it, in shared memory.
#pragma once

#include "cuda/gelu.cuh"
#include "depthwise_gate/arguments.h"
#include "depthwise_gate/strips.cuh"
#include "depthwise_gate/tap_gradients.cuh"

namespace adair {

// Both halves, [a, b].
template <class T, bool kLast, int N>
struct GateShared {
  SharedArray<T, GateTile<kLast, N>::kSize> halves[2];
};

// The nine taps of a channel, rounded as the images are; in the opposite order for the convolution's gradient.
template <class T, bool kFlipped>
ADAIR_DEVICE void load_taps(const float* weight, int64_t channel, float (&taps)[9]) {
#pragma unroll
  for (int tap = 0; tap < 9; ++tap) taps[tap] = rounded<T>(load(weight + channel * 9 + (kFlipped ? 8 - tap : tap)));
}

// Blocks: (tiles, groups of hidden channels).
template <class T, bool kLast, int N>
__global__ void __launch_bounds__(kGateThreads) depthwise_gate(DepthwiseGate<T> f) {
  typedef GateTile<kLast, N> Tile;
  auto& shared = block_shared<GateShared<T, kLast, N>>();
  const GatePlace<kLast, N> place(blockIdx.x, f.height, f.width);
  const GateImages<kLast> source{f.height, f.width, 2 * f.hidden}, target{f.height, f.width, f.hidden};
  const int64_t first = int64_t(blockIdx.y) * Tile::kChannels;
  each_vector(place, first, f.hidden, f.height, f.width, [&](int row, int column, int channel, bool inside) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      Vector<T, N> values{};
      const int64_t from = half * f.hidden + first + channel;
      if (inside) values = load_vector<N>(f.x + source.at(place.image, place.top + row, place.left + column, from));
      shared.halves[half].template set_vector<N>(Tile::at(row, column, channel), values);
    }
  });
  __syncthreads();
  const auto convolve = [&](const Strip<kLast, N>& strip, int64_t channel, int64_t x, bool inside) {
    const int64_t y = place.top + strip.row;
    const int64_t taps_of = inside ? channel : first;  // any that there are
    StripWriter<T, kLast, N> result{f.y, {target, place.image, y, x, channel, inside}, {}};
    float activated[kStrip];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t offset = half * f.hidden;
      float taps[9];
      load_taps<T, false>(f.weight + place.image * f.weight_step, offset + taps_of, taps);
      const float bias =
          f.bias == nullptr ? 0.0f : rounded<T>(load(f.bias + place.image * f.bias_step + offset + taps_of));
      StripWriter<T, kLast, N> convolved{f.convolved, {source, place.image, y, x, offset + channel, inside}, {}};
      convolve_strip<kLast, N>(shared.halves[half], strip, taps, bias, [&](int i, float sum) {
        if (half == 0) activated[i] = gelu(sum);
        if (f.convolved != nullptr) convolved.add(i, sum);
        if (half == 1) result.add(i, activated[i] * sum);
      });
    }
  };
  each_strip(place, first, f.hidden, f.width, convolve);
}

// The gradient of x. Blocks as above.
template <class T, bool kLast, int N>
__global__ void __launch_bounds__(kGateThreads) depthwise_gate_backward(DepthwiseGateBackward<T> f) {
  typedef GateTile<kLast, N> Tile;
  auto& shared = block_shared<GateShared<T, kLast, N>>();
  const GatePlace<kLast, N> place(blockIdx.x, f.height, f.width);
  const GateImages<kLast> wide{f.height, f.width, 2 * f.hidden}, narrow{f.height, f.width, f.hidden};
  const int64_t first = int64_t(blockIdx.y) * Tile::kChannels;
  // The gradient of the convolution's output, zero outside of the image.
  each_vector(place, first, f.hidden, f.height, f.width, [&](int row, int column, int channel, bool inside) {
    Vector<T, N> to_a{}, to_b{};
    if (inside) {
      const int64_t y = place.top + row, x = place.left + column;
      const auto outer = load_vector<N>(f.gradient + narrow.at(place.image, y, x, first + channel));
      const auto a = load_vector<N>(f.convolved + wide.at(place.image, y, x, first + channel));
      const auto b = load_vector<N>(f.convolved + wide.at(place.image, y, x, f.hidden + first + channel));
#pragma unroll
      for (int i = 0; i < N; ++i) {
        to_a.set(i, outer[i] * b[i] * gelu_derivative(a[i]));
        to_b.set(i, outer[i] * gelu(a[i]));
      }
    }
    shared.halves[0].template set_vector<N>(Tile::at(row, column, channel), to_a);
    shared.halves[1].template set_vector<N>(Tile::at(row, column, channel), to_b);
  });
  __syncthreads();
  const auto convolve = [&](const Strip<kLast, N>& strip, int64_t channel, int64_t x, bool inside) {
    // One half after the other: with both at once sm_100 takes a quarter more registers.
#pragma unroll 1
    for (int half = 0; half < 2; ++half) {
      const int64_t offset = half * f.hidden;
      float taps[9];
      load_taps<T, true>(f.weight, offset + (inside ? channel : first), taps);
      const StripVectors<kLast, N> vectors(wide, place.image, place.top + strip.row, x, offset + channel, inside);
      StripWriter<T, kLast, N> to_x{f.to_x, vectors, {}};
      convolve_strip<kLast, N>(shared.halves[half], strip, taps, 0.0f, [&](int i, float sum) { to_x.add(i, sum); });
    }
  };
  each_strip(place, first, f.hidden, f.width, convolve);
}

// ---- launches

template <class T, class Device>
void launch_depthwise_gate(Device& device, const DepthwiseGate<T>& f) {
  with_image_layout<T>(f.channels_last, f.hidden, f.width, {f.x, f.y, f.convolved}, [&](auto last, auto width) {
    constexpr bool kLast = decltype(last)::value;
    constexpr int N = decltype(width)::value;
    const int64_t groups = divided_up(f.hidden, GateTile<kLast, N>::kChannels);
    const Blocks blocks{gate_tiles<kLast, N>(f.images, f.height, f.width), groups};
    device.launch("depthwise_gate", depthwise_gate<T, kLast, N>, blocks, kGateThreads, f);
  });
}

template <class T, class Device>
void launch_depthwise_gate_backward(Device& device, const DepthwiseGateBackward<T>& f) {
  const std::initializer_list<const void*> images{f.gradient, f.convolved, f.x, f.to_x};
  with_image_layout<T>(f.channels_last, f.hidden, f.width, images, [&](auto last, auto width) {
    constexpr bool kLast = decltype(last)::value;
    constexpr int N = decltype(width)::value;
    const int64_t groups = divided_up(f.hidden, GateTile<kLast, N>::kChannels);
    const int64_t tiles = gate_tiles<kLast, N>(f.images, f.height, f.width);
    if (f.to_x != nullptr) {
      device.launch("depthwise_gate_backward", depthwise_gate_backward<T, kLast, N>, Blocks{tiles, groups},
                    kGateThreads, f);
    }
    launch_tap_gradients<kLast, N>(device, f, tiles, groups);
  });
}

}  // namespace adair
