// A weight with a low-rank update on a GPU; equations in adair_core/ops/low_rank_weight/reference.py. The matrices are
// small: what counts is that there is one kernel, and one rounding.
#pragma once

#include "common/numbers.h"
#include "cuda/sums.cuh"
#include "low_rank_weight/arguments.h"

namespace adair {

constexpr int kLowRankThreads = 256;
constexpr int kLowRankWarps = kLowRankThreads / kWarpSize;
constexpr int kRanksAtOnce = 8;

// A thread for N neighbouring values of a row. Blocks: (groups of columns, rows).
template <class T, int N>
__global__ void __launch_bounds__(kLowRankThreads) low_rank_weight(LowRankWeight<T> f) {
  const int64_t column = (int64_t(blockIdx.x) * kLowRankThreads + threadIdx.x) * N;
  if (column >= f.columns) return;
  for (int64_t row = blockIdx.y; row < f.rows; row += gridDim.y) {
    float update[N] = {};
    for (int64_t k = 0; k < f.rank; ++k) {
      const Vector<float, N> a = load_vector<N>(f.a + k * f.columns + column);
      const float b = load(f.b + row * f.rank + k);
#pragma unroll
      for (int i = 0; i < N; ++i) update[i] = fmaf(b, a[i], update[i]);
    }
    const Vector<T, N> weight = load_vector<N>(f.weight + row * f.columns + column);
    Vector<T, N> result;
#pragma unroll
    for (int i = 0; i < N; ++i) result.set(i, fmaf(f.scale, update[i], weight[i]));
    store_vector(f.result + row * f.columns + column, result);
  }
}

// dA = s B^T G. Lanes have neighbouring columns, warps share the rows. Blocks: (columns / 32, groups of ranks).
struct LowRankShared {
  SharedArray<float, kRanksAtOnce * kLowRankThreads> sums;
};

template <class T>
__global__ void __launch_bounds__(kLowRankThreads) low_rank_weight_to_a(LowRankWeightBackward<T> f) {
  LowRankShared& shared = block_shared<LowRankShared>();
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  const int64_t column = int64_t(blockIdx.x) * kWarpSize + lane, first = int64_t(blockIdx.y) * kRanksAtOnce;
  float sums[kRanksAtOnce] = {};
  for (int64_t row = warp; column < f.columns && row < f.rows; row += kLowRankWarps) {
    const float gradient = to_float(load(f.gradient + row * f.columns + column));
#pragma unroll
    for (int k = 0; k < kRanksAtOnce; ++k) {
      if (first + k < f.rank) sums[k] = fmaf(load(f.b + row * f.rank + first + k), gradient, sums[k]);
    }
  }
#pragma unroll
  for (int k = 0; k < kRanksAtOnce; ++k) shared.sums.set((k * kLowRankWarps + warp) * kWarpSize + lane, sums[k]);
  __syncthreads();
  // Each warp adds up one of the ranks, over the warps in their order.
  if (column >= f.columns || first + warp >= f.rank) return;
  float sum = 0.0f;
  for (int w = 0; w < kLowRankWarps; ++w) sum += shared.sums.get((warp * kLowRankWarps + w) * kWarpSize + lane);
  store(f.to_a + (first + warp) * f.columns + column, f.scale * sum);
}
static_assert(kRanksAtOnce == kLowRankWarps);

// dB = s G A^T. A warp for some ranks of a row. Blocks: (rows / 8, groups of ranks).
template <class T>
__global__ void __launch_bounds__(kLowRankThreads) low_rank_weight_to_b(LowRankWeightBackward<T> f) {
  const int lane = threadIdx.x % kWarpSize;
  const int64_t row = int64_t(blockIdx.x) * kLowRankWarps + threadIdx.x / kWarpSize;
  const int64_t first = int64_t(blockIdx.y) * kRanksAtOnce;
  float sums[kRanksAtOnce] = {};
  for (int64_t column = lane; row < f.rows && column < f.columns; column += kWarpSize) {
    const float gradient = to_float(load(f.gradient + row * f.columns + column));
#pragma unroll
    for (int k = 0; k < kRanksAtOnce; ++k) {
      if (first + k < f.rank) sums[k] = fmaf(gradient, load(f.a + (first + k) * f.columns + column), sums[k]);
    }
  }
#pragma unroll
  for (int k = 0; k < kRanksAtOnce; ++k) {
    const float sum = sum_of_lanes(sums[k], kWarpSize);
    if (lane == 0 && row < f.rows && first + k < f.rank) store(f.to_b + row * f.rank + first + k, f.scale * sum);
  }
}

// ---- launches

template <class T, class Device>
void launch_low_rank_weight(Device& device, const LowRankWeight<T>& f) {
  const auto with_width = [&](auto width) {
    constexpr int N = decltype(width)::value;
    const Blocks blocks{divided_up(f.columns, kLowRankThreads * N), f.rows < 65535 ? f.rows : 65535};
    device.launch("low_rank_weight", low_rank_weight<T, N>, blocks, kLowRankThreads, f);
  };
  fits_widest<float>(f.columns, {f.a, f.weight, f.result}) ? with_width(Constant<4>()) : with_width(Constant<1>());
}

template <class T, class Device>
void launch_low_rank_weight_backward(Device& device, const LowRankWeightBackward<T>& f) {
  const int64_t groups = divided_up(f.rank, kRanksAtOnce);
  device.launch("low_rank_weight_to_a", low_rank_weight_to_a<T>, Blocks{divided_up(f.columns, kWarpSize), groups},
                kLowRankThreads, f);
  device.launch("low_rank_weight_to_b", low_rank_weight_to_b<T>, Blocks{divided_up(f.rows, kLowRankWarps), groups},
                kLowRankThreads, f);
}

}  // namespace adair
