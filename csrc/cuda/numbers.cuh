// Number types of images, and vectors of them. Sums are float32.
#pragma once

#include "cuda/platform.cuh"

namespace adair {

ADAIR_DEVICE float to_float(float value) { return value; }
ADAIR_DEVICE float to_float(__nv_bfloat16 value) { return __bfloat162float(value); }
ADAIR_DEVICE float to_float(__half value) { return __half2float(value); }

template <class T>
ADAIR_DEVICE T from_float(float value);
template <>
ADAIR_DEVICE float from_float<float>(float value) {
  return value;
}
template <>
ADAIR_DEVICE __nv_bfloat16 from_float<__nv_bfloat16>(float value) {
  return __float2bfloat16_rn(value);
}
template <>
ADAIR_DEVICE __half from_float<__half>(float value) {
  return __float2half_rn(value);
}

template <class T>
inline constexpr bool kIsHalf = false;
template <>
inline constexpr bool kIsHalf<__half> = true;

// The nearest value of type T.
template <class T>
ADAIR_DEVICE float rounded(float value) {
  return to_float(from_float<T>(value));
}

// N values that are read or written at once.
template <class T, int N>
struct alignas(sizeof(T) * N) Vector {
  T values[N];

  ADAIR_DEVICE float operator[](int i) const { return to_float(values[i]); }
  ADAIR_DEVICE void set(int i, float value) { values[i] = from_float<T>(value); }
};

// The values in 16 bytes, the widest access of a thread.
template <class T>
inline constexpr int kWidest = 16 / sizeof(T);

}  // namespace adair
