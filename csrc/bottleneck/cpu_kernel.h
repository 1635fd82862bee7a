// The bottleneck adapter, row by row: its hidden channels of three rows are all that exists of them at any time.
// Included once for each instruction set.

// The results of a row, in a part of the second-level cache.
constexpr int64_t kBottleneckRow = 16 * 1024;

inline int64_t bottleneck_columns(int64_t width, int64_t padded_channels) {
  return even_part(width, std::max<int64_t>(30, kBottleneckRow / padded_channels));
}

// Adds what is injected at the pixels [from, to) of a row to what comes out of `down` there.
template <class T>
inline void add_injected(const Bottleneck<T>& f, int64_t image, int64_t y, int64_t from, int64_t to, float* reduced) {
  const T* injected = f.injected + ((image * f.height + y) * f.width + from) * f.rank;
  for (int64_t x = from; x < to; ++x, injected += f.rank, reduced += round_up(f.rank, kWidth)) {
    for (int64_t k = 0; k < f.rank; k += kWidth) {
      store(reduced + k, load(reduced + k) + read(injected + k, f.rank - k));
    }
  }
}

template <class T>
void bottleneck_block(const Bottleneck<T>& f, const BottleneckWeights<T>& weights, const Block& block) {
  typedef typename OperandOf<T>::type E;
  const int64_t c = round_up(f.channels, kWidth), r = round_up(f.rank, kWidth);
  const int64_t columns = block.right - block.left, wide = columns + 2;
  Scratch scratch(Scratch::bytes<E>(wide * c) + Scratch::bytes<float>(3 * wide * r) + Scratch::bytes<E>(columns * r) +
                  Scratch::bytes<float>(columns * c));
  E* room = scratch.take<E>(wide * c);
  float* ring = scratch.take<float>(3 * wide * r);
  E* hidden = scratch.take<E>(columns * r);
  float* result = scratch.take<float>(columns * c);
  const int64_t from = std::max<int64_t>(block.left - 1, 0), to = std::min(block.right + 1, f.width);
  auto ring_row = [&](int64_t y) { return ring + (y + 3) % 3 * wide * r; };
  std::memset(ring, 0, 3 * wide * r * sizeof(float));
  for (int64_t y = block.top - 1; y <= block.bottom; ++y) {
    if (y < 0 || y >= f.height) {
      std::memset(ring_row(y), 0, wide * r * sizeof(float));
    } else {
      const T* x = f.x + ((block.image * f.height + y) * f.width + from) * f.channels;
      multiply(operand_row(x, f.channels, to - from, room), c, to - from, weights.down, r, c, weights.down_bias,
               ring_row(y) + (from - block.left + 1) * r, r);
      if (f.injected != nullptr) add_injected(f, block.image, y, from, to, ring_row(y) + (from - block.left + 1) * r);
    }
    if (y < block.top + 1) continue;
    const float* const rows[3] = {ring_row(y - 2), ring_row(y - 1), ring_row(y)};
    expand_bottleneck(f, weights, rows, columns, hidden, result);
    const int64_t start = ((block.image * f.height + y - 1) * f.width + block.left) * f.channels;
    for (int64_t i = 0; i < columns; ++i) {
      for (int64_t k = 0; k < f.channels; k += kWidth) {
        const int64_t at = start + i * f.channels + k;
        vec sum = load(result + i * c + k);
        if (f.residual) sum = sum + read(f.x + at, f.channels - k);
        if (f.base != nullptr) sum = sum + read(f.base + at, f.channels - k);
        write(f.y + at, sum, f.channels - k);
      }
    }
  }
}

// What an image without an adapter gets: the sum of what there is of the two, or zeros.
template <class T>
void pass_through(const T* base, const T* residual, T* to, const Bottleneck<T>& f, const Block& block) {
  if (base == nullptr) std::swap(base, residual);
  const int64_t row = (block.right - block.left) * f.channels;
  for (int64_t y = block.top; y < block.bottom; ++y) {
    const int64_t start = ((block.image * f.height + y) * f.width + block.left) * f.channels;
    for (int64_t i = 0; i < row; i += kWidth) {
      vec sum{};
      if (base != nullptr) sum = read(base + start + i, row - i);
      if (residual != nullptr) sum = sum + read(residual + start + i, row - i);
      write(to + start + i, sum, row - i);
    }
  }
}

template <class T>
void bottleneck_kernel(const Bottleneck<T>& f, const Parallel& parallel) {
  Scratch memory(BottleneckStack<T>::bytes(f, false));
  const BottleneckStack<T> stack(f, false, memory);
  const int64_t columns = bottleneck_columns(f.width, round_up(f.channels, kWidth));
  const Grid grid{f.images, f.height, f.width, even_part(f.height, 32), columns};
  parallel.run(grid.blocks(), [&](int64_t index) {
    const Block block = grid.at(index);
    if (f.adapter(block.image) >= 0) return bottleneck_block(f, stack.of(block.image), block);
    pass_through(f.base, f.residual ? f.x : nullptr, f.y, f, block);
  });
}
