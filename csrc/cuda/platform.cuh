// The CUDA language: from nvcc, or from tests/emulation for the CPU. Kernels include nothing of CUDA or PyTorch but this.
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

constexpr int kWarpSize = 32;
constexpr uint32_t kAllLanes = 0xffffffffu;

}  // namespace adair
