// What csrc/<operator>/kernel.cuh launches its kernels with: PyTorch's current stream and allocator, by its stable ABI
// alone.
//
// The Python side (adair_core/ops) has checked shapes, made everything contiguous and allocated the results; what is
// checked here again is what would let a kernel write outside of its memory.
//
// tests/emulation compiles this and the launchers for the CPU, with its own headers in place of PyTorch's and CUDA's.
#pragma once

#include <cuda_runtime_api.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <initializer_list>
#include <optional>
#include <vector>

#include "cuda/platform.cuh"

namespace adair {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

typedef const std::optional<Tensor>& OptionalTensor;

template <class T>
inline constexpr ScalarType kScalarType = ScalarType::Undefined;
template <>
inline constexpr ScalarType kScalarType<float> = ScalarType::Float;
template <>
inline constexpr ScalarType kScalarType<__nv_bfloat16> = ScalarType::BFloat16;
template <>
inline constexpr ScalarType kScalarType<__half> = ScalarType::Half;
template <>
inline constexpr ScalarType kScalarType<int64_t> = ScalarType::Long;

// The device of a tensor, made current for as long as this lives.
class Device {
 public:
  explicit Device(const Tensor& tensor)
      : like_(tensor), index_(tensor.get_device_index()), guard_(tensor.get_device_index()) {
    void* stream = nullptr;
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(index_, &stream));
    stream_ = static_cast<cudaStream_t>(stream);
  }

  template <class... Parameters, class... Arguments>
  void launch(const char* name, void (*kernel)(Parameters...), const Blocks& blocks, int threads,
              const Arguments&... arguments) {
    STD_TORCH_CHECK(blocks.fit(), name, ": a grid of ", blocks.x, " x ", blocks.y, " x ", blocks.z,
                    " blocks is more than CUDA has; divide the batch");
    const dim3 grid(static_cast<unsigned>(blocks.x), static_cast<unsigned>(blocks.y), static_cast<unsigned>(blocks.z));
#ifdef __CUDACC__
    kernel<<<grid, threads, 0, stream_>>>(arguments...);
    const cudaError_t error = cudaGetLastError();
    STD_TORCH_CHECK(error == cudaSuccess, name, ": the kernel could not be launched: ", cudaGetErrorString(error));
#else
    emulation::launch(name, grid, threads, stream_, [&] { kernel(arguments...); });
#endif
  }

  // Memory for intermediate results. When it is freed, with this, PyTorch's allocator keeps it for this stream, so that
  // what is launched later uses it later.
  template <class T>
  T* workspace(int64_t count) {
    workspaces_.push_back(torch::stable::new_empty(like_, {count}, kScalarType<T>));
    return static_cast<T*>(workspaces_.back().data_ptr());
  }

  // The memory of a tensor with these sizes and this type.
  template <class T>
  T* data(const Tensor& tensor, const char* name, std::initializer_list<int64_t> sizes) const {
    STD_TORCH_CHECK(tensor.is_cuda() && tensor.get_device_index() == index_ && tensor.scalar_type() == kScalarType<T>,
                    name, ": expected a tensor on CUDA device ", index_, " of the operator's type");
    int64_t expected = 1;
    for (int64_t size : sizes) expected *= size;
    STD_TORCH_CHECK(tensor.numel() == expected && (expected == 0 || tensor.is_contiguous()), name, ": expected ",
                    expected, " contiguous values, got ", tensor.numel());
    return static_cast<T*>(tensor.data_ptr());
  }

  template <class T>
  T* data(OptionalTensor tensor, const char* name, std::initializer_list<int64_t> sizes) const {
    return tensor.has_value() ? data<T>(*tensor, name, sizes) : nullptr;
  }

  // The memory of a parameter with these sizes, or of one for each image, one after the other: `step` is then the
  // distance from an image's to the next image's, and 0 if all have the same.
  template <class T>
  T* each(const Tensor& tensor, const char* name, int64_t images, std::initializer_list<int64_t> sizes,
          int64_t& step) const {
    int64_t size = 1;
    for (int64_t length : sizes) size *= length;
    step = tensor.numel() == size ? 0 : size;
    return data<T>(tensor, name, {step == 0 ? 1 : images, size});
  }

  template <class T>
  T* each(OptionalTensor tensor, const char* name, int64_t images, std::initializer_list<int64_t> sizes,
          int64_t& step) const {
    step = 0;
    return tensor.has_value() ? each<T>(*tensor, name, images, sizes, step) : nullptr;
  }

 private:
  Tensor like_;
  int32_t index_;
  torch::stable::accelerator::DeviceGuard guard_;
  cudaStream_t stream_;
  std::vector<Tensor> workspaces_;
};

// Calls work(T()) with the T of a tensor's type.
template <class Work>
inline void with_type(const Tensor& tensor, const Work& work) {
#ifdef ADAIR_ONLY  // tests/emulation compiles many kernels that have a fault each, and saves time
  if (tensor.scalar_type() == kScalarType<ADAIR_ONLY>) return work(ADAIR_ONLY());
#else
  if (tensor.scalar_type() == ScalarType::Float) return work(float());
  if (tensor.scalar_type() == ScalarType::BFloat16) return work(__nv_bfloat16());
  if (tensor.scalar_type() == ScalarType::Half) return work(__half());
#endif
  STD_TORCH_CHECK(false, "expected a tensor of float32, bfloat16 or float16");
}

}  // namespace adair
