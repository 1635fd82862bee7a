// Products of rows of activations and a matrix of weights, in panels that fit the caches. Included once for each
// instruction set.
//
// Activations are rows of `float` or `bfloat16`, sums are float32. All rows and weights are padded with zeros to whole
// vectors, so that no loop has a remainder in its innermost dimension.

// Rows of activations and vectors of results that a product keeps in registers.
constexpr int kRows = ADAIR_REGISTERS == 32 ? 8 : 6;
constexpr int kVectors = ADAIR_REGISTERS == 32 ? 3 : 2;
// Vectors of a panel of weights; tiles come in pairs.
template <class T>
constexpr int kPanel = kVectors;
#if ADAIR_HAS_TILES
template <>
constexpr int kPanel<bfloat16> = 2;
#endif
// Depth of a panel: kBlock x kPanel vectors stay in the first-level cache beside the rows.
constexpr int64_t kBlock = 128;

// How many consecutive activations one step multiplies: bfloat16 instructions take pairs.
template <class T>
constexpr int kStep = 1;
#if ADAIR_HAS_BF16
template <>
constexpr int kStep<bfloat16> = 2;
#endif

// The type in which activations of type T enter a product: bfloat16 only where there are instructions for it.
template <class T>
struct OperandOf {
  typedef float type;
};
#if ADAIR_HAS_BF16
template <>
struct OperandOf<bfloat16> {
  typedef bfloat16 type;
};
#endif

inline vec multiply_add(vec sum, const float* activation, const float* weights) {
  return splat(*activation) * load(weights) + sum;
}

#if ADAIR_HAS_BF16
inline vec multiply_add(vec sum, const bfloat16* pair, const bfloat16* weights) {
  int32_t both;
  __builtin_memcpy(&both, pair, 4);
  const __m512bh a = (__m512bh)_mm512_set1_epi32(both);
  const __m512bh b = (__m512bh)_mm512_loadu_si512(weights);
  return (vec)_mm512_dpbf16_ps((__m512)sum, a, b);
}

// Rounds two vectors and stores them interleaved.
inline void store_pairs(bfloat16* to, vec first, vec second) {
  typedef uint16_t halves __attribute__((vector_size(32)));
  typedef uint32_t pairs __attribute__((vector_size(64)));
  const pairs low = __builtin_convertvector((halves)_mm512_cvtneps_pbh((__m512)first), pairs);
  const pairs high = __builtin_convertvector((halves)_mm512_cvtneps_pbh((__m512)second), pairs);
  _mm512_storeu_si512(to, (__m512i)(low | high << 16));
}
#endif

// Elements of packed weights (N x K): K in whole steps, N in whole vectors. They lie in panels of up to kPanel<T>
// vectors of columns, each K deep: weight (n, k) of a panel of `columns` at ((k / step) columns + n) step + k % step.
template <class T>
inline constexpr int64_t packed_size(int64_t n, int64_t k) {
  return round_up(n, kWidth) * round_up(k, kStep<T>);
}

template <class T, int Rows, int Vectors>
inline void multiply_tile(const T* a, int64_t a_stride, const T* panel, int64_t depth, const float* start,
                          int64_t start_stride, float* c, int64_t c_stride) {
  constexpr int step = kStep<T>;
  vec sums[Rows][Vectors];
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < Vectors; ++j) {
      sums[i][j] = start == nullptr ? vec{} : load(start + i * start_stride + j * kWidth);
    }
  }
  for (int64_t k = 0; k < depth; k += step) {
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < Vectors; ++j) {
        sums[i][j] = multiply_add(sums[i][j], a + i * a_stride + k, panel + (k * Vectors + j * step) * kWidth);
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < Vectors; ++j) store(c + i * c_stride + j * kWidth, sums[i][j]);
  }
}

template <class T, int Vectors>
inline void multiply_panel(const T* a, int64_t a_stride, int64_t rows, const T* panel, int64_t depth,
                           const float* start, int64_t start_stride, float* c, int64_t c_stride) {
  int64_t row = 0;
  auto tile = [&](auto count) {
    constexpr int n = decltype(count)::value;
    multiply_tile<T, n, Vectors>(a + row * a_stride, a_stride, panel, depth,
                                 start == nullptr ? nullptr : start + row * start_stride, start_stride,
                                 c + row * c_stride, c_stride);
    row += n;
  };
  while (rows - row >= kRows) tile(Constant<kRows>());
  if (rows - row >= 4) tile(Constant<4>());
  if (rows - row >= 2) tile(Constant<2>());
  if (rows - row >= 1) tile(Constant<1>());
}

#if ADAIR_HAS_TILES
#include "common/tiles.h"
#endif

// c = a w^T + start: (rows x k) times the packed (n x k).
//
// `start` is a row of n values that is added to every row (stride 0), or null. c has whole vectors of columns.
template <class T>
inline void multiply(const T* a, int64_t a_stride, int64_t rows, const T* packed, int64_t n, int64_t k,
                     const float* start, float* c, int64_t c_stride) {
  constexpr int step = kStep<T>;
  const int64_t vectors = round_up(n, kWidth) / kWidth;
  const int64_t depth = round_up(k, step);
#if ADAIR_HAS_TILES
  if constexpr (step == 2) return multiply_with_tiles(a, a_stride, rows, packed, vectors, depth, start, c, c_stride);
#endif
  // Blocks of even depth: a last one of a few columns would cost as many loads and stores of sums as a whole one.
  const int64_t blocks = (depth + kBlock - 1) / kBlock;
  const int64_t block = round_up((depth + blocks - 1) / blocks, step);
  for (int64_t first = 0; first < vectors; first += kPanel<T>) {
    const int64_t wide = vectors - first < kPanel<T> ? vectors - first : kPanel<T>;
    const T* panel = packed + first * kWidth * depth;
    float* to = c + first * kWidth;
    for (int64_t k0 = 0; k0 < depth; k0 += block) {
      const int64_t deep = depth - k0 < block ? depth - k0 : block;
      const float* from = k0 > 0 ? to : start == nullptr ? nullptr : start + first * kWidth;
      const int64_t from_stride = k0 > 0 ? c_stride : 0;
      const T* part = panel + k0 * wide * kWidth;
      switch (wide) {
        case 1:
          multiply_panel<T, 1>(a + k0, a_stride, rows, part, deep, from, from_stride, to, c_stride);
          break;
        case 2:
          multiply_panel<T, 2>(a + k0, a_stride, rows, part, deep, from, from_stride, to, c_stride);
          break;
        default:
          multiply_panel<T, kPanel<T>>(a + k0, a_stride, rows, part, deep, from, from_stride, to, c_stride);
      }
    }
  }
}

// `multiply` for `groups` of as many rows each, a_group and c_group apart. A matrix that is larger than the caches
// passes through them once for all groups.
template <class T>
inline void multiply_groups(int64_t groups, const T* a, int64_t a_group, int64_t a_stride, int64_t rows,
                            const T* packed, int64_t n, int64_t k, const float* start, float* c, int64_t c_group,
                            int64_t c_stride) {
  constexpr int64_t kPart = 256 * 1024;  // bytes, of the second-level cache
  const int64_t panel = kPanel<T> * kWidth, depth = round_up(k, kStep<T>);
  const int64_t part = panel * std::max<int64_t>(1, kPart / (panel * depth * static_cast<int64_t>(sizeof(T))));
  for (int64_t first = 0; first < n; first += part) {
    for (int64_t group = 0; group < groups; ++group) {
      multiply(a + group * a_group, a_stride, rows, packed + first * depth, std::min(part, n - first), k,
               start == nullptr ? nullptr : start + first, c + group * c_group + first, c_stride);
    }
  }
}
