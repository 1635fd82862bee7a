// Sums of products over pixels, c += a^T b: Gram matrices, and gradients of weights. Included once for each instruction
// set.
//
// Pixels are rows of floats, padded with zeros to whole vectors.

// Rows of the sum that are kept in registers; divides every padded number of channels.
constexpr int kProductRows = ADAIR_REGISTERS == 32 ? 8 : 4;

template <int Vectors>
inline void add_products_tile(const float* a, int64_t a_stride, const float* b, int64_t b_stride, int64_t pixels,
                              float* c, int64_t c_stride) {
  vec sums[kProductRows][Vectors];
#pragma GCC unroll 8
  for (int i = 0; i < kProductRows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < Vectors; ++j) sums[i][j] = load(c + i * c_stride + j * kWidth);
  }
  for (int64_t pixel = 0; pixel < pixels; ++pixel) {
    vec values[Vectors];
#pragma GCC unroll 4
    for (int j = 0; j < Vectors; ++j) values[j] = load(b + pixel * b_stride + j * kWidth);
#pragma GCC unroll 8
    for (int i = 0; i < kProductRows; ++i) {
      const vec left = splat(a[pixel * a_stride + i]);
#pragma GCC unroll 4
      for (int j = 0; j < Vectors; ++j) sums[i][j] += left * values[j];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kProductRows; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < Vectors; ++j) store(c + i * c_stride + j * kWidth, sums[i][j]);
  }
}

// c += a^T b, (m x n), with a (pixels x m) and b (pixels x n); m and n are whole vectors.
inline void add_products(const float* a, int64_t a_stride, int64_t m, const float* b, int64_t b_stride, int64_t n,
                         int64_t pixels, float* c, int64_t c_stride) {
  for (int64_t column = 0; column < n; column += kPanel * kWidth) {
    const int64_t wide = std::min<int64_t>(kPanel, (n - column) / kWidth);
    for (int64_t row = 0; row < m; row += kProductRows) {
      float* to = c + row * c_stride + column;
      switch (wide) {
        case 1:
          add_products_tile<1>(a + row, a_stride, b + column, b_stride, pixels, to, c_stride);
          break;
        case 2:
          add_products_tile<2>(a + row, a_stride, b + column, b_stride, pixels, to, c_stride);
          break;
        default:
          add_products_tile<kPanel>(a + row, a_stride, b + column, b_stride, pixels, to, c_stride);
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
class WaitingProducts {
 public:
  // Pixels that are worth a pass through the sum.
  static constexpr int64_t kEnough = 128;

  static int64_t room(int64_t most) { return divide_up(kEnough, most) * most; }
  static size_t bytes(int64_t m, int64_t n, int64_t most) {
    return Scratch::bytes<float>(room(most) * m) + Scratch::bytes<float>(room(most) * n);
  }

  // Up to `most` pixels come at a time; sums (m x n), or null: then nothing is kept.
  WaitingProducts(int64_t m, int64_t n, int64_t most, float* sums, Scratch& scratch)
      : m_(m), n_(n), most_(most), sums_(sums) {
    if (sums == nullptr) return;
    a_ = scratch.take<float>(room(most) * m);
    b_ = scratch.take<float>(room(most) * n);
  }
  WaitingProducts(const WaitingProducts&) = delete;
  WaitingProducts& operator=(const WaitingProducts&) = delete;
  ~WaitingProducts() { finish(); }

  bool wanted() const { return sums_ != nullptr; }
  // Where the next pixels are to be written: (pixels x m) and (pixels x n). Then `add`.
  float* next_a() const { return a_ + waiting_ * m_; }
  float* next_b() const { return b_ + waiting_ * n_; }

  void add(int64_t pixels) {
    waiting_ += pixels;
    if (waiting_ + most_ > room(most_)) finish();
  }

 private:
  void finish() {
    if (waiting_ > 0) add_products(a_, m_, m_, b_, n_, n_, waiting_, sums_, n_);
    waiting_ = 0;
  }

  int64_t m_, n_, most_, waiting_ = 0;
  float *sums_, *a_ = nullptr, *b_ = nullptr;
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
