// A bottleneck adapter at the end of a branch, as the Python side passes it (adair_core/ops/epilogue.py).
#pragma once

#include "bottleneck/arguments.h"
#include "common/tensors.h"

namespace adair {

// Of a set of parameters: its weights, biases and scale in the order of the operator, empty where there is none; one
// for all sets, one for each, or none. It adds to y, which is (images, height, width, channels).
template <class T>
inline Bottleneck<T> epilogue_of(const std::vector<Tensor>& values, size_t set, const Tensor& y, T* to) {
  constexpr size_t kValues = 7;
  Bottleneck<T> f{};
  if (values.empty()) return f;
  if (values.size() == kValues) set = 0;
  STD_TORCH_CHECK(values.size() % kValues == 0 && set < values.size() / kValues, "epilogue: expected ", kValues,
                  " values for each set of parameters, got ", values.size());
  const Tensor* own = values.data() + set * kValues;
  if (own[0].numel() == 0) return f;
  f.images = y.size(0), f.height = y.size(1), f.width = y.size(2), f.channels = y.size(3);
  f.adapters = 1, f.rank = own[0].numel() / f.channels;
  auto value = [&](size_t place, const char* name, std::initializer_list<int64_t> sizes, bool optional) {
    return optional && own[place].numel() == 0 ? nullptr : data<float>(own[place], name, sizes);
  };
  f.down = value(0, "down", {f.rank, f.channels}, false);
  f.down_bias = value(1, "down_bias", {f.rank}, true);
  f.depthwise = value(2, "depthwise", {f.rank, 9}, false);
  f.depthwise_bias = value(3, "depthwise_bias", {f.rank}, true);
  f.up = value(4, "up", {f.channels, f.rank}, false);
  f.up_bias = value(5, "up_bias", {f.channels}, true);
  f.scale = value(6, "scale", {1}, false);
  f.y = to;
  return f;
}

}  // namespace adair
