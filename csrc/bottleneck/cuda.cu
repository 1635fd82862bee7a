// The bottleneck adapter on a GPU. The schemas are in cpu.cpp.

#include "bottleneck/backward.cuh"
#include "bottleneck/kernel.cuh"
#include "cuda/device.h"

namespace adair {
namespace {

template <class T>
Bottleneck<T> arguments(const Device& device, const Tensor& x, OptionalTensor index, const Tensor& down,
                        OptionalTensor down_bias, const Tensor& depthwise, OptionalTensor depthwise_bias,
                        const Tensor& up, OptionalTensor up_bias, const Tensor& scale) {
  Bottleneck<T> f{};
  f.images = x.size(0), f.height = x.size(1), f.width = x.size(2), f.channels = x.size(3);
  f.adapters = scale.numel(), f.rank = down.numel() / std::max<int64_t>(1, f.adapters * f.channels);
  STD_TORCH_CHECK(f.rank <= kLargestRank, "down: expected a rank of no more than ", kLargestRank, ", got ", f.rank);
  f.x = device.data<T>(x, "x", {f.images, f.height, f.width, f.channels});
  // Its values are not looked at here, which would stall: the kernel gives NaN for what is no adapter.
  f.index = device.data<int64_t>(index, "index", {f.images});
  f.down = device.data<float>(down, "down", {f.adapters, f.rank, f.channels});
  f.down_bias = device.data<float>(down_bias, "down_bias", {f.adapters, f.rank});
  f.depthwise = device.data<float>(depthwise, "depthwise", {f.adapters, f.rank, 9});
  f.depthwise_bias = device.data<float>(depthwise_bias, "depthwise_bias", {f.adapters, f.rank});
  f.up = device.data<float>(up, "up", {f.adapters, f.channels, f.rank});
  f.up_bias = device.data<float>(up_bias, "up_bias", {f.adapters, f.channels});
  f.scale = device.data<float>(scale, "scale", {f.adapters});
  return f;
}

void run_bottleneck(const Tensor& x, OptionalTensor index, const Tensor& down, OptionalTensor down_bias,
                    const Tensor& depthwise, OptionalTensor depthwise_bias, const Tensor& up, OptionalTensor up_bias,
                    const Tensor& scale, OptionalTensor injected, OptionalTensor base, bool residual, Tensor y) {
  Device device(x);
  with_type(x, [&](auto type) {
    using T = decltype(type);
    Bottleneck<T> f = arguments<T>(device, x, index, down, down_bias, depthwise, depthwise_bias, up, up_bias, scale);
    f.injected = device.data<T>(injected, "injected", {f.images, f.height, f.width, f.rank});
    f.base = device.data<T>(base, "base", {f.images, f.height, f.width, f.channels});
    f.residual = residual;
    f.y = device.data<T>(y, "y", {f.images, f.height, f.width, f.channels});
    launch_bottleneck(device, f);
  });
}

void run_bottleneck_backward(const Tensor& gradient, const Tensor& x, OptionalTensor index, const Tensor& down,
                             OptionalTensor down_bias, const Tensor& depthwise, OptionalTensor depthwise_bias,
                             const Tensor& up, OptionalTensor up_bias, const Tensor& scale, bool residual,
                             OptionalTensor to_x, Tensor to_down, OptionalTensor to_down_bias, Tensor to_depthwise,
                             OptionalTensor to_depthwise_bias, Tensor to_up, OptionalTensor to_up_bias) {
  Device device(x);
  with_type(x, [&](auto type) {
    using T = decltype(type);
    BottleneckBackward<T> b;
    b.forward = arguments<T>(device, x, index, down, down_bias, depthwise, depthwise_bias, up, up_bias, scale);
    b.forward.residual = residual;
    const Bottleneck<T>& f = b.forward;
    b.gradient = device.data<T>(gradient, "gradient", {f.images, f.height, f.width, f.channels});
    b.to_x = device.data<T>(to_x, "to_x", {f.images, f.height, f.width, f.channels});
    b.to_down = device.data<float>(to_down, "to_down", {f.adapters, f.rank, f.channels});
    b.to_down_bias = device.data<float>(to_down_bias, "to_down_bias", {f.adapters, f.rank});
    b.to_depthwise = device.data<float>(to_depthwise, "to_depthwise", {f.adapters, f.rank, 9});
    b.to_depthwise_bias = device.data<float>(to_depthwise_bias, "to_depthwise_bias", {f.adapters, f.rank});
    b.to_up = device.data<float>(to_up, "to_up", {f.adapters, f.channels, f.rank});
    b.to_up_bias = device.data<float>(to_up_bias, "to_up_bias", {f.adapters, f.channels});
    launch_bottleneck_backward(device, b);
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(adair_native, CUDA, m) {
  m.impl("bottleneck", TORCH_BOX(&run_bottleneck));
  m.impl("bottleneck_backward", TORCH_BOX(&run_bottleneck_backward));
}

}  // namespace adair
