// Products with each pixel, y = M x, for matrices that belong to an image and a group of its channels (heads): what a
// batched 1x1 convolution does, with bias and addition in the same pass.
#pragma once

#include "cuda/products.cuh"
#include "cuda/sums.cuh"

namespace adair {

constexpr int kProductThreads = 256;
constexpr int kProductPixels = 128, kProductRows = 64;  // of a block; a warp has 32 x 32

template <class T>
struct PixelProducts {
  int64_t images, pixels, rows, columns, groups;
  const T* x;                   // (images, pixels, x_stride), of which a group has `columns` channels
  int64_t x_stride;
  const T* matrices;            // (images, groups, rows, columns)
  T* y;                         // (images, pixels, y_stride), of which a group has `rows` channels
  int64_t y_stride;
  const T* base = nullptr;      // (images, pixels, base_stride), added to y, or null
  int64_t base_stride = 0;
  const float* factors = nullptr;  // (images, groups rows), of `base`; null: 1
  const float* scales = nullptr;   // (images, groups rows), of the product; null: 1
  const float* bias = nullptr;     // (groups rows), rounded to T, or null
  bool bias_each = false;          // whether each image has its own: (images, groups rows)
};

// Of 64 bytes of each pixel and row of the matrix at a time. The four lanes of a row read these whole, so that eight
// lanes with two neighbouring rows have different banks.
template <class T>
struct ProductShared {
  static constexpr int kSlab = 4 * kWidest<T>;
  SharedArray<T, kProductPixels * kSlab> x;
  SharedArray<T, kProductRows * kSlab> matrix;
};

// Blocks: (tiles of pixels, groups and tiles of rows). kWhole: vectors of 16 bytes do not cross the end of a group.
template <class T, bool kWhole>
__global__ void __launch_bounds__(kProductThreads) product_of_pixels(PixelProducts<T> f) {
  constexpr int N = kWidest<T>, kSlab = ProductShared<T>::kSlab;
  auto& shared = block_shared<ProductShared<T>>();
  const int64_t tiles = (f.pixels + kProductPixels - 1) / kProductPixels;
  const int64_t row_tiles = (f.rows + kProductRows - 1) / kProductRows;
  const int64_t image = blockIdx.x / tiles, first_pixel = blockIdx.x % tiles * kProductPixels;
  const int64_t group = blockIdx.y / row_tiles, first_row = blockIdx.y % row_tiles * kProductRows;
  const T* x = f.x + image * f.pixels * f.x_stride + group * f.columns;
  const T* matrix = f.matrices + (image * f.groups + group) * f.rows * f.columns;
  const int lane = threadIdx.x % kWarpSize, g = lane / 4, t = lane % 4, warp = threadIdx.x / kWarpSize;
  const int pixel_in_tile = warp / 2 * 32, row_in_tile = warp % 2 * 32;
  // What a thread brings: 16 bytes of a row of the matrix, and of two pixels.
  const int own = threadIdx.x / 4, part = threadIdx.x % 4 * N;
  Vector<T, N> next_x[2], next_matrix;
  const auto fetch = [&](int64_t slab) {
    const int64_t column = slab + part, row = first_row + own;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int64_t pixel = first_pixel + own + i * 64;
      next_x[i] = load_up_to<N, kWhole>(x + pixel * f.x_stride + column, pixel < f.pixels ? f.columns - column : 0);
    }
    next_matrix = load_up_to<N, kWhole>(matrix + row * f.columns + column, row < f.rows ? f.columns - column : 0);
  };
  float sums[2][4][4] = {};
  fetch(0);
  for (int64_t slab = 0; slab < f.columns; slab += kSlab) {
    __syncthreads();  // until all have used the slab before
    shared.x.template set_vector<N>(own * kSlab + part, next_x[0]);
    shared.x.template set_vector<N>((own + 64) * kSlab + part, next_x[1]);
    shared.matrix.template set_vector<N>(own * kSlab + part, next_matrix);
    __syncthreads();
    if (slab + kSlab < f.columns) fetch(slab + kSlab);
    Vector<T, N> above[2], below[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      above[i] = shared.x.template get_vector<N>((pixel_in_tile + i * 16 + g) * kSlab + t * N);
      below[i] = shared.x.template get_vector<N>((pixel_in_tile + i * 16 + g + 8) * kSlab + t * N);
    }
#pragma unroll
    for (int block = 0; block < 4; ++block) {
      // So a lane gets the sums of eight neighbouring rows, two from each block.
      const int row = row_in_tile + g / 2 * 8 + block * 2 + g % 2;
      const auto right = shared.matrix.template get_vector<N>(row * kSlab + t * N);
#pragma unroll
      for (int step = 0; step < 2; ++step) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          multiply_add_apart(sums[i][block], operand(above[i], step), operand(below[i], step), operand(right, step));
        }
      }
    }
  }
#pragma unroll
  for (int in_lane = 0; in_lane < 8; in_lane += N) {
    const int64_t row = first_row + row_in_tile + t * 8 + in_lane, channel = group * f.rows + row;
    float factors[N], scales[N], biases[N];
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const bool inside = row + k < f.rows;
      factors[k] = inside && f.factors != nullptr ? load(f.factors + image * f.groups * f.rows + channel + k) : 1.0f;
      scales[k] = inside && f.scales != nullptr ? load(f.scales + image * f.groups * f.rows + channel + k) : 1.0f;
      biases[k] = inside && f.bias != nullptr
                      ? rounded<T>(load(f.bias + (f.bias_each ? image * f.groups * f.rows : 0) + channel + k))
                      : 0.0f;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int64_t pixel = first_pixel + pixel_in_tile + i / 2 * 16 + i % 2 * 8 + g, at = image * f.pixels + pixel;
      const int64_t count = pixel < f.pixels ? f.rows - row : 0;
      Vector<T, N> added{}, result;
      if (f.base != nullptr) added = load_up_to<N, kWhole>(f.base + at * f.base_stride + channel, count);
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const int place = in_lane + k;
        const float sum = sums[i / 2][place / 2][i % 2 * 2 + place % 2];
        result.set(k, fmaf(sum, scales[k], fmaf(added[k], factors[k], biases[k])));
      }
      store_up_to<N, kWhole>(f.y + at * f.y_stride + channel, result, count);
    }
  }
}

template <class T, class Device>
void launch_product_of_pixels(Device& device, const PixelProducts<T>& f) {
  const Blocks blocks{f.images * divided_up(f.pixels, kProductPixels), f.groups * divided_up(f.rows, kProductRows)};
  const bool whole = fits_widest<T>({f.rows, f.columns, f.x_stride, f.y_stride, f.base_stride},
                                    {f.x, f.matrices, f.y, f.base});
  if (whole) {
    device.launch("product_of_pixels", product_of_pixels<T, true>, blocks, kProductThreads, f);
  } else {
    device.launch("product_of_pixels", product_of_pixels<T, false>, blocks, kProductThreads, f);
  }
}

}  // namespace adair
