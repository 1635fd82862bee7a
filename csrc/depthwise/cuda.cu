// The depthwise convolution on a GPU, a step of the attention branch there.

#include "cuda/device.h"
#include "depthwise/kernel.cuh"

namespace adair {
namespace {

template <class Arguments>
void set_sizes(const Tensor& x, Arguments& f) {
  f.images = x.size(0), f.height = x.size(1), f.width = x.size(2), f.channels = x.size(3);
}

void run_depthwise(const Tensor& x, const Tensor& weight, OptionalTensor bias, bool flipped, Tensor y) {
  Device device(x);
  with_type(x, [&](auto type) {
    using T = decltype(type);
    Depthwise<T> f;
    set_sizes(x, f);
    f.flipped = flipped;
    f.x = device.data<T>(x, "x", {f.images, f.height, f.width, f.channels});
    f.weight = device.data<float>(weight, "weight", {f.channels, 9});
    f.bias = device.data<float>(bias, "bias", {f.channels});
    f.y = device.data<T>(y, "y", {f.images, f.height, f.width, f.channels});
    launch_depthwise(device, f);
  });
}

void run_depthwise_gradients(const Tensor& gradient, OptionalTensor x, OptionalTensor to_weight, OptionalTensor to_bias) {
  Device device(gradient);
  with_type(gradient, [&](auto type) {
    using T = decltype(type);
    DepthwiseGradients<T> f;
    set_sizes(gradient, f);
    f.gradient = device.data<T>(gradient, "gradient", {f.images, f.height, f.width, f.channels});
    f.x = device.data<T>(x, "x", {f.images, f.height, f.width, f.channels});
    f.to_weight = device.data<float>(to_weight, "to_weight", {f.channels, 9});
    f.to_bias = device.data<float>(to_bias, "to_bias", {f.channels});
    STD_TORCH_CHECK(f.x != nullptr || f.to_weight == nullptr, "x: expected for the gradient of the weight");
    launch_depthwise_gradients(device, f);
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(adair_native, m) {
  m.def("depthwise(Tensor x, Tensor weight, Tensor? bias, bool flipped, Tensor(a!) y) -> ()");
  m.def(
      "depthwise_gradients(Tensor gradient, Tensor? x, Tensor(a!)? to_weight, Tensor(b!)? to_bias) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(adair_native, CUDA, m) {
  m.impl("depthwise", TORCH_BOX(&run_depthwise));
  m.impl("depthwise_gradients", TORCH_BOX(&run_depthwise_gradients));
}

}  // namespace adair
