// Products over all pixels, G = A^T B for images A (pixels, M) and B (pixels, channels): a tall reduction by tensor cores.
//
// Blocks take parts of an image's pixels, which the shape alone decides, and leave partial sums to be added in order.
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
  const T* a;            // (images, pixels, rows), rows no more than kRows
  const T* b;            // (images, pixels, columns)
  const int64_t* index;  // images with a negative index are left out; or null
  float* sums;           // (images, parts, kRows, columns)
  float* column_sums;    // (images, parts, columns) of B, or null
};

// Channels of pixels, transposed: what a lane gives to a step, the values of neighbouring pixels, lies together.
template <class T, int kRows>
struct GramShared {
  static constexpr int kStride = kGramPixels + kStepValues<T>;
  SharedArray<T, kRows * kStride> a;
  SharedArray<T, kGramColumns * kStride> b;
};

// Reads kGramPixels pixels of kChannels channels from `first` on, zeros where there are none.
template <int kChannels, bool kWhole, class T, int kSize>
ADAIR_DEVICE void read_transposed(SharedArray<T, kSize>& to, int stride, const T* images, int64_t pixel, int64_t end,
                                  int64_t first, int64_t channels) {
  constexpr int N = kWidest<T>, kVectors = kChannels / N;
  for (int i = threadIdx.x; i < kGramPixels * kVectors; i += kGramThreads) {
    const int channel = i % kVectors * N, place = i / kVectors;
    const int64_t count = pixel + place < end ? channels - first - channel : 0;
    const auto values = load_up_to<N, kWhole>(images + (pixel + place) * channels + first + channel, count);
#pragma unroll
    for (int k = 0; k < N; ++k) to.set((channel + k) * stride + place, values.values[k]);
  }
}

// Blocks: (images parts, groups of columns). kWhole: vectors of 16 bytes do not cross the end of a pixel.
template <class T, int kRows, bool kWhole>
__global__ void __launch_bounds__(kGramThreads) gram(Gram<T> f) {
  typedef GramShared<T, kRows> Shared;
  constexpr int kStep = kStepValues<T>, kBlocks = kRows / 16;
  Shared& shared = block_shared<Shared>();
  const int lane = threadIdx.x % kWarpSize, g = lane / 4, t = lane % 4, column = threadIdx.x / kWarpSize * 8;
  const int64_t image = blockIdx.x / f.parts, part = blockIdx.x % f.parts, first = int64_t(blockIdx.y) * kGramColumns;
  if (f.index != nullptr && load(f.index + image) < 0) return;
  float sums[kBlocks][4] = {}, column_sum = 0.0f;
  const int64_t start = image * f.pixels, end = start + (part + 1) * f.pixels / f.parts;
  for (int64_t pixel = start + part * f.pixels / f.parts; pixel < end; pixel += kGramPixels) {
    __syncthreads();  // until all have used the pixels before
    read_transposed<kRows, kWhole>(shared.a, Shared::kStride, f.a, pixel, end, 0, f.rows);
    read_transposed<kGramColumns, kWhole>(shared.b, Shared::kStride, f.b, pixel, end, first, f.columns);
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
        multiply_add(sums[block], upper, lower, right);
      }
    }
    if (f.column_sums == nullptr || threadIdx.x >= kGramColumns) continue;
    for (int k = 0; k < kGramPixels; ++k) column_sum += to_float(shared.b.get(threadIdx.x * Shared::kStride + k));
  }
#pragma unroll
  for (int block = 0; block < kBlocks; ++block) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int64_t row = block * 16 + g + i / 2 * 8, at = first + column + t * 2 + i % 2;
      if (at < f.columns) store(f.sums + ((image * f.parts + part) * kRows + row) * f.columns + at, sums[block][i]);
    }
  }
  const int64_t own = first + threadIdx.x;
  if (f.column_sums != nullptr && threadIdx.x < kGramColumns && own < f.columns) {
    store(f.column_sums + (image * f.parts + part) * f.columns + own, column_sum);
  }
}

template <int kRows, class T, class Device>
void launch_gram(Device& device, const Gram<T>& f) {
  const dim3 blocks(f.images * f.parts, divided_up(f.columns, kGramColumns));
  if (fits_widest<T>(f.columns, {f.a, f.b}) && f.rows % kWidest<T> == 0) {
    device.launch("gram", gram<T, kRows, true>, blocks, dim3(kGramThreads), f);
  } else {
    device.launch("gram", gram<T, kRows, false>, blocks, dim3(kGramThreads), f);
  }
}

}  // namespace adair
