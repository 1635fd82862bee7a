#include "channel_attention/backward.cuh"
#include "channel_attention/kernel.cuh"

#include "types.h"

namespace {

template <class T>
adair::ChannelAttention<T> arguments(const emulation::Call& call) {
  adair::ChannelAttention<T> f{};
  f.images = call.number("images");
  f.pixels = call.number("pixels");
  f.channels = call.number("channels");
  f.heads = call.number("heads");
  f.qkv = call.tensor<T>("qkv");
  f.temperature = call.tensor<float>("temperature");
  f.out_weight = call.tensor<float>("out_weight");
  f.out_bias = call.tensor<float>("out_bias");
  f.base = call.tensor<T>("base");
  f.y = call.tensor<T>("y");
  f.cosines = call.tensor<float>("cosines");
  f.lengths = call.tensor<float>("lengths");
  f.temperature_step = call.step("temperature", f.heads);
  f.out_weight_step = call.step("out_weight", f.channels * f.channels);
  f.out_bias_step = call.step("out_bias", f.channels);
  return f;
}

}  // namespace

EMULATED(channel_attention) {
  emulation::with_type(call, [&](auto type) {
    using T = decltype(type);
    adair::launch_channel_attention<T>(call.device, arguments<T>(call));
  });
}

EMULATED(channel_attention_backward) {
  emulation::with_type(call, [&](auto type) {
    using T = decltype(type);
    adair::ChannelAttentionBackward<T> b{};
    b.forward = arguments<T>(call);
    b.gradient = call.tensor<T>("gradient");
    b.to_qkv = call.tensor<T>("to_qkv");
    b.to_temperature = call.tensor<float>("to_temperature");
    b.to_out_weight = call.tensor<float>("to_out_weight");
    adair::launch_channel_attention_backward<T>(call.device, b);
  });
}
