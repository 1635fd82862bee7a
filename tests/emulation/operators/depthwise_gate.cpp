#include "depthwise_gate/kernel.cuh"

#include "types.h"

namespace {

template <class Arguments>
void set_sizes(const emulation::Call& call, Arguments& f) {
  f.images = call.number("images");
  f.height = call.number("height");
  f.width = call.number("width");
  f.hidden = call.number("hidden");
  f.channels_last = call.number("channels_last") != 0;
}

}  // namespace

EMULATED(depthwise_gate) {
  emulation::with_type(call, [&](auto type) {
    using T = decltype(type);
    adair::DepthwiseGate<T> f;
    set_sizes(call, f);
    f.x = call.tensor<T>("x");
    f.weight = call.tensor<float>("weight");
    f.bias = call.tensor<float>("bias");
    f.y = call.tensor<T>("y");
    f.convolved = call.tensor<T>("convolved");
    f.weight_step = call.step("weight", 2 * f.hidden * 9);
    f.bias_step = call.step("bias", 2 * f.hidden);
    adair::launch_depthwise_gate<T>(call.device, f);
  });
}

EMULATED(depthwise_gate_backward) {
  emulation::with_type(call, [&](auto type) {
    using T = decltype(type);
    adair::DepthwiseGateBackward<T> f;
    set_sizes(call, f);
    f.gradient = call.tensor<T>("gradient");
    f.convolved = call.tensor<T>("convolved");
    f.x = call.tensor<T>("x");
    f.weight = call.tensor<float>("weight");
    f.to_x = call.tensor<T>("to_x");
    f.to_weight = call.tensor<float>("to_weight");
    f.to_bias = call.tensor<float>("to_bias");
    adair::launch_depthwise_gate_backward<T>(call.device, f);
  });
}
