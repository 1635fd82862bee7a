// The attention across channels on a CPU. Without the projection that CUDA's kernels can add: where there is one, the
// attention branch is one kernel.

#include "channel_attention/arguments.h"
#include "common/tensors.h"

#define ADAIR_KERNELS "channel_attention/cpu_kernels.h"
#include "common/for_each_capability.h"

namespace adair {
namespace {

typedef const std::optional<Tensor>& OptionalTensor;

template <class T>
ChannelAttention<T> arguments(const Tensor& qkv, const Tensor& temperature, const Tensor& cosines,
                              const Tensor& lengths) {
  ChannelAttention<T> a{};
  a.images = qkv.size(0), a.pixels = qkv.size(1) * qkv.size(2), a.channels = qkv.size(3) / 3;
  a.heads = temperature.numel();
  STD_TORCH_CHECK(a.heads > 0 && qkv.size(3) == 3 * a.channels && a.channels % a.heads == 0,
                  "qkv: expected a multiple of 3 x ", a.heads, " heads as channels, got ", qkv.size(3));
  a.qkv = data<T>(qkv, "qkv", {a.images, a.pixels, 3 * a.channels});
  a.temperature = data<float>(temperature, "temperature", {a.heads});
  a.cosines = data<float>(cosines, "cosines", {a.images, a.channels, a.per_head()});
  a.lengths = data<float>(lengths, "lengths", {2, a.images, a.channels});
  return a;
}

void channel_attention(const Tensor& qkv, const Tensor& temperature, OptionalTensor out_weight,
                       OptionalTensor out_bias, OptionalTensor base, Tensor y, Tensor cosines, Tensor lengths) {
  STD_TORCH_CHECK(!out_weight.has_value() && !out_bias.has_value() && !base.has_value(),
                  "channel_attention: expected no out_weight, out_bias or base on a CPU");
  with_type(qkv, [&](auto type) {
    using T = decltype(type);
    ChannelAttention<T> a = arguments<T>(qkv, temperature, cosines, lengths);
    a.y = data<T>(y, "y", {a.images, a.pixels, a.channels});
    ADAIR_DISPATCH(channel_attention_kernel<T>)(a, torch_threads());
  });
}

void channel_attention_backward(const Tensor& gradient, const Tensor& qkv, const Tensor& temperature,
                                OptionalTensor out_weight, const Tensor& cosines, const Tensor& lengths,
                                OptionalTensor to_qkv, OptionalTensor to_temperature, OptionalTensor to_out_weight) {
  STD_TORCH_CHECK(!out_weight.has_value() && !to_out_weight.has_value(),
                  "channel_attention_backward: expected no out_weight on a CPU");
  with_type(qkv, [&](auto type) {
    using T = decltype(type);
    ChannelAttentionBackward<T> b{};
    b.forward = arguments<T>(qkv, temperature, cosines, lengths);
    const ChannelAttention<T>& a = b.forward;
    b.gradient = data<T>(gradient, "gradient", {a.images, a.pixels, a.channels});
    b.to_qkv = data<T>(to_qkv, "to_qkv", {a.images, a.pixels, 3 * a.channels});
    b.to_temperature = data<float>(to_temperature, "to_temperature", {a.heads});
    ADAIR_DISPATCH(channel_attention_backward_kernel<T>)(b, torch_threads());
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(adair_native, m) {
  m.def(
      "channel_attention(Tensor qkv, Tensor temperature, Tensor? out_weight, Tensor? out_bias, Tensor? base,"
      " Tensor(a!) y, Tensor(b!) cosines, Tensor(c!) lengths) -> ()");
  m.def(
      "channel_attention_backward(Tensor gradient, Tensor qkv, Tensor temperature, Tensor? out_weight, Tensor cosines,"
      " Tensor lengths, Tensor(a!)? to_qkv, Tensor(b!)? to_temperature, Tensor(c!)? to_out_weight) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(adair_native, CPU, m) {
  m.impl("channel_attention", TORCH_BOX(&channel_attention));
  m.impl("channel_attention_backward", TORCH_BOX(&channel_attention_backward));
}

}  // namespace adair
