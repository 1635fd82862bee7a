// Depthwise convolutions of blocks of pixels, channels last: three rows of a block at a time, in float32 and padded.
// Included once for each instruction set.

// Floats of three rows of a block: a part of the second-level cache.
constexpr int64_t kRingFloats = 48 * 1024;
// Gradients of taps are summed for as many groups of blocks apart.
constexpr int64_t kTapGroups = 32;

inline int64_t ring_columns(int64_t width, int64_t channels) {
  return even_part(width, std::max<int64_t>(30, kRingFloats / (3 * channels)));
}

// Columns of the image beside and in a block, and where the first lies in a row of the ring.
struct Columns {
  int64_t from, to, place;

  Columns(const Block& block, int64_t width)
      : from(std::max<int64_t>(block.left - 1, 0)),
        to(std::min(block.right + 1, width)),
        place(from - block.left + 1) {}

  int64_t count() const { return to - from; }
};

// The three rows of a block around row y; each holds one pixel more on either side, zero beyond the image.
struct PixelRing {
  int64_t wide, channels;
  float* start;

  static size_t bytes(int64_t columns, int64_t channels) { return Scratch::bytes<float>(3 * (columns + 2) * channels); }

  PixelRing(int64_t columns, int64_t channels, Scratch& scratch) : wide(columns + 2), channels(channels) {
    start = scratch.take<float>(3 * wide * channels);
    std::memset(start, 0, 3 * wide * channels * sizeof(float));
  }

  float* row(int64_t y) const { return start + (y + 3) % 3 * wide * channels; }
  void clear(int64_t y) const { std::memset(row(y), 0, wide * channels * sizeof(float)); }

  // Row y of the image of a block, as far as it is in the image.
  template <class T>
  void read_row(int64_t y, const T* images, const Parts& parts, const Block& block, int64_t height,
                int64_t width) const {
    if (y < 0 || y >= height) return clear(y);
    const Columns near(block, width);
    const T* from = images + ((block.image * height + y) * width + near.from) * parts.channels();
    for (int64_t i = 0; i < near.count(); ++i) {
      read_parts(from + i * parts.channels(), parts, row(y) + (near.place + i) * channels);
    }
  }
};

// Copies padded pixels without their padding.
template <class T>
inline void write_pixels(const T* from, int64_t padded, int64_t channels, int64_t count, T* to, int64_t stride) {
  for (int64_t i = 0; i < count; ++i) std::memcpy(to + i * stride, from + i * padded, channels * sizeof(T));
}

// Writes the convolution at `count` pixels; `rows` and `bias` as for convolve_row. `work` has room for padded pixels,
// where they are not as they are written.
template <class T>
inline void write_convolved(const float* const rows[3], const Parts& parts, const float* taps, const float* bias,
                            int64_t count, T* work, T* to) {
  const int64_t c = parts.padded();
  T* row = parts.whole() ? to : work;
  convolve_row(rows, c, taps, bias, count,
               [&](int64_t x, int64_t channel, vec value) { store(row + x * c + channel, value); });
  if (parts.whole()) return;
  for (int64_t part = 0; part < parts.count; ++part) {
    write_pixels(work + part * parts.padded_size, c, parts.size, count, to + part * parts.size, parts.channels());
  }
}

// Gradients of taps and bias, where they are wanted (not null): calls work(block, to_taps, to_bias) for all blocks,
// which adds to 9 x padded and to padded values, or to null; the sums do not depend on threads.
template <class Work>
inline void sum_over_blocks(const Grid& grid, const Parts& parts, float* to_weight, float* to_bias,
                            const Parallel& parallel, const Work& work) {
  const int64_t c = parts.padded(), size = 10 * c;
  const bool sums = to_weight != nullptr || to_bias != nullptr;
  const int64_t groups = sums ? std::min(grid.blocks(), kTapGroups) : grid.blocks();
  Scratch memory(Scratch::bytes<float>(sums ? groups * size : 0));
  float* partial = memory.take<float>(sums ? groups * size : 0);
  if (sums) std::memset(partial, 0, groups * size * sizeof(float));
  parallel.run(groups, [&](int64_t group) {
    float* taps = to_weight == nullptr ? nullptr : partial + group * size;
    float* bias = to_bias == nullptr ? nullptr : partial + group * size + 9 * c;
    for (int64_t index = group * grid.blocks() / groups; index < (group + 1) * grid.blocks() / groups; ++index) {
      work(grid.at(index), taps, bias);
    }
  });
  if (!sums) return;
  add_groups(partial, groups, size, parallel);
  parts.for_each([&](int64_t channel, int64_t place) {
    for (int64_t tap = 0; to_weight != nullptr && tap < 9; ++tap) {
      to_weight[channel * 9 + tap] = partial[tap * c + place];
    }
    if (to_bias != nullptr) to_bias[channel] = partial[9 * c + place];
  });
}
