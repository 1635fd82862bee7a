// The types of tensors' values, with PyTorch's numbers.
#pragma once

#include <cstdint>

namespace torch::headeronly {

enum class ScalarType : int8_t { Undefined = -1, Long = 4, Half = 5, Float = 6, Double = 7, BFloat16 = 15 };

}  // namespace torch::headeronly
