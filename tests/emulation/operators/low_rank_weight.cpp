#include "low_rank_weight/kernel.cuh"

#include "types.h"

namespace {

template <class Arguments>
void set_sizes(const emulation::Call& call, Arguments& f) {
  f.rows = call.number("rows");
  f.columns = call.number("columns");
  f.rank = call.number("rank");
  f.scale = static_cast<float>(call.number("scale"));
  f.a = call.tensor<float>("a");
  f.b = call.tensor<float>("b");
}

}  // namespace

EMULATED(low_rank_weight) {
  emulation::with_type(call, [&](auto type) {
    using T = decltype(type);
    adair::LowRankWeight<T> f;
    set_sizes(call, f);
    f.weight = call.tensor<T>("weight");
    f.result = call.tensor<T>("result");
    adair::launch_low_rank_weight<T>(call.device, f);
  });
}

EMULATED(low_rank_weight_backward) {
  emulation::with_type(call, [&](auto type) {
    using T = decltype(type);
    adair::LowRankWeightBackward<T> f;
    set_sizes(call, f);
    f.gradient = call.tensor<T>("gradient");
    f.to_a = call.tensor<float>("to_a");
    f.to_b = call.tensor<float>("to_b");
    adair::launch_low_rank_weight_backward<T>(call.device, f);
  });
}
