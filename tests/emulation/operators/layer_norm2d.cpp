#include "layer_norm2d/kernel.cuh"

#include "types.h"

namespace {

template <class Arguments>
void set_sizes(const emulation::Call& call, Arguments& f) {
  f.images = call.number("images");
  f.pixels = call.number("pixels");
  f.channels = call.number("channels");
  f.channels_last = call.number("channels_last") != 0;
}

}  // namespace

EMULATED(layer_norm2d) {
  emulation::with_type(call, [&](auto type) {
    using T = decltype(type);
    adair::LayerNorm2d<T> f;
    set_sizes(call, f);
    f.x = call.tensor<T>("x");
    f.weight = call.tensor<float>("weight");
    f.bias = call.tensor<float>("bias");
    f.eps = static_cast<float>(call.number("eps"));
    f.y = call.tensor<T>("y");
    f.mean = call.tensor<float>("mean");
    f.rstd = call.tensor<float>("rstd");
    adair::launch_layer_norm2d<T>(call.device, f);
  });
}

EMULATED(layer_norm2d_backward) {
  emulation::with_type(call, [&](auto type) {
    using T = decltype(type);
    adair::LayerNorm2dBackward<T> f;
    set_sizes(call, f);
    f.gradient = call.tensor<T>("gradient");
    f.x = call.tensor<T>("x");
    f.weight = call.tensor<float>("weight");
    f.mean = call.tensor<float>("mean");
    f.rstd = call.tensor<float>("rstd");
    f.bias_free = call.number("bias_free") != 0;
    f.to_x = call.tensor<T>("to_x");
    f.to_weight = call.tensor<float>("to_weight");
    f.to_bias = call.tensor<float>("to_bias");
    adair::launch_layer_norm2d_backward<T>(call.device, f);
  });
}
