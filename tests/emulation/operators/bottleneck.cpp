#include "bottleneck/backward.cuh"
#include "bottleneck/kernel.cuh"

#include "types.h"

namespace {

template <class T>
adair::Bottleneck<T> arguments(const emulation::Call& call) {
  adair::Bottleneck<T> f{};
  f.images = call.number("images");
  f.height = call.number("height");
  f.width = call.number("width");
  f.channels = call.number("channels");
  f.rank = call.number("rank");
  f.adapters = call.number("adapters");
  f.x = call.tensor<T>("x");
  f.index = call.tensor<int64_t>("index");
  f.down = call.tensor<float>("down");
  f.down_bias = call.tensor<float>("down_bias");
  f.depthwise = call.tensor<float>("depthwise");
  f.depthwise_bias = call.tensor<float>("depthwise_bias");
  f.up = call.tensor<float>("up");
  f.up_bias = call.tensor<float>("up_bias");
  f.scale = call.tensor<float>("scale");
  f.injected = call.tensor<T>("injected");
  f.base = call.tensor<T>("base");
  f.residual = call.number("residual") != 0;
  f.y = call.tensor<T>("y");
  return f;
}

}  // namespace

EMULATED(bottleneck) {
  emulation::with_type(call, [&](auto type) {
    using T = decltype(type);
    adair::launch_bottleneck<T>(call.device, arguments<T>(call));
  });
}

EMULATED(bottleneck_backward) {
  emulation::with_type(call, [&](auto type) {
    using T = decltype(type);
    adair::BottleneckBackward<T> b;
    b.forward = arguments<T>(call);
    b.gradient = call.tensor<T>("gradient");
    b.to_x = call.tensor<T>("to_x");
    b.to_down = call.tensor<float>("to_down");
    b.to_down_bias = call.tensor<float>("to_down_bias");
    b.to_depthwise = call.tensor<float>("to_depthwise");
    b.to_depthwise_bias = call.tensor<float>("to_depthwise_bias");
    b.to_up = call.tensor<float>("to_up");
    b.to_up_bias = call.tensor<float>("to_up_bias");
    adair::launch_bottleneck_backward<T>(call.device, b);
  });
}
