// What the emulated part of PyTorch has beside its headers in stand_ins/torch.
#pragma once

#include <torch/headeronly/core/ScalarType.h>

#include <cstddef>

namespace emulation {

using torch::headeronly::ScalarType;

size_t bytes_of(ScalarType type);

}  // namespace emulation
