// GELU(a) = a Phi(a), Phi the standard normal distribution function, and its derivative.
#pragma once

#include "cuda/platform.cuh"

namespace adair {

ADAIR_DEVICE float normal_distribution(float a) { return 0.5f + 0.5f * erff(a * 0.707106781f); }

ADAIR_DEVICE float gelu(float a) { return a * normal_distribution(a); }

// Phi(a) + a exp(-a^2 / 2) / sqrt(2 pi); NaN goes through. Beyond 20 the second part is no float32 any more.
ADAIR_DEVICE float gelu_derivative(float a) {
  const float slope = fabsf(a) > 20.0f ? 0.0f : 0.398942280f * a * expf(-0.5f * a * a);
  return normal_distribution(a) + slope;
}

}  // namespace adair
