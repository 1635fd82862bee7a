// The backward pass of the bottleneck adapter, row by row; what lies between its convolutions is computed again.
// Included once for each instruction set.
//
// With dY the gradient of the output, p = down(x) and a = dw(p):
//   da = up^T dY GELU'(a),  dp = the convolution of da with flipped taps,  dx = down^T dp (+ dY, for the residual)
// Sums over pixels are made for each group of blocks of an image by itself and added in the order of the groups; groups
// depend on the shape alone, so that the bits do not depend on the number of threads.

constexpr int64_t kBottleneckGroups = 32;

// Gradients of the parameters of one adapter over some of the pixels, padded; `up` is transposed.
struct BottleneckSums {
  int64_t c, r;
  float *down, *up, *down_bias, *taps, *taps_bias, *up_bias;

  static int64_t count(int64_t c, int64_t r) { return 2 * c * r + 11 * r + c; }

  BottleneckSums(int64_t c, int64_t r, float* memory) : c(c), r(r) {
    down = memory;
    up = down + c * r;
    down_bias = up + c * r;
    taps = down_bias + r;
    taps_bias = taps + 9 * r;
    up_bias = taps_bias + r;
  }

  template <class T>
  void add_to(const BottleneckBackward<T>& b, int64_t adapter) const {
    const int64_t channels = b.forward.channels, rank = b.forward.rank;
    for (int64_t i = 0; i < rank; ++i) {
      const int64_t row = adapter * rank + i;
      for (int64_t k = 0; k < channels; ++k) b.to_down[row * channels + k] += down[i * c + k];
      for (int64_t tap = 0; tap < 9; ++tap) b.to_depthwise[row * 9 + tap] += taps[tap * r + i];
      if (b.to_down_bias != nullptr) b.to_down_bias[row] += down_bias[i];
      if (b.to_depthwise_bias != nullptr) b.to_depthwise_bias[row] += taps_bias[i];
    }
    for (int64_t k = 0; k < channels; ++k) {
      const int64_t row = adapter * channels + k;
      for (int64_t i = 0; i < rank; ++i) b.to_up[row * rank + i] += up[i * c + k];
      if (b.to_up_bias != nullptr) b.to_up_bias[row] += up_bias[k];
    }
  }
};

template <class T>
void bottleneck_backward_block(const BottleneckBackward<T>& b, const BottleneckWeights<T>& weights, const Block& block,
                               const BottleneckSums& sums) {
  typedef typename OperandOf<T>::type E;
  const Bottleneck<T>& f = b.forward;
  const int64_t c = sums.c, r = sums.r, columns = block.right - block.left;
  // The gradient is wanted of one pixel more on each side, and what it is made of of two.
  const int64_t wide = columns + 2, wider = columns + 4;
  Scratch scratch(Scratch::bytes<E>(wider * c) + Scratch::bytes<float>(3 * wider * r) +
                  Scratch::bytes<float>(3 * wide * r) + Scratch::bytes<float>(wide * r) * 2 +
                  Scratch::bytes<float>(columns * c) + Scratch::bytes<E>(columns * r) +
                  Scratch::bytes<float>(columns * r));
  E* room = scratch.take<E>(wider * c);
  float* reduced = scratch.take<float>(3 * wider * r);
  float* to_convolved = scratch.take<float>(3 * wide * r);
  float* to_hidden = scratch.take<float>(wide * r);
  float* hidden = scratch.take<float>(wide * r);
  float* pixels = scratch.take<float>(columns * c);
  E* to_reduced = scratch.take<E>(columns * r);
  float* wide_to_reduced = scratch.take<float>(columns * r);
  auto reduced_row = [&](int64_t y) { return reduced + (y + 3) % 3 * wider * r; };
  auto convolved_row = [&](int64_t y) { return to_convolved + (y + 3) % 3 * wide * r; };
  auto inside = [&](int64_t y) { return y >= 0 && y < f.height; };
  auto at = [&](auto* images, int64_t y, int64_t x) {
    return images + ((block.image * f.height + y) * f.width + x) * f.channels;
  };
  auto read_row = [&](const T* from) {
    for (int64_t i = 0; i < columns; ++i) read_pixel(from + i * f.channels, f.channels, pixels + i * c, c);
  };
  std::memset(reduced, 0, 3 * wider * r * sizeof(float));
  std::memset(to_convolved, 0, 3 * wide * r * sizeof(float));
  const int64_t first = std::max<int64_t>(block.left - 2, 0), last = std::min(block.right + 2, f.width);
  const int64_t from = std::max<int64_t>(block.left - 1, 0), to = std::min(block.right + 1, f.width);
  for (int64_t next = std::max<int64_t>(block.top - 2, -1); next <= block.bottom + 1; ++next) {
    if (inside(next)) {
      multiply(operand_row(at(f.x, next, first), f.channels, last - first, room), c, last - first, weights.down, r, c,
               weights.down_bias, reduced_row(next) + (first - block.left + 2) * r, r);
    } else {
      std::memset(reduced_row(next), 0, wider * r * sizeof(float));
    }
    const int64_t middle = next - 1;
    if (middle < block.top - 1) continue;
    if (inside(middle)) {
      const int64_t skip = (from - block.left + 1) * r;
      const float* const rows[3] = {reduced_row(middle - 1) + skip, reduced_row(middle) + skip,
                                    reduced_row(middle + 1) + skip};
      multiply(operand_row(at(b.gradient, middle, from), f.channels, to - from, room), c, to - from,
               weights.up_transposed, r, c, nullptr, to_hidden, r);
      float* to_row = convolved_row(middle) + skip;
      convolve_row(rows, r, weights.taps, weights.taps_bias, to - from, [&](int64_t x, int64_t rank, vec convolved) {
        vec value, derivative;
        gelu_with_derivative<T>(convolved, value, derivative);
        store(hidden + x * r + rank, value);
        store(to_row + x * r + rank, load(to_hidden + x * r + rank) * derivative);
      });
      if (middle >= block.top && middle < block.bottom) {
        const float* const around[3] = {reduced_row(middle - 1) + r, reduced_row(middle) + r,
                                        reduced_row(middle + 1) + r};
        add_tap_gradients(around, r, convolved_row(middle) + r, columns, sums.taps);
        add_rows(convolved_row(middle) + r, r, r, columns, sums.taps_bias);
        read_row(at(b.gradient, middle, block.left));
        add_products(hidden + (block.left - from) * r, r, r, pixels, c, c, columns, sums.up, c);
        add_rows(pixels, c, c, columns, sums.up_bias);
      }
    } else {
      std::memset(convolved_row(middle), 0, wide * r * sizeof(float));
    }
    const int64_t y = next - 2;
    if (y < block.top) continue;
    const float* const gradients[3] = {convolved_row(y - 1), convolved_row(y), convolved_row(y + 1)};
    convolve_row(gradients, r, weights.flipped, nullptr, columns, [&](int64_t x, int64_t channel, vec value) {
      store(to_reduced + x * r + channel, value);
      store(wide_to_reduced + x * r + channel, value);
    });
    read_row(at(f.x, y, block.left));
    add_products(wide_to_reduced, r, r, pixels, c, c, columns, sums.down, c);
    add_rows(wide_to_reduced, r, r, columns, sums.down_bias);
    if (b.to_x == nullptr) continue;
    multiply(to_reduced, r, columns, weights.down_transposed, c, weights.depth, nullptr, pixels, c);
    T* to_row = at(b.to_x, y, block.left);
    const T* gradient_row = at(b.gradient, y, block.left);
    for (int64_t i = 0; i < columns; ++i) {
      for (int64_t k = 0; k < f.channels; k += kWidth) {
        vec value = load(pixels + i * c + k);
        if (f.residual) value = value + read(gradient_row + i * f.channels + k, f.channels - k);
        write(to_row + i * f.channels + k, value, f.channels - k);
      }
    }
  }
}

template <class T>
void bottleneck_backward_kernel(const BottleneckBackward<T>& b, const Parallel& parallel) {
  const Bottleneck<T>& f = b.forward;
  const int64_t c = round_up(f.channels, kWidth), r = round_up(f.rank, kWidth), size = BottleneckSums::count(c, r);
  Scratch memory(BottleneckStack<T>::bytes(f, true));
  const BottleneckStack<T> stack(f, true, memory);
  const Grid grid{f.images, f.height, f.width, even_part(f.height, 32), bottleneck_columns(f.width, c)};
  const int64_t blocks = grid.down() * grid.across();
  const int64_t parts = std::min(blocks, std::max<int64_t>(1, kBottleneckGroups / f.images));
  Scratch partial_sums(Scratch::bytes<float>(f.images * parts * size));
  float* partial = partial_sums.take<float>(f.images * parts * size);
  std::memset(partial, 0, f.images * parts * size * sizeof(float));
  parallel.run(f.images * parts, [&](int64_t group) {
    const BottleneckSums sums(c, r, partial + group * size);
    const int64_t image = group / parts, part = group % parts;
    for (int64_t index = part * blocks / parts; index < (part + 1) * blocks / parts; ++index) {
      const Block block = grid.at(image * blocks + index);
      if (f.adapter(image) >= 0) {
        bottleneck_backward_block(b, stack.of(image), block, sums);
      } else if (b.to_x != nullptr) {
        const T* nothing = nullptr;
        pass_through(nothing, f.residual ? b.gradient : nothing, b.to_x, f, block);
      }
    }
  });
  const auto clear = [&](float* values, int64_t count) {
    if (values != nullptr) std::memset(values, 0, f.adapters * count * sizeof(float));
  };
  clear(b.to_down, f.rank * f.channels);
  clear(b.to_down_bias, f.rank);
  clear(b.to_depthwise, f.rank * 9);
  clear(b.to_depthwise_bias, f.rank);
  clear(b.to_up, f.channels * f.rank);
  clear(b.to_up_bias, f.channels);
  for (int64_t group = 0; group < f.images * parts; ++group) {
    const int64_t adapter = f.adapter(group / parts);
    if (adapter >= 0) BottleneckSums(c, r, partial + group * size).add_to(b, adapter);
  }
}
