// A weight with a low-rank update on a GPU. There is no kernel for CPUs: PyTorch's matrix product is as fast there.

#include "cuda/device.h"
#include "low_rank_weight/kernel.cuh"

namespace adair {
namespace {

void run_low_rank_weight(const Tensor& weight, const Tensor& a, const Tensor& b, double scale, Tensor result) {
  Device device(weight);
  with_type(weight, [&](auto type) {
    using T = decltype(type);
    LowRankWeight<T> f;
    f.rows = b.size(0), f.rank = b.size(1), f.columns = a.size(1);
    f.scale = static_cast<float>(scale);
    f.weight = device.data<T>(weight, "weight", {f.rows, f.columns});
    f.a = device.data<float>(a, "a", {f.rank, f.columns});
    f.b = device.data<float>(b, "b", {f.rows, f.rank});
    f.result = device.data<T>(result, "result", {f.rows, f.columns});
    launch_low_rank_weight(device, f);
  });
}

void run_low_rank_weight_backward(const Tensor& gradient, const Tensor& a, const Tensor& b, double scale, Tensor to_a,
                                  Tensor to_b) {
  Device device(gradient);
  with_type(gradient, [&](auto type) {
    using T = decltype(type);
    LowRankWeightBackward<T> f;
    f.rows = b.size(0), f.rank = b.size(1), f.columns = a.size(1);
    f.scale = static_cast<float>(scale);
    f.gradient = device.data<T>(gradient, "gradient", {f.rows, f.columns});
    f.a = device.data<float>(a, "a", {f.rank, f.columns});
    f.b = device.data<float>(b, "b", {f.rows, f.rank});
    f.to_a = device.data<float>(to_a, "to_a", {f.rank, f.columns});
    f.to_b = device.data<float>(to_b, "to_b", {f.rows, f.rank});
    launch_low_rank_weight_backward(device, f);
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(adair_native, m) {
  m.def("low_rank_weight(Tensor weight, Tensor a, Tensor b, float scale, Tensor(a!) result) -> ()");
  m.def("low_rank_weight_backward(Tensor gradient, Tensor a, Tensor b, float scale, Tensor(a!) to_a, Tensor(b!) to_b)"
        " -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(adair_native, CUDA, m) {
  m.impl("low_rank_weight", TORCH_BOX(&run_low_rank_weight));
  m.impl("low_rank_weight_backward", TORCH_BOX(&run_low_rank_weight_backward));
}

}  // namespace adair
