// The part of the CUDA language that the kernels use, for a C++ compiler. csrc/cuda/platform.cuh includes it in place
// of CUDA's own headers.
#pragma once

#include <math.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#include "call.h"
#include "memory.h"
#include "threads.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

typedef emulation::Dim3 dim3;

#define threadIdx (::emulation::grid().thread().index)
#define blockIdx (::emulation::grid().block_index)
#define blockDim (::emulation::grid().block_dim)
#define gridDim (::emulation::grid().grid_dim)

#define EMULATION_SITE(what) (::emulation::Site{what, __FILE__, __LINE__})
#define __syncthreads() ::emulation::grid().sync_threads(EMULATION_SITE("__syncthreads"))
#define __syncwarp() \
  ::emulation::grid().exchange(0xffffffffu, EMULATION_SITE("__syncwarp"), &::emulation::grid(), nullptr, true)
#define __shfl_xor_sync(mask, value, lanes) \
  ::emulation::shuffle(EMULATION_SITE("__shfl_xor_sync"), mask, value, ::emulation::grid().thread().lane() ^ (lanes))
#define __shfl_sync(mask, value, lane) ::emulation::shuffle(EMULATION_SITE("__shfl_sync"), mask, value, (lane))

namespace emulation {

template <class T>
struct Shuffle {
  T value, result;
  int from;
};

template <class T>
T shuffle(Site site, uint32_t mask, T value, int from) {
  Shuffle<T> mine{value, T(), from};
  grid().exchange(
      mask, site, &mine,
      [](void* const lanes[kWarp]) {
        for (int i = 0; i < kWarp; ++i) {
          if (lanes[i] == nullptr) continue;
          Shuffle<T>& to = *static_cast<Shuffle<T>*>(lanes[i]);
          void* other = lanes[to.from % kWarp];
          // Of a lane that takes no part, the value is undefined.
          if (other == nullptr) {
            std::memset(static_cast<void*>(&to.result), 0xff, sizeof(T));
          } else {
            to.result = static_cast<Shuffle<T>*>(other)->value;
          }
        }
      },
      false);
  return mine.result;
}

inline uint32_t bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}

inline float from_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

}  // namespace emulation

struct __nv_bfloat16 {
  uint16_t bits;
};

struct __half {
  uint16_t bits;
};

inline float __bfloat162float(__nv_bfloat16 value) { return emulation::from_bits(uint32_t(value.bits) << 16); }

inline __nv_bfloat16 __float2bfloat16_rn(float value) {
  const uint32_t bits = emulation::bits_of(value);
  if (value != value) return {0x7fff};
  return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

inline float __half2float(__half value) {
  const int exponent = value.bits >> 10 & 31;
  const float mantissa = value.bits & 1023;
  const float size = exponent == 31  ? (mantissa != 0 ? NAN : INFINITY)
                     : exponent == 0 ? std::ldexp(mantissa, -24)
                                     : std::ldexp(1024 + mantissa, exponent - 25);
  return (value.bits & 0x8000) != 0 ? -size : size;
}

inline __half __float2half_rn(float value) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const float size = std::fabs(value);
  if (value != value) return {0x7fff};
  if (size >= 65520.0f) return {static_cast<uint16_t>(sign | 0x7c00)};
  int exponent;
  std::frexp(size, &exponent);
  // The distance of two neighbours; below 2^-14 it is that of the denormal numbers.
  const int step = size < 6.103515625e-05f ? -24 : exponent - 11;
  // To the nearest, in doubt to the even one.
  const float units = std::nearbyint(std::ldexp(size, -step));
  const uint16_t whole = static_cast<uint16_t>(units);
  if (step == -24 && whole < 1024) return {static_cast<uint16_t>(sign | whole)};
  // A carry into 2048 becomes the next exponent by itself.
  return {static_cast<uint16_t>(sign | ((step + 24) * 1024 + whole))};
}

// The bytes of (a, b) that the lower four digits of `selector` name.
inline uint32_t __byte_perm(uint32_t a, uint32_t b, uint32_t selector) {
  const uint64_t both = uint64_t(b) << 32 | a;
  uint32_t bytes = 0;
  for (int i = 0; i < 4; ++i) bytes |= uint32_t(both >> 8 * (selector >> 4 * i & 7) & 0xff) << 8 * i;
  return bytes;
}

inline float rsqrtf(float value) { return 1.0f / std::sqrt(value); }
