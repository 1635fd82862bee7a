// The backward pass of common/expand.h, row by row like it; included after it, once for each instruction set.
//
// With u = W z, z = LN x, and g the gradient of dw u:
//   du = the convolution of g with flipped taps,  dz = W^T du,  dx = dLN(dz)

constexpr int64_t kMostSummedGroups = 32;

// Gradients of the parameters over some of the pixels, padded; null where they are not wanted. The 1x1 convolution's
// are transposed so that rows are long.
struct ExpansionSums {
  float *weight, *bias, *taps, *taps_bias, *norm_weight, *norm_bias;

  template <class T>
  static int64_t count(const Expansion<T>& e, const ExpansionGradients<T>& to) {
    const int64_t channels = round_up(e.channels, kWidth), places = Parts(e.parts, e.part).padded();
    return (to.weight ? channels * places : 0) + (to.bias ? places : 0) + (to.depthwise ? 9 * places : 0) +
           (to.depthwise_bias ? places : 0) + (to.norm_weight ? channels : 0) + (to.norm_bias ? channels : 0);
  }

  template <class T>
  ExpansionSums(const Expansion<T>& e, const ExpansionGradients<T>& to, float* memory) {
    const int64_t channels = round_up(e.channels, kWidth), places = Parts(e.parts, e.part).padded();
    auto take = [&](const float* wanted, int64_t size) {
      float* piece = wanted == nullptr ? nullptr : memory;
      memory += wanted == nullptr ? 0 : size;
      return piece;
    };
    weight = take(to.weight, channels * places);
    bias = take(to.bias, places);
    taps = take(to.depthwise, 9 * places);
    taps_bias = take(to.depthwise_bias, places);
    norm_weight = take(to.norm_weight, channels);
    norm_bias = take(to.norm_bias, channels);
  }

  // Writes the sums without their padding.
  template <class T>
  void write_to(const Expansion<T>& e, const ExpansionGradients<T>& to) const {
    const Parts parts(e.parts, e.part);
    const int64_t places = parts.padded();
    parts.for_each([&](int64_t channel, int64_t place) {
      for (int64_t k = 0; weight != nullptr && k < e.channels; ++k) {
        to.weight[channel * e.channels + k] = weight[k * places + place];
      }
      for (int64_t tap = 0; taps != nullptr && tap < 9; ++tap) {
        to.depthwise[channel * 9 + tap] = taps[tap * places + place];
      }
      if (bias != nullptr) to.bias[channel] = bias[place];
      if (taps_bias != nullptr) to.depthwise_bias[channel] = taps_bias[place];
    });
    for (int64_t k = 0; k < e.channels; ++k) {
      if (norm_weight != nullptr) to.norm_weight[k] = norm_weight[k];
      if (norm_bias != nullptr) to.norm_bias[k] = norm_bias[k];
    }
  }
};

// One block. `fill(ring, y, end)` writes the gradient of the depthwise convolution's output at rows [y, end), which
// follow each other in the ring, and all its columns that lie in the image; `residual` is a gradient that is added to
// that of x, or null.
template <class T, class Fill>
void expansion_backward_block(const Expansion<T>& e, const ExpansionGradients<T>& to,
                              const ExpansionWeights<T>& weights, const typename OperandOf<T>::type* contraction,
                              const T* residual, const Block& block, const ExpansionSums& sums, Scratch& scratch,
                              const Fill& fill) {
  typedef typename OperandOf<T>::type E;
  const int64_t channels = weights.channels, places = weights.parts.padded(), columns = block.right - block.left;
  const int64_t together = rows_together(block), ring_size = Ring::floats(block, places);
  const bool again = sums.taps != nullptr, expanded = sums.weight != nullptr || sums.bias != nullptr;
  const bool below = to.x != nullptr || sums.norm_weight != nullptr || sums.norm_bias != nullptr;
  const Ring ring(block, e.width, places, scratch.take<float>(ring_size));
  const Ring inputs(block, e.width, places, again ? scratch.take<float>(ring_size) : ring.rows);
  const NormalisedRows<T> memory(block, channels, scratch);
  E* to_expanded = scratch.take<E>(together * columns * places);
  float* bias_row = scratch.take<float>(columns * places);
  float* to_normalised = scratch.take<float>(together * columns * channels);
  float* to_group = scratch.take<float>(kWidth * channels);
  WaitingProducts<E> products(channels, places, together * columns, sums.weight, scratch);
  const bool biased = e.norm_bias != nullptr;
  for (int64_t first = block.top, ready = block.top - 1; first < block.bottom; first += together) {
    const int64_t end = std::min(first + together, block.bottom), pixels = (end - first) * columns;
    fill_ring(ring, e.height, ready, end + 1, [&](int64_t y, int64_t next) { fill(ring, y, next); });
    if (again) expand_rows(e, weights, block.image, ready, end + 1, memory, inputs);
    ready = end + 1;
    for (int64_t y = first; y < end; ++y) {
      const float* const rows[3] = {ring.row(y - 1), ring.row(y), ring.row(y + 1)};
      if (sums.taps_bias != nullptr) add_rows(rows[1] + places, places, places, columns, sums.taps_bias);
      if (again) {
        const float* const from[3] = {inputs.row(y - 1), inputs.row(y), inputs.row(y + 1)};
        add_tap_gradients(from, places, rows[1] + places, columns, sums.taps);
      }
      if (!below && !expanded) continue;
      const int64_t place = (y - first) * columns * places;
      float* wide_row = products.wanted() ? products.next_b() + place : sums.bias != nullptr ? bias_row : nullptr;
      convolve_row(rows, places, weights.taps, nullptr, columns, [&](int64_t x, int64_t c, vec value) {
        store(to_expanded + place + x * places + c, value);
        if (wide_row != nullptr) store(wide_row + x * places + c, value);
      });
      if (sums.bias != nullptr) add_rows(wide_row, places, places, columns, sums.bias);
    }
    if (below) multiply(to_expanded, places, pixels, contraction, channels, places, nullptr, to_normalised, channels);
    for (int64_t i = 0, size; (below || products.wanted()) && i < pixels; i += size) {
      // A group lies within a row.
      size = std::min<int64_t>(kWidth, columns - i % columns);
      const int64_t start = e.pixel(block.image, first + i / columns, block.left + i % columns) * e.channels;
      read_pixels(e.x + start, e.channels, size, memory.group, channels);
      const Statistics found(memory.group, e.channels, size, e.eps);
      if (products.wanted()) {
        normalise(memory.group, found, weights.norm_weight, weights.norm_bias, channels, size,
                  products.next_a() + i * channels);
      }
      if (sums.norm_weight != nullptr || sums.norm_bias != nullptr) {
        add_norm_parameter_gradients(memory.group, found, biased, channels, size, to_normalised + i * channels,
                                     sums.norm_weight, sums.norm_bias);
      }
      if (to.x == nullptr) continue;
      differentiate_norm(memory.group, found, weights.norm_weight, biased, e.channels, size,
                         to_normalised + i * channels, to_group);
      for (int64_t p = 0; p < size; ++p) {
        const int64_t pixel = start + p * e.channels;
        for (int64_t c = 0; c < e.channels; c += kWidth) {
          const vec branch = load(to_group + p * channels + c);
          write(to.x + pixel + c, residual == nullptr ? branch : branch + read(residual + pixel + c, e.channels - c),
                e.channels - c);
        }
      }
    }
    if (products.wanted()) products.add(pixels);
  }
}

template <class T>
size_t expansion_backward_bytes(const Expansion<T>& e, const ExpansionGradients<T>& to, const Block& block) {
  typedef typename OperandOf<T>::type E;
  const int64_t channels = round_up(e.channels, kWidth), places = Parts(e.parts, e.part).padded();
  const int64_t columns = block.right - block.left, pixels = rows_together(block) * columns;
  return Scratch::bytes<float>(Ring::floats(block, places)) * 2 + NormalisedRows<T>::bytes(block, channels) +
         Scratch::bytes<E>(pixels * places) + Scratch::bytes<float>(columns * places) +
         Scratch::bytes<float>(pixels * channels) + Scratch::bytes<float>(kWidth * channels) +
         (to.weight == nullptr ? 0 : WaitingProducts<E>::bytes(channels, places, pixels));
}

// All blocks. The gradient of the depthwise convolution's output comes from `source`:
//
//   size_t bytes(block)                 of working memory for a block
//   int64_t sums()                      floats of sums over pixels of its own
//   auto fill(block, scratch, sums)     the `fill` of a block, which adds to the sums
//   void write(sums)                    takes the sums over everything
//
// Sums over pixels are made for each group of blocks by itself and added in the order of the groups; groups depend on
// the shape alone, so that the bits do not depend on the number of threads.
template <class T, class Source>
void expansion_backward(const Expansion<T>& e, const ExpansionGradients<T>& to, const T* residual,
                        const Parallel& parallel, const Source& source) {
  typedef typename OperandOf<T>::type E;
  const Matrix transposed = expansion_matrix(e).transposed();
  const int64_t places = transposed.columns.padded(), packed = transposed.packed<E>();
  const Grid grid{e.images, e.height, e.width, even_part(e.height, 32), expansion_columns(e.width, places)};
  const int64_t own = ExpansionSums::count(e, to), size = own + source.sums();
  const int64_t groups = size == 0 ? grid.blocks() : std::min(grid.blocks(), kMostSummedGroups);
  Scratch scratch(ExpansionWeights<T>::bytes(e) + Scratch::bytes<E>(packed) + Scratch::bytes<float>(groups * size));
  const ExpansionWeights<T> weights(e, to.depthwise != nullptr, true, scratch, parallel);
  E* contraction = scratch.take<E>(packed);
  pack<T>(transposed, contraction, parallel);
  float* partial = scratch.take<float>(groups * size);
  std::memset(partial, 0, groups * size * sizeof(float));
  parallel.run(groups, [&](int64_t group) {
    float* group_sums = partial + group * size;
    const ExpansionSums sums(e, to, group_sums);
    for (int64_t index = group * grid.blocks() / groups; index < (group + 1) * grid.blocks() / groups; ++index) {
      const Block block = grid.at(index);
      Scratch memory(expansion_backward_bytes(e, to, block) + source.bytes(block));
      expansion_backward_block(e, to, weights, contraction, residual, block, sums, memory,
                               source.fill(block, memory, group_sums + own));
    }
  });
  if (size == 0) return;
  add_groups(partial, groups, size, parallel);
  ExpansionSums(e, to, partial).write_to(e, to);
  source.write(partial + own);
}
