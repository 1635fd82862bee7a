// Parameters of bottleneck adapters, padded to whole vectors. Included once for each instruction set.

// One adapter. The transposed matrices and the flipped taps are for the backward pass alone.
template <class T>
struct BottleneckWeights {
  typedef typename OperandOf<T>::type E;
  float *down_bias, *taps, *taps_bias, *up_bias, *flipped;
  E *down, *up, *down_transposed, *up_transposed;
  int64_t depth;  // of the products that sum over ranks: few of them would be half padding

  static size_t bytes(const Bottleneck<T>& f, bool backward) {
    const int64_t c = round_up(f.channels, kWidth), r = round_up(f.rank, kWidth), times = backward ? 2 : 1;
    return Scratch::bytes<float>(r) * 2 + Scratch::bytes<float>(c) + Scratch::bytes<float>(f.channels * f.rank) +
           Scratch::bytes<float>(f.channels) + times * Scratch::bytes<float>(9 * r) +
           times * (Scratch::bytes<E>(packed_size<E>(r, c)) + Scratch::bytes<E>(packed_size<E>(c, r)));
  }

  BottleneckWeights(const Bottleneck<T>& f, int64_t adapter, bool backward, Scratch& scratch) {
    const int64_t c = round_up(f.channels, kWidth), r = round_up(f.rank, kWidth);
    const Parts rank(1, f.rank), channels(1, f.channels), summed_rank(1, f.rank, kStep<E>);
    depth = summed_rank.padded();
    auto part = [&](const float* stack, int64_t size) { return stack == nullptr ? nullptr : stack + adapter * size; };
    auto copy_taps = [&](bool flip) {
      float* to = scratch.take<float>(9 * r);
      padded_taps<T>(part(f.depthwise, f.rank * 9), rank, flip, to);
      return to;
    };
    auto copy_matrix = [&](const Matrix& matrix) {
      E* to = scratch.take<E>(matrix.packed<E>());
      pack<T>(matrix, to, kSerial);
      return to;
    };
    auto scaled_part = [&](const float* stack, int64_t size) -> const float* {
      if (stack == nullptr) return nullptr;
      float* to = scratch.take<float>(size);
      for (int64_t i = 0; i < size; ++i) to[i] = stack[adapter * size + i] * f.scale[adapter];
      return to;
    };
    const Matrix down_matrix = Matrix::plain(part(f.down, f.rank * f.channels), rank, channels);
    const float* scaled_up = scaled_part(f.up, f.channels * f.rank);
    down_bias = padded_parameter<T>(part(f.down_bias, f.rank), rank, scratch.take<float>(r));
    taps_bias = padded_parameter<T>(part(f.depthwise_bias, f.rank), rank, scratch.take<float>(r));
    up_bias = padded_parameter<T>(scaled_part(f.up_bias, f.channels), channels, scratch.take<float>(c));
    taps = copy_taps(false);
    down = copy_matrix(down_matrix);
    up = copy_matrix(Matrix::plain(scaled_up, channels, summed_rank));
    if (!backward) return;
    flipped = copy_taps(true);
    down_transposed = copy_matrix(Matrix::plain(part(f.down, f.rank * f.channels), summed_rank, channels).transposed());
    up_transposed = copy_matrix(Matrix::plain(scaled_up, channels, rank).transposed());
  }
};

// The adapters that images use.
template <class T>
struct BottleneckStack {
  const Bottleneck<T>& f;
  BottleneckWeights<T>* adapters;

  static size_t bytes(const Bottleneck<T>& f, bool backward) {
    return Scratch::bytes<BottleneckWeights<T>>(f.adapters) + f.adapters * BottleneckWeights<T>::bytes(f, backward);
  }

  BottleneckStack(const Bottleneck<T>& f, bool backward, Scratch& scratch)
      : f(f), adapters(scratch.take<BottleneckWeights<T>>(f.adapters)) {
    for (int64_t adapter = 0; adapter < f.adapters; ++adapter) {
      bool used = false;
      for (int64_t image = 0; image < f.images; ++image) used = used || f.adapter(image) == adapter;
      if (used) adapters[adapter] = BottleneckWeights<T>(f, adapter, backward, scratch);
    }
  }

  const BottleneckWeights<T>& of(int64_t image) const { return adapters[f.adapter(image)]; }
};

// From three rows of what came out of `down`, as for convolve_pixels, to `columns` results, padded to whole vectors;
// `hidden` is working memory of as many pixels.
template <class T, class E>
inline void expand_bottleneck(const Bottleneck<T>& f, const BottleneckWeights<T>& weights, const float* const rows[3],
                              int64_t columns, E* hidden, float* result) {
  const int64_t c = round_up(f.channels, kWidth), r = round_up(f.rank, kWidth);
  convolve_row(rows, r, weights.taps, weights.taps_bias, columns,
               [&](int64_t x, int64_t rank, vec value) { store(hidden + x * r + rank, gelu<T>(value)); });
  multiply(hidden, r, columns, weights.up, c, weights.depth, weights.up_bias, result, c);
}

// Rows of pixels as a product takes them: as they lie in memory, where they need neither conversion nor padding.
template <class T, class E>
inline const E* operand_row(const T* from, int64_t channels, int64_t count, E* room) {
  if constexpr (std::is_same_v<T, E>) {
    if (channels % kWidth == 0) return from;
  }
  const int64_t padded = round_up(channels, kWidth);
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t c = 0; c < padded; c += kWidth) {
      store(room + i * padded + c, read(from + i * channels + c, channels - c));
    }
  }
  return room;
}
