// Tiles of pixels whose few hidden channels live in shared memory, and the 1x1 convolutions into and out of them.
#pragma once

#include "bottleneck/prepare.cuh"
#include "common/numbers.h"
#include "cuda/products.cuh"

namespace adair {

constexpr int kBottleneckThreads = 256;
constexpr int kBottleneckWarps = kBottleneckThreads / kWarpSize;
// Of which a multiprocessor shall hold so many: with fewer registers than that leaves them, ptxas spills.
template <int kRank>
inline constexpr int kBottleneckBlocks = kRank <= 32 ? 2 : 1;

// Rows x columns pixels with kMargin more on each side, of kRank channels each.
template <int kRows, int kColumns, int kMargin, int kRank>
struct HiddenTile {
  static constexpr int kHigh = kRows + 2 * kMargin, kWide = kColumns + 2 * kMargin;
  static constexpr int kPixels = kHigh * kWide;
  static constexpr int kSize = kPixels * kRank;

  ADAIR_DEVICE static int at(int row, int column) { return ((row + kMargin) * kWide + column + kMargin) * kRank; }
};

struct BottleneckPlace {
  int64_t image, top, left, adapter;
};

template <int kRows, int kColumns, class Arguments>
ADAIR_DEVICE BottleneckPlace bottleneck_place(const Arguments& f) {
  const int64_t across = (f.width + kColumns - 1) / kColumns, down = (f.height + kRows - 1) / kRows;
  BottleneckPlace place;
  place.image = blockIdx.x / (across * down);
  place.top = blockIdx.x / across % down * kRows;
  place.left = blockIdx.x % across * kColumns;
  place.adapter = f.index == nullptr ? 0 : load(f.index + place.image);
  return place;
}

// A thread keeps its hidden channel when it goes on to the next column.
static_assert(kBottleneckThreads % kLargestRank == 0);

// The pixel, counted from the first of all images, at a place of a tile with a margin; -1 outside of the image.
template <class Tile>
ADAIR_DEVICE int64_t pixel_at(int place_in_tile, int margin, const BottleneckPlace& place, int64_t height,
                              int64_t width) {
  const int64_t y = place.top + place_in_tile / Tile::kWide - margin;
  const int64_t x = place.left + place_in_tile % Tile::kWide - margin;
  const bool inside = place_in_tile < Tile::kPixels && y >= 0 && y < height && x >= 0 && x < width;
  return inside ? (place.image * height + y) * width + x : -1;
}

// What is added to the hidden channels of each pixel: (pixels, ranks), or null.
template <class T>
struct Injected {
  const T* values;
  int64_t ranks;

  ADAIR_DEVICE float at(int64_t pixel, int rank) const {
    return values == nullptr || rank >= ranks ? 0.0f : to_float(load(values + pixel * ranks + rank));
  }
};

// A 1x1 convolution into a tile: `to` = matrix x + bias + injected for the pixels inside of the image, zero for the
// others. `matrix` is (kRank, padded_channels); kWhole: vectors of 16 bytes do not cross the end of a pixel.
template <class Tile, int kMargin, int kRank, bool kWhole, class T, int kSize>
ADAIR_DEVICE void project_into(SharedArray<float, kSize>& to, const T* images, int64_t channels, const T* matrix,
                               int64_t padded_channels, const float* bias, const Injected<T>& injected,
                               const BottleneckPlace& place, int64_t height, int64_t width) {
  constexpr int N = kWidest<T>, kBlocks = kRank / 8;
  const int lane = threadIdx.x % kWarpSize, g = lane / 4, t = lane % 4;
  for (int first = threadIdx.x / kWarpSize * 16; first < Tile::kPixels; first += kBottleneckWarps * 16) {
    const int64_t upper = pixel_at<Tile>(first + g, kMargin, place, height, width);
    const int64_t lower = pixel_at<Tile>(first + g + 8, kMargin, place, height, width);
    float sums[kBlocks][4] = {};
    for (int64_t slab = 0; slab < channels; slab += 4 * N) {
      const int64_t c = slab + t * N;
      const auto above = load_up_to<N, kWhole>(images + upper * channels + c, upper < 0 ? 0 : channels - c);
      const auto below = load_up_to<N, kWhole>(images + lower * channels + c, lower < 0 ? 0 : channels - c);
#pragma unroll
      for (int block = 0; block < kBlocks; ++block) {
        const auto column = load_vector<N>(matrix + (block * 8 + g) * padded_channels + c);
        multiply_add(sums[block], operand(above, 0), operand(below, 0), operand(column, 0));
        multiply_add(sums[block], operand(above, 1), operand(below, 1), operand(column, 1));
      }
    }
#pragma unroll
    for (int block = 0; block < kBlocks; ++block) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int pixel = first + g + i / 2 * 8, rank = block * 8 + t * 2 + i % 2;
        if (pixel >= Tile::kPixels) continue;
        const int64_t from = i / 2 == 0 ? upper : lower;
        float value = 0.0f;
        if (from >= 0) value = sums[block][i] + (bias == nullptr ? 0.0f : load(bias + rank)) + injected.at(from, rank);
        to.set(pixel * kRank + rank, value);
      }
    }
  }
}

// A 1x1 convolution out of a tile without margin: y = matrix hidden + bias (+ base) (+ residual). `matrix` is
// (padded_channels, kRank).
// A lane gets the sums of eight neighbouring channels: of four blocks of eight columns it has two each.
template <class Tile, int kRank, bool kWhole, class T, int kSize>
ADAIR_DEVICE void project_out(const SharedArray<T, kSize>& hidden, int stride, const T* matrix, int64_t padded_channels,
                              const float* bias, const T* base, const T* residual, T* y, int64_t channels,
                              const BottleneckPlace& place, int64_t height, int64_t width) {
  constexpr int kStep = kStepValues<T>, kOwn = kRank / 4;
  static_assert(Tile::kPixels % 16 == 0, "a warp reads the hidden channels of 16 pixels, all of which must be there");
  const int lane = threadIdx.x % kWarpSize, g = lane / 4, t = lane % 4;
  for (int first = threadIdx.x / kWarpSize * 16; first < Tile::kPixels; first += kBottleneckWarps * 16) {
    const int64_t pixels[2] = {pixel_at<Tile>(first + g, 0, place, height, width),
                               pixel_at<Tile>(first + g + 8, 0, place, height, width)};
    for (int64_t group = 0; group < padded_channels; group += kChannelGroup) {
      float sums[4][4] = {};
#pragma unroll
      for (int k = 0; k < kOwn; k += kStep) {
        const auto above = operand(hidden.template get_vector<kStep>((first + g) * stride + t * kOwn + k));
        const auto below = operand(hidden.template get_vector<kStep>((first + g + 8) * stride + t * kOwn + k));
#pragma unroll
        for (int block = 0; block < 4; ++block) {
          const int64_t channel = group + g / 2 * 8 + block * 2 + g % 2;
          const auto column = operand(load_vector<kStep>(matrix + channel * kRank + t * kOwn + k));
          multiply_add(sums[block], above, below, column);
        }
      }
      const int64_t c = group + t * 8;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
#pragma unroll
        for (int part = 0; part < 8; part += kWidest<T>) {
          const int64_t count = pixels[half] < 0 ? 0 : channels - c - part, at = pixels[half] * channels + c + part;
          Vector<T, kWidest<T>> added{}, also{}, result;
          if (base != nullptr) added = load_up_to<kWidest<T>, kWhole>(base + at, count);
          if (residual != nullptr) also = load_up_to<kWidest<T>, kWhole>(residual + at, count);
#pragma unroll
          for (int i = 0; i < kWidest<T>; ++i) {
            const int place_in_group = part + i;
            const float sum = sums[place_in_group / 2][half * 2 + place_in_group % 2];
            result.set(i, added[i] + also[i] + sum + (bias == nullptr ? 0.0f : load(bias + c + place_in_group)));
          }
          store_up_to<kWidest<T>, kWhole>(y + at, result, count);
        }
      }
    }
  }
}

// A depthwise 3x3 convolution down a column of a tile, of one channel: work(row, sum) for each of kCount rows.
template <class Tile, int kCount, int kRank, int kSize, class Work>
ADAIR_DEVICE void convolve_column(const SharedArray<float, kSize>& tile, int first_row, int column, int rank,
                                  const float (&taps)[9], float bias, const Work& work) {
  float rows[3][3];
  const auto read_row = [&](int row, float(&values)[3]) {
#pragma unroll
    for (int k = 0; k < 3; ++k) values[k] = tile.get(Tile::at(row, column + k - 1) + rank);
  };
  read_row(first_row - 1, rows[0]);
  read_row(first_row, rows[1]);
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    read_row(first_row + i + 1, rows[(i + 2) % 3]);
    float sum = bias;
#pragma unroll
    for (int tap = 0; tap < 9; ++tap) sum = fmaf(rows[(i + tap / 3) % 3][tap % 3], taps[tap], sum);
    work(first_row + i, sum);
  }
}

}  // namespace adair
