// The bottleneck adapter on a GPU in one pass; equations in adair_core/ops/bottleneck/reference.py.
//
// A block has a tile of pixels: it computes the few hidden channels of these and of the pixels around them into shared
// memory, convolves and activates them there, and expands them into the result. Nothing between x and y is in memory.
#pragma once

#include "bottleneck/arguments.h"
#include "bottleneck/tiles.cuh"
#include "cuda/gelu.cuh"

namespace adair {

// As many pixels as fit into shared memory.
template <int kRank>
inline constexpr int kForwardColumns = kRank <= 32 ? 16 : 8;
constexpr int kForwardRows = 8;

template <class T, int kRank>
struct BottleneckShared {
  typedef HiddenTile<kForwardRows, kForwardColumns<kRank>, 1, kRank> Wide;
  typedef HiddenTile<kForwardRows, kForwardColumns<kRank>, 0, kRank> Tile;
  // Longer than the rank, so that lanes that read one below the other find different banks.
  static constexpr int kStride = kRank + kStepValues<T>;
  SharedArray<float, Wide::kSize> reduced;
  SharedArray<T, Tile::kPixels * kStride> hidden;
};

// What an image without an adapter gets: the sum of what there is of the two, or zeros; and NaN, to be noticed, where
// the index is none.
template <class T, int kRows, int kColumns>
ADAIR_DEVICE void pass_through(const T* base, const T* residual, T* y, int64_t channels, const BottleneckPlace& place,
                               int64_t height, int64_t width, bool is_error) {
  typedef HiddenTile<kRows, kColumns, 0, 1> Tile;
  for (int64_t i = threadIdx.x; i < Tile::kPixels * channels; i += kBottleneckThreads) {
    const int64_t pixel = pixel_at<Tile>(int(i / channels), 0, place, height, width);
    if (pixel < 0) continue;
    const int64_t at = pixel * channels + i % channels;
    float sum = is_error ? NAN : 0.0f;
    if (base != nullptr) sum += to_float(load(base + at));
    if (residual != nullptr) sum += to_float(load(residual + at));
    store(y + at, from_float<T>(sum));
  }
}

// Blocks: (tiles of all images).
template <class T, int kRank, bool kWhole>
__global__ void __launch_bounds__(kBottleneckThreads, kBottleneckBlocks<kRank>)
    bottleneck(Bottleneck<T> f, PreparedBottlenecks<T> with) {
  typedef BottleneckShared<T, kRank> Shared;
  constexpr int kColumns = kForwardColumns<kRank>;
  Shared& shared = block_shared<Shared>();
  const BottleneckPlace place = bottleneck_place<kForwardRows, kColumns>(f);
  const int64_t adapter = place.adapter;
  const T* residual = f.residual ? f.x : nullptr;
  if (adapter < 0 || adapter >= f.adapters) {
    pass_through<T, kForwardRows, kColumns>(f.base, residual, f.y, f.channels, place, f.height, f.width, adapter != -1);
    return;
  }
  project_into<typename Shared::Wide, 1, kRank, kWhole>(
      shared.reduced, f.x, f.channels, with.down + adapter * kRank * with.padded_channels, with.padded_channels,
      with.down_bias + adapter * kRank, Injected<T>{f.injected, f.rank}, place, f.height, f.width);
  __syncthreads();
  for (int index = threadIdx.x; index < kColumns * kRank; index += kBottleneckThreads) {
    const int rank = index % kRank, column = index / kRank;
    float taps[9];
#pragma unroll
    for (int tap = 0; tap < 9; ++tap) taps[tap] = load(with.taps + (adapter * 9 + tap) * kRank + rank);
    const float bias = load(with.taps_bias + adapter * kRank + rank);
    convolve_column<typename Shared::Wide, kForwardRows, kRank>(
        shared.reduced, 0, column, rank, taps, bias, [&](int row, float sum) {
          shared.hidden.set((row * kColumns + column) * Shared::kStride + rank, from_float<T>(gelu(sum)));
        });
  }
  __syncthreads();
  project_out<typename Shared::Tile, kRank, kWhole>(
      shared.hidden, Shared::kStride, with.up + adapter * with.padded_channels * kRank, with.padded_channels,
      with.up_bias + adapter * with.padded_channels, f.base, residual, f.y, f.channels, place, f.height, f.width);
}

// Calls work(Constant<padded rank>(), Constant<kWhole>()).
template <class T, class Work>
inline void with_bottleneck_form(int64_t padded_rank, bool whole, const Work& work) {
  const auto with_rank = [&](auto rank) {
    whole ? work(rank, Constant<true>()) : work(rank, Constant<false>());
  };
  padded_rank == 16   ? with_rank(Constant<16>())
  : padded_rank == 32 ? with_rank(Constant<32>())
                      : with_rank(Constant<64>());
}

template <class T, class Device>
void launch_bottleneck(Device& device, const Bottleneck<T>& f) {
  const PreparedBottlenecks<T> with = launch_prepare_bottlenecks(device, f, false);
  with_bottleneck_form<T>(with.padded_rank, fits_widest<T>(f.channels, {f.x, f.base, f.y}), [&](auto rank, auto whole) {
    constexpr int kRank = decltype(rank)::value;
    const int64_t tiles = divided_up(f.height, kForwardRows) * divided_up(f.width, kForwardColumns<kRank>);
    device.launch("bottleneck", bottleneck<T, kRank, decltype(whole)::value>, Blocks{f.images * tiles},
                  kBottleneckThreads, f, with);
  });
}

}  // namespace adair
