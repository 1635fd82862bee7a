// Parameters of bottleneck adapters as the kernels read them: rounded, padded with zeros, in both orders.
#pragma once

#include "bottleneck/arguments.h"
#include "cuda/sums.cuh"

namespace adair {

constexpr int kChannelGroup = 32;  // channels are padded to whole groups
constexpr int64_t kLargestRank = 64;

// The number of ranks is padded to 16, 32 or 64.
template <class T>
struct PreparedBottlenecks {
  int64_t adapters, padded_channels, padded_rank;
  T* down;           // (adapters, padded_rank, padded_channels)
  T* down_channels;  // (adapters, padded_channels, padded_rank); like `up_ranks` null for the forward pass
  T* up;             // (adapters, padded_channels, padded_rank)
  T* up_ranks;       // (adapters, padded_rank, padded_channels)
  float *taps, *down_bias, *taps_bias, *up_bias;  // (adapters, 9, padded_rank), (adapters, padded_...)
};

inline int64_t padded_to(int64_t count, int64_t whole) { return (count + whole - 1) / whole * whole; }

// A thread for each element of a padded matrix.
template <class T>
__global__ void __launch_bounds__(256) prepare_bottlenecks(Bottleneck<T> f, PreparedBottlenecks<T> to) {
  const int64_t index = int64_t(blockIdx.x) * 256 + threadIdx.x, matrix = to.padded_rank * to.padded_channels;
  if (index >= to.adapters * matrix) return;
  const int64_t adapter = index / matrix, rank = index % matrix / to.padded_channels;
  const int64_t channel = index % to.padded_channels;
  const bool inside = rank < f.rank && channel < f.channels;
  const int64_t by_channel = (adapter * to.padded_channels + channel) * to.padded_rank + rank;
  const float down = inside ? load(f.down + (adapter * f.rank + rank) * f.channels + channel) : 0.0f;
  const float scale = load(f.scale + adapter);
  const float up = inside ? load(f.up + (adapter * f.channels + channel) * f.rank + rank) * scale : 0.0f;
  store(to.down + index, from_float<T>(down));
  store(to.up + by_channel, from_float<T>(up));
  if (to.up_ranks != nullptr) store(to.up_ranks + index, from_float<T>(up));
  if (to.down_channels != nullptr) store(to.down_channels + by_channel, from_float<T>(down));
  const auto rounded_or_zero = [](const float* values, bool some, int64_t at, float factor = 1.0f) {
    return some && values != nullptr ? rounded<T>(load(values + at) * factor) : 0.0f;
  };
  if (channel == 0) {
    const bool some = rank < f.rank;
    const int64_t from = adapter * f.rank + rank, place = adapter * to.padded_rank + rank;
    store(to.down_bias + place, rounded_or_zero(f.down_bias, some, from));
    store(to.taps_bias + place, rounded_or_zero(f.depthwise_bias, some, from));
    for (int tap = 0; tap < 9; ++tap) {
      store(to.taps + (adapter * 9 + tap) * to.padded_rank + rank, rounded_or_zero(f.depthwise, some, from * 9 + tap));
    }
  }
  if (rank == 0) {
    const float bias = rounded_or_zero(f.up_bias, channel < f.channels, adapter * f.channels + channel, scale);
    store(to.up_bias + adapter * to.padded_channels + channel, bias);
  }
}

template <class T, class Device>
PreparedBottlenecks<T> launch_prepare_bottlenecks(Device& device, const Bottleneck<T>& f, bool backward) {
  PreparedBottlenecks<T> to{};
  to.adapters = f.adapters;
  to.padded_channels = padded_to(f.channels, kChannelGroup);
  to.padded_rank = f.rank <= 16 ? 16 : f.rank <= 32 ? 32 : 64;
  const int64_t count = f.adapters * to.padded_channels * to.padded_rank;
  to.down = device.template workspace<T>(count);
  to.up = device.template workspace<T>(count);
  if (backward) {
    to.down_channels = device.template workspace<T>(count);
    to.up_ranks = device.template workspace<T>(count);
  }
  to.taps = device.template workspace<float>(f.adapters * 9 * to.padded_rank);
  to.down_bias = device.template workspace<float>(f.adapters * to.padded_rank);
  to.taps_bias = device.template workspace<float>(f.adapters * to.padded_rank);
  to.up_bias = device.template workspace<float>(f.adapters * to.padded_channels);
  device.launch("prepare_bottlenecks", prepare_bottlenecks<T>, Blocks{divided_up(count, 256)}, 256, f, to);
  return to;
}

}  // namespace adair
