// Scalar stand-ins for the matrix instructions, with the layout of fragments that the PTX manual gives ("Matrix
// fragments for mma.m16n8k16" and "mma.m16n8k8"): with g = lane / 4 and t = lane % 4, and i the value in a register,
//
//   16-bit A: register 0 has row g, k 2 t + i; 1 has row g + 8; 2 has k + 8; 3 has row g + 8, k + 8
//   16-bit B: register 0 has k 2 t + i, column g; 1 has k + 8
//   tf32   A: register 0 has row g, k t; 1 has row g + 8; 2 has k + 4; 3 has row g + 8, k + 4
//   tf32   B: register 0 has k t, column g; 1 has k + 4
//   sums    : values 0 and 1 have row g, columns 2 t and 2 t + 1; 2 and 3 have row g + 8
#pragma once

#include <cmath>

#include "cuda_emulation.h"

namespace emulation {

struct MatrixLane {
  float* sums;
  const uint32_t *a, *b;
};

template <class T>
float half_of(uint32_t word, int i);
template <>
inline float half_of<__nv_bfloat16>(uint32_t word, int i) {
  return __bfloat162float({static_cast<uint16_t>(word >> 16 * i)});
}
template <>
inline float half_of<__half>(uint32_t word, int i) {
  return __half2float({static_cast<uint16_t>(word >> 16 * i)});
}

// Towards zero: the manual leaves rounding open, and this is what GPUs were measured to do (Fasi et al., "Numerical
// behavior of NVIDIA tensor cores", PeerJ Computer Science, 2021).
inline float cut_off(double value) {
  const float nearest = static_cast<float>(value);
  return std::abs(double(nearest)) > std::abs(value) ? std::nextafter(nearest, 0.0f) : nearest;
}

// T is a type of 16 bits, or float for tf32, of which the instruction reads the upper 19 bits.
template <class T>
void multiply_lanes(void* const lanes[kWarp]) {
  constexpr int kDepth = sizeof(T) == 2 ? 16 : 8;
  float a[16][kDepth], b[kDepth][8];
  for (int lane = 0; lane < kWarp; ++lane) {
    const MatrixLane& from = *static_cast<MatrixLane*>(lanes[lane]);
    const int g = lane / 4, t = lane % 4;
    for (int r = 0; r < 4; ++r) {
      const int row = g + r % 2 * 8;
      if constexpr (sizeof(T) == 2) {
        for (int i = 0; i < 2; ++i) a[row][2 * t + i + r / 2 * 8] = half_of<T>(from.a[r], i);
      } else {
        a[row][t + r / 2 * 4] = from_bits(from.a[r] & 0xffffe000u);
      }
    }
    for (int r = 0; r < 2; ++r) {
      if constexpr (sizeof(T) == 2) {
        for (int i = 0; i < 2; ++i) b[2 * t + i + r * 8][g] = half_of<T>(from.b[r], i);
      } else {
        b[t + r * 4][g] = from_bits(from.b[r] & 0xffffe000u);
      }
    }
  }
  for (int lane = 0; lane < kWarp; ++lane) {
    float* sums = static_cast<MatrixLane*>(lanes[lane])->sums;
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
      double sum = sums[i];
      for (int k = 0; k < kDepth; ++k) sum += double(a[row][k]) * b[k][column];
      sums[i] = cut_off(sum);
    }
  }
}

template <class T>
void multiply(Site site, float (&sums)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  MatrixLane lane{sums, a, b};
  grid().exchange(0xffffffffu, site, &lane, &multiply_lanes<T>, false);
}

}  // namespace emulation
