// Number types of the kernels, the same for every instruction set.
#pragma once

#include <cstdint>

namespace adair {

struct bfloat16 {
  uint16_t bits;
};

// A number known when compiling, as an argument.
template <int N>
struct Constant {
  static constexpr int value = N;
};

}  // namespace adair
