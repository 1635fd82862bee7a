// GELU(a) = a Phi(a), Phi the standard normal distribution function. Included once for each instruction set.
//
// Phi(a) - 1/2 = a p(a^2), p the polynomial of degree 14 that is closest (in the largest absolute error of Phi, 1.3e-8
// before rounding) on |a| <= 5.2, in the variable u = 2 a^2 / 5.2^2 - 1. In float32 Phi is within 1.3e-7 everywhere: as
// good as 1 / 2 + erf / 2 can be in that type. Beyond -5.2, where Phi < 1e-7, it is zero.

constexpr float kPhiEnd = 5.2f;

// Of n vectors at once: each step of the polynomial waits for the one before it, and they fill each other's waits.
template <int n>
inline void normal_distributions(const vec* a, vec* phi) {
  constexpr float kCoefficients[] = {
      1.359499842e-01f,  -6.774380803e-02f, 5.002611130e-02f,  -3.992539644e-02f, 3.196232393e-02f,
      -2.476345003e-02f, 1.813392527e-02f,  -1.235335786e-02f, 8.010082878e-03f,  -5.067371298e-03f,
      2.662453335e-03f,  -9.785125731e-04f, 6.007514312e-04f,  -5.622914177e-04f, 2.023923444e-04f};
  vec clamped[n], u[n], p[n];
#pragma GCC unroll 4
  for (int i = 0; i < n; ++i) {
    // Comparisons with NaN are false: it goes through.
    clamped[i] = a[i] > splat(kPhiEnd) ? splat(kPhiEnd) : a[i];
    clamped[i] = clamped[i] < splat(-kPhiEnd) ? splat(-kPhiEnd) : clamped[i];
    u[i] = clamped[i] * clamped[i] * splat(2.0f / (kPhiEnd * kPhiEnd)) - splat(1.0f);
    p[i] = splat(kCoefficients[14]);
  }
#pragma GCC unroll 14
  for (int k = 13; k >= 0; --k) {
#pragma GCC unroll 4
    for (int i = 0; i < n; ++i) p[i] = p[i] * u[i] + splat(kCoefficients[k]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < n; ++i) phi[i] = a[i] < splat(-kPhiEnd) ? vec{} : clamped[i] * p[i] + splat(0.5f);
}

inline vec normal_distribution(vec a) {
  vec phi;
  normal_distributions<1>(&a, &phi);
  return phi;
}

inline vec gelu(vec a) { return a * normal_distribution(a); }

// exp(x) for x <= 0, relative error below 2e-7; below -87 it is zero.
inline vec exp_of_negative(vec x) {
  constexpr float kCoefficients[] = {1.000000000e+00f, 6.931471825e-01f, 2.402264625e-01f, 5.550328642e-02f,
                                     9.618489072e-03f, 1.339993090e-03f, 1.534581097e-04f};
  const vec power = (x < splat(-87.0f) ? splat(-87.0f) : x) * splat(1.44269504f);
  // Adding and taking away 1.5 * 2^23 rounds to a whole number, whose bits are then the lowest of the sum.
  const vec shifted = power + splat(12582912.0f);
  const vec whole = shifted - splat(12582912.0f);
  const vec rest = power - whole;
  vec p = splat(kCoefficients[6]);
#pragma GCC unroll 6
  for (int k = 5; k >= 0; --k) p = p * rest + splat(kCoefficients[k]);
  const int_vec exponent = (reinterpret_cast<int_vec>(shifted) - reinterpret_cast<int_vec>(splat(12582912.0f))) << 23;
  const vec result = reinterpret_cast<vec>(reinterpret_cast<int_vec>(p) + exponent);
  return x < splat(-87.0f) ? vec{} : result;
}

// GELU(a) and its derivative, Phi(a) + a exp(-a^2 / 2) / sqrt(2 pi).
inline void gelu_with_derivative(vec a, vec& value, vec& derivative) {
  const vec phi = normal_distribution(a);
  value = a * phi;
  derivative = phi + a * splat(0.398942280f) * exp_of_negative(a * a * splat(-0.5f));
}
