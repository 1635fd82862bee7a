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

  template <class... Parameters, class... Arguments>
  void launch(const char* name, void (*kernel)(Parameters...), Dim3 blocks, Dim3 threads, const Arguments&... arguments) {
    grid_.run(name, blocks, threads, [&] { kernel(arguments...); });
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
