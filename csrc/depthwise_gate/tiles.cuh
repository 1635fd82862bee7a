// Tiles of images with the pixels around them, for 3x3 convolutions.
//
// A thread convolves a strip: kStrip pixels below one another, of one channel (strips.cuh). Neighbouring threads have
// neighbouring values in memory: of 32 channels where the channels are last, of 64 columns where they are first.
#pragma once

#include "common/numbers.h"
#include "cuda/sums.cuh"

namespace adair {

constexpr int kGateThreads = 256;
constexpr int kStrip = 8;

// N is the number of values in an access to memory.
template <bool kLast, int N>
struct GateTile {
  static constexpr int kChannels = kLast ? 32 : 1;
  static constexpr int kColumns = kLast ? 16 : 64;
  static constexpr int kRows = kLast ? kStrip : 4 * kStrip;
  // More columns than the one that is needed on each side, where the accesses are along them.
  static constexpr int kMargin = kLast ? 1 : N;
  static constexpr int kWide = kColumns + 2 * kMargin;
  static constexpr int kHigh = kRows + 2;
  static constexpr int kSize = kHigh * kWide * kChannels;
  static constexpr int kStrips = kRows / kStrip * kColumns * kChannels;

  ADAIR_DEVICE static int at(int row, int column, int channel) {
    return ((row + 1) * kWide + column + kMargin) * kChannels + channel;
  }
};

// The images: (images, height, width, channels) or (images, channels, height, width).
template <bool kLast>
struct GateImages {
  int64_t height, width, channels;

  ADAIR_DEVICE int64_t at(int64_t image, int64_t y, int64_t x, int64_t channel) const {
    return kLast ? ((image * height + y) * width + x) * channels + channel
                 : ((image * channels + channel) * height + y) * width + x;
  }
};

// Calls work(channels_last, width of an access), both constants.
template <class T, class Work>
inline void with_image_layout(bool channels_last, int64_t channels, int64_t width,
                              std::initializer_list<const void*> images, const Work& work) {
  const bool fits = fits_widest<T>(channels_last ? channels : width, images);
  const auto with_layout = [&](auto last) {
    fits ? work(last, Constant<kWidest<T>>()) : work(last, Constant<1>());
  };
  channels_last ? with_layout(Constant<true>()) : with_layout(Constant<false>());
}

// The place of a tile, the `index`th of all; tiles of a channel group follow one another.
template <bool kLast, int N>
struct GatePlace {
  int64_t image, top, left;

  ADAIR_DEVICE GatePlace(int64_t index, int64_t height, int64_t width) {
    typedef GateTile<kLast, N> Tile;
    const int64_t across = (width + Tile::kColumns - 1) / Tile::kColumns;
    const int64_t down = (height + Tile::kRows - 1) / Tile::kRows;
    image = index / (across * down);
    top = index / across % down * Tile::kRows;
    left = index % across * Tile::kColumns;
  }
};

template <bool kLast, int N>
inline int64_t gate_tiles(int64_t images, int64_t height, int64_t width) {
  typedef GateTile<kLast, N> Tile;
  return images * divided_up(height, Tile::kRows) * divided_up(width, Tile::kColumns);
}

// Calls work(row, column, channel, inside) for the first of each N values of a tile with what is around it.
template <bool kLast, int N, class Work>
ADAIR_DEVICE void each_vector(const GatePlace<kLast, N>& place, int64_t first_channel, int64_t channels,
                              int64_t height, int64_t width, const Work& work) {
  typedef GateTile<kLast, N> Tile;
  constexpr int kVectors = Tile::kSize / N;
  // A thread has one to six vectors, or up to 23 single values; more than two at a time cost registers.
#pragma unroll 2
  for (int i = threadIdx.x; i < kVectors; i += kGateThreads) {
    const int channel = i * N % Tile::kChannels, pixel = i * N / Tile::kChannels;
    const int row = pixel / Tile::kWide - 1, column = pixel % Tile::kWide - Tile::kMargin;
    const int64_t y = place.top + row, x = place.left + column;
    work(row, column, channel, y >= 0 && y < height && x >= 0 && x < width && first_channel + channel < channels);
  }
}

}  // namespace adair
