// Layer norm, 1x1 convolution and depthwise convolution, row by row: few rows of the expanded channels are all that
// exists of them at any time. Included once for each instruction set.

constexpr int64_t kExpansionRing = 96 * 1024;  // floats: three rows, in a part of the second-level cache

// The 1x1 convolution.
template <class T>
inline Matrix expansion_matrix(const Expansion<T>& e) {
  return Matrix::plain(e.weight, Parts(e.parts, e.part), Parts(1, e.channels));
}

// The parameters, padded to whole vectors. The biases of the layer norm and of the 1x1 convolution are null where there
// are none; that of the depthwise convolution is then zero.
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
  ExpansionWeights(const Expansion<T>& e, bool matrix_too, bool flipped, Pieces& scratch, const Parallel& parallel)
      : channels(round_up(e.channels, kWidth)), parts(e.parts, e.part) {
    const int64_t places = parts.padded();
    const Parts whole(1, e.channels);
    // The layer norm is computed in float32 whatever T is.
    norm_weight = padded_parameter<float>(e.norm_weight, whole, scratch.take<float>(channels));
    norm_bias = padded_parameter<float>(e.norm_bias, whole, scratch.take<float>(channels));
    bias = padded_parameter<T>(e.bias, parts, scratch.take<float>(places));
    taps_bias = scratch.take<float>(places);
    if (padded_parameter<T>(e.depthwise_bias, parts, taps_bias) == nullptr) {
      std::memset(taps_bias, 0, places * sizeof(float));
    }
    taps = scratch.take<float>(9 * places);
    padded_taps<T>(e.depthwise, parts, flipped, taps);
    matrix = scratch.take<E>(packed_size<E>(places, channels));
    if (matrix_too) pack<T>(expansion_matrix(e), matrix, parallel);
  }
};

// Memory for `prepare_expansions`.
template <class T, class Arguments>
inline size_t expansions_bytes(const PerImage<Arguments>& sets) {
  return Scratch::bytes<ExpansionWeights<T>>(sets.weights) +
         sets.weights * ExpansionWeights<T>::bytes(sets.shared().expansion);
}

// The parameters of all sets, for the forward pass; see PerImage::weights_of.
template <class T, class Arguments>
inline const ExpansionWeights<T>* prepare_expansions(const PerImage<Arguments>& sets, Scratch& scratch,
                                                     const Parallel& parallel) {
  ExpansionWeights<T>* weights = scratch.take<ExpansionWeights<T>>(sets.weights);
  const int64_t size = ExpansionWeights<T>::bytes(sets.shared().expansion);
  char* memory = scratch.take<char>(sets.weights * size);
  run_each(sets.weights, parallel, [&](int64_t set, const Parallel& inner) {
    Pieces pieces(memory + set * size);
    weights[set] = ExpansionWeights<T>(sets.sets[set].expansion, true, false, pieces, inner);
  });
  return weights;
}

// Columns of a block such that three rows of `places` channels fit the ring.
inline int64_t expansion_columns(int64_t width, int64_t places) {
  return even_part(width, std::max<int64_t>(48, kExpansionRing / (3 * places)));
}

// Rows of a block. Rows above and below it are computed twice: as few blocks as keep the threads busy, four for each of
// them unless that makes the blocks low. `across` blocks lie beside each other, in all images.
inline int64_t expansion_rows(int64_t height, int64_t across, int64_t threads) {
  constexpr int64_t kLow = 32;
  auto share = [&](int64_t blocks) { return divide_up(height, divide_up(blocks, across)); };
  return std::max<int64_t>({8, share(4 * threads), std::min(kLow, share(threads))});
}

// Rows of a block that are computed together, so that the matrix is read once for as many pixels as are worth it.
inline int64_t rows_together(const Block& block) {
  constexpr int64_t kEnough = 64;
  return std::min(divide_up(kEnough, block.right - block.left), block.bottom - block.top);
}

// Rows of a block and of the columns beside it, for a 3x3 convolution: two more than are computed together. What is
// outside of the image is zero.
struct Ring {
  float* rows;
  int64_t depth, wide, places;
  int64_t from, to;  // columns that lie in the image

  static int64_t floats(const Block& block, int64_t places) {
    return (rows_together(block) + 2) * (block.right - block.left + 2) * places;
  }

  Ring(const Block& block, int64_t width, int64_t places, float* memory)
      : rows(memory), depth(rows_together(block) + 2), wide(block.right - block.left + 2), places(places),
        from(std::max<int64_t>(block.left - 1, 0)), to(std::min(block.right + 1, width)), left_(block.left - 1) {
    std::memset(rows, 0, floats(block, places) * sizeof(float));
  }

  float* row(int64_t y) const { return rows + (y + depth) % depth * wide * places; }
  // Column `from` of a row.
  float* inside(int64_t y) const { return row(y) + (from - left_) * places; }
  void clear(int64_t y) const { std::memset(row(y), 0, wide * places * sizeof(float)); }
  // The end of the rows, from y and up to `end`, that follow each other in memory; at most those computed together.
  int64_t end_of_run(int64_t y, int64_t end) const {
    return y + std::min(std::min(end - y, depth - 2), depth - (y + depth) % depth);
  }

 private:
  int64_t left_;
};

// Working memory of `expand_rows`.
template <class T>
struct NormalisedRows {
  typedef typename OperandOf<T>::type E;
  float* group;  // of pixels
  E* values;     // of whole vectors

  static int64_t values_size(const Block& block, int64_t channels) {
    return rows_together(block) * (block.right - block.left + 2) * channels;
  }
  static int64_t bytes(const Block& block, int64_t channels) {
    return Scratch::bytes<float>(kWidth * channels) + Scratch::bytes<E>(values_size(block, channels));
  }
  NormalisedRows(const Block& block, int64_t channels, Scratch& scratch)
      : group(scratch.take<float>(kWidth * channels)), values(scratch.take<E>(values_size(block, channels))) {}
};

// Calls fill(y, end) for runs of those of the rows [y, end) that lie in an image of `height`; the others become zero.
template <class Fill>
inline void fill_ring(const Ring& ring, int64_t height, int64_t y, int64_t end, const Fill& fill) {
  for (; y < end && y < 0; ++y) ring.clear(y);
  for (; end > y && end > height; --end) ring.clear(end - 1);
  for (int64_t next = y; y < end; y = next) {
    next = ring.end_of_run(y, end);
    fill(y, next);
  }
}

// Layer norm and 1x1 convolution of rows [y, end) into the ring.
template <class T>
inline void expand_rows(const Expansion<T>& e, const ExpansionWeights<T>& weights, int64_t image, int64_t y,
                        int64_t end, const NormalisedRows<T>& rows, const Ring& ring) {
  const int64_t channels = weights.channels, count = ring.to - ring.from;
  fill_ring(ring, e.height, y, end, [&](int64_t first, int64_t next) {
    for (int64_t row = 0; row < next - first; ++row) {
      const T* x = e.x + e.pixel(image, first + row, ring.from) * e.channels;
      for (int64_t i = 0; i < count; i += kWidth) {
        const int64_t size = std::min<int64_t>(kWidth, count - i);
        read_pixels(x + i * e.channels, e.channels, size, rows.group, channels);
        normalise(rows.group, Statistics(rows.group, e.channels, size, e.eps), weights.norm_weight, weights.norm_bias,
                  channels, size, rows.values + (row * count + i) * channels);
      }
    }
    multiply_groups(next - first, rows.values, count * channels, channels, count, weights.matrix, ring.places, channels,
                    weights.bias, ring.inside(first), ring.wide * ring.places, ring.places);
  });
}

template <class T>
inline int64_t expand_bytes(const Block& block, const ExpansionWeights<T>& weights) {
  return NormalisedRows<T>::bytes(block, weights.channels) +
         Scratch::bytes<float>(Ring::floats(block, weights.parts.padded()));
}

// Calls use(rows, y) for every row of a block, with three rows of the expanded channels as for convolve_pixels. The
// scratch has expand_bytes() left.
template <class T, class Use>
inline void expand_block(const Expansion<T>& e, const ExpansionWeights<T>& weights, const Block& block,
                         Scratch& scratch, const Use& use) {
  const int64_t places = weights.parts.padded(), together = rows_together(block);
  const NormalisedRows<T> memory(block, weights.channels, scratch);
  const Ring ring(block, e.width, places, scratch.take<float>(Ring::floats(block, places)));
  int64_t ready = block.top - 1;
  for (int64_t y = block.top; y < block.bottom; ++y) {
    while (ready <= y + 1) {
      const int64_t end = std::min(ready + together, block.bottom + 1);
      expand_rows(e, weights, block.image, ready, end, memory, ring);
      ready = end;
    }
    const float* const rows[3] = {ring.row(y - 1), ring.row(y), ring.row(y + 1)};
    use(rows, y);
  }
}
