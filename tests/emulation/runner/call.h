// The call of an operator that is running: what PyTorch and CUDA would give it.
#pragma once

#include <functional>
#include <string>

#include "threads.h"

namespace emulation {

struct Call {
  explicit Call(uint64_t seed) : grid(seed) {}

  Grid grid;
  int current_device = 0;
  int workspaces = 0;
};

Call& call();
void begin_call(uint64_t seed);
void end_call();

// A device's stream. A device of -1 is the CPU, which has none.
void* stream_of(int device);

// Memory for intermediate results, until `free_buffer` or the operator returns.
void* workspace(size_t bytes);

// Runs body() once for each thread. The stream has to be one of the device that is current.
void launch(const std::string& name, Dim3 blocks, int threads, const void* stream, const std::function<void()>& body);

}  // namespace emulation
