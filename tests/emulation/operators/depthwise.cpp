#include "depthwise/kernel.cuh"

#include "types.h"

namespace {

template <class Arguments>
void set_sizes(const emulation::Call& call, Arguments& f) {
  f.images = call.number("images");
  f.height = call.number("height");
  f.width = call.number("width");
  f.channels = call.number("channels");
  f.channels_last = call.number("channels_last") != 0;
}

}  // namespace

EMULATED(depthwise) {
  emulation::with_type(call, [&](auto type) {
    using T = decltype(type);
    adair::Depthwise<T> f;
    set_sizes(call, f);
    f.x = call.tensor<T>("x");
    f.weight = call.tensor<float>("weight");
    f.bias = call.tensor<float>("bias");
    f.flipped = call.number("flipped") != 0;
    f.y = call.tensor<T>("y");
    f.weight_step = call.step("weight", f.channels * 9);
    f.bias_step = call.step("bias", f.channels);
    adair::launch_depthwise<T>(call.device, f);
  });
}

EMULATED(depthwise_gradients) {
  emulation::with_type(call, [&](auto type) {
    using T = decltype(type);
    adair::DepthwiseGradients<T> f;
    set_sizes(call, f);
    f.gradient = call.tensor<T>("gradient");
    f.x = call.tensor<T>("x");
    f.to_weight = call.tensor<float>("to_weight");
    f.to_bias = call.tensor<float>("to_bias");
    adair::launch_depthwise_gradients<T>(call.device, f);
  });
}
