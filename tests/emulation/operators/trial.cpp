// Small kernels for the tests of the runner itself: most of them are wrong on purpose.

#include "cuda/sums.cuh"
#include "device.h"
#include "call.h"

using namespace adair;

namespace {

struct Shared {
  SharedArray<float, 64> values;
};

#define ONE_BLOCK(name, ...) call.device.launch(#name, name, Blocks{1}, 64, __VA_ARGS__)

__global__ void reverse(const float* x, float* y) {
  Shared& shared = block_shared<Shared>();
  shared.values.set(threadIdx.x, load(x + threadIdx.x));
  __syncthreads();
  store(y + threadIdx.x, shared.values.get(63 - threadIdx.x));
}

__global__ void reverse_without_barrier(const float* x, float* y) {
  Shared& shared = block_shared<Shared>();
  shared.values.set(threadIdx.x, load(x + threadIdx.x));
  store(y + threadIdx.x, shared.values.get(63 - threadIdx.x));
}

// Correct: lanes of a warp exchange through shared memory.
__global__ void reverse_in_warps(const float* x, float* y) {
  Shared& shared = block_shared<Shared>();
  shared.values.set(threadIdx.x, load(x + threadIdx.x));
  __syncwarp();
  store(y + threadIdx.x, shared.values.get(threadIdx.x ^ 31));
}

__global__ void write_after_read(const float* x, float* y) {
  Shared& shared = block_shared<Shared>();
  shared.values.set(threadIdx.x, load(x + threadIdx.x));
  __syncthreads();
  const float other = shared.values.get(63 - threadIdx.x);
  shared.values.set(threadIdx.x, other);
  store(y + threadIdx.x, other);
}

__global__ void divergent_barrier(const float* x, float* y) {
  if (threadIdx.x < 40) __syncthreads();
  store(y + threadIdx.x, load(x + threadIdx.x));
}

__global__ void two_barriers(const float* x, float* y) {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  store(y + threadIdx.x, load(x + threadIdx.x));
}

__global__ void partial_shuffle(const float* x, float* y) {
  float value = load(x + threadIdx.x);
  if (threadIdx.x % 32 < 20) value = sum_of_lanes(value, 32);
  store(y + threadIdx.x, value);
}

__global__ void reads_beyond(const float* x, float* y) { store(y + threadIdx.x, load(x + threadIdx.x + 1)); }
__global__ void writes_beyond(const float* x, float* y) { store(y + threadIdx.x + 1, load(x + threadIdx.x)); }
__global__ void plain_write_beyond(const float* x, float* y) {
  store(y + threadIdx.x, load(x + threadIdx.x));
  if (threadIdx.x == 63) y[64] = 1.0f;
}
__global__ void leaves_one_out(const float* x, float* y) {
  if (threadIdx.x != 17) store(y + threadIdx.x, load(x + threadIdx.x));
}
__global__ void all_to_one(const float* x, float* y) { store(y, load(x)); }
__global__ void writes_input(float* x, float* y) { store(x + threadIdx.x, load(y)); }
__global__ void reads_output(const float*, float* y) { store(y + threadIdx.x, load(y + threadIdx.x)); }
__global__ void not_aligned(const float* x, float* y) {
  const Vector<float, 2> two = load_vector<2>(x + 1);
  store(y + threadIdx.x, two[0]);
}
__global__ void beyond_shared(const float* x, float* y) {
  Shared& shared = block_shared<Shared>();
  shared.values.set(threadIdx.x + 1, load(x + threadIdx.x));
  store(y + threadIdx.x, 0.0f);
}
__global__ void unwritten_shared(const float*, float* y) {
  Shared& shared = block_shared<Shared>();
  store(y + threadIdx.x, shared.values.get(threadIdx.x));
}
__global__ void lane_numbers(float* y) {
  store(y + blockIdx.x * 64 + threadIdx.x, __shfl_sync(kAllLanes, float(threadIdx.x), 5) + float(blockIdx.x));
}
template <class T>
__global__ void convert(const float* x, float* y) {
  store(y + threadIdx.x, rounded<T>(load(x + threadIdx.x)));
}

}  // namespace

#define TRIAL(name) \
  EMULATED(trial_##name) { ONE_BLOCK(name, call.tensor<float>("x"), call.tensor<float>("y")); }

TRIAL(reverse)
TRIAL(reverse_without_barrier)
TRIAL(reverse_in_warps)
TRIAL(write_after_read)
TRIAL(divergent_barrier)
TRIAL(two_barriers)
TRIAL(partial_shuffle)
TRIAL(reads_beyond)
TRIAL(writes_beyond)
TRIAL(plain_write_beyond)
TRIAL(leaves_one_out)
TRIAL(all_to_one)
TRIAL(writes_input)
TRIAL(reads_output)
TRIAL(not_aligned)
TRIAL(beyond_shared)
TRIAL(unwritten_shared)

// Of which 32 bits would be one block.
EMULATED(trial_too_wide_a_grid) {
  call.device.launch("reverse", reverse, Blocks{(int64_t(1) << 32) + 1}, 64, call.tensor<float>("x"),
                     call.tensor<float>("y"));
}
EMULATED(trial_too_high_a_grid) {
  call.device.launch("reverse", reverse, Blocks{1, 65536}, 64, call.tensor<float>("x"), call.tensor<float>("y"));
}
EMULATED(trial_lane_numbers) {
  call.device.launch("lane_numbers", lane_numbers, Blocks{3}, 64, call.tensor<float>("y"));
}
EMULATED(trial_bfloat16) { ONE_BLOCK(convert<__nv_bfloat16>, call.tensor<float>("x"), call.tensor<float>("y")); }
EMULATED(trial_float16) { ONE_BLOCK(convert<__half>, call.tensor<float>("x"), call.tensor<float>("y")); }
