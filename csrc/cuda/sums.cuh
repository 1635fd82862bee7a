// Sums whose order is fixed: the same bits from run to run.
#pragma once

#include <initializer_list>

#include "cuda/memory.cuh"

namespace adair {

// The sum over each `width` (a power of two) neighbouring lanes of a warp, for all of them. All lanes take part.
ADAIR_DEVICE float sum_of_lanes(float value, int width) {
  for (int distance = width / 2; distance > 0; distance /= 2) value += __shfl_xor_sync(kAllLanes, value, distance);
  return value;
}

// Sums over parts: threads with the same kSumColumns-th value take parts in turn, so that many reads are under way.
constexpr int kSumThreads = 256, kSumColumns = 16;

struct PartSums {
  SharedArray<float, kSumThreads> values;
};

// The sum over parts of from[part * stride] for each column, threadIdx.x % kSumColumns; null is none. All threads of a
// block of kSumThreads take part, and all of a column get its sum.
ADAIR_DEVICE float sum_over_parts(PartSums& shared, const float* from, int64_t stride, int64_t parts) {
  const int column = threadIdx.x % kSumColumns;
  float sum = 0.0f;
  for (int64_t part = threadIdx.x / kSumColumns; from != nullptr && part < parts; part += kSumThreads / kSumColumns) {
    sum += load(from + part * stride);
  }
  __syncthreads();  // until all have used the sums before
  shared.values.set(threadIdx.x, sum);
  __syncthreads();
  sum = 0.0f;
#pragma unroll
  for (int i = column; i < kSumThreads; i += kSumColumns) sum += shared.values.get(i);
  return sum;
}

// to[image * count + i] = the sum over parts of from[(image * parts + part) * count + i]. Blocks: (columns, images). A
// template only to be in several files.
template <int kThreads>
__global__ void __launch_bounds__(kThreads) sum_of_parts(const float* from, int64_t count, int64_t parts, float* to) {
  PartSums& shared = block_shared<PartSums>();
  const int64_t i = int64_t(blockIdx.x) * kSumColumns + threadIdx.x % kSumColumns, image = blockIdx.y;
  const float* column = from + image * parts * count + i;
  const float sum = sum_over_parts(shared, i < count ? column : nullptr, count, parts);
  if (i < count && threadIdx.x < kSumColumns) store(to + image * count + i, sum);
}

inline int64_t divided_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <class Device>
inline void launch_sum_of_parts(Device& device, const float* from, int64_t count, int64_t parts, float* to,
                                int64_t images = 1) {
  const Blocks blocks{divided_up(count, kSumColumns), images};
  device.launch("sum_of_parts", sum_of_parts<kSumThreads>, blocks, kSumThreads, from, count, parts, to);
}

// Whether all pointers can be read in vectors of 16 bytes that do not cross multiples of any of the counts.
template <class T>
inline bool fits_widest(std::initializer_list<int64_t> counts, std::initializer_list<const void*> pointers) {
  bool fits = true;
  for (int64_t count : counts) fits = fits && count % kWidest<T> == 0;
  for (const void* pointer : pointers) fits = fits && reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
  return fits;
}

template <class T>
inline bool fits_widest(int64_t count, std::initializer_list<const void*> pointers) {
  return fits_widest<T>({count}, pointers);
}

}  // namespace adair
