// Depthwise convolution and gate with channels first: vectors of pixels, a pair of planes at a time. Included once for
// each instruction set.

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

  template <class T>
  void read_row(int64_t y, const T* from) const {
    for (int64_t i = 0; i < width; i += kWidth) store(row(y) + 1 + i, read(from + i, width - i));
  }
};

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

template <class T>
void gate_plane(const DepthwiseGate<T>& f, int64_t image, int64_t channel) {
  const int64_t size = f.height * f.width, first = (image * 2 * f.hidden + channel) * size;
  const int64_t second = first + f.hidden * size;
  Scratch scratch(2 * PlaneRing::bytes(f.width));
  const PlaneRing a_ring(f.width, scratch), b_ring(f.width, scratch);
  float a_taps[9], b_taps[9];
  for (int tap = 0; tap < 9; ++tap) {
    a_taps[tap] = rounded<T>(f.weight[channel * 9 + tap]);
    b_taps[tap] = rounded<T>(f.weight[(channel + f.hidden) * 9 + tap]);
  }
  const float a_bias = f.bias == nullptr ? 0.0f : rounded<T>(f.bias[channel]);
  const float b_bias = f.bias == nullptr ? 0.0f : rounded<T>(f.bias[channel + f.hidden]);
  for (int64_t next = 0; next <= f.height; ++next) {
    if (next < f.height) {
      a_ring.read_row(next, f.x + first + next * f.width);
      b_ring.read_row(next, f.x + second + next * f.width);
    } else {
      a_ring.clear(next);
      b_ring.clear(next);
    }
    const int64_t y = next - 1;
    if (y < 0) continue;
    T* to = f.y + (image * f.hidden + channel) * size + y * f.width;
    for (int64_t i = 0; i < f.width; i += kWidth) {
      const int64_t left = f.width - i;
      const vec a = convolve_plane(a_ring, y, i, a_taps, a_bias), b = convolve_plane(b_ring, y, i, b_taps, b_bias);
      write(to + i, gelu<T>(a) * b, left);
      if (f.convolved == nullptr) continue;
      write(f.convolved + first + y * f.width + i, a, left);
      write(f.convolved + second + y * f.width + i, b, left);
    }
  }
}

template <class T>
void gate_planes(const DepthwiseGate<T>& f, const Parallel& parallel) {
  parallel.run(f.images * f.hidden, [&](int64_t index) { gate_plane(f, index / f.hidden, index % f.hidden); });
}

// Gradients of one plane's convolution: from those of its output's rows to those of the input, taps and bias.
template <class T>
struct PlaneGradient {
  PlaneRing gradients, inputs;
  const T* x;  // planes, or null
  T* to_x;
  float flipped[9];
  vec taps[9], bias;

  static size_t bytes(int64_t width) { return 2 * PlaneRing::bytes(width); }

  PlaneGradient(int64_t width, const T* x, T* to_x, const float* weight, Scratch& scratch)
      : gradients(width, scratch), inputs(width, scratch), x(x), to_x(to_x), bias{} {
    for (int tap = 0; tap < 9; ++tap) flipped[tap] = rounded<T>(weight[8 - tap]), taps[tap] = vec{};
    if (x != nullptr) inputs.read_row(0, x);
  }

  // With row y of `gradients` written.
  void add_row(int64_t y, int64_t height) {
    const int64_t width = inputs.width;
    if (x != nullptr) {
      if (y + 1 < height) {
        inputs.read_row(y + 1, x + (y + 1) * width);
      } else {
        inputs.clear(y + 1);
      }
    }
    for (int64_t i = 0; i < width; i += kWidth) {
      const vec gradient = load(gradients.row(y) + 1 + i);
      bias += gradient;
      if (x == nullptr) continue;
#pragma GCC unroll 9
      for (int tap = 0; tap < 9; ++tap) taps[tap] += gradient * load(inputs.row(y - 1 + tap / 3) + i + tap % 3);
    }
    if (y > 0) convolve(y - 1);
    if (y + 1 < height) return;
    gradients.clear(y + 1);
    convolve(y);
  }

 private:
  void convolve(int64_t y) {
    if (to_x == nullptr) return;
    const int64_t width = gradients.width;
    for (int64_t i = 0; i < width; i += kWidth) {
      write(to_x + y * width + i, convolve_plane(gradients, y, i, flipped, 0.0f), width - i);
    }
  }
};

// `sums` gets the gradients of taps and bias of both planes, 10 values each.
template <class T>
void differentiate_plane(const DepthwiseGateBackward<T>& f, int64_t image, int64_t channel, float* sums) {
  const int64_t size = f.height * f.width, first = (image * 2 * f.hidden + channel) * size;
  const int64_t second = first + f.hidden * size;
  auto plane = [](auto* images, int64_t start) { return images == nullptr ? nullptr : images + start; };
  const T* x = f.to_weight == nullptr ? nullptr : f.x;
  Scratch scratch(2 * PlaneGradient<T>::bytes(f.width));
  PlaneGradient<T> to_a(f.width, plane(x, first), plane(f.to_x, first), f.weight + channel * 9, scratch);
  PlaneGradient<T> to_b(f.width, plane(x, second), plane(f.to_x, second), f.weight + (channel + f.hidden) * 9, scratch);
  const T* gradient = f.gradient + (image * f.hidden + channel) * size;
  for (int64_t y = 0; y < f.height; ++y) {
    for (int64_t i = 0; i < f.width; i += kWidth) {
      const int64_t left = f.width - i, at = y * f.width + i;
      const vec a = read(f.convolved + first + at, left), b = read(f.convolved + second + at, left);
      const vec g = read(gradient + at, left);
      vec value, derivative;
      gelu_with_derivative<T>(a, value, derivative);
      store(to_a.gradients.row(y) + 1 + i, g * b * derivative);
      store(to_b.gradients.row(y) + 1 + i, g * value);
    }
    to_a.add_row(y, f.height);
    to_b.add_row(y, f.height);
  }
  for (PlaneGradient<T>* half : {&to_a, &to_b}) {
    for (const vec& tap : half->taps) *sums++ = sum(tap);
    *sums++ = sum(half->bias);
  }
}

template <class T>
void differentiate_planes(const DepthwiseGateBackward<T>& f, const Parallel& parallel) {
  const int64_t planes = f.images * f.hidden;
  Scratch memory(Scratch::bytes<float>(planes * 20));
  float* partial = memory.take<float>(planes * 20);
  parallel.run(planes, [&](int64_t index) {
    differentiate_plane(f, index / f.hidden, index % f.hidden, partial + index * 20);
  });
  for (int64_t channel = 0; channel < 2 * f.hidden; ++channel) {
    const int64_t start = channel % f.hidden * 20 + channel / f.hidden * 10;
    for (int64_t i = 0; i < 10; ++i) {
      float* to = i < 9 ? f.to_weight : f.to_bias;
      if (to == nullptr) continue;
      float total = 0.0f;
      for (int64_t image = 0; image < f.images; ++image) total += partial[image * f.hidden * 20 + start + i];
      to[i < 9 ? channel * 9 + i : channel] = total;
    }
  }
}
