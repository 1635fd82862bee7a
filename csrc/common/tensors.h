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

#include <functional>
#include <initializer_list>
#include <optional>
#include <vector>

#include "common/numbers.h"
#include "common/parallel.h"
#include "common/per_image.h"

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

// A parameter of which images may have different values: one for all, one for each set of parameters, or none.
template <class T>
inline T* data(const std::vector<Tensor>& values, size_t set, const char* name, std::initializer_list<int64_t> sizes) {
  if (values.empty()) return nullptr;
  STD_TORCH_CHECK(values.size() == 1 || set < values.size(), name,
                  ": expected a value for each set of parameters, got ", values.size());
  return data<T>(values[values.size() == 1 ? 0 : set], name, sizes);
}

// Whether parameters of the kind above are the same for all sets.
inline bool same_for_all(std::initializer_list<std::reference_wrapper<const std::vector<Tensor>>> parameters) {
  for (const std::vector<Tensor>& values : parameters) {
    if (values.size() > 1) return false;
  }
  return true;
}

// Calls work(PerImage) with the arguments that make(set) gives for each set of parameters; `counts` images in turn have
// each of them. `same_weights`: whether the sets differ in their epilogues alone.
template <class Make, class Work>
inline void with_sets(int64_t images, const std::vector<int64_t>& counts, bool same_weights, const Make& make,
                      const Work& work) {
  std::vector<int64_t> index;
  for (size_t set = 0; set < counts.size(); ++set) {
    STD_TORCH_CHECK(counts[set] >= 0 && counts[set] <= images, "counts: expected numbers of images, got ", counts[set]);
    index.insert(index.end(), counts[set], static_cast<int64_t>(set));
  }
  STD_TORCH_CHECK(!counts.empty() && static_cast<int64_t>(index.size()) == images, "counts: expected a sum of ", images,
                  ", got ", index.size());
  std::vector<decltype(make(size_t{0}))> sets;
  for (size_t set = 0; set < counts.size(); ++set) sets.push_back(make(set));
  const int64_t count = static_cast<int64_t>(sets.size());
  work(PerImage<decltype(make(size_t{0}))>{sets.data(), count, index.data(), same_weights ? 1 : count});
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
