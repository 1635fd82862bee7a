// Depthwise convolution and gate on a GPU. The schemas are in cpu.cpp.

#include "cuda/device.h"
#include "depthwise_gate/kernel.cuh"

namespace adair {
namespace {

// Sizes of images of `hidden` channels, for `f`.
template <class Arguments>
void set_sizes(const Tensor& images, bool channels_last, Arguments& f) {
  f.images = images.size(0);
  f.height = images.size(channels_last ? 1 : 2);
  f.width = images.size(channels_last ? 2 : 3);
  f.hidden = images.size(channels_last ? 3 : 1);
  f.channels_last = channels_last;
}

void run_depthwise_gate(const Tensor& x, const Tensor& weight, OptionalTensor bias, bool channels_last, Tensor y,
                        OptionalTensor convolved) {
  Device device(x);
  with_type(x, [&](auto type) {
    using T = decltype(type);
    DepthwiseGate<T> f;
    set_sizes(y, channels_last, f);
    f.x = device.data<T>(x, "x", {f.images, f.height, f.width, 2 * f.hidden});
    f.weight = device.each<float>(weight, "weight", f.images, {2 * f.hidden, 9}, f.weight_step);
    f.bias = device.each<float>(bias, "bias", f.images, {2 * f.hidden}, f.bias_step);
    f.y = device.data<T>(y, "y", {f.images, f.height, f.width, f.hidden});
    f.convolved = device.data<T>(convolved, "convolved", {f.images, f.height, f.width, 2 * f.hidden});
    launch_depthwise_gate(device, f);
  });
}

void run_depthwise_gate_backward(const Tensor& gradient, const Tensor& convolved, OptionalTensor x,
                                 const Tensor& weight, bool channels_last, OptionalTensor to_x,
                                 OptionalTensor to_weight, OptionalTensor to_bias) {
  Device device(gradient);
  with_type(gradient, [&](auto type) {
    using T = decltype(type);
    DepthwiseGateBackward<T> f;
    set_sizes(gradient, channels_last, f);
    f.gradient = device.data<T>(gradient, "gradient", {f.images, f.height, f.width, f.hidden});
    f.convolved = device.data<T>(convolved, "convolved", {f.images, f.height, f.width, 2 * f.hidden});
    f.x = device.data<T>(x, "x", {f.images, f.height, f.width, 2 * f.hidden});
    f.weight = device.data<float>(weight, "weight", {2 * f.hidden, 9});
    f.to_x = device.data<T>(to_x, "to_x", {f.images, f.height, f.width, 2 * f.hidden});
    f.to_weight = device.data<float>(to_weight, "to_weight", {2 * f.hidden, 9});
    f.to_bias = device.data<float>(to_bias, "to_bias", {2 * f.hidden});
    STD_TORCH_CHECK(f.x != nullptr || f.to_weight == nullptr, "x: expected for the gradient of the weight");
    launch_depthwise_gate_backward(device, f);
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(adair_native, CUDA, m) {
  m.impl("depthwise_gate", TORCH_BOX(&run_depthwise_gate));
  m.impl("depthwise_gate_backward", TORCH_BOX(&run_depthwise_gate_backward));
}

}  // namespace adair
