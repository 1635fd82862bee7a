// PyTorch's allocator: memory in which nothing has been written.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <initializer_list>

namespace torch::stable {

Tensor new_empty(const Tensor& like, std::initializer_list<int64_t> sizes, headeronly::ScalarType type);

}  // namespace torch::stable
