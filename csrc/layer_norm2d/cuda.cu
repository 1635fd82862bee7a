// The layer norm of images on a GPU. The schemas are in cpu.cpp.

#include "cuda/device.h"
#include "layer_norm2d/kernel.cuh"

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

void run_layer_norm2d(const Tensor& x, const Tensor& weight, OptionalTensor bias, double eps, bool channels_last,
                      Tensor y, Tensor mean, Tensor rstd) {
  Device device(x);
  with_type(x, [&](auto type) {
    using T = decltype(type);
    LayerNorm2d<T> f;
    set_sizes(x, channels_last, f);
    f.eps = static_cast<float>(eps);
    f.x = device.data<T>(x, "x", {f.images, f.pixels, f.channels});
    f.weight = device.data<float>(weight, "weight", {f.channels});
    f.bias = device.data<float>(bias, "bias", {f.channels});
    f.y = device.data<T>(y, "y", {f.images, f.pixels, f.channels});
    f.mean = device.data<float>(mean, "mean", {f.images, f.pixels});
    f.rstd = device.data<float>(rstd, "rstd", {f.images, f.pixels});
    launch_layer_norm2d(device, f);
  });
}

void run_layer_norm2d_backward(const Tensor& gradient, const Tensor& x, const Tensor& weight, const Tensor& mean,
                           const Tensor& rstd, bool bias_free, bool channels_last, Tensor to_x,
                           OptionalTensor to_weight, OptionalTensor to_bias) {
  Device device(x);
  with_type(x, [&](auto type) {
    using T = decltype(type);
    LayerNorm2dBackward<T> f;
    set_sizes(x, channels_last, f);
    f.bias_free = bias_free;
    f.gradient = device.data<T>(gradient, "gradient", {f.images, f.pixels, f.channels});
    f.x = device.data<T>(x, "x", {f.images, f.pixels, f.channels});
    f.weight = device.data<float>(weight, "weight", {f.channels});
    f.mean = device.data<float>(mean, "mean", {f.images, f.pixels});
    f.rstd = device.data<float>(rstd, "rstd", {f.images, f.pixels});
    f.to_x = device.data<T>(to_x, "to_x", {f.images, f.pixels, f.channels});
    f.to_weight = device.data<float>(to_weight, "to_weight", {f.channels});
    f.to_bias = device.data<float>(to_bias, "to_bias", {f.channels});
    launch_layer_norm2d_backward(device, f);
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(adair_native, CUDA, m) {
  m.impl("layer_norm2d", TORCH_BOX(&run_layer_norm2d));
  m.impl("layer_norm2d_backward", TORCH_BOX(&run_layer_norm2d_backward));
}

}  // namespace adair
