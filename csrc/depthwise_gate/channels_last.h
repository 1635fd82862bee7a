// Depthwise convolution and gate with channels last: three rows of a block at a time, in float32 and padded. Included
// once for each instruction set.

// Three rows of a block in a part of the second-level cache.
constexpr int64_t kGateRing = 48 * 1024;
constexpr int64_t kGateGroups = 32;

// The three rows of a block around row y; each holds one pixel more on either side.
struct GateRing {
  int64_t wide, channels;
  float* start;

  float* row(int64_t y) const { return start + (y + 3) % 3 * wide * channels; }
};

inline int64_t gate_columns(int64_t width, int64_t channels) {
  return even_part(width, std::max<int64_t>(30, kGateRing / (3 * channels)));
}

// Columns of the image beside and in a block, and where the first lies in a row of the ring.
struct Columns {
  int64_t from, to, place;

  Columns(const Block& block, int64_t width)
      : from(std::max<int64_t>(block.left - 1, 0)),
        to(std::min(block.right + 1, width)),
        place(from - block.left + 1) {}
};

// Copies padded pixels without their padding.
template <class T>
inline void write_pixels(const T* from, int64_t padded, int64_t channels, int64_t count, T* to, int64_t stride) {
  for (int64_t i = 0; i < count; ++i) std::memcpy(to + i * stride, from + i * padded, channels * sizeof(T));
}

template <class T>
void gate_block(const DepthwiseGate<T>& f, const Parts& channels, const float* taps, const float* bias,
                const Block& block) {
  const int64_t columns = block.right - block.left, wide = columns + 2, c = channels.padded();
  const bool whole = channels.size == channels.padded_size;
  Scratch scratch(Scratch::bytes<float>(3 * wide * c) + Scratch::bytes<T>(columns * channels.padded_size));
  const GateRing ring{wide, c, scratch.take<float>(3 * wide * c)};
  T* gated = scratch.take<T>(columns * channels.padded_size);
  const Columns near(block, f.width);
  std::memset(ring.start, 0, 3 * wide * c * sizeof(float));
  for (int64_t y = block.top - 1; y <= block.bottom; ++y) {
    if (y < 0 || y >= f.height) {
      std::memset(ring.row(y), 0, wide * c * sizeof(float));
    } else {
      const int64_t start = (block.image * f.height + y) * f.width + near.from;
      for (int64_t i = 0; i < near.to - near.from; ++i) {
        read_parts(f.x + (start + i) * 2 * f.hidden, channels, ring.row(y) + (near.place + i) * c);
      }
    }
    if (y < block.top + 1) continue;
    const int64_t start = (block.image * f.height + y - 1) * f.width + block.left;
    const float* const rows[3] = {ring.row(y - 2), ring.row(y - 1), ring.row(y)};
    T* to = f.y + start * f.hidden;
    gate_row(taps, bias, channels.padded_size, rows, columns, whole ? to : gated,
             f.convolved == nullptr ? nullptr : f.convolved + start * 2 * f.hidden, f.hidden);
    if (!whole) write_pixels(gated, channels.padded_size, f.hidden, columns, to, f.hidden);
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
  const Grid grid{f.images, f.height, f.width, even_part(f.height, 32), gate_columns(f.width, c)};
  parallel.run(grid.blocks(), [&](int64_t index) { gate_block(f, channels, taps, bias, grid.at(index)); });
}

// Adds the gradients of taps and bias to `to_taps` (9 x padded) and `to_bias`, where these are not null.
template <class T>
void gate_gradient_block(const DepthwiseGateBackward<T>& f, const Parts& channels, const float* taps,
                         const Block& block, float* to_taps, float* to_bias) {
  const int64_t columns = block.right - block.left, wide = columns + 2, c = channels.padded();
  const bool whole = channels.size == channels.padded_size;
  const int64_t ring_size = 3 * wide * c;
  Scratch scratch(2 * Scratch::bytes<float>(ring_size) + Scratch::bytes<float>(wide * channels.padded_size) +
                  Scratch::bytes<T>(columns * c));
  const GateRing gradients{wide, c, scratch.take<float>(ring_size)}, inputs{wide, c, scratch.take<float>(ring_size)};
  float* to_gated = scratch.take<float>(wide * channels.padded_size);
  T* to_x = scratch.take<T>(columns * c);
  const Columns near(block, f.width);
  const int64_t count = near.to - near.from;
  std::memset(gradients.start, 0, ring_size * sizeof(float));
  if (to_taps != nullptr) std::memset(inputs.start, 0, ring_size * sizeof(float));
  for (int64_t y = block.top - 1; y <= block.bottom; ++y) {
    if (y < 0 || y >= f.height) {
      std::memset(gradients.row(y), 0, wide * c * sizeof(float));
      if (to_taps != nullptr) std::memset(inputs.row(y), 0, wide * c * sizeof(float));
    } else {
      const int64_t start = (block.image * f.height + y) * f.width + near.from;
      for (int64_t i = 0; i < count; ++i) {
        read_pixel(f.gradient + (start + i) * f.hidden, f.hidden, to_gated + i * channels.padded_size, channels.padded_size);
      }
      gate_gradient_row<T>(f.convolved + start * 2 * f.hidden, f.hidden, channels.padded_size, to_gated, count,
                           gradients.row(y) + near.place * c, nullptr);
      for (int64_t i = 0; to_taps != nullptr && i < count; ++i) {
        read_parts(f.x + (start + i) * 2 * f.hidden, channels, inputs.row(y) + (near.place + i) * c);
      }
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
    T* row = whole ? to : to_x;
    convolve_row(rows, c, taps, nullptr, columns,
                 [&](int64_t x, int64_t channel, vec value) { store(row + x * c + channel, value); });
    if (whole) continue;
    write_pixels(to_x, c, f.hidden, columns, to, 2 * f.hidden);
    write_pixels(to_x + channels.padded_size, c, f.hidden, columns, to + f.hidden, 2 * f.hidden);
  }
}

template <class T>
void differentiate_pixels(const DepthwiseGateBackward<T>& f, const Parallel& parallel) {
  const Parts channels(2, f.hidden);
  const int64_t c = channels.padded(), size = 10 * c;
  const Grid grid{f.images, f.height, f.width, even_part(f.height, 32), gate_columns(f.width, 2 * c)};
  const bool sums = f.to_weight != nullptr || f.to_bias != nullptr;
  // Gradients of weight and bias are summed for each group of blocks apart.
  const int64_t groups = sums ? std::min(grid.blocks(), kGateGroups) : grid.blocks();
  Scratch memory(Scratch::bytes<float>(9 * c) + Scratch::bytes<float>(sums ? groups * size : 0));
  float* taps = memory.take<float>(9 * c);
  float* partial = memory.take<float>(sums ? groups * size : 0);
  padded_taps<T>(f.weight, channels, true, taps);
  if (sums) std::memset(partial, 0, groups * size * sizeof(float));
  parallel.run(groups, [&](int64_t group) {
    float* to_taps = f.to_weight == nullptr ? nullptr : partial + group * size;
    float* to_bias = f.to_bias == nullptr ? nullptr : partial + group * size + 9 * c;
    for (int64_t index = group * grid.blocks() / groups; index < (group + 1) * grid.blocks() / groups; ++index) {
      gate_gradient_block(f, channels, taps, grid.at(index), to_taps, to_bias);
    }
  });
  if (!sums) return;
  add_groups(partial, groups, size, parallel);
  channels.for_each([&](int64_t channel, int64_t place) {
    for (int64_t tap = 0; f.to_weight != nullptr && tap < 9; ++tap) {
      f.to_weight[channel * 9 + tap] = partial[tap * c + place];
    }
    if (f.to_bias != nullptr) f.to_bias[channel] = partial[9 * c + place];
  });
}
