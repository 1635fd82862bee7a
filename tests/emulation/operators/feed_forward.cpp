#include "feed_forward/kernel.cuh"

#include "types.h"

EMULATED(feed_forward) {
  emulation::with_type(call, [&](auto type) {
    using T = decltype(type);
    adair::FeedForward<T> f{};
    adair::Expansion<T>& e = f.expansion;
    e.images = call.number("images");
    e.height = call.number("height");
    e.width = call.number("width");
    e.channels = call.number("channels");
    e.parts = 2;
    e.part = call.number("hidden");
    e.eps = static_cast<float>(call.number("eps"));
    e.x = call.tensor<T>("x");
    e.norm_weight = call.tensor<float>("norm_weight");
    e.norm_bias = call.tensor<float>("norm_bias");
    e.weight = call.tensor<float>("in_weight");
    e.bias = call.tensor<float>("in_bias");
    e.depthwise = call.tensor<float>("depthwise");
    e.depthwise_bias = call.tensor<float>("depthwise_bias");
    f.out_weight = call.tensor<float>("out_weight");
    f.out_bias = call.tensor<float>("out_bias");
    f.residual = call.number("residual") != 0;
    f.y = call.tensor<T>("y");
    f.convolved = call.tensor<T>("convolved");
    const int64_t channels = e.channels, expanded = 2 * e.part;
    const adair::FeedForwardSteps steps{call.step("norm_weight", channels), call.step("norm_bias", channels),
                                        call.step("in_weight", expanded * channels), call.step("in_bias", expanded),
                                        call.step("depthwise", expanded * 9), call.step("depthwise_bias", expanded),
                                        call.step("out_weight", channels * e.part), call.step("out_bias", channels)};
    adair::launch_feed_forward<T>(call.device, f, steps);
  });
}
