// The CUDA language: from nvcc, or from tests/emulation for the CPU. Kernels include nothing else of CUDA or PyTorch.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#else
#include "cuda_emulation.h"
#endif

#define ADAIR_DEVICE __device__ __forceinline__

namespace adair {

// The blocks of a launch. What a grid holds: CUDA programming guide, "Technical specifications per compute capability".
struct Blocks {
  int64_t x = 1, y = 1, z = 1;

  bool fit() const { return x > 0 && x <= 0x7fffffff && y > 0 && y <= 65535 && z > 0 && z <= 65535; }
};

constexpr int kWarpSize = 32;
constexpr uint32_t kAllLanes = 0xffffffffu;

}  // namespace adair
