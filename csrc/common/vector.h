// Vectors of floats, as wide as a register. Included once for each instruction set (common/for_each_capability.h).

constexpr int kWidth = ADAIR_VECTOR;

typedef float vec __attribute__((vector_size(4 * ADAIR_VECTOR)));
typedef float unaligned_vec __attribute__((vector_size(4 * ADAIR_VECTOR), aligned(4), may_alias));
typedef uint32_t int_vec __attribute__((vector_size(4 * ADAIR_VECTOR)));
typedef uint16_t half_vec __attribute__((vector_size(2 * ADAIR_VECTOR)));
typedef uint16_t unaligned_half_vec __attribute__((vector_size(2 * ADAIR_VECTOR), aligned(2), may_alias));

inline constexpr int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Subtracting zero changes nothing, so it costs nothing; adding it would turn -0 into 0, and stays an instruction.
inline vec splat(float value) { return value - vec{}; }

inline vec load(const float* from) { return *reinterpret_cast<const unaligned_vec*>(from); }

inline vec load(const bfloat16* from) {
  const half_vec bits = *reinterpret_cast<const unaligned_half_vec*>(from);
  return reinterpret_cast<vec>(__builtin_convertvector(bits, int_vec) << 16);
}

inline void store(float* to, vec value) { *reinterpret_cast<unaligned_vec*>(to) = value; }

// Rounds to nearest, ties to even; a NaN stays one.
inline void store(bfloat16* to, vec value) {
#if ADAIR_HAS_BF16
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), (__m256i)_mm512_cvtneps_pbh((__m512)value));
#else
  const int_vec bits = reinterpret_cast<int_vec>(value);
  const int_vec rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const int_vec quiet = (bits >> 16) | 0x40;
  const int_vec nan = reinterpret_cast<int_vec>(value != value);
  const int_vec result = (nan & quiet) | (~nan & rounded);
  *reinterpret_cast<unaligned_half_vec*>(to) = __builtin_convertvector(result, half_vec);
#endif
}

inline float to_float(float value) { return value; }

inline float to_float(bfloat16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float result;
  __builtin_memcpy(&result, &bits, 4);
  return result;
}

inline void from_float(float value, float* to) { *to = value; }

inline void from_float(float value, bfloat16* to) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  to->bits = value != value ? static_cast<uint16_t>((bits >> 16) | 0x40)
                            : static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// The first `count` < kWidth values; the others are zero.
template <class T>
inline vec load_part(const T* from, int64_t count) {
  T values[kWidth] = {};
  for (int64_t i = 0; i < count; ++i) values[i] = from[i];
  return load(values);
}

template <class T>
inline void store_part(T* to, vec value, int64_t count) {
  T values[kWidth];
  store(values, value);
  for (int64_t i = 0; i < count; ++i) to[i] = values[i];
}

#if ADAIR_VECTOR == 16
inline vec load_part(const float* from, int64_t count) {
  return (vec)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), from);
}

inline void store_part(float* to, vec value, int64_t count) {
  _mm512_mask_storeu_ps(to, static_cast<__mmask16>((1u << count) - 1), (__m512)value);
}

inline vec load_part(const bfloat16* from, int64_t count) {
  const half_vec bits = (half_vec)_mm256_maskz_loadu_epi16(static_cast<__mmask16>((1u << count) - 1), from);
  return reinterpret_cast<vec>(__builtin_convertvector(bits, int_vec) << 16);
}
#endif

// A whole vector, or its first values where fewer are left.
template <class T>
inline vec read(const T* from, int64_t left) {
  return left >= kWidth ? load(from) : load_part(from, left);
}

template <class T>
inline void write(T* to, vec value, int64_t left) {
  if (left >= kWidth) {
    store(to, value);
  } else {
    store_part(to, value, left);
  }
}

// A parameter as the arithmetic in type T sees it.
template <class T>
inline float rounded(float value) {
  T result;
  from_float(value, &result);
  return to_float(result);
}

// Values as they are after being stored in type T.
template <class T>
inline vec rounded(vec value) {
  if (sizeof(T) == sizeof(float)) return value;
  T values[kWidth];
  store(values, value);
  return load(values);
}

// Ones in the first `count` lanes, zeros in the others.
inline vec first_lanes(int64_t count) {
  float ones[kWidth];
  for (int i = 0; i < kWidth; ++i) ones[i] = i < count ? 1.0f : 0.0f;
  return load(ones);
}

inline vec reciprocal_root(vec value) {
  float values[kWidth];
  store(values, value);
  for (int i = 0; i < kWidth; ++i) values[i] = 1.0f / __builtin_sqrtf(values[i]);
  return load(values);
}

// Adds in pairs, always in the same order.
inline float sum(vec value) {
  float values[kWidth];
  store(values, value);
  for (int half = kWidth / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) values[i] += values[i + half];
  }
  return values[0];
}

// Lanes of two vectors: those of `a` are 0 to kWidth - 1, those of `b` follow.
template <int... Lanes>
inline vec pick(vec a, vec b) {
#if defined(__clang__)
  return __builtin_shufflevector(a, b, Lanes...);
#else
  return __builtin_shuffle(a, b, int_vec{Lanes...});
#endif
}

// One half of each block of `Size` lanes, those of `a` before those of `b`; `Start` is 0 or Size / 2.
template <int Size, int Start, int... Lane>
inline vec halves(vec a, vec b, std::integer_sequence<int, Lane...>) {
  return pick<(Lane / (Size / 2) * Size + Start + Lane % (Size / 2))...>(a, b);
}

// The sum of each of kWidth vectors, in order.
template <int Size = kWidth>
inline vec sums(const vec* values) {
  constexpr auto lanes = std::make_integer_sequence<int, kWidth>();
  vec half[Size / 2];
#pragma GCC unroll 8
  for (int i = 0; i < Size / 2; ++i) {
    const vec a = values[2 * i], b = values[2 * i + 1];
    half[i] = halves<Size, 0>(a, b, lanes) + halves<Size, Size / 2>(a, b, lanes);
  }
  if constexpr (Size == 2) {
    return half[0];
  } else {
    return sums<Size / 2>(half);
  }
}

// Transposes kWidth vectors: swaps the off-diagonal halves, then those of each quarter, and so on.
template <int Half, int... Lane>
inline void transpose_halves(vec* rows, std::integer_sequence<int, Lane...> lanes) {
  for (int i = 0; i < kWidth; ++i) {
    if ((i & Half) != 0) continue;
    const vec a = rows[i], b = rows[i + Half];
    rows[i] = pick<((Lane & Half) == 0 ? Lane : kWidth + Lane - Half)...>(a, b);
    rows[i + Half] = pick<((Lane & Half) == 0 ? Lane + Half : kWidth + Lane)...>(a, b);
  }
  if constexpr (Half > 1) transpose_halves<Half / 2>(rows, lanes);
}

inline void transpose(vec* rows) { transpose_halves<kWidth / 2>(rows, std::make_integer_sequence<int, kWidth>()); }

// Adds up partial results, `stride` apart, in order; nothing where there is no place for them.
inline void add_parts(const float* partial, int64_t parts, int64_t stride, int64_t size, float* to) {
  if (to == nullptr) return;
  std::memset(to, 0, size * sizeof(float));
  for (int64_t part = 0; part < parts; ++part) {
    for (int64_t i = 0; i < size; ++i) to[i] += partial[part * stride + i];
  }
}
