// Depthwise convolution and gate on a CPU.

#include "common/tensors.h"
#include "depthwise_gate/arguments.h"

#define ADAIR_KERNELS "depthwise_gate/cpu_kernel.h"
#include "common/for_each_capability.h"

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

void depthwise_gate(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, bool channels_last,
                    Tensor y, const std::optional<Tensor>& convolved) {
  with_type(x, [&](auto type) {
    using T = decltype(type);
    DepthwiseGate<T> f;
    set_sizes(y, channels_last, f);
    f.x = data<T>(x, "x", {f.images, f.height, f.width, 2 * f.hidden});
    f.weight = data<float>(weight, "weight", {2 * f.hidden, 9});
    f.bias = data<float>(bias, "bias", {2 * f.hidden});
    f.y = data<T>(y, "y", {f.images, f.height, f.width, f.hidden});
    f.convolved = data<T>(convolved, "convolved", {f.images, f.height, f.width, 2 * f.hidden});
    ADAIR_DISPATCH(depthwise_gate_kernel<T>)(f, torch_threads());
  });
}

void depthwise_gate_backward(const Tensor& gradient, const Tensor& convolved, const std::optional<Tensor>& x,
                             const Tensor& weight, bool channels_last, const std::optional<Tensor>& to_x,
                             const std::optional<Tensor>& to_weight, const std::optional<Tensor>& to_bias) {
  with_type(gradient, [&](auto type) {
    using T = decltype(type);
    DepthwiseGateBackward<T> f;
    set_sizes(gradient, channels_last, f);
    f.gradient = data<T>(gradient, "gradient", {f.images, f.height, f.width, f.hidden});
    f.convolved = data<T>(convolved, "convolved", {f.images, f.height, f.width, 2 * f.hidden});
    f.x = data<T>(x, "x", {f.images, f.height, f.width, 2 * f.hidden});
    f.weight = data<float>(weight, "weight", {2 * f.hidden, 9});
    f.to_x = data<T>(to_x, "to_x", {f.images, f.height, f.width, 2 * f.hidden});
    f.to_weight = data<float>(to_weight, "to_weight", {2 * f.hidden, 9});
    f.to_bias = data<float>(to_bias, "to_bias", {2 * f.hidden});
    STD_TORCH_CHECK(f.x != nullptr || f.to_weight == nullptr, "x: expected for the gradient of the weight");
    ADAIR_DISPATCH(depthwise_gate_backward_kernel<T>)(f, torch_threads());
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(adair_native, m) {
  m.def(
      "depthwise_gate(Tensor x, Tensor weight, Tensor? bias, bool channels_last, Tensor(a!) y,"
      " Tensor(b!)? convolved) -> ()");
  m.def(
      "depthwise_gate_backward(Tensor gradient, Tensor convolved, Tensor? x, Tensor weight, bool channels_last,"
      " Tensor(a!)? to_x, Tensor(b!)? to_weight, Tensor(c!)? to_bias) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(adair_native, CPU, m) {
  m.impl("depthwise_gate", TORCH_BOX(&depthwise_gate));
  m.impl("depthwise_gate_backward", TORCH_BOX(&depthwise_gate_backward));
}

}  // namespace adair
