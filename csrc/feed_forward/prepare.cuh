// The feed-forward branch's parameters as its kernel reads them: rounded, padded with zeros, matrices in the order in which
// the lanes of a warp give them to matrix instructions, so that a warp reads 512 bytes that lie together.
#pragma once

#include "cuda/products.cuh"
#include "cuda/sums.cuh"
#include "feed_forward/arguments.h"

namespace adair {

// Hidden channels are worked on in slices: as many as a step of a matrix product has, of both halves [a, b].
template <class T>
inline constexpr int kSliceHidden = 4 * kStepValues<T>;

template <class T>
struct PreparedFeedForward {
  int64_t slices, channels;  // channels: padded
  T* in;                     // (slices, pairs of 8 expanded channels, steps of channels, lanes, kWidest)
  T* out;                    // (slices, pairs of 8 channels, lanes, kWidest)
  float *norm_weight, *norm_bias, *out_bias;       // (channels)
  float *in_bias, *depthwise, *depthwise_bias;     // (slices, 2 kSliceHidden), `depthwise` (9, slices, 2 kSliceHidden)
};

// Where the value `i` of a lane's 16 bytes is in a product: of block `block` of a pair, `column` and `k` of a step.
struct LanePlace {
  int block, column, k;
};

template <class T>
ADAIR_DEVICE LanePlace lane_place(int lane, int i) {
  return {i / kStepValues<T>, lane / 4, lane % 4 * kStepValues<T> + i % kStepValues<T>};
}

// The expanded channel, in [a, b] of all hidden ones, at a place of a slice; -1 if it is padding.
template <class T>
ADAIR_DEVICE int64_t expanded_channel(const FeedForward<T>& f, int64_t slice, int place) {
  const int64_t hidden = slice * kSliceHidden<T> + place % kSliceHidden<T>;
  return hidden < f.expansion.part ? place / kSliceHidden<T> * f.expansion.part + hidden : -1;
}

// The channel of the result whose sum is `column` of block `block` of a pair: a lane gets four neighbouring ones.
ADAIR_DEVICE int64_t result_channel(int64_t pair, int block, int column) {
  return pair * 16 + column / 2 * 4 + block * 2 + column % 2;
}

// A thread for each element of `in`, of `out`, and of the vectors. Blocks: (elements).
template <class T>
__global__ void __launch_bounds__(256) prepare_feed_forward(FeedForward<T> f, PreparedFeedForward<T> to) {
  constexpr int N = kWidest<T>, kStep = 4 * kStepValues<T>, kExpanded = 2 * kSliceHidden<T>, kPairs = kExpanded / 16;
  const Expansion<T>& e = f.expansion;
  const int64_t index = int64_t(blockIdx.x) * 256 + threadIdx.x, steps = to.channels / kStep;
  const LanePlace place = lane_place<T>(index / N % kWarpSize, index % N);
  const int64_t rest = index / (N * kWarpSize);
  if (index < to.slices * kExpanded * to.channels) {
    const int64_t slice = rest / steps / kPairs, channel = rest % steps * kStep + place.k;
    const int64_t row = expanded_channel(f, slice, (rest / steps % kPairs * 2 + place.block) * 8 + place.column);
    const bool inside = row >= 0 && channel < e.channels;
    store(to.in + index, from_float<T>(inside ? load(e.weight + row * e.channels + channel) : 0.0f));
  }
  if (index < to.slices * kSliceHidden<T> * to.channels) {
    const int64_t pairs = to.channels / 16, hidden = rest / pairs * kSliceHidden<T> + place.k;
    const int64_t channel = result_channel(rest % pairs, place.block, place.column);
    const bool inside = channel < e.channels && hidden < e.part;
    store(to.out + index, from_float<T>(inside ? load(f.out_weight + channel * e.part + hidden) : 0.0f));
  }
  if (index < to.channels) {
    const bool inside = index < e.channels;
    store(to.norm_weight + index, inside ? load(e.norm_weight + index) : 0.0f);
    store(to.norm_bias + index, inside && e.norm_bias != nullptr ? load(e.norm_bias + index) : 0.0f);
    store(to.out_bias + index, inside && f.out_bias != nullptr ? rounded<T>(load(f.out_bias + index)) : 0.0f);
  }
  if (index < to.slices * kExpanded) {
    const int64_t row = expanded_channel(f, index / kExpanded, index % kExpanded);
    const auto value = [&](const float* from, int64_t at) {
      return row >= 0 && from != nullptr ? rounded<T>(load(from + at)) : 0.0f;
    };
    store(to.in_bias + index, value(e.bias, row));
    store(to.depthwise_bias + index, value(e.depthwise_bias, row));
    for (int tap = 0; tap < 9; ++tap) {
      store(to.depthwise + tap * to.slices * kExpanded + index, value(e.depthwise, row * 9 + tap));
    }
  }
}

template <class T, class Device>
PreparedFeedForward<T> launch_prepare_feed_forward(Device& device, const FeedForward<T>& f, int64_t padded_channels) {
  PreparedFeedForward<T> to{};
  to.slices = divided_up(f.hidden(), kSliceHidden<T>);
  to.channels = padded_channels;
  const int64_t expanded = to.slices * 2 * kSliceHidden<T>;
  to.in = device.template workspace<T>(expanded * padded_channels);
  to.out = device.template workspace<T>(expanded / 2 * padded_channels);
  for (float** vector : {&to.norm_weight, &to.norm_bias, &to.out_bias}) {
    *vector = device.template workspace<float>(padded_channels);
  }
  for (float** vector : {&to.in_bias, &to.depthwise_bias}) *vector = device.template workspace<float>(expanded);
  to.depthwise = device.template workspace<float>(9 * expanded);
  device.launch("prepare_feed_forward", prepare_feed_forward<T>, dim3(divided_up(expanded * padded_channels, 256)),
                dim3(256), f, to);
  return to;
}

}  // namespace adair
