// The backward pass of the bottleneck adapter on a GPU. What lies between its convolutions is computed again.
//
// With dY the gradient of the output, p = down(x) and a = dw(p):
//   da = up^T dY GELU'(a),  dp = the convolution of da with flipped taps,  dx = down^T dp (+ dY, for the residual)
// A first kernel does this in tiles, and leaves dp and GELU(a), which are small, and the sums of the taps; the
// gradients of the two matrices are then products over all pixels: down has dp^T x, up has dY^T GELU(a).
#pragma once

#include "bottleneck/kernel.cuh"
#include "bottleneck/parameter_gradients.cuh"

namespace adair {

template <int kRank>
inline constexpr int kBackwardRows = kRank <= 32 ? 8 : 4;
constexpr int kBackwardColumns = 8;

template <class T, int kRank>
struct BottleneckBackwardShared {
  static constexpr int kRows = kBackwardRows<kRank>, kColumns = kBackwardColumns;
  typedef HiddenTile<kRows, kColumns, 2, kRank> Wider;
  typedef HiddenTile<kRows, kColumns, 1, kRank> Wide;
  typedef HiddenTile<kRows, kColumns, 0, kRank> Tile;
  static constexpr int kStride = BottleneckShared<T, kRank>::kStride;
  // dp, and the tap sums of threads, take the room of p when it has been used.
  union {
    SharedArray<float, Wider::kSize> reduced;
    SharedArray<T, Tile::kPixels * kStride> to_reduced;
    SharedArray<float, kBottleneckThreads> sums;
  };
  SharedArray<float, Wide::kSize> to_convolved;
};

// Blocks: (tiles of all images).
template <class T, int kRank, bool kWhole>
__global__ void __launch_bounds__(kBottleneckThreads, kBottleneckBlocks<kRank>)
    bottleneck_backward(BottleneckBackward<T> b, PreparedBottlenecks<T> with, BottleneckHidden<T> hidden) {
  typedef BottleneckBackwardShared<T, kRank> Shared;
  constexpr int kRows = Shared::kRows, kColumns = Shared::kColumns;
  Shared& shared = block_shared<Shared>();
  const Bottleneck<T>& f = b.forward;
  const BottleneckPlace place = bottleneck_place<kRows, kColumns>(f);
  const int64_t adapter = place.adapter;
  const T *nothing = nullptr, *residual = f.residual ? b.gradient : nullptr;
  if (adapter < 0 || adapter >= f.adapters) {
    if (b.to_x == nullptr) return;
    pass_through<T, kRows, kColumns>(nothing, residual, b.to_x, f.channels, place, f.height, f.width, adapter != -1);
    return;
  }
  const float* no_bias = nullptr;
  project_into<typename Shared::Wider, 2, kRank, kWhole>(
      shared.reduced, f.x, f.channels, with.down + adapter * kRank * with.padded_channels, with.padded_channels,
      with.down_bias + adapter * kRank, Injected<T>{}, place, f.height, f.width);
  project_into<typename Shared::Wide, 1, kRank, kWhole>(
      shared.to_convolved, b.gradient, f.channels, with.up_ranks + adapter * kRank * with.padded_channels,
      with.padded_channels, no_bias, Injected<T>{}, place, f.height, f.width);
  __syncthreads();
  // A thread has one channel in all its columns.
  const int rank = threadIdx.x % kRank;
  float taps[9], flipped[9], sums[kBottleneckSums] = {};
#pragma unroll
  for (int tap = 0; tap < 9; ++tap) {
    taps[tap] = load(with.taps + (adapter * 9 + tap) * kRank + rank);
    flipped[8 - tap] = taps[tap];
  }
  const float bias = load(with.taps_bias + adapter * kRank + rank);
  const auto pixel_of = [&](int row, int column) {
    const int64_t y = place.top + row, x = place.left + column;
    const bool inside = row >= 0 && row < kRows && column >= 0 && column < kColumns && y < f.height && x < f.width;
    return inside ? (place.image * f.height + y) * f.width + x : -1;
  };
  for (int column = int(threadIdx.x) / kRank - 1; column <= kColumns; column += kBottleneckThreads / kRank) {
    convolve_column<typename Shared::Wider, kRows + 2, kRank>(
        shared.reduced, -1, column, rank, taps, bias, [&](int row, float sum) {
          // Outside of the image its gradient is zero: that of the output was set so.
          const int at = Shared::Wide::at(row, column) + rank;
          const float to_convolved = shared.to_convolved.get(at) * gelu_derivative(sum);
          shared.to_convolved.set(at, to_convolved);
          const int64_t pixel = pixel_of(row, column);
          if (pixel < 0) return;
          store(hidden.activated + pixel * kRank + rank, from_float<T>(gelu(sum)));
          sums[9] += to_convolved;
#pragma unroll
          for (int tap = 0; tap < 9; ++tap) {
            const int from = Shared::Wider::at(row + tap / 3 - 1, column + tap % 3 - 1) + rank;
            sums[tap] = fmaf(to_convolved, shared.reduced.get(from), sums[tap]);
          }
        });
  }
  __syncthreads();
  for (int column = threadIdx.x / kRank; column < kColumns; column += kBottleneckThreads / kRank) {
    convolve_column<typename Shared::Wide, kRows, kRank>(
        shared.to_convolved, 0, column, rank, flipped, 0.0f, [&](int row, float sum) {
          const int64_t pixel = pixel_of(row, column);
          const T value = from_float<T>(pixel < 0 ? 0.0f : sum);
          shared.to_reduced.set((row * kColumns + column) * Shared::kStride + rank, value);
          if (pixel < 0) return;
          store(hidden.to_reduced + pixel * kRank + rank, value);
          sums[10] += sum;
        });
  }
  __syncthreads();
  if (b.to_x != nullptr) {
    project_out<typename Shared::Tile, kRank, kWhole>(
        shared.to_reduced, Shared::kStride, with.down_channels + adapter * with.padded_channels * kRank,
        with.padded_channels, no_bias, nothing, residual, b.to_x, f.channels, place, f.height, f.width);
  }
  // Threads with the same channel, in their order.
#pragma unroll
  for (int k = 0; k < kBottleneckSums; ++k) {
    __syncthreads();
    shared.sums.set(threadIdx.x, sums[k]);
    __syncthreads();
    if (threadIdx.x >= kRank) continue;
    float sum = 0.0f;
    for (int i = threadIdx.x; i < kBottleneckThreads; i += kRank) sum += shared.sums.get(i);
    store(hidden.sums + (int64_t(blockIdx.x) * kBottleneckSums + k) * kRank + rank, sum);
  }
}

template <class T, class Device>
void launch_bottleneck_backward(Device& device, const BottleneckBackward<T>& b) {
  const Bottleneck<T>& f = b.forward;
  const PreparedBottlenecks<T> with = launch_prepare_bottlenecks(device, f, true);
  const bool whole = fits_widest<T>(f.channels, {f.x, b.gradient, b.to_x});
  with_bottleneck_form<T>(with.padded_rank, whole, [&](auto constant, auto is_whole) {
    constexpr int kRank = decltype(constant)::value;
    const int64_t pixels = f.images * f.height * f.width;
    BottleneckHidden<T> hidden;
    hidden.tiles = divided_up(f.height, kBackwardRows<kRank>) * divided_up(f.width, kBackwardColumns);
    hidden.activated = device.template workspace<T>(pixels * kRank);
    hidden.to_reduced = device.template workspace<T>(pixels * kRank);
    hidden.sums = device.template workspace<float>(f.images * hidden.tiles * kBottleneckSums * kRank);
    device.launch("bottleneck_backward", bottleneck_backward<T, kRank, decltype(is_whole)::value>,
                  Blocks{f.images * hidden.tiles}, kBottleneckThreads, b, with, hidden);
    launch_bottleneck_parameter_gradients<kRank>(device, b, hidden);
  });
}

}  // namespace adair
