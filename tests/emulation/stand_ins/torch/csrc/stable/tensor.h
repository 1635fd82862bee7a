// A tensor of which launchers see what PyTorch's would show them.
#pragma once

#include <torch/headeronly/core/ScalarType.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace torch::stable {

class Tensor {
 public:
  // A device of -1 is the CPU. `data` is freed with the last copy of the tensor, if it has a deleter.
  Tensor(std::shared_ptr<void> data, headeronly::ScalarType type, std::vector<int64_t> sizes,
         std::vector<int64_t> strides, int device);

  void* data_ptr() const { return data_.get(); }
  headeronly::ScalarType scalar_type() const { return type_; }
  bool is_cuda() const { return device_ >= 0; }
  int32_t get_device_index() const { return device_; }
  int64_t dim() const { return static_cast<int64_t>(sizes_.size()); }
  int64_t size(int64_t dimension) const;
  int64_t numel() const;
  bool is_contiguous() const;

 private:
  std::shared_ptr<void> data_;
  headeronly::ScalarType type_;
  std::vector<int64_t> sizes_, strides_;
  int32_t device_;
};

}  // namespace torch::stable
