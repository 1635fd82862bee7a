// The feed-forward branch on a GPU in one pass; equations in adair_core/ops/feed_forward/reference.py.
//
// A block has a tile of 16 x kRows pixels, the outermost of which are only there for the convolution; a warp has a row
// of it. It keeps the normalised channels of its 16 pixels in registers, as operands of the matrix instructions, and
// the sums of the result as well. Hidden channels come and go in slices of 16 (float32: 8) of each half: expanded into
// shared memory, convolved and gated there, and added to the result. Each value of y is written once, and of x read as
// often as tiles overlap, and for the residual, where a layer norm, two convolutions by library and a fused gate
// between them move 21 U of U = images pixels channels values. What is paid is as much more of the expansion's
// arithmetic, and 24 KiB of shared memory or less. Tiles have 16 kRows / (14 (kRows - 2)) times the pixels of their
// results: in 16 bits 1.43 (48 channels) and 1.33 (96), in float32 1.37 and 1.52; see `launch_feed_forward`.
//
// Registers hold C / 4 words of operands and C / 2 sums (16 bits): so channels are no more than 96. Beyond that matrix
// products take the time, not memory, and the library's are the better ones.
#pragma once

#include "common/numbers.h"
#include "cuda/gelu.cuh"
#include "feed_forward/prepare.cuh"

namespace adair {

constexpr int64_t kLargestFeedForward = 96;
constexpr int kTileColumns = 16, kResultColumns = kTileColumns - 2;

struct FeedForwardPlace {
  int64_t first_pixel;  // of the image, counted from the first of all images
  int top, left;

  // Which of the sets of parameters is the image's.
  template <class T>
  ADAIR_DEVICE int64_t set(const Expansion<T>& e, const PreparedFeedForward<T>& with) const {
    return with.sets == 1 ? 0 : first_pixel / (e.height * e.width);
  }

  // The pixel, counted from the first of all images, at a place of the result's tile; -1 outside of the image.
  template <class T>
  ADAIR_DEVICE int64_t pixel(const Expansion<T>& e, int row, int column) const {
    const int y = top + row, x = left + column;
    return y >= 0 && y < e.height && x >= 0 && x < e.width ? first_pixel + y * e.width + x : -1;
  }
};

template <class T, int kRows>
struct FeedForwardShared {
  static constexpr int kHidden = kSliceHidden<T>;
  static constexpr int kStride = 2 * kHidden + 8;  // so that lanes one below the other find different banks
  SharedArray<T, kRows * kTileColumns * kStride> expanded;
  SharedArray<T, (kRows - 2) * kTileColumns * kHidden> gated;
  SharedArray<FeedForwardPlace, 1> place;  // here and not in registers, of which there are too few
};

template <int N, class T>
ADAIR_DEVICE Vector<T, N> load_some(const T* from, int64_t count, bool whole) {
  return whole ? load_up_to<N, true>(from, count) : load_up_to<N, false>(from, count);
}

// The normalised channels of a pixel, shared by four lanes: of each step, a lane has kStepValues.
template <class T, int kSteps>
ADAIR_DEVICE void normalise(const Expansion<T>& e, const PreparedFeedForward<T>& with, int64_t set,
                            int64_t pixel, bool whole, Operand<T> (&result)[kSteps]) {
  constexpr int N = kStepValues<T>;
  const int t = threadIdx.x % 4;
  Vector<T, N> values[kSteps];
  float mean = 0.0f, squares = 0.0f;
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    const int64_t channel = (step * 4 + t) * N;
    values[step] = load_some<N>(e.x + pixel * e.channels + channel, pixel < 0 ? 0 : e.channels - channel, whole);
#pragma unroll
    for (int i = 0; i < N; ++i) mean += values[step][i];
  }
  mean = sum_of_lanes(mean, 4) / float(e.channels);
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const float distance = (step * 4 + t) * N + i < e.channels ? values[step][i] - mean : 0.0f;
      squares = fmaf(distance, distance, squares);
    }
  }
  const float rstd = rsqrtf(sum_of_lanes(squares, 4) / float(e.channels) + e.eps);
  const float shift = e.norm_bias == nullptr ? 0.0f : mean;
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    const int64_t at = set * with.channels + (step * 4 + t) * N;
    const auto weight = load_vector<N>(with.norm_weight + at), bias = load_vector<N>(with.norm_bias + at);
    Vector<T, N> normalised;
#pragma unroll
    for (int i = 0; i < N; ++i) normalised.set(i, (values[step][i] - shift) * rstd * weight[i] + bias[i]);
    result[step] = operand(normalised);
  }
}

// A slice of the expanded channels of a row of the tile; zeros outside of the image.
template <class T, int kRows, int kSteps>
ADAIR_DEVICE void expand(FeedForwardShared<T, kRows>& shared, const PreparedFeedForward<T>& with, int64_t slice,
                         const Operand<T> (&upper)[kSteps], const Operand<T> (&lower)[kSteps], bool upper_inside,
                         bool lower_inside) {
  typedef FeedForwardShared<T, kRows> Shared;
  constexpr int kPairs = Shared::kHidden / 8, N = kWidest<T>;
  const int lane = threadIdx.x % kWarpSize, g = lane / 4, t = lane % 4, row = threadIdx.x / kWarpSize;
#pragma unroll 1
  for (int pair = 0; pair < kPairs; ++pair) {
    float sums[2][4] = {};
    const T* in = with.in + ((slice * kPairs + pair) * kSteps * kWarpSize + lane) * N;
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const auto columns = load_vector<N>(in + step * kWarpSize * N);
      multiply_add(sums[0], upper[step], lower[step], operand(columns, 0));
      multiply_add(sums[1], upper[step], lower[step], operand(columns, 1));
    }
#pragma unroll
    for (int block = 0; block < 2; ++block) {
      const int place = (pair * 2 + block) * 8 + t * 2;
      const auto bias = load_vector<2>(with.in_bias + slice * 2 * Shared::kHidden + place);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        Vector<T, 2> values{};
        if (half == 0 ? upper_inside : lower_inside) {
          values.set(0, sums[block][half * 2] + bias[0]);
          values.set(1, sums[block][half * 2 + 1] + bias[1]);
        }
        const int at = (row * kTileColumns + g + half * 8) * Shared::kStride + place;
        shared.expanded.template set_vector<2>(at, values);
      }
    }
  }
}

// Convolves and gates a slice, one of those of all sets: a thread has some rows of one hidden channel of a column.
template <class T, int kRows>
ADAIR_DEVICE void gate_slice(FeedForwardShared<T, kRows>& shared, const FeedForward<T>& f,
                             const PreparedFeedForward<T>& with, int64_t slice) {
  typedef FeedForwardShared<T, kRows> Shared;
  constexpr int kHidden = Shared::kHidden, kOwners = kRows * kWarpSize / (kResultColumns * kHidden);
  constexpr int kStrip = (kRows - 2 + kOwners - 1) / kOwners;
  const int hidden = threadIdx.x % kHidden, column = threadIdx.x / kHidden % kResultColumns;
  const int first = threadIdx.x / (kHidden * kResultColumns) * kStrip;
  if (first >= kRows - 2) return;
  // One after the other, GELU(a) waiting in shared memory: both at once are more registers than there are.
#pragma unroll 1
  for (int half = 0; half < 2; ++half) {
    const int in_slice = half * kHidden + hidden;
    float taps[9], rows[3][3];
#pragma unroll
    for (int tap = 0; tap < 9; ++tap) taps[tap] = load(with.depthwise + (slice * 9 + tap) * 2 * kHidden + in_slice);
    const float bias = load(with.depthwise_bias + slice * 2 * kHidden + in_slice);
    // The tile of the result begins one row below and one column right of that of the expansion.
    const auto read_row = [&](int row, float(&values)[3]) {
#pragma unroll
      for (int k = 0; k < 3; ++k) {
        const int pixel = row * kTileColumns + column + k;
        values[k] = to_float(shared.expanded.get(pixel * Shared::kStride + half * kHidden + hidden));
      }
    };
    read_row(first, rows[0]);
    read_row(first + 1, rows[1]);
#pragma unroll
    for (int i = 0; i < kStrip; ++i) {
      if (first + i >= kRows - 2) continue;
      read_row(first + i + 2, rows[(i + 2) % 3]);
      float sum = bias;
#pragma unroll
      for (int tap = 0; tap < 9; ++tap) sum = fmaf(rows[(i + tap / 3) % 3][tap % 3], taps[tap], sum);
      const int at = ((first + i) * kTileColumns + column) * kHidden + hidden;
      shared.gated.set(at, from_float<T>(half == 0 ? gelu(sum) : to_float(shared.gated.get(at)) * sum));
      if (f.convolved == nullptr) continue;
      const int64_t pixel = shared.place.get(0).pixel(f.expansion, first + i, column);
      const int64_t channel = slice * kHidden + hidden;  // of the only set
      if (pixel >= 0 && channel < f.expansion.part) {
        store(f.convolved + (pixel * 2 + half) * f.expansion.part + channel, from_float<T>(sum));
      }
    }
  }
}

// Adds a slice to the sums of a row of the result.
template <class T, int kRows, int kPairs>
ADAIR_DEVICE void add_slice(const FeedForwardShared<T, kRows>& shared, const PreparedFeedForward<T>& with,
                            int64_t slice, float (&sums)[kPairs][2][4]) {
  constexpr int kHidden = kSliceHidden<T>, kStep = kStepValues<T>, N = kWidest<T>;
  const int lane = threadIdx.x % kWarpSize, row = threadIdx.x / kWarpSize;
  const int at = (row * kTileColumns + lane / 4) * kHidden + lane % 4 * kStep;
  const auto upper = operand(shared.gated.template get_vector<kStep>(at));
  const auto lower = operand(shared.gated.template get_vector<kStep>(at + 8 * kHidden));
#pragma unroll
  for (int pair = 0; pair < kPairs; ++pair) {
    const auto columns = load_vector<N>(with.out + ((slice * kPairs + pair) * kWarpSize + lane) * N);
    multiply_add(sums[pair][0], upper, lower, operand(columns, 0));
    multiply_add(sums[pair][1], upper, lower, operand(columns, 1));
  }
}

// Blocks: (tiles of all images). kRows warps.
template <class T, int kChannels, int kRows, int kBlocks>
__global__ void __launch_bounds__(kRows* kWarpSize, kBlocks)
    feed_forward(FeedForward<T> f, PreparedFeedForward<T> with, bool whole) {
  typedef FeedForwardShared<T, kRows> Shared;
  constexpr int kSteps = kChannels / (4 * kStepValues<T>), kPairs = kChannels / 16;
  const Expansion<T>& e = f.expansion;
  Shared& shared = block_shared<Shared>();
  const int lane = threadIdx.x % kWarpSize, g = lane / 4, t = lane % 4, row = threadIdx.x / kWarpSize;
  const int64_t across = (e.width + kResultColumns - 1) / kResultColumns, down = (e.height + kRows - 3) / (kRows - 2);
  const FeedForwardPlace place{blockIdx.x / (across * down) * e.height * e.width,
                               int(blockIdx.x / across % down * (kRows - 2)),
                               int(blockIdx.x % across * kResultColumns)};
  const int64_t set = place.set(e, with);
  if (threadIdx.x == 0) shared.place.set(0, place);
  const int64_t around[2] = {place.pixel(e, row - 1, g - 1), place.pixel(e, row - 1, g + 7)};
  const bool upper_inside = around[0] >= 0, lower_inside = around[1] >= 0;
  Operand<T> upper[kSteps], lower[kSteps];
  normalise(e, with, set, around[0], whole, upper);
  normalise(e, with, set, around[1], whole, lower);
  // The last two columns of a row have no result, and are multiplied with the others.
  for (int i = threadIdx.x; i < (kRows - 2) * 2 * Shared::kHidden; i += kRows * kWarpSize) {
    const int pixel = i / (2 * Shared::kHidden) * kTileColumns + kResultColumns;
    shared.gated.set(pixel * Shared::kHidden + i % (2 * Shared::kHidden), from_float<T>(0.0f));
  }
  float sums[kPairs][2][4] = {};
  // 32 bits, as there are too few registers.
  const int first_slice = int(set * with.slices), end = first_slice + int(with.slices);
  for (int slice = first_slice; slice < end; ++slice) {
    expand(shared, with, slice, upper, lower, upper_inside, lower_inside);
    __syncthreads();
    gate_slice(shared, f, with, slice);
    __syncthreads();
    if (row < kRows - 2) add_slice(shared, with, slice, sums);
  }
  if (row >= kRows - 2) return;
  const float* biases = with.out_bias + shared.place.get(0).set(e, with) * with.channels;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int column = g + half * 8;
    const int64_t pixel = column < kResultColumns ? shared.place.get(0).pixel(e, row, column) : -1;
#pragma unroll
    for (int pair = 0; pair < kPairs; ++pair) {
      const int64_t channel = pair * 16 + t * 4, at = pixel * e.channels + channel;
      const int64_t count = pixel < 0 ? 0 : e.channels - channel;
      Vector<T, 4> added{}, result;
      if (f.residual) added = load_some<4>(e.x + at, count, whole);
      const auto bias = load_vector<4>(biases + channel);
#pragma unroll
      for (int i = 0; i < 4; ++i) result.set(i, added[i] + (sums[pair][i / 2][half * 2 + i % 2] + bias[i]));
      whole ? store_up_to<4, true>(f.y + at, result, count) : store_up_to<4, false>(f.y + at, result, count);
    }
  }
}

template <class T, class Device>
void launch_feed_forward(Device& device, const FeedForward<T>& f, const FeedForwardSteps& steps = {}) {
  const Expansion<T>& e = f.expansion;
  const auto launch = [&](auto channels, auto rows, auto blocks) {
    constexpr int kChannels = decltype(channels)::value, kRows = decltype(rows)::value;
    const auto with = launch_prepare_feed_forward(device, f, steps, kChannels);
    const int64_t tiles = divided_up(e.height, kRows - 2) * divided_up(e.width, kResultColumns);
    device.launch("feed_forward", feed_forward<T, kChannels, kRows, decltype(blocks)::value>, Blocks{e.images * tiles},
                  kRows * kWarpSize, f, with, fits_widest<T>(e.channels, {e.x, f.y}));
  };
  // As many rows and blocks as the registers are enough for.
  constexpr bool kIsWide = sizeof(T) == 4;
  if (e.channels <= 48) {
    launch(Constant<48>(), Constant<kIsWide ? 12 : 10>(), Constant<kIsWide ? 1 : 2>());
  } else {
    launch(Constant<96>(), Constant<kIsWide ? 8 : 14>(), Constant<1>());
  }
}

}  // namespace adair
