// What the headers in stand_ins/torch declare.

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/ops.h>
#include <torch/headeronly/util/Exception.h>

#include <utility>

#include "call.h"
#include "memory.h"
#include "pytorch.h"

namespace emulation {

size_t bytes_of(ScalarType type) {
  switch (type) {
    case ScalarType::Half:
    case ScalarType::BFloat16:
      return 2;
    case ScalarType::Float:
      return 4;
    default:
      return 8;
  }
}

void refuse(std::initializer_list<Part> message) {
  std::string whole;
  for (const Part& part : message) whole += part.text;
  throw Error(whole);
}

}  // namespace emulation

int aoti_torch_get_current_cuda_stream(int32_t device, void** stream) {
  *stream = emulation::stream_of(device);
  return 0;
}

namespace torch::stable {
namespace {

std::vector<int64_t> contiguous_strides(const std::vector<int64_t>& sizes) {
  std::vector<int64_t> strides(sizes.size(), 1);
  for (size_t i = sizes.size(); i-- > 1;) strides[i - 1] = strides[i] * sizes[i];
  return strides;
}

}  // namespace

Tensor::Tensor(std::shared_ptr<void> data, headeronly::ScalarType type, std::vector<int64_t> sizes,
               std::vector<int64_t> strides, int device)
    : data_(std::move(data)), type_(type), sizes_(std::move(sizes)), strides_(std::move(strides)), device_(device) {}

int64_t Tensor::size(int64_t dimension) const {
  if (dimension < 0 || dimension >= dim()) {
    throw emulation::Error("dimension " + std::to_string(dimension) + " of a tensor that has " + std::to_string(dim()));
  }
  return sizes_[dimension];
}

int64_t Tensor::numel() const {
  int64_t count = 1;
  for (int64_t size : sizes_) count *= size;
  return count;
}

bool Tensor::is_contiguous() const {
  const std::vector<int64_t> expected = contiguous_strides(sizes_);
  for (size_t i = 0; i < sizes_.size(); ++i) {
    if (sizes_[i] != 1 && strides_[i] != expected[i]) return false;
  }
  return true;
}

Tensor new_empty(const Tensor& like, std::initializer_list<int64_t> sizes, headeronly::ScalarType type) {
  int64_t count = 1;
  for (int64_t size : sizes) count *= size;
  std::shared_ptr<void> memory(emulation::workspace(count * emulation::bytes_of(type)), &emulation::free_buffer);
  return Tensor(std::move(memory), type, sizes, contiguous_strides(sizes), like.get_device_index());
}

namespace accelerator {

DeviceGuard::DeviceGuard(int32_t device) : before_(emulation::call().current_device) {
  emulation::call().current_device = device;
}

DeviceGuard::~DeviceGuard() { emulation::call().current_device = before_; }

}  // namespace accelerator
}  // namespace torch::stable
