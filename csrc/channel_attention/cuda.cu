// The attention across channels on a GPU.

#include "channel_attention/backward.cuh"
#include "channel_attention/kernel.cuh"
#include "cuda/device.h"

namespace adair {
namespace {

template <class T>
ChannelAttention<T> arguments(const Device& device, const Tensor& qkv, const Tensor& temperature,
                              OptionalTensor out_weight, const Tensor& cosines, const Tensor& lengths) {
  ChannelAttention<T> f{};
  f.images = qkv.size(0), f.pixels = qkv.size(1) * qkv.size(2), f.channels = qkv.size(3) / 3;
  f.heads = cosines.size(1);
  STD_TORCH_CHECK(f.heads > 0 && qkv.size(3) == 3 * f.channels && f.channels % f.heads == 0,
                  "qkv: expected a multiple of 3 x ", f.heads, " heads as channels, got ", qkv.size(3));
  f.qkv = device.data<T>(qkv, "qkv", {f.images, f.pixels, 3 * f.channels});
  f.temperature = device.each<float>(temperature, "temperature", f.images, {f.heads}, f.temperature_step);
  f.out_weight =
      device.each<float>(out_weight, "out_weight", f.images, {f.channels, f.channels}, f.out_weight_step);
  f.cosines = device.data<float>(cosines, "cosines", {f.images, f.channels, f.per_head()});
  f.lengths = device.data<float>(lengths, "lengths", {2, f.images, f.channels});
  return f;
}

void run_channel_attention(const Tensor& qkv, const Tensor& temperature, OptionalTensor out_weight,
                           OptionalTensor out_bias, OptionalTensor base, Tensor y, Tensor cosines, Tensor lengths) {
  Device device(qkv);
  with_type(qkv, [&](auto type) {
    using T = decltype(type);
    ChannelAttention<T> f = arguments<T>(device, qkv, temperature, out_weight, cosines, lengths);
    f.out_bias = device.each<float>(out_bias, "out_bias", f.images, {f.channels}, f.out_bias_step);
    f.base = device.data<T>(base, "base", {f.images, f.pixels, f.channels});
    f.y = device.data<T>(y, "y", {f.images, f.pixels, f.channels});
    launch_channel_attention(device, f);
  });
}

void run_channel_attention_backward(const Tensor& gradient, const Tensor& qkv, const Tensor& temperature,
                                    OptionalTensor out_weight, const Tensor& cosines, const Tensor& lengths,
                                    OptionalTensor to_qkv, OptionalTensor to_temperature,
                                    OptionalTensor to_out_weight) {
  Device device(qkv);
  with_type(qkv, [&](auto type) {
    using T = decltype(type);
    ChannelAttentionBackward<T> b{};
    b.forward = arguments<T>(device, qkv, temperature, out_weight, cosines, lengths);
    const ChannelAttention<T>& f = b.forward;
    STD_TORCH_CHECK(f.temperature_step == 0 && f.out_weight_step == 0, "parameters: expected the same for all images");
    b.gradient = device.data<T>(gradient, "gradient", {f.images, f.pixels, f.channels});
    b.to_qkv = device.data<T>(to_qkv, "to_qkv", {f.images, f.pixels, 3 * f.channels});
    b.to_temperature = device.data<float>(to_temperature, "to_temperature", {f.heads});
    b.to_out_weight = device.data<float>(to_out_weight, "to_out_weight", {f.channels, f.channels});
    STD_TORCH_CHECK(f.out_weight != nullptr || b.to_out_weight == nullptr, "to_out_weight: there is no out_weight");
    launch_channel_attention_backward(device, b);
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(adair_native, CUDA, m) {
  m.impl("channel_attention", TORCH_BOX(&run_channel_attention));
  m.impl("channel_attention_backward", TORCH_BOX(&run_channel_attention_backward));
}

}  // namespace adair
