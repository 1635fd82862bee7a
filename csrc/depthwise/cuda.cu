// Depthwise convolution on a GPU. The schemas are in cpu.cpp.

#include "cuda/device.h"
#include "depthwise/kernel.cuh"

namespace adair {
namespace {

// Sizes of images, for `f`.
template <class Arguments>
void set_sizes(const Tensor& images, bool channels_last, Arguments& f) {
  f.images = images.size(0);
  f.height = images.size(channels_last ? 1 : 2);
  f.width = images.size(channels_last ? 2 : 3);
  f.channels = images.size(channels_last ? 3 : 1);
  f.channels_last = channels_last;
}

void run_depthwise(const Tensor& x, const Tensor& weight, OptionalTensor bias, bool flipped, bool channels_last,
                   Tensor y) {
  Device device(x);
  with_type(x, [&](auto type) {
    using T = decltype(type);
    Depthwise<T> f;
    set_sizes(x, channels_last, f);
    f.flipped = flipped;
    f.x = device.data<T>(x, "x", {f.images, f.height, f.width, f.channels});
    f.weight = device.each<float>(weight, "weight", f.images, {f.channels, 9}, f.weight_step);
    f.bias = device.each<float>(bias, "bias", f.images, {f.channels}, f.bias_step);
    f.y = device.data<T>(y, "y", {f.images, f.height, f.width, f.channels});
    launch_depthwise(device, f);
  });
}

void run_depthwise_gradients(const Tensor& gradient, OptionalTensor x, bool channels_last, OptionalTensor to_weight,
                             OptionalTensor to_bias) {
  Device device(gradient);
  with_type(gradient, [&](auto type) {
    using T = decltype(type);
    DepthwiseGradients<T> f;
    set_sizes(gradient, channels_last, f);
    f.gradient = device.data<T>(gradient, "gradient", {f.images, f.height, f.width, f.channels});
    f.x = device.data<T>(x, "x", {f.images, f.height, f.width, f.channels});
    f.to_weight = device.data<float>(to_weight, "to_weight", {f.channels, 9});
    f.to_bias = device.data<float>(to_bias, "to_bias", {f.channels});
    STD_TORCH_CHECK(f.x != nullptr || f.to_weight == nullptr, "x: expected for the gradient of the weight");
    launch_depthwise_gradients(device, f);
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(adair_native, CUDA, m) {
  m.impl("depthwise", TORCH_BOX(&run_depthwise));
  m.impl("depthwise_gradients", TORCH_BOX(&run_depthwise_gradients));
}

}  // namespace adair
