// Depthwise 3x3 convolutions of rows of pixels, channels last. Included once for each instruction set.

// Weights of a depthwise convolution: tap (row, column) of channel c at taps[(row * 3 + column) * channels + c].

// The convolution at `Pixels` consecutive pixels of one row, for one vector of channels.
//
// rows[r] points to the channel in the pixel to the left of the first, in the row above, the row itself and the row
// below; pixels are `stride` floats apart.
template <int Pixels>
inline void convolve_pixels(const float* const rows[3], int64_t stride, const float* taps, int64_t tap_stride,
                            vec start, vec sums[Pixels]) {
#pragma GCC unroll 8
  for (int p = 0; p < Pixels; ++p) sums[p] = start;
#pragma GCC unroll 3
  for (int row = 0; row < 3; ++row) {
    const vec left = load(taps + (row * 3 + 0) * tap_stride);
    const vec middle = load(taps + (row * 3 + 1) * tap_stride);
    const vec right = load(taps + (row * 3 + 2) * tap_stride);
#pragma GCC unroll 10
    for (int column = 0; column < Pixels + 2; ++column) {
      const vec value = load(rows[row] + column * stride);
      if (column < Pixels) sums[column] += value * left;
      if (column >= 1 && column <= Pixels) sums[column - 1] += value * middle;
      if (column >= 2) sums[column - 2] += value * right;
    }
  }
}

// Calls work(Constant<n>(), first) for groups of n <= 4 consecutive pixels out of `count`.
template <class Work>
inline void in_groups(int64_t count, const Work& work) {
  int64_t x = 0;
  for (; x + 4 <= count; x += 4) work(Constant<4>(), x);
  if (count - x >= 2) {
    work(Constant<2>(), x);
    x += 2;
  }
  if (x < count) work(Constant<1>(), x);
}

// Calls use(pixel, channel, value) with the convolution at `count` pixels of one row, a vector of channels at a time;
// `rows` as for convolve_pixels, `start` a value for each channel, or null.
template <class Use>
inline void convolve_row(const float* const rows[3], int64_t channels, const float* taps, const float* start,
                         int64_t count, const Use& use) {
  in_groups(count, [&](auto group, int64_t x) {
    constexpr int n = decltype(group)::value;
    for (int64_t c = 0; c < channels; c += kWidth) {
      vec sums[n];
      const float* const from[3] = {rows[0] + x * channels + c, rows[1] + x * channels + c,
                                    rows[2] + x * channels + c};
      convolve_pixels<n>(from, channels, taps + c, channels, start == nullptr ? vec{} : load(start + c), sums);
      for (int p = 0; p < n; ++p) use(x + p, c, sums[p]);
    }
  });
}

// Adds the gradients of the taps from `count` pixels: the gradient of the output at each, times the nine inputs that
// it was made of; `rows` as for convolve_pixels.
inline void add_tap_gradients(const float* const rows[3], int64_t channels, const float* gradient, int64_t count,
                              float* taps) {
  for (int64_t c = 0; c < channels; c += kWidth) {
    vec sums[9];
    for (int tap = 0; tap < 9; ++tap) sums[tap] = load(taps + tap * channels + c);
    for (int64_t x = 0; x < count; ++x) {
      const vec g = load(gradient + x * channels + c);
      for (int tap = 0; tap < 9; ++tap) sums[tap] += g * load(rows[tap / 3] + (x + tap % 3) * channels + c);
    }
    for (int tap = 0; tap < 9; ++tap) store(taps + tap * channels + c, sums[tap]);
  }
}
