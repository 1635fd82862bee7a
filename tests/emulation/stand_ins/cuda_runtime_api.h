// What csrc/cuda/device.h takes of CUDA's runtime.
#pragma once

typedef struct EmulatedStream* cudaStream_t;
