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
    for (int64_t place = 0; place < places; ++place) {
      const int64_t at = parts.at(place);
      if (at < 0) continue;
      for (int64_t k = 0; weight != nullptr && k < e.channels; ++k) {
        to.weight[at * e.channels + k] = weight[k * places + place];
      }
      for (int64_t tap = 0; taps != nullptr && tap < 9; ++tap) to.depthwise[at * 9 + tap] = taps[tap * places + place];
      if (bias != nullptr) to.bias[at] = bias[place];
      if (taps_bias != nullptr) to.depthwise_bias[at] = taps_bias[place];
    }
    for (int64_t k = 0; k < e.channels; ++k) {
      if (norm_weight != nullptr) to.norm_weight[k] = norm_weight[k];
      if (norm_bias != nullptr) to.norm_bias[k] = norm_bias[k];
    }
  }
};

// Packs the transpose of the 1x1 convolution.
template <class T, class E>
inline void pack_contraction(const Expansion<T>& e, const Parts& parts, E* packed) {
  Scratch memory(PlaceTable::bytes(parts));
  const PlaceTable table(parts, memory);
  pack<E>(
      [&](int64_t n, int64_t place) {
        const int64_t row = table.channels[place];
        return row >= 0 && n < e.channels ? as_operand<T>(e.weight[row * e.channels + n]) : 0.0f;
      },
      round_up(e.channels, kWidth), parts.padded(), packed);
}

// One block. fill(y, from, count, to) writes the gradient of the depthwise convolution's output at `count` pixels of
// row y from column `from`, padded; `residual` is a gradient that is added to that of x, or null.
template <class T, class Fill>
void expansion_backward_block(const Expansion<T>& e, const ExpansionGradients<T>& to,
                              const ExpansionWeights<T>& weights, const typename OperandOf<T>::type* contraction,
                              const T* residual, const Block& block, const ExpansionSums& sums, const Fill& fill) {
  typedef typename OperandOf<T>::type E;
  const int64_t channels = weights.channels, places = weights.parts.padded(), columns = block.right - block.left;
  const bool again = sums.taps != nullptr, expanded = sums.weight != nullptr || sums.bias != nullptr;
  const bool below = to.x != nullptr || sums.norm_weight != nullptr || sums.norm_bias != nullptr;
  const int64_t ring_size = Ring::floats(block, places);
  Scratch scratch(Scratch::bytes<float>(ring_size) * 2 + NormalisedRows<T>::bytes(block, channels) +
                  Scratch::bytes<E>(columns * places) + Scratch::bytes<float>(columns * places) +
                  Scratch::bytes<float>(columns * channels) + Scratch::bytes<float>(channels) +
                  (sums.weight == nullptr ? 0 : WaitingProducts::bytes(channels, places, columns)));
  const Ring ring(block, e.width, places, scratch.take<float>(ring_size));
  const Ring inputs(block, e.width, places, again ? scratch.take<float>(ring_size) : ring.rows);
  const NormalisedRows<T> row(block, channels, scratch);
  E* to_expanded = scratch.take<E>(columns * places);
  float* bias_row = scratch.take<float>(columns * places);
  float* to_normalised = scratch.take<float>(columns * channels);
  float* to_pixel = scratch.take<float>(channels);
  WaitingProducts products(channels, places, columns, sums.weight, scratch);
  const vec last = last_vector(e.channels);
  const bool biased = e.norm_bias != nullptr;
  for (int64_t y = block.top - 1; y <= block.bottom; ++y) {
    if (y < 0 || y >= e.height) {
      ring.clear(y);
    } else {
      fill(y, ring.from, ring.to - ring.from, ring.inside(y));
      if (sums.taps_bias != nullptr && y >= block.top && y < block.bottom) {
        add_rows(ring.row(y) + places, places, places, columns, sums.taps_bias);
      }
    }
    if (again) expand_rows(e, weights, block.image, y, y + 1, row, inputs);
    if (y < block.top + 1) continue;
    const float* const rows[3] = {ring.row(y - 2), ring.row(y - 1), ring.row(y)};
    if (again) {
      const float* const from[3] = {inputs.row(y - 2), inputs.row(y - 1), inputs.row(y)};
      add_tap_gradients(from, places, rows[1] + places, columns, sums.taps);
    }
    if (!below && !expanded) continue;
    float* wide_row = sums.weight != nullptr ? products.next_b() : sums.bias != nullptr ? bias_row : nullptr;
    convolve_row(rows, places, weights.taps, nullptr, columns, [&](int64_t x, int64_t c, vec value) {
      store(to_expanded + x * places + c, value);
      if (wide_row != nullptr) store(wide_row + x * places + c, value);
    });
    const int64_t start = (block.image * e.height + y - 1) * e.width + block.left;
    if (below) multiply(to_expanded, places, columns, contraction, channels, places, nullptr, to_normalised, channels);
    for (int64_t i = 0; i < columns; ++i) {
      read_pixel(e.x + (start + i) * e.channels, e.channels, row.pixel, channels);
      const Statistics found = statistics(row.pixel, e.channels, last, e.eps);
      if (sums.weight != nullptr) {
        normalise_pixel(row.pixel, found, weights.norm_weight, weights.norm_bias, channels,
                        products.next_a() + i * channels);
      }
      if (sums.norm_weight != nullptr || sums.norm_bias != nullptr) {
        add_norm_parameter_gradients(row.pixel, found, biased, channels, to_normalised + i * channels,
                                     sums.norm_weight, sums.norm_bias);
      }
      if (to.x == nullptr) continue;
      normalised_pixel_gradient(row.pixel, found, weights.norm_weight, biased, e.channels,
                                to_normalised + i * channels, to_pixel);
      T* x = to.x + (start + i) * e.channels;
      const T* beside = residual == nullptr ? nullptr : residual + (start + i) * e.channels;
      for (int64_t c = 0; c < e.channels; c += kWidth) {
        const vec branch = load(to_pixel + c);
        write(x + c, beside == nullptr ? branch : branch + read(beside + c, e.channels - c), e.channels - c);
      }
    }
    if (sums.bias != nullptr) add_rows(wide_row, places, places, columns, sums.bias);
    if (sums.weight != nullptr) products.add_row();
  }
}

// All blocks. make_fill(block) returns the `fill` of a block.
//
// Sums over pixels are made for each group of blocks by itself and added in the order of the groups; groups depend on
// the shape alone, so that the bits do not depend on the number of threads.
template <class T, class MakeFill>
void expansion_backward(const Expansion<T>& e, const ExpansionGradients<T>& to, const T* residual,
                        const Parallel& parallel, const MakeFill& make_fill) {
  typedef typename OperandOf<T>::type E;
  const Parts parts(e.parts, e.part);
  const int64_t packed = packed_size<E>(round_up(e.channels, kWidth), parts.padded());
  const Grid grid{e.images, e.height, e.width, even_part(e.height, 32), expansion_columns(e.width, parts.padded())};
  const int64_t size = ExpansionSums::count(e, to);
  const int64_t groups = size == 0 ? grid.blocks() : std::min(grid.blocks(), kMostSummedGroups);
  Scratch scratch(ExpansionWeights<T>::bytes(e) + Scratch::bytes<E>(packed) + Scratch::bytes<float>(groups * size));
  const ExpansionWeights<T> weights(e, to.depthwise != nullptr, true, scratch);
  E* contraction = scratch.take<E>(packed);
  pack_contraction(e, parts, contraction);
  float* partial = scratch.take<float>(groups * size);
  std::memset(partial, 0, groups * size * sizeof(float));
  parallel.run(groups, [&](int64_t group) {
    const ExpansionSums sums(e, to, partial + group * size);
    for (int64_t index = group * grid.blocks() / groups; index < (group + 1) * grid.blocks() / groups; ++index) {
      const Block block = grid.at(index);
      expansion_backward_block(e, to, weights, contraction, residual, block, sums, make_fill(block));
    }
  });
  if (size == 0) return;
  add_groups(partial, groups, size, parallel);
  ExpansionSums(e, to, partial).write_to(e, to);
}
