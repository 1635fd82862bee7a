// Parameters of the feed-forward branch, padded to whole vectors. Included once for each instruction set.

inline void copy_padded(const float* from, int64_t count, float* to) {
  for (int64_t i = 0; i < round_up(count, kWidth); ++i) to[i] = from != nullptr && i < count ? from[i] : 0.0f;
}

template <class T>
inline void copy_rounded(const float* from, int64_t count, float* to) {
  for (int64_t i = 0; i < round_up(count, kWidth); ++i) {
    to[i] = from != nullptr && i < count ? rounded<T>(from[i]) : 0.0f;
  }
}

// The 1x1 convolution to the hidden channels, packed.
template <class T, class E>
inline void pack_in(const FeedForward<T>& f, const HiddenChannels& channels, E* packed) {
  pack<E>(
      [&](int64_t n, int64_t k) {
        const int64_t row = channels.at(n);
        return row >= 0 && k < f.channels ? as_operand<T>(f.in_weight[row * f.channels + k]) : 0.0f;
      },
      channels.padded(), round_up(f.channels, kWidth), packed);
}

// The 1x1 convolution back, packed.
template <class T, class E>
inline void pack_out(const FeedForward<T>& f, E* packed) {
  pack<E>(
      [&](int64_t n, int64_t k) {
        return n < f.channels && k < f.hidden ? as_operand<T>(f.out_weight[n * f.hidden + k]) : 0.0f;
      },
      round_up(f.channels, kWidth), round_up(f.hidden, kWidth), packed);
}

// What the forward pass uses.
template <class T>
struct FeedForwardWeights {
  typedef typename OperandOf<T>::type E;
  int64_t channels;  // padded
  HiddenChannels hidden;
  float *norm_weight, *norm_bias, *in_bias, *taps, *taps_bias, *out_bias;
  E *in, *out;

  static int64_t bytes(const FeedForward<T>& f) {
    const int64_t c = round_up(f.channels, kWidth), h = round_up(f.hidden, kWidth);
    return Scratch::bytes<float>(c) * 3 + Scratch::bytes<float>(2 * h) * 2 + Scratch::bytes<float>(18 * h) +
           Scratch::bytes<E>(packed_size<E>(2 * h, c)) + Scratch::bytes<E>(packed_size<E>(c, h));
  }

  FeedForwardWeights(const FeedForward<T>& f, Scratch& scratch)
      : channels(round_up(f.channels, kWidth)), hidden(f.hidden) {
    const int64_t c = channels, h = hidden.half;
    norm_weight = scratch.take<float>(c);
    norm_bias = scratch.take<float>(c);
    out_bias = scratch.take<float>(c);
    in_bias = scratch.take<float>(2 * h);
    taps_bias = scratch.take<float>(2 * h);
    taps = scratch.take<float>(18 * h);
    in = scratch.take<E>(packed_size<E>(2 * h, c));
    out = scratch.take<E>(packed_size<E>(c, h));
    copy_padded(f.norm_weight, f.channels, norm_weight);
    copy_padded(f.norm_bias, f.channels, norm_bias);
    copy_rounded<T>(f.out_bias, f.channels, out_bias);
    copy_hidden<T>(f.in_bias, hidden, in_bias);
    copy_hidden<T>(f.depthwise_bias, hidden, taps_bias);
    copy_taps<T>(f.depthwise, hidden, false, taps);
    pack_in(f, hidden, in);
    pack_out(f, out);
  }
};

// What the backward pass uses: the transposed matrices and the flipped taps.
template <class T>
struct FeedForwardTransposedWeights {
  typedef typename OperandOf<T>::type E;
  int64_t channels;  // padded
  HiddenChannels hidden;
  float *norm_weight, *norm_bias, *in_bias, *taps;
  E *in, *in_transposed, *out_transposed;

  static int64_t bytes(const FeedForward<T>& f) {
    const int64_t c = round_up(f.channels, kWidth), h = round_up(f.hidden, kWidth);
    return Scratch::bytes<float>(c) * 2 + Scratch::bytes<float>(2 * h) + Scratch::bytes<float>(18 * h) +
           Scratch::bytes<E>(packed_size<E>(2 * h, c)) + Scratch::bytes<E>(packed_size<E>(c, 2 * h)) +
           Scratch::bytes<E>(packed_size<E>(h, c));
  }

  // `hidden_again`: whether the hidden channels before the depthwise convolution are computed again.
  FeedForwardTransposedWeights(const FeedForward<T>& f, bool hidden_again, Scratch& scratch)
      : channels(round_up(f.channels, kWidth)), hidden(f.hidden) {
    const int64_t c = channels, h = hidden.half;
    norm_weight = scratch.take<float>(c);
    norm_bias = scratch.take<float>(c);
    in_bias = scratch.take<float>(2 * h);
    taps = scratch.take<float>(18 * h);
    in = scratch.take<E>(packed_size<E>(2 * h, c));
    in_transposed = scratch.take<E>(packed_size<E>(c, 2 * h));
    out_transposed = scratch.take<E>(packed_size<E>(h, c));
    copy_padded(f.norm_weight, f.channels, norm_weight);
    copy_padded(f.norm_bias, f.channels, norm_bias);
    copy_hidden<T>(f.in_bias, hidden, in_bias);
    copy_taps<T>(f.depthwise, hidden, true, taps);
    if (hidden_again) pack_in(f, hidden, in);
    pack<E>(
        [&](int64_t n, int64_t k) {
          const int64_t row = hidden.at(k);
          return row >= 0 && n < f.channels ? as_operand<T>(f.in_weight[row * f.channels + n]) : 0.0f;
        },
        c, 2 * h, in_transposed);
    pack<E>(
        [&](int64_t n, int64_t k) {
          return n < f.hidden && k < f.channels ? as_operand<T>(f.out_weight[k * f.hidden + n]) : 0.0f;
        },
        h, c, out_transposed);
  }
};
