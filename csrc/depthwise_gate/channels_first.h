// Depthwise convolution and gate with channels first: a pair of planes at a time. Included once for each instruction
// set.

template <class T>
void gate_plane(const DepthwiseGate<T>& f, int64_t image, int64_t channel) {
  const int64_t size = f.height * f.width, first = (image * 2 * f.hidden + channel) * size;
  const int64_t second = first + f.hidden * size;
  Scratch scratch(2 * PlaneRing::bytes(f.width));
  const PlaneRing a_ring(f.width, scratch), b_ring(f.width, scratch);
  float a_taps[9], b_taps[9];
  plane_taps<T>(f.weight + channel * 9, false, a_taps);
  plane_taps<T>(f.weight + (channel + f.hidden) * 9, false, b_taps);
  const float a_bias = f.bias == nullptr ? 0.0f : rounded<T>(f.bias[channel]);
  const float b_bias = f.bias == nullptr ? 0.0f : rounded<T>(f.bias[channel + f.hidden]);
  for (int64_t next = 0; next <= f.height; ++next) {
    a_ring.read_row(next, f.x + first, f.height);
    b_ring.read_row(next, f.x + second, f.height);
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
  PlaneRing gradients;
  PlaneTapSums<T> sums;
  T* to_x;
  float flipped[9];

  static size_t bytes(int64_t width) { return PlaneRing::bytes(width) + PlaneTapSums<T>::bytes(width); }

  PlaneGradient(int64_t width, int64_t height, const T* x, T* to_x, const float* weight, Scratch& scratch)
      : gradients(width, scratch), sums(width, height, x, scratch), to_x(to_x) {
    plane_taps<T>(weight, true, flipped);
  }

  // With row y of `gradients` written.
  void add_row(int64_t y, int64_t height) {
    sums.add_row(y, height, gradients.row(y) + 1);
    if (y > 0) convolve(y - 1);
    if (y + 1 < height) return;
    gradients.clear(y + 1);
    convolve(y);
  }

 private:
  void convolve(int64_t y) const {
    if (to_x != nullptr) write_convolved(gradients, y, flipped, 0.0f, to_x);
  }
};

template <class T>
void differentiate_plane(const DepthwiseGateBackward<T>& f, int64_t image, int64_t channel,
                         const PlaneContributions& contributions) {
  const int64_t size = f.height * f.width, other = channel + f.hidden;
  const int64_t first = (image * 2 * f.hidden + channel) * size, second = first + f.hidden * size;
  auto plane = [](auto* images, int64_t start) { return images == nullptr ? nullptr : images + start; };
  const T* x = f.to_weight == nullptr ? nullptr : f.x;
  Scratch scratch(2 * PlaneGradient<T>::bytes(f.width));
  PlaneGradient<T> to_a(f.width, f.height, plane(x, first), plane(f.to_x, first), f.weight + channel * 9, scratch);
  PlaneGradient<T> to_b(f.width, f.height, plane(x, second), plane(f.to_x, second), f.weight + other * 9, scratch);
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
  to_a.sums.write_sums(contributions.of(image, channel));
  to_b.sums.write_sums(contributions.of(image, other));
}

template <class T>
void differentiate_planes(const DepthwiseGateBackward<T>& f, const Parallel& parallel) {
  Scratch memory(PlaneContributions::bytes(f.images, 2 * f.hidden));
  const PlaneContributions contributions(f.images, 2 * f.hidden, memory);
  parallel.run(f.images * f.hidden, [&](int64_t index) {
    differentiate_plane(f, index / f.hidden, index % f.hidden, contributions);
  });
  contributions.add_up(f.to_weight, f.to_bias);
}
