// Depthwise convolution and gate with channels last. Included once for each instruction set.

template <class T>
void gate_block(const DepthwiseGate<T>& f, const Parts& channels, const float* taps, const float* bias,
                const Block& block) {
  const int64_t columns = block.right - block.left, c = channels.padded();
  Scratch scratch(PixelRing::bytes(columns, c) + Scratch::bytes<T>(columns * channels.padded_size));
  const PixelRing ring(columns, c, scratch);
  T* gated = scratch.take<T>(columns * channels.padded_size);
  for (int64_t y = block.top - 1; y <= block.bottom; ++y) {
    ring.read_row(y, f.x, channels, block, f.height, f.width);
    if (y < block.top + 1) continue;
    const int64_t start = (block.image * f.height + y - 1) * f.width + block.left;
    const float* const rows[3] = {ring.row(y - 2), ring.row(y - 1), ring.row(y)};
    T* to = f.y + start * f.hidden;
    gate_row(taps, bias, channels.padded_size, rows, columns, channels.whole() ? to : gated,
             f.convolved == nullptr ? nullptr : f.convolved + start * 2 * f.hidden, f.hidden);
    if (!channels.whole()) write_pixels(gated, channels.padded_size, f.hidden, columns, to, f.hidden);
  }
}

template <class T>
void gate_pixels(const DepthwiseGate<T>& f, const Parallel& parallel) {
  const Parts channels(2, f.hidden);
  const int64_t c = channels.padded();
  Scratch memory(Scratch::bytes<float>(9 * c) + Scratch::bytes<float>(c));
  float* taps = memory.take<float>(9 * c);
  padded_taps<T>(f.weight, channels, false, taps);
  float* bias = memory.take<float>(c);
  std::memset(bias, 0, c * sizeof(float));
  padded_parameter<T>(f.bias, channels, bias);
  const Grid grid{f.images, f.height, f.width, even_part(f.height, 32), ring_columns(f.width, c)};
  parallel.run(grid.blocks(), [&](int64_t index) { gate_block(f, channels, taps, bias, grid.at(index)); });
}

// Adds the gradients of taps and bias to `to_taps` (9 x padded) and `to_bias`, where these are not null.
template <class T>
void gate_gradient_block(const DepthwiseGateBackward<T>& f, const Parts& channels, const float* taps,
                         const Block& block, float* to_taps, float* to_bias) {
  const int64_t columns = block.right - block.left, wide = columns + 2, c = channels.padded();
  Scratch scratch(2 * PixelRing::bytes(columns, c) + Scratch::bytes<float>(wide * channels.padded_size) +
                  Scratch::bytes<T>(columns * c));
  const PixelRing gradients(columns, c, scratch), inputs(columns, c, scratch);
  float* to_gated = scratch.take<float>(wide * channels.padded_size);
  T* to_x = scratch.take<T>(columns * c);
  const Columns near(block, f.width);
  for (int64_t y = block.top - 1; y <= block.bottom; ++y) {
    if (to_taps != nullptr) inputs.read_row(y, f.x, channels, block, f.height, f.width);
    if (y < 0 || y >= f.height) {
      gradients.clear(y);
    } else {
      const int64_t start = (block.image * f.height + y) * f.width + near.from;
      read_pixels(f.gradient + start * f.hidden, f.hidden, near.count(), to_gated, channels.padded_size);
      gate_gradient_row<T>(f.convolved + start * 2 * f.hidden, f.hidden, channels.padded_size, to_gated, near.count(),
                           gradients.row(y) + near.place * c, nullptr);
      if (to_bias != nullptr && y >= block.top && y < block.bottom) {
        add_rows(gradients.row(y) + c, c, c, columns, to_bias);
      }
    }
    if (y < block.top + 1) continue;
    const float* const rows[3] = {gradients.row(y - 2), gradients.row(y - 1), gradients.row(y)};
    if (to_taps != nullptr) {
      const float* const around[3] = {inputs.row(y - 2), inputs.row(y - 1), inputs.row(y)};
      add_tap_gradients(around, c, rows[1] + c, columns, to_taps);
    }
    if (f.to_x == nullptr) continue;
    T* to = f.to_x + ((block.image * f.height + y - 1) * f.width + block.left) * 2 * f.hidden;
    write_convolved(rows, channels, taps, nullptr, columns, to_x, to);
  }
}

template <class T>
void differentiate_pixels(const DepthwiseGateBackward<T>& f, const Parallel& parallel) {
  const Parts channels(2, f.hidden);
  const int64_t c = channels.padded();
  const Grid grid{f.images, f.height, f.width, even_part(f.height, 32), ring_columns(f.width, 2 * c)};
  Scratch memory(Scratch::bytes<float>(9 * c));
  float* taps = memory.take<float>(9 * c);
  padded_taps<T>(f.weight, channels, true, taps);
  sum_over_blocks(grid, channels, f.to_weight, f.to_bias, parallel,
                  [&](const Block& block, float* to_taps, float* to_bias) {
                    gate_gradient_block(f, channels, taps, block, to_taps, to_bias);
                  });
}
