// Transposes small matrices of which each lane has a column, by exchanges between lanes.
#pragma once

#include "cuda/platform.cuh"

namespace adair {

// A step: lanes whose numbers differ in the bit `distance` exchange words that are `apart` from one another.
template <int kCount>
ADAIR_DEVICE void exchange_words(uint32_t (&words)[kCount], int apart, int distance) {
  const bool upper = (threadIdx.x & distance) != 0;
#pragma unroll
  for (int k = 0; k < kCount; ++k) {
    if ((k & apart) != 0) continue;
    const uint32_t got = __shfl_xor_sync(kAllLanes, upper ? words[k] : words[k + apart], distance);
    words[k] = upper ? got : words[k];
    words[k + apart] = upper ? words[k + apart] : got;
  }
}

// The last step for 16 bits: neighbouring lanes exchange halves of words, those of two words at a time.
template <int kCount>
ADAIR_DEVICE void exchange_halves(uint32_t (&words)[kCount]) {
  const bool upper = (threadIdx.x & 1) != 0;
#pragma unroll
  for (int k = 0; k < kCount; k += 2) {
    const uint32_t lows = __byte_perm(words[k], words[k + 1], 0x5410);
    const uint32_t highs = __byte_perm(words[k], words[k + 1], 0x7632);
    const uint32_t got = __shfl_xor_sync(kAllLanes, upper ? lows : highs, 1);
    words[k] = __byte_perm(words[k], got, upper ? 0x3254 : 0x5410);
    words[k + 1] = __byte_perm(words[k + 1], got, upper ? 0x3276 : 0x7610);
  }
}

// Each N neighbouring lanes: values[i] becomes the values[threadIdx.x % N] of the ith of them. All lanes of the warp
// take part. N is a power of two.
template <int N, class T>
ADAIR_DEVICE void transpose(T (&values)[N]) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 2);
  if constexpr (N > 1) {
    constexpr int kPacked = 4 / sizeof(T);
    uint32_t words[N / kPacked];
    memcpy(words, values, sizeof(values));
#pragma unroll
    for (int distance = N / 2; distance >= kPacked; distance /= 2) {
      exchange_words(words, distance / kPacked, distance);
    }
    if constexpr (kPacked == 2) exchange_halves(words);
    memcpy(values, words, sizeof(values));
  }
}

}  // namespace adair
