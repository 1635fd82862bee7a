// The attention branch on a CPU.

#include "attention_branch/arguments.h"
#include "bottleneck/epilogue_tensors.h"
#include "common/tensors.h"

#define ADAIR_KERNELS "attention_branch/cpu_kernels.h"
#include "common/for_each_capability.h"

namespace adair {
namespace {

typedef const std::vector<Tensor>& Values;

// The parameters as the Python side passes them.
struct Parameters {
  Values norm_weight, norm_bias;
  double eps;
  Values qkv_weight, qkv_bias, depthwise, depthwise_bias, temperature, out_weight, out_bias;
  bool residual;

  bool same_for_all() const {
    return adair::same_for_all({norm_weight, norm_bias, qkv_weight, qkv_bias, depthwise, depthwise_bias, temperature,
                                out_weight, out_bias});
  }
};

template <class T>
AttentionBranch<T> arguments(const Tensor& x, const Parameters& p, size_t set, const Tensor& kept, bool keep,
                             const Tensor& cosines, const Tensor& lengths) {
  const int64_t images = x.size(0), height = x.size(1), width = x.size(2), channels = x.size(3);
  STD_TORCH_CHECK(!p.temperature.empty(), "temperature: expected a value");
  const int64_t heads = p.temperature[0].numel();
  STD_TORCH_CHECK(heads > 0 && channels % heads == 0, "channels: expected a multiple of ", heads, " heads, got ",
                  channels);
  AttentionBranch<T> a{};
  Expansion<T>& e = a.expansion;
  e.images = images, e.height = height, e.width = width, e.channels = channels;
  e.parts = 3 * heads, e.part = channels / heads;
  e.eps = static_cast<float>(p.eps);
  e.x = data<T>(x, "x", {images, height, width, channels});
  e.norm_weight = data<float>(p.norm_weight, set, "norm_weight", {channels});
  e.norm_bias = data<float>(p.norm_bias, set, "norm_bias", {channels});
  e.weight = data<float>(p.qkv_weight, set, "qkv_weight", {3 * channels, channels});
  e.bias = data<float>(p.qkv_bias, set, "qkv_bias", {3 * channels});
  e.depthwise = data<float>(p.depthwise, set, "depthwise", {3 * channels, 9});
  e.depthwise_bias = data<float>(p.depthwise_bias, set, "depthwise_bias", {3 * channels});
  a.temperature = data<float>(p.temperature, set, "temperature", {heads});
  a.out_weight = data<float>(p.out_weight, set, "out_weight", {channels, channels});
  a.out_bias = data<float>(p.out_bias, set, "out_bias", {channels});
  a.residual = p.residual;
  a.keep = keep;
  a.kept = data<T>(kept, "kept", {images, height, width, a.kept_channels()});
  a.cosines = data<float>(cosines, "cosines", {images, heads, e.part, e.part});
  a.lengths = data<float>(lengths, "lengths", {2, images, heads, e.part});
  return a;
}

void attention_branch(const Tensor& x, const std::vector<int64_t>& counts, Values norm_weight, Values norm_bias,
                      double eps, Values qkv_weight, Values qkv_bias, Values depthwise, Values depthwise_bias,
                      Values temperature, Values out_weight, Values out_bias, bool residual, Values epilogue, Tensor y,
                      Tensor kept, bool keep, Tensor cosines, Tensor lengths) {
  const Parameters parameters{norm_weight, norm_bias,   eps,        qkv_weight, qkv_bias, depthwise, depthwise_bias,
                              temperature, out_weight, out_bias, residual};
  with_type(x, [&](auto type) {
    using T = decltype(type);
    auto make = [&](size_t set) {
      AttentionBranch<T> a = arguments<T>(x, parameters, set, kept, keep, cosines, lengths);
      a.y = data<T>(y, "y", {a.expansion.images, a.expansion.height, a.expansion.width, a.expansion.channels});
      a.epilogue = epilogue_of<T>(epilogue, set, y, a.y);
      return a;
    };
    with_sets(x.size(0), counts, parameters.same_for_all(), make, [&](const PerImage<AttentionBranch<T>>& sets) {
      ADAIR_DISPATCH(attention_branch_kernel<T>)(sets, torch_threads());
    });
  });
}

void attention_branch_backward(
    const Tensor& gradient, const Tensor& x, Values norm_weight, Values norm_bias, double eps, Values qkv_weight,
    Values qkv_bias, Values depthwise, Values depthwise_bias, Values temperature, Values out_weight, Values out_bias,
    bool residual, const Tensor& qkv, const Tensor& cosines, const Tensor& lengths, const std::optional<Tensor>& to_x,
    const std::optional<Tensor>& to_norm_weight, const std::optional<Tensor>& to_norm_bias,
    const std::optional<Tensor>& to_qkv_weight, const std::optional<Tensor>& to_qkv_bias,
    const std::optional<Tensor>& to_depthwise, const std::optional<Tensor>& to_depthwise_bias,
    const std::optional<Tensor>& to_temperature, const std::optional<Tensor>& to_out_weight,
    const std::optional<Tensor>& to_out_bias) {
  const Parameters parameters{norm_weight, norm_bias,   eps,        qkv_weight, qkv_bias, depthwise, depthwise_bias,
                              temperature, out_weight, out_bias, residual};
  with_type(x, [&](auto type) {
    using T = decltype(type);
    AttentionBranchBackward<T> b{};
    b.forward = arguments<T>(x, parameters, 0, qkv, true, cosines, lengths);
    const Expansion<T>& e = b.forward.expansion;
    b.gradient = data<T>(gradient, "gradient", {e.images, e.height, e.width, e.channels});
    b.to.x = data<T>(to_x, "to_x", {e.images, e.height, e.width, e.channels});
    b.to.norm_weight = data<float>(to_norm_weight, "to_norm_weight", {e.channels});
    b.to.norm_bias = data<float>(to_norm_bias, "to_norm_bias", {e.channels});
    b.to.weight = data<float>(to_qkv_weight, "to_qkv_weight", {3 * e.channels, e.channels});
    b.to.bias = data<float>(to_qkv_bias, "to_qkv_bias", {3 * e.channels});
    b.to.depthwise = data<float>(to_depthwise, "to_depthwise", {3 * e.channels, 9});
    b.to.depthwise_bias = data<float>(to_depthwise_bias, "to_depthwise_bias", {3 * e.channels});
    b.to_temperature = data<float>(to_temperature, "to_temperature", {b.forward.heads()});
    b.to_out_weight = data<float>(to_out_weight, "to_out_weight", {e.channels, e.channels});
    b.to_out_bias = data<float>(to_out_bias, "to_out_bias", {e.channels});
    ADAIR_DISPATCH(attention_branch_backward_kernel<T>)(b, torch_threads());
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(adair_native, m) {
  m.def(
      "attention_branch(Tensor x, int[] counts, Tensor[] norm_weight, Tensor[] norm_bias, float eps,"
      " Tensor[] qkv_weight, Tensor[] qkv_bias, Tensor[] depthwise, Tensor[] depthwise_bias, Tensor[] temperature,"
      " Tensor[] out_weight, Tensor[] out_bias, bool residual, Tensor[] epilogue, Tensor(a!) y, Tensor(b!) kept,"
      " bool keep,"
      " Tensor(c!) cosines, Tensor(d!) lengths) -> ()");
  m.def(
      "attention_branch_backward(Tensor gradient, Tensor x, Tensor[] norm_weight, Tensor[] norm_bias, float eps,"
      " Tensor[] qkv_weight, Tensor[] qkv_bias, Tensor[] depthwise, Tensor[] depthwise_bias, Tensor[] temperature,"
      " Tensor[] out_weight, Tensor[] out_bias, bool residual, Tensor qkv, Tensor cosines, Tensor lengths,"
      " Tensor(a!)? to_x, Tensor(b!)? to_norm_weight, Tensor(c!)? to_norm_bias, Tensor(d!)? to_qkv_weight,"
      " Tensor(e!)? to_qkv_bias, Tensor(f!)? to_depthwise, Tensor(g!)? to_depthwise_bias,"
      " Tensor(h!)? to_temperature, Tensor(i!)? to_out_weight, Tensor(j!)? to_out_bias) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(adair_native, CPU, m) {
  m.impl("attention_branch", TORCH_BOX(&attention_branch));
  m.impl("attention_branch_backward", TORCH_BOX(&attention_branch_backward));
}

}  // namespace adair
