// Small kernels for the tests of the runner itself: most of them are wrong on purpose.

#include <map>
#include <string>

#include "cuda/device.h"
#include "cuda/sums.cuh"

namespace adair {
namespace {

struct Shared {
  SharedArray<float, 64> values;
};

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
__global__ void writes_input(const float* x, float* y) { store(const_cast<float*>(x) + threadIdx.x, load(y)); }
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
__global__ void lane_numbers(const float*, float* y) {
  store(y + int64_t(blockIdx.x) * 64 + threadIdx.x, __shfl_sync(kAllLanes, float(threadIdx.x), 5) + float(blockIdx.x));
}
template <class T>
__global__ void convert(const float* x, float* y) {
  store(y + threadIdx.x, rounded<T>(load(x + threadIdx.x)));
}

struct Trial {
  void (*kernel)(const float*, float*);
  Blocks blocks = {1};
};

#define TRIAL(kernel) {#kernel, {kernel}}

const std::map<std::string, Trial> kTrials = {
    TRIAL(reverse),
    TRIAL(reverse_without_barrier),
    TRIAL(reverse_in_warps),
    TRIAL(write_after_read),
    TRIAL(divergent_barrier),
    TRIAL(two_barriers),
    TRIAL(partial_shuffle),
    TRIAL(reads_beyond),
    TRIAL(writes_beyond),
    TRIAL(plain_write_beyond),
    TRIAL(leaves_one_out),
    TRIAL(all_to_one),
    TRIAL(writes_input),
    TRIAL(reads_output),
    TRIAL(not_aligned),
    TRIAL(beyond_shared),
    TRIAL(unwritten_shared),
    {"too_wide_a_grid", {reverse, {(int64_t(1) << 32) + 1}}},  // of which 32 bits would be one block
    {"too_high_a_grid", {reverse, {1, 65536}}},
    {"lane_numbers", {lane_numbers, {3}}},
    {"bfloat16", {convert<__nv_bfloat16>}},
    {"float16", {convert<__half>}},
};

void run_trial(std::string name, const Tensor& x, Tensor y) {
  Device device(x);
  const Trial& trial = kTrials.at(name);
  device.launch(name.c_str(), trial.kernel, trial.blocks, 64, device.data<float>(x, "x", {x.numel()}),
                device.data<float>(y, "y", {y.numel()}));
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(adair_native, m) { m.def("trial(str name, Tensor x, Tensor(a!) y) -> ()"); }

STABLE_TORCH_LIBRARY_IMPL(adair_native, CUDA, m) { m.impl("trial", TORCH_BOX(&run_trial)); }

}  // namespace adair
