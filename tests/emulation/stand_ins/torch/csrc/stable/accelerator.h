// Makes a device the current one for as long as this lives.
#pragma once

#include <cstdint>

namespace torch::stable::accelerator {

class DeviceGuard {
 public:
  explicit DeviceGuard(int32_t device);
  ~DeviceGuard();
  DeviceGuard(const DeviceGuard&) = delete;

 private:
  int32_t before_;
};

}  // namespace torch::stable::accelerator
