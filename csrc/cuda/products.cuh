// Products of matrices by tensor cores, in steps of eight bytes a lane and row.
//
// With g = lane / 4 and t = lane % 4, a lane gives the values of rows g and g + 8 and of column g at some k. Which k
// these are is free, as long as the four lanes of a row have different ones and rows and columns agree: so a lane takes
// what lies together in memory. It gets the sums of rows g (0, 1) and g + 8 (2, 3), columns 2 t and 2 t + 1.
#pragma once

#include "cuda/memory.cuh"
#include "cuda/mma.cuh"

namespace adair {

// Values of k of a lane in a step.
template <class T>
inline constexpr int kStepValues = 8 / sizeof(T);

// What a lane gives to a step, of a row or of a column.
template <class T>
struct Operand {
  uint32_t words[2];
};

template <class T>
ADAIR_DEVICE Operand<T> operand(const Vector<T, kStepValues<T>>& values) {
  Operand<T> result;
  memcpy(&result, &values, sizeof(result));
  return result;
}

// The two steps of 16 bytes.
template <class T>
ADAIR_DEVICE Operand<T> operand(const Vector<T, kWidest<T>>& values, int step) {
  Operand<T> both[2];
  memcpy(&both, &values, sizeof(both));
  return both[step];
}

template <class T>
ADAIR_DEVICE void multiply_add(float (&sums)[4], const Operand<T>& upper, const Operand<T>& lower,
                               const Operand<T>& column) {
  const uint32_t a[4] = {upper.words[0], lower.words[0], upper.words[1], lower.words[1]};
  MatrixInstruction<T>::run(sums, a, column.words);
}

// float32 as a sum of two tf32: what is left out is the product of the two small parts, 2^-22 of the whole.
template <>
ADAIR_DEVICE void multiply_add<float>(float (&sums)[4], const Operand<float>& upper, const Operand<float>& lower,
                                      const Operand<float>& column) {
  const uint32_t a[4] = {upper.words[0], lower.words[0], upper.words[1], lower.words[1]};
  uint32_t large_a[4], small_a[4], large_b[2], small_b[2];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    large_a[i] = to_tf32(float_of(a[i]));
    small_a[i] = to_tf32(float_of(a[i]) - float_of(large_a[i]));
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    large_b[i] = to_tf32(float_of(column.words[i]));
    small_b[i] = to_tf32(float_of(column.words[i]) - float_of(large_b[i]));
  }
  MatrixInstruction<float>::run(sums, small_a, large_b);
  MatrixInstruction<float>::run(sums, large_a, small_b);
  MatrixInstruction<float>::run(sums, large_a, large_b);
}

// For sums of many steps: tensor cores cut off and do not round, which drifts, so each step has sums of its own.
template <class T>
ADAIR_DEVICE void multiply_add_apart(float (&sums)[4], const Operand<T>& upper, const Operand<T>& lower,
                                     const Operand<T>& column) {
  float step[4] = {};
  multiply_add(step, upper, lower, column);
#pragma unroll
  for (int i = 0; i < 4; ++i) sums[i] += step[i];
}

// Values that may end before `count`: zeros follow. `kWhole`: `count` is no less than N, or 0 or less.
template <int N, bool kWhole, class T>
ADAIR_DEVICE Vector<T, N> load_up_to(const T* from, int64_t count) {
  Vector<T, N> values{};
  if constexpr (kWhole) {
    if (count > 0) values = load_vector<N>(from);
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      if (i < count) values.values[i] = load(from + i);
    }
  }
  return values;
}

template <int N, bool kWhole, class T>
ADAIR_DEVICE void store_up_to(T* to, const Vector<T, N>& values, int64_t count) {
  if constexpr (kWhole) {
    if (count > 0) store_vector(to, values);
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      if (i < count) store(to + i, values.values[i]);
    }
  }
}

}  // namespace adair
