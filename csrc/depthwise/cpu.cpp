// Depthwise convolution on a CPU.

#include "common/tensors.h"
#include "depthwise/arguments.h"

#define ADAIR_KERNELS "depthwise/cpu_kernel.h"
#include "common/for_each_capability.h"

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

void depthwise(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, bool flipped,
               bool channels_last, Tensor y) {
  with_type(x, [&](auto type) {
    using T = decltype(type);
    Depthwise<T> f;
    set_sizes(x, channels_last, f);
    f.flipped = flipped;
    f.x = data<T>(x, "x", {f.images, f.height, f.width, f.channels});
    f.weight = data<float>(weight, "weight", {f.channels, 9});
    f.bias = data<float>(bias, "bias", {f.channels});
    f.y = data<T>(y, "y", {f.images, f.height, f.width, f.channels});
    ADAIR_DISPATCH(depthwise_kernel<T>)(f, torch_threads());
  });
}

void depthwise_gradients(const Tensor& gradient, const std::optional<Tensor>& x, bool channels_last,
                         const std::optional<Tensor>& to_weight, const std::optional<Tensor>& to_bias) {
  with_type(gradient, [&](auto type) {
    using T = decltype(type);
    DepthwiseGradients<T> f;
    set_sizes(gradient, channels_last, f);
    f.gradient = data<T>(gradient, "gradient", {f.images, f.height, f.width, f.channels});
    f.x = data<T>(x, "x", {f.images, f.height, f.width, f.channels});
    f.to_weight = data<float>(to_weight, "to_weight", {f.channels, 9});
    f.to_bias = data<float>(to_bias, "to_bias", {f.channels});
    STD_TORCH_CHECK(f.x != nullptr || f.to_weight == nullptr, "x: expected for the gradient of the weight");
    ADAIR_DISPATCH(depthwise_gradients_kernel<T>)(f, torch_threads());
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(adair_native, m) {
  m.def("depthwise(Tensor x, Tensor weight, Tensor? bias, bool flipped, bool channels_last, Tensor(a!) y) -> ()");
  m.def(
      "depthwise_gradients(Tensor gradient, Tensor? x, bool channels_last, Tensor(a!)? to_weight,"
      " Tensor(b!)? to_bias) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(adair_native, CPU, m) {
  m.impl("depthwise", TORCH_BOX(&depthwise));
  m.impl("depthwise_gradients", TORCH_BOX(&depthwise_gradients));
}

}  // namespace adair
