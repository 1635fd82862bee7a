// What the kernels of a weight with a low-rank update work on.
#pragma once

#include <cstdint>

namespace adair {

// W' = W + s B A; see adair_core/ops/low_rank_weight/reference.py. T is the weight's type; the factors are float32.
template <class T>
struct LowRankWeight {
  int64_t rows, columns, rank;
  const T* weight;  // (rows, columns)
  const float* a;   // (rank, columns)
  const float* b;   // (rows, rank)
  float scale;
  T* result;  // (rows, columns)
};

template <class T>
struct LowRankWeightBackward {
  int64_t rows, columns, rank;
  const T* gradient;
  const float* a;
  const float* b;
  float scale;
  float* to_a;
  float* to_b;
};

}  // namespace adair
