// The feed-forward branch on a CPU.

#include "common/tensors.h"
#include "feed_forward/arguments.h"

#define ADAIR_KERNELS "feed_forward/cpu_kernel.h"
#include "common/for_each_capability.h"

namespace adair {
namespace {

void feed_forward(const Tensor& x, const Tensor& norm_weight, const std::optional<Tensor>& norm_bias, double eps,
                  const Tensor& in_weight, const std::optional<Tensor>& in_bias, const Tensor& depthwise,
                  const std::optional<Tensor>& depthwise_bias, const Tensor& out_weight,
                  const std::optional<Tensor>& out_bias, bool residual, Tensor y, const std::optional<Tensor>& convolved) {
  const int64_t images = x.size(0), height = x.size(1), width = x.size(2), channels = x.size(3);
  const int64_t hidden = out_weight.numel() / channels;
  with_type(x, [&](auto type) {
    using T = decltype(type);
    FeedForward<T> f;
    f.images = images, f.height = height, f.width = width, f.channels = channels, f.hidden = hidden;
    f.eps = static_cast<float>(eps);
    f.residual = residual;
    f.x = data<T>(x, "x", {images, height, width, channels});
    f.norm_weight = data<float>(norm_weight, "norm_weight", {channels});
    f.norm_bias = data<float>(norm_bias, "norm_bias", {channels});
    f.in_weight = data<float>(in_weight, "in_weight", {2 * hidden, channels});
    f.in_bias = data<float>(in_bias, "in_bias", {2 * hidden});
    f.depthwise = data<float>(depthwise, "depthwise", {2 * hidden, 9});
    f.depthwise_bias = data<float>(depthwise_bias, "depthwise_bias", {2 * hidden});
    f.out_weight = data<float>(out_weight, "out_weight", {channels, hidden});
    f.out_bias = data<float>(out_bias, "out_bias", {channels});
    f.y = data<T>(y, "y", {images, height, width, channels});
    f.convolved = data<T>(convolved, "convolved", {images, height, width, 2 * hidden});
    ADAIR_DISPATCH(feed_forward_kernel<T>)(f, torch_threads());
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(adair_native, m) {
  m.def(
      "feed_forward(Tensor x, Tensor norm_weight, Tensor? norm_bias, float eps, Tensor in_weight, Tensor? in_bias,"
      " Tensor depthwise, Tensor? depthwise_bias, Tensor out_weight, Tensor? out_bias, bool residual, Tensor(a!) y,"
      " Tensor(b!)? convolved) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(adair_native, CPU, m) { m.impl("feed_forward", TORCH_BOX(&feed_forward)); }

}  // namespace adair
