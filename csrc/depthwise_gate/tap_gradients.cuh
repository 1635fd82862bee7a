// Gradients of the taps and biases of a gate's convolution: sums over all pixels, in parts that the shape alone
// decides.
#pragma once

#include "cuda/gelu.cuh"
#include "depthwise_gate/arguments.h"
#include "depthwise_gate/strips.cuh"

namespace adair {

constexpr int64_t kGateParts = 64, kGatePartTiles = 4;
constexpr int kTapSums = 10;  // of a channel: its nine taps, its bias

// x with what is around it, and the sums of threads.
template <class T, bool kLast, int N>
struct TapShared {
  SharedArray<T, GateTile<kLast, N>::kSize> x;
  SharedArray<float, kGateThreads> sums;
};

// Adds what a strip gives to the sums of its channel. read(gradients) reads this lane's next vector of gradients of the
// convolution's output; `vectors` says which there are. Without x only the bias has a gradient.
template <class T, bool kLast, int N, class Read>
ADAIR_DEVICE void add_strip(float (&sums)[kTapSums], const TapShared<T, kLast, N>& shared, bool has_x,
                            const Strip<kLast, N>& strip, const StripVectors<kLast, N>& vectors, const Read& read) {
#pragma unroll 1
  for (int block = 0; block < kStrip / N; ++block) {
    float gradients[N] = {};
    if (vectors.has(block)) read(gradients);
    transpose<N>(gradients);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const int i = block * N + k;
      if (i >= vectors.rows) break;
      sums[9] += gradients[k];
      if (!has_x) continue;
#pragma unroll
      for (int tap = 0; tap < 9; ++tap) {
        const int at = GateTile<kLast, N>::at(strip.row + i + tap / 3 - 1, strip.column + tap % 3 - 1, strip.channel);
        sums[tap] = fmaf(gradients[k], to_float(shared.x.get(at)), sums[tap]);
      }
    }
  }
}

// to[channel][kTapSums] = the sums of all threads with the same channel, in their order, for up to `channels` of them.
template <class T, bool kLast, int N>
ADAIR_DEVICE void store_tap_sums(TapShared<T, kLast, N>& shared, const float (&sums)[kTapSums], int64_t channels,
                                 float* to) {
  constexpr int kChannels = GateTile<kLast, N>::kChannels;
#pragma unroll
  for (int k = 0; k < kTapSums; ++k) {
    __syncthreads();
    shared.sums.set(threadIdx.x, sums[k]);
    __syncthreads();
    if (threadIdx.x >= kChannels || threadIdx.x >= channels) continue;
    float sum = 0.0f;
    for (int i = threadIdx.x; i < kGateThreads; i += kChannels) sum += shared.sums.get(i);
    store(to + threadIdx.x * kTapSums + k, sum);
  }
}

// partial[part][channel][kTapSums]. Blocks: (parts, groups of hidden channels, halves).
template <class T, bool kLast, int N>
__global__ void __launch_bounds__(kGateThreads, 4)
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
    const auto add = [&](const Strip<kLast, N>& strip, int64_t channel, int64_t x, bool inside) {
      const int64_t y = place.top + strip.row, to_b = wide.at(0, 0, 0, f.hidden);
      StripVectors<kLast, N> outer(narrow, place.image, y, x, channel, inside);
      StripVectors<kLast, N> convolved(wide, place.image, y, x, channel, inside);
      add_strip(sums, shared, f.x != nullptr, strip, outer, [&](float(&gradients)[N]) {
        const auto to_y = load_vector<N>(f.gradient + outer.next());
        const int64_t at = convolved.next();
        const auto a = load_vector<N>(f.convolved + at);
        if (half == 0) {
          const auto b = load_vector<N>(f.convolved + at + to_b);
#pragma unroll
          for (int k = 0; k < N; ++k) gradients[k] = to_y[k] * (b[k] * gelu_derivative(a[k]));
        } else {
#pragma unroll
          for (int k = 0; k < N; ++k) gradients[k] = to_y[k] * gelu(a[k]);
        }
      });
    };
    each_strip(place, first, f.hidden, f.width, add);
  }
  store_tap_sums(shared, sums, f.hidden - first, partial + (part * 2 * f.hidden + half * f.hidden + first) * kTapSums);
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
