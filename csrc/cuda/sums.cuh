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

// to[i] = the sum over parts of from[part * count + i], in the order of the parts.
template <int kThreads>
__global__ void __launch_bounds__(kThreads) sum_of_parts(const float* from, int64_t count, int64_t parts, float* to) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  float sum = 0.0f;
  for (int64_t part = 0; part < parts; ++part) sum += load(from + part * count + i);
  store(to + i, sum);
}

inline int64_t divided_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <class Device>
inline void launch_sum_of_parts(Device& device, const float* from, int64_t count, int64_t parts, float* to) {
  device.launch("sum_of_parts", sum_of_parts<256>, dim3(divided_up(count, 256)), dim3(256), from, count, parts, to);
}

// Whether all pointers can be read in vectors of 16 bytes, rows of `count` values after one another.
template <class T>
inline bool fits_widest(int64_t count, std::initializer_list<const void*> pointers) {
  bool fits = count % kWidest<T> == 0;
  for (const void* pointer : pointers) fits = fits && reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
  return fits;
}

}  // namespace adair
