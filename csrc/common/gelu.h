// GELU(a) = a Phi(a), Phi the standard normal distribution function. Included once for each instruction set.
//
// Phi and GELU' are 1/2 plus odd functions that end at 1/2: 1/2 + a p(a^2), p the polynomial that is closest (in the
// largest absolute error of the whole) on |a| <= end, in the variable u = 2 a^2 / end^2 - 1, and 0 or 1 beyond.

template <int Size>
struct OddPolynomial {
  float end;
  float coefficients[Size];
};

// In float32 Phi is within 1.3e-7 everywhere: as good as 1 / 2 + erf / 2 can be in that type.
constexpr OddPolynomial<15> kPhi{5.2f, {1.359499842e-01f,  -6.774380803e-02f, 5.002611130e-02f,  -3.992539644e-02f,
                                        3.196232393e-02f,  -2.476345003e-02f, 1.813392527e-02f,  -1.235335786e-02f,
                                        8.010082878e-03f,  -5.067371298e-03f, 2.662453335e-03f,  -9.785125731e-04f,
                                        6.007514312e-04f,  -5.622914177e-04f, 2.023923444e-04f}};
// For results that are rounded to bfloat16, steps of 2e-3 below 1: Phi within 3.2e-5, GELU' within 1.7e-4.
constexpr OddPolynomial<8> kShortPhi{4.0f, {1.759429127e-01f, -8.434347063e-02f, 5.618940294e-02f, -3.671144322e-02f,
                                            2.108502947e-02f, -1.256030332e-02f, 8.699793369e-03f, -3.315146780e-03f}};
constexpr OddPolynomial<9> kShortDerivative{
    4.4f, {1.635437161e-01f, -9.339772910e-02f, 9.261215478e-02f, -1.067489386e-01f, 9.824565053e-02f,
           -5.888100713e-02f, 6.237888709e-02f, -8.267620951e-02f, 3.862216696e-02f}};

// Of n vectors at once: each step of the polynomial waits for the one before it, and they fill each other's waits.
template <int n, int Size>
inline void rise(const OddPolynomial<Size>& polynomial, const vec* a, vec* result) {
  const vec end = splat(polynomial.end), scale = splat(2.0f / (polynomial.end * polynomial.end));
  vec clamped[n], u[n], p[n];
#pragma GCC unroll 4
  for (int i = 0; i < n; ++i) {
    // Comparisons with NaN are false: it goes through.
    clamped[i] = a[i] > end ? end : a[i];
    clamped[i] = clamped[i] < -end ? -end : clamped[i];
    u[i] = clamped[i] * clamped[i] * scale - splat(1.0f);
    p[i] = splat(polynomial.coefficients[Size - 1]);
  }
#pragma GCC unroll 14
  for (int k = Size - 2; k >= 0; --k) {
#pragma GCC unroll 4
    for (int i = 0; i < n; ++i) p[i] = p[i] * u[i] + splat(polynomial.coefficients[k]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < n; ++i) result[i] = a[i] < -end ? vec{} : clamped[i] * p[i] + splat(0.5f);
}

// Phi of n vectors, as exact as results of type T need it.
template <class T, int n>
inline void normal_distributions(const vec* a, vec* phi) {
  if constexpr (std::is_same_v<T, float>) {
    rise<n>(kPhi, a, phi);
  } else {
    rise<n>(kShortPhi, a, phi);
  }
}

template <class T>
inline vec gelu(vec a) {
  vec phi;
  normal_distributions<T, 1>(&a, &phi);
  return a * phi;
}

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

// GELU(a) and its derivative, Phi(a) + a exp(-a^2 / 2) / sqrt(2 pi), as exact as results of type T need them.
template <class T>
inline void gelu_with_derivative(vec a, vec& value, vec& derivative) {
  vec phi;
  normal_distributions<T, 1>(&a, &phi);
  value = a * phi;
  if constexpr (std::is_same_v<T, float>) {
    derivative = phi + a * splat(0.398942280f) * exp_of_negative(a * a * splat(-0.5f));
  } else {
    rise<1>(kShortDerivative, &a, &derivative);
    // Of an infinity it is infinity times zero, as in the formula.
    derivative += a * splat(0.0f);
  }
}
