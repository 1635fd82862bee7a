// Strips of a tile: kStrip pixels below one another, of one channel, which a thread convolves.
//
// A thread has values of kStrip rows, while what is wide in memory are values of neighbouring threads in one row. So N
// neighbouring lanes exchange the values of N rows, and then each has the N neighbouring values of a row: one access.
#pragma once

#include "cuda/transpose.cuh"
#include "depthwise_gate/tiles.cuh"

namespace adair {

// Where a thread's strip begins in its tile.
template <bool kLast, int N>
struct Strip {
  int channel, column, row;

  ADAIR_DEVICE explicit Strip(int index) {
    typedef GateTile<kLast, N> Tile;
    channel = index % Tile::kChannels;
    column = index / Tile::kChannels % Tile::kColumns;
    row = index / (Tile::kChannels * Tile::kColumns) * kStrip;
  }
};

// Calls work(strip, channel, x, inside) for the strips of a thread; they have the same channel. Where lanes exchange
// values, a warp calls it with all its lanes or with none, and `inside` says which of them have pixels of the image.
template <bool kLast, int N, class Work>
ADAIR_DEVICE void each_strip(const GatePlace<kLast, N>& place, int64_t first_channel, int64_t channels, int64_t width,
                             const Work& work) {
  typedef GateTile<kLast, N> Tile;
  static_assert(Tile::kStrips % kGateThreads == 0 && (kLast ? Tile::kChannels : Tile::kColumns) % kWarpSize == 0);
#pragma unroll 1
  for (int index = threadIdx.x; index < Tile::kStrips; index += kGateThreads) {
    const Strip<kLast, N> strip(index);
    const int64_t channel = first_channel + strip.channel, x = place.left + strip.column;
    const bool inside = channel < channels && x < width;
    const int64_t warp_x = kLast ? x : x - threadIdx.x % kWarpSize;
    if (N == 1 ? !inside : warp_x >= width) continue;
    work(strip, channel, x, inside);
  }
}

// Where a strip's values are in an image, in vectors: this lane's ith is of the row threadIdx.x % N of the ith N rows.
template <bool kLast, int N>
struct StripVectors {
  int64_t at, step;  // of the next vector, to the one after
  int rows;          // of the strip, inside of the image

  // The strip has the channel `channel`, begins at (y, x), and has no rows if it is not `inside`.
  ADAIR_DEVICE StripVectors(const GateImages<kLast>& images, int64_t image, int64_t y, int64_t x, int64_t channel,
                            bool inside) {
    const int lane = threadIdx.x % N;
    at = images.at(image, y + lane, kLast ? x : x - lane, kLast ? channel - lane : channel);
    step = N * images.width * (kLast ? images.channels : 1);
    rows = !inside ? 0 : images.height - y < kStrip ? int(images.height - y) : kStrip;
  }
  // Whether there is the ith; then next() is its place, each in turn.
  ADAIR_DEVICE bool has(int i) const { return i * N + int(threadIdx.x % N) < rows; }
  ADAIR_DEVICE int64_t next() {
    const int64_t here = at;
    at += step;
    return here;
  }
};

// Writes the values of a strip, which come one after the other.
template <class T, bool kLast, int N>
struct StripWriter {
  T* to;
  StripVectors<kLast, N> vectors;
  Vector<T, N> values;

  // All lanes of a warp take part.
  ADAIR_DEVICE void add(int i, float value) {
    values.set(i % N, value);
    if (i % N != N - 1) return;
    transpose<N>(values.values);
    if (vectors.has(i / N)) store_vector<N>(to + vectors.next(), values);
  }
};

// Calls work(i, sum) with the 3x3 convolution at each pixel of a strip.
template <bool kLast, int N, class T, class Work>
ADAIR_DEVICE void convolve_strip(const SharedArray<T, GateTile<kLast, N>::kSize>& tile, const Strip<kLast, N>& strip,
                                 const float (&taps)[9], float bias, const Work& work) {
  typedef GateTile<kLast, N> Tile;
  float rows[3][3];
  const auto read_row = [&](int row, float(&values)[3]) {
    for (int k = 0; k < 3; ++k) {
      values[k] = to_float(tile.get(Tile::at(strip.row + row, strip.column + k - 1, strip.channel)));
    }
  };
  read_row(-1, rows[0]);
  read_row(0, rows[1]);
#pragma unroll
  for (int i = 0; i < kStrip; ++i) {
    read_row(i + 1, rows[(i + 2) % 3]);
    float sum = bias;
#pragma unroll
    for (int tap = 0; tap < 9; ++tap) sum = fmaf(rows[(i + tap / 3) % 3][tap % 3], taps[tap], sum);
    work(i, sum);
  }
}

}  // namespace adair
