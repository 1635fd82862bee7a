// Depthwise 3x3 convolutions of rows of pixels, channels last. Included once for each instruction set.

// Weights of a depthwise convolution: tap (row, column) of channel c at taps[(row * 3 + column) * channels + c].

// The convolution at `Pixels` consecutive pixels of `Rows` rows, for one vector of channels:
// sums[row * Pixels + pixel].
//
// rows[r] points to the channel in the pixel to the left of the first, from the row above the first to the row below
// the last; pixels are `stride` values apart. The order of additions does not depend on Pixels and Rows.
template <int Pixels, int Rows, class E>
inline void convolve_pixels(const E* const rows[Rows + 2], int64_t stride, const float* taps, int64_t tap_stride,
                            vec start, vec sums[Rows * Pixels]) {
#pragma GCC unroll 8
  for (int p = 0; p < Rows * Pixels; ++p) sums[p] = start;
#pragma GCC unroll 4
  for (int from = 0; from < Rows + 2; ++from) {
    vec left[Rows], middle[Rows], right[Rows];
#pragma GCC unroll 2
    for (int row = 0; row < Rows; ++row) {
      if (from < row || from > row + 2) continue;
      left[row] = load(taps + ((from - row) * 3 + 0) * tap_stride);
      middle[row] = load(taps + ((from - row) * 3 + 1) * tap_stride);
      right[row] = load(taps + ((from - row) * 3 + 2) * tap_stride);
    }
#pragma GCC unroll 10
    for (int column = 0; column < Pixels + 2; ++column) {
      const vec value = load(rows[from] + column * stride);
#pragma GCC unroll 2
      for (int row = 0; row < Rows; ++row) {
        if (from < row || from > row + 2) continue;
        vec* sum = sums + row * Pixels + column;
        if (column < Pixels) sum[0] += value * left[row];
        if (column >= 1 && column <= Pixels) sum[-1] += value * middle[row];
        if (column >= 2) sum[-2] += value * right[row];
      }
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

// Calls use(row, pixel, channel, value) with the convolution at `count` pixels of `Rows` rows, a vector of channels at
// a time; `rows` as for convolve_pixels, `start` a value for each channel, or null. Channels are whole vectors, or at
// least one and a part if the last two may overlap.
template <int Rows, bool Overlapping, class E, class Use>
inline void convolve_rows(const E* const rows[Rows + 2], int64_t channels, const float* taps, const float* start,
                          int64_t count, const Use& use) {
  in_groups(count, [&](auto group, int64_t x) {
    constexpr int n = decltype(group)::value;
    for (int64_t next = 0; next < channels; next += kWidth) {
      const int64_t c = Overlapping ? std::min(next, channels - kWidth) : next;
      vec sums[Rows * n];
      const E* from[Rows + 2];
      for (int row = 0; row < Rows + 2; ++row) from[row] = rows[row] + x * channels + c;
      convolve_pixels<n, Rows>(from, channels, taps + c, channels, start == nullptr ? vec{} : load(start + c), sums);
      for (int row = 0; row < Rows; ++row) {
        for (int p = 0; p < n; ++p) use(row, x + p, c, sums[row * n + p]);
      }
    }
  });
}

// Likewise of one row: calls use(pixel, channel, value).
template <class E, class Use>
inline void convolve_row(const E* const rows[3], int64_t channels, const float* taps, const float* start, int64_t count,
                         const Use& use) {
  convolve_rows<1, false>(rows, channels, taps, start, count,
                          [&](int, int64_t x, int64_t channel, vec value) { use(x, channel, value); });
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
