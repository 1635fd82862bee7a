// Packing of weights for `multiply`. Included once for each instruction set.

// A matrix w(n, k) in memory whose rows and columns become padded with zeros; one of the two strides is 1. `multiply`
// computes a w^T, so n counts its results and k what they are summed over.
struct Matrix {
  const float* values;
  Parts rows, columns;
  int64_t row_stride, column_stride;

  // One that lies in memory row by row.
  static Matrix plain(const float* values, const Parts& rows, const Parts& columns) {
    return {values, rows, columns, columns.count * columns.size, 1};
  }
  Matrix transposed() const { return {values, columns, rows, column_stride, row_stride}; }

  template <class E>
  int64_t packed() const {
    return packed_size<E>(rows.padded(), columns.padded());
  }
};

// Steps of a product, one for each lane, made of kWidth x kStep values from memory; T is what they are rounded to.
template <class T>
inline vec read_steps(const float* from, int64_t left, float*) {
  return left <= 0 ? vec{} : rounded<T>(read(from, left));
}

#if ADAIR_HAS_BF16
template <class T>
inline vec read_steps(const float* from, int64_t left, bfloat16*) {
  bfloat16 pairs[2 * kWidth];
  store(pairs, left <= 0 ? vec{} : read(from, left));
  store(pairs + kWidth, left <= kWidth ? vec{} : read(from + kWidth, left - kWidth));
  return load(reinterpret_cast<const float*>(pairs));
}
#endif

// The step at column k of a vector of rows that follow each other; `left` of them.
template <class T>
inline void store_step(float* to, const float* from, int64_t, bool, int64_t left) {
  store(to, rounded<T>(read(from, left)));
}

#if ADAIR_HAS_BF16
template <class T>
inline void store_step(bfloat16* to, const float* from, int64_t stride, bool second, int64_t left) {
  store_pairs(to, read(from, left), second ? read(from + stride, left) : vec{});
}
#endif

template <class E>
inline void store_bits(E* to, vec value) {
  store(reinterpret_cast<float*>(to), value);
}

// One vector of rows, from place `first`, into its column of a panel of `columns`.
template <class T, class E>
inline void pack_vector(const Matrix& m, int64_t first, int64_t columns, E* to) {
  constexpr int64_t step = kStep<E>, deep = kWidth * step;
  const int64_t part = first / m.rows.padded_size, inside = first % m.rows.padded_size;
  const float* start = m.values + (part * m.rows.size + inside) * m.row_stride;
  const int64_t count = m.rows.size - inside;
  const Parts& depth = m.columns;
  for (int64_t p = 0; p < depth.count; ++p) {
    const float* from = start + p * depth.size * m.column_stride;
    E* panel = to + p * depth.padded_size * columns;
    if (m.column_stride == 1) {
      for (int64_t k = 0; k < depth.padded_size; k += deep) {
        vec block[kWidth];
        for (int i = 0; i < kWidth; ++i) {
          block[i] = i < count ? read_steps<T>(from + i * m.row_stride + k, depth.size - k, to) : vec{};
        }
        transpose(block);
        const int64_t whole = std::min<int64_t>(kWidth, (depth.padded_size - k) / step);
        for (int64_t i = 0; i < whole; ++i) store_bits(panel + (k + i * step) * columns, block[i]);
      }
    } else {
      for (int64_t k = 0; k < depth.padded_size; k += step) {
        E* place = panel + k * columns;
        if (k < depth.size) {
          store_step<T>(place, from + k * m.column_stride, m.column_stride, k + 1 < depth.size, count);
        } else {
          std::memset(place, 0, deep * sizeof(E));
        }
      }
    }
  }
}

// Packs a matrix, rounded to T, for products with activations of type T.
template <class T, class E = typename OperandOf<T>::type>
inline void pack(const Matrix& m, E* packed, const Parallel& parallel) {
  static_assert(kStep<E> * sizeof(E) == sizeof(float), "a step is a lane");
  constexpr int64_t kWorthSharing = 64 * 1024;
  const int64_t vectors = m.rows.padded() / kWidth, depth = m.columns.padded();
  const Parallel& shared = vectors * kWidth * depth < kWorthSharing ? kSerial : parallel;
  shared.run(divide_up(vectors, kPanel<E>), [&](int64_t panel) {
    const int64_t first = panel * kPanel<E>, wide = std::min<int64_t>(kPanel<E>, vectors - first);
    E* to = packed + first * kWidth * depth;
    for (int64_t vector = 0; vector < wide; ++vector) {
      pack_vector<T>(m, (first + vector) * kWidth, wide * kWidth, to + vector * kWidth * kStep<E>);
    }
  });
}
