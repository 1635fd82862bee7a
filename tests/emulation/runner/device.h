// What csrc/<operator>/kernel.cuh launches its kernels with, here and in csrc/cuda/device.h.
#pragma once

#include <functional>
#include <string>

#include "memory.h"
#include "threads.h"

namespace emulation {

class Device {
 public:
  explicit Device(uint64_t seed) : grid_(seed) {}

  template <class Blocks, class... Parameters, class... Arguments>
  void launch(const char* name, void (*kernel)(Parameters...), const Blocks& blocks, int threads,
              const Arguments&... arguments) {
    if (!blocks.fit()) throw Error(std::string(name) + ": a grid that CUDA does not have");
    const Dim3 grid(static_cast<unsigned>(blocks.x), static_cast<unsigned>(blocks.y), static_cast<unsigned>(blocks.z));
    grid_.run(name, grid, Dim3(threads), [&] { kernel(arguments...); });
  }

  // Memory for intermediate results, until the operator returns.
  template <class T>
  T* workspace(int64_t count) {
    const std::string name = "workspace " + std::to_string(++workspaces_);
    return static_cast<T*>(add_buffer(name, Role::kWorkspace, nullptr, count * sizeof(T)));
  }

 private:
  Grid grid_;
  int workspaces_ = 0;
};

}  // namespace emulation
