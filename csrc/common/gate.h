// The gate of the feed-forward branch, GELU(a) b, behind a depthwise convolution. Included once for each instruction
// set.

// One vector of channels of `Pixels` pixels for `gate_row`.
template <class T, int Pixels, class E>
inline void gate_group(const float* const rows[3], int64_t half, const float* taps, const float* bias, vec* a, vec* b,
                        E* gated) {
  const float* const others[3] = {rows[0] + half, rows[1] + half, rows[2] + half};
  convolve_pixels<Pixels, 1>(rows, 2 * half, taps, 2 * half, load(bias), a);
  convolve_pixels<Pixels, 1>(others, 2 * half, taps + half, 2 * half, load(bias + half), b);
  vec phi[Pixels];
  normal_distributions<T, Pixels>(a, phi);
#pragma GCC unroll 4
  for (int p = 0; p < Pixels; ++p) store(gated + p * half, a[p] * phi[p] * b[p]);
}

// Depthwise convolution and gate of `count` pixels of two halves of `padded` channels; `rows` as for convolve_pixels.
// Of the convolution's output, where it is wanted, the halves have `hidden` channels.
//
// A function of its own, because its loop needs all registers.
template <class T, class E>
__attribute__((noinline)) void gate_row(const float* taps, const float* bias, int64_t padded,
                                        const float* const rows[3], int64_t count, E* gated, T* convolved,
                                        int64_t hidden) {
  const int64_t stride = 2 * padded;
  in_groups(count, [&](auto group, int64_t x) {
    constexpr int n = decltype(group)::value;
    const float* const start[3] = {rows[0] + x * stride, rows[1] + x * stride, rows[2] + x * stride};
    for (int64_t c = 0; c < padded; c += kWidth) {
      vec a[n], b[n];
      const float* const from[3] = {start[0] + c, start[1] + c, start[2] + c};
      gate_group<T, n>(from, padded, taps + c, bias + c, a, b, gated + x * padded + c);
      if (convolved == nullptr) continue;
      for (int p = 0; p < n; ++p) {
        T* pixel = convolved + (x + p) * 2 * hidden + c;
        write(pixel, a[p], hidden - c);
        write(pixel + hidden, b[p], hidden - c);
      }
    }
  });
}

// Gradient of the convolution's output, of `count` pixels, from that of the gate's output; `gated` is the gate's output
// again, where it is not null. A function of its own, like gate_row.
template <class T>
__attribute__((noinline)) void gate_gradient_row(const T* convolved, int64_t hidden, int64_t half,
                                                 const float* to_gated, int64_t count, float* to_convolved,
                                                 float* gated) {
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t c = 0; c < half; c += kWidth) {
      const T* pixel = convolved + i * 2 * hidden + c;
      const vec a = read(pixel, hidden - c), b = read(pixel + hidden, hidden - c), g = load(to_gated + i * half + c);
      vec value, derivative;
      gelu_with_derivative<T>(a, value, derivative);
      store(to_convolved + i * 2 * half + c, g * b * derivative);
      store(to_convolved + i * 2 * half + half + c, g * value);
      if (gated != nullptr) store(gated + i * half + c, value * b);
    }
  }
}
