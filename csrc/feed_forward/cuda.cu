// The feed-forward branch of few channels on a GPU; adair_core/ops/feed_forward/cuda.py has what else happens there.

#include "cuda/device.h"
#include "feed_forward/kernel.cuh"

namespace adair {
namespace {

void run_feed_forward(const Tensor& x, const Tensor& norm_weight, OptionalTensor norm_bias, double eps,
                      const Tensor& in_weight, OptionalTensor in_bias, const Tensor& depthwise,
                      OptionalTensor depthwise_bias, const Tensor& out_weight, OptionalTensor out_bias, bool residual,
                      Tensor y, OptionalTensor convolved) {
  Device device(x);
  with_type(x, [&](auto type) {
    using T = decltype(type);
    FeedForward<T> f{};
    FeedForwardSteps steps;
    Expansion<T>& e = f.expansion;
    e.images = x.size(0), e.height = x.size(1), e.width = x.size(2), e.channels = x.size(3);
    STD_TORCH_CHECK(e.channels <= kLargestFeedForward, "x: expected no more than ", kLargestFeedForward,
                    " channels, got ", e.channels);
    e.parts = 2, e.part = out_weight.size(out_weight.dim() - 3);  // (..., channels, hidden, 1, 1)
    e.eps = static_cast<float>(eps);
    e.x = device.data<T>(x, "x", {e.images, e.height, e.width, e.channels});
    e.norm_weight = device.each<float>(norm_weight, "norm_weight", e.images, {e.channels}, steps.norm_weight);
    e.norm_bias = device.each<float>(norm_bias, "norm_bias", e.images, {e.channels}, steps.norm_bias);
    e.weight = device.each<float>(in_weight, "in_weight", e.images, {2 * e.part, e.channels}, steps.in_weight);
    e.bias = device.each<float>(in_bias, "in_bias", e.images, {2 * e.part}, steps.in_bias);
    e.depthwise = device.each<float>(depthwise, "depthwise", e.images, {2 * e.part, 9}, steps.depthwise);
    e.depthwise_bias = device.each<float>(depthwise_bias, "depthwise_bias", e.images, {2 * e.part},
                                           steps.depthwise_bias);
    f.out_weight = device.each<float>(out_weight, "out_weight", e.images, {e.channels, e.part}, steps.out_weight);
    f.out_bias = device.each<float>(out_bias, "out_bias", e.images, {e.channels}, steps.out_bias);
    f.residual = residual;
    f.y = device.data<T>(y, "y", {e.images, e.height, e.width, e.channels});
    f.convolved = device.data<T>(convolved, "convolved", {e.images, e.height, e.width, 2 * e.part});
    STD_TORCH_CHECK(f.convolved == nullptr || !steps.any(), "convolved: parameters per image are for inference alone");
    launch_feed_forward(device, f, steps);
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(adair_native, m) {
  m.def(
      "feed_forward_in_tiles(Tensor x, Tensor norm_weight, Tensor? norm_bias, float eps, Tensor in_weight,"
      " Tensor? in_bias, Tensor depthwise, Tensor? depthwise_bias, Tensor out_weight, Tensor? out_bias, bool residual,"
      " Tensor(a!) y, Tensor(b!)? convolved) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(adair_native, CUDA, m) { m.impl("feed_forward_in_tiles", TORCH_BOX(&run_feed_forward)); }

}  // namespace adair
