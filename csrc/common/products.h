// Sums of products over pixels, c += a^T b: Gram matrices, and gradients of weights. Included once for each instruction
// set.
//
// Pixels are rows of operands (see common/gemm.h), padded with zeros to whole vectors. Where a step multiplies two
// bfloat16, two pixels lie interleaved: channel c of pixel p at (p / 2) 2 stride + 2 c + p % 2. Tiles want the left
// operand transposed: channel c of pixel p at c stride + p.

// Rows of the sum that are kept in registers; divides every padded number of channels.
constexpr int kProductRows = ADAIR_REGISTERS == 32 ? 8 : 4;

// Writes `pixels` rows of n floats as operands; the pixel that a last pair lacks is zero.
inline void interleave(const float* from, int64_t stride, int64_t n, int64_t pixels, float* to, int64_t to_stride) {
  if (from == to) return;
  for (int64_t pixel = 0; pixel < pixels; ++pixel) {
    std::memcpy(to + pixel * to_stride, from + pixel * stride, n * sizeof(float));
  }
}

#if ADAIR_HAS_BF16
inline void interleave(const float* from, int64_t stride, int64_t n, int64_t pixels, bfloat16* to, int64_t to_stride) {
  for (int64_t pixel = 0; pixel < pixels; pixel += 2) {
    for (int64_t c = 0; c < n; c += kWidth) {
      const float* place = from + pixel * stride + c;
      store_pairs(to + pixel * to_stride + 2 * c, load(place), pixel + 1 < pixels ? load(place + stride) : vec{});
    }
  }
}
#endif

#if ADAIR_HAS_TILES
// Writes `pixels` rows of n floats as the columns of `to`, and zeros up to a whole vector.
inline void transpose_pixels(const float* from, int64_t stride, int64_t n, int64_t pixels, bfloat16* to,
                             int64_t to_stride) {
  for (int64_t pixel = 0; pixel < pixels; pixel += kWidth) {
    for (int64_t c = 0; c < n; c += kWidth) {
      vec block[kWidth];
      for (int i = 0; i < kWidth; ++i) {
        block[i] = pixel + i < pixels ? load(from + (pixel + i) * stride + c) : vec{};
      }
      transpose(block);
      for (int i = 0; i < kWidth; ++i) store(to + (c + i) * to_stride + pixel, block[i]);
    }
  }
}

// `add_products` with a transposed.
inline void add_products_with_tiles(const bfloat16* a, int64_t a_stride, int64_t m, const bfloat16* b, int64_t b_stride,
                                    int64_t n, int64_t pixels, float* c, int64_t c_stride) {
  in_tile_depths(round_up(pixels, 2), [&](int64_t k0, int64_t deep, int pairs) {
    configure_tiles(tile_shapes(16, pairs));
    for (int64_t column = 0; column < n; column += 32) {
      for (int64_t row = 0; row < m; row += 32) {
        float* to = c + row * c_stride + column;
        of_tiles(m - row > 16, n - column > 16, [&](auto row_tiles, auto column_tiles) {
          multiply_block<decltype(row_tiles)::value, decltype(column_tiles)::value>(
              a + row * a_stride + k0, a_stride, b + k0 * b_stride + 2 * column, b_stride, deep, pairs, to, c_stride,
              to, c_stride);
        });
      }
    }
  });
}
#endif

template <class E, int Vectors>
inline void add_products_tile(const E* a, int64_t a_stride, const E* b, int64_t b_stride, int64_t pixels, float* c,
                              int64_t c_stride) {
  constexpr int step = kStep<E>;
  vec sums[kProductRows][Vectors];
#pragma GCC unroll 8
  for (int i = 0; i < kProductRows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < Vectors; ++j) sums[i][j] = load(c + i * c_stride + j * kWidth);
  }
  for (int64_t pixel = 0; pixel < pixels; pixel += step) {
#pragma GCC unroll 8
    for (int i = 0; i < kProductRows; ++i) {
#pragma GCC unroll 4
      for (int j = 0; j < Vectors; ++j) {
        sums[i][j] = multiply_add(sums[i][j], a + pixel * a_stride + i * step,
                                  b + pixel * b_stride + j * kWidth * step);
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kProductRows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < Vectors; ++j) store(c + i * c_stride + j * kWidth, sums[i][j]);
  }
}

// The left operand of products over up to `room` pixels.
template <class E>
class LeftOperand {
 public:
  // Pixels are written in whole vectors where they are transposed.
  static size_t size(int64_t channels, int64_t room) { return channels * (kTransposed ? room + kWidth : room); }

  LeftOperand() = default;
  // Memory of size() values.
  LeftOperand(E* values, int64_t channels, int64_t room)
      : values_(values), stride_(kTransposed ? room + kWidth : channels) {}

  // Writes `pixels` rows of n floats to pixels from `at`, which is a whole number of steps.
  void put(const float* from, int64_t from_stride, int64_t n, int64_t pixels, int64_t at) const {
    if constexpr (kTransposed) {
      transpose_pixels(from, from_stride, n, pixels, values_ + at, stride_);
    } else {
      interleave(from, from_stride, n, pixels, values_ + at * stride_, stride_);
    }
  }
  // From a channel on, which is a whole number of vectors.
  const E* from(int64_t channel) const { return values_ + channel * (kTransposed ? stride_ : kStep<E>); }
  int64_t stride() const { return stride_; }
  // Where pixels from `at` lie, if rows of floats are what they are.
  E* pixels(int64_t at) const { return values_ + at * stride_; }

 private:
  static constexpr bool kTransposed = ADAIR_HAS_TILES && kStep<E> == 2;

  E* values_ = nullptr;
  int64_t stride_ = 0;
};

// c += a^T b, (m x n), with a (pixels x m), a LeftOperand's, and b (pixels x n); m and n are whole vectors.
template <class E>
inline void add_products(const E* a, int64_t a_stride, int64_t m, const E* b, int64_t b_stride, int64_t n,
                         int64_t pixels, float* c, int64_t c_stride) {
  constexpr int step = kStep<E>;
#if ADAIR_HAS_TILES
  if constexpr (step == 2) return add_products_with_tiles(a, a_stride, m, b, b_stride, n, pixels, c, c_stride);
#endif
  for (int64_t column = 0; column < n; column += kVectors * kWidth) {
    const int64_t wide = std::min<int64_t>(kVectors, (n - column) / kWidth);
    for (int64_t row = 0; row < m; row += kProductRows) {
      float* to = c + row * c_stride + column;
      const E* left = a + row * step;
      const E* right = b + column * step;
      switch (wide) {
        case 1:
          add_products_tile<E, 1>(left, a_stride, right, b_stride, pixels, to, c_stride);
          break;
        case 2:
          add_products_tile<E, 2>(left, a_stride, right, b_stride, pixels, to, c_stride);
          break;
        default:
          add_products_tile<E, kVectors>(left, a_stride, right, b_stride, pixels, to, c_stride);
      }
    }
  }
}

// sums += the sum of the rows of a (pixels x n).
inline void add_rows(const float* a, int64_t a_stride, int64_t n, int64_t pixels, float* sums) {
  for (int64_t c = 0; c < n; c += kWidth) {
    vec total = load(sums + c);
    for (int64_t pixel = 0; pixel < pixels; ++pixel) total += load(a + pixel * a_stride + c);
    store(sums + c, total);
  }
}

// sums += the sum of the squares of the rows of a (pixels x n).
inline void add_squares(const float* a, int64_t a_stride, int64_t n, int64_t pixels, float* sums) {
  for (int64_t c = 0; c < n; c += kWidth) {
    vec total = load(sums + c);
    for (int64_t pixel = 0; pixel < pixels; ++pixel) {
      const vec value = load(a + pixel * a_stride + c);
      total += value * value;
    }
    store(sums + c, total);
  }
}

// Pixels that wait to be added to a sum of products. The sum passes through the caches once for all that wait: of wide
// layers it is larger than they are, and pixels come in rows that may be short.
template <class E>
class WaitingProducts {
 public:
  // Pixels that are worth a pass through the sum.
  static constexpr int64_t kEnough = 128;

  static size_t bytes(int64_t m, int64_t n, int64_t most) {
    const int64_t room = room_for(most), come = kFloats ? 0 : most;
    return Scratch::bytes<E>(LeftOperand<E>::size(m, room)) + Scratch::bytes<E>(room * n) +
           Scratch::bytes<float>(come * m) + Scratch::bytes<float>(come * n);
  }

  // Up to `most` pixels come at a time; sums (m x n), or null: then nothing is kept.
  WaitingProducts(int64_t m, int64_t n, int64_t most, float* sums, Scratch& scratch)
      : m_(m), n_(n), most_(round_up(most, kStep<E>)), sums_(sums) {
    if (sums == nullptr) return;
    const int64_t room = room_for(most);
    a_ = LeftOperand<E>(scratch.take<E>(LeftOperand<E>::size(m, room)), m, room);
    b_ = scratch.take<E>(room * n);
    if (kFloats) return;
    coming_a_ = scratch.take<float>(most * m);
    coming_b_ = scratch.take<float>(most * n);
  }
  WaitingProducts(const WaitingProducts&) = delete;
  WaitingProducts& operator=(const WaitingProducts&) = delete;
  ~WaitingProducts() { finish(); }

  bool wanted() const { return sums_ != nullptr; }
  // Where the next pixels are to be written: (pixels x m) and (pixels x n). Then `add`.
  float* next_a() const { return next(a_.pixels(waiting_), coming_a_); }
  float* next_b() const { return next(b_ + waiting_ * n_, coming_b_); }

  void add(int64_t pixels) {
    a_.put(next_a(), m_, m_, pixels, waiting_);
    interleave(next_b(), n_, n_, pixels, b_ + waiting_ * n_, n_);
    waiting_ += round_up(pixels, kStep<E>);
    if (waiting_ + most_ > room_for(most_)) finish();
  }

 private:
  static constexpr bool kFloats = std::is_same_v<E, float>;

  static int64_t room_for(int64_t most) {
    const int64_t whole = round_up(most, kStep<E>);
    return divide_up(kEnough, whole) * whole;
  }

  // Floats are operands: they are written to where they wait.
  static float* next(E* waiting, float* coming) {
    if constexpr (kFloats) return waiting;
    return coming;
  }

  void finish() {
    if (waiting_ > 0) add_products(a_.from(0), a_.stride(), m_, b_, n_, n_, waiting_, sums_, n_);
    waiting_ = 0;
  }

  int64_t m_, n_, most_, waiting_ = 0;
  float *sums_, *coming_a_ = nullptr, *coming_b_ = nullptr;
  LeftOperand<E> a_;
  E* b_ = nullptr;
};

// Adds `groups` partial sums of `size` values each into the first, in the order of the groups.
inline void add_groups(float* partial, int64_t groups, int64_t size, const Parallel& parallel) {
  constexpr int64_t kPart = 4096;
  if (groups < 2) return;
  parallel.run(divide_up(size, kPart), [&](int64_t part) {
    const int64_t end = std::min(size, (part + 1) * kPart);
    for (int64_t group = 1; group < groups; ++group) {
      for (int64_t i = part * kPart; i < end; ++i) partial[i] += partial[group * size + i];
    }
  });
}
