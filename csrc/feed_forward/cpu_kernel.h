// The feed-forward branch, row by row: the 2h hidden channels of three rows are all that exists of them at any time.
// Included once for each instruction set.

#include "common/vector.h"
#include "common/rows.h"
#include "common/gelu.h"
#include "common/gemm.h"
#include "common/depthwise.h"
#include "common/gate.h"
#include "feed_forward/weights.h"

// Three rows of hidden channels in a quarter of a megabyte, which second-level caches have.
constexpr int64_t kRingFloats = 64 * 1024;

template <class T>
void feed_forward_block(const FeedForward<T>& f, const FeedForwardWeights<T>& weights, const Block& block) {
  typedef typename OperandOf<T>::type E;
  const int64_t c = weights.channels, h = weights.hidden.half, columns = block.right - block.left, wide = columns + 2;
  Scratch scratch(Scratch::bytes<float>(c) + Scratch::bytes<E>(wide * c) + Scratch::bytes<float>(3 * wide * 2 * h) +
                  Scratch::bytes<E>(columns * h) + Scratch::bytes<float>(columns * c));
  float* pixel = scratch.take<float>(c);
  E* normalised = scratch.take<E>(wide * c);
  float* ring = scratch.take<float>(3 * wide * 2 * h);
  E* gated = scratch.take<E>(columns * h);
  float* result = scratch.take<float>(columns * c);
  const vec last = last_vector(f.channels);
  const float* norm_bias = f.norm_bias == nullptr ? nullptr : weights.norm_bias;
  // Columns of a row that lie in the image; the others are the convolution's padding.
  const int64_t from = block.left > 0 ? block.left - 1 : 0, to = block.right < f.width ? block.right + 1 : f.width;
  auto ring_row = [&](int64_t y) { return ring + ((y + 3) % 3) * wide * 2 * h; };
  if (block.left == 0 || block.right == f.width) {
    for (int64_t row = 0; row < 3; ++row) {
      std::memset(ring_row(row), 0, 2 * h * sizeof(float));
      std::memset(ring_row(row) + (wide - 1) * 2 * h, 0, 2 * h * sizeof(float));
    }
  }
  for (int64_t y = block.top - 1; y <= block.bottom; ++y) {
    if (y < 0 || y >= f.height) {
      std::memset(ring_row(y), 0, wide * 2 * h * sizeof(float));
    } else {
      const T* x = f.x + ((block.image * f.height + y) * f.width + from) * f.channels;
      for (int64_t i = 0; i < to - from; ++i) {
        read_pixel(x + i * f.channels, f.channels, pixel, c);
        normalise_pixel(pixel, statistics(pixel, f.channels, last, f.eps), weights.norm_weight, norm_bias, c,
                        normalised + i * c);
      }
      multiply(normalised, c, to - from, weights.in, 2 * h, c, f.in_bias == nullptr ? nullptr : weights.in_bias,
               ring_row(y) + (from - block.left + 1) * 2 * h, 2 * h);
    }
    if (y < block.top + 1) continue;
    const int64_t start = ((block.image * f.height + y - 1) * f.width + block.left);
    const float* const rows[3] = {ring_row(y - 2), ring_row(y - 1), ring_row(y)};
    gate_row(weights.taps, weights.taps_bias, h, rows, columns, gated, f.convolved == nullptr ? nullptr : f.convolved + start * 2 * f.hidden,
             f.hidden);
    multiply(gated, h, columns, weights.out, c, h, f.out_bias == nullptr ? nullptr : weights.out_bias, result, c);
    for (int64_t i = 0; i < columns; ++i) {
      const T* x = f.x + (start + i) * f.channels;
      T* y_pixel = f.y + (start + i) * f.channels;
      for (int64_t k = 0; k < f.channels; k += kWidth) {
        const vec branch = load(result + i * c + k);
        write(y_pixel + k, f.residual ? branch + read(x + k, f.channels - k) : branch, f.channels - k);
      }
    }
  }
}

template <class T>
void feed_forward_kernel(const FeedForward<T>& f, const Parallel& parallel) {
  Scratch memory(FeedForwardWeights<T>::bytes(f));
  const FeedForwardWeights<T> weights(f, memory);
  // Rows above and below a block, and columns beside it, are computed twice: as few blocks as keep the threads busy,
  // and no more columns than the ring has room for.
  const int64_t columns = even_part(f.width, std::max<int64_t>(30, kRingFloats / (3 * weights.hidden.padded())));
  const int64_t wanted = divide_up(4 * parallel.threads, f.images * divide_up(f.width, columns));
  const int64_t rows = even_part(f.height, std::max<int64_t>(8, divide_up(f.height, wanted)));
  const Grid grid{f.images, f.height, f.width, rows, columns};
  parallel.run(grid.blocks(), [&](int64_t index) { feed_forward_block(f, weights, grid.at(index)); });
}
