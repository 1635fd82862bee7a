// The bottleneck adapter on a CPU.

#include "bottleneck/arguments.h"
#include "common/tensors.h"

#define ADAIR_KERNELS "bottleneck/cpu_kernels.h"
#include "common/for_each_capability.h"

namespace adair {
namespace {

typedef const std::optional<Tensor>& OptionalTensor;

template <class T>
Bottleneck<T> arguments(const Tensor& x, OptionalTensor index, const Tensor& down, OptionalTensor down_bias,
                        const Tensor& depthwise, OptionalTensor depthwise_bias, const Tensor& up,
                        OptionalTensor up_bias, const Tensor& scale) {
  Bottleneck<T> f{};
  f.images = x.size(0), f.height = x.size(1), f.width = x.size(2), f.channels = x.size(3);
  f.adapters = scale.numel(), f.rank = down.numel() / std::max<int64_t>(1, f.adapters * f.channels);
  f.x = data<T>(x, "x", {f.images, f.height, f.width, f.channels});
  f.index = nullptr;
  if (index.has_value()) {
    STD_TORCH_CHECK(index->is_cpu() && index->scalar_type() == ScalarType::Long && index->is_contiguous() &&
                        index->numel() == f.images,
                    "index: expected ", f.images, " contiguous values of int64");
    f.index = static_cast<const int64_t*>(index->data_ptr());
    for (int64_t i = 0; i < f.images; ++i) {
      STD_TORCH_CHECK(f.index[i] >= -1 && f.index[i] < f.adapters, "index: expected values from -1 to ",
                      f.adapters - 1, ", got ", f.index[i]);
    }
  }
  f.down = data<float>(down, "down", {f.adapters, f.rank, f.channels});
  f.down_bias = data<float>(down_bias, "down_bias", {f.adapters, f.rank});
  f.depthwise = data<float>(depthwise, "depthwise", {f.adapters, f.rank, 9});
  f.depthwise_bias = data<float>(depthwise_bias, "depthwise_bias", {f.adapters, f.rank});
  f.up = data<float>(up, "up", {f.adapters, f.channels, f.rank});
  f.up_bias = data<float>(up_bias, "up_bias", {f.adapters, f.channels});
  f.scale = data<float>(scale, "scale", {f.adapters});
  return f;
}

void bottleneck(const Tensor& x, OptionalTensor index, const Tensor& down, OptionalTensor down_bias,
                const Tensor& depthwise, OptionalTensor depthwise_bias, const Tensor& up, OptionalTensor up_bias,
                const Tensor& scale, OptionalTensor injected, OptionalTensor base, bool residual, Tensor y) {
  with_type(x, [&](auto type) {
    using T = decltype(type);
    Bottleneck<T> f = arguments<T>(x, index, down, down_bias, depthwise, depthwise_bias, up, up_bias, scale);
    f.injected = data<T>(injected, "injected", {f.images, f.height, f.width, f.rank});
    f.base = data<T>(base, "base", {f.images, f.height, f.width, f.channels});
    f.residual = residual;
    f.y = data<T>(y, "y", {f.images, f.height, f.width, f.channels});
    ADAIR_DISPATCH(bottleneck_kernel<T>)(f, torch_threads());
  });
}

void bottleneck_backward(const Tensor& gradient, const Tensor& x, OptionalTensor index, const Tensor& down,
                         OptionalTensor down_bias, const Tensor& depthwise, OptionalTensor depthwise_bias,
                         const Tensor& up, OptionalTensor up_bias, const Tensor& scale, bool residual,
                         OptionalTensor to_x, Tensor to_down, OptionalTensor to_down_bias, Tensor to_depthwise,
                         OptionalTensor to_depthwise_bias, Tensor to_up, OptionalTensor to_up_bias) {
  with_type(x, [&](auto type) {
    using T = decltype(type);
    BottleneckBackward<T> b;
    b.forward = arguments<T>(x, index, down, down_bias, depthwise, depthwise_bias, up, up_bias, scale);
    b.forward.residual = residual;
    const Bottleneck<T>& f = b.forward;
    b.gradient = data<T>(gradient, "gradient", {f.images, f.height, f.width, f.channels});
    b.to_x = data<T>(to_x, "to_x", {f.images, f.height, f.width, f.channels});
    b.to_down = data<float>(to_down, "to_down", {f.adapters, f.rank, f.channels});
    b.to_down_bias = data<float>(to_down_bias, "to_down_bias", {f.adapters, f.rank});
    b.to_depthwise = data<float>(to_depthwise, "to_depthwise", {f.adapters, f.rank, 9});
    b.to_depthwise_bias = data<float>(to_depthwise_bias, "to_depthwise_bias", {f.adapters, f.rank});
    b.to_up = data<float>(to_up, "to_up", {f.adapters, f.channels, f.rank});
    b.to_up_bias = data<float>(to_up_bias, "to_up_bias", {f.adapters, f.channels});
    ADAIR_DISPATCH(bottleneck_backward_kernel<T>)(b, torch_threads());
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(adair_native, m) {
  m.def(
      "bottleneck(Tensor x, Tensor? index, Tensor down, Tensor? down_bias, Tensor depthwise, Tensor? depthwise_bias,"
      " Tensor up, Tensor? up_bias, Tensor scale, Tensor? injected, Tensor? base, bool residual, Tensor(a!) y) -> ()");
  m.def(
      "bottleneck_backward(Tensor gradient, Tensor x, Tensor? index, Tensor down, Tensor? down_bias, Tensor depthwise,"
      " Tensor? depthwise_bias, Tensor up, Tensor? up_bias, Tensor scale, bool residual, Tensor(a!)? to_x,"
      " Tensor(b!) to_down, Tensor(c!)? to_down_bias, Tensor(d!) to_depthwise, Tensor(e!)? to_depthwise_bias,"
      " Tensor(f!) to_up,"
      " Tensor(g!)? to_up_bias) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(adair_native, CPU, m) {
  m.impl("bottleneck", TORCH_BOX(&bottleneck));
  m.impl("bottleneck_backward", TORCH_BOX(&bottleneck_backward));
}

}  // namespace adair
