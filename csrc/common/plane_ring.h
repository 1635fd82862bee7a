// Depthwise convolutions of planes, channels first: vectors of pixels, three rows at a time. Included once for each
// instruction set.

// Three rows of a plane, in float32, with zeros around them.
struct PlaneRing {
  int64_t width, stride;
  float* start;

  static int64_t row_size(int64_t width) { return round_up(width + 2, kWidth) + kWidth; }
  static size_t bytes(int64_t width) { return Scratch::bytes<float>(3 * row_size(width)); }

  PlaneRing(int64_t width, Scratch& scratch) : width(width), stride(row_size(width)) {
    start = scratch.take<float>(3 * stride);
    std::memset(start, 0, 3 * stride * sizeof(float));
  }

  // Row y; its first value is the zero on the left of the image.
  float* row(int64_t y) const { return start + (y + 3) % 3 * stride; }
  void clear(int64_t y) const { std::memset(row(y), 0, stride * sizeof(float)); }

  // Row y of a plane of `height` rows, or zeros beyond the last.
  template <class T>
  void read_row(int64_t y, const T* plane, int64_t height) const {
    if (y >= height) return clear(y);
    for (int64_t i = 0; i < width; i += kWidth) store(row(y) + 1 + i, read(plane + y * width + i, width - i));
  }
};

// The taps of one channel, rounded as the arithmetic in type T sees them.
template <class T>
inline void plane_taps(const float* weight, bool flipped, float taps[9]) {
  for (int tap = 0; tap < 9; ++tap) taps[tap] = rounded<T>(weight[flipped ? 8 - tap : tap]);
}

// The convolution at one vector of pixels of row y.
inline vec convolve_plane(const PlaneRing& ring, int64_t y, int64_t i, const float* taps, float bias) {
  vec total = splat(bias);
#pragma GCC unroll 3
  for (int64_t row = 0; row < 3; ++row) {
    const float* from = ring.row(y - 1 + row) + i;
#pragma GCC unroll 3
    for (int64_t column = 0; column < 3; ++column) total += load(from + column) * splat(taps[row * 3 + column]);
  }
  return total;
}

// Writes the convolution at row y of a plane.
template <class T>
inline void write_convolved(const PlaneRing& ring, int64_t y, const float* taps, float bias, T* plane) {
  for (int64_t i = 0; i < ring.width; i += kWidth) {
    write(plane + y * ring.width + i, convolve_plane(ring, y, i, taps, bias), ring.width - i);
  }
}

// Gradients of one plane's taps and bias, added up row by row.
template <class T>
struct PlaneTapSums {
  PlaneRing inputs;
  const T* x;  // a plane, or null: the bias alone
  vec taps[9], bias;

  static size_t bytes(int64_t width) { return PlaneRing::bytes(width); }

  PlaneTapSums(int64_t width, int64_t height, const T* x, Scratch& scratch) : inputs(width, scratch), x(x), bias{} {
    for (vec& tap : taps) tap = vec{};
    if (x != nullptr) inputs.read_row(0, x, height);
  }

  // Adds row y; `gradient` has as many vectors as the row, zero beyond it.
  void add_row(int64_t y, int64_t height, const float* gradient) {
    if (x != nullptr) inputs.read_row(y + 1, x, height);
    for (int64_t i = 0; i < inputs.width; i += kWidth) {
      const vec g = load(gradient + i);
      bias += g;
      if (x == nullptr) continue;
#pragma GCC unroll 9
      for (int tap = 0; tap < 9; ++tap) taps[tap] += g * load(inputs.row(y - 1 + tap / 3) + i + tap % 3);
    }
  }

  void write_sums(float* to) const {
    for (int tap = 0; tap < 9; ++tap) to[tap] = sum(taps[tap]);
    to[9] = sum(bias);
  }
};

// What the planes of all images contribute to the gradients of taps and bias.
struct PlaneContributions {
  static constexpr int64_t kCount = 10;  // nine taps, then the bias

  int64_t images, channels;
  float* values;

  static size_t bytes(int64_t images, int64_t channels) { return Scratch::bytes<float>(images * channels * kCount); }

  PlaneContributions(int64_t images, int64_t channels, Scratch& scratch)
      : images(images), channels(channels), values(scratch.take<float>(images * channels * kCount)) {}

  float* of(int64_t image, int64_t channel) const { return values + (image * channels + channel) * kCount; }

  // Adds up the images in their order; nothing where there is no place for the result.
  void add_up(float* to_weight, float* to_bias) const {
    for (int64_t channel = 0; channel < channels; ++channel) {
      for (int64_t i = 0; i < kCount; ++i) {
        float* to = i < 9 ? to_weight : to_bias;
        if (to == nullptr) continue;
        float total = 0.0f;
        for (int64_t image = 0; image < images; ++image) total += of(image, channel)[i];
        to[i < 9 ? channel * 9 + i : channel] = total;
      }
    }
  }
};
