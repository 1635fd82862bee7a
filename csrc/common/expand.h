// Layer norm, 1x1 convolution and depthwise convolution, row by row: three rows of the expanded channels are all that
// exists of them at any time. Included once for each instruction set.

constexpr int64_t kExpansionRing = 64 * 1024;  // floats: three rows, in a part of the second-level cache

// The parameters, padded to whole vectors; null where there are none.
template <class T>
struct ExpansionWeights {
  typedef typename OperandOf<T>::type E;
  int64_t channels;  // padded
  Parts parts;
  float *norm_weight, *norm_bias, *bias, *taps, *taps_bias;
  E* matrix;

  static int64_t bytes(const Expansion<T>& e) {
    const int64_t channels = round_up(e.channels, kWidth), places = Parts(e.parts, e.part).padded();
    return Scratch::bytes<float>(channels) * 2 + Scratch::bytes<float>(places) * 2 + Scratch::bytes<float>(9 * places) +
           Scratch::bytes<E>(packed_size<E>(places, channels));
  }

  // `matrix_too`: whether the 1x1 convolution is wanted; the taps are flipped for the backward pass.
  ExpansionWeights(const Expansion<T>& e, bool matrix_too, bool flipped, Scratch& scratch)
      : channels(round_up(e.channels, kWidth)), parts(e.parts, e.part) {
    const int64_t places = parts.padded();
    const Parts whole(1, e.channels);
    // The layer norm is computed in float32 whatever T is.
    norm_weight = padded_parameter<float>(e.norm_weight, whole, scratch.take<float>(channels));
    norm_bias = padded_parameter<float>(e.norm_bias, whole, scratch.take<float>(channels));
    bias = padded_parameter<T>(e.bias, parts, scratch.take<float>(places));
    taps_bias = padded_parameter<T>(e.depthwise_bias, parts, scratch.take<float>(places));
    taps = scratch.take<float>(9 * places);
    padded_taps<T>(e.depthwise, parts, flipped, taps);
    matrix = scratch.take<E>(packed_size<E>(places, channels));
    if (!matrix_too) return;
    pack<E>(
        [&](int64_t place, int64_t k) {
          const int64_t row = parts.at(place);
          return row >= 0 && k < e.channels ? as_operand<T>(e.weight[row * e.channels + k]) : 0.0f;
        },
        places, channels, matrix);
  }
};

// Columns of a block such that three rows of `places` channels fit the ring.
inline int64_t expansion_columns(int64_t width, int64_t places) {
  return even_part(width, std::max<int64_t>(30, kExpansionRing / (3 * places)));
}

// Three rows of a block and of the columns beside it, for a 3x3 convolution: row y lies in the place of row y - 3. What
// is outside of the image is zero.
struct Ring {
  float* rows;
  int64_t wide, places;
  int64_t from, to;  // columns that lie in the image

  static int64_t floats(const Block& block, int64_t places) { return 3 * (block.right - block.left + 2) * places; }

  Ring(const Block& block, int64_t width, int64_t places, float* memory)
      : rows(memory), wide(block.right - block.left + 2), places(places), from(std::max<int64_t>(block.left - 1, 0)),
        to(std::min(block.right + 1, width)), left_(block.left - 1) {
    std::memset(rows, 0, floats(block, places) * sizeof(float));
  }

  float* row(int64_t y) const { return rows + (y + 3) % 3 * wide * places; }
  // Column `from` of a row.
  float* inside(int64_t y) const { return row(y) + (from - left_) * places; }
  void clear(int64_t y) const { std::memset(row(y), 0, wide * places * sizeof(float)); }

 private:
  int64_t left_;
};

// Working memory of `expand_row`.
template <class T>
struct NormalisedRow {
  typedef typename OperandOf<T>::type E;
  float* pixel;
  E* values;  // of whole vectors

  static int64_t bytes(const Block& block, int64_t channels) {
    return Scratch::bytes<float>(channels) + Scratch::bytes<E>((block.right - block.left + 2) * channels);
  }
  NormalisedRow(const Block& block, int64_t channels, Scratch& scratch)
      : pixel(scratch.take<float>(channels)), values(scratch.take<E>((block.right - block.left + 2) * channels)) {}
};

// Layer norm and 1x1 convolution of row y into the ring.
template <class T>
inline void expand_row(const Expansion<T>& e, const ExpansionWeights<T>& weights, int64_t image, int64_t y,
                       const NormalisedRow<T>& row, const Ring& ring) {
  if (y < 0 || y >= e.height) return ring.clear(y);
  const vec last = last_vector(e.channels);
  const int64_t channels = weights.channels, count = ring.to - ring.from;
  const T* x = e.x + ((image * e.height + y) * e.width + ring.from) * e.channels;
  for (int64_t i = 0; i < count; ++i) {
    read_pixel(x + i * e.channels, e.channels, row.pixel, channels);
    normalise_pixel(row.pixel, statistics(row.pixel, e.channels, last, e.eps), weights.norm_weight, weights.norm_bias,
                    channels, row.values + i * channels);
  }
  multiply(row.values, channels, count, weights.matrix, ring.places, channels, weights.bias, ring.inside(y),
           ring.places);
}

template <class T>
inline int64_t expand_bytes(const Block& block, const ExpansionWeights<T>& weights) {
  return NormalisedRow<T>::bytes(block, weights.channels) +
         Scratch::bytes<float>(Ring::floats(block, weights.parts.padded()));
}

// Calls use(rows, start) for every row of a block, with three rows of the expanded channels as for convolve_pixels, and
// the index of the row's first pixel. The scratch has expand_bytes() left.
template <class T, class Use>
inline void expand_block(const Expansion<T>& e, const ExpansionWeights<T>& weights, const Block& block,
                         Scratch& scratch, const Use& use) {
  const int64_t places = weights.parts.padded();
  const NormalisedRow<T> row(block, weights.channels, scratch);
  const Ring ring(block, e.width, places, scratch.take<float>(Ring::floats(block, places)));
  for (int64_t y = block.top - 1; y <= block.bottom; ++y) {
    expand_row(e, weights, block.image, y, row, ring);
    if (y < block.top + 1) continue;
    const float* const rows[3] = {ring.row(y - 2), ring.row(y - 1), ring.row(y)};
    use(rows, (block.image * e.height + y - 1) * e.width + block.left);
  }
}
