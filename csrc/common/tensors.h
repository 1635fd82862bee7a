// Tensors as the kernels take them: the stable ABI of PyTorch, so that one build serves every version from 2.11 on.
//
// The Python side (adair_core/ops) has checked shapes, made everything contiguous (images channels last) and allocated
// the results; what is checked here again is what would let a kernel write outside of its memory.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <initializer_list>
#include <optional>

#include "common/numbers.h"
#include "common/parallel.h"

namespace adair {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

template <class T>
inline constexpr ScalarType kScalarType = ScalarType::Undefined;
template <>
inline constexpr ScalarType kScalarType<float> = ScalarType::Float;
template <>
inline constexpr ScalarType kScalarType<bfloat16> = ScalarType::BFloat16;

// The memory of a tensor with these sizes and this type.
template <class T>
inline T* data(const Tensor& tensor, const char* name, std::initializer_list<int64_t> sizes) {
  STD_TORCH_CHECK(tensor.is_cpu() && tensor.scalar_type() == kScalarType<T>, name, ": expected a CPU tensor of ",
                  sizeof(T) == 4 ? "float32" : "bfloat16");
  int64_t expected = 1;
  for (int64_t size : sizes) expected *= size;
  STD_TORCH_CHECK(tensor.numel() == expected && (expected == 0 || tensor.is_contiguous()), name, ": expected ",
                  expected, " contiguous values, got ", tensor.numel());
  return static_cast<T*>(tensor.data_ptr());
}

template <class T>
inline T* data(const std::optional<Tensor>& tensor, const char* name, std::initializer_list<int64_t> sizes) {
  return tensor.has_value() ? data<T>(*tensor, name, sizes) : nullptr;
}

// Threads as PyTorch has them.
inline Parallel torch_threads() {
  return {static_cast<int64_t>(torch::stable::get_num_threads()),
          [](int64_t count, void (*work)(void*, int64_t), void* context) {
            torch::stable::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
              for (int64_t index = begin; index < end; ++index) work(context, index);
            });
          }};
}

// Calls work(T()) with the T of a tensor's type.
template <class Work>
inline void with_type(const Tensor& tensor, const Work& work) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float:
      return work(float());
    case ScalarType::BFloat16:
      return work(bfloat16());
    default:
      STD_TORCH_CHECK(false, "expected a tensor of float32 or bfloat16");
  }
}

}  // namespace adair
