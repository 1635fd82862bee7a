// Products over all pixels, G = A^T B for images A (pixels, M) and B (pixels, channels): a tall reduction by tensor
// cores.
//
// Blocks take parts of an image's pixels, which the shape alone decides, and leave partial sums to be added in order.
// The images may be channels of wider ones, and groups of channels (heads) are multiplied each by itself.
#pragma once

#include "cuda/products.cuh"
#include "cuda/sums.cuh"

namespace adair {

constexpr int kGramThreads = 256;
constexpr int kGramColumns = kGramThreads / kWarpSize * 8;  // a block of eight for each warp
constexpr int kGramPixels = 64;                             // in shared memory at a time
constexpr int64_t kGramPartPixels = 512, kGramParts = 64;

inline int64_t gram_parts(int64_t pixels) {
  const int64_t wanted = divided_up(pixels, kGramPartPixels);
  return wanted < kGramParts ? wanted : kGramParts;
}

template <class T>
struct Gram {
  int64_t images, pixels, rows, columns, parts;
  const T* a;                       // (images, pixels, a_stride), of which a group has `rows` channels
  const T* b;                       // (images, pixels, b_stride), of which a group has `columns` channels
  const int64_t* index = nullptr;   // or null; images whose index is not in [0, indices) are left out
  float* sums = nullptr;            // (images, parts, groups, rows, columns)
  float* column_sums = nullptr;     // (images, parts, groups, columns) of B, or null
  float* row_squares = nullptr;     // (images, parts, groups, rows), sums of the squares of A, or null
  float* column_squares = nullptr;  // (images, parts, groups, columns) of B, null if `row_squares` is
  int64_t groups = 1, a_stride = rows, b_stride = columns, indices = 0;
};

// Channels of pixels, transposed: what a lane gives to a step, the values of neighbouring pixels, lies together.
template <class T, int kRows>
struct GramShared {
  static constexpr int kStride = kGramPixels + kStepValues<T>;
  SharedArray<T, kRows * kStride> a;
  SharedArray<T, kGramColumns * kStride> b;
};

// Reads kGramPixels pixels of kChannels channels, of which there are `channels`; zeros where there are none.
template <int kChannels, bool kWhole, class T, int kSize>
ADAIR_DEVICE void read_transposed(SharedArray<T, kSize>& to, int shared_stride, const T* images, int64_t stride,
                                  int64_t pixel, int64_t end, int64_t channels) {
  constexpr int N = kWidest<T>, kVectors = kChannels / N;
  for (int i = threadIdx.x; i < kGramPixels * kVectors; i += kGramThreads) {
    const int channel = i % kVectors * N, place = i / kVectors;
    const int64_t count = pixel + place < end ? channels - channel : 0;
    const auto values = load_up_to<N, kWhole>(images + (pixel + place) * stride + channel, count);
#pragma unroll
    for (int k = 0; k < N; ++k) to.set((channel + k) * shared_stride + place, values.values[k]);
  }
}

// The sum of the squares of half the pixels of a channel.
template <class T, int kSize>
ADAIR_DEVICE float half_of_squares(const SharedArray<T, kSize>& channels, int at) {
  constexpr int N = kStepValues<T>;
  float sum = 0.0f;
#pragma unroll
  for (int k = 0; k < kGramPixels / 2; k += N) {
    const auto values = channels.template get_vector<N>(at + k);
#pragma unroll
    for (int i = 0; i < N; ++i) sum = fmaf(values[i], values[i], sum);
  }
  return sum;
}

// Blocks: (images parts, tiles of columns, groups and tiles of rows). kWhole: vectors of 16 bytes do not cross the end
// of a group's channels.
template <class T, int kRows, bool kWhole>
__global__ void __launch_bounds__(kGramThreads) gram(Gram<T> f) {
  typedef GramShared<T, kRows> Shared;
  constexpr int kStep = kStepValues<T>, kBlocks = kRows / 16;
  Shared& shared = block_shared<Shared>();
  const int lane = threadIdx.x % kWarpSize, g = lane / 4, t = lane % 4, column = threadIdx.x / kWarpSize * 8;
  const int64_t image = blockIdx.x / f.parts, part = blockIdx.x % f.parts, row_tiles = (f.rows + kRows - 1) / kRows;
  const int64_t group = blockIdx.z / row_tiles, first_row = blockIdx.z % row_tiles * kRows;
  const int64_t first_column = int64_t(blockIdx.y) * kGramColumns;
  if (f.index != nullptr) {
    const int64_t index = load(f.index + image);
    if (index < 0 || index >= f.indices) return;
  }
  const T* a = f.a + group * f.rows + first_row;
  const T* b = f.b + group * f.columns + first_column;
  // For squares: two threads for each channel in shared memory, of A and then of B.
  const int own = threadIdx.x / 2, half = threadIdx.x % 2 * (kGramPixels / 2);
  float sums[kBlocks][4] = {}, column_sum = 0.0f, squares = 0.0f;
  const int64_t start = image * f.pixels, end = start + (part + 1) * f.pixels / f.parts;
  for (int64_t pixel = start + part * f.pixels / f.parts; pixel < end; pixel += kGramPixels) {
    __syncthreads();  // until all have used the pixels before
    read_transposed<kRows, kWhole>(shared.a, Shared::kStride, a, f.a_stride, pixel, end, f.rows - first_row);
    read_transposed<kGramColumns, kWhole>(shared.b, Shared::kStride, b, f.b_stride, pixel, end,
                                          f.columns - first_column);
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kGramPixels; k += 4 * kStep) {
      const int at = k + t * kStep;
      const auto right = operand(shared.b.template get_vector<kStep>((column + g) * Shared::kStride + at));
#pragma unroll
      for (int block = 0; block < kBlocks; ++block) {
        const int row = (block * 16 + g) * Shared::kStride;
        const auto upper = operand(shared.a.template get_vector<kStep>(row + at));
        const auto lower = operand(shared.a.template get_vector<kStep>(row + 8 * Shared::kStride + at));
        multiply_add_apart(sums[block], upper, lower, right);
      }
    }
    if (f.row_squares != nullptr && own < kRows) squares += half_of_squares(shared.a, own * Shared::kStride + half);
    if (f.row_squares != nullptr && own >= kRows && own < kRows + kGramColumns) {
      squares += half_of_squares(shared.b, (own - kRows) * Shared::kStride + half);
    }
    if (f.column_sums == nullptr || threadIdx.x >= kGramColumns) continue;
    for (int k = 0; k < kGramPixels; ++k) column_sum += to_float(shared.b.get(threadIdx.x * Shared::kStride + k));
  }
  const int64_t place = (image * f.parts + part) * f.groups + group;
#pragma unroll
  for (int block = 0; block < kBlocks; ++block) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int64_t row = first_row + block * 16 + g + i / 2 * 8, at = first_column + column + t * 2 + i % 2;
      if (row < f.rows && at < f.columns) store(f.sums + (place * f.rows + row) * f.columns + at, sums[block][i]);
    }
  }
  const int64_t sum_column = first_column + threadIdx.x;
  if (f.column_sums != nullptr && first_row == 0 && threadIdx.x < kGramColumns && sum_column < f.columns) {
    store(f.column_sums + place * f.columns + sum_column, column_sum);
  }
  if (f.row_squares == nullptr) return;
  squares = sum_of_lanes(squares, 2);
  const int64_t row = first_row + own, square_column = first_column + own - kRows;
  if (half == 0 && own < kRows && first_column == 0 && row < f.rows) {
    store(f.row_squares + place * f.rows + row, squares);
  }
  if (half == 0 && own >= kRows && own < kRows + kGramColumns && first_row == 0 && square_column < f.columns) {
    store(f.column_squares + place * f.columns + square_column, squares);
  }
}

template <int kRows, class T, class Device>
void launch_gram(Device& device, const Gram<T>& f) {
  const Blocks blocks{f.images * f.parts, divided_up(f.columns, kGramColumns), f.groups * divided_up(f.rows, kRows)};
  if (fits_widest<T>({f.rows, f.columns, f.a_stride, f.b_stride}, {f.a, f.b})) {
    device.launch("gram", gram<T, kRows, true>, blocks, kGramThreads, f);
  } else {
    device.launch("gram", gram<T, kRows, false>, blocks, kGramThreads, f);
  }
}

}  // namespace adair
