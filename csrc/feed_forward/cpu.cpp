// The feed-forward branch on a CPU.

#include "bottleneck/epilogue_tensors.h"
#include "common/tensors.h"
#include "feed_forward/arguments.h"

#define ADAIR_KERNELS "feed_forward/cpu_kernels.h"
#include "common/for_each_capability.h"

namespace adair {
namespace {

typedef const std::vector<Tensor>& Values;

// The parameters as the Python side passes them.
struct Parameters {
  Values norm_weight, norm_bias;
  double eps;
  Values in_weight, in_bias, depthwise, depthwise_bias, out_weight, out_bias;
  bool residual;

  bool same_for_all() const {
    return adair::same_for_all({norm_weight, norm_bias, in_weight, in_bias, depthwise, depthwise_bias, out_weight,
                                out_bias});
  }
};

template <class T>
FeedForward<T> arguments(const Tensor& x, const Parameters& p, size_t set) {
  const int64_t images = x.size(0), height = x.size(1), width = x.size(2), channels = x.size(3);
  STD_TORCH_CHECK(!p.out_weight.empty(), "out_weight: expected a value");
  const int64_t hidden = p.out_weight[0].numel() / channels;
  FeedForward<T> f{};
  Expansion<T>& e = f.expansion;
  e.images = images, e.height = height, e.width = width, e.channels = channels;
  e.parts = 2, e.part = hidden;
  e.eps = static_cast<float>(p.eps);
  e.x = data<T>(x, "x", {images, height, width, channels});
  e.norm_weight = data<float>(p.norm_weight, set, "norm_weight", {channels});
  e.norm_bias = data<float>(p.norm_bias, set, "norm_bias", {channels});
  e.weight = data<float>(p.in_weight, set, "in_weight", {2 * hidden, channels});
  e.bias = data<float>(p.in_bias, set, "in_bias", {2 * hidden});
  e.depthwise = data<float>(p.depthwise, set, "depthwise", {2 * hidden, 9});
  e.depthwise_bias = data<float>(p.depthwise_bias, set, "depthwise_bias", {2 * hidden});
  f.out_weight = data<float>(p.out_weight, set, "out_weight", {channels, hidden});
  f.out_bias = data<float>(p.out_bias, set, "out_bias", {channels});
  f.residual = p.residual;
  return f;
}

void feed_forward(const Tensor& x, const std::vector<int64_t>& counts, Values norm_weight, Values norm_bias, double eps,
                  Values in_weight, Values in_bias, Values depthwise, Values depthwise_bias, Values out_weight,
                  Values out_bias, bool residual, Values epilogue, Tensor y, const std::optional<Tensor>& convolved) {
  const Parameters parameters{norm_weight,    norm_bias,  eps,      in_weight, in_bias, depthwise,
                              depthwise_bias, out_weight, out_bias, residual};
  with_type(x, [&](auto type) {
    using T = decltype(type);
    auto make = [&](size_t set) {
      FeedForward<T> f = arguments<T>(x, parameters, set);
      const Expansion<T>& e = f.expansion;
      f.y = data<T>(y, "y", {e.images, e.height, e.width, e.channels});
      f.epilogue = epilogue_of<T>(epilogue, set, y, f.y);
      f.convolved = data<T>(convolved, "convolved", {e.images, e.height, e.width, 2 * e.part});
      return f;
    };
    with_sets(x.size(0), counts, parameters.same_for_all(), make, [&](const PerImage<FeedForward<T>>& sets) {
      ADAIR_DISPATCH(feed_forward_kernel<T>)(sets, torch_threads());
    });
  });
}

void feed_forward_backward(const Tensor& gradient, const Tensor& x, Values norm_weight, Values norm_bias, double eps,
                           Values in_weight, Values in_bias, Values depthwise, Values depthwise_bias,
                           Values out_weight, Values out_bias, bool residual, const Tensor& convolved,
                           const std::optional<Tensor>& to_x, const std::optional<Tensor>& to_norm_weight,
                           const std::optional<Tensor>& to_norm_bias, const std::optional<Tensor>& to_in_weight,
                           const std::optional<Tensor>& to_in_bias, const std::optional<Tensor>& to_depthwise,
                           const std::optional<Tensor>& to_depthwise_bias, const std::optional<Tensor>& to_out_weight,
                           const std::optional<Tensor>& to_out_bias) {
  const Parameters parameters{norm_weight,    norm_bias,  eps,      in_weight, in_bias, depthwise,
                              depthwise_bias, out_weight, out_bias, residual};
  with_type(x, [&](auto type) {
    using T = decltype(type);
    FeedForwardBackward<T> b{};
    b.forward = arguments<T>(x, parameters, 0);
    const Expansion<T>& e = b.forward.expansion;
    b.forward.convolved = data<T>(convolved, "convolved", {e.images, e.height, e.width, 2 * e.part});
    b.gradient = data<T>(gradient, "gradient", {e.images, e.height, e.width, e.channels});
    b.to.x = data<T>(to_x, "to_x", {e.images, e.height, e.width, e.channels});
    b.to.norm_weight = data<float>(to_norm_weight, "to_norm_weight", {e.channels});
    b.to.norm_bias = data<float>(to_norm_bias, "to_norm_bias", {e.channels});
    b.to.weight = data<float>(to_in_weight, "to_in_weight", {2 * e.part, e.channels});
    b.to.bias = data<float>(to_in_bias, "to_in_bias", {2 * e.part});
    b.to.depthwise = data<float>(to_depthwise, "to_depthwise", {2 * e.part, 9});
    b.to.depthwise_bias = data<float>(to_depthwise_bias, "to_depthwise_bias", {2 * e.part});
    b.to_out_weight = data<float>(to_out_weight, "to_out_weight", {e.channels, e.part});
    b.to_out_bias = data<float>(to_out_bias, "to_out_bias", {e.channels});
    ADAIR_DISPATCH(feed_forward_backward_kernel<T>)(b, torch_threads());
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(adair_native, m) {
  m.def(
      "feed_forward(Tensor x, int[] counts, Tensor[] norm_weight, Tensor[] norm_bias, float eps, Tensor[] in_weight,"
      " Tensor[] in_bias, Tensor[] depthwise, Tensor[] depthwise_bias, Tensor[] out_weight, Tensor[] out_bias,"
      " bool residual, Tensor[] epilogue, Tensor(a!) y, Tensor(b!)? convolved) -> ()");
  m.def(
      "feed_forward_backward(Tensor gradient, Tensor x, Tensor[] norm_weight, Tensor[] norm_bias, float eps,"
      " Tensor[] in_weight, Tensor[] in_bias, Tensor[] depthwise, Tensor[] depthwise_bias, Tensor[] out_weight,"
      " Tensor[] out_bias, bool residual, Tensor convolved, Tensor(a!)? to_x, Tensor(b!)? to_norm_weight,"
      " Tensor(c!)? to_norm_bias, Tensor(d!)? to_in_weight, Tensor(e!)? to_in_bias, Tensor(f!)? to_depthwise,"
      " Tensor(g!)? to_depthwise_bias, Tensor(h!)? to_out_weight, Tensor(i!)? to_out_bias) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(adair_native, CPU, m) {
  m.impl("feed_forward", TORCH_BOX(&feed_forward));
  m.impl("feed_forward_backward", TORCH_BOX(&feed_forward_backward));
}

}  // namespace adair
