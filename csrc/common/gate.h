// The gate of the feed-forward branch, GELU(a) b, behind a depthwise convolution. Included once for each instruction set.

// The hidden channels: two halves, each padded.
struct HiddenChannels {
  int64_t hidden, half;

  explicit HiddenChannels(int64_t hidden) : hidden(hidden), half(round_up(hidden, kWidth)) {}

  int64_t padded() const { return 2 * half; }

  // The channel without padding at a padded place, or -1.
  int64_t at(int64_t place) const {
    const int64_t inside = place < half ? place : place - half;
    return inside >= hidden ? -1 : place < half ? place : place - half + hidden;
  }
};

template <class T>
inline void copy_hidden(const float* from, const HiddenChannels& channels, float* to) {
  for (int64_t i = 0; i < channels.padded(); ++i) {
    const int64_t at = channels.at(i);
    to[i] = from != nullptr && at >= 0 ? rounded<T>(from[at]) : 0.0f;
  }
}

// taps[tap * padded + place]; `flipped` for the gradient with respect to the input.
template <class T>
inline void copy_taps(const float* depthwise, const HiddenChannels& channels, bool flipped, float* taps) {
  for (int64_t tap = 0; tap < 9; ++tap) {
    for (int64_t i = 0; i < channels.padded(); ++i) {
      const int64_t at = channels.at(i);
      taps[tap * channels.padded() + i] = at >= 0 ? rounded<T>(depthwise[at * 9 + (flipped ? 8 - tap : tap)]) : 0.0f;
    }
  }
}

// Depthwise convolution and gate of `count` pixels; `rows` as for convolve_pixels, pixels of 2 hidden channels.
template <class T, class E>
inline void gate_row(const float* taps, const float* bias, int64_t padded, const float* const rows[3], int64_t count,
                     E* gated, T* convolved, int64_t hidden) {
  const int64_t stride = 2 * padded;
  in_groups(count, [&](auto group, int64_t x) {
    constexpr int n = decltype(group)::value;
    for (int64_t c = 0; c < padded; c += kWidth) {
      vec a[n], b[n];
      const float* const first[3] = {rows[0] + x * stride + c, rows[1] + x * stride + c, rows[2] + x * stride + c};
      const float* const second[3] = {first[0] + padded, first[1] + padded, first[2] + padded};
      convolve_pixels<n>(first, stride, taps + c, stride, load(bias + c), a);
      convolve_pixels<n>(second, stride, taps + c + padded, stride, load(bias + c + padded), b);
      for (int p = 0; p < n; ++p) {
        store(gated + (x + p) * padded + c, gelu(a[p]) * b[p]);
        if (convolved != nullptr) {
          T* pixel = convolved + (x + p) * 2 * hidden + c;
          write(pixel, a[p], hidden - c);
          write(pixel + hidden, b[p], hidden - c);
        }
      }
    }
  });
}

// Gradient of the convolution's output, of `count` pixels, from that of the gate's output; `gated` is the gate's output
// again, where it is not null.
template <class T>
inline void gate_gradient_row(const T* convolved, int64_t hidden, int64_t half, const float* to_gated, int64_t count,
                              float* to_convolved, float* gated) {
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t c = 0; c < half; c += kWidth) {
      const T* pixel = convolved + i * 2 * hidden + c;
      const vec a = read(pixel, hidden - c), b = read(pixel + hidden, hidden - c), g = load(to_gated + i * half + c);
      vec value, derivative;
      gelu_with_derivative(a, value, derivative);
      store(to_convolved + i * 2 * half + c, g * b * derivative);
      store(to_convolved + i * 2 * half + half + c, g * value);
      if (gated != nullptr) store(gated + i * half + c, value * b);
    }
  }
}
