// The layer norm of images on a CPU.

#include "common/tensors.h"
#include "layer_norm2d/arguments.h"

#define ADAIR_KERNELS "layer_norm2d/cpu_kernel.h"
#include "common/for_each_capability.h"

namespace adair {
namespace {

// Sizes of images, (images, height, width, channels) or (images, channels, height, width), for `f`.
template <class Arguments>
void set_sizes(const Tensor& x, bool channels_last, Arguments& f) {
  f.images = x.size(0);
  f.pixels = channels_last ? x.size(1) * x.size(2) : x.size(2) * x.size(3);
  f.channels = x.size(channels_last ? 3 : 1);
  f.channels_last = channels_last;
}

void layer_norm2d(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, double eps,
                  bool channels_last, Tensor y, Tensor mean, Tensor rstd) {
  with_type(x, [&](auto type) {
    using T = decltype(type);
    LayerNorm2d<T> f;
    set_sizes(x, channels_last, f);
    f.eps = static_cast<float>(eps);
    f.x = data<T>(x, "x", {f.images, f.pixels, f.channels});
    f.weight = data<float>(weight, "weight", {f.channels});
    f.bias = data<float>(bias, "bias", {f.channels});
    f.y = data<T>(y, "y", {f.images, f.pixels, f.channels});
    f.mean = data<float>(mean, "mean", {f.images, f.pixels});
    f.rstd = data<float>(rstd, "rstd", {f.images, f.pixels});
    ADAIR_DISPATCH(layer_norm2d_kernel<T>)(f, torch_threads());
  });
}

void layer_norm2d_backward(const Tensor& gradient, const Tensor& x, const Tensor& weight, const Tensor& mean,
                           const Tensor& rstd, bool bias_free, bool channels_last, Tensor to_x,
                           const std::optional<Tensor>& to_weight, const std::optional<Tensor>& to_bias) {
  with_type(x, [&](auto type) {
    using T = decltype(type);
    LayerNorm2dBackward<T> f;
    set_sizes(x, channels_last, f);
    f.bias_free = bias_free;
    f.gradient = data<T>(gradient, "gradient", {f.images, f.pixels, f.channels});
    f.x = data<T>(x, "x", {f.images, f.pixels, f.channels});
    f.weight = data<float>(weight, "weight", {f.channels});
    f.mean = data<float>(mean, "mean", {f.images, f.pixels});
    f.rstd = data<float>(rstd, "rstd", {f.images, f.pixels});
    f.to_x = data<T>(to_x, "to_x", {f.images, f.pixels, f.channels});
    f.to_weight = data<float>(to_weight, "to_weight", {f.channels});
    f.to_bias = data<float>(to_bias, "to_bias", {f.channels});
    ADAIR_DISPATCH(layer_norm2d_backward_kernel<T>)(f, torch_threads());
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(adair_native, m) {
  m.def(
      "layer_norm2d(Tensor x, Tensor weight, Tensor? bias, float eps, bool channels_last, Tensor(a!) y,"
      " Tensor(b!) mean, Tensor(c!) rstd) -> ()");
  m.def(
      "layer_norm2d_backward(Tensor gradient, Tensor x, Tensor weight, Tensor mean, Tensor rstd, bool bias_free,"
      " bool channels_last, Tensor(a!) to_x, Tensor(b!)? to_weight, Tensor(c!)? to_bias) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(adair_native, CPU, m) {
  m.impl("layer_norm2d", TORCH_BOX(&layer_norm2d));
  m.impl("layer_norm2d_backward", TORCH_BOX(&layer_norm2d_backward));
}

}  // namespace adair
