// The feed-forward branch's parameters as its kernel reads them: rounded, padded with zeros, matrices in the order in
// which the lanes of a warp give them to matrix instructions, so that a warp reads 512 bytes that lie together.
#pragma once

#include "cuda/products.cuh"
#include "cuda/sums.cuh"
#include "feed_forward/arguments.h"

namespace adair {

// Hidden channels are worked on in slices: as many as a step of a matrix product has, of both halves [a, b].
template <class T>
inline constexpr int kSliceHidden = 4 * kStepValues<T>;

// From an image's parameter to the next image's; 0: all have the same.
struct FeedForwardSteps {
  int64_t norm_weight = 0, norm_bias = 0, in_weight = 0, in_bias = 0;
  int64_t depthwise = 0, depthwise_bias = 0, out_weight = 0, out_bias = 0;

  bool any() const {
    return (norm_weight | norm_bias | in_weight | in_bias | depthwise | depthwise_bias | out_weight | out_bias) != 0;
  }
};

template <class T>
struct PreparedFeedForward {
  int64_t sets, slices, channels;  // sets: one for each image, or one for all; channels: padded
  T* in;                           // (sets, slices, pairs of 8 expanded channels, steps of channels, lanes, kWidest)
  T* out;                          // (sets, slices, pairs of 8 channels, lanes, kWidest)
  float *norm_weight, *norm_bias, *out_bias;  // (sets, channels)
  float *in_bias, *depthwise_bias;            // (sets, slices, 2 kSliceHidden)
  float* depthwise;                           // (sets, slices, 9, 2 kSliceHidden)
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

// A thread for each element of `in`, of `out`, and of the vectors. Blocks: (elements, sets).
template <class T>
__global__ void __launch_bounds__(256)
    prepare_feed_forward(FeedForward<T> f, FeedForwardSteps steps, PreparedFeedForward<T> to) {
  constexpr int N = kWidest<T>, kStep = 4 * kStepValues<T>, kExpanded = 2 * kSliceHidden<T>, kPairs = kExpanded / 16;
  const Expansion<T>& e = f.expansion;
  const int64_t index = int64_t(blockIdx.x) * 256 + threadIdx.x, set = blockIdx.y, depth = to.channels / kStep;
  const LanePlace place = lane_place<T>(int(index / N % kWarpSize), int(index % N));
  const int64_t rest = index / (N * kWarpSize);
  const int64_t expanded = to.slices * kExpanded;
  if (index < expanded * to.channels) {
    const int64_t slice = rest / depth / kPairs, channel = rest % depth * kStep + place.k;
    const int64_t row = expanded_channel(f, slice, (int(rest / depth % kPairs) * 2 + place.block) * 8 + place.column);
    const bool inside = row >= 0 && channel < e.channels;
    const float* weight = e.weight + set * steps.in_weight;
    const T value = from_float<T>(inside ? load(weight + row * e.channels + channel) : 0.0f);
    store(to.in + set * expanded * to.channels + index, value);
  }
  if (index < expanded / 2 * to.channels) {
    const int64_t pairs = to.channels / 16, hidden = rest / pairs * kSliceHidden<T> + place.k;
    const int64_t channel = result_channel(rest % pairs, place.block, place.column);
    const bool inside = channel < e.channels && hidden < e.part;
    const float* weight = f.out_weight + set * steps.out_weight;
    const T value = from_float<T>(inside ? load(weight + channel * e.part + hidden) : 0.0f);
    store(to.out + set * (expanded / 2) * to.channels + index, value);
  }
  if (index < to.channels) {
    const auto value = [&](const float* from, int64_t step) {
      return index < e.channels && from != nullptr ? load(from + set * step + index) : 0.0f;
    };
    const int64_t at = set * to.channels + index;
    store(to.norm_weight + at, value(e.norm_weight, steps.norm_weight));
    store(to.norm_bias + at, value(e.norm_bias, steps.norm_bias));
    store(to.out_bias + at, rounded<T>(value(f.out_bias, steps.out_bias)));
  }
  if (index < expanded) {
    const int64_t slice = index / kExpanded;
    const int place_in_slice = int(index % kExpanded);
    const int64_t row = expanded_channel(f, slice, place_in_slice);
    const auto value = [&](const float* from, int64_t at) {
      return row >= 0 && from != nullptr ? rounded<T>(load(from + at)) : 0.0f;
    };
    store(to.in_bias + set * expanded + index, value(e.bias, set * steps.in_bias + row));
    store(to.depthwise_bias + set * expanded + index, value(e.depthwise_bias, set * steps.depthwise_bias + row));
    float* taps = to.depthwise + (set * to.slices + slice) * 9 * kExpanded + place_in_slice;
    for (int tap = 0; tap < 9; ++tap) {
      store(taps + tap * kExpanded, value(e.depthwise, set * steps.depthwise + row * 9 + tap));
    }
  }
}

template <class T, class Device>
PreparedFeedForward<T> launch_prepare_feed_forward(Device& device, const FeedForward<T>& f,
                                                   const FeedForwardSteps& steps, int64_t padded_channels) {
  PreparedFeedForward<T> to{};
  to.sets = steps.any() ? f.expansion.images : 1;
  to.slices = divided_up(f.hidden(), kSliceHidden<T>);
  to.channels = padded_channels;
  const int64_t expanded = to.slices * 2 * kSliceHidden<T>;
  to.in = device.template workspace<T>(to.sets * expanded * padded_channels);
  to.out = device.template workspace<T>(to.sets * (expanded / 2) * padded_channels);
  for (float** vector : {&to.norm_weight, &to.norm_bias, &to.out_bias}) {
    *vector = device.template workspace<float>(to.sets * padded_channels);
  }
  for (float** vector : {&to.in_bias, &to.depthwise_bias}) {
    *vector = device.template workspace<float>(to.sets * expanded);
  }
  to.depthwise = device.template workspace<float>(to.sets * 9 * expanded);
  device.launch("prepare_feed_forward", prepare_feed_forward<T>,
                Blocks{divided_up(expanded * padded_channels, 256), to.sets}, 256, f, steps, to);
  return to;
}

}  // namespace adair
